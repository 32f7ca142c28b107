"""The Dockerfile's own steps, run one by one in a clean virtual environment: no container engine
is needed.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from research_lib.config import PROJECT_ROOT

DOCKERFILE = PROJECT_ROOT / "deploy" / "Dockerfile"
LARGEST_CONTEXT_BYTES = 5_000_000
QUICK_WITHOUT = (
    "UV_NO_CACHE",
    "PIP_NO_CACHE_DIR",
    "UV_COMPILE_BYTECODE",
)  # the caches of this machine may serve


def _steps() -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined, comments left out."""
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def _arguments(instruction: str) -> list[str]:
    return [argument for name, argument in _steps() if name == instruction]


def _context() -> list[Path]:
    """Files that .dockerignore lets into the build, relative to the project: the last pattern
    that matches decides.
    """
    patterns = [
        line
        for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
        if line and line[0] != "#"
    ]
    found = []
    for top in sorted(PROJECT_ROOT.iterdir()):
        if f"!{top.name}" in patterns:
            found += (
                [top]
                if top.is_file()
                else [path for path in sorted(top.rglob("*")) if path.is_file()]
            )
    left_out = [pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")]
    names = [path.relative_to(PROJECT_ROOT) for path in found]
    return [
        name
        for name in names
        if not any(fnmatch.filter(name.parts, pattern) for pattern in left_out)
    ]


def test_the_context_is_small_and_holds_what_is_copied() -> None:
    context = _context()
    assert sum((PROJECT_ROOT / name).stat().st_size for name in context) < LARGEST_CONTEXT_BYTES
    tops = {name.parts[0] for name in context}
    copied = {
        source
        for argument in _arguments("COPY")
        if "--from" not in argument
        for source in argument.split()[:-1]
    }
    assert copied == tops


def test_the_image_is_slim_not_root_and_probed_by_the_health_command() -> None:
    assert {image.split()[0] for image in _arguments("FROM")} == {"python:3.11-slim"}
    assert _arguments("USER")[-1] == "10001:10001"
    names = [name for name, _ in _steps()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    (probe,) = _arguments("HEALTHCHECK")
    assert json.loads(probe.split("CMD ")[1]) == ["python", "-m", "research_lib", "health"]


def test_no_registry_or_index_address_is_named() -> None:
    files = [path for path in (PROJECT_ROOT / "deploy").rglob("*") if path.is_file()]
    for path in [*files, PROJECT_ROOT / ".dockerignore"]:
        for address in re.findall(r"\w+://\S+", path.read_text()):
            assert address.startswith("tcp://dask-scheduler:8786"), f"{path.name}: {address}"
    assert not re.search(
        r"(FROM|image:)\s+\S+[.:]\S*/", "\n".join(path.read_text() for path in files)
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """The folder that stands for the image's root, its environment, and what its health command
    said.
    """
    root = tmp_path_factory.mktemp("image")
    system = root / "system"
    subprocess.run(
        [sys.executable, "-m", "uv", "venv", "--quiet", "--seed", str(system)], check=True
    )  # the base image's Python
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    }
    environment = {**kept, "PATH": f"{system}/bin:{kept['PATH']}"}
    folder, said = root, ""
    for name, argument in _steps():
        local = re.sub(
            r"(?<![\w.}/-])/(app|opt/venv|data)\b", lambda match: f"{root}/{match[1]}", argument
        )
        if name == "WORKDIR":
            folder = Path(local)
            folder.mkdir(exist_ok=True)
        elif name == "ENV":
            for key, value in re.findall(r"(\w+)=(\S+)", local):
                if key not in QUICK_WITHOUT:
                    environment[key] = value.replace("$PATH", environment["PATH"])
        elif name == "COPY" and "--from" not in argument:
            _copy(argument.split()[:-1], folder)
        elif name == "RUN" and argument.startswith("useradd"):
            local = local.split(" && ")[
                1
            ]  # no user is added and nothing changes its owner on this machine
            assert local.startswith("mkdir -p ")
            subprocess.run(["sh", "-c", local], cwd=folder, env=environment, check=True)
        elif name == "RUN":
            done = subprocess.run(
                ["sh", "-c", local], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{argument}\n{done.stdout}{done.stderr}"
            said = done.stdout
    return root, environment, said


def _copy(sources: list[str], folder: Path) -> None:
    for name in _context():
        if name.parts[0] in sources:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, folder / name)
    for path in PROJECT_ROOT.glob(
        "research_lib/**/__pycache__/*.nb[ci]"
    ):  # kernels compiled here need not be again
        target = folder / path.relative_to(PROJECT_ROOT)
        if "research_lib" in sources:
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)


@pytest.mark.slow
def test_its_steps_give_a_healthy_installation_of_the_locked_versions(
    built: tuple[Path, dict[str, str], str],
) -> None:
    root, environment, said = built
    health = json.loads(said)
    assert health["status"] == "healthy", health
    assert f"{root}/app/reports;" in health["checks"]["disk"]["detail"]
    listed = subprocess.run(
        ["uv", "pip", "freeze", "--python", f"{root}/opt/venv/bin/python"],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    locked = {
        line.split(" ;")[0].strip()
        for line in (PROJECT_ROOT / "requirements.lock").read_text().splitlines()
    }
    installed = {line for line in listed if not line.startswith("-e ")}
    assert installed <= locked
    extras = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["dev"]
    tools = {re.split(r"[<>=]", line)[0] for line in extras} - {"packaging"}  # others bring it
    assert (root / "opt" / "venv" / "bin" / "dask").exists()
    assert not tools & {line.split("==")[0] for line in installed}

"""Hosted CI and the commit hooks run what the Makefile runs, on the machines that the project
promises.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from research_lib.config import PROJECT_ROOT

WORKFLOW = PROJECT_ROOT / ".github" / "workflows" / "test.yml"
HOOKS = PROJECT_ROOT / ".pre-commit-config.yaml"
ARM64 = {"macos-14", "macos-15"}  # hosted runners with Apple's processors


def _jobs() -> dict[str, Any]:
    return dict(yaml.safe_load(WORKFLOW.read_text())["jobs"])


def _hooks() -> list[dict[str, Any]]:
    (repository,) = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repository["repo"] == "local"  # nothing is fetched from elsewhere
    return list(repository["hooks"])


def _prerequisites() -> dict[str, list[str]]:
    """Targets of the Makefile and what each of them makes first."""
    lines = re.findall(
        r"^([a-z]+):([^=#\n]*)(?:#.*)?$", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return {target: needs.split() for target, needs in lines}


def _targets(command: str) -> list[str]:
    """Targets that a command makes; it does nothing else."""
    program, *targets = command.split()
    assert program == "make", command
    assert targets, command
    return targets


def test_every_command_is_a_target_of_the_makefile() -> None:
    steps = [step["run"] for job in _jobs().values() for step in job["steps"] if "run" in step]
    made = {
        target
        for command in [*steps, *(hook["entry"] for hook in _hooks())]
        for target in _targets(command)
    }
    assert {"test", "check", "lint"} <= made <= set(_prerequisites())


def test_two_pythons_on_linux_run_everything_and_arm64_what_precedes_a_commit() -> None:
    jobs = _jobs()
    runs = {
        name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()
    }
    assert runs == {"test": ["make test"], "check": ["make check"]}
    assert jobs["test"]["runs-on"].startswith("ubuntu-")
    assert jobs["check"]["runs-on"] in ARM64
    assert jobs["test"]["strategy"]["matrix"] == {"python-version": ["3.11", "3.13"]}


def test_the_pythons_are_allowed_and_the_oldest_allowed_is_among_them() -> None:
    allowed = SpecifierSet(
        tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    (oldest,) = (bound.version for bound in allowed if bound.operator == ">=")
    jobs = _jobs()
    for name, job in jobs.items():
        (given,) = (
            step["with"]
            for step in job["steps"]
            if step.get("uses", "").startswith("actions/setup-python@")
        )
        versions = [given["python-version"]]
        if "matrix" in job.get("strategy", {}):
            assert versions == ["${{ matrix.python-version }}"]
            versions = job["strategy"]["matrix"]["python-version"]
        assert all(isinstance(version, str) for version in versions), (
            f"{name}: YAML reads 3.10 without quotes as 3.1"
        )
        assert all(Version(version) in allowed for version in versions), name
        assert oldest in versions, name
        assert given["cache"] == "pip"
        assert (PROJECT_ROOT / given["cache-dependency-path"]).is_file()


def test_a_job_ends_by_itself_holds_no_secret_and_gives_way_to_the_next_push() -> None:
    content = yaml.safe_load(WORKFLOW.read_text())
    assert set(content[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    assert content["concurrency"]["cancel-in-progress"] is True
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        assert 10 <= job["timeout-minutes"] <= 60, name
    for path in (WORKFLOW, HOOKS):
        text = path.read_text()
        assert "secrets." not in text
        assert "://" not in text
        assert "index-url" not in text


def test_the_hooks_are_the_parts_of_make_check() -> None:
    assert [target for hook in _hooks() for target in _targets(hook["entry"])] == _prerequisites()[
        "check"
    ]
    assert all(
        hook["language"] == "system" and hook["pass_filenames"] is False for hook in _hooks()
    )


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_what_the_documents_tell_to_make_or_to_read_is_there(document: str) -> None:
    text = (PROJECT_ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    spans = [*re.findall(r"`([^`\n]+)`", text), *"".join(blocks).splitlines()]
    made = {name for span in spans for name in re.findall(r"\bmake ([a-z]+)", span)}
    assert {"test"} < made <= set(_prerequisites())
    paths = {
        span
        for span in spans
        if re.fullmatch(r"(research_lib|tests|notebooks|deploy|benchmarks)/[\w./]+", span)
    }
    assert paths
    assert [path for path in sorted(paths) if not (PROJECT_ROOT / path).exists()] == []


@pytest.mark.slow
def test_pre_commit_takes_its_configuration() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

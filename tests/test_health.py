"""The health check is green where a report could be made, and red with the reason where it could
not.

A check that starts a notebook kernel takes seconds. Where a test is about something else,
Jupyter is given a kernel
that cannot start (`no_kernel`): "kernel" is then red too, and says why at once.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from research_lib import health_check
from research_lib.__main__ import main
from research_lib.config import PROJECT_ROOT

# seconds; a command that ends by itself takes a few, this one only keeps a hang from lasting
OUTER_LIMIT = 300
IN_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
Usage = namedtuple("Usage", "total used free")


def _red(health: dict[str, Any]) -> dict[str, str]:
    """Reasons of the checks that failed, by name."""
    assert health["status"] == (
        "healthy" if all(check["healthy"] for check in health["checks"].values()) else "unhealthy"
    )
    return {
        name: check["detail"] for name, check in health["checks"].items() if not check["healthy"]
    }


def _kernel_of(folder: Path, argv: list[str]) -> None:
    """A kernel named python3 that Jupyter finds before the installed one."""
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "broken", "language": "python"}))


@pytest.fixture
def no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kernel_of(
        tmp_path / "jupyter", [str(tmp_path / "nowhere" / "python"), "-f", "{connection_file}"]
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def _in_namespace(mounts: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run after mounts that end with the process; a machine that does not allow them skips the
    test.
    """
    if (
        sys.platform != "linux"
        or subprocess.run([*IN_NAMESPACE, mounts], capture_output=True, check=False).returncode
    ):
        pytest.skip("mount namespaces are not allowed here")
    return subprocess.run(
        [*IN_NAMESPACE, f"{mounts} && {shlex.join(command)}"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=OUTER_LIMIT,
    )  # fmt: skip


@pytest.mark.slow
def test_a_working_installation_is_healthy(tmp_path: Path) -> None:
    health = health_check(tmp_path / "reports")
    assert _red(health) == {}
    assert re.fullmatch(r"a linear fit to \d+ observations", health["checks"]["model"]["detail"])
    assert abs(datetime.fromisoformat(health["timestamp"]) - datetime.now(UTC)) < timedelta(
        minutes=5
    )
    backends = {"analytical/multiplier", "cvxpy/CLARABEL", "cvxpy/OSQP", "cvxpy/SCS", "scipy/SLSQP"}
    assert backends | {"model", "kernel", "disk", "memory", "data"} <= set(health["checks"])
    assert json.loads(json.dumps(health)) == health
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.slow
def test_a_kernel_that_dies_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kernel_of(tmp_path, [sys.executable, "-c", "raise SystemExit(3)"])
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    red = _red(health_check(tmp_path))
    assert list(red) == ["kernel"]
    assert re.search("Kernel died before replying", red["kernel"])


@pytest.mark.slow
def test_a_kernel_without_the_library_and_reports_and_data_that_are_no_folders_are_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['yaml'] = None\n")
    monkeypatch.setenv(
        "PYTHONPATH", str(tmp_path)
    )  # reaches the kernel only: this process has started already
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "absent"))
    red = _red(health_check(tmp_path / "file" / "reports"))
    assert list(red) == ["kernel", "disk", "data"]
    assert "it cannot load the library: ModuleNotFoundError: import of yaml halted" in red["kernel"]
    assert "Not a directory" in red["disk"]
    assert red["data"] == (
        f"RESEARCH_DATA names {tmp_path}/absent, which is no folder; mount or unset it"
    )


def test_a_folder_for_temporary_files_that_cannot_be_written_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "below"))
    red = _red(health_check(tmp_path / "reports"))
    assert list(red) == ["kernel", "disk"]  # a kernel keeps its connection file there
    assert "Not a directory" in red["disk"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_kernel")
def test_a_full_disk_is_red(tmp_path: Path) -> None:
    """On a real file system of 1 MB, in a mount namespace that ends with the process."""
    full = tmp_path / "full"
    full.mkdir()
    mounts = (
        f"mount -t tmpfs -o size=1m none {shlex.quote(str(full))}"
        f" && head -c 1000000 /dev/zero > {shlex.quote(str(full / 'old'))}"
    )
    ask = (
        "import json, sys, research_lib; print(json.dumps(research_lib.health_check(sys.argv[1])))"
    )
    done = _in_namespace(mounts, [sys.executable, "-c", ask, str(full)])
    assert done.returncode == 0, done.stderr
    red = _red(json.loads(done.stdout))
    assert list(red) == ["kernel", "disk"]
    assert red["disk"] == "OSError: [Errno 28] No space left on device"


@pytest.mark.usefixtures("no_kernel")
def test_too_little_disk_or_memory_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 10**8, 10**8))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * 10**8))
    red = _red(health_check(tmp_path / "reports"))
    assert list(red) == ["kernel", "disk", "memory"]
    assert re.search("FileNotFoundError.*nowhere/python", red["kernel"])
    assert re.fullmatch(
        r"100 MB free on the disk of .*, a run needs 200; delete old .*", red["disk"]
    )
    assert (
        red["memory"]
        == "200 MB free of memory, a run needs 500; end other work, or raise the limit"
    )


@pytest.mark.slow
def test_a_solver_backend_that_is_not_installed_is_red_also_where_ctrl_c_is_ignored(
    tmp_path: Path,
) -> None:
    """In a process that cannot import it, as when it was never installed; --verbose tells the
    reason.

    It is started as `nohup` or a job in the background would: SIGINT ignored, in it and in its
    kernel.
    """
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['clarabel'] = None\n")
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # what is ignored stays so in a new process
    try:
        health = subprocess.Popen(
            [sys.executable, "-m", "research_lib", "health", "--verbose"],
            cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    with health:
        try:
            said, complained = health.communicate(timeout=OUTER_LIMIT)
        finally:
            health.kill()  # does nothing to a process that has ended
    assert (health.returncode, complained) == (1, "")
    assert _red(json.loads(said)) == {
        "cvxpy/CLARABEL": "not installed; install the packages of requirements.lock"
    }


@pytest.mark.usefixtures("no_kernel")
def test_without_verbose_only_the_names_of_failed_checks_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "secret"))
    assert main(["health"]) == 1
    said = capsys.readouterr().out
    told = json.loads(said)
    assert set(told) == {"status", "timestamp", "failed"}
    assert (told["status"], told["failed"]) == ("unhealthy", ["kernel", "data"])
    assert said.count("\n") == 1


def test_alive_is_not_asked_of_disk_or_data_but_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What liveness is for: a restart mends neither a full disk nor a missing mount, and loses
    runs.
    """
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "not_mounted"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 0))
    assert main(["health", "--alive"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"status", "timestamp", "failed"}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    assert main(["health", "--alive", "--verbose"]) == 1
    assert set(_red(json.loads(capsys.readouterr().out))) == {"memory"}


@pytest.mark.slow
def test_the_bench_door_runs_the_benchmarks_of_the_project(tmp_path: Path) -> None:
    """Of a copy of the library: first as it is installed, without benchmarks, then beside some."""
    shutil.copytree(
        PROJECT_ROOT / "research_lib",
        tmp_path / "research_lib",
        ignore=shutil.ignore_patterns("__pycache__"),
    )

    def bench(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "research_lib", "bench", *options],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True,
            text=True, check=False, timeout=OUTER_LIMIT,
        )  # fmt: skip

    alone = bench()
    assert alone.returncode == 2
    assert "benchmarks" in alone.stderr
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__main__.py").write_text(
        "import sys\nprint(sys.argv[1:])\nsys.exit(1)\n"
    )
    beside = bench("--output", "page.md")
    assert (beside.returncode, beside.stdout) == (1, "['--output', 'page.md']\n")

"""The health check is green where a report could be made, and red with the reason where it could not."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from research_lib import health_check, monitoring
from research_lib.__main__ import main
from research_lib.config import PROJECT_ROOT

DISK_ALONE = """
import json, sys
from pathlib import Path
from research_lib.health import _checked, _disk
print(json.dumps(_checked(lambda: _disk(Path(sys.argv[1])))))
"""


def _red(health: dict[str, Any]) -> dict[str, str]:
    """Reasons of the checks that failed, by name."""
    assert health["status"] == (
        "healthy" if all(check["healthy"] for check in health["checks"].values()) else "unhealthy"
    )
    return {name: check["detail"] for name, check in health["checks"].items() if not check["healthy"]}


def test_a_working_installation_is_healthy(tmp_path: Path) -> None:
    health = health_check(tmp_path / "reports")
    assert _red(health) == {}
    assert health["data_points"] > 0
    assert abs(datetime.fromisoformat(health["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=5)
    backends = {"analytical/multiplier", "cvxpy/CLARABEL", "cvxpy/OSQP", "cvxpy/SCS", "scipy/SLSQP"}
    assert backends | {"model", "kernel", "disk", "memory", "data"} <= set(health["checks"])
    assert json.loads(json.dumps(health)) == health
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/nowhere/python", "-f", "{connection_file}"], "FileNotFoundError.*nowhere/python"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "Kernel died before replying"),
    ],
)
def test_a_kernel_that_cannot_start_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], reason: str
) -> None:
    spec = tmp_path / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "broken", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    red = _red(health_check(tmp_path))
    assert list(red) == ["kernel"]
    assert re.search(reason, red["kernel"])


def test_a_kernel_that_cannot_load_the_library_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['yaml'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # reaches the kernel only: this process has started already
    red = _red(health_check(tmp_path / "reports"))
    assert list(red) == ["kernel"]
    assert "the kernel cannot load the library: ModuleNotFoundError: import of yaml halted" in red["kernel"]


def test_reports_and_data_that_are_no_folders_are_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "absent"))
    red = _red(health_check(tmp_path / "file" / "reports"))
    assert list(red) == ["disk", "data"]
    assert "Not a directory" in red["disk"]
    assert red["data"] == (
        f"RESEARCH_DATA names {tmp_path}/absent, which is no folder; mount it there, or unset RESEARCH_DATA"
    )


def test_a_folder_for_temporary_files_that_cannot_be_written_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "below"))
    red = _red(health_check(tmp_path / "reports"))
    assert list(red) == ["kernel", "disk"]  # a kernel keeps its connection file there
    assert "Not a directory" in red["disk"]


def test_a_full_disk_is_red(tmp_path: Path) -> None:
    """On a real file system of 1 MB, in a mount namespace that ends with the process."""
    mount = f"mount -t tmpfs -o size=1m none {shlex.quote(str(tmp_path))}"
    in_namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if os.name != "posix" or subprocess.run([*in_namespace, mount], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    command = shlex.join([sys.executable, "-c", DISK_ALONE, str(tmp_path)])
    fill = f"head -c 1000000 /dev/zero > {shlex.quote(str(tmp_path / 'old'))}"
    done = subprocess.run(
        [*in_namespace, f"{mount} && {fill} && {command}"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"healthy": False, "detail": "OSError: [Errno 28] No space left on device"}


def test_too_little_disk_or_memory_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = monitoring._ControlGroup.below(str(tmp_path), "memory.max", "memory.current", "inactive_file")
    for name, text in (
        ("max", "4294967296\n"),
        ("current", "4100000000\n"),
        ("stat", "anon 1\ninactive_file 5032704\n"),
    ):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr("research_lib.monitoring.CONTROL_GROUPS", (group,))
    monkeypatch.setattr("research_lib.health.LEAST_DISK_MB", 1e12)
    red = _red(health_check(tmp_path / "reports"))
    assert list(red) == ["disk", "memory"]
    assert re.fullmatch(r"[\d,]+ MB free on the disk of .*, a run needs 1,000,000,000,000; delete old .*", red["disk"])
    assert red["memory"] == "200 MB free of memory, a run needs 500; end other work, or raise the limit"


def test_a_solver_backend_that_is_not_installed_is_red(tmp_path: Path) -> None:
    """In a process that cannot import it, as when it was never installed; --verbose tells the reason."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['clarabel'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "research_lib", "health", "--verbose"],
        cwd=PROJECT_ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert _red(json.loads(done.stdout)) == {
        "cvxpy/CLARABEL": "not installed; install the packages of requirements.lock"
    }


def test_without_verbose_only_the_names_of_failed_checks_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "secret"))
    assert main(["health"]) == 1
    said = capsys.readouterr().out
    told = json.loads(said)
    assert set(told) == {"status", "timestamp", "data_points", "failed"}
    assert (told["status"], told["failed"]) == ("unhealthy", ["data"])
    assert said.count("\n") == 1
    monkeypatch.delenv("RESEARCH_DATA")
    assert main(["health"]) == 0


def test_alive_is_not_asked_of_disk_or_data_but_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What liveness is for: a restart mends neither a full disk nor a missing mount, and loses runs."""
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "not_mounted"))
    monkeypatch.setattr("research_lib.health.LEAST_DISK_MB", 1e12)
    assert main(["health", "--alive"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"status", "timestamp", "data_points", "failed"}
    monkeypatch.setattr("research_lib.health.LEAST_MEMORY_MB", 1e12)
    assert main(["health", "--alive", "--verbose"]) == 1
    assert set(_red(json.loads(capsys.readouterr().out))) == {"memory"}


def test_the_bench_door_runs_the_benchmarks_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("research_lib.__main__.PROJECT_ROOT", tmp_path)
    assert main(["bench"]) == 2
    assert "holds no benchmarks" in capfd.readouterr().err
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(1)\n")
    assert main(["bench", "--output", "page.md"]) == 1
    assert capfd.readouterr().out == "['--output', 'page.md']\n"

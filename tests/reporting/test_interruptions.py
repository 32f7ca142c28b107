"""Whenever the process is stopped or killed, reports are whole and the next call goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import tiny_project
from tiny_project import write_configuration, write_grid

from research_lib.reporting.configurations import chosen_runs
from research_lib.reporting.grids import load_grid
from research_lib.reporting.parameters import Project
from research_lib.reporting.placement import WORK, exclusive, place, spoilt
from research_lib.reporting.runner import Options, run_reports


def _start(project: Project) -> subprocess.Popen[bytes]:
    script = Path(tiny_project.__file__)
    process = subprocess.Popen(
        [sys.executable, str(script), str(project.configurations.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"
    return process


def _whole(project: Project) -> dict[str, int]:
    """Time of making of each report; every one that can be seen must be whole."""
    folders = [path for path in project.reports.glob("*/") if path.name != WORK]
    for folder in folders:
        assert spoilt(folder) == [], folder.name
    return {folder.name: (folder / "manifest.json").stat().st_mtime_ns for folder in folders}


def test_killed_at_ten_random_moments_reports_are_whole_and_the_rest_is_made_once(tiny: Project) -> None:
    write_grid(tiny, "grid", seeds=(1,))
    moments = random.Random(8)
    before: dict[str, int] = {}
    for _ in range(10):
        process = _start(tiny)
        time.sleep(moments.uniform(0.5, 4.0))
        process.kill()
        process.wait()
        now = _whole(tiny)
        assert before.items() <= now.items(), "a finished report was lost or made again"
        before = now
    runs = load_grid(tiny.configurations.parent / "grid.yml", tiny)
    outcome = run_reports(runs, tiny, Options(jobs=2))
    assert {name for name, what in outcome.items() if what == "unchanged"} == set(before)
    assert set(outcome.values()) <= {"made", "unchanged"}
    assert before.items() <= _whole(tiny).items()
    assert len(_whole(tiny)) == 12
    assert [path.name for path in (tiny.reports / WORK).iterdir()] == ["lock"]


def test_ctrl_c_keeps_what_is_finished_and_ends_what_runs(tiny: Project) -> None:
    write_grid(tiny, "grid", pause=0.2)
    process = _start(tiny)
    while not list(tiny.reports.glob("*/manifest.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert 1 <= len(_whole(tiny)) < 24
    assert all(f"| {name}: " in (tiny.reports / "README.md").read_text() for name in _whole(tiny))


def test_a_report_is_the_old_or_the_new_one_wherever_its_replacement_dies(tmp_path: Path) -> None:
    """Forks that die at their n-th change of the file system, for every n until one survives."""
    files = {"results.json": b"{}", "figures/a.png": b"a", "strategy_summary.md": b"text"}
    new = {**files, "results.json": b'{"new": 1}'}
    status, deaths, seen = 1, 0, []
    while status:
        with exclusive(tmp_path):
            place(tmp_path, "one", files, {"made": "old"})
        child = os.fork()
        if child == 0:
            _die_at_step(deaths)
            with exclusive(tmp_path):
                place(tmp_path, "one", new, {"made": "new"})
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        deaths += status != 0
        with exclusive(tmp_path):  # the next start heals
            assert spoilt(tmp_path / "one") == []
            seen.append((tmp_path / "one" / "results.json").read_bytes())
            assert [path.name for path in (tmp_path / WORK).iterdir()] == ["lock"]
    assert deaths >= 8
    assert seen == sorted(seen), "first the old one, then, from one step on, the new"
    assert {seen[0], seen[-1]} == {files["results.json"], new["results.json"]}


def _die_at_step(death: int) -> None:
    """Make this process die before its n-th change of the file system, without any clean-up."""
    seen = [0]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and str(arguments[1]) in ("w", "wb")
        if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            if seen[0] == death:
                os._exit(9)
            seen[0] += 1

    sys.addaudithook(watch)


def test_a_failure_leaves_the_report_and_is_forgotten_when_it_no_longer_holds(tiny: Project) -> None:
    def outcome() -> str:
        return run_reports(chosen_runs([], None, tiny), tiny)["one"]

    write_configuration(tiny, "one")
    assert outcome() == "made"
    write_configuration(tiny, "one", mode="fail")
    assert (
        outcome()
        == 'failed: strategy: stopped at `assert mode != "fail", "it was told to"`: AssertionError: it was told to'
    )
    assert spoilt(tiny.reports / "one") == [], "the last good report stays as it was"
    assert "it was told to" in (tiny.reports / "one" / "failure.md").read_text()
    write_configuration(tiny, "one")
    assert outcome() == "unchanged"
    assert not list((tiny.reports / "one").glob("failure.*"))

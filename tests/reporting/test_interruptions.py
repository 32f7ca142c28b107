"""Whenever the process is stopped or killed, reports are whole and the next call goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LONGEST, Family, wait_until
from tiny_project import command, write_configuration, write_grid

from research_lib.errors import ValidationError
from research_lib.reporting import (
    Options,
    Project,
    chosen_runs,
    load_grid,
    run_reports,
    verify_files,
)

pytestmark = pytest.mark.slow
DEATHS = Path(__file__).with_name("deaths.py")


def _whole(project: Project) -> dict[str, int]:
    """Time of making of each report; every one that can be seen must be whole."""
    folders = [path for path in project.reports.glob("*/") if path.name[0] != "."]
    for folder in folders:
        assert verify_files(folder) == [], folder.name
    return {folder.name: (folder / "manifest.json").stat().st_mtime_ns for folder in folders}


def _left_over(project: Project) -> list[str]:
    """What lies among the reports unseen."""
    return [path.name for path in project.reports.glob(".*/*")]


def _begun(tiny: Project, family: Family, grid: Path) -> subprocess.Popen[str]:
    """A process that makes the grid's reports, of which the first is there."""
    arguments = ("report", "--grid", str(grid), "--jobs", "2")
    maker = family.start(
        command(tiny, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: bool(_made(tiny)) or maker.poll() is not None, "a first report")
    assert maker.poll() is None, maker.communicate()
    return maker


def _made(project: Project) -> list[Path]:
    return list(project.reports.glob("*/manifest.json"))


def test_killed_when_some_reports_are_made_these_are_whole_and_the_rest_is_made_once(
    tiny: Project, family: Family
) -> None:
    """Runs of seed 2 never end, so that however fast the others are it is killed at work; others must wait until then.

    Their kernels are in compiled code, and so cannot see by themselves that nobody waits for them.
    """
    grid = write_grid(tiny, "grid", mode="grind on seed 2")
    maker = _begun(tiny, family, grid)
    runs = [run for run in load_grid(grid, tiny) if run.effective["strategy"]["seed"] == 1]
    with pytest.raises(ValidationError, match="another process is making reports"):
        run_reports(runs, tiny)
    maker.kill()
    maker.communicate(timeout=LONGEST)
    before = _whole(tiny)
    assert 1 <= len(before) <= 4
    wait_until(lambda: not family.alive(), "the end of all that the killed process had started")
    outcome = run_reports(runs, tiny, Options(jobs=2))
    assert {name for name, what in outcome.items() if what == "unchanged"} == set(before)
    assert set(outcome.values()) <= {"made", "unchanged"}
    assert before.items() <= _whole(tiny).items(), "a finished report was lost or made again"
    assert len(_whole(tiny)) == 4
    assert _left_over(tiny) == ["lock"]


def test_ctrl_c_keeps_what_is_finished_and_ends_what_runs(tiny: Project, family: Family) -> None:
    """Runs of seed 2 hang, so that however fast the others are no more than 4 of 8 are made by then."""
    maker = _begun(tiny, family, write_grid(tiny, "grid", mode="hang on seed 2"))
    maker.send_signal(signal.SIGINT)
    _, said = maker.communicate(timeout=LONGEST)
    assert maker.returncode == 130, said
    stopped = "stopped; what is finished is whole, the unfinished is as it was before"
    assert said.splitlines()[-1] == stopped, said
    assert 1 <= len(_whole(tiny)) <= 4
    assert all(f"| {name}: " in (tiny.reports / "README.md").read_text() for name in _whole(tiny))
    wait_until(lambda: not family.alive(), "the end of all that the stopped process had started")


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="each death is a fork's, and this system has none"
)
def test_a_report_is_the_old_or_the_new_one_wherever_its_replacement_dies(
    tiny: Project, family: Family
) -> None:
    """Forks that die at their n-th change of the file system, for every n until one survives."""
    process = family.start(
        [sys.executable, str(DEATHS), str(tiny.notebooks.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    seen = json.loads(said)
    assert len(seen) >= 9, "eight deaths, and the one that survives"
    assert {tuple(one["wrong"]) for one in seen} == {()}
    assert {tuple(one["left"]) for one in seen} == {("lock",)}
    titles = [one["title"] for one in seen]
    assert titles == sorted(titles, reverse=True), (
        "first the old one, then, from one step on, the new"
    )
    assert {titles[0], titles[-1]} == {"# What does it cost?", "# New"}


def test_a_failure_leaves_the_report_and_is_forgotten_when_it_no_longer_holds(
    tiny: Project,
) -> None:
    def outcome() -> str:
        return run_reports(chosen_runs([], None, tiny), tiny)["one"]

    write_configuration(tiny, "one")
    assert outcome() == "made"
    write_configuration(tiny, "one", mode="fail")
    assert outcome() == "failed: strategy: AssertionError: it was told to"
    assert verify_files(tiny.reports / "one") == [], "the last good report stays as it was"
    assert "it was told to" in (tiny.reports / "one" / "failure.md").read_text()
    write_configuration(tiny, "one")
    assert outcome() == "unchanged"
    assert not list((tiny.reports / "one").glob("failure.*"))

"""Killed at random moments, reports are whole and what is finished is not made again."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import LONGEST, Family, wait_until
from tiny_project import command, tiny_project, write_grid

from research_lib.reporting import Options, Project, load_grid, run_reports, verify_files

pytestmark = pytest.mark.soak
KILLS, SEEDS = 15, 10


def _whole(project: Project) -> dict[str, int]:
    """Time of making of each report; every one that can be seen must be whole."""
    folders = [path for path in project.reports.glob("*/") if path.name[0] != "."]
    for folder in folders:
        assert verify_files(folder) == [], folder.name
    return {folder.name: (folder / "manifest.json").stat().st_mtime_ns for folder in folders}


def _wait_for_reports(project: Project, enough: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many are there, or the process has ended by itself."""

    def holds() -> bool:
        return (
            process.poll() is not None
            or len(list(project.reports.glob("*/manifest.json"))) >= enough
        )

    wait_until(holds, f"{enough} reports")


def test_killed_at_random_moments_reports_are_whole_and_the_rest_is_made_once(
    tmp_path: Path, family: Family, soak_figures: Callable[[str, float], None]
) -> None:
    """Each comes a moment after none to three more reports are there: on any machine in the middle of the work."""
    project, moments, begin = tiny_project(tmp_path), random.Random(8), time.monotonic()
    grid = write_grid(project, "grid", seeds=range(SEEDS))
    arguments = command(project, "report", "--grid", str(grid), "--jobs", "2", "--verbose")
    before: dict[str, int] = {}
    at_work, seen = 0, 0
    for _ in range(KILLS):
        process = family.start(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        enough = len(before) + moments.randint(0, 3)
        _wait_for_reports(project, enough, process)
        time.sleep(moments.uniform(0, 2))
        at_work += process.poll() is None
        process.kill()
        process.communicate(timeout=LONGEST)
        now = _whole(project)
        assert before.items() <= now.items(), "a finished report was lost or made again"
        before, seen = now, seen + len(now)
    wait_until(lambda: not family.alive(), "the end of all that the killed processes had started")
    runs = load_grid(grid, project)
    outcome = run_reports(runs, project, Options(jobs=2))
    assert {name for name, what in outcome.items() if what == "unchanged"} == set(before)
    assert set(outcome.values()) <= {"made", "unchanged"}
    assert before.items() <= _whole(project).items()
    assert len(_whole(project)) == len(runs)
    assert [path.name for path in project.reports.glob(".*/*")] == ["lock"]
    assert at_work > 0, "no kill met a process at work"
    assert before, "no report was there to lose"
    soak_figures("kills", KILLS)
    soak_figures("of these, of a process at work", at_work)
    soak_figures("reports seen after kills, all whole", seen)
    soak_figures("reports that outlived a kill and were not made again", len(before))
    soak_figures("seconds", time.monotonic() - begin)

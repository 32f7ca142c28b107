"""Whenever the process is stopped or killed, reports are whole and the next call goes on."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_project
from helpers import wait_until
from tiny_project import write_configuration, write_grid

from research_lib.reporting.configurations import chosen_runs
from research_lib.reporting.grids import load_grid
from research_lib.reporting.parameters import Project
from research_lib.reporting.placement import WORK, exclusive, place, spoilt
from research_lib.reporting.runner import Options, run_reports

LONGEST_SILENCE = 120.0  # s


class _Maker:
    """Processes that make the grid's reports, each forked from one that has the library loaded."""

    def __init__(self, project: Project) -> None:
        command = [sys.executable, str(Path(tiny_project.__file__)), str(project.configurations.parent)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def _line(self) -> bytes:
        """What it says next; a test that fails, and not one that hangs, where it says nothing."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LONGEST_SILENCE)
        assert ready, f"the process that makes reports said nothing for {LONGEST_SILENCE:g} s"
        return self.process.stdout.readline()  # unbuffered: what is there is one line

    def begin(self) -> int:
        """Number of the process that has begun."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return int(self._line())

    def end(self, maker: int, how: signal.Signals) -> None:
        """Send it a signal, and wait for its end."""
        os.kill(maker, how)
        assert self._line() == b"ended\n"


@pytest.fixture
def maker(tiny: Project) -> Iterator[_Maker]:
    made = _Maker(tiny)
    yield made
    made.process.kill()
    made.process.communicate()


def _whole(project: Project) -> dict[str, int]:
    """Time of making of each report; every one that can be seen must be whole."""
    folders = [path for path in project.reports.glob("*/") if path.name != WORK]
    for folder in folders:
        assert spoilt(folder) == [], folder.name
    return {folder.name: (folder / "manifest.json").stat().st_mtime_ns for folder in folders}


def test_killed_at_ten_random_moments_reports_are_whole_and_the_rest_is_made_once(tiny: Project, maker: _Maker) -> None:
    write_grid(tiny, "grid", seeds=(1,))
    moments = random.Random(8)
    before: dict[str, int] = {}
    for _ in range(10):
        process = maker.begin()
        time.sleep(moments.uniform(0.2, 3.0))
        maker.end(process, signal.SIGKILL)
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


def test_ctrl_c_keeps_what_is_finished_and_ends_what_runs(tiny: Project, maker: _Maker) -> None:
    """Runs of seed 2 hang, so that however fast the others are no more than 12 of 24 are made by then."""
    write_grid(tiny, "grid", mode="hang on seed 2")
    process = maker.begin()
    wait_until(lambda: bool(list(tiny.reports.glob("*/manifest.json"))), "a first report")
    maker.end(process, signal.SIGINT)
    assert 1 <= len(_whole(tiny)) <= 12
    assert all(f"| {name}: " in (tiny.reports / "README.md").read_text() for name in _whole(tiny))


def test_a_report_is_the_old_or_the_new_one_wherever_its_replacement_dies(tmp_path: Path) -> None:
    """Forks that die at their n-th change of the file system, for every n until one survives."""
    files = {"results.json": b'{"a": 1}', "figures/a.png": b"a", "strategy_summary.md": b"text"}
    new = {**files, "results.json": b'{"b": 1}'}
    known = {"configuration": {"name": "one", "source": "one.yml", "parameters": {}}, "sections": {}}
    status, deaths, seen = 1, 0, []
    while status:
        with exclusive(tmp_path):
            place(tmp_path, "one", files, known | {"made": "old"})
        child = os.fork()
        if child == 0:
            _die_at_step(deaths)
            with exclusive(tmp_path):
                place(tmp_path, "one", new, known | {"made": "new"})
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

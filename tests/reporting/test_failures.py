"""What goes wrong in one run is told in the index, while the others finish."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import LONGEST, Family
from tiny_project import command, tiny_project, write_configuration

from research_lib.__main__ import main
from research_lib.errors import (
    MemoryLimitError,
    MissingDataError,
    ModelFittingError,
    ValidationError,
)
from research_lib.reporting import Options, Project, Report, chosen_runs, run_reports

pytestmark = pytest.mark.slow
KINDS = {
    "hang": "time",
    "hoard": "memory",
    "die": "kernel",
    "fail": "cell",
    "silent": "page",
    "absent": "data",
}
LIMITS = (
    4.0,
    60.0,
    LONGEST,
)  # s: the first of them in which a machine comes to the cell that hangs


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """What must not exceed a limit has a wide one; what must exceed it hangs for ever."""
    project = tiny_project(tmp_path_factory.mktemp("troubled"))
    for name in ("hoard", "die", "fail", "silent"):
        write_configuration(project, name, mode=name)
    write_configuration(project, "absent", data_file_name="nowhere/prices.csv")
    for name in ("first", "second"):
        write_configuration(project, name, seed=len(name))
    options = Options(jobs=2, seconds=LONGEST, memory_mb=400.0)
    outcome = run_reports(chosen_runs([], None, project), project, options)
    write_configuration(project, "hang", mode="hang")
    for seconds in LIMITS:
        hanging = Options(seconds=seconds)
        outcome |= run_reports(chosen_runs(["hang"], None, project), project, hanging)
        assert f"not finished after {seconds:,.0f} s" in outcome["hang"]
        if json.loads((project.reports / "hang" / "failure.json").read_text())["cell"]:
            break
    return project, outcome


def test_the_others_finish(troubled: tuple[Project, dict[str, str]]) -> None:
    _, outcome = troubled
    assert {name for name, what in outcome.items() if what == "made"} == {"first", "second"}
    assert "not finished after" in outcome["hang"]
    assert "the limit is 400 MB" in outcome["hoard"]
    assert "Kernel died" in outcome["die"]
    assert "the notebook handed on 0 results" in outcome["silent"]
    assert outcome["absent"].startswith("skipped: data file nowhere/prices.csv is not in")


def test_each_is_told_in_the_index_with_its_kind_and_how_to_rerun_it(
    troubled: tuple[Project, dict[str, str]],
) -> None:
    project, _ = troubled
    index = (project.reports / "README.md").read_text()
    for name, kind in KINDS.items():
        (line,) = [one for one in index.splitlines() if one.startswith(f"| [{name}](")]
        assert f"| {kind} |" in line
        assert f"`python -m research_lib report {name}`" in line
        assert not (project.reports / name / "results.json").exists()
    assert "Of 8 runs 5 failed (62.5 %). Of 2 distinct differences" in index
    assert "0 are above 0" in index
    assert "(the adaptive strategy costs more) and 2 below." in index


def test_the_note_has_the_cell_the_error_and_the_parameters(
    troubled: tuple[Project, dict[str, str]],
) -> None:
    project, _ = troubled
    text = (project.reports / "fail" / "failure.md").read_text()
    assert "AssertionError: it was told to" in text
    assert 'assert mode != "fail"' in text
    assert "| mode | `fail` |" in text
    assert "python -m research_lib report fail" in text
    assert str(project.reports.parent) not in text


def test_what_a_data_file_holds_is_quoted_in_the_note_and_in_no_log(
    tiny: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("CLIENT-7-SELLS")
    write_configuration(tiny, "quoting", mode="quote", data_file_name="orders.csv")
    log = tmp_path / "runs.log"
    assert main(["report", "quoting", "--verbose", "--log-file", str(log)], tiny) == 2
    told = log.read_text() + "".join(capfd.readouterr())
    assert "strategy: failed: ValueError; see failure.md" in told
    assert "quoting: failed, see reports/quoting/failure.md" in told
    assert "CLIENT-7" not in told
    assert "row 1 holds 'CLIENT-7-SELLS'" in (tiny.reports / "quoting" / "failure.md").read_text()


def test_progress_tells_the_time_left(
    tiny: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        write_configuration(tiny, name)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run_reports(chosen_runs(["one", "two"], None, tiny), tiny, Options(jobs=1))
    bars = capsys.readouterr().err
    assert re.search(r" 1/2 \[\d\d:\d\d<\d\d:\d\d, ", bars)


def test_a_reports_folder_that_cannot_be_written_is_named_in_one_line(
    tiny: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").write_text("a file where a folder is meant")
    (tiny.reports / "README.md").mkdir(parents=True)
    for project, name in (
        (replace(tiny, reports=tmp_path / "full" / "reports"), "full"),
        (tiny, "README.md"),
    ):
        assert main(["report", "--all"], project) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(
            rf"error: .*{name}.*; check the path and who may write there\n", said
        ), said


def test_data_that_are_not_there_are_skipped_and_an_error_when_asked_for_by_name(
    tiny: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_configuration(tiny, "lone", data_file_name="nowhere/prices.csv")
    every = ("report", "--all")
    calls = every, (*every, "--strict"), ("report", "lone"), (*every, "--force")
    assert [main(arguments, tiny) for arguments in calls] == [0, 1, 3, 0]
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("lone: skipped: data file nowhere/prices.csv is not in")


UNLUCKY = """
import os, runpy, sys, time
with open(sys.argv.pop(1), "a+") as starts:
    starts.write("x")
    starts.seek(0)
    begun = len(starts.read())
while begun == 1:
    time.sleep(1)  # as one that hangs when it ends because its port was taken
if begun in (3, 4, 5, 6):
    os._exit(1)
runpy.run_module("ipykernel_launcher", run_name="__main__")
"""
RETRIED = """
import json, pathlib, sys
from research_lib.reporting import Options, chosen_runs, run, run_reports
run.FIRST_WAIT = 10
from tiny_project import tiny_again
project = tiny_again(pathlib.Path(sys.argv[1]))
outcome = run_reports(chosen_runs(["one", "two"], None, project), project, Options(jobs=1))
sys.stdout.write(json.dumps(outcome))
"""


def test_a_kernel_that_does_not_come_up_is_started_again(
    tiny: Project, tmp_path: Path, family: Family
) -> None:
    """One that hangs, and ones that end; a cell's own error is not repeated."""
    script, spec = (
        tmp_path / "unlucky.py",
        tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json",
    )
    script.write_text(UNLUCKY)
    argv = [sys.executable, str(script), str(tmp_path / "starts"), "-f", "{connection_file}"]
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "unlucky", "language": "python"}))
    for name in ("one", "two"):
        write_configuration(tiny, name)
    process = family.start(
        [sys.executable, "-c", RETRIED, str(tmp_path)],
        environment={"JUPYTER_PATH": str(tmp_path / "jupyter")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    error = "RuntimeError: Kernel died before replying to kernel_info"
    assert json.loads(said) == {"one": "made", "two": f"failed: strategy: {error}"}
    failure = json.loads((tiny.reports / "two" / "failure.json").read_text())
    assert [failure[key] for key in ("kind", "cell", "error")] == ["kernel", "", error]


def test_a_part_that_a_sample_does_not_allow_is_left_out_with_its_reason_and_a_fault_is_not() -> (
    None
):
    report = Report("modeling")

    def tested(books: int, *, least: int) -> int:
        if books < least:
            raise ModelFittingError(f"{books} books, the test needs {least}; add days")
        return books // (least - 1)

    assert report.part("tests", tested, 20, least=11) == 2
    assert report.left_out == {}
    assert report.part("tests", tested, 5, least=11) is None
    assert report.left_out == {"tests": "5 books, the test needs 11; add days"}
    with pytest.raises(ZeroDivisionError):
        report.part("tests", tested, 5, least=1)
    faults = (
        ValidationError("side must be buy or sell"),
        MissingDataError("no such file"),
        MemoryLimitError("too large"),
    )
    for fault in faults:

        def broken(why: Exception = fault) -> None:
            raise why

        with pytest.raises(type(fault)):
            report.part("data", broken)
    assert list(report.left_out) == ["tests"]


def test_the_note_of_a_limit_has_the_cell_that_was_running(
    troubled: tuple[Project, dict[str, str]],
) -> None:
    project, _ = troubled
    for name in ("hang", "hoard"):
        assert "while mode in (" in (project.reports / name / "failure.md").read_text()


def test_nothing_is_left_to_do_at_exit_by_a_kernel_that_never_was_ready(tmp_path: Path) -> None:
    """Less than a second, which is rounded down to none, is too short on every machine."""
    project = tiny_project(tmp_path)
    write_configuration(project, "one")
    late = command(project, "report", "one", "--time-limit", "0.5")
    ended = subprocess.run(late, capture_output=True, text=True, timeout=LONGEST)
    assert ended.returncode == 2, ended.stderr
    assert "strategy: failed: not finished after 0.5 s, the limit" in ended.stderr
    assert "Traceback" not in ended.stderr

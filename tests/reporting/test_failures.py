"""What goes wrong in one run is told in the index, while the others finish."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from tiny_project import write_configuration

from research_lib.__main__ import main
from research_lib.errors import MemoryLimitError, MissingDataError, ModelFittingError, ValidationError
from research_lib.reporting import parameters, supervision
from research_lib.reporting.configurations import chosen_runs
from research_lib.reporting.parameters import Project
from research_lib.reporting.provenance import ReportFolder
from research_lib.reporting.runner import Options, run_reports
from research_lib.reporting.supervision import Limits

KINDS = {"hang": "time", "hoard": "memory", "die": "kernel", "fail": "cell", "silent": "results", "absent": "data"}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    from tiny_project import tiny_project

    project = tiny_project(tmp_path_factory.mktemp("troubled"))
    for name in ("hang", "hoard", "die", "fail", "silent"):
        write_configuration(project, name, mode=name)
    write_configuration(project, "absent", data_file_name="nowhere/prices.csv")
    for name in ("first", "second"):
        write_configuration(project, name, seed=len(name))
    limits = Limits(seconds=20.0, memory_mb=400.0)
    return project, run_reports(chosen_runs([], None, project), project, Options(jobs=3, limits=limits))


def test_the_others_finish(troubled: tuple[Project, dict[str, str]]) -> None:
    _, outcome = troubled
    assert {name for name, what in outcome.items() if what == "made"} == {"first", "second"}
    assert "not finished after 20 s" in outcome["hang"]
    assert "the limit is 400 MB" in outcome["hoard"]
    assert "Kernel died" in outcome["die"]
    assert "the notebook left no strategy.json" in outcome["silent"]
    assert outcome["absent"].startswith("skipped: data file nowhere/prices.csv is not in")


def test_each_is_told_in_the_index_with_its_kind_and_how_to_rerun_it(troubled: tuple[Project, dict[str, str]]) -> None:
    project, _ = troubled
    index = (project.reports / "README.md").read_text()
    for name, kind in KINDS.items():
        (line,) = [one for one in index.splitlines() if one.startswith(f"| [{name}](")]
        assert f"| {kind} |" in line
        assert f"`python -m research_lib report {name}`" in line
        assert not (project.reports / name / "results.json").exists()
    assert "Of 8 runs 6 failed (75.0 %). Of 2 with a saving, 2 have an estimate above 0 (100.0 %), 2 beyond" in index
    assert (project.reports / "overview.png").stat().st_size > 5_000


def test_the_note_has_the_cell_the_error_and_the_parameters(troubled: tuple[Project, dict[str, str]]) -> None:
    project, _ = troubled
    text = (project.reports / "fail" / "failure.md").read_text()
    assert "AssertionError: it was told to" in text
    assert 'assert mode != "fail"' in text
    assert "| mode | `fail` |" in text
    assert "python -m research_lib report fail" in text
    assert str(Path.home()) not in text


def test_what_a_data_file_holds_is_quoted_in_the_note_and_in_no_log(
    tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(parameters, "Project", lambda: tiny)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("CLIENT-7-SELLS")
    write_configuration(tiny, "quoting", mode="quote", data_file_name="orders.csv")
    log = tmp_path / "runs.log"
    assert main(["report", "quoting", "--verbose", "--log-file", str(log)]) == 2
    told = log.read_text() + "".join(capfd.readouterr())
    assert "strategy: failed: ValueError; failure.md tells" in told
    assert "quoting: failed, reports/quoting/failure.md tells" in told
    assert "CLIENT-7" not in told
    assert "row 1 holds 'CLIENT-7-SELLS'" in (tiny.reports / "quoting" / "failure.md").read_text()


def test_progress_counts_what_became_of_runs_and_tells_the_time_left(
    tiny: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, mode in (("one", ""), ("two", ""), ("three", "fail")):
        write_configuration(tiny, name, mode=mode)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run_reports(chosen_runs([], None, tiny), tiny, Options(jobs=1))
    bars = capsys.readouterr().err.split("\r")
    assert re.search(r"notebooks:\s+33%.* 1/3 \[\d\d:\d\d<\d\d:\d\d, .*1 (made|failed)\]", "\n".join(bars))
    assert re.search(r"notebooks: 100%.* 3/3 .*(2 made, 1 failed|1 failed, 2 made)\]", bars[-1])


def test_a_kernel_that_does_not_come_up_is_started_again(
    tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another kernel has just taken its port; a cell's own error is not repeated."""
    from research_lib.reporting import kernels

    starts = tmp_path / "starts"
    unlucky = (
        f"file = open({str(starts)!r}, 'a+'); file.write('x'); file.flush(); file.seek(0); begun = len(file.read())",
        "import os; begun in (1, 3, 4) and os._exit(1)",
    )
    monkeypatch.setattr(
        kernels,
        "KERNEL_ARGUMENTS",
        [*kernels.KERNEL_ARGUMENTS, *(f"--IPKernelApp.exec_lines={one}" for one in unlucky)],
    )
    task = {"notebook": str(tiny.notebook("strategy")), "target": str(tmp_path / "out.ipynb"), "profile": ""}
    task |= {"parameters": {}, "retries": 1}
    assert kernels.run_notebook(task) == {"status": "done", "attempts": 2}
    answer = kernels.run_notebook(task)
    assert (answer["status"], answer["kind"], answer["attempts"], answer["cell"]) == ("failed", "kernel", 2, "")
    assert answer["error"] == "RuntimeError: Kernel died before replying to kernel_info"


def test_a_part_that_a_sample_does_not_allow_is_left_out_with_its_reason_and_a_fault_is_not() -> None:
    report = ReportFolder("", "modeling")

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


def test_a_process_that_dies_stalls_or_stops_in_the_middle_of_its_answer_holds_nobody_up(tmp_path: Path) -> None:
    """Half a line is no answer: the limit of time is kept, and an end is told."""
    order = {"target": str(tmp_path / "none.ipynb")}
    said = "import sys, time; sys.stdout.write('{'); sys.stdout.flush(); "
    dribble = "[(sys.stdout.write('x' * 9), sys.stdout.flush(), time.sleep(0.05)) for _ in range(1200)]"
    fates = (
        ("time.sleep(60)", "time", "not finished after 1 s"),
        (dribble, "time", "not finished after 1 s"),
        ("1/0", "kernel", "division by zero"),
    )
    for then, kind, told in fates:
        helper = supervision._Helper()
        helper.end()
        helper.log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `end`
        helper.process = subprocess.Popen(
            [sys.executable, "-c", said + then], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=helper.log
        )
        answer = helper.ask(order, Limits(seconds=1.0), threading.Event())
        assert (answer["status"], answer["kind"]) == ("failed", kind)
        assert told in answer["error"]
        helper.end()


def test_the_note_of_a_limit_has_the_cell_that_was_running(troubled: tuple[Project, dict[str, str]]) -> None:
    project, _ = troubled
    for name in ("hang", "hoard"):
        assert "time.sleep(600)" in (project.reports / name / "failure.md").read_text()

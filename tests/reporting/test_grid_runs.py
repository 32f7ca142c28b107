"""Many runs: on two workers, one by one, on Dask; what is unchanged is not run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from distributed import Client, LocalCluster
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
GRID = "grid.yml"


def _results(project: Project) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in project.reports.glob("*/results.json")}


def _elsewhere(project: Project, folder: Path) -> Project:
    return replace(project, reports=folder / "reports")


def test_two_workers_give_what_one_by_one_gives_bit_for_bit(
    made_grid: Project, tmp_path: Path
) -> None:
    serial = _elsewhere(made_grid, tmp_path)
    runs = load_grid(made_grid.configurations.parent / GRID, made_grid)[::4]
    assert set(run_reports(runs, serial, Options(jobs=1)).values()) == {"made"}
    together = _results(made_grid)
    assert len(together) == 8
    assert len(set(together.values())) == 8, "every run has a result of its own"
    assert _results(serial) == {run.name: together[run.name] for run in runs}


def _scheduler(folder: Path, family: Family) -> tuple[str, Path]:
    """Address and file of a Dask scheduler over localhost."""
    file = folder / "scheduler.json"
    arguments = [
        "scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    ]
    once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}  # 3 take minutes
    process = _dask(arguments, folder / "scheduler.log", family, once)

    def is_there() -> bool:
        return process.poll() is not None or (file.is_file() and file.read_text().endswith("}"))

    wait_until(is_there, "a scheduler's file")
    assert process.poll() is None, (folder / "scheduler.log").read_text()
    return json.loads(file.read_text())["address"], file


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One for all tests that leave it running; each brings its own workers."""
    started = Family()
    try:
        yield _scheduler(tmp_path_factory.mktemp("scheduler"), started)
    finally:
        started.end()


def _dask(
    arguments: list[str], log: Path, family: Family, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    with log.open("wb") as said:
        command = [sys.executable, "-m", "dask", *arguments]
        return family.start(command, environment, stdout=said, stderr=said, cwd=log.parent)


def _worker(
    file: Path, name: str, family: Family, *, nanny: bool = False
) -> subprocess.Popen[bytes]:
    """One with a nanny is started again whenever it dies."""
    command = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard"]
    command += ["--name", name, "--nanny" if nanny else "--no-nanny"]
    return _dask(command, file.with_name(f"{name}.log"), family)


def test_dask_gives_the_same_and_loses_nothing_when_a_worker_is_killed(
    made_grid: Project, tmp_path: Path, scheduler: tuple[str, Path], family: Family
) -> None:
    address, file = scheduler
    project = _elsewhere(made_grid, tmp_path)
    workers = [_worker(file, f"{name} of two", family) for name in ("first", "second")]
    runs = load_grid(made_grid.configurations.parent / GRID, project)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run_reports, runs, project, Options(scheduler=address))
        first, twin = (psutil.Process(worker.pid) for worker in workers)
        wait_until(lambda: len(_results(project)) >= 2 or call.done(), "two reports")
        # Its twin stands still meanwhile and holds runs of its own, so that the grid cannot end before the kill.
        twin.suspend()
        try:
            wait_until(lambda: bool(first.children()) or call.done(), "a worker at work")
            orphans = first.children(recursive=True)
            first.kill()
        finally:
            twin.resume()
        assert not call.done(), call.result()
        _worker(file, "third", family)
        outcome = call.result(LONGEST)
    assert set(outcome.values()) == {"made"}
    assert _results(project) == _results(made_grid)
    assert orphans
    _, alive = psutil.wait_procs(orphans, timeout=LONGEST)
    assert not alive, "a killed worker leaves no notebook running"


@pytest.mark.skipif(os.name != "posix", reason="kills processes by POSIX signals")
def test_a_notebook_that_kills_every_worker_is_told_and_the_others_finish(
    tiny: Project, scheduler: tuple[str, Path], family: Family
) -> None:
    address, file = scheduler
    write_configuration(tiny, "fatal", mode="orphan")
    write_configuration(tiny, "sound")
    _worker(file, "started again and again", family, nanny=True)
    outcome = run_reports(chosen_runs([], None, tiny), tiny, Options(scheduler=address))
    assert outcome["sound"] == "made"
    assert outcome["fatal"].startswith("failed: strategy: Attempted to run task")
    assert json.loads((tiny.reports / "fatal" / "failure.json").read_text())["kind"] == "worker"


def test_ctrl_c_cancels_what_waits_on_dask_and_keeps_what_is_finished(
    tiny: Project, scheduler: tuple[str, Path], family: Family
) -> None:
    """Runs of seed 2 hang, so that some wait and some are under way when the call is stopped."""
    address, file = scheduler
    grid = write_grid(tiny, "grid", mode="hang on seed 2")
    for name in ("first", "second"):
        _worker(file, f"{name} to be stopped", family)
    arguments = command(tiny, "report", "--grid", str(grid), "--scheduler", address)
    call = family.start(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(_results(tiny)) or call.poll() is not None, "a first report")
    call.send_signal(signal.SIGINT)
    _, said = call.communicate(timeout=LONGEST)
    assert call.returncode == 130, said
    assert (
        said.splitlines()[-1]
        == "stopped; what is finished is whole, the unfinished is as it was before"
    )
    with Client(address, set_as_default=False, timeout=LONGEST) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks])
    assert left == [], "nothing waits, and nothing more is begun"
    made = _results(tiny)
    assert 1 <= len(made) <= 4
    assert [name for name in made if verify_files(tiny.reports / name)] == []
    assert {path.name for path in tiny.reports.glob("*/")} == {".work", *made}


def test_a_scheduler_that_goes_away_is_an_error_with_a_remedy(
    tiny: Project, tmp_path: Path, family: Family
) -> None:
    address, file = _scheduler(tmp_path, family)
    write_configuration(tiny, "long", mode="hang")
    worker = _worker(file, "first", family)

    runs, options = (chosen_runs([], None, tiny), Options(scheduler=address, seconds=LONGEST))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run_reports, runs, tiny, options)
        try:
            wait_until(
                lambda: bool(psutil.Process(worker.pid).children()) or call.done(),
                "a worker at work",
            )
        finally:
            family.started[0].kill()
        with pytest.raises(
            ValidationError, match=r"not there, or runs were cancelled .*; what is finished is kept"
        ):
            call.result(LONGEST)
    assert (tiny.reports / "README.md").is_file(), "the index is written all the same"


def test_a_scheduler_that_goes_away_before_a_worker_comes_is_an_error_with_a_remedy(
    tiny: Project, tmp_path: Path, family: Family
) -> None:
    import dask
    import distributed  # noqa: F401 -- its defaults must be there before one is set, or they leave with it

    address, _ = _scheduler(tmp_path, family)
    write_configuration(tiny, "one")
    runs, waits = chosen_runs([], None, tiny), {"distributed.comm.timeouts.connect": "5s"}
    with ThreadPoolExecutor(1) as pool, dask.config.set(waits):
        with Client(address, set_as_default=False, timeout=LONGEST) as watcher:
            call = pool.submit(run_reports, runs, tiny, Options(scheduler=address))

            def is_waiting() -> bool:
                clients = watcher.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.clients])
                others = {*clients} - {"fire-and-forget", watcher.id}  # the first is Dask's own
                return bool(others) or call.done()

            wait_until(is_waiting, "a client that waits")
        family.started[0].kill()
        with pytest.raises(
            ValidationError,
            match=r"scheduler or workers at tcp://.* are not there, or runs were cancelled",
        ):
            call.result(LONGEST)


def test_no_scheduler_is_an_error_with_a_remedy(tiny: Project) -> None:
    import dask
    import distributed  # noqa: F401 -- its defaults must be there before one is set, or they leave with it

    write_configuration(tiny, "one")
    runs, refused = (
        chosen_runs([], None, tiny),
        r"scheduler or workers at tcp://127.0.0.1:9 are not there.*leave out",
    )
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ValidationError, match=refused),
    ):
        run_reports(runs, tiny, Options(scheduler="tcp://127.0.0.1:9"))


def test_a_run_is_repeated_only_when_its_inputs_or_its_report_changed(
    tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    (tmp_path / "prices.csv").write_text("1,2")
    write_configuration(tiny, "one", data_file_name="prices.csv")

    def again(**how: object) -> str:
        return run_reports(chosen_runs(["one"], None, tiny), tiny, Options(**how))["one"]  # type: ignore[arg-type]

    assert [again(), again(), again(force=True)] == ["made", "unchanged", "made"]
    (tmp_path / "prices.csv").write_text("1,3")
    assert again() == "made: its data"
    write_configuration(tiny, "one", data_file_name="prices.csv", seed=8)
    assert again() == "made: seed of strategy is 8, was 7"
    summary = tiny.reports / "one" / "strategy_summary.md"
    summary.write_text(summary.read_text().replace("cheaper", "better"))
    edited = "made: strategy_summary.md was edited: its SHA-256 is not the manifest's"
    assert [again(), again()] == [edited, "unchanged"]
    assert verify_files(tiny.reports / "one") == []


def test_a_notebook_saved_with_outputs_makes_nothing_stale_and_an_edited_default_is_named(
    tiny: Project,
) -> None:
    write_configuration(tiny, "one")
    write_configuration(tiny, "own", total_shares=50)
    path = tiny.notebook("strategy")

    def edit(change: Callable[[Any], None]) -> dict[str, str]:
        notebook = nbformat.read(path, 4)
        change(notebook)
        nbformat.write(notebook, path)
        os.utime(path, ns=(0, time.time_ns()))
        return run_reports(chosen_runs([], None, tiny), tiny)

    def run_all(notebook: Any) -> None:
        for count, cell in enumerate(notebook.cells[1:], 1):
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", text="seen in Lab")]

    def larger(notebook: Any) -> None:
        notebook.cells[1].source = notebook.cells[1].source.replace("= 100.0", "= 500")

    def another(notebook: Any) -> None:
        notebook.cells[2].source += "\nmean = mean + 0"

    assert edit(lambda notebook: None) == {"one": "made", "own": "made"}
    assert edit(run_all) == {"one": "unchanged", "own": "unchanged"}
    named = "made: total_shares of strategy is 500.0, the notebook's default, was 100.0"
    assert edit(larger) == {"one": named, "own": "unchanged"}
    assert edit(another) == dict.fromkeys(("one", "own"), "made: notebook of strategy")


def test_a_kept_section_is_not_run_again_unless_its_inputs_are_others(tiny: Project) -> None:
    folder, kept = tiny.reports / "one", Options(force=True, kept=("portfolio",))

    def again(seed: int) -> tuple[str, dict[str, bool]]:
        write_configuration(tiny, "one", ["strategy", "portfolio"], seed=seed)
        path = tiny.configurations / "one.yml"
        path.write_text(path.read_text().replace("section: portfolio", f"seed: {seed}"))
        became = run_reports(chosen_runs(["one"], None, tiny), tiny, kept)["one"]
        sections = json.loads((folder / "run.json").read_text())["sections"]
        return became, {name: section["kept"] for name, section in sections.items()}

    assert again(1) == ("made", {"strategy": False, "portfolio": False})
    first = json.loads((folder / "manifest.json").read_text())["sections"]["portfolio"]
    assert again(1) == ("made", {"strategy": False, "portfolio": True})
    assert json.loads((folder / "manifest.json").read_text())["sections"]["portfolio"] == first
    assert again(2)[1] == {"strategy": False, "portfolio": False}, "it was of another seed"
    every = Options(force=True, kept=("strategy", "portfolio"))
    assert run_reports(chosen_runs(["one"], None, tiny), tiny, every) == {"one": "made"}
    assert verify_files(folder) == []


def test_a_report_asked_for_by_name_is_made_again_where_its_page_is_not_there(
    tiny: Project,
) -> None:
    write_configuration(tiny, "one")
    (run,) = chosen_runs([], None, tiny)
    run_reports([run], tiny)
    (tiny.reports / "one" / "strategy_summary.html").unlink()
    assert verify_files(tiny.reports / "one") == [], "few pages are committed"
    assert run_reports([run], tiny) == {"one": "unchanged"}
    made = {"one": "made: strategy_summary.html is missing"}
    assert run_reports([run], tiny, Options(whole=True)) == made


def test_a_profile_is_left_when_asked_for(tiny: Project) -> None:
    import pstats

    write_configuration(tiny, "one")
    assert run_reports(chosen_runs([], None, tiny), tiny, Options(profile=True)) == {"one": "made"}
    stats = pstats.Stats(str(tiny.reports / "one" / "strategy.prof"))
    assert any(name == "gauss" for _, _, name in stats.stats)  # type: ignore[attr-defined]


def test_the_log_has_a_line_for_each_notebook(
    tiny: Project, caplog: pytest.LogCaptureFixture
) -> None:
    write_configuration(tiny, "good")
    write_configuration(tiny, "bad", mode="fail")
    write_configuration(tiny, "lone", data_file_name="absent.csv")
    with caplog.at_level("INFO", "research_lib.reporting"):
        run_reports([*chosen_runs(["good", "bad", "lone"], None, tiny)], tiny)
    lines = {" ".join(message.split()[:3]) for message in caplog.messages}
    assert {"good: strategy: started", "good: strategy: made", "bad: strategy: failed:"} <= lines
    assert any(message.startswith("lone: skipped: ") for message in caplog.messages)


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(tiny: Project) -> None:
    write_configuration(tiny, "one")
    runs = chosen_runs([], None, tiny)
    lonely = LocalCluster(
        n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0"
    )
    with (
        lonely as cluster,
        pytest.raises(
            ValidationError, match=r"are not there, .*0/1 workers.* after 0\.5.*; what is finished"
        ),
    ):
        run_reports(runs, tiny, Options(scheduler=cluster.scheduler_address, worker_seconds=0.5))

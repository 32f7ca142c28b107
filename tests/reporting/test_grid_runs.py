"""Many runs: on two workers, one by one, on Dask; what is unchanged is not run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client
from helpers import wait_until
from tiny_project import tiny_project, write_configuration, write_grid

from research_lib.errors import ValidationError
from research_lib.reporting import pools
from research_lib.reporting.configurations import chosen_runs
from research_lib.reporting.grids import load_grid
from research_lib.reporting.parameters import Project
from research_lib.reporting.placement import exclusive, spoilt
from research_lib.reporting.runner import Options, _longest_first, _Plan, run_reports

GRID = "grid.yml"


def _results(project: Project) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in project.reports.glob("*/results.json")}


def _elsewhere(project: Project, folder: Path) -> Project:
    return replace(project, reports=folder / "reports")


def test_two_workers_give_what_one_by_one_gives_bit_for_bit(made_grid: Project, tmp_path: Path) -> None:
    serial = _elsewhere(made_grid, tmp_path)
    runs = load_grid(made_grid.configurations.parent / GRID, made_grid)[::6]
    assert set(run_reports(runs, serial, Options(jobs=1)).values()) == {"made"}
    together = _results(made_grid)
    assert len(together) == 24
    assert len(set(together.values())) == 24, "every run has a result of its own"
    assert _results(serial) == {run.name: together[run.name] for run in runs}


def test_what_took_longest_goes_first(tmp_path: Path) -> None:
    project = tiny_project(tmp_path)
    write_configuration(project, "brief")
    write_configuration(project, "long", pause=2.0)
    runs, alone = chosen_runs([], None, project), Options(jobs=1, force=True)
    assert list(run_reports(runs, project, alone)) == ["brief", "long"], "in the order given, where nothing is known"
    assert list(run_reports(runs, project, alone)) == ["long", "brief"]


def test_the_notebooks_of_a_run_follow_each_other() -> None:
    """A run is whole as early as can be, and its files do not wait for all others."""

    def plan(name: str, **seconds: float) -> _Plan:
        tasks = [SimpleNamespace(name=name, section=section) for section in ("modeling", "strategy")]
        return _Plan(SimpleNamespace(name=name), tasks, seconds, {})  # type: ignore[arg-type]

    plans = [plan("brief", modeling=1.0, strategy=2.0), plan("long", modeling=9.0, strategy=1.0), plan("new")]
    order = [(task.name, task.section) for task in _longest_first(plans)]
    assert order[:2] == [("new", "modeling"), ("new", "strategy")]
    assert order[2:] == [("long", "modeling"), ("long", "strategy"), ("brief", "strategy"), ("brief", "modeling")]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and file of a Dask scheduler over localhost."""
    file = tmp_path / "scheduler.json"
    command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    process = _dask(command, tmp_path / "scheduler.log")
    try:
        wait_until(lambda: file.is_file() or process.poll() is not None, "a scheduler's file")
        assert process.poll() is None, (tmp_path / "scheduler.log").read_text()
        yield json.loads(file.read_text())["address"], file
    finally:
        process.kill()
        process.wait()


def _dask(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as said:
        return subprocess.Popen([sys.executable, "-m", "dask", *arguments], stdout=said, stderr=said, cwd=log.parent)


def _worker(file: Path, name: str) -> subprocess.Popen[bytes]:
    command = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    return _dask([*command, "--name", name], file.with_name(f"{name}.log"))


def test_dask_gives_the_same_and_loses_nothing_when_a_worker_is_killed(
    made_grid: Project, tmp_path: Path, scheduler: tuple[str, Path]
) -> None:
    address, file = scheduler
    project = _elsewhere(made_grid, tmp_path)
    workers = [_worker(file, "first"), _worker(file, "second")]
    orphans: list[psutil.Process] = []

    def kill_one_at_work() -> None:
        # Its twin stands still meanwhile and holds runs of its own, so that the grid cannot end before the kill.
        wait_until(lambda: len(_results(project)) >= 4, "four reports")
        first, twin = (psutil.Process(worker.pid) for worker in workers)
        twin.suspend()
        try:
            wait_until(lambda: bool(first.children()), "a worker at work")
            orphans.extend(first.children(recursive=True))
            first.kill()
        finally:
            twin.resume()
        workers.append(_worker(file, "third"))

    try:
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill_one_at_work)
            runs = load_grid(made_grid.configurations.parent / GRID, project)
            outcome = run_reports(runs, project, Options(scheduler=address))
            killed.result()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert set(outcome.values()) == {"made"}
    assert _results(project) == _results(made_grid)
    assert orphans
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive, "a killed worker leaves no notebook running"


CALL = """
import sys
from pathlib import Path
from research_lib import __main__ as door
from research_lib.reporting import parameters
from tiny_project import tiny_again
parameters.Project = lambda: tiny_again(Path(sys.argv[1]))
sys.exit(door.main(["report", "--grid", sys.argv[2], "--scheduler", sys.argv[3]]))
"""


def test_ctrl_c_cancels_what_waits_on_dask_and_keeps_what_is_finished(
    tiny: Project, scheduler: tuple[str, Path]
) -> None:
    """Runs of seed 2 hang, so that some wait and some are under way when the call is stopped."""
    address, file = scheduler
    grid = write_grid(tiny, "grid", mode="hang on seed 2")
    workers = [_worker(file, "first"), _worker(file, "second")]
    arguments = [sys.executable, "-c", CALL, str(tiny.configurations.parent), str(grid), address]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    call = subprocess.Popen(arguments, env=path, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: bool(_results(tiny)) or call.poll() is not None, "a first report")
        call.send_signal(signal.SIGINT)
        _, said = call.communicate(timeout=60)
        assert call.returncode == 130, said
        assert said.splitlines()[-1] == "stopped; what is finished is whole, the unfinished is as it was before"
        with Client(address, set_as_default=False, timeout=30) as client:
            left = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks])
        assert left == [], "nothing waits, and nothing more is begun"
        made = _results(tiny)
        assert 1 <= len(made) <= 12
        assert [name for name in made if spoilt(tiny.reports / name)] == []
        assert {path.name for path in tiny.reports.glob("*/")} == {".work", *made}
    finally:
        for process in (call, *workers):
            process.kill()
            process.wait()


def test_a_scheduler_that_goes_away_is_an_error_with_a_remedy(tiny: Project, scheduler: tuple[str, Path]) -> None:
    address, file = scheduler
    write_configuration(tiny, "long", mode="hang")
    worker = _worker(file, "first")

    def kill_scheduler() -> None:
        wait_until(lambda: bool(psutil.Process(worker.pid).children()), "a worker at work")
        (process,) = [one for one in psutil.Process().children() if "scheduler" in one.cmdline()]
        process.kill()

    try:
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill_scheduler)
            with pytest.raises(ValidationError, match=r"is gone, or the runs were cancelled; what is finished is kept"):
                run_reports(chosen_runs([], None, tiny), tiny, Options(scheduler=address))
            killed.result()
    finally:
        worker.kill()
        worker.wait()
    assert (tiny.reports / "README.md").is_file(), "the index is written all the same"


def test_no_scheduler_is_an_error_with_a_remedy(tiny: Project) -> None:
    import dask
    import distributed  # noqa: F401 -- its defaults must be there before one is set, or they leave with it

    write_configuration(tiny, "one")
    runs, refused = chosen_runs([], None, tiny), r"no Dask scheduler answers at tcp://127.0.0.1:9.*leave out"
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(ValidationError, match=refused):
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
    assert again() == "made"
    write_configuration(tiny, "one", data_file_name="prices.csv", seed=8)
    assert again() == "made"
    summary = tiny.reports / "one" / "strategy_summary.md"
    summary.write_text(summary.read_text().replace("saves", "earns"))
    assert [again(), again()] == ["made", "unchanged"]
    template = tiny.templates / "strategy_summary.md.j2"
    template.write_text(template.read_text() + "\nOne more sentence.\n")
    assert again() == "unchanged", "a new template needs no new run"
    assert summary.read_text().endswith("One more sentence.\n")
    assert spoilt(tiny.reports / "one") == []


def test_a_profile_is_left_when_asked_for(tiny: Project) -> None:
    import pstats

    write_configuration(tiny, "one")
    assert run_reports(chosen_runs([], None, tiny), tiny, Options(profile=True)) == {"one": "made"}
    stats = pstats.Stats(str(tiny.reports / "one" / "strategy.prof"))
    assert any(name == "gauss" for _, _, name in stats.stats)  # type: ignore[attr-defined]


def test_two_processes_do_not_make_reports_in_one_folder(tiny: Project) -> None:
    refused = pytest.raises(ValidationError, match="another process is making reports")
    with exclusive(tiny.reports), refused, exclusive(tiny.reports):
        pytest.fail("both hold it")
    with exclusive(tiny.reports):
        pass


def test_another_file_does_not_write_over_a_run_of_the_same_name(tiny: Project) -> None:
    axes = {"title": "tiny grid", "sections": ["strategy"], "axes": {"seed": [1]}}
    files = [tiny.configurations.parent / folder / "grid.yml" for folder in ("mine", "yours", "moved")]
    for file, shares in zip(files, (100.0, 400.0, 100.0), strict=True):
        file.parent.mkdir()
        file.write_text(json.dumps({**axes, "shared": {"total_shares": shares}}))
    mine, yours, moved = (load_grid(file, tiny) for file in files)
    assert run_reports(mine, tiny) == {"grid-1": "made"}
    with pytest.raises(ValidationError, match=r"report grid-1 is of .*mine/grid.yml, not of .*yours/grid.yml"):
        run_reports(yours, tiny)
    assert run_reports(moved, tiny) == {"grid-1": "unchanged"}


def test_the_log_has_a_line_for_each_notebook(tiny: Project, caplog: pytest.LogCaptureFixture) -> None:
    write_configuration(tiny, "good")
    write_configuration(tiny, "bad", mode="fail")
    write_configuration(tiny, "lone", data_file_name="absent.csv")
    with caplog.at_level("INFO", "research_lib.reporting"):
        run_reports([*chosen_runs(["good", "bad", "lone"], None, tiny)], tiny)
    lines = {" ".join(message.split()[:3]) for message in caplog.messages}
    assert {"good: strategy: started", "good: strategy: made", "bad: strategy: failed:"} <= lines
    assert any(message.startswith("lone: skipped: ") for message in caplog.messages)


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(
    tiny: Project, scheduler: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "WORKER_SECONDS", 0.5)
    write_configuration(tiny, "one")
    with pytest.raises(ValidationError, match=r"has no worker after 0\.5 s; start one with"):
        run_reports(chosen_runs([], None, tiny), tiny, Options(scheduler=scheduler[0]))

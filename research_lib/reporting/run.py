"""Makes reports: plans what must run, has papermill run it within limits, and places reports."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.pages import HandedOn, PageError, handed_on, report_files
from research_lib.reporting.parameters import Project, RunConfig
from research_lib.reporting.render import above, below, render, render_index

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2  # between two looks at a kernel's time and memory
# Of a notebook whose kernel does not come up; and how long the first is waited for, s, each later
# one four times as long. One that finds a port taken may hang at its end instead of ending.
KERNEL_STARTS, FIRST_WAIT = 4, 60
# One thread a kernel: runs share the cores, and sums come out the same however many run at a time.
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
ENVIRONMENT = {**ONE_THREAD, "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}
QUIET = "--log-level=CRITICAL"  # a kernel's warnings about local TCP and its end are no news
# A kernel ends itself when its parent is gone, but not while it is in compiled code: Linux does it.
DIE_WITH_PARENT = "_p = __import__('ctypes').CDLL(None).prctl(1, 9)"  # PR_SET_PDEATHSIG, SIGKILL
# Why a report is made again; of a parameter and a notebook, the line names it.
NO_REPORT = "there was none"
CHANGED = {
    "data": "its data", "code": "the library's code", "environment": "Python or its packages",
}  # fmt: skip
LONGEST = ("robustness",)  # sections that start first, and that `make report` keeps
Answer = dict[str, Any]
Ended = Callable[[], object]  # called after each cell


@dataclass(frozen=True)
class Options:
    """How reports are made.

    Attributes
    ----------
    jobs : int, optional
        Notebooks at a time on this machine; as many as cores where not given.
    scheduler : str
        Address of a Dask scheduler whose workers run them instead, such as "tcp://host:8786".
    force : bool
        Run also what is unchanged.
    kept : tuple of str
        Sections that are not run where their executed notebook is there and of the same cells,
        parameters and data: their pages are written from it, and it is said.
    whole : bool
        Run also what is unchanged but lacks its page or executed notebook, as in a fresh clone.
    profile : bool
        Leave cProfile's records as <section>.prof in the report.
    seconds, memory_mb : float
        Limits of one notebook: from its kernel's start to its end, and resident memory of the
        kernel and its children, MB of 1e6 bytes.
    worker_seconds : float
        How long a scheduler without a worker is waited for, such as while a cluster starts
        machines.
    """

    jobs: int | None = None
    scheduler: str = ""
    force: bool = False
    kept: tuple[str, ...] = ()
    whole: bool = False
    profile: bool = False
    seconds: float = 1800.0
    memory_mb: float = 4000.0
    worker_seconds: float = 300.0


@dataclass(frozen=True)
class Task:
    """One notebook of one run; its path is below the project's folder where it is there."""

    run: RunConfig
    section: str
    notebook: str
    options: Options


Answers = Iterator[tuple[Task, Answer]]


def run_reports(
    runs: Iterable[RunConfig], project: Project | None = None, options: Options | None = None
) -> dict[str, str]:
    """Make the reports of checked configurations and the index over them.

    Returns
    -------
    dict of name to what became of it
        "made", with what changed where there was another, as in "made: seed of strategy is 8, was
        7"; "unchanged" (its inputs are those of the report that is there); "skipped: <reason>"
        where data are absent; or "failed: <reason>", which leaves failure.md and the report as it
        was.

    Raises
    ------
    ValidationError
        The reports folder is in use; no scheduler or worker answers.
    """
    project, options = project or Project(), options or Options()
    outcome, due = dict[str, str](), dict[str, list[str]]()
    chosen = {run.name: run for run in runs}
    with files.exclusive(project.reports):
        try:
            for run in chosen.values():
                try:
                    # Evaluated even with force: it raises where data are absent.
                    changed = _changes(run, project, options)
                    if changed or options.force:
                        due[run.name] = changed
                    else:
                        for name in files.FAILURE:  # notes of a failure that no longer holds
                            (project.reports / run.name / name).unlink(missing_ok=True)
                        outcome[run.name] = "unchanged"
                except MissingDataError as error:
                    outcome[run.name] = _skip(run, project, str(error))
            for name, became in _work([chosen[name] for name in due], project, options):
                known = became == "made" and due[name] and due[name] != [NO_REPORT]
                outcome[name] = f"made: {'; '.join(due[name])}" if known else became
        finally:
            render_index(project)
    return {name: outcome[name] for name in chosen}


def _changes(run: RunConfig, project: Project, options: Options) -> list[str]:
    """Why the report that is there is not that of these inputs; empty where it is."""
    now = {one: _inputs(run, one, project.notebook(one)) for one in run.parameters}
    folder = project.reports / run.name
    if not (folder / "manifest.json").is_file():
        return [NO_REPORT]
    if found := files.changed_files(folder):
        return found
    manifest = files.read_manifest(folder)
    before = {section: record["inputs"] for section, record in manifest["sections"].items()}
    lines = ["its title"] if manifest["configuration"]["title"] != run.title else []
    if before.keys() != now.keys():
        lines.append(f"its sections are {', '.join(now)}")
    for section in sorted(now.keys() & before.keys()):
        lines += _section_changes(section, before[section], now[section], run)
    pages = [name for one in now for name in (f"{one}_summary.html", f"{one}.ipynb")]
    if options.whole and (absent := [name for name in pages if not (folder / name).is_file()]):
        lines.append(f"{absent[0]} is not there")
    return list(dict.fromkeys(lines))


def _section_changes(section: str, before: Any, now: Any, run: RunConfig) -> Iterator[str]:
    """One line a difference; of a parameter also where its new value stands."""
    for name in sorted(before["parameters"].keys() | now["parameters"].keys()):
        was, becomes = (one["parameters"].get(name, "absent") for one in (before, now))
        if files.text_hash(was) != files.text_hash(becomes):
            where = "" if name in run.parameters[section] else ", the notebook's default"
            yield f"{name} of {section} is {becomes!r:.60}{where}, was {was!r:.60}"
    for name in ("notebook", "data", "code", "environment"):
        if before.get(name) != now[name]:
            yield f"{name} of {section}" if name == "notebook" else CHANGED[name]


def _inputs(run: RunConfig, section: str, notebook: Path) -> dict[str, Any]:
    return files.section_inputs(notebook, run.effective[section], run.section_data(section))


def _work(runs: list[RunConfig], project: Project, options: Options) -> Iterator[tuple[str, str]]:
    """Have all notebooks run; each run's report is placed when its last one is in."""
    # Below the project's folder a path is relative, and so the same wherever the project is.
    root = f"{PROJECT_ROOT}{os.sep}"
    paths = {one: str(project.notebook(one)).removeprefix(root) for one in project.sections}
    # The longest first, so that no core waits for it at the end.
    order = sorted(project.sections, key=lambda one: one not in LONGEST)
    answers = {run.name: _kept(run, project, options) for run in runs}
    due = {run.name: run.parameters.keys() - answers[run.name].keys() for run in runs}
    pairs = [(run, one) for run in runs for one in order if one in due[run.name]]
    tasks = [Task(run, one, paths[one], options) for run, one in pairs]
    total = sum(files.code_cells(project.notebook(task.section)) for task in tasks)
    for run in (one for one in runs if not due[one.name]):  # nothing of it has to run
        yield run.name, _finish(run, answers.pop(run.name), project)
    with tqdm(total=total, unit="cell", disable=not sys.stderr.isatty()) as bar:
        for task, answer in _answers(tasks, options, bar):
            run, became = task.run, f"made in {answer.get('seconds', 0.0):.1f} s"
            if answer["kind"]:  # an error may quote data, so only its class
                became = f"failed: {answer['error'].split(':')[0]}; see failure.md"
            logger.info("%s: %s: %s", run.name, task.section, became)
            bar.set_description(f"{run.name}: {task.section}")
            answers[run.name][task.section] = answer
            if len(answers[run.name]) == len(run.parameters):
                # Taken out: ten thousand runs' files do not fit into memory.
                yield run.name, _finish(run, answers.pop(run.name), project)


def _kept(run: RunConfig, project: Project, options: Options) -> dict[str, Answer]:
    """Answers of the sections that need not run, from their executed notebooks."""
    folder, found = project.reports / run.name, dict[str, Answer]()
    if not options.kept or files.changed_files(folder):
        return found
    sections = files.read_manifest(folder)["sections"]
    for one in set(options.kept) & run.parameters.keys() & sections.keys():
        before, now = sections[one]["inputs"], _inputs(run, one, project.notebook(one))
        same = all(before[name] == now[name] for name in ("notebook", "parameters", "data"))
        if same and (path := folder / f"{one}.ipynb").is_file():
            executed = {"notebook": path.read_text(encoding="utf-8"), "inputs": before}
            found[one] = refused("", "") | executed | {"files": {}, "record": sections[one]}
    return found


def _answers(tasks: Sequence[Task], options: Options, bar: Any) -> Answers:
    """Of all tasks, here or on a cluster, of which only whole notebooks move the bar."""
    if not options.scheduler:
        yield from run_locally(tasks, options, bar.update)
    elif tasks:
        for task, answer in run_on_dask(tasks, options):
            bar.update(files.code_cells(PROJECT_ROOT / task.notebook))
            yield task, answer


def _skip(run: RunConfig, project: Project, reason: str) -> str:
    """Without its data a run is noted in the index only where there is no report of it."""
    logger.info("%s: skipped: %s", run.name, reason)
    if not (project.reports / run.name / "manifest.json").is_file():
        _note(run, project, next(iter(run.parameters)), refused("data", reason))
    return f"skipped: {reason}"


def _finish(run: RunConfig, answers: Mapping[str, Answer], project: Project) -> str:
    """Place the report, or note the notebook that failed."""
    for section, answer in answers.items():
        if answer["kind"]:
            return _note(run, project, section, answer)
    executed = {one: nbformat.reads(answers[one]["notebook"], 4) for one in run.parameters}
    manifest = {"configuration": run.identity(), "sections": _records(run, answers)}
    content = {name: left for one in answers.values() for name, left in one["files"].items()}
    given, kind = dict[str, HandedOn](), "results"
    try:
        for section, notebook in executed.items():
            given[section] = handed_on(notebook)
        results, kind = {section: one.results for section, one in given.items()}, "page"
        for section, notebook in executed.items():
            around = [f(section, results, manifest) for f in (above, below)]
            content |= report_files(notebook, section, *around)
    except PageError as error:
        return _note(run, project, section, refused(kind, str(error)))
    content["results.json"] = files.json_bytes(results)
    content[files.RUN] = files.json_bytes(_account(answers, given))
    files.place(project.reports, run.name, content, manifest)
    return "made"


def _records(run: RunConfig, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """What the manifest says of each section."""
    records = {}
    for one in run.parameters:
        made = {"inputs": answers[one]["inputs"], "seed": run.effective[one].get("seed")}
        records[one] = answers[one].get("record", made | files.origin())
    return records


def _account(answers: Mapping[str, Answer], given: Mapping[str, HandedOn]) -> dict[str, Any]:
    """What differs from run to run: when, how long, how much memory, warnings."""
    sections = {}
    for section, one in given.items():
        own = answers[section]  # a kept one was not run this time
        known = {"kept": "record" in own, "seconds": round(own.get("seconds", 0.0), 2)}
        known |= {"peak_memory_mb": round(own["peak_memory_mb"], 1), "operations": one.timings}
        sections[section] = known | {"warnings": one.warnings.splitlines()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"finished": when, "git_commit": files.git_commit(), "sections": sections}


def _note(run: RunConfig, project: Project, section: str, answer: Answer) -> str:
    """Leave failure.md and failure.json, beside the last good report where there is one."""
    failure: Answer = {"name": run.name, "title": run.title, "section": section}
    failure |= {name: answer[name] for name in ("kind", "error", "cell")}
    failure |= {"rerun": run.rerun, "parameters": run.parameters.get(section, {})}
    folder = project.reports / run.name
    folder.mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / "failure.md", render("failure.md.j2", failure=failure).encode())
    files.write_whole(folder / "failure.json", files.json_bytes(failure))
    return f"failed: {section}: {answer['error']}"


def _unseen() -> None:
    """Does nothing: there is no progress bar."""


class _Manager(AsyncKernelManager):
    """Of a kernel; knows who talks to it, whose channels papermill leaves open."""

    client_there: Any = None

    def client(self, **options: Any) -> Any:
        """As any manager's."""
        self.client_there = super().client(**options)
        return self.client_there


class _Kernel:
    """A kernel to be started and watched: past a limit it is killed with all that it started."""

    def __init__(self, options: Options, stop: threading.Event, ended: Ended) -> None:
        self.manager = _Manager(kernel_name="python3")
        assert self.manager.kernel_spec is not None
        self.manager.kernel_spec.env.update(ENVIRONMENT)  # beside that of this process
        self.options, self.stop, self.ended = options, stop, ended
        self.cell, self.killed_for, self.peak_mb = "", Answer(), 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self.manager.client_there:
                self.manager.client_there.stop_channels()
            alive = run_sync(self.manager.is_alive)()
            run_sync(self.manager.shutdown_kernel if alive else self.manager.cleanup_resources)()
        finally:
            self._over.set()
            self._watcher.join()

    def begins(self, cell: Any, **_: Any) -> None:
        """Remember the cell that runs."""
        if cell.cell_type == "code":
            self.cell = cell.source

    def ends(self, cell: Any, **_: Any) -> None:
        """Move the progress bar, for cells that are counted beforehand."""
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            self.ended()

    def _watch(self) -> None:
        begin = time.monotonic()
        while not self._over.wait(TICK_SECONDS):
            memory, family = 0.0, self._family()
            for process in family:
                with contextlib.suppress(psutil.Error):
                    memory += process.memory_info().rss / 1e6
            self.peak_mb = max(self.peak_mb, memory)
            self.killed_for = self.killed_for or self._exceeded(time.monotonic() - begin)
            for process in family if self.killed_for else []:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _family(self) -> list[psutil.Process]:
        """The kernel and what it started; nothing before it is there and after its end."""
        with contextlib.suppress(psutil.Error):
            if pid := getattr(self.manager.provisioner, "pid", None):
                kernel = psutil.Process(pid)
                return [kernel, *kernel.children(recursive=True)]
        return []

    def _exceeded(self, seconds: float) -> Answer:
        most_mb, most_seconds = self.options.memory_mb, self.options.seconds
        if self.stop.is_set():
            return refused("stopped", "stopped before it was finished")
        if self.peak_mb > most_mb:
            return refused("memory", f"used {self.peak_mb:,.0f} MB; the limit is {most_mb:,.0f} MB")
        late = f"not finished after {most_seconds:,.0f} s, the limit"
        return refused("time", late) if seconds > most_seconds else {}


def run_notebook(task: Task, stop: threading.Event | None = None, ended: Ended = _unseen) -> Answer:
    """Run one notebook and bring it back executed.

    Parameters
    ----------
    task : Task
    stop : threading.Event, optional
        Set from outside to end it early.
    ended : callable
        Called after each cell.

    Returns
    -------
    dict
        `kind` "" where it is done, else "cell", "kernel", "memory", "time", "data" or
        "stopped", with `error` and `cell`, the source of what ran; `seconds`, `peak_memory_mb`;
        where done, `notebook` (its text), `files` (path to bytes, of --profile) and `inputs`, the
        hashes of what it was made from.
    """
    logger.info("%s: %s: started", task.run.name, task.section)
    try:
        inputs = _inputs(task.run, task.section, PROJECT_ROOT / task.notebook)
    except MissingDataError as error:
        return refused("data", str(error))
    with tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True) as folder:
        work, begin = Path(folder), time.monotonic()
        answer = _run_kernels(task, work, stop or threading.Event(), ended)
        found = () if answer["kind"] else sorted(one for one in work.rglob("*") if one.is_file())
        left = {one.relative_to(work).as_posix(): one.read_bytes() for one in found}
        return {**answer, "files": left, "inputs": inputs, "seconds": time.monotonic() - begin}


def refused(kind: str, error: str) -> Answer:
    """The answer of a notebook that was not run, or did not end as one does."""
    return {"kind": kind, "error": " ".join(error.split())[:500], "cell": "", "peak_memory_mb": 0.0}


def _run_kernels(task: Task, work: Path, stop: threading.Event, ended: Ended) -> Answer:
    """A kernel that does not come up is started again; a cell that fails is not repeated."""
    for start in range(1, KERNEL_STARTS + 1):
        wait = min(FIRST_WAIT * 4 ** (start - 1), int(task.options.seconds))
        with _Kernel(task.options, stop, ended) as kernel:
            answer = _papermill(task, work, kernel, wait)
        if not answer["kind"] or kernel.cell or kernel.killed_for:
            break
        stop.wait(0.5 * start)  # such as a port that another kernel has just taken
    answer |= kernel.killed_for
    return {**answer, "cell": kernel.cell, "peak_memory_mb": kernel.peak_mb}


def _papermill(task: Task, work: Path, kernel: _Kernel, wait: int) -> Answer:
    """The executed notebook, or what went wrong."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    lines = [DIE_WITH_PARENT] if sys.platform == "linux" else []
    if task.options.profile:
        dump = f"(_p.disable(), _p.dump_stats({str(work / f'{task.section}.prof')!r}))"
        lines.append("import atexit, cProfile; _p = cProfile.Profile()")
        lines.append(f"atexit.register(lambda: {dump}); _p.enable()")
    try:
        executed = papermill.execute_notebook(
            str(PROJECT_ROOT / task.notebook), None, task.run.parameters[task.section],
            kernel_name="python3", progress_bar=False, start_timeout=wait, km=kernel.manager,
            on_cell_start=kernel.begins, on_cell_executed=kernel.ends,
            extra_arguments=[QUIET, *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        )  # fmt: skip
    except PapermillExecutionError as error:
        return refused("cell", f"{error.ename}: {error.evalue}")
    except (RuntimeError, OSError) as error:  # nbclient's, of a dead kernel and of timeouts
        return refused("kernel", f"{type(error).__name__}: {error}")
    return refused("", "") | {"notebook": nbformat.writes(executed)}


def run_locally(tasks: Sequence[Task], options: Options, ended: Ended = _unseen) -> Answers:
    """Each task and its answer once finished; left early, what runs is ended."""
    from dask.system import CPU_COUNT

    stop = threading.Event()
    executor = ThreadPoolExecutor(options.jobs or CPU_COUNT)  # kernels do the work
    try:
        futures = {executor.submit(run_notebook, task, stop, ended): task for task in tasks}
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result()  # its files need not stay in memory
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def run_on_dask(tasks: Sequence[Task], options: Options) -> Answers:
    """The same on a Dask scheduler's workers; a task whose worker dies is given to another.

    Raises
    ------
    ValidationError
        Nobody answers at the address, no worker joins in time, or the scheduler goes away.
    """
    from distributed import Client, as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        with Client(options.scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=options.worker_seconds)
            futures = {client.submit(run_notebook, task, pure=False): task for task in tasks}
            suspects = []
            try:
                for future in as_completed(futures, loop=client.loop):
                    task = futures.pop(future)
                    try:
                        yield task, future.result()
                    except KilledWorker:  # it took workers with it, or waited beside who did
                        suspects.append(task)
                    future.release()  # its files need not stay on the cluster
                for task in suspects:  # one at a time, so that who is to blame shows
                    alone = client.submit(run_notebook, task, pure=False)
                    futures[alone] = task
                    try:
                        answer = alone.result()
                    except KilledWorker as error:
                        answer = refused("worker", str(error))
                    yield futures.pop(alone), answer
            finally:
                client.cancel(list(futures))
    except (OSError, FutureCancelledError) as error:
        where = f"scheduler or workers at {options.scheduler} are not there, or runs were cancelled"
        remedy = "what is finished is kept; repeat the call, or leave out --scheduler"
        raise ValidationError(f"{where} ({' '.join(str(error).split())}); {remedy}") from error

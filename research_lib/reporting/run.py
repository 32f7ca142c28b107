"""Makes reports: plans what must run, has papermill run it within limits, and places reports."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.assembly import assemble
from research_lib.reporting.parameters import Project, RunConfig
from research_lib.reporting.render import RenderError, render, render_index

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2  # between two looks at a kernel's time and memory
KERNEL_STARTS = 4  # of a notebook whose kernel does not come up
LONGEST_ERROR = 500  # characters of a notebook's error that are reported
# One thread a kernel: runs share the cores, and sums come out the same however many run at a time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1",
}  # fmt: skip
QUIET = "--log-level=CRITICAL"  # a kernel's warnings about local TCP and its end are no news
# A kernel ends itself when its parent is gone, but not while it is in compiled code: Linux does it.
DIE_WITH_PARENT = "_p = __import__('ctypes').CDLL(None).prctl(1, 9)"  # PR_SET_PDEATHSIG, SIGKILL
Answer = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes
    ----------
    seconds : float
        Of one notebook, from its kernel's start to its end.
    memory_mb : float
        Resident memory of the kernel and its children, MB of 1e6 bytes.
    """

    seconds: float = 1800.0
    memory_mb: float = 4000.0


@dataclass(frozen=True)
class Task:
    """One notebook of one run.

    Attributes
    ----------
    run : RunConfig
    section : str
    notebook : str
        Path; below the project's folder where that is the same on every machine.
    took : float
        Seconds, when it ran before.
    limits : Limits
    profile : bool
        Leave cProfile's records as <section>.prof.
    code : str
        Hash of the library that must run it, or "" for whichever is here.
    """

    run: RunConfig
    section: str
    notebook: str
    took: float = math.inf
    limits: Limits = Limits()
    profile: bool = False
    code: str = ""


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
    only : str
        Run this section alone; the others of a report stay as they are.
    profile : bool
        Leave cProfile's records as <section>.prof in the report.
    limits : Limits
        Of each notebook.
    worker_seconds : float
        How long a scheduler without a worker is waited for, such as while a cluster starts
        machines.
    """

    jobs: int | None = None
    scheduler: str = ""
    force: bool = False
    only: str = ""
    profile: bool = False
    limits: Limits = field(default_factory=Limits)
    worker_seconds: float = 300.0


@dataclass
class _Plan:
    """One run: tasks to do, sections that stay, answers so far."""

    run: RunConfig
    tasks: list[Task]
    kept: dict[str, Any]
    answers: dict[str, Answer] = field(default_factory=dict)


def run_reports(
    runs: Iterable[RunConfig], project: Project | None = None, options: Options | None = None
) -> dict[str, str]:
    """Make the reports of checked configurations and the index over them.

    Returns
    -------
    dict of name to what became of it
        "made", "unchanged" (its inputs are those of the report that is there), "skipped: <reason>"
        where data are absent, or "failed: <reason>", which leaves failure.md and the report as it
        was.

    Raises
    ------
    ValidationError
        The reports folder is in use; no scheduler or worker answers.
    """
    project, options = project or Project(), options or Options()
    outcome: dict[str, str] = {}
    with files.exclusive(project.reports):
        plans = []
        for run in runs:
            try:
                if options.only in ("", *run.parameters):
                    plans.append(_plan(run, project, options))
                else:
                    outcome[run.name] = f"skipped: it runs no {options.only} notebook"
            except MissingDataError as error:
                outcome[run.name] = _skip(run, project, str(error))
        try:
            outcome |= {plan.run.name: _finish(plan, project) for plan in plans if not plan.tasks}
            for name, became in _work([plan for plan in plans if plan.tasks], project, options):
                outcome[name] = became
        finally:
            render_index(project)
    return outcome


def _plan(run: RunConfig, project: Project, options: Options) -> _Plan:
    """Which notebooks must run: those whose inputs differ from those of the sound report there."""
    folder = project.reports / run.name
    sound = not files.changed_files(folder)
    known = files.read_manifest(folder)["sections"] if sound else {}
    tasks, kept = [], {}
    for section in run.parameters:
        notebook, parameters = project.notebook(section), run.effective[section]
        inputs = files.section_inputs(notebook, parameters, run.section_data(section))
        before, aside = known.get(section), options.only not in ("", section)
        same = before and files.text_hash(before["inputs"]) == files.text_hash(inputs)
        if before and (aside or (same and not options.force)):
            kept[section] = before
        elif not aside:
            if notebook.is_relative_to(PROJECT_ROOT):  # the same wherever the project is
                notebook = notebook.relative_to(PROJECT_ROOT)
            took = before["run"]["seconds"] if before else math.inf
            how = options.limits, options.profile, inputs["code"]
            tasks.append(Task(run, section, str(notebook), took, *how))
    return _Plan(run, sorted(tasks, key=lambda task: -task.took), kept)


def _work(plans: list[_Plan], project: Project, options: Options) -> Iterator[tuple[str, str]]:
    """Have all tasks run; each run's report is placed when its last notebook is in.

    First those never run before, then the longest, so that none ends alone. A run's own follow
    each other, so that its report is whole and its files are let go early.
    """
    if not plans:
        return
    plans = sorted(plans, key=lambda plan: -sum(task.took for task in plan.tasks))
    tasks, by_name = [one for plan in plans for one in plan.tasks], {p.run.name: p for p in plans}
    if options.scheduler:
        pool = run_on_dask(tasks, options.scheduler, options.worker_seconds)
    else:
        pool = run_locally(tasks, options.jobs)
    for task, answer in tqdm(pool, "notebooks", len(tasks), disable=not sys.stderr.isatty()):
        plan = by_name[task.run.name]
        plan.answers[task.section] = answer
        logger.info("%s: %s: %s", task.run.name, task.section, _became(answer))
        if len(plan.answers) == len(plan.tasks):
            yield task.run.name, _finish(plan, project)
            plan.answers.clear()  # ten thousand runs' files do not fit into memory


def _skip(run: RunConfig, project: Project, reason: str) -> str:
    """Without its data a run is noted in the index only where there is no report of it."""
    logger.info("%s: skipped: %s", run.name, reason)
    if not (project.reports / run.name / "manifest.json").is_file():
        _note(run, project, next(iter(run.parameters)), refused("data", reason))
    return f"skipped: {reason}"


def _finish(plan: _Plan, project: Project) -> str:
    """Place the report of what is new and what stays, or note the notebook that failed.

    Where nothing had to run, summaries are written anew if their template or the title changed.
    """
    run, folder = plan.run, project.reports / plan.run.name
    for section, answer in plan.answers.items():
        if answer["kind"]:
            _note(run, project, section, answer)
            return f"failed: {section}: {answer['error']}"
    try:
        report = assemble(run, plan.kept, plan.answers, folder, project.templates)
    except RenderError as error:
        _note(run, project, error.section, refused("template", str(error)))
        return f"failed: {error}"
    files.remove_failure(project.reports, run.name)
    there = {one: (folder / one).read_bytes() for one in report.files if (folder / one).is_file()}
    if plan.tasks or there != report.files:
        files.place(project.reports, run.name, report.files, report.manifest)
    return "made" if plan.tasks else "unchanged"


def _became(answer: Answer) -> str:
    """What the log says of a finished notebook; an error may quote data, so only its class."""
    if answer["kind"]:
        return f"failed: {answer['error'].split(':')[0]}; failure.md tells"
    return f"made in {answer['seconds']:.1f} s"


def _note(run: RunConfig, project: Project, section: str, answer: Answer) -> None:
    failure = {
        **{"name": run.name, "title": run.title, "section": section, "rerun": run.rerun},
        **{"kind": answer["kind"], "error": answer["error"], "cell": answer["cell"]},
        "parameters": run.parameters.get(section, {}),
    }
    text = render("failure.md.j2", project.templates, failure=failure)
    files.note_failure(project.reports, run.name, failure, text)


class _Manager(AsyncKernelManager):
    """Of a kernel; knows who talks to it, whose channels papermill leaves open."""

    client_there: Any = None

    def client(self, **options: Any) -> Any:
        """As any manager's."""
        self.client_there = super().client(**options)
        return self.client_there


class _Kernel:
    """A kernel to be started, and the eye on it: past a limit it is killed with all it started."""

    def __init__(self, limits: Limits, stop: threading.Event) -> None:
        self.manager = _Manager(kernel_name="python3")
        assert self.manager.kernel_spec is not None
        self.manager.kernel_spec.env.update(ENVIRONMENT)  # beside that of this process
        self.limits, self.stop = limits, stop
        self.cell, self.killed_for, self.peak_mb = "", Answer(), 0.0
        self._over = threading.Event()
        self._eye = threading.Thread(target=self._watch)

    def __enter__(self) -> _Kernel:
        self._eye.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self.manager.client_there:
                self.manager.client_there.stop_channels()
            alive = run_sync(self.manager.is_alive)()
            run_sync(self.manager.shutdown_kernel if alive else self.manager.cleanup_resources)()
        finally:
            self._over.set()
            self._eye.join()

    def begins(self, cell: Any, **_: Any) -> None:
        """Remember the cell that runs."""
        if cell.cell_type == "code":
            self.cell = cell.source

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
        used, limits = f"used {self.peak_mb:,.0f} MB", self.limits
        if self.stop.is_set():
            return refused("stopped", "stopped before it was finished")
        if self.peak_mb > limits.memory_mb:
            return refused("memory", f"{used}; the limit is {limits.memory_mb:,.0f} MB")
        if seconds > limits.seconds:
            return refused("time", f"not finished after {limits.seconds:,.0f} s, the limit")
        return {}


def run_notebook(task: Task, stop: threading.Event | None = None) -> Answer:
    """Run one notebook in a work folder of its own and bring back what it left there.

    Parameters
    ----------
    task : Task
    stop : threading.Event, optional
        Set from outside to end it early.

    Returns
    -------
    dict
        `kind` "" where it is done, else "cell", "kernel", "memory", "time", "data", "code",
        "results" or "stopped", with `error` and `cell`, the source of what ran; `seconds`,
        `peak_memory_mb`; where done, `files` (path to bytes) and `inputs`, the hashes of what it
        was made from.
    """
    logger.info("%s: %s: started", task.run.name, task.section)
    parameters, data = task.run.effective[task.section], task.run.section_data(task.section)
    try:
        inputs = files.section_inputs(PROJECT_ROOT / task.notebook, parameters, data)
    except MissingDataError as error:
        return refused("data", str(error))
    if task.code not in ("", inputs["code"]):
        versions = f"{inputs['code'][:12]}, not {task.code[:12]}"
        return refused("code", f"this worker's library is {versions}; give it the same version")
    with tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True) as folder:
        work, begin = Path(folder), time.monotonic()
        answer = _run_kernels(task, work, stop or threading.Event())
        if not answer["kind"] and not (work / f"{task.section}.json").is_file():
            answer |= refused("results", f"the notebook left no {task.section}.json")
        found = () if answer["kind"] else sorted(one for one in work.rglob("*") if one.is_file())
        left = {one.relative_to(work).as_posix(): one.read_bytes() for one in found}
        return {**answer, "files": left, "inputs": inputs, "seconds": time.monotonic() - begin}


def refused(kind: str, error: str) -> Answer:
    """The answer of a notebook that was not run, or did not end as one does."""
    text = " ".join(error.split())[:LONGEST_ERROR]
    return {"kind": kind, "error": text, "cell": "", "peak_memory_mb": 0.0}


def _run_kernels(task: Task, work: Path, stop: threading.Event) -> Answer:
    """A kernel that does not come up is started again; a cell that fails is not repeated."""
    (work / "figures").mkdir()
    for start in range(1, KERNEL_STARTS + 1):
        with _Kernel(task.limits, stop) as kernel:
            failed = _papermill(task, work, kernel)
        if not failed or kernel.cell or kernel.killed_for:
            break
        stop.wait(0.5 * start)  # such as a port that another kernel has just taken
    answer = kernel.killed_for or failed or refused("", "")
    return {**answer, "cell": kernel.cell, "peak_memory_mb": kernel.peak_mb}


def _papermill(task: Task, work: Path, kernel: _Kernel) -> Answer:
    """What went wrong, if anything did."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    lines = [DIE_WITH_PARENT] if sys.platform == "linux" else []
    if task.profile:
        dump = f"(_p.disable(), _p.dump_stats({str(work / f'{task.section}.prof')!r}))"
        lines.append("import atexit, cProfile; _p = cProfile.Profile()")
        lines.append(f"atexit.register(lambda: {dump}); _p.enable()")
    try:
        papermill.execute_notebook(
            str(PROJECT_ROOT / task.notebook),
            None,
            parameters={**task.run.parameters[task.section], "output_dir": str(work)},
            kernel_name="python3",
            progress_bar=False,
            start_timeout=int(task.limits.seconds),  # it may wait for a busy machine
            km=kernel.manager,
            on_cell_start=kernel.begins,
            extra_arguments=[QUIET, *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        )
    except PapermillExecutionError as error:
        return refused("cell", f"{error.ename}: {error.evalue}")
    except (RuntimeError, OSError) as error:  # nbclient's, of a dead kernel and of timeouts
        return refused("kernel", f"{type(error).__name__}: {error}")
    return {}


def run_locally(tasks: Sequence[Task], jobs: int | None) -> Iterator[tuple[Task, Answer]]:
    """Each task and its answer once finished, `jobs` at a time; left early, what runs is ended."""
    from dask.system import CPU_COUNT

    stop, executor = threading.Event(), ThreadPoolExecutor(jobs or CPU_COUNT)  # kernels do the work
    try:
        futures = {executor.submit(run_notebook, task, stop): task for task in tasks}
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result()  # its files need not stay in memory
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def run_on_dask(
    tasks: Sequence[Task], address: str, worker_seconds: float
) -> Iterator[tuple[Task, Answer]]:
    """The same on a Dask scheduler's workers; a task whose worker dies is given to another.

    Raises
    ------
    ValidationError
        Nobody answers at the address, no worker joins within `worker_seconds`, or the scheduler
        goes away.
    """
    from distributed import Client, as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=worker_seconds)
            futures = {client.submit(run_notebook, task, pure=False): task for task in tasks}
            try:
                for future in as_completed(futures, loop=client.loop):
                    try:
                        answer = future.result()
                    except KilledWorker as error:  # the run took several workers with it
                        answer = refused("worker", str(error))
                    yield futures.pop(future), answer
                    future.release()  # its files need not stay on the cluster
            finally:
                client.cancel(list(futures))
    except (OSError, FutureCancelledError) as error:
        raise ValidationError(
            f"scheduler or workers at {address} are not there, or runs were cancelled ({error}); "
            "what is finished is kept; repeat the call, or leave out --scheduler"
        ) from error

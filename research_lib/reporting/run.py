"""Makes reports: plans what must run, has papermill run it within limits, and places reports."""

import contextlib
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.parameters import Project, RunConfig
from research_lib.reporting.render import RenderError, render, render_index, summary

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2  # between two looks at a kernel's time and memory
KERNEL_STARTS = 4  # of a notebook whose kernel does not come up
# One thread a kernel: runs share the cores, and sums come out the same however many run at a time.
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
ENVIRONMENT = {**ONE_THREAD, "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}
QUIET = "--log-level=CRITICAL"  # a kernel's warnings about local TCP and its end are no news
# A kernel ends itself when its parent is gone, but not while it is in compiled code: Linux does it.
DIE_WITH_PARENT = "_p = __import__('ctypes').CDLL(None).prctl(1, 9)"  # PR_SET_PDEATHSIG, SIGKILL
Answer = dict[str, Any]


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
    outcome, due = dict[str, str](), list[RunConfig]()
    with files.exclusive(project.reports):
        try:
            for run in runs:
                try:
                    # Asked first, for it finds absent data.
                    if not _is_current(run, project) or options.force:
                        due.append(run)
                    else:
                        outcome[run.name] = _finish(run, {}, project)
                except MissingDataError as error:
                    outcome[run.name] = _skip(run, project, str(error))
            outcome |= _work(due, project, options)
        finally:
            render_index(project)
    return outcome


def _is_current(run: RunConfig, project: Project) -> bool:
    """Whether the report that is there is sound and made from the same inputs."""
    now = {one: _inputs(run, one, project.notebook(one)) for one in run.parameters}
    folder = project.reports / run.name
    if files.changed_files(folder):
        return False
    sections = files.read_manifest(folder)["sections"]
    before = {section: record["inputs"] for section, record in sections.items()}
    return files.text_hash(before) == files.text_hash(now)


def _inputs(run: RunConfig, section: str, notebook: Path) -> dict[str, Any]:
    return files.section_inputs(notebook, run.effective[section], run.section_data(section))


def _work(runs: list[RunConfig], project: Project, options: Options) -> Iterator[tuple[str, str]]:
    """Have all notebooks run; each run's report is placed when its last one is in."""
    # Below the project's folder a path is relative, and so the same wherever the project is.
    root = f"{PROJECT_ROOT}{os.sep}"
    paths = {one: str(project.notebook(one)).removeprefix(root) for one in project.sections}
    tasks = [Task(run, one, paths[one], options) for run in runs for one in run.parameters]
    answers: dict[str, dict[str, Answer]] = {run.name: {} for run in runs}
    pool = (run_on_dask if options.scheduler else run_locally)(tasks, options) if tasks else []
    for task, answer in tqdm(pool, "notebooks", len(tasks), disable=not sys.stderr.isatty()):
        run, became = task.run, f"made in {answer.get('seconds', 0.0):.1f} s"
        if answer["kind"]:  # an error may quote data, so only its class
            became = f"failed: {answer['error'].split(':')[0]}; failure.md tells"
        logger.info("%s: %s: %s", run.name, task.section, became)
        answers[run.name][task.section] = answer
        if len(answers[run.name]) == len(run.parameters):
            # Taken out: ten thousand runs' files do not fit into memory.
            yield run.name, _finish(run, answers.pop(run.name), project)


def _skip(run: RunConfig, project: Project, reason: str) -> str:
    """Without its data a run is noted in the index only where there is no report of it."""
    logger.info("%s: skipped: %s", run.name, reason)
    if not (project.reports / run.name / "manifest.json").is_file():
        _note(run, project, next(iter(run.parameters)), refused("data", reason))
    return f"skipped: {reason}"


def _finish(run: RunConfig, answers: Mapping[str, Answer], project: Project) -> str:
    """Place the report, or note the notebook that failed.

    Where nothing had to run, summaries are written anew if their template or the title changed.
    """
    folder = project.reports / run.name
    for section, answer in answers.items():
        if answer["kind"]:
            return _note(run, project, section, answer)
    sections, results, content = _joined(run, answers) if answers else _kept(folder)
    manifest = {"configuration": run.identity(), "sections": sections}
    content["results.json"] = files.json_bytes(results)
    for section in sections:
        try:
            text = summary(section, results, manifest, project.templates)
        except RenderError as error:
            return _note(run, project, section, refused("template", str(error)))
        content[f"{section}_summary.md"] = text.encode()
    for name in files.FAILURE:  # notes of a failure that no longer holds
        (folder / name).unlink(missing_ok=True)
    there = {one: (folder / one).read_bytes() for one in content if (folder / one).is_file()}
    if answers or there != content:
        files.place(project.reports, run.name, content, manifest)
    return "made" if answers else "unchanged"


def _joined(run: RunConfig, answers: Mapping[str, Answer]) -> tuple[dict[str, Any], ...]:
    """Records of the sections for the manifest, their results, and their files."""
    records, results, content = dict[str, Any](), dict[str, Any](), dict[str, bytes]()
    for section in run.parameters:
        answer = answers[section]
        left = dict(answer["files"])
        results[section] = json.loads(left.pop(f"{section}.json"))
        went = {
            "seconds": round(answer["seconds"], 2),
            "peak_memory_mb": round(answer["peak_memory_mb"], 1),
            "operations": json.loads(left.pop(f"{section}.timings.json", b"{}")),
        }
        made = {"inputs": answer["inputs"], "seed": run.effective[section].get("seed")}
        records[section] = made | files.origin() | {"files": sorted(left), "run": went}
        content |= left
    return records, results, content


def _kept(folder: Path) -> tuple[dict[str, Any], ...]:
    """The same of the report that is there."""
    sections = files.read_manifest(folder)["sections"]
    names = [name for record in sections.values() for name in record["files"]]
    content = {name: (folder / name).read_bytes() for name in names}
    return sections, files.read_json(folder / "results.json"), content


def _note(run: RunConfig, project: Project, section: str, answer: Answer) -> str:
    """Leave failure.md and failure.json, beside the last good report where there is one."""
    failure = {
        **{"name": run.name, "title": run.title, "section": section, "rerun": run.rerun},
        **{name: answer[name] for name in ("kind", "error", "cell")},
        "parameters": run.parameters.get(section, {}),
    }
    folder = project.reports / run.name
    text = render("failure.md.j2", project.templates, failure=failure)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / "failure.md", text.encode())
    files.write_whole(folder / "failure.json", files.json_bytes(failure))
    where = "" if answer["kind"] == "template" else f"{section}: "
    return f"failed: {where}{answer['error']}"


class _Manager(AsyncKernelManager):
    """Of a kernel; knows who talks to it, whose channels papermill leaves open."""

    client_there: Any = None

    def client(self, **options: Any) -> Any:
        """As any manager's."""
        self.client_there = super().client(**options)
        return self.client_there


class _Kernel:
    """A kernel to be started, and the eye on it: past a limit it is killed with all it started."""

    def __init__(self, options: Options, stop: threading.Event) -> None:
        self.manager = _Manager(kernel_name="python3")
        assert self.manager.kernel_spec is not None
        self.manager.kernel_spec.env.update(ENVIRONMENT)  # beside that of this process
        self.options, self.stop = options, stop
        self.cell, self.killed_for, self.peak_mb = "", Answer(), 0.0
        self._over = threading.Event()
        self._eye = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
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
        used, options = f"used {self.peak_mb:,.0f} MB", self.options
        if self.stop.is_set():
            return refused("stopped", "stopped before it was finished")
        if self.peak_mb > options.memory_mb:
            return refused("memory", f"{used}; the limit is {options.memory_mb:,.0f} MB")
        if seconds > options.seconds:
            return refused("time", f"not finished after {options.seconds:,.0f} s, the limit")
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
        `kind` "" where it is done, else "cell", "kernel", "memory", "time", "data",
        "results" or "stopped", with `error` and `cell`, the source of what ran; `seconds`,
        `peak_memory_mb`; where done, `files` (path to bytes) and `inputs`, the hashes of what it
        was made from.
    """
    logger.info("%s: %s: started", task.run.name, task.section)
    try:
        inputs = _inputs(task.run, task.section, PROJECT_ROOT / task.notebook)
    except MissingDataError as error:
        return refused("data", str(error))
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
    return {"kind": kind, "error": " ".join(error.split())[:500], "cell": "", "peak_memory_mb": 0.0}


def _run_kernels(task: Task, work: Path, stop: threading.Event) -> Answer:
    """A kernel that does not come up is started again; a cell that fails is not repeated."""
    for kept in ("figures", "tables"):
        (work / kept).mkdir()
    for start in range(1, KERNEL_STARTS + 1):
        with _Kernel(task.options, stop) as kernel:
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
    if task.options.profile:
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
            start_timeout=int(task.options.seconds),  # it may wait for a busy machine
            km=kernel.manager,
            on_cell_start=kernel.begins,
            extra_arguments=[QUIET, *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        )
    except PapermillExecutionError as error:
        return refused("cell", f"{error.ename}: {error.evalue}")
    except (RuntimeError, OSError) as error:  # nbclient's, of a dead kernel and of timeouts
        return refused("kernel", f"{type(error).__name__}: {error}")
    return {}


def run_locally(tasks: Sequence[Task], options: Options) -> Iterator[tuple[Task, Answer]]:
    """Each task and its answer once finished; left early, what runs is ended."""
    from dask.system import CPU_COUNT

    stop = threading.Event()
    executor = ThreadPoolExecutor(options.jobs or CPU_COUNT)  # kernels do the work
    try:
        futures = {executor.submit(run_notebook, task, stop): task for task in tasks}
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result()  # its files need not stay in memory
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def run_on_dask(tasks: Sequence[Task], options: Options) -> Iterator[tuple[Task, Answer]]:
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
        why = f"are not there, or runs were cancelled ({' '.join(str(error).split())})"
        remedy = "what is finished is kept; repeat the call, or leave out --scheduler"
        where = f"scheduler or workers at {options.scheduler}"
        raise ValidationError(f"{where} {why}; {remedy}") from error

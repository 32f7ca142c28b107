"""Runs notebooks by papermill within limits: several at a time here, or on a Dask scheduler."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

from research_lib.checks import number
from research_lib.config import PROJECT_ROOT
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.manifest import section_inputs
from research_lib.reporting.parameters import Project

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2  # between two looks at a kernel's time and memory
KERNEL_STARTS = 4  # of a notebook whose kernel does not come up
LONGEST_ERROR = 500  # characters of a notebook's error that are reported
CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"
# One thread a kernel: runs share the cores, and sums come out the same however many run at a time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1",
}  # fmt: skip
QUIET = (
    "--log-level=CRITICAL"  # warnings about local TCP and the interrupt that ends it are no news
)
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
    limits : Limits
    profile : bool
        Leave cProfile's records as <section>.prof.
    code : str
        Hash of the library that must run it, or "" for whichever is here.
    """

    run: RunConfig
    section: str
    notebook: str
    limits: Limits = Limits()
    profile: bool = False
    code: str = ""


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
        self.manager: Any = _Manager(kernel_name="python3")
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
            if self.manager.has_kernel:
                run_sync(self.manager.shutdown_kernel)()
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
        if self.stop.is_set():
            return {"kind": "stopped", "error": "stopped before it was finished"}
        used, limit = self.peak_mb, self.limits.memory_mb
        if used > limit:
            return {"kind": "memory", "error": f"used {used:,.0f} MB; the limit is {limit:,.0f} MB"}
        if seconds > (limit := self.limits.seconds):
            late = f"not finished after {limit:,.0f} s, the limit of a notebook"
            return {"kind": "time", "error": late}
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
        inputs = section_inputs(PROJECT_ROOT / task.notebook, parameters, data)
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
        files = () if answer["kind"] else sorted(one for one in work.rglob("*") if one.is_file())
        left = {one.relative_to(work).as_posix(): one.read_bytes() for one in files}
        return {**answer, "files": left, "inputs": inputs, "seconds": time.monotonic() - begin}


def refused(kind: str, error: str) -> Answer:
    """The answer of a notebook that was not run, or did not end as one does."""
    return {"kind": kind, "error": error, "cell": "", "peak_memory_mb": 0.0}


def _run_kernels(task: Task, work: Path, stop: threading.Event) -> Answer:
    """A kernel that does not come up is started again; a cell that fails is not repeated."""
    (work / "figures").mkdir()
    for start in range(1, KERNEL_STARTS + 1):
        with _Kernel(task.limits, stop) as kernel:
            failed = _papermill(task, work, kernel)
        if not failed or kernel.cell or kernel.killed_for:
            break
        stop.wait(0.5 * start)  # such as a port that another kernel has just taken
    answer = {**refused("", ""), **failed, **kernel.killed_for, "peak_memory_mb": kernel.peak_mb}
    return {**answer, "cell": kernel.cell if answer["kind"] else ""}


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
            km=kernel.manager,
            on_cell_start=kernel.begins,
            extra_arguments=[QUIET, *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        )
    except PapermillExecutionError as error:
        text = " ".join(f"{error.ename}: {error.evalue}".split())
        return {"kind": "cell", "error": text[:LONGEST_ERROR]}
    except (RuntimeError, OSError) as error:  # nbclient's, of a dead kernel and of timeouts
        return {"kind": "kernel", "error": f"{type(error).__name__}: {error}"[:LONGEST_ERROR]}
    return {}


def run_locally(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Answer]]:
    """Each task and its answer once finished, `jobs` at a time; left early, what runs is ended."""
    stop = threading.Event()
    executor = ThreadPoolExecutor(number("jobs", jobs, 1, integer=True))  # kernels do the work
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
            f"the Dask scheduler at {address} or its workers are not there, or the runs were "
            f"cancelled ({error}); what is finished is kept; see that both run and repeat the "
            "call, or leave out --scheduler"
        ) from error


def refresh_notebooks() -> list[Path]:
    """Run the notebooks with their defaults and store the outputs that nbval compares, no others.

    Needed after a change that moves a checked table on purpose; the difference is then
    reviewed like code.
    """
    import nbformat
    from nbclient import NotebookClient

    project = Project()
    paths = [project.notebook(section) for section in project.sections]
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, extra_arguments=[QUIET], resources=where).execute()
        for cell in notebook.cells:
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
            if cell.cell_type == "code" and CHECKED_OUTPUT not in cell.source:
                cell.execution_count, cell.outputs = None, []
        kernel = notebook.metadata["kernelspec"]
        notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        nbformat.write(notebook, path)
    return paths

"""One notebook in a process of its own, limited in time and memory; here or on a Dask worker."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from research_lib.config import PROJECT_ROOT, data_folder
from research_lib.errors import MissingDataError
from research_lib.reporting.kernels import running_cell
from research_lib.reporting.manifest import section_inputs

TICK_SECONDS = 0.2  # between two looks at the clock and at the memory
PIPE_BYTES = 65_536  # read at a time
# One thread a kernel: runs share the cores, and sums come out the same however many run at a time.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
KERNEL_ENVIRONMENT = {**ONE_THREAD, "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes
    ----------
    seconds : float
        Of one notebook, from its kernel's start to its end.
    memory_mb : float
        Resident memory of the kernel and its children, MB of 1e6 bytes.
    retries : int
        How often a kernel that did not come up is started again.
    """

    seconds: float = 1800.0
    memory_mb: float = 4000.0
    retries: int = 3


@dataclass(frozen=True)
class Task:
    """One notebook of one run.

    Attributes
    ----------
    name, section : str
        The run and which of its notebooks.
    notebook : str
        Path; below the project's folder where that is the same on every machine.
    parameters : mapping
        What papermill injects.
    declared : mapping
        The same with the notebook's defaults: what provenance records.
    data : tuple of str
        Files below RESEARCH_DATA that it reads.
    limits : Limits
    profile : bool
        Leave cProfile's records as <section>.prof.
    code : str
        Hash of the library that must run it, or "" for whichever is here.
    """

    name: str
    section: str
    notebook: str
    parameters: Mapping[str, Any]
    declared: Mapping[str, Any]
    data: tuple[str, ...]
    limits: Limits = Limits()
    profile: bool = False
    code: str = ""


class _Helper:
    """A process that runs notebooks (`kernels`), and the eye on it."""

    def __init__(self) -> None:
        # Open as long as the process; closed in `end`.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "research_lib.reporting.kernels"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,  # kernels say there what is no news to a report
            env={**os.environ, **KERNEL_ENVIRONMENT},
            start_new_session=True,  # Ctrl-C is for whoever supervises
        )

    def ask(
        self, order: Mapping[str, Any], limits: Limits, stop: threading.Event
    ) -> dict[str, Any]:
        """Have one notebook run; past a limit, kernel and process are ended, whatever came."""
        assert self.process.stdout is not None
        begin, peak, said = time.monotonic(), 0.0, b""
        self._send(order)
        while True:
            if select.select([self.process.stdout], [], [], TICK_SECONDS)[0]:
                part = os.read(
                    self.process.stdout.fileno(), PIPE_BYTES
                )  # what is there: never waits for a line's end
                said += part
                if not part:
                    return {**self._died(), "peak_memory_mb": peak}
                if said.endswith(b"\n"):
                    return {
                        **json.loads(said),
                        "seconds": time.monotonic() - begin,
                        "peak_memory_mb": peak,
                    }
            peak = max(peak, self._memory_mb())
            reason = _beyond(limits, peak, time.monotonic() - begin, stop)
            if reason:
                self.end()
                cell = running_cell(Path(order["target"]))
                return {
                    "status": "failed",
                    "attempts": 1,
                    "cell": cell,
                    "line": "",
                    "peak_memory_mb": peak,
                    **reason,
                }

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(
            BrokenPipeError
        ):  # it died before it was asked: its output then ends, which is told
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def _died(self) -> dict[str, Any]:
        said = self._last_words()
        self.end()
        return refused("kernel", f"the process that ran the notebook died: {said}")

    def _memory_mb(self) -> float:
        """Resident memory of the kernel and what it started."""
        used = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used += child.memory_info().rss
        return used / 1e6

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").split("\n")
        return next(
            (line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing"
        )

    def end(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _beyond(
    limits: Limits, peak_mb: float, seconds: float, stop: threading.Event
) -> dict[str, str]:
    """Which limit is passed, if any."""
    if stop.is_set():
        return {"kind": "stopped", "error": "stopped before it was finished"}
    if peak_mb > limits.memory_mb:
        return {
            "kind": "memory",
            "error": f"used {peak_mb:,.0f} MB; the limit is {limits.memory_mb:,.0f} MB",
        }
    if seconds > limits.seconds:
        return {
            "kind": "time",
            "error": f"not finished after {limits.seconds:,.0f} s, the limit of a notebook",
        }
    return {}


# Loading papermill takes a second, so helpers wait for the next notebook; they end with this
# process.
_idle: queue.SimpleQueue[_Helper] = queue.SimpleQueue()
_NEVER = threading.Event()


def _helper() -> _Helper:
    while True:
        try:
            helper = _idle.get_nowait()
        except queue.Empty:
            return _Helper()
        if helper.process.poll() is None:
            return helper


@atexit.register
def _end_helpers() -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            _idle.get_nowait().end()


def supervise(task: Task, stop: threading.Event = _NEVER) -> dict[str, Any]:
    """Run one notebook in a work folder of its own and bring back what it left there.

    Parameters
    ----------
    task : Task
    stop : threading.Event
        Set from outside to end it early.

    Returns
    -------
    dict
        `status` "done" or "failed", `seconds`, `peak_memory_mb`, `attempts`; where done,
        `files` (path to bytes) and `inputs`, the hashes of what it was made from; where
        failed, `kind` ("cell", "kernel", "memory", "time", "data", "code", "stopped"),
        `error`, `cell` and `line`.
    """
    if stop.is_set():
        return refused("stopped", "stopped before it began")
    try:
        inputs = section_inputs(PROJECT_ROOT / task.notebook, task.declared, task.data)
    except MissingDataError as error:
        return refused("data", str(error))
    if task.code and task.code != inputs["code"]:
        return refused(
            "code",
            f"this worker's library is {inputs['code'][:12]}, not {task.code[:12]}; "
            "give it the same version",
        )
    with tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True) as work:
        answer = _run(task, Path(work), stop)
        if answer["status"] == "done" and not Path(work, f"{task.section}.json").is_file():
            return {**answer, **refused("results", f"the notebook left no {task.section}.json")}
        if answer["status"] == "done":
            answer["files"] = {
                path.relative_to(work).as_posix(): path.read_bytes()
                for path in sorted(Path(work).rglob("*"))
                if path.is_file() and path.suffix != ".ipynb"
            }
            answer["inputs"] = inputs
        return answer


def _run(task: Task, work: Path, stop: threading.Event) -> dict[str, Any]:
    (work / "figures").mkdir()
    order = {
        "notebook": str(PROJECT_ROOT / task.notebook),
        "target": str(work / f"{task.section}.ipynb"),
        "parameters": {**task.parameters, "output_dir": str(work)},
        "retries": task.limits.retries,
        "profile": str(work / f"{task.section}.prof") if task.profile else "",
        "work": str(work),
        "data": str(data_folder()),
    }
    helper = _helper()
    try:
        answer = helper.ask(order, task.limits, stop)
    except BaseException:
        helper.end()
        raise
    if helper.process.poll() is None:
        _idle.put(helper)
    return answer


def refused(kind: str, error: str) -> dict[str, Any]:
    """The answer of a notebook that was not run, or did not end as one does."""
    return {
        "status": "failed",
        "kind": kind,
        "error": error,
        "cell": "",
        "line": "",
        "attempts": 0,
        "peak_memory_mb": 0.0,
    }

"""Makes reports: plans what must run, runs it within limits, and places reports."""

import atexit
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import nbformat
import psutil
from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.pages import HandedOn, PageError, handed_on, report_files
from research_lib.reporting.parameters import Project, RunConfig
from research_lib.reporting.render import around, render, render_index

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
CHANGED = {
    "notebook": "notebook of {}", "data": "its data", "code": "the library's code",
    "environment": "Python or its packages",
}  # fmt: skip
LONGEST = ("robustness",)  # sections that start first, and that `make report` keeps


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


@dataclass(frozen=True)
class Answer:
    """What became of one notebook.

    Attributes
    ----------
    kind, error : str
        "" where it is done, else "cell", "kernel", "memory", "time", "data", "stopped" or "worker"
        (as "page" where it makes no report), and what happened.
    cell : str
        Source of the cell that ran last.
    seconds, peak_memory_mb : float
    notebook : str
        The executed notebook.
    files : mapping of path to bytes
        Of --profile.
    record : mapping
        What the manifest says: hashes of what it was made from, seed, Python and packages.
    kept : bool
        It was not run again.
    """

    kind: str = ""
    error: str = ""
    cell: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    notebook: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    kept: bool = False


Answers = Iterable[tuple[Task, Answer]]


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
                    if changed != [] or options.force:
                        due[run.name] = changed or []
                    else:
                        for name in files.FAILURE:  # notes of a failure that no longer holds
                            (project.reports / run.name / name).unlink(missing_ok=True)
                        outcome[run.name] = "unchanged"
                except MissingDataError as error:
                    outcome[run.name] = f"skipped: {error}"
                    logger.info("%s: %s", run.name, outcome[run.name])
                    # Noted in the index only where there is no report of it.
                    if not (project.reports / run.name / "manifest.json").is_file():
                        _note(run, project, next(iter(run.parameters)), Answer("data", str(error)))
            for name, became in _work([chosen[name] for name in due], project, options):
                why = ": " * bool(due[name]) + "; ".join(due[name])
                outcome[name] = became + why * (became == "made")
        finally:
            render_index(project)
    return {name: outcome[name] for name in chosen}


def _changes(run: RunConfig, project: Project, options: Options) -> list[str] | None:
    """Why the report that is there is not that of these inputs; empty where it is, None if none."""
    now = {one: _inputs(run, one, project.notebook(one)) for one in run.parameters}
    folder = project.reports / run.name
    if not (folder / "manifest.json").is_file():
        return None
    if found := files.changed_files(folder, whole=options.whole):
        return found
    manifest = files.read_manifest(folder)
    before = {section: record["inputs"] for section, record in manifest["sections"].items()}
    lines = ["its title"] if manifest["configuration"]["title"] != run.title else []
    if before.keys() != now.keys():
        lines.append(f"its sections are {', '.join(now)}")
    for section in sorted(now.keys() & before.keys()):
        lines += _section_changes(section, before[section], now[section], run)
    return list(dict.fromkeys(lines))


def _section_changes(section: str, before: Any, now: Any, run: RunConfig) -> Iterator[str]:
    """One line a difference; of a parameter also where its new value stands."""
    for name in sorted(before["parameters"].keys() | now["parameters"].keys()):
        was, becomes = (one["parameters"].get(name, "absent") for one in (before, now))
        if was != files.plain(becomes):
            where = "" if name in run.parameters[section] else ", the notebook's default"
            yield f"{name} of {section} is {becomes!r:.60}{where}, was {was!r:.60}"
    for name, words in CHANGED.items():
        if before.get(name) != now[name]:
            yield words.format(section)


def _inputs(run: RunConfig, section: str, notebook: Path) -> dict[str, Any]:
    return files.section_inputs(notebook, run.effective[section], run.section_data(section))


def _work(runs: list[RunConfig], project: Project, options: Options) -> Iterator[tuple[str, str]]:
    """Have all notebooks run; each run's report is placed when its last one is in."""
    # Below the project's folder a path is relative, and so the same wherever the project is.
    root = f"{PROJECT_ROOT}{os.sep}"
    paths = {one: str(project.notebook(one)).removeprefix(root) for one in project.sections}
    # The longest first, so that no core waits for it at the end.
    order = sorted(project.sections, key=lambda one: one not in LONGEST)
    pairs = [(run, one) for run in runs for one in order if one in run.parameters]
    tasks = [Task(run, one, paths[one], options) for run, one in pairs]
    known = [(task, _kept(task, project)) for task in tasks]
    kept = [(task, answer) for task, answer in known if answer]
    due = [task for task, answer in known if not answer]
    answers: dict[str, dict[str, Answer]] = {run.name: {} for run in runs}
    ran = (run_on_dask if options.scheduler and due else run_locally)(due, options)
    with tqdm(total=len(tasks), unit="notebook", disable=not sys.stderr.isatty()) as bar:
        for task, answer in chain(kept, ran):
            run, became = task.run, f"made in {answer.seconds:.1f} s"
            if answer.kind:  # an error may quote data, so only its class
                became = f"failed: {answer.error.split(':')[0]}; see failure.md"
            logger.info("%s: %s: %s", run.name, task.section, became)
            bar.set_description(f"{run.name}: {task.section}")
            bar.update()
            answers[run.name][task.section] = answer
            if len(answers[run.name]) == len(run.parameters):
                # Taken out: ten thousand runs' files do not fit into memory.
                yield run.name, _finish(run, answers.pop(run.name), project)


def _kept(task: Task, project: Project) -> Answer | None:
    """That of a section which need not run, from its executed notebook."""
    folder, section = project.reports / task.run.name, task.section
    if section not in task.options.kept or files.changed_files(folder):
        return None
    record = files.read_manifest(folder)["sections"].get(section)
    if record is None or not (path := folder / f"{section}.ipynb").is_file():
        return None
    before, now = record["inputs"], _inputs(task.run, section, project.notebook(section))
    if any(before[name] != now[name] for name in ("notebook", "parameters", "data")):
        return None
    return Answer(notebook=path.read_text(encoding="utf-8"), record=record, kept=True)


def _finish(run: RunConfig, answers: Mapping[str, Answer], project: Project) -> str:
    """Place the report, or note the notebook that failed."""
    for section, answer in answers.items():
        if answer.kind:
            return _note(run, project, section, answer)
    executed = {one: nbformat.reads(answers[one].notebook, 4) for one in run.parameters}
    records = {one: answers[one].record for one in executed}
    manifest = {"configuration": run.identity(), "sections": records}
    content = {name: left for one in answers.values() for name, left in one.files.items()}
    given = dict[str, HandedOn]()
    try:
        for section, notebook in executed.items():
            given[section] = handed_on(notebook)
        results = {section: one.results for section, one in given.items()}
        for section, notebook in executed.items():
            content |= report_files(notebook, section, *around(section, results, manifest))
    except PageError as error:
        return _note(run, project, section, Answer("page", str(error)))
    content["results.json"] = files.json_bytes(results)
    content[files.RUN] = files.json_bytes(_account(answers, given))
    files.place(project.reports, run.name, content, manifest)
    return "made"


def _account(answers: Mapping[str, Answer], given: Mapping[str, HandedOn]) -> dict[str, Any]:
    """What differs from run to run: when, how long, how much memory, warnings."""
    sections = {
        section: {
            "kept": answers[section].kept, "seconds": round(answers[section].seconds, 2),
            "peak_memory_mb": round(answers[section].peak_memory_mb, 1),
            "operations": one.timings, "warnings": one.warnings.splitlines(),
        }
        for section, one in given.items()
    }  # fmt: skip
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"finished": when, "git_commit": files.git_commit(), "sections": sections}


def _note(run: RunConfig, project: Project, section: str, answer: Answer) -> str:
    """Leave failure.md and failure.json, beside the last good report where there is one."""
    error = " ".join(answer.error.split())[:500]
    failure = {
        "name": run.name, "title": run.title, "section": section, "kind": answer.kind,
        "error": error, "cell": answer.cell, "rerun": run.rerun,
        "parameters": run.parameters[section],
    }  # fmt: skip
    folder = project.reports / run.name
    folder.mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / "failure.md", render("failure.md.j2", failure=failure).encode())
    files.write_whole(folder / "failure.json", files.json_bytes(failure))
    return f"failed: {section}: {error}"


def run_notebook(task: Task, stop: Event | None = None) -> Answer:
    """Run one notebook and bring it back executed.

    A kernel that does not come up is started again; a cell that fails is not repeated.

    Parameters
    ----------
    task : Task
    stop : threading.Event, optional
        Set from outside to end it early.
    """
    logger.info("%s: %s: started", task.run.name, task.section)
    try:
        inputs = _inputs(task.run, task.section, PROJECT_ROOT / task.notebook)
    except MissingDataError as error:
        return Answer("data", str(error))
    stop, begin = stop or Event(), time.monotonic()
    for start in range(KERNEL_STARTS):
        answer = _run_kernel(task, FIRST_WAIT * 4**start, stop)
        if answer.kind != "kernel" or answer.cell:
            break
        stop.wait(0.5 * (start + 1))  # such as a port that another kernel has just taken
    record = {"inputs": inputs, "seed": task.run.effective[task.section].get("seed")}
    return replace(answer, record=record | files.origin(), seconds=time.monotonic() - begin)


def _run_kernel(task: Task, wait: float, stop: Event) -> Answer:
    """The executed notebook, or what went wrong, after one start of a kernel."""
    import papermill
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    begun, over, path = [""], Event(), str(PROJECT_ROOT / task.notebook)
    parameters = task.run.parameters[task.section]
    with tempfile.TemporaryDirectory(prefix="report-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder, f"{task.section}.prof")
        lines = [DIE_WITH_PARENT] if sys.platform == "linux" else []
        if task.options.profile:
            dump = f"(_p.disable(), _p.dump_stats({str(profile)!r}))"
            lines.append("import atexit, cProfile; _p = cProfile.Profile()")
            lines.append(f"atexit.register(lambda: {dump}); _p.enable()")
        client = NotebookClient(
            papermill.execute_notebook(path, None, parameters, prepare_only=True),
            kernel_name="python3", startup_timeout=int(min(wait, task.options.seconds)),
            raise_on_iopub_timeout=True,
            on_cell_execute=lambda cell, **_: begun.append(cell.source),
            extra_arguments=[QUIET, *(f"--IPKernelApp.exec_lines={line}" for line in lines)],
        )  # fmt: skip
        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(_watch, client, task.options, stop, over)
            try:
                executed = client.execute(env={**os.environ, **ENVIRONMENT})
                answer = Answer(notebook=nbformat.writes(executed))
            except CellExecutionError as error:
                answer = Answer("cell", f"{error.ename}: {error.evalue}")
            except (RuntimeError, OSError) as error:  # of a dead kernel and of one that is late
                answer = Answer("kernel", f"{type(error).__name__}: {error}")
            finally:
                over.set()
                # nbclient forgets its own hook where a kernel ends before it is ready.
                atexit.unregister(client._cleanup_kernel)
        left = {profile.name: profile.read_bytes()} if profile.is_file() else {}
    killed_for, peak_mb = watched.result()
    return replace(killed_for or answer, cell=begun[-1], peak_memory_mb=peak_mb, files=left)


def _watch(client: Any, options: Options, stop: Event, over: Event) -> tuple[Answer | None, float]:
    """Past a limit, kill the kernel with all that it started; why, and its peak memory, MB."""
    begin, peak_mb, why = time.monotonic(), 0.0, None
    while not over.wait(TICK_SECONDS):
        family = _family(client.km)
        with contextlib.suppress(psutil.Error):  # where one ends meanwhile, the next look counts
            peak_mb = max(peak_mb, sum(one.memory_info().rss for one in family) / 1e6)
        if stop.is_set():
            why = Answer("stopped", "stopped before it was finished")
        elif peak_mb > options.memory_mb:
            limit = f"the limit is {options.memory_mb:,.0f} MB"
            why = Answer("memory", f"used {peak_mb:,.0f} MB; {limit}")
        elif time.monotonic() - begin > options.seconds:
            why = Answer("time", f"not finished after {options.seconds:,g} s, the limit")
        for process in family if why else []:
            with contextlib.suppress(psutil.Error):
                process.kill()
    return why, peak_mb


def _family(manager: Any) -> list[psutil.Process]:
    """The kernel and what it started; nothing before it is there and after its end."""
    with contextlib.suppress(psutil.Error):
        if pid := getattr(getattr(manager, "provisioner", None), "pid", None):
            kernel = psutil.Process(pid)
            return [kernel, *kernel.children(recursive=True)]
    return []


def run_locally(tasks: Sequence[Task], options: Options) -> Answers:
    """Each task and its answer once finished; left early, what runs is ended."""
    from dask.system import CPU_COUNT

    stop = Event()
    executor = ThreadPoolExecutor(options.jobs or CPU_COUNT)  # kernels do the work
    try:
        futures = {executor.submit(run_notebook, task, stop): task for task in tasks}
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
        # Left in any way, it takes what it has asked for off the cluster.
        with Client(options.scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=options.worker_seconds)
            futures = {client.submit(run_notebook, task, pure=False): task for task in tasks}
            suspects = []
            for future in as_completed(futures, loop=client.loop):
                task = futures.pop(future)
                try:
                    yield task, future.result()
                except KilledWorker:  # it took workers with it, or waited beside who did
                    suspects.append(task)
                future.release()  # its files need not stay on the cluster
            for task in suspects:  # one at a time, so that who is to blame shows
                try:
                    yield task, client.submit(run_notebook, task, pure=False).result()
                except KilledWorker as error:
                    yield task, Answer("worker", str(error))
    except (OSError, FutureCancelledError) as error:
        where = f"scheduler or workers at {options.scheduler} are not there, or runs were cancelled"
        remedy = "what is finished is kept; repeat the call, or leave out --scheduler"
        raise ValidationError(f"{where} ({' '.join(str(error).split())}); {remedy}") from error

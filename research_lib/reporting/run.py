"""Makes reports: plans what must run, has it run, and puts whole reports in place."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import ValidationError
from research_lib.reporting import manifest as files
from research_lib.reporting.assembly import assemble
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.notebooks import Answer, Limits, Task, refused, run_locally, run_on_dask
from research_lib.reporting.parameters import Project
from research_lib.reporting.render import RenderError, render, render_index

logger = logging.getLogger(__name__)


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
    """One run: tasks to do, seconds each took before, sections that stay, answers so far."""

    run: RunConfig
    tasks: list[Task]
    seconds: dict[str, float]
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
            if options.only and options.only not in run.parameters:
                outcome[run.name] = f"skipped: it runs no {options.only} notebook"
            elif reason := run.missing_data():
                outcome[run.name] = _skip(run, project, reason)
            else:
                plans.append(_plan(run, project, options))
        try:
            outcome |= {plan.run.name: _keep(plan, project) for plan in plans if not plan.tasks}
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
    kept, tasks = {}, []
    for section in run.parameters:
        aside = options.only not in ("", section)
        same = section in known and not options.force and _same_inputs(run, section, project, known)
        if section in known and (aside or same):
            kept[section] = known[section]
        elif not aside:
            tasks.append(_task(run, section, project, options))
    seconds = {section: float(entry["run"]["seconds"]) for section, entry in known.items()}
    return _Plan(run, tasks, seconds, kept)


def _same_inputs(run: RunConfig, section: str, project: Project, known: Mapping[str, Any]) -> bool:
    data, parameters = run.section_data(section), run.effective[section]
    now = files.section_inputs(project.notebook(section), parameters, data)
    return files.text_hash(now) == files.text_hash(known[section]["inputs"])


def _task(run: RunConfig, section: str, project: Project, options: Options) -> Task:
    notebook = project.notebook(section)
    if notebook.is_relative_to(PROJECT_ROOT):  # the same on every machine, wherever that is there
        notebook = notebook.relative_to(PROJECT_ROOT)
    code = files.code_hash() if options.scheduler else ""
    return Task(run, section, str(notebook), options.limits, options.profile, code)


def _work(plans: list[_Plan], project: Project, options: Options) -> Iterator[tuple[str, str]]:
    """Have all tasks run; each run's report is placed when its last notebook is in."""
    if not plans:
        return
    by_name, tasks = {plan.run.name: plan for plan in plans}, _longest_first(plans)
    if options.scheduler:
        pool = run_on_dask(tasks, options.scheduler, options.worker_seconds)
    else:
        pool = run_locally(tasks, options.jobs or available_cores())
    shown = {"desc": "notebooks", "unit": "notebook", "disable": not sys.stderr.isatty()}
    with tqdm(total=len(tasks), **shown) as bar:
        for task, answer in pool:
            plan = by_name[task.run.name]
            plan.answers[task.section] = answer
            logger.info("%s: %s: %s", task.run.name, task.section, _became(answer))
            if len(plan.answers) == len(plan.tasks):
                became = _finish(plan, project)
                plan.answers.clear()  # ten thousand runs' files do not fit into memory
                yield task.run.name, became
            bar.update()


def _longest_first(plans: list[_Plan]) -> list[Task]:
    """Tasks run by run: first those never run before, then the longest, so that none ends alone.

    A run's own follow each other, so that its report is whole and its files are let go early.
    """

    def took(plan: _Plan, *tasks: Task) -> float:
        return -sum(plan.seconds.get(task.section, math.inf) for task in tasks)

    return [
        task
        for plan in sorted(plans, key=lambda plan: took(plan, *plan.tasks))
        for task in sorted(plan.tasks, key=lambda task, plan=plan: took(plan, task))  # type: ignore[misc]
    ]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _skip(run: RunConfig, project: Project, reason: str) -> str:
    """Without its data a run is noted in the index only where there is no report of it."""
    logger.info("%s: skipped: %s", run.name, reason)
    if not (project.reports / run.name / "manifest.json").is_file():
        _note(run, project, next(iter(run.parameters)), refused("data", reason))
    return f"skipped: {reason}"


def _keep(plan: _Plan, project: Project) -> str:
    """Nothing has to run; summaries are written anew if their template or the title has changed."""
    name, folder = plan.run.name, project.reports / plan.run.name
    files.remove_failure(project.reports, name)
    report = assemble(plan.run, plan.kept, {}, folder, project.templates)
    there = {one: (folder / one).read_bytes() for one in report.files if (folder / one).is_file()}
    if there != report.files:
        files.place(project.reports, name, report.files, report.manifest)
    return "unchanged"


def _finish(plan: _Plan, project: Project) -> str:
    """Place the report, or note the first of its notebooks that failed."""
    run, folder = plan.run, project.reports / plan.run.name
    failed = ((one, answer) for one, answer in plan.answers.items() if answer["kind"])
    if failure := next(failed, None):
        _note(run, project, *failure)
        return f"failed: {failure[0]}: {failure[1]['error']}"
    try:
        report = assemble(run, plan.kept, plan.answers, folder, project.templates)
    except RenderError as error:
        _note(run, project, error.section, refused("template", str(error)))
        return f"failed: {error}"
    files.place(project.reports, run.name, report.files, report.manifest)
    return "made"


def _became(answer: Answer) -> str:
    """What the log says of a finished notebook; an error may quote data, so only its class."""
    if answer["kind"]:
        return f"failed: {answer['error'].split(':')[0]}; failure.md tells"
    return f"made in {answer['seconds']:.1f} s"


def _note(run: RunConfig, project: Project, section: str, answer: Answer) -> None:
    failure = {
        **{"name": run.name, "title": run.title, "section": section, "rerun": run.rerun},
        **{"kind": answer["kind"], "error": answer["error"], "cell": answer["cell"]},
        **{"reason": answer["error"], "parameters": run.parameters.get(section, {})},
    }
    text = render("failure.md.j2", project.templates, failure=failure)
    files.note_failure(project.reports, run.name, failure, text)

"""Makes reports: plans what must run, has it run, and puts whole reports in place."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from research_lib.config import PROJECT_ROOT
from research_lib.errors import ValidationError
from research_lib.reporting.assembly import assemble
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.manifest import (
    changed_files,
    code_hash,
    exclusive,
    note_failure,
    place,
    read_json,
    remove_failure,
    section_inputs,
    text_hash,
)
from research_lib.reporting.parameters import Project
from research_lib.reporting.pools import Answer, run_locally, run_on_dask
from research_lib.reporting.render import RenderError, render, render_index
from research_lib.reporting.supervision import Limits, Task, refused

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
        The reports folder is in use; no scheduler or worker answers; a report of that name is of
        another file.
    """
    project, options = project or Project(), options or Options()
    outcome: dict[str, str] = {}
    with exclusive(project.reports):
        plans, code = {}, code_hash() if options.scheduler else ""
        for run in runs:
            reason = run.missing_data()
            if options.only and options.only not in run.parameters:
                outcome[run.name] = f"skipped: it runs no {options.only} notebook"
            elif reason:
                outcome[run.name] = _skip(run, project, reason)
                logger.info("%s: %s", run.name, outcome[run.name])
            else:
                plans[run.name] = _plan(run, project, options, code)
        try:
            outcome |= {
                name: _keep(plan, project) for name, plan in plans.items() if not plan.tasks
            }
            for name, what in _work(
                {name: plan for name, plan in plans.items() if plan.tasks}, project, options
            ):
                outcome[name] = what
        finally:
            render_index(project)
    return outcome


def _plan(run: RunConfig, project: Project, options: Options, code: str) -> _Plan:
    """Which notebooks must run: those whose inputs differ from those of the sound report there."""
    folder = project.reports / run.name
    manifest = {} if changed_files(folder) else read_json(folder / "manifest.json")
    _refuse_other_source(run, manifest.get("configuration", {}))
    known = manifest.get("sections", {})
    kept, tasks = {}, []
    for section in run.parameters:
        if options.only not in ("", section):
            kept.update({section: known[section]} if section in known else {})
        elif (
            not options.force
            and section in known
            and _same_inputs(run, section, project, known[section]["inputs"])
        ):
            kept[section] = known[section]
        else:
            tasks.append(_task(run, section, project, options, code))
    seconds = {section: float(entry["run"]["seconds"]) for section, entry in known.items()}
    return _Plan(run, tasks, seconds, kept)


def _refuse_other_source(run: RunConfig, before: Mapping[str, Any]) -> None:
    """Another file's run of the same name does not replace a report, unless the two are one."""
    if (
        before
        and before["source"] != run.source
        and text_hash(before["parameters"]) != text_hash(run.effective)
    ):
        raise ValidationError(
            f"report {run.name} is of {before['source']}, not of {run.source}, "
            "which has other parameters; rename one of the two files, or remove the report"
        )


def _same_inputs(run: RunConfig, section: str, project: Project, before: Mapping[str, Any]) -> bool:
    now = section_inputs(
        project.notebook(section), run.effective[section], run.section_data(section)
    )
    return text_hash(now) == text_hash(before)


def _task(run: RunConfig, section: str, project: Project, options: Options, code: str) -> Task:
    notebook = project.notebook(section)
    if notebook.is_relative_to(
        PROJECT_ROOT
    ):  # the same on every machine, wherever the project is there
        notebook = notebook.relative_to(PROJECT_ROOT)
    return Task(
        run.name,
        section,
        str(notebook),
        run.parameters[section],
        run.effective[section],
        tuple(run.section_data(section)),
        options.limits,
        options.profile,
        code,
    )


def _work(
    plans: Mapping[str, _Plan], project: Project, options: Options
) -> Iterator[tuple[str, str]]:
    """Have all tasks run; each run's report is placed when its last notebook is in."""
    tasks = _longest_first(plans.values())
    if not tasks:
        return
    done: Counter[str] = Counter()
    with tqdm(
        total=len(tasks), desc="notebooks", unit="notebook", disable=not sys.stderr.isatty()
    ) as bar:
        for task, answer in _pool(tasks, options):
            plan = plans[task.name]
            plan.answers[task.section] = answer
            logger.info("%s: %s: %s", task.name, task.section, _became(answer))
            if len(plan.answers) == len(plan.tasks):
                what = _finish(plan, project)
                plan.answers.clear()  # ten thousand runs' files do not fit into memory
                done[what.split(":")[0]] += 1
                bar.set_postfix_str(", ".join(f"{number} {word}" for word, number in done.items()))
                yield task.name, what
            bar.update()


def _longest_first(plans: Iterable[_Plan]) -> list[Task]:
    """Tasks run by run: first those never run before, then the longest, so that none ends alone.

    A run's own follow each other, so that its report is whole and its files are let go early.
    """

    def took(plan: _Plan) -> float:
        return sum(plan.seconds.get(task.section, math.inf) for task in plan.tasks)

    def longest_task(plan: _Plan) -> list[Task]:
        return sorted(
            plan.tasks, key=lambda task: plan.seconds.get(task.section, math.inf), reverse=True
        )

    return [task for plan in sorted(plans, key=took, reverse=True) for task in longest_task(plan)]


def _pool(tasks: Sequence[Task], options: Options) -> Iterator[tuple[Task, Answer]]:
    if options.scheduler:
        return run_on_dask(tasks, options.scheduler, options.worker_seconds)
    return run_locally(tasks, options.jobs or available_cores())


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _skip(run: RunConfig, project: Project, reason: str) -> str:
    """Without its data a run is noted in the index only where there is no report of it."""
    if not (project.reports / run.name / "manifest.json").is_file():
        _note(run, project, next(iter(run.parameters)), refused("data", reason))
    return f"skipped: {reason}"


def _keep(plan: _Plan, project: Project) -> str:
    """Nothing has to run; summaries are written anew if their template or the title has changed."""
    folder = project.reports / plan.run.name
    remove_failure(project.reports, plan.run.name)
    report = assemble(plan.run, plan.kept, {}, folder, project.templates)
    if any(
        not (folder / path).is_file() or (folder / path).read_bytes() != text
        for path, text in report.files.items()
    ):
        place(project.reports, plan.run.name, report.files, report.manifest)
    return "unchanged"


def _finish(plan: _Plan, project: Project) -> str:
    failed = {
        section: answer for section, answer in plan.answers.items() if answer["status"] != "done"
    }
    if failed:
        section, answer = next(iter(failed.items()))
        if answer["kind"] != "stopped":
            _note(plan.run, project, section, answer)
        return f"failed: {section}: {failure_line(answer)}"
    try:
        report = assemble(
            plan.run, plan.kept, plan.answers, project.reports / plan.run.name, project.templates
        )
    except RenderError as error:
        _note(plan.run, project, error.section, refused("template", str(error)))
        return f"failed: {error}"
    place(project.reports, plan.run.name, report.files, report.manifest)
    return "made"


def _became(answer: Answer) -> str:
    """What the log says of a finished notebook; an error may quote data, so only its class."""
    if answer["status"] == "done":
        return f"made in {answer['seconds']:.1f} s"
    named = re.match(r"\w+", answer["error"])
    return f"failed: {named[0] if named else answer['kind']}; failure.md tells"


def failure_line(answer: Mapping[str, Any]) -> str:
    """A failure in one line."""
    return (f"stopped at `{answer['line']}`: " if answer["line"] else "") + answer["error"]


def _note(run: RunConfig, project: Project, section: str, answer: Mapping[str, Any]) -> None:
    failure = {
        "name": run.name,
        "title": run.title,
        "section": section,
        "reason": failure_line(answer),
        "rerun": run.rerun,
        "parameters": run.parameters.get(section, {}),
        **{key: answer[key] for key in ("kind", "error", "cell", "attempts")},
    }
    note_failure(
        project.reports,
        run.name,
        failure,
        render("failure.md.j2", project.templates, failure=failure),
    )

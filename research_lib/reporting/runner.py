"""Runs the notebooks over a configuration with papermill and leaves the markdown reports."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from research_lib.errors import ResearchError
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.markdown import render_index, render_summary
from research_lib.reporting.parameters import Project
from research_lib.reporting.provenance import manifest, read_json, write_json

logger = logging.getLogger(__name__)

CELL_TIMEOUT_SECONDS = 600
KERNEL_ARGUMENTS = ["--log-level=ERROR"]  # a kernel's warning about local TCP is no news to a report
CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"


class RunError(ResearchError):
    """A notebook that failed; names the notebook, the line it stopped at and the error."""


def run_reports(names: Iterable[str], project: Project | None = None) -> dict[str, str]:
    """Make the reports of each configuration; all are checked before the first kernel starts.

    Returns
    -------
    dict of name to what became of it
        "made", "skipped: <reason>" where data is absent, or "failed: <reason>", its report
        folder as it was before.

    Raises
    ------
    ValidationError
        Unknown configuration; misspelt, mistyped or impossible parameter.
    """
    project = project or Project()
    runs = [RunConfig.load(name, project) for name in names]
    notebooks = sum(len(run.parameters) for run in runs)
    with tqdm(total=notebooks, desc="notebooks", unit="notebook", position=0) as bar:
        outcome = {run.name: _outcome(run, project, bar) for run in runs}
    render_index(project.reports)
    return outcome


def _outcome(run: RunConfig, project: Project, bar: tqdm[Any]) -> str:
    reason = run.missing_data()
    if reason:
        bar.update(len(run.parameters))
        return f"skipped: {reason}"
    done = bar.n
    try:
        make_report(run, project, bar)
    except RunError as error:
        bar.update(done + len(run.parameters) - bar.n)
        return f"failed: {error}"
    return "made"


def make_report(run: RunConfig, project: Project, bar: tqdm[Any]) -> Path:
    """Run the notebooks of one configuration in a work folder and put it in place when complete."""
    work = project.reports / ".work" / f"{run.name}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "figures").mkdir(parents=True)
    try:
        for section, parameters in run.parameters.items():
            bar.set_postfix_str(f"{run.name}: {section}")
            execute(run.name, project.notebook(section), section, {**parameters, "output_dir": str(work)})
            bar.update()
        _finish(run, work)
        return _put_in_place(work, project.reports / run.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def execute(run_name: str, notebook: Path, section: str, parameters: Mapping[str, Any]) -> None:
    """Run one notebook with papermill; the executed copy stays in the run's work folder."""
    import papermill
    from nbclient.exceptions import CellControlSignal
    from papermill.exceptions import PapermillExecutionError

    target = Path(parameters["output_dir"]) / f"{section}.ipynb"
    try:
        papermill.execute_notebook(
            str(notebook),
            str(target),
            parameters=dict(parameters),
            kernel_name="python3",
            progress_bar={"position": 1, "leave": False, "desc": f"{run_name} {section}", "unit": "cell"},
            execution_timeout=CELL_TIMEOUT_SECONDS,
            extra_arguments=KERNEL_ARGUMENTS,
        )
    except PapermillExecutionError as error:
        line = error.source.strip().splitlines()[-1].strip()
        raise RunError(f"{notebook.name} stopped at `{line}`: {error.ename}: {error.evalue}") from error
    except CellControlSignal as error:  # a dead kernel, or a cell over its time
        raise RunError(f"{notebook.name} stopped: {' '.join(str(error).split())}") from error


def _finish(run: RunConfig, work: Path) -> None:
    """Collect the sections' results, render the summaries from them, write the manifest."""
    results = {section: read_json(work / f"{section}.json") for section in run.parameters}
    provenance = manifest({"name": run.name, "title": run.title, "data": run.data, "parameters": run.effective})
    write_json(work / "results.json", results)
    write_json(work / "manifest.json", provenance)
    for section in run.parameters:
        text = render_summary(section, results[section], provenance)
        (work / f"{section}_summary.md").write_text(text, encoding="utf-8")
        (work / f"{section}.json").unlink()
        (work / f"{section}.ipynb").unlink()


def _put_in_place(work: Path, target: Path) -> Path:
    """Swap the finished folder in; the old one goes only after the new one is there."""
    old = work.with_name(f"{work.name}.old")
    if target.exists():
        target.replace(old)
    work.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    return target


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
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_SECONDS,
            kernel_name="python3",
            extra_arguments=KERNEL_ARGUMENTS,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute()
        for cell in notebook.cells:
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
            if cell.cell_type == "code" and CHECKED_OUTPUT not in cell.source:
                cell.execution_count, cell.outputs = None, []
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
        part = path.with_suffix(".part")
        nbformat.write(notebook, part)
        part.replace(path)
    return paths

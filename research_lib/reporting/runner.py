"""Runs the notebooks over a configuration with papermill and leaves the markdown reports."""

from __future__ import annotations

import ast
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from research_lib.config import (
    PROJECT_ROOT,
    ModelConfig,
    OptimizerConfig,
    Record,
    data_file,
    nearest,
    read_yaml,
    refuse_unknown,
)
from research_lib.errors import MissingDataError, ResearchError, ValidationError
from research_lib.reporting.markdown import render_index, render_summary
from research_lib.reporting.provenance import manifest, read_json, write_json

logger = logging.getLogger(__name__)

NOTEBOOKS = {"modeling": "impact_modeling.ipynb", "strategy": "trade_allocation_strategy.ipynb"}
SETTINGS: dict[str, type[ModelConfig | OptimizerConfig]] = {
    "model_settings": ModelConfig,
    "optimizer_settings": OptimizerConfig,
}
CONFIGURATIONS = PROJECT_ROOT / "notebooks" / "configs"
REPORTS = PROJECT_ROOT / "reports"
CELL_TIMEOUT_SECONDS = 600
KERNEL_ARGUMENTS = ["--log-level=ERROR"]  # a kernel's warning about local TCP is no news to a report
CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"


class RunError(ResearchError):
    """A notebook that failed; names the configuration, the notebook, the cell and the error."""


@dataclass(frozen=True)
class RunConfig(Record):
    """One configuration: what it is, the data it needs, and the parameters of each notebook.

    Attributes
    ----------
    name : str
        Name of its file and of its report folder.
    title : str
    data : list of str
        Files that must be in RESEARCH_DATA.
    parameters : mapping of section to mapping
        What papermill injects into the notebook of that section.
    """

    name: str
    title: str
    data: list[str]
    parameters: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, name: str) -> RunConfig:
        """Read notebooks/configs/<name>.yml: title, data, and parameters `shared` and by section."""
        names = configuration_names()
        if name not in names:
            raise ValidationError(f"configuration {name!r} is unknown{nearest(name, names)}")
        content = read_yaml(CONFIGURATIONS / f"{name}.yml")
        refuse_unknown(content, ["title", "data", "shared", *NOTEBOOKS], f"{name}.yml: key")
        for key in ("title", "data"):
            if key not in content:
                raise ValidationError(f"{name}.yml lacks {key!r}; see default.yml")
        shared = content.get("shared") or {}
        sections = {section: {**shared, **(content.get(section) or {})} for section in NOTEBOOKS}
        return cls(name, content["title"], list(content["data"]), sections)

    def missing_data(self) -> str:
        """Why its data cannot be read, or an empty text."""
        try:
            for file in self.data:
                data_file(file)
        except MissingDataError as error:
            return str(error)
        return ""


def configuration_names() -> list[str]:
    """Names of notebooks/configs/*.yml, the embedded default first."""
    names = sorted(path.stem for path in CONFIGURATIONS.glob("*.yml"))
    return sorted(names, key=lambda name: name != "default")


def run_reports(names: Iterable[str], *, reports: Path = REPORTS) -> dict[str, str]:
    """Make the reports of each configuration; all are checked before the first kernel starts.

    Returns
    -------
    dict of name to what became of it: "made", or "skipped: <reason>" where data is absent.

    Raises
    ------
    ValidationError
        Unknown configuration, misspelt or mistyped parameter.
    RunError
        A notebook failed; its report folder is as it was before.
    """
    runs = [RunConfig.load(name) for name in names]
    for run in runs:
        for section, parameters in run.parameters.items():
            check_parameters(section, parameters)
    outcome: dict[str, str] = {}
    steps = len(runs) * len(NOTEBOOKS)
    with tqdm(total=steps, desc="notebooks", unit="notebook", position=0) as bar:
        for run in runs:
            reason = run.missing_data()
            if reason:
                outcome[run.name] = f"skipped: {reason}"
                bar.update(len(NOTEBOOKS))
                continue
            make_report(run, reports, bar)
            outcome[run.name] = "made"
    render_index(reports)
    return outcome


def make_report(run: RunConfig, reports: Path, bar: tqdm[Any]) -> Path:
    """Run both notebooks of one configuration in a work folder and put it in place when complete."""
    work = reports / ".work" / f"{run.name}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "figures").mkdir(parents=True)
    try:
        for section, parameters in run.parameters.items():
            bar.set_postfix_str(f"{run.name}: {section}")
            execute(run.name, section, {**parameters, "output_dir": str(work)})
            bar.update()
        _finish(run, work)
        return _put_in_place(work, reports / run.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def execute(run_name: str, section: str, parameters: Mapping[str, Any]) -> None:
    """Run one notebook with papermill; the executed copy stays in the run's work folder."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    target = Path(parameters["output_dir"]) / f"{section}.ipynb"
    try:
        papermill.execute_notebook(
            str(PROJECT_ROOT / "notebooks" / NOTEBOOKS[section]),
            str(target),
            parameters=dict(parameters),
            kernel_name="python3",
            progress_bar={"position": 1, "leave": False, "desc": f"{run_name} {section}", "unit": "cell"},
            execution_timeout=CELL_TIMEOUT_SECONDS,
            extra_arguments=KERNEL_ARGUMENTS,
        )
    except PapermillExecutionError as error:
        raise RunError(
            f"{run_name}: {NOTEBOOKS[section]} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}"
        ) from error


def _finish(run: RunConfig, work: Path) -> None:
    """Collect the sections' results, render the summaries from them, write the manifest."""
    results = {section: read_json(work / f"{section}.json") for section in NOTEBOOKS}
    parameters = {name: {**declared_parameters(name), **given} for name, given in run.parameters.items()}
    provenance = manifest({"name": run.name, "title": run.title, "data": run.data, "parameters": parameters})
    write_json(work / "results.json", results)
    write_json(work / "manifest.json", provenance)
    for section in NOTEBOOKS:
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


def check_parameters(section: str, given: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not declare, or of another type than its default.

    papermill itself only logs an unknown parameter and runs on with the defaults.
    """
    declared = declared_parameters(section)
    refuse_unknown(given, declared, f"{NOTEBOOKS[section]}: parameter")
    for name, value in given.items():
        default = declared[name]
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
            raise ValidationError(
                f"{NOTEBOOKS[section]}: parameter {name} must be {type(default).__name__}, got {value!r}"
            )
    for name in given.keys() & SETTINGS.keys():
        SETTINGS[name].from_dict(given[name])


def declared_parameters(section: str) -> dict[str, Any]:
    """Names and defaults of the notebook's one cell tagged `parameters`, without the runner's own `output_dir`."""
    import nbformat

    notebook = nbformat.read(PROJECT_ROOT / "notebooks" / NOTEBOOKS[section], as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValidationError(f"{NOTEBOOKS[section]} has {len(tagged)} cells tagged parameters, one is wanted")
    assignments = [node for node in ast.parse(tagged[0].source).body if isinstance(node, ast.Assign)]
    names = {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}  # type: ignore[attr-defined]
    del names["output_dir"]
    return names


def refresh_notebooks() -> list[Path]:
    """Run the notebooks with their defaults and store the outputs that nbval compares, no others.

    Needed after a change that moves a checked table on purpose; the difference is then
    reviewed like code.
    """
    import nbformat
    from nbclient import NotebookClient

    paths = [PROJECT_ROOT / "notebooks" / file for file in NOTEBOOKS.values()]
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

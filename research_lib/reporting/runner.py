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
    number,
    read_yaml,
    refuse_unknown,
)
from research_lib.errors import MissingDataError, ResearchError, ValidationError
from research_lib.impact.curves import OBJECTIVES
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.slippage import checked_sizes
from research_lib.market.presets import PRESETS
from research_lib.market.quality import QualityPolicy
from research_lib.market.sessions import Session
from research_lib.reporting.markdown import render_index, render_summary
from research_lib.reporting.provenance import manifest, read_json, write_json

logger = logging.getLogger(__name__)

NOTEBOOKS = {"modeling": "impact_modeling.ipynb", "strategy": "trade_allocation_strategy.ipynb"}
SETTINGS: dict[str, type[Record]] = {
    "model_settings": ModelConfig,
    "optimizer_settings": OptimizerConfig,
    "session_settings": Session,
    "quality_settings": QualityPolicy,
}
CHOICES: dict[str, Iterable[str]] = {
    "side": ("buy", "sell"),
    "model_type": MODEL_TYPES,
    "objective": OBJECTIVES,
    "preset_name": PRESETS,
}
RANGES: dict[str, dict[str, Any]] = {
    "n_days": {"low": 1, "integer": True},
    "n_levels": {"low": 1, "integer": True},
    "n_intervals": {"low": 1, "integer": True},
    "test_days": {"low": 0, "integer": True},
    "test_fraction": {"low": 0, "high": 0.9},
    "total_shares": {"above": 0},
    "seed": {"low": 0, "integer": True},
}
# Parameters that change nothing where data_file_name is given, and settings that presets decide.
IDLE_WITH_DATA = {"modeling": ("n_levels",), "strategy": ("n_days", "n_levels", "seed", "preset_name")}
DECIDED = {
    "model_settings": dict.fromkeys(
        ("base_price", "volatility_factor", "spread_factor", "volume_decay"),
        "which comes from the preset; choose preset_name instead",
    ),
    "session_settings": {"n_intervals": "which is a parameter of its own"},
}
CONFIGURATIONS = PROJECT_ROOT / "notebooks" / "configs"
REPORTS = PROJECT_ROOT / "reports"
CELL_TIMEOUT_SECONDS = 600
KINDS = {int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
KERNEL_ARGUMENTS = ["--log-level=ERROR"]  # a kernel's warning about local TCP is no news to a report
CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"


class RunError(ResearchError):
    """A notebook that failed; names the notebook, the line it stopped at and the error."""


@dataclass(frozen=True)
class RunConfig(Record):
    """One configuration: what it is, and the parameters of each notebook.

    Attributes
    ----------
    name : str
        Name of its file and of its report folder.
    title : str
    parameters : mapping of section to mapping
        What papermill injects into the notebook of that section.
    """

    name: str
    title: str
    parameters: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, name: str) -> RunConfig:
        """Read and check notebooks/configs/<name>.yml: title, and parameters `shared` and by section."""
        names = configuration_names()
        if name not in names:
            raise ValidationError(f"configuration {name!r} is unknown{nearest(name, names)}")
        content = read_yaml(CONFIGURATIONS / f"{name}.yml")
        refuse_unknown(content, ["title", "shared", *NOTEBOOKS], f"{name}.yml: key")
        if not isinstance(content.get("title"), str):
            raise ValidationError(f"{name}.yml: title must be a text, got {content.get('title')!r}")
        given = {key: content.get(key) or {} for key in ("shared", *NOTEBOOKS)}
        for key, value in given.items():
            if not isinstance(value, dict):
                raise ValidationError(f"{name}.yml: {key} must map parameters to values, got {value!r}")
        parameters = {section: {**given["shared"], **given[section]} for section in NOTEBOOKS}
        for section, values in parameters.items():
            try:
                check_parameters(section, values)
            except ValidationError as error:
                raise ValidationError(f"{name}.yml: {error}") from error
        return cls(name, content["title"], parameters)

    @property
    def data(self) -> list[str]:
        """Files below RESEARCH_DATA that its notebooks read."""
        files = (values.get("data_file_name") for values in self.parameters.values())
        return list(dict.fromkeys(file for file in files if file))

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
    dict of name to what became of it
        "made", "skipped: <reason>" where data is absent, or "failed: <reason>", its report
        folder as it was before.

    Raises
    ------
    ValidationError
        Unknown configuration; misspelt, mistyped or impossible parameter.
    """
    runs = [RunConfig.load(name) for name in names]
    with tqdm(total=len(runs) * len(NOTEBOOKS), desc="notebooks", unit="notebook", position=0) as bar:
        outcome = {run.name: _outcome(run, reports, bar) for run in runs}
    render_index(reports)
    return outcome


def _outcome(run: RunConfig, reports: Path, bar: tqdm[Any]) -> str:
    reason = run.missing_data()
    if reason:
        bar.update(len(NOTEBOOKS))
        return f"skipped: {reason}"
    done = bar.n
    try:
        make_report(run, reports, bar)
    except RunError as error:
        bar.update(done + len(NOTEBOOKS) - bar.n)
        return f"failed: {error}"
    return "made"


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
    from nbclient.exceptions import CellControlSignal
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
        line = error.source.strip().splitlines()[-1].strip()
        raise RunError(f"{NOTEBOOKS[section]} stopped at `{line}`: {error.ename}: {error.evalue}") from error
    except CellControlSignal as error:  # a dead kernel, or a cell over its time
        raise RunError(f"{NOTEBOOKS[section]} stopped: {' '.join(str(error).split())}") from error


def _finish(run: RunConfig, work: Path) -> None:
    """Collect the sections' results, render the summaries from them, write the manifest."""
    results = {section: read_json(work / f"{section}.json") for section in NOTEBOOKS}
    parameters = {section: effective_parameters(section, given) for section, given in run.parameters.items()}
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
    """Refuse a parameter that the notebook does not declare, or whose value it could not use.

    papermill itself only logs an unknown parameter and runs on with the defaults.

    Raises
    ------
    ValidationError
        Naming the section, the parameter, its value, and what it may be.
    """
    declared = declared_parameters(section)
    refuse_unknown(given, declared, f"{section}: parameter")
    for name, value in given.items():
        default = declared[name]
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
            raise ValidationError(f"{section}: parameter {name} must be {KINDS[type(default)]}, got {value!r}")
        _check_value(section, name, value)
    idle = [name for name in IDLE_WITH_DATA[section] if name in given and given.get("data_file_name")]
    if idle:
        raise ValidationError(f"{section}: {', '.join(idle)} change nothing where data_file_name is given; remove them")


def _check_value(section: str, name: str, value: Any) -> None:
    if name in SETTINGS:
        SETTINGS[name].from_dict(value)
        decided = [setting for setting in DECIDED.get(name, {}) if setting in value]
        if decided:
            raise ValidationError(f"{section}: {name} has {decided[0]}, {DECIDED[name][decided[0]]}")
    elif name in CHOICES:
        refuse_unknown([value], CHOICES[name], f"{section}: {name}")
    elif name in RANGES:
        number(f"{section}: {name}", value, **RANGES[name])
    elif name == "trade_sizes":
        checked_sizes(value)


def effective_parameters(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook's defaults with `given` in their place, without those that change nothing in this run."""
    idle = IDLE_WITH_DATA[section] if given.get("data_file_name") else ()
    return {name: value for name, value in {**declared_parameters(section), **given}.items() if name not in idle}


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

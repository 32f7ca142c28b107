"""What a run may choose: the notebooks, and the parameters that each declares."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import pydantic

from research_lib.checks import nearest, refuse_unknown
from research_lib.config import PROJECT_ROOT, ModelConfig, OptimizerConfig, Record
from research_lib.errors import ValidationError
from research_lib.impact import OBJECTIVES
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.market import PRESETS, QualityPolicy, Session

# A section of a report is a notebook, <section>_summary.md.j2 and <section>_summary.md.
NOTEBOOKS = {
    "modeling": "impact_modeling.ipynb",
    "strategy": "trade_allocation_strategy.ipynb",
    "portfolio": "portfolio_execution.ipynb",
    "transient": "transient_impact.ipynb",
}
SETTINGS: dict[str, type[Record]] = {
    "model_settings": ModelConfig,
    "optimizer_settings": OptimizerConfig,
    "session_settings": Session,
    "quality_settings": QualityPolicy,
}
CHOICES: dict[str, Any] = {
    "side": ("buy", "sell"),
    "model_type": tuple(MODEL_TYPES),
    "objective": tuple(OBJECTIVES),
    "preset_name": tuple(PRESETS),
    "prior_preset": tuple(PRESETS),
}
# Of read_books, for files in a layout of the user's own.
READ_SETTINGS = ("columns", "symbol", "timezone", "time_unit", "where")
STRICT = pydantic.ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
)


@dataclass(frozen=True)
class Project:
    """Where notebooks, configurations, templates and reports are; this project's own by default.

    Attributes
    ----------
    notebooks, configurations, templates, reports : Path
        Folders.
    sections : mapping of section to file name
        The notebooks that a configuration may run, in the order of a report.

    Examples
    --------
    >>> Project().parameters("modeling", {"seed": 8})["side"]
    'buy'
    >>> Project().parameters("modeling", {"sed": 8})
    Traceback (most recent call last):
    research_lib.errors.ValidationError: modeling: 'sed' is unknown; did you mean 'seed'?
    """

    notebooks: Path = PROJECT_ROOT / "notebooks"
    configurations: Path = PROJECT_ROOT / "notebooks" / "configs"
    templates: Path = Path(__file__).with_name("templates")
    reports: Path = PROJECT_ROOT / "reports"
    sections: Mapping[str, str] = field(default_factory=lambda: dict(NOTEBOOKS))

    def notebook(self, section: str) -> Path:
        """The notebook of a section."""
        return self.notebooks / self.sections[section]

    def declared(self, section: str) -> list[str]:
        """Names of the parameters of a section's notebook."""
        return list(self._model(section).model_fields)

    def parameters(self, section: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of a section: what is given, and the notebook's defaults.

        papermill itself only logs an unknown parameter and runs on with the defaults.

        Raises
        ------
        ValidationError
            A parameter that the notebook does not declare, or that is of another type than its
            default; naming the section, the parameter, its value, and what it may be.
        """
        try:
            known = self._model(section)(**given).model_dump()
        except pydantic.ValidationError as error:
            raise ValidationError(f"{section}: {refusal(error, self.declared(section))}") from error
        return {**known, **given}

    def _model(self, section: str) -> type[pydantic.BaseModel]:
        path = self.notebook(section)
        return _model(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _model(path: Path, modified: int) -> type[pydantic.BaseModel]:
    """Of a notebook's parameters cell, without the runner's `output_dir`."""
    from papermill import inspect_notebook

    found = inspect_notebook(str(path))
    if not found:
        raise ValidationError(f"{path.name} has no cell tagged parameters; tag the one it needs")
    defaults = {name: ast.literal_eval(one["default"]) for name, one in found.items()}
    defaults.pop("output_dir", None)
    fields: dict[str, Any] = {
        name: (_annotation(name, type(value)), value) for name, value in defaults.items()
    }
    return pydantic.create_model("Parameters", __config__=STRICT, **fields)


def _annotation(name: str, kind: Any) -> Any:
    """The type of a parameter's default, with what its name says besides."""

    def check(value: Any) -> Any:
        if name in SETTINGS:
            SETTINGS[name].from_dict(value)
        elif name == "read_settings":
            refuse_unknown(value, READ_SETTINGS, "setting")
        elif name == "data_file_name":
            check_path(value)
        elif name.endswith("_file_names"):
            for path in value:
                check_path(path)
        return value

    kind = Literal[CHOICES[name]] if name in CHOICES else kind
    return Annotated[kind, pydantic.AfterValidator(check)]


def check_path(value: Any) -> None:
    """Refuse what could be outside RESEARCH_DATA."""
    path = PurePosixPath(value) if isinstance(value, str) else None
    outside = path is None or path.is_absolute() or ".." in path.parts
    if outside or "\\" in value or not value.isprintable():
        raise ValidationError(f"{value!r:.80} must be a path below RESEARCH_DATA")


def refusal(error: pydantic.ValidationError, known: Iterable[str]) -> str:
    """The first of pydantic's findings in a line: where, what is due, and what was given."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{where!r:.80} is unknown{nearest(where, known)}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    return f"{where}: {problem['msg']}, got {problem['input']!r:.80}"


def real_data_of(values: Mapping[str, Any]) -> list[str]:
    """Files below RESEARCH_DATA that parameters name: data_file_name, each <kind>_file_names.

    Examples
    --------
    >>> real_data_of({"data_file_name": "a.csv", "quote_file_names": ["b.csv"], "seed": 7})
    ['a.csv', 'b.csv']
    """
    single = values.get("data_file_name")
    lists = [files for name, files in values.items() if name.endswith("_file_names")]
    return [*([single] if single else []), *(file for files in lists for file in files)]

"""What a run may choose: the notebooks, their declared parameters, and the limits of each."""

from __future__ import annotations

import ast
import copy
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from research_lib.checks import number, refuse_unknown
from research_lib.config import PROJECT_ROOT, ModelConfig, OptimizerConfig, Record
from research_lib.errors import ValidationError
from research_lib.impact import OBJECTIVES
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.slippage import checked_sizes
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
CHOICES: dict[str, Iterable[str]] = {
    "side": ("buy", "sell"),
    "model_type": MODEL_TYPES,
    "objective": OBJECTIVES,
    "preset_name": PRESETS,
    "prior_preset": PRESETS,
}
RANGES: dict[str, dict[str, Any]] = {
    "n_days": {"low": 1, "integer": True},
    "n_levels": {"low": 1, "integer": True},
    "n_intervals": {"low": 1, "integer": True},
    "test_days": {"low": 0, "integer": True},
    "fit_days": {"low": 0, "integer": True},
    "refit_days": {"low": 1, "integer": True},
    "test_fraction": {"low": 0, "high": 0.9},
    "total_shares": {"above": 0},
    "participation_rate": {"above": 0, "high": 1},
    "risk_aversion": {"low": 0},
    "correlation": {"low": -1, "high": 1},
    "correlation_days": {"low": 2, "integer": True},
    "history_days": {"low": 320, "integer": True},
    "confidence": {"above": 0.5, "high": 0.9999},
    "permanent_share": {"low": 0, "high": 2},
    "cross_share": {"low": 0, "high": 1},
    "cross_asymmetry": {"low": 0, "high": 1},
    "n_steps": {"low": 1000, "integer": True},
    "block_depth": {"above": 0},
    "resilience": {"above": 0},
    "permanent": {"low": 0},
    "max_lag": {"low": 10, "integer": True},
    "step_seconds": {"above": 0},
    "n_lags": {"low": 10, "integer": True},
    "distance_bps": {"above": 0},
    "order_minutes": {"above": 0},
    "seed": {"low": 0, "integer": True},
}
FEWEST_PARTS = 6  # intervals of a day that has an opening, a middle and a close
# Parameters that change nothing where data files are given, and settings that presets decide.
IDLE_WITH_DATA = {
    "modeling": ("n_levels",),
    "strategy": ("n_days", "preset_name"),
    "portfolio": ("n_days", "preset_names", "correlation"),
    "transient": ("n_steps", "block_depth", "resilience", "permanent"),
}
DECIDED = {
    "model_settings": dict.fromkeys(
        ("base_price", "volatility_factor", "spread_factor", "volume_decay"),
        "which comes from the preset; choose preset_name instead",
    ),
    "session_settings": {"n_intervals": "which is a parameter of its own"},
}
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


@dataclass(frozen=True)
class Project:
    """Where notebooks, configurations, templates and reports are; this project's own by default.

    Attributes
    ----------
    notebooks, configurations, templates, reports : Path
        Folders.
    sections : mapping of section to file name
        The notebooks that a configuration may run, in the order of a report.
    """

    notebooks: Path = PROJECT_ROOT / "notebooks"
    configurations: Path = PROJECT_ROOT / "notebooks" / "configs"
    templates: Path = Path(__file__).with_name("templates")
    reports: Path = PROJECT_ROOT / "reports"
    sections: Mapping[str, str] = field(default_factory=lambda: dict(NOTEBOOKS))

    def notebook(self, section: str) -> Path:
        """The notebook of a section."""
        return self.notebooks / self.sections[section]

    def declared(self, section: str) -> dict[str, Any]:
        """Names and defaults of the parameters of a section's notebook."""
        path = self.notebook(section)
        status = path.stat()
        return copy.deepcopy(_declared_once(path, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _declared_once(path: Path, size: int, modified: int) -> dict[str, Any]:
    """Of a notebook that a grid reads thousands of times: anew only when its size or its time of change is another."""
    return declared_parameters(path)


def declared_parameters(path: Path) -> dict[str, Any]:
    """Names and defaults of a notebook's one cell tagged `parameters`, without the runner's own `output_dir`."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValidationError(
            f"{path.name} has {len(tagged)} cells tagged parameters, one is wanted"
        )
    assignments = [
        node for node in ast.parse(tagged[0].source).body if isinstance(node, ast.Assign)
    ]
    names = {node.targets[0].id: ast.literal_eval(node.value) for node in assignments}  # type: ignore[attr-defined]
    del names["output_dir"]
    return names


def check_parameters(section: str, given: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not declare, or whose value it could not use.

    papermill itself only logs an unknown parameter and runs on with the defaults.

    Parameters
    ----------
    section : str
        Whose parameters they are.
    given, declared : mapping
        Values to inject, and what the notebook's parameters cell holds.

    Raises
    ------
    ValidationError
        Naming the section, the parameter, its value, and what it may be.
    """
    refuse_unknown(given, declared, f"{section}: parameter")
    for name, value in given.items():
        _check_kind(f"{section}: parameter {name}", value, declared[name])
        _check_value(section, name, value)
    idle = [
        name for name in IDLE_WITH_DATA.get(section, ()) if name in given and real_data_of(given)
    ]
    if idle:
        given_as = "data_file_name" if given.get("data_file_name") else "a list of data files"
        raise ValidationError(
            f"{section}: {', '.join(idle)} change nothing where {given_as} is given; remove them"
        )


def _check_kind(what: str, value: Any, default: Any) -> None:
    """Of the default's kind, and finite."""
    wanted = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
        raise ValidationError(f"{what} must be {KINDS[type(default)]}, got {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(f"{what} must be finite, got {value!r}")


def _shown(value: Any) -> str:
    """A value as an error shows it: a hostile one does not fill the screen."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_value(section: str, name: str, value: Any) -> None:
    if name in SETTINGS:
        SETTINGS[name].from_dict(value)
        decided = [setting for setting in DECIDED.get(name, {}) if setting in value]
        if decided:
            raise ValidationError(
                f"{section}: {name} has {decided[0]}, {DECIDED[name][decided[0]]}"
            )
    elif name in CHOICES:
        refuse_unknown([value], CHOICES[name], f"{section}: {name}")
    elif name in RANGES:
        number(f"{section}: {name}", value, **RANGES[name])
    elif name == "trade_sizes":
        checked_sizes(value)
    elif name == "size_multiples":
        _check_list(section, name, value, {"above": 0})
    elif name == "order_windows":
        for window in value:
            _check_list(section, name, window, {"low": 0, "high": 1})
            if len(window) != 2 or not window[0] < window[1]:
                raise ValidationError(
                    f"{section}: {name} has {_shown(window)}; give [first, last], first below last"
                )
    elif name == "data_file_name":
        check_path(section, name, value)
    elif name.endswith("_file_names"):
        for file in value:
            check_path(section, name, file)


def check_together(section: str, effective: Mapping[str, Any]) -> None:
    """Refuse parameters that are sound one by one and of which the notebook can make nothing together.

    Each rule holds for notebooks that declare its parameters. What only the data can tell, such as whether the books
    show the order at all, is left to the notebook.

    Parameters
    ----------
    section : str
    effective : mapping
        All parameters, as of `effective_parameters`.

    Raises
    ------
    ValidationError
        Naming the section, the values, and what they must be.
    """
    if "test_fraction" in effective:
        _check_forms(section, effective)
    if "order_windows" in effective:
        _check_orders(section, effective)
    n_days, fit_days = effective.get("n_days", math.inf), effective.get("fit_days", 0)
    if fit_days >= n_days:
        raise ValidationError(
            f"{section}: fit_days {fit_days} leaves none of n_days {n_days} to replay; lower it, or raise n_days"
        )


def _check_forms(section: str, effective: Mapping[str, Any]) -> None:
    """Sizes that tell two coefficients, and a day that has an opening, a middle and a close."""
    if len(set(effective["trade_sizes"])) < 2:
        raise ValidationError(
            f"{section}: trade_sizes must be 2 sizes or more, got {_shown(effective['trade_sizes'])}"
        )
    number(f"{section}: n_intervals", effective["n_intervals"], FEWEST_PARTS, integer=True)


def _check_orders(section: str, effective: Mapping[str, Any]) -> None:
    """The headline order is among those replayed, and the cap on a child lets every order be completed."""
    windows, n = effective["order_windows"], effective["n_intervals"]
    number(f"{section}: n_intervals", n, 2, integer=True)  # one interval leaves nothing to split
    number(
        f"{section}: risk_aversion", effective["risk_aversion"], above=0
    )  # of a strategy among those compared
    if 1.0 not in effective["size_multiples"]:
        raise ValidationError(
            f"{section}: size_multiples must have 1.0, got {_shown(effective['size_multiples'])}"
        )
    if [0.0, 1.0] not in [list(map(float, window)) for window in windows]:
        raise ValidationError(
            f"{section}: order_windows must have [0.0, 1.0], got {_shown(windows)}"
        )
    ratio = OptimizerConfig.from_dict(effective["optimizer_settings"]).max_allocation_ratio
    for length, window in sorted(
        (round(last * n) - round(first * n), [first, last]) for first, last in windows
    ):
        if (
            length * ratio < 1.0 - 1e-9
        ):  # of the shortest window, so that what is enough for it is enough
            enough = math.ceil(1e4 / max(length, 1)) / 1e4
            least = (
                f"raise it to at least {enough:g}, or raise n_intervals"
                if length
                else "raise n_intervals"
            )
            raise ValidationError(
                f"{section}: max_allocation_ratio {ratio:g} admits {100 * length * ratio:.3g} % of an order in the "
                f"{length} intervals of order window {window}; {least}"
            )


def check_path(section: str, name: str, value: Any) -> None:
    """Refuse what could be outside RESEARCH_DATA."""
    path = PurePosixPath(value) if isinstance(value, str) else None
    if (
        path is None
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in value
        or not value.isprintable()
    ):
        raise ValidationError(
            f"{section}: {name} {_shown(value)} must be a path below RESEARCH_DATA"
        )


def _check_list(section: str, name: str, values: Any, limits: Mapping[str, Any]) -> None:
    """A list of numbers, not empty, each within its limits."""
    if not isinstance(values, list) or not values:
        raise ValidationError(f"{section}: {name} must be a list of numbers, got {_shown(values)}")
    for value in values:
        number(f"{section}: {name}", value, **limits)


def real_data_of(values: Mapping[str, Any]) -> list[str]:
    """Files below RESEARCH_DATA that a section's parameters name: data_file_name, and each list <kind>_file_names."""
    single = values.get("data_file_name")
    lists = [files for name, files in values.items() if name.endswith("_file_names")]
    return [*([single] if single else []), *(file for files in lists for file in files)]


def effective_parameters(
    section: str, given: Mapping[str, Any], declared: Mapping[str, Any]
) -> dict[str, Any]:
    """The notebook's defaults with `given` in their place, without those that change nothing in this run."""
    idle = IDLE_WITH_DATA.get(section, ()) if real_data_of(given) else ()
    return {name: value for name, value in {**declared, **given}.items() if name not in idle}

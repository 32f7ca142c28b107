"""What a run may choose: the notebooks, their declared parameters, and the limits of each."""

from __future__ import annotations

import ast
import copy
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import pydantic

from research_lib.checks import nearest, number
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
CHOICES: dict[str, Any] = {
    "side": ("buy", "sell"),
    "model_type": tuple(MODEL_TYPES),
    "objective": tuple(OBJECTIVES),
    "preset_name": tuple(PRESETS),
    "prior_preset": tuple(PRESETS),
}
# Limits by pydantic's names: gt is above, ge at least, le at most.
LIMITS: dict[str, dict[str, Any]] = {
    name: limits
    for names, limits in (
        ("n_days n_levels n_intervals refit_days", {"ge": 1}),
        ("test_days fit_days seed risk_aversion permanent", {"ge": 0}),
        ("total_shares block_depth resilience step_seconds distance_bps", {"gt": 0}),
        ("order_minutes", {"gt": 0}),
        ("cross_share cross_asymmetry", {"ge": 0, "le": 1}),
        ("max_lag n_lags", {"ge": 10}),
        ("test_fraction", {"ge": 0, "le": 0.9}),
        ("participation_rate", {"gt": 0, "le": 1}),
        ("correlation", {"ge": -1, "le": 1}),
        ("correlation_days", {"ge": 2}),
        ("history_days", {"ge": 320}),
        ("confidence", {"gt": 0.5, "le": 0.9999}),
        ("permanent_share", {"ge": 0, "le": 2}),
        ("n_steps", {"ge": 1000}),
    )
    for name in names.split()
}
# Of read_books, for files in a layout of the user's own.
READ_SETTINGS = ("columns", "symbol", "timezone", "time_unit", "where")
MIN_INTERVALS = 6  # of a day that has an opening, a middle and a close
# Parameters that change nothing where data files are given, and settings that presets decide.
IDLE_WITH_DATA = {
    "modeling": ("n_levels",),
    "strategy": ("n_days", "preset_name"),
    "portfolio": ("n_days", "preset_names", "correlation"),
    "transient": ("n_steps", "block_depth", "resilience", "permanent"),
}
PRESET_SETTINGS = ("base_price", "volatility_factor", "spread_factor", "volume_decay")
DECIDED = {
    "model_settings": dict.fromkeys(
        PRESET_SETTINGS, "which comes from the preset; choose preset_name instead"
    ),
    "session_settings": {"n_intervals": "which is a parameter of its own"},
}
# Refusals in pydantic's names and in ours.
KINDS = {
    "int_type": "a whole number", "float_type": "a number", "finite_number": "finite",
    "string_type": "a text", "bool_type": "true or false", "list_type": "a list",
    "dict_type": "a mapping",
}  # fmt: skip
BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
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

    Examples
    --------
    >>> Project().notebook("modeling").name
    'impact_modeling.ipynb'
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
        return copy.deepcopy(_declared_once(path, path.stat().st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _declared_once(path: Path, modified: int) -> dict[str, Any]:
    """Of a notebook that a grid reads thousands of times; without the runner's `output_dir`."""
    from papermill import inspect_notebook

    found = inspect_notebook(str(path))
    if not found:
        raise ValidationError(f"{path.name} has no cell tagged parameters; tag the one it needs")
    defaults = {name: ast.literal_eval(one["default"]) for name, one in found.items()}
    defaults.pop("output_dir", None)
    return defaults


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

    Examples
    --------
    >>> check_parameters("strategy", {"sed": 1}, {"seed": 7})
    Traceback (most recent call last):
    research_lib.errors.ValidationError: strategy: parameter 'sed' is unknown; did you mean 'seed'?
    """
    try:
        _model(tuple((name, type(value)) for name, value in declared.items()))(**given)
    except pydantic.ValidationError as error:
        raise ValidationError(f"{section}: {_refusal(error.errors()[0], declared)}") from error
    idle = [one for one in IDLE_WITH_DATA.get(section, ()) if one in given and real_data_of(given)]
    if idle:
        given_as = "data_file_name" if given.get("data_file_name") else "a list of data files"
        raise ValidationError(
            f"{section}: {', '.join(idle)} change nothing where {given_as} is given; remove them"
        )


@functools.lru_cache(maxsize=64)
def _model(declared: tuple[tuple[str, type], ...]) -> type[pydantic.BaseModel]:
    """A model of a notebook's parameters: each of its default's type, within its limits."""
    config = pydantic.ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )
    fields: dict[str, Any] = {name: (_annotation(name, kind), None) for name, kind in declared}
    return pydantic.create_model("Parameters", __config__=config, **fields)


def _annotation(name: str, kind: type) -> Any:
    if name in CHOICES:
        return Literal[CHOICES[name]]
    check = CHECKS.get(name)
    if name in SETTINGS:
        check = functools.partial(_check_settings, name)
    elif name.endswith("_file_names"):
        check = functools.partial(_check_each, check_path)
    rules: list[Any] = [pydantic.Field(**LIMITS.get(name, {}))]
    return Annotated[(kind, *rules, *([pydantic.AfterValidator(check)] if check else []))]


def _refusal(problem: Any, declared: Mapping[str, Any]) -> str:
    """One of pydantic's findings in this project's words."""
    name, value, kind = str(problem["loc"][0]), problem["input"], problem["type"]
    if kind == "extra_forbidden":
        return f"parameter {name!r:.80} is unknown{nearest(name, declared)}"
    if kind == "literal_error":
        return f"{name} {value!r:.80} is unknown{nearest(str(value), CHOICES[name])}"
    if kind in BOUNDS:
        words, limit = BOUNDS[kind]
        return f"{name} must be {words} {problem['ctx'][limit]:g}, got {shown(value)}"
    if kind in KINDS:
        return f"parameter {name} must be {KINDS[kind]}, got {shown(value)}"
    return f"{name} {problem.get('ctx', {}).get('error', problem['msg'])}"


def shown(value: Any) -> str:
    """A value as an error shows it: a hostile one does not fill the screen."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_settings(name: str, value: dict[str, Any]) -> dict[str, Any]:
    SETTINGS[name].from_dict(value)
    for setting, why in DECIDED.get(name, {}).items():
        if setting in value:
            raise ValidationError(f"has {setting}, {why}")
    return value


def _check_reading(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if name not in READ_SETTINGS:
            raise ValidationError(f"setting {name!r:.80} is unknown{nearest(name, READ_SETTINGS)}")
    return value


def _check_each(check: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    return [check(value) for value in values]


def _check_multiples(values: list[Any]) -> list[Any]:
    if not values:
        raise ValidationError("must be a list of numbers, got []")
    return [number("each", value, above=0) for value in values]


def _check_window(window: Any) -> Any:
    pair = isinstance(window, list) and [number("each", end, 0, 1) for end in window]
    if not pair or len(pair) != 2 or not pair[0] < pair[1]:
        raise ValidationError(f"has {shown(window)}; give [first, last], first below last")
    return window


def check_path(value: Any) -> Any:
    """Refuse what could be outside RESEARCH_DATA."""
    path = PurePosixPath(value) if isinstance(value, str) else None
    outside = path is None or path.is_absolute() or ".." in path.parts
    if outside or "\\" in value or not value.isprintable():
        raise ValidationError(f"{shown(value)} must be a path below RESEARCH_DATA")
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "trade_sizes": checked_sizes,
    "size_multiples": _check_multiples,
    "order_windows": functools.partial(_check_each, _check_window),
    "data_file_name": check_path,
    "read_settings": _check_reading,
}


def check_together(section: str, effective: Mapping[str, Any]) -> None:
    """Refuse parameters that are sound one by one and of which the notebook can make nothing.

    Each rule holds for notebooks that declare its parameters. What only the data can tell, such as
    whether the books show the order at all, is left to the notebook.

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
    if "test_fraction" in effective:  # two coefficients, on a day that has parts
        sizes = effective["trade_sizes"]
        if len(set(sizes)) < 2:
            raise ValidationError(
                f"{section}: trade_sizes must be 2 sizes or more, got {shown(sizes)}"
            )
        number(f"{section}: n_intervals", effective["n_intervals"], MIN_INTERVALS, integer=True)
    if "order_windows" in effective:
        _check_orders(section, effective)
    if effective.get("read_settings") and not real_data_of(effective):
        raise ValidationError(
            f"{section}: read_settings change nothing where no data_file_name is given; remove them"
        )
    n_days, fit_days = effective.get("n_days", math.inf), effective.get("fit_days", 0)
    if fit_days >= n_days:
        raise ValidationError(
            f"{section}: fit_days {fit_days} leaves none of n_days {n_days} to replay; "
            "lower it, or raise n_days"
        )


def _check_orders(section: str, effective: Mapping[str, Any]) -> None:
    """The headline order is among those replayed, and the cap lets every order be completed."""
    windows, n = effective["order_windows"], effective["n_intervals"]
    number(f"{section}: n_intervals", n, 2, integer=True)  # one interval leaves nothing to split
    # Of a strategy among those compared.
    number(f"{section}: risk_aversion", effective["risk_aversion"], above=0)
    for name, due in (("size_multiples", 1.0), ("order_windows", [0.0, 1.0])):
        if due not in effective[name]:
            raise ValidationError(
                f"{section}: {name} must have {due}, got {shown(effective[name])}"
            )
    ratio = OptimizerConfig.from_dict(effective["optimizer_settings"]).max_allocation_ratio
    # Of the shortest window, so that what is enough for it is enough for all.
    length, window = min(
        (round(last * n) - round(first * n), [first, last]) for first, last in windows
    )
    if length * ratio < 1.0 - 1e-9:
        enough = math.ceil(1e4 / max(length, 1)) / 1e4
        least = f"raise it to at least {enough:g}, or raise n_intervals"
        raise ValidationError(
            f"{section}: max_allocation_ratio {ratio:g} admits {100 * length * ratio:.3g} % of an "
            f"order in the {length} intervals of order window {window}; "
            f"{least if length else 'raise n_intervals'}"
        )


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


def effective_parameters(
    section: str, given: Mapping[str, Any], declared: Mapping[str, Any]
) -> dict[str, Any]:
    """The notebook's defaults with `given` in their place, without those idle in this run.

    Examples
    --------
    >>> effective_parameters("modeling", {"seed": 1}, {"seed": 7, "side": "buy"})
    {'seed': 1, 'side': 'buy'}
    """
    idle = IDLE_WITH_DATA.get(section, ()) if real_data_of(given) else ()
    return {name: value for name, value in {**declared, **given}.items() if name not in idle}

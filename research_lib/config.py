"""Settings and results: what may be chosen, and how either is shown and read."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import inspect
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import yaml

from research_lib.checks import nearest, number, refuse_unknown
from research_lib.errors import MissingDataError, ResearchError, ValidationError

MAX_SETTINGS_BYTES = 100_000
MAX_REPR, MAX_ROWS = 200, 20  # characters; rows of a table in a notebook
MAX_SHOWN_VALUES = 1_000_000  # a larger record is summarised: its table would take seconds to build
PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Record:
    """Base of settings and results: a dataclass that answers ``record["name"]`` and shows a table.

    Alone in a notebook's cell it is a small table: its `to_frame()` where it has one, else a row
    for each of its names. Its repr names the class, scalars and the shapes of arrays.

    Examples
    --------
    >>> ModelConfig(base_price=20.0)["base_price"]
    20.0
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # @dataclass writes a __repr__ that prints whole arrays, unless the class itself has one.
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        if not settings.keys() <= getattr(cls, "__dataclass_fields__", settings).keys():
            known = inspect.signature(cls.__init__).parameters  # some have an __init__ of their own
            if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
                refuse_unknown(settings, list(known)[1:], f"{cls.__name__} setting")
        return super().__new__(cls)

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(
                f"{type(self).__name__} has no {name!r}; it has {', '.join(self.keys())}"
            )
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Names that ``record[name]`` answers."""
        return [f.name for f in dataclasses.fields(self)] if dataclasses.is_dataclass(self) else []

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build from a mapping; an unknown key is refused with the nearest valid one."""
        return cls(**settings)

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in Record.keys(self)}
        # Scalars first: they say more than the shapes of arrays, and the end may be cut.
        names = sorted(_filled(given), key=lambda name: not np.isscalar(given[name]))
        text = ", ".join(f"{name}={_brief(given[name], 40)}" for name in names)
        return f"{type(self).__name__}({_clipped(text, MAX_REPR - 50)})"

    def _repr_html_(self) -> str:
        values = {name: getattr(self, name) for name in Record.keys(self)}
        size = sum(int(getattr(value, "size", 1)) for value in values.values())
        if hasattr(self, "to_frame") and size <= MAX_SHOWN_VALUES:
            with contextlib.suppress(ResearchError):  # one without a row still shows its names
                table = self.to_frame().to_html(max_rows=MAX_ROWS, max_cols=MAX_ROWS)
                return f"<p>{html.escape(repr(self))}</p>\n{table}"
        values = {name: self[name] for name in self.keys()}
        rows = "\n".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(_brief(values[name], 80))}</td></tr>"
            for name in itertools.islice(_filled(values), MAX_ROWS)
        )
        return f"<b>{html.escape(type(self).__name__)}</b>\n<table>\n{rows}\n</table>"


def _filled(values: Mapping[str, Any]) -> list[str]:
    """Names of the values that say something: not None, nor an empty text or collection."""
    sized = (str, tuple, list, Mapping)
    return [k for k, v in values.items() if v is not None and not (isinstance(v, sized) and not v)]


def _brief(value: Any, width: int) -> str:
    """A value in at most `width` characters: an array by its shape, a record by its class."""
    if shape := getattr(value, "shape", ()):
        kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
        numeric = isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size
        span = f", {value.min():.6g} to {value.max():.6g}" if numeric and width > 60 else ""
        return f"{kind} {shape}{span}"
    if isinstance(value, Record):
        return type(value).__name__
    if isinstance(value, Mapping):
        pairs = itertools.islice(value.items(), 8)
        return _clipped(", ".join(f"{name} {_brief(one, 20)}" for name, one in pairs), width)
    if isinstance(value, (list, tuple)):
        return _clipped(f"{len(value)}: " + ", ".join(_brief(one, 20) for one in value[:8]), width)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    return _clipped(str(value) if isinstance(value, (str, np.generic)) else repr(value), width)


def _clipped(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


class SolverType(StrEnum):
    """How an allocation is solved; AUTO takes the exact method wherever it applies.

    >>> SolverType.parse("CVXPY").value
    'cvxpy'
    """

    AUTO = "auto"
    ANALYTICAL = "analytical"
    SCIPY = "scipy"
    CVXPY = "cvxpy"

    @classmethod
    def parse(cls, solver: SolverType | str) -> SolverType:
        """Accept a member or its text in any case."""
        text = solver.value if isinstance(solver, SolverType) else str(solver).lower()
        if text not in {s.value for s in cls}:
            raise ValidationError(
                f"solver {solver!r} is unknown{nearest(text, [s.value for s in cls])}"
            )
        return cls(text)


def _setting(default: Any, unit: str, **limits: Any) -> Any:
    return field(default=default, metadata={"unit": unit, "limits": limits})


class _Settings(Record):
    """Validated on construction; readable from a mapping or a YAML file."""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, spec.name)
            object.__setattr__(self, spec.name, self._checked(spec, value))

    @staticmethod
    def _checked(spec: dataclasses.Field[Any], value: Any) -> Any:
        if isinstance(spec.default, SolverType):
            return SolverType.parse(value)
        if isinstance(spec.default, bool):
            if not isinstance(value, bool):
                raise ValidationError(f"{spec.name} must be true or false, got {value!r}")
            return value
        limits = spec.metadata["limits"]
        return number(spec.name, value, integer=isinstance(spec.default, int), **limits)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Build from a YAML file that holds one flat mapping of settings."""
        return cls.from_dict(read_yaml(path))


@dataclass(frozen=True)
class ModelConfig(_Settings):
    """Settings of the synthetic market and of the impact model.

    Attributes
    ----------
    base_price : float
        First mid of the synthetic market, quote currency per share.
    volatility_factor : float
        Annual volatility of the synthetic mid (0.5 = 50 % a year of 252 sessions).
    spread_factor : float
        Mean quoted spread of the synthetic market as a fraction of one session's
        standard deviation of the mid; of the order of 0.01 to 0.05.
    volume_decay : float
        Expected size falls by exp(-volume_decay) from one level to the next.
    min_observations : int
        Uncensored observations that one interval's fit needs; fewer widen it.
    max_trade_size, min_trade_size : float
        Range of trade sizes measured, shares. A larger size is refused, a smaller one warned about.
    numerical_tolerance : float
        Relative size below which a fitted coefficient counts as zero.
    batch_size : int
        Snapshots walked at a time.
    memory_limit_mb : float
        Work that would need more is refused before it starts, MB of 1e6 bytes.
    progress_logging : bool
        Log every batch at INFO.
    parallel_processing : bool
        Walk batches on all cores.

    Examples
    --------
    >>> ModelConfig(base_price=20, memory_limit_mb=500)["base_price"]
    20.0
    """

    base_price: float = _setting(100.0, "currency/share", above=0)
    volatility_factor: float = _setting(0.5, "per year**0.5", low=0, high=10)
    spread_factor: float = _setting(0.01, "session standard deviations", low=0, high=10)
    volume_decay: float = _setting(0.1, "per level", low=0, high=10)
    min_observations: int = _setting(5, "observations", low=1)
    max_trade_size: float = _setting(1e6, "shares", above=0)
    min_trade_size: float = _setting(100.0, "shares", above=0)
    numerical_tolerance: float = _setting(1e-8, "relative", above=0, high=1e-2)
    batch_size: int = _setting(1000, "snapshots", low=1)
    memory_limit_mb: float = _setting(1000.0, "MB", above=0)
    progress_logging: bool = _setting(True, "")
    parallel_processing: bool = _setting(False, "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_trade_size > self.max_trade_size:
            raise ValidationError(
                f"min_trade_size {self.min_trade_size:g} is above max_trade_size "
                f"{self.max_trade_size:g}; lower the one or raise the other"
            )


@dataclass(frozen=True)
class OptimizerConfig(_Settings):
    """Settings of the allocation.

    Attributes
    ----------
    default_solver : SolverType
        Tried first; the others follow if it fails.
    max_iterations : int
        Limit of each solver's own iterations; OSQP and SCS, whose steps are far cheaper, get
        100 times as many.
    tolerance : float
        Relative duality gap each solver is asked to reach.
    min_trade_size : float
        The least allocation of each interval, a floor.
    max_allocation_ratio : float
        Cap of each child order as a fraction of the parent order.
    timeout_seconds : float
        Limit of all attempts of an allocation together, seconds.
    validate_inputs : bool
        Check curves and order before solving.
    validate_outputs : bool
        Refuse an allocation whose certificate does not hold.

    Examples
    --------
    >>> OptimizerConfig(default_solver="analytical").max_allocation_ratio
    0.3
    """

    default_solver: SolverType = _setting(SolverType.CVXPY, "")
    max_iterations: int = _setting(1000, "iterations", low=1)
    tolerance: float = _setting(1e-8, "relative", above=0, high=1e-2)
    min_trade_size: float = _setting(0.0, "shares", low=0)
    max_allocation_ratio: float = _setting(0.3, "of the order", above=0, high=1)
    timeout_seconds: float = _setting(300.0, "seconds", above=0)
    validate_inputs: bool = _setting(True, "")
    validate_outputs: bool = _setting(True, "")


class _StrictLoader(yaml.SafeLoader):
    """No Python objects, no aliases (a few lines of them can stand for gigabytes), no key twice.

    Scalars are those of YAML 1.2, which are read as people write them. In YAML 1.1, PyYAML's own,
    010000 is 4096, 1:30 is 90, 1e5 is a text, and the symbols ON and NO are truth values.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Decimal, whatever it begins with."""
        return int(self.construct_scalar(node).replace("_", ""))

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read here; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's, of keys that all differ."""
        keys = [str(key.value) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"key {twice[:80]!r} stands twice; keep one")
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first
    )
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one mapping from a YAML file, safely; files above 100 kB are no settings and refused."""
    file = Path(path)
    if not file.is_file():
        raise MissingDataError(f"settings file {file} does not exist; check the path")
    if (size := file.stat().st_size) > MAX_SETTINGS_BYTES:
        raise ValidationError(f"{file} has {size:,} bytes, settings at most {MAX_SETTINGS_BYTES:,}")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _StrictLoader)
    # ValueError: a number of 5,000 digits, bytes that are no UTF-8; RecursionError: 5,000 brackets.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValidationError(f"{file} is not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        got = type(content).__name__
        raise ValidationError(f"{file} must hold a mapping of names to values, got {got}")
    return content


def data_folder() -> Path:
    """Folder of real data: the environment variable RESEARCH_DATA, else `data/` of the project."""
    return Path(os.environ.get("RESEARCH_DATA") or PROJECT_ROOT / "data").resolve()


def data_files(relative: str) -> dict[str, Path]:
    """Files of real data that a name or pattern stands for, by their names below the folder.

    A folder, such as ``store/symbol=FROG/date=2025-04-03``, stands for all files in it. Empty
    where there are none.
    """
    folder = data_folder()
    matches = [match.rglob("*") if match.is_dir() else [match] for match in folder.glob(relative)]
    found = sorted({path for paths in matches for path in paths if path.is_file()})
    return {path.relative_to(folder).as_posix(): path for path in found}


def data_file(relative: str) -> Path:
    """Path of one file of real data, of a folder of them, or a pattern ("tick/ibm_*_quote.zip").

    Raises
    ------
    MissingDataError
        Naming the file, where it was looked for, and RESEARCH_DATA as the remedy.
    """
    folder, path = data_folder(), data_folder() / relative
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValidationError(
            f"the locale's encoding, {error.encoding}, cannot spell data file {relative!a}; "
            "set PYTHONUTF8=1"
        ) from error
    if data_files(relative):
        return path
    if path.is_dir():
        raise MissingDataError(
            f"data folder {relative} in {folder} holds no files; fill it, or name another"
        )
    absent = "" if folder.is_dir() else ", which does not exist"
    raise MissingDataError(
        f"data file {relative} is not in {folder}{absent}; "
        "set RESEARCH_DATA to the folder of real data"
    )

"""Base class of settings and results, the two configurations, YAML, and the data folder."""

import contextlib
import html
import inspect
import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import yaml

from research_lib.checks import nearest, number, refuse_unknown
from research_lib.errors import MissingDataError, ResearchError, ValidationError

MAX_ROWS = 20  # of a table in a notebook
MAX_SHOWN_VALUES = 1_000_000  # a larger record is summarised: its table would take seconds to build
PROJECT_ROOT = Path(__file__).resolve().parents[1]
Json = Mapping[str, Any]  # an object of JSON or YAML


class Record:
    """Base of settings and results: a dataclass that answers ``record["name"]`` and shows a table.

    In a notebook's cell it shows as a small table: its `to_frame()` if it has one, else a row for
    each attribute. Its repr has the class, the scalars and the shapes of arrays.

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
            known = [*inspect.signature(cls.__init__).parameters][1:]
            refuse_unknown(settings, known, f"{cls.__name__} setting")
        return super().__new__(cls)

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(f"{type(self).__name__} has no {name!r}{nearest(name, self.keys())}")
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Names that ``record[name]`` answers."""
        return [one.name for one in fields(self)] if is_dataclass(self) else []

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build from a mapping; an unknown key is refused with the nearest valid one."""
        if not isinstance(settings, Mapping):
            raise ValidationError(f"{cls.__name__} needs a mapping of settings, got {settings!r}")
        return cls(**settings)

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in Record.keys(self)}
        # Scalars first: they say more than the shapes of arrays, and the end may be cut.
        names = sorted(given, key=lambda name: not np.isscalar(given[name]))
        said = [f"{name}={_brief(given[name])}" for name in names if given[name] is not None]
        return f"{type(self).__name__}({textwrap.shorten(', '.join(said), 150, placeholder='...')})"

    def _repr_html_(self) -> str:
        import pandas as pd

        table = pd.DataFrame({"value": {name: _brief(self[name]) for name in self.keys()}})
        size = sum(int(getattr(getattr(self, name), "size", 1)) for name in Record.keys(self))
        if hasattr(self, "to_frame") and size <= MAX_SHOWN_VALUES:
            with contextlib.suppress(ResearchError):  # one without a row still shows its names
                table = self.to_frame()
        rows = table.to_html(max_rows=MAX_ROWS, max_cols=MAX_ROWS)
        return f"<p>{html.escape(repr(self))}</p>\n{rows}"


def _brief(value: Any) -> str:
    """A value in short form; an array by its shape and range."""
    if shape := getattr(value, "shape", ()):
        if not isinstance(value, np.ndarray):
            return f"{type(value).__name__} {shape}"
        numeric = value.dtype.kind in "iuf" and value.size
        return f"array {shape}" + (f", {value.min():.6g} to {value.max():.6g}" if numeric else "")
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return textwrap.shorten(text, 40, placeholder="...")


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
    def parse(cls, solver: "SolverType | str") -> "SolverType":
        """Accept a member or its text in any case."""
        refuse_unknown([str(solver).lower()], [one.value for one in cls], "solver")
        return cls(str(solver).lower())


def limited(default: Any, **limits: Any) -> Any:
    """A field of `Limited`, with the limits that `number` takes."""
    return field(default=default, metadata=limits)


class Limited(Record):
    """Settings that are checked on construction: flags, solvers, and numbers against the field's
    limits, also every one of a tuple.
    """

    def __post_init__(self) -> None:
        for spec in fields(self):  # type: ignore[arg-type]
            name, value, default = spec.name, getattr(self, spec.name), spec.default
            if isinstance(default, SolverType):
                value = SolverType.parse(value)
            elif isinstance(default, bool) and not isinstance(value, bool):
                raise ValidationError(f"{name} must be true or false, got {value!r}")
            elif isinstance(default, tuple):
                value = tuple(number(name, one, **spec.metadata) for one in np.ravel(value))
            elif spec.metadata:
                value = number(name, value, integer=isinstance(default, int), **spec.metadata)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ModelConfig(Limited):
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
        Uncensored observations that the fit of one interval needs; with fewer it uses neighbours
        too.
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

    base_price: float = limited(100.0, above=0)
    volatility_factor: float = limited(0.5, low=0, high=10)
    spread_factor: float = limited(0.01, low=0, high=10)
    volume_decay: float = limited(0.1, low=0, high=10)
    min_observations: int = limited(5, low=1)
    max_trade_size: float = limited(1e6, above=0)
    min_trade_size: float = limited(100.0, above=0)
    numerical_tolerance: float = limited(1e-8, above=0, high=1e-2)
    batch_size: int = limited(1000, low=1)
    memory_limit_mb: float = limited(1000.0, above=0)
    progress_logging: bool = True
    parallel_processing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        number("max_trade_size", self.max_trade_size, self.min_trade_size)


@dataclass(frozen=True)
class OptimizerConfig(Limited):
    """Settings of the allocation.

    Attributes
    ----------
    default_solver : SolverType
        Tried first; the others follow if it fails.
    max_iterations : int
        Limit of each solver's iterations; 100 times as many for OSQP and SCS, whose steps are far
        cheaper.
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

    default_solver: SolverType = SolverType.CVXPY
    max_iterations: int = limited(1000, low=1)
    tolerance: float = limited(1e-8, above=0, high=1e-2)
    min_trade_size: float = limited(0.0, low=0)
    max_allocation_ratio: float = limited(0.3, above=0, high=1)
    timeout_seconds: float = limited(300.0, above=0)
    validate_inputs: bool = True
    validate_outputs: bool = True


class _StrictLoader(yaml.SafeLoader):
    """No Python objects, no aliases (a few lines of them can stand for gigabytes), no key twice.

    Scalars are read as in YAML 1.2. In YAML 1.1, which PyYAML implements, 010000 is 4096, 1:30 is
    90, 1e5 is a text, and the symbols ON and NO are booleans.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read here; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's; a key that occurs twice is refused."""
        keys = [str(key.value) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"key {twice[0][:80]!r} occurs twice; keep one")
        return super().construct_mapping(node, deep)


YAML_TAG = "tag:yaml.org,2002:"
for _kind, _pattern in {
    "null": r"~|null|",
    "bool": r"true|True|false|False",
    "int": r"[-+]?[0-9][0-9_]*",
    "float": r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*|(?=[eE])))([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
}.items():
    _StrictLoader.add_implicit_resolver(YAML_TAG + _kind, re.compile(f"(?:{_pattern})$"), None)
_StrictLoader.add_constructor(f"{YAML_TAG}int", lambda _, node: int(node.value))


def parse_yaml(text: str | bytes, what: str) -> dict[str, Any]:
    """Read one mapping from YAML, safely; otherwise a ValidationError names `what` was read.

    Examples
    --------
    >>> parse_yaml("open: 09:30", "session")
    {'open': '09:30'}
    """
    try:
        content = yaml.load(text, _StrictLoader)
    # ValueError: a number of 5,000 digits; RecursionError: 5,000 brackets.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValidationError(f"{what} is not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ValidationError(f"{what} must hold a mapping of names to values, got {content!r:.40}")
    return content


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one mapping from a YAML file; see `parse_yaml`."""
    if not Path(path).is_file():
        raise MissingDataError(f"settings file {path} does not exist; check the path")
    return parse_yaml(Path(path).read_bytes(), str(path))


def data_folder() -> Path:
    """Folder of real data: the environment variable RESEARCH_DATA, else `data/` of the project."""
    return Path(os.environ.get("RESEARCH_DATA") or PROJECT_ROOT / "data").resolve()


def data_files(relative: str) -> dict[str, Path]:
    """Files of real data that match a name or pattern, by their names below the folder.

    A folder, such as ``store/symbol=FROG/date=2025-04-03``, stands for all files in it. Empty if
    there is no match.
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
    if not data_files(relative):
        raise MissingDataError(f"data file {relative} is not in {data_folder()}; set RESEARCH_DATA")
    return data_folder() / relative

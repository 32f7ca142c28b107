"""Settings: what may be chosen, its unit, its limits and its default."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from research_lib.checks import nearest, number, refuse_unknown
from research_lib.errors import MissingDataError, ValidationError

LARGEST_SETTINGS = 100_000  # bytes of a settings file
PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Record:
    """Base of settings and results: a dataclass that also answers ``record["name"]``."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(
                f"{type(self).__name__} has no {name!r}; it has {', '.join(self.keys())}"
            )
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Names that ``record[name]`` answers."""
        return [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build from a mapping; an unknown key is refused with the nearest valid one."""
        refuse_unknown(
            settings, [f.name for f in dataclasses.fields(cls)], f"{cls.__name__} setting"
        )  # type: ignore[arg-type]
        return cls(**settings)


class SolverType(StrEnum):
    """How an allocation is solved; AUTO takes the exact method wherever it applies."""

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
                f"min_trade_size {self.min_trade_size:g} is above max_trade_size {self.max_trade_size:g}; "
                "lower the one or raise the other"
            )


@dataclass(frozen=True)
class OptimizerConfig(_Settings):
    """Settings of the allocation.

    Attributes
    ----------
    default_solver : SolverType
        Tried first; the others follow if it fails.
    max_iterations : int
        Limit of each solver's own iterations; OSQP and SCS, whose steps are far cheaper, get 100 times as many.
    tolerance : float
        Relative duality gap each solver is asked to reach.
    min_trade_size : float
        A child order of at least so many shares, or none, in an interval.
    max_allocation_ratio : float
        Cap of each child order as a fraction of the parent order.
    timeout_seconds : float
        Limit of all attempts of an allocation together, seconds.
    validate_inputs : bool
        Check curves and order before solving.
    validate_outputs : bool
        Refuse an allocation whose certificate does not hold.
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
    if file.stat().st_size > LARGEST_SETTINGS:
        raise ValidationError(
            f"{file} has {file.stat().st_size:,} bytes, settings at most {LARGEST_SETTINGS:,}"
        )
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _StrictLoader)
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # such as a number of 5,000 digits, 5,000 brackets
        raise ValidationError(
            f"{file} is not valid YAML: {' '.join(str(error).split())[:300]}"
        ) from error
    if not isinstance(content, dict):
        raise ValidationError(
            f"{file} must hold a mapping of names to values, got {type(content).__name__}"
        )
    return content


def data_folder() -> Path:
    """Folder of real data: the environment variable RESEARCH_DATA, else `data/` of the project."""
    return Path(os.environ.get("RESEARCH_DATA") or PROJECT_ROOT / "data").resolve()


def data_files(relative: str) -> dict[str, Path]:
    """The files of real data that a name or a pattern stands for, by their names below the folder; none if absent.

    A folder, such as ``store/symbol=FROG/date=2025-04-03``, stands for all files in it.
    """
    folder = data_folder()
    matches = [match.rglob("*") if match.is_dir() else [match] for match in folder.glob(relative)]
    found = sorted({path for paths in matches for path in paths if path.is_file()})
    return {path.relative_to(folder).as_posix(): path for path in found}


def data_file(relative: str) -> Path:
    """Path of one file of real data, of a folder of files, or of the files of a pattern such as "tick/ibm_*_quote.zip".

    Raises
    ------
    MissingDataError
        Naming the file, where it was looked for, and RESEARCH_DATA as the remedy.
    """
    path = data_folder() / relative
    if not data_files(relative):
        if path.is_dir():
            raise MissingDataError(
                f"data folder {relative} in {data_folder()} holds no files; fill it, or name another"
            )
        lacking = "" if data_folder().is_dir() else ", which does not exist"
        raise MissingDataError(
            f"data file {relative} is not in {data_folder()}{lacking}; set RESEARCH_DATA to the folder of real data"
        )
    return path

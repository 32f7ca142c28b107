"""What a run leaves behind: figures, results and the manifest that says where they came from."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research_lib.config import PROJECT_ROOT, data_file, data_files
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.monitoring import MONITOR
from research_lib.reporting.figures.base import save_figure

PACKAGES = (
    "numpy", "pandas", "scipy", "numba", "statsmodels", "cvxpy", "clarabel", "osqp", "scs", "matplotlib", "papermill",
)  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")
UNLISTED = (
    "manifest.json",
    "failure.md",
    "failure.json",
)  # what a manifest says nothing of; nor of hidden files


class ReportFolder:
    """Where a notebook leaves its figures and results; with an empty path it keeps nothing.

    Parameters
    ----------
    path : str
        Folder of the run, or "" when the notebook is used by hand.
    section : str
        "modeling", "strategy", "transient" or "portfolio": prefix of its figures and key of its results.

    Attributes
    ----------
    left_out : dict of str to str
        Parts that could not be made, and why.
    """

    def __init__(self, path: str, section: str) -> None:
        self.path = Path(path) if path else None
        self.section = section
        self.left_out: dict[str, str] = {}

    def part(
        self, name: str, make: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> T | None:
        """A part that small samples may not allow: what `make` gives, or None and why in `left_out` under its name.

        Any other error is no matter of the sample: it ends the run.
        """
        try:
            return make(*arguments, **options)
        except (InsufficientDataError, ModelFittingError) as error:
            self.left_out[name] = str(error)
            return None

    def figure(self, drawn: Axes | Figure, name: str) -> None:
        """Keep a figure as figures/<section>_<name>.png."""
        if self.path is not None:
            save_figure(drawn, self.path / "figures" / f"{self.section}_{name}.png")

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table that people take away as <section>_<name>.csv."""
        if self.path is not None:
            target = self.path / f"{self.section}_{name}.csv"
            part = target.with_name(f".{target.name}.part")
            table.to_csv(part)
            part.replace(target)

    def results(self, results: Mapping[str, Any]) -> None:
        """Keep the numbers of the report as <section>.json, and how long the library took for them beside it."""
        if self.path is not None:
            write_json(self.path / f"{self.section}.json", dict(results))
            write_json(self.path / f"{self.section}.timings.json", MONITOR.to_dict())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the order given, whole or not at all; NaN becomes null."""
    part = path.with_name(f".{path.name}.part")
    write_synced(part, json_bytes(content))
    part.replace(path)


def write_synced(path: Path, content: bytes) -> None:
    """Write bytes that are on the disk before the file is renamed: a loss of power leaves no empty file."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON as reports keep it: in the order given, NaN as null."""
    return (json.dumps(_plain(content), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises
    ------
    ValidationError
        The file is empty, is no UTF-8 or no JSON, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except ValueError as error:  # of the encoding too
        raise ValidationError(f"{path.name} is damaged; make the report again") from error
    if not isinstance(content, dict):
        raise ValidationError(f"{path.name} is damaged; make the report again")
    return content


def section_inputs(
    notebook: Path, parameters: Mapping[str, Any], data: Iterable[str]
) -> dict[str, Any]:
    """Hashes of all that decides a notebook's results; the same inputs need not run again.

    Parameters
    ----------
    notebook : Path
    parameters : mapping
        All of them, defaults too.
    data : iterable of str
        Files or patterns below RESEARCH_DATA.

    Raises
    ------
    MissingDataError
        A name or pattern without a file.
    """
    for name in data:
        data_file(name)
    files = {name: path for pattern in data for name, path in data_files(pattern).items()}
    return {
        "notebook": file_hash(notebook),
        "parameters": dict(parameters),
        "data": {
            name: _hash_once(path, path.stat().st_size, path.stat().st_mtime_ns)
            for name, path in files.items()
        },
        "code": code_hash(),
        "environment": environment_hash(),
    }


def text_hash(content: Any) -> str:
    """SHA-256 of anything JSON knows."""
    return hashlib.sha256(json.dumps(_plain(content), sort_keys=True).encode()).hexdigest()


def origin() -> dict[str, Any]:
    """What people want to know beside the hashes: the commit, whether it was changed, Python and packages.

    Where there is no git, as in an image, the commit is RESEARCH_GIT_COMMIT, and whether it was
    changed is None: unknown, which is not clean.
    """
    commit = _git("rev-parse", "HEAD")
    changed = (
        _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
        if commit
        else None
    )
    return {
        "git_commit": commit or os.environ.get("RESEARCH_GIT_COMMIT", ""),
        "git_dirty": None if changed is None else bool(changed),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def listed_files(folder: Path) -> dict[str, Path]:
    """Every file below a folder that its manifest tells of, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path for name, path in names.items() if name not in UNLISTED}


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but its manifest, by path."""
    return {name: file_hash(path) for name, path in listed_files(folder).items()}


@functools.lru_cache(maxsize=4096)
def _hash_once(path: Path, size: int, modified: int) -> str:
    """Of a data file, which may be large: anew only when its size or its time of change is another."""
    return file_hash(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_hash() -> str:
    """SHA-256 over the library's sources, by path."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT_ROOT / "research_lib").rglob("*.py")):
        digest.update(f"{path.relative_to(PROJECT_ROOT).as_posix()} {file_hash(path)}\n".encode())
    return digest.hexdigest()


@functools.cache
def environment_hash() -> str:
    """SHA-256 over Python's version, the machine's kind, and the installed packages' names and versions."""
    installed = sorted({f"{one.name.lower()}=={one.version}" for one in distributions()} - {""})
    return text_hash([platform.python_version(), platform.system(), platform.machine(), installed])


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _plain(value: Any) -> Any:
    """Values as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

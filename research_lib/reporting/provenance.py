"""What a run leaves behind: figures, results and the manifest that says where they came from."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research_lib.config import PROJECT_ROOT, data_file
from research_lib.reporting.plots import save_figure

PACKAGES = (
    "numpy", "pandas", "scipy", "numba", "statsmodels", "cvxpy", "clarabel", "osqp", "scs", "matplotlib", "papermill",
)  # fmt: skip


class ReportFolder:
    """Where a notebook leaves its figures and results; with an empty path it keeps nothing.

    Parameters
    ----------
    path : str
        Folder of the run, or "" when the notebook is used by hand.
    section : str
        "modeling" or "strategy": prefix of its figures and key of its results.
    """

    def __init__(self, path: str, section: str) -> None:
        self.path = Path(path) if path else None
        self.section = section

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
        """Keep the numbers of the report as <section>.json."""
        if self.path is not None:
            write_json(self.path / f"{self.section}.json", dict(results))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in the order given, whole or not at all; NaN becomes null."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def manifest(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration, data and code hashes, versions: what is needed to make the numbers again."""
    return {
        "configuration": dict(configuration),
        "data": {name: file_hash(data_file(name)) for name in configuration["data"]},
        "code": code_hash(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_hash() -> str:
    """SHA-256 over the library's sources and templates and the notebooks, by path."""
    digest = hashlib.sha256()
    files = [
        path
        for folder, pattern in (("research_lib", "*.py"), ("research_lib", "*.j2"), ("notebooks", "*.ipynb"))
        for path in (PROJECT_ROOT / folder).rglob(pattern)
        if ".ipynb_checkpoints" not in path.parts
    ]
    for path in sorted(files):
        digest.update(f"{path.relative_to(PROJECT_ROOT).as_posix()} {file_hash(path)}\n".encode())
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    """Output of a git command in the project; empty where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


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

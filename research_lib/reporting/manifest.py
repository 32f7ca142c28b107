"""Where a report came from, by hashes, and how it is put in place: whole or not at all."""

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from research_lib.config import PROJECT_ROOT, Json, data_file, data_files, data_folder
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.monitoring import MONITOR

PACKAGES = "numpy pandas scipy numba statsmodels cvxpy clarabel osqp scs matplotlib papermill"
FAILURE = ("failure.md", "failure.json")
UNLISTED = ("manifest.json", *FAILURE)  # what a manifest says nothing of; nor of hidden files
WORK, OLD = ".work", ".old"
DAMAGED = "is damaged or of an older version; make the report again"


class ReportFolder:
    """Where a notebook leaves its figures and results; with an empty path it keeps nothing.

    Parameters
    ----------
    path : str
        Folder of the run, or "" when the notebook is used by hand.
    section : str
        "modeling", "strategy", "transient" or "portfolio": prefix of its figures and key of its
        results.

    Attributes
    ----------
    left_out : dict of str to str
        Parts that could not be made, and why.

    Examples
    --------
    >>> report = ReportFolder("", "modeling")
    >>> report.part("ratio", lambda a, b: a / b, 1, 2), report.left_out
    (0.5, {})
    """

    def __init__(self, path: str, section: str) -> None:
        self.path = Path(path) if path else None
        self.section = section
        self.left_out: dict[str, str] = {}

    def part(self, name: str, make: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """What `make` gives; where the sample is too small, None and why in `left_out`.

        Any other error is no matter of the sample: it ends the run.
        """
        try:
            return make(*given, **options)
        except (InsufficientDataError, ModelFittingError) as error:
            self.left_out[name] = str(error)
            return None

    def figure(self, drawn: Any, name: str) -> None:
        """Keep a figure, or the one that an Axes is part of, as figures/<section>_<name>.png."""
        if self.path is not None:
            from research_lib.reporting.figures.base import save_figure

            save_figure(drawn, self.path / "figures" / f"{self.section}_{name}.png")

    def table(self, table: Any, name: str) -> None:
        """Keep a pandas table that people take away as tables/<section>_<name>.csv."""
        if self.path is not None:
            table.to_csv(self.path / "tables" / f"{self.section}_{name}.csv")

    def results(self, results: Json) -> None:
        """Keep the numbers of the report as <section>.json, the library's timings beside it."""
        if self.path is not None:
            (self.path / f"{self.section}.json").write_bytes(json_bytes(results))
            timings = self.path / f"{self.section}.timings.json"
            timings.write_bytes(json_bytes(MONITOR.summary()))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process ends."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def json_bytes(content: Json) -> bytes:
    """JSON as reports keep it: in the order given, NaN as null."""
    return (json.dumps(_plain(content), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file; ValidationError where it is empty, no UTF-8 or something else."""
    with contextlib.suppress(ValueError):  # of the encoding too
        content = json.loads(path.read_bytes().decode("utf-8"))
        if isinstance(content, dict):
            return content
    raise ValidationError(f"{path.name} {DAMAGED}")


def _plain(value: Any) -> Any:
    """Values as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def section_inputs(notebook: Path, parameters: Json, data: Iterable[str]) -> dict[str, Any]:
    """Hashes of all that decides a notebook's results; the same inputs need not run again.

    Parameters
    ----------
    notebook : Path
    parameters : mapping
        All of them, defaults too.
    data : iterable of str
        Files or patterns below RESEARCH_DATA; MissingDataError where one stands for no file.
    """
    files = {}
    for name in data:
        data_file(name)
        files.update(data_files(name))
    return {
        "notebook": file_hash(notebook),
        "parameters": dict(parameters),
        "data": {name: _hash_once(path, path.stat().st_mtime_ns) for name, path in files.items()},
        "code": code_hash(),
        "environment": environment_hash(),
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.lru_cache(maxsize=4096)
def _hash_once(path: Path, modified: int) -> str:
    """Of a data file, which may be large: anew only when its time of change is another."""
    return file_hash(path)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder that its manifest speaks of, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_hash(path) for name, path in names.items() if name not in UNLISTED}


def text_hash(content: Any) -> str:
    """SHA-256 of anything JSON knows."""
    return hashlib.sha256(json.dumps(_plain(content), sort_keys=True).encode()).hexdigest()


def code_hash() -> str:
    """SHA-256 over the library's sources, by path."""
    sources = sorted((PROJECT_ROOT / "research_lib").rglob("*.py"))
    return text_hash([[str(one.relative_to(PROJECT_ROOT)), file_hash(one)] for one in sources])


@functools.cache
def environment_hash() -> str:
    """SHA-256 over Python's version, the machine's kind, and the installed packages."""
    installed = sorted({f"{one.name.lower()}=={one.version}" for one in distributions()})
    return text_hash([platform.python_version(), platform.system(), platform.machine(), installed])


def origin() -> dict[str, Any]:
    """What people want to know beside the hashes: commit and packages.

    Where there is no git, as in an image, the commit is RESEARCH_GIT_COMMIT.

    Examples
    --------
    >>> list(origin())
    ['git_commit', 'python', 'packages']
    """
    commit = os.environ.get("RESEARCH_GIT_COMMIT", "")
    head = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):
        commit = subprocess.check_output(head, stderr=subprocess.DEVNULL, text=True).strip()
    packages = {name: version(name) for name in PACKAGES.split()}
    return {"git_commit": commit, "python": platform.python_version(), "packages": packages}


@contextlib.contextmanager
def exclusive(reports: Path) -> Iterator[None]:
    """Hold the reports folder, after putting right what a killed process left there.

    Raises
    ------
    ValidationError
        Another process is making reports there; its name, or the data folder's, is none that
        this locale can write down.
    """
    from locket import LockError, lock_file

    for folder in (reports, data_folder()):
        if str(folder).encode(errors="replace").decode() != str(folder):  # has undecoded bytes
            why = f"has letters that this locale's encoding, {sys.getfilesystemencoding()}, lacks"
            raise ValidationError(f"folder {str(folder)!a} {why}; set PYTHONUTF8=1")
    (reports / WORK).mkdir(parents=True, exist_ok=True)
    try:
        # The system lets the lock go when its process ends, however it ends.
        with lock_file(str(reports / WORK / "lock"), timeout=0):
            _restore(reports)
            yield
    except LockError as error:
        why = f"another process is making reports in {reports}; wait for it, or stop it"
        raise ValidationError(why) from error


def _restore(reports: Path) -> None:
    """Bring back a report that was moved aside for one that never came; drop the unfinished."""
    for left in (reports / WORK).iterdir():
        target = reports / left.name.removesuffix(OLD)
        if left.suffix == OLD and not target.exists():
            left.replace(target)
        elif left.is_dir():
            shutil.rmtree(left)


def place(reports: Path, name: str, files: Mapping[str, bytes], manifest: Json) -> None:
    """Put a whole report in place of the one before.

    Parameters
    ----------
    reports : Path
    name : str
        Of the run, and of its folder.
    files : mapping of path to bytes
        All files of the report but its manifest.
    manifest : mapping
        Gets `outputs`, the hash of each file.
    """
    work = reports / WORK / name
    work.mkdir()
    for path, content in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
    (work / "manifest.json").write_bytes(json_bytes({**manifest, "outputs": file_hashes(work)}))
    target, old = reports / name, reports / WORK / f"{name}{OLD}"
    if target.exists():
        target.replace(old)
    # Killed between the two renames, nothing is half-written: `_restore` brings the old one back.
    work.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A report's manifest; ValidationError where it is damaged, or of an older version."""
    manifest = read_json(folder / "manifest.json")
    if manifest.keys() >= {"configuration", "sections", "outputs"}:
        return manifest
    raise ValidationError(f"manifest.json {DAMAGED}")


def changed_files(folder: Path) -> list[str]:
    """What in a report is not as its manifest says: one line a file edited, lost or added."""
    if not (folder / "manifest.json").is_file():
        return ["manifest.json is missing"]
    try:
        listed, found = read_manifest(folder)["outputs"], file_hashes(folder)
    except ValidationError as error:
        return [str(error)]
    edited = [name for name in listed if name in found and found[name] != listed[name]]
    return [
        *(f"{name} was edited: its SHA-256 is not the manifest's" for name in edited),
        *(f"{name} is missing" for name in listed if name not in found),
        *(f"{name} is not in the manifest" for name in found if name not in listed),
    ]

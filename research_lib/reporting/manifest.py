"""Where a report came from, by hashes, and how it is put in place: whole or not at all."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from research_lib.config import PROJECT_ROOT, Json, data_file, data_files, data_folder
from research_lib.errors import ValidationError
from research_lib.market.readers.pairs import names_beside

PACKAGES = "numpy pandas scipy numba statsmodels cvxpy clarabel osqp scs matplotlib papermill"
FAILURE = ("failure.md", "failure.json")
RUN = "run.json"  # when, how long, with how much memory: what differs from run to run
UNLISTED = ("manifest.json", RUN, *FAILURE)  # files that a manifest does not list
# Made with each report, and committed with few: their absence is no damage.
MADE_ANEW = (".ipynb", ".html", ".prof")
WORK, OLD = ".work", ".old"
DAMAGED = "is damaged or of an older version; make the report again"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process ends."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def json_bytes(content: Json) -> bytes:
    """JSON as reports keep it: in the order given, NaN as null."""
    return (json.dumps(plain(content), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """An object of a JSON file; ValidationError where it is something else or lacks a key."""
    with contextlib.suppress(ValueError):  # of the encoding too
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.keys() >= set(keys):
            return content
    raise ValidationError(f"{path.name} {DAMAGED}")


def plain(value: Any) -> Any:
    """Values as JSON knows them: lists for arrays, null for NaN and infinity."""
    return to_jsonable_python(value, inf_nan_mode="null", fallback=lambda array: array.tolist())


def section_inputs(notebook: Path, parameters: Json, data: Sequence[str]) -> dict[str, Any]:
    """Hashes of all that decides a notebook's results; the same inputs need not run again.

    Parameters
    ----------
    notebook : Path
    parameters : mapping
        All of them, defaults too.
    data : sequence of str
        Files or patterns below RESEARCH_DATA; MissingDataError where one stands for no file.
    """
    for name in data:
        data_file(name)
    files = files_read(data)
    return {
        "notebook": notebook_hash(notebook), "parameters": dict(parameters),
        "data": {name: _hash_once(path, path.stat().st_mtime_ns) for name, path in files.items()},
        "code": code_hash(), "environment": environment_hash(),
    }  # fmt: skip


def files_read(names: Sequence[str]) -> dict[str, Path]:
    """Files of real data that names or patterns stand for, and those that are read along.

    Messages, trades and factor files are read with the file beside which they lie.
    """
    named = {file: path for name in names for file, path in data_files(name).items()}
    beside = [Path(one) for path in named.values() for one in names_beside(path)]
    return named | {p.relative_to(data_folder()).as_posix(): p for p in beside if p.is_file()}


def notebook_hash(path: Path) -> str:
    """SHA-256 over what a notebook does: type, source and tags of its cells.

    Outputs and counts of a run by hand change nothing, nor does the parameters cell, whose values
    are hashed as those of the run.
    """
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    does = [[one.cell_type, one.source, sorted(one.metadata.get("tags", []))] for one in cells]
    return text_hash([cell for cell in does if "parameters" not in cell[2]])


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
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    # Hidden are files that wait for their last byte, and what Jupyter keeps of an open notebook.
    shown = [name for name in names if name not in UNLISTED and "/." not in f"/{name}"]
    return {name: file_hash(names[name]) for name in shown}


def text_hash(content: Any) -> str:
    """SHA-256 of anything JSON knows."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def code_hash() -> str:
    """SHA-256 over the library's sources and the templates of its pages, by path."""
    found = (PROJECT_ROOT / "research_lib").rglob("*")
    sources = sorted(one for one in found if one.suffix in (".py", ".j2", ".css"))
    return text_hash([[str(one.relative_to(PROJECT_ROOT)), file_hash(one)] for one in sources])


@functools.cache
def environment_hash() -> str:
    """SHA-256 over Python's version, the machine's kind, and the installed packages."""
    installed = sorted({f"{one.name.lower()}=={one.version}" for one in distributions()})
    return text_hash([platform.python_version(), platform.system(), platform.machine(), installed])


def origin() -> dict[str, Any]:
    """What people want to know beside the hashes: Python and packages.

    Examples
    --------
    >>> list(origin())
    ['python', 'packages']
    """
    packages = {name: version(name) for name in PACKAGES.split()}
    return {"python": platform.python_version(), "packages": packages}


def git_commit() -> str:
    """The commit that is checked out; without git, as in an image, RESEARCH_GIT_COMMIT."""
    commit = os.environ.get("RESEARCH_GIT_COMMIT", "")
    head = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):
        commit = subprocess.check_output(head, stderr=subprocess.DEVNULL, text=True).strip()
    return commit


@contextlib.contextmanager
def exclusive(reports: Path) -> Iterator[None]:
    """Hold the reports folder, after putting right what a killed process left there.

    Raises
    ------
    ValidationError
        Another process is making reports there.
    """
    from locket import LockError, lock_file

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
    return read_json(folder / "manifest.json", "configuration", "sections", "outputs")


def changed_files(folder: Path, *, whole: bool = False) -> list[str]:
    """What in a report is not as its manifest says: one line a file edited, lost or added.

    With `whole` also pages and notebooks that are not there.
    """
    if not (folder / "manifest.json").is_file():
        return ["manifest.json is missing"]
    try:
        listed, found = read_manifest(folder)["outputs"], file_hashes(folder)
    except ValidationError as error:
        return [str(error)]
    edited = [name for name in listed if name in found and found[name] != listed[name]]
    spared = (".prof",) if whole else MADE_ANEW
    missing = [name for name in listed if name not in found and not name.endswith(spared)]
    return [
        *(f"{name} was edited: its SHA-256 is not the manifest's" for name in edited),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is not in the manifest" for name in found if name not in listed),
    ]

"""Report folders: each appears complete or not at all, whenever the process is killed."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from research_lib.errors import ValidationError
from research_lib.reporting.provenance import (
    file_hashes,
    read_json,
    text_hash,
    write_json,
    write_synced,
)

WORK = ".work"
OLD = ".old"


@contextlib.contextmanager
def exclusive(reports: Path) -> Iterator[None]:
    """Hold the reports folder, after putting right what a killed process left there.

    Raises
    ------
    ValidationError
        Another process is making reports there.
    """
    work = reports / WORK
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open(
        "w"
    ) as lock:  # the system lets it go when its process ends, however it ends
        try:
            _hold(lock)
        except (BlockingIOError, PermissionError) as error:
            raise ValidationError(
                f"another process is making reports in {reports}; wait for it, or stop it"
            ) from error
        _heal(reports)
        yield


def _hold(lock: IO[str]) -> None:
    """Take a file for this process alone, or raise at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _heal(reports: Path) -> None:
    """Bring back a report that was moved aside for one that never came; drop what is unfinished."""
    for left in (reports / WORK).iterdir():
        target = reports / left.name.removesuffix(OLD)
        if left.suffix == OLD and not target.exists():
            left.replace(target)
        elif left.is_dir():
            shutil.rmtree(left)


def place(
    reports: Path, name: str, files: Mapping[str, bytes], manifest: Mapping[str, Any]
) -> Path:
    """Put a whole report in place of the one before.

    Parameters
    ----------
    reports : Path
    name : str
        Of the run, and of its folder.
    files : mapping of path to bytes
        All files of the report but its manifest.
    manifest : mapping
        Gets `outputs`, the hash of each file, and `seal`, the hash of itself.

    Returns
    -------
    Path
        The report's folder.
    """
    work = reports / WORK / name
    work.mkdir()
    for path, content in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        write_synced(work / path, content)
    sealed = {**manifest, "outputs": file_hashes(work)}
    write_json(work / "manifest.json", {**sealed, "seal": text_hash(sealed)})
    target, old = reports / name, reports / WORK / f"{name}{OLD}"
    if target.exists():
        target.replace(old)
    work.replace(
        target
    )  # between the two lines nothing is half-written: `_heal` brings the old one back
    shutil.rmtree(old, ignore_errors=True)
    return target


def read_manifest(folder: Path) -> dict[str, Any]:
    """A report's manifest, with all that this version puts there.

    Raises
    ------
    ValidationError
        It is damaged, or an older version made it.
    """
    manifest = read_json(folder / "manifest.json")
    parts = [
        manifest.get("configuration"),
        manifest.get("sections", {}),
        manifest.get("outputs", {}),
    ]
    if not all(isinstance(part, dict) for part in parts):
        raise ValidationError("manifest.json is damaged; make the report again")
    configuration, sections, _ = parts
    records = all(
        isinstance(one, dict) and one.keys() >= {"inputs", "files", "run"}
        for one in sections.values()
    )
    whole = manifest.keys() >= {"sections", "outputs", "seal"}
    if not (records and whole and configuration.keys() >= {"name", "source", "parameters"}):
        raise ValidationError("manifest.json was made by an older version; make the report again")
    return manifest


def spoilt(folder: Path) -> list[str]:
    """What in a report is not as its manifest says: one line for each file that was edited, lost or added."""
    path = folder / "manifest.json"
    if not path.is_file():
        return ["manifest.json is missing"]
    try:
        manifest = read_manifest(folder)
    except ValidationError as error:
        return [str(error)]
    listed, seal, name = (
        manifest["outputs"],
        manifest.pop("seal"),
        manifest["configuration"]["name"],
    )
    found = file_hashes(folder)
    culprits = (
        []
        if seal == text_hash(manifest)
        else ["manifest.json was edited: its seal is of other contents"]
    )
    if name != folder.name:
        culprits.append(f"manifest.json is of report {name}, copied or renamed to {folder.name}")
    culprits += [f"{name} is missing" for name in listed if name not in found]
    culprits += [f"{name} is not in the manifest" for name in found if name not in listed]
    culprits += [
        f"{name} was edited: its SHA-256 is {found[name][:12]}, the manifest's {listed[name][:12]}"
        for name in listed
        if name in found and found[name] != listed[name]
    ]
    return culprits


def note_failure(reports: Path, name: str, failure: Mapping[str, Any], text: str) -> None:
    """Leave failure.md and failure.json, beside the last good report where there is one."""
    folder = reports / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "failure.json", failure)
    part = folder / ".failure.md.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / "failure.md")


def forget_failure(reports: Path, name: str) -> None:
    """Remove the notes of a failure that no longer holds."""
    for file in ("failure.md", "failure.json"):
        (reports / name / file).unlink(missing_ok=True)

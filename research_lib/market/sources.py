"""What is converted: the files of a source, and the record of those that were converted before."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_lib.errors import ValidationError
from research_lib.market.partitions import origins
from research_lib.market.readers import format_of, known_format, lean, lobster, store
from research_lib.market.readers.pairs import READ_ALONG, kind_of, partner_of
from research_lib.market.sessions import Session

logger = logging.getLogger(__name__)

SOURCES_FOLDER = "_sources"
UNFINISHED_PREFIX = "_unfinished-"
PAIRED_FORMATS = (lobster.NAME, lean.NAME)


def source_files(source: Path, root: Path | None = None) -> list[Path]:
    """The files of books to convert or read, sorted; those below `root` are left out."""
    if store.matches(source, b""):
        raise ValidationError(
            f"{source} is a folder made by convert already; read it by read_books"
        )
    if not source.is_dir():
        format_of(source)
        return [leading(source)]
    inside = [
        path for path in source.rglob("*") if path.is_file() and root not in path.resolve().parents
    ]
    found = sorted({leading(path) for path in inside if _is_known(path)})
    if not found:
        raise ValidationError(
            f"{source} holds no file of a known format; give one file, and the error says why"
        )
    return found


def _is_known(path: Path) -> bool:
    if not path.stat().st_size or (not _is_damaged(path) and known_format(path)[0] is None):
        logger.warning("not converted, since of no known format: %s", path)
        return False
    if _is_read_along(path) and partner_of(path) is None:
        logger.warning(
            "not converted, since the file of books that belongs to it is not there: %s", path
        )
        return False
    return True


def leading(path: Path) -> Path:
    """The file of books of the pair that `path` belongs to: LOBSTER's orderbook, Lean's quotes; else itself."""
    partner = partner_of(path)
    return partner if partner is not None and _is_read_along(path) else path


def _is_read_along(path: Path) -> bool:
    """Whether a file has no books of its own: LOBSTER's messages, Lean's trades."""
    return (
        kind_of(path) in READ_ALONG
        and not _is_damaged(path)
        and format_of(path).NAME in PAIRED_FORMATS
    )


def _is_damaged(path: Path) -> bool:
    """Whether a file's first bytes cannot be read; reading it then says why, and others are not held up."""
    try:
        known_format(path)
    except ValidationError:
        return True
    return False


@dataclass(frozen=True)
class Source:
    """A file, with the one read along with it, as it was when it was converted, and under which session."""

    path: str
    size: int
    modified_ns: int
    session: str

    @classmethod
    def of(cls, path: Path, session: Session) -> Source:
        """The record of a file, with its partner's size and time, read under `session`."""
        read = [file.stat() for file in (path, partner_of(path)) if file is not None]
        size, modified = (
            sum(status.st_size for status in read),
            max(status.st_mtime_ns for status in read),
        )
        return cls(str(path.resolve()), size, modified, session.hours)

    @property
    def key(self) -> str:
        """A name for the file's record, the same whatever its content."""
        return f"{Path(self.path).name}-{hashlib.sha256(self.path.encode()).hexdigest()[:12]}"

    def finished(self, root: Path) -> list[Path]:
        """The partitions of this source if all of it is converted and still there, else none."""
        record = self.record(root)
        before = record.get("source", {})
        self.refuse_other_session(before, root)
        partitions = [root / name for name in record.get("partitions", [])]
        same = before == vars(self) and all(vars(self) in origins(path) for path in partitions)
        return partitions if same else []

    def refuse_other_session(self, before: dict[str, Any], root: Path) -> None:
        """Raise ValidationError if `before`, what is known of an earlier conversion, had another session."""
        if before and before["session"] != self.session:
            raise ValidationError(
                f"{before['path']} was converted into {root} with session {before['session']}, not {self.session}; "
                "use that session or another destination"
            )

    def record(self, root: Path) -> dict[str, Any]:
        """What was written when a conversion of this file ended, {} if none did."""
        path = self._record_path(root)
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, UnicodeDecodeError) as error:
            raise ValidationError(
                f"{path} is damaged ({error}); delete it and convert again"
            ) from error

    def write_record(self, root: Path, partitions: list[Path]) -> None:
        """Record that all of the source is converted; at once or not at all."""
        names = [path.relative_to(root).as_posix() for path in partitions]
        unfinished = root / f"{UNFINISHED_PREFIX}{self.key}.json"
        unfinished.write_text(
            json.dumps({"source": vars(self), "partitions": names}, indent=1), encoding="utf-8"
        )
        os.replace(unfinished, self._record_path(root))

    def _record_path(self, root: Path) -> Path:
        return root / SOURCES_FOLDER / f"{self.key}.json"

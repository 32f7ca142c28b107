"""The log of an order, which is its state: what is written there was done, and nothing else."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.reporting.manifest import plain

BEGINS = b'{"kind": "order"'  # every journal; no other file is written to


class Journal(AbstractContextManager["Journal"]):
    """JSON lines appended to a file and brought to the disk; one process at a time.

    Parameters
    ----------
    path : path
        Begun where there is no such file.

    Attributes
    ----------
    records : list of mapping
        Those of earlier processes; a line that one of them did not finish is cut off.

    Raises
    ------
    ValidationError
        Another process writes to the file, it is no journal, or a line is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "order.jsonl")
    >>> with Journal(path) as journal:
    ...     journal.write({"kind": "order", "shares": 100.0, "limit_price": float("nan")})
    >>> with Journal(path) as journal:
    ...     journal.records
    [{'kind': 'order', 'shares': 100.0, 'limit_price': None}]
    """

    def __init__(self, path: str | Path) -> None:
        from locket import LockError, lock_file

        self.path = Path(path)
        self._file = self.path.open("ab+")
        self._file.seek(0)
        if not BEGINS.startswith(self._file.read(len(BEGINS))):
            self._file.close()
            raise ValidationError(f"{path} is no journal of an order; name another file")
        self._lock = lock_file(f"{path}.lock", timeout=0)
        try:
            self._lock.acquire()
        except LockError as error:
            self._file.close()
            raise ValidationError(f"{path} is in use; end the process that works on it") from error
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        try:
            self.records: list[Json] = [json.loads(one) for one in content[:whole].splitlines()]
        except ValueError as error:
            self.close()
            raise ValidationError(f"{path} is damaged: {error}; move it away") from error
        self._file.truncate(whole)
        if not content:  # the name of a new file is brought to the disk, too
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def write(self, *records: Json, sync: bool = True) -> None:
        """Append them at once; with `sync` they are on the disk when this returns."""
        self._file.write(b"".join(line(one).encode() + b"\n" for one in records))
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Leave the file to others; a second time does nothing."""
        if not self._file.closed:
            self._file.close()
            self._lock.release()

    def __exit__(self, *raised: object) -> None:
        self.close()


def line(record: Json) -> str:
    """A record as JSON, numbers to their last bit; what is not finite becomes null."""
    return json.dumps(plain(record), allow_nan=False)

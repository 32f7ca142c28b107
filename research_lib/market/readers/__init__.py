"""Vendors' files, as they come, to `BookSnapshots`.

Each format is a module with

- ``NAME``: what a user calls it;
- ``matches(path, head)``: whether the file, whose first decompressed bytes are `head`, is of it;
- ``batches(path, batch_rows, session)``: its books and trades, in file order, `batch_rows`
  snapshots at a time, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from research_lib.config import number
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.quality import QualityPolicy
from research_lib.market.readers.source import head
from research_lib.market.sessions import Session

FORMATS = ("store", "databento_dbn", "databento", "lobster", "binance", "lean", "frames")
FLAGGING = ("databento_dbn", "databento", "frames")  # their `batches` take flag_non_finite
WHOLE_FILE_ROWS = 500_000


def read_books(
    path: str | Path, *, session: Session | None = None, policy: QualityPolicy | None = None
) -> BookSnapshots:
    """Read all books of one file, its format found by content.

    Known are Databento MBP-10 and MBP-1 (CSV, CSV.gz, CSV.zst, Parquet, DBN, DBN.zst),
    LOBSTER message and orderbook pairs, Binance depth recordings, Lean level-1 quote zips,
    long and wide frames as CSV or Parquet, and folders made by `convert`.

    Parameters
    ----------
    path : path
        One file; for LOBSTER either of its two; or a folder made by `convert`.
    session : Session, optional
        Whose opening cross and dates count; 09:30-16:00 America/New_York by default.
    policy : QualityPolicy, optional
        Of its kinds only `non_finite` is a matter of reading: "raise", the default, refuses a
        file with a level whose price or size is no number; else such levels are emptied and
        their states flagged, for `assess` to count and to drop or keep. Databento records and
        frames can be flagged; the other formats have no empty numbers, and refuse them.

    Returns
    -------
    BookSnapshots
        With `trades` where the format has them.

    Raises
    ------
    MissingDataError
        A path that does not exist.
    ValidationError
        An unknown format, or content that is damaged: names file, row and column.
    """
    parts = list(iter_books(path, WHOLE_FILE_ROWS, session=session, policy=policy))
    return parts[0] if len(parts) == 1 else BookSnapshots.concat(parts)


def iter_books(
    paths: str | Path | Iterable[str | Path],
    batch_rows: int = 100_000,
    *,
    session: Session | None = None,
    policy: QualityPolicy | None = None,
) -> Iterator[BookSnapshots]:
    """The books of files one after the other, `batch_rows` snapshots at a time.

    Memory is bounded by the batch, not by the files. The last batch of a file may be
    smaller; formats that must look ahead (an opening cross) may make one larger. `session`
    and `policy` are those of `read_books`.

    Raises
    ------
    MissingDataError, ValidationError
        As `read_books`, when the file at fault is reached; files of two symbols, or not in
        time order. Each file's opening cross is looked for in that file.
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    flag = (policy or QualityPolicy()).non_finite != "raise"
    before: BookSnapshots | None = None
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        file = Path(path)
        module = format_of(file)
        options = {"flag_non_finite": True} if flag and module.__name__.rpartition(".")[2] in FLAGGING else {}
        for batch in module.batches(file, rows, session or Session(), **options):
            refuse_disorder(before, batch)
            before = batch if len(batch) else before
            yield batch


def refuse_disorder(before: BookSnapshots | None, batch: BookSnapshots) -> None:
    """Raise ValidationError where `batch` is of another symbol than the one before it, or starts before that ends."""
    if before is None or not len(batch):
        return
    if batch.symbol != before.symbol:
        raise ValidationError(f"batches of 2 symbols ({before.symbol}, {batch.symbol}); read one at a time")
    if batch.time[0] < before.time[-1]:
        raise ValidationError(
            f"time runs backwards from one batch to the next ({batch.time[0]} after {before.time[-1]} ns); "
            "give files and batches in time order"
        )


def format_of(path: Path) -> Any:
    """The module that reads `path`.

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If no format matches; names the known ones and how the file begins.
    """
    module, start = known_format(path)
    if module is None:
        names = ", ".join(known.NAME for known in _modules())
        raise ValidationError(f"{path} is of no known format (it begins {start[:60]!r}); known are {names}")
    return module


def known_format(path: Path) -> tuple[Any | None, bytes]:
    """The module that reads `path`, None where there is none, and the first bytes of its content (a folder has none).

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If the file is empty or cannot be decompressed.
    """
    if not path.exists():
        raise MissingDataError(f"{path} does not exist; check the path or set RESEARCH_DATA")
    start = head(path) if path.is_file() else b""
    return next((module for module in _modules() if module.matches(path, start)), None), start


def _modules() -> list[Any]:
    return [import_module(f"research_lib.market.readers.{name}") for name in FORMATS]

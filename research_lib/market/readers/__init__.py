"""Vendors' files, as they come, to `BookSnapshots`.

Each format is a module with

- ``NAME``: what a user calls it;
- ``matches(path, head)``: whether the file, whose first decompressed bytes are `head`, is of it;
- ``batches(path, batch_rows, session)``: its books and trades, in file order, `batch_rows`
  snapshots at a time, in bounded memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from research_lib.checks import number
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.quality import QualityPolicy
from research_lib.market.readers import cells, store
from research_lib.market.readers.source import first_lines, missing
from research_lib.market.sessions import Session
from research_lib.market.user_frames import WANTED, likely_renames
from research_lib.monitoring import timed

FORMATS = ("store", "databento_dbn", "databento", "lobster", "binance", "lean", "frames")
FLAGGING = ("databento_dbn", "databento", "frames")  # their `batches` take flag_non_finite
WHOLE_FILE_ROWS = 500_000


@timed("read_books")
def read_books(
    path: str | Path,
    *,
    session: Session | None = None,
    policy: QualityPolicy | None = None,
    symbol: str = "",
    columns: Mapping[str, str] | None = None,
) -> BookSnapshots:
    """Read all books of one file, its format found by content.

    Known are Databento MBP-10 and MBP-1 (CSV, CSV.gz, CSV.zst, Parquet, DBN, DBN.zst),
    LOBSTER message and orderbook pairs, Binance depth recordings, Lean level-1 quote zips,
    long and wide frames as CSV or Parquet, and folders made by `convert`. A DataFrame goes to
    `BookSnapshots.from_frame`.

    Parameters
    ----------
    path : path
        One file; for LOBSTER either of its two; a folder made by `convert`; or, read one
        after the other in the order of their names, the files of any other folder or of a
        pattern such as "2025-04-*.csv".
    session : Session, optional
        Whose opening cross and dates count; 09:30-16:00 America/New_York by default.
    policy : QualityPolicy, optional
        Of its kinds only `non_finite` is a matter of reading: "raise", the default, refuses a
        file with a level whose price or size is no number; else such levels are emptied and
        their states flagged, for `assess` to count and to drop or keep. Databento records and
        frames can be flagged; the other formats have no empty numbers, and refuse them.
    symbol : str
        Names the books of a source that does not.
    columns : mapping of str to str, optional
        Of a long or wide frame with other names: {"BidPx1": "bid_price_1", ...}.

    Returns
    -------
    BookSnapshots
        With `trades` where the format has them.

    Raises
    ------
    MissingDataError
        A path that does not exist.
    ValidationError
        An unknown format, or content that is damaged: names file, row and column; a source
        of another symbol than `symbol`.
    """
    parts = list(
        iter_books(
            path, WHOLE_FILE_ROWS, session=session, policy=policy, symbol=symbol, columns=columns
        )
    )
    return parts[0] if len(parts) == 1 else BookSnapshots.concat(parts)


def iter_books(
    paths: str | Path | Iterable[str | Path],
    batch_rows: int = 100_000,
    *,
    session: Session | None = None,
    policy: QualityPolicy | None = None,
    symbol: str = "",
    columns: Mapping[str, str] | None = None,
) -> Iterator[BookSnapshots]:
    """The books of files one after the other, `batch_rows` snapshots at a time.

    Memory is bounded by the batch, not by the files. The last batch of a file may be
    smaller; formats that must look ahead (an opening cross) may make one larger. `paths` is
    one or more of what `read_books` takes; the other arguments are those of `read_books`.

    Raises
    ------
    MissingDataError, ValidationError
        As `read_books`, when the file at fault is reached; files of two symbols, or not in
        time order. Each file's opening cross is looked for in that file.
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    flag = (policy or QualityPolicy()).non_finite != "raise"
    before: tuple[BookSnapshots, Path] | None = None
    for file in _files(paths, columns):
        module: Any = import_module(f"{__name__}.frames") if columns else format_of(file)
        options: dict[str, Any] = {"columns": columns} if columns else {}
        if flag and module.__name__.rpartition(".")[2] in FLAGGING:
            options["flag_non_finite"] = True
        for batch in module.batches(file, rows, session or Session(), **options):
            books = named(batch, symbol, file)
            if before is not None:
                refuse_disorder(before[0], books, f" from {before[1]} to {file}")
            before = (books.take([-1]), file) if len(books) else before
            yield books


def _files(paths: Any, columns: Mapping[str, str] | None) -> Iterator[Path]:
    """The files that are meant, and folders made by convert; those of a folder or a pattern sorted by name."""
    if isinstance(paths, pd.DataFrame):
        raise ValidationError(
            "books are read from files; make them of a DataFrame by BookSnapshots.from_frame(frame)"
        )
    from research_lib.market.sources import leading, source_files

    for path in [Path(paths)] if isinstance(paths, (str, Path)) else map(Path, paths):
        if not path.exists() and has_magic(str(path)):
            found = sorted(map(Path, glob(str(path), recursive=True)))
            if not found:
                raise MissingDataError(f"no file matches {path}; check the pattern")
            yield from found if columns else dict.fromkeys(map(leading, found))
        elif path.is_dir() and known_format(path)[0] is None:
            yield from (
                sorted(filter(Path.is_file, path.iterdir())) if columns else source_files(path)
            )
        else:
            yield path


def named(books: BookSnapshots, symbol: str, source: Path) -> BookSnapshots:
    """The books under the symbol given, where there is one and their source names none.

    Raises
    ------
    ValidationError
        Where the source names another.
    """
    if not symbol or books.symbol == symbol:
        return books
    if books.symbol:
        raise ValidationError(
            f"{source} holds {books.symbol}, not {symbol}; leave symbol out, or read another file"
        )
    trades = None if books.trades is None else dataclasses.replace(books.trades, symbol=symbol)
    return dataclasses.replace(books, symbol=symbol, trades=trades)


def refuse_disorder(
    before: BookSnapshots | None, batch: BookSnapshots, where: str = " from one batch to the next"
) -> None:
    """Raise ValidationError where `batch` is of another symbol than the one before it, or starts before that ends."""
    if before is None or not len(batch):
        return
    if batch.symbol != before.symbol:
        raise ValidationError(
            f"batches of 2 symbols ({before.symbol}, {batch.symbol}){where}; read one at a time"
        )
    if batch.time[0] < before.time[-1]:
        raise ValidationError(
            f"time runs backwards{where} ({pd.Timestamp(batch.time[0])}Z after {pd.Timestamp(before.time[-1])}Z); "
            "give files and batches in time order"
        )


def format_of(path: Path) -> Any:
    """The module that reads `path`.

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If no format matches; names the known ones, how the file begins, and which of its
        columns were probably meant to be which.
    """
    module, start = known_format(path)
    if module is None:
        raise _unknown(path, start)
    return module


def _unknown(path: Path, start: bytes) -> ValidationError:
    if path.suffix == ".parquet" and path.resolve().parent.name.startswith(store.DATE_PREFIX):
        return ValidationError(
            f"{path} is part of a folder made by convert; give that folder, {path.parent}"
        )
    known = ", ".join(known.NAME for known in _modules())
    began = f"it begins {start[:60]!r}" if path.is_file() else "it is a folder"
    message = f"{path} is of no known format ({began}); known are {known}"
    names = sorted(cells.guessed_names(path, start)) if start else []
    renames = likely_renames(names)
    if renames:
        message += f"; perhaps its columns are meant so: read_books(path, columns={renames})"
    return ValidationError(
        f"{message}; a frame of your own has columns {WANTED}" if len(names) > 1 else message
    )


def known_format(path: Path) -> tuple[Any | None, bytes]:
    """The module that reads `path`, None where there is none, and how its content begins (a folder has none).

    That is 8 KiB, and more where its first line, which may be a header of many columns, is longer.

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If the file is empty or cannot be decompressed.
    """
    if not path.exists():
        raise missing(path)
    start = first_lines(path, 1) if path.is_file() else b""
    return next((module for module in _modules() if module.matches(path, start)), None), start


def _modules() -> list[Any]:
    return [import_module(f"research_lib.market.readers.{name}") for name in FORMATS]

"""Vendors' files, as they come, to `BookSnapshots`.

A table with one snapshot a row is an entry of `layouts.LAYOUTS`: about ten lines. Any other
format is a module with

- ``NAME``: what a user calls it; ``TAKES``: which arguments of `read_books` apply to it;
- ``matches(path, head)``: whether the file, whose first decompressed bytes are `head`, is of it;
- ``batches(path, batch_rows, options)``: its books and trades, in file order, `batch_rows`
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
from research_lib.market.book import BookSnapshots, refuse_disorder
from research_lib.market.quality import QualityPolicy
from research_lib.market.readers import store
from research_lib.market.readers.frames import WANTED, likely_renames
from research_lib.market.readers.pairs import READ_ALONG, kind_of, partner_of
from research_lib.market.readers.tabular import Options, guessed_names, head, missing
from research_lib.market.sessions import Session
from research_lib.monitoring import timed

FORMATS = ("store", "databento", "lobster", "binance", "lean", "frames")
WHOLE_FILE_ROWS = 500_000


@timed("read_books")
def read_books(
    path: str | Path | Iterable[str | Path],
    *,
    session: Session | None = None,
    policy: QualityPolicy | None = None,
    symbol: str = "",
    columns: Mapping[str, str] | None = None,
    timezone: str | None = None,
    time_unit: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> BookSnapshots:
    """Read all books of one file, its format found by content.

    Known are Databento MBP-10, MBP-1 (CSV, CSV.gz, CSV.zst, Parquet, DBN, DBN.zst) and BBO,
    LOBSTER message and orderbook pairs, Binance depth recordings, Lean level-1 quote zips,
    Tardis book snapshots, long and wide frames as CSV or Parquet, and folders made by `convert`.
    A DataFrame goes to `BookSnapshots.from_frame`.

    Parameters
    ----------
    path : path or paths
        One file; for LOBSTER either of its two; a folder made by `convert`; or, read one
        after the other, several files, those of any other folder or of a pattern such as
        "2025-04-*.csv" in the order of their names.
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
    timezone : str, optional
        Of the times of a frame that name none, e.g. "America/New_York".
    time_unit : {"s", "ms", "us", "ns"}, optional
        Of the times of a frame that are numbers; nanoseconds by default.
    where : mapping of column to value or list of values, optional
        Only rows that hold these: one instrument, venue or publisher of a file of several,
        {"publisher_id": 39}.

    Returns
    -------
    BookSnapshots
        With `trades` where the format has them.

    Raises
    ------
    MissingDataError
        A path that does not exist.
    ValidationError
        An unknown format, or content that is damaged: names file, row and column; rows of two
        symbols, venues, products or publishers; a source of another symbol than `symbol`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "own.csv")
    >>> header = "t,bid_price_1,bid_size_1,ask_price_1,ask_size_1"
    >>> _ = path.write_text(header + "\\n1743688800000,10.00,300,10.02,200\\n")
    >>> read_books(path, columns={"t": "time"}, time_unit="ms", symbol="XYZ")
    BookSnapshots('XYZ', 1 snapshots x 1 levels)
    """
    parts = list(
        iter_books(
            path, WHOLE_FILE_ROWS, session=session, policy=policy, symbol=symbol, columns=columns,
            timezone=timezone, time_unit=time_unit, where=where,
        )
    )  # fmt: skip
    return parts[0] if len(parts) == 1 else BookSnapshots.concat(parts)


def iter_books(
    paths: str | Path | Iterable[str | Path],
    batch_rows: int = 100_000,
    *,
    session: Session | None = None,
    policy: QualityPolicy | None = None,
    symbol: str = "",
    columns: Mapping[str, str] | None = None,
    timezone: str | None = None,
    time_unit: str | None = None,
    where: Mapping[str, Any] | None = None,
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

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "own.csv")
    >>> header = "time,bid_price_1,bid_size_1,ask_price_1,ask_size_1"
    >>> rows = [f"2025-04-03T14:00:0{i}Z,10.00,300,10.02,200" for i in range(3)]
    >>> _ = path.write_text("\\n".join([header, *rows]) + "\\n")
    >>> [len(books) for books in iter_books(path, 2)]
    [2, 1]
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    flag = (policy or QualityPolicy()).non_finite != "raise"
    options = Options(
        session or Session(), flag, columns or {}, timezone, time_unit, where or {}
    )  # fmt: skip
    before: tuple[BookSnapshots, Path] | None = None
    for file in _files(paths, options):
        for books in batches_of(file, rows, options, symbol):
            if before is not None:
                refuse_disorder(before[0], books, f" from {before[1]} to {file}")
            before = (books.take([-1]), file) if len(books) else before
            yield books


def batches_of(
    file: Path, batch_rows: int, options: Options, symbol: str = ""
) -> Iterator[BookSnapshots]:
    """Books of one file, under the symbol given where the file names none.

    Raises
    ------
    ValidationError
        An option that does not apply to the file's format; another symbol than `symbol`.
    """
    module: Any = import_module(f"{__name__}.frames") if options.columns else format_of(file)
    for name in ("columns", "timezone", "time_unit", "where"):
        if getattr(options, name) and name not in module.TAKES:
            raise ValidationError(f"{name} does not apply to {file}, a {module.NAME}; leave it out")
    for batch in module.batches(file, batch_rows, options):
        yield _named(batch, symbol, file)


def _files(paths: Any, options: Options) -> Iterator[Path]:
    """The files that are meant, and folders made by convert; those of a folder sorted by name."""
    if isinstance(paths, pd.DataFrame):
        raise ValidationError(
            "books are read from files; make them of a DataFrame by BookSnapshots.from_frame(frame)"
        )
    for path in [Path(paths)] if isinstance(paths, (str, Path)) else map(Path, paths):
        if not path.exists() and has_magic(str(path)):
            found = sorted(map(Path, glob(str(path), recursive=True)))
            if not found:
                raise MissingDataError(f"no file matches {path}; check the pattern")
            yield from found if options.columns else dict.fromkeys(map(leading, found))
        elif not path.is_dir() or known_format(path)[0] is not None:
            yield path
        elif options.columns:
            yield from sorted(filter(Path.is_file, path.iterdir()))
        else:
            from research_lib.market.convert import source_files

            yield from source_files(path)


def leading(path: Path) -> Path:
    """The file of books of the pair that `path` belongs to: LOBSTER's orderbook, Lean's quotes."""
    partner = partner_of(path)
    return partner if partner is not None and is_read_along(path) else path


def is_read_along(path: Path) -> bool:
    """Whether a file has no books of its own: LOBSTER's messages, Lean's trades."""
    if kind_of(path) not in READ_ALONG:
        return False
    try:
        module = known_format(path)[0]
    except ValidationError:  # damaged: reading it says why, and others are not held up
        return False
    return module is not None and module.__name__.endswith((".lobster", ".lean"))


def _named(books: BookSnapshots, symbol: str, source: Path) -> BookSnapshots:
    """The books under the symbol given; refused where their source names another."""
    if not symbol or books.symbol == symbol:
        return books
    if books.symbol:
        raise ValidationError(
            f"{source} holds {books.symbol}, not {symbol}; leave symbol out, or read another file"
        )
    trades = None if books.trades is None else dataclasses.replace(books.trades, symbol=symbol)
    return dataclasses.replace(books, symbol=symbol, trades=trades)


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
    if module is not None:
        return module
    if path.suffix == ".parquet" and path.resolve().parent.name.startswith(store.DATE_PREFIX):
        raise ValidationError(
            f"{path} is part of a folder made by convert; give that folder, {path.parent}"
        )
    known = ", ".join(known.NAME for known in _modules())
    began = f"it begins {start[:60]!r}" if path.is_file() else "it is a folder"
    message = f"{path} is of no known format ({began}); known are {known}"
    names = sorted(guessed_names(path, start)) if start else []
    renames = likely_renames(names)
    if renames:
        message += f"; perhaps its columns are meant so: read_books(path, columns={renames})"
    wanted = f"; a frame of your own has columns {WANTED}" if len(names) > 1 else ""
    raise ValidationError(message + wanted)


def known_format(path: Path) -> tuple[Any | None, bytes]:
    """The module that reads `path`, None without one, and how it begins (a folder has nothing).

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If the file is empty or cannot be decompressed.
    """
    if not path.exists():
        raise missing(path)
    start = head(path) if path.is_file() else b""
    return next((module for module in _modules() if module.matches(path, start)), None), start


def _modules() -> list[Any]:
    return [import_module(f"{__name__}.{name}") for name in FORMATS]

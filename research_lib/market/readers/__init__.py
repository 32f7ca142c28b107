"""Readers of vendors' files; all return `BookSnapshots`.

A table with one snapshot a row is an entry of `frames.LAYOUTS`: about ten lines. Any other format
is a `tabular.Format` in `FORMATS`: how it is recognised, and its books and trades, in file order
and in bounded memory.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pandas as pd

from research_lib.checks import number, require_columns
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots, refuse_disorder
from research_lib.market.readers import tabular
from research_lib.market.readers.binance import BINANCE
from research_lib.market.readers.databento import DATABENTO, Paths
from research_lib.market.readers.frames import FRAMES, MBP, suggestion
from research_lib.market.readers.pairs import LEAN, LOBSTER, kind_of, partner_of
from research_lib.market.readers.store import STORE
from research_lib.market.readers.tabular import Format, Options
from research_lib.market.signs import classify_trades
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)
FORMATS = (STORE, DATABENTO, LOBSTER, BINANCE, LEAN, FRAMES)


@timed("read_books")
def read_books(path: Paths, **reading: Any) -> BookSnapshots:
    """Read all books of one file, its format found by content.

    Known are Databento MBP-10, MBP-1, MBO (CSV, CSV.gz, CSV.zst, Parquet, DBN, DBN.zst) and BBO,
    LOBSTER message and orderbook pairs, Binance depth recordings, Lean level-1 quotes (ticks, and
    bars of a minute), Tardis book snapshots and quotes, Crypto Lake books, lists of prices and
    sizes in a cell (StandX), long and wide frames as CSV or Parquet, and folders made by `convert`.
    Trades that lie beside a table of books, as trades_X beside orderbook_X, come along.
    A DataFrame goes to `BookSnapshots.from_frame`.

    Parameters
    ----------
    path : path or paths
        One file; for LOBSTER either of its two; a folder made by `convert`; or, read one
        after the other, several files, those of any other folder or of a pattern such as
        "2025-04-*.csv" in the order of their names.
    session : Session, optional
        Its open defines the opening cross, its time zone the dates; 09:30-16:00 America/New_York by
        default.
    symbol : str
        Names the books of a source that does not.
    columns : mapping of str to str, optional
        Other names of a long or wide frame's columns: {"BidPx1": "bid_price_1", ...}.
    timezone : str, optional
        Zone of a frame's times that have none, e.g. "America/New_York".
    time_unit : {"s", "ms", "us", "ns"}, optional
        Unit of a frame's times that are numbers; nanoseconds by default.
    where : mapping of column to value or list of values, optional
        Keep only rows with these values: one instrument, venue or publisher of several,
        {"publisher_id": 39}; of Lean's futures {"expiry": "201312"}.
    signs : str, optional
        Rule of `classify_trades` for the aggressors of trades that a source does not sign, by the
        books of each batch.

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
    return BookSnapshots.concat(list(iter_books(path, tabular.ALL_ROWS, **reading)))


def iter_books(paths: Paths, batch_rows: int = 100_000, **reading: Any) -> Iterator[BookSnapshots]:
    """The books of files one after the other, `batch_rows` snapshots at a time.

    Memory is bounded by the batch and not by the files; only a long table and a day of Lean's
    quotes are held whole. The last batch of a file may be smaller. `paths` is one or more of what
    `read_books` takes; `reading` are the other arguments of `read_books`.

    Raises
    ------
    MissingDataError, ValidationError
        As `read_books`, when the faulty file is reached; files of two symbols, or not in time
        order. The opening cross of each file is looked for in that file.

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
    rows, options = number("batch_rows", batch_rows, 1, integer=True), Options.of(**reading)
    before: tuple[BookSnapshots, Path] | None = None
    for file in _files(paths, options):
        for books in batches_of(file, rows, options):
            if before is not None:
                refuse_disorder(before[0], books, f" from {before[1]} to {file}")
            before = books.take([-1]), file
            yield books


def books_of_frame(frame: pd.DataFrame, symbol: str, **reading: Any) -> BookSnapshots:
    """Books of a long or a wide frame, or of Databento's events: `BookSnapshots.from_frame`."""
    require_columns(frame, (), "book frame")
    options, frame = Options.of(symbol=symbol, **reading), tabular.flat_frame(frame)
    names = list(tabular.renamed(frame, options))
    kind = DATABENTO if "action" in names and MBP.fits(names) else FRAMES
    return BookSnapshots.concat(list(batches_of(frame, tabular.ALL_ROWS, options, kind)))


def batches_of(source: Any, batch_rows: int, options: Options, kind: Any = None) -> Iterator[Any]:
    """Books of one source; where it names no symbol they get the given one.

    Raises
    ------
    ValidationError
        An option that does not apply to the source's format; another symbol than `symbol`.
    """
    kind, called = kind or (FRAMES if options.columns else format_of(source)), tabular.label(source)
    for name in ("columns", "timezone", "time_unit", "where"):
        if getattr(options, name) and name not in kind.takes:
            raise ValidationError(f"{name} does not apply to {called}, a {kind.name}; leave it out")
    for books in kind.batches(source, batch_rows, options):
        name, own = options.symbol or books.symbol, books.trades
        if books.symbol not in ("", name):
            raise ValidationError(f"{called} holds {books.symbol}, not {name}; leave symbol out")
        if name != books.symbol:
            books = replace(books, symbol=name, trades=own and replace(own, symbol=name))
        if (unsigned := books.trades) and options.signs and not unsigned.aggressor.any():
            books = replace(books, trades=classify_trades(unsigned, books, options.signs))
        yield books


def _files(paths: Any, options: Options) -> Iterator[Path]:
    """The files that are meant, and folders made by convert."""
    if isinstance(paths, pd.DataFrame):
        raise ValidationError("make books of a DataFrame by BookSnapshots.from_frame(frame)")
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        yield from [path] if STORE.matches(path, b"") else source_files(path, options)


def source_files(source: Path, options: Options, root: Path | None = None) -> list[Path]:
    """The files of books of a file, a pattern, or a folder and its subfolders, sorted.

    Those below `root` are left out. Where `options` rename columns, files of a folder whose format
    is not recognised are among them: their columns are named.
    """
    if source.is_file() or not (source.exists() or has_magic(str(source))):
        return [_leading(source, FRAMES if options.columns else format_of(source)) or source]
    inside = source.rglob("*") if source.is_dir() else map(Path, glob(str(source), recursive=True))
    found: set[Path] = set()
    for path in inside:
        if not path.is_file() or root in path.resolve().parents or not path.stat().st_size:
            continue
        try:
            kind = known_format(path) or (FRAMES if options.columns else None)
            file = kind and _leading(path, kind)
        except ValidationError:  # damaged: reading it says so
            file = path
        if file is not None:
            found.add(file)
        else:
            logger.warning(f"not read: {path} is of no known format, or its books are missing")
    if not found:
        raise MissingDataError(f"{source} holds no file of a known format; give one, to see why")
    return sorted(found)


def _leading(path: Path, kind: Format) -> Path | None:
    """The file with the books of a path: of LOBSTER's messages or Lean's trades the one beside."""
    along = kind in (LOBSTER, LEAN) and kind_of(path) in ("message", "trade")
    return partner_of(path) if along else path


def format_of(path: Path) -> Format:
    """The format of a path.

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If no format matches; names the known ones, how the file begins, and which of its
        columns were probably meant to be which.
    """
    if (found := known_format(path)) is not None:
        return found
    begins = f"{path} is of no known format (it begins {tabular.head(path)[:60]!r}); known are "
    begins += ", ".join(one.name for one in FORMATS)
    raise ValidationError(begins + suggestion(tabular.column_names(path)))


def known_format(path: Path) -> Format | None:
    """The format of a path, None without one.

    Raises
    ------
    MissingDataError
        If there is nothing at the path.
    ValidationError
        If the file is empty or cannot be decompressed.
    """
    if path.is_dir():
        return STORE if STORE.matches(path, b"") else None
    start = tabular.head(path)
    return next((one for one in FORMATS if one.matches(path, start)), None)

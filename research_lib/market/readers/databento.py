"""Databento's market-by-price records, as text, Parquet and binary (DBN), to books and trades."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.dbn import MAGIC as DBN_MAGIC
from research_lib.market.readers.layouts import LAYOUTS, MBP, Table
from research_lib.market.readers.tabular import (
    Options,
    Rows,
    column_names,
    guessed_names,
    head,
    price_limit,
)
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

logger = logging.getLogger(__name__)

NAME = "Databento MBP-10 and MBP-1 (CSV, Parquet, DBN)"
TAKES = ("where", "policy")
F_LAST, F_SNAPSHOT, F_BAD_TS_RECV = 128, 32, 8
ACTIONS = ("A", "C", "M", "R", "T", "F", "N")
AGGRESSOR = {"B": 1, "A": -1, "N": 0}
OPENING_CROSS_WITHIN_NS = 60 * 10**9
READ_ROWS = 500_000
LATE_NS = 60 * 10**9


def matches(path: Path, start: bytes) -> bool:
    """Whether a file is DBN, or has Databento's columns (also those of a schema without levels)."""
    if start.startswith(DBN_MAGIC):
        return True
    names = guessed_names(path, start)
    if "action" in names:
        return "ts_event" in names or MBP.fits(names)
    return "ts_event" in names and MBP.fits(names) and not LAYOUTS[2].fits(names)


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books and trades of one file, `batch_rows` records at a time.

    A batch may be larger where the first trade of a session is waited for, at most the records
    of the session's first minute.

    CSV and Parquet have columns by name, in any order: ts_event, action, side, flags, symbol,
    price and size (without both there are no trades), and bid_px_NN, bid_sz_NN, ask_px_NN,
    ask_sz_NN of levels 00 to L-1. Without symbol, instrument_id is it. Prices are decimals or
    integers of 1e-9 (UNDEF_PRICE: empty level); in a CSV of whole numbers the highest of the
    first prices decides, 10,000,000 or more is 1e-9.

    In DBN a record may carry a `ts_event` older than the record before (a snapshot repeats an old
    event; the feed's lines are merged by receive time). Its book is the newer state all the
    same, so it takes the greatest time so far. A record that is no snapshot and more than a
    minute older is refused: the file is damaged or out of order.

    Yields
    ------
    BookSnapshots
        Every record a state, `complete` as in `read_mbp10`, with `trades`.

    Raises
    ------
    ValidationError
        A damaged file, another schema, a missing column, a cell that cannot be, two symbols or
        instruments, times that run backwards: names file, row and column. A CSV of whole-number
        prices of which the highest is 1e6 to 1e7: ambiguous.

    References
    ----------
    Databento, "Market by price" schemas and "Databento Binary Encoding".
    """
    yield from _books_of(_records(path, batch_rows, options), options.session)


def read_mbp10(
    path_or_paths: str | Path | Iterable[str | Path], *, session: Session | None = None
) -> BookSnapshots:
    """Read Databento MBP-10 records of any encoding, every record a state of the book.

    Records keep the file's order and all are kept; `complete` marks those that may be
    sampled. Not complete are

    - records without the flag F_LAST (128): the middle of an exchange event;
    - trades of action T with an aggressor (side A or B): they show the book before the
      trade, the removal follows as its own record;
    - records of a snapshot or with a bad time (flags 32, 8);
    - records before the opening cross, taken to be the first trade of the session if it
      prints without an aggressor (side N) within its first minute.

    Parameters
    ----------
    path_or_paths : path or paths
        One file, or several of one symbol in time order.
    session : Session, optional
        Whose opening the cross belongs to; 09:30 America/New_York by default.

    Returns
    -------
    BookSnapshots
        10 levels a side (one for MBP-1); `time` is the exchange's `ts_event`. `trades` are
        the records of action T, their aggressor 1 for side B, -1 for A and 0 for N.

    Raises
    ------
    MissingDataError
        A file that does not exist.
    ValidationError
        Damaged content, which is named; files out of time order, or of two symbols.

    References
    ----------
    Databento, "Market by price" (MBP-10) schema; Nasdaq TotalView-ITCH cross trades.

    Examples
    --------
    >>> import tempfile
    >>> header = "ts_event,action,side,flags,symbol,bid_px_00,bid_sz_00,ask_px_00,ask_sz_00"
    >>> row = "2025-04-03T14:00:00Z,A,B,128,XYZ,10.00,300,10.02,200"
    >>> path = Path(tempfile.mkdtemp(), "xyz.csv")
    >>> _ = path.write_text(f"{header}\\n{row}\\n")
    >>> read_mbp10(path)
    BookSnapshots('XYZ', 1 snapshots x 1 levels)
    """
    listed = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else path_or_paths
    paths = [Path(path) for path in listed]
    if not paths:
        raise ValidationError("no file to read; give at least one path")
    options = Options(session or Session())
    names = ", ".join(path.name for path in paths)
    parts = [part for path in paths for part in _records(path, READ_ROWS, options)]
    for one, next_one in pairwise(parts):
        if next_one.books.time[0] < one.books.time[-1]:
            raise ValidationError(
                f"{names}: time runs backwards from one file to the next; give them in time order"
            )
    books = BookSnapshots.concat(list(_books_of(parts, options.session)))
    logger.info("read %s rows of %s from %s", f"{len(books):,}", books.symbol, names)
    return books


@dataclass(frozen=True, eq=False)
class _Part:
    """Records of one symbol: their books with trades, and which of them are (hidden) trades."""

    books: BookSnapshots
    traded: Bool
    hidden: Bool


def _part(
    rows: Rows,
    time: Int64,
    flags: Int64,
    codes: tuple[Int64, Int64],
    trade: tuple[Float, Float] | None,
    symbol: str,
    levels: Mapping[str, Float],
) -> _Part:
    """Records with checked levels; `codes` are positions in `ACTIONS` and in `AGGRESSOR`."""
    traded = codes[0] == ACTIONS.index("T")
    aggressor = np.array(list(AGGRESSOR.values()), np.int8)[codes[1]]
    trades = None
    if trade is not None:
        price, size = trade
        for name, values in (("price", price), ("size", size)):
            bad = traded & ~((values > 0) & (values < np.inf))
            rows.refuse(name, bad, values, "of a trade must be above 0")
        limit = price_limit(price[traded])
        rows.refuse("price", traded & (price >= limit), price, f"must be below {limit:g}")
        trades = Trades(time[traded], price[traded], size[traded], aggressor[traded], symbol)
    of_now = (flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0
    complete = ((flags & F_LAST) != 0) & of_now & ~(traded & (aggressor != 0))
    books = BookSnapshots.flagging(
        time=time, symbol=symbol, complete=complete, trades=trades, **levels
    )
    return _Part(books, traded, aggressor == 0)


def _books_of(parts: Iterable[_Part], session: Session) -> Iterator[BookSnapshots]:
    """Books and trades of each part; parts wait while an opening cross may still come.

    The flags do not depend on how the records are cut into parts: what arrives in a session's
    first minute is held back until its first trade, or the minute's end.
    """
    waiting: list[_Part] = []
    opened: dt.date | None = None
    for part in parts:
        waiting.append(part)
        last = part.books.time[-1]
        day, opening, _ = _day(last, session)
        seen = day == opened or any(
            np.any(one.traded & (one.books.time >= opening)) for one in waiting
        )
        if opening <= last < opening + OPENING_CROSS_WITHIN_NS and not seen:
            continue
        yield _joined(waiting, session, opened)
        waiting, opened = [], day if seen else opened
    if waiting:
        yield _joined(waiting, session, opened)


def _joined(parts: list[_Part], session: Session, opened: dt.date | None) -> BookSnapshots:
    """Books of all parts, not complete up to and including each session's opening cross.

    `opened` is the day whose first trade came in an earlier part.
    """
    books = BookSnapshots.concat([part.books for part in parts])
    traded, hidden = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("traded", "hidden")
    )
    before = np.zeros(len(books), bool)
    day, last = (_day(time, session)[0] for time in books.time[[0, -1]])
    while day <= last:
        opening, closing = (int(bound[0]) for bound in session.bounds([day]))
        low, high = np.searchsorted(books.time, [opening, closing])
        first = low + np.flatnonzero(traded[low:high])[:1]
        early = books.time[first] < opening + OPENING_CROSS_WITHIN_NS
        if day != opened and np.any(early & hidden[first]):
            before[low : first[0] + 1] = True
        day += dt.timedelta(days=1)
    return dataclasses.replace(books, complete=books.complete & ~before) if before.any() else books


def _day(time: np.int64, session: Session) -> tuple[dt.date, int, int]:
    """Local date of a time and that day's opening and closing, ns UTC."""
    day = session.days(np.array([time]))[0]
    opening, closing = (int(bound[0]) for bound in session.bounds([day]))
    return day, opening, closing


def _records(path: Path, batch_rows: int, options: Options) -> Iterator[_Part]:
    """Checked records of one file."""
    table, trade = _table(path, options)
    own = "symbol" if "symbol" in table.original else "instrument_id"
    is_binary = head(path).startswith(DBN_MAGIC)
    before = 0
    for rows in table.read(batch_rows, ["action", "side", "flags", *trade]):
        table.symbol(rows)
        flags = rows.integers(["flags"])[:, 0]
        time = _newest(rows, flags, before) if is_binary else table.times(rows, before)
        before = int(time[-1])
        codes = rows.codes("action", ACTIONS), rows.codes("side", tuple(AGGRESSOR))
        of_trade = None
        if trade:
            of_trade = table.prices(rows, ["price"])[:, 0], rows.numbers(["size"])[:, 0]
        yield _part(rows, time, flags, codes, of_trade, table.seen[own], table.levels(rows))


def _newest(rows: Rows, flags: Int64, before: int) -> Int64:
    """The greatest `ts_event` so far, (n,) ns UTC; one that is far older is an error."""
    event = rows.times("ts_event")
    newest = np.maximum.accumulate(np.append(np.int64(before), event))[1:]
    of_now = (flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0
    time = np.where(of_now & (newest - event > LATE_NS), event, newest)
    rows.refuse_backwards("ts_event", time, before)
    return time


def _table(path: Path, options: Options) -> tuple[Table, list[str]]:
    """The columns of a file with events, and those of its trades; other schemas are refused."""
    names = column_names(path)
    n_levels = MBP.depth(names)
    if not n_levels:
        raise ValidationError(
            f"{path} lacks column bid_px_00: it holds no levels; fetch schema mbp-10 or mbp-1 "
            f"(it has {', '.join(names[:8])}, ...)"
        )
    trade = ["price", "size"] if {"price", "size"} & set(names) else []
    symbol = "instrument_id" if "instrument_id" in names else "symbol"
    wanted = ["ts_event", "action", "side", "flags", symbol, *trade, *MBP.columns(n_levels)]
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValidationError(
            f"{path} is not MBP-{n_levels}: it lacks column {', '.join(absent[:5])} "
            f"({len(absent)} in all)"
        )
    table = Table.of(path, options, MBP)
    if not head(path).startswith(DBN_MAGIC):
        actions = next(table.only(1_000, ["action"])).text("action")
        if actions.unique().to_pylist() == ["T"]:
            raise ValidationError(
                f"{path} is of schema tbbo: every record is a trade with the book before it, and "
                "none shows a book that stands; fetch schema mbp-1 or bbo-1s"
            )
    return table, trade

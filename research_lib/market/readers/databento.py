"""Databento's market-by-price records, as text, Parquet and binary (DBN), to books and trades."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.frames import MBP
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

F_LAST, F_SNAPSHOT, F_BAD_TS_RECV = 128, 32, 8
ACTIONS = ("A", "C", "M", "R", "T", "F", "N")
AGGRESSOR = {"B": 1, "A": -1, "N": 0}
OPENING_CROSS_WITHIN_NS = 60 * 10**9
READ_ROWS = 500_000


def _matches(path: Path, start: bytes) -> bool:
    """Whether a file has Databento's columns (also those of a schema without levels)."""
    names = tabular.column_names(path)
    of_events = "action" in names and (MBP.fits(names) or "ts_event" in names)
    return of_events or ("ts_event" in names and MBP.fits(names) and "ts_recv" not in names)


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
    paths = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else path_or_paths
    options = tabular.Options.of(session=session)
    parts = [part for path in paths for part in batches(Path(path), READ_ROWS, options)]
    return BookSnapshots.concat(parts)


@dataclass(frozen=True, eq=False)
class _Part:
    """Records of one symbol: their books with trades, and which of them are (hidden) trades."""

    books: BookSnapshots
    traded: tabular.Bool
    hidden: tabular.Bool


def batches(path: Path, batch_rows: int, options: tabular.Options) -> Iterator[BookSnapshots]:
    """Books and trades of one file, `batch_rows` records at a time, `complete` as `read_mbp10`.

    A batch may be larger where the first trade of a session is waited for, at most the records
    of the session's first minute.

    CSV and Parquet have columns by name, in any order: ts_event, action, side, flags, symbol (or
    instrument_id), price and size (without both there are no trades), and bid_px_NN, bid_sz_NN,
    ask_px_NN, ask_sz_NN of levels 00 to L-1. Prices are decimals, or integers of 1e-9.

    A record of a snapshot, or with a bad time, may carry a `ts_event` older than the record before.
    Its book is the newer state all the same, so it takes the greatest time so far.

    References
    ----------
    Databento, "Market by price" schemas and "Databento Binary Encoding".
    """
    waiting: list[_Part] = []
    opened = None
    for part in _records(path, batch_rows, options):
        waiting.append(part)
        last = part.books.time[-1]
        day = options.session.days(np.array([last]))[0]
        opening = int(options.session.bounds([day])[0][0])
        traded = (np.any(one.traded & (one.books.time >= opening)) for one in waiting)
        seen = day == opened or any(traded)
        # What arrives in a session's first minute waits for its first trade, or the minute's end.
        if seen or not opening <= last < opening + OPENING_CROSS_WITHIN_NS:
            yield _joined(waiting, options.session, opened)
            waiting, opened = [], day if seen else opened
    if waiting:
        yield _joined(waiting, options.session, opened)


def _joined(parts: list[_Part], session: Session, opened: object) -> BookSnapshots:
    """Books of all parts, not complete up to and including each session's opening cross.

    `opened` is the day whose first trade came in an earlier part.
    """
    books = BookSnapshots.concat([part.books for part in parts])
    traded, hidden = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("traded", "hidden")
    )
    complete = books.complete.copy()
    for day in np.unique(session.days(books.time)):
        opening, closing = (int(bound[0]) for bound in session.bounds([day]))
        low, high = np.searchsorted(books.time, [opening, closing])
        first = low + np.flatnonzero(traded[low:high])[:1]
        early = books.time[first] < opening + OPENING_CROSS_WITHIN_NS
        if day != opened and np.any(early & hidden[first]):
            complete[low : first[0] + 1] = False
    return dataclasses.replace(books, complete=complete)


def _records(path: Path, batch_rows: int, options: tabular.Options) -> Iterator[_Part]:
    """Checked records of one file."""
    names = tabular.column_names(path)
    n_levels, of_trade = MBP.depth(names), [name for name in ("price", "size") if name in names]
    if not n_levels:
        raise ValidationError(
            f"{path} lacks column bid_px_00: it holds no levels; fetch schema mbp-10 or mbp-1"
        )
    ids = tabular.identities(names) or ["symbol"]
    peek = ["action", *ids, *MBP.columns(1)]
    first = next(tabular.read(path, peek, 1_000, tabular.Options()))
    if set(first.batch["action"].to_pylist()) == {"T"}:
        raise ValidationError(
            f"{path} is of schema tbbo: every record is a trade with the book before it, and none "
            "shows a book that stands; fetch schema mbp-1 or bbo-1s"
        )
    # DBN without a symbol for its instrument has the instrument alone.
    ids = [name for name in ids if first.batch[name][0].is_valid]
    due = [*MBP.due(names, n_levels), "action", "side", "flags", *of_trade, *ids]
    before, seen, scale = 0, dict[str, str](), MBP.scale(first)
    for rows in tabular.read(path, due, batch_rows, options):
        symbol = rows.one_value(ids, seen) or seen[ids[0]]
        flags, time = rows.integers(["flags"])[:, 0], rows.times("ts_event")
        of_now = (flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0
        newest = np.maximum.accumulate(np.append(np.int64(before), time))[1:]
        time = np.where(of_now, time, newest)
        before = rows.refuse_backwards("ts_event", time, before)
        traded = rows.codes("action", ACTIONS) == ACTIONS.index("T")
        aggressor = np.array(list(AGGRESSOR.values()))[rows.codes("side", tuple(AGGRESSOR))]
        trades = None
        if of_trade:  # its price and size are checked as a level's
            price, size = rows.numbers(["price"]) / scale, rows.numbers(["size"])
            size = np.where(traded[:, None], size, 0.0)
            price, size = (x[traded, 0] for x in rows.levels((["price"], ["size"]), price, size))
            trades = Trades(time[traded], price, size, aggressor[traded], symbol)
        complete = ((flags & F_LAST) != 0) & of_now & ~(traded & (aggressor != 0))
        levels = MBP.levels(rows, n_levels, scale)
        books = BookSnapshots(time, symbol=symbol, complete=complete, trades=trades, **levels)
        yield _Part(books, traded, aggressor == 0)


DATABENTO = tabular.Format(
    "Databento MBP-10 and MBP-1 (CSV, Parquet, DBN)", _matches, batches, ("where",)
)

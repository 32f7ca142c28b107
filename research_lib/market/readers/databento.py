"""Databento's market-by-price records, as text, Parquet and binary (DBN), to books and trades."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from research_lib.checks import Float
from research_lib.errors import ValidationError
from research_lib.market.book import LEVELS, BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.frames import MBP
from research_lib.market.readers.levels import PriceLevels
from research_lib.market.readers.tabular import Options, Source
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

logger = logging.getLogger(__name__)
Paths = str | Path | Iterable[str | Path]
N_LEVELS = 10
F_LAST, F_SNAPSHOT, F_BAD_TS_RECV = 128, 32, 8
ACTIONS = ("A", "C", "M", "R", "T", "F", "N")
SIDES, SIGNS = ("B", "A", "N"), np.array([1, -1, 0])  # of the aggressor of a trade


def _matches(path: Path, start: bytes) -> bool:
    """Whether a file has Databento's columns, those of a schema without levels included."""
    names = tabular.column_names(path)
    of_events = "action" in names and (MBP.fits(names) or "ts_event" in names)
    return of_events or ("ts_event" in names and MBP.fits(names) and "ts_recv" not in names)


def read_mbp10(path_or_paths: Paths, *, session: Session | None = None) -> BookSnapshots:
    """Read Databento MBP-10 records of any encoding, every record a state of the book.

    Records keep the file's order and all are kept; `complete` marks those that may be
    sampled. Not complete are

    - records without the flag F_LAST (128): the middle of an exchange event;
    - trades of action T with an aggressor (side A or B): they show the book before the
      trade, the removal follows as its own record;
    - records of a snapshot or with a bad time (flags 32, 8);
    - records before the opening cross, taken to be the first trade of the session if it has no
    aggressor (side N) and lies in the session's first minute.

    Parameters
    ----------
    path_or_paths : path or paths
        One file, or several of one symbol in time order.
    session : Session, optional
        Session that the opening cross belongs to; 09:30 America/New_York by default.

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
        Damaged content, named; files out of time order, or of two symbols.

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
    options = Options.of(session=session)
    parts = [part for path in paths for part in batches(Path(path), tabular.ALL_ROWS, options)]
    return BookSnapshots.concat(parts)


def batches(path: Source, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books and trades of a file, `batch_rows` records at a time, or of a frame with its columns,
    `complete` as in `read_mbp10`.

    The source is read twice: first for the opening crosses, because they come after the books that
    they mark incomplete.

    CSV and Parquet have columns by name, in any order: ts_event, action, side, flags, symbol (or
    instrument_id), price and size (without both there are no trades), and bid_px_NN, bid_sz_NN,
    ask_px_NN, ask_sz_NN of levels 00 to L-1. Prices are decimals, or integers of 1e-9.

    A record of a snapshot, or with a bad time, may carry a `ts_event` older than the record before.
    Its book is still the newer state, so it gets the latest time so far.

    References
    ----------
    Databento, "Market by price" schemas and "Databento Binary Encoding".
    """
    seen = options.seen
    seen.pop("instrument_id", None)  # which venues give anew each day
    names = list(tabular.renamed(path, options))
    n_levels, of_trade = MBP.depth(names), [name for name in ("price", "size") if name in names]
    if not n_levels:
        if "order_id" in names:
            yield from _of_orders(path, batch_rows, options)
            return
        raise ValidationError(f"{tabular.label(path)} lacks column bid_px_00; fetch mbp-10 or mbo")
    ids, every = tabular.identities(names) or ["symbol"], replace(options, where={})
    first = next(tabular.read(path, ["action", *ids, *MBP.columns(1)], 1_000, every))
    if set(first.batch["action"].to_pylist()) == {"T"}:
        raise ValidationError(f"{tabular.label(path)} is of schema tbbo, all trades; fetch mbp-1")
    # DBN without a symbol for its instrument has the instrument alone.
    ids = [name for name in ids if first.batch[name][0].is_valid]
    due = [*MBP.due(names, n_levels), "action", "side", "flags", *of_trade, *ids]
    before, scale = 0, MBP.scale(first)
    crosses = _opening_crosses(path, options)
    for rows in tabular.read(path, due, batch_rows, options):
        symbol = rows.one_value(ids, seen) or seen[ids[0]]
        flags, time = rows.integers(["flags"])[:, 0], rows.times("ts_event")
        of_now = (flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0
        time = np.where(of_now, time, np.maximum.accumulate(np.append(before, time))[1:])
        before = rows.refuse_backwards("ts_event", time, before)
        traded, trades = rows.codes("action", ACTIONS) == ACTIONS.index("T"), None
        aggressor = SIGNS[rows.codes("side", SIDES)]
        if of_trade:  # its price and size are checked as a level's
            price, size = rows.numbers(["price"]) / scale, rows.numbers(["size"])
            size = rows.sizes((["price"], ["size"]), price, np.where(traded[:, None], size, 0.0))
            printed = price[traded, 0], size[traded, 0], aggressor[traded]
            trades = Trades(time[traded], *printed, symbol=symbol)
        complete = ((flags & F_LAST) != 0) & of_now & ~(traded & (aggressor != 0))
        for opening, row in crosses:
            complete &= (time < opening) | (rows.number > row)
        levels = MBP.levels(rows, n_levels, scale)
        yield BookSnapshots(time, symbol=symbol, complete=complete, trades=trades, **levels)


def order_records(path: Source, batch_rows: int, options: Options) -> Iterator[tuple[Any, ...]]:
    """Checked records of schema MBO: the symbol, then, each (n,), the time in ns UTC, whether it is
    of now, whether an event ends, action and side (places in `ACTIONS`, `SIDES`), price, size, id.
    """
    names = list(tabular.renamed(path, options))
    ids = tabular.identities(names) or ["symbol"]
    due = ["ts_event", "action", "side", "flags", "price", "size", "order_id", *ids]
    before, scale = 0, MBP.scale(next(tabular.read(path, ["price"], 1_000, options)), ["price"])
    for rows in tabular.read(path, due, batch_rows, options):
        symbol = rows.one_value(ids, options.seen)
        action, side = rows.codes("action", ACTIONS), rows.codes("side", SIDES)
        flags, order = rows.integers(["flags", "order_id"]).T
        price, size = rows.numbers(["price"])[:, 0] / scale, rows.numbers(["size"])[:, 0]
        of_now, time = (flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0, rows.times("ts_event")
        time = np.where(of_now, time, np.maximum.accumulate(np.append(before, time))[1:])
        before = rows.refuse_backwards("ts_event", time, before)
        changes = np.isin(action, [ACTIONS.index(one) for one in "ACM"])
        sound = (side < 2) & np.isfinite(price) & (price > 0) & (size > 0)
        rows.require("price", sound | ~changes, "of an order must be above 0, with side and size")
        yield symbol, time, of_now, (flags & F_LAST) != 0, action, side, price, size, order


def _of_orders(path: Source, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books of the orders of schema MBO: a state after each whole event, the best ten levels.

    A, C, M and R add an order, take shares off it, replace it, and clear the book; T and F change
    nothing, because the shares that they trade are taken off by a C. Of orders that were entered
    before the recording, a C changes nothing and an M enters them anew; a warning counts both.
    """
    book, waiting, held = _Orders(), list[Trades](), None
    for symbol, time, of_now, last, *columns in order_records(path, batch_rows, options):
        states = []
        for is_last, *event in zip(last, *(one.tolist() for one in columns), strict=True):
            book.apply(*event)
            if is_last:
                states.append(book.best())
        action, side, price, size, _ = columns
        traded = action == ACTIONS.index("T")
        printed = price[traded], size[traded], SIGNS[side[traded]]
        waiting.append(Trades(time[traded], *printed, symbol=symbol))
        if states:
            if held is not None:
                yield held
            levels: Any = dict(zip(LEVELS, np.stack(states, axis=1), strict=True))
            known = {"symbol": symbol, "complete": of_now[last], "trades": Trades.concat(waiting)}
            held, waiting = BookSnapshots(time[last], **known, **levels), []
    if held is not None:
        yield replace(held, trades=Trades.concat([t for t in (held.trades, *waiting) if t]))
    if book.unknown:
        found = f"{tabular.label(path)}: {book.unknown:,} events are of orders that were entered"
        logger.warning(f"{found} before the recording; the books lack what of these still stands")


class _Orders:
    """The orders of one book, and the levels that they make up."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[int, float, float]] = {}
        self.levels, self.unknown = (PriceLevels(), PriceLevels()), 0

    def apply(self, action: int, side: int, price: float, size: float, order: int) -> None:
        """One event; side is 0 for a bid, 1 for an ask."""
        what = ACTIONS[action]
        if what == "R":
            self.orders, self.levels = {}, (PriceLevels(), PriceLevels())
        elif what in "CM":
            if (known := self.orders.pop(order, None)) is None:
                self.unknown += 1
            else:
                was, at, left = known
                gone = min(size, left) if what == "C" else left
                self.levels[was].add(at, -gone)
                if left > gone:
                    self.orders[order] = (was, at, left - gone)
        if what in "AM":
            self.orders[order] = (side, price, size)
            self.levels[side].add(price, size)

    def best(self) -> Float:
        """(4, N_LEVELS): prices and sizes of the bids, then of the asks."""
        return np.concatenate([a.best(N_LEVELS, highest=not k) for k, a in enumerate(self.levels)])


def _opening_crosses(path: Source, options: Options) -> list[tuple[int, int]]:
    """When each session that has an opening cross opens, ns UTC, and the row of its cross."""
    session, crosses, seen = options.session, list[tuple[int, int]](), set[object]()
    for rows in tabular.read(path, ["ts_event", "action", "side"], tabular.ALL_ROWS, options):
        time, hidden = rows.times("ts_event"), rows.codes("side", SIDES) == SIDES.index("N")
        traded = rows.codes("action", ACTIONS) == ACTIONS.index("T")
        traded = np.flatnonzero(traded & (session.interval_of(time) >= 0))
        days, first = np.unique(session.days(time[traded]), return_index=True)
        for day, k in zip(days, traded[first], strict=True):
            opening = int(session.bounds([day])[0][0])
            if day not in seen and hidden[k] and time[k] < opening + 60 * 10**9:
                crosses.append((opening, int(rows.number[k])))
            seen.add(day)
    return crosses


NAME = "Databento MBP-10, MBP-1 and MBO (CSV, Parquet, DBN)"
DATABENTO = tabular.Format(NAME, _matches, batches, ("where",))

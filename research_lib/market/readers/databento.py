"""Databento's market-by-price records, as text, Parquet and binary (DBN), to books and trades."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.readers.layouts import LAYOUTS, MBP, Table, fixed_prices
from research_lib.market.readers.tabular import (
    EARLIEST_NS,
    LATEST_NS,
    Options,
    Rows,
    column_names,
    damage,
    guessed_names,
    head,
    identities,
    open_bytes,
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
DBN_MAGIC = b"DBN"
DBN_PREFIX_BYTES = 8
DBN_LENGTH_UNIT = 4
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
    single = isinstance(path_or_paths, (str, Path))
    paths = [Path(path) for path in ([path_or_paths] if single else path_or_paths)]  # type: ignore[list-item,union-attr]
    if not paths:
        raise ValidationError("no file to read; give at least one path")
    options = Options(session or Session())
    books = BookSnapshots.concat(list(_books_of(_in_turn(paths, options), options.session)))
    names = ", ".join(path.name for path in paths)
    logger.info("read %s rows of %s from %s", f"{len(books):,}", books.symbol, names)
    return books


@dataclass(frozen=True, eq=False)
class _Part:
    """Records of one symbol: their books with trades, and which of them are (hidden) trades."""

    books: BookSnapshots
    traded: Bool
    hidden: Bool


def _records(path: Path, batch_rows: int, options: Options) -> Iterator[_Part]:
    is_dbn = head(path).startswith(DBN_MAGIC)
    yield from (_binary_records if is_dbn else _text_records)(path, batch_rows, options)


def _in_turn(paths: list[Path], options: Options) -> Iterator[_Part]:
    """The records of all files, which must follow each other in time and be of one symbol."""
    names = ", ".join(path.name for path in paths)
    last: BookSnapshots | None = None
    for path in paths:
        for part in _records(path, READ_ROWS, options):
            books = part.books
            if last is not None and books.symbol != last.symbol:
                raise ValidationError(
                    f"{names} hold 2 symbols ({last.symbol}, {books.symbol}); read one at a time"
                )
            if last is not None and books.time[0] < last.time[-1]:
                raise ValidationError(
                    f"{names}: time runs backwards from the file before to {path.name}; "
                    "give them in time order"
                )
            yield part
            last = books


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
        if first.size and hidden[first[0]] and day != opened:
            if books.time[first[0]] < opening + OPENING_CROSS_WITHIN_NS:
                before[low : first[0] + 1] = True
        day += dt.timedelta(days=1)
    return dataclasses.replace(books, complete=books.complete & ~before) if before.any() else books


def _day(time: np.int64, session: Session) -> tuple[dt.date, int, int]:
    """Local date of a time and that day's opening and closing, ns UTC."""
    day = session.days(np.array([time]))[0]
    opening, closing = (int(bound[0]) for bound in session.bounds([day]))
    return day, opening, closing


def _text_records(path: Path, batch_rows: int, options: Options) -> Iterator[_Part]:
    """Records of a CSV or Parquet file."""
    table, trade = _table(path, options)
    own = [name for name in ("symbol", "instrument_id") if name in table.original][0]
    before, n_trades, n = 0, 0, 0
    for rows in table.read(batch_rows, ["action", "side", "flags", *trade]):
        table.symbol(rows)
        time = table.times(rows, before)
        before = int(time[-1])
        codes = rows.codes("action", ACTIONS), rows.codes("side", tuple(AGGRESSOR))
        of_trade = None
        if trade:
            of_trade = table.prices(rows, ["price"])[:, 0], rows.numbers(["size"])[:, 0]
        flags = rows.integers(["flags"])[:, 0]
        part = _part(rows, time, flags, codes, of_trade, table.seen[own], table.levels(rows))
        n_trades, n = n_trades + int(part.traded.sum()), n + len(rows)
        yield part


def _table(path: Path, options: Options) -> tuple[Table, list[str]]:
    """The columns of a file with events, and those of its trades; other schemas are refused."""
    names = column_names(path)
    if not MBP.depth(names):
        raise ValidationError(
            f"{path} lacks column bid_px_00: it holds no levels; fetch schema mbp-10 or mbp-1 "
            f"(it has {', '.join(names[:8])}, ...)"
        )
    trade = ["price", "size"] if {"price", "size"} & set(names) else []
    absent = [name for name in ("action", "side", "flags", *trade) if name not in names]
    if not {"symbol", "instrument_id"} & set(names):
        absent.append("symbol")
    absent += [name for name in ("ts_event", *MBP.columns(MBP.depth(names))) if name not in names]
    if absent:
        raise ValidationError(
            f"{path} is not MBP-{MBP.depth(names)}: it lacks column {', '.join(absent[:5])} "
            f"({len(absent)} in all)"
        )
    table = Table.of(path, options, MBP)
    actions = next(table.only(1_000, ["action"])).text("action")
    if actions.unique().to_pylist() == ["T"]:
        raise ValidationError(
            f"{path} is of schema tbbo: every record is a trade with the book before it, and no "
            "record shows a book that stands; fetch schema mbp-1 or bbo-1s"
        )
    return table, trade


def _binary_records(path: Path, batch_rows: int, options: Options) -> Iterator[_Part]:
    """Records of a DBN file."""
    row, newest, seen = 0, EARLIEST_NS, dict[str, int]()
    with _decoding(path), open_bytes(path) as stream:
        prefix = stream.read(DBN_PREFIX_BYTES)
        rest = stream.read(int.from_bytes(prefix[4:DBN_PREFIX_BYTES], "little"))
        metadata = _decoded(prefix + rest)
        layout, rtype, n_levels = _layout(path, metadata)
        while data := stream.read(batch_rows * layout.itemsize):
            raw = _whole_records(path, row, data, layout, rtype)
            rows = Rows(path, row + np.arange(len(raw)))
            row += len(raw)
            kept = _matching(raw, options.where, metadata)
            raw, rows = raw[kept], Rows(path, rows.number[kept])
            if not len(raw):
                continue
            instrument = _one_instrument(rows, raw, seen, metadata)
            time = _newest_times(rows, raw, newest)
            newest = int(time[-1])
            yield _binary_part(rows, raw, time, instrument, n_levels, options)
    if not row:
        raise ValidationError(f"{path} is empty: it has metadata and 0 records; fetch it again")
    if not seen:
        raise ValidationError(f"{path} has no record where {dict(options.where)}")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """As `damage`, for what the decoder of metadata raises too."""
    import databento_dbn

    with damage(path):
        try:
            yield
        except databento_dbn.DBNError as error:
            reason = " ".join(str(error).split())
            raise ValidationError(f"{path} cannot be read: {reason}; fetch it again") from error


def _decoded(content: bytes) -> Any:
    import databento_dbn

    return databento_dbn.Metadata.decode(content)


def _layout(path: Path, metadata: Any) -> tuple[np.dtype[Any], int, int]:
    """NumPy type of the file's records, their rtype and number of levels."""
    import databento_dbn

    schemas = {"mbp-10": (databento_dbn.MBP10Msg, 10), "mbp-1": (databento_dbn.MBP1Msg, 1)}
    schema = "mixed" if metadata.schema is None else str(metadata.schema)
    if schema not in schemas:
        raise ValidationError(
            f"{path} holds schema {schema}, not mbp-10 or mbp-1; fetch one of these"
        )
    message, n_levels = schemas[schema]
    fields = list(message._dtypes)
    layout = np.dtype([*fields, ("ts_out", "u8")] if metadata.ts_out else fields)
    return layout, n_levels, n_levels  # a record's rtype is its number of levels


def _whole_records(
    path: Path, row: int, data: bytes, layout: np.dtype[Any], rtype: int
) -> NDArray[Any]:
    whole, rest = divmod(len(data), layout.itemsize)
    if rest:
        raise ValidationError(
            f"{path}: row {row + whole} has {rest} bytes, {layout.itemsize} are due; it is cut "
            "off, fetch it again"
        )
    raw = np.frombuffer(data, layout)
    rows = Rows(path, row + np.arange(whole))
    for name, due in (("length", layout.itemsize // DBN_LENGTH_UNIT), ("rtype", rtype)):
        rows.refuse(name, raw[name] != due, raw[name], f"must be {due}")
    return raw


def _matching(raw: NDArray[Any], where: Mapping[str, Any], metadata: Any) -> Bool:
    """Records with the wanted values of their fields, or of the symbol that they map to."""
    kept = np.ones(len(raw), bool)
    for name, value in where.items():
        values = [str(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
        if name == "symbol":
            ids = np.unique(raw["instrument_id"])
            wanted = [one for one in ids if _symbol_of(int(one), metadata) in values]
            kept &= np.isin(raw["instrument_id"], wanted)
        elif name in identities(raw.dtype.names or ()):
            kept &= np.isin(raw[name].astype(str), values)
        else:
            raise ValidationError(
                f"where names {name!r}; records have symbol, instrument_id and publisher_id"
            )
    return kept


def _one_instrument(rows: Rows, raw: NDArray[Any], seen: dict[str, int], metadata: Any) -> str:
    """The symbol of the one instrument, of one publisher, of the file."""
    for name, what in (("instrument_id", "instruments"), ("publisher_id", "publishers")):
        ids = raw[name]
        known = seen.setdefault(name, int(ids[0]))
        other = ids != known
        if other.any():
            found = [known, *np.unique(ids[other]).tolist()]
            shown = ", ".join(
                f"{one} ({_symbol_of(one, metadata)})" if name == "instrument_id" else f"{one}"
                for one in found[:5]
            )
            raise ValidationError(
                f"{rows.path}: column {name} holds {len(found)} {what}, {shown}, the second from "
                f"row {rows.number[np.argmax(other)]} on; split the file, or read one of them: "
                f"where={{{name!r}: {known}}}"
            )
    return _symbol_of(seen["instrument_id"], metadata)


def _symbol_of(instrument: int, metadata: Any) -> str:
    """Symbol that the metadata maps to an instrument id; the id itself where it maps none."""
    for symbol, intervals in metadata.mappings.items():
        if any(interval["symbol"] == str(instrument) for interval in intervals):
            return str(symbol)
    return str(instrument)


def _newest_times(rows: Rows, raw: NDArray[Any], newest: int) -> Int64:
    """The greatest `ts_event` so far, (n,) ns UTC."""
    event = raw["ts_event"]
    unlikely = (event < EARLIEST_NS) | (event > LATEST_NS)
    rows.refuse("ts_event", unlikely, event, "must be nanoseconds between 1990 and 2100")
    event = event.astype(np.int64)
    time = np.maximum.accumulate(np.append(np.int64(newest), event))[1:]
    snapshot = (raw["flags"] & (F_SNAPSHOT | F_BAD_TS_RECV)) != 0
    late = ~snapshot & (time - event > LATE_NS)
    if late.any():
        k = int(np.argmax(late))
        raise ValidationError(
            f"{rows.path}: time runs backwards in column ts_event, row {rows.number[k]} holds "
            f"{pd.Timestamp(event[k])}Z after {pd.Timestamp(time[k])}Z; fetch it again"
        )
    return time


def _binary_part(
    rows: Rows, raw: NDArray[Any], time: Int64, symbol: str, n_levels: int, options: Options
) -> _Part:
    codes = []
    for name, known in (("action", ACTIONS), ("side", tuple(AGGRESSOR))):
        encoded = [code.encode() for code in known]
        rule = f"must be one of {', '.join(known)}"
        rows.refuse(name, ~np.isin(raw[name], encoded), raw[name], rule)
        order = np.argsort(encoded)
        codes.append(order[np.searchsorted(np.array(encoded)[order], raw[name])])
    levels: dict[str, Float] = {}
    for side in SIDES:
        names = MBP.side(side, n_levels)
        price = fixed_prices(np.column_stack([raw[name] for name in names[0]]))
        size = np.column_stack([raw[name] for name in names[1]]).astype(float)
        checked = rows.levels(names, price, size, options.flag)
        levels |= dict(zip((f"{side}_price", f"{side}_size"), checked, strict=True))
    trade = fixed_prices(raw["price"]), raw["size"].astype(float)
    flags = raw["flags"].astype(np.int64)
    return _part(rows, time, flags, (codes[0], codes[1]), trade, symbol, levels)

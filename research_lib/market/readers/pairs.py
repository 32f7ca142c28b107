"""Files that come in pairs: LOBSTER's events and books, Lean's quotes and trades (QuantConnect)."""

import datetime as dt
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import LEVELS, SIDES, BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.frames import in_batches, trades_file
from research_lib.market.readers.tabular import Bool, Int64, Options, Rows
from research_lib.market.trades import PRICE_SCALE, UNSIGNED, Trades

KIND = re.compile(r"(.*)(orderbook|message|quote|trade)(.*)", re.IGNORECASE)
PARTNER = {"orderbook": "message", "message": "orderbook", "quote": "trade", "trade": "quote"}
LOBSTER_NAME = re.compile(r"(.+)_(\d{4}-\d\d-\d\d)_\d+_\d+_(message|orderbook)_\d+", re.IGNORECASE)
LEAN_NAME = re.compile(r"(?:([^_]+)_)?(\d{8})_(quote|trade)\.zip", re.IGNORECASE)
EXPIRY = re.compile(r"_quote_(\d+)\.csv$")
NUMBERS = re.compile(rb"-?\d+(\.\d+)?,-?\d+(\.\d+)?,")
EVENT = ("type", "order_id", "size", "price", "direction")
MESSAGE = ("time", *EVENT)
VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS, HALT = 4, 5, 6, 7
TRADING_RESUMES, EMPTY_PRICE = 1, 9_999_999_999
NS_A_SECOND, NS_A_MS, DAY_SECONDS = 10**9, 10**6, 86_400
BAR_NS = 60 * NS_A_SECOND
QUOTE = ("time", "bid_px", "bid_sz", "ask_px", "ask_sz", "exchange", "condition", "suspicious")
TRADE = ("time", "price", "size", "exchange", "condition", "suspicious")
OHL = ("open", "high", "low")
UNREAD = (*OHL, "exchange", "condition")
QUOTE_BAR = ("time", *(f"{side}_{one}" for side in SIDES for one in (*OHL, "px", "sz")))
TRADE_BAR = ("time", *OHL, "price", "size")


def kind_of(path: Path) -> str:
    """The last of "orderbook", "message", "quote", "trade" in a file's name; "" without one."""
    named = KIND.match(path.name)
    return named[2].lower() if named else ""


def partner_of(path: Path) -> Path | None:
    """The other file of the pair, compressed alike; None without one."""
    named = KIND.match(path.name)
    name = named[1] + PARTNER[named[2].lower()] + named[3] if named else path.name
    return path.with_name(name) if named and path.with_name(name).is_file() else None


def partner_due(path: Path) -> Path:
    """As `partner_of`; MissingDataError without one."""
    if (partner := partner_of(path)) is None:
        due = PARTNER[kind_of(path)]
        raise MissingDataError(f"{path} has no partner: its {due} file does not exist")
    return partner


def names_beside(path: PurePath) -> list[PurePath]:
    """Names of the files that are read along with one where they exist, whether they do or not.

    Of LOBSTER and of Lean's quotes the other of the pair; of Lean's daily bars the factor file; of
    a table of books the trades.

    >>> [str(name) for name in names_beside(PurePath("tick/ibm_20131007_quote.zip"))]
    ['tick/ibm_20131007_trade.zip']
    """
    named = KIND.match(path.name)
    if named and (LOBSTER_NAME.match(path.name) or LEAN_NAME.fullmatch(path.name)):
        return [path.with_name(named[1] + PARTNER[named[2].lower()] + named[3])]
    if beside := trades_file(path):
        return [beside]
    return [path.with_name(f"{path.stem}_factor_file.csv")] if path.suffix == ".zip" else []


def _carried(values: NDArray[Any], given: Bool, before: Any = 0) -> NDArray[Any]:
    """The last given value at or before each row, (n,); `before` where none was given yet."""
    last = np.maximum.accumulate(np.where(given, np.arange(len(given)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before)


def _midnight_ns(path: Path, date: dt.date | str, zone: str = "America/New_York") -> int:
    """Midnight of a date in a time zone, ns UTC."""
    try:
        day = dt.date.fromisoformat(str(date))
    except ValueError as error:
        raise ValidationError(f"{path}: {date!r} is not a date; write it YYYY-MM-DD") from error
    return int(pd.Timestamp(day, tz=zone).as_unit("ns").value)


def read_lobster(
    orderbook: str | Path, message: str | Path, date: dt.date | str | None = None
) -> BookSnapshots:
    """Read one LOBSTER pair of any depth: row i is the book AFTER event i.

    Every row is a single event and kept, in file order, and all are complete. Halt messages
    (type 7) and the rows from a halt until trading resumes show empty levels whatever the file
    holds: no order can trade against them, so a sample taken then is empty. From the first event
    after the resumption the file's book is shown again.

    Parameters
    ----------
    orderbook, message : path
        The two files of one symbol and day, plain or compressed (gzip, zstd).
    date : datetime.date or "YYYY-MM-DD", optional
        Day that the seconds after midnight, New York, belong to; by default the one in the
        orderbook's name, SYMBOL_YYYY-MM-DD_start_end_orderbook_L.

    Returns
    -------
    BookSnapshots
        (n, L) prices in dollars, sizes in shares; levels written +-9999999999 are empty (NaN,
        0); `time` is rounded to nine decimals. `trades` holds executions of
        visible orders (type 4: aggressor 1, a buyer, where the resting order was a sale,
        direction -1) and, with aggressor 0, of hidden orders (type 5) and crosses (type 6).

    Raises
    ------
    MissingDataError
        A file that does not exist.
    ValidationError
        No date in the name and none given, files of different symbols, days or row counts, a
        damaged file, an unknown event type, a size or price at or below zero, a half-empty
        level, times out of order; names file, row and column.

    References
    ----------
    LOBSTER, "Limit Order Book System: the efficient reconstructor", sample files readme, 2013.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "orderbook.csv").write_text("1000100,10,1000000,20\\n")
    >>> _ = (folder / "message.csv").write_text("34200.5,1,11,20,1000000,1\\n")
    >>> read_lobster(folder / "orderbook.csv", folder / "message.csv", "2012-06-21").mid.tolist()
    [100.005]
    """
    both = Path(orderbook), tabular.ALL_ROWS, Options(), Path(message), date
    return BookSnapshots.concat(list(_lobster(*both)))


def _is_lobster(path: Path, start: bytes) -> bool:
    """Whether the name says message or orderbook and the content is numbers without a header."""
    return kind_of(path) in ("orderbook", "message") and NUMBERS.match(start) is not None


def _lobster(
    orderbook: Path, batch_rows: int, options: Options, message: Path | None = None,
    date: dt.date | str | None = None,
) -> Iterator[BookSnapshots]:  # fmt: skip
    """Books of a pair, as `read_lobster`; where no file of messages is given, the one beside."""
    message = message or partner_due(orderbook)
    named, other = LOBSTER_NAME.match(orderbook.name), LOBSTER_NAME.match(message.name)
    if named and other and named.group(1, 2) != other.group(1, 2):
        raise ValidationError(f"{orderbook} and {message} are not of one symbol and day")
    symbol, midnight = symbol_and_midnight(orderbook, date)
    before = midnight
    n_levels = (tabular.head(orderbook).partition(b"\n")[0].count(b",") + 1) // 4
    kinds = ("ask_px", "ask_sz", "bid_px", "bid_sz")
    columns = [f"{kind}_{k + 1}" for k in range(n_levels) for kind in kinds]
    halted, done = False, 0
    files = (message, MESSAGE), (orderbook, columns)
    parts = (tabular.read(file, own, batch_rows, names=own) for file, own in files)
    both: Any = zip_longest(*parts, fillvalue=())
    for events, books in both:
        done += min(len(events), len(books))
        if len(events) != len(books):
            raise ValidationError(f"{message} or {orderbook} is cut off after {done:,} rows")
        event = checked_events(events, midnight)
        before = events.refuse_backwards("time", event["time"], before)
        is_halt = event["type"] == HALT
        in_halt = _carried(event["price"] != TRADING_RESUMES, is_halt, halted)
        halted, levels = bool(in_halt[-1]), _levels(books, columns, in_halt | is_halt)
        trades = _executions(event, symbol)
        yield BookSnapshots(event["time"], symbol=symbol, trades=trades, **levels)


def symbol_and_midnight(path: Path, date: dt.date | str | None = None) -> tuple[str, int]:
    """Of a LOBSTER file by its name, which may lack them if a date is given; midnight in ns UTC."""
    named = LOBSTER_NAME.match(path.name)
    if not (date or named):
        lacks = f"has no date in its name, SYMBOL_YYYY-MM-DD_start_end_{kind_of(path)}_L"
        raise ValidationError(f"{path} {lacks}; give date= to read_lobster or read_messages")
    symbol, day = named.group(1, 2) if named else ("", "")
    return symbol, _midnight_ns(path, date or day)


def checked_events(rows: Rows, midnight: int) -> dict[str, Int64]:
    """Checked message rows, each (n,): time in ns UTC, the others as in the file."""
    rows.given("time")
    since = rows.exact_ns("time", NS_A_SECOND)
    event = dict(zip(EVENT, rows.integers(EVENT).T, strict=True))
    halt, unsigned = event["type"] == HALT, event["type"] >= CROSS
    in_day = (since >= 0) & (since < DAY_SECONDS * NS_A_SECOND)
    rows.require("time", in_day, f"must be seconds after midnight, below {DAY_SECONDS}")
    rows.require("type", (event["type"] >= 1) & (event["type"] <= HALT), "must be 1 to 7")
    rows.require("size", halt | (event["size"] > 0), "must be above 0")
    rows.require("price", halt | (event["price"] > 0), "must be above 0")
    sound = ~halt | (np.abs(event["price"]) <= 1)
    rows.require("price", sound, "of a halt (type 7) must be -1, 0 or 1")
    rows.require("direction", unsigned | (np.abs(event["direction"]) == 1), "must be -1 or 1")
    return {"time": midnight + since, **event}


def _executions(event: dict[str, Int64], symbol: str) -> Trades:
    executed = np.isin(event["type"], (VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS))
    time, kind, _, size, price, direction = (column[executed] for column in event.values())
    aggressor = np.where(kind == VISIBLE_EXECUTION, -direction, UNSIGNED)
    return Trades(time, price / PRICE_SCALE, size, aggressor, symbol)


def _levels(rows: Rows, columns: list[str], emptied: Bool) -> dict[str, Any]:
    """Prices in dollars and sizes, bid then ask, (n, L); nothing in the rows `emptied`, (n,)."""
    table = rows.integers(columns)
    price, size = table[:, 0::2], table[:, 1::2]
    empty = np.abs(price) == EMPTY_PRICE
    rows.require_all(columns[0::2], empty | (price > 0), "must be above 0")
    rule = f"must be above 0, or 0 where the price is +-{EMPTY_PRICE}, an empty level"
    rows.require_all(columns[1::2], np.where(empty, size == 0, size > 0), rule)
    dollars, shares = price / PRICE_SCALE, np.where(emptied[:, None], 0, size)
    sides = dollars[:, 1::2], shares[:, 1::2], dollars[:, 0::2], shares[:, 0::2]
    return dict(zip(LEVELS, sides, strict=True))


def _is_lean(path: Path, start: bytes) -> bool:
    """Whether the name is SYMBOL_YYYYMMDD_quote.zip (or _trade), its content without a header."""
    return LEAN_NAME.fullmatch(path.name) is not None and NUMBERS.match(start) is not None


def _lean_batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """One-level books of a quote zip, with the trades beside it.

    A tick gives one side (the other is 0, 0) or both; the last bid and the last ask are carried
    forward, so book i is the quote after row i. A bar of a minute gives its last quote, known
    at its end (less a nanosecond, to be of its own interval) and not at its label, its begin.
    Of futures prices are plain and times are UTC; others are in units of 1e-4, of New York. Of a
    zip with several expiries, where={"expiry": "201312"} chooses one. A side is empty until its
    first row. All rows are kept, those of extended hours too. Quotes of several venues may lock or
    cross; the book's quality counts them. Rows marked suspicious are not complete, and their quote
    is ignored: they repeat the state before.

    The name is SYMBOL_YYYYMMDD_quote.zip, or YYYYMMDD_quote.zip in a folder named after the
    symbol; times are milliseconds after that day's midnight, whatever the session.

    Yields
    ------
    BookSnapshots
        (n, 1); dollars and shares. `trades` have aggressor 0, because the format has no sign; those
        marked suspicious are dropped. Conditions are not interpreted, so auctions are among the
        trades. A trade belongs to the first batch whose last quote is at or after it; the day's
        trades are held in memory.

    References
    ----------
    QuantConnect Lean, Data/equity/readme.md: tick resolution, quote and trade files.
    """
    if kind_of(path) == "trade":
        raise ValidationError(f"{path} holds trades, no books; give the _quote.zip")
    symbol, date, _ = LEAN_NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
    symbol = (symbol or path.resolve().parent.name).upper()
    partner, expiry = partner_of(path), _expiry(path, options)
    midnight = _midnight_ns(path, date, "UTC" if expiry else "America/New_York")
    is_bar = tabular.head(path).partition(b"\n")[0].count(b",") + 1 == len(QUOTE_BAR)
    if is_bar and "_minute_" not in (inside := tabular.members(path)[0]):
        raise ValidationError(f"{path}: the bars of {inside} must be of a minute; fetch these")
    of_quotes, of_trades = (QUOTE_BAR, TRADE_BAR) if is_bar else (QUOTE, TRADE)
    scale, trades = 1 if expiry else PRICE_SCALE, None
    if partner is not None:
        cells = _cells(partner, of_trades, midnight, expiry)
        time, price, size = (cells[name][cells["suspicious"] == 0] for name in TRADE[:3])
        trades = Trades(time, price / scale, size, np.full(len(time), UNSIGNED), symbol)
    quote = _cells(path, of_quotes, midnight, expiry)
    believed = quote["suspicious"] == 0
    levels: dict[str, Any] = {}
    for side in SIDES:
        given = believed & (quote[f"{side}_px"] > 0)
        levels[f"{side}_price"] = _carried(quote[f"{side}_px"], given)[:, None] / scale
        levels[f"{side}_size"] = _carried(quote[f"{side}_sz"], given)[:, None]
    books = BookSnapshots(quote["time"], symbol=symbol, complete=believed, trades=trades, **levels)
    yield from in_batches(books, batch_rows)


def _expiry(path: Path, options: Options) -> str:
    """The file of a zip of futures that is asked for, such as "_201312.csv"; "" where one is there.

    Raises
    ------
    ValidationError
        Several, and none of them chosen; another key than expiry.
    """
    if set(options.where) - {"expiry"}:
        raise ValidationError(f"{path}: where takes expiry alone, got {dict(options.where)}")
    known = [name[1] for name in map(EXPIRY.search, tabular.members(path)) if name]
    chosen = str(options.where.get("expiry", known[0] if len(known) == 1 else ""))
    if known and chosen not in known:
        remedy = f'choose one, such as where={{"expiry": "{min(known)}"}}'
        raise ValidationError(f"{path} holds expiries {', '.join(sorted(known))}; {remedy}")
    return f"_{chosen}." if known else ""


def _cells(path: Path, names: tuple[str, ...], midnight: int, member: str) -> dict[str, Any]:
    """The numbers of a day's ticks or bars, each (n,); a bar is known at its end, ns UTC."""
    is_bar, before, parts = names in (QUOTE_BAR, TRADE_BAR), midnight, []
    end = BAR_NS - 1 if is_bar else 0
    columns = [one for one in names if one.removeprefix("bid_").removeprefix("ask_") not in UNREAD]
    for rows in tabular.read(path, columns, tabular.ALL_ROWS, names=names, member=member):
        # Cells of a bar are empty where nothing was quoted.
        table = np.nan_to_num(rows.numbers(columns)) if is_bar else rows.integers(columns)
        rows.require_all(columns, table >= 0, "must be at least 0")
        rows.require("time", table[:, 0] < 1_000 * DAY_SECONDS, "must be milliseconds of a day")
        if is_bar and not member:
            rows.require_all(columns, table % 1 == 0, "must be whole, in units of 1e-4")
        if is_bar:
            table[:, 1::2] *= table[:, 2::2] > 0  # a price without a size is no quote
        else:
            rows.require("suspicious", table[:, -1] <= 1, "must be 0 or 1")
            # A quote's sides are given by price and size, or both cells are 0.
            given = (table[:, 1:-1] > 0).reshape(len(rows), -1, 2)
            whole = (given[:, :, 0] == given[:, :, 1]).all(axis=1) & given.any(axis=(1, 2))
            rows.require(names[1], whole, "and what follows must be price and size above 0")
        time = midnight + table[:, 0].astype(np.int64) * NS_A_MS + end
        before = rows.refuse_backwards("time", time, before)
        parts.append({**dict(zip(columns, table.T, strict=True)), "time": time})
    cells = {name: np.concatenate([part[name] for part in parts]) for name in columns}
    if is_bar and "size" in cells:
        cells = {name: values[cells["size"] > 0] for name, values in cells.items()}
    return {"suspicious": np.zeros(len(cells["time"])), **cells}


LOBSTER = tabular.Format("LOBSTER message and orderbook pair", _is_lobster, _lobster)
NAME = "Lean level-1 quote zip, of ticks or of bars of a minute"
LEAN = tabular.Format(NAME, _is_lean, _lean_batches, ("where",))

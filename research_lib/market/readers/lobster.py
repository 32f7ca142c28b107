"""LOBSTER: a file of events and a file of the books after them, row by row."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.pairs import (
    carried,
    kind_of,
    midnight_ns,
    parsed_date,
    partner_name,
    partner_of,
)
from research_lib.market.readers.tabular import Options, Rows, head, read
from research_lib.market.trades import UNSIGNED, Trades

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

logger = logging.getLogger(__name__)

NAME = "LOBSTER message and orderbook pair"
TAKES = ()
FILE_NAME = re.compile(
    r"(?P<symbol>.+)_(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_(?:message|orderbook)_\d+", re.IGNORECASE
)
FIRST_CELL = re.compile(rb"-?\d+(\.\d+)?,")
KINDS = ("orderbook", "message")
ALL_ROWS = 500_000

EVENT = ("type", "order_id", "size", "price", "direction")
VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS, HALT = 4, 5, 6, 7
KNOWN_TYPES = (1, 2, 3, VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS, HALT)
TRADING_RESUMES = 1
PRICE_SCALE = 10_000
EMPTY_PRICE = 9_999_999_999
NS_A_SECOND = 10**9
DAY_SECONDS = 86_400


def read_lobster(
    orderbook: str | Path, message: str | Path, date: dt.date | str | None = None
) -> BookSnapshots:
    """Read one LOBSTER pair of any depth: row i is the book AFTER event i.

    Every row is a single event and kept, in file order, and all are complete. Halt messages
    (type 7) and the rows from a halt until trading resumes show empty levels whatever the
    file holds: no order can trade against them, so a sample taken then finds no market.
    The first event after the resumption shows the file's book again.

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
        0); `time` keeps nine decimals, further ones are rounded. `trades` holds executions of
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
    return BookSnapshots.concat(list(_batches(Path(orderbook), Path(message), date, ALL_ROWS)))


def matches(path: Path, start: bytes) -> bool:
    """Whether the name says message or orderbook and the content is numbers without a header."""
    return kind_of(path) in KINDS and FIRST_CELL.match(start) is not None


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books of the pair that `path`, either of its two files, belongs to, `batch_rows` at a time.

    Rows, columns and errors as `read_lobster`; unequal row counts are found at the end. The clock
    is New York's, whatever the session.
    """
    partner = partner_of(path)
    if partner is None:
        raise MissingDataError(
            f"{path} has no partner: {partner_name(path)} does not exist; put the two side by side"
        )
    orderbook, message = (path, partner) if kind_of(path) == "orderbook" else (partner, path)
    yield from _batches(orderbook, message, None, batch_rows)


def _batches(
    orderbook: Path, message: Path, date: dt.date | str | None, batch_rows: int
) -> Iterator[BookSnapshots]:
    symbol, midnight = _symbol(orderbook, message), midnight_ns(_date(orderbook, date))
    columns = _columns(orderbook)
    n, before, halted = 0, midnight, False
    for events, books in _in_step(orderbook, message, columns, batch_rows):
        event = _events(events, midnight)
        before = events.refuse_backwards("time", event["time"], before)
        is_halt = event["type"] == HALT
        in_halt = carried(event["price"] != TRADING_RESUMES, is_halt, halted)
        halted = bool(in_halt[-1])
        levels = _levels(books, columns, in_halt | is_halt)
        yield BookSnapshots(event["time"], symbol=symbol, trades=_trades(event, symbol), **levels)
        n += len(events)
    logger.info("read %s rows of %s from %s", f"{n:,}", symbol or "one symbol", orderbook.name)


def _events(rows: Rows, midnight: int) -> dict[str, Int64]:
    """Checked message rows, each (n,): time in ns UTC, the others as in the file."""
    rows.given("time")
    since = rows.exact_ns("time", NS_A_SECOND)
    late = (since < 0) | (since >= DAY_SECONDS * NS_A_SECOND)
    rule = f"must be seconds after midnight, below {DAY_SECONDS}"
    rows.refuse("time", late, since / NS_A_SECOND, rule)
    event = dict(zip(EVENT, rows.integers(EVENT).T, strict=True))
    halt, price = event["type"] == HALT, event["price"]
    unsigned = np.isin(event["type"], (CROSS, HALT))
    for name, bad, rule in (
        ("type", ~np.isin(event["type"], KNOWN_TYPES), f"must be one of {KNOWN_TYPES}"),
        ("size", ~halt & (event["size"] <= 0), "must be above 0"),
        ("price", ~halt & (price <= 0), "must be above 0"),
        ("price", halt & (np.abs(price) > 1), "of a halt (type 7) must be -1, 0 or 1"),
        ("direction", ~unsigned & (np.abs(event["direction"]) != 1), "must be -1 or 1"),
    ):
        rows.refuse(name, bad, event[name], rule)
    return {"time": midnight + since, **event}


def _trades(event: Mapping[str, Int64], symbol: str) -> Trades:
    executed = np.isin(event["type"], (VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS))
    time, kind, size, price, direction = (
        event[name][executed] for name in ("time", "type", "size", "price", "direction")
    )
    aggressor = np.where(kind == VISIBLE_EXECUTION, -direction, UNSIGNED)
    return Trades(time, price / PRICE_SCALE, size, aggressor, symbol)


def _levels(rows: Rows, columns: list[str], emptied: NDArray[np.bool_]) -> dict[str, Float]:
    """Prices in dollars and sizes, each (n, L); nothing in the rows `emptied`, (n,)."""
    table = rows.integers(columns)
    price, size = table[:, 0::2], table[:, 1::2]
    empty = np.abs(price) == EMPTY_PRICE
    mark = f"the price is +-{EMPTY_PRICE}, an empty level"
    for bad, start, values, rule in (
        (size < 0, 1, size, "must be at least 0"),
        (~empty & (price <= 0), 0, price, "must be above 0"),
        (empty & (size > 0), 1, size, f"must be 0 where {mark}"),
        (~empty & (size == 0), 1, size, f"must be above 0 unless {mark}"),
    ):
        rows.refuse_table(columns[start::2], bad, values, rule)
    empty |= emptied[:, None]
    dollars, shares = np.where(empty, np.nan, price / PRICE_SCALE), np.where(empty, 0.0, size)
    return {
        f"{side}_{kind}": values[:, start::2]
        for start, side in enumerate(("ask", "bid"))
        for kind, values in (("price", dollars), ("size", shares))
    }


def _in_step(
    orderbook: Path, message: Path, columns: list[str], batch_rows: int
) -> Iterator[tuple[Rows, Rows]]:
    """Batches of both files with the same rows; refused, with both counts, if one is longer."""
    names = ("time", *EVENT)
    events = read(message, names, batch_rows, names=names)
    books = read(orderbook, columns, batch_rows, names=columns)
    done = 0
    for pair in zip_longest(events, books, fillvalue=()):
        n_events, n_books = map(len, pair)
        if n_events != n_books:
            n_events += done + sum(map(len, events))
            n_books += done + sum(map(len, books))
            raise ValidationError(
                f"{message} has {n_events:,} rows, {orderbook} has {n_books:,}; row i of both "
                "belong together, so one is cut off or they are not a pair"
            )
        done += n_events
        yield pair  # type: ignore[misc]


def _columns(orderbook: Path) -> list[str]:
    """Column names of the orderbook, as many levels as its first line has."""
    n_cells = head(orderbook).split(b"\n", 1)[0].count(b",") + 1
    if n_cells % 4:
        raise ValidationError(
            f"{orderbook}: row 0 has {n_cells} cells, an orderbook has 4 a level; "
            "is it the message file?"
        )
    return [
        f"{side}_{kind}_{level + 1}"
        for level in range(n_cells // 4)
        for side in ("ask", "bid")
        for kind in ("px", "sz")
    ]


def _date(orderbook: Path, date: dt.date | str | None) -> dt.date:
    if isinstance(date, dt.date):
        return date
    named = FILE_NAME.match(orderbook.name)
    if date is None and named is None:
        raise ValidationError(
            f"{orderbook} has no date in its name (SYMBOL_YYYY-MM-DD_start_end_orderbook_L); "
            "rename it or give date= to read_lobster"
        )
    return parsed_date(orderbook, date or named["date"])  # type: ignore[index]


def _symbol(orderbook: Path, message: Path) -> str:
    """Symbol in the orderbook's name, "" without one; refused if the names are of no pair."""
    book, event = FILE_NAME.match(orderbook.name), FILE_NAME.match(message.name)
    if book and event and (book["symbol"], book["date"]) != (event["symbol"], event["date"]):
        raise ValidationError(
            f"{orderbook.name} and {message.name} are not of one symbol and day; give a pair"
        )
    return book["symbol"] if book else ""

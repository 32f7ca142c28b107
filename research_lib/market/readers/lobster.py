"""LOBSTER: a file of events and a file of the books after them, row by row."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.cells import (
    level_columns,
    refuse_backwards,
    refuse_cells,
    refuse_table,
)
from research_lib.market.readers.pairs import kind_of, partner_name, partner_of
from research_lib.market.readers.rows import Int64, carried, integers, midnight_ns, parsed_date
from research_lib.market.readers.source import csv_batches, damage, open_bytes
from research_lib.market.sessions import Session
from research_lib.market.trades import UNSIGNED, Trades

logger = logging.getLogger(__name__)

NAME = "LOBSTER message and orderbook pair"
FILE_NAME = re.compile(
    r"(?P<symbol>.+)_(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_(?:message|orderbook)_\d+", re.IGNORECASE
)
FIRST_CELL = re.compile(rb"-?\d+(\.\d+)?,")
KINDS = ("orderbook", "message")
ALL_ROWS = 500_000

EVENT = ("type", "order_id", "size", "price", "direction")
EVENT_TYPES = {"time": pa.decimal128(18, 9), **dict.fromkeys(EVENT, pa.int64())}
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
        0); `time` keeps all nine decimals of the file. `trades` holds executions of visible
        orders (type 4: aggressor 1, a buyer, where the resting order was a sale, direction -1)
        and, with aggressor 0, of hidden orders (type 5) and crosses (type 6).

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
    """
    return BookSnapshots.concat(list(_batches(Path(orderbook), Path(message), date, ALL_ROWS)))


def matches(path: Path, head: bytes) -> bool:
    """Whether the name says message or orderbook and the content is numbers without a header."""
    return kind_of(path) in KINDS and FIRST_CELL.match(head) is not None


def batches(path: Path, batch_rows: int, session: Session | None = None) -> Iterator[BookSnapshots]:
    """Books of the pair that `path`, either of its two files, belongs to, `batch_rows` at a time.

    Rows, columns and errors as `read_lobster`; unequal row counts are found at the end. `session`
    does not apply: the clock is New York's.
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
    first, time, halted = 0, np.int64(midnight), False
    for events, levels in _in_step(orderbook, message, columns, batch_rows):
        event = _events(message, events, first, time, midnight)
        in_halt = carried(event.price != TRADING_RESUMES, event.type == HALT, halted)
        shown = _levels(orderbook, levels, columns, first)
        yield BookSnapshots(
            event.time,
            symbol=symbol,
            trades=_trades(event, symbol),
            **_emptied(shown, in_halt | (event.type == HALT)),
        )
        first, time, halted = first + len(event.time), event.time[-1], bool(in_halt[-1])
    if first == 0:
        raise ValidationError(f"{orderbook} and {message} hold no rows; fetch them again")
    logger.info("read %s rows of %s from %s", f"{first:,}", symbol or "one symbol", orderbook.name)


@dataclass(frozen=True)
class _Events:
    """Checked message rows, each (n,): ns UTC, event type, shares, price * 10000, side of the resting order."""

    time: Int64
    type: Int64
    size: Int64
    price: Int64
    direction: Int64


def _events(
    path: Path, batch: pa.RecordBatch, first: int, previous_time: np.int64, midnight: int
) -> _Events:
    time = midnight + _since_midnight(path, batch, first)
    refuse_backwards(path, first, "time", time, previous_time)
    type_, _, size, price, direction = integers(path, batch, EVENT, first).T
    halt = type_ == HALT
    for bad, column, values, rule in (
        (
            ~np.isin(type_, KNOWN_TYPES),
            "type",
            type_,
            f"must be one of {', '.join(map(str, KNOWN_TYPES))}",
        ),
        (~halt & (size <= 0), "size", size, "must be above 0"),
        (~halt & (price <= 0), "price", price, "must be above 0"),
        (halt & (np.abs(price) > 1), "price", price, "of a halt (type 7) must be -1, 0 or 1"),
        (
            ~np.isin(type_, (CROSS, HALT)) & (np.abs(direction) != 1),
            "direction",
            direction,
            "must be -1 or 1",
        ),
    ):
        refuse_cells(path, first, column, bad, values, rule)
    return _Events(time, type_, size, price, direction)


def _since_midnight(path: Path, batch: pa.RecordBatch, first: int) -> Int64:
    """Decimal seconds as whole nanoseconds, (n,): no digit passes through a float."""
    seconds = batch.column("time")
    refuse_cells(
        path, first, "time", seconds.is_null().to_numpy(False), seconds, "must not be empty"
    )
    about = seconds.cast(pa.float64()).to_numpy()
    rule = f"must be seconds after midnight, below {DAY_SECONDS}"
    refuse_cells(path, first, "time", (about < 0) | (about >= DAY_SECONDS), about, rule)
    return np.asarray(
        pc.multiply(seconds, pa.scalar(NS_A_SECOND)).cast(pa.int64()).to_numpy(), np.int64
    )


def _trades(event: _Events, symbol: str) -> Trades:
    executed = np.isin(event.type, (VISIBLE_EXECUTION, HIDDEN_EXECUTION, CROSS))
    aggressor = np.where(event.type == VISIBLE_EXECUTION, -event.direction, UNSIGNED)
    return Trades(
        event.time[executed],
        event.price[executed] / PRICE_SCALE,
        event.size[executed],
        aggressor[executed],
        symbol,
    )


def _levels(
    path: Path, batch: pa.RecordBatch, columns: list[str], first: int
) -> dict[str, NDArray[np.float64]]:
    """Prices in dollars and sizes of both sides, each (n, L), by the names of `BookSnapshots`."""
    cells = integers(path, batch, columns, first)
    price, size = cells[:, 0::2], cells[:, 1::2]
    empty = np.abs(price) == EMPTY_PRICE
    for bad, names, values, rule in (
        (size < 0, columns[1::2], size, "must be at least 0"),
        (~empty & (price <= 0), columns[0::2], price, "must be above 0"),
        (
            empty & (size > 0),
            columns[1::2],
            size,
            f"must be 0 where the price is the empty level's, {EMPTY_PRICE}",
        ),
        (
            ~empty & (size == 0),
            columns[1::2],
            size,
            f"must be above 0 unless the price is +-{EMPTY_PRICE}",
        ),
    ):
        refuse_table(path, first, names, bad, values, rule)
    dollars = np.where(empty, np.nan, price / PRICE_SCALE)
    return {
        f"{side}_{kind}": values[:, start::2]
        for start, side in enumerate(("ask", "bid"))
        for kind, values in (("price", dollars), ("size", size.astype(float)))
    }


def _emptied(
    levels: dict[str, NDArray[np.float64]], rows: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """The levels, each (n, L), without price and size where (n,) `rows` is True."""
    return {
        name: np.where(rows[:, None], np.nan if name.endswith("price") else 0.0, table)
        for name, table in levels.items()
    }


def _in_step(
    orderbook: Path, message: Path, columns: list[str], batch_rows: int
) -> Iterator[tuple[Any, Any]]:
    """Batches of both files with the same rows; ValidationError with both counts if one is longer."""
    events = csv_batches(message, EVENT_TYPES, batch_rows, list(EVENT_TYPES))
    levels = csv_batches(orderbook, dict.fromkeys(columns, pa.int64()), batch_rows, columns)
    done = 0
    for pair in zip_longest(events, levels):
        n_events, n_levels = (0 if batch is None else batch.num_rows for batch in pair)
        if n_events != n_levels:
            n_events += done + sum(batch.num_rows for batch in events)
            n_levels += done + sum(batch.num_rows for batch in levels)
            raise ValidationError(
                f"{message} has {n_events:,} rows, {orderbook} has {n_levels:,}; row i of both belong together, "
                "so one is cut off or they are not a pair"
            )
        done += n_events
        yield pair


def _columns(orderbook: Path) -> list[str]:
    """Column names of the orderbook, as many levels as its first line has."""
    line = b""
    with damage(orderbook), open_bytes(orderbook) as stream:
        while b"\n" not in line and (block := stream.read(1 << 16)):
            line += block
    n_cells = line.split(b"\n", 1)[0].count(b",") + 1
    if n_cells % 4:
        raise ValidationError(
            f"{orderbook}: row 0 has {n_cells} cells, an orderbook has 4 a level; is it the message file?"
        )
    return level_columns(n_cells // 4, ("ask", "bid"), numbered="{}", first=1)


def _date(orderbook: Path, date: dt.date | str | None) -> dt.date:
    if isinstance(date, dt.datetime):
        return date.date()
    if isinstance(date, dt.date):
        return date
    if date is not None:
        return parsed_date(orderbook, date)
    named = FILE_NAME.match(orderbook.name)
    if named is None:
        raise ValidationError(
            f"{orderbook} has no date in its name (SYMBOL_YYYY-MM-DD_start_end_orderbook_L); "
            "rename it or give date= to read_lobster"
        )
    return parsed_date(orderbook, named["date"])


def _symbol(orderbook: Path, message: Path) -> str:
    """Symbol in the orderbook's name, "" without one; ValidationError if the names say they are no pair."""
    book, event = FILE_NAME.match(orderbook.name), FILE_NAME.match(message.name)
    if book and event and (book["symbol"], book["date"]) != (event["symbol"], event["date"]):
        raise ValidationError(
            f"{orderbook.name} and {message.name} are not of one symbol and day; give a pair"
        )
    return book["symbol"] if book else ""

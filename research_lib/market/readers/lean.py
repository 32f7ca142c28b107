"""Lean (QuantConnect): a day of consolidated level-1 quotes in a zip, its trades in a zip beside it."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.cells import refuse_backwards, refuse_cells, refuse_table
from research_lib.market.readers.pairs import partner_of
from research_lib.market.readers.rows import (
    Int64,
    TradeFeed,
    carried,
    integers,
    midnight_ns,
    parsed_date,
)
from research_lib.market.readers.source import csv_batches
from research_lib.market.sessions import Session
from research_lib.market.trades import UNSIGNED, Trades

logger = logging.getLogger(__name__)

NAME = "Lean level-1 quote zip"
FILE_NAME = re.compile(
    r"(?:(?P<symbol>[^_]+)_)?(?P<date>\d{8})_(?P<kind>quote|trade)\.zip", re.IGNORECASE
)
FIRST_CELLS = re.compile(rb"\d+,\d+,")
QUOTE = ("time", "bid_px", "bid_sz", "ask_px", "ask_sz", "exchange", "condition", "suspicious")
TRADE = ("time", "price", "size", "exchange", "condition", "suspicious")
TEXT = ("exchange", "condition", "suspicious")
PRICE_SCALE = 10_000
NS_A_MS = 10**6
DAY_MS = 86_400_000


def matches(path: Path, head: bytes) -> bool:
    """Whether the name is SYMBOL_YYYYMMDD_quote.zip (or _trade) and the content numbers without a header."""
    return FILE_NAME.fullmatch(path.name) is not None and FIRST_CELLS.match(head) is not None


def batches(path: Path, batch_rows: int, session: Session | None = None) -> Iterator[BookSnapshots]:
    """One-level books of a quote zip, `batch_rows` rows at a time, with the trades of the zip beside it.

    A row gives one side (the other is 0, 0) or both; the last bid and the last ask are
    carried along, so row i is the quote after row i. A side is empty until its first row. All rows
    are kept, of extended hours too, and so are locked and crossed ones: quotes of several
    venues, that the book's quality counts. Rows marked suspicious are not complete, and their
    quote is left out: they repeat the state before.

    Parameters
    ----------
    path : path
        SYMBOL_YYYYMMDD_quote.zip, or YYYYMMDD_quote.zip in a folder named after the
        symbol. Times are milliseconds after that day's midnight in New York. Trades are those
        of the same name with `_trade`, where it exists.
    batch_rows : int
    session : Session, optional
        Does not apply: the clock is New York's whatever the session.

    Yields
    ------
    BookSnapshots
        (n, 1); dollars and shares. `trades` have aggressor 0, the format has no sign;
        those marked suspicious are dropped and counted in the log; conditions are not
        interpreted, so auctions are among them. A trade goes with the batch whose last
        quote is the first at or after it.

    Raises
    ------
    ValidationError
        A trade zip instead of a quote zip, a damaged file, a row that gives neither side, a
        price without size or the reverse, a number below 0, times out of order; names file,
        row and column.

    References
    ----------
    QuantConnect Lean, Data/equity/readme.md: tick resolution, quote and trade files.
    """
    symbol, midnight = _named(path)
    partner = partner_of(path)
    trades = TradeFeed(None if partner is None else _trades(partner, symbol, midnight), symbol)
    n_rows, ready = 0, None
    for books in _quotes(path, symbol, midnight, batch_rows):
        n_rows += len(books)
        if ready is not None:
            yield dataclasses.replace(ready, trades=trades.until(int(ready.time[-1])))
        ready = books
    if ready is None:
        raise ValidationError(f"{path} holds no rows; fetch it again")
    yield dataclasses.replace(ready, trades=trades.until(None))
    logger.info("read %s quotes of %s from %s", f"{n_rows:,}", symbol, path.name)


def _quotes(path: Path, symbol: str, midnight: int, batch_rows: int) -> Iterator[BookSnapshots]:
    before = dict.fromkeys(QUOTE[1:5], 0)
    for first, rows in _rows(path, QUOTE, midnight, batch_rows):
        _refuse_half_quotes(path, rows, first)
        believed = rows["suspicious"] == 0
        levels: dict[str, NDArray[Any]] = {}
        for side in ("bid", "ask"):
            given = (rows[f"{side}_px"] > 0) & believed
            for kind in (f"{side}_px", f"{side}_sz"):
                levels[kind] = carried(rows[kind], given, before[kind])
        before = {kind: int(column[-1]) for kind, column in levels.items()}
        yield BookSnapshots(
            rows["time"],
            bid_price=levels["bid_px"][:, None] / PRICE_SCALE,
            bid_size=levels["bid_sz"][:, None],
            ask_price=levels["ask_px"][:, None] / PRICE_SCALE,
            ask_size=levels["ask_sz"][:, None],
            symbol=symbol,
            complete=believed,
        )


def _trades(path: Path, symbol: str, midnight: int) -> Iterator[Trades]:
    """Trades of a file in batches, without the suspicious ones, whose count is logged at the end."""
    n_suspicious = 0
    for first, rows in _rows(path, TRADE, midnight, 100_000):
        for name in ("price", "size"):
            refuse_cells(path, first, name, rows[name] <= 0, rows[name], "must be above 0")
        kept = rows["suspicious"] == 0
        n_suspicious += int(np.sum(~kept))
        time, price = rows["time"][kept], rows["price"][kept] / PRICE_SCALE
        yield Trades(time, price, rows["size"][kept], np.full(len(time), UNSIGNED), symbol)
    if n_suspicious:
        logger.info("dropped %s suspicious trades of %s", f"{n_suspicious:,}", symbol)


def _rows(
    path: Path, names: tuple[str, ...], midnight: int, batch_rows: int
) -> Iterator[tuple[int, Mapping[str, Int64]]]:
    """First row's number and checked columns, each (n,), of every batch; time in ns UTC, suspicious 0 or 1."""
    columns = [name for name in names if name not in TEXT]
    types = dict.fromkeys(columns, pa.int64()) | {"suspicious": pa.string()}
    first, previous = 0, np.int64(midnight)
    for batch in csv_batches(path, types, batch_rows, list(names)):
        cells = integers(path, batch, columns, first)
        refuse_table(path, first, columns, cells < 0, cells, "must be at least 0")
        rows = dict(zip(columns, cells.T, strict=True))
        rule = f"must be milliseconds after midnight, below {DAY_MS}"
        refuse_cells(path, first, "time", rows["time"] >= DAY_MS, rows["time"], rule)
        rows["time"] = midnight + rows["time"] * NS_A_MS
        refuse_backwards(path, first, "time", rows["time"], previous)
        yield first, rows | {"suspicious": _suspicious(path, batch, first)}
        first, previous = first + batch.num_rows, rows["time"][-1]


def _suspicious(path: Path, batch: pa.RecordBatch, first: int) -> Int64:
    """The last cell of each row, (n,). Read as text: Lean's files end without a newline, and one digit is never cut."""
    cells = batch.column("suspicious")
    known = pc.is_in(cells, value_set=pa.array(["0", "1"])).to_numpy(False)
    refuse_cells(path, first, "suspicious", ~known, cells, "must be 0 or 1")
    return np.asarray(cells.cast(pa.int64()).to_numpy(), np.int64)


def _refuse_half_quotes(path: Path, rows: Mapping[str, Int64], first: int) -> None:
    """A side is given by a price and a size, and every row gives one."""
    for side in ("bid", "ask"):
        price, size = rows[f"{side}_px"], rows[f"{side}_sz"]
        rule = f"must be above 0 exactly where {side}_px is"
        refuse_cells(path, first, f"{side}_sz", (price > 0) != (size > 0), size, rule)
    neither = (rows["bid_px"] == 0) & (rows["ask_px"] == 0)
    refuse_cells(
        path, first, "bid_px", neither, rows["bid_px"], "must be above 0 where ask_px is not"
    )


def _named(path: Path) -> tuple[str, int]:
    """Symbol and midnight (ns UTC) that a quote file's name says."""
    named = FILE_NAME.fullmatch(path.name)
    if named is None:
        raise ValidationError(
            f"{path} must be named SYMBOL_YYYYMMDD_quote.zip: symbol and day are not in the file"
        )
    if named["kind"].lower() == "trade":
        raise ValidationError(
            f"{path} holds trades, no books; give the _quote.zip, its trades come along"
        )
    return (named["symbol"] or path.resolve().parent.name).upper(), midnight_ns(
        parsed_date(path, named["date"])
    )

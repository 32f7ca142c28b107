"""Lean (QuantConnect): a day of one-sided quotes in a zip, its trades in a zip beside it."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.pairs import (
    TradeFeed,
    carried,
    midnight_ns,
    parsed_date,
    partner_of,
)
from research_lib.market.readers.tabular import Options, Rows, read
from research_lib.market.trades import UNSIGNED, Trades

Int64 = NDArray[np.int64]

logger = logging.getLogger(__name__)

NAME = "Lean level-1 quote zip"
TAKES = ()
FILE_NAME = re.compile(
    r"(?:(?P<symbol>[^_]+)_)?(?P<date>\d{8})_(?P<kind>quote|trade)\.zip", re.IGNORECASE
)
FIRST_CELLS = re.compile(rb"\d+,\d+,")
QUOTE = ("time", "bid_px", "bid_sz", "ask_px", "ask_sz", "exchange", "condition", "suspicious")
TRADE = ("time", "price", "size", "exchange", "condition", "suspicious")
PRICE_SCALE = 10_000
NS_A_MS = 10**6
DAY_MS = 86_400_000
TRADE_ROWS = 100_000


def matches(path: Path, head: bytes) -> bool:
    """Whether the name is SYMBOL_YYYYMMDD_quote.zip (or _trade), its content without a header."""
    return FILE_NAME.fullmatch(path.name) is not None and FIRST_CELLS.match(head) is not None


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """One-level books of a quote zip, `batch_rows` rows at a time, with the trades beside it.

    A row gives one side (the other is 0, 0) or both; the last bid and the last ask are carried
    along, so row i is the quote after row i. A side is empty until its first row. All rows are
    kept, of extended hours too, and so are locked and crossed ones: quotes of several venues,
    that the book's quality counts. Rows marked suspicious are not complete, and their quote is
    left out: they repeat the state before.

    The name is SYMBOL_YYYYMMDD_quote.zip, or YYYYMMDD_quote.zip in a folder named after the
    symbol; times are milliseconds after that day's midnight in New York, whatever the session.

    Yields
    ------
    BookSnapshots
        (n, 1); dollars and shares. `trades` have aggressor 0, the format has no sign; those
        marked suspicious are dropped and counted in the log; conditions are not interpreted, so
        auctions are among them. A trade goes with the batch whose last quote is the first at or
        after it.

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
    assert ready is not None  # `read` refuses a file without rows
    yield dataclasses.replace(ready, trades=trades.until(None))
    logger.info("read %s quotes of %s from %s", f"{n_rows:,}", symbol, path.name)


def _quotes(path: Path, symbol: str, midnight: int, batch_rows: int) -> Iterator[BookSnapshots]:
    before = dict.fromkeys(QUOTE[1:5], 0)
    for rows, cells in _rows(path, QUOTE, midnight, batch_rows):
        _refuse_half_quotes(rows, cells)
        believed = cells["suspicious"] == 0
        levels: dict[str, NDArray[Any]] = {}
        for side in ("bid", "ask"):
            given = (cells[f"{side}_px"] > 0) & believed
            for kind in (f"{side}_px", f"{side}_sz"):
                levels[kind] = carried(cells[kind], given, before[kind])[:, None]
        before = {kind: int(column[-1, 0]) for kind, column in levels.items()}
        yield BookSnapshots(
            cells["time"],
            levels["bid_px"] / PRICE_SCALE,
            levels["bid_sz"],
            levels["ask_px"] / PRICE_SCALE,
            levels["ask_sz"],
            symbol,
            believed,
        )


def _trades(path: Path, symbol: str, midnight: int) -> Iterator[Trades]:
    """Trades of a file in batches, without the suspicious ones, which are counted in the log."""
    n_suspicious = 0
    for rows, cells in _rows(path, TRADE, midnight, TRADE_ROWS):
        for name in ("price", "size"):
            rows.refuse(name, cells[name] <= 0, cells[name], "must be above 0")
        kept = cells["suspicious"] == 0
        n_suspicious += int(np.sum(~kept))
        time, price = cells["time"][kept], cells["price"][kept] / PRICE_SCALE
        yield Trades(time, price, cells["size"][kept], np.full(len(time), UNSIGNED), symbol)
    if n_suspicious:
        logger.info("dropped %s suspicious trades of %s", f"{n_suspicious:,}", symbol)


def _rows(
    path: Path, names: tuple[str, ...], midnight: int, batch_rows: int
) -> Iterator[tuple[Rows, Mapping[str, Int64]]]:
    """Rows of a file and their numbers, each (n,): time in ns UTC, suspicious 0 or 1."""
    columns, before = names[:-3], midnight
    wanted = [*columns, "suspicious"]
    # Lean's files end without a newline, and the last cell's one digit is never cut.
    for rows in read(path, wanted, batch_rows, names=names, may_end_open=True):
        table = rows.integers(columns)
        rows.refuse_table(columns, table < 0, table, "must be at least 0")
        cells = dict(zip(columns, table.T, strict=True))
        rule = f"must be milliseconds after midnight, below {DAY_MS}"
        rows.refuse("time", cells["time"] >= DAY_MS, cells["time"], rule)
        cells["time"] = midnight + cells["time"] * NS_A_MS
        before = rows.refuse_backwards("time", cells["time"], before)
        flags = rows.text("suspicious")
        known = np.isin(np.asarray(flags.fill_null(""), object).astype(str), ("0", "1"))
        rows.refuse("suspicious", ~known, flags, "must be 0 or 1")
        yield rows, cells | {"suspicious": rows.integers(["suspicious"])[:, 0]}


def _refuse_half_quotes(rows: Rows, cells: Mapping[str, Int64]) -> None:
    """A side is given by a price and a size, and every row gives one."""
    for side in ("bid", "ask"):
        price, size = cells[f"{side}_px"], cells[f"{side}_sz"]
        rule = f"must be above 0 exactly where {side}_px is"
        rows.refuse(f"{side}_sz", (price > 0) != (size > 0), size, rule)
    neither = (cells["bid_px"] == 0) & (cells["ask_px"] == 0)
    rows.refuse("bid_px", neither, cells["bid_px"], "must be above 0 where ask_px is not")


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
    symbol = named["symbol"] or path.resolve().parent.name
    return symbol.upper(), midnight_ns(parsed_date(path, named["date"]))

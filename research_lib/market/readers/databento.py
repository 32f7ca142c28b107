"""Databento market-by-price records as text and Parquet, to books and trades."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import cells
from research_lib.market.readers.mbp import (
    FIXED_PRICE_SCALE,
    UNDEF_PRICE,
    Records,
    books_of,
    fixed_prices,
)
from research_lib.market.sessions import Session

logger = logging.getLogger(__name__)

NAME = "Databento MBP-10 and MBP-1 (CSV, Parquet)"
LEVEL_COLUMN = re.compile(r"(bid|ask)_(px|sz)_(\d\d)")
PRICE_COLUMN = re.compile(r"price|(bid|ask)_px_\d\d")
ACTIONS = ("A", "C", "M", "R", "T", "F", "N")
AGGRESSOR = {"B": 1, "A": -1, "N": 0}
AMBIGUOUS_FROM = (
    1_000_000  # a whole number from here on may be dollars, or 0.001 and more in units of 1e-9
)
FIXED_FROM = (
    10_000_000  # a whole number this large is 0.01 in units of 1e-9, not a price in dollars
)
LOWEST_FIXED = 0.00001
READ_ROWS = 500_000


def matches(path: Path, head: bytes) -> bool:
    """Whether a CSV or Parquet file has Databento's columns (also those of a schema without levels)."""
    names = cells.guessed_names(path, head)
    levels = any(LEVEL_COLUMN.fullmatch(name) for name in names)
    return ("ts_event" in names and (levels or "action" in names)) or ("action" in names and levels)


def batches(
    path: Path, batch_rows: int, session: Session, *, flag_non_finite: bool = False
) -> Iterator[BookSnapshots]:
    """Books and trades of one file, `batch_rows` records at a time.

    A batch may be larger where the first trade of a session is waited for, at most the
    records of the session's first minute.

    Parameters
    ----------
    path : Path
        Columns by name, in any order: ts_event, action, side, flags, symbol, price and size
        (without both there are no trades), and bid_px_NN, bid_sz_NN, ask_px_NN, ask_sz_NN of
        levels 00 to L-1 (L = 10 in MBP-10, 1 in MBP-1). Without symbol, instrument_id is it.
        Times are ISO 8601 with a time zone or
        integer nanoseconds; prices are decimals or integers of 1e-9 (UNDEF_PRICE: empty level). In a CSV of whole
        numbers the dearest of the first prices decides: 10,000,000 or more is 1e-9.
    batch_rows : int
    session : Session
        Whose opening cross counts.
    flag_non_finite : bool
        Empty and flag a level with a price or size that is no number, instead of refusing the file.

    Yields
    ------
    BookSnapshots
        Every record a state, `complete` as in `mbp.books_of`, with `trades`.

    Raises
    ------
    ValidationError
        A damaged file, a missing column, a cell that cannot be (text in a number, an unknown
        action or side, a price without size), two symbols, times that run backwards: names
        file, row and column. A CSV of whole-number prices, the dearest from 1e6 to 1e7: ambiguous.
    """
    return books_of(records(path, batch_rows, flag_non_finite), session)


def read_mbp10(
    path_or_paths: str | Path | Iterable[str | Path], *, session: Session | None = None
) -> BookSnapshots:
    """Read Databento MBP-10 records (CSV of any compression, or Parquet), every record a state of the book.

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
        As `batches`; also files out of time order, or of two symbols.

    References
    ----------
    Databento, "Market by price" (MBP-10) schema; Nasdaq TotalView-ITCH cross trades.
    """
    paths = [
        Path(path)
        for path in ([path_or_paths] if isinstance(path_or_paths, (str, Path)) else path_or_paths)
    ]
    if not paths:
        raise ValidationError("no file to read; give at least one path")
    books = BookSnapshots.concat(list(books_of(_one_after_the_other(paths), session or Session())))
    logger.info(
        "read %s rows of %s from %s",
        f"{len(books):,}",
        books.symbol,
        ", ".join(path.name for path in paths),
    )
    return books


def records(path: Path, batch_rows: int, flag_non_finite: bool = False) -> Iterator[Records]:
    """Checked records of one file, `batch_rows` at a time; raises as `batches`."""
    columns = _Columns.of(path, flag_non_finite)
    symbol, before = None, np.int64(0)
    for row, batch in cells.read_columns(path, columns.types, batch_rows):
        symbol = cells.one_text(path, row, columns.symbol, batch.column(columns.symbol), symbol)
        time = cells.times(path, row, "ts_event", batch.column("ts_event"))
        cells.refuse_backwards(path, row, "ts_event", time, before)
        before = time[-1]
        yield columns.records(row, batch, time, symbol)


def _one_after_the_other(paths: list[Path]) -> Iterator[Records]:
    """The records of all files, which must follow each other in time and be of one symbol."""
    names = ", ".join(path.name for path in paths)
    last: Records | None = None
    for path in paths:
        for part in records(path, READ_ROWS):
            if last is not None and part.symbol != last.symbol:
                raise ValidationError(
                    f"{names} hold 2 symbols ({last.symbol}, {part.symbol}); read one at a time"
                )
            if last is not None and part.time[0] < last.time[-1]:
                raise ValidationError(
                    f"{names}: time runs backwards from the file before to {path.name}; give them in time order"
                )
            yield part
            last = part


@dataclass(frozen=True)
class _Columns:
    """The columns of one file, and how its prices and times are written."""

    path: Path
    n_levels: int
    symbol: str
    types: dict[str, pa.DataType]
    flag: bool

    @classmethod
    def of(cls, path: Path, flag: bool) -> _Columns:
        """From the file's header and first rows; refused where it has no levels."""
        names = cells.column_names(path)
        found = [match for match in map(LEVEL_COLUMN.fullmatch, names) if match]
        if not found:
            raise ValidationError(
                f"{path} lacks column bid_px_00: it holds no levels; fetch schema mbp-10 or mbp-1 "
                f"(it has {', '.join(names[:8])}, ...)"
            )
        n_levels = 1 + max(int(match[3]) for match in found)
        trades = ["price", "size"] if {"price", "size"} & set(names) else []
        symbol = "instrument_id" if "instrument_id" in names and "symbol" not in names else "symbol"
        wanted = [
            "ts_event",
            "action",
            "side",
            "flags",
            symbol,
            *trades,
            *cells.level_columns(n_levels),
        ]
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValidationError(
                f"{path} is not MBP-{n_levels}: it lacks column {', '.join(missing[:5])} ({len(missing)} in all)"
            )
        types: dict[str, pa.DataType] = dict.fromkeys(wanted, pa.float64())
        types |= dict.fromkeys(filter(PRICE_COLUMN.fullmatch, wanted), _price_type(path))
        types |= dict.fromkeys(("action", "side", symbol), pa.string())
        types |= {"flags": pa.int64(), "ts_event": cells.time_type(path, "ts_event")}
        return cls(path, n_levels, symbol, types, flag)

    def records(
        self, row: int, batch: pa.RecordBatch, time: NDArray[np.int64], symbol: str
    ) -> Records:
        """The batch, whose first row is number `row`, as checked records."""
        flags = batch.column("flags")
        cells.refuse_cells(
            self.path, row, "flags", flags.is_null().to_numpy(False), flags, "must hold numbers"
        )
        traded = self._codes(row, batch, "action", ACTIONS) == ACTIONS.index("T")
        aggressor = np.array(list(AGGRESSOR.values()), np.int8)[
            self._codes(row, batch, "side", tuple(AGGRESSOR))
        ]
        price, size = self._traded(row, batch, traded) if "price" in self.types else (None, None)
        sides = {
            f"{side}_{kind}": table
            for side in ("bid", "ask")
            for kind, table in self._side(row, batch, side)
        }
        return Records(
            time, flags.to_numpy(), traded, aggressor, price, size, symbol=symbol, **sides
        )

    def _traded(
        self, row: int, batch: pa.RecordBatch, traded: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Price and size of each record, (n,) each; those of trades are above 0."""
        price = self._prices(row, batch, ["price"])[:, 0]
        size = cells.numbers(batch, ["size"])[:, 0]
        for name, values in (("price", price), ("size", size)):
            bad = traded & ~((values > 0) & (values < cells.DEAREST))
            cells.refuse_cells(
                self.path, row, name, bad, values, "of a trade must be above 0 and below 1e9"
            )
        return price, size

    def _side(
        self, row: int, batch: pa.RecordBatch, side: str
    ) -> Iterator[tuple[str, NDArray[np.float64]]]:
        prices, sizes = (
            cells.level_columns(self.n_levels, [side], [code]) for code in ("px", "sz")
        )
        price = self._prices(row, batch, prices)
        size = cells.numbers(batch, sizes)
        checked = cells.levels(self.path, row, prices, sizes, price, size, flag=self.flag)
        yield from zip(("price", "size"), checked, strict=True)

    def _codes(
        self, row: int, batch: pa.RecordBatch, name: str, known: tuple[str, ...]
    ) -> NDArray[np.int64]:
        """Position of each cell in `known`, (n,)."""
        column = batch.column(name)
        found = pc.index_in(column, value_set=pa.array(known))
        rule = f"must be one of {', '.join(known)}"
        cells.refuse_cells(self.path, row, name, found.is_null().to_numpy(False), column, rule)
        return np.asarray(found.to_numpy(), np.int64)

    def _prices(self, row: int, batch: pa.RecordBatch, names: list[str]) -> NDArray[np.float64]:
        """Price columns in currency, (n, k), NaN where empty or UNDEF_PRICE."""
        if pa.types.is_integer(self.types[names[0]]):
            fixed = [batch.column(name).fill_null(UNDEF_PRICE).to_numpy() for name in names]
            price = fixed_prices(np.column_stack(fixed))
            low = (price > 0) & (price < LOWEST_FIXED)
            rule = "is read as fixed-point of 1e-9 and must be at least 0.00001; write decimals"
            cells.refuse_table(self.path, row, names, low, price, rule)
            return price
        price = cells.numbers(batch, names)
        undefined = ((price >= UNDEF_PRICE) & (price < np.inf)) | (
            price == UNDEF_PRICE / FIXED_PRICE_SCALE
        )
        return np.where(undefined, np.nan, price)


def _price_type(path: Path) -> pa.DataType:
    """int64 where the file's prices are fixed-point integers of 1e-9, float64 where they are decimals."""
    stored = cells.column_type(path, "bid_px_00")
    if stored is not None:
        return pa.int64() if pa.types.is_integer(stored) else pa.float64()
    prices = [
        cell
        for cell in cells.first_cells(path, lambda name: PRICE_COLUMN.fullmatch(name) is not None)
        if cell
    ]
    if not prices or not all(cell.isdigit() for cell in prices):
        return pa.float64()
    dearest = max((int(cell) for cell in prices if int(cell) != UNDEF_PRICE), default=UNDEF_PRICE)
    if AMBIGUOUS_FROM <= dearest < FIXED_FROM:
        raise ValidationError(
            f"{path}: prices are whole numbers up to {dearest:,}, which may be currency or units of 1e-9; "
            f"write them as decimals, {dearest}.0 or {dearest / FIXED_PRICE_SCALE:.9f}"
        )
    return pa.int64() if dearest >= FIXED_FROM else pa.float64()

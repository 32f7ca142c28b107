"""A user's own frame, long or wide, as CSV or Parquet, to books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import FRAME_COLUMNS, SIDES, BookSnapshots
from research_lib.market.readers import cells
from research_lib.market.sessions import Session
from research_lib.market.user_frames import (
    KINDS,
    SYMBOL_COLUMNS,
    TIME_COLUMNS,
    WIDE_COLUMN,
    deepest_level,
)

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

NAME = "long or wide frame (CSV, Parquet)"
MAX_LEVELS = 1_000
SURVEY_ROWS = 200_000
LONG_ROWS_PER_SNAPSHOT = 20
LONG_ROWS = 500_000


def matches(path: Path, head: bytes) -> bool:
    """Whether a CSV or Parquet file has most columns of the long frame, or any of the wide one."""
    names = cells.guessed_names(path, head)
    return len(names & set(FRAME_COLUMNS[1:])) >= 3 or any(
        WIDE_COLUMN.fullmatch(name) for name in names
    )


def batches(
    path: Path,
    batch_rows: int,
    session: Session,
    *,
    flag_non_finite: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Iterator[BookSnapshots]:
    """Books of one file, `batch_rows` snapshots at a time.

    Long: time, side ("bid" or "ask"), price, size, level (1 is best), as
    `BookSnapshots.to_frame` writes them; the rows of one time are one snapshot, in any
    order among themselves. Wide: time or timestamp, and bid_price_k, bid_size_k,
    ask_price_k, ask_size_k of levels 1 to L; a level of size 0, or without price and
    size, is empty. Either may have a column symbol or ticker, in any case, with one value.

    The file is read twice: first its touch, since a frame with more than half of its
    snapshots crossed is not an order book; then all of it.

    Parameters
    ----------
    path : Path
        Columns by name, in any order. Times are ISO 8601 with a time zone, time-zone-aware
        timestamps, or integer nanoseconds UTC; never decreasing.
    batch_rows : int
    session : Session
        Not used: a frame carries no opening cross.
    flag_non_finite : bool
        Empty and flag a level with a price or size that is no number, instead of refusing the file.
    columns : mapping of the file's names to those above, optional
        Others keep their names.

    Yields
    ------
    BookSnapshots
        Without trades, all complete. The levels of a long batch are those it shows.

    Raises
    ------
    ValidationError
        A missing column, a cell that cannot be, times without a time zone or that run
        backwards, a (time, side, level) given twice, two symbols, a crossed frame: names
        file and, where a cell is at fault, row and column.
    """
    found = _Columns.of(path, flag_non_finite, columns or {})
    if found.n_levels:
        _refuse_crossed(found, _wide_touch(found))
        yield from _wide(found, batch_rows)
    else:
        _refuse_crossed(found, _long_touch(found))
        yield from _long(found, batch_rows)


@dataclass(frozen=True)
class _Columns:
    """The columns of one file: names of time and symbol, number of levels (0: long), Arrow types."""

    path: Path
    time: str
    symbol: str | None
    n_levels: int
    types: dict[str, pa.DataType]
    flag: bool
    original: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, flag: bool, renames: Mapping[str, str]) -> _Columns:
        """From the file's header, its columns renamed first."""
        original = _renamed(path, cells.column_names(path), renames)
        names = list(original)
        n_levels = deepest_level(names)
        if n_levels > MAX_LEVELS:
            raise ValidationError(
                f"{path} has levels up to {n_levels:,}; keep at most {MAX_LEVELS:,}"
            )
        known_times = TIME_COLUMNS if n_levels else TIME_COLUMNS[:1]
        time = next((name for name in known_times if name in names), " or ".join(known_times))
        symbol = next(
            (name for known in SYMBOL_COLUMNS for name in names if name.lower() == known), None
        )
        wanted = _level_columns(n_levels) if n_levels else list(FRAME_COLUMNS[1:])
        missing = [name for name in (time, *wanted) if name not in names]
        if missing:
            raise ValidationError(
                f"{path} is no {'wide' if n_levels else 'long'} frame: it lacks column {', '.join(missing[:5])} "
                f"({len(missing)} in all); it has {', '.join(names[:8])}"
            )
        types: dict[str, pa.DataType] = dict.fromkeys(wanted, pa.float64())
        types |= {name: pa.string() for name in ("side", symbol) if name in names}
        return cls(
            path,
            time,
            symbol,
            n_levels,
            {time: cells.time_type(path, original[time]), **types},
            flag,
            original,
        )

    def read(
        self, batch_rows: int, only: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of all columns, or of those named."""
        names = [name for name in self.types if not only or name in only]
        types = {self.original[name]: self.types[name] for name in names}
        for row, batch in cells.read_columns(self.path, types, batch_rows):
            yield row, batch.rename_columns(names)

    def times_and_symbol(
        self, row: int, batch: pa.RecordBatch, before: np.int64, symbol: str | None
    ) -> tuple[Int64, str]:
        """Times (n,) that go on from `before`, and the symbol, "" where there is no such column."""
        time = cells.times(self.path, row, self.time, batch.column(self.time))
        cells.refuse_backwards(self.path, row, self.time, time, before)
        if self.symbol is None:
            return time, ""
        return time, cells.one_text(self.path, row, self.symbol, batch.column(self.symbol), symbol)


def _renamed(path: Path, names: list[str], renames: Mapping[str, str]) -> dict[str, str]:
    """The file's own name of every column by the name that it goes by."""
    unknown = [name for name in renames if name not in names]
    if unknown:
        raise ValidationError(
            f"{path} has no column {unknown[0]!r} to rename; it has {', '.join(names[:8])}"
        )
    called = [renames.get(name, name) for name in names]
    for new in renames.values():
        if called.count(new) > 1:
            raise ValidationError(
                f"{path}: {called.count(new)} columns would be {new}; rename one only"
            )
    return dict(zip(called, names, strict=True))


def _level_columns(
    n_levels: int, sides: Sequence[str] = SIDES, kinds: Sequence[str] = KINDS
) -> list[str]:
    return cells.level_columns(n_levels, sides, kinds, numbered="{}", first=1)


def _wide(columns: _Columns, batch_rows: int) -> Iterator[BookSnapshots]:
    symbol, before = None, np.int64(0)
    for row, batch in columns.read(batch_rows):
        time, symbol = columns.times_and_symbol(row, batch, before, symbol)
        before = time[-1]
        levels = {
            f"{side}_{kind}": table
            for side in SIDES
            for kind, table in _wide_side(columns, row, batch, side)
        }
        yield BookSnapshots.flagging(time=time, symbol=symbol, **levels)


def _wide_side(
    columns: _Columns, row: int, batch: pa.RecordBatch, side: str
) -> Iterator[tuple[str, Float]]:
    prices, sizes = (_level_columns(columns.n_levels, [side], [kind]) for kind in KINDS)
    price, size = (cells.numbers(batch, names) for names in (prices, sizes))
    checked = cells.levels(columns.path, row, prices, sizes, price, size, flag=columns.flag)
    yield from zip(KINDS, checked, strict=True)


@dataclass(frozen=True, eq=False)
class _Rows:
    """m rows of a long frame, checked one by one: (m,) each; `ask` is 1 on the ask side, `level` counts from 0."""

    row: Int64
    time: Int64
    ask: Int64
    level: Int64
    price: Float
    size: Float

    def part(self, start: int, stop: int | None) -> _Rows:
        """Rows start to stop."""
        return _Rows(*(array[start:stop] for array in vars(self).values()))

    def followed_by(self, other: _Rows) -> _Rows:
        """These rows, then those of `other`."""
        return _Rows(
            *map(np.concatenate, zip(vars(self).values(), vars(other).values(), strict=True))
        )


def _long(columns: _Columns, batch_rows: int) -> Iterator[BookSnapshots]:
    """Whole snapshots only: the rows of the last time wait for the next batch."""
    symbol, before, waiting = None, np.int64(0), None
    for row, batch in columns.read(min(batch_rows * LONG_ROWS_PER_SNAPSHOT, LONG_ROWS)):
        time, symbol = columns.times_and_symbol(row, batch, before, symbol)
        before = time[-1]
        rows = _long_rows(columns, row, batch, time)
        rows = rows if waiting is None else waiting.followed_by(rows)
        starts = np.flatnonzero(np.diff(rows.time, prepend=-1))
        whole = (len(starts) - 1) // batch_rows * batch_rows
        for first in range(0, whole, batch_rows):
            yield _assembled(
                columns.path, rows.part(starts[first], starts[first + batch_rows]), symbol
            )
        waiting = rows.part(starts[whole], None)
    if waiting is not None and symbol is not None:
        yield _assembled(columns.path, waiting, symbol)


def _long_rows(columns: _Columns, row: int, batch: pa.RecordBatch, time: Int64) -> _Rows:
    path, side = columns.path, batch.column("side")
    known = np.isin(np.asarray(side.fill_null(""), object).astype(str), SIDES)
    cells.refuse_cells(path, row, "side", ~known, side, 'must be "bid" or "ask"')
    price, size, level = cells.numbers(batch, ["price", "size", "level"]).T
    for name, values in (("price", price), ("size", size)):
        bad = ~((values > 0) & (values < cells.DEAREST))
        if columns.flag:
            bad &= np.isfinite(values) & ~((values < 0) & (name == "size"))
        cells.refuse_cells(path, row, name, bad, values, "must be above 0 and below 1e9")
    counted = (level >= 1) & (level <= MAX_LEVELS) & (level % 1 == 0)
    cells.refuse_cells(
        path, row, "level", ~counted, level, f"must be a whole number from 1 to {MAX_LEVELS:,}"
    )
    ask = np.asarray(side.to_numpy(zero_copy_only=False) == "ask", np.int64)
    return _Rows(row + np.arange(len(time)), time, ask, level.astype(np.int64) - 1, price, size)


def _assembled(path: Path, rows: _Rows, symbol: str) -> BookSnapshots:
    """The snapshots of whole times."""
    times, snapshot = np.unique(rows.time, return_inverse=True)
    shape = (len(times), 2, int(rows.level.max()) + 1)
    flat = np.ravel_multi_index((snapshot, rows.ask, rows.level), shape)
    first = np.unique(flat, return_index=True)[1]
    if len(first) < len(flat):
        again = np.setdiff1d(np.arange(len(flat)), first)[0]
        raise ValidationError(
            f"{path}: columns time, side, level are given twice, row {rows.row[again]} repeats "
            f"{SIDES[rows.ask[again]]} level {rows.level[again] + 1}; keep one state a time"
        )
    price, size = np.full(shape, np.nan), np.zeros(shape)
    price.ravel()[flat] = rows.price
    size.ravel()[flat] = rows.size
    levels = {
        f"{name}_{kind}": table[:, position]
        for position, name in enumerate(SIDES)
        for kind, table in zip(KINDS, (price, size), strict=True)
    }
    return BookSnapshots.flagging(time=times, symbol=symbol, **levels)


def _wide_touch(columns: _Columns) -> Iterator[tuple[Float, Float]]:
    touch = ("bid_price_1", "ask_price_1")
    for _, batch in columns.read(SURVEY_ROWS, touch):
        bid, ask = cells.numbers(batch, touch).T
        yield bid, ask


def _long_touch(columns: _Columns) -> Iterator[tuple[Float, Float]]:
    """Best bid and ask of each time of which both are in one batch."""
    for row, batch in columns.read(SURVEY_ROWS, (columns.time, "side", "price", "level")):
        time = cells.times(columns.path, row, columns.time, batch.column(columns.time))
        price, level = cells.numbers(batch, ["price", "level"]).T
        side = batch.column("side").to_numpy(zero_copy_only=False)
        bid, ask = ((level == 1) & (side == name) for name in SIDES)
        _, of_bid, of_ask = np.intersect1d(time[bid], time[ask], return_indices=True)
        yield price[bid][of_bid], price[ask][of_ask]


def _refuse_crossed(columns: _Columns, touch: Iterator[tuple[Float, Float]]) -> None:
    """Raise ValidationError, with the counts, if the best bid is above the best ask in most snapshots."""
    crossed = n = 0
    for bid, ask in touch:
        crossed += int(np.sum(bid > ask))
        n += len(bid)
    if 2 * crossed > n:
        raise ValidationError(
            f"{columns.path}: the best bid is above the best ask in {crossed:,} of {n:,} rows ({crossed / n:.1%}), and "
            f"{_missing(columns):,} cells are NaN; a frame with more than half of its rows crossed is not an order "
            "book: look whether bid and ask are exchanged, or use another source"
        )


def _missing(columns: _Columns) -> int:
    """Empty cells of the whole file."""
    return sum(
        column.null_count for _, batch in columns.read(SURVEY_ROWS) for column in batch.columns
    )

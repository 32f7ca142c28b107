"""Tables with one snapshot a row: a layout says what its columns are called and what they count.

A vendor's CSV or Parquet layout is one entry of `LAYOUTS`. `{}` stands for the level, counted
from `first_level`; files are recognised by their columns, compression by content, and all checks,
filters, batches and errors come along:

    Layout(
        name="Tardis book_snapshot",
        time=("timestamp",),
        time_unit="us",
        bid_price="bids[{}].price",
        bid_size="bids[{}].amount",
        ask_price="asks[{}].price",
        ask_size="asks[{}].amount",
        first_level=0,
    )

What is no such table has a file of its own: Databento's events and binary records, LOBSTER's
pairs, Lean's one-sided quotes, Binance's streams, the long frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.readers.tabular import Options, Rows, column_names, identities, read

Float = NDArray[np.float64]

KINDS = ("price", "size")
MAX_LEVELS = 1_000
SURVEY_ROWS = 200_000
FIXED_PRICE_SCALE = 1e9
UNDEF_PRICE = 9_223_372_036_854_775_807
# Where all prices are whole numbers, the highest decides: from here on they may be dollars, or
# 0.001 and more in units of 1e-9; and from there on they are units of 1e-9.
AMBIGUOUS_FROM, FIXED_FROM = 1_000_000, 10_000_000
LOWEST_FIXED = 0.00001


@dataclass(frozen=True)
class Layout:
    """Names and units of the columns of a table with one snapshot a row.

    Attributes
    ----------
    name : str
    time : tuple of str
        The column of times; of several, the first that the file has.
    bid_price, bid_size, ask_price, ask_size : str
        Of a level; `{}` is its number.
    first_level : int
        Number of the best level.
    price_scale : float
        What the stored prices are multiplied by.
    time_unit : str
        Of times that are numbers: "s", "ms", "us", "ns".
    timezone : str, optional
        Of times that name none.
    fixed_prices : bool
        Whether whole numbers may be Databento's fixed-point prices, units of 1e-9.
    required : tuple of str
        Further columns by which the layout is recognised.
    """

    name: str
    time: tuple[str, ...]
    bid_price: str
    bid_size: str
    ask_price: str
    ask_size: str
    first_level: int = 1
    price_scale: float = 1.0
    time_unit: str | None = None
    timezone: str | None = None
    fixed_prices: bool = False
    required: tuple[str, ...] = ()

    def side(self, side: str, n_levels: int) -> tuple[list[str], list[str]]:
        """Names of the prices and of the sizes of a side, best level first."""
        numbers = range(self.first_level, self.first_level + n_levels)
        price, size = (
            [getattr(self, f"{side}_{kind}").format(k) for k in numbers] for kind in KINDS
        )
        return price, size

    def columns(self, n_levels: int) -> list[str]:
        """All columns of levels."""
        return [name for side in SIDES for names in self.side(side, n_levels) for name in names]

    def depth(self, names: Sequence[str]) -> int:
        """Levels of a table with these columns; 0 where it has none."""
        for n_levels in range(MAX_LEVELS, 0, -1):
            if not set(self._last(n_levels)).isdisjoint(names):
                return n_levels
        return 0

    def _last(self, n_levels: int) -> list[str]:
        number = self.first_level + n_levels - 1
        return [getattr(self, f"{side}_{kind}").format(number) for side in SIDES for kind in KINDS]

    def fits(self, names: Sequence[str]) -> bool:
        """Whether these are columns of the layout."""
        return set(self.required) <= set(names) and not set(self._last(1)).isdisjoint(names)


WIDE = Layout(
    name="wide frame",
    time=("time", "timestamp"),
    bid_price="bid_price_{}",
    bid_size="bid_size_{}",
    ask_price="ask_price_{}",
    ask_size="ask_size_{}",
)
MBP = Layout(
    name="Databento MBP",
    time=("ts_event",),
    bid_price="bid_px_{:02d}",
    bid_size="bid_sz_{:02d}",
    ask_price="ask_px_{:02d}",
    ask_size="ask_sz_{:02d}",
    first_level=0,
    fixed_prices=True,
)
LAYOUTS = (
    replace(WIDE, first_level=0),  # before the other: its best level must not be thrown away
    WIDE,
    # A book sampled each second or minute: `ts_event` is the last trade's time, not the sample's.
    replace(MBP, name="Databento BBO", time=("ts_recv",), required=("ts_recv", "bid_px_00")),
    Layout(
        name="Tardis book_snapshot",
        time=("timestamp",),
        time_unit="us",
        bid_price="bids[{}].price",
        bid_size="bids[{}].amount",
        ask_price="asks[{}].price",
        ask_size="asks[{}].amount",
        first_level=0,
    ),
)


def layout_of(names: Sequence[str]) -> Layout | None:
    """The layout with these columns."""
    return next((layout for layout in LAYOUTS if layout.fits(names)), None)


def renamed(path: Path | str, names: Sequence[str], renames: Mapping[str, str]) -> dict[str, str]:
    """The source's own name of every column by the name that it goes by."""
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


@dataclass(frozen=True)
class Table:
    """A file's columns under the names of its layout: by those, its own."""

    path: Path
    layout: Layout
    original: dict[str, str]
    time: str
    n_levels: int
    options: Options
    price_scale: float | None  # None: fixed-point
    seen: dict[str, str]

    @classmethod
    def of(cls, path: Path, options: Options, layout: Layout | None = None) -> Table:
        """From the file's header and first prices.

        Raises
        ------
        ValidationError
            A column that the layout needs and the file lacks.
        """
        original = renamed(path, column_names(path), options.columns)
        names = list(original)
        layout = layout or layout_of(names) or WIDE
        if layout.name == WIDE.name:
            refuse_deep(path, names)
        n_levels = layout.depth(names)
        time = next((name for name in layout.time if name in names), " or ".join(layout.time))
        absent = [name for name in (time, *layout.columns(n_levels or 1)) if name not in names]
        if absent:
            raise ValidationError(
                f"{path} is no {layout.name}: it lacks column {', '.join(absent[:5])} "
                f"({len(absent)} in all); it has {', '.join(names[:8])}"
            )
        prices = [original[name] for side in SIDES for name in layout.side(side, n_levels)[0]]
        scale = price_scale(path, prices, layout)
        return cls(path, layout, original, time, n_levels, options, scale, {})

    def read(self, batch_rows: int, more: Sequence[str] = ()) -> Iterator[Rows]:
        """Its rows under the layout's names, with further columns."""
        wanted = [self.time, *self.layout.columns(self.n_levels), *more, *identities(self.original)]
        yield from self.only(batch_rows, list(dict.fromkeys(wanted)))

    def only(self, batch_rows: int, wanted: Sequence[str]) -> Iterator[Rows]:
        """Rows of some columns."""
        own = [self.original[name] for name in wanted]
        for rows in read(self.path, own, batch_rows, where=self.options.where):
            batch = rows.batch.select(own).rename_columns(list(wanted))
            yield replace(rows, batch=batch)

    def symbol(self, rows: Rows) -> str:
        """The one symbol, and no second product, venue or instrument."""
        return rows.one_value(identities(self.original), self.seen)

    def times(self, rows: Rows, before: int) -> NDArray[np.int64]:
        """Times that go on from `before`."""
        unit = self.options.time_unit or self.layout.time_unit
        time = rows.times(self.time, unit, self.options.timezone or self.layout.timezone)
        rows.refuse_backwards(self.time, time, before)
        return time

    def prices(self, rows: Rows, names: Sequence[str]) -> Float:
        """Price columns in currency, (n, k), NaN where empty."""
        if self.price_scale is not None:
            price = rows.numbers(names) * self.price_scale
            if not self.layout.fixed_prices:
                return price
            undefined = ((price >= UNDEF_PRICE) & (price < np.inf)) | (
                price == UNDEF_PRICE / FIXED_PRICE_SCALE
            )
            return np.where(undefined, np.nan, price)
        whole = [
            rows.cast(name, pa.int64()).fill_null(UNDEF_PRICE).to_numpy(zero_copy_only=False)
            for name in names
        ]
        price = fixed_prices(np.column_stack(whole))
        low = (price > 0) & (price < LOWEST_FIXED)
        rule = "is read as fixed-point of 1e-9 and must be at least 0.00001; write decimals"
        rows.refuse_table(names, low, price, rule)
        return price

    def levels(self, rows: Rows) -> dict[str, Float]:
        """Checked prices and sizes of both sides by the names of `BookSnapshots`."""
        levels: dict[str, Float] = {}
        for side in SIDES:
            names = self.layout.side(side, self.n_levels)
            price, size = self.prices(rows, names[0]), rows.numbers(names[1])
            checked = rows.levels(names, price, size, self.options.flag)
            levels |= dict(zip((f"{side}_price", f"{side}_size"), checked, strict=True))
        return levels


def refuse_deep(path: Path | str, names: Sequence[str]) -> None:
    """Raise for a wide frame of absurdly many levels, a slip in a name."""
    numbers = [name.rpartition("_")[2] for name in names if name.startswith(("bid_", "ask_"))]
    deepest = max((int(number) for number in numbers if number.isdecimal()), default=0)
    if deepest > MAX_LEVELS:
        raise ValidationError(f"{path} has levels up to {deepest:,}; keep at most {MAX_LEVELS:,}")


def fixed_prices(prices: NDArray[np.int64]) -> Float:
    """Fixed-point prices, 1e-9 currency each, as floats; UNDEF_PRICE is NaN."""
    return np.where(prices == UNDEF_PRICE, np.nan, prices / FIXED_PRICE_SCALE)


def price_scale(path: Path, names: Sequence[str], layout: Layout) -> float | None:
    """What a file's prices are multiplied by; None where they are fixed-point integers of 1e-9."""
    if not layout.fixed_prices:
        return layout.price_scale
    try:
        rows = next(read(path, names, 1_000))
    except ValidationError:
        return layout.price_scale  # reading all of it will say what is wrong
    columns = [rows.batch.column(name) for name in names]
    if not pa.types.is_string(columns[0].type):
        return None if pa.types.is_integer(columns[0].type) else layout.price_scale
    cells = {cell for column in columns for cell in column.unique().to_pylist() if cell}
    if not cells or not all(cell.strip().isdecimal() for cell in cells):
        return layout.price_scale
    highest = max((int(cell) for cell in cells if int(cell) != UNDEF_PRICE), default=UNDEF_PRICE)
    if AMBIGUOUS_FROM <= highest < FIXED_FROM:
        raise ValidationError(
            f"{path}: prices are whole numbers up to {highest:,}, which may be currency or units "
            f"of 1e-9; write them as decimals, {highest}.0 or {highest / FIXED_PRICE_SCALE:.9f}"
        )
    return None if highest >= FIXED_FROM else layout.price_scale


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books of a file with one snapshot a row, `batch_rows` at a time.

    The file is read twice: first its touch, since a table with more than half of its snapshots
    crossed is not an order book; then all of it.

    Raises
    ------
    ValidationError
        A missing column, a cell that cannot be, times without a time zone or that run backwards,
        two symbols, venues or products, a crossed table: names file, row and column.
    """
    table = Table.of(path, options)
    refuse_crossed(path, _touch(table), lambda: _empty_cells(table))
    before = 0
    for rows in table.read(batch_rows):
        symbol, time = table.symbol(rows), table.times(rows, before)
        before = int(time[-1])
        yield BookSnapshots.flagging(time=time, symbol=symbol, **table.levels(rows))


def _touch(table: Table) -> Iterator[tuple[Float, Float]]:
    best = [table.layout.side(side, 1)[0][0] for side in SIDES]
    for rows in table.only(SURVEY_ROWS, best):
        bid, ask = rows.numbers(best).T
        yield bid, ask


def _empty_cells(table: Table) -> int:
    return sum(
        column.null_count for rows in table.read(SURVEY_ROWS) for column in rows.batch.columns
    )


def refuse_crossed(
    path: Path, touch: Iterator[tuple[Float, Float]], empty_cells: Callable[[], int]
) -> None:
    """Raise, with the counts, if the best bid is above the best ask in most snapshots."""
    crossed = n = 0
    for bid, ask in touch:
        crossed += int(np.sum(bid > ask))
        n += len(bid)
    if 2 * crossed > n:
        raise ValidationError(
            f"{path}: the best bid is above the best ask in {crossed:,} of {n:,} rows "
            f"({crossed / n:.1%}), and {empty_cells():,} cells are NaN; a frame with more than "
            "half of its rows crossed is not an order book: look whether bid and ask are "
            "exchanged, or use another source"
        )

"""Tables of books: one snapshot a row (vendors' layouts, wide frames), or one level a row (long).

A vendor's CSV or Parquet with one snapshot a row is one entry of `LAYOUTS`; files are recognised by
their columns, compression by content, and all checks, filters, batches and errors come along:

    Layout(
        name="Tardis book_snapshot",
        time=("timestamp",),
        time_unit="us",
        level="{side}[{k}].{kind}",  # bids[0].price, ...
        sides=("bids", "asks"),
        kinds=("price", "amount"),
        first_level=0,
    )

Other files have a `tabular.Format` of their own: Databento's events, LOBSTER's and Lean's pairs,
Binance's streams. A DataFrame is read in the same way as a file.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from research_lib.errors import ValidationError
from research_lib.market.book import FRAME_COLUMNS, LEVELS, SIDES, BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.tabular import Options, Source
from research_lib.market.trades import BUY, SELL, UNSIGNED, Trades

logger = logging.getLogger(__name__)
KINDS = ("price", "size")
MAX_LEVELS = 1_000
# Where all prices of a CSV are whole numbers, the highest decides: from here on they may be
# dollars, or 0.001 and more in units of 1e-9; from FIXED_FROM on they are units of 1e-9.
AMBIGUOUS_FROM, FIXED_FROM, UNDEF_PRICE = 1_000_000, 10_000_000, 2.0**63
LONG = "long: time, side (bid or ask), price, size, level (1 is best)"
WIDE_NAMES = "time, bid_price_1, bid_size_1, ask_price_1, ask_size_1, bid_price_2, ..."
WORDS = {
    "bid": "bid bids b buy", "ask": "ask asks a offer offers ofr sell",
    "price": "price prices px prc p", "time": "time timestamp ts datetime date_time t event",
    "size": "size sizes sz qty quantity volume vol amount v q shares",
    "level": "level lvl depth position", "side": "side direction",
}  # fmt: skip
MEANT = {word: name for name, words in WORDS.items() for word in words.split()}
KIND = "|".join([*WORDS["price"].split(), *WORDS["size"].split()])
TOGETHER = re.compile(rf"\b(bid|ask|offer)(?=({KIND})(?![a-z]))", re.IGNORECASE)  # "bidpx"


@dataclass(frozen=True)
class Layout:
    """Names and units of the columns of a table with one snapshot a row.

    Attributes
    ----------
    name : str
    time : tuple of str
        The column of times; of several, the first that the file has.
    level : str
        A column of a level: `{side}` and `{kind}` are its words for them, `{k}` the number.
    sides : tuple of str
        The words for bid and ask.
    kinds : tuple of str
        The words for price and size.
    first_level : int
        Number of the best level.
    time_unit : str
        Unit of times that are numbers: "s", "ms", "us", "ns".
    fixed_prices : bool
        Whether whole numbers may be Databento's fixed-point prices, units of 1e-9.
    required : str
        A further column by which the layout is recognised.
    """

    name: str
    time: tuple[str, ...]
    level: str
    sides: tuple[str, str] = SIDES
    kinds: tuple[str, str] = ("price", "size")
    first_level: int = 1
    time_unit: str | None = None
    fixed_prices: bool = False
    required: str = ""

    def side(self, side: str, n_levels: int) -> tuple[list[str], list[str]]:
        """Names of the prices and of the sizes of a side, best level first."""
        word, (price, size) = self.sides[SIDES.index(side)], self.kinds
        numbers = range(self.first_level, MAX_LEVELS + 1)[:n_levels]
        prices = [self.level.format(side=word, kind=price, k=k) for k in numbers]
        return prices, [self.level.format(side=word, kind=size, k=k) for k in numbers]

    def columns(self, n_levels: int) -> list[str]:
        """All columns of levels."""
        return [name for side in SIDES for names in self.side(side, n_levels) for name in names]

    def depth(self, names: Iterable[str]) -> int:
        """Levels of a table with these columns; 0 where it has none."""
        if len(set(self.columns(2))) == 4:  # without numbers: the best level alone
            return int(not set(self.columns(1)).isdisjoint(names))
        given = np.isin(self.columns(MAX_LEVELS), list(names)).reshape(4, -1).any(axis=0)
        return int(np.max(np.flatnonzero(given) + 1, initial=0))

    def fits(self, names: Sequence[str]) -> bool:
        """Whether these are columns of the layout."""
        has_level = not set(self.columns(1)).isdisjoint(names)
        return has_level and (not self.required or self.required in names)

    def due(self, names: Sequence[str], n_levels: int) -> list[str]:
        """The columns that a table with these must have: the time, then those of levels."""
        time = next((name for name in self.time if name in names), " or ".join(self.time))
        return [time, *self.columns(n_levels)]

    def scale(self, rows: tabular.Rows, names: Sequence[str] = ()) -> float:
        """Divisor of prices: 1e9 where the first ones (best prices) are fixed-point, else 1."""
        names = names or [self.side(side, 1)[0][0] for side in SIDES]
        columns = [rows.batch[name] for name in names]
        texts = [column for column in columns if pa.types.is_string(column.type)]
        dotted = any(pc.any(pc.match_substring(text, ".")).as_py() for text in texts)
        if not self.fixed_prices or dotted or pa.types.is_floating(columns[0].type):
            return 1.0
        known = rows.numbers(names)
        highest = known.max(initial=0.0, where=(known > 0) & (known < UNDEF_PRICE))
        highest = highest or known.max(initial=0.0, where=known > 0)
        if texts and AMBIGUOUS_FROM <= highest < FIXED_FROM:
            rule = f"is whole, up to {highest:,.0f}, which may be currency or units of 1e-9"
            raise rows.error(names[0], 0, rule, f"write it as decimals, {highest}", len(rows))
        return 1e9 if not texts or highest >= FIXED_FROM else 1.0

    def levels(self, rows: tabular.Rows, n_levels: int, scale: float = 1.0) -> dict[str, Any]:
        """Checked prices and sizes of both sides by the names of `BookSnapshots`."""
        levels: list[Any] = []
        for names in (self.side(side, n_levels) for side in SIDES):
            price, size = rows.numbers(names[0]) / scale, rows.numbers(names[1])
            levels += [price, rows.sizes(names, price, size)]
        return dict(zip(LEVELS, levels, strict=True))


WIDE = Layout("wide frame", ("time", "timestamp"), "{side}_{kind}_{k}")
MBP = Layout("Databento MBP", ("ts_event",), "{side}_{kind}_{k:02d}", SIDES, ("px", "sz"),
             first_level=0, fixed_prices=True)  # fmt: skip
LAYOUTS = (
    WIDE,
    # A book sampled each second or minute: `ts_event` is the last trade's time, not the sample's.
    replace(MBP, name="Databento BBO", time=("ts_recv",), required="ts_recv"),
    Layout("Tardis book_snapshot", ("timestamp",), "{side}[{k}].{kind}", ("bids", "asks"),
           ("price", "amount"), first_level=0, time_unit="us"),
    Layout("Tardis quotes", ("timestamp",), "{side}_{kind}", SIDES, ("price", "amount"),
           time_unit="us"),
    Layout("Crypto Lake book", ("origin_time",), "{side}_{k}_{kind}", first_level=0),
    Layout("lists of prices and of sizes, such as StandX", ("timestamp", "time"),
           "{side}_{kind}[{k}]", SIDES, ("prices", "quantities"), first_level=0),
    Layout("lists of pairs", ("timestamp", "time"), "{side}[{k}][{kind}]", ("bids", "asks"),
           ("0", "1"), first_level=0),
)  # fmt: skip
# Trades of a table that lie in a file beside that of its books.
BESIDE = re.compile(r"(orderbook|book_snapshot_\d+|quotes|book)(_.+)", re.IGNORECASE)
TRADE_COLUMNS = {
    "time": ("time", "timestamp", "origin_time"), "price": ("price",),
    "size": ("size", "quantity", "amount", "qty"), "side": ("side",),
}  # fmt: skip
AGGRESSORS = {"buy": BUY, "b": BUY, "bid": BUY, "sell": SELL, "s": SELL, "a": SELL, "ask": SELL}
MIN_SIGNS = 20  # trades of one side from which on a side that never changes is not believed


def layout_of(names: Sequence[str]) -> Layout | None:
    """The layout with these columns; from level 0 where there is one, to keep the best level."""
    ways = (one for layout in LAYOUTS for one in (replace(layout, first_level=0), layout))
    return next((one for one in ways if one.fits(names)), None)


def _matches(path: Path, head: bytes) -> bool:
    """Whether a CSV or Parquet file has most columns of the long frame, or those of a layout."""
    names = tabular.column_names(path)
    return len(set(names) & set(FRAME_COLUMNS[1:])) >= 3 or layout_of(names) is not None


def batches(source: Source, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books of a table, `batch_rows` snapshots at a time, or of a DataFrame.

    Long: time, side ("bid" or "ask"), price, size, level, as `BookSnapshots.to_frame` writes
    them; the rows of one time are one snapshot, in any order among themselves. The best level
    is 1, or 0 where no best level is called 1. A long table is held in memory whole.

    Raises
    ------
    ValidationError
        A missing column, a cell that cannot be, times without a time zone or that run backwards,
        two symbols, venues or products, a (time, side, level) given twice.
    """
    names = list(tabular.renamed(source, options))
    layout, ids = layout_of(names), tabular.identities(names)
    if layout is None:
        if not set(FRAME_COLUMNS) <= set(names):
            has = f"it has {', '.join(names[:8])}{suggestion(names)}"
            raise ValidationError(f"{tabular.label(source)} has other columns than wanted: {has}")
        yield from in_batches(_long(source, ids, options), batch_rows)
        return
    parts = _wide(source, names, layout, batch_rows, options)
    beside = trades_file(source) if isinstance(source, Path) else None
    if beside is None or not (file := Path(beside)).is_file():
        yield from parts
    else:
        how: Any = {"columns": {}, "time_unit": options.time_unit or layout.time_unit}
        yield from with_trades(parts, _trades(file, replace(options, **how)))


def _wide(
    source: Source, names: list[str], layout: Layout, batch_rows: int, options: Options
) -> Iterator[BookSnapshots]:
    """Books of a table with one snapshot a row."""
    n_levels, ids = layout.depth(names), tabular.identities(names)
    due = [*layout.due(names, n_levels), *ids]
    best = [layout.side(side, 1)[0][0] for side in SIDES]
    scale, before = layout.scale(next(tabular.read(source, best, tabular.ALL_ROWS, options))), 0
    for rows in tabular.read(source, due, batch_rows, options):
        symbol = rows.one_value(ids, options.seen)
        time = rows.times(due[0], options.time_unit or layout.time_unit, options.timezone)
        before = rows.refuse_backwards(due[0], time, before)
        yield BookSnapshots(time, symbol=symbol, **layout.levels(rows, n_levels, scale))


def in_batches(books: BookSnapshots, batch_rows: int) -> Iterator[BookSnapshots]:
    """Books in parts, with their trades."""
    starts = range(0, len(books), batch_rows)
    parts = (books.take(np.arange(k, min(k + batch_rows, len(books)))) for k in starts)
    yield from parts if books.trades is None else with_trades(parts, books.trades)


def with_trades(parts: Iterable[BookSnapshots], trades: Trades) -> Iterator[BookSnapshots]:
    """Books that follow one another, each part with the trades up to its end, the last with all."""
    first = 0
    for part, later in pairwise(chain[Any](parts, [None])):
        until = len(trades)
        if later is not None:
            until = int(np.searchsorted(trades.time, part.time[-1], "right"))
        yield replace(part, trades=trades.take(np.arange(first, until)))
        first = until


def trades_file(path: PurePath) -> PurePath | None:
    """Where the trades of a table of books lie; None where the name follows no such rule.

    >>> str(trades_file(PurePath("orderbook_BTC-USD_2026-01-06_00.parquet")))
    'trades_BTC-USD_2026-01-06_00.parquet'
    """
    named = BESIDE.fullmatch(path.name)
    return path.with_name(f"trades{named[2]}") if named else None


def read_trades(path: str | Path, **reading: Any) -> Trades:
    """Trades of a table, CSV or Parquet: Tardis', Crypto Lake's, StandX', or one's own columns.

    Parameters
    ----------
    path : path
        Columns time (or timestamp, origin_time), price, size (or quantity, amount, qty), and side,
        the aggressor's, where it is known: buy or sell, anything else for unknown. A side that
        never changes over 20 trades and more is not believed: a warning says so, and all are of
        unknown aggressor; see `classify_trades`.
    reading
        columns, timezone, time_unit, where and symbol, those of `read_books`.

    Raises
    ------
    MissingDataError, ValidationError
        As `read_books`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "trades.csv")
    >>> _ = path.write_text("time,price,qty,side\\n2025-04-03T14:00:00Z,10.02,100,buy\\n")
    >>> read_trades(path).signed_size.tolist()
    [100.0]
    """
    return _trades(Path(path), Options.of(**reading))


def _trades(path: Path, options: Options) -> Trades:
    names = tabular.renamed(path, options)
    found = {k: next((n for n in known if n in names), "") for k, known in TRADE_COLUMNS.items()}
    if lacking := [k for k in ("time", "price", "size") if not found[k]]:
        due = ", ".join(TRADE_COLUMNS[lacking[0]])
        raise ValidationError(f"{path} has no column for the {lacking[0]} of trades: {due}")
    wanted, before, parts, symbol = [name for name in found.values() if name], 0, [], options.symbol
    options = replace(options, where={k: v for k, v in options.where.items() if k in names})
    ids = tabular.identities(names)
    for rows in tabular.read(path, [*wanted, *ids], tabular.ALL_ROWS, options):
        symbol = rows.one_value(ids, {}) or symbol
        time = rows.times(found["time"], options.time_unit, options.timezone)
        before = rows.refuse_backwards(found["time"], time, before)
        price, size = rows.numbers([found["price"], found["size"]]).T
        sides = rows.batch[found["side"]].to_pylist() if found["side"] else [""] * len(rows)
        signs = [AGGRESSORS.get(str(one).lower(), UNSIGNED) for one in sides]
        for name, values in ((found["price"], price), (found["size"], size)):
            rows.require(name, (values > 0) & np.isfinite(values), "must be finite and above 0")
        parts.append(Trades(time, price, size, np.array(signs), symbol))
    trades = Trades.concat(parts)
    known, seen = set(trades.aggressor.tolist()) - {UNSIGNED}, options.seen
    seen["side"] = "both" if len(known) > 1 else seen.get("side")
    one_sided = seen["side"] == "one" or np.sum(trades.aggressor != UNSIGNED) >= MIN_SIGNS
    if len(known) == 1 and seen["side"] != "both" and one_sided:
        if not options.signs and seen["side"] is None:  # once a series of files
            said = f"{path}: side is {sides[0]!r} in all {len(trades):,} trades, not to be believed"
            logger.warning(f"{said}: their aggressor is unknown; see signs of read_books")
        seen["side"] = "one"
        return replace(trades, aggressor=np.zeros(len(trades), int))
    return trades


def _long(source: Source, ids: list[str], options: Options) -> BookSnapshots:
    before, first, symbol, parts = 0, 1, "", list[pd.DataFrame]()
    for rows in tabular.read(source, [*FRAME_COLUMNS, *ids], tabular.ALL_ROWS, options):
        symbol = rows.one_value(ids, options.seen)
        time = rows.times("time", options.time_unit, options.timezone)
        if isinstance(source, Path):  # the rows of a frame come in any order
            before = rows.refuse_backwards("time", time, before)
        price, size, level = rows.numbers(["price", "size", "level"]).T
        if not parts:  # 0 is the best level where there are as many levels 0 as levels 1
            first = int(not 0 < np.sum(level == 0) >= np.sum(level == 1))
        rule = f"must be a whole number from {first} to {MAX_LEVELS:,}"
        rows.require("level", (level >= first) & (level <= MAX_LEVELS) & (level % 1 == 0), rule)
        limit = tabular.price_limit(price)
        rows.require("price", (price > 0) & (price < limit), f"must be above 0 and below {limit:g}")
        rows.require("size", (size > 0) & (size < np.inf), "must be above 0 and finite")
        side, level = rows.codes("side", SIDES), level.astype(int) - first
        columns = {"time": time, "side": side, "level": level, "price": price, "size": size}
        parts.append(pd.DataFrame(columns, index=rows.number))
    table = pd.concat(parts)
    again = table.index[table.duplicated(["time", "side", "level"])]
    if len(again):
        found = f"row {again[0]} repeats a level ({len(again):,} rows do); keep one state a time"
        raise ValidationError(f"{tabular.label(source)}: {found}")
    times, snapshot = np.unique(table["time"], return_inverse=True)
    levels = np.zeros((2, 2, len(times), int(table["level"].max()) + 1))  # size 0: an empty level
    levels[table["side"], :, snapshot, table["level"]] = table[[*KINDS]]
    (bid_price, bid_size), (ask_price, ask_size) = levels
    return BookSnapshots(times, bid_price, bid_size, ask_price, ask_size, symbol)


def suggestion(names: Iterable[str]) -> str:
    """The probable meaning of a source's columns, and the columns that are wanted.

    Names are split into words and numbers, so that BidPx1, ask_qty_0 or "Offer Size" are
    understood. The word for price may be missing. They are suggested where they make a frame.
    """
    meant: dict[str, str] = {}
    for name in names:
        apart = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", TOGETHER.sub(r"\1 ", name))
        words = {MEANT.get(word.lower(), word.lower()) for word in apart if not word.isdigit()}
        side = next((one for one in SIDES if one in words), None)
        if side is not None and words <= {*SIDES, *KINDS}:
            level = next((int(part) for part in reversed(apart) if part.isdigit()), 1)
            meant.setdefault(f"{side}_{'size' if 'size' in words else 'price'}_{level}", name)
        elif len(words) == 1 and words <= {*FRAME_COLUMNS}:
            meant.setdefault(words.pop(), name)
    layout = layout_of([*meant])
    due = FRAME_COLUMNS if layout is None else layout.due([*meant], 1)
    renames = {name: new for new, name in meant.items() if name != new}
    whole = bool(renames) and set(due) <= meant.keys()
    perhaps = f"; perhaps its columns are meant so: columns={renames}" if whole else ""
    return f"{perhaps}; a frame has columns {LONG}; or wide: {WIDE_NAMES}"


NAME = f"long or wide frame, {', '.join(one.name for one in LAYOUTS[2:])} (CSV, Parquet)"
FRAMES = tabular.Format(NAME, _matches, batches, ("columns", "timezone", "time_unit", "where"))

"""A user's own frame, long or wide, and what its columns may have been meant to be called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.checks import refuse_rows, require_columns, require_numbers
from research_lib.errors import ValidationError
from research_lib.market.book import FRAME_COLUMNS, SIDES, BookSnapshots
from research_lib.market.readers import layouts
from research_lib.market.readers.layouts import KINDS, MAX_LEVELS, SURVEY_ROWS, WIDE, renamed
from research_lib.market.readers.tabular import (
    IDENTITIES,
    THOUSANDS,
    Options,
    Rows,
    column_names,
    guessed_names,
    identities,
    price_limit,
    read,
)
from research_lib.market.sessions import nanoseconds

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

NAME = f"long or wide frame, {', '.join(one.name for one in layouts.LAYOUTS[2:])} (CSV, Parquet)"
TAKES = ("columns", "timezone", "time_unit", "where", "policy")
LONG_ROWS_PER_SNAPSHOT, LONG_ROWS = 20, 500_000
WIDE_COLUMN = re.compile(r"(bid|ask)_(price|size)_(\d+)")
WANTED = (
    "long: time, side (bid or ask), price, size, level (1 is best); "
    "or wide: time, bid_price_1, bid_size_1, ask_price_1, ask_size_1, bid_price_2, ..."
)
WORDS = {
    "bid": "bid bids b buy",
    "ask": "ask asks a offer offers ofr sell",
    "price": "price prices px prc p",
    "size": "size sizes sz qty quantity volume vol amount v q shares",
    "time": "time timestamp ts datetime date_time t event",
    "level": "level lvl depth position",
    "side": "side direction",
}
MEANT = {word: name for name, words in WORDS.items() for word in words.split()}


def matches(path: Path, head: bytes) -> bool:
    """Whether a CSV or Parquet file has most columns of the long frame, or those of a layout."""
    names = guessed_names(path, head)
    long = len(set(names) & set(FRAME_COLUMNS[1:])) >= 3
    return long or layouts.layout_of(names) is not None


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books of a long or a wide file of a user's own, `batch_rows` snapshots at a time.

    Long: time, side ("bid" or "ask"), price, size, level, as `BookSnapshots.to_frame` writes
    them; the rows of one time are one snapshot, in any order among themselves. The best level
    is 1, or 0 where no best level is called 1. The file is read twice, as `layouts.batches` does.

    Raises
    ------
    ValidationError
        As `layouts.batches`; a (time, side, level) given twice.
    """
    own = renamed(path, column_names(path), options.columns)
    if layouts.layout_of(list(own)) is not None:
        yield from layouts.batches(path, batch_rows, options)
        return
    absent = [name for name in FRAME_COLUMNS if name not in own]
    if absent:
        raise ValidationError(
            f"{path} is no long frame: it lacks column {', '.join(absent[:5])} "
            f"({len(absent)} in all); it has {', '.join(list(own)[:8])}"
        )
    survey = _Survey()
    touch = survey.touch(_read(path, own, SURVEY_ROWS, options), options)
    layouts.refuse_crossed(path, touch, lambda: survey.n_empty)
    yield from _books(path, own, batch_rows, options, survey)


def _read(path: Path, own: Mapping[str, str], batch_rows: int, options: Options) -> Iterator[Rows]:
    names = list(dict.fromkeys([*FRAME_COLUMNS, *identities(own)]))
    columns = [own[name] for name in names]
    for rows in read(path, columns, batch_rows, where=options.where):
        yield Rows(path, rows.number, rows.batch.select(columns).rename_columns(names))


class _Survey:
    """What one pass over a long file tells: its levels, its touch, its empty cells."""

    def __init__(self) -> None:
        self.first_level, self.deepest, self.n_empty = 1, 0, 0

    def touch(self, parts: Iterable[Rows], options: Options) -> Iterator[tuple[Float, Float]]:
        """Best bid and ask of each time of which both are in one part."""
        for k, rows in enumerate(parts):
            price, level = rows.numbers(["price", "level"]).T
            self.n_empty += sum(column.null_count for column in rows.batch.columns)
            if k == 0:
                self.first_level = first_level(level)
            counted = (level >= self.first_level) & (level <= MAX_LEVELS) & (level % 1 == 0)
            rule = f"must be a whole number from {self.first_level} to {MAX_LEVELS:,}"
            rows.refuse("level", ~counted, level, rule)
            self.deepest = max(self.deepest, int(level.max()) + 1 - self.first_level)
            time = rows.times("time", options.time_unit, options.timezone)
            side = rows.text("side").to_numpy(zero_copy_only=False)
            bid, ask = ((level == self.first_level) & (side == name) for name in SIDES)
            _, of_bid, of_ask = np.intersect1d(time[bid], time[ask], return_indices=True)
            yield price[bid][of_bid], price[ask][of_ask]


def first_level(level: Float) -> int:
    """0 where the best level is called 0: there are at least as many levels 0 as levels 1."""
    n_zero = np.sum(level == 0)
    return 0 if n_zero and n_zero >= np.sum(level == 1) else 1


def _books(
    path: Path, own: Mapping[str, str], batch_rows: int, options: Options, survey: _Survey
) -> Iterator[BookSnapshots]:
    """Whole snapshots only: the rows of the last time wait for the next batch."""
    before, symbol, seen = 0, "", dict[str, str]()
    waiting: dict[str, NDArray[Any]] = {}
    for rows in _read(path, own, min(batch_rows * LONG_ROWS_PER_SNAPSHOT, LONG_ROWS), options):
        symbol = rows.one_value(identities(own), seen)
        time = rows.times("time", options.time_unit, options.timezone)
        before = rows.refuse_backwards("time", time, before)
        new = {"row": rows.number, "time": time, **_checked(rows, options.flag, survey.first_level)}
        waiting = {k: np.concatenate([waiting[k], new[k]]) for k in new} if waiting else new
        starts = np.flatnonzero(np.diff(waiting["time"], prepend=-1))
        whole = (len(starts) - 1) // batch_rows * batch_rows
        for first in range(0, whole, batch_rows):
            part = slice(starts[first], starts[first + batch_rows])
            yield _snapshots(path, {k: v[part] for k, v in waiting.items()}, survey.deepest, symbol)
        waiting = {k: v[starts[whole] :] for k, v in waiting.items()}
    yield _snapshots(path, waiting, survey.deepest, symbol)


def _checked(rows: Rows, flag: bool, first: int) -> dict[str, NDArray[Any]]:
    """Columns of a long file, (m,) each; `side` is 1 for asks, `level` counts from 0."""
    side = rows.text("side")
    known = np.isin(np.asarray(side.fill_null(""), object).astype(str), SIDES)
    rows.refuse("side", ~known, side, 'must be "bid" or "ask"')
    price, size, level = rows.numbers(["price", "size", "level"]).T
    limit = price_limit(price)
    for name, values, rule in (
        ("price", price, f"must be above 0 and below {limit:g}"),
        ("size", size, "must be above 0 and finite"),
    ):
        bad = ~((values > 0) & (values < (limit if name == "price" else np.inf)))
        if flag:
            bad &= np.isfinite(values) & ~((values < 0) & (name == "size"))
        rows.refuse(name, bad, values, rule)
    asks = np.asarray(side.to_numpy(zero_copy_only=False) == "ask", np.int64)
    return {"side": asks, "level": level.astype(np.int64) - first, "price": price, "size": size}


def _snapshots(
    path: Path, part: Mapping[str, NDArray[Any]], deepest: int, symbol: str
) -> BookSnapshots:
    time, levels, again = _assembled(part, deepest)
    if len(again):
        k = again[0]
        raise ValidationError(
            f"{path}: columns time, side, level are given twice, row {part['row'][k]} repeats "
            f"{SIDES[part['side'][k]]} level {part['level'][k] + 1}; keep one state a time"
        )
    return BookSnapshots.flagging(time=time, symbol=symbol, **levels)


def _assembled(
    part: Mapping[str, NDArray[Any]], deepest: int = 0
) -> tuple[Int64, dict[str, Any], NDArray[np.intp]]:
    """Times and levels of long rows, and the rows that repeat a (time, side, level)."""
    times, snapshot = np.unique(part["time"], return_inverse=True)
    shape = (len(times), 2, max(deepest, int(part["level"].max()) + 1))
    flat = np.ravel_multi_index((snapshot, part["side"], part["level"]), shape)
    once = np.unique(flat, return_index=True)[1]
    price, size = np.full(shape, np.nan), np.zeros(shape)
    price.ravel()[flat] = part["price"]
    size.ravel()[flat] = part["size"]
    levels = {
        f"{side}_{kind}": table[:, k]
        for k, side in enumerate(SIDES)
        for kind, table in zip(KINDS, (price, size), strict=True)
    }
    return times, levels, np.setdiff1d(np.arange(len(flat)), once)


def books_of_frame(frame: pd.DataFrame, symbol: str, options: Options) -> BookSnapshots:
    """Books from a long or a wide frame; see `BookSnapshots.from_frame`."""
    if isinstance(frame, pd.DataFrame):
        renamed("book frame", [str(name) for name in frame.columns], options.columns)
        frame = _kept(frame.rename(columns=dict(options.columns)), options.where)
        names = [str(name) for name in frame.columns]
        if any(map(WIDE_COLUMN.fullmatch, names)):
            return _from_wide(frame, symbol, options)
        guess = likely_renames(names)
        if guess and not set(FRAME_COLUMNS) <= set(names):
            raise ValidationError(
                f"book frame has other columns than wanted, {WANTED}; "
                f"try frame.rename(columns={guess})"
            )
    return _from_long(frame, symbol, options)


def _kept(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that hold the wanted values."""
    for name, value in where.items():
        require_columns(frame, (name,), "book frame")
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        kept = frame[name].astype(str).isin([str(one) for one in values])
        if not kept.any():
            held = ", ".join(map(str, frame[name].unique()[:5]))
            raise ValidationError(f"no row of the book frame has {name} {value!r}; it holds {held}")
        frame = frame[kept]
    return frame


def _from_wide(frame: pd.DataFrame, symbol: str, options: Options) -> BookSnapshots:
    names = [str(name) for name in frame.columns]
    layouts.refuse_deep("book frame", names)
    layout = layouts.layout_of(names) or WIDE
    time = next((name for name in layout.time if name in names), layout.time[0])
    n_levels = layout.depth(names)
    require_columns(frame, (time, *layout.columns(n_levels)), "wide book frame")
    levels: dict[str, Any] = {}
    for side in SIDES:
        columns = layout.side(side, n_levels)
        for name in (*columns[0], *columns[1]):
            if frame[name].dtype.kind not in "iuf":
                raise ValidationError(
                    f"column {name} holds {frame[name].dtype}, not numbers; "
                    f"{_to_numbers(frame, name)}"
                )
        price, size = (frame[list(of_kind)].to_numpy(dtype=float) for of_kind in columns)
        empty = np.isnan(price) & np.isnan(size)
        levels |= {f"{side}_price": price, f"{side}_size": np.where(empty, 0.0, size)}
    stamps = _frame_times(frame[time], time, options)
    return BookSnapshots(stamps, symbol=symbol or _one_symbol(frame), **levels)


def _to_numbers(frame: pd.DataFrame, name: str) -> str:
    """How to make numbers of a column."""
    texts = frame[name].dropna().astype(str).str.strip()
    if texts.str.fullmatch(THOUSANDS.pattern).any():
        return f'convert with frame["{name}"].str.replace(",", "").astype(float)'
    return "convert with .astype(float)"


def _frame_times(column: pd.Series, name: str, options: Options) -> Int64:
    """Times of a frame, read as those of a file are: texts, numbers of any unit, time stamps."""
    if column.dtype.kind not in "iufOUT" and not pd.api.types.is_string_dtype(column.dtype):
        if options.timezone and getattr(column.dt, "tz", None) is None:
            column = column.astype(str)
        else:
            return nanoseconds(column, f"column {name}")
    texts = column.dtype.kind not in "iuf"
    values = [None if pd.isna(value) else str(value) for value in column] if texts else column
    batch = pa.RecordBatch.from_arrays([pa.array(values)], names=[name])
    rows = Rows(Path("book frame"), np.arange(len(column)), batch)
    return rows.times(name, options.time_unit, options.timezone)


def _from_long(frame: pd.DataFrame, symbol: str, options: Options) -> BookSnapshots:
    require_columns(frame, FRAME_COLUMNS, "book frame")
    for name in ("price", "size", "level"):
        texts = frame[name].dtype.kind not in "iuf"
        if texts and "replace" in (remedy := _to_numbers(frame, name)):
            raise ValidationError(f"column {name} holds numbers as text; {remedy}")
    require_numbers(frame, ("price", "size"), above=0)
    require_numbers(frame, ("level",))
    first = first_level(frame["level"].to_numpy(dtype=float))
    for bad, name, rule in (
        (frame["level"] < first, "level", "must be above 0"),
        (frame["level"] > MAX_LEVELS, "level", f"must be at most {MAX_LEVELS:,}"),
        (frame["level"] % 1 != 0, "level", "must be a whole number"),
        (~frame["side"].isin(SIDES), "side", 'must be "bid" or "ask"'),
    ):
        refuse_rows(bad.to_numpy(), name, frame[name], rule)
    part = {
        "time": _frame_times(frame["time"], "time", options),
        "side": (frame["side"] == "ask").to_numpy().astype(np.int64),
        "level": frame["level"].to_numpy().astype(np.int64) - first,
        "price": frame["price"].to_numpy(dtype=float),
        "size": frame["size"].to_numpy(dtype=float),
    }
    symbol = symbol or _one_symbol(frame)
    time, levels, again = _assembled(part)
    if len(again):
        raise ValidationError(
            f"(time, side, level) is given twice in {len(again):,} rows, first in row {again[0]}; "
            "keep one state a time, e.g. by BookSnapshots.sample"
        )
    return BookSnapshots(time, symbol=symbol, **levels)


def _one_symbol(frame: pd.DataFrame) -> str:
    """The one symbol that a frame names, "" without one; of a second venue or product no word."""
    symbol = ""
    for column in reversed(identities(map(str, frame.columns))):
        values = frame[column].unique()
        if len(values) > 1:
            raise ValidationError(
                f"column {column} names {len(values)} symbols ({values[0]}, {values[1]}, ...); "
                f"keep one, e.g. where={{{column!r}: {values[0]!r}}}"
            )
        symbol = str(values[0]) if column.lower() in IDENTITIES[:2] else symbol
    return symbol


def likely_renames(names: Iterable[str]) -> dict[str, str]:
    """Which columns were probably meant to be which; {} unless they would make a whole frame.

    Names are taken apart into words and numbers, so that BidPx1, ask_qty_0 or "Offer Size" are
    understood; levels counted from 0 are counted from 1. A price may go without the word.
    """
    found = {name: _meant(name) for name in names}
    numbered = [
        level for words, level in found.values() if level is not None and words & set(SIDES)
    ]
    shift = int(min(numbered, default=1) == 0)
    renames: dict[str, str] = {}
    for name, (words, level) in found.items():
        side = next((one for one in SIDES if one in words), None)
        if side is not None and not words - {*SIDES, *KINDS}:
            kind = "size" if "size" in words else "price"
            new = f"{side}_{kind}_{1 if level is None else level + shift}"
        else:
            new = next((one for one in FRAME_COLUMNS if words == {one}), "")
        if new and new not in renames.values():
            renames[name] = new
    made = set(renames.values())
    wide = {"time", *(f"{side}_{kind}_1" for side in SIDES for kind in KINDS)} <= made
    whole = wide or set(FRAME_COLUMNS) <= made
    kept = {
        name: new
        for name, new in renames.items()
        if not wide or new == "time" or WIDE_COLUMN.fullmatch(new)
    }
    return {name: new for name, new in kept.items() if name != new} if whole else {}


def _meant(name: str) -> tuple[set[str], int | None]:
    """The words of a column's name as those of `WORDS`, others as they are, and its number."""
    apart = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    words = [word.lower() for word in apart if not word.isdigit()]
    joined = [part for word in words for part in _parts(word)]
    number = next((int(part) for part in reversed(apart) if part.isdigit()), None)
    return {MEANT.get(word, word) for word in joined}, number


def _parts(word: str) -> list[str]:
    """ "bidpx" as "bid" and "px": words that were written together."""
    for first in ("bid", "ask", "offer"):
        if word.startswith(first) and word.removeprefix(first) in MEANT:
            return [first, word.removeprefix(first)]
    return [word]

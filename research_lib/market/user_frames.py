"""A user's own DataFrame, long or wide, to books; and what its columns may have been meant to be called."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import refuse_rows, require_columns, require_numbers
from research_lib.errors import ValidationError
from research_lib.market.book import FRAME_COLUMNS, SIDES, BookSnapshots
from research_lib.market.sessions import nanoseconds

Float = NDArray[np.float64]
WIDE_COLUMN = re.compile(r"(bid|ask)_(price|size)_(\d+)")
TIME_COLUMNS = ("time", "timestamp")
SYMBOL_COLUMNS = ("symbol", "ticker")
KINDS = ("price", "size")
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


def books_of_frame(frame: pd.DataFrame, symbol: str = "") -> BookSnapshots:
    """Books from a long or a wide frame; see `BookSnapshots.from_frame`."""
    if isinstance(frame, pd.DataFrame):
        n_levels = deepest_level(map(str, frame.columns))
        if n_levels:
            return _from_wide(frame, symbol, n_levels)
        guess = likely_renames(map(str, frame.columns))
        if guess and not set(FRAME_COLUMNS) <= set(frame.columns):
            raise ValidationError(
                f"book frame has other columns than wanted, {WANTED}; try frame.rename(columns={guess})"
            )
    return _from_long(frame, symbol)


def deepest_level(names: Iterable[str]) -> int:
    """Levels of a wide frame with these columns; 0 where there is none."""
    return max((int(match[3]) for match in map(WIDE_COLUMN.fullmatch, names) if match), default=0)


def likely_renames(names: Iterable[str]) -> dict[str, str]:
    """Which columns were probably meant to be which of a long or wide frame; {} unless they would make a whole one.

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
            new = f"{side}_{'size' if 'size' in words else 'price'}_{1 if level is None else level + shift}"
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


def _from_wide(frame: pd.DataFrame, symbol: str, n_levels: int) -> BookSnapshots:
    time = next((name for name in TIME_COLUMNS if name in frame.columns), TIME_COLUMNS[0])
    names = {
        f"{side}_{kind}": [f"{side}_{kind}_{level + 1}" for level in range(n_levels)]
        for side in SIDES
        for kind in KINDS
    }
    wanted = (time, *(name for columns in names.values() for name in columns))
    require_columns(frame, wanted, "wide book frame")
    for name in wanted[1:]:
        if frame[name].dtype.kind not in "iuf":
            raise ValidationError(
                f"column {name} holds {frame[name].dtype}, not numbers; convert with .astype(float)"
            )
    levels = {name: frame[columns].to_numpy(dtype=float) for name, columns in names.items()}
    for side in SIDES:
        empty = np.isnan(levels[f"{side}_price"]) & np.isnan(levels[f"{side}_size"])
        levels[f"{side}_size"] = np.where(empty, 0.0, levels[f"{side}_size"])
    return BookSnapshots(
        nanoseconds(frame[time], f"column {time}"), symbol=symbol or _one_symbol(frame), **levels
    )


def _from_long(frame: pd.DataFrame, symbol: str) -> BookSnapshots:
    time = _checked_long(frame)
    symbol = symbol or _one_symbol(frame)
    side = (frame["side"] == "ask").to_numpy().astype(np.int64)
    level = frame["level"].to_numpy().astype(np.int64) - 1
    times, snapshot = np.unique(time, return_inverse=True)
    shape = (len(times), 2, int(level.max()) + 1)
    flat = np.ravel_multi_index((snapshot, side, level), shape)
    first = np.unique(flat, return_index=True)[1]
    if len(first) < len(flat):
        row = np.setdiff1d(np.arange(len(flat)), first)[0]
        raise ValidationError(
            f"(time, side, level) is given twice in {len(flat) - len(first):,} rows, first in row {row}; "
            "keep one state a time, e.g. by BookSnapshots.sample"
        )
    price, size = np.full(shape, np.nan), np.zeros(shape)
    price.ravel()[flat] = frame["price"].to_numpy(dtype=float)
    size.ravel()[flat] = frame["size"].to_numpy(dtype=float)
    return BookSnapshots(times, price[:, 0], size[:, 0], price[:, 1], size[:, 1], symbol)


def _checked_long(frame: pd.DataFrame) -> NDArray[np.int64]:
    require_columns(frame, FRAME_COLUMNS, "book frame")
    require_numbers(frame, ("price", "size"), above=0)
    require_numbers(frame, ("level",), above=0)
    refuse_rows(
        (frame["level"] % 1 != 0).to_numpy(), "level", frame["level"], "must be a whole number"
    )
    refuse_rows(
        ~frame["side"].isin(SIDES).to_numpy(), "side", frame["side"], 'must be "bid" or "ask"'
    )
    return nanoseconds(frame["time"], "column time")


def _one_symbol(frame: pd.DataFrame) -> str:
    """The one symbol that a column symbol or ticker names; empty where there is no such column."""
    for column in frame.columns:
        if str(column).lower() in SYMBOL_COLUMNS:
            symbols = frame[column].unique()
            if len(symbols) > 1:
                raise ValidationError(
                    f"column {column} names {len(symbols)} symbols ({symbols[0]}, {symbols[1]}, ...); keep one"
                )
            return str(symbols[0])
    return ""

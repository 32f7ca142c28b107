"""Slippage observations as a fit needs them: validated arrays, split by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import refuse_rows, require_columns, require_numbers
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.censoring import Rows, continued
from research_lib.impact.samples import Sample, Spreads
from research_lib.market import Session
from research_lib.market.sessions import nanoseconds

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

NUMBER_COLUMNS = ("trade_size", "mid_price", "half_spread", "avg_slippage")
FRAME_COLUMNS = ("time", "interval", *NUMBER_COLUMNS, "censored")


@dataclass(frozen=True, eq=False)
class Observations(Record):
    """m rows of a slippage frame as arrays.

    Attributes
    ----------
    interval, day, snapshot : (m,)
        Where each row belongs; days and snapshots are numbered in time order.
    book : (m,)
        One number for the rows of one snapshot and side.
    size : (m,) shares
    slippage, half_spread, mid : (m,) currency per share
    usable : (m,) bool
        False where the row is censored.
    depth : (m,) shares, optional
        Filled; None where the frame does not say it for every censored row.
    n_intervals : int
    dates : list of str
        The days that `day` numbers.
    """

    interval: Index
    day: Index
    snapshot: Index
    book: Index
    size: Float
    slippage: Float
    half_spread: Float
    mid: Float
    usable: Mask
    depth: Float | None
    n_intervals: int
    dates: list[str]

    @property
    def impact(self) -> Float:
        """Slippage beyond the touch, (m,) currency per share."""
        return self.slippage - self.half_spread


def read_observations(
    frame: pd.DataFrame, n_intervals: int | None, session: Session
) -> Observations:
    """Validate a frame as made by `SlippageCurves.to_frame`; `n_intervals` None takes the last interval seen."""
    require_columns(frame, FRAME_COLUMNS, "slippage frame")
    require_numbers(frame, NUMBER_COLUMNS)
    require_numbers(frame, ("trade_size", "mid_price"), above=0)
    require_numbers(frame, ("interval",))
    whole = (frame["interval"] >= 0) & (frame["interval"] % 1 == 0)
    refuse_rows(
        ~whole.to_numpy(), "interval", frame["interval"], "must be a whole number, 0 or more"
    )
    refuse_rows(
        (frame["half_spread"] < 0).to_numpy(),
        "half_spread",
        frame["half_spread"],
        "must be 0 or more",
    )
    if frame["censored"].dtype != bool:
        raise ValidationError(
            f"column censored must be true or false, it holds {frame['censored'].dtype}"
        )
    time = nanoseconds(frame["time"], "column time")
    interval = frame["interval"].to_numpy(dtype=np.int64)
    needed = int(interval.max()) + 1
    if n_intervals is not None and n_intervals < needed:
        raise ValidationError(
            f"n_intervals is {n_intervals}, the frame has interval {needed - 1}; give {needed} or more"
        )
    dates, day = np.unique(session.days(time), return_inverse=True)
    columns = {name: frame[name].to_numpy(dtype=float) for name in NUMBER_COLUMNS}
    return Observations(
        interval=interval,
        day=day,
        snapshot=np.unique(time, return_inverse=True)[1],
        book=_books(frame, time),
        size=columns["trade_size"],
        slippage=columns["avg_slippage"],
        half_spread=columns["half_spread"],
        mid=columns["mid_price"],
        usable=~frame["censored"].to_numpy(dtype=bool),
        depth=_depth(frame),
        n_intervals=n_intervals or needed,
        dates=[str(date) for date in dates],
    )


def sample_of(data: Observations) -> Sample:
    """The rows as a fit sees them, each of one book."""
    sizes, size = np.unique(data.size, return_inverse=True)
    known = (
        None
        if data.depth is None
        else continued(data.book, data.size, data.depth, data.impact, ~data.usable)
    )
    rows = Rows(data.book, size, sizes, np.ones(len(size)), data.impact, ~data.usable, known)
    first = np.unique(data.snapshot, return_index=True)[1]
    spread = data.half_spread[first]
    spreads = Spreads(data.day[first], data.interval[first], np.ones(len(first)), spread, spread**2)
    return Sample(
        rows, data.day, data.interval, data.snapshot, spreads, data.n_intervals, data.dates
    )


@dataclass(frozen=True)
class Split(Record):
    """Training comes before testing: the test starts with a day or, within one day, with an interval.

    Attributes
    ----------
    first_day, first_interval : int
        Rows of later or equal days (or intervals) are the test; -1 where not used.
    information : str
        What the curve was fitted on, and what the metrics were fitted and tested on.
    """

    first_day: int
    first_interval: int
    information: str

    def is_test(self, day: Index, interval: Index) -> Mask:
        """Which rows are the test, (m,)."""
        if self.first_day >= 0:
            return day >= self.first_day
        return (
            interval >= self.first_interval
            if self.first_interval >= 0
            else np.zeros(len(day), bool)
        )


def split_by_time(dates: list[str], n_intervals: int, test_fraction: float) -> Split:
    """The last days are the test where there are several; within one day, the last part of the session."""
    n_days = len(dates)
    if test_fraction == 0:
        return Split(-1, -1, f"fitted on all of {_span(dates)}")
    if n_days > 1:
        first = n_days - min(n_days - 1, max(1, round(test_fraction * n_days)))
        return Split(
            first,
            -1,
            f"fitted on all of {_span(dates)}; the metrics fitted on {_span(dates[:first])} "
            f"and tested on {_span(dates[first:])}",
        )
    first = n_intervals - max(1, round(test_fraction * n_intervals))
    return Split(
        -1,
        first,
        f"fitted on all of {dates[0]}; the metrics fitted on intervals 0 to {first - 1} and tested on "
        f"intervals {first} to {n_intervals - 1}, predicted by one curve from all the earlier ones",
    )


def _depth(frame: pd.DataFrame) -> Float | None:
    """Shares filled, if every censored row says how many of its trade size."""
    if "filled" not in frame:
        return None
    filled = frame["filled"].to_numpy(dtype=float)
    partly = (filled > 0) & (filled < frame["trade_size"].to_numpy(dtype=float))
    return filled if bool(partly[frame["censored"].to_numpy(dtype=bool)].all()) else None


def _books(frame: pd.DataFrame, time: Index) -> Index:
    """Number of the book of each row: its time and side, and which one of several at that time."""
    side = pd.factorize(frame["side"])[0] if "side" in frame else np.zeros(len(frame), np.int64)
    keys = pd.DataFrame({"time": time, "side": side, "size": frame["trade_size"].to_numpy()})
    keys["repeat"] = keys.groupby(["time", "side", "size"], sort=False).cumcount()
    return keys.groupby(["time", "side", "repeat"], sort=False).ngroup().to_numpy()


def _span(dates: list[str]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]} ({len(dates)} days)"

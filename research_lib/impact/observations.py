"""Slippage observations as a fit needs them: validated arrays, split by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.sessions import Session, nanoseconds
from research_lib.market.tables import refuse_rows, require_columns, require_numbers

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
    size : (m,) shares
    slippage, half_spread, mid : (m,) currency per share
    usable : (m,) bool
        False where the row is censored.
    n_intervals : int
    dates : list of str
        The days that `day` numbers.
    """

    interval: Index
    day: Index
    snapshot: Index
    size: Float
    slippage: Float
    half_spread: Float
    mid: Float
    usable: Mask
    n_intervals: int
    dates: list[str]

    @property
    def impact(self) -> Float:
        """Slippage beyond the touch, (m,) currency per share."""
        return self.slippage - self.half_spread


def read_observations(frame: pd.DataFrame, n_intervals: int | None, session: Session) -> Observations:
    """Validate a frame as made by `SlippageCurves.to_frame`; `n_intervals` None takes the last interval seen."""
    require_columns(frame, FRAME_COLUMNS, "slippage frame")
    require_numbers(frame, NUMBER_COLUMNS)
    require_numbers(frame, ("trade_size", "mid_price"), above=0)
    require_numbers(frame, ("interval",))
    whole = (frame["interval"] >= 0) & (frame["interval"] % 1 == 0)
    refuse_rows(~whole.to_numpy(), "interval", frame["interval"], "must be a whole number, 0 or more")
    refuse_rows((frame["half_spread"] < 0).to_numpy(), "half_spread", frame["half_spread"], "must be 0 or more")
    if frame["censored"].dtype != bool:
        raise ValidationError(f"column censored must be true or false, it holds {frame['censored'].dtype}")
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
        size=columns["trade_size"],
        slippage=columns["avg_slippage"],
        half_spread=columns["half_spread"],
        mid=columns["mid_price"],
        usable=~frame["censored"].to_numpy(dtype=bool),
        n_intervals=n_intervals or needed,
        dates=[str(date) for date in dates],
    )


def split_by_time(data: Observations, test_fraction: float) -> tuple[Mask, str]:
    """Rows of the test set, later than all training rows, and the split in words."""
    n_days = len(data.dates)
    if test_fraction == 0:
        return np.zeros(len(data.interval), bool), f"fitted on all of {_span(data.dates)}"
    if n_days > 1:
        first = n_days - min(n_days - 1, max(1, round(test_fraction * n_days)))
        return data.day >= first, (
            f"fitted on all of {_span(data.dates)}; the metrics fitted on {_span(data.dates[:first])} "
            f"and tested on {_span(data.dates[first:])}"
        )
    first = data.n_intervals - max(1, round(test_fraction * data.n_intervals))
    return data.interval >= first, (
        f"fitted on all of {data.dates[0]}; the metrics fitted on intervals 0 to {first - 1} and tested on "
        f"intervals {first} to {data.n_intervals - 1}, predicted by one curve from all the earlier ones"
    )


def _span(dates: list[str]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]} ({len(dates)} days)"

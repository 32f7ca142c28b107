"""The exchange's clock: which day and which interval of the session a time falls in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.config import Record, number
from research_lib.errors import ValidationError

Int64 = NDArray[np.int64]
EARLIEST_US, LATEST_US = (pd.Timestamp(day, tz="UTC").value // 1000 for day in ("1990-01-01", "2100-01-01"))


@dataclass(frozen=True)
class Session(Record):
    """A trading session cut into equal intervals, numbered 0..n_intervals-1.

    Interval t of a day starts at ``open + t * (close - open) / n_intervals`` on the
    exchange's own clock, so daylight saving never shifts it.

    Attributes
    ----------
    n_intervals : int
        Intervals of one session; 390 are minutes of the default session.
    open, close : str
        Local time of day, "HH:MM".
    timezone : str
        IANA name of the exchange's time zone.
    half_days : mapping of "YYYY-MM-DD" to "HH:MM"
        Days that close early, and when; they too are cut into n_intervals.
    """

    n_intervals: int = 390
    open: str = "09:30"
    close: str = "16:00"
    timezone: str = "America/New_York"
    half_days: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_intervals", number("n_intervals", self.n_intervals, 1, integer=True))
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValidationError(f"timezone {self.timezone!r} is unknown; use a name like America/New_York") from error
        if _clock(self.open) >= _clock(self.close):
            raise ValidationError(f"session open {self.open} is not before its close {self.close}")
        finest = np.iinfo(np.int64).max // (_clock(self.close) - _clock(self.open)).as_unit("ns").value
        number("n_intervals", self.n_intervals, 1, finest)  # beyond it the arithmetic of interval_of would overflow
        half_days = {_iso_date(day): close for day, close in self.half_days.items()}
        object.__setattr__(self, "half_days", half_days)
        for day, close in half_days.items():
            if not _clock(self.open) < _clock(close) <= _clock(self.close):
                raise ValidationError(f"half day {day} closes at {close}, not between {self.open} and {self.close}")

    def bounds(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Opening and closing times of `days`, each (n_days,) ns UTC."""
        local = pd.DatetimeIndex(list(days))
        closes = pd.TimedeltaIndex([_clock(self.half_days.get(str(day.date()), self.close)) for day in local])
        return self._utc_ns(local + _clock(self.open)), self._utc_ns(local + closes)

    def starts(self, days: Iterable[dt.date]) -> Int64:
        """Start of every interval of `days`, (n_days, n_intervals) ns UTC."""
        opens, closes = self.bounds(days)
        steps = np.arange(self.n_intervals, dtype=np.int64)
        return opens[:, None] + (closes - opens)[:, None] * steps // self.n_intervals

    def days(self, time: Int64) -> NDArray[np.object_]:
        """Local date of each time (n,) ns UTC, as `datetime.date`."""
        return np.asarray(self._local(time).date)

    def interval_of(self, time: Int64) -> Int64:
        """Interval that each time (n,) ns UTC falls in; -1 outside the session."""
        days, index = np.unique(self.days(time), return_inverse=True)
        opens, closes = self.bounds(days)
        opens, closes = opens[index], closes[index]
        inside = (time >= opens) & (time < closes)
        # The last start at or before the time: exact also where intervals are not whole nanoseconds.
        position = ((time - opens + 1) * self.n_intervals - 1) // (closes - opens)
        return np.where(inside, np.clip(position, 0, self.n_intervals - 1), -1)

    def whole_hours(self) -> tuple[list[str], list[float]]:
        """Whole hours inside the session as local "HH:MM", and where they lie in units of intervals."""
        opening, closing = _clock(self.open), _clock(self.close)
        hours = [pd.Timedelta(hours=h) for h in range(24) if opening <= pd.Timedelta(hours=h) <= closing]
        positions = [float((hour - opening) / (closing - opening)) * self.n_intervals for hour in hours]
        return [f"{int(hour / pd.Timedelta(hours=1)):02d}:00" for hour in hours], positions

    def _local(self, time: Int64) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(np.asarray(time).astype("datetime64[ns]"), tz="UTC").tz_convert(self.timezone)

    def _utc_ns(self, local: pd.DatetimeIndex) -> Int64:
        return local.tz_localize(self.timezone).as_unit("ns").asi8


def nanoseconds(time: object, what: str = "time") -> Int64:
    """Times as int64 nanoseconds UTC, (n,).

    Integers are taken as nanoseconds; date-times must carry a time zone.

    Raises
    ------
    ValidationError
        If date-times are naive, missing, or not times at all.
    """
    values = np.asarray(time) if isinstance(time, (list, tuple)) else time
    if pd.api.types.is_integer_dtype(values):
        return _plausible(np.array(values, dtype=np.int64), what)
    try:
        index = pd.DatetimeIndex(time)
    except (ValueError, TypeError) as error:
        raise ValidationError(f"{what} must hold date-times with a time zone or integer nanoseconds") from error
    if index.tz is None:
        raise ValidationError(f'{what} has no time zone; localise it first, e.g. .tz_localize("America/New_York")')
    if index.hasnans:
        raise ValidationError(f"{what} is missing in {index.isna().sum():,} rows, first in row {index.isna().argmax()}")
    return index.tz_convert("UTC").as_unit("ns").asi8


def _plausible(time: Int64, what: str) -> Int64:
    """Integer times, unless they must be microseconds, to which pandas 3 parses by default."""
    if time.size and np.all((time >= EARLIEST_US) & (time <= LATEST_US)):
        raise ValidationError(
            f"{what} looks like microseconds (first {time[0]}), nanoseconds are due; "
            'convert date-times with .as_unit("ns") before taking integers'
        )
    return time


def _iso_date(day: object) -> str:
    try:
        return dt.date.fromisoformat(str(day)).isoformat()
    except ValueError as error:
        raise ValidationError(f'half day {day!r} is not "YYYY-MM-DD"') from error


def _clock(text: str) -> pd.Timedelta:
    try:
        clock = dt.time.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise ValidationError(f'time of day {text!r} is not "HH:MM"') from error
    return pd.Timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)

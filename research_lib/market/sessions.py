"""The exchange's clock: which day and which interval of the session a time falls in."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError

Int64 = NDArray[np.int64]
CLOCK = re.compile(r"([01]\d|2[0-3]|24(?=:00(?::00)?$)):([0-5]\d)(?::([0-5]\d))?")
HOUR, DAY = pd.Timedelta(hours=1), pd.Timedelta(days=1)
NIGHT = 6 * HOUR  # clocks are changed before
EARLIEST_US, LATEST_US = (
    pd.Timestamp(day, tz="UTC").value // 1000 for day in ("1990-01-01", "2100-01-01")
)


@dataclass(frozen=True)
class Session(Record):
    """A trading session cut into equal intervals, numbered 0..n_intervals-1.

    Open, close and breaks are times of the exchange's own clock, so daylight saving never
    shifts them; what lies between, less the breaks, is cut into equal lengths of time. Only
    where clocks change inside the session, as in venues that never close, are that day's
    intervals longer or shorter than other days'. A time that the clock skips is moved to the
    next that exists; of one that comes twice the first is meant.

    Attributes
    ----------
    n_intervals : int
        Intervals of one session; 390 are minutes of the default session.
    open, close : str
        Local time of day, "HH:MM"; a close of "24:00" is the end of the day, so a venue that
        never closes has days from "00:00" to "24:00".
    timezone : str
        IANA name of the exchange's time zone.
    half_days : mapping of "YYYY-MM-DD" to "HH:MM"
        Days that close early, and when; they too are cut into n_intervals.
    opens_day_before : bool
        The session begins on the evening before: that of futures, 18:00 to 17:00 New York.
        Its day is then the date of its close, the trading date.
    breaks : sequence of ("HH:MM", "HH:MM")
        Pauses inside the session, in order, such as Tokyo's ("11:30", "12:30"): no interval,
        no gap, and no state of before a pause is sampled after it. An interval that a pause
        cuts goes on after it; a half day ends the pauses too.

    Raises
    ------
    ValidationError
        An unknown time zone, hours that are no text "HH:MM" (YAML reads an unquoted 16:00 as
        the number 960), an open that is not before the close; names the setting and its value.
    """

    n_intervals: int = 390
    open: str = "09:30"
    close: str = "16:00"
    timezone: str = "America/New_York"
    half_days: Mapping[str, str] = field(default_factory=dict)
    opens_day_before: bool = False
    breaks: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "n_intervals", number("n_intervals", self.n_intervals, 1, integer=True)
        )
        _refuse_unknown_zone(self.timezone)
        if not isinstance(self.opens_day_before, bool):
            raise ValidationError(
                f"opens_day_before must be true or false, got {self.opens_day_before!r}"
            )
        opening, closing = self._opening, _clock("close", self.close)
        if opening >= closing:
            raise ValidationError(
                f"session open {self.open} is not before its close {self.close}; exchange them, "
                "or set opens_day_before if it opens on the evening before"
            )
        if closing - opening > DAY:
            raise ValidationError(
                f"session {self.hours} is longer than a day; its days would overlap"
            )
        # Beyond it the arithmetic of interval_of would overflow; an hour more in the night when clocks go back.
        longest = closing - opening + (HOUR if opening < NIGHT else 0 * HOUR)
        number(
            "n_intervals",
            self.n_intervals,
            1,
            np.iinfo(np.int64).max // longest.as_unit("ns").value,
        )
        object.__setattr__(self, "half_days", self._checked_half_days(opening, closing))
        object.__setattr__(self, "breaks", _pairs(self.breaks))
        clock = [opening, *(time for pause in self._pauses for time in pause), closing]
        if any(earlier >= later for earlier, later in pairwise(clock)):
            raise ValidationError(
                f"breaks {list(self.breaks)} must lie inside the session {self.open}-{self.close}, one after the other"
            )

    @property
    def hours(self) -> str:
        """Open, close and time zone, as people write them."""
        before = " (day before)" if self.opens_day_before else ""
        pauses = "".join(f"{start}, {end}-" for start, end in self.breaks)
        return f"{self.open}{before}-{pauses}{self.close} {self.timezone}"

    @property
    def _opening(self) -> pd.Timedelta:
        """From a day's midnight to its opening; negative where that is on the evening before."""
        return _clock("open", self.open) - (DAY if self.opens_day_before else 0 * DAY)

    @property
    def _pauses(self) -> list[tuple[pd.Timedelta, pd.Timedelta]]:
        """From a day's midnight to the start and end of each break; negative on the evening before."""
        evening = _clock("open", self.open) if self.opens_day_before else 2 * DAY
        clocks = [(_clock("break", start), _clock("break", end)) for start, end in self.breaks]
        return [
            tuple(time - DAY if time >= evening else time for time in pause) for pause in clocks
        ]

    def _checked_half_days(self, opening: pd.Timedelta, closing: pd.Timedelta) -> dict[str, str]:
        if not isinstance(self.half_days, Mapping):
            raise ValidationError(
                f'half_days must map "YYYY-MM-DD" to "HH:MM", got {self.half_days!r}'
            )
        half_days = {_iso_date(day): close for day, close in self.half_days.items()}
        for day, close in half_days.items():
            if not opening < _clock(f"close of half day {day}", close) <= closing:
                raise ValidationError(
                    f"half day {day} closes at {close}, not between {self.open} and {self.close}"
                )
        return half_days

    def bounds(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Opening and closing times of `days`, each (n_days,) ns UTC."""
        local = pd.DatetimeIndex(list(days))
        closes = [_clock("close", self.half_days.get(str(day.date()), self.close)) for day in local]
        return self._utc_ns(local + self._opening), self._utc_ns(local + pd.TimedeltaIndex(closes))

    def day_starts(self, days: Iterable[dt.date]) -> Int64:
        """When each of `days` begins, (n_days,) ns UTC: at midnight, or at the open on the evening before."""
        return self._utc_ns(pd.DatetimeIndex(list(days)) + min(self._opening, 0 * DAY))

    def starts(self, days: Iterable[dt.date]) -> Int64:
        """Start of every interval of `days`, (n_days, n_intervals) ns UTC."""
        days = list(days)
        opens, closes = self.bounds(days)
        paused_from, paused_to = self._pause_bounds(days)
        length = closes - opens - (paused_to - paused_from).sum(axis=1)
        starts = (
            opens[:, None]
            + length[:, None] * np.arange(self.n_intervals, dtype=np.int64) // self.n_intervals
        )
        for first, last in zip(paused_from.T[:, :, None], paused_to.T[:, :, None], strict=True):
            starts += np.where(starts >= first, last - first, 0)
        return starts

    def opened(self, days: Iterable[dt.date]) -> Int64:
        """When trading last began at or before every interval's start, (n_days, n_intervals) ns UTC."""
        days = list(days)
        starts, opened = self.starts(days), self.bounds(days)[0][:, None]
        for last in self._pause_bounds(days)[1].T[:, :, None]:
            opened = np.where(starts >= last, last, opened)
        return np.broadcast_to(opened, starts.shape)

    def days(self, time: Int64) -> NDArray[np.object_]:
        """Trading date of each time (n,) ns UTC, as `datetime.date`: the local date, or that of the next close."""
        local = pd.DatetimeIndex(np.asarray(time).astype("datetime64[ns]"), tz="UTC").tz_convert(
            self.timezone
        )
        return np.asarray(
            (local.tz_localize(None) - self._opening if self.opens_day_before else local).date
        )

    def traded_ns(self, time: Int64) -> tuple[Int64, Int64]:
        """Trading time of its day up to each time (n,) ns UTC, and in all of that day, ns; breaks do not count."""
        traded, length, _ = self._traded(time)
        return traded, length

    def interval_of(self, time: Int64) -> Int64:
        """Interval that each time (n,) ns UTC falls in; -1 outside the session and in its breaks."""
        traded, length, inside = self._traded(time)
        # The last start at or before the time: exact also where intervals are not whole nanoseconds.
        position = ((traded + 1) * self.n_intervals - 1) // length
        return np.where(inside, np.clip(position, 0, self.n_intervals - 1), -1)

    def _traded(self, time: Int64) -> tuple[Int64, Int64, NDArray[np.bool_]]:
        """As `traded_ns`, and whether each time is one of trading."""
        days, index = np.unique(self.days(time), return_inverse=True)
        opens, closes = self.bounds(days)
        length, opens, closes = closes - opens, opens[index], closes[index]
        traded, inside = np.clip(time, opens, closes) - opens, (time >= opens) & (time < closes)
        for first, last in zip(*(bound.T for bound in self._pause_bounds(days)), strict=True):
            length = length - (last - first)
            traded -= np.clip(time - first[index], 0, (last - first)[index])
            inside &= (time < first[index]) | (time >= last[index])
        return traded, length[index], inside

    def whole_hours(self) -> tuple[list[str], list[float]]:
        """Whole hours of trading as local "HH:MM", and where they lie in units of intervals."""
        opening, closing, pauses = self._opening, _clock("close", self.close), self._pauses
        hours = [h for h in (k * HOUR for k in range(-24, 25)) if opening <= h <= closing]
        hours = [hour for hour in hours if not any(start <= hour < end for start, end in pauses)]
        paused = [
            sum((end - start for start, end in pauses if end <= hour), 0 * HOUR)
            for hour in (*hours, closing)
        ]
        length = closing - opening - paused.pop()
        positions = [
            float((hour - opening - less) / length) * self.n_intervals
            for hour, less in zip(hours, paused, strict=True)
        ]
        return [
            f"{int(hour % DAY / HOUR) if hour < DAY else 24:02d}:00" for hour in hours
        ], positions

    def _pause_bounds(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Start and end of each break of `days`, each (n_days, n_breaks) ns UTC; a half day's close ends them."""
        local = pd.DatetimeIndex(list(days))
        closes = self.bounds(local)[1] if self.breaks else np.zeros(len(local), np.int64)
        at = np.array(
            [[self._utc_ns(local + time) for time in pause] for pause in self._pauses], np.int64
        )
        starts, ends = np.minimum(at.reshape(-1, 2, len(local)), closes).transpose(1, 2, 0)
        return starts, ends

    def _utc_ns(self, local: pd.DatetimeIndex) -> Int64:
        first = np.ones(len(local), bool)
        return (
            local.tz_localize(self.timezone, ambiguous=first, nonexistent="shift_forward")
            .as_unit("ns")
            .asi8
        )


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
        raise ValidationError(
            f"{what} must hold date-times with a time zone or integer nanoseconds"
        ) from error
    if index.tz is None:
        raise ValidationError(
            f'{what} has no time zone; localise it first, e.g. .tz_localize("America/New_York")'
        )
    if index.hasnans:
        raise ValidationError(
            f"{what} is missing in {index.isna().sum():,} rows, first in row {index.isna().argmax()}"
        )
    return index.tz_convert("UTC").as_unit("ns").asi8


def _plausible(time: Int64, what: str) -> Int64:
    """Integer times, unless they must be microseconds, to which pandas 3 parses by default."""
    if time.size and np.all((time >= EARLIEST_US) & (time <= LATEST_US)):
        raise ValidationError(
            f"{what} looks like microseconds (first {time[0]}), nanoseconds are due; "
            'convert date-times with .as_unit("ns") before taking integers'
        )
    return time


def _pairs(breaks: object) -> tuple[tuple[str, str], ...]:
    """Breaks as pairs of texts, from a list of lists as YAML has it too."""
    listed = isinstance(breaks, Sequence) and not isinstance(breaks, str)
    if not (listed and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in breaks)):  # type: ignore[attr-defined]
        raise ValidationError(
            f'breaks must be a list of ("HH:MM", "HH:MM"), e.g. [("11:30", "12:30")], got {breaks!r}'
        )
    return tuple((start, end) for start, end in breaks)  # type: ignore[attr-defined]


def _iso_date(day: object) -> str:
    try:
        return dt.date.fromisoformat(str(day)).isoformat()
    except ValueError as error:
        raise ValidationError(f'half day {day!r} is not "YYYY-MM-DD"') from error


def _clock(name: str, text: object) -> pd.Timedelta:
    """From midnight to a local time of day."""
    found = CLOCK.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValidationError(
            f'{name} {text!r} is not a time of day "HH:MM" from 00:00 to 24:00, e.g. "09:00"; in YAML it is quoted'
        )
    hour, minute, second = (int(part or 0) for part in found.groups())
    return pd.Timedelta(hours=hour, minutes=minute, seconds=second)


def _refuse_unknown_zone(name: object) -> None:
    try:
        ZoneInfo(name if isinstance(name, str) else "")
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ) as error:  # OSError: the name of a folder of zones
        raise ValidationError(
            f"timezone {name!r} is unknown; use a name like America/New_York"
        ) from error

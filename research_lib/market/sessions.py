"""The exchange's clock: which day and which interval of the session a time falls in."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any
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
UNITS = {"s": ("seconds", 10**9), "ms": ("milliseconds", 10**6), "us": ("microseconds", 10**3)}
EARLIEST, LATEST = (pd.Timestamp(day).as_unit("ns").value for day in ("1990-01-01", "2100-01-01"))
NEW_YORK = ("09:30", "16:00", "America/New_York")


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
        Days that close early beside those that the calendar knows, or at another time than it
        says; they too are cut into n_intervals.
    opens_day_before : bool
        The session begins on the evening before: that of futures, 18:00 to 17:00 New York.
        Its day is then the date of its close, the trading date.
    breaks : sequence of ("HH:MM", "HH:MM")
        Pauses inside the session, in order, such as Tokyo's ("11:30", "12:30"): no interval,
        no gap, and no state of before a pause is sampled after it. An interval that a pause
        cuts goes on after it; a half day ends the pauses too.
    calendar : str or None
        MIC of the exchange, such as "XTKS", whose early closes and holidays are known
        (exchange_calendars). "auto", the default, is "XNYS" for 09:30-16:00 New York and none
        for other hours; None knows of no half day but `half_days`.
    block : str, optional
        Length of a session of a venue without a close, such as "1h": every block of that
        length since midnight UTC is a session of its own, named by when it begins.

    Raises
    ------
    ValidationError
        An unknown time zone or calendar, hours that are no text "HH:MM" (YAML reads an unquoted
        16:00 as the number 960), an open that is not before the close; names setting and value.

    Examples
    --------
    >>> opens, closes = Session(78).bounds([dt.date(2024, 7, 3), dt.date(2024, 7, 5)])
    >>> ((closes - opens) / 3.6e12).tolist()  # hours: the day before Independence Day is half
    [3.5, 6.5]
    """

    n_intervals: int = 390
    open: str = NEW_YORK[0]
    close: str = NEW_YORK[1]
    timezone: str = NEW_YORK[2]
    half_days: Mapping[str, str] = field(default_factory=dict)
    opens_day_before: bool = False
    breaks: Sequence[tuple[str, str]] = ()
    calendar: str | None = "auto"
    block: str | None = None

    def __post_init__(self) -> None:
        n = number("n_intervals", self.n_intervals, 1, integer=True)
        object.__setattr__(self, "n_intervals", n)
        _refuse_unknown_zone(self.timezone)
        if not isinstance(self.opens_day_before, bool):
            raise ValidationError(
                f"opens_day_before must be true or false, got {self.opens_day_before!r}"
            )
        if self.block is not None:
            self._check_block()
        opening, closing = self._opening, self._closing
        if opening >= closing:
            raise ValidationError(
                f"session open {self.open} is not before its close {self.close}; exchange them, "
                "or set opens_day_before if it opens on the evening before"
            )
        if closing - opening > DAY:
            raise ValidationError(
                f"session {self.hours} is longer than a day; its days would overlap"
            )
        # Beyond it interval_of would overflow; an hour more in the night when clocks go back.
        longest = closing - opening + (HOUR if opening < NIGHT else 0 * HOUR)
        number("n_intervals", n, 1, np.iinfo(np.int64).max // longest.as_unit("ns").value)
        object.__setattr__(self, "half_days", self._checked_half_days())
        object.__setattr__(self, "breaks", _pairs(self.breaks))
        if any(earlier >= later for earlier, later in pairwise(self._clocks)):
            raise ValidationError(
                f"breaks {list(self.breaks)} must lie inside the session {self.open}-{self.close}, "
                "one after the other"
            )
        if self.calendar not in (None, "auto"):
            _refuse_other_calendar(str(self.calendar), self.timezone)

    @property
    def hours(self) -> str:
        """Open, close and time zone, as people write them."""
        if self.block is not None:
            return f"blocks of {self.block} around the clock"
        before = " (day before)" if self.opens_day_before else ""
        pauses = "".join(f"{start}, {end}-" for start, end in self.breaks)
        return f"{self.open}{before}-{pauses}{self.close} {self.timezone}"

    @property
    def mic(self) -> str | None:
        """The exchange whose calendar counts; None where none does."""
        known = (self.open, self.close, self.timezone) == NEW_YORK and self.block is None
        return ("XNYS" if known else None) if self.calendar == "auto" else self.calendar

    @property
    def _opening(self) -> pd.Timedelta:
        """From a day's midnight to its opening; negative where that is on the evening before."""
        if self.block is not None:
            return 0 * DAY
        return _clock("open", self.open) - (DAY if self.opens_day_before else 0 * DAY)

    @property
    def _closing(self) -> pd.Timedelta:
        return pd.Timedelta(self.block) if self.block is not None else _clock("close", self.close)

    @property
    def _clocks(self) -> list[pd.Timedelta]:
        """From a day's midnight to the open, the start and end of each break, and the close."""
        evening = _clock("open", self.open) if self.opens_day_before else 2 * DAY
        times = [_clock("break", time) for pause in self.breaks for time in pause]
        pauses = [time - DAY if time >= evening else time for time in times]
        return [self._opening, *pauses, self._closing]

    def _check_block(self) -> None:
        try:
            fits = pd.Timedelta(self.block) > 0 * DAY and DAY % pd.Timedelta(self.block) == 0 * DAY
        except (ValueError, TypeError):
            fits = False
        if not fits or (self.open, self.close) != NEW_YORK[:2] or self.breaks or self.half_days:
            raise ValidationError(
                f'block {self.block!r} must divide a day, as "1h" does, and has no open, close, '
                "breaks or half_days"
            )

    def _checked_half_days(self) -> dict[str, str]:
        if not isinstance(self.half_days, Mapping):
            raise ValidationError(
                f'half_days must map "YYYY-MM-DD" to "HH:MM", got {self.half_days!r}'
            )
        half_days = {_iso_date(day): close for day, close in self.half_days.items()}
        for day, close in half_days.items():
            if not self._opening < _clock(f"close of half day {day}", close) <= self._closing:
                raise ValidationError(
                    f"half day {day} closes at {close}, not between {self.open} and {self.close}"
                )
        return half_days

    def bounds(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Opening and closing times of `days`, each (n_days,) ns UTC."""
        starts, ends = self._segments(days)
        return starts[:, 0], ends[:, -1]

    def day_starts(self, days: Iterable[dt.date]) -> Int64:
        """When each of `days` begins, (n_days,) ns UTC: at midnight, or at the open before it."""
        return self._utc_ns(pd.DatetimeIndex(list(days)) + min(self._opening, 0 * DAY))

    def trading_days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Days on which the calendar's exchange opens, both ends included; all where there is none.

        >>> [str(day) for day in Session().trading_days(dt.date(2024, 1, 12), dt.date(2024, 1, 16))]
        ['2024-01-12', '2024-01-16']
        """
        if self.mic is None:
            return list(pd.date_range(first, last, freq=self.block or "D").date)
        years = range(first.year, last.year + 1)
        days = [day for year in years for day in _days_and_early_closes(self.mic, year)[0]]
        return [day for day in days if first <= day <= last]

    def starts(self, days: Iterable[dt.date]) -> Int64:
        """Start of every interval of `days`, (n_days, n_intervals) ns UTC."""
        return self._starts(*self._segments(days))

    def opened(self, days: Iterable[dt.date]) -> Int64:
        """When trading last began at or before every interval's start, as `starts`."""
        begin, end = self._segments(days)
        starts, opened = self._starts(begin, end), begin[:, :1]
        for resumed in begin.T[1:, :, None]:
            opened = np.where(starts >= resumed, resumed, opened)
        return np.broadcast_to(opened, starts.shape)

    def days(self, time: Int64) -> NDArray[np.object_]:
        """Trading date of each time (n,) ns UTC: the local date, or that of the next close.

        `datetime.date`; of blocks the `datetime.datetime`, UTC, at which the time's block begins.
        """
        utc = pd.DatetimeIndex(np.asarray(time).astype("datetime64[ns]"), tz="UTC")
        if self.block is not None:
            return np.asarray(utc.tz_localize(None).floor(self.block).to_pydatetime(), object)
        local = utc.tz_convert(self.timezone)
        return np.asarray(
            (local.tz_localize(None) - self._opening if self.opens_day_before else local).date
        )

    def traded_ns(self, time: Int64) -> tuple[Int64, Int64]:
        """Trading time of its day up to each time (n,) ns UTC, and in all of that day, ns."""
        traded, length, _ = self._traded(time)
        return traded, length

    def interval_of(self, time: Int64) -> Int64:
        """Interval that each time (n,) ns UTC falls in; -1 outside the session and in its breaks.

        >>> times = pd.DatetimeIndex(["2024-07-05 13:30Z", "2024-07-05 20:00Z"]).as_unit("ns").asi8
        >>> Session(390).interval_of(times).tolist()
        [0, -1]
        """
        traded, length, inside = self._traded(time)
        # The last start at or before it: exact also where intervals are not whole nanoseconds.
        position = ((traded + 1) * self.n_intervals - 1) // length
        return np.where(inside, np.clip(position, 0, self.n_intervals - 1), -1)

    def whole_hours(self) -> tuple[list[str], list[float]]:
        """Whole hours of trading as local "HH:MM", and where they lie in units of intervals."""
        begin, end = np.array(self._clocks).reshape(-1, 2).T
        every = (k * HOUR for k in range(-24, 25))
        hours = [h for h in every if any((begin <= h) & (h < end)) or h == end[-1]]
        traded = [sum(np.clip(h, begin, end) - begin, 0 * HOUR) for h in hours]
        length = sum(end - begin, 0 * HOUR)
        names = [f"{int(h % DAY / HOUR) if h < DAY else 24:02d}:00" for h in hours]
        return names, [float(one / length) * self.n_intervals for one in traded]

    def _segments(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Start and end of trading between breaks, each (n_days, n_breaks + 1) ns UTC.

        An early close ends the breaks too: segments after it are empty.
        """
        local = pd.DatetimeIndex(list(days))
        if self.block is not None:
            start = local.as_unit("ns").asi8[:, None]
            return start, start + self._closing.as_unit("ns").value
        clocks = [*self._clocks[:-1]]
        times = np.array([self._utc_ns(local + clock) for clock in clocks], np.int64).T
        closes = self._closes(local, times[:, 0])
        times = np.minimum(np.column_stack([times, closes]), closes[:, None])
        return times[:, 0::2], times[:, 1::2]

    def _closes(self, local: pd.DatetimeIndex, opens: Int64) -> Int64:
        """Close of each day: as listed by hand, else as the calendar knows, else the usual one."""
        texts = [self.half_days.get(str(day.date())) for day in local]
        clocks = [_clock("close", text) if text else self._closing for text in texts]
        closes = self._utc_ns(local + pd.TimedeltaIndex(clocks))
        if self.mic is not None:
            for k, day in enumerate(local):
                early = _days_and_early_closes(self.mic, day.year)[1].get(day.date())
                # A session that begins after the early close is one of extended hours: left whole.
                if texts[k] is None and early is not None and early > opens[k]:
                    closes[k] = min(closes[k], early)
        return closes

    def _starts(self, begin: Int64, end: Int64) -> Int64:
        length = (end - begin).sum(axis=1)[:, None]
        parts = np.arange(self.n_intervals, dtype=np.int64)
        starts = begin[:, :1] + length * parts // self.n_intervals
        for paused, resumed in zip(end.T[:-1, :, None], begin.T[1:, :, None], strict=True):
            starts += np.where(starts >= paused, resumed - paused, 0)
        return starts

    def _traded(self, time: Int64) -> tuple[Int64, Int64, NDArray[np.bool_]]:
        """As `traded_ns`, and whether each time is one of trading."""
        days, index = np.unique(self.days(time), return_inverse=True)
        begin, end = self._segments(days)
        length = (end - begin).sum(axis=1)[index]
        traded, inside = np.zeros(len(index), np.int64), np.zeros(len(index), bool)
        for first, last in zip(begin.T, end.T, strict=True):
            traded += np.clip(time, first[index], last[index]) - first[index]
            inside |= (time >= first[index]) & (time < last[index])
        return traded, length, inside

    def _utc_ns(self, local: pd.DatetimeIndex) -> Int64:
        first = np.ones(len(local), bool)
        utc = local.tz_localize(self.timezone, ambiguous=first, nonexistent="shift_forward")
        return utc.as_unit("ns").asi8.copy()


@lru_cache(maxsize=256)
def _days_and_early_closes(mic: str, year: int) -> tuple[list[dt.date], dict[dt.date, int]]:
    """Trading days of a year, and when (ns UTC) those with an early close end."""
    try:
        known = _calendar(mic, year)
    except ValueError:  # a year that the calendar does not reach: nothing is known of it
        return list(pd.date_range(f"{year}-01-01", f"{year}-12-31", freq="B").date), {}
    early = {day.date(): known.closes[day].as_unit("ns").value for day in known.early_closes}
    return list(known.sessions.date), early


def _calendar(mic: str, year: int) -> Any:
    """An exchange's calendar of one year: 0.15 s, all of its years take seconds."""
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 4.13 calls what pandas 3.1 deprecates
        return exchange_calendars.get_calendar(mic, start=f"{year}-01-01", end=f"{year}-12-31")


def _refuse_other_calendar(mic: str, timezone: str) -> None:
    """An unknown calendar, or one of another clock than the session's."""
    from exchange_calendars.errors import CalendarError

    try:
        known = _calendar(mic, 2024)
    except CalendarError as error:
        raise ValidationError(
            f"calendar {mic!r} is unknown; give the exchange's MIC, such as XTKS, or None"
        ) from error
    if str(known.tz) != timezone:
        opening, closing = known.open_times[-1][1], known.close_times[-1][1]
        raise ValidationError(
            f"calendar {mic} is not of {timezone}; give it with "
            f'open="{opening:%H:%M}", close="{closing:%H:%M}", timezone="{known.tz}"'
        )


def nanoseconds(time: object, what: str = "time") -> Int64:
    """Times as int64 nanoseconds UTC, (n,).

    Integers are taken as nanoseconds since 1970; date-times must carry a time zone.

    Raises
    ------
    ValidationError
        If date-times are naive, missing, or not times at all; if integers are those of another
        unit, which it names.
    """
    values: Any = np.asarray(time) if isinstance(time, (list, tuple)) else time
    if pd.api.types.is_integer_dtype(values):
        return _plausible(np.array(values, dtype=np.int64), what)
    try:
        index = pd.DatetimeIndex(values)
    except (ValueError, TypeError) as error:
        raise ValidationError(
            f"{what} must hold date-times with a time zone or integer nanoseconds"
        ) from error
    if index.tz is None:
        raise ValidationError(
            f'{what} has no time zone; localise it first, e.g. .tz_localize("America/New_York")'
        )
    if index.hasnans:
        missing = index.isna()
        raise ValidationError(
            f"{what} is missing in {missing.sum():,} rows, first in row {missing.argmax()}"
        )
    return index.tz_convert("UTC").as_unit("ns").asi8


def _plausible(time: Int64, what: str) -> Int64:
    """Integer times, unless as counts of a coarser unit all lie in 1990-2100 (pandas 3 has us)."""
    for unit, (name, factor) in UNITS.items():
        if time.size and np.all((time >= EARLIEST // factor) & (time <= LATEST // factor)):
            raise ValidationError(
                f"{what} looks like {name} (first {time[0]}), nanoseconds are due; convert "
                f'date-times with .as_unit("ns") before taking integers, multiply by {factor:,}, '
                f'or read files and frames with time_unit="{unit}"'
            )
    return time


def _pairs(breaks: Any) -> tuple[tuple[str, str], ...]:
    """Breaks as pairs of texts, from a list of lists as YAML has it too."""
    listed = isinstance(breaks, Sequence) and not isinstance(breaks, str)
    if not (listed and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in breaks)):
        raise ValidationError(
            'breaks must be a list of ("HH:MM", "HH:MM"), e.g. [("11:30", "12:30")], '
            f"got {breaks!r}"
        )
    return tuple((start, end) for start, end in breaks)


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
            f'{name} {text!r} is not a time of day "HH:MM" from 00:00 to 24:00, e.g. "09:00"; '
            "in YAML it is quoted"
        )
    hour, minute, second = (int(part or 0) for part in found.groups())
    return pd.Timedelta(hours=hour, minutes=minute, seconds=second)


def _refuse_unknown_zone(name: object) -> None:
    try:
        ZoneInfo(name if isinstance(name, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise ValidationError(
            f"timezone {name!r} is unknown; use a name like America/New_York"
        ) from error

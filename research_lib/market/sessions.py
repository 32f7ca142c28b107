"""The exchange's clock: which day and which interval of the session a time falls in."""

import datetime as dt
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from research_lib.checks import Array, Int64, Mask, number, refuse_rows, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError

CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?|24:00")
SECOND, HOUR, DAY = (pd.Timedelta(**{unit: 1}) for unit in ("seconds", "hours", "days"))
UNITS = {"s": ("seconds", 10**9), "ms": ("milliseconds", 10**6), "us": ("microseconds", 10**3)}
EARLIEST, LATEST = (pd.Timestamp(day).as_unit("ns").value for day in ("1990-01-01", "2100-01-01"))
NEW_YORK = ("09:30", "16:00", "America/New_York")


@dataclass(frozen=True)
class Session(Record):
    """A trading session cut into equal intervals, numbered 0..n_intervals-1.

    Open, close and breaks are times of the exchange's own clock, so daylight saving never
    shifts them; what lies between, less the breaks, is cut into equal lengths of time. Only
    where clocks change inside the session, as in venues that never close, are that day's
    intervals longer or shorter than other days'. A local time that the clock skips is moved to the
    next that exists; of one that occurs twice the first is taken.

    Attributes
    ----------
    n_intervals : int
        Intervals of one session, at most 100,000; 390 are minutes of the default session.
    open, close : str
        Local time of day, "HH:MM"; a close of "24:00" is the end of the day, so a venue that
        never closes has days from "00:00" to "24:00".
    timezone : str
        IANA name of the exchange's time zone.
    opens_day_before : bool
        The session begins on the evening before: that of futures, 18:00 to 17:00 New York.
        Its day is then the date of its close, the trading date.
    breaks : sequence of ("HH:MM", "HH:MM")
        Pauses inside the session, in order, such as Tokyo's ("11:30", "12:30"). They hold no
        interval and no gap, and no state from before a pause is sampled after it. An interval that
        a pause cuts continues after it; on a half day pauses after the close are left out.
    calendar : str or None
        MIC of the exchange, such as "XTKS", whose early closes and holidays are known
        (exchange_calendars); half days too are cut into n_intervals. "auto", the default, is
        "XNYS" for 09:30-16:00 New York and none for other hours.
    block : str, optional
        Length of a session of a venue without a close, such as "1h": every block of that
        length since midnight UTC (the time zone is UTC then) is a session of its own, named by
        when it begins.

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
    opens_day_before: bool = False
    breaks: Sequence[tuple[str, str]] = ()
    calendar: str | None = "auto"
    block: str | None = None

    def __post_init__(self) -> None:
        # More of them times the nanoseconds of a day of 25 hours is more than int64 holds.
        n = number("n_intervals", self.n_intervals, 1, 100_000, integer=True)
        object.__setattr__(self, "n_intervals", n)
        if self.block is not None:
            length = pd.to_timedelta(self.block, errors="coerce")
            hours = self.open, self.close, self.breaks
            if not length >= SECOND or DAY % length or hours != (*NEW_YORK[:2], ()):
                raise ValidationError(f"block {self.block!r} must divide a day, without hours")
            object.__setattr__(self, "timezone", "UTC")
        refuse_unknown_zone(self.timezone)
        try:
            object.__setattr__(self, "breaks", tuple((start, end) for start, end in self.breaks))
        except (TypeError, ValueError) as error:
            raise ValidationError(f"breaks must be a list of pairs: {self.breaks!r}") from error
        clocks = self._clocks
        if any(a >= b for a, b in pairwise(clocks)) or clocks[-1] - clocks[0] > DAY:
            rule = "open, breaks and close must follow one another within a day"
            raise ValidationError(f"session {self.hours}: {rule}; set opens_day_before")
        zone = _calendar(self.mic, 2024)[2] if self.mic and self.calendar != "auto" else None
        if zone not in (None, self.timezone):
            raise ValidationError(f"{self.mic} is not of {self.timezone}; write timezone={zone!r}")

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
        if self.calendar != "auto":
            return self.calendar
        return "XNYS" if (self.open, self.close, self.timezone) == NEW_YORK else None

    @property
    def _clocks(self) -> list[pd.Timedelta]:
        """From a day's midnight to the open, the start and end of each break, and the close."""
        if self.block is not None:
            return [0 * DAY, pd.Timedelta(self.block)]
        times = [_clock("break", time) for pause in self.breaks for time in pause]
        clocks = [_clock("open", self.open), *times]
        if self.opens_day_before:
            clocks = [time - DAY if time >= clocks[0] else time for time in clocks]
        return [*clocks, _clock("close", self.close)]

    def bounds(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Opening and closing times of `days`, each (n_days,) ns UTC."""
        starts, ends = self._segments(days)
        return starts[:, 0], ends[:, -1]

    def trading_days(self, first: dt.date, last: dt.date) -> list[dt.date]:
        """Days on which the calendar's exchange opens, both ends included; none where it has none.

        >>> [str(day) for day in Session().trading_days(dt.date(2024, 1, 12), dt.date(2024, 1, 16))]
        ['2024-01-12', '2024-01-16']
        """
        years = range(first.year, last.year + 1) if self.mic else ()
        return [d for y in years for d in _calendar(str(self.mic), y)[0] if first <= d <= last]

    def starts(self, days: Iterable[dt.date]) -> Int64:
        """Start of every interval of `days`, (n_days, n_intervals) ns UTC."""
        begin, end = self._segments(days)
        length = (end - begin).sum(axis=1)[:, None]
        starts = begin[:, :1] + length * np.arange(self.n_intervals) // self.n_intervals
        for paused, resumed in zip(end.T[:-1, :, None], begin.T[1:, :, None], strict=True):
            starts += np.where(starts >= paused, resumed - paused, 0)
        return starts

    def opened(self, days: Iterable[dt.date]) -> Int64:
        """When trading last began at or before every interval's start, as `starts`."""
        starts, begin = self.starts(days)[..., None], self._segments(days)[0][:, None]
        return np.where(begin <= starts, begin, begin[..., :1]).max(axis=-1)

    def days(self, time: Int64) -> Array:
        """Trading date of each time (n,) ns UTC: the local date, or that of the next close.

        `datetime.date`; of blocks the `datetime.datetime`, UTC, at which the time's block begins.
        """
        utc = pd.DatetimeIndex(nanoseconds(time).astype("datetime64[ns]"), tz="UTC")
        local = utc.tz_convert(self.timezone).tz_localize(None) - min(self._clocks[0], 0 * DAY)
        # Of each day one object: making one of every time takes most of a reading.
        which, days = pd.factorize(local.floor(self.block or "D"))
        return np.asarray(days.date if self.block is None else days.to_pydatetime(), object)[which]

    def traded_ns(self, time: Int64) -> tuple[Int64, Int64]:
        """Trading time of its day up to each time (n,) ns UTC, and in all of that day, ns."""
        return self._traded(time)[:2]

    def interval_of(self, time: Int64) -> Int64:
        """Interval that each time (n,) ns UTC falls in; -1 outside the session and in its breaks.

        >>> times = pd.DatetimeIndex(["2024-07-05 13:30Z", "2024-07-05 20:00Z"]).as_unit("ns").asi8
        >>> Session(390).interval_of(times).tolist()
        [0, -1]
        """
        traded, length, inside = self._traded(time)
        # The last start at or before it; exact also where intervals are not whole nanoseconds.
        position = ((traded + 1) * self.n_intervals - 1) // length
        return np.where(inside, np.clip(position, 0, self.n_intervals - 1), -1)

    def whole_hours(self) -> tuple[list[str], list[float]]:
        """Whole hours of trading as local "HH:MM", and where they lie in units of intervals."""
        clocks = np.array([clock / HOUR for clock in self._clocks])
        open_, close = clocks[0::2], clocks[1::2]
        traded = np.cumsum(np.diff(clocks, prepend=clocks[0]) * (np.arange(len(clocks)) % 2))
        hours = [h for h in range(-24, 25) if any((open_ <= h) & (h < close)) or h == clocks[-1]]
        positions = np.interp(hours, clocks, traded) / traded[-1] * self.n_intervals
        return [f"{h % 24 if h < 24 else 24:02d}:00" for h in hours], positions.tolist()

    def day_parts(self) -> dict[str, slice]:
        """Intervals of the open (first sixth), midday (middle third) and the close (last sixth).

        Of blocks around the clock they are called start, mid-session and end.

        >>> list(Session(390).day_parts().items())[:2]
        [('open', slice(0, 65, None)), ('midday', slice(130, 260, None))]
        """
        n = self.n_intervals
        sixth, third = max(n // 6, 1), n // 3
        midday = slice(third, max(2 * third, third + 1))
        names = ("start", "mid-session", "end") if self.block else ("open", "midday", "close")
        return dict(zip(names, (slice(0, sixth), midday, slice(n - sixth, n)), strict=True))

    def _segments(self, days: Iterable[dt.date]) -> tuple[Int64, Int64]:
        """Start and end of trading between breaks, each (n_days, n_breaks + 1) ns UTC.

        An early close ends the breaks too: segments after it are empty. An early close before the
        open is ignored, as for a session of extended hours.
        """
        local = pd.DatetimeIndex(list(days))
        rules: Any = {"ambiguous": np.ones(len(local), bool), "nonexistent": "shift_forward"}
        utc = [(local + clock).tz_localize(self.timezone, **rules) for clock in self._clocks]
        times = np.array([clock.as_unit("ns").asi8 for clock in utc]).T
        for row, day in zip(times, local if self.mic else (), strict=False):
            early = _calendar(str(self.mic), day.year)[1].get(day.date(), row[-1])
            np.minimum(row, early if early > row[0] else row[-1], out=row)
        return times[:, 0::2], times[:, 1::2]

    def _traded(self, time: Int64) -> tuple[Int64, Int64, Mask]:
        """As `traded_ns`, and whether each time is one of trading."""
        time = nanoseconds(time)
        index, days = pd.factorize(self.days(time))
        begin, end = self._segments(days)
        length = (end - begin).sum(axis=1)[index]
        traded, inside = np.zeros(len(index), np.int64), np.zeros(len(index), bool)
        for first, last in zip(begin.T, end.T, strict=True):
            traded += np.clip(time, first[index], last[index]) - first[index]
            inside |= (time >= first[index]) & (time < last[index])
        return traded, length, inside


@lru_cache(maxsize=256)
def _calendar(mic: str, year: int) -> tuple[list[dt.date], dict[dt.date, int], str]:
    """Trading days of a year, the early closes (ns UTC) by day, and the time zone."""
    import exchange_calendars  # heavy to import

    refuse_unknown([mic], exchange_calendars.get_calendar_names(), "calendar")
    start, end = f"{year}-01-01", f"{year}-12-31"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 4.13 calls what pandas 3.1 deprecates
        try:
            known = exchange_calendars.get_calendar(mic, start=start, end=end)
        except ValueError:  # a year that the calendar does not reach: nothing is known of it
            return list(pd.date_range(start, end, freq="B").date), {}, ""
    early = {day.date(): known.closes[day].as_unit("ns").value for day in known.early_closes}
    return list(known.sessions.date), early, str(known.tz)


def day_slices(session: Session, time: Int64) -> list[tuple[Any, int, int]]:
    """Each day of times (n,) in order, with the position of its first time and past its last."""
    days = session.days(time)
    edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
    return [(days[first], first, end) for first, end in pairwise(edges) if first < end]


def as_session(session: Any) -> Session:
    """The session given, the default one for None; anything else is refused."""
    if not isinstance(session, Session | None):
        raise ValidationError(f"session must be a Session, got {session!r:.40}; give Session(390)")
    return session or Session()


def refuse_unknown_zone(name: str) -> None:
    """Raise ValidationError for what is no IANA name of a time zone."""
    try:
        ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise ValidationError(f"timezone {name!r} is unknown; as America/New_York") from error


def nanoseconds(time: object, what: str = "time") -> Int64:
    """Times as int64 nanoseconds UTC, (n,).

    Integers are taken as nanoseconds since 1970; date-times must carry a time zone.

    Raises
    ------
    ValidationError
        Date-times that are naive, missing, or no times; integers that all lie in 1990-2100 if read
        in a coarser unit, which is named.
    """
    values: Any = np.asarray(time) if isinstance(time, (list, tuple)) else time
    if pd.api.types.is_integer_dtype(values):
        integers = np.array(values, dtype=np.int64)
        for unit, (name, factor) in UNITS.items():  # pandas 3 has microseconds
            coarse = (integers >= EARLIEST // factor) & (integers <= LATEST // factor)
            if coarse.size and coarse.all():
                found = f"{what} looks like {name} (first {integers[0]}), nanoseconds are due"
                raise ValidationError(f'{found}; convert, or read with time_unit="{unit}"')
        return integers
    try:
        index = pd.DatetimeIndex(values)
    except (ValueError, TypeError) as error:
        raise ValidationError(f"{what} must be times with a zone or nanoseconds") from error
    if index.tz is None:
        raise ValidationError(f"{what} has no time zone; localise it first, by .tz_localize")
    refuse_rows(index.isna(), what, index, "must not be missing")
    return index.tz_convert("UTC").as_unit("ns").asi8


def in_order(time: Int64, what: str = "time") -> Int64:
    """The times (n,); ValidationError where one is earlier than the one before it."""
    refuse_rows(np.diff(time, axis=0, prepend=time[:1]) < 0, what, time, "must be in time order")
    return time


def _clock(name: str, text: object) -> pd.Timedelta:
    """From midnight to a local time of day."""
    if not isinstance(text, str) or not CLOCK.fullmatch(text):
        raise ValidationError(f'{name} {text!r} is not a time of day "HH:MM", quoted in YAML')
    return pd.Timedelta(f"{text}:00"[:8])

"""The book at the start of every interval, batch by batch, so that more can be sampled than memory holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.errors import NoBooksError
from research_lib.market.book import BookSnapshots, empty_level, padded
from research_lib.market.readers import refuse_disorder
from research_lib.market.sessions import Session

LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")
ENDED_SECONDS = 300.0


def sample_batches(
    batches: Iterable[BookSnapshots], session: Session, max_age: float | None = None
) -> BookSnapshots:
    """The books of ``BookSnapshots.concat(batches).sample(session, max_age)``, one batch in memory at a time.

    The state that an interval's start sees may stand in an earlier batch than the start:
    each day's samples are kept and overwritten by whatever a later batch still shows at
    or before the start.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere, also between rows of equal time; from
        `iter_books`, for instance. Fewer levels are padded with empty ones.
    session : Session
    max_age : float, optional
        Seconds; as in `BookSnapshots.sample`.

    Returns
    -------
    BookSnapshots
        n_days * n_intervals snapshots as `BookSnapshots.sample` gives them, but without
        trades: kept, they would grow with the number of batches.

    Raises
    ------
    ValidationError
        No batch, two symbols, a batch that starts before the one before it ends, or no
        snapshot inside the session.
    """
    limit = None if max_age is None else number("max_age", max_age, 0)
    days: dict[Any, _Day] = {}
    before: BookSnapshots | None = None
    seen, n_rows = _Span(), 0
    for batch in batches:
        if not len(batch):
            continue
        refuse_disorder(before, batch)
        before, n_rows = batch.take([-1]), n_rows + len(batch)
        seen = seen.followed_by(_Span.of(batch.time))
        for date, day in _days_of(batch, session).items():
            days[date] = days[date].followed_by(day) if date in days else day
    sampled = [day.samples(limit) for day in days.values() if day.inside]
    if not sampled:
        raise _nothing_inside(n_rows, seen, session)
    return BookSnapshots.concat(sampled)


@dataclass(frozen=True)
class _Span:
    """First and last time of n states, ns UTC."""

    first: int = 0
    last: int = 0
    n: int = 0

    @classmethod
    def of(cls, time: NDArray[np.int64]) -> _Span:
        return cls(int(time[0]), int(time[-1]), len(time))

    def followed_by(self, later: _Span) -> _Span:
        return _Span(self.first if self.n else later.first, later.last, self.n + later.n)

    @property
    def stands_until(self) -> float:
        """How long the last state may stand where nothing follows it, ns UTC."""
        usual = (self.last - self.first) / max(self.n - 1, 1)
        return self.last + max(usual, ENDED_SECONDS * 1e9)


@dataclass(frozen=True, eq=False)
class _Day:
    """What a run of batches shows at the interval starts of one day, the span of its states, and if any is inside."""

    books: BookSnapshots
    span: _Span
    inside: bool

    def followed_by(self, later: _Day) -> _Day:
        inside, span = self.inside or later.inside, self.span.followed_by(later.span)
        return _Day(_later_over_earlier(self.books, later.books), span, inside)

    def samples(self, max_age: float | None) -> BookSnapshots:
        """The day's samples, when all of its states are known; those of no usable state are empty."""
        books = self.books
        gone = books.complete & (books.time > self.span.stands_until)
        if max_age is not None:
            gone |= books.stale(max_age)
        arrays: dict[str, Any] = {
            name: np.where(gone[:, None], empty_level(name), books[name]) for name in LEVELS
        }
        return dataclasses.replace(
            books, complete=books.complete & ~gone, age=np.where(gone, 0, books.age), **arrays
        )


def _days_of(batch: BookSnapshots, session: Session) -> dict[Any, _Day]:
    """What the batch alone shows at the interval starts of each day that it touches."""
    of_row = session.days(batch.time)
    dates, first, n = np.unique(of_row, return_index=True, return_counts=True)
    trading = set(of_row[session.interval_of(batch.time) >= 0])
    usable = np.flatnonzero(batch.complete)
    starts = session.starts(dates)
    last = np.searchsorted(batch.time[usable], starts, side="right") - 1
    rows = np.where(last >= 0, usable[np.maximum(last, 0)] if usable.size else 0, -1)
    seen = (rows >= 0) & (batch.time[rows] >= session.opened(dates))
    return {
        date: _Day(
            _snapshots_at(batch, starts[k], rows[k], seen[k]),
            _Span.of(batch.time[first[k] : first[k] + n[k]]),
            date in trading,
        )
        for k, date in enumerate(dates)
    }


def _snapshots_at(
    books: BookSnapshots, time: NDArray[np.int64], rows: NDArray[np.int64], seen: NDArray[np.bool_]
) -> BookSnapshots:
    arrays: dict[str, Any] = {
        name: np.where(seen[:, None], books[name][rows], empty_level(name)) for name in LEVELS
    }
    age = np.where(seen, time - books.time[rows], 0)
    return dataclasses.replace(
        books, time=time, complete=seen, age=age, non_finite=None, trades=None, **arrays
    )


def _later_over_earlier(earlier: BookSnapshots, later: BookSnapshots) -> BookSnapshots:
    """One day's samples from two runs of batches: the later state wherever there is one."""
    width = max(earlier.n_levels, later.n_levels)
    arrays: dict[str, Any] = {
        name: np.where(
            later.complete[:, None],
            padded(later[name], name, width),
            padded(earlier[name], name, width),
        )
        for name in LEVELS
    }
    age = np.where(later.complete, later.age, earlier.age)
    return dataclasses.replace(later, complete=earlier.complete | later.complete, age=age, **arrays)


def _nothing_inside(n_rows: int, seen: _Span, session: Session) -> NoBooksError:
    """Says when the states are, and which session would hold them."""
    message = f"none of {n_rows:,} snapshots falls inside {session.hours}"
    if not seen.n:
        return NoBooksError(message)
    utc = pd.DatetimeIndex(
        np.array([seen.first, seen.last]).astype("datetime64[ns]"), tz="UTC"
    ).floor("s")
    local = utc.tz_convert(session.timezone)
    opening, closing = (local[0].floor("h"), local[1].floor("h") + pd.Timedelta(hours=1))
    one_day = local[0].date() == local[1].date()
    hours = (
        (f"{opening:%H:%M}", f"{closing:%H:%M}".replace("00:00", "24:00"))
        if one_day
        else ("00:00", "24:00")
    )
    return NoBooksError(
        f"{message}: they are from {local[0]} to {local[1]} (UTC {utc[0]:%Y-%m-%d %H:%M:%S} to "
        f"{utc[1]:%Y-%m-%d %H:%M:%S}); give the exchange's own hours and time zone, or "
        f'Session(open="{hours[0]}", close="{hours[1]}", timezone="{session.timezone}")'
    )

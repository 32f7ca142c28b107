"""The book at the start of every interval, one day in memory at a time."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.errors import NoBooksError, ValidationError
from research_lib.market.book import BookSnapshots, empty_level, refuse_disorder
from research_lib.market.sessions import DAY, HOUR, Session

logger = logging.getLogger(__name__)

LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")
ENDED_SECONDS = 300.0
MISFIT = 0.1  # of the states outside and of the intervals without a book: the clock may be wrong


def by_day(batches: Iterable[BookSnapshots], session: Session) -> Iterator[BookSnapshots]:
    """The books of one trading day after the other, without trades; one day in memory at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere, also between rows of equal time; from
        `iter_books`, for instance.

    Raises
    ------
    ValidationError
        Two symbols, or a batch that starts before the one before it ends.

    Examples
    --------
    >>> books = BookSnapshots(
    ...     pd.DatetimeIndex(["2025-04-03 14:00Z", "2025-04-03 15:00Z", "2025-04-04 14:00Z"]),
    ...     *([[10.0]] * 3 for _ in range(4)),
    ... )
    >>> [len(day) for day in by_day([books.take([0]), books.take([1, 2])], Session())]
    [2, 1]
    """
    held: list[BookSnapshots] = []
    for batch in batches:
        if held:
            refuse_disorder(held[-1], batch)
        if batch.trades is not None:  # else they would be put together once a day and once a batch
            batch = dataclasses.replace(batch, trades=None)
        days = session.days(batch.time)
        cuts = (np.flatnonzero(days[1:] != days[:-1]) + 1).tolist()
        for first, end in pairwise([0, *cuts, len(batch)] if len(batch) else ()):
            if held and days[first] != session.days(held[-1].time[-1:])[0]:
                yield BookSnapshots.concat(held)
                held = []
            held.append(batch.take(np.arange(first, end)) if cuts else batch)
    if held:
        yield BookSnapshots.concat(held)


def sample_batches(
    batches: Iterable[BookSnapshots], session: Session, max_age: float | None = None
) -> BookSnapshots:
    """The books of ``BookSnapshots.concat(batches).sample(session, max_age)``, a day at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        As of `by_day`. Fewer levels are padded with empty ones.
    session : Session
    max_age : float, optional
        Seconds; as in `BookSnapshots.sample`.

    Returns
    -------
    BookSnapshots
        n_days * n_intervals snapshots as `BookSnapshots.sample` gives them, without trades.

    Raises
    ------
    ValidationError
        No `Session`, no batch, two symbols, a batch that starts before the one before it ends, or
        no snapshot inside the session.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket().books(780, 5, np.random.default_rng(1))
    >>> parts = [books.take(np.arange(500)), books.take(np.arange(500, 780))]
    >>> len(sample_batches(parts, Session(13)))
    26
    """
    if not isinstance(session, Session):
        raise ValidationError(f"session must be a Session, got {session!r:.40}; give Session(390)")
    limit = np.inf if max_age is None else number("max_age", max_age, 0)
    sampled, spans, n_outside, n_rows = [], [], 0, 0
    for day in by_day(batches, session):
        outside = session.interval_of(day.time) < 0
        n_rows, n_outside = n_rows + len(day), n_outside + int(outside.sum())
        spans.append(day.time[[0, -1]])
        if not outside.all():
            sampled.append(_sampled_day(day, session, limit))
    if not sampled:
        where = f": {_when(np.array(spans), session)}" if spans else ""
        raise NoBooksError(f"none of {n_rows:,} snapshots falls inside {session.hours}{where}")
    books = BookSnapshots.concat(sampled)
    n_empty = int((~books.complete).sum())
    if n_outside > MISFIT * n_rows and n_empty > MISFIT * len(books):
        logger.warning(
            f"{n_outside:,} of {n_rows:,} states lie outside the session {session.hours}, of whose "
            f"{len(books):,} intervals {n_empty:,} have no book, so its clock may not fit: "
            + _when(np.array(spans), session)
        )
    return books


def _sampled_day(day: BookSnapshots, session: Session, limit: float) -> BookSnapshots:
    """The last complete state at or before the start of each interval of one day."""
    date = session.days(day.time[:1])
    starts, opened = session.starts(date)[0], session.opened(date)[0]
    usable = np.append(np.flatnonzero(day.complete), 0)  # so that there is one
    rows = usable[np.searchsorted(day.time[usable[:-1]], starts, side="right") - 1]
    age = starts - day.time[rows]
    # After the last state the recording may have ended, so nothing is known once one is overdue.
    usual = (day.time[-1] - day.time[0]) / max(len(day) - 1, 1)
    seen = day.complete[rows] & (age >= 0) & (day.time[rows] >= opened) & (age <= limit * 1e9)
    seen &= starts <= day.time[-1] + max(usual, ENDED_SECONDS * 1e9)
    levels: dict[str, Any] = {
        name: np.where(seen[:, None], day[name][rows], empty_level(name)) for name in LEVELS
    }
    age = np.where(seen, age, 0)
    return BookSnapshots(starts, symbol=day.symbol, complete=seen, age=age, **levels)


def _when(spans: NDArray[np.int64], session: Session) -> str:
    """When the states are, by first and last of each day (n_days, 2); which session holds them."""
    utc = pd.DatetimeIndex(spans.ravel().astype("datetime64[ns]"), tz="UTC").floor("s")
    local = utc.tz_convert(session.timezone)
    clock = local - local.normalize()
    opening, closing = clock[0::2].min().floor("h"), (clock[1::2].max() + pd.Timedelta(1)).ceil("h")
    if (local[0::2].date != local[1::2].date).any():  # the day begins on the evening before
        opening, closing = 0 * DAY, DAY
    return (
        f"they are from {local[0]} to {local[-1]} (UTC {utc[0]:%Y-%m-%d %H:%M:%S} to "
        f"{utc[-1]:%Y-%m-%d %H:%M:%S}); give the exchange's own hours and time zone, or "
        f'Session(open="{opening / HOUR:02.0f}:00", close="{closing / HOUR:02.0f}:00", '
        f'timezone="{session.timezone}")'
    )

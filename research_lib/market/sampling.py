"""Sampling books that are too many to hold: batch by batch, as if they were one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots, padded
from research_lib.market.readers import refuse_disorder
from research_lib.market.sessions import Session

LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")


def sample_batches(batches: Iterable[BookSnapshots], session: Session) -> BookSnapshots:
    """The books of ``BookSnapshots.concat(batches).sample(session)``, one batch in memory at a time.

    The state that an interval's start sees may stand in an earlier batch than the start:
    each day's samples are kept and overwritten by whatever a later batch still shows at
    or before the start.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere, also between rows of equal time; from
        `iter_books`, for instance. Fewer levels are padded with empty ones.
    session : Session

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
    days: list[BookSnapshots] = []
    before: BookSnapshots | None = None
    n_rows = 0
    for batch in batches:
        if not len(batch):
            continue
        refuse_disorder(before, batch)
        before, n_rows = batch.take([-1]), n_rows + len(batch)
        for day in _sampled_days(batch, session):
            if days and days[-1].time[0] == day.time[0]:
                days[-1] = _later_over_earlier(days[-1], day)
            else:
                days.append(day)
    if not days:
        raise ValidationError(f"none of {n_rows:,} snapshots falls inside {session.hours}")
    return BookSnapshots.concat(days)


def _sampled_days(batch: BookSnapshots, session: Session) -> list[BookSnapshots]:
    """What the batch alone shows at the interval starts of each day that it touches."""
    if not (session.interval_of(batch.time) >= 0).any():
        return []
    n = session.n_intervals
    sampled = dataclasses.replace(batch, trades=None).sample(session)
    return [sampled.take(np.arange(first, first + n)) for first in range(0, len(sampled), n)]


def _later_over_earlier(earlier: BookSnapshots, later: BookSnapshots) -> BookSnapshots:
    """One day's samples from two runs of batches: the later state wherever there is one."""
    width = max(earlier.n_levels, later.n_levels)
    arrays: dict[str, Any] = {
        name: np.where(later.complete[:, None], padded(later[name], name, width), padded(earlier[name], name, width))
        for name in LEVELS
    }
    age = np.where(later.complete, later.age, earlier.age)
    return dataclasses.replace(later, complete=earlier.complete | later.complete, age=age, **arrays)

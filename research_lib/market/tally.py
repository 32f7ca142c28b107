"""The quality of books that are too many to hold, counted batch by batch as if they were one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.market.book import BookSnapshots
from research_lib.market.quality import (
    MEANING,
    BookQuality,
    QualityPolicy,
    jumps,
    local_time,
    own_masks,
    refusal,
    silences,
    spreads_bps,
)
from research_lib.market.readers import refuse_disorder
from research_lib.market.sessions import Session

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


def assess_batches(
    batches: Iterable[BookSnapshots],
    session: Session | None = None,
    policy: QualityPolicy | None = None,
) -> BookQuality:
    """The quality of ``BookSnapshots.concat(batches)`` as `assess` counts it, one batch in memory at a time.

    What is carried over is the last state and, for each day's usual mid and its stub quotes, how
    often each price was shown: memory grows with the distinct prices of a day, not with its rows.
    Nothing is dropped. To clean what is streamed, sample it and `assess` the samples.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere; from `iter_books`, for instance.
    session : Session, optional
        09:30-16:00 America/New_York by default.
    policy : QualityPolicy, optional

    Raises
    ------
    ValidationError
        Two symbols, a batch that starts before the one before it ends; at the end, where the policy
        says "raise", the kind, count, share, first row and time over all batches.
    """
    tally = _Tally(session or Session(), policy or QualityPolicy())
    before: BookSnapshots | None = None
    for batch in batches:
        if len(batch):
            refuse_disorder(before, batch)
            tally.add(batch)
            before = batch.take([-1])
    return tally.quality("" if before is None else before.symbol)


@dataclass
class _Day:
    """How often each two-sided mid was shown on a day; and each lowest bid with highest ask, and in which row first."""

    mids: pd.Series
    extremes: pd.DataFrame

    def followed_by(self, other: _Day) -> _Day:
        """Both parts of a day together, as one pass over it would have counted."""
        extremes = pd.concat([self.extremes, other.extremes]).groupby(
            ["bid", "ask"], as_index=False
        )
        return _Day(
            pd.concat([self.mids, other.mids]).groupby(level=0).sum(),
            extremes.agg({"states": "sum", "row": "min", "time": "min"}),
        )

    @property
    def usual_mid(self) -> float:
        """Median of the mids; NaN where there is none."""
        return _median(self.mids)


def _median(counts: pd.Series) -> float:
    """Median of values, the sorted index, that were each counted so many times; NaN where there is none."""
    if counts.empty:
        return float("nan")
    up_to = np.cumsum(counts.to_numpy())
    middle = np.searchsorted(up_to, [(up_to[-1] + 1) // 2, up_to[-1] // 2 + 1])
    return float(counts.index.to_numpy()[middle].mean())


@dataclass
class _Tally:
    """Counts over the batches so far, and what the next ones may still change."""

    session: Session
    policy: QualityPolicy
    rows: int = 0
    span: tuple[int, int] = (-1, -1)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEANING, 0))
    first: dict[str, tuple[int, int]] = field(default_factory=dict)
    longest: float = 0.0
    last_inside: tuple[int, int, float] | None = None  # row, time, seconds since the state before
    days: dict[dt.date, _Day] = field(default_factory=dict)
    usual: float = float("nan")
    mids: tuple[float, float] | None = None  # lowest, highest
    last_mid: tuple[dt.date, float] | None = None
    spreads: pd.Series = field(default_factory=lambda: pd.Series(dtype=np.int64))

    def add(self, books: BookSnapshots) -> None:
        """Count a batch that follows those before."""
        rows = self.rows + np.arange(len(books))
        found = own_masks(books, self.session)
        found["duplicate_times"] = np.diff(books.time, prepend=self.span[1]) == 0
        for kind, mask in found.items():
            self._count(kind, mask, rows, books.time)
        self._add_silences(rows, books.time)
        self._add_mids(rows, books)
        self._add_prices(rows, books)
        self.rows += len(books)
        self.span = (int(books.time[0]) if self.span[0] < 0 else self.span[0], int(books.time[-1]))

    def quality(self, symbol: str) -> BookQuality:
        """The report, when all is counted; ValidationError where the policy says so."""
        if self.last_inside is not None:
            row, time, since = self.last_inside
            until = silences(np.array([time]), self.session)[1]
            self._count_gaps(np.array([row]), np.array([time]), np.maximum(since, until))
        self._close_days(list(self.days), at_end=True)
        for kind in MEANING:
            if self.policy[kind] == "raise" and self.counts[kind]:
                row, time = self.first[kind]
                at = local_time(np.int64(time), self.session)
                raise refusal(symbol, kind, (self.counts[kind], self.rows), row, at)
        first, last = (
            local_time(np.int64(time), self.session, "s") if self.rows else "" for time in self.span
        )
        lowest, highest = self.mids or (None, None)
        spread = _median(self.spreads) if len(self.spreads) else None
        done = {kind: self.policy[kind] for kind in MEANING}
        return BookQuality(
            self.rows, first, last, self.longest, lowest, highest, spread, self.counts, done
        )

    def _count(self, kind: str, mask: Mask, rows: Int64, time: Int64) -> None:
        n_found = int(mask.sum())
        if n_found:
            self.counts[kind] += n_found
            position = int(np.argmax(mask))
            self.first.setdefault(kind, (int(rows[position]), int(time[position])))

    def _count_gaps(self, rows: Int64, time: Int64, seconds: NDArray[np.float64]) -> None:
        self._count("gaps", seconds > self.policy.gap_seconds, rows, time)
        self.longest = max(self.longest, float(seconds.max(initial=0.0)))

    def _add_silences(self, rows: Int64, time: Int64) -> None:
        """The last state of the session waits: a later batch says whether it is also the last of its day."""
        inside = self.session.interval_of(time) >= 0
        if not inside.any():
            return
        rows, time = rows[inside], time[inside]
        carried = self.last_inside
        if carried is not None:
            rows, time = np.append(carried[0], rows), np.append(carried[1], time)
        since, until = silences(time, self.session)
        if carried is not None:
            since[0] = carried[2]
        self._count_gaps(rows[:-1], time[:-1], np.maximum(since, until)[:-1])
        self.last_inside = (int(rows[-1]), int(time[-1]), float(since[-1]))

    def _add_mids(self, rows: Int64, books: BookSnapshots) -> None:
        """Jumps from the mid shown before, in this batch or an earlier one; the range; and the spreads."""
        days, mid = self.session.days(books.time), books.mid
        before = self.last_mid or (days[0], float("nan"))
        found = jumps(
            np.append(before[1], mid),
            np.concatenate([np.array([before[0]], object), days]),
            self.policy.jump_fraction,
        )[1:]
        self._count("price_jumps", found, rows, books.time)
        shown = np.flatnonzero(np.isfinite(mid))
        if shown.size:
            range_ = (*(self.mids or ()), float(mid[shown].min()), float(mid[shown].max()))
            self.mids, self.last_mid = (
                (min(range_), max(range_)),
                (days[shown[-1]], float(mid[shown[-1]])),
            )
        new = pd.Series(spreads_bps(books)).value_counts()
        self.spreads = (
            pd.concat([self.spreads, new]).groupby(level=0).sum()
            if len(self.spreads)
            else new.sort_index()
        )

    def _add_prices(self, rows: Int64, books: BookSnapshots) -> None:
        days = self.session.days(books.time)
        mid = books.mid
        usable = np.isfinite(mid) & (books.half_spread <= self.policy.stub_distance * mid)
        lowest = np.fmin.reduce(
            books.bid_price, axis=1, initial=np.inf
        )  # without a level: no stub whatever the mid
        highest = np.fmax.reduce(books.ask_price, axis=1, initial=-np.inf)
        shown = pd.DataFrame({"bid": lowest, "ask": highest, "row": rows, "time": books.time})
        for day in np.unique(days):
            of_day = days == day
            extremes = shown[of_day].groupby(["bid", "ask"], as_index=False)
            new = _Day(
                pd.Series(mid[of_day & usable]).value_counts().sort_index(),
                extremes.agg(states=("row", "size"), row=("row", "min"), time=("time", "min")),
            )
            self.days[day] = self.days[day].followed_by(new) if day in self.days else new
        self._close_days(list(self.days)[:-1], at_end=False)

    def _close_days(self, days: list[dt.date], *, at_end: bool) -> None:
        """Count stubs of whole days; those without a usual mid, before any day that has one, wait for it."""
        for day in days:
            usual = self.days[day].usual_mid
            self.usual = usual if np.isfinite(usual) else self.usual
            if np.isnan(self.usual) and not (at_end and day == days[-1]):
                continue
            for waiting in [one for one in self.days if one <= day]:
                self._count_stubs(self.days.pop(waiting).extremes)

    def _count_stubs(self, extremes: pd.DataFrame) -> None:
        low, high = (
            (1.0 - self.policy.stub_distance) * self.usual,
            (1.0 + self.policy.stub_distance) * self.usual,
        )
        stubs = extremes[(extremes["bid"] < low) | (extremes["ask"] > high)]
        if len(stubs):
            self.counts["stub_quotes"] += int(stubs["states"].sum())
            self.first.setdefault(
                "stub_quotes", (int(stubs["row"].min()), int(stubs["time"].min()))
            )

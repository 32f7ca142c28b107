"""What a fit sees: impact at the sizes of books, in rows or in sums over books, and the half-spreads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.impact.censoring import Rows, complete, sums

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
CENSORING = ("complete", "drop", "face_value")


@dataclass(frozen=True, eq=False)
class Spreads(Record):
    """Sums of half-spread over books, (k,) each: day, interval, n, total and square."""

    day: Index
    interval: Index
    n: Float
    total: Float
    square: Float

    def take(self, rows: Mask) -> Spreads:
        """The chosen rows."""
        return Spreads(*(getattr(self, name)[rows] for name in self.keys()))

    def by_day(self, group: Index, n_groups: int) -> Float:
        """Mean half-spread of each day and group, (D, G); NaN where it has no book. Days without any are left out."""
        days = int(self.day.max()) + 1 if len(self.day) else 1
        cell = self.day * n_groups + group
        count, total = (
            sums(cell, v, days * n_groups).reshape(days, n_groups) for v in (self.n, self.total)
        )
        daily = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        return np.asarray(daily[np.isfinite(daily).any(axis=1)])

    def by_group(self, group: Index, n_groups: int) -> tuple[Float, Float]:
        """Mean half-spread of each group over its books, and its standard error, (G,) each; NaN where it has none.

        The error is over the means of days, within one day over books.
        """
        n, total = np.bincount(group, self.n, n_groups), np.bincount(group, self.total, n_groups)
        daily = self.by_day(group, n_groups)
        seen = np.sum(np.isfinite(daily), axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n
            centre = np.nansum(daily, axis=0) / seen
            between = np.nansum((daily - centre) ** 2, axis=0) / (seen - 1) / seen
            within = np.maximum(np.bincount(group, self.square, n_groups) / n - mean**2, 0.0) / (
                n - 1
            )
            error = np.sqrt(np.where(seen > 1, between, np.where(n > 1, within, np.nan)))
        return mean, error


@dataclass(frozen=True, eq=False)
class Sample(Record):
    """Rows of impact with where they belong, and the half-spreads of the same books.

    Attributes
    ----------
    rows : Rows
        m rows, each of one book or summed over books of one day and interval.
    day, interval : (m,)
    cluster : (m,)
        Snapshots, where rows are of one book; else days.
    spreads : Spreads
    n_intervals : int
    dates : list of str
        The days that `day` numbers.
    """

    rows: Rows
    day: Index
    interval: Index
    cluster: Index
    spreads: Spreads
    n_intervals: int
    dates: list[str]

    def take(self, rows: Mask, spreads: Mask) -> Sample:
        """The chosen rows and spreads; days keep their numbers."""
        own = self.rows
        book = np.unique(own.book[rows], return_inverse=True)[1]
        known = None if own.continued is None else own.continued[rows]
        chosen = Rows(
            book, own.size[rows], own.sizes, own.n[rows], own.total[rows], own.censored[rows], known
        )
        return dataclasses.replace(
            self,
            rows=chosen,
            day=self.day[rows],
            interval=self.interval[rows],
            cluster=self.cluster[rows],
            spreads=self.spreads.take(spreads),
        )

    def usable(self, censoring: str) -> tuple[Sample, Float, str]:
        """The rows that enter the fit, their totals (m,), censored ones treated as told, and how.

        "complete": see `censoring`; sizes that no book filled are left out. "drop" leaves
        censored rows out and "face_value" takes the bound as if it were the impact: both
        are biased, and here so that the bias can be shown.
        """
        rows = self.rows
        if censoring == "drop":
            keep, total, how = ~rows.censored, rows.total, "censored rows left out"
        elif censoring == "face_value":
            keep, total, how = np.ones(len(rows.n), bool), rows.total, "bounds taken as the impact"
        else:
            keep, (total, how) = rows.known_sizes()[rows.size], complete(rows, self.interval)
        everything = np.ones(len(self.spreads.n), bool)
        return (self if keep.all() else self.take(keep, everything)), total[keep], how

    def daily(self, total: Float) -> tuple[Sample, Float]:
        """The sample and its totals summed by day, interval and size."""
        rows, k = self.rows, len(self.rows.sizes)
        key = (self.day * self.n_intervals + self.interval) * k + rows.size
        cells, of = np.unique(key, return_inverse=True)
        size, interval, day = (
            cells % k,
            cells // k % self.n_intervals,
            cells // (k * self.n_intervals),
        )
        n, filled = sums(of, rows.n), sums(of, rows.n * ~rows.censored)
        book = np.unique(day * self.n_intervals + interval, return_inverse=True)[1]
        impact = sums(of, total)
        summed = Rows(book, size, rows.sizes, n, impact, filled == 0)
        return Sample(
            summed, day, interval, day, self.spreads, self.n_intervals, self.dates
        ), impact

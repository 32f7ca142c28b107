"""Slippage observations as a fit needs them: read, split by time, borrowed, and scored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import refuse_rows, require_columns, require_numbers
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact.censoring import Rows, complete, continued, sums
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.estimation import Points
from research_lib.market import Session
from research_lib.market.sessions import nanoseconds

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

CENSORING = ("complete", "drop", "face_value")
NUMBER_COLUMNS = ("trade_size", "mid_price", "half_spread", "avg_slippage")
FRAME_COLUMNS = ("time", "interval", *NUMBER_COLUMNS, "censored")
ROW_ARRAYS = (
    "size", "n", "total", "censored", "continued", "day", "interval", "cluster", "slippage", "mid",
    "within", "impact_within",
)  # fmt: skip
ROUNDING = 1e-10  # of the largest slippage: what varies by less has no R2


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
        """Mean half-spread of each day with books and each group, (D, G); NaN without a book."""
        days, day = np.unique(self.day, return_inverse=True)
        cell, cells = day * n_groups + group, len(days) * n_groups
        count, total = sums(cell, self.n, cells), sums(cell, self.total, cells)
        daily = np.divide(total, count, out=np.full(cells, np.nan), where=count > 0)
        return daily.reshape(len(days), n_groups)

    def by_group(self, group: Index, n_groups: int) -> tuple[Float, Float]:
        """Mean half-spread of each group over its books, and its standard error, (G,) each.

        The error is over the means of days, within one day over books. NaN without a book.
        """
        n, total = np.bincount(group, self.n, n_groups), np.bincount(group, self.total, n_groups)
        daily = self.by_day(group, n_groups)
        seen = np.sum(np.isfinite(daily), axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n
            centre = np.nansum(daily, axis=0) / seen
            between = np.nansum((daily - centre) ** 2, axis=0) / (seen - 1) / seen
            variance = np.bincount(group, self.square, n_groups) / n - mean**2
            within = np.maximum(variance, 0.0) / (n - 1)
            error = np.sqrt(np.where(seen > 1, between, np.where(n > 1, within, np.nan)))
        return mean, error


@dataclass(frozen=True, eq=False)
class Observations(Rows):
    """Rows of impact, each of one book or summed over books of one day and interval.

    Attributes
    ----------
    book, size, sizes, n, total, censored, continued
        As `Rows`.
    day, interval : (m,)
        Where each row belongs; days are numbered in time order.
    cluster : (m,)
        Snapshots, where rows are of one book; else days.
    slippage : (m,) currency per share, mean over the books
    mid : (m,) currency per share
    within, impact_within : (m,)
        Sums of squares of slippage and of impact about their means; 0 for a row of one book.
    spreads : Spreads
        Of the same books.
    n_intervals : int
    dates : list of str
        The days that `day` numbers.
    """

    day: Index
    interval: Index
    cluster: Index
    slippage: Float
    mid: Float
    within: Float
    impact_within: Float
    spreads: Spreads
    n_intervals: int
    dates: list[str]

    def take(self, rows: Mask, spreads: Mask) -> Observations:
        """The chosen rows and spreads; days keep their numbers."""
        chosen = {k: self[k][rows] for k in ROW_ARRAYS if self[k] is not None}
        book = np.unique(self.book[rows], return_inverse=True)[1]
        chosen.update(book=book, spreads=self.spreads.take(spreads))
        return dataclasses.replace(self, **chosen)

    def usable(self, censoring: str) -> tuple[Observations, Float, str]:
        """The rows that enter the fit, their totals (m,), and how censored ones are treated.

        "complete": see `censoring`; sizes that no book filled are left out. "drop" leaves
        censored rows out and "face_value" takes the bound as if it were the impact: both
        are biased, and here so that the bias can be shown.
        """
        if censoring == "drop":
            keep, total, how = ~self.censored, self.total, "censored rows left out"
        elif censoring == "face_value":
            keep, total, how = np.ones(len(self.n), bool), self.total, "bounds taken as the impact"
        else:
            keep, (total, how) = self.known_sizes()[self.size], complete(self, self.interval)
        everything = np.ones(len(self.spreads.n), bool)
        return (self if keep.all() else self.take(keep, everything)), total[keep], how

    def points(self, total: Float) -> Points:
        """The rows in groups of their intervals, with totals (m,)."""
        size = self.sizes[self.size]
        return Points(self.interval, size, self.n, total, self.cluster, self.n_intervals, self.n)

    def daily_points(self, total: Float) -> Points:
        """The rows summed by day, interval and size; days are the clusters."""
        k = len(self.sizes)
        key = (self.day * self.n_intervals + self.interval) * k + self.size
        cells, of = np.unique(key, return_inverse=True)
        size, interval = self.sizes[cells % k], cells // k % self.n_intervals
        day, n = cells // (k * self.n_intervals), sums(of, self.n)
        return Points(interval, size, n, sums(of, total), day, self.n_intervals, n)


def read_observations(
    frame: pd.DataFrame, n_intervals: int | None, session: Session
) -> Observations:
    """Validate a frame as made by `SlippageCurves.to_frame`: rows of one book each.

    `n_intervals` None takes the last interval seen.
    """
    require_columns(frame, FRAME_COLUMNS, "slippage frame")
    require_numbers(frame, (*NUMBER_COLUMNS, "interval"))
    require_numbers(frame, ("trade_size", "mid_price"), above=0)
    numbers = frame["interval"], frame["half_spread"]
    fraction = ((numbers[0] < 0) | (numbers[0] % 1 != 0)).to_numpy()
    refuse_rows(fraction, "interval", numbers[0], "must be a whole number, 0 or more")
    refuse_rows((numbers[1] < 0).to_numpy(), "half_spread", numbers[1], "must be 0 or more")
    if frame["censored"].dtype != bool:
        raise ValidationError(
            f"column censored must be true or false, it holds {frame['censored'].dtype}"
        )
    time = nanoseconds(frame["time"], "column time")
    interval = frame["interval"].to_numpy(dtype=np.int64)
    needed = int(interval.max()) + 1
    if n_intervals is not None and n_intervals < needed:
        raise ValidationError(
            f"n_intervals is {n_intervals}, the frame has interval {needed - 1}; "
            f"give {needed} or more"
        )
    shares, mid, half_spread, slippage = (frame[c].to_numpy(dtype=float) for c in NUMBER_COLUMNS)
    dates, day = np.unique(session.days(time), return_inverse=True)
    _, first, snapshot = np.unique(time, return_index=True, return_inverse=True)
    sizes, size = np.unique(shares, return_inverse=True)
    book, impact, one = _books(frame, time), slippage - half_spread, np.ones(len(size))
    censored, depth = frame["censored"].to_numpy(dtype=bool), _depth(frame)
    spread = half_spread[first]
    return Observations(
        book=book, size=size, sizes=sizes, n=one, total=impact, censored=censored,
        continued=None if depth is None else continued(book, shares, depth, impact, censored),
        day=day, interval=interval, cluster=snapshot, slippage=slippage, mid=mid,
        within=np.zeros(len(size)), impact_within=np.zeros(len(size)),
        spreads=Spreads(day[first], interval[first], one[first], spread, spread**2),
        n_intervals=n_intervals or needed, dates=[str(date) for date in dates],
    )  # fmt: skip


def _depth(frame: pd.DataFrame) -> Float | None:
    """Shares filled, if every censored row says how many of its trade size."""
    if "filled" not in frame:
        return None
    filled = frame["filled"].to_numpy(dtype=float)
    partly = (filled > 0) & (filled < frame["trade_size"].to_numpy(dtype=float))
    return filled if bool(partly[frame["censored"].to_numpy(dtype=bool)].all()) else None


def _books(frame: pd.DataFrame, time: Index) -> Index:
    """Number of the book of each row: its time and side, and which one of several at that time."""
    side = pd.factorize(frame["side"])[0] if "side" in frame else np.zeros(len(frame), np.int64)
    keys = pd.DataFrame({"time": time, "side": side, "size": frame["trade_size"].to_numpy()})
    keys["repeat"] = keys.groupby(["time", "side", "size"], sort=False).cumcount()
    return keys.groupby(["time", "side", "repeat"], sort=False).ngroup().to_numpy()


def split_by_time(data: Observations, test_fraction: float) -> tuple[Mask, Mask, str]:
    """Which rows and which spreads are the test, and what is fitted and tested on what, in words.

    Training comes before testing: the last days are the test where there are several; within
    one day, the last part of the session.
    """
    dates, spreads, n = data.dates, data.spreads, data.n_intervals
    if test_fraction == 0:
        none = np.zeros(len(data.n), bool), np.zeros(len(spreads.n), bool)
        return *none, f"fitted on all of {_span(dates)}"
    if len(dates) > 1:
        first = len(dates) - min(len(dates) - 1, max(1, round(test_fraction * len(dates))))
        tested = f"fitted on {_span(dates[:first])} and tested on {_span(dates[first:])}"
        information = f"fitted on all of {_span(dates)}; the metrics {tested}"
        return data.day >= first, spreads.day >= first, information
    first = n - max(1, round(test_fraction * n))
    information = (
        f"fitted on all of {dates[0]}; the metrics fitted on intervals 0 to {first - 1} and "
        f"tested on intervals {first} to {n - 1}, predicted by one curve from all the earlier ones"
    )
    return data.interval >= first, spreads.interval >= first, information


def _span(dates: list[str]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]} ({len(dates)} days)"


@dataclass(frozen=True, eq=False)
class Borrowed(Record):
    """From which groups (intervals or buckets) each group takes its observations.

    Attributes
    ----------
    first, last : (G,)
        Each group uses the rows of groups first to last, itself where they are equal to it.
    widened : list of int
        Groups that had too few observations or distinct sizes.
    pooled : list of int
        Groups after the last observed one, which take all rows.
    """

    first: Index
    last: Index
    widened: list[int]
    pooled: list[int]

    @property
    def overlap(self) -> int:
        """Groups up to this many apart may share rows; those that take all rows left out."""
        index = np.arange(len(self.first))
        own = ~np.isin(index, self.pooled)
        return int(2 * np.max(np.maximum(index - self.first, self.last - index)[own], initial=0))

    def regrouped(self, points: Points, weighted: bool) -> Points:
        """Points of intervals as those of the groups, borrowed ones repeated."""
        index = np.arange(len(self.first))
        own = points.group * len(index) // points.n_groups
        special = np.flatnonzero((self.first != index) | (self.last != index))
        kept = np.flatnonzero(~np.isin(own, special))
        groups, rows = [own[kept]], [kept]
        for g in special:
            taken = np.flatnonzero((own >= self.first[g]) & (own <= self.last[g]))
            groups.append(np.full(len(taken), g))
            rows.append(taken)
        group, row = np.concatenate(groups), np.concatenate(rows)
        size, count, cluster = points.size[row], points.count[row], points.cluster[row]
        weight = count / size**2 if weighted else count
        return Points(group, size, count, points.total[row], cluster, len(index), weight)

    def half_spread(self, spreads: Spreads, n_intervals: int) -> tuple[Float, Float]:
        """Mean half-spread of each group and its standard error, (G,) each, censored or not."""
        n_groups = len(self.first)
        own = spreads.interval * n_groups // n_intervals
        mean, error = spreads.by_group(own, n_groups)
        for g in np.flatnonzero(~np.isfinite(mean)):
            taken = spreads.take((own >= self.first[g]) & (own <= self.last[g]))
            one = taken.by_group(np.zeros(len(taken.n), np.int64), 1)
            mean[g], error[g] = one[0][0], one[1][0]
        return mean, error


def borrow(data: Observations, n_groups: int, minimum: int, n_coefficients: int) -> Borrowed:
    """Widen groups with fewer than `minimum` filled rows or fewer sizes than coefficients.

    Raises
    ------
    ModelFittingError
        If all rows together are too few, or have too few sizes.
    """
    filled = ~data.censored
    own = data.interval * n_groups // data.n_intervals
    count = np.bincount(own[filled], data.n[filled], n_groups)
    shown = np.zeros((n_groups, len(data.sizes)), bool)
    shown[own[filled], data.size[filled]] = True
    needed, sizes = max(minimum, n_coefficients + 1), int(shown.any(axis=0).sum())
    if count.sum() < needed:
        raise ModelFittingError(
            f"{int(count.sum())} uncensored training observations for intervals 0 to "
            f"{data.n_intervals - 1}, at least {needed} are needed; add snapshots, use smaller "
            "trade sizes or lower min_observations"
        )
    if sizes < n_coefficients:
        raise ModelFittingError(
            f"{sizes} distinct trade size does not determine {n_coefficients} coefficients; "
            "add trade sizes"
        )
    first, last = np.arange(n_groups), np.arange(n_groups)
    end = int(np.flatnonzero(count)[-1]) + 1
    lacking = np.flatnonzero((count < minimum) | (shown.sum(axis=1) < n_coefficients))
    lacking = lacking[lacking < end]
    for g in lacking.tolist():
        for reach in range(1, n_groups):
            low, high = max(g - reach, 0), min(g + reach, end - 1)
            enough = count[low : high + 1].sum() >= minimum
            if enough and shown[low : high + 1].any(axis=0).sum() >= n_coefficients:
                break
        first[g], last[g] = low, high
    first[end:], last[end:] = 0, end - 1
    return Borrowed(first, last, lacking.tolist(), list(range(end, n_groups)))


def score(data: Observations, curve: ImpactCurve, test: Mask) -> pd.DataFrame:
    """Every row with its prediction, as `ImpactFit.observations`."""
    of_row, size = curve.take(data.interval), data.sizes[data.size]
    impact = of_row.impact(size)
    predicted = of_row.half_spread + impact
    return pd.DataFrame({
        "interval": data.interval,
        "trade_size": size,
        "observed": data.slippage,
        "predicted": predicted,
        "residual_bps": 1e4 * (data.slippage - predicted) / data.mid,
        "impact": data.total / data.n,
        "predicted_impact": impact,
        "sample": np.where(data.censored, "censored", np.where(test, "test", "train")),
        "n": data.n,
        "mid": data.mid,
        "within": data.within,
        "impact_within": data.impact_within,
    })  # fmt: skip


def metrics_of(observations: pd.DataFrame, sample: str) -> dict[str, float]:
    """Metrics of one sample ("train" or "test"), as `ImpactFit.metrics`; NaN where it is empty."""
    rows = observations[observations["sample"] == sample]
    books = float(rows["n"].sum())
    rounding = books * (ROUNDING * float(rows["observed"].abs().max())) ** 2 if books else 0.0
    squares = squared_errors(rows, "observed", "predicted", "within")
    rmse = np.sqrt(1e8 * np.sum(squares / rows["mid"] ** 2) / books) if books else np.nan
    return {
        f"{sample}_r2": _r2(rows, "observed", "predicted", "within", rounding),
        f"{sample}_impact_r2": _r2(rows, "impact", "predicted_impact", "impact_within", rounding),
        f"{sample}_rmse_bps": float(rmse),
        f"{sample}_observations": int(books),
    }


def squared_errors(rows: pd.DataFrame, observed: str, predicted: str, within: str) -> pd.Series:
    """Sum of squared errors over the books of each row: of their mean, and of them about it."""
    return rows["n"] * (rows[observed] - rows[predicted]) ** 2 + rows[within]


def _r2(rows: pd.DataFrame, observed: str, predicted: str, within: str, rounding: float) -> float:
    """1 - SSE / SST about the mean of `observed`; NaN where that varies by rounding only."""
    if rows.empty:
        return np.nan
    mean = float(np.average(rows[observed], weights=rows["n"]))
    about = rows.assign(mean=mean)
    variation = float(squared_errors(about, observed, "mean", within).sum())
    missed = float(squared_errors(rows, observed, predicted, within).sum())
    return 1.0 - missed / variation if variation > rounding else np.nan

r"""How much of an interval's own coefficient to believe.

Empirical Bayes: an interval's level is its true level plus an error, the true levels
scatter about a smooth profile of the day,

.. math:: \hat L_t = L_t + e_t, \quad L_t = P_t + u_t, \quad
          w = \frac{\tau^2}{\tau^2 + s^2}, \quad \tilde L_t = w \hat L_t + (1 - w) P_t

with s and tau in units of the profile. Where days repeat, s comes from the standard errors
(pooled over the intervals: each alone has few days), tau^2 is what two days share in the same
interval beyond the profile, and the profile is the one that predicts an interval of one day
best from the other intervals of the other days.
One day shows every interval once: there, what the next interval does not share is error, so
tau^2 is the lag-1 autocovariance of the deviations. Without shrinkage, picking the intervals
that look cheap is picking errors.

Source: Efron and Morris, JASA 70 (1975); method of moments as DerSimonian and Laird (1986).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import numbers, same_labels
from research_lib.config import Record

Float = NDArray[np.float64]

MIN_INTERVALS = 8
BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, np.inf)
REACH = 6.0


@dataclass(frozen=True, eq=False)
class Shrinkage(Record):
    """What was estimated, for one quantity over T intervals.

    Attributes
    ----------
    weight : (T,)
        Of each interval's own estimate; the rest is the profile's.
    profile : (T,) the smooth day profile, in the quantity's unit
    between : float
        tau, standard deviation of the true levels about the profile, relative to it.
    error : float
        s, standard deviation of the estimates about the true levels, relative to the profile.
    smoother : Smoother
        That made the profile.
    source : str
        Where s comes from: "standard errors", "lag-1 autocovariance", or why nothing is shrunk.
    """

    weight: Float
    profile: Float
    between: float
    error: float
    smoother: Smoother
    source: str

    def smooth(self, values: Float) -> Float:
        """The day profile of (T,) or (T, p) values: averages, no weight below 0."""
        return self.smoother.smooth(values)

    def apply(self, values: Float) -> Float:
        """(T,) or (T, p) values of the same intervals, shrunk with the same weights and profile."""
        weight = self.weight if values.ndim == 1 else self.weight[:, None]
        return weight * values + (1.0 - weight) * self.smooth(values)

    def summary(self) -> str:
        """One sentence: the weight, the two standard deviations, the source."""
        if not np.isfinite(self.error):
            return self.source
        tapered = ", less near the open and the close" if self.smoother.tapered else ""
        return (
            f"shrinkage factor {np.mean(self.weight):.2f} (between-interval standard deviation "
            f"{self.between:.1%}, error {self.error:.1%} of the profile, from {self.source}; "
            f"profile bandwidth {self.smoother.bandwidth:g} intervals{tapered})"
        )


def shrink(
    level: ArrayLike,
    error: ArrayLike | None,
    reason: str = "",
    overlap: int = 0,
    daily: Float | None = None,
) -> Shrinkage:
    """Estimate the shrinkage of (T,) levels with their standard errors.

    Parameters
    ----------
    level : (T,)
    error : (T,) or None
        None where days do not repeat. A Series of both is aligned by label.
    reason : str
        Why nothing is to be shrunk, if so. Fewer than 8 intervals or levels without scatter
        are not shrunk either, and `source` says so.
    overlap : int
        Levels up to so many intervals apart share observations: they are no evidence on each other.
    daily : (D, T), optional
        The levels of each day, NaN where it has none. Days judge the profile and the true
        scatter better than neighbours do, whose errors are alike where books have memory.

    Examples
    --------
    >>> level = np.tile([1.0, 1.1], 20)
    >>> found = shrink(level, np.full(40, 0.05))
    >>> found.source, found.apply(level).round(3).tolist()[:2]
    ('standard errors', [1.048, 1.052])
    """
    labels = level.index if isinstance(level, pd.Series) else None
    level = numbers("level", level)
    if error is not None:
        error = numbers("error", same_labels("error", error, labels))
    t = len(level)
    if reason or t < MIN_INTERVALS:
        return _none(level, reason or f"none: {t} intervals are too few for a profile")
    if daily is None:
        apart = min(overlap, t // 4)
        smoother, others = _smoothest(
            level[None], lambda kernel: kernel.smooth(level, apart)[None], apart
        )
        others = others[0]
    else:
        apart, rest = 0, _other_days(daily, level).T
        smoother, _ = _smoothest(daily, lambda kernel: kernel.smooth(rest, leave_out=0).T, apart)
        others = smoother.smooth(level, leave_out=0)
    profile = smoother.smooth(level)
    if np.min(profile) <= 0 or np.min(others) <= 0:
        return _none(level, "none: the profile is not positive")
    # What the others predict makes an interval's deviation that of a new one.
    deviation = (level - others) / others
    variance = float(np.mean(deviation**2))
    if variance <= np.finfo(float).eps:
        return _none(level, "none: the levels do not scatter")
    noise, source = _noise(deviation, variance, error, profile, apart)
    between = max(variance - noise, 0.0) if daily is None else _shared(daily / others - 1.0)
    weight = np.full(t, between / (between + noise) if noise > 0 else 1.0)
    return Shrinkage(
        weight, profile, float(np.sqrt(between)), float(np.sqrt(noise)), smoother, source
    )


def _noise(
    deviation: Float, variance: float, error: Float | None, profile: Float, overlap: int
) -> tuple[float, str]:
    """Variance of the relative errors, and where it comes from."""
    if error is None:
        lag = overlap + 1
        shared = float(np.mean(deviation[lag:] * deviation[:-lag]))
        return variance - min(max(shared, 0.0), variance), f"lag-{lag} autocovariance"
    known = np.isfinite(error)
    return float(np.sum(error[known] ** 2) / np.sum(profile[known] ** 2)), "standard errors"


def _shared(deviation: Float) -> float:
    """What two days share in an interval: the mean product of (D, T) deviations, at least 0."""
    n = np.sum(np.isfinite(deviation), axis=0)
    sums, squares = np.nansum(deviation, axis=0), np.nansum(deviation**2, axis=0)
    pairs = (n * (n - 1))[n > 1]
    return max(float(np.mean((sums**2 - squares)[n > 1] / pairs)), 0.0) if len(pairs) else 0.0


def _other_days(daily: Float, level: Float) -> Float:
    """For each day the mean of the other days, (D, T).

    Where no other has the interval, the level of all.
    """
    known = np.isfinite(daily)
    n = known.sum(axis=0) - known
    rest = np.nansum(daily, axis=0) - np.where(known, daily, 0.0)
    return np.divide(rest, n, out=np.tile(level, (len(daily), 1)), where=n > 0)


def _none(level: Float, source: str) -> Shrinkage:
    return Shrinkage(np.ones(len(level)), level, np.nan, np.nan, Smoother(0.0), source)


def _smoothest(
    observed: Float, predict: Callable[[Smoother], Float], overlap: int
) -> tuple[Smoother, Float]:
    """The smoothest kernel whose squared error of prediction is within one error of the least."""
    kernels = [
        Smoother(h, tapered) for h in BANDWIDTHS if h >= overlap for tapered in (True, False)
    ]
    predicted = [predict(kernel) for kernel in kernels]
    errors = [np.nanmean((observed - p) ** 2, axis=0) for p in predicted]
    scores = np.array([np.nanmean(e) for e in errors])
    best = int(np.argmin(scores))
    spread = np.array([np.nanstd(e - errors[best]) / np.sqrt(observed.shape[1]) for e in errors])
    chosen = int(np.flatnonzero(scores <= scores[best] + spread)[-1])
    return kernels[chosen], predicted[chosen]


@dataclass(frozen=True)
class Smoother(Record):
    """A Gaussian kernel average over the day: it keeps curves that rise and are convex so.

    Attributes
    ----------
    bandwidth : float
        Intervals; inf is one level for the whole day, 0 every interval its own.
    tapered : bool
        Whether the bandwidth is at most half the distance to the nearer end of the session:
        liquidity changes fastest just after the open and before the close.
    """

    bandwidth: float
    tapered: bool = False

    def smooth(self, values: Float, leave_out: int | None = None) -> Float:
        """Averages of (T,) or (T, p) values.

        Without those `leave_out` intervals away or less, 0 being itself.
        """
        if values.ndim > 1:
            return np.column_stack([self.smooth(column, leave_out) for column in values.T])
        n = len(values)
        if self.bandwidth == 0:
            return values
        averaged = _convolved(values, self.bandwidth, leave_out)
        if not self.tapered or np.isinf(self.bandwidth):
            return averaged
        ends = _end_rows(min(int(2 * self.bandwidth), n // 2), n, leave_out)
        reach = ends.shape[1]
        averaged[: len(ends)] = ends @ values[:reach]
        averaged[n - len(ends) :] = (ends @ values[::-1][:reach])[::-1]
        return averaged


@lru_cache(maxsize=64)
def _end_rows(n_rows: int, n: int, leave_out: int | None) -> Float:
    """Weights of the first rows of the day, whose bandwidth is half their distance to the open."""
    local = np.maximum(0.5 * (np.arange(n_rows) + 1.0), 0.5 + (leave_out or 0))
    reach = min(n, int(np.ceil(n_rows + (REACH * local.max(initial=1.0)))) + (leave_out or 0))
    distance = np.abs(np.subtract.outer(np.arange(n_rows), np.arange(reach)))
    weights = _kernel(distance, local[:, None], leave_out)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _convolved(values: Float, bandwidth: float, leave_out: int | None) -> Float:
    kernel, sums = _kernel_and_sums(len(values), bandwidth, leave_out)
    reach = len(kernel) // 2
    return np.asarray(np.convolve(values, kernel)[reach : reach + len(values)] / sums)


@lru_cache(maxsize=64)
def _kernel_and_sums(n: int, bandwidth: float, leave_out: int | None) -> tuple[Float, Float]:
    """Weights by distance, (2 reach + 1,), and the sum of those inside the day, (n,)."""
    reach = (
        n - 1
        if np.isinf(bandwidth)
        else min(n - 1, int(np.ceil(REACH * bandwidth)) + (leave_out or 0))
    )
    kernel = _kernel(np.abs(np.arange(-reach, reach + 1)), bandwidth, leave_out)
    return kernel, np.convolve(np.ones(n), kernel)[reach : reach + n]


def _kernel(distance: NDArray[np.int64], bandwidth: float | Float, leave_out: int | None) -> Float:
    kept = distance > (-1 if leave_out is None else leave_out)
    return np.asarray(np.exp(-0.5 * (distance / bandwidth) ** 2) * kept)

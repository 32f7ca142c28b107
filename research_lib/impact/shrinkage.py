r"""How much of an interval's own coefficient to believe.

Empirical Bayes: an interval's level is its true level plus an error, the true levels
scatter about a smooth profile of the day,

.. math:: \hat L_t = L_t + e_t, \quad L_t = P_t + u_t, \quad
          w = \frac{\tau^2}{\tau^2 + s^2}, \quad \tilde L_t = w \hat L_t + (1 - w) P_t

with s and tau in units of the profile. s comes from the standard errors where days repeat
(pooled over the intervals: each alone has few days). One day shows every interval once:
there, what the next interval does not share is error, so tau^2 is the lag-1 autocovariance
of the deviations. Without shrinkage, picking the intervals that look cheap is picking errors.

Source: Efron and Morris, JASA 70 (1975); method of moments as DerSimonian and Laird (1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record

Float = NDArray[np.float64]

FEWEST = 8
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
    bandwidth : float
        Of the profile, intervals; inf is one level for the whole day, 0 every interval its own.
    source : str
        Where s comes from: "standard errors", "lag-1 autocovariance", or why nothing is shrunk.
    """

    weight: Float
    profile: Float
    between: float
    error: float
    bandwidth: float
    source: str

    def smooth(self, values: Float) -> Float:
        """The day profile of (T,) or (T, p) values: averages with weights at or above 0 that add to 1."""
        return smoothed(values, self.bandwidth)

    def apply(self, values: Float) -> Float:
        """(T,) or (T, p) values of the same intervals, shrunk with the same weights and profile."""
        weight = self.weight if values.ndim == 1 else self.weight[:, None]
        return weight * values + (1.0 - weight) * self.smooth(values)

    def summary(self) -> str:
        """One sentence: the weight, the two standard deviations, the source."""
        if not np.isfinite(self.error):
            return self.source
        return (
            f"own weight {np.mean(self.weight):.2f} (true scatter {self.between:.1%}, error {self.error:.1%} of the "
            f"profile, from {self.source}; profile bandwidth {self.bandwidth:g} intervals)"
        )


def shrink(level: Float, error: Float | None, reason: str = "", overlap: int = 0) -> Shrinkage:
    """Estimate the shrinkage of (T,) levels with standard errors (T,); None where days do not repeat.

    Levels up to `overlap` intervals apart share observations: they are no evidence on each
    other. A `reason`, fewer than 8 intervals or levels without scatter shrink nothing, and
    `source` says so.
    """
    t = len(level)
    if reason or t < FEWEST:
        return _none(level, reason or f"none: {t} intervals are too few for a profile")
    apart = min(overlap, t // 4)
    bandwidth, others = day_profile(level, apart)
    profile = smoothed(level, bandwidth)
    if np.min(profile) <= 0 or np.min(others) <= 0:
        return _none(level, "none: the profile is not positive")
    # What the others predict makes an interval's deviation that of a new one.
    deviation = (level - others) / others
    variance = float(np.mean(deviation**2))
    if variance <= np.finfo(float).eps:
        return _none(level, "none: the levels do not scatter")
    noise, source = _noise(deviation, variance, error, profile, apart)
    between = max(variance - noise, 0.0)
    weight = np.full(t, between / (between + noise) if noise > 0 else 1.0)
    return Shrinkage(weight, profile, float(np.sqrt(between)), float(np.sqrt(noise)), bandwidth, source)


def _noise(deviation: Float, variance: float, error: Float | None, profile: Float, overlap: int) -> tuple[float, str]:
    """Variance of the relative errors, and where it comes from."""
    if error is None:
        lag = overlap + 1
        shared = float(np.mean(deviation[lag:] * deviation[:-lag]))
        return variance - min(max(shared, 0.0), variance), f"lag-{lag} autocovariance"
    known = np.isfinite(error)
    return float(np.sum(error[known] ** 2) / np.sum(profile[known] ** 2)), "standard errors"


def _none(level: Float, source: str) -> Shrinkage:
    return Shrinkage(np.ones(len(level)), level, np.nan, np.nan, 0.0, source)


def day_profile(level: Float, overlap: int = 0) -> tuple[float, Float]:
    """Bandwidth of the day's profile, the smoothest within one standard error of the best, and its predictions.

    Best is the least mean squared error of each interval predicted by the others, (T,), those
    within `overlap` left out. A Gaussian kernel average keeps curves that rise and are convex so.
    """
    candidates = [bandwidth for bandwidth in BANDWIDTHS if bandwidth >= overlap]
    predicted = [smoothed(level, bandwidth, leave_out=overlap) for bandwidth in candidates]
    errors = [(level - p) ** 2 for p in predicted]
    scores = np.array([np.mean(e) for e in errors])
    best = int(np.argmin(scores))
    spread = np.array([np.std(e - errors[best]) / np.sqrt(len(level)) for e in errors])
    chosen = int(np.flatnonzero(scores <= scores[best] + spread)[-1])
    return candidates[chosen], predicted[chosen]


def smoothed(values: Float, bandwidth: float, leave_out: int | None = None) -> Float:
    """Kernel average of (T,) or (T, p) values; without those `leave_out` intervals away or less, 0 being itself."""
    if values.ndim > 1:
        return np.column_stack([smoothed(column, bandwidth, leave_out) for column in values.T])
    if bandwidth == 0:
        return values
    n = len(values)
    reach = n - 1 if np.isinf(bandwidth) else min(n - 1, int(np.ceil(REACH * bandwidth)) + (leave_out or 0))
    distance = np.abs(np.arange(-reach, reach + 1))
    kernel = np.exp(-0.5 * (distance / bandwidth) ** 2) * (distance > (-1 if leave_out is None else leave_out))
    inside = slice(reach, reach + n)
    return np.asarray(np.convolve(values, kernel)[inside] / np.convolve(np.ones(n), kernel)[inside])

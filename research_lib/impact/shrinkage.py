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
BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True, eq=False)
class Shrinkage(Record):
    """What was estimated, for one quantity over T intervals.

    Attributes
    ----------
    weight : (T,)
        Of each interval's own estimate; the rest is the profile's.
    profile : (T,) the smooth day profile, in the quantity's unit
    smoother : (T, T)
        profile = smoother @ estimate; rows sum to 1 and have no negative weight.
    between : float
        tau, standard deviation of the true levels about the profile, relative to it.
    error : float
        s, standard deviation of the estimates about the true levels, relative to the profile.
    bandwidth : float
        Of the profile, intervals; inf is one level for the whole day.
    source : str
        Where s comes from: "standard errors", "lag-1 autocovariance", or why nothing is shrunk.
    """

    weight: Float
    profile: Float
    smoother: Float
    between: float
    error: float
    bandwidth: float
    source: str

    def apply(self, values: Float) -> Float:
        """(T,) or (T, p) values of the same intervals, shrunk with the same weights and profile."""
        weight = self.weight if values.ndim == 1 else self.weight[:, None]
        return weight * values + (1.0 - weight) * (self.smoother @ values)

    def summary(self) -> str:
        """One sentence: the weight, the two standard deviations, the source."""
        if not np.isfinite(self.error):
            return self.source
        return (
            f"own weight {np.mean(self.weight):.2f} (true scatter {self.between:.1%}, error {self.error:.1%} of the "
            f"profile, from {self.source}; profile bandwidth {self.bandwidth:g} intervals)"
        )


def shrink(level: Float, error: Float | None, reason: str = "") -> Shrinkage:
    """Estimate the shrinkage of (T,) levels with standard errors (T,); None where days do not repeat.

    A `reason`, fewer than 8 intervals or levels without scatter shrink nothing, and `source` says so.
    """
    t = len(level)
    if reason or t < FEWEST:
        return _none(level, reason or f"none: {t} intervals are too few for a profile")
    bandwidth, smoother = day_profile(level)
    profile = smoother @ level
    if np.min(profile) <= 0:
        return _none(level, "none: the profile is not positive")
    # Leaving an interval out of its own profile makes its deviation that of a new interval.
    own = np.diag(smoother)
    deviation = (level - profile) / (1.0 - own) / profile
    variance = float(np.mean(deviation**2))
    if variance <= np.finfo(float).eps:
        return _none(level, "none: the levels do not scatter")
    noise, source = _noise(deviation, variance, error, profile)
    between = max(variance - noise, 0.0)
    weight = np.full(t, between / (between + noise) if noise > 0 else 1.0)
    return Shrinkage(weight, profile, smoother, float(np.sqrt(between)), float(np.sqrt(noise)), bandwidth, source)


def _noise(deviation: Float, variance: float, error: Float | None, profile: Float) -> tuple[float, str]:
    """Variance of the relative errors, and where it comes from."""
    if error is None:
        shared = float(np.mean(deviation[1:] * deviation[:-1]))
        return variance - min(max(shared, 0.0), variance), "lag-1 autocovariance"
    known = np.isfinite(error)
    return float(np.sum(error[known] ** 2) / np.sum(profile[known] ** 2)), "standard errors"


def _none(level: Float, source: str) -> Shrinkage:
    n = len(level)
    return Shrinkage(np.ones(n), level, np.eye(n), np.nan, np.nan, 0.0, source)


def day_profile(level: Float) -> tuple[float, Float]:
    """Bandwidth and smoother (T, T) of the day: the smoothest within one standard error of the best.

    Best is the least mean squared error of each interval predicted by the others. A
    Gaussian kernel average keeps curves that rise and are convex so.
    """
    errors, smoothers = [], []
    for bandwidth in (*BANDWIDTHS, np.inf):
        smoother = _kernel(len(level), bandwidth)
        left_out = (level - smoother @ level) / (1.0 - np.diag(smoother))
        errors.append(left_out**2)
        smoothers.append(smoother)
    scores = np.array([np.mean(e) for e in errors])
    best = int(np.argmin(scores))
    spread = np.array([np.std(e - errors[best]) / np.sqrt(len(level)) for e in errors])
    chosen = int(np.flatnonzero(scores <= scores[best] + spread)[-1])
    return ((*BANDWIDTHS, np.inf)[chosen], smoothers[chosen])


def _kernel(n: int, bandwidth: float) -> Float:
    distance = np.subtract.outer(np.arange(n), np.arange(n)) / bandwidth
    kernel = np.exp(-0.5 * distance**2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))

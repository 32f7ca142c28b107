"""Shrinkage of the estimates by interval towards a smooth profile of the day."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from research_lib.checks import ArrayLike, Float, Mask, numbers, same_labels
from research_lib.config import Record

MIN_INTERVALS, REACH = 8, 6.0
MAX_CACHED = 1_000  # at most so many intervals have their profile weights cached, 8 MB each
BANDWIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, np.inf)
PILOT = 13  # of a session: bandwidth of the pilot profile for the memory of one day's errors
MEMORIES = np.linspace(0.0, 0.95, 20)
SMOOTH = 1e-5  # of the variance of levels; errors of 0.6 % of it, autocorrelated by 0.6, exceed it
REAL = 1.645  # standard errors, 5 % one-sided
SMOOTH_DAY = "none: the levels of the day are smooth, without noise"


@dataclass(frozen=True, eq=False)
class Shrinkage(Record):
    r"""Weight of each interval's own estimate against the profile, for one quantity.

    Empirical Bayes: an estimated level is the true level plus an error, and the true levels vary
    about a smooth profile of the day,

    .. math:: \hat L_t = L_t + e_t, \quad L_t = P_t + u_t, \quad
              w = \frac{\tau^2}{\tau^2 + s^2}, \quad \tilde L_t = w \hat L_t + (1 - w) P_t

    with s and tau in units of the profile. With several days, s comes from the standard errors
    (pooled over the intervals, because each has few days), tau^2 is the covariance between days of
    the deviations in the same interval, and the profile is the one that predicts an interval of one
    day best from the other intervals of the other days. A single day shows every interval once.
    Then tau^2 is the autocovariance of the deviations at the first lag beyond the memory of the
    errors, if it exceeds 1.645 of its standard errors; the rest of the variance is error. An
    interval is predicted without the intervals whose errors may be correlated with its own:
    otherwise neighbours with similar errors would make noise look like a shape. The memory l comes
    from the residuals of a pilot profile: the first lag with :math:`\rho^{l + 1} < 0.05` (rho
    fitted to their first autocorrelation, corrected for what the pilot removes), or the end of the
    lags that exceed 2 / sqrt(T), if that is later. Levels that are smooth from one interval to the
    next are free of error and are kept as they are. Without shrinkage, an allocation would select
    the intervals with the most favourable errors.

    Attributes
    ----------
    weight : (T,)
        Shrinkage factor: weight of each interval's own estimate, the profile has the rest. 0 where
        `observed` is False.
    profile : (T,) the smooth day profile, in the quantity's unit
    between : float
        tau, between-interval standard deviation of the true levels, relative to the profile.
    error : float
        s, standard deviation of the estimates about the true levels, relative to the profile.
    bandwidth : float
        Intervals that the profile averages over; inf is one level for the whole day, 0 no
        averaging.
    tapered : bool
        Whether the bandwidth is at most half the distance to the nearer end of the session:
        liquidity changes fastest just after the open and before the close.
    source : str
        Where s comes from: "standard errors", "lag-k autocovariance", or why nothing is shrunk.
    observed : (T,) bool
        Intervals with observations of their own. The others do not enter the profile and get its
        value: interpolated between observed intervals, and the nearest one's outside them.

    References
    ----------
    Efron and Morris, JASA 70 (1975); method of moments as DerSimonian and Laird (1986). Smoothing
    under autocorrelated errors: Altman, JASA 85 (1990); leaving out neighbours: Chu and Marron,
    Annals of Statistics 19 (1991); review: Opsomer, Wang and Yang, Statistical Science 16 (2001).
    """

    weight: Float
    profile: Float
    between: float
    error: float
    bandwidth: float
    tapered: bool
    source: str
    observed: Mask

    def smooth(self, values: Float) -> Float:
        """The day profile of (T,) or (T, p) values: averages, no weight below 0."""
        smoothed = _smooth(values[self.observed], self.observed, self.bandwidth, self.tapered)
        return _everywhere(smoothed, self.observed)

    def apply(self, values: Float) -> Float:
        """(T,) or (T, p) values of the same intervals, shrunk with the same weights and profile."""
        weight = self.weight if values.ndim == 1 else self.weight[:, None]
        own = np.where(weight > 0, weight * values, 0.0)  # an unobserved value may be NaN
        return own + (1.0 - weight) * self.smooth(values)

    def summary(self) -> str:
        """One sentence: the weight, the two standard deviations, the source, the profile."""
        lacking = int(np.sum(~self.observed))
        borrowed = f"; {lacking} intervals lack observations and take its value" if lacking else ""
        if not np.isfinite(self.error):
            return self.source + borrowed
        tapered = ", less near the open and the close" if self.tapered else ""
        profile = f"profile bandwidth {self.bandwidth:g} intervals{tapered}"
        if np.isinf(self.bandwidth):
            rule = "no other predicts held-out intervals better by more than a standard error"
            profile = f"the profile is flat, as {rule}"
        error = f"error {self.error:.1%} of the profile, from {self.source}"
        between = f"between-interval standard deviation {self.between:.1%}, {error}"
        factor = np.mean(self.weight[self.observed])
        return f"shrinkage factor {factor:.2f} ({between}; {profile}{borrowed})"


def shrink(
    level: ArrayLike, error: ArrayLike | None, reason: str = "", overlap: int = 0,
    daily: Float | None = None, observed: Mask | None = None,
) -> Shrinkage:  # fmt: skip
    """Estimate the shrinkage of (T,) levels with their standard errors.

    Parameters
    ----------
    level : (T,)
    error : (T,) or None
        None where days do not repeat. A Series of both is aligned by label.
    reason : str
        A reason not to shrink, if there is one. Fewer than 8 intervals, equal levels and levels of
        one day without noise are not shrunk either; `source` says so.
    overlap : int
        Levels up to this many intervals apart share observations, so they do not predict each
        other.
    daily : (D, T), optional
        The levels of each day, NaN where it has none. Other days identify the profile and tau
        better than neighbouring intervals, whose errors are correlated where books have memory.
    observed : (T,) bool, optional
        Which intervals have observations of their own; by default all.

    Examples
    --------
    >>> level = np.tile([1.0, 1.1], 20)
    >>> found = shrink(level, np.full(40, 0.05))
    >>> found.source, found.apply(level).round(3).tolist()[:2]
    ('standard errors', [1.048, 1.052])
    """
    labels = level.index if isinstance(level, pd.Series) else None
    every = numbers("level", level)
    own = np.ones(len(every), bool) if observed is None else np.asarray(observed, bool)
    known, t = every[own], int(own.sum())
    errors = None if error is None else numbers("error", same_labels("error", error, labels))[own]
    if reason or t < MIN_INTERVALS:
        return _none(every, reason or f"none: {t} intervals are too few for a profile", own)
    if errors is None and daily is None and _is_smooth(known, own):
        return _none(every, SMOOTH_DAY, own)
    memory, rho = _memory(known, own) if daily is None else (0, 0.0)
    apart = min(max(overlap, memory), t // 4) if daily is None else 0
    seen = known[None] if daily is None else daily[:, own]
    how = _smoothest(seen, _other_days(seen, known).T, own, apart, rho)
    others, profile = _smooth(known, own, *how, apart), _smooth(known, own, *how)
    if np.min(profile) <= 0 or np.min(others) <= 0:
        return _none(every, "none: the profile is not positive", own)
    # Deviations from a prediction that does not use the interval itself.
    deviation = (known - others) / others
    variance = float(np.mean(deviation**2))
    if variance <= np.finfo(float).eps:
        return _none(every, "none: the levels do not scatter", own)
    if errors is None:
        noise, source = _unshared(deviation, own, apart + 1, rho), f"lag-{apart + 1} autocovariance"
    else:
        finite, source = np.isfinite(errors), "standard errors"
        noise = float(np.sum(errors[finite] ** 2) / np.sum(profile[finite] ** 2))
    between = max(variance - noise, 0.0) if daily is None else _shared(seen / others - 1.0)
    weight = own * (between / (between + noise) if noise > 0 else 1.0)
    scales = between**0.5, noise**0.5
    return Shrinkage(weight, _everywhere(profile, own), *scales, *how, source, own)


def _unshared(deviation: Float, observed: Mask, lag: int, rho: float) -> float:
    """Variance of deviations less the covariance at `lag`, if that is significant."""
    variance, shared = float(np.mean(deviation**2)), _lagged(deviation, observed, lag)
    chance = variance * ((1.0 + rho**2) / (1.0 - rho**2) / len(deviation)) ** 0.5
    return variance - min(shared, variance) if shared > REAL * chance else variance


def _is_smooth(level: Float, observed: Mask) -> bool:
    """Whether fourth differences are negligible beside the variance: no error is so smooth."""
    # Of independent errors these squares have the variance as their mean.
    rough = np.diff(_placed(level, observed), 4) ** 2 / 70.0
    return bool(np.nanmean(rough) < SMOOTH * np.var(level)) if np.isfinite(rough).any() else False


def _memory(level: Float, observed: Mask) -> tuple[int, float]:
    """Memory of the errors of one day, in intervals, and their first autocorrelation.

    Both come from the residuals of a pilot profile. The pilot also removes part of the errors, so
    an autoregression is fitted to what it leaves.
    """
    bandwidth = max(1.0, len(observed) / PILOT)
    residual = level - _smooth(level, observed, bandwidth, True)
    variance = float(np.mean(residual**2))
    if variance <= np.finfo(float).eps * float(np.mean(level**2)):
        return 0, 0.0
    reach = int(REACH * bandwidth)
    taken = np.exp(-0.5 * (np.arange(-reach, reach + 1) / bandwidth) ** 2)
    left = -taken / taken.sum()
    left[reach] += 1.0
    product, lag = np.correlate(left, left, "full"), np.arange(-2 * reach, 2 * reach + 1)
    first = [product @ r ** np.abs(lag - 1) / (product @ r ** np.abs(lag)) for r in MEMORIES]
    rho = float(np.interp(_lagged(residual, observed, 1) / variance, first, MEMORIES))
    most, run = len(level) // 4, 0
    while run < most and _lagged(residual, observed, run + 1) > 2.0 * variance / len(level) ** 0.5:
        run += 1
    return max(run, int(np.log(0.05) / np.log(rho)) if rho > 0 else 0), rho


def _lagged(values: Float, observed: Mask, lag: int) -> float:
    """Mean product of values of observed intervals `lag` apart; 0 where there is no pair."""
    placed = _placed(values, observed)
    product = placed[lag:] * placed[:-lag]
    known = product[np.isfinite(product)]
    return float(np.mean(known)) if len(known) else 0.0


def _placed(values: Float, observed: Mask) -> Float:
    """The values of the observed intervals in their places, NaN between."""
    placed = np.full(len(observed), np.nan)
    placed[observed] = values
    return placed


def _shared(deviation: Float) -> float:
    """Covariance between days in an interval: mean product of (D, T) deviations, at least 0."""
    n = np.sum(np.isfinite(deviation), axis=0)
    sums, squares = np.nansum(deviation, axis=0), np.nansum(deviation**2, axis=0)
    pairs = (n * (n - 1))[n > 1]
    return max(float(np.mean((sums**2 - squares)[n > 1] / pairs)), 0.0) if len(pairs) else 0.0


def _other_days(daily: Float, level: Float) -> Float:
    """For each day the mean of the other days, (D, T).

    Where no other day has the interval, the level over all.
    """
    known = np.isfinite(daily)
    n = known.sum(axis=0) - known
    rest = np.nansum(daily, axis=0) - np.where(known, daily, 0.0)
    return np.divide(rest, n, out=np.tile(level, (len(daily), 1)), where=n > 0)


def _none(level: Float, source: str, own: Mask) -> Shrinkage:
    profile = _everywhere(level[own], own)
    return Shrinkage(own.astype(float), profile, np.nan, np.nan, 0.0, False, source, own)


def _smoothest(seen: Float, rest: Float, own: Mask, apart: int, rho: float) -> tuple[float, bool]:
    """The smoothest average whose squared error on (D, T) is within one error of the least.

    This standard error increases with the correlation of neighbours.
    """
    ways = [(h, tapered) for h in BANDWIDTHS if h >= apart for tapered in (True, False)]
    predicted = (_smooth(rest, own, *way, apart).T for way in ways)
    errors = [np.nanmean((seen - one) ** 2, axis=0) for one in predicted]
    scores = np.array([np.nanmean(e) for e in errors])
    best, count = errors[int(np.argmin(scores))], seen.shape[1] * (1.0 - rho) / (1.0 + rho)
    spread = np.array([np.nanstd(e - best) / np.sqrt(count) for e in errors])
    return ways[int(np.flatnonzero(scores <= scores.min() + spread)[-1])]


def _everywhere(values: Float, observed: Mask) -> Float:
    """Values at all intervals from the observed ones: interpolated, nearest outside."""
    if observed.all():
        return values
    every, known = np.arange(len(observed)), np.flatnonzero(observed)
    columns = [np.interp(every, known, one) for one in values.reshape(len(known), -1).T]
    return np.column_stack(columns).reshape(len(observed), *values.shape[1:])


def _smooth(values: Float, own: Mask, bandwidth: float, tapered: bool, apart: int = -1) -> Float:
    """Gaussian averages of values at the own intervals: curves that rise and are convex
    stay so.

    Intervals up to `apart` away are not used; 0 is the interval itself.
    """
    if bandwidth == 0:
        return values
    weights = _weights if len(values) <= MAX_CACHED else _weights.__wrapped__
    return np.asarray(weights(own.tobytes(), bandwidth, tapered, apart) @ values)


@lru_cache(maxsize=32)
def _weights(observed: bytes, bandwidth: float, tapered: bool, leave_out: int) -> Float:
    """Weights of the observed intervals (columns) in the average at each interval (rows)."""
    own = np.frombuffer(observed, bool)
    n, index = len(own), np.flatnonzero(own)
    distance, from_end = np.abs(index[:, None] - index), np.minimum(index, n - 1 - index)
    local = np.full(len(index), bandwidth)
    if tapered and np.isfinite(bandwidth):
        ends = from_end < min(int(2 * bandwidth), n // 2)
        local[ends] = np.maximum(0.5 * (from_end[ends] + 1.0), 0.5 + max(leave_out, 0))
    near = distance <= np.ceil(REACH * bandwidth) + max(leave_out, 0)
    kernel = np.exp(-0.5 * (distance / local[:, None]) ** 2) * (near & (distance > leave_out))
    if (alone := kernel.sum(axis=1) == 0).any():  # next to a gap: the nearest allowed one
        allowed = np.where(distance > leave_out, distance, np.inf)
        kernel[alone] = (allowed == allowed.min(axis=1, keepdims=True))[alone]
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))

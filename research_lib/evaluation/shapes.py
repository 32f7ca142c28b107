"""Shapes of a day: spread and depth by interval, weighted by how well they fit today."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from research_lib.checks import Float, number, per_interval
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.executions import Ladder


@dataclass(frozen=True, eq=False)
class LiquidityProfile(Record):
    """Spread and depth through a day, each relative to its mean over the day.

    Attributes
    ----------
    spread, depth : (n,)
        Above 0; scaled to mean 1. A Series is aligned by its labels 0 to n - 1.
    source : str
        Where it was measured.

    Examples
    --------
    >>> LiquidityProfile([3.0, 1.0, 2.0], [10.0, 30.0, 20.0], "by hand").spread.tolist()
    [1.5, 0.5, 1.0]
    """

    spread: Float
    depth: Float
    source: str

    def __post_init__(self) -> None:
        for name in ("spread", "depth"):
            of = f"{name} of the profile of {self.source}"
            shape = per_interval(of, self[name], np.size(self.spread))
            if np.ndim(self[name]) != 1 or not (shape > 0).all():
                raise ValidationError(f"{of} must be (n,), finite and above 0")
            object.__setattr__(self, name, shape / shape.mean())

    def __len__(self) -> int:
        return len(self.spread)

    @classmethod
    def from_ladders(cls, days: Sequence[Ladder], source: str, bandwidth: float = 0.05) -> Self:
        """The mean shape of some days, smoothed by a Gaussian kernel.

        Parameters
        ----------
        days : sequence of Ladder
            Each of one day and of n books; all days have the same weight, whatever their level.
        source : str
        bandwidth : float
            Standard deviation of the kernel as a fraction of the day: 0.05 is 20 minutes.
        """
        spread = np.array([_relative(day.half_spread, day) for day in days])
        depth = np.array([_relative(day.depth, day) for day in days])
        return cls(smooth(spread, bandwidth), smooth(depth, bandwidth), source)


@dataclass(frozen=True, eq=False)
class WeightedShapes(Record):
    r"""Day shapes, weighted by their one-step errors so far; a flat shape is one of them.

    .. math:: e_{k,t} = y_t - x_{k,t} - \frac{\sum_{s<t} w_{t-s} (y_s - x_{k,s})}
              {\sum_{s<t} w_{t-s}}, \qquad
              W_{k,t} \propto \Bigl(\sum_{s \le t} e_{k,s}^2\Bigr)^{-n_t / 2}, \qquad
              n_t = t \, \frac{1 - r_t}{1 + r_t}

    with y the log of the spread (of the depth) seen, x_k the log shape of profile k, w weights
    that halve every `half_life` books, and r_t the lag-1 autocorrelation of the errors of the best
    profile so far, at least 0. W is the profile's likelihood for n_t independent Gaussian errors.
    The forecast is the weighted mean log shape; spread and depth have separate weights.

    Attributes
    ----------
    profiles : sequence of LiquidityProfile
        Of one session.
    half_life : float
        Books.

    Examples
    --------
    Spreads that stay flat where the profile falls make the forecast flat:

    >>> from research_lib.market import BookSnapshots
    >>> noise = 1 + 0.01 * np.random.default_rng(0).random((40, 1))
    >>> spread, size = 0.1 * noise, np.full((40, 1), 9.0)
    >>> books = BookSnapshots(10**18 + np.arange(40), 50 - spread, size, 50 + spread, size)
    >>> profile = LiquidityProfile(np.linspace(3, 1, 40), np.ones(40), "by hand")
    >>> log_spread, _ = WeightedShapes([profile]).paths(Ladder.of(books, "buy"), 40)
    >>> [round(float(np.ptp(path)), 2) for path in log_spread[[0, -1]]]
    [0.55, 0.0]
    """

    profiles: Sequence[LiquidityProfile]
    half_life: float = 60.0

    def __post_init__(self) -> None:
        if not self.profiles:
            raise ValidationError("profiles must be one LiquidityProfile or more, got none")
        number("half_life", self.half_life, above=0)

    def shifted(self, shift: int) -> Self:
        """The same with the clock of the profiles moved by some intervals."""
        rolled = [
            LiquidityProfile(np.roll(one.spread, -shift), np.roll(one.depth, -shift), one.source)
            for one in self.profiles
        ]
        return replace(self, profiles=rolled)

    def paths(self, seen: Ladder, n_intervals: int) -> tuple[Float, Float]:
        """Log spread and depth of the day's n intervals, (t, n) each; row k uses books 0 to k."""
        for known in self.profiles:
            if len(known) != n_intervals:
                found = f"the profile of {known.source} has {len(known)} intervals, the day has"
                raise ValidationError(f"{found} {n_intervals}; measure it in the same session")
        flat = np.zeros((1, n_intervals))
        quoted = np.isfinite(seen.mid)  # a book without two sides, or crossed, is not used
        forecasts = []
        for name, values in (("spread", seen.half_spread), ("depth", seen.depth)):
            shapes = np.vstack([flat, *(np.log(one[name]) for one in self.profiles)])
            forecasts.append(self._weights(shapes, np.where(quoted, values, np.nan)) @ shapes)
        return forecasts[0], np.exp(forecasts[1])

    def _weights(self, shapes: Float, seen: Float) -> Float:
        """W after each book, (t, k)."""
        from scipy.signal import lfilter

        known = np.isfinite(seen) & (seen > 0)
        left = np.where(known, np.log(np.where(known, seen, 1.0)) - shapes[:, : len(seen)], 0.0)
        keep = 2.0 ** (-1.0 / self.half_life)
        before, weight = (lfilter([0.0, keep], [1.0, -keep], one) for one in (left, 1.0 * known))
        counted = known & (weight > 0)
        errors = np.where(counted, left - before / np.where(weight > 0, weight, 1.0), 0.0)
        squares = np.cumsum(errors**2, axis=1) + np.finfo(float).tiny
        best, at = np.argmin(squares, axis=0), np.arange(len(seen))
        lagged = np.cumsum(errors * np.pad(errors, ((0, 0), (1, 0)))[:, :-1], axis=1)
        alike = np.clip(lagged[best, at] / squares[best, at], 0.0, 1.0)
        n = np.cumsum(counted) * (1.0 - alike) / (1.0 + alike)
        likelihood = -0.5 * n * (np.log(squares) - np.log(squares[best, at]))
        weights = np.exp(np.maximum(likelihood, -700.0))
        return (weights / weights.sum(axis=0)).T


def decaying(half_life: float, n_books: int = 390) -> Float:
    """Weights of the last `n_books` books that halve every `half_life` intervals, (n_books,).

    Examples
    --------
    >>> decaying(1.0, 3).tolist()
    [1.0, 0.5, 0.25]
    """
    return np.exp2(-np.arange(n_books) / number("half_life", half_life, above=0))


def mid_volatility(days: Sequence[Ladder]) -> float:
    """Standard deviation of the mid's change over one interval, currency per share, days pooled.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> bid, size = np.array([[99.0], [102.0], [98.0]]), np.ones((3, 1))
    >>> books = BookSnapshots(10**18 + np.arange(3), bid, size, bid + 2, size)
    >>> round(mid_volatility([Ladder.of(books, "buy")]), 3)  # sqrt((9 + 16) / 2)
    3.536
    """
    steps = np.concatenate([np.diff(day.mid[np.isfinite(day.mid)]) for day in days])
    return float(np.sqrt(np.mean(steps**2)))


def _relative(values: Float, day: Ladder) -> Float:
    """Values of the quoted books over their mean, NaN elsewhere, (n,)."""
    quoted = np.where(np.isfinite(day.mid), values, np.nan)
    return quoted / np.nanmean(quoted)


def smooth(values: Float, bandwidth: float) -> Float:
    """Kernel mean of (days, n) values, NaN left out, (n,); `bandwidth` as a fraction of the day.

    Examples
    --------
    >>> smooth(np.array([[1.0, np.nan, 3.0]]), 0.2).round(2).tolist()
    [1.01, 2.0, 2.99]
    """
    n = values.shape[1]
    at, width = np.arange(n), number("bandwidth", bandwidth, above=0) * n
    kernel, known = np.exp(-0.5 * ((at[:, None] - at) / width) ** 2), np.isfinite(values)
    return (kernel @ np.where(known, values, 0.0).sum(axis=0)) / (kernel @ known.sum(axis=0))

"""Forecasts of a day: the shape of spread and depth, and the next move of the mid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from research_lib.checks import Float, number, per_interval
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.executions import Ladder

SIGNALS = ("imbalance", "order flow")
HAC_LAGS, MIN_CLUSTERS = 10, 10  # intervals of Newey-West; days from which errors cluster by day
MIN_STEPS = 100


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
        return cls(_smooth(spread, bandwidth), _smooth(depth, bandwidth), source)


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


@dataclass(frozen=True, eq=False)
class MidForecast(Record):
    r"""Forecast of the mid over the next interval from the displayed book and the last trades.

    .. math:: \frac{m_{t+1} - m_t}{m_t} = b_1 z_{1,t} + b_2 z_{2,t} + u_t

    by least squares over the intervals of earlier sessions, z the signals of `Ladder` (imbalance of
    the best levels; signed over total traded volume of the interval before), without a constant
    because a buy mirrors a sell. Errors are clustered by session from ten sessions on, else Newey
    and West's over ten intervals. A coefficient whose 95 % interval includes 0 is not identified:
    it is set to 0 and the other one is estimated alone.

    Attributes
    ----------
    coefficients, errors : (2,)
        b and standard errors, as fractions of the mid; 0 and NaN where not identified.
    source : str
        The sessions, or why there is no forecast.

    Examples
    --------
    >>> MidForecast.none("no earlier session").coefficients.tolist()
    [0.0, 0.0]
    """

    coefficients: Float
    errors: Float
    source: str

    @classmethod
    def none(cls, reason: str) -> Self:
        """No move is forecast."""
        return cls(np.zeros(2), np.full(2, np.nan), reason)

    @classmethod
    def fit(cls, days: Sequence[Ladder], source: str) -> Self:
        """Fit to some days, each one ladder with one book an interval.

        Examples
        --------
        >>> from research_lib.market import Session, SyntheticMarket
        >>> market = SyntheticMarket(session=Session(60))
        >>> books = market.books(12 * 60, 2, np.random.default_rng(0))
        >>> MidForecast.fit(Ladder.of(books, "buy").by_day(60), "12 days").coefficients.tolist()
        [0.0, 0.0]
        """
        from statsmodels.regression.linear_model import OLS  # the api takes a second to import

        sign = 1.0 if days[0].side == "buy" else -1.0
        moves = [sign * np.diff(day.mid) / day.mid[:-1] for day in days]
        signals = np.concatenate([day.signals[:-1] for day in days])
        move, day = np.concatenate(moves), np.repeat(np.arange(len(days)), [*map(len, moves)])
        rows = np.isfinite(move)
        used = [k for k in range(2) if rows.any() and np.ptp(signals[rows, k]) > 0]
        if rows.sum() < MIN_STEPS or not used:
            return cls.none(f"{rows.sum()} steps of {source} are too few for a forecast")
        how: dict[str, Any] = {"cov_type": "HAC", "cov_kwds": {"maxlags": HAC_LAGS}}
        if len(days) >= MIN_CLUSTERS:
            how = {"cov_type": "cluster", "cov_kwds": {"groups": day[rows]}}
        while used:
            fit = OLS(move[rows], signals[rows][:, used]).fit(use_t=True, **how)
            known = (fit.conf_int() * np.sign(fit.params)[:, None] > 0).all(axis=1)
            if known.all():
                found, errors = np.zeros(2), np.full(2, np.nan)
                found[used], errors[used] = fit.params, fit.bse
                names = " and ".join(SIGNALS[k] for k in used)
                return cls(found, errors, f"{names} of {source}")
            used = [k for k, is_known in zip(used, known, strict=True) if is_known]
        return cls.none(f"neither {' nor '.join(SIGNALS)} is identified over {source}")

    def moves(self, seen: Ladder) -> Float:
        """Expected move against the order in the next interval, (t,) currency; NaN: no mid."""
        return seen.mid * (seen.signals @ self.coefficients)


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


def _smooth(values: Float, bandwidth: float) -> Float:
    """Kernel mean of (days, n) values, NaN left out, (n,)."""
    n = values.shape[1]
    at, width = np.arange(n), number("bandwidth", bandwidth, above=0) * n
    kernel, known = np.exp(-0.5 * ((at[:, None] - at) / width) ** 2), np.isfinite(values)
    return (kernel @ np.where(known, values, 0.0).sum(axis=0)) / (kernel @ known.sum(axis=0))

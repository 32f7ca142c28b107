"""Spread and depth through the day: known before, learnt today, and how good a forecast is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.ladder import Ladder
from research_lib.market import SyntheticMarket

Float = NDArray[np.float64]
# Own trend only after this many books: two points are no trend.
MIN_TREND_BOOKS = 30
DEPTH_LEVELS = 10


@dataclass(frozen=True, eq=False)
class LiquidityProfile(Record):
    """How spread and depth move through a day, each relative to its mean over the day.

    Attributes
    ----------
    spread, depth : (n,)
        Above 0; scaled to mean 1.
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
            shape = np.array(self[name], float)
            if shape.ndim != 1 or not (np.isfinite(shape) & (shape > 0)).all():
                raise ValidationError(
                    f"{name} of the profile of {self.source} must be (n,), finite and above 0"
                )
            object.__setattr__(self, name, shape / shape.mean())
        if self.spread.shape != self.depth.shape:
            raise ValidationError(
                f"profile has {len(self.spread)} spreads and {len(self.depth)} depths"
            )

    def __len__(self) -> int:
        return len(self.spread)

    @classmethod
    def flat(cls, n_intervals: int) -> LiquidityProfile:
        """A day without shape."""
        return cls(np.ones(n_intervals), np.ones(n_intervals), "flat")

    @classmethod
    def from_ladders(
        cls, days: Sequence[Ladder], source: str, bandwidth: float = 0.05
    ) -> LiquidityProfile:
        """The mean shape of some days, smoothed by a Gaussian kernel.

        Parameters
        ----------
        days : sequence of Ladder
            Each of one day and of n books; days count alike, whatever their level.
        source : str
        bandwidth : float
            Standard deviation of the kernel as a fraction of the day: 0.05 is 20 minutes.
        """
        series = [[_relative(day.half_spread, day), _relative(day.depth, day)] for day in days]
        spread, depth = (_smooth(np.array([one[k] for one in series]), bandwidth) for k in (0, 1))
        return cls(spread, depth, source)

    @classmethod
    def from_market(cls, market: SyntheticMarket, source: str) -> LiquidityProfile:
        """The expected shape of a synthetic market, in closed form."""
        curve = market.true_curve
        depth = curve.lot_size + curve.level_mean[:, :DEPTH_LEVELS]
        return cls(curve.half_spread, depth.sum(axis=1), source)


class Forecast(ABC):
    """A view of the day's shape that may change as the day goes on.

    Examples
    --------
    >>> class Opening(Forecast):
    ...     def shape(self, half_spread, depth, n):
    ...         return 1.0 / np.arange(1, n + 1), np.ones(n)
    >>> Opening().shape(np.array([0.1]), np.array([500.0]), 4)[0].round(2).tolist()
    [1.0, 0.5, 0.33, 0.25]
    """

    @abstractmethod
    def shape(self, half_spread: Float, depth: Float, n: int) -> tuple[Float, Float]:
        """Relative spread and depth of all n intervals, (n,), from (t + 1,) seen; NaN: unquoted."""

    def paths(self, ladder: Ladder) -> tuple[Float, Float]:
        """Log spread and depth forecast at each time, (n, n): row t knows the books up to t."""
        half_spread, depth = observed(ladder)
        n = len(ladder)
        rows = [self.shape(half_spread[: t + 1], depth[: t + 1], n) for t in range(n)]
        return np.log([spread for spread, _ in rows]), np.array([size for _, size in rows])


@dataclass(frozen=True, eq=False)
class PriorShape(Forecast):
    """The shape of a profile, kept all day.

    Examples
    --------
    >>> profile = LiquidityProfile([3.0, 1.0, 2.0], [10.0, 30.0, 20.0], "by hand")
    >>> PriorShape(profile).shape(np.array([0.1]), np.array([500.0]), 3)[1].tolist()
    [0.5, 1.5, 1.0]
    """

    profile: LiquidityProfile

    def shape(self, half_spread: Float, depth: Float, n: int) -> tuple[Float, Float]:
        """The profile, whatever is seen."""
        known = self.profile
        if len(known) != n:
            raise ValidationError(
                f"the profile of {known.source} has {len(known)} intervals, the day has {n}; "
                "measure it in the same session"
            )
        return known.spread, known.depth

    def paths(self, ladder: Ladder) -> tuple[Float, Float]:
        """One row, (1, n) each: it never changes."""
        spread, depth = self.shape(ladder.half_spread, ladder.depth, len(ladder))
        return np.log(spread)[None], depth[None]


@dataclass(frozen=True, eq=False)
class TiltedShape(Forecast):
    r"""The profile made steeper or flatter, as today's books suggest.

    .. math:: y_k = a + \kappa x_k + e_k, \qquad
        \hat\kappa = \frac{w + \sum_k \tilde x_k \tilde y_k}{w + \sum_k \tilde x_k^2}, \qquad
        w = m \, \widehat{\mathrm{var}}(y - x) / \tau^2

    over the books seen, with y the log of what was seen, x the log shape, both centred. It is the
    posterior mean under the prior kappa ~ N(1, tau^2), where m neighbouring books count as one
    since their errors are alike. kappa is kept in [0, 2]; spread and depth have one each.

    Attributes
    ----------
    profile : LiquidityProfile
    deviation : float
        tau.
    memory : float
        m, books.

    Examples
    --------
    Spreads that stay flat where the profile falls make it flatter:

    >>> profile = LiquidityProfile(np.linspace(3, 1, 5), np.ones(5), "by hand")
    >>> spread, _ = TiltedShape(profile, memory=1.0).shape(np.full(4, 0.1), np.full(4, 9.0), 5)
    >>> bool(np.ptp(spread) < np.ptp(profile.spread))
    True
    """

    profile: LiquidityProfile
    deviation: float = 0.5
    memory: float = 20.0

    def shape(self, half_spread: Float, depth: Float, n: int) -> tuple[Float, Float]:
        """The profile to the power of kappa."""
        spread, size = PriorShape(self.profile).shape(half_spread, depth, n)
        tilt = [
            self._exponents(np.log(shape), seen)[-1]
            for shape, seen in ((spread, half_spread), (size, depth))
        ]
        return spread ** tilt[0], size ** tilt[1]

    def paths(self, ladder: Ladder) -> tuple[Float, Float]:
        """Log spread and depth, (n, n): the rows of `shape` at once."""
        seen = observed(ladder)
        log_spread, log_depth = np.log(PriorShape(self.profile).shape(*seen, len(ladder)))
        tilts = self._exponents(log_spread, seen[0]), self._exponents(log_depth, seen[1])
        return tilts[0][:, None] * log_spread, np.exp(tilts[1][:, None] * log_depth)

    def _exponents(self, log_shape: Float, seen: Float) -> Float:
        """kappa after each book, (t + 1,)."""
        known = np.isfinite(seen) & (seen > 0)
        x = np.where(known, log_shape[: len(seen)], 0.0)
        y = np.log(np.where(known, seen, 1.0))
        n = np.maximum(np.cumsum(known), 1)
        sums = (np.cumsum(part) for part in (x, y, x * x, x * y, (y - x) ** 2))
        sum_x, sum_y, sum_xx, sum_xy, sum_ee = sums
        xx, xy = sum_xx - sum_x**2 / n, sum_xy - sum_x * sum_y / n
        variance = np.maximum(sum_ee - (sum_y - sum_x) ** 2 / n, 0.0) / n
        weight = self.memory * variance / self.deviation**2
        kappa, identified = np.ones(len(seen)), weight + xx > 1e-12
        np.divide(weight + xy, weight + xx, out=kappa, where=identified)
        return np.clip(kappa, 0.0, 2.0)


@dataclass(frozen=True, eq=False)
class TodayShape(Forecast):
    """The trend of today's books in the logarithm of the time since the open, without a prior.

    Flat until 30 books are seen.

    Examples
    --------
    >>> TodayShape().shape(np.array([0.1]), np.array([500.0]), 3)[0].tolist()
    [1.0, 1.0, 1.0]
    """

    def shape(self, half_spread: Float, depth: Float, n: int) -> tuple[Float, Float]:
        """Spread and depth that follow today's trend."""
        return self._trend(half_spread, n), self._trend(depth, n)

    def _trend(self, seen: Float, n: int) -> Float:
        since_open = np.log1p(np.arange(n))
        x, y = _logs(since_open[: len(seen)], seen)
        if len(x) < MIN_TREND_BOOKS:
            return np.ones(n)
        x = x - x.mean()
        return np.exp((x @ y) / (x @ x) * (since_open - since_open.mean()))


def rolling(n_books: int) -> Float:
    """Equal weights of the last `n_books` books, the current one included.

    Examples
    --------
    >>> rolling(3).tolist()
    [1.0, 1.0, 1.0]
    """
    return np.ones(number("n_books", n_books, 1, integer=True))


def decaying(half_life: float, n_books: int = 390) -> Float:
    """Weights of the last `n_books` books that halve every `half_life` intervals, (n_books,).

    Examples
    --------
    >>> decaying(1.0, 3).tolist()
    [1.0, 0.5, 0.25]
    """
    return np.exp2(-np.arange(n_books) / number("half_life", half_life, above=0))


def forecast_scores(
    forecasts: Mapping[str, tuple[Forecast, Float]],
    days: Sequence[Ladder],
    horizons: Sequence[int] = (1, 10, 60),
) -> pd.DataFrame:
    r"""Root mean squared error of log spread and log depth, h intervals ahead.

    .. math:: \log \hat y_{t+h} = \log s_{t+h}
        + \frac{\sum_k w_{t-k} (\log y_k - \log s_k)}{\sum_k w_{t-k}}

    with s the shape forecast at t and k the books seen. Three benchmarks are added: "flat" (no
    shape, the last 60 books), "last value" (no shape, the last book) and "day so far" (no
    shape, all books seen).

    Parameters
    ----------
    forecasts : mapping of name to (Forecast, (K,) weights by age)
    days : sequence of Ladder
        Scored on all of them together.
    horizons : sequence of int
        Intervals ahead.

    Returns
    -------
    DataFrame
        Index name, best mean first; columns spread_<h>, depth_<h>, mean.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> shape, size = np.linspace(0.2, 0.1, 5)[:, None], np.full((5, 1), 100.0)
    >>> time = 10**18 + np.arange(5) * 60 * 10**9
    >>> day = Ladder.of(BookSnapshots(time, 50 - shape, size, 50 + shape, size), "buy")
    >>> exact = PriorShape(LiquidityProfile(shape[:, 0], np.ones(5), "the day itself"))
    >>> forecast_scores({"exact": (exact, rolling(3))}, [day], [1]).loc["exact", "mean"].round(9)
    np.float64(0.0)
    """
    n = len(days[0])
    no_shape = PriorShape(LiquidityProfile.flat(n))
    benchmarks = {"flat": rolling(60), "last value": rolling(1), "day so far": rolling(n)}
    scored = dict(forecasts) | {name: (no_shape, weights) for name, weights in benchmarks.items()}
    rows = {}
    for name, (forecast, weights) in scored.items():
        errors = [_errors(forecast, weights, day, horizons) for day in days]
        rows[name] = {
            column: float(np.sqrt(np.nanmean(np.concatenate([one[column] for one in errors]) ** 2)))
            for column in errors[0]
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("forecast")
    return table.assign(mean=table.mean(axis=1)).sort_values("mean")


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


def observed(ladder: Ladder) -> tuple[Float, Float]:
    """Half-spread and depth, (n,) each, NaN where a side is empty or the spread is not above 0.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> bid, bid_size, ask, size = [[99.0], [99.0]], [[5.0], [0.0]], [[101.0]] * 2, [[7.0]] * 2
    >>> books = BookSnapshots([10**18, 2 * 10**18], bid, bid_size, ask, size)
    >>> [array.tolist() for array in observed(Ladder.of(books, "buy"))]
    [[1.0, nan], [7.0, nan]]
    """
    quoted = np.isfinite(ladder.mid)
    half_spread = np.where(quoted & (ladder.half_spread > 0), ladder.half_spread, np.nan)
    return half_spread, np.where(quoted, ladder.depth, np.nan)


def _errors(
    forecast: Forecast, weights: Float, day: Ladder, horizons: Sequence[int]
) -> dict[str, Float]:
    log_spread, depth = forecast.paths(day)
    half_spread, shown = observed(day)
    pairs = {"spread": (log_spread, half_spread), "depth": (np.log(depth), shown)}
    return {
        f"{name}_{h}": _ahead(np.broadcast_to(shapes, (len(day), len(day))), seen, weights, h)
        for name, (shapes, seen) in pairs.items()
        for h in horizons
    }


def _ahead(shapes: Float, seen: Float, weights: Float, horizon: int) -> Float:
    """Errors, in logs, of the forecasts made at t = 0 .. n - 1 - horizon with log shapes (n, n)."""
    n, log_seen = len(seen), np.log(seen)
    known, age = np.isfinite(log_seen), np.arange(n)[:, None] - np.arange(n)
    used = known & (age >= 0) & (age < len(weights))
    weight = np.where(used, weights[np.clip(age, 0, len(weights) - 1)], 0.0)
    total = weight.sum(axis=1)
    above = np.sum(weight * (np.where(known, log_seen, 0.0) - shapes), axis=1)
    level = np.divide(above, total, out=np.full(n, np.nan), where=total > 0)
    made = np.arange(n - horizon)
    return log_seen[made + horizon] - shapes[made, made + horizon] - level[made]


def _relative(values: Float, day: Ladder) -> Float:
    """Values of the quoted books over their mean, NaN elsewhere, (n,)."""
    quoted = np.where(np.isfinite(day.mid), values, np.nan)
    return quoted / np.nanmean(quoted)


def _smooth(values: Float, bandwidth: float) -> Float:
    """Kernel mean of (days, n) values, NaN left out, (n,)."""
    n = values.shape[1]
    at = np.arange(n)
    width = number("bandwidth", bandwidth, above=0) * n
    kernel = np.exp(-0.5 * ((at[:, None] - at) / width) ** 2)
    known = np.isfinite(values)
    return (kernel @ np.where(known, values, 0.0).sum(axis=0)) / (kernel @ known.sum(axis=0))


def _logs(x: Float, seen: Float) -> tuple[Float, Float]:
    """x and log of what was seen, where something above 0 was seen."""
    known = np.isfinite(seen) & (seen > 0)
    return x[known], np.log(seen[known])

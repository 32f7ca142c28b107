"""A market whose expected cost of trading is known exactly, in closed form."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from research_lib.checks import number, per_interval
from research_lib.config import ModelConfig, Record
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session
from research_lib.market.trades import OrderFlow

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
SESSIONS_A_YEAR = 252
DEEPEST_LEVEL = 200
HIGHEST_UNIFORM = 1.0 - 2.0**-53


@dataclass(frozen=True)
class DayShape(Record):
    r"""How spread and depth move through the session, u from 0 (open) to 1 (close).

    .. math::
        \mathrm{spread}(u) \propto 1 + a e^{-u / \tau}, \qquad
        \mathrm{depth}(u) = 1 + b \, ((1 - 2u)^+)^p + c \, ((2u - 1)^+)^q

    The spread is wide after the opening and settles; depth follows a power on either side
    of midday: 2 is a parabola, 64 a surge in the last minutes before the closing cross.

    Attributes
    ----------
    spread_opening : float
        a: spread at the opening over the settled spread, minus one; at least 0.
    spread_settling : float
        tau: fraction of the session in which the excess falls by e; above 0.
    depth_opening, depth_closing : float
        b, c: depth at the open and at the close over depth at midday, minus one; above -1.
    opening_steepness, closing_steepness : float
        p, q of depth; at least 1.

    Examples
    --------
    >>> DayShape(depth_opening=0.5, depth_closing=2.0).depth([0.0, 0.5, 1.0]).tolist()
    [1.5, 1.0, 3.0]
    """

    spread_opening: float = 1.5
    spread_settling: float = 0.1
    depth_opening: float = 1.0
    depth_closing: float = 1.0
    opening_steepness: float = 2.0
    closing_steepness: float = 2.0

    def __post_init__(self) -> None:
        number("spread_opening", self.spread_opening, low=0)
        number("spread_settling", self.spread_settling, above=0)
        for end in ("opening", "closing"):
            number(f"depth_{end}", self[f"depth_{end}"], above=-1)
            number(f"{end}_steepness", self[f"{end}_steepness"], low=1)

    def spread(self, fraction: ArrayLike) -> Float:
        """Spread relative to the settled spread at fractions of the session, shape kept."""
        settling = np.exp(-np.asarray(fraction, float) / self.spread_settling)
        return 1.0 + self.spread_opening * settling

    def depth(self, fraction: ArrayLike) -> Float:
        """Depth relative to midday at fractions of the session, shape kept."""
        from_midday = 2.0 * np.asarray(fraction, float) - 1.0
        opening = self.depth_opening * np.maximum(-from_midday, 0.0) ** self.opening_steepness
        closing = self.depth_closing * np.maximum(from_midday, 0.0) ** self.closing_steepness
        return 1.0 + opening + closing


@dataclass(frozen=True)
class Memory(Record):
    r"""Autocorrelation of a stationary Gaussian process with a fast and a slow part.

    .. math:: \rho(k) = (1 - w) \, 2^{-k / h} + w \, 2^{-k / s},

    that of z = sqrt(1 - w) fast + sqrt(w) slow, two independent autoregressions of order
    one of unit variance. A sum of two remembers as real depth does, steeply over the
    first minutes and faintly over many.

    Attributes
    ----------
    half_life, slow_half_life : float
        h and s in intervals; 0 has no memory at all.
    slow_share : float
        w, the slow part's share of the variance, in [0, 1]; 0 is a single autoregression.

    Examples
    --------
    >>> Memory(half_life=2.0).autocorrelation([2, 4]).tolist()
    [0.5, 0.25]
    """

    half_life: float = 1.0
    slow_half_life: float = 0.0
    slow_share: float = 0.0

    def __post_init__(self) -> None:
        number("half_life", self.half_life, low=0)
        number("slow_half_life", self.slow_half_life, low=0)
        number("slow_share", self.slow_share, 0, 1)

    def autocorrelation(self, lags: ArrayLike) -> Float:
        """rho(k) at lags k >= 1 in intervals, shape kept."""
        slow = self.slow_share * correlation(self.slow_half_life, lags)
        return (1.0 - self.slow_share) * correlation(self.half_life, lags) + slow

    def per_interval(self, duration: float) -> Memory:
        """The same memory in intervals `duration` times as long."""
        return Memory(self.half_life / duration, self.slow_half_life / duration, self.slow_share)

    def draw(self, n_days: int, n_intervals: int, width: int, rng: np.random.Generator) -> Float:
        """Independent stationary paths of N(0, 1), anew each day, (n_days, n_intervals, width)."""
        from scipy.signal import lfilter  # heavy to import

        latent, slow = np.zeros((n_days, n_intervals, width)), self.slow_share
        for share, half_life in ((1.0 - slow, self.half_life), (slow, self.slow_half_life)):
            if share > 0:
                phi = float(correlation(half_life, 1))
                shocks = rng.standard_normal(latent.shape)
                shocks[:, 1:] *= np.sqrt(1.0 - phi**2)
                latent += np.sqrt(share) * lfilter([1.0], [1.0, -phi], shocks, axis=1)
        return latent


@dataclass(frozen=True)
class TrueCurve(Record):
    r"""Expected slippage of walking the synthetic book, one curve an interval.

    With X_k the size of the first k levels, G_k the price from level k to level k + 1,
    independent of X_k, and h_t the expected half-spread, an order of x shares costs,
    beyond the mid,

    .. math:: E[C_t(x)] = h_t x + \sum_{k \ge 1} E[G_k] \, E[(x - X_k)^+]

    because every share beyond X_k pays G_k more. Level sizes are one lot plus a
    negative binomial number of lots, independent across levels and of one common
    overdispersion, so X_k is k lots plus a negative binomial and each expectation is a
    closed form. It concerns one time at a time: autocorrelation does not enter.

    The sum ends at the last of the K levels kept, and an order that walks further would
    seem to get cheaper. So impact, slippage and cost are NaN, interval by interval, for x
    above `largest_order`, the shares that K levels hold all but surely; below it what the
    sum leaves out is negligible. The synthetic market keeps 200 levels.

    Attributes
    ----------
    half_spread : (n,) currency per share
    level_mean : (n, K) shares
        Expected size of level k beyond its first lot.
    dispersion : float
        Variance over mean of a level's size beyond its first lot, minus one lot, shares.
    gap : (K,) currency per share
        Expected price from level k to level k + 1.
    lot_size : float
        Shares.

    Examples
    --------
    >>> curve = SyntheticMarket(session=Session(1)).true_curve
    >>> curve.impact(500).round(4), bool(np.isnan(curve.impact(1e6))[0])
    (array([0.0066]), True)
    """

    half_spread: Float
    level_mean: Float
    dispersion: float
    gap: Float
    lot_size: float = 1.0

    @property
    def largest_order(self) -> Float:
        r"""Limit of the curve, (n,) shares: X_K less four standard deviations, at least K lots.

        With M the sum of `level_mean`, X_K has mean K lots + M and variance M (dispersion + lot).
        """
        certain, beyond = self.lot_size * self.level_mean.shape[1], self.level_mean.sum(axis=1)
        spread = 4.0 * np.sqrt(beyond * (self.dispersion + self.lot_size))
        return certain + np.maximum(beyond - spread, 0.0)

    def impact(self, x: ArrayLike) -> Float:
        """Expected average premium over the touch of x shares, (n,) currency per share.

        x is scalar or (n,). NaN above `largest_order`. Raises ValidationError for negative shares
        and for any other shape.
        """
        shares = per_interval("x", x, len(self.half_spread))
        beyond = shares[:, None] / self.lot_size - np.arange(1, self.level_mean.shape[1] + 1)
        premium = self.lot_size * self._expected_excess(beyond) @ self.gap
        average = np.divide(premium, shares, out=np.zeros_like(premium), where=shares > 0)
        return np.where(shares <= self.largest_order, average, np.nan)

    def slippage(self, x: ArrayLike) -> Float:
        """Expected average price beyond the mid of x shares, as `impact`, currency per share."""
        return self.half_spread + self.impact(x)

    def cost(self, x: ArrayLike) -> Float:
        """Expected cost beyond the mid of x shares, as `impact`, (n,) currency."""
        return np.asarray(x, float) * self.slippage(x)

    def _expected_excess(self, y: Float) -> Float:
        """E[(y - N)^+] in lots, N negative binomial with mean cumulative `level_mean`, (n, K)."""
        from scipy import stats  # heavy to import

        mean = np.cumsum(self.level_mean, axis=1) / self.lot_size
        dispersion = self.dispersion / self.lot_size
        size, p, below = mean / dispersion, 1.0 / (1.0 + dispersion), np.floor(y)
        excess = y * stats.nbinom.cdf(below, size, p)
        excess -= mean * stats.nbinom.cdf(below - 1, size + 1, p)
        return np.where(y > 0, excess, 0.0)


@dataclass(frozen=True)
class SyntheticMarket(Record):
    r"""Seeded order books with a day shape and memory, whose `true_curve` is known.

    Every interval shows one book. The mid is a random walk; the spread is 1 tick plus a
    negative binomial (Poisson for `spread_dispersion` 0) number of ticks; from level to
    level the price moves by a geometric number of ticks; level k (1 = best) holds one
    lot plus a negative binomial number of lots.

    Spread and depth remember: each is a fixed increasing function of a latent Gaussian
    process z_t ~ N(0, 1) with the autocorrelation of a `Memory` (a Gaussian copula),
    namely its own quantile function at Phi(z_t). For sizes the quantile is that of the
    gamma intensity of a Poisson draw, which is the negative binomial exactly. So memory
    leaves the law of every single book, and with it `true_curve`, untouched. Spread,
    sides and levels have latents of their own, and the latents start anew each day:
    days are independent given the mid. Observed autocorrelation is a little below that
    of the latents. Own trades leave no trace; `replay(..., refill=...)` adds one.

    Attributes
    ----------
    config : ModelConfig
        base_price, volatility_factor, spread_factor and volume_decay are used.
    session : Session
    depth : float
        Expected shares at the best level at midday, beyond the first lot.
    dispersion : float
        Variance over mean of a level's size beyond its first lot, minus one lot, shares.
    tick : float
        Currency per share.
    first_day : datetime.date
        First session; weekends are left out.
    day_shape : DayShape
    spread_dispersion : float
        Variance over mean of the ticks beyond the first, minus one; 0 is Poisson.
    gap_ticks : tuple of float
        Expected ticks from level 1 to 2, 2 to 3, ..., the last one repeated; 1 leaves no tick
        empty.
    lot_size : float
        Sizes are multiples of it, shares.
    level_shape : tuple of float
        Size of level 1, 2, ... relative to `depth`, the last one repeated; each is
        further multiplied by exp(-config.volume_decay * (level - 1)).
    spread_memory, depth_memory : Memory
        Of the latents, in intervals of the session.

    Raises
    ------
    ValidationError
        A parameter outside its range, named with its value and limit.

    Examples
    --------
    >>> market = SyntheticMarket(session=Session(13))
    >>> market.books(26, 5, np.random.default_rng(1))
    BookSnapshots('SYNTHETIC', 26 snapshots x 5 levels)
    >>> market.true_curve.half_spread[[0, -1]].round(3).tolist()
    [0.028, 0.014]
    """

    config: ModelConfig = field(default_factory=ModelConfig)
    session: Session = field(default_factory=Session)
    depth: float = 300.0
    dispersion: float = 150.0
    tick: float = 0.01
    first_day: dt.date = dt.date(2024, 1, 2)
    day_shape: DayShape = field(default_factory=DayShape)
    spread_dispersion: float = 0.0
    gap_ticks: tuple[float, ...] = (1.0,)
    lot_size: float = 1.0
    level_shape: tuple[float, ...] = (1.0,)
    spread_memory: Memory = field(default_factory=Memory)
    depth_memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        for name in ("depth", "dispersion", "tick", "lot_size"):
            number(name, getattr(self, name), above=0)
        number("spread_dispersion", self.spread_dispersion, low=0)
        if not (self.gap_ticks and self.level_shape):
            raise ValidationError(
                "gap_ticks or level_shape is empty; give a first entry, as (1.0,)"
            )
        for level, ticks in enumerate(self.gap_ticks, start=1):
            number(f"gap_ticks of level {level}", ticks, low=1)
        for level, size in enumerate(self.level_shape, start=1):
            number(f"level_shape of level {level}", size, above=0)

    @property
    def true_curve(self) -> TrueCurve:
        """Expected slippage, impact and cost in every interval of the session."""
        ticks, level_mean = self._through_the_day(DEEPEST_LEVEL)
        gap = self.tick * _extended(self.gap_ticks, DEEPEST_LEVEL)
        half_spread = 0.5 * self.tick * ticks
        return TrueCurve(half_spread, level_mean, self.dispersion, gap, self.lot_size)

    def books(
        self,
        n_snapshots: int,
        n_levels: int,
        rng: np.random.Generator,
        *,
        flow: OrderFlow | None = None,
    ) -> BookSnapshots:
        """Draw one snapshot an interval, session after session, (n_snapshots, n_levels).

        Parameters
        ----------
        n_snapshots : int
            More than `session.n_intervals` go on on the next business day.
        n_levels : int
            Levels shown a side, at most 200.
        rng : numpy.random.Generator, or a seed of one
            The only source of randomness.
        flow : OrderFlow, optional
            Draws `trades` to go with the books; the books stay the same.

        Raises
        ------
        ValidationError
            If the price falls so low that the lowest bid is not above 0.
        """
        n = number("n_snapshots", n_snapshots, 1, integer=True)
        number("n_levels", n_levels, 1, DEEPEST_LEVEL, integer=True)
        rng = np.random.default_rng(rng)  # a generator is itself
        interval = np.arange(n) % self.session.n_intervals
        spread_ticks, level_mean = (part[interval] for part in self._through_the_day(n_levels))
        # The order of the draws is fixed: frozen numbers rest on it.
        spread = self._spread(spread_ticks - 1.0, rng)
        bid = self._best_bid(spread, rng)[:, None] - self._below_touch(n, n_levels, rng)
        if bid.min() <= 0:
            raise ValidationError(
                f"the synthetic price falls to {bid.min()} ticks at level {n_levels}; "
                "raise base_price, lower volatility_factor or ask for fewer levels"
            )
        ask = (bid[:, 0] + spread)[:, None] + self._below_touch(n, n_levels, rng)
        bid_price, ask_price = (on_grid(ticks * self.tick, self.tick) for ticks in (bid, ask))
        bid_size, ask_size = (self._sizes(level_mean, rng) for _ in range(2))
        time = self._times(n)
        books = BookSnapshots(time, bid_price, bid_size, ask_price, ask_size, "SYNTHETIC")
        return books if flow is None else flow.attach(books, self.session, rng)

    def _times(self, n: int) -> Int64:
        n_days, block = -(-n // self.session.n_intervals), self.session.block
        if block is not None:
            days = pd.date_range(self.first_day, periods=n_days, freq=block)
        else:
            first = np.datetime64(self.first_day)
            days = pd.DatetimeIndex(np.busday_offset(first, np.arange(n_days), roll="forward"))
        return self.session.starts(days).ravel()[:n]

    def _through_the_day(self, n_levels: int) -> tuple[Float, Float]:
        """Expected ticks of the spread, at least one, (n_intervals,); and size of each level beyond
        its first lot, (n_intervals, n_levels).
        """
        config, n = self.config, self.session.n_intervals
        fraction = (np.arange(n) + 0.5) / n
        shape = self.day_shape.spread(fraction)
        deviation = config.base_price * config.volatility_factor / np.sqrt(SESSIONS_A_YEAR)
        ticks = config.spread_factor * deviation / self.tick * shape / shape.mean()
        decay = np.exp(-config.volume_decay * np.arange(n_levels))
        by_level = _extended(self.level_shape, n_levels) * decay
        depth = self.depth * self.day_shape.depth(fraction)
        return np.maximum(1.0, ticks), depth[:, None] * by_level

    def _spread(self, mean: Float, rng: np.random.Generator) -> Int64:
        """Spread in ticks, (n,), of so many expected beyond the first."""
        uniform = self._uniforms(len(mean), 1, self.spread_memory, rng)[:, 0]
        wider = mean > 1e-9  # a spread of exactly one tick has nothing to draw
        ticks = np.ones(len(mean), np.int64)
        ticks[wider] += count_quantile(uniform[wider], mean[wider], self.spread_dispersion)
        return ticks

    def _best_bid(self, spread: Int64, rng: np.random.Generator) -> Int64:
        """Best bid in ticks, (n,), half a spread below a random walk."""
        config, n = self.config, len(spread)
        deviation = config.volatility_factor / np.sqrt(SESSIONS_A_YEAR * self.session.n_intervals)
        steps = deviation * rng.standard_normal(n) - 0.5 * deviation**2
        mid = config.base_price * np.exp(np.cumsum(steps) - steps[0])
        return np.rint(mid / self.tick - 0.5 * spread).astype(np.int64)

    def _below_touch(self, n: int, n_levels: int, rng: np.random.Generator) -> Int64:
        """Ticks from the touch to each level, (n, n_levels)."""
        gaps = rng.geometric(1.0 / _extended(self.gap_ticks, n_levels - 1), (n, n_levels - 1))
        return np.pad(np.cumsum(gaps, axis=1), ((0, 0), (1, 0)))

    def _sizes(self, mean: Float, rng: np.random.Generator) -> Float:
        """One lot plus a negative binomial number of lots, as Poisson of a gamma, (n, n_levels)."""
        n, n_levels = mean.shape
        uniform = self._uniforms(n, n_levels, self.depth_memory, rng)
        intensity = special.gammaincinv(mean / self.dispersion, uniform)
        lots = rng.poisson(self.dispersion / self.lot_size * intensity)
        return self.lot_size * (1.0 + lots)

    def _uniforms(self, n: int, width: int, memory: Memory, rng: np.random.Generator) -> Float:
        """Phi of latents that remember within the day, (n, width)."""
        n_days = -(-n // self.session.n_intervals)
        latent = memory.draw(n_days, self.session.n_intervals, width, rng)
        return np.minimum(special.ndtr(latent).reshape(-1, width)[:n], HIGHEST_UNIFORM)


def correlation(half_life: ArrayLike, lags: ArrayLike) -> Float:
    """2 ** (-lag / half_life), 0 for a half-life of 0; broadcast."""
    half_life, lags = np.asarray(half_life, float), np.asarray(lags, float)
    return np.exp2(-lags / np.where(half_life > 0, half_life, 1.0)) * (half_life > 0)


def _extended(values: tuple[float, ...], n: int) -> Float:
    """The first n of `values`, the last one repeated, (n,)."""
    return np.asarray(values, float)[np.minimum(np.arange(n), len(values) - 1)]


def count_quantile(uniform: Float, mean: Float, dispersion: float) -> Int64:
    """Quantiles of negative binomials of variance mean * (1 + dispersion), Poisson for 0; (n,).

    >>> count_quantile(np.array([0.1, 0.5, 0.9]), np.full(3, 5.0), 1.0).tolist()
    [1, 4, 9]
    """
    from scipy import stats  # heavy to import

    if dispersion == 0:
        return stats.poisson.ppf(uniform, mean).astype(np.int64)
    return stats.nbinom.ppf(uniform, mean / dispersion, 1.0 / (1.0 + dispersion)).astype(np.int64)


def on_grid(values: NDArray[Any], tick: float) -> Float:
    """Prices or spreads without the last binary digits of a product, to 1e-7 of a tick."""
    return np.round(values, 7 - int(np.floor(np.log10(tick))))

"""A market whose expected cost of trading is known exactly."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from scipy.signal import lfilter

from research_lib.checks import number
from research_lib.config import ModelConfig, Record
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.order_flow import OrderFlow
from research_lib.market.sessions import Session
from research_lib.market.truth import TrueCurve

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
        for name in ("depth_opening", "depth_closing"):
            number(name, getattr(self, name), above=-1)
        for name in ("opening_steepness", "closing_steepness"):
            number(name, getattr(self, name), low=1)

    def spread(self, fraction: ArrayLike) -> Float:
        """Spread relative to the settled spread at fractions of the session, shape kept."""
        return 1.0 + self.spread_opening * np.exp(
            -np.asarray(fraction, float) / self.spread_settling
        )

    def depth(self, fraction: ArrayLike) -> Float:
        """Depth relative to midday at fractions of the session, shape kept."""
        from_midday = 2.0 * np.asarray(fraction, float) - 1.0
        opening = self.depth_opening * np.maximum(-from_midday, 0.0) ** self.opening_steepness
        return (
            1.0
            + opening
            + self.depth_closing * np.maximum(from_midday, 0.0) ** self.closing_steepness
        )


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
    """

    half_life: float = 1.0
    slow_half_life: float = 0.0
    slow_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("half_life", "slow_half_life"):
            number(name, getattr(self, name), low=0)
        number("slow_share", self.slow_share, 0, 1)

    @property
    def parts(self) -> list[tuple[float, float]]:
        """Share of the variance and correlation from interval to interval of each part that is there."""
        both = (1.0 - self.slow_share, self.half_life), (self.slow_share, self.slow_half_life)
        return [(share, float(correlation(half_life, 1))) for share, half_life in both if share > 0]

    def autocorrelation(self, lags: ArrayLike) -> Float:
        """rho(k) at lags k >= 1 in intervals, shape kept."""
        slow = self.slow_share * correlation(self.slow_half_life, lags)
        return (1.0 - self.slow_share) * correlation(self.half_life, lags) + slow

    def per_interval(self, duration: float) -> Memory:
        """The same memory in intervals `duration` times as long."""
        return Memory(self.half_life / duration, self.slow_half_life / duration, self.slow_share)

    def draw(self, n_days: int, n_intervals: int, width: int, rng: np.random.Generator) -> Float:
        """Independent stationary paths of N(0, 1), begun anew each day, (n_days, n_intervals, width)."""
        latent = np.zeros((n_days, n_intervals, width))
        for share, phi in self.parts:
            shocks = rng.standard_normal(latent.shape)
            shocks[:, 1:] *= np.sqrt(1.0 - phi**2)
            latent += np.sqrt(share) * lfilter([1.0], [1.0, -phi], shocks, axis=1)
        return latent


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
    of the latents. Own trades leave no trace; `resilience.after_own_trades` adds one.

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
        Expected ticks from level 1 to 2, 2 to 3, ..., the last one repeated; 1 leaves no holes.
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
        for name in ("gap_ticks", "level_shape"):
            if not getattr(self, name):
                raise ValidationError(
                    f"{name} is empty; give at least its first entry, e.g. (1.0,)"
                )
        for level, gap in enumerate(self.gap_ticks, start=1):
            number(f"gap_ticks of level {level}", gap, low=1)
        for level, size in enumerate(self.level_shape, start=1):
            number(f"level_shape of level {level}", size, above=0)

    @property
    def true_curve(self) -> TrueCurve:
        """Expected slippage, impact and cost in every interval of the session."""
        return TrueCurve(
            half_spread=0.5 * self.tick * self._spread_ticks(),
            level_mean=self._level_mean(DEEPEST_LEVEL),
            dispersion=self.dispersion,
            gap=self.tick * _extended(self.gap_ticks, DEEPEST_LEVEL),
            lot_size=self.lot_size,
        )

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
        rng : numpy.random.Generator
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
        if not isinstance(rng, np.random.Generator):
            raise ValidationError(
                f"rng must be a numpy Generator, got {rng!r}; give np.random.default_rng({rng!r})"
            )
        spread = self._spread(n, rng)
        bid = self._best_bid_ticks(n, spread, rng)[:, None] - self._below_touch(n, n_levels, rng)
        if bid.min() <= 0:
            raise ValidationError(
                f"the synthetic price falls to {bid.min()} ticks at level {n_levels}; "
                "raise base_price, lower volatility_factor or ask for fewer levels"
            )
        ask = (bid[:, 0] + spread)[:, None] + self._below_touch(n, n_levels, rng)
        books = BookSnapshots(
            time=self._times(n),
            bid_price=self._price(bid),
            bid_size=self._sizes(n, n_levels, rng),
            ask_price=self._price(ask),
            ask_size=self._sizes(n, n_levels, rng),
            symbol="SYNTHETIC",
        )
        return books if flow is None else flow.attach(books, self.session, rng)

    def _price(self, ticks: Int64) -> Float:
        """Ticks as currency, without the last binary digits of the product."""
        return np.round(ticks * self.tick, 9)

    def _times(self, n: int) -> Int64:
        n_days = -(-n // self.session.n_intervals)
        days = np.busday_offset(np.datetime64(self.first_day), np.arange(n_days), roll="forward")
        return self.session.starts(days.astype(object)).ravel()[:n]

    def _interval(self, n: int) -> Int64:
        return np.arange(n) % self.session.n_intervals

    def _day_fraction(self) -> Float:
        """Middle of each interval as a fraction of the session, (n_intervals,)."""
        return (np.arange(self.session.n_intervals) + 0.5) / self.session.n_intervals

    def _spread_ticks(self) -> Float:
        """Expected spread of each interval, at least one tick, (n_intervals,)."""
        session_deviation = (
            self.config.base_price * self.config.volatility_factor / np.sqrt(SESSIONS_A_YEAR)
        )
        shape = self.day_shape.spread(self._day_fraction())
        return np.maximum(
            1.0, self.config.spread_factor * session_deviation / self.tick * shape / shape.mean()
        )

    def _level_mean(self, n_levels: int) -> Float:
        """Expected size of each level beyond its first lot, (n_intervals, n_levels)."""
        by_level = _extended(self.level_shape, n_levels) * np.exp(
            -self.config.volume_decay * np.arange(n_levels)
        )
        return self.depth * self.day_shape.depth(self._day_fraction())[:, None] * by_level

    def _spread(self, n: int, rng: np.random.Generator) -> Int64:
        """Spread in ticks, (n,)."""
        uniform = self._uniforms(n, 1, self.spread_memory, rng)[:, 0]
        mean = self._spread_ticks()[self._interval(n)] - 1.0
        wider = mean > 1e-9  # a spread of exactly one tick has nothing to draw
        ticks = np.ones(n, np.int64)
        ticks[wider] += count_quantile(uniform[wider], mean[wider], self.spread_dispersion)
        return ticks

    def _below_touch(self, n: int, n_levels: int, rng: np.random.Generator) -> Int64:
        """Ticks from the touch to each level, (n, n_levels)."""
        gaps = rng.geometric(1.0 / _extended(self.gap_ticks, n_levels - 1), (n, n_levels - 1))
        return np.pad(np.cumsum(gaps, axis=1), ((0, 0), (1, 0)))

    def _sizes(self, n: int, n_levels: int, rng: np.random.Generator) -> Float:
        """One lot plus a negative binomial number of lots, drawn as Poisson of a gamma, (n, n_levels) shares."""
        dispersion = self.dispersion / self.lot_size
        shape = self._level_mean(n_levels)[self._interval(n)] / self.dispersion
        uniform = self._uniforms(n, n_levels, self.depth_memory, rng)
        intensity = dispersion * special.gammaincinv(shape, uniform)
        return self.lot_size * (1.0 + rng.poisson(intensity))

    def _uniforms(self, n: int, width: int, memory: Memory, rng: np.random.Generator) -> Float:
        """Phi of latents that remember within the day, (n, width)."""
        n_days = -(-n // self.session.n_intervals)
        latent = memory.draw(n_days, self.session.n_intervals, width, rng)
        return np.minimum(special.ndtr(latent).reshape(-1, width)[:n], HIGHEST_UNIFORM)

    def _best_bid_ticks(self, n: int, spread: Int64, rng: np.random.Generator) -> Int64:
        deviation = self.config.volatility_factor / np.sqrt(
            SESSIONS_A_YEAR * self.session.n_intervals
        )
        steps = deviation * rng.standard_normal(n) - 0.5 * deviation**2
        mid = self.config.base_price * np.exp(np.cumsum(steps) - steps[0])
        return np.rint(mid / self.tick - 0.5 * spread).astype(np.int64)


def correlation(half_life: ArrayLike, lags: ArrayLike) -> Float:
    """2 ** (-lag / half_life), 0 for a half-life of 0; broadcast."""
    half_life, lags = np.asarray(half_life, float), np.asarray(lags, float)
    return np.exp2(-lags / np.where(half_life > 0, half_life, 1.0)) * (half_life > 0)


def _extended(values: tuple[float, ...], n: int) -> Float:
    """The first n of `values`, the last one repeated, (n,)."""
    return np.asarray(values, float)[np.minimum(np.arange(n), len(values) - 1)]


def count_quantile(uniform: Float, mean: Float, dispersion: float) -> Int64:
    """Quantiles of negative binomials of variance mean * (1 + dispersion), Poisson for 0; arrays (n,)."""
    if dispersion == 0:
        return stats.poisson.ppf(uniform, mean).astype(np.int64)
    return stats.nbinom.ppf(uniform, mean / dispersion, 1.0 / (1.0 + dispersion)).astype(np.int64)

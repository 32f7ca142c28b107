"""A market whose expected cost of trading is known exactly."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from research_lib.config import ModelConfig, Record, number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session

Float = NDArray[np.float64]
SESSIONS_A_YEAR = 252
DEEPEST_LEVEL = 200


@dataclass(frozen=True)
class TrueCurve(Record):
    r"""Expected slippage of walking the synthetic book, one curve an interval.

    With one tick from level to level, X_k the size of the first k levels and
    h_t the expected half-spread, an order of x shares costs, beyond the mid,

    .. math:: E[C_t(x)] = h_t x + \mathrm{tick} \sum_{k \ge 1} E[(x - X_k)^+]

    because every share beyond X_k pays one tick more. Level sizes are 1 share plus a
    negative binomial of one common overdispersion, so X_k is k plus a negative
    binomial and each expectation is a closed form.

    Attributes
    ----------
    half_spread : (n,) currency per share
    level_mean : (n, K) shares
        Expected size of level k beyond its first share.
    dispersion : float
        Variance over mean of a level's size, minus one.
    tick : float
        Currency per share from one level to the next.
    """

    half_spread: Float
    level_mean: Float
    dispersion: float
    tick: float

    def impact(self, x: ArrayLike) -> Float:
        """Expected average premium over the touch of x shares, scalar or (n,) -> (n,) currency per share."""
        shares = np.broadcast_to(np.asarray(x, float), self.half_spread.shape)
        beyond = shares[:, None] - np.arange(1, self.level_mean.shape[1] + 1)
        premium = self.tick * np.sum(self._expected_excess(beyond), axis=1)
        return np.divide(premium, shares, out=np.zeros_like(premium), where=shares > 0)

    def slippage(self, x: ArrayLike) -> Float:
        """Expected average price beyond the mid of x shares, scalar or (n,) -> (n,) currency per share."""
        return self.half_spread + self.impact(x)

    def cost(self, x: ArrayLike) -> Float:
        """Expected cost beyond the mid of x shares, scalar or (n,) -> (n,) currency."""
        return np.asarray(x, float) * self.slippage(x)

    def _expected_excess(self, y: Float) -> Float:
        """E[(y - N)^+] for N negative binomial with mean cumulative `level_mean`, (n, K)."""
        mean = np.cumsum(self.level_mean, axis=1)
        size, p = mean / self.dispersion, 1.0 / (1.0 + self.dispersion)
        below = np.floor(y)
        excess = y * stats.nbinom.cdf(below, size, p) - mean * stats.nbinom.cdf(below - 1, size + 1, p)
        return np.where(y > 0, excess, 0.0)


@dataclass(frozen=True)
class SyntheticMarket(Record):
    """Seeded order books with a day shape, whose `true_curve` is known.

    Every interval shows one book. The mid is a random walk; the spread is 1 tick plus
    a Poisson number of ticks; level k (1 = best) lies k - 1 ticks beyond the touch and
    holds 1 share plus a negative binomial number of shares. Depth is U-shaped through
    the session (deep at both ends), the spread is wide after the opening and settles:
    the shapes seen in the sample stocks. Snapshots are independent given the time of
    day: the book refills fully from one interval to the next.

    Attributes
    ----------
    config : ModelConfig
        base_price, volatility_factor, spread_factor and volume_decay are used.
    session : Session
    depth : float
        Expected shares at the best level in the middle of the day.
    dispersion : float
        Variance over mean of a level's size, minus one, shares.
    tick : float
        Currency per share.
    depth_swing : float
        Depth at the ends of the day over depth at midday, minus one.
    spread_swing : float
        Spread at the opening over the settled spread, minus one.
    first_day : datetime.date
        First session; weekends are left out.
    """

    config: ModelConfig = field(default_factory=ModelConfig)
    session: Session = field(default_factory=Session)
    depth: float = 300.0
    dispersion: float = 150.0
    tick: float = 0.01
    depth_swing: float = 1.0
    spread_swing: float = 1.5
    first_day: dt.date = dt.date(2024, 1, 2)

    def __post_init__(self) -> None:
        for name in ("depth", "dispersion", "tick"):
            number(name, getattr(self, name), above=0)
        for name in ("depth_swing", "spread_swing"):
            number(name, getattr(self, name), low=0)

    @property
    def true_curve(self) -> TrueCurve:
        """Expected slippage, impact and cost in every interval of the session."""
        return TrueCurve(
            half_spread=0.5 * self.tick * self._spread_ticks(),
            level_mean=self._level_mean(DEEPEST_LEVEL),
            dispersion=self.dispersion,
            tick=self.tick,
        )

    def books(self, n_snapshots: int, n_levels: int, rng: np.random.Generator) -> BookSnapshots:
        """Draw one snapshot an interval, session after session, (n_snapshots, n_levels).

        Parameters
        ----------
        n_snapshots : int
            More than `session.n_intervals` go on on the next business day.
        n_levels : int
            Levels shown a side, at most 200.
        rng : numpy.random.Generator
            The only source of randomness.
        """
        n = number("n_snapshots", n_snapshots, 1, integer=True)
        number("n_levels", n_levels, 1, DEEPEST_LEVEL, integer=True)
        interval = np.arange(n) % self.session.n_intervals
        spread = 1 + rng.poisson(self._spread_ticks()[interval] - 1)
        bid = self._best_bid_ticks(n, spread, rng)
        if bid.min() <= n_levels:
            raise ValidationError(
                f"the synthetic price falls to {bid.min()} ticks, {n_levels} levels need more; "
                "raise base_price or lower volatility_factor"
            )
        step = np.arange(n_levels)
        return BookSnapshots(
            time=self._times(n),
            bid_price=self._price(bid[:, None] - step),
            bid_size=self._sizes(interval, n_levels, rng),
            ask_price=self._price((bid + spread)[:, None] + step),
            ask_size=self._sizes(interval, n_levels, rng),
            symbol="SYNTHETIC",
        )

    def _price(self, ticks: NDArray[np.int64]) -> Float:
        """Ticks as currency, without the last binary digits of the product."""
        return np.round(ticks * self.tick, 9)

    def _times(self, n: int) -> NDArray[np.int64]:
        n_days = -(-n // self.session.n_intervals)
        days = np.busday_offset(np.datetime64(self.first_day), np.arange(n_days), roll="forward")
        return self.session.starts(days.astype(object)).ravel()[:n]

    def _day_fraction(self) -> Float:
        """Middle of each interval as a fraction of the session, (n_intervals,)."""
        return (np.arange(self.session.n_intervals) + 0.5) / self.session.n_intervals

    def _spread_ticks(self) -> Float:
        """Expected spread of each interval, at least one tick, (n_intervals,)."""
        session_deviation = self.config.base_price * self.config.volatility_factor / np.sqrt(SESSIONS_A_YEAR)
        shape = 1.0 + self.spread_swing * np.exp(-self._day_fraction() / 0.1)
        return np.maximum(1.0, self.config.spread_factor * session_deviation / self.tick * shape / shape.mean())

    def _level_mean(self, n_levels: int) -> Float:
        """Expected size of each level beyond its first share, (n_intervals, n_levels)."""
        shape = 1.0 + self.depth_swing * (2.0 * self._day_fraction() - 1.0) ** 2
        return self.depth * shape[:, None] * np.exp(-self.config.volume_decay * np.arange(n_levels))

    def _sizes(self, interval: NDArray[np.int64], n_levels: int, rng: np.random.Generator) -> Float:
        size = self._level_mean(n_levels)[interval] / self.dispersion
        beyond_first: Float = rng.negative_binomial(size, 1.0 / (1.0 + self.dispersion)).astype(float)
        return 1.0 + beyond_first

    def _best_bid_ticks(self, n: int, spread: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        deviation = self.config.volatility_factor / np.sqrt(SESSIONS_A_YEAR * self.session.n_intervals)
        steps = deviation * rng.standard_normal(n) - 0.5 * deviation**2
        mid = self.config.base_price * np.exp(np.cumsum(steps) - steps[0])
        return np.rint(mid / self.tick - 0.5 * spread).astype(np.int64)

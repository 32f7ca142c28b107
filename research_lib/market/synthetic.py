"""A market whose expected cost of trading is known exactly, in closed form."""

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import special

from research_lib.checks import Array, ArrayLike, Float, Int64, number, per_interval
from research_lib.config import Limited, ModelConfig, Record, limited
from research_lib.errors import ValidationError
from research_lib.market.book import SIDES, SYNTHETIC, BookSnapshots, side_sign
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

Pair = tuple[Float, Float]
Tape = tuple[Int64, Int64, Array, Float]  # rows, times, signs and sizes of trades
SESSIONS_A_YEAR = 252
DEEPEST_LEVEL = 200
HIGHEST_UNIFORM = 1.0 - 2.0**-53
BELOW_ONE = float(np.nextafter(1.0, 0.0))
FOREVER = 1e15  # seconds: a lag at which a kernel has come down to its permanent level


@dataclass(frozen=True)
class DayShape(Limited):
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

    spread_opening: float = limited(1.5, low=0)
    spread_settling: float = limited(0.1, above=0)
    depth_opening: float = limited(1.0, above=-1)
    depth_closing: float = limited(1.0, above=-1)
    opening_steepness: float = limited(2.0, low=1)
    closing_steepness: float = limited(2.0, low=1)

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
class Memory(Limited):
    r"""Autocorrelation of a stationary Gaussian process with a fast and a slow part.

    .. math:: \rho(k) = (1 - w) \, 2^{-k / h} + w \, 2^{-k / s},

    that of z = sqrt(1 - w) fast + sqrt(w) slow, two independent autoregressions of order
    one of unit variance. Real depth has such an autocorrelation: it falls steeply over the first
    minutes, then slowly.

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

    half_life: float = limited(1.0, low=0)
    slow_half_life: float = limited(0.0, low=0)
    slow_share: float = limited(0.0, low=0, high=1)

    def autocorrelation(self, lags: ArrayLike) -> Float:
        """rho(k) at lags k >= 1 in intervals, shape kept."""
        slow = self.slow_share * correlation(self.slow_half_life, lags)
        return (1.0 - self.slow_share) * correlation(self.half_life, lags) + slow

    def per_interval(self, duration: float) -> Self:
        """The same memory in intervals `duration` times as long."""
        half_life, slow = self.half_life / duration, self.slow_half_life / duration
        return replace(self, half_life=half_life, slow_half_life=slow)

    def draw(self, n_days: int, n_intervals: int, width: int, rng: Generator) -> Pair:
        """Independent stationary paths of N(0, 1), anew each day, and their innovations.

        Both are (n_days, n_intervals, width). An innovation is the part of their sum that the past
        of the two parts does not predict, over its standard deviation: N(0, 1), independent from
        interval to interval. In the first interval of a day it is the path itself.
        """
        from scipy.signal import lfilter  # heavy to import

        latent, slow = np.zeros((n_days, n_intervals, width)), self.slow_share
        news, unforeseen = np.zeros_like(latent), 0.0
        for share, half_life in ((1.0 - slow, self.half_life), (slow, self.slow_half_life)):
            if share > 0:
                phi = float(correlation(half_life, 1))
                shocks = rng.standard_normal(latent.shape)
                shocks[:, 1:] *= np.sqrt(1.0 - phi**2)
                latent += np.sqrt(share) * lfilter([1.0], [1.0, -phi], shocks, axis=1)
                news += np.sqrt(share) * shocks
                unforeseen += share * (1.0 - phi**2)
        news[:, 1:] /= np.sqrt(max(unforeseen, 1e-300))  # 0 where the half-life is endless
        return latent, news


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
    above `largest_order`, the shares that K levels almost surely hold; below it the omitted terms
    are negligible. The synthetic market keeps 200 levels.

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
        from scipy import stats  # heavy to import

        shares = per_interval("x", x, len(self.half_spread))
        # E[(y - N)^+] in lots, N negative binomial with mean cumulative `level_mean`, (n, K).
        y = shares[:, None] / self.lot_size - np.arange(1, self.level_mean.shape[1] + 1)
        mean = np.cumsum(self.level_mean, axis=1) / self.lot_size
        dispersion = self.dispersion / self.lot_size
        size, p, below = mean / dispersion, 1.0 / (1.0 + dispersion), np.floor(y)
        excess = y * stats.nbinom.cdf(below, size, p)
        excess -= mean * stats.nbinom.cdf(below - 1, size + 1, p)
        premium = self.lot_size * np.where(y > 0, excess, 0.0) @ self.gap
        average = np.divide(premium, shares, out=np.zeros_like(premium), where=shares > 0)
        return np.where(shares <= self.largest_order, average, np.nan)

    def slippage(self, x: ArrayLike) -> Float:
        """Expected average price beyond the mid of x shares, as `impact`, currency per share."""
        return self.half_spread + self.impact(x)

    def cost(self, x: ArrayLike) -> Float:
        """Expected cost beyond the mid of x shares, as `impact`, (n,) currency."""
        return per_interval("x", x, len(self.half_spread)) * self.slippage(x)


@dataclass(frozen=True)
class OrderFlow(Limited):
    r"""Trades whose signs have long memory.

    Parent orders follow one another. Each has a sign of its own and is split into L
    trades with P(L >= l) = l^-alpha, alpha = 1 + gamma; a trade is a child order of the
    current parent with probability q, else its sign is random. Then the signs'
    autocorrelation is a closed form with a power-law tail,

    .. math::
        C(k) = q^2 \, \frac{E[(L - k)^+]}{E[L]}
            = q^2 \, \frac{\zeta(\alpha, k + 1)}{\zeta(\alpha, 1)} \sim k^{-\gamma},

    with zeta(s, a) Hurwitz's zeta function; gamma = alpha - 1 is the relation of Lillo,
    Mike and Farmer (2005), here with one parent at a time instead of several.

    Attributes
    ----------
    trades_per_interval : float
        Expected number; the numbers are Poisson.
    mean_size : float
        Shares; sizes are geometric from 1 share.
    sign_exponent : float
        gamma, in (0, 1); 0.5 is typical of stocks.
    split_share : float
        q, the share of trades that are child orders of split orders, in [0, 1].

    References
    ----------
    Lillo, F., Mike, S., Farmer, J. D. (2005), "Theory for long memory in supply and
    demand", Physical Review E 71, 066122.

    Examples
    --------
    >>> OrderFlow(sign_exponent=0.5, split_share=0.8).sign_autocorrelation([1, 100]).round(3)
    array([0.395, 0.049])
    """

    trades_per_interval: float = limited(20.0, above=0)
    mean_size: float = limited(100.0, low=1)
    sign_exponent: float = limited(0.5, above=0, high=np.nextafter(1, 0))
    split_share: float = limited(0.8, low=0, high=1)

    def sign_autocorrelation(self, lags: ArrayLike) -> Float:
        """C(k) at lags k >= 1 counted in trades, shape kept."""
        return self.split_share**2 * self._longer(np.asarray(lags, float))

    def signs(self, n: int, rng: Generator) -> Array:
        """n consecutive signs, +1 a buyer, -1 a seller, (n,); stationary from the first."""
        lengths = self._parent_lengths(n, rng)
        parents = np.repeat(rng.choice(np.array([-1, 1], np.int8), len(lengths)), lengths)[:n]
        coins = rng.choice(np.array([-1, 1], np.int8), n)
        return np.where(rng.random(n) < self.split_share, parents, coins)

    def arrivals(self, time: Int64, session: Session, rng: Generator) -> Tape:
        """Interval, time (ns UTC), sign and size (shares) of m trades, (m,) each in time order.

        `time` (n,) ns UTC are the books', one opening each interval. Trades fall evenly over the
        interval, as long as those of the book's own day, or until the next book where that comes
        first.
        """
        row = np.repeat(np.arange(len(time)), rng.poisson(self.trades_per_interval, len(time)))
        stands = session.traded_ns(time)[1] // session.n_intervals
        stands[:-1] = np.minimum(stands[:-1], np.diff(time))
        after = rng.integers(0, np.maximum(stands, 1)[row])
        at = time[row] + after[np.lexsort((after, row))]  # in order; books do not overlap
        signs = self.signs(len(row), rng)
        return row, at, signs, rng.geometric(1.0 / self.mean_size, len(row)).astype(float)

    def _parent_lengths(self, n: int, rng: Generator) -> Int64:
        """Lengths of parents that cover n trades, the first already under way; none beyond n."""
        alpha = 1.0 + self.sign_exponent
        lengths = np.array([1 + np.count_nonzero(self._longer(np.arange(1, n)) > rng.random())])
        while lengths.sum() < n:
            drawn = np.floor((1.0 - rng.random(max(n // 2, 8))) ** (-1.0 / alpha))
            lengths = np.append(lengths, np.minimum(drawn, n).astype(np.int64))
        return lengths

    def _longer(self, r: ArrayLike) -> Float:
        """P(R > r), R the trades left of the parent met at a random time."""
        alpha = 1.0 + self.sign_exponent
        return special.zeta(alpha, np.asarray(r) + 1.0) / special.zeta(alpha, 1.0)


@dataclass(frozen=True)
class SyntheticMarket(Limited):
    r"""Seeded order books with a day shape and memory, whose `true_curve` is known.

    Every interval shows one book. The mid is a random walk; the spread is 1 tick plus a
    negative binomial (Poisson for `spread_dispersion` 0) number of ticks; from level to
    level the price moves by a geometric number of ticks; level k (1 = best) holds one
    lot plus a negative binomial number of lots.

    Spread and depth are autocorrelated: each is a fixed increasing function of a latent Gaussian
    process z_t ~ N(0, 1) with the autocorrelation of a `Memory` (a Gaussian copula),
    namely its own quantile function at Phi(z_t). For sizes the quantile is that of the
    gamma intensity of a Poisson draw, which is the negative binomial exactly. So memory changes
    neither the law of a single book nor `true_curve`. Spread, sides and levels have latents of
    their own, and the latents start anew each day: days are independent given the mid. Observed
    autocorrelation is a little below that of the latents.

    Quotes may lean, that is, predict the next step of the mid. With eta the innovations, N(0, 1),
    of the latents behind the best bid's and the best ask's size, the standardised steps of the log
    mid are

    .. math:: z_{t+1} = \rho \, (\eta_{\mathrm{bid},t} - \eta_{\mathrm{ask},t}) / \sqrt 2
              + \sqrt{1 - \rho^2} \, \epsilon_{t+1},

    still independent and N(0, 1). The mid by itself is the same random walk, and spreads, gaps and
    sizes keep their laws, but the book predicts the next step of the mid and no later one
    (`expected_moves`). The first step of a day has no lean.

    Trades displace the mid where the market has a decaying `kernel` G. The market's own trades, of
    net volume q_s in interval s of length Delta, displace it by the sum of G((t - s - 1/2) Delta)
    q_s over the day's earlier intervals, plus G's permanent level times the net volume of the days
    before (`books`). An own order displaces it by `moved`. Without a kernel trades do not move the
    mid. `replay(..., refill=...)` adds the depletion of the book itself.

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
    lean : float
        rho, in [0, 1).
    kernel : callable, optional
        G of an array of lags in seconds, currency per share**2: how trades displace the mid.
    flow : OrderFlow
        The trades that belong to the market, for `books(..., flow=market.flow)`. With a kernel
        their signs should be independent (`split_share=0`): autocorrelated signs make the displaced
        mid trend. Real prices do not trend, because liquidity adapts to the flow.

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
    depth: float = limited(300.0, above=0)
    dispersion: float = limited(150.0, above=0)
    tick: float = limited(0.01, above=0)
    first_day: dt.date = dt.date(2024, 1, 2)
    day_shape: DayShape = field(default_factory=DayShape)
    spread_dispersion: float = limited(0.0, low=0)
    gap_ticks: tuple[float, ...] = limited((1.0,), low=1)
    lot_size: float = limited(1.0, above=0)
    level_shape: tuple[float, ...] = limited((1.0,), above=0)
    spread_memory: Memory = field(default_factory=Memory)
    depth_memory: Memory = field(default_factory=Memory)
    lean: float = limited(0.0, low=0, high=BELOW_ONE)
    kernel: Callable[[Any], Any] | None = None
    flow: OrderFlow = field(default_factory=OrderFlow)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel is not None and (isinstance(self.kernel, type) or not callable(self.kernel)):
            raise ValidationError(f"kernel must be a function of lags, got {self.kernel!r}")

    @property
    def true_curve(self) -> TrueCurve:
        """Expected slippage, impact and cost in every interval of the session."""
        ticks, level_mean = self._through_the_day(DEEPEST_LEVEL)
        gap = self.tick * _extended(self.gap_ticks, DEEPEST_LEVEL)
        return TrueCurve(0.5 * self.tick * ticks, level_mean, self.dispersion, gap, self.lot_size)

    def books(
        self, n_snapshots: int, n_levels: int, rng: Generator, *, flow: OrderFlow | None = None
    ) -> BookSnapshots:
        """Draw one snapshot an interval, session after session, (n_snapshots, n_levels).

        Parameters
        ----------
        n_snapshots : int
            Those beyond `session.n_intervals` continue on the next business day.
        n_levels : int
            Levels shown a side, at most 200.
        rng : numpy.random.Generator, or a seed of one
            The only source of randomness.
        flow : OrderFlow, optional
            Draws `trades` to go with the books, such as the market's own `flow`. They displace the
            mids of later books by `kernel`; without a kernel the books stay the same.

        Raises
        ------
        ValidationError
            If the price falls so low that the lowest bid is not above 0.
        """
        rng = np.random.default_rng(rng)  # a generator is itself
        walk, spread, away, sizes, _ = self._drawn(n_snapshots, n_levels, rng)
        n_days = -(-len(walk) // self.session.n_intervals)
        days = pd.date_range(self.first_day, periods=n_days, freq=self.session.block or "B")
        time = self.session.starts(days).ravel()[: len(walk)]
        trades = None if flow is None else flow.arrivals(time, self.session, rng)
        mid = walk if trades is None else walk + self._displacement(time, trades)
        best = np.rint(mid / self.tick - 0.5 * spread).astype(np.int64)
        bid, ask = best[:, None] - away[0], (best + spread)[:, None] + away[1]
        if bid.min() <= 0:
            raise ValidationError(f"the price falls to {bid.min()} ticks; raise base_price")
        bid_price, ask_price = (on_grid(ticks * self.tick, self.tick) for ticks in (bid, ask))
        books = BookSnapshots(time, bid_price, sizes[0], ask_price, sizes[1], SYNTHETIC)
        return books if trades is None else _printed(books, *trades)

    def expected_moves(self, n_snapshots: int, n_levels: int, rng: Generator) -> Float:
        r"""Expected change of the mid until the next book, (n_snapshots,) currency per share.

        .. math:: E_t[m_{t+1}] - m_t = \rho \sigma m_t
                  (\eta_{\mathrm{bid},t} - \eta_{\mathrm{ask},t}) / \sqrt 2

        for the books that `books` draws from the same arguments; m is the walk before rounding to
        ticks and before displacement by flow. 0 at the last book of a day.

        Examples
        --------
        >>> market = SyntheticMarket(session=Session(13), lean=0.5)
        >>> market.expected_moves(13, 1, 1)[[0, -1]].round(3).tolist()
        [0.09, 0.0]
        """
        walk, *_, pressure = self._drawn(n_snapshots, n_levels, np.random.default_rng(rng))
        last = np.arange(1, len(walk) + 1) % self.session.n_intervals == 0
        return np.where(last, 0.0, self.lean * self._deviation * walk * pressure)

    def moved(self, books: BookSnapshots, shares: ArrayLike, side: str) -> BookSnapshots:
        r"""The books of a day displaced by an own order; unchanged without a kernel.

        .. math:: p'_t = p_t + \mathrm{side} \sum_{s < t} G(t - s) \, x_s

        for every price of bid and ask, because the child order x_s is sent at the start of interval
        s, when its book is shown. Sizes and spreads stay. Trades print at the touch and move with
        it. Prices leave the tick grid: rounding them would lose small orders.

        Parameters
        ----------
        books : BookSnapshots of n snapshots
            Of one day of the session; lags are the seconds between their times.
        shares : (n,) shares
            At least 0, one child order a snapshot.
        side : str
            "buy" or "sell".

        Raises
        ------
        ValidationError
            Books of two days, shares that do not fit them, or a price that falls to 0.

        Examples
        --------
        >>> market = SyntheticMarket(session=Session(13), kernel=lambda lags: 1e-4 + 0 * lags)
        >>> books = market.books(13, 1, 1)
        >>> (market.moved(books, [200] + 12 * [0], "sell").mid - books.mid).round(3)[:3].tolist()
        [0.0, -0.02, -0.02]
        """
        sign, placed = side_sign(side), per_interval("shares", shares, len(books))
        if len(days := set(self.session.days(books.time))) > 1:
            raise ValidationError(f"books are of {len(days)} days; give those of one, by by_day")
        if self.kernel is None:
            return books
        lags = np.subtract.outer(books.time, books.time) / 1e9
        displaced = np.zeros_like(lags)
        displaced[lags > 0] = self.kernel(lags[lags > 0])
        shift = sign * displaced @ placed
        moved: Any = {f"{name}_price": books[f"{name}_price"] + shift[:, None] for name in SIDES}
        if (trades := books.trades) is not None:
            row = np.searchsorted(books.time, trades.time, "right") - 1
            moved["trades"] = replace(trades, price=trades.price + shift[np.maximum(row, 0)])
        return replace(books, **moved)

    def _drawn(self, n_snapshots: int, n_levels: int, rng: Generator) -> tuple[Any, ...]:
        """Walk of the mid (n,), spread (n,) and distances (2, n, L) in ticks, sizes (2, n, L).

        At last the pressure of the sizes on the next step, (n,), N(0, 1).
        """
        n = number("n_snapshots", n_snapshots, 1, integer=True)
        number("n_levels", n_levels, 1, DEEPEST_LEVEL, integer=True)
        interval = np.arange(n) % self.session.n_intervals
        spread_ticks, level_mean = (part[interval] for part in self._through_the_day(n_levels))
        # The order of the draws is fixed: frozen numbers depend on it.
        spread = self._spread(spread_ticks - 1.0, rng)
        steps = rng.standard_normal(n)
        away = [self._below_touch(n, n_levels, rng) for _ in SIDES]
        sizes, news = zip(*(self._sizes(level_mean, rng) for _ in SIDES), strict=True)
        pressure = (news[0] - news[1]) / np.sqrt(2.0)
        # The latents of a day do not predict the night before it: its first step has no lean.
        later = 1 + np.flatnonzero(interval[1:] > 0)
        steps[later] *= np.sqrt(1.0 - self.lean**2)
        steps[later] += self.lean * pressure[later - 1]
        log_mid = np.cumsum(self._deviation * steps - 0.5 * self._deviation**2)
        walk = self.config.base_price * np.exp(log_mid - log_mid[0])
        return walk, spread, away, sizes, pressure

    @property
    def _deviation(self) -> float:
        """sigma, the standard deviation of the log mid's step."""
        return self.config.volatility_factor / math.sqrt(SESSIONS_A_YEAR * self.session.n_intervals)

    def _displacement(self, time: Int64, trades: tuple[Any, ...]) -> Float:
        """Displacement of the mid by the net volume of earlier intervals, (n,) currency per share.

        Trades fall evenly over an interval: half an interval before its end, on average. Lags are
        of trading time; over a night only the permanent level of the kernel stays.
        """
        from scipy.signal import fftconvolve  # heavy to import

        if self.kernel is None:
            return np.zeros(len(time))
        (row, _, signs, size), n = trades, self.session.n_intervals
        n_days = -(-len(time) // n)
        net = np.bincount(row, signs * size, n_days * n).reshape(n_days, n)
        seconds = self.session.traded_ns(time[::n])[1] / 1e9 / n
        response = self.kernel((np.arange(n) + 0.5) * seconds[:, None])
        response = np.pad(response[:, :-1], ((0, 0), (1, 0)))  # an interval moves later books only
        within = fftconvolve(net, response, axes=1)[:, :n]
        before = np.append(0.0, np.cumsum(net.sum(axis=1))[:-1])
        lasting = float(self.kernel(np.array(FOREVER))) * before
        return np.asarray(within + lasting[:, None]).ravel()[: len(time)]

    def _through_the_day(self, n_levels: int) -> Pair:
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

    def _spread(self, mean: Float, rng: Generator) -> Int64:
        """Spread in ticks, (n,), of so many expected beyond the first."""
        uniform = self._uniforms(len(mean), 1, self.spread_memory, rng)[0][:, 0]
        ticks = np.ones(len(mean), np.int64)
        wider = mean > 1e-9  # a spread of exactly one tick has nothing to draw
        ticks[wider] += count_quantile(uniform[wider], mean[wider], self.spread_dispersion)
        return ticks

    def _below_touch(self, n: int, n_levels: int, rng: Generator) -> Int64:
        """Ticks from the touch to each level, (n, n_levels)."""
        gaps = rng.geometric(1.0 / _extended(self.gap_ticks, n_levels - 1), (n, n_levels - 1))
        return np.pad(np.cumsum(gaps, axis=1), ((0, 0), (1, 0)))

    def _sizes(self, mean: Float, rng: Generator) -> Pair:
        """One lot plus a negative binomial number of lots, as Poisson of a gamma, (n, n_levels).

        And the innovations of the best level's latent, (n,).
        """
        uniform, news = self._uniforms(len(mean), mean.shape[1], self.depth_memory, rng)
        intensity = special.gammaincinv(mean / self.dispersion, uniform)
        lots = rng.poisson(self.dispersion / self.lot_size * intensity)
        return self.lot_size * (1.0 + lots), news[:, 0]

    def _uniforms(self, n: int, width: int, memory: Memory, rng: Generator) -> Pair:
        """Phi of latents autocorrelated within the day, and their innovations, (n, width) each."""
        n_intervals = self.session.n_intervals
        drawn = memory.draw(-(-n // n_intervals), n_intervals, width, rng)
        latent, news = (part.reshape(-1, width)[:n] for part in drawn)
        return np.minimum(special.ndtr(latent), HIGHEST_UNIFORM), news


def _printed(books: BookSnapshots, row: Int64, at: Int64, signs: Any, size: Float) -> BookSnapshots:
    """The books with trades at the touch of the book `row` (m,) that each meets, where shown:
    buyers at the ask, sellers at the bid. They do not move the books.
    """
    price = np.where(signs > 0, books.ask_price[row, 0], books.bid_price[row, 0])
    shown = np.isfinite(price)
    trades = Trades(at[shown], price[shown], size[shown], signs[shown], books.symbol)
    return replace(books, trades=trades)


def correlation(half_life: ArrayLike, lags: ArrayLike) -> Float:
    """2 ** (-lag / half_life), 0 for a half-life of 0; broadcast."""
    half_life, lags = np.asarray(half_life, float), np.asarray(lags, float)
    return np.exp2(-lags / np.where(half_life > 0, half_life, 1.0)) * (half_life > 0)


def _extended(values: tuple[float, ...], n: int) -> Float:
    """The first n of `values`, the last one repeated, (n,)."""
    return np.asarray(values, float)[np.minimum(np.arange(n), len(values) - 1)]


def count_quantile(uniform: Float, mean: Any, dispersion: float) -> Int64:
    """Quantiles of negative binomials of variance mean * (1 + dispersion), Poisson for 0; (n,).

    >>> count_quantile(np.array([0.1, 0.5, 0.9]), np.full(3, 5.0), 1.0).tolist()
    [1, 4, 9]
    """
    from scipy import stats  # heavy to import

    if dispersion == 0:
        return stats.poisson.ppf(uniform, mean).astype(np.int64)
    return stats.nbinom.ppf(uniform, mean / dispersion, 1.0 / (1.0 + dispersion)).astype(np.int64)


def on_grid(values: Any, tick: float) -> Float:
    """Prices or spreads without the last binary digits of a product, to 1e-7 of a tick."""
    return np.round(values, 7 - int(np.floor(np.log10(tick))))

"""The adaptive strategy, and its forecast of spread and depth through the day."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import Float, number, per_interval
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.replay import Filled, Ladder, Walked, with_rest
from research_lib.evaluation.strategies import Order, Strategy

# The supply curve stands in bins of premium, each half a per cent above the one before, from a
# thousandth to a thousand times a reference premium.
STEP, LOWEST, HIGHEST = 0.005, 1e-3, 1e3
N_BINS = 1 + math.ceil(math.log(HIGHEST / LOWEST) / STEP)
PER_STEP = 1.0 / STEP
ROUNDING = 1e-9  # of a bin: a premium at its edge stays inside


@dataclass(frozen=True, eq=False)
class LiquidityProfile(Record):
    """How spread and depth move through a day, each relative to its mean over the day.

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
            Each of one day and of n books; days count alike, whatever their level.
        source : str
        bandwidth : float
            Standard deviation of the kernel as a fraction of the day: 0.05 is 20 minutes.
        """
        spread = np.array([_relative(day.half_spread, day) for day in days])
        depth = np.array([_relative(day.depth, day) for day in days])
        return cls(_smooth(spread, bandwidth), _smooth(depth, bandwidth), source)


@dataclass(frozen=True, eq=False)
class TiltedShape:
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
        tau; 0 keeps the profile as it is, whatever is seen.
    memory : float
        m, books.

    Examples
    --------
    Spreads that stay flat where the profile falls make it flatter:

    >>> from research_lib.market import BookSnapshots
    >>> spread, size = np.full((5, 1), 0.1), np.full((5, 1), 9.0)
    >>> books = BookSnapshots(10**18 + np.arange(5), 50 - spread, size, 50 + spread, size)
    >>> profile = LiquidityProfile(np.linspace(3, 1, 5), np.ones(5), "by hand")
    >>> log_spread, _ = TiltedShape(profile, memory=1.0).paths(Ladder.of(books, "buy"), 5)
    >>> bool(np.ptp(log_spread[-1]) < np.ptp(log_spread[0]))
    True
    """

    profile: LiquidityProfile
    deviation: float = 0.5
    memory: float = 20.0

    def paths(self, seen: Ladder, n_intervals: int) -> tuple[Float, Float]:
        """Log spread and depth of the day's n intervals, (t, n) each: row k knows books 0 to k."""
        known = self.profile
        if len(known) != n_intervals:
            found = f"the profile of {known.source} has {len(known)} intervals, the day has"
            raise ValidationError(f"{found} {n_intervals}; measure it in the same session")
        log_spread, log_depth = np.log(known.spread), np.log(known.depth)
        quoted = np.isfinite(seen.mid)  # elsewhere, and where it is crossed, a book says nothing
        spread, depth = (np.where(quoted, part, np.nan) for part in (seen.half_spread, seen.depth))
        steeper = self._exponents(log_spread, spread), self._exponents(log_depth, depth)
        return np.outer(steeper[0], log_spread), np.exp(np.outer(steeper[1], log_depth))

    def _exponents(self, log_shape: Float, seen: Float) -> Float:
        """kappa after each book, (t,)."""
        if self.deviation == 0:
            return np.ones(len(seen))
        known = np.isfinite(seen) & (seen > 0)
        x = np.where(known, log_shape[: len(seen)], 0.0)
        y = np.log(np.where(known, seen, 1.0))
        n = np.maximum(np.cumsum(known), 1)
        sum_x, sum_y, sum_xx, sum_xy, sum_ee = np.cumsum([x, y, x * x, x * y, (y - x) ** 2], axis=1)
        xx, xy = sum_xx - sum_x**2 / n, sum_xy - sum_x * sum_y / n
        variance = np.maximum(sum_ee - (sum_y - sum_x) ** 2 / n, 0.0) / n
        weight = self.memory * variance / self.deviation**2
        kappa, identified = np.ones(len(seen)), weight + xx > 1e-12
        np.divide(weight + xy, weight + xx, out=kappa, where=identified)
        return np.clip(kappa, 0.0, 2.0)


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
    at = np.arange(n)
    width = number("bandwidth", bandwidth, above=0) * n
    kernel = np.exp(-0.5 * ((at[:, None] - at) / width) ** 2)
    known = np.isfinite(values)
    return (kernel @ np.where(known, values, 0.0).sum(axis=0)) / (kernel @ known.sum(axis=0))


class _Plan(NamedTuple):
    """Forecasts (m, n), the one made at t in row min(t, m - 1), and what the order asks.

    `caps` is (n,), `risk` is 2 lambda sigma^2, currency per share, share and interval.
    """

    log_spread: Float
    depth: Float
    weights: Float
    caps: Float
    risk: float
    caution: float


class _Books(NamedTuple):
    """Books seen; the logarithm of a premium that is not above 0 is -inf.

    `log_lowest` (n,) is that of the first bin of the supply curve, as known from each book and
    those before it: its reference is the lowest premium above 0 on display in the first book that
    has one, and 1 before that book.
    """

    premium: Float
    log_premium: Float
    size: Float
    quoted: NDArray[np.bool_]
    log_lowest: Float


@dataclass(frozen=True, eq=False)
class Adaptive(Strategy):
    r"""Take from the book on display what is cheaper than the multiplier of all supply.

    The books seen so far are each made comparable by the day's shape, prices divided by
    spread_k and shares by depth_k, and averaged with weights w by their age into one supply curve,

    .. math::
        \bar Q_t(u) = \sum_k w_{t-k} \sum_l \frac{v_{kl}}{depth_k} 1\{c_{kl} \le u \, spread_k\}
        \Big/ \sum_k w_{t-k},

    with c the premium over the mid and v the shares. The multiplier solves

    .. math::
        Q^{now}_t(\nu) + \sum_{s > t} \min\Big(u_s,
            depth_s \bar Q_t\Big(\frac{\nu - r_{s-t}}{spread_s}\Big)\Big) = R_t

    for the remaining R_t, caps u_s and the risk of waiting j of m intervals,
    r_j = 2 lambda sigma^2 R_t (j - j^2 / 2m): the marginal of lambda times the variance of a
    holding that is run down in a line (Almgren and Chriss, 2000). Premiums stand in bins half
    a per cent wide. So as to complete, never more is left to m intervals than 1 - caution / sqrt(m)
    of all the depth expected of them. A book without two sides is sent nothing, unless it is the
    last.

    Attributes
    ----------
    forecast : TiltedShape
        The day's shape.
    weights : (K,)
        By age of a book, see `decaying`; equal ones are a rolling mean.
    risk_aversion : float
        lambda, 1 / currency; 0 minimises the expected cost alone.
    volatility : float
        sigma, the mid's standard deviation over one interval, currency per share, as known before.
    caution : float
        Deviations of depth, relative to its mean, that the plan must survive; 1 keeps the last
        interval in reserve.

    Examples
    --------
    The second book has a spread four times as wide as the others, and is left out:

    >>> from research_lib.evaluation import LiquidityProfile, TiltedShape, run
    >>> from research_lib.market import BookSnapshots
    >>> spread, size = np.array([[1.0], [4.0], [1.0], [1.0]]), np.full((4, 1), 100.0)
    >>> time = 10**18 + np.arange(4) * 60 * 10**9
    >>> books = BookSnapshots(time, 50 - spread, size, 50 + spread, size)
    >>> flat = LiquidityProfile(np.ones(4), np.ones(4), "no shape")
    >>> strategy = Adaptive(TiltedShape(flat), "nothing")
    >>> run(strategy, books, 150, "buy").filled.tolist()
    [100.0, 0.0, 50.0, 0.0]
    """

    forecast: TiltedShape
    fitted_on: str
    name: str = "adaptive"
    weights: Float = field(default_factory=lambda: decaying(60.0))
    risk_aversion: float = 0.0
    volatility: float = 0.0
    caution: float = 1.0

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "volatility", "caution"):
            number(name, getattr(self, name), 0)
        if self.risk_aversion > 0 and self.volatility == 0:
            raise ValidationError("risk_aversion without volatility changes nothing; give sigma")

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is cheaper than the multiplier."""
        log_spread, depth = self.forecast.paths(seen, len(order.caps))
        plan = self._plan(log_spread[-1:], depth[-1:], order)
        return float(_decide(t, remaining, _books(seen), plan))

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """The steps of `Strategy.fill`, compiled where books refill.

        Else what is seen depends on every fill before.
        """
        if refill < 1.0:
            return super().fill(order, books, seen, refill)
        plan = self._plan(*self.forecast.paths(seen, len(order.caps)), order)
        return with_rest(*_fill(order.total_shares, _books(seen), plan, books.premium, books.size))

    def _plan(self, log_spread: Float, depth: Float, order: Order) -> _Plan:
        risk = 2.0 * self.risk_aversion * self.volatility**2
        return _Plan(log_spread, depth, self.weights, order.caps, risk, float(self.caution))


def _books(seen: Ladder) -> _Books:
    log_premium = np.full(seen.premium.shape, -np.inf)
    np.log(seen.premium, out=log_premium, where=seen.premium > 0)
    log_lowest = np.full(len(seen), math.log(LOWEST))
    books, levels = np.nonzero((seen.size > 0) & (seen.premium > 0))
    if len(books):
        first = books[0]
        log_lowest[first:] = math.log(LOWEST * seen.premium[first, levels[0]])
    return _Books(seen.premium, log_premium, seen.size, np.isfinite(seen.mid), log_lowest)


@compiled
def _fill(total: float, seen: _Books, plan: _Plan, premium: Float, size: Float) -> Walked:
    """Decide on the books seen and trade on the others, all refilled; (n,) each."""
    n, n_levels = size.shape
    filled, cost, remaining = np.zeros(n), np.zeros(n), total
    for k in range(n):
        left = want = _decide(k, remaining, seen, plan)
        for level in range(n_levels):
            taken = min(left, size[k, level])
            if taken > 0.0:
                cost[k] += taken * premium[k, level]
                left -= taken
        filled[k] = want - left
        remaining -= filled[k]
    return filled, cost, remaining


@compiled
def _decide(t: int, remaining: float, seen: _Books, plan: _Plan) -> float:
    """Shares to take from book t: what is cheaper than the multiplier.

    It is the lowest premium at which this book and the supply to come hold `remaining` shares;
    what the reliable part of the supply to come could not hold is taken whatever it costs. Where
    the book is not quoted on both sides nothing is sent, except in the last interval.
    """
    stop, cap = len(plan.caps), plan.caps[t]
    if t + 1 >= stop:
        return min(remaining, cap)
    if not seen.quoted[t]:
        return 0.0
    supply = _seen_supply(t, seen, plan)
    low, high = -1, 2 * N_BINS  # at `low` there is too little; at `high` all that there is counts
    while high - low > 1:
        middle = (low + high) // 2
        lacking = remaining - min(_displayed(t, middle, seen), cap)
        if lacking <= _expected(middle, t, remaining, lacking, supply, seen, plan):
            high = middle
        else:
            low = middle
    cheap = _displayed(t, high, seen)
    reliable, reliance = 0.0, max(1.0 - plan.caution / math.sqrt(stop - t - 1), 0.0)
    depth = plan.depth[min(t, len(plan.depth) - 1)]
    for s in range(t + 1, stop):
        reliable += min(plan.caps[s], reliance * depth[s] * supply[N_BINS - 1])
    return min(min(remaining, cap), max(cheap, remaining - reliable))


@compiled
def _seen_supply(t: int, seen: _Books, plan: _Plan) -> Float:
    """Weighted mean over quoted books up to t of shares / depth_k within premium / spread_k.

    (bins,), the first at `seen.log_lowest[t]`.
    """
    row, curve, total = min(t, len(plan.depth) - 1), np.zeros(N_BINS), 0.0
    for lag in range(min(t + 1, len(plan.weights))):
        k, weight = t - lag, plan.weights[lag]
        if seen.quoted[k]:
            total += weight
            scale = weight / plan.depth[row, k]
            origin = plan.log_spread[row, k] + seen.log_lowest[t]
            for level in range(seen.size.shape[1]):
                if seen.size[k, level] > 0.0:
                    steps = (seen.log_premium[k, level] - origin) * PER_STEP
                    at = math.ceil(max(steps - ROUNDING, 0.0))
                    curve[min(at, N_BINS - 1)] += scale * seen.size[k, level]
    return np.cumsum(curve) / total if total > 0.0 else np.zeros(N_BINS)


@compiled
def _expected(
    position: int, t: int, remaining: float, enough: float, supply: Float, seen: _Books, plan: _Plan
) -> float:
    """Shares expected after t at the premium of a bin, less the risk of waiting; up to `enough`.

    A share still held s - t intervals on, of a holding that falls in a line to 0, costs
    risk * ((s - t) - (s - t)^2 / (2 (stop - t))) more.
    """
    row, stop, found = min(t, len(plan.depth) - 1), len(plan.caps), 0.0
    log_premium = seen.log_lowest[t] + position * STEP
    premium, risk = math.exp(log_premium), plan.risk * remaining
    for s in range(t + 1, stop):
        left = log_premium
        if risk > 0.0:
            waited = float(s - t)
            surplus = premium - risk * (waited - 0.5 * waited * waited / (stop - t))
            if surplus <= 0.0:
                break  # the cost of waiting rises with s
            left = math.log(surplus)
        at = math.floor((left - plan.log_spread[row, s] - seen.log_lowest[t]) * PER_STEP + ROUNDING)
        if at >= 0:
            found += min(plan.caps[s], plan.depth[row, s] * supply[min(at, N_BINS - 1)])
            if found >= enough:
                break
    return found


@compiled
def _displayed(t: int, position: int, seen: _Books) -> float:
    """Shares of book t at a premium of at most that of a bin."""
    found, highest = 0.0, math.exp(seen.log_lowest[t] + (position + ROUNDING) * STEP)
    for level in range(seen.size.shape[1]):
        if seen.premium[t, level] <= highest:
            found += seen.size[t, level]
    return found

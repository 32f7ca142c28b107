"""The adaptive strategy: take what is cheaper than the multiplier of all supply."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.compiling import compiled
from research_lib.errors import ValidationError
from research_lib.evaluation.forecast import Forecast, decaying, observed
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.replay import Filled, with_rest
from research_lib.evaluation.strategies import Order, Strategy, Venue

Float = NDArray[np.float64]
# The supply curve stands in bins of premium, each half a per cent above the one before, from a
# thousandth to a thousand times a reference premium.
STEP, LOWEST, HIGHEST = 0.005, 1e-3, 1e3
N_BINS = 1 + math.ceil(math.log(HIGHEST / LOWEST) / STEP)
PER_STEP = 1.0 / STEP
ROUNDING = 1e-9  # of a bin: a premium at its edge stays inside


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
    forecast : Forecast
        The day's shape.
    weights : (K,)
        By age of a book: see `rolling` and `decaying`.
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

    >>> from research_lib.evaluation import LiquidityProfile, PriorShape, run
    >>> from research_lib.market import BookSnapshots
    >>> spread, size = np.array([[1.0], [4.0], [1.0], [1.0]]), np.full((4, 1), 100.0)
    >>> time = 10**18 + np.arange(4) * 60 * 10**9
    >>> books = BookSnapshots(time, 50 - spread, size, 50 + spread, size)
    >>> strategy = Adaptive(PriorShape(LiquidityProfile.flat(4)), "nothing")
    >>> run(strategy, books, 150, "buy").filled.tolist()
    [100.0, 0.0, 50.0, 0.0]
    """

    forecast: Forecast
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
            raise ValidationError(
                "risk_aversion without volatility changes nothing; give the mid's, see "
                "mid_volatility"
            )

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is cheaper than the multiplier."""
        spread, depth = self.forecast.shape(*observed(seen), order.n_intervals)
        plan = self._plan(np.log(spread)[None], depth[None], order)
        return float(_decide(t, remaining, _books(seen), plan))

    def fill(self, order: Order, venue: Venue) -> Filled:
        """The steps of `Strategy.fill`, compiled where books refill.

        Else what is seen depends on every fill before.
        """
        if venue.rule.rate < 1.0:
            return super().fill(order, venue)
        plan = self._plan(*self.forecast.paths(venue.seen), order)
        traded = venue.books.take(order.rows)
        seen, books = _books(venue.seen), (traded.premium, traded.size)
        return with_rest(*_fill(order.start, order.total_shares, seen, plan, *books))

    def _plan(self, log_spread: Float, depth: Float, order: Order) -> _Plan:
        risk = 2.0 * self.risk_aversion * self.volatility**2
        return _Plan(log_spread, depth, self.weights, order.day_caps, risk, float(self.caution))


class _Plan(NamedTuple):
    """Forecasts (m, n), the one made at t in row min(t, m - 1), and what the order asks.

    `caps` is (stop,), `risk` is 2 lambda sigma^2, currency per share, share and interval.
    """

    log_spread: Float
    depth: Float
    weights: Float
    caps: Float
    risk: float
    caution: float


class _Books(NamedTuple):
    """Books seen; the logarithm of a premium that is not above 0 is -inf."""

    premium: Float
    log_premium: Float
    size: Float
    quoted: NDArray[np.bool_]


class _Supply(NamedTuple):
    """Shares over depth within premium over spread, (bins,), and the logarithm of the first bin."""

    curve: Float
    log_lowest: float


def _books(seen: Ladder) -> _Books:
    log_premium = np.full(seen.premium.shape, -np.inf)
    np.log(seen.premium, out=log_premium, where=seen.premium > 0)
    return _Books(seen.premium, log_premium, seen.size, np.isfinite(seen.mid))


@compiled
def _fill(
    start: int, total: float, seen: _Books, plan: _Plan, premium: Float, size: Float
) -> tuple[Float, Float, float]:
    """Decide on the books seen and trade on the others, all refilled; (stop - start,) each."""
    n, n_levels = size.shape
    filled, cost, remaining = np.zeros(n), np.zeros(n), total
    for k in range(n):
        left = want = _decide(start + k, remaining, seen, plan)
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
        lacking = remaining - min(_on_display(t, middle, seen, supply), cap)
        if lacking <= _to_come(middle, t, remaining, lacking, supply, plan):
            high = middle
        else:
            low = middle
    cheap = _on_display(t, high, seen, supply)
    reliable, reliance = 0.0, max(1.0 - plan.caution / math.sqrt(stop - t - 1), 0.0)
    depth = plan.depth[min(t, len(plan.depth) - 1)]
    for s in range(t + 1, stop):
        reliable += min(plan.caps[s], reliance * depth[s] * supply.curve[N_BINS - 1])
    return min(min(remaining, cap), max(cheap, remaining - reliable))


@compiled
def _seen_supply(t: int, seen: _Books, plan: _Plan) -> _Supply:
    """Weighted mean over quoted books up to t of shares / depth_k within premium / spread_k."""
    log_lowest = math.log(LOWEST * _reference_premium(t, seen))
    row, curve, total = min(t, len(plan.depth) - 1), np.zeros(N_BINS), 0.0
    for lag in range(min(t + 1, len(plan.weights))):
        k, weight = t - lag, plan.weights[lag]
        if seen.quoted[k]:
            total += weight
            scale, origin = weight / plan.depth[row, k], plan.log_spread[row, k] + log_lowest
            for level in range(seen.size.shape[1]):
                if seen.size[k, level] > 0.0:
                    steps = (seen.log_premium[k, level] - origin) * PER_STEP
                    at = math.ceil(max(steps - ROUNDING, 0.0))
                    curve[min(at, N_BINS - 1)] += scale * seen.size[k, level]
    curve = np.cumsum(curve)
    return _Supply(curve / total if total > 0.0 else np.zeros(N_BINS), log_lowest)


@compiled
def _reference_premium(last: int, seen: _Books) -> float:
    """Lowest premium above 0 on display in the first book, up to `last`, that has one; else 1."""
    for t in range(last + 1):
        for level in range(seen.size.shape[1]):
            if seen.size[t, level] > 0.0 and seen.premium[t, level] > 0.0:
                return float(seen.premium[t, level])
    return 1.0


@compiled
def _to_come(
    position: int, t: int, remaining: float, enough: float, supply: _Supply, plan: _Plan
) -> float:
    """Shares expected after t at the premium of a bin, less the risk of waiting; up to `enough`.

    A share still held s - t intervals on, of a holding that falls in a line to 0, costs
    risk * ((s - t) - (s - t)^2 / (2 (stop - t))) more.
    """
    row, stop, found = min(t, len(plan.depth) - 1), len(plan.caps), 0.0
    log_premium = supply.log_lowest + position * STEP
    premium, risk = math.exp(log_premium), plan.risk * remaining
    for s in range(t + 1, stop):
        left = log_premium
        if risk > 0.0:
            waited = float(s - t)
            surplus = premium - risk * (waited - 0.5 * waited * waited / (stop - t))
            if surplus <= 0.0:
                break  # the cost of waiting rises with s
            left = math.log(surplus)
        at = math.floor((left - plan.log_spread[row, s] - supply.log_lowest) * PER_STEP + ROUNDING)
        if at >= 0:
            found += min(plan.caps[s], plan.depth[row, s] * supply.curve[min(at, N_BINS - 1)])
            if found >= enough:
                break
    return found


@compiled
def _on_display(t: int, position: int, seen: _Books, supply: _Supply) -> float:
    """Shares of book t at a premium of at most that of a bin."""
    found, highest = 0.0, math.exp(supply.log_lowest + (position + ROUNDING) * STEP)
    for level in range(seen.size.shape[1]):
        if seen.premium[t, level] <= highest:
            found += seen.size[t, level]
    return found

"""The adaptive strategy: it compares the displayed book with all supply still expected."""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import Float, number
from research_lib.compiling import compiled
from research_lib.errors import ValidationError
from research_lib.evaluation.executions import Filled, Ladder, Walked, with_rest
from research_lib.evaluation.forecast import Liquidity
from research_lib.evaluation.mid_forecast import GivenMoves, MidForecast
from research_lib.evaluation.shapes import WeightedShapes, decaying
from research_lib.evaluation.strategies import Child, Order, Strategy, shares_left
from research_lib.market.book import side_sign

# The supply curve is kept in bins of premium, each half a per cent above the one before, from a
# thousandth to a thousand times a reference premium.
STEP, LOWEST, HIGHEST = 0.005, 1e-3, 1e3
N_BINS = 1 + math.ceil(math.log(HIGHEST / LOWEST) / STEP)
PER_STEP = 1.0 / STEP
ROUNDING = 1e-9  # of a bin: a premium at its edge stays inside
# Shares of the day before its end: in the first the band behind equal shares closes, in the second
# it is shut, so that the rest at the close is that of TWAP.
CLOSING, SHUT = 0.2, 0.05


_Decided = tuple[float, float, float, int]


class _Plan(NamedTuple):
    """Forecasts (m, n), the one made at t in row min(t, m - 1), and settings of the order.

    `move` is (t,), `caps` (n,); `risk` is 2 lambda sigma^2, currency per share, share and interval.
    """

    log_spread: Float
    depth: Float
    weights: Float
    move: Float
    caps: Float
    total: float
    risk: float
    caution: float
    lump: float
    floor: float
    band: float


class _Books(NamedTuple):
    """Books seen; the logarithm of a premium that is not above 0 is -inf.

    `log_lowest` (n,) is the logarithm of the first bin of the supply curve, as known at each book.
    The reference premium is the lowest one above 0 in the first book that has one, and 1 before
    that book.
    """

    premium: Float
    log_premium: Float
    size: Float
    quoted: NDArray[np.bool_]
    log_lowest: Float


@dataclass(frozen=True, eq=False)
class Adaptive(Strategy):
    r"""Take the displayed shares that are cheaper than the multiplier of all supply.

    Each book seen so far is normalised by the day's shape, prices by spread_k and shares by
    depth_k; their average with weights w by age is the supply curve,

    .. math::
        \bar Q_t(u) = \sum_k w_{t-k} \sum_l \frac{v_{kl}}{depth_k} 1\{c_{kl} \le u \, spread_k\}
        \Big/ \sum_k w_{t-k},

    with c the premium over the mid and v the shares. The multiplier nu solves

    .. math::
        Q_t(\nu + a_t) + \sum_{s > t} \min\Big(u_s, \tfrac{S}{n} +
            \frac{\nu - r_{s-t} - f}{g}, depth_s \bar Q_t\Big(\frac{\nu - r_{s-t}}{spread_s}\Big)
            1\{\nu - r_{s-t} \ge f\}\Big) = R_t

    for the remaining R_t and caps u_s, with a_t the expected move of the mid against the order over
    the next interval (`MidForecast`), f half a tick, the lowest half-spread that is forecast, and
    the risk of waiting j of m intervals r_j = 2 lambda sigma^2 R_t (j - j^2 / 2m): the marginal of
    lambda times the variance of a holding that falls linearly to 0 (Almgren and Chriss, 2000).
    Q_t(p) are the shares displayed at a premium of at most p. Each share of a child order beyond
    the even one, S / n, must be cheaper by a further g, the temporary part of the price that it
    displaces. Shares that cost nu, within a per cent, are taken now as far as equal shares require:
    where all prices are equal the strategy is TWAP. To complete the order, it falls behind equal
    shares only while the remaining m intervals are expected to hold the rest in a share 1 - caution
    / sqrt(m) of their depth, and the executed part stays within `band` times the order around equal
    shares; on the late side the band closes over the last fifth of the day and is shut for the last
    twentieth. No order is sent to a book without two sides, unless it is the last one. The child
    order is a limit order at nu + a_t over the mid that was seen, except for shares that band or
    completion force.

    Attributes
    ----------
    shapes : WeightedShapes or Liquidity
        The day's shape, or forecasts of spread and depth.
    fitted_on : str
    weights : (K,)
        By age of a book, see `decaying`; equal weights give a rolling mean.
    mid_forecast : MidForecast or GivenMoves, optional
    risk_aversion : float
        lambda, 1 / currency; 0 minimises only the expected cost.
    volatility : float
        sigma, the mid's standard deviation over one interval, currency per share, known before.
    lump : float
        g, currency per share**2: the kernel at 0 less its mean over the order.
    tick : float
        2 f, currency per share; 0 where it is unknown.
    band : float
        Part of the order; 1 is none.
    caution : float
        Number of standard deviations by which future depth may fall short before the plan fails.
        With 1, of 400 orders of half of all displayed depth 12 that TWAP completed stayed
        incomplete; with 2 none.

    Examples
    --------
    The second book has a spread four times as wide as the others, and is left out:

    >>> from research_lib.evaluation import LiquidityProfile, WeightedShapes, run
    >>> from research_lib.market import BookSnapshots
    >>> spread, size = np.array([[1.0], [4.0], [1.0], [1.0]]), np.full((4, 1), 100.0)
    >>> time = 10**18 + np.arange(4) * 60 * 10**9
    >>> books = BookSnapshots(time, 50 - spread, size, 50 + spread, size)
    >>> flat = LiquidityProfile(np.ones(4), np.ones(4), "no shape")
    >>> strategy = Adaptive(WeightedShapes([flat]), "nothing", band=1.0, caution=0.0)
    >>> run(strategy, books, 120, "buy").filled.tolist()
    [30.0, 0.0, 60.0, 30.0]
    """

    shapes: WeightedShapes | Liquidity
    fitted_on: str
    name: str = "adaptive"
    weights: Float = field(default_factory=lambda: decaying(60.0))
    mid_forecast: MidForecast | GivenMoves | None = None
    risk_aversion: float = 0.0
    volatility: float = 0.0
    lump: float = 0.0
    tick: float = 0.0
    band: float = 0.15
    caution: float = 2.0

    def __post_init__(self) -> None:
        for name in ("risk_aversion", "volatility", "lump", "tick", "caution"):
            number(name, getattr(self, name), 0)
        number("band", self.band, 0, 1)
        weights = np.asarray(self.weights, float)
        if not (weights.ndim == 1 and (weights >= 0).all() and 0 < weights.sum() < np.inf):
            raise ValidationError("weights must be (K,), at least 0, finite and not all 0")
        if self.risk_aversion > 0 and self.volatility == 0:
            raise ValidationError("risk_aversion without volatility changes nothing; give sigma")

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is cheaper than the multiplier."""
        return self._child(t, remaining, seen, order).shares

    def child(self, t: int, filled: Float, seen: Ladder, order: Order) -> Child:
        """What is cheaper than the multiplier, with its limit; the step of `fill`."""
        return self._child(t, shares_left(order.total_shares, filled), seen, order)

    def _child(self, t: int, remaining: float, seen: Ladder, order: Order) -> Child:
        plan = self._plan(*self.shapes.paths(seen, len(order.caps)), seen, order)
        return Child(*_decide(t, remaining, N_BINS, _books(seen), plan)[:3])

    def meet(self, child: Child, seen: Ladder, books: Ladder) -> tuple[float, float]:
        """The step of `fill`: what its limit reaches, and what is forced."""
        size, drift = books.size[0], _drift(seen, books)[0]
        return _taken(books.premium[0], size, np.zeros(len(size)), drift, *child)

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """The steps of `Strategy.fill`, compiled.

        Own trades are subtracted from the sizes that are seen. The day's shape is measured on the
        books as recorded, because the strategy knows its own trades.
        """
        plan = self._plan(*self.shapes.paths(seen, len(order.caps)), seen, order)
        drift = _drift(seen, books)
        visible = _books(replace(seen, size=seen.size.copy()))
        return with_rest(*_fill(visible, plan, books.premium, books.size, drift, 1.0 - refill))

    def _plan(self, log_spread: Float, depth: Float, seen: Ladder, order: Order) -> _Plan:
        risk, move = 2.0 * self.risk_aversion * self.volatility**2, np.zeros(len(seen))
        if self.mid_forecast is not None:
            move = np.nan_to_num(self.mid_forecast.moves(seen))
        asked = (order.caps, order.total_shares, risk, float(self.caution), float(self.lump))
        limits = (0.5 * self.tick, float(self.band))
        return _Plan(log_spread, depth, self.weights, move, *asked, *limits)


def _drift(seen: Ladder, books: Ladder) -> Float:
    """Move of the mid against the order since the decision, (n,); 0 where it is unknown."""
    return np.nan_to_num(side_sign(books.side) * (books.mid - seen.mid))


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
def _fill(
    seen: _Books, plan: _Plan, premium: Float, size: Float, drift: Float, kept: float
) -> Walked:
    """Decide on the books seen and trade on the others; (n,) each.

    `drift` is the move of the mid against the order since the decision; the share `kept` of
    consumed shares is missing from both books and is subtracted from `seen.size`.
    """
    n, n_levels = size.shape
    filled, cost, remaining = np.zeros(n), np.zeros(n), plan.total
    consumed, near = np.zeros(n_levels), N_BINS
    for k in range(n):
        for level in range(n_levels):
            consumed[level] *= kept
            seen.size[k, level] = max(seen.size[k, level] - consumed[level], 0.0)
        want, limit, forced, near = _decide(k, remaining, near, seen, plan)
        filled[k], cost[k] = _taken(premium[k], size[k], consumed, drift[k], want, limit, forced)
        remaining -= filled[k]
    return filled, cost, remaining


@compiled
def _taken(
    premium: Float, size: Float, consumed: Float, drift: float,
    want: float, limit: float, forced: float,
) -> tuple[float, float]:  # fmt: skip
    """Shares filled in one book and their cost over its mid; they are added to `consumed` (L,)."""
    left, cost = want, 0.0
    for level in range(len(size)):
        due = left if premium[level] + drift <= limit else left - (want - forced)
        taken = min(due, size[level] - consumed[level])
        if taken > 0.0:
            cost += taken * premium[level]
            left -= taken
            consumed[level] += taken
    return want - left, cost


@compiled
def _decide(t: int, remaining: float, near: int, seen: _Books, plan: _Plan) -> _Decided:
    """Shares to take from book t, the premium over its mid up to which, those beyond it too, and
    the multiplier's bin, which is searched from `near` on.

    The multiplier is the lowest premium at which this book and the supply to come hold `remaining`
    shares. What is cheaper by a bin is taken, and of what costs just that as much as equal shares
    ask for: more of a large touch would be a trade against the imbalance. What the band asks, or
    the reliable part of the supply to come could not hold, is taken whatever it costs. Where the
    book is not quoted on both sides nothing is sent, except in the last interval.
    """
    stop, cap = len(plan.caps), min(plan.caps[t], remaining)
    if t + 1 >= stop:
        return cap, np.inf, cap, near
    if not seen.quoted[t]:
        return 0.0, np.inf, 0.0, near
    supply = _seen_supply(t, seen, plan)
    low, high = -1, 2 * N_BINS  # at `low` there is too little; at `high` all that there is counts
    # The multiplier moves little from one interval to the next: steps that double from the last one
    # bracket it, and halving does the rest. From the middle of all bins it takes twice as long.
    step, middle, bracketed = 1, near, False
    while high - low > 1:
        lacking = remaining - min(_displayed(t, middle, seen, plan), cap)
        if lacking <= _expected(middle, t, remaining, lacking, supply, seen, plan):
            high = middle
        else:
            low = middle
        bracketed = bracketed or (low >= 0 and high < 2 * N_BINS)
        middle = high - step if low < 0 else low + step
        step *= 2
        if bracketed or not low < middle < high:
            middle = (low + high) // 2
    reliable, reliance = 0.0, max(1.0 - plan.caution / math.sqrt(stop - t - 1), 0.0)
    depth = plan.depth[min(t, len(plan.depth) - 1)]
    for s in range(t + 1, stop):
        reliable += min(plan.caps[s], reliance * depth[s] * supply[N_BINS - 1])
    behind = plan.total * (t + 1) / stop - (plan.total - remaining)  # of equal shares
    closing = ((stop - t - 1) / stop - SHUT) / (CLOSING - SHUT)
    late = plan.band * plan.total * min(max(closing, 0.0), 1.0)
    most = max(min(cap, behind + plan.band * plan.total), 0.0)
    equal = min(_displayed(t, high, seen, plan), behind)
    cheap = min(max(_displayed(t, high - 2, seen, plan), equal), most)
    forced = max(min(cap, max(behind - late, min(remaining - reliable, behind))), 0.0)
    return max(cheap, forced), _premium(t, high, seen) + plan.move[t], forced, min(high, N_BINS)


@compiled
def _premium(t: int, position: int, seen: _Books) -> float:
    """Upper end of a bin, with room for rounding."""
    return math.exp(seen.log_lowest[t] + (position + ROUNDING) * STEP)


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

    A share still held s - t intervals later, of a holding that falls linearly to 0, costs
    risk * ((s - t) - (s - t)^2 / (2 (stop - t))) more.
    """
    row, stop, found = min(t, len(plan.depth) - 1), len(plan.caps), 0.0
    premium, risk = math.exp(seen.log_lowest[t] + position * STEP), plan.risk * remaining
    lowest = plan.floor * (1.0 - ROUNDING)
    for s in range(t + 1, stop):
        waited = float(s - t)
        surplus = premium - risk * (waited - 0.5 * waited * waited / (stop - t))
        if surplus <= 0.0 or surplus < lowest:
            break  # the cost of waiting rises with s
        left = math.log(surplus) - plan.log_spread[row, s] - seen.log_lowest[t]
        at = math.floor(left * PER_STEP + ROUNDING)
        if at >= 0:
            cap = plan.caps[s]
            if plan.lump > 0.0:
                cap = min(cap, plan.total / stop + (surplus - lowest) / plan.lump)
            found += min(cap, plan.depth[row, s] * supply[min(at, N_BINS - 1)])
            if found >= enough:
                break
    return found


@compiled
def _displayed(t: int, position: int, seen: _Books, plan: _Plan) -> float:
    """Shares of book t that cost at most the premium of a bin plus the expected move of the mid.

    Each share beyond the even child order must be cheaper by `lump` more.
    """
    found, highest = 0.0, _premium(t, position, seen) + plan.move[t]
    even = plan.total / len(plan.caps)
    for level in range(seen.size.shape[1]):
        surplus = highest - seen.premium[t, level]
        if surplus >= 0.0:
            taken = seen.size[t, level]
            if plan.lump > 0.0:
                taken = min(taken, max(even + surplus / plan.lump - found, 0.0))
            found += taken
    return found

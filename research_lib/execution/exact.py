r"""The exact split of a separable convex total by its multiplier, and the certificate that proves
a split.

.. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

At the optimum x_t = clip(shares_at_marginal_t(nu), l_t, u_t) for one multiplier nu, and the sum of
the right-hand side rises with nu (water-filling: Boyd and Vandenberghe 2004, section 5.5.3). The
search for nu is Newton's inside a shrinking bracket. Where the sum jumps (linear totals, steps of a
book) the jump itself is tried and its two sides are mixed, in proportion to the room each interval
has.

This is the one file of compiled code for allocations. Arrays come in tuples: smooth (a, b, c, s,
p), (n,) each, and steps (depth, premium), (n, K) each, with the letters of
:class:`research_lib.impact.SeparableTotal`; bounds (lower, upper), (n,) each.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.compiling import compiled
from research_lib.impact import SeparableTotal

Float = NDArray[np.float64]
Lots = NDArray[np.int64]
Pair = tuple[Float, Float]
Smooth = tuple[Float, Float, Float, Float, Float]
Judged = tuple[float, float, float, float, float, float]

EPSILON = float(np.finfo(float).eps)
BLOCK = 1024  # sums are taken in blocks: a plain running sum of a million loses three digits
MAX_SWEEPS = 500
MAX_NEWTON_STEPS = 60
SUM_ROUNDING = 1e-12  # of the order: what n rounded shares may miss it by
SAME_PRICE = 1e-9


class Certificate(NamedTuple):
    """What is known about a split.

    Attributes
    ----------
    cost : float
        The objective, currency.
    multiplier : float
        nu, what the next share costs, currency per share (under "impact": per share of the sum).
    kkt_residual : float
        Largest violation of: nu lies between the left and the right derivative of C_t at x_t (at
        the cap only above the left one, at the floor only below the right one), relative to
        \\|nu\\|; or the distance to shares for which it does, relative to S / n, if that is less.
    duality_gap : float
        (cost - dual value at nu) / \\|cost\\|; the cost exceeds the optimum by no more.
    filled : float
        The sum of the shares.
    outside : float
        Largest distance beyond a bound, shares.
    """

    cost: float
    multiplier: float
    kkt_residual: float
    duality_gap: float
    filled: float
    outside: float

    def plus(self, constant: float) -> Certificate:
        """The same of a cost that is larger by `constant`."""
        if not constant:
            return self
        cost = self.cost + constant
        gap = self.duality_gap * abs(self.cost) / (abs(cost) or 1.0)
        return self._replace(cost=cost, duality_gap=gap)


def exact_split(
    total: SeparableTotal, shares: float, bounds: Pair, max_sweeps: int = MAX_SWEEPS
) -> tuple[Float, int, Certificate]:
    """The optimal split of S = `shares` between bounds that admit it.

    Parameters
    ----------
    total : SeparableTotal of n intervals
        Convex between the bounds.
    shares : float
        S > 0.
    bounds : (lower, upper), (n,) shares each
    max_sweeps : int
        Passes over the intervals.

    Returns
    -------
    (n,) shares, the sweeps taken, and the certificate

    Examples
    --------
    >>> import numpy as np
    >>> from research_lib.impact import LinearImpact
    >>> total = LinearImpact([1e-5, 2e-5, 4e-5]).total("cost")
    >>> x, sweeps, proof = exact_split(total, 700.0, (np.zeros(3), np.full(3, np.inf)))
    >>> x.round(6).tolist(), bool(proof.duality_gap < 1e-12)
    ([400.0, 200.0, 100.0], True)
    """
    smooth, steps = total.arrays
    x = np.empty(len(total))
    sweeps, found = _solve(shares, smooth, steps, bounds, max_sweeps, x)
    if abs(found[4] - shares) <= SUM_ROUNDING * shares:
        return x, sweeps, Certificate(*found)
    x = close_sum(x, shares, *bounds)  # out of sweeps
    return x, sweeps, certify_separable(x, total, shares, bounds)


def solve_many(total: SeparableTotal, shares: Float, bounds: Pair) -> tuple[Float, Float]:
    """The splits (m, n) of m orders, each over its own n of the total's intervals; certificates
    (m, 6).
    """
    x, found = np.zeros((len(shares), len(total) // len(shares))), np.zeros((len(shares), 6))
    _solve_many(shares, *total.arrays, bounds, x, found)
    return x, found


def certify_separable(x: Float, total: SeparableTotal, shares: float, bounds: Pair) -> Certificate:
    r"""How far `x`, (n,) shares, is from proven optimality, whoever found it.

    For any multiplier nu, by convexity, no split y costs less than

    .. math:: \nu S + \sum_t \min_{l_t \le y \le u_t} \big(C_t(y) - \nu y\big)

    Nothing here trusts a solver (Boyd and Vandenberghe 2004, section 5.5.1).
    """
    smooth, steps = total.arrays
    x = np.ascontiguousarray(x)
    _, _, _, highest, lowest = _totals(x, smooth, steps, bounds)
    nu = 0.5 * (highest + lowest)
    if highest - lowest > SAME_PRICE * abs(highest):
        # Any multiplier gives a valid bound, the optimum's the tightest.
        best = _solve(shares, smooth, steps, bounds, MAX_SWEEPS, np.empty(len(x)))[1][1]
        nu = best if math.isfinite(best) else nu
    return Certificate(*_judge(x, nu, shares, smooth, steps, bounds))


def close_sum(x: Float, shares: float, lower: Float, upper: Float) -> Float:
    """`x` moved inside its bounds to sum to `shares`: in proportion to what is traded, else to the
    room.
    """
    for _ in range(4):  # rounding, and orders that meet their cap, are closed by the next move
        short = shares - x.sum()
        room = upper - x if short > 0 else x - lower
        traded = np.minimum(x - lower, room)
        weights = traded if traded.sum() >= abs(short) else room
        if short == 0 or weights.sum() == 0:
            break
        x = np.clip(x + short * np.minimum(weights / weights.sum(), 1.0), lower, upper)
    return x


# Compiled: prices of one interval


@compiled
def _smooth_price(
    x: float, a: float, b: float, c: float, s: float, p: float
) -> tuple[float, float]:
    """a x + b x^2 + c x^3 + s x^p and its derivative. Numbers only: a call counts references to
    each array.
    """
    value = x * (a + x * (b + x * c))
    slope = a + x * (2.0 * b + 3.0 * c * x)
    if s != 0.0:
        if x > 0.0:
            rise = s * math.sqrt(x) if p == 1.5 else s * x ** (p - 1.0)
            value += rise * x
            slope += p * rise
        elif p < 1.0:
            slope = math.copysign(np.inf, s)
    return value, slope


@compiled
def _walk_price(x: float, t: int, steps: Pair) -> tuple[float, float, float]:
    """Cost of x shares of interval t's steps, prices of the last share and of the next; inf beyond
    the last step.
    """
    depth, premium = steps
    walked, before, last, following = 0.0, 0.0, premium[t, 0], np.inf
    for k in range(depth.shape[1]):
        if depth[t, k] == 0.0:
            continue
        if x > before or before == 0.0:  # nothing comes before the first share
            last = premium[t, k]
        if x < before + depth[t, k]:
            walked += premium[t, k] * (x - before)
            following = premium[t, k]
            break
        walked += premium[t, k] * depth[t, k]
        before += depth[t, k]
    if following == np.inf and x > before * (1.0 + 4.0 * EPSILON):
        walked = last = np.inf
    return walked, last, following


@compiled
def _price(x: float, t: int, smooth: Smooth, steps: Pair) -> tuple[float, float, float]:
    """C_t(x), its left and its right derivative; inf beyond the last step."""
    a, b, c, s, p = smooth
    value, slope = _smooth_price(x, a[t], b[t], c[t], s[t], p[t])
    if steps[0].shape[1] == 0:
        return value, slope, slope
    walked, last, following = _walk_price(x, t, steps)
    return value + walked, slope + last, slope + following


@compiled
def _root(excess: float, b: float, c: float, s: float, p: float) -> tuple[float, float]:
    """The x >= 0 with 2 b x + 3 c x^2 + s p x^(p - 1) = excess > 0, and dx / d excess.

    Where c is below 0 the answer is on the rising side; inf where no x of it reaches `excess`.
    """
    if s == 0.0:
        if c == 0.0:
            return 0.5 * excess / b, 0.5 / b
        under = b * b + 3.0 * c * excess
        if not under > 0.0:
            return np.inf, 0.0
        bend = math.sqrt(under)
        return excess / (b + bend), 0.5 / bend
    ratio = excess / (s * p)
    x = ratio * ratio if p == 1.5 else ratio ** (1.0 / (p - 1.0))
    if b == 0.0 and c == 0.0:
        return x, x / (excess * (p - 1.0))
    # Newton in logarithms, where the slope is convex: from the least of each term's own root it
    # only falls.
    x = min(x, excess / (b + math.sqrt(b * b + 3.0 * c * excess)))
    lift = 0.0
    for _ in range(MAX_NEWTON_STEPS):
        first, second = 2.0 * b * x, 3.0 * c * x * x
        third = s * p * (math.sqrt(x) if p == 1.5 else x ** (p - 1.0))
        slope, lift = first + second + third, first + 2.0 * second + (p - 1.0) * third
        step = math.log1p((slope - excess) / excess) * slope / lift
        x *= math.exp(-step)
        if abs(step) <= SAME_PRICE or x == 0.0:  # the next step would be its square
            break
    return x, x / lift


@compiled
def _respond(
    nu: float, a: float, b: float, c: float, s: float, p: float
) -> tuple[float, float, float, float, float]:
    """Least and most shares at the multiplier nu, without steps or bounds; d shares / d nu; jumps
    beside nu.

    Least and most differ where a marginal cost is nu over a stretch of shares.
    """
    if b == 0.0 and c == 0.0 and s == 0.0:
        least, most = np.inf if a < nu else 0.0, np.inf if a <= nu else 0.0
        return least, most, 0.0, a if a < nu else -np.inf, a if a > nu else np.inf
    x, response = _root(nu - a, b, c, s, p) if nu > a else (0.0, 0.0)
    return x, x, response, -np.inf, np.inf


@compiled
def _respond_stepped(
    nu: float, t: int, smooth: Smooth, steps: Pair
) -> tuple[float, float, float, float, float]:
    """`_respond` of interval t, whose steps are filled from the cheapest on."""
    a, b, c, s, p = smooth[0][t], smooth[1][t], smooth[2][t], smooth[3][t], smooth[4][t]
    depth, premium = steps
    flat = b == 0.0 and c == 0.0 and s == 0.0
    least, most, response, below, above = 0.0, 0.0, 0.0, -np.inf, np.inf
    for k in range(depth.shape[1]):
        price, size = a + premium[t, k], depth[t, k]
        if size == 0.0:
            continue
        if price > nu:
            above = price if flat else above
            break
        if flat:
            most += size
            least += size if price < nu else 0.0
            below = price if price < nu else below
            continue
        reach, grows = _root(nu - price, b, c, s, p) if price < nu else (0.0, 0.0)
        if reach < least + size:
            least, response = (reach, grows) if reach > least else (least, 0.0)
            break
        least += size
    return least, most if flat else least, response, below, above


# Compiled: all intervals


@compiled
def _sweep(
    nu: float, part: float, smooth: Smooth, steps: Pair, bounds: Pair, x: Float
) -> tuple[float, float, float, float, float]:
    """Optimal shares at nu into `x`, `part` of the way from the least to the most of them.

    Returns the sums of the least and of the most, d sum / d nu, and the nearest jumps below and
    above nu.
    """
    a, b, c, s, p = smooth
    (lower, upper), stepped = bounds, steps[0].shape[1] > 0
    least_sum, most_sum, slope, below, above = 0.0, 0.0, 0.0, -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        block_least, block_most, block_slope = 0.0, 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            if stepped:
                least, most, response, down, up = _respond_stepped(nu, t, smooth, steps)
            else:
                least, most, response, down, up = _respond(nu, a[t], b[t], c[t], s[t], p[t])
            block_slope += response if lower[t] < least < upper[t] else 0.0
            least, most = min(max(least, lower[t]), upper[t]), min(max(most, lower[t]), upper[t])
            x[t] = least + part * (most - least) if part < 1.0 else most
            block_least += least
            block_most += most
            below, above = max(below, down), min(above, up)
        least_sum += block_least
        most_sum += block_most
        slope += block_slope
    return least_sum, most_sum, slope, below, above


@compiled
def _is_plain(smooth: Smooth, steps: Pair) -> bool:
    """Whether marginal costs are straight lines that rise: a million intervals then read half of
    the memory.
    """
    _, b, c, s, _ = smooth
    if steps[0].shape[1] > 0:
        return False
    plain = True
    for t in range(len(b)):
        plain &= b[t] > 0.0 and c[t] == 0.0 and s[t] == 0.0
    return plain


@compiled
def _sweep_plain(nu: float, a: Float, b: Float, bounds: Pair) -> tuple[float, float]:
    """Sum of the optimal shares at nu and d sum / d nu, where marginal costs are straight lines."""
    lower, upper = bounds
    filled, slope = 0.0, 0.0
    for start in range(0, len(a), BLOCK):
        block_filled, block_slope = 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(a))):
            response = 0.5 / b[t]
            x = (nu - a[t]) * response
            block_slope += response if lower[t] < x < upper[t] else 0.0
            block_filled += min(max(x, lower[t]), upper[t])
        filled += block_filled
        slope += block_slope
    return filled, slope


@compiled
def _first_multiplier(shares: float, smooth: Smooth, steps: Pair, straight: bool) -> float:
    """Newton's first step from equal shares without bounds: marginal costs weighted by 1 /
    curvature.
    """
    a, b, c, s, p = smooth
    x, stepped = shares / len(b), steps[0].shape[1] > 0
    weights, weighted, plain, known = 0.0, 0.0, 0.0, 0
    for t in range(len(b)):
        if straight:
            weights += 0.5 / b[t]
            weighted += 0.5 * a[t] / b[t] + x
            continue
        slope = _smooth_price(x, a[t], b[t], c[t], s[t], p[t])[1]
        slope += _walk_price(x, t, steps)[1] if stepped else 0.0
        curvature = 2.0 * b[t] + 6.0 * c[t] * x
        if s[t] != 0.0:
            bend = 1.0 / math.sqrt(x) if p[t] == 1.5 else x ** (p[t] - 2.0)
            curvature += s[t] * p[t] * (p[t] - 1.0) * bend
        if math.isfinite(slope):
            plain, known = plain + slope, known + 1
            if 0.0 < curvature < np.inf:
                weights += 1.0 / curvature
                weighted += slope / curvature
    return weighted / weights if 0.0 < weights < np.inf else plain / max(known, 1)


@compiled
def _price_range(smooth: Smooth, steps: Pair, bounds: Pair) -> tuple[float, float]:
    """Multipliers at which all intervals are surely at their floors, and at their caps."""
    low, high = np.inf, -np.inf
    for t in range(len(bounds[0])):
        low = min(low, _price(bounds[0][t], t, smooth, steps)[1])
        high = max(high, _price(bounds[1][t], t, smooth, steps)[1])
    pad = SAME_PRICE * (abs(low) + abs(high)) + 1e-300
    return low - pad, high + pad


@compiled
def _between(low: float, high: float, at_low: float, at_high: float, missing: float) -> float:
    """A multiplier inside (low, high): by interpolation, or halfway, geometrically if they are far
    apart.
    """
    if missing > 0.0:
        return low + (high - low) * missing / (at_high - at_low)
    if low > 0.0 and high > 4.0 * low:
        return math.sqrt(low) * math.sqrt(high)
    return low + 0.5 * (high - low)


@compiled
def _search(
    shares: float, smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float, plain: bool
) -> tuple[float, float, float, int]:
    """Bracket (low, high) of the multiplier, the part of the way between its ends, and the sweeps.

    low == high where the sum is met at one multiplier, or within its jump.
    """
    low, high, at_low, at_high = -np.inf, np.inf, np.nan, np.nan
    above_low, below_high = -np.inf, np.inf  # jumps next to the ends, if they lie inside
    tolerance, nudge, previous, run = 4.0 * EPSILON * shares, 4.0 * EPSILON, np.inf, 0
    nu = swept = _first_multiplier(shares, smooth, steps, plain)
    for sweeps in range(1, limit + 1):
        swept = nu
        if plain:
            least, slope = _sweep_plain(nu, smooth[0], smooth[1], bounds)
            most, below, above = least, -np.inf, np.inf
        else:
            least, most, slope, below, above = _sweep(nu, 0.0, smooth, steps, bounds, x)
        if least - tolerance <= shares <= most + tolerance:
            part = (shares - least) / (most - least) if most > least else 0.0
            return nu, nu, min(max(part, 0.0), 1.0), sweeps
        excess = least - shares if shares < least else shares - most
        step, tiny = excess / slope if 0.0 < slope < np.inf else np.inf, nudge * abs(nu)
        slow, previous = excess > 0.5 * previous, excess
        if step < tiny:  # the sum's own rounding, or a multiplier that floats resolve no finer
            step, nudge, previous = tiny, 4.0 * nudge, np.inf
        if shares > most:
            low, at_low, above_low, run = nu, most, above, max(run, 0) + 1
            trial, blocked = nu + step, nu + step >= above
        else:
            high, at_high, below_high, run = nu, least, below, min(run, 0) - 1
            trial, blocked = nu - step, nu - step <= below
        if blocked or slow or not low < trial < high:
            if math.isnan(at_low) or math.isnan(at_high):
                first, last = _price_range(smooth, steps, bounds)
                low, at_low = (
                    (min(first, high), bounds[0].sum()) if math.isnan(at_low) else (low, at_low)
                )
                high, at_high = (
                    (max(last, low), bounds[1].sum()) if math.isnan(at_high) else (high, at_high)
                )
            trial = _between(
                low, high, at_low, at_high, 0.0 if slow or abs(run) > 1 else shares - at_low
            )
            trial = above_low if low < above_low < high and trial < above_low else trial
            trial = below_high if low < below_high < high and trial > below_high else trial
        narrow = math.isfinite(high - low) and high - low <= 8.0 * EPSILON * max(
            abs(low), abs(high)
        )
        if narrow or not low < trial < high:
            return (
                low,
                high,
                (shares - at_low) / (at_high - at_low) if at_high > at_low else 0.0,
                sweeps,
            )
        nu = trial
    return swept, swept, 0.0, limit


@compiled
def _solve(
    shares: float, smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float
) -> tuple[int, Judged]:
    """Optimal shares into `x` (n,); the sweeps taken, and `_judge` of them."""
    lower, upper = bounds
    nu, sweeps = np.nan, 0
    if shares >= upper.sum() * (1.0 - EPSILON):
        x[:] = upper
    elif shares <= lower.sum() * (1.0 + EPSILON):
        x[:] = lower
    else:
        plain = _is_plain(smooth, steps)
        nu, high, part, sweeps = _search(shares, smooth, steps, bounds, limit, x, plain)
        if nu < high:
            other = np.empty(len(x))
            _sweep(nu, 1.0, smooth, steps, bounds, x)
            _sweep(high, 0.0, smooth, steps, bounds, other)
            for t in range(len(x)):
                x[t] = min(max(x[t] + part * (other[t] - x[t]), lower[t]), upper[t])
        elif plain or part > 0.0:
            _sweep(nu, part, smooth, steps, bounds, x)
        _level(shares, bounds, x)
    return sweeps, _judge(x, nu, shares, smooth, steps, bounds)


@compiled
def _level(shares: float, bounds: Pair, x: Float) -> None:
    """Where all child orders are equal to rounding, as of equal curves, make them S / n: TWAP to
    the last digit.
    """
    equal = shares / len(x)
    for t in range(len(x)):
        if abs(x[t] - equal) > 8.0 * EPSILON * equal or not bounds[0][t] <= equal <= bounds[1][t]:
            return
    x[:] = equal


@compiled
def _totals(
    x: Float, smooth: Smooth, steps: Pair, bounds: Pair
) -> tuple[float, float, float, float, float]:
    """Cost, sum, worst miss of a bound, and the prices that decide whether x is optimal.

    They are the highest price of a last share that could be left out and the lowest of a next one
    that could be added: where they do not cross, any price between them leaves no gap.
    """
    a, b, c, s, p = smooth
    (lower, upper), stepped = bounds, steps[0].shape[1] > 0
    cost, filled, outside, highest, lowest = 0.0, 0.0, 0.0, -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        block_cost, block_filled = 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            value, last = _smooth_price(x[t], a[t], b[t], c[t], s[t], p[t])
            following = last
            if stepped:
                value, last, following = _price(x[t], t, smooth, steps)
            block_cost += value
            block_filled += x[t]
            outside = max(outside, lower[t] - x[t], x[t] - upper[t])
            highest = max(highest, last) if x[t] > lower[t] else highest
            lowest = min(lowest, following) if x[t] < upper[t] else lowest
        cost += block_cost
        filled += block_filled
    return cost, filled, outside, highest, lowest


@compiled
def _judge(x: Float, nu: float, shares: float, smooth: Smooth, steps: Pair, bounds: Pair) -> Judged:
    """The numbers of a `Certificate`, its gap that at `nu` where prices cross.

    By convexity an interval can save no more than what its price errs by, times the way to its best
    shares at nu.
    """
    a, b, c, s, p = smooth
    (lower, upper), stepped = bounds, steps[0].shape[1] > 0
    cost, filled, outside, highest, lowest = _totals(x, smooth, steps, bounds)
    if highest <= lowest:
        nu = lowest if math.isfinite(lowest) else highest
        return cost, nu, 0.0, 0.0, filled, outside
    if math.isnan(nu):
        nu = 0.5 * (highest + lowest)
    unit, gap, residual = max(abs(nu), SAME_PRICE * abs(cost) / shares), 0.0, 0.0
    unit = unit if unit > 0.0 else 1.0
    for t in range(len(x)):
        last = _smooth_price(x[t], a[t], b[t], c[t], s[t], p[t])[1]
        following = last
        if stepped:
            _, last, following = _price(x[t], t, smooth, steps)
        down = last > nu and x[t] > lower[t]
        error = last - nu if down else nu - following
        if not (down or (following < nu and x[t] < upper[t])):
            continue
        if stepped:
            least, most = _respond_stepped(nu, t, smooth, steps)[:2]
        else:
            least, most = _respond(nu, a[t], b[t], c[t], s[t], p[t])[:2]
        best = min(max(min(max(x[t], least), most), lower[t]), upper[t])
        if best != x[t]:
            gap += error * abs(x[t] - best)
            residual = max(residual, min(error / unit, abs(x[t] - best) * len(x) / shares))
    return cost, nu, residual, gap / (abs(cost) if cost != 0.0 else 1.0), filled, outside


@compiled
def _solve_many(
    shares: Float, smooth: Smooth, steps: Pair, bounds: Pair, x: Float, found: Float
) -> None:
    """`_solve` for m problems of n intervals that stand one after another, into `x` (m, n) and
    `found` (m, 6).
    """
    a, b, c, s, p = smooth
    for i in range(len(shares)):
        own = slice(i * x.shape[1], (i + 1) * x.shape[1])
        part = (a[own], b[own], c[own], s[own], p[own])
        part_steps, part_bounds = (steps[0][own], steps[1][own]), (bounds[0][own], bounds[1][own])
        judged = _solve(shares[i], part, part_steps, part_bounds, MAX_SWEEPS, x[i])[1]
        for j in range(6):
            found[i, j] = judged[j]


# Compiled: whole lots
#
# Lots of one interval get more expensive one by one (the total is convex), so the cheapest K of all
# lots are taken
# in order within each interval: greedy is optimal. Whatever the multiplier nu, lots above nu are
# taken only after
# those below it: the greedy set is reached from there by a few exchanges, about one an interval at
# the optimum's nu.


@compiled
def _lot_cost(k: int, t: int, lot: float, smooth: Smooth, steps: Pair) -> float:
    """What lot k of interval t, counted from 0, adds to its cost."""
    return _price((k + 1) * lot, t, smooth, steps)[0] - _price(k * lot, t, smooth, steps)[0]


@compiled
def round_to_lots(
    x: Float,
    nu: float,
    lot: float,
    count: int,
    range_: tuple[Lots, Lots],
    smooth: Smooth,
    steps: Pair,
) -> Lots:
    """The cheapest `count` lots within their range, (n,): begun from the lots in x that nu pays
    for.
    """
    low, high = range_
    lots = np.empty(len(x), np.int64)
    for t in range(len(x)):
        k = min(max(int(x[t] / lot), low[t]), high[t])
        while k < high[t] and _lot_cost(k, t, lot, smooth, steps) < nu * lot:
            k += 1
        while k > low[t] and _lot_cost(k - 1, t, lot, smooth, steps) > nu * lot:
            k -= 1
        lots[t] = k
    missing = count - lots.sum()
    step = 1 if missing > 0 else -1
    heap = [(0.0, 0) for _ in range(0)]
    for taken in range(-len(x), abs(missing)):
        t = (
            taken + len(x) if taken < 0 else heapq.heappop(heap)[1]
        )  # each interval offers its next lot first
        lots[t] += step if taken >= 0 else 0
        if step > 0 and lots[t] < high[t]:
            heapq.heappush(heap, (_lot_cost(lots[t], t, lot, smooth, steps), t))
        elif step < 0 and lots[t] > low[t]:
            heapq.heappush(heap, (-_lot_cost(lots[t] - 1, t, lot, smooth, steps), t))
    return lots


@compiled
def place_odd_lot(
    lots: Lots, odd: float, lot: float, high: Lots, smooth: Smooth, steps: Pair, bounds: Pair
) -> tuple[int, int, int]:
    """Where `odd` shares, less than a lot, are cheapest beside optimal `lots`; of an `odd` below
    0, lots are one over.

    In that interval they stand beside its lots, or beside one lot less, and that lot goes to the
    cheapest other interval: with the odd shares there, marginal costs of lots move by at most one
    lot. Returns the interval, -1 if none admits them, the one that gives a lot and the one that
    takes it, -1 if none.
    """
    over, odd = odd < 0.0, abs(odd)
    first, second, least, less = -1, -1, np.inf, np.inf
    for t in range(len(lots)):
        price = _lot_cost(lots[t], t, lot, smooth, steps) if lots[t] < high[t] else np.inf
        if price < least:
            first, second, least, less = t, first, price, least
        elif price < less:
            second, less = t, price
    best, chosen, gives, takes, tiny = np.inf, -1, -1, -1, 1e-9 * lot
    for t in range(len(lots)):
        now = _price(lots[t] * lot, t, smooth, steps)[0]
        if not over and lots[t] * lot + odd <= bounds[1][t] + tiny:
            added = _price(lots[t] * lot + odd, t, smooth, steps)[0] - now
            if added < best:
                best, chosen, gives, takes = added, t, -1, -1
        if lots[t] >= 1 and (lots[t] - 1) * lot + odd >= bounds[0][t] - tiny:
            other, price = (second, less) if t == first else (first, least)
            added = _price((lots[t] - 1) * lot + odd, t, smooth, steps)[0] - now
            added += 0.0 if over else price
            if added < best:
                best, chosen, gives, takes = added, t, t, -1 if over else other
    return chosen, gives, takes

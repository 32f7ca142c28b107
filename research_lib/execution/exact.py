r"""Exact split of a separable convex total by its multiplier, and the certificate of a split.

.. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

At the optimum x_t = clip(shares_at_marginal_t(nu), l_t, u_t) for one multiplier nu, and the sum of
the right-hand side rises with nu (water-filling: Boyd and Vandenberghe 2004, section 5.5.3). nu is
found by Newton's method inside a shrinking bracket. Where the sum jumps (linear totals, steps of a
book) the two sides are mixed, in proportion to the room of each interval.

All compiled code of allocations is in this file. Arrays come in tuples: smooth (a, b, c, s,
p), (n,) each, and steps (depth, premium), (n, K) each, with the letters of
:class:`research_lib.impact.SeparableTotal`; bounds (lower, upper), (n,) each. Where every marginal
cost is a rising line, the usual case, steps are (0, 0) and the loops `_lines` are vectorised.
"""

import math
from typing import NamedTuple

import numpy as np

from research_lib.checks import Float
from research_lib.compiling import compiled, vectorised
from research_lib.impact import SeparableTotal

Pair = tuple[Float, Float]
Three = tuple[float, float, float]
Values = tuple[float, ...]
Smooth = tuple[Float, Float, Float, Float, Float]

EPSILON = float(np.finfo(float).eps)
MAX_SWEEPS, MAX_NEWTON_STEPS = 500, 60
SUM_ROUNDING = 1e-12  # of the order: rounding error of the sum of n shares
SAME_PRICE = 1e-9
PRICE_ROUNDING = 4.0 * EPSILON  # of the multiplier: rounding error of a price at it
SAMPLE = 1_000  # evenly spaced intervals, of very many, that give the first multiplier


class Certificate(NamedTuple):
    """Distance of a split from proven optimality.

    Attributes
    ----------
    cost : float
        The objective, currency.
    multiplier : float
        nu, the cost of the next share, currency per share (under "impact": per share of the sum).
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


def exact_split(
    total: SeparableTotal, shares: float, bounds: Pair, max_sweeps: int = MAX_SWEEPS
) -> tuple[Float, int, Certificate]:
    """The optimal split of S = `shares` between finite bounds that admit it.

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
    >>> x, sweeps, proof = exact_split(total, 700.0, (np.zeros(3), np.full(3, 700.0)))
    >>> x.round(6).tolist(), bool(proof.duality_gap < 1e-12)
    ([400.0, 200.0, 100.0], True)
    """
    x = np.empty(len(total))
    sweeps, found = _solve(shares, *total.arrays, bounds, max_sweeps, x)
    if abs(found[4] - shares) <= SUM_ROUNDING * shares:
        return x, sweeps, Certificate(*found)
    x = close_sum(x, shares, *bounds)  # out of sweeps
    return x, sweeps, certify_separable(x, total, shares, bounds)


def solve_many(total: SeparableTotal, shares: Float, bounds: Pair) -> tuple[Float, Float]:
    """The splits (m, n) of m orders, each over its own n of the total's intervals; certificates
    (m, 6).
    """
    x, found = np.zeros((len(shares), len(total) // len(shares))), np.zeros((len(shares), 6))
    for i, order in enumerate(shares.tolist()):
        own = slice(i * x.shape[1], (i + 1) * x.shape[1])
        parts = (tuple(part[own] for part in parts) for parts in (*total.arrays, bounds))
        found[i] = _solve(order, *parts, MAX_SWEEPS, x[i])[1]
    return x, found


def certify_separable(x: Float, total: SeparableTotal, shares: float, bounds: Pair) -> Certificate:
    r"""How far `x`, (n,) shares, is from proven optimality, whatever solver found it.

    For any multiplier nu, by convexity, no split y costs less than

    .. math:: \nu S + \sum_t \min_{l_t \le y \le u_t} \big(C_t(y) - \nu y\big)

    which is tightest at the multiplier of the optimum. No solver is trusted (Boyd and Vandenberghe
    2004, section 5.5.1).
    """
    arrays, x = (*total.arrays, bounds), np.ascontiguousarray(x)
    nu = _solve(shares, *arrays, MAX_SWEEPS, np.empty(len(x)))[1][1]
    return Certificate(*_judge(x, nu, shares, *arrays))


def close_sum(x: Float, shares: float, lower: Float, upper: Float) -> Float:
    """`x` moved inside its bounds to sum to `shares`, in proportion to the trades, else to the
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


# Compiled: prices and shares of one interval. Functions without steps take numbers only: a call
# counts references to each of its arrays, which takes ten times as long as the arithmetic.


@compiled
def _price(x: float, t: int, smooth: Smooth, steps: Pair) -> Three:
    """C_t(x), prices of the last share and of the next; inf beyond the last step."""
    a, b, c, s, p = smooth[0][t], smooth[1][t], smooth[2][t], smooth[3][t], smooth[4][t]
    depth, premium = steps
    value, slope = x * (a + x * (b + x * c)), a + x * (2.0 * b + 3.0 * c * x)
    if s != 0.0 and x > 0.0:
        rise = s * x ** (p - 1.0)
        value += rise * x
        slope += p * rise
    if depth.shape[1] == 0:
        return value, slope, slope
    before, last, following = 0.0, premium[t, 0], np.inf
    for k in range(depth.shape[1]):
        if depth[t, k] == 0.0:
            continue
        if x > before or before == 0.0:  # nothing comes before the first share
            last = premium[t, k]
        if x < before + depth[t, k]:
            value += premium[t, k] * (x - before)
            following = premium[t, k]
            break
        value += premium[t, k] * depth[t, k]
        before += depth[t, k]
    if following == np.inf and x > before * (1.0 + 4.0 * EPSILON):
        value = last = np.inf
    return value, slope + last, slope + following


@compiled
def _power_root(excess: float, b: float, c: float, s: float, p: float) -> tuple[float, float]:
    """The x >= 0 with 2 b x + 3 c x^2 + s p x^(p - 1) = excess > 0, and dx / d excess."""
    x = (excess / (s * p)) ** (1.0 / (p - 1.0))
    if b == 0.0 and c == 0.0:
        return x, x / (excess * (p - 1.0))
    # Newton in logarithms, where the slope is convex: from the least of each term's own root it
    # only falls.
    x = min(x, excess / (b + math.sqrt(b * b + 3.0 * c * excess)))
    lift = 0.0
    for _ in range(MAX_NEWTON_STEPS):
        first, second, third = 2.0 * b * x, 3.0 * c * x * x, s * p * x ** (p - 1.0)
        slope, lift = first + second + third, first + 2.0 * second + (p - 1.0) * third
        step = math.log1p((slope - excess) / excess) * slope / lift
        x *= math.exp(-step)
        if abs(step) <= SAME_PRICE or x == 0.0:  # the next step would be its square
            break
    return x, x / lift


@compiled
def _respond(nu: float, a: float, b: float, c: float, s: float, p: float) -> Three:
    """Least and most shares at the multiplier nu, without steps or bounds, and d shares / d nu.

    Least and most differ where the marginal cost equals nu over a range of shares. Where c is below
    0 they are on the rising side; inf where the marginal cost never reaches nu.
    """
    excess = max(nu - a, 0.0)
    if s != 0.0:
        x, grows = _power_root(excess, b, c, s, p) if excess > 0.0 else (0.0, 0.0)
        return x, x, grows
    if b == 0.0 and c == 0.0:
        return np.inf if excess > 0.0 else 0.0, np.inf if a <= nu else 0.0, 0.0
    if excess == 0.0:
        return 0.0, 0.0, 0.0
    bend = b if c == 0.0 else math.sqrt(max(b * b + 3.0 * c * excess, 0.0))
    x = excess / (b + bend) if bend > 0.0 else np.inf
    return x, x, 0.5 / bend if bend > 0.0 else 0.0


@compiled
def _respond_stepped(nu: float, t: int, smooth: Smooth, steps: Pair) -> Three:
    """`_respond` of interval t with steps: each is taken as far as step plus smooth part cost less
    than nu.
    """
    a, b, c, s, p = smooth[0][t], smooth[1][t], smooth[2][t], smooth[3][t], smooth[4][t]
    depth, premium = steps
    least, most, response = 0.0, 0.0, 0.0
    for k in range(depth.shape[1]):
        low, high, grows = _respond(nu, a + premium[t, k], b, c, s, p)
        if least < low < least + depth[t, k]:
            response = grows
        most = max(most, min(high, most + depth[t, k]))
        least = max(least, min(low, least + depth[t, k]))
    return least, most, response


# Compiled: all intervals


@vectorised
def _sums(lower: Float, upper: Float) -> tuple[float, float]:
    """Sums of the floors and of the caps."""
    least, most = 0.0, 0.0
    for t in range(len(lower)):
        least += lower[t]
        most += upper[t]
    return least, most


@vectorised
def _sweep_lines(nu: float, a: Float, b: Float, bounds: Pair) -> Three:
    """`_sweep` for rising lines, where exactly one number of shares is optimal at nu."""
    filled, slope, (lower, upper) = 0.0, 0.0, bounds
    for t in range(len(a)):
        response = 0.5 / b[t]
        x = (nu - a[t]) * response
        slope += response if lower[t] < x < upper[t] else 0.0
        filled += min(max(x, lower[t]), upper[t])
    return filled, filled, slope


@compiled
def _sweep(nu: float, smooth: Smooth, steps: Pair, bounds: Pair) -> Three:
    """Sums of the least and of the most shares that are optimal at nu, and d sum / d nu."""
    a, b, c, s, p = smooth
    (lower, upper), stepped = bounds, steps[0].shape[1] > 0
    least_sum, most_sum, slope = 0.0, 0.0, 0.0
    if len(steps[0]) == 0:
        return _sweep_lines(nu, a, b, bounds)
    for t in range(len(lower)):
        if stepped:
            least, most, response = _respond_stepped(nu, t, smooth, steps)
        else:
            least, most, response = _respond(nu, a[t], b[t], c[t], s[t], p[t])
        slope += response * ((least > lower[t]) & (least < upper[t]))
        least_sum += min(max(least, lower[t]), upper[t])
        most_sum += min(max(most, lower[t]), upper[t])
    return least_sum, most_sum, slope


@compiled
def _fill(
    low: float, high: float, part: float, smooth: Smooth, steps: Pair, bounds: Pair, x: Float
) -> None:
    """Shares into `x`, `part` of the way between the two sides of the multiplier's bracket."""
    a, b, c, s, p = smooth
    (lower, upper), lines, stepped = bounds, len(steps[0]) == 0, steps[0].shape[1] > 0
    for t in range(len(x)):
        if lines:
            least = most = (low - a[t]) * (0.5 / b[t])
            above = (high - a[t]) * (0.5 / b[t])
        elif stepped:
            least, most, _ = _respond_stepped(low, t, smooth, steps)
            above = _respond_stepped(high, t, smooth, steps)[0] if low < high else most
        else:
            least, most, _ = _respond(low, a[t], b[t], c[t], s[t], p[t])
            above = _respond(high, a[t], b[t], c[t], s[t], p[t])[0] if low < high else most
        least = min(max(most if low < high else least, lower[t]), upper[t])
        above = min(max(above, lower[t]), upper[t])
        x[t] = least + part * (above - least) if part < 1.0 else above


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
def _search(
    nu: float, shares: float, smooth: Smooth, steps: Pair, bounds: Pair, limit: int
) -> tuple[float, float, float, int]:
    """Bracket (low, high) of the multiplier, the part of the way between its ends, and the sweeps,
    from the multiplier nu on.

    low == high where the sum is met at one multiplier, or within its jump.
    """
    low, high, (at_low, at_high) = -np.inf, np.inf, _sums(*bounds)
    tolerance, previous = (4.0 + math.sqrt(len(bounds[0]))) * EPSILON * shares, np.inf
    for sweeps in range(1, limit + 1):
        least, most, slope = _sweep(nu, smooth, steps, bounds)
        if least - tolerance <= shares <= most + tolerance:
            part = (shares - least) / (most - least) if most > least else 0.0
            return nu, nu, min(max(part, 0.0), 1.0), sweeps
        missing = shares - most if most < shares else shares - least
        if missing > 0.0:
            low, at_low = nu, most
        else:
            high, at_high = nu, least
        trial = nu + missing / slope if slope > 0.0 else np.nan
        if abs(missing) > 0.5 * previous or not low < trial < high:
            if not math.isfinite(high - low):
                first, last = _price_range(smooth, steps, bounds)
                low, high = max(low, min(first, high)), min(high, max(last, low))
            trial = low + 0.5 * (high - low)
            if low < 0.0 < high:  # free liquidity is met exactly there
                trial = 0.0
            elif low > 0.0 and high > 4.0 * low:  # far apart
                trial = math.sqrt(low) * math.sqrt(high)
        previous = abs(missing)
        if not low < trial < high:  # no number in between: the sum jumps here
            part = (shares - at_low) / (at_high - at_low) if at_high > at_low else 0.0
            return low, high, part, sweeps
        nu = trial
    return nu, nu, 0.0, limit


@compiled
def _first_price(shares: float, smooth: Smooth, steps: Pair) -> float:
    """The first multiplier: mean marginal cost of equal shares, where known; of very many intervals
    that of a sample.
    """
    n, price, known = len(smooth[0]), 0.0, 0
    for t in range(0, n, n // SAMPLE + 1):
        last = _price(shares / n, t, smooth, steps)[1]
        if math.isfinite(last):
            price, known = price + last, known + 1
    return price / max(known, 1)


@compiled
def _solve(
    shares: float, smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float
) -> tuple[int, Values]:
    """Optimal shares into `x` (n,); the sweeps taken, and `_judge` of them."""
    (lower, upper), (least, most) = bounds, _sums(*bounds)
    nu, sweeps, equal = np.nan, 0, shares / len(x)
    if shares >= most * (1.0 - EPSILON):
        x[:] = upper
    elif shares <= least * (1.0 + EPSILON):
        x[:] = lower
    else:
        nu = _first_price(shares, smooth, steps)
        nu, high, part, sweeps = _search(nu, shares, smooth, steps, bounds, limit)
        _fill(nu, high, part, smooth, steps, bounds, x)
        # Where all are equal up to rounding, as for equal curves, they are TWAP to the last digit.
        near, t = (8.0 + len(x)) * EPSILON * equal, 0  # rounding error of their sum
        while t < len(x) and abs(x[t] - equal) <= near and lower[t] <= equal <= upper[t]:
            t += 1
        if t == len(x):
            x[:] = equal
    return sweeps, _judge(x, nu, shares, smooth, steps, bounds)


@vectorised
def _prices_lines(x: Float, a: Float, b: Float, bounds: Pair) -> Values:
    """For rising lines: cost and sum of the shares, largest distance beyond a bound, highest price
    of a removable share, lowest price of an addable one.
    """
    cost, filled, outside, highest, lowest = 0.0, 0.0, 0.0, -np.inf, np.inf
    lower, upper = bounds
    for t in range(len(x)):
        bend, last = b[t] * x[t], a[t] + 2.0 * b[t] * x[t]
        cost += x[t] * (a[t] + bend)
        filled += x[t]
        outside = max(outside, max(lower[t] - x[t], x[t] - upper[t]))
        highest = max(highest, last if x[t] > lower[t] else -np.inf)
        lowest = min(lowest, last if x[t] < upper[t] else np.inf)
    return cost, filled, outside, highest, lowest


@compiled
def _judge(x: Float, nu: float, shares: float, smooth: Smooth, steps: Pair, bounds: Pair) -> Values:
    """The numbers of a `Certificate`.

    If no removable share costs more than the cheapest addable one, any price between the two leaves
    no gap. Otherwise, by convexity, an interval can save at most the error of its price at nu times
    the distance to its best shares at nu.
    """
    (a, b, c, s, p), (lower, upper) = smooth, bounds
    cost, filled, outside, highest, lowest = 0.0, 0.0, 0.0, -np.inf, np.inf
    if len(steps[0]) == 0:
        cost, filled, outside, highest, lowest = _prices_lines(x, a, b, bounds)
    for t in range(len(steps[0])):
        value, last, following = _price(x[t], t, smooth, steps)
        cost += value
        filled += x[t]
        outside = max(outside, lower[t] - x[t], x[t] - upper[t])
        highest = max(highest, last if x[t] > lower[t] else -np.inf)
        lowest = min(lowest, following if x[t] < upper[t] else np.inf)
    gap, residual, unit = 0.0, 0.0, abs(nu) if nu != 0.0 else 1e-300
    if highest <= lowest:  # NaN where the bounds leave no share to be added or left out
        nu = lowest if math.isfinite(lowest) else highest if math.isfinite(highest) else np.nan
    elif max(highest - nu, nu - lowest) > PRICE_ROUNDING * unit:
        for t in range(len(x)):
            _, last, following = _price(x[t], t, smooth, steps)
            too_high = last - nu if x[t] > lower[t] else 0.0
            error = max(too_high, nu - following if x[t] < upper[t] else 0.0)
            if error > PRICE_ROUNDING * unit:
                least, most, _ = _respond(nu, a[t], b[t], c[t], s[t], p[t])
                if steps[0].shape[1] > 0:
                    least, most, _ = _respond_stepped(nu, t, smooth, steps)
                best = min(max(min(max(x[t], least), most), lower[t]), upper[t])
                gap += error * abs(x[t] - best)
                residual = max(residual, min(error / unit, abs(x[t] - best) * len(x) / shares))
    return cost, nu, residual, gap / (abs(cost) if cost != 0.0 else 1.0), filled, outside

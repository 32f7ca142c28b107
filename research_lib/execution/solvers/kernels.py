r"""The compiled core: prices of a separable total, its optimum by the multiplier, and the certificate.

At the optimum x_t = clip(shares_at_marginal_t(nu), l_t, u_t) for one nu, and the sum of the
right-hand side rises with nu. The search is Newton's, inside a shrinking bracket. Where the
sum jumps (linear totals, steps of a book) the jump itself is tried, and its two sides are
mixed: shares at the same price are split in proportion to the room they have.

Arrays of a problem come in three tuples: smooth (linear, quadratic, cubic, scale, power), (n,)
each; steps (depth, premium), (n, K) each; bounds (lower, upper), (n,) each. See
:class:`research_lib.impact.totals.SeparableTotal` for the equation. All kernels stand in one
file, for numba's cache does not see a change in another one; inner functions take numbers
only, for a call counts references to each array it is given.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Smooth = tuple[Float, Float, Float, Float, Float]
Pair = tuple[Float, Float]
Swept = tuple[float, float, float, float, float]

compiled = njit(cache=True, nogil=True, error_model="numpy")
EPSILON = float(np.finfo(float).eps)
BLOCK = 1024  # sums are taken in blocks: a plain running sum of a million loses three digits
LONGEST_ROOT = 60
PAD = 1e-9


@compiled
def _smooth_price(x: float, a: float, b: float, c: float, s: float, p: float) -> tuple[float, float]:
    """a x + b x^2 + c x^3 + s x^p and its derivative."""
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
def price_all(x: Float, smooth: Smooth, steps: Pair) -> tuple[Float, Float, Float]:
    """C_t(x_t), its left and its right derivative, (n,) each; all inf beyond the last step."""
    a, b, c, s, p = smooth
    depth, premium = steps
    value, slope = np.empty(len(x)), np.empty(len(x))
    for t in range(len(x)):
        value[t], slope[t] = _smooth_price(x[t], a[t], b[t], c[t], s[t], p[t])
    if depth.shape[1] == 0:
        return value, slope, slope
    last, following = slope.copy(), slope.copy()
    for t in range(len(x)):
        walked, before, step_last, step_next = 0.0, 0.0, premium[t, 0], np.inf
        for k in range(depth.shape[1]):
            if depth[t, k] == 0.0:
                continue
            if x[t] > before or before == 0.0:  # nothing comes before the first share
                step_last = premium[t, k]
            if x[t] < before + depth[t, k]:
                walked += premium[t, k] * (x[t] - before)
                step_next = premium[t, k]
                break
            walked += premium[t, k] * depth[t, k]
            before += depth[t, k]
        if step_next == np.inf and x[t] > before * (1.0 + 4.0 * EPSILON):
            walked = step_last = np.inf
        value[t], last[t], following[t] = value[t] + walked, slope[t] + step_last, slope[t] + step_next
    return value, last, following


@compiled
def _root(excess: float, b: float, c: float, s: float, p: float, guess: float) -> tuple[float, float]:
    """The x >= 0 with 2 b x + 3 c x^2 + s p x^(p - 1) = excess > 0, and dx / d excess.

    Mixed powers by Newton in logarithms, where the slope is convex: from any side the
    first step lands beyond the root, and from there it only falls. `guess` may be 0.
    """
    if s == 0.0:
        if c == 0.0:
            return 0.5 * excess / b, 0.5 / b
        bend = math.sqrt(b * b + 3.0 * c * excess)
        return excess / (b + bend), 0.5 / bend
    ratio = excess / (s * p)
    alone = ratio * ratio if p == 1.5 else ratio ** (1.0 / (p - 1.0))
    if b == 0.0 and c == 0.0:
        return alone, alone / (excess * (p - 1.0))
    x = guess if guess > 0.0 else min(alone, excess / (b + math.sqrt(b * b + 3.0 * c * excess)))
    response = 0.0
    for _ in range(LONGEST_ROOT):
        first, second = 2.0 * b * x, 3.0 * c * x * x
        third = s * p * (math.sqrt(x) if p == 1.5 else x ** (p - 1.0))
        slope, lift = first + second + third, first + 2.0 * second + (p - 1.0) * third
        response = x / lift
        ratio = slope / excess
        small = ratio - 1.0
        log_ratio = small * (1.0 - small * (0.5 - small / 3.0)) if abs(small) < 1e-6 else math.log(ratio)
        step = log_ratio * slope / lift
        x *= 1.0 - step * (1.0 - 0.5 * step) if abs(step) < 1e-6 else math.exp(-step)
        if abs(step) <= 1e-9 or x == 0.0:  # the step after it would be that squared
            break
    return x, response


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def _plain_block(
    nu: float, a: Float, b: Float, lower: Float, upper: Float, x: Float, start: int, stop: int
) -> tuple[float, float]:
    """Shares, their sum and slope at nu over a block of quadratic totals; branch-free, so it is vectorised."""
    filled, slope = 0.0, 0.0
    for t in range(start, stop):
        response = 0.5 / b[t]
        free = (nu - a[t]) * response
        inside = free if free > lower[t] else lower[t]
        inside = inside if inside < upper[t] else upper[t]
        x[t] = inside
        filled += inside
        slope += response if inside == free else 0.0
    return filled, slope


@compiled
def _sweep_plain(nu: float, smooth: Smooth, bounds: Pair, x: Float) -> Swept:
    filled, slope = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        stop = min(start + BLOCK, len(x))
        part = _plain_block(nu, smooth[0], smooth[1], bounds[0], bounds[1], x, start, stop)
        filled += part[0]
        slope += part[1]
    return filled, filled, slope, -np.inf, np.inf


@compiled
def _sweep_smooth(nu: float, most: bool, smooth: Smooth, bounds: Pair, roots: Float, x: Float) -> Swept:
    a, b, c, s, p = smooth
    lower, upper = bounds
    sums = np.zeros(3)
    below, above = -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        left_sum, right_sum, slope = 0.0, 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            left = right = response = 0.0
            if b[t] == 0.0 and c[t] == 0.0 and s[t] == 0.0:
                left, right = np.inf if a[t] < nu else 0.0, np.inf if a[t] <= nu else 0.0
                below, above = max(below, a[t]) if a[t] < nu else below, min(above, a[t]) if a[t] > nu else above
            elif nu > a[t]:
                left, response = _root(nu - a[t], b[t], c[t], s[t], p[t], roots[t] if len(roots) else 0.0)
                right = left
                if len(roots):
                    roots[t] = left
            slope += response if lower[t] < left < upper[t] else 0.0
            left, right = min(max(left, lower[t]), upper[t]), min(max(right, lower[t]), upper[t])
            x[t] = right if most else left
            left_sum += left
            right_sum += right
        sums += np.array((left_sum, right_sum, slope))
    return sums[0], sums[1], sums[2], below, above


@compiled
def _sweep_steps(nu: float, most: bool, smooth: Smooth, steps: Pair, bounds: Pair, x: Float) -> Swept:
    a, b, c, s, p = smooth
    depth, premium = steps
    lower, upper = bounds
    sums = np.zeros(3)
    below, above = -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        left_sum, right_sum, slope = 0.0, 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            flat = b[t] == 0.0 and c[t] == 0.0 and s[t] == 0.0
            left = right = response = 0.0
            for k in range(depth.shape[1]):
                price, size = a[t] + premium[t, k], depth[t, k]
                if size == 0.0:
                    continue
                if price > nu:
                    above = min(above, price) if flat else above
                    break
                if flat:
                    right += size
                    left += size if price < nu else 0.0
                    below = max(below, price) if price < nu else below
                    continue
                root, grows = _root(nu - price, b[t], c[t], s[t], p[t], 0.0) if price < nu else (0.0, 0.0)
                if root < left + size:
                    left, response = (root, grows) if root > left else (left, 0.0)
                    break
                left += size
            right = right if flat else left
            slope += response if lower[t] < left < upper[t] else 0.0
            left, right = min(max(left, lower[t]), upper[t]), min(max(right, lower[t]), upper[t])
            x[t] = right if most else left
            left_sum += left
            right_sum += right
        sums += np.array((left_sum, right_sum, slope))
    return sums[0], sums[1], sums[2], below, above


@compiled
def sweep(
    nu: float, most: bool, plain: bool, smooth: Smooth, steps: Pair, bounds: Pair, roots: Float, x: Float
) -> Swept:
    """Optimal shares of all intervals at the multiplier nu, into `x`: the most or the least of them.

    Returns the sum of the least and of the most (they differ where a marginal cost is nu over
    a stretch of shares), d sum / d nu where shares move with it, and the prices next to nu,
    below and above, at which shares jump.
    """
    if plain:
        return _sweep_plain(nu, smooth, bounds, x)
    if steps[0].shape[1]:
        return _sweep_steps(nu, most, smooth, steps, bounds, x)
    return _sweep_smooth(nu, most, smooth, bounds, roots, x)


@compiled
def _first_multiplier(shares: float, smooth: Smooth, steps: Pair) -> float:
    """Newton's first step from equal shares without bounds: marginal costs weighted by 1 / curvature."""
    a, b, c, s, p = smooth
    x, stepped = shares / len(b), steps[0].shape[1] > 0
    slopes = price_all(np.full(len(b), x), smooth, steps)[1] if stepped else a
    weights, weighted, plain, known = 0.0, 0.0, 0.0, 0
    for t in range(len(b)):
        slope = slopes[t] if stepped else _smooth_price(x, a[t], b[t], c[t], s[t], p[t])[1]
        curvature = 2.0 * b[t] + 6.0 * c[t] * x
        if s[t] != 0.0:
            curvature += s[t] * p[t] * (p[t] - 1.0) * (1.0 / math.sqrt(x) if p[t] == 1.5 else x ** (p[t] - 2.0))
        if math.isfinite(slope):
            plain, known = plain + slope, known + 1
            if 0.0 < curvature < np.inf:
                weights += 1.0 / curvature
                weighted += slope / curvature
    return weighted / weights if 0.0 < weights < np.inf else plain / max(known, 1)


@compiled
def _price_range(smooth: Smooth, steps: Pair, bounds: Pair) -> tuple[float, float]:
    """Multipliers at which all intervals are surely at their floors, and at their caps."""
    low, high = price_all(bounds[0], smooth, steps)[1].min(), price_all(bounds[1], smooth, steps)[1].max()
    pad = PAD * (abs(low) + abs(high)) + 1e-300
    return low - pad, high + pad


@compiled
def _between(low: float, high: float, at_low: float, at_high: float, shares: float, halve: bool) -> float:
    """A multiplier inside (low, high): by interpolation, or halfway, geometrically if they are far apart."""
    if not halve:
        return low + (high - low) * (shares - at_low) / (at_high - at_low)
    if low > 0.0 and high > 4.0 * low:
        return math.sqrt(low) * math.sqrt(high)
    return low + 0.5 * (high - low)


@compiled
def _search(
    shares: float, nu: float, plain: bool, smooth: Smooth,
    steps: Pair, bounds: Pair, roots: Float, limit: int, x: Float,
) -> tuple[float, float, float, int]:  # fmt: skip
    """Bracket of the multiplier: low, high, the part of the way between them, sweeps taken.

    low == high where the sum is met at one multiplier (or within its jump).
    """
    low, high, at_low, at_high = -np.inf, np.inf, np.nan, np.nan
    above_low, below_high = -np.inf, np.inf  # jumps next to the ends, if they lie inside
    tolerance, nudge, previous, run = 4.0 * EPSILON * shares, 4.0 * EPSILON, np.inf, 0
    for sweeps in range(1, limit + 1):
        left, right, slope, below, above = sweep(nu, False, plain, smooth, steps, bounds, roots, x)
        if left - tolerance <= shares <= right + tolerance:
            part = (shares - left) / (right - left) if right > left else 0.0
            return nu, nu, min(max(part, 0.0), 1.0), sweeps
        excess = left - shares if shares < left else shares - right
        step, tiny = excess / slope if 0.0 < slope < np.inf else np.inf, nudge * abs(nu)
        slow, previous = excess > 0.5 * previous, excess
        if step < tiny:  # the sum's own rounding, or a multiplier that floats resolve no finer
            step, nudge, previous = tiny, 4.0 * nudge, np.inf
        if shares > right:
            low, at_low, above_low, run = nu, right, above, max(run, 0) + 1
            trial, blocked = nu + step, nu + step >= above
        else:
            high, at_high, below_high, run = nu, left, below, min(run, 0) - 1
            trial, blocked = nu - step, nu - step <= below
        if blocked or slow or not low < trial < high:
            if math.isnan(at_low) or math.isnan(at_high):
                first, last = _price_range(smooth, steps, bounds)
                low, at_low = (min(first, high), bounds[0].sum()) if math.isnan(at_low) else (low, at_low)
                high, at_high = (max(last, low), bounds[1].sum()) if math.isnan(at_high) else (high, at_high)
            trial = _between(low, high, at_low, at_high, shares, slow or abs(run) > 1)
            trial = above_low if low < above_low < high and trial < above_low else trial
            trial = below_high if low < below_high < high and trial > below_high else trial
        narrow = math.isfinite(high - low) and high - low <= 8.0 * EPSILON * max(abs(low), abs(high))
        if narrow or not low < trial < high:
            return low, high, (shares - at_low) / (at_high - at_low) if at_high > at_low else 0.0, sweeps
        nu = trial
    return nu, nu, 0.0, limit


@compiled
def solve(
    shares: float, start: float, plain: bool, mixed: bool,
    smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float,
) -> tuple[float, int]:  # fmt: skip
    """Optimal shares into `x` (n,); returns their multiplier and the sweeps. A `start` of NaN is found here."""
    lowest, most = bounds[0].sum(), bounds[1].sum()
    if shares >= most * (1.0 - EPSILON) or shares <= lowest * (1.0 + EPSILON):
        x[:] = bounds[1] if shares >= most * (1.0 - EPSILON) else bounds[0]
        return start, 0
    nu = _first_multiplier(shares, smooth, steps) if math.isnan(start) else start
    roots = np.full(len(x) if mixed and steps[0].shape[1] == 0 else 0, shares / len(x))
    low, high, part, sweeps = _search(shares, nu, plain, smooth, steps, bounds, roots, limit, x)
    if low < high or part > 0.0:
        other = np.empty(len(x))
        sweep(low, low < high, plain, smooth, steps, bounds, roots, x)
        sweep(high, low == high, plain, smooth, steps, bounds, roots, other)
        for t in range(len(x)):
            x[t] = min(max(x[t] + part * (other[t] - x[t]), bounds[0][t]), bounds[1][t])
    _level(shares, bounds, x)
    return low, sweeps


@compiled
def _level(shares: float, bounds: Pair, x: Float) -> None:
    """Where all children are equal to rounding, as of equal curves, make them S / n: TWAP to the last digit."""
    equal = shares / len(x)
    for t in range(len(x)):
        if abs(x[t] - equal) > 8.0 * EPSILON * equal or not bounds[0][t] <= equal <= bounds[1][t]:
            return
    x[:] = equal


@compiled
def solve_many(
    shares: Float, plain: bool, mixed: bool, smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float
) -> None:
    """`solve` for m problems of n intervals that stand one after another, into `x` (m, n)."""
    a, b, c, s, p = smooth
    for i in range(len(shares)):
        own = slice(i * x.shape[1], (i + 1) * x.shape[1])
        coefficients = (a[own], b[own], c[own], s[own], p[own])
        own_steps, own_bounds = (steps[0][own], steps[1][own]), (bounds[0][own], bounds[1][own])
        solve(shares[i], np.nan, plain, mixed, coefficients, own_steps, own_bounds, limit, x[i])

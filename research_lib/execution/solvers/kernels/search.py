r"""The optimum of a separable problem by its multiplier.

At the optimum x_t = clip(shares_at_marginal_t(nu), l_t, u_t) for one nu, and the sum of the
right-hand side rises with nu. The search is Newton's, inside a shrinking bracket. Where the
sum jumps (linear totals, steps of a book) the jump itself is tried, and its two sides are
mixed: shares at the same price are split in proportion to the room they have.
"""

from __future__ import annotations

import math

import numpy as np

from research_lib.execution.solvers.kernels.compiling import EPSILON, Float, Pair, Smooth, compiled, vectorised
from research_lib.execution.solvers.kernels.prices import first_guess, price_all, smooth_price
from research_lib.execution.solvers.kernels.sweeps import GENERAL, QUADRATIC, bound_sums, sweep

PAD = 1e-9


@compiled
def _first_multiplier(shares: float, form: int, smooth: Smooth, steps: Pair) -> float:
    """Newton's first step from equal shares without bounds: marginal costs weighted by 1 / curvature."""
    a, b, c, s, p = smooth
    if form == QUADRATIC:
        return (shares + _responses(b, a)) / _responses(b, np.ones(0))
    x, stepped = shares / len(b), steps[0].shape[1] > 0
    slopes = price_all(np.full(len(b), x), smooth, steps)[1] if stepped else a
    weights, weighted, plain, known = 0.0, 0.0, 0.0, 0
    for t in range(len(b)):
        slope = slopes[t] if stepped else smooth_price(x, a[t], b[t], c[t], s[t], p[t])[1]
        curvature = 2.0 * b[t] + 6.0 * c[t] * x
        if s[t] != 0.0:
            curvature += s[t] * p[t] * (p[t] - 1.0) * (1.0 / math.sqrt(x) if p[t] == 1.5 else x ** (p[t] - 2.0))
        if math.isfinite(slope):
            plain, known = plain + slope, known + 1
            if 0.0 < curvature < np.inf:
                weights += 1.0 / curvature
                weighted += slope / curvature
    return weighted / weights if 0.0 < weights < np.inf else plain / max(known, 1)


@vectorised
def _responses(b: Float, weights: Float) -> float:
    """Sum of 1 / 2 b, weighted if there are weights."""
    total = 0.0
    if len(weights):
        for t in range(len(b)):
            total += 0.5 * weights[t] / b[t]
    else:
        for t in range(len(b)):
            total += 0.5 / b[t]
    return total


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
    shares: float, nu: float, form: int, smooth: Smooth,
    steps: Pair, bounds: Pair, roots: Float, limit: int, x: Float,
) -> tuple[float, float, float, int, float]:  # fmt: skip
    """Bracket of the multiplier: low, high, the part of the way between them, sweeps taken, and the step still to go.

    low == high where the sum is met at one multiplier (or within its jump). The step, of the multiplier from that of
    `x`, is given where floats do not resolve it, else 0.
    """
    low, high, at_low, at_high = -np.inf, np.inf, np.nan, np.nan
    above_low, below_high = -np.inf, np.inf  # jumps next to the ends, if they lie inside
    tolerance, nudge, previous, run = 4.0 * EPSILON * shares, 4.0 * EPSILON, np.inf, 0
    for sweeps in range(1, limit + 1):
        left, right, slope, below, above = sweep(nu, False, form, smooth, steps, bounds, roots, x)
        if left - tolerance <= shares <= right + tolerance:
            part = (shares - left) / (right - left) if right > left else 0.0
            return nu, nu, min(max(part, 0.0), 1.0), sweeps, 0.0
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
            step = (shares - left) / slope if slope > 0.0 else 0.0
            step = step if abs(step) <= 8.0 * EPSILON * abs(nu) else 0.0
            return low, high, (shares - at_low) / (at_high - at_low) if at_high > at_low else 0.0, sweeps, step
        nu = trial
    return nu, nu, 0.0, limit, 0.0


@compiled
def solve(
    shares: float, start: float, form: int, mixed: bool,
    smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float,
) -> tuple[float, int]:  # fmt: skip
    """Optimal shares into `x` (n,); returns their multiplier and the sweeps. A `start` of NaN is found here."""
    lowest, most, _ = bound_sums(bounds)
    return solve_between(shares, lowest, most, start, form, mixed, smooth, steps, bounds, limit, x)


@compiled
def solve_between(
    shares: float, lowest: float, most: float, start: float, form: int, mixed: bool,
    smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float,
) -> tuple[float, int]:  # fmt: skip
    """`solve` for bounds whose sums are known."""
    if shares >= most * (1.0 - EPSILON) or shares <= lowest * (1.0 + EPSILON):
        x[:] = bounds[1] if shares >= most * (1.0 - EPSILON) else bounds[0]
        return start, 0
    nu = _first_multiplier(shares, form, smooth, steps) if math.isnan(start) else start
    roots = np.empty(len(x) if mixed and steps[0].shape[1] == 0 else 0)
    for t in range(len(roots)):
        roots[t] = first_guess(shares / len(x), smooth[4][t])
    low, high, part, sweeps, step = _search(shares, nu, form, smooth, steps, bounds, roots, limit, x)
    if step != 0.0 and form != GENERAL:
        bend = smooth[1] if form == QUADRATIC else smooth[3]
        _moved(step, 2.0 if form == QUADRATIC else 1.5, bend, bounds[0], bounds[1], x)
    elif low < high or part > 0.0:
        other = np.empty(len(x))
        sweep(low, low < high, form, smooth, steps, bounds, roots, x)
        sweep(high, low == high, form, smooth, steps, bounds, roots, other)
        for t in range(len(x)):
            x[t] = min(max(x[t] + part * (other[t] - x[t]), bounds[0][t]), bounds[1][t])
    _level(shares, bounds, x)
    return low, sweeps


@vectorised
def _moved(step: float, power: float, bend: Float, lower: Float, upper: Float, x: Float) -> None:
    """`x` as the multiplier moves by a step below its own rounding, where neither bound holds."""
    for t in range(len(lower)):
        response = 0.5 / bend[t] * (1.0 if power == 2.0 else 8.0 / 3.0 * math.sqrt(x[t]))
        moved = x[t] + step * response
        inside = moved if moved > lower[t] else lower[t]
        inside = inside if inside < upper[t] else upper[t]
        x[t] = inside if lower[t] < x[t] < upper[t] else x[t]


@compiled
def _level(shares: float, bounds: Pair, x: Float) -> None:
    """Where all children are equal to rounding, as of equal curves, make them S / n: TWAP to the last digit."""
    equal = shares / len(x)
    for t in range(len(x)):
        if abs(x[t] - equal) > 8.0 * EPSILON * equal or not bounds[0][t] <= equal <= bounds[1][t]:
            return
    x[:] = equal

r"""What the form of a problem is, whether its bounds admit a schedule, and how good a schedule is.

For any multiplier nu, by convexity, no schedule y inside the bounds costs less than

.. math:: C(x) - \sum_t \max_{l_t \le y \le u_t} C_t'(x_t) (x_t - y) - \nu (x_t - y)

for each tangent lies below its total: what remains of the sum is the gap.
"""

from __future__ import annotations

import math

import numpy as np

from research_lib.execution.solvers.kernels.compiling import (
    BLOCK,
    Float,
    Pair,
    Smooth,
    compiled,
    vectorised,
    vectorised_sorting,
)
from research_lib.execution.solvers.kernels.prices import price_all, smooth_price
from research_lib.execution.solvers.kernels.search import solve_between
from research_lib.execution.solvers.kernels.sweeps import GENERAL, QUADRATIC, THREE_HALVES, bound_sums

NOT_FINITE, NOT_CONVEX, CROSSED, CAPS_LOW, FLOORS_HIGH = 1, 2, 4, 8, 16
SUM_ROUNDING = 1e-12

Triple = tuple[float, float, float]
Judged = tuple[float, float, float, float, float, float, float, float]


@compiled
def form_of(smooth: Smooth, steps: Pair) -> tuple[int, bool, bool, int]:
    """The form, whether powers and polynomials mix, whether a cubic bends down later, and faults, as flags."""
    a, b, c, s, p = smooth
    quadratic = three_halves = steps[0].shape[1] == 0
    mixed, bends, faults, finite = False, False, 0, 0.0
    for t in range(len(a)):
        quadratic &= b[t] > 0.0 and c[t] == 0.0 and s[t] == 0.0
        three_halves &= b[t] == 0.0 and c[t] == 0.0 and s[t] > 0.0 and p[t] == 1.5
        mixed |= s[t] != 0.0 and (b[t] != 0.0 or c[t] != 0.0)
        finite += (a[t] + b[t] + c[t] + s[t] + p[t]) * 0.0
        bends |= c[t] < 0.0
        if b[t] < 0.0 or (c[t] < 0.0 and s[t] != 0.0) or (s[t] != 0.0 and (s[t] < 0.0) != (p[t] < 1.0)):
            faults |= NOT_CONVEX
        for k in range(steps[0].shape[1]):
            finite += steps[1][t, k] * 0.0
            if not steps[0][t, k] >= 0.0:
                faults |= NOT_FINITE
    faults |= NOT_FINITE if finite != 0.0 else 0
    form = QUADRATIC if quadratic else THREE_HALVES if three_halves else GENERAL
    return form, mixed, bends, faults


@compiled
def admits(shares: float, bends: bool, smooth: Smooth, bounds: Pair) -> int:
    """Faults of the bounds, as flags: crossed, too low, too high, or beyond where a cubic is convex."""
    lowest, most, crossed = bound_sums(bounds)
    return _faults_of(shares, lowest, most, crossed, bends, smooth, bounds)


@compiled
def _faults_of(
    shares: float, lowest: float, most: float, crossed: int, bends: bool, smooth: Smooth, bounds: Pair
) -> int:
    faults = CROSSED if crossed else 0
    if bends:
        for t in range(len(bounds[0])):
            if smooth[2][t] < 0.0 and not smooth[1][t] + 3.0 * smooth[2][t] * bounds[1][t] >= 0.0:
                faults |= NOT_CONVEX
    faults |= CAPS_LOW if most < shares * (1.0 - SUM_ROUNDING) else 0
    faults |= FLOORS_HIGH if lowest > shares * (1.0 + SUM_ROUNDING) else 0
    return faults


@compiled
def judge(x: Float, nu: float, form: int, smooth: Smooth, steps: Pair, bounds: Pair) -> Judged:
    """Cost, multiplier, gap in currency, largest price error, sum, the bounds' worst miss, dearest and cheapest.

    The dearest last share and the cheapest next one that the bounds allow: where they do not
    cross, any price between them leaves no gap. Where they do, the gap is that at `nu`, NaN
    for a `nu` of NaN.
    """
    if form == GENERAL:
        sums, ends = _judge_all(x, nu, smooth, steps, bounds)
    else:
        sums, ends = _judge_blocks(x, nu, form, smooth, bounds)
    cost, filled, gap = sums
    outside, dearest, cheapest = ends
    worst = max(dearest - nu, nu - cheapest, 0.0)
    if dearest <= cheapest:
        nu, gap, worst = cheapest if math.isfinite(cheapest) else dearest, 0.0, 0.0
    elif math.isnan(nu):
        gap, worst = np.nan, np.nan
    return cost, nu, gap, worst, filled, outside, dearest, cheapest


@compiled
def _judge_all(x: Float, nu: float, smooth: Smooth, steps: Pair, bounds: Pair) -> tuple[Triple, Triple]:
    a, b, c, s, p = smooth
    lower, upper = bounds
    stepped = steps[0].shape[1] > 0
    values, lasts, nexts = price_all(x, smooth, steps) if stepped else (x, x, x)
    cost, filled, gap, outside, dearest, cheapest = 0.0, 0.0, 0.0, 0.0, -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        part_cost, part_filled = 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            value, last, following = values[t], lasts[t], nexts[t]
            if not stepped:
                value, last = smooth_price(x[t], a[t], b[t], c[t], s[t], p[t])
                following = last
            part_cost += value
            part_filled += x[t]
            down, up = x[t] - lower[t], upper[t] - x[t]
            outside = max(outside, -down, -up)
            if down > 0.0:
                dearest = max(dearest, last)
                gap += (last - nu) * down if last > nu else 0.0
            if up > 0.0:
                cheapest = min(cheapest, following)
                gap += (nu - following) * up if following < nu else 0.0
        cost += part_cost
        filled += part_filled
    return (cost, filled, gap), (outside, dearest, cheapest)


@compiled
def _judge_blocks(x: Float, nu: float, form: int, smooth: Smooth, bounds: Pair) -> tuple[Triple, Triple]:
    bend, power = (smooth[1], 2.0) if form == QUADRATIC else (smooth[3], 1.5)
    cost, filled, gap, outside, dearest, cheapest = 0.0, 0.0, 0.0, 0.0, -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        own = slice(start, min(start + BLOCK, len(x)))
        sums = _block_sums(x[own], nu, power, smooth[0][own], bend[own], bounds[0][own], bounds[1][own])
        ends = _block_ends(x[own], power, smooth[0][own], bend[own], bounds[0][own], bounds[1][own])
        cost += sums[0]
        filled += sums[1]
        gap += sums[2]
        outside, dearest, cheapest = max(outside, ends[0]), max(dearest, ends[1]), min(cheapest, ends[2])
    return (cost, filled, gap), (outside, dearest, cheapest)


@vectorised
def _block_sums(x: Float, nu: float, power: float, a: Float, bend: Float, lower: Float, upper: Float) -> Triple:
    """Cost, shares and gap at nu of totals a x + bend x^2 or a x + bend x^1.5."""
    cost, filled, gap = 0.0, 0.0, 0.0
    for t in range(len(lower)):
        rise = bend[t] * (x[t] if power == 2.0 else math.sqrt(x[t]))
        price = a[t] + power * rise
        cost += x[t] * (a[t] + rise)
        filled += x[t]
        dear, room = price > nu, x[t] - lower[t] if price > nu else upper[t] - x[t]
        error = price - nu if dear else nu - price
        gap += error * room if room > 0.0 else 0.0
    return cost, filled, gap


@vectorised_sorting
def _block_ends(x: Float, power: float, a: Float, bend: Float, lower: Float, upper: Float) -> Triple:
    """The bounds' worst miss, the dearest last share and the cheapest next one that bounds allow.

    Of NaN nothing is promised here: the sums are NaN then.
    """
    outside, dearest, cheapest = 0.0, -np.inf, np.inf
    for t in range(len(lower)):
        price = a[t] + power * (bend[t] * (x[t] if power == 2.0 else math.sqrt(x[t])))
        down, up = x[t] - lower[t], upper[t] - x[t]
        last, following = price if down > 0.0 else -np.inf, price if up > 0.0 else np.inf
        dearest = last if last > dearest else dearest
        cheapest = following if following < cheapest else cheapest
        miss = -down if down < up else -up
        outside = miss if miss > outside else outside
    return outside, dearest, cheapest


@compiled
def exact(
    shares: float, start: float, form: int, mixed: bool, bends: bool,
    smooth: Smooth, steps: Pair, bounds: Pair, limit: int, x: Float,
) -> tuple[int, int, Judged]:  # fmt: skip
    """Faults of the bounds and, where there are none, the sweeps of the search and `judge` at its multiplier."""
    lowest, most, crossed = bound_sums(bounds)
    faults = _faults_of(shares, lowest, most, crossed, bends, smooth, bounds)
    if faults:
        return faults, 0, (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    nu, sweeps = solve_between(shares, lowest, most, start, form, mixed, smooth, steps, bounds, limit, x)
    return faults, sweeps, judge(x, nu, form, smooth, steps, bounds)


@compiled
def exact_many(
    shares: Float, form: int, mixed: bool, bends: bool, smooth: Smooth, steps: Pair, bounds: Pair,
    limit: int, x: Float, found: Float,
) -> None:  # fmt: skip
    """`exact` for m problems of n intervals that stand one after another, into `x` (m, n) and `found` (m, 7).

    Columns of `found`: faults of the bounds, then cost, multiplier, gap, price error, sum, worst miss.
    Problems with faults are left out.
    """
    a, b, c, s, p = smooth
    for i in range(len(shares)):
        own = slice(i * x.shape[1], (i + 1) * x.shape[1])
        part = (a[own], b[own], c[own], s[own], p[own])
        part_steps, part_bounds = (steps[0][own], steps[1][own]), (bounds[0][own], bounds[1][own])
        faults, _, judged = exact(shares[i], np.nan, form, mixed, bends, part, part_steps, part_bounds, limit, x[i])
        found[i, 0] = faults
        for j in range(6):
            found[i, 1 + j] = judged[j]

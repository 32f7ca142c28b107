r"""How far a schedule is from proven optimality, whoever found it.

For any multiplier nu, by convexity, no schedule y costs less than

.. math:: \nu S + \sum_t \min_{l_t \le y \le u_t} \big(C_t(y) - \nu y\big)

and each minimum is bounded below by the tangent at any point, so an inexact minimiser can
only widen the gap: nothing here trusts a solver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels import BLOCK, Pair, compiled, price_all, solve, sweep
from research_lib.execution.solvers.problem import Problem, read_only

Float = NDArray[np.float64]
SAME_PRICE = 1e-9
NEGLIGIBLE = 1e-12
MOST_SWEEPS = 500


@dataclass(frozen=True)
class Certificate:
    """What is known about a schedule.

    Attributes
    ----------
    cost : float
        The objective, currency.
    multiplier : float
        nu, what the next share costs, currency per share (under "impact": per share of the sum).
    kkt_residual : float
        Largest violation of: nu lies between the left and the right derivative of C_t at x_t
        (at the cap only above the left one, at the floor only below the right one), relative to
        |nu|; or the distance to shares for which it does, relative to S / n, if that is less.
    duality_gap : float
        (cost - dual value at nu) / |cost|; the cost exceeds the optimum by no more.
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


def certify(x: Float, problem: Problem, weights: Float | None = None) -> Certificate:
    """Certificate of `x`, (n,) shares.

    Where terms couple the intervals, the problem is replaced by a separable one that is
    nowhere dearer and, at x, cheaper by no more than `slack`: its optimum bounds theirs.
    `weights` are the scenario weights of the solver, if any: they only tighten the bound.
    """
    if problem.terms is None:
        return _separable(x, problem)
    total, slack = problem.terms.minorant(problem.total, x, weights)
    below = _separable(x, Problem(total, problem.shares, problem.lower, problem.upper))
    cost = problem.cost(x)
    gap = (below.duality_gap * (abs(below.cost) or 1.0) + slack) / (abs(cost) or 1.0)
    return Certificate(cost, below.multiplier, below.kkt_residual, gap, below.filled, below.outside)


def _separable(x: Float, problem: Problem) -> Certificate:
    smooth, steps, bounds = problem.arrays
    x, shares = read_only(x), problem.shares
    value, last, following = price_all(x, smooth, steps)
    cost, dearest, cheapest, filled, outside = _survey(x, value, last, following, bounds)
    nu = _multiplier(dearest, cheapest, problem)
    gap, worst = _tangent_gap(x, nu, last, following, bounds)
    unit = max(abs(nu), SAME_PRICE * abs(cost) / shares)
    residual = worst / unit if worst > 0.0 else 0.0
    if gap > NEGLIGIBLE * abs(cost) or residual > NEGLIGIBLE:
        gap, residual = _against_best(x, value, last, following, nu, unit, problem)
    cost += problem.constant
    return Certificate(cost, nu, residual, gap / (abs(cost) or 1.0), filled, outside)


def _multiplier(dearest: float, cheapest: float, problem: Problem) -> float:
    """What the next share costs; at a schedule that is not optimal, the multiplier of the optimum.

    Any number gives a valid bound; the optimum's own gives the tightest.
    """
    if dearest <= cheapest:
        return cheapest if math.isfinite(cheapest) else dearest
    if dearest - cheapest <= SAME_PRICE * abs(dearest):
        return 0.5 * (dearest + cheapest)
    shape, x = problem.shape, np.empty(len(problem.lower))
    nu = solve(problem.shares, math.nan, shape.plain, shape.mixed, *problem.arrays, MOST_SWEEPS, x)[0]
    return float(nu) if math.isfinite(nu) else 0.5 * (dearest + cheapest)


def _against_best(
    x: Float, value: Float, last: Float, following: Float, nu: float, unit: float, problem: Problem
) -> tuple[float, float]:
    """Gap in currency and residual of x against the best shares at nu, interval by interval."""
    smooth, steps, bounds = problem.arrays
    least, most, none = np.empty(len(x)), np.empty(len(x)), np.empty(0)
    sweep(nu, False, False, smooth, steps, bounds, none, least)
    sweep(nu, True, False, smooth, steps, bounds, none, most)
    y = read_only(np.clip(x, least, most))
    at, before, after = price_all(y, smooth, steps)
    lower, upper = bounds
    saved = (value - at) - nu * (x - y) + _tangent(y, nu, before, after, lower, upper)
    saved = np.minimum(saved, _tangent(x, nu, last, following, lower, upper))
    too_dear = np.where(x > lower, last - nu, 0.0)
    too_cheap = np.where(x < upper, nu - following, 0.0)
    price_error = np.maximum(np.maximum(too_dear, too_cheap), 0.0) / unit
    return float(saved.sum()), float(np.minimum(price_error, np.abs(x - y) * len(x) / problem.shares).max())


def _tangent(x: Float, nu: float, last: Float, following: Float, lower: Float, upper: Float) -> Float:
    """Most that C_t(x) - nu x can exceed its least value inside the bounds, (n,): by convexity."""
    with np.errstate(invalid="ignore"):  # an infinite price times no room
        down = np.where(x > lower, np.maximum(last - nu, 0.0) * (x - lower), 0.0)
        up = np.where(x < upper, np.maximum(nu - following, 0.0) * (upper - x), 0.0)
    return np.asarray(down + up)


@compiled
def _survey(
    x: Float, value: Float, last: Float, following: Float, bounds: Pair
) -> tuple[float, float, float, float, float]:
    """Cost, the dearest last share and the cheapest next one that bounds allow, the sum, the bounds' worst miss."""
    cost, total, dearest, cheapest, outside = 0.0, 0.0, -np.inf, np.inf, 0.0
    for start in range(0, len(x), BLOCK):
        part_cost, part_total = 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            part_cost += value[t]
            part_total += x[t]
            dearest = max(dearest, last[t]) if x[t] > bounds[0][t] else dearest
            cheapest = min(cheapest, following[t]) if x[t] < bounds[1][t] else cheapest
            outside = max(outside, bounds[0][t] - x[t], x[t] - bounds[1][t])
        cost += part_cost
        total += part_total
    return cost, dearest, cheapest, total, outside


@compiled
def _tangent_gap(x: Float, nu: float, last: Float, following: Float, bounds: Pair) -> tuple[float, float]:
    """How much less any shares inside the bounds could cost at nu than x, by its tangents; largest price error."""
    gap, worst = 0.0, 0.0
    for t in range(len(x)):
        error = 0.0
        if nu < last[t] and x[t] > bounds[0][t]:
            error, room = last[t] - nu, x[t] - bounds[0][t]
        elif nu > following[t] and x[t] < bounds[1][t]:
            error, room = nu - following[t], bounds[1][t] - x[t]
        if error > 0.0:
            gap += error * room
            worst = max(worst, error)
    return gap, worst

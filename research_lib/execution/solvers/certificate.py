r"""How far a schedule is from proven optimality, whoever found it.

For any multiplier nu, by convexity, no schedule y costs less than

.. math:: \nu S + \sum_t \min_{l_t \le y \le u_t} \big(C_t(y) - \nu y\big)

and each minimum is bounded below by the tangent at any point, so an inexact minimiser can
only widen the gap: nothing here trusts a solver.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels import GENERAL, judge, price_all, solve, sweep
from research_lib.execution.solvers.problem import Certificate, Problem

Float = NDArray[np.float64]
SAME_PRICE = 1e-9
NEGLIGIBLE = 1e-12
MOST_SWEEPS = 500


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
    form, bounds, x = problem.form, problem.bounds, np.ascontiguousarray(x)
    judged = judge(x, math.nan, form.kind, form.smooth, form.steps, bounds)
    if math.isnan(judged[2]):
        nu = _multiplier(judged[6], judged[7], problem)
        judged = judge(x, nu, form.kind, form.smooth, form.steps, bounds)
    return from_judged(judged, problem.shares, problem.constant) or _against_best(x, judged, problem)


def from_judged(judged: tuple[float, ...], shares: float, constant: float = 0.0) -> Certificate | None:
    """The certificate of what `kernels.judge` found; None where only rounding may not explain its gap."""
    cost, nu, gap, worst, filled, outside = judged[:6]
    residual = worst / _unit(nu, cost, shares) if worst != 0.0 else 0.0
    if not (gap <= NEGLIGIBLE * abs(cost) and residual <= NEGLIGIBLE):
        return None
    cost += constant
    return Certificate(cost, nu, residual, gap / (abs(cost) or 1.0), filled, outside)


def _unit(nu: float, cost: float, shares: float) -> float:
    """Price that errors of prices are relative to."""
    return max(abs(nu), SAME_PRICE * abs(cost) / shares)


def _multiplier(dearest: float, cheapest: float, problem: Problem) -> float:
    """The multiplier at which a schedule is judged whose prices cross: of the optimum where they do by much.

    Any number gives a valid bound; the optimum's own gives the tightest.
    """
    if dearest - cheapest <= SAME_PRICE * abs(dearest):
        return 0.5 * (dearest + cheapest)
    form, x = problem.form, np.empty(len(problem.lower))
    nu = solve(
        problem.shares, math.nan, form.kind, form.mixed, form.smooth, form.steps, problem.bounds, MOST_SWEEPS, x
    )[0]
    return float(nu) if math.isfinite(nu) else 0.5 * (dearest + cheapest)


def _against_best(x: Float, judged: tuple[float, ...], problem: Problem) -> Certificate:
    """The certificate of x by the best shares at its multiplier, interval by interval: a tighter bound."""
    cost, nu, _, _, filled, outside = judged[:6]
    form, bounds = problem.form, problem.bounds
    lower, upper = bounds
    value, last, following = price_all(x, form.smooth, form.steps)
    least, most, none = np.empty(len(x)), np.empty(len(x)), np.empty(0)
    sweep(nu, False, GENERAL, form.smooth, form.steps, bounds, none, least)
    sweep(nu, True, GENERAL, form.smooth, form.steps, bounds, none, most)
    y = np.clip(x, least, most)
    at, before, after = price_all(y, form.smooth, form.steps)
    saved = (value - at) - nu * (x - y) + _tangent(y, nu, before, after, lower, upper)
    saved = np.minimum(saved, _tangent(x, nu, last, following, lower, upper))
    too_dear = np.where(x > lower, last - nu, 0.0)
    too_cheap = np.where(x < upper, nu - following, 0.0)
    price_error = np.maximum(np.maximum(too_dear, too_cheap), 0.0) / _unit(nu, cost, problem.shares)
    residual = float(np.minimum(price_error, np.abs(x - y) * len(x) / problem.shares).max())
    cost += problem.constant
    return Certificate(cost, nu, residual, float(saved.sum()) / (abs(cost) or 1.0), filled, outside)


def _tangent(x: Float, nu: float, last: Float, following: Float, lower: Float, upper: Float) -> Float:
    """Most that C_t(x) - nu x can exceed its least value inside the bounds, (n,): by convexity."""
    with np.errstate(invalid="ignore"):  # an infinite price times no room
        down = np.where(x > lower, np.maximum(last - nu, 0.0) * (x - lower), 0.0)
        up = np.where(x < upper, np.maximum(nu - following, 0.0) * (upper - x), 0.0)
    return np.asarray(down + up)

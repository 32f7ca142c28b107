"""Many exact allocations (orders x days) in one compiled call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.attempts import fault_of
from research_lib.execution.solvers import NOT_CONVEX, NOT_FINITE, Problem, certify, refuse_infeasible, solve_many
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]
MOST_SWEEPS = 1000


@dataclass(frozen=True, eq=False)
class Allocations(Record):
    """m schedules of n intervals and their certificates; see `Allocation`.

    Attributes
    ----------
    shares : (m, n) shares
    cost, marginal_cost, kkt_residual, duality_gap : (m,)
    """

    shares: Float
    cost: Float
    marginal_cost: Float
    kkt_residual: Float
    duality_gap: Float


def allocate_many(
    curve: ImpactCurve,
    total_shares: ArrayLike,
    *,
    min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None,
    objective: str = "cost",
) -> Allocations:
    """The exact split of m orders over n intervals each, as `allocate` with the analytical solver.

    Parameters
    ----------
    curve : ImpactCurve of m * n intervals
        Problem after problem; `curve.take(np.tile(np.arange(n), m))` gives m orders the same curve.
    total_shares : (m,) shares
        Each above 0.
    min_shares, max_shares : scalar, (m, n), or what broadcasts to it, shares
        No cap by default.
    objective : "cost" or "impact"

    Raises
    ------
    ValidationError
        Orders that do not divide the curve's intervals, or numbers that are negative or not finite.
    OptimizationError
        A problem without an admissible schedule, not convex, or not certified: the first is named.
    """
    orders = np.atleast_1d(np.asarray(total_shares, float))
    m, n = len(orders), len(curve) // max(len(orders), 1)
    if orders.ndim != 1 or m == 0 or m * n != len(curve) or not np.all((orders > 0) & np.isfinite(orders)):
        raise ValidationError(
            f"total_shares must be (m,), finite and above 0, with m a divisor of the curve's {len(curve)} intervals; "
            f"got shape {orders.shape}"
        )
    total = curve.total(objective)
    lower = _bounds("min_shares", min_shares, (m, n))
    upper = _bounds("max_shares", np.inf if max_shares is None else max_shares, (m, n))
    upper = np.minimum(np.minimum(upper, np.maximum(orders[:, None], lower)), total.capacity.reshape(m, n))
    problem = Problem(total, float(orders.sum()), lower.ravel(), upper.ravel())
    _check(problem, orders, lower, upper)
    x = np.empty((m, n))
    solve_many(orders, problem.shape.plain, problem.shape.mixed, *problem.arrays, MOST_SWEEPS, x)
    return _certified(x, total, orders, lower, upper)


def _bounds(name: str, shares: ArrayLike, shape: tuple[int, int]) -> Float:
    try:
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, float), shape))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must broadcast to {shape} shares, got {np.shape(shares)}") from error
    if not np.all(array >= 0):
        raise ValidationError(f"{name} must be at least 0, got {array[~(array >= 0)][0]:g}")
    return array


def _check(problem: Problem, orders: Float, lower: Float, upper: Float) -> None:
    """Refuse coefficients that are not finite or not convex, and the first order that its bounds do not admit."""
    if problem.shape.faults & NOT_FINITE:
        raise ValidationError("the curve has coefficients that are not finite; refit or drop these problems")
    if problem.shape.faults & NOT_CONVEX:
        t = int(np.argmax(problem.total.non_convex()))
        raise OptimizationError(
            f"the total is not convex in interval {t % upper.shape[1]} of problem {t // upper.shape[1]}; use allocate"
        )
    crossed = np.any(lower > upper, axis=1)
    rounding = 1e-12 * orders
    bad = crossed | (upper.sum(axis=1) < orders - rounding) | (lower.sum(axis=1) > orders + rounding)
    if bad.any():
        i = int(np.argmax(bad))
        try:
            refuse_infeasible(_one(problem.total, i, orders, lower, upper))
        except OptimizationError as error:
            raise OptimizationError(f"problem {i}, first of {int(bad.sum()):,}: {error}") from error


def _one(total: SeparableTotal, i: int, orders: Float, lower: Float, upper: Float) -> Problem:
    own = slice(i * lower.shape[1], (i + 1) * lower.shape[1])
    part = SeparableTotal(*(getattr(total, name)[own] for name in total.keys()))
    return Problem(part, float(orders[i]), lower[i], upper[i])


def _certified(x: Float, total: SeparableTotal, orders: Float, lower: Float, upper: Float) -> Allocations:
    """The schedules with their certificates, each judged as `allocate` judges one."""
    m = len(orders)
    numbers = np.empty((4, m))
    for i in range(m):
        problem = _one(total, i, orders, lower, upper)
        known = certify(x[i], problem)
        fault = fault_of(known, problem, 0.0)
        if fault:
            raise OptimizationError(f"problem {i} is not certified: {fault}; solve it by allocate")
        numbers[:, i] = known.cost, known.multiplier, known.kkt_residual, known.duality_gap
    return Allocations(x, *numbers)

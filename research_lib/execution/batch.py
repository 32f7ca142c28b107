"""Many exact allocations (orders x days) in one compiled call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record, numbers
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.attempts import fault_of
from research_lib.execution.bounds import HEADROOM
from research_lib.execution.solvers import (
    NOT_CONVEX,
    NOT_FINITE,
    Problem,
    certify,
    close_sum,
    exact_many,
    from_judged,
    refuse_infeasible,
    total_of,
)
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

    Bounds and objective only: terms, kernels, lots and least children are `allocate`'s, order by order.
    What either costs in time is measured in `reports/benchmarks.md`.

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
    if not isinstance(curve, ImpactCurve):
        raise ValidationError(f"curve must be an ImpactCurve, got {type(curve).__name__}")
    orders = np.atleast_1d(numbers("total_shares", total_shares))
    m, n = len(orders), len(curve) // max(len(orders), 1)
    if orders.ndim != 1 or m == 0 or m * n != len(curve) or not np.all((orders > 0) & np.isfinite(orders)):
        raise ValidationError(
            f"total_shares must be (m,), finite and above 0, with m a divisor of the curve's {len(curve)} intervals; "
            f"got shape {orders.shape}"
        )
    total = total_of(curve, objective)
    lower = _bounds("min_shares", min_shares, (m, n))
    upper = _bounds("max_shares", np.inf if max_shares is None else max_shares, (m, n))
    reach = np.maximum(orders[:, None] * (1.0 + HEADROOM), lower)
    upper = np.minimum(np.minimum(upper, reach), total.capacity.reshape(m, n))
    problem = Problem(total, float(orders.sum()), lower.ravel(), upper.ravel())
    form, x, found = problem.form, np.zeros((m, n)), np.zeros((m, 7))
    if form.faults & NOT_FINITE:
        raise ValidationError("the curve has coefficients that are not finite; refit or drop these problems")
    if not form.faults & NOT_CONVEX:
        exact_many(
            orders, form.kind, form.mixed, form.bends, form.smooth, form.steps, problem.bounds, MOST_SWEEPS, x, found
        )
    _refuse(problem, found[:, 0].astype(int) | form.faults, orders)
    return _certified(x, found, problem, orders)


def _bounds(name: str, shares: ArrayLike, shape: tuple[int, int]) -> Float:
    try:
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, float), shape))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must broadcast to {shape} shares, got {np.shape(shares)}") from error
    if not np.all(array >= 0):
        raise ValidationError(f"{name} must be at least 0, got {array[~(array >= 0)][0]:g}")
    return array


def _refuse(whole: Problem, faults: NDArray[np.int64], orders: Float) -> None:
    """Refuse totals that are not convex, and the first order that its bounds do not admit."""
    if np.any(faults & NOT_CONVEX):
        t, n = int(np.argmax(whole.non_convex())), len(whole.lower) // len(orders)
        raise OptimizationError(f"the total is not convex in interval {t % n} of problem {t // n}; use allocate")
    if faults.any():
        i = int(np.argmax(faults != 0))
        try:
            refuse_infeasible(_one(whole, i, orders))
        except OptimizationError as error:
            raise OptimizationError(f"problem {i}, first of {int(np.sum(faults != 0)):,}: {error}") from error


def _one(whole: Problem, i: int, orders: Float) -> Problem:
    """Problem i alone."""
    n = len(whole.lower) // len(orders)
    own, total = slice(i * n, (i + 1) * n), whole.total
    part = SeparableTotal(*(getattr(total, name)[own] for name in total.keys()))
    return Problem(part, float(orders[i]), whole.lower[own], whole.upper[own])


def _certified(x: Float, found: Float, whole: Problem, orders: Float) -> Allocations:
    """The schedules with their certificates, each judged as `allocate` judges one."""
    numbers = np.empty((4, len(orders)))
    for i, judged in enumerate(found[:, 1:].tolist()):
        known = from_judged(tuple(judged), orders[i])
        if known is None or fault_of(known, orders[i], x.shape[1], 0.0):
            problem = _one(whole, i, orders)
            x[i] = close_sum(x[i], problem)
            known = certify(x[i], problem)
            fault = fault_of(known, orders[i], x.shape[1], 0.0)
            if fault:
                raise OptimizationError(f"problem {i} is not certified: {fault}; solve it by allocate")
        numbers[:, i] = known.cost, known.multiplier, known.kkt_residual, known.duality_gap
    return Allocations(x, *numbers)

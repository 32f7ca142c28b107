"""The optimal split of one order: `allocate`, and its facade `TradeAllocator`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import OptimizerConfig, Record, SolverType, number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.schedules import twap
from research_lib.execution.solvers import (
    Answer,
    Certificate,
    Limits,
    Problem,
    certify,
    refuse_infeasible,
    refuse_non_convex,
    solve_analytical,
    solve_cvxpy,
    solve_scipy,
)
from research_lib.impact.curves import OBJECTIVES, ImpactCurve
from research_lib.impact.model import ImpactModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]

CERTIFIED_GAP = 1e-6
SUM_TOLERANCE_SHARES = 1e-6
SOLVERS: dict[SolverType, Callable[[Problem, Limits], Iterator[Answer]]] = {
    SolverType.ANALYTICAL: solve_analytical,
    SolverType.CVXPY: solve_cvxpy,
    SolverType.SCIPY: solve_scipy,
}


@dataclass(frozen=True)
class Attempt(Record):
    """One backend's try: what it was, whether its answer was certified, why (not), and seconds taken."""

    solver: str
    backend: str
    accepted: bool
    reason: str
    elapsed: float


@dataclass(frozen=True, eq=False)
class Allocation(Record):
    """A schedule with its certificate.

    Attributes
    ----------
    shares : (n,) shares
        Sums to the order within 1e-6 shares, inside the bounds.
    cost : float
        The objective's total, currency (under "impact": currency per share).
    marginal_cost : float
        The multiplier: what one more share would cost.
    kkt_residual, duality_gap : float
        Relative; see `solvers.Certificate`. The cost exceeds the optimum by no more than the gap.
    objective : str
    solver : str
        The one whose answer this is.
    attempts : tuple of Attempt
        Every backend tried, in order.
    elapsed : float
        Seconds over all attempts.
    """

    shares: Float
    cost: float
    marginal_cost: float
    kkt_residual: float
    duality_gap: float
    objective: str
    solver: str
    attempts: tuple[Attempt, ...]
    elapsed: float


def allocate(
    curve: ImpactCurve,
    total_shares: float,
    *,
    min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None,
    objective: str = "cost",
    solver: SolverType | str = SolverType.AUTO,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
    timeout_seconds: float = 300.0,
    validate_inputs: bool = True,
    validate_outputs: bool = True,
) -> Allocation:
    r"""Split `total_shares` over the intervals of `curve` at the least total.

    .. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

    with C_t(x) = x slippage_t(x) under "cost" and impact_t(x) under "impact".

    Parameters
    ----------
    curve : ImpactCurve
        n intervals; its totals must be convex (coefficients at or above 0).
    total_shares : float
        S >= 0, shares; 0 gives zeros.
    min_shares, max_shares : scalar or (n,) shares
        Bounds of each child order; no cap by default.
    objective : "cost" or "impact"
    solver : SolverType or its text
        Tried first; the others follow where its answer cannot be certified.
    max_iterations, tolerance, timeout_seconds
        Limits of each solver: iterations, relative duality gap, seconds.
    validate_inputs, validate_outputs : bool
        Check curve and bounds before, sum, bounds and certificate after.

    Returns
    -------
    Allocation

    Raises
    ------
    ValidationError
        Negative or non-finite order, bounds or coefficients.
    OptimizationError
        Bounds that admit no schedule, a total that is not convex, or no certified answer.

    Notes
    -----
    When C_t is the same convex function in all intervals, equal shares are optimal.
    """
    begin = time.perf_counter()
    limits = Limits(max_iterations, tolerance, timeout_seconds)
    total = number("total_shares", total_shares, 0)
    n = len(curve)
    lower = np.broadcast_to(np.asarray(min_shares, float), (n,))
    upper = np.broadcast_to(np.asarray(total if max_shares is None else max_shares, float), (n,))
    problem = Problem(curve.total(objective), total, lower, upper)
    if validate_inputs:
        _check_inputs(curve, problem)
    refuse_infeasible(problem)
    if total == 0:
        return Allocation(
            np.zeros(n), 0.0, float(problem.total.marginal(0.0).min()), 0.0, 0.0, objective, "none", (), 0.0
        )
    best, certificate, attempts = _solve(problem, SolverType.parse(solver), limits, validate_outputs)
    return Allocation(
        shares=best,
        cost=float(np.sum(problem.total.value(best))),
        marginal_cost=certificate.multiplier,
        kkt_residual=certificate.kkt_residual,
        duality_gap=certificate.duality_gap,
        objective=objective,
        solver=attempts[-1].solver,
        attempts=tuple(attempts),
        elapsed=time.perf_counter() - begin,
    )


def _solve(
    problem: Problem, first: SolverType, limits: Limits, validate: bool
) -> tuple[Float, Certificate, list[Attempt]]:
    """The first certified answer, requested solver first, with the trail of attempts."""
    attempts: list[Attempt] = []
    for solver in sorted(SOLVERS, key=lambda candidate: candidate != first):
        begin = time.perf_counter()
        for answer in SOLVERS[solver](problem, limits):
            certificate, fault = _judge(answer, problem, limits)
            accepted = certificate is not None and (not fault or not validate)
            reason = "; ".join(filter(None, [answer.reason, fault]))
            attempts.append(Attempt(solver.value, answer.backend, accepted, reason, time.perf_counter() - begin))
            if accepted and certificate is not None and answer.shares is not None:
                return answer.shares, certificate, attempts
            logger.warning("%s (%s) gave no certified schedule: %s", solver.value, answer.backend, reason)
            begin = time.perf_counter()
    trail = "; ".join(f"{a.solver}/{a.backend}: {a.reason}" for a in attempts)
    raise OptimizationError(f"no solver gave a certified schedule ({trail}); raise max_iterations or timeout_seconds")


def _judge(answer: Answer, problem: Problem, limits: Limits) -> tuple[Certificate | None, str]:
    """Certificate of an answer and, if it must not be trusted, why."""
    if answer.shares is None:
        return None, ""
    x = answer.shares
    certificate = certify(x, problem)
    allowed = max(CERTIFIED_GAP, limits.tolerance)
    if abs(x.sum() - problem.shares) > max(SUM_TOLERANCE_SHARES, 1e-15 * problem.shares * len(x)):
        return certificate, f"shares sum to {x.sum():.9g} of {problem.shares:.9g}"
    if np.any(x < problem.lower) or np.any(x > problem.upper):
        return certificate, "shares outside their bounds"
    if not certificate.duality_gap <= allowed:
        return certificate, f"duality gap {certificate.duality_gap:.1e} above {allowed:.0e}"
    return certificate, ""


def _check_inputs(curve: ImpactCurve, problem: Problem) -> None:
    for name in curve.keys():
        values = np.asarray(getattr(curve, name))
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValidationError(
                f"curve {name} is not finite in {int(bad.sum()):,} of {len(bad):,} intervals, first in "
                f"{int(np.argmax(bad))} ({values[np.argmax(bad)]}); refit or drop these intervals"
            )
    for name, bound in (("min_shares", problem.lower), ("max_shares", problem.upper)):
        bad = ~(bound >= 0)
        if bad.any():
            raise ValidationError(f"{name} must be at least 0, got {bound[bad][0]:g} in interval {int(np.argmax(bad))}")
    refuse_non_convex(problem.total)


@dataclass(frozen=True, eq=False)
class AllocationResult(Record):
    """What `TradeAllocator.optimize` returns.

    Attributes
    ----------
    optimal_allocation : (n,) shares
    total_impact, naive_impact : float
        The objective's total of the schedule and of equal shares, same curve, order and unit.
    improvement_pct : float
        100 * (naive - total) / naive, on the fitted curve: an in-sample figure.
    beyond_observed : int
        Intervals whose child order exceeds the largest trade size that the fit saw.
    allocation : Allocation
        The certificate and the attempts.
    """

    optimal_allocation: Float
    total_impact: float
    naive_impact: float
    improvement_pct: float
    beyond_observed: int
    allocation: Allocation


class TradeAllocator:
    """Split one order over the intervals of a fitted model.

    Parameters
    ----------
    impact_model : ImpactModel
        Already fitted.
    total_shares : float
        The order, shares, above 0.
    n_intervals : int, optional
        The model's by default; another number re-cuts the session by time of day.
    config : OptimizerConfig, optional
    objective : "cost" or "impact"

    Raises
    ------
    ValidationError
        An order that is not a positive number.
    ModelFittingError
        A model without a curve.
    """

    def __init__(
        self,
        impact_model: ImpactModel,
        total_shares: float,
        n_intervals: int | None = None,
        config: OptimizerConfig | None = None,
        objective: str = "cost",
    ) -> None:
        if objective not in OBJECTIVES:
            raise ValidationError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        self.total_shares = number("total_shares", total_shares, above=0)
        self.config = config or OptimizerConfig()
        self.objective = objective
        self.model = impact_model
        curve = impact_model.curve
        self.n_intervals = len(curve) if n_intervals is None else number("n_intervals", n_intervals, 1, integer=True)
        self.curve = curve.recut(self.n_intervals)
        self.result: AllocationResult | None = None

    def optimize(self, solver: SolverType | str | None = None) -> AllocationResult:
        """Solve with `solver`, by default `config.default_solver`; see `allocate`."""
        config = self.config
        allocation = allocate(
            self.curve,
            self.total_shares,
            min_shares=config.min_trade_size,
            max_shares=config.max_allocation_ratio * self.total_shares,
            objective=self.objective,
            solver=solver or config.default_solver,
            max_iterations=config.max_iterations,
            tolerance=config.tolerance,
            timeout_seconds=config.timeout_seconds,
            validate_inputs=config.validate_inputs,
            validate_outputs=config.validate_outputs,
        )
        equal = twap(self.total_shares, self.n_intervals).shares
        naive = float(np.sum(self.curve.total(self.objective).value(equal)))
        self.result = AllocationResult(
            optimal_allocation=allocation.shares,
            total_impact=allocation.cost,
            naive_impact=naive,
            improvement_pct=100.0 * (naive - allocation.cost) / naive if naive else 0.0,
            beyond_observed=self._beyond_observed(allocation.shares),
            allocation=allocation,
        )
        return self.result

    def plot_allocation(self, save_path: str | Path | None = None, ax: Axes | None = None) -> Axes:
        """Draw the schedule against equal shares, with the cap; save it if asked. Solves first if need be."""
        from research_lib.reporting.plots import plot_schedules, save_figure

        result = self.result or self.optimize()
        cap = self.config.max_allocation_ratio * self.total_shares
        schedules = {
            "optimal": result.optimal_allocation,
            "TWAP": twap(self.total_shares, self.n_intervals).shares,
        }
        axes = plot_schedules(schedules, cap=cap, ax=ax)
        if save_path is not None:
            save_figure(axes, save_path)
        return axes

    def _beyond_observed(self, shares: Float) -> int:
        largest = self.model.fit["diagnostics"]["largest_size"] if self.model.fit else np.inf
        beyond = int(np.sum(shares > largest))
        if beyond:
            logger.warning(
                "%d child orders exceed %g shares, the largest size that the fit saw: their cost is extrapolated",
                beyond,
                largest,
            )
        return beyond

"""The optimal split of one order, with its certificate and the trail of attempts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record, SolverType, number
from research_lib.errors import OptimizationError, ValidationError
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
from research_lib.impact.curves import ImpactCurve

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]

CERTIFIED_GAP = 1e-6
CERTIFIED_RESIDUAL = 1e-3
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
        Name the curve's first coefficient that is not finite before; refuse an answer
        whose sum, bounds or certificate do not hold after.

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
    limits = Limits(
        number("max_iterations", max_iterations, 1, integer=True),
        number("tolerance", tolerance, above=0),
        number("timeout_seconds", timeout_seconds, above=0),
    )
    first = SolverType.parse(solver)
    total, n = number("total_shares", total_shares, 0), len(curve)
    lower = _bound("min_shares", min_shares, n)
    upper = _bound("max_shares", total if max_shares is None else max_shares, n)
    if validate_inputs:
        _check_finite(curve)
    problem = Problem(curve.total(objective), total, lower, np.minimum(upper, np.maximum(total, lower)))
    refuse_non_convex(problem.total)
    refuse_infeasible(problem)
    if total == 0:
        return Allocation(
            np.zeros(n), 0.0, float(problem.total.marginal(0.0).min()), 0.0, 0.0, objective, "none", (), 0.0
        )
    best, certificate, attempts = _solve(problem, first, limits, validate_outputs)
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
    if not abs(certificate.duality_gap) <= allowed:
        return certificate, f"duality gap {certificate.duality_gap:.1e} above {allowed:.0e}"
    if not certificate.kkt_residual <= CERTIFIED_RESIDUAL:
        return certificate, f"KKT residual {certificate.kkt_residual:.1e} above {CERTIFIED_RESIDUAL:.0e}"
    return certificate, ""


def _bound(name: str, bound: ArrayLike, n: int) -> Float:
    """A bound of each interval, (n,) shares, at least 0."""
    try:
        shares = np.broadcast_to(np.asarray(bound, float), (n,))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be a number or ({n},) shares, got {bound!r}") from error
    bad = ~(shares >= 0)
    if bad.any():
        raise ValidationError(f"{name} must be at least 0, got {shares[bad][0]:g} in interval {int(np.argmax(bad))}")
    return shares


def _check_finite(curve: ImpactCurve) -> None:
    for name, values in curve.parameters().items():
        bad = ~np.isfinite(values)
        if bad.any():
            of_interval = bad.reshape(len(bad), -1).any(axis=1)
            raise ValidationError(
                f"curve {name} is not finite in {int(of_interval.sum()):,} of {len(bad):,} intervals, first in "
                f"{int(np.argmax(of_interval))} ({values[bad][0]}); refit or drop these intervals"
            )

"""The optimal split of one order, with its certificate and the trail of attempts."""

from __future__ import annotations

import logging
import time
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import SolverType, number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.attempts import SOLVERS, Attempt, Search
from research_lib.execution.bounds import bounds_of, relaxed
from research_lib.execution.lots import Discrete, discretised
from research_lib.execution.result import Allocation
from research_lib.execution.solvers import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    NOT_CONVEX,
    NOT_FINITE,
    Certificate,
    ConvexTerms,
    Limits,
    Problem,
    Terms,
    refuse_infeasible,
    refuse_non_convex,
    solve_vertex,
    total_of,
    why_not,
)
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.totals import SeparableTotal

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
AGREEMENT = 1e-6
BEST_FEASIBLE = "best feasible"


def allocate(
    curve: ImpactCurve,
    total_shares: float,
    *,
    min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None,
    objective: str = "cost",
    solver: SolverType | str = SolverType.AUTO,
    terms: ConvexTerms | None = None,
    on_infeasible: str = "raise",
    cross_check: bool = False,
    max_iterations: int = 1000,
    tolerance: float = 1e-8,
    timeout_seconds: float = 300.0,
    validate_inputs: bool = True,
    validate_outputs: bool = True,
    lot_size: float | None = None,
    min_trade_size: float = 0.0,
) -> Allocation:
    r"""Split `total_shares` over the intervals of `curve` at the least total.

    .. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

    with C_t(x) = x slippage_t(x) under "cost" and impact_t(x) under "impact".

    Parameters
    ----------
    curve : ImpactCurve
        n intervals, convex totals (coefficients at or above 0). Where all totals are concave
        under equal bounds, the optimum is a vertex and is found by enumeration.
    total_shares : float
        S >= 0, shares; 0 gives zeros.
    min_shares, max_shares : scalar or (n,) shares
        Bounds of each child order; no cap by default. `share_caps` makes caps of participation
        rates and blackouts. A book is never walked beyond its last step.
    objective : "cost" or "impact"
    solver : SolverType or its text
        Tried first; the others follow where its answer cannot be certified. AUTO is the exact
        method, and CVXPY where `terms` couple the intervals.
    terms : ConvexTerms, optional
        Risk aversion, smoothness, turnover, robustness, CVaR: added to the total.
    on_infeasible : "raise" or "relax"
        "relax" raises all caps, or lowers all floors, by the one factor that just admits the order.
    cross_check : bool
        Solve again by another solver; costs must agree within 1e-6 of it.
    max_iterations, tolerance, timeout_seconds
        Iterations of each backend, relative duality gap, seconds for all attempts together.
    validate_inputs, validate_outputs : bool
        Name the curve's first coefficient that is not finite before; refuse an answer
        whose sum, bounds or certificate do not hold after.
    lot_size : shares, optional
        Children in whole lots (1 for whole shares), the rest of the order below one lot in one
        stated child; optimal by greedy on marginal cost. With `terms` a heuristic.
    min_trade_size : shares
        A child of at least this size or none (`min_shares` is a floor of every child). A
        heuristic chooses the intervals that trade; the gap bounds what that may cost.

    Returns
    -------
    Allocation
        Out of time: the best feasible schedule found, with its gap and a warning.

    Raises
    ------
    ValidationError
        Negative or non-finite order, bounds or coefficients.
    OptimizationError
        Bounds that admit no schedule, a total that is neither convex nor easily solved, no
        certified answer, or two solvers that disagree.

    Notes
    -----
    When C_t is the same convex function in all intervals, equal shares are optimal.
    """
    begin = time.perf_counter()
    limits = _limits(max_iterations, tolerance, timeout_seconds)
    first = solver if isinstance(solver, SolverType) else SolverType.parse(solver)
    total = number("total_shares", total_shares, 0)
    problem, relaxation = _stated(curve, total, min_shares, max_shares, objective, terms), ""
    search = Search(problem, limits, trust=not validate_outputs)
    exact = first is SolverType.ANALYTICAL or (first is SolverType.AUTO and terms is None)
    found = search.exact() if exact and total and on_infeasible == "raise" else None
    if found is None:
        problem, relaxation = _admissible(problem, curve, validate_inputs, on_infeasible)
        if total == 0:
            nu = float(problem.total.marginal(problem.lower).min())
            return Allocation(np.zeros(len(curve)), 0.0, nu, 0.0, 0.0, objective, "none", (), 0.0)
        search.problem = problem
        found = _vertex(search) if problem.faults & NOT_CONVEX else search.run(_order(first, problem))
    shares, certificate = found
    done = Discrete(shares, certificate)
    if lot_size is not None or min_trade_size:
        done = _discrete(search, done, lot_size, min_trade_size)
    cost = done.certificate.cost if terms is None else float(np.sum(total_of(curve, objective).value(done.shares)))
    warnings = _warnings(search, certificate, relaxation)
    second = _agreed(search, certificate) if cross_check else None
    return _allocation(search, done, objective, cost, relaxation, warnings, second, begin)


def _allocation(
    search: Search,
    done: Discrete,
    objective: str,
    cost: float,
    relaxation: str,
    warnings: tuple[str, ...],
    second: Attempt | None,
    begin: float,
) -> Allocation:
    certificate, last = done.certificate, search.attempts[-1]
    return Allocation(
        shares=done.shares,
        cost=cost,
        marginal_cost=certificate.multiplier,
        kkt_residual=certificate.kkt_residual,
        duality_gap=certificate.duality_gap,
        objective=objective,
        solver=last.solver if last.accepted else BEST_FEASIBLE,
        attempts=tuple(search.attempts),
        elapsed=time.perf_counter() - begin,
        relaxed=relaxation,
        warnings=warnings,
        penalty=certificate.cost - cost,
        cross_check=second,
        discrete=done.note,
        odd_lot=done.odd_lot,
    )


def _discrete(search: Search, found: Discrete, lot_size: float | None, least: float) -> Discrete:
    """The schedule in lots or children of a least size, if that is asked for."""
    lot = None if lot_size is None else number("lot_size", lot_size, above=0)
    least = number("min_trade_size", least, 0)
    if search.problem.faults & NOT_CONVEX:
        raise OptimizationError("lot_size and min_trade_size need a convex total: greedy on marginal cost errs here")
    return discretised(search.problem, found.shares, found.certificate, lot, least)


@lru_cache(maxsize=64, typed=True)
def _limits(max_iterations: int, tolerance: float, timeout_seconds: float) -> Limits:
    return Limits(
        number("max_iterations", max_iterations, 1, integer=True),
        number("tolerance", tolerance, above=0),
        number("timeout_seconds", timeout_seconds, above=0),
    )


def _warnings(search: Search, certificate: Certificate, relaxation: str) -> tuple[str, ...]:
    """What a careful reader should know, logged as well."""
    notes = [f"bounds relaxed: {relaxation}"] if relaxation else []
    if not search.attempts[-1].accepted:
        notes.append(
            f"out of time after {search.limits.timeout_seconds:g} s: best feasible schedule, at most "
            f"{certificate.duality_gap:.1e} of its cost above the optimum"
        )
    for note in notes:
        logger.warning(note)
    return tuple(notes)


def _stated(
    curve: ImpactCurve,
    total: float,
    min_shares: ArrayLike,
    max_shares: ArrayLike | None,
    objective: str,
    terms: ConvexTerms | None,
) -> Problem:
    """The problem as given, caps no larger than the order and than what a book shows."""
    n = len(curve)
    lower, upper = bounds_of(n, total, min_shares, max_shares)
    if terms is None:
        separable, coupled, constant = total_of(curve, objective), None, 0.0
    else:
        separable, coupled, constant = terms.resolve(curve, objective, total)
    if separable.depth.shape[1] or (coupled is not None and coupled.scenarios):
        upper = np.minimum(upper, _capacity(separable, coupled))
    return Problem(separable, total, lower, upper, coupled, constant)


def _capacity(separable: SeparableTotal, coupled: Terms | None) -> Float:
    """Largest x whose cost is known, (n,) shares."""
    totals = [separable, *(coupled.scenarios if coupled is not None else ())]
    return np.minimum.reduce([total.capacity for total in totals])


def _admissible(problem: Problem, curve: ImpactCurve, validate: bool, on_infeasible: str) -> tuple[Problem, str]:
    """The problem, its bounds relaxed if that is asked for, with how; or the reason why there is no answer."""
    if on_infeasible not in ("raise", "relax"):
        raise ValidationError(f"on_infeasible must be 'raise' or 'relax', got {on_infeasible!r}")
    faults, relaxation = problem.faults, ""
    if validate and faults & NOT_FINITE:
        _check_finite(curve)
    if on_infeasible == "relax" and faults & (CAPS_LOW | FLOORS_HIGH):
        problem, relaxation = relaxed(problem, _capacity(problem.total, problem.terms))
        faults = problem.faults
    if faults & NOT_CONVEX and why_not(problem):
        refuse_non_convex(problem)
    if faults & (CROSSED | CAPS_LOW | FLOORS_HIGH):
        refuse_infeasible(problem)
    return problem, relaxation


def _order(first: SolverType, problem: Problem) -> list[SolverType]:
    """The solver asked for, then the others; AUTO begins with the exact one, or CVXPY where terms couple."""
    if first is SolverType.AUTO:
        first = SolverType.ANALYTICAL if problem.terms is None else SolverType.CVXPY
    return [first, *(solver for solver in SOLVERS if solver is not first)]


def _vertex(search: Search) -> tuple[Float, Certificate]:
    """The optimum of a concave total, noted as an attempt."""
    begin = time.perf_counter()
    shares, certificate = solve_vertex(search.problem)
    known = certificate.cost, certificate.duality_gap, certificate.kkt_residual
    reason = "concave total: the optimum is a vertex"
    attempt = Attempt("vertex", "enumeration", True, reason, time.perf_counter() - begin, len(shares), *known)
    search.attempts.append(attempt)
    return shares, certificate


def _agreed(search: Search, certificate: Certificate) -> Attempt:
    """A second solver's certified attempt whose cost is the same.

    Raises
    ------
    OptimizationError
        The costs differ, or no second solver gave a certified answer.
    """
    used = search.attempts[-1].solver
    if used == "vertex":
        raise OptimizationError("cross_check needs a convex total: a concave one has no second solver here")
    second = Search(search.problem, search.limits)
    _, other = second.run([solver for solver in _order(SolverType.AUTO, search.problem) if solver.value != used])
    scale = max(abs(certificate.cost), abs(other.cost))
    if abs(other.cost - certificate.cost) > AGREEMENT * scale:
        raise OptimizationError(
            f"{used} and {second.attempts[-1].solver} disagree: {certificate.cost:.10g} against {other.cost:.10g}, "
            f"more than {AGREEMENT:g} apart; tighten tolerance or raise max_iterations"
        )
    return second.attempts[-1]


def _check_finite(curve: ImpactCurve) -> None:
    """Name the first coefficient of the curve that is not finite."""
    for name, values in curve.parameters().items():
        bad = np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.any():
            raise ValidationError(
                f"curve {name} is not finite in {int(bad.sum()):,} of {len(bad):,} intervals, first in "
                f"{int(np.argmax(bad))} ({values[np.argmax(bad)]}); refit or drop these intervals"
            )

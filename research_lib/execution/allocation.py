"""The optimal split of one order, with its certificate and the trail of attempts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import SolverType, number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.attempts import SOLVERS, Attempt, Search
from research_lib.execution.lots import Discrete, discretised
from research_lib.execution.portfolio import PortfolioSchedule
from research_lib.execution.result import Allocation
from research_lib.execution.several import allocate_portfolio, shared
from research_lib.execution.solvers import (
    NOT_CONVEX,
    Certificate,
    ConvexTerms,
    Limits,
    Problem,
    exactly_coupled,
    solve_vertex,
    total_of,
)
from research_lib.execution.stated import admissible, coupling_of, stated
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.transient import Kernel

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
AGREEMENT = 1e-6
BEST_FEASIBLE = "best feasible"


class Settings(TypedDict, total=False):
    """What `allocate` takes by keyword."""

    min_shares: ArrayLike
    max_shares: ArrayLike | None
    objective: str
    solver: SolverType | str
    kernel: Kernel | None
    times: ArrayLike | None
    risk_aversion: float
    covariance: ArrayLike | None
    terms: ConvexTerms | None
    on_infeasible: str
    cross_check: bool
    max_iterations: int
    tolerance: float
    timeout_seconds: float
    validate_inputs: bool
    validate_outputs: bool
    lot_size: float | None
    min_trade_size: float


@overload
def allocate(curve: ImpactCurve, total_shares: float, **settings: Unpack[Settings]) -> Allocation: ...


@overload
def allocate(
    curve: Sequence[ImpactCurve], total_shares: ArrayLike, **settings: Unpack[Settings]
) -> PortfolioSchedule: ...


def allocate(
    curve: ImpactCurve | Sequence[ImpactCurve],
    total_shares: Any,
    *,
    min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None,
    objective: str = "cost",
    solver: SolverType | str = SolverType.AUTO,
    kernel: Kernel | None = None,
    times: ArrayLike | None = None,
    risk_aversion: float = 0.0,
    covariance: ArrayLike | None = None,
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
) -> Allocation | PortfolioSchedule:
    r"""Split `total_shares` over the intervals of `curve` at the least total.

    .. math:: \min_x \sum_t C_t(x_t) + \tfrac12 x^\top G x + \lambda \sum_t v_t \Big(S - \sum_{s \le t} x_s\Big)^2
              \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

    with C_t(x) = x slippage_t(x) under "cost" and impact_t(x) under "impact". Without `kernel`
    (G = 0) and `risk_aversion` (lambda = 0) the intervals are independent.

    Parameters
    ----------
    curve : ImpactCurve, or a sequence of m
        n intervals, convex totals (coefficients at or above 0). Where all totals are concave
        under equal bounds, the optimum is a vertex and is found by enumeration. m curves are
        m assets, for `allocate_portfolio`: with bounds, risk_aversion, covariance, max_iterations and
        timeout_seconds; all else is refused.
    total_shares : float, or (m,)
        S >= 0, shares; 0 gives zeros.
    min_shares, max_shares : scalar or (n,) shares
        Bounds of each child order; no cap by default. `share_caps` makes caps of participation
        rates and blackouts. A book is never walked beyond its last step.
    objective : "cost" or "impact"
    solver : SolverType or its text
        Tried first; the others follow where its answer cannot be certified. AUTO is the exact
        method, and CVXPY where `terms`, or a risk averse trader's power curves, have none.
    kernel : callable, optional
        G, currency per share**2 of an array of lags: what a child displaces the price by for itself
        (half of G(0)) and for all later ones, beside the curve, whose impact lasts for one child.
    times : (n,) strictly rising, optional
        Of the children, in the kernel's unit; 0, 1, ..., n - 1 by default. Refused without a kernel.
    risk_aversion : per currency
        lambda >= 0, on the variance of the cost.
    covariance : scalar or (n,) (currency per share)**2, or (m, m)
        v_t, variance of the mid's change from child t to the next, on what is then still held.
    terms : ConvexTerms, optional
        Smoothness, turnover, robustness, CVaR: added to the total.
    on_infeasible : "raise" or "relax"
        "relax" raises all caps, or lowers all floors, by the one factor that just admits the order,
        in whole lots if `lot_size` is given; caps of 0 stay.
    cross_check : bool
        Solve again by another solver; costs must agree within 1e-6 of it. CVaR has only one.
    max_iterations, tolerance, timeout_seconds
        Iterations of each backend, relative duality gap, seconds for all attempts together: when they
        are up, the exact method has its turn still, a second at most.
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
    Allocation, or PortfolioSchedule of several curves
        `cost` holds the transient part, `penalty` risk and terms. Out of time: the best feasible
        schedule found, with its gap and a warning.

    Raises
    ------
    ValidationError
        Negative or non-finite order, bounds or coefficients.
    OptimizationError
        Bounds that admit no schedule, a total that is neither convex nor easily solved, no
        certified answer, a cost that is not finite, or two solvers that disagree.

    Notes
    -----
    When C_t is the same convex function in all intervals, and nothing couples them, equal shares
    are optimal. What a call costs in time is measured in `reports/benchmarks.md`.
    """
    if not isinstance(curve, ImpactCurve):
        return _several(**locals())
    begin = time.perf_counter()
    limits = _limits(max_iterations, tolerance, timeout_seconds, validate_inputs, validate_outputs, cross_check)
    lot = None if lot_size is None else number("lot_size", lot_size, above=0)
    coupling = coupling_of(kernel, times, risk_aversion, covariance, terms, cross_check, len(curve))
    first = solver if isinstance(solver, SolverType) else SolverType.parse(solver)
    total, relaxation = number("total_shares", total_shares, 0), ""
    problem = stated(curve, total, min_shares, max_shares, objective, coupling)
    search = Search(problem, limits, trust=not validate_outputs)
    exact = first is SolverType.ANALYTICAL or (first is SolverType.AUTO and coupling is None)
    found = search.exact() if exact and total and on_infeasible == "raise" else None
    if found is None:
        search.problem, relaxation = admissible(problem, curve, validate_inputs, on_infeasible, lot)
        if total == 0:
            return _nothing(search.problem, objective)
        found = _vertex(search) if search.problem.faults & NOT_CONVEX else search.run(_order(first, search.problem))
    done = _discrete(search, found, lot, min_trade_size)
    second = _agreed(search, found[1]) if cross_check else None
    cost = _own_cost(curve, objective, search.problem, done.shares) if coupling else done.certificate.cost
    warnings = _warnings(search, found[1], relaxation, lot)
    return _allocation(search, done, objective, cost, relaxation, warnings, second, begin)


def _several(curve: Sequence[ImpactCurve], total_shares: ArrayLike, **settings: Any) -> PortfolioSchedule:
    return allocate_portfolio(curve, total_shares, **shared(settings, signature(allocate).parameters))


def _nothing(problem: Problem, objective: str) -> Allocation:
    """The schedule of an order of 0 shares, and what the first one would cost."""
    nu = float(problem.total.marginal(problem.lower).min())
    return Allocation(np.zeros(len(problem.lower)), 0.0, nu, 0.0, 0.0, objective, "none", (), 0.0)


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
    certificate, last, problem = done.certificate, search.attempts[-1], search.problem
    held = problem.terms.per_order(done.shares) if problem.terms is not None else 0.0
    return Allocation(
        shares=done.shares,
        cost=cost,
        marginal_cost=certificate.multiplier + held,
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
        relaxed_caps=problem.upper if relaxation else None,
    )


def _own_cost(curve: ImpactCurve, objective: str, problem: Problem, shares: Float) -> float:
    """What the children cost: the curve's part, and what they displace the price by for those that follow."""
    cost = float(np.sum(total_of(curve, objective).value(shares)))
    decay = problem.terms.decay if problem.terms is not None else None
    return cost + (decay.value(shares) if decay is not None else 0.0)


def _discrete(search: Search, found: tuple[Float, Certificate], lot: float | None, least: float) -> Discrete:
    """The schedule, in lots or children of a least size if that is asked for."""
    shares, certificate = found
    if lot is None and not least:
        return Discrete(shares, certificate)
    least = number("min_trade_size", least, 0)
    if search.problem.faults & NOT_CONVEX:
        raise OptimizationError("lot_size and min_trade_size need a convex total: greedy on marginal cost errs here")
    return discretised(search.problem, shares, certificate, lot, least)


def _limits(*given: Any) -> Limits:
    """Limits and switches as given, checked."""
    try:
        return _checked(*given)
    except TypeError:  # a list or an array has no hash; it is named as what it is
        return _checked.__wrapped__(*given)


@lru_cache(maxsize=64, typed=True)
def _checked(max_iterations: int, tolerance: float, timeout_seconds: float, *switches: bool) -> Limits:
    for name, switch in zip(("validate_inputs", "validate_outputs", "cross_check"), switches, strict=True):
        if not isinstance(switch, bool | np.bool_):
            raise ValidationError(f"{name} must be True or False, got {switch!r}")
    return Limits(
        number("max_iterations", max_iterations, 1, integer=True),
        number("tolerance", tolerance, above=0),
        number("timeout_seconds", timeout_seconds, above=0),
    )


def _warnings(search: Search, certificate: Certificate, relaxation: str, lot: float | None) -> tuple[str, ...]:
    """What a careful reader should know, logged as well."""
    notes = [f"bounds relaxed: {relaxation}"] if relaxation else []
    if lot is not None and lot > search.problem.shares:
        notes.append(f"lot_size {lot:g} is above the order of {search.problem.shares:,.6g}: all of it is one odd lot")
    if not search.attempts[-1].accepted:
        notes.append(
            f"out of time after {search.limits.timeout_seconds:g} s: best feasible schedule, at most "
            f"{certificate.duality_gap:.1e} of its cost above the optimum"
        )
    for note in notes:
        logger.warning(note)
    return tuple(notes)


def _order(first: SolverType, problem: Problem) -> list[SolverType]:
    """The solver asked for, then the others; AUTO begins with the exact one, or CVXPY where it has none."""
    if first is SolverType.AUTO:
        exact = problem.terms is None or exactly_coupled(problem)
        first = SolverType.ANALYTICAL if exact else SolverType.CVXPY
    return [first, *(solver for solver in SOLVERS if solver is not first)]


def _vertex(search: Search) -> tuple[Float, Certificate]:
    """The optimum of a concave total, noted as an attempt."""
    begin = time.perf_counter()
    shares, certificate = solve_vertex(search.problem)
    if not math.isfinite(certificate.cost):
        raise OptimizationError(f"the cost of the best vertex is {certificate.cost}; check units of order and curve")
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

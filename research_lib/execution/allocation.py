"""The optimal split of one order, with its certificate and the trail of attempts."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record, SolverType, number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.attempts import SOLVERS, Attempt, Search
from research_lib.execution.bounds import bound, relaxed
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
    why_not,
)
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.totals import SeparableTotal

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
AGREEMENT = 1e-6
BEST_FEASIBLE = "best feasible"


@dataclass(frozen=True, eq=False)
class Allocation(Record):
    """A schedule with its certificate.

    Attributes
    ----------
    shares : (n,) shares
        Sums to the order within 1e-6 shares, inside the bounds.
    cost : float
        sum_t C_t(x_t), currency (under "impact": currency per share).
    marginal_cost : float
        The multiplier: what one more share would cost.
    kkt_residual, duality_gap : float
        Relative; see `solvers.Certificate`. What was minimised exceeds its optimum by no more than the gap.
    objective : str
    solver : str
        The one whose answer this is; "vertex" where totals are concave.
    attempts : tuple of Attempt
        Every backend tried, in order.
    elapsed : float
        Seconds over all attempts.
    relaxed : str
        How the bounds were relaxed to admit the order; empty if they were not.
    warnings : tuple of str
        What a careful reader should know: time ran out, bounds were relaxed.
    penalty : float
        What further terms add to the cost, in what was minimised.
    cross_check : Attempt, optional
        The second solver that agreed.
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
    relaxed: str = ""
    warnings: tuple[str, ...] = ()
    penalty: float = 0.0
    cross_check: Attempt | None = None

    def summary(self) -> str:
        """The certificate as text."""
        unit = "currency" if self.objective == "cost" else "currency per share, summed over the intervals"
        lines = [
            f"{self.shares.sum():,.6g} shares in {len(self.shares)} intervals, objective {self.objective!r}, "
            f"solver {self.solver}",
            f"cost {self.cost:,.6g} {unit}" + (f", further terms {self.penalty:,.6g}" if self.penalty else ""),
            f"the next share costs {self.marginal_cost:,.6g}",
            f"at most {max(self.duality_gap, 0.0):.1e} of the cost above the optimum, "
            f"KKT residual {self.kkt_residual:.1e}",
            f"children from {self.shares.min():,.6g} to {self.shares.max():,.6g} shares, "
            f"{int(np.sum(self.shares > 0))} intervals traded",
        ]
        if self.cross_check is not None:
            lines.append(f"{self.cross_check.solver} ({self.cross_check.backend}) agrees: {self.cross_check.cost:,.6g}")
        lines += [
            f"tried: {a.solver} ({a.backend}), {'certified' if a.accepted else 'refused'} {a.reason}".rstrip()
            for a in self.attempts
        ]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


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
    if problem.shape.faults or on_infeasible != "raise":
        problem, relaxation = _admissible(problem, curve, validate_inputs, on_infeasible)
    if total == 0:
        nu = float(problem.total.marginal(problem.lower).min())
        return Allocation(np.zeros(len(curve)), 0.0, nu, 0.0, 0.0, objective, "none", (), 0.0)
    search = Search(problem, limits, trust=not validate_outputs)
    shares, certificate = _vertex(search) if problem.shape.faults & NOT_CONVEX else search.run(_order(first, problem))
    cost = certificate.cost if terms is None else float(np.sum(curve.total(objective).value(shares)))
    return Allocation(
        shares=shares,
        cost=cost,
        marginal_cost=certificate.multiplier,
        kkt_residual=certificate.kkt_residual,
        duality_gap=certificate.duality_gap,
        objective=objective,
        solver=search.attempts[-1].solver if search.attempts[-1].accepted else BEST_FEASIBLE,
        attempts=tuple(search.attempts),
        relaxed=relaxation,
        warnings=_warnings(search, certificate, relaxation),
        penalty=certificate.cost - cost,
        cross_check=_agreed(search, certificate) if cross_check else None,
        elapsed=time.perf_counter() - begin,
    )


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
    lower = bound("min_shares", min_shares, n)
    upper = bound("max_shares", total if max_shares is None else max_shares, n)
    if terms is None:
        separable, coupled, constant = curve.total(objective), None, 0.0
    else:
        separable, coupled, constant = terms.resolve(curve, objective, total)
    if max_shares is not None:
        upper = np.minimum(upper, np.maximum(total, lower))
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
    if validate and problem.shape.faults & NOT_FINITE:
        _check_finite(curve)
    relaxation = ""
    if on_infeasible == "relax" and problem.shape.faults & (CAPS_LOW | FLOORS_HIGH):
        problem, relaxation = relaxed(problem, _capacity(problem.total, problem.terms))
    if problem.shape.faults & NOT_CONVEX and why_not(problem):
        refuse_non_convex(problem)
    if problem.shape.faults & (CROSSED | CAPS_LOW | FLOORS_HIGH):
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

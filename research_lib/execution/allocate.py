"""The optimal split of one order, or of many, with its certificate and the trail of attempts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, numbers
from research_lib.config import Record, SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.cvxpy_solver import solve_cvxpy, solve_quadratic
from research_lib.execution.exact import (
    SUM_ROUNDING,
    Certificate,
    close_sum,
    exact_split,
    solve_many,
)
from research_lib.execution.fallback import Answer, Attempt, Limits, Search, fault_of
from research_lib.execution.lots import Discrete, in_lots, relaxed
from research_lib.execution.problem import (
    HEADROOM,
    Problem,
    bounds_of,
    check_concave,
    check_finite,
    solve_vertex,
)
from research_lib.execution.quadratic import OutOfTimeError, Quadratic, StateDecay
from research_lib.execution.schedules import ROUNDING, drawn, table
from research_lib.execution.scipy_solver import solve_scipy
from research_lib.execution.terms import ConvexTerms, coupled, total_of
from research_lib.impact import ImpactCurve, Kernel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
Solver = Callable[[Problem, Limits], Iterator[Answer]]
AGREEMENT = 1e-6
BEST_FEASIBLE = "best feasible"


@dataclass(frozen=True, eq=False)
class Allocation(Record):
    """A schedule with its certificate.

    Attributes
    ----------
    shares : (n,) shares
        Sums to the order, inside the bounds.
    cost : float
        sum_t C_t(x_t), currency (under "impact": currency per share).
    marginal_cost : float
        What one more share would cost, of what was minimised: the multiplier, and under risk
        aversion what holding that share from the start adds.
    kkt_residual, duality_gap : float
        Relative; see `Certificate`. What was minimised exceeds its optimum by no more than the gap.
    objective : str
    solver : str
        The one whose answer this is; "vertex" where totals are concave.
    attempts : tuple of Attempt
        Every backend tried, in order; their gaps and residuals are those of the continuous
        schedule.
    elapsed : float
        Seconds over all attempts.
    relaxed : str
        How the bounds were relaxed to admit the order; empty if they were not.
    warnings : tuple of str
        What a careful reader should know: time ran out, bounds were relaxed, child orders beyond
        what a fit saw.
    penalty : float
        What further terms add to the cost, in what was minimised.
    cross_check : Attempt, optional
        The second solver that agreed.
    discrete : str
        How shares were made whole lots. Gap and residual are then against the continuous problem.
    odd_lot : int, optional
        The interval that takes the rest of the order below one lot.
    relaxed_caps : (n,) shares, optional
        The caps that the order was solved under, where bounds were relaxed.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> allocate(LinearImpact([1e-5, 2e-5]), 300).to_frame()["left"].round(6).tolist()
    [100.0, 0.0]
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
    discrete: str = ""
    odd_lot: int | None = None
    relaxed_caps: Float | None = None

    def to_frame(self) -> pd.DataFrame:
        """Index interval; columns shares, part_% of the order, left: shares still to trade after
        it.
        """
        return table(self.shares)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares by interval, as steps."""
        return drawn(self.shares, self.solver, ax)

    def summary(self) -> str:
        """The certificate as text."""
        x, residual, proof = self.shares, self.kkt_residual, "the optimum"
        unit = "currency" + " per share, summed over the intervals" * (self.objective != "cost")
        if self.discrete and self.attempts:
            proof, residual = (
                "what is proven to be the least; before rounding",
                self.attempts[-1].kkt_residual,
            )
        further = f", further terms {self.penalty:,.6g}" if self.penalty else ""
        lines = [
            f"{x.sum():,.6g} shares in {len(x)} intervals, objective {self.objective!r}, "
            f"solver {self.solver}",
            f"cost {self.cost:,.6g} {unit}{further}",
            f"the next share costs {self.marginal_cost:,.6g}",
            f"at most {max(self.duality_gap, 0.0):.1e} of the cost above {proof}, "
            f"KKT residual {residual:.1e}",
            f"child orders from {x.min():,.6g} to {x.max():,.6g} shares, "
            f"{int(np.sum(x > 0))} intervals traded",
        ]
        lines += [self.discrete] if self.discrete else []
        if (check := self.cross_check) is not None:
            lines.append(f"{check.solver} ({check.backend}) agrees: {check.cost:,.6g}")
        for tried in self.attempts:
            what = "certified" if tried.accepted else "refused"
            lines.append(f"tried: {tried.solver} ({tried.backend}), {what} {tried.reason}".rstrip())
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def allocate(
    curve: ImpactCurve,
    total_shares: float,
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
) -> Allocation:
    r"""Split `total_shares` over the intervals of `curve` at the least total.

    .. math:: \min_x \sum_t C_t(x_t) + \tfrac12 x^\top G x + \lambda \sum_t v_t
              \Big(S - \sum_{s \le t} x_s\Big)^2
              \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

    with C_t(x) = x slippage_t(x) under "cost" and impact_t(x) under "impact". Without `kernel` (G =
    0) and `risk_aversion` (lambda = 0) the intervals are independent, and where C_t is the same
    convex function in all of them equal shares are optimal.

    Parameters
    ----------
    curve : ImpactCurve
        n intervals, convex totals (coefficients at or above 0). Where all totals are concave under
        equal bounds, the optimum is a vertex and is found by enumeration.
    total_shares : float
        S >= 0, shares; 0 gives zeros.
    min_shares, max_shares : scalar or (n,) shares
        Bounds of each child order; no cap by default. A Series is aligned by its labels 0 to n - 1.
        `share_caps` makes caps of participation rates and blackouts. A book is never walked beyond
        its last step.
    objective : "cost" or "impact"
    solver : SolverType or its text
        Tried first; the others follow where its answer cannot be certified. AUTO is the exact
        method, and CVXPY where the terms have none.
    kernel : callable, optional
        G, currency per share**2 of an array of lags: what a child order displaces the price by for
        itself (half of G(0)) and for all later ones, beside the curve, whose impact lasts for one
        child order.
    times : (n,) strictly rising, optional
        Of the child orders, in the kernel's unit; 0, 1, ..., n - 1 by default. Refused without a
        kernel.
    risk_aversion : per currency
        lambda >= 0, on the variance of the cost.
    covariance : scalar or (n,) (currency per share)**2
        v_t, variance of the mid's change from child order t to the next, on what is then still
        held.
    terms : ConvexTerms, optional
        Smoothness, turnover, robustness, CVaR: added to the total.
    on_infeasible : "raise" or "relax"
        "relax" raises all caps, or lowers all floors, by the one factor that just admits the order,
        in whole lots if `lot_size` is given; caps of 0 stay.
    cross_check : bool
        Solve again by another solver; costs must agree within 1e-6 of it. CVaR has only one.
    max_iterations, tolerance, timeout_seconds
        Iterations of each backend, relative duality gap, seconds for all attempts together.
    validate_inputs, validate_outputs : bool
        Name the curve's first coefficient that is not finite before; refuse an answer whose sum,
        bounds or certificate do not hold after.
    lot_size : shares, optional
        Child orders in whole lots (1 for whole shares), the rest of the order below one lot in one
        of them; optimal by greedy on marginal cost. With `terms` a heuristic.

    Returns
    -------
    Allocation
        `cost` holds the transient part, `penalty` risk and terms. Out of time: the best feasible
        schedule found, with its gap and a warning.

    Raises
    ------
    ValidationError
        Negative or non-finite order, bounds or coefficients.
    OptimizationError
        Bounds that admit no schedule, a total that is neither convex nor easily solved, no
        certified answer, a cost that is not finite, or two solvers that disagree.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> best = allocate(LinearImpact([1e-5, 2e-5, 4e-5]), 700, max_shares=350)
    >>> best.shares.round(6).tolist(), round(best.cost, 6)
    ([350.0, 233.333333, 116.666667], 2.858333)
    """
    begin = time.perf_counter()
    first = solver if isinstance(solver, SolverType) else SolverType.parse(solver)
    limits = Limits.checked(max_iterations, tolerance, timeout_seconds)
    for name, switch in (
        ("validate_inputs", validate_inputs),
        ("validate_outputs", validate_outputs),
        ("cross_check", cross_check),
    ):
        if not isinstance(switch, bool | np.bool_):
            raise ValidationError(f"{name} must be True or False, got {switch!r}")
    lot = None if lot_size is None else number("lot_size", lot_size, above=0)
    order = number("total_shares", total_shares, 0)
    if not isinstance(curve, ImpactCurve):
        raise ValidationError(f"curve must be an ImpactCurve, got {type(curve).__name__}")
    total, joint, constant = coupled(
        curve, objective, order, kernel, times, risk_aversion, covariance, terms
    )
    bounds = bounds_of(len(curve), order, min_shares, max_shares)
    problem = Problem(total, order, *bounds, joint, constant).within_capacity()
    if validate_inputs and not total.finite:
        check_finite(curve)
    problem, relaxation = _admissible(problem, on_infeasible, lot)
    if order == 0:
        nu = float(total.marginal(problem.lower).min())
        return Allocation(np.zeros(len(curve)), 0.0, nu, 0.0, 0.0, objective, "none", (), 0.0)
    search = Search(problem, limits, _solvers(first, problem), trust=not validate_outputs)
    done = _solved(search, lot)
    return _reported(
        search, done, curve, objective, _agreed(search) if cross_check else None, relaxation, begin
    )


def _admissible(problem: Problem, on_infeasible: str, lot: float | None) -> tuple[Problem, str]:
    """The problem, its bounds relaxed if that is asked for, with how; or the reason why there is
    no answer.
    """
    relaxation = ""
    if on_infeasible not in ("raise", "relax"):
        raise ValidationError(f"on_infeasible must be 'raise' or 'relax', got {on_infeasible!r}")
    if on_infeasible == "relax":
        problem, relaxation = relaxed(problem, lot)
        if problem.why_infeasible().startswith(("cap", "the books")):
            raise OptimizationError(
                f"cap admits {problem.upper.sum():,.6g} of {problem.shares:,.6g} shares, and no "
                "relaxation admits them: caps of 0 stay, and none exceeds what the books show; "
                "open "
                "intervals or lengthen the horizon"
            )
    if problem.non_convex.any():
        check_concave(problem)
    if reason := problem.why_infeasible():
        raise OptimizationError(reason)
    return problem, relaxation


def _solved(search: Search, lot: float | None) -> Discrete:
    """The split and its certificate, in whole lots if that is asked for; `search` keeps the
    attempts.
    """
    problem = search.problem
    if not problem.non_convex.any():
        found = search.run()
        return Discrete(*found) if lot is None else in_lots(problem, *found, lot)
    if lot is not None:
        raise OptimizationError("lots need a convex total: greedy on marginal cost errs here")
    begin = time.perf_counter()
    shares, certificate = solve_vertex(problem)
    if not math.isfinite(certificate.cost):
        raise OptimizationError(
            f"the cost of the best vertex is {certificate.cost}; check units of order and curve"
        )
    known = certificate.cost, certificate.duality_gap, certificate.kkt_residual
    reason, elapsed = "concave total: the optimum is a vertex", time.perf_counter() - begin
    search.attempts.append(
        Attempt("vertex", "enumeration", True, reason, elapsed, len(shares), *known)
    )
    search.found = shares, certificate
    return Discrete(shares, certificate)


def _reported(
    search: Search, done: Discrete, curve: ImpactCurve, objective: str,
    second: Attempt | None, relaxation: str, begin: float,
) -> Allocation:  # fmt: skip
    """What was found, priced, with what a careful reader should know of it, which is logged as
    well.
    """
    problem, last, certificate = search.problem, search.attempts[-1], done.certificate
    x, cost, held = done.shares, certificate.cost, 0.0
    if problem.terms is not None or problem.constant:
        cost = float(np.sum(total_of(curve, objective).value(x)))
    if (joint := problem.terms) is not None:
        cost += joint.decay.value(x) if joint.decay is not None else 0.0
        held = joint.per_order(x)
    notes = [f"bounds relaxed: {relaxation}"] if relaxation else []
    notes += [done.warning] if done.warning else []
    if not last.accepted:
        notes.append(
            f"out of time after {search.limits.timeout_seconds:g} s: best feasible schedule, at "
            "most "
            f"{search.found[1].duality_gap:.1e} of its cost above the optimum"
        )
    largest = getattr(curve, "largest_size", None)
    beyond = 0 if largest is None else int(np.sum(x > np.asarray(largest) * (1.0 + ROUNDING)))
    if beyond:
        notes.append(
            f"{beyond} child orders exceed the largest size that their interval's fit saw: "
            "their cost is extrapolated"
        )
    for note in notes:
        logger.warning(note)
    return Allocation(
        x, cost, certificate.multiplier + held, certificate.kkt_residual, certificate.duality_gap,
        objective, last.solver if last.accepted else BEST_FEASIBLE, tuple(search.attempts),
        time.perf_counter() - begin, relaxation, tuple(notes), certificate.cost - cost, second,
        done.note, done.odd_lot, problem.upper if relaxation else None,
    )  # fmt: skip


def _agreed(search: Search) -> Attempt:
    """A second solver's certified attempt whose cost is the same.

    Raises
    ------
    OptimizationError
        The costs differ, or no second solver gave a certified answer.
    """
    used, problem, cost = search.attempts[-1].solver, search.problem, search.found[1].cost
    if used == "vertex":
        raise OptimizationError(
            "cross_check needs a convex total, a concave one has one solver here"
        )
    if problem.terms is not None and problem.terms.scenarios:
        raise ValidationError(
            "cross_check needs two solvers, and CVaR over scenarios has only CVXPY; leave it out"
        )
    others = {solver: solve for solver, solve in search.solvers.items() if solver.value != used}
    second = Search(problem, search.limits, others)
    other = second.run()[1].cost
    if abs(other - cost) > AGREEMENT * max(abs(cost), abs(other)):
        raise OptimizationError(
            f"{used} and {second.attempts[-1].solver} disagree: {cost:.10g} against {other:.10g}, "
            f"more than {AGREEMENT:g} apart; tighten tolerance or raise max_iterations"
        )
    return second.attempts[-1]


def _solvers(first: SolverType, problem: Problem) -> dict[SolverType, Solver]:
    """The solver asked for, then the others; AUTO begins with the exact one, or CVXPY where it has
    none.
    """
    if first is SolverType.AUTO:
        exact = problem.terms is None or quadratic_of(problem) is not None
        first = SolverType.ANALYTICAL if exact else SolverType.CVXPY
    return {first: SOLVERS[first]} | SOLVERS


def solve_analytical(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """The exact optimum: by the multiplier, or by the structure of quadratic terms that couple the
    intervals.
    """
    if problem.terms is None:
        split, sweeps, found = exact_split(
            problem.total, problem.shares, problem.bounds, limits.max_iterations
        )
        yield Answer("multiplier", split, "", sweeps, certificate=found.plus(problem.constant))
        return
    quadratic = quadratic_of(problem)
    if quadratic is None:
        yield Answer("structured", None, "the terms have no structured solver")
        return
    try:
        x, solves = least_between(quadratic, problem.lower, problem.upper, limits)
    except OutOfTimeError as error:
        yield Answer(quadratic.method, None, str(error), timed_out=True)
        return
    if x is None:
        yield Answer(quadratic.method, None, "cost is not convex, or singular to rounding")
        return
    found = quadratic.certificate(x, problem.lower, problem.upper).plus(problem.constant)
    method = quadratic.method + (" with an active set" if solves > 1 else "")
    yield Answer(method, x, "", solves, certificate=found)


def quadratic_of(problem: Problem) -> Quadratic | None:
    """The problem's cost as a structured quadratic function, if it is one."""
    total, terms = problem.total, problem.terms
    if terms is None or not terms.quadratic or terms.smoothness or total.depth.shape[1]:
        return None
    if total.cubic.any() or total.scale.any() or np.any(total.quadratic < 0):
        return None
    n = len(total)
    decay = StateDecay(np.zeros((n - 1, 0)), np.zeros(0)) if terms.decay is None else terms.decay
    holding = np.zeros(n) if terms.holding is None else np.append(terms.holding[:-1], 0.0)
    return Quadratic(problem.shares, decay, total.quadratic, total.linear, holding)


SOLVERS: dict[SolverType, Solver] = {
    SolverType.ANALYTICAL: solve_analytical,
    SolverType.CVXPY: solve_cvxpy,
    SolverType.SCIPY: solve_scipy,
}


def least_between(
    quadratic: Quadratic, lower: Float, upper: Float, limits: Limits
) -> tuple[Float | None, int]:
    """The optimum between bounds (n,), some of which may be infinite, and the solves it took; None
    if not convex.

    Where exchanging whole sets of bounds repeats itself, CVXPY finds the set, and one exact solve
    polishes it.
    """
    end = time.perf_counter() + limits.timeout_seconds
    x, solves = quadratic.bounded(lower, upper, end=end)
    if x is not None or quadratic.least(lower == upper, lower) is None:
        return x, solves
    rough = solve_quadratic(quadratic, lower, upper, limits)
    if rough is None:
        return None, solves
    near = SUM_ROUNDING**0.5 * float(np.max(np.abs(rough)))
    start = np.where(rough - lower <= near, lower, np.where(upper - rough <= near, upper, rough))
    polished, more = quadratic.bounded(lower, upper, start, end)
    if polished is None:
        span = abs(quadratic.shares) + float(np.max(np.abs(rough)))
        room = np.maximum(lower, rough - span), np.minimum(upper, rough + span)
        polished = quadratic.descended(close_sum(rough, quadratic.shares, *room), lower, upper)
    return polished, solves + more


@dataclass(frozen=True, eq=False)
class Allocations(Record):
    """m schedules of n intervals and their certificates; see `Allocation` and `allocate_many`.

    Attributes
    ----------
    shares : (m, n) shares
    cost, marginal_cost, kkt_residual, duality_gap : (m,)

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> allocate_many(LinearImpact([1e-5, 2e-5]), [300]).cost.round(6).tolist()
    [0.6]
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
    """The exact split of m orders over n intervals each, as `allocate` with the analytical solver,
    in one call.

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

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> curve = LinearImpact([1e-5, 2e-5, 4e-5]).take([0, 1, 2, 0, 1, 2])
    >>> allocate_many(curve, [700, 1400]).shares.round(6).tolist()
    [[400.0, 200.0, 100.0], [800.0, 400.0, 200.0]]
    """
    if not isinstance(curve, ImpactCurve):
        raise ValidationError(f"curve must be an ImpactCurve, got {type(curve).__name__}")
    orders = np.atleast_1d(numbers("total_shares", total_shares))
    m, n = len(orders), len(curve) // max(len(orders), 1)
    good = orders.ndim == 1 and m * n == len(curve) and m > 0
    if not good or not np.all((orders > 0) & np.isfinite(orders)):
        raise ValidationError(
            "total_shares must be (m,), finite and above 0, with m a divisor of the curve's "
            f"{len(curve)} intervals; got shape {orders.shape}"
        )
    total = curve.total(objective)
    if not total.finite:
        raise ValidationError("the curve has coefficients that are not finite; refit or drop them")
    lower = _broadcast("min_shares", min_shares, (m, n))
    upper = _broadcast("max_shares", np.inf if max_shares is None else max_shares, (m, n))
    upper = np.minimum(upper, np.maximum(orders[:, None] * (1.0 + HEADROOM), lower))
    upper = np.minimum(upper, total.capacity.reshape(m, n))
    bad = Problem(total, 1.0, lower.ravel(), upper.ravel()).non_convex
    if bad.any():
        i, t = divmod(int(np.argmax(bad)), n)
        message = f"the total is not convex in interval {t} of problem {i}; use allocate"
        raise OptimizationError(message)
    infeasible = (lower > upper).any(axis=1)
    infeasible |= upper.sum(axis=1) < orders * (1.0 - SUM_ROUNDING)
    infeasible |= lower.sum(axis=1) > orders * (1.0 + SUM_ROUNDING)

    def problem(i: int) -> Problem:
        return Problem(total.take(slice(i * n, (i + 1) * n)), float(orders[i]), lower[i], upper[i])

    if infeasible.any():
        i = int(np.argmax(infeasible))
        reason = problem(i).why_infeasible()
        raise OptimizationError(f"problem {i}, first of {int(infeasible.sum()):,}: {reason}")
    x, known = solve_many(total, orders, (lower.ravel(), upper.ravel()))
    for i, found in enumerate(known.tolist()):
        if fault := fault_of(Certificate(*found), float(orders[i]), n, 0.0):
            raise OptimizationError(f"problem {i} is not certified: {fault}; solve it by allocate")
    return Allocations(x, *known.T[:4])


def _broadcast(name: str, shares: ArrayLike, shape: tuple[int, int]) -> Float:
    try:
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(shares, float), shape))
    except (TypeError, ValueError) as error:
        message = f"{name} must broadcast to {shape} shares, got {np.shape(shares)}"
        raise ValidationError(message) from error
    if not np.all(array >= 0):
        raise ValidationError(f"{name} must be at least 0, got {array[~(array >= 0)][0]:g}")
    return array

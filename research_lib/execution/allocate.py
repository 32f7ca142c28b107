"""The optimal split of one order or of many, with certificate and list of attempts."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from research_lib.checks import ArrayLike, Float, number, numbers, refuse_unknown, same_labels
from research_lib.config import Record, SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import problem as problems
from research_lib.execution.exact import Certificate, solve_many
from research_lib.execution.fallback import SOLVERS, Attempt, Found, certify, fault_of, search
from research_lib.execution.problem import HEADROOM, Limits, Problem
from research_lib.execution.schedules import ROUNDING, Split
from research_lib.impact import ImpactCurve, Kernel, SeparableTotal

logger = logging.getLogger(__name__)
AGREEMENT = 1e-6


@dataclass(frozen=True, eq=False)
class Allocation(Split):
    """A schedule with its certificate.

    Attributes
    ----------
    shares : (n,) shares
        Sums to the order, inside the bounds.
    cost : float
        sum_t C_t(x_t), and the transient cost, currency (under "impact": currency per share).
    marginal_cost : float
        Increase of the minimised objective for one more share: the multiplier, and under risk
        aversion the cost of holding that share from the start. NaN where bounds fix all shares and
        the intervals are independent.
    kkt_residual, duality_gap : float
        Relative; see `Certificate`. The minimised objective exceeds its optimum by no more than the
        gap; for whole lots, the optimum without lots.
    objective : str
    solver : str
        The solver that found the schedule.
    attempts : tuple of Attempt
        Every backend tried, in order; their gaps and residuals are those of the continuous
        schedule.
    elapsed : float
        Seconds over all attempts.
    relaxed : str
        How the bounds were relaxed to admit the order; empty if they were not.
    warnings : tuple of str
        Limitations: time ran out, bounds were relaxed, child orders exceed the sizes of a fit.
    penalty : float
        Risk aversion times variance, minimised together with the cost.
    cross_check : Attempt, optional
        Attempt of the second solver, which agreed.
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
    relaxed_caps: Float | None = None

    def summary(self) -> str:
        """The certificate as text."""
        x, penalty = self.shares, f", risk {self.penalty:,.6g}" if self.penalty else ""
        order = f"{x.sum():,.6g} shares in {len(x)} intervals"
        lines = [
            f"{order}, objective {self.objective!r}, solver {self.solver}",
            f"cost {self.cost:,.6g}{penalty}; the next share costs {self.marginal_cost:,.6g}",
            f"at most {max(self.duality_gap, 0.0):.1e} of the cost above the optimum, "
            f"KKT residual {self.kkt_residual:.1e}",
        ]
        if (check := self.cross_check) is not None:
            lines.append(f"{check.solver} ({check.backend}) agrees: {check.cost:,.6g}")
        for tried in self.attempts:
            what = "certified" if tried.accepted else "refused"
            lines.append(f"tried: {tried.solver} ({tried.backend}), {what} {tried.reason}".rstrip())
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def allocate(
    curve: ImpactCurve, total_shares: float, *, min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None, objective: str = "cost",
    solver: SolverType | str = SolverType.AUTO, kernel: Kernel | None = None,
    times: ArrayLike | None = None, risk_aversion: float = 0.0, covariance: ArrayLike | None = None,
    on_infeasible: str = "raise", cross_check: bool = False, max_iterations: int = 1000,
    tolerance: float = 1e-8, timeout_seconds: float = 300.0, validate_inputs: bool = True,
    validate_outputs: bool = True, lot_size: float | None = None,
) -> Allocation:  # fmt: skip
    r"""Split `total_shares` over the intervals of `curve` so that the total is least.

    .. math:: \min_x \sum_t C_t(x_t) + \tfrac12 x^\top G x + \lambda \sum_t v_t
              \Big(S - \sum_{s \le t} x_s\Big)^2
              \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

    with C_t(x) = x slippage_t(x) under "cost" and impact_t(x) under "impact". Without `kernel` (G =
    0) and `risk_aversion` (lambda = 0) the intervals are independent, and where C_t is the same
    convex function in all of them equal shares are optimal.

    Parameters
    ----------
    curve : ImpactCurve
        n intervals, convex totals (coefficients at or above 0).
    total_shares : float
        S >= 0, shares; 0 gives zeros.
    min_shares, max_shares : scalar or (n,) shares
        Bounds of each child order; no cap by default. A Series is aligned by its labels 0 to n - 1.
        See `share_caps` for participation rates and blackouts. A book is never walked beyond its
        last step.
    objective : "cost" or "impact"
    solver : SolverType or its text
        Tried first; the others follow if its answer cannot be certified. AUTO is the exact method,
        or CVXPY where there is none: coupled intervals with a curve that is not linear.
    kernel : callable, optional
        G, currency per share**2 of an array of lags: displacement of the price by a child order,
        for itself (half of G(0)) and for all later ones. It is added to the curve, whose impact
        lasts for one child order.
    times : (n,) strictly rising, optional
        Times of the child orders in the kernel's unit; 0, 1, ..., n - 1 by default. Refused without
        a kernel.
    risk_aversion : per currency
        lambda >= 0, on the variance of the cost.
    covariance : scalar or (n,) (currency per share)**2
        v_t, variance of the mid's change from child order t to the next; it applies to the shares
        still held.
    on_infeasible : "raise" or "relax"
        "relax" multiplies all caps, or all floors, by the factor that just admits the order; caps
        of 0 stay.
    cross_check : bool
        Solve again with another solver; the costs must agree within 1e-6, relative.
    max_iterations, tolerance, timeout_seconds
        Iterations of each backend, relative duality gap, seconds for all attempts together.
    validate_inputs, validate_outputs : bool
        Before: refuse a curve with a coefficient that is not finite. After: refuse an answer whose
        sum, bounds or certificate do not hold.
    lot_size : shares, optional
        Child orders in whole lots (1 for whole shares), as must be the order. Greedy on marginal
        cost, which is optimal unless intervals are coupled.

    Returns
    -------
    Allocation
        `cost` includes the transient part, `penalty` is the risk. Out of time, it is the best
        feasible schedule found, with its gap and a warning.

    Raises
    ------
    ValidationError
        Negative or non-finite order, bounds or coefficients.
    OptimizationError
        Bounds that admit no schedule, a total that is not convex, no certified answer, a cost that
        is not finite, or two solvers that disagree.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> best = allocate(LinearImpact([1e-5, 2e-5, 4e-5]), 700, max_shares=350)
    >>> best.shares.round(6).tolist(), round(best.cost, 6)
    ([350.0, 233.333333, 116.666667], 2.858333)
    """
    first = SolverType.parse(solver)
    limits = Limits(max_iterations, tolerance, timeout_seconds)
    refuse_unknown([on_infeasible], ("raise", "relax"), "on_infeasible")
    lot = None if lot_size is None else number("lot_size", lot_size, above=0)
    order = number("total_shares", total_shares, 0)
    total = curve.total(objective)
    if validate_inputs and not total.finite:
        problems.check_finite(curve)
    n = len(curve)
    coupling = problems.coupling_of(n, order, kernel, times, risk_aversion, covariance, objective)
    lower, upper = problems.bounds_of(n, order, min_shares, max_shares)
    if total.depth.shape[1]:
        upper = np.minimum(upper, total.capacity)
    problem, relaxed = Problem(total, order, lower, upper, coupling), ""
    if on_infeasible == "relax":
        problem, relaxed = problem.relaxed()
    problems.check_convex(problem)
    if fault := problems.why_infeasible(order, problem.lower, problem.upper, total.capacity):
        raise OptimizationError(fault)
    if order == 0:
        nu = float(total.marginal(lower).min())
        return Allocation(np.zeros(n), 0.0, nu, 0.0, 0.0, objective, "none", (), 0.0)
    if first is SolverType.AUTO:
        exact = coupling is None or problem.quadratic is not None
        first = SolverType.ANALYTICAL if exact else SolverType.CVXPY
    solvers = [first, *(other for other in SOLVERS if other is not first)]
    found = search(problem, limits, solvers, trust=not validate_outputs)
    second = _agreed(problem, limits, solvers, found) if cross_check else None
    x, proof = (found.shares, found.certificate) if lot is None else in_lots(problem, found, lot)
    beyond = int(np.sum(x > most * (1.0 + ROUNDING))) if np.ndim(most := curve.largest_size) else 0
    warnings = tuple(_warnings(found, limits, relaxed, lot and coupling, beyond))
    for text in warnings:
        logger.warning(text)
    (penalty, held), last = problem.risk(x), found.attempts[-1]
    return Allocation(
        x, proof.cost - penalty, proof.multiplier + held, proof.kkt_residual, proof.duality_gap,
        objective, last.solver if found.in_time else "best feasible", found.attempts,
        time.perf_counter() - limits.begin, relaxed, warnings, penalty, second,
        problem.upper if relaxed else None,
    )  # fmt: skip


def _warnings(found: Found, limits: Limits, relaxed: str, joint: Any, beyond: int) -> Iterator[str]:
    """What a careful reader should know."""
    if relaxed:
        yield f"bounds relaxed: {relaxed}"
    if joint:
        yield "lots are a heuristic: coupled intervals are rounded by their tangents"
    if not found.in_time:
        late = f"out of time after {limits.timeout_seconds:g} s: best feasible schedule"
        yield f"{late}, at most {found.certificate.duality_gap:.1e} of its cost above the optimum"
    if beyond:
        yield f"{beyond} child orders exceed the largest size of their fit: costs are extrapolated"


def _agreed(problem: Problem, limits: Limits, solvers: list[SolverType], found: Found) -> Attempt:
    """A second solver's certified attempt whose cost is the same.

    Raises
    ------
    OptimizationError
        The costs differ, or no second solver gave a certified answer.
    """
    used, cost = found.attempts[-1].solver, found.certificate.cost
    second = search(problem, limits, [one for one in solvers if one.value != used])
    other, by = second.certificate.cost, second.attempts[-1]
    if abs(other - cost) > AGREEMENT * max(abs(cost), abs(other)):
        costs = f"{cost:.10g} against {other:.10g}; tighten tolerance or raise max_iterations"
        raise OptimizationError(f"{used} and {by.solver} disagree: {costs}")
    return by


def in_lots(problem: Problem, found: Found, lot: float) -> tuple[Float, Certificate]:
    """The cheapest whole lots, found from the continuous optimum, and their certificate against it.

    Raises
    ------
    OptimizationError
        No whole lots meet the order or the bounds.
    """
    total, order = problem.tangent(found.shares), problem.shares
    if order / lot > 1e15:  # more than floats count
        raise OptimizationError(f"lot_size {lot:g} is too small for an order of {order:,.6g}")
    part = max(ROUNDING, 2.0 * np.finfo(float).eps * order / lot)  # of a lot: rounding
    count = int(order / lot + part)
    if order - count * lot > part * lot:
        whole = f"whole lots of {lot:g}: order {count * lot:,.6g}"
        raise OptimizationError(f"{order:,.6g} shares are not {whole}, or trade smaller lots")
    low = np.ceil(problem.lower / lot - part).astype(np.int64)
    high = np.floor(problem.upper / lot + part).astype(np.int64)
    if np.any(low > high) or not low.sum() <= count <= high.sum():
        admitted = f"floors need {low.sum():,} and caps admit {high.sum():,} of {count:,}"
        raise OptimizationError(f"in lots of {lot:g}, {admitted}; trade smaller lots")
    lots = np.clip(np.floor(found.shares / lot).astype(np.int64), low, high)
    # Lots of one interval get more expensive one by one, so greedy is optimal. It starts from lots
    # that are surely in the optimum: those cheaper than the multiplier.
    lots += _lot_costs(total, lots, 1, high, lot) < found.certificate.multiplier * lot
    step = 1 if count > lots.sum() else -1
    end = high if step > 0 else low
    offers = _lot_costs(total, lots, step, end, lot)
    for _ in range(abs(count - lots.sum())):
        t = int(np.argmin(offers))
        lots[t] += step
        one = slice(t, t + 1)
        offers[one] = _lot_costs(total.take(one), lots[one], step, end[one], lot)
    shares = np.clip(lots * lot, problem.lower, problem.upper)
    bound = found.certificate.cost - abs(found.certificate.cost) * found.certificate.duality_gap
    proof = certify(shares, problem)
    return shares, proof._replace(duality_gap=(proof.cost - bound) / (abs(proof.cost) or 1.0))


def _lot_costs(total: SeparableTotal, lots: Any, step: int, end: Any, lot: float) -> Float:
    """What one more (or less) lot costs in each interval; inf at the end of its lots."""
    moved = np.minimum(np.where(lots == end, lots, lots + step) * lot, total.capacity)
    added = total.value(moved) - total.value(np.minimum(lots * lot, total.capacity))
    return np.where(lots == end, np.inf, added)


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
    curve: ImpactCurve, total_shares: ArrayLike, *, min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None, objective: str = "cost",
) -> Allocations:  # fmt: skip
    """The exact split of m orders over n intervals each, as `allocate` with the analytical solver,
    in one call.

    Parameters
    ----------
    curve : ImpactCurve of m * n intervals
        Problem after problem; `curve.take(np.tile(np.arange(n), m))` gives m orders the same curve.
    total_shares : (m,) shares
        Each above 0; a Series is aligned by its labels 0 to m - 1.
    min_shares, max_shares : scalar, (m, n), or what broadcasts to it, shares
        No cap by default. Arrays, not pandas objects.
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
    m = np.size(total_shares)
    given = same_labels("total_shares", total_shares, range(m), f"orders are labelled 0 to {m - 1}")
    total, orders = curve.total(objective), np.atleast_1d(numbers("total_shares", given))
    n = len(curve) // max(m, 1)
    good = orders.ndim == 1 and m * n == len(curve) and m > 0
    if not good or not np.all((orders > 0) & np.isfinite(orders)):
        rule = f"finite and above 0, with m a divisor of the curve's {len(curve)} intervals"
        raise ValidationError(f"total_shares must be (m,), {rule}; got shape {orders.shape}")
    problems.check_finite(curve)
    most = np.inf if max_shares is None else max_shares
    if hasattr(min_shares, "axes") or hasattr(most, "axes"):
        raise ValidationError(f"bounds must be arrays ({m}, {n}), a row an order: .to_numpy()")
    lower = problems.broadcast("min_shares", min_shares, (m, n), 0.0)
    upper = problems.broadcast("max_shares", most, (m, n), 0.0)
    upper = np.minimum(upper, np.maximum(orders[:, None] * (1.0 + HEADROOM), lower))
    upper = np.minimum(upper, total.capacity.reshape(m, n))
    problems.check_convex(Problem(total, 1.0, lower.ravel(), upper.ravel()))
    for i, shown in enumerate(total.capacity.reshape(m, n)):
        if reason := problems.why_infeasible(float(orders[i]), lower[i], upper[i], shown):
            raise OptimizationError(f"problem {i}: {reason}")
    x, known = solve_many(total, orders, (lower.ravel(), upper.ravel()))
    for i, found in enumerate(known.tolist()):
        if fault := fault_of(Certificate(*found), float(orders[i]), n, 0.0):
            raise OptimizationError(f"problem {i} is not certified: {fault}; solve it by allocate")
    return Allocations(x, *known.T[:4])

r"""Three ways to solve the separable allocation, and the certificate that judges them.

.. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

for convex C_t. The numerical solvers see the problem scaled, CVXPY in fractions of the
order, SciPy in average child orders (its trust region wants variables near 1): in raw
shares the backends report `optimal` with per cents of excess cost.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]
SLSQP_LARGEST = 78
DUST = 1e-6
CVXPY_BACKENDS = ("CLARABEL", "OSQP", "SCS", "ECOS")


@dataclass(frozen=True, eq=False)
class Problem:
    """One allocation: totals C_t, the sum of shares, and bounds, (n,) each."""

    total: SeparableTotal
    shares: float
    lower: Float
    upper: Float

    def feasible(self, weights: Float) -> Float:
        """Shares in proportion to `weights` above the floors, moved inside the bounds with the sum kept."""
        return close_sum(np.clip(self.shares * weights / weights.sum(), self.lower, self.upper), self)

    def scaled(self, unit: float) -> Problem:
        """The problem with shares in `unit` and the cost of equal weights equal to the order in that unit."""
        start = self.feasible(np.ones(len(self.lower)))
        cost = float(np.sum(np.abs(self.total.value(start)))) or 1.0
        total = self.total.scaled(unit, cost * unit / self.shares)
        return Problem(total, self.shares / unit, self.lower / unit, self.upper / unit)


@dataclass(frozen=True)
class Limits:
    """What a solver may use: its own iterations, the gap to reach, seconds from its start."""

    max_iterations: int
    tolerance: float
    timeout_seconds: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What one backend returned: shares (n,), or None and why."""

    backend: str
    shares: Float | None
    reason: str = ""


@dataclass(frozen=True)
class Certificate:
    """How far a schedule is from proven optimality.

    Attributes
    ----------
    multiplier : float
        nu, what the next share costs, currency per share (under "impact": per share of the sum).
    kkt_residual : float
        Largest violation of: C_t'(x_t) = nu inside the bounds, >= nu at the floor, <= nu at the cap,
        relative to |nu|, or the distance to that bound relative to S / n if that is less.
    duality_gap : float
        (sum C_t(x_t) - dual value at nu) / |sum C_t(x_t)|; the cost exceeds the optimum by no more.
    """

    multiplier: float
    kkt_residual: float
    duality_gap: float


def certify(x: Float, problem: Problem) -> Certificate:
    """Certificate of a feasible `x`, independent of the solver that found it."""
    marginal = problem.total.marginal(x)
    room = np.minimum(x - problem.lower, problem.upper - x)
    multiplier = _multiplier(marginal, x, room, problem)
    price_error = np.abs(marginal - multiplier) / max(abs(multiplier), np.finfo(float).tiny)
    to_bound = np.where(marginal < multiplier, problem.upper - x, x - problem.lower)
    residual = float(np.max(np.minimum(price_error, np.maximum(to_bound, 0.0) / (problem.shares / len(x)))))
    cost = float(np.sum(problem.total.value(x)))
    dual = _dual_value(multiplier, problem)
    return Certificate(multiplier, residual, (cost - dual) / (abs(cost) or 1.0))


def _multiplier(marginal: Float, x: Float, room: Float, problem: Problem) -> float:
    """Common marginal cost of the orders inside their bounds, else between those at caps and at floors."""
    inside = room > 1e-7 * problem.shares / len(x)
    if inside.any():
        return float(np.average(marginal[inside], weights=room[inside]))
    at_cap, at_floor = x > problem.lower, x < problem.upper
    ends = [marginal[at_cap].max()] if at_cap.any() else []
    ends += [marginal[at_floor].min()] if at_floor.any() else []
    return float(np.mean(ends)) if ends else float(marginal.max())


def _dual_value(multiplier: float, problem: Problem) -> float:
    """min over the bounds of sum C_t(x_t) - nu x_t, plus nu S: a lower bound of every schedule's cost."""
    best = np.clip(problem.total.shares_at_marginal(multiplier), problem.lower, problem.upper)
    return float(np.sum(problem.total.value(best) - multiplier * best) + multiplier * problem.shares)


def close_sum(x: Float, problem: Problem) -> Float:
    """Move `x`, inside its bounds, to sum to the order: in proportion to what is traded, else to the room."""
    for _ in range(4):  # rounding, and orders that meet their cap, are closed by the next move
        short = problem.shares - x.sum()
        room = problem.upper - x if short > 0 else x - problem.lower
        traded = np.minimum(x - problem.lower, room)
        weights = traded if traded.sum() >= abs(short) else room
        if short == 0 or weights.sum() == 0:
            break
        x = np.clip(x + short * np.minimum(weights / weights.sum(), 1.0), problem.lower, problem.upper)
    return x


def solve_analytical(problem: Problem, limits: Limits) -> Iterator[Answer]:
    r"""The exact optimum by its multiplier.

    At the optimum x_t = clip(shares_at_marginal_t(nu), l_t, u_t) for one nu, and the sum of
    the right-hand side rises with nu: a Newton search on nu, kept inside a shrinking bracket.
    Where the sum jumps (linear totals with equal slopes) the two sides of the jump are mixed.
    """
    total, lower, upper = problem.total, problem.lower, problem.upper
    low = float(np.min(total.marginal(lower)))
    high = float(np.nextafter(np.max(total.marginal(upper)), np.inf))
    x_low, x_high = lower, upper
    nu = 0.5 * (low + high)
    for _ in range(limits.max_iterations):
        x = np.clip(total.shares_at_marginal(nu), lower, upper)
        excess = x.sum() - problem.shares
        if excess > 0:
            high, x_high = nu, x
        else:
            low, x_low = nu, x
        if abs(excess) <= 4 * np.finfo(float).eps * problem.shares:
            break
        nu = _next_multiplier(nu, excess, x, problem, low, high)
        if not low < nu < high:
            break
    reached = x_high.sum() - x_low.sum()
    part = (problem.shares - x_low.sum()) / reached if reached > 0 else 0.0
    yield Answer("multiplier", close_sum(np.clip(x_low + part * (x_high - x_low), lower, upper), problem))


def _next_multiplier(nu: float, excess: float, x: Float, problem: Problem, low: float, high: float) -> float:
    """Newton's step where it stays well inside (low, high), else the middle."""
    inside = (x > problem.lower) & (x < problem.upper)
    slope = float(np.sum(1.0 / problem.total.curvature(x)[inside]))
    newton = nu - excess / slope if slope > 0 else np.nan
    margin = 1e-3 * (high - low)
    if low + margin < newton < high - margin or (low < newton < high and abs(newton - nu) < margin):
        return float(newton)
    return 0.5 * (low + high)


def solve_scipy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """SLSQP up to 78 intervals, trust-constr above, from equal shares inside the bounds."""
    from scipy.optimize import LinearConstraint, minimize
    from scipy.sparse import csr_array, diags_array

    n = len(problem.lower)
    unit = problem.shares / n
    scaled = problem.scaled(unit)
    method = "SLSQP" if n <= SLSQP_LARGEST else "trust-constr"
    with warnings.catch_warnings():
        # scipy warns of a zero change of gradient, as linear totals have it; the certificate decides.
        warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
        found = minimize(
            lambda z: float(np.sum(scaled.total.value(z))),
            scaled.feasible(np.ones(n)),
            jac=scaled.total.marginal,
            hess=(lambda z: diags_array(scaled.total.curvature(z))) if method == "trust-constr" else None,
            method=method,
            bounds=list(zip(scaled.lower, scaled.upper, strict=True)),
            constraints=LinearConstraint(
                csr_array(np.ones((1, n))) if method == "trust-constr" else np.ones((1, n)), n, n
            ),
            callback=_Deadline(limits.timeout_seconds),
            options=_scipy_options(method, limits),
        )
    yield _answer(method, found.x, unit, problem, str(found.message))


def _scipy_options(method: str, limits: Limits) -> dict[str, Any]:
    if method == "SLSQP":
        return {"maxiter": limits.max_iterations, "ftol": 1e-3 * limits.tolerance}
    return {
        "maxiter": limits.max_iterations,
        "gtol": limits.tolerance,
        "barrier_tol": limits.tolerance,
        "xtol": limits.tolerance,
    }


class _Deadline:
    """Callback of `scipy.optimize.minimize` that stops it when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def __call__(self, intermediate_result: Any) -> None:
        if time.monotonic() > self.end:
            raise StopIteration


def solve_cvxpy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """Each installed backend's answer in turn; the caller stops at the first that is certified."""
    import cvxpy as cp

    scaled = problem.scaled(problem.shares)
    weights = cp.Variable(len(scaled.lower), nonneg=True)
    total_cost = scaled.total.linear @ weights + scaled.total.quadratic @ cp.square(weights)
    cubic = np.any(scaled.total.cubic > 0)
    if cubic:
        total_cost = total_cost + scaled.total.cubic @ cp.power(weights, 3)
    fills_the_order = cp.sum(weights) == 1
    above_floor, below_cap = weights >= scaled.lower, weights <= scaled.upper
    model = cp.Problem(cp.Minimize(total_cost), [fills_the_order, above_floor, below_cap])
    for backend in CVXPY_BACKENDS:
        if backend not in cp.installed_solvers() or (cubic and backend == "OSQP"):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the certificate, not the backend's status, decides
            try:
                model.solve(solver=backend, **_backend_options(backend, limits))
            except (cp.SolverError, cp.DCPError, ValueError, ArithmeticError) as error:
                yield Answer(backend, None, " ".join(str(error).split()))
                continue
        yield _answer(backend, weights.value, problem.shares, problem, str(model.status))


def _backend_options(backend: str, limits: Limits) -> dict[str, Any]:
    tolerance, iterations, seconds = limits.tolerance, limits.max_iterations, limits.timeout_seconds
    return {
        "CLARABEL": {
            "tol_gap_rel": tolerance,
            "tol_gap_abs": tolerance,
            "tol_feas": tolerance,
            "max_iter": iterations,
            "time_limit": seconds,
        },
        "OSQP": {
            "eps_abs": tolerance,
            "eps_rel": tolerance,
            "max_iter": 100 * iterations,
            "time_limit": seconds,
            "polishing": True,
        },
        "SCS": {
            "eps_abs": tolerance,
            "eps_rel": tolerance,
            "max_iters": 100 * iterations,
            "time_limit_secs": seconds,
        },
        "ECOS": {"abstol": tolerance, "reltol": tolerance, "feastol": tolerance, "max_iters": iterations},
    }[backend]


def _answer(backend: str, scaled: Float | None, unit: float, problem: Problem, status: str) -> Answer:
    """A numerical answer in shares, clipped to the bounds and closed to the order's sum."""
    if scaled is None or not np.all(np.isfinite(scaled)):
        return Answer(backend, None, f"no finite answer, status {status}")
    shares = np.clip(unit * scaled, problem.lower, problem.upper)
    dust = shares - problem.lower < DUST * problem.shares / len(shares)  # an interior point never quite reaches a floor
    shares = close_sum(np.where(dust, problem.lower, shares), problem)
    return Answer(backend, shares, f"status {status}")


def refuse_non_convex(total: SeparableTotal) -> None:
    """Raise OptimizationError where a stationary point need not be a minimum."""
    bad = total.non_convex()
    if bad.any():
        raise OptimizationError(
            f"the total is not convex in {int(bad.sum()):,} intervals, first in {int(np.argmax(bad))}: a negative "
            "coefficient makes larger orders cheaper by the share; refit with coefficients held at 0 or above"
        )


def refuse_infeasible(problem: Problem) -> None:
    """Raise OptimizationError, naming the numbers and the remedy, where no schedule meets the bounds."""
    order, rounding = problem.shares, 1e-12 * problem.shares
    if np.any(problem.lower > problem.upper):
        t = int(np.argmax(problem.lower > problem.upper))
        raise OptimizationError(
            f"min_shares {problem.lower[t]:g} is above max_shares {problem.upper[t]:g} in interval {t}; "
            "lower the one or raise the other"
        )
    if problem.upper.sum() < order - rounding:
        raise OptimizationError(
            f"cap admits {problem.upper.sum():,.6g} of {order:,.6g} shares; "
            "raise max_shares (max_allocation_ratio) or lengthen the horizon"
        )
    if problem.lower.sum() > order + rounding:
        raise OptimizationError(
            f"floors need {problem.lower.sum():,.6g} of {order:,.6g} shares; "
            "lower min_shares (min_trade_size) or shorten the horizon"
        )

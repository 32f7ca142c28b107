r"""The allocation as CVXPY states it: in fractions of the order, with a normalised objective.

In raw shares the backends report `optimal` with per cents of excess cost. The status is never
trusted: the certificate of :mod:`research_lib.execution.exact` decides.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.fallback import Answer, Limits
from research_lib.execution.problem import Problem
from research_lib.execution.quadratic import Quadratic, StateDecay
from research_lib.execution.terms import Terms
from research_lib.impact import SeparableTotal

if TYPE_CHECKING:
    import cvxpy as cp

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
BACKENDS = ("CLARABEL", "OSQP", "SCS", "ECOS")
NEARLY = 0.9  # of the time allowed: an answer that late was stopped by the clock


def solve_cvxpy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """Each installed backend's answer in turn; the caller stops at the first that is certified."""
    import cvxpy as cp

    scaled = problem.scaled(problem.shares)
    x = cp.Variable(len(scaled.lower), nonneg=True)
    constraints = [cp.sum(x) == 1, x >= scaled.lower, x <= scaled.upper]
    cost = _cost(x, scaled.total, constraints)
    tails: list[cp.Constraint] = []
    if scaled.terms is not None:
        cost = cost + _coupled(x, scaled.terms, constraints, tails)
    program = cp.Problem(cp.Minimize(cost), constraints + tails)
    conic = any(type(constraint).__name__ == "PowCone3D" for constraint in constraints) or (
        scaled.terms is not None and scaled.terms.factor is not None
    )
    for backend in BACKENDS:
        if backend in cp.installed_solvers() and not (backend == "OSQP" and conic):
            yield _answer(program, x, tails, backend, limits, problem)


def _cost(x: cp.Variable, total: SeparableTotal, constraints: list[Any]) -> cp.Expression:
    """sum_t C_t(x_t): linear, square and cube, power cones, and steps of a book as split
    variables.
    """
    import cvxpy as cp

    n = len(total)
    cost = total.linear @ x
    if total.quadratic.any():
        cost = cost + total.quadratic @ cp.square(x)
    if total.cubic.any():
        cost = cost + total.cubic / n**3 @ _power(x, np.full(n, 3.0), n, constraints)
    powered = np.flatnonzero(total.scale > 0)
    if len(powered):
        power = total.power[powered]
        cost = cost + total.scale[powered] / n**power @ _power(x[powered], power, n, constraints)
    if total.depth.shape[1]:
        taken = cp.Variable(total.depth.shape, nonneg=True)
        constraints += [taken <= np.minimum(total.depth, 1.0), cp.sum(taken, axis=1) == x]
        cost = cost + cp.sum(cp.multiply(total.premium, taken))
    return cost


def _power(x: cp.Expression, power: Float, n: int, constraints: list[Any]) -> cp.Expression:
    """Variables at or above (n x)^p, by power cones, squares as squares: in average child orders
    they are near 1.
    """
    import cvxpy as cp

    if np.all(power == 2):
        return cp.square(n * x)
    if np.all(power == 1):
        return n * x
    risen = cp.Variable(len(power), nonneg=True)
    constraints.append(cp.PowCone3D(risen, np.ones(len(power)), n * x, 1.0 / power))
    return risen


def _coupled(
    x: cp.Variable, terms: Terms, constraints: list[Any], tails: list[Any]
) -> cp.Expression:
    """Risk, smoothness, robustness, decaying impact and CVaR."""
    import cvxpy as cp

    n = x.size
    cost: cp.Expression = cp.Constant(0.0)
    if terms.holding is not None:
        held = cp.Variable(n)
        constraints += [held[0] == terms.shares - x[0], held[1:] == held[:-1] - x[1:]]
        cost = cost + terms.holding @ cp.square(held)
    if terms.smoothness:
        cost = cost + terms.smoothness * cp.sum_squares(cp.diff(x))
    if terms.factor is not None:
        phi = [_power(x, p, n, constraints) for p in terms.powers]
        factor = [terms.factor[:, i, :] / n ** p[:, None] for i, p in enumerate(terms.powers)]
        loadings = [
            sum(cp.multiply(factor[i][:, j], phi[i]) for i in range(j, len(phi)))
            for j in range(len(phi))
        ]
        cost = cost + cp.norm(cp.hstack(loadings), 2)
    if isinstance(terms.decay, StateDecay):
        for k, scale in enumerate(terms.decay.scales):
            cost = cost + _exponential(x, terms.decay.factors[:, k], scale, constraints)
    elif terms.decay is not None:
        cost = cost + 0.5 * cp.quad_form(x, cp.psd_wrap(terms.decay.matrix))
    if (
        terms.scenarios
    ):  # Rockafellar and Uryasev (2000): the least of tau + mean excess over tau / (1 - q)
        threshold, excess = cp.Variable(), cp.Variable(len(terms.scenarios), nonneg=True)
        for j, scenario in enumerate(terms.scenarios):
            tails.append(_cost(x, scenario, constraints) - threshold <= excess[j])
        cost = cost + threshold + cp.sum(excess) / ((1.0 - terms.level) * len(terms.scenarios))
    return cost


def _exponential(
    x: cp.Variable, kept: Float, scale: float, constraints: list[Any]
) -> cp.Expression:
    """1/2 x'Gx of one exponential: what its displacement loses in each gap, squared, and what is
    left of it.
    """
    import cvxpy as cp

    state = cp.Variable(x.size)  # just after each trade, over the scale
    constraints.append(state[0] == x[0])
    if x.size > 1:
        constraints.append(state[1:] == cp.multiply(kept, state[:-1]) + x[1:])
    return 0.5 * scale * np.append(1.0 - kept**2, 1.0) @ cp.square(state)


def _answer(
    program: Any, x: Any, tails: list[Any], backend: str, limits: Limits, problem: Problem
) -> Answer:
    """One backend's answer, in shares."""
    import cvxpy as cp

    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the certificate, not the backend's status, decides
        try:
            program.solve(solver=backend, **backend_options(backend, limits))
        except (cp.SolverError, cp.DCPError, ValueError, ArithmeticError) as error:
            return Answer(backend, None, " ".join(str(error).split()))
    late = time.monotonic() - begin > NEARLY * limits.timeout_seconds
    shares, status = problem.repaired(x.value, problem.shares), f"status {program.status}"
    weights = None
    if tails and shares is not None:
        weights = np.array([np.ravel(tail.dual_value)[0] for tail in tails])
    iterations = int((program.solver_stats and program.solver_stats.num_iters) or 0)
    reason = status if shares is not None else f"no finite answer, {status}"
    return Answer(backend, shares, reason, iterations, late, weights)


def solve_quadratic(
    quadratic: Quadratic, lower: Float, upper: Float, limits: Limits
) -> Float | None:
    """The optimum of a coupled quadratic cost between bounds, to a backend's tolerance, (n,); None
    without an answer.

    Bounds may be infinite and of any sign.
    """
    import cvxpy as cp

    floor, n = float(np.abs(np.where(np.isfinite(lower), lower, 0)).max()), len(quadratic)
    unit = max(abs(quadratic.shares), floor)
    scale = abs(quadratic.value(np.full(n, quadratic.shares / n))) or 1.0
    x, square = cp.Variable(n), unit**2 / scale
    part, constraints = quadratic.shares / unit, [cp.sum(x) == quadratic.shares / unit]
    low, high = np.isfinite(lower), np.isfinite(upper)
    constraints += [x[low] >= lower[low] / unit, x[high] <= upper[high] / unit]
    terms = Terms(part, quadratic.holding * square, decay=quadratic.decay.scaled(square))
    cost = _coupled(x, terms, constraints, []) + quadratic.curvature * square @ cp.square(x)
    program = cp.Problem(cp.Minimize(cost + quadratic.linear * unit / scale @ x), constraints)
    for backend in BACKENDS:
        if backend in cp.installed_solvers():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the certificate decides
                try:
                    program.solve(solver=backend, **backend_options(backend, limits))
                except (cp.SolverError, ValueError, ArithmeticError) as error:
                    logger.warning("%s: %s", backend, " ".join(str(error).split()))
                    continue
            if x.value is not None and np.isfinite(x.value).all():
                return np.clip(unit * x.value, lower, upper)
    return None


def backend_options(backend: str, limits: Limits) -> dict[str, Any]:
    """Tolerance, iterations and time in each backend's own words."""
    tolerance, iterations, seconds = limits.tolerance, limits.max_iterations, limits.timeout_seconds
    if backend == "CLARABEL":
        gaps = dict.fromkeys(("tol_gap_rel", "tol_gap_abs", "tol_feas"), tolerance)
        return {**gaps, "max_iter": iterations, "time_limit": seconds}
    if backend == "ECOS":
        gaps = dict.fromkeys(("abstol", "reltol", "feastol"), tolerance)
        return {**gaps, "max_iters": iterations}
    # OSQP's and SCS's steps are far cheaper than an interior point's
    steps, gaps = 100 * iterations, {"eps_abs": tolerance, "eps_rel": tolerance}
    if backend == "OSQP":
        return {**gaps, "max_iter": steps, "time_limit": seconds, "polishing": True}
    return {**gaps, "max_iters": steps, "time_limit_secs": seconds}

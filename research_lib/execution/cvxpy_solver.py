r"""The allocation in CVXPY, in fractions of the order and with a normalised objective.

In raw shares the backends report `optimal` although the cost is per cents above the optimum. The
status is never trusted; the certificate of :mod:`research_lib.execution.exact` decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from research_lib.execution.problem import Answer, Limits, Problem
from research_lib.execution.quadratic import StateDecay

if TYPE_CHECKING:
    import cvxpy as cp

# Each backend's names of tolerances, iterations and time limit (ECOS has none), and how many of its
# steps cost as much as one of an interior point method.
BACKENDS = {
    "CLARABEL": (("tol_gap_rel", "tol_gap_abs", "tol_feas"), "max_iter", "time_limit", 1),
    "OSQP": (("eps_abs", "eps_rel"), "max_iter", "time_limit", 100),
    "SCS": (("eps_abs", "eps_rel"), "max_iters", "time_limit_secs", 100),
    "ECOS": (("abstol", "reltol", "feastol"), "max_iters", "", 1),
}


def solve_cvxpy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """Answers of the installed backends in turn; the caller stops at the first certified one."""
    import cvxpy as cp

    scaled = problem.scaled(problem.shares)
    program, x = _program(scaled)
    conic = scaled.total.cubic.any() or scaled.total.scale.any()
    for backend in BACKENDS:
        if backend in cp.installed_solvers() and not (backend == "OSQP" and conic):
            reason = solved(program, backend, limits)
            shares = problem.repaired(x.value, problem.shares)
            reason = reason if shares is not None else f"no finite answer, {reason}"
            steps = program.solver_stats and program.solver_stats.num_iters
            yield Answer(backend, shares, reason, int(steps or 0))


def solved(program: cp.Problem, backend: str, limits: Limits) -> str:
    """Let one backend solve within the remaining time; its status, or why it has none."""
    import cvxpy as cp

    for variable in program.variables():
        variable.value = None  # an answer is this backend's own, or none
    if limits.left <= 0:
        return "no time left"
    gaps, steps, seconds, cheaper = BACKENDS[backend]
    options = dict.fromkeys(gaps, limits.tolerance) | {steps: cheaper * limits.max_iterations}
    options |= {seconds: max(limits.left, 1e-3)} if seconds else {}
    options |= {"polishing": True} if backend == "OSQP" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the certificate, not the backend's status, decides
        try:
            program.solve(solver=backend, **options)
        except (cp.SolverError, cp.DCPError, ValueError, ArithmeticError) as error:
            return " ".join(str(error).split())
    return f"status {program.status}"


def _program(problem: Problem) -> tuple[cp.Problem, cp.Variable]:
    """The problem for CVXPY, and its shares x.

    sum_t C_t(x_t) has linear, square and cubic terms, power cones, and the steps of a book as split
    variables. Q(x) is the risk of the holdings and the decaying impact. Exponential kernels enter
    by their states just after each trade, whose squares lose the part 1 - kept^2 in each gap.
    """
    import cvxpy as cp

    total, joint, n = problem.total, problem.coupling, len(problem.lower)
    x = cp.Variable(n, nonneg=True)
    constraints = [cp.sum(x) == 1, x >= problem.lower, x <= problem.upper]
    cost = total.linear @ x
    if total.quadratic.any():
        cost = cost + total.quadratic @ cp.square(x)
    for coefficient, power in ((total.cubic, np.full(n, 3.0)), (total.scale, total.power)):
        on = np.flatnonzero(coefficient)
        if len(on):  # cones in average child orders, where powers are near 1
            risen = cp.Variable(len(on), nonneg=True)
            cone = cp.PowCone3D(risen, np.ones(len(on)), n * x[on], 1.0 / power[on])
            constraints.append(cone)
            cost = cost + coefficient[on] / n ** power[on] @ risen
    if total.depth.shape[1]:
        taken = cp.Variable(total.depth.shape, nonneg=True)
        constraints += [taken <= np.minimum(total.depth, 1.0), cp.sum(taken, axis=1) == x]
        cost = cost + cp.sum(cp.multiply(total.premium, taken))
    if joint is not None and joint.holding.any():
        held = cp.Variable(n)
        constraints += [held[0] == joint.shares - x[0], held[1:] == held[:-1] - x[1:]]
        cost = cost + joint.holding @ cp.square(held)
    if joint is not None and isinstance(joint.decay, StateDecay):
        for kept, scale in zip(joint.decay.factors.T, joint.decay.scales, strict=True):
            state = cp.Variable(n)
            constraints += [state[0] == x[0], state[1:] == cp.multiply(kept, state[:-1]) + x[1:]]
            cost = cost + 0.5 * scale * np.append(1.0 - kept**2, 1.0) @ cp.square(state)
    elif joint is not None:
        cost = cost + 0.5 * cp.quad_form(x, cp.psd_wrap(joint.decay))
    return cp.Problem(cp.Minimize(cost), constraints), x

"""The allocation by CVXPY and by SciPy; the certificate decides, never a solver's status.

CVXPY solves in fractions of the order and with a normalised objective: in raw shares its backends
report `optimal` although the cost is per cents above the optimum. SciPy, of smooth totals, solves
by SLSQP for few intervals and by trust-constr for many; its shares are in average child orders,
because a trust region wants variables near 1.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from research_lib.checks import Float
from research_lib.execution.problem import Answer, Limits, Problem
from research_lib.execution.quadratic import StateDecay

# Each backend's names of tolerances, iterations and time limit (ECOS has none), and how many of its
# steps cost as much as one of an interior point method.
BACKENDS = {
    "CLARABEL": (("tol_gap_rel", "tol_gap_abs", "tol_feas"), "max_iter", "time_limit", 1),
    "OSQP": (("eps_abs", "eps_rel"), "max_iter", "time_limit", 100),
    "SCS": (("eps_abs", "eps_rel"), "max_iters", "time_limit_secs", 100),
    "ECOS": (("abstol", "reltol", "feastol"), "max_iters", "", 1),
}
SLSQP_LARGEST = 78  # intervals: its dense least squares take 30 s at 390
LARGEST_CURVATURE = 1e8  # powers below 2 have an infinite one at 0


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


def solved(program: Any, backend: str, limits: Limits) -> str:
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


def _program(problem: Problem) -> tuple[Any, Any]:
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
            constraints += [cp.PowCone3D(risen, np.ones(len(on)), n * x[on], 1.0 / power[on])]
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


def solve_scipy(problem: Problem, limits: Limits) -> list[Answer]:
    """One answer; none for the steps of a book, which are not smooth."""
    from scipy.optimize import LinearConstraint, minimize
    from scipy.sparse import csr_array

    n = len(problem.lower)
    method = "trust-constr" if n > SLSQP_LARGEST else "SLSQP"
    if problem.total.depth.shape[1]:
        return [Answer(method, None, "the steps of a book are not smooth")]
    options: dict[str, float] = {"ftol": 1e-3 * limits.tolerance}
    row: Any = np.ones((1, n))
    if method == "trust-constr":
        options = dict.fromkeys(("gtol", "barrier_tol", "xtol"), limits.tolerance)
        row = csr_array(row)
    unit = problem.shares / n
    scaled = problem.scaled(unit)

    def stop_in_time(intermediate_result: Any) -> None:
        if limits.left <= 0:
            raise StopIteration

    with warnings.catch_warnings():
        # scipy warns of a zero change of gradient, which flat parts have; the certificate decides.
        warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
        found = minimize(
            lambda x: scaled.cost(np.maximum(x, 0.0)), scaled.feasible(np.ones(n)),
            jac=lambda x: scaled.tangent(np.maximum(x, 0.0)).marginal(np.maximum(x, 0.0)),
            hess=_hessian(scaled) if method == "trust-constr" else None, method=method,
            bounds=np.column_stack(scaled.bounds), constraints=LinearConstraint(row, n, n),
            callback=stop_in_time, options={"maxiter": limits.max_iterations, **options},
        )  # fmt: skip
    shares = problem.repaired(found.x, unit)
    reason = str(found.message) if shares is not None else f"no finite answer, {found.message}"
    return [Answer(method, shares, reason, int(found.nit))]


def _hessian(problem: Problem) -> Any:
    """Hessian at x: diagonal, plus the coupling as a product, because its matrix is dense."""
    from scipy.sparse.linalg import LinearOperator

    joint, n = problem.coupling, len(problem.lower)
    at_zero = joint.gradient(np.zeros(n)) if joint is not None else np.zeros(n)

    def operator(x: Float) -> LinearOperator:
        own = np.nan_to_num(np.minimum(problem.total.curvature(x), LARGEST_CURVATURE))

        def product(d: Float) -> Float:
            d = np.ravel(d)
            return own * d + (joint.gradient(d) - at_zero if joint is not None else 0.0)

        return LinearOperator((n, n), matvec=product, dtype=float)

    return operator

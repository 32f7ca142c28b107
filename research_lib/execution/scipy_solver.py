"""The allocation by SciPy: SLSQP for few intervals, trust-constr for many, of smooth totals.

Shares are in average child orders: a trust region wants variables near 1.
"""

import warnings
from typing import Any

import numpy as np

from research_lib.checks import Float
from research_lib.execution.problem import Answer, Limits, Problem

SLSQP_LARGEST = 78  # intervals: its dense least squares take 30 s at 390
LARGEST_CURVATURE = 1e8  # powers below 2 have an infinite one at 0


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

"""Ways to solve one allocation, and the certificate that judges their answers."""

from research_lib.execution.solvers.analytical import optimal_shares, solve_analytical
from research_lib.execution.solvers.certificate import Certificate, certify
from research_lib.execution.solvers.cvxpy_solver import solve_cvxpy
from research_lib.execution.solvers.deadline import OutOfTimeError, within
from research_lib.execution.solvers.kernels import solve_many
from research_lib.execution.solvers.problem import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    NOT_CONVEX,
    NOT_FINITE,
    Answer,
    Limits,
    Problem,
    refuse_infeasible,
)
from research_lib.execution.solvers.scipy_solver import solve_scipy
from research_lib.execution.solvers.terms import ConvexTerms, Terms
from research_lib.execution.solvers.vertex import refuse_non_convex, solve_vertex, why_not

__all__ = [
    "CAPS_LOW",
    "CROSSED",
    "FLOORS_HIGH",
    "NOT_CONVEX",
    "NOT_FINITE",
    "Answer",
    "Certificate",
    "ConvexTerms",
    "Limits",
    "OutOfTimeError",
    "Problem",
    "Terms",
    "certify",
    "optimal_shares",
    "refuse_infeasible",
    "refuse_non_convex",
    "solve_analytical",
    "solve_cvxpy",
    "solve_many",
    "solve_scipy",
    "solve_vertex",
    "why_not",
    "within",
]

"""Ways to solve one allocation, and the certificate that judges their answers."""

from research_lib.execution.solvers.active_set import bounded
from research_lib.execution.solvers.analytical import exact_split, solve_analytical
from research_lib.execution.solvers.certificate import certify, from_judged
from research_lib.execution.solvers.coupled import exactly_coupled
from research_lib.execution.solvers.cvxpy_solver import solve_cvxpy
from research_lib.execution.solvers.deadline import OutOfTimeError, within
from research_lib.execution.solvers.decay import Decay, StateDecay, decay_of
from research_lib.execution.solvers.kernels import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    NOT_CONVEX,
    NOT_FINITE,
    exact_many,
    place_odd_lot,
    round_to_lots,
)
from research_lib.execution.solvers.multiplier import optimal_shares
from research_lib.execution.solvers.problem import (
    Answer,
    Certificate,
    Limits,
    Problem,
    close_sum,
    read_only,
    refuse_infeasible,
    total_of,
)
from research_lib.execution.solvers.quadratic import Quadratic, certified
from research_lib.execution.solvers.scipy_solver import solve_scipy
from research_lib.execution.solvers.terms import ConvexTerms, Terms, per_interval
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
    "Decay",
    "Limits",
    "OutOfTimeError",
    "Problem",
    "Quadratic",
    "StateDecay",
    "Terms",
    "bounded",
    "certified",
    "certify",
    "close_sum",
    "decay_of",
    "exact_many",
    "exact_split",
    "exactly_coupled",
    "from_judged",
    "optimal_shares",
    "per_interval",
    "place_odd_lot",
    "read_only",
    "refuse_infeasible",
    "refuse_non_convex",
    "round_to_lots",
    "solve_analytical",
    "solve_cvxpy",
    "solve_scipy",
    "solve_vertex",
    "total_of",
    "why_not",
    "within",
]

"""Solvers in turn until one gives a certified split, within the time allowed."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from research_lib.checks import Float
from research_lib.config import Record, SolverType
from research_lib.errors import OptimizationError
from research_lib.execution.exact import Certificate, certify_separable, exact_split
from research_lib.execution.problem import Answer, Limits, Problem
from research_lib.execution.solvers import solve_cvxpy, solve_scipy

Solvers = Iterable[SolverType]
logger = logging.getLogger(__name__)

CERTIFIED_GAP, CERTIFIED_RESIDUAL, PROVEN = 1e-6, 1e-3, 1e-7
SUM_TOLERANCE = 1e-11  # of the order


@dataclass(frozen=True)
class Attempt(Record):
    """One backend's attempt, as kept in `Allocation.attempts`.

    Attributes
    ----------
    solver, backend : str
    accepted : bool
        Its answer was certified.
    reason : str
        The backend's status, and why the answer was rejected.
    elapsed : float
        Seconds.
    iterations : int
    cost, duality_gap, kkt_residual : float
        Of its answer, NaN without one.
    """

    solver: str
    backend: str
    accepted: bool
    reason: str
    elapsed: float
    iterations: int = 0
    cost: float = np.nan
    duality_gap: float = np.nan
    kkt_residual: float = np.nan


class Found(NamedTuple):
    """Shares (n,), their certificate, and how they were found; `in_time` is False where time ran
    out before an answer was certified.
    """

    shares: Float
    certificate: Certificate
    attempts: tuple[Attempt, ...]
    in_time: bool = True


def search(problem: Problem, limits: Limits, solvers: Solvers, trust: bool = False) -> Found:
    """The first certified answer, or with `trust` finite one; out of time the best feasible one.

    The exact solver is tried even when time is up, because it needs almost none.

    Raises
    ------
    OptimizationError
        No certified answer, though there was time.
    """
    attempts, candidates = [], []
    for solver in solvers:
        begin = time.perf_counter()
        for answer in _answers(solver, problem, limits):
            attempt, certificate = _judged(solver, answer, problem, limits, trust, begin)
            attempts.append(attempt)
            if answer.shares is not None and certificate is not None:
                if attempt.accepted:
                    return Found(answer.shares, certificate, tuple(attempts))
                candidates.append(answer.shares)
            by = f"{solver} ({answer.backend})"
            logger.warning("%s gave no certified schedule: %s", by, attempt.reason)
            begin = time.perf_counter()
    if limits.left > 0:
        trail = "; ".join(f"{a.solver}/{a.backend}: {a.reason}" for a in attempts)
        raise OptimizationError(f"no solver gave a certified schedule ({trail}); allow more time")
    candidates.append(problem.feasible(np.ones(len(problem.lower))))
    candidates.append(exact_split(problem.total, problem.shares, problem.bounds)[0])
    known = [(certify(x, problem), x) for x in candidates]
    best, x = min(known, key=lambda one: one[0].cost if math.isfinite(one[0].cost) else math.inf)
    return Found(x, best, tuple(attempts), in_time=False)


def _answers(solver: SolverType, problem: Problem, limits: Limits) -> Iterator[Answer]:
    """The solver's answers; any error of a backend is a reason to try the next one."""
    if limits.left <= 0 and solver is not SolverType.ANALYTICAL:
        yield Answer("none", None, "no time left")
        return
    try:
        yield from SOLVERS[solver](problem, limits)
    except Exception as error:
        yield Answer("raised", None, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _judged(
    solver: SolverType, answer: Answer, problem: Problem, limits: Limits, trust: bool, begin: float
) -> tuple[Attempt, Certificate | None]:
    """The answer as an attempt, accepted if its certificate holds."""
    known, fault, numbers = answer.certificate, "", {}
    if answer.shares is not None:
        known = known or certify(answer.shares, problem)
        fault = fault_of(known, problem.shares, len(answer.shares), limits.tolerance)
        numbers = {name: getattr(known, name) for name in ("cost", "duality_gap", "kkt_residual")}
    accepted = known is not None and (not fault or trust)
    reason, elapsed = "; ".join(filter(None, (answer.reason, fault))), time.perf_counter() - begin
    name, backend = solver.value, answer.backend
    return Attempt(name, backend, accepted, reason, elapsed, answer.iterations, **numbers), known


def solve_analytical(problem: Problem, limits: Limits) -> list[Answer]:
    """The exact optimum: by the multiplier, or where a quadratic cost couples the intervals by its
    structure.
    """
    if problem.coupling is None:
        parts = problem.total, problem.shares, problem.bounds
        split, sweeps, found = exact_split(*parts, limits.max_iterations)
        return [Answer("multiplier", split, "", sweeps, found)]
    quadratic = problem.quadratic
    if quadratic is None:
        return [Answer("structured", None, "the curve is not linear: no structured solver")]
    # A cap above the whole order is no cap and must not seem to bind.
    upper = np.where(problem.upper > problem.shares, np.inf, problem.upper)
    x, method, solves = quadratic.bounded(problem.lower, upper, lambda: limits.left > 0)
    if x is None:
        reason = "out of time" if limits.left <= 0 else "not convex, or singular to rounding"
        return [Answer(method, None, reason)]
    return [Answer(method, x, "", solves, quadratic.certificate(x, problem.lower, upper))]


SOLVERS: dict[SolverType, Callable[[Problem, Limits], Iterable[Answer]]] = {
    SolverType.ANALYTICAL: solve_analytical,
    SolverType.CVXPY: solve_cvxpy,
    SolverType.SCIPY: solve_scipy,
}


def certify(x: Float, problem: Problem) -> Certificate:
    """Certificate of `x`, (n,) shares.

    Where intervals are coupled, the problem is replaced by its tangent at x, which equals it at x
    and exceeds it nowhere, so its optimum is a lower bound.
    """
    below = certify_separable(x, problem.tangent(x), problem.shares, problem.bounds)
    if problem.coupling is None:
        return below
    cost = problem.cost(x)
    gap = below.duality_gap * (abs(below.cost) or 1.0) / (abs(cost) or 1.0)
    return below._replace(cost=cost, duality_gap=gap)


def fault_of(found: Certificate, shares: float, n: int, gap: float, turnover: float = 0.0) -> str:
    """Why an answer of n child orders is rejected; empty if it is accepted."""
    rounding = max(SUM_TOLERANCE, 1e-15 * n) * max(abs(shares), turnover)
    if not abs(found.filled - shares) <= rounding:
        return f"shares sum to {found.filled:.9g} of {shares:.9g}"
    if not found.outside <= 0:
        return f"shares up to {found.outside:.3g} outside their bounds"
    if not math.isfinite(found.cost):
        return f"cost {found.cost} is not finite"
    allowed = max(CERTIFIED_GAP, gap)
    if not abs(found.duality_gap) <= allowed:
        return f"duality gap {found.duality_gap:.1e} above {allowed:.0e}"
    # Shares very near a bound or a kink may have the wrong marginal price at almost no cost. A gap
    # ten times below the certified one proves the schedule, whatever the residual.
    proven = abs(found.duality_gap) <= PROVEN
    if not (proven or found.kkt_residual <= CERTIFIED_RESIDUAL):
        return f"KKT residual {found.kkt_residual:.1e} above {CERTIFIED_RESIDUAL:.0e}"
    return ""

"""Solvers in turn until one gives a certified schedule, within the time allowed."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record, SolverType
from research_lib.errors import OptimizationError
from research_lib.execution.solvers import (
    Answer,
    Certificate,
    Limits,
    OutOfTimeError,
    Problem,
    certify,
    exact_split,
    optimal_shares,
    solve_analytical,
    solve_cvxpy,
    solve_scipy,
    within,
)

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]

CERTIFIED_GAP = 1e-6
CERTIFIED_RESIDUAL = 1e-3
SUM_TOLERANCE_SHARES = 1e-6
# So few numbers cannot keep the bounded loops of the compiled solver longer than a second: no thread is worth it.
SURELY_FAST = 20_000
LEAST_TIME = 1e-3
# What a direct solve is waited for when time is up: a busy machine may not even start its thread in a millisecond.
GRACE_SECONDS = 1.0
SOLVERS: dict[SolverType, Callable[[Problem, Limits], Iterator[Answer]]] = {
    SolverType.ANALYTICAL: solve_analytical,
    SolverType.CVXPY: solve_cvxpy,
    SolverType.SCIPY: solve_scipy,
}


@dataclass(frozen=True)
class Attempt(Record):
    """One backend's try.

    Attributes
    ----------
    solver, backend : str
    accepted : bool
        Its answer was certified.
    reason : str
        The backend's status, and why the answer is not trusted.
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


@dataclass(eq=False)
class Search:
    """The attempts on one problem, and the best that they found.

    Attributes
    ----------
    problem : Problem
    limits : Limits
        The time is that of all attempts together.
    trust : bool
        Take the first finite answer, certified or not.
    attempts : list of Attempt
    """

    problem: Problem
    limits: Limits
    trust: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    best: tuple[Float, Certificate] | None = None
    out_of_time: bool = False
    begin: float = field(default_factory=time.perf_counter)

    def exact(self) -> tuple[Float, Certificate] | None:
        """The exact solver's certified answer, in the least time; None where that needs more care, as in `run`."""
        problem, begin = self.problem, time.perf_counter()
        numbers = len(problem.lower) * (1 + problem.total.depth.shape[1])
        replaced = SOLVERS[SolverType.ANALYTICAL] is not solve_analytical
        if problem.terms is not None or problem.form.faults or numbers > SURELY_FAST or replaced:
            return None
        x, passes, certificate = exact_split(problem, self.limits.max_iterations)
        if x is None or certificate is None or fault_of(certificate, problem.shares, len(x), self.limits.tolerance):
            return None
        known = certificate.cost, certificate.duality_gap, certificate.kkt_residual
        taken = time.perf_counter() - begin
        self.attempts.append(Attempt("analytical", "multiplier", True, "", taken, passes, *known))
        return x, certificate

    def run(self, order: list[SolverType]) -> tuple[Float, Certificate]:
        """The first certified answer; out of time, the best feasible one.

        Raises
        ------
        OptimizationError
            No certified answer, though there was time.
        """
        for solver in order:
            found = self._try(solver)
            if found is not None:
                return found
        if self.out_of_time:
            return self._best_feasible()
        trail = "; ".join(f"{a.solver}/{a.backend}: {a.reason}" for a in self.attempts)
        raise OptimizationError(
            f"no solver gave a certified schedule ({trail}); raise max_iterations or timeout_seconds"
        )

    def _try(self, solver: SolverType) -> tuple[Float, Certificate] | None:
        """The solver's first certified answer. The exact solver is asked even when time is up: it needs little."""
        start, limits = time.perf_counter(), self.limits
        left = limits.timeout_seconds - (start - self.begin)
        if left <= 0 and solver is not SolverType.ANALYTICAL:
            self._record(solver, Answer("none", None, "no time left", timed_out=True), start)
            return None
        numbers = len(self.problem.lower) * (1 + self.problem.total.depth.shape[1])
        fast = SOLVERS[solver] is solve_analytical and numbers <= SURELY_FAST and self.problem.terms is None
        answers = SOLVERS[solver](self.problem, Limits(limits.max_iterations, limits.tolerance, max(left, LEAST_TIME)))
        while True:
            begin = time.perf_counter()
            try:
                least = GRACE_SECONDS if solver is SolverType.ANALYTICAL else LEAST_TIME
                left = max(limits.timeout_seconds - (begin - self.begin), least)
                answer = next(answers, None) if fast else within(left, lambda: next(answers, None))
            except OutOfTimeError as error:
                answer = Answer("abandoned", None, str(error), timed_out=True)
            except Exception as error:  # whatever a backend raises is one more reason to ask the next
                answer = Answer("raised", None, f"{type(error).__name__}: {' '.join(str(error).split())}")
            if answer is None:
                return None
            found = self._record(solver, answer, begin)
            if found is not None or answer.backend in ("abandoned", "raised"):
                return found

    def _record(self, solver: SolverType, answer: Answer, begin: float) -> tuple[Float, Certificate] | None:
        """Note the answer; itself and its certificate if it is accepted."""
        self.out_of_time |= answer.timed_out
        certificate, reason, accepted = None, answer.reason, False
        if answer.shares is not None:
            certificate = answer.certificate or certify(answer.shares, self.problem, answer.weights)
            fault = fault_of(certificate, self.problem.shares, len(answer.shares), self.limits.tolerance)
            accepted = not fault or self.trust
            reason = "; ".join(filter(None, [answer.reason, fault]))
        known = (certificate.cost, certificate.duality_gap, certificate.kkt_residual) if certificate else ()
        elapsed = time.perf_counter() - begin
        self.attempts.append(
            Attempt(solver.value, answer.backend, accepted, reason, elapsed, answer.iterations, *known)
        )
        if answer.shares is None or certificate is None:
            logger.warning("%s (%s) gave no schedule: %s", solver.value, answer.backend, reason)
            return None
        if accepted:
            return answer.shares, certificate
        logger.warning("%s (%s) gave no certified schedule: %s", solver.value, answer.backend, reason)
        self._keep(answer.shares, certificate)
        return None

    def _keep(self, x: Float, certificate: Certificate) -> None:
        """Remember a feasible answer if it is the cheapest so far."""
        filled = abs(certificate.filled - self.problem.shares) <= sum_tolerance(self.problem.shares, len(x))
        feasible = filled and certificate.outside <= 0
        if feasible and np.isfinite(certificate.cost) and (self.best is None or certificate.cost < self.best[1].cost):
            self.best = x, certificate

    def _best_feasible(self) -> tuple[Float, Certificate]:
        """The cheapest of what was found, equal shares inside the bounds, and the optimum without coupling terms."""
        problem = self.problem
        uncoupled = optimal_shares(dataclasses.replace(problem, terms=None), self.limits.max_iterations)[0]
        for x in (problem.feasible(np.ones(len(uncoupled))), uncoupled):
            self._keep(x, certify(x, problem))
        if self.best is None:
            raise OptimizationError("out of time, and no feasible schedule with a finite cost; raise timeout_seconds")
        return self.best


def fault_of(certificate: Certificate, shares: float, n: int, tolerance: float) -> str:
    """Why an answer of n children must not be trusted; empty if it may be."""
    if not abs(certificate.filled - shares) <= sum_tolerance(shares, n):
        return f"shares sum to {certificate.filled:.9g} of {shares:.9g}"
    if not certificate.outside <= 0:
        return f"shares up to {certificate.outside:.3g} outside their bounds"
    if not math.isfinite(certificate.cost):
        return f"cost {certificate.cost} is not finite"
    allowed = max(CERTIFIED_GAP, tolerance)
    if not abs(certificate.duality_gap) <= allowed:
        return f"duality gap {certificate.duality_gap:.1e} above {allowed:.0e}"
    if not certificate.kkt_residual <= CERTIFIED_RESIDUAL:
        return f"KKT residual {certificate.kkt_residual:.1e} above {CERTIFIED_RESIDUAL:.0e}"
    return ""


def sum_tolerance(shares: float, n: int) -> float:
    """Shares by which the sum of n children may miss the order."""
    return max(SUM_TOLERANCE_SHARES, 1e-15 * shares * n)

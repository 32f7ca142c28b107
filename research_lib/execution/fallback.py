"""Solvers in turn until one gives a certified split, within the time allowed."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record, SolverType
from research_lib.errors import OptimizationError
from research_lib.execution.exact import Certificate, certify_separable, exact_split
from research_lib.execution.problem import Problem
from research_lib.execution.quadratic import OutOfTimeError

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
Found = tuple[Float, Certificate]
Result = TypeVar("Result")

CERTIFIED_GAP = 1e-6
CERTIFIED_RESIDUAL = 1e-3
SUM_TOLERANCE = 1e-11  # of the order
MIN_SECONDS = 1e-3


@dataclass(frozen=True)
class Limits:
    """What a solver may use: its own iterations, the gap to reach, seconds from its start."""

    max_iterations: int
    tolerance: float
    timeout_seconds: float

    @classmethod
    def checked(cls, max_iterations: Any, tolerance: Any, timeout_seconds: Any) -> Limits:
        """The limits, refused by name where they are out of range."""
        return cls(
            number("max_iterations", max_iterations, 1, integer=True),
            number("tolerance", tolerance, above=0),
            number("timeout_seconds", timeout_seconds, above=0),
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """What one backend returned: shares (n,), or None and why; whether it was stopped by the clock.

    `weights` are its scenario weights, `certificate` is what was judged with the solution.
    """

    backend: str
    shares: Float | None
    reason: str = ""
    iterations: int = 0
    timed_out: bool = False
    weights: Float | None = None
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Attempt(Record):
    """One backend's try, as `Allocation.attempts` keeps it.

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

    `solvers` are asked in their order; the time of `limits` is that of all together. `trust` takes
    the first finite answer, certified or not. `found` is what `run` returned.
    """

    problem: Problem
    limits: Limits
    solvers: dict[SolverType, Callable[[Problem, Limits], Iterator[Answer]]]
    trust: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    best: Found | None = None
    out_of_time: bool = False
    begin: float = field(default_factory=time.perf_counter)
    found: Found = field(init=False)

    def run(self) -> Found:
        """The first certified answer; out of time, the best feasible one.

        Raises
        ------
        OptimizationError
            No certified answer, though there was time.
        """
        for solver in self.solvers:
            found = self._try(solver)
            if found is not None:
                self.found = found
                return found
        if self.out_of_time:
            self.found = self._best_feasible()
            return self.found
        trail = "; ".join(f"{a.solver}/{a.backend}: {a.reason}" for a in self.attempts)
        raise OptimizationError(
            f"no solver gave a certified schedule ({trail}); raise max_iterations or "
            "timeout_seconds"
        )

    def _left(self) -> float:
        return self.limits.timeout_seconds - (time.perf_counter() - self.begin)

    def _try(self, solver: SolverType) -> Found | None:
        """The solver's first certified answer. The exact solver is asked even when time is up: it
        needs none.
        """
        exact, left = solver is SolverType.ANALYTICAL, self._left()
        if left <= 0 and not exact:
            late = Answer("none", None, "no time left", timed_out=True)
            return self._record(solver, late, time.perf_counter())
        # Compiled loops of bounded length: no thread is worth it.
        direct = exact and self.problem.terms is None
        limits = replace(self.limits, timeout_seconds=max(left, MIN_SECONDS))
        answers = self.solvers[solver](self.problem, limits)
        while True:
            begin = time.perf_counter()
            try:
                if direct:
                    answer = next(answers, None)
                else:
                    answer = within(max(self._left(), MIN_SECONDS), lambda: next(answers, None))
            except OutOfTimeError as error:
                answer = Answer("abandoned", None, str(error), timed_out=True)
            except (
                Exception
            ) as error:  # whatever a backend raises is one more reason to ask the next
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                answer = Answer("raised", None, reason)
            if answer is None:
                return None
            found = self._record(solver, answer, begin)
            if found is not None or answer.backend in ("abandoned", "raised"):
                return found

    def _record(self, solver: SolverType, answer: Answer, begin: float) -> Found | None:
        """Note the answer; itself and its certificate if it is accepted."""
        x, problem, known, reasons = (
            answer.shares,
            self.problem,
            answer.certificate,
            [answer.reason],
        )
        self.out_of_time |= answer.timed_out
        numbers: tuple[float, ...] = ()
        accepted = False
        if x is not None:
            known = known or certify(x, problem, answer.weights)
            fault = fault_of(known, problem.shares, len(x), self.limits.tolerance)
            accepted = not fault or self.trust
            reasons.append(fault)
            numbers = known.cost, known.duality_gap, known.kkt_residual
        reason, elapsed = "; ".join(filter(None, reasons)), time.perf_counter() - begin
        name, backend = solver.value, answer.backend
        self.attempts.append(
            Attempt(name, backend, accepted, reason, elapsed, answer.iterations, *numbers)
        )
        if x is not None and known is not None and accepted:
            return x, known
        what = "no schedule" if x is None else "no certified schedule"
        logger.warning("%s (%s) gave %s: %s", name, backend, what, reason)
        if x is not None and known is not None:
            self._keep(x, known)
        return None

    def _keep(self, x: Float, known: Certificate) -> None:
        """Remember a feasible answer if it is the cheapest so far."""
        order = self.problem.shares
        filled = abs(known.filled - order) <= sum_tolerance(order, len(x))
        feasible = filled and known.outside <= 0 and math.isfinite(known.cost)
        if feasible and (self.best is None or known.cost < self.best[1].cost):
            self.best = x, known

    def _best_feasible(self) -> Found:
        """The cheapest of what was found, equal shares inside the bounds, and the optimum without
        coupling terms.
        """
        problem = self.problem
        uncoupled = exact_split(problem.total, problem.shares, problem.bounds)[0]
        for x in (problem.feasible(np.ones(len(uncoupled))), uncoupled):
            self._keep(x, certify(x, problem))
        if self.best is None:
            raise OptimizationError(
                "out of time, and no feasible schedule with a finite cost; raise timeout_seconds"
            )
        return self.best


def certify(x: Float, problem: Problem, weights: Float | None = None) -> Certificate:
    """Certificate of `x`, (n,) shares.

    Where terms couple the intervals, the problem is replaced by a separable one that is nowhere
    more expensive and, at x, cheaper by no more than `slack`: its optimum bounds theirs. `weights`
    are the scenario weights of the solver, if any: they only tighten the bound.
    """
    if problem.terms is None:
        found = certify_separable(x, problem.total, problem.shares, problem.bounds)
        return found.plus(problem.constant)
    total, slack = problem.terms.minorant(problem.total, x, weights)
    below = certify_separable(x, total, problem.shares, problem.bounds)
    cost = problem.cost(x)
    gap = (below.duality_gap * (abs(below.cost) or 1.0) + slack) / (abs(cost) or 1.0)
    return below._replace(cost=cost, duality_gap=gap)


def fault_of(
    certificate: Certificate, shares: float, n: int, tolerance: float, turnover: float = 0.0
) -> str:
    """Why an answer of n child orders must not be trusted; empty if it may be."""
    if not abs(certificate.filled - shares) <= sum_tolerance(max(abs(shares), turnover), n):
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
    """Shares by which the sum of n child orders may miss the order."""
    return max(SUM_TOLERANCE, 1e-15 * n) * abs(shares)


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises, or OutOfTimeError after `seconds`.

    The call runs in a daemon thread and is abandoned there if it is late: native code cannot be
    interrupted, but it neither holds its caller up nor keeps the process from ending.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if errors:
        raise errors[0]
    if not results:
        raise OutOfTimeError(f"out of time after {seconds:.3g} s")
    return results[0]

"""Every failure of a solver, provoked: none is silent, none costs the user the schedule."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import cvxpy as cp
import numpy as np
import pytest

from research_lib.config import SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import allocate, attempts
from research_lib.execution.solvers import Answer, Limits, OutOfTimeError, Problem, cvxpy_solver, within
from research_lib.impact import LinearImpact, PowerImpact, QuadraticImpact

CURVE = LinearImpact(np.array([1e-5, 2e-5, 4e-5]), 0.01)


def replace_solver(monkeypatch: pytest.MonkeyPatch, solver: str, *answers: object) -> None:
    """Make a solver give these answers in turn; an exception is raised, a number slept."""

    def fake(problem: Problem, limits: Limits) -> Iterator[Answer]:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, float):
                time.sleep(answer)
            else:
                yield answer  # type: ignore[misc]

    monkeypatch.setitem(attempts.SOLVERS, SolverType(solver), fake)


@pytest.mark.parametrize("solver", ["analytical", "scipy", "cvxpy"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RuntimeError("the factorisation\nfailed"), "RuntimeError: the factorisation failed"),
        (Answer("B", None, "no finite answer, status infeasible"), "no finite answer"),
        (Answer("B", np.array([np.nan, 1.0, 1.0]), "status optimal"), "shares sum to nan of 700"),
        (Answer("B", np.array([700.0, 0.0, 0.0]), "status optimal"), "duality gap"),
        (Answer("B", np.array([400.0, 200.0, 99.0]), "status optimal"), "shares sum to 699 of 700"),
        (Answer("B", np.array([-1.0, 401.0, 300.0]), "status optimal"), "outside their bounds"),
        (Answer("B", np.array([350.0, 250.0, 100.0]), "status optimal_inaccurate"), "optimal_inaccurate; duality gap"),
    ],
)
def test_a_wrong_answer_is_refused_and_the_next_solver_asked(
    monkeypatch: pytest.MonkeyPatch, solver: str, answer: object, reason: str
) -> None:
    replace_solver(monkeypatch, solver, answer)
    result = allocate(CURVE, 700, solver=solver)
    assert result.shares == pytest.approx([400, 200, 100], rel=1e-4)
    assert result.solver != solver
    assert not result.attempts[0].accepted
    assert reason in result.attempts[0].reason
    assert result.attempts[-1].accepted


@pytest.mark.parametrize("solver", ["scipy", "cvxpy"])
def test_a_solver_that_hangs_is_abandoned_on_time(monkeypatch: pytest.MonkeyPatch, solver: str) -> None:
    replace_solver(monkeypatch, solver, 30.0)
    result = allocate(CURVE, 700, solver=solver, timeout_seconds=0.05)
    assert result.shares == pytest.approx([400, 200, 100], rel=1e-9)
    assert result.attempts[0].backend == "abandoned"
    assert "out of time after 0.05" in result.attempts[0].reason
    assert result.attempts[0].elapsed < 5
    assert result.solver == "analytical"


def test_out_of_time_everywhere_gives_the_best_feasible_schedule_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for solver in ("analytical", "scipy", "cvxpy"):
        replace_solver(monkeypatch, solver, 30.0)
    result = allocate(CURVE, 700, max_shares=350, timeout_seconds=0.05)
    assert result.solver == "best feasible"
    assert result.shares.sum() == pytest.approx(700, abs=1e-9)
    assert result.shares.max() <= 350
    assert "out of time after 0.05 s: best feasible schedule" in result.warnings[0]
    assert "warning: out of time" in result.summary()
    assert [a.backend for a in result.attempts] == ["abandoned", "none", "none"]


def test_out_of_time_with_terms_keeps_an_honest_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    for solver in ("analytical", "scipy", "cvxpy"):
        replace_solver(monkeypatch, solver, 30.0)
    risk = {"risk_aversion": 1e-3, "covariance": 1e-2}
    late = allocate(CURVE, 700, **risk, timeout_seconds=0.05)
    monkeypatch.undo()
    exact = allocate(CURVE, 700, **risk)
    excess = (late.cost + late.penalty) / (exact.cost + exact.penalty) - 1
    assert late.warnings
    assert 0 < excess <= late.duality_gap / (1 - late.duality_gap)


def test_a_call_in_native_code_is_left_behind() -> None:
    # The lock is free while native code sleeps, as it is while a backend solves.
    started = threading.active_count()
    with pytest.raises(OutOfTimeError, match=r"out of time after 0\.05 s"):
        within(0.05, lambda: time.sleep(1.0))
    assert threading.active_count() == started + 1
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


def test_within_passes_results_and_errors_on() -> None:
    assert within(5.0, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 / 0)


def test_a_backend_that_raises_leaves_the_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = cp.Problem.solve

    def failing(self: cp.Problem, *args: object, solver: str, **options: object) -> object:
        if solver == "CLARABEL":
            raise cp.SolverError("Solver 'CLARABEL' failed.")
        return solve(self, *args, solver=solver, **options)

    monkeypatch.setattr(cp.Problem, "solve", failing)
    result = allocate(CURVE, 700, solver="cvxpy")
    assert result.solver == "cvxpy"
    assert [a.backend for a in result.attempts] == ["CLARABEL", "OSQP"]
    assert "failed" in result.attempts[0].reason


def test_no_certified_answer_with_time_left_is_an_error() -> None:
    rng = np.random.default_rng(0)
    curve = QuadraticImpact(rng.lognormal(-18, 2, 60), rng.lognormal(-10, 2, 60), rng.uniform(0, 0.05, 60))
    trail = r"no solver gave a certified schedule \(scipy/SLSQP: .*analytical/multiplier: .*cvxpy/SCS: .*gap"
    with pytest.raises(OptimizationError, match=trail):
        allocate(curve, 100_000, solver="scipy", max_iterations=1)


def test_validate_outputs_off_returns_the_first_finite_answer() -> None:
    curve = LinearImpact(np.array([1e-5, 3e-4, 2e-6, 5e-5]))
    loose = allocate(curve, 10_000, solver="scipy", max_iterations=1, validate_outputs=False)
    assert loose.solver == "scipy"
    assert loose.duality_gap > 1e-6


def test_tolerance_reaches_the_numerical_solvers() -> None:
    rng = np.random.default_rng(0)
    curve = QuadraticImpact(rng.lognormal(-18, 1, 40), rng.lognormal(-11, 0.5, 40), rng.uniform(0, 0.03, 40))
    for solver in ("scipy", "cvxpy"):
        tight, loose = (
            allocate(curve, 100_000, solver=solver, tolerance=tolerance, validate_outputs=False)
            for tolerance in (1e-10, 1e-2)
        )
        assert tight.duality_gap < 1e-8 < loose.duality_gap


def test_cross_check_records_a_second_solver_and_refuses_one_that_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    result = allocate(CURVE, 700, cross_check=True)
    assert result.cross_check is not None
    assert result.cross_check.solver == "cvxpy"
    assert result.cross_check.cost == pytest.approx(result.cost, rel=1e-6)
    assert "cvxpy (CLARABEL) agrees" in result.summary()
    monkeypatch.setattr("research_lib.execution.allocation.AGREEMENT", -1.0)
    with pytest.raises(OptimizationError, match="analytical and cvxpy disagree"):
        allocate(CURVE, 700, cross_check=True)


def test_cross_check_fails_when_no_second_solver_is_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    for solver in ("scipy", "cvxpy"):
        replace_solver(monkeypatch, solver, Answer("B", np.array([700.0, 0.0, 0.0]), "status optimal"))
    with pytest.raises(OptimizationError, match="no solver gave a certified schedule"):
        allocate(CURVE, 700, cross_check=True)


def test_models_of_one_structure_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    init = cvxpy_solver.Model.__init__

    def counting(self: cvxpy_solver.Model, problem: Problem) -> None:
        built.append(1)
        init(self, problem)

    monkeypatch.setattr(cvxpy_solver, "_models", type(cvxpy_solver._models)())
    monkeypatch.setattr(cvxpy_solver.Model, "__init__", counting)
    for scale in (1.0, 2.0, 5.0):
        curve = PowerImpact(1e-3 * np.array([1.0, scale, 3.0]), 0.6, 0.01)
        exact, numeric = (allocate(curve, 700 * scale, solver=solver) for solver in ("analytical", "cvxpy"))
        assert numeric.solver == "cvxpy"
        assert numeric.cost == pytest.approx(exact.cost, rel=1e-6)
    assert len(built) == 1
    for n in range(1, cvxpy_solver.CACHED_MODELS + 4):
        allocate(LinearImpact(np.linspace(1, 2, n)), 10, solver="cvxpy")
    assert len(cvxpy_solver._models) == cvxpy_solver.CACHED_MODELS


def test_negative_and_missing_coefficients_are_named() -> None:
    with pytest.raises(ValidationError, match="curve beta is not finite in 1 of 3 intervals, first in 1"):
        allocate(LinearImpact(np.array([1.0, np.nan, 1.0])), 10)
    with pytest.raises(OptimizationError, match=r"first in 1 \(quadratic coefficient -1 below 0\).*interval 0 is not"):
        allocate(LinearImpact(np.array([1.0, -1.0, 1.0])), 10)

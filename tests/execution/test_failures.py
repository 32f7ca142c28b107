"""Every failure of a solver, provoked in its backend: none is silent, none costs the user the
schedule.

The backends themselves misbehave here (`cvxpy.Problem.solve`, `scipy.optimize.minimize`): they
raise, answer wrongly, or find no time left.

Tolerances. 1e-6 of a cost is the gap at which an answer is certified; 1e-4 in shares is the root of
the gap, 1e-8, at which the numerical solvers stop; 1e-9 is rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import scipy.optimize

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import allocate
from research_lib.impact import LinearImpact, PowerImpact, QuadraticImpact

CURVE = LinearImpact(np.array([1e-5, 2e-5, 4e-5]), 0.01)
solve, minimize = cp.Problem.solve, scipy.optimize.minimize


def backend_does(monkeypatch: pytest.MonkeyPatch, solver: str, fake: Callable[..., Any]) -> None:
    """Replace the third-party call behind a solver, under whatever name the library holds it."""
    if solver == "cvxpy":
        monkeypatch.setattr(cp.Problem, "solve", fake)
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("research_lib") and getattr(module, "minimize", None) is minimize:
            monkeypatch.setattr(module, "minimize", fake)
    monkeypatch.setattr(scipy.optimize, "minimize", fake)


def answers(solver: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    """The backend, its three children, in parts of the order, changed after it has solved."""

    def by_cvxpy(self: cp.Problem, *args: Any, **options: Any) -> Any:
        value = solve(self, *args, **options)
        for variable in self.variables():
            if variable.shape == (3,):
                variable.save_value(
                    change(variable.value / variable.value.sum()) * variable.value.sum()
                )
        return value

    def by_scipy(*args: Any, **options: Any) -> Any:
        found = minimize(*args, **options)
        found.x = change(found.x / found.x.sum()) * found.x.sum()
        return found

    return by_cvxpy if solver == "cvxpy" else by_scipy


def fixed(*shares: float) -> Callable[[np.ndarray], np.ndarray]:
    """These shares of an order of 700, whatever was found."""
    return lambda part: np.array(shares) / 700.0


@pytest.mark.parametrize("solver", ["scipy", "cvxpy"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fixed(np.nan, 1.0, 1.0), "no finite answer"),
        (fixed(700.0, 0.0, 0.0), "duality gap"),
        (fixed(400.0, 200.0, 99.0), "duality gap"),  # what is missing is put where it costs most
        (fixed(-1.0, 401.0, 300.0), "duality gap"),
        (fixed(350.0, 250.0, 100.0), "duality gap"),
    ],
)
def test_a_wrong_answer_is_refused_and_the_next_solver_asked(
    monkeypatch: pytest.MonkeyPatch,
    solver: str,
    change: Callable[[np.ndarray], np.ndarray],
    reason: str,
) -> None:
    backend_does(monkeypatch, solver, answers(solver, change))
    result = allocate(CURVE, 700, solver=solver)
    # A gap of at most 1e-8, the numerical solvers' stopping rule, is about the square of the error
    # in shares.
    assert result.shares == pytest.approx([400, 200, 100], rel=1e-4)
    assert result.solver != solver
    assert not result.attempts[0].accepted
    assert reason in result.attempts[0].reason
    assert result.attempts[-1].accepted


@pytest.mark.parametrize("solver", ["scipy", "cvxpy"])
def test_a_backend_that_raises_is_named_and_the_next_solver_asked(
    monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise RuntimeError("the factorisation\nfailed")

    backend_does(monkeypatch, solver, failing)
    result = allocate(CURVE, 700, solver=solver)
    assert result.shares == pytest.approx([400, 200, 100], rel=1e-4)
    assert result.solver == "analytical"
    assert not result.attempts[0].accepted
    assert "RuntimeError: the factorisation failed" in result.attempts[0].reason


@pytest.mark.parametrize(
    ("change", "accepted"), [(fixed(350.0, 250.0, 100.0), False), (lambda part: part, True)]
)
def test_the_certificate_decides_and_not_the_backends_status(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray], accepted: bool
) -> None:
    backend_does(monkeypatch, "cvxpy", answers("cvxpy", change))
    monkeypatch.setattr(cp.Problem, "status", property(lambda self: "optimal_inaccurate"))
    result = allocate(CURVE, 700, solver="cvxpy")
    assert result.shares == pytest.approx([400, 200, 100], rel=1e-4)
    assert result.attempts[0].accepted is accepted
    assert ("optimal_inaccurate; duality gap" in result.attempts[0].reason) is not accepted


def test_the_exact_solver_out_of_iterations_is_refused_too() -> None:
    rng = np.random.default_rng(4)
    curve = LinearImpact(rng.lognormal(-10, 1.5, 5), rng.uniform(0, 0.05, 5))
    starved, exact = allocate(curve, 2_000, max_iterations=1), allocate(curve, 2_000)
    assert exact.solver == "analytical"
    assert not starved.attempts[0].accepted
    assert (starved.attempts[0].solver, starved.solver) == ("analytical", "cvxpy")
    assert "duality gap" in starved.attempts[0].reason
    assert starved.cost == pytest.approx(
        exact.cost, rel=1e-6
    )  # what a certified answer may cost too much


@pytest.mark.parametrize("solver", ["scipy", "cvxpy"])
def test_no_backend_is_asked_when_time_is_up_and_the_exact_solver_has_its_turn(solver: str) -> None:
    for risk in ({}, {"risk_aversion": 1e-9, "covariance": 1e-2}):
        exact = allocate(CURVE, 700, **risk)
        result = allocate(CURVE, 700, **risk, solver=solver, timeout_seconds=1e-9)
        assert result.attempts[0].reason == "no time left"
        assert (result.solver, result.warnings) == ("analytical", ())
        assert result.shares == pytest.approx(exact.shares, rel=1e-12)


def test_out_of_time_everywhere_gives_the_best_feasible_schedule_with_an_honest_gap() -> None:
    """A square-root curve under risk aversion, which the exact solver does not know."""
    curve = PowerImpact(np.array([1e-3, 2e-3, 4e-3]), 0.5, 0.01)
    risk = {"risk_aversion": 1e-4, "covariance": 1e-2, "max_shares": 350}
    late = allocate(curve, 700, **risk, timeout_seconds=1e-9)
    exact = allocate(curve, 700, **risk)
    assert late.solver == "best feasible"
    assert late.shares.sum() == pytest.approx(700, abs=1e-9)
    assert late.shares.max() <= 350
    assert "out of time after 1e-09 s: best feasible schedule" in late.warnings[0]
    assert "warning: out of time" in late.summary()
    assert not any(attempt.accepted for attempt in late.attempts)
    excess = (late.cost + late.penalty) / (exact.cost + exact.penalty) - 1
    assert not exact.warnings
    assert 0 < excess <= late.duality_gap / (1 - late.duality_gap)


def test_a_backend_that_raises_leaves_the_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    curve = QuadraticImpact(
        rng.lognormal(-18, 2, 60), rng.lognormal(-10, 2, 60), rng.uniform(0, 0.05, 60)
    )
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
    curve = QuadraticImpact(
        rng.lognormal(-18, 1, 40), rng.lognormal(-11, 0.5, 40), rng.uniform(0, 0.03, 40)
    )
    for solver in ("scipy", "cvxpy"):
        tight, loose = (
            allocate(curve, 100_000, solver=solver, tolerance=tolerance, validate_outputs=False)
            for tolerance in (1e-10, 1e-2)
        )
        assert tight.duality_gap < 1e-8 < loose.duality_gap


def test_cross_check_records_a_second_solver_and_refuses_one_that_disagrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = allocate(CURVE, 700, cross_check=True)
    assert result.cross_check is not None
    assert result.cross_check.solver == "cvxpy"
    assert result.cross_check.cost == pytest.approx(result.cost, rel=1e-6)
    assert "cvxpy (CLARABEL) agrees" in result.summary()
    # Half-spreads that pay for all but a four-hundredth of the impact: a misplaced child is much of
    # the cost that is
    # left. Within a tolerance of 1e-3 both answers are certified, and they cost 2e-5 of it apart.
    gain = LinearImpact(CURVE.beta, -0.00399)
    backend_does(
        monkeypatch, "cvxpy", answers("cvxpy", lambda part: part + np.array([1e-4, -1e-4, 0.0]))
    )
    with pytest.raises(OptimizationError, match="analytical and cvxpy disagree"):
        allocate(gain, 700, cross_check=True, tolerance=1e-3)


def test_cross_check_fails_when_no_second_solver_is_certified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for solver in ("scipy", "cvxpy"):
        backend_does(monkeypatch, solver, answers(solver, fixed(700.0, 0.0, 0.0)))
    with pytest.raises(OptimizationError, match="no solver gave a certified schedule"):
        allocate(CURVE, 700, cross_check=True)


def test_negative_and_missing_coefficients_are_named() -> None:
    with pytest.raises(
        ValidationError,
        match="beta of the curve must be finite: 1 of 3 rows are not, first in row 1",
    ):
        allocate(LinearImpact(np.array([1.0, np.nan, 1.0])), 10)
    with pytest.raises(
        OptimizationError, match=r"first in 1 \(quadratic -1, .*coefficients held at 0"
    ):
        allocate(LinearImpact(np.array([1.0, -1.0, 1.0])), 10)

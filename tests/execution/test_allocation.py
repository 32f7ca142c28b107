"""The exact split: closed forms, agreement of the solvers, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.config import SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import allocate, allocation, twap
from research_lib.execution.solvers import Answer, Limits, Problem
from research_lib.impact import ImpactCurve, LinearImpact, QuadraticImpact

SOLVERS = ["analytical", "scipy", "cvxpy"]
EQUAL_CURVES = [LinearImpact(np.full(12, 1e-5), 0.01), QuadraticImpact(np.full(12, 1e-9), 1e-5, 0.01)]


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_spread_and_caps_shares_go_as_one_over_beta(solver: str) -> None:
    beta = np.array([1e-5, 2e-5, 5e-5, 1e-4])
    result = allocate(LinearImpact(beta), 10_000, solver=solver)
    expected = 10_000 / beta / np.sum(1 / beta)
    tolerance = 1e-9 if solver == "analytical" else 1e-4
    assert result.shares == pytest.approx(expected, rel=tolerance)
    # The optimal cost is S^2 / sum(1/beta), the multiplier its derivative 2 S / sum(1/beta).
    assert result.cost == pytest.approx(1e8 / np.sum(1 / beta), rel=1e-8)
    assert result.marginal_cost == pytest.approx(2e4 / np.sum(1 / beta), rel=tolerance)


def test_cubic_costs_go_as_one_over_the_root_of_alpha() -> None:
    alpha = np.array([1e-9, 4e-9, 9e-9])
    result = allocate(QuadraticImpact(alpha, 0.0), 1_100)
    assert result.shares == pytest.approx([600, 300, 200], rel=1e-9)


def test_an_interval_opens_only_when_the_multiplier_passes_its_half_spread() -> None:
    # Alone, the first interval's marginal cost reaches 0.02 at 500 shares; beyond, both trade.
    curve = LinearImpact(np.array([1e-5, 1e-5]), np.array([0.01, 0.02]))
    assert allocate(curve, 400).shares == pytest.approx([400, 0], abs=1e-9)
    assert allocate(curve, 500).shares == pytest.approx([500, 0], abs=1e-6)
    assert allocate(curve, 700).shares == pytest.approx([600, 100], rel=1e-9)


def test_caps_are_iterated_not_clipped_and_rescaled() -> None:
    # Uncapped: 600, 300, 100. Capped at 400, the rest splits 3:1 again: 450 would pass the cap too.
    beta = 1 / np.array([6.0, 3.0, 1.0])
    result = allocate(LinearImpact(beta), 1_000, max_shares=400)
    assert result.shares == pytest.approx([400, 400, 200], rel=1e-12)
    loose = allocate(LinearImpact(beta), 1_000, max_shares=500)
    assert loose.shares == pytest.approx([500, 375, 125], rel=1e-12)


def test_floors_and_bounds_by_interval_hold() -> None:
    beta = np.array([1e-5, 1e-5, 1e-3])
    result = allocate(LinearImpact(beta), 900, min_shares=[0, 0, 100], max_shares=[900, 0, 900])
    assert result.shares == pytest.approx([800, 0, 100], rel=1e-12)


def test_linear_totals_fill_the_cheapest_first() -> None:
    # The literal sum of a linear g is a spike: cap by cap in the order of beta.
    beta = np.array([3e-5, 1e-5, 2e-5])
    result = allocate(LinearImpact(beta, 0.5), 1_000, max_shares=600, objective="impact")
    assert result.shares == pytest.approx([0, 600, 400], abs=1e-9)
    assert result.cost == pytest.approx(600e-5 + 400 * 2e-5)


@pytest.mark.parametrize("objective", ["cost", "impact"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "curve", [LinearImpact(np.full(12, 1e-5), 0.01), QuadraticImpact(np.full(12, 1e-9), 1e-5, 0.01)]
)
def test_equal_curves_give_twap_and_no_saving(curve: ImpactCurve, solver: str, objective: str) -> None:
    result = allocate(curve, 12_000, max_shares=3_000, solver=solver, objective=objective)
    naive = np.sum(curve.total(objective).value(twap(12_000, 12).shares))
    assert result.cost == pytest.approx(naive, rel=1e-9)
    flat = isinstance(curve, LinearImpact) and objective == "impact"  # every split costs the same
    if not flat:
        assert result.shares == pytest.approx(np.full(12, 1_000), rel=1e-3)
    if solver == "analytical":
        assert result.shares == pytest.approx(np.full(12, 1_000), rel=1e-12)


def test_caps_that_admit_exactly_the_order_in_floating_point() -> None:
    result = allocate(LinearImpact(np.linspace(1, 2, 10)), 1.0, max_shares=0.1)
    assert result.shares == pytest.approx(np.full(10, 0.1), rel=1e-15)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_change_nothing_but_units(scale: float) -> None:
    curve = LinearImpact(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0]))
    scaled = LinearImpact(scale * curve.beta, scale * curve.half_spread)
    assert allocate(scaled, 10).shares == pytest.approx(allocate(curve, 10).shares, rel=1e-12)


def test_one_interval_an_empty_order_and_free_liquidity() -> None:
    assert allocate(LinearImpact(1e-5), 777).shares.tolist() == [777]
    nothing = allocate(LinearImpact(np.ones(3), 0.25), 0)
    assert nothing.shares.tolist() == [0, 0, 0]
    assert nothing.cost == 0
    free = allocate(LinearImpact(np.array([0.0, 1e-5])), 1_000)
    assert free.shares == pytest.approx([1_000, 0], abs=1e-9)
    assert free.cost == pytest.approx(0.0, abs=1e-12)


@st.composite
def problems(draw: st.DrawFn) -> tuple[ImpactCurve, float, np.ndarray, np.ndarray, str]:
    n = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    beta, half_spread = rng.lognormal(-10, 1, n), rng.uniform(0, 0.05, n)
    alpha = rng.lognormal(-18, 1, n) * draw(st.sampled_from([0.0, 1.0]))
    total = draw(st.floats(1, 1e6))
    upper = total * rng.uniform(0.5, 4, n) / n
    upper *= max(1.0, 1.01 * total / upper.sum())
    lower = rng.uniform(0, 0.3, n) * total / n * (rng.random(n) < 0.3)
    curve: ImpactCurve = QuadraticImpact(alpha, beta, half_spread) if alpha.any() else LinearImpact(beta, half_spread)
    return curve, total, np.minimum(lower, upper), upper, draw(st.sampled_from(["cost", "impact"]))


def sorted_breakpoints(problem: Problem) -> float:
    """Optimal cost by a second route: bisection on the multiplier between sorted breakpoints, plain NumPy."""
    ends = np.concatenate([problem.total.marginal(problem.lower), problem.total.marginal(problem.upper)])
    low, high = ends.min() - 1.0, ends.max() + 1.0

    def shares(nu: float) -> np.ndarray:
        return np.clip(problem.total.shares_at_marginal(nu), problem.lower, problem.upper)

    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if shares(middle).sum() < problem.shares else (low, middle)
    below, above = shares(low), shares(high)
    gap = above.sum() - below.sum()
    part = (problem.shares - below.sum()) / gap if gap > 0 else 0.0
    return float(np.sum(problem.total.value(below + part * (above - below))))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_the_analytical_optimum_is_certified_and_equals_its_twin(
    case: tuple[ImpactCurve, float, np.ndarray, np.ndarray, str],
) -> None:
    curve, total, lower, upper, objective = case
    result = allocate(curve, total, min_shares=lower, max_shares=upper, objective=objective, solver="analytical")
    assert result.solver == "analytical"
    assert abs(result.shares.sum() - total) <= 1e-12 * total
    assert (result.shares >= lower).all()
    assert (result.shares <= upper).all()
    assert result.kkt_residual <= 1e-9
    assert abs(result.duality_gap) <= 1e-12
    twin = sorted_breakpoints(Problem(curve.total(objective), total, lower, upper))
    assert result.cost == pytest.approx(twin, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_cvxpy_and_scipy_find_the_same_cost(case: tuple[ImpactCurve, float, np.ndarray, np.ndarray, str]) -> None:
    curve, total, lower, upper, objective = case
    costs = [
        allocate(curve, total, min_shares=lower, max_shares=upper, objective=objective, solver=solver).cost
        for solver in SOLVERS
    ]
    assert costs[1:] == pytest.approx([costs[0]] * 2, rel=1e-6)


def test_bounds_that_admit_no_schedule_are_refused_with_the_numbers() -> None:
    curve = LinearImpact(np.ones(4))
    with pytest.raises(
        OptimizationError,
        match=r"cap admits 8,200 of 10,000 shares; raise max_shares .max_allocation_ratio. or lengthen",
    ):
        allocate(curve, 10_000, max_shares=2_050)
    with pytest.raises(OptimizationError, match=r"floors need 12,000 of 10,000 shares; lower min_shares"):
        allocate(curve, 10_000, min_shares=3_000)
    with pytest.raises(OptimizationError, match=r"min_shares 5 is above max_shares 4 in interval 1"):
        allocate(curve, 10, min_shares=[0, 5, 0, 0], max_shares=4)


def test_a_cap_without_limit_is_no_cap() -> None:
    curve = QuadraticImpact(np.array([1e-9, 4e-9]), 1e-5, 0.01)
    free, capped = (allocate(curve, 1_000, max_shares=cap) for cap in (np.inf, 1_000))
    assert free.solver == "analytical"
    assert free.shares == pytest.approx(capped.shares)


def test_numerical_answers_leave_no_dust() -> None:
    rng = np.random.default_rng(5)
    curve = LinearImpact(rng.lognormal(-11, 0.5, 60), rng.uniform(0.01, 0.05, 60))
    for solver in SOLVERS:
        shares = allocate(curve, 1_000, solver=solver).shares
        assert not np.any((shares > 0) & (shares < 1e-6)), solver


def test_non_convex_totals_are_refused_whatever_is_validated() -> None:
    with pytest.raises(OptimizationError, match="not convex"):
        allocate(LinearImpact(np.array([1.75e-5, -1.1e-6])), 1_000, max_shares=800, validate_inputs=False)


def test_validate_inputs_names_what_would_fail_later() -> None:
    broken = LinearImpact(np.array([1.0, 2.0]), np.array([np.nan, 0.0]))
    with pytest.raises(ValidationError, match="curve half_spread is not finite in 1 of 2 intervals, first in 0"):
        allocate(broken, 10)
    with pytest.raises(OptimizationError, match="no solver gave a certified schedule"):
        allocate(broken, 10, validate_inputs=False)


def test_non_convex_totals_are_refused_with_the_reason() -> None:
    with pytest.raises(OptimizationError, match="not convex in 1 intervals, first in 1"):
        allocate(LinearImpact(np.array([1.0, -1.0])), 10)
    with pytest.raises(OptimizationError, match="not convex"):
        allocate(QuadraticImpact(np.array([-1e-9, 1e-9]), 1e-5), 10)


@pytest.mark.parametrize(
    ("curve", "total", "bounds", "message"),
    [
        (LinearImpact(np.array([1.0, np.nan])), 10, {}, "curve beta is not finite in 1 of 2 intervals, first in 1"),
        (LinearImpact(np.ones(2)), -1, {}, "total_shares must be at least 0, got -1"),
        (LinearImpact(np.ones(2)), np.nan, {}, "total_shares must be a number and finite"),
        (LinearImpact(np.ones(2)), 10, {"min_shares": -1}, "min_shares must be at least 0, got -1 in interval 0"),
        (
            LinearImpact(np.ones(2)),
            10,
            {"max_shares": [5, np.nan]},
            "max_shares must be at least 0, got nan",
        ),
        (LinearImpact(np.ones(2)), 10, {"max_shares": [5, 5, 5]}, r"max_shares must be a number or \(2,\) shares"),
        (LinearImpact(np.ones(2)), 10, {"max_shares": "many"}, r"max_shares must be a number or \(2,\) shares"),
        (LinearImpact(np.ones(2)), 10, {"tolerance": 0}, "tolerance must be above 0, got 0"),
        (LinearImpact(np.ones(2)), 0, {"solver": "cvx"}, "solver 'cvx' is unknown; did you mean 'cvxpy'"),
        (LinearImpact(np.ones(2)), 10, {"objective": "profit"}, "objective must be one of"),
    ],
)
def test_impossible_input_is_refused(curve: ImpactCurve, total: float, bounds: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        allocate(curve, total, **bounds)  # type: ignore[arg-type]


def test_an_uncertified_answer_falls_back_and_leaves_a_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem: Problem, limits: Limits) -> Iterator[Answer]:
        yield Answer("BROKEN", None, "raised")
        yield Answer("WRONG", np.array([problem.shares, 0.0]), "status optimal")
        yield Answer("SHORT", np.array([0.4, 0.4]) * problem.shares, "status optimal")

    monkeypatch.setitem(allocation.SOLVERS, SolverType.CVXPY, wrong)
    result = allocate(LinearImpact(np.ones(2)), 10, solver="cvxpy")
    assert result.shares == pytest.approx([5, 5])
    assert [(a.backend, a.accepted) for a in result.attempts] == [
        ("BROKEN", False), ("WRONG", False), ("SHORT", False), ("multiplier", True),
    ]  # fmt: skip
    assert "duality gap" in result.attempts[1].reason
    assert "shares sum to 8 of 10" in result.attempts[2].reason
    assert result.solver == "analytical"


def test_no_certified_answer_at_all_is_an_error_that_names_the_attempts() -> None:
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


def test_time_out_stops_scipy() -> None:
    rng = np.random.default_rng(0)
    curve = LinearImpact(rng.lognormal(-11, 0.5, 200), rng.uniform(0, 0.03, 200))
    result = allocate(curve, 100_000, solver="scipy", timeout_seconds=1e-3)
    assert not result.attempts[0].accepted
    assert result.solver == "analytical"


def test_tolerance_reaches_the_numerical_solvers() -> None:
    rng = np.random.default_rng(0)
    curve = QuadraticImpact(rng.lognormal(-18, 1, 40), rng.lognormal(-11, 0.5, 40), rng.uniform(0, 0.03, 40))
    tight, loose = (
        allocate(curve, 100_000, solver="scipy", tolerance=tolerance, validate_outputs=False)
        for tolerance in (1e-10, 1e-2)
    )
    assert tight.duality_gap < 1e-9 < loose.duality_gap

"""Risk, smoothness, turnover, robustness, CVaR: against closed forms and against brute force.

Tolerances. 1e-9: rounding. 1e-7 of a cost: the gap of 1e-8 at which numerical solvers stop, and its
rounding; 1e-3 and 1e-4 in shares: its root, divided by how flat the total is. 1e-6: the gap at
which an answer is certified.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve

from research_lib.errors import ValidationError
from research_lib.execution import ConvexTerms, allocate
from research_lib.impact import (
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
)

N, S = 8, 1_000.0
RNG = np.random.default_rng(4)
BETA = RNG.lognormal(-10, 0.4, N)
CURVE = LinearImpact(BETA)


def equality_optimum(hessian: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Minimum of x'Hx/2 + c'x with sum S, no bound active: one linear system."""
    system = np.block([[hessian, np.ones((N, 1))], [np.ones((1, N)), np.zeros((1, 1))]])
    return solve(system, np.append(-linear, S))[:N]


def test_risk_aversion_solves_the_linear_system_of_its_first_order_conditions() -> None:
    weight, variance = 1e-3, np.linspace(0.01, 0.03, N)
    after = np.tril(np.ones((N, N)))  # held after t: S - sum_{s <= t} x_s
    hessian = 2 * np.diag(BETA) + 2 * weight * after.T @ np.diag(variance) @ after
    expected = equality_optimum(hessian, -2 * weight * S * after.T @ variance)
    assert expected.min() > 0
    result = allocate(CURVE, S, risk_aversion=weight, covariance=variance)
    assert result.solver == "analytical"
    assert result.shares == pytest.approx(expected, rel=1e-9)
    held = S - np.cumsum(expected)
    assert result.cost + result.penalty == pytest.approx(
        np.sum(BETA * expected**2) + weight * np.sum(variance * held**2), rel=1e-7
    )
    assert result.penalty == pytest.approx(weight * np.sum(variance * held**2), rel=1e-9)


def test_smoothness_solves_its_linear_system_and_without_limit_gives_twap() -> None:
    differences = np.diff(np.eye(N), axis=0)
    hessian = 2 * np.diag(BETA) + 2 * 1e-4 * differences.T @ differences
    result = allocate(CURVE, S, terms=ConvexTerms(smoothness=1e-4))
    assert result.shares == pytest.approx(equality_optimum(hessian, np.zeros(N)), rel=1e-4)
    flat = allocate(CURVE, S, terms=ConvexTerms(smoothness=1e3))
    assert flat.shares == pytest.approx(np.full(N, S / N), rel=1e-3)


def test_turnover_is_exact_and_keeps_the_schedule_where_moving_costs_more() -> None:
    previous = np.full(N, S / N)
    stay = allocate(CURVE, S, terms=ConvexTerms(turnover=10.0, previous=previous))
    assert stay.solver == "analytical"
    assert stay.shares == pytest.approx(previous)
    assert stay.penalty == pytest.approx(0, abs=1e-9)
    some = allocate(CURVE, S, terms=ConvexTerms(turnover=0.002, previous=previous))
    assert some.penalty == pytest.approx(0.002 * np.abs(some.shares - previous).sum(), rel=1e-9)
    # No trade zone: where shares stay, the marginal cost is within the price of moving of the
    # multiplier.
    kept = np.abs(some.shares - previous) < 1e-9
    assert 0 < kept.sum() < N
    slope = CURVE.marginal_cost(some.shares)
    assert np.abs(slope[kept].max() - slope[kept].min()) <= 2 * 0.002 + 1e-12
    numeric = allocate(
        CURVE, S, terms=ConvexTerms(turnover=0.002, previous=previous), solver="cvxpy"
    )
    assert numeric.solver == "cvxpy"
    assert numeric.cost + numeric.penalty == pytest.approx(some.cost + some.penalty, rel=1e-7)


def test_robust_cost_is_the_worst_case_over_the_ellipsoid() -> None:
    sd = 0.4 * BETA * RNG.uniform(0.2, 2, N)
    kappa = 2.0
    result = allocate(CURVE, S, terms=ConvexTerms(robust=kappa, covariance=sd[:, None, None] ** 2))
    x = result.shares
    size = np.linalg.norm(sd * x**2)
    worst = BETA + kappa * sd * (sd * x**2) / size  # where the ellipsoid touches
    assert np.linalg.norm((worst - BETA) / sd) == pytest.approx(kappa)
    assert result.cost + result.penalty == pytest.approx(np.sum(worst * x**2), rel=1e-9)
    # Against the fixed worst coefficients the schedule is optimal too: a saddle point.
    assert x == pytest.approx(allocate(LinearImpact(worst), S).shares, rel=1e-3)


def test_robust_quadratic_costs_count_negative_covariance_as_none() -> None:
    alpha = np.full(N, 1e-8)
    curve = QuadraticImpact(alpha, BETA)
    covariance = np.zeros((N, 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = (0.3 * alpha) ** 2, (0.3 * BETA) ** 2
    none = allocate(curve, S, terms=ConvexTerms(robust=1.0, covariance=covariance))
    covariance[:, 0, 1] = covariance[:, 1, 0] = -0.05 * alpha * BETA
    negative = allocate(curve, S, terms=ConvexTerms(robust=1.0, covariance=covariance))
    assert negative.shares == pytest.approx(none.shares, rel=1e-4)
    x = none.shares
    assert none.penalty == pytest.approx(
        np.sqrt(np.sum((0.3 * alpha * x**3) ** 2 + (0.3 * BETA * x**2) ** 2))
    )


def scenario_curves(kind: str) -> tuple[ImpactCurve, list[ImpactCurve]]:
    rng = np.random.default_rng(9)
    noise = rng.lognormal(0, 0.5, (6, N))
    if kind == "linear":
        return CURVE, [LinearImpact(BETA * row) for row in noise]
    if kind == "power":
        return PowerImpact(BETA * 20, 0.6), [PowerImpact(BETA * 20 * row, 0.6) for row in noise]
    depth, premium = rng.uniform(50, 150, (N, 5)), np.cumsum(rng.uniform(0, 0.01, (N, 5)), axis=1)
    return PiecewiseLinearImpact(depth, premium), [
        PiecewiseLinearImpact(depth, premium * row[:, None]) for row in noise
    ]


@pytest.mark.parametrize("kind", ["linear", "power", "book"])
@pytest.mark.parametrize("level", [0.0, 0.5, 0.8])
def test_cvar_is_the_mean_of_the_dearest_scenarios_and_no_neighbour_has_less(
    kind: str, level: float
) -> None:
    curve, scenarios = scenario_curves(kind)
    result = allocate(curve, 600.0, terms=ConvexTerms(scenarios=scenarios, cvar_level=level))
    worst = {0.0: 6, 0.5: 3}.get(level)

    def cvar(x: np.ndarray) -> float:
        costs = np.sort([scenario.cost(x).sum() for scenario in scenarios])[::-1]
        if worst is not None:
            return float(costs[:worst].mean())
        return float((costs[0] + 0.2 * costs[1]) / 1.2)  # 1.2 of 6 scenarios

    best = result.cost + result.penalty
    assert best == pytest.approx(cvar(result.shares), rel=1e-9)
    assert result.duality_gap <= 1e-6
    rng = np.random.default_rng(0)
    for _ in range(200):
        step = rng.normal(size=N) * rng.choice([0.1, 3.0])
        moved = result.shares + step - step.mean()
        if moved.min() >= 0 and np.all(moved <= curve.total().capacity):
            assert cvar(moved) >= best * (1 - 1e-6)


def test_scipy_solves_smooth_terms_to_the_same_optimum() -> None:
    terms = ConvexTerms(smoothness=1e-5, robust=1.0, covariance=(0.3 * BETA)[:, None, None] ** 2)
    risk = {"risk_aversion": 1e-3, "covariance": 0.02}
    conic, smooth = (
        allocate(CURVE, S, max_shares=300, terms=terms, solver=solver, **risk)
        for solver in ("cvxpy", "scipy")
    )
    assert (conic.solver, smooth.solver) == ("cvxpy", "scipy")
    assert smooth.cost + smooth.penalty == pytest.approx(conic.cost + conic.penalty, rel=1e-7)


def test_the_certificate_bounds_a_poor_answer_from_above() -> None:
    risk = {"risk_aversion": 1e-3, "covariance": 0.02}
    good = allocate(CURVE, S, **risk)
    poor = allocate(CURVE, S, **risk, solver="scipy", max_iterations=2, validate_outputs=False)
    excess = (poor.cost + poor.penalty) / (good.cost + good.penalty) - 1
    assert 1e-6 < excess < poor.duality_gap / (1 - poor.duality_gap)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"turnover": 1.0}, "turnover needs previous"),
        ({"robust": 1.0}, "robust needs covariance"),
        ({"smoothness": -1.0}, "smoothness must be at least 0"),
        ({"cvar_level": 1.0}, r"cvar_level must be in \[0, 1\)"),
        (
            {"robust": 1.0, "covariance": np.ones((8, 2, 2))},
            r"must be \(8, 1, 1\) as ImpactFit.cov, got \(8, 2, 2\)",
        ),
        (
            {"robust": 1.0, "covariance": np.full((8, 1, 1), np.nan)},
            "covariance is not finite.*8 intervals, first in 0",
        ),
        (
            {"scenarios": [LinearImpact(np.ones(3))]},
            "scenario 0 must be a convex curve of 8 intervals; it has 3",
        ),
    ],
)
def test_terms_that_cannot_be_used_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        allocate(CURVE, S, terms=ConvexTerms(**settings))  # type: ignore[arg-type]


def test_trust_constr_has_the_curvature_of_the_risk() -> None:
    # With a quasi-Newton guess of a dense matrix it took 70 iterations and fifty times as long.
    curve = PowerImpact(np.linspace(1e-4, 1e-3, 200), 0.5, 0.01)
    found = allocate(curve, 1e5, risk_aversion=1e-8, covariance=1e-2, solver="scipy").attempts[0]
    assert (found.backend, found.accepted) == ("trust-constr", True)
    assert found.iterations < 50


@pytest.mark.parametrize(
    ("curve", "shares", "settings"),
    [
        (
            LinearImpact(np.linspace(1e-6, 1e-5, 78)),
            1e4,
            {"risk_aversion": 1.0, "covariance": 1e-2},
        ),
        (
            PowerImpact(np.linspace(1e-4, 1e-3, 78), 0.5, 0.01),
            1e6,
            {"terms": ConvexTerms(smoothness=1.0)},
        ),
    ],
)
def test_terms_that_outweigh_the_cost_have_an_answer(
    curve: ImpactCurve, shares: float, settings: dict[str, Any]
) -> None:
    result = allocate(curve, shares, **settings)
    assert result.attempts[-1].accepted
    assert result.duality_gap < 1e-6

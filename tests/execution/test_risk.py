"""Risk beside the cost: against its linear system, and between the solvers.

Tolerances. 1e-9: rounding. 1e-7 of a cost: the gap of 1e-8 at which numerical solvers stop, and its
rounding; 1e-3 and 1e-4 in shares: its root, divided by how flat the total is. 1e-6: the gap at
which an answer is certified.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve

from research_lib.execution import allocate
from research_lib.impact import ExponentialKernel, ImpactCurve, LinearImpact, PowerImpact

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


def test_scipy_solves_smooth_terms_to_the_same_optimum() -> None:
    risk = {"risk_aversion": 1e-3, "covariance": 0.02}
    conic, smooth = (
        allocate(CURVE, S, max_shares=300, solver=solver, **risk) for solver in ("cvxpy", "scipy")
    )
    assert (conic.solver, smooth.solver) == ("cvxpy", "scipy")
    assert smooth.cost + smooth.penalty == pytest.approx(conic.cost + conic.penalty, rel=1e-7)


def test_the_certificate_bounds_a_poor_answer_from_above() -> None:
    risk = {"risk_aversion": 1e-3, "covariance": 0.02}
    good = allocate(CURVE, S, **risk)
    poor = allocate(CURVE, S, **risk, solver="scipy", max_iterations=2, validate_outputs=False)
    excess = (poor.cost + poor.penalty) / (good.cost + good.penalty) - 1
    assert 1e-6 < excess < poor.duality_gap / (1 - poor.duality_gap)


def test_trust_constr_has_the_curvature_of_the_risk() -> None:
    # With a quasi-Newton guess of a dense matrix it took 70 iterations and fifty times as long.
    curve = PowerImpact(np.linspace(1e-4, 1e-3, 200), 0.5, 0.01)
    found = allocate(curve, 1e5, risk_aversion=1e-8, covariance=1e-2, solver="scipy").attempts[0]
    assert (found.backend, found.accepted) == ("trust-constr", True)
    assert found.iterations < 50


@pytest.mark.parametrize(
    ("curve", "shares", "settings"),
    [(LinearImpact(np.linspace(1e-6, 1e-5, 78)), 1e4, {"risk_aversion": 1.0, "covariance": 1e-2})],
)
def test_terms_that_outweigh_the_cost_have_an_answer(
    curve: ImpactCurve, shares: float, settings: dict[str, Any]
) -> None:
    result = allocate(curve, shares, **settings)
    assert result.attempts[-1].accepted
    assert result.duality_gap < 1e-6


def test_the_next_share_costs_the_same_where_one_interval_takes_all() -> None:
    """A cap above the order is none, so it does not set the price: by a finite difference."""
    curve, kernel = LinearImpact([1e-6, 1e-6], [0.0, 0.1]), ExponentialKernel(0.5, 1e-6)
    for how in ({"kernel": kernel}, {"risk_aversion": 1e-3, "covariance": 1e-3}):
        found, more = (allocate(curve, shares, **how) for shares in (1_000.0, 1_000.001))
        assert found.shares.tolist() == [1_000.0, 0.0]
        rise = (more.cost + more.penalty - found.cost - found.penalty) / 0.001
        assert found.marginal_cost == pytest.approx(rise, rel=1e-5)  # the difference is of 1e-3

"""Curve families and the totals that are minimised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.impact import ImpactCurve, LinearImpact, QuadraticImpact

CURVES = [
    LinearImpact(np.array([1e-5, 2e-5]), np.array([0.01, 0.02])),
    QuadraticImpact(np.array([1e-9, 0.0]), np.array([1e-5, 2e-5]), 0.01),
]


def test_linear_cost_by_hand() -> None:
    curve = LinearImpact(beta=2.0, half_spread=3.0)
    # 5 shares: impact 10, slippage 13, cost 65; the next share costs 3 + 2*2*5 = 23, twice the average's slope.
    assert [f(5.0)[0] for f in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost)] == [10, 13, 65, 23]
    assert curve.shares_at_marginal(23.0)[0] == 5.0


def test_quadratic_cost_by_hand() -> None:
    curve = QuadraticImpact(alpha=1.0, beta=2.0, half_spread=3.0)
    # 5 shares: impact 25 + 10, slippage 38, cost 190; marginal 3 + 2*2*5 + 3*25 = 98.
    assert [f(5.0)[0] for f in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost)] == [35, 38, 190, 98]
    assert curve.shares_at_marginal(98.0)[0] == pytest.approx(5.0, rel=1e-15)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("objective", ["cost", "impact"])
def test_marginal_is_the_derivative_of_the_total(curve: ImpactCurve, objective: str) -> None:
    total, x, step = curve.total(objective), 300.0, 1e-3
    numeric = (total.value(x + step) - total.value(x - step)) / (2 * step)
    assert total.marginal(x) == pytest.approx(numeric, rel=1e-6)
    curvature = (total.marginal(x + step) - total.marginal(x - step)) / (2 * step)
    assert total.curvature(x) == pytest.approx(curvature, rel=1e-5, abs=1e-15)


@given(alpha=st.floats(0, 1e3), beta=st.floats(0, 1e3), half_spread=st.floats(0, 10), shares=st.floats(1e-3, 1e6))
def test_shares_at_marginal_inverts_the_marginal_cost(
    alpha: float, beta: float, half_spread: float, shares: float
) -> None:
    if alpha + beta < 1e-6:
        return  # nearly flat: any number of shares has that marginal
    curve = QuadraticImpact(alpha, beta, half_spread)
    price = curve.marginal_cost(shares)
    if price[0] - half_spread < 1e-3 * half_spread:
        return  # the impact is lost in the rounding of the price
    assert curve.shares_at_marginal(price)[0] == pytest.approx(shares, rel=1e-9)


def test_no_shares_below_the_half_spread_and_no_limit_on_free_liquidity() -> None:
    curve = LinearImpact(np.array([1e-5, 0.0, 0.0]), np.array([0.02, 0.01, 0.02]))
    assert curve.shares_at_marginal(0.015).tolist() == [0.0, np.inf, 0.0]
    assert curve.shares_at_marginal(0.02).tolist() == [0.0, np.inf, 0.0]


def test_impact_vanishes_at_zero() -> None:
    for curve in CURVES:
        assert curve.impact(0.0).tolist() == [0.0, 0.0]
        assert np.array_equal(curve.slippage(0.0), curve.half_spread)


def test_parameters_broadcast_to_one_length() -> None:
    curve = QuadraticImpact(1e-9, np.array([1e-5, 2e-5, 3e-5]))
    assert len(curve) == 3
    assert curve.alpha.tolist() == [1e-9] * 3
    with pytest.raises(ValidationError, match=r"alpha \(2,\), beta \(3,\)"):
        QuadraticImpact(np.zeros(2), np.zeros(3))
    with pytest.raises(ValidationError, match="beta must be a number or"):
        LinearImpact(np.zeros((2, 2)))


def test_recut_averages_over_the_time_covered() -> None:
    curve = LinearImpact(np.array([1.0, 2.0, 3.0]), 0.5)
    assert curve.recut(1).beta.tolist() == pytest.approx([2.0])
    assert curve.recut(6).beta.tolist() == pytest.approx([1, 1, 2, 2, 3, 3])
    # Two halves of three thirds: the first covers one whole third and half of the second.
    assert curve.recut(2).beta.tolist() == pytest.approx([(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 3) / 1.5])
    assert curve.recut(3) is curve


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ValidationError, match="objective must be one of cost, impact, got 'risk'"):
        CURVES[0].total("risk")

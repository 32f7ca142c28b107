"""Front-loaded schedules by hand; Almgren and Chriss against its closed form, brute force and CVXPY."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import almgren_chriss, front_loaded, twap

PAPER = {"volatility": 0.95, "temporary": 2.5e-6, "permanent": 2.5e-7, "half_spread": 0.0625}


def test_front_loaded_by_hand() -> None:
    assert front_loaded(60, 3).shares == pytest.approx([30, 20, 10])
    assert front_loaded(70, 3, half_life=1).shares == pytest.approx([40, 20, 10])
    assert front_loaded(60, 3, half_life=np.inf).shares == pytest.approx([20, 20, 20])
    with pytest.raises(ValidationError, match="half_life must be above 0, got 0"):
        front_loaded(60, 3, half_life=0)


@settings(deadline=None)  # the first call compiles
@given(
    n=st.integers(2, 60), risk=st.floats(1e-9, 1e-4), tau=st.floats(0.01, 2), drift=st.sampled_from([0.0, 0.02, -0.05])
)
def test_holdings_are_the_papers_hyperbolic_sines(n: int, risk: float, tau: float, drift: float) -> None:
    x = 1e6
    found = almgren_chriss(x, n, **{**PAPER, "half_spread": 0.0}, risk_aversion=risk, drift=drift, interval=tau)
    left, time, end = found.kappa * tau * np.arange(n, -1, -1.0), found.kappa * tau * np.arange(n + 1.0), 0.0
    end = found.kappa * tau * n
    if end > 300:  # beyond what sinh holds
        return
    level = drift / (2 * risk * 0.95**2)
    expected = np.sinh(left) / np.sinh(end) * x
    expected += (1 - (np.sinh(left) + np.sinh(time)) / np.sinh(end)) * level
    assert found.holdings == pytest.approx(expected, rel=1e-6, abs=1e-6 * (x + abs(level)))
    assert found.shares.sum() == pytest.approx(x, rel=1e-12)
    net = PAPER["temporary"] - PAPER["permanent"] * tau / 2
    assert 2 / tau**2 * (np.cosh(found.kappa * tau) - 1) == pytest.approx(risk * 0.95**2 / net, rel=1e-6)


def test_without_risk_aversion_it_is_twap_and_costs_the_papers_closed_form() -> None:
    found = almgren_chriss(1e6, 5, **PAPER, risk_aversion=0.0)
    assert found.shares == pytest.approx(twap(1e6, 5).shares, rel=1e-12)
    assert found.kappa == 0
    # Equation 14: gamma X^2 / 2 + epsilon X + (eta - gamma tau / 2) X^2 / T; equation 15 for the variance.
    assert found.expected_cost == pytest.approx(0.125e6 + 0.0625e6 + 2.375e-6 * 1e12 / 5, rel=1e-12)
    assert found.variance == pytest.approx(0.95**2 * 1e12 * 5 / 3 * (1 - 1 / 5) * (1 - 1 / 10), rel=1e-12)


def test_no_other_schedule_has_less_cost_and_risk() -> None:
    risk, tau = 2e-6, 0.5
    found = almgren_chriss(1e6, 8, **PAPER, risk_aversion=risk, interval=tau, drift=0.01)
    best = found.expected_cost + risk * found.variance
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e3, 1e5):
        step = rng.normal(size=8) * scale
        trades = found.shares + step - step.mean()
        held = 1e6 - np.cumsum(trades)
        # By the definition: each trade pays the spread and its own rate; what is held pays the fall it caused.
        cost = np.sum(trades * (0.0625 + 2.5e-6 * trades / tau)) + np.sum(2.5e-7 * trades * held)
        cost += -0.01 * tau * held.sum() + risk * 0.95**2 * tau * np.sum(held**2)
        assert cost >= best * (1 - 1e-12)


def test_a_buy_mirrors_a_sell_and_one_interval_trades_at_once() -> None:
    sell, buy = (almgren_chriss(x, 6, **PAPER, risk_aversion=1e-6) for x in (1e6, -1e6))
    assert buy.shares == pytest.approx(-sell.shares)
    assert buy.expected_cost == pytest.approx(sell.expected_cost)
    assert almgren_chriss(7.0, 1, **PAPER, risk_aversion=1e-6).shares.tolist() == [7.0]


def test_floors_keep_a_drift_from_buying_first() -> None:
    free = {"volatility": 0.95, "temporary": 2.5e-6, "risk_aversion": 1e-7, "drift": 0.5}
    unbounded = almgren_chriss(1e6, 10, **free)
    assert unbounded.shares.min() < 0
    floored = almgren_chriss(1e6, 10, **free, min_shares=0)
    assert floored.shares.min() >= 0
    assert floored.shares.sum() == pytest.approx(1e6, abs=1e-6)
    value = [s.expected_cost + 1e-7 * s.variance for s in (unbounded, floored)]
    assert value[0] < value[1]
    with pytest.raises(OptimizationError, match="set min_shares=0"):
        almgren_chriss(1e6, 10, **free, half_spread=0.01)


def test_temporary_impact_must_exceed_half_the_permanent_of_an_interval() -> None:
    with pytest.raises(ValidationError, match=r"temporary 2\.5e-06 must be above permanent \* interval / 2 = 5e-06"):
        almgren_chriss(1e6, 5, volatility=1, temporary=2.5e-6, permanent=1e-6, risk_aversion=0, interval=10)

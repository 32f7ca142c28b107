"""Almgren and Chriss against closed forms, brute force, dense systems and CVXPY.

Tolerances. 1e-9 to 1e-12: rounding of sums over at most 390 trades, and of the dense systems of as
many equations. 1e-6 against hyperbolic functions written out, which lose half of their digits where
kappa tau is 2e-4, and against CVXPY, which is asked for a gap of 1e-12: shares err by its root.
1e-4: interpolation between 4,000 holdings.
"""

from __future__ import annotations

import math
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import almgren_chriss, twap

PAPER = {"volatility": 0.95, "temporary": 2.5e-6, "permanent": 2.5e-7, "half_spread": 0.0625}
Float = NDArray[np.float64]
# Shares are compared to 1e-6 of the order, about the root of the gap at which the reference stops.
TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


@settings(deadline=None)  # the first call compiles
@given(
    n=st.integers(2, 60),
    risk=st.floats(1e-9, 1e-4),
    tau=st.floats(0.01, 2),
    drift=st.sampled_from([0.0, 0.02, -0.05]),
)
def test_holdings_are_the_papers_hyperbolic_sines(
    n: int, risk: float, tau: float, drift: float
) -> None:
    x = 1e6
    found = almgren_chriss(
        x, n, **{**PAPER, "half_spread": 0.0}, risk_aversion=risk, drift=drift, interval=tau
    )
    left, time, end = (
        found.kappa * tau * np.arange(n, -1, -1.0),
        found.kappa * tau * np.arange(n + 1.0),
        0.0,
    )
    end = found.kappa * tau * n
    if end > 300:  # beyond what sinh holds
        return
    level = drift / (2 * risk * 0.95**2)
    expected = np.sinh(left) / np.sinh(end) * x
    expected += (1 - (np.sinh(left) + np.sinh(time)) / np.sinh(end)) * level
    assert found.holdings == pytest.approx(expected, rel=1e-6, abs=1e-6 * (x + abs(level)))
    assert found.shares.sum() == pytest.approx(x, rel=1e-12)
    net = PAPER["temporary"] - PAPER["permanent"] * tau / 2
    assert 2 / tau**2 * (np.cosh(found.kappa * tau) - 1) == pytest.approx(
        risk * 0.95**2 / net, rel=1e-6
    )


def test_without_risk_aversion_it_is_twap_and_costs_the_papers_closed_form() -> None:
    found = almgren_chriss(1e6, 5, **PAPER, risk_aversion=0.0)
    assert found.shares == pytest.approx(twap(1e6, 5).shares, rel=1e-12)
    assert found.kappa == 0
    # Equation 14: gamma X^2 / 2 + epsilon X + (eta - gamma tau / 2) X^2 / T; equation 15 for the
    # variance.
    assert found.expected_cost == pytest.approx(0.125e6 + 0.0625e6 + 2.375e-6 * 1e12 / 5, rel=1e-12)
    assert found.variance == pytest.approx(
        0.95**2 * 1e12 * 5 / 3 * (1 - 1 / 5) * (1 - 1 / 10), rel=1e-12
    )


def test_no_other_schedule_has_less_cost_and_risk() -> None:
    risk, tau = 2e-6, 0.5
    found = almgren_chriss(1e6, 8, **PAPER, risk_aversion=risk, interval=tau, drift=0.01)
    best = found.expected_cost + risk * found.variance
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e3, 1e5):
        step = rng.normal(size=8) * scale
        trades = found.shares + step - step.mean()
        held = 1e6 - np.cumsum(trades)
        # By the definition: each trade pays the spread and its own rate; what is held pays the fall
        # it caused.
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
    with pytest.raises(
        ValidationError, match=r"temporary 2\.5e-06 must be above permanent \* interval / 2 = 5e-06"
    ):
        almgren_chriss(
            1e6, 5, volatility=1, temporary=2.5e-6, permanent=1e-6, risk_aversion=0, interval=10
        )


def _varying(n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Coefficients of another size in every interval."""
    return {
        "volatility": 0.95 * rng.uniform(0.3, 2.0, n),
        "temporary": 2.5e-6 * rng.uniform(0.5, 3.0, n),
        "permanent": 2.5e-7,
        "interval": 0.5,
    }


def _value(
    trades: Any, x: float, risk: float, c: dict[str, Any], drift: float = 0.0, library: Any = np
) -> Any:
    """Cost plus risk by its definition: each trade pays its own rate, what is held the fall that
    it caused.
    """
    tau, held = c["interval"], x - library.cumsum(trades)
    net = c["temporary"] / tau - c["permanent"] / 2
    cost = 0.5 * c["permanent"] * x**2 + library.sum(library.multiply(net, library.square(trades)))
    return (
        cost
        - drift * tau * library.sum(held)
        + risk
        * tau
        * library.sum(library.multiply(np.square(c["volatility"]), library.square(held)))
    )


@pytest.mark.parametrize(
    ("n", "risk", "drift"), [(2, 1e-6, 0.0), (13, 1e-6, 0.1), (390, 3e-7, -0.02), (50, 0.0, 0.0)]
)
def test_varying_coefficients_solve_the_dense_system(
    n: int, risk: float, drift: float, rng: np.random.Generator
) -> None:
    c, x, tau = _varying(n, rng), 1e6, 0.5
    found = almgren_chriss(x, n, **c, risk_aversion=risk, drift=drift)
    cost = c["temporary"] / tau - c["permanent"] / 2
    sums = np.tril(np.ones((n, n)))  # held after trade k: x - sums @ trades
    weight = risk * tau * c["volatility"] ** 2
    weight[-1] = 0.0  # nothing is left then
    hessian = 2 * np.diag(cost) + 2 * sums.T @ (weight[:, None] * sums)
    gradient = -2 * sums.T @ weight * x + drift * tau * sums[:-1].sum(axis=0)
    kkt = np.block([[hessian, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    expected = np.linalg.solve(kkt, np.append(-gradient, x))[:n]
    assert found.shares == pytest.approx(expected, rel=1e-9, abs=1e-9 * x)
    value = _value(found.shares, x, risk, c, drift)
    assert found.expected_cost + risk * found.variance == pytest.approx(value, rel=1e-10)


def test_varying_coefficients_agree_with_cvxpy(rng: np.random.Generator) -> None:
    n, x, risk = 20, 1e6, 1e-6
    c = _varying(n, rng)
    found = almgren_chriss(x, n, **c, risk_aversion=risk)
    part = cp.Variable(n)  # of the order
    scaled = {
        **c,
        "temporary": c["temporary"] * 1e6,
        "permanent": c["permanent"] * 1e6,
        "volatility": c["volatility"],
    }
    objective = _value(part, 1.0, risk * 1e6, scaled, library=_Cvxpy)
    cp.Problem(cp.Minimize(objective), [cp.sum(part) == 1]).solve(solver="CLARABEL", **TIGHT)
    value = _value(part.value * x, x, risk, c)
    assert found.expected_cost + risk * found.variance == pytest.approx(value, rel=1e-6)
    assert found.shares == pytest.approx(part.value * x, abs=1e-6 * x)


class _Cvxpy:
    cumsum, sum, multiply, square = cp.cumsum, cp.sum, cp.multiply, cp.square


def test_equal_coefficients_in_an_array_are_the_constant_case() -> None:
    arrays = {**PAPER, "volatility": np.full(8, 0.95), "temporary": np.full(8, 2.5e-6)}
    one, other = (almgren_chriss(1e6, 8, **given, risk_aversion=1e-6) for given in (PAPER, arrays))
    assert np.array_equal(one.shares, other.shares)
    nudged = {**arrays, "temporary": 2.5e-6 * (1 + 1e-13 * np.arange(8))}
    assert almgren_chriss(1e6, 8, **nudged, risk_aversion=1e-6).shares == pytest.approx(
        one.shares, rel=1e-9
    )


def test_dear_intervals_are_spared_and_calm_ones_waited_in() -> None:
    temporary, calm = np.full(10, 2.5e-6), np.full(10, 0.95)
    temporary[3], calm[6] = 1e-5, 0.01
    dear = almgren_chriss(1e6, 10, volatility=0.95, temporary=temporary, risk_aversion=1e-6)
    assert dear.shares[3] == dear.shares.min() or dear.shares[3] < dear.shares[2]
    assert dear.shares[3] < dear.shares[4]
    quiet = almgren_chriss(1e6, 10, volatility=calm, temporary=2.5e-6, risk_aversion=1e-6)
    steps = -np.diff(quiet.shares) / quiet.shares[:-1]
    assert (
        np.argmin(steps) == 6
    )  # what is held after trade 6 bears hardly any risk: trade 7 is no smaller


@pytest.mark.parametrize("n", [2, 5, 40])
def test_who_loves_risk_trades_by_sines_up_to_the_limit(n: int) -> None:
    tau, net = 5.0 / n, 2.5e-6 - 2.5e-7 * 2.5 / n
    limit = -4 * math.sin(math.pi / (2 * n)) ** 2 * net / (0.95 * tau) ** 2
    plain = {**PAPER, "half_spread": 0.0, "interval": tau}
    for share in (0.3, 0.9):
        found = almgren_chriss(1e6, n, **plain, risk_aversion=share * limit)
        omega = -found.kappa
        assert 2 / tau**2 * (1 - math.cos(omega * tau)) == pytest.approx(
            -share * limit * 0.95**2 / net
        )
        expected = np.sin(omega * (5.0 - tau * np.arange(n + 1))) / np.sin(omega * 5.0) * 1e6
        assert found.holdings == pytest.approx(expected, abs=1e-3)
        assert math.isinf(found.half_life)
    for beyond in (1.0, 1.5):
        with pytest.raises(OptimizationError, match="falls without limit"):
            almgren_chriss(1e6, n, **plain, risk_aversion=beyond * limit * (1 + 1e-12))
        bent = {**plain, "volatility": 0.95 * (1 + 1e-9 * np.arange(n))}
        with pytest.raises(OptimizationError, match="falls without limit"):
            almgren_chriss(1e6, n, **bent, risk_aversion=beyond * limit * (1 + 1e-6))


def test_who_loves_risk_is_refused_where_floors_bind_or_a_spread_prices_the_sign() -> None:
    loving = {"volatility": 0.95, "temporary": 2.5e-6, "risk_aversion": -6e-7}
    assert almgren_chriss(1e6, 5, **loving).shares.min() < 0
    with pytest.raises(OptimizationError, match="min_shares binds"):
        almgren_chriss(1e6, 5, **loving, min_shares=0)
    with pytest.raises(OptimizationError, match="trades against the order's direction"):
        almgren_chriss(1e6, 5, **loving, half_spread=0.01)
    with pytest.raises(OptimizationError, match="trades against the order's direction"):
        almgren_chriss(0.0, 5, **{**loving, "risk_aversion": 1e-6}, drift=0.1, half_spread=0.01)


def test_floors_hold_where_coefficients_vary(rng: np.random.Generator) -> None:
    n, x, risk, drift = 12, 1e6, 1e-7, 2.0
    c = _varying(n, rng)
    free, floored = (
        almgren_chriss(x, n, **c, risk_aversion=risk, drift=drift, **floor)
        for floor in ({}, {"min_shares": 0})
    )
    assert free.shares.min() < 0 <= floored.shares.min()
    part = cp.Variable(n)
    scaled = {**c, "temporary": c["temporary"] * 1e6, "permanent": c["permanent"] * 1e6}
    objective = _value(part, 1.0, risk * 1e6, scaled, drift, library=_Cvxpy)
    cp.Problem(cp.Minimize(objective), [cp.sum(part) == 1, part >= 0]).solve(
        solver="CLARABEL", **TIGHT
    )
    value = _value(np.maximum(part.value, 0.0) * x, x, risk, c, drift)
    assert floored.expected_cost + risk * floored.variance == pytest.approx(value, rel=1e-6)


def test_no_risk_aversion_is_the_limit_from_both_sides() -> None:
    for risk in (1e-16, -1e-16):
        assert almgren_chriss(1e6, 30, **PAPER, risk_aversion=risk).shares == pytest.approx(
            twap(1e6, 30).shares, rel=1e-6
        )


def test_value_at_risk_is_the_normal_quantile_and_the_two_half_lives_are_named() -> None:
    found = almgren_chriss(1e6, 5, **PAPER, risk_aversion=1e-6)
    # 1.6448536: the 95 % quantile of the normal, as tables give it.
    assert found.value_at_risk(0.95) == pytest.approx(
        found.expected_cost + 1.6448536 * found.variance**0.5, rel=1e-7
    )
    assert found.value_at_risk(0.5) == pytest.approx(found.expected_cost)
    assert found.theta == pytest.approx(1 / found.kappa)
    far = almgren_chriss(1e6, 4000, **PAPER, risk_aversion=1e-6, interval=0.01)
    at = np.interp(0.5e6, far.holdings[::-1], 0.01 * np.arange(4000, -1, -1))
    assert far.half_life == pytest.approx(at, rel=1e-4)
    assert np.interp(far.theta, 0.01 * np.arange(4001), far.holdings) == pytest.approx(
        1e6 / math.e, rel=1e-4
    )
    with pytest.raises(ValidationError, match="p must be below 1"):
        found.value_at_risk(1.0)


def test_coefficients_of_the_wrong_length_or_sign_are_named() -> None:
    with pytest.raises(
        ValidationError,
        match=r"volatility must be a number or \(5,\), one an interval, got shape \(4,\)",
    ):
        almgren_chriss(1e6, 5, volatility=np.ones(4), temporary=1e-6, risk_aversion=0)
    with pytest.raises(
        ValidationError, match="temporary must be finite and at least 0, got -1e-06 in interval 2"
    ):
        almgren_chriss(1e6, 3, volatility=1, temporary=[1e-6, 2e-6, -1e-6], risk_aversion=0)
    with pytest.raises(
        ValidationError, match="volatility must be finite and at least 0, got nan in interval 1"
    ):
        almgren_chriss(1e6, 3, volatility=[1, np.nan, 2], temporary=1e-6, risk_aversion=0)


@pytest.mark.parametrize("risk", [1e-9, 1e-6, 1e-3, 1.0])
def test_the_smallest_trades_keep_their_digits(risk: float) -> None:
    """Trades fall as cosh(kappa (T - t)) at the intervals' middles; the difference of two holdings
    would lose them.
    """
    n, tau = 390, 1 / 390
    found = almgren_chriss(
        1e6, n, volatility=0.95, temporary=2.5e-6, risk_aversion=risk, interval=tau
    )
    middles = found.kappa * tau * (n - 0.5 - np.arange(n))
    expected = (
        np.exp(middles - middles[0]) * (1 + np.exp(-2 * middles)) / (1 + np.exp(-2 * middles[0]))
    )
    assert found.shares / found.shares[0] == pytest.approx(expected, rel=1e-9, abs=0)


def test_an_order_traded_almost_at_once_is_still_a_schedule() -> None:
    """Where the first trade is more times the last than a number can hold, the last is 0."""
    found = almgren_chriss(
        1e6, 390, volatility=0.95, temporary=2.5e-6, risk_aversion=1e6, interval=1 / 390
    )
    pull = 1e6 * 0.95**2 / 390**2 / 2.5e-6
    assert found.shares[0] == pytest.approx(1e6 * (1 - 1 / (2 + pull)), rel=1e-9)
    assert found.shares.sum() == pytest.approx(1e6, rel=1e-12)
    assert found.shares[-1] == 0

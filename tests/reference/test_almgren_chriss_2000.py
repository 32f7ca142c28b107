"""Almgren and Chriss (2000), the example of section 3.4, and its two-security extension of appendix A.4.

What the paper itself prints: table 1 (X = 1e6 shares at 50, T = 5 days in N = 5, sigma = 0.95 from 30 % a year,
alpha = 0.02 from 10 %, epsilon = 1/16, gamma = 2.5e-7, eta = 2.5e-6, lambda_u = 1e-6, lambda_v = 1.645), "kappa
about 0.6/day, so kappa T about 3", sqrt(V) of 2.12M for holding and half of that, so it says, for the straight line,
and the static holding of 11,000 shares (table 1; its section 4.1 says 1,100, a slip by ten: 0.02 / (2e-6 * 0.95^2) =
11,080). Read in the December 2000 working paper. Curves are in figures only, so their numbers are taken from another
implementation of the example, to the digits that it prints: DROP (github.com/lakshmiDRIP/DROP, files
drop/org/drip/sample/almgrenchriss/{EfficientFrontier,OptimalTrajectory,TrajectoryComparison}{No,With}Drift.drop, builds
3.91 and 4.66). Its frontier takes sigma = 0.95, its trajectories the unrounded 0.3 / sqrt(250) * 50 = 0.9487.

Tolerances are half a unit of the last digit shown, and a little for its rounding; 1e-9 and 1e-7 the rounding of
equation 20, whose variance is a difference.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from research_lib.execution import almgren_chriss, least_value_at_risk, portfolio_schedule

TABLE_1 = {"volatility": 0.95, "temporary": 2.5e-6, "permanent": 2.5e-7, "half_spread": 0.0625}
UNROUNDED = {**TABLE_1, "volatility": 0.3 / math.sqrt(250) * 50}

# Risk aversion in 1e-6 per dollar; mean in 1e6 dollars, variance in 1e12, both and weighted; 1 / kappa in days.
FRONTIER = [
    (0.001, 0.6625, 1.0812, 0.6636, 51.30),
    (0.002, 0.6625, 1.0794, 0.6647, 36.27),
    (0.003, 0.6625, 1.0776, 0.6657, 29.62),
    (0.005, 0.6625, 1.0740, 0.6679, 22.94),
    (0.007, 0.6625, 1.0704, 0.6700, 19.39),
    (0.009, 0.6626, 1.0669, 0.6722, 17.10),
    (0.250, 0.6996, 0.7513, 0.8875, 3.26),
    (0.500, 0.7681, 0.5634, 1.0498, 2.31),
    (0.750, 0.8412, 0.4448, 1.1748, 1.89),
    (1.000, 0.9112, 0.3641, 1.2754, 1.65),
    (1.500, 1.0358, 0.2626, 1.4296, 1.35),
    (2.000, 1.1407, 0.2019, 1.5446, 1.18),
    (3.000, 1.3071, 0.1338, 1.7085, 0.98),
    (4.000, 1.4341, 0.0970, 1.8223, 0.86),
]
FRONTIER_WITH_DRIFT = [
    (0.001, 0.6221, 1.1195, 0.6232),
    (0.009, 0.6222, 1.1047, 0.6321),
    (0.250, 0.6607, 0.7761, 0.8547),
    (1.000, 0.8804, 0.3739, 1.2543),
    (2.000, 1.1174, 0.2064, 1.5301),
    (4.000, 1.4184, 0.0987, 1.8133),
]
# Risk aversion in 1e-6 per dollar; holdings in per cent of the order after each day.
TRAJECTORIES = [
    (0.001, (100.000, 79.955, 59.939, 39.947, 19.970, 0.0)),
    (0.250, (100.000, 70.550, 47.784, 29.545, 14.104, 0.0)),
    (1.000, (100.000, 54.238, 29.030, 14.822, 6.230, 0.0)),
    (2.000, (100.000, 42.907, 18.333, 7.654, 2.775, 0.0)),
    (4.000, (100.000, 31.212, 9.734, 3.013, 0.857, 0.0)),
]


@pytest.mark.parametrize(("risk", "mean", "variance", "penalised", "theta"), FRONTIER)
def test_the_efficient_frontier(
    risk: float, mean: float, variance: float, penalised: float, theta: float
) -> None:
    found = almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=risk * 1e-6)
    # Half a unit of the last digit shown.
    assert found.expected_cost / 1e6 == pytest.approx(mean, abs=0.51e-4)
    assert found.variance / 1e12 == pytest.approx(variance, abs=0.51e-4)
    assert (found.expected_cost + risk * 1e-6 * found.variance) / 1e6 == pytest.approx(
        penalised, abs=0.51e-4
    )
    assert found.theta == pytest.approx(theta, abs=0.0051)


@pytest.mark.parametrize(("risk", "mean", "variance", "penalised"), FRONTIER_WITH_DRIFT)
def test_the_efficient_frontier_with_drift(
    risk: float, mean: float, variance: float, penalised: float
) -> None:
    # Nothing is traded against the order's direction but at hardly any risk aversion, where the drift asks for it.
    spread_apart = {**TABLE_1, "half_spread": 0.0}
    found = almgren_chriss(1e6, 5, **spread_apart, drift=0.02, risk_aversion=risk * 1e-6)
    cost = found.expected_cost + 0.0625 * np.abs(found.shares).sum()
    assert cost / 1e6 == pytest.approx(mean, abs=0.51e-4)
    assert found.variance / 1e12 == pytest.approx(variance, abs=0.51e-4)
    assert (cost + risk * 1e-6 * found.variance) / 1e6 == pytest.approx(penalised, abs=0.51e-4)


@pytest.mark.parametrize(("risk", "percent"), TRAJECTORIES)
def test_the_trajectories(risk: float, percent: tuple[float, ...]) -> None:
    found = almgren_chriss(1e6, 5, **UNROUNDED, risk_aversion=risk * 1e-6)
    assert found.holdings / 1e4 == pytest.approx(percent, abs=0.51e-3)


def test_the_optimum_of_table_1_to_every_digit() -> None:
    found = almgren_chriss(1e6, 5, **UNROUNDED, risk_aversion=1e-6)
    assert found.shares == pytest.approx(
        [457619.3, 252085.6, 142079.0, 85912.9, 62303.2], abs=0.051
    )
    assert found.expected_cost == pytest.approx(910477.8, abs=0.051)
    assert found.variance / 1e6 == pytest.approx(363868.0, abs=0.051)
    assert found.kappa == pytest.approx(0.6063, abs=0.51e-4)
    assert found.theta == pytest.approx(1.6495, abs=0.51e-4)


def test_the_optimum_with_drift_to_every_digit() -> None:
    found = almgren_chriss(1e6, 5, **UNROUNDED, drift=0.02, risk_aversion=1e-6)
    assert found.holdings == pytest.approx(
        [1e6, 546773.1, 296533.9, 154454.9, 66695.6, 0.0], abs=0.051
    )
    assert found.expected_cost == pytest.approx(879591.3, abs=0.051)
    assert found.variance / 1e6 == pytest.approx(373678.0, abs=0.051)


@pytest.mark.parametrize("risk", [1e-8, 1e-6, 1e-5])
@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_equation_20_for_the_expected_cost_and_the_variance(n: int, risk: float) -> None:
    tau, x, t = 5.0 / n, 1e6, 5.0
    found = almgren_chriss(x, n, **TABLE_1, risk_aversion=risk, interval=tau)
    k, net = found.kappa, 2.5e-6 - 2.5e-7 * tau / 2
    sinh, cosh, tanh = math.sinh, math.cosh, math.tanh
    cost = 0.5 * 2.5e-7 * x**2 + 0.0625 * x
    cost += (
        net
        * x**2
        * tanh(k * tau / 2)
        * (tau * sinh(2 * k * t) + 2 * t * sinh(k * tau))
        / (2 * tau**2 * sinh(k * t) ** 2)
    )
    spread = tau * sinh(k * t) * cosh(k * (t - tau)) - t * sinh(k * tau)
    variance = 0.5 * 0.95**2 * x**2 * spread / (sinh(k * t) ** 2 * sinh(k * tau))
    assert found.expected_cost == pytest.approx(cost, rel=1e-9)
    assert found.variance == pytest.approx(
        variance, rel=1e-7, abs=1e-3
    )  # one interval: nothing is held


def test_what_the_paper_says_of_its_parameters() -> None:
    found = almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=1e-6)
    assert round(found.kappa, 1) == 0.6
    assert round(5 * found.kappa) == 3
    assert 0.95 * math.sqrt(5) == pytest.approx(2.12, abs=0.0051)
    # "Precisely twice the value for a linear trajectory" is so to one digit: 2.12 / 1.04 = 2.04 in five steps.
    straight = almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=0.0)
    assert 0.95e6 * math.sqrt(5) / math.sqrt(straight.variance) == pytest.approx(2.0, abs=0.05)
    # Table 1's static holding: what is held in the middle of a long horizon under the drift alone.
    static = almgren_chriss(
        0.0, 200, **{**TABLE_1, "half_spread": 0.0}, drift=0.02, risk_aversion=1e-6
    )
    assert round(static.holdings[100], -3) == 11_000


def test_the_least_value_at_risk_is_where_figure_3s_tangent_has_slope_lambda_v() -> None:
    found, risk = least_value_at_risk(1e6, 5, 0.95, **TABLE_1)
    near = [
        almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=risk * factor) for factor in (0.999, 1.001)
    ]
    slope = np.diff([s.expected_cost for s in near]) / np.diff(
        [math.sqrt(s.variance) for s in near]
    )
    assert -slope[0] == pytest.approx(1.645, abs=1e-3)
    assert found.value_at_risk(0.95) < min(
        almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=weight).value_at_risk(0.95)
        for weight in (1e-7, 1e-6, 1e-5)
    )


def test_the_trajectories_of_figure_2() -> None:
    quick, naive, late = (
        almgren_chriss(1e6, 5, **TABLE_1, risk_aversion=risk) for risk in (2e-6, 0.0, -2e-7)
    )
    assert np.all(np.diff(quick.shares) < 0)
    assert naive.shares == pytest.approx(2e5)
    assert np.all(np.diff(late.shares) > 0)
    # Figure 1: who loves risk pays more than the naive strategy and bears more variance.
    assert late.expected_cost > naive.expected_cost
    assert late.variance > naive.variance > quick.variance


def test_the_two_securities_of_table_3() -> None:
    """Prices 50 and 100, 5 and 20 million shares a day, annual covariance of returns 30 % and 10 % with 10 %.

    The paper prints no numbers of its figures 5 and 6, but says that security 1's trajectory is "almost identical" to
    that of section 3.4. Table 3's 30 % is the volatility there, so its entries are read as roots: a covariance of 0.1^2
    beside variances of 0.3^2 and 0.1^2 is a correlation of a third.
    """
    price, volume = np.array([50.0, 100.0]), np.array([5e6, 20e6])
    deviation = np.array([0.3, 0.1]) / math.sqrt(250) * price
    covariance = np.outer(deviation, deviation) * np.array([[1.0, 1 / 3], [1 / 3, 1.0]])
    impact = {"temporary": 0.125 / (0.01 * volume), "permanent": 0.125 / (0.1 * volume)}
    both = portfolio_schedule([1e7, 1e7], 5, covariance=covariance, **impact, risk_aversion=1e-6)
    alone = almgren_chriss(1e7, 5, **{**UNROUNDED, "half_spread": 0.0}, risk_aversion=1e-6)
    assert both.holdings[:, 0] / 1e7 == pytest.approx(alone.holdings / 1e7, abs=0.02)

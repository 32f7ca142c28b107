"""The frontier of one asset and of several, and its point of least value at risk.

Tolerances. 1e-6 of a slope, 1e-9 of a value: rounding; 1e-3 of a log risk aversion where the value
is flat: the root of the value's. 1e-7: a quantile of eight printed digits.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from research_lib.errors import ValidationError
from research_lib.execution import (
    almgren_chriss,
    efficient_frontier,
    least_value_at_risk,
    portfolio_schedule,
)

PAPER = {"volatility": 0.95, "temporary": 2.5e-6, "permanent": 2.5e-7, "half_spread": 0.0625}
RISKS = np.geomspace(1e-8, 1e-4, 17)
PAIR = {
    "covariance": [[0.9, 0.4], [0.4, 1.0]],
    "temporary": [2.5e-6, 6e-7],
    "permanent": [[2.5e-7, 5e-8], [5e-8, 6e-8]],
}


@pytest.mark.parametrize(("orders", "market"), [(1e6, PAPER), ([1e6, -5e5], PAIR)])
def test_less_risk_costs_more_and_no_risk_aversion_costs_least(
    orders: object, market: dict[str, object]
) -> None:
    frontier = efficient_frontier(orders, 5, [0.0, *RISKS], **market)  # type: ignore[arg-type]
    cost, deviation = frontier.expected_cost, frontier.deviation
    assert np.all(np.diff(cost) > 0)
    assert np.all(np.diff(deviation) < 0)
    # Convex in variance, with slope minus the risk aversion between neighbours.
    slopes = -np.diff(cost) / np.diff(deviation**2)
    assert np.all(slopes >= frontier.risk_aversion[:-1] * (1 - 1e-6))
    assert np.all(slopes <= frontier.risk_aversion[1:] * (1 + 1e-6))
    table = frontier.to_frame(p=0.9)
    assert table["value_at_risk"].to_numpy() == pytest.approx(
        cost + 1.2815516 * deviation, rel=1e-7
    )


def test_a_number_is_one_asset_and_an_array_a_portfolio() -> None:
    one = efficient_frontier(1e6, 5, 1e-6, **PAPER)
    assert one.schedules[0].shares == pytest.approx(
        almgren_chriss(1e6, 5, **PAPER, risk_aversion=1e-6).shares
    )
    two = efficient_frontier([1e6, 1e5], 5, 1e-6, **PAIR)
    assert two.schedules[0].shares == pytest.approx(
        portfolio_schedule([1e6, 1e5], 5, **PAIR, risk_aversion=1e-6).shares
    )


@pytest.mark.parametrize(("orders", "market"), [(1e6, PAPER), ([1e6, -5e5], PAIR)])
@pytest.mark.parametrize("p", [0.75, 0.95])
def test_the_least_value_at_risk_is_the_least_along_the_frontier(
    orders: object, market: dict[str, object], p: float
) -> None:
    found, risk = least_value_at_risk(orders, 5, p, **market)  # type: ignore[arg-type]

    def at_risk(log_risk: float) -> float:
        return (
            efficient_frontier(orders, 5, np.exp(log_risk), **market).schedules[0].value_at_risk(p)
        )  # type: ignore[arg-type]

    scanned = minimize_scalar(
        at_risk, bounds=(np.log(1e-8), np.log(1e-4)), method="bounded", options={"xatol": 1e-9}
    )
    assert found.value_at_risk(p) == pytest.approx(scanned.fun, rel=1e-9)
    assert np.log(risk) == pytest.approx(scanned.x, abs=1e-3)


def test_a_small_order_in_a_liquid_stock_is_traded_at_once() -> None:
    """Section 3.3's broker: so little impact that any wait is risk for nothing."""
    found, _ = least_value_at_risk(100.0, 5, 0.95, **PAPER)
    assert found.shares[0] == pytest.approx(100.0, rel=1e-6)
    alone, risk = least_value_at_risk(100.0, 1, 0.95, **PAPER)
    assert (alone.shares.tolist(), risk) == ([100.0], 0.0)
    for p in (0.5, 1.0):
        with pytest.raises(ValidationError, match="p must be"):
            least_value_at_risk(100.0, 5, p, **PAPER)

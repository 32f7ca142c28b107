"""`marginal_cost` is what one more share costs, by solving again; a cost must be a number.

Tolerances. 1e-6: the gap at which numerical answers are certified; 1e-9: rounding; 1e-4: a
difference of two costs, each certified to 1e-8 or so, over 20 of 10,000 shares.
"""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import OptimizationError
from research_lib.execution import allocate, allocate_many
from research_lib.impact import LinearImpact, PowerImpact

SPIKE = LinearImpact(np.full(2, 1e-5), [0.01, 0.05])


@pytest.mark.parametrize("solver", ["analytical", "scipy", "cvxpy"])
@pytest.mark.parametrize("cap", [None, 1e9])
def test_an_interval_that_takes_the_whole_order_takes_the_next_share_too(
    solver: str, cap: float | None
) -> None:
    # C = 0.01 x + 1e-5 x^2 in the first interval alone: C'(100) = 0.012.
    result = allocate(SPIKE, 100, solver=solver, max_shares=cap)
    assert result.shares == pytest.approx([100, 0], abs=1e-6)
    assert result.marginal_cost == pytest.approx(0.012, rel=1e-6)


def test_no_cap_binds_that_is_not_there() -> None:
    assert allocate(SPIKE, 100).marginal_cost == pytest.approx(0.012, rel=1e-9)
    assert allocate_many(SPIKE, [100.0]).marginal_cost == pytest.approx([0.012], rel=1e-9)


@pytest.mark.parametrize("weight", [1e-6, 1e-3])
def test_under_risk_aversion_the_next_share_is_held_as_well(weight: float) -> None:
    for curve in (
        LinearImpact(np.linspace(1e-6, 1e-5, 30), 0.01),
        PowerImpact(np.linspace(1e-4, 1e-3, 30), 0.5, 0.01),
    ):
        risk = {"risk_aversion": weight, "covariance": 1e-2}
        at, more, less = (allocate(curve, shares, **risk) for shares in (1e4, 1e4 + 10, 1e4 - 10))
        rise = (more.cost + more.penalty - less.cost - less.penalty) / 20
        assert at.marginal_cost == pytest.approx(rise, rel=1e-4)


def test_an_infinite_cost_is_no_answer() -> None:
    with (
        pytest.raises(OptimizationError, match="cost inf is not finite"),
        np.errstate(over="ignore"),
    ):
        allocate(SPIKE, 1e160)
    with pytest.raises(
        OptimizationError, match="problem 0 is not certified: cost inf is not finite"
    ):
        allocate_many(SPIKE, [1e160])


def test_bounds_that_fix_every_child_order_leave_no_price() -> None:
    found = allocate(LinearImpact([1e-5, 2e-5]), 300, min_shares=[100, 200], max_shares=[100, 200])
    assert found.shares.tolist() == [100.0, 200.0]
    assert np.isnan(found.marginal_cost)
    assert found.duality_gap == 0.0

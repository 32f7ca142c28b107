"""`marginal_cost` is what one more share costs, by solving again; a cost must be a number.

Tolerances. 1e-6: the gap at which numerical answers are certified; 1e-9: rounding; 1e-4: a
difference of two costs, each certified to 1e-8 or so, over 20 of 10,000 shares.
"""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import OptimizationError
from research_lib.execution import allocate, allocate_many, transient_schedule
from research_lib.impact import (
    DecayKernel,
    ExponentialKernel,
    LinearImpact,
    PowerImpact,
    PowerKernel,
)

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


@pytest.mark.parametrize("bound", [None, 0.0])
@pytest.mark.parametrize("kernel", [ExponentialKernel(0.5, 1e-5), PowerKernel(0.5, 1e-5, 1.0)])
def test_the_next_share_of_a_transient_schedule_costs_its_marginal_cost(
    kernel: DecayKernel, bound: float | None
) -> None:
    def objective(shares: float) -> tuple[float, float]:
        times = [0, 1, 2, 3]
        found = transient_schedule(kernel, times, shares, min_shares=bound, temporary=1e-6)
        return found.cost, found.marginal_cost

    step = 0.01
    slope = (objective(1_000 + step)[0] - objective(1_000 - step)[0]) / (2 * step)
    assert objective(1_000)[1] == pytest.approx(slope, rel=1e-6)


def test_shares_next_to_a_bound_or_a_kink_are_no_reason_to_refuse_the_optimum() -> None:
    """Of two costs that CVXPY's answer proves optimal to 1e-7, the residual says 0.06 and 0.2."""
    power = PowerImpact(
        [0.06835, 0, 3.6365, 0], [2.2603, 0.8843, 2.7753, 0.8425], [0, 0.053113, 0.082828, 0]
    )
    risk = {"risk_aversion": 0.436, "covariance": [0, 0.4837, 0.7809, 0.6929]}
    best = allocate(power, 3.0, **risk)
    assert 0 <= best.duality_gap < 1e-7
    rng = np.random.default_rng(0)
    for other in rng.dirichlet(1e3 * best.shares + 1e-3, 200) * 3.0:
        held = 3.0 - np.cumsum(other)
        variance = float(np.asarray(risk["covariance"])[:-1] @ held[:-1] ** 2)
        cost = float(power.cost(other).sum()) + risk["risk_aversion"] * variance
        assert cost >= (best.cost + best.penalty) * (1 - 1e-7)

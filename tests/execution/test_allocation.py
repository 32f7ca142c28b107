"""The exact split: closed forms, agreement of the solvers, refusals.

Tolerances. 1e-9 and below: rounding of closed forms, whose conditioning is at most that of the
multiplier. 1e-4 in shares of a numerical solver: the root of the gap, 1e-8 or less, at which it
stops, for costs are flat at their optimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import allocate, allocate_many, share_caps
from research_lib.impact import (
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
)

SOLVERS = ["analytical", "scipy", "cvxpy"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_spread_and_caps_shares_go_as_one_over_beta(solver: str) -> None:
    beta = np.array([1e-5, 2e-5, 5e-5, 1e-4])
    result = allocate(LinearImpact(beta), 10_000, solver=solver, tolerance=1e-10)
    expected = 10_000 / beta / np.sum(1 / beta)
    # Costs of numerical solvers are right to their gap, 1e-10, their shares to about its root.
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


def test_bounds_that_admit_no_schedule_are_refused_with_the_numbers() -> None:
    curve = LinearImpact(np.ones(4))
    with pytest.raises(
        OptimizationError,
        match=r"cap admits 8,200 of 10,000 shares; raise max_shares .max_allocation_ratio. or lengthen",
    ):
        allocate(curve, 10_000, max_shares=2_050)
    with pytest.raises(
        OptimizationError, match=r"floors need 12,000 of 10,000 shares; lower min_shares"
    ):
        allocate(curve, 10_000, min_shares=3_000)
    with pytest.raises(
        OptimizationError, match=r"min_shares 5 is above max_shares 4 in interval 1"
    ):
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
        allocate(
            LinearImpact(np.array([1.75e-5, -1.1e-6])), 1_000, max_shares=800, validate_inputs=False
        )


def test_validate_inputs_names_what_would_fail_later() -> None:
    broken = LinearImpact(np.array([1.0, 2.0]), np.array([np.nan, 0.0]))
    with pytest.raises(
        ValidationError,
        match="half_spread of the curve must be finite: 1 of 2 rows are not, first in row 0",
    ):
        allocate(broken, 10)
    with pytest.raises(OptimizationError, match="no solver gave a certified schedule"):
        allocate(broken, 10, validate_inputs=False)


def test_non_convex_totals_are_refused_with_the_reason() -> None:
    with pytest.raises(OptimizationError, match="not convex in 1 intervals, first in 1"):
        allocate(LinearImpact(np.array([1.0, -1.0])), 10)
    with pytest.raises(OptimizationError, match=r"first in 0 \(.*cubic -1e-09"):
        allocate(QuadraticImpact(np.array([-1e-9, 1e-9]), 1e-5), 5_000)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_cubic_that_bends_down_beyond_the_caps_is_convex_where_it_matters(solver: str) -> None:
    # C'' = 2 beta + 6 alpha x >= 0 up to x = 1e-5 / 3e-9 = 3,333 shares.
    curve = QuadraticImpact(np.array([-1e-9, -5e-10, 1e-9]), 1e-5, 0.01)
    result = allocate(curve, 6_000, max_shares=3_300, solver=solver)
    slope = curve.marginal_cost(result.shares)
    free = result.shares < 3_300 * (1 - 1e-6)
    assert slope[free] == pytest.approx(np.full(free.sum(), result.marginal_cost), rel=1e-4)
    assert result.shares.sum() == pytest.approx(6_000, abs=1e-6)
    assert result.duality_gap <= 1e-6
    rng = np.random.default_rng(0)
    for _ in range(200):
        step = rng.normal(size=3) * 100
        moved = result.shares + step - step.mean()
        if moved.min() >= 0 and moved.max() <= 3_300:
            assert curve.cost(moved).sum() >= result.cost * (1 - 1e-9)
    with pytest.raises(OptimizationError, match="not convex in 1 intervals, first in 0"):
        allocate(curve, 6_000, max_shares=3_400, solver=solver)


@pytest.mark.parametrize(
    ("curve", "total", "bounds", "message"),
    [
        (
            LinearImpact(np.array([1.0, np.nan])),
            10,
            {},
            "beta of the curve must be finite: 1 of 2 rows are not, first in row 1",
        ),
        (LinearImpact(np.ones(2)), -1, {}, "total_shares must be at least 0, got -1"),
        (LinearImpact(np.ones(2)), np.nan, {}, "total_shares must be a number and finite"),
        (
            LinearImpact(np.ones(2)),
            10,
            {"min_shares": -1},
            "min_shares must be at least 0, got -1 in interval 0",
        ),
        (
            LinearImpact(np.ones(2)),
            10,
            {"max_shares": [5, np.nan]},
            "max_shares must be at least 0, got nan",
        ),
        (
            LinearImpact(np.ones(2)),
            10,
            {"max_shares": [5, 5, 5]},
            r"max_shares must be a number or \(2,\) shares",
        ),
        (
            LinearImpact(np.ones(2)),
            10,
            {"max_shares": "many"},
            r"max_shares must be a number or \(2,\) shares",
        ),
        (LinearImpact(np.ones(2)), 10, {"tolerance": 0}, "tolerance must be above 0, got 0"),
        (
            LinearImpact(np.ones(2)),
            0,
            {"solver": "cvx"},
            "solver 'cvx' is unknown; did you mean 'cvxpy'",
        ),
        (LinearImpact(np.ones(2)), 10, {"objective": "profit"}, "objective .* is unknown"),
    ],
)
def test_impossible_input_is_refused(
    curve: ImpactCurve, total: float, bounds: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        allocate(curve, total, **bounds)  # type: ignore[arg-type]


def test_time_out_stops_scipy() -> None:
    rng = np.random.default_rng(0)
    curve = LinearImpact(rng.lognormal(-11, 0.5, 200), rng.uniform(0, 0.03, 200))
    result = allocate(curve, 100_000, solver="scipy", timeout_seconds=1e-3)
    assert not result.attempts[0].accepted
    assert result.solver == "analytical"


def test_power_costs_of_three_halves_go_as_one_over_scale_squared() -> None:
    scale = np.array([1e-3, 2e-3, 5e-3])
    for unit in (1e-12, 1.0, 1e12):
        result = allocate(PowerImpact(unit * scale, 0.5), 10_000)
        assert result.shares == pytest.approx(10_000 * scale**-2 / np.sum(scale**-2), rel=1e-9)
        # cost = S^1.5 / sqrt(sum c^-2), and the multiplier its derivative.
        assert result.cost == pytest.approx(unit * 1e6 / np.sqrt(np.sum(scale**-2)), rel=1e-9)
        assert result.marginal_cost == pytest.approx(1.5 * result.cost / 10_000, rel=1e-9)


def test_coefficients_from_tiny_to_huge_share_as_one_over_beta() -> None:
    beta = np.array([1e-12, 1.0, 1e12])
    result = allocate(LinearImpact(beta), 1_000)
    assert result.shares == pytest.approx(1_000 / beta / np.sum(1 / beta), rel=1e-9)
    assert result.kkt_residual <= 1e-9


def test_a_walked_book_takes_the_cheapest_shares_first_and_splits_ties_by_room() -> None:
    # Pooled by hand: 100 + 300 at 0, then 200 at 0.01, split by room, 200 : 300, for no child
    # exceeds the order.
    curve = PiecewiseLinearImpact(
        [[100, 200, 500], [300, 400, 0]], [[0, 0.01, 0.05], [0, 0.01, 0.01]], 0.02
    )
    result = allocate(curve, 600)
    assert result.shares == pytest.approx([180, 420], rel=1e-12)
    assert result.cost == pytest.approx(600 * 0.02 + 200 * 0.01, rel=1e-12)
    assert result.marginal_cost == pytest.approx(0.03, rel=1e-12)
    assert allocate(curve, 1_000).marginal_cost == pytest.approx(
        0.07, rel=1e-12
    )  # the next share is a step up
    with pytest.raises(OptimizationError, match="the books show 1,500 of 1,600 shares; order less"):
        allocate(curve, 1_600)


def test_concave_totals_are_refused_with_the_reason() -> None:
    with pytest.raises(
        OptimizationError, match=r"first in 0 \(.*scale 0\.001, power 0\.5\).*stationary point"
    ):
        allocate(PowerImpact(np.full(3, 1e-3), 0.5), 10, objective="impact")


def test_caps_from_participation_and_blackouts() -> None:
    closed = [False, False, False, True]
    caps = share_caps(
        4, max_shares=500, participation_rate=0.1, volume=[1e4, 2e3, 1e4, 1e4], blackout=closed
    )
    assert caps.tolist() == [500, 200, 500, 0]
    result = allocate(LinearImpact(np.ones(4)), 900, max_shares=caps)
    assert result.shares == pytest.approx([350, 200, 350, 0], rel=1e-12)
    labelled = pd.Series(closed).iloc[::-1]
    assert share_caps(4, blackout=labelled).tolist() == [np.inf] * 3 + [0.0]
    assert share_caps(4, max_shares=pd.Series(caps).iloc[::-1]).tolist() == caps.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"participation_rate": 0.1}, "go together"),
        ({"volume": 100}, "go together"),
        ({"participation_rate": 1.5, "volume": 100}, "participation_rate must be at most 1"),
        ({"participation_rate": 0.1, "volume": -1}, "volume must be at least 0"),
        ({"blackout": [0, 1, 2, 3]}, "blackout must be a mask"),
        ({"blackout": ["a"]}, "blackout must be a mask"),
        ({"blackout": [True, False]}, r"blackout must be .* \(4,\)"),
        ({"blackout": pd.Series([True] * 4, [1, 2, 3, 4])}, "intervals are labelled 0 to 3"),
    ],
)
def test_caps_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        share_caps(4, **settings)


def test_relaxed_bounds_are_the_smallest_that_admit_the_order_and_are_reported() -> None:
    curve = LinearImpact(np.array([1.0, 1.0, 2.0, 5.0]))
    result = allocate(curve, 1_000, max_shares=[100, 200, 200, 0], on_infeasible="relax")
    assert result.shares == pytest.approx(
        [200, 400, 400, 0], rel=1e-9
    )  # all caps doubled, the blackout kept
    assert result.relaxed == "max_shares raised to 2 times it"
    assert result.warnings == ("bounds relaxed: max_shares raised to 2 times it",)
    floors = allocate(curve, 100, min_shares=[100, 100, 0, 0], on_infeasible="relax")
    assert floors.shares == pytest.approx([50, 50, 0, 0], rel=1e-9)
    assert floors.relaxed == "min_shares lowered to 0.5 of it"
    assert allocate(curve, 100, max_shares=60, on_infeasible="relax").relaxed == ""


def test_relaxation_stops_at_the_book_and_at_contradictions() -> None:
    book = PiecewiseLinearImpact([[100.0], [500.0]], [[0.0], [0.0]])
    result = allocate(book, 400, max_shares=90, on_infeasible="relax")
    assert result.shares == pytest.approx([100, 300], rel=1e-9)
    with pytest.raises(OptimizationError, match="cap admits 600 of 700 shares"):
        allocate(book, 700, on_infeasible="relax")
    with pytest.raises(OptimizationError, match="min_shares 5 is above max_shares 4"):
        allocate(
            LinearImpact(np.ones(2)),
            10,
            min_shares=[5, 0],
            max_shares=[4, 20],
            on_infeasible="relax",
        )
    with pytest.raises(ValidationError, match="on_infeasible 'perhaps' is unknown"):
        allocate(book, 100, on_infeasible="perhaps")


def test_summary_says_what_the_next_share_costs() -> None:
    curve = LinearImpact(np.array([1e-5, 2e-5]), 0.01)
    result = allocate(curve, 300)
    text = result.summary()
    assert "300 shares in 2 intervals, objective 'cost', solver analytical" in text
    assert "the next share costs 0.014" in text
    assert "tried: analytical (multiplier), certified" in text
    more = allocate(curve, 301)
    assert more.cost - result.cost == pytest.approx(result.marginal_cost, rel=1e-3)


def test_a_million_intervals_are_certified(rng: np.random.Generator) -> None:
    n = 1_000_000
    curve = LinearImpact(rng.lognormal(-11, 0.5, n), rng.uniform(0.01, 0.03, n))
    result = allocate(curve, 2.5e8, max_shares=2_000)
    assert result.attempts[0].iterations <= 8
    assert result.kkt_residual <= 1e-9
    assert abs(result.shares.sum() - 2.5e8) <= 1e-12 * 2.5e8


def test_a_batch_names_the_problem_that_has_no_schedule() -> None:
    curve = LinearImpact(np.ones(6))
    with pytest.raises(OptimizationError, match="problem 1: cap admits 30 of 50 shares"):
        allocate_many(curve, [20, 50], max_shares=10)
    with pytest.raises(OptimizationError, match="not convex in 1 intervals, first in 4"):
        allocate_many(LinearImpact(np.array([1.0, 1, 1, 1, -1, 1])), [20, 50])
    with pytest.raises(ValidationError, match="with m a divisor of the curve's 6 intervals"):
        allocate_many(curve, [1.0, 2, 3, 4])
    with pytest.raises(ValidationError, match="must be finite"):
        allocate_many(LinearImpact(np.array([1.0, np.nan])), [20])
    with pytest.raises(ValidationError, match="max_shares must broadcast"):
        allocate_many(curve, [20, 50], max_shares=np.ones(4))


def test_an_interval_without_any_depth_takes_nothing() -> None:
    # Its price is unknown, and must not enter the search for the multiplier.
    curve = PiecewiseLinearImpact(
        [[0, 0], [50, 60], [70, 80]], [[0, 0.1], [0.02, 0.03], [0.01, 0.05]]
    )
    result = allocate(curve, 200, solver="analytical")
    assert result.shares == pytest.approx([0, 110, 90], rel=1e-12)
    assert result.solver == "analytical"
    assert result.marginal_cost == pytest.approx(0.05)

"""Whole lots: against enumeration of all schedules, and what their bounds
promise.

Tolerances. Schedules of lots are found exactly: 1e-12 of a cost and 1e-9 of a bound are rounding.
The gap is a difference of costs: 1e-6 of it, and 1e-9 of the cost where they are almost equal. 1.1:
the heuristic for least children lost nothing on 300 such problems; a tenth would be a defect.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import allocate
from research_lib.impact import (
    AlmgrenImpact,
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
)

LOT = 100.0


def curve_of(family: str, n: int, rng: np.random.Generator) -> ImpactCurve:
    half_spread = rng.uniform(0, 0.03, n)
    if family == "linear":
        return LinearImpact(rng.lognormal(-10, 1, n), half_spread)
    if family == "power":
        return PowerImpact(rng.lognormal(-6, 1, n), 0.6, half_spread)
    if family == "almgren":
        return AlmgrenImpact(rng.lognormal(-7, 1, n), rng.lognormal(-11, 1, n), half_spread)
    depth = 10.0 * rng.integers(5, 60, (n, 4))
    return PiecewiseLinearImpact(
        depth, np.cumsum(0.01 * rng.integers(0, 3, (n, 4)), axis=1), half_spread
    )


def cheapest(curve: ImpactCurve, shares: float, choices: list[list[float]]) -> float:
    """Least cost over all schedules of the choices that sum to the order."""
    return min(
        (
            float(curve.cost(np.array(x)).sum())
            for x in itertools.product(*choices)
            if abs(sum(x) - shares) < 1e-9 and np.all(np.array(x) <= curve.total().capacity)
        ),
        default=np.inf,
    )


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["linear", "power", "almgren", "book"]), st.integers(0, 2**32 - 1))
def test_lots_cost_what_the_cheapest_of_all_schedules_costs(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    curve = curve_of(family, n, rng)
    shares = LOT * float(rng.integers(0, 7))
    upper = rng.choice([150.0, 240.0, 300.0, 700.0], n)
    lower = rng.choice([0.0, 0.0, 30.0, 100.0], n)
    whole = [
        [k * LOT for k in range(8) if low <= k * LOT <= cap]
        for low, cap in zip(lower, upper, strict=True)
    ]
    expected = cheapest(curve, shares, whole)
    if shares == 0:
        return
    try:
        result = allocate(curve, shares, min_shares=lower, max_shares=upper, lot_size=LOT)
    except OptimizationError:
        assert expected == np.inf
        return
    assert result.cost == pytest.approx(expected, rel=1e-12)
    assert result.shares.sum() == pytest.approx(shares, rel=1e-12)
    assert np.all((result.shares >= lower - 1e-9) & (result.shares <= upper + 1e-9))
    assert np.abs(result.shares / LOT - np.round(result.shares / LOT)).max() <= 1e-9
    relaxed = allocate(curve, shares, min_shares=lower, max_shares=upper)
    assert result.duality_gap * result.cost == pytest.approx(
        result.cost - relaxed.cost, rel=1e-6, abs=1e-9 * result.cost
    )


def test_a_full_day_of_lots_costs_less_than_a_basis_point_more(rng: np.random.Generator) -> None:
    curve = PowerImpact(rng.lognormal(-6, 0.5, 390), 0.5, rng.uniform(0.01, 0.03, 390))
    result = allocate(curve, 4_000_000, max_shares=40_000, lot_size=100)
    assert np.all(result.shares % 100 == 0)
    assert result.shares.max() <= 40_000
    assert 0 <= result.duality_gap < 1e-4


def test_equal_curves_differ_by_one_lot_at_most() -> None:
    shares = allocate(LinearImpact(np.full(7, 1e-5), 0.01), 5_000, lot_size=100).shares
    assert sorted(shares.tolist()) == [700] * 6 + [800]


def test_terms_are_rounded_by_their_tangents_and_say_so() -> None:
    curve = LinearImpact(np.full(8, 1e-5), 0.01)
    risk = {"risk_aversion": 1e-4, "covariance": 1e-2}
    exact = allocate(curve, 4_000, **risk)
    result = allocate(curve, 4_000, **risk, lot_size=100)
    assert np.all(result.shares % 100 == 0)
    assert "heuristic" in result.warnings[0]
    assert (
        0
        < (result.cost + result.penalty) / (exact.cost + exact.penalty) - 1
        <= result.duality_gap + 1e-6
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"lot_size": 120, "max_shares": 119},
            "in lots of 120, floors need 0 and caps admit 0 of 2",
        ),
        (
            {"lot_size": 120, "min_shares": [130, 10, 10]},
            "in lots of 120, floors need 4 and caps admit",
        ),
        ({"lot_size": 70}, "240 shares are not whole lots of 70: order 210, or trade smaller lots"),
    ],
)
def test_bounds_without_such_a_schedule_are_refused(
    settings: dict[str, object], message: str
) -> None:
    curve = LinearImpact(np.array([1e-5, 2e-5, 3e-5]))
    with pytest.raises(OptimizationError, match=message):
        allocate(curve, 240, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="lot_size must be above 0"):
        allocate(curve, 240, lot_size=0)


def test_caps_of_nothing_cannot_be_relaxed() -> None:
    with pytest.raises(OptimizationError, match="no relaxation admits them: caps of 0 stay"):
        allocate(LinearImpact(np.full(3, 1e-5)), 100, max_shares=0, on_infeasible="relax")


def test_what_needs_no_relaxation_gets_none() -> None:
    lots = allocate(
        LinearImpact(np.full(3, 1e-5)), 300, max_shares=100, lot_size=LOT, on_infeasible="relax"
    )
    assert lots.relaxed == ""
    assert lots.relaxed_caps is None
    with pytest.raises(ValidationError, match="max_shares must be at least 0, got nan"):
        allocate(LinearImpact(np.full(3, 1e-5)), 300, max_shares=np.nan)


@pytest.mark.parametrize(
    ("n", "order", "lot", "limits"),
    [
        (26, 22.62, 1e-6, {"max_shares": 0.87}),
        (6, 2.34, 1e-8, {"min_shares": 0.39}),
        (13, 41_843.1, 1e-4, {"max_shares": 3_218.7}),
    ],
)
def test_limits_that_sum_to_the_order_are_whole_lots_however_many(
    n: int, order: float, lot: float, limits: dict[str, float]
) -> None:
    """Ten million lots and more: the number of lots is rounded in its seventh decimal."""
    shares = allocate(LinearImpact(np.linspace(1, 2, n)), order, lot_size=lot, **limits).shares
    np.testing.assert_allclose(shares, order / n, rtol=1e-12)

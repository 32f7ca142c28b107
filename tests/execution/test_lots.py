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


def test_whole_shares_and_a_remainder_in_one_child_where_it_costs_least() -> None:
    curve = LinearImpact(1 / np.array([6.0, 3.0, 1.0]))
    result, whole = (allocate(curve, shares, lot_size=1) for shares in (1_000.5, 1_000))
    odd = np.flatnonzero(result.shares % 1)
    assert len(odd) == 1
    assert result.shares.sum() == 1_000.5
    added = [curve.cost(whole.shares + 0.5 * at).sum() for at in np.eye(3)]
    assert result.cost <= min(added) * (1 + 1e-12)
    small = allocate(curve, 40, lot_size=100)
    assert sorted(small.shares.tolist()) == [0, 0, 40]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["linear", "power", "almgren", "book"]), st.integers(0, 2**32 - 1))
def test_an_odd_rest_lies_where_the_cheapest_of_all_schedules_has_it(
    family: str, seed: int
) -> None:
    """Some of them take a lot from the interval that trades the rest: greedy costs up to 1 % more."""
    rng = np.random.default_rng(seed)
    n, odd = int(rng.integers(1, 5)), float(rng.choice([10.0, 50.0, 90.0]))
    curve, upper = curve_of(family, n, rng), rng.choice([150.0, 240.0, 300.0, 700.0], n)
    shares = LOT * float(rng.integers(0, 7)) + odd
    whole = [[k * LOT for k in range(8) if k * LOT <= cap] for cap in upper]
    expected = np.inf
    for t in range(n):
        rest = [k * LOT + odd for k in range(8) if k * LOT + odd <= upper[t]]
        expected = min(expected, cheapest(curve, shares, [*whole[:t], rest, *whole[t + 1 :]]))
    try:
        result = allocate(curve, shares, max_shares=upper, lot_size=LOT)
    except OptimizationError:
        room = np.floor(np.minimum(upper, curve.total().capacity) / LOT).sum()
        assert expected == np.inf or LOT * room < shares - odd
        return
    assert result.cost == pytest.approx(expected, rel=1e-12)
    assert result.shares.sum() == pytest.approx(shares, rel=1e-12)


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
            {"lot_size": 100, "max_shares": 99},
            "in lots of 100, floors need 0 and caps admit 0 of 2",
        ),
        (
            {"lot_size": 100, "min_shares": [110, 10, 10]},
            "in lots of 100, floors need 4 and caps admit",
        ),
        ({"lot_size": 100, "max_shares": [30, 130, 130]}, "no bounds admit the odd 40 shares"),
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


def test_an_order_far_below_one_lot_is_traded() -> None:
    for order, lot in ((100.0, 1e12), (9e-10, 1.0)):
        assert allocate(LinearImpact([1e-5, 2e-5]), order, lot_size=lot).shares.sum() == order


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

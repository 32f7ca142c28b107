"""Curve families: values by hand, what holds for all of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import OptimizationError, ValidationError
from research_lib.impact import (
    AlmgrenImpact,
    CompositeImpact,
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
    square_root_impact,
)

SMOOTH = {
    "linear": LinearImpact(np.array([1e-5, 2e-5]), np.array([0.01, 0.02])),
    "quadratic": QuadraticImpact(np.array([1e-9, 0.0]), np.array([1e-5, 2e-5]), 0.01),
    "square root": square_root_impact(np.array([1e-4, 3e-4]), 0.01),
    "power above 1": PowerImpact(np.array([1e-7, 3e-7]), 1.3, 0.01),
    "power of 1 and 2": PowerImpact(np.array([1e-5, 1e-8]), np.array([1.0, 2.0]), 0.01),
    "Almgren": AlmgrenImpact(np.array([1e-4, 2e-4]), np.array([1e-6, 1e-5]), 0.01),
}
BOOK = PiecewiseLinearImpact(
    [[300.0, 200.0], [500.0, 0.0]], [[0.0, 0.02], [0.01, 0.01]], [0.01, 0.02]
)
MIXED = CompositeImpact([SMOOTH["Almgren"], BOOK, SMOOTH["linear"]])
CURVES = {**SMOOTH, "book": BOOK, "composite": MIXED}
# NumPy's vector power is within 4 roundings, its scalar one within 1; a total adds four terms of
# one sign, of at most three factors each. So two evaluations of one cost, in arrays of other
# lengths or by hand, are within 16 roundings.
POWER = 16 * np.finfo(float).eps
# An inverse by Newton ends where the logarithm of its price is within 8 (1 + e) roundings, e >= 0.6
# its elasticity: the shares are within 22 of the root on either side, and 16 for the powers that
# they are made of.
INVERSE = 64 * np.finfo(float).eps
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
smooth_curves = pytest.mark.parametrize("curve", SMOOTH.values(), ids=SMOOTH.keys())


def test_linear_cost_by_hand() -> None:
    curve = LinearImpact(beta=2.0, half_spread=3.0)
    # 5 shares: impact 10, slippage 13, cost 65; the next share costs 3 + 2*2*5 = 23, twice the
    # average's slope.
    assert [f(5.0)[0] for f in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost)] == [
        10,
        13,
        65,
        23,
    ]
    assert curve.shares_at_marginal(23.0)[0] == 5.0


def test_quadratic_cost_by_hand() -> None:
    curve = QuadraticImpact(alpha=1.0, beta=2.0, half_spread=3.0)
    # 5 shares: impact 25 + 10, slippage 38, cost 190; marginal 3 + 2*2*5 + 3*25 = 98.
    assert [f(5.0)[0] for f in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost)] == [
        35,
        38,
        190,
        98,
    ]
    assert curve.shares_at_marginal(98.0)[0] == pytest.approx(5.0, rel=1e-15)


def test_square_root_cost_by_hand() -> None:
    curve = square_root_impact(scale=2.0, half_spread=3.0)
    # 4 shares: impact 2*2, slippage 7, cost 28; marginal 3 + 1.5*2*2 = 9.
    values = [f(4.0)[0] for f in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost)]
    assert values == pytest.approx([4, 7, 28, 9], rel=POWER)
    assert curve.shares_at_marginal(9.0)[0] == pytest.approx(4.0, rel=POWER)


def test_almgren_cost_by_hand() -> None:
    curve = AlmgrenImpact(temporary=2.0, permanent=0.5, half_spread=3.0)
    # 32 shares: 32^0.6 = 8, impact 0.5*0.5*32 + 2*8 = 24; marginal 3 + 0.5*32 + 1.6*2*8 = 44.6.
    assert curve.impact(32.0)[0] == pytest.approx(24.0, rel=POWER)
    assert curve.cost(32.0)[0] == pytest.approx(32 * 27.0, rel=POWER)
    assert curve.marginal_cost(32.0)[0] == pytest.approx(44.6, rel=POWER)
    assert curve.shares_at_marginal(44.6)[0] == pytest.approx(32.0, rel=INVERSE)


def test_powers_1_and_2_are_the_linear_and_the_quadratic_family() -> None:
    power = SMOOTH["power of 1 and 2"]
    twins = CompositeImpact([LinearImpact(1e-5, 0.01), QuadraticImpact(1e-8, 0.0, 0.01)])
    for x in (0.0, 1.0, 250.0, 1e6):
        for method in ("impact", "slippage", "cost", "marginal_cost"):
            assert np.array_equal(getattr(power, method)(x), getattr(twins, method)(x)), method
    assert np.array_equal(power.shares_at_marginal(0.05), twins.shares_at_marginal(0.05))


@every_curve
def test_cost_is_shares_times_slippage(curve: ImpactCurve) -> None:
    for x in (0.0, 1.0, 250.0, 400.0, 500.0):
        assert curve.cost(x) == pytest.approx(x * curve.slippage(x), rel=1e-14, abs=1e-300)
        assert curve.slippage(x) == pytest.approx(curve.half_spread + curve.impact(x), rel=1e-15)


@smooth_curves
@pytest.mark.parametrize("objective", ["cost", "impact"])
def test_marginal_is_the_derivative_of_the_total(curve: ImpactCurve, objective: str) -> None:
    total, x, step = curve.total(objective), 300.0, 1e-3
    numeric = (total.value(x + step) - total.value(x - step)) / (2 * step)
    assert total.marginal(x) == pytest.approx(numeric, rel=1e-6)
    curvature = (total.marginal(x + step) - total.marginal(x - step)) / (2 * step)
    assert total.curvature(x) == pytest.approx(curvature, rel=1e-5, abs=1e-15)
    assert np.array_equal(total.marginal_last(x), total.marginal(x))


@smooth_curves
@given(exponent=st.floats(-1, 8))
def test_shares_at_marginal_inverts_the_marginal_cost(curve: ImpactCurve, exponent: float) -> None:
    shares = 10.0**exponent
    price, curvature = curve.marginal_cost(shares), curve.total().curvature(shares)
    # The rounding of the price, which holds the half-spread, over the curvature; and that of the
    # power.
    error = 16 * np.finfo(float).eps * (price / curvature + shares * (1 + abs(np.log(shares))))
    assert np.all(np.abs(curve.shares_at_marginal(price) - shares) <= error)


@every_curve
@given(first=st.just(0.0) | st.floats(1e-6, 500), second=st.floats(1e-6, 500))
def test_costs_are_convex(curve: ImpactCurve, first: float, second: float) -> None:
    chord = 0.5 * (curve.cost(first) + curve.cost(second))
    assert np.all(curve.cost(0.5 * (first + second)) <= chord * (1 + 1e-14))


def test_no_shares_below_the_half_spread_and_no_limit_on_free_liquidity() -> None:
    curve = LinearImpact(np.array([1e-5, 0.0, 0.0]), np.array([0.02, 0.01, 0.02]))
    assert curve.shares_at_marginal(0.015).tolist() == [0.0, np.inf, 0.0]
    assert curve.shares_at_marginal(0.02).tolist() == [0.0, np.inf, 0.0]


@smooth_curves
def test_impact_vanishes_at_zero(curve: ImpactCurve) -> None:
    assert curve.impact(0.0).tolist() == [0.0, 0.0]
    assert np.array_equal(curve.slippage(0.0), curve.half_spread)
    assert np.array_equal(curve.marginal_cost(0.0), curve.half_spread)
    assert curve.shares_at_marginal(curve.half_spread).tolist() == [0.0, 0.0]


def test_a_concave_literal_sum_is_known_from_a_convex_one() -> None:
    assert square_root_impact(1.0).total("impact").non_convex().tolist() == [True]
    assert AlmgrenImpact(1.0, 0.0).total("impact").non_convex().tolist() == [True]
    assert PowerImpact(1.0, 1.0).total("impact").non_convex().tolist() == [False]
    assert square_root_impact(1.0).total("cost").non_convex().tolist() == [False]


def test_parameters_broadcast_to_one_length() -> None:
    curve = QuadraticImpact(1e-9, np.array([1e-5, 2e-5, 3e-5]))
    assert len(curve) == 3
    assert curve.alpha.tolist() == [1e-9] * 3
    with pytest.raises(ValidationError, match=r"alpha \(2,\), beta \(3,\)"):
        QuadraticImpact(np.zeros(2), np.zeros(3))
    with pytest.raises(ValidationError, match=r"numbers or \(n,\).* beta \(2, 2\)"):
        LinearImpact(np.zeros((2, 2)))
    with pytest.raises(ValidationError, match=r"n >= 1, got beta \(0,\)"):
        LinearImpact([])
    with pytest.raises(ValidationError, match="beta must be numbers, got 'steep'"):
        LinearImpact("steep")


@every_curve
def test_orders_must_be_unsigned_and_one_an_interval(curve: ImpactCurve) -> None:
    for method in (curve.impact, curve.slippage, curve.cost, curve.marginal_cost):
        with pytest.raises(ValidationError, match="shares must be at least 0, got -1"):
            method(-1.0)
        with pytest.raises(ValidationError, match=r"shares must be a number or .*got shape \(9,\)"):
            method(np.ones(9))


@every_curve
def test_a_scalar_is_the_same_order_in_every_interval(curve: ImpactCurve) -> None:
    for method in (
        curve.impact,
        curve.slippage,
        curve.cost,
        curve.marginal_cost,
        curve.shares_at_marginal,
    ):
        assert np.array_equal(method(2.0), method(np.full(len(curve), 2.0)))


@pytest.mark.parametrize("exponent", [0.0, -0.5])
def test_an_exponent_at_or_below_0_is_refused(exponent: float) -> None:
    with pytest.raises(
        ValidationError, match=f"exponent must be above 0, got {exponent:g} in interval 1"
    ):
        PowerImpact(1.0, [0.5, exponent])


@every_curve
def test_taken_intervals_are_the_chosen_ones_in_their_order(curve: ImpactCurve) -> None:
    last = len(curve) - 1
    mask = np.arange(len(curve)) % 2 == 1
    for chosen in ([last, 0, 0, last], [-1], last, mask):
        taken = curve.take(chosen)
        for method in ("impact", "cost", "marginal_cost", "shares_at_marginal"):
            wanted = np.atleast_1d(getattr(curve, method)(0.05)[np.asarray(chosen)])
            rounding = INVERSE if method == "shares_at_marginal" else POWER
            assert getattr(taken, method)(0.05) == pytest.approx(wanted, rel=rounding, abs=0), (
                method
            )
    with pytest.raises(IndexError):
        curve.take([len(curve)])


def test_a_composite_is_its_parts() -> None:
    parts = MIXED.curves
    assert len(MIXED) == 6
    x = np.array([10.0, 300.0, 300.0, 500.0, 0.0, 7e4])
    pieces = np.split(x, 3)
    for method in ("impact", "slippage", "cost", "marginal_cost"):
        alone = [getattr(part, method)(piece) for part, piece in zip(parts, pieces, strict=True)]
        assert getattr(MIXED, method)(x) == pytest.approx(
            np.concatenate(alone), rel=POWER, abs=0
        ), method
    for price in (0.005, 0.02, 0.04, 10.0):
        alone = [part.shares_at_marginal(price) for part in parts]
        assert MIXED.shares_at_marginal(price) == pytest.approx(
            np.concatenate(alone), rel=INVERSE, abs=0
        ), price
    assert np.isnan(MIXED.cost(1000.0)).tolist() == [False, False, True, True, False, False]


def test_the_literal_sum_of_a_composite_with_a_book_is_refused_with_the_reason() -> None:
    with pytest.raises(OptimizationError, match="average price of a walked book is not convex"):
        MIXED.total("impact")
    smooth = CompositeImpact([SMOOTH["linear"], SMOOTH["quadratic"]])
    assert np.array_equal(smooth.total("impact").value(50.0), smooth.impact(50.0))


def test_every_parameter_is_named() -> None:
    assert list(SMOOTH["quadratic"].parameters()) == ["alpha", "beta", "half_spread"]
    assert BOOK.parameters()["depth"].shape == (2, 2)
    assert "curves[1].premium" in MIXED.parameters()
    assert "curves[2].beta" in CompositeImpact([MIXED, MIXED]).curves[1].parameters()
    assert "curves[1].curves[2].beta" in CompositeImpact([MIXED, MIXED]).parameters()


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (
            LinearImpact([1.0, np.nan]),
            r"beta of the curve must be finite: 1 of 2 rows are not, first in row 1 \(nan\)",
        ),
        (
            PowerImpact([1.0, np.inf], 0.5),
            r"scale of the curve must be finite: 1 of 2 rows are not, first in row 1 \(inf\)",
        ),
        (
            PiecewiseLinearImpact(
                [[1.0, 2.0], [1.0, 2.0]], [[0.0, 1.0], [0.0, 1.0]], [np.nan, 0.0]
            ),
            r"half_spread of the curve must be finite: 1 of 2 rows are not, first in row 0 \(nan\)",
        ),
        (
            CompositeImpact([LinearImpact([1.0, 2.0]), PowerImpact([1.0, np.nan], 0.5)]),
            r"curves\[1\].scale of the curve must be finite: 1 of 2 rows are not, first in row 1 \(nan\)",
        ),
    ],
)
def test_an_allocation_names_the_parameter_that_is_not_finite(
    curve: ImpactCurve, message: str
) -> None:
    from research_lib.execution import allocate

    with pytest.raises(ValidationError, match=message):
        allocate(curve, 100)


@every_curve
def test_parameters_cannot_be_changed_in_place(curve: ImpactCurve) -> None:
    for values in curve.parameters().values():
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(
        ValidationError, match="objective 'risk' is unknown; choose from cost, impact"
    ):
        SMOOTH["linear"].total("risk")

"""Separable totals: value, slope, inverse and padding, whatever the mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from research_lib.impact import (
    AlmgrenImpact,
    CompositeImpact,
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
    SeparableTotal,
)

Float = NDArray[np.float64]
EPS = np.finfo(float).eps
COEFFICIENT = st.just(0.0) | st.floats(-12, 12).map(lambda exponent: 10.0**exponent)
POWER = st.floats(1.05, 4.0) | st.sampled_from(
    [1.5, 1.6, 2.0 - 1e-9, 2.0 + 1e-9, 3.0 - 1e-9, 3.0 + 1e-9]
)
PART = st.integers(0, 1000).map(lambda k: k / 1000)
SHARES = st.floats(-3, 12).map(lambda exponent: 10.0**exponent)


def smooth(
    linear: float, quadratic: float, cubic: float, scale: float, power: float
) -> SeparableTotal:
    """A total without steps; as in the curves' own, powers 1, 2 and 3 stand in the polynomial."""
    whole = [scale if power == k else 0.0 for k in (1, 2, 3)]
    parts = (
        linear + whole[0],
        quadratic + whole[1],
        cubic + whole[2],
        0.0 if any(whole) else scale,
        power,
    )
    return SeparableTotal(
        *(np.array([value]) for value in parts), np.empty((1, 0)), np.empty((1, 0))
    )


def stepped(
    depth: list[float],
    premium: list[float],
    linear: float = 0.0,
    quadratic: float = 0.0,
    scale: float = 0.0,
    power: float = 1.5,
) -> SeparableTotal:
    parts = (np.array([value]) for value in (linear, quadratic, 0.0, scale, power))
    return SeparableTotal(*parts, np.array([depth]), np.array([premium]))


@st.composite
def books(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Depths, some of them 0, and non-decreasing premiums, some of them equal."""
    depth = draw(st.lists(st.sampled_from([0.0]) | st.floats(0.1, 1e6), min_size=1, max_size=6))
    rises = draw(
        st.lists(
            st.sampled_from([0.0]) | st.floats(1e-4, 10.0), min_size=len(depth), max_size=len(depth)
        )
    )
    return depth, np.cumsum(rises).tolist()


@given(COEFFICIENT, COEFFICIENT, COEFFICIENT, COEFFICIENT, POWER, SHARES)
def test_the_inverse_is_exact_to_the_rounding_of_the_price(
    linear: float, quadratic: float, cubic: float, scale: float, power: float, shares: float
) -> None:
    if quadratic == cubic == scale == 0.0:
        return  # flat: no share more is reached by a price
    total = smooth(linear, quadratic, cubic, scale, power)
    price, curvature = total.marginal(shares)[0], total.curvature(shares)[0]
    # An error of a few roundings in the price moves x by that over the curvature; the power's
    # exponent, rounded itself, moves ln x by ln x roundings.
    error = EPS * (price / curvature + shares * (1.0 + abs(np.log(shares))))
    if error > 1e-3 * shares:
        return  # the rise is lost in the rounding of the linear price
    assert total.shares_at_marginal(price)[0] == pytest.approx(shares, rel=0, abs=16 * error)


@given(
    quadratic=st.floats(1e-6, 1e-2),
    scale=st.floats(1e-6, 1e-2),
    power=st.floats(1.2, 3.5),
    shares=st.floats(0.1, 1e6),
)
def test_a_mixed_linear_and_power_price_is_inverted_to_1e_12(
    quadratic: float, scale: float, power: float, shares: float
) -> None:
    total = smooth(0.0, quadratic, 0.0, scale, power)
    assert total.shares_at_marginal(total.marginal(shares))[0] == pytest.approx(shares, rel=1e-12)


@given(
    books(),
    COEFFICIENT.filter(lambda c: c < 1e3),
    st.sampled_from([0.0, 1e-3]),
    POWER,
    st.floats(-0.1, 50.0),
)
def test_the_inverse_lies_between_the_last_share_and_the_next(
    book: tuple[list[float], list[float]],
    quadratic: float,
    scale: float,
    power: float,
    price: float,
) -> None:
    total = stepped(*book, linear=0.01, quadratic=quadratic, scale=scale, power=power)
    x = total.shares_at_marginal(price)
    tolerance = 1e-12 * max(abs(price), 1.0)
    assert 0.0 <= x[0] <= total.capacity[0]
    assert total.marginal(x)[0] >= price - tolerance
    if x[0] > 0:
        assert total.marginal_last(x)[0] <= price + tolerance


@given(books(), st.floats(0.0, 1.0), st.floats(0, 1))
def test_the_price_of_a_step_returns_its_start_exactly(
    book: tuple[list[float], list[float]], half_spread: float, part: float
) -> None:
    total = stepped(*book, linear=half_spread)
    ends = np.concatenate([[0.0], np.cumsum(book[0])])
    x = part * total.capacity
    price = total.marginal(x)
    start = total.shares_at_marginal(price)[0]
    assert start in ends  # to the digit
    assert start <= x[0]
    if np.isfinite(price[0]):
        assert total.marginal(start)[0] == price[0]


@given(books(), COEFFICIENT.filter(lambda c: c < 1.0), PART)
def test_slopes_are_the_one_sided_derivatives(
    book: tuple[list[float], list[float]], quadratic: float, part: float
) -> None:
    total = stepped(*book, linear=0.01, quadratic=quadratic)
    ends = np.cumsum(book[0])
    inside = ends[ends < ends[-1]]
    x = inside[int(part * (len(inside) - 1))] if inside.size else 0.5 * ends[-1]
    room = np.abs(np.concatenate([[0.0], ends]) - x)
    step = 0.5 * room[room > 0].min() if room.any() else 0.0
    if step == 0.0:
        return
    here = total.value(x)[0]
    # Between the ends the total is at most quadratic: the difference is exact but for b * step and
    # rounding. Shares round in proportion to the order, and are paid at up to the last price.
    rounding = 8 * EPS * ends[-1] * total.marginal_last(ends[-1])[0] / step
    right, left = (total.value(x + step)[0] - here) / step, (here - total.value(x - step)[0]) / step
    assert right - quadratic * step == pytest.approx(total.marginal(x)[0], rel=1e-9, abs=rounding)
    if x > 0:
        assert left + quadratic * step == pytest.approx(
            total.marginal_last(x)[0], rel=1e-9, abs=rounding
        )


@given(books(), COEFFICIENT.filter(lambda c: c < 1.0), st.sampled_from([0.0, 1e-3]), PART, PART)
def test_totals_are_convex(
    book: tuple[list[float], list[float]],
    quadratic: float,
    scale: float,
    first: float,
    second: float,
) -> None:
    total = stepped(*book, quadratic=quadratic, scale=scale, power=1.6)
    ends = total.capacity * first, total.capacity * second
    chord = 0.5 * (total.value(ends[0]) + total.value(ends[1]))
    assert total.value(0.5 * (ends[0] + ends[1]))[0] <= chord[0] * (1 + 16 * EPS)


def test_ends_of_steps_by_hand() -> None:
    total = stepped([5.0, 0.0, 3.0], [0.0, 1.0, 2.0], linear=0.5)
    assert total.capacity.tolist() == [8.0]
    assert [total.value(x)[0] for x in (0.0, 5.0, 6.0, 8.0)] == [0.0, 2.5, 5.0, 10.0]
    # At 5 the empty step of price 1 is passed over: the last share cost 0.5, the next one 2.5.
    assert [total.marginal_last(x)[0] for x in (1.0, 5.0, 6.0, 8.0)] == [0.5, 0.5, 2.5, 2.5]
    assert [total.marginal(x)[0] for x in (0.0, 5.0, 6.0, 8.0)] == [0.5, 2.5, 2.5, np.inf]
    assert [total.shares_at_marginal(p)[0] for p in (0.5, 0.6, 1.6, 2.5, 2.6)] == [
        0.0,
        5.0,
        5.0,
        5.0,
        8.0,
    ]


@pytest.mark.parametrize("method", ["value", "marginal", "marginal_last"])
def test_nothing_is_known_beyond_the_capacity(method: str) -> None:
    total = stepped([5.0, 3.0], [0.0, 2.0])
    assert np.isnan(getattr(total, method)(np.nextafter(8.0, 9.0))[0])
    assert not np.isnan(getattr(total, method)(8.0)[0])


def test_the_capacity_is_reached_whatever_the_rounding_of_its_sum() -> None:
    depth = np.random.default_rng(7).uniform(
        0.1, 1.0, (2000, 17)
    )  # pairwise and running sums differ
    zero = np.zeros(len(depth))
    total = SeparableTotal(
        zero,
        zero,
        zero,
        zero,
        zero + 1.5,
        depth,
        np.sort(np.random.default_rng(8).random(depth.shape)),
    )
    assert np.any(depth.sum(axis=1) != total.capacity)
    assert np.array_equal(total.shares_at_marginal(np.inf), total.capacity)
    assert np.all(np.isfinite(total.value(total.capacity)))
    assert np.all(np.isposinf(total.marginal(total.capacity)))


def test_an_interval_without_depth_trades_nothing() -> None:
    total = stepped([0.0, 0.0], [0.0, 0.0], linear=0.01)
    assert total.capacity[0] == 0.0
    assert total.value(0.0)[0] == 0.0
    assert total.marginal(0.0)[0] == np.inf
    assert total.shares_at_marginal(1e9)[0] == 0.0


@pytest.mark.parametrize("power", [1.3, 1.9, 2.0, 2.5, 3.0, 3.7])
def test_at_zero_slopes_are_those_of_the_linear_part(power: float) -> None:
    total = smooth(0.02, 1e-5, 1e-9, 1e-3, power)
    assert total.value(0.0)[0] == 0.0
    assert total.marginal(0.0)[0] == 0.02
    assert total.shares_at_marginal(0.02)[0] == 0.0
    expected = {2.0: 2 * (1e-5 + 1e-3)}.get(power, np.inf if power < 2 else 2e-5)
    assert total.curvature(0.0)[0] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("whole", [1, 2, 3])
def test_powers_beside_a_whole_one_are_continuous(whole: int) -> None:
    def total(power: float) -> SeparableTotal:
        """Of the literal sum, whose power is the exponent itself."""
        return PowerImpact(0.5, power).total("impact")

    whole_power = total(float(whole))
    assert not whole_power.scale.any()
    for beside in (whole * (1 - 1e-12), whole * (1 + 1e-12)):
        close = total(beside)
        assert close.scale.all()
        for x in (0.5, 1.0, 1e4):
            # x^(p - 1) moves by ln(x) x 1e-12 x whole, below 3e-11 here.
            assert close.value(x)[0] == pytest.approx(whole_power.value(x)[0], rel=1e-10)
            assert close.marginal(x)[0] == pytest.approx(whole_power.marginal(x)[0], rel=1e-10)
            mixed, polynomial = (
                smooth(0.01, 1e-4, 1e-8, 0.5, beside),
                smooth(0.01, 1e-4, 1e-8, 0.5, float(whole)),
            )
            assert mixed.value(x)[0] == pytest.approx(polynomial.value(x)[0], rel=1e-10)
            assert mixed.marginal(x)[0] == pytest.approx(polynomial.marginal(x)[0], rel=1e-10)
            if mixed.non_convex().any():
                continue  # a power just below 1 has a falling price, and no inverse
            price = polynomial.marginal(x)
            assert mixed.shares_at_marginal(price)[0] == pytest.approx(
                polynomial.shares_at_marginal(price)[0], rel=1e-6
            )


@pytest.mark.parametrize("price", [np.inf, -np.inf, np.nan])
def test_prices_that_are_not_finite(price: float) -> None:
    expected = {np.inf: np.inf, -np.inf: 0.0}.get(price, np.nan)
    for total in (
        smooth(0.1, 1.0, 0.0, 0.0, 1.5),
        smooth(0.1, 0.0, 1.0, 0.0, 1.5),
        smooth(0.1, 1.0, 0.0, 1.0, 1.6),
    ):
        assert np.array_equal(total.shares_at_marginal(price), [expected], equal_nan=True)
    for total in (stepped([5.0], [1.0]), stepped([5.0], [1.0], quadratic=1.0)):
        assert np.array_equal(total.shares_at_marginal(price), [min(expected, 5.0)], equal_nan=True)


def test_a_concave_price_that_never_rises_so_far_needs_infinitely_many_shares() -> None:
    falling = QuadraticImpact(np.array([0.0, -1.0, -1e-9]), np.array([-1.0, 1.0, 1.0])).total()
    assert falling.non_convex().all()
    # 2 x - 3 x^2 is at most 1/3; with -1e-9 the price 2 is reached near 1.
    reached = falling.shares_at_marginal(np.array([1.0, 1.0, 2.0]))
    assert reached[:2].tolist() == [np.inf, np.inf]
    assert reached[2] == pytest.approx(1.0, rel=1e-8)


@pytest.mark.parametrize(
    ("coefficients", "convex"),
    [
        ((0.0, 0.0, 0.0, 1.0, 0.5), False),
        ((0.0, 0.0, 0.0, 1.0, 1.5), True),
        ((0.0, 0.0, 0.0, -1.0, 1.5), False),
        ((0.0, 0.0, 0.0, -1.0, 0.5), True),
        ((-1.0, 0.0, 0.0, 0.0, 1.5), True),
        ((0.0, -1e-12, 0.0, 0.0, 1.5), False),
        ((0.0, 0.0, -1e-12, 0.0, 1.5), False),
        ((0.0, 1.0, 0.0, -2.0, 2.0), False),
    ],
)
def test_convexity_is_read_from_the_coefficients(
    coefficients: tuple[float, ...], convex: bool
) -> None:
    assert smooth(*coefficients).non_convex().tolist() == [not convex]


# Two evaluations of one sum in arrays of different length: NumPy's vector power is within 4
# roundings, its scalar one within 1, a sum of products may be fused or not: 16 roundings are more
# than both together can differ. An inverse ends where the logarithm of its price is within 8 (1 +
# e) roundings, e >= 0.6 its elasticity: the shares are within 22 on either side, and 16 of the
# powers that they are made of.
VALUE, INVERSE = 16 * EPS, 64 * EPS


def _mixture() -> tuple[list[SeparableTotal], SeparableTotal]:
    parts: list[ImpactCurve] = [
        QuadraticImpact(1e-8, 1e-4, 0.01),
        PiecewiseLinearImpact([[5.0, 3.0]], [[0.0, 2.0]], 0.02),
        AlmgrenImpact(1e-3, 2e-4, 0.01),
        PiecewiseLinearImpact([[0.0]], [[0.0]], 0.02),
        PiecewiseLinearImpact([[4.0, 0.0, 1.0, 7.0]], [[0.0, 0.1, 0.2, 0.3]], -0.02),
    ]
    return [part.total() for part in parts], CompositeImpact(parts).total()


def test_a_stack_is_its_parts_to_rounding() -> None:
    parts, total = _mixture()
    for x in (0.0, 1.0, 5.0, 6.5, 8.0, 1e6):
        for method in ("value", "marginal", "marginal_last", "curvature"):
            alone = np.concatenate([getattr(part, method)(x) for part in parts])
            assert getattr(total, method)(x) == pytest.approx(
                alone, rel=VALUE, abs=0, nan_ok=True
            ), (method, x)
    for price in (-1.0, 0.02, 0.08, 0.3, 2.02, 5.0, np.inf):
        alone = np.concatenate([part.shares_at_marginal(price) for part in parts])
        assert total.shares_at_marginal(price) == pytest.approx(alone, rel=INVERSE, abs=0), price
    assert total.capacity.tolist() == [np.inf, 8.0, np.inf, 0.0, 12.0]


def test_smooth_totals_stack_without_steps() -> None:
    total = CompositeImpact([LinearImpact(1.0), PowerImpact(1.0, 0.6)]).total()
    assert total.depth.shape == (2, 0)
    assert total.capacity.tolist() == [np.inf, np.inf]


def test_units_change_the_numbers_and_not_the_total() -> None:
    _, total = _mixture()
    scaled = total.scaled(shares=250.0, currency=8.0)
    for x in (0.0, 1.0, 4.5, 6.5, 1000.0):
        assert scaled.value(x / 250.0) * 8.0 == pytest.approx(
            total.value(x), rel=1e-14, nan_ok=True
        )
        assert scaled.marginal(x / 250.0) * 8.0 / 250.0 == pytest.approx(
            total.marginal(x), rel=1e-14, nan_ok=True
        )
    assert scaled.shares_at_marginal(0.3 * 250.0 / 8.0) * 250.0 == pytest.approx(
        total.shares_at_marginal(0.3), rel=1e-13
    )

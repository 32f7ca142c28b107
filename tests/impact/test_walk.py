"""The walk of one book: by hand, and against a plain twin in exact rational arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.impact import slippage_curves, walk_book
from research_lib.market import BookSnapshots

Levels = list[tuple[float, float]]
EPSILON = float(np.finfo(float).eps)


def plain_walk(levels: Levels, shares: float) -> Fraction:
    """Average price with the rest at the last level, no rounding."""
    left, paid = Fraction(shares), Fraction(0)
    for price, size in levels:
        if left > 0:
            taken, last = min(left, Fraction(size)), Fraction(price)
            paid += taken * last
            left -= taken
    return (paid + left * last) / Fraction(shares)


def shown(levels: Levels, sign: int) -> Levels:
    """Levels that hold shares, away from the mid; `sign` 0 as given."""
    held = [(price, size) for price, size in levels if size > 0 and np.isfinite(price)]
    return sorted(held, key=lambda level: sign * level[0])


def walk(
    levels: Levels, shares: list[float], sign: int
) -> tuple[NDArray[np.float64], float, float]:
    """Lower bound (K,), depth and touch of one book: asks that a buy walks upwards, 1, or bids
    downwards, -1.
    """
    prices, sizes = (np.array(column, float)[None] for column in zip(*levels, strict=True))
    sizes[np.isnan(prices)] = (
        0.0  # books refuse shares without a price, `walk_book` passes over them
    )
    walked, other = (prices, sizes), (np.full_like(prices, np.nan), np.zeros_like(sizes))
    (bid, ask), side = ((other, walked), "buy") if sign == 1 else ((walked, other), "sell")
    curves = slippage_curves(BookSnapshots(np.zeros(1, np.int64), *bid, *ask), shares, side)
    return curves.lower_bound[0], curves.depth[0], curves.touch[0]


amounts = st.one_of(st.sampled_from([1e-8, 1.0, 100.0, 1e8]), st.floats(1e-8, 1e8))
level = st.tuples(
    st.one_of(st.sampled_from([1e-8, 99.99, 100.0, 100.01, 1e8, np.nan]), st.floats(1e-8, 1e8)),
    st.one_of(st.just(0.0), amounts),
)


def assert_is_average(got: float, held: Levels, shares: float) -> None:
    """The premium over the touch is a sum of at most L terms, each a product of a rounded step and
    a rounded remainder: its error is within 3 L roundings of the prices passed,
    plus one of the average.
    """
    average = plain_walk(held, shares)
    reached = [
        price for at, (price, _) in enumerate(held) if sum(size for _, size in held[:at]) <= shares
    ]
    passed = sum(abs(b - a) for a, b in itertools.pairwise(reached))
    tolerance = EPSILON * (3 * len(held) * passed + abs(float(average)))
    assert abs(Fraction(got) - average) <= tolerance


@settings(max_examples=200, deadline=None)
@given(
    levels=st.lists(level, min_size=1, max_size=12),
    shares=st.lists(amounts, min_size=1, max_size=19),
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_walk_equals_its_plain_twin_to_rounding(
    levels: Levels, shares: list[float], sign: int
) -> None:
    """Holes, duplicates, any order, prices and sizes of 1e-8 to 1e8 in one book."""
    lower_bound, depth, touch = walk(levels, shares, sign)
    held = shown(levels, sign)
    if not held:
        assert np.isnan(lower_bound).all()
        assert (depth, np.isnan(touch)) == (0.0, True)
        return
    assert touch == held[0][0]
    assert depth == pytest.approx(
        float(sum(Fraction(size) for _, size in held)), rel=len(held) * EPSILON
    )
    for x, got in zip(shares, lower_bound.tolist(), strict=True):
        assert_is_average(got, held, x)


@settings(max_examples=200, deadline=None)
@given(
    levels=st.lists(level, min_size=1, max_size=12),
    shares=st.lists(amounts, min_size=1, max_size=19),
)
def test_levels_walked_as_given_equal_the_plain_twin_too(
    levels: Levels, shares: list[float]
) -> None:
    held, average = shown(levels, 0), walk_book(*zip(*levels, strict=True), shares)
    depth = sum((size for _, size in held), 0.0)
    for x, got in zip(shares, average.tolist(), strict=True):
        assert np.isnan(got) == (x > depth)
        if x <= depth:
            assert_is_average(got, held, x)


@settings(max_examples=200, deadline=None)
@given(
    levels=st.lists(level, min_size=1, max_size=12),
    shares=st.lists(amounts, min_size=1, max_size=19),
)
def test_negative_prices_walk_the_other_way_bit_for_bit(
    levels: Levels, shares: list[float]
) -> None:
    down, depth, _ = walk(levels, shares, -1)
    up = walk_book(
        *zip(
            *[(-price, size) for price, size in shown(levels, -1)] or [(np.nan, 0.0)], strict=True
        ),
        shares,
    )
    assert np.array_equal(np.where(np.array(shares) > depth, np.nan, down), -up, equal_nan=True)


@settings(max_examples=200, deadline=None)
@given(
    levels=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 50)), min_size=1, max_size=8),
    first=st.integers(1, 200),
    second=st.integers(1, 200),
)
def test_the_cost_of_two_orders_in_turn_is_the_cost_of_their_sum(
    levels: Levels, first: int, second: int
) -> None:
    held = shown(levels, 1)
    before = np.cumsum([0] + [size for _, size in held])[:-1]
    left = [
        (price, size - min(max(first - b, 0), size))
        for (price, size), b in zip(held, before, strict=True)
    ]
    if first + second > sum(size for _, size in held):
        return
    (one, both), _, _ = walk(held, [first, first + second], 1)
    (other,), _, _ = walk(left, [second], 1)
    assert (first + second) * both == pytest.approx(first * one + second * other, rel=8 * EPSILON)


def test_walk_by_hand() -> None:
    # 100 at 10, then 50 of 80 at 11, then nothing beyond 180.
    average = walk_book([10.0, 11.0], [100, 80], [100, 150, 180, 181])
    assert average[:3] == pytest.approx(
        [10.0, (1000 + 550) / 150, (1000 + 880) / 180], rel=2 * EPSILON
    )
    assert np.isnan(average[3])


def test_a_bid_side_is_walked_downwards_as_given() -> None:
    assert walk_book([11.0, 10.0], [100, 100], [150, 50]).tolist() == pytest.approx(
        [(1100 + 500) / 150, 11.0]
    )


def test_levels_with_nan_prices_or_no_size_are_passed_over() -> None:
    assert walk_book([10.0, np.nan, 12.0], [5, 100, 5], [10.0])[0] == pytest.approx(11.0)
    assert walk_book([np.nan, 10.0, 11.0, 12.0], [7, 5, 0, 5], [10.0])[0] == pytest.approx(11.0)
    assert np.isnan(walk_book([np.nan], [0.0], [1.0])[0])


def test_a_stub_quote_far_away_leaves_the_premium_of_the_others_exact() -> None:
    # 1 of 1,001 shares at 200,000: the premium over 13 is 199,987 / 1,001 however far the stub.
    average = walk_book([13.0, 200_000.0], [1_000, 100], [1_001.0])[0]
    assert average == pytest.approx(13 + 199_987 / 1_001, rel=EPSILON)


def test_trade_sizes_are_copied() -> None:
    sizes, one = np.array([5.0, 10.0]), np.ones((1, 1))
    curves = slippage_curves(
        BookSnapshots(np.zeros(1, np.int64), 99 * one, one, 101 * one, one), sizes, "buy"
    )
    sizes[:] = -1
    assert curves.trade_sizes.tolist() == [5.0, 10.0]


@pytest.mark.parametrize("sizes", [[0.0], [100, -5], [np.nan], [np.inf], [], [[1.0]], "many", None])
def test_impossible_trade_sizes_are_refused(sizes: object) -> None:
    with pytest.raises(ValidationError, match="trade_sizes must be"):
        walk_book([101.0], [1.0], sizes)  # type: ignore[arg-type]


def test_prices_and_sizes_of_different_length_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be one book"):
        walk_book([101.0, 102.0], [1.0], [1.0])


def test_an_order_of_all_that_a_book_shows_is_filled_to_rounding() -> None:
    assert sum([0.1] * 8) < 0.8
    assert walk_book([10.0] * 8, [0.1] * 8, [0.8, 0.80001]).tolist() == pytest.approx(
        [10.0, np.nan], nan_ok=True
    )

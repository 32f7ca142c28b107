"""The book itself as a curve: equal to walking it, by hand, at random and on a real day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import one_book
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.impact import PiecewiseLinearImpact, slippage_curves
from research_lib.market import BookSnapshots, Session, read_mbp10

Float = NDArray[np.float64]
BID = [(99.0, 10.0), (98.0, 30.0)]
ASK = [(101.0, 10.0), (103.0, 20.0)]


def walked(depth: Float, premium: Float, half_spread: float, shares: float) -> float:
    """Cost of one order, step by step: the plain-Python twin; NaN beyond the depth."""
    left, paid = shares, shares * half_spread
    for size, price in zip(depth, premium, strict=True):
        paid += min(left, size) * price
        left -= min(left, size)
    return paid if left <= 0 else np.nan


def random_books(rng: np.random.Generator, n: int = 40, n_levels: int = 7) -> BookSnapshots:
    """Books with empty levels, levels out of order, crossed touches and sides without any level."""
    mid = rng.uniform(20, 200, (n, 1))
    touch = rng.normal(0.03, 0.03, (n, 1))  # negative where crossed
    away = np.cumsum(rng.exponential(0.02, (2, n, n_levels)), axis=2)
    price = np.stack([mid - touch - away[0], mid + touch + away[1]])
    size = np.round(rng.exponential(300, price.shape)) * (rng.random(price.shape) > 0.2)
    size[0, 3], size[1, 7], size[:, 11] = 0.0, 0.0, 0.0
    for side, row in ((0, 5), (1, 5), (1, 6)):
        shuffled = rng.permutation(n_levels)
        price[side, row], size[side, row] = price[side, row, shuffled], size[side, row, shuffled]
    time = 1_704_207_600_000_000_000 + np.arange(n) * 60_000_000_000
    return BookSnapshots(time, price[0], size[0], price[1], size[1])


def test_a_book_by_hand() -> None:
    curve = PiecewiseLinearImpact.from_books(one_book(BID, ASK), "buy")
    assert curve.depth.tolist() == [[10.0, 20.0]]
    assert curve.premium.tolist() == [[0.0, 2.0]]
    assert curve.half_spread.tolist() == [1.0]
    # 20 shares: 10 at 101, 10 at 103, mid 100: 10 + 30 = 40, 2 a share, 1 of it beyond the touch.
    assert [
        f(20.0)[0] for f in (curve.cost, curve.slippage, curve.impact, curve.marginal_cost)
    ] == [40, 2, 1, 3]
    assert [
        f(10.0)[0] for f in (curve.cost, curve.slippage, curve.impact, curve.marginal_cost)
    ] == [10, 1, 0, 3]
    assert np.isnan(curve.cost(30.5)[0])
    assert [curve.shares_at_marginal(price)[0] for price in (1.0, 1.5, 3.0, 3.5)] == [0, 10, 10, 30]


def test_a_sell_walks_the_bids_downwards() -> None:
    curve = PiecewiseLinearImpact.from_books(one_book(BID, ASK), "sell")
    assert curve.depth.tolist() == [[10.0, 30.0]]
    assert curve.premium.tolist() == [[0.0, 1.0]]
    assert curve.half_spread.tolist() == [1.0]


def test_a_crossed_book_has_a_signed_half_spread_and_premiums_from_its_touch() -> None:
    curve = PiecewiseLinearImpact.from_books(
        one_book([(101, 10), (98, 30)], [(99, 10), (103, 20)]), "buy"
    )
    assert curve.half_spread.tolist() == [-1.0]
    assert curve.premium.tolist() == [[0.0, 4.0]]
    assert curve.cost(10.0).tolist() == [-10.0]


def test_empty_levels_are_steps_of_no_depth_and_levels_walk_away_from_the_mid() -> None:
    ask = [(np.nan, 0.0), (103.0, 20.0), (101.0, 10.0)]
    curve = PiecewiseLinearImpact.from_books(one_book([*BID, (np.nan, 0)], ask), "buy")
    assert curve.depth.tolist() == [[10.0, 20.0, 0.0]]
    assert curve.premium.tolist() == [[0.0, 2.0, 2.0]]


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("bid", "ask"), [(BID, [(np.nan, 0.0)] * 2), ([(np.nan, 0.0)] * 2, ASK)])
def test_without_both_sides_nothing_can_be_traded(
    side: str, bid: list[tuple[float, float]], ask: list[tuple[float, float]]
) -> None:
    curve = PiecewiseLinearImpact.from_books(one_book(bid, ask), side)
    assert all(np.isfinite(values).all() for values in curve.parameters().values())
    assert curve.depth.sum() == 0.0
    assert curve.cost(0.0).tolist() == [0.0]
    assert np.isnan(curve.cost(1.0)[0])
    assert curve.shares_at_marginal(np.inf).tolist() == [0.0]


def assert_walks(books: BookSnapshots, side: str, sizes: Float, price_rounding: float) -> None:
    """Curve and walk agree on every size of every book that shows both sides."""
    curve, walk = PiecewiseLinearImpact.from_books(books, side), slippage_curves(books, sizes, side)
    quoted = np.isfinite(walk.mid)
    assert np.array_equal(curve.half_spread[quoted], walk.half_spread[quoted])
    assert not curve.depth[~quoted].any()
    for k, x in enumerate(sizes):
        assert np.array_equal(np.isnan(curve.impact(x)[quoted]), walk.censored[quoted, k])
        for name in ("impact", "slippage"):
            expected = getattr(walk, name)[quoted, k]
            assert getattr(curve, name)(x)[quoted] == pytest.approx(
                expected, rel=0, abs=price_rounding, nan_ok=True
            )


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("seed", range(5))
def test_the_curve_of_a_random_book_is_its_walk(side: str, seed: int) -> None:
    books = random_books(np.random.default_rng(seed))
    # The walk averages prices near 200: their rounding, 3e-14, is what is left of an impact of
    # cents.
    assert_walks(books, side, np.array([1.0, 37.5, 200.0, 800.0, 2500.0]), 5e-13)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_curve_of_a_real_day_is_its_walk(side: str, frog_file: Path) -> None:
    books = read_mbp10(frog_file).sample(Session())
    assert len(books) == 390
    assert_walks(books, side, np.array([1.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0]), 5e-13)


@given(st.data())
def test_costs_are_the_plain_walk(data: st.DataObject) -> None:
    n_steps = data.draw(st.integers(1, 6))
    depth = data.draw(
        st.lists(st.just(0.0) | st.floats(0.1, 1e4), min_size=n_steps, max_size=n_steps)
    )
    rise = data.draw(
        st.lists(st.just(0.0) | st.floats(1e-4, 1.0), min_size=n_steps, max_size=n_steps)
    )
    premium, shares = np.cumsum(rise), data.draw(st.just(0.0) | st.floats(1e-3, 2e4))
    curve = PiecewiseLinearImpact(depth, premium, 0.01)
    if abs(shares - sum(depth)) > 1e-9:  # at the end itself rounding decides
        expected = walked(np.array(depth), premium, 0.01, shares)
        assert curve.cost(shares)[0] == pytest.approx(expected, rel=1e-12, abs=1e-300, nan_ok=True)
        average = (
            expected / shares - 0.01 if shares else premium[int(np.argmax(np.array(depth) > 0))]
        )
        assert curve.impact(shares)[0] == pytest.approx(average, rel=1e-9, abs=1e-14, nan_ok=True)


def test_impact_at_zero_is_the_price_of_the_first_step_with_shares() -> None:
    curve = PiecewiseLinearImpact([[0.0, 5.0], [0.0, 0.0]], [[0.0, 0.25], [0.0, 0.0]])
    assert curve.impact(0.0).tolist() == [0.25, 0.0]
    assert curve.impact(1.0)[0] == 0.25


@pytest.mark.parametrize(
    ("depth", "premium", "message"),
    [
        ([[1.0, -2.0]], [[0.0, 1.0]], "interval 0, step 1 has depth -2 and premium 1"),
        ([[1.0, np.nan]], [[0.0, 1.0]], "interval 0, step 1 has depth nan"),
        ([[1.0, np.inf]], [[0.0, 1.0]], "depth must be finite"),
        (
            [[1.0, 2.0], [1.0, 2.0]],
            [[0.0, 1.0], [1.0, 0.5]],
            "interval 1, step 1 has depth 2 and premium 0.5",
        ),
        ([[1.0, 0.0]], [[0.0, np.nan]], "give an empty step depth 0 and the premium before it"),
        (
            [[1.0, 2.0]],
            [[0.0, 1.0, 2.0]],
            r"depth \(1, 2\) and premium \(1, 3\) must both be \(n, K\)",
        ),
        ([[], []], [[], []], "an empty book has one of depth 0"),
        ([["deep"]], [[0.0]], "depth must be numbers"),
    ],
)
def test_steps_that_are_no_book_are_refused(
    depth: list[list[float]], premium: list[list[float]], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        PiecewiseLinearImpact(depth, premium)


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValidationError, match="side must be"):
        PiecewiseLinearImpact.from_books(one_book(BID, ASK), "both")

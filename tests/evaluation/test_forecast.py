"""Forecasts of the day's shape, and what they know.

Tolerances. 1e-12: rounding of the same sums taken in another order. 0.08 and 0.98: sampling error
of 30 days, which is 0.04 in the median depth of four other seeds. 0.1 and 0.35 in an exponent:
the pull of the prior, which is 1.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from evaluation.profiles import of_market

from research_lib.errors import ValidationError
from research_lib.evaluation import Ladder, LiquidityProfile, TiltedShape, decaying, mid_volatility
from research_lib.market import BookSnapshots, Session, preset

SESSION = Session(78)


def _days(name: str, n_days: int, seed: int = 0, side: str = "buy") -> list[Ladder]:
    return Ladder.of(
        preset(name, SESSION).books(78 * n_days, 10, np.random.default_rng(seed)), side
    ).by_day(78)


@pytest.fixture(scope="module")
def profile() -> LiquidityProfile:
    return of_market(preset("thin_stock", SESSION), "itself")


def test_a_profile_measured_on_days_is_the_markets_own(profile: LiquidityProfile) -> None:
    measured = LiquidityProfile.from_ladders(_days("thin_stock", 30), "30 days", bandwidth=0.005)
    assert measured.spread.mean() == pytest.approx(1.0)
    assert np.corrcoef(measured.spread, profile.spread)[0, 1] > 0.98
    assert np.median(np.abs(measured.depth / profile.depth - 1)) < 0.08


def test_days_count_alike_whatever_their_level() -> None:
    one, other = _days("thin_stock", 2)
    dear = dataclasses.replace(other, half_spread=9 * other.half_spread, size=100 * other.size)
    a = LiquidityProfile.from_ladders([one, other], "two")
    b = LiquidityProfile.from_ladders([one, dear], "two")
    assert b.spread == pytest.approx(a.spread, rel=1e-12)
    assert b.depth == pytest.approx(a.depth, rel=1e-12)


def test_rows_of_the_paths_are_the_shapes_known_then(profile: LiquidityProfile) -> None:
    made = TiltedShape(profile)
    day = _days("thin_stock", 1, 4)[0]
    log_spread, depth = made.paths(day, 78)
    for t in (0, 1, 40, 77):
        spread, size = made.paths(day.take(slice(t + 1)), 78)
        assert log_spread[t] == pytest.approx(spread[-1], rel=1e-12)
        assert depth[t] == pytest.approx(size[-1], rel=1e-12)


def test_without_deviation_the_profile_is_kept_whatever_is_seen(profile: LiquidityProfile) -> None:
    log_spread, depth = TiltedShape(profile, deviation=0).paths(_days("thin_stock", 1, 4)[0], 78)
    assert np.exp(log_spread) == pytest.approx(np.tile(profile.spread, (78, 1)), rel=1e-12)
    assert depth == pytest.approx(np.tile(profile.depth, (78, 1)), rel=1e-12)


def test_the_tilt_finds_a_profile_twice_as_steep_and_leaves_a_right_one(
    profile: LiquidityProfile,
) -> None:
    n, rng = 780, np.random.default_rng(1)
    shape = np.interp(np.linspace(0, 77, n), np.arange(78), profile.spread)
    wide = LiquidityProfile(shape, np.ones(n), "stretched")
    noise = np.exp(0.05 * rng.standard_normal(n))
    for exponent in (0.0, 1.0, 1.7):
        half_spread, size = 3 * (shape**exponent * noise)[:, None], np.ones((n, 1))
        day = Ladder.of(
            BookSnapshots(np.arange(n), 100 - half_spread, size, 100 + half_spread, size), "buy"
        )
        log_spread, _ = TiltedShape(wide).paths(day, n)
        found = (
            log_spread @ np.log(wide.spread) / np.sum(np.log(wide.spread) ** 2)
        )  # the power of the profile, by time
        assert found[0] == pytest.approx(1.0, rel=1e-12)  # rounding of two sums
        assert found[-1] == pytest.approx(exponent, abs=0.1 if exponent else 0.35)


def test_the_tilt_ignores_books_without_two_sides(profile: LiquidityProfile) -> None:
    day = _days("thin_stock", 1, 5)[0]
    gone = np.isin(np.arange(78), [3, 20, 21])
    mid, size = np.where(gone, np.nan, day.mid), np.where(gone[:, None], 0.0, day.size)
    gapped = dataclasses.replace(day, mid=mid, size=size)
    log_spread, _ = TiltedShape(profile).paths(gapped, 78)
    assert np.isfinite(log_spread).all()
    assert np.array_equal(log_spread[3], log_spread[2])


def test_weights_and_volatility_by_hand() -> None:
    assert decaying(2.0, 5)[[0, 2, 4]].tolist() == [1.0, 0.5, 0.25]
    books = BookSnapshots(
        np.arange(3),
        [[99.0], [102.0], [98.0]],
        np.ones((3, 1)),
        [[101.0], [104.0], [100.0]],
        np.ones((3, 1)),
    )
    assert mid_volatility([Ladder.of(books, "buy")]) == pytest.approx(np.sqrt((9 + 16) / 2))


def test_a_profile_is_above_0() -> None:
    with pytest.raises(ValidationError, match="depth of the profile of here must be"):
        LiquidityProfile(np.ones(3), np.array([1.0, 0.0, 1.0]), "here")


def test_a_labelled_profile_is_put_together_by_label() -> None:
    depth = pd.Series({1: 30.0, 0: 10.0})
    assert LiquidityProfile([3.0, 1.0], depth, "here").depth.tolist() == [0.5, 1.5]
    with pytest.raises(ValidationError, match="intervals are labelled 0 to 1"):
        LiquidityProfile([3.0, 1.0], depth.rename({1: 2}), "here")

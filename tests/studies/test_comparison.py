"""Distances between profiles, what chance makes of them, and what is drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.market import DayShape, Memory, Session, SyntheticMarket, preset
from research_lib.studies import (
    MarketProfile,
    beside_preset,
    chance_distances,
    measure_market,
    profile_distances,
    profile_lines,
)


def a_market() -> SyntheticMarket:
    return SyntheticMarket(
        ModelConfig(base_price=50.0, volatility_factor=0.3, spread_factor=0.1, volume_decay=0.0),
        Session(78),
        depth=500.0,
        dispersion=200.0,
        day_shape=DayShape(2.0, 0.15, 0.5, 1.0),
        spread_dispersion=2.0,
        gap_ticks=(2.0, 3.0),
        depth_memory=Memory(0.6, 10.0, 0.4),
    )


def profile_of(market: SyntheticMarket, n_days: int, n_levels: int, seed: int) -> MarketProfile:
    books = market.books(n_days * market.session.n_intervals, n_levels, np.random.default_rng(seed))
    return measure_market(books, market.session)


def test_distances_are_zero_to_itself_and_name_what_differs() -> None:
    market = a_market()
    profile = measure_market(market.books(20 * 78, 4, np.random.default_rng(3)), market.session)
    assert (profile_distances(profile, profile)["distance"] < 1e-12).all()
    deeper = dataclasses.replace(market, depth=1_000.0)
    table = profile_distances(
        profile, measure_market(deeper.books(20 * 78, 4, np.random.default_rng(3)), market.session)
    )
    # Twice the depth from the same shocks; the spread, drawn first, is the same.
    assert table.loc["mean depth", "distance"] == pytest.approx(1.0, abs=0.05)
    assert table.loc["depth distribution", "distance"] > 0.5
    assert (
        table.loc[["mean spread", "spread distribution", "spread memory"], "distance"] < 1e-12
    ).all()


def test_profiles_that_cannot_be_compared_are_refused(rng: np.random.Generator) -> None:
    market = a_market()
    four = measure_market(market.books(780, 4, rng), market.session)
    two = measure_market(market.books(780, 2, rng), market.session)
    with pytest.raises(ValidationError, match="4 entries in one profile and 2 in the other"):
        profile_distances(four, two)
    other = dataclasses.replace(market, session=Session(39))
    with pytest.raises(ValidationError, match="78 intervals a session, the other 39"):
        profile_distances(four, measure_market(other.books(780, 4, rng), other.session))
    with pytest.raises(
        ValidationError, match="78 of 78 intervals have a usable book, a profile needs 100"
    ):
        measure_market(market.books(78, 4, rng), market.session)


@pytest.mark.slow
def test_chance_covers_a_draw_of_the_market_itself_and_not_another_market() -> None:
    """A fresh draw exceeds the largest of 19 once in 20 times.

    Of 40 draws of 15 facts some 30, at most 60.
    """
    market = a_market()
    synthetic = profile_of(market, 20, 4, 1)
    fresh = [profile_of(market, 4, 4, seed) for seed in range(100, 140)]
    chance = chance_distances(market, fresh[0], synthetic, np.random.default_rng(2))
    assert (chance["chance"] <= chance["chance_high"]).all()
    beyond = [
        profile_distances(real, synthetic)["distance"] > chance["chance_high"] for real in fresh
    ]
    assert np.sum(beyond) <= 60
    other = profile_of(
        dataclasses.replace(market, depth=1_000.0, depth_memory=Memory(0.0)), 4, 4, 3
    )
    distance = profile_distances(other, synthetic)["distance"]
    for fact in ("mean depth", "depth distribution", "depth memory", "depth memory, longer"):
        assert distance[fact] > chance.loc[fact, "chance_high"], fact


@pytest.mark.slow
def test_chance_is_seeded_and_shrinks_with_the_days_of_the_real_books() -> None:
    market = a_market()
    synthetic = profile_of(market, 40, 4, 1)
    few, many = (profile_of(market, n_days, 4, 2) for n_days in (2, 32))
    first, again = (
        chance_distances(market, few, synthetic, np.random.default_rng(5)) for _ in range(2)
    )
    assert first.equals(again)
    more = chance_distances(market, many, synthetic, np.random.default_rng(5))
    facts = [
        "mean spread",
        "mean depth",
        "depth distribution",
        "depth over the day",
        "depth memory, longer",
    ]
    assert (more.loc[facts, "chance"] < 0.7 * first.loc[facts, "chance"]).all()
    with pytest.raises(ValidationError, match="n_runs must be at least 1, got 0"):
        chance_distances(market, few, synthetic, np.random.default_rng(5), n_runs=0)


def test_level_one_books_of_one_tick_have_no_empty_row_and_no_empty_panel() -> None:
    profile = profile_of(preset("deep_stock"), 2, 1, 1)
    assert profile.n_levels == 1
    assert not profile.spread_varies
    distances = profile_distances(profile, profile_of(preset("deep_stock"), 2, 1, 2))
    assert np.isfinite(distances[["real", "synthetic", "distance"]].to_numpy()).all()
    absent = {"size by level", "mean gap", "gap by level"}
    absent |= {"spread over the day", "spread memory", "spread memory, longer"}
    assert not absent & set(distances.index)
    assert list(profile_lines({"one": profile})) == [
        "depth a side (shares)",
        "autocorrelation of depth",
    ]


def test_a_profile_is_drawn_over_its_own_session() -> None:
    profile = profile_of(a_market(), 3, 4, 1)
    panels = profile_lines({"ours": profile})
    assert set(panels) > {"mean size (shares)", "spread (currency)", "autocorrelation of spread"}
    along, lines = panels["depth a side (shares)"]
    x, y = lines["ours"]
    assert along == "interval of the session"
    assert x == pytest.approx(3.0 + 6.0 * np.arange(13))
    assert y is profile.depth_by_time
    assert panels["mean size (shares)"][1]["ours"][0].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.slow
def test_books_beside_a_preset_are_compared_as_by_hand_and_too_few_are_refused() -> None:
    market, n = a_market(), 78
    states = market.books(4 * n, 4, np.random.default_rng(1))
    table, (real, synthetic) = beside_preset(
        states, market, market.session, n_days=5, n_levels=4, seed=2
    )
    drawn = measure_market(market.books(5 * n, 4, np.random.default_rng(2)), market.session)
    by_hand = profile_distances(measure_market(states, market.session), drawn)
    chance = chance_distances(market, real, synthetic, np.random.default_rng(3))
    # Means and sums of a few hundred terms, whose order is not part of the claim: 1e-12 of each.
    for known in (by_hand[["real", "synthetic", "distance"]], chance):
        pd.testing.assert_frame_equal(table[known.columns], known, rtol=1e-12, atol=1e-12)
    for few, n_days in ((states.take(np.arange(n)), 5), (states, 1)):
        with pytest.raises(
            ValidationError, match="78 of 78 intervals have a usable book, a profile needs 100"
        ):
            beside_preset(few, market, market.session, n_days=n_days, n_levels=4, seed=2)

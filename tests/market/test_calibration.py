"""The measurement finds what was put in; the presets look like the stocks they were measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers import real_data
from scipy import optimize, special

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, SyntheticMarket, read_books
from research_lib.market.calibration import MarketProfile, measure_market, profile_distances
from research_lib.market.presets import PRESETS, latent_persistence, market_like, preset
from research_lib.market.synthetic import DayShape, count_quantile

LOTS = {"thin_stock": 1.0, "wide_spread_stock": 1.0, "deep_stock": 100.0}


REAL = {
    "thin_stock": "databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz",
    "wide_spread_stock": "lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz",
    "deep_stock": "lean_us_equity/tick/bac_20131007_quote.zip",
}


@pytest.fixture(scope="module")
def profiles() -> dict[str, MarketProfile]:
    """Each stock measured once, on first use."""
    return {}


def real_profile(name: str, known: dict[str, MarketProfile]) -> MarketProfile:
    if name not in known:
        known[name] = measure_market(read_books(real_data(REAL[name])))
    return known[name]


def made_up_market() -> SyntheticMarket:
    return SyntheticMarket(
        ModelConfig(base_price=50.0, volatility_factor=0.3, spread_factor=0.1, volume_decay=0.0),
        Session(78),
        depth=500.0,
        dispersion=200.0,
        day_shape=DayShape(2.0, 0.15, 0.5, 1.0),
        spread_dispersion=2.0,
        gap_ticks=(2.0, 3.0),
        level_shape=(1.0, 0.6, 0.8, 0.8),
        spread_persistence=0.6,
        depth_persistence=0.5,
    )


def test_the_measurement_finds_what_was_put_in(rng: np.random.Generator) -> None:
    """80 days of 78 intervals; each bound is four standard deviations of the estimate over 16 seeds, or more."""
    market = made_up_market()
    found = market_like(measure_market(market.books(80 * 78, 4, rng), market.session))
    assert found.depth == pytest.approx(500.0, rel=0.05)
    assert found.dispersion == pytest.approx(200.0, rel=0.06)
    assert found.level_shape == pytest.approx(market.level_shape, rel=0.05)
    assert found.gap_ticks == pytest.approx((2.0, 3.0, 3.0), rel=0.03)
    assert found.spread_dispersion == pytest.approx(2.0, rel=0.14)
    assert found.day_shape.spread_opening == pytest.approx(2.0, rel=0.22)
    assert found.day_shape.spread_settling == pytest.approx(0.15, rel=0.35)
    assert found.day_shape.depth_opening == pytest.approx(0.5, abs=0.12)
    assert found.day_shape.depth_closing == pytest.approx(1.0, abs=0.15)
    assert found.spread_persistence == pytest.approx(0.6, abs=0.045)
    assert found.depth_persistence == pytest.approx(0.5, abs=0.045)
    assert found.config.volatility_factor == pytest.approx(0.3, rel=0.04)
    truth = market.true_curve.half_spread.mean()
    assert found.true_curve.half_spread.mean() == pytest.approx(truth, rel=0.06)


def test_a_profile_counts_by_hand() -> None:
    """120 minutes of one book: spread 2 ticks, gap 3 ticks, no memory and no motion; the first minute locked."""
    n = 120
    time = np.arange(n, dtype=np.int64) * 60 * 10**9 + 1_704_205_800_000_000_000  # 09:30 New York
    bid = np.tile([9.99, 9.96], (n, 1))
    ask = np.tile([10.01, 10.04], (n, 1))
    bid[0] += 0.02
    size = np.tile([100.0, 300.0], (n, 1))
    books = BookSnapshots(time, bid, size, ask, size)
    profile = measure_market(books, Session(120, "09:30", "11:30"), n_parts=4)
    assert profile.n_books == 119
    assert profile.spread == pytest.approx(np.full(119, 0.02))
    assert profile.total_depth.tolist() == [400.0] * 238
    assert profile.level_size.tolist() == [100.0, 300.0]
    assert profile.size_dispersion == pytest.approx([0.0, 0.0], abs=1e-9)
    assert profile.level_gap == pytest.approx([3.0])
    assert profile.volatility == pytest.approx(0.0, abs=1e-9)
    assert profile.spread_by_time == pytest.approx(np.full(4, 0.02))
    assert np.isnan(profile.spread_autocorrelation).all()
    assert profile.spread_dispersion == 0.0


def test_latent_persistence_inverts_a_closed_form() -> None:
    """exp(s z) has correlation (exp(s^2 phi) - 1) / (exp(s^2) - 1)."""
    correlation = (np.exp(0.64 * 0.5) - 1) / (np.exp(0.64) - 1)
    assert latent_persistence(correlation, lambda u: np.exp(0.8 * special.ndtri(u))) == pytest.approx(0.5, abs=1e-6)
    assert latent_persistence(0.3, special.ndtri) == pytest.approx(0.3, abs=1e-9)
    assert latent_persistence(-0.1, special.ndtri) == 0.0
    assert latent_persistence(np.nan, special.ndtri) == 0.0
    # Counts: against 200,000 pairs drawn, standard error 0.002.
    z, e = np.random.default_rng(1).standard_normal((2, 200_000))
    pair = [count_quantile(special.ndtr(x), np.full(len(z), 5.0), 1.0) for x in (z, 0.6 * z + 0.8 * e)]
    seen = np.corrcoef(*pair)[0, 1]
    law = lambda u: count_quantile(u, np.full(u.shape, 5.0), 1.0)  # noqa: E731
    assert latent_persistence(seen, law) == pytest.approx(0.6, abs=0.01)


def test_distances_are_zero_to_itself_and_name_what_differs() -> None:
    market = made_up_market()
    profile = measure_market(market.books(20 * 78, 4, np.random.default_rng(3)), market.session)
    assert (profile_distances(profile, profile)["distance"] < 1e-12).all()
    deeper = dataclasses.replace(market, depth=1_000.0)
    table = profile_distances(
        profile, measure_market(deeper.books(20 * 78, 4, np.random.default_rng(3)), market.session)
    )
    # Twice the depth from the same shocks; the spread, drawn first, is the same.
    assert table.loc["mean depth", "distance"] == pytest.approx(1.0, abs=0.05)
    assert table.loc["depth distribution", "distance"] > 0.5
    assert (table.loc[["mean spread", "spread distribution", "spread memory"], "distance"] < 1e-12).all()


def test_profiles_that_cannot_be_compared_are_refused(rng: np.random.Generator) -> None:
    market = made_up_market()
    four = measure_market(market.books(780, 4, rng), market.session)
    two = measure_market(market.books(780, 2, rng), market.session)
    with pytest.raises(ValidationError, match="4 entries in one profile and 2 in the other"):
        profile_distances(four, two)
    other = dataclasses.replace(market, session=Session(39))
    with pytest.raises(ValidationError, match="78 intervals a session, the other 39"):
        profile_distances(four, measure_market(other.books(780, 4, rng), other.session))
    with pytest.raises(ValidationError, match="78 of 78 intervals have a usable book, a profile needs 100"):
        measure_market(market.books(78, 4, rng), market.session)


def test_presets_answer_to_their_names_and_keep_memory_per_minute() -> None:
    assert set(PRESETS) == {"thin_stock", "wide_spread_stock", "deep_stock"}
    with pytest.raises(ValidationError, match="did you mean 'thin_stock'"):
        preset("thinstock")
    minutes, half_hours = preset("thin_stock"), preset("thin_stock", Session(13))
    assert minutes.depth_persistence**30 == pytest.approx(half_hours.depth_persistence)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_was_measured(name: str, profiles: dict[str, MarketProfile]) -> None:
    """The constants are the measurement, rounded to three digits."""
    measured, kept = market_like(real_profile(name, profiles), lot_size=LOTS[name]), preset(name)
    for field in ("depth", "dispersion", "spread_dispersion", "spread_persistence", "depth_persistence"):
        assert kept[field] == pytest.approx(measured[field], rel=6e-3), field
    for field in ("gap_ticks", "level_shape"):
        assert kept[field] == pytest.approx(measured[field], rel=6e-3), field
    assert kept.config.base_price == pytest.approx(measured.config.base_price, rel=6e-3)
    assert kept.config.volatility_factor == pytest.approx(measured.config.volatility_factor, rel=6e-3)
    assert kept.true_curve.half_spread == pytest.approx(measured.true_curve.half_spread, rel=1.5e-2)
    assert kept.day_shape.depth_opening == pytest.approx(measured.day_shape.depth_opening, rel=6e-3)
    assert kept.day_shape.depth_closing == pytest.approx(measured.day_shape.depth_closing, rel=6e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_close_to_its_stock(name: str, profiles: dict[str, MarketProfile]) -> None:
    """40 synthetic days against the one real day that the preset was measured on.

    - Moments that were matched are off by sampling and rounding only: 5 %, memory 0.05.
    - A day of 389 books, of which memory leaves some 200 independent ones, has a Kolmogorov-Smirnov distance of up
      to 1.36 / sqrt(200) = 0.10 to its own law. Depth is a little further: round lots, bids unlike asks, and for
      GOOG a heavier tail than the negative binomial's (0.10 to 0.11 whatever the seed): 0.13.
    - What the preset has of the day's shape and of memory beyond lag 1 is tested below, against markets without.
    """
    real = real_profile(name, profiles)
    n_levels = len(real.level_size)
    synthetic = measure_market(preset(name).books(40 * 390, n_levels, np.random.default_rng(1)))
    distance = profile_distances(real, synthetic)["distance"]
    facts = ["mean spread", "mean depth", "volatility", "size dispersion", "size by level"]
    facts += ["mean gap", "gap by level"] if n_levels > 1 else []
    assert (distance[[*facts, "spread memory", "depth memory"]] < 0.05).all(), distance
    assert distance["spread distribution"] < 0.10
    assert distance["depth distribution"] < 0.13


# Of the day's shape and of memory: the facts in which a preset comes closer to its stock than a market without either.
# Not among them, and so not claimed:
# - thin_stock: depth over the day (0.12, flat 0.13); longer memory of the spread (0.08, memoryless 0.11).
# - wide_spread_stock: depth over the day (0.10, flat 0.11); longer memory of the spread (0.06, 0.06)
#   and of depth (0.15, 0.18).
# - deep_stock: everything of its spread, which is one tick, with and without.
BEATS_A_FLAT_DAY = {
    "thin_stock": {"spread over the day"},
    "wide_spread_stock": {"spread over the day"},
    "deep_stock": {"depth over the day"},
}
BEATS_NO_MEMORY = {
    "thin_stock": {"spread memory", "depth memory", "depth memory, longer"},
    "wide_spread_stock": {"spread memory", "depth memory"},
    "deep_stock": {"depth memory", "depth memory, longer"},
}
MARGIN = 2 / 3


def flat_day(market: SyntheticMarket) -> SyntheticMarket:
    """The market with the same mean spread and depth all day."""
    fraction = (np.arange(market.session.n_intervals) + 0.5) / market.session.n_intervals
    depth = market.depth * float(market.day_shape.depth(fraction).mean())
    return dataclasses.replace(market, depth=depth, day_shape=DayShape(0.0, 0.1, 0.0, 0.0))


def memoryless(market: SyntheticMarket) -> SyntheticMarket:
    return dataclasses.replace(market, spread_persistence=0.0, depth_persistence=0.0)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("without", "facts", "beaten"),
    [
        (flat_day, ["spread over the day", "depth over the day"], BEATS_A_FLAT_DAY),
        (
            memoryless,
            ["spread memory", "depth memory", "spread memory, longer", "depth memory, longer"],
            BEATS_NO_MEMORY,
        ),
    ],
)
def test_day_shape_and_memory_bring_a_preset_closer_where_it_says_so(
    name: str,
    without: Callable[[SyntheticMarket], SyntheticMarket],
    facts: list[str],
    beaten: dict[str, set[str]],
    profiles: dict[str, MarketProfile],
) -> None:
    """To beat is to have less than two thirds of the other market's distance; where it does not is named, and held to.

    The margin was set after looking: over seeds 1 to 4 the ratio of distances is below 0.55 where it is claimed and
    above 0.68 where it is not. The reasons are half-hour means of a single real day, and an autoregression of order
    one where real depth forgets more slowly.
    """
    real = real_profile(name, profiles)

    def distance(market: SyntheticMarket) -> pd.Series:
        books = market.books(40 * 390, len(real.level_size), np.random.default_rng(1))
        return profile_distances(real, measure_market(books))["distance"][facts]

    kept, plain = distance(preset(name)), distance(without(preset(name)))
    assert set(kept.index[kept < MARGIN * plain]) == beaten[name], (kept, plain)


# Mean error of slippage, at most, of the best curve impact = beta x + alpha x^2 through the true one.
MISFIT = {"thin_stock": 0.02, "wide_spread_stock": 0.07, "deep_stock": 0.12}


@pytest.mark.parametrize("name", PRESETS)
def test_the_fit_recovers_the_true_curve(name: str, rng: np.random.Generator) -> None:
    """300 days of half-hours: the fit is the family's best approximation of the truth, up to sampling noise.

    The family cannot be the truth (a walk is flat up to the best level's size), so there are two bounds: to the
    truth, the family's own misfit; to the nearest curve of the family, by the same least squares on the truth, four
    standard errors, as the fits to ten blocks of 30 days scatter.
    """
    market = preset(name, Session(13))
    curve = market.true_curve
    typical = curve.level_mean[:, 0].mean()
    sizes = np.round(typical * np.array([0.25, 0.5, 1.0, 2.0, 4.0]))
    books = market.books(300 * 13, 30, rng)
    truth = np.array([curve.impact(x) for x in sizes])  # (K, 13)
    design = np.column_stack([sizes, sizes**2]) / typical
    nearest = np.column_stack([design @ optimize.nnls(design, impact)[0] for impact in truth.T])

    def fitted(part: BookSnapshots) -> np.ndarray:
        slippage = slippage_curves(part, sizes, "buy")
        fit = fit_impact(slippage, "nonlinear", session=market.session, test_fraction=0)
        return np.array([fit.curve.slippage(x) for x in sizes])

    found = fitted(books)
    blocks = np.array([fitted(books.take(rows)) for rows in np.split(np.arange(len(books)), 10)])
    misfit, error = (
        np.mean(ratio - 1, axis=1)
        for ratio in (
            (curve.half_spread + nearest) / (curve.half_spread + truth),
            found / (curve.half_spread + nearest),
        )
    )
    scatter = np.mean(blocks / found, axis=2).std(axis=0, ddof=1) / np.sqrt(len(blocks))
    assert np.all(np.abs(misfit) < MISFIT[name]), misfit
    assert np.all(np.abs(error) < 4 * scatter), (error, scatter)
    assert scatter.max() < 0.02

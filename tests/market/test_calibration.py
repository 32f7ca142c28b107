"""The measurement finds what was put in; the presets look like the stocks they were measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers import real_data
from market.distances import chance_distances, profile_distances
from scipy import optimize, special

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import (
    PRESETS,
    BookSnapshots,
    DayShape,
    MarketProfile,
    Memory,
    Session,
    SyntheticMarket,
    count_quantile,
    market_like,
    measure_market,
    preset,
    read_books,
)
from research_lib.studies import latent_correlation, latent_memory, price_grid

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
        day_shape=DayShape(2.0, 0.15, 0.5, 1.0, 2.0, 8.0),
        spread_dispersion=2.0,
        gap_ticks=(2.0, 3.0),
        level_shape=(1.0, 0.6, 0.8, 0.8),
        spread_memory=Memory(1.5),
        depth_memory=Memory(0.6, 10.0, 0.4),
    )


@pytest.mark.slow
def test_the_measurement_finds_what_was_put_in(rng: np.random.Generator) -> None:
    """80 days of 78 intervals; each bound is four standard deviations of the estimate over 16 seeds, or more."""
    market = made_up_market()
    found = market_like(measure_market(market.books(80 * 78, 4, rng), market.session))
    assert found.depth == pytest.approx(500.0, rel=0.09)
    assert found.dispersion == pytest.approx(200.0, rel=0.06)
    assert found.level_shape == pytest.approx(market.level_shape, rel=0.10)
    assert found.gap_ticks == pytest.approx((2.0, 3.0, 3.0), rel=0.03)
    assert found.spread_dispersion == pytest.approx(2.0, rel=0.14)
    assert found.day_shape.spread_opening == pytest.approx(2.0, rel=0.22)
    assert found.day_shape.spread_settling == pytest.approx(0.15, rel=0.35)
    assert found.day_shape.depth_opening == pytest.approx(0.5, abs=0.12)
    assert found.day_shape.depth_closing == pytest.approx(1.0, abs=0.25)
    assert found.day_shape.opening_steepness == pytest.approx(2.0, abs=0.8)
    assert found.day_shape.closing_steepness == pytest.approx(8.0, abs=3.5)
    lags = [1, 2, 5, 10, 20]
    for name, memory in (
        ("spread_memory", market.spread_memory),
        ("depth_memory", market.depth_memory),
    ):
        assert found[name].autocorrelation(lags) == pytest.approx(
            memory.autocorrelation(lags), abs=0.08
        ), name
    assert found.depth_memory.half_life == pytest.approx(0.6, abs=0.14)
    assert found.depth_memory.slow_half_life == pytest.approx(10.0, rel=0.6)
    assert found.depth_memory.slow_share == pytest.approx(0.4, abs=0.1)
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
    profile = measure_market(books, Session(120, "09:30", "11:30"))
    assert profile.n_books == 119
    assert profile.spread == pytest.approx(np.full(119, 0.02))
    assert profile.total_depth.tolist() == [400.0] * 238
    assert profile.level_size.tolist() == [100.0, 300.0]
    assert profile.size_dispersion == pytest.approx([0.0, 0.0], abs=1e-9)
    assert profile.level_gap == pytest.approx([3.0])
    assert profile.volatility == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(profile.spread_autocorrelation).all()
    assert profile.spread_dispersion == 0.0


def ticking(tick: float, rng: np.random.Generator, n: int = 390) -> BookSnapshots:
    """390 minutes of three levels on the grid of a tick, spread 2 to 4 ticks."""
    time = Session(390).starts([SyntheticMarket().first_day]).ravel()[:n]
    bid = (
        4_000
        + np.cumsum(rng.integers(-2, 3, n))[:, None]
        - np.cumsum(rng.integers(1, 4, (n, 3)), axis=1)
    )
    ask = (
        bid[:, :1] + rng.integers(2, 5, (n, 1)) + np.cumsum(rng.integers(1, 4, (n, 3)), axis=1) - 1
    )
    size = rng.integers(1, 50, (2, n, 3)).astype(float)
    return BookSnapshots(time, bid * tick, size[0], ask * tick, size[1])


@pytest.mark.parametrize("tick", [0.25, 0.01, 0.0001, 0.5, 1 / 64, 5.0, 1e-7])
def test_the_tick_is_found_from_the_prices(tick: float, rng: np.random.Generator) -> None:
    books = ticking(tick, rng)
    assert measure_market(books).tick == pytest.approx(tick, rel=1e-9)
    assert measure_market(books).level_gap == pytest.approx([2.0, 2.0], rel=0.1)
    stray = books.ask_price.copy()
    stray[7, 2] += 0.3 * tick  # one of 2,700 steps and more
    assert price_grid(dataclasses.replace(books, ask_price=stray)) == pytest.approx(tick, rel=1e-9)


def test_prices_on_no_grid_are_refused(rng: np.random.Generator) -> None:
    books = ticking(0.0001, rng)
    adjusted = {
        name: books[name] * (1 + 0.01 * rng.random((390, 1))) for name in ("bid_price", "ask_price")
    }
    adjusted = {name: 1e4 * values for name, values in adjusted.items()}
    with pytest.raises(ValidationError, match="prices lie on no grid"):
        measure_market(dataclasses.replace(books, **adjusted))


def lognormal_quantile(uniform: np.ndarray) -> np.ndarray:
    return np.exp(0.8 * special.ndtri(uniform))


def lognormal_correlation(latent: np.ndarray) -> np.ndarray:
    """exp(s z) has correlation (exp(s^2 phi) - 1) / (exp(s^2) - 1)."""
    return np.expm1(0.64 * latent) / np.expm1(0.64)


@pytest.mark.slow
def test_latent_correlation_inverts_a_closed_form() -> None:
    latent = np.array([0.01, 0.3, 0.5, 0.9])
    assert latent_correlation(lognormal_correlation(latent), lognormal_quantile) == pytest.approx(
        latent, abs=1e-6
    )
    assert latent_correlation(np.array([0.3, -0.1]), special.ndtri) == pytest.approx(
        [0.3, -0.1], abs=1e-6
    )
    # Counts: against 200,000 pairs drawn, standard error 0.002.
    z, e = np.random.default_rng(1).standard_normal((2, 200_000))
    pair = [
        count_quantile(special.ndtr(x), np.full(len(z), 5.0), 1.0) for x in (z, 0.6 * z + 0.8 * e)
    ]
    seen = np.corrcoef(*pair)[:1, 1]
    law = lambda u: count_quantile(u, np.full(u.shape, 5.0), 1.0)  # noqa: E731
    assert latent_correlation(seen, law) == pytest.approx([0.6], abs=0.01)


@pytest.mark.parametrize(
    "memory", [Memory(0.7, 9.0, 0.5), Memory(2.0), Memory(0.0, 5.0, 0.3), Memory(1.0, 20.0, 0.2)]
)
def test_latent_memory_is_found_from_its_autocorrelation(memory: Memory) -> None:
    """Half-lives lie on a grid of steps of 5 %; so the autocorrelation comes back to 0.01 at every lag."""
    lags = np.arange(1, 31)
    seen = lognormal_correlation(memory.autocorrelation(lags))
    found = latent_memory(seen, lognormal_quantile)
    assert found.autocorrelation(lags) == pytest.approx(memory.autocorrelation(lags), abs=0.01)
    seen[4] = np.nan
    found = latent_memory(seen, lognormal_quantile)
    assert found.autocorrelation(lags) == pytest.approx(memory.autocorrelation(lags), abs=0.01)


def test_no_autocorrelation_is_no_memory() -> None:
    for first in (-0.1, 0.0, np.nan):
        assert latent_memory(np.array([first, 0.3, 0.2]), special.ndtri) == Memory(0.0)


@pytest.mark.parametrize(("opening", "closing"), [(2.0, 64.0), (8.0, 1.0)])
def test_the_day_shape_of_noiseless_depth_is_exact(opening: float, closing: float) -> None:
    """Sizes of 1e6 times the shape: its four numbers come back to the rounding of prices and sizes."""
    session = Session(390)
    shape = DayShape(0.0, 0.1, 0.5, 2.0, opening, closing)
    size = 1e6 * shape.depth((np.arange(390) + 0.5) / 390)[:, None]
    time = session.starts([SyntheticMarket().first_day]).ravel()
    price = np.full((390, 1), 10.0)
    found = measure_market(BookSnapshots(time, price - 0.01, size, price, size), session).day_shape
    for name in ("depth_opening", "depth_closing", "opening_steepness", "closing_steepness"):
        assert found[name] == pytest.approx(shape[name], rel=1e-6), name


def test_presets_answer_to_their_names_and_keep_memory_per_minute() -> None:
    assert set(PRESETS) == {"thin_stock", "wide_spread_stock", "deep_stock"}
    with pytest.raises(ValidationError, match="did you mean 'thin_stock'"):
        preset("thinstock")
    minutes, half_hours = preset("thin_stock"), preset("thin_stock", Session(13))
    after = minutes.depth_memory.autocorrelation([30, 60])
    assert half_hours.depth_memory.autocorrelation([1, 2]) == pytest.approx(after)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_a_preset_is_what_was_measured(name: str, profiles: dict[str, MarketProfile]) -> None:
    """The constants are the measurement, rounded to three digits.

    Half the last digit is at most 0.5 %. The spread of one tick is kept a little below a tick: 2.8 %, as is its
    settling time, which a flat spread does not determine.
    """
    measured, kept = market_like(real_profile(name, profiles), lot_size=LOTS[name]), preset(name)
    for field in (
        "depth",
        "dispersion",
        "spread_dispersion",
        "gap_ticks",
        "level_shape",
        "lot_size",
    ):
        assert kept[field] == pytest.approx(measured[field], rel=6e-3), field
    for part in ("spread_memory", "depth_memory", "day_shape"):
        for field in kept[part].keys():
            if field != "spread_settling" or kept.day_shape.spread_opening > 0:
                assert kept[part][field] == pytest.approx(measured[part][field], rel=6e-3), (
                    part,
                    field,
                )
    assert kept.config.base_price == pytest.approx(measured.config.base_price, rel=6e-3)
    assert kept.config.volatility_factor == pytest.approx(
        measured.config.volatility_factor, rel=6e-3
    )
    assert kept.config.spread_factor == pytest.approx(measured.config.spread_factor, rel=2.8e-2)
    assert kept.true_curve.half_spread == pytest.approx(measured.true_curve.half_spread, rel=1.5e-2)


SYNTHETIC_DAYS = 40
MATCHED = [
    "mean spread",
    "mean depth",
    "volatility",
    "size dispersion",
    "size by level",
    "mean gap",
    "gap by level",
]
# What lies at the edge of chance or beyond, by the seed, with the bound it is held to: the law of FROG's spread is not
# quite a negative binomial's (0.08), the tail of GOOG's depth is heavier (0.09 to 0.10).
BEYOND_CHANCE = {
    "thin_stock": {"spread distribution": 0.10},
    "wide_spread_stock": {"depth distribution": 0.12},
}


def drawn(market: SyntheticMarket, n_levels: int) -> MarketProfile:
    return measure_market(market.books(SYNTHETIC_DAYS * 390, n_levels, np.random.default_rng(1)))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_a_preset_is_no_further_from_its_stock_than_from_itself(
    name: str, profiles: dict[str, MarketProfile]
) -> None:
    """Every distance of the real day is below the largest of 19 days of the preset itself, what is named apart.

    Moments that were matched are closer still: off by sampling of 40 days and by rounding, 5 %.
    """
    real, synthetic = (
        real_profile(name, profiles),
        drawn(preset(name), len(real_profile(name, profiles).level_size)),
    )
    distance = profile_distances(real, synthetic)["distance"]
    limit = chance_distances(preset(name), real, synthetic, np.random.default_rng(2))["chance_high"]
    beyond = BEYOND_CHANCE.get(name, {})
    assert set(distance.index[distance > limit + 1e-9]) <= set(beyond), pd.concat(
        [distance, limit], axis=1
    )
    assert all(distance[fact] < bound for fact, bound in beyond.items())
    assert (distance[distance.index.intersection(MATCHED)] < 0.05).all(), distance


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_a_preset_remembers_for_minutes_as_its_stock_does(
    name: str, profiles: dict[str, MarketProfile]
) -> None:
    """Depth's mean autocorrelation at lags 2 to 10, within 0.05 of the real day's.

    0.05 = 1 / sqrt(389) is the standard error of one autocorrelation of a day without memory. A single
    autoregression through lag 1, which the presets were, misses GOOG by 0.12 and FROG by 0.13.
    """
    real = real_profile(name, profiles)
    target = real.depth_autocorrelation[1:10].mean()
    assert drawn(preset(name), len(real.level_size)).depth_autocorrelation[
        1:10
    ].mean() == pytest.approx(target, abs=0.05)
    if name == "deep_stock":
        return
    one = Memory(-1.0 / np.log2(preset(name).depth_memory.autocorrelation(1)))
    forgetful = dataclasses.replace(preset(name), depth_memory=one)
    assert drawn(forgetful, len(real.level_size)).depth_autocorrelation[1:10].mean() < target - 0.08


# Of the day's shape and of memory: the facts in which a preset comes closer to its stock than a market without either.
# Not among them, and so not claimed:
# - thin_stock: longer memory of the spread (0.07, memoryless 0.11; the ratio is 0.60 to 0.74 by the seed).
# - wide_spread_stock: longer memory of the spread (0.05, memoryless 0.06), of which GOOG has hardly any.
# - deep_stock: everything of its spread, which is one tick, with and without, and so has no row.
BEATS_A_FLAT_DAY = {
    "thin_stock": {"spread over the day", "depth over the day"},
    "wide_spread_stock": {"spread over the day", "depth over the day"},
    "deep_stock": {"depth over the day"},
}
BEATS_NO_MEMORY = {
    "thin_stock": {"spread memory", "depth memory", "depth memory, longer"},
    "wide_spread_stock": {"spread memory", "depth memory", "depth memory, longer"},
    "deep_stock": {"depth memory", "depth memory, longer"},
}
MARGIN = 0.7


def flat_day(market: SyntheticMarket) -> SyntheticMarket:
    """The market with the same mean spread and depth all day."""
    fraction = (np.arange(market.session.n_intervals) + 0.5) / market.session.n_intervals
    depth = market.depth * float(market.day_shape.depth(fraction).mean())
    return dataclasses.replace(market, depth=depth, day_shape=DayShape(0.0, 0.1, 0.0, 0.0))


def memoryless(market: SyntheticMarket) -> SyntheticMarket:
    return dataclasses.replace(market, spread_memory=Memory(0.0), depth_memory=Memory(0.0))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("without", "beaten"), [(flat_day, BEATS_A_FLAT_DAY), (memoryless, BEATS_NO_MEMORY)]
)
@pytest.mark.slow
def test_day_shape_and_memory_bring_a_preset_closer_where_it_says_so(
    name: str,
    without: Callable[[SyntheticMarket], SyntheticMarket],
    beaten: dict[str, set[str]],
    profiles: dict[str, MarketProfile],
) -> None:
    """To beat is to have less than 0.7 of the other market's distance.

    The bound was set after looking: over six seeds the ratios are below 0.65 for depth over the day of FROG and GOOG,
    below 0.45 for all else.
    """
    real = real_profile(name, profiles)
    kept, plain = (
        profile_distances(real, drawn(market, len(real.level_size)))["distance"]
        for market in (preset(name), without(preset(name)))
    )
    facts = sorted(beaten[name])
    assert (kept[facts] < MARGIN * plain[facts]).all(), (kept[facts], plain[facts])


@pytest.mark.parametrize("name", ["thin_stock", "wide_spread_stock"])
@pytest.mark.slow
def test_one_day_by_half_hours_does_not_tell_depth_from_a_flat_day(
    name: str, profiles: dict[str, MarketProfile]
) -> None:
    """The limit of the claim above: the real distance to a flat market is one that a flat market has to itself."""
    real, flat = real_profile(name, profiles), flat_day(preset(name))
    synthetic = drawn(flat, len(real.level_size))
    limit = chance_distances(flat, real, synthetic, np.random.default_rng(3)).loc[
        "depth over the day", "chance_high"
    ]
    assert profile_distances(real, synthetic).loc["depth over the day", "distance"] < limit


@pytest.mark.slow
def test_the_surge_before_the_close_is_no_chance(profiles: dict[str, MarketProfile]) -> None:
    """FROG's last minute shows over three times its mean depth; of 400 flat days none comes near."""
    books = read_books(real_data(REAL["thin_stock"])).sample(Session())
    depth = books.bid_size.sum(axis=1) + books.ask_size.sum(axis=1)
    flat = flat_day(preset("thin_stock")).books(400 * 390, 10, np.random.default_rng(4))
    by_day = (flat.bid_size.sum(axis=1) + flat.ask_size.sum(axis=1)).reshape(400, 390)
    assert depth[-1] / depth.mean() > 3.0
    assert (by_day[:, -1] / by_day.mean(axis=1)).max() < 2.5


# Mean error of slippage, at most, of the best curve impact = beta x + alpha x^2 through the true one.
MISFIT = {"thin_stock": 0.02, "wide_spread_stock": 0.07, "deep_stock": 0.12}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
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


@pytest.mark.parametrize("price", [1e-8, 1.0, 1e9])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e9])
def test_a_profile_and_its_market_do_not_depend_on_the_units(
    price: float, size: float, rng: np.random.Generator
) -> None:
    books = made_up_market().books(5 * 78, 4, rng)
    session = Session(78)
    whole = market_like(measure_market(books, session), lot_size=1.0)
    arrays = {
        f"{side}_{kind}": books[f"{side}_{kind}"] * scale
        for side in ("bid", "ask")
        for kind, scale in (("price", price), ("size", size))
    }
    scaled = dataclasses.replace(books, **arrays)
    found = market_like(measure_market(scaled, session), lot_size=size)
    assert found.tick == pytest.approx(0.01 * price, rel=1e-8)
    assert found.depth == pytest.approx(whole.depth * size)
    assert found.gap_ticks == pytest.approx(whole.gap_ticks, rel=1e-6)
    assert found.day_shape.depth_closing == pytest.approx(whole.day_shape.depth_closing, rel=1e-5)
    lags = np.arange(1, 11)
    remembered = whole.spread_memory.autocorrelation(lags)
    assert found.spread_memory.autocorrelation(lags) == pytest.approx(remembered, abs=1e-6)
    again = found.books(78, 4, np.random.default_rng(1))
    once = whole.books(78, 4, np.random.default_rng(1))
    assert again.half_spread / price == pytest.approx(once.half_spread, rel=1e-6)
    assert again.ask_size / size == pytest.approx(once.ask_size, rel=1e-9)


DENSE = [(price, tick) for price in (1e-7, 30.0, 250_000.0) for tick in (1e-3, 1e-4, 1 / 2048)]


@pytest.mark.parametrize(("price", "tick"), DENSE)
def test_a_market_of_gaps_of_one_tick_is_made_again(
    price: float, tick: float, rng: np.random.Generator
) -> None:
    """Binary rounding makes one tick 0.99999 of one; no market has gaps below one."""
    config = ModelConfig(base_price=price, volatility_factor=0.3, spread_factor=0.02)
    market = SyntheticMarket(config, Session(78), tick=price * tick, depth=0.05, lot_size=1e-4)
    found = market_like(measure_market(market.books(390, 5, rng), market.session))
    assert found.gap_ticks == pytest.approx((1.0,) * 4)
    assert found.tick == pytest.approx(price * tick, rel=1e-8)
    assert found.depth == pytest.approx(0.05, rel=0.5)

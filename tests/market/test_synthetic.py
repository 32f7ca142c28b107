"""The market whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.impact import slippage_curves
from research_lib.market import (
    PRESETS,
    BookSnapshots,
    DayShape,
    Memory,
    Session,
    SyntheticMarket,
    preset,
)


def test_the_same_seed_gives_the_same_books() -> None:
    market = SyntheticMarket(session=Session(13))
    first, second = (market.books(26, 5, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first.ask_size, second.ask_size)
    assert not np.array_equal(
        first.ask_size, market.books(26, 5, np.random.default_rng(2)).ask_size
    )


@pytest.mark.slow
def test_true_curve_is_the_mean_of_walking_many_books(rng: np.random.Generator) -> None:
    """The closed form against 40,000 drawn books, within four standard errors of the mean."""
    session = Session(10)
    # 4,000 days: a volatility at which the price stays well above zero, and the spread of 20 % a year.
    market = SyntheticMarket(
        ModelConfig(volatility_factor=0.02, spread_factor=0.1, volume_decay=0.02),
        session,
        depth=80.0,
        dispersion=60.0,
    )
    books = market.books(40_000, 60, rng)
    for shares in (40.0, 150.0, 350.0):
        curves = slippage_curves(books, [shares], "buy")
        assert not curves.censored.any()
        for t in range(10):
            seen = curves.slippage[t::10, 0]
            truth = market.true_curve.slippage(shares)[t]
            assert abs(seen.mean() - truth) < 4 * seen.std() / np.sqrt(len(seen)), (shares, t)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_true_curve_of_a_preset_is_the_mean_over_books_that_remember(
    name: str, rng: np.random.Generator
) -> None:
    """Days are independent, intervals are not: the mean error of each day is one observation, 400 of them, 4 errors."""
    session = Session(13)
    memory = Memory(1.0, 20.0, 0.6)  # of a correlation of 0.8 at lag 1, 0.4 at the end of the day
    market = dataclasses.replace(preset(name, session), spread_memory=memory, depth_memory=memory)
    books = market.books(400 * 13, 60, rng)
    for levels in (1.0, 2.0, 4.0):  # where paying more is common enough for normal errors
        shares = float(levels * market.true_curve.level_mean[:, 0].mean())
        curves = slippage_curves(books, [shares], "sell")
        assert not curves.censored.any()
        error = curves.slippage[:, 0].reshape(400, 13) - market.true_curve.slippage(shares)
        assert abs(error.mean()) < 4 * error.mean(axis=1).std() / np.sqrt(400), shares
        by_interval = np.abs(error.mean(axis=0)) / (error.std(axis=0) / np.sqrt(400) + 1e-12)
        assert by_interval.max() < 4.5, shares  # 117 comparisons: beyond 4.5 once in 1,300 runs


def test_true_curve_by_hand_for_an_order_within_the_first_share() -> None:
    curve = SyntheticMarket(session=Session(4)).true_curve
    assert curve.impact(1.0) == pytest.approx(np.zeros(4), abs=1e-15)
    assert curve.cost(0.0) == pytest.approx(np.zeros(4), abs=1e-15)


def test_true_curve_by_hand_for_levels_of_one_lot() -> None:
    """Next to nothing beyond the first lot: 250 shares are 100 at the touch, 100 at +2 ticks, 50 at +5."""
    market = SyntheticMarket(
        ModelConfig(spread_factor=0.0),
        Session(2),
        depth=1e-9,
        dispersion=1e-9,
        lot_size=100.0,
        gap_ticks=(2.0, 3.0),
        day_shape=DayShape(0.0, 0.1, 0.0, 0.0),
    )
    assert market.true_curve.cost(250.0) == pytest.approx(
        250 * 0.005 + 100 * 0.02 + 50 * 0.05, rel=1e-6
    )


@pytest.mark.parametrize("name", PRESETS)
def test_true_curve_ends_before_its_levels_do(name: str) -> None:
    """Premium over the touch is convex in x up to the limit, as every further share pays at least as much; then NaN."""
    curve = preset(name, Session(4)).true_curve
    limit = curve.largest_order
    assert limit.shape == (4,)
    premium = np.array([x * curve.impact(x) for x in np.linspace(0.0, 1.0, 41)[:, None] * limit])
    assert np.isfinite(premium).all()
    assert np.diff(premium, 2, axis=0).min() > -1e-9 * premium.max()
    # Slippage an extra share keeps rising at the limit as it did halfway: no level is missing.
    rise = np.diff(premium, axis=0)
    assert np.all(rise[-1] - rise[-11] > 0.95 * (rise[20] - rise[10]))
    for method in (curve.impact, curve.slippage, curve.cost):
        assert np.isnan(method(1.001 * limit)).all()


def test_true_curve_is_known_interval_by_interval() -> None:
    curve = preset("thin_stock", Session(4)).true_curve
    between = float(np.sort(curve.largest_order)[1:3].mean())
    assert np.array_equal(np.isnan(curve.cost(between)), curve.largest_order < between)
    assert np.isnan(curve.cost(between)).sum() == 2


@pytest.mark.slow
def test_the_limit_of_the_true_curve_is_filled_by_200_levels(rng: np.random.Generator) -> None:
    """A normal sum falls four deviations below its mean once in 31,000 times: not in 2,600 books of two sides."""
    market = preset("thin_stock", Session(13))
    books = market.books(13 * 200, 200, rng)
    limit = np.tile(market.true_curve.largest_order, 200)
    assert (books.bid_size.sum(axis=1) > limit).all()
    assert (books.ask_size.sum(axis=1) > limit).all()


def test_settings_move_what_they_name(rng: np.random.Generator) -> None:
    session = Session(390)

    def books(**settings: float) -> object:
        return SyntheticMarket(ModelConfig(**settings), session).books(
            390, 10, np.random.default_rng(5)
        )  # type: ignore[arg-type]

    calm, wild = books(volatility_factor=0.2), books(volatility_factor=0.8)
    assert np.diff(np.log(wild.mid)).std() > 3 * np.diff(np.log(calm.mid)).std()  # type: ignore[attr-defined]
    narrow, wide = books(spread_factor=0.01), books(spread_factor=0.03)
    assert wide.half_spread.mean() > 2 * narrow.half_spread.mean()  # type: ignore[attr-defined]
    flat, steep = books(volume_decay=0.0), books(volume_decay=0.3)
    ratio = [b.ask_size[:, 9].mean() / b.ask_size[:, 0].mean() for b in (flat, steep)]  # type: ignore[attr-defined]
    assert ratio[0] == pytest.approx(1.0, abs=0.15)
    assert ratio[1] == pytest.approx(np.exp(-2.7), rel=0.25)
    assert books(base_price=20.0).mid[0] == pytest.approx(20.0, rel=0.01)  # type: ignore[attr-defined]


def test_the_day_is_deep_at_both_ends_and_wide_at_the_opening() -> None:
    curve = SyntheticMarket().true_curve
    depth = curve.level_mean[:, 0]
    assert min(depth[0], depth[-1]) > 1.8 * depth[195]
    assert curve.half_spread[0] > 2 * curve.half_spread[195]


def test_prices_lie_on_the_tick_grid_and_books_never_cross(rng: np.random.Generator) -> None:
    books = SyntheticMarket().books(780, 20, rng)
    assert np.allclose(books.ask_price * 100, np.rint(books.ask_price * 100), atol=1e-6)
    assert (books.half_spread > 0).all()
    assert books.quality["unordered_levels"] == 0
    assert (books.bid_size >= 1).all()


def test_days_follow_business_days() -> None:
    books = SyntheticMarket(session=Session(2)).books(10, 1, np.random.default_rng(0))
    days = [str(day) for day in books.days(Session(2))]
    assert days == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"]


def test_a_price_too_low_for_its_levels_is_refused() -> None:
    with pytest.raises(ValidationError, match="raise base_price"):
        SyntheticMarket(ModelConfig(base_price=0.1)).books(1, 20, np.random.default_rng(0))


def _days(books: BookSnapshots, values: np.ndarray, n_intervals: int) -> np.ndarray:
    """(days, intervals) of whole days."""
    assert len(books) % n_intervals == 0
    return values.reshape(-1, n_intervals)


@pytest.mark.slow
def test_memory_leaves_the_law_of_a_single_book_alone(rng: np.random.Generator) -> None:
    """Mean and variance of spread and size with and without memory, within four errors over independent days."""
    session = Session(13)
    moments = []
    for memory in (Memory(0.0), Memory(2.0, 30.0, 0.5)):
        market = SyntheticMarket(
            ModelConfig(volatility_factor=0.02, spread_factor=0.3),
            session,
            spread_dispersion=1.5,
            spread_memory=memory,
            depth_memory=memory,
        )
        books = market.books(3_000 * 13, 2, rng)
        for values in (200 * books.half_spread, books.ask_size[:, 1]):
            by_day = _days(books, values, 13)
            centred = (by_day - by_day.mean(axis=0)) ** 2
            moments += [
                (m.mean(), m.mean(axis=1).std() / np.sqrt(len(m))) for m in (by_day, centred)
            ]
    for (plain, error), (remembering, other) in zip(moments[:4], moments[4:], strict=True):
        assert abs(plain - remembering) < 4 * np.hypot(error, other)


@pytest.mark.slow
def test_the_latent_memory_is_there_and_ends_with_the_day(rng: np.random.Generator) -> None:
    """Sizes of gamma shape 40 are all but normal: their correlation is that of the latents, fast and slow."""
    depth_memory = Memory(
        1.0, 6.0, 0.5
    )  # 0.70, ..., 0.42 at lag 3, where the fast part alone has 0.06
    market = SyntheticMarket(
        ModelConfig(volatility_factor=0.02, spread_factor=3.0),
        Session(4),
        depth=4_000.0,
        dispersion=100.0,
        spread_memory=Memory(0.75),
        depth_memory=depth_memory,
    )
    books = market.books(10_000 * 4, 2, rng)
    size, spread = (_days(books, v, 4) for v in (books.ask_size[:, 1], books.half_spread))
    error = 4 / np.sqrt(10_000)
    for lag in (1, 2, 3):
        expected = 0.5 * 0.5**lag + 0.5 * 0.5 ** (lag / 6)
        assert depth_memory.autocorrelation(lag) == pytest.approx(expected)
        assert np.corrcoef(size[:, 0], size[:, lag])[0, 1] == pytest.approx(
            expected, abs=error + 0.01
        ), lag
    assert np.corrcoef(spread[:, 1], spread[:, 2])[0, 1] == pytest.approx(
        0.5 ** (1 / 0.75), abs=error + 0.01
    )
    assert abs(np.corrcoef(size[:-1, 3], size[1:, 0])[0, 1]) < error
    # Levels, sides and spread have memories of their own: cumulative depth keeps its closed form.
    others = (books.ask_size[:, 0], books.bid_size[:, 1], books.half_spread)
    for other in others:
        # The day shape moves all of them, so one time of day is looked at.
        assert abs(np.corrcoef(size[:, 2], _days(books, other, 4)[:, 2])[0, 1]) < error


def test_gaps_and_lots_are_what_they_say(rng: np.random.Generator) -> None:
    market = SyntheticMarket(session=Session(13), gap_ticks=(3.0, 1.0), lot_size=100.0)
    books = market.books(13 * 200, 4, rng)
    gaps = np.rint(np.diff(books.ask_price, axis=1) / 0.01)
    # Geometric of mean 3: variance 6.
    assert abs(gaps[:, 0].mean() - 3.0) < 4 * np.sqrt(6 / len(gaps))
    assert gaps[:, 0].min() == 1
    assert (gaps[:, 1:] == 1).all()
    assert (books.bid_size % 100 == 0).all()
    assert books.bid_size.min() == 100


def test_a_stock_at_its_tick_never_shows_a_wider_spread(rng: np.random.Generator) -> None:
    books = preset("deep_stock").books(3_900, 1, rng)
    assert np.allclose(books.half_spread, 0.005)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gap_ticks": (2.0, 0.5)}, "gap_ticks must be at least 1, got .*0.5"),
        ({"level_shape": (0.0,)}, "level_shape must be above 0"),
        ({"spread_dispersion": -1.0}, "spread_dispersion must be at least 0"),
    ],
)
def test_parameters_beyond_their_limits_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        SyntheticMarket(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_life": -1.0}, "half_life must be at least 0"),
        ({"slow_half_life": np.nan}, "slow_half_life must be"),
        ({"slow_share": 1.5}, "slow_share must be at most 1, got 1.5"),
    ],
)
def test_memory_beyond_its_limits_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Memory(**settings)


def test_memory_per_interval_is_that_of_the_clock() -> None:
    """Every fifth value of one-minute latents is a latent of five-minute intervals."""
    memory = Memory(2.0, 30.0, 0.3)
    assert memory.per_interval(5.0).autocorrelation([1, 2, 7]) == pytest.approx(
        memory.autocorrelation([5, 10, 35])
    )
    assert Memory(0.0).autocorrelation([1, 2]).tolist() == [0.0, 0.0]


def test_depth_is_a_power_on_either_side_of_midday() -> None:
    shape = DayShape(0.0, 0.1, 1.0, 3.0, 1.0, 4.0)
    assert shape.depth([0.0, 0.25, 0.5, 0.75, 1.0]) == pytest.approx(
        [2.0, 1.5, 1.0, 1.0 + 3.0 / 16.0, 4.0]
    )
    with pytest.raises(ValidationError, match="closing_steepness must be at least 1"):
        DayShape(closing_steepness=0.5)


def test_shares_that_cannot_be_are_refused() -> None:
    market = SyntheticMarket(session=Session(13))
    for cost in (market.true_curve.slippage, market.true_curve.impact, market.true_curve.cost):
        with pytest.raises(ValidationError, match="x must be finite and at least 0, got -1"):
            cost(-1)
        with pytest.raises(
            ValidationError,
            match=r"x must be a number or \(13,\), one an interval, got shape \(7,\)",
        ):
            cost(np.zeros(7))


def test_a_seed_stands_for_its_generator() -> None:
    market = SyntheticMarket(session=Session(13))
    from_seed, drawn = market.books(13, 10, 1), market.books(13, 10, np.random.default_rng(1))
    assert np.array_equal(from_seed.ask_size, drawn.ask_size)

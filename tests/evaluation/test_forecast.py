"""Forecasts of the day's shape, and what they know.

Tolerances. 1e-12: rounding of the same sums taken in another order. 0.08 and 0.98: sampling error
of 30 days, which is 0.04 in the median depth of four other seeds. 5 % of a shape of ratio 3: the
weight that noise of 0.05 leaves the wrong ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from evaluation.profiles import flat, of_market

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Ladder,
    LiquidityProfile,
    MidForecast,
    WeightedShapes,
    decaying,
    mid_volatility,
)
from research_lib.market import BookSnapshots, Session, Trades, preset

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


def _spreads(shape: np.ndarray, noise: float = 0.05, seed: int = 1) -> Ladder:
    """A day whose half-spread and depth follow `shape` times lognormal noise."""
    n, rng = len(shape), np.random.default_rng(seed)
    half_spread = 0.03 * (shape * np.exp(noise * rng.standard_normal(n)))[:, None]
    size = 100 * (shape * np.exp(noise * rng.standard_normal(n)))[:, None]
    return Ladder.of(
        BookSnapshots(np.arange(n), 100 - half_spread, size, 100 + half_spread, size), "buy"
    )


def test_rows_of_the_paths_are_the_shapes_known_then(profile: LiquidityProfile) -> None:
    made = WeightedShapes([profile, of_market(preset("deep_stock", SESSION), "another")])
    day = _days("thin_stock", 1, 4)[0]
    log_spread, depth = made.paths(day, 78)
    for t in (0, 1, 40, 77):
        spread, size = made.paths(day.take(slice(t + 1)), 78)
        assert log_spread[t] == pytest.approx(spread[-1], rel=1e-12)
        assert depth[t] == pytest.approx(size[-1], rel=1e-12)


def test_before_anything_can_be_compared_all_shapes_weigh_alike(profile: LiquidityProfile) -> None:
    """The first book sets the level alone; no shape at all is one of them."""
    other = of_market(preset("deep_stock", SESSION), "another")
    for shapes in ([profile], [profile, other], [profile, other, profile]):
        log_spread, depth = WeightedShapes(shapes).paths(_days("thin_stock", 1, 4)[0], 78)
        for path, name in ((log_spread, "spread"), (np.log(depth), "depth")):
            mean = sum(np.log(one[name]) for one in shapes) / (1 + len(shapes))
            assert path[0] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("right", ["first", "second", "none"])
def test_the_right_one_of_three_shapes_gets_the_weight(right: str) -> None:
    """A fall, a rise, and no shape at all; of spread and of depth, each by its own errors."""
    n = 120
    shapes = {"first": np.linspace(3, 1, n), "second": np.linspace(1, 3, n), "none": np.ones(n)}
    known = [LiquidityProfile(shapes[name], shapes[name], name) for name in ("first", "second")]
    paths = WeightedShapes(known).paths(_spreads(shapes[right]), n)
    truth = np.log(shapes[right] / shapes[right].mean())
    for path in (paths[0][-1], np.log(paths[1][-1])):
        assert np.abs(path - truth).max() < 0.05 * np.log(3)


def test_the_forecast_is_that_of_its_equations() -> None:
    """A twin in loops; errors that last, so that they count as fewer, and an unquoted book."""
    n, half_life = 40, 5.0
    rise = np.linspace(1, 3, n)
    lasting = np.exp(0.5 * np.sin(np.arange(n) / 3))
    day = _spreads(lasting, 0.1)
    day = dataclasses.replace(day, mid=np.where(np.arange(n) == 7, np.nan, day.mid))
    profile = LiquidityProfile(rise, rise, "a rise")
    found = WeightedShapes([profile], half_life).paths(day, n)[0]
    shapes = [np.zeros(n), np.log(profile.spread)]
    errors = np.zeros((2, n))
    known = [t for t in range(n) if t != 7]
    for t in known[1:]:
        weight = {s: 2 ** (-(t - s) / half_life) for s in known if s < t}
        for k, x in enumerate(shapes):
            left = np.log(day.half_spread) - x
            mean = sum(w * left[s] for s, w in weight.items()) / sum(weight.values())
            errors[k, t] = left[t] - mean
    alike = []
    for t in range(1, n):
        squares = (errors[:, : t + 1] ** 2).sum(axis=1)
        best = errors[np.argmin(squares), : t + 1]
        r = min(max(best[1:] @ best[:-1] / squares.min(), 0.0), 1.0) if squares.min() else 0.0
        count = sum(s <= t for s in known[1:]) * (1 - r) / (1 + r)
        weights = (squares / squares.min()) ** (-count / 2)
        assert found[t] == pytest.approx(weights @ np.array(shapes) / weights.sum(), rel=1e-9), t
        alike.append(r)
    assert max(alike[10:]) > 0.2


def test_spread_and_depth_have_weights_of_their_own() -> None:
    n = 120
    fall, rise = np.linspace(3, 1, n), np.linspace(1, 3, n)
    day = _spreads(fall)
    mixed = dataclasses.replace(day, size=_spreads(rise).size)
    profile = LiquidityProfile(fall, fall, "a fall in both")
    log_spread, depth = WeightedShapes([profile]).paths(mixed, n)
    assert np.ptp(log_spread[-1]) == pytest.approx(np.log(3), rel=0.05)
    # Neither shape rises: the flat one is the nearer, and has more than half of the weight.
    assert np.ptp(np.log(depth[-1])) < 0.5 * np.log(3)


def test_a_level_that_drifts_for_long_is_no_evidence_of_its_own(profile: LiquidityProfile) -> None:
    """Errors that last count as few: a day at noise of 0.3 keeps more doubt than one at 0.03."""
    doubt = []
    for noise in (0.03, 0.3):
        day = _spreads(profile.spread, noise)
        path = WeightedShapes([profile]).paths(day, 78)[0]
        weight = path @ np.log(profile.spread) / np.sum(np.log(profile.spread) ** 2)
        assert weight[0] == pytest.approx(0.5)
        doubt.append(1 - weight[10])
    assert doubt[0] < doubt[1] < 0.9


def test_books_without_two_sides_say_nothing(profile: LiquidityProfile) -> None:
    day = _days("thin_stock", 1, 5)[0]
    gone = np.isin(np.arange(78), [0, 3, 20, 21])
    mid, size = np.where(gone, np.nan, day.mid), np.where(gone[:, None], 0.0, day.size)
    gapped = dataclasses.replace(day, mid=mid, size=size)
    wild = dataclasses.replace(gapped, half_spread=np.where(gone, 9.0, day.half_spread))
    for name in (0, 1):
        paths, other = (WeightedShapes([profile]).paths(one, 78)[name] for one in (gapped, wild))
        assert np.isfinite(paths).all()
        assert np.array_equal(paths, other)
        assert np.array_equal(paths[3], paths[2])


def test_shapes_of_another_session_and_none_at_all_are_refused() -> None:
    with pytest.raises(ValidationError, match="profiles must be one LiquidityProfile or more"):
        WeightedShapes([])
    with pytest.raises(ValidationError, match="half_life must be above 0"):
        WeightedShapes([flat(78)], half_life=0.0)
    with pytest.raises(ValidationError, match="the profile of flat has 60 intervals, the day has"):
        WeightedShapes([flat(78), flat(60)]).paths(_days("thin_stock", 1)[0], 78)


# The next move of the mid


def _leaning(
    coefficients: tuple[float, float], n_days: int, seed: int, n: int = 60
) -> BookSnapshots:
    """Days of books of one level whose mid follows imbalance and the flow before, and a walk."""
    rng = np.random.default_rng(seed)
    total = n_days * n
    imbalance, flow = rng.uniform(-1, 1, (2, total))
    flow[::n] = 0.0  # of the night
    steps = np.array(coefficients) @ [imbalance, flow] + 2e-4 * rng.standard_t(4, total)
    mid = 100 * np.exp(np.cumsum(np.append(0.0, steps[:-1])))[:, None]
    time = 10**18 + 60 * 10**9 * np.arange(total)
    size = 500 * np.array([1 + imbalance, 1 - imbalance])[:, :, None]
    each, sign = np.repeat(np.arange(1, total), 2), np.tile([1, -1], total - 1)
    traded = Trades(
        time[each] - 30 * 10**9, np.full(len(each), 100.0), 50 * (1 + sign * flow[each]), sign
    )
    return BookSnapshots(time, mid - 0.01, size[0], mid + 0.01, size[1], trades=traded)


@pytest.mark.parametrize("n_days", [4, 20])  # Newey-West; clustered by day
@pytest.mark.parametrize("truth", [(3e-4, 2e-4), (3e-4, 0.0), (0.0, -2e-4)])
def test_the_move_of_the_mid_is_recovered(n_days: int, truth: tuple[float, float]) -> None:
    """Within 4 standard errors, and a coefficient that is 0 is set to 0 in most samples."""
    found = [
        MidForecast.fit(Ladder.of(_leaning(truth, n_days, seed), "buy").by_day(60), "it")
        for seed in range(8)
    ]
    for k in range(2):
        values = np.array([one.coefficients[k] for one in found])
        if truth[k] == 0:
            assert np.count_nonzero(values) <= 3  # of 8 at 5 %: a chance of 0.0004
        else:
            errors = np.array([one.errors[k] for one in found])
            assert (np.abs(values - truth[k]) < 4 * errors).all()
            assert (errors < 0.25 * abs(truth[k])).all()


def test_a_move_by_hand_is_what_the_mid_does_against_the_order() -> None:
    known = MidForecast(np.array([3e-4, 2e-4]), np.full(2, 1e-5), "by hand")
    books = _leaning((0.0, 0.0), 1, 0)
    bought, sold = (Ladder.of(books, side) for side in ("buy", "sell"))
    size = books.bid_size + books.ask_size
    imbalance = ((books.bid_size - books.ask_size) / size)[:, 0]
    assert bought.signals[:, 0] == pytest.approx(imbalance, abs=1e-12)
    expected = books.mid * (3e-4 * imbalance + 2e-4 * bought.signals[:, 1])
    assert known.moves(bought) == pytest.approx(expected, rel=1e-12)
    assert known.moves(sold) == pytest.approx(-expected, rel=1e-12)


@pytest.mark.parametrize("n_days", [4, 20])
def test_sides_mirror_in_what_is_forecast(n_days: int) -> None:
    books = _leaning((3e-4, 2e-4), n_days, 0)
    buy, sell = (MidForecast.fit(Ladder.of(books, s).by_day(60), "it") for s in ("buy", "sell"))
    assert sell.coefficients == pytest.approx(buy.coefficients, rel=1e-9)
    assert sell.errors == pytest.approx(buy.errors, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("n_days", [5, 20])
def test_where_nothing_is_there_nothing_is_forecast_in_95_per_cent_of_samples(n_days: int) -> None:
    """300 samples: 5 % of each coefficient within 3 standard errors, which are 1.3 %."""
    found = np.array(
        [
            MidForecast.fit(
                Ladder.of(_leaning((0.0, 0.0), n_days, seed), "buy").by_day(60), "it"
            ).coefficients
            for seed in range(300)
        ]
    )
    share = np.mean(found != 0, axis=0)
    assert np.all(np.abs(share - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)), share


def test_few_steps_and_signals_that_never_change_forecast_nothing() -> None:
    books = _leaning((3e-4, 2e-4), 1, 0)
    few = MidForecast.fit(Ladder.of(books, "buy").by_day(60), "one day")
    assert few.coefficients.tolist() == [0.0, 0.0]
    assert few.source == "59 steps of one day are too few for a forecast"
    blind = _leaning((3e-4, 2e-4), 4, 0)
    same = np.full_like(blind.bid_size, 500.0)
    still = dataclasses.replace(blind, bid_size=same, ask_size=same)
    found = MidForecast.fit(Ladder.of(still, "buy").by_day(60), "four days")
    assert found.coefficients[0] == 0.0
    assert found.coefficients[1] == pytest.approx(2e-4, rel=0.5)


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

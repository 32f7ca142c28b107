"""The adaptive strategy: its equation by a twin, what it may know, its band, its limit, its tick.

Tolerances. 1e-6 shares of orders of 1e4: rounding of sums over 39 intervals, by compiled loops in
one order and by NumPy in another. Premiums are binned by half a per cent, rounded up three times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from evaluation.profiles import flat, of_market

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    Ladder,
    LiquidityProfile,
    MidForecast,
    Order,
    Strategy,
    Twap,
    WeightedShapes,
    run,
)
from research_lib.market import BookSnapshots, OrderFlow, Session, SyntheticMarket, Trades, preset

OPENS, MINUTE = 1_704_207_600_000_000_000, 60 * 10**9  # 2024-01-02 10:00 New York, ns UTC
SESSION = Session(39)
FORECAST = MidForecast(np.array([2e-4, 1e-4]), np.full(2, 1e-5), "by hand")


def _day(seed: int, n_levels: int = 6) -> BookSnapshots:
    rng = np.random.default_rng(seed)
    return preset("thin_stock", SESSION).books(39, n_levels, rng, flow=OrderFlow())


def _shapes() -> WeightedShapes:
    wide = of_market(preset("wide_spread_stock", SESSION), "another stock")
    return WeightedShapes([of_market(preset("thin_stock", SESSION), "itself"), wide])


def _scaled_strategy(c: float = 1.0, k: float = 1.0) -> Adaptive:
    """With every input, for prices times c and sizes times k."""
    units = {"risk_aversion": 1e-5 / c / k, "volatility": 0.05 * c, "lump": 1e-5 * c / k}
    return Adaptive(_shapes(), "by hand", mid_forecast=FORECAST, tick=0.01 * c, **units)


STRATEGIES: dict[str, Callable[[], Adaptive]] = {
    "all inputs": _scaled_strategy,
    "cost alone": lambda: Adaptive(_shapes(), "by hand"),
    "no band": lambda: dataclasses.replace(_scaled_strategy(), band=1.0, caution=0.0),
}


class _StepByStep(Strategy):
    """Decides as another does, and is filled by the interface, not by compiled loops."""

    def __init__(self, other: Strategy) -> None:
        self.other, self.name, self.fitted_on = other, other.name, other.fitted_on

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        return self.other.decide(t, remaining, seen, order)


def _one_tick(
    size: np.ndarray, mid: np.ndarray | float = 50.0, tick: float = 0.01
) -> BookSnapshots:
    """(n, L) shares at levels a tick apart, the spread always one tick; the bids alike."""
    n, n_levels = size.shape
    away = tick * (0.5 + np.arange(n_levels))
    at = np.broadcast_to(mid, n)[:, None]
    return BookSnapshots(OPENS + MINUTE * np.arange(n), at - away, size, at + away, size)


# Its equation


def _supplied(
    nu: float, t: int, left: float, ladder: Ladder, paths: tuple[np.ndarray, np.ndarray],
    plan: Adaptive, total: float,
) -> float:  # fmt: skip
    """The left side of the multiplier's equation, from the books and shapes as they are."""
    n, (log_spread, depth) = len(ladder), paths
    spread, floor = np.exp(log_spread[t]), 0.5 * plan.tick
    move = 0.0 if plan.mid_forecast is None else plan.mid_forecast.moves(ladder)[t]
    found = _shown(nu + move, t, ladder, plan, total)
    weights = [plan.weights[t - k] for k in range(t + 1)]
    for s in range(t + 1, n):
        waited, m = s - t, n - t
        risk = 2 * plan.risk_aversion * plan.volatility**2 * left * (waited - waited**2 / (2 * m))
        price = nu - risk
        if price < floor * (1 - 1e-9) or price <= 0:
            continue
        rows = [
            weights[k] * ladder.size[k, ladder.premium[k] <= price / spread[s] * spread[k]].sum()
            / depth[t, k]
            for k in range(t + 1)
        ]  # fmt: skip
        supply = depth[t, s] * np.sum(rows) / np.sum(weights)
        even = np.inf if plan.lump == 0 else total / n + (price - floor) / plan.lump
        found += min(supply, even)
    return float(found)


def _shown(price: float, t: int, ladder: Ladder, plan: Adaptive, total: float) -> float:
    """Shares of book t to take up to a premium, those beyond the even ones cheaper by the lump."""
    found = 0.0
    for premium, size in zip(ladder.premium[t], ladder.size[t], strict=True):
        if premium <= price:
            even = np.inf if plan.lump == 0 else total / len(ladder) + (price - premium) / plan.lump
            found += min(size, max(even - found, 0.0))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("lump", [0.0, 1e-5])
@pytest.mark.parametrize("risk", [0.0, 1e-5])
@pytest.mark.parametrize("forecast", [None, FORECAST])
def test_the_decision_is_the_exact_multipliers(
    lump: float, risk: float, forecast: MidForecast | None
) -> None:
    """A twin that bisects the equation of the docstring: nothing is binned, nothing compiled."""
    plan = Adaptive(
        _shapes(), "by hand", mid_forecast=forecast, lump=lump, tick=0.01, band=1.0, caution=0.0,
        risk_aversion=risk, volatility=0.05,
    )  # fmt: skip
    total, ladder = 9_000.0, Ladder.of(_day(7), "buy")
    paths = plan.shapes.paths(ladder, 39)
    done, left = run(plan, ladder, total, "buy"), total
    move = np.zeros(39) if forecast is None else forecast.moves(ladder)
    for t in range(0, 30):  # then the band closes
        if t % 3:  # every third one is solved again, for time
            left -= done.filled[t]
            continue
        low, high = 0.0, float(ladder.premium.max()) * 100
        for _ in range(60):
            middle = 0.5 * (low + high)
            enough = _supplied(middle, t, left, ladder, paths, plan, total) >= left
            low, high = (low, middle) if enough else (middle, high)
        least, most = (
            min(_shown(high * factor + move[t], t, ladder, plan, total), left)
            for factor in (1.005**-2, 1.005**3)
        )
        assert least - 1e-6 <= done.filled[t] <= most + 1e-6, t
        left -= done.filled[t]
    assert 0 < done.filled[:38].sum() < total


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("refill", [1.0, 0.5])
def test_the_compiled_loop_decides_as_the_interface(name: str, side: str, refill: float) -> None:
    """Where own trades are seen the day has no shape: the loop judges it by books as recorded."""
    strategy = STRATEGIES[name]()
    if refill < 1:
        strategy = dataclasses.replace(strategy, shapes=WeightedShapes([flat(39)]))
    for seed in range(3):
        fast, slow = (
            run(one, _day(seed), 12_000.0, side, refill=refill, max_shares=900.0)
            for one in (strategy, _StepByStep(strategy))
        )
        assert fast.filled == pytest.approx(slow.filled, abs=1e-6)
        assert fast.cost == pytest.approx(slow.cost, rel=1e-9)


# What it may know


def _changed_from(books: BookSnapshots, t: int, what: str) -> BookSnapshots:
    """Books of another draw from interval t on, or trades, or both sides' best sizes alone."""
    other, later = _day(99), np.arange(39) >= t
    if what == "books":
        names = ("bid_price", "bid_size", "ask_price", "ask_size")
        mixed = {name: np.where(later[:, None], 3 * other[name], books[name]) for name in names}
        return dataclasses.replace(books, **mixed)
    if what == "imbalance":
        size = books.bid_size.copy()
        size[later, 0] *= 50
        return dataclasses.replace(books, bid_size=size)
    assert books.trades is not None
    turned = np.where(books.trades.time >= books.time[t], -1, 1) * books.trades.aggressor
    return dataclasses.replace(books, trades=dataclasses.replace(books.trades, aggressor=turned))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("t", [0, 1, 11, 37])
@pytest.mark.parametrize("what", ["books", "trades", "imbalance"])
def test_no_decision_knows_a_book_trade_or_signal_of_its_future(
    name: str, t: int, what: str
) -> None:
    for refill in (1.0, 0.5):
        one, two = (
            run(STRATEGIES[name](), books, 12_000, "buy", refill=refill)
            for books in (_day(3), _changed_from(_day(3), t, what))
        )
        assert np.array_equal(one.filled[:t], two.filled[:t])
        assert np.array_equal(one.cost_by_interval[:t], two.cost_by_interval[:t])


@pytest.mark.parametrize("what", ["books", "trades", "imbalance"])
def test_what_is_changed_before_a_decision_does_change_it(what: str) -> None:
    """Else the test above would hold of a strategy that looks at nothing."""
    one, two = (
        run(_scaled_strategy(), books, 12_000, "buy")
        for books in (_day(3), _changed_from(_day(3), 5, what))
    )
    assert not np.array_equal(one.filled, two.filled)


def test_a_trade_at_the_time_of_a_book_is_not_known_with_it() -> None:
    """The step it belongs to is the next book's."""
    books = _day(0)
    at = books.time[10]
    trades = Trades(
        np.array([at - 1, at, at + 1]), np.ones(3), np.array([3.0, 5.0, 1.0]), [1, -1, 1]
    )
    flow = Ladder.of(dataclasses.replace(books, trades=trades), "buy").signals[:, 1]
    assert flow[10] == 1.0
    assert flow[11] == pytest.approx((1 - 5) / 6)
    assert np.count_nonzero(flow) == 2


# Ties, the tick, the band


def _promising(n: int) -> LiquidityProfile:
    """Spreads that fall to a third and depth that trebles towards the close."""
    return LiquidityProfile(np.linspace(3, 1, n), np.linspace(1, 3, n), "promises")


@pytest.mark.parametrize("band", [0.15, 1.0])
@pytest.mark.parametrize("risk", [{}, {"risk_aversion": 1e-9, "volatility": 0.01}])
def test_where_all_prices_are_equal_it_is_twap(band: float, risk: dict[str, float]) -> None:
    n, total = 40, 4_000.0
    books = _one_tick(np.full((n, 2), 500.0))
    how = {"tick": 0.01, "band": band} | risk
    done = run(Adaptive(WeightedShapes([flat(n)]), "nothing", **how), books, total, "buy")
    assert done.filled == pytest.approx(np.full(n, 100.0))


@pytest.mark.parametrize("seed", range(3))
def test_no_spread_below_a_tick_is_waited_for(seed: int) -> None:
    """A profile promises narrower ones: only what would go beyond the touch waits for the next."""
    n, total = 100, 20_000.0
    rng = np.random.default_rng(seed)
    size = 400 * rng.lognormal(0.0, 0.3, (n, 2))
    books = _one_tick(size, 50 + 0.01 * np.cumsum(rng.integers(-1, 2, n)))
    done = run(Adaptive(WeightedShapes([_promising(n)]), "p", tick=0.01), books, total, "buy")
    ahead = np.cumsum(done.filled) - np.cumsum(run(Twap(), books, total, "buy").filled)
    assert done.completed
    assert ahead.min() >= -total / n


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_it_completes_what_twap_completes_where_a_quarter_of_depth_is_left(
    seed: int, sigma: float
) -> None:
    """25,023 of 150,000 shares were left: the spread always one tick, a quarter in the last third."""
    n, total = 390, 150_000.0
    rng = np.random.default_rng(seed)
    shown = np.where(np.arange(n) < 260, 2_000.0, 500.0)
    size = shown[:, None] * rng.lognormal(-0.5 * sigma**2, sigma, (n, 1))
    books = _one_tick(size, 50 + 0.01 * np.cumsum(rng.integers(-1, 2, n)))
    even = run(Twap(), books, total, "buy")
    for profile in (of_market(SyntheticMarket(), "U-shaped depth"), _promising(n)):
        done = run(Adaptive(WeightedShapes([profile]), "p", tick=0.01), books, total, "buy")
        assert done.unfilled <= even.unfilled + 1e-6 * total, profile.source
        late = done.filled[351:].sum() / total
        assert late <= 0.15 + 0.1, profile.source  # the band's, and the even tenth


@pytest.mark.parametrize("band", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("name", ["all inputs", "cost alone"])
def test_what_is_done_stays_within_the_band_of_equal_shares(name: str, band: float) -> None:
    total = 5_000.0
    for seed in range(6):
        for side in ("buy", "sell"):
            strategy = dataclasses.replace(STRATEGIES[name](), band=band, caution=0.0)
            books = _day(seed)
            done = run(strategy, books, total, side)
            away = np.cumsum(done.filled) / total - np.arange(1, 40) / 39
            assert away.max() <= band + 1e-9
            # Behind it only where a book was taken whole and held too little.
            short = np.flatnonzero(away < -band - 1e-9)
            assert done.filled[short] == pytest.approx(Ladder.of(books, side).depth[short])


def test_a_band_of_nothing_is_twap() -> None:
    strategy = dataclasses.replace(_scaled_strategy(), band=0.0, caution=0.0)
    one, other = (run(each, _day(2), 3_900, "buy").filled for each in (strategy, Twap()))
    assert one == pytest.approx(other, abs=1e-6)


# Its limit


def _shown_and_met(moved: float, at: int = 4, n: int = 20) -> tuple[BookSnapshots, BookSnapshots]:
    """The same book all day, which has moved when the child order of one interval arrives."""
    mid = np.full(n, 50.0)
    mid[at] += moved
    return _one_tick(np.full((n, 2), 500.0)), _one_tick(np.full((n, 2), 500.0), mid)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_child_order_is_limited_at_its_multiplier(side: str) -> None:
    """A tick away it is not hit and what is left is taken later; a tick nearer it is."""
    strategy = Adaptive(WeightedShapes([flat(20)]), "nothing", tick=0.01)
    sign = 1.0 if side == "buy" else -1.0
    for moved, hit in ((0.01, False), (-0.01, True), (0.0, True)):
        shown, met = _shown_and_met(sign * moved)
        done = run(strategy, met, 4_000.0, side, shown=shown)
        assert (done.filled[4] > 0) == hit, moved
        assert done.completed


def test_what_the_band_forces_is_taken_whatever_it_costs() -> None:
    """Every book has moved away by the time it is met: equal shares less the band are done, and
    the band closes before the end.
    """
    n, total = 20, 4_000.0
    shown = _one_tick(np.full((n, 2), 500.0))
    met = _one_tick(np.full((n, 2), 500.0), 50.05)
    strategy = Adaptive(WeightedShapes([flat(n)]), "nothing", tick=0.01)
    done = run(strategy, met, total, "buy", shown=shown)
    held = np.cumsum(done.filled) / total - np.arange(1, n + 1) / n
    assert done.completed
    assert done.filled[:2].tolist() == [0.0, 0.0]
    assert held[2:-10] == pytest.approx(-0.15, abs=1e-9)
    assert (np.diff(held[-5:]) >= 0).all()
    assert held[-1] == pytest.approx(0.0, abs=1e-9)


# Units


@pytest.mark.parametrize(
    ("price", "size"), [(7.3, 1.0), (1e-8, 1e9), (1.0, 0.37), (1e6, 1e-8), (3.3, 1e3)]
)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_units_of_price_and_size_change_no_decision(price: float, size: float, side: str) -> None:
    for seed in range(3):
        books = _day(seed)
        assert books.trades is not None
        scaled = dataclasses.replace(
            books, bid_price=price * books.bid_price, ask_price=price * books.ask_price,
            bid_size=size * books.bid_size, ask_size=size * books.ask_size,
            trades=dataclasses.replace(books.trades, size=size * books.trades.size),
        )  # fmt: skip
        one = run(_scaled_strategy(), books, 12_000, side)
        other = run(_scaled_strategy(price, size), scaled, 12_000 * size, side)
        assert other.filled / size == pytest.approx(one.filled, abs=1e-6)


def test_selling_mirrors_buying() -> None:
    books = _day(5)
    assert books.trades is not None
    turned = dataclasses.replace(books.trades, aggressor=-books.trades.aggressor)
    mirrored = BookSnapshots(
        books.time, 100 - books.ask_price, books.ask_size, 100 - books.bid_price, books.bid_size,
        trades=turned,
    )  # fmt: skip
    strategy = dataclasses.replace(_scaled_strategy(), mid_forecast=None)
    buy, sell = run(strategy, books, 12_000, "buy"), run(strategy, mirrored, 12_000, "sell")
    assert sell.filled == pytest.approx(buy.filled, abs=1e-6)
    signals = [Ladder.of(one, how).signals for one, how in ((books, "buy"), (mirrored, "sell"))]
    assert signals[1] == pytest.approx(signals[0], rel=1e-12)


# Its inputs


def test_a_mid_that_will_move_against_the_order_is_not_waited_for() -> None:
    """Books lean to the bid for ten intervals: a buy takes them, a sell leaves them."""
    n, total = 40, 4_000.0
    books = _one_tick(np.full((n, 1), 500.0))
    bid = books.bid_size.copy()
    bid[10:20] = 5_000.0
    leaning = dataclasses.replace(books, bid_size=bid)
    strategy = Adaptive(WeightedShapes([flat(n)]), "x", mid_forecast=FORECAST, tick=0.01, band=0.3)
    alone = dataclasses.replace(strategy, mid_forecast=None)
    for side, more in (("buy", 1), ("sell", -1)):
        size = bid if side == "buy" else books.bid_size
        done, blind = (
            run(one, Ladder.of(leaning, side), total, side).filled for one in (strategy, alone)
        )
        assert size is not None
        assert more * (done[10:20].sum() - blind[10:20].sum()) >= -1e-9


def test_more_risk_aversion_is_faster_and_a_lump_slower() -> None:
    books, total = _day(4), 6_000.0

    def held(**inputs: float) -> float:
        strategy = Adaptive(_shapes(), "x", volatility=0.05, band=1.0, **inputs)
        return float(np.sum(total - np.cumsum(run(strategy, books, total, "buy").filled)))

    assert held(risk_aversion=1e-3) < held(risk_aversion=1e-5) <= held()
    largest = [
        run(Adaptive(_shapes(), "x", band=1.0, lump=g), books, total, "buy").filled.max()
        for g in (0.0, 1e-3, 1e-2)
    ]
    assert largest[2] < largest[1] <= largest[0]


def test_inputs_out_of_range_are_refused() -> None:
    for name, value in (("band", 1.1), ("tick", -0.01), ("lump", -1.0), ("caution", -1.0)):
        with pytest.raises(ValidationError, match=f"{name} must be at"):
            Adaptive(_shapes(), "x", **{name: value})

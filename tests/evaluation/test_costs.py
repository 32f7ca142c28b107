"""The accounting: every part by hand, parts that add up, whole orders, and impact that carries on.

Tolerances. 1e-9 bps: what the contract asks of sums over at most 39 fills; 1e-9 relative likewise.
Means over days lie within 3 standard errors, which one in 370 misses.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ModelFittingError, ValidationError
from research_lib.evaluation import (
    LEVELS,
    Accounting,
    CarriedImpact,
    Execution,
    Ladder,
    Scheduled,
    Twap,
    blind_cost,
    compare,
    mids_after,
    order_cost,
    order_costs,
    replay,
    run,
    strategy_costs,
)
from research_lib.execution import Schedule
from research_lib.impact import ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.market import BookSnapshots, OrderFlow, Session, SyntheticMarket, preset

OPENS = 1_704_207_600_000_000_000  # 2024-01-02 10:00 New York, ns UTC
SECOND = 10**9
SESSION = Session(13)
PARTS = ["spread_bps", "walk_bps", "selection_bps", "carried_bps", "fees_bps"]
TWO_EXPONENTIALS = ExponentialSumKernel((0.0, np.log(2) / 60), (0.01, 0.04))
HALF_HOUR = Accounting(horizon_seconds=1_800.0)
KERNELS = [TWO_EXPONENTIALS, ExponentialKernel(1e-3, 2e-5), PowerKernel(0.5, 1e-4, 60.0)]


class _Fixed(Scheduled):
    """The shares given."""

    name, fitted_on = "fixed", "nothing"

    def __init__(self, shares: Any) -> None:
        self.shares = np.asarray(shares, float)

    def schedule(self, order: Any) -> Schedule:
        return Schedule(self.shares, self.name)


def _books(
    mid: Any, half: Any, step: float, size: float = 20.0, seconds: int = 60
) -> BookSnapshots:
    """Two levels of `size` shares a side, the touch `half` from the mid, the next `step` beyond."""
    mid, half, both = np.asarray(mid, float)[:, None], np.asarray(half, float), [0.0, step]
    away = np.broadcast_to(half, len(mid))[:, None] + both
    sizes = np.full((len(mid), 2), size)
    time = OPENS + seconds * SECOND * np.arange(len(mid))
    return BookSnapshots(time, mid - away, sizes, mid + away, sizes)


def _mirrored(books: BookSnapshots, about: float) -> BookSnapshots:
    prices = 2 * about - books.ask_price, 2 * about - books.bid_price
    return BookSnapshots(books.time, prices[0], books.ask_size, prices[1], books.bid_size)


def _random(seed: int) -> tuple[Execution, Accounting, BookSnapshots]:
    """An order of random shares, decided on earlier books, and how it is priced."""
    rng = np.random.default_rng(seed)
    books = preset("thin_stock", Session(26)).books(26, 4, rng)
    shown, late = books.take(np.arange(0, 26, 2)), books.take(np.arange(1, 26, 2))
    shares = rng.exponential(1.0, 13) ** 2
    total = rng.choice([3_000.0, 20_000.0, 1e6])
    cap = rng.choice([np.inf, 900.0])
    done = run(
        _Fixed(total * shares / shares.sum()), late, total, rng.choice(["buy", "sell"]),
        shown=shown, refill=rng.random(), max_shares=cap,
    )  # fmt: skip
    how = [
        CarriedImpact(),
        CarriedImpact("measured", KERNELS[seed % 3]),
        CarriedImpact("square-root", volatility=0.01, volume=1e6),
    ][seed % 7 % 3]
    return done, Accounting(how, 60.0, rng.normal(0, 0.003)), books


def _completed(done: Execution) -> tuple[np.ndarray, np.ndarray]:
    """Shares and average prices, (n,) each, what is left completed in the last interval."""
    sign = 1.0 if done.side == "buy" else -1.0
    mid = done.mid.copy()
    paid = np.where(
        done.filled > 0, sign * done.cost_by_interval / np.maximum(done.filled, 1e-9), 0
    )
    value = done.filled * (mid + paid)
    shares = done.filled.copy()
    shares[-1] += done.unfilled
    value[-1] += done.unfilled * mid[-1] + sign * done.rest_cost
    return shares, value / np.where(shares > 0, shares, 1.0)


@pytest.mark.parametrize("seed", range(40))
def test_parts_add_up_to_what_was_paid_over_the_mid_after(seed: int) -> None:
    """With a latency spread and walk are of the decision's book, and the total is of the fill."""
    done, how, states = _random(seed)
    after = mids_after(states, done.time, 1_800.0)
    found = order_cost(done, how, after)
    assert sum(found[part] for part in PARTS) == pytest.approx(found["total_bps"], abs=1e-9)
    shares, price = _completed(done)
    assert done.decision_mid is not None
    sign, arrival = (1.0 if done.side == "buy" else -1.0), done.decision_mid[0]
    paper = done.total_shares * arrival
    paid = 1e4 * sign * float(shares @ (price - after)) / paper
    beside = found["carried_bps"] + found["fees_bps"]
    assert found["total_bps"] - beside == pytest.approx(paid, rel=1e-9, abs=1e-9)
    short = 1e4 * sign * float(shares @ (price - arrival)) / paper
    assert found["shortfall_bps"] == pytest.approx(short, rel=1e-9, abs=1e-9)
    assert found["completed"] == (done.unfilled <= 1e-6 * done.total_shares)
    assert found["spread_bps"] == pytest.approx(
        1e4 * float(shares @ states.half_spread[0:26:2]) / paper, rel=1e-9
    )


def _by_hand(books: BookSnapshots, states: BookSnapshots, side: str) -> dict[str, Any]:
    how = Accounting(CarriedImpact("measured", TWO_EXPONENTIALS), 60.0, 0.003, risk_aversion=1e-3)
    done = replay([10.0, 30.0], books, side)
    return order_cost(done, how, mids_after(states, done.time, 60.0))


def test_every_part_by_hand() -> None:
    """10 at 101 over a mid of 100; then 20 at 104 and 10 at 107 over 102.

    A minute later the mid is 102, and 101 (of the state at 115 s: the one at 125 s is too late).
    G(0) is 0.05 and G(60 s) 0.03: 10 x 30 x 0.03 is left for the second child order; half of
    G(0) x^2 is 2.5 beside a walk of 0, and 22.5 beside one of 30, which counts once.
    """
    books = _books([100.0, 102.0], [1.0, 2.0], 3.0)
    states = _books([100.0, 102.0, 101.0, 90.0], 1.0, 1.0)
    states = dataclasses.replace(states, time=OPENS + SECOND * np.array([0, 60, 115, 125]))
    found, paper = _by_hand(books, states, "buy"), 40 * 100.0
    parts = {
        "spread_bps": 10 * 1 + 30 * 2,
        "walk_bps": 10 * 3,
        "selection_bps": -(10 * 2 + 30 * -1),
        "carried_bps": 300 * 0.03 + (2.5 - 0.0) + 0.0,
        "fees_bps": 40 * 0.003,
    }
    for name, currency in parts.items():
        assert found[name] == pytest.approx(1e4 * currency / paper, abs=1e-9), name
    assert found["total_bps"] == pytest.approx(175 + 75 + 25 + 28.75 + 0.3, abs=1e-9)
    # Paid 10 at 101, 30 at 105; one move of 2 on 30 shares that were left.
    assert found["shortfall_bps"] == pytest.approx(1e4 * (10 * 1 + 30 * 5) / paper, abs=1e-9)
    assert found["timing_risk_bps"] == pytest.approx(1e4 * 2 * 30 / paper, abs=1e-9)
    variance = (2 * 30.0) ** 2
    risk = 1e4 * 1e-3 * variance / paper
    assert found["objective_bps"] == pytest.approx(found["total_bps"] + risk, abs=1e-9)
    known = ["strategy", "side", "size", "scenario", "completed"]
    assert [found[name] for name in known] == ["schedule", "buy", 40.0, "measured", True]


def test_a_sell_mirrors_a_buy_in_every_part() -> None:
    books = _books([100.0, 102.0], [1.0, 2.0], 3.0)
    states = _books([100.0, 102.0, 101.0], 1.0, 1.0)
    buy = _by_hand(books, states, "buy")
    sell = _by_hand(_mirrored(books, 100.0), _mirrored(states, 100.0), "sell")
    for name in [*PARTS, "total_bps", "shortfall_bps", "timing_risk_bps", "objective_bps"]:
        assert sell[name] == pytest.approx(buy[name], abs=1e-9), name


def test_under_a_latency_the_walk_holds_the_move_until_the_fill() -> None:
    """Decided at 101 (mid 100) and filled at 106 (mid 104.5); a minute later the mid is 106."""
    shown, late = _books([100.0], 1.0, 3.0), _books([104.5], 1.5, 3.0)
    found = order_cost(run(_Fixed([10.0]), late, 10.0, "buy", shown=shown), after=np.array([106.0]))
    paper = 10 * 100.0
    assert found["spread_bps"] == pytest.approx(1e4 * 10 * 1 / paper, abs=1e-9)
    assert found["walk_bps"] == pytest.approx(1e4 * 10 * (106 - 101) / paper, abs=1e-9)
    assert found["selection_bps"] == pytest.approx(-1e4 * 10 * (106 - 100) / paper, abs=1e-9)
    assert found["total_bps"] == pytest.approx(0.0, abs=1e-9)


def test_a_move_within_the_latency_leaves_no_impact_behind() -> None:
    """Orders whose own impact is nothing carry nothing on, wherever the mid goes meanwhile."""
    shown, late = _books([100.0, 100.0], 1.0, 3.0), _books([99.0, 101.0], 1.0, 3.0)
    done = run(_Fixed([10.0, 10.0]), late, 20.0, "buy", shown=shown)
    tiny = Accounting(CarriedImpact("measured", ExponentialKernel(1.0, 1e-12)))
    assert order_cost(done, tiny)["carried_bps"] == pytest.approx(0.0, abs=1e-6)


def test_without_an_after_the_next_intervals_mid_stands_for_it() -> None:
    done = replay([10.0, 10.0, 10.0], _books([100.0, 102.0, 107.0], 1.0, 3.0), "buy")
    assert order_cost(done)["selection_bps"] == pytest.approx(-1e4 * 10 * (2 + 5 + 0) / 3_000)


def test_the_mid_after_skips_states_without_two_sides() -> None:
    states = _books([100.0, 101.0, 102.0], 1.0, 1.0, seconds=10)
    size = states.bid_size.copy()
    size[1] = 0.0
    states = dataclasses.replace(states, bid_size=size)
    times = OPENS + SECOND * np.array([-30, -10, 0, 100])
    found = mids_after(states, times, 20.0)
    assert np.isnan(found[0])
    assert found[1:].tolist() == [100.0, 102.0, 102.0]
    with pytest.raises(ValidationError, match="the states stand 20 s apart, the horizon is 10 s"):
        mids_after(states, times, 10.0)


# Completion


def test_what_is_left_goes_on_along_the_slope_of_the_last_level() -> None:
    """Asks of 20 at 101 and 103, mid 100: beyond them 3 and (3 - 1) / 20 more each share."""
    ladder = Ladder.of(_books([100.0], 1.0, 2.0), "buy")
    assert ladder.rest_price == pytest.approx((3.0, 0.1), rel=1e-12)
    done = replay([48.0], ladder, "buy")
    assert (done.cost, done.unfilled) == (20 * 1 + 20 * 3, 8.0)
    assert done.rest_cost == pytest.approx(8 * 3 + 0.5 * 0.1 * 8**2, rel=1e-12)
    found = order_cost(done)
    assert not found["completed"]
    whole = 48 * 100.0
    assert found["spread_bps"] == pytest.approx(1e4 * 48 / whole)
    assert found["walk_bps"] == pytest.approx(1e4 * (20 * 2 + 8 * 2 + 3.2) / whole)


def test_a_book_of_one_level_goes_on_from_the_mid() -> None:
    size = np.array([[50.0]])
    for side, bid, ask in (("buy", 99.0, 102.0), ("sell", 98.0, 101.0)):
        books = BookSnapshots([OPENS], [[bid]], size, [[ask]], size)
        slope = 1.5 / 50
        assert Ladder.of(books, side).rest_price == pytest.approx((1.5, slope), rel=1e-12)
        assert replay([60.0], books, side).rest_cost == pytest.approx(15 + 50 * slope, rel=1e-12)


def test_the_rest_is_completed_at_the_last_book_that_has_two_sides() -> None:
    books = _books([100.0, 100.0, 100.0], [1.0, 2.0, 4.0], 2.0)
    size = books.bid_size.copy()
    size[2] = 0.0
    done = replay([20.0, 20.0, 20.0], dataclasses.replace(books, bid_size=size), "buy")
    assert done.unfilled == 20.0
    assert done.rest_cost == pytest.approx(20 * 4 + 0.5 * 0.1 * 20**2, rel=1e-12)
    whole = 1e4 * (20 * 1 + 20 * 2 + done.rest_cost) / 6_000
    assert order_cost(done)["total_bps"] == pytest.approx(whole, abs=1e-9)


def test_eight_shares_of_ten_million_that_are_left_cost_what_eight_shares_do() -> None:
    """They were 7.57 bps by themselves, as the drift of an order that was not completed."""
    n = 10
    books = _books(np.linspace(100.0, 101.0, n), 0.01, 0.01, size=500_000.0)
    whole, short = (replay(np.full(n, total / n), books, "buy") for total in (1e7, 1e7 + 8))
    assert (whole.unfilled, short.unfilled) == (0.0, pytest.approx(8.0))
    costs = [order_cost(one) for one in (whole, short)]
    for name in ("total_bps", "shortfall_bps"):
        # Eight shares of 1e7 a hundredth of the price away from the others: 1e-2 * 8e-7.
        assert costs[1][name] == pytest.approx(costs[0][name], abs=1e-4)


def test_no_order_leaves_the_table_and_completed_is_a_share() -> None:
    books = _books(np.full(4, 100.0), 1.0, 2.0, size=20.0)
    done = []
    for day, total in enumerate((40.0, 80.0, 160.0, 400.0)):  # the four books hold 160
        later = dataclasses.replace(books, time=books.time + day * 86_400 * SECOND)
        done += [
            run(Twap(), later, total, "buy"),
            run(_Fixed([total, 0, 0, 0]), later, total, "buy"),
        ]
    table = compare(done)
    assert table["orders"].tolist() == [4, 4]
    assert table["completed"].tolist() == [0.75, 0.75]
    assert np.isfinite(table["total_bps"]).all()
    rows = strategy_costs(done, [Accounting()])
    assert rows.groupby("strategy")["orders"].sum().tolist() == [4, 4]
    twap = rows[rows["strategy"] == "TWAP"].set_index("size")
    assert twap["completed"].to_dict() == {40.0: 1.0, 80.0: 1.0, 160.0: 1.0, 400.0: 0.0}


def test_an_order_of_nothing_has_no_cost() -> None:
    with pytest.raises(ValidationError, match="an order of 0 shares has no cost a share"):
        order_cost(replay([0.0, 0.0], _books([100.0, 100.0], 1.0, 2.0), "buy"))
    done = replay([1.0, 1.0], _books([100.0, 100.0], 1.0, 2.0), "buy")
    with pytest.raises(ValidationError, match=r"after must be \(2,\), a mid a child order"):
        order_cost(done, after=np.ones(3))


# Carried impact


def test_square_root_impact_by_hand_and_never_below_the_walk() -> None:
    """Two thirds of 2 % sqrt(400 / 10,000) of a price of 50 is 2 / 15 a share."""
    law = CarriedImpact("square-root", volatility=0.02, volume=10_000.0)
    shares, time = np.array([100.0, 300.0]), OPENS + 60 * SECOND * np.arange(2)
    whole = 2 / 3 * 0.02 * 0.2 * 50 * 400
    assert law.cost(shares, np.zeros(2), time, 50.0) == pytest.approx(whole, rel=1e-12)
    paid = law.cost(shares, np.array([10.0, 20.0]), time, 50.0)
    assert paid == pytest.approx(whole - 30.0, rel=1e-12)
    assert law.cost(shares, np.array([60.0, 0.0]), time, 50.0) == 0.0
    assert law.cost(shares[::-1], np.zeros(2), time, 50.0) == pytest.approx(whole)  # ranks none


@settings(max_examples=50, deadline=None)
@given(
    shares=st.lists(st.floats(0, 1e4), min_size=2, max_size=12).filter(lambda x: sum(x) > 0),
    scale=st.floats(1e-6, 1.0), walked=st.floats(0, 3),
)  # fmt: skip
def test_permanent_impact_costs_the_same_whatever_the_schedule(
    shares: list[float], scale: float, walked: float
) -> None:
    """Half G (S^2 - sum x^2), and half G x^2 of each child order where the walk is less."""
    x, kernel = np.array(shares), ExponentialSumKernel(0.0, scale)
    walk = walked * 0.5 * scale * x**2 * np.linspace(0, 1, len(x))
    time = OPENS + 60 * SECOND * np.arange(len(x))
    found = CarriedImpact("measured", kernel).cost(x, walk, time, 100.0)
    expected = 0.5 * scale * (x.sum() ** 2 - (x**2).sum())
    expected += np.maximum(0.5 * scale * x**2 - walk, 0.0).sum()
    # The difference of squares loses the digits of a lump.
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale * x.sum() ** 2)


def test_lags_are_those_of_the_fills_in_seconds() -> None:
    """Uneven times, and a plain sum over pairs."""
    seconds, x = np.array([0.0, 1.0, 61.0, 3_600.0]), np.array([5.0, 3.0, 8.0, 2.0])
    for kernel in KERNELS:
        pairs = [(s, t) for t in range(4) for s in range(t)]
        left = sum(x[s] * x[t] * float(kernel(seconds[t] - seconds[s])) for s, t in pairs)
        time = OPENS + (seconds * SECOND).astype(np.int64)
        found = CarriedImpact("borrowed", kernel).cost(x, np.full(4, 1e9), time, 100.0)
        assert found == pytest.approx(left, rel=1e-12)


def test_without_a_scenario_nothing_is_carried_and_scenarios_need_their_inputs() -> None:
    assert CarriedImpact().cost(np.ones(2), np.zeros(2), OPENS + np.arange(2), 1.0) == 0.0
    for scenario in ("measured", "borrowed"):
        with pytest.raises(ValidationError, match=f"scenario '{scenario}' needs a kernel"):
            CarriedImpact(scenario)
    with pytest.raises(ValidationError, match="volatility must be above 0"):
        CarriedImpact("square-root", volume=1.0)
    with pytest.raises(ValidationError, match="volume must be above 0"):
        CarriedImpact("square-root", volatility=0.1)
    with pytest.raises(ValidationError, match="scenario 'guessed' is unknown"):
        CarriedImpact("guessed")


def test_a_borrowed_level_is_in_units_of_sigma_p_over_v() -> None:
    one = {"price": 50.0, "volatility": 0.02, "volume": 1e6}
    lent = CarriedImpact.borrowed("GOOG 2012-06-21", **one)
    level, low, high = (end * 50.0 * 0.02 / 1e6 for end in LEVELS["GOOG 2012-06-21"])
    assert lent.kernel is not None
    assert lent.kernel(np.array([0.0, 1e6])) == pytest.approx([level, level], rel=1e-12)
    assert (lent.scenario, lent.source) == ("borrowed", "GOOG 2012-06-21")
    assert lent.interval == pytest.approx((low, high))
    with pytest.raises(ValidationError, match="volume must be above 0"):
        CarriedImpact.borrowed("GOOG 2012-06-21", **{**one, "volume": 0.0})
    with pytest.raises(ValidationError, match="market 'GOOG' is unknown"):
        CarriedImpact.borrowed("GOOG", **one)


@pytest.mark.parametrize(
    ("name", "label"), [("GOOG", "GOOG 2012-06-21"), ("FROG", "FROG 2025-04-03")]
)
def test_levels_that_are_borrowed_are_those_of_the_recordings(
    real_books: dict[str, BookSnapshots], name: str, label: str
) -> None:
    books, session = real_books[name], Session(390)
    found = CarriedImpact.measured(books, session)
    assert books.trades is not None
    assert found.kernel is not None
    used = (books.trades.aggressor != 0) & (session.interval_of(books.trades.time) >= 0)
    moves = np.diff(books.mid[np.isfinite(books.mid)])
    unit = np.sqrt(390 * np.mean(moves**2)) / books.trades.size[used].sum()
    ends = (float(found.kernel(0.0)), *found.interval)
    assert np.array(ends) / unit == pytest.approx(LEVELS[label], abs=0.06)  # three digits are kept


@pytest.mark.slow
def test_the_kernel_of_a_market_is_recovered() -> None:
    """20 sessions of 10 seeds: at 95 % more than 2 intervals miss it once in a hundred times.

    What is extrapolated is less sure: over 30 seeds the mean at an hour is 1.17 (s.d. 0.39) of it.
    """
    market, held = preset("wide_spread_stock", Session(390)), []
    assert market.kernel is not None
    for seed in range(10):
        books = market.books(20 * 390, 1, np.random.default_rng(seed), flow=market.flow)
        found = CarriedImpact.measured(books, market.session)
        assert found.kernel is not None
        if "half-life" in found.source:
            held.append(found.interval[0] <= market.kernel(1_170.0) <= found.interval[1])
        else:
            assert market.kernel(1_170.0) < found.kernel(0.0) < 1.1 * market.kernel(0.0)
    assert sum(held) >= len(held) - 2
    assert len(held) > 5


@pytest.mark.slow
def test_trades_that_move_nothing_leave_a_level_that_is_not_told_from_0_or_none() -> None:
    """At 95 % more than 3 of 20 intervals miss 0 with a chance of 0.016."""
    session, refused, missed = Session(78), [], 0
    market = dataclasses.replace(preset("thin_stock", session), kernel=None)
    for seed in range(20):
        books = market.books(78 * 8, 1, np.random.default_rng(seed), flow=OrderFlow())
        try:
            found = CarriedImpact.measured(books, session)
        except ModelFittingError as error:
            refused.append(str(error))
            continue
        missed += found.interval[0] > 0
        assert ("nor distinguishable from 0" in found.source) == (found.interval[0] <= 0)
    assert missed <= 3
    assert 4 <= len(refused) <= 16  # half of them by chance
    named = r"trades do not move the mid in their direction: 95 % interval -\S+ to \S+ currency"
    nothing = "no impact in the flow's own direction"
    assert all(re.match(named, text) or text.startswith(nothing) for text in refused), refused


# Scales, and blind schedules


@pytest.mark.parametrize(("price", "size"), [(1e-8, 1.0), (7.3, 1e9), (1.0, 1e-8), (1e9, 0.37)])
def test_units_of_price_and_size_change_no_part(price: float, size: float) -> None:
    books = preset("thin_stock", SESSION).books(13, 4, np.random.default_rng(0))
    scaled = dataclasses.replace(
        books, bid_price=price * books.bid_price, ask_price=price * books.ask_price,
        bid_size=size * books.bid_size, ask_size=size * books.ask_size,
    )  # fmt: skip
    found = []
    for traded, c, k in ((books, 1.0, 1.0), (scaled, price, size)):
        kernels = [
            CarriedImpact(
                "measured", ExponentialSumKernel((0.0, 1e-3), (1e-6 * c / k, 2e-6 * c / k))
            ),
            CarriedImpact("square-root", volatility=0.02, volume=1e5 * k),
        ]
        done = [run(Twap(), traded, total * k, "sell") for total in (5_000, 50_000)]
        hows = [Accounting(one, 60.0, 0.003 * c, 1e-6 / c / k) for one in kernels]
        found += [order_cost(one, how) for one in done for how in hows]
    before, after = found[:4], found[4:]
    for name in [*PARTS, "total_bps", "shortfall_bps", "timing_risk_bps", "objective_bps"]:
        one, other = ([row[name] for row in rows] for rows in (before, after))
        assert other == pytest.approx(one, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_schedule_that_sees_no_book_selects_nothing(side: str) -> None:
    market = SyntheticMarket(session=SESSION)
    books = market.books(13 * 300, 3, np.random.default_rng(5))
    days = Ladder.of(books, side).by_day(13)
    for shares in (np.full(13, 20.0), np.geomspace(100, 1, 13)):
        done = [run(_Fixed(shares), day, shares.sum(), side) for day in days]
        drawn = order_costs(done, HALF_HOUR, books)["selection_bps"]
        assert drawn.std() > 0
        assert abs(drawn.mean()) < 3 * drawn.std(ddof=1) / np.sqrt(300)


@pytest.mark.parametrize("seed", range(7))
def test_the_cost_of_an_order_that_does_not_look_is_all_but_selection_and_fees(seed: int) -> None:
    done, how, _ = _random(seed)
    done = dataclasses.replace(done, decision_mid=None, decision_half_spread=None)
    found = order_cost(done, how)
    rest = found["total_bps"] - found["selection_bps"] - found["fees_bps"]
    assert blind_cost(done, how.carried) == pytest.approx(rest, rel=1e-9)


def test_what_a_buy_selects_a_sell_gives() -> None:
    books = SyntheticMarket(session=SESSION).books(13, 3, np.random.default_rng(5))
    done = [run(Twap(), books, 260.0, side) for side in ("buy", "sell")]
    bought, sold = order_costs(done, HALF_HOUR, books)["selection_bps"]
    assert bought == pytest.approx(-sold, abs=1e-9)
    assert bought != 0.0


def test_a_table_of_orders_needs_one() -> None:
    with pytest.raises(ValidationError, match="executions must be one Execution or more"):
        order_costs([])


# What is refused


def test_a_kernel_without_a_scenario_of_its_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="scenario 'none' has no kernel; name it"):
        CarriedImpact(kernel=TWO_EXPONENTIALS)


def test_a_mid_that_is_not_known_after_a_fill_is_refused() -> None:
    done = replay([10.0, 10.0, 10.0], _books([100.0, 102.0, 107.0], 1.0, 3.0), "buy")
    with pytest.raises(ValidationError, match="no mid is known after the fill of interval 1"):
        order_cost(done, after=np.array([100.0, np.nan, 100.0]))
    early = _books([100.0, 100.0], 1.0, 3.0, seconds=10)
    moved = dataclasses.replace(done, time=done.time + 5 * 3_600 * SECOND)
    with pytest.raises(ValidationError, match="no mid is known after the fill of interval 0"):
        order_costs([moved], Accounting(horizon_seconds=60.0), early)


def test_strategies_are_compared_on_the_same_orders() -> None:
    done = [
        replay([10.0, 10.0], _books([100.0, 101.0], 1.0, 3.0), side) for side in ("buy", "sell")
    ]
    equal = [dataclasses.replace(one, name="TWAP") for one in done]
    with pytest.raises(ValidationError, match="schedule has 1 of 2 orders"):
        compare([*equal, done[0]])

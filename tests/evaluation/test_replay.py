"""Replay on recorded books, by hand.

Tolerances. Costs by hand are whole numbers and exact. Else 1e-8 currency, 1e-9 shares, 1e-12 of a
cost: rounding of sums over at most 390 walks of books.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from own_trades import after_own_trades

from research_lib.errors import ValidationError
from research_lib.evaluation import Ladder, order_cost, replay, sample_states
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import LinearImpact
from research_lib.market import BookSnapshots, Session, SyntheticMarket, read_mbp10


def _books(ask_size: list[float]) -> BookSnapshots:
    """Bid 99, asks 101 and 103, half of the size on each level."""
    n = len(ask_size)
    size = np.repeat(np.array(ask_size)[:, None] / 2, 2, axis=1)
    return BookSnapshots(
        np.arange(n),
        np.tile([99.0, 98.0], (n, 1)),
        np.full((n, 2), 50.0),
        np.tile([101.0, 103.0], (n, 1)),
        size,
    )


def test_cost_by_hand() -> None:
    done = replay(Schedule(np.array([10.0, 30.0]), "s"), _books([40, 40]), "buy")
    # 10 at 101 over a mid of 100; then 20 at 101 and 10 at 103.
    assert done.cost_by_interval.tolist() == [10.0, 20 * 1 + 10 * 3]
    assert done.cost == 60.0
    assert done.cost == 1.5 * done.filled.sum()
    assert done.cost_bps == 150.0
    assert done.unfilled == 0.0


def test_what_a_book_cannot_fill_is_carried_on() -> None:
    done = replay(Schedule(np.array([50.0, 0.0, 10.0]), "s"), _books([20, 20, 12]), "buy")
    assert done.filled.tolist() == [20, 20, 12]
    assert done.unfilled == 8.0
    assert done.shares.sum() == done.filled.sum() + done.unfilled


def test_an_interval_without_a_book_fills_nothing() -> None:
    books = _books([20, 20])
    gone = dataclasses.replace(books, bid_size=np.array([[0, 0], [50, 50.0]]))
    done = replay(Schedule(np.array([5.0, 5.0]), "s"), gone, "buy")
    assert done.filled.tolist() == [0, 10]
    assert done.cost == 10.0


def test_sell_mirrors_buy() -> None:
    books = _books([40, 40])
    mirrored = BookSnapshots(
        books.time, 200 - books.ask_price, books.ask_size, 200 - books.bid_price, books.bid_size
    )
    schedule = Schedule(np.array([10.0, 30.0]), "s")
    assert replay(schedule, mirrored, "sell").cost == replay(schedule, books, "buy").cost


@pytest.mark.slow
def test_twap_of_20000_frog_shares_equals_a_hand_written_walk(frog_file: object) -> None:
    books = read_mbp10(frog_file).sample(Session(390))  # type: ignore[arg-type]
    done = replay(twap(20_000, 390), books, "buy")
    cost = carried = 0.0
    for t in range(390):
        order = 20_000 / 390 + carried
        left = order
        if books.complete[t]:
            for price, size in zip(books.ask_price[t], books.ask_size[t], strict=True):
                taken = min(left, size)
                cost += taken * (price - books.mid[t])
                left -= taken
        carried = left
    assert done.cost == pytest.approx(cost, rel=1e-12)
    assert done.unfilled == pytest.approx(carried, abs=1e-9)


def test_books_and_schedule_must_have_one_length() -> None:
    with pytest.raises(ValidationError, match="2 books for 3 intervals"):
        replay(twap(10, 3), _books([20, 20]), "buy")


@pytest.mark.parametrize("shares", [[1.0, np.nan], [1.0, -5.0], [[1.0]]])
def test_impossible_schedules_are_refused(shares: list[float]) -> None:
    with pytest.raises(
        ValidationError, match=r"scheduled shares must be (.*, )?finite and at least 0"
    ):
        Schedule(np.array(shares), "s")
    with pytest.raises(ValidationError, match="scheduled shares must be"):
        replay(shares, _books([20, 20]), "buy")  # type: ignore[arg-type]


def test_sell_mirrors_buy_in_every_figure() -> None:
    books = SyntheticMarket(session=Session(13)).books(13, 5, np.random.default_rng(1))
    mirrored = BookSnapshots(
        books.time, 400 - books.ask_price, books.ask_size, 400 - books.bid_price, books.bid_size
    )
    schedule = Schedule(np.linspace(0, 3000, 13), "s")
    buy, sell = (
        replay(schedule, books, "buy", refill=0.3),
        replay(schedule, mirrored, "sell", refill=0.3),
    )
    assert sell.filled == pytest.approx(buy.filled, abs=1e-9)
    assert sell.cost == pytest.approx(buy.cost, abs=1e-8)
    shortfalls = [order_cost(one)["shortfall_bps"] * one.arrival_price for one in (sell, buy)]
    assert shortfalls[0] == pytest.approx(shortfalls[1], abs=1e-8)


def test_scaling_prices_keeps_bps() -> None:
    books = SyntheticMarket(session=Session(13)).books(13, 5, np.random.default_rng(2))
    dear = dataclasses.replace(
        books, bid_price=7.3 * books.bid_price, ask_price=7.3 * books.ask_price
    )
    schedule = twap(4000, 13)
    assert replay(schedule, dear, "sell").cost_bps == pytest.approx(
        replay(schedule, books, "sell").cost_bps, rel=1e-9
    )


def test_an_empty_best_level_does_not_hide_the_book_behind_it() -> None:
    books = _books([40, 40])
    hole = dataclasses.replace(books, ask_size=np.array([[0.0, 40.0], [20.0, 20.0]]))
    done = replay(Schedule(np.array([10.0, 0.0]), "s"), hole, "buy")
    # The best ask that holds shares is 103, so the mid is 101.
    assert done.mid[0] == 101.0
    assert done.cost == 10 * (103 - 101)


def test_unordered_levels_are_walked_away_from_the_mid() -> None:
    books = _books([40, 40])
    swapped = dataclasses.replace(
        books, ask_price=books.ask_price[:, ::-1], ask_size=books.ask_size[:, ::-1]
    )
    schedule = Schedule(np.array([30.0, 10.0]), "s")
    assert replay(schedule, swapped, "buy").cost == replay(schedule, books, "buy").cost


def test_costs_from_mid_touch_and_arrival_by_hand() -> None:
    books = _books([40, 40])
    moved = dataclasses.replace(
        books,
        bid_price=books.bid_price + np.array([[0.0], [5.0]]),
        ask_price=books.ask_price + np.array([[0.0], [5.0]]),
    )
    done = replay(Schedule(np.array([10.0, 50.0]), "s"), moved, "buy")
    # 10 at 101; then 20 at 106 and 20 at 108 over a mid of 105, and 10 left.
    assert done.cost == 10 * 1 + 20 * 1 + 20 * 3
    assert done.unfilled == 10.0
    assert done.fills["price"].tolist() == [101.0, 107.0]


def test_timing_risk_is_that_of_the_shares_still_held() -> None:
    books, moved = _books([80, 80, 80]), np.array([[0.0], [0.5], [0.0]])
    prices = {"bid_price": books.bid_price + moved, "ask_price": books.ask_price + moved}
    moving = dataclasses.replace(books, **prices)
    done = replay(Schedule(np.array([10.0, 20.0, 5.0]), "s"), moving, "buy")
    risk = 1e-4 * done.timing_risk_bps * 35 * 100
    assert risk == pytest.approx(0.5 * np.sqrt(25.0**2 + 5.0**2), rel=1e-12)


def test_a_cap_holds_for_carried_shares_too() -> None:
    done = replay(
        Schedule(np.array([50.0, 0.0, 0.0]), "s"),
        _books([80, 80, 80]),
        "buy",
        max_shares=[20, 5, 20],
    )
    assert done.filled.tolist() == [20, 5, 20]
    assert done.unfilled == 5.0


def test_full_refill_equals_independent_books() -> None:
    books = SyntheticMarket(session=Session(26)).books(26, 6, np.random.default_rng(4))
    schedule = twap(20_000, 26)
    assert replay(schedule, books, "buy", refill=1.0).cost == replay(schedule, books, "buy").cost


@pytest.mark.parametrize("refill", [0.0, 0.4, 0.9])
def test_depleted_books_are_those_of_after_own_trades(refill: float) -> None:
    books = SyntheticMarket(session=Session(26)).books(26, 6, np.random.default_rng(5))
    done = replay(twap(9_000, 26), books, "sell", refill=refill)
    left = after_own_trades(books, done.filled, "sell", refill, anchor="level")
    again = Ladder.of(left, "sell")
    premium = done.mid[:, None] - left.bid_price  # over the mid of the books as recorded
    before = np.cumsum(again.size, axis=1) - again.size
    cost = np.nansum(np.clip(done.filled[:, None] - before, 0.0, again.size) * premium, axis=1)
    assert np.all(done.filled <= again.depth + 1e-9)
    assert done.cost_by_interval == pytest.approx(cost, abs=1e-8)


def test_cost_does_not_fall_as_books_refill_slower() -> None:
    books = SyntheticMarket(session=Session(26)).books(26, 6, np.random.default_rng(6))
    costs = [replay(twap(9_000, 26), books, "buy", refill=rho).cost for rho in (1, 0.8, 0.5, 0.2)]
    assert np.all(np.diff(costs) > 0)


def test_no_refill_of_a_book_that_stays_is_one_walk_down_it() -> None:
    """Ten books of 101 x 20, 103 x 20 that never refill hold 40 shares in all."""
    done = replay(Schedule(np.full(10, 5.0), "s"), _books([40] * 10), "buy", refill=0.0)
    assert done.filled.sum() == 40.0
    assert done.cost == 20 * 1 + 20 * 3
    assert done.unfilled == 10.0


def test_a_latency_walks_the_books_of_its_own_times() -> None:
    session = Session(2, open="09:30", close="09:32")
    opens = int(session.bounds([np.datetime64("2024-01-02").astype(object)])[0][0])
    seconds = np.array([0, 20, 45, 61, 100])
    asks = 101.0 + np.arange(5.0)
    states = BookSnapshots(
        opens + seconds * 10**9,
        np.full((5, 1), 99.0),
        np.full((5, 1), 10.0),
        asks[:, None],
        np.full((5, 1), 10.0),
    )
    schedule = Schedule(np.array([2.0, 4.0]), "s")
    whole = replay(schedule, sample_states(states, session), "buy")
    assert whole.fills["price"].tolist() == [101.0, 103.0]  # shown at 0 and 60 seconds
    late = replay(schedule, sample_states(states, session, latency_seconds=20), "buy")
    assert late.fills["price"].tolist() == [102.0, 104.0]  # at 20 and 80
    assert late.time.tolist() == [opens + 20 * 10**9, opens + 80 * 10**9]


def test_no_latency_samples_as_the_books_do() -> None:
    session = Session(13)
    states = SyntheticMarket(session=Session(52)).books(52, 5, np.random.default_rng(3))
    one = replay(twap(900, 13), sample_states(states, session), "buy")
    other = replay(twap(900, 13), states.sample(session), "buy")
    assert np.array_equal(one.time, other.time)
    assert np.array_equal(one.mid, other.mid, equal_nan=True)
    assert np.array_equal(one.fills["price"], other.fills["price"])


def test_what_cannot_be_replayed_is_refused() -> None:
    books = _books([20, 20])
    with pytest.raises(ValidationError, match="refill must be at most 1"):
        replay(twap(10, 2), books, "buy", refill=1.5)
    with pytest.raises(
        ValidationError, match="max_shares must be at least 0, got -1 in interval 0"
    ):
        replay(twap(10, 2), books, "buy", max_shares=[-1.0, 2.0])
    with pytest.raises(ValidationError, match="the ladder is that of a buy, not of a sell"):
        replay(twap(10, 2), Ladder.of(books, "buy"), "sell")


def test_an_allocation_and_an_array_are_replayed_as_a_schedule_is() -> None:
    books = SyntheticMarket(session=Session(13)).books(13, 5, np.random.default_rng(7))
    best = allocate(LinearImpact(np.linspace(2, 1, 13) * 1e-5, 0.01), 3_000)
    expected = replay(Schedule(best.shares, "by hand"), books, "buy")
    for given in (best, best.shares, best.shares.tolist()):
        done = replay(given, books, "buy")
        assert done.filled.tolist() == expected.filled.tolist()
        assert done.cost == expected.cost
    assert replay(best, books, "buy").name == "allocation"


def test_labelled_shares_and_caps_are_aligned_by_interval_or_refused() -> None:
    shares = pd.Series([30.0, 10.0], index=[1, 0])
    assert replay(shares, _books([80, 80]), "buy").filled.tolist() == [10.0, 30.0]
    caps = pd.Series([30.0, 5.0], index=[1, 0])
    assert replay(shares, _books([80, 80]), "buy", max_shares=caps).filled.tolist() == [5.0, 30.0]
    for given in ({"schedule": shares.set_axis(["A", "B"])}, {"max_shares": caps.set_axis([1, 2])}):
        arguments = {"schedule": [10.0, 30.0], **given}
        with pytest.raises(ValidationError, match="intervals are labelled 0 to 1"):
            replay(arguments.pop("schedule"), _books([80, 80]), "buy", **arguments)


def test_a_fill_on_a_book_of_before_a_halt_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A state a minute but from 10:00 to 11:31, and a child order every 13 minutes from 9:30."""
    session = Session(30)
    opens = int(session.bounds([np.datetime64("2024-01-02").astype(object)])[0][0])
    minutes = np.concatenate([np.arange(31), np.arange(121, 391)])
    price, size = np.full((len(minutes), 1), 99.0), np.full((len(minutes), 1), 100.0)
    states = BookSnapshots(opens + minutes * 60 * 10**9, price, size, price + 2, size)
    done = replay(np.full(30, 10.0), states.sample(session), "buy")
    assert done.age[:11] / 60e9 == pytest.approx([0, 0, 0, 9, 22, 35, 48, 61, 74, 87, 0])
    said = "7 of 30 child orders are filled on books older than 300 s, the oldest 87 min"
    assert said in caplog.text


def test_fresh_books_are_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    replay([5.0, 5.0], _books([20, 20]), "buy")
    assert not caplog.text


def test_an_execution_is_a_table_of_its_fills_and_a_summary_in_a_cell() -> None:
    done = replay(Schedule(np.array([10.0, 0.0]), "early"), _books([40, 40]), "buy")
    assert done.fills[["shares", "price"]].to_numpy().tolist() == [[10.0, 101.0]]
    shown = done._repr_html_()
    assert "early" in shown
    assert "cost_bps" in shown
    assert len(shown) < 3_000


def test_an_order_of_nothing_shows_a_table() -> None:
    size = [[5.0]] * 2
    books = BookSnapshots([10**18, 10**18 + 1], [[99.0]] * 2, size, [[101.0]] * 2, size)
    done = replay(np.zeros(2), books, "buy")
    assert np.isnan(done.timing_risk_bps)
    assert "total_shares" in done._repr_html_()


def test_an_empty_book_between_replenishes_nothing() -> None:
    """H decays at the replenishment rate, whatever is shown meanwhile."""
    time = 10**18 + np.arange(3) * 60 * 10**9
    for missing in ("bid", "ask"):
        sides = {side: np.full((3, 1), price) for side, price in (("bid", 99.0), ("ask", 101.0))}
        sizes = {side: np.full((3, 1), 20.0) for side in sides}
        sizes[missing][1] = 0.0
        books = BookSnapshots(time, sides["bid"], sizes["bid"], sides["ask"], sizes["ask"])
        assert replay([20, 0, 20], books, "buy", refill=0.0).filled.tolist() == [20, 0, 0]
        assert replay([20, 0, 20], books, "buy", refill=0.5).filled.tolist() == [20, 0, 15]


def test_a_latency_meets_the_first_states_after_a_break() -> None:
    hours = {"open": "09:00", "close": "15:00", "timezone": "Asia/Tokyo", "calendar": None}
    session = Session(10, breaks=[("11:30", "12:30")], **hours)
    begin = pd.Timestamp("2024-07-03 09:00", tz="Asia/Tokyo").value
    seconds = np.concatenate([np.arange(0.7, 9_000, 0.7), np.arange(12_600.7, 21_600, 0.7)])
    one = np.ones((len(seconds), 1))
    states = BookSnapshots(begin + (seconds * 1e9).astype(np.int64), 99 * one, one, 101 * one, one)
    assert sample_states(states, session, 1.0).complete.all()


def test_a_latency_longer_than_a_segment_keeps_the_order_of_states() -> None:
    hours = {"open": "09:30", "close": "10:30", "calendar": None, "breaks": [("09:35", "09:40")]}
    session = Session(11, **hours)
    begin = pd.Timestamp("2024-07-03 09:30", tz="America/New_York").value
    time = begin + np.arange(0, 3_600, 20) * 10**9
    one = np.ones((len(time), 1))
    states = BookSnapshots(time, 99 * one, one, 101 * one, one)
    assert len(sample_states(states, session, 400.0)) == 11

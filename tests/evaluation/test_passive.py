"""Orders that rest: what fills them, in what order, and never more than what traded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from queue_twin import rest

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    QUEUES,
    Accounting,
    CarriedImpact,
    Posting,
    Recording,
    order_cost,
    order_costs,
    post_then_cross,
    replay,
    rest_orders,
    sample_states,
)
from research_lib.impact import ExponentialSumKernel
from research_lib.market import BookSnapshots, Messages, QueueMarket, Session, Trades, read_books

SECOND, NOON = 10**9, 10**18  # ns
FIVE = QueueMarket(session=Session(5, close="09:35"))


def recorded(
    bid: list[tuple[float, float]],
    trades: list[tuple[float, float, float, int]] = (),
    ask: Any = 10.1,
) -> Recording:
    """Best bids (price, size), one a second from 0, and trades (second, price, size, aggressor)."""
    time, price, size = NOON + np.arange(len(bid)) * SECOND, *np.array(bid, float).T
    asks = np.broadcast_to(np.asarray(ask, float), len(bid))
    own = Trades(
        *(
            np.array(one)
            for one in zip(*[(NOON + int(t * SECOND), *x) for t, *x in trades], strict=True)
        )
    )
    depth = np.full((len(bid), 1), 900.0)
    books = BookSnapshots(time, np.c_[price, price - 0.1], np.c_[size, depth], np.c_[asks, asks + 0.1],
                          np.c_[depth, depth], trades=own)  # fmt: skip
    return Recording.of(books, 0.1)


def filled(
    recording: Recording, queue: str, x: float = 40.0, **how: Any
) -> list[tuple[float, float]]:
    """(second, shares) that fill a bid which rests from 0 to the last state."""
    posting = Posting(queue, latency_seconds=0.0, **how)
    end = recording.books.time[-1:] + SECOND
    done = rest_orders(recording, "buy", [x], np.array([NOON]), end, posting)
    assert done.left[0] == pytest.approx(x - done.shares.sum())
    return [
        ((t - NOON) / SECOND, s)
        for t, s in zip(done.time.tolist(), done.shares.tolist(), strict=True)
    ]


def test_trades_fill_what_is_ahead_first() -> None:
    one = recorded(
        [(10.0, 100.0), (10.0, 20.0), (10.0, 0.001)], [(1, 10.0, 80.0, -1), (2, 10.0, 50.0, -1)]
    )
    assert filled(one, "last") == [(2.0, 30.0)]  # 80 + 50 less the 100 ahead
    assert filled(one, "first") == [(1.0, 40.0)]


def test_cancellations_are_behind_ahead_or_spread_by_the_model() -> None:
    states = [(10.0, 100.0), (10.0, 60.0), (10.0, 30.0)]
    one = recorded(states, [(2, 10.0, 30.0, -1)])  # 40 of 100 are cancelled, then 30 trade
    assert filled(one, "last") == []  # at most 60 can be ahead once 60 are displayed
    assert filled(one, "proportional") == []
    other = recorded([(10.0, 100.0), (10.0, 120.0), (10.0, 60.0), (10.0, 1.0)],
                     [(3, 10.0, 59.0, -1)])  # fmt: skip
    assert filled(other, "last") == []  # 100 joined by 20, 60 cancelled: 60 may still be ahead
    assert filled(other, "proportional") == [(3.0, 9.0)]  # half of 100 are


def test_a_trade_or_a_quote_through_the_price_fills_whatever_is_ahead() -> None:
    through = recorded([(10.0, 100.0), (9.9, 50.0)], [(1, 9.9, 25.0, -1)])
    assert filled(through, "last") == [(1.0, 25.0)]
    quote = recorded([(10.0, 100.0), (9.8, 50.0)], [(0.5, 10.1, 1.0, 1)], ask=[10.1, 9.9])
    assert filled(quote, "last") == [(1.0, 40.0)]  # 900 are offered at 9.9


def test_trades_of_unknown_aggressors_at_the_price_fill_the_optimistic_model_alone() -> None:
    one = recorded([(10.0, 10.0), (10.0, 10.0)], [(1, 10.0, 25.0, 0)])
    assert filled(one, "last") == []
    assert filled(one, "first") == [(1.0, 25.0)]
    assert filled(recorded([(10.0, 10.0), (9.9, 1.0)], [(1, 9.9, 25.0, 0)]), "last") == [
        (1.0, 25.0)
    ]


def test_where_aggressors_are_inferred_the_optimistic_model_takes_any_trade_at_its_price() -> None:
    one = recorded([(10.0, 10.0)] * 2, [(1, 10.0, 25.0, 1)])
    assert filled(one, "first") == []
    assert filled(replace(one, inferred=True), "first") == [(1.0, 25.0)]
    assert filled(replace(one, inferred=True), "last") == []


def test_a_gap_of_the_recording_fills_the_optimistic_model_alone() -> None:
    one = replace(recorded([(10.0, 10.0)] * 2, [(0.2, 10.1, 1.0, 1)]), gap_seconds=0.5)
    assert filled(one, "first") == [(1e-9, 40.0)]
    assert filled(one, "last") == []
    assert filled(replace(one, gap_seconds=1.5), "first") == []


def test_quotes_that_an_order_took_at_rest_are_not_there_when_the_rest_crosses() -> None:
    bids = [(10.0, 100.0), (9.8, 50.0), (9.8, 50.0)]
    one = recorded(bids, [(0.5, 10.2, 1.0, 1)], ask=[10.1, 9.9, 9.9])  # 900 at 9.9, 900 at 10.0
    how = Posting("last", latency_seconds=0.0)
    done = post_then_cross([2000.0], one, np.array([NOON]), 2 * SECOND + 1, "buy", how)
    assert done.filled.tolist() == [0.0, 1800.0, 0.0]  # all that is offered up to 10.0, once
    assert done.unfilled == 200.0


def test_the_impact_of_shares_at_rest_is_charged_as_asked() -> None:
    one = recorded([(10.0, 40.0)] * 3, [(1, 10.0, 60.0, -1)])
    how = Posting("last", latency_seconds=0.0)
    done = post_then_cross([40.0], one, np.array([NOON]), 2 * SECOND + 1, "buy", how)
    kernel = CarriedImpact("measured", ExponentialSumKernel(0.0, 1e-3))
    full, none = (order_cost(done, Accounting(kernel, resting_impact=x)) for x in (1.0, 0.0))
    # 20 at rest before 20 that cross; each moves its own price by half, beyond its walk of 0.
    notional = 40.0 * 10.05
    assert full["carried_bps"] == pytest.approx(1e4 * 1e-3 * (400 + 200 + 200) / notional)
    assert none["carried_bps"] == pytest.approx(1e4 * 1e-3 * 200 / notional)


def test_an_order_follows_the_quote_to_the_end_of_its_queue_or_stays() -> None:
    states = [(10.0, 10.0), (10.1, 30.0), (10.1, 0.001), (10.1, 0.001)]
    one = recorded(states, [(2, 10.1, 50.0, -1)], ask=10.3)
    assert filled(one, "last") == [(2.0, 20.0)]
    assert filled(one, "last", follow=False) == []


def test_an_order_stands_behind_or_inside_the_quote_and_never_crosses() -> None:
    sold = [(1, 10.0, 40.0, -1)]
    assert filled(recorded([(10.0, 40.0)] * 2, sold, ask=10.3), "last", offset_ticks=-1) == [
        (1.0, 40.0)
    ]
    inside = recorded([(10.0, 40.0)] * 2, sold, ask=10.1)  # there is no price inside
    assert filled(inside, "last", offset_ticks=-1) == []
    assert filled(recorded([(10.0, 40.0)] * 2, sold), "first", offset_ticks=1) == []


def test_nothing_is_filled_before_the_order_has_arrived() -> None:
    one = recorded([(10.0, 10.0)] * 3, [(1, 10.0, 30.0, -1), (2, 10.0, 30.0, -1)])
    late = Posting("first", latency_seconds=1.0)
    done = rest_orders(one, "buy", [40.0], np.array([NOON]), one.books.time[-1:], late)
    assert done.time.tolist() == [NOON + 2 * SECOND]


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("side", ["buy", "sell"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 50), offset=st.integers(-1, 2), follow=st.booleans(),
    latency=st.sampled_from([0.0, 0.7, 5.0]), shares=st.sampled_from([50.0, 300.0]),
)  # fmt: skip
def test_the_compiled_loop_is_its_plain_twin(
    queue: str, side: str, seed: int, offset: int, follow: bool, latency: float, shares: float
) -> None:
    busy = QueueMarket(session=Session(2, close="09:32"), market_rate=0.4, cancel_rate=0.1)
    books, messages = busy.days(1, np.random.default_rng(seed))
    one, how = Recording.of(books, 0.01, messages), Posting(queue, offset, follow, latency)
    start = books.time[[0, len(books) // 3]] + 1
    end = start + 40 * SECOND
    done = rest_orders(one, side, shares, start, end, how)
    sign = 1 if side == "buy" else -1
    for k in range(2):
        mine = done.order == k
        plain = rest(one, side, shares, int(start[k]), int(end[k]), how)
        found = zip(done.time[mine], done.shares[mine], done.price[mine], strict=True)
        assert [(t, s, round(sign * p / 0.01)) for t, s, p in found] == plain


@pytest.mark.parametrize("queue", QUEUES)
def test_no_share_is_filled_twice_and_none_beyond_what_traded(queue: str) -> None:
    books, messages = FIVE.days(1, np.random.default_rng(3))
    one = Recording.of(books, 0.01, messages)
    start = FIVE.session.starts(books.days(FIVE.session))[0]
    how = Posting(queue, latency_seconds=0.0)
    done = rest_orders(one, "buy", 500.0, start, start + 60 * SECOND - 1, how)
    assert (np.bincount(done.order, done.shares, 5) + done.left == 500.0).all()
    assert (done.left >= 0).all()
    sold = books.trades.take(books.trades.aggressor < 0)
    for time, shares, price in zip(done.time, done.shares, done.price, strict=True):
        hit = sold.size[(sold.time == time) & (sold.price < price + 1e-9)]
        state = np.searchsorted(books.time, time)
        shown = books.ask_size[state, books.ask_price[state] < price + 1e-9]
        assert shares <= hit.sum() + shown.sum()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30)), min_size=2, max_size=40),
    st.integers(1, 60), st.integers(1, 80),
)  # fmt: skip
def test_without_cancellations_all_models_of_the_queue_agree(
    events: list[tuple[bool, int]], shares: int, ahead: int
) -> None:
    """Orders join and trades take them; "first" is left out, as it assumes that none are ahead."""
    states, trades, size = [(10.0, float(ahead))], [], ahead
    for second, (joins, change) in enumerate(events, 1):
        size += change if joins else -min(change, size)
        states.append((10.0, float(size)))
        trades += [] if joins else [(second, 10.0, float(change), -1)]
    assume(trades)
    nobody = Messages(np.zeros(0, np.int64), [], [], [], [], [])  # cancels
    one = replace(recorded(states, trades), messages=nobody)
    same = {queue: filled(one, queue, float(shares)) for queue in QUEUES if queue != "first"}
    assert same["last"] == same["proportional"] == same["exact"]
    sold = sum(size for *_, size, _ in trades)
    assert sum(size for _, size in same["last"]) == min(shares, max(sold - ahead, 0))


def test_an_order_that_is_never_posted_is_the_replay_with_latency() -> None:
    path = real_data("lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz")
    books, session = read_books(path), Session(78)
    start = session.starts(books.days(session))[0]
    one, step = Recording.of(books), 300 * SECOND
    taken = post_then_cross([100.0] * 78, one, start, step, "buy", Posting(), posts=False)
    late = replay([100.0] * 78, sample_states(books, session, 1.0), "buy")
    assert taken.filled[1:].tolist() == late.filled.tolist()
    assert taken.cost == pytest.approx(late.cost, rel=1e-12)
    assert taken.timing_risk_bps == pytest.approx(
        late.timing_risk_bps, rel=0.02
    )  # minute 0 has no book
    priced = order_costs([taken, late], states=books)
    assert priced["total_bps"].iloc[0] == pytest.approx(priced["total_bps"].iloc[1], rel=1e-9)


def test_the_accounting_counts_what_was_earned_at_rest_and_the_rebate() -> None:
    one = recorded([(10.0, 40.0)] * 3, [(1, 10.0, 60.0, -1)])  # 20 of 40 are filled at rest
    how = Posting("last", latency_seconds=0.0)
    done = post_then_cross([40.0], one, np.array([NOON]), 2 * SECOND + 1, "buy", how)
    assert done.filled.tolist() == [0.0, 20.0, 20.0]
    paid = order_cost(done, Accounting(fee_per_share=0.03, rebate_per_share=0.01))
    assert paid["spread_bps"] == pytest.approx(0.0, abs=1e-9)  # half earned, half paid
    assert paid["fees_bps"] == pytest.approx(1e4 * (0.03 - 0.01) / 2 / 10.05)
    assert paid["total_bps"] == pytest.approx(paid["fees_bps"], abs=1e-9)


def test_the_exact_queue_needs_messages_and_a_recording_trades() -> None:
    one = recorded([(10.0, 40.0)] * 2, [(1, 10.0, 60.0, -1)])
    with pytest.raises(ValidationError, match="needs order messages"):
        filled(one, "exact")
    with pytest.raises(ValidationError, match="above 0"):
        replace(one, gap_seconds=-1.0)
    with pytest.raises(ValidationError, match="60 s apart"):
        Recording.of(replace(one.books, time=NOON + 60 * SECOND * np.arange(2)))
    now, step = one.books.time[:1], 2 * SECOND
    for wrong, message in (
        ({"start": now + 10**15}, "the recording is of 2001-09-09"),
        ({"start": np.append(now, now)}, "overlap"),
        ({"step": 300}, "step is in ns"),
        ({"posts": "yes"}, "posts must be"),
    ):
        args = {"start": now, "step": step, "side": "buy", "posting": Posting()} | wrong
        with pytest.raises(ValidationError, match=message):
            post_then_cross([40.0] * len(args["start"]), one, **args)
    with pytest.raises(ValidationError, match="an end is before"):
        rest_orders(one, "buy", [1.0], now, now - 1, Posting())
    with pytest.raises(ValidationError, match="no trades"):
        Recording.of(BookSnapshots([0], [[1.0]], [[1.0]], [[2.0]], [[1.0]]))
    with pytest.raises(ValidationError, match="queue 'midle' is unknown; choose from last"):
        Posting("midle")

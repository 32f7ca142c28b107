"""The market of queues: its rates, its books and messages, and the time to fill of a limit order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from research_lib.errors import ValidationError
from research_lib.market import ADD, CANCEL, EXECUTE, BookSnapshots, Messages, QueueMarket, Session

Array = NDArray[np.int64]
Day = tuple[QueueMarket, BookSnapshots, Messages]


@pytest.fixture(scope="module", params=["default", "busy"])
def day(request: pytest.FixtureRequest) -> Day:
    """A day of about 22,000 states, and one of about 100,000."""
    busy = QueueMarket(market_rate=0.3, limit_rate=1.0, cancel_rate=0.15, mean_queue=4.0)
    market = busy if request.param == "busy" else QueueMarket()
    return market, *market.days(1, np.random.default_rng(20251122))


def replayed(messages: Messages) -> Array:
    """(time, kind, side, place in its queue, length of that queue before) of each message, (m, 5)."""
    queues: dict[int, list[int]] = {1: [], -1: []}
    rows = []
    for time, order, kind, side in zip(
        messages.time.tolist(),
        messages.order_id.tolist(),
        messages.kind.tolist(),
        messages.side.tolist(),
        strict=True,
    ):
        queue = queues[side]
        place = len(queue) if kind == ADD else queue.index(order)  # an error for an unknown order
        rows.append((time, kind, side, place, len(queue)))
        if kind == ADD:
            queue.append(order)
        else:
            queue.pop(place)
    return np.array(rows)


def events(messages: Messages) -> Array:
    """The message that begins each state but the first, and none of the orders that a move renews."""
    rows = replayed(messages)
    return rows[np.unique(rows[:, 0], return_index=True)[1][1:-1]]


def waits(rows: Array, side: int, ahead: int) -> tuple[Array, NDArray[np.bool_]]:
    """Times to fill (k,) ns of extra orders, one after the other, and whether they are filled.

    One joins behind a limit order, so that there are `ahead` in front. It is filled by the first market order that
    finds none of them, or where its queue empties, so that the price moves through it; it is
    censored where the other side's queue empties or the day ends.
    """
    spans, in_front, start = [], -1, 0
    for time, kind, at, place, n in rows.tolist():
        if in_front < 0:
            if (kind, at, place) == (ADD, side, ahead - 1):
                in_front, start = ahead, time
        elif kind != ADD and at == side:
            if (kind == EXECUTE and in_front == 0) or n == 1:
                spans.append((time - start, True))
                in_front = -1
            elif place < in_front:
                in_front -= 1
        elif kind != ADD and n == 1:
            spans.append((time - start, False))
            in_front = -1
    if in_front >= 0:
        spans.append((rows[-1, 0] - start, False))
    return np.array([span for span, _ in spans]), np.array([filled for _, filled in spans])


def kaplan_meier(spans: Array, filled: NDArray[np.bool_], seconds: float) -> tuple[float, float]:
    """P(T <= seconds) and Greenwood's standard error; no two spans are equal."""
    order = np.argsort(spans)
    at_risk = len(spans) - np.arange(len(spans))
    at_risk = at_risk[filled[order] & (spans[order] <= seconds * 1e9)]
    survival = float(np.prod(1.0 - 1.0 / at_risk))
    return 1.0 - survival, survival * float(np.sqrt(np.sum(1.0 / (at_risk * (at_risk - 1.0)))))


SECONDS = np.array([0.0, 1.0, 30.0, 90.0])


def test_where_nothing_else_happens_the_time_to_fill_is_that_of_the_orders_ahead() -> None:
    """Erlang: with the last of them the price moves, and the next quote fills."""
    market = QueueMarket(market_rate=0.2, cancel_rate=0.0, limit_rate=0.0)
    for ahead in (1, 4, 20):
        erlang = stats.gamma.cdf(SECONDS, ahead, scale=1 / 0.2)
        assert market.fill_probability(ahead, SECONDS) == pytest.approx(erlang, rel=1e-8)


def test_behind_a_long_queue_it_takes_one_more_market_order() -> None:
    """Of five arrivals a second hardly any is missing when the four ahead are executed."""
    market = QueueMarket(market_rate=0.2, cancel_rate=0.0, limit_rate=5.0)
    erlang = stats.gamma.cdf(SECONDS, 5, scale=1 / 0.2)
    assert market.fill_probability(4, SECONDS) == pytest.approx(erlang, abs=(0.2 / 5.2) ** 4)


def test_the_time_to_fill_is_a_sum_of_independent_exponentials() -> None:
    """Distinct rates r_i: P(T > t) is the sum of exp(-r_i t) times prod_(j != i) r_j / (r_j - r_i)."""
    market = QueueMarket(market_rate=0.1, cancel_rate=0.07, limit_rate=0.0)
    rates, seconds = 0.1 + 0.07 * np.arange(1, 7), np.array([5.0, 20.0, 60.0])
    weights = [np.prod([r / (r - one) for r in rates if r != one]) for one in rates]
    survival = np.exp(-np.outer(seconds, rates)) @ weights
    assert market.fill_probability(6, seconds) == pytest.approx(1 - survival, rel=1e-8)


@pytest.mark.parametrize("ahead", [2, 3, 6])
def test_kaplan_meier_recovers_the_fill_probability(day: Day, ahead: int) -> None:
    market, _, messages = day
    sides = [waits(events(messages), side, ahead) for side in (1, -1)]
    spans, filled = (np.concatenate(both) for both in zip(*sides, strict=True))
    assert 0.02 < 1 - filled.mean() < 0.7  # some of them are censored
    grid = np.linspace(0, 200, 41)
    for seconds in np.interp([0.1, 0.5, 0.9], market.fill_probability(ahead, grid), grid):
        seen, error = kaplan_meier(spans, filled, seconds)
        assert abs(seen - market.fill_probability(ahead, seconds)[0]) < 4 * error


def test_the_messages_replayed_are_the_books(day: Day) -> None:
    market, books, messages = day
    rows = replayed(messages)
    lots = rows[:, 4] + np.where(rows[:, 1] == ADD, 1, -1)
    for side, name in ((1, "bid"), (-1, "ask")):
        own = np.flatnonzero(rows[:, 2] == side)
        last = own[np.searchsorted(rows[own, 0], books.time, "right") - 1]
        assert np.array_equal(books[f"{name}_size"][:, 0], market.lot_size * lots[last])
        assert np.array_equal(books[f"{name}_price"][:, 0], messages.price[last])
        assert lots[own[-1]] == 0  # nothing is left at the close
    closes = market.session.bounds([market.first_day])[1]
    assert np.array_equal(np.unique(messages.time), np.append(books.time, closes))


def test_an_order_leaves_at_the_price_it_joined(day: Day) -> None:
    _, _, messages = day
    _, first, count = np.unique(messages.order_id, return_index=True, return_counts=True)
    assert (count == 2).all()
    assert (messages.kind[first] == ADD).all()
    left = np.argsort(messages.order_id, kind="stable")[1::2]
    assert np.array_equal(messages.price[first], messages.price[left])


def test_executions_are_the_trades(day: Day) -> None:
    _, books, messages = day
    executed = messages.kind == EXECUTE
    for name in ("time", "price", "size"):
        assert np.array_equal(books.trades[name], messages[name][executed])
    assert np.array_equal(books.trades.aggressor, -messages.side[executed])
    before = np.searchsorted(books.time, books.trades.time) - 1
    touch = np.where(
        books.trades.aggressor > 0, books.ask_price[before, 0], books.bid_price[before, 0]
    )
    assert np.array_equal(books.trades.price, touch)


def test_a_market_order_executes_the_oldest_and_a_cancellation_any_order(day: Day) -> None:
    rows = events(day[2])
    assert (rows[rows[:, 1] == EXECUTE, 3] == 0).all()
    _, _, _, place, n = rows[rows[:, 1] == CANCEL].T
    fraction, variance = (place + 0.5) / n, (1 - 1 / n**2) / 12  # of a uniform place among n
    assert abs(np.sum(fraction - 0.5)) < 4 * np.sqrt(variance.sum())


def test_levels_are_one_tick_apart_and_states_have_times_of_their_own(day: Day) -> None:
    market, books, _ = day
    apart = np.diff(np.hstack([books.bid_price[:, ::-1], books.ask_price]), axis=1)
    assert np.allclose(apart, market.tick, rtol=1e-9, atol=0)
    assert (books.ask_size[:, 1:] == market.deep_size).all()
    assert (np.diff(books.time) > 0).all()
    assert (market.session.interval_of(books.time) >= 0).all()


def test_events_come_at_the_rates_set(day: Day) -> None:
    """A count less its integrated rate has the integrated rate as its variance."""
    market, books, messages = day
    kind = events(messages)[:, 1]
    seconds = np.diff(books.time, append=market.session.bounds([market.first_day])[1]) / 1e9
    queued = (books.bid_size + books.ask_size)[:, 0] / market.lot_size
    for one, expected in (
        (ADD, 2 * market.limit_rate * seconds.sum()),
        (EXECUTE, 2 * market.market_rate * seconds.sum()),
        (CANCEL, market.cancel_rate * (queued @ seconds)),
    ):
        assert abs(np.sum(kind == one) - expected) < 4 * np.sqrt(expected)


def test_a_move_takes_an_empty_queue_and_draws_both_anew(day: Day) -> None:
    market, books, messages = day
    _, _, side, _, n = (rows := events(messages)).T
    emptied = (rows[:, 1] != ADD) & (n == 1)
    ticks = np.rint(np.diff(books.mid) / market.tick)
    assert np.array_equal(ticks, np.where(emptied, -side, 0))
    drawn = np.stack([books.bid_size[1:][emptied, 0], books.ask_size[1:][emptied, 0]])
    mean, error = market.mean_queue, np.sqrt(market.mean_queue * (market.mean_queue - 1))
    assert abs(drawn.mean() / market.lot_size - mean) < 4 * error / np.sqrt(drawn.size)
    assert drawn.min() == market.lot_size


def test_the_price_rises_as_often_as_it_falls() -> None:
    books, _ = QueueMarket(cancel_rate=0.1).days(10, np.random.default_rng(5))
    ticks = np.rint(np.diff(books.mid) / 0.01)
    assert set(ticks) == {-1, 0, 1}
    assert abs(ticks.sum()) < 4 * np.sqrt(np.abs(ticks).sum())
    signs = ticks[ticks != 0]  # and whichever way it went before
    assert abs(np.sum(signs[1:] * signs[:-1])) < 4 * np.sqrt(len(signs))


def test_each_day_opens_at_the_last_price_with_new_orders() -> None:
    market = QueueMarket(session=Session(13))
    books, messages = market.days(2, np.random.default_rng(1))
    opens, closes = market.session.bounds(pd.date_range(market.first_day, periods=2))
    second = np.flatnonzero(books.time == opens[1])[0]
    assert books.mid[second] == books.mid[second - 1]
    assert (messages.kind[messages.time == opens[1]] == ADD).all()
    assert (messages.kind[messages.time == closes[0]] == CANCEL).all()


def test_blocks_around_the_clock_follow_one_another() -> None:
    books, messages = QueueMarket(session=Session(60, block="1h")).days(3, np.random.default_rng(1))
    assert len(books.days(Session(60, block="1h"))) == 3
    assert np.array_equal(np.unique(messages.time)[:-1], books.time)


def test_the_generator_decides() -> None:
    market = QueueMarket(session=Session(10, close="10:30"))
    one, same, other = (market.days(1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for k in range(2):
        assert np.array_equal(one[k].time, same[k].time)
        assert not np.array_equal(one[k].time, other[k].time)
    assert np.array_equal(one[0].bid_size, same[0].bid_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"market_rate": 0.0}, "market_rate must be above 0"),
        ({"cancel_rate": -0.1}, "cancel_rate must be at least 0"),
        ({"mean_queue": 0.5}, "mean_queue must be at least 1"),
        ({"n_levels": 0}, "n_levels must be at least 1"),
        ({"session": Session(breaks=[("11:30", "12:30")], calendar=None)}, "has breaks"),
    ],
)
def test_a_market_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QueueMarket(**settings)


def test_a_price_near_zero_and_a_time_before_joining_are_refused() -> None:
    with pytest.raises(ValidationError, match="raise base_price"):
        QueueMarket(base_price=0.04).days(1, np.random.default_rng(1))
    with pytest.raises(ValidationError, match="at least 0"):
        QueueMarket().fill_probability(3, [-1.0])
    with pytest.raises(ValidationError, match="ahead must be an integer"):
        QueueMarket().fill_probability(1.5, 10)
    with pytest.raises(ValidationError, match="ahead must be at least 1"):
        QueueMarket().fill_probability(0, 10)

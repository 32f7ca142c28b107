"""Signs with long memory, and the trades that carry them."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.market import OrderFlow, Session, SyntheticMarket


def averaged_autocorrelation(
    flow: OrderFlow, lags: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Mean product of signs `lag` apart (the mean sign is 0) over independent runs, and its standard error."""
    runs = np.array([flow.signs(2_000, rng) for _ in range(2_000)], dtype=float)
    products = np.array([np.mean(runs[:, lag:] * runs[:, :-lag], axis=1) for lag in lags])
    return products.mean(axis=1), products.std(axis=1) / np.sqrt(len(runs))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.8])
@pytest.mark.slow
def test_signs_follow_the_closed_form(exponent: float, rng: np.random.Generator) -> None:
    flow = OrderFlow(sign_exponent=exponent, split_share=0.7)
    lags = [1, 2, 5, 20, 100, 500]
    seen, error = averaged_autocorrelation(flow, lags, rng)
    assert np.all(np.abs(seen - flow.sign_autocorrelation(lags)) < 4.5 * error)


@pytest.mark.slow
def test_the_sign_exponent_is_the_slope(rng: np.random.Generator) -> None:
    """Log-log slope over lags 20 to 200, where C(k) is within 1 % of its power law; its error from the points'."""
    flow = OrderFlow(sign_exponent=0.5, split_share=1.0)
    lags = [20, 40, 80, 120, 200]
    seen, error = averaged_autocorrelation(flow, lags, rng)
    slope = np.polyfit(np.log(lags), np.log(seen), 1)[0]
    assert abs(slope + 0.5) < 4 * np.max(error / seen) + 0.01
    assert np.polyfit(np.log(lags), np.log(flow.sign_autocorrelation(lags)), 1)[0] == pytest.approx(
        -0.5, abs=0.01
    )


@pytest.mark.slow
def test_no_split_orders_leave_no_memory(rng: np.random.Generator) -> None:
    flow = OrderFlow(split_share=0.0)
    seen, error = averaged_autocorrelation(flow, [1, 10], rng)
    assert np.all(np.abs(seen) < 4 * error)
    assert flow.sign_autocorrelation([1, 10]).tolist() == [0.0, 0.0]


def test_buyers_and_sellers_are_as_many_from_the_first_trade_on(rng: np.random.Generator) -> None:
    first = np.array([OrderFlow().signs(3, rng) for _ in range(4_000)], dtype=float)
    assert np.all(np.abs(first.mean(axis=0)) < 4 / np.sqrt(4_000))
    # Stationary: the first pair is as alike as the second.
    pairs = first[:, :-1] * first[:, 1:]
    expected = OrderFlow().sign_autocorrelation(1)
    assert np.all(np.abs(pairs.mean(axis=0) - expected) < 4 / np.sqrt(4_000))


def test_no_trades_need_no_signs(rng: np.random.Generator) -> None:
    assert len(OrderFlow().signs(0, rng)) == 0


def test_trades_come_with_the_books_and_leave_them_as_they_are() -> None:
    market, session = SyntheticMarket(session=Session(13)), Session(13)
    plain = market.books(26, 5, np.random.default_rng(4))
    books = market.books(
        26, 5, np.random.default_rng(4), flow=OrderFlow(trades_per_interval=50.0, mean_size=40.0)
    )
    assert plain.trades is None
    assert np.array_equal(plain.ask_size, books.ask_size)
    trades = books.trades
    assert trades is not None
    # 26 Poisson numbers of mean 50 and 1,300 geometric sizes of standard deviation 39.5.
    assert abs(len(trades) - 1_300) < 4 * np.sqrt(1_300)
    assert abs(trades.size.mean() - 40.0) < 4 * 39.5 / np.sqrt(1_300)
    book = np.searchsorted(books.time, trades.time, side="right") - 1
    assert np.array_equal(session.interval_of(trades.time), session.interval_of(books.time)[book])
    touch = np.where(trades.aggressor > 0, books.ask_price[book, 0], books.bid_price[book, 0])
    assert np.array_equal(trades.price, touch)


@pytest.mark.parametrize("first_day", [dt.date(2024, 7, 2), dt.date(2024, 7, 3)])
def test_trades_on_half_days_print_in_their_own_interval_at_their_own_touch(
    first_day: dt.date, rng: np.random.Generator
) -> None:
    """Prices move by many ticks from book to book, so that a price of another book is found out."""
    session = Session(13)  # 2024-07-03 closes at 13:00, as the calendar knows
    market = SyntheticMarket(ModelConfig(volatility_factor=1.0), session, first_day=first_day)
    books = market.books(3 * 13, 2, rng, flow=OrderFlow(trades_per_interval=200.0))
    trades = books.trades
    assert trades is not None
    assert (session.interval_of(trades.time) >= 0).all()
    book = np.searchsorted(books.time, trades.time, side="right") - 1
    assert np.array_equal(session.interval_of(trades.time), session.interval_of(books.time)[book])
    assert np.array_equal(
        trades.price,
        np.where(trades.aggressor > 0, books.ask_price[book, 0], books.bid_price[book, 0]),
    )
    # 200 trades a book, Poisson, spread over the whole of its own interval.
    counts = np.bincount(book, minlength=len(books))
    assert np.all(np.abs(counts - 200) < 4.5 * np.sqrt(200))
    opens, closes = session.bounds(session.days(books.time))
    part = (trades.time - books.time[book]) / ((closes - opens) / 13)[book]
    mean = np.bincount(book, part) / counts
    assert np.all(np.abs(mean - 0.5) < 4.5 / np.sqrt(12 * counts))


def test_trades_of_books_closer_than_an_interval_end_before_the_next_book(
    rng: np.random.Generator,
) -> None:
    """Also where two books have the same time: the first of them stands for a nanosecond at most."""
    whole = SyntheticMarket(ModelConfig(volatility_factor=1.0), Session(390)).books(390, 2, rng)
    time = whole.time.copy()
    time[5] = time[4]
    whole = dataclasses.replace(whole, time=time)
    met, at, *_ = OrderFlow().arrivals(whole.time, Session(13), rng)
    book = np.searchsorted(whole.time, at, side="right") - 1
    apart = book != 5
    assert np.array_equal(met[apart], book[apart])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("trades_per_interval", 0), ("mean_size", 0.5), ("sign_exponent", 1.0), ("split_share", 1.1)],
)
def test_settings_beyond_their_limits_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{setting} must be"):
        OrderFlow(**{setting: value})

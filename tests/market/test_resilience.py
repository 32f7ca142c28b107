"""What own trades leave in the book, at the limits and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from own_trades import after_own_trades

from research_lib.config import ModelConfig
from research_lib.market import BookSnapshots, Session, SyntheticMarket

MINUTE = 60 * 10**9
MORNING = 1_704_207_600_000_000_000  # 2024-01-02 10:00 New York


def standing_book(
    n: int, ask: tuple[tuple[float, float], ...] = ((10.01, 100.0), (10.02, 50.0))
) -> BookSnapshots:
    """The same book n minutes in a row."""
    price, size = (np.tile(column, (n, 1)) for column in np.array(ask).T)
    bid = np.full_like(price, 9.99) - 0.01 * np.arange(price.shape[1])
    return BookSnapshots(MORNING + MINUTE * np.arange(n), bid, size, price, size)


def test_complete_refill_changes_nothing(rng: np.random.Generator) -> None:
    books = SyntheticMarket(session=Session(13)).books(26, 8, rng)
    shown = after_own_trades(books, 5_000.0, "buy", 1.0)
    for name in ("ask_price", "ask_size", "bid_price", "bid_size"):
        assert np.array_equal(shown[name], books[name])


def test_without_refill_what_was_eaten_stays_eaten() -> None:
    shown = after_own_trades(standing_book(4), 60.0, "buy", 0.0)
    # 60 of the best level; its other 40 and 20 of the next; its last 30; nothing.
    assert shown.ask_size.tolist() == [[100.0, 50.0], [40.0, 50.0], [30.0, 0.0], [0.0, 0.0]]
    assert shown.ask_price[2, 0] == 10.02
    assert np.isnan(shown.ask_price[3]).all()
    assert np.array_equal(shown.bid_size, standing_book(4).bid_size)


def test_a_hole_closes_at_the_refill_rate() -> None:
    shown = after_own_trades(standing_book(6), [80.0, 0, 0, 0, 0, 0], "buy", 0.25)
    assert np.allclose(shown.ask_size[:, 0], 100.0 - 80.0 * np.append(0.0, 0.75 ** np.arange(1, 6)))


def test_a_price_that_leaves_the_book_comes_back_whole() -> None:
    books = standing_book(3)
    price = books.ask_price.copy()
    price[1] += 0.05
    books = dataclasses.replace(books, ask_price=price)
    shown = after_own_trades(books, [100.0, 0.0, 0.0], "buy", 0.0)
    assert np.array_equal(shown.ask_size, books.ask_size)


def test_a_price_keeps_its_hole_when_its_level_number_changes() -> None:
    books = standing_book(2)
    price = books.ask_price.copy()
    price[1] += 0.01  # 10.02 is now the best ask
    books = dataclasses.replace(books, ask_price=price)
    shown = after_own_trades(books, [120.0, 0.0], "buy", 0.0)
    assert shown.ask_size[1].tolist() == [80.0, 50.0]


def test_a_hole_anchored_to_its_level_follows_the_price() -> None:
    books = standing_book(2)
    price = books.ask_price.copy()
    price[1] += 0.05
    books = dataclasses.replace(books, ask_price=price)
    assert after_own_trades(books, 60.0, "buy", 0.5, anchor="level").ask_size[1].tolist() == [
        70.0,
        50.0,
    ]
    assert after_own_trades(books, 60.0, "buy", 0.5).ask_size[1].tolist() == [100.0, 50.0]
    # Where prices stand still both are the same.
    still = [
        after_own_trades(standing_book(4), 60.0, "buy", 0.2, anchor=a).ask_size
        for a in ("price", "level")
    ]
    assert np.array_equal(*still)


def test_sellers_eat_bids_and_nights_heal() -> None:
    books = standing_book(2)
    overnight = BookSnapshots(
        books.time + np.array([0, 24 * 60 * MINUTE]),
        *(books[n] for n in ("bid_price", "bid_size", "ask_price", "ask_size")),
    )
    assert after_own_trades(books, 30.0, "sell", 0.0).bid_size[1].tolist() == [70.0, 50.0]
    assert after_own_trades(overnight, 30.0, "sell", 0.0).bid_size[1].tolist() == [100.0, 50.0]


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_less_refill_never_shows_more(rate: float, rng: np.random.Generator) -> None:
    # Half a tick from interval to interval: prices stay in the book.
    calm = SyntheticMarket(ModelConfig(volatility_factor=0.005, spread_factor=1.0), Session(39))
    books = calm.books(78, 6, rng)
    depth = [
        after_own_trades(books, 800.0, "buy", r).ask_size.sum(axis=1) for r in (rate, rate + 0.1)
    ]
    assert np.all(depth[0] <= depth[1] + 1e-9)
    assert depth[0].sum() < depth[1].sum()


@pytest.mark.parametrize(("tick", "lot"), [(1e-10, 1e9), (1e7, 1e-8)])
def test_depletion_does_not_depend_on_the_units(tick: float, lot: float) -> None:
    """Prices 1e-7 with a tick of 1e-10: neighbouring levels are not taken for one another."""
    ask = ((1_001 * tick, 100.0 * lot), (1_002 * tick, 50.0 * lot))
    n = 3
    price, size = (np.tile(column, (n, 1)) for column in np.array(ask).T)
    books = BookSnapshots(MORNING + MINUTE * np.arange(n), price - 5 * tick, size, price, size)
    books = dataclasses.replace(books, bid_price=books.bid_price[:, ::-1])
    shown = after_own_trades(books, [120.0 * lot, 0.0, 0.0], "buy", 0.5)
    assert shown.ask_size[1:] / lot == pytest.approx(np.array([[50.0, 40.0], [75.0, 45.0]]))

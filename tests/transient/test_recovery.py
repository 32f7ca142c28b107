"""A book that comes back at a known rate is recovered.

Spread, depth, and Obizhaeva and Wang's three numbers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session, read_books
from research_lib.transient import (
    BlockBook,
    TransientMarket,
    clock_flow,
    fit_block_book,
    fit_kernel,
    propagator,
    recovery_after_trades,
    trade_flow,
)

DEPTH, RATE, STAYS = 5_000.0, 0.1, 5e-5
UTC_DAY = Session(1, open="00:00", close="24:00", timezone="UTC")
MARKET = TransientMarket(DEPTH, RATE, STAYS)


@pytest.fixture(scope="module")
def books() -> BookSnapshots:
    return MARKET.books(23_400, np.random.default_rng(3))


@pytest.mark.slow
def test_obizhaeva_and_wangs_parameters_are_recovered_within_their_intervals() -> None:
    """20 half days: each of the three intervals holds the truth in 17 or more of them."""
    held = []
    for seed in range(20):
        found = fit_block_book(MARKET.books(11_700, np.random.default_rng(seed)))
        spans = (found.block_depth, found.resilience, found.permanent)
        held.append(
            [
                low <= true <= high
                for (_, low, high), true in zip(spans, (DEPTH, RATE, STAYS), strict=True)
            ]
        )
    assert np.all(np.sum(held, axis=0) >= 17)


def test_what_decays_of_the_touch_is_found_with_its_half_life(books: BookSnapshots) -> None:
    found = fit_block_book(books)
    assert found.decaying[0] == pytest.approx(1 / DEPTH - STAYS, rel=0.15)
    assert found.decaying[0] + found.permanent[0] == pytest.approx(1 / found.block_depth[0])
    assert found.half_life[0] == pytest.approx(np.log(2) / found.resilience[0])
    assert found.half_life[1] < found.half_life[0] < found.half_life[2]


def test_the_spread_closes_as_the_market_was_made(books: BookSnapshots) -> None:
    found = recovery_after_trades(books)
    # Trades come right at the beginning of a step: a whole step older than its middle says.
    per_order = 2 * MARKET.widening * np.mean(np.abs(trade_flow(books).shares))
    truth = per_order * np.exp(-RATE * (found.lags + 0.5))
    low, high = found.conf_int(simultaneous=True)
    assert np.all((low < truth) & (truth < high))


def test_the_mid_follows_the_markets_kernel(books: BookSnapshots) -> None:
    found = propagator(clock_flow(books, 1.0), 20, "shares")
    low, high = found.conf_int(simultaneous=True)
    truth = MARKET.kernel(found.lags + 0.5)
    assert np.all((low < truth) & (truth < high))
    assert np.all(high - low < 0.5 * truth)


def test_a_trade_moves_its_own_touch_by_its_size_over_the_depth() -> None:
    """Without noise: the touch taken moves by x / q, the other by the permanent part only."""
    quiet = TransientMarket(DEPTH, RATE, STAYS, noise=0.0, volatility=0.0, tick=0.0)
    books = quiet.books(200, np.random.default_rng(1))
    at = np.searchsorted(books.time, books.trades.time)
    size, buyer = books.trades.size, books.trades.aggressor > 0
    taken, other = ((books.ask_price, books.bid_price), (books.bid_price, books.ask_price))
    moved = [
        np.where(buyer, one[at, 0] - one[at - 1, 0], two[at - 1, 0] - two[at, 0])
        for one, two in (taken, (other[1], other[0]))
    ]
    assert np.allclose(moved[0], size / DEPTH, rtol=1e-9)
    stays = np.where(
        buyer, *(price[at, 0] - price[at - 1, 0] for price in (books.bid_price, books.ask_price))
    )
    assert np.allclose(np.abs(stays), STAYS * size, rtol=1e-6)
    assert np.all(books.quality.rows == len(books))


def test_what_the_data_cannot_say_is_refused(books: BookSnapshots) -> None:
    with pytest.raises(ValidationError, match="touch only"):
        fit_block_book(MARKET.books(2000, np.random.default_rng(0), n_levels=1))
    with pytest.raises(ValidationError, match=r"permanent must be at most 0\.0002"):
        TransientMarket(DEPTH, RATE, 1.0)
    found = fit_block_book(books)
    stiff = BlockBook(
        found.block_depth, (1.0, 0.9, 1.1), found.resilience, found.spread, found.price
    )
    assert (stiff.state, stiff.bounded) == ("contradicted", True)


@pytest.mark.slow
def test_google_spreads_widen_after_trades_and_close_again(goog_books: BookSnapshots) -> None:
    found = recovery_after_trades(goog_books, n_lags=40, session=Session())
    low, _ = found.conf_int()
    assert low[0] > 0
    assert found.values[-1] < 0.6 * found.values[0]


def test_a_rejected_fit_gives_no_permanent_part(books: BookSnapshots) -> None:
    found = fit_block_book(books)
    refused = dataclasses.replace(found, price=dataclasses.replace(found.price, p_value=1e-9))
    assert (refused.state, refused.bounded) == ("rejected", True)


@pytest.mark.slow
def test_bitcoin_impact_that_builds_up_has_no_permanent_part() -> None:
    books = read_books(
        real_data("binance_raw_stream/usdm_btcusdt_20240808.jsonl.gz"), session=UTC_DAY
    )
    found = fit_block_book(books, step_seconds=0.2, price_lags=50, session=UTC_DAY)
    assert not found.price.describes
    assert np.isnan(found.permanent).all()
    assert np.isnan(found.decaying).all()
    assert "still builds up" in found.price.reading


def test_a_resilience_that_is_not_known_has_no_half_life(books: BookSnapshots) -> None:
    unknown = dataclasses.replace(fit_block_book(books), resilience=(np.nan,) * 3)
    assert np.isnan(unknown.half_life).all()
    open_below = dataclasses.replace(unknown, resilience=(0.1, 0.0, np.inf))
    assert open_below.half_life[1:] == (0.0, np.inf)


def test_what_decays_is_an_interval_over_both_ends(books: BookSnapshots) -> None:
    found = fit_block_book(books)
    value, low, high = found.decaying
    assert low < value < high
    assert low <= 1 / DEPTH - STAYS <= high


@pytest.mark.slow
def test_the_same_half_life_over_every_window_of_a_block_book(books: BookSnapshots) -> None:
    for window in (30, 60, 120):
        found = recovery_after_trades(books, n_lags=window)
        fit = fit_kernel(found, "exponential_permanent")
        assert fit.identified
        assert fit.interval[0] <= np.log(2) / RATE <= fit.interval[1]


@pytest.mark.slow
def test_the_half_life_of_googles_spread_depends_on_the_window(goog_books: BookSnapshots) -> None:
    short, long = (
        fit_kernel(
            recovery_after_trades(goog_books, n_lags=window, session=Session()),
            "exponential_permanent",
        )
        for window in (60, 120)
    )
    assert short.identified
    assert long.identified
    assert long.half_life > short.interval[1]

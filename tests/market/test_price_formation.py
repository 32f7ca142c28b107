"""What moves the synthetic mid: books that lean, the market's own trades, an own order."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
from helpers import real_data

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.impact import ExponentialKernel, ExponentialSumKernel, kernel_matrix
from research_lib.market import (
    PRESETS,
    BookSnapshots,
    Memory,
    OrderFlow,
    Session,
    SyntheticMarket,
    preset,
    read_books,
)
from research_lib.transient import clock_flow, propagator

KERNEL = ExponentialSumKernel((0.0, 1e-3), (2e-5, 3e-5))
# Crc-32 of prices in cents and sizes as commit 8bbc251 drew them, before there was lean or kernel.
BEFORE = {
    "thin_stock": (44824495, 2443624644),
    "wide_spread_stock": (1513428881, 3176481970),
    "deep_stock": (271905519, 3813442108),
}
# Correlation of imbalance with the next minute's move, and share of its variance that flow explains:
# measured as the comment above the presets says.
MEASURED = {
    "thin_stock": (0.183, 0.225),
    "wide_spread_stock": (-0.009, 0.294),
    "deep_stock": (0.229, 0.205),
}


def checksum(books: BookSnapshots) -> int:
    arrays = [100 * books.bid_price, 100 * books.ask_price, 100 * books.bid_size]
    arrays += [100 * books.ask_size]
    times = []
    if (trades := books.trades) is not None:
        times = [trades.time]
        arrays += [100 * trades.price, trades.size, trades.aggressor]
    whole = [*arrays[:4], *times, *arrays[4:]]  # nanoseconds are more than a float holds
    integers = (a if a.dtype == np.int64 else np.rint(a).astype(np.int64) for a in whole)
    return zlib.crc32(b"".join(np.ascontiguousarray(array).tobytes() for array in integers))


def fine_market(session: Session, **settings: object) -> SyntheticMarket:
    """A tick so small that rounding to it is nothing beside a step of the mid."""
    config = ModelConfig(volatility_factor=0.3, spread_factor=0.01)
    memory = Memory(1.0, 8.0, 0.4)
    return SyntheticMarket(config, session, tick=1e-5, depth_memory=memory, **settings)  # type: ignore[arg-type]


def imbalance(books: BookSnapshots) -> np.ndarray:
    bid, ask = books.bid_size[:, 0], books.ask_size[:, 0]
    return (bid - ask) / (bid + ask)


@pytest.mark.parametrize("name", PRESETS)
def test_without_lean_and_kernel_every_number_is_that_of_before(name: str) -> None:
    market = dataclasses.replace(preset(name, Session(13)), lean=0.0, kernel=None)
    for flow, expected in zip((None, OrderFlow()), BEFORE[name], strict=True):
        assert checksum(market.books(1_000, 6, np.random.default_rng(1), flow=flow)) == expected


def test_a_kernel_without_flow_and_flow_without_a_kernel_move_nothing() -> None:
    plain = SyntheticMarket(session=Session(13))
    pushed = dataclasses.replace(plain, kernel=KERNEL)
    mid = plain.books(26, 2, 1).mid
    assert np.array_equal(pushed.books(26, 2, 1).mid, mid)
    assert np.array_equal(plain.books(26, 2, 1, flow=OrderFlow()).mid, mid)
    assert not np.array_equal(pushed.books(26, 2, 1, flow=OrderFlow()).mid, mid)


def test_lean_moves_mids_and_nothing_else_of_a_book() -> None:
    plain = preset("thin_stock", Session(13))
    leaning = dataclasses.replace(plain, lean=0.8)
    drawn = [market.books(130, 5, 3) for market in (plain, leaning)]
    for shape in (
        lambda books: books.bid_size,
        lambda books: books.ask_size,
        lambda books: np.rint(200 * books.half_spread),
        lambda books: np.rint(100 * (books.bid_price[:, :1] - books.bid_price)),
        lambda books: np.rint(100 * (books.ask_price - books.ask_price[:, :1])),
    ):
        assert np.array_equal(*map(shape, drawn))
    assert np.mean(drawn[0].mid != drawn[1].mid) > 0.9
    assert np.array_equal(plain.true_curve.cost(300.0), leaning.true_curve.cost(300.0))


def test_innovations_of_one_autoregression_by_hand(rng: np.random.Generator) -> None:
    latent, news = Memory(2.0).draw(3, 50, 2, rng)
    phi = 2**-0.5
    assert np.array_equal(news[:, 0], latent[:, 0])
    innovation = (latent[:, 1:] - phi * latent[:, :-1]) / np.sqrt(1 - phi**2)
    assert news[:, 1:] == pytest.approx(innovation, abs=1e-12)


@pytest.mark.slow
def test_innovations_of_two_autoregressions_are_what_their_past_does_not_tell(
    rng: np.random.Generator,
) -> None:
    """40,000 days: variance 1 at every interval, independent of one another and of the path before."""
    memory = Memory(1.0, 8.0, 0.4)
    latent, news = (part[:, :, 0] for part in memory.draw(40_000, 4, 1, rng))
    error = 4.5 / np.sqrt(40_000)
    assert np.abs(news.T @ news / 40_000 - np.eye(4)).max() < np.sqrt(2) * error
    assert np.abs(news[:, 1:].T @ latent[:, :1] / 40_000).max() < error
    # What is new of the sum is sqrt(sum of share (1 - phi^2)) of its standard deviation.
    new = np.sqrt(0.6 * (1 - 0.25) + 0.4 * (1 - 2**-0.25))
    assert np.mean(news[:, 2] * latent[:, 2]) == pytest.approx(new, abs=1.5 * error)


@pytest.mark.slow
def test_the_next_step_leans_by_rho_and_later_ones_not_at_all() -> None:
    """2,000 days of 10 books; errors of correlations are 1 / sqrt(n)."""
    rho, session = 0.6, Session(10)
    market = fine_market(session, lean=rho)
    books, expected = market.books(20_000, 1, 5), market.expected_moves(20_000, 1, 5)
    sigma = 0.3 / np.sqrt(252 * 10)
    steps = np.diff(np.log(books.mid)).reshape(-1) / sigma
    inside = np.arange(1, 20_000) % 10 > 0
    pressure = expected[:-1] / (rho * sigma * books.mid[:-1])
    error = 4 / np.sqrt(inside.sum())
    x, y = pressure[inside], steps[inside]
    assert np.mean(x * y) / np.mean(x**2) == pytest.approx(rho, abs=error)
    assert np.mean((y - rho * x) ** 2) == pytest.approx(1 - rho**2, abs=1.5 * error)
    assert np.mean(steps**2) == pytest.approx(1.0, abs=1.5 * error)
    # The mid is a random walk by its own past; of the step after the next the book tells nothing,
    for lag in (1, 2, 5):
        assert abs(np.mean(steps[lag:] * steps[:-lag])) < error, lag
    later = inside[:-1] & inside[1:]
    assert abs(np.mean(pressure[:-1][later] * steps[1:][later])) < error
    # nor does the last one of a day of the night.
    assert (expected[9::10] == 0).all()
    night = imbalance(books)[9:-1:10], steps[9::10]
    assert abs(np.corrcoef(*night)[0, 1]) < 4 / np.sqrt(1_999)
    # What is expected is in currency: the moves' regression on it has a slope of one.
    moves = np.diff(books.mid)[inside]
    slope = (moves @ expected[:-1][inside]) / np.sum(expected[:-1][inside] ** 2)
    assert slope == pytest.approx(1.0, abs=1.5 * error / rho)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_a_preset_with_its_flow_predicts_as_much_as_was_measured(name: str) -> None:
    """50 draws of 3 days; 4.5 errors of their means, and what two or three digits of lean leave open."""
    market, shape = preset(name), (3, 390)
    seen = []
    for seed in range(50):
        books = market.books(3 * 390, 1, seed, flow=market.flow)
        trades = books.trades
        assert trades is not None
        row = np.searchsorted(books.time, trades.time, "right") - 1
        net = np.bincount(row, trades.signed_size, 3 * 390)
        drives = [values.reshape(shape)[:, :-1].ravel() for values in (imbalance(books), net)]
        moves = np.diff(books.mid.reshape(shape), axis=1).ravel()
        seen.append([np.corrcoef(drive, moves)[0, 1] for drive in drives])
    seen = np.array(seen) ** [1, 2]
    error = 4.5 * seen.std(axis=0) / np.sqrt(50) + 0.003
    assert np.all(np.abs(seen.mean(axis=0) - MEASURED[name]) < error), (seen.mean(axis=0), error)


@pytest.mark.parametrize(
    ("path", "correlation"),
    [
        ("lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz", -0.009),
        ("lean_us_equity/tick/bac_20131007_quote.zip", 0.276),
    ],
)
@pytest.mark.slow
def test_imbalance_on_real_days_predicts_what_the_presets_say(
    path: str, correlation: float
) -> None:
    books, session = read_books(real_data(path)), Session(390)
    books = books.take(books.complete & np.isfinite(books.mid))
    start = session.bounds(books.days(session))[0][0]
    found = []
    for offset in range(0, 60, 5):
        at = start + 10**9 * (offset + 60 * np.arange(391 if offset == 0 else 390))
        row = np.searchsorted(books.time, at, "right") - 1
        row = row[(row >= 0) & (books.time[row] >= start)]
        found.append(np.corrcoef(imbalance(books)[row[:-1]], np.diff(books.mid[row]))[0, 1])
    assert np.mean(found) == pytest.approx(correlation, abs=0.001)


def test_flow_displaces_the_mid_by_hand() -> None:
    """A walk that hardly moves: two days of four quarters, and over the night what is permanent."""
    config = ModelConfig(volatility_factor=1e-9)
    session = Session(4)
    market = SyntheticMarket(config, session, tick=1e-4, kernel=KERNEL)
    books = market.books(8, 2, 3, flow=OrderFlow(50.0, 200.0, split_share=0.0))
    trades = books.trades
    assert trades is not None
    row = np.searchsorted(books.time, trades.time, "right") - 1
    q, quarter = np.bincount(row, trades.signed_size, 8), 6.5 * 3600 / 4
    lasting = 2e-5 * q[:4].sum()
    by_hand = [
        0.0,
        KERNEL(0.5 * quarter) * q[0],
        KERNEL(1.5 * quarter) * q[0] + KERNEL(0.5 * quarter) * q[1],
        KERNEL(quarter * np.array([2.5, 1.5, 0.5])) @ q[:3],
        lasting,
        lasting + KERNEL(0.5 * quarter) * q[4],
        lasting + KERNEL(quarter * np.array([1.5, 0.5])) @ q[4:6],
        lasting + KERNEL(quarter * np.array([2.5, 1.5, 0.5])) @ q[4:7],
    ]
    assert np.abs(by_hand).max() > 0.02
    # Half a tick of rounding of the bid, and half one of the first book's.
    assert books.mid - books.mid[0] == pytest.approx(by_hand, abs=1.01e-4)
    touch = np.where(trades.aggressor > 0, books.ask_price[row, 0], books.bid_price[row, 0])
    assert np.array_equal(trades.price, touch)


@pytest.mark.slow
def test_the_clock_propagator_finds_the_kernel_of_a_market() -> None:
    """40 days of minutes; the clock begins at a day's first order, here within a second of the open."""
    kernel = ExponentialSumKernel((0.0, np.log(2) / 300), (1e-4, 1e-4))
    market = fine_market(Session(390), kernel=kernel, lean=0.3)
    flow = OrderFlow(120.0, 25.0, split_share=0.0)
    books = market.books(40 * 390, 1, 7, flow=flow)
    found = propagator(clock_flow(books, 60.0, market.session), 20, measure="shares")
    low, high = found.conf_int(simultaneous=True)
    assert np.all((low < kernel(found.lags)) & (kernel(found.lags) < high))
    # That the band is narrow enough to tell the kernel from one that does not decay.
    assert not np.all((low < kernel(0.0)) & (kernel(0.0) < high))


def test_an_own_order_moves_later_books_by_hand() -> None:
    market = SyntheticMarket(session=Session(13), kernel=ExponentialKernel(1e-4, 1e-3))
    books = market.books(13, 3, 1, flow=OrderFlow())
    shares = np.zeros(13)
    shares[[0, 2]] = 300.0, 100.0
    moved = market.moved(books, shares, "buy")
    g = 1e-3 * np.exp(-1e-4 * 1800 * np.arange(13))
    shift = np.array([0, 300 * g[1], 300 * g[2], 300 * g[3] + 100 * g[1]])
    assert (moved.mid - books.mid)[:4] == pytest.approx(shift, abs=1e-12)
    for name in ("bid_price", "ask_price"):
        assert np.ptp(moved[name] - books[name], axis=1) == pytest.approx(0.0, abs=1e-12)
    assert np.array_equal(moved.ask_size, books.ask_size)
    assert moved.half_spread == pytest.approx(books.half_spread, abs=1e-12)
    # Trades print at the touch, where it is now.
    trades = moved.trades
    assert trades is not None
    row = np.searchsorted(moved.time, trades.time, "right") - 1
    touch = np.where(trades.aggressor > 0, moved.ask_price[row, 0], moved.bid_price[row, 0])
    assert trades.price == pytest.approx(touch, abs=1e-12)


def test_what_an_own_order_pays_for_its_past_is_the_quadratic_form_of_the_kernel(
    rng: np.random.Generator,
) -> None:
    """sum over s < t of x_s x_t G(t - s), on whichever side."""
    market = dataclasses.replace(preset("wide_spread_stock", Session(39)), kernel=KERNEL)
    books, shares = market.books(39, 2, rng), rng.integers(0, 400, 39).astype(float)
    matrix = kernel_matrix(KERNEL, 600.0 * np.arange(39))
    carried = 0.5 * shares @ (matrix - np.diag(np.diag(matrix))) @ shares
    for side, sign in (("buy", 1.0), ("sell", -1.0)):
        paid = sign * shares @ (market.moved(books, shares, side).mid - books.mid)
        assert paid == pytest.approx(carried, rel=1e-9)


def test_orders_that_cannot_be_placed_and_kernels_that_are_none_are_refused() -> None:
    market = SyntheticMarket(session=Session(13), kernel=KERNEL)
    day, two_days = market.books(13, 1, 1), market.books(26, 1, 1)
    assert dataclasses.replace(market, kernel=None).moved(day, 100.0, "buy") is day
    with pytest.raises(ValidationError, match="books are of 2 days; give those of one"):
        market.moved(two_days, 100.0, "buy")
    with pytest.raises(ValidationError, match=r"shares must be a number or \(13,\)"):
        market.moved(day, np.ones(12), "buy")
    with pytest.raises(ValidationError, match="price must be above 0"):
        market.moved(day, 1e7, "sell")
    for none in (0.5, ExponentialKernel):
        with pytest.raises(ValidationError, match="kernel must be a function of lags"):
            SyntheticMarket(kernel=none)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="lean must be at most 1"):
        SyntheticMarket(lean=1.0)


def test_a_preset_in_longer_intervals_trades_and_foretells_as_much() -> None:
    """Per half-hour: thirty minutes' trades, and the move that the best sizes foretell in currency."""
    for name in PRESETS:
        minute, half_hour = preset(name), preset(name, Session(13))
        assert half_hour.flow.trades_per_interval == pytest.approx(
            30 * minute.flow.trades_per_interval
        )
        sigma = np.sqrt([1 / 390, 1 / 13])
        assert half_hour.lean * sigma[1] == pytest.approx(minute.lean * sigma[0])
        assert half_hour.kernel == minute.kernel
        kernel = minute.kernel
        assert kernel is not None
        assert kernel([0.0, 300.0, 1e9]) / kernel(0.0) == pytest.approx([1.0, 0.75, 0.5])

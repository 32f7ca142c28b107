"""The unit of prices and of sizes changes nothing: coins at 1e-8 and orders of 5e9 are orders too.

Tolerances. 1e-9 of what is compared: rounding of sums over 39 walks of books whose numbers were
multiplied by a factor that is no power of two. 1e-6 per cent of a saving likewise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    Execution,
    LiquidityProfile,
    WeightedShapes,
    clairvoyant,
    compare,
    implementation_shortfall,
    known_before,
    paired_costs,
    replay,
    run,
    walk_forward,
)
from research_lib.execution import twap
from research_lib.market import BookSnapshots, Session, preset

SESSION = Session(39)
SCALES = [(1e-8, 1.0), (1e9, 1.0), (1.0, 1e-8), (1.0, 1e9), (1e-8, 1e-8), (1e9, 1e9)]
NEW_YORK_TEN = 1_704_207_600_000_000_000  # 2024-01-02 10:00, ns UTC
MINUTE = 60 * 10**9


def _scaled(books: BookSnapshots, price: float, size: float) -> BookSnapshots:
    return dataclasses.replace(
        books,
        bid_price=price * books.bid_price,
        ask_price=price * books.ask_price,
        bid_size=size * books.bid_size,
        ask_size=size * books.ask_size,
    )


def _same_books(tick: float, at: float, n: int = 2) -> BookSnapshots:
    """The mid at `at`; asks of 20 shares one and three ticks above it, the same in all n books."""
    bid, ask = at + tick * np.array([-1.0, -2.0]), at + tick * np.array([1.0, 3.0])
    size = np.full((n, 2), 20.0)
    time = NEW_YORK_TEN + MINUTE * np.arange(n)
    return BookSnapshots(time, np.tile(bid, (n, 1)), size, np.tile(ask, (n, 1)), size)


@pytest.fixture(scope="module")
def books() -> BookSnapshots:
    return preset("thin_stock", SESSION).books(39 * 3, 6, np.random.default_rng(0))


@pytest.mark.parametrize(("price", "size"), SCALES)
@pytest.mark.parametrize("refill", [1.0, 0.4])
def test_replay_and_the_bound_scale(
    books: BookSnapshots, price: float, size: float, refill: float
) -> None:
    day = books.take(np.arange(39))
    one, other = (
        [
            replay(twap(9_000 * q, 39), traded, "buy", refill=refill, max_shares=400 * q),
            clairvoyant(traded, 9_000 * q, "buy", 400 * q),
        ]
        for traded, q in ((day, 1.0), (_scaled(day, price, size), size))
    )
    for before, after in zip(one, other, strict=True):
        assert after.filled.sum() / size == pytest.approx(before.filled.sum(), rel=1e-9)
        assert after.cost == pytest.approx(before.cost * price * size, rel=1e-9)
        assert after.cost_bps == pytest.approx(before.cost_bps, rel=1e-9)
        assert after.timing_risk_bps == pytest.approx(before.timing_risk_bps, rel=1e-9)
        np.testing.assert_allclose(after.filled / size, before.filled, rtol=1e-9, atol=1e-9)
        assert after.unfilled / size == pytest.approx(before.unfilled, rel=1e-9, abs=1e-9)
        assert after.completed == before.completed


@pytest.mark.slow
@pytest.mark.parametrize(("price", "size"), SCALES)
def test_walk_forward_comparisons_scale(books: BookSnapshots, price: float, size: float) -> None:
    def everything(known: BookSnapshots, q: float) -> pd.DataFrame:
        days = known_before(known, SESSION, sides=["sell"], first=1)
        done = walk_forward(days, SESSION, sizes=[3_000 * q, 16_000 * q, 22_000 * q])
        return compare(done)

    before, after = everything(books, 1.0), everything(_scaled(books, price, size), size)
    # Some books are too thin for what is scheduled of the largest order.
    assert 0 < before["completed"].min() < 1
    pd.testing.assert_frame_equal(after, before, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(("price", "size"), SCALES)
def test_shortfalls_scale(price: float, size: float) -> None:
    fills = pd.DataFrame({"shares": [500.0, 300.0], "price": [50.3, 50.6]})
    one, other = (
        implementation_shortfall(
            pd.DataFrame({"shares": q * fills["shares"], "price": p * fills["price"]}),
            side="sell",
            total_shares=800 * q,
            decision_price=50 * p,
            arrival_price=50.2 * p,
            closing_price=51 * p,
            fees=4 * p * q,
        )
        for p, q in ((1.0, 1.0), (price, size))
    )
    for part in ("delay", "trading", "opportunity", "fees", "total"):
        assert other.bps[part] == pytest.approx(one.bps[part], rel=1e-9, abs=1e-9)
    with pytest.raises(ValidationError, match="give the whole order"):
        implementation_shortfall(
            pd.DataFrame({"shares": [1.001 * size], "price": [price]}),
            side="buy",
            total_shares=size,
            decision_price=price,
            arrival_price=price,
            closing_price=price,
        )


@pytest.mark.parametrize(("tick", "at"), [(1e-10, 1e-7), (1e-10, 1.0), (0.01, 100.0), (1e3, 1e7)])
def test_own_depletion_is_kept_whatever_the_tick(tick: float, at: float) -> None:
    """Twenty at one tick, and where nothing comes back twenty at three ticks."""
    done = replay([20.0, 20.0], _same_books(tick, at), "buy", refill=0.0)
    assert done.cost / tick == pytest.approx(20 * 1 + 20 * 3, rel=1e-5)  # of 1 + 1e-10, 6 digits
    whole = replay([20.0, 20.0], _same_books(tick, at), "buy")
    assert whole.cost / tick == pytest.approx(20 * 1 + 20 * 1, rel=1e-5)


def _execution(name: str, shares: float, unfilled: float = 0.0, start: int = 0) -> Execution:
    """Two child orders at 10:00 and 11:00 New York, that cost one each."""
    time, half = (
        NEW_YORK_TEN + start + np.array([0, 60 * MINUTE]),
        np.full(2, (shares - unfilled) / 2),
    )
    return Execution(
        name, half, half, unfilled, np.ones(2), "buy", time, np.full(2, 50.0), np.zeros(2)
    )


@pytest.mark.parametrize("shares", [5e9, 2e-5, 1e-300])
def test_sizes_that_differ_by_rounding_are_one_order(shares: float) -> None:
    done = [_execution("new", shares * (1 + 3e-16)), _execution("TWAP", shares)]
    done.append(_execution("perfect foresight", shares * (1 - 3e-16)))
    assert len({one.total_shares for one in done}) > 1
    assert len(set(paired_costs(done)["size"])) == 1
    assert compare(done).loc["new", "orders"] == 1


def test_sizes_that_differ_are_two_orders_however_small() -> None:
    names = ("new", "TWAP", "perfect foresight")
    done = [_execution(name, shares) for name in names for shares in (2e-9, 2.001e-9)]
    assert len(set(paired_costs(done)["size"])) == 2


@pytest.mark.parametrize("shares", [2e-5, 1.0, 5e9])
def test_an_order_with_a_fortieth_left_is_not_completed(shares: float) -> None:
    assert not _execution("new", shares, 0.026 * shares).completed
    assert _execution("new", shares, 1e-9 * shares).completed


@pytest.mark.parametrize("at", [100.01, 31.37, 100.03])
def test_a_crossed_book_whose_level_is_the_mid_says_the_same_at_any_price(at: float) -> None:
    """The premium of that level is 0, or 7e-15 by rounding: no unit for the supply to come."""

    def filled(at: float, tick: float) -> list[float]:
        width = np.array([1.0, 4.0, 1.0, 5.0, 1.0, 1.0])[:, None] * [1.0, 2.0, 3.0]
        bid, ask = at - tick * width, at + tick * width
        bid[0], ask[0] = at + tick * np.array([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
        if tick == 0.01:
            bid, ask = np.round(bid, 2), np.round(ask, 2)
        size = np.full((6, 3), 100.0)
        books = BookSnapshots(NEW_YORK_TEN + MINUTE * np.arange(6), bid, size, ask, size)
        flat = LiquidityProfile(np.ones(6), np.ones(6), "flat")
        return run(Adaptive(WeightedShapes([flat]), "n"), books, 400, "buy").filled.tolist()

    assert filled(at, 0.01) == filled(100.0, 1 / 128)

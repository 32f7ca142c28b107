"""Replay on recorded books, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import replay
from research_lib.execution import Schedule, twap
from research_lib.market import BookSnapshots, Session, read_mbp10


def _books(ask_size: list[float]) -> BookSnapshots:
    """Bid 99, asks 101 and 103, half of the size on each level."""
    n = len(ask_size)
    size = np.repeat(np.array(ask_size)[:, None] / 2, 2, axis=1)
    return BookSnapshots(
        np.arange(n), np.tile([99.0, 98.0], (n, 1)), np.full((n, 2), 50.0), np.tile([101.0, 103.0], (n, 1)), size
    )


def test_cost_by_hand() -> None:
    done = replay(Schedule(np.array([10.0, 30.0]), "s"), _books([40, 40]), "buy")
    # 10 at 101 over a mid of 100; then 20 at 101 and 10 at 103.
    assert done.cost_by_interval.tolist() == [10.0, 20 * 1 + 10 * 3]
    assert done.cost == 60.0
    assert done.cost_per_share == 1.5
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
    mirrored = BookSnapshots(books.time, 200 - books.ask_price, books.ask_size, 200 - books.bid_price, books.bid_size)
    schedule = Schedule(np.array([10.0, 30.0]), "s")
    assert replay(schedule, mirrored, "sell").cost == replay(schedule, books, "buy").cost


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
    with pytest.raises(ValidationError, match=r"scheduled shares must be \(n,\), finite and at least 0"):
        Schedule(np.array(shares), "s")
    with pytest.raises(ValidationError, match="schedule must be a Schedule, got list"):
        replay(shares, _books([20, 20]), "buy")  # type: ignore[arg-type]

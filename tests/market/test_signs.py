"""Aggressors by rules: what each decides, and how often it is right where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Trades, classify_trades, sign_accuracy


def books(bids: list[float], asks: list[float], depth: float = 10.0) -> BookSnapshots:
    """One every 10 ns, of one level."""
    time, size = 10 * np.arange(len(bids)), np.full((len(bids), 1), depth)
    return BookSnapshots(time, np.c_[bids], size, np.c_[asks], size)


def trades(time: list[int], price: list[float]) -> Trades:
    return Trades(time, price, np.ones(len(time)), np.zeros(len(time), int))


def signs(method: str, given: Trades, states: BookSnapshots) -> list[int]:
    return classify_trades(given, states, method).aggressor.tolist()


def test_the_quote_rule_uses_the_book_strictly_before() -> None:
    states = books([9.0, 19.0], [11.0, 21.0])
    given = trades([5, 10, 15], [10.5, 10.5, 20.0])
    assert signs("quote", given, states) == [1, 1, 0]  # at 10 the old book counts; 20 is its mid
    assert signs("quote", trades([0], [10.0]), states) == [0]  # no book before the first


def test_the_tick_rule_looks_past_equal_prices() -> None:
    given = trades([1, 2, 3, 4, 5], [10.0, 10.0, 10.1, 10.1, 9.9])
    assert signs("tick", given, books([9.0], [11.0])) == [0, 0, 1, 1, -1]


def test_lee_ready_is_the_quote_rule_and_at_the_mid_the_tick_rule() -> None:
    given = trades([1, 2, 3], [10.5, 10.0, 9.5])
    assert signs("lee-ready", given, books([9.0], [11.0])) == [1, -1, -1]


def test_depletion_labels_what_one_side_lost_exactly() -> None:
    size = np.array([[10.0], [8.0], [8.0]])
    states = BookSnapshots(
        [0, 10, 20], [[9.9]] * 3, np.array([[10.0], [10.0], [7.5]]), [[10.1]] * 3, size
    )
    given = trades([3, 4, 15], [10.1, 10.1, 9.9])
    assert signs("depletion", given, states) == [1, 1, 0]  # 2.5 gone of the bids, 1 was printed


def test_depletion_sees_bids_that_are_shown_rounded_down() -> None:
    size = np.array([[10.0], [9.0]])
    states = BookSnapshots([0, 10], [[10.0]] * 2, size, [[10.1]] * 2, np.full((2, 1), 10.0))
    assert signs("depletion", trades([5], [10.07]), states) == [-1]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="method"):
        classify_trades(trades([1], [10.0]), books([9.0], [11.0]), "guess")


def test_accuracy_without_any_label_is_refused() -> None:
    with pytest.raises(ValidationError, match="no trade has an aggressor to compare with"):
        sign_accuracy(trades([1], [10.0]), books([9.0], [11.0]))


@pytest.mark.slow
def test_accuracies_on_goog_where_the_truth_is_known(goog_books: BookSnapshots) -> None:
    """Visible executions of LOBSTER carry the resting order's side."""
    own = goog_books.trades
    assert own is not None
    known = own.take(own.aggressor != 0)
    table = sign_accuracy(known, goog_books, known)
    # An execution is the event of its own state, so the book strictly before it is the one it met.
    assert table.loc["quote", "agree_%"] > 95
    assert table.loc["lee-ready", "labelled_%"] > 99
    assert 60 < table.loc["tick", "agree_%"] < table.loc["lee-ready", "agree_%"]
    assert table.loc["depletion", "agree_%"] > 99


def test_prices_that_are_shown_rounded_down_are_compared_so() -> None:
    states = books([10.0, 10.0], [10.1, 10.0])
    given = trades([5, 6, 15, 16], [10.07, 10.12, 10.05, 10.08])
    # Bid and ask lie in [10.0, 10.1) and [10.1, 10.2); where the book is locked ticks decide.
    assert signs("rounded", given, states) == [-1, 1, -1, 1]

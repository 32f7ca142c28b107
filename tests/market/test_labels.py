"""Labelled columns of books and trades go together by label, never by position."""

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Trades

TIME = pd.Series([1_743_687_000, 1_743_687_060, 1_743_687_120], list("abc")) * 10**9
PRICE = pd.Series([10.0, 11.0, 12.0], list("abc"))
SIZE = pd.Series([1.0, 2.0, 3.0], list("abc"))
SHUFFLED = list("cab")
COLUMNS = {
    "time": TIME, "bid_price": PRICE.to_frame("best"), "bid_size": SIZE.to_frame("best"),
    "ask_price": PRICE.to_frame("best") + 0.5, "ask_size": SIZE.to_frame("best") + 7.0,
}  # fmt: skip


def test_columns_of_trades_in_another_row_order_are_the_same_trades() -> None:
    aggressor = pd.Series([1, -1, 1], list("abc"))
    plain = Trades(TIME, PRICE, SIZE, aggressor)
    mixed = Trades(TIME, PRICE[SHUFFLED], SIZE[SHUFFLED], aggressor[SHUFFLED])
    assert mixed.price.tolist() == [10.0, 11.0, 12.0]
    assert mixed.signed_size.tolist() == plain.signed_size.tolist() == [1.0, -2.0, 3.0]


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "time"])
def test_a_shuffled_frame_of_levels_is_the_same_book(name: str) -> None:
    plain = BookSnapshots(**COLUMNS)
    mixed = BookSnapshots(**{**COLUMNS, name: COLUMNS[name].loc[SHUFFLED]})
    np.testing.assert_array_equal(mixed[name], plain[name])


def test_levels_of_sizes_follow_those_of_prices_by_name() -> None:
    price = pd.DataFrame([[9.9, 9.8]], columns=[1, 2])
    size = pd.DataFrame([[500.0, 300.0]], columns=[2, 1])
    books = BookSnapshots([10**18], price, size, price + 1, size)
    assert books.bid_size.tolist() == [[300.0, 500.0]]


def test_flags_of_other_rows_are_refused() -> None:
    flags = pd.Series([True, False, True], list("abd"))
    with pytest.raises(ValidationError, match="complete and time have rows of different labels"):
        BookSnapshots(**COLUMNS, complete=flags)


def test_labels_that_stand_twice_are_taken_in_their_order_or_refused() -> None:
    twice = ["a", "a", "b"]
    time, price = TIME.set_axis(twice), PRICE.set_axis(twice)
    assert Trades(time, price, SIZE.set_axis(twice), [0, 0, 0]).size.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValidationError, match="size and time have rows of different labels"):
        Trades(time, price, SIZE.set_axis(["a", "b", "a"]), [0, 0, 0])

"""Labelled columns of books and trades go together by label, never by position."""

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.impact import walk_book
from research_lib.market import BookSnapshots, Session, SyntheticMarket, Trades

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
    time, price, size = (one.set_axis(twice) for one in (TIME, PRICE, SIZE))
    unsigned = pd.Series(0, twice)
    assert Trades(time, price, size, unsigned).size.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValidationError, match="size and time have rows of different labels"):
        Trades(time, price, SIZE.set_axis(["a", "b", "a"]), unsigned)


def test_labels_beside_plain_arrays_are_positions_in_order_or_refused() -> None:
    time = TIME.to_numpy()
    numbered, sorted_by_time = PRICE.reset_index(drop=True), PRICE.set_axis([2, 0, 1])
    assert Trades(time, numbered, [1, 2, 3], [0, 0, 0]).price.tolist() == [10.0, 11.0, 12.0]
    index = pd.DatetimeIndex(time.astype("datetime64[ns]"), tz="UTC")
    assert Trades(index, PRICE.set_axis(index), [1, 2, 3], [0, 0, 0]).price[0] == 10.0
    for labelled in (PRICE, sorted_by_time):
        with pytest.raises(ValidationError, match=r"price has labels that time has not"):
            Trades(time, labelled, [1, 2, 3], [0, 0, 0])
    with pytest.raises(ValidationError, match=r"bid_price has labels that time has not"):
        BookSnapshots(**{**COLUMNS, "time": time, "bid_price": COLUMNS["bid_price"].loc[SHUFFLED]})


def test_levels_are_in_the_order_of_the_numbers_in_their_names() -> None:
    price = pd.DataFrame({"bid_price_2": [9.9], "bid_price_1": [10.0]})
    size = pd.DataFrame({"bid_size_1": [100.0], "bid_size_2": [500.0]})
    books = BookSnapshots([10**18], price, size, [[10.1, 10.2]], [[1, 2]])
    assert (books.bid_price.tolist(), books.bid_size.tolist()) == ([[10.0, 9.9]], [[100, 500]])


def test_levels_beside_plain_sizes_stay_as_they_are_given() -> None:
    price = pd.DataFrame([[8.0, 9.0]], columns=["bid_2", "bid_1"])
    books = BookSnapshots([10**18], price, [[2.0, 1.0]], [[10.0, 11.0]], [[1.0, 1.0]])
    assert (books.bid_price.tolist(), books.bid_size.tolist()) == ([[8, 9]], [[2, 1]])


def test_a_label_that_stands_twice_in_the_first_column_repeats_no_row() -> None:
    price, size = pd.Series([1.0, 2.0, 3.0], list("aab")), pd.Series([10.0, 20.0], list("ab"))
    with pytest.raises(ValidationError, match="sizes and prices have rows of different labels"):
        walk_book(price, size, [5.0])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("aggressor", [True, False, True], "aggressor must be 1, -1 or 0, got booleans"),
        ("aggressor", np.array([True, False, True], object), "got booleans"),
        ("aggressor", [257, 1, 1], "aggressor must be 1, -1 or 0"),
        ("aggressor", [-0.9, 1, 1], "aggressor must be 1, -1 or 0"),
        ("aggressor", ["buy", "sell", "buy"], "trade aggressor must be numbers"),
        ("price", ["a", "b", "c"], "trade price must be numbers"),
    ],
)
def test_columns_of_trades_that_are_something_else_are_refused(
    name: str, values: list[object], message: str
) -> None:
    given = {"time": TIME.to_numpy(), "price": [1, 2, 3], "size": [1, 2, 3], "aggressor": [0, 1, 1]}
    with pytest.raises(ValidationError, match=message):
        Trades(**{**given, name: values})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"complete": ["False"] * 3}, "complete must be 3 booleans, got <U5"),
        ({"complete": [1.0, np.nan, 1.0]}, "complete must be 3 booleans, got float64"),
        ({"age": [5]}, "age must be one number"),
        ({"age": [-1, 0, 0]}, "age must be one number of at least 0"),
        ({"age": [np.inf, 0, 0]}, "age must be one number of at least 0"),
        ({"age": ["x", "y", "z"]}, "age must be nanoseconds"),
        ({"bid_price": [["a"], ["b"], ["c"]]}, "bid price must be numbers"),
    ],
)
def test_columns_of_books_that_are_something_else_are_refused(
    extra: dict[str, object], message: str
) -> None:
    plain = {name: values.to_numpy() for name, values in COLUMNS.items()}
    with pytest.raises(ValidationError, match=message):
        BookSnapshots(**{**plain, **extra})


def test_none_chosen_is_none() -> None:
    books, trades = BookSnapshots(**COLUMNS), Trades(TIME, PRICE, SIZE, SIZE * 0)
    assert len(books.take([])) == len(trades.take([])) == 0


def test_the_true_cost_of_labelled_shares_is_by_interval() -> None:
    curve = SyntheticMarket(session=Session(2)).true_curve
    shares = pd.Series([100.0, 500.0], index=[1, 0])
    np.testing.assert_array_equal(curve.cost(shares), curve.cost([500.0, 100.0]))

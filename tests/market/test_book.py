"""Snapshots, their long frame, and sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import one_book

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session

START = 1_743_687_000 * 10**9


def _day(times: list[str], complete: list[bool] | None = None, mids: list[float] | None = None) -> BookSnapshots:
    n = len(times)
    mid = np.array(mids if mids is not None else np.arange(n) + 100.0)[:, None]
    index = pd.DatetimeIndex(times).tz_localize("America/New_York")
    return BookSnapshots(index, mid - 0.5, np.full((n, 1), 10.0), mid + 0.5, np.full((n, 1), 10.0), complete=complete)


def test_frame_round_trip_keeps_every_level(synthetic_books: BookSnapshots) -> None:
    back = BookSnapshots.from_frame(synthetic_books.to_frame())
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        assert np.array_equal(getattr(back, name), getattr(synthetic_books, name)), name


def test_frame_rows_may_come_in_any_order(synthetic_books: BookSnapshots, rng: np.random.Generator) -> None:
    frame = synthetic_books.to_frame()
    shuffled = frame.iloc[rng.permutation(len(frame))]
    assert np.array_equal(BookSnapshots.from_frame(shuffled).ask_size, synthetic_books.ask_size)


def test_frame_leaves_empty_levels_out_and_takes_ragged_books_back() -> None:
    books = one_book([(99, 5), (98, 5)], [(101, 5), (np.nan, 0)])
    frame = books.to_frame()
    assert len(frame) == 3
    assert list(frame.columns) == ["time", "side", "price", "size", "level"]
    back = BookSnapshots.from_frame(frame)
    assert np.isnan(back.ask_price[0, 1])
    assert back.ask_size[0, 1] == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", np.nan, "column price must be a finite number: 1 of 48 rows are not, first in row 7"),
        ("price", 0.0, "column price must be above 0: 1 of 48 rows are not, first in row 7"),
        ("size", -1.0, "column size must be above 0: 1 of 48 rows are not, first in row 7"),
        ("level", 1.5, "column level must be a whole number"),
        ("side", "offer", 'column side must be "bid" or "ask": 1 of 48 rows are not, first in row 7'),
    ],
)
def test_bad_cells_are_refused_by_column_count_and_row(column: str, value: Any, message: str) -> None:
    frame = _frame()
    frame[column] = frame[column].astype(str if column == "side" else float)
    frame.loc[7, column] = value
    with pytest.raises(ValidationError, match=message):
        BookSnapshots.from_frame(frame)


def test_text_in_numbers_is_refused() -> None:
    frame = _frame().astype({"price": object})
    frame.loc[3, "price"] = "n/a"
    with pytest.raises(ValidationError, match=r"column price must be a finite number.*first in row 3 \('n/a'\)"):
        BookSnapshots.from_frame(frame)


def test_empty_frame_missing_column_and_repeated_level_are_refused() -> None:
    frame = _frame()
    with pytest.raises(ValidationError, match="book frame is empty"):
        BookSnapshots.from_frame(frame.iloc[:0])
    with pytest.raises(ValidationError, match="book frame lacks column size, level"):
        BookSnapshots.from_frame(frame.drop(columns=["size", "level"]))
    with pytest.raises(ValidationError, match=r"given twice in 1 rows, first in row 48"):
        BookSnapshots.from_frame(pd.concat([frame, frame.iloc[[5]]], ignore_index=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bid_size": [[-1.0]]}, "bid size must be finite and at least 0"),
        ({"ask_price": [[np.nan]]}, "ask price must be finite where there is size"),
        ({"ask_price": [[-3.0]]}, "ask price must be above 0"),
        ({"ask_price": [[1.0, 2.0]], "ask_size": [[1.0, 1.0]]}, "pad with NaN"),
        ({"time": START + np.array([2, 1])}, "time runs backwards in 1 rows, first in row 1"),
        ({"complete": [True, True]}, "one flag a row"),
    ],
)
def test_impossible_snapshots_are_refused(change: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "time": [START], "bid_price": [[1.0]], "bid_size": [[1.0]], "ask_price": [[2.0]], "ask_size": [[1.0]],
    }  # fmt: skip
    with pytest.raises(ValidationError, match=message):
        BookSnapshots(**{**fields, **change})


def test_a_crossed_book_has_a_negative_half_spread_and_is_counted() -> None:
    crossed = one_book([(101, 1)], [(100, 1)])
    assert crossed.half_spread.tolist() == [-0.5]
    assert crossed.quality["crossed"] == 1
    assert one_book([(100, 1)], [(100, 1)]).quality["locked"] == 1
    assert one_book([(100, 1)], [(np.nan, 0)]).quality["one_side_empty"] == 1
    assert one_book([(98, 1), (99, 1)], [(100, 1), (101, 1)]).quality["unordered_levels"] == 1


def test_sampling_takes_the_last_state_at_or_before_the_start() -> None:
    books = _day(["2025-04-03 09:29:59", "2025-04-03 09:30:00", "2025-04-03 12:44:59", "2025-04-03 12:45:00.000000001"])
    sampled = books.sample(Session(2))
    # 09:30 takes the state of exactly 09:30; 12:45 the one before, not the one a nanosecond after.
    assert sampled.mid.tolist() == [101.0, 102.0]
    assert sampled.complete.all()


def test_sampling_passes_over_incomplete_states_and_the_night_before() -> None:
    books = _day(["2025-04-03 08:00", "2025-04-03 11:00", "2025-04-03 12:00"], complete=[True, True, False])
    sampled = books.sample(Session(2))
    assert sampled.complete.tolist() == [False, True]
    assert np.isnan(sampled.mid[0])
    assert sampled.mid[1] == 101.0


def test_equal_times_are_sampled_in_file_order() -> None:
    books = _day(["2025-04-03 10:00", "2025-04-03 10:00"], mids=[100.0, 200.0])
    assert books.sample(Session(2)).mid[1] == 200.0


def test_sampling_starts_each_day_anew() -> None:
    books = _day(["2025-04-03 15:00", "2025-04-04 12:00"])
    sampled = books.sample(Session(2))
    assert len(sampled) == 4
    assert sampled.complete.tolist() == [False, False, False, True]


def test_sampling_without_any_state_in_the_session_is_refused() -> None:
    with pytest.raises(ValidationError, match="none of 1 snapshots falls inside 09:30-16:00"):
        _day(["2025-04-03 08:00"]).sample(Session(2))


def test_between_is_half_open_and_needs_a_time_zone() -> None:
    books = _day(["2025-04-03 10:00", "2025-04-03 11:00"])
    assert len(books.between("2025-04-03 14:00Z", "2025-04-03 15:00Z")) == 1
    with pytest.raises(ValidationError, match="start has no time zone"):
        books.between("2025-04-03 14:00", "2025-04-03 15:00Z")


def test_results_answer_by_name(synthetic_books: BookSnapshots) -> None:
    assert synthetic_books["symbol"] == "SYNTHETIC"
    with pytest.raises(KeyError, match="BookSnapshots has no 'bids'"):
        synthetic_books["bids"]


def _frame() -> pd.DataFrame:
    books = _day(["2025-04-03 10:00", "2025-04-03 11:00"])
    wide = {name: np.repeat(getattr(books, name), 12, axis=1) for name in ("bid_size", "ask_size")}
    steps = np.arange(12)
    return BookSnapshots(
        books.time, books.bid_price - steps, wide["bid_size"], books.ask_price + steps, wide["ask_size"]
    ).to_frame()


def test_a_frame_of_two_symbols_is_refused_and_one_is_kept() -> None:
    frame = _frame().assign(Symbol="A")
    assert BookSnapshots.from_frame(frame).symbol == "A"
    frame.loc[30:, "Symbol"] = "B"
    with pytest.raises(ValidationError, match=r"column Symbol names 2 symbols \(A, B, ...\); keep one"):
        BookSnapshots.from_frame(frame)

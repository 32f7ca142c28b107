"""Snapshots, their long frame, and sampling."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import one_book

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session

START = 1_743_687_000 * 10**9


def _day(
    times: list[str], complete: list[bool] | None = None, mids: list[float] | None = None
) -> BookSnapshots:
    n = len(times)
    mid = np.array(mids if mids is not None else np.arange(n) + 100.0)[:, None]
    index = pd.DatetimeIndex(times).tz_localize("America/New_York")
    return BookSnapshots(
        index, mid - 0.5, np.full((n, 1), 10.0), mid + 0.5, np.full((n, 1), 10.0), complete=complete
    )


def test_frame_round_trip_keeps_every_level(synthetic_books: BookSnapshots) -> None:
    back = BookSnapshots.from_frame(synthetic_books.to_frame())
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        assert np.array_equal(getattr(back, name), getattr(synthetic_books, name)), name


def test_frame_rows_may_come_in_any_order(
    synthetic_books: BookSnapshots, rng: np.random.Generator
) -> None:
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
        (
            "price",
            np.nan,
            r"column price must be above 0 .*, row 7 holds None \(1 of 48 rows read\)",
        ),
        ("price", 0.0, r"column price must be above 0 .*, row 7 holds 0\.0 \(1 of 48 rows read\)"),
        ("size", -1.0, r"column size must be above 0 .*, row 7 holds -1\.0 \(1 of 48 rows read\)"),
        ("level", 1.5, "column level must be a whole number"),
        (
            "side",
            "offer",
            r"column side must be one of bid, ask, row 7 holds 'offer' \(1 of 48 rows read\)",
        ),
    ],
)
def test_bad_cells_are_refused_by_column_count_and_row(
    column: str, value: Any, message: str
) -> None:
    frame = _frame()
    frame[column] = frame[column].astype(str if column == "side" else float)
    frame.loc[7, column] = value
    with pytest.raises(ValidationError, match=message):
        BookSnapshots.from_frame(frame)


def test_text_in_numbers_is_refused() -> None:
    frame = _frame().astype({"price": object})
    frame.loc[3, "price"] = "n/a"
    with pytest.raises(ValidationError, match=r"column price must hold numbers, row 3 holds 'n/a'"):
        BookSnapshots.from_frame(frame)


def test_empty_frame_missing_column_and_repeated_level_are_refused() -> None:
    frame = _frame()
    with pytest.raises(ValidationError, match="book frame is empty"):
        BookSnapshots.from_frame(frame.iloc[:0])
    with pytest.raises(ValidationError, match="book frame has other columns than wanted"):
        BookSnapshots.from_frame(frame.drop(columns=["size", "level"]))
    with pytest.raises(ValidationError, match=r"row 48 repeats a level \(1 rows do\)"):
        BookSnapshots.from_frame(pd.concat([frame, frame.iloc[[5]]], ignore_index=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bid_size": [[-1.0]]}, "bid size must be finite and at least 0"),
        ({"ask_price": [[np.nan]]}, "ask price must be finite where there is size"),
        ({"ask_price": [[-3.0]]}, "ask price must be above 0"),
        ({"ask_price": [[1.0, 2.0]], "ask_size": [[1.0, 1.0]]}, "pad with NaN"),
        (
            {"time": START + np.array([2, 1])},
            "time must be in time order: 1 of 2 rows are not, first in row 1",
        ),
        ({"complete": [True, True]}, "complete must be 1 booleans"),
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
    books = _day(
        [
            "2025-04-03 09:29:59",
            "2025-04-03 09:30:00",
            "2025-04-03 12:44:59",
            "2025-04-03 12:45:00.000000001",
        ]
    )
    sampled = books.sample(Session(2))
    # 09:30 takes the state of exactly 09:30; 12:45 the one before, not the one a nanosecond after.
    assert sampled.mid.tolist() == [101.0, 102.0]
    assert sampled.complete.all()


def test_sampling_passes_over_incomplete_states_and_the_night_before() -> None:
    books = _day(
        ["2025-04-03 08:00", "2025-04-03 11:00", "2025-04-03 12:00"], complete=[True, True, False]
    )
    sampled = books.sample(Session(2))
    assert sampled.complete.tolist() == [False, True]
    assert np.isnan(sampled.mid[0])
    assert sampled.mid[1] == 101.0


def test_equal_times_are_sampled_in_file_order() -> None:
    books = _day(
        ["2025-04-03 10:00", "2025-04-03 10:00", "2025-04-03 16:00"], mids=[100.0, 200.0, 300.0]
    )
    assert books.sample(Session(2)).mid[1] == 200.0


def test_sampling_starts_each_day_anew() -> None:
    books = _day(["2025-04-03 15:00", "2025-04-04 12:00", "2025-04-04 17:00"])
    sampled = books.sample(Session(2))
    assert len(sampled) == 4
    assert sampled.complete.tolist() == [False, False, False, True]


def test_sampling_without_any_state_in_the_session_is_refused() -> None:
    with pytest.raises(ValidationError, match="none of 1 snapshots falls inside 09:30-16:00"):
        _day(["2025-04-03 08:00"]).sample(Session(2))


def test_a_session_elsewhere_says_when_the_states_are() -> None:
    books = _day(["2025-04-03 02:10", "2025-04-03 08:00"])
    reason = (
        r"they are from 2025-04-03 02:10:00-04:00 to 2025-04-03 08:00:00-04:00 "
        r"\(UTC 2025-04-03 06:10:00 to 2025-04-03 12:00:00\); give the exchange's own hours"
    )
    with pytest.raises(ValidationError, match=reason):
        books.sample(Session(2))
    assert books.sample(Session(7, "02:00", "09:00")).complete.sum() == 6


def test_nothing_is_known_once_the_recording_has_ended() -> None:
    """Half-hours; the last state of the day is at 12:00, five minutes and a second before or at 12:30."""
    session = Session(13)
    for last, known in (("12:00", 6), ("12:24:59", 6), ("12:25", 7), ("12:30", 7)):
        sampled = _day(
            ["2025-04-03 09:30", "2025-04-03 09:31", *[f"2025-04-03 {last}"] * 100]
        ).sample(session)
        assert sampled.complete.tolist() == [True] * known + [False] * (13 - known), last
        assert np.isnan(sampled.mid[known:]).all()
        assert (sampled.age[known:] == 0).all()
    after = _day(["2025-04-03 09:30", "2025-04-03 17:00"]).sample(session)
    assert after.complete.all()  # it was still recorded: the book was quiet


def test_regular_snapshots_stand_until_the_next_is_due() -> None:
    books = _day([f"2025-04-03 {hour}:30" for hour in ("09", "10", "11", "12", "13", "14", "15")])
    assert books.sample(Session(26)).complete.all()
    assert (
        books.take(np.arange(3)).sample(Session(26)).complete.sum() == 13
    )  # until 12:30, an hour after the last


def test_what_is_older_than_max_age_is_not_sampled() -> None:
    books = _day(["2025-04-03 09:30", "2025-04-03 10:00:30", "2025-04-03 16:30"])
    sampled = books.sample(Session(13), max_age=1800)
    assert sampled.complete.tolist() == [True, True, True] + [False] * 10
    assert (sampled.age / 1e9).tolist() == [0, 1800, 1770] + [0] * 10
    assert np.isnan(sampled.bid_price[3:]).all()
    assert (sampled.ask_size[3:] == 0).all()
    assert books.sample(Session(13)).stale(1800).sum() == 10
    with pytest.raises(ValidationError, match="max_age must be at least 0"):
        books.sample(Session(13), max_age=-1)


def test_no_state_of_before_a_break_is_sampled_after_it() -> None:
    books = _day(
        [
            "2025-04-03 09:30",
            "2025-04-03 11:29",
            "2025-04-03 11:45",
            "2025-04-03 12:31",
            "2025-04-03 16:00",
        ]
    )
    session = Session(11, breaks=[("11:30", "12:30")])
    sampled = books.sample(session)
    assert sampled.complete.tolist() == [True] * 4 + [False] + [True] * 6
    assert sampled.mid[5] == 103.0


def _wide() -> pd.DataFrame:
    frame = pd.DataFrame({"time": pd.to_datetime(["2025-04-03 14:00Z", "2025-04-03 15:00Z"])})
    for level in (1, 2):
        frame[f"bid_price_{level}"], frame[f"bid_size_{level}"] = (
            [10.0 - level, 11.0 - level],
            [level, 5.0],
        )
        frame[f"ask_price_{level}"], frame[f"ask_size_{level}"] = (
            [10.0 + level, 11.0 + level],
            [7, 0],
        )
    frame.loc[0, ["bid_price_2", "bid_size_2"]] = np.nan
    return frame


def test_a_wide_frame_becomes_books() -> None:
    books = BookSnapshots.from_frame(_wide().assign(ticker="XYZ"))
    assert (books.symbol, books.n_levels) == ("XYZ", 2)
    assert books.bid_size.tolist() == [[1, 0], [5, 5]]
    assert np.isnan(books.bid_price).tolist() == [[False, True], [False, False]]
    assert books.ask_price[0].tolist() == [11.0, 12.0]
    assert np.isnan(books.ask_price[1]).all()
    with pytest.raises(ValidationError, match="book frame lacks column ask_size_2"):
        BookSnapshots.from_frame(_wide().drop(columns="ask_size_2"))
    with pytest.raises(ValidationError, match=r"column bid_price_1 must hold numbers, row 0"):
        BookSnapshots.from_frame(_wide().assign(bid_price_1="none"))
    with pytest.raises(
        ValidationError, match=r"column ask_price_1 must be above 0 .* where there is size, row 0"
    ):
        BookSnapshots.from_frame(_wide().assign(ask_price_1=[np.nan, 12.0]))
    with pytest.raises(ValidationError, match="runs backwards in time"):
        BookSnapshots.from_frame(_wide().iloc[::-1])


@pytest.mark.parametrize(
    "names",
    [
        ["Timestamp", "BidPx0", "BidSz0", "AskPx0", "AskSz0"],
        ["ts", "bid", "bid_qty", "ask", "ask_qty"],
        ["datetime", "Bid Price 1", "Bid Volume 1", "Offer Price 1", "Offer Volume 1"],
        ["time", "bidprice1", "bidsize1", "askprice1", "asksize1"],
    ],
)
def test_other_names_are_guessed_and_the_guess_works(names: list[str]) -> None:
    one = _wide()[["time", "bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"]]
    frame = one.set_axis(names, axis=1).assign(venue=1.0)
    with pytest.raises(
        ValidationError, match=r"other columns than wanted: .*columns=.* long: .* or wide: "
    ):
        BookSnapshots.from_frame(frame)
    books = BookSnapshots.from_frame(frame.rename(columns=_told_renames(frame)))
    assert books.bid_price.ravel().tolist() == [9.0, 10.0]
    assert books.ask_size.ravel().tolist() == [7.0, 0.0]


def _told_renames(frame: pd.DataFrame) -> dict[str, str]:
    """What `BookSnapshots.from_frame` says the columns may have been meant to be; {} where it has no guess."""
    with pytest.raises(ValidationError) as refused:
        BookSnapshots.from_frame(frame)
    said = re.search(r"columns=(\{.*?\})", str(refused.value))
    return ast.literal_eval(said[1]) if said else {}


def _named(*names: str) -> pd.DataFrame:
    return pd.DataFrame([[1.0] * len(names)] * 2, columns=list(names))


def test_no_guess_is_better_than_a_half_one() -> None:
    assert _told_renames(_named("date", "open", "high", "low", "close", "volume")) == {}
    assert _told_renames(_named("when", "bid", "ask")) == {}
    assert _told_renames(_named("Time", "Side", "Px", "Qty", "Lvl")) == {
        "Time": "time", "Side": "side", "Px": "price", "Qty": "size", "Lvl": "level"
    }  # fmt: skip


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
        books.time,
        books.bid_price - steps,
        wide["bid_size"],
        books.ask_price + steps,
        wide["ask_size"],
    ).to_frame()


def test_a_frame_of_two_symbols_is_refused_and_one_is_kept() -> None:
    frame = _frame().assign(Symbol="A")
    assert BookSnapshots.from_frame(frame).symbol == "A"
    frame.loc[30:, "Symbol"] = "B"
    with pytest.raises(
        ValidationError, match=r"column Symbol must hold one value, 'A', row 30 holds 'B'"
    ):
        BookSnapshots.from_frame(frame)


def test_the_mid_lies_between_the_best_levels_that_hold_shares() -> None:
    nan = np.nan
    books = BookSnapshots(
        np.arange(3),
        np.array([[nan, 98.0], [99.0, 98.0], [nan, nan]]),
        np.array([[0.0, 5.0], [1.0, 5.0], [0.0, 0.0]]),
        np.array([[101.0, 102.0], [nan, 102.0], [101.0, 102.0]]),
        np.array([[1.0, 5.0], [0.0, 5.0], [1.0, 5.0]]),
    )
    assert books.mid[:2].tolist() == [99.5, 100.5]
    assert books.half_spread[:2].tolist() == [1.5, 1.5]
    assert np.isnan([books.mid[2], books.half_spread[2]]).all()

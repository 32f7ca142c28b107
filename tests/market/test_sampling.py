"""Sampling batch by batch against sampling the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.market import (
    BookSnapshots,
    Session,
    assess,
    iter_books,
    read_books,
    sample_batches,
    summarise,
)

SESSION = Session(13)
BOOK_ARRAYS = ("time", "complete", "bid_price", "bid_size", "ask_price", "ask_size")
SAMPLED_ARRAYS = (*BOOK_ARRAYS, "age")
MINUTE = 60 * 10**9
DAY = 24 * 60 * MINUTE
MONDAY_OPEN = 1_736_173_800 * 10**9  # 2025-01-06 09:30 New York


def _random_books(rng: np.random.Generator, n: int = 240) -> BookSnapshots:
    """Four days from 08:00 to 17:00 in whole minutes, so many times are equal; a third is incomplete."""
    day = np.sort(rng.integers(0, 4, n))
    time = np.sort(MONDAY_OPEN + day * DAY + rng.integers(-90, 450, n) * MINUTE)
    bid = 10 + 0.01 * rng.integers(0, 50, (n, 3)).astype(float)
    sizes = rng.integers(0, 5, (2, n, 3)).astype(float)
    return BookSnapshots(
        time, bid, sizes[0], bid + 1, sizes[1], "XYZ", complete=rng.random(n) > 1 / 3
    )


def _batches(books: BookSnapshots, rows: int) -> Iterator[BookSnapshots]:
    for start in range(0, len(books), rows):
        yield books.take(np.arange(start, min(start + rows, len(books))))


def _assert_same(one: BookSnapshots, other: BookSnapshots) -> None:
    assert one.symbol == other.symbol
    for name in SAMPLED_ARRAYS:
        assert np.array_equal(one[name], other[name], equal_nan=True), name


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 2, 3, 7, 50, 119, 120])
def test_batches_of_any_size_are_sampled_as_the_whole(rng: np.random.Generator, rows: int) -> None:
    for _ in range(3):
        books = _random_books(rng, 120)
        whole = books.sample(SESSION)
        assert 0 < whole.complete.sum() < len(whole)
        _assert_same(sample_batches(_batches(books, rows), SESSION), whole)
        young = books.sample(SESSION, max_age=600)
        assert young.complete.sum() < whole.complete.sum()
        _assert_same(sample_batches(_batches(books, rows), SESSION, max_age=600), young)


def test_a_state_is_carried_over_batches_that_show_none(rng: np.random.Generator) -> None:
    books = _random_books(rng, 7)
    minutes = np.array([0, 31, 32, 33, 34, 200, 390])
    complete = np.array([True, False, False, False, False, True, True])
    books = BookSnapshots(
        MONDAY_OPEN + minutes * MINUTE,
        books.bid_price,
        books.bid_size,
        books.ask_price,
        books.ask_size,
        "XYZ",
        complete,
    )
    sampled = sample_batches(_batches(books, 1), SESSION)
    assert sampled.complete.all()
    assert np.array_equal(
        sampled.bid_size[:7], np.repeat(books.bid_size[:1], 7, axis=0)
    )  # until 12:50
    assert np.array_equal(sampled.bid_size[7:], np.repeat(books.bid_size[5:6], 6, axis=0))


def test_of_equal_times_the_last_in_the_file_is_seen_across_batches(
    rng: np.random.Generator,
) -> None:
    books = _random_books(rng, 4)
    books = BookSnapshots(
        np.full(4, MONDAY_OPEN),
        books.bid_price,
        [[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]],
        books.ask_price,
        books.ask_size,
    )
    for rows in (1, 2, 3, 4):
        assert sample_batches(_batches(books, rows), SESSION).bid_size[0, 0] == 4


def test_batches_with_fewer_levels_are_padded(rng: np.random.Generator) -> None:
    books = _random_books(rng)
    narrow = books.take(np.arange(100))
    narrow = BookSnapshots(
        narrow.time,
        *(narrow[name][:, :1] for name in BOOK_ARRAYS[2:]),
        symbol="XYZ",
        complete=narrow.complete,
    )
    parts = [narrow, books.take(np.arange(100, 240))]
    _assert_same(sample_batches(parts, SESSION), BookSnapshots.concat(parts).sample(SESSION))


def test_what_concat_refuses_is_refused(rng: np.random.Generator) -> None:
    books = _random_books(rng)
    first, second = _batches(books, 120)
    with pytest.raises(ValidationError, match="time runs backwards from one batch to the next"):
        sample_batches([second, first], SESSION)
    other = BookSnapshots(*(second[name] for name in ("time", *BOOK_ARRAYS[2:])), symbol="ABC")
    with pytest.raises(ValidationError, match=r"batches of 2 symbols \(XYZ, ABC\)"):
        sample_batches([first, other], SESSION)
    with pytest.raises(ValidationError, match="none of 0 snapshots falls inside"):
        sample_batches([], SESSION)
    with pytest.raises(ValidationError, match=r"none of 240 snapshots falls inside 02:00-03:00"):
        sample_batches(_batches(books, 100), Session(13, "02:00", "03:00"))


@pytest.mark.parametrize("rows", [500, 9_999])
@pytest.mark.slow
def test_frog_is_sampled_in_batches_as_whole(frog_file: Path, rows: int) -> None:
    whole = read_books(frog_file).sample(Session())
    _assert_same(sample_batches(iter_books(frog_file, rows), Session()), whole)


def _new_york_day(shift_hours: float = 0.0) -> BookSnapshots:
    """A state a minute from 09:30 to 15:59 New York, its clock moved by so many hours."""
    time = MONDAY_OPEN + np.arange(390) * MINUTE + int(shift_hours * 60 * MINUTE)
    one = np.ones((390, 1))
    return BookSnapshots(time, 9.99 * one, 100 * one, 10.01 * one, 100 * one)


@pytest.mark.parametrize(
    ("shift", "session", "outside"),
    [
        (0, Session(17, "08:00", "16:30", "Europe/London"), "270 of 390"),
        (-5, Session(13), "300 of 390"),  # New York times taken for UTC
    ],
)
def test_a_clock_that_does_not_fit_is_warned_of(
    shift: int, session: Session, outside: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert _new_york_day(shift).sample(session).complete.mean() < 0.4
    assert f"{outside} states lie outside" in caplog.text
    assert "give the exchange's own hours and time zone" in caplog.text


def test_states_before_the_open_beside_a_whole_session_are_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    early = BookSnapshots.concat([_new_york_day(-6.5), _new_york_day()])
    assert early.sample(Session(390)).complete.all()
    _new_york_day().take(np.arange(100)).sample(Session(390))  # ends early, but no state is outside
    assert not caplog.records


def test_a_halt_shows_in_the_age_of_the_books() -> None:
    minutes = np.r_[0:100, 191:390]  # nothing between 11:09 and 12:41
    sampled = _new_york_day().take(minutes).sample(Session(390))
    assert sampled.age.max() == 91 * MINUTE
    assert sampled.age[:100].max() == 0


@pytest.mark.parametrize("wrong", [390, None, "09:30"])
def test_what_is_no_session_is_refused_with_the_remedy(wrong: object) -> None:
    with pytest.raises(ValidationError, match=r"session must be a Session, got .*; give Session\("):
        _new_york_day().sample(wrong)  # type: ignore[arg-type]


def test_a_day_on_which_the_exchange_is_closed_is_named(caplog: pytest.LogCaptureFixture) -> None:
    fourth = BookSnapshots([1_751_637_600 * 10**9], *([[10.0]] * 4))  # 2025-07-04 10:00 New York
    assert len(fourth.sample(SESSION)) == 13
    assert "2025-07-04 is no trading day of XNYS" in caplog.text


def test_books_none_of_which_is_complete_are_named(caplog: pytest.LogCaptureFixture) -> None:
    books = BookSnapshots(
        MONDAY_OPEN + MINUTE * np.arange(9), *([[10.0]] * 9 for _ in range(4)), complete=[False] * 9
    )
    assert not books.sample(SESSION).complete.any()
    assert "none of 13 intervals has a book that is complete" in caplog.text


@pytest.mark.parametrize("call", [BookSnapshots.days, assess, summarise])
def test_a_number_in_place_of_a_session_is_refused(call: Callable[..., object]) -> None:
    with pytest.raises(
        ValidationError, match=r"session must be a Session, got 390; give Session\("
    ):
        call(BookSnapshots([MONDAY_OPEN], *([[10.0]] * 4)), 390)


def test_states_that_are_complete_but_late_are_a_matter_of_the_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    evening = MONDAY_OPEN + 615 * MINUTE - 5 * 60 * MINUTE + MINUTE * np.arange(400)  # from 14:45
    BookSnapshots(evening, *([[10.0]] * 400 for _ in range(4))).sample(SESSION)
    assert "may not fit" in caplog.text


def test_the_last_state_of_a_block_stands_at_the_next_ones_opening() -> None:
    """Around the clock nothing closes: the first book of an hour is the last one before it."""
    session, start = Session(60, block="1h"), 1_704_153_600_000_000_000
    time = start + 30 * 10**9 + 60 * 10**9 * np.arange(3 * 60)  # half past each minute
    mid, size = 100.0 + np.arange(len(time))[:, None], np.full((len(time), 1), 9.0)
    states = BookSnapshots(time, mid - 0.5, size, mid + 0.5, size)
    books = states.sample(session)
    assert books.complete.reshape(3, 60).all(axis=1).tolist() == [False, True, True]
    assert books.mid[60] == states.mid[59]
    assert books.age[60] == 30 * 10**9
    gone = states.take(
        np.flatnonzero((time < start + 3_600 * 10**9) | (time > start + 7_200 * 10**9))
    )
    assert not gone.sample(session).complete[60]  # an hour without a state: it is not known

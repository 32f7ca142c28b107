"""LOBSTER pairs: the official samples, halts and empty levels that they lack, and every kind of damage."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import BookSnapshots, Session, iter_books, read_books, read_lobster

GOOG_10 = "lobster/GOOG_2012-06-21_34200000_57600000_{}_10.csv.gz"
GOOG_5 = "lobster/GOOG_2012-06-21_34200000_57600000_{}_5.csv.gz"
AMZN_1 = "lobster/AMZN_2012-06-21_34200000_57600000_{}_1.csv.gz"
NAME = "TEST_2012-06-21_34200000_57600000_{}_2.csv"
EMPTY = 9_999_999_999
# ask 1, bid 1, ask 2, bid 2
LEVELS = [1000100, 10, 1000000, 20, 1000200, 30, 999900, 40]
MESSAGES = [
    "34200.000000001,1,11,20,1000000,1",
    "34200.5,4,12,5,1000100,-1",
    "34200.5,4,11,3,1000000,1",
    "34201.25,5,0,7,1000050,-1",
    "34202,6,-1,900,1000050,-1",
    "34203.123456789,3,13,40,999900,1",
]


def pair(name: str) -> tuple[Path, Path]:
    return real_data(name.format("orderbook")), real_data(name.format("message"))


def whole(path: Path, batch_rows: int) -> BookSnapshots:
    return BookSnapshots.concat(list(iter_books(path, batch_rows)))


def write(
    folder: Path, messages: list[str], levels: list[list[int]] | None = None, name: str = NAME
) -> Path:
    """A pair in `folder`; returns the orderbook's path."""
    rows = [LEVELS] * len(messages) if levels is None else levels
    orderbook = folder / name.format("orderbook")
    orderbook.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    (folder / name.format("message")).write_text("".join(line + "\n" for line in messages))
    return orderbook


@cache
def message_rows(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module", autouse=True)
def _parsed_messages() -> Iterator[None]:
    yield
    message_rows.cache_clear()


@pytest.fixture(scope="module")
def goog() -> BookSnapshots:
    return read_lobster(*pair(GOOG_10))


def assert_same(left: BookSnapshots, right: BookSnapshots) -> None:
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size", "complete"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.trades is not None
    assert right.trades is not None
    for name in ("time", "price", "size", "aggressor"):
        np.testing.assert_array_equal(
            getattr(left.trades, name), getattr(right.trades, name), err_msg=name
        )
    assert left.symbol == right.symbol


@pytest.mark.slow
def test_goog_has_147916_states_of_10_levels_and_a_median_spread_of_28_to_29_cents(
    goog: BookSnapshots,
) -> None:
    assert goog.bid_price.shape == (147_916, 10)
    assert goog.symbol == "GOOG"
    assert 0.28 <= round(float(np.median(2 * goog.half_spread)), 6) <= 0.29
    quality = goog.quality
    assert [
        quality[name]
        for name in ("crossed", "locked", "empty_levels", "unordered_levels", "incomplete")
    ] == [0] * 5


@pytest.mark.slow
def test_first_time_is_the_sample_day_in_new_york_daylight_saving_time(goog: BookSnapshots) -> None:
    assert goog.time[0] == pd.Timestamp("2012-06-21 13:30:00.015105074Z").value


def test_every_nanosecond_of_the_message_file_is_kept() -> None:
    orderbook, message = pair(AMZN_1)
    midnight = pd.Timestamp("2012-06-21", tz="America/New_York").value
    seconds = [row[0].partition(".") for row in message_rows(message)]
    expected = [
        midnight + int(whole) * 10**9 + int(part.ljust(9, "0")) for whole, _, part in seconds
    ]
    assert read_lobster(orderbook, message).time.tolist() == expected


def test_decimals_beyond_nanoseconds_are_rounded(tmp_path: Path) -> None:
    """As in the official five-level sample of AMZN, whose times are binary fractions in full."""
    times = ["34200.632812672004", "34200.632812672996", "34201.1234567891", "34202"]
    path = write(tmp_path, [f"{time},1,11,20,1000000,1" for time in times])
    midnight = pd.Timestamp("2012-06-21", tz="America/New_York").value
    expected = [34_200_632_812_672, 34_200_632_812_673, 34_201_123_456_789, 34_202_000_000_000]
    assert (whole(path, 100).time - midnight).tolist() == expected


@pytest.mark.slow
def test_top_five_levels_of_goog_equal_the_five_level_file(goog: BookSnapshots) -> None:
    """The five-level file has the events that touch its levels: a subsequence of the ten-level file's."""
    five = read_lobster(*pair(GOOG_5))
    rows, position = [], 0
    events = message_rows(pair(GOOG_10)[1])
    for event in message_rows(pair(GOOG_5)[1]):
        position = events.index(event, position)
        rows.append(position)
        position += 1
    assert len(rows) == len(five) == 112_673
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        top = getattr(goog, name)[:, :5]
        np.testing.assert_array_equal(top[rows], getattr(five, name))
        shown = np.searchsorted(rows, np.arange(len(goog)), side="right") - 1
        np.testing.assert_array_equal(top[rows[0] :], getattr(five, name)[shown[rows[0] :]])


@pytest.mark.slow
def test_book_of_row_i_is_after_event_i(goog: BookSnapshots) -> None:
    """A new order adds its size to a level that is shown before and after it."""
    n_checked = 0
    for i, row in enumerate(message_rows(pair(GOOG_10)[1])):
        if i == 0 or row[1] != "1":
            continue
        side = "bid" if row[5] == "1" else "ask"
        price, size = getattr(goog, f"{side}_price"), getattr(goog, f"{side}_size")
        before, after = (np.flatnonzero(price[k] == int(row[4]) / 10_000) for k in (i - 1, i))
        if before.size and after.size:
            assert size[i, after[0]] - size[i - 1, before[0]] == int(row[3])
            n_checked += 1
    assert n_checked > 10_000


@pytest.mark.parametrize("name", [pytest.param(GOOG_10, marks=pytest.mark.slow), AMZN_1])
def test_trades_are_those_of_the_message_file_signed_against_the_resting_side(name: str) -> None:
    orderbook, message = pair(name)
    trades = read_lobster(orderbook, message).trades
    assert trades is not None
    rows = message_rows(message)
    count = Counter((row[1], row[5]) for row in rows)
    hidden = count["5", "1"] + count["5", "-1"]
    assert [int(np.sum(trades.aggressor == sign)) for sign in (1, -1, 0)] == [
        count["4", "-1"],
        count["4", "1"],
        hidden,
    ]
    assert trades.size.sum() == sum(int(row[3]) for row in rows if row[1] in "45")
    assert trades.price.max() == max(int(row[4]) for row in rows if row[1] in "45") / 10_000


def test_amzn_has_one_level_and_57515_states() -> None:
    books = whole(real_data(AMZN_1.format("message")), 500_000)
    assert books.bid_price.shape == (57_515, 1)
    assert books.quality["crossed"] == 0


@pytest.mark.slow
def test_batches_of_10000_equal_the_whole(goog: BookSnapshots) -> None:
    parts = list(iter_books(real_data(GOOG_10.format("orderbook")), 10_000))
    assert [len(part) for part in parts] == [10_000] * 14 + [7_916]
    assert_same(BookSnapshots.concat(parts), goog)


def test_either_file_and_the_named_pair_give_the_same_books(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES)
    message = tmp_path / NAME.format("message")
    books = read_lobster(orderbook, message)
    assert_same(whole(orderbook, 4), books)
    assert_same(whole(message, 100), books)


def test_rows_become_dollars_shares_and_signed_trades(tmp_path: Path) -> None:
    books = whole(write(tmp_path, MESSAGES), 100)
    assert books.symbol == "TEST"
    np.testing.assert_array_equal(books.ask_price[0], [100.01, 100.02])
    np.testing.assert_array_equal(books.bid_size[0], [20, 40])
    assert books.complete.all()
    assert books.trades is not None
    np.testing.assert_array_equal(books.trades.aggressor, [1, -1, 0, 0])
    np.testing.assert_array_equal(books.trades.price, [100.01, 100.0, 100.005, 100.005])
    np.testing.assert_array_equal(books.trades.size, [5, 3, 7, 900])


def test_sentinel_levels_are_empty(tmp_path: Path) -> None:
    levels = [EMPTY, 0, 1000000, 20, EMPTY, 0, -EMPTY, 0]
    books = whole(write(tmp_path, MESSAGES[:1], [levels]), 100)
    assert np.isnan(books.ask_price).all()
    np.testing.assert_array_equal(books.bid_price, [[100.0, np.nan]])
    np.testing.assert_array_equal(books.bid_size, [[20, 0]])
    assert np.sum(books.bid_size == 0) + np.sum(books.ask_size == 0) == 3


HALTED = [
    "36000.1,1,11,20,1000000,1",
    "36023,7,0,0,-1,-1",
    "36100,1,12,20,1000000,1",
    "36323,7,0,0,0,-1",
    "36400,1,13,20,1000000,1",
    "36723,7,0,0,1,-1",
    "36724,1,14,20,1000000,1",
]


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_rows_from_a_halt_until_trading_resumes_are_empty_books(
    tmp_path: Path, batch_rows: int
) -> None:
    books = whole(write(tmp_path, HALTED), batch_rows)
    assert books.complete.all()
    open_ = np.array([True, False, False, False, False, False, True])
    for side in ("bid", "ask"):
        price, size = getattr(books, f"{side}_price"), getattr(books, f"{side}_size")
        np.testing.assert_array_equal(~np.isnan(price), np.repeat(open_[:, None], 2, axis=1))
        np.testing.assert_array_equal(size > 0, np.repeat(open_[:, None], 2, axis=1))
    assert books.trades is not None
    assert len(books.trades) == 0


def test_a_sample_in_a_halt_is_an_empty_book_and_not_the_one_before(tmp_path: Path) -> None:
    """No minute starts between the resumption, 36723 s, and the first event after it, 36724 s."""
    sampled = whole(write(tmp_path, [*HALTED, "57599,1,15,20,1000000,1"]), 100).sample(Session(390))
    starts = 34_200 + 60 * np.arange(390)
    seen, in_halt = starts > 36_000, (starts >= 36_023) & (starts < 36_724)
    np.testing.assert_array_equal(~np.isnan(sampled.bid_price[:, 0]), seen & ~in_halt)
    np.testing.assert_array_equal(sampled.ask_size[:, 0] > 0, seen & ~in_halt)
    np.testing.assert_array_equal(sampled.complete, seen)


@pytest.mark.parametrize(("date", "opening"), [("2012-01-20", "14:30"), ("2012-06-21", "13:30")])
def test_clock_is_new_yorks_through_the_year(tmp_path: Path, date: str, opening: str) -> None:
    orderbook = write(tmp_path, ["34200,1,11,20,1000000,1"], name="book_{}.csv")
    books = read_lobster(orderbook, tmp_path / "book_message.csv", date)
    assert books.time[0] == pd.Timestamp(f"{date} {opening}Z").value
    assert books.symbol == ""


def test_no_date_in_the_name_is_refused_with_the_remedy(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES, name="book_{}.csv")
    with pytest.raises(
        ValidationError, match=r"book_orderbook\.csv has no date in its name.*give date= to"
    ):
        whole(orderbook, 100)


def test_date_that_is_none_is_refused(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES, name="TEST_2012-13-45_34200000_57600000_{}_2.csv")
    with pytest.raises(ValidationError, match=r"'2012-13-45' is not a date"):
        whole(orderbook, 100)


@pytest.mark.parametrize("missing", ["message", "orderbook"])
def test_missing_partner_is_named(tmp_path: Path, missing: str) -> None:
    orderbook = write(tmp_path, MESSAGES)
    message = tmp_path / NAME.format("message")
    (message if missing == "message" else orderbook).unlink()
    with pytest.raises(
        MissingDataError, match=rf"has no partner: its {missing} file does not exist"
    ):
        whole(orderbook if missing == "message" else message, 100)


@pytest.mark.parametrize(("n_events", "n_books"), [(6, 4), (4, 6), (6, 5)])
def test_unequal_row_counts_are_refused(tmp_path: Path, n_events: int, n_books: int) -> None:
    orderbook = write(tmp_path, MESSAGES[:n_events], [LEVELS] * n_books)
    with pytest.raises(
        ValidationError,
        match=rf"message_2\.csv or .*orderbook_2\.csv is cut off after {min(n_events, n_books)} rows",
    ):
        whole(orderbook, 2)


def test_files_of_two_days_are_no_pair(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES)
    other = tmp_path / "TEST_2012-06-22_34200000_57600000_message_2.csv"
    other.write_text("".join(line + "\n" for line in MESSAGES))
    with pytest.raises(ValidationError, match="not of one symbol and day"):
        read_lobster(orderbook, other)


def test_exchanged_arguments_are_refused(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES)
    with pytest.raises(
        ValidationError, match=r"orderbook_2\.csv cannot be read: .*Expected 6 columns, got 8"
    ):
        read_lobster(tmp_path / NAME.format("message"), orderbook)


@pytest.mark.parametrize(
    ("row", "line", "said"),
    [
        (2, "34200.5,8,11,3,1000000,1", "column type must be 1 to 7, row 2 holds '8'"),
        (1, "34200.5,4,12,0,1000100,-1", "column size must be above 0, row 1 holds '0'"),
        (1, "34200.5,4,12,5,0,-1", "column price must be above 0, row 1 holds '0'"),
        (3, "34201.25,7,0,0,1000050,-1", "column price of a halt .*, row 3 holds '1000050'"),
        (1, "34200.5,4,12,5,1000100,0", "column direction must be -1 or 1, row 1 holds '0'"),
        (4, "34100,1,1,900,1000050,-1", "column time runs backwards in time, row 4 holds '34100'"),
        (
            5,
            "90000,1,1,900,1000050,-1",
            "column time must be seconds after midnight.*, row 5 holds '90000'",
        ),
        (5, "9e17,1,1,900,1000050,-1", "column time must .*, row 5 holds "),
        (1, "soon,4,12,5,1000100,-1", "column time must hold numbers, row 1 holds 'soon'"),
        (1, "34200.5,4,12,five,1000100,-1", "column size must hold numbers, row 1 holds 'five'"),
        (1, "34200.5,4,12,5,100.01,-1", r"column price must hold numbers, row 1 holds '100\.01'"),
        (1, "34200.5,4,12,,1000100,-1", "column size must not be empty, row 1 holds None"),
        (1, ",4,12,5,1000100,-1", "column time must not be empty, row 1 holds None"),
        (5, "34203.1234,3,13", "cannot be read: .*Expected 6 columns, got 3"),
        (1, "34200.5;4;12;5;1000100;-1", "cannot be read: .*Expected 6 columns, got 1"),
    ],
)
@pytest.mark.parametrize("batch_rows", [2, 100])
def test_damaged_message_is_refused_with_file_row_and_column(
    tmp_path: Path, row: int, line: str, said: str, batch_rows: int
) -> None:
    orderbook = write(tmp_path, [*MESSAGES[:row], line, *MESSAGES[row + 1 :]])
    with pytest.raises(ValidationError, match=rf"message_2\.csv:? {said}"):
        whole(orderbook, batch_rows)


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        (1, -10, "column ask_sz_1 must be above 0, .*, row 3 holds '-10'"),
        (1, 0, "column ask_sz_1 must be above 0, .*, row 3 holds '0'"),
        (6, -999900, "column bid_px_2 must be above 0, row 3 holds '-999900'"),
        (6, -EMPTY, "column bid_sz_2 must be .* 0 where .*, row 3 holds '40'"),
        (4, "NaN", "column ask_px_2 must not be empty, row 3 holds None"),
        (4, "many", "column ask_px_2 must hold numbers, row 3 holds 'many'"),
    ],
)
def test_damaged_level_is_refused_with_file_row_and_column(
    tmp_path: Path, column: int, cell: int, said: str
) -> None:
    levels = [list(LEVELS) for _ in MESSAGES]
    levels[3][column] = cell
    with pytest.raises(ValidationError, match=rf"orderbook_2\.csv: {said}"):
        whole(write(tmp_path, MESSAGES, levels), 2)


def test_cut_gzip_is_refused(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES)
    packed = orderbook.with_name(orderbook.name + ".gz")
    packed.write_bytes(gzip.compress(orderbook.read_bytes())[:-12])
    orderbook.unlink()
    with pytest.raises(ValidationError, match=r"orderbook_2\.csv\.gz cannot be read"):
        whole(packed, 100)


@given(cut=st.integers(0, len(MESSAGES) * 41 - 1), kind=st.sampled_from(["message", "orderbook"]))
def test_a_file_cut_anywhere_is_never_read_as_other_books(
    tmp_path_factory: pytest.TempPathFactory, cut: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    orderbook = write(folder, MESSAGES)
    path = folder / NAME.format(kind)
    content = path.read_bytes()
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(ValidationError, match=path.name):
        whole(orderbook, 4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[str], list[list[int]]]:
    """2 to 6 events, in whole microseconds so that some times are equal, and their two-level books."""
    n = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seconds = 34_200 + np.cumsum(rng.integers(0, 3, n)) / 1e6
    events = [
        f"{time:.9f},{rng.choice([1, 2, 3, 4, 5])},{k},{rng.integers(1, 99)},1000000,{rng.choice([-1, 1])}"
        for k, time in enumerate(seconds)
    ]
    ticks = 100 * rng.integers(1, 9, (n, 2, 2)).cumsum(axis=2)
    sizes = rng.integers(1, 99, (n, 4))
    levels = [
        [1000000 + a1, s[0], 1000000 - b1, s[1], 1000000 + a2, s[2], 1000000 - b2, s[3]]
        for ((a1, a2), (b1, b2)), s in zip(ticks.tolist(), sizes.tolist(), strict=True)
    ]
    return events, levels


@settings(deadline=None)
@given(
    made=pairs(),
    batch_rows=st.integers(1, 7),
    sentinel=st.sampled_from([EMPTY, -EMPTY]),
    data=st.data(),
)
@pytest.mark.slow
def test_sentinel_empties_its_level_only_without_size(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[list[str], list[list[int]]],
    batch_rows: int,
    sentinel: int,
    data: st.DataObject,
) -> None:
    events, levels = made
    folder = tmp_path_factory.mktemp("sentinel")
    known = whole(write(folder, events, levels), 100)
    row, cell = data.draw(st.integers(0, len(events) - 1)), data.draw(st.sampled_from([0, 2, 4, 6]))
    levels[row][cell] = sentinel
    name = ("ask_sz_1", "bid_sz_1", "ask_sz_2", "bid_sz_2")[cell // 2]
    with pytest.raises(
        ValidationError,
        match=rf"orderbook_2\.csv: column {name} must be .* 0 where .*, row {row} holds",
    ):
        whole(write(folder, events, levels), batch_rows)
    levels[row][cell + 1] = 0
    books = whole(write(folder, events, levels), batch_rows)
    side, level = name[:3], int(name[-1]) - 1
    assert np.isnan(books[f"{side}_price"][row, level])
    assert books[f"{side}_size"][row, level] == 0
    for table in ("bid_price", "bid_size", "ask_price", "ask_size"):
        expected = known[table].copy()
        if table.startswith(side):
            expected[row, level] = books[table][row, level]
        np.testing.assert_array_equal(books[table], expected)


@settings(deadline=None)
@given(made=pairs(), batch_rows=st.integers(1, 7), data=st.data())
def test_times_that_run_backwards_name_the_row(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[list[str], list[list[int]]],
    batch_rows: int,
    data: st.DataObject,
) -> None:
    events, levels = made
    row = data.draw(st.integers(1, len(events) - 1))
    events[row] = "34199.999999999" + events[row][events[row].index(",") :]
    orderbook = write(tmp_path_factory.mktemp("back"), events, levels)
    with pytest.raises(
        ValidationError, match=rf"message_2\.csv: column time runs backwards in time, row {row} "
    ):
        whole(orderbook, batch_rows)


@settings(deadline=None)
@given(made=pairs(), batch_rows=st.integers(1, 7), of_events=st.booleans(), data=st.data())
def test_files_of_unequal_lengths_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[list[str], list[list[int]]],
    batch_rows: int,
    of_events: bool,
    data: st.DataObject,
) -> None:
    events, levels = made
    shorter = data.draw(st.integers(1, len(events) - 1))
    n_events, n_books = (shorter, len(levels)) if of_events else (len(events), shorter)
    orderbook = write(tmp_path_factory.mktemp("unequal"), events[:n_events], levels[:n_books])
    with pytest.raises(
        ValidationError,
        match=rf"message_2\.csv or .*orderbook_2\.csv is cut off after {shorter} rows",
    ):
        whole(orderbook, batch_rows)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow, of a line that is no UTF-8
@settings(max_examples=400, deadline=None)
@given(made=pairs(), kind=st.sampled_from(["message", "orderbook"]), data=st.data())
@pytest.mark.slow
def test_a_damaged_byte_is_refused_or_read_as_python_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[list[str], list[list[int]]],
    kind: str,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("byte")
    orderbook = write(folder, *made)
    path = folder / NAME.format(kind)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        books = whole(orderbook, 4)
    except ValidationError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    rows = [row for row in csv.reader(orderbook.read_text().splitlines()) if row]
    cells = np.array(rows, dtype=float)
    events = [
        row for row in csv.reader((folder / NAME.format("message")).read_text().splitlines()) if row
    ]
    midnight = pd.Timestamp("2012-06-21", tz="America/New_York").value
    assert books.time.tolist() == [midnight + int(Decimal(row[0]) * 10**9) for row in events]
    np.testing.assert_array_equal(books.ask_size, cells[:, [1, 5]])
    np.testing.assert_array_equal(books.bid_size, cells[:, [3, 7]])
    np.testing.assert_array_equal(
        books.ask_price[books.ask_size > 0], (cells[:, [0, 4]] / 1e4)[books.ask_size > 0]
    )
    np.testing.assert_array_equal(
        books.bid_price[books.bid_size > 0], (cells[:, [2, 6]] / 1e4)[books.bid_size > 0]
    )


def test_pairs_are_known_by_name_and_numbers_and_nothing_else(tmp_path: Path) -> None:
    orderbook = write(tmp_path, MESSAGES)
    assert (
        len(read_books(orderbook))
        == len(read_books(tmp_path / NAME.format("message")))
        == len(MESSAGES)
    )
    with pytest.raises(ValidationError, match=r"books\.csv is of no known format"):
        read_books(orderbook.rename(tmp_path / "books.csv"))
    orderbook.write_text(
        "time,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n2025-04-03T13:30:00Z,10,1,10.02,2\n"
    )
    assert read_books(orderbook).ask_price.tolist() == [[10.02]]  # a frame with the name of a pair

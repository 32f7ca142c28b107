"""Lean quote zips: real days replayed another way, one-sided rows carried on, and every kind of damage."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books, read_books

TICK = "lean_us_equity/tick/{}_{}.zip"
DAYS = [
    "ibm_20131007",
    *(pytest.param(day, marks=pytest.mark.slow) for day in ("bac_20131007", "ibm_20131008")),
]
# rows, crossed, locked and suspicious ones, and trades: counted with wc, awk and pandas on the vendor's files
COUNTS = {
    "bac_20131007": (476_855, 0, 9_433, 0, 88_172),
    "ibm_20131007": (109_067, 89, 658, 1, 24_293),
    "ibm_20131008": (125_750, 79, 1_040, 1, 33_381),
}
QUOTES = [
    "34200000,1384000,700,0,0,P,1,0",
    "34200000,0,0,1395000,200,P,1,0",
    "34200250,0,0,1394000,300,Q,1,0",
    "34201000,1385000,100,0,0,N,1,0",
]
TRADES = [
    "34199000,1390000,5,P,2000,0",
    "34200250,1394000,7,Q,20002020,0",
    "57600000,1394500,9,N,0,0",
]


def zipped(path: Path, lines: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.stem + ".csv", "".join(line + "\n" for line in lines))
    return path


def write(
    folder: Path, quotes: list[str], trades: list[str] | None = None, name: str = "xy_20131007"
) -> Path:
    """A quote zip, and a trade zip beside it if there are trades; returns the former's path."""
    if trades is not None:
        zipped(folder / f"{name}_trade.zip", trades)
    return zipped(folder / f"{name}_quote.zip", quotes)


def whole(path: Path, batch_rows: int = 100) -> BookSnapshots:
    return BookSnapshots.concat(list(iter_books(path, batch_rows)))


class Days(dict[str, BookSnapshots]):
    """The real days, each read on first use."""

    def __missing__(self, day: str) -> BookSnapshots:
        self[day] = whole(real_data(TICK.format(day, "quote")), 500_000)
        return self[day]


@pytest.fixture(scope="module")
def books() -> Days:
    return Days()


def frame(day: str, kind: str, names: str) -> pd.DataFrame:
    return pd.read_csv(real_data(TICK.format(day, kind)), header=None, names=names.split())


@pytest.mark.parametrize("day", DAYS)
def test_real_days_have_the_counted_rows_and_qualities(
    books: dict[str, BookSnapshots], day: str
) -> None:
    rows, crossed, locked, suspicious, n_trades = COUNTS[day]
    quality, trades = books[day].quality, books[day].trades
    assert books[day].bid_price.shape == (rows, 1)
    assert books[day].symbol == day[:3].upper()
    assert [quality[k] for k in ("crossed", "locked", "incomplete")] == [
        crossed,
        locked,
        suspicious,
    ]
    assert trades is not None
    assert len(trades) == n_trades


@pytest.mark.parametrize("day", DAYS)
def test_quotes_equal_a_forward_fill_of_the_vendors_columns(
    books: dict[str, BookSnapshots], day: str
) -> None:
    rows = frame(day, "quote", "ms bid bid_size ask ask_size exchange condition suspicious")
    believed = rows["suspicious"] == 0
    for side in ("bid", "ask"):
        given = (rows[side] > 0) & believed
        price = (rows[side].where(given) / 10_000).ffill().to_numpy()
        np.testing.assert_array_equal(getattr(books[day], f"{side}_price")[:, 0], price)
        size = rows[f"{side}_size"].where(given).ffill().fillna(0).to_numpy()
        np.testing.assert_array_equal(getattr(books[day], f"{side}_size")[:, 0], size)


@pytest.mark.parametrize("day", DAYS)
def test_trades_equal_the_trade_file_and_have_no_sign(
    books: dict[str, BookSnapshots], day: str
) -> None:
    rows, trades = (
        frame(day, "trade", "ms price size exchange condition suspicious"),
        books[day].trades,
    )
    assert trades is not None
    assert not trades.aggressor.any()
    assert trades.size.sum() == rows["size"].sum()
    np.testing.assert_array_equal(trades.price, rows["price"] / 10_000)


@pytest.mark.slow
def test_extended_hours_are_included_in_new_york_time(books: dict[str, BookSnapshots]) -> None:
    local = pd.DatetimeIndex(books["bac_20131007"].time[[0, -1]], tz="UTC").tz_convert(
        "America/New_York"
    )
    assert [str(time) for time in local] == [
        "2013-10-07 04:00:00.151000-04:00",
        "2013-10-07 20:00:00.601000-04:00",
    ]


@pytest.mark.slow
def test_bac_is_a_one_cent_stock_in_the_session(books: dict[str, BookSnapshots]) -> None:
    session = books["bac_20131007"].between("2013-10-07 13:30Z", "2013-10-07 20:00Z")
    assert round(float(np.median(2 * session.half_spread)), 6) == 0.01


@pytest.mark.parametrize("batch_rows", [10_000, 109_067])
@pytest.mark.slow
def test_batches_equal_the_whole(books: dict[str, BookSnapshots], batch_rows: int) -> None:
    day = books["ibm_20131007"]
    parts = list(iter_books(real_data(TICK.format("ibm_20131007", "quote")), batch_rows))
    assert [len(part) for part in parts][:-1] == [batch_rows] * (len(parts) - 1)
    joined = BookSnapshots.concat(parts)
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size", "complete"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(day, name))
    assert joined.trades is not None
    assert day.trades is not None
    np.testing.assert_array_equal(joined.trades.time, day.trades.time)
    np.testing.assert_array_equal(joined.trades.size, day.trades.size)
    for part in parts[:-1]:
        assert part.trades is not None
        assert part.trades.time.max() <= part.time[-1]


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_last_bid_and_last_ask_are_carried_and_unknown_sides_are_empty(
    tmp_path: Path, batch_rows: int
) -> None:
    books = whole(write(tmp_path, QUOTES), batch_rows)
    np.testing.assert_array_equal(books.bid_price[:, 0], [138.4, 138.4, 138.4, 138.5])
    np.testing.assert_array_equal(books.bid_size[:, 0], [700, 700, 700, 100])
    np.testing.assert_array_equal(books.ask_price[:, 0], [np.nan, 139.5, 139.4, 139.4])
    np.testing.assert_array_equal(books.ask_size[:, 0], [0, 200, 300, 300])
    assert books.quality["one_side_empty"] == 1
    assert books.complete.all()
    assert books.trades is None
    assert books.symbol == "XY"


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_suspicious_rows_are_not_complete_and_not_carried(tmp_path: Path, batch_rows: int) -> None:
    quotes = [*QUOTES[:2], "34200100,0,0,99990000,100,P,1,1", *QUOTES[3:]]
    books = whole(write(tmp_path, quotes), batch_rows)
    np.testing.assert_array_equal(books.complete, [True, True, False, True])
    np.testing.assert_array_equal(books.ask_price[:, 0], [np.nan, 139.5, 139.5, 139.5])


def test_crossed_and_locked_quotes_are_kept(tmp_path: Path) -> None:
    quotes = [*QUOTES, "34201001,1394000,1,0,0,P,1,0", "34201002,1394100,1,0,0,P,1,0"]
    quality = whole(write(tmp_path, quotes)).quality
    assert (quality["locked"], quality["crossed"], quality["rows"]) == (1, 1, 6)


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_trades_come_along_with_the_batch_that_they_fall_in(
    tmp_path: Path, batch_rows: int
) -> None:
    parts = list(iter_books(write(tmp_path, QUOTES, TRADES), batch_rows))
    sizes = [[] if part.trades is None else part.trades.size.tolist() for part in parts]
    assert sizes == {1: [[5], [], [7], [9]], 2: [[5], [7, 9]], 100: [[5, 7, 9]]}[batch_rows]
    trades = BookSnapshots.concat(parts).trades
    assert trades is not None
    np.testing.assert_array_equal(trades.price, [139.0, 139.4, 139.45])
    np.testing.assert_array_equal(trades.aggressor, 0)
    assert trades.time[1] == pd.Timestamp("2013-10-07 09:30:00.250", tz="America/New_York").value


def test_suspicious_trades_are_dropped(tmp_path: Path) -> None:
    trades = [*TRADES[:1], "34200000,9990000,7,Q,0,1", *TRADES[1:]]
    books = whole(write(tmp_path, QUOTES, trades))
    assert books.trades is not None
    assert len(books.trades) == 3


@pytest.mark.parametrize(
    ("date", "opening"), [(dt.date(2013, 1, 7), "14:30"), (dt.date(2013, 10, 7), "13:30")]
)
def test_clock_is_new_yorks_through_the_year(tmp_path: Path, date: dt.date, opening: str) -> None:
    books = whole(write(tmp_path, QUOTES, name=f"xy_{date:%Y%m%d}"))
    assert books.time[0] == pd.Timestamp(f"{date} {opening}Z").value


def test_symbol_is_the_folders_where_the_name_has_only_the_day(tmp_path: Path) -> None:
    folder = tmp_path / "spy"
    folder.mkdir()
    assert whole(write(folder, QUOTES, name="20131007")).symbol == "SPY"


@pytest.mark.parametrize(
    ("row", "line", "said"),
    [
        (
            2,
            "34200250,0,0,1394000,0,Q,1,0",
            "column bid_px and what follows must be price and size above 0, row 2",
        ),
        (
            2,
            "34200250,0,300,1394000,300,Q,1,0",
            "column bid_px and what follows must be price and size above 0, row 2",
        ),
        (
            2,
            "34200250,0,0,0,0,Q,1,0",
            "column bid_px and what follows must be price and size above 0, row 2 holds '0'",
        ),
        (
            2,
            "34200250,0,0,-1394000,300,Q,1,0",
            "column ask_px must be at least 0, row 2 holds '-1394000'",
        ),
        (
            3,
            "34200249,1385000,100,0,0,N,1,0",
            "column time runs backwards in time, row 3 holds '34200249'",
        ),
        (
            3,
            "86400000,1385000,100,0,0,N,1,0",
            "column time must be milliseconds of a day, row 3 holds '864",
        ),
        (3, "34201000,1385000,100,0,0,N,1,2", "column suspicious must be 0 or 1, row 3 holds '2'"),
        (
            3,
            "34201000,138.5,100,0,0,N,1,0",
            r"column bid_px must hold numbers, row 3 holds '138\.5'",
        ),
        (3, "34201000,bid,100,0,0,N,1,0", "column bid_px must hold numbers, row 3 holds 'bid'"),
        (3, "34201000,1385000,,0,0,N,1,0", "column bid_sz must not be empty, row 3 holds None"),
        (3, "34201000,1385000,1", "cannot be read: .*Expected 8 columns, got 3"),
    ],
)
@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_damaged_quote_is_refused_with_file_row_and_column(
    tmp_path: Path, row: int, line: str, said: str, batch_rows: int
) -> None:
    path = write(tmp_path, [*QUOTES[:row], line, *QUOTES[row + 1 :]])
    with pytest.raises(ValidationError, match=rf"xy_20131007_quote\.zip:? {said}"):
        whole(path, batch_rows)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "34200250,0,7,Q,20002020,0",
            "column price and what follows must be price and size above 0, row 1 holds '0'",
        ),
        (
            "34200250,1394000,0,Q,20002020,0",
            "column price and what follows must be price and size above 0, row 1 holds '1394000'",
        ),
        (
            "34198000,1394000,7,Q,20002020,0",
            "column time runs backwards in time, row 1 holds '34198000'",
        ),
        (
            "34200250,1394000,seven,Q,20002020,0",
            "column size must hold numbers, row 1 holds 'seven'",
        ),
    ],
)
def test_damaged_trade_is_refused_with_file_row_and_column(
    tmp_path: Path, line: str, said: str
) -> None:
    path = write(tmp_path, QUOTES, [TRADES[0], line, TRADES[2]])
    with pytest.raises(ValidationError, match=rf"xy_20131007_trade\.zip: {said}"):
        whole(path)


def test_cut_zip_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, QUOTES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValidationError, match=r"xy_20131007_quote\.zip"):
        whole(path)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow, of a line that is no UTF-8
@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.slow
def test_zip_with_a_damaged_byte_is_refused_or_read_right(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("damaged"), QUOTES)
    true, content = whole(path), bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        books = whole(path)
    except ValidationError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    np.testing.assert_array_equal(books.ask_price, true.ask_price)
    np.testing.assert_array_equal(books.time, true.time)


def test_zip_of_two_symbols_names_both(tmp_path: Path) -> None:
    path = write(tmp_path, QUOTES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ab_20131007_quote.csv", QUOTES[0] + "\n")
    with pytest.raises(
        ValidationError,
        match=r"xy_20131007_quote\.zip holds .*xy_20131007_quote.*ab_20131007_quote.*one file is wanted",
    ):
        whole(path)


@given(data=st.data())
def test_zip_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("cut"), QUOTES)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValidationError, match=r"xy_20131007_quote\.zip"):
        whole(path)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow, of a line that is no UTF-8
@given(data=st.data())
@pytest.mark.slow
def test_trade_zip_with_a_damaged_byte_is_refused_or_read_right(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = write(folder, QUOTES, TRADES)
    true, trades = whole(path).trades, folder / "xy_20131007_trade.zip"
    content = bytearray(trades.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    trades.write_bytes(bytes(content))
    try:
        read = whole(path).trades
    except ValidationError as error:
        assert trades.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    assert true is not None
    assert read is not None
    np.testing.assert_array_equal(read.price, true.price)
    np.testing.assert_array_equal(read.time, true.time)


def test_trade_zip_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = zipped(tmp_path / "ibm_20131007_trade.zip", TRADES)
    with pytest.raises(ValidationError, match=r"holds trades, no books; give the _quote\.zip"):
        whole(path)


def test_day_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'20131307' is not a date"):
        whole(write(tmp_path, QUOTES, name="xy_20131307"))


def test_quote_zips_are_known_by_name_and_numbers_and_nothing_else(tmp_path: Path) -> None:
    assert len(read_books(zipped(tmp_path / "bac_20131007_quote.zip", QUOTES))) == len(QUOTES)
    text = tmp_path / "bac_20131007_quote.csv"
    text.write_text("\n".join(QUOTES) + "\n")
    others = [
        zipped(tmp_path / "bac.zip", QUOTES),
        zipped(tmp_path / "xy_20131007_quote.zip", ["time,bid", *QUOTES]),
    ]
    for path in (text, *others):
        with pytest.raises(ValidationError, match=rf"{path.name} is of no known format"):
            read_books(path)

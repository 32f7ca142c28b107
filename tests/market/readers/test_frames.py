"""A user's own frame, long or wide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session, read_mbp10
from research_lib.market.readers import frames

TIMES = pd.date_range("2025-04-03 09:30", periods=4, freq="s", tz="America/New_York").as_unit("ns")


def _long(**columns: Any) -> pd.DataFrame:
    """Two snapshots of two levels; bid 10.00, 9.99, ask 10.02, 10.03."""
    frame = pd.DataFrame(
        {
            "time": np.repeat(TIMES[:2], 4),
            "side": ["bid", "bid", "ask", "ask"] * 2,
            "price": [10.0, 9.99, 10.02, 10.03] * 2,
            "size": [1, 2, 3, 4, 5, 6, 7, 8],
            "level": [1, 2, 1, 2] * 2,
        }
    )
    return frame.assign(**columns)


def _wide(**columns: Any) -> pd.DataFrame:
    """Four snapshots of two levels."""
    frame = pd.DataFrame({"timestamp": TIMES})
    for level in (1, 2):
        frame[f"bid_price_{level}"] = 10.01 - 0.01 * level
        frame[f"ask_price_{level}"] = 10.02 + 0.01 * level
        frame[f"bid_size_{level}"] = [level, 2.0, 3.0, 4.0]
        frame[f"ask_size_{level}"] = [level, 5.0, 6.0, 7.0]
    return frame.assign(**columns)


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def _read(path: Path, batch_rows: int = 1_000) -> BookSnapshots:
    return BookSnapshots.concat(list(frames.batches(path, batch_rows, Session())))


@pytest.mark.parametrize("name", ["book.csv", "book.csv.gz", "book.parquet"])
@pytest.mark.parametrize("batch_rows", [1, 3, 1_000])
def test_a_wide_frame_is_read_by_name(tmp_path: Path, name: str, batch_rows: int) -> None:
    frame = _wide(ask_price_2=[10.04, np.nan, 10.04, 10.04], ask_size_2=[4.0, np.nan, 0.0, 7.0])
    path = _write(frame[sorted(frame.columns)], tmp_path / name)
    parts = list(frames.batches(path, batch_rows, Session()))
    assert [len(part) for part in parts[:-1]] == [batch_rows] * (len(parts) - 1)
    books = BookSnapshots.concat(parts)
    assert books.time.tolist() == TIMES.asi8.tolist()
    assert books.bid_price[0].tolist() == frame.loc[0, ["bid_price_1", "bid_price_2"]].tolist()
    assert books.ask_size[:, 1].tolist() == [4, 0, 0, 7]
    assert np.isnan(books.ask_price[:, 1]).tolist() == [False, True, True, False]


@pytest.mark.parametrize("batch_rows", [1, 2, 7])
def test_a_snapshot_is_never_split_over_two_batches(
    tmp_path: Path, batch_rows: int, synthetic_books: BookSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "LONG_ROWS", 5)  # fewer rows than a snapshot of 12 levels a side has
    path = _write(synthetic_books.to_frame(), tmp_path / "book.parquet")
    parts = list(frames.batches(path, batch_rows, Session()))
    assert [len(part) for part in parts[:-1]] == [batch_rows] * (len(parts) - 1)
    books = BookSnapshots.concat(parts)
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        assert np.array_equal(books[name], synthetic_books[name], equal_nan=True)


def test_the_rows_of_one_time_may_come_in_any_order(tmp_path: Path) -> None:
    shuffled = _long().iloc[[3, 0, 2, 1, 6, 7, 4, 5]]
    books = _read(_write(shuffled, tmp_path / "book.csv"))
    assert books.ask_size.tolist() == [[3, 4], [7, 8]]
    assert books.bid_price.tolist() == [[10.0, 9.99]] * 2


def test_levels_that_are_not_given_are_empty(tmp_path: Path) -> None:
    books = _read(_write(_long().drop(index=[1, 6, 7]), tmp_path / "book.csv"))
    assert books.bid_size.tolist() == [[1, 0], [5, 6]]
    assert np.isnan(books.ask_price).tolist() == [[False, False], [True, True]]


def test_a_symbol_column_names_the_books(tmp_path: Path) -> None:
    assert _read(_write(_wide(ticker="XYZ"), tmp_path / "wide.csv")).symbol == "XYZ"
    assert _read(_write(_long(symbol="XYZ"), tmp_path / "long.parquet")).symbol == "XYZ"
    path = _write(_long(symbol=["A"] * 4 + ["B"] * 4), tmp_path / "two.csv")
    with pytest.raises(
        ValidationError, match=r"two.csv: column symbol must hold one symbol, row 4 holds 'B' after 'A'"
    ):
        _read(path)


@pytest.mark.parametrize("name", ["book.csv", "book.parquet"])
def test_times_without_a_time_zone_are_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    frame = _wide(timestamp=TIMES.tz_localize(None))
    with pytest.raises(ValidationError, match=r"column timestamp .*has no time zone; localise it first.*tz_localize"):
        _read(_write(frame, tmp_path / name))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (_long(side=["bid", "bid", "ask", "sell"] * 2), r'column side must be "bid" or "ask", row 3 holds \'sell\''),
        (_long(price=[10.0, 9.99, 10.02, np.nan] * 2), r"column price must be above 0 .*, row 3 holds nan"),
        (_long(size=[1, 2, 3, 4, 5, 0, 7, 8]), r"column size must be above 0 .*, row 5 holds 0.0"),
        (_long(level=[1, 2, 1, 2, 1, 0, 1, 2]), r"column level must be a whole number .*, row 5 holds 0.0"),
        (_long(level=[1, 2, 1, 2.5, 1, 2, 1, 2]), r"column level must be a whole number .*, row 3 holds 2.5"),
        (_long(level=[1, 2, 1, 1, 1, 2, 1, 2]), r"time, side, level are given twice, row 3 repeats ask level 1"),
        (
            _long(time=np.repeat(TIMES[[1, 0]], 4)),
            r"time runs backwards in column time, row 4 holds 2025-04-03 13:30:00",
        ),
        (_wide(bid_size_2=[1.0, np.nan, 1.0, 1.0]), r"column bid_size_2 must not be empty where .*, row 1"),
        (_wide(ask_price_1=[10.1, 10.1, np.nan, 10.1]), r"column ask_price_1 must not be empty where .*, row 2"),
        (_wide(ask_price_1=[10.1, 10.1, 9_999_999_999, 10.1]), r"column ask_price_1 must be below 1e\+09, row 2"),
        (_wide(bid_size_1=[1.0, 1.0, 1.0, -1.0]), r"column bid_size_1 must be at least 0, row 3 holds -1.0"),
        (_wide(bid_size_1=[1.0, 1.0, 1.0, np.inf]), r"column bid_size_1 must be finite, row 3 holds inf"),
        (_wide().drop(columns="bid_size_1"), r"is no wide frame: it lacks column bid_size_1 \(1 in all\)"),
        (_long().drop(columns="level"), r"is no long frame: it lacks column level \(1 in all\)"),
        (_wide().rename(columns={"bid_size_2": "bid_size_20000"}), r"has levels up to 20,000; keep at most 1,000"),
    ],
)
@pytest.mark.parametrize("name", ["book.csv", "book.parquet"])
def test_damage_names_file_row_and_column(tmp_path: Path, name: str, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}.* ?{message}"):
        _read(_write(frame, tmp_path / name))


def test_exchanged_sides_are_refused_before_any_book_is_given(tmp_path: Path) -> None:
    long = _long().replace({"side": {"bid": "ask", "ask": "bid"}})
    wide = _wide(bid_price_1=10.5)
    for frame, n in ((long, 2), (wide, 4)):
        path = _write(frame, tmp_path / "book.csv")
        with pytest.raises(ValidationError, match=rf"above the best ask in {n} of {n} rows \(100.0%\), and 0 cells"):
            next(frames.batches(path, 1, Session()))


def test_a_few_crossed_snapshots_are_kept(tmp_path: Path) -> None:
    books = _read(_write(_wide(bid_price_1=[10.5, 10.5, 10.0, 10.0]), tmp_path / "book.csv"))
    assert books.quality["crossed"] == 2


def test_frog_survives_the_long_frame(frog_file: Path, tmp_path: Path) -> None:
    books = read_mbp10(frog_file)
    books = books.take(np.append(np.diff(books.time) > 0, True))  # the long frame holds one state a time
    for name in ("book.csv.gz", "book.parquet"):
        again = _read(_write(books.to_frame(), tmp_path / name), 1_000)
        assert len(again) == 30_735
        for array in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
            assert np.array_equal(again[array], books[array], equal_nan=True)


def test_dirty_quotes_are_refused_with_both_counts() -> None:
    path = real_data("dirty_top5_quotes/AAPL_Quotes_Data.csv.gz")
    message = (
        r"AAPL_Quotes_Data.csv.gz: .* 17,007 of 17,126 rows \(99.3%\), and 908 cells are NaN; .* is not an order book"
    )
    with pytest.raises(ValidationError, match=message):
        next(frames.batches(path, 1_000, Session()))


@pytest.mark.parametrize("name", ["Symbol", "SYMBOL", "Ticker"])
def test_two_symbols_are_refused_however_the_column_is_capitalised(tmp_path: Path, name: str) -> None:
    assert _read(_write(_wide(**{name: "XYZ"}), tmp_path / "one.csv")).symbol == "XYZ"
    path = _write(_long(**{name: ["A"] * 4 + ["B"] * 4}), tmp_path / "two.csv")
    with pytest.raises(ValidationError, match=f"column {name} must hold one symbol, row 4 holds 'B' after 'A'"):
        _read(path)


def test_a_header_longer_than_8_kib_is_read_whole(tmp_path: Path) -> None:
    extra = {f"a_column_of_no_interest_{k:04d}": 0 for k in range(500)}
    frame = _wide().assign(timestamp=TIMES.astype("int64"))
    wide = pd.concat([pd.DataFrame(extra, index=frame.index), frame], axis=1)
    books = _read(_write(wide, tmp_path / "wide.csv"))
    assert books.n_levels == 2
    assert books.time.tolist() == TIMES.astype("int64").tolist()


def test_a_first_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.csv"
    path.write_text("time,side,price,size,level," + "x" * (1 << 20))
    with pytest.raises(ValidationError, match=r"line.csv: its first line is longer than 1,048,576 bytes"):
        _read(path)

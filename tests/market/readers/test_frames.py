"""A user's own frame, long or wide."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import real_data

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import BookSnapshots, assess, iter_books, read_books, read_mbp10

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
    return BookSnapshots.concat(list(iter_books(path, batch_rows)))


@pytest.mark.parametrize("name", ["book.csv", "book.csv.gz", "book.parquet"])
@pytest.mark.parametrize("batch_rows", [1, 3, 1_000])
def test_a_wide_frame_is_read_by_name(tmp_path: Path, name: str, batch_rows: int) -> None:
    frame = _wide(ask_price_2=[10.04, np.nan, 10.04, 10.04], ask_size_2=[4.0, np.nan, 0.0, 7.0])
    path = _write(frame[sorted(frame.columns)], tmp_path / name)
    parts = list(iter_books(path, batch_rows))
    assert [len(part) for part in parts[:-1]] == [batch_rows] * (len(parts) - 1)
    books = BookSnapshots.concat(parts)
    assert books.time.tolist() == TIMES.asi8.tolist()
    assert books.bid_price[0].tolist() == frame.loc[0, ["bid_price_1", "bid_price_2"]].tolist()
    assert books.ask_size[:, 1].tolist() == [4, 0, 0, 7]
    assert np.isnan(books.ask_price[:, 1]).tolist() == [False, True, True, False]


@pytest.mark.parametrize("batch_rows", [1, 2, 7])
def test_a_snapshot_is_never_split_over_two_batches(
    tmp_path: Path, batch_rows: int, synthetic_books: BookSnapshots
) -> None:
    """Each has 24 rows, so that no whole number of snapshots ends where the rows read at once, 20 a snapshot, end."""
    path = _write(synthetic_books.to_frame(), tmp_path / "book.parquet")
    parts = list(iter_books(path, batch_rows))
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
        ValidationError, match=r"two.csv: column symbol must hold one value, 'A', row 4 holds 'B'"
    ):
        _read(path)


@pytest.mark.parametrize("name", ["book.csv", "book.parquet"])
def test_times_without_a_time_zone_are_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    frame = _wide(timestamp=TIMES.tz_localize(None))
    with pytest.raises(
        ValidationError,
        match=r"column timestamp has no time zone, row 0 holds .*; give timezone or localise it",
    ):
        _read(_write(frame, tmp_path / name))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            _long(side=["bid", "bid", "ask", "sell"] * 2),
            r"column side must be one of bid, ask, row 3 holds 'sell'",
        ),
        (
            _long(price=[10.0, 9.99, 10.02, np.nan] * 2),
            r"column price must be above 0 .*, row 3 holds None",
        ),
        (_long(size=[1, 2, 3, 4, 5, 0, 7, 8]), r"column size must be above 0 .*, row 5 holds '?0"),
        (
            _long(level=[1, 2, 1, 2, 1, 0, 1, 2]),
            r"column level must be a whole number .*, row 5 holds '?0",
        ),
        (
            _long(level=[1, 2, 1, 2.5, 1, 2, 1, 2]),
            r"column level must be a whole number .*, row 3 holds '?2\.5",
        ),
        (_long(level=[1, 2, 1, 1, 1, 2, 1, 2]), r"row 3 repeats a level"),
        (
            _long(time=np.repeat(TIMES[[1, 0]], 4)),
            r"column time runs backwards in time, row 4 holds .*2025-04-03 09:30:00",
        ),
        (
            _wide(bid_size_2=[1.0, np.nan, 1.0, 1.0]),
            r"column bid_size_2 must be a finite number of at least 0, row 1 holds None",
        ),
        (
            _wide(ask_price_1=[10.1, 10.1, np.nan, 10.1]),
            r"column ask_price_1 must be above 0 .* where there is size, row 2 holds None",
        ),
        (
            _wide(ask_price_1=[10.1, 10.1, 9_999_999_999, 10.1]),
            r"column ask_price_1 must be above 0 and below 1e\+09 where .*, row 2",
        ),
        (
            _wide(bid_size_1=[1.0, 1.0, 1.0, -1.0]),
            r"column bid_size_1 must be a finite number of at least 0, row 3 holds '?-1\.0",
        ),
        (
            _wide(bid_size_1=[1.0, 1.0, 1.0, np.inf]),
            r"column bid_size_1 must be a finite number of at least 0, row 3 holds '?inf",
        ),
        (_wide().drop(columns="bid_size_1"), r"lacks column bid_size_1 \(1 in all\)"),
        (
            _long().drop(columns="level"),
            "has other columns than wanted: it has time, side, price, size",
        ),
        (_wide().rename(columns={"bid_size_2": "bid_size_20000"}), "lacks column bid_size_2"),
    ],
)
@pytest.mark.parametrize("name", ["book.csv", "book.parquet"])
def test_damage_names_file_row_and_column(
    tmp_path: Path, name: str, frame: pd.DataFrame, message: str
) -> None:
    with pytest.raises(ValidationError, match=rf"{name}.* ?{message}"):
        _read(_write(frame, tmp_path / name))


def test_a_few_crossed_snapshots_are_kept(tmp_path: Path) -> None:
    books = _read(_write(_wide(bid_price_1=[10.5, 10.5, 10.0, 10.0]), tmp_path / "book.csv"))
    assert books.quality["crossed"] == 2


@pytest.mark.slow
def test_frog_survives_the_long_frame(frog_file: Path, tmp_path: Path) -> None:
    books = read_mbp10(frog_file)
    books = books.take(
        np.append(np.diff(books.time) > 0, True)
    )  # the long frame holds one state a time
    assert len(books) == 30_735
    for name, kept in (("book.csv.gz", books.take(np.arange(3_000))), ("book.parquet", books)):
        again = _read(_write(kept.to_frame(), tmp_path / name), 1_000)
        assert len(again) == len(kept)
        for array in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
            assert np.array_equal(again[array], kept[array], equal_nan=True)


def test_dirty_quotes_are_refused_with_the_count() -> None:
    books = read_books(real_data("dirty_top5_quotes/AAPL_Quotes_Data.csv.gz"))
    with pytest.raises(ValidationError, match=r"17,007 of 17,126 states \(99.3%\) are crossed"):
        assess(books)


@pytest.mark.parametrize("name", ["Symbol", "SYMBOL", "Ticker"])
def test_two_symbols_are_refused_however_the_column_is_capitalised(
    tmp_path: Path, name: str
) -> None:
    assert _read(_write(_wide(**{name: "XYZ"}), tmp_path / "one.csv")).symbol == "XYZ"
    path = _write(_long(**{name: ["A"] * 4 + ["B"] * 4}), tmp_path / "two.csv")
    with pytest.raises(
        ValidationError, match=f"column {name} must hold one value, 'A', row 4 holds 'B'"
    ):
        _read(path)


def test_a_header_longer_than_8_kib_is_read_whole(tmp_path: Path) -> None:
    extra = {f"a_column_of_no_interest_{k:04d}": 0 for k in range(500)}
    frame = _wide().assign(timestamp=TIMES.astype("int64"))
    wide = pd.concat([pd.DataFrame(extra, index=frame.index), frame], axis=1)
    books = _read(_write(wide, tmp_path / "wide.csv"))
    assert books.n_levels == 2
    assert books.time.tolist() == TIMES.astype("int64").tolist()


OWN = {
    "when": "time",
    "BidPx1": "bid_price_1",
    "BidSz1": "bid_size_1",
    "AskPx1": "ask_price_1",
    "AskSz1": "ask_size_1",
}


@pytest.mark.parametrize("name", ["book.csv", "book.parquet"])
def test_own_names_are_read_by_a_mapping(tmp_path: Path, name: str) -> None:
    known = _wide().drop(
        columns=[f"{side}_{kind}_2" for side in ("bid", "ask") for kind in ("price", "size")]
    )
    own = known.rename(columns={"timestamp": "time"}).rename(
        columns={new: old for old, new in OWN.items()}
    )
    path = _write(own.assign(venue="X"), tmp_path / name)
    books = read_books(path, columns=OWN, symbol="XYZ")
    same = _read(_write(known, tmp_path / f"known{path.suffix}"))
    for array in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        assert np.array_equal(books[array], same[array]), array
    assert books.symbol == "XYZ"
    with pytest.raises(ValidationError, match=r"has no column 'BidPrice1' to rename: \['when"):
        read_books(path, columns={"BidPrice1": "bid_price_1"})
    with pytest.raises(
        ValidationError, match="2 columns would be bid_price_1; rename or remove one"
    ):
        read_books(path, columns={**OWN, "venue": "bid_price_1"})


def test_an_unknown_frame_is_told_the_columns_wanted_and_a_guess_that_works(tmp_path: Path) -> None:
    frame = _wide().rename(columns=lambda name: name.replace("price_", "Px").replace("size_", "Sz"))
    path = _write(frame, tmp_path / "book.csv")
    with pytest.raises(
        ValidationError,
        match=r"of no known format .*a frame has columns long: time, .* or wide: time",
    ) as said:
        read_books(path)
    guess = re.search(r"columns=(\{.*?\})", str(said.value))
    assert guess is not None
    assert read_books(path, columns=ast.literal_eval(guess[1])).n_levels == 2


def test_the_files_of_a_folder_or_pattern_are_read_in_order(tmp_path: Path) -> None:
    for day in (4, 3):
        _write(
            _wide(timestamp=TIMES + pd.Timedelta(days=day - 3)), tmp_path / f"2025-04-0{day}.csv"
        )
    (tmp_path / "README.md").write_text("what this is")
    for source in (tmp_path, tmp_path / "*.csv", str(tmp_path / "2025-04-0[34].csv")):
        books = read_books(source)
        assert len(books) == 8
        assert (np.diff(books.time) > 0).all()
        assert [len(part) for part in iter_books(source, 3)] == [3, 1, 3, 1]
    with pytest.raises(MissingDataError, match=r"\*\.parquet holds no file of a known format"):
        read_books(tmp_path / "*.parquet")
    order = r"time runs backwards from .*04-04\.csv to .*04-03\.csv \(2025-04-03 13:30:00Z after 2025-04-04 13:30:03Z\)"
    with pytest.raises(ValidationError, match=order):
        list(iter_books([tmp_path / "2025-04-04.csv", tmp_path / "2025-04-03.csv"]))
    _write(_wide(timestamp=TIMES + pd.Timedelta(days=2), symbol="B"), tmp_path / "2025-04-05.csv")
    with pytest.raises(
        ValidationError, match=r"2 symbols \(, B\) from .*04-04\.csv to .*04-05\.csv"
    ):
        read_books(tmp_path)


def test_what_is_no_path_is_told_where_to_go() -> None:
    with pytest.raises(
        ValidationError, match=r"make books of a DataFrame by BookSnapshots\.from_frame"
    ):
        read_books(_wide())  # type: ignore[arg-type]


def test_a_column_given_twice_must_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    lines = _wide().to_csv(index=False).splitlines()
    column = lines[0].split(",").index("bid_price_1")
    repeat = [
        lines[0] + ",bid_price_1",
        *(line + "," + line.split(",")[column] for line in lines[1:]),
    ]
    path.write_text("\n".join(repeat) + "\n")
    assert read_books(path).bid_price[:, 0].tolist() == [10.0] * 4
    path.write_text("\n".join([*repeat[:-1], repeat[-1] + "5"]) + "\n")
    with pytest.raises(ValidationError, match="column bid_price_1 is there twice and differs"):
        read_books(path)
    table = pa.Table.from_pandas(_wide())
    pq.write_table(
        table.append_column("bid_price_1", table["bid_price_2"]), tmp_path / "book.parquet"
    )
    with pytest.raises(
        ValidationError, match=r"2 columns would be bid_price_1; rename or remove one"
    ):
        read_books(tmp_path / "book.parquet")


def test_rows_are_named_and_times_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    text = (
        _wide(bid_size_1=[1.0, 2.0, -3.0, 4.0]).to_csv(index=False).replace("\n", "\n\n", 1)
    )  # an empty line
    path.write_text(text)
    with pytest.raises(ValidationError, match=r"row 2 holds '-3\.0' \(1 of 4 rows read\); correct"):
        read_books(path)
    _write(_wide(bid_size_1=[1.0, 2.0, -3.0, 4.0]), tmp_path / "book.parquet")
    with pytest.raises(ValidationError, match=r"row 2 holds -3\.0 \(1 of 4 rows read\); correct"):
        read_books(tmp_path / "book.parquet")
    path.write_text(_wide(timestamp=["03/04/2025 09:30"] * 4).to_csv(index=False))
    with pytest.raises(
        ValidationError,
        match=r"must hold ISO 8601 .* such as 2025-04-03T09:30:00\.125-04:00, row 0 holds",
    ):
        read_books(path)
    for ending in ("", "\n", "\n\n"):
        path.write_text(",".join(_wide().columns) + ending)
        with pytest.raises(ValidationError, match=r"book\.csv is empty: it has 0 rows"):
            read_books(path)

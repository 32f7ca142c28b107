"""Books in cells of lists, and flat tables of vendors that need a line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books, read_books, read_trades

TIME = pd.date_range("2026-01-06 12:00", periods=3, freq="250ms", tz="UTC")
BIDS = [[10.0, 9.9], [10.1], [10.0, 9.8]]
ASKS = [[10.2, 10.3], [10.3, 10.4], [10.2, 10.5]]
SIZES = [[1.0, 2.0], [3.0], [4.0, 5.0]]
OTHERS = [[6.0, 7.0], [8.0, 9.0], [1.5, 2.5]]
LISTS = {"bid_prices": BIDS, "bid_quantities": SIZES, "ask_prices": ASKS, "ask_quantities": OTHERS}
BID_PRICE, BID_SIZE = [[10.0, 9.9], [10.1, np.nan], [10.0, 9.8]], [[1, 2], [3, 0], [4, 5]]


def assert_the_books(books: BookSnapshots) -> None:
    assert np.array_equal(books.bid_price, BID_PRICE, equal_nan=True)
    assert np.array_equal(books.bid_size, BID_SIZE)
    assert np.array_equal(books.ask_price, ASKS)
    assert np.array_equal(books.ask_size, OTHERS)
    assert books.time.tolist() == TIME.as_unit("ns").asi8.tolist()


def written(folder: Path, **columns: object) -> Path:
    path = folder / "orderbook_XYZ_00.parquet"
    pq.write_table(pa.table({"timestamp": TIME, "symbol": ["XYZ"] * 3, **columns}), path)
    return path


def test_lists_of_prices_and_of_sizes_are_levels(tmp_path: Path) -> None:
    books = read_books(written(tmp_path, **LISTS))
    assert_the_books(books)
    assert books.symbol == "XYZ"
    assert books.trades is None


def test_a_batch_with_shorter_lists_than_others_keeps_all_levels(tmp_path: Path) -> None:
    parts = list(iter_books(written(tmp_path, **LISTS), 1))
    assert [part.n_levels for part in parts] == [2, 2, 2]
    assert_the_books(BookSnapshots.concat(parts))


@pytest.mark.parametrize("kind", ["pairs", "structs"])
def test_lists_of_pairs_and_of_records_are_levels(tmp_path: Path, kind: str) -> None:
    def rows(prices: list[list[float]], sizes: list[list[float]]) -> list[object]:
        both = [list(zip(p, s, strict=True)) for p, s in zip(prices, sizes, strict=True)]
        if kind == "pairs":
            return [[list(level) for level in row] for row in both]
        return [[{"price": p, "amount": s} for p, s in row] for row in both]

    path = written(tmp_path, bids=rows(BIDS, SIZES), asks=rows(ASKS, OTHERS))
    assert_the_books(read_books(path))


def test_a_frame_of_lists_is_read_as_its_file() -> None:
    frame = pd.DataFrame({"timestamp": TIME, **LISTS})
    assert_the_books(BookSnapshots.from_frame(frame))
    arrays = frame.assign(**{name: frame[name].map(np.array) for name in LISTS})
    assert_the_books(BookSnapshots.from_frame(arrays))


def test_lists_of_other_lengths_on_price_and_size_name_the_row(tmp_path: Path) -> None:
    short = {**LISTS, "bid_quantities": [[1.0, 2.0], [3.0], [4.0]]}
    with pytest.raises(ValidationError, match=r"bid_quantities\[1\] .*row 2 holds None"):
        read_books(written(tmp_path, **short))


@pytest.mark.parametrize(
    ("columns", "time"),
    [
        (("bid_price", "bid_amount", "ask_price", "ask_amount"), "timestamp"),  # Tardis quotes
        (("bid_0_price", "bid_0_size", "ask_0_price", "ask_0_size"), "origin_time"),  # Crypto Lake
    ],
)
def test_best_quotes_of_vendors_are_books_of_one_level(
    tmp_path: Path, columns: tuple[str, ...], time: str
) -> None:
    values = dict(zip(columns, ([9.0, 9.1], [5.0, 6.0], [9.2, 9.3], [7.0, 8.0]), strict=True))
    stamps = TIME[:2] if time == "origin_time" else TIME[:2].as_unit("us").asi8
    frame = pd.DataFrame({"exchange": "v", "symbol": "XYZ", time: stamps, **values})
    frame.to_csv(tmp_path / "quotes.csv", index=False)
    books = read_books(tmp_path / "quotes.csv")
    assert books.n_levels == 1
    assert books.mid == pytest.approx([9.1, 9.2])
    assert books.ask_size.ravel().tolist() == [7.0, 8.0]
    assert books.time.tolist() == TIME[:2].as_unit("ns").asi8.tolist()


def trades_of(folder: Path, sides: list[str], n: int = 2) -> Path:
    times = pd.date_range(TIME[0], periods=n, freq="300ms")
    table = {"timestamp": times, "price": [10.2] * n, "quantity": [0.5] * n, "side": sides}
    path = folder / "trades_XYZ_00.parquet"
    pq.write_table(pa.table(table | {"symbol": ["XYZ"] * n}), path)
    return path


def test_trades_beside_the_books_come_along_and_none_is_lost(tmp_path: Path) -> None:
    path = written(tmp_path, **LISTS)
    trades_of(tmp_path, ["buy", "sell", "unknown"], 3)  # the last one after the last book
    whole = read_books(path).trades
    parts = [part.trades for part in iter_books(path, 1)]
    assert whole is not None
    assert whole.aggressor.tolist() == [1, -1, 0]
    assert [len(one) for one in parts if one is not None] == [1, 0, 2]


def test_a_side_that_never_changes_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trades = read_trades(trades_of(tmp_path, ["SELL"] * 30, 30))
    assert not trades.aggressor.any()
    assert "side is 'SELL' in all 30 trades, not to be believed" in caplog.text
    few = read_trades(trades_of(tmp_path, ["SELL"] * 3, 3))
    assert few.aggressor.tolist() == [-1, -1, -1]  # three in a row happen


def test_a_table_of_trades_without_a_size_says_what_is_due(tmp_path: Path) -> None:
    (tmp_path / "trades.csv").write_text("time,price,side\n2026-01-06T12:00:00Z,1.0,buy\n")
    with pytest.raises(ValidationError, match="no column for the size of trades: size, quantity"):
        read_trades(tmp_path / "trades.csv")


def test_a_side_is_believed_or_not_over_a_series_of_files(tmp_path: Path) -> None:
    """A short file of a venue whose side never changes is not believed either, and is classified."""
    paths = []
    for hour, n in enumerate((30, 5)):
        folder = tmp_path / str(hour)
        folder.mkdir()
        time = TIME + pd.Timedelta(hours=hour)
        table = pa.table({"timestamp": time, "symbol": ["XYZ"] * 3, **LISTS})
        pq.write_table(table, folder / "orderbook_XYZ_00.parquet")
        prints = pd.date_range(time[0] + pd.Timedelta("10ms"), periods=n, freq="1ms")
        trades = {"timestamp": prints, "price": [10.0] * n, "quantity": [0.5] * n}
        table = pa.table(trades | {"side": ["buy"] * n, "symbol": ["XYZ"] * n})
        pq.write_table(table, folder / "trades_XYZ_00.parquet")
        paths.append(folder / "orderbook_XYZ_00.parquet")
    trades = read_books(paths, signs="quote").trades
    assert trades is not None
    assert trades.aggressor.tolist() == [-1] * 35  # at the bid


def test_databentos_letters_are_sides_of_trades(tmp_path: Path) -> None:
    trades = read_trades(trades_of(tmp_path, ["A", "B"] * 20, 40))
    assert trades.aggressor.tolist() == [-1, 1] * 20


def test_where_chooses_the_trades_beside_the_books_too(tmp_path: Path) -> None:
    quotes = pd.DataFrame({"timestamp": TIME.as_unit("us").asi8, "exchange": ["a", "b", "a"],
                           "bid_price": 9.0, "bid_amount": 5.0, "ask_price": 9.2, "ask_amount": 7.0})  # fmt: skip
    prints = quotes[["timestamp", "exchange"]].assign(
        price=9.2, amount=[1.0, 100.0, 1.0], side="buy"
    )
    quotes.to_csv(tmp_path / "quotes_x.csv", index=False)
    prints.to_csv(tmp_path / "trades_x.csv", index=False)
    trades = read_books(tmp_path / "quotes_x.csv", where={"exchange": "a"}).trades
    assert trades is not None
    assert trades.size.tolist() == [1.0, 1.0]


def test_a_frame_of_lists_keeps_its_rows_whatever_its_index() -> None:
    frame = pd.DataFrame({"timestamp": TIME, **LISTS})
    parts = pd.concat([frame.iloc[:1], frame.iloc[1:2].reset_index(drop=True), frame.iloc[2:]])
    assert list(parts.index) == [0, 0, 2]
    assert_the_books(BookSnapshots.from_frame(parts))

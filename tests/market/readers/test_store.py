"""Folders made by `convert`, read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import BookSnapshots, Session, Trades, iter_books, read_books
from research_lib.market.partitions import TableFile
from research_lib.market.readers import format_of, store

BOOK_ARRAYS = ("time", "complete", "bid_price", "bid_size", "ask_price", "ask_size")
TRADE_ARRAYS = ("time", "price", "size", "aggressor")
NOON = 1_736_182_800 * 10**9  # 2025-01-06 12:00 New York
DAY = 86_400 * 10**9


def _books(rng: np.random.Generator, n: int = 60, n_levels: int = 3, symbol: str = "XYZ") -> BookSnapshots:
    """One day with empty levels, equal times and incomplete states, and trades on both ends."""
    time = np.sort(NOON + rng.integers(0, 40, n))
    bid = 10 - 0.01 * np.arange(n_levels) + rng.random((n, 1))
    size = rng.integers(0, 5, (2, n, n_levels)).astype(float)
    of_trades = np.sort(np.append(rng.integers(-5, 50, 19), 99) + NOON)
    trades = Trades(of_trades, rng.random(20) + 1, rng.random(20) + 1, rng.integers(-1, 2, 20), symbol)
    return BookSnapshots(time, bid, size[0], bid + 1, size[1], symbol, rng.random(n) > 0.3, trades=trades)


def _later(books: BookSnapshots, days: int) -> BookSnapshots:
    trades = dataclasses.replace(books.trades, time=books.trades.time + days * DAY)
    return dataclasses.replace(books, time=books.time + days * DAY, trades=trades)


def _write(root: Path, books: BookSnapshots, date: str = "2025-01-06", rows: int = 25) -> Path:
    folder = root / store.partition(books.symbol, date)
    folder.mkdir(parents=True)
    file = TableFile(folder / store.BOOKS_FILE, {b"origin": b"test"})
    for start in range(0, len(books), rows):
        file.add(store.book_table(books.take(np.arange(start, min(start + rows, len(books))))))
    file.finish()
    if books.trades is not None:
        trades = TableFile(folder / store.TRADES_FILE, {})
        trades.add(store.trade_table(books.trades))
        trades.finish()
    return folder


def _assert_same(one: BookSnapshots, other: BookSnapshots) -> None:
    assert one.symbol == other.symbol
    for name in BOOK_ARRAYS:
        assert np.array_equal(one[name], other[name], equal_nan=True), name
    assert (one.trades is None) == (other.trades is None)
    for name in TRADE_ARRAYS if one.trades is not None else ():
        assert np.array_equal(one.trades[name], other.trades[name]), name


def test_root_symbol_and_date_folders_give_the_same_books(tmp_path: Path, rng: np.random.Generator) -> None:
    books = _books(rng)
    date = _write(tmp_path, books)
    for path in (tmp_path, date.parent, date):
        assert format_of(path) is store
        _assert_same(read_books(path), books)


@pytest.mark.parametrize("rows", [1, 7, 59, 60, 61, 1_000])
def test_batches_of_any_size_equal_the_whole(tmp_path: Path, rng: np.random.Generator, rows: int) -> None:
    first = _books(rng)
    both = [first, _later(first, 1)]
    for books, date in zip(both, ("2025-01-06", "2025-01-07"), strict=True):
        _write(tmp_path, books, date)
    parts = list(iter_books(tmp_path, rows))
    assert max(map(len, parts)) <= rows
    _assert_same(BookSnapshots.concat(parts), BookSnapshots.concat(both))
    for part in parts[:-1]:
        assert (part.trades.time <= part.time[-1]).all()


def test_a_row_group_is_written_when_it_is_full_and_levels_may_be_added(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROW_GROUP_ROWS", 20)
    parts = [_books(rng, 30, 1), _later(_books(rng, 30, 4), 1), _later(_books(rng, 5, 2), 2)]
    file = TableFile(tmp_path / store.BOOKS_FILE, {b"origin": b"test"})
    for part in parts:
        file.add(store.book_table(part))
    file.finish()
    written = pq.ParquetFile(tmp_path / store.BOOKS_FILE)
    assert [written.metadata.row_group(k).num_rows for k in range(written.num_row_groups)] == [20, 10, 20, 10, 5]
    assert written.metadata.metadata[b"origin"] == b"test"
    assert [path.name for path in tmp_path.iterdir()] == [store.BOOKS_FILE]
    folder = tmp_path / store.partition("XYZ", "2025-01-06")
    folder.mkdir(parents=True)
    (tmp_path / store.BOOKS_FILE).rename(folder / store.BOOKS_FILE)
    expected = dataclasses.replace(BookSnapshots.concat(parts), trades=None)
    _assert_same(read_books(tmp_path), expected)


def test_columns_are_as_documented(tmp_path: Path, rng: np.random.Generator) -> None:
    schema = pq.read_schema(_write(tmp_path, _books(rng, n_levels=2)) / store.BOOKS_FILE)
    assert schema.names[:6] == ["time", "complete", "bid_px_00", "bid_sz_00", "ask_px_00", "ask_sz_00"]
    assert len(schema.names) == 10
    assert str(schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert {str(field.type) for field in list(schema)[2:]} == {"double"}


def test_two_symbols_are_refused_with_the_remedy(tmp_path: Path, rng: np.random.Generator) -> None:
    for symbol in ("ABC", "BRK/B"):
        _write(tmp_path, _books(rng, symbol=symbol))
    with pytest.raises(ValidationError, match=r"holds 2 symbols \(ABC, BRK/B\); read one at a time, e.g. .*symbol=ABC"):
        read_books(tmp_path)
    assert read_books(tmp_path / "symbol=BRK%2FB").symbol == "BRK/B"


def test_no_trades_file_means_that_trades_are_not_known(tmp_path: Path, rng: np.random.Generator) -> None:
    books = dataclasses.replace(_books(rng), trades=None)
    _write(tmp_path, books)
    _assert_same(read_books(tmp_path), books)


def test_trades_of_a_date_without_books_come_with_the_books_before(tmp_path: Path, rng: np.random.Generator) -> None:
    books = _books(rng)
    _write(tmp_path, books)
    after = _write(tmp_path, _later(books, 1), "2025-01-07")
    (after / store.BOOKS_FILE).unlink()
    read = read_books(tmp_path)
    assert len(read) == len(books)
    assert len(read.trades) == 2 * len(books.trades)
    (after / store.TRADES_FILE).unlink()
    with pytest.raises(MissingDataError, match=r"date=2025-01-07/books.parquet does not exist; convert"):
        read_books(tmp_path)


@pytest.mark.parametrize("name", [store.BOOKS_FILE, store.TRADES_FILE])
def test_damaged_partitions_are_refused_by_name(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    path = _write(tmp_path, _books(rng)) / name
    whole = path.read_bytes()
    half = len(whole) // 2
    for content in (whole[:half], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(content)
        with pytest.raises(ValidationError, match=name):
            read_books(tmp_path)


def test_one_changed_bit_of_the_levels_is_never_read(tmp_path: Path, rng: np.random.Generator) -> None:
    path = _write(tmp_path, _books(rng)) / store.BOOKS_FILE
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    expected = read_books(tmp_path)
    for position in rng.integers(4, len(whole) - footer, 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            _assert_same(read_books(tmp_path), expected)
        except ValidationError as error:
            assert store.BOOKS_FILE in str(error)  # noqa: PT017


def test_wrong_content_is_named_by_file_row_and_column(tmp_path: Path, rng: np.random.Generator) -> None:
    path = _write(tmp_path, _books(rng)) / store.BOOKS_FILE
    frame = pq.read_table(path).to_pandas()
    frame.assign(ask_sz_01=[1.0] * 41 + [-1.0] * 19, ask_px_01=11.5).to_parquet(path)
    with pytest.raises(ValidationError, match=r"books.parquet: column ask_sz_01 must be at least 0, row 41 holds -1.0"):
        list(iter_books(tmp_path, 20))
    frame.drop(columns="ask_px_02").to_parquet(path)
    with pytest.raises(ValidationError, match=r"books.parquet: column ask_px_02 must hold double, it holds nothing"):
        read_books(tmp_path)
    frame.iloc[::-1].to_parquet(path)
    with pytest.raises(ValidationError, match=r"books.parquet: time runs backwards in column time, row"):
        read_books(tmp_path, session=Session())

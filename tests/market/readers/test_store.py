"""Folders made by `convert`, read back."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session, convert, iter_books, read_books

BOOK_ARRAYS = ("time", "complete", "bid_price", "bid_size", "ask_price", "ask_size")
TRADE_ARRAYS = ("time", "price", "size", "aggressor")
NOON = 1_736_182_800 * 10**9  # 2025-01-06 12:00 New York
NOON_MS = 12 * 3_600_000
DAY = 86_400 * 10**9
MAX_ROW_GROUP = 100_000


def _mbp(
    folder: Path, rng: np.random.Generator, day: int = 0, *, n_levels: int = 3, symbol: str = "XYZ"
) -> Path:
    """60 records of one day with empty levels, equal times, incomplete states and trades."""
    n = 60
    bid = 10 - 0.01 * np.arange(n_levels) + rng.random((n, 1))
    size = rng.integers(0, 5, (2, n, n_levels))
    columns = {
        "ts_event": np.sort(NOON + day * DAY + rng.integers(0, 40, n)), "symbol": symbol,
        "action": rng.choice(list("AAT"), n), "side": rng.choice(list("ABN"), n),
        "flags": np.where(rng.random(n) > 0.3, 128, 0), "price": rng.random(n) + 1, "size": rng.integers(1, 9, n),
    }  # fmt: skip
    for level in range(n_levels):
        columns |= {f"bid_px_{level:02d}": bid[:, level], f"ask_px_{level:02d}": bid[:, level] + 1}
        columns |= {
            f"{side}_sz_{level:02d}": size[k, :, level] for k, side in enumerate(("bid", "ask"))
        }
    path = folder / f"{symbol.replace('/', '')}_{day}.csv"
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def _lean(
    folder: Path, rng: np.random.Generator, day: int = 0, late: tuple[int, ...] = (99,)
) -> Path:
    """60 quotes of one day, some suspicious, of equal times, a side empty at first; trades before and after them."""
    n = 60
    folder.mkdir(exist_ok=True)
    ms = np.sort(NOON_MS + rng.integers(0, 40, n))
    of_trades = np.append(np.sort(NOON_MS + rng.integers(-5, 50, 19)), NOON_MS + np.array(late))
    name = f"xyz_{20250106 + day}"
    quotes = [
        f"{t},100000,{k + 1},0,0,P,0,0"
        if k < 3
        else f"{t},0,0,{100_100 + 100 * rng.integers(9)},{k},P,0,{k % 4 // 3}"
        for k, t in enumerate(ms)
    ]
    trades = [f"{t},{100_000 + rng.integers(100)},{1 + k},P,0,0" for k, t in enumerate(of_trades)]
    for kind, lines in (("trade", trades), ("quote", quotes)):
        with zipfile.ZipFile(folder / f"{name}_{kind}.zip", "w") as archive:
            archive.writestr(f"{name}_{kind}.csv", "".join(line + "\n" for line in lines))
    return folder / f"{name}_quote.zip"


def _store(root: Path, *sources: Path) -> list[Path]:
    """The folders, one a date, into which the sources are converted."""
    return [folder for source in sources for folder in convert(source, root, progress=False)]


def _file(date: Path) -> Path:
    """The one source's file of a date."""
    (path,) = date.glob("*.parquet")
    return path


def _assert_same(one: BookSnapshots, other: BookSnapshots) -> None:
    assert one.symbol == other.symbol
    for name in BOOK_ARRAYS:
        assert np.array_equal(one[name], other[name], equal_nan=True), name
    assert (one.trades is None) == (other.trades is None)
    for name in TRADE_ARRAYS if one.trades is not None else ():
        assert np.array_equal(one.trades[name], other.trades[name]), name


def test_root_symbol_and_date_folders_give_the_same_books(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source, root = _mbp(tmp_path / "raw", rng), tmp_path / "store"
    (date,) = _store(root, source)
    for path in (root, date.parent, date):
        _assert_same(read_books(path), read_books(source))


@pytest.mark.parametrize("rows", [1, 7, 59, 60, 61, 1_000])
@pytest.mark.parametrize("written", [_mbp, _lean])
def test_batches_of_any_size_equal_the_whole(
    tmp_path: Path, rng: np.random.Generator, rows: int, written: Callable[..., Path]
) -> None:
    both = [written(tmp_path / "raw", rng, day) for day in (0, 1)]
    _store(tmp_path / "store", *both)
    parts = list(iter_books(tmp_path / "store", rows))
    assert max(map(len, parts)) <= rows
    known = BookSnapshots.concat([read_books(path) for path in both])
    assert 0 < known.complete.sum() < len(known) == 120
    assert (known.ask_size == 0).any()
    _assert_same(BookSnapshots.concat(parts), known)
    for part in parts[:-1]:
        if part.time[-1] - part.time[0] < DAY and part.time[-1] not in known.time[[59]]:
            assert (part.trades.time <= part.time[-1]).all()


@pytest.mark.slow
def test_a_row_group_is_written_when_it_is_full_and_levels_may_be_added(tmp_path: Path) -> None:
    """130,000 snapshots of one level, more than a row group holds, before one of three levels and one of two."""
    n_levels = np.append(np.ones(130_000, int), [3, 2])
    times = pd.date_range(
        "2025-01-06 10:00", periods=len(n_levels), freq="ms", tz="America/New_York"
    )
    level = np.concatenate([np.tile(np.arange(1, k + 1), 2) for k in n_levels])
    is_ask = np.concatenate([np.repeat([False, True], k) for k in n_levels])
    frame = pd.DataFrame(
        {
            "time": times.repeat(2 * n_levels),
            "side": np.where(is_ask, "ask", "bid"),
            "price": np.where(is_ask, 10.02, 10.0) + np.where(is_ask, 0.01, -0.01) * level,
            "size": np.arange(len(level)) % 7 + 1.0,
            "level": level,
        }
    )
    source, root = tmp_path / "book.parquet", tmp_path / "store"
    frame.to_parquet(source)
    (folder,) = convert(source, root, progress=False, batch_rows=2_500, symbol="XYZ")
    (written,) = folder.iterdir()
    metadata = pq.read_metadata(written)
    groups = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    assert sum(groups) == len(n_levels)
    assert max(groups) <= MAX_ROW_GROUP
    _assert_same(read_books(root), read_books(source, symbol="XYZ"))


def test_columns_are_as_documented(tmp_path: Path, rng: np.random.Generator) -> None:
    (folder,) = _store(tmp_path / "store", _mbp(tmp_path / "raw", rng, n_levels=2))
    schema = pq.read_schema(_file(folder))
    assert schema.names[:6] == [
        "time",
        "complete",
        "bid_px_00",
        "bid_sz_00",
        "ask_px_00",
        "ask_sz_00",
    ]
    assert (len(schema.names), schema.names[-1]) == (11, "trades")
    assert str(schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert {str(field.type) for field in list(schema)[2:-1]} == {"double"}


def test_two_symbols_are_refused_with_the_remedy(tmp_path: Path, rng: np.random.Generator) -> None:
    root = tmp_path / "store"
    folders = _store(
        root, *(_mbp(tmp_path / "raw", rng, symbol=symbol) for symbol in ("ABC", "BRK/B"))
    )
    with pytest.raises(ValidationError, match=r"holds 2 symbols \(ABC, BRK/B\); read one"):
        read_books(root)
    assert read_books(folders[1]).symbol == "BRK/B"
    assert read_books(root / "symbol=BRK%2FB").symbol == "BRK/B"


def test_no_trades_in_a_file_means_that_trades_are_not_known(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source = _mbp(tmp_path / "raw", rng)
    pd.read_csv(source).drop(columns=["price", "size"]).to_csv(source, index=False)
    _store(tmp_path / "store", source)
    assert read_books(source).trades is None
    _assert_same(read_books(tmp_path / "store"), read_books(source))


def test_trades_after_the_last_book_stay_with_its_date(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Two trades of the evening, which in a session that opens the day before is the date after the books'."""
    evening = (7 * 3_600_000, 8 * 3_600_000)
    source, root = _lean(tmp_path / "raw", rng, late=evening), tmp_path / "store"
    globex = Session(23, "18:00", "17:00", opens_day_before=True)
    dates = convert(source, root, session=globex, progress=False)
    assert [path.name for path in dates] == ["date=2025-01-06"]
    assert len(read_books(dates[0]).trades) == 21
    _assert_same(read_books(root), read_books(source))


def test_damaged_partitions_are_refused_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    (folder,) = _store(tmp_path / "store", _mbp(tmp_path / "raw", rng))
    path = _file(folder)
    whole = path.read_bytes()
    half = len(whole) // 2
    for content in (whole[:half], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(content)
        with pytest.raises(ValidationError, match=path.name):
            read_books(tmp_path / "store")


def test_one_changed_bit_of_the_levels_is_never_read(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    (folder,) = _store(tmp_path / "store", _mbp(tmp_path / "raw", rng))
    path = _file(folder)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    expected = read_books(folder)
    for position in rng.integers(4, len(whole) - footer, 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            _assert_same(read_books(folder), expected)
        except ValidationError as error:
            assert path.name in str(error)  # noqa: PT017


def test_wrong_content_is_named_by_file_row_and_column(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    (folder,) = _store(tmp_path / "store", _mbp(tmp_path / "raw", rng))
    path = _file(folder)
    frame = pq.read_table(path).to_pandas()
    frame.assign(ask_sz_01=[1.0] * 41 + [-1.0] * 19, ask_px_01=11.5).to_parquet(path)
    with pytest.raises(
        ValidationError,
        match=r"XYZ_0.csv-.*parquet: column ask_sz_01 must be a finite .* at least 0, row 41 holds -1.0",
    ):
        list(iter_books(folder, 20))
    frame.drop(columns="ask_px_02").to_parquet(path)
    with pytest.raises(ValidationError, match=r"parquet lacks column ask_px_02"):
        read_books(folder)
    frame.iloc[::-1].to_parquet(path)
    with pytest.raises(ValidationError, match=r"parquet: column time runs backwards in time, row"):
        read_books(folder, session=Session())

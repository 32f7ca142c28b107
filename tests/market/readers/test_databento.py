"""Databento market-by-price records as text and Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import real_data

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import BookSnapshots, Session, iter_books, read_mbp10

N_ROWS = 6


@pytest.fixture(scope="module")
def frog(frog_file: Path) -> BookSnapshots:
    return read_mbp10(frog_file)


def _mbp10(**columns: list[Any]) -> pd.DataFrame:
    """Six MBP-10 rows after the open, in the vendor's columns; some replaced."""
    times = [f"2025-04-03T13:30:0{i}.000000001Z" for i in range(N_ROWS)]
    frame = pd.DataFrame(
        {"ts_event": times, "action": "A", "side": "B", "flags": 128, "symbol": "XYZ"}
    )
    for level in range(10):
        frame[f"bid_px_{level:02d}"] = 10.0 - 0.01 * level
        frame[f"ask_px_{level:02d}"] = 10.02 + 0.01 * level
        frame[f"bid_sz_{level:02d}"] = 100
        frame[f"ask_sz_{level:02d}"] = 200
    return frame.assign(**columns)


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def test_columns_may_be_shuffled_and_duplicated(tmp_path: Path) -> None:
    frame = _mbp10()[sorted(_mbp10().columns, reverse=True)]
    text = frame.to_csv(index=False).replace("ts_event", "ts_event,ts_event", 1)
    rows = [line.replace("2025", "2025", 1) for line in text.splitlines()]
    where = frame.columns.get_loc("ts_event")
    doubled = [rows[0], *(",".join(_doubled(row.split(","), where)) for row in rows[1:])]
    path = tmp_path / "book.csv"
    path.write_text("\n".join(doubled))
    books = read_mbp10(path)
    assert books.symbol == "XYZ"
    assert books.time[0] == pd.Timestamp("2025-04-03T13:30:00.000000001Z").as_unit("ns").value
    assert books.bid_price[0].tolist() == pytest.approx(
        [10.0 - 0.01 * level for level in range(10)]
    )


def _doubled(cells: list[str], where: int) -> list[str]:
    return [*cells[:where], cells[where], *cells[where:]]


def test_empty_levels_become_nan_and_zero(tmp_path: Path) -> None:
    frame = _mbp10(ask_px_09=np.nan, ask_sz_09=0)
    books = read_mbp10(_write(frame, tmp_path / "book.csv"))
    assert np.isnan(books.ask_price[:, 9]).all()
    assert (books.ask_size[:, 9] == 0).all()


def test_states_inside_an_event_or_before_a_trade_are_not_complete(tmp_path: Path) -> None:
    frame = _mbp10(
        action=["A", "T", "C", "T", "A", "A"],
        side=["B", "B", "A", "N", "A", "A"],
        flags=[128] * 5 + [0],
    )
    complete = read_mbp10(_write(frame, tmp_path / "book.csv")).complete
    # T with an aggressor shows the book before the trade; a hidden trade (N) leaves the book as it was.
    assert complete.tolist() == [True, False, True, True, True, False]


def test_states_before_the_opening_cross_are_not_complete(tmp_path: Path) -> None:
    frame = _mbp10(action=["A", "A", "T", "A", "A", "A"], side=["B", "A", "N", "B", "B", "B"])
    assert (
        read_mbp10(_write(frame, tmp_path / "book.csv")).complete.tolist()
        == [False] * 3 + [True] * 3
    )


def test_a_late_first_hidden_trade_is_no_opening_cross(tmp_path: Path) -> None:
    times = [f"2025-04-03T14:{i:02d}:00Z" for i in range(N_ROWS)]
    frame = _mbp10(
        ts_event=times, action=["A", "A", "T", "A", "A", "A"], side=["B", "A", "N", "B", "B", "B"]
    )
    assert read_mbp10(_write(frame, tmp_path / "book.csv")).complete.all()


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    frame = _mbp10()
    paths = [
        _write(frame.iloc[:3], tmp_path / "a.csv"),
        _write(frame.iloc[3:], tmp_path / "b.csv.gz"),
    ]
    assert len(read_mbp10(paths)) == N_ROWS
    with pytest.raises(ValidationError, match="time runs backwards"):
        read_mbp10(paths[::-1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"symbol": list("AAABBB")},
            r"book.csv: column symbol must hold one value, 'A', row 3 holds 'B'",
        ),
        (
            {"ask_sz_03": [1, 2, "x", 4, 5, 6]},
            r"book.csv: column ask_sz_03 must hold numbers, row 2 holds 'x'",
        ),
        (
            {"ts_event": ["2025-04-03T13:30:00Z"] * 5 + ["noon"]},
            r"ts_event must hold ISO 8601.*row 5 holds 'noon'",
        ),
        (
            {"bid_px_00": [10.0] * 5 + [-1.0]},
            r"book.csv: column bid_px_00 must be above 0 .*, row 5 holds '-1.0'",
        ),
        (
            {"ask_sz_00": [200] * 5 + [-1]},
            r"book.csv: column ask_sz_00 must be .* at least 0, row 5 holds '-1'",
        ),
    ],
)
def test_damaged_content_names_file_column_and_row(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = _write(_mbp10(**columns), tmp_path / "book.csv")
    with pytest.raises(ValidationError, match=message):
        read_mbp10(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(_mbp10().to_csv(index=False).encode())
    truncated = tmp_path / "half.csv.gz"
    truncated.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValidationError, match=r"half.csv.gz cannot be read: Truncated"):
        read_mbp10(truncated)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ValidationError, match=r"empty.csv is empty: it has 0 bytes"):
        read_mbp10(empty)
    with pytest.raises(ValidationError, match=r"only_header.csv is empty"):
        read_mbp10(_write(_mbp10().iloc[:0], tmp_path / "only_header.csv"))
    with pytest.raises(ValidationError, match=r"other.csv lacks column ask_px_09"):
        read_mbp10(_write(_mbp10().drop(columns="ask_px_09"), tmp_path / "other.csv"))
    with pytest.raises(MissingDataError, match=r"nowhere.csv does not exist"):
        read_mbp10(tmp_path / "nowhere.csv")


def test_frog_is_read_whole(frog: BookSnapshots) -> None:
    books = frog
    assert len(books) == 33_286
    assert np.median(2 * books.half_spread) == pytest.approx(0.06)
    counts = books.quality
    assert [counts[name] for name in ("crossed", "locked", "empty_levels", "unordered_levels")] == [
        0,
        0,
        0,
        0,
    ]


def test_frog_books_before_the_opening_cross_are_never_sampled(frog: BookSnapshots) -> None:
    books = frog
    cross = np.argmax(
        books.time == pd.Timestamp("2025-04-03 13:30:00.976597513Z").as_unit("ns").value
    )
    assert not books.complete[: cross + 1].any()
    # Even half-second intervals find no book before the cross; minutes find one from the second on.
    fine = books.sample(Session(46_800))
    assert not fine.complete[:2].any()
    assert fine.complete[2]
    minutes = books.sample(Session(390))
    assert minutes.complete.sum() == 389
    assert not minutes.complete[0]


def test_frog_samples_show_what_was_visible_at_the_start(frog: BookSnapshots) -> None:
    books = frog
    session = Session(390)
    sampled = books.sample(session)
    usable = books.take(books.complete)
    for t in (1, 2, 100, 389):
        last = np.flatnonzero(usable.time <= sampled.time[t])[-1]
        assert np.array_equal(sampled.bid_size[t], usable.bid_size[last])
    assert isinstance(sampled, BookSnapshots)


def _compressed(path: Path, content: bytes) -> None:
    codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.CompressedOutputStream(str(path), codec) if codec else path.open("wb") as stream:
        stream.write(content)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst", ".parquet"])
def test_every_encoding_gives_the_same_books(tmp_path: Path, suffix: str) -> None:
    frame = _mbp10(
        action=["A", "T", "C", "T", "A", "A"],
        side=["B", "B", "A", "N", "A", "A"],
        price=10.02,
        size=7,
    )
    path = tmp_path / f"book{suffix}"
    if suffix == ".parquet":
        frame.assign(ts_event=pd.to_datetime(frame["ts_event"])).to_parquet(path)
    else:
        _compressed(path, frame.to_csv(index=False).encode())
    books = read_mbp10(path)
    assert (
        books.time.tolist()
        == pd.to_datetime(frame["ts_event"]).dt.as_unit("ns").astype("int64").tolist()
    )
    assert books.ask_price[0].tolist() == frame.filter(regex="ask_px").iloc[0].tolist()
    assert books.complete.tolist() == [True, False, True, True, True, True]
    assert books.trades.aggressor.tolist() == [1, 0]
    assert books.trades.size.tolist() == [7, 7]


def test_integer_times_and_fixed_point_prices_are_read_as_such(tmp_path: Path) -> None:
    frame = _mbp10(price=10.0, size=1)
    fixed = frame.copy()
    for name in ["price", *frame.filter(regex="_px_").columns]:
        fixed[name] = (frame[name] * 1e9).round().astype("int64")
    fixed["ask_px_09"], fixed["ask_sz_09"] = np.iinfo(np.int64).max, 0
    fixed["ts_event"] = pd.to_datetime(frame["ts_event"]).dt.as_unit("ns").astype("int64")
    expected = read_mbp10(_write(frame, tmp_path / "decimal.csv"))
    fixed.to_parquet(tmp_path / "fixed.parquet")
    for path in (_write(fixed, tmp_path / "fixed.csv"), tmp_path / "fixed.parquet"):
        books = read_mbp10(path)
        assert np.array_equal(books.time, expected.time)
        assert np.allclose(books.ask_price[:, :9], expected.ask_price[:, :9], rtol=0, atol=1e-12)
        assert np.isnan(books.ask_price[:, 9]).all()


def test_mbp1_gives_one_level(tmp_path: Path) -> None:
    frame = _mbp10()[
        [
            "ts_event",
            "action",
            "side",
            "flags",
            "symbol",
            "bid_px_00",
            "ask_px_00",
            "bid_sz_00",
            "ask_sz_00",
        ]
    ]
    books = read_mbp10(_write(frame, tmp_path / "book.csv"))
    assert books.bid_size.tolist() == [[100.0]] * N_ROWS
    assert books.trades is None


def test_snapshot_records_are_kept_but_not_complete(tmp_path: Path) -> None:
    books = read_mbp10(
        _write(
            _mbp10(flags=[128 + 32 + 8, 128 + 32, 128 + 8, 128, 130, 128]), tmp_path / "book.csv"
        )
    )
    assert books.complete.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("cross_row", [0, 2, 5, None])
def test_the_opening_cross_does_not_depend_on_the_batches(
    tmp_path: Path, batch_rows: int, cross_row: int | None
) -> None:
    action, side = ["A"] * N_ROWS, ["B"] * N_ROWS
    if cross_row is not None:
        action[cross_row], side[cross_row] = "T", "N"
    path = _write(_mbp10(action=action, side=side), tmp_path / "book.csv")
    parts = list(iter_books(path, batch_rows))
    before = 0 if cross_row is None else cross_row + 1
    assert BookSnapshots.concat(parts).complete.tolist() == [False] * before + [True] * (
        N_ROWS - before
    )


@pytest.mark.parametrize("batch_rows", [1, 2, 6])
def test_a_second_hidden_trade_in_the_first_minute_is_no_cross(
    tmp_path: Path, batch_rows: int
) -> None:
    frame = _mbp10(action=["A", "T", "C", "T", "A", "A"], side=["B", "B", "A", "N", "A", "A"])
    parts = list(iter_books(_write(frame, tmp_path / "book.csv"), batch_rows))
    assert BookSnapshots.concat(parts).complete.tolist() == [True, False, True, True, True, True]


def _equal(one: BookSnapshots, other: BookSnapshots) -> bool:
    names = ("time", "bid_price", "bid_size", "ask_price", "ask_size", "complete")
    trades = ("time", "price", "size", "aggressor")
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in names) and all(
        np.array_equal(one.trades[name], other.trades[name]) for name in trades
    )


def test_frog_is_the_same_in_batches(frog_file: Path, frog: BookSnapshots) -> None:
    parts = list(iter_books(frog_file, 1_000))
    assert {len(part) for part in parts[1:-1]} == {1_000}
    assert _equal(BookSnapshots.concat(parts), frog)


def test_frog_trades_keep_hidden_ones_apart(frog: BookSnapshots) -> None:
    trades = frog.trades
    assert len(trades) == 3_817
    assert [int(np.sum(trades.aggressor == sign)) for sign in (1, -1, 0)] == [1_466, 891, 1_460]
    assert trades.size.max() == 42_747  # the opening cross
    assert trades.aggressor[trades.size.argmax()] == 0


def test_aapl_premarket_lies_outside_the_session() -> None:
    books = read_mbp10(
        real_data("databento_xnas_mbp10/AAPL_2024-10-21_premarket_first5000.mbp10.csv.gz")
    )
    assert len(books) == 5_000
    assert (Session().interval_of(books.time) == -1).all()
    assert books.bid_price[0, :2].tolist() == [233.67, 233.53]
    assert len(books.trades) == 286


def test_arl_keeps_empty_levels_stub_quotes_and_rows_outside_the_session() -> None:
    books = read_mbp10(
        real_data("databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbp10_reconstructed.csv.gz")
    )
    assert len(books) == 3_928
    assert np.isnan(books.bid_price[0]).all()
    assert not books.complete[0]
    assert np.sum(Session().interval_of(books.time) == -1) == 273
    assert np.nanmedian(2 * books.half_spread) == pytest.approx(0.64)
    assert np.nanmax(books.ask_price) == 2147.48
    assert np.sum(books.bid_size == 0) + np.sum(books.ask_size == 0) == 2_298
    assert books.quality["unordered_levels"] == 0


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_without_symbol_the_instrument_id_is_it(tmp_path: Path, suffix: str) -> None:
    frame = _mbp10().drop(columns="symbol").assign(instrument_id=[38] * 5 + [39])
    path = tmp_path / f"book.{suffix}"
    for part in (frame.iloc[:5], frame):
        _write(part, path) if suffix == "csv" else part.to_parquet(path)
        if len(part) == 5:
            assert read_mbp10(path).symbol == "38"
    with pytest.raises(
        ValidationError, match=r"column instrument_id must hold one value, '38', row 5 holds '?39"
    ):
        read_mbp10(path)


@pytest.mark.parametrize("dearest", [1_000_500, 9_999_999])
def test_whole_prices_that_may_be_dollars_or_fixed_point_are_refused_until_decimal(
    tmp_path: Path, dearest: int
) -> None:
    prices = {name: dearest for name in _mbp10().filter(regex="_px_").columns}
    with pytest.raises(
        ValidationError, match=rf"up to {dearest:,}, which may be .* as decimals, {dearest}\.0"
    ):
        read_mbp10(_write(_mbp10(**prices), tmp_path / "book.csv"))
    decimal = _write(
        _mbp10(**{name: f"{price}.0" for name, price in prices.items()}), tmp_path / "decimal.csv"
    )
    assert read_mbp10(decimal).ask_price[0, 0] == dearest


@pytest.mark.parametrize(("whole", "price"), [(999_999, 999_999.0), (10_000_000, 0.01)])
def test_whole_prices_beside_the_ambiguous_range_are_read(
    tmp_path: Path, whole: int, price: float
) -> None:
    prices = {name: whole for name in _mbp10().filter(regex="_px_").columns}
    empty = {"ask_px_09": np.iinfo(np.int64).max, "ask_sz_09": 0}
    books = read_mbp10(_write(_mbp10(**(prices | empty)), tmp_path / "book.csv"))
    assert books.ask_price[0, 0] == price
    assert np.isnan(books.ask_price[:, 9]).all()

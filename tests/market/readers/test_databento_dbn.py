"""Databento's binary records."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn
import numpy as np
import pyarrow as pa
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, QualityPolicy, Session, assess, read_books
from research_lib.market.readers import databento_dbn as reader

OPEN_NS = 1_743_687_000_000_000_000  # 2025-04-03 09:30 New York
UNDEF_PRICE = np.iinfo(np.int64).max
ESU4 = "databento_glbx_dbn/futures_mbp-1_2024-07-01.dbn.zst"


def _records(n: int, n_levels: int = 10, **fields: Any) -> np.ndarray:
    message = {1: databento_dbn.MBP1Msg, 10: databento_dbn.MBP10Msg}[n_levels]
    records = np.zeros(n, message._dtypes)
    records["length"], records["rtype"] = records.itemsize // 4, n_levels
    records["instrument_id"], records["action"], records["side"], records["flags"] = 7, b"A", b"B", 128
    records["ts_event"] = OPEN_NS + np.arange(n) * 10**9
    for level in range(n_levels):
        records[f"bid_px_{level:02d}"] = 10_000_000_000 - 10_000_000 * level
        records[f"ask_px_{level:02d}"] = 10_020_000_000 + 10_000_000 * level
        records[f"bid_sz_{level:02d}"] = records[f"ask_sz_{level:02d}"] = 100
    for name, values in fields.items():
        records[name] = values
    return records


def _write(path: Path, records: np.ndarray, schema: str = "mbp-10", symbols: dict[str, int] | None = None) -> Path:
    symbols = symbols or {"XYZ": 7}
    days = {"start_date": dt.date(2025, 4, 1), "end_date": dt.date(2025, 4, 28)}
    mappings = [
        SimpleNamespace(raw_symbol=symbol, intervals=[SimpleNamespace(symbol=str(number), **days)])
        for symbol, number in symbols.items()
    ]
    metadata = databento_dbn.Metadata(
        dataset="XNAS.ITCH",
        start=OPEN_NS,
        stype_in=databento_dbn.SType.RAW_SYMBOL,
        stype_out=databento_dbn.SType.INSTRUMENT_ID,
        schema=databento_dbn.Schema.from_str(schema),
        symbols=list(symbols),
        partial=[],
        not_found=[],
        mappings=mappings,
    )
    content = metadata.encode() + records.tobytes()
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(content)
    return path


def _read(path: Path, batch_rows: int = 1_000) -> BookSnapshots:
    return BookSnapshots.concat(list(reader.batches(path, batch_rows, Session())))


@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
@pytest.mark.parametrize("batch_rows", [1, 4, 1_000])
def test_records_become_books_and_trades(tmp_path: Path, suffix: str, batch_rows: int) -> None:
    records = _records(
        5, action=[b"A", b"T", b"C", b"T", b"A"], side=[b"B", b"A", b"B", b"N", b"A"], price=10_005_000_000, size=3
    )
    records["ask_px_09"], records["ask_sz_09"] = UNDEF_PRICE, 0
    books = _read(_write(tmp_path / f"book{suffix}", records), batch_rows)
    assert books.symbol == "XYZ"
    assert books.bid_price[0].tolist() == [10 - level / 100 for level in range(10)]
    assert np.isnan(books.ask_price[:, 9]).all()
    assert (books.ask_size[:, 9] == 0).all()
    assert books.complete.tolist() == [True, False, True, True, True]
    assert books.trades.aggressor.tolist() == [-1, 0]
    assert books.trades.price.tolist() == [10.005, 10.005]


def test_an_older_event_time_takes_the_greatest_time_so_far(tmp_path: Path) -> None:
    records = _records(4, 1, flags=[128, 168, 128, 128])
    records["ts_event"] = OPEN_NS + np.array([5, -3_600, 4, 6]) * 10**9
    books = _read(_write(tmp_path / "book.dbn", records, "mbp-1"), 2)
    assert ((books.time - OPEN_NS) // 10**9).tolist() == [5, 5, 5, 6]
    assert books.complete.tolist() == [True, False, True, True]


def _without(records: np.ndarray, n_bytes: int) -> np.ndarray:
    return np.frombuffer(records.tobytes()[:-n_bytes], np.uint8)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (_without(_records(3), 100), r"book.dbn: row 2 has 268 bytes, 368 are due"),
        (_records(0), r"book.dbn is empty: it has metadata and 0 records"),
        (_records(3, instrument_id=[7, 8, 8]), r"holds 2 instruments, 7 \(XYZ\), 8 \(8\), the second from row 1 on"),
        (_records(3, rtype=[10, 1, 10]), r"column rtype must be 10, row 1 holds 1"),
        (_records(3, action=[b"A", b"A", b"?"]), r"column action must be one of .*, row 2 holds b'\?'"),
        (
            _records(3, bid_px_03=[10**10, UNDEF_PRICE, 10**10]),
            r"bid_px_03 must not be empty where .*, row 1 holds nan",
        ),
        (_records(3, ask_px_00=[10**10, 10**10, -1]), r"column ask_px_00 must be above 0, row 2 holds -1e-09"),
        (_records(3, ts_event=[OPEN_NS, OPEN_NS // 1_000, OPEN_NS]), r"column ts_event must be nanoseconds .*, row 1"),
        (_records(3, ts_event=OPEN_NS - np.array([0, 3_600 * 10**9, 0])), r"runs backwards in column ts_event, row 1"),
        (_records(3, action=b"T", size=0, price=10**10), r"column size of a trade must be above 0, row 0 holds 0.0"),
    ],
)
def test_damage_names_file_row_and_column(tmp_path: Path, records: np.ndarray, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _read(_write(tmp_path / "book.dbn", records), 2)


def test_undefined_prices_with_size_are_flagged_where_the_policy_says_so(tmp_path: Path) -> None:
    path = _write(tmp_path / "book.dbn", _records(3, bid_px_03=[10**10, UNDEF_PRICE, 10**10]))
    with pytest.raises(ValidationError, match=r"column bid_px_03 .*, row 1 holds nan"):
        read_books(path)
    books = read_books(path, policy=QualityPolicy(non_finite="drop"))
    assert books.non_finite.tolist() == [False, True, False]
    kept, quality = assess(books, policy=QualityPolicy(non_finite="drop", unordered_levels="keep"))
    assert (len(kept), quality["non_finite"]) == (2, 1)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: float, suffix: str) -> None:
    whole = _write(tmp_path / f"whole{suffix}", _records(50, bid_sz_00=np.arange(1, 51))).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept) // 368 * 368 + 11])
    with pytest.raises(ValidationError, match=r"cut.dbn.*(cannot be read|bytes)"):
        _read(path)


def test_esu4_has_fixed_point_prices_and_one_level() -> None:
    path = real_data(ESU4)
    books = _read(path)
    assert (len(books), books.n_levels, books.symbol) == (2_288, 1, "ESU4")
    assert (books.bid_price[0, 0], books.ask_price[0, 0]) == (5528.5, 5528.75)
    assert (books.bid_size[0, 0], books.ask_size[0, 0]) == (29, 6)
    assert np.all(books.bid_price % 0.25 == 0)
    assert np.median(2 * books.half_spread) == 0.25
    assert len(books.trades) == 120
    assert [int(np.sum(books.trades.aggressor == sign)) for sign in (1, -1, 0)] == [66, 54, 0]
    in_pieces = _read(path, 100)
    assert np.array_equal(books.complete, in_pieces.complete)
    assert np.array_equal(books.ask_price, in_pieces.ask_price)


def test_order_by_order_records_are_refused_with_the_remedy() -> None:
    path = real_data("databento_glbx_dbn/orderbooks_mbo_2024-05-08.dbn.zst")
    with pytest.raises(ValidationError, match=r"holds schema mbo, not mbp-10 or mbp-1; fetch"):
        _read(path)

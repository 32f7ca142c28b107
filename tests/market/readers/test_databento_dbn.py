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
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books

OPEN_NS = 1_743_687_000_000_000_000  # 2025-04-03 09:30 New York
UNDEF_PRICE = np.iinfo(np.int64).max
ESU4 = "databento_glbx_dbn/futures_mbp-1_2024-07-01.dbn.zst"


def _records(n: int, n_levels: int = 10, **fields: Any) -> np.ndarray:
    message = {1: databento_dbn.MBP1Msg, 10: databento_dbn.MBP10Msg}[n_levels]
    records = np.zeros(n, message._dtypes)
    records["length"], records["rtype"] = records.itemsize // 4, n_levels
    records["instrument_id"], records["action"], records["side"], records["flags"] = (
        7,
        b"A",
        b"B",
        128,
    )
    records["ts_event"] = records["ts_recv"] = OPEN_NS + np.arange(n) * 10**9
    for level in range(n_levels):
        records[f"bid_px_{level:02d}"] = 10_000_000_000 - 10_000_000 * level
        records[f"ask_px_{level:02d}"] = 10_020_000_000 + 10_000_000 * level
        records[f"bid_sz_{level:02d}"] = records[f"ask_sz_{level:02d}"] = 100
    for name, values in fields.items():
        records[name] = values
    return records


def _write(
    path: Path, records: np.ndarray, schema: str = "mbp-10", symbols: dict[str, int] | None = None
) -> Path:
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
    return BookSnapshots.concat(list(iter_books(path, batch_rows)))


@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
@pytest.mark.parametrize("batch_rows", [1, 4, 1_000])
def test_records_become_books_and_trades(tmp_path: Path, suffix: str, batch_rows: int) -> None:
    records = _records(
        5,
        action=[b"A", b"T", b"C", b"T", b"A"],
        side=[b"B", b"A", b"B", b"N", b"A"],
        price=10_005_000_000,
        size=3,
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


def test_an_older_time_of_a_snapshot_takes_the_greatest_time_so_far(tmp_path: Path) -> None:
    records = _records(4, 1, flags=[128, 168, 136, 128])
    records["ts_event"] = OPEN_NS + np.array([5, -3_600, 4, 6]) * 10**9
    books = _read(_write(tmp_path / "book.dbn", records, "mbp-1"), 2)
    assert ((books.time - OPEN_NS) // 10**9).tolist() == [5, 5, 5, 6]
    assert books.complete.tolist() == [True, False, False, True]


def _without(records: np.ndarray, n_bytes: int) -> np.ndarray:
    return np.frombuffer(records.tobytes()[:-n_bytes], np.uint8)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            _without(_records(3), 100),
            r"book.dbn cannot be read: its .* bytes are not 2 whole records",
        ),
        (_records(0), r"book.dbn is empty: it has 0 rows"),
        (_records(3, instrument_id=[7, 8, 8]), r"column symbol must not be empty, row 1"),
        (_records(3, rtype=[10, 1, 10]), r"book.dbn cannot be read: its .* not 2 whole records"),
        (
            _records(3, action=[b"A", b"A", b"?"]),
            r"column action must be one of .*, row 2 holds '\?'",
        ),
        (
            _records(3, bid_px_03=[10**10, UNDEF_PRICE, 10**10]),
            r"bid_px_03 must be above 0 .* where there is size, row 1 holds None",
        ),
        (
            _records(3, ask_px_00=[10**10, 10**10, -1]),
            r"column ask_px_00 must be above 0 .*, row 2 holds '-0.000000001'",
        ),
        (
            _records(3, ts_event=[OPEN_NS, OPEN_NS // 1_000, OPEN_NS]),
            r"column ts_event must be ns since 1970.*, row 1",
        ),
        (
            _records(3, ts_event=OPEN_NS - np.array([0, 3_600 * 10**9, 0])),
            r"column ts_event runs backwards in time, row 1",
        ),
        (
            _records(3, action=[b"T", b"A", b"A"], size=1, price=-(10**10)),
            r"column price must be above 0 .*, row 0 holds '-10",
        ),
    ],
)
def test_damage_names_file_row_and_column(
    tmp_path: Path, records: np.ndarray, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        _read(_write(tmp_path / "book.dbn", records), 2)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: float, suffix: str) -> None:
    whole = _write(
        tmp_path / f"whole{suffix}", _records(50, bid_sz_00=np.arange(1, 51))
    ).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept) // 368 * 368 + 11])
    with pytest.raises(ValidationError, match=r"cut.dbn.*(cannot be read|no known format)"):
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


def test_orders_in_binary_records_are_books_of_their_levels() -> None:
    """All of one instant, a snapshot of the orders that stand: 185 whole events."""
    books = _read(real_data("databento_glbx_dbn/orderbooks_mbo_2024-05-08.dbn.zst"))
    assert books.symbol == "ESM4"
    assert books.half_spread[-1] * 2 == 0.25  # one tick
    steps = np.diff(books.ask_price[-1])
    assert (steps >= 0.25).all()


def _decoded(content: bytes) -> list[Any]:
    """The records as the vendor's own decoder sees them."""
    decoder = databento_dbn.DBNDecoder()
    decoder.write(content)
    return [one for one in decoder.decode() if not isinstance(one, databento_dbn.Metadata)]


def _fuzzed(
    folder: Path, n_levels: int, damage: str, data: st.DataObject
) -> tuple[Path, bytes, bytes]:
    """A file of 6 records, its content, and the content after a byte was flipped or the end cut off."""
    action = [b"A", b"T", b"C", b"T", b"A", b"M"]
    records = _records(6, n_levels, action=action, price=10_005_000_000, size=3)
    suffix = data.draw(st.sampled_from([".dbn", ".dbn.zst"]))
    path = _write(folder / f"book{suffix}", records, f"mbp-{n_levels}")
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if damage == "cut":
        damaged = bytes(content[:position])
    else:
        content[position] ^= data.draw(st.integers(1, 255))
        damaged = bytes(content)
    whole = path.read_bytes()
    path.write_bytes(damaged)
    return path, whole, damaged


@pytest.mark.parametrize("n_levels", [1, 10])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_gives_whole_records_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, n_levels: int, data: st.DataObject
) -> None:
    path, whole, cut = _fuzzed(tmp_path_factory.mktemp("cut"), n_levels, "cut", data)
    try:
        books = _read(path)
    except ValidationError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    assert path.suffix == ".dbn", "half a compressed file was read as if whole"
    assert (len(whole) - len(cut)) % _records(1, n_levels).itemsize == 0
    path.write_bytes(whole)
    known = _read(path)
    assert 0 < len(books) < len(known)
    assert np.array_equal(books.bid_price, known.bid_price[: len(books)])
    assert np.array_equal(books.time, known.time[: len(books)])


@pytest.mark.parametrize("n_levels", [1, 10])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_a_flipped_byte_is_refused_or_read_as_the_vendor_reads_it(
    tmp_path_factory: pytest.TempPathFactory, n_levels: int, data: st.DataObject
) -> None:
    """No checksum guards a price: what breaks no rule must at least be what the vendor's decoder sees."""
    path, _, damaged = _fuzzed(tmp_path_factory.mktemp("flip"), n_levels, "flip", data)
    try:
        books = _read(path)
    except ValidationError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    assert (np.diff(books.time) >= 0).all()
    if path.suffix != ".dbn":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            damaged = stream.read()
    records = _decoded(damaged)
    assert len(records) == len(books) == 6
    times = np.array([record.ts_event for record in records])
    assert np.array_equal(books.time, np.maximum.accumulate(times))
    assert (books.time - times < 60 * 10**9).all()
    for level in range(n_levels):
        for side in ("bid", "ask"):
            sizes = [getattr(record.levels[level], f"{side}_sz") for record in records]
            prices = (
                np.array([getattr(record.levels[level], f"{side}_px") for record in records]) / 1e9
            )
            shown = np.array(sizes) > 0
            assert books[f"{side}_size"][:, level].tolist() == sizes
            assert np.array_equal(books[f"{side}_price"][shown, level], prices[shown])
    traded = [record for record in records if record.action == databento_dbn.Action.TRADE]
    assert books.trades.size.tolist() == [record.size for record in traded]
    assert books.trades.price.tolist() == [record.price / 1e9 for record in traded]

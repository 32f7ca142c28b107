"""What own files and vendors' tables hold that must not be read as something else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, convert, iter_books, read_books

TIMES = pd.date_range("2025-03-07 10:00", periods=4, freq="s", tz="America/New_York").as_unit("ns")
FORMS = ["frame", "book.csv", "book.csv.gz", "book.parquet"]


def _wide(first_level: int = 1, time: Any = TIMES, **columns: Any) -> pd.DataFrame:
    """Four snapshots of three levels; the best bid is 50.00, the best ask 50.02."""
    frame = pd.DataFrame({"time": time})
    for k in range(3):
        frame[f"bid_price_{k + first_level}"] = 50.0 - 0.01 * k
        frame[f"bid_size_{k + first_level}"] = [7.0 + k, 8.0, 9.0, 10.0]
        frame[f"ask_price_{k + first_level}"] = 50.02 + 0.01 * k
        frame[f"ask_size_{k + first_level}"] = [3.0 + k, 4.0, 5.0, 6.0]
    return frame.assign(**columns)


def _read(frame: pd.DataFrame, form: str, folder: Path, **options: Any) -> BookSnapshots:
    if form == "frame":
        return BookSnapshots.from_frame(frame, **options)
    path = folder / form
    frame.to_parquet(path) if form.endswith("parquet") else frame.to_csv(path, index=False)
    whole = read_books(path, **options)
    in_parts = BookSnapshots.concat(list(iter_books(path, 1, **options)))
    assert np.array_equal(whole.bid_price, in_parts.bid_price, equal_nan=True)
    return whole


def _same(one: BookSnapshots, other: BookSnapshots) -> None:
    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        assert np.array_equal(one[name], other[name], equal_nan=True), name


KNOWN = BookSnapshots.from_frame(_wide())


@pytest.mark.parametrize("form", FORMS)
def test_levels_numbered_from_zero_keep_the_best(tmp_path: Path, form: str) -> None:
    _same(_read(_wide(first_level=0), form, tmp_path), KNOWN)
    assert KNOWN.bid_price[0].tolist() == [50.0, 49.99, 49.98]
    long = KNOWN.to_frame().assign(level=lambda rows: rows["level"] - 1)
    _same(_read(long, form, tmp_path), KNOWN)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("product", ["A", "B"]),
        ("Exchange", ["N", "Q"]),
        ("instrument_id", [7, 8]),
        ("publisher_id", [39, 2]),
        ("symbol", ["X", "Y"]),
        ("instr", ["X", "Y"]),
        ("Security", ["X", "Y"]),
    ],
)
def test_two_of_a_kind_are_refused_and_one_is_read_by_where(
    tmp_path: Path, form: str, column: str, values: list[Any]
) -> None:
    other = _wide().assign(**{f"bid_price_{k}": 40.0 - k for k in (1, 2, 3)})
    both = pd.concat([_wide(**{column: values[0]}), other.assign(**{column: values[1]})])
    both = both.sort_values("time", kind="stable", ignore_index=True)
    said = rf"column {column} .*{values[0]}.*where=\{{'{column}': "
    with pytest.raises(ValidationError, match=said) as refused:
        _read(both, form, tmp_path)
    assert str(values[1]) in str(refused.value)
    _same(_read(both, form, tmp_path, where={column: values[0]}), KNOWN)
    _same(_read(both, form, tmp_path, where={column: [values[0]]}), KNOWN)
    with pytest.raises(ValidationError, match=rf"no row .*{column}.* holds .*{values[0]}"):
        _read(both, form, tmp_path, where={column: "none"})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("unit", "factor"), [("s", 10**9), ("ms", 10**6), ("us", 10**3)])
def test_integer_times_of_another_unit_are_refused_until_it_is_given(
    tmp_path: Path, form: str, unit: str, factor: int
) -> None:
    for frame in (_wide(), KNOWN.to_frame()):
        ns = frame["time"].dt.tz_convert("UTC").dt.as_unit("ns").astype("int64")
        counted = frame.assign(time=ns // factor)
        with pytest.raises(ValidationError, match=rf'column time .* time_unit="{unit}"'):
            _read(counted, form, tmp_path)
        _same(_read(counted, form, tmp_path, time_unit=unit), KNOWN)
        _same(_read(frame.assign(time=ns), form, tmp_path), KNOWN)
    with pytest.raises(
        ValidationError, match="time_unit 'min' is unknown; choose from s, ms, us, ns"
    ):
        _read(counted, form, tmp_path, time_unit="min")


@pytest.mark.parametrize("form", FORMS[:2])
def test_fractions_of_a_second_are_kept(tmp_path: Path, form: str) -> None:
    seconds = [f"{1_741_359_600 + k}.000000{k}01" for k in range(1, 5)]
    books = _read(_wide(time=seconds), form, tmp_path, time_unit="s")
    assert (books.time % 10**9).tolist() == [101, 201, 301, 401]


DST_WEEKEND = ["2025-03-07T15:59:59-05:00", "2025-03-07T16:00:00-05:00"]
DST_WEEKEND += ["2025-03-10T09:30:00-04:00", "2025-03-10T09:30:01-04:00"]


@pytest.mark.parametrize("form", FORMS)
def test_text_times_on_both_sides_of_a_change_of_clocks_are_read(tmp_path: Path, form: str) -> None:
    expected = pd.to_datetime(DST_WEEKEND, utc=True).as_unit("ns").asi8
    zoned = _read(_wide(time=DST_WEEKEND), form, tmp_path)
    naive = [text[:19] for text in DST_WEEKEND]
    local = _read(_wide(time=naive), form, tmp_path, timezone="America/New_York")
    stamps = _read(_wide(time=pd.to_datetime(naive)), form, tmp_path, timezone="America/New_York")
    for books in (zoned, local, stamps):
        assert books.time.tolist() == expected.tolist()
    with pytest.raises(ValidationError, match=r"no time zone.*give timezone"):
        _read(_wide(time=naive), form, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_an_hour_that_comes_twice_is_refused_with_the_remedy(tmp_path: Path, form: str) -> None:
    times = [f"2025-11-02 {clock}" for clock in ("00:59:00", "01:30:00", "02:30:00", "03:00:00")]
    said = r"column time is not one time where clocks change in America/New_York, row 1 holds"
    with pytest.raises(ValidationError, match=rf"{said} .*write times in UTC, or with their"):
        _read(_wide(time=times), form, tmp_path, timezone="America/New_York")
    assert len(_read(_wide(time=times), form, tmp_path, timezone="UTC")) == 4
    with pytest.raises(ValidationError, match="timezone 'Mars' is unknown"):
        _read(_wide(time=times), form, tmp_path, timezone="Mars")


def test_thousands_separators_are_refused(tmp_path: Path) -> None:
    text = _wide(bid_size_1=["1,007", "2,008", "9", "10"])
    path = tmp_path / "book.csv"
    text.to_csv(path, index=False)
    for read in (lambda: BookSnapshots.from_frame(text), lambda: read_books(path)):
        with pytest.raises(ValidationError, match=r"bid_size_1 must hold numbers, row 0 .*1,007"):
            read()
    assert BookSnapshots.from_frame(pd.read_csv(path, thousands=",")).bid_size[0, 0] == 1_007


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("price", "size"), [(1e-8, 1e9), (1e9, 1e-8), (1e9, 1e9)])
def test_prices_and_sizes_of_any_scale_are_read(
    tmp_path: Path, form: str, price: float, size: float
) -> None:
    scaled = BookSnapshots(
        KNOWN.time, KNOWN.bid_price * price, KNOWN.bid_size * size,
        KNOWN.ask_price * price, KNOWN.ask_size * size,
    )  # fmt: skip
    _same(_read(scaled.to_frame(), form, tmp_path), scaled)
    factor = {"price": price, "size": size}
    names = [name for name in _wide().columns if name != "time"]
    wide = _wide().assign(**{name: _wide()[name] * factor[name.split("_")[1]] for name in names})
    _same(_read(wide, form, tmp_path), scaled)


def test_convert_reads_own_files_as_read_books_does(tmp_path: Path) -> None:
    own = _wide().rename(columns={"time": "t", "bid_price_1": "best"})
    own["t"] = TIMES.asi8 // 10**6
    both = pd.concat([own.assign(venue="N"), own.assign(venue="Q")]).sort_values("t")
    (tmp_path / "raw").mkdir()
    source, root = tmp_path / "raw" / "own.csv", tmp_path / "store"
    both.to_csv(source, index=False)
    options: dict[str, Any] = {
        "columns": {"t": "time", "best": "bid_price_1"}, "time_unit": "ms", "symbol": "XYZ",
        "where": {"venue": "N"},
    }  # fmt: skip
    for path in (source, source.parent):
        dates = convert(path, root, progress=False, **options)
        assert [date.name for date in dates] == ["date=2025-03-07"]
    _same(read_books(root), KNOWN)
    with pytest.raises(ValidationError, match=r"where does not apply to .*, a folder made by"):
        read_books(root, where={"venue": "N"})
    other = options | {"where": {"venue": "Q"}, "symbol": "OTHER"}
    convert(source, root, progress=False, **other)
    assert len(read_books(root / "symbol=OTHER")) == len(read_books(root / "symbol=XYZ")) == 4


def test_a_sampled_book_of_databento_is_read_at_its_sampling_times(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ts_recv": TIMES.tz_convert("UTC"), "ts_event": TIMES[0], "rtype": 195,
            "publisher_id": 2, "instrument_id": 7, "side": "N", "price": 50.01, "size": 3,
            "flags": 168, "sequence": 1, "bid_px_00": 50.0, "ask_px_00": 50.02, "bid_sz_00": 7,
            "ask_sz_00": 3, "bid_ct_00": 1, "ask_ct_00": 1, "symbol": "XYZ",
        }
    )  # fmt: skip
    path = tmp_path / "bbo-1s.csv"
    frame.to_csv(path, index=False)
    books = read_books(path)
    assert (books.symbol, books.n_levels, books.complete.all()) == ("XYZ", 1, True)
    assert books.time.tolist() == TIMES.asi8.tolist()
    assert books.bid_price[:, 0].tolist() == [50.0] * 4


def test_trades_with_the_book_before_them_are_said_to_be_that(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ts_event": TIMES, "action": "T", "side": ["A", "B"] * 2, "flags": 128, "price": 50.0,
            "size": 3, "bid_px_00": 50.0, "ask_px_00": 50.02, "bid_sz_00": 7, "ask_sz_00": 3,
            "symbol": "XYZ",
        }
    )  # fmt: skip
    path = tmp_path / "tbbo.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(ValidationError, match=r"tbbo\.csv is of schema tbbo, .* fetch mbp-1"):
        read_books(path)


def test_two_publishers_of_databento_are_refused_and_one_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ts_event": TIMES, "action": "A", "side": "B", "flags": 128,
            "publisher_id": [39, 2] * 2, "bid_px_00": 50.0, "ask_px_00": 50.02, "bid_sz_00": 7,
            "ask_sz_00": 3, "symbol": "XYZ",
        }
    )  # fmt: skip
    path = tmp_path / "mbp-1.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(
        ValidationError, match=r"column publisher_id must hold one value, '39', row 1 holds '2'"
    ):
        read_books(path)
    assert read_books(path, where={"publisher_id": 39}).time.tolist() == TIMES.asi8[::2].tolist()


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_vendors_layout_is_ten_lines(tmp_path: Path, form: str) -> None:
    """Tardis' snapshots, an entry of the table of layouts: microseconds, levels from zero."""
    sides = {"bid": "bids", "ask": "asks"}
    kinds = {"price": "price", "size": "amount"}
    renames = {
        f"{side}_{kind}_{k}": f"{sides[side]}[{k}].{kinds[kind]}"
        for side in sides
        for kind in kinds
        for k in range(3)
    }
    frame = _wide(first_level=0).rename(columns={"time": "timestamp", **renames})
    frame = frame.assign(timestamp=TIMES.asi8 // 1_000, exchange="x", symbol="BTC")
    books = _read(frame, form, tmp_path)
    assert books.symbol == "BTC"
    _same(books, KNOWN)


NON_ASCII = """
import sys
from pathlib import Path
from research_lib.market import convert, read_books

for path in sys.argv[1:3]:
    assert len(read_books(path)) == 4
(date,) = convert(sys.argv[1], sys.argv[3], progress=False, symbol="XYZ")
assert len(read_books(date)) == 4
"""


@pytest.mark.slow
def test_a_path_that_is_not_ascii_is_read_in_any_locale(tmp_path: Path) -> None:
    csv, parquet = tmp_path / "bücher.csv", tmp_path / "bücher.parquet"
    _wide().to_csv(csv, index=False)
    _wide().to_parquet(parquet)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", NON_ASCII, str(csv), str(parquet), str(tmp_path / "größe")],
        env=os.environ | plain, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("column", ["sym", "Instr", "Ticker", "#RIC"])
def test_the_symbol_is_read_from_whatever_its_column_is_called(tmp_path: Path, column: str) -> None:
    assert _read(_wide(**{column: "XYZ"}), "book.csv", tmp_path).symbol == "XYZ"
    other = _wide(desk_name="XYZ")
    assert _read(other, "book.csv", tmp_path, columns={"desk_name": "symbol"}).symbol == "XYZ"


@pytest.mark.parametrize(("name", "value"), [("columns", "ts:time"), ("where", ["venue", "X"])])
def test_a_word_that_is_no_mapping_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=rf"{name} must map names, .* got .*{value[0]}"):
        _read(_wide(), "book.csv", tmp_path, **{name: value})


def test_a_frame_in_pieces_is_read_whole() -> None:
    """pandas keeps the parts that a frame was put together from; real files come in them too."""
    days = [_wide(time=TIMES + pd.Timedelta(days=k), symbol="XYZ") for k in range(3)]
    assert len(BookSnapshots.from_frame(pd.concat(days, ignore_index=True))) == 12
    other = _wide(time=TIMES + pd.Timedelta(days=1), venue="B", symbol="XYZ")
    with pytest.raises(ValidationError, match="column venue must hold one value"):
        BookSnapshots.from_frame(pd.concat([_wide(venue="A", symbol="XYZ"), other]))


@pytest.mark.parametrize("column", ["product", "SecurityID", "venue_id", "#RIC", "exch", "isin"])
def test_two_of_a_kind_in_two_files_are_refused(tmp_path: Path, column: str) -> None:
    for k, value in enumerate("AB"):
        later = _wide(time=TIMES + pd.Timedelta(days=k), **{column: value})
        later.to_csv(tmp_path / f"{k}.csv", index=False)
    with pytest.raises(ValidationError, match=rf"1\.csv: column {column} must hold one value, 'A'"):
        read_books([tmp_path / "0.csv", tmp_path / "1.csv"])


def test_a_frame_of_another_symbol_is_not_renamed() -> None:
    with pytest.raises(ValidationError, match="book frame holds ABC, not XYZ"):
        BookSnapshots.from_frame(_wide(symbol="ABC"), "XYZ")


def test_a_frame_of_databentos_events_is_read_as_their_file(tmp_path: Path) -> None:
    events = pd.DataFrame({
        "ts_recv": TIMES, "ts_event": TIMES, "action": ["A", "T", "C", "A"], "side": ["B", "A"] * 2,
        "flags": [128, 128, 128, 0], "symbol": "XYZ", "price": 50.0, "size": 5,
        "bid_px_00": 50.0, "bid_sz_00": 7, "ask_px_00": 50.02, "ask_sz_00": 3,
    })  # fmt: skip
    events.to_csv(tmp_path / "events.csv", index=False)
    known, framed = read_books(tmp_path / "events.csv"), BookSnapshots.from_frame(events)
    _same(framed, known)
    assert framed.complete.tolist() == known.complete.tolist() == [True, False, True, False]
    with pytest.raises(ValidationError, match="book frame is of schema tbbo"):
        BookSnapshots.from_frame(events.assign(action="T"))


def test_a_symbol_of_digits_stays_a_text(tmp_path: Path) -> None:
    _wide().to_csv(tmp_path / "own.csv", index=False)
    command = [sys.executable, "-m", "research_lib", "convert", "own.csv", "store"]
    for symbol in ("0700", "EUR=", "O'N"):
        words = ["--read", f"symbol={symbol}"]
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert read_books(next((tmp_path / "store").glob("symbol=*"))).symbol == symbol
        shutil.rmtree(tmp_path / "store")
    assert read_books(tmp_path / "own.csv", symbol=7203).symbol == "7203"


def test_ids_given_anew_and_columns_that_say_nothing_are_no_other_book(tmp_path: Path) -> None:
    for k, number in enumerate((38, 41)):  # the venue numbers its instruments anew each day
        events = pd.DataFrame({
            "ts_event": TIMES + pd.Timedelta(days=k), "action": "A", "side": "B", "flags": 128,
            "symbol": "XYZ", "instrument_id": number, "price": 50.0, "size": 5,
            "bid_px_00": 50.0, "bid_sz_00": 7, "ask_px_00": 50.02, "ask_sz_00": 3,
        })  # fmt: skip
        events.to_csv(tmp_path / f"{k}.csv", index=False)
    assert len(read_books([tmp_path / "0.csv", tmp_path / "1.csv"])) == 8
    plain = _wide(symbol="XYZ", isin=None, ex=[0, 1, 0, 1], mic_2=list("ABAB"), exchange_time=0)
    _same(_read(plain, "book.csv", tmp_path), KNOWN)
    _same(BookSnapshots.from_frame(_wide(**{"7203": 1, "symbol": "7203"}), 7203), KNOWN)


def test_one_trade_first_among_the_rows_that_are_wanted_is_no_tbbo(tmp_path: Path) -> None:
    events = pd.DataFrame({
        "ts_event": TIMES, "action": ["A", "T", "A", "A"], "side": "B", "flags": 128,
        "symbol": ["AAA", "BBB", "BBB", "BBB"], "price": 50.0, "size": 5,
        "bid_px_00": 50.0, "bid_sz_00": 7, "ask_px_00": 50.02, "ask_sz_00": 3,
    })  # fmt: skip
    events.to_csv(tmp_path / "events.csv", index=False)
    assert len(read_books(tmp_path / "events.csv", where={"symbol": "BBB"})) == 3


@pytest.mark.parametrize("other", ["symbol_id", "ticker_name", "SYM_ROOT"])
@pytest.mark.parametrize("form", FORMS)
def test_the_symbol_is_the_plain_column_beside_its_relatives(
    tmp_path: Path, form: str, other: str
) -> None:
    plain = {"symbol_id": "symbol", "ticker_name": "ticker", "SYM_ROOT": "sym"}[other]
    assert _read(_wide(**{other: "17", plain: "AAPL"}), form, tmp_path).symbol == "AAPL"
    assert _read(_wide(**{other: "17"}), form, tmp_path).symbol == "17"


@pytest.mark.parametrize("name", ["root", "mpid", "expiry", "cusip"])
@pytest.mark.parametrize("form", FORMS)
def test_two_roots_or_makers_are_two_books(tmp_path: Path, form: str, name: str) -> None:
    with pytest.raises(ValidationError, match=f"column {name} must hold one value"):
        _read(_wide(symbol="XYZ", **{name: list("ABAB")}), form, tmp_path)

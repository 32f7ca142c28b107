"""Any format to partitioned Parquet: round trips, interruptions, conflicts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import real_data
from tqdm import tqdm

from research_lib.__main__ import main
from research_lib.errors import MissingDataError, ValidationError
from research_lib.impact import moments_of_store
from research_lib.market import BookSnapshots, Session, convert, iter_books, read_books, read_mbp10

BOOK_ARRAYS = ("time", "complete", "bid_price", "bid_size", "ask_price", "ask_size")
TRADE_ARRAYS = ("time", "price", "size", "aggressor")
DATES = ("2025-04-03", "2025-04-04", "2025-04-07")
ROWS_A_DATE = 8


def _mbp(path: Path, dates: tuple[str, ...] = DATES, symbol: str = "XYZ", hour: str = "10") -> Path:
    """Eight MBP-2 records a date, two of them trades, one level empty now and then."""
    times = [
        pd.Timestamp(f"{date} {hour}:00:0{i}", tz="America/New_York")
        for date in dates
        for i in range(ROWS_A_DATE)
    ]
    n = len(times)
    frame = pd.DataFrame(
        {"ts_event": [time.tz_convert("UTC").isoformat() for time in times], "symbol": symbol}
    )
    frame = frame.assign(
        action=(list("AATACATA") * n)[:n],
        side=(list("ABBAAABB") * n)[:n],
        flags=[128, 128, 0, 128] * (n // 4),
    )
    frame = frame.assign(price=10.0 + 0.01 * np.arange(n), size=1 + np.arange(n))
    for level in range(2):
        frame[f"bid_px_{level:02d}"] = 10.0 - 0.01 * level - 0.001 * np.arange(n)
        frame[f"ask_px_{level:02d}"] = 10.02 + 0.01 * level
        frame[f"bid_sz_{level:02d}"] = np.arange(n) % 3 if level else 5
        frame[f"ask_sz_{level:02d}"] = 100 + np.arange(n)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path


def _convert(source: Path, destination: Path, **options: Any) -> list[Path]:
    return convert(source, destination, progress=False, **options)


def _assert_same(one: BookSnapshots, other: BookSnapshots) -> None:
    assert one.symbol == other.symbol
    for name in BOOK_ARRAYS:
        assert np.array_equal(one[name], other[name], equal_nan=True), name
    assert (one.trades is None) == (other.trades is None)
    for name in TRADE_ARRAYS if one.trades is not None else ():
        assert np.array_equal(one.trades[name], other.trades[name]), name


def _files(root: Path) -> dict[str, int]:
    """Every file below `root` and when it was written."""
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }


def _aged(root: Path) -> dict[str, int]:
    """As `_files`, all made to look old first: what is written anew shows, however coarse the clock of the disk."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(0, 0))
    return _files(root)


def _file(date: Path) -> Path:
    """The one source's file of a date."""
    (path,) = date.glob("*.parquet")
    return path


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, n_batches: int) -> None:
    """Ctrl-C while the progress bar counts the rows of the n-th batch; of none: while it names the file."""
    n_counted = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def update(*_: object) -> None:
        nonlocal n_counted
        n_counted += 1
        if n_counted == n_batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(tqdm, "update", update)
    if n_batches == 0:
        monkeypatch.setattr(tqdm, "set_description", interrupt)


KILLED = """
import os, signal, sys
from tqdm import tqdm
from research_lib.market import convert

n_counted = 0

def update(*_):
    global n_counted
    n_counted += 1
    if n_counted == 3:
        os.kill(os.getpid(), signal.SIGKILL)

tqdm.update = update
convert(sys.argv[1], sys.argv[2], progress=False, batch_rows=2)
"""


@pytest.mark.parametrize("batch_rows", [1, 5, 8, 11, 1_000])
def test_what_is_read_back_is_the_source(tmp_path: Path, batch_rows: int) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    partitions = _convert(source, root, batch_rows=batch_rows)
    assert [path.relative_to(root).as_posix() for path in partitions] == [
        f"symbol=XYZ/date={date}" for date in DATES
    ]
    assert len(read_mbp10(source).trades) == 6
    _assert_same(read_books(root), read_mbp10(source))
    assert [len(books) for books in iter_books(root, 5)] == [5, 3] * 3


@pytest.mark.parametrize("batch_rows", [3_000, 100_000])
@pytest.mark.slow
def test_frog_is_read_back_as_it_was(tmp_path: Path, frog_file: Path, batch_rows: int) -> None:
    _convert(frog_file, tmp_path, batch_rows=batch_rows)
    _assert_same(read_books(tmp_path), read_mbp10(frog_file))


@pytest.mark.parametrize(
    "name",
    [
        "lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz",
        "binance_raw_stream/spot_ethusdt_20240808.jsonl.gz",
        "databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbp10_reconstructed.csv.gz",
        "databento_glbx_dbn/futures_mbp-1_2024-07-01.dbn.zst",
    ],
)
@pytest.mark.slow
def test_real_files_of_other_formats_are_read_back_as_they_were(tmp_path: Path, name: str) -> None:
    source = real_data(name)
    _convert(source, tmp_path, batch_rows=20_000)
    _assert_same(read_books(tmp_path), read_books(source))


def test_generated_books_are_read_back_as_they_were(
    tmp_path: Path, synthetic_books: BookSnapshots
) -> None:
    source = tmp_path / "frame.csv"
    synthetic_books.to_frame().to_csv(source, index=False)
    partitions = _convert(source, tmp_path / "store", symbol="XYZ")
    assert len(partitions) == 4
    _assert_same(read_books(tmp_path / "store"), read_books(source, symbol="XYZ"))


def test_dates_are_those_of_the_sessions_time_zone(tmp_path: Path) -> None:
    source = _mbp(tmp_path / "book.csv", DATES[:1], hour="21")  # 01:00 UTC of the day after
    assert [path.name for path in _convert(source, tmp_path / "a")] == ["date=2025-04-03"]
    utc = Session(24, "00:00", "23:59", "UTC")
    assert [path.name for path in _convert(source, tmp_path / "b", session=utc)] == [
        "date=2025-04-04"
    ]


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    partitions, files = _convert(source, root), _aged(root)
    status, header = source.stat(), source.read_bytes().split(b"\n")[0] + b"\n"
    source.write_bytes(header.ljust(status.st_size, b"?"))  # reading any row of it would raise
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert _convert(source, root) == partitions
    assert _files(root) == files


@pytest.mark.parametrize("n_batches", [0, 1, 5, 9, 11])
def test_an_interruption_leaves_no_half_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_batches: int
) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    with monkeypatch.context() as patch:
        _interrupt_after(patch, n_batches)
        with pytest.raises(KeyboardInterrupt):
            _convert(source, root, batch_rows=2)
    before = _aged(root)
    assert len(before) == (2 if n_batches >= 9 else 1 if n_batches >= 5 else 0)  # whole dates
    assert all(name.startswith("symbol=XYZ/date=2025-04-0") for name in before)
    _convert(source, root, batch_rows=2)
    after = _files(root)
    assert {name: after[name] for name in before} == before
    assert not [path for path in root.iterdir() if path.name.startswith("_unfinished")]
    _assert_same(read_books(root), read_mbp10(source))


@pytest.mark.slow
def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(root)], timeout=600, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert [path.name for path in root.iterdir() if path.name.startswith("_unfinished")]
    _convert(source, root, batch_rows=2)
    assert sorted(path.name for path in root.iterdir()) == ["symbol=XYZ"]
    _assert_same(read_books(root), read_mbp10(source))


def test_a_changed_source_replaces_what_came_of_it(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    _convert(source, root)
    _mbp(source, DATES[:2], hour="11")
    assert [path.name for path in _convert(source, root)] == [f"date={date}" for date in DATES[:2]]
    _assert_same(read_books(root), read_mbp10(source))
    os.utime(source, ns=(0, 0))
    assert len(_convert(source, root)) == 2


def test_a_partition_taken_away_is_made_again(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    partitions = _convert(source, root)
    files = _aged(root)
    for path in partitions[1].iterdir():
        path.unlink()
    partitions[1].rmdir()
    _convert(source, root)
    after = _files(root)
    assert after.keys() == files.keys()
    assert {name for name in files if after[name] != files[name]} == {
        str(_file(partitions[1]).relative_to(root))
    }


@pytest.mark.parametrize("afternoon_first", [False, True])
def test_morning_and_afternoon_in_two_files_become_one_date(
    tmp_path: Path, afternoon_first: bool
) -> None:
    """Two hours on the first date, one of them also on the second: each date is what both files show, in time order."""
    morning, afternoon = (
        _mbp(tmp_path / "am.csv", DATES[:2]),
        _mbp(tmp_path / "pm.csv", DATES[:1], hour="14"),
    )
    root = tmp_path / "store"
    pair = (afternoon, morning) if afternoon_first else (morning, afternoon)
    for source in pair:
        _convert(source, root)
    books = [read_books(source) for source in (morning, afternoon)]
    first_date = books[0].take(np.arange(ROWS_A_DATE))
    read = read_books(root / f"symbol=XYZ/date={DATES[0]}")
    for name in BOOK_ARRAYS:
        assert np.array_equal(
            read[name], np.concatenate([first_date[name], books[1][name]]), equal_nan=True
        ), name
    assert len(read_books(root)) == 3 * ROWS_A_DATE
    assert read_books(root).trades.size.sum() == sum(part.trades.size.sum() for part in books)
    files = _aged(root)
    assert [_convert(source, root) for source in pair] == [
        [root / f"symbol=XYZ/date={date}" for date in DATES[: 2 if source == morning else 1]]
        for source in pair
    ]
    assert _files(root) == files
    assert sorted(path.name for path in root.iterdir()) == ["symbol=XYZ"]


def test_a_folder_with_mornings_and_afternoons_is_converted_at_once(tmp_path: Path) -> None:
    for name, hour in (("b.csv", "10"), ("a.csv", "14"), ("c.csv", "12")):
        _mbp(tmp_path / "raw" / name, DATES, hour=hour)
    partitions = _convert(tmp_path / "raw", tmp_path / "store")
    assert len(partitions) == 3
    books = read_books(tmp_path / "store")
    assert len(books) == 3 * 3 * ROWS_A_DATE
    assert len(books.trades) == 3 * 6
    _mbp(tmp_path / "raw" / "d.csv", DATES[:1], hour="11")
    between = pd.read_csv(tmp_path / "raw" / "d.csv")
    between["ts_event"] = between["ts_event"].str.replace(
        "15:00:0", "14:00:03.0", regex=False
    )  # between rows of b.csv
    between.to_csv(tmp_path / "raw" / "d.csv", index=False)
    _convert(tmp_path / "raw", tmp_path / "store")
    with pytest.raises(ValidationError, match=r"column time runs backwards in time, row 0"):
        read_books(tmp_path / "store")


def test_parts_of_a_date_with_more_levels_are_padded(tmp_path: Path) -> None:
    narrow = pd.read_csv(_mbp(tmp_path / "am.csv", DATES[:1]))
    narrow[[name for name in narrow.columns if not name.endswith("_01")]].to_csv(
        tmp_path / "am.csv", index=False
    )
    wide = _mbp(tmp_path / "pm.csv", DATES[:1], hour="14")
    for source in (wide, tmp_path / "am.csv"):
        _convert(source, tmp_path / "store")
    read = read_books(tmp_path / "store")
    assert (len(read), read.n_levels) == (2 * ROWS_A_DATE, 2)
    assert (read.ask_size[:ROWS_A_DATE, 1] == 0).all()
    assert (read.ask_size[ROWS_A_DATE:, 1] > 0).all()


def test_two_sources_whose_times_overlap_are_refused_when_read(tmp_path: Path) -> None:
    one, other = _mbp(tmp_path / "a.csv", DATES[:2]), _mbp(tmp_path / "b.csv", DATES[1:])
    for source in (one, other):
        _convert(source, tmp_path / "store")
    assert len(read_books(tmp_path / f"store/symbol=XYZ/date={DATES[0]}")) == ROWS_A_DATE
    with pytest.raises(
        ValidationError,
        match=r"date=2025-04-04/.*parquet: column time runs backwards in time, row 0",
    ):
        read_books(tmp_path / "store")


def test_a_source_that_changes_replaces_its_own_part_of_a_date(tmp_path: Path) -> None:
    morning, afternoon = (
        _mbp(tmp_path / "am.csv", DATES[:1]),
        _mbp(tmp_path / "pm.csv", DATES[:1], hour="14"),
    )
    root = tmp_path / "store"
    for source in (morning, afternoon):
        _convert(source, root)
    files = _aged(root)
    _mbp(morning, DATES[:1], hour="11")
    _convert(morning, root)
    after = _files(root)
    assert {name.split("/")[-1][:2] for name in files if after[name] != files[name]} == {"am"}
    books = [read_books(source) for source in (morning, afternoon)]
    _assert_same(read_books(root), BookSnapshots.concat(books))


def test_another_session_converts_anew(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv", DATES[:1], hour="21"), tmp_path / "store"
    _convert(source, root)
    (date,) = _convert(source, root, session=Session(1, "00:00", "23:59", "UTC"))
    assert [path.parent.name for path in root.glob("*/*/*.parquet")] == [date.name]
    assert date.name == "date=2025-04-04"
    _assert_same(read_books(root), read_mbp10(source))


def test_a_folder_is_converted_file_by_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tmp_path / "raw"
    for name, symbol in (("a.csv", "AAA"), ("deep/b.csv", "BBB")):
        _mbp(raw / name, symbol=symbol)
    (raw / "README.md").write_text("what this is")
    (raw / ".gitkeep").touch()
    root = raw / "store"
    partitions = _convert(raw, root)
    assert {path.parent.name for path in partitions} == {"symbol=AAA", "symbol=BBB"}
    assert len(partitions) == 6
    assert "README.md" in caplog.text
    assert _convert(raw, root) == partitions  # the store inside is no source
    with pytest.raises(ValidationError, match=r"holds 2 symbols \(AAA, BBB\)"):
        read_books(root)
    _assert_same(read_books(root / "symbol=BBB"), read_mbp10(raw / "deep/b.csv"))


def test_of_a_lobster_pair_the_orderbook_is_converted_and_the_messages_are_watched(
    tmp_path: Path,
) -> None:
    raw, root = tmp_path / "raw", tmp_path / "store"
    raw.mkdir()
    book = raw / "XYZ_2012-06-21_34200000_57600000_orderbook_1.csv"
    message = raw / "XYZ_2012-06-21_34200000_57600000_message_1.csv"
    book.write_text("100200,10,100000,20\n100200,10,100000,15\n")
    message.write_text("34200.1,1,1,20,100000,1\n34200.2,4,1,5,100000,1\n")
    assert len(_convert(raw, root)) == 1
    assert _convert(message, root) == _convert(book, root)
    assert read_books(root).trades.size.tolist() == [5]
    message.write_text("34200.1,1,1,20,100000,1\n34200.25,4,1,5,100000,1\n")
    _convert(raw, root)
    _assert_same(read_books(root), read_books(book))
    book.unlink()
    with pytest.raises(ValidationError, match=r"raw holds no file of a known format"):
        _convert(raw, root)


def test_books_without_a_symbol_are_stored_under_the_one_given(
    tmp_path: Path, synthetic_books: BookSnapshots
) -> None:
    source, root = tmp_path / "frame.csv", tmp_path / "store"
    synthetic_books.to_frame().to_csv(source, index=False)
    with pytest.raises(
        ValidationError, match=r"frame\.csv names no symbol to store it by; give symbol="
    ):
        _convert(source, root)
    assert main(["convert", str(source), str(root), "--read", "symbol=XYZ"]) == 0
    assert read_books(root).symbol == "XYZ"
    _convert(source, root, symbol="ABC")
    assert read_books(root).symbol == "ABC"
    with pytest.raises(ValidationError, match=r"holds XYZ, not ABC; leave symbol out"):
        _convert(_mbp(tmp_path / "named.csv"), root, symbol="ABC")


def test_damaged_partitions_and_sources_are_named(tmp_path: Path) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    books = _file(_convert(source, root)[0])
    books.write_bytes(books.read_bytes()[:100])
    with pytest.raises(ValidationError, match=r"date=2025-04-03/book.csv-.*parquet cannot be read"):
        read_books(root)
    os.utime(source, ns=(0, 0))
    with pytest.raises(ValidationError, match=r"date=2025-04-03/book.csv-.*parquet cannot be read"):
        _convert(source, root)
    with pytest.raises(MissingDataError, match=r"nowhere.csv does not exist"):
        _convert(tmp_path / "nowhere.csv", root)
    with pytest.raises(ValidationError, match=r"book.csv is a file; give a folder"):
        _convert(source, source)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValidationError, match=r"empty holds no file of a known format"):
        _convert(empty, root)


def test_the_command_line_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, root = _mbp(tmp_path / "book.csv"), tmp_path / "store"
    assert main(["convert", str(source), str(root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(root / f"symbol=XYZ/date={date}") for date in DATES
    ]
    assert main(["convert", str(tmp_path / "nowhere"), str(root)]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_the_command_line_takes_the_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _mbp(tmp_path / "book.csv", DATES[:1], hour="21")  # 01:00 UTC of the day after
    hours = ["--session", "open=00:00", "close=24:00", "timezone=UTC"]
    assert main(["convert", str(source), str(tmp_path / "utc"), *hours]) == 0
    assert capsys.readouterr().out.endswith("date=2025-04-04\n")
    evening = ["--session", "open=18:00", "close=17:00", "opens_day_before=true"]
    assert main(["convert", str(source), str(tmp_path / "globex"), *evening]) == 0
    assert capsys.readouterr().out.endswith("date=2025-04-04\n")
    lunch = [*hours, "breaks=[[11:30, 12:30], [15:00, 15:10]]"]
    assert main(["convert", str(source), str(tmp_path / "lunch"), *lunch]) == 0
    assert main(["convert", str(source), str(tmp_path / "none"), "--session", "breaks=noon"]) == 2
    assert "breaks must be a list" in capsys.readouterr().err
    assert main(["convert", str(source), str(tmp_path / "none"), "--session", "close=25:00"]) == 2
    assert "close '25:00' is not a time of day" in capsys.readouterr().err


@pytest.mark.slow
def test_a_night_of_futures_belongs_to_its_trading_date(tmp_path: Path) -> None:
    source = real_data("databento_glbx_dbn/futures_mbp-1_2024-07-01.dbn.zst")
    globex = Session(23, "18:00", "17:00", opens_day_before=True)
    local_dates = {path.name for path in _convert(source, tmp_path / "local")}
    assert [path.name for path in _convert(source, tmp_path / "globex", session=globex)] == [
        "date=2024-07-02"
    ]
    assert local_dates == {"date=2024-07-01"}


def test_two_publishers_of_one_symbol_are_not_one_book_of_a_store(tmp_path: Path) -> None:
    """Neither of one folder, nor of two calls that choose one each."""
    row = "time,symbol,publisher_id,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n"
    for hour, publisher, price in ((14, 2, 10.0), (15, 39, 15.0)):
        line = f"2025-04-03T{hour}:00:00Z,XYZ,{publisher},{price},300,{price + 0.02},200\n"
        (tmp_path / f"{publisher}.csv").write_text(row + line)
    sources = tmp_path / "sources"
    sources.mkdir()
    for publisher in (2, 39):
        (tmp_path / f"{publisher}.csv").rename(sources / f"{publisher}.csv")
    _convert(sources, tmp_path / "store")
    _convert(sources / "2.csv", tmp_path / "again", where={"publisher_id": 2})
    _convert(sources / "39.csv", tmp_path / "again", where={"publisher_id": 39})
    for store in ("store", "again"):
        with pytest.raises(ValidationError, match="of publisher_id '39', those before it of '2'"):
            read_books(tmp_path / store)
        with pytest.raises(ValidationError, match="of publisher_id '39', those before it of '2'"):
            list(moments_of_store(tmp_path / store, [100.0], "buy", Session(13)))

"""Vendors' files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import BookSnapshots, Session, read_mbp10

N_ROWS = 6


def _mbp10(**columns: list[Any]) -> pd.DataFrame:
    """Six MBP-10 rows after the open, in the vendor's columns; some replaced."""
    times = [f"2025-04-03T13:30:0{i}.000000001Z" for i in range(N_ROWS)]
    frame = pd.DataFrame({"ts_event": times, "action": "A", "side": "B", "flags": 128, "symbol": "XYZ"})
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
    assert books.bid_price[0].tolist() == pytest.approx([10.0 - 0.01 * level for level in range(10)])


def _doubled(cells: list[str], where: int) -> list[str]:
    return [*cells[:where], cells[where], *cells[where:]]


def test_empty_levels_become_nan_and_zero(tmp_path: Path) -> None:
    frame = _mbp10(ask_px_09=np.nan, ask_sz_09=0)
    books = read_mbp10(_write(frame, tmp_path / "book.csv"))
    assert np.isnan(books.ask_price[:, 9]).all()
    assert (books.ask_size[:, 9] == 0).all()


def test_states_inside_an_event_or_before_a_trade_are_not_complete(tmp_path: Path) -> None:
    frame = _mbp10(action=["A", "T", "C", "T", "A", "A"], side=["B", "B", "A", "N", "A", "A"], flags=[128] * 5 + [0])
    complete = read_mbp10(_write(frame, tmp_path / "book.csv")).complete
    # T with an aggressor shows the book before the trade; a hidden trade (N) leaves the book as it was.
    assert complete.tolist() == [True, False, True, True, True, False]


def test_states_before_the_opening_cross_are_not_complete(tmp_path: Path) -> None:
    frame = _mbp10(action=["A", "A", "T", "A", "A", "A"], side=["B", "A", "N", "B", "B", "B"])
    assert read_mbp10(_write(frame, tmp_path / "book.csv")).complete.tolist() == [False] * 3 + [True] * 3


def test_a_late_first_hidden_trade_is_no_opening_cross(tmp_path: Path) -> None:
    times = [f"2025-04-03T14:{i:02d}:00Z" for i in range(N_ROWS)]
    frame = _mbp10(ts_event=times, action=["A", "A", "T", "A", "A", "A"], side=["B", "A", "N", "B", "B", "B"])
    assert read_mbp10(_write(frame, tmp_path / "book.csv")).complete.all()


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    frame = _mbp10()
    paths = [_write(frame.iloc[:3], tmp_path / "a.csv"), _write(frame.iloc[3:], tmp_path / "b.csv.gz")]
    assert len(read_mbp10(paths)) == N_ROWS
    with pytest.raises(ValidationError, match=r"b.csv.gz, a.csv: time runs backwards"):
        read_mbp10(paths[::-1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"symbol": ["A", "A", "A", "B", "B", "B"]}, r"book.csv: column symbol must hold one symbol, row 3 holds 'B' after 'A'"),
        ({"ask_sz_03": [1, 2, "x", 4, 5, 6]}, r"book.csv: column ask_sz_03 must hold numbers, row 2 holds 'x'"),
        ({"ts_event": ["2025-04-03T13:30:00Z"] * 5 + ["noon"]}, r"ts_event must hold ISO 8601 times.*row 5 holds 'noon'"),
        ({"bid_px_00": [10.0] * 5 + [-1.0]}, r"book.csv: column bid_px_00 must be above 0, row 5 holds -1.0"),
        ({"ask_sz_00": [200] * 5 + [-1]}, r"book.csv: column ask_sz_00 must be at least 0, row 5 holds -1.0"),
    ],
)
def test_damaged_content_names_file_column_and_row(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
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
    with pytest.raises(ValidationError, match=r"other.csv is not MBP-10: it lacks column ask_px_09"):
        read_mbp10(_write(_mbp10().drop(columns="ask_px_09"), tmp_path / "other.csv"))
    with pytest.raises(MissingDataError, match=r"nowhere.csv does not exist"):
        read_mbp10(tmp_path / "nowhere.csv")


def test_frog_is_read_whole(frog_file: Path) -> None:
    books = read_mbp10(frog_file)
    assert len(books) == 33_286
    assert np.median(2 * books.half_spread) == pytest.approx(0.06)
    counts = books.quality
    assert [counts[name] for name in ("crossed", "locked", "empty_levels", "unordered_levels")] == [0, 0, 0, 0]


def test_frog_books_before_the_opening_cross_are_never_sampled(frog_file: Path) -> None:
    books = read_mbp10(frog_file)
    cross = np.argmax(books.time == pd.Timestamp("2025-04-03 13:30:00.976597513Z").as_unit("ns").value)
    assert not books.complete[: cross + 1].any()
    # Even half-second intervals find no book before the cross; minutes find one from the second on.
    fine = books.sample(Session(46_800))
    assert not fine.complete[:2].any()
    assert fine.complete[2]
    minutes = books.sample(Session(390))
    assert minutes.complete.sum() == 389
    assert not minutes.complete[0]


def test_frog_samples_show_what_was_visible_at_the_start(frog_file: Path) -> None:
    books = read_mbp10(frog_file)
    session = Session(390)
    sampled = books.sample(session)
    usable = books.take(books.complete)
    for t in (1, 2, 100, 389):
        last = np.flatnonzero(usable.time <= sampled.time[t])[-1]
        assert np.array_equal(sampled.bid_size[t], usable.bid_size[last])
    assert isinstance(sampled, BookSnapshots)

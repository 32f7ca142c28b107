"""Books made of orders (Databento MBO): by hand, and against another person's reconstruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books, read_books

# action, side, price, size, order, flags
EVENTS = [
    ("R", "N", "", 0, 0, 8),
    ("A", "B", 10.0, 100, 1, 128),
    ("A", "A", 10.2, 50, 2, 128),
    ("A", "A", 10.2, 70, 3, 0),  # in the middle of an event
    ("A", "B", 9.9, 30, 4, 128),
    ("T", "B", 10.2, 20, 0, 0),  # a buyer's; the fill and the removal follow
    ("F", "A", 10.2, 20, 2, 0),
    ("C", "A", 10.2, 20, 2, 128),
    ("M", "B", 10.1, 60, 1, 128),  # moved up, smaller
    ("C", "A", 10.2, 30, 2, 128),
    ("C", "B", 9.0, 10, 99, 128),  # of before the recording
]


def written(folder: Path, events: list[tuple[object, ...]]) -> Path:
    columns = ["action", "side", "price", "size", "order_id", "flags"]
    frame = pd.DataFrame(events, columns=columns)
    times = pd.date_range("2025-07-17 14:00", periods=len(frame), freq="1s", tz="UTC")
    frame.insert(0, "ts_event", times.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    frame.insert(0, "ts_recv", frame["ts_event"])
    frame.assign(symbol="XYZ").to_csv(folder / "mbo.csv", index=False)
    return folder / "mbo.csv"


def test_orders_add_up_to_levels_after_each_whole_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    books = read_books(written(tmp_path, EVENTS))
    best = [
        [books[name][row, 0] for name in ("bid_price", "bid_size", "ask_price", "ask_size")]
        for row in range(len(books))
    ]
    nan = np.nan
    expected = [
        [10.0, 100, nan, 0],
        [10.0, 100, 10.2, 50],
        [10.0, 100, 10.2, 120],
        [10.0, 100, 10.2, 100],
        [10.1, 60, 10.2, 100],
        [10.1, 60, 10.2, 70],
        [10.1, 60, 10.2, 70],
    ]
    assert np.array_equal(best, expected, equal_nan=True)
    assert books.bid_price[-1, 1] == 9.9
    assert books.trades is not None
    assert books.trades.signed_size.tolist() == [20.0]
    assert "1 events are of orders that were entered before the recording" in caplog.text


def test_an_order_without_a_price_is_named(tmp_path: Path) -> None:
    events = [*EVENTS[:2], ("A", "B", 0.0, 10, 5, 128)]
    with pytest.raises(ValidationError, match=r"column price of an order must be above 0.*row 2"):
        read_books(written(tmp_path, events))


def test_arl_agrees_with_the_reconstruction() -> None:
    """All states at whose time the reconstruction has one; what differs is said here.

    The reconstruction has a row for each event within its ten levels, ours a state for each whole
    event. They are compared at the last row of each time at which an event ends.
    """
    folder = "databento_xnas_arl_mbo_mbp/ARL_2025-07-17"
    orders = read_books(real_data(f"{folder}.mbo.csv.gz"))
    other = read_books(real_data(f"{folder}.mbp10_reconstructed.csv.gz"))
    ours, theirs = _last_of_each_time(orders), _last_of_each_time(other)
    common, here, there = np.intersect1d(ours.time, theirs.time, return_indices=True)
    assert len(common) > 3_000
    same = np.ones(len(common), bool)
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        same &= np.isclose(ours[name][here], theirs[name][there], equal_nan=True).all(axis=1)
    assert same.mean() > 0.99, f"{np.sum(~same)} of {len(same)} states differ"


def _last_of_each_time(books: BookSnapshots) -> BookSnapshots:
    return books.take(np.flatnonzero(np.diff(books.time, append=-1) != 0))


def test_trades_after_the_last_whole_event_are_kept(tmp_path: Path) -> None:
    events = [*EVENTS[:3], ("T", "A", 10.0, 7, 0, 0)]
    parts = list(iter_books(written(tmp_path, events), 2))
    sizes = [size for part in parts if part.trades is not None for size in part.trades.size]
    assert sizes == [7.0]

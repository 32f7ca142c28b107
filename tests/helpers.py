"""What several test modules build."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from research_lib.config import data_folder
from research_lib.market import BookSnapshots


def real_data(relative: str) -> Path:
    """A file of real data, or a skip that names it."""
    path = data_folder() / relative
    if not path.is_file():
        pytest.skip(f"{relative} is not in RESEARCH_DATA ({data_folder()})")
    return path


def one_book(bid: list[tuple[float, float]], ask: list[tuple[float, float]]) -> BookSnapshots:
    """One snapshot from (price, size) levels, at 10:00 New York."""
    bid_price, bid_size = np.array(bid, float).T
    ask_price, ask_size = np.array(ask, float).T
    time = np.array([1_704_207_600_000_000_000], dtype=np.int64)  # 2024-01-02 15:00 UTC
    return BookSnapshots(time, bid_price[None], bid_size[None], ask_price[None], ask_size[None])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Until it holds; a failure that names what never came, and not a test that hangs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)

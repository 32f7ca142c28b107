"""Real books that several of these tests read."""

from __future__ import annotations

import pytest
from helpers import real_data

from research_lib.market import BookSnapshots, read_books


@pytest.fixture(scope="session")
def goog_books() -> BookSnapshots:
    """A whole day, 147,916 books with their trades."""
    return read_books(real_data("lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz"))


@pytest.fixture(scope="session")
def frog_books(frog_file: object) -> BookSnapshots:
    return read_books(frog_file)  # type: ignore[arg-type]

"""Real days, sampled to minutes once for all tests of this folder."""

from __future__ import annotations

import pytest
from helpers import real_data

from research_lib.evaluation import Ladder
from research_lib.market import BookSnapshots, Session, assess, read_books

FILES = {
    "FROG": "databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz",
    "GOOG": "lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz",
}
MINUTES = Session(390)


@pytest.fixture(scope="session")
def real_books() -> dict[str, BookSnapshots]:
    """FROG and GOOG, one day of 390 minutes each."""
    read = {name: read_books(real_data(path), session=MINUTES) for name, path in FILES.items()}
    return {name: assess(books, MINUTES)[0].sample(MINUTES) for name, books in read.items()}


@pytest.fixture(scope="session")
def real_ladders(real_books: dict[str, BookSnapshots]) -> dict[tuple[str, str], Ladder]:
    """By name and side."""
    return {
        (name, side): Ladder.of(books, side)
        for name, books in real_books.items()
        for side in ("buy", "sell")
    }

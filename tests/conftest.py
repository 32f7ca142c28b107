"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import Family, real_data
from hypothesis import HealthCheck, settings

from research_lib.market import BookSnapshots, Session, SyntheticMarket, read_books

# The same examples everywhere, and none that a busy machine is too slow for.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _guard_global_random_state() -> Iterator[None]:
    """No code under test may draw from NumPy's global generator."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert np.array_equal(before, np.random.get_state()[1]), "the global random state was used"  # noqa: NPY002


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """A door that a test opened configures the library's logger; the next test finds it as it was."""
    logger = logging.getLogger("research_lib")
    before = logger.propagate, logger.level, list(logger.handlers)
    yield
    logger.propagate, logger.level, logger.handlers[:] = before


@pytest.fixture
def family() -> Iterator[Family]:
    """To start processes with: none outlives the test, whatever became of it."""
    started = Family()
    yield started
    started.end()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20251122)


@pytest.fixture(scope="session")
def frog_file() -> Path:
    return real_data("databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz")


@pytest.fixture(scope="session")
def goog_books() -> BookSnapshots:
    """A whole day, 147,916 books with their trades."""
    return read_books(real_data("lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz"))


@pytest.fixture(scope="session")
def frog_books(frog_file: Path) -> BookSnapshots:
    return read_books(frog_file)


@pytest.fixture(scope="session")
def synthetic_books() -> BookSnapshots:
    """Four synthetic days of thirteen half-hours, 12 levels a side."""
    return SyntheticMarket(session=Session(13)).books(52, 12, np.random.default_rng(3))

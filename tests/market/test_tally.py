"""Quality counted batch by batch against quality counted at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import real_data
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import (
    BookQuality,
    BookSnapshots,
    QualityPolicy,
    Session,
    assess,
    assess_batches,
    iter_books,
    read_books,
)

KINDS = list(assess_batches([]).counts)
KEEP_ALL = QualityPolicy(**dict.fromkeys(KINDS, "keep"))  # type: ignore[arg-type]
ARL = "databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbp10_reconstructed.csv.gz"
MINUTE = 60 * 10**9
MONDAY_OPEN = 1_736_173_800 * 10**9  # 2025-01-06 09:30 New York


def _cut(books: BookSnapshots, cuts: Sequence[int]) -> Iterator[BookSnapshots]:
    for start, stop in zip([0, *cuts], [*cuts, len(books)], strict=True):
        yield books.take(np.arange(start, stop))


@st.composite
def _troubled(draw: st.DrawFn) -> BookSnapshots:
    """Up to four days around the session, on few prices, with every trouble there is."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 60))
    day = np.sort(rng.integers(0, 4, n))
    time = np.sort(MONDAY_OPEN + day * 24 * 60 * MINUTE + rng.integers(-60, 450, n) * MINUTE)
    level = 10.0 * 4.0 ** rng.integers(
        0, 2, (n, 1)
    )  # a state of four times the price may be a stub
    bid = level - 0.01 * rng.integers(-1, 4, (n, 2))
    ask = level + 0.01 * rng.integers(0, 4, (n, 2))
    ask[rng.random(n) < 0.1, 1] = 2147.48
    sizes = rng.integers(0, 3, (2, n, 2)).astype(float)
    sizes[0][rng.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0.0
    sizes[1][rng.random(n) < 0.1, 1] = np.nan
    return BookSnapshots.flagging(
        time=time,
        bid_price=bid,
        bid_size=sizes[0],
        ask_price=ask,
        ask_size=sizes[1],
        complete=rng.random(n) > 0.1,
    )


@settings(max_examples=60, deadline=None)
@given(_troubled(), st.data())
@pytest.mark.slow
def test_batches_cut_anywhere_are_assessed_as_the_whole(
    books: BookSnapshots, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(books)), max_size=8)))
    session = Session(13)
    assert (
        assess_batches(_cut(books, cuts), session, KEEP_ALL) == assess(books, session, KEEP_ALL)[1]
    )


@settings(max_examples=40, deadline=None)
@given(_troubled(), st.sampled_from(KINDS), st.data())
@pytest.mark.slow
def test_a_refusal_says_the_same(books: BookSnapshots, kind: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(books)), max_size=8)))
    policy = QualityPolicy(**{**dict.fromkeys(KINDS, "keep"), kind: "raise"})  # type: ignore[arg-type]
    if not assess(books, policy=KEEP_ALL)[1][kind]:
        assert assess_batches(_cut(books, cuts), policy=policy)[kind] == 0
        return
    with pytest.raises(ValidationError) as whole:
        assess(books, policy=policy)
    with pytest.raises(ValidationError) as cut:
        assess_batches(_cut(books, cuts), policy=policy)
    assert str(cut.value) == str(whole.value)


@pytest.fixture(scope="module")
def real_books(frog_file: Path) -> list[tuple[BookSnapshots, BookQuality]]:
    """ARL and FROG, and what is counted of the whole."""
    read = [read_books(path) for path in (real_data(ARL), frog_file)]
    return [(books, assess(books, policy=KEEP_ALL)[1]) for books in read]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_arl_and_frog_cut_at_random_rows_are_assessed_as_the_whole(
    real_books: list[tuple[BookSnapshots, BookQuality]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for books, whole in real_books:
        cuts = np.sort(rng.integers(0, len(books) + 1, 12)).tolist()
        assert assess_batches(_cut(books, cuts), policy=KEEP_ALL) == whole


def test_arl_streamed_from_its_file_shows_every_trouble() -> None:
    quality = assess_batches(iter_books(real_data(ARL), 500))
    assert quality == assess(read_books(real_data(ARL)))[1]
    assert (quality["out_of_session"], quality["empty_levels"]) == (273, 227)
    assert quality["stub_quotes"] > 0
    assert quality.longest_gap_seconds == pytest.approx(1_908, abs=1)


def test_days_without_a_usual_mid_take_the_nearest_before_or_the_first_after() -> None:
    """One-sided books on the first and the third day; the fourth day's ask is a stub of the second's and third's."""
    time = MONDAY_OPEN + 24 * 60 * MINUTE * np.arange(4)
    books = BookSnapshots(
        time,
        bid_price=[[np.nan], [10.0], [np.nan], [20.0]],
        bid_size=[[0.0], [1.0], [0.0], [1.0]],
        ask_price=[[16.0], [10.1], [16.0], [20.1]],
        ask_size=[[1.0], [1.0], [1.0], [1.0]],
    )
    for cuts in ([], [1], [2], [3], [1, 2, 3]):
        assert (
            assess_batches(_cut(books, cuts))["stub_quotes"] == assess(books)[1]["stub_quotes"] == 2
        )
    first_after = books.take([0, 1])  # the last day is the first that has one
    assert (
        assess_batches([first_after])["stub_quotes"] == assess(first_after)[1]["stub_quotes"] == 1
    )


def test_no_batch_has_an_empty_report() -> None:
    quality = assess_batches([])
    assert (quality.rows, quality.first, quality.last, set(quality.counts.values())) == (
        0,
        "",
        "",
        {0},
    )


def test_batches_out_of_order_are_refused() -> None:
    books = BookSnapshots(
        MONDAY_OPEN + np.arange(2), [[10.0]] * 2, [[1.0]] * 2, [[10.1]] * 2, [[1.0]] * 2
    )
    with pytest.raises(ValidationError, match="time runs backwards from one batch to the next"):
        assess_batches([books.take([1]), books.take([0])])

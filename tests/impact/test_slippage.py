"""The walk, against a plain twin, by hand, and against another person's walk of a real day."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers import one_book, real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.impact import SlippageCurves, slippage_curves, walk_book
from research_lib.market import BookSnapshots, read_mbp10


def plain_walk(prices: list[float], sizes: list[float], shares: float) -> tuple[float, float]:
    """Average price of what was filled and shares filled, level by level."""
    paid = filled = 0.0
    for price, size in zip(prices, sizes, strict=True):
        if size > 0 and np.isfinite(price):
            taken = min(size, shares - filled)
            paid += taken * price
            filled += taken
    return (paid / filled if filled else np.nan), filled


def test_walk_by_hand() -> None:
    # 100 at 10, then 50 of 80 at 11, then nothing beyond 180.
    average = walk_book([10.0, 11.0], [100, 80], [100, 150, 180, 181])
    assert average[:3] == pytest.approx([10.0, (1000 + 550) / 150, (1000 + 880) / 180])
    assert np.isnan(average[3])


@settings(max_examples=200, deadline=None)
@given(
    sizes=arrays(float, 8, elements=st.one_of(st.just(0.0), st.floats(0.5, 1e6))),
    gaps=arrays(float, 8, elements=st.floats(1e-4, 10)),
    shares=st.floats(1e-3, 1e7),
    base=st.sampled_from([1e-4, 1.0, 1e5]),
)
def test_walk_equals_its_plain_twin(
    sizes: NDArray[np.float64], gaps: NDArray[np.float64], shares: float, base: float
) -> None:
    prices = base * (1 + np.cumsum(gaps))
    average = walk_book(prices, sizes, [shares])[0]
    expected, filled = plain_walk(prices.tolist(), sizes.tolist(), shares)
    if filled < shares:
        assert np.isnan(average)
    else:
        assert average == pytest.approx(expected, rel=1e-12)


def test_levels_with_nan_prices_or_no_size_are_passed_over() -> None:
    assert walk_book([10.0, np.nan, 12.0], [5, 100, 5], [10.0])[0] == pytest.approx(11.0)
    assert walk_book([10.0, 11.0, 12.0], [5, 0, 5], [10.0])[0] == pytest.approx(11.0)
    assert np.isnan(walk_book([np.nan], [0.0], [1.0])[0])


def test_buy_and_sell_mirror_each_other() -> None:
    books = one_book([(99, 10), (97, 10)], [(101, 10), (103, 10)])
    buy, sell = (slippage_curves(books, [5, 20], side) for side in ("buy", "sell"))
    assert buy.slippage.tolist() == [[1.0, 2.0]]
    assert np.array_equal(buy.slippage, sell.slippage)
    assert buy.impact.tolist() == [[0.0, 1.0]]


def test_unordered_levels_are_walked_from_the_best() -> None:
    ordered = one_book([(99, 10), (98, 20)], [(101, 10), (102, 20)])
    swapped = one_book([(99, 10), (98, 20)], [(102, 20), (101, 10)])
    assert slippage_curves(ordered, [15], "buy").average_price == pytest.approx(
        slippage_curves(swapped, [15], "buy").average_price
    )


def test_a_crossed_book_gives_negative_slippage() -> None:
    crossed = one_book([(101, 10)], [(100, 10)])
    assert slippage_curves(crossed, [5], "buy").slippage.tolist() == [[-0.5]]


def test_beyond_visible_depth_the_average_is_nan_and_the_frame_a_flagged_lower_bound() -> None:
    books = one_book([(99, 10), (98, 10)], [(101, 10), (102, 10)])
    curves = slippage_curves(books, [20, 40], "buy")
    assert curves.filled.tolist() == [[20, 20]]
    assert np.isnan(curves.average_price[0, 1])
    row = curves.to_frame().iloc[1]
    # 10 at 101, 10 at 102, and the missing 20 at the last visible level.
    assert row["avg_price"] == pytest.approx((1010 + 1020 + 20 * 102) / 40)
    assert row["censored"]
    assert not curves.to_frame().iloc[0]["censored"]


def test_batches_and_threads_change_nothing(synthetic_books: BookSnapshots) -> None:
    sizes = np.array([50.0, 500.0, 5000.0])
    whole = slippage_curves(synthetic_books, sizes, "sell")
    for options in ({"batch_size": 7}, {"batch_size": 7, "parallel": True}):
        again = slippage_curves(synthetic_books, sizes, "sell", **options)  # type: ignore[arg-type]
        assert np.array_equal(whole.lower_bound, again.lower_bound)
        assert np.array_equal(whole.filled, again.filled)


def test_books_of_which_none_has_both_sides_are_refused() -> None:
    books = one_book([(99, 10)], [(np.nan, 0)])
    curves = slippage_curves(books, [5], "buy")
    assert curves.filled.tolist() == [[0]]
    with pytest.raises(ValidationError, match="none of 1 books has both sides"):
        curves.to_frame()


def test_a_book_without_a_side_does_not_shift_the_others_intervals(synthetic_books: BookSnapshots) -> None:
    size = synthetic_books.ask_size[:13].copy()
    size[4] = 0
    day = dataclasses.replace(synthetic_books.take(np.arange(13)), ask_size=size)
    frame = slippage_curves(day, [100], "buy").to_frame()
    assert frame["interval"].tolist() == [t for t in range(13) if t != 4]


def test_the_session_is_cut_by_distinct_times_of_day(synthetic_books: BookSnapshots) -> None:
    frame = slippage_curves(synthetic_books, [100], "buy").to_frame()
    assert frame["interval"].tolist() == list(range(13)) * 4
    assert slippage_curves(synthetic_books, [100], "buy").to_frame(26)["interval"].tolist() == list(range(0, 26, 2)) * 4


def test_books_outside_the_session_are_refused() -> None:
    books = one_book([(99, 10)], [(101, 10)])
    night = BookSnapshots(books.time + 10 * 3_600 * 10**9, *(getattr(books, n) for n in books.keys()[1:5]))
    with pytest.raises(ValidationError, match="1 of 1 snapshots are outside the session 09:30-16:00"):
        slippage_curves(night, [5], "buy").to_frame()


@pytest.mark.parametrize("sizes", [[0.0], [100, -5], [np.nan], [np.inf], [], [[1.0]]])
def test_impossible_trade_sizes_are_refused(sizes: object) -> None:
    with pytest.raises(ValidationError, match="trade_sizes must be"):
        slippage_curves(one_book([(99, 1)], [(101, 1)]), sizes, "buy")  # type: ignore[arg-type]


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValidationError, match='side must be "buy" or "sell", got \'long\''):
        slippage_curves(one_book([(99, 1)], [(101, 1)]), [1.0], "long")


def test_all_6240_slippages_of_the_third_party_walk_of_frog(frog_file: object) -> None:
    """Their rule: first record of each UTC minute; where depth runs out, the average over what was filled."""
    theirs = pd.read_csv(
        real_data("databento_xnas_mbp10/FROG_2025-04-03.thirdparty_bookwalk.csv.gz"), parse_dates=["timestamp"]
    )
    books = read_mbp10(frog_file)  # type: ignore[arg-type]
    minute = books.time // 60_000_000_000
    first = books.take(np.flatnonzero(np.diff(minute, prepend=-1) > 0))
    sizes = np.sort(theirs["order_size"].unique()).astype(float)
    ours = pd.concat([_filled_average(first, slippage_curves(first, sizes, side)) for side in ("buy", "sell")])
    key = pd.to_datetime(theirs["timestamp"], utc=True).dt.as_unit("ns").astype("int64") // 60_000_000_000
    merged = theirs.assign(minute=key).merge(ours, on=["minute", "side", "order_size"], how="left", validate="1:1")
    assert len(merged) == 6_240
    assert merged["ours"].notna().all()
    assert np.abs(merged["slippage"] - merged["ours"]).max() < 1e-6
    assert int(merged["partial"].sum()) == 1_522


def _filled_average(books: BookSnapshots, curves: SlippageCurves) -> pd.DataFrame:
    """Slippage of what was filled: our lower bound without the rest that it prices at the last of ten levels."""
    rest = curves.trade_sizes - curves.filled
    last = books.levels(curves.side)[0][:, [-1]]
    average = (curves.lower_bound * curves.trade_sizes - rest * last) / curves.filled
    sign = 1.0 if curves.side == "buy" else -1.0
    return pd.DataFrame(
        {
            "minute": np.repeat(books.time // 60_000_000_000, len(curves.trade_sizes)),
            "side": curves.side,
            "order_size": np.tile(curves.trade_sizes, len(books)).astype(int),
            "ours": (sign * (average - curves.mid[:, None])).ravel(),
            "partial": curves.censored.ravel(),
        }
    )

"""Slippage of many books: by hand, by its symmetries, and against another person's walk of a
real day.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from helpers import one_book, real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.impact import SlippageCurves, slippage_curves
from research_lib.market import BookSnapshots, read_mbp10


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


def test_mid_and_touch_are_of_the_best_levels_that_hold_shares() -> None:
    books = one_book([(98, 10), (99, 5), (97, 1)], [(np.nan, 0), (103, 10), (101, 10)])
    buy, sell = (slippage_curves(books, [5], side) for side in ("buy", "sell"))
    assert (buy.mid.tolist(), buy.half_spread.tolist(), buy.touch.tolist()) == ([100], [1], [101])
    assert (sell.mid.tolist(), sell.half_spread.tolist(), sell.touch.tolist()) == ([100], [1], [99])
    assert buy.slippage.tolist() == sell.slippage.tolist() == [[1.0]]


def test_a_locked_book_costs_only_its_impact() -> None:
    locked = one_book([(100, 10), (99, 10)], [(100, 10), (101, 10)])
    for side in ("buy", "sell"):
        curves = slippage_curves(locked, [5, 20], side)
        assert curves.half_spread.tolist() == [0]
        assert curves.slippage.tolist() == curves.impact.tolist() == [[0.0, 0.5]]


def test_a_book_of_one_side_has_an_average_and_an_impact_but_no_slippage() -> None:
    curves = slippage_curves(
        one_book([(np.nan, 0)] * 2, [(101, 10), (103, 10)]), [10, 20, 30], "buy"
    )
    assert curves.average_price[0, :2].tolist() == [101, 102]
    assert curves.impact[0, :2].tolist() == [0, 1]
    assert np.isnan(curves.slippage).all()
    empty = slippage_curves(one_book([(99, 10)], [(np.nan, 0)]), [10], "buy")
    assert (empty.filled.tolist(), empty.depth.tolist()) == ([[0]], [0])
    assert np.isnan(empty.lower_bound).all()


def test_a_book_of_one_level_costs_the_half_spread_until_it_is_empty() -> None:
    curves = slippage_curves(one_book([(99, 10)], [(101, 7)]), [7, 7.5, 1], "buy")
    assert np.array_equal(curves.slippage, [[1, np.nan, 1]], equal_nan=True)
    assert curves.censored.tolist() == [[False, True, False]]
    assert curves.lower_bound.tolist() == [[101, 101, 101]]


def test_every_name_is_answered_as_an_item() -> None:
    curves = slippage_curves(one_book([(99, 10)], [(101, 7)]), [7, 8], "buy")
    for name in ("average_price", "slippage", "impact", "filled", "censored", "lower_bound"):
        assert curves[name].shape == (1, 2)


def test_impact_is_exactly_zero_within_the_touch(synthetic_books: BookSnapshots) -> None:
    for side in ("buy", "sell"):
        touch_size = synthetic_books.levels(side)[1][:, 0]
        for row in range(0, len(synthetic_books), 7):
            curves = slippage_curves(
                synthetic_books.take([row]), touch_size[row] * np.array([1e-6, 0.3, 1.0]), side
            )
            assert curves.impact.tolist() == [[0.0, 0.0, 0.0]]


@st.composite
def messy_books(draw: st.DrawFn) -> BookSnapshots:
    """Three books of four levels: on a grid of 1/64, in any order, duplicated, crossed or with
    holes.
    """
    shape = (3, 4)
    prices = [
        draw(arrays(float, shape, elements=st.integers(6_000, 6_800).map(lambda tick: tick / 64)))
        for _ in "ba"
    ]
    sizes = [draw(arrays(float, shape, elements=st.integers(0, 50).map(float))) for _ in "ba"]
    return BookSnapshots(np.arange(3), prices[0], sizes[0], prices[1], sizes[1])


SIZES = np.array([1.0, 37.0, 4.5, 160.0, 80.25, 1e-3, 12.0, 55.0, 99.0])


def _arrays(curves: SlippageCurves, **factors: float) -> list[NDArray[np.float64]]:
    names = (
        "mid",
        "half_spread",
        "touch",
        "depth",
        "lower_bound",
        "average_price",
        "slippage",
        "impact",
        "filled",
    )
    return [curves[name] * factors.get(name, 1.0) for name in names]


def _equal(left: list[NDArray[np.float64]], right: list[NDArray[np.float64]]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("side", ["buy", "sell"])
@given(books=messy_books(), power=st.sampled_from([-30, -3, 1, 27]))
@settings(max_examples=60, deadline=None)
def test_prices_and_costs_scale_together_exactly(
    books: BookSnapshots, power: int, side: str
) -> None:
    scale = 2.0**power
    scaled = dataclasses.replace(
        books, bid_price=books.bid_price * scale, ask_price=books.ask_price * scale
    )
    priced = dict.fromkeys(
        ("mid", "half_spread", "touch", "lower_bound", "average_price", "slippage", "impact"), scale
    )
    before, after = (slippage_curves(one, SIZES, side) for one in (books, scaled))
    assert _equal(_arrays(before, **priced), _arrays(after))


@pytest.mark.parametrize("side", ["buy", "sell"])
@given(books=messy_books(), power=st.sampled_from([-30, -3, 1, 27]))
@settings(max_examples=60, deadline=None)
def test_an_order_and_a_book_scaled_alike_cost_the_same_a_share(
    books: BookSnapshots, power: int, side: str
) -> None:
    scale = 2.0**power
    scaled = dataclasses.replace(
        books, bid_size=books.bid_size * scale, ask_size=books.ask_size * scale
    )
    before, after = (
        slippage_curves(books, SIZES, side),
        slippage_curves(scaled, SIZES * scale, side),
    )
    assert _equal(_arrays(before, depth=scale, filled=scale), _arrays(after))


@given(books=messy_books())
@settings(max_examples=60, deadline=None)
def test_a_sell_is_a_buy_on_the_mirrored_book(books: BookSnapshots) -> None:
    mirrored = BookSnapshots(
        books.time, 256 - books.ask_price, books.ask_size, 256 - books.bid_price, books.bid_size
    )
    for side, other in (("buy", "sell"), ("sell", "buy")):
        curves, mirror = (
            slippage_curves(books, SIZES, side),
            slippage_curves(mirrored, SIZES, other),
        )
        assert np.array_equal(curves.filled, mirror.filled)
        for name in (
            "slippage",
            "impact",
        ):  # the average is rounded at other prices: two roundings of 256 at most
            assert np.allclose(
                curves[name], mirror[name], rtol=0, atol=2 * np.spacing(256.0), equal_nan=True
            )


@given(books=messy_books(), order=st.permutations(range(len(SIZES))))
@settings(max_examples=60, deadline=None)
def test_trade_sizes_in_another_order_give_the_same_columns_in_that_order(
    books: BookSnapshots, order: list[int]
) -> None:
    straight, permuted = (slippage_curves(books, sizes, "buy") for sizes in (SIZES, SIZES[order]))
    assert np.array_equal(straight.lower_bound[:, order], permuted.lower_bound, equal_nan=True)
    assert np.array_equal(straight.filled[:, order], permuted.filled)


@pytest.mark.parametrize("side", ["buy", "sell"])
@given(books=messy_books())
@settings(max_examples=60, deadline=None)
def test_slippage_does_not_fall_as_the_order_grows(books: BookSnapshots, side: str) -> None:
    impact = slippage_curves(books, np.sort(SIZES), side).impact
    falls = np.diff(impact, axis=1)
    assert (falls[np.isfinite(falls)] >= -np.spacing(128.0)).all()
    assert (impact[np.isfinite(impact)] >= 0).all()


def test_batches_and_threads_change_nothing(synthetic_books: BookSnapshots) -> None:
    sizes = np.array([50.0, 500.0, 5000.0])
    whole = slippage_curves(synthetic_books, sizes, "sell")
    for options in ({"batch_size": 7}, {"batch_size": 7, "parallel": True}, {"parallel": True}):
        again = slippage_curves(synthetic_books, sizes, "sell", **options)  # type: ignore[arg-type]
        assert _equal(_arrays(whole), _arrays(again))


def batches_logged(messages: list[str]) -> list[tuple[int, int]]:
    found = [
        re.fullmatch(r"walked buy snapshots (\d+) to (\d+) of 52", message) for message in messages
    ]
    return [(int(match[1]), int(match[2])) for match in found if match]


@pytest.mark.parametrize("parallel", [False, True])
def test_no_batch_is_longer_than_asked(
    synthetic_books: BookSnapshots, caplog: pytest.LogCaptureFixture, parallel: bool
) -> None:
    """Threads may make them shorter: one batch at least for each processor."""
    with caplog.at_level(logging.INFO, "research_lib"):
        slippage_curves(
            synthetic_books, [100.0], "buy", batch_size=10, parallel=parallel, log_batches=True
        )
    found = batches_logged(caplog.messages)
    assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
    assert found[-1][1] == 52
    assert max(last - first for first, last in found) <= 10
    assert parallel or len(found) == 6


@pytest.mark.parametrize("parallel", [False, True])
def test_an_interrupt_stops_the_walk_between_batches(
    synthetic_books: BookSnapshots, caplog: pytest.LogCaptureFixture, parallel: bool
) -> None:
    """It arrives while the third batch is logged, as it would from a keyboard; no thread
    outlives the call.
    """

    def interrupt(record: logging.LogRecord) -> bool:
        if len(batches_logged([*caplog.messages, record.getMessage()])) == 3:
            raise KeyboardInterrupt
        return True

    before = threading.active_count()
    caplog.handler.addFilter(interrupt)
    try:
        with caplog.at_level(logging.INFO, "research_lib"), pytest.raises(KeyboardInterrupt):
            slippage_curves(
                synthetic_books, [100.0], "buy", batch_size=1, parallel=parallel, log_batches=True
            )
    finally:
        caplog.handler.removeFilter(interrupt)
    assert len(batches_logged(caplog.messages)) == 2
    assert threading.active_count() == before


def test_nothing_is_copied_but_what_is_returned(synthetic_books: BookSnapshots) -> None:
    books = synthetic_books.take(np.repeat(np.arange(52), 400))
    sizes = np.geomspace(10, 5_000, 60)
    one_array = len(books) * len(sizes) * 8
    curves = slippage_curves(books, sizes, "buy")
    for call in (
        lambda: slippage_curves(books, sizes, "buy"),
        lambda: curves.average_price,
        lambda: curves.slippage,
        lambda: curves.impact,
        lambda: curves.filled,
    ):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.15 * one_array


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "many"])
def test_an_impossible_batch_size_is_refused(batch_size: object) -> None:
    with pytest.raises(ValidationError, match="batch_size must be"):
        slippage_curves(one_book([(99, 1)], [(101, 1)]), [1.0], "buy", batch_size=batch_size)  # type: ignore[arg-type]


def test_books_of_which_none_has_both_sides_are_refused() -> None:
    books = one_book([(99, 10)], [(np.nan, 0)])
    curves = slippage_curves(books, [5], "buy")
    assert curves.filled.tolist() == [[0]]
    with pytest.raises(ValidationError, match="none of 1 books has both sides"):
        curves.to_frame()


def test_a_book_without_a_side_does_not_shift_the_others_intervals(
    synthetic_books: BookSnapshots,
) -> None:
    size = synthetic_books.ask_size[:13].copy()
    size[4] = 0
    day = dataclasses.replace(synthetic_books.take(np.arange(13)), ask_size=size)
    frame = slippage_curves(day, [100], "buy").to_frame()
    assert frame["interval"].tolist() == [t for t in range(13) if t != 4]


def test_the_session_is_cut_by_distinct_times_of_day(synthetic_books: BookSnapshots) -> None:
    frame = slippage_curves(synthetic_books, [100], "buy").to_frame()
    assert frame["interval"].tolist() == list(range(13)) * 4
    assert (
        slippage_curves(synthetic_books, [100], "buy").to_frame(26)["interval"].tolist()
        == list(range(0, 26, 2)) * 4
    )


def test_books_outside_the_session_are_refused() -> None:
    books = one_book([(99, 10)], [(101, 10)])
    night = BookSnapshots(
        books.time + 10 * 3_600 * 10**9, *(getattr(books, n) for n in books.keys()[1:5])
    )
    with pytest.raises(
        ValidationError, match=r"inside the session 09:30-16:00 .*: 1 of 1 rows are not"
    ):
        slippage_curves(night, [5], "buy").to_frame()


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(ValidationError, match='side must be "buy" or "sell", got \'long\''):
        slippage_curves(one_book([(99, 1)], [(101, 1)]), [1.0], "long")


def test_all_6240_slippages_of_the_third_party_walk_of_frog(frog_file: object) -> None:
    """Their rule: first record of each UTC minute; where depth runs out, the average over what
    was filled.
    """
    theirs = pd.read_csv(
        real_data("databento_xnas_mbp10/FROG_2025-04-03.thirdparty_bookwalk.csv.gz"),
        parse_dates=["timestamp"],
    )
    books = read_mbp10(frog_file)  # type: ignore[arg-type]
    minute = books.time // 60_000_000_000
    first = books.take(np.flatnonzero(np.diff(minute, prepend=-1) > 0))
    sizes = np.sort(theirs["order_size"].unique()).astype(float)
    ours = pd.concat(
        [_filled_average(first, slippage_curves(first, sizes, side)) for side in ("buy", "sell")]
    )
    key = (
        pd.to_datetime(theirs["timestamp"], utc=True).dt.as_unit("ns").astype("int64")
        // 60_000_000_000
    )
    merged = theirs.assign(minute=key).merge(
        ours, on=["minute", "side", "order_size"], how="left", validate="1:1"
    )
    assert len(merged) == 6_240
    assert merged["ours"].notna().all()
    assert np.abs(merged["slippage"] - merged["ours"]).max() < 1e-6
    assert int(merged["partial"].sum()) == 1_522


def _filled_average(books: BookSnapshots, curves: SlippageCurves) -> pd.DataFrame:
    """Slippage of what was filled: our lower bound without the rest that it prices at the last
    of ten levels.
    """
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

"""Moments: any split of the books gives the fit of one pass."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from fit_cases import walked
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.impact import (
    ImpactFit,
    ImpactMoments,
    LinearImpact,
    SlippageCurves,
    fit_impact,
    moments_of_books,
    slippage_curves,
)
from research_lib.market import BookSnapshots, Session, thin_stock

N_INTERVALS, N_DAYS = 13, 6
SIZES = np.array([200.0, 500.0, 1000.0, 2000.0])
SESSION = Session(N_INTERVALS)


@pytest.fixture(scope="module")
def books() -> BookSnapshots:
    """Six days of thirteen half-hours, ten levels: a fifth of the rows are censored."""
    return thin_stock(SESSION).books(N_INTERVALS * N_DAYS, 10, np.random.default_rng(4))


@pytest.fixture(scope="module")
def curves(books: BookSnapshots) -> SlippageCurves:
    return slippage_curves(books, SIZES, "buy")


def part(curves: SlippageCurves, rows: np.ndarray) -> ImpactMoments:
    arrays = {
        n: curves[n][rows] for n in ("time", "mid", "half_spread", "touch", "depth", "lower_bound")
    }
    return ImpactMoments.from_curves(
        SlippageCurves(side=curves.side, trade_sizes=curves.trade_sizes, **arrays), N_INTERVALS
    )


def assert_same(one: ImpactFit, other: ImpactFit, rtol: float = 1e-10) -> None:
    pd.testing.assert_frame_equal(one.params, other.params, rtol=rtol, atol=0)
    pd.testing.assert_frame_equal(one.bse, other.bse, rtol=10 * rtol, atol=0)
    for x in (150.0, 1500.0):
        assert one.curve.slippage(x) == pytest.approx(other.curve.slippage(x), rel=rtol)
    for name, value in one.metrics.items():
        assert other.metrics[name] == pytest.approx(value, rel=1e-7, nan_ok=True), name


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), n_parts=st.integers(2, 7))
@settings(max_examples=10, deadline=None)
def test_random_splits_merge_to_the_fit_of_one_pass(
    curves: SlippageCurves, seed: int, n_parts: int
) -> None:
    rng = np.random.default_rng(seed)
    of_part = rng.integers(0, n_parts, len(curves.time))
    parts = [
        part(curves, np.flatnonzero(of_part == p))
        for p in rng.permutation(n_parts)
        if (of_part == p).any()
    ]
    whole = ImpactMoments.from_curves(curves, N_INTERVALS)
    assert_same(fit_impact(ImpactMoments.merge(parts)), fit_impact(whole))


@pytest.mark.parametrize("family", ["linear", "nonlinear", "power", "sqrt", "piecewise"])
def test_added_moments_fit_every_family_as_one_pass(curves: SlippageCurves, family: str) -> None:
    first, second = part(curves, np.arange(0, 50)), part(curves, np.arange(50, len(curves.time)))
    rtol = 1e-7 if family == "power" else 1e-10  # the exponent is iterated to 1e-9
    assert_same(fit_impact(first + second, family), fit_impact(second + first, family), rtol)
    assert_same(
        fit_impact(first + second, family),
        fit_impact(ImpactMoments.from_curves(curves, N_INTERVALS), family),
        rtol,
    )


@pytest.mark.parametrize("family", ["linear", "nonlinear", "sqrt", "piecewise"])
@pytest.mark.parametrize("estimator", ["least_squares", "weighted"])
def test_moments_fit_as_rows_do(curves: SlippageCurves, family: str, estimator: str) -> None:
    rows = fit_impact(curves, family, n_intervals=N_INTERVALS, errors="day", estimator=estimator)
    moments = fit_impact(
        ImpactMoments.from_curves(curves, N_INTERVALS), family, estimator=estimator
    )
    pd.testing.assert_frame_equal(rows.params, moments.params, rtol=1e-10, atol=0)
    pd.testing.assert_frame_equal(rows.bse, moments.bse, rtol=1e-8, atol=0)
    for x in (150.0, 1500.0):
        assert rows.curve.slippage(x) == pytest.approx(moments.curve.slippage(x), rel=1e-10)
    assert moments.metrics["test_r2"] == pytest.approx(rows.metrics["test_r2"], rel=1e-8)
    assert moments.metrics["train_impact_r2"] == pytest.approx(
        rows.metrics["train_impact_r2"], rel=1e-8
    )
    assert moments.metrics["train_rmse_bps"] == pytest.approx(
        rows.metrics["train_rmse_bps"], rel=1e-3
    )
    assert moments.metrics["test_observations"] == rows.metrics["test_observations"]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 7, 40, 1000])
@pytest.mark.parametrize("sample", [True, False])
def test_streamed_batches_give_the_moments_of_all_books(
    books: BookSnapshots, batch: int, sample: bool
) -> None:
    batches = [
        books.take(np.arange(s, min(s + batch, len(books)))) for s in range(0, len(books), batch)
    ]
    streamed = moments_of_books(iter(batches), SIZES, "sell", SESSION, sample=sample)
    whole = ImpactMoments.from_curves(slippage_curves(books, SIZES, "sell"), N_INTERVALS)
    pd.testing.assert_frame_equal(streamed.cells, whole.cells, rtol=1e-12)
    assert_same(fit_impact(streamed), fit_impact(whole))


def test_books_outside_the_session_and_crossed_ones_are_left_out(
    books: BookSnapshots, caplog: pytest.LogCaptureFixture
) -> None:
    early = BookSnapshots(books.time - 8 * 3600 * 10**9, *(books[n] for n in LEVELS))
    crossed = BookSnapshots(books.time, books.bid_price + 5.0, *(books[n] for n in LEVELS[1:]))
    with caplog.at_level("INFO"):
        moments = moments_of_books([early, crossed.take(np.arange(13)),
                                    books.take(np.arange(13, 78))], SIZES, "buy",
                                   SESSION, sample=False)  # fmt: skip
    assert "13 of 13 books lack a side or are crossed: left out" in caplog.text
    assert moments.books["n"].sum() == 65
    with pytest.raises(ValidationError, match="the batches held no book"):
        moments_of_books([early], SIZES, "buy", SESSION, sample=False)


LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_batches(books: BookSnapshots) -> None:
    def peak(repeats: int) -> int:
        # Cycles that wait for the collector are no growth: it is run at each batch.
        stream = (books for _ in range(repeats) if gc.collect(1) >= 0)
        tracemalloc.start()
        moments_of_books(stream, SIZES, "buy", SESSION, sample=False)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1)
    assert peak(140) < 1.1 * peak(35)


def test_moments_that_differ_do_not_add(curves: SlippageCurves) -> None:
    one = ImpactMoments.from_curves(curves, N_INTERVALS)
    with pytest.raises(ValidationError, match=r"moments of 13 intervals.* and of 26"):
        one + ImpactMoments.from_curves(curves, 26)
    other = walked(LinearImpact(np.full(13, 1e-5), 0.01), [100.0, 200.0], 2)
    with pytest.raises(ValidationError, match="differ; give all parts the same"):
        one + ImpactMoments.from_curves(other, N_INTERVALS)
    with pytest.raises(ValidationError, match="no moments to merge"):
        ImpactMoments.merge([])
    with pytest.raises(ValidationError, match="different trade sizes"):
        ImpactMoments.from_curves(
            walked(LinearImpact(np.full(13, 1e-5), 0.01), [100.0, 100.0], 2), 13
        )


@pytest.mark.parametrize(("option", "value"), [("errors", "hc3"), ("errors", "snapshot")])
def test_what_needs_rows_is_refused_of_moments(
    curves: SlippageCurves, option: str, value: str
) -> None:
    with pytest.raises(ValidationError, match="rows; moments give"):
        fit_impact(ImpactMoments.from_curves(curves, N_INTERVALS), **{option: value})

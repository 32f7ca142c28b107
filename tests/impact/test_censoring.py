"""Censored rows as lower bounds: half of the large sizes beyond depth, and the coefficient
stays.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from research_lib.config import ModelConfig
from research_lib.impact import ImpactMoments, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, SyntheticMarket, deep_stock, thin_stock

Float = np.ndarray
BETA = 1e-5
SIZES = np.array([200.0, 500.0, 1000.0, 2000.0, 4000.0])
SESSION = Session(13)


def censoring_bias(
    books: BookSnapshots, n_levels: int, sizes: Float, session: Session | None = None
) -> dict[str, float]:
    """Relative error of the pooled linear coefficient if only the first levels are seen."""
    names = ("bid_price", "bid_size", "ask_price", "ask_size")
    shown = dataclasses.replace(books, **{name: books[name][:, :n_levels] for name in names})
    whole, frame = (
        slippage_curves(seen, sizes, "buy").to_frame(session=session) for seen in (books, shown)
    )

    def beta(rows: pd.DataFrame, way: str) -> float:
        fit = fit_impact(rows, by="pooled", censoring=way, test_fraction=0, session=session)
        return float(fit.params["beta"].iloc[0])

    true = beta(whole, "complete")
    bias = {way: beta(frame, way) / true - 1.0 for way in ("complete", "drop", "face_value")}
    return {"censored": float(frame["censored"].mean()), **bias}


def linear_books(
    depth: Float, level: Float, *, capped: bool = False, sizes: Float = SIZES
) -> pd.DataFrame:
    """Rows of books whose impact is level * x up to `depth`; what a walk would say beyond it.

    Cost is level x^2, so the last level's price is 2 level depth. `capped` bounds stop at the
    average of what was filled instead.
    """
    n, k = len(depth), len(sizes)
    d, a = depth[:, None], level[:, None]
    bound = a * d if capped else (a * d**2 + 2 * a * d * (sizes - d)) / sizes
    impact = np.where(sizes > d, bound, a * sizes)
    time = Session(n).starts([pd.Timestamp("2024-03-04").date()]).ravel()
    return pd.DataFrame({
        "time": pd.DatetimeIndex(np.repeat(time, k).astype("datetime64[ns]"), tz="UTC"),
        "interval": np.repeat(np.arange(n) * 13 // n, k), "trade_size": np.tile(sizes, n),
        "filled": np.minimum(sizes, d).ravel(), "mid_price": 50.0, "half_spread": 0.01,
        "avg_slippage": 0.01 + impact.ravel(), "censored": (sizes > d).ravel(),
    })  # fmt: skip


def beta(frame: pd.DataFrame, censoring: str = "complete") -> float:
    return float(
        fit_impact(frame, by="pooled", censoring=censoring, test_fraction=0).params["beta"].iloc[0]
    )


def test_half_of_the_large_sizes_beyond_an_informative_depth_leave_the_coefficient(
    rng: np.random.Generator,
) -> None:
    """Thin books are dear: their depth runs out first, and dropping them keeps the cheap ones."""
    depth = 2900.0 * rng.lognormal(0, 0.5, 4000)
    level = BETA * (2900.0 / depth) * rng.lognormal(0, 0.2, 4000)
    frame, truth = linear_books(depth, level), beta(linear_books(np.full(4000, 1e9), level))
    large = frame[frame["trade_size"] >= 2000]
    assert 0.45 < large["censored"].mean() < 0.55
    assert beta(frame) == pytest.approx(truth, rel=0.02)
    assert beta(frame, "drop") < 0.75 * truth
    assert beta(frame, "face_value") < 0.93 * truth


@pytest.mark.parametrize("capped", [False, True])
def test_depth_that_says_nothing_of_cost_leaves_it_too(
    rng: np.random.Generator, capped: bool
) -> None:
    """Bounds may be walked prices or stop at what was filled: the filled rows tell them apart."""
    depth, level = 2900.0 * rng.lognormal(0, 0.5, 4000), BETA * rng.lognormal(0, 0.3, 4000)
    frame, truth = (
        linear_books(depth, level, capped=capped),
        beta(linear_books(np.full(4000, 1e9), level)),
    )
    assert beta(frame) == pytest.approx(truth, rel=0.02)
    assert beta(frame.drop(columns="filled")) == pytest.approx(truth, rel=0.02)
    assert beta(frame, "face_value") < 0.93 * truth


@pytest.mark.parametrize("capped", [False, True])
def test_noise_free_censored_books_return_the_coefficient_exactly(
    rng: np.random.Generator, capped: bool
) -> None:
    depth = 2900.0 * rng.lognormal(0, 0.5, 500)
    frame = linear_books(depth, np.full(500, BETA), capped=capped)
    assert beta(frame) == pytest.approx(BETA, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("market", "limit"),
    [
        (SyntheticMarket(ModelConfig(volume_decay=0.0), session=SESSION), 0.02),
        (thin_stock(SESSION), 0.02),
        (deep_stock(SESSION), 0.02),
    ],
    ids=["plain", "thin", "deep"],
)
def test_ten_visible_levels_of_two_hundred_give_the_coefficient_of_all(
    market: SyntheticMarket, limit: float
) -> None:
    books = market.books(13 * 200, 200, np.random.default_rng(4))
    median = float(np.median(books.ask_size[:, :10].sum(axis=1)))
    bias = censoring_bias(
        books, 10, median * np.array([0.25, 0.5, 0.75, 1.0, 1.25]), session=SESSION
    )
    assert bias["censored"] > 0.25
    assert abs(bias["complete"]) < limit
    assert bias["drop"] < -0.15
    assert bias["face_value"] < -0.04


def test_on_real_books_four_levels_tell_what_ten_say(frog_books: BookSnapshots) -> None:
    books = frog_books.sample(Session(390))
    books = books.take(np.flatnonzero(np.isfinite(books.mid)))
    median = float(np.median(books.ask_size[:, :4].sum(axis=1)))
    books = books.take(np.flatnonzero(books.ask_size.sum(axis=1) >= 1.25 * median))
    bias = censoring_bias(books, 4, median * np.array([0.5, 0.75, 1.0, 1.25]))
    assert bias["censored"] > 0.2
    assert abs(bias["complete"]) < 0.5 * min(-bias["drop"], -bias["face_value"])


def test_moments_complete_as_rows_do() -> None:
    books = thin_stock(SESSION).books(13 * 20, 10, np.random.default_rng(4))
    curves = slippage_curves(books, [200, 500, 1000, 2000], "sell")
    rows = fit_impact(curves, n_intervals=13, errors="day")
    moments = fit_impact(ImpactMoments.from_curves(curves, 13))
    assert rows.diagnostics["censored"] > 100
    assert rows.diagnostics["completion"] == moments.diagnostics["completion"]
    pd.testing.assert_frame_equal(rows.params, moments.params, rtol=1e-10)
    pd.testing.assert_frame_equal(rows.bse, moments.bse, rtol=1e-9)


def test_a_size_that_no_book_filled_does_not_enter(rng: np.random.Generator) -> None:
    depth = rng.uniform(1100, 3900, 300)
    frame = linear_books(depth, np.full(300, BETA))
    fit = fit_impact(frame, test_fraction=0)
    assert set(fit.diagnostics["largest_size"]) == {2000.0}
    assert fit.params["beta"].to_numpy() == pytest.approx(np.full(13, BETA), rel=1e-8)


def test_books_without_a_filled_size_and_without_impact_at_small_sizes_are_completed(
    rng: np.random.Generator,
) -> None:
    """Half of the books fill nothing; the smallest size lies within the touch, where impact is
    0.
    """
    depth = np.where(np.arange(600) % 2, 3000.0, 150.0)
    frame = linear_books(depth, np.full(600, BETA))
    assert beta(frame) == pytest.approx(BETA, rel=1e-8)
    frame.loc[(frame["trade_size"] == 200) & ~frame["censored"], "avg_slippage"] = 0.01
    assert beta(frame) == pytest.approx(BETA, rel=0.01)


def test_gaps_in_what_was_filled_do_no_harm(rng: np.random.Generator) -> None:
    """A book may show a size and lack a smaller one: rows of two sides, or lost ones."""
    frame = linear_books(np.full(400, 3000.0), BETA * rng.lognormal(0, 0.2, 400))
    truth = beta(frame)
    lost = rng.random(len(frame)) < 0.2
    assert beta(frame[~lost]) == pytest.approx(truth, rel=0.02)


def test_more_than_62_sizes_are_completed_by_their_own_bounds(rng: np.random.Generator) -> None:
    sizes = np.linspace(100, 4000, 80)
    depth = 2900.0 * rng.lognormal(0, 0.4, 300)
    for frame in (linear_books(depth, np.full(300, BETA), sizes=sizes),
                  linear_books(depth, np.full(300, BETA), sizes=sizes, capped=True)):  # fmt: skip
        assert beta(frame) == pytest.approx(BETA, rel=1e-8)


def test_how_rows_were_completed_is_said(rng: np.random.Generator) -> None:
    walked = linear_books(np.full(50, 1500.0), np.full(50, BETA))
    assert fit_impact(walked).diagnostics["completion"] == "bounds continued with exponent 1.00"
    assert "130 censored rows" not in fit_impact(walked).summary()
    assert "100 censored rows: bounds continued with exponent 1.00" in fit_impact(walked).summary()
    unknown = fit_impact(walked.drop(columns="filled"))
    assert unknown.diagnostics["completion"] == "own level times the average book's shape"
    assert (
        fit_impact(walked, censoring="drop").diagnostics["completion"] == "censored rows left out"
    )

"""Residual diagnostics: they find what is there, and rarely what is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from frames import MID, SIZES, slippage_frame
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan, het_white

from research_lib.errors import ValidationError
from research_lib.impact import LinearImpact, fit_impact, residual_rows, residual_tests

REPETITIONS = 300
CURVE = LinearImpact(np.full(13, 2e-5), 0.01)


def residuals(values: np.ndarray) -> pd.DataFrame:
    """(n books, K sizes) residuals as rows of one day."""
    n, k = values.shape
    book = np.repeat(np.arange(n), k)
    return pd.DataFrame(
        {"snapshot": book, "book": book, "day": "2024-03-04", "interval": book,
        "trade_size": np.tile(SIZES[:k], n),
         "residual_bps": values.ravel()}
    )  # fmt: skip


@pytest.mark.slow
def test_independent_books_of_one_variance_pass_at_the_tests_level(
    rng: np.random.Generator,
) -> None:
    """Rows of a book are alike, which would reject far too often were rows taken as independent."""
    p = np.array(
        [
            residual_tests(
                residuals(rng.normal(0, 1, (200, 1)) + rng.normal(0, 0.3, (200, 5))), rng=rng
            )["p_value"].to_numpy()[:3]
            for _ in range(REPETITIONS)
        ]
    )
    rejected = (p < 0.05).sum(axis=0)
    low, high = stats.binom.ppf([0.001, 0.999], REPETITIONS, 0.05)
    assert (rejected >= low).all()
    assert (rejected <= high).all(), rejected


def test_noise_that_grows_with_size_is_found(rng: np.random.Generator) -> None:
    found = residual_tests(residuals(rng.normal(0, 1, (400, 5)) * SIZES / 100.0))
    assert found.loc["Breusch-Pagan", "p_value"] < 1e-6
    assert found.loc["White", "p_value"] < 1e-6
    assert found["p_value"].iloc[2] > 0.001


def test_books_that_remember_are_found(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 1, 2000)
    for t in range(1, 2000):
        noise[t] += 0.5 * noise[t - 1]
    found = residual_tests(residuals(np.repeat(noise[:, None], 4, axis=1)))
    assert found["p_value"].iloc[2] < 1e-6
    lag_1 = 1.0 - found.loc["Durbin-Watson", "statistic"] / 2.0
    assert lag_1 == pytest.approx(0.5, abs=4 * np.sqrt(0.75 / 2000))


def test_with_one_row_a_book_the_tests_are_statsmodels(rng: np.random.Generator) -> None:
    rows = residuals(rng.normal(0, 1, (300, 3)))
    rows = rows[np.tile([0, 1, 2], 300) == rows["book"] % 3].reset_index(drop=True)
    design = sm.add_constant(rows["trade_size"] / rows["trade_size"].max())
    table = residual_tests(rows)
    for name, test in (("Breusch-Pagan", het_breuschpagan), ("White", het_white)):
        assert table.loc[name].tolist() == pytest.approx(
            test(rows["residual_bps"], design)[:2], rel=1e-9
        )


def test_too_few_sizes_or_snapshots_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(
        ValidationError, match="2 trade sizes on 50 snapshots; the tests need 3 and 20"
    ):
        residual_tests(residuals(rng.normal(0, 1, (50, 2))))
    with pytest.raises(
        ValidationError, match="5 trade sizes on 50 snapshots; the tests need 3 and 60"
    ):
        residual_tests(residuals(rng.normal(0, 1, (50, 5))), lags=30)


def test_rounding_errors_are_not_tested(rng: np.random.Generator) -> None:
    rounding = residuals(rng.normal(0, 1e-14, (100, 5)))
    with pytest.raises(ValidationError, match="all residuals are 0, so there is nothing to test"):
        residual_tests(rounding)


def test_residuals_are_observed_less_predicted_in_bps(rng: np.random.Generator) -> None:
    frame = slippage_frame(CURVE, 3, row_noise=rng.normal(0, 1e-3, (3, 13, 5)))
    fit = fit_impact(frame, n_intervals=13, test_fraction=0)
    rows = residual_rows(fit)
    by_hand = (
        1e4
        * (frame["avg_slippage"] - fit.curve.take(frame["interval"]).slippage(frame["trade_size"]))
        / MID
    )
    assert rows["residual_bps"].tolist() == pytest.approx(by_hand.tolist(), abs=1e-9)
    assert rows["day"].unique().tolist() == ["2024-03-04", "2024-03-05", "2024-03-06"]


def test_sizes_that_books_often_cannot_fill_leave_no_residual() -> None:
    frame = slippage_frame(CURVE, 3)
    frame.loc[np.flatnonzero(frame["trade_size"] == SIZES[-1])[::3], "censored"] = True
    rows = residual_rows(fit_impact(frame, n_intervals=13, test_fraction=0))
    assert sorted(rows["trade_size"].unique()) == SIZES[:-1].tolist()

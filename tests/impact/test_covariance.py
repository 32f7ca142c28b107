"""Standard errors: their intervals hold the truth where they know of the dependence, and not where they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.impact import fit_impact
from research_lib.impact.coverage import KNOWN, coverage, simulated_slippage


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Coverage of 95 % intervals in 500 repetitions."""
    return coverage(np.random.default_rng(0))


@pytest.mark.parametrize(("dependence", "errors"), [(d, e) for d, known in KNOWN.items() for e in known])
def test_intervals_cover_the_truth_in_92_to_98_percent(table: pd.DataFrame, dependence: str, errors: str) -> None:
    assert 0.92 <= table.loc[errors, dependence] <= 0.98


@pytest.mark.parametrize(
    ("dependence", "errors"),
    [("snapshots", "hc3"), ("autocorrelated", "hc3"), ("autocorrelated", "snapshot"), ("days", "hc3"),
     ("days", "snapshot")],
)  # fmt: skip
def test_errors_that_ignore_a_dependence_are_too_short(table: pd.DataFrame, dependence: str, errors: str) -> None:
    assert table.loc[errors, dependence] < 0.9


def test_coverage_is_reproducible_and_refuses_an_unknown_dependence() -> None:
    few = [coverage(np.random.default_rng(5), 20, n_days=4, n_snapshots=3) for _ in range(2)]
    pd.testing.assert_frame_equal(*few)
    with pytest.raises(ValidationError, match="dependence 'day' is unknown; did you mean 'days'"):
        simulated_slippage(np.ones(2), "day", np.random.default_rng(0), n_days=2, n_snapshots=1, noise=0.1)


def test_errors_are_nan_where_one_cluster_or_one_row_measured(rng: np.random.Generator) -> None:
    frame = simulated_slippage(np.full(3, 1e-5), "rows", rng, n_days=1, n_snapshots=1, noise=0.3)
    for errors in ("day", "snapshot", "newey-west"):
        fit = fit_impact(frame, errors=errors, test_fraction=0, min_observations=1)
        assert fit.bse["beta"].isna().all(), errors
    single = frame.groupby("interval").head(1)
    fit = fit_impact(single, errors="hc3", test_fraction=0, min_observations=1)
    assert fit.bse["beta"].isna().all()


def test_a_coefficient_at_its_bound_has_no_error(rng: np.random.Generator) -> None:
    frame = simulated_slippage(np.full(2, 1e-5), "rows", rng, n_days=6, n_snapshots=2, noise=0.1)
    frame["avg_slippage"] = 0.01 + 1e-3 * np.sqrt(frame["trade_size"]) * rng.lognormal(0, 0.1, len(frame))
    fit = fit_impact(frame, "nonlinear", errors="day", test_fraction=0)
    assert fit.bse["alpha"].isna().all()
    linear = fit_impact(frame, "linear", errors="day", test_fraction=0)
    assert fit.bse["beta"].to_numpy() == pytest.approx(linear.bse["beta"].to_numpy(), rel=1e-9)

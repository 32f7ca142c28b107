"""Standard errors: their intervals hold the truth where they know of the dependence, and not
where they do not.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from interval_coverage import coverage, simulated_slippage
from scipy import stats

from research_lib.impact import fit_impact

# For each dependence, the errors that allow for it: their intervals must keep the level.
KNOWN = {
    "rows": ("day", "snapshot", "hc3"),
    "snapshots": ("day", "snapshot"),
    "autocorrelated": ("day",),
    "days": ("day",),
}

Float = np.ndarray


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Coverage of 95 % intervals in 500 repetitions."""
    return coverage(np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dependence", "errors"), [(d, e) for d, known in KNOWN.items() for e in known]
)
def test_intervals_cover_the_truth_in_92_to_98_percent(
    table: pd.DataFrame, dependence: str, errors: str
) -> None:
    assert 0.92 <= table.loc[errors, dependence] <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dependence", "errors"),
    [("snapshots", "hc3"), ("autocorrelated", "hc3"), ("autocorrelated", "snapshot"),
     ("days", "hc3"),
     ("days", "snapshot")],
)  # fmt: skip
def test_errors_that_ignore_a_dependence_are_too_short(
    table: pd.DataFrame, dependence: str, errors: str
) -> None:
    assert table.loc[errors, dependence] < 0.9


@pytest.mark.slow
def test_coverage_is_reproducible() -> None:
    few = [coverage(np.random.default_rng(5), 20, n_days=4, n_snapshots=3) for _ in range(2)]
    pd.testing.assert_frame_equal(*few)


def test_errors_are_nan_where_one_cluster_or_one_row_measured(rng: np.random.Generator) -> None:
    frame = simulated_slippage(np.full(3, 1e-5), "rows", rng, n_days=1, n_snapshots=1, noise=0.3)
    for errors in ("day", "snapshot"):
        fit = fit_impact(frame, errors=errors, test_fraction=0, min_observations=1)
        assert fit.bse["beta"].isna().all(), errors
    single = frame.groupby("interval").head(1)
    fit = fit_impact(single, errors="hc3", test_fraction=0, min_observations=1)
    assert fit.bse["beta"].isna().all()


def test_a_coefficient_at_its_bound_has_no_error(rng: np.random.Generator) -> None:
    frame = simulated_slippage(np.full(2, 1e-5), "rows", rng, n_days=6, n_snapshots=2, noise=0.1)
    frame["avg_slippage"] = 0.01 + 1e-3 * np.sqrt(frame["trade_size"]) * rng.lognormal(
        0, 0.1, len(frame)
    )
    fit = fit_impact(frame, "nonlinear", errors="day", test_fraction=0)
    assert fit.bse["alpha"].isna().all()
    linear = fit_impact(frame, "linear", errors="day", test_fraction=0)
    assert fit.bse["beta"].to_numpy() == pytest.approx(linear.bse["beta"].to_numpy(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["linear", "power"])
def test_the_band_is_as_wide_as_a_bootstrap_of_days_finds(family: str) -> None:
    """200 resamples of 60 days; the band's half-spread has no error here."""
    rng = np.random.default_rng(6)
    frame = simulated_slippage(np.array([1e-5]), "days", rng, n_days=60, n_snapshots=2, noise=0.3)
    band = fit_impact(frame, family, errors="day", test_fraction=0).band([1000.0, 2500.0], 0)
    rows = frame.index.to_numpy().reshape(60, -1)  # of each day, in time order
    drawn = []
    for _ in range(200):
        # The rows of the days drawn, in the places of days of their own.
        parts = frame.loc[rows[rng.integers(0, 60, 60)].ravel()].assign(
            time=frame["time"].to_numpy()
        )
        fit = fit_impact(parts.reset_index(drop=True), family, errors="day", test_fraction=0)
        drawn.append([fit.raw_curve.slippage(x)[0] for x in (1000.0, 2500.0)])
    reach = (band["upper"] - band["lower"]).to_numpy() / 2 / 2.001  # t of 59 degrees of freedom
    assert reach == pytest.approx(np.std(drawn, axis=0), rel=0.2)
    assert band["slippage"].to_numpy() == pytest.approx(np.mean(drawn, axis=0), rel=0.02)


@pytest.mark.parametrize("family", ["linear", "nonlinear", "power", "sqrt", "piecewise"])
def test_the_band_follows_from_the_coefficients_by_the_numerical_derivative(family: str) -> None:
    """The delta method: the variance of the curve is J'VJ, J by moving one parameter of the
    curve at a time.
    """
    rng = np.random.default_rng(6)
    frame = simulated_slippage(
        np.array([1e-5, 3e-5]), "rows", rng, n_days=9, n_snapshots=9, noise=0.1
    )
    frame["avg_slippage"] += 1e-9 * frame["trade_size"] ** 2
    fit = fit_impact(frame, family, test_fraction=0)
    curve, names = fit.raw_curve, list(fit.params.columns.drop("half_spread"))

    def slope(name: str, size: float) -> Float:
        """Central difference of the impact in every interval, (2,)."""
        field, _, k = name.partition("_")
        column = (slice(None), int(k) - 1) if k else slice(None)
        step, moved = 1e-6 * curve[field][column], []
        for sign in (1.0, -1.0):
            values = curve[field].copy()
            values[column] += sign * step
            moved.append(dataclasses.replace(curve, **{field: values}).impact(size))
        return (moved[0] - moved[1]) / (2 * step)

    for interval in (0, 1):
        for size in (700.0, 1500.0, 2900.0):
            jacobian = np.array([slope(name, size)[interval] for name in names])
            expected = np.sqrt(jacobian @ fit.cov[interval] @ jacobian)
            row = fit.band([size], interval).iloc[0]
            reach = (row["upper"] - row["lower"]) / 2 / stats.t.ppf(0.975, fit.dof[interval])
            # Two roundings of the impact over a step of 1e-6 leave 1e-9 of the slope.
            assert reach == pytest.approx(expected, rel=1e-7)


def test_the_summary_reads_as_a_page(rng: np.random.Generator) -> None:
    frame = simulated_slippage(np.full(10, 1e-5), "days", rng, n_days=6, n_snapshots=2, noise=0.3)
    lines = fit_impact(frame).summary().splitlines()
    assert lines[0] == "linear impact, 10 intervals"
    assert lines[1].startswith(
        "fitted on all of 2024-01-02 to 2024-01-09 (6 sessions); the metrics fitted on"
    )
    assert lines[2].split() == ["beta", "half_spread"]
    assert [line.split()[0] for line in lines[3:8]] == ["min", "25%", "50%", "75%", "max"]
    assert "standard errors: clustered by session" in lines
    assert not any("censored" in line for line in lines)
    assert any(line.startswith("shrinkage of impact: shrinkage factor") for line in lines)

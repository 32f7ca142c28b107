"""Shrinkage: no optimism where intervals are alike, little lost where they are not."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from research_lib.execution import allocate
from research_lib.impact import ImpactFit, LinearImpact, fit_impact, shrink
from research_lib.market import Session

Float = np.ndarray
SIZES = np.array([250.0, 500.0, 1000.0, 1500.0, 2000.0])
SHARES = 20_000.0


def frame(
    impact: Float, n_days: int, noise: float, rng: np.random.Generator, sizes: Float = SIZES
) -> pd.DataFrame:
    """One book an interval and day: the (n, K) impact times a lognormal level of mean 1, common
    to the book.
    """
    n, k = impact.shape
    days = pd.bdate_range("2024-01-02", periods=n_days).date
    level = (
        rng.lognormal(-0.5 * noise**2, noise, (n_days, n, 1)) if noise else np.ones((n_days, n, 1))
    )
    time = np.repeat(Session(n).starts(days).ravel(), k)
    return pd.DataFrame({
        "time": pd.DatetimeIndex(time.astype("datetime64[ns]"), tz="UTC"),
        "interval": np.tile(np.repeat(np.arange(n), k), n_days),
        "trade_size": np.tile(sizes, n * n_days),
        "mid_price": 50.0, "half_spread": 0.01, "avg_slippage": 0.01 + (impact * level).ravel(),
        "censored": False,
    })  # fmt: skip


def linear_fit(beta: Float, n_days: int, noise: float, seed: int, **options: str) -> ImpactFit:
    data = frame(beta[:, None] * SIZES, n_days, noise, np.random.default_rng(seed))
    return fit_impact(data, test_fraction=0, **options)  # type: ignore[arg-type]


def excess(curve: LinearImpact, beta: Float) -> float:
    """Expected cost of the curve's schedule on new books over that of TWAP, minus 1."""
    shares = allocate(curve, SHARES).shares
    return float(np.sum(beta * shares**2) / (np.sum(beta) * (SHARES / len(beta)) ** 2) - 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("n_days", [1, 5, 20])
@pytest.mark.parametrize("n", [39, 390])
def test_equal_coefficients_with_30_percent_noise_lose_under_one_percent_against_twap(
    n: int, n_days: int
) -> None:
    beta = np.full(n, 1e-5)
    fits = [linear_fit(beta, n_days, 0.3, seed) for seed in range(3)]
    assert max(excess(fit.curve, beta) for fit in fits) < 0.01
    # The raw curve loses the variance of its errors: exp(0.09 / days) - 1 for lognormal ones.
    raw = np.mean([excess(fit.raw_curve, beta) for fit in fits])
    assert raw == pytest.approx(0.09 / n_days, rel=0.5)


@pytest.mark.parametrize(("n_days", "least"), [(2, 0.88), (5, 0.94), (20, 0.985)])
def test_different_intervals_keep_what_can_be_saved(n_days: int, least: float) -> None:
    beta = 1e-5 * np.random.default_rng(1).lognormal(0, 0.5, 390)
    best = float(len(beta) ** 2 / np.sum(1 / beta) / np.sum(beta) - 1.0)
    fit = linear_fit(beta, n_days, 0.2, 2)
    assert excess(fit.curve, beta) / best > least
    assert excess(fit.curve, beta) / best > excess(fit.raw_curve, beta) / best - 0.01


def test_the_scatter_and_the_error_are_estimated_near_the_truth() -> None:
    beta = 1e-5 * np.random.default_rng(1).lognormal(0, 0.5, 390)
    found = linear_fit(beta, 10, 0.2, 3).shrinkage["impact"]
    assert found.between == pytest.approx(np.std(beta) / np.mean(beta), rel=0.05)
    # Errors scale with the level: their root mean square relative to the profile exceeds 0.2 /
    # sqrt(10).
    expected = 0.2 / np.sqrt(10) * np.sqrt(np.mean(beta**2)) / np.mean(beta)
    assert found.error == pytest.approx(expected, rel=0.05)
    assert found.source == "standard errors"
    assert found.weight[0] == pytest.approx(found.between**2 / (found.between**2 + found.error**2))


@pytest.mark.parametrize(("n_days", "least"), [(1, 0.9), (5, 0.97)])
def test_a_steep_opening_survives(n_days: int, least: float) -> None:
    """Impact four times as high at the open, back within a tenth of the day."""
    u = (np.arange(390) + 0.5) / 390
    beta = 1e-5 * (1 + 3 * np.exp(-u / 0.03) + np.exp(-(1 - u) / 0.05))
    best = float(len(beta) ** 2 / np.sum(1 / beta) / np.sum(beta) - 1.0)
    fits = [linear_fit(beta, n_days, 0.2, seed) for seed in range(3)]
    assert np.mean([excess(fit.curve, beta) for fit in fits]) / best > least
    opening = np.mean([fit.curve.beta[:5] for fit in fits], axis=0) / beta[:5]
    assert opening == pytest.approx(np.ones(5), abs=0.2)


def test_intervals_that_borrowed_rows_are_no_evidence_on_each_other() -> None:
    """Three sizes a book are under min_observations: every interval shares rows with its
    neighbours.
    """
    beta, few = np.full(390, 1e-5), np.array([500.0, 1000.0, 2000.0])
    fit = fit_impact(
        frame(beta[:, None] * few, 1, 0.3, np.random.default_rng(0), few), test_fraction=0
    )
    assert len(fit.diagnostics["widened"]) == 390
    assert excess(fit.curve, beta) < 0.01 < excess(fit.raw_curve, beta)
    lag = re.fullmatch(r"lag-(\d+) autocovariance", fit.shrinkage["impact"].source)
    assert lag
    assert int(lag[1]) >= 3  # those two apart share rows


def test_shrinkage_is_on_unless_switched_off_by_name() -> None:
    beta = np.full(39, 1e-5)
    off = linear_fit(beta, 5, 0.3, 0, shrinkage="none")
    assert off.curve.beta.tolist() == off.raw_curve.beta.tolist() == off.params["beta"].tolist()
    assert "none: switched off" in off.summary()
    on = linear_fit(beta, 5, 0.3, 0)
    assert np.std(on.curve.beta) < 0.3 * np.std(on.raw_curve.beta)
    assert "shrinkage of impact: shrinkage factor" in on.summary()


@pytest.mark.parametrize("family", ["nonlinear", "power", "sqrt", "piecewise"])
def test_every_family_is_shrunk_and_stays_convex(family: str) -> None:
    impact = (
        np.full((39, 1), 1e-3) * SIZES**0.5
        if family != "nonlinear"
        else np.full((39, 1), 1e-8) * SIZES**2
    )
    fits = [
        fit_impact(frame(impact, 5, 0.3, np.random.default_rng(seed)), family, test_fraction=0)
        for seed in range(5)
    ]
    kept = [np.std(fit.curve.impact(800.0)) / np.std(fit.raw_curve.impact(800.0)) for fit in fits]
    # Of equal intervals the scatter kept is that of the estimated tau, 0.1 on average and above 0.4
    # once in 20 times.
    assert np.mean(kept) < 0.4
    fit = fits[0]
    marginal = np.array([fit.curve.marginal_cost(x) for x in (1.0, 200.0, 700.0, 1400.0, 1999.0)])
    assert (np.diff(marginal, axis=0) >= -1e-12).all()


@pytest.mark.parametrize("steepness", [0.0, 0.5, 3.0])
def test_the_day_profile_is_an_average_with_no_negative_weight(
    steepness: float, rng: np.random.Generator
) -> None:
    """So that mixtures of increasing curves with convex costs are such curves again."""
    level = (1 + steepness * np.exp(-np.arange(60) / 5)) * rng.lognormal(0, 0.2, 60)
    found = shrink(level, np.full(60, 0.2))
    weights = found.smooth(np.eye(60))
    assert weights.min() >= 0
    assert weights.sum(axis=1) == pytest.approx(np.ones(60))
    assert weights @ level == pytest.approx(found.profile)
    assert found.apply(level) == pytest.approx(
        found.weight * level + (1 - found.weight) * found.profile
    )


def test_a_tapered_bandwidth_is_half_the_distance_to_the_nearer_end(
    rng: np.random.Generator,
) -> None:
    values, index = rng.lognormal(0, 1, 60), np.arange(60)
    ends = np.exp(-(index + 0.5) / 6) + np.exp(-(59.5 - index) / 6)
    found = shrink((1 + ends) * np.random.default_rng(0).lognormal(0, 0.1, 60), np.full(60, 0.05))
    assert (found.bandwidth, found.tapered) == (4.0, True)
    local = np.minimum(4.0, 0.5 * (np.minimum(index, 59 - index) + 1.0))
    kernel = np.exp(-0.5 * (np.subtract.outer(index, index) / local[:, None]) ** 2)
    expected = kernel @ values / kernel.sum(axis=1)
    # The library's kernel ends six bandwidths away, where exp(-18) is left.
    assert found.smooth(values) == pytest.approx(expected, rel=1e-6)


def test_memory_of_the_books_is_not_taken_for_the_days_shape(rng: np.random.Generator) -> None:
    """Errors that last ten minutes look like a shape to the nearest neighbours."""
    decay = np.exp(-np.subtract.outer(np.arange(390), np.arange(390)).__abs__() / 10)
    noise = 0.3 * rng.standard_normal((20, 390)) @ np.linalg.cholesky(decay).T
    daily = np.exp(noise - 0.045)
    level, error = daily.mean(axis=0), daily.std(axis=0, ddof=1) / np.sqrt(20)
    by_neighbours, by_days = shrink(level, error), shrink(level, error, daily=daily)
    for found in (by_neighbours, by_days):
        assert found.bandwidth >= 32
        assert found.apply(level).std() < 0.3 * level.std()


U = (np.arange(390) + 0.5) / 390
SHAPES = {
    "flat": np.ones(390),
    "U": 1 + 1.5 * (2 * U - 1) ** 2,
    "open and close": 1 + 3 * np.exp(-U / 0.08) + np.exp(-(1 - U) / 0.05),
}


def errors_with_memory(n: int, draws: int, sd: float = 0.4) -> Float:
    """(draws, n) lognormal errors of mean 1, autoregressive with 0.6."""
    noise = np.random.default_rng(0).standard_normal((draws, n))
    for t in range(1, n):
        noise[:, t] = 0.6 * noise[:, t - 1] + 0.8 * noise[:, t]
    return np.exp(sd * noise - sd**2 / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "most"), [(39, 0.08), (390, 0.03)])
def test_autocorrelated_errors_about_a_flat_truth_leave_next_to_nothing(
    n: int, most: float
) -> None:
    """Leave-one-out kept standard deviations of 0.24 and 0.32; 0.04 and 0.015 are left, with
    Monte-Carlo errors of 0.009 and 0.003.
    """
    levels = errors_with_memory(n, 100)
    found = [shrink(level, None) for level in levels]
    kept = [np.std(one.apply(level)) for one, level in zip(found, levels, strict=True)]
    assert np.mean(kept) < most
    assert np.mean(levels.std(axis=1)) > 0.35
    flat = [one for one in found if np.isinf(one.bandwidth)]
    assert len(flat) > 70
    assert all("the profile is flat" in one.summary() for one in flat)


@pytest.mark.parametrize("shape", ["U", "open and close"])
def test_a_real_shape_is_followed_under_autocorrelated_errors(shape: str) -> None:
    """Leave-one-out missed the truth by 0.32, a flat profile by 0.29 and 0.26."""
    truth = SHAPES[shape]
    levels = truth * errors_with_memory(390, 20)
    missed = [np.std(shrink(level, None).apply(level) / truth) for level in levels]
    assert np.mean(missed) < 0.15 < 0.25 < np.std(1 / truth * truth.mean())


@pytest.mark.parametrize("shape", ["U", "open and close"])
@pytest.mark.parametrize("step", [1, 10])
def test_smooth_levels_of_one_day_without_noise_are_kept(shape: str, step: int) -> None:
    beta = 1e-5 * SHAPES[shape][step // 2 :: step]
    fit = linear_fit(beta, 1, 0.0, 0)
    assert fit.curve.beta == pytest.approx(beta, rel=1e-9)
    assert "the levels of the day are smooth, without noise" in fit.summary()
    # Noise of one per cent is noise.
    assert (linear_fit(beta, 1, 0.01, 0).shrinkage["impact"].weight < 1).all()


def test_intervals_without_observations_have_no_say_and_take_the_profile() -> None:
    level = SHAPES["U"][::10] * errors_with_memory(39, 1, 0.2)[0]
    observed = np.ones(39, bool)
    observed[[5, 6, 7, *range(25, 39)]] = False
    found, other = (
        shrink(np.where(observed, level, of), None, observed=observed) for of in (1.0, 100.0)
    )
    assert found.profile.tolist() == other.profile.tolist()
    assert found.weight[~observed].tolist() == [0.0] * 17
    used = found.apply(level)
    assert used[25:] == pytest.approx(np.full(14, found.profile[24]))
    assert used[5:8] == pytest.approx(np.linspace(*found.profile[[4, 8]], 5)[1:-1])
    assert "17 intervals lack observations and take its value" in found.summary()


@pytest.mark.parametrize("n_days", [1, 6])
def test_a_morning_on_the_days_grid_is_not_pooled_over_the_afternoon(n_days: int) -> None:
    data = frame(np.full((78, 5), 1e-5) * SIZES, n_days, 0.2, np.random.default_rng(0))
    spread = 0.05 - 0.001 * data["interval"] + 0.001 * np.sin(3.0 * data["interval"])
    data["avg_slippage"] += spread - data["half_spread"]
    data["half_spread"] = spread
    data = data[(data["interval"] < 40) & (data["interval"] != 20)]
    fit = fit_impact(data, n_intervals=78, test_fraction=0)
    assert fit.curve.half_spread[40:] == pytest.approx(np.full(38, fit.curve.half_spread[77]))
    assert fit.curve.half_spread[77] < 0.02 < fit.raw_curve.half_spread[77]
    assert fit.shrinkage["half_spread"].observed.sum() == 39


def test_gaps_do_not_make_noise_believed() -> None:
    """What fills them copies its neighbours, which is no agreement of neighbours."""
    rng, fits = np.random.default_rng(0), []
    data = frame(np.full((78, 5), 1e-5) * SIZES, 1, 0.0, rng)
    data = data[data["interval"] % 3 == 0]
    for _ in range(20):
        spread = 0.01 * np.repeat(rng.lognormal(0.0, 0.3, 26), 5)
        data["avg_slippage"] += spread - data["half_spread"]
        data["half_spread"] = spread
        fits.append(fit_impact(data, test_fraction=0))
    # 5 % of the days would believe a third of the noise by chance.
    assert np.mean([fit.shrinkage["half_spread"].weight.mean() for fit in fits]) < 0.05
    assert np.mean([np.std(fit.curve.half_spread) for fit in fits]) < 0.0005


def test_what_cannot_be_shrunk_says_why() -> None:
    assert shrink(np.ones(5), None).source == "none: 5 intervals are too few for a profile"
    assert shrink(np.ones(20), None).source == "none: the levels do not scatter"
    assert shrink(np.zeros(20), None).source == "none: the profile is not positive"

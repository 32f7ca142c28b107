"""Half-lives with intervals that hold the truth, and the reasons where none is identified."""

from __future__ import annotations

import math

import numpy as np
import pytest

from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import DecayKernel, ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.market import BookSnapshots, Session
from research_lib.transient import LagEstimate, best_kernel, fit_kernel, propagator, trade_flow

LAGS = np.arange(1.0, 31.0)
TRUE = {
    "exponential": ExponentialKernel(0.2, 0.01),
    "exponential_permanent": ExponentialSumKernel((0.2, 0.0), (0.01, 0.004)),
    "power": PowerKernel(0.5, 0.01, 1.0),
}


def covariance(error: float) -> np.ndarray:
    """Of a propagator: errors of the changes add up with the lag."""
    return error**2 * np.minimum.outer(LAGS, LAGS) + np.diag(np.full(len(LAGS), error**2))


def observed(
    kernel: DecayKernel, error: float, rng: np.random.Generator | None = None
) -> LagEstimate:
    cov, values = covariance(error), kernel(LAGS)
    drawn = values if rng is None else rng.multivariate_normal(values, cov)
    return LagEstimate(LAGS, drawn, cov, 5000, "trades")


def half_life_of(family: str) -> float:
    return math.log(2.0) / 0.2 if family == "exponential_permanent" else TRUE[family].half_life


@pytest.mark.slow
@pytest.mark.parametrize("family", list(TRUE))
def test_the_interval_holds_the_true_half_life_95_percent_of_the_time(family: str) -> None:
    rng = np.random.default_rng(11)
    fits = [fit_kernel(observed(TRUE[family], 2e-4, rng), family) for _ in range(60)]
    held = [fit.interval[0] <= half_life_of(family) <= fit.interval[1] for fit in fits]
    assert 0.88 <= np.mean(held) <= 1.0
    assert np.mean([fit.p_value < 0.05 for fit in fits]) <= 0.12  # the true family is not rejected


@pytest.mark.parametrize("family", ["exponential", "exponential_permanent", "power"])
def test_without_noise_the_kernel_comes_back(family: str) -> None:
    found = fit_kernel(observed(TRUE[family], 1e-7), family)
    assert found.half_life == pytest.approx(half_life_of(family), rel=1e-4)
    assert np.allclose(found.kernel(LAGS), TRUE[family](LAGS), rtol=1e-4)
    assert found.identified
    assert found.reading.startswith(
        f"half-life of {found.half_life:.2f} trades"
    )  # 3 significant digits
    assert found.interval[0] < found.half_life < found.interval[1]


@pytest.mark.slow
def test_the_part_that_stays_has_an_interval() -> None:
    rng = np.random.default_rng(12)
    fits = [
        fit_kernel(observed(TRUE["exponential_permanent"], 2e-4, rng), "exponential_permanent")
        for _ in range(60)
    ]
    assert np.mean([fit.permanent[1] <= 0.004 <= fit.permanent[2] for fit in fits]) >= 0.88


def test_a_sample_too_short_says_so() -> None:
    slow = observed(ExponentialKernel(0.01, 0.01), 1e-3)
    found = fit_kernel(slow, "exponential")
    assert not found.identified
    assert math.isinf(found.interval[1])
    assert found.reading.startswith("not identified: every half-life above")
    noise = fit_kernel(observed(ExponentialKernel(0.2, 1e-6), 1e-3), "exponential")
    assert noise.reading.endswith("the effect is not statistically distinguishable from 0")
    longer = fit_kernel(observed(ExponentialKernel(math.log(2) / 40, 0.01), 3e-5), "exponential")
    assert longer.interval[1] < 100  # bounded, but beyond the lags measured: an extrapolation
    assert "agree with the data, the longest lag is 30" in longer.reading


@pytest.mark.slow
@pytest.mark.parametrize("family", list(TRUE))
def test_noise_alone_passes_for_impact_one_time_in_twenty(family: str) -> None:
    """All parameters are chosen on the noise, the half-life and the shift too.

    The limit must know of that.
    """
    rng, found = np.random.default_rng(13), []
    for _ in range(120):
        noise = LagEstimate(
            LAGS, 1e-3 * rng.standard_normal(len(LAGS)), 1e-6 * np.eye(len(LAGS)), 5000, "trades"
        )
        try:
            found.append(
                "not statistically distinguishable" not in fit_kernel(noise, family).reading
            )
        except ModelFittingError:
            found.append(False)
    assert np.mean(found) <= 0.12  # Binomial(120, 0.05): more comes once in 1,000


def test_the_draws_decide_the_reading_alone() -> None:
    estimate = observed(TRUE["power"], 2e-4)
    same = [fit_kernel(estimate, "power") for _ in range(2)]
    assert same[0].interval == same[1].interval
    assert same[0].reading == same[1].reading
    bands = [estimate.conf_int(simultaneous=True)[1] for _ in range(2)]
    assert np.array_equal(bands[0], bands[1])


def test_an_open_end_is_not_no_decay() -> None:
    slow = observed(PowerKernel(0.05, 0.01, 1.0), 1e-4)
    found = fit_kernel(slow, "power")
    assert math.isinf(found.interval[1])  # half-lives past a hundred times the last lag still agree
    assert found.decays
    assert found.reading.startswith("not identified: the effect decays, but every half-life above")
    flat = fit_kernel(observed(ExponentialKernel(1e-6, 0.01), 1e-4), "power")
    assert not flat.decays
    assert flat.reading.endswith("and so does a constant effect")


@pytest.mark.slow
def test_google_decays_though_its_half_life_has_no_upper_bound(goog_books: BookSnapshots) -> None:
    impact = propagator(trade_flow(goog_books, Session()), 40)
    fits = {
        family: fit_kernel(impact, family)
        for family in ("exponential", "exponential_permanent", "power")
    }
    assert all(fit.decays and fit.describes and not fit.identified for fit in fits.values())
    assert "constant effect" not in fits["power"].reading


def test_of_the_decaying_part_or_of_all() -> None:
    found = fit_kernel(observed(TRUE["exponential_permanent"], 1e-7), "exponential_permanent")
    assert found.half_life == pytest.approx(math.log(2) / found.kernel.decays[0])
    assert found.kernel.half_life > found.half_life


def test_impact_that_builds_up_has_no_half_life() -> None:
    rising = observed(TRUE["power"], 1e-4)
    rising = LagEstimate(LAGS, 0.01 - rising.values, rising.cov, rising.n, rising.unit)
    found = fit_kernel(rising, "exponential")
    assert not found.identified
    assert found.reading.startswith(
        "not identified: the effect still builds up from lag 1 to 30 trades"
    )


def test_the_better_family_is_chosen() -> None:
    for family in ("exponential", "power"):
        assert best_kernel(observed(TRUE[family], 5e-5), ("exponential", "power")).family == family


def test_what_cannot_be_fitted_is_refused() -> None:
    estimate = observed(TRUE["power"], 1e-4)
    with pytest.raises(ValidationError, match="did you mean 'power'"):
        fit_kernel(estimate, "powr")
    with pytest.raises(ValidationError, match="3 lags do not identify a kernel"):
        fit_kernel(LagEstimate(LAGS[:3], estimate.values[:3], estimate.cov[:3, :3], 100, "trades"))
    with pytest.raises(ModelFittingError, match="only a kernel of 0 fits"):
        fit_kernel(estimate.scaled(-1.0), "exponential")


@pytest.mark.parametrize("unit", [1e-8, 1e-6, 1e9])
def test_the_permanent_component_has_the_same_interval_in_any_unit_of_price(unit: float) -> None:
    values = ExponentialSumKernel((0.2, 0.0), (0.01, 0.005))(LAGS)
    cov = 1e-8 * (np.minimum.outer(LAGS, LAGS) + np.eye(len(LAGS)))
    plain, other = (
        fit_kernel(
            LagEstimate(LAGS, u * values, u**2 * cov, 5000, "trades"), "exponential_permanent"
        )
        for u in (1.0, unit)
    )
    np.testing.assert_allclose(np.array(other.permanent) / unit, plain.permanent, rtol=1e-6)


@pytest.mark.slow
def test_a_covariance_of_few_clusters_rejects_no_more_than_it_says() -> None:
    """With V of 48 clusters the true shape is rejected at 5 % as often, and its half-life covered.

    Of 300 samples 5 % are 15, with a standard error of 3.8. Without the correction of the inverse
    and with 16 lags it is 17 %.
    """
    lags, rng, clusters = np.arange(1.0, 41.0), np.random.default_rng(0), 48
    cov = 1e-6 * (np.minimum.outer(lags, lags) + 5.0 * np.eye(40))
    factor, kernel = np.linalg.cholesky(cov), ExponentialSumKernel((0.1, 0.0), (0.01, 0.01))
    rejected, covered = 0, 0
    for _ in range(300):
        values = kernel(lags) + factor @ rng.standard_normal(40)
        sample = rng.standard_normal((clusters - 1, 40)) @ factor.T
        seen = sample.T @ sample / (clusters - 1)
        estimate = LagEstimate(lags, values, seen, 10_000, "seconds", clusters=clusters)
        fit = fit_kernel(estimate, "exponential_permanent")
        rejected += fit.p_value < 0.05
        covered += fit.interval[0] <= math.log(2.0) / 0.1 <= fit.interval[1]
    assert rejected < 27
    assert covered > 270

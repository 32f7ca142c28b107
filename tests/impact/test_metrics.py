"""Metrics of a fit: their definitions, from rows and from sums."""

from __future__ import annotations

import numpy as np
import pytest
from fit_cases import walked

from research_lib.impact import ImpactMoments, LinearImpact, fit_impact

SIZES = np.array([100.0, 400.0, 1600.0])
CURVE = LinearImpact(np.array([1e-5, 2e-5, 4e-5]), np.array([0.01, 0.02, 0.015]))


def test_metrics_of_moments_are_those_of_the_rows_they_sum() -> None:
    curves = walked(CURVE, SIZES, 8, per_interval=3, noise=0.3, rng=np.random.default_rng(1))
    rows = fit_impact(curves, errors="day", n_intervals=3).metrics
    sums = fit_impact(ImpactMoments.from_curves(curves, 3)).metrics
    assert rows.keys() == sums.keys()
    for name, value in rows.items():
        assert sums[name] == pytest.approx(value, rel=1e-9), name
    assert 0.0 < rows["test_r2"] < 1.0


@pytest.mark.parametrize("sample", ["train", "test"])
def test_metrics_are_their_definitions(sample: str) -> None:
    fit = fit_impact(
        walked(CURVE, SIZES, 8, noise=0.3, rng=np.random.default_rng(1)), n_intervals=3
    )
    rows = fit.observations[fit.observations["sample"] == sample]
    for kind, observed, predicted in (
        ("r2", "observed", "predicted"),
        ("impact_r2", "impact", "predicted_impact"),
    ):
        missed = ((rows[observed] - rows[predicted]) ** 2).sum()
        varied = ((rows[observed] - rows[observed].mean()) ** 2).sum()
        assert fit.metrics[f"{sample}_{kind}"] == pytest.approx(1 - missed / varied)
    bps = 1e4 * (rows["observed"] - rows["predicted"]) / 50.0
    assert fit.metrics[f"{sample}_rmse_bps"] == pytest.approx(np.sqrt((bps**2).mean()))
    assert fit.metrics[f"{sample}_observations"] == len(rows)


def test_censored_rows_do_not_enter_the_metrics() -> None:
    frame = walked(CURVE, SIZES, 8, noise=0.3, rng=np.random.default_rng(1)).to_frame(3)
    frame["censored"] = frame["trade_size"] == 1600
    frame.loc[frame["censored"], "filled"] = 1500.0
    fit = fit_impact(frame)
    assert (
        fit.metrics["train_observations"] + fit.metrics["test_observations"]
        == (~frame["censored"]).sum()
    )
    assert (fit.observations["sample"] == "censored").sum() == frame["censored"].sum()


def test_what_does_not_vary_has_no_r2() -> None:
    flat = walked(LinearImpact(np.zeros(3), 0.01), SIZES, 8)
    assert np.isnan(fit_impact(flat, n_intervals=3).metrics["train_r2"])

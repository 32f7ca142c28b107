"""Estimation: noise-free data returns the coefficients of every family, however it comes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fit_cases import irregular, walked

from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import (
    ImpactCurve,
    ImpactMoments,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
    fit_impact,
    square_root_impact,
)

N = 7
SIZES = np.array([100.0, 250.0, 600.0, 1500.0, 4000.0])
_RNG = np.random.default_rng(8)
SPREAD = _RNG.uniform(0.005, 0.02, N)
CURVES: dict[str, ImpactCurve] = {
    "linear": LinearImpact(_RNG.lognormal(-11, 0.5, N), SPREAD),
    "nonlinear": QuadraticImpact(_RNG.lognormal(-20, 0.5, N), _RNG.lognormal(-11, 0.5, N), SPREAD),
    "power": PowerImpact(_RNG.lognormal(-8, 0.5, N), _RNG.uniform(0.3, 1.4, N), SPREAD),
    "sqrt": square_root_impact(_RNG.lognormal(-8, 0.5, N), SPREAD),
    "piecewise": PiecewiseLinearImpact(
        np.tile(np.diff(SIZES, prepend=0.0), (N, 1)),
        np.cumsum(_RNG.uniform(1e-3, 1e-2, (N, 5)), axis=1),
        SPREAD,
    ),
}
ESTIMATORS = {
    "linear": ("least_squares", "weighted"),
    "nonlinear": ("least_squares", "weighted"),
    "power": ("least_squares", "weighted"),
    "sqrt": ("least_squares", "weighted"),
    "piecewise": ("least_squares", "weighted"),
}
CASES = [(family, estimator) for family, allowed in ESTIMATORS.items() for estimator in allowed]


def coefficients(curve: ImpactCurve, family: str) -> np.ndarray:
    """(n, p) as `params` lists them, the half-spread last."""
    names = {
        "linear": ["beta"],
        "nonlinear": ["alpha", "beta"],
        "power": ["scale", "exponent"],
        "sqrt": ["scale"],
    }
    columns = (
        [curve["premium"]] if family == "piecewise" else [curve[name] for name in names[family]]
    )
    return np.column_stack([*columns, curve.half_spread])


@pytest.mark.parametrize(
    ("family", "estimator", "source"),
    [(*case, source) for case in CASES for source in ("curves", "frame", "both sides")]
    + [(*case, "moments") for case in CASES if case[1] in ("least_squares", "weighted")],
)
def test_noise_free_intervals_return_their_coefficients(
    family: str, estimator: str, source: str
) -> None:
    curve = CURVES[family]
    curves = walked(curve, SIZES, 3, per_interval=2)
    data: object = curves
    if source == "moments":
        data = ImpactMoments.from_curves(curves, N)
    elif source == "frame":
        data = curves.to_frame(N)
    elif source == "both sides":
        sell = walked(curve, SIZES, 3, per_interval=2, side="sell")
        data = pd.concat(
            [curves.to_frame(N).astype({"side": str}), sell.to_frame(N).astype({"side": str})]
        )
    fit = fit_impact(data, family, estimator=estimator, n_intervals=N)  # type: ignore[arg-type]
    assert fit.params.to_numpy() == pytest.approx(coefficients(curve, family), rel=1e-8)
    assert fit.raw_curve.impact(700.0) == pytest.approx(curve.impact(700.0), rel=1e-8)
    assert fit.curve.slippage(700.0) == pytest.approx(curve.slippage(700.0), rel=1e-8)
    assert fit.metrics["test_r2"] == pytest.approx(1.0)
    assert not fit.warnings


@pytest.mark.parametrize(("family", "estimator"), CASES)
def test_the_noise_free_pooled_day_does_so_too(family: str, estimator: str) -> None:
    one = CURVES[family].take(np.zeros(12, int))
    fit = fit_impact(
        walked(one, SIZES, 2), family, estimator=estimator, by="pooled", n_intervals=12
    )
    assert fit.params.to_numpy() == pytest.approx(coefficients(one, family), rel=1e-8)


@pytest.mark.parametrize(
    ("family", "estimator"), [case for case in CASES if case[0] != "piecewise"]
)
def test_rows_that_all_have_a_size_of_their_own_do_so_too(family: str, estimator: str) -> None:
    """280 different sizes, both sides: more than the 62 that moments take."""
    frame = irregular(CURVES[family], 10, 2, np.random.default_rng(1))
    assert frame["trade_size"].nunique() == len(frame) == 280
    fit = fit_impact(frame, family, estimator=estimator, n_intervals=N)
    assert fit.params.to_numpy() == pytest.approx(coefficients(CURVES[family], family), rel=1e-8)


def test_seventy_sizes_are_fitted_from_frames_and_refused_by_moments() -> None:
    sizes = np.geomspace(50, 5000, 70)
    curves = walked(CURVES["power"], sizes, 2)
    for estimator in ESTIMATORS["power"]:
        fit = fit_impact(curves, "power", estimator=estimator, n_intervals=N)
        assert fit.params.to_numpy() == pytest.approx(
            coefficients(CURVES["power"], "power"), rel=1e-8
        )
    with pytest.raises(ValidationError, match="62 at most; got 70"):
        ImpactMoments.from_curves(curves, N)


def test_a_power_law_that_bends_down_falls_back_to_linear_and_says_so() -> None:
    """Impact that falls with size has no exponent above 0: exponent 1 is the simpler family."""
    curves = walked(CURVES["linear"], SIZES, 3)
    frame = curves.to_frame(N)
    falls = frame["interval"] == 2
    frame.loc[falls, "avg_slippage"] = frame["half_spread"] + 0.05 / frame["trade_size"]
    fit = fit_impact(frame, "power", test_fraction=0, shrinkage="none")
    assert fit.diagnostics["fell_back"] == [2]
    assert fit.params["exponent"][2] == 1.0
    assert fit.warnings == (
        "the power law did not converge in 1 of 7 curves, first 2: linear there (exponent 1)",
    )
    rows = frame[falls]
    impact = rows["avg_slippage"] - rows["half_spread"]
    assert fit.params["scale"][2] == pytest.approx(
        (impact @ rows["trade_size"]) / (rows["trade_size"] ** 2).sum()
    )
    assert np.isnan(fit.bse["exponent"][2])
    assert "warning: the power law did not converge" in fit.summary()
    assert fit.params["exponent"].drop(2).to_numpy() == pytest.approx(np.ones(N - 1), rel=1e-8)


def test_without_impact_the_power_law_is_zero_not_an_error() -> None:
    flat = walked(LinearImpact(np.zeros(N), SPREAD), SIZES, 3)
    fit = fit_impact(flat, "power", test_fraction=0)
    assert fit.curve.impact(1000.0) == pytest.approx(
        np.zeros(N), abs=1e-12
    )  # rounding of prices of 50


def test_failing_names_interval_count_and_remedy() -> None:
    few = walked(CURVES["linear"].take([0, 1]), [100.0], 1)
    with pytest.raises(
        ModelFittingError, match=r"2 uncensored .* intervals 0 to 1, at least 5 .* add snapshots"
    ):
        fit_impact(few, test_fraction=0)
    with pytest.raises(ModelFittingError, match="add trade sizes"):
        fit_impact(walked(CURVES["power"], [100.0], 9), "power", test_fraction=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "huber"}, "estimator 'huber' is unknown"),
        ({"errors": "hc4"}, "errors 'hc4' is unknown; did you mean 'hc3'"),
        ({"by": "day"}, "by 'day' is unknown"),
        ({"censoring": "ignore"}, "censoring 'ignore' is unknown"),
        ({"shrinkage": "off"}, "shrinkage 'off' is unknown"),
        ({"test_fraction": 1.0}, "test_fraction must be at most 0.9"),
        ({"min_observations": 0}, "min_observations must be at least 1"),
    ],
)
def test_unknown_or_impossible_choices_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        fit_impact(walked(CURVES["linear"], SIZES, 2), **options)  # type: ignore[arg-type]

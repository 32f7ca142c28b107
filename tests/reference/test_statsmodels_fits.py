"""The fits against statsmodels and SciPy, which compute the same quantities by other code.

Reference values are computed here by statsmodels (HC3, cluster, hac-groupsum, WLS) and by
scipy.optimize (least_squares on the power law), interval by interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize

from research_lib.impact import fit_impact

N_INTERVALS, N_DAYS = 3, 15


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Fifteen days of three intervals, four snapshots each, six irregular sizes a snapshot, both
    sides, noise at
    each level and a few gross errors."""
    rng = np.random.default_rng(11)
    days = pd.bdate_range("2024-03-04", periods=N_DAYS)
    opens = (days.tz_localize("America/New_York") + pd.Timedelta("9h30min")).tz_convert("UTC")
    rows = []
    for opening in opens:
        for interval in range(N_INTERVALS):
            of_day = rng.lognormal(0, 0.2)
            for snapshot in range(4):
                time = opening + pd.Timedelta(interval * 130 + 20 * snapshot, "min")
                for side in ("buy", "sell"):
                    size = np.round(rng.uniform(100, 5000, 6), 1)
                    impact = of_day * 2e-4 * size**0.6 * rng.lognormal(0, 0.3, 6)
                    impact[rng.random(6) < 0.03] *= 8.0
                    rows.append(pd.DataFrame({
                        "time": time, "interval": interval, "side": side, "trade_size": size,
                        "mid_price": 50.0,
                        "half_spread": 0.01, "avg_slippage": 0.01 + impact, "censored": False,
                    }))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def bent(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with impacts that bend upwards, so that both coefficients of a quadratic are
    above 0.
    """
    size = frame["trade_size"]
    return frame.assign(
        avg_slippage=frame["avg_slippage"] - 1e-4 * size**0.6 + 1e-5 * size + 1e-8 * size**2
    )


DESIGNS = {
    "linear": lambda x: np.column_stack([x]),
    "nonlinear": lambda x: np.column_stack([x**2, x]),
    "sqrt": lambda x: np.column_stack([np.sqrt(x)]),
}


def design_of(
    frame: pd.DataFrame, interval: int, family: str
) -> tuple[pd.Series, np.ndarray, pd.DataFrame]:
    """Impact, design and rows of one interval in time order; snapshots and days numbered."""
    rows = (
        frame[frame["interval"] == interval]
        .sort_values("time", kind="stable")
        .reset_index(drop=True)
    )
    rows["snapshot"] = rows.groupby("time").ngroup()
    rows["day"] = rows.groupby(rows["time"].dt.date).ngroup()
    return (
        rows["avg_slippage"] - rows["half_spread"],
        DESIGNS[family](rows["trade_size"].to_numpy()),
        rows,
    )


def options(errors: str, rows: pd.DataFrame) -> dict[str, Any]:
    if errors == "hc3":
        return {"cov_type": "HC3", "use_t": True}
    return {"cov_type": "cluster", "cov_kwds": {"groups": rows[errors]}, "use_t": True}


@pytest.mark.parametrize("errors", ["hc3", "day", "snapshot"])
@pytest.mark.parametrize("family", ["linear", "nonlinear", "sqrt"])
@pytest.mark.parametrize("estimator", ["least_squares", "weighted"])
def test_coefficients_and_errors_equal_statsmodels(
    frame: pd.DataFrame, family: str, errors: str, estimator: str
) -> None:
    frame = bent(frame) if family == "nonlinear" else frame
    fit = fit_impact(frame, family, errors=errors, estimator=estimator, test_fraction=0)
    for interval in range(N_INTERVALS):
        impact, design, rows = design_of(frame, interval, family)
        weights = 1.0 / rows["trade_size"] ** 2 if estimator == "weighted" else np.ones(len(rows))
        reference = sm.WLS(impact, design, weights=weights).fit(**options(errors, rows))
        assert (reference.params > 0).all()  # else the constrained fit has another answer
        assert fit.params.to_numpy()[interval, :-1] == pytest.approx(
            reference.params.to_numpy(), rel=1e-9
        )
        assert fit.cov[interval] == pytest.approx(reference.cov_params().to_numpy(), rel=1e-7)
        lower, upper = fit.conf_int()
        expected = reference.conf_int().to_numpy()
        assert lower.to_numpy()[interval, :-1] == pytest.approx(expected[:, 0], rel=1e-7)
        assert upper.to_numpy()[interval, :-1] == pytest.approx(expected[:, 1], rel=1e-7)


def test_the_power_law_equals_scipys_least_squares(frame: pd.DataFrame) -> None:
    fit = fit_impact(frame, "power", test_fraction=0)
    for interval in range(N_INTERVALS):
        impact, _, rows = design_of(frame, interval, "linear")
        log_size, y = np.log(rows["trade_size"].to_numpy() / 1000), impact.to_numpy()

        def residual(
            theta: np.ndarray, log_size: np.ndarray = log_size, y: np.ndarray = y
        ) -> np.ndarray:
            return np.asarray(100 * (theta[0] * np.exp(theta[1] * log_size) - y))

        def jacobian(theta: np.ndarray, log_size: np.ndarray = log_size) -> np.ndarray:
            power = np.exp(theta[1] * log_size)
            return np.asarray(100 * np.column_stack([power, theta[0] * power * log_size]))

        found = optimize.least_squares(
            residual, [0.01, 0.8], jacobian, xtol=1e-15, ftol=1e-15, gtol=1e-15, method="lm"
        )
        # Least squares end where the sum no longer falls, which its rounding leaves open by 4e-8 of
        # the coefficients; the root of the sum's slope, from there, is known to 1e-13, and so is
        # the library's (by the same condition).
        found = optimize.root(lambda theta: jacobian(theta).T @ residual(theta), found.x, tol=1e-14)
        assert fit.params["exponent"][interval] == pytest.approx(found.x[1], rel=1e-8)
        assert fit.raw_curve.impact(1000.0)[interval] == pytest.approx(found.x[0], rel=1e-8)


def test_the_power_laws_errors_are_those_of_its_linearisation(frame: pd.DataFrame) -> None:
    fit = fit_impact(frame, "power", errors="day", test_fraction=0)
    impact, _, rows = design_of(frame, 1, "linear")
    scale, exponent = fit.params.loc[1, ["scale", "exponent"]]
    size = rows["trade_size"].to_numpy()
    design = np.column_stack([size**exponent, scale * size**exponent * np.log(size)])
    response = impact - scale * size**exponent + design @ [scale, exponent]
    reference = sm.OLS(response, design).fit(**options("day", rows))
    assert reference.params.to_numpy() == pytest.approx([scale, exponent], rel=1e-8)
    assert fit.cov[1] == pytest.approx(reference.cov_params().to_numpy(), rel=1e-6)

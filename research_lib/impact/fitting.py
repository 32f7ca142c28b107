"""From observed slippage to one impact curve an interval, with honest errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.config import Record, number, refuse_unknown
from research_lib.errors import ModelFittingError
from research_lib.impact.curves import ImpactCurve, LinearImpact, QuadraticImpact
from research_lib.impact.observations import Observations, read_observations, split_by_time
from research_lib.impact.slippage import SlippageCurves
from research_lib.market.sessions import Session

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

FAMILIES: dict[str, type[ImpactCurve]] = {"linear": LinearImpact, "nonlinear": QuadraticImpact}
POWERS: dict[str, dict[str, int]] = {"linear": {"beta": 1}, "nonlinear": {"alpha": 2, "beta": 1}}


@dataclass(frozen=True, eq=False)
class ImpactFit(Record):
    """One fitted impact curve an interval.

    Attributes
    ----------
    model_type : str
    curve : ImpactCurve
        Knows the training observations only.
    params : DataFrame, index interval
        Coefficients and the measured half_spread.
    bse : DataFrame, as params
        Standard errors; NaN where a coefficient sits at its bound of 0 or one
        snapshot measured the half-spread.
    cov : (n, p, p)
        Covariance of the coefficients (half_spread left out); NaN as in `bse`.
    dof : (n,)
        Degrees of freedom of the t intervals.
    observations : DataFrame, one row a row of the slippage frame, same order
        interval, trade_size, observed and predicted slippage (currency per share),
        residual_bps (observed - predicted, of the mid), sample ("train", "test" or "censored").
    metrics : dict
        train_r2, test_r2, train_rmse_bps, test_rmse_bps, train_observations,
        test_observations: on avg_slippage as predicted (half-spread + impact),
        uncensored rows; R2 is 1 - SSE / SST about the evaluated set's own mean.
        NaN where there is no test set.
    diagnostics : dict
        censored (rows left out), widened and pooled (intervals that borrowed
        observations), bounded (intervals with a coefficient held at 0), errors
        (how the standard errors were clustered), largest_size (shares).
    information : str
        What was fitted on what, and evaluated on what.
    """

    model_type: str
    curve: ImpactCurve
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    observations: pd.DataFrame
    metrics: dict[str, float]
    diagnostics: dict[str, Any]
    information: str

    def conf_int(self, alpha: float = 0.05) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lower and upper ends of the 1 - alpha t intervals, each shaped as `params`."""
        from scipy import stats

        reach = self.bse.mul(stats.t.ppf(1 - alpha / 2, self.dof), axis=0)
        return self.params - reach, self.params + reach

    def summary(self) -> str:
        """Text table: the coefficients' quartiles over the intervals, the metrics, what was known."""
        quartiles = self.params.describe().loc[["min", "25%", "50%", "75%", "max"]]
        lines = [
            f"{self.model_type} impact, {len(self.curve)} intervals",
            self.information,
            quartiles.to_string(float_format=lambda v: f"{v:.3g}"),
            "  ".join(f"{name} {value:.3g}" for name, value in self.metrics.items()),
            f"standard errors: {self.diagnostics['errors']}",
        ]
        return "\n".join(lines)


def fit_impact(
    slippage: pd.DataFrame | SlippageCurves,
    model_type: str = "linear",
    *,
    n_intervals: int | None = None,
    test_fraction: float = 0.2,
    min_observations: int = 5,
    tolerance: float = 1e-8,
    session: Session | None = None,
) -> ImpactFit:
    r"""Fit impact_t(x) in every interval by least squares, the half-spread measured apart.

    .. math:: \min_{\theta_t \ge 0} \sum_i (s_i - h_i - \mathrm{impact}(x_i; \theta_t))^2

    over the uncensored training observations i of interval t, where s_i is the observed
    slippage and h_i the half-spread of the same book. The curve's half_spread_t is the
    mean of h_i. Coefficients are held at or above 0, so that curves rise and are convex.

    Training comes before testing: the last days are the test where there are several;
    within one day it is the last part of the session, which is predicted by one curve
    fitted to all that came before. Censored rows are flagged and kept out, which biases
    the fit towards deep books; `diagnostics["censored"]` counts them.

    Parameters
    ----------
    slippage : DataFrame or SlippageCurves
        As made by `SlippageCurves.to_frame`; both sides, if present, share one curve.
    model_type : str
        "linear" (beta) or "nonlinear" (alpha, beta).
    n_intervals : int, optional
        Length of the curve; needed only if the last intervals have no row.
    test_fraction : float
        Part of the days (or of the session) kept for the test; 0 fits on everything.
    min_observations : int
        An interval with fewer borrows those of its neighbours, nearest first.
    tolerance : float
        A coefficient that adds less than this, relative to the mean impact, is 0.
    session : Session, optional
        Hours and time zone, for the days of the rows.

    Raises
    ------
    ValidationError
        Missing column, NaN, trade size at or below 0, unknown model_type.
    ModelFittingError
        Fewer than `min_observations` usable rows, or too few distinct sizes.
    """
    refuse_unknown([model_type], FAMILIES, "model_type")
    number("test_fraction", test_fraction, 0, 0.9)
    minimum = number("min_observations", min_observations, 1, integer=True)
    if isinstance(slippage, SlippageCurves):
        slippage = slippage.to_frame(n_intervals, session)
    data = read_observations(slippage, n_intervals, session or Session())
    test, information = split_by_time(data, test_fraction)
    train = ~test & data.usable
    powers = POWERS[model_type]
    _require_determined(data, train, minimum, len(powers))
    rows, borrowed = _rows_by_interval(data.interval, train, data.n_intervals, minimum)
    estimates = [_estimate(data, index, powers, tolerance) for index in rows]
    half_spread = _half_spread(data, ~test, rows)
    params = _table([e[0] for e in estimates], half_spread[:, 0], powers)
    curve = FAMILIES[model_type](**{name: params[name].to_numpy() for name in params})
    observations = _scored(data, curve, test)
    return ImpactFit(
        model_type=model_type,
        curve=curve,
        params=params,
        bse=_table([np.sqrt(np.diag(e[1])) for e in estimates], half_spread[:, 1], powers),
        cov=np.array([e[1] for e in estimates]),
        dof=np.array([e[2] for e in estimates], float),
        observations=observations,
        metrics={**_metrics(observations, "train"), **_metrics(observations, "test")},
        diagnostics={
            "censored": int(np.sum(~data.usable)),
            **borrowed,
            "bounded": [t for t, e in enumerate(estimates) if np.any(e[0] == 0)],
            "errors": _error_type(data, rows),
            "largest_size": float(data.size[train].max()),
        },
        information=information,
    )


def _require_determined(data: Observations, train: Mask, minimum: int, n_coefficients: int) -> None:
    needed = max(minimum, n_coefficients + 1)
    if train.sum() < needed:
        raise ModelFittingError(
            f"{int(train.sum())} uncensored training observations for intervals 0 to {data.n_intervals - 1}, "
            f"at least {needed} are needed; add snapshots, use smaller trade sizes or lower min_observations"
        )
    sizes = np.unique(data.size[train])
    if len(sizes) < n_coefficients:
        raise ModelFittingError(
            f"{len(sizes)} distinct trade size does not determine {n_coefficients} coefficients; add trade sizes"
        )


def _rows_by_interval(
    interval: Index, train: Mask, n_intervals: int, minimum: int
) -> tuple[list[Index], dict[str, list[int]]]:
    """Training rows of each interval; one with too few widens, one after the last takes all."""
    order = np.flatnonzero(train)[np.argsort(interval[train], kind="stable")]
    edges = np.searchsorted(interval[order], np.arange(n_intervals + 1))
    last = int(interval[order[-1]])
    rows, widened, pooled = [], [], []
    for t in range(n_intervals):
        if t > last:
            pooled.append(t)
            rows.append(order)
            continue
        reach = 0
        low, high = t, t + 1
        while edges[high] - edges[low] < minimum:
            reach += 1
            low, high = max(t - reach, 0), min(t + reach + 1, n_intervals)
        if reach:
            widened.append(t)
        rows.append(order[edges[low] : edges[high]])
    return rows, {"widened": widened, "pooled": pooled}


def _estimate(data: Observations, rows: Index, powers: dict[str, int], tolerance: float) -> tuple[Float, Float, float]:
    """Coefficients >= 0, their covariance and degrees of freedom, from the observations `rows`."""
    size, impact = data.size[rows], data.impact[rows]
    unit = size.max()
    design = np.column_stack([(size / unit) ** power for power in powers.values()])
    groups, clustered = _groups(data, rows)
    best = None
    for active in _subsets(len(powers)):
        fit = _least_squares(design[:, active], impact, groups if clustered else None)
        if np.all(fit.params > tolerance * np.abs(impact).mean()) and (best is None or fit.ssr < best[1].ssr):
            best = (active, fit)
        if best is not None and len(best[0]) == len(powers):
            break
    coefficients, cov = np.zeros(len(powers)), np.full((len(powers), len(powers)), np.nan)
    if best is None:
        return coefficients, cov, np.nan
    active, fit = best
    scale = unit ** -np.array([power for power in powers.values()], float)
    coefficients[active] = fit.params
    if fit.df_resid > 0:
        cov[np.ix_(active, active)] = fit.cov_params()
    dof = len(np.unique(groups)) - 1 if clustered else fit.df_resid
    return coefficients * scale, cov * np.outer(scale, scale), float(dof)


def _subsets(n: int) -> list[list[int]]:
    """Coefficients that may be free, all of them first: the active sets of a bounded fit."""
    return [[0]] if n == 1 else [[0, 1], [0], [1]]


def _least_squares(design: Float, y: Float, groups: Index | None) -> Any:
    import statsmodels.api as sm

    model = sm.OLS(y, design)
    if groups is None:
        exact = len(y) <= design.shape[1]  # leverage 1 leaves HC3 undefined
        return model.fit(cov_type="HC0" if exact else "HC3", use_t=True)
    return model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)


def _groups(data: Observations, rows: Index) -> tuple[Index, bool]:
    """Clusters of the observations: days where there are several, else snapshots; and whether they differ."""
    groups = data.day[rows]
    if groups.min() == groups.max():
        groups = data.snapshot[rows]
    return groups, bool(groups.min() < groups.max())


def _error_type(data: Observations, rows: list[Index]) -> str:
    if len(data.dates) > 1:
        return "clustered by day"
    if any(_groups(data, index)[1] for index in rows):
        return "HC3 within single snapshots, clustered by snapshot where several were pooled"
    return "HC3 within one snapshot: misfit of the form over sizes, not sampling error"


def _half_spread(data: Observations, train: Mask, rows: list[Index]) -> Float:
    """Mean half-spread of each interval and its standard error over snapshots, (n, 2).

    Every training snapshot counts, censored or not; where an interval has none, those of `rows`.
    """
    index = np.flatnonzero(train)
    first = index[np.unique(data.snapshot[index], return_index=True)[1]]
    by_interval = pd.Series(data.half_spread[first]).groupby(data.interval[first])
    mean = by_interval.mean().reindex(range(data.n_intervals))
    error = by_interval.sem().reindex(range(data.n_intervals))
    for t in np.flatnonzero(mean.isna()):
        borrowed = data.half_spread[rows[t]]
        mean[t], error[t] = borrowed.mean(), np.nan
    return np.column_stack([mean, error])


def _table(coefficients: list[Float], half_spread: Float, powers: dict[str, int]) -> pd.DataFrame:
    table = pd.DataFrame(np.array(coefficients), columns=list(powers))
    return table.assign(half_spread=half_spread).rename_axis("interval")


def _scored(data: Observations, curve: ImpactCurve, test: Mask) -> pd.DataFrame:
    """Every observation with its prediction; an interval's curve speaks for all its rows."""
    of_row = type(curve)(*(getattr(curve, name)[data.interval] for name in curve.keys()))
    predicted = of_row.slippage(data.size)
    return pd.DataFrame(
        {
            "interval": data.interval,
            "trade_size": data.size,
            "observed": data.slippage,
            "predicted": predicted,
            "residual_bps": 1e4 * (data.slippage - predicted) / data.mid,
            "sample": np.where(~data.usable, "censored", np.where(test, "test", "train")),
        }
    )


def _metrics(observations: pd.DataFrame, sample: str) -> dict[str, float]:
    """R2 about the sample's own mean, root mean square error in bps of the mid, and the count."""
    rows = observations[observations["sample"] == sample]
    variation = float(((rows["observed"] - rows["observed"].mean()) ** 2).sum())
    error = float(((rows["observed"] - rows["predicted"]) ** 2).sum())
    return {
        f"{sample}_r2": 1.0 - error / variation if variation > 0 else np.nan,
        f"{sample}_rmse_bps": float(np.sqrt((rows["residual_bps"] ** 2).mean())) if len(rows) else np.nan,
        f"{sample}_observations": len(rows),
    }

"""From observed slippage to one impact curve an interval, with honest errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.config import Record, number, refuse_unknown
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact.curves import ImpactCurve, LinearImpact, QuadraticImpact
from research_lib.impact.slippage import SlippageCurves
from research_lib.market.book import refuse_rows, require_columns, require_numbers
from research_lib.market.sessions import Session, nanoseconds

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

FAMILIES: dict[str, type[ImpactCurve]] = {"linear": LinearImpact, "nonlinear": QuadraticImpact}
POWERS: dict[str, dict[str, int]] = {"linear": {"beta": 1}, "nonlinear": {"alpha": 2, "beta": 1}}
NUMBER_COLUMNS = ("trade_size", "mid_price", "half_spread", "avg_slippage")
FRAME_COLUMNS = ("time", "interval", *NUMBER_COLUMNS, "censored")


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


@dataclass(frozen=True, eq=False)
class _Observations:
    interval: Index
    day: Index
    snapshot: Index
    size: Float
    slippage: Float
    half_spread: Float
    mid: Float
    usable: Mask
    n_intervals: int
    dates: list[str]

    @property
    def impact(self) -> Float:
        return self.slippage - self.half_spread


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
    data = _observations(slippage, n_intervals, session or Session())
    test, information = _split(data, test_fraction)
    train = ~test & data.usable
    powers = POWERS[model_type]
    _require_determined(data, train, minimum, len(powers))
    rows, borrowed = _rows_by_interval(data.interval, train, data.n_intervals, minimum)
    estimates = [_estimate(data, index, powers, tolerance) for index in rows]
    half_spread = _half_spread(data, ~test, rows)
    params = _table([e[0] for e in estimates], half_spread[:, 0], powers)
    curve = FAMILIES[model_type](**{name: params[name].to_numpy() for name in params})
    return ImpactFit(
        model_type=model_type,
        curve=curve,
        params=params,
        bse=_table([np.sqrt(np.diag(e[1])) for e in estimates], half_spread[:, 1], powers),
        cov=np.array([e[1] for e in estimates]),
        dof=np.array([e[2] for e in estimates], float),
        metrics={
            **_metrics("train", data, curve, train),
            **_metrics("test", data, curve, test & data.usable),
        },
        diagnostics={
            "censored": int(np.sum(~data.usable)),
            **borrowed,
            "bounded": [t for t, e in enumerate(estimates) if np.any(e[0] == 0)],
            "errors": _error_type(data, rows),
            "largest_size": float(data.size[train].max()),
        },
        information=information,
    )


def _observations(frame: pd.DataFrame, n_intervals: int | None, session: Session) -> _Observations:
    require_columns(frame, FRAME_COLUMNS, "slippage frame")
    require_numbers(frame, NUMBER_COLUMNS)
    require_numbers(frame, ("trade_size", "mid_price"), above=0)
    require_numbers(frame, ("interval",))
    refuse_rows((frame["interval"] < 0).to_numpy(), "interval", frame["interval"], "must be 0 or more")
    time = nanoseconds(frame["time"], "column time")
    interval = frame["interval"].to_numpy(dtype=np.int64)
    needed = int(interval.max()) + 1
    if n_intervals is not None and n_intervals < needed:
        raise ValidationError(
            f"n_intervals is {n_intervals}, the frame has interval {needed - 1}; give {needed} or more"
        )
    dates, day = np.unique(session.days(time), return_inverse=True)
    columns = {name: frame[name].to_numpy(dtype=float) for name in NUMBER_COLUMNS}
    return _Observations(
        interval=interval,
        day=day,
        snapshot=np.unique(time, return_inverse=True)[1],
        size=columns["trade_size"],
        slippage=columns["avg_slippage"],
        half_spread=columns["half_spread"],
        mid=columns["mid_price"],
        usable=~frame["censored"].to_numpy(dtype=bool),
        n_intervals=n_intervals or needed,
        dates=[str(date) for date in dates],
    )


def _split(data: _Observations, test_fraction: float) -> tuple[Mask, str]:
    """Rows of the test set, later than all training rows, and the split in words."""
    n_days = len(data.dates)
    if test_fraction == 0:
        days = data.dates[0] if n_days == 1 else f"{data.dates[0]} to {data.dates[-1]} ({n_days} days)"
        return np.zeros(len(data.interval), bool), f"fitted on all of {days}; evaluated in sample only"
    if n_days > 1:
        first = n_days - min(n_days - 1, max(1, round(test_fraction * n_days)))
        days = f"fitted on {data.dates[0]} to {data.dates[first - 1]} ({first} days)"
        return (
            data.day >= first,
            f"{days}; tested on {data.dates[first]} to {data.dates[-1]} ({n_days - first} days)",
        )
    first = data.n_intervals - max(1, round(test_fraction * data.n_intervals))
    return data.interval >= first, (
        f"fitted on intervals 0 to {first - 1} of {data.dates[0]}; tested on intervals {first} to "
        f"{data.n_intervals - 1}, predicted by one curve fitted to all the earlier ones"
    )


def _require_determined(data: _Observations, train: Mask, minimum: int, n_coefficients: int) -> None:
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


def _estimate(data: _Observations, rows: Index, powers: dict[str, int], tolerance: float) -> tuple[Float, Float, float]:
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
        return model.fit(cov_type="HC3", use_t=True)
    return model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)


def _groups(data: _Observations, rows: Index) -> tuple[Index, bool]:
    """Clusters of the observations: days where there are several, else snapshots; and whether they differ."""
    groups = data.day[rows]
    if groups.min() == groups.max():
        groups = data.snapshot[rows]
    return groups, bool(groups.min() < groups.max())


def _error_type(data: _Observations, rows: list[Index]) -> str:
    if len(data.dates) > 1:
        return "clustered by day"
    if any(_groups(data, index)[1] for index in rows):
        return "HC3 within single snapshots, clustered by snapshot where several were pooled"
    return "HC3 within one snapshot: misfit of the form over sizes, not sampling error"


def _half_spread(data: _Observations, train: Mask, rows: list[Index]) -> Float:
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


def _metrics(name: str, data: _Observations, curve: ImpactCurve, rows: Mask) -> dict[str, float]:
    """R2 about the set's own mean, root mean square error in bps of the mid, and the count."""
    if not rows.any():
        return {f"{name}_r2": np.nan, f"{name}_rmse_bps": np.nan, f"{name}_observations": 0}
    interval, observed = data.interval[rows], data.slippage[rows]
    error = observed - predict(curve, interval, data.size[rows])
    spread = np.sum((observed - observed.mean()) ** 2)
    return {
        f"{name}_r2": float(1 - np.sum(error**2) / spread) if spread > 0 else np.nan,
        f"{name}_rmse_bps": float(np.sqrt(np.mean((1e4 * error / data.mid[rows]) ** 2))),
        f"{name}_observations": int(rows.sum()),
    }


def predict(curve: ImpactCurve, interval: Index, size: Float) -> Float:
    """Slippage of observations (m,) given the interval and size of each, currency per share."""
    chosen = type(curve)(*(getattr(curve, name)[interval] for name in curve.keys()))
    return chosen.slippage(size)

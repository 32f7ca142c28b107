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
from research_lib.impact.metrics import metrics_of, score
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
        Fitted on all observations given.
    params : DataFrame, index interval
        Coefficients and the measured half_spread.
    bse : DataFrame, as params
        Standard errors; NaN where a coefficient sits at its bound of 0, or one day
        (within one day: one snapshot) measured the half-spread.
    cov : (n, p, p)
        Covariance of the coefficients (half_spread left out); NaN as in `bse`.
    dof : (n,)
        Degrees of freedom of the t intervals.
    observations : DataFrame, one row a row of the slippage frame, same order
        interval, trade_size, observed and predicted slippage (currency per share),
        residual_bps (observed - predicted, of the mid), impact and predicted_impact
        (beyond the touch, currency per share), sample ("train", "test" or "censored").
        Predicted by the curve of the training rows, which is `curve` if there is no test.
    metrics : dict
        For train and test: _r2, _rmse_bps, _impact_r2, _observations, from `observations`.
        r2 is 1 - SSE / SST of avg_slippage as predicted (half-spread + impact) about the
        evaluated set's own mean; impact_r2 the same for the impact alone, each book's
        own half-spread given. NaN where there is no test set.
    diagnostics : dict
        censored (rows left out), widened and pooled (intervals that borrowed
        observations), bounded (intervals with a coefficient held at 0), errors
        (how the standard errors were clustered), largest_size (n,) shares
        (the largest uncensored size that each interval's fit saw).
    information : str
        What the curve was fitted on, and what the metrics were fitted and tested on.
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

    The curve uses all observations. The metrics come from a second fit that knows the
    training part only. Training comes before testing: the last days are the test where
    there are several; within one day it is the last part of the session, which is
    predicted by one curve fitted to all that came before. Censored rows are flagged and kept out, which biases
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
        Part of the days (or of the session) kept for the test; 0 makes no test.
    min_observations : int
        An interval with fewer, or with fewer distinct sizes than coefficients, borrows
        those of its neighbours, nearest first.
    tolerance : float
        A coefficient that adds less than this at the largest size, relative to the mean slippage, is 0.
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
    final = _fit_intervals(data, np.ones(len(test), bool), model_type, minimum, tolerance)
    trained = _fit_intervals(data, ~test, model_type, minimum, tolerance) if test.any() else final
    observations = score(data, trained.curve, test)
    return ImpactFit(
        model_type=model_type,
        curve=final.curve,
        params=final.params,
        bse=final.bse,
        cov=final.cov,
        dof=final.dof,
        observations=observations,
        metrics={**metrics_of(observations, "train"), **metrics_of(observations, "test")},
        diagnostics={"censored": int(np.sum(~data.usable)), **final.diagnostics},
        information=information,
    )


@dataclass(frozen=True, eq=False)
class _IntervalFits:
    curve: ImpactCurve
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    diagnostics: dict[str, Any]


def _fit_intervals(data: Observations, chosen: Mask, model_type: str, minimum: int, tolerance: float) -> _IntervalFits:
    """Curve of every interval from the rows `chosen`, the uncensored ones for the impact."""
    powers = POWERS[model_type]
    fitted = chosen & data.usable
    _require_determined(data, fitted, minimum, len(powers))
    rows, borrowed = _rows_by_interval(data, fitted, minimum, len(powers))
    estimates = [_estimate(data, index, powers, tolerance) for index in rows]
    half_spread = _half_spread(data, chosen, rows)
    params = _table([e.coefficients for e in estimates], half_spread[:, 0], powers)
    return _IntervalFits(
        curve=FAMILIES[model_type](**{name: params[name].to_numpy() for name in params}),
        params=params,
        bse=_table([np.sqrt(np.diag(e.cov)) for e in estimates], half_spread[:, 1], powers),
        cov=np.array([e.cov for e in estimates]),
        dof=np.array([e.dof for e in estimates]),
        diagnostics={
            **borrowed,
            "bounded": [t for t, e in enumerate(estimates) if np.any(e.coefficients == 0)],
            "errors": "; ".join(dict.fromkeys(e.errors for e in estimates)),
            "largest_size": np.array([data.size[index].max() for index in rows]),
        },
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
    data: Observations, fitted: Mask, minimum: int, n_coefficients: int
) -> tuple[list[Index], dict[str, list[int]]]:
    """Rows of each interval; one with too few widens, one after the last observed takes all."""
    order = np.flatnonzero(fitted)[np.argsort(data.interval[fitted], kind="stable")]
    edges = np.searchsorted(data.interval[order], np.arange(data.n_intervals + 1))
    last = int(data.interval[order[-1]])
    rows, widened = [], []
    for t in range(last + 1):
        reach, own = 0, order[edges[t] : edges[t + 1]]
        while len(own) < minimum or len(np.unique(data.size[own])) < n_coefficients:
            reach += 1
            own = order[edges[max(t - reach, 0)] : edges[min(t + reach + 1, data.n_intervals)]]
        if reach:
            widened.append(t)
        rows.append(own)
    pooled = list(range(last + 1, data.n_intervals))
    return rows + [order] * len(pooled), {"widened": widened, "pooled": pooled}


@dataclass(frozen=True, eq=False)
class _Estimate:
    coefficients: Float
    cov: Float
    dof: float
    errors: str


def _estimate(data: Observations, rows: Index, powers: dict[str, int], tolerance: float) -> _Estimate:
    """Least squares with coefficients >= 0 on the observations `rows`: the best active set."""
    size, impact = data.size[rows], data.impact[rows]
    unit = size.max()
    design = np.column_stack([(size / unit) ** power for power in powers.values()])
    groups, errors = _clusters(data, rows)
    coefficients, cov = np.zeros(len(powers)), np.full((len(powers), len(powers)), np.nan)
    best, active = None, []
    for subset in _subsets(len(powers)):
        fit = _least_squares(design[:, subset], impact, groups)
        admissible = np.all(fit.params > tolerance * np.abs(data.slippage[rows]).mean())
        if admissible and (best is None or fit.ssr < best.ssr):
            best, active = fit, subset
        if len(active) == len(powers):
            break
    if best is None:
        return _Estimate(coefficients, cov, np.nan, errors)
    scale = unit ** -np.array(list(powers.values()), float)
    coefficients[active] = best.params
    if best.df_resid > 0:
        cov[np.ix_(active, active)] = best.cov_params()
    dof = best.df_resid if groups is None else len(np.unique(groups)) - 1
    return _Estimate(coefficients * scale, cov * np.outer(scale, scale), float(dof), errors)


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


def _clusters(data: Observations, rows: Index) -> tuple[Index | None, str]:
    """Groups of observations whose errors go together: days, else snapshots, else none; and what that means."""
    for groups, name in ((data.day[rows], "clustered by day"), (data.snapshot[rows], "clustered by snapshot")):
        if groups.min() < groups.max():
            return groups, name
    return None, "HC3 within one snapshot (misfit of the form over sizes, not sampling error)"


def _half_spread(data: Observations, chosen: Mask, rows: list[Index]) -> Float:
    """Mean half-spread of each interval and its standard error, (n, 2).

    Every snapshot chosen counts once, censored or not; where an interval has none, those of
    `rows`. The error is over the means of days, within one day over snapshots.
    """
    index = np.flatnonzero(chosen)
    own = np.split(*_by_interval(data, index))
    table = np.full((data.n_intervals, 2), np.nan)
    for t in range(data.n_intervals):
        taken = own[t] if len(own[t]) else rows[t]
        first = taken[np.unique(data.snapshot[taken], return_index=True)[1]]
        values = pd.Series(data.half_spread[first])
        means = values.groupby(data.day[first]).mean()
        table[t] = values.mean(), (means if len(means) > 1 else values).sem()
    # Equal quotes must give equal half-spreads: what differences of prices leave behind is no spread.
    table[:, 0] = np.round(table[:, 0], 12 - int(np.ceil(np.log10(data.mid.max()))))
    return table


def _by_interval(data: Observations, index: Index) -> tuple[Index, Index]:
    """`index` sorted by interval, and where each interval but the first begins in it."""
    order = index[np.argsort(data.interval[index], kind="stable")]
    return order, np.searchsorted(data.interval[order], np.arange(1, data.n_intervals))


def _table(coefficients: list[Float], half_spread: Float, powers: dict[str, int]) -> pd.DataFrame:
    table = pd.DataFrame(np.array(coefficients), columns=list(powers))
    return table.assign(half_spread=half_spread).rename_axis("interval")

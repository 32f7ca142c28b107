"""From observed slippage to one impact curve an interval, with honest errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.curves import (
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
)
from research_lib.impact.estimation import (
    ERRORS,
    MODEL_TYPES,
    Estimate,
    Points,
    coefficient_count,
    covariances,
    estimate,
)
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.observations import (
    CENSORING,
    Borrowed,
    Observations,
    borrow,
    metrics_of,
    read_observations,
    score,
    split_by_time,
)
from research_lib.impact.shrinkage import Shrinkage, shrink
from research_lib.impact.slippage import SlippageCurves
from research_lib.market import Session
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
Slippage: TypeAlias = pd.DataFrame | SlippageCurves | ImpactMoments | Observations
CHOICES = {
    "model_type": MODEL_TYPES,
    "by": ("interval", "bucket", "pooled"),
    "estimator": ("least_squares", "weighted"),
    "errors": ("auto", *ERRORS),
    "censoring": CENSORING,
    "shrinkage": ("profile", "none"),
}


@dataclass(frozen=True, eq=False)
class ImpactFit(Record):
    """One fitted impact curve an interval.

    Attributes
    ----------
    model_type : str
    curve : ImpactCurve
        Fitted on all observations given, shrunk: what an allocation should use.
    raw_curve : ImpactCurve
        The same without shrinkage: the coefficients of `params`.
    shrinkage : dict of Shrinkage
        For "impact" and "half_spread": how much of each interval's own estimate the curve keeps.
    params : DataFrame, index interval
        Coefficients and the measured half_spread, before shrinkage.
    bse : DataFrame, as params
        Standard errors; NaN where a coefficient sits at its bound of 0, or one cluster
        (day or snapshot) measured it.
    cov : (n, p, p)
        Covariance of the coefficients (half_spread left out); NaN as in `bse`.
    dof : (n,)
        Degrees of freedom of the t intervals.
    observations : DataFrame, one row a row of the slippage frame, same order
        interval, trade_size, observed and predicted slippage (currency per share),
        residual_bps (observed - predicted, of the mid), impact and predicted_impact
        (beyond the touch, currency per share), sample ("train", "test" or "censored"), n (books
        in the row, whose means the others are), mid, and sums of squares of slippage and impact
        about these means. Predicted by the curve of the training rows, which is `curve` if there
        is no test.
    metrics : dict
        For train and test: _r2, _rmse_bps, _impact_r2, _observations.
        r2 is 1 - SSE / SST of avg_slippage as predicted (half-spread + impact) about the
        evaluated set's own mean, censored rows left out; impact_r2 the same for the impact
        alone, each book's own half-spread given. NaN where there is no test set.
    diagnostics : dict
        censored (rows), widened and pooled (intervals that borrowed observations), bounded
        (intervals with a coefficient held at 0), fell_back (intervals whose power law did
        not converge and is linear), errors (what was taken as independent), completion
        (how censored rows entered), largest_size
        (n,) shares (the largest uncensored size that each interval's fit saw).
    warnings : tuple of str
    information : str
        What the curve was fitted on, and what the metrics were fitted and tested on.
    estimate : Estimate
        The coefficients as functions of size, by interval.

    Examples
    --------
    >>> from research_lib import ImpactModel
    >>> model = ImpactModel("linear")
    >>> fit = model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook()))
    >>> isinstance(fit, ImpactFit), fit.params.columns.tolist(), len(fit.curve)
    (True, ['beta', 'half_spread'], 390)
    """

    model_type: str
    curve: ImpactCurve
    raw_curve: ImpactCurve
    shrinkage: dict[str, Shrinkage]
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    observations: pd.DataFrame
    metrics: dict[str, float]
    diagnostics: dict[str, Any]
    warnings: tuple[str, ...]
    information: str
    estimate: Estimate

    def conf_int(self, alpha: float = 0.05) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lower and upper ends of the 1 - alpha t intervals, each shaped as `params`."""
        reach = self.bse.mul(self._quantile(alpha), axis=0)
        return self.params - reach, self.params + reach

    def band(self, sizes: ArrayLike, interval: int, alpha: float = 0.05) -> pd.DataFrame:
        r"""Slippage of one interval at (k,) sizes with its 1 - alpha band, before shrinkage.

        .. math:: g_t(x) \pm t_{\alpha/2} \sqrt{se(h_t)^2 + J(x)' V_t J(x)}

        Returns
        -------
        DataFrame, index size
            slippage, lower, upper, currency per share; the band is NaN where `bse` is.
        """
        size = np.atleast_1d(np.asarray(sizes, float))
        where = np.full(len(size), interval)
        error = self.estimate.standard_error(where, size, self.cov)
        spread_error = np.nan_to_num(self.bse["half_spread"].iloc[interval])
        reach = self._quantile(alpha)[interval] * np.hypot(error, spread_error)
        slippage = self.params["half_spread"].iloc[interval] + self.estimate.impact(where, size)
        ends = {"slippage": slippage, "lower": slippage - reach, "upper": slippage + reach}
        return pd.DataFrame(ends).set_axis(pd.Index(size, name="size"))

    def to_frame(self) -> pd.DataFrame:
        """Coefficients and standard errors (suffix _se) of every interval, before shrinkage."""
        return self.params.join(self.bse.add_suffix("_se"))

    def summary(self) -> str:
        """Text table: quartiles of the coefficients, the metrics, what was known."""
        quartiles = self.params.describe().loc[["min", "25%", "50%", "75%", "max"]]
        censored = self.diagnostics["censored"]
        completed = f"{censored:,} censored rows: {self.diagnostics['completion']}"
        lines = [
            f"{self.model_type} impact, {len(self.curve)} intervals",
            self.information,
            quartiles.to_string(float_format=lambda v: f"{v:.3g}"),
            "  ".join(f"{name} {value:.3g}" for name, value in self.metrics.items()),
            f"standard errors: {self.diagnostics['errors']}",
            *([completed] if censored else []),
            *(f"shrinkage of {name}: {s.summary()}" for name, s in self.shrinkage.items()),
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Slippage of the median size through the session: the estimates and the shrunk curve."""
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6.4, 3.2), layout="constrained").subplots()
        size = float(np.median(self.observations["trade_size"]))
        interval = np.arange(len(self.curve))
        ax.plot(interval, self.raw_curve.slippage(size), ".", color="0.6", label="own estimate")
        ax.plot(interval, self.curve.slippage(size), color="C0", label="curve")
        ax.set_xlabel("interval of the session")
        ax.set_ylabel(f"slippage of {size:,.6g} shares\n(currency per share)")
        ax.legend(frameon=False)
        return ax

    def _quantile(self, alpha: float) -> Float:
        from scipy import stats

        return np.asarray(stats.t.ppf(1 - alpha / 2, self.dof))


@dataclass(frozen=True)
class FitSettings(Record):
    """How to fit; the arguments of `fit_impact`, which explains them."""

    model_type: str = "linear"
    by: str = "interval"
    n_buckets: int = 13
    estimator: str = "least_squares"
    errors: str = "auto"
    censoring: str = "complete"
    shrinkage: str = "profile"
    min_observations: int = 5
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            refuse_unknown([self[name]], valid, name)
        for name in ("n_buckets", "min_observations"):
            object.__setattr__(self, name, number(name, self[name], 1, integer=True))
        number("tolerance", self.tolerance, above=0)

    def n_groups(self, n_intervals: int) -> int:
        """Curves to fit."""
        buckets = min(self.n_buckets, n_intervals)
        return {"interval": n_intervals, "bucket": buckets, "pooled": 1}[self.by]


@timed("fit_impact")
def fit_impact(
    slippage: Slippage,
    model_type: str = "linear",
    *,
    by: str = "interval",
    n_buckets: int = 13,
    estimator: str = "least_squares",
    errors: str = "auto",
    censoring: str = "complete",
    shrinkage: str = "profile",
    n_intervals: int | None = None,
    test_fraction: float = 0.2,
    min_observations: int = 5,
    tolerance: float = 1e-8,
    session: Session | None = None,
) -> ImpactFit:
    r"""Fit impact_t(x) in every interval, the half-spread measured apart.

    .. math:: \min_{\theta_t \ge 0} \sum_i w_i (s_i - h_i - \mathrm{impact}(x_i; \theta_t))^2

    over the observations i of interval t, where s_i is the observed slippage and h_i the
    half-spread of the same book. The curve's half_spread_t is the mean of h_i. Coefficients
    are held at or above 0, so that curves rise and their cost is convex.

    The curve uses all observations. The metrics come from a second fit that knows the
    training part only. Training comes before testing: the last days are the test where
    there are several; within one day it is the last part of the session, which is
    predicted by one curve fitted to all that came before.

    Parameters
    ----------
    slippage : DataFrame, SlippageCurves or ImpactMoments
        A frame as made by `SlippageCurves.to_frame`; both sides, if present, share one curve.
    model_type : str
        "linear" (beta), "nonlinear" (alpha, beta), "power" (scale, exponent), "sqrt"
        (scale) or "piecewise" (the average book, a premium a step).
    by : "interval", "bucket" or "pooled"
        One curve for each interval, for each of `n_buckets` equal parts of the session, or one.
    estimator : str
        "least_squares"; "weighted", by 1 / size^2, so that relative errors count alike.
    errors : str
        "day", "snapshot" (clusters), "newey-west", "hc3"; "auto" takes days where there are
        several, else snapshots where intervals have several, else hc3.
    censoring : "complete", "drop" or "face_value"
        Censored rows as lower bounds (see `censoring`), or one of the two biased ways.
    shrinkage : "profile" or "none"
        Whether `curve` mixes each interval with a smooth profile of the day (see `shrinkage`).
    n_intervals : int, optional
        Length of the curve; needed only if the last intervals have no row.
    test_fraction : float
        Part of the days (or of the session) kept for the test; 0 makes no test.
    min_observations : int
        An interval with fewer uncensored, or with fewer distinct sizes than coefficients,
        borrows those of its neighbours, nearest first.
    tolerance : float
        A coefficient that adds less than this at the largest size, relative to the mean
        impact, is 0.
    session : Session, optional
        Hours and time zone, for the days of the rows.

    Raises
    ------
    ValidationError
        Missing column, NaN, trade size at or below 0, unknown name, or errors that need rows
        where only moments are given.
    ModelFittingError
        Fewer than `min_observations` usable rows, or too few distinct sizes.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> session = Session(13)
    >>> books = thin_stock(session).books(65, 10, np.random.default_rng(0))
    >>> walked = slippage_curves(books, [200, 500, 1000], "buy")
    >>> fit = fit_impact(walked, "power", n_intervals=13, session=session)
    >>> len(fit.curve), list(fit.params), fit.diagnostics["errors"]
    (13, ['scale', 'exponent', 'half_spread'], 'clustered by day')
    """
    return fit_forms(
        slippage, [model_type], by=by, n_buckets=n_buckets, estimator=estimator, errors=errors,
        censoring=censoring, shrinkage=shrinkage, n_intervals=n_intervals,
        test_fraction=test_fraction, min_observations=min_observations, tolerance=tolerance,
        session=session,
    )[model_type]  # fmt: skip


def fit_forms(
    slippage: Slippage,
    model_types: Iterable[str] = MODEL_TYPES,
    *,
    n_intervals: int | None = None,
    test_fraction: float = 0.2,
    session: Session | None = None,
    **settings: Any,
) -> dict[str, ImpactFit]:
    """`fit_impact` of several forms to the same observations, read and completed once.

    Returns
    -------
    dict of model_type to ImpactFit

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(65, 10, np.random.default_rng(0))
    >>> walked = slippage_curves(books, [200, 500, 1000], "buy")
    >>> fits = fit_forms(walked, ["linear", "sqrt"], n_intervals=13, by="pooled")
    >>> {form: fit.metrics["test_r2"] > 0 for form, fit in fits.items()}
    {'linear': True, 'sqrt': True}
    """
    choices = [FitSettings(model_type, **settings) for model_type in model_types]
    number("test_fraction", test_fraction, 0, 0.9)
    rows_wanted = [c.errors for c in choices if c.errors not in ("auto", "day")]
    if isinstance(slippage, ImpactMoments) and rows_wanted:
        raise ValidationError(f'errors "{rows_wanted[0]}" need rows; moments give "day"')
    data = observed(slippage, n_intervals, session)
    is_test, later, information = split_by_time(data, test_fraction)
    everything = _Sample.of(data, choices[0].censoring)
    training = everything
    if is_test.any():
        training = _Sample.of(data.take(~is_test, ~later), choices[0].censoring)
    fits = {}
    for choice in choices:
        fit = _fit(everything, choice)
        curve = _fit(training, choice).curve if is_test.any() else fit.curve
        scored = score(data, curve, is_test)
        metrics = {**metrics_of(scored, "train"), **metrics_of(scored, "test")}
        fits[choice.model_type] = dataclasses.replace(
            fit, observations=scored, metrics=metrics, information=information
        )
    return fits


def observed(slippage: Slippage, n_intervals: int | None, session: Session | None) -> Observations:
    """What a fit sees, whatever it is given as."""
    if isinstance(slippage, Observations):
        return slippage
    if isinstance(slippage, ImpactMoments):
        return slippage.observations()
    if isinstance(slippage, SlippageCurves):
        slippage = slippage.to_frame(n_intervals, session)
    return read_observations(slippage, n_intervals, session or Session())


@dataclass(frozen=True, eq=False)
class _Sample(Record):
    """Observations, those that are usable, and these as points, by row and by day."""

    data: Observations
    usable: Observations
    completion: str
    rows: Points
    daily: Points

    @classmethod
    def of(cls, data: Observations, censoring: str) -> _Sample:
        usable, total, how = data.usable(censoring)
        return cls(data, usable, how, usable.points(total), usable.daily_points(total))


def _fit(sample: _Sample, choice: FitSettings) -> ImpactFit:
    """Curves of all intervals from one sample, not yet scored."""
    data, usable, n = sample.data, sample.usable, sample.data.n_intervals
    n_groups = choice.n_groups(n)
    needed = coefficient_count(choice.model_type, usable.sizes[usable.size])
    borrowed = borrow(usable, n_groups, choice.min_observations, needed)
    errors = _resolved(choice.errors, data)
    daily = borrowed.regrouped(sample.daily, choice.estimator == "weighted")
    points = daily
    if errors != "day":
        points = borrowed.regrouped(sample.rows, choice.estimator == "weighted")
    found = estimate(points, choice.model_type, choice.tolerance)
    covariance, dof = covariances(points, found, errors)
    half_spread, spread_error = borrowed.half_spread(data.spreads, n)
    between_days = covariance if errors == "day" else covariances(daily, found, "day")[0]
    shrinkage = _shrinkage(daily, found, between_days, choice.shrinkage, borrowed.overlap)
    days = data.spreads.by_day(data.spreads.interval * n_groups // n, n_groups)
    reason = "none: switched off" if choice.shrinkage == "none" else ""
    several = len(np.unique(daily.cluster)) > 1
    of_spread = (spread_error, reason, 0, days) if several else (None, reason)
    spreads = shrink(half_spread, *of_spread)
    largest = np.zeros(n_groups)
    np.maximum.at(largest, points.group, points.size)
    mixed = _shrunk(found, shrinkage, float(np.median(points.size)))
    group = np.arange(n) * n_groups // n
    names, variances = [*found.names, "half_spread"], np.einsum("gii->gi", covariance)
    params = np.column_stack([found.coefficients, half_spread])[group]
    bse = np.column_stack([np.sqrt(variances), spread_error])[group]
    return ImpactFit(
        model_type=choice.model_type,
        curve=_curve_of(found, mixed, spreads.apply(half_spread), largest).take(group),
        raw_curve=_curve_of(found, found.coefficients, half_spread, largest).take(group),
        shrinkage={"impact": shrinkage, "half_spread": spreads},
        params=pd.DataFrame(params, columns=names).rename_axis("interval"),
        bse=pd.DataFrame(bse, columns=names).rename_axis("interval"),
        cov=covariance[group],
        dof=dof[group],
        observations=pd.DataFrame(),
        metrics={},
        diagnostics={
            "censored": int(np.sum(data.n[data.censored])),
            "widened": borrowed.widened,
            "pooled": borrowed.pooled,
            "bounded": np.flatnonzero(np.any(found.coefficients == 0, axis=1)).tolist(),
            "fell_back": found.fell_back,
            "errors": ERRORS[errors],
            "completion": sample.completion,
            "largest_size": largest[group],
        },
        warnings=_warnings(found, borrowed, choice),
        information="",
        estimate=found.take(group),
    )


def _resolved(errors: str, data: Observations) -> str:
    """What is taken as independent, where the caller leaves it open."""
    if errors != "auto":
        return errors
    if len(np.unique(data.day)) > 1:
        return "day"
    snapshots = np.unique(np.column_stack([data.interval, data.cluster]), axis=0)[:, 0]
    return "snapshot" if len(snapshots) > len(np.unique(snapshots)) else "hc3"


def _shrinkage(
    daily: Points, found: Estimate, covariance: Float, shrinkage: str, overlap: int
) -> Shrinkage:
    """Shrinkage of the impact at the median size; errors are those between days."""
    group, size = np.arange(daily.n_groups), np.full(daily.n_groups, np.median(daily.size))
    level = found.impact(group, size)
    reason = "none: switched off" if shrinkage == "none" else ""
    if len(np.unique(daily.cluster)) == 1:
        return shrink(level, None, reason, overlap)
    error = found.standard_error(group, size, covariance)
    error[~found.free.any(axis=1)] = np.nan
    return shrink(level, error, reason, overlap, _daily_levels(daily, level))


def _daily_levels(daily: Points, level: Float) -> Float:
    """The (G,) levels on each day, (D, G): in proportion to the day's own line through the origin.

    NaN where a day has no line.
    """
    shape = int(daily.cluster.max()) + 1, daily.n_groups
    cell = daily.cluster * daily.n_groups + daily.group
    product, square = (
        np.bincount(cell, daily.weight * daily.size * values, shape[0] * shape[1]).reshape(shape)
        for values in (daily.mean, daily.size)
    )
    slope = np.divide(product, square, out=np.full(shape, np.nan), where=square > 0)
    slope = slope[square.any(axis=1)]
    mean = np.nansum(slope, axis=0) / np.maximum(np.isfinite(slope).sum(axis=0), 1)
    relative = np.where(np.isfinite(slope), 1.0, np.nan)
    return np.divide(slope, mean, out=relative, where=mean > 0) * level


def _shrunk(found: Estimate, shrinkage: Shrinkage, size: float) -> Float:
    """Coefficients, (G, p), mixed with the day profile.

    Power laws are mixed in their exponent and in their impact at `size`. A group without impact
    has no exponent of its own: it takes the mean of the others.
    """
    if "exponent" not in found.names:
        return shrinkage.apply(found.coefficients)
    scale, exponent = found.coefficients.T
    positive = scale > 0
    if not positive.any():
        return found.coefficients
    mixed = shrinkage.apply(np.where(positive, exponent, exponent[positive].mean()))
    level = shrinkage.apply(scale * size**exponent)
    return np.column_stack([level * size**-mixed, mixed])


def _curve_of(
    found: Estimate, coefficients: Float, half_spread: Float, largest: Float
) -> ImpactCurve:
    """The form's curve from (G, p) coefficients; a piecewise one ends at the `largest` sizes."""
    if len(found.knots):
        ends = np.maximum(np.append(found.knots[1:], np.inf), found.knots)
        depth = np.minimum(ends, np.maximum(largest[:, None], found.knots)) - found.knots
        return PiecewiseLinearImpact(depth, coefficients, half_spread)
    if found.names == ["beta"]:
        return LinearImpact(coefficients[:, 0], half_spread)
    if found.names == ["alpha", "beta"]:
        return QuadraticImpact(coefficients[:, 0], coefficients[:, 1], half_spread)
    scale, exponent = coefficients.T if len(found.names) == 2 else (coefficients[:, 0], 0.5)
    return PowerImpact(scale, exponent, half_spread)


def _warnings(found: Estimate, borrowed: Borrowed, choice: FitSettings) -> tuple[str, ...]:
    n, said = len(borrowed.first), []
    if borrowed.widened:
        said.append(
            f"under {choice.min_observations} observations or too few sizes in "
            f"{len(borrowed.widened)} of {n} curves, first {borrowed.widened[0]}: they borrow "
            "their neighbours'"
        )
    if found.fell_back:
        said.append(
            f"the power law did not converge in {len(found.fell_back)} of {n} curves, first "
            f"{found.fell_back[0]}: linear there (exponent 1)"
        )
    return tuple(said)

"""One impact curve an interval, fitted to slippage, with standard errors and a held-out test."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import special  # scipy.stats takes a second to import

from research_lib.checks import ArrayLike, Float, number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import curves, estimation
from research_lib.impact.estimation import ERRORS, MODEL_TYPES, Estimate, Points
from research_lib.impact.moments import CENSORING, ImpactMoments, Observations, observations_of
from research_lib.impact.shrinkage import Shrinkage, shrink
from research_lib.impact.slippage import SlippageCurves, checked_sizes
from research_lib.market import Session
from research_lib.market.quality import overnight_jump
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)
Groups: TypeAlias = tuple[Any, Any, Any, Any]  # of `_groups`
Choices: TypeAlias = dict[str, Any]
Slippage: TypeAlias = pd.DataFrame | SlippageCurves | ImpactMoments | Observations
ROUNDING = 1e-10  # of the largest slippage: with less variation there is no R2
R2_RULE = (
    "r2: 1 - SSE / SST of slippage per share (impact_r2: of impact), each about its rows' own mean"
)
MAX_BLOCKS, TIMES_A_BLOCK, GAPS_A_DAY = 5, 13, 39  # of the test on one day
DEFAULTS = {"min_observations": 5, "tolerance": 1e-8}
CHOICES = {  # the first of each is the default
    "by": ("interval", "pooled"), "estimator": ("least_squares", "weighted"),
    "errors": ("auto", *ERRORS), "censoring": CENSORING, "shrinkage": ("profile", "none"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ImpactFit(Record):
    """One fitted impact curve an interval.

    Attributes
    ----------
    model_type : str
    curve : ImpactCurve
        Fitted on all observations and shrunk: the one that an allocation should use.
    raw_curve : ImpactCurve
        The same without shrinkage: the coefficients of `params`.
    shrinkage : dict of Shrinkage
        For "impact" and "half_spread": the weight of each interval's own estimate.
    params : DataFrame, index interval
        Coefficients and the measured half_spread, before shrinkage.
    bse : DataFrame, as params
        Standard errors; NaN where a coefficient is at its bound of 0, or where a single cluster
        (day or snapshot) determines it.
    cov : (n, p, p)
        Covariance of the coefficients (half_spread left out); NaN as in `bse`.
    dof : (n,)
        Degrees of freedom of the t intervals.
    observations : DataFrame, one row a row of the slippage frame, same order
        day, interval, snapshot and book (numbers), trade_size, observed and predicted slippage
        (currency per share),
        residual_bps (observed - predicted, of the mid), impact and predicted_impact
        (beyond the touch, currency per share), sample ("train", "test", "censored", or "gap"
        between the two on one day), n (books in the row, whose means the others are), mid, and
        sums of squares of slippage and impact about these means. Predicted by the curve of the
        training rows, which is `curve` if there is no test.
    metrics : dict
        For train and test: _r2, _rmse_bps, _impact_r2, _observations.
        r2 is 1 - SSE / SST of avg_slippage as predicted (half-spread + impact) about the
        evaluated set's own mean, censored rows left out; impact_r2 the same for the impact
        alone, each book's own half-spread given. NaN where there is no test set.
    diagnostics : dict
        censored (rows), widened and pooled (intervals that use observations of neighbours, or of
        all), bounded (intervals with a coefficient held at 0), fell_back (intervals whose power law
        did not converge and is linear), errors (what was taken as independent), completion (how
        censored rows entered), largest_size (n,) shares (the largest uncensored size in each
        interval's fit).
    warnings : tuple of str
    information : str
        The data that the curve was fitted on, and those that the metrics were fitted and tested on.
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
    curve: curves.ImpactCurve
    raw_curve: curves.ImpactCurve
    shrinkage: dict[str, Shrinkage]
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    diagnostics: dict[str, Any]
    warnings: tuple[str, ...]
    estimate: Estimate
    observations: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: dict[str, float] = field(default_factory=dict)
    information: str = ""

    def conf_int(self, alpha: float = 0.05) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lower and upper ends of the 1 - alpha t intervals, each shaped as `params`."""
        number("alpha", alpha, above=0, high=1)
        reach = self.bse.mul(special.stdtrit(self.dof, 1 - alpha / 2), axis=0)
        return self.params - reach, self.params + reach

    def band(self, sizes: ArrayLike, interval: int, alpha: float = 0.05) -> pd.DataFrame:
        r"""Slippage of one interval at (k,) sizes with its 1 - alpha band, before shrinkage.

        .. math:: g_t(x) \pm t_{\alpha/2} \sqrt{se(h_t)^2 + J(x)' V_t J(x)}

        Returns
        -------
        DataFrame, index size
            slippage, lower, upper, currency per share; the band is NaN where `bse` is.
        """
        size = checked_sizes(sizes)
        where = np.full(len(size), interval)
        error = self.estimate.standard_error(where, size, self.cov)
        spread_error = np.nan_to_num(self.bse["half_spread"].iloc[interval])
        number("alpha", alpha, above=0, high=1)
        reach = special.stdtrit(self.dof[interval], 1 - alpha / 2) * np.hypot(error, spread_error)
        slippage = self.params["half_spread"].iloc[interval] + self.estimate.impact(where, size)
        ends = {"slippage": slippage, "lower": slippage - reach, "upper": slippage + reach}
        return pd.DataFrame(ends, index=pd.Index(size, name="size"))

    def to_frame(self) -> pd.DataFrame:
        """Coefficients and standard errors (suffix _se) of every interval, before shrinkage."""
        return self.params.join(self.bse.add_suffix("_se"))

    def summary(self) -> str:
        """Text table: quartiles of the coefficients, the metrics, the data used."""
        quartiles = self.params.describe().loc[["min", "25%", "50%", "75%", "max"]]
        censored = self.diagnostics["censored"]
        lines = [
            f"{self.model_type} impact, {len(self.curve)} intervals\n{self.information}",
            quartiles.to_string(float_format=lambda v: f"{v:.3g}"),
            "  ".join(f"{name} {value:.3g}" for name, value in self.metrics.items()),
            f"{R2_RULE}\nstandard errors: {self.diagnostics['errors']}",
            f"{censored:,} censored rows: {self.diagnostics['completion']}" if censored else "",
            *(f"shrinkage of {name}: {s.summary()}" for name, s in self.shrinkage.items()),
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(line for line in lines if line)


def fit_settings(given: dict[str, Any]) -> dict[str, Any]:
    """How to fit; `fit_impact` explains the settings."""
    refuse_unknown(given, [*CHOICES, *DEFAULTS], "fit setting")
    how = {**{name: valid[0] for name, valid in CHOICES.items()}, **DEFAULTS, **given}
    for name, valid in CHOICES.items():
        refuse_unknown([how[name]], valid, name)
    number("min_observations", how["min_observations"], 1, integer=True)
    number("tolerance", how["tolerance"], above=0)
    return how


@timed("fit_impact")
def fit_impact(slippage: Slippage, model_type: str = "linear", **settings: Any) -> ImpactFit:
    r"""Fit impact_t(x) in every interval; the half-spread is measured separately.

    .. math:: \min_{\theta_t \ge 0} \sum_i w_i (s_i - h_i - \mathrm{impact}(x_i; \theta_t))^2

    over the observations i of interval t, where s_i is the observed slippage and h_i the
    half-spread of the same book. The curve's half_spread_t is the mean of h_i. Coefficients
    are held at or above 0, so that curves rise and their cost is convex.

    The curve uses all observations. The metrics come from a second fit on the training part only.
    With several days the last ones are the test. With one day the test is up to 5 blocks of
    consecutive times, spread evenly over those observed; the times next to them, up to 1/39 of the
    day on each side, are left out, and the profile of the remaining times predicts the blocks.

    Parameters
    ----------
    slippage : DataFrame, SlippageCurves or ImpactMoments
        A frame as made by `SlippageCurves.to_frame`; if it has both sides, they share one curve.
    model_type : str
        "linear" (beta), "nonlinear" (alpha, beta), "power" (scale, exponent), "sqrt"
        (scale) or "piecewise" (the average book, one premium for each step).
    n_intervals : int, optional
        Length of the curve; needed only if the last intervals have no row.
    test_fraction : float, 0.2 by default
        Part of the days (or of the intervals of one day) kept for the test; 0 makes no test.
    session : Session, optional
        Hours and time zone, for the days of the rows.
    by : "interval" or "pooled"
        One curve for each interval, or one.
    estimator : str
        "least_squares", or "weighted" by 1 / size^2, so that relative errors count the same.
    errors : str
        "day", "snapshot" (clusters), "hc3"; "auto" takes days where there are
        several, else snapshots where intervals have several, else hc3.
    censoring : "complete", "drop" or "face_value"
        Censored rows as lower bounds (see `censoring`), or one of two biased ways.
    shrinkage : "profile" or "none"
        Whether `curve` mixes each interval with a smooth profile of the day (see `Shrinkage`).
    min_observations : int, 5 by default
        An interval with fewer uncensored observations, or with fewer distinct sizes than
        coefficients, also uses those of its neighbours, nearest first.
    tolerance : float, 1e-8 by default
        A coefficient that adds less than this at the largest size, relative to the mean
        impact, is 0.

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
    (13, ['scale', 'exponent', 'half_spread'], 'clustered by session')
    """
    return fit_forms(slippage, [model_type], **settings)[model_type]


def fit_forms(
    slippage: Slippage, model_types: Iterable[str] = MODEL_TYPES, *, n_intervals: int | None = None,
    test_fraction: float = 0.2, session: Session | None = None, **settings: Any,
) -> dict[str, ImpactFit]:  # fmt: skip
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
    forms, how = list(model_types), fit_settings(settings)
    number("test_fraction", test_fraction, 0, 0.9)
    if isinstance(slippage, ImpactMoments) and how["errors"] not in ("auto", "day"):
        raise ValidationError(f'errors "{how["errors"]}" need rows; moments give "day"')
    data = observations_of(slippage, n_intervals, session)
    part, spread_part, information = _split_by_time(data, test_fraction)
    daily = data.spreads.groupby("day")[["mid", "n"]].sum()
    mids = (daily["mid"] / daily["n"]).reindex(range(len(data.dates))).to_numpy()
    if jump := overnight_jump(data.dates, mids, mids):
        information += f"; {jump}, and both sides of it are pooled"
        logger.warning("%s: the fit pools both sides of it; rescale what is earlier", jump)
    every = known = fit_curves(data, forms, how)
    if "test" in part:
        known = fit_curves(data.take(part == "train", spread_part == "train"), forms, how)
    fits = {}
    for form, fit in every.items():
        scored = score(data, known[form].curve, part)
        metrics = metrics_of(scored, "train") | metrics_of(scored, "test")
        fits[form] = replace(fit, observations=scored, metrics=metrics, information=information)
    return fits


def fit_curves(data: Observations, forms: Iterable[str], how: Choices) -> dict[str, ImpactFit]:
    """Fits of several forms to one sample, not yet scored; `how` is of `fit_settings`."""
    refuse_unknown(forms, MODEL_TYPES, "model_type")
    used, said = data.usable(how["censoring"])
    return {form: _fit(data, used, said, form, how) for form in forms}


def _split_by_time(data: Observations, test_fraction: float) -> tuple[Any, Any, str]:
    """Part of each row and of each spread ("train", "gap" or "test"), and a sentence about them.

    With several days the last ones are the test; with one day, blocks of its observed times.
    """
    dates = data.dates
    information = f"fitted on all of {_span(dates)}"
    unit = "day" if len(dates) > 1 else "interval"
    times = np.arange(len(dates)) if unit == "day" else np.unique(data.rows["interval"])
    held_out = max(1, round(test_fraction * len(times))) if test_fraction else 0
    held_out, part = min(held_out, len(times) - 1), np.full(len(times), "train")
    if held_out and unit == "day":
        first = len(times) - held_out
        part[first:] = "test"
        known, tested = _span(dates[:first]), _span(dates[first:])
        information += f"; the metrics fitted on {known} and tested on {tested}"
    elif held_out:
        part, blocks, gap = _blocks(len(times), held_out)
        seen = f"{np.sum(part == 'train')} intervals and tested on {held_out} others"
        where = f"in {blocks} block{'s' * (blocks > 1)} of consecutive times, {gap} at each side"
        information += f"; the metrics fitted on {seen}, {where} of a block left out"
    of = pd.Series(part, times)
    rows, spreads = (of.reindex(x[unit]).fillna("gap") for x in (data.rows, data.spreads))
    return rows.to_numpy(), spreads.to_numpy(), information


def _blocks(count: int, held_out: int) -> tuple[Any, int, int]:
    """Part of each of `count` times of one day: test blocks spread evenly, with gaps beside them.

    Neighbouring books of one day are alike: without a gap the training books would reveal the test.
    """
    blocks = min(MAX_BLOCKS, max(1, count // TIMES_A_BLOCK), held_out)
    gap = min(max(1, count // GAPS_A_DAY), (count - held_out) // (4 * blocks))
    part = np.full(count, "train")
    for k in range(blocks):
        size = held_out * (k + 1) // blocks - held_out * k // blocks
        first = (count * (2 * k + 1) // blocks - size) // 2
        part[max(first - gap, 0) : first + size + gap] = "gap"
        part[first : first + size] = "test"
    return part, blocks, gap


def _span(dates: list[str]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]} ({len(dates)} sessions)"


def _groups(data: Observations, n_groups: int, minimum: int, n_terms: int) -> Groups:
    """The groups of rows (intervals, or all as one) whose observations each group uses.

    A group with fewer than `minimum` filled rows, or fewer sizes than coefficients, also uses those
    of its neighbours, nearest first; groups after the last observed one use all.

    Returns
    -------
    pairs : DataFrame of group, and each `own` group whose rows it uses
    widened, pooled : list of int
        Groups that use neighbours, and those that use all rows.
    observed : (n_groups,) bool
        Groups with filled rows of their own.

    Raises
    ------
    ModelFittingError
        If all rows together are too few, or have too few sizes.
    """
    filled = data.rows[~data.rows["censored"]]
    own = (filled["interval"] * n_groups // data.n_intervals).to_numpy()
    count, shown = np.bincount(own, filled["n"], n_groups), np.zeros((n_groups, len(data.sizes)))
    shown[own, filled["size"]] = 1.0
    needed, sizes = max(minimum, n_terms + 1), int(shown.any(axis=0).sum())
    if count.sum() < needed:
        few = f"{int(count.sum())} uncensored training observations for intervals 0 to "
        few += f"{data.n_intervals - 1}, at least {needed} are needed; "
        raise ModelFittingError(f"{few}add snapshots or lower min_observations or test_fraction")
    if sizes < n_terms:
        short = f"{sizes} distinct trade size does not determine {n_terms} coefficients"
        raise ModelFittingError(f"{short}; add trade sizes")

    def enough(groups: Any) -> bool:
        return bool(count[groups].sum() >= minimum and shown[groups].any(axis=0).sum() >= n_terms)

    end = int(np.flatnonzero(count)[-1]) + 1
    taken = [np.array([g]) for g in range(end)] + [np.arange(end)] * (n_groups - end)
    widened = [g for g in range(end) if not enough([g])]
    for g in widened:
        near = (np.arange(max(g - reach, 0), min(g + reach + 1, end)) for reach in range(1, end))
        taken[g] = next(groups for groups in near if enough(groups))  # at the latest all
    group = np.repeat(np.arange(n_groups), [len(one) for one in taken])
    pairs = pd.DataFrame({"group": group, "own": np.concatenate(taken)})
    return pairs, widened, list(range(end, n_groups)), count > 0


def _by_day(rows: Any, value: str, weight: str, n_groups: int) -> Float:
    """Sum of values over sum of weights of each day and group, (D, G); NaN where there is none."""
    days, day = np.unique(rows["day"], return_inverse=True)
    cell, cells = day * n_groups + rows["group"], len(days) * n_groups
    total, weights = (pd.Series(np.bincount(cell, rows[name], cells)) for name in (value, weight))
    return (total / weights).to_numpy().reshape(len(days), n_groups)


def _half_spreads(
    data: Observations, pairs: pd.DataFrame, g: int, reason: str
) -> tuple[Float, Float, Shrinkage]:
    """Mean half-spread of each group, its standard error, (G,), and its shrinkage.

    A group without a book of its own uses those of its neighbours. The error is that over means of
    days, or over books where there is one day.
    """
    own = data.spreads["interval"] * g // data.n_intervals
    borrowed, spreads = pairs[~pairs["group"].isin(own.unique())], data.spreads.assign(own=own)
    rows = pd.concat([spreads.assign(group=own), spreads.merge(borrowed, on="own")])
    daily = pd.DataFrame(_by_day(rows, "half_spread", "n", g))
    names = ("n", "half_spread", "half_spread_square")
    n, total, square = (np.bincount(rows["group"], rows[name], g) for name in names)
    within = np.maximum(square / n - (total / n) ** 2, 0.0) / np.where(n > 1, n - 1, np.nan)
    error = np.where(daily.count() > 1, daily.sem(), np.sqrt(within))
    daily[borrowed["group"].unique()] = np.nan
    known, days = (error, daily.to_numpy()) if len(daily) > 1 else (None, None)
    shown = np.isin(np.arange(g), own)
    return total / n, error, shrink(total / n, known, reason, 0, days, shown)


def _points(
    used: Observations, pairs: pd.DataFrame, g: int, errors: str, how: Choices
) -> tuple[Points, Points]:
    """Data of the fit, each row in every group that uses it; and the same summed over each day."""

    def grouped(rows: pd.DataFrame) -> Points:
        rows = rows.assign(own=rows["interval"] * g // used.n_intervals).merge(pairs, on="own")
        names = ("group", "n", "total", "cluster", "size")
        group, count, total, cluster, size = (rows[name].to_numpy() for name in names)
        shares = used.sizes[size]
        weight = count / shares**2 if how["estimator"] == "weighted" else count
        return Points(group, shares, count, total / count, cluster, g, weight)

    by_day = used.rows.groupby(["day", "interval", "size"])[["n", "total"]].sum().reset_index()
    daily = grouped(by_day.assign(cluster=by_day["day"]))
    return daily if errors == "day" else grouped(used.rows), daily


def _fit(data: Observations, used: Observations, said: str, form: str, how: Choices) -> ImpactFit:
    """Curves of all intervals, not yet scored, from the rows `used`, completed as `said`."""
    n, sizes, least = data.n_intervals, data.sizes, how["min_observations"]
    g = n if how["by"] == "interval" else 1
    needed = estimation.coefficient_count(form, sizes[used.rows["size"].unique()])
    pairs, widened, pooled, observed = _groups(used, g, least, needed)
    errors = _independent(data) if how["errors"] == "auto" else how["errors"]
    points, daily = _points(used, pairs, g, errors, how)
    found = estimation.estimate(points, form, how["tolerance"])
    covariance, dof = estimation.covariances(points, found, errors)
    reason = "none: switched off" if how["shrinkage"] == "none" else ""
    half_spread, spread_error, spread = _half_spreads(data, pairs, g, reason)
    taken = pairs[observed[pairs["group"]]]
    overlap = int(2 * (taken["group"] - taken["own"]).abs().max())
    impact = _shrinkage(daily, found, reason, overlap, observed)
    largest = pd.Series(points.size).groupby(points.group).max().to_numpy()
    mixed = _shrunk(found, impact, float(np.median(points.size)))
    group, names = np.arange(n) * g // n, [*found.names, "half_spread"]
    errors_of = np.sqrt(np.einsum("gii->gi", covariance)), spread_error
    tables, index = [(found.coefficients, half_spread), errors_of], pd.RangeIndex(n)
    frames = (pd.DataFrame(np.column_stack(one)[group], index, names) for one in tables)
    params, bse = (frame.rename_axis("interval") for frame in frames)
    bounded = np.flatnonzero(np.any(found.coefficients == 0, axis=1)).tolist()
    return ImpactFit(
        model_type=form, params=params, bse=bse, cov=covariance[group], dof=dof[group],
        curve=_curve_of(found, mixed, spread.apply(half_spread), largest).take(group),
        raw_curve=_curve_of(found, found.coefficients, half_spread, largest).take(group),
        shrinkage={"impact": impact, "half_spread": spread}, estimate=found.take(group),
        warnings=_warnings(g, widened, found.fell_back, least),
        diagnostics={
            "censored": int(data.rows.loc[data.rows["censored"], "n"].sum()), "bounded": bounded,
            "widened": widened, "pooled": pooled, "fell_back": found.fell_back,
            "errors": ERRORS[errors], "completion": said, "largest_size": largest[group],
        },
    )  # fmt: skip


def _independent(data: Observations) -> str:
    """What is taken as independent under "auto"."""
    if np.ptp(data.rows["day"]) > 0:
        return "day"
    return "snapshot" if data.rows.groupby("interval")["cluster"].nunique().max() > 1 else "hc3"


def _shrinkage(
    daily: Points, found: Estimate, reason: str, overlap: int, observed: Any
) -> Shrinkage:
    """Shrinkage of the impact at the median size."""
    group, size = np.arange(daily.n_groups), np.full(daily.n_groups, np.median(daily.size))
    level = found.impact(group, size)
    if len(np.unique(daily.cluster)) == 1:
        return shrink(level, None, reason, overlap, None, observed)
    covariance = estimation.covariances(daily, found, "day")[0]
    error = found.standard_error(group, size, covariance)
    error[~found.free.any(axis=1)] = np.nan
    return shrink(level, error, reason, overlap, _daily_levels(daily, level), observed)


def _daily_levels(daily: Points, level: Float) -> Float:
    """The (G,) levels on each day, (D, G): in proportion to the day's own line through the origin.

    NaN where a day has no line.
    """
    product, square = (daily.weight * daily.size * of for of in (daily.mean, daily.size))
    rows = {"day": daily.cluster, "group": daily.group, "product": product, "square": square}
    slope = _by_day(rows, "product", "square", daily.n_groups)
    mean = pd.DataFrame(slope).mean().to_numpy()
    relative = np.where(np.isfinite(slope), 1.0, np.nan)
    return np.divide(slope, mean, out=relative, where=mean > 0) * level


def _shrunk(found: Estimate, shrinkage: Shrinkage, size: float) -> Float:
    """Coefficients, (G, p), mixed with the day profile.

    For power laws the exponent and the impact at `size` are mixed. A group without impact has no
    exponent of its own and gets the mean of the others.
    """
    if "exponent" not in found.names:
        return shrinkage.apply(found.coefficients)
    scale, exponent = found.coefficients.T
    if not (positive := scale > 0).any():
        return found.coefficients
    mixed = shrinkage.apply(np.where(positive, exponent, exponent[positive].mean()))
    return np.column_stack([shrinkage.apply(scale * size**exponent) * size**-mixed, mixed])


def _curve_of(found: Estimate, theta: Float, spread: Float, largest: Float) -> curves.ImpactCurve:
    """The form's curve from (G, p) coefficients; a piecewise one ends at the `largest` sizes."""
    if len(found.knots):
        ends = np.append(found.knots[1:], np.inf)
        depth = np.clip(largest[:, None], found.knots, ends) - found.knots
        rising = np.maximum.accumulate(theta, axis=1)  # up to rounding, mixtures of rising rows do
        return curves.PiecewiseLinearImpact(depth, rising, spread).fitted_up_to(largest)
    power: Any = curves.PowerImpact if "exponent" in found.names else curves.square_root_impact
    families = {"beta": curves.LinearImpact, "alpha": curves.QuadraticImpact, "scale": power}
    return families[found.names[0]](*theta.T, spread).fitted_up_to(largest)


def _warnings(n: int, widened: list[int], fell_back: list[int], minimum: int) -> tuple[str, ...]:
    few = f"under {minimum} observations or too few sizes", "they borrow their neighbours'"
    failed = "the power law did not converge", "linear there (exponent 1)"
    cases = (widened, *few), (fell_back, *failed)
    said = "{} in {} of {} curves, first {}: {}"
    return tuple(said.format(why, len(at), n, at[0], so) for at, why, so in cases if at)


def score(data: Observations, curve: curves.ImpactCurve, part: Any) -> pd.DataFrame:
    """Every row with its prediction, as `ImpactFit.observations`; `part` is its sample."""
    rows = data.rows.reset_index(drop=True)
    of_row, size = curve.take(rows["interval"].to_numpy()), data.sizes[rows["size"]]
    impact = of_row.impact(size)
    predicted = of_row.half_spread + impact
    sample = np.where(rows["censored"], "censored", part)
    return rows[["interval", "book", "n", "mid", "within", "impact_within"]].assign(
        day=np.array(data.dates)[rows["day"]], snapshot=rows["cluster"],
        trade_size=size, observed=rows["slippage"], predicted=predicted, sample=sample,
        residual_bps=1e4 * (rows["slippage"] - predicted) / rows["mid"],
        impact=rows["total"] / rows["n"], predicted_impact=impact,
    )  # fmt: skip


def metrics_of(observations: pd.DataFrame, sample: str) -> dict[str, float]:
    """Metrics of one sample ("train" or "test"), as `ImpactFit.metrics`; NaN where it is empty."""
    rows = observations[observations["sample"] == sample]
    books = float(rows["n"].sum())
    squares = _squared(rows, "observed", rows["predicted"], "within") / rows["mid"] ** 2
    return {
        f"{sample}_r2": _r2(rows, "observed", "predicted", "within"),
        f"{sample}_impact_r2": _r2(rows, "impact", "predicted_impact", "impact_within"),
        f"{sample}_rmse_bps": float(np.sqrt(1e8 * squares.sum() / books)) if books else np.nan,
        f"{sample}_observations": int(books),
    }


def _squared(rows: pd.DataFrame, observed: str, predicted: Any, within: str) -> pd.Series:
    """Sum of squared errors over each row's books: error of the mean plus spread about it."""
    return rows["n"] * (rows[observed] - predicted) ** 2 + rows[within]


def _r2(rows: pd.DataFrame, observed: str, predicted: str, within: str) -> float:
    """1 - SSE / SST about the mean of `observed`; NaN where that varies by rounding only."""
    if rows.empty:
        return np.nan
    mean = float(np.average(rows[observed], weights=rows["n"]))
    variation = float(_squared(rows, observed, mean, within).sum())
    missed = float(_squared(rows, observed, rows[predicted], within).sum())
    rounding = rows["n"].sum() * (ROUNDING * rows["observed"].abs().max()) ** 2
    return 1.0 - missed / variation if variation > rounding else np.nan

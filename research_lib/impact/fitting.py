"""From observed slippage to one impact curve an interval, with honest errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.impact.choices import Choice, checked_choice, refuse_rows_only
from research_lib.impact.covariance import ERRORS, covariances
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.estimation import (
    MODEL_TYPES,
    Estimate,
    Points,
    coefficient_count,
    estimate,
    huber,
    log_log,
)
from research_lib.impact.families import curve_of, shrunk
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.metrics import cell_metrics, metrics_of, score, score_cells
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.neighbours import Borrowed, borrow
from research_lib.impact.observations import (
    Observations,
    read_observations,
    sample_of,
    split_by_time,
)
from research_lib.impact.samples import Sample
from research_lib.impact.shrinkage import Shrinkage, shrink
from research_lib.impact.slippage import SlippageCurves
from research_lib.market import Session
from research_lib.monitoring import timed

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]


@timed("fit_impact")
def fit_impact(
    slippage: pd.DataFrame | SlippageCurves | ImpactMoments,
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
        "least_squares"; "weighted", by 1 / size^2, so that relative errors count alike;
        "huber", robust, for "linear" and "nonlinear"; "log_log", which regresses ln impact
        on ln size for "power": another answer, of the geometric mean over positive impacts.
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
        A coefficient that adds less than this at the largest size, relative to the mean impact, is 0.
    session : Session, optional
        Hours and time zone, for the days of the rows.

    Raises
    ------
    ValidationError
        Missing column, NaN, trade size at or below 0, unknown name, or an estimator or
        errors that need rows where only moments are given.
    ModelFittingError
        Fewer than `min_observations` usable rows, or too few distinct sizes.
    """
    return fit_forms(
        slippage,
        [model_type],
        by=by,
        n_buckets=n_buckets,
        estimator=estimator,
        errors=errors,
        censoring=censoring,
        shrinkage=shrinkage,
        n_intervals=n_intervals,
        test_fraction=test_fraction,
        min_observations=min_observations,
        tolerance=tolerance,
        session=session,
    )[model_type]


def fit_forms(
    slippage: pd.DataFrame | SlippageCurves | ImpactMoments,
    model_types: Iterable[str] = MODEL_TYPES,
    *,
    n_intervals: int | None = None,
    test_fraction: float = 0.2,
    session: Session | None = None,
    **settings: Any,
) -> dict[str, ImpactFit]:
    """`fit_impact` of several forms to the same observations, which are read and completed once.

    Returns
    -------
    dict of model_type to ImpactFit
    """
    choices = [checked_choice(model_type, **settings) for model_type in model_types]
    number("test_fraction", test_fraction, 0, 0.9)
    if isinstance(slippage, SlippageCurves):
        slippage = slippage.to_frame(n_intervals, session)
    if isinstance(slippage, ImpactMoments):
        for choice in choices:
            refuse_rows_only(choice)
        return _fit_and_score(slippage, slippage.sample(), choices, test_fraction)
    data = read_observations(slippage, n_intervals, session or Session())
    return _fit_and_score(data, sample_of(data), choices, test_fraction)


def _fit_and_score(
    source: Observations | ImpactMoments,
    sample: Sample,
    choices: list[Choice],
    test_fraction: float,
) -> dict[str, ImpactFit]:
    """The fits of all rows, scored by the fits of the training rows."""
    split = split_by_time(sample.dates, sample.n_intervals, test_fraction)
    is_test = split.is_test(sample.day, sample.interval)
    later = split.is_test(sample.spreads.day, sample.spreads.interval)
    censoring = choices[0].censoring
    everything = _prepared(sample, censoring)
    earlier = _prepared(sample.take(~is_test, ~later), censoring) if is_test.any() else everything
    censored = int(np.sum(sample.rows.n[sample.rows.censored]))
    fits = {}
    for choice in choices:
        final = _fit(everything, choice)
        trained = _fit(earlier, choice) if is_test.any() else final
        observations, metrics = _scores(source, trained.curve, is_test)
        parts = {name: final[name] for name in final.keys() if name != "diagnostics"}
        fits[choice.model_type] = ImpactFit(
            model_type=choice.model_type,
            observations=observations,
            metrics=metrics,
            diagnostics={"censored": censored, **final.diagnostics},
            information=split.information,
            **parts,
        )
    return fits


def _scores(
    source: Observations | ImpactMoments, curve: ImpactCurve, is_test: Mask
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Observations with the curve's predictions, and the metrics of both samples."""
    if isinstance(source, ImpactMoments):
        cells = score_cells(source, curve, is_test)
        return cells, {**cell_metrics(cells, "train"), **cell_metrics(cells, "test")}
    rows = score(source, curve, is_test)
    return rows, {**metrics_of(rows, "train"), **metrics_of(rows, "test")}


@dataclass(frozen=True, eq=False)
class _Fitted(Record):
    curve: ImpactCurve
    raw_curve: ImpactCurve
    shrinkage: dict[str, Shrinkage]
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    diagnostics: dict[str, Any]
    warnings: tuple[str, ...]
    estimate: Estimate


@dataclass(frozen=True, eq=False)
class _Prepared(Record):
    """A sample, its usable rows with their completed totals, and these summed by day."""

    sample: Sample
    usable: Sample
    total: Float
    completion: str
    daily: tuple[Sample, Float]


def _prepared(sample: Sample, censoring: str) -> _Prepared:
    usable, total, completion = sample.usable(censoring)
    return _Prepared(sample, usable, total, completion, usable.daily(total))


def _fit(prepared: _Prepared, choice: Choice) -> _Fitted:
    """Curves of all intervals from one sample."""
    sample, usable, total, daily = prepared.sample, prepared.usable, prepared.total, prepared.daily
    n, n_groups = sample.n_intervals, choice.n_groups(sample.n_intervals)
    needed = coefficient_count(choice.model_type, usable.rows.sizes[usable.rows.size])
    borrowed = borrow(usable, n_groups, choice.minimum, needed)
    errors = _resolved(choice.errors, sample)
    by_rows = choice.estimator in ("huber", "log_log") or errors != "day"
    found, points = _estimated(
        _points(*((usable, total) if by_rows else daily), borrowed, errors, choice), choice
    )
    covariance, dof = covariances(points, found, errors)
    half_spread, spread_error = borrowed.half_spread(sample.spreads, n)
    by_day = _points(*daily, borrowed, "day", choice)
    between_days = covariance if not by_rows else covariances(by_day, found, "day")[0]
    daily_spread = sample.spreads.by_day(sample.spreads.interval * n_groups // n, n_groups)
    shrinkage = _shrinkage(
        by_day,
        found,
        between_days,
        half_spread,
        spread_error,
        daily_spread,
        choice,
        borrowed.overlap,
    )
    largest = np.zeros(n_groups)
    np.maximum.at(largest, points.group, points.size)
    raw = curve_of(found, found.coefficients, half_spread, largest)
    mixed = shrunk(found, shrinkage["impact"], float(np.median(points.size)))
    curve = curve_of(found, mixed, shrinkage["half_spread"].apply(half_spread), largest)
    group = np.arange(n) * n_groups // n
    names, variances = [*found.names, "half_spread"], np.einsum("gii->gi", covariance)
    params = np.column_stack([found.coefficients, half_spread])[group]
    bse = np.column_stack([np.sqrt(variances), spread_error])[group]
    return _Fitted(
        curve=curve.take(group),
        raw_curve=raw.take(group),
        shrinkage=shrinkage,
        params=pd.DataFrame(params, columns=names).rename_axis("interval"),
        bse=pd.DataFrame(bse, columns=names).rename_axis("interval"),
        cov=covariance[group],
        dof=dof[group],
        diagnostics={
            "widened": borrowed.widened,
            "pooled": borrowed.pooled,
            "bounded": np.flatnonzero(np.any(found.coefficients == 0, axis=1)).tolist(),
            "fell_back": found.fell_back,
            "errors": ERRORS[errors],
            "completion": prepared.completion,
            "largest_size": largest[group],
        },
        warnings=_warnings(found, borrowed, choice),
        estimate=dataclasses.replace(
            found, coefficients=found.coefficients[group], free=found.free[group]
        ),
    )


def _resolved(errors: str, sample: Sample) -> str:
    """What is taken as independent, where the caller leaves it open."""
    if errors != "auto":
        return errors
    if len(np.unique(sample.day)) > 1:
        return "day"
    snapshots = np.unique(np.column_stack([sample.interval, sample.cluster]), axis=0)[:, 0]
    return "snapshot" if len(snapshots) > len(np.unique(snapshots)) else "hc3"


def _points(
    sample: Sample, total: Float, borrowed: Borrowed, errors: str, choice: Choice
) -> Points:
    """Rows of every group, borrowed ones repeated, as means with weights; days or snapshots are the clusters."""
    group, row = borrowed.rows(sample.interval, sample.n_intervals)
    rows = sample.rows
    size, n = rows.sizes[rows.size][row], rows.n[row]
    weight = n / size**2 if choice.estimator == "weighted" else n
    cluster = sample.day if errors == "day" else sample.cluster
    return Points(group, size, weight, total[row] / n, n, cluster[row], len(borrowed.first))


def _estimated(points: Points, choice: Choice) -> tuple[Estimate, Points]:
    """The estimate, and the points with the weights that it ended with."""
    if choice.estimator == "huber":
        found, weight = huber(points, choice.model_type, choice.tolerance)
        return found, points.reweighted(weight)
    if choice.estimator == "log_log":
        return log_log(points), points
    return estimate(points, choice.model_type, choice.tolerance), points


def _shrinkage(
    points: Points,
    found: Estimate,
    covariance: Float,
    half_spread: Float,
    spread_error: Float,
    daily_spread: Float,
    choice: Choice,
    overlap: int,
) -> dict[str, Shrinkage]:
    """Shrinkage of the impact at the median size, and of the half-spread; errors are those between days."""
    group, size = np.arange(points.n_groups), np.full(points.n_groups, np.median(points.size))
    level = found.impact(group, size)
    reason = "none: switched off" if choice.shrinkage == "none" else ""
    if len(np.unique(points.cluster)) > 1:
        error = np.where(
            found.free.any(axis=1), found.standard_error(group, size, covariance), np.nan
        )
        return {
            "impact": shrink(level, error, reason, overlap, _daily_levels(points, level)),
            "half_spread": shrink(half_spread, spread_error, reason, 0, daily_spread),
        }
    return {
        "impact": shrink(level, None, reason, overlap),
        "half_spread": shrink(half_spread, None, reason),
    }


def _daily_levels(points: Points, level: Float) -> Float:
    """The (G,) levels on each day, (D, G): in proportion to the day's own line through the origin; NaN without one."""
    shape = int(points.cluster.max()) + 1, points.n_groups
    cell = points.cluster * points.n_groups + points.group
    product = np.bincount(
        cell, points.weight * points.size * points.mean, shape[0] * shape[1]
    ).reshape(shape)
    square = np.bincount(cell, points.weight * points.size**2, shape[0] * shape[1]).reshape(shape)
    days = square.any(axis=1)
    slope = np.divide(product, square, out=np.full(shape, np.nan), where=square > 0)[days]
    mean = np.nansum(slope, axis=0) / np.maximum(np.isfinite(slope).sum(axis=0), 1)
    return (
        np.divide(slope, mean, out=np.where(np.isfinite(slope), 1.0, np.nan), where=mean > 0)
        * level
    )


def _warnings(found: Estimate, borrowed: Borrowed, choice: Choice) -> tuple[str, ...]:
    said = []
    if borrowed.widened:
        said.append(
            f"under {choice.minimum} observations or too few sizes in {len(borrowed.widened)} of "
            f"{len(borrowed.first)} curves, first {borrowed.widened[0]}: they borrow their neighbours'"
        )
    if found.fell_back:
        said.append(
            f"the power law did not converge in {len(found.fell_back)} of {len(borrowed.first)} curves, first "
            f"{found.fell_back[0]}: linear there (exponent 1)"
        )
    return tuple(said)

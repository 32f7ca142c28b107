r"""Which form predicts slippage that it has not seen, by how much, and where it is off.

Every form is fitted on some days and scored on a day held out; within one day the units
are blocks of the session instead. Scores pool the held-out units.

Information criteria are of the fit to all observations, before shrinkage, with the
likelihood that least squares maximises: impact with independent Gaussian errors of one
variance,

.. math:: AIC = n \ln(2 \pi e\, SSE / n) + 2 (p + 1), \quad
          BIC = n \ln(2 \pi e\, SSE / n) + (p + 1) \ln n

with n uncensored observations (of the sizes scored) and p free coefficients over all intervals. Rows of one
book are not independent and errors grow with size, so that both criteria flatter forms
with many coefficients: where they disagree with the held-out error, believe the latter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ModelFittingError
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.fitting import fit_forms
from research_lib.impact.folds import Fold, Parts, cut
from research_lib.impact.metrics import cell_metrics, metrics_of, score, score_cells
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.observations import read_observations
from research_lib.impact.slippage import SlippageCurves
from research_lib.market import Session
from research_lib.monitoring import timed

Float = NDArray[np.float64]

ROUNDING_BPS = 1e-6  # errors below it are floating-point noise


@dataclass(frozen=True, eq=False)
class Validation(Record):
    """How well forms predict what they were not fitted on.

    Attributes
    ----------
    table : DataFrame, index model_type, best first
        r2 and impact_r2 (1 - SSE / SST about the held-out observations' own mean; of the
        slippage and of the impact alone), rmse_bps, observations (held out), aic, bic
        (of the fit to everything; see the module), coefficients.
    by_unit : DataFrame, index held-out day or block, columns model_type
        rmse_bps of each.
    calibration : DataFrame, index (model_type, decile)
        n, predicted_bps, observed_bps (means), lower, upper (95 % interval of the observed
        mean given the prediction, over days; NaN with one day).
    information : str
        What was fitted on what.
    reading : str
        The verdict, in one or two sentences.
    """

    table: pd.DataFrame
    by_unit: pd.DataFrame
    calibration: pd.DataFrame
    information: str
    reading: str


@timed("cross_validate")
def cross_validate(
    slippage: pd.DataFrame | SlippageCurves | ImpactMoments,
    model_types: Sequence[str] = MODEL_TYPES,
    *,
    scheme: str = "leave_one_day_out",
    n_deciles: int = 10,
    n_blocks: int = 5,
    most_censored: float = 0.05,
    n_intervals: int | None = None,
    session: Session | None = None,
    **settings: Any,
) -> Validation:
    """Fit every form on some days, predict the others, and compare.

    Parameters
    ----------
    slippage : DataFrame, SlippageCurves or ImpactMoments
        As for `fit_impact`. Moments are quicker where many books share a day and interval;
        their rmse_bps takes the mean mid of each.
    model_types : sequence of str
    scheme : "leave_one_day_out" or "walk_forward"
        Fit on all other days, or on the earlier days only: what could have been known.
    n_deciles : int
        Groups of equal size of the predicted slippage.
    n_blocks : int
        Blocks of the session, used where there is one day only.
    most_censored : float
        Sizes that a larger part of the books cannot fill are fitted but not scored: the rows
        that are left of them are those of deep books, which a right curve overstates.
    **settings
        Of `fit_impact`, the same for every form: by, estimator, censoring, shrinkage, ...

    Raises
    ------
    ValidationError, ModelFittingError
        As `fit_impact`; fewer than two days or blocks; no observation to score.
    """
    deciles = number("n_deciles", n_deciles, 2, integer=True)
    parts = cut(slippage, n_intervals=n_intervals, n_blocks=n_blocks, session=session)
    choice = {
        **settings,
        "session": session,
        "n_intervals": parts.n_intervals,
        "test_fraction": 0.0,
    }
    folds = list(parts.folds(scheme))
    forms = list(model_types)
    predictions = _predicted(parts, folds, forms, choice)
    known = _scored(predictions, number("most_censored", most_censored, 0, 1))
    held_out = {form: rows[known] for form, rows in predictions.items()}
    sizes = np.unique(next(iter(held_out.values()))["trade_size"])
    criteria = {
        form: _criteria(parts, fit, sizes)
        for form, fit in fit_forms(parts.source, forms, **choice).items()
    }
    table = pd.DataFrame(
        {form: {**_scores(rows), **criteria[form]} for form, rows in held_out.items()}
    ).T
    table = (
        table.astype({"observations": int, "coefficients": int})
        .rename_axis("model_type")
        .sort_values("rmse_bps")
    )
    by_unit = pd.DataFrame({form: _rmse_by_unit(rows, parts) for form, rows in held_out.items()})
    calibration = pd.concat(
        {form: calibrate(rows, deciles, parts.by_day) for form, rows in held_out.items()},
        names=["model_type"],
    )
    reading = (
        f"{_verdict(table, by_unit, parts)} {_calibration_reading(calibration.loc[table.index[0]])}"
    )
    information = f"{_information(parts, scheme)}; scored on {len(sizes)} sizes, {sizes[0]:,.0f} to {sizes[-1]:,.0f} shares"
    return Validation(table, by_unit, calibration, information, reading)


def calibrate(predictions: pd.DataFrame, n_deciles: int = 10, by_day: bool = True) -> pd.DataFrame:
    """Mean predicted and observed slippage by group of the predicted, equal numbers of observations in each.

    Parameters
    ----------
    predictions : DataFrame
        predicted_bps, observed_bps, n (books in the row) and unit (day).
    by_day : bool
        Whether units are days, between which errors are independent; else no interval is given.

    Returns
    -------
    DataFrame, index decile from 1
        As `Validation.calibration`. Equal predictions share a decile, so that some may be missing.
    """
    values, of = np.unique(predictions["predicted_bps"], return_inverse=True)
    weight = np.bincount(of, predictions["n"], len(values))
    middle = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    rows = predictions.assign(
        decile=1 + np.minimum((n_deciles * middle).astype(int), n_deciles - 1)[of]
    )
    table = _weighted_means(rows, ["decile"])
    daily = _weighted_means(rows, ["decile", "unit"])
    gaps = (daily["observed_bps"] - daily["predicted_bps"]).groupby("decile")
    reach = half_width(gaps.std(), gaps.count()) if by_day else np.nan
    return table.assign(lower=table["observed_bps"] - reach, upper=table["observed_bps"] + reach)


def half_width(deviation: ArrayLike, count: ArrayLike) -> Float:
    """Half of the 95 % t interval of means of `count` independent values with standard `deviation`; NaN for one."""
    from scipy import stats

    number_of = np.asarray(count, float)
    dof = np.where(number_of > 1, number_of - 1, np.nan)
    return np.asarray(stats.t.ppf(0.975, dof) * np.asarray(deviation, float) / np.sqrt(number_of))


def _weighted_means(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    names = ["predicted_bps", "observed_bps"]
    sums = (
        rows[names]
        .mul(rows["n"], axis=0)
        .assign(n=rows["n"])
        .groupby([rows[name] for name in by])
        .sum()
    )
    return sums[["n"]].astype(int).join(sums[names].div(sums["n"], axis=0))


def _predicted(
    parts: Parts, folds: list[Fold], forms: list[str], choice: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Held-out observations of all folds with what each form, fitted on the rest, predicts."""
    scored: dict[str, list[pd.DataFrame]] = {form: [] for form in forms}
    for fold in folds:
        fits = fit_forms(parts.take(fold.fitted), forms, **choice)
        curves = {form: fit.curve for form, fit in fits.items()}
        held_out = scored_by(
            curves, parts.take(fold.held_out), parts.n_intervals, choice["session"]
        )
        for form, rows in held_out.items():
            scored[form].append(rows.assign(unit=int(fold.held_out[0])))
    return {form: pd.concat(rows, ignore_index=True) for form, rows in scored.items()}


def scored_by(
    curves: Mapping[str, ImpactCurve],
    held_out: pd.DataFrame | ImpactMoments,
    n_intervals: int,
    session: Session | None,
) -> dict[str, pd.DataFrame]:
    """Every observation with each curve's prediction, as `ImpactFit.observations`; n, observed and predicted bps."""
    if isinstance(held_out, ImpactMoments):
        everything = np.ones(len(held_out.cells), bool)
        tables = {form: score_cells(held_out, curve, everything) for form, curve in curves.items()}
        mids = {form: rows["mid"] for form, rows in tables.items()}
    else:
        data = read_observations(held_out, n_intervals, session or Session())
        everything = np.ones(len(data.size), bool)
        tables = {
            form: score(data, curve, everything).assign(n=1.0) for form, curve in curves.items()
        }
        mids = dict.fromkeys(tables, pd.Series(data.mid))
    return {
        form: rows.assign(
            predicted_bps=1e4 * rows["predicted"] / mids[form],
            observed_bps=1e4 * rows["observed"] / mids[form],
        )
        for form, rows in tables.items()
    }


def _scored(predictions: dict[str, pd.DataFrame], most_censored: float) -> NDArray[np.bool_]:
    """Uncensored rows of seldom censored sizes that every form predicts (a piecewise curve ends somewhere)."""
    rows = next(iter(predictions.values()))
    known = seldom_censored(
        rows["trade_size"], rows["sample"] == "censored", rows["n"], most_censored
    )
    known &= np.logical_and.reduce(
        [np.isfinite(form["predicted"]) for form in predictions.values()]
    )
    if not known.any():
        raise ModelFittingError(
            f"none of {len(known):,} held-out observations is uncensored, of a size that at most {most_censored:.0%} "
            "of the books cannot fill, and predicted by every form; use smaller trade sizes"
        )
    return known


def seldom_censored(
    size: ArrayLike, censored: ArrayLike, books: ArrayLike, most_censored: float
) -> NDArray[np.bool_]:
    """Rows (m,) that are uncensored and of a size that at most `most_censored` of the books cannot fill."""
    lacking = np.asarray(censored, bool)
    of = np.unique(size, return_inverse=True)[1]
    share = np.bincount(of, np.where(lacking, books, 0.0)) / np.bincount(of, books)
    return ~lacking & (share <= most_censored)[of]


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    metrics = cell_metrics(rows, "test") if "square" in rows else metrics_of(rows, "test")
    return {name.removeprefix("test_"): value for name, value in metrics.items()}


def _rmse_by_unit(rows: pd.DataFrame, parts: Parts) -> pd.Series:
    scores = {
        parts.labels[int(unit)]: _scores(group)["rmse_bps"] for unit, group in rows.groupby("unit")
    }
    return pd.Series(scores).rename_axis(parts.kind)


def _criteria(parts: Parts, fit: ImpactFit, sizes: Float) -> dict[str, float]:
    """AIC and BIC of the unshrunk curve on all days at the sizes scored, and the number of free coefficients."""
    rows = scored_by({"raw": fit.raw_curve}, parts.source, parts.n_intervals, parts.session)["raw"]
    rows = rows[
        (rows["sample"] != "censored")
        & np.isfinite(rows["predicted"])
        & np.isin(rows["trade_size"], sizes)
    ]
    square = rows["impact_square"] if "impact_square" in rows else rows["impact"] ** 2
    of_rows = (
        rows["predicted_impact"] * rows["n"] * (rows["predicted_impact"] - 2.0 * rows["impact"])
    )
    n, sse = float(rows["n"].sum()), float(np.sum(square + of_rows))
    coefficients = np.column_stack([fit.estimate.coefficients, fit.estimate.free])
    p = int(np.unique(coefficients, axis=0)[:, fit.estimate.coefficients.shape[1] :].sum())
    fitted = n * (np.log(2.0 * np.pi * sse / n) + 1.0) if sse > 0 else -np.inf
    return {"aic": fitted + 2 * (p + 1), "bic": fitted + (p + 1) * np.log(n), "coefficients": p}


def _information(parts: Parts, scheme: str) -> str:
    n_held_out = len(parts.labels) - (scheme == "walk_forward")
    said = f"each of {n_held_out} {parts.kind}s predicted by fits to {parts.others(scheme)}"
    return said if parts.by_day else f"one day: {said}"


def _verdict(table: pd.DataFrame, by_unit: pd.DataFrame, parts: Parts) -> str:
    """Best form, its error and R2, and whether the next one can be told from it."""
    best = table.index[0]
    if table["rmse_bps"].iloc[0] < ROUNDING_BPS:
        exact = table.index[table["rmse_bps"] < ROUNDING_BPS]
        return f"To rounding, {', '.join(exact)} predict every held-out observation: these books cannot tell forms apart."
    text = f"{best} predicts best: RMSE {table['rmse_bps'].iloc[0]:.3g} bps, R2 {table['r2'].iloc[0]:.3g} held out"
    if len(table) == 1:
        return f"{text}."
    second = table.index[1]
    gap = by_unit[second] - by_unit[best]
    wins = f"{best} is better on {int((gap > 0).sum())} of {len(gap)} {parts.kind}s"
    if not parts.by_day or len(gap) < 2:
        return f"{text}; next is {second} ({table['rmse_bps'].iloc[1]:.3g} bps): {wins}, too few to tell them apart."
    mean = float(gap.mean())
    reach = float(half_width(gap.std(), len(gap)))
    verdict = "a difference beyond chance" if mean > reach else "which cannot be told from chance"
    span = f"{mean:.2g} bps (95 % interval {mean - reach:.2g} to {mean + reach:.2g})"
    return f"{text}. {wins} against {second}, by {span}: {verdict}."


def _calibration_reading(table: pd.DataFrame) -> str:
    """Where the predictions are furthest off, relative to what is observed."""
    miss = table["predicted_bps"] / table["observed_bps"] - 1.0
    worst = miss.abs().idxmax()
    row, predicted = table.loc[worst], table["predicted_bps"]
    text = (
        f"It is furthest off in decile {worst} of the predictions, where it says {row['predicted_bps']:.3g} bps "
        f"and {row['observed_bps']:.3g} are observed"
    )
    if (
        np.ptp(predicted) <= ROUNDING_BPS
    ):  # books without impact: one prediction, which has no slope
        return f"{text}."
    slope = np.polyfit(predicted, table["observed_bps"], 1)[0]
    return f"{text}; 1 bps more predicted is {slope:.2f} bps more observed."

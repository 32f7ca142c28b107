r"""Which form predicts slippage that it has not seen, by how much, and where it is off.

Every form is fitted on some days and scored on a day held out; within one day the units
are blocks of the session instead. Scores pool the held-out units.

Information criteria are of the fit to all observations, before shrinkage, with the
likelihood that least squares maximises: impact with independent Gaussian errors of one
variance,

.. math:: AIC = n \ln(2 \pi e\, SSE / n) + 2 (p + 1), \quad
          BIC = n \ln(2 \pi e\, SSE / n) + (p + 1) \ln n

with n uncensored observations (of the sizes scored) and p free coefficients over all
intervals. Rows of one book are not independent and errors grow with size, so that both
criteria flatter forms with many coefficients: where they disagree with the held-out error,
believe the latter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.fit import ImpactFit, Slippage, fit_forms, observed
from research_lib.impact.observations import Observations, metrics_of, score, squared_errors
from research_lib.market import Session
from research_lib.monitoring import timed

Float = NDArray[np.float64]
Index = NDArray[np.int64]

SCHEMES = ("leave_one_day_out", "walk_forward")
ROUNDING = 1e-7  # of the slippage: sums of squares keep half of the digits of what they sum


@dataclass(frozen=True, eq=False)
class Fold(Record):
    """Units fitted and units held out, by number, with no unit in both."""

    fitted: Index
    held_out: Index


@dataclass(frozen=True, eq=False)
class Parts(Record):
    """Observations cut into units in time order.

    Attributes
    ----------
    data : Observations
    unit, spread_unit : (m,), (k,)
        Unit of each row, and of each half-spread.
    labels : list of str
        Days as "YYYY-MM-DD", or blocks of the one day as "intervals a to b".
    by_day : bool
        False where the units are blocks of one day.
    """

    data: Observations
    unit: Index
    spread_unit: Index
    labels: list[str]
    by_day: bool

    @property
    def n_intervals(self) -> int:
        """Intervals of the session."""
        return self.data.n_intervals

    @property
    def kind(self) -> str:
        """What a unit is called."""
        return "day" if self.by_day else "block"

    def others(self, scheme: str) -> str:
        """What each fold of a scheme is fitted on, in words."""
        if scheme == "walk_forward":
            return f"the earlier {self.kind}s only"
        return "all other days, later ones too" if self.by_day else "all other blocks"

    def take(self, units: Iterable[int], among: ArrayLike = True) -> Observations:
        """The observations of the chosen units, those in `among` (m,) only, for `fit_forms`."""
        chosen = np.zeros(len(self.labels), bool)
        chosen[list(units)] = True
        return self.data.take(chosen[self.unit] & np.asarray(among), chosen[self.spread_unit])

    def folds(self, scheme: str) -> Iterator[Fold]:
        """Every unit held out once.

        "walk_forward" fits on earlier units only and so holds the first one never out.

        Raises
        ------
        ValidationError
            An unknown scheme.
        InsufficientDataError
            One unit alone.
        """
        refuse_unknown([scheme], SCHEMES, "scheme")
        units, forward = np.arange(len(self.labels)), scheme == "walk_forward"
        if len(units) < 2:
            raise InsufficientDataError(
                f"1 {self.kind} cannot be fitted and held out; give 2 days or raise n_blocks"
            )
        for u in units[forward:]:
            yield Fold(units[:u] if forward else np.delete(units, u), units[u : u + 1])


def cut(
    slippage: Slippage,
    *,
    n_intervals: int | None = None,
    n_blocks: int = 5,
    session: Session | None = None,
) -> Parts:
    """Cut observations into days or, where there is one day only, into `n_blocks` equal blocks.

    Raises
    ------
    ValidationError
        As `fit_impact`; an interval at or beyond `n_intervals`.
    """
    data = observed(slippage, n_intervals, session)
    spreads, n = data.spreads, data.n_intervals
    if len(data.dates) > 1:
        return Parts(data, data.day, spreads.day, data.dates, True)
    blocks = min(number("n_blocks", n_blocks, 2, integer=True), n)
    edges = -(-np.arange(blocks + 1) * n // blocks)
    names = [f"intervals {first} to {end - 1}" for first, end in itertools.pairwise(edges)]
    of_rows, of_spreads = (part.interval * blocks // n for part in (data, spreads))
    return Parts(data, of_rows, of_spreads, names, False)


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

    def to_frame(self) -> pd.DataFrame:
        """The table of forms, best first."""
        return self.table


@timed("cross_validate")
def cross_validate(
    slippage: Slippage,
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

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(65, 10, np.random.default_rng(0))
    >>> walked = slippage_curves(books, [200, 500, 1000], "buy")
    >>> found = cross_validate(walked, ["linear", "sqrt"], n_intervals=13)
    >>> sorted(found.table.index), len(found.by_unit)
    (['linear', 'sqrt'], 5)
    """
    deciles = number("n_deciles", n_deciles, 2, integer=True)
    parts = cut(slippage, n_intervals=n_intervals, n_blocks=n_blocks, session=session)
    settings = {**settings, "test_fraction": 0.0}
    forms = list(model_types)
    predictions = _predicted(parts, list(parts.folds(scheme)), forms, settings)
    known = _scored(predictions, number("most_censored", most_censored, 0, 1))
    held_out = {form: rows[known] for form, rows in predictions.items()}
    first = next(iter(held_out.values()))
    sizes = np.unique(first["trade_size"])
    fits = fit_forms(parts.data, forms, **settings)
    scores = {
        form: {**_scores(rows), **_criteria(parts.data, fits[form], sizes)}
        for form, rows in held_out.items()
    }
    table = pd.DataFrame(scores).T.astype({"observations": int, "coefficients": int})
    table = table.rename_axis("model_type").sort_values("rmse_bps")
    by_unit = pd.DataFrame({form: _rmse_by_unit(rows, parts) for form, rows in held_out.items()})
    deciles_of = {form: _calibrated(rows, deciles, parts) for form, rows in held_out.items()}
    calibration = pd.concat(deciles_of, names=["model_type"])
    noise = ROUNDING * float(np.average(first["observed_bps"].abs(), weights=first["n"]))
    verdict = _verdict(table, by_unit, parts, noise)
    reading = f"{verdict} {_calibration_reading(calibration.loc[table.index[0]])}"
    information = (
        f"{_information(parts, scheme)}; scored on {len(sizes)} sizes, {amount(sizes[0])} to "
        f"{amount(sizes[-1])} shares"
    )
    return Validation(table, by_unit, calibration, information, reading)


def _predicted(
    parts: Parts, folds: list[Fold], forms: list[str], settings: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """Held-out observations of all folds with what each form, fitted on the rest, predicts."""
    scored: dict[str, list[pd.DataFrame]] = {form: [] for form in forms}
    for fold in folds:
        fits = fit_forms(parts.take(fold.fitted), forms, **settings)
        held_out = parts.take(fold.held_out)
        everything = np.ones(len(held_out.n), bool)
        for form, fit in fits.items():
            rows = score(held_out, fit.curve, everything)
            bps = {name: 1e4 * rows[name] / rows["mid"] for name in ("predicted", "observed")}
            bps = {f"{name}_bps": values for name, values in bps.items()}
            scored[form].append(rows.assign(**bps, unit=int(fold.held_out[0])))
    return {form: pd.concat(rows, ignore_index=True) for form, rows in scored.items()}


def _scored(predictions: dict[str, pd.DataFrame], most_censored: float) -> NDArray[np.bool_]:
    """Uncensored rows of seldom censored sizes that every form predicts."""
    rows = next(iter(predictions.values()))
    censored = rows["sample"] == "censored"
    known = seldom_censored(rows["trade_size"], censored, rows["n"], most_censored)
    for form in predictions.values():  # a piecewise curve ends somewhere
        known &= np.isfinite(form["predicted"].to_numpy())
    if not known.any():
        raise ModelFittingError(
            f"none of {len(known):,} held-out observations is uncensored, of a size that at most "
            f"{most_censored:.0%} of the books cannot fill, and predicted by every form; use "
            "smaller trade sizes"
        )
    return known


def seldom_censored(
    size: ArrayLike, censored: ArrayLike, books: ArrayLike, most_censored: float
) -> NDArray[np.bool_]:
    """Rows (m,) uncensored and of a size that at most `most_censored` of the books cannot fill."""
    lacking = np.asarray(censored, bool)
    of = np.unique(size, return_inverse=True)[1]
    share = np.bincount(of, np.where(lacking, books, 0.0)) / np.bincount(of, books)
    return ~lacking & (share <= most_censored)[of]


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    return {k.removeprefix("test_"): value for k, value in metrics_of(rows, "test").items()}


def _rmse_by_unit(rows: pd.DataFrame, parts: Parts) -> pd.Series:
    scores = {parts.labels[int(u)]: _scores(group)["rmse_bps"] for u, group in rows.groupby("unit")}
    return pd.Series(scores).rename_axis(parts.kind)


def _criteria(data: Observations, fit: ImpactFit, sizes: Float) -> dict[str, float]:
    """AIC and BIC of the unshrunk curve at the sizes scored, and its free coefficients."""
    rows = score(data, fit.raw_curve, np.ones(len(data.n), bool))
    known = (rows["sample"] == "test") & np.isfinite(rows["predicted"])
    rows = rows[known & np.isin(rows["trade_size"], sizes)]
    n = float(rows["n"].sum())
    sse = float(squared_errors(rows, "impact", "predicted_impact", "impact_within").sum())
    coefficients = np.column_stack([fit.estimate.coefficients, fit.estimate.free])
    width = fit.estimate.coefficients.shape[1]
    p = int(np.unique(coefficients, axis=0)[:, width:].sum())  # buckets share theirs
    fitted = n * (np.log(2.0 * np.pi * sse / n) + 1.0) if sse > 0 else -np.inf
    return {"aic": fitted + 2 * (p + 1), "bic": fitted + (p + 1) * np.log(n), "coefficients": p}


def _calibrated(predictions: pd.DataFrame, n_deciles: int, parts: Parts) -> pd.DataFrame:
    """Mean predicted and observed slippage by decile of the predicted, from 1.

    Equal predictions share a decile, so that some may be missing. No interval is given where
    units are blocks of one day, between which errors are not independent.
    """
    values, of = np.unique(predictions["predicted_bps"], return_inverse=True)
    weight = np.bincount(of, predictions["n"], len(values))
    middle = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    decile = 1 + np.minimum((n_deciles * middle).astype(int), n_deciles - 1)[of]
    rows = predictions.assign(decile=decile)
    table, daily = _weighted_means(rows, ["decile"]), _weighted_means(rows, ["decile", "unit"])
    gaps = (daily["observed_bps"] - daily["predicted_bps"]).groupby("decile")
    reach = half_width(gaps.std(), gaps.count()) if parts.by_day else np.nan
    return table.assign(lower=table["observed_bps"] - reach, upper=table["observed_bps"] + reach)


def _weighted_means(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    names = ["predicted_bps", "observed_bps"]
    weighted = rows[names].mul(rows["n"], axis=0).assign(n=rows["n"])
    sums = weighted.groupby([rows[name] for name in by]).sum()
    return sums[["n"]].astype(int).join(sums[names].div(sums["n"], axis=0))


def half_width(deviation: ArrayLike, count: ArrayLike) -> Float:
    """Half of the 95 % t interval of the mean of `count` independent values; NaN for one.

    `deviation` is their standard deviation.
    """
    from scipy import stats

    n = np.asarray(count, float)
    dof = np.where(n > 1, n - 1, np.nan)
    return np.asarray(stats.t.ppf(0.975, dof) * np.asarray(deviation, float) / np.sqrt(n))


def amount(shares: float) -> str:
    """Shares as text: many with separators, fractions of a coin by their digits."""
    return f"{shares:,.0f}" if shares >= 100 else f"{shares:.6g}"


def _information(parts: Parts, scheme: str) -> str:
    n_held_out = len(parts.labels) - (scheme == "walk_forward")
    said = f"each of {n_held_out} {parts.kind}s predicted by fits to {parts.others(scheme)}"
    return said if parts.by_day else f"one day: {said}"


def _verdict(table: pd.DataFrame, by_unit: pd.DataFrame, parts: Parts, noise: float) -> str:
    """Best form, its error and R2, and whether the next one is distinguishable from it."""
    best, rmse = table.index[0], table["rmse_bps"]
    if rmse.iloc[0] < noise:
        exact = ", ".join(table.index[rmse < noise])
        return (
            f"To rounding, {exact} predict every held-out observation: these books do not "
            "distinguish the forms."
        )
    r2 = table["r2"].iloc[0]
    text = f"{best} predicts best: RMSE {rmse.iloc[0]:.3g} bps, R2 {r2:.3g} held out"
    if len(table) == 1:
        return f"{text}."
    second = table.index[1]
    gap = by_unit[second] - by_unit[best]
    wins = f"{best} is better on {int((gap > 0).sum())} of {len(gap)} {parts.kind}s"
    if not parts.by_day or len(gap) < 2:
        return (
            f"{text}; next is {second} ({rmse.iloc[1]:.3g} bps): {wins}, too few to distinguish "
            "them."
        )
    mean, reach = float(gap.mean()), float(half_width(gap.std(), len(gap)))
    zero = "excludes zero (unadjusted)" if mean > reach else "includes zero"
    return (
        f"{text}. {wins} against {second}, by {mean:.2g} bps (95 % interval {mean - reach:.2g} to "
        f"{mean + reach:.2g}): the interval {zero}."
    )


def _calibration_reading(table: pd.DataFrame) -> str:
    """Where the predictions are furthest off, relative to what is observed."""
    worst = (table["predicted_bps"] / table["observed_bps"] - 1.0).abs().idxmax()
    row, predicted = table.loc[worst], table["predicted_bps"]
    text = (
        f"It is furthest off in decile {worst} of the predictions, where it says "
        f"{row['predicted_bps']:.3g} bps and {row['observed_bps']:.3g} are observed"
    )
    if np.ptp(predicted) <= ROUNDING * predicted.abs().max():
        return f"{text}."  # books without impact: one prediction, which has no slope
    slope = np.polyfit(predicted, table["observed_bps"], 1)[0]
    return f"{text}; 1 bps more predicted is {slope:.2f} bps more observed."

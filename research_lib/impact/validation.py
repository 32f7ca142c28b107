"""Out-of-sample comparison of functional forms, and tests of a fit's residuals.

Every form is fitted without one day and scored on that day; with a single day the units are blocks
of the session instead. Books of one day are alike, and rows of one book even more so: tests that
assume independence use one row of each book, or one value of each snapshot.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import Float, number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.fit import ImpactFit, Slippage, fit_curves, fit_settings, metrics_of, score
from research_lib.impact.moments import Observations, observations_of
from research_lib.market import Session
from research_lib.monitoring import timed

MIN_BOOKS, ROUNDING_BPS = 20, 1e-9


@dataclass(frozen=True, eq=False)
class Validation(Record):
    """Out-of-sample errors of several forms.

    Attributes
    ----------
    table : DataFrame, index model_type, best first
        r2 and impact_r2 (1 - SSE / SST about the held-out observations' own mean; of the
        slippage and of the impact alone), rmse_bps, observations (held out).
    by_unit : DataFrame, index held-out day or block, columns model_type
        rmse_bps of each.
    sizes : (K,) shares
        The sizes that are scored.
    """

    table: pd.DataFrame
    by_unit: pd.DataFrame
    sizes: Float

    def to_frame(self) -> pd.DataFrame:
        """The table of forms, best first."""
        return self.table


@timed("cross_validate")
def cross_validate(
    slippage: Slippage, model_types: Sequence[str] = MODEL_TYPES, *,
    n_blocks: int = 5, most_censored: float = 0.05, n_intervals: int | None = None,
    session: Session | None = None, **settings: Any,
) -> Validation:  # fmt: skip
    """Fit every form on all days but one, predict that day, and compare.

    Parameters
    ----------
    slippage : DataFrame, SlippageCurves or ImpactMoments
        As for `fit_impact`. Moments are faster where many books share a day and interval; their
        rmse_bps uses the mean mid of each.
    model_types : sequence of str
    n_blocks : int
        Blocks of the session, used where there is one day only.
    most_censored : float
        Sizes that a larger share of the books cannot fill are fitted but not scored: their
        remaining rows are those of deep books, whose cost a correct curve overstates.
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
    data = observations_of(slippage, n_intervals, session)
    kind, unit, spread_unit, labels = _units(data, n_blocks)
    held_out: dict[str, list[pd.DataFrame]] = {form: [] for form in model_types}
    how = fit_settings(settings)
    for out, label in enumerate(labels):
        seen = data.take(unit != out, spread_unit != out)
        unseen = data.take(unit == out, spread_unit == out)
        for form, fit in fit_curves(seen, held_out, how).items():
            held_out[form].append(score(unseen, fit.curve, "test").assign(unit=label))
    predictions = {form: pd.concat(rows, ignore_index=True) for form, rows in held_out.items()}
    rows = next(iter(predictions.values()))
    # A piecewise curve ends at its last step.
    known = np.isfinite([form["predicted"] for form in predictions.values()]).all(axis=0)
    usable = _seldom_censored(rows, most_censored) & known
    if not usable.any():
        rule = f"of a size that at most {most_censored:.0%} of the books cannot fill"
        raise ModelFittingError(f"none of {len(rows):,} held-out rows is filled and {rule}")
    scored = {form: rows[usable] for form, rows in predictions.items()}
    table = pd.DataFrame({form: _scores(rows) for form, rows in scored.items()}).T
    units = {form: rows.groupby("unit", sort=False).apply(_scores) for form, rows in scored.items()}
    by_unit = pd.DataFrame({form: scores["rmse_bps"] for form, scores in units.items()})
    table = table.astype({"observations": int}).rename_axis("model_type").sort_values("rmse_bps")
    return Validation(table, by_unit.rename_axis(kind), rows["trade_size"][usable].unique())


def _units(data: Observations, n_blocks: int) -> tuple[str, pd.Series, pd.Series, list[str]]:
    """Days in time order or, of one day, equal blocks: name of the unit, unit of each row and
    spread, labels.
    """
    if len(data.dates) > 1:
        return "day", data.rows["day"], data.spreads["day"], data.dates
    n = data.n_intervals
    blocks = min(number("n_blocks", n_blocks, 2, integer=True), n)
    if blocks < 2:
        raise InsufficientDataError("1 block cannot be fitted and held out; give 2 days")
    edges = -(-np.arange(blocks + 1) * n // blocks)
    names = [f"intervals {first} to {end - 1}" for first, end in itertools.pairwise(edges)]
    of_rows, of_spreads = (part["interval"] * blocks // n for part in (data.rows, data.spreads))
    return "block", of_rows, of_spreads, names


def _scores(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(metrics_of(rows, "test")).rename(lambda name: name.removeprefix("test_"))


def _seldom_censored(rows: pd.DataFrame, most: float) -> pd.Series:
    """Rows (m,) uncensored and of a size that at most `most` of the books cannot fill."""
    most, censored = number("most_censored", most, 0, 1), rows["sample"] == "censored"
    books = pd.DataFrame({"all": rows["n"], "lacking": rows["n"].where(censored, 0.0)})
    books = books.groupby(rows["trade_size"]).transform("sum")
    return ~censored & (books["lacking"] / books["all"] <= most)


def residual_rows(fit: ImpactFit, *, most_censored: float = 0.05) -> pd.DataFrame:
    """Uncensored residuals of a fit beside what they may depend on.

    Parameters
    ----------
    fit : ImpactFit
        To rows of books, not to moments.
    most_censored : float
        Sizes that a larger share of the books cannot fill are left out: their remaining rows are
        those of deep books, whose residuals are below 0 under the correct curve.

    Returns
    -------
    DataFrame, in time order
        Those of `ImpactFit.observations`.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import fit_impact, slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> frame = slippage_curves(books, [200, 500, 1000], "buy").to_frame(13)
    >>> rows = residual_rows(fit_impact(frame, n_intervals=13))
    >>> len(rows), rows["trade_size"].unique().tolist()
    (78, [200.0, 500.0])
    """
    rows = fit.observations
    rows = rows[_seldom_censored(rows, most_censored) & np.isfinite(rows["residual_bps"])]
    return rows.sort_values(["snapshot", "book", "trade_size"], ignore_index=True)


def residual_tests(
    residuals: pd.DataFrame, *, lags: int = 10, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """Test residuals for heteroskedasticity in size and autocorrelation in time.

    Breusch-Pagan (studentised) and White test that the variance does not depend on size, with one
    row of each book, its size drawn at random. Ljung-Box tests that the snapshots' residuals are
    not autocorrelated up to `lags`. Durbin-Watson is 2 without autocorrelation at lag 1 and has no
    p-value. A snapshot's value is the mean of its residuals, each in units of its size's standard
    deviation; days follow each other without a gap.

    Parameters
    ----------
    residuals : DataFrame
        Of `residual_rows`.
    lags : int
        Lags of Ljung-Box, snapshots.
    rng : Generator, optional
        Draws the row of each book; seeded with 0 by default.

    Returns
    -------
    DataFrame, index test
        statistic, p_value.

    Raises
    ------
    InsufficientDataError
        Fewer than three trade sizes (White's test has three regressors), or fewer snapshots
        than twice the lags or 20; residuals that are rounding errors.

    References
    ----------
    Breusch and Pagan (1979), studentised as Koenker (1981); White (1980); Ljung and Box (1978).

    Examples
    --------
    >>> book, size = np.repeat(np.arange(50), 3), np.tile([100.0, 200.0, 400.0], 50)
    >>> noise = np.random.default_rng(0).normal(size=150) * size
    >>> rows = pd.DataFrame(
    ...     {"snapshot": book, "book": book, "trade_size": size, "residual_bps": noise}
    ... )
    >>> bool(residual_tests(rows).loc["Breusch-Pagan", "p_value"] < 0.05)
    True
    """
    from statsmodels.stats.diagnostic import acorr_ljungbox, het_breuschpagan, het_white
    from statsmodels.stats.stattools import durbin_watson

    n_lags = number("lags", lags, 1, integer=True)
    deviation = residuals.groupby("trade_size")["residual_bps"].transform("std")
    unit = residuals["residual_bps"] / np.maximum(deviation, np.finfo(float).tiny)
    series = unit.groupby(residuals["snapshot"]).mean().to_numpy()
    sizes, least = residuals["trade_size"].nunique(), max(MIN_BOOKS, 2 * n_lags)
    if sizes < 3 or len(series) < least:
        few = f"{sizes} trade sizes on {len(series)} snapshots; the tests need 3 and {least}"
        raise InsufficientDataError(f"{few}: measure more sizes or lower lags")
    if residuals["residual_bps"].abs().max() < ROUNDING_BPS:
        raise InsufficientDataError("all residuals are 0, so there is nothing to test")
    shuffled = residuals.sample(frac=1.0, random_state=rng or np.random.default_rng(0))
    one = shuffled.drop_duplicates("book")
    design = np.column_stack([np.ones(len(one)), one["trade_size"] / one["trade_size"].max()])
    values = one["residual_bps"].to_numpy()
    ljung = acorr_ljungbox(series, lags=[n_lags]).iloc[0]
    statistics = {
        "Breusch-Pagan": het_breuschpagan(values, design)[:2],
        "White": het_white(values, design)[:2],
        f"Ljung-Box ({n_lags} lags)": (ljung["lb_stat"], ljung["lb_pvalue"]),
        "Durbin-Watson": (durbin_watson(series), np.nan),
    }
    return pd.DataFrame(statistics, index=["statistic", "p_value"]).T.rename_axis("test")

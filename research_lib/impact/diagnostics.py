"""What the residuals say against a fit, each with one sentence on how to read it.

Books of one day resemble each other and rows of one book even more. Tests that suppose
independence see one row of each book, or one value of each; intervals of means are over days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.observations import read_observations
from research_lib.impact.validation import ROUNDING_BPS, half_width, seldom_censored
from research_lib.market import Session
from research_lib.wording import p_value

Float = NDArray[np.float64]
LEVEL = 0.05
FEWEST_BOOKS = 20


def residual_rows(
    slippage: pd.DataFrame,
    fit: ImpactFit,
    *,
    most_censored: float = 0.05,
    session: Session | None = None,
) -> pd.DataFrame:
    """Uncensored residuals of a fit beside what they may depend on.

    Parameters
    ----------
    slippage : DataFrame
        The frame that was fitted.
    fit : ImpactFit
    most_censored : float
        Sizes that a larger part of the books cannot fill are left out: what is left of them
        are the deep books, whose residuals are below 0 under the right curve.

    Returns
    -------
    DataFrame, in time order
        snapshot and book (numbers), day, interval, trade_size (shares), sample,
        predicted_bps, residual_bps (observed - predicted, of the mid).

    Raises
    ------
    ValidationError
        A frame that is not the fitted one.
    """
    seen = fit.observations
    if len(seen) != len(slippage) or not np.array_equal(seen["trade_size"], slippage["trade_size"]):
        raise ValidationError(
            f"the fit has {len(seen):,} observations, the frame {len(slippage):,} rows or other sizes; "
            "give the frame that was fitted"
        )
    data = read_observations(slippage, len(fit.curve), session or Session())
    rows = pd.DataFrame(
        {"snapshot": data.snapshot, "book": data.book, "day": np.array(data.dates)[data.day]}
    )
    rows = rows.join(
        seen[["interval", "trade_size", "sample", "residual_bps"]].reset_index(drop=True)
    )
    rows["predicted_bps"] = 1e4 * seen["predicted"].to_numpy() / data.mid
    seldom = seldom_censored(
        data.size, ~data.usable, np.ones(len(rows)), number("most_censored", most_censored, 0, 1)
    )
    known = seldom & np.isfinite(rows["residual_bps"])
    return rows[known].sort_values(["snapshot", "book", "trade_size"], ignore_index=True)


@dataclass(frozen=True, eq=False)
class ResidualTests(Record):
    """Whether residuals have one variance, and whether books in succession are independent.

    Attributes
    ----------
    table : DataFrame, index test
        statistic, p_value. Breusch-Pagan (studentised) and White: that the variance does
        not depend on size; one row of each book, its size drawn. Ljung-Box: that the books'
        residuals are not autocorrelated up to `lags`; Durbin-Watson: 2 without
        autocorrelation at lag 1, no p-value.
    spread_by_size : Series, index trade_size
        Standard deviation of the residuals, bps.
    lag_1 : float
        Autocorrelation from a snapshot to the next.
    lags, n_books : int
    reading : str
    """

    table: pd.DataFrame
    spread_by_size: pd.Series
    lag_1: float
    lags: int
    n_books: int
    reading: str


def residual_tests(
    residuals: pd.DataFrame, *, lags: int = 10, rng: np.random.Generator | None = None
) -> ResidualTests:
    """Test residuals for heteroskedasticity in size and autocorrelation in time.

    A snapshot's value for the autocorrelation is the mean of its residuals, each in units
    of its size's standard deviation; days follow each other without a gap.

    Parameters
    ----------
    residuals : DataFrame
        Of `residual_rows`.
    lags : int
        Of Ljung-Box, snapshots.
    rng : Generator, optional
        Draws the row of each book; seed 0 by default.

    Raises
    ------
    InsufficientDataError
        Fewer than three trade sizes (White's test has three regressors), or fewer snapshots
        than twice the lags or 20.

    References
    ----------
    Breusch and Pagan (1979), studentised as Koenker (1981); White (1980); Ljung and Box (1978).
    """
    from statsmodels.stats.diagnostic import acorr_ljungbox, het_breuschpagan, het_white
    from statsmodels.stats.stattools import durbin_watson

    n_lags = number("lags", lags, 1, integer=True)
    deviation = residuals.groupby("trade_size")["residual_bps"].std()
    unit = np.maximum(deviation.loc[residuals["trade_size"]].to_numpy(), np.finfo(float).tiny)
    series = (residuals["residual_bps"] / unit).groupby(residuals["snapshot"]).mean().to_numpy()
    least = max(FEWEST_BOOKS, 2 * n_lags)
    if len(deviation) < 3 or len(series) < least:
        raise InsufficientDataError(
            f"{len(deviation)} trade sizes on {len(series)} snapshots; the tests need 3 and {least}: "
            "measure more sizes or lower lags"
        )
    one = residuals.sample(frac=1.0, random_state=rng or np.random.default_rng(0)).drop_duplicates(
        "book"
    )
    design = np.column_stack([np.ones(len(one)), one["trade_size"] / one["trade_size"].max()])
    breusch, white = (
        test(one["residual_bps"].to_numpy(), design) for test in (het_breuschpagan, het_white)
    )
    ljung = acorr_ljungbox(series, lags=[n_lags]).iloc[0]
    table = pd.DataFrame(
        {
            "Breusch-Pagan": breusch[:2],
            "White": white[:2],
            f"Ljung-Box ({n_lags} lags)": (ljung["lb_stat"], ljung["lb_pvalue"]),
            "Durbin-Watson": (durbin_watson(series), np.nan),
        },
        index=["statistic", "p_value"],
    ).T.rename_axis("test")
    centred = series - series.mean()
    lag_1 = float(centred[1:] @ centred[:-1] / (centred @ centred))
    reading = _tests_reading(table["p_value"].to_numpy(), deviation, lag_1)
    return ResidualTests(
        table, deviation.rename("residual_sd_bps"), lag_1, n_lags, len(one), reading
    )


def _tests_reading(p: Float, deviation: pd.Series, lag_1: float) -> str:
    if deviation.max() < ROUNDING_BPS:
        return "The curve meets every observation to rounding: there are no residuals to test."
    low, high = deviation.index[0], deviation.index[-1]
    sizes = f"residual sd {deviation[low]:.2g} bps at {low:,.0f} shares, {deviation[high]:.2g} at {high:,.0f}"
    uneven, followed = min(p[0], p[1]) < LEVEL, p[2] < LEVEL
    return (
        f"The variance {'depends' if uneven else 'is not seen to depend'} on size "
        f"(Breusch-Pagan p-value {p_value(p[0])}, White p-value {p_value(p[1])}; {sizes}); "
        f"books in succession are {'alike' if followed else 'not seen to be alike'} "
        f"(Ljung-Box p-value {p_value(p[2])}, lag-1 correlation {lag_1:.2f}): {_advice(uneven, followed)}."
    )


def _advice(uneven: bool, followed: bool) -> str:
    if followed:
        return "errors of independent books are too small, cluster them by day or take Newey-West"
    return "robust errors are needed (HC3 or clusters)" if uneven else "ordinary errors would do"


@dataclass(frozen=True, eq=False)
class ResidualBias(Record):
    """Where the curve is off on average.

    Attributes
    ----------
    by_size : DataFrame, index trade_size
        lower, middle, upper (quartiles of the residuals, bps), mean, half_width (of the
        mean's 95 % interval over days; NaN with one day), n.
    by_time : DataFrame, index first interval of each part of the session
        The same.
    reading : str
    """

    by_size: pd.DataFrame
    by_time: pd.DataFrame
    reading: str


def residual_bias(residuals: pd.DataFrame, n_intervals: int, n_parts: int = 13) -> ResidualBias:
    """Residuals by trade size and by part of the session, of a session of `n_intervals`."""
    parts = min(number("n_parts", n_parts, 1, integer=True), n_intervals)
    first = -(-(residuals["interval"] * parts // n_intervals) * n_intervals // parts)
    by_size, by_time = (
        _bias(residuals, key) for key in (residuals["trade_size"], first.rename("interval"))
    )
    reading = f"{_bias_reading(by_size, 'size')}; {_bias_reading(by_time, 'interval')}."
    if residuals["residual_bps"].abs().max() < ROUNDING_BPS:
        reading = "The curve is nowhere off by more than rounding."
    return ResidualBias(by_size, by_time, reading)


def _bias(residuals: pd.DataFrame, key: pd.Series) -> pd.DataFrame:
    grouped = residuals["residual_bps"].groupby(key)
    quartiles = {
        name: grouped.quantile(q) for name, q in (("lower", 0.25), ("middle", 0.5), ("upper", 0.75))
    }
    daily = residuals["residual_bps"].groupby([key, residuals["day"]]).mean().groupby(level=0)
    table = pd.DataFrame({**quartiles, "mean": grouped.mean(), "n": grouped.count()})
    return table.assign(half_width=half_width(daily.std(), daily.count()))


def _bias_reading(table: pd.DataFrame, what: str) -> str:
    clear = table[table["mean"].abs() > table["half_width"]]
    if table["half_width"].isna().all():
        row = table["mean"].abs().idxmax()
        return f"by {what} the mean is furthest from 0 at {row:,.0f} ({table['mean'][row]:+.2g} bps; one day, no interval)"
    if clear.empty:
        return f"by {what} no mean residual is distinguishable from 0"
    row = clear["mean"].abs().idxmax()
    fault = "too low" if clear["mean"][row] > 0 else "too high"
    return (
        f"by {what} the curve is off beyond chance in {len(clear)} of {len(table)} groups, most at {row:,.0f}: "
        f"{abs(clear['mean'][row]):.2g} bps {fault}"
    )

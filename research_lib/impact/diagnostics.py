"""What the residuals say against a fit, and whether one curve speaks for every day and side.

Each with one sentence on how to read it. Books of one day resemble each other and rows of one
book even more. Tests that suppose independence see one row of each book, or one value of each;
intervals of means are over days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.impact.fit import ImpactFit, Slippage, fit_impact, observed
from research_lib.impact.observations import Observations
from research_lib.impact.validation import Parts, amount, cut, half_width, seldom_censored
from research_lib.market import Session
from research_lib.wording import p_value

Float = NDArray[np.float64]
LEVEL = 0.05
MIN_BOOKS = 20
ROUNDING_BPS = 1e-9  # doubles know prices to 1e-12 bps


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

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> frame = slippage_curves(books, [200, 500, 1000], "buy").to_frame(13)
    >>> rows = residual_rows(frame, fit_impact(frame, n_intervals=13))
    >>> len(rows), rows["trade_size"].unique().tolist()
    (78, [200.0, 500.0])
    """
    seen = fit.observations
    if len(seen) != len(slippage) or not np.array_equal(seen["trade_size"], slippage["trade_size"]):
        raise ValidationError(
            f"the fit has {len(seen):,} observations, the frame {len(slippage):,} rows or other "
            "sizes; give the frame that was fitted"
        )
    data = observed(slippage, len(fit.curve), session)
    day = np.array(data.dates)[data.day]
    rows = pd.DataFrame({"snapshot": data.cluster, "book": data.book, "day": day})
    names = ["interval", "trade_size", "sample", "residual_bps"]
    rows = rows.join(seen[names].reset_index(drop=True))
    rows["predicted_bps"] = 1e4 * seen["predicted"].to_numpy() / data.mid
    largest_share = number("most_censored", most_censored, 0, 1)
    known = seldom_censored(rows["trade_size"], data.censored, data.n, largest_share)
    known &= np.isfinite(rows["residual_bps"].to_numpy())
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

    Examples
    --------
    >>> book, size = np.repeat(np.arange(50), 3), np.tile([100.0, 200.0, 400.0], 50)
    >>> noise = np.random.default_rng(0).normal(size=150) * size
    >>> rows = pd.DataFrame(
    ...     {"snapshot": book, "book": book, "trade_size": size, "residual_bps": noise}
    ... )
    >>> residual_tests(rows).reading.startswith("The variance depends on size")
    True
    """
    from statsmodels.stats.diagnostic import acorr_ljungbox, het_breuschpagan, het_white
    from statsmodels.stats.stattools import durbin_watson

    n_lags = number("lags", lags, 1, integer=True)
    deviation = residuals.groupby("trade_size")["residual_bps"].std()
    unit = np.maximum(deviation.loc[residuals["trade_size"]].to_numpy(), np.finfo(float).tiny)
    series = (residuals["residual_bps"] / unit).groupby(residuals["snapshot"]).mean().to_numpy()
    least = max(MIN_BOOKS, 2 * n_lags)
    if len(deviation) < 3 or len(series) < least:
        raise InsufficientDataError(
            f"{len(deviation)} trade sizes on {len(series)} snapshots; the tests need 3 and "
            f"{least}: measure more sizes or lower lags"
        )
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
    table = pd.DataFrame(statistics, index=["statistic", "p_value"]).T.rename_axis("test")
    centred = series - series.mean()
    lag_1 = float(centred[1:] @ centred[:-1] / (centred @ centred))
    reading = _tests_reading(table["p_value"].to_numpy(), deviation, lag_1)
    spread = deviation.rename("residual_sd_bps")
    return ResidualTests(table, spread, lag_1, n_lags, len(one), reading)


def _tests_reading(p: Float, deviation: pd.Series, lag_1: float) -> str:
    if deviation.max() < ROUNDING_BPS:
        return "The curve meets every observation to rounding: there are no residuals to test."
    low, high = deviation.index[0], deviation.index[-1]
    sizes = (
        f"residual sd {deviation[low]:.2g} bps at {amount(low)} shares, {deviation[high]:.2g} at "
        f"{amount(high)}"
    )
    uneven, followed = min(p[0], p[1]) < LEVEL, p[2] < LEVEL
    advice = "ordinary errors would do"
    if followed:
        advice = "errors of independent books are too small, cluster them by day or take Newey-West"
    elif uneven:
        advice = "robust errors are needed (HC3 or clusters)"
    return (
        f"The variance {'depends' if uneven else 'is not seen to depend'} on size "
        f"(Breusch-Pagan p-value {p_value(p[0])}, White p-value {p_value(p[1])}; {sizes}); "
        f"books in succession are {'alike' if followed else 'not seen to be alike'} "
        f"(Ljung-Box p-value {p_value(p[2])}, lag-1 correlation {lag_1:.2f}): {advice}."
    )


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
    """Residuals by trade size and by part of the session, of a session of `n_intervals`.

    Examples
    --------
    >>> rows = pd.DataFrame({"day": ["a", "a", "b", "b"], "interval": [0, 1, 0, 1],
    ...                      "trade_size": 100.0, "residual_bps": [1.0, 2.0, 1.1, 2.1]})
    >>> residual_bias(rows, n_intervals=2).by_time["mean"].round(3).tolist()
    [1.05, 2.05]
    """
    parts = min(number("n_parts", n_parts, 1, integer=True), n_intervals)
    first = -(-(residuals["interval"] * parts // n_intervals) * n_intervals // parts)
    by_size = _bias(residuals, residuals["trade_size"])
    by_time = _bias(residuals, first.rename("interval"))
    reading = f"{_bias_reading(by_size, 'size')}; {_bias_reading(by_time, 'interval')}."
    if residuals["residual_bps"].abs().max() < ROUNDING_BPS:
        reading = "The curve is nowhere off by more than rounding."
    return ResidualBias(by_size, by_time, reading)


def _bias(residuals: pd.DataFrame, key: pd.Series) -> pd.DataFrame:
    grouped = residuals["residual_bps"].groupby(key)
    quartiles = {"lower": 0.25, "middle": 0.5, "upper": 0.75}
    table = pd.DataFrame({name: grouped.quantile(q) for name, q in quartiles.items()})
    daily = residuals["residual_bps"].groupby([key, residuals["day"]]).mean().groupby(level=0)
    reach = half_width(daily.std(), daily.count())
    return table.assign(mean=grouped.mean(), n=grouped.count(), half_width=reach)


def _bias_reading(table: pd.DataFrame, what: str) -> str:
    clear = table[table["mean"].abs() > table["half_width"]]
    if table["half_width"].isna().all():
        row = table["mean"].abs().idxmax()
        return (
            f"by {what} the mean is furthest from 0 at {amount(row)} "
            f"({table['mean'][row]:+.2g} bps; one day, no interval)"
        )
    if clear.empty:
        return f"by {what} no mean residual is distinguishable from 0"
    row = clear["mean"].abs().idxmax()
    fault = "too low" if clear["mean"][row] > 0 else "too high"
    return (
        f"by {what} the 95 % interval of the mean residual excludes zero (unadjusted) in "
        f"{len(clear)} of {len(table)} groups, most at {amount(row)}: the curve is "
        f"{abs(clear['mean'][row]):.2g} bps {fault}"
    )


@dataclass(frozen=True, eq=False)
class _ByUnit(Record):
    """The pooled impact of `size`, the median trade size in shares, by day or block."""

    table: pd.DataFrame
    size: float
    reading: str

    def to_frame(self) -> pd.DataFrame:
        """The table by day or block."""
        return self.table


@dataclass(frozen=True, eq=False)
class Influence(_ByUnit):
    """What each day (or block of the one day) does to the pooled curve.

    Attributes
    ----------
    table : DataFrame, index day or block, most influential first
        change_% and change_in_errors: of the impact at `size` when the day is left out,
        relative to it and to its standard error without the day (with it, an outlier would
        hide behind the error that it makes); leverage: the day's share of the
        information on the coefficients; and each coefficient without the day.
    size : float
        Median trade size, shares.
    reading : str
    """


def influence_by_day(
    slippage: Slippage,
    model_type: str = "linear",
    *,
    n_blocks: int = 5,
    session: Session | None = None,
    **settings: Any,
) -> Influence:
    """Leave out each day in turn and refit the pooled curve.

    Raises
    ------
    ValidationError, ModelFittingError
        As `fit_impact`; one day and one interval, which cannot be cut.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> found = influence_by_day(slippage_curves(books, [200, 500, 1000], "buy"))
    >>> len(found.table), found.table["leverage"].sum().round(6).item()
    (3, 1.0)
    """
    parts = cut(slippage, n_blocks=n_blocks, session=session)
    size, whole = float(np.median(parts.data.sizes)), _pooled_fit(parts.data, model_type, settings)
    level, share = impact_level(whole, size)[0], _leverage(parts.data, whole)
    rows = {}
    for fold in parts.folds("leave_one_day_out"):
        out = int(fold.held_out[0])
        left = _pooled_fit(parts.take(fold.fitted), model_type, settings)
        without, error = impact_level(left, size)
        rows[parts.labels[out]] = {
            "change_%": 100 * (without / level - 1) if level > 0 else np.nan,
            "change_in_errors": (without - level) / error if error > 0 else np.nan,
            "leverage": float(share[parts.unit == out].sum()),
            **left.params.iloc[0].drop("half_spread"),
        }
    table = pd.DataFrame(rows).T.sort_values("change_%", key=np.abs, ascending=False)
    table = table.rename_axis(parts.kind)
    if not level > 0:
        return Influence(table, size, _no_impact(size))
    top = table.iloc[0]
    decisive = int((table["change_in_errors"].abs() > 1).sum()) or "none"
    reading = (
        f"Without {table.index[0]} the pooled impact at {amount(size)} shares moves by "
        f"{top['change_%']:+.2g} % ({top['change_in_errors']:+.2g} standard errors; its share of "
        f"the information is {top['leverage']:.1%} of {1 / len(table):.1%} on average): {decisive} "
        f"of {len(table)} {parts.kind}s decide more than a standard error."
    )
    return Influence(table, size, reading)


@dataclass(frozen=True, eq=False)
class Stability(_ByUnit):
    """The pooled curve fitted to each day (or block of the one day) apart.

    Attributes
    ----------
    table : DataFrame, index day or block
        level (impact at `size`, currency per share), error (Newey-West over the snapshots of
        the day), lower, upper (95 % interval), and each coefficient.
    size : float
        Median trade size, shares.
    heterogeneity_p : float
        Of Cochran's Q: that all days share one level, given their errors.
    between : float
        Standard deviation of the true levels between days, relative to their mean
        (DerSimonian and Laird).
    trend, trend_p : float
        Slope of the level over days, per day relative to the mean, and its p-value by least
        squares; NaN with fewer than three.
    reading : str
    """

    heterogeneity_p: float = np.nan
    between: float = np.nan
    trend: float = np.nan
    trend_p: float = np.nan


def coefficient_stability(
    slippage: Slippage,
    model_type: str = "linear",
    *,
    n_blocks: int = 5,
    session: Session | None = None,
    **settings: Any,
) -> Stability:
    """Fit the pooled curve to each day and ask whether the days differ, and whether they drift.

    Raises
    ------
    ValidationError, ModelFittingError
        As `fit_impact`, for any day.

    References
    ----------
    Cochran, The combination of estimates from different experiments, Biometrics 10 (1954);
    DerSimonian and Laird, Controlled Clinical Trials 7 (1986).

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> found = coefficient_stability(slippage_curves(books, [200, 500, 1000], "buy"))
    >>> len(found.table), bool((found.table["level"] > 0).all())
    (3, True)
    """
    from scipy import stats

    parts = cut(slippage, n_blocks=n_blocks, session=session)
    size = float(np.median(parts.data.sizes))
    table = _level_by_unit(parts, model_type, size, {"errors": "newey-west", **settings})
    level, error, n = table["level"].to_numpy(), table["error"].to_numpy(), len(table)
    if not ((level > 0) & (error > 0)).all():
        return Stability(table, size, _no_impact(size))
    heterogeneity_p = between = trend = trend_p = np.nan
    if n > 1:
        weight = 1.0 / error**2
        q = float(np.sum(weight * (level - np.average(level, weights=weight)) ** 2))
        spare = weight.sum() - np.sum(weight**2) / weight.sum()
        between = float(np.sqrt(max(q - (n - 1), 0.0) / spare) / level.mean())
        heterogeneity_p = float(stats.chi2.sf(q, n - 1))
    if n > 2:
        line = stats.linregress(np.arange(n), level / level.mean())
        trend, trend_p = float(line.slope), float(line.pvalue)
    low, high = table["level"].idxmin(), table["level"].idxmax()
    reading = (
        f"The pooled impact at {amount(size)} shares runs from {table['level'][low]:.3g} "
        f"({low}) to {table['level'][high]:.3g} ({high}): {parts.kind}s differ by "
        f"{'more' if heterogeneity_p < LEVEL else 'no more'} than their errors (Cochran's Q "
        f"p-value {p_value(heterogeneity_p)}, between-{parts.kind} standard deviation "
        f"{between:.1%})"
    )
    if np.isfinite(trend_p):
        drift = "a trend" if trend_p < LEVEL else "no trend"
        reading += f", with {drift} ({trend:+.2%} a {parts.kind}, p-value {p_value(trend_p)})."
    else:
        reading += f"; {n} {parts.kind}s show no trend either way."
    return Stability(table, size, reading, heterogeneity_p, between, trend, trend_p)


def _level_by_unit(
    parts: Parts, model_type: str, size: float, settings: dict[str, Any]
) -> pd.DataFrame:
    """Level, its interval and the coefficients of the pooled curve of each unit."""
    from scipy import stats

    rows = {}
    for u, label in enumerate(parts.labels):
        fit = _pooled_fit(parts.take([u]), model_type, settings)
        level, error = impact_level(fit, size)
        reach = float(stats.t.ppf(0.975, fit.dof[0])) * error
        ends = {"lower": level - reach, "upper": level + reach}
        coefficients = fit.params.iloc[0].drop("half_spread")
        rows[label] = {"level": level, "error": error, **ends, **coefficients}
    return pd.DataFrame(rows).T.rename_axis(parts.kind)


@dataclass(frozen=True, eq=False)
class SideDifference(_ByUnit):
    """Buys against sells on the same days (or blocks of the one day).

    Attributes
    ----------
    table : DataFrame, index day or block
        buy, sell (pooled impact at `size`, currency per share), difference_% (buy - sell,
        of their mean).
    size : float
        Median trade size, shares.
    mean, lower, upper : float
        Of difference_%, with its 95 % t interval over days; within one day, over blocks.
    reading : str
    """

    mean: float
    lower: float
    upper: float


def buy_against_sell(
    slippage: pd.DataFrame,
    model_type: str = "linear",
    *,
    n_blocks: int = 5,
    session: Session | None = None,
    **settings: Any,
) -> SideDifference:
    """Whether one curve may serve both sides: the paired difference of their pooled impact.

    Parameters
    ----------
    slippage : DataFrame
        Rows of both sides of the same books, as
        ``pd.concat([buys.to_frame(n), sells.to_frame(n)])``.

    Raises
    ------
    ValidationError
        One side alone.
    ModelFittingError
        As `fit_impact`, for any day and side.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> sides = [slippage_curves(books, [200, 500], side).to_frame(13) for side in ("buy", "sell")]
    >>> len(buy_against_sell(pd.concat(sides)).table)
    3
    """
    sides = sorted(set(slippage["side"])) if "side" in slippage else []
    if sides != ["buy", "sell"]:
        raise ValidationError(
            f"the frame has sides {sides}, both buy and sell are needed; walk the books both ways"
        )
    parts = cut(slippage, n_blocks=n_blocks, session=session)
    size, n = float(np.median(parts.data.sizes)), len(parts.labels)
    levels = {}
    for side in ("buy", "sell"):
        among = (slippage["side"] == side).to_numpy()
        fits = (_pooled_fit(parts.take([u], among), model_type, settings) for u in range(n))
        levels[side] = [impact_level(fit, size)[0] for fit in fits]
    table = pd.DataFrame(levels, index=pd.Index(parts.labels, name=parts.kind))
    table["difference_%"] = 200 * (table["buy"] - table["sell"]) / (table["buy"] + table["sell"])
    mean = float(table["difference_%"].mean())
    reach = float(half_width(table["difference_%"].std(), n))
    reading = _no_impact(size)
    if (table[["buy", "sell"]] > 0).all(axis=None):
        verdict = "the sides are not statistically distinguishable"
        if abs(mean) > reach:
            verdict = "the sides differ, fit them apart"
        unsure = "" if parts.by_day else " (blocks of one day, which are not independent)"
        reading = (
            f"Buying {amount(size)} shares has {abs(mean):.3g} % {'more' if mean > 0 else 'less'} "
            f"impact than selling them, paired over {n} {parts.kind}s (95 % interval "
            f"{mean - reach:+.3g} to {mean + reach:+.3g} %){unsure}: {verdict}."
        )
    return SideDifference(table, size, reading, mean, mean - reach, mean + reach)


def impact_level(fit: ImpactFit, size: float) -> tuple[float, float]:
    """Unshrunk impact of the first interval at one size, currency per share, and its error.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> from research_lib.impact import slippage_curves
    >>> books = thin_stock(Session(13)).books(39, 10, np.random.default_rng(0))
    >>> fit = fit_impact(slippage_curves(books, [200, 500], "buy"), by="pooled")
    >>> level, error = impact_level(fit, 800.0)
    >>> 0 < error < level
    True
    """
    where, at = np.zeros(1, np.int64), np.array([size])
    error = fit.estimate.standard_error(where, at, fit.cov)
    return float(fit.estimate.impact(where, at)[0]), float(error[0])


def _pooled_fit(data: Observations, model_type: str, settings: dict[str, Any]) -> ImpactFit:
    pooled = {"by": "pooled", "shrinkage": "none", "test_fraction": 0.0}
    return fit_impact(data, model_type, **{**settings, **pooled})


def _no_impact(size: float) -> str:
    return (
        f"Some or all of these books show no impact beyond the touch at {amount(size)} shares: "
        "there is nothing to compare."
    )


def _leverage(data: Observations, fit: ImpactFit) -> Float:
    """Share of each row, (m,), in the information on the pooled curve's coefficients."""
    group = np.zeros(len(data.n), np.int64)
    jacobian = fit.estimate.jacobian(group, data.sizes[data.size])
    jacobian = np.sqrt(data.n)[:, None] * jacobian
    length = np.linalg.norm(jacobian, axis=0)
    jacobian = jacobian[:, length > 0] / length[length > 0]  # columns of like size
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    share = np.einsum("mi,ij,mj->m", jacobian, inverse, jacobian)
    return share / share.sum() if share.any() else np.full(len(share), 1.0 / len(share))

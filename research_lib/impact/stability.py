"""Whether one pooled curve speaks for every day and for both sides, each with one sentence on how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.diagnostics import LEVEL
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.fitting import fit_impact
from research_lib.impact.folds import Parts, cut
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.validation import half_width
from research_lib.market import Session
from research_lib.wording import p_value

Float = NDArray[np.float64]

_NO_IMPACT = "Some or all of these books show no impact beyond the touch at {size:,.0f} shares: there is nothing to compare."


@dataclass(frozen=True, eq=False)
class Influence(Record):
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

    table: pd.DataFrame
    size: float
    reading: str


def influence_by_day(
    slippage: pd.DataFrame | ImpactMoments,
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
    """
    parts = cut(slippage, n_blocks=n_blocks, session=session)
    whole = fit_impact(parts.source, model_type, **_pooled(settings, session))
    size = _median_size(parts.source)
    level, _ = impact_level(whole, size)
    jacobian = _weighted_jacobian(parts.source, whole)
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    share = np.einsum("mi,ij,mj->m", jacobian, inverse, jacobian)
    share = share / share.sum() if share.any() else np.full(len(share), 1.0 / len(share))
    rows = {}
    for fold in parts.folds("leave_one_day_out"):
        out = int(fold.held_out[0])
        left = fit_impact(parts.take(fold.fitted), model_type, **_pooled(settings, session))
        without, error = impact_level(left, size)
        rows[parts.labels[out]] = {
            "change_%": 100 * (without / level - 1) if level > 0 else np.nan,
            "change_in_errors": (without - level) / error if error > 0 else np.nan,
            "leverage": float(share[parts.unit == out].sum()),
            **left.params.iloc[0].drop("half_spread"),
        }
    table = (
        pd.DataFrame(rows)
        .T.sort_values("change_%", key=np.abs, ascending=False)
        .rename_axis(parts.kind)
    )
    if not level > 0:
        return Influence(table, size, _NO_IMPACT.format(size=size))
    top = table.iloc[0]
    decisive = int((table["change_in_errors"].abs() > 1).sum()) or "none"
    reading = (
        f"Without {table.index[0]} the pooled impact at {size:,.0f} shares moves by {top['change_%']:+.2g} % "
        f"({top['change_in_errors']:+.2g} standard errors; its share of the information is {top['leverage']:.1%} of "
        f"{1 / len(table):.1%} on average): {decisive} of {len(table)} {parts.kind}s "
        "decide more than a standard error."
    )
    return Influence(table, size, reading)


@dataclass(frozen=True, eq=False)
class Stability(Record):
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

    table: pd.DataFrame
    size: float
    heterogeneity_p: float
    between: float
    trend: float
    trend_p: float
    reading: str


def coefficient_stability(
    slippage: pd.DataFrame,
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
    """
    from scipy import stats

    parts = cut(slippage, n_blocks=n_blocks, session=session)
    size = _median_size(parts.source)
    choice = {"errors": "newey-west", **_pooled(settings, session)}
    table = _by_unit(parts, model_type, size, choice)
    level, error, n = table["level"].to_numpy(), table["error"].to_numpy(), len(table)
    if not ((level > 0) & (error > 0)).all():
        return Stability(table, size, np.nan, np.nan, np.nan, np.nan, _NO_IMPACT.format(size=size))
    weight = 1.0 / error**2
    q = float(np.sum(weight * (level - np.sum(weight * level) / weight.sum()) ** 2))
    spare = weight.sum() - np.sum(weight**2) / weight.sum()
    between = float(np.sqrt(max(q - (n - 1), 0.0) / spare) / level.mean()) if n > 1 else np.nan
    heterogeneity_p = float(stats.chi2.sf(q, n - 1)) if n > 1 else np.nan
    line = stats.linregress(np.arange(n), level / level.mean()) if n > 2 else None
    trend, trend_p = (float(line.slope), float(line.pvalue)) if line else (np.nan, np.nan)
    reading = _stability_reading(table, parts.kind, size, heterogeneity_p, between, trend, trend_p)
    return Stability(table, size, heterogeneity_p, between, trend, trend_p, reading)


def _by_unit(parts: Parts, model_type: str, size: float, choice: dict[str, Any]) -> pd.DataFrame:
    """Level, its interval and the coefficients of the pooled curve of each unit."""
    from scipy import stats

    rows = {}
    for u, label in enumerate(parts.labels):
        fit = fit_impact(parts.take([u]), model_type, **choice)
        level, error = impact_level(fit, size)
        reach = float(stats.t.ppf(0.975, fit.dof[0])) * error
        rows[label] = {
            "level": level,
            "error": error,
            "lower": level - reach,
            "upper": level + reach,
        }
        rows[label].update(fit.params.iloc[0].drop("half_spread"))
    return pd.DataFrame(rows).T.rename_axis(parts.kind)


def _stability_reading(
    table: pd.DataFrame,
    kind: str,
    size: float,
    q_p: float,
    between: float,
    trend: float,
    trend_p: float,
) -> str:
    low, high = table["level"].idxmin(), table["level"].idxmax()
    differ = (
        "differ by more than their errors" if q_p < LEVEL else "differ by no more than their errors"
    )
    text = (
        f"The pooled impact at {size:,.0f} shares runs from {table['level'][low]:.3g} ({low}) to "
        f"{table['level'][high]:.3g} ({high}): {kind}s {differ} "
        f"(Cochran's Q p-value {p_value(q_p)}, true scatter {between:.1%})"
    )
    if not np.isfinite(trend_p):
        return f"{text}; {len(table)} {kind}s show no trend either way."
    drift = "a trend" if trend_p < LEVEL else "no trend"
    return f"{text}, with {drift} ({trend:+.2%} a {kind}, p-value {p_value(trend_p)})."


@dataclass(frozen=True, eq=False)
class SideDifference(Record):
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

    table: pd.DataFrame
    size: float
    mean: float
    lower: float
    upper: float
    reading: str


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
    """
    sides = sorted(set(slippage["side"])) if "side" in slippage else []
    if sides != ["buy", "sell"]:
        raise ValidationError(
            f"the frame has sides {sides}, both buy and sell are needed; walk the books both ways"
        )
    parts = cut(slippage, n_blocks=n_blocks, session=session)
    size, choice = _median_size(parts.source), _pooled(settings, session)
    levels: dict[str, list[float]] = {"buy": [], "sell": []}
    for u in range(len(parts.labels)):
        rows = parts.take([u])
        for side, level in levels.items():
            level.append(
                impact_level(fit_impact(rows[rows["side"] == side], model_type, **choice), size)[0]
            )
    table = pd.DataFrame(levels, index=pd.Index(parts.labels, name=parts.kind))
    table["difference_%"] = 200 * (table["buy"] - table["sell"]) / (table["buy"] + table["sell"])
    mean, n = float(table["difference_%"].mean()), len(table)
    reach = float(half_width(table["difference_%"].std(), n))
    if not (table[["buy", "sell"]] > 0).all(axis=None):
        return SideDifference(
            table, size, mean, mean - reach, mean + reach, _NO_IMPACT.format(size=size)
        )
    apart = (
        "the sides differ, fit them apart"
        if abs(mean) > reach
        else f"{parts.kind}s do not tell the sides apart"
    )
    unsure = "" if parts.by_day else " (blocks of one day, which are not independent)"
    more = "more" if mean > 0 else "less"
    reading = (
        f"Buying {size:,.0f} shares has {abs(mean):.3g} % {more} impact than selling them, paired over {n} "
        f"{parts.kind}s (95 % interval {mean - reach:+.3g} to {mean + reach:+.3g} %){unsure}: {apart}."
    )
    return SideDifference(table, size, mean, mean - reach, mean + reach, reading)


def impact_level(fit: ImpactFit, size: float) -> tuple[float, float]:
    """Impact of the unshrunk curve at one size in the first interval, and its standard error, currency per share."""
    where, at = np.zeros(1, np.int64), np.array([size])
    return float(fit.estimate.impact(where, at)[0]), float(
        fit.estimate.standard_error(where, at, fit.cov)[0]
    )


def _pooled(settings: dict[str, Any], session: Session | None) -> dict[str, Any]:
    return {
        **settings,
        "by": "pooled",
        "shrinkage": "none",
        "test_fraction": 0.0,
        "session": session,
    }


def _median_size(source: pd.DataFrame | ImpactMoments) -> float:
    return float(
        np.median(
            source.sizes if isinstance(source, ImpactMoments) else np.unique(source["trade_size"])
        )
    )


def _weighted_jacobian(source: pd.DataFrame | ImpactMoments, fit: ImpactFit) -> Float:
    """Derivatives of the pooled curve at each row, (m, p), columns of unit length, times the root of its books."""
    moments = isinstance(source, ImpactMoments)
    size = (source.cells["size"] if moments else source["trade_size"]).to_numpy(dtype=float)
    books = source.cells["n"].to_numpy() if moments else np.ones(len(size))
    jacobian = np.sqrt(books)[:, None] * fit.estimate.jacobian(np.zeros(len(size), np.int64), size)
    length = np.linalg.norm(jacobian, axis=0)
    return np.asarray(jacobian[:, length > 0] / length[length > 0])

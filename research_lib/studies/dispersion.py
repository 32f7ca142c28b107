"""Does splitting by liquidity save the 15 to 17 % against equal shares that is often quoted?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.execution import allocate
from research_lib.impact import CompositeImpact, ImpactCurve

Float = NDArray[np.float64]
QUOTED_SAVINGS = (0.15, 0.17)


def lognormal_saving(dispersion: float) -> float:
    r"""Saving against equal shares where slopes are lognormal, known exactly, and there is no spread, a fraction.

    .. math:: 1 - \frac{n^2}{\sum_t \beta_t \sum_t 1 / \beta_t} \to 1 - e^{-s^2}, \qquad s = sd(\ln \beta_t)

    for cost_t = beta_t x^2, whose optimum is x_t ~ 1 / beta_t, as n grows.
    """
    return -float(np.expm1(-(number("dispersion", dispersion, 0) ** 2)))


def dispersion_needed(saving: float) -> float:
    """The sd(ln beta_t) at which `lognormal_saving` is `saving`, a fraction in [0, 1)."""
    return float(np.sqrt(-np.log1p(-number("saving", saving, 0, 1.0 - 1e-12))))


def dispersion_table(
    curves: Mapping[str, ImpactCurve], total_shares: float, max_shares: ArrayLike | None = None
) -> pd.DataFrame:
    """How much liquidity differs between intervals, and what the exact split of an order makes of it.

    Every saving here is by the curve itself, as if it were known before the open.

    Parameters
    ----------
    curves : mapping of label to ImpactCurve
        n intervals each.
    total_shares : float
        S, shares.
    max_shares : scalar or (n,) shares, optional
        Cap of each interval.

    Returns
    -------
    DataFrame
        Index label: sd_log_slope and sd_log_spread (standard deviations over intervals of the
        logarithms of impact_t(S / n) / (S / n) and of the half-spread; intervals at 0 are left
        out, NaN where most are), lognormal_% (`lognormal_saving` of sd_log_slope), impact_% (of
        the exact split if there were no spread), cost_% (with the spread).
    """
    return pd.DataFrame.from_dict(
        {
            label: _row(curve, number("total_shares", total_shares, above=0), max_shares)
            for label, curve in curves.items()
        },
        orient="index",
    ).rename_axis("curves")


def without_spread(curve: ImpactCurve) -> ImpactCurve:
    """The same impact from the touch on, with a half-spread of 0."""
    if isinstance(curve, CompositeImpact):
        return CompositeImpact([without_spread(part) for part in curve.curves])
    return dataclasses.replace(curve, half_spread=np.zeros(len(curve)))  # type: ignore[type-var]


def _row(curve: ImpactCurve, total_shares: float, max_shares: ArrayLike | None) -> dict[str, float]:
    child = total_shares / len(curve)
    slope = curve.impact(child) / child
    dispersion = _deviation(slope)
    return {
        "sd_log_slope": dispersion,
        "sd_log_spread": _deviation(curve.half_spread),
        "lognormal_%": 100 * lognormal_saving(dispersion) if np.isfinite(dispersion) else np.nan,
        "impact_%": _saving(without_spread(curve), total_shares, max_shares),
        "cost_%": _saving(curve, total_shares, max_shares),
    }


def _deviation(values: Float) -> float:
    """Standard deviation of the logarithm of those above 0; NaN where they are fewer than half."""
    known = np.log(values[values > 0])
    return float(known.std()) if 2 * known.size >= len(values) else float("nan")


def _saving(curve: ImpactCurve, total_shares: float, max_shares: ArrayLike | None) -> float:
    """Of the exact split against equal shares, per cent; NaN where equal shares cost nothing."""
    equal = float(curve.cost(total_shares / len(curve)).sum())
    least = allocate(curve, total_shares, max_shares=max_shares).cost
    return 100.0 * (1.0 - least / equal) if equal > 0 else float("nan")

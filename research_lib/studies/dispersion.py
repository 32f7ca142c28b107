"""What splitting by liquidity saves by the curves alone: does 15 to 17 % hold?"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from research_lib.checks import ArrayLike, Float, number
from research_lib.execution import allocate
from research_lib.impact import CompositeImpact, ImpactCurve

QUOTED_SAVINGS = (0.15, 0.17)


def lognormal_saving(dispersion: float) -> float:
    r"""Saving against equal shares where slopes are lognormal and known exactly, a fraction.

    .. math:: 1 - \frac{n^2}{\sum_t \beta_t \sum_t 1 / \beta_t} \to 1 - e^{-s^2}, \qquad
              s = sd(\ln \beta_t)

    as n grows, for cost_t = beta_t x^2 without a spread, whose optimum is x_t ~ 1 / beta_t.

    Examples
    --------
    >>> round(lognormal_saving(0.4), 3)
    0.148
    """
    return -float(np.expm1(-(number("dispersion", dispersion, 0) ** 2)))


def dispersion_needed(saving: float) -> float:
    """The sd(ln beta_t) at which `lognormal_saving` is `saving`, a fraction in [0, 1).

    Examples
    --------
    >>> [round(dispersion_needed(saving), 2) for saving in QUOTED_SAVINGS]
    [0.4, 0.43]
    """
    return float(np.sqrt(-np.log1p(-number("saving", saving, 0, 1.0 - 1e-12))))


def dispersion_table(
    curves: Mapping[str, ImpactCurve], total_shares: float, max_shares: ArrayLike | None = None
) -> pd.DataFrame:
    """How much liquidity differs between intervals, and what the exact split of an order saves.

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
        the exact split if there were no spread; NaN where sd_log_slope is), cost_% (with the
        spread).

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> table = dispersion_table({"two slopes": LinearImpact([1.0, 3.0])}, 100.0)
    >>> table.loc["two slopes", ["sd_log_slope", "impact_%"]].round(3).tolist()
    [0.549, 25.0]
    """
    total = number("total_shares", total_shares, above=0)
    rows = {}
    for label, curve in curves.items():
        equal = total / len(curve)
        dispersion, split = _log_deviation(curve.impact(equal) / equal), _without_spread(curve)
        rows[label] = {
            "sd_log_slope": dispersion, "sd_log_spread": _log_deviation(curve.half_spread),
            "lognormal_%": np.nan if np.isnan(dispersion) else 100.0 * lognormal_saving(dispersion),
            "impact_%": np.nan if np.isnan(dispersion) else _saving(split, total, max_shares),
            "cost_%": _saving(curve, total, max_shares),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("curves")


def _without_spread(curve: ImpactCurve) -> ImpactCurve:
    """The same impact from the touch on, with a half-spread of 0."""
    if isinstance(curve, CompositeImpact):
        return CompositeImpact([_without_spread(part) for part in curve.curves])
    return dataclasses.replace(curve, half_spread=np.zeros(len(curve)))  # type: ignore[type-var]


def _log_deviation(values: Float) -> float:
    """Standard deviation of the logarithm of those above 0; NaN where they are fewer than half."""
    known = np.log(values[values > 0])
    return float(known.std()) if 2 * known.size >= len(values) else float("nan")


def _saving(curve: ImpactCurve, total_shares: float, max_shares: ArrayLike | None) -> float:
    """Of the exact split against equal shares, per cent; NaN where equal shares cost nothing."""
    equal = float(curve.cost(total_shares / len(curve)).sum())
    best = allocate(curve, total_shares, max_shares=max_shares).shares
    # Equal shares are one of the splits: an optimum above them is rounding of the two sums.
    least = min(float(curve.cost(best).sum()), equal)
    return 100.0 * (1.0 - least / equal) if equal > 0 else float("nan")

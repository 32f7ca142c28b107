"""How the optimal cost answers to the order, the caps and wrong coefficients."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.execution.allocate import allocate
from research_lib.execution.problem import bounds_of
from research_lib.impact import CompositeImpact, ImpactCurve, SeparableTotal

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sensitivity(Record):
    """Derivatives of the optimal cost, and what errors cost.

    Attributes
    ----------
    order : currency per share
        d cost / d S: the multiplier, what the next share costs.
    cap : (n,) currency per share
        d cost / d cap_t, 0 or below: what one more share of room in interval t would save.
    floor : (n,) currency per share
        d cost / d floor_t, 0 or above.
    coefficients : DataFrame
        Index the curve's coefficients; error_%; cost_%: how much the optimal cost rises where the
        coefficient is larger by that in all intervals (first order); misjudged_%: what trading on
        estimates with independent errors of that size costs over trading on the truth (second
        order: a flat optimum). Relative to the cost's size, NaN where that is 0; misjudged_% of a
        book is NaN where an estimate in error sends more than the true book shows.
    """

    order: float
    cap: Float
    floor: Float
    coefficients: pd.DataFrame


def sensitivity(
    curve: ImpactCurve,
    total_shares: float,
    *,
    min_shares: ArrayLike = 0.0,
    max_shares: ArrayLike | None = None,
    objective: str = "cost",
    error: float = 0.1,
) -> Sensitivity:
    r"""Derivatives of the least cost by the envelope theorem, and the cost of wrong coefficients.

    .. math:: \partial C^* / \partial u_t = -\max(\nu - C_t'(u_t), 0)

    Independent errors cost, to second order, the sum of what each alone costs, the mean of
    both signs: 2 n solutions a coefficient.

    Parameters
    ----------
    curve, total_shares, min_shares, max_shares, objective
        As `allocate`; n intervals.
    error : fraction, in (0, 1)

    Raises
    ------
    ValidationError
        An order that is not above 0; a composite curve: its coefficients are its parts'.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> found = sensitivity(LinearImpact([1e-5, 2e-5]), 300, max_shares=150)
    >>> round(found.order, 6), round(float(found.cap[0]), 6)
    (0.006, -0.003)
    """
    if isinstance(curve, CompositeImpact):
        raise ValidationError(
            "a composite curve has the coefficients of its parts; ask for theirs one by one"
        )
    if not isinstance(curve, ImpactCurve):
        raise ValidationError(f"curve must be an ImpactCurve, got {type(curve).__name__}")
    size, total = number("error", error, 0, 1, above=0), curve.total(objective)
    shares = number("total_shares", total_shares, above=0)
    options: Any = {"min_shares": min_shares, "max_shares": max_shares, "objective": objective}

    def changed(name: str, factor: Any) -> ImpactCurve:
        values = curve.parameters()[name]
        return dataclasses.replace(curve, **{name: (values.T * factor).T})  # type: ignore[type-var]

    def excess(believed: ImpactCurve, true: SeparableTotal) -> float:
        x = allocate(believed, shares, **options).shares
        return (float(np.sum(true.value(x))) - base.cost) / unit

    base = allocate(curve, shares, **options)
    x, nu, unit = base.shares, base.marginal_cost, 0.01 * abs(base.cost) or np.nan
    lower, upper = bounds_of(len(curve), shares, min_shares, max_shares)
    table = {}
    for name, values in curve.parameters().items():
        larger, lost = changed(name, 1.0 + size), 0.0
        for t in np.flatnonzero(values.reshape(len(values), -1).any(axis=1)):
            for sign in (1.0, -1.0):
                factor = np.ones(len(values))
                factor[t] += sign * size
                lost += 0.5 * excess(changed(name, factor), total)
        rise = excess(larger, larger.total(objective))
        table[name] = {"error_%": 100 * size, "cost_%": rise, "misjudged_%": lost}
    return Sensitivity(
        nu,
        np.where(x >= upper, -np.maximum(nu - total.marginal_last(x), 0.0), 0.0),
        np.where(x <= lower, np.maximum(total.marginal(x) - nu, 0.0), 0.0),
        pd.DataFrame(table).T.rename_axis("coefficient"),
    )

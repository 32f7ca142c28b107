"""The efficient frontier of Almgren and Chriss, of one asset or of several, and its point of least
value at risk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.execution.almgren_chriss import almgren_chriss
from research_lib.execution.portfolio import portfolio_schedule
from research_lib.execution.schedules import ModelledSchedule

Float = NDArray[np.float64]
SEARCHED = 1e10


@dataclass(frozen=True, eq=False)
class Frontier(Record):
    """Schedules of least cost for their variance.

    Attributes
    ----------
    risk_aversion : (k,) per currency
    schedules : tuple of k ModelledSchedule

    Examples
    --------
    >>> market = {"volatility": 0.95, "temporary": 2.5e-6}
    >>> efficient_frontier(1e6, 5, [0, 1e-6], **market).to_frame().columns.tolist()
    ['expected_cost', 'deviation', 'value_at_risk']
    """

    risk_aversion: Float
    schedules: tuple[ModelledSchedule, ...]

    @property
    def expected_cost(self) -> Float:
        """Currency, (k,)."""
        return np.array([schedule.expected_cost for schedule in self.schedules])

    @property
    def deviation(self) -> Float:
        """Standard deviation of the cost, currency, (k,)."""
        return np.sqrt([schedule.variance for schedule in self.schedules])

    def to_frame(self, p: float = 0.95) -> pd.DataFrame:
        """Index risk_aversion; columns expected_cost, deviation, value_at_risk of probability p,
        currency.
        """
        at_risk = [schedule.value_at_risk(p) for schedule in self.schedules]
        rows = {"expected_cost": self.expected_cost, "deviation": self.deviation}
        index = pd.Index(self.risk_aversion, name="risk_aversion")
        return pd.DataFrame(rows | {"value_at_risk": at_risk}, index)


def efficient_frontier(
    total_shares: ArrayLike, n_intervals: int, risk_aversions: ArrayLike, **market: Any
) -> Frontier:
    """The optimal schedule at each risk aversion, (k,) per currency.

    Parameters
    ----------
    total_shares : scalar or (m,) shares
        A number is one asset, for `almgren_chriss`; an array is a portfolio, for
        `portfolio_schedule`.
    market
        The other arguments of that function.

    Examples
    --------
    >>> market = {"volatility": 0.95, "temporary": 2.5e-6}
    >>> efficient_frontier(1e6, 5, [0, 1e-6], **market).deviation.round(-4).tolist()
    [1040000.0, 610000.0]
    """
    weights = np.atleast_1d(np.array(risk_aversions, float))
    make: Any = almgren_chriss if np.ndim(total_shares) == 0 else portfolio_schedule
    return Frontier(
        weights,
        tuple(make(total_shares, n_intervals, risk_aversion=w, **market) for w in weights.tolist()),
    )


def least_value_at_risk(
    total_shares: ArrayLike, n_intervals: int, p: float = 0.95, **market: Any
) -> tuple[ModelledSchedule, float]:
    r"""The schedule whose value at risk is least, what Almgren and Chriss call L-VaR, and its risk
    aversion.

    On the frontier a change of variance costs lambda times it, so the tangent of slope
    :math:`z_p = \Phi^{-1}(p)` to cost against deviation touches where :math:`2 \lambda \sqrt V =
    z_p`.

    Parameters
    ----------
    total_shares, n_intervals, market
        As `efficient_frontier`.
    p : float
        Above 0.5 and below 1.

    Returns
    -------
    ModelledSchedule, float
        Where even trading at once has too little risk to pay for waiting, the risk aversion is that
        of the search's end, 1e10 times its beginning.

    Examples
    --------
    >>> best, aversion = least_value_at_risk(1e6, 5, volatility=0.95, temporary=2.5e-6)
    >>> bool(2 * aversion * best.variance**0.5 - 1.645 < 1e-3)
    True
    """
    quantile = float(ndtri(number("p", p, above=0.5)))
    if p >= 1:
        raise ValidationError(f"p must be below 1, got {p!r}: a normal cost has no largest value")

    def at(risk: float) -> ModelledSchedule:
        return efficient_frontier(total_shares, n_intervals, risk, **market).schedules[0]

    def slope(log_risk: float) -> float:
        variance = max(at(math.exp(log_risk)).variance, 1e-300)
        return log_risk + 0.5 * math.log(variance) - math.log(quantile / 2.0)

    indifferent = at(0.0)
    if indifferent.variance == 0:
        return indifferent, 0.0
    # No schedule has more variance than that.
    first = math.log(quantile / 2.0) - 0.5 * math.log(indifferent.variance)
    last = first + math.log(SEARCHED)
    found = brentq(slope, first, last, xtol=1e-10) if slope(last) > 0 > slope(first) else last
    return at(math.exp(found)), math.exp(found)

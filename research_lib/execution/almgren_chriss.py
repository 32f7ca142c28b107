"""Almgren and Chriss: least expected cost plus risk aversion times variance against the arrival
price; the efficient frontier, for one asset or several; least value at risk.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

from research_lib.checks import ArrayLike, Float, number, per_interval
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.allocate import allocate
from research_lib.execution.portfolio import portfolio_schedule
from research_lib.execution.schedules import ROUNDING, ModelledSchedule, left_to_trade
from research_lib.impact import LinearImpact

SEARCHED = 1e10


@dataclass(frozen=True, eq=False)
class ArrivalPriceSchedule(ModelledSchedule):
    r"""The schedule of :func:`almgren_chriss`.

    Attributes
    ----------
    kappa : float
        Rate at which holdings decay, per unit of time; below 0 if the order is risk-seeking: then
        minus the angular frequency omega of :math:`x_k = X \sin(\omega (T - t_k)) / \sin(\omega
        T)`. Of the mean temporary impact and the mean squared volatility where these vary.

    Examples
    --------
    >>> equal = almgren_chriss(1e6, 5, volatility=0.95, temporary=2.5e-6, risk_aversion=0)
    >>> round(equal.expected_cost, 6)
    500000.0
    """

    kappa: float

    @property
    def theta(self) -> float:
        """1 / kappa, the paper's half-life: the time in which holdings fall by e; inf if they do
        not.
        """
        return 1.0 / self.kappa if self.kappa > 0 else math.inf

    @property
    def half_life(self) -> float:
        """ln 2 / kappa: the time in which holdings halve; inf if they do not decay."""
        return math.log(2.0) * self.theta


def almgren_chriss(
    total_shares: float, n_intervals: int, *, volatility: ArrayLike, temporary: ArrayLike,
    risk_aversion: float, permanent: float = 0.0, half_spread: float = 0.0, drift: float = 0.0,
    interval: float = 1.0, min_shares: ArrayLike | None = None,
) -> ArrivalPriceSchedule:  # fmt: skip
    r"""Least expected cost plus risk aversion times variance, against the arrival price.

    .. math:: \tfrac12 \gamma X^2 + \epsilon \sum_k |n_k| + \sum_k \frac{\tilde\eta_k}{\tau} n_k^2
              - \alpha \tau \sum_k x_k + \lambda \tau \sum_k \sigma_k^2 x_k^2,
              \quad \tilde\eta_k = \eta_k - \gamma \tau / 2

    x_k is held after trade n_k. Holdings solve a tridiagonal system. Where volatility and temporary
    impact are constant and there is no drift, they are X sinh(kappa (T - t)) / sinh(kappa T) with
    cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~), which is TWAP at no risk aversion. A
    risk-seeking order (lambda < 0) trades late, with sin in place of sinh, as long as kappa T < pi;
    beyond that there is no minimum.

    Parameters
    ----------
    total_shares : shares
        X; a sell is positive, a buy negative.
    n_intervals : int
        n.
    volatility : scalar or (n,) currency per share per sqrt(time)
        sigma_k, of the price from trade k to the next; the last one does not matter.
    temporary : scalar or (n,) currency per share per (share per time)
        eta_k above gamma tau / 2.
    risk_aversion : per currency
        lambda.
    permanent : currency per share**2
        gamma >= 0.
    half_spread : currency per share
        epsilon >= 0.
    drift : currency per share per time
        alpha of the price.
    interval : time
        tau, in the unit of time of all the others.
    min_shares : scalar or (n,) shares, optional
        Floors of the trades, at least 0, for X >= 0; 0 excludes trades in the other direction.
        None, the default, leaves the sign of each trade free. Floors below 0 are refused.

    Raises
    ------
    ValidationError
        A parameter out of range, a floor below 0 among them.
    OptimizationError
        A risk aversion so far below 0 that there is no minimum; floors whose sum exceeds the order;
        an optimum with trades against the order's direction where there is a half-spread; floors
        that bind under a negative risk aversion.

    References
    ----------
    Almgren and Chriss, Optimal execution of portfolio transactions, Journal of Risk 3(2), 2000,
    equations 8, 16 to 20, 24 to 26, and section 5 on coefficients that vary.

    Examples
    --------
    >>> best = almgren_chriss(1e6, 4, volatility=0.95, temporary=2.5e-6, risk_aversion=1e-6)
    >>> best.shares.round(-3).tolist(), round(best.half_life, 2)
    ([458000.0, 262000.0, 161000.0, 118000.0], 1.17)
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    shares, tau = number("total_shares", total_shares), number("interval", interval, above=0)
    sigma = per_interval("volatility", volatility, n)
    eta = per_interval("temporary", temporary, n)
    risk, gamma = number("risk_aversion", risk_aversion), number("permanent", permanent, 0)
    spread, alpha = number("half_spread", half_spread, 0), number("drift", drift)
    net = eta - 0.5 * gamma * tau
    if net.min() <= 0:
        least = f"permanent * interval / 2 = {gamma * tau / 2:g}; shorten the interval"
        raise ValidationError(f"temporary {eta.min():g} must be above {least}")
    variance = sigma * sigma * tau
    trades, convex = _trajectory(shares, net / tau, risk * variance, 0.5 * alpha * tau)
    if not convex:
        raise OptimizationError(f"cost plus risk falls without limit at risk_aversion {risk:.6g}")
    if min_shares is not None:
        floor = per_interval("min_shares", min_shares, n, infinite=True)
        binds = np.any(trades < floor - ROUNDING * abs(shares))
        if binds and risk < 0:
            raise OptimizationError(f"risk_aversion {risk:g} is below 0 and min_shares binds")
        trades = np.maximum(trades, floor)
        if binds:
            curve = LinearImpact(net / tau, spread + alpha * tau * np.arange(n, 0, -1.0))
            risky = {"risk_aversion": risk, "covariance": variance}
            trades = allocate(curve, shares, min_shares=floor, **risky).shares
    sizes = float(np.abs(trades).sum()) if spread else 0.0
    if spread and sizes > abs(trades.sum()) * (1.0 + ROUNDING):
        remedy = "set min_shares=0, or half_spread=0"
        raise OptimizationError(f"the optimum trades against the order's direction; {remedy}")
    held = left_to_trade(trades)[1:]
    cost = 0.5 * gamma * shares**2 + spread * sizes + float(net @ (trades * trades)) / tau
    cost -= alpha * tau * float(held.sum()) if alpha else 0.0
    # kappa tau is arccosh(1 + pull / 2): asinh of half the root loses no digits near 1.
    pull = risk * tau * float(variance.sum() / net.sum())
    half = 0.5 * math.sqrt(abs(pull))
    kappa = 2.0 * (math.asinh(half) if pull >= 0 else -math.asin(min(half, 1.0))) / tau
    of_cost = float(variance @ (held * held))
    return ArrivalPriceSchedule(trades, "Almgren-Chriss", cost, of_cost, kappa)


@compiled
def _trajectory(shares: float, cost: Float, risk: Float, push: float) -> tuple[Float, bool]:
    r"""Trades, (n,), of least sum_k cost_k n_k^2 + risk_k x_k^2 - 2 push x_k, and whether there is
    a least value.

    By elimination from the end: x_k = keep_k x_(k-1) + rest_k. sold_k = 1 - keep_k is computed on
    its own: the difference would lose the digits of trades that are small compared with the
    holding.
    """
    n = len(cost)
    keep, sold, rest, convex = np.zeros(n), np.ones(n), np.zeros(n), True
    for k in range(n - 2, -1, -1):
        stays = risk[k] + cost[k + 1] * sold[k + 1]
        pivot = cost[k] + stays
        convex &= 0.0 < pivot < np.inf
        keep[k], sold[k] = cost[k] / pivot, stays / pivot
        rest[k] = (push + cost[k + 1] * rest[k + 1]) / pivot
    trades, held = np.empty(n), shares
    for k in range(n):
        trades[k] = sold[k] * held - rest[k]
        held = keep[k] * held + rest[k]
    return trades, convex


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
        rows = {"expected_cost": self.expected_cost, "deviation": self.deviation}
        rows["value_at_risk"] = np.array([one.value_at_risk(p) for one in self.schedules])
        return pd.DataFrame(rows, pd.Index(self.risk_aversion, name="risk_aversion"))


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
    plans = (make(total_shares, n_intervals, risk_aversion=w, **market) for w in weights.tolist())
    return Frontier(weights, tuple(plans))


def least_value_at_risk(
    total_shares: ArrayLike, n_intervals: int, p: float = 0.95, **market: Any
) -> tuple[ModelledSchedule, float]:
    r"""The schedule whose value at risk is least, what Almgren and Chriss call L-VaR, and its risk
    aversion.

    On the frontier the cost falls by lambda per unit of variance, so the tangent of slope
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
        Where the search finds no tangent up to its end, the risk aversion is that end, 1e10 times
        its start.

    Examples
    --------
    >>> best, aversion = least_value_at_risk(1e6, 5, volatility=0.95, temporary=2.5e-6)
    >>> bool(2 * aversion * best.variance**0.5 - 1.645 < 1e-3)
    True
    """
    if not 0.5 < number("p", p) < 1:
        raise ValidationError(f"p must be above 0.5 and below 1, got {p!r}")
    quantile = float(ndtri(p))

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

"""Schedules of the literature to measure against: front-loaded decay, and Almgren and Chriss's arrival price."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.allocation import allocate
from research_lib.execution.schedules import Schedule
from research_lib.execution.solvers import ConvexTerms
from research_lib.execution.solvers.kernels import moments, trajectory
from research_lib.impact.curves import LinearImpact

Float = NDArray[np.float64]
ROUNDING = 1e-9


def front_loaded(total_shares: float, n_intervals: int, half_life: float | None = None) -> Schedule:
    r"""Children that fall from the first interval on: x_t ~ 2^(-t / half_life), or ~ n - t without a half-life.

    Parameters
    ----------
    total_shares : float
    n_intervals : int
        n.
    half_life : intervals, above 0, optional
        After so many, the child is half as large; inf is TWAP.
    """
    n, total = number("n_intervals", n_intervals, 1, integer=True), number("total_shares", total_shares, 0)
    if half_life is None:
        weights, name = np.arange(n, 0, -1.0), "front-loaded, linear"
    else:
        if not half_life > 0:
            raise ValidationError(f"half_life must be above 0, got {half_life!r}; inf is TWAP")
        weights, name = 0.5 ** (np.arange(n) / half_life), f"front-loaded, half-life {half_life:g}"
    return Schedule(total * weights / weights.sum(), name)


@dataclass(frozen=True, eq=False)
class ArrivalPriceSchedule(Schedule):
    """A schedule with what its model expects of it.

    Attributes
    ----------
    shares : (n,) shares
        Sold in each interval; negative is bought.
    holdings : (n + 1,) shares
        Left to trade before each interval, and 0 at the end.
    expected_cost : float
        Currency, against the arrival price.
    variance : float
        Of the cost, currency**2.
    kappa : float
        Rate at which holdings decay, per unit of time.
    """

    holdings: Float
    expected_cost: float
    variance: float
    kappa: float

    def __post_init__(self) -> None:
        """Shares of any sign are meant."""


def almgren_chriss(
    total_shares: float,
    n_intervals: int,
    *,
    volatility: float,
    temporary: float,
    risk_aversion: float,
    permanent: float = 0.0,
    half_spread: float = 0.0,
    drift: float = 0.0,
    interval: float = 1.0,
    min_shares: ArrayLike | None = None,
) -> ArrivalPriceSchedule:
    r"""Least expected cost plus risk aversion times variance, against the arrival price.

    .. math:: \tfrac12 \gamma X^2 + \epsilon \sum_k |n_k| + \frac{\tilde\eta}{\tau} \sum_k n_k^2
              - \alpha \tau \sum_k x_k + \lambda \sigma^2 \tau \sum_k x_k^2,
              \quad \tilde\eta = \eta - \gamma \tau / 2

    x_k is held after trade n_k. Holdings solve a tridiagonal system; without drift they are
    X sinh(kappa (T - t)) / sinh(kappa T) with cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~).
    At no risk aversion, and without drift, that is TWAP.

    Parameters
    ----------
    total_shares : shares
        X; a sell is positive, a buy negative.
    n_intervals : int
    volatility : currency per share per sqrt(time)
        sigma.
    temporary : currency per share per (share per time)
        eta above gamma tau / 2.
    risk_aversion : per currency
        lambda >= 0.
    permanent : currency per share**2
        gamma >= 0.
    half_spread : currency per share
        epsilon >= 0.
    drift : currency per share per time
        alpha of the price.
    interval : time
        tau, in the unit of time of all the others.
    min_shares : scalar or (n,) shares, optional
        Floor of each trade, 0 for no trade in the other direction (X >= 0); any sign by default.

    Raises
    ------
    ValidationError
        A parameter out of range.
    OptimizationError
        Trades against the order's direction under a half-spread, which prices their sign.

    References
    ----------
    Almgren and Chriss, Optimal execution of portfolio transactions, Journal of Risk 3(2), 2000,
    equations 8, 16 to 20 and 26.
    """
    n, shares = number("n_intervals", n_intervals, 1, integer=True), number("total_shares", total_shares)
    model = _Model(
        number("volatility", volatility, 0),
        number("temporary", temporary, above=0),
        number("risk_aversion", risk_aversion, 0),
        number("permanent", permanent, 0),
        number("half_spread", half_spread, 0),
        number("drift", drift),
        number("interval", interval, above=0),
    )
    push = 0.5 * model.drift * model.interval**2 / model.net_temporary
    trades = trajectory(shares, n, model.pull, push)
    if min_shares is not None:
        trades = _floored(model, shares, trades, min_shares)
    elif model.half_spread and drift and np.any(trades * shares < -ROUNDING * shares**2):
        raise OptimizationError(
            "the drift asks for trades against the order's direction, which half_spread prices by their sign; "
            "set min_shares=0, or half_spread=0"
        )
    return model.schedule(shares, trades)


@dataclass(frozen=True)
class _Model:
    volatility: float
    temporary: float
    risk_aversion: float
    permanent: float
    half_spread: float
    drift: float
    interval: float

    def __post_init__(self) -> None:
        if self.net_temporary <= 0:
            raise ValidationError(
                f"temporary {self.temporary:g} must be above permanent * interval / 2 = "
                f"{self.permanent * self.interval / 2:g}; shorten the interval"
            )

    @property
    def net_temporary(self) -> float:
        """eta - gamma tau / 2."""
        return self.temporary - 0.5 * self.permanent * self.interval

    @property
    def pull(self) -> float:
        """lambda sigma^2 tau^2 / eta~."""
        return self.risk_aversion * self.volatility**2 * self.interval**2 / self.net_temporary

    def schedule(self, shares: float, trades: Float) -> ArrivalPriceSchedule:
        """The trades with what is expected of them."""
        holdings, sizes, squares, held, held_squares = moments(shares, trades)
        cost = 0.5 * self.permanent * shares**2 + self.half_spread * sizes
        cost += self.net_temporary / self.interval * squares - self.drift * self.interval * held
        variance = self.volatility**2 * self.interval * held_squares
        # asinh of half the root: the arccosh of 1 + pull / 2 without its loss of digits near 1.
        kappa = 2.0 * math.asinh(0.5 * math.sqrt(self.pull)) / self.interval
        return ArrivalPriceSchedule(trades, "Almgren-Chriss", holdings, cost, variance, kappa)


def _floored(model: _Model, shares: float, trades: Float, min_shares: ArrayLike) -> Float:
    """The trades if they keep the floors, else those of the same problem with floors, by `allocate`."""
    floor = np.broadcast_to(np.asarray(min_shares, float), trades.shape)
    if np.all(trades >= floor - ROUNDING * abs(shares)):
        return np.maximum(trades, floor) if np.any(trades < floor) else trades
    n, held = len(trades), model.drift * model.interval * np.arange(len(trades), 0, -1.0)
    curve = LinearImpact(np.full(n, model.net_temporary / model.interval), model.half_spread + held)
    risk = ConvexTerms(risk_aversion=model.risk_aversion, variance=model.volatility**2 * model.interval)
    return allocate(curve, shares, min_shares=floor, terms=risk, tolerance=1e-10).shares

"""Schedules of several assets at once: covariance, cross impact, neutrality and caps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.fallback import Limits
from research_lib.execution.portfolio_model import (
    TOLERANCE,
    PortfolioBounds,
    PortfolioModel,
    solve,
)
from research_lib.execution.problem import ROUNDING
from research_lib.execution.schedules import ModelledSchedule, left_to_trade
from research_lib.monitoring import timed

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PortfolioSchedule(ModelledSchedule):
    """The schedule of :func:`portfolio_schedule`; shares (n, m), holdings (n + 1, m).

    Attributes
    ----------
    attribution : DataFrame (m rows)
        By asset, each column summing to the portfolio's: temporary, permanent, spread and their sum
        cost (paid on this asset's trades and holdings, whoever moved its price), caused (what its own trades
        cost all assets), in currency; variance (its covariance with the whole), currency**2.
    solver : str
        "modes" or "block-tridiagonal" (exact), the backend that CVXPY used, or "given".
    kkt_residual : float
        Largest of stationarity, violation and duality gap, relative, as measured on the schedule; NaN of a
        given one, which claims no optimum.
    """

    attribution: pd.DataFrame
    solver: str
    kkt_residual: float


@timed("portfolio_schedule")
def portfolio_schedule(
    total_shares: ArrayLike,
    n_intervals: int,
    *,
    covariance: ArrayLike,
    temporary: ArrayLike,
    risk_aversion: float,
    permanent: ArrayLike | None = None,
    half_spread: ArrayLike = 0.0,
    interval: float = 1.0,
    min_shares: ArrayLike | None = None,
    max_shares: ArrayLike | None = None,
    exposures: ArrayLike | None = None,
    min_exposure: ArrayLike = -np.inf,
    max_exposure: ArrayLike = np.inf,
    prices: ArrayLike | None = None,
    max_value: ArrayLike = np.inf,
    max_iterations: int = 1000,
    timeout_seconds: float = 300.0,
) -> PortfolioSchedule:
    r"""Least expected cost plus risk aversion times variance of trading m assets.

    .. math:: \sum_k \epsilon' |n_k| + \tfrac1\tau n_k' H n_k + x_k' \Gamma n_k + \lambda \tau x_k' C x_k

    x_k is held after the trades n_k. Of H its symmetric part matters; Gamma is not symmetrised: with
    Gamma^A its antisymmetric part, x_k' Gamma^A n_k costs according to which asset goes first. Without
    bounds the optimum is exact: by the modes of C against H - tau Gamma / 2 where Gamma is symmetric,
    from one block-tridiagonal system where it is not. CVXPY solves the rest, in fractions of the orders,
    and its answer is taken only with a KKT residual below 1e-6.

    Parameters
    ----------
    total_shares : (m,) shares
        X; a sell is positive, a buy negative, 0 an asset that may only hedge.
    n_intervals : int
        n.
    covariance : (m, m) (currency per share)**2 per time
        C, of prices, not returns.
    temporary : (m,) or (m, m) currency per share per (share per time)
        H, [i, j]: fall of price i while j is sold at rate 1; (m,) is its diagonal.
    risk_aversion : per currency
        lambda.
    permanent : (m,) or (m, m) currency per share**2, optional
        Gamma, [i, j]: lasting fall of price i per share of j sold; none by default.
    half_spread : scalar or (m,) currency per share
        epsilon, paid on every share either way.
    interval : time
        tau, in the unit of time of all the others.
    min_shares, max_shares : scalar, (m,), (n, 1) or (n, m) shares, optional
        Bounds of each signed trade: -c and c are a cap, one for all assets or one each.
    exposures : (m,) or (k, m), optional
        Weights of linear functions of what is held, such as prices (cash) or prices within one sector. They and
        the limits below go together.
    min_exposure, max_exposure : scalar, (k,) or (n - 1, k)
        min <= exposures @ holdings <= max after each trade but the last; 0 and 0 are neutral.
    prices, max_value : (m,) currency per share, scalar or (n,) currency
        A common cap on what is traded in an interval: prices @ \|shares\| <= max_value. Both or neither.

    max_iterations, timeout_seconds
        Of each backend, and of all together.

    Returns
    -------
    PortfolioSchedule

    Raises
    ------
    ValidationError
        Shapes that disagree, a covariance that is not positive semi-definite, temporary impact that pays, a
        limit without its weights or prices, or the reverse.
    OptimizationError
        No least value (risk loved, or round trips across assets that gain), bounds that admit no
        schedule, or no certified answer.

    References
    ----------
    Almgren and Chriss (2000), Journal of Risk 3(2), appendix A, equations 29 to 31. Round trips that
    gain: Huberman and Stanzl (2004), Econometrica 72.
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    orders = _array("total_shares", total_shares, None)
    m = len(orders)
    model = _model(m, covariance, temporary, permanent, half_spread, risk_aversion, interval)
    _refuse_idle(exposures, min_exposure, max_exposure, prices, max_value)
    weights = np.zeros((0, m)) if exposures is None else _rows("exposures", exposures, m)
    bounds = PortfolioBounds(
        _limits("min_shares", -np.inf if min_shares is None else min_shares, (n, m)),
        _limits("max_shares", np.inf if max_shares is None else max_shares, (n, m)),
        weights,
        _limits("min_exposure", min_exposure, (n - 1, len(weights))),
        _limits("max_exposure", max_exposure, (n - 1, len(weights))),
        _array("prices", np.zeros(m) if prices is None else prices, m, 0.0),
        _limits("max_value", max_value, (n,)),
    )
    _refuse_short(orders, bounds)
    seconds = number("timeout_seconds", timeout_seconds, above=0)
    limits = Limits(number("max_iterations", max_iterations, 1, integer=True), TOLERANCE, seconds)
    return _schedule(model, *_solved(model, orders, bounds, limits))


def price_portfolio(
    shares: ArrayLike,
    *,
    covariance: ArrayLike,
    temporary: ArrayLike,
    permanent: ArrayLike | None = None,
    half_spread: ArrayLike = 0.0,
    interval: float = 1.0,
) -> PortfolioSchedule:
    """What any schedule of several assets is expected to cost and to risk, whoever made it.

    Parameters
    ----------
    shares : (n, m)
        Signed trades; their sums are the orders.
    covariance, temporary, permanent, half_spread, interval
        As `portfolio_schedule`.
    """
    trades = np.atleast_2d(np.array(shares, float))
    if trades.ndim != 2 or not np.isfinite(trades).all():
        raise ValidationError(f"shares must be (n, m) and finite, got shape {trades.shape}")
    model = _model(trades.shape[1], covariance, temporary, permanent, half_spread, 0.0, interval)
    return _schedule(model, trades, "given", np.nan)


def _model(
    m: int,
    covariance: ArrayLike,
    temporary: ArrayLike,
    permanent: ArrayLike | None,
    half_spread: ArrayLike,
    risk_aversion: float,
    interval: float,
) -> PortfolioModel:
    return PortfolioModel(
        _matrix("covariance", covariance, m),
        _matrix("temporary", temporary, m),
        np.zeros((m, m)) if permanent is None else _matrix("permanent", permanent, m),
        _array(
            "half_spread",
            np.broadcast_to(half_spread, m) if np.ndim(half_spread) == 0 else half_spread,
            m,
            0.0,
        ),
        number("risk_aversion", risk_aversion),
        number("interval", interval, above=0),
    )


def _solved(
    model: PortfolioModel, orders: Float, bounds: PortfolioBounds, limits: Limits
) -> tuple[Float, str, float]:
    """Trades (n, m), by whom, and their KKT residual: the free optimum where it keeps the bounds."""
    n = len(bounds.lower)
    trades, solver = model.optimum(orders, n)
    sizes = np.abs(trades).sum(axis=0)
    one_way = sizes - np.abs(orders) <= ROUNDING * np.maximum(sizes, np.abs(orders))
    priced = np.all(
        one_way | (model.half_spread == 0)
    )  # a spread on one-way trades is the same for all schedules
    holdings = left_to_trade(trades)
    missed = bounds.misses(trades, holdings)
    if missed <= ROUNDING and (priced or n == 1):
        return trades, solver, max(missed, model.stationarity(holdings))
    if n == 1:
        raise OptimizationError(
            "one interval must trade everything, which the caps forbid; raise n_intervals"
        )
    free = model.attribution(trades, holdings)
    scale = (
        float(np.abs(free["temporary"].sum()) + abs(model.risk_aversion) * free["variance"].sum())
        or 1.0
    )
    return solve(model, orders, bounds, scale, limits)


def _schedule(
    model: PortfolioModel, trades: Float, solver: str, kkt_residual: float
) -> PortfolioSchedule:
    table = model.attribution(trades, left_to_trade(trades))
    sums = table.sum()
    return PortfolioSchedule(
        trades,
        "portfolio",
        float(sums["cost"]),
        float(sums["variance"]),
        table,
        solver,
        kkt_residual,
    )


def _refuse_idle(
    exposures: ArrayLike | None,
    min_exposure: ArrayLike,
    max_exposure: ArrayLike,
    prices: ArrayLike | None,
    max_value: ArrayLike,
) -> None:
    """What goes together is given together, or one of the two would change nothing."""
    limited = not (
        np.all(np.equal(min_exposure, -np.inf)) and np.all(np.equal(max_exposure, np.inf))
    )
    if limited and exposures is None:
        raise ValidationError(
            "min_exposure and max_exposure limit exposures @ holdings: give exposures as well"
        )
    if exposures is not None and not limited:
        raise ValidationError(
            "exposures are limited by min_exposure and max_exposure: give one of them as well"
        )
    capped = not np.all(np.equal(max_value, np.inf))
    if capped and prices is None:
        raise ValidationError("max_value caps what is traded in currency: give prices as well")
    if prices is not None and not capped:
        raise ValidationError(
            "prices are for max_value, what may be traded in an interval: give it as well"
        )


def _refuse_short(orders: Float, bounds: PortfolioBounds) -> None:
    """Say which bounds cannot hold the orders, before a solver says only that some cannot."""
    crossed = bounds.lower > bounds.upper
    if crossed.any():
        k, at = (int(index) for index in np.argwhere(crossed)[0])
        raise OptimizationError(
            f"min_shares {bounds.lower[k, at]:g} is above max_shares {bounds.upper[k, at]:g} for asset {at} in "
            f"interval {k}; lower the one or raise the other"
        )
    if np.any(bounds.least > bounds.most):
        k, at = (int(index) for index in np.argwhere(bounds.least > bounds.most)[0])
        raise OptimizationError(
            f"min_exposure {bounds.least[k, at]:g} is above max_exposure {bounds.most[k, at]:g} of exposure {at} after "
            f"trade {k}; lower the one or raise the other"
        )
    for most, way in ((bounds.upper.sum(axis=0), 1.0), (-bounds.lower.sum(axis=0), -1.0)):
        short = way * orders > most + ROUNDING * np.maximum(np.abs(most), 1.0)
        if not short.any():
            continue
        at = int(np.argmax(short))
        if most[at] >= 0:
            raise OptimizationError(
                f"caps admit {most[at]:,.6g} of {way * orders[at]:,.6g} shares of asset {at}; raise "
                f"{'max_shares' if way > 0 else '-min_shares'} or lengthen the horizon"
            )
        raise OptimizationError(
            f"{'max_shares' if way > 0 else 'min_shares'} force a total of {way * most[at]:,.6g} shares of asset {at}, "
            f"whose order is {orders[at]:,.6g}; {'raise' if way > 0 else 'lower'} them or shorten the horizon"
        )
    needed, admitted = float(np.abs(orders) @ bounds.prices), float(bounds.value.sum())
    if needed > admitted * (1.0 + ROUNDING):
        raise OptimizationError(
            f"max_value admits {admitted:,.6g} of {needed:,.6g} currency; raise it or lengthen the horizon"
        )


def _array(name: str, values: ArrayLike, m: int | None, low: float = -np.inf) -> Float:
    array = np.array(values, float)
    if array.ndim != 1 or (m is not None and len(array) != m) or not len(array):
        raise ValidationError(
            f"{name} must be ({'m' if m is None else m},), one an asset, got shape {array.shape}"
        )
    bad = ~(np.isfinite(array) & (array >= low))
    if bad.any():
        at = int(np.argmax(bad))
        raise ValidationError(
            f"{name} of asset {at} must be finite and at least {low:g}, got {array[at]:g}"
        )
    return array


def _matrix(name: str, values: ArrayLike, m: int) -> Float:
    """(m, m) of (m, m), or of its diagonal where the name allows one; the covariance must be symmetric."""
    array = np.array(values, float)
    if array.shape == (m,) and name != "covariance":
        array = np.diag(array)
    if array.shape != (m, m) or not np.isfinite(array).all():
        raise ValidationError(f"{name} must be ({m}, {m}) and finite, got shape {array.shape}")
    if name == "covariance" and np.abs(array - array.T).max() > 1e-8 * np.abs(array).max():
        raise ValidationError(
            f"{name} must be symmetric, got a difference of {np.abs(array - array.T).max():.3g}"
        )
    return array


def _rows(name: str, values: ArrayLike, m: int) -> Float:
    array = np.atleast_2d(np.array(values, float))
    if (
        array.ndim != 2
        or array.shape[1] != m
        or not np.isfinite(array).all()
        or not np.all(array.any(axis=1))
    ):
        raise ValidationError(
            f"{name} must be (k, {m}), finite and no row of zeros, got shape {array.shape}"
        )
    return array


def _limits(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Any:
    try:
        array = np.broadcast_to(np.asarray(values, float), shape)
    except ValueError as error:
        raise ValidationError(
            f"{name} must broadcast to {shape}, got shape {np.shape(values)}"
        ) from error
    if np.isnan(array).any():
        raise ValidationError(f"{name} holds NaN; use inf where there is no limit")
    return array

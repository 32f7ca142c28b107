"""Schedules of several assets at once: covariance, cross impact, neutrality and caps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, same_labels
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.fallback import Limits
from research_lib.execution.portfolio_model import TOLERANCE, PortfolioBounds, PortfolioModel, solve
from research_lib.execution.schedules import ROUNDING, ModelledSchedule, drawn, left_to_trade, table
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PortfolioSchedule(ModelledSchedule):
    """The schedule of :func:`portfolio_schedule`; shares (n, m), holdings (n + 1, m).

    Attributes
    ----------
    attribution : DataFrame (m rows, labelled as the orders are)
        By asset, each column summing to the portfolio's: temporary, permanent, spread and their sum
        cost (paid on this asset's trades and holdings, whoever moved its price), caused (what its
        own trades cost all assets), in currency; variance (its covariance with the whole),
        currency**2.
    solver : str
        "modes" or "block-tridiagonal" (exact), the backend that CVXPY used, or "given".
    kkt_residual : float
        Largest of stationarity, violation and duality gap, relative, as measured on the schedule;
        NaN of a given one, which claims no optimum.

    Examples
    --------
    >>> market = {"covariance": [[4.0]], "temporary": [0.01], "risk_aversion": 0.0}
    >>> portfolio_schedule([300], 3, **market).shares.ravel().round(6).tolist()
    [100.0, 100.0, 100.0]
    """

    attribution: pd.DataFrame
    solver: str
    kkt_residual: float

    def to_frame(self) -> pd.DataFrame:
        """Signed shares; index interval, one column an asset."""
        return table(self.shares, self.attribution.index)

    def plot(self, ax: Axes | None = None) -> Axes:
        """What is held of each asset before each interval, as part of its largest position."""
        for name, held in zip(self.attribution.index, self.holdings.T, strict=True):
            ax = drawn(held / (np.abs(held).max() or 1.0), str(name), ax)
        assert ax is not None
        ax.set(ylabel="held (part of the largest)", title=self.name)
        ax.legend(title="asset")
        return ax


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

    .. math:: \sum_k \epsilon' |n_k| + \tfrac1\tau n_k' H n_k + x_k' \Gamma n_k
              + \lambda \tau x_k' C x_k

    x_k is held after the trades n_k. Of H its symmetric part matters; Gamma is not symmetrised:
    with Gamma^A its antisymmetric part, x_k' Gamma^A n_k costs according to which asset goes first.
    Without bounds the optimum is exact: by the modes of C against H - tau Gamma / 2 where Gamma is
    symmetric, from one block-tridiagonal system where it is not. CVXPY solves the rest, in
    fractions of the orders, and its answer is taken only with a KKT residual below 1e-6.

    Labelled arguments (Series and frames by asset) are put in the order of the labels of
    `total_shares`, or of the first that has labels, and refused where theirs are others.

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
        Weights of linear functions of what is held, such as prices (cash) or prices within one
        sector. They and the limits below go together.
    min_exposure, max_exposure : scalar, (k,) or (n - 1, k)
        min <= exposures @ holdings <= max after each trade but the last; 0 and 0 are neutral.
    prices, max_value : (m,) currency per share, scalar or (n,) currency
        A common cap on what is traded in an interval: prices @ \|shares\| <= max_value. Both or
        neither.

    max_iterations, timeout_seconds
        Of each backend, and of all together.

    Returns
    -------
    PortfolioSchedule

    Raises
    ------
    ValidationError
        Shapes that disagree, a covariance that is not positive semi-definite, temporary impact that
        pays, a limit without its weights or prices, or the reverse.
    OptimizationError
        No least value (too risk-seeking, or round trips across assets that gain), bounds that admit
        no schedule, or no certified answer.

    References
    ----------
    Almgren and Chriss (2000), Journal of Risk 3(2), appendix A, equations 29 to 31. Round trips
    that gain: Huberman and Stanzl (2004), Econometrica 72.

    Examples
    --------
    >>> pair = {"covariance": [[0.9, 0.4], [0.4, 1.0]], "temporary": [2.5e-6, 6e-7]}
    >>> best = portfolio_schedule([1e6, -5e5], 4, risk_aversion=1e-6, **pair)
    >>> best.shares.sum(axis=0).round(3).tolist(), best.solver
    ([1000000.0, -500000.0], 'modes')
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    inputs = {
        "total_shares": total_shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread, "min_shares": min_shares,
        "max_shares": max_shares, "exposures": exposures, "prices": prices,
    }  # fmt: skip
    given, labels = _aligned(inputs)
    orders = _array("total_shares", given["total_shares"], None)
    m = len(orders)
    model = _model(m, given, risk_aversion, interval)
    _refuse_idle(exposures, min_exposure, max_exposure, prices, max_value)
    weights = np.zeros((0, m)) if exposures is None else _rows("exposures", given["exposures"], m)
    least, most = given["min_shares"], given["max_shares"]
    bounds = PortfolioBounds(
        _limits("min_shares", -np.inf if least is None else least, (n, m)),
        _limits("max_shares", np.inf if most is None else most, (n, m)),
        weights,
        _limits("min_exposure", min_exposure, (n - 1, len(weights))),
        _limits("max_exposure", max_exposure, (n - 1, len(weights))),
        _array("prices", np.zeros(m) if prices is None else given["prices"], m, 0.0),
        _limits("max_value", max_value, (n,)),
    )
    _refuse_short(orders, bounds)
    limits = Limits.checked(max_iterations, TOLERANCE, timeout_seconds)
    return _schedule(model, labels, *_solved(model, orders, bounds, limits))


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
        Signed trades; their sums are the orders. A frame is read in the order of its index, columns
        are assets.
    covariance, temporary, permanent, half_spread, interval
        As `portfolio_schedule`, also in how labels are read.

    Raises
    ------
    ValidationError
        Shares that are not finite or not (n, m); shapes, labels or a market that cannot be.

    Examples
    --------
    >>> even = price_portfolio([[100], [100]], covariance=[[4.0]], temporary=[0.01])
    >>> even.expected_cost, even.variance
    (200.0, 40000.0)
    """
    inputs = {
        "shares": shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread,
    }  # fmt: skip
    given, labels = _aligned(inputs)
    trades = np.atleast_2d(np.array(given["shares"], float))
    if trades.ndim != 2 or not np.isfinite(trades).all():
        raise ValidationError(f"shares must be (n, m) and finite, got shape {trades.shape}")
    model = _model(trades.shape[1], given, 0.0, interval)
    return _schedule(model, labels, trades, "given", np.nan)


def _aligned(given: dict[str, Any]) -> tuple[dict[str, Any], pd.Index | None]:
    """Series and frames by asset in one order, that of the first labelled one, and its labels."""
    labels = None
    for name, values in given.items():
        if isinstance(values, pd.DataFrame):
            square = name in ("covariance", "temporary", "permanent")
            labels = values.columns if labels is None else labels
            columns = same_labels(name, pd.Series(values.columns, values.columns), labels)
            given[name] = values.sort_index() if name == "shares" else values
            given[name] = same_labels(name, values, labels) if square else given[name][columns]
        elif isinstance(values, pd.Series):
            labels = values.index if labels is None else labels
            given[name] = same_labels(name, values, labels)
    return given, labels


def _model(m: int, given: dict[str, Any], risk_aversion: float, interval: float) -> PortfolioModel:
    spread, lasting = given["half_spread"], given["permanent"]
    return PortfolioModel(
        _matrix("covariance", given["covariance"], m),
        _matrix("temporary", given["temporary"], m),
        np.zeros((m, m)) if lasting is None else _matrix("permanent", lasting, m),
        _array("half_spread", np.full(m, spread) if np.ndim(spread) == 0 else spread, m, 0.0),
        number("risk_aversion", risk_aversion),
        number("interval", interval, above=0),
    )


def _solved(
    model: PortfolioModel, orders: Float, bounds: PortfolioBounds, limits: Limits
) -> tuple[Float, str, float]:
    """Trades (n, m), by whom, their KKT residual: the free optimum where it keeps the bounds."""
    n = len(bounds.lower)
    trades, solver = model.optimum(orders, n)
    sizes = np.abs(trades).sum(axis=0)
    one_way = sizes - np.abs(orders) <= ROUNDING * np.maximum(sizes, np.abs(orders))
    # A spread on trades one way is the same for all schedules.
    priced = np.all(one_way | (model.half_spread == 0))
    holdings = left_to_trade(trades)
    missed = bounds.misses(trades, holdings)
    if missed <= ROUNDING and (priced or n == 1):
        return trades, solver, max(missed, model.stationarity(holdings))
    if n == 1:
        raise OptimizationError(
            "one interval must trade everything, which the caps forbid; raise n_intervals"
        )
    free = model.attribution(trades, holdings)
    risk = abs(model.risk_aversion) * free["variance"].sum()
    scale = float(np.abs(free["temporary"].sum()) + risk) or 1.0
    return solve(model, orders, bounds, scale, limits)


def _schedule(
    model: PortfolioModel, labels: pd.Index | None, trades: Float, solver: str, residual: float
) -> PortfolioSchedule:
    holdings = left_to_trade(trades)
    parts = model.attribution(trades, holdings)
    if labels is not None:
        parts.index = labels
    cost, variance = float(parts["cost"].sum()), model.variance(holdings)
    return PortfolioSchedule(trades, "portfolio", cost, variance, parts, solver, residual)


def _refuse_idle(
    exposures: Any, min_exposure: ArrayLike, max_exposure: ArrayLike, prices: Any, max_value: Any
) -> None:
    """What goes together is given together, or one of the two would change nothing."""
    free = np.all(np.equal(min_exposure, -np.inf)) and np.all(np.equal(max_exposure, np.inf))
    capped = not np.all(np.equal(max_value, np.inf))
    message = ""
    if not free and exposures is None:
        message = "min_exposure and max_exposure limit exposures @ holdings: give exposures as well"
    elif free and exposures is not None:
        message = "exposures are limited by min_exposure, max_exposure: give one of them as well"
    elif capped and prices is None:
        message = "max_value caps what is traded in currency: give prices as well"
    elif prices is not None and not capped:
        message = "prices are for max_value, what may be traded in an interval: give it as well"
    if message:
        raise ValidationError(message)


def _refuse_short(orders: Float, bounds: PortfolioBounds) -> None:
    """Say which bounds cannot hold the orders, before a solver says only that some cannot."""
    for name, low, high, where in (
        ("shares", bounds.lower, bounds.upper, "for asset {1} in interval {0}"),
        ("exposure", bounds.least, bounds.most, "of exposure {1} after trade {0}"),
    ):
        if np.any(low > high):
            at = tuple(int(index) for index in np.argwhere(low > high)[0])
            raise OptimizationError(
                f"min_{name} {low[at]:g} is above max_{name} {high[at]:g} {where.format(*at)}; "
                "lower the one or raise the other"
            )
    for most, way in ((bounds.upper.sum(axis=0), 1.0), (-bounds.lower.sum(axis=0), -1.0)):
        short = way * orders > most + ROUNDING * np.maximum(np.abs(most), np.abs(orders))
        if not short.any():
            continue
        i = int(np.argmax(short))
        name, up = ("max_shares", "raise") if way > 0 else ("min_shares", "lower")
        cap = "max_shares" if way > 0 else "-min_shares"
        if most[i] >= 0:
            raise OptimizationError(
                f"caps admit {most[i]:,.6g} of {way * orders[i]:,.6g} shares of asset {i}; raise "
                f"{cap} "
                "or lengthen the horizon"
            )
        raise OptimizationError(
            f"{name} force a total of {way * most[i]:,.6g} shares of asset {i}, whose order is "
            f"{orders[i]:,.6g}; {up} them or shorten the horizon"
        )
    needed, admitted = float(np.abs(orders) @ bounds.prices), float(bounds.value.sum())
    if needed > admitted * (1.0 + ROUNDING):
        raise OptimizationError(
            f"max_value admits {admitted:,.6g} of {needed:,.6g} currency; raise it or lengthen the "
            "horizon"
        )


def _array(name: str, values: Any, m: int | None, low: float = -np.inf) -> Float:
    array = np.array(values, float)
    if array.ndim != 1 or len(array) != (m or len(array)) or not len(array):
        size = f"({'m' if m is None else m},)"
        raise ValidationError(f"{name} must be {size}, one an asset, got shape {array.shape}")
    bad = ~(np.isfinite(array) & (array >= low))
    if bad.any():
        i = int(np.argmax(bad))
        rule = f"must be finite and at least {low:g}, got {array[i]:g}"
        raise ValidationError(f"{name} of asset {i} {rule}")
    return array


def _matrix(name: str, values: Any, m: int) -> Float:
    """(m, m) of (m, m), or of its diagonal where the name allows one; the covariance must be
    symmetric.
    """
    array = np.array(values, float)
    if array.shape == (m,) and name != "covariance":
        array = np.diag(array)
    if array.shape != (m, m) or not np.isfinite(array).all():
        raise ValidationError(f"{name} must be ({m}, {m}) and finite, got shape {array.shape}")
    if name == "covariance":
        apart = np.abs(array - array.T).max()
        if apart > 1e-8 * np.abs(array).max():
            raise ValidationError(f"{name} must be symmetric, got a difference of {apart:.3g}")
    return array


def _rows(name: str, values: Any, m: int) -> Float:
    array = np.atleast_2d(np.array(values, float))
    shaped = array.ndim == 2 and array.shape[1] == m
    if not shaped or not np.isfinite(array).all() or not np.all(array.any(axis=1)):
        rule = f"(k, {m}), finite and no row of zeros"
        raise ValidationError(f"{name} must be {rule}, got shape {array.shape}")
    return array


def _limits(name: str, values: Any, shape: tuple[int, ...]) -> Float:
    try:
        array = np.broadcast_to(np.asarray(values, float), shape)
    except ValueError as error:
        what = f"must broadcast to {shape}, got shape {np.shape(values)}"
        raise ValidationError(f"{name} {what}") from error
    if np.isnan(array).any():
        raise ValidationError(f"{name} holds NaN; use inf where there is no limit")
    return array

"""Schedules of several assets at once: covariance, cross impact, neutrality and caps."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import eigvalsh, solveh_banded

from research_lib.checks import ArrayLike, Float, number, numbers, same_labels
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.problem import Limits, broadcast
from research_lib.execution.schedules import ROUNDING, ModelledSchedule, left_to_trade
from research_lib.execution.solvers import BACKENDS, solved
from research_lib.monitoring import timed

Optimum = tuple[Float, str, float]  # trades, solver and residual
TOLERANCE, MAX_ITERATIONS = 1e-10, 1_000  # asked of the backends
ACCEPTED = 1e-6
UNEVEN = 1e-10  # of permanent impact scaled to a largest singular value of 1: rounding of a product


@dataclass(frozen=True, eq=False)
class PortfolioSchedule(ModelledSchedule):
    """The schedule of :func:`portfolio_schedule`; shares (n, m), holdings (n + 1, m).

    Attributes
    ----------
    attribution : DataFrame (m rows, labelled as the orders are)
        By asset, each column summing to the portfolio's: temporary, permanent, spread and their sum
        cost (paid on this asset's trades and holdings, whichever asset moved its price), caused
        (cost of its own trades to all assets), in currency; variance (its covariance with the
        whole), currency**2.
    solver : str
        "block-tridiagonal" (exact), the backend that CVXPY used, or "given".
    kkt_residual : float
        Largest of stationarity, violation and complementarity, relative, measured on the schedule;
        NaN for a given schedule, which is no optimum.

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
        index = pd.RangeIndex(len(self.shares), name="interval")
        return pd.DataFrame(self.shares, index, self.attribution.index)


@timed("portfolio_schedule")
def portfolio_schedule(
    total_shares: ArrayLike, n_intervals: int, *, covariance: ArrayLike, temporary: ArrayLike,
    risk_aversion: float, permanent: ArrayLike | None = None, half_spread: ArrayLike = 0.0,
    interval: float = 1.0, min_shares: ArrayLike | None = None, max_shares: ArrayLike | None = None,
    exposures: ArrayLike | None = None, min_exposure: ArrayLike = -np.inf,
    max_exposure: ArrayLike = np.inf, timeout_seconds: float = 300.0, allow_arbitrage: bool = False,
) -> PortfolioSchedule:  # fmt: skip
    r"""Least expected cost plus risk aversion times variance of trading m assets.

    .. math:: \sum_k \epsilon' |n_k| + \tfrac1\tau n_k' H n_k + x_k' \Gamma n_k
              + \lambda \tau x_k' C x_k

    x_k is held after the trades n_k. S marks a symmetric part, A an antisymmetric one; of H its
    symmetric part matters. As a function of the holdings between the trades the cost is a constant,
    the spreads and, with :math:`\tilde H = H^S - \tau \Gamma^S / 2`, the quadratic form

    .. math:: \sum_k n_k' \tfrac1\tau \tilde H n_k + x_k' \Gamma^A x_{k-1} + \lambda \tau x_k' C x_k

    **Arbitrage.** The expected cost of a round trip (trades that sum to 0 in every asset) is the
    first two terms, temporary impact included. The spread does not prevent a gain, because it grows
    only linearly with the size of the trip; risk does not, because it is no expected cost. The
    least cost over n intervals, relative to the first term, is the smallest eigenvalue

    .. math:: 1 - \frac{s}{2 \tan(\pi / n)}, \qquad s = \tau \, \lVert \tilde H^{-1/2} \Gamma^A
              \tilde H^{-1/2} \rVert_2 ,

    that of a path round a regular polygon. Temporary impact falls with the duration and the second
    term does not, so for every s > 0 some round trip gains from :math:`\lfloor \pi / \arctan(s / 2)
    \rfloor + 1` intervals on; a shorter order earns a part of the same gain. An asymmetric Gamma is
    therefore refused at any n. So is one with a negative eigenvalue of Gamma^S: an order along its
    eigenvector would receive Gamma's constant, X' Gamma X / 2 < 0. Gamma is not symmetrised here,
    because that is another assumption about the market, to be made by the caller.

    Without bounds the optimum is exact, from its block-tridiagonal system. With bounds CVXPY solves
    it, in fractions of the orders; its answer is accepted only with a KKT residual below 1e-6.

    Labelled arguments (Series and frames by asset) are aligned to the labels of `total_shares`, or
    of the first that has labels; other labels are refused.

    Parameters
    ----------
    total_shares : (m,) shares
        X; a sell is positive, a buy negative; an asset with 0 may only hedge.
    n_intervals : int
        n.
    covariance : (m, m) (currency per share)**2 per time
        C, of prices, not returns.
    temporary : (m,) or (m, m) currency per share per (share per time)
        H, [i, j]: fall of price i while j is sold at rate 1; (m,) is its diagonal.
    risk_aversion : per currency
        lambda.
    permanent : (m,) or (m, m) currency per share**2, optional
        Gamma, [i, j]: lasting fall of price i per share of j sold; none by default. Symmetric and
        positive semi-definite, unless `allow_arbitrage`.
    half_spread : scalar or (m,) currency per share
        epsilon, paid on every share bought or sold.
    interval : time
        tau, in the unit of time of all the others.
    min_shares, max_shares : scalar, (m,), (n, 1) or (n, m) shares, optional
        Bounds of each signed trade; -c and c make a cap, one for all assets or one each.
    exposures : (m,) or (k, m), optional
        Weights of linear functions of the holdings, such as prices (cash) or prices within one
        sector. Requires the limits below.
    min_exposure, max_exposure : scalar, (k,) or (n - 1, k)
        min <= exposures @ holdings <= max after each trade but the last; 0 and 0 mean neutral. A
        Series is aligned by the labels of the weights' rows, other limits are arrays.
    timeout_seconds
        Of all backends together.
    allow_arbitrage
        Accept `permanent` as it is. The saving of the schedule may then be arbitrage.

    Returns
    -------
    PortfolioSchedule

    Raises
    ------
    ValidationError
        Shapes that disagree, a covariance that is not positive semi-definite, temporary impact that
        is not positive definite, permanent impact that admits arbitrage, limits without weights or
        weights without limits.
    OptimizationError
        No minimum (too risk-seeking, or profitable round trips that were allowed), bounds that
        admit no schedule, or no certified answer.

    References
    ----------
    Almgren and Chriss (2000), Journal of Risk 3(2), appendix A, equations 29 to 31. Round trips
    that gain: Huberman and Stanzl (2004), Econometrica 72. Symmetry: Schneider and Lillo (2019),
    "Cross-impact and no-dynamic-arbitrage", Quantitative Finance 19. Positive definite matrices:
    Alfonsi, Kloeck and Schied (2016), "Multivariate transient price impact and matrix-valued
    positive definite functions", Mathematics of Operations Research 41.

    Examples
    --------
    >>> pair = {"covariance": [[0.9, 0.4], [0.4, 1.0]], "temporary": [2.5e-6, 6e-7]}
    >>> best = portfolio_schedule([1e6, -5e5], 4, risk_aversion=1e-6, **pair)
    >>> best.shares.sum(axis=0).round(3).tolist(), best.solver
    ([1000000.0, -500000.0], 'block-tridiagonal')
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    limits = Limits(MAX_ITERATIONS, TOLERANCE, timeout_seconds)
    given, labels = _aligned({
        "total_shares": total_shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread, "min_shares": min_shares,
        "max_shares": max_shares, "exposures": exposures,
    })  # fmt: skip
    orders = _finite("total_shares", given["total_shares"], (None,))
    m = len(orders)
    market = _market(m, given, number("risk_aversion", risk_aversion), interval)
    if not allow_arbitrage:
        _refuse_arbitrage(market, n)
    limited = np.any(numbers("min_exposure", min_exposure) != -np.inf)
    limited |= np.any(numbers("max_exposure", max_exposure) != np.inf)
    if limited == (exposures is None):
        raise ValidationError("exposures and min_exposure or max_exposure go together")
    weights = np.zeros((0, m)) if exposures is None else np.atleast_2d(given["exposures"])
    rows = getattr(exposures, "index", range(len(weights))), "those are of its rows"
    lowest, highest = (
        same_labels("limits of exposures", limit, *rows) for limit in (min_exposure, max_exposure)
    )
    least, most = given["min_shares"], given["max_shares"]
    bounds = Bounds(
        broadcast("min_shares", -np.inf if least is None else least, (n, m)),
        broadcast("max_shares", np.inf if most is None else most, (n, m)),
        _finite("exposures", weights, (len(weights), m)),
        broadcast("min_exposure", lowest, (n - 1, len(weights))),
        broadcast("max_exposure", highest, (n - 1, len(weights))),
    )  # fmt: skip
    return _schedule(market, labels, *_optimum(market, orders, bounds, limits))


def price_portfolio(
    shares: ArrayLike, *, covariance: ArrayLike, temporary: ArrayLike,
    permanent: ArrayLike | None = None, half_spread: ArrayLike = 0.0, interval: float = 1.0,
) -> PortfolioSchedule:  # fmt: skip
    """Expected cost and risk of a given schedule of several assets.

    Parameters
    ----------
    shares : (n, m)
        Signed trades; their sums are the orders. A frame is read in the order of its index, columns
        are assets.
    covariance, temporary, permanent, half_spread, interval
        As in `portfolio_schedule`, alignment of labels included.

    Raises
    ------
    ValidationError
        Shares that are not finite or not (n, m); shapes, labels or a market that are refused.

    Examples
    --------
    >>> even = price_portfolio([[100], [100]], covariance=[[4.0]], temporary=[0.01])
    >>> even.expected_cost, even.variance
    (200.0, 40000.0)
    """
    given, labels = _aligned({
        "shares": shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread,
    })  # fmt: skip
    trades = np.atleast_2d(np.array(given["shares"], float))
    if trades.ndim != 2 or not np.isfinite(trades).all():
        raise ValidationError(f"shares must be (n, m) and finite, got shape {trades.shape}")
    market = _market(trades.shape[1], given, 0.0, interval)
    return _schedule(market, labels, trades, "given", np.nan)


def _aligned(given: dict[str, Any]) -> tuple[dict[str, Any], pd.Index | None]:
    """Series and frames by asset in one order, that of the first labelled one, and its labels."""
    labels = None
    for name, values in given.items():
        if not isinstance(values, pd.Series | pd.DataFrame):
            continue
        assets = values.axes[-1]
        labels = assets if labels is None else labels
        columns = same_labels(name, assets.to_series(), labels)
        if values.ndim == 1 or name in ("covariance", "temporary", "permanent"):
            given[name] = same_labels(name, values, labels)
            continue
        if name in ("min_shares", "max_shares"):  # a row an interval
            intervals = range(len(values))
            same_labels(name, values.iloc[:, 0], intervals, "rows are labelled by interval")
        given[name] = (values if name == "exposures" else values.sort_index())[columns]
    return given, labels


class Market(NamedTuple):
    """Cost and risk of m assets, in the notation of `portfolio_schedule`; net is H~."""

    covariance: Float
    temporary: Float
    permanent: Float
    half_spread: Float
    risk_aversion: float
    interval: float
    net: Float


def _market(m: int, given: dict[str, Any], risk: float, interval: float) -> Market:
    """The market from the user's arguments, aligned and checked."""
    tau = number("interval", interval, above=0)
    covariance = _finite("covariance", given["covariance"], (m, m))
    temporary, permanent = (_matrix(name, given[name], m) for name in ("temporary", "permanent"))
    spread = given["half_spread"]
    spread = _finite("half_spread", np.full(m, spread) if np.ndim(spread) == 0 else spread, (m,), 0)
    lowest, highest = np.linalg.eigvalsh(covariance)[[0, -1]]
    apart = np.abs(covariance - covariance.T).max()
    if apart > 1e-8 * np.abs(covariance).max() or lowest < -1e-10 * highest:
        rule = "covariance must be symmetric and positive semi-definite, its lowest eigenvalue is"
        raise ValidationError(f"{rule} {lowest:.3g}; shrink the correlations")
    net = temporary - 0.5 * tau * permanent
    net = 0.5 * (net + net.T)
    unit = 1.0 / np.sqrt(np.abs(np.diag(net)) + 1e-300)
    if np.linalg.eigvalsh(net * np.outer(unit, unit))[0] <= 1e-12:
        what = "the symmetric part of temporary less permanent * interval / 2"
        raise ValidationError(f"{what} must be positive definite; shorten the interval")
    return Market(covariance, temporary, permanent, spread, risk, tau, net)


def _refuse_arbitrage(market: Market, n: int) -> None:
    """Check the eigenvalues of `portfolio_schedule` with each asset in its own unit: otherwise
    assets priced 1e5 would hide the asymmetry of assets priced 1e-7.
    """
    unit = np.sqrt(market.interval / np.diag(market.net))
    scaled = np.outer(unit, unit)
    net, permanent = market.net / market.interval * scaled, market.permanent * scaled
    even, twist = 0.5 * (permanent + permanent.T), 0.5 * (permanent - permanent.T)
    rounding = UNEVEN * np.abs(permanent).max()
    ways = "or allow_arbitrage=True solves it as given"
    if np.linalg.eigvalsh(even)[0] < -rounding:
        lowest = eigvalsh(even, net)[0]
        what = "permanent pays some orders over any horizon: the smallest eigenvalue of its"
        raise ValidationError(f"{what} symmetric part is {lowest:.3g}; set it to 0, {ways}")
    if np.abs(twist).max() <= rounding:
        return
    strength = eigvalsh(1j * twist, net)[-1]
    first = int(np.pi / np.arctan(0.5 * strength)) + 1
    here, there = (1.0 - 0.5 * strength / np.tan(np.pi / max(k, 2)) for k in (n, first))
    what = f"permanent is asymmetric, and round trips gain over {first:,} intervals or more: the"
    which = f"smallest eigenvalue of their cost, in parts of their temporary impact, is {here:.3g}"
    where = f"over this schedule's horizon of {n:,} intervals and {there:.3g} over {first:,}"
    raise ValidationError(f"{what} {which} {where}; give its symmetric part, (G + G') / 2, {ways}")


def _matrix(name: str, values: Any, m: int) -> Float:
    """(m, m): 0 where nothing is given, and of (m,) its diagonal."""
    given = np.zeros(m) if values is None else values
    if np.ndim(given) == 1:
        return np.diag(_finite(name, given, (m,)))
    return _finite(name, given, (m, m))


def _finite(name: str, values: Any, shape: tuple[int | None, ...], low: float = -np.inf) -> Float:
    """An array of finite numbers of that shape, at least `low`; (None,) is of any length."""
    array = np.array(values, float)
    wanted = (array.size,) if None in shape else shape
    if array.shape != wanted or not np.all(np.isfinite(array) & (array >= low)):
        rule = f"{shape} and finite, at least {low:g}".replace("None", "m")
        raise ValidationError(f"{name} must be {rule}, got shape {array.shape}: {str(values)[:60]}")
    return array


class Bounds(NamedTuple):
    """Bounds of trades and holdings, for n intervals and m assets; infinite means no bound.

    Trades lower, upper (n, m) shares; exposures (k, m) of what is held after each trade but the
    last, least and most (n - 1, k).
    """

    lower: Float
    upper: Float
    exposures: Float
    least: Float
    most: Float


def _form(market: Market, orders: Float, n: int, unit: Float) -> tuple[sparse.csr_array, Float]:
    """P and q of cost plus risk, 1/2 z'Pz + q'z up to a constant, in the holdings z (n - 1 times m)
    between n trades, each asset in its own unit.
    """
    square, net = 2.0 * np.outer(unit, unit), market.net / market.interval
    inside = square * (2.0 * net + market.risk_aversion * market.interval * market.covariance)
    # rows x_(k-1), columns x_k
    beside = square * (-net - 0.25 * (market.permanent - market.permanent.T))
    following = sparse.kron(sparse.eye_array(n - 1, k=1), beside)
    form = sparse.kron(sparse.eye_array(n - 1), inside) + following + following.T
    return sparse.csr_array(form), np.append(orders / unit @ beside, np.zeros((n - 2) * len(unit)))


def _free(market: Market, orders: Float, n: int) -> tuple[Float, float]:
    """Trades, (n, m), without bounds or spreads, and their stationarity: the largest derivative by
    the holdings, relative to its terms.
    """
    if n == 1:
        return orders[None], 0.0
    unit = 1.0 / np.sqrt(np.diag(market.net))
    form, linear = _form(market, orders, n, unit)
    width = min(2 * len(orders), len(linear))
    bands = [np.pad(form.diagonal(k), (k, 0)) for k in range(width - 1, -1, -1)]
    try:
        held = solveh_banded(np.array(bands), -linear)
    except np.linalg.LinAlgError as error:
        why = f"antisymmetric part of permanent large or risk_aversion {market.risk_aversion:g} low"
        raise OptimizationError(f"cost plus risk falls without limit: {why}") from error
    slope, size = form @ held + linear, abs(form) @ np.abs(held) + np.abs(linear)
    path = held.reshape(n - 1, -1) * unit
    trades = -np.diff(path, axis=0, prepend=orders[None], append=np.zeros((1, len(orders))))
    return trades, float(np.abs(slope).max()) / (float(size.max()) or 1.0)


def _optimum(market: Market, orders: Float, bounds: Bounds, limits: Limits) -> Optimum:
    """Trades (n, m), solver and KKT residual; the free optimum where there are no bounds."""
    trades, residual = _free(market, orders, len(bounds.lower))
    exposed = left_to_trade(trades)[1:-1] @ bounds.exposures.T
    inside = np.all((trades >= bounds.lower) & (trades <= bounds.upper))
    inside &= np.all((exposed >= bounds.least) & (exposed <= bounds.most))
    sizes = np.abs(trades).sum(axis=0)
    one_way = sizes - np.abs(orders) <= ROUNDING * np.maximum(sizes, np.abs(orders))
    # If all trades have one direction, the spread costs the same for all schedules.
    if inside and np.all(one_way | (market.half_spread == 0)):
        return trades, "block-tridiagonal", residual
    if len(trades) == 1:
        raise OptimizationError("one interval trades everything: raise n_intervals or drop bounds")
    least, most, slack = bounds.lower.sum(axis=0), bounds.upper.sum(axis=0), ROUNDING * abs(orders)
    short = (least > orders + slack) | (most < orders - slack)
    if short.any():
        i = int(np.argmax(short))
        admitted = f"caps admit {least[i]:,.6g} to {most[i]:,.6g} shares of asset {i}"
        raise OptimizationError(f"{admitted}, whose order is {orders[i]:,.6g}; widen the caps")
    return _bounded(market, orders, bounds, trades, limits)


def _bounded(market: Market, orders: Float, bounds: Bounds, free: Float, limits: Limits) -> Optimum:
    """Trades (n, m), backend and KKT residual by CVXPY, each asset in its own unit, cost in units
    of the free optimum's cost.
    """
    import cvxpy as cp

    n, m = bounds.lower.shape
    parts = _schedule(market, None, free, "", np.nan).attribution
    scale = abs(parts["temporary"].sum()) + abs(market.risk_aversion) * parts["variance"].sum()
    size = float(np.sqrt(orders @ market.net @ orders / m)) or 1.0
    unit = np.maximum(np.abs(orders), size / np.sqrt(np.diag(market.net)))
    form, linear = (part / (scale or 1.0) for part in _form(market, orders, n, unit))
    spread = market.half_spread * unit / (scale or 1.0)
    norm = np.linalg.norm(bounds.exposures * unit, axis=1)
    norm[norm == 0] = 1.0
    z, sells, buys = cp.Variable((n - 1) * m), cp.Variable((n, m)), cp.Variable((n, m))
    held = cp.reshape(z, (n - 1, m), order="C")
    path = cp.vstack([orders[None] / unit, held, np.zeros((1, m))])
    sold = path[:-1] - path[1:]
    exposed = held @ (bounds.exposures * unit).T / norm
    # Convex as a whole, though not term by term where permanent impact is asymmetric.
    cost = 0.5 * cp.quad_form(z, cp.psd_wrap(form)) + linear @ z
    constraints = _within(sold, bounds.lower / unit, bounds.upper / unit)
    constraints += _within(exposed, bounds.least / norm, bounds.most / norm)
    if spread.any():
        cost = cost + cp.sum((sells + buys) @ spread)
        constraints += [sold == sells - buys, sells >= 0, buys >= 0]
    program, tried = cp.Problem(cp.Minimize(cost), constraints), []
    for backend in (name for name in BACKENDS if name in cp.installed_solvers()):
        status = solved(program, backend, limits)
        if "infeasible" in status:
            raise OptimizationError("no trades meet the caps and exposures together; widen them")
        if z.value is not None:
            own = np.repeat(spread, n)
            residual = _residual(program, {z: form @ z.value + linear, sells: own, buys: own})
            if residual <= ACCEPTED:
                return -np.diff(path.value * unit, axis=0), backend, residual
            status = f"KKT residual {residual:.1e}"
        tried.append(f"{backend}: {status}")
    late = f"out of time after {limits.timeout_seconds:g} s, raise timeout_seconds; "
    reasons = (late if limits.left <= 0 else "") + "; ".join(tried)
    raise OptimizationError(f"no backend's answer is certified to {ACCEPTED:g} ({reasons})")


def _within(expression: Any, low: Float, high: Float) -> list[Any]:
    """low <= expression <= high where they are finite, as equalities where they meet."""
    same = np.isfinite(low) & (low == high)
    below, above = np.isfinite(high) & ~same, np.isfinite(low) & ~same
    constraints = [expression[same] == low[same]] if same.any() else []
    constraints += [expression[below] <= high[below]] if below.any() else []
    return constraints + ([low[above] <= expression[above]] if above.any() else [])


def _residual(program: Any, slopes: dict[Any, Float]) -> float:
    """Largest of stationarity, violation and complementarity gap at the answer, relative; slopes
    are those of the cost.
    """
    pulled = {variable: np.zeros(variable.size) for variable in program.variables()}
    violation, gap = 0.0, 0.0
    for constraint in program.constraints:
        price, miss = np.ravel(constraint.dual_value, "F"), np.ravel(constraint.expr.value, "F")
        for variable, matrix in constraint.expr.grad.items():
            # Of one variable and one row CVXPY gives a number for the matrix.
            full = np.atleast_2d(matrix) if np.isscalar(matrix) else matrix
            pulled[variable] += full @ price
        violation = max(violation, float(np.max(constraint.violation())))
        gap += abs(float(price @ miss))
    slope, pull = (np.concatenate([part[one] for one in pulled]) for part in (slopes, pulled))
    stationarity = np.abs(slope + pull).max() / max(np.abs([slope, pull]).max(), 1e-9)
    return max(float(stationarity), violation, gap / max(abs(program.value), 1e-3))


def _schedule(
    market: Market, labels: pd.Index | None, shares: Float, solver: str, residual: float
) -> PortfolioSchedule:
    """The trades with their cost and variance by asset, each column summing to the portfolio's.

    The portfolio's variance is set to 0 where a hedge leaves only rounding error.
    """
    after, tau, lasting = left_to_trade(shares)[1:], market.interval, market.permanent
    temporary = np.sum(shares * (shares @ market.temporary.T), axis=0) / tau
    permanent = np.sum(after * (shares @ lasting.T), axis=0)
    spread = market.half_spread * np.abs(shares).sum(axis=0)
    caused = np.sum(shares * (shares @ market.temporary / tau + after @ lasting), axis=0)
    variance = tau * np.sum(after * (after @ market.covariance), axis=0)
    # One frame at once: column by column would take half the time of a plan without bounds.
    parts = pd.DataFrame({
        "temporary": temporary, "permanent": permanent, "spread": spread,
        "cost": temporary + permanent + spread, "caused": caused + spread, "variance": variance,
    }, labels)  # fmt: skip
    cost, whole = float(parts["cost"].sum()), float(parts["variance"].sum())
    gross = tau * np.sum(np.abs(after) * (np.abs(after) @ np.abs(market.covariance)))
    whole = whole if whole > 1e-14 * gross else 0.0
    return PortfolioSchedule(shares, "portfolio", cost, whole, parts, solver, residual)

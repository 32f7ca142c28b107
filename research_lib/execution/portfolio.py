"""Schedules of several assets at once: covariance, cross impact, neutrality and caps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import eigh, solveh_banded

from research_lib.checks import number, same_labels
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.cvxpy_solver import BACKENDS, solved
from research_lib.execution.problem import Limits
from research_lib.execution.schedules import ROUNDING, ModelledSchedule, drawn, left_to_trade, table
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
TOLERANCE = 1e-10  # asked of the backends
ACCEPTED = 1e-6
MAX_ITERATIONS = 1_000


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
        "block-tridiagonal" (exact), the backend that CVXPY used, or "given".
    kkt_residual : float
        Largest of stationarity, violation and complementarity, relative, as measured on the
        schedule; NaN of a given one, which claims no optimum.

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
    timeout_seconds: float = 300.0,
) -> PortfolioSchedule:
    r"""Least expected cost plus risk aversion times variance of trading m assets.

    .. math:: \sum_k \epsilon' |n_k| + \tfrac1\tau n_k' H n_k + x_k' \Gamma n_k
              + \lambda \tau x_k' C x_k

    x_k is held after the trades n_k. Of H its symmetric part matters; Gamma is not symmetrised:
    with Gamma^A its antisymmetric part, x_k' Gamma^A n_k costs according to which asset goes first.
    In what is held between the trades, with :math:`\tilde H = H^S - \tau \Gamma^S / 2`, that is
    a constant, the spreads, and the quadratic form

    .. math:: \sum_k n_k' \tfrac1\tau \tilde H n_k + x_k' \Gamma^A x_{k-1} + \lambda \tau x_k' C x_k

    Without bounds the optimum is exact, from its block-tridiagonal system. CVXPY solves the rest,
    in fractions of the orders, and its answer is taken only with a KKT residual below 1e-6.

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
    timeout_seconds
        Of all backends together.

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
    ([1000000.0, -500000.0], 'block-tridiagonal')
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    limits = Limits.checked(MAX_ITERATIONS, TOLERANCE, timeout_seconds)
    given, labels = _aligned({
        "total_shares": total_shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread, "min_shares": min_shares,
        "max_shares": max_shares, "exposures": exposures, "prices": prices,
    })  # fmt: skip
    orders = _array("total_shares", given["total_shares"], None)
    m = len(orders)
    market = _Market.checked(m, given, risk_aversion, interval)
    _refuse_idle(exposures, min_exposure, max_exposure, prices, max_value)
    weights = np.zeros((0, m)) if exposures is None else _rows("exposures", given["exposures"], m)
    least, most = given["min_shares"], given["max_shares"]
    bounds = _Bounds(
        _limits("min_shares", -np.inf if least is None else least, (n, m)),
        _limits("max_shares", np.inf if most is None else most, (n, m)),
        weights,
        _limits("min_exposure", min_exposure, (n - 1, len(weights))),
        _limits("max_exposure", max_exposure, (n - 1, len(weights))),
        _array("prices", np.zeros(m) if prices is None else given["prices"], m, 0.0),
        _limits("max_value", max_value, (n,)),
    )
    bounds.refuse_short(orders)
    return _schedule(market, labels, *_optimum(market, orders, bounds, limits))


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
    given, labels = _aligned({
        "shares": shares, "covariance": covariance, "temporary": temporary,
        "permanent": permanent, "half_spread": half_spread,
    })  # fmt: skip
    trades = np.atleast_2d(np.array(given["shares"], float))
    if trades.ndim != 2 or not np.isfinite(trades).all():
        raise ValidationError(f"shares must be (n, m) and finite, got shape {trades.shape}")
    market = _Market.checked(trades.shape[1], given, 0.0, interval)
    return _schedule(market, labels, trades, "given", np.nan)


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


@dataclass(frozen=True, eq=False)
class _Market:
    """What m assets cost and risk, with the letters of `portfolio_schedule`, checked."""

    covariance: Float
    temporary: Float
    permanent: Float
    half_spread: Float
    risk_aversion: float
    interval: float

    @classmethod
    def checked(cls, m: int, given: dict[str, Any], risk: float, interval: float) -> _Market:
        """The market of what the user gave, aligned."""
        spread, lasting = given["half_spread"], given["permanent"]
        market = cls(
            _matrix("covariance", given["covariance"], m),
            _matrix("temporary", given["temporary"], m),
            np.zeros((m, m)) if lasting is None else _matrix("permanent", lasting, m),
            _array("half_spread", np.full(m, spread) if np.ndim(spread) == 0 else spread, m, 0.0),
            number("risk_aversion", risk),
            number("interval", interval, above=0),
        )
        lowest, highest = np.linalg.eigvalsh(market.covariance)[[0, -1]]
        if lowest < -1e-10 * highest:
            raise ValidationError(
                "covariance must be positive semi-definite, its lowest eigenvalue is "
                f"{lowest:.3g}; shrink the correlations, or estimate them on common days"
            )
        unit = 1.0 / np.sqrt(np.abs(np.diag(market.net)))
        scaled = market.net * np.outer(unit, unit)
        if (np.diag(market.net) <= 0).any() or np.linalg.eigvalsh(scaled)[0] <= 1e-12:
            raise ValidationError(
                "temporary less permanent * interval / 2 must be positive definite in its "
                "symmetric part, or trades would be paid for; shorten the interval, or lower the "
                "cross impact"
            )
        return market

    @property
    def net(self) -> Float:
        """H~, (m, m), symmetric."""
        return _symmetric(self.temporary - 0.5 * self.interval * self.permanent)

    def form(self, orders: Float, n: int, unit: Float) -> tuple[sparse.csr_array, Float]:
        """P and q of cost plus risk, 1/2 z'Pz + q'z but for a constant, of what is held between n
        trades, z (n - 1 times m), each asset in its unit.
        """
        net = self.net / self.interval
        inside = 2.0 * net + self.risk_aversion * self.interval * self.covariance
        beside = -net - 0.25 * (self.permanent - self.permanent.T)  # rows x_(k-1), columns x_k
        inside, beside = (2.0 * block * np.outer(unit, unit) for block in (inside, beside))
        following = sparse.kron(sparse.eye_array(n - 1, k=1), beside)
        form = sparse.kron(sparse.eye_array(n - 1), inside) + following + following.T
        return sparse.csr_array(form), np.append(
            orders / unit @ beside, np.zeros((n - 2) * len(unit))
        )

    def least(self, orders: Float, n: int) -> tuple[Float, float]:
        """Trades, (n, m), without bounds or spreads, and their stationarity: the largest slope in
        what is held, relative to its parts.

        Raises
        ------
        OptimizationError
            No least value: too risk-seeking, or permanent impact whose round trips gain.
        """
        if n == 1:
            return orders[None], 0.0
        unit, last = 1.0 / np.sqrt(np.diag(self.net)), 2 * len(orders) - 1
        form, linear = self.form(orders, n, unit)
        bands = np.array(
            [
                np.pad(form.diagonal(k), (min(k, len(linear)), 0))[: len(linear)]
                for k in range(last, -1, -1)
            ]
        )
        try:
            held = solveh_banded(bands[-len(linear) :], -linear)
        except np.linalg.LinAlgError as error:
            raise OptimizationError(self._why_unbounded(n)) from error
        slope, size = form @ held + linear, abs(form) @ np.abs(held) + np.abs(linear)
        path = held.reshape(n - 1, -1) * unit
        trades = -np.diff(path, axis=0, prepend=orders[None], append=np.zeros((1, len(orders))))
        return trades, float(np.abs(slope).max()) / (float(size.max()) or 1.0)

    def _why_unbounded(self, n: int) -> str:
        if np.any(self.permanent != self.permanent.T):
            return (
                "cost plus risk falls without limit: the antisymmetric part of permanent, "
                f"{0.5 * np.abs(self.permanent - self.permanent.T).max():.3g} at most, lets round "
                "trips across assets gain more than temporary impact takes; lower it, or raise "
                "risk_aversion"
            )
        risk = eigh(self.covariance, self.net, eigvals_only=True)[-1] * self.interval**2
        least = -4.0 * np.sin(np.pi / (2 * n)) ** 2 / risk
        return (
            f"risk_aversion {self.risk_aversion:.6g} must be above {least:.6g}: at or below it, "
            "cost plus risk falls without limit; raise it or shorten the horizon"
        )

    def attribution(self, shares: Float) -> pd.DataFrame:
        """Cost and variance by asset, each column summing to the portfolio's: see
        PortfolioSchedule.
        """
        after, tau = left_to_trade(shares)[1:], self.interval
        spread = self.half_spread * np.abs(shares).sum(axis=0)
        paid = np.sum(shares * (shares @ self.temporary.T), axis=0) / tau
        lasting = np.sum(after * (shares @ self.permanent.T), axis=0)
        caused = np.sum(shares * (shares @ self.temporary / tau + after @ self.permanent), axis=0)
        columns = {
            "temporary": paid,
            "permanent": lasting,
            "spread": spread,
            "cost": paid + lasting + spread,
            "caused": caused + spread,
            "variance": tau * np.sum(after * (after @ self.covariance), axis=0),
        }
        return pd.DataFrame(columns)

    def variance(self, shares: Float) -> float:
        """Of the cost, currency**2: 0 where a hedge leaves nothing but rounding, of either sign."""
        after = left_to_trade(shares)[1:]
        value = float(np.sum(after * (after @ self.covariance)))
        gross = float(np.sum(np.abs(after) * (np.abs(after) @ np.abs(self.covariance))))
        return self.interval * value if value > 1e-14 * gross else 0.0


def _symmetric(matrix: Float) -> Float:
    return 0.5 * (matrix + matrix.T)


@dataclass(frozen=True, eq=False)
class _Bounds:
    """What trades and holdings must keep, for n intervals and m assets; infinite: no bound.

    Trades lower, upper (n, m) shares; exposures (k, m) of what is held after each trade but the
    last, least and most (n - 1, k); prices (m,) and value (n,), of all that is traded.
    """

    lower: Float
    upper: Float
    exposures: Float
    least: Float
    most: Float
    prices: Float
    value: Float

    def misses(self, shares: Float) -> float:
        """Largest violation, relative to the size of what is bounded."""
        holdings = left_to_trade(shares)
        held, sizes = holdings[1:-1] @ self.exposures.T, np.abs(holdings).max(axis=0)
        unit, traded = np.abs(self.exposures) @ sizes, np.abs(shares) @ self.prices
        parts = [
            np.maximum(self.lower - shares, shares - self.upper) / np.where(sizes > 0, sizes, 1.0),
            np.maximum(self.least - held, held - self.most) / np.where(unit > 0, unit, 1.0),
            (traded - self.value) / (traded.max() or 1.0),
        ]
        return max(float(part.max(initial=0.0)) for part in parts)

    def refuse_short(self, orders: Float) -> None:
        """Say which bounds cannot hold the orders, before a solver says only that some cannot."""
        for name, low, high, where in (
            ("shares", self.lower, self.upper, "for asset {1} in interval {0}"),
            ("exposure", self.least, self.most, "of exposure {1} after trade {0}"),
        ):
            if np.any(low > high):
                at = tuple(int(index) for index in np.argwhere(low > high)[0])
                raise OptimizationError(
                    f"min_{name} {low[at]:g} is above max_{name} {high[at]:g} {where.format(*at)}; "
                    "lower the one or raise the other"
                )
        least, most = self.lower.sum(axis=0), self.upper.sum(axis=0)
        missed = np.maximum(least - orders, orders - most)
        with np.errstate(invalid="ignore"):
            short = missed > ROUNDING * np.maximum(
                np.abs(np.where(orders > most, most, least)), np.abs(orders)
            )
        if short.any():
            i = int(np.argmax(short))
            raise OptimizationError(
                f"caps admit {least[i]:,.6g} to {most[i]:,.6g} shares of asset {i}, whose order is "
                f"{orders[i]:,.6g}; widen min_shares and max_shares, or change the horizon"
            )


def _optimum(
    market: _Market, orders: Float, bounds: _Bounds, limits: Limits
) -> tuple[Float, str, float]:
    """Trades (n, m), by whom, their KKT residual: the free optimum where it keeps the bounds."""
    n = len(bounds.lower)
    trades, residual = market.least(orders, n)
    sizes = np.abs(trades).sum(axis=0)
    one_way = sizes - np.abs(orders) <= ROUNDING * np.maximum(sizes, np.abs(orders))
    # A spread on trades one way is the same for all schedules.
    priced = np.all(one_way | (market.half_spread == 0))
    missed = bounds.misses(trades)
    if missed <= ROUNDING and (priced or n == 1):
        return trades, "block-tridiagonal", max(missed, residual)
    if n == 1:
        raise OptimizationError(
            "one interval must trade everything, which the caps forbid; raise n_intervals"
        )
    free = market.attribution(trades)
    scale = abs(free["temporary"].sum()) + abs(market.risk_aversion) * free["variance"].sum()
    program, tried = _Program(market, orders, bounds, float(scale) or 1.0), []
    for backend in BACKENDS:
        if backend not in program.installed:
            continue
        status = solved(program.problem, backend, limits)
        if "infeasible" in status:
            raise OptimizationError(
                "the orders cannot be traded within the caps and exposures together; widen "
                "min_exposure and max_exposure, raise the caps, or lengthen the horizon"
            )
        if program.held.value is not None:
            residual = program.residual()
            if residual <= ACCEPTED:
                return -np.diff(program.path.value * program.unit, axis=0), backend, residual
            status = f"KKT residual {residual:.1e}"
        tried.append(f"{backend}: {status}")
    late = f"out of time after {limits.timeout_seconds:g} s, raise timeout_seconds; "
    raise OptimizationError(
        f"no backend's answer is certified to {ACCEPTED:g} "
        f"({late if limits.left <= 0 else ''}{'; '.join(tried)})"
    )


class _Program:
    """Cost plus risk under bounds, in what is held; each asset in a unit of its own, cost in units
    of what the free optimum costs.
    """

    def __init__(self, market: _Market, orders: Float, bounds: _Bounds, scale: float) -> None:
        import cvxpy as cp

        (n, m), self.installed = bounds.lower.shape, cp.installed_solvers()
        size = float(np.sqrt(orders @ market.net @ orders / m)) or 1.0
        self.unit = unit = np.maximum(np.abs(orders), size / np.sqrt(np.diag(market.net)))
        form, linear = market.form(orders, n, unit)
        self.form, self.linear = form / scale, linear / scale
        self.held = cp.Variable((n - 1) * m)
        inner = cp.reshape(self.held, (n - 1, m), order="C")
        self.path = cp.vstack([orders[None] / unit, inner, np.zeros((1, m))])
        sold = self.path[:-1] - self.path[1:]
        exposed, norm = bounds.exposures * unit, np.linalg.norm(bounds.exposures * unit, axis=1)
        self.constraints = [
            *_within(sold, bounds.lower / unit, bounds.upper / unit),
            *_within(inner @ (exposed.T / norm), bounds.least / norm, bounds.most / norm),
        ]
        # Convex as a whole, which its parts do not show where permanent impact is not symmetric.
        cost = 0.5 * cp.quad_form(self.held, cp.psd_wrap(self.form)) + self.linear @ self.held
        self.spread, self.gross = market.half_spread * unit / scale, None
        if np.any(market.half_spread) or np.isfinite(bounds.value).any():
            self.gross = cp.Variable((n, m))  # at least what is traded, either way
            self.constraints += [sold <= self.gross, -sold <= self.gross]
            cost = cost + cp.sum(self.gross @ self.spread)
            worth = np.linalg.norm(bounds.prices * unit) or 1.0
            traded, most = self.gross @ (bounds.prices * unit / worth), bounds.value / worth
            self.constraints += _within(traded, np.full(n, -np.inf), most)
        self.problem = cp.Problem(cp.Minimize(cost), self.constraints)

    def residual(self) -> float:
        """Largest of stationarity, violation and complementarity gap at the answer, relative."""
        z = np.asarray(self.held.value)
        slopes = {self.held: self.form @ z + self.linear}
        if self.gross is not None:
            slopes[self.gross] = np.tile(self.spread, (len(self.path.value) - 1, 1)).ravel(
                order="F"
            )
        pulled = {variable: np.zeros(len(slope)) for variable, slope in slopes.items()}
        violation, gap = 0.0, 0.0
        for constraint in self.constraints:
            price, miss = (
                np.ravel(constraint.dual_value, order="F"),
                np.ravel(constraint.expr.value, order="F"),
            )
            for variable, matrix in constraint.expr.grad.items():
                pulled[variable] += matrix @ price
            violation = max(violation, float(np.max(np.abs(miss) if constraint.is_eq else miss)))
            gap += abs(float(price @ miss))
        slope, pull = np.concatenate([*slopes.values()]), np.concatenate([*pulled.values()])
        cost = abs(0.5 * float(z @ (slopes[self.held] + self.linear)))
        size = max(float(np.abs(slope).max()), float(np.abs(pull).max()), 1e-9)
        return max(float(np.abs(slope + pull).max()) / size, violation, gap / max(cost, 1e-3))


def _within(expression: Any, low: Float, high: Float) -> list[Any]:
    """low <= expression <= high where they are finite, as equalities where they meet."""
    same = np.isfinite(low) & (low == high)
    below, above = np.isfinite(high) & ~same, np.isfinite(low) & ~same
    constraints = [expression[same] == low[same]] if same.any() else []
    constraints += [expression[below] <= high[below]] if below.any() else []
    return constraints + ([low[above] <= expression[above]] if above.any() else [])


def _schedule(
    market: _Market, labels: pd.Index | None, trades: Float, solver: str, residual: float
) -> PortfolioSchedule:
    parts = market.attribution(trades)
    if labels is not None:
        parts.index = labels
    cost, variance = float(parts["cost"].sum()), market.variance(trades)
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

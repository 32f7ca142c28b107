"""Almgren and Chriss's arrival price: least expected cost plus risk aversion times variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eig_banded, solveh_banded

from research_lib.checks import number, numbers, per_interval
from research_lib.compiling import compiled
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.allocate import allocate
from research_lib.execution.schedules import ROUNDING, ModelledSchedule, left_to_trade
from research_lib.impact import LinearImpact

Float = NDArray[np.float64]
LARGEST_VOLATILITY = 1e100  # whose square is a number
LARGEST_SUM = 1e250  # of trades, whose inverse is still a normal number times any order
Moments = tuple[float, float, float, float]
PLAIN = (float, int)


@dataclass(frozen=True, eq=False)
class ArrivalPriceSchedule(ModelledSchedule):
    r"""The schedule of :func:`almgren_chriss`.

    Attributes
    ----------
    kappa : float
        Rate at which holdings decay, per unit of time; below 0 where the order is risk-seeking:
        minus the angular frequency omega of
        :math:`x_k = X \sin(\omega (T - t_k)) / \sin(\omega T)`. Of the
        mean temporary impact and the mean squared volatility where these vary.

    Examples
    --------
    >>> equal = almgren_chriss(1e6, 5, volatility=0.95, temporary=2.5e-6, risk_aversion=0)
    >>> round(equal.expected_cost, 6)
    500000.0
    """

    kappa: float

    @property
    def theta(self) -> float:
        """1 / kappa, which the paper calls the half-life: the time in which holdings fall by e;
        inf if they do not.
        """
        return 1.0 / self.kappa if self.kappa > 0 else math.inf

    @property
    def half_life(self) -> float:
        """ln 2 / kappa: the time in which holdings halve as long as the horizon is far; inf if
        they do not decay.
        """
        return math.log(2.0) * self.theta


def almgren_chriss(
    total_shares: float,
    n_intervals: int,
    *,
    volatility: ArrayLike,
    temporary: ArrayLike,
    risk_aversion: float,
    permanent: float = 0.0,
    half_spread: float = 0.0,
    drift: float = 0.0,
    interval: float = 1.0,
    min_shares: ArrayLike | None = None,
) -> ArrivalPriceSchedule:
    r"""Least expected cost plus risk aversion times variance, against the arrival price.

    .. math:: \tfrac12 \gamma X^2 + \epsilon \sum_k |n_k| + \sum_k \frac{\tilde\eta_k}{\tau} n_k^2
              - \alpha \tau \sum_k x_k + \lambda \tau \sum_k \sigma_k^2 x_k^2,
              \quad \tilde\eta_k = \eta_k - \gamma \tau / 2

    x_k is held after trade n_k. Holdings solve a tridiagonal system. Where volatility and temporary
    impact are constant and there is no drift, they are X sinh(kappa (T - t)) / sinh(kappa T) with
    cosh(kappa tau) = 1 + lambda sigma^2 tau^2 / (2 eta~), which is TWAP at no risk aversion. A
    risk-seeking order (lambda < 0) trades late, by sines in place of the hyperbolic ones, as long
    as kappa T < pi: beyond that there is no least value.

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
        Floors of the trades, at least 0 and for X >= 0: none in the other direction. None, the
        default, leaves the sign of each trade free, which is not a floor below 0: those are
        refused.

    Raises
    ------
    ValidationError
        A parameter out of range, a floor below 0 among them.
    OptimizationError
        A risk aversion so far below 0 that no schedule is best; floors that need more than the
        order; trades against the order's direction under a half-spread,
        which prices their sign; floors that bind
        under a negative risk aversion.

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
    shares = number("total_shares", total_shares)
    model = _Model(
        n,
        _coefficient("volatility", volatility, n, low=0.0, high=LARGEST_VOLATILITY),
        _coefficient("temporary", temporary, n, above=0.0),
        number("risk_aversion", risk_aversion),
        number("permanent", permanent, 0),
        number("half_spread", half_spread, 0),
        number("drift", drift),
        number("interval", interval, above=0),
    )
    trades, found = model.optimum(shares)
    if min_shares is not None:
        trades = _floored(model, shares, trades, min_shares)
        found = moments(trades)
    if model.half_spread and np.abs(trades).sum() > abs(trades.sum()) * (1.0 + ROUNDING):
        raise OptimizationError(
            "the optimum trades against the order's direction, which half_spread prices by its "
            "sign; "
            "set min_shares=0, or half_spread=0"
        )
    return model.schedule(shares, trades, *found)


def _coefficient(name: str, value: ArrayLike, n: int, **limits: Any) -> float | Float:
    """One number where it does not vary, else (n,), checked."""
    if isinstance(value, PLAIN) or np.ndim(value) == 0:
        return float(number(name, value, **limits))
    array = np.array(numbers(name, value))
    if array.shape != (n,):
        raise ValidationError(
            f"{name} must be a number or ({n},), one an interval, got shape {array.shape}"
        )
    for at in (int(np.argmin(array)), int(np.argmax(array))):  # NaN is either
        number(f"{name} of interval {at}", array[at], **limits)
    return array if np.ptp(array) else float(array[0])


@dataclass(slots=True)
class _Model:
    """The market, checked: `net_temporary` is eta - gamma tau / 2, `pull` lambda sigma^2 tau^2
    over it, of means.

    Not frozen, for the time that takes.
    """

    n: int
    volatility: float | Float
    temporary: float | Float
    risk_aversion: float
    permanent: float
    half_spread: float
    drift: float
    interval: float
    net_temporary: float | Float = field(init=False)
    pull: float = field(init=False)

    def __post_init__(self) -> None:
        net = self.temporary - 0.5 * self.permanent * self.interval
        if (net if isinstance(net, float) else net.min()) <= 0:
            raise ValidationError(
                f"temporary {np.min(self.temporary):g} must be above permanent * interval / 2 = "
                f"{self.permanent * self.interval / 2:g}; shorten the interval"
            )
        squared, mean = np.mean(np.square(self.volatility)), np.mean(net)
        self.net_temporary = net
        self.pull = float(self.risk_aversion * squared * self.interval**2 / mean)

    def optimum(self, shares: float) -> tuple[Float, Any]:
        """Trades without floors, (n,), and their `moments`."""
        if not (isinstance(self.volatility, float) and isinstance(self.net_temporary, float)):
            trades = self._varying(shares)
            return trades, moments(trades)
        if (
            self.risk_aversion < 0
            and self.pull <= -4.0 * math.sin(math.pi / (2 * self.n)) ** 2
            and self.n > 1
        ):
            least = -4.0 * math.sin(math.pi / (2 * self.n)) ** 2 * self.risk_aversion / self.pull
            raise _unbounded(self.risk_aversion, least)
        push = 0.5 * self.drift * self.interval**2 / self.net_temporary
        trades, found = with_moments(shares, self.n, self.pull, push)
        return trades, found

    def _varying(self, shares: float) -> Float:
        """From the tridiagonal system a_k (x_k - x_(k-1)) + a_(k+1) (x_k - x_(k+1)) + risk_k x_k =
        alpha tau / 2.
        """
        cost = np.broadcast_to(self.net_temporary / self.interval, self.n)
        risk = np.broadcast_to(self.interval * np.square(self.volatility), self.n)[:-1]
        if self.n == 1:
            return np.array([shares])
        bands = np.zeros((2, self.n - 1))
        bands[0, 1:], bands[1] = -cost[1:-1], cost[:-1] + cost[1:]
        bands = bands[-(self.n - 1) :]  # one unknown has no neighbour
        right = np.full(self.n - 1, 0.5 * self.drift * self.interval)
        right[0] += cost[0] * shares
        try:
            held = solveh_banded(
                np.vstack([bands[:-1], bands[-1] + self.risk_aversion * risk]), right
            )
        except np.linalg.LinAlgError as error:
            raise _unbounded(self.risk_aversion, -_smallest_ratio(bands, risk)) from error
        return -np.diff(held, prepend=shares, append=0.0)

    def schedule(
        self,
        shares: float,
        trades: Float,
        sizes: float,
        squares: float,
        held: float,
        held_squares: float,
    ) -> ArrivalPriceSchedule:
        """The trades with what is expected of them."""
        if isinstance(self.net_temporary, float):
            temporary = self.net_temporary / self.interval * squares
        else:
            temporary = float(self.net_temporary @ trades**2) / self.interval
        if isinstance(self.volatility, float):
            variance = self.volatility**2 * self.interval * held_squares
        else:
            variance = (
                float(np.sum(np.square(self.volatility * left_to_trade(trades)[1:])))
                * self.interval
            )
        cost = 0.5 * self.permanent * shares**2 + self.half_spread * sizes + temporary
        cost -= self.drift * self.interval * held
        return ArrivalPriceSchedule(trades, "Almgren-Chriss", cost, variance, self._rate())

    def _rate(self) -> float:
        # asinh of half the root: the arccosh of 1 + pull / 2 without its loss of digits near 1.
        half = 0.5 * math.sqrt(abs(self.pull))
        angle = math.asinh(half) if self.pull >= 0 else -math.asin(min(half, 1.0))
        return 2.0 * angle / self.interval


def _smallest_ratio(bands: Float, risk: Float) -> float:
    """Least x'Lx / x'Dx of the tridiagonal L, as upper bands, and the diagonal D of `risk`, (n -
    1,).
    """
    scale = 1.0 / np.sqrt(np.maximum(risk, 1e-12 * risk.max()))
    scaled = bands * scale * np.vstack([np.append(0.0, scale[:-1]), scale])[-len(bands) :]
    return float(eig_banded(scaled, eigvals_only=True, select="i", select_range=(0, 0))[0])


def _unbounded(risk_aversion: float, least: float) -> OptimizationError:
    return OptimizationError(
        f"risk_aversion {risk_aversion:.6g} must be above {least:.6g}: at or below it, cost plus "
        "risk falls without "
        "limit as the round trip grows; raise it or shorten the horizon"
    )


def _floored(model: _Model, shares: float, trades: Float, min_shares: ArrayLike) -> Float:
    """The trades if they keep the floors, else those of the same problem with floors, by
    `allocate`.
    """
    floor = per_interval("min_shares", min_shares, model.n, infinite=True)
    if np.all(trades >= floor - ROUNDING * abs(shares)):
        return np.maximum(trades, floor) if np.any(trades < floor) else trades
    if model.risk_aversion < 0:
        raise OptimizationError(
            f"risk_aversion {model.risk_aversion:g} is below 0 and min_shares binds, a case "
            "without an exact method "
            "here; leave min_shares out, or take risk_aversion=0"
        )
    held = model.drift * model.interval * np.arange(model.n, 0, -1.0)
    curve = LinearImpact(
        np.broadcast_to(model.net_temporary / model.interval, model.n), model.half_spread + held
    )
    variance = np.square(model.volatility) * model.interval
    return allocate(
        curve, shares, min_shares=floor, risk_aversion=model.risk_aversion, covariance=variance
    ).shares


# Compiled: a tridiagonal system with one number on its diagonal, -1 beside it


@compiled
def trajectory(shares: float, n: int, pull: float, push: float = 0.0) -> Float:
    """Trades, (n,), whose holdings solve (2 + pull) x_k - x_(k-1) - x_(k+1) = push, x_0 = shares,
    x_n = 0.
    """
    if push == 0.0 and pull >= 0.0:
        trades, held = _growing(n, pull)
        if held < LARGEST_SUM:
            trades *= shares / held
            return trades
    return _eliminated(shares, n, pull, push)


@compiled
def with_moments(shares: float, n: int, pull: float, push: float) -> tuple[Float, Moments]:
    """`trajectory`, and the `moments` of it."""
    trades = trajectory(shares, n, pull, push)
    return trades, moments(trades)


@compiled
def _growing(n: int, pull: float) -> tuple[Float, float]:
    """Trades in units of about the last one, from which they grow backwards, and their sum.

    Sums of what is not negative lose no digit, but no number holds them where the first is too many
    times the last.
    """
    trades, held, traded = np.empty(n), 0.0, 1.0
    for k in range(n - 1, -1, -1):
        traded += pull * held
        held += traded
        trades[k] = traded
    return trades, held


@compiled
def _eliminated(shares: float, n: int, pull: float, push: float) -> Float:
    """By elimination from the end: x_k = keep_k x_(k-1) + rest_k."""
    keep, rest = np.zeros(n), np.zeros(n)
    for k in range(n - 2, -1, -1):
        keep[k] = 1.0 / (2.0 + pull - keep[k + 1])
        rest[k] = (push + rest[k + 1]) * keep[k]
    trades, held = np.empty(n), shares
    for k in range(n):
        left = keep[k] * held + rest[k]
        trades[k] = held - left
        held = left
    return trades


@compiled
def moments(trades: Float) -> Moments:
    """Sums of |trades|, of their squares, of what is held after each, of its squares."""
    sizes, squares, held, held_squares, left = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(trades) - 1, -1, -1):
        sizes += abs(trades[k])
        squares += trades[k] * trades[k]
        held += left
        held_squares += left * left
        left += trades[k]
    return sizes, squares, held, held_squares

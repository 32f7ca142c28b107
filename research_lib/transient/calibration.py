"""Market models measured on books and trades: resilience, the block-shaped book, Almgren-Chriss."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import ImpactCurve, ImpactFit, LinearImpact
from research_lib.market import BookSnapshots, Session
from research_lib.transient import flow as flows
from research_lib.transient.flow import LagEstimate, SignedFlow, clock_flow, trade_flow
from research_lib.transient.kernel_fit import KernelFit, Span, fit_kernel

Hours = Session | None
UNKNOWN: Span = (math.nan, math.nan, math.nan)
STATE_WINDOWS = 10  # Newey-West bandwidths: displayed depth is a state that lasts, unlike flow


def recovery_after_trades(
    books: BookSnapshots, *, step_seconds: float = 1.0, n_lags: int = 20, session: Hours = None
) -> LagEstimate:
    r"""Change of the spread by lag after one trade by itself, with bands: an event study.

    With y the quoted spread of the last complete state before each step of the clock, currency per
    share, and n_t the market orders in a step, the effect of one of them is the sum of the first
    b_k of

    .. math:: y_{t+1} - y_t = a + \sum_k b_k \, n_{t-k} + u_t,

    which neither later trades nor slow changes of the day's spread touch.

    Parameters
    ----------
    books : BookSnapshots with trades
    step_seconds : float
    n_lags : int
        Steps after a trade.
    session : Session, optional
        As in `trade_flow`.

    Raises
    ------
    ValidationError
        Books without trades.
    ModelFittingError
        Fewer than five steps a fitted lag.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> found = recovery_after_trades(market.books(4000, np.random.default_rng(3)))
    >>> bool(found.values[0] > 2 * found.values[-1])
    True
    """
    count, states = number("n_lags", n_lags, 4, integer=True), flows.best_prices(books)
    clock, trades = clock_flow(books, step_seconds, session), trade_flow(books, session)
    spread = 2.0 * states.half_spread[flows.last_before(states.time, clock.time)]
    step = np.searchsorted(clock.time, trades.time, "right")
    # Place 0 counts the orders before the first step, which are none of the clock's.
    orders = np.bincount(step, minlength=len(clock) + 1)[1:, None].astype(float)
    return flows.cumulative_effects(spread, orders, clock.day, clock.lags(count), "seconds")[0]


@dataclass(frozen=True, eq=False)
class BlockBook(Record):
    r"""The block-shaped order book of Obizhaeva and Wang (2013).

    Each parameter is (estimate, low, high) at 95 %. After x shares the touch has moved by x / q;
    the permanent component lambda x of it remains, the rest decays at the resilience rho:
    G(lag) = lambda + (1 / q - lambda) exp(-rho lag).

    Attributes
    ----------
    block_depth : (estimate, low, high) shares per currency
        q, from the depth on display behind the touch.
    permanent : (estimate, low, high) currency per share**2
        lambda, the permanent component of the propagator, per share of the mean market order; NaN
        where the propagator rejects the shape at 1 %.
    resilience : (estimate, low, high) per second
        rho, from the decay of the spread after a trade; 0 and inf where the data set no bound, NaN
        where the spread rejects the shape.
    spread, price : KernelFit
        Behind the resilience and the permanent component.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> found = fit_block_book(market.books(8000, np.random.default_rng(3)))
    >>> round(found.half_life[0], 1)
    5.4
    """

    block_depth: Span
    permanent: Span
    resilience: Span
    spread: KernelFit
    price: KernelFit

    @property
    def decaying(self) -> Span:
        """1 / q - lambda, currency per share**2, over the ends of both intervals; NaN where lambda
        is."""
        (q, low, high), (value, least, most) = self.block_depth, self.permanent
        return 1.0 / q - value, 1.0 / high - most, 1.0 / low - least

    @property
    def state(self) -> str:
        """Whether the model can describe the books, by the interval of 1 / q - lambda.

        "described" if it lies above 0, a condition and no proof; "contradicted" if below; "open" if
        it holds 0; "rejected" if a fit behind it is.
        """
        if not (self.price.describes and self.spread.describes):
            return "rejected"
        _, low, high = self.decaying
        return "described" if low > 0 else "contradicted" if high <= 0 else "open"

    @property
    def bounded(self) -> bool:
        """Whether `scale` is an upper bound: lambda is not known, or leaves nothing to decay."""
        return self.state == "rejected" or self.decaying[0] <= 0

    @property
    def scale(self) -> Span:
        """What decays of a share's impact on the touch, currency per share**2, at least 0.

        1 / q - lambda, or all of 1 / q where that is `bounded`.
        """
        q, low, high = self.block_depth
        value, least, most = (1.0 / q, 1.0 / high, 1.0 / low) if self.bounded else self.decaying
        return max(value, 0.0), max(least, 0.0), max(most, 0.0)

    def to_frame(self) -> pd.DataFrame:
        """q, rho and lambda in rows; columns estimate, low, high."""
        names = "q (shares per currency)", "rho (per second)", "lambda (currency per share squared)"
        spans = [self.block_depth, self.resilience, self.permanent]
        return pd.DataFrame(spans, [*names], ["estimate", "low", "high"])

    @property
    def half_life(self) -> Span:
        """ln 2 / rho, seconds: of the part that decays."""
        return _halving(self.resilience)


def _halving(span: Span) -> Span:
    """The rate of a half-life, or the half-life of a rate, with its interval; NaN stays."""
    value, low, high = (math.inf if end == 0.0 else math.log(2.0) / end for end in span)
    return value, high, low


def fit_block_book(books: BookSnapshots, *, price_lags: int = 40, **settings: Any) -> BlockBook:
    """Obizhaeva and Wang's parameters from books and trades.

    q is measured in the book, rho in the spread (`recovery_after_trades`), lambda in the propagator
    of the mid by trade over `price_lags` trades, so each stands on evidence of its own.

    Parameters
    ----------
    books : BookSnapshots with trades
    price_lags : int
        Trades over which the propagator is followed.
    **settings
        step_seconds, n_lags and session, as in `recovery_after_trades`.

    Raises
    ------
    ValidationError
        Books of one level: the depth behind the touch is not on display.
    ModelFittingError
        The spread does not widen after trades, or the price does not follow them.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> found = fit_block_book(market.books(8000, np.random.default_rng(3)))
    >>> found.resilience[1] < 0.1 < found.resilience[2]
    True
    """
    lasting = "exponential_permanent"
    spread = fit_kernel(recovery_after_trades(books, **settings), lasting)
    session, step = settings.get("session"), settings.get("step_seconds", 1.0)
    trades, clock = trade_flow(books, session), clock_flow(books, step, session)
    price = fit_kernel(flows.propagator(trades, price_lags), lasting)
    size = float(np.mean(np.abs(trades.shares)))
    value, low, high = price.permanent if price.describes else UNKNOWN
    halving = (spread.half_life, *spread.interval) if spread.describes else UNKNOWN
    permanent = value / size, low / size, high / size
    return BlockBook(_block_depth(books, clock), permanent, _halving(halving), spread, price)


def _block_depth(books: BookSnapshots, clock: SignedFlow) -> Span:
    """Shares behind the touch over the distance to the last level, both sides: a ratio of means."""
    if books.n_levels < 2:
        raise ValidationError("these books show the touch only; depth behind it needs 2 levels")
    rows = flows.usable_rows(books)
    shown = books.take(rows[flows.last_before(books.time[rows], clock.time)])
    ladders = [shown.levels(side) for side in ("buy", "sell")]
    depth = sum(sizes[:, 1:].sum(axis=1) for _, sizes in ladders)
    distance = sum(np.nanmax(np.abs(price - price[:, :1]), axis=1) for price, _ in ladders)
    value = float(depth.sum() / distance.sum())
    scores = ((depth - value * distance) / distance.mean())[:, None]
    days, width = flows.day_slices(clock.day), STATE_WINDOWS * flows.bandwidth(len(clock))
    by_day = (scores[rows] for rows in days)
    variance, clusters = flows.variance_of_sum(by_day, len(days), width)
    error = flows.quantile(clusters) * math.sqrt(variance[0, 0]) / len(clock)
    return value, value - error, value + error


def calibrate_almgren_chriss(
    books: BookSnapshots, fit: ImpactFit | ImpactCurve, session: Session, *, interval: float = 1.0
) -> dict[str, float]:
    r"""Volatility, temporary impact, half_spread and interval of `almgren_chriss`, from books.

    .. math:: \hat\sigma^2 = \frac{\overline{(m_{k+1} - m_k)^2}}{\tau}, \qquad
              \hat\eta = \bar\beta \tau

    over the moves of the mid within days and the intervals of a linear impact. A child order of x
    shares that walks the book costs beta x^2 beyond the half-spread, which Almgren and Chriss
    write (eta / tau) x^2. The permanent impact is in `fit_block_book`.

    Parameters
    ----------
    books : BookSnapshots
        One an interval, as `sample` gives them.
    fit : ImpactFit or LinearImpact
        Of the linear form; a level-1 book, which shows no impact, has none to give.
    session : Session
        Moves stay inside its days.
    interval : float
        tau, the length of an interval in the unit of time wanted.

    Raises
    ------
    ValidationError
        Another form than the linear one, books without two neighbouring mids in a day.

    Examples
    --------
    >>> from research_lib.market import thin_stock
    >>> session = Session(78)
    >>> books = thin_stock(session).books(156, 2, np.random.default_rng(7))
    >>> curve = LinearImpact(np.full(78, 2e-5), 0.02)
    >>> found = calibrate_almgren_chriss(books, curve, session, interval=0.5)
    >>> round(found["temporary"], 9), found["half_spread"]
    (1e-05, 0.02)
    """
    curve = fit.curve if isinstance(fit, ImpactFit) else fit
    if not isinstance(curve, LinearImpact):
        raise ValidationError(f"got {type(curve).__name__}; fit model_type='linear', for its slope")
    tau, day = number("interval", interval, above=0), session.days(books.time)
    squares = np.diff(books.mid)[day[1:] == day[:-1]] ** 2
    squares = squares[np.isfinite(squares)]
    if len(squares) < 2:
        raise ValidationError(f"{len(books)} books hold {len(squares)} moves in a day, of 2")
    sigma, eta = float(np.sqrt(squares.mean() / tau)), float(curve.beta.mean() * tau)
    spread = float(curve.half_spread.mean())
    return {"volatility": sigma, "temporary": eta, "half_spread": spread, "interval": tau}

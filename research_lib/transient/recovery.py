"""How spread and depth recover after a trade, and the block-shaped book behind the recovery."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ExponentialSumKernel
from research_lib.market import BookSnapshots, Session, depth_within
from research_lib.monitoring import timed
from research_lib.transient.flow import (
    SignedFlow,
    clock_flow,
    last_before,
    trade_flow,
    usable_states,
)
from research_lib.transient.kernel_fit import KernelFit, Span, Z, fit_kernel
from research_lib.transient.propagator import (
    LagEstimate,
    bandwidth,
    cumulative_effects,
    lagged_means,
    long_run_sum,
    propagator,
)
from research_lib.wording import p_value

Float = NDArray[np.float64]
Side = tuple[Float, tuple[int, ...]]  # a level by state, and the signs of the orders that act on it
QUANTITIES = ("spread", "depth")
UNKNOWN: Span = (math.nan, math.nan, math.nan)
STATE_WINDOWS = 10  # Newey-West bandwidths: displayed depth is a state that lasts, unlike flow


@dataclass(frozen=True, eq=False)
class Recovery(Record):
    """What a trade does to the spread, or to the depth of the side that it takes, by seconds since.

    Attributes
    ----------
    quantity : str
    seen : LagEstimate
        Mean change since just before the trade, whatever was traded afterwards: the plain event
        study.
    alone : LagEstimate
        The same of one trade by itself: what the trades around it do is taken out by regression.

    Examples
    --------
    >>> flat = LagEstimate(np.arange(1.0, 6), np.full(5, -2.0), np.eye(5), 100, "seconds")
    >>> Recovery("depth", flat, flat).fit().decays
    False
    """

    quantity: str
    seen: LagEstimate
    alone: LagEstimate

    def fit(self) -> KernelFit:
        """An exponential decay with a permanent component, through `alone` (a depth's negated)."""
        sign = 1.0 if self.quantity == "spread" else -1.0
        return fit_kernel(self.alone.scaled(sign), "exponential_permanent")


@timed("recovery_after_trades")
def recovery_after_trades(
    books: BookSnapshots,
    quantity: str,
    *,
    step_seconds: float = 1.0,
    n_lags: int = 20,
    distance_bps: float = 10.0,
    session: Session | None = None,
) -> Recovery:
    r"""Event study of the spread or the depth after trades, with bands.

    With y the quoted spread, or the shares within `distance_bps` of the mid, of the last complete
    state before each step of the clock, and n_t the market orders in a step, the effect of one of
    them is the sum of the first b_k of

    .. math:: y_{t+1} - y_t = a + \sum_k b_k \, n_{t-k} + u_t,

    which slow changes of the day's spread and depth do not touch. For the depth, orders that take
    the side and orders that take the other side enter separately; both sides are pooled.

    Parameters
    ----------
    books : BookSnapshots with trades
    quantity : str
        "spread" (currency per share) or "depth" (shares).
    step_seconds : float
    n_lags : int
        Steps after a trade.
    distance_bps : float
        Of the mid, for the depth.
    session : Session, optional
        As in `trade_flow`.

    Raises
    ------
    ValidationError
        Unknown quantity; books without trades.
    ModelFittingError
        Fewer than five steps a fitted lag.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> books = market.books(4000, np.random.default_rng(3))
    >>> found = recovery_after_trades(books, "spread")
    >>> bool(found.alone.values[0] > 2 * found.alone.values[-1])
    True
    """
    refuse_unknown([quantity], QUANTITIES, "quantity")
    count = number("n_lags", n_lags, 4, integer=True)
    states = usable_states(books)
    clock, trades = clock_flow(books, step_seconds, session), trade_flow(books, session)
    if quantity == "spread":
        sides: list[Side] = [(2.0 * states.half_spread, (1, -1))]  # all orders act on one spread
    else:
        acting = (("buy", (1,)), ("sell", (-1,)))
        sides = [(depth_within(states, distance_bps, side), signs) for side, signs in acting]
    alone = _alone(states, sides, clock, trades, count)
    return Recovery(quantity, _seen(states, sides, trades, alone.lags), alone)


def recovery_windows(
    books: BookSnapshots,
    quantity: str,
    windows: Iterable[int],
    *,
    step_seconds: float = 1.0,
    **settings: Any,
) -> pd.DataFrame:
    """Half-life of the recovery by the window over which it is followed.

    A longer window also sees slower recoveries, which one exponential then averages with the fast
    ones: where the rows disagree, none is *the* half-life.

    Parameters
    ----------
    windows : n_lags of each, steps
    books, quantity, step_seconds, **settings
        As in `recovery_after_trades`.

    Returns
    -------
    DataFrame
        By window in seconds: half_life, low, high (seconds), p_value, told (whether the half-life
        is identified).

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> books = market.books(4000, np.random.default_rng(3))
    >>> recovery_windows(books, "spread", [10, 20]).index.tolist()
    [10.0, 20.0]
    """
    settings["step_seconds"], rows = step_seconds, {}
    for count in windows:
        fit = recovery_after_trades(books, quantity, n_lags=count, **settings).fit()
        row = fit.half_life, *fit.interval, fit.p_value, fit.identified
        rows[count * step_seconds] = row
    columns = ["half_life", "low", "high", "p_value", "told"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("window_s")


def depends_on_window(table: pd.DataFrame, window: float) -> bool:
    """Whether another window contradicts the half-life over `window` seconds.

    If that one is identified: another identified one lies outside its interval, or a longer window
    identifies none. Else: another window identifies one.

    Parameters
    ----------
    table : DataFrame
        Of `recovery_windows`.
    window : float
        One of its rows, seconds.

    Examples
    --------
    >>> spans = {"half_life": [5.0, 9.0], "low": [4.0, 7.0], "high": [6.0, 12.0]}
    >>> table = pd.DataFrame({**spans, "told": [True, True]}, index=[30.0, 60.0])
    >>> depends_on_window(table, 30.0)
    True
    """
    chosen, known = table.loc[window], table[table["told"].astype(bool)]
    if not chosen["told"]:
        return len(known) > 0
    outside = (known["half_life"] < chosen["low"]) | (known["half_life"] > chosen["high"])
    return bool(outside.any()) or not table.loc[window:, "told"].all()


def _alone(
    states: BookSnapshots, sides: list[Side], clock: SignedFlow, trades: SignedFlow, count: int
) -> LagEstimate:
    """The regression on the clock; each side is a series of its own."""
    at, step = last_before(states, clock.time), np.searchsorted(clock.time, trades.time, "right")
    series, drives = [], []
    for level, signs in sides:
        own = np.isin(trades.sign, signs)
        kinds = (own,) if own.all() else (own, ~own)
        # Place 0 counts the orders before the first step, which are none of the clock's.
        counts = [np.bincount(step[kind], minlength=len(clock) + 1)[1:] for kind in kinds]
        numbers = np.stack(counts, axis=1).astype(float)
        series += [level[at][day] for day in clock.days]
        drives += [numbers[day] for day in clock.days]
    effects, n, _ = cumulative_effects(series, drives, count)
    return LagEstimate(clock.lags(count), *effects[0], n, "seconds")


def _seen(states: BookSnapshots, sides: list[Side], trades: SignedFlow, lags: Float) -> LagEstimate:
    """Mean change from just before each trade to each lag after it, while the day lasts."""
    products = []
    for level, signs in sides:
        for day in trades.days:
            time = trades.time[day][np.isin(trades.sign[day], signs)]
            later = time[:, None] + np.round(lags * 1e9).astype(np.int64)
            before = level[last_before(states, time)][:, None]
            change = level[np.searchsorted(states.time, later, "right") - 1] - before
            products.append(np.where(later <= trades.time[day][-1], change, np.nan))
    width = bandwidth(len(trades)) + math.ceil(float(lags[-1]) / trades.step_seconds)
    return lagged_means(products, "seconds", lags, width)


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
    mean_shares : float
        Of a market order.
    spread, price : KernelFit
        Behind the resilience and the permanent component.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> found = fit_block_book(market.books(8000, np.random.default_rng(3)))
    >>> [round(value, 2) for value in found.refill_rate(10.0)], round(found.half_life[0], 1)
    ([0.72, 0.61, 0.82], 5.4)
    """

    block_depth: Span
    permanent: Span
    resilience: Span
    mean_shares: float
    spread: KernelFit
    price: KernelFit

    @property
    def kernel(self) -> ExponentialSumKernel:
        """G by the second; refused where a fit is rejected or the permanent part is all of 1/q."""
        for fit, what in ((self.price, "propagator"), (self.spread, "spread")):
            if not fit.describes:
                raise ModelFittingError(
                    f"the {what} is not that of a block book "
                    f"(p-value {p_value(fit.p_value)}): {fit.reading}"
                )
        whole, lasting = 1.0 / self.block_depth[0], self.permanent[0]
        if lasting >= whole:
            raise ModelFittingError(
                f"the permanent impact {lasting:.3g} is not below 1 / q = {whole:.3g} per "
                "share**2: nothing decays"
            )
        return ExponentialSumKernel((self.resilience[0], 0.0), (whole - lasting, lasting))

    @property
    def decaying(self) -> Span:
        """1 / q - lambda, currency per share**2, over the ends of both intervals; NaN where lambda
        is."""
        (q, low, high), (value, least, most) = self.block_depth, self.permanent
        return 1.0 / q - value, 1.0 / high - most, 1.0 / low - least

    def refill_rate(self, seconds: float) -> Span:
        """1 - exp(-rho seconds), the share of consumed liquidity that is replenished meanwhile.

        It is the `refill_rate` of `after_own_trades`.
        """
        number("seconds", seconds, above=0)
        rate, low, high = (-math.expm1(-rho * seconds) for rho in self.resilience)
        return rate, low, high

    @property
    def half_life(self) -> Span:
        """ln 2 / rho, seconds: of the part that decays."""
        return _halving(self.resilience)


def _halving(span: Span) -> Span:
    """The rate of a half-life, or the half-life of a rate, with its interval; NaN stays."""
    value, low, high = span
    return (
        math.log(2.0) / value,
        math.log(2.0) / high,
        math.inf if low == 0.0 else math.log(2.0) / low,
    )


def fit_block_book(
    books: BookSnapshots,
    *,
    step_seconds: float = 1.0,
    n_lags: int = 20,
    price_lags: int = 40,
    session: Session | None = None,
) -> BlockBook:
    """Obizhaeva and Wang's parameters from books and trades.

    q is measured in the book, rho in the spread (`recovery_after_trades`), lambda in the propagator
    of the mid by trade over `price_lags` trades, so each stands on evidence of its own.

    Raises
    ------
    ValidationError
        Books of one level: the depth behind the touch is not on display.
    ModelFittingError
        The spread does not widen after trades, or the price does not follow them.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> found = fit_block_book(market.books(8000, np.random.default_rng(3)))
    >>> found.resilience[1] < 0.1 < found.resilience[2]
    True
    """
    spread = recovery_after_trades(
        books, "spread", step_seconds=step_seconds, n_lags=n_lags, session=session
    ).fit()
    trades = trade_flow(books, session)
    price = fit_kernel(propagator(trades, price_lags), "exponential_permanent")
    mean_shares = float(np.mean(np.abs(trades.shares)))
    value, low, high = price.permanent
    lasting = (value / mean_shares, low / mean_shares, high / mean_shares)
    return BlockBook(
        _block_depth(books, clock_flow(books, step_seconds, session)),
        lasting if price.describes else UNKNOWN,
        _halving((spread.half_life, *spread.interval)) if spread.describes else UNKNOWN,
        mean_shares,
        spread,
        price,
    )


def _block_depth(books: BookSnapshots, clock: SignedFlow) -> Span:
    """Shares behind the touch over the distance to the last level, both sides: a ratio of means."""
    if books.n_levels < 2:
        raise ValidationError(
            "these books show the touch only; the depth behind it needs 2 levels or more"
        )
    states = usable_states(books)
    shown = states.take(last_before(states, clock.time))
    depth, distance = np.zeros(len(clock)), np.zeros(len(clock))
    for side in ("buy", "sell"):
        prices, sizes = shown.levels(side)
        depth += sizes[:, 1:].sum(axis=1)
        distance += np.nanmax(np.abs(prices - prices[:, :1]), axis=1)
    value = float(depth.sum() / distance.sum())
    scores = ((depth - value * distance) / distance.mean())[:, None]
    width = STATE_WINDOWS * bandwidth(len(clock))
    variance = sum(float(long_run_sum(scores[day], width)[0, 0]) for day in clock.days)
    error = Z * math.sqrt(variance) / len(clock)
    return value, value - error, value + error

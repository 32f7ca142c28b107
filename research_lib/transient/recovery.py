"""How spread and depth come back after a trade, and the block book of Obizhaeva and Wang behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ExponentialSumKernel
from research_lib.market import BookSnapshots, Session, depth_within
from research_lib.monitoring import timed
from research_lib.transient.flow import SignedFlow, clock_flow, trade_flow
from research_lib.transient.kernel_fit import KernelFit, fit_kernel
from research_lib.transient.lagged import (
    LagEstimate,
    bandwidth,
    change_regression,
    lagged_means,
    long_run_sum,
)
from research_lib.transient.propagator import propagator
from research_lib.wording import p_value

Float = NDArray[np.float64]
Span = tuple[float, float, float]
QUANTITIES = ("spread", "depth")
UNKNOWN: Span = (math.nan, math.nan, math.nan)
LEVEL = 0.95
STATE_WINDOWS = 10  # Newey-West bandwidths: displayed depth is a state that lasts, unlike flow


@dataclass(frozen=True, eq=False)
class Recovery(Record):
    """What a trade does to the spread, or to the depth of the side that it takes, by seconds since.

    Attributes
    ----------
    quantity : str
    seen : LagEstimate
        Mean change since just before the trade, whatever was traded afterwards: the plain event study.
    alone : LagEstimate
        The same of one trade by itself: what the trades around it do is taken out by regression.
    """

    quantity: str
    seen: LagEstimate
    alone: LagEstimate

    def fit(self) -> KernelFit:
        """An exponential decay, with a part that stays, through `alone` (a depth's sign turned)."""
        return fit_kernel(
            self.alone.scaled(1.0 if self.quantity == "spread" else -1.0), "exponential_permanent"
        )


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

    With y the quoted spread, or the shares within `distance_bps` of the mid, of the last complete state
    before each step of the clock, and n_t the market orders in a step, the effect of one of them is the
    sum of the first b_k of

    .. math:: y_{t+1} - y_t = a + \sum_k b_k \, n_{t-k} + u_t,

    which slow changes of the day's spread and depth do not touch. For the depth, orders that take the
    side and orders that take the other side enter apart; both sides are pooled.

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
    """
    refuse_unknown([quantity], QUANTITIES, "quantity")
    count = number("n_lags", n_lags, 4, integer=True)
    states = books.take(books.complete & np.isfinite(books.mid))
    clock, trades = clock_flow(books, step_seconds, session), trade_flow(books, session)
    if quantity == "spread":
        levels = [2.0 * states.half_spread]
        orders = [np.array([1, -1])]  # all orders act on the one spread
    else:
        levels = [depth_within(states, distance_bps, side) for side in ("buy", "sell")]
        orders = [np.array([1]), np.array([-1])]
    lags = clock.lags(count)
    alone = _alone(states, levels, orders, clock, trades, count)
    seen = _seen(states, levels, orders, trades, lags)
    return Recovery(quantity, seen, alone)


def recovery_windows(
    books: BookSnapshots,
    quantity: str,
    windows: Iterable[int],
    *,
    step_seconds: float = 1.0,
    distance_bps: float = 10.0,
    session: Session | None = None,
) -> pd.DataFrame:
    """Half-life of the recovery by the window over which it is followed: where the rows disagree, none is *the* one.

    A longer window also sees slower recoveries, which one exponential then averages with the fast ones.

    Parameters
    ----------
    windows : n_lags of each, steps
    books, quantity, step_seconds, distance_bps, session
        As in `recovery_after_trades`.

    Returns
    -------
    DataFrame
        By window in seconds: half_life, low, high (seconds), p_value, told.
    """
    rows = {}
    for count in windows:
        found = recovery_after_trades(
            books,
            quantity,
            step_seconds=step_seconds,
            n_lags=count,
            distance_bps=distance_bps,
            session=session,
        ).fit()
        rows[count * step_seconds] = (found.half_life, *found.interval, found.p_value, found.told)
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["half_life", "low", "high", "p_value", "told"]
    )
    return table.rename_axis("window_s")


def depends_on_window(table: pd.DataFrame, window: float) -> bool:
    """Whether another window contradicts the half-life over `window` seconds, a row of `recovery_windows`.

    If told: another one told lies outside its interval, or a longer window tells none. Else: another tells one.
    """
    chosen, told = table.loc[window], table[table["told"].astype(bool)]
    if not chosen["told"]:
        return len(told) > 0
    outside = (told["half_life"] < chosen["low"]) | (told["half_life"] > chosen["high"])
    return bool(outside.any()) or not table.loc[window:, "told"].all()


def _alone(
    states: BookSnapshots,
    levels: list[Float],
    orders: list[NDArray[np.int64]],
    clock: SignedFlow,
    trades: SignedFlow,
    count: int,
) -> LagEstimate:
    """The regression on the clock; each side is a series of its own."""
    at = np.searchsorted(states.time, clock.time, "left") - 1
    step = np.searchsorted(clock.time, trades.time, "right") - 1
    series, drives = [], []
    for level, signs in zip(levels, orders, strict=True):
        own = np.isin(trades.sign, signs)
        counted = [
            np.bincount(step[kept & (step >= 0)], minlength=len(clock)) for kept in (own, ~own)
        ]
        numbers = np.stack(counted[: 1 if own.all() else 2], axis=1).astype(float)
        series += [level[at][day] for day in clock.days]
        drives += [numbers[day] for day in clock.days]
    fitted = change_regression(series, drives, count)
    return LagEstimate(clock.lags(count), *fitted.cumulated(0, count), fitted.n, "seconds")


def _seen(
    states: BookSnapshots,
    levels: list[Float],
    orders: list[NDArray[np.int64]],
    trades: SignedFlow,
    lags: Float,
) -> LagEstimate:
    """Mean change from just before each trade to each lag after it, while the day lasts."""
    products = []
    for level, signs in zip(levels, orders, strict=True):
        for day in trades.days:
            time = trades.time[day][np.isin(trades.sign[day], signs)]
            later = time[:, None] + np.round(lags * 1e9).astype(np.int64)
            change = (
                level[np.searchsorted(states.time, later, "right") - 1]
                - level[np.searchsorted(states.time, time, "left") - 1][:, None]
            )
            products.append(np.where(later <= trades.time[day][-1], change, np.nan))
    width = bandwidth(len(trades)) + math.ceil(float(lags[-1]) / trades.step_seconds)
    return lagged_means(products, "seconds", lags, width)


@dataclass(frozen=True, eq=False)
class BlockBook(Record):
    r"""The book of Obizhaeva and Wang (2013), each parameter as (estimate, low, high) at 95 %.

    After x shares the touch has moved by x / q; a part lambda x of it stays, the rest decays at rate rho:
    G(lag) = lambda + (1 / q - lambda) exp(-rho lag).

    Attributes
    ----------
    block_depth : (estimate, low, high) shares per currency
        q, from the depth on display behind the touch.
    permanent : (estimate, low, high) currency per share**2
        lambda, the part of the propagator that does not decay, per share of the mean market order; NaN where
        the propagator rejects the shape at 1 %.
    resilience : (estimate, low, high) per second
        rho, from the decay of the spread after a trade; 0 and inf where the data set no bound, NaN where the
        spread rejects the shape.
    mean_shares : float
        Of a market order.
    spread, price : KernelFit
        Behind the resilience and the permanent part.
    """

    block_depth: Span
    permanent: Span
    resilience: Span
    mean_shares: float
    spread: KernelFit
    price: KernelFit

    @property
    def kernel(self) -> ExponentialSumKernel:
        """G by the second; refused where a fit is rejected or the permanent part is all of 1 / q."""
        for fit, what in ((self.price, "propagator"), (self.spread, "spread")):
            if not fit.describes:
                raise ModelFittingError(
                    f"the {what} is not that of a block book (p-value {p_value(fit.p_value)}): {fit.reading}"
                )
        whole, stays = 1.0 / self.block_depth[0], self.permanent[0]
        if stays >= whole:
            raise ModelFittingError(
                f"the permanent impact {stays:.3g} is not below 1 / q = {whole:.3g} per share**2: nothing decays"
            )
        return ExponentialSumKernel((self.resilience[0], 0.0), (whole - stays, stays))

    @property
    def decaying(self) -> Span:
        """1 / q - lambda, currency per share**2, over the ends of both intervals; NaN where lambda is."""
        q, low, high = self.block_depth
        return (
            1.0 / q - self.permanent[0],
            1.0 / high - self.permanent[2],
            1.0 / low - self.permanent[1],
        )

    def refill_rate(self, seconds: float) -> Span:
        """1 - exp(-rho seconds), the part of a hole that closes meanwhile: `refill_rate` of `after_own_trades`."""
        number("seconds", seconds, above=0)
        rate, low, high = (-math.expm1(-rho * seconds) for rho in self.resilience)
        return rate, low, high

    @property
    def half_life(self) -> Span:
        """ln 2 / rho, seconds: of the part that decays."""
        rate, low, high = self.resilience
        return (
            math.log(2.0) / rate,
            math.log(2.0) / high,
            math.log(2.0) / low if low > 0 else math.inf,
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

    q is measured in the book, rho in the spread (`recovery_after_trades`), lambda in the propagator of the
    mid by trade, so each stands on evidence of its own; `price_lags` trades for the last.

    Raises
    ------
    ValidationError
        Books of one level: the depth behind the touch is not on display.
    ModelFittingError
        The spread does not widen after trades, or the price does not follow them.
    """
    spread = recovery_after_trades(
        books, "spread", step_seconds=step_seconds, n_lags=n_lags, session=session
    ).fit()
    trades = trade_flow(books, session)
    price = fit_kernel(propagator(trades, price_lags), "exponential_permanent")
    mean_shares = float(np.mean(np.abs(trades.shares)))
    low, high = spread.interval
    rate = math.log(2.0) / spread.half_life
    resilience = (rate, math.log(2.0) / high, math.log(2.0) / low if low > 0 else math.inf)
    value, least, most = (part / mean_shares for part in price.permanent)
    permanent = (value, least, most) if price.describes else UNKNOWN
    resilience = resilience if spread.describes else UNKNOWN
    depth = _block_depth(books, clock_flow(books, step_seconds, session))
    return BlockBook(depth, permanent, resilience, mean_shares, spread, price)


def _block_depth(books: BookSnapshots, clock: SignedFlow) -> Span:
    """Shares behind the touch over the distance to the last level, both sides, by the clock: a ratio of means."""
    if books.n_levels < 2:
        raise ValidationError(
            "these books show the touch only; the depth behind it needs 2 levels or more"
        )
    states = books.take(books.complete & np.isfinite(books.mid))
    shown = states.take(np.searchsorted(states.time, clock.time, "left") - 1)
    depth, distance = np.zeros(len(clock)), np.zeros(len(clock))
    for side in ("buy", "sell"):
        prices, sizes = shown.levels(side)
        depth += sizes[:, 1:].sum(axis=1)
        distance += np.nanmax(np.abs(prices - prices[:, :1]), axis=1)
    value = float(depth.sum() / distance.sum())
    scores = ((depth - value * distance) / distance.mean())[:, None]
    width = STATE_WINDOWS * bandwidth(len(clock))
    variance = sum(float(long_run_sum(scores[day], width)[0, 0]) for day in clock.days)
    error = float(stats.norm.ppf(0.5 + 0.5 * LEVEL)) * math.sqrt(variance) / len(clock)
    return value, value - error, value + error

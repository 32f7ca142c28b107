"""Signed order flow and the mid that it meets: one step a trade, or one step of the clock."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
MEASURES = ("sign", "shares")
# Two mids further apart than this are different: mids of the same ticks agree to 4e-16 of the
# price, and a tick is never so small that an absolute limit could stand in for it.
SAME_PRICE = 1e-14


@dataclass(frozen=True, eq=False)
class SignedFlow(Record):
    """n steps in time order, each with its flow and the mid that it met.

    Attributes
    ----------
    time : (n,) int64 ns UTC
        Of the trade, or of the start of the clock's step.
    mid : (n,) currency per share
        Just before the step.
    sign : (n,)
        1 for a buyer, -1 for a seller; by the clock, the sum of the signs of the step's market
        orders.
    shares : (n,) signed
    changing : (n,) bool or None
        Whether the trade moved the mid at once; None by the clock.
    day : (n,) int
        Numbers the days; no lag reaches over a night.
    step_seconds : float
        Length of the clock's step, or the mean time from one trade to the next.
    unit : str
        "trades" or "seconds", of the lags.

    Examples
    --------
    >>> time, mid, sign = np.arange(3), np.array([10.0, 10.1, 10.1]), np.array([1.0, -1.0, 1.0])
    >>> flow = SignedFlow(time, mid, sign, 100 * sign, None, np.array([0, 0, 1]), 2.0, "seconds")
    >>> flow.days, flow.lags(3).tolist()
    ([slice(0, 2, None), slice(2, 3, None)], [1.0, 3.0, 5.0])
    """

    time: Int64
    mid: Float
    sign: Float
    shares: Float
    changing: NDArray[np.bool_] | None
    day: Int64
    step_seconds: float
    unit: str

    def __len__(self) -> int:
        return len(self.time)

    def drive(self, measure: str) -> Float:
        """`sign` or `shares`, (n,): what moves the price."""
        refuse_unknown([measure], MEASURES, "measure of flow")
        return self.sign if measure == "sign" else self.shares

    @property
    def days(self) -> list[slice]:
        """The steps of each day."""
        edges = [0, *(np.flatnonzero(np.diff(self.day)) + 1).tolist(), len(self)]
        return [slice(first, last) for first, last in itertools.pairwise(edges)]

    def lags(self, count: int) -> Float:
        """Mean time since the flow after 1, 2, ... count steps, (count,) in `unit`."""
        steps = np.arange(1.0, count + 1)
        return steps if self.unit == "trades" else (steps - 0.5) * self.step_seconds


def trade_flow(books: BookSnapshots, session: Session | None = None) -> SignedFlow:
    """One step a trade: executions of one sign at one time are one market order.

    The mid before is that of the last complete state shown strictly before the trade; a trade
    changes the mid if the first state shown at its time or later has another. Trades without an
    aggressor are left out, and those before the first book or after the last.

    Parameters
    ----------
    books : BookSnapshots with trades
    session : Session, optional
        Whose hours count and which separates the days; by default all trades are one day.

    Raises
    ------
    ValidationError
        Books without trades, or fewer than 2 signed ones among them.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> len(flow), flow.shares[:3].tolist()
    (253, [-94.0, -21.0, -74.0])
    """
    states = usable_states(books)
    time, sign, shares, day = _market_orders(books, states, session)
    mid = states.mid[last_before(states, time)]
    after = np.searchsorted(states.time, time, "right") - 1
    mid_after = states.mid[np.where(states.time[after] < time, after + 1, after)]
    changing = np.abs(mid_after - mid) > SAME_PRICE * mid
    gaps = np.diff(time)[np.diff(day) == 0]
    seconds = float(np.mean(gaps)) / 1e9 if gaps.size else np.nan
    return SignedFlow(time, mid, sign, shares, changing, day, seconds, "trades")


def clock_flow(books: BookSnapshots, seconds: float, session: Session | None = None) -> SignedFlow:
    """One step every `seconds`: the net flow in it, and the mid of the last state before it.

    Parameters, errors and the orders that count are those of `trade_flow`; steps of a day run
    from its first order to its last.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = clock_flow(market.books(1000, np.random.default_rng(3)), 10.0)
    >>> len(flow), flow.sign[:5].tolist()
    (100, [-3.0, 0.0, -2.0, -1.0, -1.0])
    """
    step = round(number("seconds", seconds, above=0) * 1e9)
    states = usable_states(books)
    order_time, *drives, order_day = _market_orders(books, states, session)
    numbers = np.unique(order_day)
    within = [order_time[order_day == k] for k in numbers]
    edges = [np.arange(times[0], times[-1] + 1, step) for times in within]
    time, day = np.concatenate(edges), np.repeat(numbers, [len(steps) for steps in edges])
    if len(time) < 2:
        raise ValidationError(
            f"the trades span less than 2 steps of {seconds:g} s; take a shorter step"
        )
    at = np.searchsorted(time, order_time, "right") - 1
    sign, shares = (
        np.bincount(at, weights=drive, minlength=len(time)).astype(float) for drive in drives
    )
    mid = states.mid[last_before(states, time)]
    return SignedFlow(time, mid, sign, shares, None, day, step / 1e9, "seconds")


def usable_states(books: BookSnapshots) -> BookSnapshots:
    """Complete states with both sides."""
    states = books.take(books.complete & np.isfinite(books.mid))
    if not len(states):
        raise ValidationError(
            "no book is complete with both sides; there is no mid to set trades against"
        )
    return states


def last_before(states: BookSnapshots, time: Int64) -> NDArray[np.intp]:
    """Which state was the last one shown strictly before each time."""
    return np.searchsorted(states.time, time, "left") - 1


def _market_orders(
    books: BookSnapshots, states: BookSnapshots, session: Session | None
) -> tuple[Int64, Float, Float, Int64]:
    """Time, sign, signed shares and day number of the market orders between two states."""
    trades = books.trades
    if trades is None:
        raise ValidationError(
            "these books have no trades; read a format that has them, such as LOBSTER or MBP-10"
        )
    signed = trades.aggressor != 0
    if session is not None:
        signed &= session.interval_of(trades.time) >= 0
    if signed.sum() < 2:
        raise ValidationError(
            f"{int(signed.sum())} of {len(trades):,} trades are signed and in the session; "
            "2 are needed"
        )
    trades = trades.take(signed)
    changes = (np.diff(trades.time) > 0) | (np.diff(trades.aggressor) != 0)
    first = np.flatnonzero(np.append(True, changes))
    time, shares = trades.time[first], np.add.reduceat(trades.signed_size, first)
    kept = (time > states.time[0]) & (time <= states.time[-1])
    if kept.sum() < 2:
        raise ValidationError(
            f"{int(kept.sum())} signed trades have a book before and after; 2 or more are needed"
        )
    time = time[kept]
    days = np.zeros(len(time)) if session is None else session.days(time)
    day = np.unique(days, return_inverse=True)[1].astype(np.int64)
    return time, trades.aggressor[first][kept].astype(float), shares[kept], day

"""Signed order flow beside the mid: by trade, or by the clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session, Trades

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
MEASURES = ("sign", "shares")
SAME_PRICE = 1e-9


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
        1 a buyer, -1 a seller; by the clock, the sum of the signs of the step's market orders.
    shares : (n,) signed
    changing : (n,) bool or None
        Whether the trade moved the mid at once; None by the clock.
    day : (n,) int
        Numbers the days; no lag reaches over a night.
    step_seconds : float
        Length of the clock's step, or the mean time from one trade to the next.
    unit : str
        "trades" or "seconds", of the lags.
    """

    time: Int64
    mid: Float
    sign: Float
    shares: Float
    changing: Bool | None
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
        starts = np.flatnonzero(np.append(True, np.diff(self.day) != 0))
        return [
            slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(self)], strict=True)
        ]

    def lags(self, count: int) -> Float:
        """Mean time since the flow after 1, 2, ... count steps, (count,) in `unit`."""
        steps = np.arange(1.0, count + 1)
        return steps if self.unit == "trades" else (steps - 0.5) * self.step_seconds


def trade_flow(books: BookSnapshots, session: Session | None = None) -> SignedFlow:
    """One step a trade: executions of one sign at one time are one market order.

    The mid before is that of the last complete state shown strictly before the trade; a trade changes
    the mid if the first state shown at its time or later has another. Trades without an aggressor
    are left out, and those before the first book or after the last.

    Parameters
    ----------
    books : BookSnapshots with trades
    session : Session, optional
        Whose hours count and whose days are apart; by default all trades are one day.

    Raises
    ------
    ValidationError
        Books without trades, or fewer than 2 signed ones among them.
    """
    states = _usable(books)
    time, sign, shares = _market_orders(_signed(books, session), states)
    mid = states.mid[np.searchsorted(states.time, time, "left") - 1]
    after = np.searchsorted(states.time, time, "right") - 1
    mid_after = states.mid[np.where(states.time[after] < time, after + 1, after)]
    day = _day_numbers(time, session)
    gaps = np.diff(time)[np.diff(day) == 0]
    changing = np.abs(mid_after - mid) > SAME_PRICE * mid
    seconds = float(np.mean(gaps)) / 1e9 if gaps.size else np.nan
    return SignedFlow(time, mid, sign, shares, changing, day, seconds, "trades")


def clock_flow(books: BookSnapshots, seconds: float, session: Session | None = None) -> SignedFlow:
    """One step every `seconds`: the net flow in it, and the mid of the last complete state before it.

    Parameters, errors and the orders that count as `trade_flow`; steps of a day run from its first order to its last.
    """
    step = round(number("seconds", seconds, above=0) * 1e9)
    states = _usable(books)
    order_time, *drives = _market_orders(_signed(books, session), states)
    day = _day_numbers(order_time, session)
    edges, which = [], []
    for number_of_day in np.unique(day):
        times = order_time[day == number_of_day]
        edges.append(np.arange(times[0], times[-1] + 1, step))
        which.append(np.full(len(edges[-1]), number_of_day))
    time, days = np.concatenate(edges), np.concatenate(which)
    if len(time) < 2:
        raise ValidationError(
            f"the trades span less than 2 steps of {seconds:g} s; take a shorter step"
        )
    at = np.searchsorted(time, order_time, "right") - 1
    sign, shares = (
        np.bincount(at, weights=drive, minlength=len(time)).astype(float) for drive in drives
    )
    mid = states.mid[np.searchsorted(states.time, time, "left") - 1]
    return SignedFlow(time, mid, sign, shares, None, days, step / 1e9, "seconds")


def _usable(books: BookSnapshots) -> BookSnapshots:
    """Complete states with both sides."""
    states = books.take(books.complete & np.isfinite(books.mid))
    if not len(states):
        raise ValidationError(
            "no book is complete with both sides; there is no mid to set trades against"
        )
    return states


def _signed(books: BookSnapshots, session: Session | None) -> Trades:
    """The trades with an aggressor, inside the session."""
    if books.trades is None:
        raise ValidationError(
            "these books have no trades; read a format that has them, such as LOBSTER or MBP-10"
        )
    trades = books.trades
    kept = trades.aggressor != 0
    if session is not None:
        kept = kept & (session.interval_of(trades.time) >= 0)
    if kept.sum() < 2:
        raise ValidationError(
            f"{int(kept.sum())} of {len(trades):,} trades are signed and in the session; 2 are needed"
        )
    return trades.take(kept)


def _market_orders(trades: Trades, states: BookSnapshots) -> tuple[Int64, Float, Float]:
    """Time, sign and signed shares of those between two states: executions of one sign at one time together."""
    first = np.flatnonzero(
        np.append(True, (np.diff(trades.time) > 0) | (np.diff(trades.aggressor) != 0))
    )
    time, shares = trades.time[first], np.add.reduceat(trades.signed_size, first)
    kept = (time > states.time[0]) & (time <= states.time[-1])
    if kept.sum() < 2:
        raise ValidationError(
            f"{int(kept.sum())} signed trades have a book before and after; 2 or more are needed"
        )
    return time[kept], trades.aggressor[first][kept].astype(float), shares[kept]


def _day_numbers(time: Int64, session: Session | None) -> Int64:
    if session is None:
        return np.zeros(len(time), np.int64)
    return np.unique(session.days(time), return_inverse=True)[1].astype(np.int64)

"""Strategies under one interface: at each interval, how many shares, knowing the books up to it."""

# ruff: noqa: I001  (several names a line)

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, per_interval
from research_lib.errors import ValidationError
from research_lib.evaluation.replay import (
    ROWS, Execution, Filled, Ladder, as_caps, fill_schedule, settled, walk, with_rest,
)  # fmt: skip
from research_lib.execution import Schedule, allocate, pov, twap, vwap
from research_lib.impact import ImpactCurve
from research_lib.market import BookSnapshots

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Order:
    """Shares to fill in intervals start .. stop - 1 of the day's n, at most `caps` in each.

    `caps` is (stop - start,) shares.

    Examples
    --------
    >>> Order(1_000.0, 2, 4, 5, np.array([600.0, 600.0])).day_caps.tolist()
    [0.0, 0.0, 600.0, 600.0]
    """

    total_shares: float
    start: int
    stop: int
    n_intervals: int
    caps: Float

    @property
    def day_caps(self) -> Float:
        """Caps of the day's intervals up to the last of the order, (stop,); 0 before the order."""
        return np.concatenate([np.zeros(self.start), self.caps])


class Strategy(ABC):
    """Decides one child order after the other.

    Attributes
    ----------
    name : str
        As reports and legends show it.
    fitted_on : str
        What it knows beside the books on display.

    Examples
    --------
    A strategy of one's own takes half of the best level, whatever the day:

    >>> class HalfTouch(Strategy):
    ...     name, fitted_on = "half touch", "nothing"
    ...
    ...     def decide(self, t, remaining, seen, order):
    ...         return seen.size[t, 0] / 2
    >>> from research_lib.market import BookSnapshots
    >>> bid, ask, size = [[99.0]] * 3, [[101.0]] * 3, [[20.0]] * 3
    >>> books = BookSnapshots([10**18, 2 * 10**18, 3 * 10**18], bid, size, ask, size)
    >>> run(HalfTouch(), books, 35, "buy").filled.tolist()  # the last interval takes what is left
    [10.0, 10.0, 15.0]
    """

    name: str
    fitted_on: str

    @abstractmethod
    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """Shares to send in interval t.

        Parameters
        ----------
        t : int
            Interval of the day.
        remaining : float
            Shares not filled yet.
        seen : Ladder
            The t + 1 books shown up to now, own trades taken off: read-only copies, with no later
            one behind.
        order : Order
        """

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """Fill the order step by step in `books`, deciding on those `seen`.

        What is decided is kept between 0, what remains and the cap, and in the last interval all
        that is left is sent. A decision that is no finite number is a ValidationError.
        """
        visible, kept, remaining = seen.size.copy(), 1.0 - refill, order.total_shares
        filled, cost = np.zeros(len(order.caps)), np.zeros(len(order.caps))
        consumed = np.zeros(books.size.shape[1])
        for k, t in enumerate(range(order.start, order.stop)):
            want = remaining
            visible[t] = np.maximum(seen.size[t] - kept * consumed, 0.0)
            if t + 1 < order.stop:
                what = f"the shares that {self.name} decides on in interval {t}"
                answer = self.decide(t, remaining, _shown_until(seen, visible, t), order)
                want = min(max(number(what, answer), 0.0), remaining)
            want = min(float(want), order.caps[k])
            filled[k], cost[k] = walk(books.premium[t], books.size[t], consumed, kept, want)
            remaining -= filled[k]
        return with_rest(filled, cost, remaining)


class Scheduled(Strategy):
    """A strategy that is fixed before the first interval.

    Examples
    --------
    >>> class Early(Scheduled):
    ...     name, fitted_on = "early", "nothing"
    ...
    ...     def schedule(self, order):
    ...         weight = np.arange(order.stop - order.start, 0.0, -1.0)
    ...         return Schedule(order.total_shares * weight / weight.sum(), self.name)
    >>> Early().schedule(Order(60.0, 0, 3, 3, np.full(3, np.inf))).shares.tolist()
    [30.0, 20.0, 10.0]
    """

    @abstractmethod
    def schedule(self, order: Order) -> Schedule:
        """Shares of each interval of the order, (stop - start,)."""

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is scheduled up to t and not filled yet."""
        due = float(self.schedule(order).shares[: t - order.start + 1].sum())
        return due - (order.total_shares - remaining)

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """The steps of `Strategy.fill`, compiled; refuses a schedule of another length."""
        shares, own = self.schedule(order).shares, books.take(slice(order.start, order.stop))
        one_an_interval(len(shares), len(own), f"the schedule of {self.name}")
        return fill_schedule(shares, order.caps, own, refill)


@dataclass(frozen=True, eq=False)
class Twap(Scheduled):
    """Equal shares in every interval.

    Examples
    --------
    >>> Twap().schedule(Order(60.0, 0, 3, 3, np.full(3, np.inf))).shares.tolist()
    [20.0, 20.0, 20.0]
    """

    name: str = "TWAP"
    fitted_on: str = "nothing"

    def schedule(self, order: Order) -> Schedule:
        """Equal shares."""
        return twap(order.total_shares, order.stop - order.start)


@dataclass(frozen=True, eq=False)
class Vwap(Scheduled):
    """Shares in proportion to the volume (n,) of a day, as known before.

    Examples
    --------
    >>> order = Order(60.0, 1, 3, 3, np.full(2, np.inf))
    >>> Vwap([9.0, 2.0, 1.0], "earlier days").schedule(order).shares.tolist()
    [40.0, 20.0]
    """

    volume: Float
    fitted_on: str
    name: str = "VWAP"

    def schedule(self, order: Order) -> Schedule:
        """Shares in proportion to the order's part of the volume."""
        return vwap(order.total_shares, _part_of_day(self, self.volume, order))


@dataclass(frozen=True, eq=False)
class Pov(Scheduled):
    """A rate of the volume (n,) expected of a day until the order is done.

    The rate is raised where it would not complete the order.

    Examples
    --------
    >>> order = Order(60.0, 0, 3, 3, np.full(3, np.inf))
    >>> Pov([400.0, 400.0, 400.0], "earlier days").schedule(order).shares.tolist()
    [40.0, 20.0, 0.0]
    """

    volume: Float
    fitted_on: str
    rate: float = 0.1
    name: str = "POV"

    def schedule(self, order: Order) -> Schedule:
        """The rate of the order's part of the volume."""
        volume = _part_of_day(self, self.volume, order)
        rate = max(self.rate, order.total_shares / float(volume.sum()))
        return pov(order.total_shares, volume, rate)


@dataclass(frozen=True, eq=False)
class StaticOptimal(Scheduled):
    """The exact allocation on curves (n intervals) known before the order, caps honoured.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> known = StaticOptimal(LinearImpact(np.array([1.0, 2.0, 2.0])), "earlier days")
    >>> known.schedule(Order(60.0, 0, 3, 3, np.full(3, np.inf))).shares.round(9).tolist()
    [30.0, 15.0, 15.0]
    """

    curve: ImpactCurve
    fitted_on: str
    name: str = "static optimal"
    objective: str = "cost"

    def schedule(self, order: Order) -> Schedule:
        """The allocation of the order's intervals."""
        one_an_interval(len(self.curve), order.n_intervals, f"the curve of {self.name}")
        curve = self.curve.take(np.arange(order.start, order.stop))
        how: dict[str, Any] = {"max_shares": order.caps, "objective": self.objective}
        return Schedule(allocate(curve, order.total_shares, **how).shares, self.name)


def run(
    strategy: Strategy,
    books: BookSnapshots | Ladder,
    total_shares: float,
    side: str,
    *,
    window: tuple[int, int] | None = None,
    max_shares: ArrayLike | None = None,
    shown: BookSnapshots | Ladder | None = None,
    refill: float = 1.0,
) -> Execution:
    """Let a strategy work an order on one day's books.

    Parameters
    ----------
    strategy : Strategy
    books : BookSnapshots or Ladder
        One an interval, all of one day: what came before the order may be looked at.
        `Ladder.by_day` parts days.
    total_shares : float
    side : "buy" or "sell"
    window : (start, stop), optional
        The order's intervals are start .. stop - 1; all by default.
    max_shares : scalar or (stop - start,) shares, optional
        Cap of each interval.
    shown : BookSnapshots or Ladder, optional
        Books to decide on, where they are not those that are traded on: earlier ones, by a
        latency, or permuted ones, for the placebo.
    refill : float
        As in `replay`.

    Returns
    -------
    Execution
        Of stop - start child orders.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, bid, ask = [10**18, 2 * 10**18], [[99.0], [99.0]], [[101.0], [101.0]]
    >>> books = BookSnapshots(time, bid, [[20.0], [20.0]], ask, [[20.0], [20.0]])
    >>> run(Twap(), books, 30, "buy").cost
    30.0
    """
    ladder = Ladder.of(books, side)
    seen = ladder if shown is None else Ladder.of(shown, side)
    if len(seen) != len(ladder):
        raise ValidationError(f"{len(seen)} books are shown and {len(ladder)} traded on; show all")
    first, last = window or (0, len(ladder))
    stop = number("stop", last, 1, len(ladder), integer=True)
    start = number("start", first, 0, stop - 1, integer=True)
    total, rho = number("total_shares", total_shares, 0), number("refill", refill, 0, 1)
    order = Order(total, start, stop, len(ladder), as_caps(max_shares, stop - start))
    done = strategy.fill(order, ladder, seen, rho)
    return settled(strategy.name, done, ladder.take(slice(start, stop)), strategy.fitted_on)


def one_an_interval(n: int, expected: int, what: str) -> None:
    """Refuse n values where the order, or the day, has another number of intervals."""
    if n != expected:
        raise ValidationError(f"{what} has {n} intervals for {expected}; give one day at a time")


def _part_of_day(strategy: Strategy, volume: ArrayLike, order: Order) -> Float:
    """The order's intervals of a day's volume."""
    what = f"the volume of {strategy.name}"
    one_an_interval(np.size(volume), order.n_intervals, what)
    return per_interval(what, volume, order.n_intervals)[order.start : order.stop]


def _shown_until(seen: Ladder, visible: Float, t: int) -> Ladder:
    """Copies of the first t + 1 books, which cannot be written to and hide no later book."""
    shown = dataclasses.replace(seen.take(slice(t + 1)), size=visible[: t + 1])
    rows: dict[str, Any] = {name: shown[name].copy() for name in ROWS}
    for array in rows.values():
        array.setflags(write=False)
    return dataclasses.replace(shown, **rows)

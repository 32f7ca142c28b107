"""Strategies under one interface: at each interval, how many shares, knowing the books up to it."""

# ruff: noqa: I001  (several names a line)

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, per_interval
from research_lib.errors import ValidationError
from research_lib.evaluation.replay import ROWS, Books, Execution, Filled, Ladder, as_caps
from research_lib.evaluation.replay import fill_schedule, settled, walk, with_rest
from research_lib.execution import Schedule, allocate, pov, twap, vwap
from research_lib.impact import ImpactCurve


class Order(NamedTuple):
    """Shares to fill in the n intervals of a day, at most `caps` (n,) shares in each.

    An order for a part of the day has a session of its own: ``Session(open="13:00")``.

    Examples
    --------
    >>> len(Order(1_000.0, np.full(390, 50.0)).caps)
    390
    """

    total_shares: float
    caps: Float


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
        for t, cap in enumerate(order.caps):
            want = remaining
            visible[t] = np.maximum(seen.size[t] - kept * consumed, 0.0)
            if t + 1 < len(order.caps):
                what = f"the shares that {self.name} decides on in interval {t}"
                answer = self.decide(t, remaining, _shown_until(seen, visible, t), order)
                want = min(max(number(what, answer), 0.0), remaining)
            want = min(float(want), cap)
            filled[t], cost[t] = walk(books.premium[t], books.size[t], consumed, kept, want)
            remaining -= filled[t]
        return with_rest(filled, cost, remaining)


class Scheduled(Strategy):
    """A strategy that is fixed before the first interval.

    Examples
    --------
    >>> class Early(Scheduled):
    ...     name, fitted_on = "early", "nothing"
    ...
    ...     def schedule(self, order):
    ...         weight = np.arange(len(order.caps), 0.0, -1.0)
    ...         return Schedule(order.total_shares * weight / weight.sum(), self.name)
    >>> Early().schedule(Order(60.0, np.full(3, np.inf))).shares.tolist()
    [30.0, 20.0, 10.0]
    """

    @abstractmethod
    def schedule(self, order: Order) -> Schedule:
        """Shares of each interval, (n,)."""

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is scheduled up to t and not filled yet."""
        due = float(self.schedule(order).shares[: t + 1].sum())
        return due - (order.total_shares - remaining)

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """The steps of `Strategy.fill`, compiled; refuses a schedule of another length."""
        shares = self.schedule(order).shares
        one_an_interval(len(shares), len(books), f"the schedule of {self.name}")
        return fill_schedule(shares, order.caps, books, refill)


@dataclass(frozen=True, eq=False)
class Twap(Scheduled):
    """Equal shares in every interval.

    Examples
    --------
    >>> Twap().schedule(Order(60.0, np.full(3, np.inf))).shares.tolist()
    [20.0, 20.0, 20.0]
    """

    name: str = "TWAP"
    fitted_on: str = "nothing"

    def schedule(self, order: Order) -> Schedule:
        """Equal shares."""
        return twap(order.total_shares, len(order.caps))


@dataclass(frozen=True, eq=False)
class Vwap(Scheduled):
    """Shares in proportion to the volume (n,) of a day, as known before.

    Examples
    --------
    >>> order = Order(60.0, np.full(3, np.inf))
    >>> Vwap([3.0, 2.0, 1.0], "earlier days").schedule(order).shares.tolist()
    [30.0, 20.0, 10.0]
    """

    volume: Float
    fitted_on: str
    name: str = "VWAP"

    def schedule(self, order: Order) -> Schedule:
        """Shares in proportion to the volume."""
        return vwap(order.total_shares, _checked(self, self.volume, order))


@dataclass(frozen=True, eq=False)
class Pov(Scheduled):
    """A rate of the volume (n,) expected of a day until the order is done.

    The rate is raised where it would not complete the order.

    Examples
    --------
    >>> order = Order(60.0, np.full(3, np.inf))
    >>> Pov([400.0, 400.0, 400.0], "earlier days").schedule(order).shares.tolist()
    [40.0, 20.0, 0.0]
    """

    volume: Float
    fitted_on: str
    rate: float = 0.1
    name: str = "POV"

    def schedule(self, order: Order) -> Schedule:
        """The rate of the volume."""
        volume = _checked(self, self.volume, order)
        rate = max(self.rate, order.total_shares / float(volume.sum()))
        return pov(order.total_shares, volume, rate)


@dataclass(frozen=True, eq=False)
class StaticOptimal(Scheduled):
    """The exact allocation on curves (n intervals) known before the order, caps honoured.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> known = StaticOptimal(LinearImpact(np.array([1.0, 2.0, 2.0])), "earlier days")
    >>> known.schedule(Order(60.0, np.full(3, np.inf))).shares.round(9).tolist()
    [30.0, 15.0, 15.0]
    """

    curve: ImpactCurve
    fitted_on: str
    name: str = "static optimal"
    objective: str = "cost"

    def schedule(self, order: Order) -> Schedule:
        """The allocation."""
        one_an_interval(len(self.curve), len(order.caps), f"the curve of {self.name}")
        how: dict[str, Any] = {"max_shares": order.caps, "objective": self.objective}
        return Schedule(allocate(self.curve, order.total_shares, **how).shares, self.name)


def run(
    strategy: Strategy, books: Books, total_shares: float, side: str, *,
    max_shares: ArrayLike | None = None, shown: Books | None = None, refill: float = 1.0,
) -> Execution:  # fmt: skip
    """Let a strategy work an order on one day's books.

    Parameters
    ----------
    strategy : Strategy
    books : BookSnapshots or Ladder
        One an interval of one day. `Ladder.by_day` parts days.
    total_shares : float
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional
        Cap of each interval.
    shown : BookSnapshots or Ladder, optional
        Books to decide on, where they are not those that are traded on: earlier ones, by a
        latency, or permuted ones, for the placebo.
    refill : float
        As in `replay`.

    Returns
    -------
    Execution
        Of n child orders.

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
    total, rho = number("total_shares", total_shares, 0), number("refill", refill, 0, 1)
    done = strategy.fill(Order(total, as_caps(max_shares, len(ladder))), ladder, seen, rho)
    return settled(strategy.name, done, ladder, strategy.fitted_on)


def one_an_interval(n: int, expected: int, what: str) -> None:
    """Refuse n values where the order, or the day, has another number of intervals."""
    if n != expected:
        raise ValidationError(f"{what} has {n} intervals for {expected}; give one day at a time")


def _checked(strategy: Strategy, volume: ArrayLike, order: Order) -> Float:
    """A day's volume, (n,)."""
    what = f"the volume of {strategy.name}"
    one_an_interval(np.size(volume), len(order.caps), what)
    return per_interval(what, volume, len(order.caps))


def _shown_until(seen: Ladder, visible: Float, t: int) -> Ladder:
    """Copies of the first t + 1 books, which cannot be written to and hide no later book."""
    shown = replace(seen.take(slice(t + 1)), size=visible[: t + 1])
    rows: dict[str, Any] = {name: shown[name].copy() for name in ROWS}
    for array in rows.values():
        array.setflags(write=False)
    return replace(shown, **rows)

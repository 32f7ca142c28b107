"""Strategies under one interface: shares of each interval, given the books up to it."""

# ruff: noqa: I001  (several names a line)

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, per_interval
from research_lib.errors import ValidationError
from research_lib.evaluation.costs import CarriedImpact, blind_cost
from research_lib.evaluation.executions import ROWS, Books, Execution, Filled, Ladder, as_caps
from research_lib.evaluation.executions import fill_schedule, settled, walk, with_rest
from research_lib.execution import Schedule, allocate, almgren_chriss, twap, vwap
from research_lib.impact import ImpactCurve, LinearImpact


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


class Child(NamedTuple):
    """A child order as `Strategy.child` decides it.

    Attributes
    ----------
    shares : float
    limit : float
        Premium over the mid that was seen up to which they are bought, currency per share.
    forced : float
        Shares of them that are taken whatever they cost.

    Examples
    --------
    >>> Child(100.0, 0.02).forced
    0.0
    """

    shares: float
    limit: float = np.inf
    forced: float = 0.0


class Strategy(ABC):
    """Base class: decides one child order after the other.

    Attributes
    ----------
    name : str
        Name in reports and legends.
    fitted_on : str
        Its information beside the displayed books.

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
            The t + 1 books shown up to now, own trades subtracted; read-only copies without later
            books.
        order : Order
        """

    def child(self, t: int, filled: Float, seen: Ladder, order: Order) -> Child:
        """The child order of interval t, as `fill` sends it.

        A live desk asks for one after the other, and `fill` for those of a whole day.

        Parameters
        ----------
        t : int
        filled : (t,) shares
            Filled in each interval before.
        seen : Ladder
            Books 0 to t; later rows, if there are any, are not read.
        order : Order

        Returns
        -------
        Child
            At most the cap and the shares that are left; in the last interval all that is left, up
            to the cap. A decision that is no finite number is a ValidationError.
        """
        want = remaining = shares_left(order.total_shares, filled)
        if t + 1 < len(order.caps):
            what = f"the shares that {self.name} decides on in interval {t}"
            answer = self.decide(t, remaining, _shown_until(seen, t), order)
            want = min(max(number(what, answer), 0.0), remaining)
        return Child(min(float(want), order.caps[t]))

    def meet(self, child: Child, seen: Ladder, books: Ladder) -> tuple[float, float]:
        """Shares of a child order filled in one book, replenished, and their cost over its mid.

        Parameters
        ----------
        child : Child
        seen, books : Ladder
            Of one book each: that of the decision, and the one that the order meets.
        """
        size = books.size[0]
        return walk(books.premium[0], size, np.zeros(len(size)), 0.0, child.shares)

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """Fill the order step by step in `books`, deciding on those `seen`, see `child`."""
        visible, kept = seen.size.copy(), 1.0 - refill
        filled, cost = np.zeros(len(order.caps)), np.zeros(len(order.caps))
        consumed = np.zeros(books.size.shape[1])
        for t in range(len(order.caps)):
            visible[t] = np.maximum(seen.size[t] - kept * consumed, 0.0)
            want = self.child(t, filled[:t], replace(seen, size=visible), order).shares
            filled[t], cost[t] = walk(books.premium[t], books.size[t], consumed, kept, want)
        return with_rest(filled, cost, shares_left(order.total_shares, filled))


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
        """Shares scheduled up to t and not filled yet."""
        return float(self.schedule(order).shares[: t + 1].sum()) - (order.total_shares - remaining)

    def child(self, t: int, filled: Float, seen: Ladder, order: Order) -> Child:
        """The schedule's shares of interval t and those that the intervals before left over."""
        shares, left = self.schedule(order).shares, 0.0
        for due, done in zip(shares[:t], filled, strict=True):
            left = due + left - done
        return Child(float(min(shares[t] + left, order.caps[t])))

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
class TwapAfter(Scheduled):
    """Equal shares from one of the intervals `starts` on, the cheapest on earlier days.

    Costs are spread, walk and carried impact on the books of earlier days; ties go to the first.
    Without earlier days it is the first of `starts`.

    Examples
    --------
    >>> order = Order(60.0, np.full(4, np.inf))
    >>> TwapAfter([1]).schedule(order).shares.tolist()
    [0.0, 20.0, 20.0, 20.0]
    """

    starts: Sequence[int]
    days: Sequence[Ladder] = ()
    carried: CarriedImpact = field(default_factory=CarriedImpact)
    fitted_on: str = "nothing"
    name: str = "TWAP after the open"

    def schedule(self, order: Order) -> Schedule:
        """Equal shares from the cheapest start."""
        n = len(order.caps)
        late = (np.arange(n) >= min(start, n - 1) for start in self.starts)
        plans = [Schedule(order.total_shares * on / on.sum(), self.name) for on in late]
        return cheapest(plans, order, self.days, self.carried)


@dataclass(frozen=True, eq=False)
class AlmgrenChriss(Scheduled):
    """Almgren and Chriss's schedule, with inputs measured before the order.

    Attributes
    ----------
    volatility : float
        Of the mid over one interval, currency per share.
    temporary : float
        Slope of impact, currency per share**2: a child order of x shares costs temporary x^2.
    risk_aversion : float
        1 / currency.

    Examples
    --------
    >>> order = Order(60.0, np.full(3, np.inf))
    >>> known = {"volatility": 1.0, "temporary": 1.0, "risk_aversion": 1.0}
    >>> AlmgrenChriss(**known, fitted_on="earlier days").schedule(order).shares.round(1).tolist()
    [37.5, 15.0, 7.5]
    """

    volatility: float
    temporary: float
    risk_aversion: float
    fitted_on: str
    name: str = "Almgren-Chriss"

    def schedule(self, order: Order) -> Schedule:
        """The trajectory of least objective; TWAP where impact is 0."""
        total, n = order.total_shares, len(order.caps)
        if self.temporary <= 0:
            return replace(twap(total, n), name=self.name)
        known = {"volatility": self.volatility, "temporary": self.temporary}
        plan = almgren_chriss(total, n, risk_aversion=self.risk_aversion, **known)
        return Schedule(plan.shares, self.name)


@dataclass(frozen=True, eq=False)
class BestBenchmark(Scheduled):
    """The cheapest schedule on earlier days, of those that a desk could fix before the session.

    Costs are as for `TwapAfter`; ties go to the first.

    Examples
    --------
    >>> order = Order(60.0, np.full(3, np.inf))
    >>> BestBenchmark([Twap(), TwapAfter([1])], []).schedule(order).shares.tolist()
    [20.0, 20.0, 20.0]
    """

    candidates: Sequence[Scheduled]
    days: Sequence[Ladder]
    carried: CarriedImpact = field(default_factory=CarriedImpact)
    fitted_on: str = "nothing"
    name: str = "best benchmark"

    def schedule(self, order: Order) -> Schedule:
        """The cheapest candidate's."""
        plans = [one.schedule(order) for one in self.candidates]
        return replace(cheapest(plans, order, self.days, self.carried), name=self.name)


def cheapest(
    plans: Sequence[Schedule], order: Order, days: Sequence[Ladder], carried: CarriedImpact
) -> Schedule:
    """The plan with the least mean cost on some days' books; ties go to the first.

    Selection is left out: for a schedule that does not use the book it is noise about 0.
    """
    if not plans:
        raise ValidationError("give one schedule or more to choose from, got none")
    for day in days:
        one_an_interval(len(day), len(order.caps), "an earlier day")
    if len(plans) == 1 or not days:
        return plans[0]
    means = np.zeros(len(plans))
    for k, plan in enumerate(plans):
        filled = (fill_schedule(plan.shares, order.caps, day, 1.0) for day in days)
        done = (settled("", one, day) for one, day in zip(filled, days, strict=True))
        means[k] = np.mean([blind_cost(one, carried) for one in done])
    return plans[int(np.argmax(means <= means.min() + 1e-9 * abs(means.min())))]


@dataclass(frozen=True, eq=False)
class Vwap(Scheduled):
    """Shares in proportion to the volume (n,) of a day, known before.

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
        n, what = len(order.caps), f"the volume of {self.name}"
        one_an_interval(np.size(self.volume), n, what)
        return vwap(order.total_shares, per_interval(what, self.volume, n))


@dataclass(frozen=True, eq=False)
class StaticOptimal(Scheduled):
    r"""The exact allocation under caps on curves (n intervals) known before the order.

    With a kernel G or a risk aversion it minimises the objective

    .. math:: \sum_t h_t x_t + \max(\beta_t, G(0) / 2) x_t^2 + \sum_{s < t} x_s x_t G(t - s)
              + \lambda \sigma^2 \sum_t X_t^2

    with X_t the shares left; h and beta are those of `line` unless the curve is linear.

    Attributes
    ----------
    curve : ImpactCurve
    fitted_on : str
    objective : "cost" or "impact"
        Of the curve; "impact" is the literal sum of g_t, without kernel and risk.
    carried : CarriedImpact
        Its kernel is G.
    seconds : (n,)
        When the child orders are sent, for the kernel.
    line : LinearImpact, optional
        Linear fit; by default the line through the curve at the even child order.
    risk_aversion, volatility : float
        lambda, 1 / currency; sigma over one interval, currency per share.

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
    carried: CarriedImpact = field(default_factory=CarriedImpact)
    seconds: ArrayLike | None = None
    line: LinearImpact | None = None
    risk_aversion: float = 0.0
    volatility: float = 0.0

    def schedule(self, order: Order) -> Schedule:
        """The allocation."""
        n, total, curve = len(order.caps), order.total_shares, self.curve
        one_an_interval(len(curve), n, f"the curve of {self.name}")
        # Caps that do not admit the order are raised here; the replay then applies the given ones.
        how: dict[str, Any] = {"max_shares": order.caps, "on_infeasible": "relax"}
        how["objective"] = self.objective
        whole = self.objective == "cost" and total > 0
        kernel, half = self.carried.kernel if whole else None, 0.0
        if kernel and self.seconds is None:
            raise ValidationError("seconds must be given with a kernel: its lags are seconds")
        if kernel:
            half = 0.5 * float(kernel(0.0))
            how |= {"kernel": kernel, "times": self.seconds}
        if kernel or (whole and self.risk_aversion > 0):
            how |= {"risk_aversion": self.risk_aversion, "covariance": self.volatility**2}
            line = curve if isinstance(curve, LinearImpact) else self.line or curve
            slope = line.impact(total / n) / (total / n)
            curve = LinearImpact(np.maximum(slope - half, 0.0), line.half_spread)
        return Schedule(allocate(curve, total, **how).shares, self.name)


def run(
    strategy: Strategy, books: Books, total_shares: float, side: str, *,
    max_shares: ArrayLike | None = None, shown: Books | None = None, refill: float = 1.0,
) -> Execution:  # fmt: skip
    """Let a strategy work an order on one day's books.

    Parameters
    ----------
    strategy : Strategy
    books : BookSnapshots or Ladder
        One an interval of one day; `Ladder.by_day` splits days.
    total_shares : float
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional
        Cap of each interval.
    shown : BookSnapshots or Ladder, optional
        Books of the decisions, if other than the traded ones: earlier by a latency, or permuted for
        the placebo.
    refill : float
        As in `replay`.

    Returns
    -------
    Execution
        The execution of n child orders.

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
    return settled(strategy.name, done, ladder, strategy.fitted_on, seen)


def shares_left(total: float, filled: Float) -> float:
    """Shares that are left of an order after those filled, one interval after the other."""
    return float(np.subtract.reduce(np.append(total, filled)))


def one_an_interval(n: int, expected: int, what: str) -> None:
    """Refuse n values if the order, or the day, has another number of intervals."""
    if n != expected:
        raise ValidationError(f"{what} has {n} intervals for {expected}; give one day at a time")


def _shown_until(seen: Ladder, t: int) -> Ladder:
    """Read-only copies of the first t + 1 books, without later ones behind."""
    shown = seen.take(slice(t + 1))
    rows: dict[str, Any] = {name: shown[name].copy() for name in ROWS}
    for array in rows.values():
        array.setflags(write=False)
    return replace(shown, **rows)

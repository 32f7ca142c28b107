"""Strategies under one interface: at each interval, how many shares, knowing the books up to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation import filling
from research_lib.evaluation.forecast import Forecast, decaying, observed
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.orders import (
    Filled,
    Order,
    Venue,
    decided,
    one_an_interval,
    shown_until,
    with_rest,
)
from research_lib.evaluation.replay import Execution, as_caps, refill_rule, settled
from research_lib.execution import Schedule, pov, twap, vwap
from research_lib.impact import ImpactCurve
from research_lib.market import BookSnapshots

Float = NDArray[np.float64]


class Strategy(ABC):
    """Decides one child order after the other.

    Attributes
    ----------
    name : str
        As reports and legends show it.
    fitted_on : str
        What it knows beside the books on display.
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
            The t + 1 books shown up to now, own trades taken off: read-only copies, with no later one behind.
        order : Order
        """

    def fill(self, order: Order, venue: Venue) -> Filled:
        """Fill the order step by step.

        What is decided is kept between 0, what remains and the cap, and in the last interval all that
        is left is sent. A decision that is no finite number is a ValidationError.
        """
        books, seen, n_levels = venue.books, venue.seen, venue.books.size.shape[1]
        price, seen_price, visible = books.price, seen.price, seen.size.copy()
        shown, hole, eaten, remaining = (
            np.empty(n_levels),
            np.empty(n_levels),
            np.zeros(n_levels),
            order.total_shares,
        )
        filled, cost = np.zeros(len(order.caps)), np.zeros(len(order.caps))
        for t in range(order.start, order.stop):
            before, k = max(t - 1, 0), t - order.start
            left = (price[before], books.size[before], eaten)
            filling.show(
                *left, seen_price[t], seen.size[t], venue.refill, venue.by_level, visible[t], hole
            )
            want = remaining
            if t + 1 < order.stop:
                want = decided(
                    self.decide(t, remaining, shown_until(seen, visible, t), order), self.name, t
                )
            filling.show(*left, price[t], books.size[t], venue.refill, venue.by_level, shown, hole)
            eaten[:] = hole
            want = min(max(want, 0.0), remaining, order.caps[k])
            filled[k], cost[k] = filling.walk(books.premium[t], shown, want, eaten)
            remaining -= filled[k]
        return Filled(with_rest(filled, remaining), filled, cost, remaining)


class Scheduled(Strategy):
    """A strategy that is fixed before the first interval."""

    @abstractmethod
    def schedule(self, order: Order) -> Schedule:
        """Shares of each interval of the order, (stop - start,)."""

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is scheduled up to t and not filled yet."""
        due = float(self.schedule(order).shares[: t - order.start + 1].sum())
        return due - (order.total_shares - remaining)

    def fill(self, order: Order, venue: Venue) -> Filled:
        """The steps of `Strategy.fill`, compiled; ValidationError for a schedule of another length."""
        books, shares = venue.books.take(order.rows), self.schedule(order).shares
        one_an_interval(len(shares), len(books), f"the schedule of {self.name}")
        filled, cost = np.zeros(len(shares)), np.zeros(len(shares))
        price = (
            books.price if venue.refill < 1.0 else books.premium
        )  # where books refill, prices need not be told apart
        left = filling.fill_schedule(
            shares,
            order.caps,
            price,
            books.premium,
            books.size,
            venue.refill,
            venue.by_level,
            filled,
            cost,
        )
        return Filled(shares, filled, cost, left)


@dataclass(frozen=True, eq=False)
class Twap(Scheduled):
    """Equal shares in every interval."""

    name: str = "TWAP"
    fitted_on: str = "nothing"

    def schedule(self, order: Order) -> Schedule:
        """Equal shares."""
        return twap(order.total_shares, order.stop - order.start)


@dataclass(frozen=True, eq=False)
class Vwap(Scheduled):
    """Shares in proportion to the volume (n,) of a day, as known before."""

    volume: Float
    fitted_on: str
    name: str = "VWAP"

    def schedule(self, order: Order) -> Schedule:
        """Shares in proportion to the order's part of the volume."""
        one_an_interval(len(self.volume), order.n_intervals, f"the volume of {self.name}")
        return vwap(order.total_shares, self.volume[order.rows])


@dataclass(frozen=True, eq=False)
class Pov(Scheduled):
    """A rate of the volume (n,) expected of a day until the order is done; a higher one if that would not complete."""

    volume: Float
    fitted_on: str
    rate: float = 0.1
    name: str = "POV"

    def schedule(self, order: Order) -> Schedule:
        """The rate of the order's part of the volume."""
        one_an_interval(len(self.volume), order.n_intervals, f"the volume of {self.name}")
        volume = self.volume[order.rows]
        return pov(
            order.total_shares, volume, max(self.rate, order.total_shares / float(volume.sum()))
        )


@dataclass(frozen=True, eq=False)
class StaticOptimal(Scheduled):
    """The exact allocation on curves (n intervals) known before the order, caps honoured, by the objective chosen."""

    curve: ImpactCurve
    fitted_on: str
    name: str = "static optimal"
    objective: str = "cost"

    def schedule(self, order: Order) -> Schedule:
        """The allocation of the order's intervals."""
        from research_lib.execution import allocate

        one_an_interval(len(self.curve), order.n_intervals, f"the curve of {self.name}")
        curve = self.curve.take(np.arange(order.start, order.stop))
        return Schedule(
            allocate(
                curve, order.total_shares, max_shares=order.caps, objective=self.objective
            ).shares,
            self.name,
        )


@dataclass(frozen=True, eq=False)
class Adaptive(Strategy):
    r"""Take from the book on display what is cheaper than the multiplier of all supply, seen and to come.

    The books seen so far are each made comparable by the day's shape, prices divided by
    spread_k and shares by depth_k, and averaged with weights w by their age into one supply curve,

    .. math::
        \bar Q_t(u) = \sum_k w_{t-k} \sum_l \frac{v_{kl}}{depth_k} 1\{c_{kl} \le u \, spread_k\}
        \Big/ \sum_k w_{t-k},

    with c the premium over the mid and v the shares. The multiplier solves

    .. math::
        Q^{now}_t(\nu) + \sum_{s > t} \min\Big(u_s, depth_s \bar Q_t\Big(\frac{\nu - r_{s-t}}{spread_s}\Big)\Big)
        = R_t

    for the remaining R_t, caps u_s and the risk of waiting j of m intervals,
    r_j = 2 lambda sigma^2 R_t (j - j^2 / 2m): the marginal of lambda times the variance of a
    holding that is run down in a line (Almgren and Chriss, 2000). Premiums stand in bins half
    a per cent wide. So as to complete, never more is left to m intervals than 1 - caution / sqrt(m)
    of all the depth expected of them. A book without two sides is sent nothing, unless it is the last.

    Attributes
    ----------
    forecast : Forecast
        The day's shape.
    weights : (K,)
        By age of a book: see `rolling` and `decaying`.
    risk_aversion : float
        lambda, 1 / currency; 0 minimises the expected cost alone.
    volatility : float
        sigma, the mid's standard deviation over one interval, currency per share, as known before.
    caution : float
        Deviations of depth, relative to its mean, that the plan must survive; 1 keeps the last
        interval in reserve.
    """

    forecast: Forecast
    fitted_on: str
    name: str = "adaptive"
    weights: Float = field(default_factory=lambda: decaying(60.0))
    risk_aversion: float = 0.0
    volatility: float = 0.0
    caution: float = 1.0

    def __post_init__(self) -> None:
        number("risk_aversion", self.risk_aversion, 0)
        number("volatility", self.volatility, 0)
        number("caution", self.caution, 0)
        if self.risk_aversion > 0 and self.volatility == 0:
            raise ValidationError(
                "risk_aversion without volatility changes nothing; give the mid's, see mid_volatility"
            )

    @property
    def risk(self) -> float:
        """2 lambda sigma^2, currency per share, share and interval."""
        return 2.0 * self.risk_aversion * self.volatility**2

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is cheaper than the multiplier."""
        spread, depth = self.forecast.shape(*observed(seen), order.n_intervals)
        log_spread, supply = np.log(spread), np.empty(filling.N_BINS)
        log_lowest = float(
            np.log(filling.CHEAPEST * filling.reference_premium(seen.premium, seen.size, t))
        )
        filling.seen_supply(
            t, filling.logarithms(seen.premium), seen.size, np.isfinite(seen.mid), log_spread, depth, self.weights,
            log_lowest, supply,
        )  # fmt: skip
        return filling.decide(
            t, order.stop, remaining, bool(np.isfinite(seen.mid[t])), seen.premium[t], seen.size[t], supply, log_spread,
            depth, self.risk, log_lowest, order.day_caps, self.caution,
        )  # fmt: skip

    def fill(self, order: Order, venue: Venue) -> Filled:
        """The steps of `Strategy.fill`, compiled where books refill; else what is seen hangs on every fill before."""
        if venue.refill < 1.0:
            return super().fill(order, venue)
        books, seen = venue.books, venue.seen
        log_spread, depth = self.forecast.paths(seen)
        filled, cost = np.zeros(len(order.caps)), np.zeros(len(order.caps))
        left = filling.fill_adaptive(
            order.start, order.stop, order.total_shares, order.day_caps, books.premium, books.size, seen.premium,
            seen.size, np.isfinite(seen.mid), log_spread, depth, self.weights, self.risk, self.caution, filled, cost,
        )  # fmt: skip
        return Filled(with_rest(filled, left), filled, cost, left)


def run(
    strategy: Strategy,
    books: BookSnapshots | Ladder,
    total_shares: float,
    side: str,
    *,
    start: int = 0,
    stop: int | None = None,
    max_shares: ArrayLike | None = None,
    refill: float = 1.0,
    anchor: str = "price",
    shown: BookSnapshots | Ladder | None = None,
) -> Execution:
    """Let a strategy work an order on one day's books.

    Parameters
    ----------
    strategy : Strategy
    books : BookSnapshots or Ladder
        One an interval, all of one day: what came before `start` may be looked at. Days are not
        told apart; `Ladder.by_day` parts them.
    total_shares : float
    side : "buy" or "sell"
    start, stop : int
        The order's intervals are start .. stop - 1; all by default.
    max_shares : scalar or (stop - start,) shares, optional
        Cap of each interval.
    refill, anchor
        As in `replay`.
    shown : BookSnapshots or Ladder, optional
        Books to decide on, where they are not those that are traded on: earlier ones, by a
        latency, or permuted ones, for the null.

    Returns
    -------
    Execution
        Of stop - start children.
    """
    ladder = Ladder.of(books, side)
    seen = ladder if shown is None else Ladder.of(shown, side)
    if len(seen) != len(ladder):
        raise ValidationError(
            f"{len(seen)} books are shown and {len(ladder)} traded on; there must be as many"
        )
    end = number("stop", len(ladder) if stop is None else stop, 1, len(ladder), integer=True)
    first = number("start", start, 0, end - 1, integer=True)
    total = number("total_shares", total_shares, 0)
    order = Order(total, first, end, len(ladder), as_caps(max_shares, end - first))
    done = strategy.fill(order, Venue(ladder, seen, *refill_rule(refill, anchor)))
    return settled(
        strategy.name,
        done.shares,
        done.filled,
        done.left,
        done.cost,
        ladder.take(order.rows),
        strategy.fitted_on,
    )

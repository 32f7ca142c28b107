"""What a schedule would have cost on recorded books."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.filling import fill_schedule
from research_lib.evaluation.ladder import Ladder, sample_states
from research_lib.execution import Schedule
from research_lib.market import BookSnapshots, Session
from research_lib.market.book import side_sign
from research_lib.monitoring import timed

Float = NDArray[np.float64]
WHOLE = 1e-6


@dataclass(frozen=True, eq=False)
class Execution(Record):
    """An order as the books filled it, child by child. Costs are positive where bad.

    Attributes
    ----------
    name : str
        The strategy's.
    shares : (n,) shares
        Scheduled for each interval; what an adaptive strategy filled, and in the last
        interval what it had left.
    filled : (n,) shares
        Filled in each interval, carried orders included.
    unfilled : float
        Shares left after the last interval; sum(shares) = sum(filled) + unfilled.
    cost_by_interval : (n,) currency
        filled * (average price - mid), signed by side.
    side : str
    time : (n,) int64 ns UTC
    mid, half_spread : (n,) currency per share
        Of the book as recorded, without own trades; NaN and 0 where it has not two sides.
    fitted_on : str
        What the strategy knew beside the books on display: days, another stock, a preset.
    symbol : str
        Of the books.
    """

    name: str
    shares: Float
    filled: Float
    unfilled: float
    cost_by_interval: Float
    side: str
    time: NDArray[np.int64]
    mid: Float
    half_spread: Float
    fitted_on: str = ""
    symbol: str = ""

    def keys(self) -> list[str]:
        """Names that ``execution[name]`` answers."""
        totals = (
            "total_shares",
            "arrival_price",
            "cost",
            "cost_per_share",
            "cost_bps",
            "spread_cost",
            "touch_cost",
        )
        return [*super().keys(), *totals, "arrival_cost", "opportunity_cost"]

    @property
    def total_shares(self) -> float:
        """The parent order, shares."""
        return float(self.filled.sum() + self.unfilled)

    @property
    def arrival_price(self) -> float:
        """First mid of the order's intervals, currency per share."""
        return float(self.mid[np.isfinite(self.mid)][0])

    @property
    def completed(self) -> bool:
        """Whether nothing but rounding, 1e-6 of the order, is left: only then does its cost compare with others'."""
        return self.unfilled <= WHOLE * max(self.total_shares, 1.0)

    @property
    def cost(self) -> float:
        """Total over each interval's mid, currency."""
        return float(self.cost_by_interval.sum())

    @property
    def cost_per_share(self) -> float:
        """Cost of a filled share, currency; 0 where none is filled."""
        filled = float(self.filled.sum())
        return self.cost / filled if filled > 0 else 0.0

    @property
    def cost_bps(self) -> float:
        """Cost of a filled share in bps of the arrival price."""
        return 1e4 * self.cost_per_share / self.arrival_price

    @property
    def spread_cost(self) -> float:
        """Half-spreads paid, currency: cost = spread_cost + touch_cost."""
        return float(self.filled @ self.half_spread)

    @property
    def touch_cost(self) -> float:
        """Total over each interval's recorded touch, currency."""
        return self.cost - self.spread_cost

    @property
    def arrival_cost(self) -> float:
        """Filled shares over the arrival price, currency: the cost, and how far the mid has moved meanwhile."""
        moved = np.where(np.isfinite(self.mid), self.mid - self.arrival_price, 0.0)
        return self.cost + side_sign(self.side) * float(self.filled @ moved)

    @property
    def opportunity_cost(self) -> float:
        """Unfilled shares at the last mid over the arrival price, currency."""
        moved = float(self.mid[np.isfinite(self.mid)][-1]) - self.arrival_price
        return side_sign(self.side) * moved * self.unfilled if self.unfilled > 0 else 0.0

    @property
    def fills(self) -> pd.DataFrame:
        """One row a filled child: time (UTC), shares, price; as `implementation_shortfall` takes them."""
        done = self.filled > 0
        price = (
            self.mid[done] + side_sign(self.side) * self.cost_by_interval[done] / self.filled[done]
        )
        time = pd.DatetimeIndex(self.time[done].astype("datetime64[ns]"), tz="UTC")
        return pd.DataFrame({"time": time, "shares": self.filled[done], "price": price})

    @property
    def volatility(self) -> float:
        """Root mean squared change of the mid over an interval of this order, currency per share."""
        steps = np.diff(self.mid[np.isfinite(self.mid)])
        return float(np.sqrt(np.mean(steps**2))) if steps.size else 0.0

    def timing_risk(self, volatility: float | None = None) -> float:
        r"""Standard deviation of the cost over arrival from the mid alone, currency.

        .. math:: \sigma \sqrt{\sum_t X_t^2}

        with X_t the shares still to fill after interval t and sigma the mid's standard
        deviation over one interval, currency per share; by default that of the order's own
        intervals, known only afterwards. Almgren and Chriss (2000), equation (5).
        """
        left = self.total_shares - np.cumsum(self.filled)
        sigma = self.volatility if volatility is None else number("volatility", volatility, 0)
        return sigma * float(np.sqrt(np.sum(left[:-1] ** 2)))


@timed("replay")
def replay(
    schedule: Schedule,
    books: BookSnapshots | Ladder,
    side: str,
    *,
    max_shares: ArrayLike | None = None,
    session: Session | None = None,
    latency_seconds: float = 0.0,
    slices: int = 1,
    refill: float = 1.0,
    anchor: str = "price",
) -> Execution:
    r"""Walk each child order through the recorded book of its interval.

    What a book, or the cap, does not fill is carried on to the next interval and added to
    its child order; what is left after the last one is `unfilled`. Own trades leave a hole
    H_t(p) at each price p that they take from, which closes at rate rho:

    .. math:: H_{t+1}(p) = (1 - \rho) \, (H_t(p) + \mathrm{taken}_t(p)), \qquad S_t(p) = (V_t(p) - H_t(p))^+

    where book t + 1 shows the price p, else 0; V is what was recorded, S what can be taken.
    It is the rule of `market.after_own_trades`. With rho = 1 each book is as recorded.

    Parameters
    ----------
    schedule : Schedule
        n child orders, shares.
    books : BookSnapshots or Ladder
        n snapshots, one an interval, as `BookSnapshots.sample` gives for one day; with a
        `session`, all states of that day. A snapshot without two sides fills nothing. Without
        a session days are not told apart: n books of several days would be one order.
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional
        Cap of what is taken in each interval, carried shares included.
    session : Session, optional
        Samples `books`, then states; needed for latency and slices.
    latency_seconds : float
        From the decision to the book that is walked.
    slices : int
        Equal children of each interval, each on the book of its own time: the execution
        has n * slices children.
    refill : float
        rho in [0, 1]: 1 refills whatever was taken by the next child, 0 never while the price is shown.
    anchor : "price" or "level"
        What a hole stays with: its price, or its rank in the book wherever that moves (the worst case).

    Raises
    ------
    ValidationError
        If there is not one book an interval, or none has two sides; latency or slices without a
        session, or on books already sampled to one an interval; states of more than one day.
    """
    if not isinstance(schedule, Schedule):
        raise ValidationError(
            f"schedule must be a Schedule, got {type(schedule).__name__}; use Schedule(shares, name)"
        )
    shares, caps = schedule.shares, as_caps(max_shares, len(schedule.shares))
    if session is not None and isinstance(books, BookSnapshots):
        _refuse_other_states(books, session, latency_seconds != 0 or slices != 1)
        books = sample_states(books, session, latency_seconds=latency_seconds, slices=slices)
        shares, caps = np.repeat(shares / slices, slices), np.repeat(caps / slices, slices)
    elif latency_seconds != 0 or slices != 1:
        raise ValidationError(
            f"latency_seconds={latency_seconds:g} and slices={slices} need all states of the day and their session"
        )
    ladder = Ladder.of(books, side)
    if len(ladder) != len(shares):
        raise ValidationError(
            f"{len(ladder):,} books for {len(shares):,} intervals; sample the books of one day to one an interval"
        )
    filled, cost = np.zeros(len(shares)), np.zeros(len(shares))
    rho, by_level = refill_rule(refill, anchor)
    price = (
        ladder.price if rho < 1.0 else ladder.premium
    )  # where books refill, prices need not be told apart
    left = fill_schedule(
        shares, caps, price, ladder.premium, ladder.size, rho, by_level, filled, cost
    )
    return settled(schedule.name, shares, filled, left, cost, ladder)


def settled(
    name: str,
    shares: Float,
    filled: Float,
    unfilled: float,
    cost: Float,
    ladder: Ladder,
    fitted_on: str = "",
) -> Execution:
    """The execution of what was filled on the books of `ladder`, one a child."""
    of_books = (ladder.side, ladder.time, ladder.mid, ladder.half_spread)
    return Execution(
        name, shares, filled, float(unfilled), cost, *of_books, fitted_on, ladder.symbol
    )


def refill_rule(refill: float, anchor: str) -> tuple[float, bool]:
    """Checked refill rate, and whether holes stay with the level."""
    refuse_unknown([anchor], ("price", "level"), "anchor")
    return number("refill", refill, 0, 1), anchor == "level"


def _refuse_other_states(states: BookSnapshots, session: Session, finer: bool) -> None:
    """Refuse states of several days, and where something finer than intervals is asked for, one an interval."""
    days = states.days(session)
    if len(days) > 1:
        raise ValidationError(
            f"states of {len(days)} days, {days[0]} to {days[-1]}, for an order of one; replay them day by day"
        )
    if finer and np.array_equal(session.interval_of(states.time), np.arange(session.n_intervals)):
        raise ValidationError(
            "latency and slices need the states within each interval, got one an interval; give the books as read"
        )


def as_caps(max_shares: ArrayLike | None, n: int) -> Float:
    """Caps (n,) shares; infinite where there is none.

    Raises
    ------
    ValidationError
        Caps that are NaN, negative or not one an interval.
    """
    if max_shares is None:
        return np.full(n, np.inf)
    caps = np.asarray(max_shares, float)
    if caps.shape not in ((), (n,)) or not np.all(caps >= 0):
        raise ValidationError(
            f"max_shares must be one number or ({n},), each at least 0, got {max_shares!r}"
        )
    return np.array(np.broadcast_to(caps, n))

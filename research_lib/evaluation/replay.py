"""What an order would have cost on recorded books, and what perfect foresight would have paid."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, per_interval, refuse_unknown
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.ladder import Ladder, sample_states
from research_lib.execution import Allocation, Schedule
from research_lib.market import BookSnapshots, Session
from research_lib.market.book import side_sign
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
BOUND = "clairvoyant"
# Relative to the order, to a cost and to a price: what sums over a day of walks round.
UNFILLED, ROUNDING, SAME_PRICE = 1e-6, 1e-9, 1e-12
STALE_SECONDS = 300.0  # quotes of liquid books change within seconds; five minutes is a halt
# Shares scheduled, shares filled and cost over the mid, (n,) each; shares left.
Filled = tuple[Float, Float, Float, float]


@dataclass(frozen=True, eq=False)
class Execution(Record):
    """An order as the books filled it, one child order an interval. Costs are positive where bad.

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
    age : (n,) int64 ns
        How long the book that filled had stood: beyond minutes it is a halt's, see `n_stale`.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> done = replay([30, 15], books, "buy")  # half-spreads of 1 and 2, 20 shares each
    >>> done.cost, done.unfilled, done.completed, done["cost_per_share"]
    (60.0, 5.0, False, 1.5)
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
    age: NDArray[np.int64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.age is None:
            object.__setattr__(self, "age", np.zeros(len(self.time), np.int64))

    def keys(self) -> list[str]:
        """Names that ``execution[name]`` answers."""
        totals = "total_shares arrival_price completed cost cost_per_share cost_bps spread_cost"
        more = "touch_cost arrival_cost opportunity_cost oldest_fill_seconds"
        return [*super().keys(), *totals.split(), *more.split()]

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
        """Whether no more than rounding, 1e-6 of the order, is left: else no cost compares."""
        return self.unfilled <= UNFILLED * self.total_shares

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
        """Filled shares over the arrival price, currency: the cost and the move of the mid."""
        moved = np.where(np.isfinite(self.mid), self.mid - self.arrival_price, 0.0)
        return self.cost + side_sign(self.side) * float(self.filled @ moved)

    @property
    def opportunity_cost(self) -> float:
        """Unfilled shares at the last mid over the arrival price, currency."""
        moved = float(self.mid[np.isfinite(self.mid)][-1]) - self.arrival_price
        return side_sign(self.side) * moved * self.unfilled if self.unfilled > 0 else 0.0

    @property
    def volatility(self) -> float:
        """Root mean squared change of the mid over an interval of the order, currency per share."""
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

    @property
    def oldest_fill_seconds(self) -> float:
        """Age of the oldest book that filled anything, seconds; 0 where nothing is filled."""
        return 1e-9 * float(np.max(self.age[self.filled > 0], initial=0))

    def n_stale(self, limit_seconds: float = STALE_SECONDS) -> int:
        """Child orders filled on a book older than a limit, seconds."""
        return int(np.sum((self.filled > 0) & (self.age > 1e9 * limit_seconds)))

    def to_frame(self) -> pd.DataFrame:
        """One row an interval: time (UTC), shares, filled, price, cost, mid, age_seconds."""
        paid = pd.Series(self.cost_by_interval).where(self.filled > 0) / self.filled
        columns = {
            "time": pd.DatetimeIndex(self.time.astype("datetime64[ns]"), tz="UTC"),
            "shares": self.shares,
            "filled": self.filled,
            "price": self.mid + side_sign(self.side) * paid,
            "cost": self.cost_by_interval,
            "mid": self.mid,
            "age_seconds": 1e-9 * self.age,
        }
        return pd.DataFrame(columns).rename_axis("interval")

    @property
    def fills(self) -> pd.DataFrame:
        """Rows of `to_frame` with a fill: time, shares, price, for `implementation_shortfall`."""
        frame = self.to_frame()[self.filled > 0].reset_index(drop=True)
        return frame.assign(shares=frame["filled"])[["time", "shares", "price"]]

    def _repr_html_(self) -> str:
        shown = {name: self[name] for name in self.keys() if np.ndim(self[name]) == 0}
        table = pd.Series(shown, dtype=object).to_frame(self.name)
        return str(table.to_html(float_format="{:,.6g}".format))


def report_ages(executions: Iterable[Execution]) -> None:
    """Log how many child orders were filled on books older than five minutes, if any were."""
    done = list(executions)
    stale = sum(one.n_stale() for one in done)
    if stale:
        filled = sum(int(np.sum(one.filled > 0)) for one in done)
        logger.warning(
            f"{stale} of {filled} child orders are filled on books older than {STALE_SECONDS:g} s, "
            f"the oldest {max(one.oldest_fill_seconds for one in done) / 60:.0f} min: a halt, or a "
            "recording that stopped; see Execution.age and max_age of BookSnapshots.sample"
        )


class Refill(NamedTuple):
    """How depleted liquidity comes back: rho, and whether depletion stays with the level."""

    rate: float
    by_level: bool


def refill_rule(**how: Any) -> Refill:
    """Checked `refill` and `anchor` of `replay`, and no other argument."""
    refuse_unknown(how, ("refill", "anchor"), "argument")
    refuse_unknown([how.get("anchor", "price")], ("price", "level"), "anchor")
    return Refill(number("refill", how.get("refill", 1.0), 0, 1), how.get("anchor") == "level")


@timed("replay")
def replay(
    schedule: Schedule | Allocation | ArrayLike,
    books: BookSnapshots | Ladder,
    side: str,
    *,
    max_shares: ArrayLike | None = None,
    session: Session | None = None,
    latency_seconds: float = 0.0,
    slices: int = 1,
    **refilling: Any,
) -> Execution:
    r"""Walk each child order through the recorded book of its interval.

    What a book, or the cap, does not fill is carried on to the next interval and added to
    its child order; what is left after the last one is `unfilled`. Own trades deplete each
    price p that they take from by H_t(p), which is replenished at rate rho:

    .. math:: H_{t+1}(p) = (1 - \rho) \, (H_t(p) + \mathrm{taken}_t(p)), \qquad
        S_t(p) = (V_t(p) - H_t(p))^+

    where book t + 1 shows the price p, else 0; V is what was recorded, S what can be taken.
    It is the rule of `market.after_own_trades`. With rho = 1 each book is as recorded.

    Parameters
    ----------
    schedule : Schedule, Allocation or (n,) shares
        n child orders, finite and at least 0; a Series is labelled by its intervals 0 to n - 1.
    books : BookSnapshots or Ladder
        n snapshots, one an interval, as `BookSnapshots.sample` gives for one day; with a
        `session`, all states of that day. A snapshot without two sides fills nothing. Without
        a session n books of several days would be one order.
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional
        Cap of what is taken in each interval, carried shares included.
    session : Session, optional
        Samples `books`, then states; needed for latency and slices.
    latency_seconds : float
        From the decision to the book that is walked.
    slices : int
        Equal child orders of each interval, each on the book of its own time: the execution
        has n * slices of them.
    **refilling
        `refill`, rho in [0, 1], 1 by default: 1 replenishes all by the next child order, 0 never
        while the price is shown. `anchor`, what depletion stays with: its "price" (default), or
        its "level", the rank in the book wherever that moves (the worst case).

    Raises
    ------
    ValidationError
        If there is not one book an interval, or none has two sides; latency or slices without a
        session, or on books already sampled to one an interval; states of more than one day.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time = [10**18, 2 * 10**18]
    >>> bid, ask = [[99.0, 98.0]] * 2, [[101.0, 103.0]] * 2
    >>> books = BookSnapshots(time, bid, [[50.0, 50.0]] * 2, ask, [[20.0, 20.0]] * 2)
    >>> done = replay([10.0, 30.0], books, "buy")  # 10 at 101; 20 at 101 and 10 at 103
    >>> done.cost_by_interval.tolist(), done.cost_bps, done.unfilled
    ([10.0, 50.0], 150.0, 0.0)
    """
    given: Any = schedule
    name = "schedule"
    if isinstance(schedule, Schedule | Allocation):
        given, name = schedule.shares, getattr(schedule, "name", "allocation")
    shares = per_interval("scheduled shares", given, np.size(given))
    caps = as_caps(max_shares, len(shares))
    if session is not None and isinstance(books, BookSnapshots):
        _refuse_other_states(books, session, latency_seconds != 0 or slices != 1)
        books = sample_states(books, session, latency_seconds=latency_seconds, slices=slices)
        shares, caps = np.repeat(shares / slices, slices), np.repeat(caps / slices, slices)
    elif latency_seconds != 0 or slices != 1:
        raise ValidationError(
            f"latency_seconds={latency_seconds:g} and slices={slices} need all states of the day "
            "and their session"
        )
    ladder = Ladder.of(books, side)
    if len(ladder) != len(shares):
        raise ValidationError(
            f"{len(ladder):,} books for {len(shares):,} intervals; sample the books of one day to "
            "one an interval"
        )
    done = settled(name, fill_schedule(shares, caps, ladder, refill_rule(**refilling)), ladder)
    report_ages([done])
    return done


def fill_schedule(shares: Float, caps: Float, ladder: Ladder, rule: Refill) -> Filled:
    """Walk each child order, and what the one before it left, through its book."""
    books = (ladder.price, ladder.premium, ladder.size)
    return shares, *_fill_schedule(shares, caps, *books, rule)


@compiled
def depletion(
    price_before: Float, consumed: Float, price: Float, size: Float, rule: Refill
) -> Float:
    """What is missing at each level, (L,), given what was consumed of the book before, (L,)."""
    missing, n_levels = np.zeros(len(size)), len(size)
    if rule.rate == 1.0:
        return missing
    for level in range(n_levels):
        for before in range(n_levels):
            near = abs(price[level] - price_before[before]) <= SAME_PRICE * price[level]
            same = level == before if rule.by_level else near
            if same and size[level] > 0.0 and consumed[before] > 0.0:
                missing[level] = (1.0 - rule.rate) * consumed[before]
    return missing


@compiled
def walk(
    premium: Float, size: Float, consumed: Float, depleted: Float, want: float
) -> tuple[float, float]:
    """Shares filled and their cost over the mid; `consumed` becomes what is missing afterwards."""
    left, cost = want, 0.0
    for level in range(len(size)):
        taken = max(min(left, size[level] - depleted[level]), 0.0)
        cost += taken * premium[level]
        consumed[level] = depleted[level] + taken
        left -= taken
    return want - left, cost


@compiled
def _fill_schedule(
    shares: Float, caps: Float, price: Float, premium: Float, size: Float, rule: Refill
) -> tuple[Float, Float, float]:
    n, n_levels = size.shape
    filled, cost, consumed = np.zeros(n), np.zeros(n), np.zeros(n_levels)
    carried = 0.0
    for t in range(n):
        depleted = depletion(price[max(t - 1, 0)], consumed, price[t], size[t], rule)
        order = shares[t] + carried
        filled[t], cost[t] = walk(premium[t], size[t], consumed, depleted, min(order, caps[t]))
        carried = order - filled[t]
    return filled, cost, carried


def settled(name: str, done: Filled, ladder: Ladder, fitted_on: str = "") -> Execution:
    """The execution of what was filled on the books of `ladder`, one a child order."""
    shares, filled, cost, left = done
    of_books = (ladder.side, ladder.time, ladder.mid, ladder.half_spread)
    known = (fitted_on, ladder.symbol, ladder.age)
    return Execution(name, shares, filled, left, cost, *of_books, *known)


def as_caps(max_shares: ArrayLike | None, n: int) -> Float:
    """Caps (n,) shares, at least 0; infinite where there is none."""
    limits = np.inf if max_shares is None else max_shares
    return per_interval("max_shares", limits, n, infinite=True)


def clairvoyant(
    books: BookSnapshots | Ladder,
    total_shares: float,
    side: str,
    max_shares: ArrayLike | None = None,
) -> Execution:
    r"""The S cheapest shares of all books together: what perfect foresight would have paid.

    .. math:: \min_y \sum_{t,l} c_{tl} y_{tl} \quad \mathrm{s.t.} \quad
        0 \le y_{tl} \le v_{tl},\; \sum_l y_{tl} \le u_t,\; \sum_{t,l} y_{tl} = S

    with c_tl the premium of level l of book t over its mid and v_tl its shares. The
    constraints are nested, so taking levels in order of their premium is exact. Cost is
    over each interval's mid, as everywhere: where the price will go is not foreseen. The
    bound holds for every refill rate, since own trades only take supply away.

    Parameters
    ----------
    books : BookSnapshots or Ladder
        One an interval of one day: all that is given is one order's.
    total_shares : float
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional

    Returns
    -------
    Execution
        `unfilled` is what all books together do not hold.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> clairvoyant(books, 30, "buy").filled.tolist()  # half-spreads of 1 and 2
    [20.0, 10.0]
    """
    ladder = Ladder.of(books, side)
    total = number("total_shares", total_shares, 0)
    # Levels stand in order of premium, so a cap cuts off the last ones of a book.
    before = np.cumsum(ladder.size, axis=1) - ladder.size
    offered = np.clip(as_caps(max_shares, len(ladder))[:, None] - before, 0.0, ladder.size)
    order = np.argsort(ladder.premium, axis=None, kind="stable")
    cheapest = offered.ravel()[order]
    taken = np.zeros(offered.size)
    taken[order] = np.clip(total - (np.cumsum(cheapest) - cheapest), 0.0, cheapest)
    filled = taken.reshape(offered.shape).sum(axis=1)
    cost = (taken.reshape(offered.shape) * ladder.premium).sum(axis=1)
    left = max(total - float(offered.sum()), 0.0)
    return settled(BOUND, with_rest(filled, cost, left), ladder, "the books themselves")


def with_rest(filled: Float, cost: Float, left: float) -> Filled:
    """Of an order without a schedule: its shares are those filled, and last what is left."""
    return np.append(filled[:-1], filled[-1] + left), filled, cost, float(left)


def foresight_share(execution: Execution, benchmark: Execution, bound: Execution) -> float:
    """Share of the perfect-foresight saving: (benchmark - own) / (benchmark - bound), of costs.

    1 is perfect foresight, 0 the benchmark, NaN where nothing could be saved.

    Raises
    ------
    ValidationError
        If the three did not fill the same number of shares: their costs do not compare.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> best = clairvoyant(books, 20, "buy")
    >>> equal, early = (replay(shares, books, "buy") for shares in ([10, 10], [15, 5]))
    >>> foresight_share(early, equal, best)
    0.5
    """
    trio = (execution, benchmark, bound)
    filled = [one.filled.sum() for one in trio]
    if max(filled) - min(filled) > UNFILLED * max(filled):
        names, shares = (one.name for one in trio), (f"{one:,.6g}" for one in filled)
        raise ValidationError(
            f"{', '.join(names)} filled {', '.join(shares)} shares; costs compare only where the "
            "same order is filled: lower total_shares"
        )
    return (benchmark.cost - execution.cost) / foresight_saving(benchmark.cost, bound.cost)


def foresight_saving(benchmark: float, bound: float) -> float:
    """What could be saved, benchmark - bound; NaN where that is nothing but rounding."""
    saving = benchmark - bound
    return saving if saving > ROUNDING * abs(benchmark) else float("nan")


def _refuse_other_states(states: BookSnapshots, session: Session, finer: bool) -> None:
    """Refuse states of several days, and books one an interval where `finer` ones are needed."""
    days = states.days(session)
    if len(days) > 1:
        raise ValidationError(
            f"states of {len(days)} days, {days[0]} to {days[-1]}, for an order of one; replay "
            "them day by day"
        )
    if finer and np.array_equal(session.interval_of(states.time), np.arange(session.n_intervals)):
        raise ValidationError(
            "latency and slices need the states within each interval, got one an interval; give "
            "the books as read"
        )

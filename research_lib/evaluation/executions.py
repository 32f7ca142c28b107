"""Replay of an order on recorded books, and the perfect-foresight bound."""

# ruff: noqa: I001  (several names a line)

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import Float, number, per_interval
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.execution import Allocation, Schedule
from research_lib.impact import PiecewiseLinearImpact
from research_lib.market.book import LEVELS, BookSnapshots, side_sign, unchecked
from research_lib.market.book import order_flow_imbalance
from research_lib.market.sessions import Session, as_session
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)
BOUND, UNCAPPED = "perfect foresight", "perfect foresight, no cap"
# Relative to the order and to a cost: rounding of sums over a day of walks.
UNFILLED, ROUNDING = 1e-6, 1e-9
FLOW_LEVELS = 5  # of the order flow: deeper ones move for other reasons
SAME_PREMIUM = 1e-12  # of the mid: premiums that differ by less are equal, their rounding is 1e-16
STALE_SECONDS = 300.0  # quotes of liquid books change within seconds; five minutes is a halt
ROWS = ("time", "age", "mid", "half_spread", "premium", "size", "signals")
Walked = tuple[Float, Float, float]  # shares filled and cost over the mid, (n,) each; shares left
Filled = tuple[Float, Float, Float, float]  # shares scheduled, (n,), before the same


@dataclass(frozen=True, eq=False)
class Ladder(Record):
    """The side of n books that an order walks, cheapest level first.

    The mid lies between the best levels that hold shares, wherever they stand in the row.

    Attributes
    ----------
    side : str
        "buy" walks the asks, "sell" the bids.
    time : (n,) int64 ns UTC
    age : (n,) int64 ns
        How long before `time` the book was last recorded.
    mid : (n,) currency per share
        NaN where a side is empty: nothing can be traded then.
    half_spread : (n,) currency per share
        0 where there is no mid; negative where the book is crossed.
    premium : (n, L) currency per share
        Price beyond the mid, cost positive, not falling along the row.
    size : (n, L) shares
        0 at an empty level.
    signals : (n, 4)
        Predictors of the next move of the mid, each in [-1, 1] and above 0 if they predict a move
        against the order: the imbalance of the best levels, (bid - ask) / (bid + ask); the signed
        over the total volume of the trades since the book before; the imbalance of all levels; and
        the order flow e since the book before, mean of the five best levels, relative to their
        depth q, e / (|e| + q) (Cont, Cucuringu and Zhang, 2023). 0 where unknown.
    symbol : str
        Of the books.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> bid, ask, size = [[99.0, 98.0]], [[101.0, 103.0]], [[20.0, 20.0]]
    >>> books = BookSnapshots([10**18], bid, size, ask, size)
    >>> Ladder.of(books, "buy").premium
    array([[1., 3.]])
    """

    side: str
    time: NDArray[np.int64]
    age: NDArray[np.int64]
    mid: Float
    half_spread: Float
    premium: Float
    size: Float
    signals: Float
    symbol: str = ""

    @classmethod
    def of(cls, books: BookSnapshots | Ladder, side: str) -> Ladder:
        """The ladder of some books; a ladder of the same side is returned as it is.

        Raises
        ------
        ValidationError
            Neither books nor a ladder, a ladder of the other side, or no book with two sides.
        """
        if isinstance(books, Ladder):
            if books.side != side:
                raise ValidationError(f"the ladder is that of a {books.side}, not of a {side}")
            return books
        if not isinstance(books, BookSnapshots):
            raise ValidationError(f"books must be BookSnapshots, got {type(books).__name__}")
        if not np.isfinite(books.mid).any():
            raise ValidationError(f"none of {len(books):,} books has two sides")
        return cls.shown(books, side)

    @classmethod
    def shown(cls, books: BookSnapshots, side: str) -> Ladder:
        """As `of`, also where no book has two sides yet."""
        curve, mid = PiecewiseLinearImpact.from_books(books, side), books.mid
        spread, premium = curve.half_spread, curve.half_spread[:, None] + curve.premium
        premium[np.abs(premium) < SAME_PREMIUM * mid[:, None]] = 0.0  # a crossed level at the mid
        best, shown = _imbalances(books)
        signals = side_sign(side) * np.column_stack([best, _flow(books), shown, _net_flow(books)])
        known = (books.time, books.age, mid, spread, premium, curve.depth, signals)
        return cls(side, *known, books.symbol)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def depth(self) -> Float:
        """Shares on display, (n,)."""
        return self.size.sum(axis=1)

    @property
    def rest_price(self) -> tuple[float, float]:
        r"""Premium of a share beyond all depth of the last quoted book, and its slope.

        .. math:: c(q) = c_L + \frac{c_L - c_{L-1}}{v_L} q

        for the q-th share beyond L levels that hold shares, with c_0 = 0 at the mid: the slope of
        the last level continues. For a crossed book the slope is 0.
        """
        rows = np.flatnonzero(np.isfinite(self.mid) & (self.size > 0).any(axis=1))
        if not len(rows):
            raise ValidationError(f"none of {len(self):,} books has two sides to be traded")
        row = rows[-1]
        held = self.size[row] > 0
        premium = np.append(0.0, self.premium[row, held])
        last = max(premium[-1], 0.0)
        return float(last), float(max(last - premium[-2], 0.0) / self.size[row, held][-1])

    def take(self, rows: Any) -> Ladder:
        """The books selected by a mask, a slice or positions."""
        return replace(self, **{name: self[name][rows] for name in ROWS})

    def by_day(self, n_intervals: int) -> list[Ladder]:
        """One ladder a day of books sampled `n_intervals` a day, day after day.

        Raises
        ------
        ValidationError
            If the books are not a whole number of days.
        """
        if len(self) % n_intervals:
            what = f"{len(self):,} books are no whole number of days of {n_intervals}"
            raise ValidationError(f"{what}; sample them")
        starts = range(0, len(self), n_intervals)
        days = [self.take(slice(start, start + n_intervals)) for start in starts]
        # Trades of the evening before are no signal for the morning.
        first = np.arange(n_intervals)[:, None] == [-1, 0, -1, 0]
        return [replace(day, signals=np.where(first, 0.0, day.signals)) for day in days]


def _imbalances(books: BookSnapshots) -> tuple[Float, Float]:
    """(bid - ask) / (bid + ask) of the best levels and of all, (n,) each; 0 without two sides."""
    sides, rows = (books.bid_size, books.ask_size), np.arange(len(books))
    best = [size[rows, np.argmax(size > 0, axis=1)] for size in sides]
    two_sided = (best[0] > 0) & (best[1] > 0)

    def of(bid: Float, ask: Float) -> Float:
        return np.where(two_sided, bid - ask, 0.0) / np.where(two_sided, bid + ask, 1.0)

    return of(*best), of(*(size.sum(axis=1) for size in sides))


def _flow(books: BookSnapshots) -> Float:
    """Signed over all volume of the trades since the book before, (n,); 0 where there are none."""
    if (trades := books.trades) is None or not len(books):
        return np.zeros(len(books))
    # A trade at the time of the book is not known yet; those before the first book are left out.
    after = np.searchsorted(books.time, trades.time, "right")
    used = (after > 0) & (after < len(books))
    signed = np.bincount(after[used], trades.signed_size[used], len(books))
    all_ = np.bincount(after[used], trades.size[used], len(books))
    return signed / np.where(all_ > 0, all_, 1.0)


def _net_flow(books: BookSnapshots) -> Float:
    """Mean order flow of the best levels since the book before, e / (|e| + depth), (n,)."""
    if len(books) < 2:
        return np.zeros(len(books))
    flow, depth = level_flow(books), books.bid_size + books.ask_size
    shown = depth[:, :FLOW_LEVELS].mean(axis=1)[1:]
    total = np.abs(flow) + shown
    return np.append(0.0, np.where(total > 0, flow, 0.0) / np.where(total > 0, total, 1.0))


def level_flow(books: BookSnapshots) -> Float:
    """Order flow imbalance from each state to the next, mean of the five best levels, (n - 1,).

    The mean stands for the first principal component of the levels' flows, whose weights are nearly
    equal (Cont, Cucuringu and Zhang, 2023, "Cross-impact of order flow imbalance in equity
    markets", Quantitative Finance 23(10)). A level without both sides counts as 0.

    Examples
    --------
    >>> bid, ask, size = [[9.0]] * 2, [[11.0]] * 2, [[100.0]] * 2
    >>> level_flow(BookSnapshots([0, 1], bid, [[100.0], [130.0]], ask, size)).tolist()
    [30.0]
    """
    flows = []
    for level in range(min(books.n_levels, FLOW_LEVELS)):
        own = {name: books[name][:, [level]] for name in LEVELS}
        flows.append(np.nan_to_num(order_flow_imbalance(unchecked(books, **own))))
    return np.mean(flows, axis=0)


Books = BookSnapshots | Ladder  # one an interval
Caps = ArrayLike | None  # shares of each interval; None: no cap


def sample_states(
    states: BookSnapshots, session: Session, latency_seconds: float = 0.0,
    max_age: float | None = None,
) -> BookSnapshots:  # fmt: skip
    """The books at the arrival of child orders sent at the start of each interval.

    Parameters
    ----------
    states : BookSnapshots
        As read, in time order.
    session : Session
    latency_seconds : float
        From sending to arrival: the book is the last complete state at or before the interval's
        start plus the latency.
    max_age : float, optional
        Seconds; where that book is older, as where a recording stops for moments, the order meets
        the next complete one instead, if it is of the same session.

    Returns
    -------
    BookSnapshots
        n_days * n_intervals books; `time` is that of the arrival.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> states = SyntheticMarket(session=Session(78)).books(78, 5, np.random.default_rng(0))
    >>> late = sample_states(states, Session(13), latency_seconds=400)
    >>> int(late.time[0] - states.time[0]), bool(late.mid[0] == states.mid[1])
    (400000000000, True)
    """
    lag = np.int64(round(1e9 * number("latency_seconds", latency_seconds, 0)))
    session = as_session(session)
    # A state shown within the latency after the opening, or after a break, is met by the first
    # child order but was not shown before.
    day, days = pd.factorize(session.days(states.time))
    interval = session.interval_of(states.time)
    opens = np.where(interval >= 0, session.opened(days)[day, interval], 0)
    sent = np.maximum.accumulate(np.maximum(states.time - lag, opens))
    sampled = unchecked(states, time=sent).sample(session)
    late = replace(sampled, time=sampled.time + lag)
    if max_age is None:
        return late
    shown = np.flatnonzero(states.complete)
    after = np.searchsorted(states.time[shown], late.time, "right")
    old = late.stale(max_age) & (after < len(shown))
    after = shown[np.minimum(after, len(shown) - 1)]
    old[old] = session.days(states.time[after[old]]) == session.days(late.time[old])
    levels: Any = {name: np.where(old[:, None], states[name][after], late[name]) for name in LEVELS}
    return replace(late, age=np.where(old, 0, late.age), **levels)


@dataclass(frozen=True, eq=False)
class Execution(Record):
    """An order as the books filled it, a row an interval or a fill. Positive costs are bad.

    Attributes
    ----------
    name : str
        The strategy's.
    shares : (n,) shares
        Scheduled for each interval; for an adaptive strategy the filled shares, and in the last
        interval the rest too.
    filled : (n,) shares
        Filled in each interval, carried orders included.
    unfilled : float
        Shares left after the last interval; sum(shares) = sum(filled) + unfilled.
    cost_by_interval : (n,) currency
        filled * (average price - mid), signed by side.
    side : str
    time : (n,) int64 ns UTC
    mid, half_spread : (n,) currency per share
        Of the book as recorded, without own trades; NaN and 0 where it lacks a side.
    fitted_on : str
        Information of the strategy beside the displayed books: days, another stock, a preset.
    symbol : str
        Of the books.
    age : (n,) int64 ns
        Age of the book that filled; many minutes mean a halt.
    decision_mid, decision_half_spread : (n,) currency per share
        Of the book of the decision, which is that of the fill unless there is latency.
    rest_cost : float
        Cost of `unfilled` over the last mid, currency, along the slope of the last book's last
        level (`Ladder.rest_price`); not part of `cost`.
    posted : (n,) bool, optional
        Rows that filled at rest; their half-spread is below 0 where they earned it.
    n_intervals : int
        Of the order, where its rows are fills (`post_then_cross`); 0 where they are its intervals.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> done = replay([30, 15], books, "buy")  # half-spreads of 1 and 2, 20 shares each
    >>> done.cost, done.unfilled, done.completed, done["cost_bps"]
    (60.0, 5.0, False, 150.0)
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
    age: NDArray[np.int64] | int = 0
    decision_mid: Float | None = None
    decision_half_spread: Float | None = None
    rest_cost: float = 0.0
    posted: NDArray[np.bool_] | None = None
    n_intervals: int = 0

    def keys(self) -> list[str]:
        """Names that ``execution[name]`` answers: its attributes and properties."""
        properties = (name for name, one in vars(Execution).items() if isinstance(one, property))
        return [*super().keys(), *properties]

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
        """Whether at most 1e-6 of the order is left; otherwise costs are not comparable."""
        return self.unfilled <= UNFILLED * self.total_shares

    @property
    def cost(self) -> float:
        """Total over each interval's mid, currency."""
        return float(self.cost_by_interval.sum())

    @property
    def cost_bps(self) -> float:
        """Cost of a filled share in bps of the arrival price; 0 where none is filled."""
        filled = float(self.filled.sum())
        return 1e4 * (self.cost / filled if filled > 0 else 0.0) / self.arrival_price

    @property
    def timing_risk_bps(self) -> float:
        r"""Standard deviation of the cost over arrival due to the mid, bps of the whole order.

        .. math:: \sigma \sqrt{\sum_t X_t^2 \, \Delta_t}

        with X_t the shares still to fill after row t, which stand for the time Delta_t until the
        next row, and sigma^2 the mid's variance per unit of time over the order, (currency per
        share)^2, known only afterwards. Almgren and Chriss (2000), equation (5).
        """
        left, known = self.total_shares - np.cumsum(self.filled)[:-1], np.isfinite(self.mid)
        steps, passed = np.diff(self.mid[known]), float(np.sum(np.diff(self.time[known])))
        variance = np.sum(steps**2) / passed if passed else 0.0
        paper = self.total_shares * self.arrival_price or np.nan
        return float(1e4 * np.sqrt(variance * (left**2 @ np.diff(self.time))) / paper)

    @property
    def fills(self) -> pd.DataFrame:
        """One row a fill: time (UTC), shares, price, for `implementation_shortfall`."""
        rows = self.filled > 0
        time, shares = pd.to_datetime(self.time[rows], utc=True), self.filled[rows]
        price = self.mid[rows] + side_sign(self.side) * (self.cost_by_interval[rows] / shares)
        return pd.DataFrame({"time": time, "shares": shares, "price": price})


def report_ages(executions: Iterable[Execution]) -> None:
    """Log how many child orders were filled on books older than five minutes, if any were."""
    stood = (np.broadcast_to(one.age, len(one.time))[one.filled > 0] for one in executions)
    ages = 1e-9 * np.concatenate([[], *stood])
    if stale := int(np.sum(ages > STALE_SECONDS)):
        filled = f"{stale} of {len(ages)} child orders are filled on books"
        older = f"older than {STALE_SECONDS:g} s, the oldest {ages.max() / 60:.0f} min"
        logger.warning(f"{filled} {older}: a halt or a stopped recording, see Execution.age")


@timed("replay")
def replay(
    schedule: Schedule | Allocation | ArrayLike, books: Books, side: str, *,
    max_shares: ArrayLike | None = None, refill: float = 1.0,
) -> Execution:  # fmt: skip
    r"""Walk each child order through the recorded book of its interval.

    Shares that a book or the cap does not fill are added to the next child order; the rest after
    the last interval is `unfilled`. Own trades deplete the levels l that they take from by H_t(l),
    which is replenished at rate rho:

    .. math:: H_{t+1}(l) = (1 - \rho) \, (H_t(l) + \mathrm{taken}_t(l)), \qquad
        S_t(l) = (V_t(l) - H_t(l))^+

    with V the recorded and S the available shares. Depletion stays at its rank in the book when
    prices move, which is the worst case of a block-shaped order book (Obizhaeva and Wang, 2013).
    With rho = 1 each book is as recorded.

    Parameters
    ----------
    schedule : Schedule, Allocation or (n,) shares
        n child orders, finite and at least 0; a Series is labelled by its intervals 0 to n - 1.
    books : BookSnapshots or Ladder
        n snapshots, one an interval, as `BookSnapshots.sample` gives for one day, or
        `sample_states` with a latency. A snapshot without two sides fills nothing. n books of
        several days would be one order.
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional
        Cap of the shares taken in each interval, carried ones included.
    refill : float
        rho in [0, 1]: 1 replenishes everything by the next child order, 0 nothing.

    Raises
    ------
    ValidationError
        If there is not one book an interval, or none has two sides.

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
    ladder = Ladder.of(books, side)
    if len(ladder) != len(shares):
        found = f"{len(ladder):,} books for {len(shares):,} intervals"
        raise ValidationError(f"{found}; sample the books of one day to one an interval")
    caps, rho = as_caps(max_shares, len(shares)), number("refill", refill, 0, 1)
    done = settled(name, fill_schedule(shares, caps, ladder, rho), ladder)
    report_ages([done])
    return done


def fill_schedule(shares: Float, caps: Float, ladder: Ladder, refill: float) -> Filled:
    """Walk each child order, with the rest of the one before, through its book."""
    return shares, *_fill_schedule(shares, caps, ladder.premium, ladder.size, 1.0 - refill)


@compiled
def walk(
    premium: Float, size: Float, consumed: Float, kept: float, want: float
) -> tuple[float, float]:
    """Shares filled and their cost over the mid, where a share `kept` of consumed ones is missing.

    `consumed` (L,) becomes what is missing afterwards.
    """
    left, cost = want, 0.0
    for level in range(len(size)):
        missing = kept * consumed[level]  # also for levels not shown now
        taken = max(min(left, size[level] - missing), 0.0)
        cost += taken * premium[level]
        consumed[level] = missing + taken
        left -= taken
    return want - left, cost


@compiled
def _fill_schedule(shares: Float, caps: Float, premium: Float, size: Float, kept: float) -> Walked:
    n, n_levels = size.shape
    filled, cost, consumed = np.zeros(n), np.zeros(n), np.zeros(n_levels)
    carried = 0.0
    for t in range(n):
        order = shares[t] + carried
        filled[t], cost[t] = walk(premium[t], size[t], consumed, kept, min(order, caps[t]))
        carried = order - filled[t]
    return filled, cost, carried


def settled(
    name: str, done: Filled, ladder: Ladder, fitted_on: str = "", seen: Ladder | None = None
) -> Execution:
    """The execution from shares filled on the books of `ladder`, decided on those `seen`."""
    shares, filled, cost, left = done
    decided = seen or ladder
    premium, slope = ladder.rest_price if left else (0.0, 0.0)  # most orders are whole
    of_books = (ladder.side, ladder.time, ladder.mid, ladder.half_spread)
    known, then = (fitted_on, ladder.symbol, ladder.age), (decided.mid, decided.half_spread)
    rest = left * (premium + 0.5 * slope * left)
    return Execution(name, shares, filled, left, cost, *of_books, *known, *then, rest)


def as_caps(max_shares: Caps, n: int) -> Float:
    """Caps (n,) shares, at least 0; infinite where there is none."""
    limits = np.inf if max_shares is None else max_shares
    return per_interval("max_shares", limits, n, infinite=True)


def clairvoyant(books: Books, total_shares: float, side: str, max_shares: Caps = None) -> Execution:
    r"""The S cheapest displayed shares of all books together: the perfect-foresight bound.

    .. math:: \min_y \sum_{t,l} c_{tl} y_{tl} \quad \mathrm{s.t.} \quad
        0 \le y_{tl} \le v_{tl},\; \sum_l y_{tl} \le u_t,\; \sum_{t,l} y_{tl} = S

    with c_tl the premium of level l of book t over its mid and v_tl its shares. The constraints are
    nested, so taking levels in order of their premium is exact; of equal ones the earliest is
    taken. It is a bound of spread and walk alone, given one replenished book an interval. Price
    moves are not foreseen, so it is no bound of the whole cost. It holds for every refill rate,
    because own trades only reduce supply.

    Parameters
    ----------
    books : BookSnapshots or Ladder
        One an interval of one day: all of them belong to one order.
    total_shares : float
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional

    Returns
    -------
    Execution
        `unfilled` is the part of the order that all books together do not hold.

    Examples
    --------
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> clairvoyant(books, 30, "buy").filled.tolist()  # half-spreads of 1 and 2
    [20.0, 10.0]
    """
    ladder, total = Ladder.of(books, side), number("total_shares", total_shares, 0)
    # Levels stand in order of premium, so a cap cuts off the last ones of a book.
    before = np.cumsum(ladder.size, axis=1) - ladder.size
    offered = np.clip(as_caps(max_shares, len(ladder))[:, None] - before, 0.0, ladder.size)
    order = np.argsort(ladder.premium, axis=None)
    # Equal premiums differ by rounding, which depends on the unit of price; the earliest goes
    # first.
    rises = np.diff(ladder.premium.ravel()[order], prepend=-np.inf)
    order = order[np.lexsort([order, np.cumsum(rises > SAME_PREMIUM * np.nanmax(ladder.mid))])]
    cheapest, taken = offered.ravel()[order], np.zeros(offered.size)
    taken[order] = np.clip(total - (np.cumsum(cheapest) - cheapest), 0.0, cheapest)
    filled = taken.reshape(offered.shape).sum(axis=1)
    cost = (taken.reshape(offered.shape) * ladder.premium).sum(axis=1)
    left = max(total - float(offered.sum()), 0.0)
    name = UNCAPPED if max_shares is None else BOUND
    return settled(name, with_rest(filled, cost, left), ladder, "the books themselves")


def with_rest(filled: Float, cost: Float, left: float) -> Filled:
    """Shares of an order without a schedule: those filled, plus the rest in the last interval."""
    return np.append(filled[:-1], filled[-1] + left), filled, cost, float(left)

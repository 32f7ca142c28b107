"""A one-tick market of queues whose fill probabilities are known exactly."""

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.random import Generator

from research_lib.checks import ArrayLike, Float, Int64, number, per_interval
from research_lib.compiling import compiled
from research_lib.config import Limited, limited
from research_lib.errors import ValidationError
from research_lib.market.book import SYNTHETIC, BookSnapshots
from research_lib.market.messages import ADD, CANCEL, EXECUTE, Messages
from research_lib.market.sessions import Session
from research_lib.market.synthetic import on_grid
from research_lib.market.trades import Trades

BID, ASK = 1, -1  # side of a resting order


@dataclass(frozen=True)
class QueueMarket(Limited):
    r"""Order by order, the best queues of a market whose spread is always one tick.

    Each side's best queue is a birth-death process, independent of the other side's. With n orders
    of one lot in it, it grows at rate lambda and shrinks at rate mu + n theta:

    .. math:: n \to n + 1 \text{ at } \lambda, \qquad n \to n - 1 \text{ at } \mu + n \theta.

    A market order executes the oldest order of the queue; a cancellation takes any one of them
    alike. When a queue empties, the price moves one tick to that side, the old orders of both sides
    are cancelled, and both queues are drawn anew, geometric from one lot, whatever was before. Up
    and down are symmetric: the mid is a martingale.

    With the defaults the price moves about every 55 s, and an order behind six others is filled
    within a minute with probability 0.73, unless the price moves away.

    Attributes
    ----------
    tick : float
        The spread, and the distance from level to level, currency per share.
    base_price : float
        First best bid, currency per share, rounded to ticks.
    lot_size : float
        Size of every order, shares.
    market_rate, limit_rate : float
        mu and lambda: market orders against, and limit orders to, each side's queue, per second.
    cancel_rate : float
        theta: cancellations of each order in the best queues, per second.
    mean_queue : float
        Mean of the queues after a move, lots; at least 1.
    n_levels : int
        Levels shown a side.
    deep_size : float
        Size of every level below the best, shares; constant, and without messages.
    session : Session
        When the market is open; without breaks. Each day starts with new queues at the last price.
    first_day : datetime.date
        Later days are business days.

    Raises
    ------
    ValidationError
        A parameter outside its range, named with its value and limit; a session with breaks.

    References
    ----------
    Cont, R., de Larrard, A. (2013), "Price dynamics in a Markovian limit order market", SIAM
    Journal on Financial Mathematics 4(1), 1-25; Cont, R., Stoikov, S., Talreja, R. (2010), "A
    stochastic model for order book dynamics", Operations Research 58(3), 549-563, whose
    cancellations are proportional to the queue.

    Examples
    --------
    >>> market = QueueMarket()
    >>> market.days(1, np.random.default_rng(1))[0]
    BookSnapshots('SYNTHETIC', 22,022 snapshots x 5 levels)
    >>> market.fill_probability(6, [10, 60]).round(3).tolist()
    [0.006, 0.733]
    """

    tick: float = limited(0.01, above=0)
    base_price: float = limited(50.0, above=0)
    lot_size: float = limited(100.0, above=0)
    market_rate: float = limited(0.05, above=0)
    limit_rate: float = limited(0.2, low=0)
    cancel_rate: float = limited(0.05, low=0)
    mean_queue: float = limited(6.0, low=1)
    n_levels: int = limited(5, low=1)
    deep_size: float = limited(1000.0, above=0)
    session: Session = field(default_factory=Session)
    first_day: dt.date = dt.date(2024, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.session.breaks:
            raise ValidationError(f"session {self.session.hours} has breaks; give one without")

    def days(self, n_days: int, rng: Generator) -> tuple[BookSnapshots, Messages]:
        """Draw all states of the books, with their trades, and the messages behind them.

        Parameters
        ----------
        n_days : int
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        books : BookSnapshots
            The state after every event and at each open, no two at one time. A trade has the time
            of the state that it leaves behind.
        messages : Messages
            Of the orders in the best queues. All messages of a move have its time: the last order
            of the old queue leaves, the other side's are cancelled, the new ones are added. What
            rests at the close is cancelled then, without a state.

        Raises
        ------
        ValidationError
            If the price falls so low that the lowest bid is not above 0.
        """
        n_days = number("n_days", n_days, 1, integer=True)
        days = pd.date_range(self.first_day, periods=n_days, freq=self.session.block or "B")
        rates = self.limit_rate, self.market_rate, self.cancel_rate
        first, rng = round(self.base_price / self.tick), rng
        drawn = _draw(*self.session.bounds(days), first, rates, self.mean_queue, rng)
        time, order, kind, side, ticks = drawn.T
        bid = ticks - (side == ASK)
        if bid.min() < self.n_levels:
            raise ValidationError(f"the bid falls to {bid.min()} ticks; raise base_price")
        price, size = on_grid(ticks * self.tick, self.tick), np.full(len(time), self.lot_size)
        messages = Messages(time, order, kind, side, price, size, SYNTHETIC)
        return self._books(messages, bid), messages

    def _books(self, messages: Messages, bid: Int64) -> BookSnapshots:
        """The books that messages make, with their trades; `bid` is the best one in ticks, (m,)."""
        time, side, traded = messages.time, messages.side, messages.kind == EXECUTE
        change = np.where(messages.kind == ADD, 1, -1)
        lots = np.cumsum(change * (side == np.array([[BID], [ASK]])), axis=1)
        # The state after the last message of each time; after that of the last close there is none.
        last = np.flatnonzero((np.diff(time, append=time[-1] + 1) > 0) & (lots[0] > 0))
        sizes = np.full((2, len(last), self.n_levels), self.deep_size)
        sizes[..., 0] = self.lot_size * lots[:, last]
        bid, away = bid[last, None], np.arange(self.n_levels)
        bids, asks = (on_grid(k * self.tick, self.tick) for k in (bid - away, bid + 1 + away))
        price, size = messages.price[traded], messages.size[traded]
        trades = Trades(time[traded], price, size, -side[traded], SYNTHETIC)
        return BookSnapshots(time[last], bids, sizes[0], asks, sizes[1], SYNTHETIC, trades=trades)

    def fill_probability(self, ahead: int, seconds: ArrayLike) -> Float:
        r"""Probability that one more order at the end of a queue is filled, (k,), if it stays.

        With a orders ahead and b behind,

        .. math:: (a, b) \to (a - 1, b) \text{ at } \mu + a \theta, \qquad
                  (a, b) \to (a, b + 1) \text{ at } \lambda, \qquad
                  (a, b) \to (a, b - 1) \text{ at } b \theta,

        and the order, of one lot and not displayed, is filled from a = 0 at rate mu, and where all
        others are gone: the price moves, and the next quote is at its price. The probability is
        that of this chain's end. It holds until the price moves away, which the other queue decides
        alone.

        Parameters
        ----------
        ahead : int
            a, lots in front of it, at least 1: no best queue is empty.
        seconds : float or (k,)
            t since it joined, at least 0.

        Examples
        --------
        >>> QueueMarket(limit_rate=0.0, cancel_rate=0.0, market_rate=0.1).fill_probability(1, 10)
        array([0.63212056])
        """
        from scipy import stats  # heavy to import
        from scipy.sparse import csr_array

        n = number("ahead", ahead, 1, integer=True)
        waited = per_interval("seconds", seconds, np.size(seconds))
        # Orders behind are at most Poisson, of this mean; there are never more than `width`.
        longest, theta = waited.max(initial=0.0), self.cancel_rate
        behind = self.limit_rate * (-np.expm1(-theta * longest) / theta if theta else longest)
        width = int(behind + 8.0 * np.sqrt(behind)) + 10
        a, b = (one.ravel() for one in np.indices((n + 1, width)))
        leaves = self.market_rate + theta * a, np.where(a > 0, (a - 1) * width + b, a.size)
        joins = self.limit_rate * (b < width - 1), a * width + np.minimum(b + 1, width - 1)
        cancels = theta * b, a * width + np.maximum(b - 1, 0)
        rates, to = (np.concatenate(one) for one in zip(leaves, joins, cancels, strict=True))
        to[to == 0] = a.size  # none ahead and none behind
        start = np.tile(np.arange(a.size), 3)
        # By uniformisation: steps in discrete time, as many as a Poisson clock has ticks. Not by
        # scipy's expm_multiply, which draws from NumPy's global generator.
        clock = np.bincount(start, rates).max()
        ticks = np.arange(stats.poisson.isf(1e-15, clock * longest) + 1)
        step = csr_array((rates / clock, (to, start)), shape=(a.size + 1, a.size + 1))
        stays = np.append(1.0 - np.bincount(start, rates) / clock, 1.0)
        held, filled = np.eye(1, a.size + 1, n * width)[0], np.zeros(len(ticks))
        for k in range(len(ticks)):
            filled[k] = held[-1]
            held = step @ held + stays * held
        return np.asarray(filled @ stats.poisson.pmf(ticks[:, None], clock * waited))


@compiled
def _draw(
    opens: Int64, closes: Int64, bid: int, rates: tuple[float, float, float], mean_queue: float,
    rng: Generator,
) -> Int64:  # fmt: skip
    """Rows of (time, order, kind, side, price in ticks) of days that follow one another, (m, 5).

    An order's number is the row in which it is added.
    """
    limit, market, cancel = rates
    rows = [(np.int64(0), 0, 0, 0, 0)][:0]  # empty lists whose types numba knows
    bids, asks = [0][:0], [0][:0]
    for day in range(len(opens)):
        time, seconds = opens[day], 0.0
        _renew(rows, time, bids, asks, bid, mean_queue, rng)
        while True:
            cancels = cancel * (len(bids) + len(asks))
            total = 2.0 * (limit + market) + cancels
            seconds += rng.standard_exponential() / total
            time = max(time + 1, opens[day] + np.int64(1e9 * seconds))
            if time >= closes[day]:
                break
            event, side = total * rng.random(), BID if rng.random() < 0.5 else ASK
            if event < cancels:  # side by the orders on it
                place = min(int(event / cancel), len(bids) + len(asks) - 1)
                side = BID if place < len(bids) else ASK
                place -= 0 if side == BID else len(bids)
            queue, price = (bids, bid) if side == BID else (asks, bid + 1)
            if event < cancels:
                rows.append((time, queue.pop(place), CANCEL, side, price))
            elif event < cancels + 2.0 * market:
                rows.append((time, queue.pop(0), EXECUTE, side, price))
            else:
                queue.append(len(rows))
                rows.append((time, len(rows), ADD, side, price))
            if not queue:
                _withdraw(rows, time, bids, asks, bid)
                bid -= side
                _renew(rows, time, bids, asks, bid, mean_queue, rng)
        _withdraw(rows, closes[day], bids, asks, bid)
    return np.array(rows)


@compiled
def _renew(
    rows: list[tuple[int, ...]], time: int, bids: list[int], asks: list[int], bid: int,
    mean_queue: float, rng: Generator,
) -> None:  # fmt: skip
    """Add new orders to the empty queues, geometric numbers of them."""
    for queue, side, price in ((bids, BID, bid), (asks, ASK, bid + 1)):
        for _ in range(rng.geometric(1.0 / mean_queue)):
            queue.append(len(rows))
            rows.append((time, len(rows), ADD, side, price))


@compiled
def _withdraw(
    rows: list[tuple[int, ...]], time: int, bids: list[int], asks: list[int], bid: int
) -> None:
    """Cancel what is left of the queues."""
    for queue, side, price in ((bids, BID, bid), (asks, ASK, bid + 1)):
        for order in queue:
            rows.append((time, order, CANCEL, side, price))
        queue.clear()

"""What a desk hears: books, trades, the clock, gaps of the feed, and reports of its own fills."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import attrgetter
from typing import NamedTuple

from research_lib.checks import Float
from research_lib.market import BookSnapshots
from research_lib.market.book import LEVELS


class Book(NamedTuple):
    """The whole book after an update: time (ns UTC), prices and sizes (L,) as `BookSnapshots`.

    Examples
    --------
    >>> import numpy as np
    >>> one, size = np.array([99.0]), np.array([5.0])
    >>> Book(10**18, one, size, one + 2.0, size).touch
    (99.0, 101.0)
    """

    time: int
    bid_price: Float
    bid_size: Float
    ask_price: Float
    ask_size: Float

    @property
    def touch(self) -> tuple[float, float]:
        """Best bid and ask that hold shares; infinitely far where a side is empty."""
        bid, ask = self.bid_price[self.bid_size > 0], self.ask_price[self.ask_size > 0]
        highest = float(bid.max()) if len(bid) else -math.inf
        return highest, float(ask.min()) if len(ask) else math.inf


class Trade(NamedTuple):
    """A trade of the market: time (ns UTC), price (currency per share), size (shares), aggressor.

    The aggressor is 1 for a buyer, -1 for a seller, 0 where it is not known.

    Examples
    --------
    >>> Trade(10**18, 101.0, 5.0, 1).size
    5.0
    """

    time: int
    price: float
    size: float
    aggressor: int


class Clock(NamedTuple):
    """The time, ns UTC, where the feed is silent.

    Examples
    --------
    >>> Clock(10**18).time
    1000000000000000000
    """

    time: int


class Gap(NamedTuple):
    """From `time` on the book is unknown, until the next `Book`.

    Examples
    --------
    >>> Gap(10**18, "the connection is lost").reason
    'the connection is lost'
    """

    time: int
    reason: str


class FillReport(NamedTuple):
    """What the desk's gateway has filled of the child order `id`, and whether that is all.

    `shares` are all so far and `price` their mean, currency per share, NaN where there are none.

    Examples
    --------
    >>> FillReport("goog-1-0007", 50.0, 571.2, done=True).done
    True
    """

    id: str
    shares: float
    price: float
    done: bool


Event = Book | Trade | Clock | Gap
_time = attrgetter("time")


def events_of(parts: Iterable[BookSnapshots], begin: int, end: int) -> Iterator[Event]:
    """Books and trades of a recording in time order, from `begin` to before `end`, ns UTC.

    Trades later than the last book of their part wait for the next part.

    Parameters
    ----------
    parts : iterable of BookSnapshots
        In time order, as of `iter_books`.
    begin, end : int

    Examples
    --------
    >>> size = [[5.0], [5.0]]
    >>> books = BookSnapshots([10**18, 10**18 + 9], [[99.0]] * 2, size, [[101.0]] * 2, size)
    >>> [one.time - 10**18 for one in events_of([books], 10**18, 10**18 + 9)]
    [0]
    """
    waiting: list[Trade] = []
    for part in parts:
        trades = sorted([*waiting, *_trades(part)], key=_time)
        n_shown = bisect_right(trades, part.time[-1], key=_time)
        waiting = trades[n_shown:]
        for event in merge(trades[:n_shown], _books(part), key=_time):
            if event.time >= end:
                return
            if event.time >= begin:
                yield event
    yield from (one for one in waiting if begin <= one.time < end)


def _books(part: BookSnapshots) -> Iterator[Event]:
    shown = part.complete
    yield from map(Book, part.time[shown].tolist(), *(part[name][shown] for name in LEVELS))


def _trades(part: BookSnapshots) -> list[Trade]:
    if part.trades is None:
        return []
    columns = (part.trades[name].tolist() for name in ("time", "price", "size", "aggressor"))
    return [Trade(*row) for row in zip(*columns, strict=True)]

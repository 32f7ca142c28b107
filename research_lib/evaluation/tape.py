"""What a market showed while a desk worked its orders: mids, spreads and volumes by time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session
from research_lib.market.sessions import as_session

Int64 = NDArray[np.int64]
Batches = BookSnapshots | Iterable[BookSnapshots]
# Of a day's lowest bid and highest ask: trades within a bar print beyond its quotes.
RANGE_MARGIN = 0.005


@dataclass(frozen=True, eq=False)
class Tape(Record):
    """What a market showed, as far as the analysis of orders needs it.

    A time is priced by states of its own session only: by the first one before it, by the last one
    after it.

    Attributes
    ----------
    time : (n,) int64 ns UTC
        Of the states with two sides.
    mid, half_spread : (n,) currency per share
    day : (n,) int
        Numbers the sessions in `days`.
    days : list
    trade_time : (m,) int64 ns UTC
    volume, value : (m + 1,) shares and currency traded before each trade, and in all
    session : Session

    Examples
    --------
    >>> from research_lib.market import preset
    >>> market = preset("thin_stock", Session(13))
    >>> tape = Tape.of(market.books(26, 1, np.random.default_rng(0)), market.session)
    >>> len(tape.time), len(tape.days)
    (26, 2)
    """

    time: Int64
    mid: Float
    half_spread: Float
    day: Int64
    days: Sequence[Any]
    trade_time: Int64
    volume: Float
    value: Float
    session: Session

    @classmethod
    def of(cls, books: Batches, session: Session | None = None) -> Self:
        """The tape of books, or of batches of one symbol in time order, read one at a time.

        Raises
        ------
        ValidationError
            No book with two sides, two symbols, or batches that are not in time order.
        """
        hours = as_session(session)
        states, prints, symbols = [], [], set()
        for batch in [books] if isinstance(books, BookSnapshots) else books:
            mid = batch.mid
            seen = np.isfinite(mid) & batch.complete
            states.append((batch.time[seen], mid[seen], batch.half_spread[seen]))
            symbols.add(batch.symbol)
            if (trades := batch.trades) is not None:
                prints.append((trades.time, trades.size, trades.size * trades.price))
        if len(symbols) > 1:
            raise ValidationError(f"a tape is of one symbol, got {', '.join(sorted(symbols))}")
        if not sum(len(one) for one, *_ in states):
            raise ValidationError("none of the books has two sides: orders cannot be priced")
        time, mid, spread = map(np.concatenate, zip(*states, strict=True))
        if np.any(np.diff(time) < 0):
            raise ValidationError("time runs backwards from one batch to the next; sort them")
        day, days = pd.factorize(hours.days(time))
        prints = prints or [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        at, size, value = map(np.concatenate, zip(*prints, strict=True))
        volume, paid = (np.append(0.0, np.cumsum(one)) for one in (size, value))
        return cls(time, mid, spread, day, list(days), at, volume, paid, hours)

    @cached_property
    def _edges(self) -> tuple[Int64, Int64]:
        """First and last state of each session."""
        cuts = np.flatnonzero(np.diff(self.day)) + 1
        return np.append(0, cuts), np.append(cuts, len(self.day)) - 1

    def day_of(self, time: Int64) -> Int64:
        """Which session each time is of, (k,); -1 where the tape has no state of it."""
        return np.asarray(pd.Index(self.days).get_indexer(self.session.days(time)), np.int64)

    def row(self, time: Int64, *, before: bool = False) -> Int64:
        """The last state of its session at (or strictly `before`) each time, (k,), else its first.

        -1 where the tape has no state of the session.
        """
        at = np.searchsorted(self.time, time, "left" if before else "right") - 1
        day = self.day_of(time)
        first, last = (edge[np.maximum(day, 0)] for edge in self._edges)
        return np.where(day >= 0, np.clip(at, first, last), -1)

    def mid_at(self, time: Int64) -> Float:
        """The mid at each time, (k,); NaN where the tape has no state of its session."""
        row = self.row(time)
        return np.where(row >= 0, self.mid[np.maximum(row, 0)], np.nan)

    def closing(self, time: Int64) -> Int64:
        """The time of the last state of each time's session, (k,), which the tape must have."""
        return self.time[self._edges[1][np.maximum(self.day_of(time), 0)]]

    def mean_mid(self, start: Int64, end: Int64) -> Float:
        """The mid averaged over the time from each start to its end, nights left out, (k,)."""
        stood = np.append(np.diff(self.time), 0).astype(float)
        stood[self._edges[1]] = 0.0
        held = np.append(0.0, np.cumsum(self.mid * stood))
        clock = np.append(0.0, np.cumsum(stood))

        def until(time: Int64) -> tuple[Float, Float]:
            row = np.maximum(self.row(time), 0)
            part = np.clip(time - self.time[row], 0, stood[row])
            return held[row] + self.mid[row] * part, clock[row] + part

        (m0, t0), (m1, t1) = until(start), until(end)
        return np.where(t1 > t0, ratio(m1 - m0, t1 - t0), self.mid_at(end))

    def traded(self, start: Int64, end: Int64) -> tuple[Float, Float]:
        """Shares traded from each start to its end, both included, and their mean price, (k,)."""
        first = np.searchsorted(self.trade_time, start, "left")
        last = np.searchsorted(self.trade_time, end, "right")
        shares = self.volume[last] - self.volume[first]
        return shares, ratio(self.value[last] - self.value[first], shares)

    def within_range(self, time: Int64, price: Float) -> NDArray[np.bool_]:
        """Whether each price lies in its session's range of bids and asks, half a per cent wider.

        No price does where the tape has no state of the session.
        """
        day, edges = self.day_of(time), self._edges[0]
        low = np.minimum.reduceat(self.mid - self.half_spread, edges) * (1.0 - RANGE_MARGIN)
        high = np.maximum.reduceat(self.mid + self.half_spread, edges) * (1.0 + RANGE_MARGIN)
        return (day >= 0) & (price >= low[day]) & (price <= high[day])


def ratio(above: Float, below: Float) -> Float:
    """Above over below, NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)

"""When no child order may be advised, and how large one may be."""

import math
from dataclasses import dataclass

from research_lib.config import Limited, limited
from research_lib.live.events import Book

STEP_BACK_SECONDS = 1.0  # venues' clocks step back by less, see the Binance reader


@dataclass(frozen=True)
class Limits(Limited):
    """What stops advice; it resumes with the first event that finds all in order.

    Attributes
    ----------
    stale_seconds : float
        Age of the book; also how late an interval's start may be noticed.
    clock_step_seconds : float
        From one event to the next; back by at most a second. A longer step forward, and the first
        time of all, wait for the next event to confirm them.
    price_band : float
        Distance of the mid from the order's first, as a fraction of it; also of a reported price
        from the mid, beyond which the report is refused.
    max_participation : float
        Shares advised as a fraction of what the market has traded since the order's start; 0: no
        limit.
    max_child_shares : float
        Of one child order; 0: no limit.

    Examples
    --------
    >>> Limits(stale_seconds=5).price_band
    0.2
    """

    stale_seconds: float = limited(30.0, above=0)
    clock_step_seconds: float = limited(300.0, above=0)
    price_band: float = limited(0.2, above=0)
    max_participation: float = limited(0.0, low=0, high=1)
    max_child_shares: float = limited(0.0, low=0)

    def step(self, before: int, now: int) -> str:
        """What is wrong with the time of an event after another's, ns; "" if nothing is."""
        if not before:
            return "the first time is not confirmed"
        seconds = (now - before) / 1e9
        if -STEP_BACK_SECONDS <= seconds <= self.clock_step_seconds:
            return ""
        return f"the clock steps by {seconds:,.1f} s, at most {self.clock_step_seconds:g} are due"

    def faults(
        self, book: Book | None, now: int, opened: int, late: float, arrival: float
    ) -> dict[str, str]:
        """What is wrong with the book at a time, by the name of the guard.

        `opened` (ns) is when the session or its last part began, `late` (s) when an interval's
        start was noticed, `arrival` the order's first mid, NaN before there is one.
        """
        found = {}
        if late > self.stale_seconds:
            found["late"] = f"the interval began {late:,.1f} s ago"
        age = (now - (opened if book is None else book.time)) / 1e9
        if age > self.stale_seconds:
            found["stale"] = f"the book is {age:,.1f} s old, at most {self.stale_seconds:g} are due"
        bid, ask = (-math.inf, math.inf) if book is None else book.touch
        if bid > ask:
            found["crossed"] = f"the best bid {bid:g} is above the best ask {ask:g}"
        away = abs(0.5 * (bid + ask) / arrival - 1.0)
        if self.price_band < away < math.inf:  # where a side is empty the mid is infinite or NaN
            where = f"the mid is {away:.1%} away from the first, {arrival:g}"
            found["band"] = f"{where}; at most {self.price_band:.1%} are due"
        return found

    def max_shares(self, advised: float, traded: float) -> float:
        """The largest child order after `advised` shares, where the market has `traded` others."""
        child = self.max_child_shares or math.inf
        share = self.max_participation * traded - advised if self.max_participation else math.inf
        return max(min(child, share), 0.0)

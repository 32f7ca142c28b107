"""Books as a trader of one side meets them: levels by their premium over the mid."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import PiecewiseLinearImpact
from research_lib.market import BookSnapshots, Session
from research_lib.market.book import side_sign

Float = NDArray[np.float64]
ROWS = ("time", "age", "mid", "half_spread", "premium", "size")


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
    symbol: str = ""

    @classmethod
    def of(cls, books: BookSnapshots | Ladder, side: str) -> Ladder:
        """The ladder of some books; one of the same side is taken as it is.

        Raises
        ------
        ValidationError
            Neither books nor a ladder, a ladder of the other side, or no book with two sides.
        """
        if isinstance(books, Ladder):
            if books.side != side:
                raise ValidationError(
                    f"the ladder is that of a {books.side}, not of a {side}; make one a side"
                )
            return books
        if not isinstance(books, BookSnapshots):
            raise ValidationError(f"books must be BookSnapshots, got {type(books).__name__}")
        curve, mid = PiecewiseLinearImpact.from_books(books, side), books.mid
        if not np.isfinite(mid).any():
            raise ValidationError(
                f"none of {len(books):,} books has two sides; nothing can be traded"
            )
        premium = curve.half_spread[:, None] + curve.premium
        spread, size = curve.half_spread, curve.depth
        return cls(side, books.time, books.age, mid, spread, premium, size, books.symbol)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def depth(self) -> Float:
        """Shares on display, (n,)."""
        return self.size.sum(axis=1)

    @property
    def price(self) -> Float:
        """Price of each level, (n, L) currency per share."""
        return self.mid[:, None] + side_sign(self.side) * self.premium

    def within(self, edges_bps: ArrayLike) -> Float:
        """Shares whose premium, bps of the mid, is in (edge k, edge k + 1], (n, K)."""
        edges = np.asarray(edges_bps, float)
        with np.errstate(invalid="ignore"):
            premium = 1e4 * self.premium / self.mid[:, None]
        up_to = [np.sum(np.where(premium <= edge, self.size, 0.0), axis=1) for edge in edges]
        return np.diff(np.stack(up_to, axis=1), axis=1)

    def edges_bps(self, n_edges: int) -> Float:
        """Geometric edges that hold nearly all premiums above 0, bps of the mid, (n_edges,)."""
        shown = (self.size > 0) & np.isfinite(self.mid)[:, None] & (self.premium > 0)
        premium = (1e4 * self.premium / self.mid[:, None])[shown]
        low, high = np.quantile(premium, [0.002, 0.99]) if premium.size else (1.0, 1.0)
        return np.geomspace(low / 1.1, high * 1.1, n_edges)

    def take(self, rows: ArrayLike | slice) -> Ladder:
        """The books selected by a mask, a slice or positions."""
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        return dataclasses.replace(self, **{name: self[name][index] for name in ROWS})

    def by_day(self, n_intervals: int) -> list[Ladder]:
        """One ladder a day of books sampled `n_intervals` a day, day after day.

        Raises
        ------
        ValidationError
            If the books are not a whole number of days.
        """
        if len(self) % n_intervals:
            raise ValidationError(
                f"{len(self):,} books are no whole number of days of {n_intervals}; sample them"
            )
        firsts = range(0, len(self), n_intervals)
        return [self.take(slice(first, first + n_intervals)) for first in firsts]


def sample_states(
    states: BookSnapshots, session: Session, *, latency_seconds: float = 0.0, slices: int = 1
) -> BookSnapshots:
    """The books that child orders sent at the start of each slice of each interval arrive at.

    Parameters
    ----------
    states : BookSnapshots
        As read, in time order.
    session : Session
        n_intervals intervals a day.
    latency_seconds : float
        From sending to arrival: the book is the last complete state at or before the slice's
        start plus the latency.
    slices : int
        Equal parts of each interval.

    Returns
    -------
    BookSnapshots
        n_days * n_intervals * slices books; `time` is that of the arrival.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> session = Session(13)
    >>> books = SyntheticMarket(session=session).books(13, 5, np.random.default_rng(0))
    >>> len(sample_states(books, session, latency_seconds=1.0, slices=2))
    26
    """
    lag = np.int64(round(1e9 * number("latency_seconds", latency_seconds, 0)))
    n_slices = number("slices", slices, 1, integer=True)
    opens = session.bounds(session.days(states.time))[0]
    # What is shown between the opening and the latency after it is met by the first child order,
    # and does not stand before the open.
    sent = np.where(states.time >= opens, np.maximum(states.time - lag, opens), states.time - lag)
    fine = dataclasses.replace(session, n_intervals=session.n_intervals * n_slices)
    sampled = dataclasses.replace(states, time=sent).sample(fine)
    return dataclasses.replace(sampled, time=sampled.time + lag)

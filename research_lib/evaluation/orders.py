"""An order, where it is filled and what became of it, and the checks on what a strategy answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation.ladder import Ladder

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Order:
    """Shares to fill in intervals start .. stop - 1 of the day's n, no more than `caps` (stop - start,) in each."""

    total_shares: float
    start: int
    stop: int
    n_intervals: int
    caps: Float

    @property
    def rows(self) -> slice:
        """The order's own intervals."""
        return slice(self.start, self.stop)

    @property
    def day_caps(self) -> Float:
        """Caps of the day's intervals up to the last of the order, (stop,); 0 before the order."""
        return np.concatenate([np.zeros(self.start), self.caps])


@dataclass(frozen=True, eq=False)
class Venue:
    """Where an order is filled: books to trade on, books to look at before, and how holes close (see `replay`)."""

    books: Ladder
    seen: Ladder
    refill: float = 1.0
    by_level: bool = False


class Filled(NamedTuple):
    """What became of an order: shares scheduled, shares filled and cost over the mid, (stop - start,); shares left."""

    shares: Float
    filled: Float
    cost: Float
    left: float


def with_rest(filled: Float, left: float) -> Float:
    """Shares filled, and in the last interval what is left, (n,)."""
    shares = filled.copy()
    shares[-1] += left
    return shares


def shown_until(seen: Ladder, visible: Float, t: int) -> Ladder:
    """Copies of the first t + 1 books, which cannot be written to and behind which no later book stands."""
    rows = {name: seen[name][: t + 1].copy() for name in ("time", "mid", "half_spread", "premium")}
    rows["size"] = visible[: t + 1].copy()
    for array in rows.values():
        array.setflags(write=False)
    return dataclasses.replace(seen, **rows)


def decided(want: Any, name: str, t: int) -> float:
    """What a strategy decided, as a finite number; ValidationError naming strategy and interval."""
    return float(number(f"the shares that {name} decides on in interval {t}", want))


def one_an_interval(n: int, expected: int, what: str) -> None:
    """Refuse n values where the order, or the day, has another number of intervals."""
    if n != expected:
        raise ValidationError(
            f"{what} has {n} intervals for {expected}; give one value an interval, one day at a time"
        )

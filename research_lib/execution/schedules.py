"""Schedules: how many shares in which interval, and the rulers to measure them by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record, number
from research_lib.errors import ValidationError

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Schedule(Record):
    """Shares of each child order.

    Attributes
    ----------
    shares : (n,) shares
        Finite, at least 0; the side belongs to the order.
    name : str
        As reports and legends show it.
    """

    shares: Float
    name: str

    def __post_init__(self) -> None:
        shares = np.array(self.shares, float)
        bad = ~(np.isfinite(shares) & (shares >= 0))
        if shares.ndim != 1 or bad.any():
            first = f"; {self.name} has {shares[bad][0]:g} in interval {int(np.argmax(bad))}" if bad.any() else ""
            raise ValidationError(f"scheduled shares must be (n,), finite and at least 0{first}")
        object.__setattr__(self, "shares", shares)


def twap(total_shares: float, n_intervals: int) -> Schedule:
    """Equal shares in every interval, total_shares / n_intervals each."""
    n = number("n_intervals", n_intervals, 1, integer=True)
    total = number("total_shares", total_shares, 0)
    return Schedule(np.full(n, total / n), "TWAP")

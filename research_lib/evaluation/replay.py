"""What a schedule would have cost on recorded books."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.execution.schedules import Schedule
from research_lib.market.book import BookSnapshots

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Execution(Record):
    """A schedule as the books filled it.

    Attributes
    ----------
    name : str
        The schedule's.
    shares : (n,) shares
        Scheduled for each interval.
    filled : (n,) shares
        Filled in each interval, carried orders included.
    unfilled : float
        Shares left after the last interval; sum(shares) = sum(filled) + unfilled.
    cost_by_interval : (n,) currency
        filled * (average price - mid), signed by side: positive is bad.
    cost : float
        Their sum, currency, over each interval's mid.
    cost_per_share : float
        cost / sum(filled), currency per share.
    cost_bps : float
        cost_per_share in bps of the mid of the first interval that has one.
    """

    name: str
    shares: Float
    filled: Float
    unfilled: float
    cost_by_interval: Float
    cost: float
    cost_per_share: float
    cost_bps: float


def replay(schedule: Schedule, books: BookSnapshots, side: str) -> Execution:
    """Walk each child order through the recorded book of its interval.

    What a book cannot fill is carried on to the next interval and added to its child
    order; what is left after the last one is `unfilled`. Each book is taken as recorded:
    own trades of earlier intervals have been refilled.

    Parameters
    ----------
    schedule : Schedule
        n child orders, shares.
    books : BookSnapshots
        n snapshots, one an interval, as `BookSnapshots.sample` gives for one day. A
        snapshot without two sides fills nothing.
    side : "buy" or "sell"

    Raises
    ------
    ValidationError
        If there is not one book an interval, or none has two sides.
    """
    if not isinstance(schedule, Schedule):
        raise ValidationError(f"schedule must be a Schedule, got {type(schedule).__name__}; use Schedule(shares, name)")
    n = len(schedule.shares)
    if len(books) != n:
        raise ValidationError(f"{len(books):,} books for {n:,} intervals; sample the books to one an interval")
    mid = books.mid
    quoted = np.isfinite(mid)
    if not quoted.any():
        raise ValidationError(f"none of {n:,} books has two sides; nothing can be traded")
    prices, sizes = books.levels(side)
    premium = np.where(sizes > 0, prices - mid[:, None], 0.0)
    shown_before = np.cumsum(sizes, axis=1) - sizes
    filled, cost = np.zeros(n), np.zeros(n)
    carried = 0.0
    for t in range(n):
        order = schedule.shares[t] + carried
        if order > 0 and quoted[t]:
            filled[t] = min(order, sizes[t].sum())
            cost[t] = np.clip(filled[t] - shown_before[t], 0.0, sizes[t]) @ premium[t]
        carried = order - filled[t]
    if side == "sell":
        cost = -cost
    per_share = float(cost.sum() / filled.sum()) if filled.sum() > 0 else 0.0
    return Execution(
        name=schedule.name,
        shares=schedule.shares,
        filled=filled,
        unfilled=float(carried),
        cost_by_interval=cost,
        cost=float(cost.sum()),
        cost_per_share=per_share,
        cost_bps=1e4 * per_share / float(mid[quoted][0]),
    )

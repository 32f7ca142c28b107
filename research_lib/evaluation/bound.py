"""The least that any strategy could have paid, and how much of the attainable saving one caught."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation.filling import cheapest_first
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.replay import Execution, as_caps, settled
from research_lib.market import BookSnapshots

BOUND = "clairvoyant"
ROUNDING = 1e-9


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
        One an interval of one day; days are not told apart, all that is given is one order's.
    total_shares : float
    side : "buy" or "sell"
    max_shares : scalar or (n,) shares, optional

    Returns
    -------
    Execution
        `unfilled` is what all books together do not hold.
    """
    ladder = Ladder.of(books, side)
    n = len(ladder)
    filled, cost = np.zeros(n), np.zeros(n)
    total = number("total_shares", total_shares, 0)
    order = np.argsort(ladder.premium, axis=None, kind="stable")
    left = cheapest_first(
        ladder.premium, ladder.size, order, as_caps(max_shares, n), total, filled, cost
    )
    shares = filled.copy()
    shares[-1] += left
    return settled(BOUND, shares, filled, left, cost, ladder, "the books themselves")


def attainable_share(execution: Execution, ruler: Execution, bound: Execution) -> float:
    """(ruler - execution) / (ruler - bound), costs over the mid: 1 is perfect foresight, 0 the ruler, NaN no room.

    Raises
    ------
    ValidationError
        If the three did not fill the same number of shares: their costs do not compare.
    """
    filled = [one.filled.sum() for one in (execution, ruler, bound)]
    if max(filled) - min(filled) > 1e-6 * max(1.0, max(filled)):
        raise ValidationError(
            f"{execution.name}, {ruler.name} and {bound.name} filled {filled[0]:,.6g}, {filled[1]:,.6g} and "
            f"{filled[2]:,.6g} shares; costs compare only where the same order is filled: lower total_shares"
        )
    room = attainable(ruler.cost, bound.cost)
    return (ruler.cost - execution.cost) / room


def attainable(ruler: float, bound: float) -> float:
    """What could be saved, ruler - bound; NaN where that is nothing but rounding."""
    return ruler - bound if ruler - bound > ROUNDING * abs(ruler) else float("nan")

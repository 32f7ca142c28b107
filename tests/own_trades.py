"""Books after own trades, book by book: the plain twin of what `replay(..., refill=...)` walks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from research_lib.market import BookSnapshots, Session

SAME_PRICE = 1e-12  # of the price: what prices of one level may differ by in binary


def after_own_trades(
    books: BookSnapshots, shares: ArrayLike, side: str, refill_rate: float, *, anchor: str = "price"
) -> BookSnapshots:
    """The books, one an interval, that a trader sees who takes `shares` from each.

    Own trades leave depletion H_t(p) at every price p that they take from. Level p of book t shows
    (V_t(p) - H_t(p))^+, and H_{t+1}(p) = (1 - refill_rate) (H_t(p) + taken_t(p)) if book t + 1 has
    a level at p, else 0. With `anchor="level"` the depletion of level k follows level k wherever
    it goes. Depletion ends overnight. A level consumed whole is gone, the ones behind it move up.
    """
    price, size = books.levels(side)
    orders = np.broadcast_to(np.asarray(shares, float), len(books))
    days = Session().days(books.time)
    shown, consumed = size.copy(), np.zeros(size.shape[1])  # depletion and what was taken from it
    for t in range(len(size)):
        fresh = t == 0 or days[t] != days[t - 1]
        depletion = np.zeros(len(consumed)) if fresh else (1.0 - refill_rate) * consumed
        if t and anchor == "price":
            distance = np.abs(price[t][:, None] - price[t - 1])
            depletion = (distance <= SAME_PRICE * price[t][:, None]) @ depletion
        shown[t] = np.maximum(size[t] - depletion, 0.0)
        left = np.maximum(orders[t] - np.append(0.0, np.cumsum(shown[t])[:-1]), 0.0)
        consumed = depletion + np.minimum(left, shown[t])
    order = np.argsort(shown <= 0, axis=1, kind="stable")  # empty levels last, the others in order
    name = "ask" if side == "buy" else "bid"
    levels: dict[str, Any] = {
        f"{name}_price": np.take_along_axis(price, order, axis=1),
        f"{name}_size": np.take_along_axis(shown, order, axis=1),
    }
    return dataclasses.replace(books, **levels)

"""Books after own trades: depleted liquidity, and how fast it is replenished."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session

Float = NDArray[np.float64]
SAME_PRICE = 1e-12  # of the price: what prices of one level may differ by in binary


def after_own_trades(
    books: BookSnapshots,
    shares: ArrayLike,
    side: str,
    refill_rate: float,
    *,
    anchor: str = "price",
    session: Session | None = None,
) -> BookSnapshots:
    r"""The books that a trader sees who takes `shares` from each, one after the other.

    Own trades leave depletion H_t(p) at every price p that they take from. Level p of book
    t shows what the market offers less the depletion, which is replenished at rate rho:

    .. math::
        S_t(p) = (V_t(p) - H_t(p))^+, \qquad
        H_{t+1}(p) = (1 - \rho) \, (H_t(p) + \mathrm{taken}_t(p))
        \quad \text{if book } t + 1 \text{ has a level at } p, \text{ else } 0,

    where taken_t walks S_t, best price first, until shares_t are filled or S_t is empty.
    So with rho = 1 the books are unchanged; with rho = 0 what was consumed stays so as
    long as the price is shown, and a price that leaves the book comes back whole. Where
    the mid moves by more than the book is deep from one book to the next, hardly a price
    stays: there `anchor="level"` lets the depletion of level k follow level k wherever it
    goes, the worst case, as in the block-shaped book of Obizhaeva and Wang (2013).
    Depletion ends overnight. What is fitted to or replayed on the unchanged books assumes rho = 1.

    Parameters
    ----------
    books : BookSnapshots
        One an interval, in time order, as the market offers them without the trader.
    shares : scalar or (n,) shares, at least 0
        Taken from each book; what a book cannot fill is not carried on.
    side : str
        "buy" consumes the asks, "sell" the bids.
    refill_rate : float
        rho, the part of the depletion that is replenished from one book to the next, in [0, 1].
    anchor : str
        "price" or "level": what depletion stays with from one book to the next.
    session : Session, optional
        Whose days are meant.

    Returns
    -------
    BookSnapshots
        As shown just before each trade. A level consumed whole is gone, the ones behind
        it move up, and the last ones are empty (NaN price, size 0): mid and spread
        follow, so measure costs from the mid of `books`.

    Raises
    ------
    ValidationError
        Unknown side or anchor, rate outside [0, 1], negative or NaN shares or not one a book.

    References
    ----------
    Obizhaeva, A., Wang, J. (2013), "Optimal trading strategy and supply/demand dynamics",
    Journal of Financial Markets 16, 1-32.

    Examples
    --------
    >>> one = np.ones((3, 1))
    >>> books = BookSnapshots(60 * 10**9 * np.arange(3), 9.99 * one, one, 10.0 * one, 100 * one)
    >>> after_own_trades(books, [80, 0, 0], "buy", 0.5).ask_size.ravel().tolist()
    [100.0, 60.0, 80.0]
    """
    refuse_unknown([anchor], ("price", "level"), "anchor")
    rho = number("refill_rate", refill_rate, 0, 1)
    price, size = books.levels(side)
    orders = np.broadcast_to(_checked_shares(shares, len(books)), len(books)).astype(float)
    days = (session or Session()).days(books.time)
    new_day = np.append(True, days[1:] != days[:-1]) if len(books) else np.zeros(0, bool)
    left = _depleted(price, size, orders, rho, new_day, anchor == "level")
    # Empty levels go last, the others keep their order.
    order = np.argsort(left <= 0, axis=1, kind="stable")
    name = "ask" if side == "buy" else "bid"
    shown: dict[str, Any] = {
        f"{name}_price": np.take_along_axis(price, order, axis=1),
        f"{name}_size": np.take_along_axis(left, order, axis=1),
    }
    return dataclasses.replace(books, **shown)


def _checked_shares(shares: ArrayLike, n: int) -> Float:
    orders = np.asarray(shares, float)
    if orders.shape not in ((), (n,)):
        raise ValidationError(
            f"shares has shape {orders.shape}, there are {n} books; give one number or ({n},)"
        )
    bad = ~(np.isfinite(orders) & (orders >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValidationError(
            f"shares must be finite and at least 0, got {orders.ravel()[row]:g} in row {row}"
        )
    return orders


def _depleted(
    price: Float, size: Float, orders: Float, rho: float, new_day: NDArray[np.bool_], by_level: bool
) -> Float:
    """Sizes shown before each trade, (n, L); the recursion of `after_own_trades`."""
    shown, consumed = size.copy(), np.zeros(size.shape[1])  # depletion and what was taken from it
    for t in range(len(size)):
        depletion = (1.0 - rho) * consumed if not new_day[t] else np.zeros(len(consumed))
        if t and not by_level:
            distance = np.abs(price[t][:, None] - price[t - 1])
            depletion = (distance <= SAME_PRICE * price[t][:, None]) @ depletion
        shown[t] = np.maximum(size[t] - depletion, 0.0)
        left = np.maximum(orders[t] - np.append(0.0, np.cumsum(shown[t])[:-1]), 0.0)
        consumed = depletion + np.minimum(left, shown[t])
    return shown

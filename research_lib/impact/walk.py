"""The walk of one side of a book: the compiled loop, and the average price from a single book."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import numbers, same_labels
from research_lib.compiling import compiled
from research_lib.errors import ValidationError

Float = NDArray[np.float64]


def walk_book(prices: ArrayLike, sizes: ArrayLike, shares: ArrayLike) -> Float:
    r"""Average price of orders that walk one side of one book.

    .. math:: \bar p(x) = \frac1x \sum_l p_l \min(v_l, (x - \sum_{j<l} v_j)^+)

    Parameters
    ----------
    prices, sizes : (L,) currency per share, shares
        Walked in the order given, best level first; levels of size 0 or price NaN are empty.
        Two Series are aligned by their labels.
    shares : (k,) shares, each above 0
        In any order.

    Returns
    -------
    (k,) currency per share
        NaN where the order exceeds the visible depth.

    Raises
    ------
    ValidationError
        Prices and sizes of different shape or labels, or a trade size that is not finite and
        above 0.

    Examples
    --------
    >>> walk_book([10.0, 11.0], [100, 80], [100, 150, 181]).round(3).tolist()
    [10.0, 10.333, nan]
    """
    labels = prices.index if isinstance(prices, pd.Series) else None
    price = np.atleast_2d(numbers("prices", prices))
    size = np.atleast_2d(numbers("sizes", same_labels("sizes", sizes, labels)))
    if price.shape != size.shape or len(price) != 1:
        raise ValidationError(
            f"prices {np.shape(prices)} and sizes {np.shape(sizes)} must be one book, (L,) each"
        )
    orders = checked_sizes(shares)
    lower_bound, depth = walk_levels(price, size, orders)
    return np.where(orders > depth, np.nan, lower_bound[0])


def walk_levels(prices: Float, sizes: Float, shares: Float) -> tuple[Float, Float]:
    """Lower bound of the average price, (n, K), and visible depth, (n,), of (n, L) levels as given.

    The bound is the exact average where the order is filled; beyond the visible depth it
    prices the rest at the last visible level. NaN where a book shows no level at all.
    """
    n = len(prices)
    lower_bound, depth, touch = np.empty((n, len(shares))), np.empty(n), np.empty(n)
    levels = np.ascontiguousarray(prices), np.ascontiguousarray(sizes)
    walk_rows(*levels, shares, 0.0, lower_bound, depth, touch)
    return lower_bound, depth


def checked_sizes(shares: ArrayLike) -> Float:
    """Trade sizes as a new (K,), each finite and above 0; else the first that is not is named."""
    try:
        sizes = np.array(shares, float, ndmin=1, order="C")  # results keep the copy
    except (TypeError, ValueError) as error:
        raise ValidationError(f"trade_sizes must be numbers of shares, got {shares!r}") from error
    bad = ~(np.isfinite(sizes) & (sizes > 0))
    if sizes.ndim != 1 or not sizes.size:
        raise ValidationError(f"trade_sizes must be a list of shares, got shape {sizes.shape}")
    if bad.any():
        raise ValidationError(
            f"trade_sizes must be finite and above 0: {int(bad.sum())} of {len(sizes)} are not, "
            f"first {sizes[bad][0]:g} at position {int(np.argmax(bad))}"
        )
    return sizes


@compiled
def _visible(prices: Float, sizes: Float, sign: float, price: Float, size: Float) -> int:
    """Copy the levels of one book that hold shares to `price` and `size`, (L,), and count them.

    `sign` 1 sorts prices upwards, -1 downwards, 0 keeps them as given; equal prices keep their
    order.
    """
    used = 0
    for level in range(prices.shape[0]):
        if sizes[level] > 0.0 and math.isfinite(prices[level]):
            at = used
            while at > 0 and sign * prices[level] < sign * price[at - 1]:
                price[at], size[at] = price[at - 1], size[at - 1]
                at -= 1
            price[at], size[at] = prices[level], sizes[level]
            used += 1
    return used


@compiled
def walk_rows(
    prices: Float, sizes: Float, shares: Float, sign: float,
    lower_bound: Float, depth: Float, touch: Float,
) -> None:  # fmt: skip
    """Fill `lower_bound` (n, K), `depth` and `touch` (n,) from (n, L) levels.

    Whatever passes beyond level l pays its step to the next one, so the average price of x is
    p_0 + sum_l (p_{l+1} - p_l) (x - v_0 - ... - v_l)^+ / x. On ordered prices the sum has no
    cancellation, and nothing branches on x: the inner loop is vectorised over the K sizes.
    Where depth runs out no further step follows: the rest is priced at the last visible level.
    """
    n_levels, n_sizes = prices.shape[1], shares.shape[0]
    price, size, beyond = np.empty(n_levels), np.empty(n_levels), np.empty(n_sizes)
    for row in range(prices.shape[0]):
        used = _visible(prices[row], sizes[row], sign, price, size)
        touch[row] = price[0] if used else np.nan
        passed = size[0] if used else 0.0
        beyond[:] = 0.0
        for level in range(1, used):
            step = price[level] - price[level - 1]
            for k in range(n_sizes):
                beyond[k] += step * max(shares[k] - passed, 0.0)
            passed += size[level]
        depth[row] = passed
        for k in range(n_sizes):
            lower_bound[row, k] = touch[row] + beyond[k] / shares[k]

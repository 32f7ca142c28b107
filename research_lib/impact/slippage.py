"""Walking the book: the average price of an order of x shares, on one book or many."""

import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, Int64, Mask, number, numbers, refuse_rows, same_rows
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session
from research_lib.market.book import best_of, side_sign
from research_lib.market.sessions import as_session
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)

LONGEST_INTERVALS = 390
SLACK = 1.0 + 1e-12  # rounding error of a book's sum: an order of all visible shares is filled


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
    book = same_rows(prices=prices, sizes=sizes)
    price, size = (np.array(numbers(name, book[name]), ndmin=2, order="C") for name in book)
    if price.shape != size.shape or len(price) != 1:
        raise ValidationError(f"prices {price.shape} and sizes {size.shape} must be one book, (L,)")
    orders = checked_sizes(shares)
    lower_bound, depth, touch = np.empty((1, len(orders))), np.empty(1), np.empty(1)
    walk_rows(price, size, orders, 0.0, lower_bound, depth, touch)
    return np.where(orders / SLACK > depth, np.nan, lower_bound[0])


def checked_sizes(shares: ArrayLike) -> Float:
    """Trade sizes as a new (K,), each finite and above 0; the first other one is named."""
    # A copy, which results keep.
    sizes = np.array(numbers("trade_sizes", shares, "numbers of shares"), ndmin=1, order="C")
    if sizes.ndim != 1 or not sizes.size:
        raise ValidationError(f"trade_sizes must be a list of shares, got shape {sizes.shape}")
    good = np.isfinite(sizes) & (sizes > 0)
    refuse_rows(~good, "trade_sizes", sizes, "must be finite and above 0")
    return sizes


@dataclass(frozen=True, eq=False)
class SlippageCurves(Record):
    """Slippage of K trade sizes on n snapshots, one side.

    Attributes
    ----------
    time : (n,) int64 ns UTC
    side : str
        "buy" walks the asks, "sell" the bids.
    trade_sizes : (K,) shares
    mid, half_spread, touch : (n,) currency per share
        From the best levels that hold shares; `touch` is the best price of the walked side.
    depth : (n,) shares
        Visible on the walked side; a larger order is censored.
    lower_bound : (n, K) currency per share
        Average price if the unfilled rest were filled at the last visible level.
    filled, censored, average_price, slippage, impact : (n, K)
        Computed at each access.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(1)
    >>> time, walked = np.zeros(1, "int64"), np.array([[101.0, 101.5]])
    >>> curves = SlippageCurves(
    ...     time, "buy", np.array([5.0, 10.0]), 100 * one, one, 101 * one, 8 * one, walked
    ... )
    >>> curves.slippage.tolist(), curves["filled"].tolist()
    ([[1.0, nan]], [[5.0, 8.0]])
    """

    time: Int64
    side: str
    trade_sizes: Float
    mid: Float
    half_spread: Float
    touch: Float
    depth: Float
    lower_bound: Float

    def keys(self) -> list[str]:
        """Names that ``curves[name]`` answers."""
        return [*super().keys(), "filled", "censored", "average_price", "slippage", "impact"]

    @property
    def filled(self) -> Float:
        """Shares that the visible depth fills, (n, K)."""
        return np.minimum(self.trade_sizes, self.depth[:, None])

    @property
    def censored(self) -> Mask:
        """Where the visible depth ran out, (n, K)."""
        return self.trade_sizes / SLACK > self.depth[:, None]

    @property
    def average_price(self) -> Float:
        """Average price, (n, K) currency per share; NaN where censored."""
        return self._beyond(0.0, 1.0)

    @property
    def slippage(self) -> Float:
        """Average price beyond the mid, cost positive, (n, K) currency; NaN where censored."""
        return self._beyond(self.mid, side_sign(self.side))

    @property
    def impact(self) -> Float:
        """Average price beyond the touch, 0 within its size, (n, K); NaN where censored."""
        return self._beyond(self.touch, side_sign(self.side))

    def _beyond(self, reference: Float | float, sign: float) -> Float:
        beyond: Float = self.lower_bound - np.reshape(reference, (-1, 1))
        beyond *= sign  # in place: these arrays are large
        beyond[self.censored] = np.nan
        return beyond

    def to_frame(
        self, n_intervals: int | None = None, session: Session | None = None
    ) -> pd.DataFrame:
        """One row a snapshot and trade size; snapshots without two sides are left out.

        Columns: time, interval, side, trade_size, filled, avg_price, mid_price, half_spread,
        avg_slippage, slippage_bps, impact, censored. In a censored row the rest is priced at the
        last visible level, which is a lower bound.

        Parameters
        ----------
        n_intervals : int, optional
            Equal intervals that the session is cut into; by default as many as the
            snapshots have distinct times of day, 390 at most.
        session : Session, optional
            Its hours and time zone; 09:30-16:00 America/New_York by default.
        """
        quoted, n = np.isfinite(self.mid), len(self.mid)
        if not quoted.any():
            raise ValidationError(f"none of {n:,} books has both sides, which slippage needs")
        if not quoted.all():
            logger.info("%d of %d snapshots lack a side: left out", n - quoted.sum(), n)
        hours = as_session(session)
        hours = replace(hours, n_intervals=n_intervals or count_intervals(self.time, hours))
        interval, at = hours.interval_of(self.time), pd.to_datetime(self.time, utc=True)
        rule = f"must be inside the session {hours.hours} (select with .between)"
        refuse_rows(interval < 0, "time", at, rule)
        row = np.repeat(np.flatnonzero(quoted), len(self.trade_sizes))
        mid, depth = self.mid[row], self.depth[row]
        trade_size, sign = np.tile(self.trade_sizes, int(quoted.sum())), side_sign(self.side)
        price = self.lower_bound[quoted].ravel()
        slippage = sign * (price - mid)
        return pd.DataFrame({
            "time": at[row], "interval": interval[row],
            "side": pd.Categorical.from_codes(np.zeros(len(mid), np.int8), [self.side]),
            "trade_size": trade_size, "filled": np.minimum(trade_size, depth),
            "avg_price": price, "mid_price": mid, "half_spread": self.half_spread[row],
            "avg_slippage": slippage, "slippage_bps": 1e4 * slippage / mid,
            "impact": sign * (price - self.touch[row]), "censored": trade_size / SLACK > depth,
        })  # fmt: skip


@timed("slippage_curves")
def slippage_curves(
    books: BookSnapshots, trade_sizes: ArrayLike, side: str, *, batch_size: int = 100_000,
    parallel: bool = False, log_batches: bool = False,
) -> SlippageCurves:  # fmt: skip
    """Walk every snapshot for every trade size.

    Slippage is (average price - mid) for a buy and (mid - average price) for a sell,
    signed: a crossed book gives negative slippage, never its absolute value.

    Parameters
    ----------
    books : BookSnapshots
        n snapshots; levels are walked away from the mid, whatever their order; empty ones are
        skipped.
    trade_sizes : (K,) shares, each above 0
        In any order.
    side : "buy" or "sell"
    batch_size : int
        Snapshots walked at a time, at most; an interrupt takes effect between batches.
    parallel : bool
        Walk batches in one thread a core; the result is bit for bit the same.
    log_batches : bool
        Log every batch at INFO.

    Returns
    -------
    SlippageCurves

    Raises
    ------
    ValidationError
        Books that are not BookSnapshots, a trade size that is not finite and above 0,
        an unknown side, a batch size below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from research_lib.market import BookSnapshots
    >>> opening = np.datetime64("2024-03-04T14:30", "ns").astype("int64")
    >>> bids, asks, sizes = [[99.0, 98.0]], [[101.0, 103.0]], [[5.0, 5.0]]
    >>> books = BookSnapshots([opening], bids, sizes, asks, sizes)
    >>> slippage_curves(books, [5, 10, 20], "buy").slippage.tolist()
    [[1.0, 2.0, nan]]
    """
    if not isinstance(books, BookSnapshots):
        found = f"books must be BookSnapshots, got {type(books).__name__}"
        raise ValidationError(f"{found}; a frame is read by BookSnapshots.from_frame")
    shares, sign, n = checked_sizes(trade_sizes), side_sign(side), len(books)
    rows_at_once = number("batch_size", batch_size, 1, integer=True)
    levels = [np.ascontiguousarray(array) for array in books.levels(side)]
    found = np.empty((n, len(shares))), np.empty(n), np.empty(n)

    def walk(rows: slice) -> slice:
        walk_rows(*(a[rows] for a in levels), shares, sign, *(a[rows] for a in found))
        return rows

    threads = (os.cpu_count() or 1) if parallel else 1
    step = max(1, min(rows_at_once, -(-n // threads)))
    batches = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    with ThreadPoolExecutor(threads) as pool:  # starts no thread before it gets work
        for done in pool.map(walk, batches) if parallel else map(walk, batches):
            if log_batches:
                logger.info("walked %s snapshots %s to %s of %s", side, done.start, done.stop, n)
    lower_bound, depth, touch = found
    opposite = best_of(books.levels("sell" if side == "buy" else "buy")[0], sign)
    mid, half_spread = 0.5 * (touch + opposite), 0.5 * sign * (touch - opposite)
    return SlippageCurves(books.time, side, shares, mid, half_spread, touch, depth, lower_bound)


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

    Shares beyond level l pay the price step to the next level, so the average price of x is
    p_0 + sum_l (p_{l+1} - p_l) (x - v_0 - ... - v_l)^+ / x. On ordered prices the sum has no
    cancellation and no branch on x, so the inner loop is vectorised over the K sizes. Beyond the
    depth there is no further step: the rest is priced at the last visible level.
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


def count_intervals(time: Int64, session: Session) -> int:
    """Distinct times of day among `time` (n,) ns UTC, at least 1 and at most 390 (one minute)."""
    traded, length = session.traded_ns(time)  # of the day's own length: half days count alike
    return max(1, min(len(np.unique(np.round(traded / length, 9))), LONGEST_INTERVALS))

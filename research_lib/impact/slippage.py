"""Walking the book: what an order of x shares would have paid, snapshot by snapshot."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]
LONGEST_INTERVALS = 390


@njit(cache=True, nogil=True)
def _walk(prices: Float, sizes: Float, shares: Float, average: Float, filled: Float) -> None:
    """Fill `average` and `filled`, (n, K), by walking (n, L) levels, best first, empty ones skipped.

    Where depth runs out the rest is priced at the last visible level: a lower bound of the cost.
    """
    for row in range(prices.shape[0]):
        for k in range(shares.shape[0]):
            left, paid, last = shares[k], 0.0, np.nan
            for level in range(prices.shape[1]):
                if sizes[row, level] > 0.0:
                    last = prices[row, level]
                    taken = min(left, sizes[row, level])
                    paid += taken * last
                    left -= taken
                    if left <= 0.0:
                        break
            filled[row, k] = shares[k] - left
            average[row, k] = (paid + left * last) / shares[k] if left > 0.0 else paid / shares[k]


def walk_book(prices: ArrayLike, sizes: ArrayLike, shares: ArrayLike) -> Float:
    r"""Average price of orders that walk one side of one book.

    .. math:: \bar p(x) = \frac1x \sum_l p_l \min(v_l, (x - \sum_{j<l} v_j)^+)

    Parameters
    ----------
    prices, sizes : (L,) currency per share, shares
        Best level first; levels of size 0 or price NaN are empty.
    shares : (k,) shares, each above 0

    Returns
    -------
    (k,) currency per share
        NaN where the order exceeds the visible depth.
    """
    price, size = np.atleast_2d(np.asarray(prices, float)), np.atleast_2d(np.asarray(sizes, float))
    if price.shape != size.shape or len(price) != 1:
        raise ValidationError(f"prices {np.shape(prices)} and sizes {np.shape(sizes)} must be one book, (L,) each")
    orders = checked_sizes(shares)
    average, filled = walk_levels(price, np.where(np.isfinite(price), size, 0.0), orders)
    return np.where(filled[0] < orders, np.nan, average[0])


def walk_levels(prices: Float, sizes: Float, shares: Float) -> tuple[Float, Float]:
    """Lower bound of the average price and shares filled, (n, K) each, for (n, L) levels.

    The bound is the exact average where the order is filled; beyond the visible depth it
    prices the rest at the last visible level. NaN where a side shows no level at all.
    """
    average, filled = np.empty((len(prices), len(shares))), np.empty((len(prices), len(shares)))
    _walk(prices, sizes, shares, average, filled)
    return average, filled


@dataclass(frozen=True, eq=False)
class SlippageCurves(Record):
    """Slippage of K trade sizes on n snapshots, one side.

    Attributes
    ----------
    time : (n,) int64 ns UTC
    side : str
        "buy" walks the asks, "sell" the bids.
    trade_sizes : (K,) shares
    mid, half_spread : (n,) currency per share
    filled : (n, K) shares
        Less than the trade size where the visible depth ran out: the row is censored.
    lower_bound : (n, K) currency per share
        Average price with the unfilled rest at the last visible level.
    """

    time: NDArray[np.int64]
    side: str
    trade_sizes: Float
    mid: Float
    half_spread: Float
    filled: Float
    lower_bound: Float

    @property
    def censored(self) -> NDArray[np.bool_]:
        """Where the visible depth ran out, (n, K)."""
        return self.filled < self.trade_sizes

    @property
    def average_price(self) -> Float:
        """Average price, (n, K) currency per share; NaN where censored."""
        return np.where(self.censored, np.nan, self.lower_bound)

    @property
    def slippage(self) -> Float:
        """Average price beyond the mid, cost positive, (n, K) currency per share; NaN where censored."""
        return self._beyond_mid(self.average_price)

    @property
    def impact(self) -> Float:
        """Average price beyond the touch, (n, K) currency per share; NaN where censored."""
        return self.slippage - self.half_spread[:, None]

    def to_frame(self, n_intervals: int | None = None, session: Session | None = None) -> pd.DataFrame:
        """One row a snapshot and trade size; snapshots without two sides are left out.

        Columns: time, interval, side, trade_size, filled, avg_price, mid_price, half_spread,
        avg_slippage, slippage_bps, impact, censored. A censored row prices the rest at the
        last visible level, a lower bound.

        Parameters
        ----------
        n_intervals : int, optional
            Equal intervals that the session is cut into; by default as many as the
            snapshots have distinct times of day, 390 at most.
        session : Session, optional
            Its hours and time zone; 09:30-16:00 America/New_York by default.
        """
        quoted = np.isfinite(self.mid) & np.isfinite(self.lower_bound).all(axis=1)
        if not quoted.any():
            raise ValidationError(f"none of {len(quoted):,} books has both sides; slippage from the mid needs them")
        if not quoted.all():
            logger.info("%s of %s snapshots lack a side and are left out", f"{(~quoted).sum():,}", f"{len(quoted):,}")
        interval = session_intervals(self.time, n_intervals, session or Session())
        time = self.time[quoted]
        n_sizes = len(self.trade_sizes)
        slippage = self._beyond_mid(self.lower_bound)[quoted]
        mid, half_spread = np.repeat(self.mid[quoted], n_sizes), np.repeat(self.half_spread[quoted], n_sizes)
        return pd.DataFrame(
            {
                "time": pd.DatetimeIndex(np.repeat(time, n_sizes).astype("datetime64[ns]"), tz="UTC"),
                "interval": np.repeat(interval[quoted], n_sizes),
                "side": pd.Categorical.from_codes(np.zeros(len(mid), np.int8), categories=[self.side]),
                "trade_size": np.tile(self.trade_sizes, len(time)),
                "filled": self.filled[quoted].ravel(),
                "avg_price": self.lower_bound[quoted].ravel(),
                "mid_price": mid,
                "half_spread": half_spread,
                "avg_slippage": slippage.ravel(),
                "slippage_bps": 1e4 * slippage.ravel() / mid,
                "impact": slippage.ravel() - half_spread,
                "censored": self.censored[quoted].ravel(),
            }
        )

    def _beyond_mid(self, price: Float) -> Float:
        return (price - self.mid[:, None]) * (1.0 if self.side == "buy" else -1.0)


def slippage_curves(
    books: BookSnapshots,
    trade_sizes: ArrayLike,
    side: str,
    *,
    batch_size: int = 100_000,
    parallel: bool = False,
    log_batches: bool = False,
) -> SlippageCurves:
    """Walk every snapshot for every trade size.

    Slippage is (average price - mid) for a buy and (mid - average price) for a sell,
    signed: a crossed book gives negative slippage, never its absolute value.

    Parameters
    ----------
    books : BookSnapshots
        n snapshots; levels out of order are sorted away from the mid before the walk.
    trade_sizes : (K,) shares, each above 0
    side : "buy" or "sell"
    batch_size : int
        Snapshots walked at a time.
    parallel : bool
        Walk batches on all cores.
    log_batches : bool
        Log every batch at INFO.

    Returns
    -------
    SlippageCurves
    """
    if not isinstance(books, BookSnapshots):
        raise ValidationError(f"books must be BookSnapshots, got {type(books).__name__}; see BookSnapshots.from_frame")
    shares = checked_sizes(trade_sizes)
    prices, sizes = _ordered(*books.levels(side), sign=1 if side == "buy" else -1)
    average, filled = np.empty((len(books), len(shares))), np.empty((len(books), len(shares)))

    def walk(rows: slice) -> slice:
        _walk(prices[rows], sizes[rows], shares, average[rows], filled[rows])
        return rows

    for done in _in_batches(walk, len(books), batch_size, parallel):
        if log_batches:
            logger.info("walked %s snapshots %s to %s of %s", side, done.start, done.stop, len(books))
    return SlippageCurves(books.time, side, shares, books.mid, books.half_spread, filled, average)


def _in_batches(walk: Any, n: int, batch_size: int, parallel: bool) -> Iterator[slice]:
    batches = [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
    if not parallel:
        yield from map(walk, batches)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(walk, batches)


def checked_sizes(shares: ArrayLike) -> Float:
    """Trade sizes as (K,) floats, each finite and above 0, or a ValidationError that names the first that is not."""
    try:
        sizes = np.atleast_1d(np.asarray(shares, float))
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


def _ordered(prices: Float, sizes: Float, sign: int) -> tuple[Float, Float]:
    """Levels of each snapshot sorted away from the mid, empty ones last."""
    if not np.any(sign * np.diff(prices, axis=1) < 0):
        return prices, sizes
    order = np.argsort(sign * prices, axis=1, kind="stable")
    return np.take_along_axis(prices, order, axis=1), np.take_along_axis(sizes, order, axis=1)


def session_intervals(time: NDArray[np.int64], n_intervals: int | None, session: Session) -> NDArray[np.int64]:
    """Interval of each time (n,); by default the session is cut as finely as there are times of day, 390 at most.

    Raises
    ------
    ValidationError
        Naming how many times are outside the session, the first of them and the remedy.
    """
    cut = dataclasses.replace(session, n_intervals=n_intervals or count_intervals(time, session))
    interval = cut.interval_of(time)
    outside = interval < 0
    if outside.any():
        first = pd.Timestamp(time[np.argmax(outside)], tz="UTC")
        raise ValidationError(
            f"{int(outside.sum()):,} of {len(time):,} snapshots are outside the session {session.open}-{session.close} "
            f"{session.timezone}, first at {first}; select with BookSnapshots.between or .sample"
        )
    return interval


def count_intervals(time: NDArray[np.int64], session: Session) -> int:
    """Distinct times of day among `time` (n,) ns UTC, at least 1 and at most 390 (one minute)."""
    opens = session.bounds(session.days(time))[0]
    return max(1, min(len(np.unique(time - opens)), LONGEST_INTERVALS))

r"""Books whose visible depth ran out: what their larger sizes would have cost.

A censored row is a lower bound. Dropping it keeps the deep, cheap books only; taking it
at face value flattens the curve. Here every book keeps its own level and takes the shape
of the average book:

.. math:: y_{ik} \approx a_i m_k, \qquad
          a_i = \frac{\sum_{j \in \mathrm{seen}_i} m_j y_{ij}}{\sum_{j \in \mathrm{seen}_i} m_j^2}, \qquad
          m_k = \frac{\sum_i \hat y_{ik}}{\sum_i a_i}

with :math:`\hat y = y` where seen and a m where not: the chain-ladder of insurance
reserving (Mack, ASTIN Bulletin 23, 1993) with all earlier columns used for the level.
Where the bounds of a group of books with the same rows censored exceed the completed
values on average, the bounds stand instead. Everything is linear in y given the shape,
so sums over books complete as the books do: that is what makes the moments additive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

MOST_SIZES = 62
PASSES = 2_000


@dataclass(frozen=True, eq=False)
class Rows(Record):
    """Impact at the sizes of books, or of groups of books with the same sizes censored, m rows.

    Attributes
    ----------
    book : (m,) book (or group) that the row belongs to, numbered from 0
    size : (m,) position in `sizes`
    sizes : (K,) shares, ascending
    n : (m,) books summed in the row
    total : (m,) currency per share: the sum over them of impact, of its lower bound where censored
    censored : (m,) bool
    """

    book: Index
    size: Index
    sizes: Float
    n: Float
    total: Float
    censored: Mask

    def known_sizes(self) -> Mask:
        """Sizes, (K,), that at least one book filled: only these can be completed."""
        return np.bincount(self.size[~self.censored], minlength=len(self.sizes)) > 0

    def pattern(self) -> Index:
        """Number, (m,), of the set of sizes that the row's book shows and lacks; one for all if sizes are many."""
        if len(self.sizes) > MOST_SIZES:
            return np.zeros(len(self.book), np.int64)
        bit = np.int64(1) << self.size
        books = int(self.book.max()) + 1
        seen, lacking = np.zeros(books, np.int64), np.zeros(books, np.int64)
        np.bitwise_or.at(seen, self.book[~self.censored], bit[~self.censored])
        np.bitwise_or.at(lacking, self.book[self.censored], bit[self.censored])
        kinds = np.unique(np.column_stack([seen, lacking]), axis=0, return_inverse=True)[1]
        return kinds.ravel()[self.book]


def complete(rows: Rows, interval: Index) -> Float:
    """The rows' totals with the censored ones completed, (m,) currency per share.

    Parameters
    ----------
    rows : Rows
    interval : (m,)
        A book without one filled size takes the average level of its interval.
    """
    if not rows.censored.any():
        return rows.total
    pattern = rows.pattern()
    shape = _shape(rows, pattern)
    own = _levels(rows, shape, interval)[rows.book] * shape[rows.size]
    cell = pattern * len(rows.sizes) + rows.size
    bounded = _exceeds(rows, own, cell)
    return np.where(rows.censored, np.where(bounded[cell], rows.total, own), rows.total)


def _shape(rows: Rows, pattern: Index) -> Float:
    """The average book's impact at each size, (K,), up to a factor; proportional to size where sizes are many."""
    seen = ~rows.censored
    straight = rows.sizes / rows.sizes[-1]
    if len(rows.sizes) > MOST_SIZES or not seen.any():
        return straight
    grouped = _by_pattern(rows, pattern)
    none = np.zeros(len(grouped.book), np.int64)
    shape = straight
    for _ in range(PASSES):
        level = _levels(grouped, shape, none)[grouped.book]
        own = level * shape[grouped.size]
        filled = np.where(grouped.censored & (own > grouped.total), own, grouped.total)
        weight = np.bincount(grouped.size, level, len(shape))
        new = sums(grouped.size, filled, len(shape))
        new = np.divide(new, weight, out=shape.copy(), where=weight > 0)
        new = new / new.max() if new.max() > 0 else straight
        if np.max(np.abs(new - shape)) <= 1e-13:
            break
        shape = new
    return shape


def _by_pattern(rows: Rows, pattern: Index) -> Rows:
    """The rows summed over all books of one pattern."""
    k = len(rows.sizes)
    cells, of = np.unique(pattern * k + rows.size, return_inverse=True)
    censored = np.zeros(len(cells), bool)
    censored[of] = rows.censored
    return Rows(cells // k, cells % k, rows.sizes, sums(of, rows.n), sums(of, rows.total), censored)


def _levels(rows: Rows, shape: Float, interval: Index) -> Float:
    """Sum of the levels of each book or group, by its filled sizes, else its interval's average, else the average."""
    seen, books = ~rows.censored, int(rows.book.max()) + 1
    m = shape[rows.size]
    squares = np.bincount(rows.book[seen], m[seen] ** 2, books)
    level = sums(rows.book[seen], (m * rows.total)[seen], books)
    known = squares > 0
    level = np.divide(level, squares, out=np.zeros(books), where=known)
    if known.all():
        return level
    count, where = np.zeros(books), np.zeros(books, np.int64)
    count[rows.book], where[rows.book] = rows.n, interval
    bins = int(where.max()) + 1
    books_known = np.bincount(where[known], count[known], bins)
    average = np.full(bins, level[known].sum() / max(count[known].sum(), 1.0))
    np.divide(np.bincount(where[known], level[known], bins), books_known, out=average, where=books_known > 0)
    return np.where(known, level, count * average[where])


def _exceeds(rows: Rows, own: Float, cell: Index) -> Mask:
    """Whether the lower bounds of a pattern and size exceed the completed values on average, by cell."""
    lower = sums(cell, np.where(rows.censored, rows.total, 0.0))
    return lower > sums(cell, np.where(rows.censored, own, 0.0))


def sums(group: Index, values: Float, n_groups: int = 0) -> Float:
    """Sum of (m,) values over the groups that they belong to, (G,)."""
    return np.asarray(np.bincount(group, values, n_groups), float)

r"""Books whose visible depth ran out: what their larger sizes would have cost.

A censored row is a lower bound. Dropping it keeps the deep, cheap books only; taking it
at face value flattens the curve. A row of a walked book says more: the bound prices the
rest at the last visible level. Let the average impact go on as a power of size from there,
:math:`y(x) = a\,(x/D)^\gamma` with D the shares shown. The marginal price at D is then
:math:`(1+\gamma)\,a`, and with u = x / D the bound and the impact are

.. math:: b(u) = a\,\frac{1 + (1+\gamma)(u-1)}{u}, \qquad
          y(u) = b(u)\,\frac{u^{1+\gamma}}{1 + (1+\gamma)(u-1)}.

Every book keeps its own bound; the one exponent is that at which the bounds, taken back to
the largest filled size of the same books, give its impact on average. All is linear in the
impacts but for gamma, of which sums over books are kept at four values and interpolated:
that is what makes the moments additive.

Bounds that are no walked prices (the exponent that they ask for is far below the one that
the filled sizes show), and rows without depth, fall back on the shape of the average book:

.. math:: y_{ik} \approx a_i m_k, \qquad
          a_i = \frac{\sum_{j \in \mathrm{seen}_i} m_j y_{ij}}
                     {\sum_{j \in \mathrm{seen}_i} m_j^2}, \qquad
          m_k = \frac{\sum_i \hat y_{ik}}{\sum_i a_i}

with :math:`\hat y = y` where seen and a m where not: the chain-ladder of insurance
reserving (Mack, ASTIN Bulletin 23, 1993) with all earlier columns used for the level.
There, where the bounds of books with the same rows censored exceed the completed values
on average, the bounds stand instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_SIZES = 62
PASSES = 2_000
GAMMAS = np.array([0.5, 1.0, 1.5, 2.0])
MIN_GAMMA, MAX_GAMMA = 0.25, 2.25
CLEARLY_LESS = 0.3


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
    continued : (m, 4) or None
        As `continued` gives it, summed over the books; None where depth is not known.
    """

    book: Index
    size: Index
    sizes: Float
    n: Float
    total: Float
    censored: Mask
    continued: Float | None

    def known_sizes(self) -> Mask:
        """Sizes, (K,), that at least one book filled: only these can be completed."""
        return np.bincount(self.size[~self.censored], minlength=len(self.sizes)) > 0

    def pattern(self) -> Index:
        """Number, (m,), of the set of sizes that the row's book shows and lacks.

        One for all if sizes are many.
        """
        if len(self.sizes) > MAX_SIZES:
            return np.zeros(len(self.book), np.int64)
        bit = np.int64(1) << self.size
        books = int(self.book.max()) + 1
        seen, lacking = np.zeros(books, np.int64), np.zeros(books, np.int64)
        np.bitwise_or.at(seen, self.book[~self.censored], bit[~self.censored])
        np.bitwise_or.at(lacking, self.book[self.censored], bit[self.censored])
        kinds = np.unique(np.column_stack([seen, lacking]), axis=0, return_inverse=True)[1]
        return kinds.ravel()[self.book]


def complete(rows: Rows, interval: Index) -> tuple[Float, str]:
    """The rows' totals with the censored ones completed, (m,) currency per share, and how.

    Parameters
    ----------
    rows : Rows
    interval : (m,)
        In the fallback, a book without one filled size takes the average level of its interval.
    """
    if not rows.censored.any():
        return rows.total, "no row is censored"
    gamma = _exponent(rows)
    if rows.continued is not None and gamma is not None:
        ahead = np.where(rows.censored, rows.continued @ _interpolation(gamma), rows.total)
        return ahead, f"bounds continued with exponent {gamma:.2f}"
    pattern = rows.pattern()
    shape = _shape(rows, pattern)
    own = _levels(rows, shape, interval)[rows.book] * shape[rows.size]
    cell = pattern * len(rows.sizes) + rows.size
    bounded = _exceeds(rows, own, cell)
    completed = np.where(rows.censored, np.where(bounded[cell], rows.total, own), rows.total)
    return completed, "own level times the average book's shape"


def continued(book: Index, shares: Float, depth: Float, impact: Float, censored: Mask) -> Float:
    """What the bounds of m rows say at each of the four exponents, (m, 4) currency per share.

    A censored row: its impact. The largest filled row below a censored one: its impact as
    taken back from the next bound. Other rows: 0. `depth` (m,) is read where censored.
    """
    said = np.zeros((len(book), len(GAMMAS)))
    if not censored.any():
        return said
    rows = np.flatnonzero((np.bincount(book, censored) > 0)[book])
    rows = rows[np.lexsort((shares[rows], book[rows]))]
    below, above = rows[:-1], rows[1:]
    edge = (book[below] == book[above]) & ~censored[below] & censored[above]
    below, above = below[edge], above[edge]
    level = impact[above, None] / _bound(shares[above] / depth[above])
    said[below] = level * (shares[below] / depth[above])[:, None] ** GAMMAS
    u = shares[censored] / depth[censored]
    said[censored] = impact[censored, None] / _bound(u) * u[:, None] ** GAMMAS
    return said


def _bound(u: Float) -> Float:
    """Lower bound at u > 1 times the depth over the impact at the depth, (m, 4)."""
    return np.asarray((1.0 + (1.0 + GAMMAS) * (u[:, None] - 1.0)) / u[:, None])


def _exponent(rows: Rows) -> float | None:
    """The exponent of the continuation; None where the bounds do not fit the filled rows."""
    if rows.continued is None:
        return None
    edge = ~rows.censored & (rows.continued[:, 1] > 0)
    if not edge.any():
        return 1.0
    taken_back, filled = rows.continued[edge].sum(axis=0), float(rows.total[edge].sum())
    gamma = _root(lambda g: filled - float(taken_back @ _interpolation(g)))
    own = _root(lambda g: _grown(rows, edge, g) - filled)
    too_low = MIN_GAMMA < own < MAX_GAMMA and gamma < own - CLEARLY_LESS
    return None if gamma <= MIN_GAMMA or too_low else gamma


def _grown(rows: Rows, edge: Mask, gamma: float) -> float:
    """Total at the edge as grown from the books' next smaller sizes by a power of size."""
    order = np.lexsort((rows.size, rows.book))
    below, above = order[:-1], order[1:]
    pair = (rows.book[below] == rows.book[above]) & edge[above]
    below, above = below[pair], above[pair]
    alone = float(rows.total[edge].sum() - rows.total[above].sum())
    ratio = rows.sizes[rows.size[above]] / rows.sizes[rows.size[below]]
    return alone + float(np.sum(rows.total[below] * ratio**gamma))


def _root(increasing: Callable[[float], float]) -> float:
    """Where an increasing function of the exponent is 0, or the nearest end of the range."""
    from scipy.optimize import brentq

    if increasing(MIN_GAMMA) >= 0:
        return MIN_GAMMA
    if increasing(MAX_GAMMA) <= 0:
        return MAX_GAMMA
    return float(brentq(increasing, MIN_GAMMA, MAX_GAMMA, xtol=1e-13))


def _interpolation(gamma: float) -> Float:
    """Lagrange weights of the four exponents, (4,)."""
    others = [np.delete(GAMMAS, k) for k in range(len(GAMMAS))]
    return np.array([np.prod((gamma - o) / (g - o)) for g, o in zip(GAMMAS, others, strict=True)])


def _shape(rows: Rows, pattern: Index) -> Float:
    """The average book's impact at each size, (K,), up to a factor.

    Proportional to size where sizes are many.
    """
    seen = ~rows.censored
    straight = rows.sizes / rows.sizes[-1]
    if len(rows.sizes) > MAX_SIZES or not seen.any():
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
    n, total = sums(of, rows.n), sums(of, rows.total)
    return Rows(cells // k, cells % k, rows.sizes, n, total, censored, None)


def _levels(rows: Rows, shape: Float, interval: Index) -> Float:
    """Sum of the levels of each book or group, by its filled sizes.

    Else its interval's average, else the average.
    """
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
    levels = np.bincount(where[known], level[known], bins)
    np.divide(levels, books_known, out=average, where=books_known > 0)
    return np.where(known, level, count * average[where])


def _exceeds(rows: Rows, own: Float, cell: Index) -> Mask:
    """Whether the bounds of a pattern and size exceed the completed values on average, by cell."""
    lower = sums(cell, np.where(rows.censored, rows.total, 0.0))
    return lower > sums(cell, np.where(rows.censored, own, 0.0))


def sums(group: Index, values: Float, n_groups: int = 0) -> Float:
    """Sum of (m,) values over the groups that they belong to, (G,)."""
    return np.asarray(np.bincount(group, values, n_groups), float)

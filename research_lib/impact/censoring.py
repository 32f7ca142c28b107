r"""Completion of censored observations: sizes that exceed the visible depth of their book.

A censored row is a lower bound. Dropping it keeps only the deep, cheap books; taking it at face
value flattens the curve. The row of a walked book is more informative: its bound prices the rest of
the order at the last visible level. Let the average impact continue from there as a power of size,
:math:`y(x) = a\,(x/D)^\gamma` with D the shares shown. The marginal price at D is then
:math:`(1+\gamma)\,a`, and with u = x / D the bound and the impact are

.. math:: b(u) = a\,\frac{1 + (1+\gamma)(u-1)}{u}, \qquad
          y(u) = b(u)\,\frac{u^{1+\gamma}}{1 + (1+\gamma)(u-1)}.

Every book keeps its own bound. The exponent is common: it is chosen so that the bounds, continued
back to the largest filled size of the same books, give the impact of that size on average.
Everything is linear in the impacts except gamma. Sums over books are kept at four values of gamma
and interpolated, which makes the moments additive.

For bounds that are no walked prices (their exponent is far below the one of the filled sizes), and
for rows without depth, the shape of the average book is used instead:

.. math:: y_{ik} \approx a_i m_k, \qquad
          a_i = \frac{\sum_{j \in \mathrm{seen}_i} m_j y_{ij}}
                     {\sum_{j \in \mathrm{seen}_i} m_j^2}, \qquad
          m_k = \frac{\sum_i \hat y_{ik}}{\sum_i a_i}

with :math:`\hat y = y` where seen and a m where not: the chain-ladder of insurance
reserving (Mack, ASTIN Bulletin 23, 1993) with all earlier columns used for the level. Where the
bounds of books with the same rows censored exceed these completed values on average, the bounds are
used.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from research_lib.checks import Float, Int64, Mask

MAX_SIZES, PASSES, CLEARLY_LESS = 62, 2_000, 0.3
GAMMAS = np.array([0.5, 1.0, 1.5, 2.0])
CONTINUED = [f"continued_{gamma:g}" for gamma in GAMMAS]
MIN_GAMMA, MAX_GAMMA = 0.25, 2.25


def sums(group: Int64, values: Float, n_groups: int = 0) -> Float:
    """Sum of (m,) values over the groups that they belong to, (G,)."""
    return np.asarray(np.bincount(group, values, n_groups), float)


def continued(book: Int64, shares: Float, depth: Float, impact: Float, censored: Mask) -> Float:
    """Impacts that follow from m rows' bounds at the four exponents, (m, 4) currency per share.

    A censored row: its impact. The largest filled row below a censored one: its impact as implied
    by the next bound. Other rows: 0. `depth` (m,) is read where censored.
    """
    said = np.zeros((len(book), len(GAMMAS)))
    rows = np.flatnonzero(sums(book, censored.astype(float))[book] > 0)
    rows = rows[np.lexsort((shares[rows], book[rows]))]
    below, above = rows[:-1], rows[1:]
    edge = (book[below] == book[above]) & ~censored[below] & censored[above]
    for to, bound in ((below[edge], above[edge]), (np.flatnonzero(censored),) * 2):
        u = (shares[bound] / depth[bound])[:, None]
        at_depth = impact[bound, None] * u / (1.0 + (1.0 + GAMMAS) * (u - 1.0))
        said[to] = at_depth * (shares[to] / depth[bound])[:, None] ** GAMMAS
    return said


def complete(rows: pd.DataFrame, sizes: Float) -> tuple[Float, str]:
    """The rows' totals with the censored ones completed, (m,) currency per share, and how.

    Parameters
    ----------
    rows : DataFrame
        Those of `Observations`. In the fallback, a book without a filled size gets the average
        level of its interval.
    sizes : (K,) shares, ascending
    """
    censored, total = rows["censored"].to_numpy(), rows["total"].to_numpy()
    if not censored.any():
        return total, "no row is censored"
    bounds = rows[CONTINUED].to_numpy()
    gamma = None if np.isnan(bounds).any() else _exponent(rows, sizes, bounds)
    if gamma is not None:
        how = f"bounds continued with exponent {gamma:.2f}"
        return np.where(censored, bounds @ _interpolation(gamma), total), how
    pattern = _pattern(rows, sizes)
    shape = _shape(rows.assign(book=pattern, interval=0), sizes)
    own = _levels(rows, shape)[rows["book"]] * shape[rows["size"]]
    cell = pattern * len(sizes) + rows["size"].to_numpy()
    lower, completed = (sums(cell, np.where(censored, value, 0.0)) for value in (total, own))
    kept = ~censored | (lower > completed)[cell]
    return np.where(kept, total, own), "own level times the average book's shape"


def _exponent(rows: pd.DataFrame, sizes: Float, bounds: Float) -> float | None:
    """The exponent of the continuation; None where the bounds do not agree with the filled rows."""
    total, size, book = (rows[name].to_numpy() for name in ("total", "size", "book"))
    edge = ~rows["censored"].to_numpy() & (bounds[:, 1] > 0)
    if not edge.any():
        return 1.0
    taken_back, filled = bounds[edge].sum(axis=0), float(total[edge].sum())
    gamma = _root(lambda g: filled - float(taken_back @ _interpolation(g)))
    # Compared with the exponent between the largest filled sizes and the next smaller ones.
    order = np.lexsort((size, book))
    below, above = order[:-1], order[1:]
    pair = (book[below] == book[above]) & edge[above]
    below, above = below[pair], above[pair]
    ratio, alone = sizes[size[above]] / sizes[size[below]], filled - float(total[above].sum())
    own = _root(lambda g: alone + float(np.sum(total[below] * ratio**g)) - filled)
    too_low = MIN_GAMMA < own < MAX_GAMMA and gamma < own - CLEARLY_LESS
    return None if gamma <= MIN_GAMMA or too_low else gamma


def _root(increasing: Callable[[float], float]) -> float:
    """The root of an increasing function of the exponent, or the nearest end of the range."""
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


def _pattern(rows: pd.DataFrame, sizes: Float) -> Int64:
    """Index, (m,), of the set of sizes that the row's book fills."""
    book, size = rows["book"].to_numpy(), rows["size"].to_numpy()
    state = np.zeros((int(book.max()) + 1, len(sizes)), np.int8)
    state[book, size] = np.where(rows["censored"], 2, 1)
    return np.unique(state, axis=0, return_inverse=True)[1].ravel()[book]


def _shape(rows: pd.DataFrame, sizes: Float) -> Float:
    """The average book's impact at each size, (K,), up to a factor."""
    straight = sizes / sizes[-1]
    if rows["censored"].all():
        return straight
    how = {"n": "sum", "total": "sum", "censored": "first", "interval": "first"}
    rows = rows.groupby(["book", "size"], as_index=False).agg(how)
    book, size, total = (rows[name].to_numpy() for name in ("book", "size", "total"))
    shape = straight
    for _ in range(PASSES):
        level = _levels(rows, shape)[book]
        own = level * shape[size]
        filled = np.where(rows["censored"] & (own > total), own, total)
        reached, weight = (sums(size, values, len(shape)) for values in (filled, level))
        new = np.divide(reached, weight, out=shape.copy(), where=weight > 0)
        new = new / new.max() if new.max() > 0 else straight
        if np.max(np.abs(new - shape)) <= 1e-13:
            break
        shape = new
    return shape


def _levels(rows: pd.DataFrame, shape: Float) -> Float:
    """Sum of the levels of each book or group, by its filled sizes.

    Without any: its interval's average, or else the average of all.
    """
    book, interval, n = (rows[name].to_numpy() for name in ("book", "interval", "n"))
    m = np.where(rows["censored"], 0.0, shape[rows["size"]])
    squares, products = sums(book, m**2), sums(book, m * rows["total"].to_numpy())
    known = squares > 0
    level = np.divide(products, squares, out=np.zeros(len(squares)), where=known)
    count, where = np.zeros(len(level)), np.zeros(len(level), np.int64)
    count[book], where[book] = n, interval
    seen, levels = sums(where, count * known), sums(where, level)
    average = np.full(len(seen), level.sum() / max(float(seen.sum()), 1.0))
    np.divide(levels, seen, out=average, where=seen > 0)
    return np.where(known, level, count * average[where])

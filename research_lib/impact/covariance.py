"""Standard errors of the coefficients: what was independent, and what was not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research_lib.impact.censoring import sums
from research_lib.impact.estimation import Estimate, Points

Float = NDArray[np.float64]
Index = NDArray[np.int64]

ERRORS = {
    "day": "clustered by day",
    "snapshot": "clustered by snapshot",
    "newey-west": "Newey-West over snapshots",
    "hc3": "HC3 (misfit of the form over sizes, not sampling error, where there is one snapshot)",
}


def covariances(points: Points, fit: Estimate, errors: str) -> tuple[Float, Float]:
    r"""Covariance of the coefficients of each group (G, p, p), and degrees of freedom of their t intervals (G,).

    .. math:: V = B^{-1} M B^{-1}, \quad B = \sum_i c_i J_i J_i', \quad s_i = w_i J_i r_i

    with J the derivatives of the curve by its coefficients, r the residuals, and the curvature c = w
    but for Huber's bounded rows, where it is 0. M is

    - "day", "snapshot": :math:`k \sum_g s_g s_g'` over the sums of s in G clusters,
      :math:`k = \frac{G}{G-1}\frac{N-1}{N-p}`; G - 1 degrees of freedom;
    - "newey-west": :math:`k \sum_{|l| < S} (1 - |l|/S) \sum_g s_g s_{g-l}'` over snapshots in time
      order with S = 1.3 sqrt(G) and 3G / 2S degrees of freedom; :math:`1 / (1 - b + b^2/3)`, b = S/G,
      stands for G / (G - 1) in k. Long lags and fewer degrees of freedom keep the level of the
      intervals where neighbours are alike; the textbook's 4 (G/100)^(2/9) lags do not;
    - "hc3": :math:`\sum_i s_i s_i' / (1 - h_i)^2` with leverages h; N - p degrees of freedom.

    All equal statsmodels' (cluster, hac-groupsum, HC3) up to this k. Sums over the books of a cluster give
    what the books give. NaN for coefficients at a bound, where there is one cluster, and for
    HC3 where a row has leverage 1.

    Source: Newey and West, Econometrica 55 (1987), on the sums of one time as Driscoll and
    Kraay (1998); S: Lazarus, Lewis, Stock and Watson, JBES 36 (2018); its mean and degrees of
    freedom at fixed b: Kiefer and Vogelsang (2005), Sun (2014); HC3: MacKinnon and White (1985).
    """
    jacobian = fit.jacobian(points.group, points.size)
    residual = points.mean - fit.impact(points.group, points.size)
    inverse = _inverse(
        _products(jacobian, points.curvature[:, None] * jacobian, points.group, points.n_groups)
    )
    scores = (points.weight * residual)[:, None] * jacobian
    count, free = points.summed(points.count), fit.free.sum(axis=1)
    if errors == "hc3":
        scores = scores / _unexplained(points, jacobian, inverse)[:, None]
        influence = _transformed(scores, inverse, points.group)
        covariance = _products(influence, influence, points.group, points.n_groups)
        known, dof = count > free, count - free
    else:
        group, scores = _cluster_sums(points, scores)
        influence = _transformed(scores, inverse, group)
        number = np.bincount(group, minlength=points.n_groups)
        covariance = _products(influence, influence, group, points.n_groups)
        known, dof, own = (
            (number > 1) & (count > free),
            number - 1.0,
            1.0 - 1.0 / np.maximum(number, 2),
        )
        if errors == "newey-west":
            reach = np.ceil(1.3 * np.sqrt(np.maximum(number, 1)))
            covariance += _neighbours(influence, group, reach)
            share = reach / np.maximum(number, 1)
            dof, own = 1.5 / share, 1.0 - share + share**2 / 3.0
        correction = np.divide(
            count - 1.0, count - free, out=np.full(len(count), np.nan), where=known
        )
        covariance *= (correction / own)[:, None, None]
    measured = known[:, None] & fit.free
    return np.where(measured[:, :, None] & measured[:, None, :], covariance, np.nan), np.asarray(
        dof, float
    )


def _cluster_sums(points: Points, scores: Float) -> tuple[Index, Float]:
    """Group of every cluster in a group, (C,), clusters in order, and the sums of its rows' scores, (C, p)."""
    clusters = int(points.cluster.max()) + 1
    cells, of = np.unique(points.group * clusters + points.cluster, return_inverse=True)
    return cells // clusters, np.column_stack([sums(of, column) for column in scores.T])


def _neighbours(influence: Float, group: Index, reach: Float) -> Float:
    """Sum over lags of the Bartlett-weighted products of influences (C, p) that lag apart, (G, p, p)."""
    n_groups, p = len(reach), influence.shape[1]
    total = np.zeros((n_groups, p, p))
    for lag in range(1, int(reach.max(initial=1.0))):
        later = np.flatnonzero(group[lag:] == group[:-lag]) + lag
        weight = np.maximum(1.0 - lag / reach[group[later]], 0.0)
        products = _products(
            weight[:, None] * influence[later], influence[later - lag], group[later], n_groups
        )
        total += products + products.transpose(0, 2, 1)
    return total


def _unexplained(points: Points, jacobian: Float, inverse: Float) -> Float:
    """1 - leverage of each row, (m,); NaN where nothing is left."""
    leverage = (
        np.sum(_transformed(jacobian, inverse, points.group) * jacobian, axis=1) * points.weight
    )
    return np.where(1.0 - leverage > 1e-10, 1.0 - leverage, np.nan)


def _products(left: Float, right: Float, group: Index, n_groups: int) -> Float:
    """Sum of left_i right_i' over the rows (m, p) of each group, (G, p, p)."""
    p = left.shape[1]
    columns = [sums(group, left[:, a] * right[:, b], n_groups) for a in range(p) for b in range(p)]
    return np.column_stack(columns).reshape(n_groups, p, p)


def _transformed(rows: Float, matrix: Float, group: Index) -> Float:
    """Each row (m, p) times the symmetric matrix of its group (G, p, p)."""
    columns = [np.sum(rows * matrix[:, :, b][group], axis=1) for b in range(rows.shape[1])]
    return np.column_stack(columns)


def _inverse(bread: Float) -> Float:
    """Inverses of (G, p, p), coefficients that are not free left out; columns of like size keep them accurate."""
    size = np.sqrt(np.einsum("gaa->ga", bread))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scale = unit[:, :, None] * unit[:, None, :]
    return np.asarray(np.linalg.pinv(bread * scale, hermitian=True) * scale)

"""Standard errors of the coefficients: what was independent, and what was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.impact.censoring import sums
from research_lib.impact.estimation import Estimate, Points

Float = NDArray[np.float64]

ERRORS = {
    "day": "clustered by day",
    "snapshot": "clustered by snapshot",
    "newey-west": "Newey-West over snapshots",
    "hc3": "HC3 (misfit of the form over sizes, not sampling error, where there is one snapshot)",
}


def clustered(points: Points, fit: Estimate) -> tuple[Float, Float]:
    r"""Covariance of the coefficients (G, p, p) clustered by `points.cluster`, and degrees of freedom (G,).

    .. math:: V = c\,B^{-1} \Big(\sum_g s_g s_g'\Big) B^{-1}, \quad s_g = \sum_{i \in g} w_i J_i r_i, \quad
              B = \sum_i w_i J_i J_i', \quad c = \frac{G}{G-1}\frac{N-1}{N-p}

    with N rows in G clusters, as statsmodels has it. NaN for coefficients at a bound, and
    where there is one cluster. Sums over the books of a cluster give what the books give.
    """
    jacobian, residual = _linearised(points, fit)
    clusters = int(points.cluster.max()) + 1
    cells, of = np.unique(points.group * clusters + points.cluster, return_inverse=True)
    scores = np.column_stack([sums(of, column) for column in (jacobian * residual[:, None]).T])
    number = np.bincount(cells // clusters, minlength=points.n_groups)
    bread = np.zeros((points.n_groups, *2 * jacobian.shape[1:]))
    np.add.at(bread, points.group, points.weight[:, None, None] * jacobian[:, :, None] * jacobian[:, None, :])
    count, free = points.summed(points.count), fit.free.sum(axis=1)
    covariance = np.full(bread.shape, np.nan)
    starts = np.concatenate([[0], np.cumsum(number)])
    for g in np.flatnonzero((number > 1) & (count > free) & (free > 0)):
        chosen = np.ix_(fit.free[g], fit.free[g])
        # Columns of like size keep the inverse accurate; squares of influences keep the variances positive.
        unit = 1.0 / np.sqrt(np.diag(bread[g][chosen]))
        inverse = np.linalg.pinv(bread[g][chosen] * np.outer(unit, unit)) * np.outer(unit, unit)
        influence = scores[starts[g] : starts[g + 1]][:, fit.free[g]] @ inverse
        correction = number[g] / (number[g] - 1.0) * (count[g] - 1.0) / (count[g] - free[g])
        covariance[g][chosen] = correction * influence.T @ influence
    return covariance, np.asarray(number - 1.0, float)


def row_errors(points: Points, fit: Estimate, method: str) -> tuple[Float, Float]:
    """Covariance (G, p, p) and degrees of freedom (G,) by statsmodels, group by group: "hc3" or "newey-west".

    The family is linearised at its coefficients: a weighted regression of J theta + r on J.
    Newey-West sums the rows of one snapshot first (Driscoll and Kraay), with Bartlett
    weights up to lag floor(4 (T / 100)^(2/9)).
    """
    import statsmodels.api as sm

    jacobian, residual = _linearised(points, fit)
    unweighted = np.divide(residual, points.weight, out=np.zeros_like(residual), where=points.weight > 0)
    p = jacobian.shape[1]
    covariance, dof = np.full((points.n_groups, p, p), np.nan), np.full(points.n_groups, np.nan)
    order = np.argsort(points.group, kind="stable")
    for g, rows in enumerate(np.split(order, np.searchsorted(points.group[order], np.arange(1, points.n_groups)))):
        free = fit.free[g]
        time = points.cluster[rows]
        snapshots = np.unique(time, return_inverse=True)[1]
        if not free.any() or len(rows) <= free.sum() or (method == "newey-west" and snapshots.max() < free.sum()):
            continue
        order_in_time = rows[np.argsort(snapshots, kind="stable")]
        design = jacobian[order_in_time][:, free]
        response = design @ fit.coefficients[g][free] + unweighted[order_in_time]
        model = sm.WLS(response, design, weights=points.weight[order_in_time])
        result = model.fit(use_t=True, **_options(method, np.sort(snapshots)))
        covariance[g][np.ix_(free, free)] = result.cov_params()
        dof[g] = (len(rows) if method == "hc3" else snapshots.max() + 1) - free.sum()
    return covariance, dof


def _options(method: str, time: NDArray[np.int64]) -> dict[str, Any]:
    if method == "hc3":
        return {"cov_type": "HC3"}
    lags = int(4 * ((time[-1] + 1) / 100) ** (2 / 9))
    return {"cov_type": "hac-groupsum", "cov_kwds": {"time": pd.Series(time), "maxlags": lags}}


def _linearised(points: Points, fit: Estimate) -> tuple[Float, Float]:
    """Jacobian (m, p) and weighted residuals (m,)."""
    residual = points.weight * (points.mean - fit.impact(points.group, points.size))
    return fit.jacobian(points.group, points.size), residual

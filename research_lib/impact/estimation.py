r"""Coefficients of all families by least squares with their covariances, for many intervals at
once.

All families but the power law are sums of given functions of size with coefficients at or
above 0, so that curves rise and their cost is convex:

.. math:: \min_{\theta_t \ge 0}
          \sum_i w_i n_i \big(\bar y_i - \textstyle\sum_j \theta_{tj} \phi_j(x_i)\big)^2

linear: x; nonlinear: x^2 and x; sqrt: the root of x; piecewise: hinges (x - knot)^+ / x,
whose sum is any convex walked cost. The power law is nonlinear least squares.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from research_lib.checks import Float, Int64, Mask
from research_lib.config import Record
from research_lib.impact.censoring import sums

MAX_KNOTS = 10
EXPONENTS = np.linspace(0.05, 3.0, 60)
ROUNDING = 1e-13  # of the terms of a sum: less is rounding error
ERRORS = {
    "day": "clustered by session", "snapshot": "clustered by snapshot",
    "hc3": "HC3 (misfit of the form over sizes, not sampling error, where there is one snapshot)",
}  # fmt: skip
# Coefficients of each form, and the functions of size that they multiply.
FORMS: dict[str, tuple[list[str], Callable[[Float], Float]]] = {
    "linear": (["beta"], lambda x: x[:, None]),
    "nonlinear": (["alpha", "beta"], lambda x: np.column_stack([x**2, x])),
    "sqrt": (["scale"], lambda x: np.sqrt(x)[:, None]),
    "power": (["scale", "exponent"], lambda x: np.empty((len(x), 0))),  # no sum of given functions
}
MODEL_TYPES = (*FORMS, "piecewise")


@dataclass(frozen=True, eq=False)
class Points(Record):
    """Data of the least squares: m impacts, each of one book or summed over books, in groups.

    Attributes
    ----------
    group : (m,) interval, bucket, or 0 for all, numbered from 0
    size : (m,) shares
    count : (m,) number of books
    mean : (m,) impact, currency per share
    cluster : (m,)
        Clusters of the errors: days or snapshots.
    n_groups : int
    weight : (m,) count times the estimator's weight of a book
    """

    group: Int64
    size: Float
    count: Float
    mean: Float
    cluster: Int64
    n_groups: int
    weight: Float

    def summed(self, values: Float) -> Float:
        """Sum of (m,) values over each group."""
        return sums(self.group, values, self.n_groups)


@dataclass(frozen=True, eq=False)
class Estimate(Record):
    """Coefficients of each group, and the derivatives of the impact by them.

    Attributes
    ----------
    names : list of str
    coefficients : (G, p)
    free : (G, p) bool
        False where a coefficient is at its bound of 0.
    fell_back : list of int
        Groups whose power law did not converge: linear, which is exponent 1.
    knots : (p,) shares
        Lower ends of the steps of a piecewise curve; else empty.
    """

    names: list[str]
    coefficients: Float
    free: Mask
    fell_back: list[int]
    knots: Float

    def take(self, group: Int64) -> Self:
        """The coefficients of the groups given."""
        return replace(self, coefficients=self.coefficients[group], free=self.free[group])

    def impact(self, group: Int64, size: Float) -> Float:
        """Impact at (m,) sizes of the groups given."""
        theta = self.coefficients[group]
        if "exponent" in self.names:
            return theta[:, 0] * size ** theta[:, 1]
        return np.sum(theta * self._slopes(theta, size), axis=1)

    def jacobian(self, group: Int64, size: Float) -> Float:
        """Derivative of impact by each coefficient, (m, p); 0 where it is not free."""
        return np.where(self.free[group], self._slopes(self.coefficients[group], size), 0.0)

    def standard_error(self, group: Int64, size: Float, covariance: Float) -> Float:
        """Of the impact at (m,) sizes of the groups, by the delta method.

        0 where no coefficient is free, NaN where one that is has no variance.
        """
        jacobian, own = self.jacobian(group, size), covariance[group]
        variance = np.einsum("mi,mij,mj->m", jacobian, np.nan_to_num(own), jacobian)
        unknown = np.any(np.isnan(np.einsum("mii->mi", own)) & self.free[group], axis=1)
        return np.where(unknown, np.nan, np.sqrt(np.maximum(variance, 0.0)))

    def _slopes(self, theta: Float, size: Float) -> Float:
        """Derivatives; of a piecewise curve the shares of each step over the size."""
        if "exponent" in self.names:
            power = size ** theta[:, 1]
            return np.column_stack([power, theta[:, 0] * power * np.log(size)])
        if len(self.knots):
            widths = np.append(self.knots[1:], np.inf) - self.knots
            return np.clip(size[:, None] - self.knots, 0.0, widths) / size[:, None]
        return next(basis for names, basis in FORMS.values() if names == self.names)(size)


def coefficient_count(model_type: str, sizes: Float) -> int:
    """Number of coefficients of a group's curve, which is the number of distinct sizes it needs."""
    return len(_knots(sizes)) if model_type == "piecewise" else len(FORMS[model_type][0])


def estimate(points: Points, model_type: str, tolerance: float) -> Estimate:
    """Least squares of a form in every group; `tolerance` as in `fit_impact`."""
    if model_type == "power":
        return _power_law(points)
    if model_type == "piecewise":
        knots = _knots(points.size)
        hinges = np.maximum(points.size[:, None] - knots, 0.0) / points.size[:, None]
        premium = np.cumsum(_non_negative(points, hinges, tolerance), axis=1)
        names = [f"premium_{k + 1}" for k in range(len(knots))]
        return Estimate(names, premium, premium > 0, [], knots)
    (names, basis), unit = FORMS[model_type], points.size.max()
    scaled = _non_negative(points, basis(points.size / unit), tolerance)
    coefficients = scaled / basis(np.array([unit]))
    return Estimate(names, coefficients, coefficients > 0, [], np.empty(0))


def _knots(sizes: Float) -> Float:
    """Lower ends of the steps of a piecewise curve: 0 and the sizes but the last, 10 at most."""
    ends = np.unique(sizes)
    if len(ends) > MAX_KNOTS:
        ends = np.unique(np.quantile(ends, np.linspace(0, 1, MAX_KNOTS + 1)[1:], method="nearest"))
    return np.concatenate([[0.0], ends[:-1]])


def _non_negative(points: Points, design: Float, tolerance: float) -> Float:
    """Least squares with coefficients >= 0, (G, p).

    Coefficients that add less than `tolerance` of the mean impact are set to 0.
    """
    products = points.weight[:, None] * design
    gram = _products(design, products, points.group, points.n_groups)
    moment = np.column_stack([points.summed(column * points.mean) for column in products.T])
    theta = np.full(moment.shape, -1.0)
    regular = np.linalg.cond(gram) < 1e13
    theta[regular] = np.linalg.solve(gram[regular], moment[regular][:, :, None])[:, :, 0]
    size = points.summed(points.weight * np.abs(points.mean)) / points.summed(points.weight)
    least = tolerance * size
    for g in np.flatnonzero(np.any(theta <= least[:, None], axis=1)):
        theta[g] = _bounded(gram[g], moment[g], float(least[g]))
    return theta


def _bounded(gram: Float, moment: Float, least: float) -> Float:
    """Non-negative least squares from normal equations.

    Coefficients not above `least` are dropped and the rest refitted.
    """
    from scipy.optimize import nnls

    free = np.ones(len(moment), bool)
    while free.any():
        theta = np.zeros(len(moment))
        values, vectors = np.linalg.eigh(gram[np.ix_(free, free)])
        kept = values > 1e-14 * values.max(initial=0.0)
        if not kept.any():
            break
        root, kept_vectors = np.sqrt(values[kept]), vectors[:, kept].T
        theta[free] = nnls(root[:, None] * kept_vectors, (kept_vectors @ moment[free]) / root)[0]
        dropped = free & (theta <= least)
        if not dropped.any():
            return theta
        free &= ~dropped
    return np.zeros(len(moment))


def _power_law(points: Points) -> Estimate:
    """The best exponent of a grid, refined by the root of the slope; 1 where there is none."""
    from scipy.optimize.elementwise import find_root

    unit, index = points.size.max(), np.arange(points.n_groups)
    points = _by_size(replace(points, size=points.size / unit))  # no exponent overflows
    explained = [_profiled(points, np.full(points.n_groups, p))[1] for p in EXPONENTS]
    best = EXPONENTS[np.argmax(explained, axis=0)]

    def slope(exponent: Float, group: Int64) -> Float:
        """Of the sum of squares explained: residuals are orthogonal to ln(x) x^exponent."""
        every = best.copy()
        every[group] = exponent
        power = points.size ** every[points.group]
        residual = points.mean - _profiled(points, every)[0][points.group] * power
        return points.summed(points.weight * np.log(points.size) * power * residual)[group]

    low, high, step = EXPONENTS[0], EXPONENTS[-1], EXPONENTS[1] - EXPONENTS[0]
    beside = np.maximum(best - step, low), np.minimum(best + step, high)
    found = find_root(slope, beside, args=(index,))  # none where the best is an end of the grid
    fell_back = ~(found.success & (_profiled(points, found.x)[0] > 0))
    exponent = np.where(fell_back, 1.0, found.x)
    scale = np.maximum(_profiled(points, exponent)[0], 0.0)
    free = np.column_stack([scale > 0, ~fell_back & (scale > 0)])
    coefficients = np.column_stack([scale * unit**-exponent, exponent])
    failed = np.flatnonzero(fell_back).tolist()
    return Estimate(["scale", "exponent"], coefficients, free, failed, np.empty(0))


def _by_size(points: Points) -> Points:
    """One point a group and size, whose least squares are the same: many books show few sizes."""
    sizes, size = np.unique(points.size, return_inverse=True)
    key, terms = points.group * len(sizes) + size, points.weight * points.mean
    _, first, cell = np.unique(key, return_index=True, return_inverse=True)
    total, weight = sums(cell, terms), sums(cell, points.weight)
    total[np.abs(total) <= ROUNDING * sums(cell, np.abs(terms))] = 0.0  # they cancel
    where = {name: points[name][first] for name in ("group", "size", "cluster")}
    count, mean = sums(cell, points.count), total / weight
    return replace(points, **where, count=count, mean=mean, weight=weight)


def _profiled(points: Points, exponent: Float) -> tuple[Float, Float]:
    """The best scale at the exponent of each group, and the sum of squares that it explains."""
    power = points.size ** exponent[points.group]
    terms = points.weight * points.mean * power
    cross, square = points.summed(terms), points.summed(points.weight * power**2)
    cross[np.abs(cross) <= ROUNDING * points.summed(np.abs(terms))] = 0.0  # they cancel
    return cross / square, np.maximum(cross, 0.0) ** 2 / square


def covariances(points: Points, fit: Estimate, errors: str) -> tuple[Float, Float]:
    r"""Covariance of each group's coefficients (G, p, p), and its degrees of freedom (G,).

    .. math:: V = B^{-1} M B^{-1}, \quad B = \sum_i w_i J_i J_i', \quad s_i = w_i J_i r_i

    with J the derivatives of the curve by its coefficients and r the residuals. M is

    - "day", "snapshot": :math:`k \sum_g s_g s_g'` over the sums of s in G clusters,
      :math:`k = \frac{G}{G-1}\frac{N-1}{N-p}`; G - 1 degrees of freedom;
    - "hc3": :math:`\sum_i s_i s_i' / (1 - h_i)^2` with leverages h; N - p degrees of freedom.

    Both equal statsmodels' (cluster, HC3). Sums over the books of a cluster give the same as the
    books. NaN for coefficients at a bound, where there is only one
    cluster, and for HC3 where a row has leverage 1.

    Source of HC3: MacKinnon and White (1985).
    """
    jacobian, n_groups = fit.jacobian(points.group, points.size), points.n_groups
    weight, group = points.weight[:, None], points.group
    inverse = _inverse(_products(jacobian, weight * jacobian, group, n_groups))
    scores = weight * (points.mean - fit.impact(group, points.size))[:, None] * jacobian
    count, free = points.summed(points.count), fit.free.sum(axis=1)
    if errors == "hc3":
        left = 1.0 - points.weight * np.sum(_transformed(jacobian, inverse, group) * jacobian, 1)
        scores = scores / np.where(left > 1e-10, left, np.nan)[:, None]
        known, dof, correction = count > free, count - free, np.ones(n_groups)
    else:
        clusters = int(points.cluster.max()) + 1
        cells, of = np.unique(group * clusters + points.cluster, return_inverse=True)
        group, scores = cells // clusters, np.column_stack([sums(of, s) for s in scores.T])
        number = np.bincount(group, minlength=n_groups)
        known, dof = (number > 1) & (count > free), number - 1.0
        kept = 1.0 - 1.0 / np.maximum(number, 2)
        correction = (count - 1.0) / np.where(known, count - free, np.nan) / kept
    influence = _transformed(scores, inverse, group)
    covariance = _products(influence, influence, group, n_groups)
    measured = known[:, None] & fit.free
    both = measured[:, :, None] & measured[:, None, :]
    return np.where(both, covariance * correction[:, None, None], np.nan), np.asarray(dof, float)


def _products(left: Float, right: Float, group: Int64, n_groups: int) -> Float:
    """Sum of left_i right_i' over the rows (m, p) of each group, (G, p, p)."""
    rows = [[sums(group, a * b, n_groups) for b in right.T] for a in left.T]
    return np.moveaxis(np.array(rows), 2, 0)


def _transformed(rows: Float, matrix: Float, group: Int64) -> Float:
    """Each row (m, p) times the symmetric matrix of its group (G, p, p)."""
    return np.column_stack([np.sum(rows * one[group], axis=1) for one in matrix.transpose(2, 0, 1)])


def _inverse(bread: Float) -> Float:
    """Inverses of (G, p, p), coefficients that are not free left out."""
    size = np.sqrt(np.einsum("gaa->ga", bread))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scale = unit[:, :, None] * unit[:, None, :]  # columns of like size keep them accurate
    return np.asarray(np.linalg.pinv(bread * scale, hermitian=True) * scale)

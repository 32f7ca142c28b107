r"""Coefficients of every family by least squares, many intervals at once.

All families but the power law are sums of given functions of size with coefficients at or
above 0, so that curves rise and their cost is convex:

.. math:: \min_{\theta_t \ge 0} \sum_i w_i n_i \big(\bar y_i - \textstyle\sum_j \theta_{tj} \phi_j(x_i)\big)^2

linear: x; nonlinear: x^2 and x; sqrt: the root of x; piecewise: hinges (x - knot)^+ / x,
whose sum is any convex walked cost. The power law is nonlinear least squares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.impact.censoring import sums

Float = NDArray[np.float64]
Index = NDArray[np.int64]

MOST_KNOTS = 10
EXPONENTS = np.linspace(0.05, 3.0, 60)
ITERATIONS = 60
CONVERGED = 1e-9
MEDIAN_OF_NORMAL = 0.6744897501960817
HUBER_THRESHOLD = 1.345


@dataclass(frozen=True, eq=False)
class Points(Record):
    """What least squares sees: m mean impacts of groups (intervals, buckets or all).

    Attributes
    ----------
    group : (m,) numbered from 0
    size : (m,) shares
    weight : (m,) number of books times the weight of each
    mean : (m,) currency per share
    count : (m,)
        Number of books.
    cluster : (m,)
        What errors are clustered by: days, or the snapshots of rows in memory.
    n_groups : int
    curved : (m,), optional
        `curvature` where it is not the weight.
    """

    group: Index
    size: Float
    weight: Float
    mean: Float
    count: Float
    cluster: Index
    n_groups: int
    curved: Float | None = None

    @property
    def curvature(self) -> Float:
        """Weight that a change of the curve has in the first-order condition, (m,)."""
        return self.weight if self.curved is None else self.curved

    def reweighted(self, factor: Float) -> Points:
        """The points with their weights multiplied by `factor`, (m,); Huber's bounded rows, below 1, are flat."""
        return dataclasses.replace(
            self, weight=self.weight * factor, curved=self.weight * (factor >= 1.0)
        )

    def summed(self, values: Float) -> Float:
        """Sum of (m,) or (m, p) values over each group."""
        if values.ndim == 1:
            return sums(self.group, values, self.n_groups)
        return np.column_stack([self.summed(column) for column in values.T])


@dataclass(frozen=True, eq=False)
class Estimate(Record):
    """Coefficients of each group, and how the impact changes with them.

    Attributes
    ----------
    names : list of str
    coefficients : (G, p)
    free : (G, p) bool
        False where a coefficient sits at its bound of 0.
    fell_back : list of int
        Groups whose power law did not converge: linear, which is exponent 1.
    knots : (p,) shares
        Lower ends of the steps of a piecewise curve; else empty.
    """

    names: list[str]
    coefficients: Float
    free: NDArray[np.bool_]
    fell_back: list[int]
    knots: Float

    def impact(self, group: Index, size: Float) -> Float:
        """Impact at (m,) sizes of the groups given."""
        theta = self.coefficients[group]
        if self.names == ["scale", "exponent"]:
            return theta[:, 0] * size ** theta[:, 1]
        return np.sum(theta * self._basis(size), axis=1)

    def jacobian(self, group: Index, size: Float) -> Float:
        """Derivative of impact with respect to each coefficient, (m, p); 0 where it is not free."""
        theta = self.coefficients[group]
        if self.names == ["scale", "exponent"]:
            power = size ** theta[:, 1]
            columns = np.column_stack([power, theta[:, 0] * power * np.log(size)])
        else:
            columns = self._basis(size)
        return np.where(self.free[group], columns, 0.0)

    def standard_error(self, group: Index, size: Float, covariance: Float) -> Float:
        """Of the impact at (m,) sizes of the groups given, from the (G, p, p) `covariance` by the delta method.

        0 where no coefficient is free, NaN where one that is has no variance.
        """
        jacobian, own = self.jacobian(group, size), covariance[group]
        variance = np.einsum("mi,mij,mj->m", jacobian, np.nan_to_num(own), jacobian)
        unknown = np.any(np.isnan(np.einsum("mii->mi", own)) & self.free[group], axis=1)
        return np.where(unknown, np.nan, np.sqrt(np.maximum(variance, 0.0)))

    def _basis(self, size: Float) -> Float:
        return steps(size, self.knots) if len(self.knots) else BASES[tuple(self.names)](size)


BASES: dict[tuple[str, ...], Callable[[Float], Float]] = {
    ("beta",): lambda x: x[:, None],
    ("alpha", "beta"): lambda x: np.column_stack([x**2, x]),
    ("scale",): lambda x: np.sqrt(x)[:, None],
}
NAMES = {
    "linear": ("beta",),
    "nonlinear": ("alpha", "beta"),
    "sqrt": ("scale",),
    "power": ("scale", "exponent"),
}
MODEL_TYPES = (*NAMES, "piecewise")


def coefficient_count(model_type: str, sizes: Float) -> int:
    """Coefficients of a group's curve, so distinct sizes that it needs."""
    return len(_knots(sizes)) if model_type == "piecewise" else len(NAMES[model_type])


def estimate(points: Points, model_type: str, tolerance: float) -> Estimate:
    """Least squares of a family in every group; `tolerance` as in `fit_impact`."""
    if model_type == "power":
        return _power_law(points)
    if model_type == "piecewise":
        return _piecewise(points, tolerance)
    names = NAMES[model_type]
    unit = points.size.max()
    basis = BASES[names]
    scaled = _non_negative(points, basis(points.size / unit), tolerance)
    coefficients = scaled / basis(np.array([unit]))
    return Estimate(list(names), coefficients, coefficients > 0, [], np.empty(0))


def _non_negative(points: Points, design: Float, tolerance: float) -> Float:
    """Least squares with coefficients >= 0, (G, p); those that add less than `tolerance` of the mean impact are 0."""
    p = design.shape[1]
    products = points.weight[:, None] * design
    gram = np.stack([points.summed(products * design[:, [j]]) for j in range(p)], axis=1)
    moment = points.summed(products * points.mean[:, None])
    theta = np.full((points.n_groups, p), -1.0)
    regular = np.linalg.cond(gram) < 1e13
    theta[regular] = np.linalg.solve(gram[regular], moment[regular][:, :, None])[:, :, 0]
    scale = points.summed(points.weight * np.abs(points.mean)) / points.summed(points.weight)
    least = tolerance * scale[:, None]
    for g in np.flatnonzero(np.any(theta <= least, axis=1)):
        theta[g] = _bounded(gram[g], moment[g], float(least[g, 0]))
    return theta


def _bounded(gram: Float, moment: Float, least: float) -> Float:
    """Non-negative least squares from normal equations; those not above `least` are dropped, the rest refitted."""
    from scipy.optimize import nnls

    free = np.ones(len(moment), bool)
    while True:
        theta = np.zeros(len(moment))
        values, vectors = np.linalg.eigh(gram[np.ix_(free, free)])
        kept = values > 1e-14 * values.max(initial=0.0)
        root = np.sqrt(values[kept])
        if not kept.any():
            return theta
        rows = root[:, None] * vectors[:, kept].T
        theta[free] = nnls(rows, (vectors[:, kept].T @ moment[free]) / root)[0]
        dropped = free & (theta <= least)
        if not dropped.any():
            return theta
        free &= ~dropped
        if not free.any():
            return np.zeros(len(moment))


def _knots(sizes: Float) -> Float:
    """Lower ends of the steps of a piecewise curve: 0 and the sizes but the last, 10 at most."""
    ends = np.unique(sizes)
    if len(ends) > MOST_KNOTS:
        ends = np.unique(np.quantile(ends, np.linspace(0, 1, MOST_KNOTS + 1)[1:], method="nearest"))
    return np.concatenate([[0.0], ends[:-1]])


def steps(size: Float, knots: Float) -> Float:
    """Shares of each step over the size, (m, p): impact per unit of each step's premium."""
    ends = np.append(knots[1:], np.inf)
    return np.clip(size[:, None] - knots, 0.0, ends - knots) / size[:, None]


def _piecewise(points: Points, tolerance: float) -> Estimate:
    knots = _knots(points.size)
    hinges = np.maximum(points.size[:, None] - knots, 0.0) / points.size[:, None]
    premium = np.cumsum(_non_negative(points, hinges, tolerance), axis=1)
    names = [f"premium_{k + 1}" for k in range(len(knots))]
    return Estimate(names, premium, premium > 0, [], knots)


def _power_law(points: Points) -> Estimate:
    """The best exponent of a grid, polished by damped Gauss-Newton; exponent 1 where that does not converge."""
    exponent = EXPONENTS[
        np.argmax([_explained(points, np.full(points.n_groups, p)) for p in EXPONENTS], axis=0)
    ]
    scale, exponent, converged = _gauss_newton(points, exponent)
    fell_back = ~(converged & (exponent > EXPONENTS[0]) & (exponent < EXPONENTS[-1]) & (scale > 0))
    exponent = np.where(fell_back, 1.0, exponent)
    scale = np.where(fell_back, np.maximum(_scale(points, exponent), 0.0), scale)
    free = np.column_stack([scale > 0, ~fell_back & (scale > 0)])
    coefficients = np.column_stack([scale, exponent])
    return Estimate(
        ["scale", "exponent"], coefficients, free, np.flatnonzero(fell_back).tolist(), np.empty(0)
    )


def _explained(points: Points, exponent: Float) -> Float:
    """Sum of squares that the best scale explains at the exponent of each group."""
    unit = points.size.max()
    power = (points.size / unit) ** exponent[points.group]
    cross = np.maximum(points.summed(points.weight * points.mean * power), 0.0)
    return np.asarray(cross**2 / points.summed(points.weight * power**2))


def _scale(points: Points, exponent: Float) -> Float:
    power = points.size ** exponent[points.group]
    return points.summed(points.weight * points.mean * power) / points.summed(
        points.weight * power**2
    )


def _gauss_newton(points: Points, exponent: Float) -> tuple[Float, Float, NDArray[np.bool_]]:
    """One-dimensional Gauss-Newton on the exponent, the scale profiled out, halving steps that explain less."""
    log_size = np.log(points.size)
    best = _explained(points, exponent)
    step = np.ones(points.n_groups)
    for _ in range(ITERATIONS):
        scale = _scale(points, exponent)
        power = points.size ** exponent[points.group]
        slope = log_size * power
        # The direction of the exponent with the part that the scale explains taken out.
        share = points.summed(points.weight * slope * power) / points.summed(
            points.weight * power**2
        )
        direction = scale[points.group] * (slope - share[points.group] * power)
        residual = points.mean - scale[points.group] * power
        bend = points.summed(points.weight * direction**2)
        move = points.summed(points.weight * direction * residual)
        step = np.divide(move, bend, out=np.zeros_like(move), where=bend > 0)
        for _ in range(5):
            trial = np.clip(exponent + step, EXPONENTS[0], EXPONENTS[-1])
            explained = _explained(points, trial)
            # Near the best exponent the sum is flat to rounding, while the step is still known to more digits.
            worse = explained < best * (1 - 1e-12)
            if not worse.any():
                break
            step = np.where(worse, step / 2, step)
        exponent, best = np.where(worse, exponent, trial), np.where(worse, best, explained)
        if np.all((np.abs(step) <= CONVERGED * 1e-4) | worse):
            break
    return _scale(points, exponent), exponent, np.abs(step) <= CONVERGED


def huber(points: Points, model_type: str, tolerance: float) -> tuple[Estimate, Float]:
    """Huber's M-estimate by reweighting, scale by the normalised median absolute residual; and the last weights.

    Source: Huber, Robust Statistics (1981), section 7; the threshold 1.345 is 95 % efficient for normal errors.
    """
    order = np.argsort(points.group, kind="stable")
    start = np.searchsorted(points.group[order], np.arange(points.n_groups + 1))
    weight = np.ones(len(points.group))
    for _ in range(ITERATIONS):
        fit = estimate(points.reweighted(weight), model_type, tolerance)
        residual = points.mean - fit.impact(points.group, points.size)
        spread = _medians(np.abs(residual)[order], start) / MEDIAN_OF_NORMAL
        reach = HUBER_THRESHOLD * spread[points.group]
        new = np.divide(
            reach, np.abs(residual), out=np.ones_like(weight), where=np.abs(residual) > reach
        )
        if np.max(np.abs(new - weight)) <= 1e-10:
            break
        weight = new
    return fit, weight


@njit(cache=True)
def _medians(values: Float, start: Index) -> Float:
    """Median of values[start[g]:start[g + 1]] of each group, NaN where it is empty."""
    medians = np.full(len(start) - 1, np.nan)
    for g in range(len(medians)):
        if start[g + 1] > start[g]:
            medians[g] = np.median(values[start[g] : start[g + 1]])
    return medians


def log_log(points: Points) -> Estimate:
    """The power law by regressing ln impact on ln size over the positive rows: another answer than least squares."""
    chosen = points.mean > 0
    x, y = np.log(points.size[chosen]), np.log(points.mean[chosen])
    kept = Points(
        points.group[chosen],
        x,
        points.weight[chosen],
        y,
        points.count[chosen],
        points.cluster[chosen],
        points.n_groups,
    )
    n, sx, sy = kept.summed(kept.weight), kept.summed(kept.weight * x), kept.summed(kept.weight * y)
    spread = kept.summed(kept.weight * x * x) - sx**2 / n
    exponent = (kept.summed(kept.weight * x * y) - sx * sy / n) / spread
    fell_back = ~((exponent > EXPONENTS[0]) & (exponent < EXPONENTS[-1]))
    exponent = np.where(fell_back, 1.0, exponent)
    scale = np.exp((sy - exponent * sx) / n)
    free = np.column_stack([np.ones(points.n_groups, bool), ~fell_back])
    return Estimate(
        ["scale", "exponent"],
        np.column_stack([scale, exponent]),
        free,
        np.flatnonzero(fell_back).tolist(),
        np.empty(0),
    )

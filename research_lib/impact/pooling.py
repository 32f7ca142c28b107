r"""One day shape for several symbols or days: levels are their own, the shape is shared in part.

.. math:: L_{it} = A_i \, r_{it}, \quad r_{it} = P_t (1 + u_{it}) + e_{it}, \quad
          w_i = \frac{\tau^2}{\tau^2 + s_i^2}, \quad \tilde r_{it} = w_i r_{it} + (1 - w_i) P_t

A_i is the mean of symbol i over the day, P the common shape (its own scatter shrunk towards
a smooth profile, see `shrinkage`), tau the true scatter of single shapes about it, by the
method of moments, and s_i the standard error of r, pooled over the day.

Source: as `shrinkage`; DerSimonian and Laird (1986).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.covariance import ERRORS
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.families import curve_of
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.shrinkage import shrink

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PooledShapes(Record):
    """What m symbols (or days) of T intervals share.

    Attributes
    ----------
    levels : (m, T)
        Shrunk towards the common shape; each symbol keeps its mean.
    shape : (T,) the common day shape, of mean 1
    weight : (m,)
        Of each symbol's own shape; the rest is the common one's.
    between : float
        tau, standard deviation of the true shapes about the common one, relative to it.
    error : (m,)
        s, standard deviation of the estimated shapes about the true ones, relative.
    """

    levels: Float
    shape: Float
    weight: Float
    between: float
    error: Float

    def summary(self) -> str:
        """One sentence: the weights and the two standard deviations."""
        return (
            f"own weight {self.weight.min():.2f} to {self.weight.max():.2f} of {len(self.weight)} (true scatter of "
            f"shapes {self.between:.1%}, error {self.error.min():.1%} to {self.error.max():.1%})"
        )


def pool_shapes(levels: ArrayLike, errors: ArrayLike) -> PooledShapes:
    """Shrink the day shapes of (m, T) levels with standard errors (m, T), NaN where unknown, towards a common one.

    Raises
    ------
    ValidationError
        Fewer than two rows, shapes that differ, a row whose mean is not above 0 or without one error.
    """
    level, error = np.asarray(levels, float), np.asarray(errors, float)
    _check(level, error)
    own = level.mean(axis=1, keepdims=True)
    relative, m, t = level / own, *level.shape
    variance = np.nanmean((error / own) ** 2, axis=1)
    between = 0.0
    for _ in range(
        2
    ):  # the weights of the common shape need the scatter, which needs the common shape
        trust = 1.0 / np.maximum(between**2 + variance, np.finfo(float).tiny)
        trust = trust / trust.sum()
        mean = trust @ relative
        scatter = float(np.sum((relative - mean) ** 2)) / ((m - 1) * (t - 1))
        between = float(np.sqrt(max(scatter - float(np.mean(variance)), 0.0)))
    error_of_mean = np.full(t, np.sqrt(float(np.sum(trust**2 * (between**2 + variance)))))
    shape = shrink(mean, error_of_mean).apply(mean)
    shape = shape / shape.mean()
    total = between**2 + variance
    weight = np.divide(between**2, total, out=np.ones(m), where=total > 0)
    shrunk = weight[:, None] * relative + (1.0 - weight[:, None]) * shape
    return PooledShapes(own * shrunk, shape, weight, between, np.sqrt(variance))


def pool_fits(
    fits: Mapping[str, ImpactFit], sizes: Mapping[str, float]
) -> tuple[dict[str, ImpactCurve], PooledShapes]:
    """Curves of several fits whose impact at a size of each, shares, follows the pooled shapes.

    Every interval's raw curve is multiplied by one number, so it keeps its form, stays
    increasing and its cost convex. Half-spreads are those of each fit's own `curve`.

    Raises
    ------
    ValidationError
        As `pool_shapes`; a fit whose errors are not those between days, or without impact in an interval.
    """
    names = list(fits)
    for name in names:
        if fits[name].diagnostics["errors"] != ERRORS["day"]:
            raise ValidationError(
                f"the errors of {name} are {fits[name].diagnostics['errors']}, not between days: fit it on several "
                'days with errors="day"'
            )
    levels = np.array([_level(fits[name], sizes[name]) for name in names])
    if np.any(levels <= 0):
        first = names[int(np.argmax(np.any(levels <= 0, axis=1)))]
        raise ValidationError(
            f"the impact of {first} is 0 in an interval; pool larger sizes or fewer intervals"
        )
    errors = np.array([_error(fits[name], sizes[name]) for name in names])
    pooled = pool_shapes(levels, errors)
    factors = pooled.levels / levels
    return {
        name: _scaled(fits[name], factor) for name, factor in zip(names, factors, strict=True)
    }, pooled


def _check(level: Float, error: Float) -> None:
    if level.ndim != 2 or level.shape != error.shape or len(level) < 2:
        raise ValidationError(
            f"levels {level.shape} and errors {error.shape} must both be (m, T) of two or more symbols or days"
        )
    if not np.isfinite(level).all() or np.any(level.mean(axis=1) <= 0):
        raise ValidationError("levels must be finite and each row's mean above 0")
    if not np.isfinite(error).any(axis=1).all():
        raise ValidationError(
            "a row has no finite standard error; leave it out or fit it on several days"
        )


def _level(fit: ImpactFit, size: float) -> Float:
    index = np.arange(len(fit.curve))
    return fit.estimate.impact(index, np.full(len(index), size))


def _error(fit: ImpactFit, size: float) -> Float:
    """Standard error of the impact at a size, (n,); NaN where a coefficient has none."""
    index = np.arange(len(fit.curve))
    return fit.estimate.standard_error(index, np.full(len(index), size), fit.cov)


def _scaled(fit: ImpactFit, factor: Float) -> ImpactCurve:
    """The fit's raw curve with its impact multiplied by (n,) factors."""
    powers = pd.Index(fit.estimate.names) == "exponent"
    coefficients = np.where(
        powers, fit.estimate.coefficients, fit.estimate.coefficients * factor[:, None]
    )
    largest = np.asarray(fit.diagnostics["largest_size"], float)
    scaled = dataclasses.replace(fit.estimate, coefficients=coefficients)
    return curve_of(scaled, coefficients, fit.curve.half_spread, largest)

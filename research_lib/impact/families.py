"""From coefficients to curves, raw or shrunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research_lib.impact.curves import (
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    QuadraticImpact,
)
from research_lib.impact.estimation import Estimate
from research_lib.impact.shrinkage import Shrinkage

Float = NDArray[np.float64]


def shrunk(found: Estimate, shrinkage: Shrinkage, size: float) -> Float:
    """Coefficients, (G, p), mixed with the day profile; power laws in their exponent and in their impact at `size`.

    A group without impact has no exponent of its own: it takes the mean of the others.
    """
    if found.names != ["scale", "exponent"]:
        return shrinkage.apply(found.coefficients)
    scale, exponent = found.coefficients.T
    positive = scale > 0
    if not positive.any():
        return found.coefficients
    mixed = shrinkage.apply(np.where(positive, exponent, exponent[positive].mean()))
    level = shrinkage.apply(scale * size**exponent)
    return np.column_stack([level * size**-mixed, mixed])


def curve_of(
    found: Estimate, coefficients: Float, half_spread: Float, largest: Float
) -> ImpactCurve:
    """The family's curve from (G, p) coefficients; a piecewise one ends at the `largest` sizes seen, (G,)."""
    columns = dict(zip(found.names, coefficients.T, strict=True))
    if len(found.knots):
        ends = np.maximum(np.append(found.knots[1:], np.inf), found.knots)
        depth = np.minimum(ends, np.maximum(largest[:, None], found.knots)) - found.knots
        return PiecewiseLinearImpact(depth, coefficients, half_spread)
    if found.names == ["beta"]:
        return LinearImpact(columns["beta"], half_spread)
    if found.names == ["alpha", "beta"]:
        return QuadraticImpact(columns["alpha"], columns["beta"], half_spread)
    return PowerImpact(columns["scale"], columns.get("exponent", 0.5), half_spread)

"""The book itself as an impact curve: walking it is convex and piecewise linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import OptimizationError, ValidationError
from research_lib.impact.curves import ROUNDING, ImpactCurve, is_cost, recut, shared_time
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PiecewiseLinearImpact(ImpactCurve):
    r"""The book itself: cost_t(x) walks steps of depth_tk shares at premium_tk beyond the touch.

    .. math:: cost_t(x) = h_t x + \sum_k premium_{tk} \min(depth_{tk}, (x - \sum_{j<k} depth_{tj})^+)

    The expected cost of walking books at random is convex and piecewise linear too, so no
    functional form is assumed. Beyond the last step the cost is unknown: NaN.

    Attributes
    ----------
    depth : (n, K) shares, 0 or more
    premium : (n, K) currency per share, non-decreasing along the steps
    half_spread : (n,) currency per share
    """

    depth: Any
    premium: Any
    half_spread: Any = 0.0

    def __post_init__(self) -> None:
        depth, premium = (np.atleast_2d(np.array(a, float)) for a in (self.depth, self.premium))
        half_spread = np.atleast_1d(np.asarray(self.half_spread, float))
        if depth.shape != premium.shape or depth.ndim != 2 or half_spread.shape not in ((1,), depth.shape[:1]):
            raise ValidationError(
                f"depth {depth.shape} and premium {premium.shape} must both be (n, K), half_spread (n,) "
                f"{half_spread.shape}"
            )
        falls = (depth < 0) | (np.diff(premium, axis=1, prepend=premium[:, :1]) < 0)
        if falls.any():
            t, k = np.argwhere(falls)[0]
            raise ValidationError(
                f"depth must be 0 or more and premium non-decreasing; interval {t}, step {k} has depth "
                f"{depth[t, k]:g} and premium {premium[t, k]:g}"
            )
        spread = np.array(np.broadcast_to(half_spread, len(depth)))
        for name, array in (("depth", depth), ("premium", premium), ("half_spread", spread)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def total(self, objective: str = "cost") -> SeparableTotal:
        """The steps under "cost"; refused under "impact", where an average price is not convex.

        Raises
        ------
        OptimizationError
        """
        if not is_cost(objective):
            raise OptimizationError(
                'the average price of a walked book is not convex in x: objective "impact" has no safe optimum '
                'for a piecewise-linear curve; use objective "cost", or fit model_type "linear" or "nonlinear"'
            )
        zero = np.zeros(len(self))
        power = np.full(len(self), 1.5)
        return SeparableTotal(self.half_spread, zero, zero, zero, power, self.depth, self.premium)

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share; NaN beyond the depth."""
        shares = np.broadcast_to(np.asarray(x, float), self.half_spread.shape)
        walked = PiecewiseLinearImpact(self.depth, self.premium).cost(shares)
        first = self.premium[:, 0] if self.premium.shape[1] else np.zeros(len(self))
        return np.divide(walked, shares, out=np.array(first), where=shares > 0)

    def recut(self, n_intervals: int) -> ImpactCurve:
        """The average of the walked costs over the time each new interval covers, as deep as the least deep of them."""
        if n_intervals == len(self):
            return self
        parts = [self._average(weights) for weights in shared_time(len(self), n_intervals)]
        longest = max(len(depth) for depth, _ in parts)
        pad = [longest - len(depth) for depth, _ in parts]
        return PiecewiseLinearImpact(
            np.array([np.pad(depth, (0, k)) for (depth, _), k in zip(parts, pad, strict=True)]),
            np.array([np.pad(premium, (0, k), mode="edge") for (_, premium), k in zip(parts, pad, strict=True)]),
            recut(self.half_spread, n_intervals),
        )

    def _average(self, weights: Float) -> tuple[Float, Float]:
        """Steps of the weighted mean of the intervals' walked costs."""
        chosen = np.flatnonzero(weights)
        ends = np.cumsum(self.depth[chosen], axis=1)
        breaks = np.unique(ends[ends <= ends[:, -1].min() * (1 + ROUNDING)])
        middles = breaks - np.diff(breaks, prepend=0.0) / 2
        step = np.array([np.searchsorted(row, middles) for row in ends])
        premium = np.take_along_axis(self.premium[chosen], np.minimum(step, ends.shape[1] - 1), axis=1)
        # Averages of equal premiums may fall by a rounding.
        return np.diff(breaks, prepend=0.0), np.maximum.accumulate(weights[chosen] @ premium)

"""The book itself as an impact curve: walking it is convex and piecewise linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import OptimizationError, ValidationError
from research_lib.impact.curves import ImpactCurve, as_floats, is_cost, recut, shared_time
from research_lib.impact.totals import UNUSED_POWER, SeparableTotal
from research_lib.market import BookSnapshots
from research_lib.market.book import side_sign

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
        depth, premium = (
            np.atleast_2d(np.array(as_floats(name, self[name]))) for name in ("depth", "premium")
        )
        half_spread = np.atleast_1d(as_floats("half_spread", self.half_spread))
        if (
            depth.shape != premium.shape
            or depth.ndim != 2
            or half_spread.shape not in ((1,), depth.shape[:1])
        ):
            raise ValidationError(
                f"depth {depth.shape} and premium {premium.shape} must both be (n, K), half_spread (n,) "
                f"{half_spread.shape}"
            )
        if not depth.size:
            raise ValidationError(
                f"depth {depth.shape} has no step; an empty book has one of depth 0 and premium 0"
            )
        _check_steps(depth, premium)
        spread = np.array(np.broadcast_to(half_spread, len(depth)))
        for name, array in (("depth", depth), ("premium", premium), ("half_spread", spread)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def from_books(cls, books: BookSnapshots, side: str) -> Self:
        """One curve a book: n snapshots with L levels give n intervals with L steps.

        Levels are walked away from the mid, whatever their order. Premiums are measured from
        the touch and the half-spread is signed: negative where the book is crossed. Where a
        side is empty there is no mid to measure from: depth, premium and half-spread are 0,
        and nothing can be traded.

        Parameters
        ----------
        books : BookSnapshots
        side : "buy" or "sell"
            "buy" walks the asks, "sell" the bids.

        Raises
        ------
        ValidationError
            An unknown side, or no book.
        """
        prices, sizes = books.levels(side)
        sign = side_sign(side)
        order = np.argsort(
            sign * prices, axis=1, kind="stable"
        )  # empty levels, of price NaN, come last
        away = np.take_along_axis(sign * prices, order, axis=1)
        quoted = np.isfinite(books.bid_price).any(axis=1) & np.isfinite(books.ask_price).any(axis=1)
        half_spread = books.half_spread
        premium = np.fmax.accumulate(away - away[:, :1], axis=1)
        return cls(
            np.where(quoted[:, None], np.take_along_axis(sizes, order, axis=1), 0.0),
            np.where(quoted[:, None], premium, 0.0),
            np.where(quoted, half_spread, 0.0),
        )

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
        power = np.full(len(self), UNUSED_POWER)
        return SeparableTotal(self.half_spread, zero, zero, zero, power, self.depth, self.premium)

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share; NaN beyond the depth.

        At 0 the price of the first step that has shares.
        """
        shares = self._shares(x)
        first = np.argmax(self.depth > 0, axis=1)[:, None]
        at_zero = np.take_along_axis(self.premium, first, axis=1)[:, 0]
        return np.divide(self._cost.walked(shares), shares, out=at_zero, where=shares > 0)

    def recut(self, n_intervals: int) -> ImpactCurve:
        """The average of the walked costs over the time each new interval covers, as deep as the least deep of them."""
        if n_intervals == len(self):
            return self
        parts = [self._average(weights) for weights in shared_time(len(self), n_intervals)]
        longest = max(len(depth) for depth, _ in parts)
        pad = [longest - len(depth) for depth, _ in parts]
        return PiecewiseLinearImpact(
            np.array([np.pad(depth, (0, k)) for (depth, _), k in zip(parts, pad, strict=True)]),
            np.array(
                [
                    np.pad(premium, (0, k), mode="edge")
                    for (_, premium), k in zip(parts, pad, strict=True)
                ]
            ),
            recut(self.half_spread, n_intervals),
        )

    def _average(self, weights: Float) -> tuple[Float, Float]:
        """Steps of the weighted mean of the intervals' walked costs."""
        chosen = np.flatnonzero(weights)
        ends = np.cumsum(self.depth[chosen], axis=1)
        breaks = np.unique(np.minimum(ends, ends[:, -1].min()))
        middles = breaks - np.diff(breaks, prepend=0.0) / 2
        step = np.array([np.searchsorted(row, middles) for row in ends])
        premium = np.take_along_axis(
            self.premium[chosen], np.minimum(step, ends.shape[1] - 1), axis=1
        )
        # Averages of equal premiums may fall by a rounding.
        return np.diff(breaks, prepend=0.0), np.maximum.accumulate(weights[chosen] @ premium)


def _check_steps(depth: Float, premium: Float) -> None:
    """Refuse a step of negative depth, a falling premium, NaN and infinity."""
    bad = ~((depth >= 0) & (depth < np.inf) & np.isfinite(premium))
    bad[:, 1:] |= premium[:, 1:] < premium[:, :-1]
    if bad.any():
        t, k = np.argwhere(bad)[0]
        raise ValidationError(
            f"depth must be finite and 0 or more, premium finite and non-decreasing; interval {t}, step {k} has "
            f"depth {depth[t, k]:g} and premium {premium[t, k]:g}; give an empty step depth 0 and the premium before it"
        )

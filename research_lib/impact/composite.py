"""Curves of different families in one session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import ValidationError
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.totals import SeparableTotal, stacked

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False, init=False)
class CompositeImpact(ImpactCurve):
    """Different families in different intervals: the curves' intervals one after another.

    Attributes
    ----------
    curves : tuple of ImpactCurve
    half_spread : (n,) currency per share
    """

    curves: tuple[ImpactCurve, ...]
    half_spread: Any

    def __init__(self, curves: Sequence[ImpactCurve]) -> None:
        parts = tuple(curves)
        if not parts or not all(isinstance(curve, ImpactCurve) for curve in parts):
            raise ValidationError(
                f"curves must be a list of impact curves, got {[type(c).__name__ for c in parts]}"
            )
        object.__setattr__(self, "curves", parts)
        object.__setattr__(
            self, "half_spread", np.concatenate([curve.half_spread for curve in parts])
        )

    def total(self, objective: str = "cost") -> SeparableTotal:
        """Each curve's own total, one after another."""
        return stacked([curve.total(objective) for curve in self.curves])

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share."""
        pieces = np.split(self._shares(x), self._starts[1:])
        return np.concatenate(
            [curve.impact(piece) for curve, piece in zip(self.curves, pieces, strict=True)]
        )

    def parameters(self) -> dict[str, Float]:
        """Every part's parameters, named as curves[0].beta."""
        return {
            f"curves[{k}].{name}": values
            for k, curve in enumerate(self.curves)
            for name, values in curve.parameters().items()
        }

    def take(self, intervals: ArrayLike) -> Self:
        """The curves of the chosen intervals, in that order."""
        chosen = np.atleast_1d(np.arange(len(self))[np.asarray(intervals)])
        of = np.searchsorted(self._starts, chosen, side="right") - 1
        runs = np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(of)) + 1)
        return type(self)(
            [self.curves[of[run[0]]].take(chosen[run] - self._starts[of[run[0]]]) for run in runs]
        )

    @property
    def _starts(self) -> NDArray[np.int64]:
        """First interval of each part."""
        return np.cumsum([0, *(len(curve) for curve in self.curves[:-1])])

    def recut(self, n_intervals: int) -> ImpactCurve:
        """Refused, unless nothing changes: families do not average.

        Raises
        ------
        ValidationError
        """
        if n_intervals != len(self):
            raise ValidationError(
                f"a composite curve of {len(self)} intervals cannot be cut into {n_intervals}: families do not "
                "average; recut its parts and compose them again"
            )
        return self

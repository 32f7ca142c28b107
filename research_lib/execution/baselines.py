"""Schedules of the literature to measure against: front-loaded decay."""

from __future__ import annotations

import numpy as np

from research_lib.config import number
from research_lib.errors import ValidationError
from research_lib.execution.schedules import Schedule


def front_loaded(total_shares: float, n_intervals: int, half_life: float | None = None) -> Schedule:
    r"""Children that fall from the first interval on: x_t ~ 2^(-t / half_life), or ~ n - t without a half-life.

    Parameters
    ----------
    total_shares : float
    n_intervals : int
        n.
    half_life : intervals, above 0, optional
        After so many, the child is half as large; inf is TWAP.
    """
    n, total = number("n_intervals", n_intervals, 1, integer=True), number("total_shares", total_shares, 0)
    if half_life is None:
        weights, name = np.arange(n, 0, -1.0), "front-loaded, linear"
    else:
        if isinstance(half_life, str) or np.ndim(half_life) or not half_life > 0:
            raise ValidationError(f"half_life must be above 0, got {half_life!r}; inf is TWAP")
        weights, name = 0.5 ** (np.arange(n) / half_life), f"front-loaded, half-life {half_life:g}"
    return Schedule(total * weights / weights.sum(), name)

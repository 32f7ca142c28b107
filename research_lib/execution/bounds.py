"""Bounds of the child orders: caps from participation and blackouts, and their smallest relaxation."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import number
from research_lib.errors import ValidationError
from research_lib.execution.solvers import CAPS_LOW, CROSSED, FLOORS_HIGH, Problem

Float = NDArray[np.float64]
LONGEST_RELAXATION = 60


def share_caps(
    n_intervals: int,
    *,
    max_shares: ArrayLike = np.inf,
    participation_rate: float | None = None,
    volume: ArrayLike | None = None,
    blackout: Any = None,
) -> Float:
    """Largest child order of each interval, for `allocate(max_shares=...)`: the least of what is given.

    Parameters
    ----------
    max_shares : scalar or (n,) shares
    participation_rate, volume : fraction, scalar or (n,) shares
        x_t <= rate * volume_t, for a volume forecast before the order starts.
    blackout : (n,) bool, or intervals, integers
        No trading there. A floor above 0 in such an interval contradicts it.

    Returns
    -------
    (n,) shares

    Raises
    ------
    ValidationError
        A rate without volume or the reverse, a rate outside (0, 1], a negative cap, an interval that is not there.
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    caps = np.array(bound("max_shares", max_shares, n))
    if (participation_rate is None) != (volume is None):
        raise ValidationError("participation_rate and volume go together: give both or neither")
    if participation_rate is not None:
        rate = number("participation_rate", participation_rate, 0, 1, above=0)
        caps = np.minimum(caps, rate * bound("volume", volume, n))
    if blackout is not None:
        chosen = np.asarray(blackout)
        at = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        if (chosen.dtype == bool and chosen.shape != (n,)) or np.any((at < 0) | (at >= n)):
            raise ValidationError(f"blackout must be a mask ({n},) or intervals from 0 to {n - 1}, got {blackout!r}")
        caps[at] = 0.0
    return caps


def bounds_of(n: int, order: float, min_shares: ArrayLike, max_shares: ArrayLike | None) -> tuple[Float, Float]:
    """Floors and caps, (n,) shares each; no cap is larger than the order, or than the floor where that is more."""
    lower = bound("min_shares", min_shares, n)
    if max_shares is None:
        return lower, np.full(n, order)
    if isinstance(max_shares, int | float) and max_shares >= order and isinstance(min_shares, int | float):
        return lower, np.full(n, max(order, float(min_shares)))
    upper = bound("max_shares", max_shares, n)
    if isinstance(max_shares, int | float) and max_shares < order:
        return lower, upper
    return lower, np.minimum(upper, np.maximum(order, lower))


def bound(name: str, shares: Any, n: int) -> Float:
    """A bound of each interval, (n,) shares, at least 0."""
    if isinstance(shares, int | float) and shares >= 0:
        return np.full(n, float(shares)) if shares else _zeros(n)
    try:
        array = np.broadcast_to(np.asarray(shares, float), (n,))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be a number or ({n},) shares, got {shares!r}") from error
    bad = ~(array >= 0)
    if bad.any():
        raise ValidationError(f"{name} must be at least 0, got {array[bad][0]:g} in interval {int(np.argmax(bad))}")
    return array


def relaxed(problem: Problem, capacity: Float) -> tuple[Problem, str]:
    """The problem with its caps raised, or its floors lowered, by the one factor that just admits the order.

    Caps stop at `capacity`, (n,), what the curve knows the price of; caps of 0 stay. The
    problem is returned as it was, with no text, where nothing needs or helps.
    """
    order, faults = problem.shares, problem.faults
    if faults & FLOORS_HIGH and not faults & CROSSED:
        factor = order / problem.lower.sum()
        return dataclasses.replace(problem, lower=problem.lower * factor), f"min_shares lowered to {factor:.6g} of it"
    reachable = np.where(problem.upper > 0, np.minimum(capacity, order), 0.0)
    if not faults & CAPS_LOW or faults & CROSSED or reachable.sum() < order:
        return problem, ""
    factor = 1.0
    for _ in range(LONGEST_RELAXATION):  # each round, at least one more cap meets its limit, or the sum is met
        upper = np.minimum(problem.upper * factor, reachable)
        free = upper < reachable
        short = order - upper.sum()
        if short <= 1e-12 * order or not free.any():
            break
        factor += short / problem.upper[free].sum()
    return dataclasses.replace(problem, upper=upper), f"max_shares raised to {factor:.6g} times it"


@lru_cache(maxsize=4)
def _zeros(n: int) -> Float:
    """No floor, (n,): made once, for it does not change."""
    zeros = np.zeros(n)
    zeros.flags.writeable = False
    return zeros

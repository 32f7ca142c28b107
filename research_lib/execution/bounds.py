"""Bounds of the child orders: caps from participation and blackouts, and their smallest relaxation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import number
from research_lib.errors import ValidationError
from research_lib.execution.solvers import CAPS_LOW, CROSSED, FLOORS_HIGH, Problem

Float = NDArray[np.float64]
LONGEST_RELAXATION = 60
HALVINGS = 100
MARGIN = 1e-12
ROUNDING = 1e-9
# A cap that the whole order does not reach must not seem to bind: the next share may go there too.
HEADROOM = 1e-13
PLAIN = (int, float)


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
    blackout : (n,) bool, or intervals, distinct integers
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
        caps[_closed(blackout, n)] = 0.0
    return caps


def _closed(blackout: Any, n: int) -> NDArray[np.bool_] | NDArray[np.int64]:
    """The intervals without trading, as an index of (n,)."""
    try:
        chosen = np.asarray(list(blackout) if isinstance(blackout, set | frozenset) else blackout)
    except ValueError as error:  # rows of several lengths
        raise ValidationError(f"blackout must be one list of intervals, got {blackout!r}") from error
    if chosen.dtype == bool and chosen.shape == (n,):
        return chosen
    whole = chosen.ndim == 1 and (chosen.size == 0 or np.issubdtype(chosen.dtype, np.integer))
    if not whole or np.any((chosen < 0) | (chosen >= n)) or len(np.unique(chosen)) < len(chosen):
        raise ValidationError(
            f"blackout must be a mask ({n},) of booleans, or intervals from 0 to {n - 1}, each once, got {blackout!r}"
        )
    return chosen.astype(np.int64)


def bounds_of(n: int, order: float, min_shares: ArrayLike, max_shares: ArrayLike | None) -> tuple[Float, Float]:
    """Floors and caps, (n,) shares each; no cap is larger than just above the order, or than the floor."""
    lower, plain = bound("min_shares", min_shares, n), isinstance(max_shares, PLAIN)
    if plain and not max_shares >= order:  # type: ignore[operator]  # NaN too
        return lower, bound("max_shares", max_shares, n)
    reach = order * (1.0 + HEADROOM)
    if isinstance(min_shares, PLAIN) and (plain or max_shares is None):
        most = np.inf if max_shares is None else max_shares
        return lower, _filled(n, min(float(most), max(reach, float(min_shares))))
    upper = bound("max_shares", np.inf if max_shares is None else max_shares, n)
    return lower, np.minimum(upper, np.maximum(reach, lower))


def bound(name: str, shares: Any, n: int) -> Float:
    """A bound of each interval, (n,) shares, at least 0."""
    if isinstance(shares, PLAIN) and shares >= 0:
        return _filled(n, float(shares)) if shares else _zeros(n)
    try:
        array = np.broadcast_to(np.asarray(shares, float), (n,))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be a number or ({n},) shares, got {shares!r}") from error
    bad = ~(array >= 0)
    if bad.any():
        raise ValidationError(f"{name} must be at least 0, got {array[bad][0]:g} in interval {int(np.argmax(bad))}")
    return array


def relaxed(problem: Problem, capacity: Float, lot: float | None) -> tuple[Problem, str]:
    """The problem with its caps raised, or its floors lowered, by the one factor that just admits the order.

    In whole lots where `lot` says so. Caps stop at `capacity`, (n,), what the curve knows the price
    of; caps of 0 stay. The problem is returned as it was, with no text, where nothing needs or helps.
    """
    order, lower, faults = problem.shares, problem.lower, problem.faults & (CROSSED | CAPS_LOW | FLOORS_HIGH)
    if faults & CROSSED or (not faults and (lot is None or admits_lots(lower, problem.upper, order, lot))):
        return problem, ""
    if faults & FLOORS_HIGH or (not faults and _floors_high(problem, lot or 1.0)):
        factor = min(order / lower.sum(), 1.0)
        factor = _in_lots(lambda f: (lower * f, problem.upper), order, lot, 0.0, factor)
        return dataclasses.replace(problem, lower=lower * factor), f"min_shares lowered to {factor:.6g} of it"
    reach = _reachable(problem, capacity)
    if reach.sum() < order * (1.0 - 1e-12):
        return problem, ""
    factor = _factor(problem, reach) if faults & CAPS_LOW else 1.0
    most = max(float(np.max(np.divide(reach, problem.upper, out=np.ones(len(reach)), where=reach > 0))), factor)
    factor = _in_lots(lambda f: (lower, np.minimum(problem.upper * f, reach)), order, lot, most, factor)
    upper = np.minimum(problem.upper * factor, reach)
    return dataclasses.replace(problem, upper=upper), f"max_shares raised to {factor:.6g} times it"


def _in_lots(
    bounds: Callable[[float], tuple[Float, Float]], order: float, lot: float | None, surest: float, factor: float
) -> float:
    """The factor between `surest` and `factor`, nearest to this one, whose bounds admit the order in lots, if any does.

    By halving, and beyond what halving rounds away.
    """
    if lot is None or not admits_lots(*bounds(surest), order, lot) or admits_lots(*bounds(factor), order, lot, 0.0):
        return factor
    good, bad = surest, factor
    for _ in range(HALVINGS):
        middle = 0.5 * (good + bad)
        good, bad = (middle, bad) if admits_lots(*bounds(middle), order, lot, 0.0) else (good, middle)
    return good + math.copysign(MARGIN * good, surest - factor)


def _reachable(problem: Problem, capacity: Float) -> Float:
    """The largest caps that relaxing may give: none of 0 is raised."""
    return np.where(problem.upper > 0, np.minimum(capacity, problem.shares * (1.0 + HEADROOM)), 0.0)


def _factor(problem: Problem, reachable: Float) -> float:
    """The least factor by which caps too low just admit the order."""
    factor, order = 1.0, problem.shares
    for _ in range(LONGEST_RELAXATION):  # each round, at least one more cap meets its limit, or the sum is met
        upper = np.minimum(problem.upper * factor, reachable)
        free = upper < reachable
        short = order - upper.sum()
        if short <= 1e-12 * order or not free.any():
            break
        factor += short / problem.upper[free].sum()
    return float(factor)


def in_whole_lots(order: float, lot: float) -> tuple[int, float]:
    """Whole lots of an order, and the odd shares beside them."""
    count = int(order / lot + ROUNDING)
    odd = order - count * lot
    return count, odd if odd > ROUNDING * lot else 0.0


def lot_bounds(
    lower: Float, upper: Float, lot: float, slack: float = ROUNDING
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fewest and most whole lots, (n,) each, between bounds in shares."""
    low = np.maximum(np.ceil(lower / lot - slack), 0.0).astype(np.int64)
    return low, np.floor(upper / lot + slack).astype(np.int64)


def admits_lots(lower: Float, upper: Float, order: float, lot: float, slack: float = ROUNDING) -> bool:
    """Whether bounds, (n,) shares, admit the order in whole lots, what is odd of it in one child.

    `slack` is the part of a lot by which bounds may miss one.
    """
    count, odd = in_whole_lots(order, lot)
    low, high = lot_bounds(lower, upper, lot, slack)
    tight = low > high
    if not odd:
        return bool(not tight.any() and low.sum() <= count <= high.sum())
    odd_low, odd_high = lot_bounds(lower - odd, upper - odd, lot, slack)
    fits = (odd_low <= odd_high) & (odd_high >= 0) & (tight.sum() == tight)
    return bool(np.any(fits & (low.sum() - low + odd_low <= count) & (count <= high.sum() - high + odd_high)))


def _floors_high(problem: Problem, lot: float) -> bool:
    """Whether it is the floors, in whole lots, that the order does not fill."""
    low, high = lot_bounds(problem.lower, problem.upper, lot)
    return bool(low.sum() > in_whole_lots(problem.shares, lot)[0] and np.all(low <= high))


@lru_cache(maxsize=4)
def _zeros(n: int) -> Float:
    """No floor, (n,): made once, for it does not change."""
    zeros = np.zeros(n)
    zeros.flags.writeable = False
    return zeros


def _filled(n: int, shares: float) -> Float:
    """One number in all intervals, (n,): twice as fast as np.full where n is small."""
    filled = np.empty(n)
    filled.fill(shares)
    return filled

"""Bounds of a quadratic problem: the set of intervals at a bound, then one structured solve."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.problem import Limits
from research_lib.execution.solvers.quadratic import Mask, Quadratic

Float = NDArray[np.float64]
MOST_GUESSES = 60
SAME_PRICE = 1e-11
SAME_SHARES = 1e-13
BISECTIONS = 200


def bounded(problem: Quadratic, lower: Float, upper: Float, limits: Limits) -> tuple[Float | None, int]:
    """The optimum between bounds (n,), some of which may be infinite, and the solves it took.

    None where the cost is not convex. Whole sets are exchanged (Hintermueller, Ito and Kunisch 2003)
    as long as new ones come; where they repeat, one interval at a time, which always ends.
    """
    deadline = time.monotonic() + limits.timeout_seconds
    x, at, solves = _exchanged(problem, lower, upper, deadline)
    if x is None or at is None:
        return x, solves
    steps = 50 * limits.max_iterations
    start = _feasible(x, problem.shares, lower, upper)
    return _one_by_one(problem, start, lower, upper, steps, deadline, solves)


def _exchanged(
    problem: Quadratic, lower: Float, upper: Float, deadline: float
) -> tuple[Float | None, Mask | None, int]:
    """The optimum and no set; or, where sets repeat or time is up, the last trial and its set."""
    pinned = lower == upper
    low, high = pinned, np.zeros(len(problem), bool)
    x, seen = lower, set()
    slack = SAME_SHARES * max(abs(problem.shares), float(np.max(np.abs(np.where(np.isfinite(lower), lower, 0.0)))))
    for solves in range(1, MOST_GUESSES + 1):
        fixed = low | high
        seen.add(fixed.tobytes() + low.tobytes())
        values = np.where(low, lower, np.where(high, upper, 0.0))
        found = problem.least(fixed, values)
        if found is None:
            return None, None, solves
        x = found
        gradient = problem.gradient(x)
        nu, unit = _multiplier(gradient, ~fixed, low, high)
        new_low = np.where(low, pinned | (gradient >= nu - SAME_PRICE * unit), ~high & (x < lower - slack))
        new_high = np.where(high, gradient <= nu + SAME_PRICE * unit, ~low & (x > upper + slack))
        if np.array_equal(new_low, low) and np.array_equal(new_high, high) and _sums(x, problem.shares):
            return np.clip(x, lower, upper), None, solves
        low, high = new_low, new_high
        repeats = (low | high).tobytes() + low.tobytes() in seen
        if repeats or (low | high).all() or time.monotonic() > deadline:
            break
    return x, low | high, solves


def _multiplier(gradient: Float, free: Mask, low: Mask, high: Mask) -> tuple[float, float]:
    """The price of the free intervals, and the size of prices."""
    unit = float(np.max(np.abs(gradient)))
    if free.any():
        return float(gradient[free].mean()), unit
    cheap = gradient[low].min() if low.any() else np.inf
    dear = gradient[high].max() if high.any() else -np.inf
    return float(cheap if not np.isfinite(dear) else dear if not np.isfinite(cheap) else 0.5 * (cheap + dear)), unit


def _sums(x: Float, shares: float) -> bool:
    return bool(abs(x.sum() - shares) <= 1e-9 * max(np.abs(x).sum(), abs(shares)))


def _feasible(x: Float, shares: float, lower: Float, upper: Float) -> Float:
    """x moved inside the bounds with the sum kept: by one shift for all, halved upon."""
    far = np.abs(np.concatenate([lower[np.isfinite(lower)], upper[np.isfinite(upper)], x])).max() + abs(shares)
    low, high = -2.0 * far, 2.0 * far
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.clip(x + middle, lower, upper).sum() < shares else (low, middle)
    return np.asarray(np.clip(x + high, lower, upper))


def _one_by_one(
    problem: Quadratic, x: Float, lower: Float, upper: Float, steps: int, deadline: float, solves: int
) -> tuple[Float | None, int]:
    """The primal active-set method from a feasible x: the cost falls at each change."""
    fixed = (x <= lower) | (x >= upper)
    for count in range(solves, solves + steps):
        if time.monotonic() > deadline:
            return x, count
        target = problem.least(fixed, x) if np.count_nonzero(~fixed) > 1 else x
        if target is None:
            return None, count
        move = target - x
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(move > 0, (upper - x) / move, np.where(move < 0, (lower - x) / move, np.inf))
        room = np.where(fixed, np.inf, room)
        first = int(np.argmin(room))
        if room[first] < 1.0:
            x = np.clip(x + max(room[first], 0.0) * move, lower, upper)
            fixed = fixed.copy()
            fixed[first] = True
            x[first] = upper[first] if move[first] > 0 else lower[first]
        else:
            x = np.clip(target, lower, upper)
            gradient = problem.gradient(x)
            nu, unit = _multiplier(gradient, ~fixed, fixed & (x <= lower), fixed & (x >= upper))
            wrong = np.where(x <= lower, nu - gradient, gradient - nu) * (fixed & (lower < upper))
            worst = int(np.argmax(wrong))
            if wrong[worst] <= SAME_PRICE * unit:
                return x, count + 1
            fixed = fixed.copy()
            fixed[worst] = False
    return x, solves + steps

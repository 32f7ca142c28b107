"""Schedules that can be sent: whole lots, the odd shares in one child order, bounds relaxed to
admit them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.exact import SUM_ROUNDING, Certificate, place_odd_lot, round_to_lots
from research_lib.execution.fallback import certify
from research_lib.execution.problem import HEADROOM, Problem
from research_lib.execution.schedules import ROUNDING

Float = NDArray[np.float64]
Lots = NDArray[np.int64]
MAX_ROUNDS = 60
HALVINGS = 100


class Discrete(NamedTuple):
    """A schedule, its certificate against the continuous optimum, what was done, and where odd
    shares are.
    """

    shares: Float
    certificate: Certificate
    note: str = ""
    odd_lot: int | None = None
    warning: str = ""


def in_lots(problem: Problem, x: Float, certificate: Certificate, lot: float) -> Discrete:
    """The cheapest whole lots, begun from the continuous optimum x, whose dual value bounds their
    cost from below.

    Optimal for a separable total, by greedy on the marginal cost of a lot. Where terms couple the
    intervals, greedy on their tangents at x: a heuristic.

    Raises
    ------
    OptimizationError
        No whole lots meet the bounds.
    """
    total = problem.total
    if problem.terms is not None:
        total = problem.terms.minorant(total, x, None)[0]
    smooth, steps = total.arrays
    count, odd = in_whole_lots(problem.shares, lot)
    low, high = lot_bounds(problem.lower, problem.upper, lot)
    at = _only_odd(low, high, odd)
    # The odd shares may be the last of a floor.
    over = bool(odd and at is None and low.sum() == count + 1)
    _check_lots(lot, count + over, low, high)
    nu = certify(x, problem).multiplier
    lots = round_to_lots(np.ascontiguousarray(x), nu, lot, count + over, (low, high), smooth, steps)
    if odd and at is None:
        signed = -odd if over else odd
        at, gives, takes = place_odd_lot(lots, signed, lot, high, smooth, steps, problem.bounds)
        lots[gives] -= gives >= 0
        lots[takes] += takes >= 0
    shares = lots * lot
    note = f"in lots of {lot:g} shares"
    note += "" if problem.terms is None else " (heuristic: terms by their tangents)"
    if at is not None:
        shares[at] += odd
        note += f", the odd {odd:g} in interval {at}"
        below, above = problem.lower[at] - ROUNDING * lot, problem.upper[at] + ROUNDING * lot
        if at < 0 or not below <= shares[at] <= above:
            raise OptimizationError(
                f"no bounds admit the odd {odd:g} shares beside lots of {lot:g}; widen them or "
                "trade "
                "a multiple of it"
            )
    shares = np.clip(shares, problem.lower, problem.upper)
    bound = certificate.cost * (1.0 - np.sign(certificate.cost) * certificate.duality_gap)
    found = certify(shares, problem)
    gap, order = (found.cost - bound) / (abs(found.cost) or 1.0), problem.shares
    large = f"lot_size {lot:g} is above the order of {order:,.6g}: all of it is one odd lot"
    return Discrete(shares, found._replace(duality_gap=gap), note, at, large if lot > order else "")


def in_whole_lots(order: float, lot: float) -> tuple[int, float]:
    """Whole lots of an order, and the odd shares beside them."""
    if order / lot > 2.0**53:
        raise OptimizationError(
            f"lot_size {lot:g} is too small for an order of {order:,.6g} shares: floats do not "
            "count "
            "its lots; leave it out"
        )
    count = int(order / lot + ROUNDING)
    odd = order - count * lot
    return count, odd if odd > ROUNDING * lot else 0.0


def lot_bounds(
    lower: Float, upper: Float, lot: float, slack: float = ROUNDING
) -> tuple[Lots, Lots]:
    """Least and most whole lots, (n,) each, between bounds in shares."""
    low = np.maximum(np.ceil(lower / lot - slack), 0.0).astype(np.int64)
    return low, np.floor(upper / lot + slack).astype(np.int64)


def admits_lots(
    lower: Float, upper: Float, order: float, lot: float, slack: float = ROUNDING
) -> bool:
    """Whether bounds, (n,) shares, admit the order in whole lots, what is odd of it in one child
    order.

    `slack` is the part of a lot by which bounds may miss one.
    """
    count, odd = in_whole_lots(order, lot)
    low, high = lot_bounds(lower, upper, lot, slack)
    tight = low > high
    if not odd:
        return bool(not tight.any() and low.sum() <= count <= high.sum())
    odd_low, odd_high = lot_bounds(lower - odd, upper - odd, lot, slack)
    fits = (odd_low <= odd_high) & (odd_high >= 0) & (tight.sum() == tight)
    fits &= (low.sum() - low + odd_low <= count) & (count <= high.sum() - high + odd_high)
    return bool(np.any(fits))


def relaxed(problem: Problem, lot: float | None) -> tuple[Problem, str]:
    """The problem with its caps raised, or its floors lowered, by the one factor that just admits
    the order.

    In whole lots where `lot` says so. Caps stop at what the curve knows the price of; caps of 0
    stay. As it was, with no text, where nothing needs or helps.
    """
    order, lower, upper = problem.shares, problem.lower, problem.upper
    infeasible = problem.why_infeasible()
    whole = lot is None or admits_lots(lower, upper, order, lot)
    if np.any(lower > upper) or (not infeasible and whole):
        return problem, ""
    if infeasible.startswith("floors") or (not infeasible and _floors_high(problem, lot or 1.0)):
        factor = min(order / lower.sum(), 1.0)
        factor = _whole(lambda f: (lower * f, upper), order, lot, 0.0, factor)
        return replace(problem, lower=lower * factor), f"min_shares lowered to {factor:.6g} of it"
    reach = np.where(upper > 0, np.minimum(problem.capacity, order * (1.0 + HEADROOM)), 0.0)
    if reach.sum() < order * (1.0 - SUM_ROUNDING):
        return problem, ""
    factor = 1.0
    for _ in range(MAX_ROUNDS):  # each round one more cap meets its limit, or the sum is met
        raised = np.minimum(upper * factor, reach)
        free, short = raised < reach, order - raised.sum()
        if short <= SUM_ROUNDING * order or not free.any():
            break
        factor += float(short / upper[free].sum())
    ratio = np.divide(reach, upper, out=np.ones(len(reach)), where=reach > 0)
    largest = max(float(ratio.max()), factor)
    factor = _whole(lambda f: (lower, np.minimum(upper * f, reach)), order, lot, largest, factor)
    raised = np.minimum(upper * factor, reach)
    return replace(problem, upper=raised), f"max_shares raised to {factor:.6g} times it"


def _whole(
    bounds: Callable[[float], tuple[Float, Float]],
    order: float,
    lot: float | None,
    surest: float,
    factor: float,
) -> float:
    """The factor between `surest` and `factor`, nearest to this one, whose bounds admit the order
    in lots, if any.
    """
    if lot is None or not admits_lots(*bounds(surest), order, lot):
        return factor
    if admits_lots(*bounds(factor), order, lot, 0.0):
        return factor
    good, bad = surest, factor
    for _ in range(HALVINGS):
        middle = 0.5 * (good + bad)
        admitted = admits_lots(*bounds(middle), order, lot, 0.0)
        good, bad = (middle, bad) if admitted else (good, middle)
    # beyond what halving rounds away
    return good + math.copysign(SUM_ROUNDING * good, surest - factor)


def _floors_high(problem: Problem, lot: float) -> bool:
    """Whether it is the floors, in whole lots, that the order does not fill."""
    low, high = lot_bounds(problem.lower, problem.upper, lot)
    return bool(low.sum() > in_whole_lots(problem.shares, lot)[0] and np.all(low <= high))


def _only_odd(low: Lots, high: Lots, odd: float) -> int | None:
    """The interval, if one, whose bounds admit no whole lots but odd shares beside them: fewer
    lots are fixed.
    """
    tight = np.flatnonzero(low > high)
    if not odd or len(tight) != 1 or low[tight[0]] != high[tight[0]] + 1:
        return None
    low[tight] = high[tight]
    return int(tight[0])


def _check_lots(lot: float, count: int, low: Lots, high: Lots) -> None:
    """Refuse bounds that admit no such number of lots."""
    if high.sum() < count or np.any(low > high):
        raise OptimizationError(
            f"caps in lots of {lot:g} admit {np.maximum(high, 0).sum() * lot:,.6g} of "
            f"{count * lot:,.6g} shares, or lie below floors in {int(np.sum(low > high))} "
            "intervals; "
            "raise max_shares or trade smaller lots"
        )
    if low.sum() > count:
        raise OptimizationError(
            f"floors in lots of {lot:g} need {low.sum() * lot:,.6g} of {count * lot:,.6g} shares; "
            "lower min_shares or trade smaller lots"
        )

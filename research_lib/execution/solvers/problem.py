r"""What every solver is given and gives back.

.. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.solvers.kernels import Pair, Smooth, compiled
from research_lib.execution.solvers.terms import Terms
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]
DUST = 1e-6
SUM_ROUNDING = 1e-12
LEVEL_COST = 1e-12
NOT_FINITE, NOT_CONVEX, CROSSED, CAPS_LOW, FLOORS_HIGH = 1, 2, 4, 8, 16


@dataclass(frozen=True, eq=False)
class Problem:
    """One allocation: totals C_t, the sum of shares, bounds, (n,) each, terms that couple intervals, a constant."""

    total: SeparableTotal
    shares: float
    lower: Float
    upper: Float
    terms: Terms | None = None
    constant: float = 0.0

    @cached_property
    def arrays(self) -> tuple[Smooth, Pair, Pair]:
        """Coefficients, steps and bounds as the compiled code takes them: read-only, contiguous."""
        c = self.total
        smooth = (
            read_only(c.linear), read_only(c.quadratic), read_only(c.cubic), read_only(c.scale), read_only(c.power),
        )  # fmt: skip
        return smooth, (read_only(c.depth), read_only(c.premium)), (read_only(self.lower), read_only(self.upper))

    @cached_property
    def shape(self) -> Shape:
        """What the compiled code must know before it starts."""
        plain, mixed, faults = inspect(self.shares, *self.arrays)
        return Shape(plain, mixed, faults)

    def cost(self, x: Float) -> float:
        """The objective at x, currency."""
        return float(np.sum(self.total.value(x))) + self.constant + (self.terms.value(x) if self.terms else 0.0)

    def feasible(self, weights: Float) -> Float:
        """Shares in proportion to `weights` above the floors, moved inside the bounds with the sum kept."""
        return close_sum(np.clip(self.shares * weights / weights.sum(), self.lower, self.upper), self)

    def scaled(self, unit: float) -> Problem:
        """The problem with shares in `unit` and a fair schedule's cost equal to the order in that unit."""
        currency = self.currency_unit(unit)
        total = self.total.scaled(unit, currency)
        terms = self.terms.scaled(unit, currency) if self.terms else None
        return Problem(total, self.shares / unit, self.lower / unit, self.upper / unit, terms)

    def currency_unit(self, unit: float) -> float:
        """Currency that makes a fair schedule's cost the order in `unit`: shares against marginal cost."""
        equal = np.minimum(self.shares / len(self.lower), self.total.capacity)
        price = np.abs(self.total.marginal_last(equal))
        start = self.feasible(1.0 / np.maximum(price, 1e-6 * price.max() or 1.0))
        cost = float(np.sum(np.abs(self.total.value(start)))) + (self.terms.value(start) if self.terms else 0.0)
        return (cost or 1.0) * unit / self.shares


@dataclass(frozen=True)
class Shape:
    """Every total is a x + b x^2, b above 0; some mix powers with polynomials; faults, as flags."""

    plain: bool
    mixed: bool
    faults: int


@dataclass(frozen=True)
class Limits:
    """What a solver may use: its own iterations, the gap to reach, seconds from its start."""

    max_iterations: int
    tolerance: float
    timeout_seconds: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What one backend returned: shares (n,), or None and why; it was stopped by the clock; scenario weights."""

    backend: str
    shares: Float | None
    reason: str = ""
    iterations: int = 0
    timed_out: bool = False
    weights: Float | None = None


def read_only(array: Float) -> Float:
    """A contiguous view that the compiled code cannot write to: one type for it to know."""
    view = array[:] if array.flags.c_contiguous else np.ascontiguousarray(array)
    view.flags.writeable = False
    return view


@compiled
def inspect(shares: float, smooth: Smooth, steps: Pair, bounds: Pair) -> tuple[bool, bool, int]:
    """Whether all totals are a x + b x^2 with b > 0, whether some mix powers and polynomials; faults, as flags."""
    a, b, c, s, p = smooth
    plain, mixed, faults, lowest, most, finite = steps[0].shape[1] == 0, False, 0, 0.0, 0.0, 0.0
    for t in range(len(a)):
        plain &= b[t] > 0.0 and c[t] == 0.0 and s[t] == 0.0
        mixed |= s[t] != 0.0 and (b[t] != 0.0 or c[t] != 0.0)
        finite += (a[t] + b[t] + c[t] + s[t] + p[t]) * 0.0
        if b[t] < 0.0 or c[t] < 0.0 or (s[t] != 0.0 and (s[t] < 0.0) != (p[t] < 1.0)):
            faults |= NOT_CONVEX
        if bounds[0][t] > bounds[1][t]:
            faults |= CROSSED
        lowest += bounds[0][t]
        most += bounds[1][t]
        for k in range(steps[0].shape[1]):
            finite += steps[1][t, k] * 0.0
            if not steps[0][t, k] >= 0.0:
                faults |= NOT_FINITE
    faults |= NOT_FINITE if finite != 0.0 else 0
    faults |= CAPS_LOW if most < shares * (1.0 - SUM_ROUNDING) else 0
    faults |= FLOORS_HIGH if lowest > shares * (1.0 + SUM_ROUNDING) else 0
    return plain, mixed, faults


def close_sum(x: Float, problem: Problem) -> Float:
    """Move `x`, inside its bounds, to sum to the order: in proportion to what is traded, else to the room."""
    for _ in range(4):  # rounding, and orders that meet their cap, are closed by the next move
        short = problem.shares - x.sum()
        room = problem.upper - x if short > 0 else x - problem.lower
        traded = np.minimum(x - problem.lower, room)
        weights = traded if traded.sum() >= abs(short) else room
        if short == 0 or weights.sum() == 0:
            break
        x = np.clip(x + short * np.minimum(weights / weights.sum(), 1.0), problem.lower, problem.upper)
    return x


def repaired(scaled: Float | None, unit: float, problem: Problem) -> Float | None:
    """A numerical answer in shares: inside the bounds, summing to the order; None where it is not finite.

    Equal shares replace it where they cost no more, to rounding: of schedules that cost the
    same, the plainest.
    """
    if scaled is None or not np.all(np.isfinite(scaled)):
        return None
    x = np.clip(unit * scaled, problem.lower, problem.upper)
    dust = x - problem.lower < DUST * problem.shares / len(x)  # an interior point never quite reaches a floor
    x = close_sum(np.where(dust, problem.lower, x), problem)
    equal = np.full(len(x), problem.shares / len(x))
    inside = np.all((problem.lower <= equal) & (equal <= problem.upper))
    if inside and problem.cost(equal) <= problem.cost(x) + LEVEL_COST * abs(problem.cost(x)):
        return equal
    return x


def refuse_infeasible(problem: Problem) -> None:
    """Raise OptimizationError, naming the numbers and the remedy, where no schedule meets the bounds."""
    faults, order = problem.shape.faults, problem.shares
    if faults & CROSSED:
        t = int(np.argmax(problem.lower > problem.upper))
        raise OptimizationError(
            f"min_shares {problem.lower[t]:g} is above max_shares {problem.upper[t]:g} in interval {t}; "
            "lower the one or raise the other"
        )
    if faults & CAPS_LOW:
        depth = " and what the book shows" if problem.total.depth.shape[1] else ""
        raise OptimizationError(
            f"cap admits {problem.upper.sum():,.6g} of {order:,.6g} shares; "
            f"raise max_shares (max_allocation_ratio){depth} or lengthen the horizon"
        )
    if faults & FLOORS_HIGH:
        raise OptimizationError(
            f"floors need {problem.lower.sum():,.6g} of {order:,.6g} shares; "
            "lower min_shares (min_trade_size) or shorten the horizon"
        )

r"""What every solver is given and gives back.

.. math:: \min_x \sum_t C_t(x_t) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.solvers.kernels import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    Pair,
    Smooth,
    admits,
    form_of,
)
from research_lib.execution.solvers.terms import Terms
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]
DUST = 1e-6
LEVEL_COST = 1e-12
_forms: WeakKeyDictionary[SeparableTotal, Form] = WeakKeyDictionary()
_totals: WeakKeyDictionary[ImpactCurve, dict[str, SeparableTotal]] = WeakKeyDictionary()


@dataclass(eq=False)
class Problem:
    """One allocation: totals C_t, the sum of shares, bounds, (n,) each, terms that couple intervals, a constant.

    `form` and `bounds` are what the compiled code takes. Not frozen, for the time that takes: make another one.
    """

    total: SeparableTotal
    shares: float
    lower: Float
    upper: Float
    terms: Terms | None = None
    constant: float = 0.0
    form: Form = field(init=False)
    bounds: Pair = field(init=False)
    _faults: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """What the compiled code takes: cheaper at once than when first asked for."""
        self.form = form(self.total)
        self.bounds = read_only(self.lower), read_only(self.upper)

    @property
    def faults(self) -> int:
        """What keeps the problem from being solved, as flags."""
        if self._faults is None:
            known = self.form
            self._faults = int(known.faults | admits(self.shares, known.bends, known.smooth, self.bounds))
        return self._faults

    def non_convex(self) -> NDArray[np.bool_]:
        """Intervals, (n,), whose total is not known to be convex between its bounds."""
        c = self.total
        inside = (c.scale == 0) & (c.quadratic >= 0) & (c.cubic < 0) & (c.quadratic + 3.0 * c.cubic * self.upper >= 0)
        return np.asarray(c.non_convex() & ~inside)

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
class Limits:
    """What a solver may use: its own iterations, the gap to reach, seconds from its start."""

    max_iterations: int
    tolerance: float
    timeout_seconds: float


class Certificate(NamedTuple):
    """What is known about a schedule.

    Attributes
    ----------
    cost : float
        The objective, currency.
    multiplier : float
        nu, what the next share costs, currency per share (under "impact": per share of the sum).
    kkt_residual : float
        Largest violation of: nu lies between the left and the right derivative of C_t at x_t
        (at the cap only above the left one, at the floor only below the right one), relative to
        |nu|; or the distance to shares for which it does, relative to S / n, if that is less.
    duality_gap : float
        (cost - dual value at nu) / |cost|; the cost exceeds the optimum by no more.
    filled : float
        The sum of the shares.
    outside : float
        Largest distance beyond a bound, shares.
    """

    cost: float
    multiplier: float
    kkt_residual: float
    duality_gap: float
    filled: float
    outside: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What one backend returned: shares (n,), or None and why; it was stopped by the clock.

    `weights` are its scenario weights, `certificate` is what was judged with the solution.
    """

    backend: str
    shares: Float | None
    reason: str = ""
    iterations: int = 0
    timed_out: bool = False
    weights: Float | None = None
    certificate: Certificate | None = None


def read_only(array: Float) -> Float:
    """A contiguous view that the compiled code cannot write to: one type for it to know."""
    if not array.flags.writeable and array.flags.c_contiguous:
        return array
    view = array[:] if array.flags.c_contiguous else np.ascontiguousarray(array)
    view.flags.writeable = False
    return view


class Form(NamedTuple):
    """Totals as the compiled code takes them, read-only and contiguous, and what it must know before it starts."""

    smooth: Smooth
    steps: Pair
    kind: int
    mixed: bool
    bends: bool
    faults: int


def form(total: SeparableTotal) -> Form:
    """The total's form, made once: totals do not change."""
    known = _forms.get(total)
    if known is None:
        c = total
        smooth = (
            read_only(c.linear), read_only(c.quadratic), read_only(c.cubic), read_only(c.scale), read_only(c.power),
        )  # fmt: skip
        steps = (read_only(c.depth), read_only(c.premium))
        known = _forms[total] = Form(smooth, steps, *form_of(smooth, steps))
    return known


def total_of(curve: ImpactCurve, objective: str) -> SeparableTotal:
    """The curve's total, made once: curves do not change."""
    known = _totals.get(curve)
    if known is None:
        known = _totals[curve] = {}
    if not isinstance(objective, str) or objective not in known:
        known[objective] = curve.total(objective)
    return known[objective]


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
    faults, order = problem.faults, problem.shares
    if faults & CROSSED:
        t = int(np.argmax(problem.lower > problem.upper))
        raise OptimizationError(
            f"min_shares {problem.lower[t]:g} is above max_shares {problem.upper[t]:g} in interval {t}; "
            "lower the one or raise the other"
        )
    if faults & CAPS_LOW:
        shown = float(np.sum(np.minimum(problem.total.capacity, order)))
        if shown < order:
            raise OptimizationError(
                f"the books show {shown:,.6g} of {order:,.6g} shares; order less or lengthen the horizon"
            )
        raise OptimizationError(
            f"cap admits {problem.upper.sum():,.6g} of {order:,.6g} shares; "
            "raise max_shares (max_allocation_ratio) or lengthen the horizon"
        )
    if faults & FLOORS_HIGH:
        raise OptimizationError(
            f"floors need {problem.lower.sum():,.6g} of {order:,.6g} shares; lower min_shares or shorten the horizon"
        )

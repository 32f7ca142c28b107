"""The problem that `allocate` is asked to solve, as stated, and why it may have no answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import number
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.bounds import PLAIN, bounds_of, relaxed
from research_lib.execution.solvers import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    NOT_CONVEX,
    NOT_FINITE,
    ConvexTerms,
    Decay,
    Problem,
    Terms,
    decay_of,
    per_interval,
    refuse_infeasible,
    refuse_non_convex,
    total_of,
    why_not,
)
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.manipulation import check_kernel
from research_lib.impact.totals import SeparableTotal
from research_lib.impact.transient import DecayKernel, Kernel, at_lags, trade_times

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coupling:
    """What couples the intervals, as `allocate` takes it."""

    kernel: Kernel | None
    times: ArrayLike | None
    risk_aversion: float
    covariance: ArrayLike | None
    terms: ConvexTerms | None

    def resolve(self, curve: ImpactCurve, objective: str, shares: float) -> tuple[SeparableTotal, Terms | None, float]:
        """The separable total, the coupled rest (None if nothing is), and a constant."""
        n, weight = len(curve), number("risk_aversion", self.risk_aversion, 0)
        if weight and self.covariance is None:
            raise ValidationError("risk_aversion needs covariance, of the mid's change over each interval")
        variance = None if self.covariance is None else per_interval("covariance", self.covariance, n)
        holding = weight * variance if weight and variance is not None else None
        decay, lent = (None, 0.0) if self.kernel is None else self._decay(self.kernel, curve, objective)
        total, terms, constant = (self.terms or ConvexTerms()).resolve(curve, objective, shares, holding, decay)
        return total, terms if terms is None or not lent else replace(terms, lent=lent), constant

    def _decay(self, kernel: Kernel, curve: ImpactCurve, objective: str) -> tuple[Decay, float]:
        """The transient cost, and what curvature of the curve it needs to be convex."""
        n = len(curve)
        if objective != "cost":
            raise ValidationError("kernel needs objective='cost': transient impact is a cost in currency")
        if not callable(kernel):
            raise ValidationError(f"kernel must be callable, of an array of lags, got {kernel!r}")
        times = np.arange(float(n)) if self.times is None else trade_times(self.times)
        if len(times) != n:
            raise ValidationError(f"times must be ({n},), one an interval of the curve, got ({len(times)},)")
        return decay_of(kernel, times), _lent(kernel, times, total_of(curve, objective).quadratic)


def kernel_warnings(kernel: Kernel, times: Float, curvature: Float) -> tuple[str, ...]:
    """Warnings of `check_kernel`, the least of the children's own impact, (n,), counted to its immediate part.

    Raises
    ------
    ValidationError
        The kernel pays for round trips that their own impact does not eat up.
    """
    if isinstance(kernel, DecayKernel) and kernel.safe:
        return ()
    immediate = 2.0 * max(float(curvature.min()), 0.0)

    def whole(lags: Any) -> Float:
        return at_lags(kernel, lags) + immediate * (lags == 0)

    return check_kernel(whole if immediate else kernel, times).warnings


def _lent(kernel: Kernel, times: Float, curvature: Float) -> float:
    """Curvature that a kernel needs which is no cost by itself, at most the least of the children's own, (n,)."""
    try:
        check_kernel(kernel, times)
    except ValidationError:
        if not np.min(curvature) > 0.0:
            raise
        kernel_warnings(kernel, times, curvature)
        return float(np.min(curvature))
    return 0.0


def coupling_of(
    kernel: Kernel | None,
    times: ArrayLike | None,
    risk_aversion: float,
    covariance: ArrayLike | None,
    terms: ConvexTerms | None,
    cross_check: bool,
    n: int,
) -> Coupling | None:
    """What couples the intervals, None where nothing does; what then changes nothing is refused or checked."""
    if kernel is None and times is not None:
        raise ValidationError("times are of the kernel alone, and none is given: give it, or leave times out")
    if kernel is None and terms is None and isinstance(risk_aversion, PLAIN) and not risk_aversion:
        if covariance is not None:  # no weight, as at the start of a frontier, but a variance it must be
            per_interval("covariance", covariance, n)
        return None
    if terms is not None and not isinstance(terms, ConvexTerms):
        raise ValidationError(f"terms must be ConvexTerms, got {type(terms).__name__}")
    if cross_check and terms is not None and terms.scenarios:
        raise ValidationError("cross_check needs two solvers, and CVaR over scenarios has only CVXPY; leave it out")
    return Coupling(kernel, times, risk_aversion, covariance, terms)


def stated(
    curve: ImpactCurve,
    total: float,
    min_shares: ArrayLike,
    max_shares: ArrayLike | None,
    objective: str,
    coupling: Coupling | None,
) -> Problem:
    """The problem as given, caps no larger than the order and than what a book shows."""
    n = len(curve)
    lower, upper = bounds_of(n, total, min_shares, max_shares)
    if coupling is None:
        separable, coupled, constant = total_of(curve, objective), None, 0.0
    else:
        separable, coupled, constant = coupling.resolve(curve, objective, total)
    if separable.depth.shape[1] or (coupled is not None and coupled.scenarios):
        upper = np.minimum(upper, _capacity(separable, coupled))
    return Problem(separable, total, lower, upper, coupled, constant)


def _capacity(separable: SeparableTotal, coupled: Terms | None) -> Float:
    """Largest x whose cost is known, (n,) shares."""
    totals = [separable, *(coupled.scenarios if coupled is not None else ())]
    return np.minimum.reduce([total.capacity for total in totals])


def admissible(
    problem: Problem, curve: ImpactCurve, validate: bool, on_infeasible: str, lot: float | None
) -> tuple[Problem, str]:
    """The problem, its bounds relaxed if that is asked for, with how; or the reason why there is no answer."""
    if on_infeasible not in ("raise", "relax"):
        raise ValidationError(f"on_infeasible must be 'raise' or 'relax', got {on_infeasible!r}")
    faults, relaxation = problem.faults, ""
    if validate and faults & NOT_FINITE:
        _check_finite(curve)
    if on_infeasible == "relax":
        problem, relaxation = relaxed(problem, _capacity(problem.total, problem.terms), lot)
        faults = problem.faults
        if faults & CAPS_LOW and not faults & CROSSED:
            raise OptimizationError(
                f"cap admits {problem.upper.sum():,.6g} of {problem.shares:,.6g} shares, and no relaxation admits "
                "them: caps of 0 stay, and none exceeds what the books show; open intervals or lengthen the horizon"
            )
    if faults & NOT_CONVEX and why_not(problem):
        refuse_non_convex(problem)
    if faults & (CROSSED | CAPS_LOW | FLOORS_HIGH):
        refuse_infeasible(problem)
    return problem, relaxation


def _check_finite(curve: ImpactCurve) -> None:
    """Name the first coefficient of the curve that is not finite."""
    for name, values in curve.parameters().items():
        bad = np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.any():
            raise ValidationError(
                f"curve {name} is not finite in {int(bad.sum()):,} of {len(bad):,} intervals, first in "
                f"{int(np.argmax(bad))} ({values[np.argmax(bad)]}); refit or drop these intervals"
            )

"""The problem that `allocate` is asked to solve, as stated, and why it may have no answer."""

from __future__ import annotations

from dataclasses import dataclass

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
from research_lib.impact.transient import DecayKernel, Kernel, trade_times

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
        holding = weight * per_interval("covariance", self.covariance, n) if weight else None
        decay = None if self.kernel is None else self._decay(self.kernel, n, objective)
        return (self.terms or ConvexTerms()).resolve(curve, objective, shares, holding, decay)

    def _decay(self, kernel: Kernel, n: int, objective: str) -> Decay:
        if objective != "cost":
            raise ValidationError("kernel needs objective='cost': transient impact is a cost in currency")
        if not callable(kernel):
            raise ValidationError(f"kernel must be callable, of an array of lags, got {kernel!r}")
        times = np.arange(float(n)) if self.times is None else trade_times(self.times)
        if len(times) != n:
            raise ValidationError(f"times must be ({n},), one an interval of the curve, got ({len(times)},)")
        if not (isinstance(kernel, DecayKernel) and kernel.safe):
            check_kernel(kernel, times)
        return decay_of(kernel, times)


def coupling_of(
    kernel: Kernel | None,
    times: ArrayLike | None,
    risk_aversion: float,
    covariance: ArrayLike | None,
    terms: ConvexTerms | None,
    cross_check: bool,
) -> Coupling | None:
    """What couples the intervals, None where nothing does."""
    if kernel is None and terms is None and isinstance(risk_aversion, PLAIN) and not risk_aversion:
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

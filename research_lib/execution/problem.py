r"""The problem that `allocate` solves: totals, bounds, and the coupling of the intervals.

.. math:: \min_x \sum_t C_t(x_t) + Q(x)
          \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

with Q the decaying impact and the risk of :mod:`research_lib.execution.quadratic`.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.optimize import brentq

from research_lib.checks import ArrayLike, Float, number, per_interval, refuse_rows
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.exact import SUM_ROUNDING, Certificate, Pair, close_sum
from research_lib.execution.quadratic import Decay, Quadratic, StateDecay, decay_of
from research_lib.impact import ImpactCurve, Kernel, SeparableTotal, check_kernel, trade_times

# A cap just above the whole order must not seem to bind.
HEADROOM, DUST, SAME_COST = 1e-13, 1e-6, 1e-12


@dataclass(frozen=True)
class Limits:
    """Limits of a solver: its iterations, the gap to reach, the seconds of all solvers together."""

    max_iterations: int
    tolerance: float
    timeout_seconds: float
    begin: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        number("max_iterations", self.max_iterations, 1, integer=True)
        number("tolerance", self.tolerance, above=0)
        number("timeout_seconds", self.timeout_seconds, above=0)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.timeout_seconds - (time.perf_counter() - self.begin)


class Answer(NamedTuple):
    """What one backend returned: shares (n,), or None and why; its own certificate if it has
    one.
    """

    backend: str
    shares: Float | None
    reason: str = ""
    iterations: int = 0
    certificate: Certificate | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """One allocation: totals C_t, S, bounds (n,) in shares, and Q, None without coupling."""

    total: SeparableTotal
    shares: float
    lower: Float
    upper: Float
    coupling: Quadratic | None = None

    @property
    def bounds(self) -> Pair:
        """(lower, upper)."""
        return self.lower, self.upper

    def cost(self, x: Float) -> float:
        """The objective at x, currency."""
        joint = self.coupling.value(x) if self.coupling is not None else 0.0
        return float(np.sum(self.total.value(x))) + joint

    def tangent(self, x: Float) -> SeparableTotal:
        """A separable lower bound of the cost up to a constant, exact at x: the convex Q lies above
        its tangent.
        """
        joint, own = self.coupling, self.total
        return own if joint is None else replace(own, linear=own.linear + joint.gradient(x))

    @property
    def quadratic(self) -> Quadratic | None:
        """The whole cost as one quadratic function, if it is one."""
        total = self.total
        curved = total.depth.shape[1] or total.cubic.any() or total.scale.any()
        if self.coupling is None or curved or np.any(total.quadratic < 0):
            return None
        return replace(self.coupling, curvature=total.quadratic, linear=total.linear)

    def risk(self, x: Float) -> tuple[float, float]:
        """The risk term of the cost, and its increase for one more share held from the start."""
        return (0.0, 0.0) if self.coupling is None else self.coupling.risk(x)

    def feasible(self, weights: Float) -> Float:
        """Shares in proportion to `weights`, moved inside the bounds with the sum kept."""
        x = np.clip(self.shares * weights / weights.sum(), self.lower, self.upper)
        return close_sum(x, self.shares, self.lower, self.upper)

    def scaled(self, unit: float) -> Self:
        """The problem with shares in `unit`, and currency scaled so that cost and order are alike.

        Otherwise backends report `optimal` although the cost is per cents above the optimum.
        """
        equal = np.minimum(self.shares / len(self.lower), self.total.capacity)
        price = np.abs(self.total.marginal_last(equal))
        fair = self.feasible(1.0 / np.maximum(price, 1e-6 * price.max() or 1.0))
        cost, joint = float(np.sum(np.abs(self.total.value(fair)))), self.coupling
        cost += 0.0 if joint is None else joint.value(fair)
        currency = (cost or 1.0) * unit / self.shares
        coupling = None if joint is None else joint.scaled(unit, currency)
        parts = self.shares / unit, self.lower / unit, self.upper / unit
        return type(self)(self.total.scaled(unit, currency), *parts, coupling)

    def repaired(self, scaled: Float | None, unit: float) -> Float | None:
        """A solver's answer in `unit` as shares inside the bounds that sum to the order; None if
        not finite.

        Equal shares replace it where they cost no more, up to rounding: the simplest of equally
        good schedules.
        """
        if scaled is None or not np.all(np.isfinite(scaled)):
            return None
        x = np.clip(unit * scaled, self.lower, self.upper)
        # an interior point never quite reaches a floor
        x = np.where(x - self.lower < DUST * self.shares / len(x), self.lower, x)
        x = close_sum(x, self.shares, self.lower, self.upper)
        equal = np.full(len(x), self.shares / len(x))
        inside = np.all((self.lower <= equal) & (equal <= self.upper))
        as_good = inside and self.cost(equal) <= self.cost(x) + SAME_COST * abs(self.cost(x))
        return equal if as_good else x

    def relaxed(self) -> tuple[Self, str]:
        """The problem with its caps raised, or its floors lowered, by the one factor that just
        admits the order, and how; as it is, with no text, where nothing needs or helps.

        Caps are not raised beyond the depth of the curve; caps of 0 stay.
        """
        order, upper = self.shares, self.upper
        reason = why_infeasible(order, self.lower, upper, self.total.capacity)
        if not reason or np.any(self.lower > upper):
            return self, ""
        if reason.startswith("floors"):
            part = order / self.lower.sum()
            return replace(self, lower=self.lower * part), f"min_shares lowered to {part:.6g} of it"
        reach = np.where(upper > 0, np.minimum(self.total.capacity, order * (1.0 + HEADROOM)), 0.0)
        if reach.sum() < order * (1.0 - SUM_ROUNDING):
            why = "no relaxation admits them: caps of 0 stay; open intervals, or order less"
            raise OptimizationError(f"cap admits {upper.sum():,.6g} of {order:,.6g} shares, {why}")

        def missing(factor: float) -> float:
            return float(order - np.minimum(upper * factor, reach).sum())

        most = 2.0 * float(np.max(reach[upper > 0] / upper[upper > 0]))  # all have their reach
        factor = brentq(missing, 1.0, most, xtol=1e-15) * (1.0 + HEADROOM)
        raised = np.minimum(upper * factor, reach)
        return replace(self, upper=raised), f"max_shares raised to {factor:.6g} times it"


def why_infeasible(order: float, lower: Float, upper: Float, capacity: Any = np.inf) -> str:
    """The numbers and the remedy where no schedule meets the bounds; empty where one does."""
    if np.any(lower > upper):
        t = int(np.argmax(lower > upper))
        return f"min_shares {lower[t]:g} is above max_shares {upper[t]:g} in interval {t}"
    most, least, slack = float(upper.sum()), float(lower.sum()), SUM_ROUNDING * abs(order)
    if most < order - slack:
        shown = float(np.minimum(np.broadcast_to(capacity, len(upper)), abs(order)).sum())
        if shown < order:
            return f"the books show {shown:,.6g} of {order:,.6g} shares; order less or trade longer"
        remedy = "raise max_shares (max_allocation_ratio) or lengthen the horizon"
        return f"cap admits {most:,.12g} of {order:,.12g} shares; {remedy}"
    if least > order + slack:
        return f"floors need {least:,.12g} of {order:,.12g} shares; lower min_shares"
    return ""


def coupling_of(
    n: int, order: float, kernel: Kernel | None, times: ArrayLike | None,
    risk_aversion: float, covariance: ArrayLike | None, objective: str,
) -> Quadratic | None:  # fmt: skip
    """The coupling of n intervals, or None; the arguments are those of `allocate`."""
    weight = number("risk_aversion", risk_aversion, 0)
    if weight and covariance is None:
        raise ValidationError("risk_aversion needs covariance, of the mid's change per interval")
    if kernel is None and times is not None:
        raise ValidationError("times belong to a kernel, and none is given: leave times out")
    variance = np.zeros(n) if covariance is None else per_interval("covariance", covariance, n)
    decay: Decay = StateDecay(np.zeros((n - 1, 0)), np.zeros(0))  # all has decayed
    if kernel is not None:
        if objective != "cost":
            raise ValidationError("kernel needs objective='cost': transient impact is in currency")
        at = np.arange(float(n)) if times is None else trade_times(times)
        if len(at) != n:
            raise ValidationError(f"times must be ({n},), one an interval, got ({len(at)},)")
        decay = decay_of(kernel, at)
        check_kernel(kernel, at)
    elif not weight:
        return None
    holding = weight * variance
    holding[-1] = 0.0  # nothing is left after the last child order
    return Quadratic(order, decay, np.zeros(n), np.zeros(n), holding)


def bounds_of(n: int, order: float, min_shares: ArrayLike, max_shares: ArrayLike | None) -> Pair:
    """Floors and caps, (n,) shares each; caps are cut to just above the order, or to the floor."""
    lower = per_interval("min_shares", min_shares, n, infinite=True)
    most = np.maximum(lower, order * (1.0 + HEADROOM))
    if max_shares is None:
        return lower, most
    return lower, np.minimum(per_interval("max_shares", max_shares, n, infinite=True), most)


def broadcast(name: str, values: Any, shape: tuple[int, ...], low: float = -np.inf) -> Float:
    """Limits as an array of that shape, none NaN or below `low`; infinite where there is none."""
    try:
        array = np.array(np.broadcast_to(np.asarray(values, float), shape))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must broadcast to {shape}, got {values!r:.60}") from error
    if not np.all(array >= low):
        raise ValidationError(f"{name} must be at least {low:g}, got {array[~(array >= low)][0]:g}")
    return array


def check_finite(curve: ImpactCurve) -> None:
    """Name the first coefficient of the curve that is not finite, in a ValidationError."""
    for name, values in curve.parameters().items():
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        refuse_rows(np.logical_not(finite), f"{name} of the curve", values, "must be finite")


def check_convex(problem: Problem) -> None:
    """Refuse a total that is not convex between its bounds, naming the first interval."""
    total = problem.total
    bad = total.non_convex()
    if not bad.any():
        return
    rises = (total.quadratic >= 0) & (total.quadratic + 3.0 * total.cubic * problem.upper >= 0)
    bad &= (total.scale != 0) | ~rises
    if not bad.any():
        return
    t, names = int(np.argmax(bad)), ("quadratic", "cubic", "scale", "power")
    shape = ", ".join(f"{name} {total[name][t]:.3g}" for name in names)
    where = f"in {int(bad.sum()):,} intervals, first in {t} ({shape})"
    remedy = 'refit with coefficients held at 0 or above, or use objective "cost"'
    raise OptimizationError(f"not convex {where}: a stationary point may be no minimum; {remedy}")


def share_caps(
    n_intervals: int, *, max_shares: ArrayLike = np.inf, participation_rate: float | None = None,
    volume: ArrayLike | None = None, blackout: ArrayLike | None = None,
) -> Float:  # fmt: skip
    """Largest child order of each interval, for `allocate(max_shares=...)`: the least limit.

    Parameters
    ----------
    max_shares : scalar or (n,) shares
    participation_rate, volume : fraction, scalar or (n,) shares
        x_t <= rate * volume_t, for a volume forecast before the order starts.
    blackout : (n,) bool
        No trading there. A floor above 0 in such an interval contradicts it.

    Returns
    -------
    (n,) shares

    Raises
    ------
    ValidationError
        A rate without volume or the reverse, a rate outside (0, 1], a negative cap, a blackout that
        is no mask, a pandas object whose labels are not the intervals.

    Examples
    --------
    >>> share_caps(3, participation_rate=0.1, volume=[900, 700, 1200], blackout=[False, True, False]
    ... ).tolist()
    [90.0, 0.0, 120.0]
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    caps = per_interval("max_shares", max_shares, n, infinite=True)
    if (participation_rate is None) != (volume is None):
        raise ValidationError("participation_rate and volume go together: give both or neither")
    if participation_rate is not None and volume is not None:
        rate = number("participation_rate", participation_rate, 0, 1, above=0)
        caps = np.minimum(caps, rate * per_interval("volume", volume, n, infinite=True))
    if blackout is not None:
        if np.asarray(blackout).dtype != bool:
            raise ValidationError(f"blackout must be a mask of booleans, got {blackout!r:.60}")
        caps[per_interval("blackout", blackout, n) > 0] = 0.0
    return caps

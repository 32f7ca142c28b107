r"""The problem that `allocate` solves: totals, bounds, what couples the intervals, and what it
lacks.

.. math:: \min_x \sum_t C_t(x_t) + T(x)
          \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

Totals that are concave under equal bounds have their optimum at a vertex, found by looking at all
that matter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, per_interval
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.exact import SUM_ROUNDING, Certificate, Pair, close_sum
from research_lib.execution.terms import Terms
from research_lib.impact import ImpactCurve, SeparableTotal

Float = NDArray[np.float64]
HEADROOM = 1e-13  # a cap that the whole order does not reach must not seem to bind
DUST = 1e-6
SAME_COST = 1e-12
SINGLE = 2e-7  # relative rounding of float32


@dataclass(frozen=True, eq=False)
class Problem:
    """One allocation: totals C_t, S, bounds (n,) in shares, coupling terms, and a constant."""

    total: SeparableTotal
    shares: float
    lower: Float
    upper: Float
    terms: Terms | None = None
    constant: float = 0.0

    @cached_property
    def bounds(self) -> Pair:
        """(lower, upper), contiguous and read-only, as compiled code takes them."""
        lower, upper = np.ascontiguousarray(self.lower)[:], np.ascontiguousarray(self.upper)[:]
        lower.flags.writeable = upper.flags.writeable = False
        return lower, upper

    @cached_property
    def non_convex(self) -> NDArray[np.bool_]:
        """Intervals, (n,), whose total is not known to be convex between its bounds."""
        c, bad = self.total, self.total.non_convex()
        if not bad.any():
            return bad
        rises = (c.quadratic >= 0) & (c.quadratic + 3.0 * c.cubic * self.upper >= 0)
        return np.asarray(bad & ~((c.scale == 0) & rises))

    @cached_property
    def capacity(self) -> Float:
        """Largest x whose cost is known, (n,) shares."""
        scenarios = self.terms.scenarios if self.terms is not None else ()
        return np.minimum.reduce([total.capacity for total in (self.total, *scenarios)])

    def within_capacity(self) -> Problem:
        """The problem with no cap above what the books show."""
        scenarios = self.terms.scenarios if self.terms is not None else ()
        if not any(total.depth.shape[1] for total in (self.total, *scenarios)):
            return self
        return dataclasses.replace(self, upper=np.minimum(self.upper, self.capacity))

    def cost(self, x: Float) -> float:
        """The objective at x, currency."""
        terms = self.terms.value(x) if self.terms is not None else 0.0
        return float(np.sum(self.total.value(x))) + self.constant + terms

    def feasible(self, weights: Float) -> Float:
        """Shares in proportion to `weights`, moved inside the bounds with the sum kept."""
        x = np.clip(self.shares * weights / weights.sum(), self.lower, self.upper)
        return close_sum(x, self.shares, self.lower, self.upper)

    def scaled(self, unit: float) -> Problem:
        """The problem with shares in `unit`, and currency such that a fair schedule costs the
        order.

        Backends report `optimal` with per cents of excess cost where shares and currency are of
        other sizes.
        """
        equal = np.minimum(self.shares / len(self.lower), self.total.capacity)
        price = np.abs(self.total.marginal_last(equal))
        fair = self.feasible(1.0 / np.maximum(price, 1e-6 * price.max() or 1.0))
        terms = self.terms.value(fair) if self.terms is not None else 0.0
        cost = float(np.sum(np.abs(self.total.value(fair)))) + terms
        currency = (cost or 1.0) * unit / self.shares
        coupled = self.terms.scaled(unit, currency) if self.terms is not None else None
        parts = self.shares / unit, self.lower / unit, self.upper / unit
        return Problem(self.total.scaled(unit, currency), *parts, coupled)

    def repaired(self, scaled: Float | None, unit: float) -> Float | None:
        """A solver's answer in `unit` as shares inside the bounds that sum to the order; None if
        not finite.

        Equal shares replace it where they cost no more, to rounding: of schedules that cost the
        same, the plainest.
        """
        if scaled is None or not np.all(np.isfinite(scaled)):
            return None
        x = np.clip(unit * scaled, self.lower, self.upper)
        # an interior point never quite reaches a floor
        x = np.where(x - self.lower < DUST * self.shares / len(x), self.lower, x)
        x = close_sum(x, self.shares, self.lower, self.upper)
        equal = np.full(len(x), self.shares / len(x))
        inside = np.all((self.lower <= equal) & (equal <= self.upper))
        if inside and self.cost(equal) <= self.cost(x) + SAME_COST * abs(self.cost(x)):
            return equal
        return x

    def why_infeasible(self) -> str:
        """The numbers and the remedy where no schedule meets the bounds; empty where one does."""
        lower, upper, order = self.lower, self.upper, self.shares
        if np.any(lower > upper):
            t = int(np.argmax(lower > upper))
            return (
                f"min_shares {lower[t]:g} is above max_shares {upper[t]:g} in interval {t}; "
                "lower the one or raise the other"
            )
        most, least = float(upper.sum()), float(lower.sum())
        if most < order * (1.0 - SUM_ROUNDING):
            shown = float(np.sum(np.minimum(self.capacity, order)))
            if shown < order:
                part = f"the books show {shown:,.6g} of {order:,.6g} shares"
                return part + "; order less or lengthen the horizon"
            return (
                f"cap admits {amount(most, order)} of {amount(order, most)} shares; "
                "raise max_shares (max_allocation_ratio) or lengthen the horizon"
            )
        if least > order * (1.0 + SUM_ROUNDING):
            return (
                f"floors need {amount(least, order)} of {amount(order, least)} shares; "
                "lower min_shares or shorten the horizon"
            )
        return ""


def amount(value: float, beside: float) -> str:
    """A number of shares with as many digits as tell it from the one `beside` it."""
    digits = 6
    while digits < 17 and value != beside and f"{value:.{digits}g}" == f"{beside:.{digits}g}":
        digits += 1
    return f"{value:,.{digits}g}"


def bounds_of(n: int, order: float, min_shares: ArrayLike, max_shares: ArrayLike | None) -> Pair:
    """Floors and caps, (n,) shares each; no cap is larger than just above the order, or than the
    floor.

    Caps and floors in float32 that admit the order but for their own rounding are moved by that.
    """
    lower = per_interval("min_shares", min_shares, n, infinite=True)
    most = order * (1.0 + HEADROOM)
    if max_shares is None:
        upper = np.maximum(lower, most) if lower.any() else np.full(n, most)
    else:
        upper = per_interval("max_shares", max_shares, n, infinite=True)
        np.minimum(upper, np.maximum(lower, most), out=upper)
    if getattr(max_shares, "dtype", None) == np.float32:
        short = order / (float(upper.sum()) or 1.0)
        upper *= short if 1.0 < short < 1.0 + SINGLE else 1.0
    if getattr(min_shares, "dtype", None) == np.float32:
        over = order / (float(lower.sum()) or 1.0)
        lower *= over if 1.0 - SINGLE < over < 1.0 else 1.0
    return lower, upper


def share_caps(
    n_intervals: int,
    *,
    max_shares: ArrayLike = np.inf,
    participation_rate: float | None = None,
    volume: ArrayLike | None = None,
    blackout: Any = None,
) -> Float:
    """Largest child order of each interval, for `allocate(max_shares=...)`: the least of what is
    given.

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
        A rate without volume or the reverse, a rate outside (0, 1], a negative cap, an interval
        that is not there, a pandas object whose labels are not the intervals.

    Examples
    --------
    >>> share_caps(4, participation_rate=0.1, volume=[900, 700, 700, 1200], blackout=[2]).tolist()
    [90.0, 70.0, 0.0, 120.0]
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    caps = per_interval("max_shares", max_shares, n, infinite=True)
    if (participation_rate is None) != (volume is None):
        raise ValidationError("participation_rate and volume go together: give both or neither")
    if participation_rate is not None:
        rate = number("participation_rate", participation_rate, 0, 1, above=0)
        caps = np.minimum(caps, rate * per_interval("volume", volume, n, infinite=True))
    if blackout is not None:
        caps[_closed(blackout, n)] = 0.0
    return caps


def _closed(blackout: Any, n: int) -> NDArray[Any]:
    """The intervals without trading, as an index of (n,)."""
    try:
        chosen = np.asarray(list(blackout) if isinstance(blackout, set | frozenset) else blackout)
    except ValueError as error:
        message = f"blackout must be one list of intervals, got {blackout!r}"
        raise ValidationError(message) from error
    if chosen.dtype == bool and chosen.shape == (n,):
        return per_interval("blackout", blackout, n).astype(bool)
    whole = chosen.ndim == 1 and (chosen.size == 0 or np.issubdtype(chosen.dtype, np.integer))
    if not whole or np.any((chosen < 0) | (chosen >= n)) or len(np.unique(chosen)) < len(chosen):
        raise ValidationError(
            f"blackout must be a mask ({n},) of booleans, or intervals from 0 to {n - 1}, each "
            "once, "
            f"got {blackout!r}"
        )
    return chosen.astype(np.int64)


def check_finite(curve: ImpactCurve) -> None:
    """Name the first coefficient of the curve that is not finite, in a ValidationError."""
    for name, values in curve.parameters().items():
        bad = np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.any():
            t = int(np.argmax(bad))
            raise ValidationError(
                f"curve {name} is not finite in {int(bad.sum()):,} of {len(bad):,} intervals, "
                "first in "
                f"{t} ({values[t]}); refit or drop these intervals"
            )


def check_concave(problem: Problem) -> None:
    """Refuse a total that is neither convex nor concave under equal bounds, naming the first
    interval.

    Raises
    ------
    OptimizationError
    """
    reason = _why_not_vertex(problem)
    if not reason:
        return
    bad, total = problem.non_convex, problem.total
    t = int(np.argmax(bad))
    shape = f"{total.scale[t]:.3g} x^{total.power[t]:.3g}"
    for name in ("cubic", "quadratic"):
        if (coefficient := getattr(total, name)[t]) < 0:
            shape = f"{name} coefficient {coefficient:.3g} below 0"
    raise OptimizationError(
        f"the total is not convex in {int(bad.sum()):,} intervals, first in {t} ({shape}): larger "
        "orders "
        "get cheaper by the share, and a stationary point need not be a minimum; it is solved "
        "globally "
        f"only if all totals are concave under equal bounds, but {reason}. Refit with "
        "coefficients held "
        'at 0 or above, or use objective "cost"'
    )


def _why_not_vertex(problem: Problem) -> str:
    """Why the optimum of a total that is not convex need not be a vertex; empty if it is one."""
    total = problem.total
    if problem.terms is not None:
        return "terms are added to it"
    bends_up = (total.quadratic > 0) | (total.cubic > 0)
    bends_up |= (total.scale != 0) & ((total.scale < 0) != (total.power > 1))
    if total.depth.shape[1]:
        first = np.argmax(total.depth > 0, axis=1)
        lowest = np.take_along_axis(total.premium, first[:, None], axis=1)
        bends_up |= np.any((total.premium > lowest) & (total.depth > 0), axis=1)
    if bends_up.any():
        return f"interval {int(np.argmax(bends_up))} is not concave"
    if total.depth.shape[1]:
        return "steps of a book stand beside it"
    unequal = np.ptp(problem.lower) > 0 or np.ptp(problem.upper) > 0
    return "bounds differ between the intervals" if unequal else ""


def solve_vertex(problem: Problem) -> tuple[Float, Certificate]:
    """The global optimum of concave totals under equal bounds; its gap is 0 by enumeration.

    At a vertex every child order is at its floor l or cap u but one, which takes the remainder. For
    each choice of that one, the rest is best filled where C_t(u) - C_t(l) is least: sorted once,
    all are compared in O(n log n).
    """
    low, n = float(problem.lower[0]), len(problem.lower)
    left = problem.shares - n * low
    high = min(float(problem.upper[0]), low + left)
    room = high - low
    full = min(int(np.floor(left / room * (1 + 1e-12))), n) if room > 0 else 0
    rest = max(left - full * room, 0.0)
    value = problem.total.value
    rise, part = value(high) - value(low), value(low + rest) - value(low)
    order = np.argsort(rise, kind="stable")
    x = np.full(n, low)
    if rest <= 1e-12 * problem.shares or full == n:
        x[order[:full]] = high
    else:
        # Where the remainder's interval would itself be filled, the next cheapest is filled
        # instead.
        swap = np.zeros(n)
        swap[order[:full]] = rise[order[full]] - rise[order[:full]]
        chosen = int(np.argmin(rise[order[:full]].sum() + swap + part))
        x[[t for t in order[: full + 1] if t != chosen][:full]] = high
        x[chosen] = low + rest
    return x, _vertex_certificate(x, problem)


def _vertex_certificate(x: Float, problem: Problem) -> Certificate:
    """First-order conditions at the vertex; the multiplier is the remainder's marginal cost."""
    with np.errstate(divide="ignore"):
        slope = problem.total.marginal(x)
    down, up = x > problem.lower, x < problem.upper
    highest, lowest = slope[down].max(initial=-np.inf), slope[up].min(initial=np.inf)
    ends = lowest if np.isfinite(lowest) else highest
    nu = float(slope[down & up][0]) if (down & up).any() else float(ends)
    worst = max(float(highest) - nu, nu - float(lowest), 0.0)
    cost = float(np.sum(problem.total.value(x)))
    return Certificate(cost, nu, worst / (abs(nu) or 1.0), 0.0, float(x.sum()), 0.0)

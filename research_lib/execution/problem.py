r"""The problem that `allocate` solves, as stated: totals, bounds, what couples the intervals, and what it lacks.

.. math:: \min_x \sum_t C_t(x_t) + T(x) \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

Bounds come from caps of participation and blackouts; where they admit too little they are refused by name, or
relaxed by the least factor that admits the order.
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
from research_lib.execution.exact import SUM_ROUNDING, Pair, close_sum
from research_lib.execution.terms import Terms
from research_lib.impact import ImpactCurve, SeparableTotal

Float = NDArray[np.float64]
ROUNDING = 1e-9
# A cap that the whole order does not reach must not seem to bind: the next share may go there too.
HEADROOM = 1e-13
DUST = 1e-6
SAME_COST = 1e-12


@dataclass(frozen=True, eq=False)
class Problem:
    """One allocation: totals C_t, S, bounds in shares, (n,) each, what couples the intervals, and a constant."""

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
        c = self.total
        if not c.non_convex().any():
            return c.non_convex()
        inside = (
            (c.scale == 0) & (c.quadratic >= 0) & (c.quadratic + 3.0 * c.cubic * self.upper >= 0)
        )
        return np.asarray(c.non_convex() & ~inside)

    def cost(self, x: Float) -> float:
        """The objective at x, currency."""
        terms = self.terms.value(x) if self.terms is not None else 0.0
        return float(np.sum(self.total.value(x))) + self.constant + terms

    def feasible(self, weights: Float) -> Float:
        """Shares in proportion to `weights`, moved inside the bounds with the sum kept."""
        x = np.clip(self.shares * weights / weights.sum(), self.lower, self.upper)
        return close_sum(x, self.shares, self.lower, self.upper)

    def scaled(self, unit: float) -> Problem:
        """The problem with shares in `unit`, and currency such that a fair schedule costs the order in that unit.

        Backends report `optimal` with per cents of excess cost where shares and currency are of other sizes.
        """
        equal = np.minimum(self.shares / len(self.lower), self.total.capacity)
        price = np.abs(self.total.marginal_last(equal))
        fair = self.feasible(1.0 / np.maximum(price, 1e-6 * price.max() or 1.0))
        terms = self.terms.value(fair) if self.terms is not None else 0.0
        cost = float(np.sum(np.abs(self.total.value(fair)))) + terms
        currency = (cost or 1.0) * unit / self.shares
        return Problem(
            self.total.scaled(unit, currency),
            self.shares / unit,
            self.lower / unit,
            self.upper / unit,
            self.terms.scaled(unit, currency) if self.terms is not None else None,
        )

    def repaired(self, scaled: Float | None, unit: float) -> Float | None:
        """A solver's answer in `unit` as shares inside the bounds that sum to the order; None if it is not finite.

        Equal shares replace it where they cost no more, to rounding: of schedules that cost the same, the plainest.
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
        if upper.sum() < order * (1.0 - SUM_ROUNDING):
            shown = float(np.sum(np.minimum(self.capacity, order)))
            if shown < order:
                return f"the books show {shown:,.6g} of {order:,.6g} shares; order less or lengthen the horizon"
            return (
                f"cap admits {amount(upper.sum(), order)} of {amount(order, upper.sum())} shares; "
                "raise max_shares (max_allocation_ratio) or lengthen the horizon"
            )
        if lower.sum() > order * (1.0 + SUM_ROUNDING):
            return (
                f"floors need {amount(lower.sum(), order)} of {amount(order, lower.sum())} shares; "
                "lower min_shares or shorten the horizon"
            )
        return ""

    def within_capacity(self) -> Problem:
        """The problem with no cap above what the books show."""
        return dataclasses.replace(self, upper=np.minimum(self.upper, self.capacity))

    @property
    def capacity(self) -> Float:
        """Largest x whose cost is known, (n,) shares."""
        scenarios = self.terms.scenarios if self.terms is not None else ()
        return np.minimum.reduce([total.capacity for total in (self.total, *scenarios)])


def amount(value: float, beside: float) -> str:
    """A number of shares with as many digits as tell it from the one `beside` it."""
    digits = 6
    while digits < 17 and value != beside and f"{value:.{digits}g}" == f"{beside:.{digits}g}":
        digits += 1
    return f"{value:,.{digits}g}"


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
        raise ValidationError(f"blackout must be one list of intervals, got {blackout!r}") from error
    if chosen.dtype == bool and chosen.shape == (n,):
        return chosen
    whole = chosen.ndim == 1 and (chosen.size == 0 or np.issubdtype(chosen.dtype, np.integer))
    if not whole or np.any((chosen < 0) | (chosen >= n)) or len(np.unique(chosen)) < len(chosen):
        raise ValidationError(
            f"blackout must be a mask ({n},) of booleans, or intervals from 0 to {n - 1}, each once, "
            f"got {blackout!r}"
        )
    return chosen.astype(np.int64)


def bounds_of(n: int, order: float, min_shares: ArrayLike, max_shares: ArrayLike | None) -> Pair:
    """Floors and caps, (n,) shares each; no cap is larger than just above the order, or than the floor."""
    lower = per_interval("min_shares", min_shares, n, infinite=True)
    upper = per_interval(
        "max_shares", np.inf if max_shares is None else max_shares, n, infinite=True
    )
    return lower, np.minimum(upper, np.maximum(order * (1.0 + HEADROOM), lower))


def check_convex(problem: Problem, why_not_vertex: str) -> None:
    """Refuse totals that are not convex, naming the first interval.

    Raises
    ------
    OptimizationError
    """
    bad, total = problem.non_convex, problem.total
    t = int(np.argmax(bad))
    reason = f"{total.scale[t]:.3g} x^{total.power[t]:.3g}"
    for name in ("quadratic", "cubic"):
        if getattr(total, name)[t] < 0:
            reason = f"{name} coefficient {getattr(total, name)[t]:.3g} below 0"
            break
    raise OptimizationError(
        f"the total is not convex in {int(bad.sum()):,} intervals, first in {t} ({reason}): larger orders get "
        "cheaper by the share, and a stationary point need not be a minimum; it is solved globally only if all "
        f"totals are concave under equal bounds, but {why_not_vertex}. Refit with coefficients held at 0 or above, "
        'or use objective "cost"'
    )


def check_finite(curve: ImpactCurve) -> None:
    """Name the first coefficient of the curve that is not finite.

    Raises
    ------
    ValidationError
    """
    for name, values in curve.parameters().items():
        bad = np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.any():
            raise ValidationError(
                f"curve {name} is not finite in {int(bad.sum()):,} of {len(bad):,} intervals, first in "
                f"{int(np.argmax(bad))} ({values[np.argmax(bad)]}); refit or drop these intervals"
            )

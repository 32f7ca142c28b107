r"""Impact curves g_t(x), one an interval, and the totals that an allocation minimises.

Per share, slippage_t(x) = half_spread_t + impact_t(x). Impact is relative to the touch
and vanishes at x -> 0. A schedule x has one of two totals, and they have different optima:

- "cost":   sum_t x_t slippage_t(x_t), currency;
- "impact": sum_t impact_t(x_t), the sum of g_t(x_t) read literally, no spread term.

Both are cubic polynomials for the families here: :class:`PolynomialTotal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError

Float = NDArray[np.float64]
OBJECTIVES = ("cost", "impact")


@dataclass(frozen=True, eq=False)
class PolynomialTotal(Record):
    r"""Total of each interval, C_t(x) = linear_t x + quadratic_t x^2 + cubic_t x^3.

    Convex on x >= 0 when quadratic and cubic are at least 0.

    Attributes
    ----------
    linear, quadratic, cubic : (n,) currency per share, per share**2, per share**3
    """

    linear: Float
    quadratic: Float
    cubic: Float

    def value(self, x: ArrayLike) -> Float:
        """C_t(x_t), scalar or (n,) -> (n,)."""
        shares = np.asarray(x, float)
        return shares * (self.linear + shares * (self.quadratic + shares * self.cubic))

    def marginal(self, x: ArrayLike) -> Float:
        """C_t'(x_t), scalar or (n,) -> (n,)."""
        shares = np.asarray(x, float)
        return self.linear + shares * (2.0 * self.quadratic + 3.0 * shares * self.cubic)

    def curvature(self, x: ArrayLike) -> Float:
        """C_t''(x_t), scalar or (n,) -> (n,)."""
        return 2.0 * self.quadratic + 6.0 * self.cubic * np.asarray(x, float)

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x >= 0 at which C_t'(x) reaches `price`, scalar or (n,) -> (n,).

        0 where the price is at or below C_t'(0); inf where no x reaches it.
        """
        excess = np.maximum(np.asarray(price, float) - self.linear, 0.0)
        # The root of 3 c x^2 + 2 b x = excess, written so that c -> 0 loses no digits.
        slope = self.quadratic + np.sqrt(self.quadratic**2 + 3.0 * self.cubic * excess)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(excess > 0.0, excess / slope, 0.0)

    def is_convex(self) -> bool:
        """Whether every C_t is convex on x >= 0."""
        return bool(np.all(self.quadratic >= 0) and np.all(self.cubic >= 0))

    def scaled(self, shares: float, currency: float) -> PolynomialTotal:
        """The same totals with x in units of `shares` and C in units of `currency`."""
        unit = shares / currency
        return PolynomialTotal(self.linear * unit, self.quadratic * unit * shares, self.cubic * unit * shares**2)


class ImpactCurve(Record):
    """Base of the families: n intervals, each method takes a scalar or (n,) and returns (n,).

    A family gives `total(objective)`; everything else follows from it.
    """

    half_spread: Any

    def __post_init__(self) -> None:
        names = self.keys()
        arrays = [np.atleast_1d(np.asarray(getattr(self, name), float)) for name in names]
        try:
            arrays = [np.array(a) for a in np.broadcast_arrays(*arrays)]
        except ValueError as error:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(names, arrays, strict=True))
            raise ValidationError(f"curve parameters do not broadcast to one length: {shapes}") from error
        for name, array in zip(names, arrays, strict=True):
            if array.ndim != 1:
                raise ValidationError(f"{name} must be a number or (n,), got shape {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.half_spread)

    def total(self, objective: str = "cost") -> PolynomialTotal:
        """What an allocation minimises, by interval: "cost" or "impact" (see the module)."""
        raise NotImplementedError

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share."""
        return self.total("impact").value(x)

    def slippage(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the mid: half_spread + impact, currency per share."""
        return self.half_spread + self.impact(x)

    def cost(self, x: ArrayLike) -> Float:
        """x * slippage(x), currency."""
        return self.total("cost").value(x)

    def marginal_cost(self, x: ArrayLike) -> Float:
        """d cost / d x: what the next share costs, currency per share."""
        return self.total("cost").marginal(x)

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x at which the marginal cost reaches `price`; 0 below the half-spread, inf if never."""
        return self.total("cost").shares_at_marginal(price)

    def recut(self, n_intervals: int) -> ImpactCurve:
        """The curve of a session cut into `n_intervals`, each coefficient averaged over the time it covers."""
        if n_intervals == len(self):
            return self
        return type(self)(*(recut(getattr(self, name), n_intervals) for name in self.keys()))


@dataclass(frozen=True, eq=False)
class LinearImpact(ImpactCurve):
    r"""impact_t(x) = beta_t x, so cost_t(x) = half_spread_t x + beta_t x^2.

    The average price; the marginal price of the last share rises twice as fast.

    Attributes
    ----------
    beta : (n,) currency per share**2
    half_spread : (n,) currency per share
    """

    beta: Any
    half_spread: Any = 0.0

    def total(self, objective: str = "cost") -> PolynomialTotal:
        """Quadratic under "cost", linear under "impact"."""
        return _polynomial(objective, self.half_spread, self.beta, np.zeros(len(self)))


@dataclass(frozen=True, eq=False)
class QuadraticImpact(ImpactCurve):
    r"""impact_t(x) = alpha_t x^2 + beta_t x, so cost_t(x) = half_spread_t x + beta_t x^2 + alpha_t x^3.

    Attributes
    ----------
    alpha : (n,) currency per share**3
    beta : (n,) currency per share**2
    half_spread : (n,) currency per share
    """

    alpha: Any
    beta: Any
    half_spread: Any = 0.0

    def total(self, objective: str = "cost") -> PolynomialTotal:
        """Cubic under "cost", quadratic under "impact"."""
        return _polynomial(objective, self.half_spread, self.beta, self.alpha)


def _polynomial(objective: str, half_spread: Float, beta: Float, alpha: Float) -> PolynomialTotal:
    if objective == "cost":
        return PolynomialTotal(half_spread, beta, alpha)
    if objective == "impact":
        return PolynomialTotal(beta, alpha, np.zeros_like(beta))
    raise ValidationError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")


def recut(values: Float, n_intervals: int) -> Float:
    """Values of a session's intervals (n,) averaged over each of `n_intervals` new ones by the time they share."""
    old, new = np.arange(len(values) + 1) / len(values), np.arange(n_intervals + 1) / n_intervals
    left = np.maximum(new[:-1, None], old[None, :-1])
    right = np.minimum(new[1:, None], old[None, 1:])
    shared = np.maximum(right - left, 0.0)
    averaged: Float = (shared @ values) / shared.sum(axis=1)
    return averaged

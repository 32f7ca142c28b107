r"""Impact curves g_t(x), one an interval.

Per share, slippage_t(x) = half_spread_t + impact_t(x). Impact is relative to the touch
and vanishes at x -> 0. A schedule x has one of two totals, and they have different optima:

- "cost":   sum_t x_t slippage_t(x_t), currency;
- "impact": sum_t impact_t(x_t), the sum of g_t(x_t) read literally, no spread term.

Each family gives its totals as a :class:`SeparableTotal`; everything else follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.totals import SeparableTotal, polynomial_total, smooth_total

Float = NDArray[np.float64]
OBJECTIVES = ("cost", "impact")
ROUNDING = 1e-9


class ImpactCurve(Record):
    """Base of the families: n intervals, each method takes a scalar or (n,) and returns (n,).

    A family gives `total(objective)`; everything else follows from it. Shares are finite
    and at least 0; a parameter that is NaN makes its own interval NaN, and `allocate`
    refuses it.

    Raises
    ------
    ValidationError
        Parameters that are not numbers or not one length; shares below 0 or of another shape.
    """

    half_spread: Any

    def __post_init__(self) -> None:
        names = self.keys()
        arrays = [np.atleast_1d(as_floats(name, getattr(self, name))) for name in names]
        try:
            arrays = [np.array(a) for a in np.broadcast_arrays(*arrays)]
        except ValueError as error:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(names, arrays, strict=True))
            raise ValidationError(
                f"curve parameters do not broadcast to one length: {shapes}"
            ) from error
        for name, array in zip(names, arrays, strict=True):
            if array.ndim != 1 or not array.size:
                raise ValidationError(
                    f"{name} must be a number or (n,) with n >= 1, got shape {array.shape}"
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.half_spread)

    def total(self, objective: str = "cost") -> SeparableTotal:
        """What an allocation minimises, by interval: "cost" or "impact" (see the module)."""
        raise NotImplementedError

    @cached_property
    def _cost(self) -> SeparableTotal:
        return self.total("cost")

    @cached_property
    def _impact(self) -> SeparableTotal:
        return self.total("impact")

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share."""
        return self._impact.value(self._shares(x))

    def slippage(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the mid: half_spread + impact, currency per share."""
        slippage: Float = self.half_spread + self.impact(x)
        return slippage

    def cost(self, x: ArrayLike) -> Float:
        """x * slippage(x), currency."""
        return self._cost.value(self._shares(x))

    def marginal_cost(self, x: ArrayLike) -> Float:
        """d cost / d x: what the next share costs, currency per share."""
        return self._cost.marginal(self._shares(x))

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x at which the marginal cost reaches `price`; 0 below the half-spread, inf if never."""
        return self._cost.shares_at_marginal(price)

    def parameters(self) -> dict[str, Float]:
        """Every number of the curve by name: (n,), or (n, K) where each interval has K."""
        return {name: getattr(self, name) for name in self.keys()}

    def _shares(self, x: ArrayLike) -> Float:
        """Orders as (n,) shares, each at least 0."""
        shares = as_floats("shares", x)
        if shares.shape not in ((), self.half_spread.shape):
            raise ValidationError(
                f"shares must be a number or ({len(self)},), got shape {shares.shape}"
            )
        if np.any(shares < 0):
            raise ValidationError(
                f"shares must be at least 0, got {np.min(shares):g}; a sell is unsigned too"
            )
        return np.broadcast_to(shares, self.half_spread.shape)

    def take(self, intervals: ArrayLike) -> Self:
        """The curves of the chosen intervals, in that order; an interval may be chosen many times."""
        return type(self)(*(getattr(self, name)[np.asarray(intervals)] for name in self.keys()))

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

    def total(self, objective: str = "cost") -> SeparableTotal:
        """Quadratic under "cost", linear under "impact"."""
        zero = np.zeros(len(self))
        if is_cost(objective):
            return polynomial_total(self.half_spread, self.beta, zero)
        return polynomial_total(self.beta, zero, zero)


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

    def total(self, objective: str = "cost") -> SeparableTotal:
        """Cubic under "cost", quadratic under "impact"."""
        if is_cost(objective):
            return polynomial_total(self.half_spread, self.beta, self.alpha)
        return polynomial_total(self.beta, self.alpha, np.zeros(len(self)))


@dataclass(frozen=True, eq=False)
class PowerImpact(ImpactCurve):
    r"""impact_t(x) = scale_t x^exponent_t, so cost_t(x) = half_spread_t x + scale_t x^(1 + exponent_t).

    The cost is convex for every exponent above 0. The literal sum, "impact", is concave
    for exponents below 1: its stationary point is a maximum.

    Attributes
    ----------
    scale : (n,) currency per share**(1 + exponent)
    exponent : (n,) above 0
    half_spread : (n,) currency per share
    """

    scale: Any
    exponent: Any
    half_spread: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        bad = self.exponent <= 0
        if bad.any():
            raise ValidationError(
                f"exponent must be above 0, got {self.exponent[bad][0]:g} in interval {int(np.argmax(bad))}: "
                "impact must vanish at x -> 0"
            )

    def total(self, objective: str = "cost") -> SeparableTotal:
        """Power 1 + exponent under "cost", exponent under "impact"."""
        zero = np.zeros(len(self))
        if is_cost(objective):
            return smooth_total(self.half_spread, zero, zero, self.scale, 1.0 + self.exponent)
        return smooth_total(zero, zero, zero, self.scale, self.exponent)

    def recut(self, n_intervals: int) -> ImpactCurve:
        """As the base class; where exponents differ, the geometric mean, itself a power law.

        Raises
        ------
        ValidationError
            Exponents that differ beside a scale at or below 0, which has no geometric mean.
        """
        if n_intervals == len(self):
            return self
        half_spread = recut(self.half_spread, n_intervals)
        if (
            np.ptp(self.exponent) == 0
        ):  # kept to the digit: an exponent of 1 stays convex under "impact"
            return PowerImpact(recut(self.scale, n_intervals), self.exponent[0], half_spread)
        if np.any(self.scale <= 0):
            raise ValidationError(
                f"power laws of different exponents have no mean where a scale is at or below 0 (interval "
                f"{int(np.argmax(self.scale <= 0))}); fit one exponent for the session, or keep {len(self)} intervals"
            )
        scale = np.exp(recut(np.log(self.scale), n_intervals))
        return PowerImpact(scale, recut(self.exponent, n_intervals), half_spread)


def square_root_impact(scale: ArrayLike, half_spread: ArrayLike = 0.0) -> PowerImpact:
    """impact_t(x) = scale_t sqrt(x): the power law of exponent 1/2, scale in currency per share**1.5."""
    return PowerImpact(scale, 0.5, half_spread)


@dataclass(frozen=True, eq=False)
class AlmgrenImpact(ImpactCurve):
    r"""Almgren, Thum, Hauptmann and Li (2005): impact_t(x) = permanent_t x / 2 + temporary_t x^0.6.

    Only half of the permanent impact of a parent order is paid on average by its own
    shares. Each interval is an order worked evenly over its time, apart from the others.

    Attributes
    ----------
    temporary : (n,) currency per share**1.6
    permanent : (n,) currency per share**2
    half_spread : (n,) currency per share
    """

    temporary: Any
    permanent: Any
    half_spread: Any = 0.0

    @classmethod
    def from_market(
        cls,
        price: ArrayLike,
        volatility: ArrayLike,
        volume: ArrayLike,
        shares_outstanding: ArrayLike,
        duration: ArrayLike,
        half_spread: ArrayLike = 0.0,
    ) -> Self:
        r"""The curve that the paper's universal coefficients give.

        .. math:: \frac{I}{P} = 0.314\,\sigma \frac XV \Big(\frac\Theta V\Big)^{1/4}, \qquad
                  \frac JP = \frac{I}{2P} + 0.142\,\sigma \Big|\frac{X}{VT}\Big|^{3/5}

        Parameters
        ----------
        price : currency per share
        volatility : fraction of the price, one day's standard deviation
        volume : shares a day (V)
        shares_outstanding : shares (Theta)
        duration : days that each interval lasts (T)

        Raises
        ------
        ValidationError
            A value that is not finite and above 0.

        References
        ----------
        Almgren, Thum, Hauptmann, Li: Direct estimation of equity market impact, Risk 18(7), 2005,
        coefficients of section 4.3.
        """
        given = dict(
            price=price,
            volatility=volatility,
            volume=volume,
            shares_outstanding=shares_outstanding,
            duration=duration,
        )
        p, sigma, v, theta, t = (_positive(name, value) for name, value in given.items())
        return cls(
            0.142 * p * sigma * (v * t) ** -0.6,
            0.314 * p * sigma / v * (theta / v) ** 0.25,
            half_spread,
        )

    def total(self, objective: str = "cost") -> SeparableTotal:
        """Powers 2 and 1.6 under "cost"; 1 and 0.6, which is concave, under "impact"."""
        zero, power = np.zeros(len(self)), np.full(len(self), 0.6)
        if is_cost(objective):
            return smooth_total(
                self.half_spread, self.permanent / 2.0, zero, self.temporary, 1.0 + power
            )
        return smooth_total(self.permanent / 2.0, zero, zero, self.temporary, power)


def is_cost(objective: str) -> bool:
    """Whether the objective is "cost"; one that is neither is refused."""
    if objective not in OBJECTIVES:
        raise ValidationError(
            f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}"
        )
    return objective == "cost"


def as_floats(name: str, values: ArrayLike) -> Float:
    """The values as an array of floats, or a ValidationError with their name."""
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be numbers, got {values!r}") from error


def _positive(name: str, values: ArrayLike) -> Float:
    array = as_floats(name, values)
    bad = ~((array > 0) & np.isfinite(array))
    if bad.any():
        raise ValidationError(f"{name} must be finite and above 0, got {array[bad].flat[0]:g}")
    return array


def recut(values: Float, n_intervals: int) -> Float:
    """Values of a session's intervals (n,) averaged over each of `n_intervals` new ones by the time they share."""
    averaged: Float = shared_time(len(values), n_intervals) @ values
    return averaged


def shared_time(n_old: int, n_new: int) -> Float:
    """Part of each new interval's time that lies in each old one, (n_new, n_old); rows sum to 1."""
    number("n_intervals", n_new, 1, integer=True)
    old, new = np.arange(n_old + 1) / n_old, np.arange(n_new + 1) / n_new
    left, right = (
        np.maximum(new[:-1, None], old[None, :-1]),
        np.minimum(new[1:, None], old[None, 1:]),
    )
    shared = np.where(right - left > ROUNDING / max(n_old, n_new), right - left, 0.0)
    return np.asarray(shared / shared.sum(axis=1, keepdims=True))

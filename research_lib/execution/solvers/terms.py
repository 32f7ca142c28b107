"""Terms beside the cost of the children: they couple the intervals, or ask for safety.

Users give :class:`ConvexTerms`; `resolve` makes of them what solvers need.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record, number, numbers
from research_lib.errors import ValidationError
from research_lib.execution.solvers.decay import Decay
from research_lib.impact.curves import ImpactCurve, LinearImpact, PowerImpact, QuadraticImpact, is_cost
from research_lib.impact.totals import SeparableTotal, polynomial_total

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvexTerms(Record):
    r"""What an allocation minimises beside sum_t C_t(x_t).

    .. math:: \gamma \sum_t (x_{t+1} - x_t)^2 + \tau \sum_t |x_t - \hat x_t|
              + \kappa \Big(\sum_t \phi_t(x_t)^\top \Sigma_t \phi_t(x_t)\Big)^{1/2}

    Attributes
    ----------
    smoothness : currency per share**2
        gamma >= 0.
    turnover : currency per share
        tau >= 0, on the distance to `previous`.
    previous : (n,) shares
        The schedule to stay near.
    robust : none
        kappa >= 0: the worst cost over the ellipsoid of kappa standard errors about the fitted
        coefficients, intervals independent. Negative covariances count as 0, which can only
        raise the worst case and keeps it convex.
    covariance : (n, p, p)
        Sigma_t as in `ImpactFit.cov`: of (beta), (alpha, beta) or (scale).
    scenarios : sequence of ImpactCurve, n intervals each
        Equally likely curves: their CVaR takes the place of the curve's own cost.
    cvar_level : [0, 1)
        q: the mean over the dearest 1 - q of the scenarios; 0 is their mean.
    """

    smoothness: float = 0.0
    turnover: float = 0.0
    previous: Any = None
    robust: float = 0.0
    covariance: Any = None
    scenarios: Sequence[ImpactCurve] = ()
    cvar_level: float = 0.0

    def __post_init__(self) -> None:
        for name in ("smoothness", "turnover", "robust"):
            object.__setattr__(self, name, number(name, getattr(self, name), 0))
        if not 0 <= number("cvar_level", self.cvar_level) < 1:
            raise ValidationError(f"cvar_level must be in [0, 1), got {self.cvar_level!r}")
        curves = self.scenarios
        if not isinstance(curves, Sequence) or not all(isinstance(curve, ImpactCurve) for curve in curves):
            raise ValidationError(f"scenarios must be a sequence of ImpactCurve, got {str(curves)[:60]}")
        if self.cvar_level and not self.scenarios:
            raise ValidationError("cvar_level needs scenarios; give them, or leave cvar_level at 0")
        for weight, needs in (("turnover", "previous"), ("robust", "covariance")):
            if getattr(self, weight) and getattr(self, needs) is None:
                raise ValidationError(f"{weight} needs {needs}; give it, or leave {weight} at 0")

    def resolve(
        self, curve: ImpactCurve, objective: str, shares: float, holding: Float | None, decay: Decay | None
    ) -> tuple[SeparableTotal, Terms | None, float]:
        """The separable total with turnover in it, the coupled rest (None if nothing is), and a constant."""
        n = len(curve)
        total, constant = curve.total(objective), 0.0
        if self.scenarios:
            total = polynomial_total(np.zeros(n), np.zeros(n), np.zeros(n))
        if self.turnover:
            previous = per_interval("previous", self.previous, n)
            total, constant = with_turnover(total, previous, self.turnover), self.turnover * float(previous.sum())
        if not (self.smoothness or self.robust or self.scenarios) and holding is None and decay is None:
            return total, None, constant
        powers, factor = self._uncertainty(curve, objective) if self.robust else ((), None)
        for j, believed in enumerate(self.scenarios):
            for name, values in believed.parameters().items():
                if np.isnan(values).any():
                    raise ValidationError(f"scenario {j}: its {name} has {int(np.isnan(values).sum()):,} NaN; refit it")
        scenarios = tuple(scenario.total(objective) for scenario in self.scenarios)
        for j, scenario in enumerate(scenarios):
            if len(scenario) != n or scenario.non_convex().any():
                raise ValidationError(f"scenario {j} must be a convex curve of {n} intervals; it has {len(scenario)}")
        coupled = Terms(shares, holding, self.smoothness, powers, factor, scenarios, self.cvar_level, decay)
        return total, coupled, constant

    def _uncertainty(self, curve: ImpactCurve, objective: str) -> tuple[tuple[Float, ...], Float]:
        """Powers of x that the coefficients multiply, and kappa times a root of their covariances."""
        powers = _powers(curve, objective)
        covariance, p = numbers("covariance", self.covariance), len(powers)
        if covariance.shape != (len(curve), p, p):
            raise ValidationError(
                f"covariance must be ({len(curve)}, {p}, {p}) as ImpactFit.cov, got {covariance.shape}"
            )
        bad = ~np.isfinite(covariance).all(axis=(1, 2)) | (np.diagonal(covariance, axis1=1, axis2=2) < 0).any(axis=1)
        if bad.any():
            raise ValidationError(
                f"covariance is not finite, or a variance is negative, in {int(bad.sum()):,} intervals, first in "
                f"{int(np.argmax(bad))}; put 0 where a coefficient is held at its bound"
            )
        return powers, self.robust * _root(np.maximum(covariance, 0.0))


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms that couple intervals, ready to be solved: see `ConvexTerms` for the letters.

    `holding` is risk aversion times variance, (n,), on the square of what is held after each child;
    `decay` the transient cost; `factor` L with kappa^2 Sigma = L L', (n, p, p), no entry
    below 0; `powers` those of phi, p arrays (n,). `lent`, per share**2, is the part of the curve's
    own curvature without which the decay would not be convex.
    """

    shares: float
    holding: Float | None
    smoothness: float
    powers: tuple[Float, ...]
    factor: Float | None
    scenarios: tuple[SeparableTotal, ...]
    level: float
    decay: Decay | None = None
    lent: float = 0.0

    @property
    def smooth(self) -> bool:
        """Whether the gradient exists everywhere that matters: not for CVaR."""
        return not self.scenarios

    @property
    def quadratic(self) -> bool:
        """Whether the terms are a quadratic function of the shares."""
        return self.smooth and self.factor is None

    def value(self, x: Float) -> float:
        """The terms at x, currency."""
        held = self.shares - np.cumsum(x)
        value = float(np.sum(self.holding * held**2)) if self.holding is not None else 0.0
        value += self.smoothness * float(np.sum(np.diff(x) ** 2))
        value += self.decay.value(x) if self.decay is not None else 0.0
        if self.factor is not None:
            value += float(np.linalg.norm(self._loadings(x)))
        return value + (self._cvar(self._costs(x)) if self.scenarios else 0.0)

    def per_order(self, x: Float) -> float:
        """d value / d S at given x, currency per share: what one more share held from the start adds."""
        if self.holding is None:
            return 0.0
        return 2.0 * float(self.holding @ (self.shares - np.cumsum(x)))

    def gradient(self, x: Float) -> Float:
        """Of all terms but the scenarios', (n,) currency per share."""
        gradient = np.zeros(len(x))
        if self.holding is not None:
            pull = self.holding * (self.shares - np.cumsum(x))
            gradient -= 2.0 * np.cumsum(pull[::-1])[::-1]
        steps = 2.0 * self.smoothness * np.diff(x)
        gradient[1:] += steps
        gradient[:-1] -= steps
        if self.decay is not None:
            gradient += self.decay.product(x)
        if self.factor is not None:
            loadings = self._loadings(x)
            moved = self._loaded([_power_slope(x, p) for p in self.powers])
            size = float(np.linalg.norm(loadings))
            gradient += np.sum(moved * loadings, axis=1) / size if size > 0 else 0.0
        return gradient

    def minorant(self, total: SeparableTotal, x: Float, weights: Float | None) -> tuple[SeparableTotal, float]:
        """A separable total nowhere above total + terms but for a constant, and its slack at x, currency.

        Smooth terms by their tangent, with `lent` of the curvature where they lie below it; CVaR, the largest of
        weighted means over the scenarios, by one mean.
        """
        linear = total.linear + self.gradient(x)
        if self.lent:
            linear = linear + 2.0 * self.lent * x
            total = dataclasses.replace(total, quadratic=total.quadratic - self.lent)
        if not self.scenarios:
            return dataclasses.replace(total, linear=linear), 0.0
        costs = self._costs(x)
        shares = self._worst_weights(costs) if weights is None else self._admissible(weights)
        below = weighted_sum([dataclasses.replace(total, linear=linear), *self.scenarios], np.append(1.0, shares), x)
        return below, max(self._cvar(costs) - float(shares @ costs), 0.0)

    def scaled(self, unit: float, currency: float) -> Terms:
        """The same terms with shares in `unit` and cost in `currency`."""
        square = unit**2 / currency
        factor = self.factor
        if factor is not None:
            factor = factor * np.stack([unit**p for p in self.powers], axis=1)[:, :, None] / currency
        return Terms(
            self.shares / unit,
            None if self.holding is None else self.holding * square,
            self.smoothness * square,
            self.powers,
            factor,
            tuple(scenario.scaled(unit, currency) for scenario in self.scenarios),
            self.level,
            None if self.decay is None else self.decay.scaled(square),
            self.lent * square,
        )

    def _loadings(self, x: Float) -> Float:
        """L' phi(x), (n, p)."""
        return self._loaded([x**p for p in self.powers])

    def _loaded(self, features: list[Float]) -> Float:
        """L' times p features, (n,) each -> (n, p)."""
        assert self.factor is not None
        return np.asarray(np.einsum("tij,ti->tj", self.factor, np.stack(features, axis=1)))

    def _costs(self, x: Float) -> Float:
        return np.array([np.sum(scenario.value(x)) for scenario in self.scenarios])

    def _cvar(self, costs: Float) -> float:
        return float(self._worst_weights(costs) @ costs)

    def _worst_weights(self, costs: Float) -> Float:
        """The scenarios' weights in CVaR: the dearest first, each up to 1 / ((1 - q) m)."""
        limit = 1.0 / ((1.0 - self.level) * len(costs))
        filled = np.clip(1.0 - limit * np.arange(len(costs)), 0.0, limit)
        weights = np.empty(len(costs))
        weights[np.argsort(-costs, kind="stable")] = filled
        return weights / weights.sum()

    def _admissible(self, weights: Float) -> Float:
        """Weights moved into CVaR's set: at least 0, at most 1 / ((1 - q) m), summing to 1."""
        limit = 1.0 / ((1.0 - self.level) * len(weights))
        moved = np.clip(np.nan_to_num(weights), 0.0, limit)
        short = 1.0 - moved.sum()
        room = limit - moved if short > 0 else moved
        return np.asarray(moved + short * room / (room.sum() or 1.0))


def with_turnover(total: SeparableTotal, previous: Float, price: float) -> SeparableTotal:
    """total + price |x - previous| - price * previous: two steps an interval, so it stays separable."""
    n, k = total.depth.shape
    depth = total.depth if k else np.full((n, 1), np.inf)
    premium = total.premium if k else np.zeros((n, 1))
    before = np.hstack([np.zeros((n, 1)), np.cumsum(depth[:, :-1], axis=1)])
    nearer = np.clip(previous[:, None] - before, 0.0, depth)
    split = np.stack([nearer, depth - nearer], axis=2).reshape(n, -1)
    priced = np.stack([premium - price, premium + price], axis=2).reshape(n, -1)
    return dataclasses.replace(total, depth=split, premium=np.maximum.accumulate(priced, axis=1))


def weighted_sum(totals: Sequence[SeparableTotal], weights: Float, x: Float) -> SeparableTotal:
    """sum_j weights_j C_j; powers unlike those of the last total by their tangents at x, but for a constant."""
    power = totals[-1].power
    linear, scale = np.zeros(len(x)), np.zeros(len(x))
    for weight, total in zip(weights, totals, strict=True):
        same = total.power == power
        scale += weight * np.where(same, total.scale, 0.0)
        tangent = total.scale * total.power * np.maximum(x, np.finfo(float).tiny) ** (total.power - 1.0)
        linear += weight * (total.linear + np.where(same, 0.0, tangent))
    quadratic, cubic = (
        sum(w * getattr(c, name) for w, c in zip(weights, totals, strict=True)) for name in ("quadratic", "cubic")
    )
    return SeparableTotal(linear, quadratic, cubic, scale, power, *_summed_steps(totals, weights))


def _summed_steps(totals: Sequence[SeparableTotal], weights: Float) -> tuple[Float, Float]:
    """Steps of the weighted sum: those of all totals, cut at each other's ends, (n, sum of K) each."""
    stepped = [(w, c) for w, c in zip(weights, totals, strict=True) if c.depth.shape[1]]
    if not stepped:
        return totals[0].depth, totals[0].premium
    ends = [np.cumsum(total.depth, axis=1) for _, total in stepped]
    cuts = np.sort(np.hstack(ends), axis=1)
    begins = np.hstack([np.zeros((len(cuts), 1)), cuts[:, :-1]])
    depth = np.subtract(cuts, begins, out=np.zeros_like(cuts), where=begins < cuts)
    premium = np.zeros_like(cuts)
    for (weight, total), end in zip(stepped, ends, strict=True):
        step = np.sum(end[:, None, :] <= begins[:, :, None], axis=2)
        premium += weight * np.take_along_axis(total.premium, np.minimum(step, end.shape[1] - 1), axis=1)
    return depth, np.maximum.accumulate(premium, axis=1)


def _powers(curve: ImpactCurve, objective: str) -> tuple[Float, ...]:
    """Powers of x that the fitted coefficients multiply, in the order of `ImpactFit.cov`."""
    extra, one = float(is_cost(objective)), np.ones(len(curve))
    if isinstance(curve, LinearImpact):
        return ((1.0 + extra) * one,)
    if isinstance(curve, QuadraticImpact):
        return (2.0 + extra) * one, (1.0 + extra) * one
    if isinstance(curve, PowerImpact):
        return (curve.exponent + extra,)
    raise ValidationError(f"robust needs a linear, quadratic or power curve, got {type(curve).__name__}")


def _root(covariance: Float) -> Float:
    """Lower triangular L, no entry below 0, with L L' = covariance, (n, p, p), p at most 2."""
    root = np.zeros_like(covariance)
    root[:, 0, 0] = np.sqrt(covariance[:, 0, 0])
    if covariance.shape[1] == 2:
        own = covariance[:, 1, 1]
        np.divide(covariance[:, 1, 0], root[:, 0, 0], out=root[:, 1, 0], where=root[:, 0, 0] > 0)
        root[:, 1, 1] = np.sqrt(np.maximum(own - root[:, 1, 0] ** 2, 0.0))
    return root


def _power_slope(x: Float, power: Float) -> Float:
    return np.asarray(power * x ** (power - 1.0))


def per_interval(name: str, values: Any, n: int, low: float = 0.0) -> Float:
    """A number or (n,) as (n,), each at least `low`: finite, but of bounds (low -inf), where only NaN is refused."""
    array = numbers(name, values)
    if array.shape not in ((), (n,)):
        raise ValidationError(f"{name} must be a number or ({n},), one an interval, got shape {array.shape}")
    bad = np.atleast_1d(np.isnan(array) if low == -np.inf else ~(np.isfinite(array) & (array >= low)))
    if bad.any():
        t = int(np.argmax(bad))
        where = f" in interval {t}" if array.ndim else ""
        limit = "a number or infinite" if low == -np.inf else f"finite and at least {low:g}"
        raise ValidationError(f"{name} must be {limit}, got {np.atleast_1d(array)[t]:g}{where}")
    return np.array(np.broadcast_to(array, (n,)))

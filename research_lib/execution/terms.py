"""Terms beside the cost of the child orders: they couple the intervals, or ask for safety.

Users give :class:`ConvexTerms`, a kernel and a risk aversion; solvers take :class:`Terms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number, numbers, per_interval
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.execution.quadratic import DenseDecay, StateDecay, decay_of
from research_lib.impact import (
    ImpactCurve,
    Kernel,
    LinearImpact,
    PowerImpact,
    QuadraticImpact,
    SeparableTotal,
    at_lags,
    check_kernel,
    is_cost,
    polynomial_total,
    trade_times,
)

Float = NDArray[np.float64]
_totals: WeakKeyDictionary[ImpactCurve, dict[str, SeparableTotal]] = WeakKeyDictionary()


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
        coefficients, intervals independent (Ben-Tal and Nemirovski 1999). Negative covariances
        count as 0, which can only raise the worst case and keeps it convex.
    covariance : (n, p, p)
        Sigma_t as in `ImpactFit.cov`: of (beta), (alpha, beta) or (scale).
    scenarios : sequence of ImpactCurve, n intervals each
        Equally likely curves: their CVaR takes the place of the curve's own cost.
    cvar_level : [0, 1)
        q: the mean over the most expensive 1 - q of the scenarios; 0 is their mean.

    Examples
    --------
    >>> from research_lib.execution import allocate
    >>> curve = LinearImpact([1e-5, 2e-5, 4e-5])
    >>> allocate(curve, 700, terms=ConvexTerms(smoothness=1e-4)).shares.round(1).tolist()
    [260.5, 234.9, 204.7]
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
        if not isinstance(curves, Sequence) or not all(isinstance(c, ImpactCurve) for c in curves):
            what = f"got {str(curves)[:60]}"
            raise ValidationError(f"scenarios must be a sequence of ImpactCurve, {what}")
        if self.cvar_level and not self.scenarios:
            raise ValidationError("cvar_level needs scenarios; give them, or leave cvar_level at 0")
        for weight, needs in (("turnover", "previous"), ("robust", "covariance")):
            if getattr(self, weight) and getattr(self, needs) is None:
                raise ValidationError(f"{weight} needs {needs}; give it, or leave {weight} at 0")

    def loadings(
        self, curve: ImpactCurve, objective: str
    ) -> tuple[tuple[Float, ...], Float | None]:
        """Powers of x that the coefficients multiply; kappa times a root of their covariances."""
        if not self.robust:
            return (), None
        powers = _powers(curve, objective)
        covariance, shape = numbers("covariance", self.covariance), (len(curve), *2 * [len(powers)])
        if covariance.shape != shape:
            size = ", ".join(map(str, shape))
            raise ValidationError(
                f"covariance must be ({size}) as ImpactFit.cov, got {covariance.shape}"
            )
        bad = ~np.isfinite(covariance).all(axis=(1, 2))
        bad |= (np.diagonal(covariance, axis1=1, axis2=2) < 0).any(axis=1)
        if bad.any():
            raise ValidationError(
                f"covariance is not finite, or a variance is negative, in {int(bad.sum()):,} "
                "intervals, "
                f"first in {int(np.argmax(bad))}; put 0 where a coefficient is held at its bound"
            )
        return powers, self.robust * _root(np.maximum(covariance, 0.0))

    def scenario_totals(self, n: int, objective: str) -> tuple[SeparableTotal, ...]:
        """The scenarios' totals, each checked to be a convex curve of n intervals."""
        totals = tuple(scenario.total(objective) for scenario in self.scenarios)
        for j, (believed, total) in enumerate(zip(self.scenarios, totals, strict=True)):
            for name, values in believed.parameters().items():
                if missing := int(np.isnan(values).sum()):
                    raise ValidationError(f"scenario {j}: its {name} has {missing:,} NaN; refit it")
            if len(total) != n or total.non_convex().any():
                raise ValidationError(
                    f"scenario {j} must be a convex curve of {n} intervals; it has {len(total)}"
                )
        return totals


def total_of(curve: ImpactCurve, objective: str) -> SeparableTotal:
    """The curve's total, kept while the curve lives: its arrays are read-only, and checks are
    repeated less.
    """
    kept = _totals.setdefault(curve, {})
    if not isinstance(objective, str) or objective not in kept:
        total = curve.total(objective)
        kept[objective] = total
    return kept[objective]


def coupled(
    curve: ImpactCurve, objective: str, order: float, kernel: Kernel | None, times: Any,
    risk_aversion: float, covariance: Any, terms: ConvexTerms | None,
) -> tuple[SeparableTotal, Terms | None, float]:  # fmt: skip
    """The separable total, what couples the intervals (None if nothing does), and a constant.

    The arguments are those of `allocate`; see there.
    """
    n, weight = len(curve), number("risk_aversion", risk_aversion, 0)
    if weight and covariance is None:
        raise ValidationError(
            "risk_aversion needs covariance, of the mid's change over an interval"
        )
    if kernel is None and times is not None:
        raise ValidationError("times are of the kernel alone, and none is given: leave times out")
    variance = None if covariance is None else per_interval("covariance", covariance, n)
    holding = weight * variance if weight and variance is not None else None
    total, constant = total_of(curve, objective), 0.0
    if terms is None and kernel is None:
        return total, None if holding is None else Terms(order, holding), constant
    given = ConvexTerms() if terms is None else terms
    if not isinstance(given, ConvexTerms):
        raise ValidationError(f"terms must be ConvexTerms, got {type(given).__name__}")
    decay, borrowed = _decay(kernel, times, n, objective, total.quadratic)
    if given.scenarios:
        total = polynomial_total(np.zeros(n), np.zeros(n), np.zeros(n))
    if given.turnover:
        previous = per_interval("previous", given.previous, n)
        constant = given.turnover * float(previous.sum())
        total = _with_turnover(total, previous, given.turnover)
    others = given.smoothness or given.robust or given.scenarios
    if holding is None and decay is None and not others:
        return total, None, constant
    powers, factor = given.loadings(curve, objective)
    scenarios = given.scenario_totals(n, objective)
    rest = (powers, factor, scenarios, given.cvar_level, decay, borrowed)
    return total, Terms(order, holding, given.smoothness, *rest), constant


def _decay(
    kernel: Kernel | None, times: Any, n: int, objective: str, curvature: Float
) -> tuple[StateDecay | DenseDecay | None, float]:
    """The transient cost, and what curvature of the curve it needs to be convex, at most the least
    there is.
    """
    if kernel is None:
        return None, 0.0
    if objective != "cost":
        raise ValidationError("kernel needs objective='cost': transient impact is in currency")
    at = np.arange(float(n)) if times is None else trade_times(times)
    if len(at) != n:
        raise ValidationError(f"times must be ({n},), one an interval, got ({len(at)},)")
    decay = decay_of(kernel, at)
    try:
        check_kernel(kernel, at)
    except ValidationError:
        if not np.min(curvature) > 0.0:
            raise
        kernel_warnings(kernel, at, curvature)
        return decay, float(np.min(curvature))
    return decay, 0.0


def kernel_warnings(kernel: Kernel, times: Float, curvature: Float) -> tuple[str, ...]:
    """Warnings of `check_kernel`, the least of the trades' own impact, (n,), counted to its
    immediate part.

    Raises
    ------
    ValidationError
        The kernel pays for round trips whose own impact does not cost more.
    """
    if getattr(kernel, "free_of_manipulation", False):
        return ()
    immediate = 2.0 * max(float(curvature.min()), 0.0)

    def whole(lags: Any) -> Float:
        return at_lags(kernel, lags) + immediate * (lags == 0)

    return check_kernel(whole if immediate else kernel, times).warnings


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms that couple intervals, ready to be solved: see `ConvexTerms` for the letters.

    `holding` is risk aversion times variance, (n,), on the square of what is held after each child
    order; `decay` the transient cost; `factor` L with kappa^2 Sigma = L L', (n, p, p), no entry
    below 0; `powers` those of phi, p arrays (n,). `borrowed`, per share**2, is the part of the
    curve's own curvature without which the decay would not be convex.
    """

    shares: float
    holding: Float | None = None
    smoothness: float = 0.0
    powers: tuple[Float, ...] = ()
    factor: Float | None = None
    scenarios: tuple[SeparableTotal, ...] = ()
    level: float = 0.0
    decay: StateDecay | DenseDecay | None = None
    borrowed: float = 0.0

    @property
    def quadratic(self) -> bool:
        """Whether the terms are a quadratic function of the shares."""
        return not self.scenarios and self.factor is None

    def value(self, x: Float) -> float:
        """The terms at x, currency."""
        held = self.shares - np.cumsum(x)
        value = float(np.sum(self.holding * held**2)) if self.holding is not None else 0.0
        value += self.smoothness * float(np.sum(np.diff(x) ** 2))
        value += self.decay.value(x) if self.decay is not None else 0.0
        if self.factor is not None:
            value += float(np.linalg.norm(_loaded(self.factor, [x**p for p in self.powers])))
        costs = self._costs(x)
        return value + (float(self._worst_weights(costs) @ costs) if self.scenarios else 0.0)

    def per_order(self, x: Float) -> float:
        """d value / d S at given x, currency per share: what one more share held from the start
        adds.
        """
        if self.holding is None:
            return 0.0
        return 2.0 * float(self.holding @ (self.shares - np.cumsum(x)))

    def gradient(self, x: Float) -> Float:
        """Of all terms but the scenarios', (n,) currency per share."""
        gradient = np.zeros(len(x))
        if self.holding is not None:
            weighted = self.holding * (self.shares - np.cumsum(x))
            gradient -= 2.0 * np.cumsum(weighted[::-1])[::-1]
        steps = 2.0 * self.smoothness * np.diff(x)
        gradient[1:] += steps
        gradient[:-1] -= steps
        if self.decay is not None:
            gradient += self.decay.product(x)
        if self.factor is not None:
            loadings = _loaded(self.factor, [x**p for p in self.powers])
            slopes = _loaded(self.factor, [p * x ** (p - 1.0) for p in self.powers])
            size = float(np.linalg.norm(loadings))
            gradient += np.sum(slopes * loadings, axis=1) / size if size > 0 else 0.0
        return gradient

    def minorant(
        self, total: SeparableTotal, x: Float, weights: Float | None
    ) -> tuple[SeparableTotal, float]:
        """A separable total nowhere above total + terms but for a constant, and its slack at x,
        currency.

        Smooth terms by their tangent, with `borrowed` of the curvature where they lie below it;
        CVaR, the largest of weighted means over the scenarios, by one mean.
        """
        linear = total.linear + self.gradient(x)
        if self.borrowed:
            linear = linear + 2.0 * self.borrowed * x
            total = replace(total, quadratic=total.quadratic - self.borrowed)
        below = replace(total, linear=linear)
        if not self.scenarios:
            return below, 0.0
        costs = self._costs(x)
        worst = self._worst_weights(costs)
        chosen = worst if weights is None else self._admissible(weights)
        mean = _weighted_sum([below, *self.scenarios], np.append(1.0, chosen), x)
        return mean, max(float((worst - chosen) @ costs), 0.0)

    def scaled(self, unit: float, currency: float) -> Terms:
        """The same terms with shares in `unit` and cost in `currency`."""
        square = unit**2 / currency
        factor = self.factor
        if factor is not None:
            powers = np.stack([unit**p for p in self.powers], axis=1)
            factor = factor * powers[:, :, None] / currency
        return replace(
            self,
            shares=self.shares / unit,
            holding=None if self.holding is None else self.holding * square,
            smoothness=self.smoothness * square,
            factor=factor,
            scenarios=tuple(scenario.scaled(unit, currency) for scenario in self.scenarios),
            decay=None if self.decay is None else self.decay.scaled(square),
            borrowed=self.borrowed * square,
        )

    def _costs(self, x: Float) -> Float:
        return np.array([np.sum(scenario.value(x)) for scenario in self.scenarios])

    def _worst_weights(self, costs: Float) -> Float:
        """The scenarios' weights in CVaR: the most expensive first, each up to 1 / ((1 - q) m)."""
        limit = 1.0 / ((1.0 - self.level) * max(len(costs), 1))
        weights = np.empty(len(costs))
        left = 1.0 - limit * np.arange(len(costs))
        weights[np.argsort(-costs, kind="stable")] = np.clip(left, 0.0, limit)
        return weights / (weights.sum() or 1.0)

    def _admissible(self, weights: Float) -> Float:
        """Weights moved into CVaR's set: at least 0, at most 1 / ((1 - q) m), summing to 1."""
        limit = 1.0 / ((1.0 - self.level) * len(weights))
        moved = np.clip(np.nan_to_num(weights), 0.0, limit)
        short = 1.0 - moved.sum()
        room = limit - moved if short > 0 else moved
        return np.asarray(moved + short * room / (room.sum() or 1.0))


def _loaded(factor: Float, features: list[Float]) -> Float:
    """L' times p features, (n,) each -> (n, p)."""
    return np.asarray(np.einsum("tij,ti->tj", factor, np.stack(features, axis=1)))


def _with_turnover(total: SeparableTotal, previous: Float, price: float) -> SeparableTotal:
    """total + price |x - previous| - price * previous: two steps an interval, so it stays
    separable.
    """
    n, k = total.depth.shape
    depth = total.depth if k else np.full((n, 1), np.inf)
    premium = total.premium if k else np.zeros((n, 1))
    before = np.hstack([np.zeros((n, 1)), np.cumsum(depth[:, :-1], axis=1)])
    nearer = np.clip(previous[:, None] - before, 0.0, depth)
    split = np.stack([nearer, depth - nearer], axis=2).reshape(n, -1)
    priced = np.stack([premium - price, premium + price], axis=2).reshape(n, -1)
    return replace(total, depth=split, premium=np.maximum.accumulate(priced, axis=1))


def _weighted_sum(totals: Sequence[SeparableTotal], weights: Float, x: Float) -> SeparableTotal:
    """sum_j weights_j C_j; powers unlike those of the last total by their tangents at x, but for a
    constant.
    """
    power = totals[-1].power
    linear, scale, quadratic, cubic = np.zeros((4, len(x)))
    for weight, total in zip(weights, totals, strict=True):
        same = total.power == power
        rise = np.maximum(x, np.finfo(float).tiny) ** (total.power - 1.0)
        slope = total.scale * total.power * rise
        scale += weight * np.where(same, total.scale, 0.0)
        linear += weight * (total.linear + np.where(same, 0.0, slope))
        quadratic += weight * total.quadratic
        cubic += weight * total.cubic
    return SeparableTotal(linear, quadratic, cubic, scale, power, *_summed_steps(totals, weights))


def _summed_steps(totals: Sequence[SeparableTotal], weights: Float) -> tuple[Float, Float]:
    """Steps of the weighted sum: those of all totals, cut at each other's ends, (n, sum of K)
    each.
    """
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
        last = np.minimum(step, end.shape[1] - 1)
        premium += weight * np.take_along_axis(total.premium, last, axis=1)
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
    kind = type(curve).__name__
    raise ValidationError(f"robust needs a linear, quadratic or power curve, got {kind}")


def _root(covariance: Float) -> Float:
    """Lower triangular L, no entry below 0, with L L' = covariance, (n, p, p), p at most 2."""
    root = np.zeros_like(covariance)
    root[:, 0, 0] = np.sqrt(covariance[:, 0, 0])
    if covariance.shape[1] == 2:
        own = covariance[:, 1, 1]
        np.divide(covariance[:, 1, 0], root[:, 0, 0], out=root[:, 1, 0], where=root[:, 0, 0] > 0)
        root[:, 1, 1] = np.sqrt(np.maximum(own - root[:, 1, 0] ** 2, 0.0))
    return root

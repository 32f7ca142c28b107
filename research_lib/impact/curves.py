r"""Impact curves g_t(x), one an interval.

Per share, slippage_t(x) = half_spread_t + impact_t(x). Impact is relative to the touch
and vanishes at x -> 0. A schedule x has one of two totals, and they have different optima:

- "cost":   sum_t x_t slippage_t(x_t), currency;
- "impact": sum_t impact_t(x_t), the sum of g_t(x_t) read literally, no spread term.

Each family gives its totals as a :class:`SeparableTotal`; everything else follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, numbers, per_interval, positions, refuse_unknown, same_labels
from research_lib.config import Record
from research_lib.errors import OptimizationError, ValidationError
from research_lib.impact.separable import SeparableTotal, polynomial_total, stacked
from research_lib.market import BookSnapshots
from research_lib.market.book import side_sign


class ImpactCurve(Record):
    """Base of the families: n intervals, each method takes a scalar or (n,) and returns (n,).

    A family gives `total(objective)`; everything else follows from it. Shares are finite
    and at least 0; a parameter that is NaN makes its own interval NaN, and `allocate`
    refuses it. A pandas Series, of parameters or of shares, is aligned by its labels, the
    intervals 0 to n - 1.

    Raises
    ------
    ValidationError
        Parameters that are not numbers, not one length, or labelled by anything but the
        intervals; shares below 0 or of another shape.

    Examples
    --------
    >>> curve = LinearImpact([1e-5, 2e-5], half_spread=0.01)
    >>> isinstance(curve, ImpactCurve), len(curve), curve.take([1, 1, 0]).beta.tolist()
    (True, 2, [2e-05, 2e-05, 1e-05])
    """

    half_spread: Any
    largest_size: ClassVar[Any] = np.inf  # of a fitted curve: (n,) shares, largest size fitted

    def __post_init__(self) -> None:
        arrays = {name: np.atleast_1d(_by_interval(name, self[name])) for name in self.keys()}
        n = max(array.size for array in arrays.values())
        if any(array.shape not in ((1,), (n,)) or not array.size for array in arrays.values()):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise ValidationError(f"parameters must be numbers or (n,), one n >= 1, got {shapes}")
        self._keep(**{name: np.broadcast_to(array, n) for name, array in arrays.items()})

    def _keep(self, **arrays: Float) -> None:
        for name, array in arrays.items():
            own = np.array(array)
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    def __len__(self) -> int:
        return len(self.half_spread)

    def _terms(self) -> tuple[Any, ...]:
        """Impact as b x + c x^2 + s x^p: b, c, s and p."""
        raise NotImplementedError

    def total(self, objective: str = "cost") -> SeparableTotal:
        """The objective of an allocation, by interval: "cost" or "impact" (see the module)."""
        refuse_unknown([objective], ("cost", "impact"), "objective")
        if objective not in self._totals:
            self._totals[objective] = self._total(objective)
        return self._totals[objective]

    @cached_property
    def _totals(self) -> dict[str, SeparableTotal]:
        return {}

    def _total(self, objective: str) -> SeparableTotal:
        linear, quadratic, scale, power = self._terms()
        if objective == "cost":
            return polynomial_total(self.half_spread, linear, quadratic, scale, 1.0 + power)
        return polynomial_total(linear, quadratic, np.zeros(len(self)), scale, power)

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share."""
        return self.total("impact").value(self._shares(x))

    def slippage(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the mid: half_spread + impact, currency per share."""
        return np.asarray(self.half_spread + self.impact(x))

    def cost(self, x: ArrayLike) -> Float:
        """x * slippage(x), currency."""
        return self.total().value(self._shares(x))

    def marginal_cost(self, x: ArrayLike) -> Float:
        """d cost / d x: the cost of the next share, currency per share."""
        return self.total().marginal(self._shares(x))

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x whose marginal cost reaches `price`; 0 below the half-spread, inf if never."""
        prices = per_interval("price", price, len(self), -np.inf, infinite=True)
        return self.total().shares_at_marginal(prices)

    def parameters(self) -> dict[str, Float]:
        """Every number of the curve by name: (n,), or (n, K) where each interval has K."""
        return {name: getattr(self, name) for name in self.keys()}

    def to_frame(self) -> pd.DataFrame:
        """The parameters, one row an interval; those of K steps as name_1 to name_K."""
        columns: dict[str, Float] = {}
        for name, values in self.parameters().items():
            steps = {f"{name}_{k}": step for k, step in enumerate(np.atleast_2d(values.T), 1)}
            columns |= steps if values.ndim > 1 else {name: values}
        return pd.DataFrame(columns).rename_axis("interval")

    def _shares(self, x: ArrayLike) -> Float:
        """Orders as (n,) shares, each at least 0."""
        return per_interval("shares", x, len(self), infinite=True)

    def take(self, intervals: ArrayLike) -> Self:
        """The curves of the chosen intervals, in that order; repeats are allowed."""
        at = np.atleast_1d(positions(intervals))
        taken = type(self)(*(getattr(self, name)[at] for name in self.keys()))
        return taken.fitted_up_to(np.broadcast_to(self.largest_size, len(self))[at])

    def fitted_up_to(self, sizes: Any) -> Self:
        """The curve with the largest size, (n,) shares, of its fit."""
        object.__setattr__(self, "largest_size", sizes)
        return self


@dataclass(frozen=True, eq=False)
class LinearImpact(ImpactCurve):
    r"""impact_t(x) = beta_t x, so cost_t(x) = half_spread_t x + beta_t x^2.

    The average price; the marginal price of the last share rises twice as fast.

    Attributes
    ----------
    beta : (n,) currency per share**2
    half_spread : (n,) currency per share

    Examples
    --------
    >>> LinearImpact([1e-5, 2e-5], half_spread=0.01).cost(1000).tolist()
    [20.0, 30.0]
    """

    beta: Any
    half_spread: Any = 0.0

    def _terms(self) -> tuple[Any, ...]:
        return self.beta, 0.0, 0.0, 1.0


@dataclass(frozen=True, eq=False)
class QuadraticImpact(ImpactCurve):
    r"""impact_t(x) = alpha_t x^2 + beta_t x.

    The cost is half_spread_t x + beta_t x^2 + alpha_t x^3.

    Attributes
    ----------
    alpha : (n,) currency per share**3
    beta : (n,) currency per share**2
    half_spread : (n,) currency per share

    Examples
    --------
    >>> QuadraticImpact(1e-8, 1e-5).impact(1000).round(6).tolist()
    [0.02]
    """

    alpha: Any
    beta: Any
    half_spread: Any = 0.0

    def _terms(self) -> tuple[Any, ...]:
        return self.beta, self.alpha, 0.0, 1.0


@dataclass(frozen=True, eq=False)
class PowerImpact(ImpactCurve):
    r"""impact_t(x) = scale_t x^exponent_t.

    The cost, half_spread_t x + scale_t x^(1 + exponent_t), is convex for every exponent above
    0. The literal sum, "impact", is concave for exponents below 1: its stationary point is a
    maximum.

    Attributes
    ----------
    scale : (n,) currency per share**(1 + exponent)
    exponent : (n,) above 0
    half_spread : (n,) currency per share

    Examples
    --------
    >>> PowerImpact(1e-3, 0.5).marginal_cost(10_000).round(6).tolist()
    [0.15]
    """

    scale: Any
    exponent: Any
    half_spread: Any = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (bad := self.exponent <= 0).any():
            got = f"{self.exponent[bad][0]:g} in interval {int(np.argmax(bad))}"
            raise ValidationError(f"exponent must be above 0, got {got}: no impact at x -> 0")

    def _terms(self) -> tuple[Any, ...]:
        return 0.0, 0.0, self.scale, self.exponent


def square_root_impact(scale: ArrayLike, half_spread: ArrayLike = 0.0) -> PowerImpact:
    """impact_t(x) = scale_t sqrt(x): the power law of exponent 1/2, currency per share**1.5.

    Examples
    --------
    >>> square_root_impact(1e-3).impact(10_000).round(6).tolist()
    [0.1]
    """
    return PowerImpact(scale, 0.5, half_spread)


@dataclass(frozen=True, eq=False)
class AlmgrenImpact(ImpactCurve):
    r"""Almgren, Thum, Hauptmann and Li (2005): impact_t(x) = permanent_t x / 2 + temporary_t x^0.6.

    On average the shares of a parent order pay only half of its permanent impact. Each interval is
    a separate order, worked evenly over its time.

    Attributes
    ----------
    temporary : (n,) currency per share**1.6
    permanent : (n,) currency per share**2
    half_spread : (n,) currency per share

    Examples
    --------
    >>> AlmgrenImpact(temporary=1e-4, permanent=2e-6).impact(100_000).round(6).tolist()
    [0.2]
    """

    temporary: Any
    permanent: Any
    half_spread: Any = 0.0

    @classmethod
    def from_market(
        cls, price: ArrayLike, volatility: ArrayLike, volume: ArrayLike,
        shares_outstanding: ArrayLike, duration: ArrayLike, half_spread: ArrayLike = 0.0,
    ) -> Self:  # fmt: skip
        r"""The curve with the paper's universal coefficients.

        .. math:: \frac{I}{P} = 0.314\,\sigma \frac XV \Big(\frac\Theta V\Big)^{1/4}, \qquad
                  \frac JP = \frac{I}{2P} + 0.142\,\sigma \Big|\frac{X}{VT}\Big|^{3/5}

        Parameters
        ----------
        price : currency per share
        volatility : fraction of the price, one day's standard deviation
        volume : shares a day (V)
        shares_outstanding : shares (Theta)
        duration : days that each interval lasts (T)

        References
        ----------
        Almgren, Thum, Hauptmann, Li: Direct estimation of equity market impact, Risk 18(7), 2005,
        coefficients of section 4.3.
        """
        names = "price", "volatility", "volume", "shares_outstanding", "duration"
        given = price, volatility, volume, shares_outstanding, duration
        p, sigma, v, theta, t = map(_by_interval, names, given)
        temporary = 0.142 * p * sigma * (v * t) ** -0.6
        return cls(temporary, 0.314 * p * sigma / v * (theta / v) ** 0.25, half_spread)

    def _terms(self) -> tuple[Any, ...]:
        return self.permanent / 2.0, 0.0, self.temporary, 0.6


@dataclass(frozen=True, eq=False)
class PiecewiseLinearImpact(ImpactCurve):
    r"""The walked book: steps of depth_tk shares at premium_tk beyond the touch.

    .. math:: cost_t(x) = h_t x
              + \sum_k premium_{tk} \min(depth_{tk}, (x - \sum_{j<k} depth_{tj})^+)

    The expected cost of walking a random book is convex and piecewise linear too, so no functional
    form is assumed. Beyond the last step the cost is unknown and NaN.

    Attributes
    ----------
    depth : (n, K) shares, 0 or more
    premium : (n, K) currency per share, non-decreasing along the steps
    half_spread : (n,) currency per share

    Examples
    --------
    >>> book = PiecewiseLinearImpact([[100.0, 50.0]], [[0.0, 0.3]], half_spread=0.1)
    >>> [book.slippage(x).round(6).tolist() for x in (100, 150, 151)]
    [[0.1], [0.2], [nan]]
    """

    depth: Any
    premium: Any
    half_spread: Any = 0.0

    def __post_init__(self) -> None:
        depth, premium = (np.atleast_2d(_by_interval(k, self[k])) for k in ("depth", "premium"))
        spread = np.atleast_1d(_by_interval("half_spread", self.half_spread))
        one_each = depth.shape == premium.shape and depth.ndim == 2
        if not one_each or not depth.size or spread.shape not in ((1,), depth.shape[:1]):
            shapes = f"depth {depth.shape} and premium {premium.shape} must both be (n, K)"
            raise ValidationError(f"{shapes}, half_spread (n,); an empty book has one of depth 0")
        bad = ~((depth >= 0) & (depth < np.inf) & np.isfinite(premium))
        bad[:, 1:] |= premium[:, 1:] < premium[:, :-1]
        if bad.any():
            t, k = np.argwhere(bad)[0]
            rule = "depth must be finite and 0 or more, premium finite and non-decreasing"
            got = f"interval {t}, step {k} has depth {depth[t, k]:g} and premium {premium[t, k]:g}"
            remedy = "give an empty step depth 0 and the premium before it"
            raise ValidationError(f"{rule}; {got}; {remedy}")
        self._keep(depth=depth, premium=premium, half_spread=np.broadcast_to(spread, len(depth)))

    @classmethod
    def from_books(cls, books: BookSnapshots, side: str) -> Self:
        """One curve a book: n snapshots with L levels give n intervals with L steps.

        Levels are walked away from the mid, whatever their order. Premiums are measured from the
        touch; the half-spread is negative where the book is crossed. Where a side is empty there is
        no mid: depth, premium and half-spread are 0, and nothing can be traded.

        Parameters
        ----------
        books : BookSnapshots
        side : "buy" or "sell"
            "buy" walks the asks, "sell" the bids.

        Raises
        ------
        ValidationError
            An unknown side, or no book.
        """
        prices, sizes = books.levels(side)
        outwards = side_sign(side) * prices
        order = np.argsort(outwards, axis=1, kind="stable")  # the NaN of empty levels come last
        away, depth = (np.take_along_axis(part, order, axis=1) for part in (outwards, sizes))
        premium = np.fmax.accumulate(away - away[:, :1], axis=1)
        quoted = np.isfinite(books.mid)
        depth, premium = (np.where(quoted[:, None], one, 0.0) for one in (depth, premium))
        return cls(depth, premium, np.where(quoted, books.half_spread, 0.0))

    def _total(self, objective: str) -> SeparableTotal:
        if objective == "impact":
            raise OptimizationError('average price of a walked book is not convex: minimise "cost"')
        return polynomial_total(self.half_spread, steps=(self.depth, self.premium))

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share; NaN beyond the depth.

        At 0 the price of the first step that has shares.
        """
        shares = self._shares(x)
        first = np.argmax(self.depth > 0, axis=1)[:, None]
        at_zero = np.take_along_axis(self.premium, first, axis=1)[:, 0]
        return np.divide(self.total().walked(shares), shares, out=at_zero, where=shares > 0)


@dataclass(frozen=True, eq=False, init=False)
class CompositeImpact(ImpactCurve):
    """Different families in different intervals: curves joined one after another.

    Attributes
    ----------
    curves : tuple of ImpactCurve
    half_spread : (n,) currency per share

    Examples
    --------
    >>> CompositeImpact([LinearImpact(1e-5), square_root_impact(1e-3)]).impact(10_000).tolist()
    [0.1, 0.1]
    """

    curves: tuple[ImpactCurve, ...]
    half_spread: Any

    def __init__(self, curves: Sequence[ImpactCurve]) -> None:
        parts = tuple(curves)
        object.__setattr__(self, "curves", parts)
        self.fitted_up_to(np.hstack([np.broadcast_to(c.largest_size, len(c)) for c in parts]))
        self._keep(half_spread=np.concatenate([curve.half_spread for curve in parts]))

    def _total(self, objective: str) -> SeparableTotal:
        return stacked([curve.total(objective) for curve in self.curves])

    def impact(self, x: ArrayLike) -> Float:
        """Average price of x shares beyond the touch, currency per share."""
        ends = np.cumsum([len(curve) for curve in self.curves])
        pieces = zip(self.curves, np.split(self._shares(x), ends[:-1]), strict=True)
        return np.concatenate([curve.impact(piece) for curve, piece in pieces])

    def parameters(self) -> dict[str, Float]:
        """Every part's parameters, named as curves[0].beta."""
        parts = enumerate(curve.parameters() for curve in self.curves)
        return {f"curves[{k}].{name}": part[name] for k, part in parts for name in part}

    def to_frame(self) -> pd.DataFrame:
        """The parts' frames one below another; NaN where a part has no such parameter."""
        frames = [curve.to_frame() for curve in self.curves]
        return pd.concat(frames, ignore_index=True).rename_axis("interval")

    def take(self, intervals: ArrayLike) -> Self:
        """The curves of the chosen intervals, in that order."""
        each = [curve.take(t) for curve in self.curves for t in range(len(curve))]
        chosen = np.atleast_1d(np.arange(len(self))[positions(intervals)])
        return type(self)([each[t] for t in chosen])


def _by_interval(name: str, values: Any) -> Float:
    """Values as floats; pandas objects in the order of their labels, the intervals 0 to n - 1."""
    if isinstance(values, pd.Series | pd.DataFrame):
        intervals = range(len(values))
        due = f"intervals are labelled 0 to {len(intervals) - 1}"
        same_labels(name, values.index.to_series(), intervals, due)
        values = values.reindex(intervals)
    return numbers(name, values)

"""The totals that an allocation minimises: one convex function an interval, in one form."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from research_lib.checks import ArrayLike, Float, Mask
from research_lib.config import Record

UNUSED_POWER = 1.5
SMOOTH = ("linear", "quadratic", "cubic", "scale", "power")


@dataclass(frozen=True, eq=False)
class SeparableTotal(Record):
    r"""Total of each interval: a smooth part and the steps of a book.

    .. math:: C_t(x) = a_t x + b_t x^2 + c_t x^3 + s_t x^{p_t}
              + \sum_k \pi_{tk} \min\big(d_{tk}, (x - \sum_{j<k} d_{tj})^+\big)

    Every family of `curves`, and any mixture of families over the intervals, is of this
    form. It is convex on x >= 0 where b, c and s are at least 0 and p at least 1, for
    non-decreasing premiums.

    Attributes
    ----------
    linear, quadratic, cubic : (n,) currency per share, per share**2, per share**3
        a, b and c.
    scale, power : (n,) currency per share**p, none
        s and p. Powers 1, 2 and 3 belong to a, b and c: see `polynomial_total`.
    depth, premium : (n, K) shares, currency per share
        Size and price of each step, premiums non-decreasing; K is 0 where no interval has
        steps. An interval without steps among others has one of infinite depth and premium 0.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> total = LinearImpact([1e-5, 2e-5], half_spread=0.01).total("cost")
    >>> total.value(1000.0).tolist(), total.shares_at_marginal(0.05).round(6).tolist()
    ([20.0, 30.0], [2000.0, 1000.0])
    """

    linear: Float
    quadratic: Float
    cubic: Float
    scale: Float
    power: Float
    depth: Float
    premium: Float

    def __len__(self) -> int:
        return len(self.linear)

    @property
    def capacity(self) -> Float:
        """Largest x with a known total, (n,): the end of the last step, inf without steps."""
        return self._ends[:, -1] if self.depth.shape[1] else np.broadcast_to(np.inf, len(self))

    @cached_property
    def arrays(self) -> tuple[tuple[Float, ...], tuple[Float, Float]]:
        """Arrays for compiled code: (a, b, c, s, p) and (depth, premium), read-only.

        The latter are (0, 0) where all marginal costs are `lines`.
        """
        # Contiguous read-only views: one type for compiled code.
        *smooth, depth, premium = (np.ascontiguousarray(self[name])[:] for name in self.keys())
        if self.lines:
            depth = premium = np.empty((0, 0))
        for view in (*smooth, depth, premium):
            view.flags.writeable = False
        return tuple(smooth), (depth, premium)

    def value(self, x: ArrayLike) -> Float:
        """C_t(x_t), scalar or (n,) of x >= 0 -> (n,); NaN beyond the capacity."""
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        value: Float = ((self.cubic * shares + self.quadratic) * shares + self.linear) * shares
        if self.scale.any():
            value += self.scale * shares**self.power
        return value + self.walked(shares) if self.depth.shape[1] else value

    def walked(self, shares: Float) -> Float:
        """The part of C_t(x_t) from the steps, (n,) -> (n,); NaN beyond the capacity."""
        before = np.pad(self._ends[:, :-1], [(0, 0), (1, 0)])
        taken = np.clip(shares[:, None] - before, 0.0, self.depth)
        paid = np.einsum("tk,tk->t", taken, self.premium)
        return np.where(shares > self._ends[:, -1], np.nan, paid)

    def marginal(self, x: ArrayLike) -> Float:
        """C_t'(x_t+), the cost of the next share, (n,); inf at the capacity, NaN beyond."""
        return self._slope(x, following=True)

    def marginal_last(self, x: ArrayLike) -> Float:
        """C_t'(x_t-), the cost of the last share; not `marginal` only where a step ends."""
        return self._slope(x, following=False)

    def curvature(self, x: ArrayLike) -> Float:
        """C_t''(x_t) of the smooth part, (n,); inf at 0 for powers between 1 and 2."""
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            bend = self.scale * self.power * (self.power - 1.0) * shares ** (self.power - 2.0)
        polynomial: Float = 2.0 * self.quadratic + 6.0 * self.cubic * shares
        return polynomial + np.where(self.scale != 0, bend, 0.0)

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x >= 0 at which C_t'(x+) reaches `price`, scalar or (n,) -> (n,).

        0 where the price is at or below C_t'(0); the capacity, or inf, where no x reaches it.
        """
        nu = np.broadcast_to(np.asarray(price, float), self.linear.shape)
        smooth = self.quadratic, self.cubic, self.scale, self.power
        if not self.depth.shape[1]:
            return _inverse(nu - self.linear, *smooth)
        # The same sum as in `_slope`, so that a price equal to a step's leaves no rounding error.
        excess = nu[:, None] - (self.linear[:, None] + self.premium)
        # Step k is cheaper than the price up to x = reach_k within it; the last such step counts.
        reach = np.minimum(_inverse(excess, *(part[:, None] for part in smooth)), self._ends)
        found: Float = reach.max(axis=1)
        found[np.isnan(excess[:, 0])] = np.nan
        return found

    @cached_property
    def finite(self) -> bool:
        """Whether every coefficient and premium is finite, and every depth at least 0."""
        smooth = all(np.isfinite(getattr(self, name)).all() for name in (*SMOOTH, "premium"))
        return bool(smooth and np.all(self.depth >= 0))

    @cached_property
    def lines(self) -> bool:
        """Whether every marginal cost is a rising line: no steps, no x^3, no x^p."""
        curved = self.depth.shape[1] or self.cubic.any() or self.scale.any()
        return bool(self.finite and not curved and (self.quadratic > 0).all())

    def take(self, intervals: Any) -> Self:
        """The totals of the chosen intervals."""
        return type(self)(*(getattr(self, name)[intervals] for name in self.keys()))

    def non_convex(self) -> Mask:
        """Intervals, (n,), whose total is not known to be convex on x >= 0."""
        if self.lines:  # known once, which saves three passes over very many intervals
            return np.zeros(len(self), bool)
        concave_power = (self.scale != 0) & ((self.scale < 0) != (self.power < 1.0))
        return (self.quadratic < 0) | (self.cubic < 0) | concave_power

    def scaled(self, shares: float, currency: float) -> Self:
        """The same totals with x in units of `shares` and C in units of `currency`."""
        unit = shares / currency
        squares, cubes = self.quadratic * unit * shares, self.cubic * unit * shares**2
        powers, steps = self.scale * shares**self.power / currency, self.depth / shares
        own = self.linear * unit, squares, cubes, powers, self.power, steps, self.premium * unit
        return type(self)(*own)

    @cached_property
    def _ends(self) -> Float:
        """Shares in each step and those before it, (n, K)."""
        return np.cumsum(self.depth, axis=1)

    def _slope(self, x: ArrayLike, following: bool) -> Float:
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = self.scale * self.power * shares ** (self.power - 1.0)
        slope: Float = self.linear + shares * (2.0 * self.quadratic + 3.0 * shares * self.cubic)
        slope += np.where(self.scale != 0, rise, 0.0)
        if not self.depth.shape[1]:
            return slope
        compare = np.less_equal if following else np.less
        step = compare(self._ends, shares[:, None]).sum(axis=1)
        last = np.minimum(step, self.depth.shape[1] - 1)
        price = slope + np.take_along_axis(self.premium, last[:, None], axis=1)[:, 0]
        price[step > last] = np.inf
        return np.where(shares > self._ends[:, -1], np.nan, price)


def _inverse(excess: Float, b: Float, c: Float, s: Float, p: Float) -> Float:
    """Least x >= 0 at which 2 b x + 3 c x^2 + s p x^(p-1) reaches `excess`.

    The others broadcast to its shape. 0 where `excess` is at or below 0, inf where no x
    reaches it, NaN where it is NaN.
    """
    above = np.maximum(excess, 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The root of 3 c x^2 + 2 b x = excess, in a form that keeps all digits as c -> 0.
        slope = b + np.sqrt(b * b + 3.0 * c * above)
        x: Float = np.divide(above, slope, out=np.zeros_like(above), where=above != 0.0)
        x[np.isnan(x) & ~np.isnan(above)] = np.inf  # no real root, or an infinite excess
        if not s.any():
            return x
        x = np.where(s != 0, np.minimum(x, (above / (s * p)) ** (1.0 / (p - 1.0))), x)
    mixed = (s != 0) & (slope > 0.0) & (x > 0.0) & (x < np.inf)
    if mixed.any():
        parts = (np.broadcast_to(part, x.shape)[mixed] for part in (above, b, c, s, p))
        x[mixed] = _search(x[mixed], *parts)
    return x


def _search(root: Float, target: Float, b: Float, c: Float, s: Float, p: Float) -> Float:
    """The root below the least root of the single terms."""
    from scipy.optimize.elementwise import find_root

    def excess(x: Float, target: Float, b: Float, c: Float, s: Float, p: Float) -> Float:
        return 2.0 * b * x + 3.0 * c * x**2 + s * p * x ** (p - 1.0) - target

    beyond = 2.0 * root  # rounding of the least root does not matter
    return find_root(excess, (np.zeros_like(root), beyond), args=(target, b, c, s, p)).x


def polynomial_total(
    linear: ArrayLike, quadratic: ArrayLike = 0.0, cubic: ArrayLike = 0.0, scale: ArrayLike = 0.0,
    power: ArrayLike = UNUSED_POWER, steps: tuple[Float, Float] | None = None,
) -> SeparableTotal:  # fmt: skip
    """linear x + quadratic x^2 + cubic x^3 + scale x^power, numbers or (n,), by default no steps.

    Powers 1, 2 and 3 are added to the polynomial, whose inverse has a closed form.

    Examples
    --------
    >>> import numpy as np
    >>> polynomial_total(np.array([0.5]), 2.0).value(3.0).tolist()
    [19.5]
    """
    *parts, scale, power = np.broadcast_arrays(linear, quadratic, cubic, scale, power)
    a, b, c = (own + np.where(power == k, scale, 0.0) for k, own in enumerate(parts, start=1))
    rest = np.where((power == 1) | (power == 2) | (power == 3), 0.0, scale)
    used, empty = np.where(rest != 0, power, UNUSED_POWER), np.empty((len(rest), 0))
    return SeparableTotal(a, b, c, rest, used, *(steps or (empty, empty)))


def stacked(totals: list[SeparableTotal]) -> SeparableTotal:
    """Totals one after another over the intervals, steps padded to the longest.

    A total without steps among others gets one of infinite depth.
    """
    longest, steps = max(total.depth.shape[1] for total in totals), []
    for total in totals:
        depth, premium = total.depth, total.premium
        if longest and not depth.shape[1]:
            depth, premium = np.full((len(total), 1), np.inf), np.zeros((len(total), 1))
        behind = [(0, 0), (0, longest - depth.shape[1])]
        steps.append((np.pad(depth, behind), np.pad(premium, behind, mode="edge")))
    smooth = (np.concatenate([total[name] for total in totals]) for name in SMOOTH)
    return SeparableTotal(*smooth, *(np.vstack(parts) for parts in zip(*steps, strict=True)))

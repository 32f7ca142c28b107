"""The totals that an allocation minimises: separable, one convex function an interval, all families in one form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record

Float = NDArray[np.float64]
LONGEST_SEARCH = 100


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
        s and p. Powers 1, 2 and 3 stand in a, b and c: see `smooth_total`.
    depth, premium : (n, K) shares, currency per share
        Size and price of each step, premiums non-decreasing; K is 0 where no interval has
        steps. An interval without steps among others has one of infinite depth and premium 0.
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
        """Largest x with a known total, (n,) shares: the sum of the steps, inf without steps."""
        return self.depth.sum(axis=1) if self.depth.shape[1] else np.full(len(self), np.inf)

    def value(self, x: ArrayLike) -> Float:
        """C_t(x_t), scalar or (n,) -> (n,); NaN beyond the capacity."""
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        value: Float = shares * (self.linear + shares * (self.quadratic + shares * self.cubic))
        if self.scale.any():
            value = value + self.scale * shares**self.power
        if self.depth.shape[1]:
            taken = np.minimum(np.maximum(shares[:, None] - self._before(), 0.0), self.depth)
            value = np.where(shares <= self.capacity, value + np.sum(self.premium * taken, axis=1), np.nan)
        return value

    def marginal(self, x: ArrayLike) -> Float:
        """C_t'(x_t+), what the next share costs, scalar or (n,) -> (n,); inf at the capacity, NaN beyond."""
        return self._slope(x, following=True)

    def marginal_last(self, x: ArrayLike) -> Float:
        """C_t'(x_t-), what the last share cost; differs from `marginal` only where a step of the book ends."""
        return self._slope(x, following=False)

    def curvature(self, x: ArrayLike) -> Float:
        """C_t''(x_t) of the smooth part, scalar or (n,) -> (n,); inf at 0 for powers between 1 and 2."""
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        curvature: Float = 2.0 * self.quadratic + 6.0 * self.cubic * shares
        if self.scale.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                bend = self.scale * self.power * (self.power - 1.0) * shares ** (self.power - 2.0)
            curvature = curvature + np.where(self.scale != 0, bend, 0.0)
        return curvature

    def shares_at_marginal(self, price: ArrayLike) -> Float:
        """Least x >= 0 at which C_t'(x+) reaches `price`, scalar or (n,) -> (n,).

        0 where the price is at or below C_t'(0); the capacity, or inf, where no x reaches it.
        """
        excess = np.broadcast_to(np.asarray(price, float), self.linear.shape) - self.linear
        if not self.depth.shape[1]:
            return self._smooth_inverse(excess)
        reach = np.column_stack([self._smooth_inverse(excess - step) for step in self.premium.T])
        before = self._before()
        beyond = np.subtract(reach, before, out=np.zeros_like(reach), where=np.isfinite(before))
        return np.clip(beyond, 0.0, self.depth).sum(axis=1)

    def non_convex(self) -> NDArray[np.bool_]:
        """Intervals, (n,), whose total is not known to be convex on x >= 0."""
        concave = (self.scale != 0) & ((self.scale < 0) != (self.power < 1.0))
        return (self.quadratic < 0) | (self.cubic < 0) | concave

    def scaled(self, shares: float, currency: float) -> SeparableTotal:
        """The same totals with x in units of `shares` and C in units of `currency`."""
        unit = shares / currency
        return SeparableTotal(
            self.linear * unit,
            self.quadratic * unit * shares,
            self.cubic * unit * shares**2,
            self.scale * shares**self.power / currency,
            self.power,
            self.depth / shares,
            self.premium * unit,
        )

    def _before(self) -> Float:
        """Shares in the steps before each, (n, K)."""
        return np.hstack([np.zeros((len(self), 1)), np.cumsum(self.depth[:, :-1], axis=1)])

    def _slope(self, x: ArrayLike, following: bool) -> Float:
        shares = np.broadcast_to(np.asarray(x, float), self.linear.shape)
        slope: Float = self.linear + shares * (2.0 * self.quadratic + 3.0 * shares * self.cubic)
        if self.scale.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                rise = self.scale * self.power * shares ** (self.power - 1.0)
            slope = slope + np.where(self.scale != 0, rise, 0.0)
        if not self.depth.shape[1]:
            return slope
        ends = np.cumsum(self.depth, axis=1)
        passed = ends <= shares[:, None] if following else ends < shares[:, None]
        step = passed.sum(axis=1)
        last = np.minimum(step, self.depth.shape[1] - 1)
        price = slope + np.take_along_axis(self.premium, last[:, None], axis=1)[:, 0]
        price = np.where(step > last, np.inf, price)
        return np.where(shares <= self.capacity, price, np.nan)

    def _smooth_inverse(self, excess: Float) -> Float:
        """Least x >= 0 at which the smooth part's slope beyond `linear` reaches `excess`, (n,)."""
        above = np.maximum(excess, 0.0)
        # The root of 3 c x^2 + 2 b x = excess, written so that c -> 0 loses no digits.
        slope = self.quadratic + np.sqrt(self.quadratic**2 + 3.0 * self.cubic * above)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x: Float = np.where(above > 0.0, above / slope, 0.0)
            if self.scale.any():
                alone = (above / (self.scale * self.power)) ** (1.0 / (self.power - 1.0))
                x = np.where(self.scale != 0, np.minimum(x, alone), x)
        mixed = (self.scale != 0) & (slope > 0.0) & (above > 0.0)
        return self._search(x, above, mixed) if mixed.any() else x

    def _search(self, x: Float, excess: Float, mixed: NDArray[np.bool_]) -> Float:
        """Newton in logarithms, where the slope is convex: from the least of each term's own root it only falls."""
        b, c, s, p = (v[mixed] for v in (self.quadratic, self.cubic, self.scale, self.power))
        root, target = x[mixed], excess[mixed]
        for _ in range(LONGEST_SEARCH):
            terms = 2.0 * b * root, 3.0 * c * root**2, s * p * root ** (p - 1.0)
            slope = terms[0] + terms[1] + terms[2]
            elasticity = (terms[0] + 2.0 * terms[1] + (p - 1.0) * terms[2]) / slope
            step = np.log(slope / target) / elasticity
            root = root * np.exp(-step)
            if np.all(np.abs(step) <= 4.0 * np.finfo(float).eps):
                break
        found = x.copy()
        found[mixed] = root
        return found


def smooth_total(linear: Float, quadratic: Float, cubic: Float, scale: Float, power: Float) -> SeparableTotal:
    """A total without steps, (n,) each; powers 1, 2 and 3 join the polynomial, where the inverse is closed."""
    coefficients = [linear, quadratic, cubic]
    for k in range(3):
        coefficients[k] = coefficients[k] + np.where(power == k + 1, scale, 0.0)
    rest = np.where((power == 1) | (power == 2) | (power == 3), 0.0, scale)
    empty = np.empty((len(linear), 0))
    return SeparableTotal(*coefficients, rest, np.where(rest != 0, power, 1.5), empty, empty)


def polynomial_total(linear: Float, quadratic: Float, cubic: Float) -> SeparableTotal:
    """linear x + quadratic x^2 + cubic x^3, (n,) each."""
    return smooth_total(linear, quadratic, cubic, np.zeros_like(linear), np.full_like(linear, 1.5))


def stacked(totals: list[SeparableTotal]) -> SeparableTotal:
    """Totals one after another over the intervals, steps padded to the longest."""
    longest = max(total.depth.shape[1] for total in totals)
    smooth = [np.concatenate([getattr(t, name) for t in totals]) for name in totals[0].keys()[:5]]
    depth = np.vstack([_padded_depth(total, longest) for total in totals])
    premium = np.vstack([_padded_premium(total, longest) for total in totals])
    return SeparableTotal(*smooth, depth, premium)


def _padded_depth(total: SeparableTotal, longest: int) -> Float:
    missing = np.zeros((len(total), longest - total.depth.shape[1]))
    if not total.depth.shape[1]:
        missing[:, :1] = np.inf
    return np.hstack([total.depth, missing])


def _padded_premium(total: SeparableTotal, longest: int) -> Float:
    n, own = total.premium.shape
    last = total.premium[:, -1:] if own else np.zeros((n, 1))
    return np.hstack([total.premium, np.repeat(last, longest - own, axis=1)])

r"""Quadratic costs that couple the intervals: decaying impact, risk, and their exact optimum.

.. math:: \min_x \sum_t b_t x_t^2 + c_t x_t + w_t \Big(S - \sum_{s \le t} x_s\Big)^2
          + \tfrac12 x^\top G x
          \quad \mathrm{s.t.} \quad \sum_t x_t = S,\; l_t \le x_t \le u_t

Without a kernel and with exponential ones a sparse system is solved in O(n), with others a Cholesky
decomposition. Bounds are met by an active set: whole sets of intervals are exchanged as long as
that helps, then single ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from research_lib.checks import Float, Mask
from research_lib.errors import ValidationError
from research_lib.execution.exact import Certificate
from research_lib.impact import ExponentialKernel, ExponentialSumKernel, Kernel, kernel_matrix

Bounded = tuple[Float | None, str, int]  # the optimum, how it was found, and the solves
MAX_DENSE, MAX_EXCHANGES = 5_000, 200
PATIENCE = 3  # exchanges of whole sets without progress before single ones
SAME_PRICE, SAME_SHARES = 1e-11, 1e-13


@dataclass(frozen=True, eq=False)
class StateDecay:
    """1/2 x'Gx of K exponentials: share of part k that remains after gap i, (n - 1, K), and the
    scales, (K,).
    """

    factors: Float
    scales: Float

    def __matmul__(self, x: Float) -> Float:
        """G x, (n,) currency per share, in O(n K): each part's state just after the trades, and,
        of the trades in reverse, just before.
        """
        total = np.zeros(len(x))
        for kept, scale in zip(self.factors.T, self.scales, strict=True):
            falls = np.vstack([np.ones(len(x)), np.append(-kept, 0.0)])
            state = linalg.solve_banded((1, 0), falls, x)
            rises = np.vstack([np.append(0.0, -kept), np.ones(len(x))])
            total += scale * (state + linalg.solve_banded((0, 1), rises, x) - x)
        return total

    def __mul__(self, unit: float) -> Self:
        """The same with G in units of 1 / `unit`."""
        return type(self)(self.factors, self.scales * unit)


Decay = StateDecay | Float  # the matrix (n, n) itself where it has no structure


def decay_of(kernel: Kernel, at: Float) -> Decay:
    """The kernel on rising times (n,), in the fastest exact representation.

    Raises
    ------
    ValidationError
        A kernel that is not finite, more than 5,000 times without structure.
    """
    if isinstance(kernel, ExponentialKernel):
        kernel = ExponentialSumKernel((kernel.decay,), (kernel.scale,))
    if isinstance(kernel, ExponentialSumKernel):
        factors = np.exp(-np.multiply.outer(np.diff(at), np.array(kernel.decays)))
        return StateDecay(factors, np.array(kernel.scales, float))
    if len(at) > MAX_DENSE:
        raise ValidationError(f"{len(at):,} times, of {MAX_DENSE:,}; take an ExponentialSumKernel")
    return kernel_matrix(kernel, at)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The cost above; b, c and w are `curvature`, `linear` and `holding`, (n,) each."""

    shares: float
    decay: Decay
    curvature: Float
    linear: Float
    holding: Float

    def __len__(self) -> int:
        return len(self.linear)

    def scaled(self, unit: float, currency: float) -> Self:
        """The same with shares in `unit` and cost in `currency`."""
        square = unit**2 / currency
        own = self.curvature * square, self.linear * unit / currency
        return type(self)(self.shares / unit, self.decay * square, *own, self.holding * square)

    def risk(self, x: Float) -> tuple[float, float]:
        """The risk term of the cost, currency, and its increase for one more share held from the
        start.
        """
        held = self.shares - np.cumsum(x)
        return float(self.holding @ held**2), 2.0 * float(self.holding @ held)

    def value(self, x: Float) -> float:
        """The cost at x, currency; a trade pays half of its own displacement."""
        own = self.curvature * x + self.linear + 0.5 * (self.decay @ x)
        return float(own @ x) + self.risk(x)[0]

    def gradient(self, x: Float) -> Float:
        """d cost / d x, (n,) currency per share."""
        later = _after(2.0 * self.holding * (self.shares - np.cumsum(x)))
        return self.linear + 2.0 * self.curvature * x - later + self.decay @ x

    def least(self, fixed: Mask, values: Float) -> Float | None:
        """The optimum with x = `values` where `fixed`, (n,); None where the cost is not convex."""
        x = self._least(self.linear, self.shares, fixed, values)
        if x is None:
            return None
        step = self.newton(self.gradient(x), fixed)  # corrects rounding error
        return x if step is None or not np.isfinite(step).all() else x + step

    def newton(self, gradient: Float, fixed: Mask) -> Float | None:
        """The Newton step (n,) of sum 0, and 0 where `fixed`, for this gradient."""
        return self._least(gradient, 0.0, fixed, np.zeros(len(self)))

    def _least(self, linear: Float, shares: float, fixed: Mask, values: Float) -> Float | None:
        """`least` without refinement; with shares 0 the holding is - sum x."""
        x = np.where(fixed, values, 0.0)
        free = np.flatnonzero(~fixed)
        x[free] = (shares - x.sum()) / max(len(free), 1)
        if len(free) < 2:
            return x
        if isinstance(self.decay, StateDecay):
            return self._least_of_states(self.decay, linear, shares, fixed, values)
        downhill = _after(2.0 * self.holding) * shares - linear - self._hessian @ x
        right = np.column_stack([downhill[free], np.ones(len(free))])
        try:
            factor = linalg.cho_factor(self._hessian[np.ix_(free, free)])
        except linalg.LinAlgError:
            return None
        newton, shift = linalg.cho_solve(factor, right).T
        x[free] += newton - shift * (newton.sum() / shift.sum())
        return x

    def _least_of_states(
        self, decay: StateDecay, linear: Float, shares: float, fixed: Mask, values: Float
    ) -> Float | None:
        """From the sparse first-order conditions in the trades, the holdings after them, and the
        state of each exponential after them, whose square loses the part 1 - kept^2 in each gap.
        """
        n, parts, one = len(linear), decay.factors.T, sparse.eye_array(len(linear))
        # A state after each trade less the rest of the state after the trade before, (n, n).
        moves = [one - sparse.diags_array(kept, offsets=-1) for kept in (np.ones(n - 1), *parts)]
        trades = sparse.vstack([one, *[-one] * len(parts)])
        size = (len(parts) + 2) * n
        given = np.append(np.flatnonzero(fixed), 2 * n - 1)  # at the end nothing is held
        states = sparse.hstack([trades, sparse.block_diag(moves)])
        equations = sparse.vstack([states, sparse.eye_array(size, format="csr")[given]])
        lost = [c * np.append(1.0 - k**2, 1.0) for c, k in zip(decay.scales, parts, strict=True)]
        weights = np.concatenate([2.0 * self.curvature, 2.0 * self.holding, *lost])
        right = np.zeros(size + equations.shape[0])
        right[:n], right[size] = -linear, shares
        right[len(right) - len(given) : -1] = values[fixed]
        system = sparse.block_array([[sparse.diags_array(weights), equations.T], [equations, None]])
        try:
            return np.where(fixed, values, splu(system.tocsc()).solve(right)[:n])
        except RuntimeError:  # singular
            return None

    @cached_property
    def _hessian(self) -> Float:
        matrix = np.array(self.decay)
        later = np.arange(len(self))
        if self.holding.any():
            matrix += _after(2.0 * self.holding)[np.maximum.outer(later, later)]
        matrix[later, later] += 2.0 * self.curvature
        return matrix

    def bounded(self, lower: Float, upper: Float, in_time: Callable[[], bool]) -> Bounded:
        """The optimum between bounds (n,), some of which may be infinite, how, and the solves.

        Whole sets of intervals at a bound are exchanged (Hintermueller, Ito and Kunisch 2003) as
        long as fewer of them are wrong after each exchange; then single ones in random order, until
        fewer are (Judice and Pires 1994). None if the cost is not convex, or if time or exchanges
        run out.
        """
        pinned = lower == upper
        low, high = pinned, np.zeros(len(self), bool)
        slack = SAME_SHARES * np.abs(lower[np.isfinite(lower)]).max(initial=abs(self.shares))
        method = "sparse system" if isinstance(self.decay, StateDecay) else "Cholesky"
        fewest, patience, rng = len(self) + 1, PATIENCE, np.random.default_rng(0)
        for solves in range(1, MAX_EXCHANGES + 10 * len(self)):
            fixed, how = low | high, method + (" with an active set" if solves > 1 else "")
            x = self.least(fixed, np.where(low, lower, np.where(high, upper, 0.0)))
            if x is None:
                return None, how, solves
            gradient = self.gradient(x)
            nu = multiplier(gradient, ~fixed, low & ~pinned, high)
            unit = SAME_PRICE * float(np.max(np.abs(gradient)))
            new_low = np.where(low, pinned | (gradient >= nu - unit), ~high & (x < lower - slack))
            new_high = np.where(high, gradient <= nu + unit, ~low & (x > upper + slack))
            missing = self.shares - x.sum()
            if abs(missing) > 1e-9 * max(np.abs(x).sum(), abs(self.shares)):
                # All are at a bound: free the one with the lowest price.
                leaves = (low & ~pinned) if missing > 0 else high
                price = np.where(leaves, gradient if missing > 0 else -gradient, np.inf)
                new_low[np.argmin(price)] = new_high[np.argmin(price)] = False
            wrong = np.flatnonzero((new_low != low) | (new_high != high))
            if not len(wrong):
                return np.clip(x, lower, upper), how, solves
            if not in_time():
                break
            if len(wrong) < fewest:
                fewest, patience = len(wrong), PATIENCE
            elif patience:
                patience -= 1
            else:
                wrong = wrong[[rng.integers(len(wrong))]]  # a fixed order may cycle
            exchanged = np.isin(np.arange(len(self)), wrong)
            low, high = np.where(exchanged, new_low, low), np.where(exchanged, new_high, high)
        return None, how, solves

    def _most_saved(self, error: Float) -> float:
        """1/2 r'H^-1 r, or under one exponential 1/2 r'G^-1 r, which is no less, in O(n)."""
        if isinstance(self.decay, StateDecay) and len(self.decay.scales) == 1:
            kept = self.decay.factors[:, 0]
            if np.all(kept < 1.0):
                steps = error[1:] - kept * error[:-1]
                squares = error[0] ** 2 + float(steps @ (steps / (1.0 - kept**2)))
                return 0.5 * float(squares / self.decay.scales[0])
        step = self.newton(error, np.zeros(len(error), bool))
        return np.inf if step is None else max(-0.5 * float(error @ step), 0.0)

    def certificate(self, x: Float, lower: Float, upper: Float) -> Certificate:
        """How far x is from the optimum between bounds (n,), which may be infinite.

        A strictly convex cost exceeds its tangent by half the squared distance in its own metric.
        With r the errors of the trades' prices, no schedule saves more than 1/2 r'H^-1 r; a price
        on the correct side of the multiplier at a bound is no error. The KKT residual is relative
        to the highest price of a trade, because under risk aversion the multiplier may be almost 0.
        """
        gradient = self.gradient(x)
        at_low, at_high = x <= lower, x >= upper
        # A trade fixed by its bounds has no price of its own.
        nu = multiplier(gradient, ~(at_low | at_high), at_low & ~at_high, at_high & ~at_low)
        least, most = np.where(at_high, 0.0, -np.inf), np.where(at_low, 0.0, np.inf)
        error = np.clip(gradient - nu, least, most)
        cost, saved = self.value(x), self._most_saved(error)
        outside = float(max(np.max(lower - x), np.max(x - upper), 0.0))
        own = self.linear + 2.0 * self.curvature * x + self.decay @ x
        residual = float(np.max(np.abs(error)) / (max(abs(nu), np.max(np.abs(own))) or 1.0))
        return Certificate(cost, nu, residual, saved / (abs(cost) or 1.0), float(x.sum()), outside)


def multiplier(gradient: Float, free: Mask, low: Mask, high: Mask) -> float:
    """The price of the free intervals; if none is free, a price between those at their floors and
    those at their caps.
    """
    if free.any():
        return float(gradient[free].mean())
    ends = [gradient[low].min()] if low.any() else []
    ends += [gradient[high].max()] if high.any() else []
    return float(np.mean(ends or gradient))


def _after(values: Float) -> Float:
    """Sum of the values from each interval on, (n,)."""
    return np.cumsum(values[::-1])[::-1]

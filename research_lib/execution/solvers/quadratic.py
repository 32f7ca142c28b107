r"""Quadratic costs that couple the intervals, solved by their structure.

.. math:: \min_x \sum_t b_t x_t^2 + c_t x_t + w_t \Big(S - \sum_{s \le t} x_s\Big)^2 + \tfrac12 x^\top G x
          \quad \mathrm{s.t.} \quad \sum_t x_t = S

with some x_t given. Exponential kernels, and none, by dynamic programming in O(n); regular grids
by Levinson, or by conjugate gradients with sine-transform preconditioning; others by Cholesky.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg

from research_lib.execution.solvers.decay import Decay, DenseDecay, StateDecay
from research_lib.execution.solvers.kernels import states_schedule
from research_lib.execution.solvers.problem import Certificate

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEVINSON_LARGEST = 1000
REDUCTION = 1e-9  # of the residual, by one run of conjugate gradients; refinement does the rest
MOST_STEPS = 1000


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The problem above: b, c and w as `curvature`, `linear` and `holding`, (n,) each."""

    shares: float
    decay: Decay
    curvature: Float
    linear: Float
    holding: Float

    def __len__(self) -> int:
        return len(self.linear)

    @property
    def method(self) -> str:
        """How `least` finds it."""
        if isinstance(self.decay, StateDecay):
            return "dynamic programming"
        if isinstance(self.decay, DenseDecay):
            return "Cholesky"
        return "Levinson" if self._even and len(self) <= LEVINSON_LARGEST else "conjugate gradients"

    def value(self, x: Float) -> float:
        """The cost at x, currency."""
        held = self.shares - np.cumsum(x)
        return float((self.curvature * x + self.linear) @ x + self.holding @ held**2) + self.decay.value(x)

    def gradient(self, x: Float) -> Float:
        """d cost / d x, (n,) currency per share."""
        return self.linear - _after(2.0 * self.holding) * self.shares + self.product(x)

    def product(self, x: Float) -> Float:
        """The Hessian times x, (n,)."""
        return 2.0 * self.curvature * x + _after(2.0 * self.holding * np.cumsum(x)) + self.decay.product(x)

    def least(self, fixed: Mask, values: Float) -> Float | None:
        """The optimum with x = `values` where `fixed`, (n,); None where the cost is not convex."""
        x = self._least(self.linear, self.shares, fixed, values)
        if x is None:
            return None
        step = self.newton(self.gradient(x), fixed)  # what rounding left
        return x if step is None or not np.isfinite(step).all() else x + step

    def newton(self, gradient: Float, fixed: Mask) -> Float | None:
        """The step (n,) of sum 0, 0 where `fixed`, to the least of the model with this gradient."""
        return self._least(gradient, 0.0, fixed, np.zeros(len(self)))

    def _least(self, linear: Float, shares: float, fixed: Mask, values: Float) -> Float | None:
        """`least`, unrefined; for shares 0 what is held is - sum x."""
        if isinstance(self.decay, StateDecay):
            x, convex = states_schedule(
                shares, self.decay.factors, self.decay.scales, self.curvature, linear, self.holding, fixed, values
            )
            return np.asarray(x) if convex else None
        start = np.where(fixed, values, 0.0)
        free = np.count_nonzero(~fixed)
        start[~fixed] = (shares - start.sum()) / max(free, 1)
        if free < 2:
            return start
        downhill = _after(2.0 * self.holding) * shares - linear - self.product(start)
        step = self._dense_step(downhill, fixed) if isinstance(self.decay, DenseDecay) else self._step(downhill, fixed)
        return None if step is None else start + step

    def _step(self, downhill: Float, fixed: Mask) -> Float | None:
        if self._even and len(self) <= LEVINSON_LARGEST and not fixed.any():
            return self._levinson(downhill)
        return self._conjugate(downhill, ~fixed)

    @cached_property
    def _even(self) -> bool:
        """Whether holdings solve a Toeplitz system: coefficients that do not vary."""
        return bool(np.ptp(self.curvature) == 0 and np.ptp(self.holding[: max(len(self) - 1, 1)]) == 0)

    def _levinson(self, downhill: Float) -> Float | None:
        """Steps of the holdings, whose system is Toeplitz: second differences of the kernel."""
        g = np.append(self.decay.column, 0.0)  # type: ignore[attr-defined]
        column = 2.0 * g[:-2] - np.append(g[1], g[:-3]) - g[1:-1]
        column[0] += 4.0 * self.curvature[0] + 2.0 * self.holding[0]
        column[1:2] -= 2.0 * self.curvature[0]
        try:
            return _traded(linalg.solve_toeplitz(column, -np.diff(downhill)))
        except linalg.LinAlgError:
            return None

    def _dense_step(self, downhill: Float, fixed: Mask) -> Float | None:
        free = np.flatnonzero(~fixed)
        try:
            if fixed.any():
                factor = linalg.cho_factor(self._hessian[np.ix_(free, free)], overwrite_a=True, check_finite=False)
            else:
                factor = self._factor
        except linalg.LinAlgError:
            return None
        right = np.column_stack([downhill[free], np.ones(len(free))])
        newton, shift = linalg.cho_solve(factor, right, check_finite=False).T
        step = np.zeros(len(self))
        step[free] = newton - shift * (newton.sum() / shift.sum())
        return step

    @cached_property
    def _factor(self) -> tuple[Float, bool]:
        return linalg.cho_factor(self._hessian, check_finite=False)

    @cached_property
    def _hessian(self) -> Float:
        matrix = np.array(self.decay.matrix)  # type: ignore[attr-defined]
        if self.holding.any():
            later = np.arange(len(self))
            matrix += _after(2.0 * self.holding)[np.maximum.outer(later, later)]
        matrix[np.diag_indices(len(self))] += 2.0 * self.curvature
        return matrix

    @cached_property
    def _tau(self) -> Float:
        """Eigenvalues, (n - 1,), of the sine-transform matrix near the Hessian of the holdings.

        |1 - e^(i theta)|^2 times the Fejer sum of the kernel, which is at least 0: no zero is lost.
        """
        column = self.decay.column  # type: ignore[attr-defined]
        n = len(column)
        angles = np.pi * np.arange(1, n) / n
        symbol = fft.dct(np.append(column * (1.0 - np.arange(n) / n), 0.0), type=1)[1:-1]
        found = 4.0 * np.sin(0.5 * angles) ** 2 * (symbol + 2.0 * self.curvature.mean())
        found += 2.0 * self.holding[:-1].mean()
        return np.maximum(found, 1e-12 * found.max())

    def _near(self, residual: Float, free: Mask) -> Float:
        """Nearly the inverse Hessian times the residual, inside the free intervals."""
        held = -np.diff(np.where(free, residual, 0.0))
        step = _traded(fft.idst(fft.dst(held, type=1) / self._tau, type=1))
        return np.where(free, step + np.mean(residual * free) / self._tau[0], 0.0)

    def _conjugate(self, downhill: Float, free: Mask) -> Float | None:
        """Projected conjugate gradients on steps of sum 0 in the free intervals."""
        ones = self._near(free.astype(float), free)
        step, residual = np.zeros(len(self)), np.where(free, downhill, 0.0)
        direction, slope, first = np.zeros(len(self)), 1.0, np.inf
        for count in range(MOST_STEPS):
            residual[free] -= residual[free].mean()
            near = self._near(residual, free)
            near -= ones * (near.sum() / ones.sum())
            new = float(residual @ near)
            first = new if count == 0 else first
            if new <= REDUCTION**2 * first:
                break
            direction = near + (new / slope if count else 0.0) * direction
            moved = self.product(direction)
            bend = float(direction @ moved)
            if bend <= 0.0:
                return None
            step += (new / bend) * direction
            residual -= np.where(free, (new / bend) * moved, 0.0)
            slope = new
        return step


def certified(problem: Quadratic, x: Float, lower: Float, upper: Float) -> Certificate:
    """How far x is from the optimum between bounds (n,), which may be infinite.

    A strictly convex cost lies above its tangent by half the square of the distance in its own
    metric: where r is what the price of a trade errs by, no schedule saves more than 1/2 r'H^-1 r,
    and a price on the right side of the multiplier at a bound is no error. The KKT residual is
    relative to the dearest child's price, for under risk aversion the multiplier may be next to 0.
    """
    gradient = problem.gradient(x)
    free = (x > lower) & (x < upper)
    if free.any():
        nu = float(gradient[free].mean())
    else:
        low, high = gradient[x >= upper], gradient[x <= lower]
        nu = float(0.5 * (low.max() + high.min())) if low.size and high.size else float(gradient.mean())
    error = gradient - nu
    error = np.where((x <= lower) & (x < upper), np.minimum(error, 0.0), error)
    error = np.where((x >= upper) & (x > lower), np.maximum(error, 0.0), error)
    error = np.where((x <= lower) & (x >= upper), 0.0, error)
    step = problem.newton(error, np.zeros(len(x), bool))
    saved = np.inf if step is None else max(-0.5 * float(error @ step), 0.0)
    cost = problem.value(x)
    outside = float(max(np.max(lower - x), np.max(x - upper), 0.0))
    own = problem.linear + 2.0 * problem.curvature * x + problem.decay.product(x)
    unit = max(abs(nu), float(np.max(np.abs(own)))) or 1.0
    residual = float(np.max(np.abs(error))) / unit
    return Certificate(cost, nu, residual, saved / (abs(cost) or 1.0), float(x.sum()), outside)


def _after(values: Float) -> Float:
    """Sum of the values from each interval on, (n,)."""
    return np.cumsum(values[::-1])[::-1]


def _traded(held: Float) -> Float:
    """Trades of sum 0, (n,), that add `held`, (n - 1,), after each."""
    return np.diff(held, prepend=0.0, append=0.0)

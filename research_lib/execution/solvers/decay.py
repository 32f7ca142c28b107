"""The transient cost 1/2 x'Gx of a schedule on a grid of times, by the structure that the kernel has there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from research_lib.errors import ValidationError
from research_lib.execution.solvers.kernels import states_product
from research_lib.impact.transient import (
    ExponentialKernel,
    ExponentialSumKernel,
    Kernel,
    at_lags,
    evenly_spaced,
    kernel_matrix,
    trade_times,
)

Float = NDArray[np.float64]
MOST_DENSE = 10_000


class Decay:
    """G_ij = kernel(|t_i - t_j|) on n times, currency per share**2."""

    def product(self, x: Float) -> Float:
        """G x, (n,) currency per share."""
        raise NotImplementedError

    def scaled(self, square: float) -> Decay:
        """The same with G in units of 1 / `square`."""
        raise NotImplementedError

    def value(self, x: Float) -> float:
        """1/2 x'Gx, currency: a trade pays half of its own displacement."""
        return 0.5 * float(x @ self.product(x))


@dataclass(frozen=True, eq=False)
class StateDecay(Decay):
    """A sum of K exponentials: what is left of part k after gap i, (n - 1, K), and the scales, (K,)."""

    factors: Float
    scales: Float

    def product(self, x: Float) -> Float:
        """In O(n K)."""
        return np.asarray(states_product(np.ascontiguousarray(x, float), self.factors, self.scales))

    def scaled(self, square: float) -> StateDecay:
        """The same with G in units of 1 / `square`."""
        return StateDecay(self.factors, self.scales * square)


@dataclass(frozen=True, eq=False)
class ToeplitzDecay(Decay):
    """A regular grid: G at lags 0 to n - 1, (n,)."""

    column: Float
    spectrum: Float = field(init=False)

    def __post_init__(self) -> None:
        """The circulant matrix that G is a corner of, in its own eigenvectors."""
        n = len(self.column)
        around = np.zeros(fft.next_fast_len(2 * n, real=True))
        around[:n] = self.column
        around[len(around) - n + 1 :] = self.column[:0:-1]
        object.__setattr__(self, "spectrum", fft.rfft(around).real)

    def product(self, x: Float) -> Float:
        """In O(n log n)."""
        size = 2 * (len(self.spectrum) - 1) + self._odd
        return np.asarray(fft.irfft(self.spectrum * fft.rfft(x, size), size)[: len(x)])

    @property
    def _odd(self) -> int:
        return fft.next_fast_len(2 * len(self.column), real=True) % 2

    def scaled(self, square: float) -> ToeplitzDecay:
        """The same with G in units of 1 / `square`."""
        return ToeplitzDecay(self.column * square)


@dataclass(frozen=True, eq=False)
class DenseDecay(Decay):
    """Any grid: the whole matrix, (n, n)."""

    matrix: Float

    def product(self, x: Float) -> Float:
        """In O(n^2)."""
        return np.asarray(self.matrix @ x)

    def scaled(self, square: float) -> DenseDecay:
        """The same with G in units of 1 / `square`."""
        return DenseDecay(self.matrix * square)


def decay_of(kernel: Kernel, times: ArrayLike) -> Decay:
    """The kernel on strictly rising times (n,), in the cheapest structure that is exact.

    Raises
    ------
    ValidationError
        Times that do not rise, a kernel that is not finite, more than 10,000 times without structure.
    """
    at = trade_times(times)
    if isinstance(kernel, ExponentialKernel | ExponentialSumKernel):
        decays, scales = (
            ((kernel.decay,), (kernel.scale,))
            if isinstance(kernel, ExponentialKernel)
            else (kernel.decays, kernel.scales)
        )
        return StateDecay(np.exp(-np.multiply.outer(np.diff(at), np.array(decays))), np.array(scales, float))
    if evenly_spaced(at):
        return ToeplitzDecay(at_lags(kernel, at - at[0]))
    if len(at) > MOST_DENSE:
        raise ValidationError(
            f"{len(at):,} uneven times need a matrix of {8e-6 * len(at) ** 2:,.0f} MB; take evenly spaced times, "
            f"an ExponentialSumKernel, or {MOST_DENSE:,} times at most"
        )
    return DenseDecay(kernel_matrix(kernel, at))

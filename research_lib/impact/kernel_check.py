"""Which kernels are free of price manipulation: no round trip that earns, no schedule that buys and sells in turn."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.kernels import (
    DecayKernel,
    Kernel,
    at_lags,
    evenly_spaced,
    kernel_matrix,
    trade_times,
)

Float = NDArray[np.float64]
logger = logging.getLogger(__name__)
ROUNDING = 1e-12
MOST_TIMES = 2000


@dataclass(frozen=True, eq=False)
class KernelCheck(Record):
    """A kernel on a grid of times, found positive definite there.

    Attributes
    ----------
    nonnegative, nonincreasing, convex : bool
        Of G on the lags of the grid. All three: no price manipulation of either kind.
    smallest_eigenvalue : float
        Of the (n, n) kernel matrix, over the largest magnitude; NaN where the shape alone proves it positive.
    alternating : bool
        Whether the cheapest schedule on the grid, of any sign, buys and sells in turn, or is left
        undetermined by a matrix that is singular to rounding.
    warnings : tuple of str
        Reasons to distrust schedules under the kernel; empty where there are none.
    """

    nonnegative: bool
    nonincreasing: bool
    convex: bool
    smallest_eigenvalue: float
    alternating: bool
    warnings: tuple[str, ...]

    @property
    def safe(self) -> bool:
        """Nonnegative, nonincreasing and convex."""
        return self.nonnegative and self.nonincreasing and self.convex


def check_kernel(kernel: Kernel, times: ArrayLike) -> KernelCheck:
    r"""Refuse a kernel that pays for round trips on a grid, warn of one that buys and sells in turn.

    Under cost 1/2 x'Gx, G_ij = G(|t_i - t_j|), an order has a cheapest schedule only if G is positive
    definite; where it is not on trades that sum to 0, a round trip earns money (Gatheral 2010). A
    nonnegative, nonincreasing and convex G is positive definite on every grid, and the schedules under
    it never change sign (Alfonsi, Schied and Slynko 2012): then nothing more is computed.

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags.
    times : (n,) strictly rising times at which one may trade; 2,000 at most where the shape alone does not prove it.

    Returns
    -------
    KernelCheck
        Its warnings are logged too.

    Raises
    ------
    ValidationError
        G is not positive definite: with its smallest eigenvalue, and the round trip that earns.

    References
    ----------
    Gatheral (2010), No-dynamic-arbitrage and market impact, Quantitative Finance 10, 749-759.
    Alfonsi, Schied and Slynko (2012), Order book resilience, price manipulation, and the positive
    portfolio problem, SIAM Journal on Financial Mathematics 3, 511-533.
    """
    at = trade_times(times)
    shape = (
        (True, True, True)
        if isinstance(kernel, DecayKernel) and kernel.free_of_manipulation
        else _shape(kernel, at)
    )
    if all(shape):
        return KernelCheck(*shape, np.nan, False, ())
    _refuse_many(at)
    matrix = kernel_matrix(kernel, at)
    values, vectors = linalg.eigh(matrix)
    smallest = float(values[0] / max(np.max(np.abs(values)), np.finfo(float).tiny))
    if smallest < -ROUNDING * len(at):
        raise ValidationError(_refusal(matrix, smallest, vectors[:, 0], at))
    alternating, warnings = _doubts(matrix, shape, smallest)
    for text in warnings:
        logger.warning("kernel on %d times: %s", len(at), text)
    return KernelCheck(*shape, smallest, alternating, warnings)


def _refuse_many(times: Float) -> None:
    if len(times) > MOST_TIMES:
        raise ValidationError(
            f"{len(times):,} times are too many to check a kernel that is not nonnegative, nonincreasing and convex; "
            f"check it on {MOST_TIMES:,} times at most"
        )


def _shape(kernel: Kernel, times: Float) -> tuple[bool, bool, bool]:
    """Nonnegative, nonincreasing, convex on the lags between the times."""
    if evenly_spaced(times):
        lags = times - times[0]
    else:
        _refuse_many(times)
        lags = np.unique(np.abs(times[:, None] - times))
        lags = lags[
            np.append(True, np.diff(lags) > ROUNDING * lags[-1])
        ]  # equal gaps that differ by rounding
    values = at_lags(kernel, lags)
    small = ROUNDING * np.max(np.abs(values))
    falls = -np.diff(values)
    slopes = falls / np.diff(lags)
    convex = np.diff(slopes) * np.diff(lags)[1:] <= 4 * small
    return bool(np.all(values >= -small)), bool(np.all(falls >= -small)), bool(np.all(convex))


def _refusal(matrix: Float, smallest: float, worst: Float, times: Float) -> str:
    """Why the kernel is refused, with the round trip that earns if there is one."""
    trip = _cheapest_round_trip(matrix)
    gain = -0.5 * float(trip @ matrix @ trip)
    found = f"kernel is not positive definite on the {len(times)} times: smallest eigenvalue {smallest:.2g} of the largest"
    if gain <= ROUNDING * abs(matrix[0, 0]):
        return (
            f"{found}; no round trip earns, but trades in proportion {_listed(worst / np.max(np.abs(worst)))} cost "
            "less than nothing; add a permanent part or fit a kernel that stays at 0 or above"
        )
    return (
        f"{found}; the round trip {_listed(trip)} shares earns {gain:.3g} (price manipulation); "
        "fit a nonincreasing convex kernel"
    )


def _cheapest_round_trip(matrix: Float) -> Float:
    """Trades that sum to 0 of least x'Gx / x'x, largest trade 1 share."""
    n = len(matrix)
    centre = np.eye(n) - 1.0 / n
    # Shift the constant vector, which is no round trip, above all others.
    shift = np.full((n, n), np.abs(matrix).sum(axis=1).max() / n)
    trip = linalg.eigh(centre @ matrix @ centre + shift, subset_by_index=(0, 0))[1][:, 0]
    trip /= trip[np.argmax(np.abs(trip))]
    return trip - trip.mean()


def _listed(trades: Float) -> str:
    """The first trades of a schedule as text."""
    shown = ", ".join(f"{trade:.3g}" for trade in np.round(trades[:6], 9) + 0.0)
    return f"({shown}{', ...' if len(trades) > 6 else ''})"


def _doubts(
    matrix: Float, shape: tuple[bool, bool, bool], smallest: float
) -> tuple[bool, tuple[str, ...]]:
    """Whether the cheapest schedule changes sign, and what to warn of."""
    if smallest <= ROUNDING * len(matrix):
        flat = f"its matrix is singular to rounding (smallest eigenvalue {smallest:.2g} of the largest): trade less often"
        return True, (flat,)
    direction = linalg.solve(matrix, np.ones(len(matrix)), assume_a="pos")
    schedule = direction / direction.sum()
    wrong = int(np.count_nonzero(schedule < -ROUNDING))
    lacking = [
        name
        for name, holds in zip(("nonnegative", "nonincreasing", "convex"), shape, strict=True)
        if not holds
    ]
    if not wrong:
        return False, (
            f"it is not {' nor '.join(lacking)}, so other grids may ask to buy and sell in turn",
        )
    text = (
        f"it is not {' nor '.join(lacking)}: the cheapest way to buy 1 share sells in {wrong} of {len(schedule)} "
        f"trades and turns over {np.abs(schedule).sum():.3g} shares (transaction-triggered price manipulation); "
        "set min_shares=0 or fit a convex kernel"
    )
    return True, (text,)

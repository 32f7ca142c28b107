r"""Kernels of decaying impact, and the check that a kernel is free of price manipulation.

A trade of x shares at time s moves the price at t >= s by x G(t - s). Any callable of an
array of lags that returns an array of that shape is a kernel; lags are in the unit of
the times given with it, G in currency per share**2.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import linalg, optimize

from research_lib.checks import ArrayLike, Float, number, numbers, same_labels, same_rows
from research_lib.config import Record
from research_lib.errors import ValidationError

Kernel = Callable[[Any], Any]
EVENLY_SPACED = 1e-9  # of the widest gap
ROUNDING = 1e-12  # of the kernel's largest value, or of the largest eigenvalue
MAX_TIMES = 2000  # the eigenvalues of a larger matrix take minutes
logger = logging.getLogger(__name__)


class DecayKernel(Record):
    """Base of the kernels: `kernel(lags)` returns G at lags >= 0, shape kept.

    Raises
    ------
    ValidationError
        Parameters out of range; lags below 0 or NaN.

    Examples
    --------
    >>> isinstance(PowerKernel(0.5), DecayKernel)
    True
    """

    # Whether it is nonnegative, nonincreasing and convex whatever the parameters.
    free_of_manipulation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in self.keys():
            number(name, getattr(self, name), above=0)

    def __call__(self, lags: ArrayLike) -> Float:
        array = np.asarray(lags, float)
        if array.size and not np.min(array) >= 0:
            raise ValidationError(f"lags must be numbers of at least 0, got {np.min(array):g}")
        return self._at(array)

    def _at(self, lags: Float) -> Float:
        raise NotImplementedError

    @property
    def half_life(self) -> float:
        """The lag at which half of the immediate impact is left, G(0) / 2; inf if never."""
        half = 0.5 * float(self(0.0))
        late = next((lag for lag in np.exp2(np.arange(-60.0, 200.0)) if self(lag) < half), np.inf)
        if np.isinf(late):
            return late
        return float(optimize.brentq(lambda t: self(t) - half, 0.0, late, xtol=1e-300, rtol=1e-14))


@dataclass(frozen=True)
class ExponentialKernel(DecayKernel):
    r"""G(lag) = scale exp(-decay lag), the block-shaped book of Obizhaeva and Wang (2013).

    Attributes
    ----------
    decay : float
        rho > 0, per unit of time.
    scale : float
        G(0) > 0, currency per share**2.

    Examples
    --------
    >>> kernel = ExponentialKernel(decay=0.1)
    >>> kernel([0.0, 10.0]).round(4).tolist(), round(kernel.half_life, 4)
    ([1.0, 0.3679], 6.9315)
    """

    decay: float
    scale: float = 1.0
    free_of_manipulation: ClassVar[bool] = True

    def _at(self, lags: Float) -> Float:
        return self.scale * np.exp(-self.decay * lags)


@dataclass(frozen=True)
class ExponentialSumKernel(DecayKernel):
    r"""G(lag) = sum_k scales_k exp(-decays_k lag).

    Attributes
    ----------
    decays : tuple of k floats
        Each at least 0, per unit of time; 0 for a permanent component.
    scales : tuple of k floats
        Each at least 0 and not all 0, currency per share**2.

    Examples
    --------
    >>> ExponentialSumKernel(decays=(0.0, 0.5), scales=(0.25, 0.75))([0.0, 1e9]).tolist()
    [1.0, 0.25]
    """

    decays: tuple[float, ...]
    scales: tuple[float, ...]
    free_of_manipulation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        given = same_rows(decays=self.decays, scales=self.scales)
        for name in given:
            values = (number(name, value, 0) for value in np.atleast_1d(given[name]))
            object.__setattr__(self, name, tuple(values))
        if len(self.decays) != len(self.scales) or not self.decays:
            raise ValidationError(f"give one scale a decay: {self.decays} and {self.scales}")
        number("sum of the scales", sum(self.scales), above=0)

    def _at(self, lags: Float) -> Float:
        return np.exp(-np.multiply.outer(lags, self.decays)) @ np.array(self.scales)


@dataclass(frozen=True)
class PowerKernel(DecayKernel):
    r"""G(lag) = scale (1 + lag / shift)^-exponent, after Bouchaud et al. (2004).

    Attributes
    ----------
    exponent : float
        Above 0.
    scale : float
        G(0) > 0, currency per share**2.
    shift : float
        Above 0, unit of time: where the power law begins.

    Examples
    --------
    >>> PowerKernel(exponent=0.5)([0.0, 3.0]).tolist()
    [1.0, 0.5]
    """

    exponent: float
    scale: float = 1.0
    shift: float = 1.0
    free_of_manipulation: ClassVar[bool] = True

    def _at(self, lags: Float) -> Float:
        return self.scale * (1.0 + lags / self.shift) ** -self.exponent


@dataclass(frozen=True)
class GaussianKernel(DecayKernel):
    r"""G(lag) = scale exp(-(lag / width)^2): positive definite, but concave near 0.

    An optimal schedule under it alternates buys and sells (Alfonsi, Schied and Slynko 2012);
    `check_kernel` warns of it.

    Attributes
    ----------
    width : float
        Above 0, unit of time.
    scale : float
        G(0) > 0, currency per share**2.

    Examples
    --------
    >>> GaussianKernel(width=2.0)([0.0, 2.0]).round(4).tolist()
    [1.0, 0.3679]
    """

    width: float
    scale: float = 1.0

    def _at(self, lags: Float) -> Float:
        return self.scale * np.exp(-((lags / self.width) ** 2))


def kernel_matrix(kernel: Kernel, times: ArrayLike) -> Float:
    """G_ij = kernel(|t_i - t_j|), (n, n), for strictly rising times (n,).

    Examples
    --------
    >>> kernel_matrix(PowerKernel(0.5), [0.0, 3.0]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    at = trade_times(times)
    lags = np.abs(at[:, None] - at)
    return linalg.toeplitz(at_lags(kernel, lags[0])) if evenly_spaced(at) else at_lags(kernel, lags)


def displaced(values: Float, shares: Float) -> Float:
    """sum_{s < t} G_{t-s} shares_s at each of n even steps, (n,), by FFT.

    `values` (n,) are G at lags 0 ... n - 1.
    """
    from scipy.signal import fftconvolve  # which loads scipy.stats

    return np.asarray(fftconvolve(shares, np.append(0.0, values[1:]))[: len(shares)])


def at_lags(kernel: Kernel, lags: Float) -> Float:
    """`kernel(lags)` as floats; refused if it is not finite or of another shape.

    Examples
    --------
    >>> at_lags(lambda lags: 1.0 / (1.0 + lags), np.array([0.0, 1.0])).tolist()
    [1.0, 0.5]
    """
    try:
        values = numbers("what the kernel returns", kernel(lags))
    except (TypeError, ValueError) as error:
        rule = "kernel must be a function of lags such as ExponentialKernel(decay=0.1)"
        raise ValidationError(f"{rule}, got {kernel!r}: {error}") from error
    if values.shape != lags.shape:
        raise ValidationError(f"kernel returns shape {values.shape} for lags {lags.shape}")
    if not np.isfinite(values).all():
        where = f"at lag {lags[~np.isfinite(values)][0]:g}"
        raise ValidationError(f"kernel is not finite {where}; shift a power law")
    return values


def trade_times(times: ArrayLike) -> Float:
    """(n,) strictly rising times of trading as floats, in the unit of the kernel.

    A Series is aligned by its labels 0 to n - 1. Dates, which have no unit, are refused.

    Examples
    --------
    >>> trade_times([0, 60, 120]).tolist()
    [0.0, 60.0, 120.0]
    """
    if pd.Series(times).dtype.kind in "mM":  # NumPy would count them in their own resolution
        raise ValidationError("times must be numbers in the kernel's unit of time, not dates")
    labels = range(len(times)) if isinstance(times, pd.Series) else None
    at = numbers("times", same_labels("times", times, labels, "intervals are labelled from 0"))
    if at.ndim != 1 or not at.size or not np.isfinite(at).all() or np.any(np.diff(at) <= 0):
        raise ValidationError(f"times must rise strictly, (n,) finite numbers, got {at}")
    return at


def evenly_spaced(times: Float) -> bool:
    """Whether times are evenly spaced, up to rounding; then the kernel matrix is Toeplitz."""
    gaps = np.diff(times)
    return len(times) < 3 or bool(np.ptp(gaps) <= EVENLY_SPACED * np.max(gaps))


@dataclass(frozen=True, eq=False)
class KernelCheck(Record):
    """Result of `check_kernel` for a kernel that is positive definite on a grid of times.

    Attributes
    ----------
    safe : bool
        Nonnegative, nonincreasing and convex on the lags of the grid: the kernel is free of price
        manipulation of both kinds.
    warnings : tuple of str
        Reasons to distrust schedules under the kernel; usually empty.

    Examples
    --------
    >>> check_kernel(ExponentialKernel(0.1), [0, 60, 120]).safe
    True
    """

    safe: bool
    warnings: tuple[str, ...] = ()


def check_kernel(kernel: Kernel, times: ArrayLike) -> KernelCheck:
    r"""Refuse a kernel that pays for round trips on a grid; warn of one that alternates sides.

    Under cost 1/2 x'Gx, G_ij = G(|t_i - t_j|), an order has a cheapest schedule only if G is
    positive definite. Where it is not so on trades that sum to 0, a round trip earns money
    (Gatheral 2010). A nonnegative, nonincreasing and convex G is positive definite on every grid,
    and its schedules never change sign (Alfonsi, Schied and Slynko 2012); then nothing more is
    computed.

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags.
    times : (n,)
        Strictly rising trading times; at most 2,000 where the shape of the kernel alone does not
        decide.

    Returns
    -------
    KernelCheck
        Its warning is logged too.

    Raises
    ------
    ValidationError
        G is not positive definite; names its smallest eigenvalue.

    References
    ----------
    Gatheral (2010), No-dynamic-arbitrage and market impact, Quantitative Finance 10, 749-759.
    Alfonsi, Schied and Slynko (2012), Order book resilience, price manipulation, and the positive
    portfolio problem, SIAM Journal on Financial Mathematics 3, 511-533.

    Examples
    --------
    >>> found = check_kernel(PowerKernel(0.5), [0, 60, 120])
    >>> found.safe, found.warnings
    (True, ())
    """
    at = trade_times(times)
    if getattr(kernel, "free_of_manipulation", False):
        return KernelCheck(True)
    few = len(at) <= MAX_TIMES
    lacking = _lacking(kernel, at) if few or evenly_spaced(at) else ["convex"]
    if not lacking:
        return KernelCheck(True)
    if not few:
        most = f"check a kernel that is not convex on {MAX_TIMES:,} times at most"
        raise ValidationError(f"{len(at):,} times are too many; {most}")
    matrix = kernel_matrix(kernel, at)
    values = linalg.eigvalsh(matrix)
    smallest = float(values[0] / max(np.max(np.abs(values)), np.finfo(float).tiny))
    if smallest < -ROUNDING * len(at):
        rule = f"kernel is not positive definite, smallest eigenvalue {smallest:.2g} of the largest"
        loss = "some trades have a negative cost (price manipulation)"
        raise ValidationError(f"{rule}: {loss}; fit a nonincreasing convex kernel")
    warning = f"its matrix is singular to rounding ({smallest:.2g} of its scale)"
    if smallest > ROUNDING * len(at):
        schedule = linalg.solve(matrix, np.ones(len(matrix)), assume_a="pos")
        schedule /= schedule.sum()
        if not (wrong := int(np.count_nonzero(schedule < -ROUNDING))):
            return KernelCheck(False)
        buys = f"the cheapest way to buy 1 share sells in {wrong} of {len(schedule)} trades"
        why = "(transaction-triggered price manipulation); set min_shares=0 or fit a convex kernel"
        warning = f"it is not {' nor '.join(lacking)}: {buys} {why}"
    logger.warning("kernel on %d times: %s", len(at), warning)
    return KernelCheck(False, (warning,))


def _lacking(kernel: Kernel, times: Float) -> list[str]:
    """Which of nonnegative, nonincreasing, convex does not hold on the lags between the times."""
    lags = times - times[0]
    if not evenly_spaced(times):
        lags = np.unique(np.abs(times[:, None] - times))
        # Equal gaps may differ by rounding.
        lags = lags[np.append(True, np.diff(lags) > ROUNDING * lags[-1])]
    values = at_lags(kernel, lags)
    eps, falls = ROUNDING * np.max(np.abs(values)), -np.diff(values)
    bends = np.diff(falls / np.diff(lags)) * np.diff(lags)[1:]
    fails = {"nonnegative": values < -eps, "nonincreasing": falls < -eps, "convex": bends > 4 * eps}
    return [name for name, where in fails.items() if np.any(where)]

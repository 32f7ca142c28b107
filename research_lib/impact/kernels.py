r"""Impact that decays: its kernels.

A trade of x shares at time s moves the price at t >= s by x G(t - s). Any callable of an
array of lags that returns an array of that shape is a kernel; lags are in the unit of
the times given with it, G in currency per share**2. Which kernels admit no price
manipulation: :func:`research_lib.impact.check_kernel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize, signal

from research_lib.checks import number, numbers
from research_lib.config import Record
from research_lib.errors import ValidationError

Float = NDArray[np.float64]
Kernel = Callable[[Any], Any]
EVENLY_SPACED = 1e-9


class DecayKernel(Record):
    """Base of the kernels: `kernel(lags)` returns G at lags >= 0, shape kept.

    Raises
    ------
    ValidationError
        Parameters out of range; lags below 0 or NaN.
    """

    free_of_manipulation: ClassVar[bool] = (
        False  # nonnegative, nonincreasing and convex whatever the parameters
    )

    def __call__(self, lags: ArrayLike) -> Float:
        array = np.asarray(lags, float)
        if array.size and not np.min(array) >= 0:
            raise ValidationError(f"lags must be numbers of at least 0, got {np.min(array):g}")
        return self._at(array)

    def _at(self, lags: Float) -> Float:
        raise NotImplementedError

    @property
    def half_life(self) -> float:
        """The lag at which half of the immediate impact is left, G(lag) = G(0) / 2; inf if never."""
        raise NotImplementedError


@dataclass(frozen=True)
class ExponentialKernel(DecayKernel):
    r"""G(lag) = scale exp(-decay lag), the block book of Obizhaeva and Wang (2013).

    Attributes
    ----------
    decay : float
        rho > 0, per unit of time.
    scale : float
        G(0) > 0, currency per share**2.
    """

    decay: float
    scale: float = 1.0
    free_of_manipulation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        number("decay", self.decay, above=0)
        number("scale", self.scale, above=0)

    def _at(self, lags: Float) -> Float:
        return self.scale * np.exp(-self.decay * lags)

    @property
    def half_life(self) -> float:
        """ln 2 / decay."""
        return math.log(2.0) / self.decay


@dataclass(frozen=True)
class ExponentialSumKernel(DecayKernel):
    r"""G(lag) = sum_k scales_k exp(-decays_k lag).

    Attributes
    ----------
    decays : tuple of k floats
        Each at least 0, per unit of time; 0 is a part that never decays.
    scales : tuple of k floats
        Each at least 0 and not all 0, currency per share**2.
    """

    decays: tuple[float, ...]
    scales: tuple[float, ...]
    free_of_manipulation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("decays", "scales"):
            values = tuple(number(name, value, 0) for value in np.atleast_1d(getattr(self, name)))
            object.__setattr__(self, name, values)
        if len(self.decays) != len(self.scales) or not self.decays:
            raise ValidationError(
                f"give one scale a decay: {len(self.decays)} decays and {len(self.scales)} scales"
            )
        number("sum of the scales", sum(self.scales), above=0)

    def _at(self, lags: Float) -> Float:
        return np.exp(-np.multiply.outer(lags, self.decays)) @ np.array(self.scales)

    @property
    def half_life(self) -> float:
        """The lag at which half of the whole sum is left; inf if half or more never decays."""
        half = 0.5 * sum(self.scales)
        moving = [
            decay
            for decay, scale in zip(self.decays, self.scales, strict=True)
            if decay > 0 and scale > 0
        ]
        if (
            sum(scale for decay, scale in zip(self.decays, self.scales, strict=True) if decay == 0)
            >= half
        ):
            return math.inf
        late = math.log(4.0 * len(self.decays)) / min(moving)
        while self(late) >= half:
            late *= 2.0
        return float(
            optimize.brentq(lambda lag: float(self(lag)) - half, 0.0, late, xtol=1e-12 * late)
        )


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
    """

    exponent: float
    scale: float = 1.0
    shift: float = 1.0
    free_of_manipulation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("exponent", "scale", "shift"):
            number(name, getattr(self, name), above=0)

    def _at(self, lags: Float) -> Float:
        return self.scale * (1.0 + lags / self.shift) ** -self.exponent

    @property
    def half_life(self) -> float:
        """shift (2^(1 / exponent) - 1)."""
        return self.shift * math.expm1(math.log(2.0) / self.exponent)


@dataclass(frozen=True)
class GaussianKernel(DecayKernel):
    r"""G(lag) = scale exp(-(lag / width)^2): positive definite, but concave near 0.

    An optimal schedule under it buys and sells in turn (Alfonsi, Schied and Slynko 2012):
    `check_kernel` warns of it.

    Attributes
    ----------
    width : float
        Above 0, unit of time.
    scale : float
        G(0) > 0, currency per share**2.
    """

    width: float
    scale: float = 1.0

    def __post_init__(self) -> None:
        number("width", self.width, above=0)
        number("scale", self.scale, above=0)

    def _at(self, lags: Float) -> Float:
        return self.scale * np.exp(-((lags / self.width) ** 2))

    @property
    def half_life(self) -> float:
        """width sqrt(ln 2)."""
        return self.width * math.sqrt(math.log(2.0))


@dataclass(frozen=True, eq=False)
class TabulatedKernel(DecayKernel):
    """G on a grid of lags, straight lines between them; lags past the last are refused.

    Attributes
    ----------
    lags : (k,) unit of time, from 0 upwards
    values : (k,) currency per share**2, finite
    """

    lags: Any
    values: Any

    def __post_init__(self) -> None:
        lags, values = np.array(self.lags, float), np.array(self.values, float)
        if lags.ndim != 1 or lags.shape != values.shape or len(lags) < 2:
            raise ValidationError(
                f"lags and values must be (k,), k >= 2, got shapes {lags.shape} and {values.shape}"
            )
        if lags[0] != 0 or not np.all(np.diff(lags) > 0):
            raise ValidationError(
                f"lags must rise strictly from 0, got {lags[0]:g}, {lags[1]:g}, ..."
            )
        if not (np.isfinite(lags).all() and np.isfinite(values).all()):
            raise ValidationError(
                "lags and values must be finite; leave out the lags that were not measured"
            )
        for name, array in (("lags", lags), ("values", values)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def _at(self, lags: Float) -> Float:
        last = float(self.lags[-1])
        if lags.size and np.max(lags) > last * (1 + EVENLY_SPACED):
            raise ValidationError(
                f"lag {np.max(lags):g} is past the table's last, {last:g}; fit a kernel to the table"
            )
        return np.interp(lags, self.lags, self.values)

    @property
    def half_life(self) -> float:
        """The first lag at which half of the value at lag 0 is left; inf if not within the table."""
        below = np.flatnonzero(self.values <= 0.5 * self.values[0])
        if not below.size or below[0] == 0:
            return math.inf
        after = below[0]
        drop = self.values[after - 1] - self.values[after]
        part = (self.values[after - 1] - 0.5 * self.values[0]) / drop
        return float(self.lags[after - 1] + part * (self.lags[after] - self.lags[after - 1]))


def kernel_matrix(kernel: Kernel, times: ArrayLike) -> Float:
    """G_ij = kernel(|t_i - t_j|), (n, n), for strictly rising times (n,)."""
    at = trade_times(times)
    lags = np.abs(at[:, None] - at)
    if evenly_spaced(at):
        return linalg.toeplitz(at_lags(kernel, lags[0]))
    return at_lags(kernel, lags)


def displaced(values: Float, pushed: Float) -> Float:
    """sum_{s < t} G_{t-s} pushed_s at each of n even steps, (n,), by FFT; values (n,) are G at lags 0 ... n - 1."""
    return np.asarray(signal.fftconvolve(pushed, np.append(0.0, values[1:]))[: len(pushed)])


def at_lags(kernel: Kernel, lags: Float) -> Float:
    """`kernel(lags)` as floats; refused where it is not finite or not of that shape."""
    if isinstance(kernel, type) or not callable(kernel):
        got = kernel.__name__ + " itself" if isinstance(kernel, type) else repr(kernel)
        raise ValidationError(
            f"kernel must be a function of lags such as ExponentialKernel(decay=0.1), got {got}"
        )
    values = numbers("what the kernel returns", kernel(lags))
    if values.shape != lags.shape:
        raise ValidationError(
            f"kernel returns shape {values.shape} for lags {lags.shape}; it must keep the shape"
        )
    if not np.isfinite(values).all():
        raise ValidationError(
            f"kernel is not finite at lag {lags[~np.isfinite(values)][0]:g}; a shift keeps a power law finite at 0"
        )
    return values


def trade_times(times: ArrayLike) -> Float:
    """(n,) strictly rising times of trading as floats, in the unit of the kernel: dates have none and are refused."""
    if _dated(times):
        raise ValidationError(
            "times must be numbers in the kernel's unit of time, not dates; for a kernel by the second give "
            "(times - times[0]).total_seconds()"
        )
    at = numbers("times", times)
    if at.ndim != 1 or not at.size or not np.isfinite(at).all():
        raise ValidationError(
            f"times must be (n,) finite numbers with n >= 1, got shape {at.shape}"
        )
    if not np.all(np.diff(at) > 0):
        raise ValidationError(
            f"times must rise strictly, they do not after {at[int(np.argmin(np.diff(at)))]:g}"
        )
    return at


def _dated(times: Any) -> bool:
    """Whether times are dates or durations, which NumPy would read as a count of their own resolution."""
    kind = getattr(getattr(times, "dtype", None), "kind", "")
    first = next(iter(times), None) if kind in ("", "O") and hasattr(times, "__iter__") else None
    return kind in tuple("mM") or isinstance(
        first, date | timedelta | np.datetime64 | np.timedelta64
    )


def evenly_spaced(times: Float) -> bool:
    """Whether rising times are a regular grid, to rounding: then the kernel matrix is Toeplitz."""
    gaps = np.diff(times)
    return len(times) < 3 or bool(np.ptp(gaps) <= EVENLY_SPACED * np.max(gaps))

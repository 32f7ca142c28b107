"""Which kernel decays like the propagator, its half-life with an interval, or that the sample cannot tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, stats

from research_lib.checks import refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.monitoring import timed
from research_lib.transient.kernel_noise import LEVEL, SHIFTS, noise_limit, powers
from research_lib.transient.lagged import LagEstimate
from research_lib.wording import significant

Float = NDArray[np.float64]
FitKernel = ExponentialKernel | ExponentialSumKernel | PowerKernel
FAMILIES = ("exponential", "exponential_permanent", "power", "sum")
GRID = 121
END_XTOL = 1e-6  # of log half-life
DECAYS_A_DECADE = 4
SUM_DRAWS = 400
REJECTED = 0.01
MOST_LAGS = 16  # of V's inverse: with more, its own error shows in chi2


@dataclass(frozen=True, eq=False)
class KernelFit(Record):
    """A kernel fitted to a propagator.

    Attributes
    ----------
    family : str
    kernel : ExponentialKernel, ExponentialSumKernel or PowerKernel
        Lags in `unit`.
    half_life : float
        Lag at which half of the immediate impact is left, G(lag) = G(0) / 2; for "exponential_permanent"
        ln 2 / decay, at which half of the part that decays is gone. In `unit`.
    interval : (low, high)
        95 % set of the half-life; 0 or inf where the data set no bound.
    permanent : (estimate, low, high)
        The part that never decays, with its 95 % Wald interval; zeros for families without it.
    chi2, p_value : float
        Distance of the propagator from the kernel and its chance under it; a small p-value: another shape.
    dof : int
        Of chi2.
    decays : bool
        Whether the kernel that does not decay is rejected at 5 % beside the best of the family.
    told : bool
        Whether the kernel describes the data and its half-life is bounded on both sides within their lags.
    reading : str
        The half-life with its interval, or why the sample is too short to tell.
    """

    family: str
    kernel: FitKernel
    half_life: float
    interval: tuple[float, float]
    permanent: tuple[float, float, float]
    chi2: float
    dof: int
    p_value: float
    decays: bool
    told: bool
    unit: str
    reading: str

    @property
    def describes(self) -> bool:
        """Whether the family is not rejected at 1 %: a rejected fit tells neither a half-life nor what stays."""
        return self.p_value >= REJECTED

    @property
    def half_life_of_all(self) -> float:
        """`kernel.half_life`: of the impact with the part that stays, inf where half of it stays; else `half_life`."""
        return self.kernel.half_life

    @property
    def aic(self) -> float:
        """chi2 + 2 parameters, up to a constant of the data: smaller is better."""
        return self.chi2 - 2.0 * self.dof


@timed("fit_kernel")
def fit_kernel(
    estimate: LagEstimate, family: str = "exponential", *, rng: np.random.Generator | None = None
) -> KernelFit:
    r"""Fit a kernel by generalised least squares, its half-life by profile likelihood.

    .. math:: Q(h) = \min_\theta (\hat G - G_{h, \theta})' V^{-1} (\hat G - G_{h, \theta})

    over the other parameters theta >= 0, at 16 lags at most, spread evenly in log lag. The interval is
    {h : Q(h) - min Q <= 3.84}. Half-lives from a tenth of the first lag to a hundred times the last are
    tried: where an end of the set lies there, or the kernel that does not decay is in it, the interval is
    open. The latter has 2 parameters less where a half-life comes with a transient part or a shift, so its
    limit is 5.99; whether it is rejected is `decays`, for an open end alone does not mean no decay. "sum" is
    the nonnegative least-squares mixture over a grid of decays, 0 among them, its interval by redrawing the
    propagator. A kernel that the data reject at 1 % tells no half-life.

    The impact is told from noise where the family takes more of chi2 away than from 95 % of draws of noise alone:
    the half-life and the shift are chosen too, so no chi2 quantile of the scales would do.

    Parameters
    ----------
    estimate : LagEstimate
        G at k lags with its covariance V: a propagator, or an excess spread.
    family : str
        "exponential", "exponential_permanent" (the mid of Obizhaeva and Wang), "power" (its shift among 9
        between 0.1 and 10 first lags) or "sum".
    rng : numpy.random.Generator, optional
        Of the draws of noise and of the redrawn propagators; `numpy.random.default_rng(0)` by default, so that
        the same estimate is always read alike.

    Raises
    ------
    ValidationError
        Unknown family; fewer than four lags.
    ModelFittingError
        Nothing but zero fits: flow does not move the price in its own direction.
    """
    refuse_unknown([family], FAMILIES, "kernel family")
    if len(estimate.values) < 4:
        raise ValidationError(
            f"{len(estimate.values)} lags cannot tell a kernel; estimate 4 or more"
        )
    few = _thinned(estimate)
    whiten = _whitener(few.cov)
    stream = rng or np.random.default_rng(0)
    if family == "sum":
        return _fit_sum(few, whiten, stream)
    return _fit_profiled(few, family, whiten, stream)


def best_kernel(
    estimate: LagEstimate,
    families: tuple[str, ...] = ("exponential", "exponential_permanent", "power"),
) -> KernelFit:
    """The family of smallest chi2 + 2 parameters."""
    return min((fit_kernel(estimate, family) for family in families), key=lambda fit: fit.aic)


def _thinned(estimate: LagEstimate) -> LagEstimate:
    """The estimate at 16 lags at most, in steps that grow with the lag."""
    count = len(estimate.values)
    kept = np.unique(np.round(np.geomspace(1, count, min(MOST_LAGS, count)))).astype(int) - 1
    cov = estimate.cov[np.ix_(kept, kept)]
    return LagEstimate(estimate.lags[kept], estimate.values[kept], cov, estimate.n, estimate.unit)


def _whitener(cov: Float) -> Callable[[Float], Float]:
    """y -> C^-1 y with cov = C C'."""
    try:
        factor = linalg.cholesky(cov, lower=True)
    except linalg.LinAlgError as error:
        raise ModelFittingError(
            "the estimate's covariance is singular; take fewer lags or more data"
        ) from error
    return partial(np.matmul, linalg.solve_triangular(factor, np.eye(len(cov)), lower=True))


@dataclass(frozen=True)
class _Point:
    """Best fit at one half-life: columns' coefficients, chi2, and the shape's other parameter."""

    half_life: float
    chi2: float
    coef: Float
    shift: float = 0.0


def _fit_profiled(
    estimate: LagEstimate, family: str, whiten: Callable[[Float], Float], rng: np.random.Generator
) -> KernelFit:
    target = whiten(estimate.values)
    at = partial(_at_half_life, family, estimate.lags, whiten, target)
    grid = np.geomspace(0.1 * estimate.lags[0], 100.0 * estimate.lags[-1], GRID)
    points = [at(half_life) for half_life in grid]
    best = min([*points, _polished(at, points)], key=lambda point: point.chi2)
    still = _flat(whiten, target)
    if not best.coef.any():
        raise ModelFittingError(
            "no impact in the flow's own direction: only a kernel of 0 fits; nothing decays here"
        )
    decays = still - best.chi2 > stats.chi2.ppf(LEVEL, 1 if family == "exponential" else 2)
    interval = _interval(at, points, best, decays)
    nothing = float(target @ target) - best.chi2 <= noise_limit(
        family, estimate.lags, grid, whiten, rng
    )
    free = len(best.coef) + 1 + (family == "power")
    kernel = _kernel(family, best)
    permanent = (
        _permanent(estimate, whiten, best) if family == "exponential_permanent" else (0.0, 0.0, 0.0)
    )
    return _result(
        estimate,
        family,
        kernel,
        float(best.half_life),
        interval,
        permanent,
        best.chi2,
        free,
        decays,
        nothing,
    )


def _at_half_life(
    family: str, lags: Float, whiten: Callable[[Float], Float], target: Float, half_life: float
) -> _Point:
    """The best kernel of the family with this half-life."""
    decay = np.exp(-math.log(2.0) / half_life * lags)
    if family == "exponential_permanent":
        coef, norm = optimize.nnls(whiten(np.stack([decay, np.ones(len(lags))], axis=1)), target)
        return _Point(half_life, norm**2, coef)
    shifts = np.zeros(1) if family == "exponential" else lags[0] * SHIFTS
    shapes = whiten(decay[:, None] if family == "exponential" else powers(lags, half_life, shifts))
    along, norms = np.maximum(target @ shapes, 0.0), np.sum(shapes**2, axis=0)
    best = int(np.argmax(along**2 / norms))
    chi2 = float(target @ target - along[best] ** 2 / norms[best])
    return _Point(half_life, chi2, along[[best]] / norms[best], float(shifts[best]))


def _polished(at: Callable[[float], _Point], points: list[_Point]) -> _Point:
    """The minimum between the neighbours of the best point of the grid."""
    best = int(np.argmin([point.chi2 for point in points]))
    low, high = points[max(best - 1, 0)].half_life, points[min(best + 1, len(points) - 1)].half_life
    inside = optimize.minimize_scalar(
        lambda log_half: at(math.exp(log_half)).chi2,
        bounds=(math.log(low), math.log(high)),
        method="bounded",
    )
    return at(math.exp(inside.x))


def _flat(whiten: Callable[[Float], Float], target: Float) -> float:
    """chi2 of the kernel that never decays."""
    shape = whiten(np.ones(len(target)))
    scale = max(float(shape @ target) / float(shape @ shape), 0.0)
    return float(np.sum((target - scale * shape) ** 2))


def _interval(
    at: Callable[[float], _Point], points: list[_Point], best: _Point, decays: bool
) -> tuple[float, float]:
    """Ends of {h: Q(h) - min Q <= critical}, by root search outwards from the outermost points inside; open: 0, inf."""
    limit = best.chi2 + stats.chi2.ppf(LEVEL, 1)
    known = sorted([*points, best], key=lambda point: point.half_life)
    inside = [place for place, point in enumerate(known) if point.chi2 <= limit]

    def end(outside: int, beside: int) -> float:
        ends = (math.log(known[outside].half_life), math.log(known[beside].half_life))
        return math.exp(
            optimize.brentq(
                lambda log_half: at(math.exp(log_half)).chi2 - limit, *ends, xtol=END_XTOL
            )
        )

    low = 0.0 if inside[0] == 0 else end(inside[0] - 1, inside[0])
    if inside[-1] == len(known) - 1 or not decays:
        return low, math.inf
    return low, end(inside[-1] + 1, inside[-1])


def _kernel(family: str, best: _Point) -> FitKernel:
    decay = math.log(2.0) / best.half_life
    if family == "exponential":
        return ExponentialKernel(decay, float(best.coef[0]))
    if family == "exponential_permanent":
        return ExponentialSumKernel((decay, 0.0), (float(best.coef[0]), float(best.coef[1])))
    exponent = math.log(2.0) / math.log1p(best.half_life / best.shift)
    return PowerKernel(exponent, float(best.coef[0]), float(best.shift))


def _permanent(
    estimate: LagEstimate, whiten: Callable[[Float], Float], best: _Point
) -> tuple[float, float, float]:
    """The constant with its Wald interval: the covariance of all three parameters, linearised at the best fit."""
    decay = math.log(2.0) / best.half_life
    shape = np.exp(-decay * estimate.lags)
    slope = np.stack([shape, np.ones(len(shape)), -best.coef[0] * estimate.lags * shape], axis=1)
    cov = linalg.pinvh(whiten(slope).T @ whiten(slope))
    half = float(stats.norm.ppf(0.5 + 0.5 * LEVEL)) * math.sqrt(max(cov[1, 1], 0.0))
    value = float(best.coef[1])
    return value, max(value - half, 0.0), value + half


def _fit_sum(
    estimate: LagEstimate, whiten: Callable[[Float], Float], rng: np.random.Generator
) -> KernelFit:
    """Nonnegative mixture over a grid of decays; the interval by redrawing the propagator from its own law."""
    first, last = estimate.lags[0], estimate.lags[-1]
    count = 1 + math.ceil(DECAYS_A_DECADE * math.log10(4.0 * last / first))
    decays = np.append(0.0, np.geomspace(0.25 / last, 1.0 / first, max(count, 2)))
    shapes = np.exp(-np.outer(estimate.lags, decays))
    white = whiten(shapes)
    weights, norm = optimize.nnls(white, whiten(estimate.values))
    if not weights.any():
        raise ModelFittingError(
            "no impact in the flow's own direction: only a kernel of 0 fits; nothing decays here"
        )
    kernel = _mixture(decays, weights)
    draws = rng.multivariate_normal(shapes @ weights, estimate.cov, SUM_DRAWS, method="cholesky")
    again = [optimize.nnls(white, whiten(draw))[0] for draw in draws]
    lives = [_mixture(decays, drawn).half_life if drawn.any() else 0.0 for drawn in again]
    low, high = np.quantile(lives, [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL], method="inverted_cdf")
    free = int(np.count_nonzero(weights))
    lasting = np.quantile([drawn[0] for drawn in again], [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL])
    fixed = (float(weights[0]), float(lasting[0]), float(lasting[1]))
    noise = rng.standard_normal((SUM_DRAWS, len(estimate.lags)))
    gains = [drawn @ drawn - optimize.nnls(white, drawn)[1] ** 2 for drawn in noise]
    nothing = float(np.sum(whiten(estimate.values) ** 2)) - norm**2 <= float(
        np.quantile(gains, LEVEL)
    )
    decays = _flat(whiten, whiten(estimate.values)) - norm**2 > stats.chi2.ppf(LEVEL, 2)
    interval = (float(low), float(high))
    return _result(
        estimate, "sum", kernel, kernel.half_life, interval, fixed, norm**2, free, decays, nothing
    )


def _mixture(decays: Float, weights: Float) -> ExponentialSumKernel:
    used = weights > 0
    return ExponentialSumKernel(tuple(decays[used]), tuple(weights[used]))


def _result(
    estimate: LagEstimate,
    family: str,
    kernel: FitKernel,
    half_life: float,
    interval: tuple[float, float],
    permanent: tuple[float, float, float],
    chi2: float,
    free: int,
    decays: bool,
    nothing: bool,
) -> KernelFit:
    dof = len(estimate.values) - free
    p_value = float(stats.chi2.sf(chi2, dof))
    describes = p_value >= REJECTED
    told = bool(
        describes and not nothing and interval[0] > 0.0 and interval[1] <= estimate.lags[-1]
    )
    reading = _reading(half_life, interval, estimate, told, nothing, decays)
    if not describes:
        reading = f"no half-life: {_misfit(estimate)}, which no {family.replace('_', ' + ')} kernel describes"
    found = chi2, dof, p_value, bool(decays), told
    return KernelFit(family, kernel, half_life, interval, permanent, *found, estimate.unit, reading)


def _misfit(estimate: LagEstimate) -> str:
    """What the estimate does that kernels do not."""
    rise = estimate.values[-1] - estimate.values[0]
    error = math.sqrt(estimate.cov[0, 0] + estimate.cov[-1, -1] - 2.0 * estimate.cov[0, -1])
    if rise > stats.norm.ppf(0.5 + 0.5 * LEVEL) * error:
        return f"the impact still builds up from lag {estimate.lags[0]:.3g} to {estimate.lags[-1]:.3g} {estimate.unit}"
    return (
        "the impact decays, but in another shape"
        if rise < 0
        else "the impact neither decays nor stands still"
    )


def _reading(
    half_life: float,
    interval: tuple[float, float],
    estimate: LagEstimate,
    told: bool,
    nothing: bool,
    decays: bool,
) -> str:
    """The verdict as a sentence's part."""
    low, high, unit, last = *interval, estimate.unit, estimate.lags[-1]
    life, least, most, end = map(significant, (half_life, low, high, last))
    if nothing:
        return "too short to tell: the impact itself cannot be told from noise"
    if told:
        return f"half-life of {life} {unit} (95 % interval {least} to {most})"
    if low == 0.0 and high <= last:
        return f"too short a life to measure: at most {most} {unit}, and the first lag is {significant(estimate.lags[0])}"
    bound = f"every half-life above {least} {unit}" if low > 0 else "every half-life"
    if not decays:
        return f"too short to tell: {bound} agrees with the data, no decay at all among them"
    if math.isinf(high):
        return f"it decays, half-life not bounded above: {bound} agrees with the data, no decay at all does not"
    return (
        f"too short to tell how fast: half-lives of {least} to {most} {unit} agree with the data, whose lags "
        f"end at {end}"
    )

"""Which kernel decays like the propagator, its half-life with an interval, or why none is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

from research_lib.checks import refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.monitoring import timed
from research_lib.transient.propagator import LagEstimate
from research_lib.wording import significant

Float = NDArray[np.float64]
Span = tuple[float, float, float]
FitKernel = ExponentialKernel | ExponentialSumKernel | PowerKernel
FAMILIES = ("exponential", "exponential_permanent", "power", "sum")
LEVEL = 0.95
TAILS = (0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL)
Z = float(special.ndtri(TAILS[1]))  # scipy.special: scipy.stats takes a second to import
GRID = 121
END_XTOL = 1e-6  # of log half-life
SHIFTS = np.geomspace(0.1, 10.0, 9)  # of a power law, in first lags
DECAYS_A_DECADE = 4
SUM_DRAWS, NOISE_DRAWS = 400, 1000
REJECTED = 0.01
MAX_LAGS = 16  # of V's inverse: with more, its own error shows in chi2


@dataclass(frozen=True, eq=False)
class KernelFit(Record):
    """A kernel fitted to a propagator.

    Attributes
    ----------
    family : str
    kernel : ExponentialKernel, ExponentialSumKernel or PowerKernel
        Lags in `unit`.
    half_life : float
        Lag at which half of the immediate impact is left, G(lag) = G(0) / 2; for
        "exponential_permanent" ln 2 / decay, at which half of the decaying part is gone. In `unit`.
    interval : (low, high)
        95 % set of the half-life; 0 or inf where the data set no bound.
    permanent : (estimate, low, high)
        The permanent component with its 95 % Wald interval; zeros for families without it.
    chi2, p_value : float
        Distance of the propagator from the kernel and its chance under it; a small p-value means
        another shape.
    dof : int
        Of chi2.
    decays : bool
        Whether the kernel that does not decay is rejected at 5 % beside the best of the family.
    identified : bool
        Whether the kernel describes the data and its half-life is bounded on both sides within
        their lags.
    reading : str
        The half-life with its interval, or why the sample is too short to identify it.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, ExponentialKernel(0.2, 0.01)(lags), cov, 5000, "trades")
    >>> found = fit_kernel(estimate)
    >>> found.identified, found.describes, round(found.aic, 3)
    (True, True, -22.0)
    """

    family: str
    kernel: FitKernel
    half_life: float
    interval: tuple[float, float]
    permanent: Span
    chi2: float
    dof: int
    p_value: float
    decays: bool
    identified: bool
    unit: str
    reading: str

    @property
    def describes(self) -> bool:
        """Whether the family is not rejected at 1 %: a rejected fit has neither a half-life nor a
        permanent component."""
        return self.p_value >= REJECTED

    @property
    def half_life_of_all(self) -> float:
        """`kernel.half_life`: of the impact with its permanent component, inf where that is half
        of it or more; else `half_life`."""
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

    over the other parameters theta >= 0, at 16 lags at most, spread evenly in log lag. The
    interval is {h : Q(h) - min Q <= 3.84}. Half-lives from a tenth of the first lag to a hundred
    times the last are tried: where an end of the set lies there, or the kernel that does not decay
    is in it, the interval is open. The latter has 2 parameters less where a half-life comes with a
    transient part or a shift, so its limit is 5.99; whether it is rejected is `decays`, for an open
    end alone does not mean no decay. "sum" is the nonnegative least-squares mixture over a grid of
    decays, 0 among them, its interval by redrawing the propagator. A kernel that the data reject
    at 1 % has no half-life.

    The impact is distinguished from noise where the family takes more of chi2 away than from 95 %
    of draws of noise alone: the half-life and the shift are chosen too, so no chi2 quantile of the
    scales would do.

    Parameters
    ----------
    estimate : LagEstimate
        G at k lags with its covariance V: a propagator, or an excess spread.
    family : str
        "exponential", "exponential_permanent" (the mid of Obizhaeva and Wang), "power" (its shift
        among 9 between 0.1 and 10 first lags) or "sum".
    rng : numpy.random.Generator, optional
        Of the draws of noise and of the redrawn propagators; `numpy.random.default_rng(0)` by
        default, so that the same estimate is always read alike.

    Raises
    ------
    ValidationError
        Unknown family; fewer than four lags.
    ModelFittingError
        Nothing but zero fits: flow does not move the price in its own direction.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, ExponentialKernel(0.2, 0.01)(lags), cov, 5000, "trades")
    >>> fit_kernel(estimate, "exponential").reading
    'half-life of 3.47 trades (95 % interval 3.07 to 3.94)'
    """
    refuse_unknown([family], FAMILIES, "kernel family")
    if len(estimate.values) < 4:
        raise ValidationError(
            f"{len(estimate.values)} lags cannot tell a kernel; estimate 4 or more"
        )
    problem, stream = _Problem.of(estimate), rng or np.random.default_rng(0)
    if family == "sum":
        return _concluded(family, problem.estimate, _fit_mixture(problem, stream))
    return _concluded(family, problem.estimate, _fit_profiled(family, problem, stream))


def best_kernel(
    estimate: LagEstimate,
    families: tuple[str, ...] = ("exponential", "exponential_permanent", "power"),
) -> KernelFit:
    """The family of smallest chi2 + 2 parameters.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-10 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, PowerKernel(0.5, 0.01)(lags), cov, 5000, "trades")
    >>> best_kernel(estimate, ("exponential", "power")).family
    'power'
    """
    return min((fit_kernel(estimate, family) for family in families), key=lambda fit: fit.aic)


@dataclass(frozen=True)
class _Problem:
    """An estimate at few lags, and C^-1 with cov = C C': C^-1 y has errors of variance 1."""

    estimate: LagEstimate
    whitener: Float
    target: Float

    @classmethod
    def of(cls, estimate: LagEstimate) -> _Problem:
        """At 16 lags at most, in steps that grow with the lag."""
        count = len(estimate.values)
        steps = np.round(np.geomspace(1, count, min(MAX_LAGS, count)))
        kept = np.unique(steps).astype(int) - 1
        lags, values = estimate.lags[kept], estimate.values[kept]
        cov = estimate.cov[np.ix_(kept, kept)]
        few = LagEstimate(lags, values, cov, estimate.n, estimate.unit)
        try:
            factor = linalg.cholesky(cov, lower=True)
        except linalg.LinAlgError as error:
            raise ModelFittingError(
                "the estimate's covariance is singular; take fewer lags or more data"
            ) from error
        whitener = linalg.solve_triangular(factor, np.eye(len(kept)), lower=True)
        return cls(few, whitener, whitener @ values)

    def flat_chi2(self) -> float:
        """chi2 of the kernel that never decays."""
        shape = self.whitener @ np.ones(len(self.target))
        scale = max(float(shape @ self.target) / float(shape @ shape), 0.0)
        return float(np.sum((self.target - scale * shape) ** 2))


@dataclass(frozen=True)
class _Point:
    """Best fit at one half-life: columns' coefficients, chi2, and the shape's other parameter."""

    half_life: float
    chi2: float
    coef: Float
    shift: float = 0.0


class _Best(NamedTuple):
    """The best kernel of a family; `free` parameters were chosen, `noise`: no impact is seen."""

    kernel: FitKernel
    half_life: float
    interval: tuple[float, float]
    permanent: Span
    chi2: float
    free: int
    decays: bool
    noise: bool


def _fit_profiled(family: str, problem: _Problem, rng: np.random.Generator) -> _Best:
    """The best half-life of a grid, polished, with its profile interval."""
    lags = problem.estimate.lags
    at = partial(_at_half_life, family, problem)
    grid = np.geomspace(0.1 * lags[0], 100.0 * lags[-1], GRID)
    points = [at(half_life) for half_life in grid]
    best = min([*points, _polished(at, points)], key=lambda point: point.chi2)
    _refuse_zero(best.coef)
    decays = problem.flat_chi2() - best.chi2 > _chi2_limit(1 if family == "exponential" else 2)
    interval = _interval(at, points, best, decays)
    lasting = _permanent(problem, best) if family == "exponential_permanent" else (0.0, 0.0, 0.0)
    free = len(best.coef) + 1 + (family == "power")
    gain = float(problem.target @ problem.target) - best.chi2
    noise = gain <= _noise_limit(family, problem, grid, rng)
    kernel, half_life = _kernel(family, best), float(best.half_life)
    return _Best(kernel, half_life, interval, lasting, best.chi2, free, decays, noise)


def _chi2_limit(dof: int) -> float:
    """95 % quantile of chi2."""
    return 2.0 * float(special.gammaincinv(0.5 * dof, LEVEL))


def _refuse_zero(weights: Float) -> None:
    if not weights.any():
        raise ModelFittingError(
            "no impact in the flow's own direction: only a kernel of 0 fits; nothing decays here"
        )


def _powers(lags: Float, half_life: float, shifts: Float) -> Float:
    """Power laws of this half-life by shift, (k, s)."""
    return (1.0 + lags[:, None] / shifts) ** (-math.log(2.0) / np.log1p(half_life / shifts))


def _at_half_life(family: str, problem: _Problem, half_life: float) -> _Point:
    """The best kernel of the family with this half-life."""
    lags, target = problem.estimate.lags, problem.target
    decay = np.exp(-math.log(2.0) / half_life * lags)
    if family == "exponential_permanent":
        shapes = problem.whitener @ np.stack([decay, np.ones(len(lags))], axis=1)
        coef, norm = optimize.nnls(shapes, target)
        return _Point(half_life, norm**2, coef)
    shifts = np.zeros(1) if family == "exponential" else lags[0] * SHIFTS
    shapes = decay[:, None] if family == "exponential" else _powers(lags, half_life, shifts)
    shapes = problem.whitener @ shapes
    along, norms = np.maximum(target @ shapes, 0.0), np.sum(shapes**2, axis=0)
    best = int(np.argmax(along**2 / norms))
    chi2 = float(target @ target - along[best] ** 2 / norms[best])
    return _Point(half_life, chi2, along[[best]] / norms[best], float(shifts[best]))


def _polished(at: Callable[[float], _Point], points: list[_Point]) -> _Point:
    """The minimum between the neighbours of the best point of the grid."""
    best = int(np.argmin([point.chi2 for point in points]))
    ends = points[max(best - 1, 0)], points[min(best + 1, len(points) - 1)]
    inside = optimize.minimize_scalar(
        lambda log_half: at(math.exp(log_half)).chi2,
        bounds=[math.log(end.half_life) for end in ends],
        method="bounded",
    )
    return at(math.exp(inside.x))


def _interval(
    at: Callable[[float], _Point], points: list[_Point], best: _Point, decays: bool
) -> tuple[float, float]:
    """Ends of {h: Q(h) - min Q <= critical}; open ones are 0 and inf.

    Roots are searched outwards from the outermost points inside, so that a gap within the set
    does not shorten it.
    """
    limit = best.chi2 + _chi2_limit(1)
    known = sorted([*points, best], key=lambda point: point.half_life)
    inside = [place for place, point in enumerate(known) if point.chi2 <= limit]

    def end(*places: int) -> float:
        root = optimize.brentq(
            lambda log_half: at(math.exp(log_half)).chi2 - limit,
            *(math.log(known[place].half_life) for place in places),
            xtol=END_XTOL,
        )
        return math.exp(root)

    low = 0.0 if inside[0] == 0 else end(inside[0] - 1, inside[0])
    if inside[-1] == len(known) - 1 or not decays:
        return low, math.inf
    return low, end(inside[-1] + 1, inside[-1])


def _kernel(family: str, best: _Point) -> FitKernel:
    decay, scale = math.log(2.0) / best.half_life, float(best.coef[0])
    if family == "exponential":
        return ExponentialKernel(decay, scale)
    if family == "exponential_permanent":
        return ExponentialSumKernel((decay, 0.0), (scale, float(best.coef[1])))
    exponent = math.log(2.0) / math.log1p(best.half_life / best.shift)
    return PowerKernel(exponent, scale, best.shift)


def _permanent(problem: _Problem, best: _Point) -> Span:
    """The constant with its Wald interval.

    From the covariance of all three parameters, linearised at the best fit.
    """
    lags = problem.estimate.lags
    shape = np.exp(-math.log(2.0) / best.half_life * lags)
    slope = np.stack([shape, np.ones(len(lags)), -best.coef[0] * lags * shape], axis=1)
    white = problem.whitener @ slope
    half = Z * math.sqrt(max(linalg.pinvh(white.T @ white)[1, 1], 0.0))
    value = float(best.coef[1])
    return value, max(value - half, 0.0), value + half


def _noise_limit(family: str, problem: _Problem, grid: Float, rng: np.random.Generator) -> float:
    """95 % quantile of what the best kernel of a family takes off |y|^2 where there is no impact.

    y is standard normal.
    """
    lags = problem.estimate.lags
    if family == "power":
        shapes = np.concatenate([_powers(lags, life, lags[0] * SHIFTS) for life in grid], axis=1)
    else:
        shapes = np.exp(-math.log(2.0) * lags[:, None] / grid)
    noise, white = rng.standard_normal((NOISE_DRAWS, len(lags))), problem.whitener @ shapes
    units = white / np.linalg.norm(white, axis=0)
    along = noise @ units
    gain = np.maximum(along, 0.0) ** 2
    if family == "exponential_permanent":  # two shapes: both where both help, else the better one
        still = problem.whitener @ np.ones(len(lags))
        still /= np.linalg.norm(still)
        flat, shared = (noise @ still)[:, None], still @ units
        both = (along > shared * flat) & (flat > shared * along) & (shared**2 < 1.0 - 1e-9)
        pair = along**2 + flat**2 - 2.0 * shared * along * flat
        alone = np.maximum(gain, np.maximum(flat, 0.0) ** 2)
        gain = np.where(both, pair / np.maximum(1.0 - shared**2, 1e-9), alone)
    return float(np.quantile(gain.max(axis=1), LEVEL))


def _fit_mixture(problem: _Problem, rng: np.random.Generator) -> _Best:
    """Nonnegative mixture over a grid of decays.

    Its interval comes from redrawing the propagator from its own law.
    """
    few, target = problem.estimate, problem.target
    first, last = few.lags[0], few.lags[-1]
    count = 1 + math.ceil(DECAYS_A_DECADE * math.log10(4.0 * last / first))
    rates = np.append(0.0, np.geomspace(0.25 / last, 1.0 / first, max(count, 2)))
    shapes = np.exp(-np.outer(few.lags, rates))
    white = problem.whitener @ shapes
    weights, norm = optimize.nnls(white, target)
    _refuse_zero(weights)
    kernel = _mixture(rates, weights)
    draws = rng.multivariate_normal(shapes @ weights, few.cov, SUM_DRAWS, method="cholesky")
    again = [optimize.nnls(white, problem.whitener @ draw)[0] for draw in draws]
    lives = [_mixture(rates, drawn).half_life if drawn.any() else 0.0 for drawn in again]
    noise = rng.standard_normal((SUM_DRAWS, len(few.lags)))
    gains = [drawn @ drawn - optimize.nnls(white, drawn)[1] ** 2 for drawn in noise]
    low, high = np.quantile(lives, TAILS, method="inverted_cdf").tolist()
    least, most = np.quantile([drawn[0] for drawn in again], TAILS).tolist()
    lasting, free = (float(weights[0]), least, most), int(np.count_nonzero(weights))
    decays = problem.flat_chi2() - norm**2 > _chi2_limit(2)
    noise = float(np.sum(target**2)) - norm**2 <= float(np.quantile(gains, LEVEL))
    return _Best(kernel, kernel.half_life, (low, high), lasting, norm**2, free, decays, noise)


def _mixture(rates: Float, weights: Float) -> ExponentialSumKernel:
    used = weights > 0
    return ExponentialSumKernel(tuple(rates[used]), tuple(weights[used]))


def _concluded(family: str, estimate: LagEstimate, best: _Best) -> KernelFit:
    """The fit with its verdict."""
    kernel, half_life, interval, lasting, chi2, free, decays, noise = best
    dof = len(estimate.values) - free
    p_value = float(special.chdtrc(dof, chi2))
    bounded = interval[0] > 0.0 and interval[1] <= estimate.lags[-1]
    identified = bool(p_value >= REJECTED and not noise and bounded)
    tested = chi2, dof, p_value, bool(decays), identified
    fit = KernelFit(family, kernel, half_life, interval, lasting, *tested, estimate.unit, "")
    if not fit.describes:
        name = family.replace("_", " + ")
        reading = f"no half-life: {_misfit(estimate)}, which no {name} kernel describes"
    elif noise:
        reading = "too short to tell: the impact itself cannot be told from noise"
    else:
        reading = _reading(fit, estimate)
    return dataclasses.replace(fit, reading=reading)


def _misfit(estimate: LagEstimate) -> str:
    """What the estimate does that kernels do not."""
    rise = estimate.values[-1] - estimate.values[0]
    cov, unit = estimate.cov, estimate.unit
    if rise > Z * math.sqrt(cov[0, 0] + cov[-1, -1] - 2.0 * cov[0, -1]):
        first, last = estimate.lags[[0, -1]]
        return f"the impact still builds up from lag {first:.3g} to {last:.3g} {unit}"
    if rise < 0:
        return "the impact decays, but in another shape"
    return "the impact neither decays nor stands still"


def _reading(fit: KernelFit, estimate: LagEstimate) -> str:
    """The half-life of a family that describes the data, as part of a sentence."""
    (low, high), unit = fit.interval, fit.unit
    first, last = estimate.lags[[0, -1]]
    life, least, most, start, end = map(significant, (fit.half_life, low, high, first, last))
    if fit.identified:
        return f"half-life of {life} {unit} (95 % interval {least} to {most})"
    if low == 0.0 and high <= last:
        return f"too short a life to measure: at most {most} {unit}, and the first lag is {start}"
    bound = f"every half-life above {least} {unit}" if low > 0 else "every half-life"
    if not fit.decays:
        return f"too short to tell: {bound} agrees with the data, no decay at all among them"
    if math.isinf(high):
        return (
            f"it decays, half-life not bounded above: {bound} agrees with the data, "
            "no decay at all does not"
        )
    return (
        f"too short to tell how fast: half-lives of {least} to {most} {unit} agree with the data, "
        f"whose lags end at {end}"
    )

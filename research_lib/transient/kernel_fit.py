"""Which kernel decays like the propagator, its half-life with an interval, or why none is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, optimize, special

from research_lib.checks import Float, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import DecayKernel, ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.transient.flow import LagEstimate, quantile
from research_lib.wording import significant

Span = tuple[float, float, float]
Chi2 = Callable[[float], float]  # of the logarithm of a half-life
FAMILIES = ("exponential", "exponential_permanent", "power")
LEVEL = 0.95
CHI2 = {dof: 2.0 * float(special.gammaincinv(0.5 * dof, LEVEL)) for dof in (1, 2)}
LN2, REJECTED = math.log(2.0), 0.01
GRID, NOISE_DRAWS = 121, 1000
SHIFTS = np.geomspace(0.1, 10.0, 9)  # of a power law, in first lags
MAX_LAGS = 16  # of V's inverse: with more, its own error shows in chi2
CLUSTERS_A_LAG = 6  # likewise: V of n clusters is a Wishart matrix of n - 1 degrees of freedom


@dataclass(frozen=True, eq=False)
class KernelFit(Record):
    """A kernel fitted to a propagator.

    Attributes
    ----------
    family : str
    kernel : DecayKernel
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
        "half-life of ..." with its interval, or "not identified: " and why.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, ExponentialKernel(0.2, 0.01)(lags), cov, 5000, "trades")
    >>> found = fit_kernel(estimate)
    >>> found.identified, found.describes, found.decays
    (True, True, True)
    """

    family: str
    kernel: DecayKernel
    half_life: float
    interval: tuple[float, float]
    permanent: Span
    chi2: float
    dof: int
    p_value: float
    decays: bool
    identified: bool
    reading: str

    @property
    def label(self) -> str:
        """The family as words: exponential, exponential + permanent, power."""
        return self.family.replace("_", " + ")

    @property
    def describes(self) -> bool:
        """Whether the family is not rejected at 1 %: a rejected fit has neither a half-life nor a
        permanent component."""
        return self.p_value >= REJECTED


def fit_kernel(estimate: LagEstimate, family: str = "exponential") -> KernelFit:
    r"""Fit a kernel by generalised least squares, its half-life by profile likelihood.

    .. math:: Q(h) = \min_\theta (\hat G - G_{h, \theta})' V^{-1} (\hat G - G_{h, \theta})

    over the other parameters theta >= 0, at 16 lags at most (one for every six clusters where V has
    some), spread evenly in log lag. The
    interval is {h : Q(h) - min Q <= 3.84}. Half-lives from a tenth of the first lag to a hundred
    times the last are tried: where an end of the set lies there, or the kernel that does not decay
    is in it, the interval is open. The latter has 2 parameters less where a half-life comes with a
    transient part or a shift, so its limit is 5.99; whether it is rejected is `decays`, for an open
    end alone does not mean no decay. A kernel that the data reject at 1 % has no half-life.

    The impact is distinguished from noise where the family takes more of chi2 away than from 95 %
    of draws of noise alone, the same draws each time: the half-life and the shift are chosen too,
    so no chi2 quantile of the scales would do.

    Parameters
    ----------
    estimate : LagEstimate
        G at k lags with its covariance V: a propagator, or an excess spread.
    family : str
        "exponential", "exponential_permanent" (the mid of Obizhaeva and Wang) or "power" (its shift
        among 9 between 0.1 and 10 first lags).

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
    lags, white, target = _whitened(estimate)
    total, flat = float(target @ target), float(_unit(white.sum(axis=1)) @ target)

    def gain(log_life: float, targets: Float = target[None]) -> Float:
        return _gain(family, lags, white, math.exp(log_life), targets)

    def chi2(log_life: float) -> float:
        return total - float(gain(log_life)[0])

    grid = np.log(np.geomspace(0.1 * lags[0], 100.0 * lags[-1], GRID))
    best = _minimum(chi2, grid)
    life, n_free = math.exp(best), 2 if family == "exponential" else 3
    kernel = _fitted(family, lags, white, life, target)
    # Not chi2(best): next to no noise its difference of large sums rounds to either side of 0.
    residual = target - white @ kernel(lags)
    least = float(residual @ residual)
    decays = total - least - max(flat, 0.0) ** 2 > CHI2[n_free - 1]  # against a constant kernel
    interval = _interval(chi2, np.sort(np.append(grid, best)), least + CHI2[1], decays)
    noise = np.random.default_rng(0).standard_normal((NOISE_DRAWS, len(lags)))
    by_chance = np.max([gain(log_life, noise) for log_life in grid], axis=0)
    is_noise = total - least <= float(np.quantile(by_chance, LEVEL))
    dof = len(lags) - n_free
    p_value = float(special.chdtrc(dof, least))
    seen = p_value >= REJECTED and not is_noise
    identified = bool(seen and interval[0] > 0.0 and interval[1] <= lags[-1])
    permanent = _permanent(kernel, lags, white, estimate.clusters)
    found = kernel, life, interval, permanent, least, dof, p_value
    fit = KernelFit(family, *found, bool(decays), identified, "")
    return replace(fit, reading=_reading(fit, estimate, is_noise))


def best_kernel(estimate: LagEstimate, families: tuple[str, ...] = FAMILIES) -> KernelFit:
    """The family of smallest chi2 + 2 parameters.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-10 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, PowerKernel(0.5, 0.01)(lags), cov, 5000, "trades")
    >>> best_kernel(estimate, ("exponential", "power")).family
    'power'
    """
    fits = (fit_kernel(estimate, family) for family in families)
    return min(fits, key=lambda fit: fit.chi2 - 2.0 * fit.dof)  # AIC up to a constant of the data


def _minimum(chi2: Chi2, grid: Float) -> float:
    """The best point of the grid, or better between its neighbours."""
    at = int(np.argmin([chi2(point) for point in grid]))
    bounds = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    inside = optimize.minimize_scalar(chi2, bounds=bounds, method="bounded").x
    return float(min((grid[at], inside), key=chi2))


def _interval(chi2: Chi2, known: Float, limit: float, decays: bool) -> tuple[float, float]:
    """Ends of {h: Q(h) <= limit}; open ones are 0 and inf.

    Roots are searched outwards from the outermost points inside, so that a gap within the set
    does not shorten it.
    """
    inside = np.flatnonzero([chi2(point) <= limit for point in known])
    first, last = int(inside[0]), int(inside[-1])

    def end(outside: int, within: int) -> float:
        ends = known[outside], known[within]
        return math.exp(optimize.brentq(lambda at: chi2(at) - limit, *ends, xtol=1e-6))

    low = 0.0 if first == 0 else end(first - 1, first)
    return low, math.inf if last == len(known) - 1 or not decays else end(last + 1, last)


def _whitened(estimate: LagEstimate) -> tuple[Float, Float, Float]:
    """Lags, C^-1 with cov = C C', and C^-1 G, whose errors have variance 1.

    At 16 lags at most, in steps that grow with the lag. The inverse of a V of n clusters is too
    large by (n - 1) / (n - k - 2) in the mean, which is taken off (Hartlap, Simon and Schneider
    2007).
    """
    count, n = len(estimate.values), estimate.clusters
    if count < 4:
        raise ValidationError(f"{count} lags do not identify a kernel; estimate 4 or more")
    most = min(MAX_LAGS, max(n // CLUSTERS_A_LAG, 4)) if n else MAX_LAGS
    kept = np.unique(np.round(np.geomspace(1, count, min(most, count)))).astype(int) - 1
    cov = estimate.cov[np.ix_(kept, kept)] * ((n - 1) / (n - len(kept) - 2) if n else 1.0)
    try:
        factor = linalg.cholesky(cov, lower=True)
    except linalg.LinAlgError as error:
        raise ModelFittingError("the covariance is singular; take fewer lags") from error
    white = linalg.solve_triangular(factor, np.eye(len(kept)), lower=True)
    return estimate.lags[kept], white, white @ estimate.values[kept]


def _unit(shapes: Float) -> Float:
    """Columns of length 1."""
    return np.asarray(shapes / np.linalg.norm(shapes, axis=0))


def _shapes(family: str, lags: Float, life: float) -> Float:
    """Kernels of this half-life, (k, s): the exponential, or a power law for each shift."""
    if family != "power":
        return np.exp(-LN2 / life * lags)[:, None]
    shifts = lags[0] * SHIFTS
    return (1.0 + lags[:, None] / shifts) ** (-LN2 / np.log1p(life / shifts))


def _gain(family: str, lags: Float, white: Float, life: float, targets: Float) -> Float:
    """What the best kernel of this half-life takes off |y|^2, (d,), for each y of (d, k)."""
    shapes = white @ _shapes(family, lags, life)
    alone = np.max(np.maximum(targets @ _unit(shapes), 0.0) ** 2, axis=1)
    if family != "exponential_permanent":
        return alone
    # exp(-x) - 1 spans the same plane beside the constant, and keeps its digits where x is small;
    # both parts where both help, else the better one.
    still, rest = _unit(white.sum(axis=1)), white @ np.expm1(-LN2 / life * lags)
    rest -= still * (still @ rest)
    across, flat = targets @ _unit(rest), targets @ still
    both = (across > 0) & (np.linalg.norm(rest) * flat > still @ shapes[:, 0] * across)
    alone = np.maximum(alone, np.maximum(flat, 0.0) ** 2)
    return np.where(both, across**2 + flat**2, alone)


def _fitted(family: str, lags: Float, white: Float, life: float, target: Float) -> DecayKernel:
    """The best kernel of this half-life."""
    shapes = white @ _shapes(family, lags, life)
    best = int(np.argmax(target @ _unit(shapes)))
    columns = [shapes[:, best], white.sum(axis=1)][: 1 + (family == "exponential_permanent")]
    coef = optimize.nnls(np.stack(columns, axis=1), target)[0].tolist()
    if not any(coef):
        raise ModelFittingError("no impact in the flow's own direction: only a kernel of 0 fits")
    if family == "exponential":
        return ExponentialKernel(LN2 / life, *coef)
    if family == "exponential_permanent":
        return ExponentialSumKernel((LN2 / life, 0.0), tuple(coef))
    shift = float(lags[0] * SHIFTS[best])
    return PowerKernel(LN2 / math.log1p(life / shift), coef[0], shift)


def _permanent(kernel: DecayKernel, lags: Float, white: Float, clusters: int) -> Span:
    """The constant with its Wald interval, by all three parameters linearised at the fit."""
    if not isinstance(kernel, ExponentialSumKernel):
        return 0.0, 0.0, 0.0
    (decay, _), (scale, value) = kernel.decays, kernel.scales
    shape = np.exp(-decay * lags)
    slope = white @ np.stack([shape, np.ones(len(shape)), -scale * lags * shape], axis=1)
    lengths = np.linalg.norm(slope, axis=0)
    slope /= np.where(lengths > 0, lengths, 1.0)  # what is singular is so in any unit
    error = math.sqrt(max(linalg.pinvh(slope.T @ slope)[1, 1], 0.0)) / lengths[1]
    half = quantile(clusters) * error
    return value, max(value - half, 0.0), value + half


def _reading(fit: KernelFit, estimate: LagEstimate, is_noise: bool) -> str:
    """The half-life, or why none is known, as part of a sentence."""
    (low, high), unit, (first, last) = fit.interval, estimate.unit, estimate.lags[[0, -1]]
    life, least, most, start, end = map(significant, (fit.half_life, low, high, first, last))
    if fit.identified:
        return f"half-life of {life} {unit} (95 % interval {least} to {most})"
    agrees = f"every half-life{f' above {least} {unit}' if low > 0 else ''} agrees with the data"
    short = f"at most {most} {unit}, and no lower bound (the first lag is {start})"
    span = f"from {least} to {most}" if low > 0 else f"up to {most}"
    reasons = {
        _misfit(estimate, f"{fit.label} kernel"): not fit.describes,
        "the effect is not statistically distinguishable from 0": is_noise,
        short: low == 0.0 and high <= last,
        f"{agrees}, and so does a constant effect": not fit.decays,
        f"the effect decays, but {agrees}": math.isinf(high),
        f"half-lives {span} {unit} agree with the data, the longest lag is {end}": True,
    }
    return f"not identified: {next(why for why, holds in reasons.items() if holds)}"


def _misfit(estimate: LagEstimate, kernel: str) -> str:
    """What the estimate does that no such kernel does."""
    (start, end), cov = estimate.lags[[0, -1]], estimate.cov
    rise = estimate.values[-1] - estimate.values[0]
    if rise > quantile(estimate.clusters) * math.sqrt(cov[0, 0] + cov[-1, -1] - 2.0 * cov[0, -1]):
        lags = f"from lag {start:.3g} to {end:.3g} {estimate.unit}"
        return f"the effect still builds up {lags}, which no {kernel} describes"
    return f"the effect {'decays, but' if rise < 0 else 'changes'} as no {kernel} does"

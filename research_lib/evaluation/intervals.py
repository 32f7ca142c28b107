"""Inference on means over sessions: intervals, placebo ranks, multiplicity, power, coverage.

The printed interval and its number of groups are fixed in docs/analysis_plan.md. They were chosen
by the simulation `coverage_table`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import Float, number, numbers
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError

Rng = np.random.Generator
MIN_SESSIONS = 20  # with fewer there is no interval: analysis plan, "Primary comparison"
N_GROUPS = 4
TARGET_POWER = 0.8
TIES = 1e-12  # costs closer than this, relative to the largest, are equal up to rounding
MIN_ERROR = 1e-12  # of a drawn series, relative to the standard deviation of the values


@dataclass(frozen=True)
class MeanInterval(Record):
    """Mean of n values with its limits and the two-sided p-value of a mean of 0.

    Limits and p-value are NaN below 20 values. A bootstrap has no p-value (NaN).

    Examples
    --------
    >>> MeanInterval(-0.5, -1.2, 0.2, 0.11, 40)["upper"]
    0.2
    """

    mean: float
    lower: float
    upper: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Placebo(Record):
    """Rank of the unshifted cost among n circular shifts; `shifted_mean` is over all n.

    Examples
    --------
    >>> Placebo(p_value=0.25, cost=2.0, shifted_mean=3.0, n=4)["p_value"]
    0.25
    """

    p_value: float
    cost: float
    shifted_mean: float
    n: int


@dataclass(frozen=True, eq=False)
class Power(Record):
    """Power by effect, its value at effect 0 (`size`), and the effect found with power 0.8.

    Examples
    --------
    >>> Power(pd.Series({0.0: 0.05, 1.0: 0.85}), size=0.05, detectable=0.94)["detectable"]
    0.94
    """

    power: pd.Series
    size: float
    detectable: float


def mean_interval(values: ArrayLike, n_groups: int = N_GROUPS, level: float = 0.95) -> MeanInterval:
    r"""Interval for the mean of a time series that may be correlated: Student's t over groups.

    .. math::
        \bar y \pm t_{q-1} \, se, \qquad
        se^2 = \frac{q}{q - 1} \sum_{j=1}^{q} \Big( \frac{n_j}{n} (\bar y_j - \bar y) \Big)^2

    of q groups of consecutive values, sizes n_j that differ by one at most, and the plain mean
    of all n values. Where q divides n this is exactly the t interval of the group means
    (Ibragimov and Mueller, 2010); otherwise groups are weighted by size, as in a variance clustered
    by group with q - 1 degrees of freedom (Bester, Conley and Hansen, 2011).

    Parameters
    ----------
    values : (n,)
        One value a session, in time order, in any unit; a Series is read in the order of its rows.
    n_groups : int
        q, 2 to 10.
    level : float
        Of confidence, 0.5 to 0.999.

    Returns
    -------
    MeanInterval
        Limits and p-value are NaN below 20 values.

    Raises
    ------
    ValidationError
        Values that are no series or not finite, naming the first, or a parameter out of range.

    References
    ----------
    Ibragimov, R. and Mueller, U. K. (2010), "t-statistic based correlation and heterogeneity
    robust inference", Journal of Business and Economic Statistics 28(4), 453-468.
    Bester, C. A., Conley, T. G. and Hansen, C. B. (2011), "Inference with dependent data using
    cluster covariance estimators", Journal of Econometrics 165(2), 137-151.

    Examples
    --------
    >>> found = mean_interval(np.repeat([1.0, 2.0, 3.0, 4.0], 5))
    >>> round(found.mean, 3), round(found.lower, 3), round(found.upper, 3)
    (2.5, 0.446, 4.554)
    """
    from scipy.stats import t as student

    series = _series(values)
    groups = number("n_groups", n_groups, 2, MIN_SESSIONS // 2, integer=True)
    tail = (1.0 - number("level", level, 0.5, 0.999)) / 2.0
    if (n := len(series)) < MIN_SESSIONS:
        return MeanInterval(float(series.mean()), np.nan, np.nan, np.nan, n)
    mean, error = (float(one) for one in _mean_and_error(series, _group_starts(n, groups)))
    half = float(student.isf(tail, groups - 1)) * error
    ratio = abs(mean) / error if error > 0 else (np.inf if mean else 0.0)
    p_value = 2.0 * float(student.sf(ratio, groups - 1))
    return MeanInterval(mean, mean - half, mean + half, p_value, n)


def _series(values: ArrayLike, name: str = "values") -> Float:
    """(n,) finite numbers, at least one."""
    series = numbers(name, values)
    if series.ndim != 1 or not len(series):
        raise ValidationError(f"{name} must be (n,) with n of 1 or more, got shape {series.shape}")
    if not (finite := np.isfinite(series)).all():
        found = f"{series[k := int(np.argmin(finite))]} in position {k}"
        raise ValidationError(f"{name} must be finite, got {found}; correct it or leave it out")
    return series


def _group_starts(n: int, n_groups: int) -> NDArray[np.int64]:
    """First position of each group of consecutive values, sizes as equal as possible."""
    return np.arange(n_groups) * n // n_groups


def _mean_and_error(values: Float, starts: NDArray[np.int64]) -> tuple[Float, Float]:
    """Mean over the last axis of (..., n), and its standard error clustered by group."""
    mean = values.mean(axis=-1)
    sums = np.add.reduceat(values - mean[..., None], starts, axis=-1)
    n, q = values.shape[-1], len(starts)
    return mean, np.sqrt(q / (q - 1) * np.square(sums).sum(axis=-1)) / n


def block_bootstrap_interval(values: ArrayLike, rng: Rng, n_draws: int = 999) -> MeanInterval:
    """Studentised circular block bootstrap of the mean, shown beside `mean_interval`.

    It is secondary: 20 to 40 persistent sessions have few blocks, and its coverage is below the
    nominal one (80 % of 20 sessions with an autoregression of 0.6). Blocks have the length of
    Politis and White (2004) as corrected by Patton, Politis and White (2009), rounded up, and at
    most n / 4. The standard error of a drawn series is that of its blocks, as in `mean_interval`
    with blocks for groups; limits are its quantiles times the standard deviation of the drawn means
    (as arch has it).

    Parameters
    ----------
    values : (n,)
        One a session, in time order.
    rng : Generator
    n_draws : int
        At least 99.

    Returns
    -------
    MeanInterval
        Of 95 %, without a p-value (NaN); limits are NaN below 20 values, and the mean itself
        where all values are equal.

    Raises
    ------
    ValidationError
        As `mean_interval`.

    References
    ----------
    Goetze, F. and Kuensch, H. R. (1996), "Second-order correctness of the blockwise bootstrap
    for stationary observations", Annals of Statistics 24(5), 1914-1933.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(1, 1, 40)
    >>> found = block_bootstrap_interval(values, np.random.default_rng(1), n_draws=99)
    >>> found.lower < found.mean < found.upper
    True
    """
    from arch.bootstrap import CircularBlockBootstrap

    series, n_draws = _series(values), number("n_draws", n_draws, 99, integer=True)
    mean, n = float(series.mean()), len(series)
    if n < MIN_SESSIONS:
        return MeanInterval(mean, np.nan, np.nan, np.nan, n)
    if np.ptp(series) == 0:
        return MeanInterval(mean, mean, mean, np.nan, n)
    length, least = _block_length(series), MIN_ERROR * series.std()
    starts = np.arange(0, n, length)
    lower, upper = CircularBlockBootstrap(length, series, seed=rng).conf_int(
        lambda one: one.mean(keepdims=True), n_draws, "studentized", 0.95,
        std_err_func=lambda _, one: np.maximum(_mean_and_error(one, starts)[1], least),
    ).ravel()  # fmt: skip
    return MeanInterval(mean, float(lower), float(upper), np.nan, n)


def _block_length(series: Float) -> int:
    """Of circular blocks; at least four of them, and 1 where all values are equal."""
    from arch.bootstrap import optimal_block_length

    if np.ptp(series) == 0:
        return 1
    optimal = float(optimal_block_length(series)["circular"].iloc[0])
    return int(np.clip(np.ceil(optimal), 1, len(series) // 4))


def holm(p_values: Mapping[str, float] | pd.Series) -> pd.Series:
    """p-values of one table adjusted for their number: Holm's step-down method.

    NaN is not a test: it stays NaN and is not counted.

    Parameters
    ----------
    p_values : mapping or Series
        Label to p-value in [0, 1].

    Returns
    -------
    Series
        Labels in the order given.

    Raises
    ------
    ValidationError
        A value outside [0, 1], naming its label.

    References
    ----------
    Holm, S. (1979), "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6(2), 65-70.

    Examples
    --------
    >>> holm({"static": 0.01, "vwap": 0.04, "twap": float("nan")}).round(6).tolist()
    [0.02, 0.04, nan]
    """
    from statsmodels.stats.multitest import multipletests

    adjusted = pd.Series(p_values, dtype=float)
    tested = adjusted.notna()
    for label, value in adjusted[tested & ~adjusted.between(0, 1)].items():
        raise ValidationError(f"p_values must be in [0, 1], got {value} of {label}")
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted


def circular_shifts(shares: ArrayLike) -> Float:
    """All circular shifts of a schedule, (n, n): row k has x_{t+k} in interval t, row 0 is itself.

    Parameters
    ----------
    shares : (n,)
        x_t.

    Examples
    --------
    >>> circular_shifts([5, 3, 1]).tolist()
    [[5.0, 3.0, 1.0], [3.0, 1.0, 5.0], [1.0, 5.0, 3.0]]
    """
    schedule = _series(shares, "shares")
    steps = np.arange(len(schedule))
    return schedule[(steps[:, None] + steps) % len(schedule)]


def rank_placebo(costs: ArrayLike) -> Placebo:
    r"""Placebo test: rank of the cost of a schedule among those of its circular shifts.

    .. math:: p = \#\{k : cost_k \le cost_0\} / n

    Shifts keep the shape of the schedule and the autocorrelation of the books and change only which
    books the schedule meets. If the distribution of the books does not change under rotation, p is
    uniform on {1/n, ..., 1}. Costs that are equal up to rounding are ties and are counted. The mean
    over shifts is the cost of the shape at an average time of day, not an error of the test: under
    linear impact, cost_k = sum_t h_t x_{t+k} + beta_t x_{t+k}^2, it is mean(h) S + mean(beta) sum
    x^2.

    Parameters
    ----------
    costs : (n,)
        Of the shifts that `circular_shifts` gives, the unshifted first; any unit.

    Returns
    -------
    Placebo

    Raises
    ------
    ValidationError
        Costs that are no series or not finite, naming the first.

    Examples
    --------
    >>> rank_placebo([2.0, 3.0, 1.0, 6.0]).p_value
    0.5
    """
    series = _series(costs, "costs")
    rank = float(np.mean(series <= series[0] + TIES * float(np.abs(series).max())))
    return Placebo(rank, float(series[0]), float(series.mean()), len(series))


def power(values: ArrayLike, effects: ArrayLike, rng: Rng, n_draws: int = 500) -> Power:
    """Power of `mean_interval` to find an effect in sessions that vary like these.

    The values, less their mean, are drawn in circular blocks (length as in
    `block_bootstrap_interval`), so that dependence within a block is kept; every effect is added to
    the same draws. Dependence longer than a block is lost: for 20 or 40 sessions with an
    autoregression of 0.6 the detectable effect is underestimated by a fifth to a quarter.

    Parameters
    ----------
    values : (n,)
        One a session, in time order, bps.
    effects : (k,)
        Hypothetical means, bps, none 0 and all of one sign.
    rng : Generator
    n_draws : int
        At least 99; power of p has a Monte-Carlo error of sqrt(p (1 - p) / n_draws).

    Returns
    -------
    Power
        Power by effect, 0 first (its `size`), and the effect with power 0.8 by linear
        interpolation: NaN where the largest effect has less.

    Raises
    ------
    InsufficientDataError
        Below 20 values.
    ValidationError
        Values or effects that are not finite, or effects of two signs.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(0, 1, 40)
    >>> found = power(values, [0.25, 0.5, 1.0, 2.0], np.random.default_rng(1))
    >>> 0.5 < found.detectable < 1.0
    True
    """
    from scipy.stats import t as student

    series, sizes = _series(values), _series(effects, "effects")
    draws = number("n_draws", n_draws, 99, integer=True)
    if not (np.all(sizes > 0) or np.all(sizes < 0)):
        raise ValidationError(f"effects must be all above 0 or all below, got {sizes.tolist()}")
    if (n := len(series)) < MIN_SESSIONS:
        raise InsufficientDataError(f"values are of {n} sessions; power needs {MIN_SESSIONS}")
    length = _block_length(series)
    starts = rng.integers(n, size=(draws, -(-n // length), 1))
    rows = ((starts + np.arange(length)) % n).reshape(draws, -1)[:, :n]
    # Means of circular blocks have 1 - length / n times the variance for independent values.
    centred = (series - series.mean()) / np.sqrt(1.0 - length / n)
    mean, error = _mean_and_error(centred[rows], _group_starts(n, N_GROUPS))
    half = student.isf(0.025, N_GROUPS - 1) * error
    sizes = np.append(0.0, sizes[np.argsort(np.abs(sizes))])
    found = np.mean(np.abs(mean + sizes[:, None]) > half, axis=1)
    detectable = np.interp(TARGET_POWER, np.maximum.accumulate(found), sizes, right=np.nan)
    return Power(pd.Series(found, sizes), float(found[0]), float(detectable))


def coverage_table(rng: Rng, n_draws: int = 500) -> pd.DataFrame:
    r"""Coverage of 95 % intervals of the mean, and mean widths, by simulation.

    Processes, all less their mean, of z independent standard normal and u a Gaussian
    autoregression of 0.6 with variance 1 started from stationarity:

    ================ ====================================================================
    independent      z
    skewed           exp(z / 2), of skewness 1.75
    tied to level    exp(u / 2) (1 + e): a share, e as z, of a level of cost that persists
    AR(1) 0.6        u
    persistent level exp(u / 2): a fixed share of that level
    very skewed      exp(z), of skewness 6.2
    ================ ====================================================================

    The first four are the analysis plan's. The last two are harder and shown in addition: at 20
    sessions their coverage is below 91 %.

    Intervals: `mean_interval` with four groups (the one printed), 3, 5 and 8; Student's t of the
    equally weighted cosine estimator with B = 3, 4 and 6 cosines,

    .. math::
        se^2 = \frac{1}{n B} \sum_{j=1}^{B} \Big( \sqrt{2 / n} \sum_{t=1}^{n} y_t
            \cos\big(\pi j (t - 1/2) / n\big) \Big)^2

    with B degrees of freedom. Bootstraps are too slow for a table that each report simulates anew:
    on 500 series of the autoregression, 20 sessions each, the percentile bootstrap of single
    sessions covered 61 %, `block_bootstrap_interval` 80 % and four groups 91 %.

    Parameters
    ----------
    rng : Generator
    n_draws : int
        Simulated series a process and length; coverage of c has a Monte-Carlo error of
        sqrt(c (1 - c) / n_draws): 1 percentage point at 95 % and 500.

    Returns
    -------
    DataFrame
        Index (process, sessions: 20 and 40); columns (coverage_% or width, interval). A width is
        relative to the printed interval's mean width on the same series.

    References
    ----------
    Mueller, U. K. (2007), "A theory of robust long-run variance estimation", Journal of
    Econometrics 141(2), 1331-1352. Lazarus, E., Lewis, D. J., Stock, J. H. and Watson, M. W.
    (2018), "HAR inference: recommendations for practice", Journal of Business and Economic
    Statistics 36(4), 541-559.

    Examples
    --------
    >>> table = coverage_table(np.random.default_rng(0), n_draws=200)
    >>> table.loc[("independent", 20), ("width", "4 groups")]
    np.float64(1.0)
    """
    n_draws, rows = number("n_draws", n_draws, 1, integer=True), {}
    for n in (20, 40):
        for process, values in _processes(rng, n_draws, n).items():
            limits = _t_limits(values)
            printed, covered, width = np.ptp(limits[f"{N_GROUPS} groups"], axis=1), {}, {}
            for name, (lower, upper) in ((name, one.T) for name, one in limits.items()):
                covered["coverage_%", name] = 100.0 * np.mean((lower <= 0) & (upper >= 0))
                width["width", name] = np.mean(upper - lower) / np.mean(printed)
            rows[process, n] = covered | width
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["process", "sessions"])


def _processes(rng: np.random.Generator, n_draws: int, n: int) -> dict[str, Float]:
    """Simulated series of true mean 0, (n_draws, n) each."""
    from scipy.signal import lfilter

    normal, varying = rng.normal(size=(2, n_draws, n))
    shocks = np.column_stack([normal[:, 0], np.sqrt(1.0 - 0.6**2) * normal[:, 1:]])
    persistent = lfilter([1.0], [1.0, -0.6], shocks)
    return {
        "independent": normal, "skewed": np.exp(0.5 * normal) - np.exp(0.125),
        "persistent level": np.exp(0.5 * persistent) - np.exp(0.125), "AR(1) 0.6": persistent,
        "tied to level": np.exp(0.5 * persistent) * (1.0 + varying) - np.exp(0.125),
        "very skewed": np.exp(normal) - np.exp(0.5),
    }  # fmt: skip


def _t_limits(values: Float) -> dict[str, Float]:
    """Limits by fixed-smoothing t of (n_draws, n), (n_draws, 2) each."""
    from scipy.stats import t as student

    n, errors = values.shape[1], {}
    for q in (N_GROUPS, 3, 5, 8):
        errors[f"{q} groups"] = q - 1, _mean_and_error(values, _group_starts(n, q))[1]
    for b in (3, 4, 6):
        angles = np.pi * np.outer(np.arange(n) + 0.5, np.arange(1, b + 1)) / n
        weights = values @ (np.sqrt(2.0 / n) * np.cos(angles))
        errors[f"{b} cosines"] = b, np.sqrt(np.mean(np.square(weights), axis=1) / n)
    half = {name: student.isf(0.025, df) * error for name, (df, error) in errors.items()}
    mean = values.mean(axis=1)
    return {name: np.column_stack([mean - one, mean + one]) for name, one in half.items()}

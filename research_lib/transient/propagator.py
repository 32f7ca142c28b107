r"""How the price answers to trades: responses, and the propagators behind them.

Responses mix what a trade does with what the trades after it do, since signs remember.
The propagator separates them (Bouchaud et al. 2004): with the flow x_t and the mid m_t just
before step t,

.. math:: m_t = m_{-\infty} + \sum_{s < t} G(t - s) \, x_s + \mathrm{noise}.

All estimates along lags have bands that allow for dependence between steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, special

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import Kernel, at_lags
from research_lib.impact.kernels import displaced
from research_lib.monitoring import timed
from research_lib.transient.flow import SignedFlow

Float = NDArray[np.float64]
SUP_T_DRAWS = 10_000
STEPS_A_LAG = 5
# What is left out beyond the last lag bends the effects next to it: half as many lags again are
# fitted and not reported.
GUARD = 0.5


@dataclass(frozen=True, eq=False)
class LagEstimate(Record):
    """A function of the lag, estimated at k lags.

    Attributes
    ----------
    lags : (k,) in `unit`
    values : (k,)
    cov : (k, k)
        Of the estimates, robust to heteroscedasticity and autocorrelation (Bartlett weights).
    n : int
        Steps that they rest on.
    unit : str
        "trades" or "seconds".

    Examples
    --------
    >>> found = LagEstimate(np.array([1.0, 2.0]), np.array([3.0, 2.0]), np.eye(2), 100, "trades")
    >>> found.to_frame().round(2).loc[1.0].tolist()
    [3.0, 1.04, 4.96]
    """

    lags: Float
    values: Float
    cov: Float
    n: int
    unit: str

    @property
    def se(self) -> Float:
        """Standard errors, (k,)."""
        return np.sqrt(np.diag(self.cov))

    def conf_int(
        self,
        level: float = 0.95,
        *,
        simultaneous: bool = False,
        rng: np.random.Generator | None = None,
    ) -> tuple[Float, Float]:
        """Lower and upper end at each lag, (k,) each; `simultaneous`: all lags at once (sup-t).

        The sup-t quantile, that of the largest |t| over the lags, is simulated with `rng`, by
        default `numpy.random.default_rng(0)`: the same each time.
        """
        number("level", level, above=0, high=np.nextafter(1, 0))
        width = float(special.ndtri(0.5 + 0.5 * level))
        if simultaneous:
            stream, none = rng or np.random.default_rng(0), np.zeros(len(self.se))
            draws = stream.multivariate_normal(none, self.cov, SUP_T_DRAWS, method="eigh")
            width = float(np.quantile(np.max(np.abs(draws) / self.se, axis=1), level))
        return self.values - width * self.se, self.values + width * self.se

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Columns estimate, low, high by lag."""
        low, high = self.conf_int(level)
        index = pd.Index(self.lags, name=f"lag ({self.unit})")
        return pd.DataFrame({"estimate": self.values, "low": low, "high": high}, index=index)

    def scaled(self, factor: float) -> LagEstimate:
        """In another unit of the values: all times `factor`."""
        return LagEstimate(self.lags, factor * self.values, factor**2 * self.cov, self.n, self.unit)


@dataclass(frozen=True, eq=False)
class Propagator(LagEstimate):
    """G(l) at lags 1 ... k steps.

    In currency per share where the flow is signs, per share**2 where it is shares.

    Attributes
    ----------
    r2 : float
        Share of the variance of price changes that the flow explains.

    Examples
    --------
    >>> found = Propagator(np.arange(1.0, 3), np.ones(2), np.eye(2), 100, "trades", r2=0.2)
    >>> found.se.tolist(), found.r2
    ([1.0, 1.0], 0.2)
    """

    r2: float = np.nan


def response_function(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    r"""R(l) = E[x_t (m_{t+l} - m_t)] for l = 1 ... max_lag, with x the sign or the signed shares.

    Bartlett windows reach l steps beyond `bandwidth`: price changes over l steps overlap.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> response_function(flow, 3).values.round(3).tolist()
    [0.007, 0.008, 0.01]
    """
    count = _checked_lag(flow, max_lag)
    drive = flow.drive(measure)[:, None]
    products = [
        (_ahead(flow.mid[day], count) - flow.mid[day][:, None]) * drive[day] for day in flow.days
    ]
    return lagged_means(products, flow.unit, flow.lags(count), count + bandwidth(len(flow)))


def flow_autocorrelation(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    """C(l) = E[x_t x_{t+l}] / E[x_t^2] for l = 1 ... max_lag steps, taking E[x] as 0.

    Lags are counted in steps. Bands are of the ratio (delta method): E[x^2] is estimated too, so
    the scores are (x_t x_{t+l} - C(l) x_t^2) / E[x^2].

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> flow_autocorrelation(flow, 3).values.round(2).tolist()
    [0.38, 0.31, 0.26]
    """
    count = _checked_lag(flow, max_lag)
    drives = [flow.drive(measure)[day][:, None] for day in flow.days]
    lags, width = np.arange(1.0, count + 1), bandwidth(len(flow)) + count
    power = float(np.mean(flow.drive(measure) ** 2))
    products = [_ahead(drive[:, 0], count) * drive for drive in drives]
    means = lagged_means(products, flow.unit, lags, width)
    values = means["values"] / power
    scores = [one - values * drive**2 for one, drive in zip(products, drives, strict=True)]
    cov = lagged_means(scores, flow.unit, lags, width).cov / power**2
    return LagEstimate(lags, values, cov, means.n, flow.unit)


@timed("propagator")
def propagator(flow: SignedFlow, max_lag: int, measure: str = "sign") -> Propagator:
    r"""TIM1: one propagator for all trades, with bands.

    Price changes are r_t = sum_k g_k x_{t-k} + u_t with g_0 = G(1), g_k = G(k + 1) - G(k). The
    normal equations are the linear system of Bouchaud et al., S(l) = sum_k C(l - k) g_k with
    S(l) = E[r_{t+l} x_t], in its differenced form, which the ends of the lags disturb less
    (Eisler, Bouchaud and Kockelkoren 2012); half as many lags again are fitted and not reported.

    Parameters
    ----------
    flow : SignedFlow
        Of `trade_flow` or `clock_flow`.
    max_lag : int
        k, in steps.
    measure : str
        "sign" or "shares".

    Raises
    ------
    ValidationError
        Lags longer than the data.
    ModelFittingError
        Fewer than five steps a fitted lag.

    References
    ----------
    Bouchaud, Gefen, Potters and Wyart (2004), Fluctuations and response in financial markets: the
    subtle nature of random price changes, Quantitative Finance 4, 176-190.
    Eisler, Bouchaud and Kockelkoren (2012), The price impact of order book events: market orders,
    limit orders and cancellations, Quantitative Finance 12, 1395-1419.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> propagator(flow, 3).values.round(3).tolist()
    [0.007, 0.005, 0.006]
    """
    count = _checked_lag(flow, max_lag)
    return _propagators(flow, flow.drive(measure)[:, None], count)[0]


def propagators_by_event(flow: SignedFlow, max_lag: int) -> dict[str, Propagator]:
    """TIM2: one propagator for trades that move the mid at once, one for those that do not.

    They are called "changing" and "unchanging"; signs drive both (Eisler, Bouchaud and
    Kockelkoren 2012; Taranto, Bormetti, Bouchaud, Lillo and Toth 2018, Linear models for the
    impact of order flow on prices I, Quantitative Finance 18). Arguments and errors as
    `propagator`; a flow by the clock is refused.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket.block_book(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> found = propagators_by_event(flow, 2)
    >>> bool(found["changing"].values[0] > found["unchanging"].values[0])
    True
    """
    count = _checked_lag(flow, max_lag)
    if flow.changing is None:
        raise ValidationError(
            "a flow by the clock mixes trades that change the mid with others; use trade_flow"
        )
    if flow.changing.all() or not flow.changing.any():
        which = "all" if flow.changing.all() else "none"
        raise ValidationError(
            f"{which} of {len(flow):,} trades change the mid at once: one kind only"
        )
    drives = np.stack([flow.sign * flow.changing, flow.sign * ~flow.changing], axis=1)
    return dict(zip(("changing", "unchanging"), _propagators(flow, drives, count), strict=True))


def _propagators(flow: SignedFlow, drives: Float, count: int) -> list[Propagator]:
    """One propagator for each column of the drives (n, m)."""
    levels, by_day = ([values[day] for day in flow.days] for values in (flow.mid, drives))
    effects, n, r2 = cumulative_effects(levels, by_day, count)
    return [Propagator(flow.lags(count), *effect, n, flow.unit, r2) for effect in effects]


def implied_response(estimate: LagEstimate, autocorrelation: ArrayLike) -> Float:
    r"""R(l) implied by a propagator and the flow's autocorrelation C(1), C(2), ..., (k,).

    .. math:: R(l) = \sum_{i < l} \sum_{k} C(|i - k|) \, g_k, \qquad
              g_k = G(k + 1) - G(k), \; G(0) = 0

    at lags l = 1 ... k with E[x^2] = 1, over the k lags known: what G does later is left out.

    Examples
    --------
    >>> flat = LagEstimate(np.arange(1.0, 4), np.ones(3), np.eye(3), 100, "trades")
    >>> implied_response(flat, [0.5, 0.25]).tolist()
    [1.0, 1.5, 1.75]
    """
    steps = np.diff(estimate.values, prepend=0.0)
    memory = np.append(1.0, np.asarray(autocorrelation, float)[: len(steps) - 1])
    if len(memory) < len(steps):
        raise ValidationError(
            f"autocorrelation has {len(memory) - 1} lags, {len(steps) - 1} are needed"
        )
    return np.cumsum(linalg.toeplitz(memory) @ steps)


def simulate_mids(
    kernel: Kernel,
    flow: ArrayLike,
    volatility: float,
    rng: np.random.Generator,
    start: float = 100.0,
) -> Float:
    """Mids just before each of n steps, (n,): start + sum_{s<t} G(t - s) x_s + a random walk.

    The walk has a standard deviation of `volatility` a step.

    Examples
    --------
    >>> from research_lib.impact import ExponentialKernel
    >>> kernel = ExponentialKernel(decay=np.log(2))
    >>> simulate_mids(kernel, [1, 0, 0], 0.0, np.random.default_rng(0)).tolist()
    [100.0, 100.5, 100.25]
    """
    drive = np.asarray(flow, float)
    moved = displaced(at_lags(kernel, np.arange(float(len(drive)))), drive)
    noise = number("volatility", volatility, 0) * rng.standard_normal(len(drive))
    return start + moved + np.cumsum(noise)


def _ahead(values: Float, count: int) -> Float:
    """values[t + lag] at lags 1 ... count, (n, count), NaN past the end."""
    padded = np.append(values[1:], np.full(count, np.nan))
    return np.lib.stride_tricks.sliding_window_view(padded, count)


def _checked_lag(flow: SignedFlow, max_lag: int) -> int:
    if not isinstance(flow, SignedFlow):
        raise ValidationError(
            f"flow must be a SignedFlow; pass trade_flow(books), not {type(flow).__name__}"
        )
    longest = max(day.stop - day.start for day in flow.days) - 2
    return int(number("max_lag", max_lag, 1, longest, integer=True))


def bandwidth(n: int) -> int:
    """Bartlett bandwidth of Newey and West (1994) for n steps: 4 (n / 100)^(2/9), rounded up."""
    return math.ceil(4.0 * (n / 100.0) ** (2.0 / 9.0))


def long_run_sum(scores: Float, width: int) -> Float:
    """Variance of the sum of scores (n, k), (k, k): Bartlett-weighted products over all lags.

    The weights 1 - |j| / width are those of sums over windows of `width` steps, so no lag is
    looped over.
    """
    padded = np.pad(scores, ((width, width - 1), (0, 0)))
    running = np.cumsum(padded, axis=0)
    windows = running[width:] - running[:-width]
    return windows.T @ windows / width


def lagged_means(products: list[Float], unit: str, lags: Float, width: int) -> LagEstimate:
    """Means of products by lag, each day (n_d, k) with NaN where the lag leaves the day."""
    counts = sum(np.isfinite(day).sum(axis=0) for day in products)
    if np.min(counts) < 2:
        raise ValidationError(
            f"a lag of {len(lags)} steps leaves the data; there are {len(products)} days, "
            "ask for less"
        )
    values = sum(np.nansum(day, axis=0) for day in products) / counts
    total = sum(long_run_sum(np.nan_to_num(day - values, nan=0.0), width) for day in products)
    return LagEstimate(lags, values, total / np.outer(counts, counts), int(np.max(counts)), unit)


def cumulative_effects(
    levels: list[Float], drives: list[Float], count: int
) -> tuple[list[tuple[Float, Float]], int, float]:
    r"""What each of m drives has done to the level after 1 ... count steps, by least squares.

    .. math:: y_{t+1} - y_t = a + \sum_j \sum_k b_{jk} \, x_{j, t-k} + u_t, \qquad
              \mathrm{effect}_j(l) = \sum_{k < l} b_{jk}

    Days are regressed together; rows whose lags or target leave the day are dropped.

    Parameters
    ----------
    levels : list of (n_d,)
    drives : list of (n_d, m)
    count : int

    Returns
    -------
    effects : list of m pairs (count,), (count, count)
        With their covariance, robust by Newey and West.
    n : int
        Rows used.
    r2 : float
        Centred.
    """
    n_lags, n_drives = count + round(GUARD * count), drives[0].shape[1]
    size = 1 + n_drives * n_lags
    pairs = zip(levels, drives, strict=True)
    rows = [_lagged_rows(np.diff(y), x[:-1], n_lags) for y, x in pairs if len(y) > n_lags]
    n = sum(len(y) for y, _ in rows)
    if n < STEPS_A_LAG * size:
        raise ModelFittingError(
            f"{sum(map(len, levels)):,} steps cannot tell {n_drives * n_lags} lagged effects, "
            f"which need {STEPS_A_LAG} steps each beyond the first lags; take fewer lags"
        )
    try:
        factor = linalg.cho_factor(sum(x.T @ x for _, x in rows))
    except linalg.LinAlgError as error:
        raise ModelFittingError(
            "the flow does not vary enough to tell its lags apart; take fewer lags"
        ) from error
    beta = linalg.cho_solve(factor, sum(x.T @ y for y, x in rows))
    residuals = [y - x @ beta for y, x in rows]
    scores = [x * u[:, None] for u, (_, x) in zip(residuals, rows, strict=True)]
    bread = linalg.cho_solve(factor, np.eye(size))
    cov = bread @ sum(long_run_sum(day, bandwidth(n)) for day in scores) @ bread * n / (n - size)
    effects = []
    for first in range(1, size, n_lags):
        own = slice(first, first + count)
        summed = np.cumsum(np.cumsum(cov[own, own], axis=0), axis=1)
        effects.append((np.cumsum(beta[own]), summed))
    left, whole = np.concatenate(residuals), np.concatenate([y for y, _ in rows])
    return effects, n, 1.0 - float(left @ left / np.sum((whole - whole.mean()) ** 2))


def _lagged_rows(target: Float, drives: Float, n_lags: int) -> tuple[Float, Float]:
    """Targets (r,), and a constant beside their drives at lags 0 to n_lags - 1, (r, 1 + m k)."""
    windows = np.lib.stride_tricks.sliding_window_view(drives, n_lags, axis=0)[:, :, ::-1]
    kept = np.isfinite(target[n_lags - 1 :])
    x = windows[kept].reshape(int(kept.sum()), -1)
    return target[n_lags - 1 :][kept], np.column_stack([np.ones(len(x)), x])

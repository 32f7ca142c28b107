r"""How the price answers to trades: responses, and the propagators behind them.

Responses mix what a trade does with what the trades after it do, since signs remember.
The propagator takes them apart (Bouchaud et al. 2004): with the flow x_t and the mid m_t just
before step t,

.. math:: m_t = m_{-\infty} + \sum_{s < t} G(t - s) \, x_s + \mathrm{noise}.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.impact import Kernel, at_lags
from research_lib.impact.kernels import displaced
from research_lib.monitoring import timed
from research_lib.transient.flow import SignedFlow
from research_lib.transient.lagged import LagEstimate, bandwidth, change_regression, lagged_means

Float = NDArray[np.float64]


def response_function(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    r"""R(l) = E[x_t (m_{t+l} - m_t)] for l = 1 ... max_lag, with x the sign or the signed shares.

    Bartlett windows reach l steps beyond `bandwidth`: price changes over l steps overlap.
    """
    count = _checked_lag(flow, max_lag)
    drive = flow.drive(measure)
    products = [
        np.stack(
            [_ahead(flow.mid[day], lag) - flow.mid[day] for lag in range(1, count + 1)], axis=1
        )
        * drive[day][:, None]
        for day in flow.days
    ]
    return lagged_means(products, flow.unit, flow.lags(count), count + bandwidth(len(flow)))


def flow_autocorrelation(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    """C(l) = E[x_t x_{t+l}] / E[x_t^2] for l = 1 ... max_lag steps, taking E[x] as 0; lags counted in steps.

    Bands are of the ratio (delta method): the scores x_t x_{t+l} - C(l) x_t^2 over E[x^2] know of the estimated E[x^2].
    """
    count = _checked_lag(flow, max_lag)
    drive = flow.drive(measure)
    products = [
        np.stack([_ahead(drive[day], lag) * drive[day] for lag in range(1, count + 1)], axis=1)
        for day in flow.days
    ]
    power, width, lags = (
        float(np.mean(drive**2)),
        bandwidth(len(flow)) + count,
        np.arange(1.0, count + 1),
    )
    means = lagged_means(products, flow.unit, lags, width)
    values = means.values / power
    scores = [
        product - values * drive[day][:, None] ** 2
        for product, day in zip(products, flow.days, strict=True)
    ]
    return LagEstimate(
        lags,
        values,
        lagged_means(scores, flow.unit, lags, width).cov / power**2,
        means.n,
        flow.unit,
    )


@dataclass(frozen=True, eq=False)
class Propagator(LagEstimate):
    """G(l) at lags 1 ... k steps; in currency per share where the flow is signs, per share**2 where shares.

    Attributes
    ----------
    r2 : float
        Share of the variance of price changes that the flow explains.
    """

    r2: float = np.nan


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
    Eisler, Bouchaud and Kockelkoren (2012), The price impact of order book events: market orders, limit
    orders and cancellations, Quantitative Finance 12, 1395-1419.
    """
    count, drive = _checked_lag(flow, max_lag), flow.drive(measure)[:, None]
    fitted = change_regression(
        [flow.mid[day] for day in flow.days], [drive[day] for day in flow.days], count
    )
    return Propagator(flow.lags(count), *fitted.cumulated(0, count), fitted.n, flow.unit, fitted.r2)


def propagators_by_event(flow: SignedFlow, max_lag: int) -> dict[str, Propagator]:
    """TIM2: one propagator for trades that move the mid at once, "changing", one for those that do not, "unchanging".

    Signs drive both (Eisler, Bouchaud and Kockelkoren 2012; Taranto, Bormetti, Bouchaud, Lillo and Toth 2018,
    Linear models for the impact of order flow on prices I, Quantitative Finance 18). Arguments and errors as
    `propagator`; a flow by the clock is refused.
    """
    count = _checked_lag(flow, max_lag)
    if flow.changing is None:
        raise ValidationError(
            "a flow by the clock mixes trades that change the mid with others; use trade_flow"
        )
    if flow.changing.all() or not flow.changing.any():
        raise ValidationError(
            f"{'all' if flow.changing.all() else 'none'} of {len(flow):,} trades change the mid at once: one kind only"
        )
    drives = np.stack([flow.sign * flow.changing, flow.sign * ~flow.changing], axis=1)
    fitted = change_regression(
        [flow.mid[day] for day in flow.days], [drives[day] for day in flow.days], count
    )
    return {
        name: Propagator(
            flow.lags(count), *fitted.cumulated(row, count), fitted.n, flow.unit, fitted.r2
        )
        for row, name in enumerate(("changing", "unchanging"))
    }


def implied_response(estimate: LagEstimate, autocorrelation: ArrayLike) -> Float:
    r"""R(l) that a propagator and the flow's autocorrelation C(1), C(2), ... imply, E[x^2] = 1, at lags 1 ... k, (k,).

    .. math:: R(l) = \sum_{i < l} \sum_{k} C(|i - k|) \, g_k, \qquad g_k = G(k + 1) - G(k), \; G(0) = 0

    over the k lags known: what G does later is left out.
    """
    steps = np.diff(estimate.values, prepend=0.0)
    memory = np.append(1.0, np.asarray(autocorrelation, float)[: len(steps) - 1])
    if len(memory) < len(steps):
        raise ValidationError(
            f"autocorrelation has {len(memory) - 1} lags, {len(steps) - 1} are needed"
        )
    apart = np.abs(np.subtract.outer(np.arange(len(steps)), np.arange(len(steps))))
    return np.cumsum(memory[apart] @ steps)


def simulate_mids(
    kernel: Kernel,
    flow: ArrayLike,
    volatility: float,
    rng: np.random.Generator,
    start: float = 100.0,
) -> Float:
    """Mids just before each of n steps, (n,): start + sum_{s<t} G(t - s) x_s + a random walk of `volatility` a step."""
    drive = np.asarray(flow, float)
    moved = displaced(at_lags(kernel, np.arange(float(len(drive)))), drive)
    noise = number("volatility", volatility, 0) * rng.standard_normal(len(drive))
    return start + moved + np.cumsum(noise)


def _ahead(values: Float, lag: int) -> Float:
    """values[t + lag], NaN past the end."""
    return np.append(values[lag:], np.full(min(lag, len(values)), np.nan))


def _checked_lag(flow: SignedFlow, max_lag: int) -> int:
    if not isinstance(flow, SignedFlow):
        raise ValidationError(
            f"flow must be a SignedFlow; pass trade_flow(books), not {type(flow).__name__}"
        )
    longest = max(day.stop - day.start for day in flow.days) - 2
    return int(number("max_lag", max_lag, 1, longest, integer=True))

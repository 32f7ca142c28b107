r"""How the price answers to signed order flow: responses, and the propagators behind them.

Responses mix what a trade does with what the trades after it do, since signs remember.
The propagator separates them (Bouchaud et al. 2004): with the flow x_t and the mid m_t just
before step t,

.. math:: m_t = m_{-\infty} + \sum_{s < t} G(t - s) \, x_s + \mathrm{noise}.

All estimates along lags have bands that allow for dependence between steps.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import linalg, special

from research_lib.checks import Float, number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.market import BookSnapshots, Session
from research_lib.market.book import best_of

Int64 = NDArray[np.int64]
OfDay = Callable[[slice], Float]  # of the rows of a day
# Two mids further apart than this are different: mids of the same ticks agree to 4e-16 of the
# price, and a tick is never so small that an absolute limit could stand in for it.
SAME_PRICE = 1e-14
SUP_T_DRAWS = 10_000
STEPS_A_LAG = 5
# Days from which errors cluster by day: six for each of the four lags that a kernel needs.
MIN_CLUSTERS = 24
# What is left out beyond the last lag bends the effects next to it: half as many lags again are
# fitted and not reported.
GUARD = 0.5


@dataclass(frozen=True, eq=False)
class SignedFlow(Record):
    """n steps in time order, each with its flow and the mid that it met.

    Attributes
    ----------
    time : (n,) int64 ns UTC
        Of the trade, or of the start of the clock's step.
    mid : (n,) currency per share
        Just before the step.
    sign : (n,)
        1 for a buyer, -1 for a seller; by the clock, the sum of the signs of the step's market
        orders.
    shares : (n,) signed
    changing : (n,) bool or None
        Whether the trade moved the mid at once; None by the clock.
    day : (n,) int
        Numbers the days; no lag reaches over a night.
    step_seconds : float
        Length of the clock's step, or the mean time from one trade to the next.
    unit : str
        "trades" or "seconds", of the lags.

    Examples
    --------
    >>> time, mid, sign = np.arange(3), np.array([10.0, 10.1, 10.1]), np.array([1.0, -1.0, 1.0])
    >>> flow = SignedFlow(time, mid, sign, 100 * sign, None, np.array([0, 0, 1]), 2.0, "seconds")
    >>> len(flow), flow.lags(3).tolist()
    (3, [1.0, 3.0, 5.0])
    """

    time: Int64
    mid: Float
    sign: Float
    shares: Float
    changing: NDArray[np.bool_] | None
    day: Int64
    step_seconds: float
    unit: str

    def __len__(self) -> int:
        return len(self.time)

    def lags(self, count: int) -> Float:
        """Mean time since the flow after 1, 2, ... count steps, (count,) in `unit`."""
        steps = np.arange(1.0, count + 1)
        return steps if self.unit == "trades" else (steps - 0.5) * self.step_seconds


def trade_flow(books: BookSnapshots, session: Session | None = None) -> SignedFlow:
    """One step a trade: executions of one sign at one time are one market order.

    The mid before is that of the last complete state shown strictly before the trade; a trade
    changes the mid if the first state shown at its time or later has another. Trades without an
    aggressor are left out, and those before the first book or after the last.

    Parameters
    ----------
    books : BookSnapshots with trades
    session : Session, optional
        Whose hours count and which separates the days; by default all trades are one day.

    Raises
    ------
    ValidationError
        Books without trades, or fewer than 2 signed ones among them.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> len(flow), flow.shares[:3].tolist()
    (253, [-94.0, -21.0, -74.0])
    """
    states, time, sign, shares, day = _market_orders(books, session)
    mid = states.mid[last_before(states.time, time)]
    after = np.searchsorted(states.time, time, "right") - 1
    after += states.time[after] < time
    changing = np.abs(states.mid[after] - mid) > SAME_PRICE * mid
    gaps = np.diff(time)[np.diff(day) == 0]
    seconds = float(np.mean(gaps)) / 1e9 if gaps.size else np.nan
    return SignedFlow(time, mid, sign, shares, changing, day, seconds, "trades")


def clock_flow(books: BookSnapshots, seconds: float, session: Session | None = None) -> SignedFlow:
    """One step every `seconds`: the net flow in it, and the mid of the last state before it.

    Parameters, errors and the orders that count are those of `trade_flow`; steps of a day run
    from its first order to its last.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = clock_flow(market.books(1000, np.random.default_rng(3)), 10.0)
    >>> len(flow), flow.sign[:5].tolist()
    (100, [-3.0, 0.0, -2.0, -1.0, -1.0])
    """
    step = round(number("seconds", seconds, above=0) * 1e9)
    states, order_time, *drives, order_day = _market_orders(books, session)
    by_day = np.split(order_time, np.flatnonzero(np.diff(order_day)) + 1)
    steps = [np.arange(times[0], times[-1] + 1, step) for times in by_day]
    time, day = np.concatenate(steps), np.repeat(np.arange(len(steps)), [*map(len, steps)])
    if len(time) < 2:
        raise ValidationError(f"the trades span less than 2 steps of {seconds:g} s; take less")
    at = np.searchsorted(time, order_time, "right") - 1
    sign, shares = (np.bincount(at, drive, len(time)).astype(float) for drive in drives)
    mid = states.mid[last_before(states.time, time)]
    return SignedFlow(time, mid, sign, shares, None, day, step / 1e9, "seconds")


def usable_rows(books: BookSnapshots) -> NDArray[np.intp]:
    """Rows of complete states with both sides."""
    usable = np.flatnonzero(books.complete & np.isfinite(books.mid))
    if not len(usable):
        raise ValidationError("no book is complete with both sides: there is no mid to trade at")
    return usable


def best_prices(books: BookSnapshots) -> BookSnapshots:
    """The touch of the usable states; all their levels would be held a second time."""
    rows, sides = usable_rows(books), ((books.bid_price, 1.0), (books.ask_price, -1.0))
    bid, ask = (best_of(prices, sign)[rows, None] for prices, sign in sides)
    shown = np.ones(bid.shape)
    return BookSnapshots(books.time[rows], bid, shown, ask, shown, books.symbol)


def last_before(shown: Int64, time: Int64) -> NDArray[np.intp]:
    """Which of the times at which states are shown was the last strictly before each time."""
    return np.searchsorted(shown, time, "left") - 1


def _market_orders(books: BookSnapshots, session: Session | None) -> tuple[Any, ...]:
    """Usable states; time, sign, signed shares and day of the market orders between two of them."""
    states, trades = best_prices(books), books.trades
    if trades is None:
        raise ValidationError("these books have no trades; read a format with them, such as MBP-10")
    used = (trades.aggressor != 0) & (last_before(states.time, trades.time) >= 0)
    used &= trades.time <= states.time[-1]
    if session is not None:
        used &= session.interval_of(trades.time) >= 0
    n_all, trades = len(trades), trades.take(used)
    changes = (np.diff(trades.time) > 0) | (np.diff(trades.aggressor) != 0)
    first = np.flatnonzero(np.append(True, changes))
    if len(first) < 2:
        found = f"{len(trades)} of {n_all:,} are signed, in the session and between two books"
        raise ValidationError(f"2 trades are needed, {found}")
    time, sign = trades.time[first], trades.aggressor[first].astype(float)
    days = np.zeros(len(time)) if session is None else session.days(time)
    day = np.unique(days, return_inverse=True)[1].astype(np.int64)
    return states, time, sign, np.add.reduceat(trades.signed_size, first), day


@dataclass(frozen=True, eq=False)
class LagEstimate(Record):
    """A function of the lag, estimated at k lags.

    Attributes
    ----------
    lags : (k,) in `unit`
    values : (k,)
    cov : (k, k)
        Of the estimates, robust to heteroscedasticity and to dependence between steps.
    n : int
        Steps that they rest on.
    unit : str
        "trades" or "seconds".
    r2 : float
        Share of the variance of changes that the flow explains, where they are regressed on it.
    clusters : int
        Days whose scores `cov` takes as independent of each other and as dependent within each; 0
        where Bartlett weights stand for the dependence (Newey and West 1987).

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
    r2: float = np.nan
    clusters: int = 0

    @property
    def se(self) -> Float:
        """Standard errors, (k,)."""
        return np.sqrt(np.diag(self.cov))

    def conf_int(self, *, simultaneous: bool = False) -> tuple[Float, Float]:
        """95 % interval at each lag, its ends (k,); `simultaneous`: of all lags at once (sup-t).

        The sup-t quantile, that of the largest |t| over the lags, is simulated with the same draws.
        """
        width = quantile(self.clusters)
        if simultaneous:
            rng, none = np.random.default_rng(0), np.zeros(len(self.se))
            draws = rng.multivariate_normal(none, self.cov, SUP_T_DRAWS, method="eigh")
            if self.clusters:
                n = self.clusters - 1
                draws /= np.sqrt(rng.chisquare(n, (SUP_T_DRAWS, 1)) / n)
            width = float(np.quantile(np.max(np.abs(draws) / self.se, axis=1), 0.95))
        return self.values - width * self.se, self.values + width * self.se

    def to_frame(self) -> pd.DataFrame:
        """Columns estimate, low, high (95 %) by lag."""
        low, high = self.conf_int()
        index = pd.Index(self.lags, name=f"lag ({self.unit})")
        return pd.DataFrame({"estimate": self.values, "low": low, "high": high}, index)

    def scaled(self, factor: float) -> Self:
        """In another unit of the values: all times `factor`."""
        return replace(self, values=factor * self.values, cov=factor**2 * self.cov)


def response_function(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    r"""R(l) = E[x_t (m_{t+l} - m_t)] for l = 1 ... max_lag, with x the sign or the signed shares.

    Errors cluster by day from 24 days on. On fewer, Bartlett windows reach l steps beyond
    `bandwidth`: price changes over l steps overlap.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> response_function(flow, 3).values.round(3).tolist()
    [0.007, 0.008, 0.01]
    """
    count = _checked_lag(flow, max_lag, measure)

    def products(day: slice) -> Float:
        return (_ahead(flow.mid[day], count) - flow.mid[day, None]) * flow[measure][day, None]

    return _lagged_means(products, flow, flow.lags(count), count + bandwidth(len(flow)))


def flow_autocorrelation(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    """C(l) = E[x_t x_{t+l}] / E[x_t^2] for l = 1 ... max_lag steps, taking E[x] as 0.

    Lags are counted in steps. Bands are of the ratio (delta method): E[x^2] is estimated too, so
    the scores are (x_t x_{t+l} - C(l) x_t^2) / E[x^2].

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> flow_autocorrelation(flow, 3).values.round(2).tolist()
    [0.38, 0.31, 0.26]
    """
    count = _checked_lag(flow, max_lag, measure)
    how = flow, np.arange(1.0, count + 1), bandwidth(len(flow)) + count
    power = float(np.mean(flow[measure] ** 2))

    def products(day: slice) -> Float:
        return _ahead(flow[measure][day], count) * flow[measure][day, None] / power

    def scores(day: slice) -> Float:
        return products(day) - found["values"] * flow[measure][day, None] ** 2 / power

    found = _lagged_means(products, *how)
    return replace(found, cov=_lagged_means(scores, *how).cov)


def propagator(flow: SignedFlow, max_lag: int, measure: str = "sign") -> LagEstimate:
    r"""TIM1: one propagator for all trades, with bands.

    Price changes are r_t = sum_k g_k x_{t-k} + u_t with g_0 = G(1), g_k = G(k + 1) - G(k). The
    normal equations are the linear system of Bouchaud et al., S(l) = sum_k C(l - k) g_k with
    S(l) = E[r_{t+l} x_t], in its differenced form, which suffers less from cutting the lags off
    (Eisler, Bouchaud and Kockelkoren 2012); half as many lags again are fitted and not reported.

    G is in currency per share where the flow is signs, per share**2 where it is shares.

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
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> propagator(flow, 3).values.round(3).tolist()
    [0.007, 0.005, 0.006]
    """
    count, drives = _checked_lag(flow, max_lag, measure), flow[measure][:, None]
    return cumulative_effects(flow.mid, drives, flow.day, flow.lags(count), flow.unit)[0]


def propagators_by_event(flow: SignedFlow, max_lag: int) -> dict[str, LagEstimate]:
    """TIM2: one propagator for trades that move the mid at once, one for those that do not.

    They are called "changing" and "unchanging"; signs drive both (Eisler, Bouchaud and
    Kockelkoren 2012; Taranto, Bormetti, Bouchaud, Lillo and Toth 2018, Linear models for the
    impact of order flow on prices I, Quantitative Finance 18). Arguments and errors as
    `propagator`; a flow by the clock is refused.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> market = TransientMarket(5000.0, 0.1, 5e-5)
    >>> flow = trade_flow(market.books(1000, np.random.default_rng(3)))
    >>> found = propagators_by_event(flow, 2)
    >>> bool(found["changing"].values[0] > found["unchanging"].values[0])
    True
    """
    count = _checked_lag(flow, max_lag)
    if flow.changing is None or len(np.unique(flow.changing)) < 2:
        raise ValidationError("trades that change the mid at once and others: use trade_flow")
    drives = np.stack([flow.sign * flow.changing, flow.sign * ~flow.changing], axis=1)
    found = cumulative_effects(flow.mid, drives, flow.day, flow.lags(count), flow.unit)
    return {"changing": found[0], "unchanging": found[1]}


def _ahead(values: Float, count: int) -> Float:
    """values[t + lag] of one day at lags 1 ... count, (n, count), NaN past its end."""
    return sliding_window_view(np.append(values[1:], np.full(count, np.nan)), count)


def _checked_lag(flow: SignedFlow, max_lag: int, measure: str = "sign") -> int:
    refuse_unknown([measure], ("sign", "shares"), "measure of flow")
    return int(number("max_lag", max_lag, 1, np.bincount(flow.day).max() - 2, integer=True))


def bandwidth(n: int) -> int:
    """Bartlett bandwidth of Newey and West (1994) for n steps: 4 (n / 100)^(2/9), rounded up."""
    return math.ceil(4.0 * (n / 100.0) ** (2.0 / 9.0))


def day_slices(day: Int64) -> list[slice]:
    """The rows of each day."""
    edges = np.flatnonzero(np.diff(day, prepend=day[0] - 1, append=day[-1] + 1))
    return [slice(first, end) for first, end in pairwise(edges.tolist())]


def quantile(clusters: int) -> float:
    """Of a 95 % interval: Student's t, of one degree of freedom less than clusters; else normal."""
    return float(special.stdtrit(clusters - 1, 0.975) if clusters else special.ndtri(0.975))


def variance_of_sum(scores: Iterable[Float], n_days: int, width: int) -> tuple[Float, int]:
    """Variance of the sum of all scores, an (n, k) array for each day: (k, k), and its clusters.

    From 24 days on by the days' sums, whatever the dependence within a day. Otherwise by products
    with Bartlett weights 1 - |j| / width within each day, as those of sums over windows of `width`
    steps, so that no lag is looped over; there are no clusters then.
    """
    if n_days >= MIN_CLUSTERS:
        sums = np.stack([one.sum(axis=0) for one in scores])
        return np.asarray(sums.T @ sums) * n_days / (n_days - 1), n_days

    def of_day(one: Float) -> Float:
        running = np.cumsum(np.pad(one, ((width, width), (0, 0))), axis=0)
        windows = running[width:] - running[:-width]
        return windows.T @ windows / width

    return np.sum([of_day(one) for one in scores], axis=0), 0


def _lagged_means(products: OfDay, flow: SignedFlow, lags: Float, width: int) -> LagEstimate:
    """Means by lag of what `products` gives for the rows of a day, (n, k), NaN beyond the day."""
    days = day_slices(flow.day)
    counts = np.sum([np.isfinite(products(day)).sum(axis=0) for day in days], axis=0)
    values = np.sum([np.nansum(products(day), axis=0) for day in days], axis=0) / counts
    scores = (np.nan_to_num(products(day) - values) for day in days)
    total, clusters = variance_of_sum(scores, len(days), width)
    cov = total / np.outer(counts, counts)
    return LagEstimate(lags, values, cov, int(counts[0]), flow.unit, clusters=clusters)


def cumulative_effects(
    level: Float, drives: Float, day: Int64, lags: Float, unit: str
) -> list[LagEstimate]:
    r"""What each of m drives has done to the level after 1 ... k steps, by least squares.

    .. math:: y_{t+1} - y_t = a + \sum_j \sum_k b_{jk} \, x_{j, t-k} + u_t, \qquad
              \mathrm{effect}_j(l) = \sum_{k < l} b_{jk}

    Days are regressed together, one after the other in memory; rows whose lags or target leave the
    day are dropped. From 24 days on errors cluster by day; on fewer they are those of Newey and
    West.

    Parameters
    ----------
    level : (n,)
    drives : (n, m)
    day : (n,) int
    lags : (k,) in `unit`
        Of 1 ... k steps.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> drive = rng.normal(size=(500, 1))
    >>> level = np.append(0.0, np.cumsum(2.0 * drive[:-1, 0]))  # each step moves it by 2, for good
    >>> day, lags = np.zeros(500, int), np.arange(1.0, 4.0)
    >>> (found,) = cumulative_effects(level, drive, day, lags, "trades")
    >>> found.values.round(6).tolist()
    [2.0, 2.0, 2.0]
    """
    count, n_lags = len(lags), len(lags) + round(GUARD * len(lags))
    size = 1 + drives.shape[1] * n_lags
    days = [rows for rows in day_slices(day) if rows.stop - rows.start > n_lags]
    targets = [np.diff(level[rows])[n_lags - 1 :] for rows in days]
    n = sum(map(len, targets))
    few = f"{len(level):,} steps do not identify {size - 1} lagged effects"
    too_few = ModelFittingError(f"{few}, which need {STEPS_A_LAG} steps each; take fewer lags")
    if n < STEPS_A_LAG * size:
        raise too_few

    def regressors(rows: slice) -> Float:
        past = sliding_window_view(drives[rows][:-1], n_lags, axis=0)[:, :, ::-1]
        return np.column_stack([np.ones(len(past)), past.reshape(len(past), size - 1)])

    gram, moment = np.zeros((size, size)), np.zeros(size)
    for rows, y in zip(days, targets, strict=True):
        x = regressors(rows)
        gram, moment = gram + x.T @ x, moment + x.T @ y
    try:
        factor = linalg.cho_factor(gram)
    except linalg.LinAlgError as error:
        raise too_few from error
    beta, bread = linalg.cho_solve(factor, moment), linalg.cho_solve(factor, np.eye(size))
    left = [y - regressors(rows) @ beta for rows, y in zip(days, targets, strict=True)]
    scores = (regressors(rows) * u[:, None] for rows, u in zip(days, left, strict=True))
    meat, clusters = variance_of_sum(scores, len(days), bandwidth(n))
    cov = bread @ meat @ bread * n / (n - size)
    y, unexplained = np.concatenate(targets), np.concatenate(left)
    variation = float(np.sum((y - y.mean()) ** 2))
    r2 = 1.0 - float(unexplained @ unexplained) / variation if variation > 0 else np.nan
    effects = []
    for own in (slice(first, first + count) for first in range(1, size, n_lags)):
        summed = np.cumsum(np.cumsum(cov[own, own], axis=0), axis=1)
        effects.append(LagEstimate(lags, np.cumsum(beta[own]), summed, n, unit, r2, clusters))
    return effects

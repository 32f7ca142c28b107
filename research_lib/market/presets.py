"""Measured profiles of markets, and synthetic markets that match them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.polynomial import hermite_e
from scipy import special

from research_lib.checks import Array, ArrayLike, Float, Int64, refuse_unknown
from research_lib.config import ModelConfig, Record
from research_lib.errors import InsufficientDataError
from research_lib.market import synthetic
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.sessions import Session, as_session
from research_lib.market.synthetic import DayShape, Memory, OrderFlow, SyntheticMarket

LONGEST_LAG, MIN_BOOKS, GRID_BOOKS = 30, 100, 50_000
SETTLING_TIMES = np.geomspace(0.01, 0.5, 60)
STEEPNESS = np.geomspace(1.0, 64.0, 25)
HERMITE_TERMS = 20
HALF_LIVES = np.append(0.0, np.geomspace(0.2, LONGEST_LAG, 100))


@dataclass(frozen=True, eq=False)
class MarketProfile(Record):
    """Stylised facts of one stock's books, one book an interval, bids and asks taken together.

    Attributes
    ----------
    session : Session
    n_books : int
        Intervals with a usable book: complete, both sides shown, not locked or crossed.
    tick, mid : float
        Currency per share; mid is the mean.
    volatility : float
        Annual: standard deviation of the log mid's changes from interval to interval within days,
        scaled to 252 sessions.
    fraction : (m,)
        Share of the session that has passed at the middle of each book's interval.
    spread : (m,) currency per share
        Quoted spread of every book.
    total_depth : (2m,) shares
        Visible shares of every book, bids then asks.
    day_shape : DayShape
        Least-squares fit to spread and to total depth over the time of day.
    spread_dispersion : float
        Variance over mean of the ticks beyond the first about the day shape, minus one; at least 0.
    level_size : (L,) shares
        Mean size of level k where it is shown.
    size_dispersion : (L,) shares
        Variance of the size of level k about the day shape, over its mean.
    level_gap : (L-1,) ticks
        Mean distance from level k to level k + 1.
    spread_autocorrelation, depth_autocorrelation : (30,)
        At lags of 1, 2, ... intervals within days, of spread and total depth relative to the
        day shape; NaN where there is no variation or no pair.

    Examples
    --------
    >>> books = SyntheticMarket().books(390, 3, np.random.default_rng(1))
    >>> profile = measure_market(books)
    >>> profile.n_books, len(profile.level_size), profile.tick
    (390, 3, 0.01)
    """

    session: Session
    n_books: int
    tick: float
    mid: float
    volatility: float
    fraction: Float
    spread: Float
    total_depth: Float
    day_shape: DayShape
    spread_dispersion: float
    level_size: Float
    size_dispersion: Float
    level_gap: Float
    spread_autocorrelation: Float
    depth_autocorrelation: Float


def measure_market(books: BookSnapshots, session: Session | None = None) -> MarketProfile:
    """Measure spread, depth, their day shape and their memory on real or synthetic books.

    The books are sampled at the start of every interval (`BookSnapshots.sample`): what a trader saw
    there. Empty levels do not enter the means by level. Autocorrelations are relative to the fitted
    day shape; otherwise the wide spread after the opening would count as memory. The tick is found
    from the prices (`price_grid`).

    Parameters
    ----------
    books : BookSnapshots
        Any number of states and days.
    session : Session, optional

    Raises
    ------
    InsufficientDataError
        Fewer than 100 usable books, or prices on no grid.

    Examples
    --------
    >>> books = deep_stock().books(390, 1, np.random.default_rng(1))
    >>> profile = measure_market(books)
    >>> round(float(profile.spread.mean() / profile.tick), 6)
    1.0
    """
    session = as_session(session)
    sampled = books.sample(session)
    seen = sampled.take(sampled.complete & (sampled.half_spread > 0))
    if len(seen) < MIN_BOOKS:
        found = f"{len(seen)} of {len(sampled)} intervals have a usable book"
        raise InsufficientDataError(f"{found}, a profile needs {MIN_BOOKS}; add days or intervals")
    tick, n = price_grid(seen), session.n_intervals
    at = session.interval_of(seen.time) + n * pd.factorize(session.days(seen.time))[0]
    fraction = (at % n + 0.5) / n
    spread = synthetic.on_grid(2.0 * seen.half_spread, tick)
    depths = seen.bid_size.sum(axis=1), seen.ask_size.sum(axis=1)
    shape, spread_fit, depth_fit = _fitted_shape(fraction, spread, 0.5 * sum(depths))
    memory = [_autocorrelation(d / depth_fit, at, n) for d in depths]
    step = np.diff(np.log(seen.mid))[(np.diff(at) == 1) & (at[1:] % n > 0)]
    return MarketProfile(
        session=session, n_books=len(seen), tick=tick, mid=float(seen.mid.mean()),
        volatility=float(np.sqrt(np.mean(step**2) * synthetic.SESSIONS_A_YEAR * n)),
        fraction=fraction, spread=spread, total_depth=np.concatenate(depths), day_shape=shape,
        spread_dispersion=_overdispersion(spread / tick - 1.0, spread_fit / tick - 1.0),
        **_level_statistics(seen, depth_fit / depth_fit.mean(), tick),
        spread_autocorrelation=_autocorrelation(spread / spread_fit, at, n),
        depth_autocorrelation=np.mean(memory, axis=0),
    )  # fmt: skip


def price_grid(books: BookSnapshots) -> float:
    """The tick of books, currency per share: the largest step that divides nearly all price steps.

    Steps are those from level to level, across the spread, and of the touch from one book to
    the next. The tick is the greatest common divisor of those that make at least 0.1 % of all, so
    that stray prices do not count; nine digits are kept. Of many books every k-th is used.

    Raises
    ------
    InsufficientDataError
        Prices on no grid (averaged or adjusted ones, for instance).
    """
    books = books.take(np.arange(0, len(books), 1 + len(books) // GRID_BOOKS))
    touch = np.column_stack([books.bid_price[:, 0], books.ask_price[:, 0]])
    sides = np.diff(books.bid_price, axis=1), np.diff(books.ask_price, axis=1)
    parts = (*sides, np.diff(touch, axis=1), np.diff(touch, axis=0))
    moved = np.abs(np.concatenate([part.ravel() for part in parts]))
    rounding = 4 * np.spacing(np.nanmax(touch))  # of differences between prices, in binary
    moved = moved[moved > rounding]
    # The distinct steps, each the mean of its like: fine against any step, coarse against rounding.
    unit = max(1e-6 * 10.0 ** np.floor(np.log10(moved.min(initial=1.0))), 2 * rounding)
    _, like, count = np.unique(np.rint(moved / unit), return_inverse=True, return_counts=True)
    frequent = count >= 0.001 * len(moved)
    step, count = (np.bincount(like, moved) / count)[frequent], count[frequent]
    found = reduce(lambda a, b: _common_divisor(a, b, 1e-4 * step.min()), step, 0.0)
    multiple = np.rint(step / found) if found else step
    if not found or np.any(np.abs(step / found - multiple) > 0.05):
        raise InsufficientDataError("prices lie on no grid: their steps have no common divisor")
    weight = count * multiple
    return float(f"{weight @ step / (weight @ multiple):.9g}")


def _common_divisor(a: float, b: float, tolerance: float) -> float:
    """Euclid's algorithm for numbers with rounding errors."""
    while b > tolerance:
        a, b = b, abs(math.remainder(a, b))
    return a


def _fitted_shape(fraction: Float, spread: Float, depth: Float) -> tuple[DayShape, Float, Float]:
    """Day shape by least squares, and the fitted spread and depth at every book, (m,) each.

    Of all settling times and pairs of steepnesses the best; no spread or depth below 0.
    """
    at, row, count = np.unique(fraction, return_inverse=True, return_counts=True)
    spread, depth = (np.bincount(row, values) / count for values in (spread, depth))
    designs = [np.column_stack([np.ones_like(at), np.exp(-at / time)]) for time in SETTLING_TIMES]
    weight = count
    for _ in range(2):  # counts vary the more the larger they are: one over a first fit
        time, (settled, opening) = _best_fit(designs, spread, weight)
        weight = count / (designs[time] @ (settled, opening))
    early, late = (np.maximum(d, 0.0) ** STEEPNESS[:, None] for d in (1 - 2 * at, 2 * at - 1))
    pairs = (np.column_stack([1 - one - other, one, other]) for one in early for other in late)
    pair, (midday, first, last) = _best_fit(pairs, depth, count)
    ends = opening / settled, SETTLING_TIMES[time], first / midday - 1, last / midday - 1
    shape = DayShape(*ends, *STEEPNESS[list(divmod(pair, len(STEEPNESS)))])
    return shape, (settled * shape.spread(at))[row], (midday * shape.depth(at))[row]


def _best_fit(designs: Iterable[Float], values: Float, weight: Any) -> tuple[int, Float]:
    """Which of the designs fits best by weighted least squares; its coefficients, all above 0."""
    from scipy import optimize  # heavy to import

    # Its tolerance is absolute: values and weights are brought to the order of 1.
    root, unit = np.sqrt(weight / np.mean(weight)), values.mean()
    fits = [optimize.nnls(design * root[:, None], values / unit * root) for design in designs]
    best = int(np.argmin([misfit for _, misfit in fits]))
    return best, unit * np.maximum(fits[best][0], 1e-15)


def _overdispersion(beyond: Float, expected: Float) -> float:
    """Pearson's variance over mean, minus one, of counts about their expectations; at least 0."""
    known = expected > 1e-9  # ticks: where none is expected there is nothing to vary
    if not known.any():
        return 0.0
    return max(float(np.mean((beyond - expected)[known] ** 2 / expected[known])) - 1.0, 0.0)


def _level_statistics(books: BookSnapshots, day_shape: Float, tick: float) -> dict[str, Float]:
    """Mean size, variance over mean and mean gap of each level, empty levels left out."""
    size, price = (np.concatenate([books[f"{s}_{k}"] for s in SIDES]) for k in ("size", "price"))
    levels = int(np.flatnonzero((size > 0).any(axis=0))[-1]) + 1  # behind them all are empty
    shown = np.where(size > 0, size, np.nan)[:, :levels]
    # To 1e-6 of a tick: a gap of one tick at a high price is 0.99999999 in binary.
    gap = np.nanmean(np.round(np.abs(np.diff(price[:, :levels], axis=1)) / tick, 6), axis=0)
    mean = np.nanmean(shown, axis=0)
    dispersion = np.nanmean((shown - mean * np.tile(day_shape, 2)[:, None]) ** 2, axis=0) / mean
    return {"level_size": mean, "size_dispersion": dispersion, "level_gap": gap}


def _autocorrelation(values: Float, at: Int64, n: int) -> Float:
    """At lags 1..30 between intervals of one day, (30,); mean and variance are those of all."""
    deviation, variance = values - values.mean(), float(values.var())
    result = np.full(LONGEST_LAG, np.nan)
    for lag in range(1, LONGEST_LAG + 1):
        pair = (at[lag:] - at[:-lag] == lag) & (at[lag:] % n >= lag)
        if pair.any() and variance > 1e-18:
            result[lag - 1] = np.mean((deviation[lag:] * deviation[:-lag])[pair]) / variance
    return result


def market_like(profile: MarketProfile, *, lot_size: float | None = None) -> SyntheticMarket:
    """The synthetic market whose moments are those of a profile.

    Mean spread, its dispersion and day shape, mean size of every level, the mean dispersion
    of sizes, mean gap, volatility and autocorrelations are matched; bids and asks
    are alike. Levels beyond the last measured one have its size. Its quotes do not lean and
    trades do not displace its mid, since a profile holds neither.

    Parameters
    ----------
    profile : MarketProfile
    lot_size : float, optional
        Shares; sizes are drawn as multiples of it. One share by default; a hundredth of the
        smallest level's mean size where that is below two shares, as of coins.

    Examples
    --------
    >>> books = SyntheticMarket(depth=500.0).books(3_900, 3, np.random.default_rng(1))
    >>> found = market_like(measure_market(books))
    >>> found.tick, abs(found.depth / 500 - 1) < 0.1
    (0.01, True)
    """
    smallest = float(profile.level_size.min())
    lot = (1.0 if smallest >= 2 else 0.01 * smallest) if lot_size is None else lot_size
    n = profile.session.n_intervals
    # Less the tick**2 / 6 that rounding adds to every step, half at least.
    rounding = synthetic.SESSIONS_A_YEAR * n * profile.tick**2 / (6.0 * profile.mid**2)
    volatility = math.sqrt(max(profile.volatility**2 - rounding, 0.25 * profile.volatility**2))
    deviation = profile.mid * volatility / np.sqrt(synthetic.SESSIONS_A_YEAR)
    mean_spread = float(profile.spread.mean())
    day_depth = profile.day_shape.depth((np.arange(n) + 0.5) / n).mean()
    beyond = np.maximum(profile.level_size - lot, 0.01 * lot)
    dispersion = float(np.mean(profile.size_dispersion * profile.level_size / beyond))
    dispersion = max(dispersion - lot, 0.01 * lot)
    ticks = max(mean_spread / profile.tick - 1.0, 1e-9)  # beyond the first
    depth_memory = profile.depth_autocorrelation * (1.0 + lot / dispersion)

    spread_law = partial(synthetic.count_quantile, mean=ticks, dispersion=profile.spread_dispersion)
    depth_law = partial(special.gammaincinv, beyond.mean() / dispersion)
    return SyntheticMarket(
        ModelConfig(profile.mid, volatility, mean_spread / deviation, 0.0), profile.session,
        depth=float(beyond[0] / day_depth), dispersion=dispersion, tick=profile.tick,
        day_shape=profile.day_shape, spread_dispersion=profile.spread_dispersion, lot_size=lot,
        # At least one tick, whatever stray prices between the ticks do to the mean.
        gap_ticks=tuple(np.maximum(profile.level_gap, 1.0).tolist()) or (1.0,),
        level_shape=tuple((beyond / beyond[0]).tolist()),
        spread_memory=latent_memory(profile.spread_autocorrelation, spread_law),
        depth_memory=latent_memory(depth_memory, depth_law),
    )  # fmt: skip


def latent_memory(autocorrelation: Float, quantile: Callable[[Float], Array]) -> Memory:
    """The memory of a normal z whose quantile(Phi(z)) has a given autocorrelation at lags 1, 2, ...

    Each autocorrelation is converted to that of the normal (`latent_correlation`). Of all pairs of
    half-lives between 0 and 30 lags, the longest that `measure_market` measures, the least-squares
    fit is kept, with weight 1 / k for lag k so that every octave of lags counts the same. A best
    share of 0 or 1 leaves one part. If the first autocorrelation is NaN or not positive, there is
    no memory.

    Parameters
    ----------
    autocorrelation : (K,)
        NaN lags do not enter.
    quantile : callable
        Quantile function of the law.
    """
    known = np.isfinite(autocorrelation)
    if not (known[:1].any() and autocorrelation[0] > 0):
        return Memory(0.0)
    lags, pairs = np.flatnonzero(known) + 1, np.triu_indices(len(HALF_LIVES), 1)
    target, weight = latent_correlation(autocorrelation[known], quantile), 1.0 / lags
    fast, slow = (synthetic.correlation(HALF_LIVES[part, None], lags) for part in pairs)
    apart = slow - fast  # (pairs, K)
    share = np.clip((target - fast) * apart @ weight / (apart**2 @ weight), 0.0, 1.0)
    best = int(np.argmin((target - fast - share[:, None] * apart) ** 2 @ weight))
    half_life, slow_half_life = (float(HALF_LIVES[part[best]]) for part in pairs)
    if share[best] in (0.0, 1.0):
        return Memory(slow_half_life if share[best] else half_life)
    return Memory(half_life, slow_half_life, float(share[best]))


def latent_correlation(correlations: Float, quantile: Callable[[Float], Array]) -> Float:
    r"""Correlations of two normals at which quantile(Phi(.)) of both has the given ones.

    With the Hermite expansion Q(Phi(z)) = sum_j c_j He_j(z), the correlation is

    .. math:: \rho(\phi) = \sum_{j \ge 1} j! \, c_j^2 \phi^j \Big/ \sum_{j \ge 1} j! \, c_j^2,

    increasing in phi >= 0. 20 terms are kept: exact to four digits for gamma laws and to
    0.003 for counts of mean 8; a count that is mostly 0 (a spread of hardly more than one
    tick) has a slower expansion, and phi comes out up to 0.04 too low. A negative correlation is
    treated as noise about 0: the result is minus that of its absolute value. A law without
    variation has 0.
    """
    nodes, weights = hermite_e.hermegauss(200)
    values = quantile(np.minimum(special.ndtr(nodes), synthetic.HIGHEST_UNIFORM)).astype(float)
    powers = np.arange(1, HERMITE_TERMS + 1)
    polynomials = hermite_e.hermevander(nodes, HERMITE_TERMS)[:, 1:]
    moments = (weights / weights.sum() * values) @ polynomials
    share = moments**2 / special.factorial(powers)
    if share.sum() <= 1e-12:
        return np.zeros_like(correlations)
    phi = np.linspace(0.0, 1.0, 4001)
    reached = phi[:, None] ** powers @ share / share.sum()
    return np.sign(correlations) * np.interp(np.minimum(np.abs(correlations), 0.99), reached, phi)


# What follows was measured by `market_like(measure_market(books))`: books sampled at the start of
# each of the 390 minutes of one day, bids and asks together, and rounded. They describe three days
# of three stocks, not the stocks. Half-lives are minutes. Tests compare the distance between preset
# and day with sampling error, with a flat day and with no memory. Nearly all distances are below
# the largest of 19 draws of the preset itself; the others are named here.
#
# Lean, flow and kernel were measured apart, over minutes; figures are means over 12 clock offsets.
# "imbalance": correlation of (bid - ask) / (bid + ask), best sizes at the start of the minute, with
# the move of the mid over it. "flow": share of the variance of these moves that the net signed
# volume of the same minute explains; its standard deviation and mean volume, shares.
#
#                                      imbalance (s.e.)  flow    net    volume a minute
#   GOOG 2012-06-21, signed by LOBSTER  -0.009 (0.051)   0.294    879      1,263 (best: 160)
#   BAC 2013-10-07 to 10, at the quote   0.229 (0.025)   0.205  118,000  204,000
#     the first day of it                0.276 (0.051)   0.176   97,600  145,600 (best: 79,000)
#   BTC 2026-01-06 and 07, StandX        0.183 (0.019)   0.225   1.19       0.96
#
# For BTC locked states are included; trades are signed at an unlocked touch, else by the tick rule.
# A preset drawn with its `flow` has these figures: wide_spread_stock those of GOOG, deep_stock
# those of BAC (net and volume of the first day), thin_stock the correlation and share of BTC and,
# since FROG's one day is evaluated, GOOG's volume relative to depth. On GOOG the best sizes predict
# nothing over a minute, so that preset does not lean. A trade of these flows stands for a run of
# trades of one sign: it is larger and rarer than the stock's own trades, its signs are independent,
# and the variance of net volume is the same. Only the level of the kernel is measured. Its shape is
# assumed: half stays, the rest halves every 300 s (GOOG's own propagator keeps 67 % after 158 s).
# Flow adds 9 to 20 % to the walk's volatility.


def thin_stock(session: Session | None = None) -> SyntheticMarket:
    """A mid-priced stock of little depth, measured on FROG.

    Spread 9 ticks, gaps of 2 to 4, 1,600 shares a side. Depth rises steeply before the close;
    before that its shape is not distinguishable from a flat one.

    >>> thin_stock().tick
    0.01
    """
    # FROG, XNAS, 2025-04-03, Databento MBP-10: 389 books of 10 levels, mean spread 8.6 ticks,
    # 1,589 shares a side. Depth rises to over four times in the last three minutes (steepness 64,
    # the largest tried). Not matched: the distribution of the spread (distance 0.08, sampling error
    # up to 0.05-0.09). By half-hours, one day does not distinguish the shape of depth from a flat
    # one: distance 0.09, of a flat market 0.14, but draws of a flat market differ by up to 0.19.
    return _in_session(
        session, ModelConfig(31.5, 0.411, 0.106, 0.0), depth=183.0, dispersion=156.0,
        day_shape=DayShape(10.2, 0.0491, 0.556, 3.87, 11.3, 64.0), spread_dispersion=0.124,
        gap_ticks=(1.90, 1.83, 2.20, 2.52, 2.66, 3.10, 3.60, 3.43, 3.96),
        level_shape=(1.0, 0.663, 0.700, 0.732, 0.843, 0.844, 0.844, 0.783, 0.807, 1.002),
        spread_memory=Memory(0.245, 1.06, 0.739), depth_memory=Memory(0.674, 8.90, 0.506),
        lean=0.305, flow=OrderFlow(4.1, 380.0, split_share=0.0), kernel=_HalfLasting(2.14e-5),
    )  # fmt: skip


def wide_spread_stock(session: Session | None = None) -> SyntheticMarket:
    """A high-priced stock, measured on GOOG: spread 27 ticks, gaps of 4 to 6, 1,100 shares a side.

    The shape of depth over the day is not distinguishable from a flat one; its tail is lighter than
    GOOG's.

    >>> round(2 * float(wide_spread_stock().true_curve.half_spread.mean()), 2)
    0.27
    """
    # GOOG, Nasdaq, 2012-06-21, LOBSTER 10 levels: 389 books, mean spread 26.9 ticks, 1,081 shares
    # a side. Not matched: the tail of depth is heavier than a negative binomial's (distance
    # 0.09-0.10, sampling error up to that). The shape of depth by half-hours is not distinguishable
    # from a flat one either: distance 0.08, of a flat market 0.12, but draws of a flat market
    # differ by up to 0.22.
    return _in_session(
        session, ModelConfig(571.0, 0.153, 0.0490, 0.0), depth=148.0, dispersion=245.0,
        day_shape=DayShape(1.56, 0.116, 0.937, 0.317, 16.0, 5.66), spread_dispersion=2.84,
        gap_ticks=(5.60, 4.53, 3.84, 3.79, 4.06, 3.76, 3.72, 3.68, 3.70),
        level_shape=(1.0, 0.620, 0.524, 0.483, 0.483, 0.594, 0.696, 0.775, 0.817, 0.871),
        spread_memory=Memory(0.210, 10.4, 0.0473), depth_memory=Memory(0.406, 8.46, 0.357),
        lean=0.0, flow=OrderFlow(4.1, 306.0, split_share=0.0), kernel=_HalfLasting(2.14e-4),
    )  # fmt: skip


def deep_stock(session: Session | None = None) -> SyntheticMarket:
    """A low-priced stock, measured on BAC: spread always one tick, 79,000 shares at the touch.

    >>> round(2 * float(deep_stock().true_curve.half_spread.max()), 6)
    0.01
    """
    # BAC, US consolidated, 2013-10-07, Lean level-1 quotes, last bid and last ask carried: 389
    # books, spread always one tick, 79,058 shares a side, whole lots. Only the best level is seen;
    # those behind are assumed to be like it, one tick apart. The spread factor stays below that of
    # one tick (0.0977), so that no draw is wider. The slow half-life is at its limit and its share
    # small: over minutes this depth is close to one autoregression.
    return _in_session(
        session, ModelConfig(13.9, 0.117, 0.095, 0.0), depth=86_800.0, dispersion=29_000.0,
        day_shape=DayShape(0.0, 0.1, -0.642, 1.09, 1.0, 6.73), lot_size=100.0,
        spread_memory=Memory(0.0), depth_memory=Memory(2.16, 30.0, 0.0456),
        lean=0.50, flow=OrderFlow(4.45, 32_700.0, split_share=0.0), kernel=_HalfLasting(3.57e-8),
    )  # fmt: skip


PRESETS = {maker.__name__: maker for maker in (thin_stock, wide_spread_stock, deep_stock)}


def preset(name: str, session: Session | None = None) -> SyntheticMarket:
    """The preset of a name: "thin_stock", "wide_spread_stock" or "deep_stock".

    Parameters
    ----------
    name : str
    session : Session, optional
        390 minutes by default. Memory, lean and flow are kept per minute. In intervals of m minutes
        half-lives are m times shorter and trades m times as many. The predicted move keeps its
        size, so the lean is sqrt(m) times weaker (unchanged for m below 1).

    Raises
    ------
    ValidationError
        An unknown name, with the nearest valid one.

    Examples
    --------
    >>> preset("deep_stock").lot_size
    100.0
    """
    refuse_unknown([name], PRESETS, "preset")
    return PRESETS[name](session)


def _in_session(session: Session | None, config: ModelConfig, **measured: Any) -> SyntheticMarket:
    """A market in a session; its memory, lean and flow, measured over minutes, kept per minute."""
    market, session = SyntheticMarket(config, **measured), as_session(session)
    opens = session.bounds([market.first_day])[0]
    minutes = float(session.traded_ns(opens)[1][0]) / 60e9 / session.n_intervals
    flow = replace(market.flow, trades_per_interval=market.flow.trades_per_interval * minutes)
    return replace(
        market, session=session, lean=market.lean / math.sqrt(max(minutes, 1.0)),
        spread_memory=market.spread_memory.per_interval(minutes),
        depth_memory=market.depth_memory.per_interval(minutes), flow=flow,
    )  # fmt: skip


@dataclass(frozen=True)
class _HalfLasting(Record):
    """G(lag) = G(0) (1 + 2^(-lag / 300 s)) / 2, lags in seconds."""

    initial: float
    free_of_manipulation: ClassVar[bool] = True  # nonnegative, nonincreasing and convex

    def __call__(self, lags: ArrayLike) -> Float:
        return 0.5 * self.initial * (1.0 + np.exp2(-np.asarray(lags, float) / 300.0))

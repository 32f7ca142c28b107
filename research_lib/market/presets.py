"""Synthetic markets with the measured look of real stocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import NDArray
from scipy import special

from research_lib.checks import refuse_unknown
from research_lib.config import ModelConfig
from research_lib.market.calibration import LONGEST_LAG, MarketProfile
from research_lib.market.sessions import Session
from research_lib.market.synthetic import (
    HIGHEST_UNIFORM,
    SESSIONS_A_YEAR,
    DayShape,
    Memory,
    SyntheticMarket,
    correlation,
    count_quantile,
)

Float = NDArray[np.float64]
HERMITE_TERMS = 20
HALF_LIVES = np.append(0.0, np.geomspace(0.2, LONGEST_LAG, 100))


def market_like(profile: MarketProfile, *, lot_size: float = 1.0) -> SyntheticMarket:
    """The synthetic market whose moments are those of a profile.

    Mean spread, its dispersion and day shape, mean size of every level, the mean dispersion
    of sizes, mean gap, volatility and autocorrelations are matched; bids and asks
    are alike. Levels behind the last one measured are as large as it.

    Parameters
    ----------
    profile : MarketProfile
    lot_size : float
        Shares; sizes are drawn as multiples of it.
    """
    volatility = _without_rounding(profile)
    deviation = profile.mid * volatility / np.sqrt(SESSIONS_A_YEAR)
    config = ModelConfig(
        base_price=profile.mid,
        volatility_factor=volatility,
        spread_factor=float(profile.spread.mean()) / deviation,
        volume_decay=0.0,
    )
    fraction = (np.arange(profile.session.n_intervals) + 0.5) / profile.session.n_intervals
    beyond = np.maximum(profile.level_size - lot_size, 0.01 * lot_size)
    dispersion = max(
        float(np.mean(profile.size_dispersion * profile.level_size / beyond)) - lot_size,
        0.01 * lot_size,
    )
    ticks_beyond = float(profile.spread.mean()) / profile.tick - 1.0
    lots = beyond.mean() / lot_size
    return SyntheticMarket(
        config=config,
        session=profile.session,
        depth=float(beyond[0] / profile.day_shape.depth(fraction).mean()),
        dispersion=dispersion,
        tick=profile.tick,
        day_shape=profile.day_shape,
        spread_dispersion=profile.spread_dispersion,
        gap_ticks=tuple(profile.level_gap.tolist()) or (1.0,),
        lot_size=lot_size,
        level_shape=tuple((beyond / beyond[0]).tolist()),
        spread_memory=latent_memory(
            profile.spread_autocorrelation,
            lambda u: count_quantile(
                u, np.full(u.shape, max(ticks_beyond, 1e-9)), profile.spread_dispersion
            ),
        ),
        depth_memory=latent_memory(
            profile.depth_autocorrelation * (1.0 + lot_size / dispersion),
            lambda u: special.gammaincinv(lots * lot_size / dispersion, u),
        ),
    )


def _without_rounding(profile: MarketProfile) -> float:
    """Annual volatility less the tick**2 / 6 that rounding to the grid adds to every step, half of it at least."""
    steps = SESSIONS_A_YEAR * profile.session.n_intervals
    rounding = steps * profile.tick**2 / (6.0 * profile.mid**2)
    return float(np.sqrt(max(profile.volatility**2 - rounding, 0.25 * profile.volatility**2)))


def latent_memory(autocorrelation: Float, quantile: Callable[[Float], NDArray[Any]]) -> Memory:
    """The memory of a normal z whose quantile(Phi(z)) has a given autocorrelation at lags 1, 2, ...

    Every autocorrelation is taken back to the normal's (`latent_correlation`). Of all
    half-lives of 0 to 30 lags, 30 being as far as `measure_market` looks, the pair and the
    share are kept that come closest in squares, lag k weighing 1 / k: every octave of lags
    counts alike. Where the best share is 0 or 1 there is one part only, and where the
    first autocorrelation is NaN or not positive no memory.

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
    lags = np.flatnonzero(known) + 1
    target = latent_correlation(autocorrelation[known], quantile)
    fast, slow = (
        correlation(HALF_LIVES[part, None], lags) for part in np.triu_indices(len(HALF_LIVES), 1)
    )
    apart = slow - fast  # (pairs, K)
    share = np.clip((target - fast) * apart @ (1 / lags) / (apart**2 @ (1 / lags)), 0.0, 1.0)
    best = int(np.argmin((target - fast - share[:, None] * apart) ** 2 @ (1 / lags)))
    half_life, slow_half_life = (
        float(HALF_LIVES[part[best]]) for part in np.triu_indices(len(HALF_LIVES), 1)
    )
    if share[best] in (0.0, 1.0):
        return Memory(slow_half_life if share[best] else half_life)
    return Memory(half_life, slow_half_life, float(share[best]))


def latent_correlation(correlations: Float, quantile: Callable[[Float], NDArray[Any]]) -> Float:
    r"""Correlations of two normals at which quantile(Phi(.)) of both has the given ones, shape kept.

    With the Hermite expansion Q(Phi(z)) = sum_j c_j He_j(z), the correlation is

    .. math:: \rho(\phi) = \sum_{j \ge 1} j! \, c_j^2 \phi^j \Big/ \sum_{j \ge 1} j! \, c_j^2,

    increasing in phi >= 0. 20 terms are kept: exact to four digits for gamma laws and to
    0.003 for counts of mean 8; a count that is mostly 0 (a spread of hardly more than one
    tick) has a slower expansion, and phi comes out up to 0.04 too low. A negative
    correlation, noise about 0, is taken as minus that of its size; a law without
    variation has 0.
    """
    nodes, weights = hermite_e.hermegauss(200)
    values = quantile(np.minimum(special.ndtr(nodes), HIGHEST_UNIFORM)).astype(float)
    powers = np.arange(1, HERMITE_TERMS + 1)
    moments = (weights / weights.sum() * values) @ hermite_e.hermevander(nodes, HERMITE_TERMS)[
        :, 1:
    ]
    share = moments**2 / special.factorial(powers)
    if share.sum() <= 1e-12:
        return np.zeros_like(correlations)
    phi = np.linspace(0.0, 1.0, 4001)
    reached = phi[:, None] ** powers @ share / share.sum()
    return np.sign(correlations) * np.interp(np.minimum(np.abs(correlations), 0.99), reached, phi)


# What follows was measured by `market_like(measure_market(books))`: books sampled at the start of each of the 390
# minutes of one day, bids and asks together, and rounded. Facts of three days of three stocks, not of the stocks.
# Half-lives are minutes. Tests hold every distance against chance, against a flat day and against no memory: nearly
# all are below the largest of 19 draws of the preset itself; what is at its edge or beyond is named here.

# FROG, XNAS, 2025-04-03, Databento MBP-10: 389 books of 10 levels, mean spread 8.6 ticks, 1,589 shares a side.
# Depth surges to over four times in the last three minutes (steepness 64, as steep as is tried). Not caught: the
# spread's distribution (0.08 apart, chance up to 0.05-0.09). By half-hours, one day does not tell the shape of depth
# from a flat day's noise: 0.09 apart, flat 0.14, but a flat market is up to 0.19 apart from itself.
FROG_2025_04_03 = SyntheticMarket(
    config=ModelConfig(
        base_price=31.5, volatility_factor=0.411, spread_factor=0.106, volume_decay=0.0
    ),
    depth=183.0,
    dispersion=156.0,
    day_shape=DayShape(
        spread_opening=10.2,
        spread_settling=0.0491,
        depth_opening=0.556,
        depth_closing=3.87,
        opening_steepness=11.3,
        closing_steepness=64.0,
    ),
    spread_dispersion=0.124,
    gap_ticks=(1.90, 1.83, 2.20, 2.52, 2.66, 3.10, 3.60, 3.43, 3.96),
    level_shape=(1.0, 0.663, 0.700, 0.732, 0.843, 0.844, 0.844, 0.783, 0.807, 1.002),
    spread_memory=Memory(half_life=0.245, slow_half_life=1.06, slow_share=0.739),
    depth_memory=Memory(half_life=0.674, slow_half_life=8.90, slow_share=0.506),
)
# GOOG, Nasdaq, 2012-06-21, LOBSTER 10 levels: 389 books, mean spread 26.9 ticks, 1,081 shares a side.
# Not caught: the tail of depth is heavier than a negative binomial's (0.09-0.10 apart, chance up to that). The shape of
# depth by half-hours is within a flat day's noise as well: 0.08 apart, flat 0.12, a flat market up to 0.22 from itself.
GOOG_2012_06_21 = SyntheticMarket(
    config=ModelConfig(
        base_price=571.0, volatility_factor=0.153, spread_factor=0.0490, volume_decay=0.0
    ),
    depth=148.0,
    dispersion=245.0,
    day_shape=DayShape(
        spread_opening=1.56,
        spread_settling=0.116,
        depth_opening=0.937,
        depth_closing=0.317,
        opening_steepness=16.0,
        closing_steepness=5.66,
    ),
    spread_dispersion=2.84,
    gap_ticks=(5.60, 4.53, 3.84, 3.79, 4.06, 3.76, 3.72, 3.68, 3.70),
    level_shape=(1.0, 0.620, 0.524, 0.483, 0.483, 0.594, 0.696, 0.775, 0.817, 0.871),
    spread_memory=Memory(half_life=0.210, slow_half_life=10.4, slow_share=0.0473),
    depth_memory=Memory(half_life=0.406, slow_half_life=8.46, slow_share=0.357),
)
# BAC, US consolidated, 2013-10-07, Lean level-1 quotes, last bid and last ask carried: 389 books, spread always one
# tick, 79,058 shares a side, whole lots. Only the best level is seen; those behind are assumed to be like it, one
# tick apart. The spread factor stays below that of one tick (0.0977), so that no draw is wider. The slow half-life is
# at its limit and its share small: over minutes this depth remembers as one autoregression.
BAC_2013_10_07 = SyntheticMarket(
    config=ModelConfig(
        base_price=13.9, volatility_factor=0.117, spread_factor=0.095, volume_decay=0.0
    ),
    depth=86_800.0,
    dispersion=29_000.0,
    day_shape=DayShape(
        spread_opening=0.0,
        spread_settling=0.1,
        depth_opening=-0.642,
        depth_closing=1.09,
        opening_steepness=1.0,
        closing_steepness=6.73,
    ),
    lot_size=100.0,
    spread_memory=Memory(half_life=0.0),
    depth_memory=Memory(half_life=2.16, slow_half_life=30.0, slow_share=0.0456),
)


def thin_stock(session: Session | None = None) -> SyntheticMarket:
    """A mid-priced stock of little depth, measured on FROG: spread 9 ticks, gaps of 2 to 4, 1,600 shares a side.

    Depth surges before the close; over the rest of the day its shape is within a flat day's noise.
    """
    return _in_session(FROG_2025_04_03, session)


def wide_spread_stock(session: Session | None = None) -> SyntheticMarket:
    """A high-priced stock, measured on GOOG: spread 27 ticks, gaps of 4 to 6, 1,100 shares a side.

    The shape of depth over the day is within a flat day's noise, and its tail lighter than GOOG's.
    """
    return _in_session(GOOG_2012_06_21, session)


def deep_stock(session: Session | None = None) -> SyntheticMarket:
    """A low-priced stock of large tick, measured on BAC: spread always one tick, 79,000 shares at the touch."""
    return _in_session(BAC_2013_10_07, session)


PRESETS = {maker.__name__: maker for maker in (thin_stock, wide_spread_stock, deep_stock)}


def preset(name: str, session: Session | None = None) -> SyntheticMarket:
    """The preset of a name: "thin_stock", "wide_spread_stock" or "deep_stock".

    Parameters
    ----------
    name : str
    session : Session, optional
        390 minutes by default. Memory is kept per minute: in intervals of m
        minutes its half-lives are m times shorter.

    Raises
    ------
    ValidationError
        An unknown name, with the nearest valid one.
    """
    refuse_unknown([name], PRESETS, "preset")
    return PRESETS[name](session)


def _in_session(measured: SyntheticMarket, session: Session | None) -> SyntheticMarket:
    """The market in another session, its memory, measured from minute to minute, kept per minute."""
    session = session or Session()
    opens, _ = session.bounds([measured.first_day])
    minutes = float(session.traded_ns(opens)[1][0]) / 60e9 / session.n_intervals
    return dataclasses.replace(
        measured,
        session=session,
        spread_memory=measured.spread_memory.per_interval(minutes),
        depth_memory=measured.depth_memory.per_interval(minutes),
    )

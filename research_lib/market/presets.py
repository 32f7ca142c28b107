"""Synthetic markets with the measured look of real stocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import NDArray
from scipy import optimize, special

from research_lib.config import ModelConfig, refuse_unknown
from research_lib.market.calibration import MarketProfile
from research_lib.market.sessions import Session
from research_lib.market.synthetic import HIGHEST_UNIFORM, SESSIONS_A_YEAR, DayShape, SyntheticMarket, count_quantile

Float = NDArray[np.float64]
HERMITE_TERMS = 20


def market_like(profile: MarketProfile, *, lot_size: float = 1.0) -> SyntheticMarket:
    """The synthetic market whose moments are those of a profile.

    Mean spread, its dispersion and day shape, mean size of every level, the mean dispersion
    of sizes, mean gap, volatility and lag-1 autocorrelations are matched; bids and asks
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
    dispersion = max(float(np.mean(profile.size_dispersion * profile.level_size / beyond)) - lot_size, 0.01 * lot_size)
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
        spread_persistence=latent_persistence(
            profile.spread_autocorrelation[0],
            lambda u: count_quantile(u, np.full(u.shape, max(ticks_beyond, 1e-9)), profile.spread_dispersion),
        ),
        depth_persistence=latent_persistence(
            profile.depth_autocorrelation[0] * (1.0 + lot_size / dispersion),
            lambda u: special.gammaincinv(lots * lot_size / dispersion, u),
        ),
    )


def _without_rounding(profile: MarketProfile) -> float:
    """Annual volatility less the tick**2 / 6 that rounding to the grid adds to every step, half of it at least."""
    steps = SESSIONS_A_YEAR * profile.session.n_intervals
    rounding = steps * profile.tick**2 / (6.0 * profile.mid**2)
    return float(np.sqrt(max(profile.volatility**2 - rounding, 0.25 * profile.volatility**2)))


def latent_persistence(autocorrelation: float, quantile: Callable[[Float], NDArray[Any]]) -> float:
    r"""Correlation of two normals at which quantile(Phi(.)) of both has a given correlation.

    With the Hermite expansion Q(Phi(z)) = sum_j c_j He_j(z), the correlation is

    .. math:: \rho(\phi) = \sum_{j \ge 1} j! \, c_j^2 \phi^j \Big/ \sum_{j \ge 1} j! \, c_j^2,

    increasing in phi >= 0. 20 terms are kept: exact to four digits for gamma laws and to
    0.003 for counts of mean 8; a count that is mostly 0 (a spread of hardly more than one
    tick) has a slower expansion, and phi comes out up to 0.04 too low.
    Returns 0 where the autocorrelation is NaN or not positive.
    """
    if not autocorrelation > 0:
        return 0.0
    nodes, weights = hermite_e.hermegauss(200)
    values = quantile(np.minimum(special.ndtr(nodes), HIGHEST_UNIFORM)).astype(float)
    powers = np.arange(1, HERMITE_TERMS + 1)
    moments = (weights / weights.sum() * values) @ hermite_e.hermevander(nodes, HERMITE_TERMS)[:, 1:]
    share = moments**2 / special.factorial(powers)
    if share.sum() <= 1e-12:
        return 0.0
    target = min(autocorrelation, 0.99) * share.sum()
    return float(optimize.brentq(lambda phi: share @ phi**powers - target, 0.0, 1.0))


# What follows was measured by `market_like(measure_market(books))`: books sampled at the start of each of the 390
# minutes of one day, bids and asks together, and rounded. Facts of three days of three stocks, not of the stocks.
# What the shape of the day and memory add is tested against the same market with a flat day and without memory.

# FROG, XNAS, 2025-04-03, Databento MBP-10: 389 books of 10 levels, mean spread 8.6 ticks, 1,589 shares a side.
# Not caught: how depth moves over the day (hardly closer than a flat day), the spread's memory beyond one minute.
FROG_2025_04_03 = SyntheticMarket(
    config=ModelConfig(base_price=31.5, volatility_factor=0.411, spread_factor=0.106, volume_decay=0.0),
    depth=175.0,
    dispersion=164.0,
    day_shape=DayShape(spread_opening=10.2, spread_settling=0.0491, depth_opening=0.256, depth_closing=0.325),
    spread_dispersion=0.124,
    gap_ticks=(1.90, 1.83, 2.20, 2.52, 2.66, 3.10, 3.60, 3.43, 3.96),
    level_shape=(1.0, 0.663, 0.700, 0.732, 0.843, 0.844, 0.844, 0.783, 0.807, 1.002),
    spread_persistence=0.401,
    depth_persistence=0.652,
)
# GOOG, Nasdaq, 2012-06-21, LOBSTER 10 levels: 389 books, mean spread 26.9 ticks, 1,081 shares a side.
# Not caught: how depth moves over the day (hardly closer than a flat day), memory beyond one minute: of the spread no
# closer than without memory, of depth by a fifth only, as real depth forgets more slowly than an autoregression.
GOOG_2012_06_21 = SyntheticMarket(
    config=ModelConfig(base_price=571.0, volatility_factor=0.153, spread_factor=0.0490, volume_decay=0.0),
    depth=143.0,
    dispersion=246.0,
    day_shape=DayShape(spread_opening=1.56, spread_settling=0.116, depth_opening=0.320, depth_closing=0.224),
    spread_dispersion=2.84,
    gap_ticks=(5.60, 4.53, 3.84, 3.79, 4.06, 3.76, 3.72, 3.68, 3.70),
    level_shape=(1.0, 0.620, 0.524, 0.483, 0.483, 0.594, 0.696, 0.775, 0.817, 0.871),
    spread_persistence=0.0810,
    depth_persistence=0.472,
)
# BAC, US consolidated, 2013-10-07, Lean level-1 quotes, last bid and last ask carried: 389 books, spread always one
# tick, 79,058 shares a side, whole lots. Only the best level is seen; those behind are assumed to be like it, one
# tick apart. The spread factor stays below that of one tick (0.0977), so that no draw is wider.
BAC_2013_10_07 = SyntheticMarket(
    config=ModelConfig(base_price=13.9, volatility_factor=0.117, spread_factor=0.095, volume_decay=0.0),
    depth=76_600.0,
    dispersion=29_700.0,
    day_shape=DayShape(spread_opening=0.0, spread_settling=0.1, depth_opening=-0.684, depth_closing=0.869),
    lot_size=100.0,
    spread_persistence=0.0,
    depth_persistence=0.708,
)


def thin_stock(session: Session | None = None) -> SyntheticMarket:
    """A mid-priced stock of little depth, measured on FROG: spread 9 ticks, gaps of 2 to 4, 1,600 shares a side.

    Depth over the day is hardly closer to FROG's than a flat day is.
    """
    return _in_session(FROG_2025_04_03, session)


def wide_spread_stock(session: Session | None = None) -> SyntheticMarket:
    """A high-priced stock, measured on GOOG: spread 27 ticks, gaps of 4 to 6, 1,100 shares a side.

    Depth over the day is hardly closer to GOOG's than a flat day is, and memory beyond one
    minute hardly closer than none.
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
        390 minutes by default. Memory is kept per minute: intervals of m minutes
        get persistence ** m.

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
    opens, closes = session.bounds([measured.first_day])
    minutes = float(closes[0] - opens[0]) / 60e9 / session.n_intervals
    return dataclasses.replace(
        measured,
        session=session,
        spread_persistence=measured.spread_persistence**minutes,
        depth_persistence=measured.depth_persistence**minutes,
    )

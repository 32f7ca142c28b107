"""What a market looks like in numbers."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session
from research_lib.market.synthetic import SESSIONS_A_YEAR, DayShape

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
LONGEST_LAG = 30
FEWEST_BOOKS = 100
STALE_SECONDS = 300.0
GRID_UNIT = 1e-8  # currency per share: finer than any tick, coarser than rounding
SETTLING_TIMES = np.geomspace(0.01, 0.5, 60)
STEEPNESS = np.geomspace(1.0, 64.0, 25)


@dataclass(frozen=True, eq=False)
class MarketProfile(Record):
    """Stylised facts of one stock's books, one book an interval, bids and asks taken together.

    Attributes
    ----------
    symbol : str
    session : Session
    n_books : int
        Intervals with a usable book: complete, both sides shown, not locked or crossed.
    n_stale : int
        Of these, books older than 300 s when they were sampled: a quiet market, or a pause of the recording.
    tick, mid : float
        Currency per share; mid is the mean.
    volatility : float
        Annual standard deviation of the log mid from interval to interval within days.
    spread : (m,) currency per share
        Quoted spread of every book.
    total_depth : (2m,) shares
        Visible shares of every book, bids then asks.
    spread_by_time, depth_by_time : (P,) currency per share, shares
        Means over P equally long parts of the session; NaN where a part has no book.
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
    """

    symbol: str
    session: Session
    n_books: int
    n_stale: int
    tick: float
    mid: float
    volatility: float
    spread: Float
    total_depth: Float
    spread_by_time: Float
    depth_by_time: Float
    day_shape: DayShape
    spread_dispersion: float
    level_size: Float
    size_dispersion: Float
    level_gap: Float
    spread_autocorrelation: Float
    depth_autocorrelation: Float

    @property
    def n_levels(self) -> int:
        """Levels a side; level-1 data have nothing to say by level and no gaps."""
        return len(self.level_size)

    @property
    def spread_varies(self) -> bool:
        """False for a stock whose spread is the same in every book, one tick as a rule: no day shape, no memory."""
        return bool(np.ptp(self.spread) > 1e-9)


def measure_market(
    books: BookSnapshots,
    session: Session | None = None,
    *,
    tick: float | None = None,
    n_parts: int = 13,
    max_age: float | None = None,
) -> MarketProfile:
    """Measure spread, depth, their day shape and their memory on real or synthetic books.

    The books are sampled at the start of every interval (`BookSnapshots.sample`): what is
    measured is what a trader there saw. Empty levels do not enter the level means. Memory
    is measured relative to the fitted day shape, else the opening's wide spread counts as memory.

    Parameters
    ----------
    books : BookSnapshots
        Any number of states and days.
    session : Session, optional
    tick : float, optional
        Currency per share; found from the prices by default (`price_grid`).
    n_parts : int
        Parts of the session of `spread_by_time` and `depth_by_time`; 13 are half-hours.
    max_age : float, optional
        Seconds; older books are not measured. No limit by default, but a logged warning says
        how many are older than 300 s.

    Raises
    ------
    InsufficientDataError
        Fewer than 100 usable books, or prices on no grid.
    ValidationError
        Prices on another grid than that of `tick`.
    """
    session = session or Session()
    sampled = books.sample(session, max_age)
    seen = sampled.take(sampled.complete & (sampled.half_spread > 0))
    if len(seen) < FEWEST_BOOKS:
        raise InsufficientDataError(
            f"{len(seen)} of {len(sampled)} intervals have a usable book, a profile needs {FEWEST_BOOKS}; "
            "add days or cut the session into more intervals"
        )
    tick, n_stale = price_grid(seen, tick), _warned_stale(seen)
    interval, day = session.interval_of(seen.time), pd.factorize(session.days(seen.time))[0]
    fraction = (interval + 0.5) / session.n_intervals
    spread, depths = (
        np.round(2.0 * seen.half_spread, 9),
        [seen.bid_size.sum(axis=1), seen.ask_size.sum(axis=1)],
    )
    shape, spread_fit, depth_fit = _fitted_day_shape(
        fraction, spread, 0.5 * (depths[0] + depths[1])
    )
    part = np.minimum((fraction * n_parts).astype(np.int64), n_parts - 1)
    return MarketProfile(
        symbol=seen.symbol,
        session=session,
        n_books=len(seen),
        n_stale=n_stale,
        tick=tick,
        mid=float(seen.mid.mean()),
        volatility=_volatility(seen.mid, day, interval, session),
        spread=spread,
        total_depth=np.concatenate(depths),
        spread_by_time=_mean_by(part, spread, n_parts),
        depth_by_time=_mean_by(part, 0.5 * (depths[0] + depths[1]), n_parts),
        day_shape=shape,
        spread_dispersion=_overdispersion(spread / tick - 1.0, spread_fit / tick - 1.0),
        **_level_statistics(seen, depth_fit / depth_fit.mean(), tick),
        spread_autocorrelation=_autocorrelation(spread / spread_fit, day, interval),
        depth_autocorrelation=np.mean(
            [_autocorrelation(d / depth_fit, day, interval) for d in depths], axis=0
        ),
    )


def price_grid(books: BookSnapshots, tick: float | None = None) -> float:
    """The tick of books, currency per share: the largest step of which nearly all price steps are multiples.

    Steps are those from level to level, across the spread, and of the touch from one book to
    the next. The tick is the greatest common divisor of those that make at least 0.1 % of all, so that
    stray prices do not count. A given `tick` is checked: 99 % of steps must be its multiples.

    Raises
    ------
    InsufficientDataError
        Prices on no grid (averaged or adjusted ones, for instance).
    ValidationError
        Prices not on the grid of `tick`.
    """
    touch = np.column_stack([books.bid_price[:, 0], books.ask_price[:, 0]])
    steps = [
        np.diff(books.bid_price, axis=1),
        np.diff(books.ask_price, axis=1),
        np.diff(touch, axis=1),
    ]
    moved = np.abs(np.concatenate([part.ravel() for part in (*steps, np.diff(touch, axis=0))]))
    moved = np.rint(moved[np.isfinite(moved)] / GRID_UNIT).astype(np.int64)
    step, count = np.unique(moved[moved > 0], return_counts=True)
    if tick is not None:
        units = number("tick", tick, above=0) / GRID_UNIT
        off = np.abs(step - np.rint(step / units) * units) > 1.0
        if count[off].sum() > 0.01 * count.sum():
            raise ValidationError(
                f"{count[off].sum() / count.sum():.1%} of price steps are no multiples of the tick {tick:g}, e.g. "
                f"{step[off][0] * GRID_UNIT:.8g}; give the market's tick, or None to find it"
            )
        return float(tick)
    found = int(np.gcd.reduce(step[count >= 0.001 * count.sum()]))
    if not found or (found == 1 and np.median(step) > 1000):
        raise InsufficientDataError(
            "prices lie on no grid: their steps have no common divisor; give tick=, currency per share"
        )
    return round(found * GRID_UNIT, 9)


def _warned_stale(seen: BookSnapshots) -> int:
    n_stale = int(seen.stale(STALE_SECONDS).sum())
    if n_stale:
        logger.warning(
            "%s of %s sampled books are older than %g s, the oldest %.0f s; if the recording paused, give max_age",
            f"{n_stale:,}", f"{len(seen):,}", STALE_SECONDS, seen.age.max() / 1e9,
        )  # fmt: skip
    return n_stale


def _fitted_day_shape(
    fraction: Float, spread: Float, depth: Float
) -> tuple[DayShape, Float, Float]:
    """Day shape by least squares, and the fitted spread and depth at every book, (m,) each."""
    at, row, count = np.unique(fraction, return_inverse=True, return_counts=True)
    by_interval = [np.bincount(row, values) / count for values in (spread, depth)]
    settled, spread_shape = _fitted_spread(at, by_interval[0], count)
    midday, depth_shape = _fitted_depth(at, by_interval[1], count)
    shape = DayShape(**spread_shape, **depth_shape)
    return shape, (settled * shape.spread(at))[row], (midday * shape.depth(at))[row]


def _fitted_spread(fraction: Float, spread: Float, count: Int64) -> tuple[float, dict[str, float]]:
    """Settled spread and its shape; counts vary the more the larger they are: weighed by one over a first fit."""
    settling, settled, opening = _settling(fraction, spread, count)
    if min(settled, settled + opening) > 0:
        first = settled + opening * np.exp(-fraction / settling)
        settling, settled, opening = _settling(fraction, spread, count / first)
    if settled <= 0 or opening <= 1e-9 * settled:  # no wide opening: a flat day
        settled, opening = float(np.average(spread, weights=count)), 0.0
    return settled, {"spread_opening": opening / settled, "spread_settling": settling}


def _settling(fraction: Float, spread: Float, weight: Float | Int64) -> tuple[float, float, float]:
    """Settling time, settled spread and excess at the opening of the best weighted fit."""
    best, root = (np.inf, 0.0, 0.0, 0.0), np.sqrt(weight)
    for settling in SETTLING_TIMES:
        excess = np.exp(-fraction / settling)
        design = np.column_stack([np.ones_like(spread), excess])
        settled, opening = np.linalg.lstsq(design * root[:, None], spread * root, rcond=None)[
            0
        ].tolist()
        error = float(weight @ (spread - settled - opening * excess) ** 2)
        best = min(best, (error, float(settling), settled, opening))
    return best[1:]


def _fitted_depth(fraction: Float, depth: Float, count: Int64) -> tuple[float, dict[str, float]]:
    """Depth at midday and its shape, the best of all pairs of steepnesses that keep depth positive."""
    from_midday = 2.0 * fraction - 1.0
    early, late = (
        np.maximum(d, 0.0) ** STEEPNESS[:, None] for d in (-from_midday, from_midday)
    )  # (S, m)
    pairs = (len(STEEPNESS), len(STEEPNESS))
    gram, moment = (
        np.zeros((*pairs, 3, 3)),
        np.zeros((*pairs, 3, 1)),
    )  # the normal equations of [1, early, late]
    gram[..., 0, 0], gram[..., 1, 1], gram[..., 2, 2] = (
        count.sum(),
        (early**2 @ count)[:, None],
        late**2 @ count,
    )
    gram[..., 0, 1] = gram[..., 1, 0] = (early @ count)[:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = late @ count
    total = count * depth
    moment[..., 0, 0], moment[..., 1, 0], moment[..., 2, 0] = (
        total.sum(),
        (early @ total)[:, None],
        late @ total,
    )
    fit = np.linalg.pinv(gram, hermitian=True) @ moment
    midday, opening, closing = np.moveaxis(fit[..., 0], -1, 0)
    explained = np.where(
        np.minimum(opening, closing) > -midday, (fit * moment).sum(axis=(-2, -1)), -np.inf
    )
    p, q = np.unravel_index(np.argmax(explained), explained.shape)
    if not (np.isfinite(explained[p, q]) and midday[p, q] > 0):
        return float(np.average(depth, weights=count)), {"depth_opening": 0.0, "depth_closing": 0.0}
    return float(midday[p, q]), {
        "depth_opening": float(opening[p, q] / midday[p, q]),
        "depth_closing": float(closing[p, q] / midday[p, q]),
        "opening_steepness": float(STEEPNESS[p]),
        "closing_steepness": float(STEEPNESS[q]),
    }


def _volatility(mid: Float, day: Int64, interval: Int64, session: Session) -> float:
    neighbours = (np.diff(day) == 0) & (np.diff(interval) == 1)
    steps = np.diff(np.log(mid))[neighbours]
    return float(np.sqrt(np.mean(steps**2) * SESSIONS_A_YEAR * session.n_intervals))


def _overdispersion(beyond: Float, expected: Float) -> float:
    """Pearson's variance over mean, minus one, of counts about their expectations; 0 where none is expected."""
    known = expected > 1e-9
    return (
        max(float(np.mean((beyond - expected)[known] ** 2 / expected[known])) - 1.0, 0.0)
        if known.any()
        else 0.0
    )


def _level_statistics(books: BookSnapshots, day_shape: Float, tick: float) -> dict[str, Float]:
    """Mean size, variance over mean and mean gap of each level over both sides, empty levels left out."""
    size = np.concatenate([books.bid_size, books.ask_size])
    shown = np.where(size > 0, size, np.nan)
    gap = np.abs(np.diff(np.concatenate([books.bid_price, books.ask_price]), axis=1)) / tick
    mean = np.nanmean(shown, axis=0)
    expected = mean * np.tile(day_shape, 2)[:, None]
    return {
        "level_size": mean,
        "size_dispersion": np.nanmean((shown - expected) ** 2, axis=0) / mean,
        "level_gap": np.nanmean(gap, axis=0),
    }


def _mean_by(part: Int64, values: Float, n_parts: int) -> Float:
    return pd.Series(values).groupby(part).mean().reindex(range(n_parts)).to_numpy()


def _autocorrelation(values: Float, day: Int64, interval: Int64) -> Float:
    """At lags 1..30 between intervals of one day, (30,); the mean and variance are those of all values."""
    deviation, variance = values - values.mean(), float(values.var())
    result = np.full(LONGEST_LAG, np.nan)
    for lag in range(1, LONGEST_LAG + 1):
        pair = (day[lag:] == day[:-lag]) & (interval[lag:] - interval[:-lag] == lag)
        if pair.any() and variance > 1e-18:
            result[lag - 1] = np.mean((deviation[lag:] * deviation[:-lag])[pair]) / variance
    return result

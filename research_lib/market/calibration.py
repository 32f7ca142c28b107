"""What a market looks like in numbers, and how far a synthetic one is from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from research_lib.config import Record, number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session
from research_lib.market.synthetic import SESSIONS_A_YEAR, DayShape

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
LONGEST_LAG = 10
FEWEST_BOOKS = 100
SETTLING_TIMES = np.geomspace(0.01, 0.5, 60)


@dataclass(frozen=True, eq=False)
class MarketProfile(Record):
    """Stylised facts of one stock's books, one book an interval, bids and asks taken together.

    Attributes
    ----------
    symbol : str
    session : Session
    n_books : int
        Intervals with a usable book: complete, both sides shown, not locked or crossed.
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
    spread_autocorrelation, depth_autocorrelation : (10,)
        At lags of 1, 2, ... intervals within days, of spread and total depth relative to the
        day shape; NaN where there is no variation or no pair.
    """

    symbol: str
    session: Session
    n_books: int
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


def measure_market(
    books: BookSnapshots, session: Session | None = None, *, tick: float = 0.01, n_parts: int = 13
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
    tick : float
        Currency per share.
    n_parts : int
        Parts of the session of `spread_by_time` and `depth_by_time`; 13 are half-hours.

    Raises
    ------
    ValidationError
        Fewer than 100 usable books.
    """
    session = session or Session()
    number("tick", tick, above=0)
    sampled = books.sample(session)
    seen = sampled.take(sampled.complete & (sampled.half_spread > 0))
    if len(seen) < FEWEST_BOOKS:
        raise ValidationError(
            f"{len(seen)} of {len(sampled)} intervals have a usable book, a profile needs {FEWEST_BOOKS}; "
            "add days or cut the session into more intervals"
        )
    interval, day = session.interval_of(seen.time), pd.factorize(session.days(seen.time))[0]
    fraction = (interval + 0.5) / session.n_intervals
    spread, depths = np.round(2.0 * seen.half_spread, 9), [seen.bid_size.sum(axis=1), seen.ask_size.sum(axis=1)]
    shape, spread_fit, depth_fit = _fitted_day_shape(fraction, spread, 0.5 * (depths[0] + depths[1]))
    part = np.minimum((fraction * n_parts).astype(np.int64), n_parts - 1)
    return MarketProfile(
        symbol=seen.symbol,
        session=session,
        n_books=len(seen),
        tick=float(tick),
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
        depth_autocorrelation=np.mean([_autocorrelation(d / depth_fit, day, interval) for d in depths], axis=0),
    )


def profile_distances(real: MarketProfile, synthetic: MarketProfile) -> pd.DataFrame:
    """How far one profile is from another, a row each fact.

    Returns
    -------
    DataFrame
        Index: the fact. Columns: `real` and `synthetic`, a number that stands for it;
        `distance`, 0 for equal; `measure`, what the distance is: relative error, the
        Kolmogorov-Smirnov distance of the samples, the root mean square of the log ratio
        (of means over the day or over levels, the overall mean taken out), or a difference.

    Raises
    ------
    ValidationError
        Profiles of different numbers of levels, parts of the day or intervals.
    """
    for name in ("level_size", "spread_by_time"):
        if len(real[name]) != len(synthetic[name]):
            raise ValidationError(
                f"{name} has {len(real[name])} entries in one profile and {len(synthetic[name])} in the other; "
                "measure both with the same levels and parts"
            )
    if real.session.n_intervals != synthetic.session.n_intervals:
        raise ValidationError(
            f"one profile has {real.session.n_intervals} intervals a session, the other "
            f"{synthetic.session.n_intervals}; autocorrelations are between neighbouring intervals, use one session"
        )
    both = real, synthetic
    rows = {
        "mean spread": (*(float(p.spread.mean()) for p in both), *_relative(both, lambda p: p.spread.mean())),
        "spread distribution": (*(float(np.median(p.spread)) for p in both), *_kolmogorov(both, "spread")),
        "spread over the day": (*(_swing(p.spread_by_time) for p in both), *_log_ratio(both, "spread_by_time")),
        "spread memory": _lag_one(both, "spread_autocorrelation"),
        "spread memory, longer": _longer_lags(both, "spread_autocorrelation"),
        "mean depth": (*(float(p.total_depth.mean()) for p in both), *_relative(both, lambda p: p.total_depth.mean())),
        "depth distribution": (*(float(np.median(p.total_depth)) for p in both), *_kolmogorov(both, "total_depth")),
        "depth over the day": (*(_swing(p.depth_by_time) for p in both), *_log_ratio(both, "depth_by_time")),
        "depth memory": _lag_one(both, "depth_autocorrelation"),
        "depth memory, longer": _longer_lags(both, "depth_autocorrelation"),
        "size by level": (*(float(p.level_size[0]) for p in both), *_log_ratio(both, "level_size")),
        "size dispersion": (
            *(float(p.size_dispersion.mean()) for p in both),
            *_relative(both, lambda p: p.size_dispersion.mean()),
        ),
        "volatility": (*(p.volatility for p in both), *_relative(both, lambda p: p.volatility)),
    }
    if len(real.level_gap):
        gaps = tuple(float(p.level_gap.mean()) for p in both)
        rows["mean gap"] = (*gaps, *_relative(both, lambda p: p.level_gap.mean()))
        rows["gap by level"] = (*gaps, *_log_ratio(both, "level_gap"))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["real", "synthetic", "distance", "measure"])


def _fitted_day_shape(fraction: Float, spread: Float, depth: Float) -> tuple[DayShape, Float, Float]:
    """Day shape by weighted least squares, and the fitted spread and depth at every book, (m,) each."""
    settling, settled, opening = _fitted_spread(fraction, spread, np.ones_like(spread))
    if min(settled, settled + opening) > 0:  # counts vary the more the larger they are: weigh by one over the first fit
        first = settled + opening * np.exp(-fraction / settling)
        settling, settled, opening = _fitted_spread(fraction, spread, 1.0 / first)
    if settled <= 0 or opening <= 1e-9 * settled:  # no wide opening: a flat day
        settled, opening = float(spread.mean()), 0.0
    swing = (2.0 * fraction - 1.0) ** 2
    midday, early, late = _least_squares(depth, swing * (fraction < 0.5), swing * (fraction >= 0.5))
    if midday <= 0 or min(early, late) <= -midday:
        midday, early, late = float(depth.mean()), 0.0, 0.0
    shape = DayShape(opening / settled, settling, early / midday, late / midday)
    return shape, settled * shape.spread(fraction), midday * shape.depth(fraction)


def _fitted_spread(fraction: Float, spread: Float, weight: Float) -> tuple[float, float, float]:
    """Settling time, settled spread and excess at the opening of the best weighted fit."""
    best = (np.inf, 0.0, 0.0, 0.0)
    for settling in SETTLING_TIMES:
        excess = np.exp(-fraction / settling)
        settled, opening = _least_squares(spread, excess, weight=weight)
        error = float(weight @ (spread - settled - opening * excess) ** 2)
        best = min(best, (error, float(settling), settled, opening))
    return best[1:]


def _least_squares(y: Float, *columns: Float, weight: Float | None = None) -> list[float]:
    """Coefficients of a constant and of `columns`."""
    root = np.ones_like(y) if weight is None else np.sqrt(weight)
    design = np.column_stack([np.ones_like(y), *columns])
    return np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0].tolist()


def _volatility(mid: Float, day: Int64, interval: Int64, session: Session) -> float:
    neighbours = (np.diff(day) == 0) & (np.diff(interval) == 1)
    steps = np.diff(np.log(mid))[neighbours]
    return float(np.sqrt(np.mean(steps**2) * SESSIONS_A_YEAR * session.n_intervals))


def _overdispersion(beyond: Float, expected: Float) -> float:
    """Pearson's variance over mean, minus one, of counts about their expectations; 0 where none is expected."""
    known = expected > 1e-9
    return max(float(np.mean((beyond - expected)[known] ** 2 / expected[known])) - 1.0, 0.0) if known.any() else 0.0


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
    """At lags 1..10 between intervals of one day, (10,); the mean and variance are those of all values."""
    deviation, variance = values - values.mean(), float(values.var())
    result = np.full(LONGEST_LAG, np.nan)
    for lag in range(1, LONGEST_LAG + 1):
        pair = (day[lag:] == day[:-lag]) & (interval[lag:] - interval[:-lag] == lag)
        if pair.any() and variance > 1e-18:
            result[lag - 1] = np.mean((deviation[lag:] * deviation[:-lag])[pair]) / variance
    return result


Both = tuple[MarketProfile, MarketProfile]


def _relative(both: Both, fact: Callable[[MarketProfile], Any]) -> tuple[float, str]:
    return abs(float(fact(both[1]) / fact(both[0])) - 1.0), "relative error of the mean"


def _kolmogorov(both: Both, name: str) -> tuple[float, str]:
    return float(stats.ks_2samp(both[0][name], both[1][name]).statistic), "Kolmogorov-Smirnov, medians shown"


def _log_ratio(both: Both, name: str) -> tuple[float, str]:
    ratio = np.log(both[1][name] / both[0][name])
    return float(np.nanstd(ratio)), "rms log ratio of the shape"


def _lag_one(both: Both, name: str) -> tuple[float, float, float, str]:
    """Two series without variation remember alike."""
    real, synthetic = (float(np.nan_to_num(profile[name][0])) for profile in both)
    return real, synthetic, abs(synthetic - real), "difference at lag 1"


def _longer_lags(both: Both, name: str) -> tuple[float, float, float, str]:
    real, synthetic = (np.nan_to_num(profile[name][1:]) for profile in both)
    distance = float(np.sqrt(np.mean((synthetic - real) ** 2)))
    return float(real.mean()), float(synthetic.mean()), distance, f"rms difference, lags 2 to {LONGEST_LAG}"


def _swing(by_time: Float) -> float:
    """Largest over smallest part of the day."""
    return float(np.nanmax(by_time) / np.nanmin(by_time))

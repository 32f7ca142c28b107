"""How far one market's profile is from another's, and how far chance alone puts it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.market import MarketProfile, SyntheticMarket, measure_market

Float = NDArray[np.float64]
MIDDLE_LAG = 10
# By measure: what is compared, and where it stands in a profile.
MEANS = {
    "mean spread": "spread", "mean depth": "total_depth", "size dispersion": "size_dispersion",
    "volatility": "volatility", "mean gap": "level_gap",
}  # fmt: skip
SAMPLES = {"spread distribution": "spread", "depth distribution": "total_depth"}
SHAPES = {
    "spread over the day": "spread", "depth over the day": "total_depth",
    "size by level": "level_size", "gap by level": "level_gap",
}  # fmt: skip
N_PARTS = 13  # of the session, half-hours of the usual one
MEMORIES = {"spread memory": "spread_autocorrelation", "depth memory": "depth_autocorrelation"}


def profile_distances(real: MarketProfile, synthetic: MarketProfile) -> pd.DataFrame:
    """How far one profile is from another, a row each fact.

    What neither market has is left out: facts by level and gaps of level-1 books, the day
    shape and memory of a spread that never varies.

    Returns
    -------
    DataFrame
        Index: the fact. Columns: `real` and `synthetic`, a number that stands for it;
        `distance`, 0 for equal; `measure`, what the distance is: relative error of the mean, the
        Kolmogorov-Smirnov distance of the samples (medians shown), the root mean square of the log
        ratio over the day or over levels, the overall mean taken out (largest over smallest
        shown), or a difference of autocorrelations.

    Raises
    ------
    ValidationError
        Profiles of different numbers of levels, parts of the day or intervals.

    """
    from scipy import stats

    rows: dict[str, tuple[float, float, float, str]] = {}
    for fact, name in MEANS.items():
        a, b = (
            float(np.mean(one[name])) if np.size(one[name]) else np.nan for one in (real, synthetic)
        )
        rows[fact] = a, b, abs(b / a - 1.0), "relative error of the mean"
    for fact, name in SAMPLES.items():
        a, b = (float(np.median(one[name])) for one in (real, synthetic))
        distance = stats.ks_2samp(real[name], synthetic[name], method="asymp").statistic
        rows[fact] = a, b, float(distance), "Kolmogorov-Smirnov, medians shown"
    for fact, name in SHAPES.items():
        if len(real[name]) > 1:
            one, other = (_shape(each, name) for each in (real, synthetic))
            a, b = (float(np.nanmax(each) / np.nanmin(each)) for each in (one, other))
            distance = np.nanstd(np.log(other / one))
            rows[fact] = a, b, float(distance), "rms log ratio of the shape"
    for fact, name in MEMORIES.items():  # a series without variation has none
        one, other = (np.nan_to_num(each[name][:MIDDLE_LAG]) for each in (real, synthetic))
        rows[fact] = one[0], other[0], abs(other[0] - one[0]), "difference at lag 1"
        a, b, further = one[1:].mean(), other[1:].mean(), np.sqrt(np.mean((other - one)[1:] ** 2))
        rows[f"{fact}, longer"] = a, b, further, f"rms difference, lags 2 to {MIDDLE_LAG}"
    columns = ["real", "synthetic", "distance", "measure"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).dropna()
    if all(np.ptp(one.spread) <= 1e-6 * one.tick for one in (real, synthetic)):
        table = table.drop(["spread over the day", "spread memory", "spread memory, longer"])
    return table


def _shape(profile: MarketProfile, name: str) -> Float:
    """A fact by level as it is; of every book its mean over equal parts of the session."""
    if name.startswith("level"):
        return profile[name]
    part = np.minimum((profile.fraction * N_PARTS).astype(int), N_PARTS - 1)
    values = profile[name].reshape(-1, len(part)).mean(axis=0)  # of depth, both sides
    return pd.Series(values).groupby(part).mean().reindex(range(N_PARTS)).to_numpy()


def chance_distances(
    market: SyntheticMarket,
    real: MarketProfile,
    synthetic: MarketProfile,
    rng: np.random.Generator,
    *,
    n_runs: int = 19,
) -> pd.DataFrame:
    """Distances that chance alone makes: those of as many books of the market itself.

    `n_runs` times the market draws as many days as `real` has, and these stand in for the
    real books in `profile_distances`. If the real books were drawn from the market, their
    distance would exceed the largest of 19 runs once in 20 times. A preset has been fitted
    to the real books, a fresh draw has not: moments that were matched come out below chance.

    Parameters
    ----------
    market : SyntheticMarket
        In the session of both profiles.
    real, synthetic : MarketProfile
        As compared by `profile_distances`; `synthetic` was measured on books of `market`.
    rng : numpy.random.Generator
    n_runs : int
        At least 1.

    Returns
    -------
    DataFrame
        Index: the facts of `profile_distances`. Columns: `chance`, the median over runs,
        and `chance_high`, the largest.

    """
    n, session = real.session.n_intervals, real.session
    runs = []
    for _ in range(n_runs):
        books = market.books(-(-real.n_books // n) * n, len(real.level_size), rng)
        drawn = measure_market(books, session)
        runs.append(profile_distances(drawn, synthetic)["distance"])
    distances = pd.concat(runs, axis=1)
    return pd.DataFrame({"chance": distances.median(axis=1), "chance_high": distances.max(axis=1)})

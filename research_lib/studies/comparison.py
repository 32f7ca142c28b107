"""How far one market's profile is from another's, and how far chance alone puts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.market import (
    BookSnapshots,
    MarketProfile,
    Session,
    SyntheticMarket,
    measure_market,
)

Float = NDArray[np.float64]
MIDDLE_LAG = 10
Both = tuple[MarketProfile, MarketProfile]
Row = tuple[float, float, float, str]
Lines = dict[str, tuple[Float, Float]]


def profile_distances(real: MarketProfile, synthetic: MarketProfile) -> pd.DataFrame:
    """How far one profile is from another, a row each fact.

    What neither market has is left out: facts by level and gaps of level-1 books, the day
    shape and memory of a spread that never varies.

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

    Examples
    --------
    >>> session = Session(39)
    >>> books = SyntheticMarket(session=session).books(156, 4, np.random.default_rng(1))
    >>> profile = measure_market(books, session)
    >>> float(profile_distances(profile, profile)["distance"].max())
    0.0
    """
    _require_comparable(real, synthetic)
    both = real, synthetic
    rows = {
        "mean spread": _relative(both, lambda p: p.spread.mean()),
        "spread distribution": _kolmogorov(both, "spread"),
    }
    if real.spread_varies or synthetic.spread_varies:
        rows |= {
            "spread over the day": _log_ratio(both, "spread_by_time", _swing),
            **_memory(both, "spread"),
        }
    rows |= {
        "mean depth": _relative(both, lambda p: p.total_depth.mean()),
        "depth distribution": _kolmogorov(both, "total_depth"),
        "depth over the day": _log_ratio(both, "depth_by_time", _swing),
        **_memory(both, "depth"),
        "size dispersion": _relative(both, lambda p: p.size_dispersion.mean()),
        "volatility": _relative(both, lambda p: p.volatility),
    }
    if real.n_levels > 1:
        rows |= {
            "size by level": _log_ratio(both, "level_size", lambda sizes: sizes[0]),
            "mean gap": _relative(both, lambda p: p.level_gap.mean()),
            "gap by level": _log_ratio(both, "level_gap", np.mean),
        }
    columns = ["real", "synthetic", "distance", "measure"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


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
        At least 1; with ten levels a run of one day takes some 20 ms, one of 20 days 0.2 s.

    Returns
    -------
    DataFrame
        Index: the facts of `profile_distances`. Columns: `chance`, the median over runs,
        and `chance_high`, the largest.

    Examples
    --------
    >>> session = Session(39)
    >>> market, rng = SyntheticMarket(session=session), np.random.default_rng(1)
    >>> profile = measure_market(market.books(156, 4, rng), session)
    >>> chance = chance_distances(market, profile, profile, rng, n_runs=2)
    >>> bool((chance["chance"] <= chance["chance_high"]).all())
    True
    """
    n_runs = number("n_runs", n_runs, 1, integer=True)
    n_books = -(-real.n_books // real.session.n_intervals) * real.session.n_intervals
    runs = []
    for _ in range(n_runs):
        books = market.books(n_books, real.n_levels, rng)
        drawn = measure_market(books, real.session)
        runs.append(profile_distances(drawn, synthetic)["distance"])
    distances = pd.concat(runs, axis=1)
    return pd.DataFrame({"chance": distances.median(axis=1), "chance_high": distances.max(axis=1)})


def beside_preset(
    states: BookSnapshots,
    market: SyntheticMarket,
    session: Session,
    *,
    n_days: int,
    n_levels: int,
    seed: int,
) -> tuple[pd.DataFrame, Both]:
    """Distances of books from a draw of a market beside those of chance; and the two profiles.

    Parameters
    ----------
    states : BookSnapshots
    market : SyntheticMarket
        In `session`.
    session : Session
    n_days, n_levels : int
        Of the draw.
    seed : int
        Of the draw, and seed + 1 of those of chance.

    Returns
    -------
    DataFrame
        `profile_distances` and `chance_distances`.
    (real, synthetic)
        MarketProfile of the books and of the draw.

    Raises
    ------
    InsufficientDataError
        As `measure_market`: fewer than 100 usable books in either, or prices on no grid.

    Examples
    --------
    >>> session = Session(39)
    >>> market = SyntheticMarket(session=session)
    >>> books = market.books(156, 4, np.random.default_rng(1))
    >>> table, _ = beside_preset(books, market, session, n_days=4, n_levels=4, seed=2)
    >>> table.columns.tolist()
    ['real', 'synthetic', 'distance', 'measure', 'chance', 'chance_high']
    """
    drawn = market.books(n_days * session.n_intervals, n_levels, np.random.default_rng(seed))
    both = measure_market(states, session), measure_market(drawn, session)
    chance = chance_distances(market, *both, np.random.default_rng(seed + 1))
    return profile_distances(*both).join(chance), both


def profile_lines(profiles: Mapping[str, MarketProfile]) -> dict[str, tuple[str, Lines]]:
    """What profiles look like, a panel each: over the day, by level, autocorrelations.

    Panels in which no profile has anything to show are absent: sizes by level of level-1
    books, day and autocorrelation of a spread that never varies.

    Parameters
    ----------
    profiles : mapping of str to MarketProfile

    Returns
    -------
    dict
        The quantity with its unit -> (what it is drawn over, {name: (x, y)}).

    Examples
    --------
    >>> books = SyntheticMarket(session=Session(39)).books(156, 4, np.random.default_rng(1))
    >>> panels = profile_lines({"mine": measure_market(books, Session(39))})
    >>> panels["mean size (shares)"][1]["mine"][0].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    def over_the_day(name: str) -> tuple[str, Lines]:
        """Over the midpoints of equal parts of the session, in intervals."""
        lines = {}
        for label, profile in profiles.items():
            n = len(profile[name])
            middle = (np.arange(n) + 0.5) * profile.session.n_intervals / n
            lines[label] = (middle, profile[name])
        return "interval of the session", lines

    def counted(along: str, name: str) -> tuple[str, Lines]:
        """Over 1, 2, ..."""
        values = {label: profile[name] for label, profile in profiles.items()}
        return along, {label: (np.arange(1.0, len(y) + 1.0), y) for label, y in values.items()}

    lag = "lag (intervals)"
    panels = {
        "depth a side (shares)": over_the_day("depth_by_time"),
        "autocorrelation of depth": counted(lag, "depth_autocorrelation"),
    }
    if any(p.n_levels > 1 for p in profiles.values()):
        panels["mean size (shares)"] = counted("level", "level_size")
    if any(p.spread_varies for p in profiles.values()):
        panels["spread (currency)"] = over_the_day("spread_by_time")
        panels["autocorrelation of spread"] = counted(lag, "spread_autocorrelation")
    return panels


def _require_comparable(real: MarketProfile, synthetic: MarketProfile) -> None:
    for name in ("level_size", "spread_by_time"):
        if len(real[name]) != len(synthetic[name]):
            raise ValidationError(
                f"{name} has {len(real[name])} entries in one profile and {len(synthetic[name])} "
                "in the other; measure both with the same levels and parts"
            )
    if real.session.n_intervals != synthetic.session.n_intervals:
        raise ValidationError(
            f"one profile has {real.session.n_intervals} intervals a session, the other "
            f"{synthetic.session.n_intervals}; autocorrelations are between neighbouring "
            "intervals, use one session"
        )


def _relative(both: Both, fact: Callable[[MarketProfile], Any]) -> Row:
    real, synthetic = (float(fact(profile)) for profile in both)
    return real, synthetic, abs(synthetic / real - 1.0), "relative error of the mean"


def _kolmogorov(both: Both, name: str) -> Row:
    from scipy import stats

    real, synthetic = (float(np.median(profile[name])) for profile in both)
    distance = float(stats.ks_2samp(both[0][name], both[1][name], method="asymp").statistic)
    return real, synthetic, distance, "Kolmogorov-Smirnov, medians shown"


def _log_ratio(both: Both, name: str, shown: Callable[[Float], Any]) -> Row:
    real, synthetic = (profile[name] for profile in both)
    distance = float(np.nanstd(np.log(synthetic / real)))
    return float(shown(real)), float(shown(synthetic)), distance, "rms log ratio of the shape"


def _memory(both: Both, of: str) -> dict[str, Row]:
    """Autocorrelation at lag 1 and beyond; a series without variation has none."""
    known = (profile[f"{of}_autocorrelation"][:MIDDLE_LAG] for profile in both)
    real, synthetic = (np.nan_to_num(values) for values in known)
    first = float(np.abs(synthetic - real)[0])
    further = float(np.sqrt(np.mean((synthetic - real)[1:] ** 2)))
    longer = float(real[1:].mean()), float(synthetic[1:].mean())
    measure = f"rms difference, lags 2 to {MIDDLE_LAG}"
    return {
        f"{of} memory": (real[0], synthetic[0], first, "difference at lag 1"),
        f"{of} memory, longer": (*longer, further, measure),
    }


def _swing(by_time: Float) -> float:
    """Largest over smallest part of the day."""
    return float(np.nanmax(by_time) / np.nanmin(by_time))

"""Which forecast of the day serves the adaptive strategy, and which ones lose."""

# ruff: noqa: I001

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive, Forecast, Ladder, LiquidityProfile, PriorShape, TiltedShape, TodayShape, Twap,
    clairvoyant, decaying, forecast_scores, rolling, run,
)  # fmt: skip

Float = NDArray[np.float64]
ROLLING, DECAYING = (10, 30, 60, 120), (10, 60)
STANDARD = "tilted prior, half-life 60"  # what `standard_strategies` uses, whatever wins here
DEVELOPED_ON = ("SYNTHETIC", "FROG", "GOOG")  # symbols that were looked at when it was chosen
UNFILLED = 1e-6  # of the order
ROUNDING = 1e-9  # of TWAP's cost: a smaller distance to perfect foresight is none


def candidate_forecasts(profile: LiquidityProfile) -> dict[str, tuple[Forecast, Float]]:
    """Forecasts that were tried, each with its weights by the age of a book.

    The profile's shape with the last k books, with books that count half every h intervals,
    tilted by what today shows; the trend of today alone; no shape at all.

    Examples
    --------
    >>> tried = candidate_forecasts(LiquidityProfile.flat(26))
    >>> len(tried), STANDARD in tried
    (9, True)
    """
    prior, n = PriorShape(profile), len(profile)
    lately = {f"prior, last {k} books": (prior, rolling(k)) for k in ROLLING}
    fading = {f"prior, half-life {h}": (prior, decaying(h, n)) for h in DECAYING}
    return {
        **lately,
        **fading,
        STANDARD: (TiltedShape(profile), decaying(60, n)),
        "today's trend, half-life 60": (TodayShape(), decaying(60, n)),
        "flat, half-life 60": (PriorShape(LiquidityProfile.flat(n)), decaying(60, n)),
    }


def compare_forecasts(
    days: Sequence[Ladder],
    profile: LiquidityProfile,
    total_shares: float,
    forecasts: dict[str, tuple[Forecast, Float]] | None = None,
) -> pd.DataFrame:
    """What the adaptive strategy saves with each forecast, and how far each is off.

    Parameters
    ----------
    days : sequence of Ladder
        Days that the profile was not measured on.
    profile : LiquidityProfile
    total_shares : float
        The order of each day.
    forecasts : dict, optional
        `candidate_forecasts` by default.

    Returns
    -------
    DataFrame
        Index forecast, best first: saving_% and attainable_% (share of the perfect-foresight
        saving; all days together), worst_day_% (least such share of a day; NaN where there is
        nothing to save), unfilled (shares, all days), rmse (mean of log spread and log depth, 1,
        10 and 60 intervals ahead), behind_% (attainable_% behind the best).

    Raises
    ------
    ValidationError
        A day on which TWAP does not complete the order.

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> books = thin_stock(Session(65)).books(65, 8, np.random.default_rng(1))
    >>> flat = LiquidityProfile.flat(65)
    >>> tried = {"flat": (PriorShape(flat), rolling(10))}
    >>> table = compare_forecasts([Ladder.of(books, "buy")], flat, 2000.0, tried)
    >>> table.index.tolist(), table["behind_%"].tolist()
    (['flat'], [0.0])
    """
    tried = candidate_forecasts(profile) if forecasts is None else forecasts
    benchmarks = [run(Twap(), day, total_shares, day.side) for day in days]
    for one in benchmarks:
        if one.unfilled > UNFILLED * total_shares:
            raise ValidationError(
                f"TWAP leaves {one.unfilled:,.0f} of {total_shares:,.0f} shares; "
                "choose an order that it completes"
            )
    bounds = [clairvoyant(day, total_shares, day.side) for day in days]
    equal, best = (np.array([one.cost_per_share for one in ran]) for ran in (benchmarks, bounds))
    scores, rows = forecast_scores(tried, days)["mean"], {}
    for name, (forecast, weights) in tried.items():
        strategy = Adaptive(forecast, profile.source, name, weights)
        done = [run(strategy, day, total_shares, day.side) for day in days]
        cost = np.array([one.cost_per_share for one in done])
        saved = float(equal.sum() - cost.sum())
        rows[name] = {
            "saving_%": 100 * saved / float(equal.sum()),
            "attainable_%": float(100 * saved / _room(equal.sum(), best.sum())),
            "worst_day_%": float(np.fmin.reduce(100 * (equal - cost) / _room(equal, best))),
            "unfilled": sum(one.unfilled for one in done),
            "rmse": float(scores[name]),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("forecast")
    table["behind_%"] = table["attainable_%"].max() - table["attainable_%"]
    return table.sort_values(["behind_%", "rmse"])


def _room(equal: Float, best: Float) -> Float:
    """What perfect foresight saves; NaN where that is nothing but rounding."""
    return np.where(equal - best > ROUNDING * np.abs(equal), equal - best, np.nan)

"""Slippage frames whose curve and noise are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.impact import ImpactCurve

SIZES = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])
MID = 50.0
SESSION_NS = 390 * 60 * 10**9


def slippage_frame(
    curve: ImpactCurve,
    n_days: int,
    *,
    book_noise: ArrayLike = 0.0,
    row_noise: ArrayLike = 0.0,
    side: str = "buy",
) -> pd.DataFrame:
    """One snapshot an interval; noise in currency per share, book_noise (n_days, n, 1) and
    row_noise (n_days, n, K).
    """
    n = len(curve)
    days = pd.bdate_range("2024-03-04", periods=n_days, tz="America/New_York") + pd.Timedelta(
        hours=9.5
    )
    opens = days.tz_convert("UTC").as_unit("ns").asi8
    time = (opens[:, None] + np.arange(n) * SESSION_NS // n).ravel()
    slippage = curve.half_spread[:, None] + np.column_stack([curve.impact(x) for x in SIZES])
    noisy = np.broadcast_to(
        slippage + np.asarray(book_noise) + np.asarray(row_noise), (n_days, n, len(SIZES))
    )
    return pd.DataFrame(
        {
            "time": pd.DatetimeIndex(
                np.repeat(time, len(SIZES)).astype("datetime64[ns]"), tz="UTC"
            ),
            "interval": np.tile(np.repeat(np.arange(n), len(SIZES)), n_days),
            "side": side,
            "trade_size": np.tile(SIZES, n_days * n),
            "mid_price": MID,
            "half_spread": np.tile(np.repeat(curve.half_spread, len(SIZES)), n_days),
            "avg_slippage": noisy.ravel(),
            "censored": False,
        }
    )

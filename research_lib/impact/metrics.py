"""How well curves predict slippage: the predictions row by row, and their summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.impact.curves import ImpactCurve
from research_lib.impact.observations import Observations

Mask = NDArray[np.bool_]
ROUNDING = 1e-10


def score(data: Observations, curve: ImpactCurve, test: Mask) -> pd.DataFrame:
    """Every observation with its prediction; an interval's curve speaks for all its rows.

    Returns
    -------
    DataFrame, one row an observation
        As `ImpactFit.observations`.
    """
    of_row = curve.take(data.interval)
    predicted = of_row.slippage(data.size)
    return pd.DataFrame(
        {
            "interval": data.interval,
            "trade_size": data.size,
            "observed": data.slippage,
            "predicted": predicted,
            "residual_bps": 1e4 * (data.slippage - predicted) / data.mid,
            "impact": data.impact,
            "predicted_impact": of_row.impact(data.size),
            "sample": np.where(~data.usable, "censored", np.where(test, "test", "train")),
        }
    )


def metrics_of(observations: pd.DataFrame, sample: str) -> dict[str, float]:
    """Of one sample ("train" or "test"), the metrics that `ImpactFit.metrics` describes; NaN where it is empty."""
    rows = observations[observations["sample"] == sample]
    scale = float(rows["observed"].abs().max()) if len(rows) else 0.0
    return {
        f"{sample}_r2": _r2(rows["observed"], rows["predicted"], scale),
        f"{sample}_impact_r2": _r2(rows["impact"], rows["predicted_impact"], scale),
        f"{sample}_rmse_bps": float(np.sqrt((rows["residual_bps"] ** 2).mean())) if len(rows) else np.nan,
        f"{sample}_observations": len(rows),
    }


def _r2(observed: pd.Series, predicted: pd.Series, scale: float) -> float:
    """1 - SSE / SST about the mean of `observed`; NaN where that varies by no more than the rounding of `scale`."""
    variation = float(((observed - observed.mean()) ** 2).sum())
    rounding = len(observed) * (ROUNDING * scale) ** 2
    return 1.0 - float(((observed - predicted) ** 2).sum()) / variation if variation > rounding else np.nan

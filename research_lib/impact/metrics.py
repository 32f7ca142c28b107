"""How well curves predict slippage: the predictions row by row or sum by sum, and their summary."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.impact.curves import ImpactCurve
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.observations import Observations

Float = NDArray[np.float64]
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
    impact = of_row.impact(data.size)
    predicted = of_row.half_spread + impact
    return pd.DataFrame(
        {
            "interval": data.interval,
            "trade_size": data.size,
            "observed": data.slippage,
            "predicted": predicted,
            "residual_bps": 1e4 * (data.slippage - predicted) / data.mid,
            "impact": data.impact,
            "predicted_impact": impact,
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
        f"{sample}_rmse_bps": float(np.sqrt((rows["residual_bps"] ** 2).mean()))
        if len(rows)
        else np.nan,
        f"{sample}_observations": len(rows),
    }


def _r2(observed: pd.Series, predicted: pd.Series, scale: float) -> float:
    """1 - SSE / SST about the mean of `observed`; NaN where that varies by no more than the rounding of `scale`."""
    variation = float(((observed - observed.mean()) ** 2).sum())
    rounding = len(observed) * (ROUNDING * scale) ** 2
    return (
        1.0 - float(((observed - predicted) ** 2).sum()) / variation
        if variation > rounding
        else np.nan
    )


def score_cells(moments: ImpactMoments, curve: ImpactCurve, test: Mask) -> pd.DataFrame:
    """Means of every cell with their prediction, and the sums of squares that the metrics of single books need."""
    cells = moments.cells
    n, interval = cells["n"].to_numpy(), cells["interval"].to_numpy()
    of_row = curve.take(interval)
    size = cells["size"].to_numpy()
    impact = of_row.impact(size)
    predicted = of_row.half_spread + impact
    books = moments.books.assign(mid=moments.books["mid"] / moments.books["n"])[
        ["date", "interval", "mid"]
    ]
    mid = (
        cells[["date", "interval"]]
        .merge(books, on=["date", "interval"], how="left")["mid"]
        .to_numpy()
    )
    slippage = (cells["total"] + cells["half_spread"]).to_numpy()
    square = (cells["square"] + 2.0 * cells["cross"] + cells["half_spread_square"]).to_numpy()
    censored = (cells["lacking"].to_numpy() >> np.searchsorted(moments.sizes, size)) & 1 > 0
    return pd.DataFrame(
        {
            "interval": interval,
            "trade_size": size,
            "n": n,
            "observed": slippage / n,
            "predicted": predicted,
            "residual_bps": 1e4 * (slippage / n - predicted) / mid,
            "impact": cells["total"].to_numpy() / n,
            "predicted_impact": impact,
            "sample": np.where(censored, "censored", np.where(test, "test", "train")),
            "square": square,
            "impact_square": cells["square"].to_numpy(),
            "mid": mid,
        }
    )


def cell_metrics(cells: pd.DataFrame, sample: str) -> dict[str, float]:
    """As `metrics_of`, from sums over books; rmse_bps takes the mean mid of each day and interval."""
    rows = cells[cells["sample"] == sample]
    n, missed = rows["n"], _squared_error(rows, "observed", "predicted", "square")
    books = float(n.sum())
    return {
        f"{sample}_r2": _r2_of_sums(rows, "observed", "predicted", "square"),
        f"{sample}_impact_r2": _r2_of_sums(rows, "impact", "predicted_impact", "impact_square"),
        f"{sample}_rmse_bps": float(np.sqrt(1e8 * np.sum(missed / rows["mid"] ** 2) / books))
        if books
        else np.nan,
        f"{sample}_observations": int(books),
    }


def _squared_error(rows: pd.DataFrame, mean: str, predicted: str, square: str) -> pd.Series:
    error = (
        rows[square]
        - 2.0 * rows[predicted] * rows[mean] * rows["n"]
        + rows["n"] * rows[predicted] ** 2
    )
    return error.clip(lower=0.0)


def _r2_of_sums(rows: pd.DataFrame, mean: str, predicted: str, square: str) -> float:
    books = float(rows["n"].sum())
    if not books:
        return np.nan
    variation = float(rows[square].sum()) - float((rows["n"] * rows[mean]).sum()) ** 2 / books
    rounding = books * (ROUNDING * float(rows["observed"].abs().max())) ** 2
    if variation <= rounding:
        return np.nan
    return 1.0 - float(_squared_error(rows, mean, predicted, square).sum()) / variation

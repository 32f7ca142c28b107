"""Slippage of known curves, as walked books would give it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.impact import ImpactCurve, SlippageCurves
from research_lib.market import Session

Float = NDArray[np.float64]


def walked(
    curve: ImpactCurve,
    sizes: ArrayLike,
    n_days: int,
    *,
    per_interval: int = 1,
    side: str = "buy",
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    mid: float = 50.0,
) -> SlippageCurves:
    """`SlippageCurves` of `n_days` of a curve; `noise` multiplies the impact of a whole book by
    a lognormal.
    """
    shares, n = np.asarray(sizes, float), len(curve)
    days = pd.bdate_range("2024-03-04", periods=n_days).date
    time = Session(n * per_interval).starts(days).ravel()
    interval = np.tile(np.repeat(np.arange(n), per_interval), n_days)
    impact = np.column_stack([curve.impact(x) for x in shares])[interval]
    if rng is not None:
        impact = impact * rng.lognormal(-0.5 * noise**2, noise, (len(time), 1))
    sign, half_spread = (1.0 if side == "buy" else -1.0), curve.half_spread[interval]
    touch = mid + sign * half_spread
    return SlippageCurves(
        time, side, shares, np.full(len(time), mid), half_spread, touch, np.full(len(time), 1e9),
        touch[:, None] + sign * impact,
    )  # fmt: skip


def irregular(
    curve: ImpactCurve, per_interval: int, n_days: int, rng: np.random.Generator
) -> pd.DataFrame:
    """A frame in which every row has a size of its own, both sides."""
    frames = []
    for side in ("buy", "sell"):
        frame = walked(curve, [1.0], n_days, per_interval=per_interval, side=side).to_frame(
            len(curve)
        )
        size = rng.uniform(50, 6000, len(frame))
        slippage = curve.take(frame["interval"].to_numpy()).slippage(size)
        frames.append(frame.assign(trade_size=size, filled=size, avg_slippage=slippage))
    return pd.concat(frames, ignore_index=True).astype({"side": str})

"""Shapes of a day that are known without measuring one."""

from __future__ import annotations

import numpy as np

from research_lib.evaluation import LiquidityProfile
from research_lib.market import SyntheticMarket

LEVELS = 10  # that count as depth


def flat(n_intervals: int) -> LiquidityProfile:
    """A day without shape."""
    return LiquidityProfile(np.ones(n_intervals), np.ones(n_intervals), "flat")


def of_market(market: SyntheticMarket, source: str) -> LiquidityProfile:
    """The expected shape of a synthetic market, in closed form."""
    curve = market.true_curve
    depth = curve.lot_size + curve.level_mean[:, :LEVELS]
    return LiquidityProfile(curve.half_spread, depth.sum(axis=1), source)

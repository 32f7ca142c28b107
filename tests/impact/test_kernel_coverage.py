"""The simulated check of bands and half-lives, on few markets."""

from __future__ import annotations

import numpy as np

from research_lib.impact import ExponentialKernel, PowerKernel
from research_lib.impact.kernel_coverage import kernel_coverage


def test_few_markets_hold_their_truth_and_the_draw_decides_alone() -> None:
    kernels = {"power": PowerKernel(0.4), "exponential": ExponentialKernel(0.1)}
    tables = [
        kernel_coverage(kernels, np.random.default_rng(3), n_trades=1200, max_lag=12, n_markets=10) for _ in range(2)
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].index.tolist() == ["exponential", "power"]
    # 10 of 10 to 7 of 10: fewer come once in a thousand where the level is 95 %.
    assert (tables[0][["band", "simultaneous", "half_life"]] >= 70).all(axis=None)

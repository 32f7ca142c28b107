"""How far kernel estimates can be believed: against markets whose kernel is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import refuse_unknown
from research_lib.impact import DecayKernel, ExponentialSumKernel
from research_lib.market import OrderFlow
from research_lib.transient import SignedFlow, fit_kernel, propagator, simulate_mids
from research_lib.transient.kernel_fit import FAMILIES

Float = NDArray[np.float64]
NOISE = 2.0  # of the mid between two trades, in units of the impact G(0) of one


def kernel_coverage(
    kernels: Mapping[str, DecayKernel],
    rng: np.random.Generator,
    *,
    n_trades: int = 3000,
    max_lag: int = 30,
    n_markets: int = 40,
) -> pd.DataFrame:
    """Share of simulated markets, per cent, in which the 95 % bands and intervals hold the truth.

    Signs are those of `OrderFlow`; the mid follows the kernel and a random walk of twice its scale a trade.

    Parameters
    ----------
    kernels : mapping of family to kernel
        The truth, of lags in trades, and the family to fit, of `FAMILIES`. "exponential_permanent" is held to the
        half-life of the part that decays, as `KernelFit.half_life` is; the others to the lag of G(0) / 2.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        By family: band (each lag by itself), simultaneous (all lags at once), half_life, told (of the verdicts).

    Raises
    ------
    ValidationError
        A family that is none of `FAMILIES`.
    """
    refuse_unknown(kernels, FAMILIES, "kernel family")
    rows = {}
    for family in (name for name in FAMILIES if name in kernels):
        kernel = kernels[family]
        held = np.array([_held(kernel, family, n_trades, max_lag, rng) for _ in range(n_markets)])
        rows[family] = 100.0 * held.mean(axis=0)
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["band", "simultaneous", "half_life", "told"]
    )


def _held(
    kernel: DecayKernel, family: str, n_trades: int, max_lag: int, rng: np.random.Generator
) -> list[float]:
    """One market: share of lags in the band, all of them in the simultaneous one, half-life in its interval, told."""
    signs = OrderFlow().signs(n_trades, rng).astype(float)
    mids = simulate_mids(kernel, signs, NOISE * float(kernel(0.0)), rng)
    time, day = np.arange(n_trades), np.zeros(n_trades, np.int64)
    estimate = propagator(SignedFlow(time, mids, signs, signs, None, day, 1.0, "trades"), max_lag)
    truth, fit = kernel(estimate.lags), fit_kernel(estimate, family)
    inside = [
        (low <= truth) & (truth <= high)
        for low, high in (estimate.conf_int(), estimate.conf_int(simultaneous=True))
    ]
    held = fit.interval[0] <= _true_half_life(kernel, family) <= fit.interval[1]
    return [float(inside[0].mean()), float(inside[1].all()), float(held), float(fit.identified)]


def _true_half_life(kernel: DecayKernel, family: str) -> float:
    """What `KernelFit.half_life` of this family estimates."""
    if family == "exponential_permanent" and isinstance(kernel, ExponentialSumKernel):
        moving = [part for part in zip(kernel.decays, kernel.scales, strict=True) if part[0] > 0]
        return ExponentialSumKernel(*zip(*moving, strict=True)).half_life if moving else math.inf
    return kernel.half_life

r"""How often 95 % intervals of a fit hold a coefficient that is known. Rows are drawn from a linear
curve whose impact is disturbed in one of four ways,

.. math:: y_{dsk} = h + \beta x_k (1 + \sigma e_{dsk}),

with e standard normal, and, by name: "rows", independent in every row d, s, k; "snapshots",
one draw a snapshot s, common to its sizes k; "autocorrelated", snapshots that follow an
autoregression of coefficient 0.5 within the day; "days", one draw a day d. Every repetition
is an interval of one fit, with its own coefficient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from research_lib.impact import fit_impact
from research_lib.market import Session

Float = np.ndarray
ERRORS = ("day", "snapshot", "hc3")
AUTOREGRESSION = 0.5
HALF_SPREAD, MID = 0.01, 50.0
DEPENDENCES = ("rows", "snapshots", "autocorrelated", "days")
SIZES = np.array([1000.0, 2000.0, 3000.0])


def coverage(
    rng: np.random.Generator,
    repetitions: int = 500,
    *,
    n_days: int = 20,
    n_snapshots: int = 10,
    noise: float = 0.3,
) -> pd.DataFrame:
    """Share of repetitions whose interval for beta holds the truth, by error type and dependence.

    Parameters
    ----------
    rng : numpy.random.Generator
    repetitions : int
        The standard error of a share of 0.95 is sqrt(0.95 * 0.05 / repetitions): 0.01 for 500.
    n_days, n_snapshots : int
        Days, and snapshots a day, in every repetition.
    noise : float
        sigma, relative.

    Returns
    -------
    DataFrame, index errors, columns dependence
        Intervals that ignore a dependence are too short where it is there, and cover less
        than 0.95.

    Examples
    --------
    >>> table = coverage(np.random.default_rng(0), 40, n_days=6, n_snapshots=4)
    >>> bool(table.loc["hc3", "days"] < table.loc["day", "days"])
    True
    """
    beta = np.exp(rng.normal(-11.5, 0.5, repetitions))
    drawn: dict[str, Any] = {"n_days": n_days, "n_snapshots": n_snapshots, "noise": noise}
    table: dict[str, dict[str, float]] = {}
    for dependence in DEPENDENCES:
        frame, held = simulated_slippage(beta, dependence, rng, **drawn), {}
        for errors in ERRORS:
            fit = fit_impact(frame, errors=errors, shrinkage="none", test_fraction=0)
            lower, upper = (end["beta"].to_numpy() for end in fit.conf_int())
            held[errors] = float(np.mean((lower <= beta) & (beta <= upper)))
        table[dependence] = held
    return pd.DataFrame(table).rename_axis(index="errors", columns="dependence")


def simulated_slippage(
    beta: Float,
    dependence: str,
    rng: np.random.Generator,
    *,
    n_days: int,
    n_snapshots: int,
    noise: float,
) -> pd.DataFrame:
    """A frame as `fit_impact` takes it, three sizes a snapshot.

    Parameters
    ----------
    beta : (n_intervals,) currency per share**2
    dependence : str
        "rows", "snapshots", "autocorrelated" or "days".
    rng, n_days, n_snapshots, noise
        As in `coverage`.

    Examples
    --------
    >>> drawn = {"n_days": 2, "n_snapshots": 3, "noise": 0.1}
    >>> simulated_slippage(np.full(4, 1e-5), "days", np.random.default_rng(0), **drawn).shape
    (72, 7)
    """
    n, k = len(beta), len(SIZES)
    shape = (n_days, n, n_snapshots, k)
    error = np.broadcast_to(_errors(dependence, shape, rng), shape)
    slippage = HALF_SPREAD + beta[:, None, None] * SIZES * (1.0 + noise * error)
    days = pd.bdate_range("2024-01-02", periods=n_days).date
    time = np.repeat(Session(n * n_snapshots).starts(days).ravel(), k)
    columns = {
        "time": pd.DatetimeIndex(time.astype("datetime64[ns]"), tz="UTC"),
        "interval": np.tile(np.repeat(np.arange(n), n_snapshots * k), n_days),
        "trade_size": np.tile(SIZES, n_days * n * n_snapshots),
        "mid_price": MID,
        "half_spread": HALF_SPREAD,
        "avg_slippage": slippage.ravel(),
        "censored": False,
    }
    return pd.DataFrame(columns)


def _errors(dependence: str, shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Standard normal errors that broadcast to (days, intervals, snapshots, sizes)."""
    if dependence == "rows":
        return rng.standard_normal(shape)
    if dependence == "days":
        return rng.standard_normal((*shape[:2], 1, 1))
    shocks = rng.standard_normal((*shape[:3], 1))
    if dependence == "autocorrelated":
        from scipy.signal import lfilter  # it brings scipy.stats, a second of import

        shocks[:, :, 1:] *= np.sqrt(1.0 - AUTOREGRESSION**2)
        return np.asarray(lfilter([1.0], [1.0, -AUTOREGRESSION], shocks, axis=2))
    return shocks

r"""How far fits can be believed: against coefficients that are known, and books that are seen further.

`coverage`: how often 95 % intervals hold a known coefficient. Rows are drawn from a linear
curve whose impact is disturbed in one of four ways,

.. math:: y_{dsk} = h + \beta x_k (1 + \sigma e_{dsk}),

with e standard normal, and, by name: "rows", independent in every row d, s, k; "snapshots",
one draw a snapshot s, common to its sizes k; "autocorrelated", snapshots that follow an
autoregression of coefficient 0.5 within the day; "days", one draw a day d. Every repetition
is an interval of one fit, with its own coefficient.

`censoring_bias`: what hiding the deeper levels of books does to the coefficient.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from research_lib.checks import refuse_unknown
from research_lib.impact import fit_impact, slippage_curves
from research_lib.impact.estimation import ERRORS
from research_lib.impact.observations import CENSORING
from research_lib.market import BookSnapshots, Session

Float = NDArray[np.float64]

AUTOREGRESSION = 0.5
HALF_SPREAD, MID = 0.01, 50.0
# For each dependence, the errors that know of it: their intervals must keep the level.
KNOWN = {
    "rows": ("day", "snapshot", "newey-west", "hc3"),
    "snapshots": ("day", "snapshot", "newey-west"),
    "autocorrelated": ("day", "newey-west"),
    "days": ("day",),
}
SIZES = np.array([1000.0, 2000.0, 3000.0])


def coverage(
    rng: np.random.Generator,
    repetitions: int = 500,
    *,
    n_days: int = 20,
    n_snapshots: int = 10,
    noise: float = 0.3,
    level: float = 0.95,
) -> pd.DataFrame:
    """Share of repetitions whose interval for beta holds the truth, by error type and dependence.

    Parameters
    ----------
    rng : numpy.random.Generator
    repetitions : int
        Its standard error is sqrt(level (1 - level) / repetitions): 0.01 for 500 at 0.95.
    n_days, n_snapshots : int
        Days, and snapshots a day, in every repetition.
    noise : float
        sigma, relative.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame, index errors, columns dependence
        Intervals that ignore a dependence are too short where it is there, and cover less
        than `level`.
    """
    beta = np.exp(rng.normal(-11.5, 0.5, repetitions))
    table = {}
    for dependence in KNOWN:
        frame = simulated_slippage(
            beta, dependence, rng, n_days=n_days, n_snapshots=n_snapshots, noise=noise
        )
        table[dependence] = {errors: _held(frame, beta, errors, level) for errors in ERRORS}
    return pd.DataFrame(table).rename_axis(index="errors", columns="dependence")


def simulated_slippage(
    beta: Float,
    dependence: str,
    rng: np.random.Generator,
    *,
    n_days: int,
    n_snapshots: int,
    noise: float,
    sizes: Float = SIZES,
) -> pd.DataFrame:
    """A frame as `fit_impact` takes it, K sizes a snapshot; `beta` (n_intervals,) currency per share**2."""
    refuse_unknown([dependence], KNOWN, "dependence")
    n, k = len(beta), len(sizes)
    shape = (n_days, n, n_snapshots, k)
    error = np.broadcast_to(_errors(dependence, shape, rng), shape)
    slippage = HALF_SPREAD + beta[:, None, None] * sizes * (1.0 + noise * error)
    days = pd.bdate_range("2024-01-02", periods=n_days).date
    time = np.repeat(Session(n * n_snapshots).starts(days).ravel(), k)
    return pd.DataFrame(
        {
            "time": pd.DatetimeIndex(time.astype("datetime64[ns]"), tz="UTC"),
            "interval": np.tile(np.repeat(np.arange(n), n_snapshots * k), n_days),
            "trade_size": np.tile(sizes, n_days * n * n_snapshots),
            "mid_price": MID,
            "half_spread": HALF_SPREAD,
            "avg_slippage": slippage.ravel(),
            "censored": False,
        }
    )


def _errors(dependence: str, shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Standard normal errors that broadcast to (days, intervals, snapshots, sizes)."""
    if dependence == "rows":
        return rng.standard_normal(shape)
    if dependence == "days":
        return rng.standard_normal((*shape[:2], 1, 1))
    shocks = rng.standard_normal((*shape[:3], 1))
    if dependence == "autocorrelated":
        shocks[:, :, 1:] *= np.sqrt(1.0 - AUTOREGRESSION**2)
        return np.asarray(lfilter([1.0], [1.0, -AUTOREGRESSION], shocks, axis=2))
    return shocks


def _held(frame: pd.DataFrame, beta: Float, errors: str, level: float) -> float:
    fit = fit_impact(frame, errors=errors, shrinkage="none", test_fraction=0)
    lower, upper = (end["beta"].to_numpy() for end in fit.conf_int(1.0 - level))
    return float(np.mean((lower <= beta) & (beta <= upper)))


def censoring_bias(
    books: BookSnapshots,
    n_levels: int,
    trade_sizes: ArrayLike,
    side: str = "buy",
    session: Session | None = None,
) -> pd.Series:
    """Relative error of the pooled linear coefficient if only the first levels of books are seen.

    Parameters
    ----------
    books : BookSnapshots
        Inside the session, deep enough to fill the trade sizes: their own fit is the truth.
    n_levels : int
        Levels a side that are shown.
    trade_sizes : (K,) shares
    side : "buy" or "sell"
    session : Session, optional

    Returns
    -------
    Series
        censored (share of the rows) and the error under each way to treat these rows:
        complete, drop, face_value.
    """
    levels = {
        name: books[name][:, :n_levels]
        for name in ("bid_price", "bid_size", "ask_price", "ask_size")
    }
    shown = slippage_curves(dataclasses.replace(books, **levels), trade_sizes, side)
    everything = slippage_curves(books, trade_sizes, side)
    true = _pooled_beta(everything.to_frame(session=session), "complete", session)
    frame = shown.to_frame(session=session)
    bias = {way: _pooled_beta(frame, way, session) / true - 1.0 for way in CENSORING}
    return pd.Series({"censored": float(frame["censored"].mean()), **bias})


def _pooled_beta(frame: pd.DataFrame, censoring: str, session: Session | None) -> float:
    fit = fit_impact(frame, by="pooled", censoring=censoring, test_fraction=0, session=session)
    return float(fit.params["beta"].iloc[0])

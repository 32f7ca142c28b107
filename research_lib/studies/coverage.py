r"""How far estimates can be believed, tried where the truth is known.

`coverage`: how often 95 % intervals hold a known coefficient. Rows are drawn from a linear
curve whose impact is disturbed in one of four ways,

.. math:: y_{dsk} = h + \beta x_k (1 + \sigma e_{dsk}),

with e standard normal, and, by name: "rows", independent in every row d, s, k; "snapshots",
one draw a snapshot s, common to its sizes k; "autocorrelated", snapshots that follow an
autoregression of coefficient 0.5 within the day; "days", one draw a day d. Every repetition
is an interval of one fit, with its own coefficient.

`censoring_bias`: what hiding the deeper levels of books does to the coefficient.

`kernel_coverage`: how often bands and half-lives hold the kernel of a simulated market.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import refuse_unknown
from research_lib.impact import DecayKernel, ExponentialSumKernel, fit_impact, slippage_curves
from research_lib.impact.estimation import ERRORS
from research_lib.impact.moments import CENSORING
from research_lib.market import BookSnapshots, OrderFlow, Session
from research_lib.transient import SignedFlow, fit_kernel, propagator, simulate_mids
from research_lib.transient.kernel_fit import FAMILIES

Float = NDArray[np.float64]

AUTOREGRESSION = 0.5
HALF_SPREAD, MID = 0.01, 50.0
# For each dependence, the errors that allow for it: their intervals must keep the level.
KNOWN = {
    "rows": ("day", "snapshot", "newey-west", "hc3"),
    "snapshots": ("day", "snapshot", "newey-west"),
    "autocorrelated": ("day", "newey-west"),
    "days": ("day",),
}
SIZES = np.array([1000.0, 2000.0, 3000.0])
MID_NOISE = 2.0  # of the mid between two trades, in units of the impact G(0) of one


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

    Examples
    --------
    >>> table = coverage(np.random.default_rng(0), 40, n_days=6, n_snapshots=4)
    >>> bool(table.loc["hc3", "days"] < table.loc["day", "days"])
    True
    """
    beta = np.exp(rng.normal(-11.5, 0.5, repetitions))
    drawn: dict[str, Any] = {"n_days": n_days, "n_snapshots": n_snapshots, "noise": noise}
    table: dict[str, dict[str, float]] = {}
    for dependence in KNOWN:
        frame, held = simulated_slippage(beta, dependence, rng, **drawn), {}
        for errors in ERRORS:
            fit = fit_impact(frame, errors=errors, shrinkage="none", test_fraction=0)
            lower, upper = (end["beta"].to_numpy() for end in fit.conf_int(1.0 - level))
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
    sizes: Float = SIZES,
) -> pd.DataFrame:
    """A frame as `fit_impact` takes it, K sizes a snapshot.

    Parameters
    ----------
    beta : (n_intervals,) currency per share**2
    dependence : str
        Of `KNOWN`.
    rng, n_days, n_snapshots, noise
        As in `coverage`.
    sizes : (K,) shares

    Examples
    --------
    >>> drawn = {"n_days": 2, "n_snapshots": 3, "noise": 0.1}
    >>> simulated_slippage(np.full(4, 1e-5), "days", np.random.default_rng(0), **drawn).shape
    (72, 7)
    """
    refuse_unknown([dependence], KNOWN, "dependence")
    n, k = len(beta), len(sizes)
    shape = (n_days, n, n_snapshots, k)
    error = np.broadcast_to(_errors(dependence, shape, rng), shape)
    slippage = HALF_SPREAD + beta[:, None, None] * sizes * (1.0 + noise * error)
    days = pd.bdate_range("2024-01-02", periods=n_days).date
    time = np.repeat(Session(n * n_snapshots).starts(days).ravel(), k)
    columns = {
        "time": pd.DatetimeIndex(time.astype("datetime64[ns]"), tz="UTC"),
        "interval": np.tile(np.repeat(np.arange(n), n_snapshots * k), n_days),
        "trade_size": np.tile(sizes, n_days * n * n_snapshots),
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

    Examples
    --------
    >>> from research_lib.market import thin_stock
    >>> books = thin_stock(Session(13)).books(26, 12, np.random.default_rng(5))
    >>> bias = censoring_bias(books, 3, [100.0, 200.0, 300.0, 400.0], session=Session(13))
    >>> bool(bias["face_value"] < bias["complete"])
    True
    """
    names = ("bid_price", "bid_size", "ask_price", "ask_size")
    shown = dataclasses.replace(books, **{name: books[name][:, :n_levels] for name in names})
    whole, frame = (
        slippage_curves(seen, trade_sizes, side).to_frame(session=session)
        for seen in (books, shown)
    )

    def beta(rows: pd.DataFrame, way: str) -> float:
        fit = fit_impact(rows, by="pooled", censoring=way, test_fraction=0, session=session)
        return float(fit.params["beta"].iloc[0])

    true = beta(whole, "complete")
    bias = {way: beta(frame, way) / true - 1.0 for way in CENSORING}
    return pd.Series({"censored": float(frame["censored"].mean()), **bias})


def kernel_coverage(
    kernels: Mapping[str, DecayKernel],
    rng: np.random.Generator,
    *,
    n_trades: int = 3000,
    max_lag: int = 30,
    n_markets: int = 40,
) -> pd.DataFrame:
    """Share of simulated markets, per cent, in which 95 % bands and intervals hold the truth.

    Signs are those of `OrderFlow`; the mid follows the kernel and a random walk of twice its scale
    a trade.

    Parameters
    ----------
    kernels : mapping of family to kernel
        The truth, of lags in trades, and the family to fit, of `FAMILIES`. "exponential_permanent"
        is held to the half-life of the part that decays, as `KernelFit.half_life` is; the others to
        the lag of G(0) / 2.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        By family: band (each lag by itself), simultaneous (all lags at once), half_life, told (how
        often it is identified).

    Raises
    ------
    ValidationError
        A family that is none of `FAMILIES`.

    Examples
    --------
    >>> from research_lib.impact import ExponentialKernel
    >>> truth, few = {"exponential": ExponentialKernel(0.2)}, {"n_trades": 600, "n_markets": 3}
    >>> kernel_coverage(truth, np.random.default_rng(3), max_lag=8, **few).columns.tolist()
    ['band', 'simultaneous', 'half_life', 'told']
    """
    refuse_unknown(kernels, FAMILIES, "kernel family")
    rows = {}
    for family in (name for name in FAMILIES if name in kernels):
        markets = [_held(kernels[family], family, n_trades, max_lag, rng) for _ in range(n_markets)]
        # Summed as rows: a frame sums its columns in another order, and 95.65 lies on a tie.
        held = np.array([list(one.values()) for one in markets]).mean(axis=0)
        rows[family] = pd.Series(100.0 * held, list(markets[0]))
    return pd.DataFrame(rows).T


def _held(
    kernel: DecayKernel, family: str, n_trades: int, max_lag: int, rng: np.random.Generator
) -> dict[str, float]:
    """What holds the truth in one market: share of the lags, all of them at once, the half-life."""
    signs = OrderFlow().signs(n_trades, rng).astype(float)
    mids = simulate_mids(kernel, signs, MID_NOISE * float(kernel(0.0)), rng)
    time, day = np.arange(n_trades), np.zeros(n_trades, np.int64)
    estimate = propagator(SignedFlow(time, mids, signs, signs, None, day, 1.0, "trades"), max_lag)
    truth, fit = kernel(estimate.lags), fit_kernel(estimate, family)
    bands = (estimate.conf_int(simultaneous=at_once) for at_once in (False, True))
    single, together = ((low <= truth) & (truth <= high) for low, high in bands)
    held = fit.interval[0] <= _true_half_life(kernel, family) <= fit.interval[1]
    return {
        "band": float(single.mean()),
        "simultaneous": float(together.all()),
        "half_life": float(held),
        "told": float(fit.identified),
    }


def _true_half_life(kernel: DecayKernel, family: str) -> float:
    """What `KernelFit.half_life` of this family estimates."""
    if family == "exponential_permanent" and isinstance(kernel, ExponentialSumKernel):
        moving = [part for part in zip(kernel.decays, kernel.scales, strict=True) if part[0] > 0]
        return ExponentialSumKernel(*zip(*moving, strict=True)).half_life if moving else math.inf
    return kernel.half_life

"""Figures on impact that decays: responses and propagators, recovery, schedules by half-life."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter
from numpy.typing import ArrayLike, NDArray

from research_lib.reporting.figures.base import (
    FITTED,
    MUTED,
    OBSERVED,
    SERIES,
    STRATEGY_COLOURS,
    TRUTH,
    new_figure,
)
from research_lib.transient import LagEstimate
from research_lib.transient.kernel_fit import REJECTED

Float = NDArray[np.float64]
Curve = Callable[[Float], Float]


def plot_lag_estimates(
    estimates: Mapping[str, LagEstimate],
    ylabel: str,
    *,
    curves: Mapping[str, Curve] | None = None,
    xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Estimates by lag with their pointwise 95 % bands; curves over them, "truth" in its own colour.

    Parameters
    ----------
    estimates : mapping of label to LagEstimate, in the unit of `ylabel`
    curves : mapping of label to a function of lags
    xlabel : str
        By default the lag in the estimates' unit.
    """
    ax = ax or new_figure()[1][0]
    colours = (OBSERVED, *SERIES) if curves else SERIES
    for (label, estimate), colour in zip(estimates.items(), colours, strict=False):
        low, high = estimate.conf_int()
        ax.fill_between(estimate.lags, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(
            estimate.lags,
            estimate.values,
            "o-",
            markersize=2.5,
            linewidth=0.9,
            color=colour,
            label=label,
        )
    lags = np.geomspace(
        min(e.lags[0] for e in estimates.values()), max(e.lags[-1] for e in estimates.values()), 200
    )
    for (label, curve), colour in zip(
        (curves or {}).items(), (FITTED, SERIES[0], SERIES[1], MUTED), strict=False
    ):
        ax.plot(
            lags,
            curve(lags),
            color=TRUTH if label == "truth" else colour,
            linewidth=1.6,
            label=label,
        )
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xlabel(xlabel or f"lag ({next(iter(estimates.values())).unit}, log scale)")
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9)
    return ax


def plot_half_lives(
    spans: pd.DataFrame, last: float, *, truth: float | None = None, ax: Axes | None = None
) -> Axes:
    """Half-lives with their 95 % intervals, seconds, one a line; open ends run out of the frame.

    Parameters
    ----------
    spans : DataFrame
        Index label; columns half_life, low, high (0 and inf where open), told, and p_value of
        the shape: rejected ones are not drawn.
    last : float
        Longest lag measured, seconds: beyond it is extrapolation, shaded.
    truth : float, optional
        Seconds, where it is known.
    """
    ax = ax or new_figure()[1][0]
    finite = spans[["half_life", "low", "high"]].to_numpy(dtype=float)
    finite = np.append(finite[np.isfinite(finite) & (finite > 0)], last)
    left, right = 0.5 * float(finite.min()), 3.0 * float(finite.max())
    for row, (_, span) in enumerate(spans.iloc[::-1].iterrows()):
        if span["p_value"] < REJECTED:
            ax.annotate(
                "shape rejected",
                (0.02, row),
                xycoords=("axes fraction", "data"),
                va="center",
                color=MUTED,
            )
            continue
        colour = FITTED if span["told"] else MUTED
        ax.plot(
            [max(span["low"], left), min(span["high"], right)],
            [row, row],
            color=colour,
            linewidth=2.5,
        )
        if span["told"]:
            ax.plot(span["half_life"], row, "o", color=colour, markersize=6)
    ax.axvspan(last, right, color=MUTED, alpha=0.15, linewidth=0, label="beyond all lags measured")
    if truth is not None:
        ax.axvline(truth, color=TRUTH, linewidth=1.4, label="truth")
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.set_ylim(-0.7, len(spans) - 0.3)
    ax.set_yticks(range(len(spans)), spans.index[::-1])
    ax.set_xlabel("half-life (seconds, log scale); grey: not told")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def plot_savings_by_half_life(
    table: pd.DataFrame,
    span: tuple[float, float, float] | None,
    interval: float,
    ax: Axes | None = None,
) -> Axes:
    """Saving of the optimal schedule against TWAP, per cent of the transient cost, by half-life.

    Parameters
    ----------
    table : DataFrame
        Index half-life, seconds; column "saving_%".
    span : (estimate, low, high) seconds
        Of this market's half-life, shaded; None where it is not told.
    interval : float
        Seconds between child orders, marked.
    """
    ax = ax or new_figure()[1][0]
    left, right = float(table.index.min()), float(table.index.max())
    if span is not None:
        low, high = np.clip(span[1:], left, right)
        ax.axvspan(
            low, high, color=FITTED, alpha=0.15, linewidth=0, label="95 % interval of the half-life"
        )
        ax.axvline(span[0], color=FITTED, linewidth=1.2, label="half-life of the spread")
    ax.axvline(
        interval,
        color=MUTED,
        linestyle="--",
        linewidth=1.0,
        label="from one child order to the next",
    )
    ax.plot(table.index, table["saving_%"], "o-", markersize=3, color=STRATEGY_COLOURS["optimal"])
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.set_ylim(0.0, 1.1 * float(table["saving_%"].max()))
    ax.set_xlabel("half-life (seconds, log scale)")
    ax.set_ylabel("saving against TWAP\n(% of the transient cost)")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    return ax


def plot_child_orders(
    schedules: Mapping[str, ArrayLike], minutes: ArrayLike, ax: Axes | None = None
) -> Axes:
    """Child orders over time, shares, log scale: the first and the last as points, a line through those between.

    Parameters
    ----------
    schedules : mapping of label to (n,) shares
    minutes : (n,) since the first child order
    """
    ax = ax or new_figure()[1][0]
    at = np.asarray(minutes, float)
    for (name, shares), colour in zip(
        schedules.items(), (STRATEGY_COLOURS["TWAP"], *SERIES), strict=False
    ):
        ax.plot(at[1:-1], np.asarray(shares, float)[1:-1], color=colour, linewidth=1.3, label=name)
        ax.plot(at[[0, -1]], np.asarray(shares, float)[[0, -1]], "o", color=colour, markersize=4)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())  # plain numbers, also between the powers of ten
    ax.yaxis.set_minor_formatter(LogFormatter())
    ax.set_xlabel("minutes since the first child order")
    ax.set_ylabel("child order (shares, log scale)")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    return ax

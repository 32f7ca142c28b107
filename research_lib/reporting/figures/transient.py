"""Figures on impact that decays: responses and propagators, recovery, schedules by half-life."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter
from numpy.typing import ArrayLike

from research_lib.reporting.figures import base as fig
from research_lib.transient import LagEstimate
from research_lib.transient.kernel_fit import REJECTED

Curve = Callable[[fig.Float], fig.Float]
HALF_LIFE = "half-life (seconds, log scale)"


def plot_lag_estimates(
    estimates: Mapping[str, LagEstimate],
    ylabel: str,
    *,
    curves: Mapping[str, Curve] | None = None,
    xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Estimates by lag with pointwise 95 % bands; curves over them, "truth" in its own colour.

    Parameters
    ----------
    estimates : mapping of label to LagEstimate, in the unit of `ylabel`
    curves : mapping of label to a function of lags
    xlabel : str
        By default the lag in the estimates' unit.

    Examples
    --------
    >>> lags = np.arange(1.0, 4.0)
    >>> estimate = LagEstimate(lags, 1 / lags, 0.01 * np.eye(3), 100, "trades")
    >>> plot_lag_estimates({"G": estimate}, "impact (bps)").get_xlabel()
    'lag (trades, log scale)'
    """
    ax = ax or fig.new_figure()[1][0]
    colours = (fig.OBSERVED, *fig.SERIES) if curves else fig.SERIES
    for (label, estimate), colour in zip(estimates.items(), colours, strict=False):
        low, high = estimate.conf_int()
        fig.band(ax, estimate.lags, [low, estimate["values"], high], colour, label, "o-")
    measured = np.concatenate([estimate.lags for estimate in estimates.values()])
    lags = np.geomspace(measured.min(), measured.max(), 200)
    colours = (fig.FITTED, *fig.SERIES[:2], fig.MUTED)
    for (label, curve), colour in zip((curves or {}).items(), colours, strict=False):
        own = fig.TRUTH if label == "truth" else colour
        ax.plot(lags, curve(lags), color=own, linewidth=1.6, label=label)
    ax.set_xscale("log")
    return fig.finish(
        ax,
        xlabel or f"lag ({next(iter(estimates.values())).unit}, log scale)",
        ylabel,
        zero=True,
        legend="above",
        ncols=3,
    )


def plot_half_lives(
    spans: pd.DataFrame, last: float, *, truth: float | None = None, ax: Axes | None = None
) -> Axes:
    """Half-lives with their 95 % intervals, seconds, one a line; open ends run out of the frame.

    Parameters
    ----------
    spans : DataFrame
        Index label; columns half_life, low, high (0 and inf where open), told (whether it is
        identified), and p_value of the shape: rejected ones are not drawn.
    last : float
        Longest lag measured, seconds: beyond it is extrapolation, shaded.
    truth : float, optional
        Seconds, where it is known.

    Examples
    --------
    >>> row = {"half_life": 3.0, "low": 2.0, "high": 4.0, "p_value": 0.5, "told": True}
    >>> plot_half_lives(pd.DataFrame(row, index=["exponential"]), 20.0).get_xlabel()
    'half-life (seconds, log scale); grey: not identified'
    """
    ax = ax or fig.new_figure()[1][0]
    finite = np.append(spans[["half_life", "low", "high"]].to_numpy(dtype=float), last)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    left, right = 0.5 * float(finite.min()), 3.0 * float(finite.max())
    for row, (_, span) in enumerate(spans.iloc[::-1].iterrows()):
        if span["p_value"] < REJECTED:
            where: fig.Style = {
                "xycoords": ("axes fraction", "data"),
                "color": fig.MUTED,
                "fontsize": 10,
            }
            fig.note(ax, "shape rejected", (0.02, row), (0, 0), **where)
            continue
        ends, colour = np.clip([span["low"], span["high"]], left, right), fig.MUTED
        if span["told"]:
            colour = fig.FITTED
            ax.plot(span["half_life"], row, "o", color=colour, markersize=6)
        ax.plot(ends, [row, row], color=colour, linewidth=2.5)
    shade: fig.Style = {"color": fig.MUTED, "alpha": 0.15, "linewidth": 0}
    ax.axvspan(last, right, label="beyond all lags measured", **shade)
    if truth is not None:
        ax.axvline(truth, color=fig.TRUTH, linewidth=1.4, label="truth")
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.set_yticks(range(len(spans)), spans.index[::-1])
    ax.set_ylim(-0.7, len(spans) - 0.3)
    return fig.finish(ax, f"{HALF_LIFE}; grey: not identified", legend="above", ncols=2)


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
        Of this market's half-life, shaded; None where it is not identified.
    interval : float
        Seconds between child orders, marked.

    Examples
    --------
    >>> table = pd.DataFrame({"saving_%": [0.1, 5.0]}, index=[1.0, 100.0])
    >>> plot_savings_by_half_life(table, None, 3.0).get_xlabel()
    'half-life (seconds, log scale)'
    """
    ax = ax or fig.new_figure()[1][0]
    left, right = float(table.index.min()), float(table.index.max())
    if span is not None:
        shade: fig.Style = {"color": fig.FITTED, "alpha": 0.15, "linewidth": 0}
        ax.axvspan(*np.clip(span[1:], left, right), label="95 % interval of the half-life", **shade)
        ax.axvline(span[0], color=fig.FITTED, linewidth=1.2, label="half-life of the spread")
    style: fig.Style = {"color": fig.MUTED, "linestyle": "--", "linewidth": 1.0}
    ax.axvline(interval, label="from one child order to the next", **style)
    ax.plot(table.index, table["saving_%"], "o-", color=fig.colour_of("optimal"), **fig.POINTS)
    ax.set_xscale("log")
    ax.set(xlim=(left, right), ylim=(0.0, 1.1 * float(table["saving_%"].max())))
    return fig.finish(
        ax,
        HALF_LIFE,
        "saving against TWAP\n(% of the transient cost)",
        zero=True,
        legend="above",
        ncols=2,
    )


def plot_child_orders(
    schedules: Mapping[str, ArrayLike], minutes: ArrayLike, ax: Axes | None = None
) -> Axes:
    """Child orders over time, log scale: first and last as points, a line through those between.

    Parameters
    ----------
    schedules : mapping of label to (n,) shares
    minutes : (n,) since the first child order

    Examples
    --------
    >>> plot_child_orders({"TWAP": [1.0, 1.0, 1.0]}, [0.0, 1.0, 2.0]).get_ylabel()
    'child order (shares, log scale)'
    """
    ax, at = ax or fig.new_figure()[1][0], np.asarray(minutes, float)
    colours = (fig.colour_of("TWAP"), *fig.SERIES)
    for (name, shares), colour in zip(schedules.items(), colours, strict=False):
        x = np.asarray(shares, float)
        ax.plot(at[1:-1], x[1:-1], color=colour, linewidth=1.3, label=name)
        ax.plot(at[[0, -1]], x[[0, -1]], "o", color=colour, markersize=4)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(LogFormatter())  # plain numbers, also between the powers of ten
    ax.yaxis.set_minor_formatter(LogFormatter())
    return fig.finish(
        ax,
        "minutes since the first child order",
        "child order (shares, log scale)",
        legend="above",
        ncols=2,
    )

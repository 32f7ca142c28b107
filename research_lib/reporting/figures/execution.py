"""Figures of schedules and of what they cost: one order, and the orders of a portfolio."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from research_lib.checks import Float
from research_lib.market import Session
from research_lib.reporting.figures import base as fig

Named = fig.Named | None


def _shares(schedule: Any) -> Float:
    """(n,) shares of an array, a `Schedule` or an `Allocation`."""
    return np.asarray(getattr(schedule, "shares", schedule), float)


def _interval_axis(ax: Axes, n: int, ylabel: str) -> Axes:
    """Ticks at whole numbers of n intervals; the legend above."""
    ax.set_xlim(0, n)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig.finish(ax, "interval", ylabel, "above", ncols=4)


def _filled_steps(ax: Axes, high: Float, low: Float, colour: str, label: str) -> None:
    ax.stairs(high, baseline=low, fill=True, color=colour, alpha=0.3, linewidth=0, label=label)


def plot_schedule(
    shares: ArrayLike, baselines: Named = None, caps: ArrayLike = np.inf, ax: fig.Panel = None
) -> Axes:
    """The optimal child order of each interval as steps, beside baselines; shaded above the caps.

    Parameters
    ----------
    shares : (n,) shares, Schedule or Allocation
    baselines : mapping of name to (n,) shares or Schedule, optional
    caps : (n,) shares, optional
        Named, not drawn, where all are off the scale.

    Examples
    --------
    >>> plot_schedule([1.0, 3.0], {"TWAP": [2.0, 2.0]}).get_ylabel()
    'child order (shares)'
    """
    ax, x = fig.axes_or(ax), _shares(shares)
    drawn = {name: _shares(one) for name, one in {**(baselines or {}), "optimal": x}.items()}
    top = 1.2 * max(float(part.max()) for part in drawn.values())
    ax.stairs(x, color=fig.colour_of("optimal"), fill=True, alpha=0.25)
    for name, part, colour in fig.coloured(drawn):
        ax.stairs(part, color=colour, linewidth=1.3, label=name, baseline=None)
    limit = np.broadcast_to(np.asarray(caps, float), x.shape)
    if limit.min() < top:
        _filled_steps(ax, np.full(len(x), top), np.minimum(limit, top), fig.MUTED, "above the cap")
    elif np.isfinite(limit.min()):
        ax.plot([], [], " ", label=f"caps from {limit.min():,.0f}, off the scale")
    ax.set_ylim(0.0, top)
    return _interval_axis(ax, len(x), "child order (shares)")


def plot_water_level(
    marginal: ArrayLike, at_zero: ArrayLike, multiplier: float | None, shares: ArrayLike,
    unit: str = "currency/share", ax: fig.Panel = None,
) -> Axes:  # fmt: skip
    """What the last share costs in each interval against the multiplier.

    The order fills each interval up to one level.

    Parameters
    ----------
    marginal, at_zero : (n,) currency per share
        Marginal cost at the schedule, and of the first share.
    multiplier : currency per share, optional
        None where terms couple the intervals: each then has a level of its own.
    shares : (n,) shares
        Intervals without any are drawn from their first share's price alone.
    unit : of all prices

    Examples
    --------
    >>> plot_water_level([0.03, 0.03], [0.01, 0.02], 0.03, [10.0, 5.0]).get_ylabel()
    'marginal cost (currency/share)'
    """
    ax, traded, first = fig.axes_or(ax), _shares(shares) > 0, np.asarray(at_zero, float)
    last = np.where(traded, np.asarray(marginal, float), first)
    _filled_steps(ax, last, first, fig.colour_of("optimal"), "filled by the order")
    ax.stairs(first, color=fig.OBSERVED, linewidth=0.8, baseline=None, label="first share")
    level = float(last[traded].max() if traded.any() else first.min())
    if multiplier is None:
        ax.plot([], [], " ", label="no one level: terms couple the intervals")
    else:
        level, colour = max(level, multiplier), fig.FITTED
        ax.axhline(multiplier, color=colour, linewidth=1.3, label="multiplier: the next share")
    top = 1.1 * max(level, min(float(first.max()), 2.0 * level))  # expensive intervals may be cut
    ax.set_ylim(min(0.0, float(first.min())), top)
    return _interval_axis(ax, len(first), f"marginal cost ({unit})")


def plot_executed(schedules: fig.Named, ax: fig.Panel = None) -> Axes:
    """Part of the order done by the end of each interval, per cent, a line a schedule.

    Parameters
    ----------
    schedules : mapping of name to (n,) shares, Schedule or Allocation

    Examples
    --------
    >>> plot_executed({"optimal": [1.0, 3.0]}).lines[0].get_ydata().tolist()
    [0.0, 25.0, 100.0]
    """
    ax, done = fig.axes_or(ax), np.zeros(1)
    for name, schedule, colour in fig.coloured(schedules):
        done = np.append(0.0, np.cumsum(_shares(schedule)))
        ax.plot(100.0 * done / done[-1], color=colour, linewidth=1.5, label=name)
    ax.set_ylim(0, 102)
    return _interval_axis(ax, len(done) - 1, "executed (%)")


def plot_order(shares: ArrayLike, baselines: fig.Named, caps: ArrayLike, *level: Any) -> list[Axes]:
    """The one picture of an order: schedule, water level and cumulative execution.

    Parameters
    ----------
    shares, baselines, caps
        As `plot_schedule` takes them.
    *level
        Marginal cost, that of the first share, the multiplier and their unit, as
        `plot_water_level` takes them.

    Examples
    --------
    >>> x = np.array([1.0, 3.0])
    >>> axes = plot_order(x, {}, 4 * x, [0.03, 0.03], [0.02, 0.01], 0.03, "currency/share")
    >>> [ax.get_ylabel() for ax in axes]
    ['child order (shares)', 'marginal cost (currency/share)', 'executed (%)']
    """
    axes, (marginal, first, multiplier, unit) = fig.stacked_figure([3, 3, 2], height=8.0), level
    plot_schedule(shares, baselines, caps, axes[0])
    plot_water_level(marginal, first, multiplier, shares, unit, axes[1])
    plot_executed({**baselines, "optimal": shares}, axes[2])
    for ax in axes[:2]:
        ax.set_xlabel("")
    return axes


def plot_holdings(
    holdings: fig.Named, names: Sequence[str], session: Session, ax: fig.Panel = None
) -> Axes:
    """What is left to trade, per cent of each order: a colour an asset, a line style a way.

    A way in which all assets go alike, such as equal child orders, is one line in its own colour.

    Parameters
    ----------
    holdings : mapping of way to (n + 1, m) shares
        The first row is the order, not 0. Below 0 a trade went beyond its order.
    names : m assets
    session : Session

    Examples
    --------
    >>> held = np.array([[10.0, -4.0], [5.0, -1.0], [0.0, 0.0]])
    >>> ax = plot_holdings({"portfolio": held}, ["A", "B"], Session(2))
    >>> ax.lines[0].get_ydata().tolist()
    [100.0, 50.0, 0.0]
    """
    ax, handles = fig.axes_or(ax), []
    for (way, held), style in zip(holdings.items(), cycle(("-", "--", ":", "-.")), strict=False):
        assets = (100.0 * np.asarray(held, float) / np.asarray(held, float)[0]).T
        line: fig.Style = {"linewidth": 1.5, "linestyle": style}
        if len(assets) > 1 and np.allclose(assets, assets[0], atol=1e-6):
            handles += ax.plot(assets[0], color=fig.colour_of(way, fig.OBSERVED), label=way, **line)
            continue
        for left, colour in zip(assets, cycle(fig.SERIES), strict=False):
            ax.plot(left, color=colour, **line)
        handles += ax.plot([], [], color=fig.OBSERVED, linestyle=style, label=way)
    for name, colour in zip(names, cycle(fig.SERIES), strict=False):
        handles += ax.plot([], [], color=colour, label=name)
    how: fig.Style = {"handles": handles, "ncols": 2, "legend": "best", "zero": True}
    return fig.clock_axis(fig.finish(ax, y="left to trade (% of the order)", **how), session)


def plot_frontiers(
    frontiers: fig.Lines, points: Mapping[str, tuple[float, float]] | None = None,
    tangent: tuple[float, float] | None = None, ax: fig.Panel = None,
) -> Axes:  # fmt: skip
    """Expected cost against its standard deviation, bps: lines of best schedules, and single ones.

    Parameters
    ----------
    frontiers : mapping of way to (deviation (k,), cost (k,))
    points : mapping of way to (deviation, cost), optional
    tangent : (slope, value at deviation 0), optional
        The line of equal value at risk that touches a frontier.

    Examples
    --------
    >>> plot_frontiers({"portfolio": ([1.0, 3.0], [4.0, 1.0])}).get_ylabel()
    'expected cost (bps)'
    """
    ax = fig.axes_or(ax, 5.4, 4.0)
    for way, line in frontiers.items():
        ax.plot(*line, color=fig.colour_of(way, fig.OBSERVED), linewidth=1.6, label=way)
    if tangent is not None:
        limits, x = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}, np.array(ax.get_xlim())
        style: fig.Style = {"color": fig.MUTED, "linewidth": 1.0, "label": "equal value at risk"}
        ax.plot(x, tangent[1] - tangent[0] * x, "--", **style)
        ax.set(**limits)
    for (way, point), marker in zip((points or {}).items(), cycle("os^Dv"), strict=False):
        style = {"color": fig.colour_of(way, fig.OBSERVED), "markersize": 6}
        ax.plot(*point, marker, label=way, markeredgecolor="white", **style)
    ax.margins(0.06)
    return fig.finish(ax, "standard deviation of the cost (bps)", "expected cost (bps)", "best")


PART_COLOURS = {
    "spread": "#999999", "walk": "#56B4E9", "selection": "#009E73", "carried": "#E69F00",
    "fees": "#CC79A7",
}  # fmt: skip


def plot_cost_parts(table: pd.DataFrame, ax: fig.Panel = None) -> Axes:
    """What each strategy costs, its parts stacked, the cheapest on top; a dot is the total.

    Parts below 0, such as a selection that pays, stand left of 0.

    Parameters
    ----------
    table : DataFrame
        Index strategy; columns spread_bps, walk_bps, selection_bps, carried_bps, fees_bps and
        total_bps, as `evaluation.compare`.

    Examples
    --------
    >>> parts = {f"{name}_bps": 1.0 for name in PART_COLOURS} | {"total_bps": 5.0}
    >>> ax = plot_cost_parts(pd.DataFrame(parts, index=["TWAP"]))
    >>> ax.get_yticklabels()[0].get_text()
    'TWAP'
    """
    ax, rows = fig.axes_or(ax), table.sort_values("total_bps", ascending=False)
    at, ends = np.arange(len(rows)), {1.0: np.zeros(len(rows)), -1.0: np.zeros(len(rows))}
    for part, colour in PART_COLOURS.items():
        values = rows[f"{part}_bps"].to_numpy(float)
        if not np.any(values):
            continue
        label: str | None = part
        for sign, left in ends.items():
            width = np.where(sign * values > 0, values, 0.0)
            style: fig.Style = {"color": colour, "height": 0.6, "linewidth": 0}
            ax.barh(at, width, left=left, label=label, **style)
            ends[sign] = left + width
            label = None
    total = rows["total_bps"].to_numpy(float)
    ax.plot(total, at, "o", color=fig.OBSERVED, markersize=4, label="total")
    for row, value in zip(at, total, strict=True):
        fig.note(ax, f"{value:.3g}", (max(value, ends[1.0][row]), row), (6, 0))
    fig.name_rows(ax, rows.index)
    ax.margins(x=0.2)
    return fig.finish(ax, "expected cost (bps of the arrival mid)", legend="above", ncols=6)

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
        level, colour = max(level, multiplier), fig.colour_of("risk-averse adaptive")
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


def plot_cost_distribution(costs: pd.DataFrame, ax: fig.Panel = None) -> Axes:
    """Cost over the mid of every order: points, quartile bar and mean, the cheapest on top.

    Parameters
    ----------
    costs : DataFrame
        Columns strategy and cost_bps, as `tca_table`.

    Examples
    --------
    >>> costs = pd.DataFrame({"strategy": ["TWAP"] * 3, "cost_bps": [4.0, 5.0, 6.0]})
    >>> plot_cost_distribution(costs).get_yticklabels()[0].get_text()
    'TWAP'
    """
    ax, groups = fig.axes_or(ax), costs.groupby("strategy")["cost_bps"]
    names = groups.mean().sort_values(ascending=False).index
    for row, name in enumerate(names):
        values, colour = np.sort(groups.get_group(name)), fig.colour_of(name)
        lower, upper = np.quantile(values, [0.25, 0.75])
        ax.barh(row, upper - lower, left=lower, height=0.5, color=colour, alpha=0.25, linewidth=0)
        # Golden-ratio steps spread neighbouring points without drawing random numbers.
        spread = row + 0.3 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
        ax.plot(values, spread, ".", color=colour, markersize=3, alpha=0.6)
        ax.plot(values.mean(), row, "D", color=colour, markersize=6, markeredgecolor="white")
    fig.name_rows(ax, names)
    label = "cost over the mid (bps of the arrival price); bar: quartiles, diamond: mean"
    return fig.finish(ax, label)


def plot_saving_against(
    comparisons: fig.Tables, xlabel: str, *, log: bool = False, ax: fig.Panel = None
) -> Axes:
    """Saving with its 95 % band against order size, refill rate or anything else.

    Parameters
    ----------
    comparisons : mapping of x to DataFrame
        As `compare`, one a value of x.
    xlabel : str
        With its unit.
    log : bool
        A logarithmic x axis.

    Examples
    --------
    >>> row = {"saving_lower_%": 30.0, "saving_%": 40.0, "saving_upper_%": 45.0}
    >>> table = pd.DataFrame(row, index=["adaptive"])
    >>> plot_saving_against({1.0: table, 0.2: table}, "refill rate").lines[0].get_xdata().tolist()
    [0.2, 1.0]
    """
    ax, x = fig.axes_or(ax), np.array(sorted(comparisons))
    columns = ["saving_lower_%", "saving_%", "saving_upper_%"]
    for name in dict.fromkeys(name for table in comparisons.values() for name in table.index):
        rows = [comparisons[at].reindex([name])[columns].to_numpy(float)[0] for at in x]
        fig.band(ax, x, np.transpose(rows), fig.colour_of(name), str(name), "o-")
    if log:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{at:,g}" for at in x])
        ax.minorticks_off()
    return fig.finish(ax, xlabel, "saving against TWAP (%)", "right", zero=True)

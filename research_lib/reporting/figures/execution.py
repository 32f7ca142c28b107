"""Figures of schedules: one order, and the orders of a portfolio."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from research_lib.market import Session
from research_lib.reporting.figures import base as fig

HEADROOM = 1.2
Named = fig.Named | None
LABEL_ROOM = 48.0, 14.0  # points, that a risk aversion's label takes
UNNAMED = "#666666"
# Of schedules that the palette does not name.
LINES = ("-", (0, (5, 2)), ":", "-.", (0, (1, 3)), (0, (7, 2, 1, 2, 1, 2)))
WAYS = {
    "portfolio": fig.colour_of("optimal"),
    "asset by asset": fig.colour_of("risk-averse adaptive"),
    "TWAP": fig.colour_of("TWAP"),
    "cash-neutral": fig.colour_of("adaptive"),
    "L-VaR": fig.OBSERVED,
}


def _shares(schedule: Any) -> fig.Float:
    """(n,) shares of an array, a `Schedule` or an `Allocation`."""
    return np.asarray(getattr(schedule, "shares", schedule), float)


def _styles(names: Iterable[str]) -> dict[str, fig.Style]:
    """Colour and line of each schedule: its own colour, or grey with a line of its own."""
    lines, styles = itertools.cycle(LINES), {}
    for name in names:
        line = "-" if name in fig.STRATEGY_COLOURS else next(lines)
        styles[name] = {"color": fig.colour_of(name, UNNAMED), "linestyle": line}
    return styles


def _interval_axis(ax: Axes, n: int, ylabel: str) -> Axes:
    """Ticks at whole numbers of n intervals; the legend above."""
    ax.set_xlim(0, n)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig.finish(ax, "interval", ylabel, "above", ncols=4)


def _filled_steps(ax: Axes, high: fig.Float, low: fig.Float, colour: str, label: str) -> None:
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
    top = HEADROOM * max(float(part.max()) for part in drawn.values())
    ax.stairs(x, color=fig.colour_of("optimal"), fill=True, alpha=0.25)
    for name, style in _styles(drawn).items():
        ax.stairs(drawn[name], **style, linewidth=1.3, label=name, baseline=None)
    limit = np.broadcast_to(np.asarray(caps, float), x.shape)
    if limit.min() < top:
        _filled_steps(ax, np.full(len(x), top), np.minimum(limit, top), fig.MUTED, "above the cap")
    elif np.isfinite(limit.min()):
        ax.plot([], [], " ", label=f"caps from {limit.min():,.0f}, off the scale")
    ax.set_ylim(0.0, top)
    return _interval_axis(ax, len(x), "child order (shares)")


def plot_water_level(
    marginal: ArrayLike,
    at_zero: ArrayLike,
    multiplier: float | None,
    shares: ArrayLike,
    unit: str = "currency/share",
    ax: fig.Panel = None,
) -> Axes:
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
    for name, style in _styles(schedules).items():
        done = np.append(0.0, np.cumsum(_shares(schedules[name])))
        ax.plot(100.0 * done / done[-1], **style, linewidth=1.5, label=name)
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
    for (way, held), style in zip(holdings.items(), ("-", "--", ":"), strict=False):
        assets = (100.0 * np.asarray(held, float) / np.asarray(held, float)[0]).T
        line: fig.Style = {"linewidth": 1.5, "linestyle": style}
        if len(assets) > 1 and np.allclose(assets, assets[0], atol=1e-6):
            handles += ax.plot(assets[0], color=WAYS.get(way, fig.OBSERVED), label=way, **line)
            continue
        for left, colour in zip(assets, fig.SERIES, strict=False):
            ax.plot(left, color=colour, **line)
        handles += ax.plot([], [], color=fig.OBSERVED, linestyle=style, label=way)
    named = zip(names, fig.SERIES, strict=False)
    handles += [Line2D([], [], color=colour, label=name) for name, colour in named]
    how: fig.Style = {"handles": handles, "ncols": 2, "legend": "best", "zero": True}
    return fig.clock_axis(fig.finish(ax, y="left to trade (% of the order)", **how), session)


def plot_frontiers(
    frontiers: fig.Lines,
    points: Mapping[str, tuple[float, float]] | None = None,
    tangent: tuple[float, float] | None = None,
    ax: fig.Panel = None,
    weights: ArrayLike = (),
) -> Axes:
    """Expected cost against its standard deviation, bps: lines of best schedules, and single ones.

    Parameters
    ----------
    frontiers : mapping of way to (deviation (k,), cost (k,))
    points : mapping of way to (deviation, cost), optional
    tangent : (slope, value at deviation 0), optional
        The line of equal value at risk that touches a frontier.
    weights : (k,) risk aversions, optional
        Of the last frontier: its points are named by them where there is room.

    Examples
    --------
    >>> plot_frontiers({"portfolio": ([1.0, 3.0], [4.0, 1.0])}).get_ylabel()
    'expected cost (bps)'
    """
    ax, at = fig.axes_or(ax, 5.4, 4.0), np.empty((0, 2))
    for way, line in frontiers.items():
        at = np.column_stack([np.asarray(part, float) for part in line])
        colour = WAYS.get(way, fig.colour_of(way, fig.OBSERVED))
        style: fig.Style = {"color": colour, "linewidth": 1.6, "label": way}
        ax.plot(*at.T, "o-" if np.size(weights) else "-", markersize=4, **style)
    if tangent is not None:
        limits, x = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}, np.array(ax.get_xlim())
        style = {"color": fig.MUTED, "linewidth": 1.0, "label": "equal value at risk"}
        ax.plot(x, tangent[1] - tangent[0] * x, "--", **style)
        ax.set(**limits)
    for (way, point), marker in zip((points or {}).items(), "os^Dv", strict=False):
        style = {"color": WAYS.get(way, fig.OBSERVED), "markersize": 6, "markeredgecolor": "white"}
        ax.plot(*point, marker, label=way, **style)
    ax.margins(0.06)
    if np.size(weights):
        _name_points(ax, at, weights)
    label = "standard deviation of the cost (bps)"
    return fig.finish(ax, label, "expected cost (bps)", "best")


def _name_points(ax: Axes, at: fig.Float, weights: ArrayLike) -> None:
    """Points (k, 2) named by their risk aversion where there is room."""
    ax.margins(x=0.18, y=0.1)
    ax.autoscale_view()
    places = ax.transData.transform(at) * 72.0 / ax.figure.dpi  # points
    named: list[int] = []
    for k, weight in enumerate(np.asarray(weights, float)):
        if all(np.any(np.abs(places[k] - places[other]) > LABEL_ROOM) for other in named):
            fig.note(ax, f"{weight:.0e}", at[k], (5, 4), va="bottom")
            named.append(k)
    ax.set_title("labels: risk aversion (per currency)", fontsize=9)


def plot_net_value(values: fig.Named, session: Session, ax: fig.Panel = None) -> Axes:
    """Value left to sell less value left to buy, a line a way of trading, (n + 1,) currency each.

    Examples
    --------
    >>> plot_net_value({"portfolio": [2e6, 1e6, 0.0]}, Session(2)).lines[0].get_ydata().tolist()
    [2.0, 1.0, 0.0]
    """
    ax = fig.axes_or(ax)
    for way, value in values.items():
        neutral = way == "cash-neutral"  # equal child orders may be neutral as well: both are seen
        line: fig.Style = {"linestyle": (0, (4, 4))} if neutral else {"linewidth": 2.2}
        millions, colour = np.asarray(value, float) / 1e6, WAYS.get(way, fig.OBSERVED)
        ax.plot(millions, color=colour, label=way, zorder=2 + neutral, **line)
    label = "net value left to trade (million)"
    return fig.clock_axis(fig.finish(ax, y=label, legend="best", zero=True), session)


def plot_regret(regret: pd.DataFrame, ax: fig.Panel = None) -> Axes:
    """Cost of a correlation estimated over few days, and of taking it as 0, above the best.

    The mean, and up to the 95 % quantile of drawn estimates.

    Parameters
    ----------
    regret : DataFrame
        As `correlation_regret`, of drawn estimates.

    Examples
    --------
    >>> days = ["20", "200", "none"]
    >>> table = pd.DataFrame({"mean": [4.0, 0.4, 30.0], "upper": [9.0, 0.9, 30.0]}, index=days)
    >>> plot_regret(table).lines[0].get_xdata().tolist()
    [20, 200]
    """
    ax, known = fig.axes_or(ax, 7.0), regret.drop(index="none").astype(float)
    days, colour = known.index.astype(int), fig.colour_of("optimal")
    label = "to the 95 % quantile of drawn estimates"
    ax.fill_between(days, 0.0, known["upper"], color=colour, label=label, **fig.SHADE)
    ax.plot(days, known["mean"], "o-", color=colour, label="mean, estimates drawn", **fig.POINTS)
    style: fig.Style = {"color": WAYS["asset by asset"], "linewidth": 1.3, "label": "taken as 0"}
    ax.axhline(float(regret["mean"]["none"]), **style)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(days, [str(day) for day in days])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_ylim(top=3.0 * ax.get_ylim()[1])  # room for the legend
    label = "days that the correlation is estimated on"
    return fig.finish(ax, label, "cost plus risk above the best (%)", "upper right")

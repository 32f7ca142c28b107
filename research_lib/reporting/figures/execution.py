"""Figures of schedules and of what they cost: one order, and the orders of a portfolio."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from research_lib.checks import ArrayLike, Float
from research_lib.market import Session
from research_lib.reporting.figures import base as fig
from research_lib.reporting.figures.base import Lines, Named, Panel, Style
from research_lib.wording import significant


def _shares(schedule: Any) -> Float:
    """(n,) shares of an array, a `Schedule` or an `Allocation`."""
    return np.asarray(getattr(schedule, "shares", schedule), float)


def _interval_axis(ax: Axes, n: int, ylabel: str) -> Axes:
    """Ticks at whole numbers of n intervals; the legend above."""
    ax.set_xlim(0, n)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig.finish(ax, "interval", ylabel, "above", ncols=4)


def _in_corner(ax: Axes, text: str) -> None:
    ax.text(0.01, 0.97, text, transform=ax.transAxes, va="top", fontsize=8)


def _filled_steps(ax: Axes, high: Float, low: Float, colour: str, label: str) -> None:
    ax.stairs(high, baseline=low, fill=True, color=colour, alpha=0.3, linewidth=0, label=label)


def plot_schedule(shares: ArrayLike, baselines: Named, caps: ArrayLike, ax: Panel = None) -> Axes:
    """The optimal child order of each interval as steps, beside baselines; shaded above the caps.

    Parameters
    ----------
    shares : (n,) shares, Schedule or Allocation
    baselines : mapping of name to (n,) shares or Schedule
    caps : scalar or (n,) shares
        Infinity for none. Written, not drawn, where all are off the scale.

    Examples
    --------
    >>> plot_schedule([1.0, 3.0], {"TWAP": [2.0, 2.0]}, caps=np.inf).get_ylabel()
    'child order (shares)'
    """
    ax, x = fig.axes_or(ax), _shares(shares)
    drawn = {name: _shares(one) for name, one in {**baselines, "optimal": x}.items()}
    top = 1.2 * max(float(part.max()) for part in drawn.values())
    ax.stairs(x, color=fig.colour_of("optimal"), fill=True, alpha=0.25)
    for name, part, colour in fig.coloured(drawn):
        ax.stairs(part, color=colour, linewidth=1.3, label=name, baseline=None)
    limit = np.broadcast_to(np.asarray(caps, float), x.shape)
    if limit.min() < top:
        _filled_steps(ax, np.full(len(x), top), np.minimum(limit, top), fig.MUTED, "above the cap")
    elif np.isfinite(limit.min()):
        _in_corner(ax, f"caps from {limit.min():,.10g} shares, above this scale")
    ax.set_ylim(0.0, top)
    return _interval_axis(ax, len(x), "child order (shares)")


def plot_water_level(
    marginal: ArrayLike, at_zero: ArrayLike, multiplier: float | None, shares: ArrayLike, unit: str,
    ax: Panel = None,
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
    >>> plot_water_level([0.03, 0.03], [0.01, 0.02], 0.03, [10.0, 5.0], "USD/share").get_ylabel()
    'marginal cost (USD/share)'
    """
    ax, traded, first = fig.axes_or(ax), _shares(shares) > 0, np.asarray(at_zero, float)
    last = np.where(traded, np.asarray(marginal, float), first)
    _filled_steps(ax, last, first, fig.colour_of("optimal"), "filled by the order")
    ax.stairs(first, color=fig.OBSERVED, linewidth=0.8, baseline=None, label="first share")
    level = float(last[traded].max() if traded.any() else first.min())
    if multiplier is None:
        _in_corner(ax, "no one level: terms couple the intervals")
    else:
        level, name = max(level, multiplier), "multiplier: the next share"
        ax.axhline(multiplier, color=fig.FITTED, linewidth=1.3, label=name)
    top = 1.1 * max(level, min(float(first.max()), 2.0 * level))  # expensive intervals may be cut
    ax.set_ylim(min(0.0, float(first.min())), top)
    return _interval_axis(ax, len(first), f"marginal cost ({unit})")


def plot_executed(schedules: Named, ax: Panel = None) -> Axes:
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


def plot_order(shares: ArrayLike, baselines: Named, caps: ArrayLike, *level: Any) -> list[Axes]:
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


def plot_holdings(holdings: Named, names: list[str], session: Session, ax: Panel = None) -> Axes:
    """What is left to trade, per cent of each order: a colour an asset, a line style a way.

    Parameters
    ----------
    holdings : mapping of way to (n + 1, m) shares
        The first row is the order, not 0. Below 0 a trade went beyond its order.
    names : list of m str
    session : Session

    Examples
    --------
    >>> held = np.array([[10.0, -4.0], [5.0, -1.0], [0.0, 0.0]])
    >>> ax = plot_holdings({"portfolio": held}, ["A", "B"], Session(2))
    >>> ax.lines[0].get_ydata().tolist()
    [100.0, 50.0, 0.0]
    """
    ax, handles, colours = fig.axes_or(ax), [], fig.asset_colours(len(names))
    for (way, held), style in zip(holdings.items(), cycle(("-", "--", ":", "-.")), strict=False):
        assets = (100.0 * np.asarray(held, float) / np.asarray(held, float)[0]).T
        for left, colour in zip(assets, colours, strict=True):
            ax.plot(left, color=colour, linewidth=1.5, linestyle=style)
        handles += ax.plot([], [], color=fig.OBSERVED, linestyle=style, label=way)
    for name, colour in zip(names, colours, strict=True):
        handles += ax.plot([], [], color=colour, label=name)
    how: Style = {"handles": handles, "ncols": 2, "legend": "best", "zero": True}
    return fig.clock_axis(fig.finish(ax, y="left to trade (% of the order)", **how), session)


def plot_frontiers(
    frontiers: Lines, points: Mapping[str, tuple[float, float]] | None = None,
    equal: Lines | None = None, ax: Panel = None,
) -> Axes:  # fmt: skip
    """Expected cost against its standard deviation, bps: lines of best schedules, and single ones.

    A point on a line of its own name goes without a second mark in the legend.

    Parameters
    ----------
    frontiers : mapping of way to (deviation (k,), cost (k,))
    points : mapping of way to (deviation, cost), optional
    equal : mapping of label to (deviation, cost), optional
        Lines of equal merit, such as equal value at risk; they do not widen the axes.

    Examples
    --------
    >>> plot_frontiers({"portfolio": ([1.0, 3.0], [4.0, 1.0])}).get_ylabel()
    'expected cost (bps)'
    """
    ax = fig.axes_or(ax, 5.4, 4.0)
    for way, line in frontiers.items():
        ax.plot(*line, color=fig.colour_of(way, fig.OBSERVED), linewidth=1.6, label=way)
    for (way, point), marker in zip((points or {}).items(), cycle("os^Dv"), strict=False):
        style: Style = {"color": fig.colour_of(way, fig.OBSERVED), "markersize": 7}
        label = None if way in frontiers else way
        ax.plot(*point, marker, label=label, markeredgecolor="white", zorder=3, **style)
    ax.margins(0.06)
    limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
    for label, line in (equal or {}).items():
        ax.plot(*line, "--", color=fig.MUTED, linewidth=1.0, label=label)
    ax.set(**limits)
    return fig.finish(ax, "standard deviation of the cost (bps)", "expected cost (bps)", "best")


# No part has the colour of a strategy: light to dark for what the order pays, wine for selection.
PART_COLOURS = {
    "spread": "#543005", "walk": "#A6611A", "selection": "#882255", "carried": "#E3D3B0",
    "fees": "#332288",
}  # fmt: skip
# Of own orders: a delay and what was left undone beside what trading cost.
DESK_COLOURS = {
    "delay": "#44AA99", "spread": "#543005", "walk": "#A6611A", "carried": "#E3D3B0",
    "timing": "#BBBBBB", "opportunity": "#88CCEE", "fees": "#332288",
}  # fmt: skip
DIFFERENCE = ["difference_bps", "lower_bps", "upper_bps"]
PORTFOLIO_PARTS = {"spread": "#999999", "impact": "#56B4E9", "price_of_risk": "#F0E442"}


def plot_cost_parts(
    table: pd.DataFrame, ax: Panel = None, *, parts: Mapping[str, str] = PART_COLOURS,
    total: str = "total",
) -> Axes:  # fmt: skip
    """What each strategy costs, its parts stacked, the cheapest on top; a dot is the total.

    Parts below 0, such as a selection that pays, stand left of 0.

    Parameters
    ----------
    table : DataFrame
        Index strategy; columns spread_bps, walk_bps, selection_bps, carried_bps, fees_bps and
        total_bps, as `evaluation.compare`.
    parts : mapping of part to colour
    total : str
        The sum's name, for other parts.

    Examples
    --------
    >>> parts = {f"{name}_bps": 1.0 for name in PART_COLOURS} | {"total_bps": 5.0}
    >>> ax = plot_cost_parts(pd.DataFrame(parts, index=["TWAP"]))
    >>> ax.get_yticklabels()[0].get_text()
    'TWAP'
    """
    ax, rows = fig.axes_or(ax), table.sort_values(f"{total}_bps", ascending=False)
    at, low, high = np.arange(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for part, colour in parts.items():
        values = rows[f"{part}_bps"].fillna(0.0).to_numpy(float)
        if np.any(values):
            style: Style = {"color": colour, "label": part.replace("_", " ")}
            left = np.where(values > 0, high, low)
            ax.barh(at, values, left=left, height=0.6, linewidth=0, **style)
            low, high = low + np.minimum(values, 0.0), high + np.maximum(values, 0.0)
    sums = rows[f"{total}_bps"].to_numpy(float)
    ax.plot(sums, at, "o", color=fig.OBSERVED, markersize=4, label=total.replace("_", " "))
    for row, value in zip(at, sums, strict=True):
        fig.note(ax, significant(value), (max(value, high[row]), row), (6, 0))
    fig.name_rows(ax, rows.index)
    ax.margins(x=0.2)
    return fig.finish(ax, "expected cost (bps of the arrival mid)", legend="above", ncols=6)


def plot_calibration(deciles: pd.DataFrame, ax: Panel = None) -> Axes:
    """Costs by deciles of their forecast with 95 % intervals; the line is where both agree.

    Parameters
    ----------
    deciles : DataFrame
        forecast_bps, cost_bps, lower_bps, upper_bps, of `evaluation.calibration`.

    Examples
    --------
    >>> row = {"forecast_bps": [1.0], "cost_bps": [2.0], "lower_bps": [1.0], "upper_bps": [3.0]}
    >>> plot_calibration(pd.DataFrame(row)).get_xlabel()
    'forecast (bps)'
    """
    ax, table = fig.axes_or(ax, 6.5), deciles[["cost_bps", "lower_bps", "upper_bps"]].T
    ends = np.abs(table.to_numpy()[1:] - table.to_numpy()[:1])
    forecast, line = deciles["forecast_bps"], [0.0, deciles["forecast_bps"].max()]
    known = ends if np.isfinite(ends).all() else None
    style: Style = {"fmt": "o", "color": fig.OBSERVED, "capsize": 3, "markersize": 5}
    ax.errorbar(forecast, deciles["cost_bps"], yerr=known, label="orders of a decile", **style)
    ax.plot(line, line, color=fig.FITTED, linewidth=1.2, label="forecast is right")
    return fig.finish(ax, "forecast (bps)", "cost (bps)", "best", zero=True)


def plot_costs(table: pd.DataFrame, benchmark: str) -> list[Axes]:
    """Parts of each strategy's cost, and beside them its difference to the benchmark.

    Parameters
    ----------
    table : DataFrame
        As for `plot_cost_parts`, with difference_bps, lower_bps and upper_bps.
    benchmark : str
        Its row has no difference.

    Examples
    --------
    >>> parts = {f"{name}_bps": [1.0, 1.0] for name in PART_COLOURS}
    >>> ends = {f"{name}_bps": [0.0, 0.0] for name in ("total", "difference", "lower", "upper")}
    >>> axes = plot_costs(pd.DataFrame(parts | ends, index=["TWAP", "adaptive"]), "TWAP")
    >>> axes[1].get_xlabel()
    'difference to TWAP (bps), 95 % interval'
    """
    _, (left, right) = fig.new_figure(2, width=11.0, height=0.34 * len(table) + 1.4)
    plot_cost_parts(table, left)
    # Sorted as the other panel, so that strategies of one cost stand in one order.
    ends = table.sort_values("total_bps", ascending=False)[DIFFERENCE][::-1]
    known = ", 95 % interval" if ends["lower_bps"].notna().any() else ""
    fig.plot_intervals(ends, f"difference to {benchmark} (bps){known}", right)
    right.tick_params(labelleft=False)
    return [left, right]


def plot_changes(changes: pd.DataFrame, headline: pd.Series, xlabel: str) -> Axes:
    """A difference as reported, on top, and when one choice is changed at a time.

    Parameters
    ----------
    changes : DataFrame
        Index (changed, to); difference_bps, lower_bps, upper_bps.
    headline : Series
        The same of the difference as reported; its interval, where it has one, is shaded.

    Examples
    --------
    >>> ends = {"difference_bps": -2.0, "lower_bps": -3.0, "upper_bps": -1.0}
    >>> ax = plot_changes(pd.DataFrame({("cap", "2 times"): ends}).T, pd.Series(ends), "bps")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['cap: 2 times', 'as reported']
    """
    first = headline[DIFFERENCE].astype(float).to_frame("as reported").T
    others = changes[DIFFERENCE].set_axis([": ".join(key) for key in changes.index])
    shown, colour = pd.concat([first, others]), fig.colour_of("adaptive")
    ax = fig.axes_or(None, 9.0, 0.28 * len(shown) + 0.9)
    if np.isfinite(headline["lower_bps"]):
        ax.axvspan(headline["lower_bps"], headline["upper_bps"], color=fig.MUTED, **fig.SHADE)
    return fig.plot_intervals(shown, xlabel, ax, colour)


def plot_urgencies(frontier: pd.DataFrame) -> Axes:
    """Expected cost against timing risk of the adaptive strategy, a mark an urgency.

    Parameters
    ----------
    frontier : DataFrame
        Index urgency; total_bps and timing_risk_bps.

    Examples
    --------
    >>> points = {"total_bps": [5.0, 8.0], "timing_risk_bps": [90.0, 60.0]}
    >>> [line.get_label() for line in plot_urgencies(pd.DataFrame(points, [1.0, 10.0])).lines]
    ['adaptive', 'urgency 1', 'urgency 10']
    """
    risk, cost = frontier["timing_risk_bps"].to_numpy(), frontier["total_bps"].to_numpy()
    named = zip(frontier.index, risk, cost, strict=True)
    points = {f"urgency {value:g}": (x, y) for value, x, y in named}
    return plot_frontiers({"adaptive": (risk, cost)}, points)

"""Figures of what strategies cost and saved, and of runs side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from research_lib.reporting.figures import base as fig

MAX_NAMED = 60  # runs that have room for their names
MEASURES = {
    "saving": "saving against TWAP (%)",
    "attainable": "share of the perfect-foresight saving (%)",
}
Comparisons = Mapping[float, pd.DataFrame]
Ends = tuple[float, float | None, float | None]


def _columns(of: str) -> list[str]:
    """Columns of `compare`: the lower end, the measure itself, the upper end."""
    return [f"{of}_lower_%", f"{of}_%", f"{of}_upper_%"]


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


def plot_savings(comparison: pd.DataFrame, of: str = "saving", ax: fig.Panel = None) -> Axes:
    """Saving against the benchmark, or share of the perfect-foresight saving, 95 % intervals.

    Parameters
    ----------
    comparison : DataFrame
        As `compare`: index strategy; <of>_%, <of>_lower_%, <of>_upper_%.
    of : "saving" or "attainable"

    Examples
    --------
    >>> row = {"saving_lower_%": 30.0, "saving_%": 40.0, "saving_upper_%": 45.0}
    >>> plot_savings(pd.DataFrame(row, index=["adaptive"])).get_xlabel()
    'saving against TWAP (%), 95 % interval'
    """
    ax, shown = fig.axes_or(ax), comparison.sort_values(f"{of}_%")[_columns(of)]
    for row, (name, values) in enumerate(shown.iterrows()):
        fig.interval(ax, row, values, fig.colour_of(name))
        centre = float(values.iloc[1])
        fig.note(ax, f"{centre:.3g}", (centre, row), (0, 7), ha="center", va="bottom")
    fig.name_rows(ax, shown.index)
    return fig.finish(ax, f"{MEASURES[of]}, 95 % interval")


def plot_saving_against(
    comparisons: Comparisons, xlabel: str, *, log: bool = False, ax: fig.Panel = None
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
    for name in dict.fromkeys(name for table in comparisons.values() for name in table.index):
        band = [comparisons[at].reindex([name])[_columns("saving")].to_numpy(float)[0] for at in x]
        fig.band(ax, x, np.transpose(band), fig.colour_of(name), str(name), "o-")
    if log:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{at:,g}" for at in x])
        ax.minorticks_off()
    return fig.finish(ax, xlabel, MEASURES["saving"], "right", zero=True)


def plot_cost_calibration(costs: fig.Lines, ax: fig.Panel = None) -> Axes:
    """Realised against predicted cost, a point an order, with the line on which they agree.

    Parameters
    ----------
    costs : mapping of strategy to (predicted (m,), realised (m,))
        In `unit`.

    Examples
    --------
    >>> plot_cost_calibration({"TWAP": ([1.0, 2.0], [1.5, 1.0])}).get_xlabel()
    'predicted cost (bps)'
    """
    ax = fig.axes_or(ax, 4.6, 4.2)
    both = np.concatenate([np.ravel(part) for pair in costs.values() for part in pair])
    ends = np.array([min(0.0, 1.1 * both.min()), 1.1 * both.max()])
    for name, (predicted, realised) in costs.items():
        style: fig.Style = {"color": fig.colour_of(name), "markersize": 3.5, "alpha": 0.7}
        ax.plot(predicted, realised, "o", label=name, **style)
    ax.plot(ends, ends, "--", color=fig.MUTED, linewidth=1.0, label="as predicted")
    ax.set(xlim=ends, ylim=ends)
    return fig.finish(ax, "predicted cost (bps)", "realised cost (bps)", "best")


def plot_runs(savings: Mapping[str, Ends], ax: fig.Panel = None) -> Axes:
    """Saving of each run with its interval, per cent, the largest on top.

    A run without an interval is hollow. More than 60 runs stand closer and without their names.

    Parameters
    ----------
    savings : mapping of run to (saving, lower end, upper end)

    Examples
    --------
    >>> ax = plot_runs({"default": (5.0, 3.0, 7.0), "frog": (9.0, None, None)})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['default', 'frog']
    """
    ax, names = fig.axes_or(ax), sorted(savings, key=lambda name: savings[name][0])
    centre, low, high = np.array([savings[name] for name in names], float).T  # None becomes NaN
    place, known = np.arange(len(names)), np.isfinite(low) & np.isfinite(high)
    colour, many = fig.colour_of("static optimal"), len(names) > MAX_NAMED
    ax.hlines(place[known], low[known], high[known], color=colour, linewidth=0.5 if many else 1.5)
    style: fig.Style = {"color": colour, "markersize": 2 if many else 5}
    ax.plot(centre[known], place[known], "o", **style)
    ax.plot(centre[~known], place[~known], "o", markerfacecolor="white", **style)
    fig.name_rows(ax, [] if many else names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    label = "saving against TWAP (%), with 95 % interval; hollow: no interval"
    return fig.finish(ax, label, f"{len(names):,} runs, by their saving" if many else "")

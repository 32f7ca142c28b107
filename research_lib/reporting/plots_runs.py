"""The figure that sets runs side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from research_lib.reporting.plots import STRATEGY_COLOURS, new_figure


def plot_runs(savings: Mapping[str, tuple[float, float | None, float | None]], ax: Axes | None = None) -> Axes:
    """Saving of each run with its interval, per cent, the largest on top; a run without an interval is hollow."""
    if ax is None:
        _, (ax,) = new_figure()
    names = sorted(savings, key=lambda name: savings[name][0])
    colour = STRATEGY_COLOURS["static optimal"]
    for place, name in enumerate(names):
        value, low, high = savings[name]
        fill = "white"
        if low is not None and high is not None:
            ax.plot([low, high], [place, place], color=colour, linewidth=1.5)
            fill = colour
        ax.plot(value, place, "o", color=colour, markersize=5, markerfacecolor=fill)
    ax.axvline(0, color="#000000", linewidth=0.8)
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlabel("saving against TWAP (%), with 95 % interval; hollow: no interval")
    return ax

"""The figure that sets runs side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from research_lib.reporting.figures.base import STRATEGY_COLOURS, new_figure

MOST_NAMED = 60


def plot_runs(
    savings: Mapping[str, tuple[float, float | None, float | None]], ax: Axes | None = None
) -> Axes:
    """Saving of each run with its interval, per cent, the largest on top; a run without an interval is hollow.

    More than 60 runs stand closer and without their names.
    """
    if ax is None:
        _, (ax,) = new_figure()
    names = sorted(savings, key=lambda name: savings[name][0])
    value, low, high = np.array(
        [savings[name] for name in names], dtype=float
    ).T  # None becomes NaN
    place, known = np.arange(len(names)), np.isfinite(low) & np.isfinite(high)
    colour, many = STRATEGY_COLOURS["static optimal"], len(names) > MOST_NAMED
    ax.hlines(place[known], low[known], high[known], color=colour, linewidth=0.5 if many else 1.5)
    for these, fill in ((known, colour), (~known, "white")):
        ax.plot(
            value[these],
            place[these],
            "o",
            color=colour,
            markersize=2 if many else 5,
            markerfacecolor=fill,
        )
    ax.axvline(0, color="#000000", linewidth=0.8)
    ax.set_yticks([] if many else place, [] if many else names)
    ax.set_ylabel(f"{len(names):,} runs, by their saving" if many else "")
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlabel("saving against TWAP (%), with 95 % interval; hollow: no interval")
    return ax

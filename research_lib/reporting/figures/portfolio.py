"""Figures of portfolio schedules: each takes `ax=None`, draws, labels with units and returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from research_lib.market import Session
from research_lib.reporting.figures.base import (
    MUTED,
    OBSERVED,
    SERIES,
    STRATEGY_COLOURS,
    clock_axis,
    new_figure,
)

LINES = ("-", "--", ":")
WAYS = {
    "portfolio": STRATEGY_COLOURS["optimal"],
    "asset by asset": STRATEGY_COLOURS["risk-averse adaptive"],
    "TWAP": STRATEGY_COLOURS["TWAP"],
    "cash-neutral": STRATEGY_COLOURS["adaptive"],
    "L-VaR": OBSERVED,
}


def plot_child_costs(
    multiples: ArrayLike,
    costs: Mapping[str, ArrayLike],
    unit: str = "mean child",
    ax: Axes | None = None,
) -> Axes:
    """Average cost of a child beyond the mid, bps, against its size: one line an asset, (k,) each."""
    ax = ax or new_figure()[1][0]
    for (name, cost), colour in zip(costs.items(), SERIES, strict=False):
        ax.plot(
            np.asarray(multiples, float),
            np.asarray(cost, float),
            color=colour,
            linewidth=1.5,
            label=name,
        )
    ax.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=":")
    ax.set_xlim(left=0.0)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(f"size of a child (times the {unit})")
    ax.set_ylabel("average cost over the mid (bps)")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_correlation(names: Sequence[str], correlation: ArrayLike, ax: Axes | None = None) -> Axes:
    """A correlation matrix, (m, m), its numbers in the cells."""
    ax = ax or new_figure(width=4.5)[1][0]
    matrix = np.asarray(correlation, float)
    ax.imshow(matrix, cmap="RdBu_r", vmin=-1.0, vmax=1.0)
    for row, column in np.ndindex(*matrix.shape):
        value = matrix[row, column]
        ax.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="white" if abs(value) > 0.6 else OBSERVED,
        )
    ax.set_xticks(range(len(names)), names, rotation=20, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_title("correlation of returns", fontsize=10)
    return ax


def plot_holdings(
    holdings: Mapping[str, ArrayLike],
    names: Sequence[str],
    session: Session,
    ax: Axes | None = None,
) -> Axes:
    """What is left to trade, per cent of each order: a colour an asset, a line style a way of trading.

    A way in which all assets go alike, such as equal children, is one line in its own colour.

    Parameters
    ----------
    holdings : mapping of way to (n + 1, m) shares
        The first row is the order, not 0. Below 0 a trade went beyond its order.
    """
    ax = ax or new_figure()[1][0]
    handles = []
    for (way, held), style in zip(holdings.items(), LINES, strict=False):
        left = np.asarray(held, float)
        percent_left = (100.0 * left / left[0]).T
        if len(percent_left) > 1 and np.allclose(percent_left, percent_left[0], atol=1e-6):
            handles += ax.plot(
                percent_left[0],
                color=WAYS.get(way, OBSERVED),
                linewidth=1.5,
                linestyle=style,
                label=way,
            )
            continue
        for column, colour in zip(percent_left, SERIES, strict=False):
            ax.plot(column, color=colour, linewidth=1.5, linestyle=style)
        handles += ax.plot([], [], color=OBSERVED, linestyle=style, label=way)
    handles += [
        Line2D([], [], color=colour, label=name)
        for name, colour in zip(names, SERIES, strict=False)
    ]
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_ylabel("left to trade (% of the order)")
    ax.legend(handles=handles, frameon=False, fontsize=8, ncols=2)
    return clock_axis(ax, session)


def plot_frontiers(
    frontiers: Mapping[str, tuple[ArrayLike, ArrayLike]],
    points: Mapping[str, tuple[float, float]] | None = None,
    tangent: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Expected cost against its standard deviation, bps: lines of best schedules, and single ones.

    Parameters
    ----------
    frontiers : mapping of way to (deviation (k,), cost (k,))
    points : mapping of way to (deviation, cost), optional
    tangent : (slope, value at deviation 0), optional
        The line of equal value at risk that touches a frontier.
    """
    ax = ax or new_figure(width=5.4, height=4.0)[1][0]
    for way, (deviation, cost) in frontiers.items():
        ax.plot(
            np.asarray(deviation),
            np.asarray(cost),
            color=WAYS.get(way, OBSERVED),
            linewidth=1.6,
            label=way,
        )
    limits = ax.get_xlim(), ax.get_ylim()
    if tangent is not None:
        x = np.array(limits[0])
        ax.plot(
            x,
            tangent[1] - tangent[0] * x,
            color=MUTED,
            linestyle="--",
            linewidth=1.0,
            label="equal value at risk",
        )
        ax.set_xlim(*limits[0])
        ax.set_ylim(*limits[1])
    for (way, (deviation, cost)), marker in zip((points or {}).items(), "os^Dv", strict=False):
        ax.plot(
            deviation,
            cost,
            marker,
            color=WAYS.get(way, OBSERVED),
            markersize=6,
            markeredgecolor="white",
            label=way,
        )
    ax.margins(0.06)
    ax.set_xlabel("standard deviation of the cost (bps)")
    ax.set_ylabel("expected cost (bps)")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_net_value(
    values: Mapping[str, ArrayLike], session: Session, ax: Axes | None = None
) -> Axes:
    """Value left to sell less value left to buy, a line a way of trading, (n + 1,) currency each."""
    ax = ax or new_figure()[1][0]
    for way, value in values.items():
        neutral = way == "cash-neutral"  # equal children may be neutral as well: both are seen
        (line,) = ax.plot(
            np.asarray(value, float) / 1e6,
            color=WAYS.get(way, OBSERVED),
            label=way,
            zorder=2 + neutral,
        )
        line.set(linestyle=(0, (4, 4)) if neutral else "-", linewidth=1.5 if neutral else 2.2)
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_ylabel("net value left to trade (million)")
    ax.legend(frameon=False, fontsize=8)
    return clock_axis(ax, session)


def plot_attribution(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each asset adds to, or would be of, the portfolio's cost and variance, per cent: a group an asset.

    Parameters
    ----------
    shares : DataFrame (m, k)
        Index the assets, a column a measure. What assets would bear alone need not sum to 100.
    """
    ax = ax or new_figure(width=6.4)[1][0]
    rows, height = np.arange(len(shares)), 0.8 / shares.shape[1]
    for step, (name, colour) in enumerate(zip(shares.columns, SERIES, strict=False)):
        at = rows + 0.4 - height * (step + 0.5)
        ax.barh(at, shares[name], 0.9 * height, color=colour, label=name)
        for row, value in zip(at, shares[name], strict=True):
            right = value >= 0
            ax.annotate(
                f"{value:.0f}", (value, row), (3 if right else -3, 0), textcoords="offset points", va="center",
                ha="left" if right else "right", fontsize=8,
            )  # fmt: skip
    ax.axvline(0.0, color=MUTED, linewidth=0.8)
    ax.set_yticks(rows, [str(name) for name in shares.index])
    ax.set_ylim(-0.6, len(shares) - 0.4)
    ax.margins(x=0.12)
    ax.set_xlabel("per cent of the portfolio's cost or variance")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_regret(
    regret: pd.DataFrame, realised: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """What a correlation estimated over few days costs, and taking it as 0: mean, and up to the 95 % quantile.

    Parameters
    ----------
    regret : DataFrame
        As `correlation_regret`, of drawn estimates.
    realised : DataFrame, optional
        As `realised_regret`, in the market itself; broken lines.
    """
    ax = ax or new_figure(width=5.4)[1][0]
    known = realised is not None and len(realised) > 0
    drawn = {"estimates drawn": (regret, "-")} | (
        {"the market's next days": (realised, "--")} if known else {}
    )
    for told, (table, line) in drawn.items():
        estimated = table.drop(index="none").astype(float)
        days, colour = estimated.index.astype(int), STRATEGY_COLOURS["optimal"]
        if line == "-":
            band = "to the 95 % quantile of drawn estimates"
            ax.fill_between(
                days, 0.0, estimated["upper"], color=colour, alpha=0.15, linewidth=0, label=band
            )
        ax.plot(
            days,
            estimated["mean"],
            "o" + line,
            color=colour,
            markersize=4,
            linewidth=1.3,
            label=f"mean, {told}",
        )
        zero = float(table["mean"]["none"])
        ax.axhline(
            zero,
            color=WAYS["asset by asset"],
            linestyle=line,
            linewidth=1.3,
            label=f"taken as 0, {told}",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(days, [str(day) for day in days])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_xlabel("days that the correlation is estimated on")
    ax.set_ylabel("cost plus risk above the best (%)")
    ax.set_ylim(top=3.0 * ax.get_ylim()[1])  # room for the legend
    ax.legend(frameon=False, fontsize=7.5, loc="upper right", ncols=2 if known else 1)
    return ax

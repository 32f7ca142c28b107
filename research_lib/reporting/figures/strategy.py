"""Figures of what strategies cost and saved: each takes `ax=None`, draws, labels with units and returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike

from research_lib.market import Session
from research_lib.reporting.figures.base import (
    MUTED,
    OBSERVED,
    STRATEGY_COLOURS,
    clock_axis,
    new_figure,
)


def plot_cost_distribution(
    costs: pd.DataFrame, unit: str = "bps of the arrival price", ax: Axes | None = None
) -> Axes:
    """Cost over the mid of every order: all points, quartile bar and mean, a row a strategy, the cheapest on top.

    Parameters
    ----------
    costs : DataFrame
        Columns strategy and cost_bps, as `tca_table`.
    """
    ax = ax or new_figure()[1][0]
    groups = costs.groupby("strategy")["cost_bps"]
    for row, name in enumerate(groups.mean().sort_values(ascending=False).index):
        values = np.sort(groups.get_group(name).to_numpy())
        lower, upper = np.quantile(values, [0.25, 0.75])
        colour = STRATEGY_COLOURS.get(str(name), MUTED)
        ax.barh(row, upper - lower, left=lower, height=0.5, color=colour, alpha=0.25, linewidth=0)
        spread = row + 0.3 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
        ax.plot(values, spread, ".", color=colour, markersize=3, alpha=0.6)
        ax.plot(values.mean(), row, "D", color=colour, markersize=6, markeredgecolor="white")
    ax.set_yticks(
        range(len(groups)), [str(name) for name in groups.mean().sort_values(ascending=False).index]
    )
    ax.axvline(0.0, color=MUTED, linewidth=0.8)
    ax.set_xlabel(f"cost over the mid ({unit}); bar: quartiles, diamond: mean")
    return ax


def plot_savings(comparison: pd.DataFrame, of: str = "saving", ax: Axes | None = None) -> Axes:
    """Saving against the ruler, or share of the attainable saving, with 95 % intervals, per cent.

    Parameters
    ----------
    comparison : DataFrame
        As `compare`: index strategy; <of>_%, <of>_lower_%, <of>_upper_%.
    of : "saving" or "attainable"
    """
    ax = ax or new_figure()[1][0]
    shown = comparison.sort_values(f"{of}_%")
    for row, (name, values) in enumerate(shown.iterrows()):
        centre = float(values[f"{of}_%"])
        reach = [
            [max(centre - values[f"{of}_lower_%"], 0.0)],
            [max(values[f"{of}_upper_%"] - centre, 0.0)],
        ]
        ax.errorbar(
            centre,
            row,
            xerr=reach,
            fmt="o",
            color=STRATEGY_COLOURS.get(str(name), MUTED),
            capsize=3,
            markersize=5,
        )
        ax.annotate(
            f"{centre:.3g}",
            (centre, row),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.set_yticks(range(len(shown)), [str(name) for name in shown.index])
    ax.set_ylim(-0.6, len(shown) - 0.3)
    ax.axvline(0.0, color=MUTED, linewidth=0.8)
    label = "saving against TWAP (%)" if of == "saving" else "share of the attainable saving (%)"
    ax.set_xlabel(f"{label}, 95 % interval")
    return ax


def plot_saving_against(
    comparisons: Mapping[float, pd.DataFrame],
    xlabel: str,
    *,
    of: str = "saving",
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Saving with its 95 % band against order size, refill rate or anything else, a line a strategy.

    Parameters
    ----------
    comparisons : mapping of x to DataFrame
        As `compare`, one a value of x.
    xlabel : str
        With its unit.
    of : "saving" or "attainable"
    log : bool
        A logarithmic x axis.
    """
    ax = ax or new_figure()[1][0]
    x = np.array(sorted(comparisons))
    for name in dict.fromkeys(name for table in comparisons.values() for name in table.index):
        columns = [f"{of}_%", f"{of}_lower_%", f"{of}_upper_%"]
        rows = [comparisons[at].reindex([name])[columns].to_numpy(float)[0] for at in x]
        centre, lower, upper = np.array(rows).T
        colour = STRATEGY_COLOURS.get(str(name), MUTED)
        ax.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
        ax.plot(x, centre, "o-", color=colour, markersize=4, linewidth=1.3, label=str(name))
    if log:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{at:,g}" for at in x])
        ax.minorticks_off()
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(
        "saving against TWAP (%)" if of == "saving" else "share of the attainable saving (%)"
    )
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_liquidity_map(
    shares: ArrayLike,
    edges_bps: ArrayLike,
    fills: Mapping[str, tuple[ArrayLike, ArrayLike]],
    session: Session,
    ax: Axes | None = None,
) -> Axes:
    """What the books offered, and where the strategies took it.

    Parameters
    ----------
    shares : (n, K)
        On display in each interval between premiums, as `Ladder.within`.
    edges_bps : (K + 1,)
        Premiums over the mid, bps, the first one above 0.
    fills : mapping of strategy to (filled (n,) shares, average premium (n,) bps)
        Drawn as circles, their area in proportion to the shares.
    session : Session
    """
    ax = ax or new_figure()[1][0]
    offered, edges = np.asarray(shares, float), np.asarray(edges_bps, float)
    known = np.ma.masked_less_equal(offered.T, 0.0)
    mesh = ax.pcolormesh(
        np.arange(len(offered) + 1), edges, known, norm=LogNorm(), cmap="Greys", rasterized=True
    )
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(mesh, ax=ax, label="shares on display", pad=0.01)
    largest = max((float(np.max(filled)) for filled, _ in fills.values()), default=1.0)
    for name, (filled, premium) in fills.items():
        taken = np.asarray(filled, float)
        done = taken > 0
        ax.scatter(
            np.flatnonzero(done) + 0.5,
            np.clip(np.asarray(premium, float)[done], edges[0], edges[-1]),
            s=4 + 60 * taken[done] / largest,
            facecolors="none",
            edgecolors=STRATEGY_COLOURS.get(name, MUTED),
            linewidths=0.9,
            label=name,
        )
    ax.set_yscale("log")
    ax.set_ylim(edges[0], edges[-1])
    ax.set_ylabel("premium over the mid (bps)")
    ax.legend(frameon=True, fontsize=8, loc="upper right")
    return clock_axis(ax, session)


def plot_cost_calibration(
    costs: Mapping[str, tuple[ArrayLike, ArrayLike]], unit: str = "bps", ax: Axes | None = None
) -> Axes:
    """Realised against predicted cost, a point an order, with the line on which they agree.

    Parameters
    ----------
    costs : mapping of strategy to (predicted (m,), realised (m,))
        In `unit`.
    """
    ax = ax or new_figure(width=4.6, height=4.2)[1][0]
    both = np.concatenate([np.ravel(part) for pair in costs.values() for part in pair])
    ends = np.array([min(0.0, 1.1 * both.min()), 1.1 * both.max()])
    for name, (predicted, realised) in costs.items():
        ax.plot(
            predicted,
            realised,
            "o",
            color=STRATEGY_COLOURS.get(name, MUTED),
            markersize=3.5,
            alpha=0.7,
            label=name,
        )
    ax.plot(ends, ends, "--", color=MUTED, linewidth=1.0, label="as predicted")
    ax.set(xlim=ends, ylim=ends)
    ax.set_xlabel(f"predicted cost ({unit})")
    ax.set_ylabel(f"realised cost ({unit})")
    ax.legend(frameon=False, fontsize=8)
    return ax


def plot_null(savings: pd.DataFrame, observed: pd.Series, ax: Axes | None = None) -> Axes:
    """Savings under permuted labels, quartiles and the middle 95 %, beside the observed one, a row a strategy.

    Parameters
    ----------
    savings : DataFrame (n_draws, strategies), per cent
    observed : Series, index strategy, per cent
    """
    ax = ax or new_figure()[1][0]
    for row, name in enumerate(savings.columns):
        low, lower, upper, high = np.quantile(savings[name], [0.025, 0.25, 0.75, 0.975])
        ax.plot(
            [low, high],
            [row, row],
            color=MUTED,
            linewidth=1.2,
            label="permuted, middle 95 %" if row == 0 else None,
        )
        ax.barh(row, upper - lower, left=lower, height=0.4, color=MUTED, alpha=0.5, linewidth=0)
        ax.plot(
            observed[name],
            row,
            "D",
            color=STRATEGY_COLOURS.get(str(name), MUTED),
            markersize=7,
            markeredgecolor="white",
        )
    ax.set_yticks(range(savings.shape[1]), [str(name) for name in savings.columns])
    ax.axvline(0.0, color=OBSERVED, linewidth=0.8)
    ax.set_xlabel("saving against TWAP (%); diamond: observed, grey: interval labels permuted")
    return ax

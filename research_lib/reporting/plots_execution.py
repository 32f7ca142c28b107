"""Figures of one order's schedule: each takes `ax=None`, draws, labels with units and returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from research_lib.reporting.plots import MUTED, OBSERVED, STRATEGY_COLOURS, new_figure

Float = NDArray[np.float64]
OFF_SCALE = 1.5


def plot_schedule(
    shares: ArrayLike,
    baselines: Mapping[str, ArrayLike] | None = None,
    caps: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The optimal child of every interval as steps, beside baselines; what the caps forbid is shaded.

    Parameters
    ----------
    shares : (n,) shares
    baselines : mapping of name to (n,) shares, optional
    caps : (n,) shares, optional
        Named, not drawn, where all are far above the children.
    """
    ax = ax or new_figure()[1][0]
    x, others = np.asarray(shares, float), {k: np.asarray(v, float) for k, v in (baselines or {}).items()}
    edges, top = np.arange(len(x) + 1), max(float(part.max()) for part in (x, *others.values()))
    ax.stairs(x, edges, color=STRATEGY_COLOURS["optimal"], fill=True, alpha=0.25)
    for name, children in {**others, "optimal": x}.items():
        ax.stairs(children, edges, color=STRATEGY_COLOURS.get(name, MUTED), linewidth=1.3, label=name, baseline=None)
    if caps is not None:
        limit = np.asarray(caps, float)
        if limit.min() <= OFF_SCALE * top:
            ax.set_ylim(0.0, 1.2 * top)
            ax.stairs(
                np.full(len(x), 1.2 * top), edges, baseline=np.minimum(limit, 1.2 * top), fill=True,
                color=MUTED, alpha=0.3, linewidth=0, label="above the cap",
            )  # fmt: skip
        else:
            ax.plot([], [], " ", label=f"caps from {limit.min():,.0f}, off the scale")
    ax.set_xlim(0, len(x))
    ax.set_ylim(0.0, 1.2 * top)
    ax.set_xlabel("interval")
    ax.set_ylabel("child order (shares)")
    ax.legend(frameon=False, ncols=4, loc="upper center", fontsize=8)
    return ax


def plot_water_level(
    marginal: ArrayLike, at_zero: ArrayLike, multiplier: float, shares: ArrayLike, ax: Axes | None = None
) -> Axes:
    """What the last share costs in each interval against the multiplier: the order fills each up to one level.

    Parameters
    ----------
    marginal, at_zero : (n,) currency per share
        Marginal cost at the schedule, and of the first share.
    multiplier : currency per share
    shares : (n,) shares
        Intervals without any are drawn from their first share's price alone.
    """
    ax = ax or new_figure()[1][0]
    slope, first, traded = np.asarray(marginal, float), np.asarray(at_zero, float), np.asarray(shares, float) > 0
    edges = np.arange(len(slope) + 1)
    ax.stairs(
        np.where(traded, slope, first), edges, baseline=first, fill=True, color=STRATEGY_COLOURS["optimal"], alpha=0.35,
        linewidth=0, label="filled by the order",
    )  # fmt: skip
    ax.stairs(first, edges, color=OBSERVED, linewidth=0.8, baseline=None, label="first share")
    ax.axhline(
        multiplier, color=STRATEGY_COLOURS["risk-averse adaptive"], linewidth=1.3, label="multiplier: the next share"
    )
    ax.set_xlim(0, len(slope))
    ax.set_ylim(min(0.0, float(first.min())), 1.25 * max(multiplier, min(float(first.max()), 2.0 * multiplier)))
    ax.set_xlabel("interval")
    ax.set_ylabel("marginal cost (currency/share)")
    ax.legend(frameon=False, ncols=3, loc="upper center", fontsize=8)
    return ax


def plot_executed(schedules: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Part of the order done by the end of each interval, per cent, a line a schedule of (n,) shares."""
    ax = ax or new_figure()[1][0]
    for name, shares in schedules.items():
        done = np.append(0.0, np.cumsum(np.asarray(shares, float)))
        ax.plot(100.0 * done / done[-1], color=STRATEGY_COLOURS.get(name, MUTED), linewidth=1.5, label=name)
        ax.set_xlim(0, len(done) - 1)
    ax.set_ylim(0, 102)
    ax.set_xlabel("interval")
    ax.set_ylabel("executed (%)")
    ax.legend(frameon=False, loc="lower right", fontsize=8)
    return ax


def plot_frontier(
    deviation: ArrayLike, cost: ArrayLike, risk_aversion: ArrayLike, unit: str = "currency", ax: Axes | None = None
) -> Axes:
    """Expected cost against its standard deviation, a point a risk aversion, (k,) each.

    Every fourth point is named by its risk aversion; a schedule above the line is dominated.
    """
    ax = ax or new_figure(width=5.4, height=4.0)[1][0]
    x, y, weights = (np.asarray(part, float) for part in (deviation, cost, risk_aversion))
    ax.plot(x, y, "o-", color=STRATEGY_COLOURS["optimal"], markersize=4, linewidth=1.3)
    for k in range(0, len(x), max(len(x) // 4, 1)):
        place = (5, 5) if k % 2 else (-5, -11)
        ax.annotate(
            f"{weights[k]:.0e}",
            (x[k], y[k]),
            place,
            textcoords="offset points",
            ha="left" if k % 2 else "right",
            fontsize=8,
        )
    ax.margins(x=0.12, y=0.1)
    ax.set_xlabel(f"standard deviation of the cost ({unit})")
    ax.set_ylabel(f"expected cost ({unit})")
    ax.set_title("labels: risk aversion (per currency)", fontsize=9)
    return ax


def plot_sensitivity(coefficients: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What an error in each coefficient does to the cost, per cent: if it is true, and if it is misjudged.

    Parameters
    ----------
    coefficients : DataFrame
        As `Sensitivity.coefficients`.
    """
    ax = ax or new_figure(width=6.4, height=3.2)[1][0]
    shown = coefficients.iloc[::-1]
    rows = np.arange(len(shown))
    error = float(shown["error_%"].iloc[0])
    for column, shift, colour, label in (
        ("cost_%", 0.2, MUTED, f"it is {error:g} % larger everywhere (optimum follows)"),
        ("misjudged_%", -0.2, STRATEGY_COLOURS["optimal"], f"independent errors of {error:g} % (schedule misled)"),
    ):
        ax.barh(rows + shift, shown[column], 0.36, color=colour, label=label)
        for row, value in zip(rows, shown[column], strict=True):
            ax.annotate(
                f"{value:.2g}", (max(value, 0.0), row + shift), (3, 0), textcoords="offset points", va="center",
                fontsize=8,
            )  # fmt: skip
    ax.set_yticks(rows, [str(name).replace("_", " ") for name in shown.index])
    ax.margins(x=0.15)
    ax.set_ylim(-0.6, len(shown) + 0.2)
    ax.axvline(0.0, color=MUTED, linewidth=0.8)
    ax.set_xlabel("rise of the cost (%)")
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


def plot_order(
    shares: Float, baselines: Mapping[str, Float], caps: Float, marginal: Float, at_zero: Float, multiplier: float
) -> list[Axes]:
    """The one picture of an order: schedule, water level, cumulative execution, one above the other."""
    figure, _ = new_figure(height=8.0)
    figure.clear()
    axes = list(figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2]))
    plot_schedule(shares, baselines, caps, axes[0])
    plot_water_level(marginal, at_zero, multiplier, shares, axes[1])
    plot_executed({**baselines, "optimal": shares}, axes[2])
    for ax in axes[:2]:
        ax.set_xlabel("")
    return axes

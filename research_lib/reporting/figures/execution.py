"""Figures of one order's schedule: each takes `ax=None`, draws, labels with units and returns the Axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from research_lib.reporting.figures.base import MUTED, OBSERVED, STRATEGY_COLOURS, new_figure

Float = NDArray[np.float64]
HEADROOM = 1.2
LABEL_ROOM = 48.0, 14.0  # points, that a risk aversion's label takes
UNNAMED = "#666666"
LINES = (
    "-",
    (0, (5, 2)),
    ":",
    "-.",
    (0, (1, 3)),
    (0, (7, 2, 1, 2, 1, 2)),
)  # of schedules that the palette does not name


def _children(schedule: Any) -> Float:
    """(n,) shares of an array, a `Schedule` or an `Allocation`."""
    return np.asarray(getattr(schedule, "shares", schedule), float)


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each schedule: its own colour, or grey with a line of its own."""
    lines = itertools.cycle(LINES)
    return {
        name: {"color": STRATEGY_COLOURS[name], "linestyle": "-"}
        if name in STRATEGY_COLOURS
        else {"color": UNNAMED, "linestyle": next(lines)}
        for name in names
    }


def _by_interval(ax: Axes, n: int) -> None:
    """An axis of n intervals with ticks at whole numbers, its legend above the panel where it hides nothing."""
    ax.set_xlim(0, n)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("interval")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            frameon=False,
            ncols=4,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            fontsize=8,
            borderaxespad=0.2,
        )


def plot_schedule(
    shares: ArrayLike,
    baselines: Mapping[str, ArrayLike] | None = None,
    caps: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The optimal child of every interval as steps, beside baselines; what the caps forbid is shaded.

    Parameters
    ----------
    shares : (n,) shares, Schedule or Allocation
    baselines : mapping of name to (n,) shares or Schedule, optional
    caps : (n,) shares, optional
        Named, not drawn, where all are off the scale.
    """
    ax = ax or new_figure()[1][0]
    x, others = (
        _children(shares),
        {name: _children(schedule) for name, schedule in (baselines or {}).items()},
    )
    edges, top = (
        np.arange(len(x) + 1),
        HEADROOM * max(float(part.max()) for part in (x, *others.values())),
    )
    styles = _styles([*others, "optimal"])
    ax.stairs(x, edges, color=STRATEGY_COLOURS["optimal"], fill=True, alpha=0.25)
    for name, children in {**others, "optimal": x}.items():
        ax.stairs(children, edges, **styles[name], linewidth=1.3, label=name, baseline=None)
    if caps is not None:
        limit = np.asarray(caps, float)
        if limit.min() < top:
            ax.stairs(
                np.full(len(x), top), edges, baseline=np.minimum(limit, top), fill=True,
                color=MUTED, alpha=0.3, linewidth=0, label="above the cap",
            )  # fmt: skip
        else:
            ax.plot([], [], " ", label=f"caps from {limit.min():,.0f}, off the scale")
    ax.set_ylim(0.0, top)
    ax.set_ylabel("child order (shares)")
    _by_interval(ax, len(x))
    return ax


def plot_water_level(
    marginal: ArrayLike,
    at_zero: ArrayLike,
    multiplier: float | None,
    shares: ArrayLike,
    unit: str = "currency/share",
    ax: Axes | None = None,
) -> Axes:
    """What the last share costs in each interval against the multiplier: the order fills each up to one level.

    Parameters
    ----------
    marginal, at_zero : (n,) currency per share
        Marginal cost at the schedule, and of the first share.
    multiplier : currency per share, optional
        None where terms couple the intervals: each then has a level of its own.
    shares : (n,) shares
        Intervals without any are drawn from their first share's price alone.
    unit : of all prices
    """
    ax = ax or new_figure()[1][0]
    slope, first, traded = (
        np.asarray(marginal, float),
        np.asarray(at_zero, float),
        _children(shares) > 0,
    )
    edges = np.arange(len(slope) + 1)
    ax.stairs(
        np.where(traded, slope, first), edges, baseline=first, fill=True, color=STRATEGY_COLOURS["optimal"], alpha=0.35,
        linewidth=0, label="filled by the order",
    )  # fmt: skip
    ax.stairs(first, edges, color=OBSERVED, linewidth=0.8, baseline=None, label="first share")
    level = float(slope[traded].max()) if traded.any() else float(first.min())
    if multiplier is None:
        ax.plot([], [], " ", label="no one level: terms couple the intervals")
    else:
        level = max(level, multiplier)
        name = "multiplier: the next share"
        ax.axhline(
            multiplier, color=STRATEGY_COLOURS["risk-averse adaptive"], linewidth=1.3, label=name
        )
    ax.set_ylim(
        min(0.0, float(first.min())), 1.1 * max(level, min(float(first.max()), 2.0 * level))
    )
    ax.set_ylabel(f"marginal cost ({unit})")
    _by_interval(ax, len(slope))
    return ax


def plot_executed(schedules: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Part of the order done by the end of each interval, per cent, a line a schedule of (n,) shares."""
    ax, n = ax or new_figure()[1][0], 1
    styles = _styles(schedules)
    for name, shares in schedules.items():
        done = np.append(0.0, np.cumsum(_children(shares)))
        n = len(done) - 1
        ax.plot(100.0 * done / done[-1], **styles[name], linewidth=1.5, label=name)
    ax.set_ylim(0, 102)
    ax.set_ylabel("executed (%)")
    _by_interval(ax, n)
    return ax


def plot_frontier(
    deviation: ArrayLike,
    cost: ArrayLike,
    risk_aversion: ArrayLike,
    unit: str = "currency",
    ax: Axes | None = None,
) -> Axes:
    """Expected cost against its standard deviation, a point a risk aversion, (k,) each.

    Points are named by their risk aversion where there is room; a schedule above the line is dominated.
    """
    ax = ax or new_figure(width=5.4, height=4.0)[1][0]
    x, y, weights = (np.asarray(part, float) for part in (deviation, cost, risk_aversion))
    ax.plot(x, y, "o-", color=STRATEGY_COLOURS["optimal"], markersize=4, linewidth=1.3)
    ax.margins(x=0.18, y=0.1)
    for k in _apart(ax, x, y):
        ax.annotate(
            f"{weights[k]:.0e}", (x[k], y[k]), (5, 4), textcoords="offset points", fontsize=8
        )
    ax.set_xlabel(f"standard deviation of the cost ({unit})")
    ax.set_ylabel(f"expected cost ({unit})")
    ax.set_title("labels: risk aversion (per currency)", fontsize=9)
    return ax


def _apart(ax: Axes, x: Float, y: Float) -> list[int]:
    """Points whose labels do not overlap on these Axes, from the first one on."""
    ax.autoscale_view()
    at = ax.transData.transform(np.column_stack([x, y])) * 72.0 / ax.figure.dpi
    kept: list[int] = []
    for k in range(len(x)):
        if all(np.any(np.abs(at[k] - at[other]) > LABEL_ROOM) for other in kept):
            kept.append(k)
    return kept


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
        (
            "misjudged_%",
            -0.2,
            STRATEGY_COLOURS["optimal"],
            f"independent errors of {error:g} % (schedule misled)",
        ),
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
    shares: Float,
    baselines: Mapping[str, Float],
    caps: Float,
    marginal: Float,
    at_zero: Float,
    multiplier: float | None,
    unit: str,
) -> list[Axes]:
    """The one picture of an order: schedule, water level, cumulative execution, one above the other."""
    figure, _ = new_figure(height=8.0)
    figure.clear()
    axes = list(figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2]))
    plot_schedule(shares, baselines, caps, axes[0])
    plot_water_level(marginal, at_zero, multiplier, shares, unit, axes[1])
    plot_executed({**baselines, "optimal": shares}, axes[2])
    for ax in axes[:2]:
        ax.set_xlabel("")
    return axes

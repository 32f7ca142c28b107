"""Figures: each function takes `ax=None`, draws, labels with units and returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import ValidationError
from research_lib.market import Session

Float = NDArray[np.float64]

# Okabe and Ito's colour-blind-safe palette; one colour a strategy in the whole project.
STRATEGY_COLOURS = {
    "TWAP": "#E69F00",
    "VWAP": "#CC79A7",
    "POV": "#56B4E9",
    "optimal": "#0072B2",
    "static optimal": "#0072B2",
    "adaptive": "#009E73",
    "risk-averse adaptive": "#D55E00",
    "clairvoyant": "#000000",
}
# The other colours of the palette are for everything that is no strategy.
OBSERVED, FITTED, TRUTH, MUTED = "#000000", "#D55E00", "#009E73", "#999999"
SERIES = ("#56B4E9", "#CC79A7", "#009E73", "#D55E00")


def new_figure(
    n_axes: int = 1, width: float = 9.0, height: float = 3.6
) -> tuple[Figure, list[Axes]]:
    """A figure of `n_axes` panels side by side, laid out so that labels do not overlap."""
    figure, axes = plt.subplots(
        1, n_axes, figsize=(width, height), layout="constrained", squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
    return figure, list(axes[0])


def quartiles(values: pd.Series, by: ArrayLike) -> pd.DataFrame:
    """The band that the figures draw: quartiles of `values` (m,) in each group of `by` (m,).

    Returns
    -------
    DataFrame
        Index the sorted groups; columns lower, middle, upper; NaN values are left out.
    """
    groups = values.groupby(np.asarray(by))
    quantiles = {"lower": 0.25, "middle": 0.5, "upper": 0.75}
    return pd.DataFrame({name: groups.quantile(q) for name, q in quantiles.items()})


def save_figure(drawn: Axes | Figure, path: str | Path) -> Path:
    """Write a figure, or the one that an Axes is part of, to `path` (format by its ending), whole or not at all."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    if figure is None:
        raise ValidationError(
            "the Axes belong to no figure; draw them with ax=None or on a figure's Axes"
        )
    target = Path(path)
    if not target.parent.is_dir():
        raise ValidationError(f"folder {target.parent} does not exist; make it first")
    kinds = figure.canvas.get_supported_filetypes()
    if target.suffix and target.suffix[1:].lower() not in kinds:
        raise ValidationError(
            f"{target.name}: no figure is written as {target.suffix}; choose from {', '.join(kinds)}"
        )
    part = target.with_name(f".{target.name}.part")
    figure.savefig(
        part, format=target.suffix.lstrip(".") or "png", dpi=110, metadata={"Software": None}
    )
    part.replace(target)
    return target


def plot_through_day(
    bands: Mapping[str, pd.DataFrame], session: Session, ylabel: str, ax: Axes | None = None
) -> Axes:
    """Median and quartile range by interval.

    Parameters
    ----------
    bands : mapping of label to DataFrame (n_intervals, 3)
        Index interval; columns lower, middle, upper, in the unit of `ylabel`.
    """
    ax = ax or new_figure()[1][0]
    for (label, band), colour in zip(bands.items(), SERIES, strict=False):
        lower, middle, upper = band.to_numpy().T
        ax.fill_between(band.index, lower, upper, color=colour, alpha=0.25, linewidth=0)
        ax.plot(band.index, middle, color=colour, linewidth=1.2, label=label)
    if len(bands) > 1:
        ax.legend(frameon=False)
    ax.set_ylim(bottom=0)
    ax.set_ylabel(ylabel)
    return clock_axis(ax, session)


def plot_quality(quality: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of states of each doubtful kind, per cent, with its count and what was done.

    Parameters
    ----------
    quality : DataFrame
        As `BookQuality.to_frame`.
    """
    ax = ax or new_figure()[1][0]
    colours = {"keep": SERIES[0], "drop": SERIES[1], "raise": SERIES[3]}
    shown = quality.iloc[::-1]
    ax.barh(shown.index, shown["share_%"], color=[colours[done] for done in shown["done"]])
    for row, (share, states, done) in enumerate(
        zip(shown["share_%"], shown["states"], shown["done"], strict=True)
    ):
        ax.annotate(
            f"{states:,} ({done})",
            (share, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.set_xlim(0, max(1.0, 1.35 * float(shown["share_%"].max())))
    ax.set_xlabel("share of states (%)")
    return ax


def plot_lines(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Lines with points, one a label: (x (k,), y (k,)) in the units of the axis labels; a strategy has its colour."""
    ax = ax or new_figure()[1][0]
    for (label, (x, y)), colour in zip(lines.items(), SERIES, strict=False):
        own = STRATEGY_COLOURS.get(label, colour)
        ax.plot(x, y, "o-", markersize=3, linewidth=1.2, color=own, label=label)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    low, high = ax.get_ylim()
    ax.set_ylim(
        min(0.0, low), max(0.0, high) + 0.1 * (high - min(0.0, low))
    )  # room for a flat line under the legend
    ax.legend(frameon=False)
    return ax


def plot_slippage_fit(
    observed: pd.DataFrame,
    fitted: Mapping[str, tuple[ArrayLike, ArrayLike]],
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Observed slippage by trade size, quartile bars, with fitted and true curves.

    Parameters
    ----------
    observed : DataFrame
        Index trade size, shares; columns lower, middle, upper, bps.
    fitted : mapping of label to (shares (k,), slippage (k,) bps)
    """
    ax = ax or new_figure()[1][0]
    lower, middle, upper = observed.to_numpy().T
    reach = np.vstack([middle - lower, upper - middle])
    ax.errorbar(
        observed.index,
        middle,
        reach,
        fmt="o",
        markersize=4,
        color=OBSERVED,
        label="observed (median, quartiles)",
    )
    for (label, (shares, slippage)), colour in zip(
        fitted.items(), (FITTED, TRUTH, MUTED), strict=False
    ):
        ax.plot(shares, slippage, color=colour, linewidth=1.6, label=label)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("trade size (shares)")
    ax.set_ylabel("slippage from mid (bps)")
    ax.set_title(title, fontsize=10)
    return ax


def plot_by_interval(
    series: Mapping[str, ArrayLike], session: Session, ylabel: str, ax: Axes | None = None
) -> Axes:
    """A value of each interval, (n,) each, as steps, one colour a strategy, in the unit of `ylabel`."""
    ax = ax or new_figure()[1][0]
    for name, values in series.items():
        steps = np.asarray(values, float)
        ax.stairs(
            steps,
            np.arange(len(steps) + 1),
            baseline=None,
            color=STRATEGY_COLOURS.get(name, MUTED),
            linewidth=1.0,
            label=name,
        )
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False)
    return clock_axis(ax, session)


def clock_axis(ax: Axes, session: Session) -> Axes:
    """Label the x axis, in intervals of the session, by time of day."""
    hours, positions = session.whole_hours()
    ax.set_xlim(0, session.n_intervals)
    ax.set_xticks(positions, hours)
    ax.set_xlabel(f"time of day ({session.timezone})")
    return ax

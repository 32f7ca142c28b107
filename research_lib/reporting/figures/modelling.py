"""Figures on the choice of a form: validation, diagnostics, stability, the multiverse, shrinkage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.impact import ImpactFit
from research_lib.market import Session
from research_lib.reporting.figures.base import (
    FITTED,
    MUTED,
    OBSERVED,
    SERIES,
    STRATEGY_COLOURS,
    clock_axis,
    new_figure,
)

Float = NDArray[np.float64]


def plot_residual_bias(
    table: pd.DataFrame, session: Session | None = None, ax: Axes | None = None
) -> Axes:
    """Residuals by trade size or, with a session, through the day: quartiles as a band, means with their interval.

    Parameters
    ----------
    table : DataFrame
        `by_size` or `by_time` of `ResidualBias`, bps.
    session : Session, optional
        That `by_time` is of; points stand at the middle of their part.
    """
    ax = ax or new_figure()[1][0]
    x = table.index.to_numpy(dtype=float)
    if session is not None:
        x = x + 0.5 * np.diff(x, append=session.n_intervals)
    ax.fill_between(
        x,
        table["lower"],
        table["upper"],
        color=SERIES[0],
        alpha=0.25,
        linewidth=0,
        label="quartiles",
    )
    reach = table["half_width"].fillna(0.0)
    label = "mean, 95 % interval over days" if table["half_width"].notna().any() else "mean"
    ax.errorbar(
        x, table["mean"], reach, fmt="o", markersize=3, linewidth=1.2, color=FITTED, label=label
    )
    ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set_ylabel("observed - predicted slippage (bps)")
    ax.legend(frameon=False)
    if session is not None:
        return clock_axis(ax, session)
    ax.set_xscale("log")
    ax.set_xlabel("trade size (shares, log scale)")
    return ax


def plot_calibration(
    calibration: pd.DataFrame, forms: Iterable[str], ax: Axes | None = None
) -> Axes:
    """Observed against predicted slippage by decile of the predicted, held out; the diagonal is perfect.

    Parameters
    ----------
    calibration : DataFrame
        Of `Validation`.
    forms : iterable of str
        Model types to draw, four at most.
    """
    ax = ax or new_figure(width=5.0, height=4.2)[1][0]
    shown = list(forms)
    top = 1.05 * float(calibration.loc[shown, ["predicted_bps", "observed_bps"]].max().max())
    ax.plot([0, top], [0, top], color=MUTED, linewidth=0.8, label="predicted = observed")
    for form, colour in zip(shown, SERIES, strict=False):
        table = calibration.loc[form]
        reach = (table["upper"] - table["observed_bps"]).fillna(0.0)
        ax.errorbar(
            table["predicted_bps"], table["observed_bps"], reach, fmt="o-", markersize=3, linewidth=1.0, color=colour,
            label=form,
        )  # fmt: skip
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.set_xlabel("predicted slippage, mean of the decile (bps)")
    ax.set_ylabel("observed slippage (bps)")
    ax.legend(frameon=False, loc="best")
    return ax


def plot_stability(table: pd.DataFrame, size: float, ax: Axes | None = None) -> Axes:
    """Pooled impact of each day with its 95 % interval; the line is the mean over days.

    Parameters
    ----------
    table : DataFrame
        Of `Stability`.
    size : float
        That the impact is of, shares.
    """
    ax = ax or new_figure()[1][0]
    position = np.arange(len(table))
    reach = (table["upper"] - table["level"]).fillna(0.0)
    ax.errorbar(position, table["level"], reach, fmt="o", markersize=4, linewidth=1.2, color=FITTED)
    ax.axhline(float(table["level"].mean()), color=MUTED, linewidth=0.8, label="mean over days")
    every = -(-len(table) // 4)
    names = [name.replace("intervals ", "") for name in table.index.astype(str)]
    ax.set_xticks(position[::every], names[::every], fontsize=8)
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_ylim(bottom=min(0.0, float(np.nanmin(table["lower"].fillna(table["level"])))))
    ax.set_xlabel(
        str(table.index.name or "day") + ("" if table.index.name == "day" else " (intervals)")
    )
    ax.set_ylabel(f"impact of {size:,.0f} shares\n(currency/share)")
    ax.legend(frameon=False, loc="lower left")
    return ax


def plot_specifications(
    table: pd.DataFrame, value: str = "exponent", axes: Iterable[Axes] | None = None
) -> Axes:
    """Specification curve: the analyses of a multiverse sorted by their answer, and below each which choices it made.

    Parameters
    ----------
    table : DataFrame
        Of `multiverse`.
    value : str
        Column to sort by; the exponent is drawn with its 95 % interval.
    axes : two Axes, optional
        Above the other, of one figure; the upper one is returned.
    """
    upper, lower = axes or _stacked()
    shown = table[table[value].notna()].sort_values(value, ignore_index=True)
    if shown.empty:
        raise ValidationError(f"no analysis has a value of {value}: all {len(table)} are NaN")
    position = np.arange(len(shown))
    if value == "exponent":
        ends = shown[["lower", "upper"]].to_numpy(dtype=float)
        upper.vlines(position, ends[:, 0], ends[:, 1], color=FITTED, alpha=0.4, linewidth=1.5)
    upper.plot(position, shown[value], "o", markersize=3, color=FITTED)
    middle = float(shown[value].median())
    upper.axhline(middle, color=MUTED, linewidth=0.8, linestyle="--", label=f"median {middle:.3g}")
    upper.set_ylabel(_VALUE_LABELS.get(value, value))
    upper.set_ylim(bottom=min(0.0, upper.get_ylim()[0]))
    upper.tick_params(labelbottom=False)
    upper.legend(frameon=False, loc="upper left")
    left_out = len(table) - len(shown)
    upper.set_title(
        f"{len(shown)} analyses" + (f"; {left_out} without a value" if left_out else ""),
        fontsize=10,
    )
    _draw_choices(
        shown,
        {
            choice: table[choice].unique().tolist()
            for choice in table.columns
            if table[choice].dtype.kind not in "fib"
        },
        lower,
    )
    upper.set_xlim(-1, len(shown))
    return upper


_VALUE_LABELS = {
    "exponent": "exponent of the power law",
    "saving_in_%": "saving against TWAP,\nin sample (%)",
    "saving_out_%": "saving against TWAP,\nheld-out days (%)",
}


def _stacked() -> tuple[Axes, Axes]:
    """Two panels, the upper one higher, on one x axis."""
    figure, axes = new_figure(width=9.0, height=6.0)
    figure.delaxes(axes[0])
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 4])
    return upper, lower


def _draw_choices(shown: pd.DataFrame, choices: Mapping[str, list[str]], ax: Axes) -> None:
    """A mark in each analysis' column for each of its choices."""
    options = [(choice, option) for choice, found in choices.items() for option in found]
    row = 0.0
    ticks, names = [], []
    for number, (choice, option) in enumerate(options):
        row += 1.0 if number == 0 or options[number - 1][0] == choice else 1.6
        chosen = np.flatnonzero(shown[choice] == option)
        ax.plot(chosen, np.full(len(chosen), row), "|", markersize=7, color=OBSERVED)
        ticks.append(row)
        names.append(f"{choice}: {option}")
    ax.set_yticks(ticks, names, fontsize=8)
    ax.set_ylim(row + 0.8, 0.2)
    ax.set_xlabel("analyses, sorted")


def plot_shrinkage(fit: ImpactFit, size: float, session: Session, ax: Axes | None = None) -> Axes:
    """Impact of one size through the day: each interval's own estimate, the smooth profile, and the mixture used.

    Parameters
    ----------
    size : float
        Shares.
    """
    ax = ax or new_figure()[1][0]
    x = np.arange(len(fit.curve)) + 0.5
    raw = fit.raw_curve.impact(size)
    ax.plot(x, raw, ".", markersize=3, color=MUTED, label="own estimate")
    shrinkage = fit.shrinkage["impact"]
    if np.isfinite(shrinkage.error):
        group = np.arange(len(raw)) * len(shrinkage.weight) // len(raw)
        own = np.array([raw[group == g].mean() for g in range(len(shrinkage.weight))])
        ax.plot(
            x,
            shrinkage.smooth(own)[group],
            color=SERIES[0],
            linewidth=4.0,
            alpha=0.6,
            label="day profile",
        )
    ax.plot(x, fit.curve.impact(size), color=FITTED, linewidth=1.0, label="shrunk (used)")
    ax.set_ylim(0.0, 1.25 * float(np.nanquantile(raw, 0.995)))
    ax.set_ylabel(f"impact of {size:,.0f} shares\n(currency/share)")
    ax.set_title(f"own weight {float(np.mean(shrinkage.weight)):.2f}", fontsize=10)
    ax.legend(frameon=False, ncols=3, loc="upper right")
    return clock_axis(ax, session)


def plot_curve_bands(bands: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Slippage g_t(x) of chosen intervals with 95 % bands.

    Parameters
    ----------
    bands : mapping of label to DataFrame
        As `ImpactFit.band` gives: index size (shares); slippage, lower, upper, currency per share.
    """
    ax = ax or new_figure()[1][0]
    for (label, band), colour in zip(bands.items(), SERIES, strict=False):
        ax.fill_between(
            band.index, band["lower"], band["upper"], color=colour, alpha=0.25, linewidth=0
        )
        ax.plot(band.index, band["slippage"], color=colour, linewidth=1.6, label=label)
    ax.set_ylim(bottom=0.0)
    ax.set_xlim(0.0, max(float(band.index.max()) for band in bands.values()))
    ax.set_xlabel("trade size (shares)")
    ax.set_ylabel("slippage from mid (currency/share)")
    ax.legend(frameon=False, loc="upper left")
    return ax


def plot_form_savings(table: pd.DataFrame, included: Iterable[str], ax: Axes | None = None) -> Axes:
    """Saving of each form's schedule against TWAP on held-out days with 95 % intervals; filled: in the confidence set.

    Parameters
    ----------
    table : DataFrame
        Of `FormComparison`.
    included : iterable of str
        Its confidence set.
    """
    ax = ax or new_figure(width=7.0)[1][0]
    best = set(included)
    for row, (form, found) in enumerate(table.iloc[::-1].iterrows()):
        colour = STRATEGY_COLOURS.get(str(form), FITTED)
        reach = np.nan_to_num(float(found["upper"] - found["saving_bps"]))
        face = colour if form in best else "white"
        ax.errorbar(
            found["saving_bps"],
            row,
            xerr=reach,
            fmt="o",
            color=colour,
            markerfacecolor=face,
            capsize=3,
        )
        ax.annotate(
            f"{found['cost_bps']:.3g} bps", (1.0, row), (-4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="center", fontsize=8,
        )  # fmt: skip
    names = [f"{form}" if form in best else f"{form} (out)" for form in table.index[::-1]]
    ax.set_yticks(np.arange(len(table)), names)
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.axvline(0.0, color=MUTED, linewidth=0.8)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.2 * (high - low))
    ax.set_xlabel("saving against TWAP, held-out days (bps); right: cost")
    return ax

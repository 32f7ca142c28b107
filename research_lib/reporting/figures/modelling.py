"""Figures on the choice of a form: validation, residuals, stability, multiverse, shrinkage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from research_lib.errors import ValidationError
from research_lib.impact import ImpactFit
from research_lib.market import Session
from research_lib.reporting.figures import base as fig

VALUE_LABELS = {
    "exponent": "exponent of the power law",
    "saving_in_%": "saving against TWAP,\nin sample (%)",
    "saving_out_%": "saving against TWAP,\nheld-out days (%)",
}


def plot_residual_bias(
    table: pd.DataFrame, session: Session | None = None, ax: Axes | None = None
) -> Axes:
    """Residuals by trade size or, with a session, through the day: quartiles, means with interval.

    Parameters
    ----------
    table : DataFrame
        `by_size` or `by_time` of `ResidualBias`, bps.
    session : Session, optional
        That `by_time` is of; points stand at the middle of their part.

    Examples
    --------
    >>> row = {"lower": -1.0, "upper": 1.0, "mean": 0.1, "half_width": 0.2}
    >>> plot_residual_bias(pd.DataFrame(row, index=[100.0, 200.0])).get_xlabel()
    'trade size (shares, log scale)'
    """
    ax = ax or fig.new_figure()[1][0]
    x = table.index.to_numpy(dtype=float)
    if session is not None:
        x = x + 0.5 * np.diff(x, append=session.n_intervals)
    band: fig.Style = {"color": fig.SERIES[0], "alpha": 0.25, "linewidth": 0}
    ax.fill_between(x, table["lower"], table["upper"], label="quartiles", **band)
    known = table["half_width"].notna().any()
    label = "mean, 95 % interval over days" if known else "mean"
    reach = table["half_width"].fillna(0.0)
    ax.errorbar(x, table["mean"], reach, fmt="o", color=fig.FITTED, label=label, **fig.POINTS)
    ax.axhline(0.0, color=fig.MUTED, linewidth=0.8)
    ax.set_ylabel("observed - predicted slippage (bps)")
    fig.finish(ax, legend="best")
    if session is not None:
        return fig.clock_axis(ax, session)
    ax.set_xscale("log")
    ax.set_xlabel("trade size (shares, log scale)")
    return ax


def plot_calibration(
    calibration: pd.DataFrame, forms: Iterable[str], ax: Axes | None = None
) -> Axes:
    """Observed against predicted slippage by decile of the predicted, held out, with the diagonal.

    Parameters
    ----------
    calibration : DataFrame
        Of `Validation`.
    forms : iterable of str
        Model types to draw, four at most.

    Examples
    --------
    >>> index = pd.MultiIndex.from_product([["linear"], [1, 2]])
    >>> columns = {"predicted_bps": [1.0, 2.0], "observed_bps": [1.1, 1.9], "upper": 2.5}
    >>> plot_calibration(pd.DataFrame(columns, index=index), ["linear"]).get_ylabel()
    'observed slippage (bps)'
    """
    ax = ax or fig.new_figure(width=5.0, height=4.2)[1][0]
    shown = list(forms)
    top = 1.05 * float(calibration.loc[shown, ["predicted_bps", "observed_bps"]].max().max())
    ax.plot([0, top], [0, top], color=fig.MUTED, linewidth=0.8, label="predicted = observed")
    for form, colour in zip(shown, fig.SERIES, strict=False):
        predicted, observed, upper = (
            calibration.loc[form, name] for name in ("predicted_bps", "observed_bps", "upper")
        )
        reach = (upper - observed).fillna(0.0)
        ax.errorbar(predicted, observed, reach, fmt="o-", color=colour, label=form, **fig.POINTS)
    ax.set(xlim=(0, top), ylim=(0, top))
    return fig.finish(
        ax, "predicted slippage, mean of the decile (bps)", "observed slippage (bps)", legend="best"
    )


def plot_stability(table: pd.DataFrame, size: float, ax: Axes | None = None) -> Axes:
    """Pooled impact of each day with its 95 % interval; the line is the mean over days.

    Parameters
    ----------
    table : DataFrame
        Of `Stability`.
    size : float
        That the impact is of, shares.

    Examples
    --------
    >>> days = pd.Index(["2024-03-04", "2024-03-05"], name="day")
    >>> table = pd.DataFrame({"level": [1.0, 3.0], "lower": 0.5, "upper": 4.0}, index=days)
    >>> plot_stability(table, 400.0).get_xlabel()
    'day'
    """
    ax = ax or fig.new_figure()[1][0]
    position = np.arange(len(table))
    reach = (table["upper"] - table["level"]).fillna(0.0)
    ax.errorbar(position, table["level"], reach, fmt="o", color=fig.FITTED, **fig.POINTS)
    ax.axhline(float(table["level"].mean()), color=fig.MUTED, linewidth=0.8, label="mean over days")
    every = -(-len(table) // 4)  # four names fit
    names = [name.replace("intervals ", "") for name in table.index.astype(str)]
    ax.set_xticks(position[::every], names[::every], fontsize=8)
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_ylim(bottom=min(0.0, float(np.nanmin(table["lower"].fillna(table["level"])))))
    by = str(table.index.name or "day")
    return fig.finish(
        ax,
        by if by == "day" else f"{by} (intervals)",
        f"impact of {size:,.0f} shares\n(currency/share)",
        legend="lower left",
    )


def plot_specifications(
    table: pd.DataFrame, value: str = "exponent", axes: Iterable[Axes] | None = None
) -> Axes:
    """Specification curve: analyses sorted by their answer, and below each which choices it made.

    Parameters
    ----------
    table : DataFrame
        Of `multiverse`.
    value : str
        Column to sort by; the exponent is drawn with its 95 % interval.
    axes : two Axes, optional
        Above the other, of one figure; the upper one is returned.

    Raises
    ------
    ValidationError
        Where no analysis has a value.

    Examples
    --------
    >>> table = pd.DataFrame({"side": ["buy", "sell"], "saving_out_%": [3.0, -1.0]})
    >>> plot_specifications(table, "saving_out_%").get_title()
    '2 analyses'
    """
    shown = table[table[value].notna()].sort_values(value, ignore_index=True)
    if shown.empty:
        raise ValidationError(f"no analysis has a value of {value}: all {len(table)} are NaN")
    upper, lower = axes or fig.stacked_figure([3, 4], height=6.0)
    position = np.arange(len(shown))
    if value == "exponent":
        ends: fig.Style = {"color": fig.FITTED, "alpha": 0.4, "linewidth": 1.5}
        upper.vlines(position, shown["lower"], shown["upper"], **ends)
    upper.plot(position, shown[value], "o", markersize=3, color=fig.FITTED)
    middle = float(shown[value].median())
    upper.axhline(
        middle, color=fig.MUTED, linewidth=0.8, linestyle="--", label=f"median {middle:.3g}"
    )
    upper.set_ylabel(VALUE_LABELS.get(value, value))
    upper.set_ylim(bottom=min(0.0, upper.get_ylim()[0]))
    upper.tick_params(labelbottom=False)
    fig.finish(upper, legend="upper left")
    without = len(table) - len(shown)
    title = f"{len(shown)} analyses" + (f"; {without} without a value" if without else "")
    upper.set_title(title, fontsize=10)
    _draw_choices(shown, table.select_dtypes(exclude=["number", "bool"]), lower)
    upper.set_xlim(-1, len(shown))
    return upper


def _draw_choices(shown: pd.DataFrame, choices: pd.DataFrame, ax: Axes) -> None:
    """A mark in each analysis' column for each of its choices, a gap between kinds of choice."""
    row, ticks, names = 0.0, [], []
    for choice in choices:
        for option in choices[choice].unique():
            row += 1.0
            chosen = np.flatnonzero(shown[choice] == option)
            ax.plot(chosen, np.full(len(chosen), row), "|", markersize=7, color=fig.OBSERVED)
            ticks.append(row)
            names.append(f"{choice}: {option}")
        row += 0.6
    ax.set_yticks(ticks, names, fontsize=8)
    ax.set_ylim(row + 0.2, 0.2)
    ax.set_xlabel("analyses, sorted")


def plot_shrinkage(fit: ImpactFit, size: float, session: Session, ax: Axes | None = None) -> Axes:
    """Impact of one size through the day: interval estimates, smooth profile, shrunk values.

    Parameters
    ----------
    fit : ImpactFit
        With `raw_curve` and `shrinkage`.
    size : float
        Shares.

    Examples
    --------
    >>> from research_lib.impact import LinearImpact, fit_impact, slippage_curves
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket(session=Session(13)).books(26, 5, np.random.default_rng(1))
    >>> slippage = slippage_curves(books, [100.0, 400.0], "buy").to_frame(session=Session(13))
    >>> fit = fit_impact(slippage, n_intervals=13, test_fraction=0)
    >>> plot_shrinkage(fit, 400.0, Session(13)).lines[0].get_label()
    'own estimate'
    """
    ax = ax or fig.new_figure()[1][0]
    raw, shrinkage = fit.raw_curve.impact(size), fit.shrinkage["impact"]
    x = np.arange(len(raw)) + 0.5
    ax.plot(x, raw, ".", markersize=3, color=fig.MUTED, label="own estimate")
    if np.isfinite(shrinkage.error):
        n_groups = len(shrinkage.weight)
        group = np.arange(len(raw)) * n_groups // len(raw)
        profile = shrinkage.smooth(np.array([raw[group == g].mean() for g in range(n_groups)]))
        style: fig.Style = {"color": fig.SERIES[0], "linewidth": 4.0, "alpha": 0.6}
        ax.plot(x, profile[group], label="day profile", **style)
    ax.plot(x, fit.curve.impact(size), color=fig.FITTED, linewidth=1.0, label="shrunk (used)")
    ax.set_ylim(0.0, 1.25 * float(np.nanquantile(raw, 0.995)))
    ax.set_title(f"shrinkage factor {float(np.mean(shrinkage.weight)):.2f}", fontsize=10)
    return fig.finish(
        ax,
        session=session,
        ylabel=f"impact of {size:,.0f} shares\n(currency/share)",
        legend="upper right",
        ncols=3,
    )


def plot_curve_bands(bands: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Slippage g_t(x) of chosen intervals with 95 % bands.

    Parameters
    ----------
    bands : mapping of label to DataFrame
        As `ImpactFit.band` gives: index size (shares); slippage, lower, upper, currency per share.

    Examples
    --------
    >>> band = pd.DataFrame({"slippage": 2.0, "lower": 1.0, "upper": 3.0}, index=[10.0, 500.0])
    >>> plot_curve_bands({"open": band}).get_xlabel()
    'trade size (shares)'
    """
    ax = ax or fig.new_figure()[1][0]
    for (label, band), colour in zip(bands.items(), fig.SERIES, strict=False):
        fig.band(ax, band.index, band[["lower", "slippage", "upper"]].T, colour, label)
    ax.set_ylim(bottom=0.0)
    ax.set_xlim(0.0, max(float(band.index.max()) for band in bands.values()))
    return fig.finish(
        ax, "trade size (shares)", "slippage from mid (currency/share)", legend="upper left"
    )


def plot_form_savings(table: pd.DataFrame, included: Iterable[str], ax: Axes | None = None) -> Axes:
    """Saving of each form's schedule against TWAP on held-out days, with 95 % intervals.

    Parameters
    ----------
    table : DataFrame
        Of `FormComparison`.
    included : iterable of str
        Its confidence set, which is filled; forms outside are hollow.

    Examples
    --------
    >>> row = {"cost_bps": 9.0, "saving_bps": 4.0, "upper": 4.2}
    >>> ax = plot_form_savings(pd.DataFrame(row, index=["linear"]), [])
    >>> ax.get_yticklabels()[0].get_text()
    'linear (out)'
    """
    ax = ax or fig.new_figure(width=7.0)[1][0]
    best, rows = set(included), table.iloc[::-1]
    for row, (form, found) in enumerate(rows.iterrows()):
        saving, upper = found["saving_bps"], found["upper"]
        colour = fig.colour_of(form, fig.FITTED)
        ends = [2 * saving - upper, saving, upper]
        fig.interval(ax, row, ends, colour, hollow=form not in best)
        where: fig.Style = {"xycoords": ("axes fraction", "data"), "ha": "right"}
        fig.note(ax, f"{found['cost_bps']:.3g} bps", (1.0, row), (-4, 0), **where)
    fig.name_rows(ax, (f"{form}" if form in best else f"{form} (out)" for form in rows.index))
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.2 * (high - low))  # room for the costs
    return fig.finish(ax, "saving against TWAP, held-out days (bps); right: cost")

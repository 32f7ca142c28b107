"""Figures of what is estimated: the form of the impact, its residuals, and how it decays."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from research_lib.checks import Float
from research_lib.errors import ValidationError
from research_lib.impact import ImpactFit
from research_lib.market import Session
from research_lib.reporting.figures import base as fig
from research_lib.transient import LagEstimate
from research_lib.transient.kernel_fit import REJECTED

Curves = Mapping[str, Callable[[Float], Float]]
Estimates = Mapping[str, LagEstimate]


def plot_specifications(table: pd.DataFrame) -> Axes:
    """Specification curve: analyses sorted by their exponent, and below each its choices.

    Parameters
    ----------
    table : DataFrame
        Of `multiverse`; the exponent is drawn with its 95 % interval.

    Returns
    -------
    Axes
        The upper of two.

    Raises
    ------
    ValidationError
        Where no analysis has an exponent.

    Examples
    --------
    >>> found = {"exponent": [0.9, 0.2], "lower": [0.8, 0.1], "upper": [1.0, 0.3]}
    >>> plot_specifications(pd.DataFrame({"side": ["buy", "sell"], **found})).get_title()
    '2 analyses'
    """
    shown = table[table["exponent"].notna()].sort_values("exponent", ignore_index=True)
    if shown.empty:
        raise ValidationError(f"no analysis has a value of exponent: all {len(table)} are NaN")
    upper, lower = fig.stacked_figure([3, 4], height=6.0)
    middle, ends = float(shown["exponent"].median()), (shown["lower"], shown["upper"])
    upper.vlines(shown.index, *ends, color=fig.FITTED, alpha=0.4, linewidth=1.5)
    upper.plot(shown["exponent"], "o", markersize=3, color=fig.FITTED)
    label = f"median {middle:.3g}"
    upper.axhline(middle, color=fig.MUTED, linewidth=0.8, linestyle="--", label=label)
    upper.set(xlim=(-1, len(shown)), ylim=(min(0.0, upper.get_ylim()[0]), None))
    upper.tick_params(labelbottom=False)
    without = len(table) - len(shown)
    ending = f"; {without} without a value" if without else ""
    upper.set_title(f"{len(shown)} analyses{ending}", fontsize=10)
    _draw_choices(shown, table.select_dtypes(exclude=["number", "bool"]), lower)
    return fig.finish(upper, "", "exponent of the power law", "upper left")


def _draw_choices(shown: pd.DataFrame, choices: pd.DataFrame, ax: Axes) -> None:
    """A mark in each analysis' column for each of its choices, a gap between kinds of choice."""
    row, ticks = 0.0, {}
    for choice in choices:
        for option in choices[choice].unique():
            row += 1.0
            chosen = np.flatnonzero(shown[choice] == option)
            ax.plot(chosen, np.full(len(chosen), row), "|", markersize=7, color=fig.OBSERVED)
            ticks[f"{choice}: {option}"] = row
        row += 0.6
    ax.set_yticks([*ticks.values()], [*ticks], fontsize=8)
    ax.set(ylim=(row + 0.2, 0.2), xlabel="analyses, sorted")


def plot_shrinkage(fit: ImpactFit, size: float, session: Session, ax: fig.Panel = None) -> Axes:
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
    ax = fig.axes_or(ax)
    raw, shrinkage = fit.raw_curve.impact(size), fit.shrinkage["impact"]
    x = np.arange(len(raw)) + 0.5
    ax.plot(x, raw, ".", markersize=3, color=fig.MUTED, label="own estimate")
    if np.isfinite(shrinkage.error):
        n_groups = len(shrinkage.weight)
        group = np.arange(len(raw)) * n_groups // len(raw)
        profile = shrinkage.smooth(np.array([raw[group == g].mean() for g in range(n_groups)]))
        ax.plot(x, profile[group], color=fig.SERIES[0], linewidth=4, alpha=0.6, label="day profile")
    ax.plot(x, fit.curve.impact(size), color=fig.FITTED, linewidth=1.0, label="shrunk (used)")
    ax.set_ylim(0.0, 1.25 * float(np.nanquantile(raw, 0.995)))
    ax.set_title(f"shrinkage factor {float(np.mean(shrinkage.weight)):.2f}", fontsize=10)
    label = f"impact of {size:,.0f} shares\n(currency/share)"
    return fig.clock_axis(fig.finish(ax, y=label, legend="upper right", ncols=3), session)


def plot_lag_estimates(
    estimates: Estimates, ylabel: str, *, curves: Curves | None = None, ax: fig.Panel = None
) -> Axes:
    """Estimates by lag with pointwise 95 % bands; curves over them, "truth" in its own colour.

    Parameters
    ----------
    estimates : mapping of label to LagEstimate, in the unit of `ylabel`
    curves : mapping of label to a function of lags

    Examples
    --------
    >>> lags = np.arange(1.0, 4.0)
    >>> estimate = LagEstimate(lags, 1 / lags, 0.01 * np.eye(3), 100, "trades")
    >>> plot_lag_estimates({"G": estimate}, "impact (bps)").get_xlabel()
    'lag (trades, log scale)'
    """
    ax, curves = fig.axes_or(ax), curves or {}
    colours = (fig.OBSERVED, *fig.SERIES) if curves else fig.SERIES
    for label, estimate, colour in fig.coloured(estimates, colours):
        low, high = estimate.conf_int()
        fig.band(ax, estimate.lags, [low, estimate["values"], high], colour, label, "o-")
    measured = np.concatenate([estimate.lags for estimate in estimates.values()])
    lags = np.geomspace(measured.min(), measured.max(), 200)
    for label, curve, colour in fig.coloured(curves, (fig.FITTED, *fig.SERIES[:2], fig.MUTED)):
        own = fig.TRUTH if label == "truth" else colour
        ax.plot(lags, curve(lags), color=own, linewidth=1.6, label=label)
    ax.set_xscale("log")
    xlabel = f"lag ({next(iter(estimates.values())).unit}, log scale)"
    return fig.finish(ax, xlabel, ylabel, "above", zero=True, ncols=3)


def plot_half_lives(
    spans: pd.DataFrame, last: float, *, truth: float | None = None, ax: fig.Panel = None
) -> Axes:
    """Half-lives with their 95 % intervals, seconds, one a line; open ends run out of the frame.

    Parameters
    ----------
    spans : DataFrame
        Index label; columns half_life, low, high (0 and inf where open), told (whether it is
        identified), and p_value of the shape: rejected ones are not drawn.
    last : float
        Longest lag measured, seconds: beyond it is extrapolation, shaded.
    truth : float, optional
        Seconds, where it is known.

    Examples
    --------
    >>> row = {"half_life": 3.0, "low": 2.0, "high": 4.0, "p_value": 0.5, "told": True}
    >>> plot_half_lives(pd.DataFrame(row, index=["exponential"]), 20.0).get_xlabel()
    'half-life (seconds, log scale); grey: not identified'
    """
    ax = fig.axes_or(ax)
    known = np.append(spans[["half_life", "low", "high"]].to_numpy(dtype=float), last)
    known = known[np.isfinite(known) & (known > 0)]
    left, right = 0.5 * float(known.min()), 3.0 * float(known.max())
    where: fig.Style = {"xycoords": ("axes fraction", "data"), "color": fig.MUTED, "fontsize": 10}
    for row, (_, span) in enumerate(spans.iloc[::-1].iterrows()):
        if span["p_value"] < REJECTED:
            fig.note(ax, "shape rejected", (0.02, row), (0, 0), **where)
            continue
        told, ends = bool(span["told"]), np.clip([span["low"], span["high"]], left, right)
        ax.plot(ends, [row, row], color=fig.FITTED if told else fig.MUTED, linewidth=2.5)
        if told:
            ax.plot(span["half_life"], row, "o", color=fig.FITTED, markersize=6)
    ax.axvspan(last, right, color=fig.MUTED, label="beyond all lags measured", **fig.SHADE)
    if truth is not None:
        ax.axvline(truth, color=fig.TRUTH, linewidth=1.4, label="truth")
    ax.set(xscale="log", xlim=(left, right), ylim=(-0.7, len(spans) - 0.3))
    ax.set_yticks(range(len(spans)), spans.index[::-1])
    label = "half-life (seconds, log scale); grey: not identified"
    return fig.finish(ax, label, legend="above", ncols=2)

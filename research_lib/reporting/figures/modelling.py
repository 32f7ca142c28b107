"""Figures of what is estimated: the form of the impact, its residuals, and how it decays."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from research_lib.checks import ArrayLike, Float
from research_lib.impact import ImpactCurve, ImpactFit
from research_lib.market import BookSnapshots, Session
from research_lib.reporting.figures import base as fig
from research_lib.transient import LagEstimate
from research_lib.transient.kernel_fit import REJECTED

MAX_CENSORED = 0.05  # of the books: what fills a larger size are the deep ones
DEEP, HALF_LIFE = "deep books only (mean)", "half-life (seconds, log scale)"
Curves = Mapping[str, Callable[[Float], Float]]
Estimates = Mapping[str, LagEstimate]
Fitted = Mapping[str, ImpactCurve]


def plot_books(books: BookSnapshots, session: Session) -> Axes:
    """Quoted spread and visible depth through the session, quartiles over its days.

    Parameters
    ----------
    books : BookSnapshots
        Of `BookSnapshots.sample`: one an interval, whole days.

    Returns
    -------
    Axes
        The first of two.

    Examples
    --------
    >>> from research_lib.market import thin_stock
    >>> books = thin_stock(Session(13)).books(26, 5, np.random.default_rng(1))
    >>> plot_books(books, Session(13)).get_ylabel()
    'quoted spread (bps)'
    """
    _, (left, right) = fig.new_figure(2, width=11)
    at = np.flatnonzero(books.complete) % session.n_intervals
    seen = books.take(books.complete)
    spread = {"spread": fig.quartiles(pd.Series(2e4 * seen.half_spread / seen.mid), at)}
    shown = {side: pd.Series(seen[f"{side}_size"].sum(axis=1)) for side in ("ask", "bid")}
    depth = {side: fig.quartiles(total, at) for side, total in shown.items()}
    fig.clock_axis(fig.plot_bands(spread, "", "quoted spread (bps)", left), session)
    fig.clock_axis(fig.plot_bands(depth, "", "visible depth (shares)", right), session)
    return left


def plot_slippage_by_part(slippage: pd.DataFrame, curves: Fitted, session: Session) -> Axes:
    """Observed slippage by trade size, with curves, at the open, at midday and at the close.

    Parameters
    ----------
    slippage : DataFrame
        Of `SlippageCurves.to_frame`. Hollow marks: sizes that over 5 % of the books cannot fill,
        so that what is seen of them are the deep books.
    curves : mapping of label to ImpactCurve
        The mean over each part's intervals is drawn, in bps of the median mid.

    Returns
    -------
    Axes
        The first of three.

    Examples
    --------
    >>> from research_lib.impact import slippage_curves
    >>> from research_lib.market import thin_stock
    >>> session = Session(13)
    >>> market = thin_stock(session)
    >>> books = market.books(26, 5, np.random.default_rng(1))
    >>> slippage = slippage_curves(books, [100.0, 400.0], "buy").to_frame(13, session)
    >>> plot_slippage_by_part(slippage, {"truth": market.true_curve}, session).get_title()
    'open'
    """
    figure, axes = fig.new_figure(3, width=11)
    unit, sizes = 1e4 / float(slippage["mid_price"].median()), slippage["trade_size"]
    grid = np.linspace(sizes.min(), sizes.max(), 60)
    often_censored = slippage["censored"].groupby(sizes).transform("mean") > MAX_CENSORED
    rows = slippage.assign(hollow=often_censored)[~slippage["censored"]]
    levels = {k: unit * np.array([c.slippage(x) for x in grid]) for k, c in curves.items()}
    for ax, (name, part) in zip(axes, session.day_parts().items(), strict=True):
        inside = rows[rows["interval"].isin(np.arange(session.n_intervals)[part])]
        seen = fig.quartiles(inside["slippage_bps"], inside["trade_size"])
        seen["middle"] = inside.groupby("trade_size")["slippage_bps"].mean()
        hollow = seen.index.isin(inside.loc[inside["hollow"], "trade_size"])
        lower, middle, upper = seen[~hollow].to_numpy().T
        reach = np.maximum([middle - lower, upper - middle], 0.0)  # a mean may be beyond a quartile
        style: fig.Style = {"color": fig.OBSERVED, "label": "observed (mean, quartiles)"}
        ax.errorbar(seen.index[~hollow], middle, reach, fmt="o", markersize=4, **style)
        for label, level, colour in fig.coloured(levels, (fig.FITTED, fig.TRUTH, fig.MUTED)):
            ax.plot(grid, level[:, part].mean(axis=1), color=colour, linewidth=1.6, label=label)
        fig.from_zero(ax)
        ax.set_title(name, fontsize=10)
        fig.finish(ax, "trade size (shares)", "slippage from mid (bps)")
        if hollow.any():
            ax.plot(seen[hollow]["middle"], "o", mfc="none", color=fig.MUTED, label=DEEP)
    marks = axes[0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside upper center", ncols=4, frameon=False)
    return axes[0]


def plot_specifications(table: pd.DataFrame) -> Axes:
    """Specification curve: analyses sorted by their exponent, and below each its choices.

    Parameters
    ----------
    table : DataFrame
        Of `multiverse`, with an exponent at least; it is drawn with its 95 % interval.

    Returns
    -------
    Axes
        The upper of two.

    Examples
    --------
    >>> found = {"exponent": [0.9, 0.2], "lower": [0.8, 0.1], "upper": [1.0, 0.3]}
    >>> plot_specifications(pd.DataFrame({"side": ["buy", "sell"], **found})).get_title()
    'a power law fits in 2 of 2 distinct analyses'
    """
    shown = table[table["exponent"].notna()].sort_values("exponent", ignore_index=True)
    upper, lower = fig.stacked_figure([3, 4], height=6.0)
    position, middle = np.arange(1, len(shown) + 1), float(shown["exponent"].median())
    upper.vlines(position, shown["lower"], shown["upper"], color=fig.FITTED, alpha=0.4)
    upper.plot(position, shown["exponent"], "o", markersize=3, color=fig.FITTED)
    named = {f"median {middle:.3g}": middle, "linear": 1.0, "square root": 0.5}
    for (label, level), style in zip(named.items(), ("--", "-", ":"), strict=True):
        upper.axhline(level, color=fig.MUTED, linewidth=0.8, linestyle=style, label=label)
    upper.set(xlim=(0, len(shown) + 1), ylim=(min(0.0, upper.get_ylim()[0]), None))
    _draw_choices(shown, table.select_dtypes(exclude=["number", "bool"]), lower)
    fig.finish(upper, "", "exponent with 95 % interval", "above", ncols=3)
    found = f"{len(shown)} of {len(table)} distinct analyses"
    upper.set_title(f"a power law fits in {found}", fontsize=10, pad=20)
    return upper


def _draw_choices(shown: pd.DataFrame, choices: pd.DataFrame, ax: Axes) -> None:
    """A mark in each analysis' column for each of its choices, a gap between kinds of choice."""
    row, ticks = 0.0, {}
    size = float(np.clip(300 / len(shown), 1.5, 5.0))  # hundreds of marks stay apart
    for choice in choices:
        for option in choices[choice].unique():
            row += 1.0
            chosen = np.flatnonzero(shown[choice] == option) + 1
            ax.axhline(row, color=fig.MUTED, linewidth=0.4, alpha=0.5)
            ax.plot(chosen, np.full(len(chosen), row), "s", markersize=size, color=fig.OBSERVED)
            ticks[f"{choice}: {option}"] = row
        row += 0.6
    ax.set_yticks([*ticks.values()], [*ticks], fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(ylim=(row + 0.2, 0.2), xlabel="distinct analyses, sorted by their exponent")


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
    ax, bps = fig.axes_or(ax), 1e4 / float(fit.observations["mid"].median())
    raw, used = (bps * one.impact(size) for one in (fit.raw_curve, fit.curve))
    if np.nanmax(raw) < fig.ROUNDING:  # the books show no impact
        raw, used = np.zeros_like(raw), np.zeros_like(used)
    shrinkage, x = fit.shrinkage["impact"], np.arange(len(raw)) + 0.5
    ax.plot(x, raw, ".", markersize=3, color=fig.MUTED, label="own estimate")
    if np.isfinite(shrinkage.error):
        group = np.arange(len(raw)) * len(shrinkage.weight) // len(raw)
        profile = shrinkage.smooth(pd.Series(raw).groupby(group).mean().to_numpy())
        ax.plot(x, profile[group], color=fig.SERIES[0], linewidth=4, alpha=0.6, label="day profile")
    ax.plot(x, used, color=fig.FITTED, linewidth=1.0, label="shrunk (used)")
    ax.set_ylim(0.0, 1.25 * float(np.nanquantile(raw, 0.995)) or 1.0)
    ax.set_title(f"shrinkage factor {float(np.mean(shrinkage.weight)):.2f}", fontsize=10)
    label = f"impact of {size:,.10g} shares (bps)"
    return fig.clock_axis(fig.finish(ax, y=label, legend="upper right", ncols=3), session)


def plot_uncertainty(fit: ImpactFit, size: float, session: Session) -> Axes:
    """What the shrinkage does, and unshrunk slippage curves with their 95 % bands.

    The curves are those of the middle intervals of the open, midday and close.

    Parameters
    ----------
    fit, size, session
        As in `plot_shrinkage`.

    Returns
    -------
    Axes
        The first of two.

    Examples
    --------
    >>> from research_lib.impact import fit_impact, slippage_curves
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket(session=Session(13)).books(26, 5, np.random.default_rng(1))
    >>> slippage = slippage_curves(books, [100.0, 400.0], "buy").to_frame(session=Session(13))
    >>> fit = fit_impact(slippage, n_intervals=13, test_fraction=0)
    >>> plot_uncertainty(fit, 400.0, Session(13)).get_ylabel()
    'impact of 400 shares (bps)'
    """
    _, (left, right) = fig.new_figure(2, width=11)
    sizes, mid = fit.observations["trade_size"], float(fit.observations["mid"].median())
    grid = np.linspace(sizes.min(), sizes.max(), 60)
    middle = {name: (part.start + part.stop) // 2 for name, part in session.day_parts().items()}
    ends = {name: 1e4 / mid * fit.band(grid, t) for name, t in middle.items()}
    bands = {name: one.rename(columns={"slippage": "middle"}) for name, one in ends.items()}
    fig.plot_bands(bands, "trade size (shares)", "slippage from mid (bps)", right)
    return plot_shrinkage(fit, size, session, left)


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
    fig.plain_numbers(ax, "x")
    xlabel = f"lag ({next(iter(estimates.values())).unit}, log scale)"
    return fig.finish(ax, xlabel, ylabel, "above", zero=True, ncols=3)


def plot_half_lives(
    spans: pd.DataFrame, last: float, *, truth: float | None = None, ax: fig.Panel = None
) -> Axes:
    """Half-lives with their 95 % intervals, seconds, one a line; open ends run out of the frame.

    Parameters
    ----------
    spans : DataFrame
        Index label; columns half_life, low, high (0 and inf where open), identified, and p_value of
        the shape: rejected ones are not drawn.
    last : float
        Longest lag measured, seconds: beyond it is extrapolation, shaded.
    truth : float, optional
        Seconds, where it is known.

    Examples
    --------
    >>> row = {"half_life": 3.0, "low": 2.0, "high": 4.0, "p_value": 0.5, "identified": True}
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
        sure, ends = bool(span["identified"]), np.clip([span["low"], span["high"]], left, right)
        ax.plot(ends, [row, row], color=fig.FITTED if sure else fig.MUTED, linewidth=2.5)
        if sure:
            ax.plot(span["half_life"], row, "o", color=fig.FITTED, markersize=6)
    ax.axvspan(last, right, color=fig.MUTED, label="beyond all lags measured", **fig.SHADE)
    if truth is not None:
        ax.axvline(truth, color=fig.TRUTH, linewidth=1.4, label="truth")
    ax.set(xscale="log", xlim=(left, right), ylim=(-0.7, len(spans) - 0.3))
    fig.plain_numbers(ax, "x")
    ax.set_yticks(range(len(spans)), spans.index[::-1])
    return fig.finish(ax, f"{HALF_LIFE}; grey: not identified", legend="above", ncols=2)


def plot_savings(
    lives: ArrayLike, saving: ArrayLike, gap: float, span: Sequence[float] = (),
    ax: fig.Panel = None,
) -> Axes:  # fmt: skip
    """What the optimal schedule saves against TWAP, bps, by the half-life of the impact.

    Parameters
    ----------
    lives, saving : (k,) seconds, bps of the arrival mid
    gap : float
        Seconds from one child order to the next.
    span : (low, high) seconds
        Interval of the half-life; empty where it is not identified.

    Examples
    --------
    >>> plot_savings([1.0, 10.0, 100.0], [0.0, 0.3, 0.1], 5.0).get_xlabel()
    'half-life (seconds, log scale)'
    """
    saved = "saving against TWAP\n(bps of the arrival mid)"
    ax = fig.plot_lines({"optimal": (lives, saving)}, HALF_LIFE, saved, ax, log="x")
    ax.axvline(gap, color=fig.MUTED, linestyle="--", label="time between child orders")
    if len(span):
        ax.axvspan(*span, color=fig.FITTED, label="95 % interval of the half-life", **fig.SHADE)
    return fig.finish(ax, legend="above", ncols=2, zero=True)

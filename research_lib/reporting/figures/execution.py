"""Figures of schedules: one order, and the orders of a portfolio."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from research_lib.market import Session
from research_lib.reporting.figures import base as fig

HEADROOM = 1.2
LABEL_ROOM = 48.0, 14.0  # points, that a risk aversion's label takes
UNNAMED = "#666666"
# Of schedules that the palette does not name.
LINES = ("-", (0, (5, 2)), ":", "-.", (0, (1, 3)), (0, (7, 2, 1, 2, 1, 2)))
WAYS = {
    "portfolio": fig.colour_of("optimal"),
    "asset by asset": fig.colour_of("risk-averse adaptive"),
    "TWAP": fig.colour_of("TWAP"),
    "cash-neutral": fig.colour_of("adaptive"),
    "L-VaR": fig.OBSERVED,
}


def _shares(schedule: Any) -> fig.Float:
    """(n,) shares of an array, a `Schedule` or an `Allocation`."""
    return np.asarray(getattr(schedule, "shares", schedule), float)


def _styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each schedule: its own colour, or grey with a line of its own."""
    lines = itertools.cycle(LINES)
    known = fig.STRATEGY_COLOURS
    return {
        name: dict(
            color=fig.colour_of(name, UNNAMED), linestyle="-" if name in known else next(lines)
        )
        for name in names
    }


def _interval_axis(ax: Axes, n: int, ylabel: str) -> Axes:
    """Ticks at whole numbers of n intervals; the legend above."""
    ax.set_xlim(0, n)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig.finish(ax, "interval", ylabel, legend="above", ncols=4)


def _filled_steps(ax: Axes, high: fig.Float, low: fig.Float, colour: str, label: str) -> None:
    ax.stairs(high, baseline=low, fill=True, color=colour, alpha=0.3, linewidth=0, label=label)


def plot_schedule(
    shares: ArrayLike,
    baselines: Mapping[str, ArrayLike] | None = None,
    caps: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The optimal child order of each interval as steps, beside baselines; shaded above the caps.

    Parameters
    ----------
    shares : (n,) shares, Schedule or Allocation
    baselines : mapping of name to (n,) shares or Schedule, optional
    caps : (n,) shares, optional
        Named, not drawn, where all are off the scale.

    Examples
    --------
    >>> plot_schedule([1.0, 3.0], {"TWAP": [2.0, 2.0]}).get_ylabel()
    'child order (shares)'
    """
    ax, x = ax or fig.new_figure()[1][0], _shares(shares)
    drawn = {name: _shares(schedule) for name, schedule in (baselines or {}).items()}
    drawn["optimal"] = x
    top = HEADROOM * max(float(part.max()) for part in drawn.values())
    ax.stairs(x, color=fig.colour_of("optimal"), fill=True, alpha=0.25)
    for name, style in _styles(drawn).items():
        ax.stairs(drawn[name], **style, linewidth=1.3, label=name, baseline=None)
    if caps is not None:
        limit = np.asarray(caps, float)
        if limit.min() < top:
            full, low = np.full(len(x), top), np.minimum(limit, top)
            _filled_steps(ax, full, low, fig.MUTED, "above the cap")
        else:
            ax.plot([], [], " ", label=f"caps from {limit.min():,.0f}, off the scale")
    ax.set_ylim(0.0, top)
    return _interval_axis(ax, len(x), "child order (shares)")


def plot_water_level(
    marginal: ArrayLike,
    at_zero: ArrayLike,
    multiplier: float | None,
    shares: ArrayLike,
    unit: str = "currency/share",
    ax: Axes | None = None,
) -> Axes:
    """What the last share costs in each interval against the multiplier.

    The order fills each interval up to one level.

    Parameters
    ----------
    marginal, at_zero : (n,) currency per share
        Marginal cost at the schedule, and of the first share.
    multiplier : currency per share, optional
        None where terms couple the intervals: each then has a level of its own.
    shares : (n,) shares
        Intervals without any are drawn from their first share's price alone.
    unit : of all prices

    Examples
    --------
    >>> plot_water_level([0.03, 0.03], [0.01, 0.02], 0.03, [10.0, 5.0]).get_ylabel()
    'marginal cost (currency/share)'
    """
    ax, traded = ax or fig.new_figure()[1][0], _shares(shares) > 0
    first = np.asarray(at_zero, float)
    last = np.where(traded, np.asarray(marginal, float), first)
    _filled_steps(ax, last, first, fig.colour_of("optimal"), "filled by the order")
    ax.stairs(first, color=fig.OBSERVED, linewidth=0.8, baseline=None, label="first share")
    level = float(last[traded].max() if traded.any() else first.min())
    if multiplier is None:
        ax.plot([], [], " ", label="no one level: terms couple the intervals")
    else:
        level, colour = max(level, multiplier), fig.colour_of("risk-averse adaptive")
        ax.axhline(multiplier, color=colour, linewidth=1.3, label="multiplier: the next share")
    top = 1.1 * max(level, min(float(first.max()), 2.0 * level))  # expensive intervals may be cut
    ax.set_ylim(min(0.0, float(first.min())), top)
    return _interval_axis(ax, len(first), f"marginal cost ({unit})")


def plot_executed(schedules: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Part of the order done by the end of each interval, per cent, a line a schedule.

    Parameters
    ----------
    schedules : mapping of name to (n,) shares, Schedule or Allocation

    Examples
    --------
    >>> plot_executed({"optimal": [1.0, 3.0]}).lines[0].get_ydata().tolist()
    [0.0, 25.0, 100.0]
    """
    ax, done = ax or fig.new_figure()[1][0], np.zeros(1)
    for name, style in _styles(schedules).items():
        done = np.append(0.0, np.cumsum(_shares(schedules[name])))
        ax.plot(100.0 * done / done[-1], **style, linewidth=1.5, label=name)
    ax.set_ylim(0, 102)
    return _interval_axis(ax, len(done) - 1, "executed (%)")


def plot_order(
    shares: ArrayLike,
    baselines: Mapping[str, ArrayLike],
    caps: ArrayLike,
    marginal: ArrayLike,
    at_zero: ArrayLike,
    multiplier: float | None,
    unit: str,
) -> list[Axes]:
    """The one picture of an order: schedule, water level and cumulative execution.

    Examples
    --------
    >>> x = np.array([1.0, 3.0])
    >>> axes = plot_order(x, {}, 4 * x, [0.03, 0.03], [0.02, 0.01], 0.03, "currency/share")
    >>> [ax.get_ylabel() for ax in axes]
    ['child order (shares)', 'marginal cost (currency/share)', 'executed (%)']
    """
    axes = fig.stacked_figure([3, 3, 2], height=8.0)
    plot_schedule(shares, baselines, caps, axes[0])
    plot_water_level(marginal, at_zero, multiplier, shares, unit, axes[1])
    plot_executed({**baselines, "optimal": shares}, axes[2])
    for ax in axes[:2]:
        ax.set_xlabel("")
    return axes


def plot_frontier(
    deviation: ArrayLike,
    cost: ArrayLike,
    risk_aversion: ArrayLike,
    unit: str = "currency",
    ax: Axes | None = None,
) -> Axes:
    """Expected cost against its standard deviation, a point a risk aversion, (k,) each.

    Points are named by their risk aversion where there is room; a schedule above the line is
    dominated.

    Examples
    --------
    >>> plot_frontier([3.0, 1.0], [1.0, 2.0], [1e-7, 1e-5]).texts[0].get_text()
    '1e-07'
    """
    ax = ax or fig.new_figure(width=5.4, height=4.0)[1][0]
    x, y, weights = (np.asarray(part, float) for part in (deviation, cost, risk_aversion))
    ax.plot(x, y, "o-", color=fig.colour_of("optimal"), **fig.POINTS)
    ax.margins(x=0.18, y=0.1)
    ax.autoscale_view()
    at = ax.transData.transform(np.column_stack([x, y])) * 72.0 / ax.figure.dpi  # points
    named: list[int] = []
    for k in range(len(x)):
        if all(np.any(np.abs(at[k] - at[other]) > LABEL_ROOM) for other in named):
            fig.note(ax, f"{weights[k]:.0e}", (x[k], y[k]), (5, 4), va="bottom")
            named.append(k)
    ax.set_title("labels: risk aversion (per currency)", fontsize=9)
    return fig.finish(ax, f"standard deviation of the cost ({unit})", f"expected cost ({unit})")


def plot_sensitivity(coefficients: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What an error in each coefficient does to the cost, per cent: if it is true, if misjudged.

    Parameters
    ----------
    coefficients : DataFrame
        As `Sensitivity.coefficients`.

    Examples
    --------
    >>> row = {"error_%": 10.0, "cost_%": 4.0, "misjudged_%": 0.2}
    >>> plot_sensitivity(pd.DataFrame(row, index=["beta"])).get_xlabel()
    'rise of the cost (%)'
    """
    ax = ax or fig.new_figure(width=6.4, height=3.2)[1][0]
    shown, error = coefficients.iloc[::-1], float(coefficients["error_%"].iloc[-1])
    columns = {
        f"it is {error:g} % larger everywhere (optimum follows)": shown["cost_%"],
        f"independent errors of {error:g} % (schedule misled)": shown["misjudged_%"],
    }
    fig.name_rows(ax, (str(name).replace("_", " ") for name in shown.index))
    _grouped_bars(ax, columns, (fig.MUTED, fig.colour_of("optimal")), "{:.2g}")
    ax.margins(x=0.15)
    ax.set_ylim(top=len(shown) + 0.2)
    return fig.finish(ax, "rise of the cost (%)", legend="upper right")


def _grouped_bars(
    ax: Axes, columns: Mapping[str, pd.Series], colours: Sequence[str], number: str
) -> None:
    """Bars of several columns in rows 0, 1, ..., each with its number at its end."""
    height = 0.8 / len(columns)
    for step, ((name, values), colour) in enumerate(zip(columns.items(), colours, strict=False)):
        at = np.arange(len(values)) + 0.4 - height * (step + 0.5)
        ax.barh(at, values, 0.9 * height, color=colour, label=name)
        for row, value in zip(at, values, strict=True):
            right = value >= 0
            ha = "left" if right else "right"
            fig.note(ax, number.format(value), (value, row), (3 if right else -3, 0), ha=ha)


def plot_child_costs(
    multiples: ArrayLike,
    costs: Mapping[str, ArrayLike],
    unit: str = "mean child",
    ax: Axes | None = None,
) -> Axes:
    """Average cost of a child order beyond the mid, bps, against its size: a line an asset.

    Parameters
    ----------
    multiples : (k,) of `unit`
    costs : mapping of asset to (k,) bps

    Examples
    --------
    >>> plot_child_costs([0, 1, 2], {"A": [1, 2, 3]}).get_ylabel()
    'average cost over the mid (bps)'
    """
    ax = ax or fig.new_figure()[1][0]
    x = np.asarray(multiples, float)
    for (name, cost), colour in zip(costs.items(), fig.SERIES, strict=False):
        ax.plot(x, np.asarray(cost, float), color=colour, linewidth=1.5, label=name)
    ax.axvline(1.0, color=fig.MUTED, linewidth=0.8, linestyle=":")
    ax.set_xlim(left=0.0)
    ax.set_ylim(bottom=0.0)
    return fig.finish(
        ax,
        f"size of a child order (times the {unit})",
        "average cost over the mid (bps)",
        legend="best",
    )


def plot_correlation(names: Sequence[str], correlation: ArrayLike, ax: Axes | None = None) -> Axes:
    """A correlation matrix, (m, m), its numbers in the cells.

    Examples
    --------
    >>> ax = plot_correlation(["A", "B"], [[1.0, -0.25], [-0.25, 1.0]])
    >>> [text.get_text() for text in ax.texts]
    ['1.00', '-0.25', '-0.25', '1.00']
    """
    import seaborn as sns

    ax = ax or fig.new_figure(width=4.5)[1][0]
    frame = pd.DataFrame(np.asarray(correlation, float), names, names)
    colours: fig.Style = {"cmap": "RdBu_r", "vmin": -1.0, "vmax": 1.0}
    sns.heatmap(frame, annot=True, fmt=".2f", square=True, cbar=False, ax=ax, **colours)
    ax.tick_params(axis="x", rotation=20)
    ax.tick_params(axis="y", rotation=0)
    ax.set_title("correlation of returns", fontsize=10)
    return ax


def plot_holdings(
    holdings: Mapping[str, ArrayLike],
    names: Sequence[str],
    session: Session,
    ax: Axes | None = None,
) -> Axes:
    """What is left to trade, per cent of each order: a colour an asset, a line style a way.

    A way in which all assets go alike, such as equal child orders, is one line in its own colour.

    Parameters
    ----------
    holdings : mapping of way to (n + 1, m) shares
        The first row is the order, not 0. Below 0 a trade went beyond its order.
    names : m assets
    session : Session

    Examples
    --------
    >>> held = np.array([[10.0, -4.0], [5.0, -1.0], [0.0, 0.0]])
    >>> ax = plot_holdings({"portfolio": held}, ["A", "B"], Session(2))
    >>> ax.lines[0].get_ydata().tolist()
    [100.0, 50.0, 0.0]
    """
    ax = ax or fig.new_figure()[1][0]
    handles: list[Line2D] = []
    for (way, held), style in zip(holdings.items(), ("-", "--", ":"), strict=False):
        assets = (100.0 * np.asarray(held, float) / np.asarray(held, float)[0]).T
        line: fig.Style = {"linewidth": 1.5, "linestyle": style}
        if len(assets) > 1 and np.allclose(assets, assets[0], atol=1e-6):
            handles += ax.plot(assets[0], color=WAYS.get(way, fig.OBSERVED), label=way, **line)
            continue
        for left, colour in zip(assets, fig.SERIES, strict=False):
            ax.plot(left, color=colour, **line)
        handles += ax.plot([], [], color=fig.OBSERVED, linestyle=style, label=way)
    for name, colour in zip(names, fig.SERIES, strict=False):
        handles.append(Line2D([], [], color=colour, label=name))
    return fig.finish(
        ax,
        session=session,
        ylabel="left to trade (% of the order)",
        zero=True,
        legend="best",
        handles=handles,
        ncols=2,
    )


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

    Examples
    --------
    >>> plot_frontiers({"portfolio": ([1.0, 3.0], [4.0, 1.0])}).get_ylabel()
    'expected cost (bps)'
    """
    ax = ax or fig.new_figure(width=5.4, height=4.0)[1][0]
    for way, (deviation, cost) in frontiers.items():
        x, y = np.asarray(deviation), np.asarray(cost)
        ax.plot(x, y, color=WAYS.get(way, fig.OBSERVED), linewidth=1.6, label=way)
    if tangent is not None:
        limits, x = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}, np.array(ax.get_xlim())
        style: fig.Style = {"color": fig.MUTED, "linewidth": 1.0, "label": "equal value at risk"}
        ax.plot(x, tangent[1] - tangent[0] * x, "--", **style)
        ax.set(**limits)
    for (way, at), marker in zip((points or {}).items(), "os^Dv", strict=False):
        style = {"color": WAYS.get(way, fig.OBSERVED), "markersize": 6, "markeredgecolor": "white"}
        ax.plot(*at, marker, label=way, **style)
    ax.margins(0.06)
    return fig.finish(
        ax, "standard deviation of the cost (bps)", "expected cost (bps)", legend="best"
    )


def plot_net_value(
    values: Mapping[str, ArrayLike], session: Session, ax: Axes | None = None
) -> Axes:
    """Value left to sell less value left to buy, a line a way of trading, (n + 1,) currency each.

    Examples
    --------
    >>> plot_net_value({"portfolio": [2e6, 1e6, 0.0]}, Session(2)).lines[0].get_ydata().tolist()
    [2.0, 1.0, 0.0]
    """
    ax = ax or fig.new_figure()[1][0]
    for way, value in values.items():
        neutral = way == "cash-neutral"  # equal child orders may be neutral as well: both are seen
        line: fig.Style = (
            {"linestyle": (0, (4, 4)), "linewidth": 1.5} if neutral else {"linewidth": 2.2}
        )
        millions, colour = np.asarray(value, float) / 1e6, WAYS.get(way, fig.OBSERVED)
        ax.plot(millions, color=colour, label=way, zorder=2 + neutral, **line)
    return fig.finish(
        ax, session=session, ylabel="net value left to trade (million)", zero=True, legend="best"
    )


def plot_attribution(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each asset adds to, or would be of, the portfolio's cost and variance, per cent.

    Parameters
    ----------
    shares : DataFrame (m, k)
        Index the assets, a column a measure. What assets would bear alone need not sum to 100.

    Examples
    --------
    >>> plot_attribution(pd.DataFrame({"cost": [60.0, 40.0]}, index=["A", "B"])).texts[0].get_text()
    '60'
    """
    ax = ax or fig.new_figure(width=6.4)[1][0]
    fig.name_rows(ax, shares.index)
    _grouped_bars(ax, dict(shares.items()), fig.SERIES, "{:.0f}")
    ax.margins(x=0.12)
    return fig.finish(ax, "per cent of the portfolio's cost or variance", legend="best")


def plot_regret(
    regret: pd.DataFrame, realised: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """Cost of a correlation estimated over few days, and of taking it as 0, above the best.

    The mean, and up to the 95 % quantile of drawn estimates.

    Parameters
    ----------
    regret : DataFrame
        As `correlation_regret`, of drawn estimates.
    realised : DataFrame, optional
        As `realised_regret`, in the market itself; broken lines.

    Examples
    --------
    >>> days = ["20", "200", "none"]
    >>> table = pd.DataFrame({"mean": [4.0, 0.4, 30.0], "upper": [9.0, 0.9, 30.0]}, index=days)
    >>> plot_regret(table).lines[0].get_xdata().tolist()
    [20, 200]
    """
    ax = ax or fig.new_figure(width=7.0)[1][0]
    drawn = {"estimates drawn": (regret, "-")}
    if realised is not None and len(realised):
        drawn["the market's next days"] = realised, "--"
    for kind, (table, line) in drawn.items():
        estimated = table.drop(index="none").astype(float)
        days, colour = estimated.index.astype(int), fig.colour_of("optimal")
        if line == "-":
            band: fig.Style = {"color": colour, "alpha": 0.15, "linewidth": 0}
            label = "to the 95 % quantile of drawn estimates"
            ax.fill_between(days, 0.0, estimated["upper"], label=label, **band)
        style: fig.Style = {"linestyle": line, "label": f"mean, {kind}", **fig.POINTS}
        ax.plot(days, estimated["mean"], marker="o", color=colour, **style)
        zero, colour = float(table["mean"]["none"]), WAYS["asset by asset"]
        ax.axhline(zero, color=colour, linestyle=line, linewidth=1.3, label=f"taken as 0, {kind}")
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(days, [str(day) for day in days])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_ylim(top=3.0 * ax.get_ylim()[1])  # room for the legend
    return fig.finish(
        ax,
        "days that the correlation is estimated on",
        "cost plus risk above the best (%)",
        legend="upper right",
        ncols=len(drawn),
    )

"""What figures share: colours, bands, intervals, legends, clock axes; and the plainest figures.

Each function takes `ax=None`, draws, labels with units and returns the Axes.
"""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from research_lib.checks import ArrayLike
from research_lib.errors import ValidationError
from research_lib.market import Session
from research_lib.reporting.manifest import write_whole
from research_lib.wording import significant

Style = dict[str, Any]
Panel = Axes | None
Named = Mapping[str, ArrayLike]
Lines = Mapping[str, tuple[ArrayLike, ArrayLike]]
Tables = Mapping[Any, pd.DataFrame]

# Okabe and Ito's colour-blind-safe palette; one colour a strategy in the whole project.
STRATEGY_COLOURS = {
    "TWAP": "#E69F00", "TWAP after the open": "#F0E442", "TWAP from minute 30": "#F0E442",
    "VWAP": "#CC79A7", "depth-weighted": "#CC79A7", "Almgren-Chriss": "#56B4E9",
    "best benchmark": "#999999", "optimal": "#0072B2", "static optimal": "#0072B2",
    "adaptive": "#009E73", "perfect foresight": "#000000", "perfect foresight, no cap": "#000000",
}  # fmt: skip
# Ways to trade a portfolio, beside TWAP.
WAYS = {"portfolio": "#0072B2", "asset by asset": "#D55E00", "cash-neutral": "#009E73"}
# The other colours of the palette are for everything that is no strategy.
OBSERVED, FITTED, TRUTH, MUTED = "#000000", "#D55E00", "#009E73", "#999999"
SERIES = ("#56B4E9", "#CC79A7", "#009E73", "#D55E00")
# Paul Tol's muted scheme, for assets: none is the colour of a way to trade.
ASSETS = [
    "#88CCEE", "#882255", "#999933", "#332288", "#CC6677", "#44AA99", "#DDCC77", "#AA4499",
    "#117733",
]  # fmt: skip
# Places of a legend outside the panel, where it hides nothing.
OUTSIDE: dict[str, Style] = {
    "above": {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2},
    "right": {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)},
}
ROUNDING = 1e-9  # bps, and below all that is drawn
SHADE: Style = {"alpha": 0.15, "linewidth": 0}


def new_figure(n_axes: int = 1, width: float = 9.0, height: float = 3.6) -> tuple[Figure, Any]:
    """A figure of `n_axes` panels side by side, laid out so that labels do not overlap.

    Examples
    --------
    >>> figure, axes = new_figure(2)
    >>> len(axes)
    2
    """
    figure = plt.figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
    return figure, list(figure.subplots(1, n_axes, squeeze=False)[0])


def axes_or(ax: Panel, width: float = 9.0, height: float = 3.6) -> Axes:
    """These Axes, or those of a new figure of this size."""
    return ax or new_figure(1, width, height)[1][0]


def stacked_figure(heights: Sequence[float], height: float) -> list[Axes]:
    """Panels of one figure, one above the other, of these relative heights and one x axis."""
    figure = plt.figure(figsize=(9.0, height), layout="constrained")
    return list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))


def save_figure(drawn: Axes | Figure, path: str | Path) -> Path:
    """Write a figure, or the one that an Axes is part of, whole or not at all.

    Parameters
    ----------
    path : path
        Its ending names the format; png without one. The folder must exist.

    Raises
    ------
    ValidationError
        An unknown format.

    Examples
    --------
    >>> import tempfile
    >>> figure, _ = new_figure()
    >>> save_figure(figure, Path(tempfile.mkdtemp(), "empty.png")).name
    'empty.png'
    """
    target = Path(path)
    try:
        content = figure_bytes(drawn, target.suffix.lstrip(".") or "png")
    except ValueError as error:
        raise ValidationError(f"no figure is written as {target.suffix}: {error}") from error
    write_whole(target, content)
    return target


def figure_bytes(drawn: Axes | Figure, kind: str = "png") -> bytes:
    """A figure, or that of an Axes, as the bytes of a file, the same for the same drawing."""
    stream, figure = io.BytesIO(), drawn.get_figure(root=True)
    assert figure is not None, "axes that were taken out of their figure"
    # Without the name of the software: its version would change the file's bytes.
    figure.savefig(stream, format=kind, dpi=110, metadata={"Software": None})
    return stream.getvalue()


def colour_of(name: Any, default: str = MUTED) -> str:
    """The own colour of a strategy or of a way to trade a portfolio; `default` of anything else."""
    return (WAYS | STRATEGY_COLOURS).get(str(name), default)


def coloured(items: Mapping[Any, Any], colours: Sequence[str] = SERIES) -> Iterator[Any]:
    """Name, value and colour of each: a strategy's own, else the next of `colours`."""
    for (name, value), colour in zip(items.items(), itertools.cycle(colours), strict=False):
        yield name, value, colour_of(name, colour)


def asset_colours(n: int) -> list[Any]:
    """n colours, no two alike: colour-blind safe up to nine, from one colour map beyond.

    Examples
    --------
    >>> [len(set(asset_colours(n))) for n in (2, 9, 40)]
    [2, 9, 40]
    """
    beyond = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, n))
    return ASSETS[:n] if n <= len(ASSETS) else [tuple(colour) for colour in beyond]


def quartiles(values: pd.Series, by: ArrayLike) -> pd.DataFrame:
    """The band that the figures draw: quartiles of `values` (m,) in each group of `by` (m,).

    Returns
    -------
    DataFrame
        Index the sorted groups; columns lower, middle, upper; NaN values are left out.

    Examples
    --------
    >>> quartiles(pd.Series([1.0, 2.0, 3.0, 7.0]), [0, 0, 0, 1]).loc[0].tolist()
    [1.5, 2.0, 2.5]
    """
    groups, ends = values.groupby(np.asarray(by)), {"lower": 0.25, "middle": 0.5, "upper": 0.75}
    return pd.DataFrame({name: groups.quantile(q) for name, q in ends.items()})


def band(ax: Axes, x: Any, ends: Any, colour: str, label: Any = None, fmt: str = "-") -> None:
    """A line between the ends of a band, which is (3, k): lower, middle, upper."""
    lower, middle, upper = np.asarray(ends, float)
    ax.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
    ax.plot(x, middle, fmt, color=colour, markersize=3, linewidth=1.3, label=label)


def name_rows(ax: Axes, names: Iterable[Any]) -> None:
    """Rows 0, 1, ... from below, named on the y axis, with a line at x = 0."""
    shown = [str(name) for name in names]
    ax.set_yticks(range(len(shown)), shown)
    ax.set_ylim(-0.6, len(shown) - 0.35)
    ax.axvline(0.0, color=MUTED, linewidth=0.8)


def note(ax: Axes, text: str, at: Any, offset: tuple[float, float] = (4, 0), **how: Any) -> None:
    """A small text beside a point, `offset` points away from it."""
    ax.annotate(text, at, offset, textcoords="offset points", va="center", **{"fontsize": 8, **how})


def finish(
    ax: Axes, x: str = "", y: str = "", legend: str = "", *, zero: bool = False, **how: Any
) -> Axes:
    """What most figures end with: labels, a line at 0, a legend.

    Parameters
    ----------
    legend : str
        Its place in the panel, "above" or "right" of it; none where it is empty.
    **how
        Of the legend, as `Axes.legend` takes it.
    """
    if zero:
        ax.axhline(0.0, color=MUTED, linewidth=0.8)
    ax.set(xlabel=x or ax.get_xlabel(), ylabel=y or ax.get_ylabel())
    if legend:
        place = OUTSIDE.get(legend, {"loc": legend})
        ax.legend(**{"frameon": False, "fontsize": 8, **place, **how})
    return ax


def from_zero(ax: Axes) -> None:
    """A y axis from 0 or the least value, with room above: a flat line is not on the frame."""
    ax.set_ylim(min(0.0, 1.06 * ax.dataLim.y0), 1.06 * max(ax.get_ylim()[1], ROUNDING))


def clock_axis(ax: Axes, session: Session) -> Axes:
    """Label the x axis, in intervals of the session, by time of day; of blocks by minutes."""
    (names, at), label = session.whole_hours(), f"time of day ({session.timezone})"
    if session.block is not None:
        parts, label = np.linspace(0.0, 1.0, 5), "minutes into the session"
        at = (parts * session.n_intervals).tolist()
        names = [f"{one:g}" for one in pd.Timedelta(session.block) / pd.Timedelta("1min") * parts]
    ax.set_xticks(at, names)
    ax.set(xlim=(0, session.n_intervals), xlabel=label)
    return ax


class _PlainLog(LogFormatter):
    """Where the stock formatter labels a tick, as 0.1 and 10,000, not as 1e-01 and 1e4."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,g}" if super().__call__(x, pos) else ""


def plain_numbers(ax: Axes, log: str) -> None:
    """Label logarithmic axes ("x", "y" or "xy") by plain numbers, thinned out."""
    for axis in [getattr(ax, f"{name}axis") for name in log]:
        axis.set(major_formatter=_PlainLog(), minor_formatter=_PlainLog())


def plot_bands(bands: Tables, xlabel: str, ylabel: str, ax: Panel = None) -> Axes:
    """Lines with bands, such as medians with quartile ranges or curves with their intervals.

    Parameters
    ----------
    bands : mapping of label to DataFrame
        Index x; columns lower, middle, upper, in the unit of `ylabel`.

    Examples
    --------
    >>> band = quartiles(pd.Series([1.0, 2.0, 3.0, 4.0]), [0, 0, 1, 1])
    >>> ax = plot_bands({"spread": band}, "interval", "spread (bps)")
    >>> clock_axis(ax, Session(2)).get_xlabel()
    'time of day (America/New_York)'
    """
    ax = axes_or(ax)
    for label, table, colour in coloured(bands):
        band(ax, table.index, table[["lower", "middle", "upper"]].T, colour, label)
    from_zero(ax)
    return finish(ax, xlabel, ylabel, "best" if len(bands) > 1 else "")


def plot_lines(
    lines: Lines, xlabel: str, ylabel: str, ax: Panel = None, fmt: str = "o-", log: str = ""
) -> Axes:
    """Lines, with points unless `fmt` is "-"; a strategy has its own colour.

    Parameters
    ----------
    lines : mapping of label to (x (k,), y (k,))
        In the units of the axis labels.
    log : "", "x", "y" or "xy"
        The axes that are logarithmic.

    Examples
    --------
    >>> plot_lines({"TWAP": ([1, 2], [3.0, 4.0])}, "size (shares)", "cost (bps)").get_xlabel()
    'size (shares)'
    """
    ax = axes_or(ax)
    for label, (x, y), colour in coloured(lines):
        ax.plot(x, y, fmt, color=colour, label=label, markersize=4, linewidth=1.3)
    ax.set(**{f"{axis}scale": "log" for axis in log})
    plain_numbers(ax, log)
    if "y" not in log:  # a flat line is not under the legend
        low, high = min(0.0, ax.get_ylim()[0]), ax.get_ylim()[1]
        ax.set_ylim(low, max(0.0, high) + 0.1 * (high - low))
    return finish(ax, xlabel, ylabel, "best")


def plot_intervals(table: pd.DataFrame, xlabel: str, ax: Panel = None, colour: str = MUTED) -> Axes:
    """Estimates with their intervals, the numbers right of the panel; NaN ends are not drawn.

    Parameters
    ----------
    table : DataFrame
        Index the rows' names, the first on top; columns the estimate, its lower and its upper
        end, in the unit of `xlabel`.
    colour : str
        Of rows that are no strategies.

    Examples
    --------
    >>> row = {"saving_%": 40.0, "saving_lower_%": 30.0, "saving_upper_%": 45.0}
    >>> ax = plot_intervals(pd.DataFrame(row, index=["adaptive"]), "saving (%)")
    >>> ax.get_yticklabels()[0].get_text(), ax.texts[0].get_text()
    ('adaptive', '40.0')
    """
    ax, shown = axes_or(ax), table.astype(float)[::-1]
    for row, (name, (middle, lower, upper)) in enumerate(shown.iterrows()):
        own, reach = colour_of(name, colour), np.maximum([[middle - lower], [upper - middle]], 0.0)
        ends = reach if np.isfinite(reach).all() else None
        ax.errorbar(middle, row, xerr=ends, fmt="o", color=own, markersize=5, capsize=3)
        # Beside the panel a number lies on no line, whatever the values.
        note(ax, significant(middle), (1.0, row), (6, 0), xycoords=("axes fraction", "data"))
    name_rows(ax, shown.index)
    return finish(ax, xlabel)

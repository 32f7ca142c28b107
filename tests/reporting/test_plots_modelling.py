"""Figures on the choice of a form: they show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import slippage_frame
from matplotlib.axes import Axes

from research_lib.impact import LinearImpact, fit_impact
from research_lib.market import Session
from research_lib.reporting import (
    plot_bands,
    plot_intervals,
    plot_shrinkage,
    plot_slippage_by_part,
    plot_specifications,
)


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def specifications() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "reference": ["touch", "mid", "mid"], "normalisation": "shares", "sampling": "events",
            "weight": ["equal", "equal", "1/size^2"], "side": "buy", "exponent": [0.9, 0.2, np.nan],
            "lower": [0.8, 0.1, np.nan], "upper": [1.0, 0.3, np.nan],
            "saving_out_%": [3.0, -1.0, 2.0],
        }
    )  # fmt: skip


def test_the_specification_curve_is_sorted_and_marks_the_choices() -> None:
    upper = plot_specifications(specifications())
    assert upper.lines[0].get_ydata().tolist() == [0.2, 0.9]
    assert upper.get_title() == "a power law fits in 2 of 3 distinct analyses"
    lower = upper.figure.axes[1]
    names = [text.get_text() for text in lower.get_yticklabels()]
    assert names[:2] == ["reference: touch", "reference: mid"]
    marks = [line.get_xdata().tolist() for line in lower.lines if line.get_marker() == "s"]
    assert marks[:2] == [[2], [1]]


def test_hundreds_of_analyses_are_marked_apart() -> None:
    many = pd.concat([specifications()] * 100, ignore_index=True)
    (upper, lower) = plot_specifications(many).figure.axes
    width = lower.get_window_extent().width / 200 * 72 / lower.figure.dpi  # points
    assert all(
        line.get_markersize() <= 0.7 * width for line in lower.lines if len(line.get_xdata()) > 2
    )
    assert upper.get_title() == "a power law fits in 200 of 300 distinct analyses"


def test_slippage_is_drawn_by_part_of_the_day_deep_books_hollow() -> None:
    session = Session(12)
    curve = LinearImpact(np.linspace(1e-5, 3e-5, 12), 0.01)
    frame = slippage_frame(curve, 8)
    frame["slippage_bps"] = 1e4 * frame["avg_slippage"] / frame["mid_price"]
    largest = frame["trade_size"] == frame["trade_size"].max()
    frame["censored"] = largest & (frame["interval"] % 2 == 0)
    first = plot_slippage_by_part(frame, {"fitted": curve}, session)
    panels = first.figure.axes
    assert [ax.get_title() for ax in panels] == ["open", "midday", "close"]
    for ax, part in zip(panels, session.day_parts().values(), strict=True):
        drawn = {line.get_label(): line for line in ax.lines}
        x, y = drawn["fitted"].get_data()
        bps = 1e4 / frame["mid_price"].median()
        assert y[-1] == pytest.approx(bps * np.mean(curve.slippage(x[-1])[part]))
        assert drawn["deep books only (mean)"].get_xdata().tolist() == [x[-1]]


def test_shrunk_and_raw_impact_are_drawn_as_fitted() -> None:
    noise = np.random.default_rng(2).normal(0, 1e-3, (8, 26, 1))
    frame = slippage_frame(LinearImpact(np.full(26, 2e-5), 0.01), 8, book_noise=noise)
    fit = fit_impact(frame, n_intervals=26, test_fraction=0)
    ax = plot_shrinkage(fit, 400.0, Session(26))
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    bps = 1e4 / fit.observations["mid"].median()
    assert drawn["own estimate"].tolist() == (bps * fit.raw_curve.impact(400.0)).tolist()
    assert drawn["shrunk (used)"].tolist() == (bps * fit.curve.impact(400.0)).tolist()
    weight = fit.shrinkage["impact"].weight
    mixture = weight * drawn["own estimate"] + (1 - weight) * drawn["day profile"]
    assert np.allclose(mixture, drawn["shrunk (used)"])


def test_impact_that_is_rounding_is_drawn_as_none() -> None:
    rounding = 1e-18 * np.random.default_rng(2).random((8, 26, 5))
    frame = slippage_frame(LinearImpact(np.zeros(26), 0.01), 8, row_noise=rounding)
    ax = plot_shrinkage(fit_impact(frame, n_intervals=26, test_fraction=0), 400.0, Session(26))
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert not drawn["own estimate"].any()
    assert not drawn["shrunk (used)"].any()
    assert ax.get_ylim() == (0.0, 1.0)


def test_a_flat_line_is_not_drawn_on_the_frame() -> None:
    band = pd.DataFrame({"middle": 3.6, "lower": 3.6, "upper": 3.6 + 1e-14}, index=[10.0, 500.0])
    assert plot_bands({"open": band}, "trade size (shares)", "slippage (bps)").get_ylim()[1] > 3.7


def test_curve_bands_reach_the_largest_size() -> None:
    band = pd.DataFrame(
        {"middle": [1.0, 2.0], "lower": [0.9, 1.8], "upper": [1.1, 2.2]}, index=[10.0, 500.0]
    )
    ax = plot_bands({"open": band, "close": 0.5 * band}, "trade size (shares)", "slippage (bps)")
    assert labels(ax) == ["open", "close"]
    assert ax.lines[0].get_xdata().tolist() == [10.0, 500.0]
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_intervals_are_drawn_whole_and_estimates_without_one_as_points() -> None:
    table = pd.DataFrame(
        {"saving": [4.0, 0.0], "lower": [3.8, np.nan], "upper": [4.2, np.nan]},
        index=["linear", "TWAP (out)"],
    )
    ax = plot_intervals(table, "saving (bps)")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["TWAP (out)", "linear"]
    (interval,) = (bar.get_segments()[0][:, 0].tolist() for bar in ax.collections)
    assert interval == pytest.approx([3.8, 4.2])
    assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"] == [0.0, 4.0]
    assert [text.get_text() for text in ax.texts] == ["0", "4.00"]

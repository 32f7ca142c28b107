"""Figures of one order: what they draw."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from research_lib.execution import allocate, almgren_chriss, twap
from research_lib.impact import LinearImpact
from research_lib.reporting import (
    plot_executed,
    plot_frontiers,
    plot_grouped_bars,
    plot_schedule,
    plot_water_level,
)


def test_what_the_caps_forbid_is_shaded_where_it_is_near() -> None:
    near = plot_schedule([1.0, 3.0], {"TWAP": [2.0, 2.0]}, caps=[3.0, 3.5])
    shaded = {patch.get_label(): patch for patch in near.patches}["above the cap"].get_data()
    assert shaded.baseline.tolist() == [3.0, 3.5]
    assert near.get_ylim()[1] == pytest.approx(3.6)
    far = plot_schedule([1.0, 3.0], caps=[40.0, 50.0])
    assert "caps from 40, off the scale" in [
        text.get_text() for text in far.get_legend().get_texts()
    ]


def test_intervals_without_shares_stay_dry() -> None:
    ax = plot_water_level([0.03, 0.05], [0.01, 0.05], 0.03, [10.0, 0.0])
    filled = {patch.get_label(): patch for patch in ax.patches}["filled by the order"].get_data()
    assert filled[0] - filled.baseline == pytest.approx([0.02, 0.0])
    assert ax.lines[0].get_ydata()[0] == 0.03


def test_execution_ends_at_all_of_the_order() -> None:
    ax = plot_executed({"optimal": [1.0, 3.0], "TWAP": [2.0, 2.0]})
    assert ax.lines[0].get_ydata().tolist() == [0, 25, 100]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_frontier_and_bars_draw_every_row() -> None:
    line = {"optimal": (np.arange(8.0), np.arange(8.0)[::-1])}
    frontier = plot_frontiers(line, weights=10.0 ** np.arange(-8, 0))
    assert len(frontier.lines[0].get_xdata()) == 8
    assert len(frontier.texts) > 3
    table = pd.DataFrame({"true": [4.0, -1.0], "misled": [0.2, 0.1]}, index=["beta", "spread"])
    bars = plot_grouped_bars(table, "rise of the cost (%)", "{:.2g}")
    assert sorted(bar.get_width() for bar in bars.patches) == [-1.0, 0.1, 0.2, 4.0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["beta", "spread"]


@pytest.mark.slow
def test_labels_of_a_dense_frontier_do_not_overlap() -> None:
    weights = 10.0 ** np.linspace(-9, -4, 21)
    points = [
        almgren_chriss(1e5, 20, volatility=0.1, temporary=1e-5, risk_aversion=w) for w in weights
    ]
    line = [p.variance**0.5 for p in points], [p.expected_cost for p in points]
    ax = plot_frontiers({"optimal": line}, weights=weights)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) > 2
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.slow
def test_schedules_without_a_colour_of_their_own_differ_by_line() -> None:
    best = allocate(LinearImpact([1, 2]), 3)
    schedules = {"front-loaded": twap(10, 2), "Almgren-Chriss": twap(10, 2), "optimal": best}
    lines = plot_executed(schedules).lines
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 3
    stairs = plot_schedule(schedules["optimal"], {"front-loaded": schedules["front-loaded"]})
    assert stairs.get_xticks().tolist() == [0, 1, 2]


def test_a_cap_just_off_the_scale_is_told_not_shaded() -> None:
    labels = [
        text.get_text()
        for text in plot_schedule([20.0, 10.0], caps=[30.0, 30.0]).get_legend().get_texts()
    ]
    assert "caps from 30, off the scale" in labels
    assert "above the cap" not in labels


def test_legends_lie_above_the_panel() -> None:
    for ax in (
        plot_schedule([1.0, 2.0]),
        plot_water_level([0.03, 0.03], [0.01, 0.02], 0.03, [1.0, 2.0]),
    ):
        ax.figure.canvas.draw()
        assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1

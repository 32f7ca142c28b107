"""Figures of one order: what they draw."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.reporting import plot_executed, plot_frontiers, plot_schedule, plot_water_level


def test_what_the_caps_forbid_is_shaded_where_it_is_near() -> None:
    near = plot_schedule([1.0, 3.0], {"TWAP": [2.0, 2.0]}, caps=[3.0, 3.5])
    shaded = {patch.get_label(): patch for patch in near.patches}["above the cap"].get_data()
    assert shaded.baseline.tolist() == [3.0, 3.5]
    assert near.get_ylim()[1] == pytest.approx(3.6)
    far = plot_schedule([1.0, 3.0], {}, caps=[40.0, 50.0])
    assert [text.get_text() for text in far.texts] == ["caps from 40 shares, above this scale"]


def test_intervals_without_shares_stay_dry() -> None:
    ax = plot_water_level([0.03, 0.05], [0.01, 0.05], 0.03, [10.0, 0.0], "currency/share")
    filled = {patch.get_label(): patch for patch in ax.patches}["filled by the order"].get_data()
    assert filled[0] - filled.baseline == pytest.approx([0.02, 0.0])
    assert ax.lines[0].get_ydata()[0] == 0.03


def test_execution_ends_at_all_of_the_order() -> None:
    ax = plot_executed({"optimal": [1.0, 3.0], "TWAP": [2.0, 2.0]})
    assert ax.lines[0].get_ydata().tolist() == [0, 25, 100]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_a_frontier_draws_every_point() -> None:
    frontier = plot_frontiers({"optimal": (np.arange(8.0), np.arange(8.0)[::-1])})
    assert len(frontier.lines[0].get_xdata()) == 8


def test_a_cap_just_off_the_scale_is_told_not_shaded() -> None:
    ax = plot_schedule([20.0, 10.0], {}, caps=[30.0, 30.0])
    assert [text.get_text() for text in ax.texts] == ["caps from 30 shares, above this scale"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["optimal"]


def test_legends_lie_above_the_panel() -> None:
    for ax in (
        plot_schedule([1.0, 2.0], {}, np.inf),
        plot_water_level([0.03, 0.03], [0.01, 0.02], 0.03, [1.0, 2.0], "currency/share"),
    ):
        ax.figure.canvas.draw()
        assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1

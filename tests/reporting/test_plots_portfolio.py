"""Figures of portfolio schedules draw what they are given, with units."""

from __future__ import annotations

import matplotlib
import numpy as np

from research_lib.market import Session
from research_lib.reporting import ASSETS, SERIES, WAYS, plot_frontiers, plot_holdings, plot_lines

matplotlib.use("Agg")
NAMES = ["A", "B"]


def test_child_costs_are_a_line_an_asset() -> None:
    costs = {"A": ([0, 1, 2], [1, 2, 3]), "B": ([0, 1, 2], [2, 2, 2])}
    ax = plot_lines(costs, "size (times the mean child)", "cost (bps)", fmt="-")
    assert ax.lines[0].get_ydata().tolist() == [1, 2, 3]
    assert [line.get_color() for line in ax.lines[:2]] == list(SERIES[:2])
    assert "bps" in ax.get_ylabel()


def test_holdings_are_per_cent_of_each_order_whatever_its_sign() -> None:
    held = np.array([[10.0, -4.0], [5.0, -1.0], [0.0, 0.0]])
    ax = plot_holdings({"portfolio": held, "asset by asset": held / 2}, NAMES, Session(2))
    assert ax.lines[0].get_ydata().tolist() == [100.0, 50.0, 0.0]
    assert ax.lines[1].get_ydata().tolist() == [100.0, 25.0, 0.0]
    assert ax.lines[3].get_linestyle() == "--"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["portfolio", "asset by asset", "A", "B"]


def test_no_asset_and_no_way_is_left_out_however_many_there_are() -> None:
    held = np.vstack([np.arange(1.0, 7.0), np.arange(6.0, 0.0, -1.0) / 4, np.zeros(6)])
    ways = {f"way {k}": held for k in range(5)}
    ax = plot_holdings(ways, list("ABCDEF"), Session(2))
    assert len([line for line in ax.lines if len(line.get_xdata()) == 3]) == 5 * 6
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [*ways, *"ABCDEF"]
    points = {f"way {k}": (float(k), 1.0) for k in range(7)}
    assert len(plot_frontiers({}, points).lines) == 7


def test_a_line_of_equal_merit_does_not_widen_the_axes_and_each_name_stands_once() -> None:
    points, frontier = {"TWAP": (3.0, 2.0), "portfolio": (2.0, 2.0)}, ([1.0, 3.0], [4.0, 1.0])
    ax = plot_frontiers({"portfolio": frontier}, points, {"equal risk": ([0, 9], [50.0, 0.0])})
    assert ax.get_xlim()[1] < 4
    assert ax.get_ylim()[1] < 5
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["portfolio", "TWAP", "equal risk"]


def test_no_two_assets_share_a_colour_and_none_has_that_of_a_way_to_trade() -> None:
    for n in (3, 6, 12):
        held = np.vstack([np.ones(n), np.linspace(0.9, 0.1, n), np.zeros(n)])
        ax = plot_holdings({"portfolio": held}, [f"S{k}" for k in range(n)], Session(2))
        shown = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert len({str(line.get_color()) for line in shown}) == n
    assert not set(ASSETS) & set(WAYS.values())

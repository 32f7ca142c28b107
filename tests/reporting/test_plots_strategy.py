"""Figures of strategies: what each costs by parts, one colour each, intervals where they belong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from research_lib.evaluation import known_before, standard_strategies
from research_lib.market import Session, preset
from research_lib.reporting import (
    PART_COLOURS,
    STRATEGY_COLOURS,
    new_figure,
    plot_changes,
    plot_cost_parts,
    plot_costs,
    plot_intervals,
    plot_urgencies,
)

PARTS = ["spread", "walk", "selection", "carried", "fees"]
# Names of which a run has one only, or that are two views of one thing.
ALIKE = [
    {"TWAP after the open", "TWAP from minute 30"},
    {"VWAP", "depth-weighted"},
    {"optimal", "static optimal"},
    {"perfect foresight", "perfect foresight, no cap"},
]


def _table() -> pd.DataFrame:
    """bps; a selection that pays for one, and a rebate for all."""
    rows = {
        "adaptive": [2.0, 0.5, -0.75, 4.0, -0.25],
        "TWAP": [4.0, 0.25, 0.0, 4.0, -0.25],
        "static optimal": [3.0, 0.25, 0.5, 4.0, -0.25],
    }
    table = pd.DataFrame(rows, index=[f"{part}_bps" for part in PARTS]).T
    return table.assign(total_bps=table.sum(axis=1))


def _stack(ax: Axes, row: int) -> dict[str, tuple[float, float]]:
    """Ends of each part's bar of one row, by the legend's name of its colour."""
    drawn = zip(*ax.get_legend_handles_labels(), strict=True)
    names = {
        bars.patches[0].get_facecolor(): label
        for bars, label in drawn
        if isinstance(bars, BarContainer)
    }
    return {
        names[bar.get_facecolor()]: (bar.get_x(), bar.get_x() + bar.get_width())
        for bar in ax.patches
        if bar.get_y() < row < bar.get_y() + bar.get_height() and bar.get_width() != 0.0
    }


def test_no_two_strategies_of_a_run_share_a_colour() -> None:
    by_colour: dict[str, set[str]] = {}
    for name, colour in STRATEGY_COLOURS.items():
        by_colour.setdefault(colour, set()).add(name)
    assert [names for names in by_colour.values() if len(names) > 1] == ALIKE


def test_no_part_of_a_cost_has_the_colour_of_a_strategy() -> None:
    assert set(PART_COLOURS.values()).isdisjoint(STRATEGY_COLOURS.values())


@pytest.mark.parametrize("fitted", [True, False])
def test_every_standard_strategy_has_a_colour(fitted: bool) -> None:
    session = Session(13)
    books = preset("thin_stock", session).books(3 * 13, 5, np.random.default_rng(1))
    (known,) = known_before(books, session, first=2)
    prior = dataclasses.replace(known.priors["buy"], earlier=fitted)
    names = [one.name for one in standard_strategies(prior)]
    assert len(names) == (7 if fitted else 4)
    assert set(names) <= set(STRATEGY_COLOURS)


def test_the_cheapest_is_on_top_and_its_total_a_dot() -> None:
    ax = plot_cost_parts(_table())
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "TWAP", "static optimal", "adaptive",
    ]  # fmt: skip
    (totals,) = [line for line in ax.lines if line.get_label() == "total"]
    assert totals.get_xdata().tolist() == [8.0, 7.5, 5.5]
    assert totals.get_ydata().tolist() == [0, 1, 2]
    assert [text.get_text() for text in ax.texts] == ["8.00", "7.50", "5.50"]
    assert ax.get_xlabel() == "expected cost (bps of the arrival mid)"


def test_costs_are_stacked_right_of_0_and_what_pays_left_of_it() -> None:
    stack = _stack(plot_cost_parts(_table()), 2)  # of adaptive
    assert stack == {
        "spread": (0.0, 2.0), "walk": (2.0, 2.5), "carried": (2.5, 6.5),
        "selection": (0.0, -0.75), "fees": (-0.75, -1.0),
    }  # fmt: skip


def test_both_stacks_together_are_the_total() -> None:
    ax, table = plot_cost_parts(_table()), _table().sort_values("total_bps", ascending=False)
    for row, total in enumerate(table["total_bps"]):
        ends = _stack(ax, row).values()
        assert sum(right - left for left, right in ends) == pytest.approx(total)
        reached = max(right for _, right in ends), min(right for _, right in ends)
        assert sum(reached) == pytest.approx(total)  # no bar covers another


def test_each_part_is_in_the_legend_once_and_what_nobody_pays_is_not() -> None:
    table = _table().assign(fees_bps=0.0)
    labels = [text.get_text() for text in plot_cost_parts(table).get_legend().get_texts()]
    assert sorted(labels) == ["carried", "selection", "spread", "total", "walk"]


def test_it_draws_in_the_panel_that_it_is_given() -> None:
    _, (left, right) = new_figure(2)
    assert plot_cost_parts(_table(), ax=right) is right
    assert not left.patches


def test_differences_are_drawn_with_the_intervals_that_there_are() -> None:
    table = pd.DataFrame(
        {"difference_bps": [-2.5, 3.0], "lower_bps": [-3.5, np.nan], "upper_bps": [-1.75, np.nan]},
        index=["adaptive", "TWAP"],
    )
    ax = plot_intervals(table, "difference to best benchmark (bps), 95 % interval")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["TWAP", "adaptive"]
    drawn = [bars.get_segments()[0][:, 0].tolist() for bars in ax.collections]
    assert drawn == [[-3.5, -1.75]]
    colours = [line.get_color() for line in ax.lines if line.get_marker() == "o"]
    assert colours == [STRATEGY_COLOURS["TWAP"], STRATEGY_COLOURS["adaptive"]]
    assert ax.get_xlabel() == "difference to best benchmark (bps), 95 % interval"


def test_costs_and_differences_stand_in_one_order_also_where_two_cost_the_same() -> None:
    table = _table().assign(difference_bps=[-2.0, 0.0, 0.0], lower_bps=np.nan, upper_bps=np.nan)
    table.loc[["TWAP", "static optimal"], "total_bps"] = 8.0
    left, right = plot_costs(table, "TWAP")
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names[-1] == "adaptive"
    colours = [line.get_color() for line in right.lines if line.get_marker() == "o"]
    assert colours == [STRATEGY_COLOURS[name] for name in names]
    assert right.get_xlabel() == "difference to TWAP (bps)"


def test_numbers_of_intervals_stand_beside_the_panel() -> None:
    ends = {"difference_bps": [0.0], "lower_bps": [-1.0], "upper_bps": [1.0]}
    ax = plot_intervals(pd.DataFrame(ends, ["adaptive"]), "bps")
    ax.figure.canvas.draw()
    (text,) = ax.texts
    assert text.get_window_extent().x0 > ax.get_window_extent().x1


def test_changes_are_drawn_as_given_below_the_difference_as_reported() -> None:
    ends = pd.Series({"difference_bps": -2.0, "lower_bps": -3.0, "upper_bps": -1.0})
    keys = pd.MultiIndex.from_tuples([("cap", "2 times"), ("cap", "0.5 times")])
    ax = plot_changes(pd.DataFrame([ends, ends - 1.0], keys), ends, "bps")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["cap: 0.5 times", "cap: 2 times", "as reported"]
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (-3.0, 2.0)
    assert not plot_changes(pd.DataFrame([ends], keys[:1]), ends * np.nan + 0, "bps").patches


def test_each_urgency_is_a_named_point() -> None:
    points = {"total_bps": [5.0, 8.0], "timing_risk_bps": [90.0, 60.0]}
    ax = plot_urgencies(pd.DataFrame(points, [1.0, 10.0]))
    assert ax.lines[0].get_xdata().tolist() == [90.0, 60.0]
    assert [line.get_label() for line in ax.lines[1:]] == ["urgency 1", "urgency 10"]
    assert len({line.get_marker() for line in ax.lines}) == 3

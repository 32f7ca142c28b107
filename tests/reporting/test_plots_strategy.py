"""Figures of strategies: one colour each, intervals where they belong."""

from __future__ import annotations

import pandas as pd

from research_lib.reporting import (
    STRATEGY_COLOURS,
    plot_cost_distribution,
    plot_intervals,
    plot_saving_against,
)


def _comparison(shift: float = 0.0) -> pd.DataFrame:
    rows = {"TWAP": (0.0, 0.0, 0.0), "adaptive": (40.0 + shift, 30.0 + shift, 45.0 + shift)}
    columns = [
        f"{of}{end}_%" for of in ("saving", "attainable") for end in ("", "_lower", "_upper")
    ]
    return pd.DataFrame(
        {name: dict(zip(columns, [*row, *row], strict=True)) for name, row in rows.items()}
    ).T


def test_every_strategy_has_a_colour_of_its_own() -> None:
    colours = {**STRATEGY_COLOURS}
    assert colours.pop("optimal") == colours["static optimal"]  # two names of one schedule
    assert len(set(colours.values())) == len(colours)


def test_savings_are_drawn_with_their_intervals_best_on_top() -> None:
    ends = ["saving_%", "saving_lower_%", "saving_upper_%"]
    ax = plot_intervals(_comparison()[ends], "saving against TWAP (%), 95 % interval")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["TWAP", "adaptive"]
    (segment,) = ax.collections[1].get_segments()
    assert segment[:, 0].tolist() == [30.0, 45.0]
    assert ax.get_xlabel() == "saving against TWAP (%), 95 % interval"


def test_savings_against_a_setting_are_in_its_order() -> None:
    ax = plot_saving_against({1.0: _comparison(), 0.2: _comparison(-20)}, "refill rate")
    (line,) = [line for line in ax.lines if line.get_label() == "adaptive"]
    assert line.get_xdata().tolist() == [0.2, 1.0]
    assert line.get_ydata().tolist() == [20.0, 40.0]
    assert ax.get_xlabel() == "refill rate"


def test_costs_show_all_orders_and_their_mean_the_cheapest_on_top() -> None:
    costs = pd.DataFrame(
        {"strategy": ["TWAP"] * 3 + ["adaptive"] * 3, "cost_bps": [4.0, 5, 6, 1, 2, 6]}
    )
    ax = plot_cost_distribution(costs)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["TWAP", "adaptive"]
    points, mean = ax.lines[0], ax.lines[1]
    assert points.get_xdata().tolist() == [4.0, 5.0, 6.0]
    assert list(mean.get_xdata()) == [5.0]

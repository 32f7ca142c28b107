"""Figures: what they draw, and that saving is whole or not at all."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.market import Session
from research_lib.reporting import plots

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    plt.close("all")


def test_quartiles_leave_missing_values_out() -> None:
    band = plots.quartiles(pd.Series([1.0, 2.0, 3.0, np.nan, 7.0]), [0, 0, 0, 0, 1])
    assert band.loc[0].tolist() == [1.5, 2.0, 2.5]
    assert band.loc[1].tolist() == [7.0, 7.0, 7.0]


def test_schedules_are_steps_in_their_strategys_colour() -> None:
    ax = plots.plot_schedules({"optimal": [1.0, 3.0], "TWAP": [2.0, 2.0]}, cap=4.0, session=Session(2))
    drawn = {patch.get_label(): patch for patch in ax.patches}
    assert list(drawn["optimal"].get_data().values) == [1.0, 3.0]
    assert matplotlib.colors.to_hex(drawn["TWAP"].get_edgecolor()) == plots.STRATEGY_COLOURS["TWAP"].lower()
    assert "cap 4" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_ylabel() == "child order (shares)"
    assert "America/New_York" in ax.get_xlabel()


def test_a_cap_far_above_the_schedule_is_named_not_drawn() -> None:
    ax = plots.plot_schedules({"optimal": [1.0, 3.0]}, cap=400.0)
    assert "cap 400, off the scale" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_ylim()[1] < 5


def test_running_sums_end_at_the_total() -> None:
    ax = plots.plot_cumulative({"optimal": [1.0, 2.0, 3.0]}, Session(3), "cost (currency)")
    assert ax.lines[0].get_ydata().tolist() == [1.0, 3.0, 6.0]


def test_saving_leaves_no_part_behind(tmp_path: Path) -> None:
    figure, _ = plots.new_figure()
    (tmp_path / "figures").mkdir()
    path = plots.save_figure(figure, tmp_path / "figures" / "one.png")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]
    with pytest.raises(ValidationError, match=r"nowhere does not exist; make it first"):
        plots.save_figure(figure, tmp_path / "nowhere" / "one.png")
    with pytest.raises(ValueError, match="not supported"):
        plots.save_figure(figure, tmp_path / "two.nonsense")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]

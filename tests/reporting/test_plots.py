"""Figures: what they draw, and that saving is whole or not at all."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

import research_lib.reporting as plots
from research_lib.errors import ValidationError
from research_lib.market import Session


def test_quartiles_leave_missing_values_out() -> None:
    band = plots.quartiles(pd.Series([1.0, 2.0, 3.0, np.nan, 7.0]), [0, 0, 0, 0, 1])
    assert band.loc[0].tolist() == [1.5, 2.0, 2.5]
    assert band.loc[1].tolist() == [7.0, 7.0, 7.0]


def test_values_by_interval_are_steps_on_the_sessions_clock() -> None:
    ax = plots.plot_by_interval({"TWAP": [1.0, 3.0]}, Session(2), "cost (currency)")
    (drawn,) = ax.patches
    assert list(drawn.get_data().values) == [1.0, 3.0]
    assert matplotlib.colors.to_hex(drawn.get_edgecolor()) == plots.STRATEGY_COLOURS["TWAP"].lower()
    assert ax.get_ylabel() == "cost (currency)"
    assert "America/New_York" in ax.get_xlabel()


def test_saving_leaves_no_part_behind(tmp_path: Path) -> None:
    figure, _ = plots.new_figure()
    (tmp_path / "figures").mkdir()
    path = plots.save_figure(figure, tmp_path / "figures" / "one.png")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]
    with pytest.raises(ValidationError, match=r"nowhere does not exist; make it first"):
        plots.save_figure(figure, tmp_path / "nowhere" / "one.png")
    with pytest.raises(ValueError, match=r"no figure is written as \.nonsense"):
        plots.save_figure(figure, tmp_path / "two.nonsense")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]

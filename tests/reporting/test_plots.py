"""Figures: what they draw, and that saving is whole or not at all."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.market import Session
from research_lib.reporting import (
    STRATEGY_COLOURS,
    new_figure,
    plot_by_interval,
    quartiles,
    save_figure,
)


def test_quartiles_leave_missing_values_out() -> None:
    band = quartiles(pd.Series([1.0, 2.0, 3.0, np.nan, 7.0]), [0, 0, 0, 0, 1])
    assert band.loc[0].tolist() == [1.5, 2.0, 2.5]
    assert band.loc[1].tolist() == [7.0, 7.0, 7.0]


def test_values_by_interval_are_steps_on_the_sessions_clock() -> None:
    ax = plot_by_interval({"TWAP": [1.0, 3.0]}, Session(2), "cost (currency)")
    (drawn,) = ax.patches
    assert list(drawn.get_data().values) == [1.0, 3.0]
    assert matplotlib.colors.to_hex(drawn.get_edgecolor()) == STRATEGY_COLOURS["TWAP"].lower()
    assert ax.get_ylabel() == "cost (currency)"
    assert "America/New_York" in ax.get_xlabel()


def test_saving_leaves_no_part_behind(tmp_path: Path) -> None:
    figure, _ = new_figure()
    (tmp_path / "figures").mkdir()
    path = save_figure(figure, tmp_path / "figures" / "one.png")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]
    with pytest.raises(ValidationError, match=r"nowhere does not exist; make it first"):
        save_figure(figure, tmp_path / "nowhere" / "one.png")
    with pytest.raises(ValueError, match=r"no figure is written as \.nonsense"):
        save_figure(figure, tmp_path / "two.nonsense")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]

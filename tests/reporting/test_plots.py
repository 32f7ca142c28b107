"""Figures: what they draw, and that saving is whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.reporting import STRATEGY_COLOURS, new_figure, plot_lines, quartiles, save_figure


def test_quartiles_leave_missing_values_out() -> None:
    band = quartiles(pd.Series([1.0, 2.0, 3.0, np.nan, 7.0]), [0, 0, 0, 0, 1])
    assert band.loc[0].tolist() == [1.5, 2.0, 2.5]
    assert band.loc[1].tolist() == [7.0, 7.0, 7.0]


def test_lines_have_their_strategys_colour() -> None:
    (drawn,) = plot_lines({"TWAP": ([0, 1], [1.0, 3.0])}, "interval", "cost (currency)").lines
    assert drawn.get_ydata().tolist() == [1.0, 3.0]
    assert drawn.get_color() == STRATEGY_COLOURS["TWAP"]


def test_logarithmic_axes_leave_no_room_below_zero() -> None:
    ax = plot_lines({"TWAP": ([1, 2], [1.0, 3.0])}, "minutes", "child order (shares)", log="y")
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
    assert ax.get_ylim()[0] > 0


def test_saving_leaves_no_part_behind(tmp_path: Path) -> None:
    figure, _ = new_figure()
    (tmp_path / "figures").mkdir()
    path = save_figure(figure, tmp_path / "figures" / "one.png")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        save_figure(figure, tmp_path / "nowhere" / "one.png")
    with pytest.raises(ValidationError, match=r"no figure is written as \.nonsense"):
        save_figure(figure, tmp_path / "two.nonsense")
    assert [p.name for p in path.parent.iterdir()] == ["one.png"]

"""Figures on the choice of a form: they show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import slippage_frame
from matplotlib.axes import Axes

from research_lib.errors import ValidationError
from research_lib.impact import LinearImpact, fit_impact
from research_lib.market import Session
from research_lib.reporting import plot_bands, plot_intervals, plot_shrinkage, plot_specifications


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
    assert upper.get_title() == "2 analyses; 1 without a value"
    lower = upper.figure.axes[1]
    names = [text.get_text() for text in lower.get_yticklabels()]
    assert names[:2] == ["reference: touch", "reference: mid"]
    assert lower.lines[0].get_xdata().tolist() == [1]
    assert lower.lines[1].get_xdata().tolist() == [0]


def test_a_curve_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="no analysis has a value of exponent: all 1 are NaN"):
        plot_specifications(specifications().iloc[2:])


def test_shrunk_and_raw_impact_are_drawn_as_fitted() -> None:
    noise = np.random.default_rng(2).normal(0, 1e-3, (8, 26, 1))
    frame = slippage_frame(LinearImpact(np.full(26, 2e-5), 0.01), 8, book_noise=noise)
    fit = fit_impact(frame, n_intervals=26, test_fraction=0)
    ax = plot_shrinkage(fit, 400.0, Session(26))
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert drawn["own estimate"].tolist() == fit.raw_curve.impact(400.0).tolist()
    assert drawn["shrunk (used)"].tolist() == fit.curve.impact(400.0).tolist()
    weight = fit.shrinkage["impact"].weight
    mixture = weight * drawn["own estimate"] + (1 - weight) * drawn["day profile"]
    assert np.allclose(mixture, drawn["shrunk (used)"])


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
    point, interval = (bar.get_segments()[0][:, 0].tolist() for bar in ax.collections)
    assert (point, interval) == ([0.0, 0.0], pytest.approx([3.8, 4.2]))
    assert [text.get_text() for text in ax.texts] == ["0", "4"]

"""Figures on decaying impact draw what they are given, with units."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from research_lib.impact import ExponentialKernel
from research_lib.reporting import FITTED, TRUTH, plot_half_lives, plot_lag_estimates, plot_savings
from research_lib.transient import LagEstimate


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


ESTIMATE = LagEstimate(
    np.arange(1.0, 6.0), np.array([1.0, 0.8, 0.7, 0.65, 0.6]), 0.01 * np.eye(5), 100, "trades"
)


def test_estimates_are_drawn_with_their_bands_and_the_truth_in_its_colour() -> None:
    ax = plot_lag_estimates(
        {"G": ESTIMATE}, "impact (bps)", curves={"truth": ExponentialKernel(0.1)}
    )
    assert ax.get_xlabel() == "lag (trades, log scale)"
    assert np.allclose(ax.lines[0].get_ydata(), ESTIMATE.values)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(0.6 - 1.96 * 0.1, abs=1e-3)
    assert band.max() == pytest.approx(1.0 + 1.96 * 0.1, abs=1e-3)
    assert [line.get_label() for line in ax.lines if line.get_color() == TRUTH] == ["truth"]


def test_half_lives_not_identified_have_no_point_and_rejected_ones_no_line() -> None:
    spans = pd.DataFrame(
        {
            "half_life": [3.0, 9.0, 5.0],
            "low": [2.0, 4.0, 4.0],
            "high": [4.0, np.inf, 6.0],
            "p_value": [0.5, 0.5, 1e-4],
        }
    ).assign(identified=[True, False, False])
    ax = plot_half_lives(spans.set_axis(["a", "b", "c"]), 20.0, truth=3.5)
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xdata() for line in points] == [[3.0]]
    assert [text.get_text() for text in ax.texts] == ["shape rejected"]
    open_line = next(
        line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == 4.0
    )
    assert open_line.get_xdata()[1] == ax.get_xlim()[1]  # an open end runs out of the frame


def test_where_every_shape_is_rejected_the_frame_is_that_of_the_lags() -> None:
    nothing = {
        "half_life": [np.nan, np.inf],
        "low": [0.0, 0.0],
        "high": [np.inf, np.inf],
        "p_value": [0.0, 1e-9],
    }
    ax = plot_half_lives(pd.DataFrame(nothing, index=["a", "b"]).assign(identified=False), 4.0)
    assert [text.get_text() for text in ax.texts] == ["shape rejected"] * 2
    assert ax.get_xlim() == (2.0, 12.0)


def test_savings_are_drawn_against_a_line_at_0_and_the_interval_where_there_is_one() -> None:
    lives, saving = [0.1, 10.0, 10_000.0], [0.0, 0.3, 0.1]
    ax = plot_savings(lives, saving, 5.0, [4.0, 17.0])
    assert np.allclose(ax.lines[0].get_ydata(), saving)
    assert ax.lines[-1].get_ydata() == [0.0, 0.0]
    assert [patch.get_facecolor()[:3] for patch in ax.patches] == [to_rgb(FITTED)]
    assert len(plot_savings(lives, saving, 5.0).patches) == 0
    assert ax.xaxis.get_major_formatter()(0.1) == "0.1"  # not 1e-01
    assert ax.xaxis.get_major_formatter()(10_000.0) == "10,000"

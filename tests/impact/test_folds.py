"""Folds: nothing is both fitted and held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import MID, SIZES, slippage_frame

from research_lib.errors import ValidationError
from research_lib.impact import ImpactMoments, LinearImpact, cross_validate, slippage_curves
from research_lib.market import BookSnapshots, Session

CURVE = LinearImpact(np.full(7, 1e-5), 0.01)
FREE = LinearImpact(np.zeros(7), 0.01)


@pytest.mark.parametrize("n_days", [2, 3, 9])
def test_every_day_is_held_out_once_and_never_beside_itself(n_days: int) -> None:
    """Impacts of 1, 2, 4, ... times the curve's: no two sets of days have one mean, so errors
    tell who was fitted.
    """
    factor = 2.0 ** np.arange(n_days)
    frame = slippage_frame(CURVE, n_days)
    frame["avg_slippage"] += (np.repeat(factor, 7 * len(SIZES)) - 1.0) * 1e-5 * frame["trade_size"]
    found = cross_validate(frame, ["linear"], by="pooled").by_unit["linear"]
    dates = [f"2024-03-{d:02}" for d in (4, 5, 6, 7, 8, 11, 12, 13, 14)]
    assert found.index.tolist() == dates[:n_days]
    fitted = [np.delete(factor, d) for d in range(n_days)]
    missed = [abs(factor[d] - np.mean(fitted[d])) for d in range(n_days)]
    bps = 1e4 * 1e-5 * np.sqrt(np.mean(SIZES**2)) / MID
    # A slope of 30 products or more and its prediction: some 100 roundings, far below 1e-9.
    assert found.to_numpy() == pytest.approx(bps * np.array(missed), rel=1e-9)


@pytest.mark.slow
def test_one_day_is_cut_into_blocks_that_cover_the_session_in_order() -> None:
    """Without impact the spread is predicted; an interval below it is missed in its own block
    alone.
    """
    for interval, block in enumerate([0, 0, 0, 1, 1, 2, 2]):
        frame = slippage_frame(FREE, 1)
        frame.loc[frame["interval"] == interval, "avg_slippage"] -= 0.005
        found = cross_validate(frame, ["linear"], n_blocks=3, by="pooled").by_unit["linear"]
        assert found.index.tolist() == ["intervals 0 to 2", "intervals 3 to 4", "intervals 5 to 6"]
        assert found.index.name == "block"
        assert np.flatnonzero(found > 0.1).tolist() == [block]


def test_moments_are_cut_as_the_frame_is(synthetic_books: BookSnapshots) -> None:
    session = Session(13)
    curves = slippage_curves(synthetic_books, [100.0, 400.0], "buy")
    moments, frame = (
        cross_validate(data, ["linear"], n_intervals=13, session=session).by_unit
        for data in (ImpactMoments.from_curves(curves, 13, session), curves)
    )
    pd.testing.assert_frame_equal(
        moments, frame, rtol=1e-8
    )  # sums of squares, less their means: half of the digits
    assert len(frame) == 4


def test_what_cannot_be_cut_is_refused() -> None:
    one = slippage_frame(LinearImpact(1e-5, 0.01), 1)
    with pytest.raises(ValidationError, match="1 block cannot be fitted and held out"):
        cross_validate(one, ["linear"])
    with pytest.raises(ValidationError, match="n_intervals must be at least 7, got 5"):
        cross_validate(slippage_frame(CURVE, 1), ["linear"], n_intervals=5)

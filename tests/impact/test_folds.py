"""Folds: nothing is both fitted and held out, and time runs forward where it should."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import slippage_frame

from research_lib.errors import ValidationError
from research_lib.impact import ImpactMoments, LinearImpact, slippage_curves
from research_lib.impact.folds import SCHEMES, cut
from research_lib.market import BookSnapshots, Session

CURVE = LinearImpact(np.linspace(1e-5, 2e-5, 7), 0.01)


@pytest.mark.parametrize("n_days", [2, 3, 9])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_day_is_held_out_once_and_never_beside_itself(n_days: int, scheme: str) -> None:
    parts = cut(slippage_frame(CURVE, n_days))
    folds = list(parts.folds(scheme))
    held_out = [int(u) for fold in folds for u in fold.held_out]
    assert held_out == list(range(scheme == "walk_forward", n_days))
    for fold in folds:
        assert not set(fold.fitted) & set(fold.held_out)
        expected = fold.held_out[0] if scheme == "walk_forward" else n_days - 1
        assert len(fold.fitted) == expected
        assert scheme != "walk_forward" or max(fold.fitted) < min(fold.held_out)


def test_parts_of_a_frame_are_its_days() -> None:
    frame = slippage_frame(CURVE, 3)
    parts = cut(frame)
    assert parts.labels == ["2024-03-04", "2024-03-05", "2024-03-06"]
    pd.testing.assert_frame_equal(parts.take([0, 2]), pd.concat([frame.iloc[:35], frame.iloc[70:]]))


def test_one_day_is_cut_into_blocks_that_cover_the_session_in_order() -> None:
    frame = slippage_frame(CURVE, 1)
    parts = cut(frame, n_blocks=3)
    assert parts.labels == ["intervals 0 to 2", "intervals 3 to 4", "intervals 5 to 6"]
    assert [sorted(parts.take([u])["interval"].unique()) for u in range(3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert parts.kind == "block"


def test_moments_are_cut_as_the_frame_is(synthetic_books: BookSnapshots) -> None:
    session = Session(13)
    curves = slippage_curves(synthetic_books, [100.0, 400.0], "buy")
    moments = cut(ImpactMoments.from_curves(curves, 13, session), session=session)
    frame = cut(curves, n_intervals=13, session=session)
    assert moments.labels == frame.labels
    taken = moments.take([1, 2])
    assert isinstance(taken, ImpactMoments)
    assert taken.books["n"].sum() * 2 == len(frame.take([1, 2]))
    assert sorted(taken.cells["date"].unique()) == frame.labels[1:3]


def test_what_cannot_be_cut_is_refused() -> None:
    one = slippage_frame(LinearImpact(1e-5, 0.01), 1)
    with pytest.raises(ValidationError, match="1 block cannot be fitted and held out"):
        list(cut(one).folds("walk_forward"))
    with pytest.raises(ValidationError, match=r"scheme 'walk_forwards' is unknown; did you mean 'walk_forward'"):
        list(cut(slippage_frame(CURVE, 2)).folds("walk_forwards"))
    with pytest.raises(ValidationError, match="n_intervals is 5, the frame has interval 6"):
        cut(slippage_frame(CURVE, 1), n_intervals=5)

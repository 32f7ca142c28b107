"""Labelled inputs are aligned by label or refused, never read by position in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.impact import (
    AlmgrenImpact,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    shrink,
    walk_book,
)

BACKWARDS = [2, 1, 0]


def test_parameters_of_a_curve_are_aligned_by_interval() -> None:
    beta = pd.Series([3e-5, 2e-5, 1e-5], index=BACKWARDS)
    assert LinearImpact(beta, [0.1, 0.2, 0.3]).beta.tolist() == [1e-5, 2e-5, 3e-5]
    assert PowerImpact(1e-3, beta * 1e5).exponent.tolist() == pytest.approx([1.0, 2.0, 3.0])
    depth = pd.DataFrame([[3.0, 30.0], [2.0, 20.0], [1.0, 10.0]], index=BACKWARDS)
    curve = PiecewiseLinearImpact(depth, np.tile([0.0, 0.1], (3, 1)))
    assert curve.depth[:, 1].tolist() == [10.0, 20.0, 30.0]
    prices = pd.Series([30.0, 20.0, 10.0], index=BACKWARDS)
    market = AlmgrenImpact.from_market(prices, 0.02, 1e6, 1e8, 0.1)
    assert market.permanent[2] == pytest.approx(3 * market.permanent[0])


def test_shares_and_prices_are_aligned_by_interval() -> None:
    curve = LinearImpact([1e-5, 2e-5, 4e-5])
    shares = pd.Series([300.0, 200.0, 100.0], index=BACKWARDS)
    plain = np.array([100.0, 200.0, 300.0])
    for method in ("impact", "slippage", "cost", "marginal_cost"):
        assert np.array_equal(getattr(curve, method)(shares), getattr(curve, method)(plain))
    price = pd.Series([3.0, 2.0, 1.0], index=BACKWARDS)
    assert np.array_equal(
        curve.shares_at_marginal(price), curve.shares_at_marginal([1.0, 2.0, 3.0])
    )


@pytest.mark.parametrize("labels", [["A", "B", "C"], [1, 2, 3], [0, 1, 1], [390, 391, 392]])
def test_labels_that_are_no_intervals_are_refused(labels: list[object]) -> None:
    values = pd.Series([1.0, 2.0, 3.0], index=labels)
    with pytest.raises(
        ValidationError, match=r"beta is labelled .*; intervals are labelled 0 to 2"
    ):
        LinearImpact(values)
    with pytest.raises(ValidationError, match="shares is labelled"):
        LinearImpact([1.0, 2.0, 3.0]).cost(values)


def test_levels_of_a_book_are_aligned_by_label() -> None:
    prices = pd.Series([10.0, 11.0], index=["best", "next"])
    sizes = pd.Series([80.0, 100.0], index=["next", "best"])
    assert walk_book(prices, sizes, [150.0]).tolist() == walk_book([10, 11], [100, 80], [150])
    with pytest.raises(ValidationError, match="sizes and prices have rows of different labels"):
        walk_book(prices, sizes.rename({"next": "last"}), [150.0])


def test_levels_and_errors_to_shrink_are_aligned() -> None:
    rng = np.random.default_rng(4)
    level, error = rng.lognormal(0, 0.2, 20), rng.uniform(0.1, 0.3, 20)
    error[3] = np.nan  # known errors count where they are known
    labelled = pd.Series(level), pd.Series(error)[::-1]
    assert np.array_equal(shrink(*labelled).apply(level), shrink(level, error).apply(level))
    with pytest.raises(ValidationError, match="error is labelled"):
        shrink(labelled[0], labelled[1].rename(lambda t: t + 1))


def test_objects_have_a_small_table_by_interval() -> None:
    frame = LinearImpact([1e-5, 2e-5], 0.01).to_frame()
    assert (frame.index.name, list(frame)) == ("interval", ["beta", "half_spread"])
    book = PiecewiseLinearImpact([[1.0, 2.0]], [[0.0, 0.1]]).to_frame()
    assert list(book) == ["depth_1", "depth_2", "premium_1", "premium_2", "half_spread"]

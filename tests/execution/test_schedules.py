"""Rulers by hand.

Tolerances: 1e-9 of an order is the rounding of sums over 20 intervals.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.execution import PortfolioSchedule, pov, price_portfolio, twap, vwap


def test_by_hand() -> None:
    assert twap(30, 3).shares.tolist() == [10, 10, 10]
    assert vwap(30, [1, 0, 2]).shares.tolist() == [10, 0, 20]
    assert pov(30, [100, 100, 300], 0.1).shares.tolist() == [10, 10, 10]


def test_pov_ends_when_the_order_is_done() -> None:
    assert pov(15, [100, 100, 300], 0.1).shares.tolist() == [10, 5, 0]


@given(
    volume=st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(lambda v: sum(v) > 1e-3),
    total=st.floats(0, 1e5),
)
def test_vwap_and_pov_place_the_whole_order(volume: list[float], total: float) -> None:
    assert vwap(total, volume).shares.sum() == pytest.approx(total, rel=1e-9)
    rate = max(total / sum(volume), 1e-9)
    done = pov(total, volume, rate).shares
    assert done.sum() == pytest.approx(total, rel=1e-9, abs=1e-9)
    assert np.all(done <= rate * np.array(volume) * (1 + 1e-9) + 1e-6 * total)


def test_vwap_at_equal_volume_is_twap() -> None:
    assert vwap(100, np.full(4, 7.0)).shares.tolist() == twap(100, 4).shares.tolist()


def test_what_the_rate_does_not_admit_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    short = pov(50, [100, 100], 0.1)
    assert short.shares.tolist() == [10, 10]
    assert short.unfilled == 30
    assert "a rate of 0.1 admits 20 of 50 shares; raise it to 0.25 or lengthen" in caplog.text
    assert pov(20, [100, 100], 0.1).unfilled == 0.0


def test_refusals_name_value_limit_and_remedy() -> None:
    with pytest.raises(ValidationError, match="volume is 0 in all of 2 intervals"):
        vwap(50, [0, 0])
    with pytest.raises(
        ValidationError, match="volume must be finite and at least 0, got -1 in interval 1"
    ):
        vwap(50, [3, -1])
    with pytest.raises(ValidationError, match="rate must be above 0"):
        pov(50, [100, 100], 0)


@pytest.mark.parametrize("shares", [[[1.0], [np.nan]], [[1.0, np.inf], [0.0, 1.0]]])
def test_a_modelled_schedule_has_any_sign_but_no_nan(shares: list[list[float]]) -> None:
    with pytest.raises(
        ValidationError, match=r"shares must be \(n, m\) and finite, got shape \(2, \d\)"
    ):
        _priced(shares)
    assert _priced([[1.0], [-2.0]]).shares.tolist() == [[1], [-2]]
    with np.errstate(over="ignore"):  # the cost has no number; what is held has
        assert _priced([[1e200], [1e200]]).holdings.tolist() == [[2e200], [1e200], [0]]


def test_holdings_are_what_is_left_to_trade_to_its_last_digit() -> None:
    """Counted from the start, 1e16 less its trades would leave 0 of the last two."""
    assert _priced([[1e16], [0.25], [-0.5]]).holdings.tolist() == [[1e16], [-0.25], [-0.5], [0.0]]
    assert _priced([[3.0, -1.0], [2.0, 1.0]]).holdings.tolist() == [
        [5.0, 0.0],
        [2.0, 1.0],
        [0.0, 0.0],
    ]


def _priced(shares: list[list[float]]) -> PortfolioSchedule:
    """The trades (n, m) of a model of m unit assets."""
    m = len(shares[0])
    return price_portfolio(shares, covariance=np.eye(m), temporary=np.ones(m))

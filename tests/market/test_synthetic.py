"""The market whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.config import ModelConfig
from research_lib.errors import ValidationError
from research_lib.impact import slippage_curves
from research_lib.market import Session, SyntheticMarket


def test_the_same_seed_gives_the_same_books() -> None:
    market = SyntheticMarket(session=Session(13))
    first, second = (market.books(26, 5, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first.ask_size, second.ask_size)
    assert not np.array_equal(first.ask_size, market.books(26, 5, np.random.default_rng(2)).ask_size)


def test_true_curve_is_the_mean_of_walking_many_books(rng: np.random.Generator) -> None:
    """The closed form against 40,000 drawn books, within four standard errors of the mean."""
    session = Session(2)
    # 20,000 days: a volatility at which the price stays well above zero, and the spread of 20 % a year.
    market = SyntheticMarket(
        ModelConfig(volatility_factor=0.02, spread_factor=0.1), session, depth=80.0, dispersion=60.0
    )
    books = market.books(40_000, 150, rng)
    for shares in (40.0, 150.0, 350.0):
        curves = slippage_curves(books, [shares], "buy")
        assert not curves.censored.any()
        for t in range(2):
            seen = curves.slippage[t::2, 0]
            truth = market.true_curve.slippage(shares)[t]
            assert abs(seen.mean() - truth) < 4 * seen.std() / np.sqrt(len(seen)), (shares, t)


def test_true_curve_by_hand_for_an_order_within_the_first_share() -> None:
    curve = SyntheticMarket(session=Session(4)).true_curve
    assert curve.impact(1.0) == pytest.approx(np.zeros(4), abs=1e-15)
    assert curve.cost(0.0) == pytest.approx(np.zeros(4), abs=1e-15)


def test_settings_move_what_they_name(rng: np.random.Generator) -> None:
    session = Session(390)

    def books(**settings: float) -> object:
        return SyntheticMarket(ModelConfig(**settings), session).books(390, 10, np.random.default_rng(5))  # type: ignore[arg-type]

    calm, wild = books(volatility_factor=0.2), books(volatility_factor=0.8)
    assert np.diff(np.log(wild.mid)).std() > 3 * np.diff(np.log(calm.mid)).std()  # type: ignore[attr-defined]
    narrow, wide = books(spread_factor=0.01), books(spread_factor=0.03)
    assert wide.half_spread.mean() > 2 * narrow.half_spread.mean()  # type: ignore[attr-defined]
    flat, steep = books(volume_decay=0.0), books(volume_decay=0.3)
    ratio = [b.ask_size[:, 9].mean() / b.ask_size[:, 0].mean() for b in (flat, steep)]  # type: ignore[attr-defined]
    assert ratio[0] == pytest.approx(1.0, abs=0.15)
    assert ratio[1] == pytest.approx(np.exp(-2.7), rel=0.25)
    assert books(base_price=20.0).mid[0] == pytest.approx(20.0, rel=0.01)  # type: ignore[attr-defined]


def test_the_day_is_deep_at_both_ends_and_wide_at_the_opening() -> None:
    curve = SyntheticMarket().true_curve
    depth = curve.level_mean[:, 0]
    assert min(depth[0], depth[-1]) > 1.8 * depth[195]
    assert curve.half_spread[0] > 2 * curve.half_spread[195]


def test_prices_lie_on_the_tick_grid_and_books_never_cross(rng: np.random.Generator) -> None:
    books = SyntheticMarket().books(780, 20, rng)
    assert np.allclose(books.ask_price * 100, np.rint(books.ask_price * 100), atol=1e-6)
    assert (books.half_spread > 0).all()
    assert books.quality["unordered_levels"] == 0
    assert (books.bid_size >= 1).all()


def test_days_follow_business_days() -> None:
    books = SyntheticMarket(session=Session(2)).books(10, 1, np.random.default_rng(0))
    days = [str(day) for day in books.days(Session(2))]
    assert days == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08"]


def test_a_price_too_low_for_its_levels_is_refused() -> None:
    with pytest.raises(ValidationError, match="raise base_price"):
        SyntheticMarket(ModelConfig(base_price=0.1)).books(1, 20, np.random.default_rng(0))

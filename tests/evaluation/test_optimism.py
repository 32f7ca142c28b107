"""Savings that are not there are not reported.

Tolerances: means over draws lie within 2 or 3 of their own standard errors; 1.5 % is 2.6 standard
errors of a claim of 8.6 % over 390 intervals, one of which is 0.57 % in 2,000 draws of the noise.
"""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Ladder,
    Order,
    Prior,
    Strategy,
    Twap,
    decompose_saving,
    null_savings,
)
from research_lib.impact import LinearImpact
from research_lib.market import BookSnapshots, Session, preset

SESSION = Session(78)


@pytest.mark.parametrize("name", ["thin_stock", "wide_spread_stock"])
def test_permuted_labels_save_nothing_for_any_strategy(name: str) -> None:
    market = preset(name, SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0))
    day = market.books(78, 10, np.random.default_rng(1))
    null = null_savings(day, prior, 6_000, "buy", rng=np.random.default_rng(2), n_draws=60)
    centre, error = null.savings.mean(), null.savings.std() / np.sqrt(60)
    assert np.all(centre <= 2 * error), null.table
    assert null.table.loc["adaptive", "observed_%"] > null.table.loc["adaptive", "null_upper_%"]
    assert null.table.loc["adaptive", "p_value"] == pytest.approx(1 / 61)


@pytest.mark.slow
def test_permuted_labels_save_nothing_on_frog(
    real_books: dict[str, BookSnapshots], real_ladders: dict[tuple[str, str], Ladder]
) -> None:
    prior = Prior.from_books(real_books["GOOG"], "buy", Session(390), "GOOG")
    null = null_savings(
        real_ladders["FROG", "buy"], prior, 20_000, "buy", rng=np.random.default_rng(0), n_draws=40
    )
    assert np.all(null.savings.mean() <= 0), null.table
    assert (null.savings["TWAP"] == 0).all()
    assert null.table.loc["adaptive", "observed_%"] > 40


def test_trading_late_on_a_day_that_grows_cheaper_is_no_skill() -> None:
    n, rng = 78, np.random.default_rng(4)
    half_spread = np.linspace(0.10, 0.02, n) * np.exp(0.2 * rng.standard_normal(n))
    size = np.full((n, 1), 500.0)
    books = BookSnapshots(
        np.arange(n), 100 - half_spread[:, None], size, 100 + half_spread[:, None], size
    )
    prior = Prior.from_books(books, "buy", SESSION, "the day itself")
    null = null_savings(books, prior, 3_000, "buy", rng=rng, n_draws=200)
    assert np.all(null.savings.mean() <= 3 * null.savings.std() / np.sqrt(200)), null.table
    assert null.table.loc["adaptive", "observed_%"] > 30


def test_noise_alone_claims_what_it_cannot_keep() -> None:
    """Identical true curves and 30 % estimation noise: a saving in sample, a loss on books;
    shrunk, less of both.

    With x_t ~ 1 / beta_t and lognormal noise of sd s the claim on linear curves is 1 - exp(-s^2),
    8.6 % for 0.3.
    """
    n, rng = 390, np.random.default_rng(3)
    size, step = 10.0, 0.01
    levels = 100 + step * np.arange(1, 41)
    ask, bid = np.tile(levels, (n, 1)), np.tile(200 - levels, (n, 1))
    books = BookSnapshots(
        np.arange(n), bid, np.full(bid.shape, size), ask, np.full(ask.shape, size)
    )
    true = step / size / 2  # cost per share is beta x plus a constant, for whole levels
    noise = np.exp(0.3 * rng.standard_normal(n))
    raw, shrunk = (LinearImpact(true * noise**power, 0.0) for power in (1.0, 0.3))
    table = decompose_saving({"raw": raw, "shrunk": shrunk}, [Ladder.of(books, "buy")], 20_000)
    assert table.loc["raw", "claimed_%"] == pytest.approx(8.6, abs=1.5)
    assert table.loc["raw", "realised_%"] < -3
    assert table.loc["shrunk", "claimed_%"] < 0.15 * table.loc["raw", "claimed_%"]
    assert -1.5 < table.loc["shrunk", "realised_%"] < 0
    assert table["phantom_%"].to_numpy() == pytest.approx(table["claimed_%"] - table["realised_%"])


def test_an_order_too_large_to_compare_is_refused() -> None:
    market = preset("thin_stock", SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=2)
    with pytest.raises(
        ValidationError, match=r"TWAP leaves .* shares unfilled; lower total_shares"
    ):
        null_savings(
            market.books(78, 5, np.random.default_rng(1)),
            prior,
            1e6,
            "buy",
            rng=np.random.default_rng(2),
        )


class _Cherry(Strategy):
    """Takes the best level alone, and of the last book what it can get."""

    name, fitted_on = "cherry", "nothing"

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        return 1.0


def test_who_leaves_shares_unfilled_saves_nothing_that_is_known() -> None:
    market = preset("thin_stock", SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=2)
    day = market.books(78, 5, np.random.default_rng(1))
    null = null_savings(
        day,
        prior,
        6_000,
        "buy",
        rng=np.random.default_rng(2),
        n_draws=19,
        make=lambda _: [Twap(), _Cherry()],
    )
    assert null.savings["cherry"].isna().all()
    assert null.table.loc["cherry"].isna().all()
    assert null.table.loc["TWAP", ["observed_%", "p_value"]].tolist() == [0.0, 1.0]


def test_a_schedule_that_the_days_do_not_fill_realises_no_saving() -> None:
    """All of the order where the curve is cheap: the books there hold a third of it."""
    n, size = 4, np.full((4, 1), 100.0)
    books = BookSnapshots(np.arange(n), np.full((n, 1), 99.0), size, np.full((n, 1), 101.0), size)
    curve = LinearImpact(np.array([1.0, 1.0, 1.0, 1e-6]), 0.0)
    table = decompose_saving({"late": curve}, [Ladder.of(books, "buy")], 300)
    assert table.loc["late", "claimed_%"] > 50
    assert table.loc["late", ["realised_%", "phantom_%"]].isna().all()


def test_days_and_generators_of_another_kind_are_refused() -> None:
    market = preset("thin_stock", SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=2)
    two_days, rng = market.books(156, 5, np.random.default_rng(1)), np.random.default_rng(2)
    with pytest.raises(
        ValidationError, match=r"the prior has 78 intervals for 156; .* one day at a time"
    ):
        null_savings(two_days, prior, 600, "buy", rng=rng)
    with pytest.raises(ValidationError, match="rng must be a numpy Generator, got 0"):
        null_savings(two_days, prior, 600, "buy", rng=0)  # type: ignore[arg-type]
    for days in ([], [two_days]):
        with pytest.raises(ValidationError, match="days must be one Ladder or more"):
            decompose_saving({"any": prior.curve}, days, 600)  # type: ignore[arg-type]

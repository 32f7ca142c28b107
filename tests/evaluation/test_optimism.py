"""Savings that are not there are not reported.

Tolerances: means over draws lie within 2 or 3 of their own standard errors; 1.5 % is 2.6 standard
errors of a claim of 8.6 % over 390 intervals, one of which is 0.57 % in 2,000 draws of the noise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import Ladder, Order, Prior, Strategy, Twap, null_savings
from research_lib.market import BookSnapshots, Session, preset

SESSION = Session(78)


@pytest.mark.parametrize("name", ["thin_stock", "wide_spread_stock"])
def test_permuted_labels_save_nothing_for_any_strategy(name: str) -> None:
    market = preset(name, SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0))
    day = market.books(78, 10, np.random.default_rng(1))
    null = null_savings(day, prior, 6_000, "buy", rng=np.random.default_rng(2), n_draws=60)
    centre, error = null["null_mean_%"], null["null_sd_%"] / np.sqrt(60)
    assert np.all(centre <= 2 * error), null
    assert null.loc["adaptive", "observed_%"] > null.loc["adaptive", "null_upper_%"]
    assert null.loc["adaptive", "p_value"] == pytest.approx(1 / 61)


@pytest.mark.slow
def test_permuted_labels_save_nothing_on_frog(
    real_books: dict[str, BookSnapshots], real_ladders: dict[tuple[str, str], Ladder]
) -> None:
    prior = Prior.from_books(real_books["GOOG"], "buy", Session(390), "GOOG")
    null = null_savings(
        real_ladders["FROG", "buy"], prior, 20_000, "buy", rng=np.random.default_rng(0), n_draws=40
    )
    assert np.all(null["null_mean_%"] <= 0), null
    assert (null.loc["TWAP", ["null_mean_%", "null_sd_%"]] == 0).all()
    assert null.loc["adaptive", "observed_%"] > 40


def test_trading_late_on_a_day_that_grows_cheaper_is_no_skill() -> None:
    n, rng = 78, np.random.default_rng(4)
    half_spread = np.linspace(0.10, 0.02, n) * np.exp(0.2 * rng.standard_normal(n))
    size = np.full((n, 1), 500.0)
    time = SESSION.starts([pd.Timestamp("2024-01-02").date()]).ravel()
    books = BookSnapshots(time, 100 - half_spread[:, None], size, 100 + half_spread[:, None], size)
    prior = Prior.from_books(books, "buy", SESSION, "the day itself")
    null = null_savings(books, prior, 3_000, "buy", rng=rng, n_draws=200)
    assert np.all(null["null_mean_%"] <= 3 * null["null_sd_%"] / np.sqrt(200)), null
    assert null.loc["adaptive", "observed_%"] > 30


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
    assert null.loc["cherry"].isna().all()
    assert null.loc["TWAP", ["observed_%", "p_value"]].tolist() == [0.0, 1.0]


def test_several_days_are_refused() -> None:
    market = preset("thin_stock", SESSION)
    prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=2)
    two_days, rng = market.books(156, 5, np.random.default_rng(1)), np.random.default_rng(2)
    with pytest.raises(ValidationError, match=r"the prior has 78 intervals for 156; .* day at a"):
        null_savings(two_days, prior, 600, "buy", rng=rng)

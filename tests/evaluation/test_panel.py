"""Savings of several comparisons side by side."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import InsufficientDataError
from research_lib.evaluation import Known, Prior, compare, panel, walk_forward
from research_lib.market import Session, preset

SESSION = Session(39)


def test_a_panel_is_what_compare_says_of_each_group() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(0)
    priors = {side: Prior.from_market(market, side, rng, n_days=3) for side in ("buy", "sell")}
    known = [Known(market.books(39, 8, rng), priors)]
    done = walk_forward(known, SESSION, sizes=[1_000.0, 3_000.0])
    large = [one for one in done if np.isclose(one.total_shares, 3_000)]
    alone = compare(large, n_draws=99, session=SESSION)
    assert alone.loc["TWAP", "orders"] == 2
    table = panel({"large": alone}, ["adaptive", "absent"])
    assert table.loc["large", "adaptive"] == alone.loc["adaptive", "saving_%"]
    assert table["absent"].isna().all()


def test_orders_that_the_benchmark_cannot_fill_are_no_group() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(1)
    known = [
        Known(market.books(39, 3, rng), {"buy": Prior.from_market(market, "buy", rng, n_days=2)})
    ]
    done = walk_forward(known, SESSION, sizes=[60_000.0])
    with pytest.raises(InsufficientDataError, match="none of 1 orders was completed by TWAP"):
        compare(done, n_draws=99, session=SESSION)

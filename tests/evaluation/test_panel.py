"""The comparison by kind of order: each group is what `compare` says of its orders."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.evaluation import (
    Known,
    Prior,
    compare,
    compare_groups,
    panel,
    size_label,
    walk_forward,
)
from research_lib.market import Session, preset

SESSION = Session(39)


def test_groups_are_the_orders_of_their_kind_and_nothing_else() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(0)
    priors = {side: Prior.from_market(market, side, rng, n_days=3) for side in ("buy", "sell")}
    known = [Known(market.books(39, 8, rng), priors)]
    done = walk_forward(
        known, SESSION, sizes=[1_000.0, 3_000.0], windows=[(0, 39), (0, 20), (20, 39)]
    )
    groups = compare_groups(done, 3_000, SESSION, n_draws=99)
    assert {label: int(table.loc["TWAP", "orders"]) for label, table in groups.items()} == {
        "1,000 shares": 2, "3,000 shares": 2, "buy, all windows": 3, "sell, all windows": 3,
        "0 to 51 % of the day": 2, "51 to 100 % of the day": 2,
    }  # fmt: skip
    late = [one for one in done if np.isclose(one.total_shares, 3_000) and len(one.filled) == 19]
    alone = compare(late, n_draws=99, session=SESSION)
    table = panel(groups, ["adaptive", "absent"])
    assert table.loc["51 to 100 % of the day", "adaptive"] == alone.loc["adaptive", "saving_%"]
    assert table.loc["51 to 100 % of the day", "adaptive_lower"] == pytest.approx(
        alone.loc["adaptive", "saving_lower_%"]
    )
    assert table["absent"].isna().all()


def test_a_size_that_the_ruler_cannot_fill_has_an_empty_group() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(1)
    known = [
        Known(market.books(39, 3, rng), {"buy": Prior.from_market(market, "buy", rng, n_days=2)})
    ]
    done = walk_forward(known, SESSION, sizes=[500.0, 60_000.0])
    groups = compare_groups(done, 500.0, SESSION, n_draws=99)
    assert {label: len(table) > 0 for label, table in groups.items()} == {
        "500 shares": True, "60,000 shares": False, "buy, all windows": True,
    }  # fmt: skip
    saved = panel(groups, ["adaptive"])
    assert saved.loc["60,000 shares"].isna().all()
    assert saved.drop("60,000 shares").notna().all(axis=None)


@pytest.mark.parametrize(
    ("size", "label"),
    [(20_000.0, "20,000 shares"), (2.5 + 1e-16, "2.5 shares"), (1_234_567.0, "1,234,567 shares")],
)
def test_sizes_are_told_apart_by_what_differs(size: float, label: str) -> None:
    assert size_label(size) == label

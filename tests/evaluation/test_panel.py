"""An order that no strategy completes is compared with nothing."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import InsufficientDataError
from research_lib.evaluation import Known, Prior, compare, walk_forward
from research_lib.market import Session, preset

SESSION = Session(39)


def test_orders_that_the_benchmark_cannot_fill_are_no_group() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(1)
    known = [
        Known(market.books(39, 3, rng), {"buy": Prior.from_market(market, "buy", rng, n_days=2)})
    ]
    done = walk_forward(known, SESSION, sizes=[60_000.0])
    with pytest.raises(InsufficientDataError, match="none of 1 orders was completed by TWAP"):
        compare(done, n_draws=99, session=SESSION)

"""Implementation shortfall: by hand, as paper less real portfolio, and mirrored.

Tolerances: 1e-9 of the largest product of shares and price, the rounding of sums of up to six
fills.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.evaluation import implementation_shortfall, order_cost, replay
from research_lib.execution import twap
from research_lib.market import Session, SyntheticMarket

PRICES = {"decision_price": 50.0, "arrival_price": 50.2, "closing_price": 51.0}
price = st.floats(1, 500)


def _fills(*rows: tuple[float, float]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["shares", "price"])


def test_by_hand() -> None:
    """1,000 to buy at 50: 800 filled at 50.2 to 50.6 after arriving at 50.2, 200 left at 51."""
    done = implementation_shortfall(
        _fills((500, 50.3), (300, 50.6)), side="buy", total_shares=1000, fees=4.0, **PRICES
    )
    assert done.delay == pytest.approx(0.2 * 800)
    assert done.trading == pytest.approx(0.1 * 500 + 0.4 * 300)
    assert done.opportunity == pytest.approx(1.0 * 200)
    assert done.total == pytest.approx(160 + 170 + 200 + 4)
    assert done.bps["total"] == pytest.approx(1e4 * 534 / 50_000)
    assert done.average_price == pytest.approx((500 * 50.3 + 300 * 50.6) / 800)


@given(
    fills=st.lists(st.tuples(st.floats(0.1, 1e4), price), max_size=6),
    rest=st.floats(0.1, 1e4),
    prices=st.tuples(price, price, price),
    fees=st.floats(-100, 100),
    side=st.sampled_from(["buy", "sell"]),
)
def test_the_parts_are_paper_less_real(
    fills: list[tuple[float, float]],
    rest: float,
    prices: tuple[float, float, float],
    fees: float,
    side: str,
) -> None:
    frame = _fills(*fills)
    filled = sum(shares for shares, _ in fills)
    decision, arrival, closing = prices
    done = implementation_shortfall(
        frame, side=side, total_shares=filled + rest, decision_price=decision,
        arrival_price=arrival,
        closing_price=closing, fees=fees,
    )  # fmt: skip
    sign = 1 if side == "buy" else -1
    paper = sign * (filled + rest) * (closing - decision)
    real = sign * sum(shares * (closing - paid) for shares, paid in fills) - fees
    scale = (filled + rest) * max(*prices, *[paid for _, paid in fills])
    assert done.total == pytest.approx(paper - real, abs=1e-9 * max(1.0, scale))
    assert done.total == pytest.approx(
        done.delay + done.trading + done.opportunity + done.fees, abs=1e-9
    )
    assert done.filled + done.unfilled == pytest.approx(done.total_shares, rel=1e-12)


def test_a_sell_mirrors_a_buy() -> None:
    buy = implementation_shortfall(_fills((800, 50.4)), side="buy", total_shares=1000, **PRICES)
    mirrored = {name: 100 - value for name, value in PRICES.items()}
    sell = implementation_shortfall(_fills((800, 49.6)), side="sell", total_shares=1000, **mirrored)
    for part in ("delay", "trading", "opportunity", "total"):
        assert sell[part] == pytest.approx(buy[part], abs=1e-9)


def test_nothing_filled_is_all_opportunity() -> None:
    done = implementation_shortfall(_fills(), side="sell", total_shares=1000, **PRICES)
    assert (done.delay, done.trading, done.opportunity) == (0.0, 0.0, -1000.0)
    assert np.isnan(done.average_price)


def test_refusals() -> None:
    with pytest.raises(
        ValidationError, match="1,200 shares are filled of an order of 1,000; give the whole order"
    ):
        implementation_shortfall(_fills((1200, 50.0)), side="buy", total_shares=1000, **PRICES)
    with pytest.raises(ValidationError, match="column price must be above 0: 1 of 1 rows"):
        implementation_shortfall(_fills((10, -1.0)), side="buy", total_shares=1000, **PRICES)
    with pytest.raises(ValidationError, match='side must be "buy" or "sell"'):
        implementation_shortfall(_fills((10, 1.0)), side="long", total_shares=1000, **PRICES)
    with pytest.raises(ValidationError, match="fills lacks column price"):
        implementation_shortfall(
            pd.DataFrame({"shares": [1.0]}), side="buy", total_shares=1000, **PRICES
        )


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_executions_shortfall_is_perolds_total(side: str) -> None:
    session, rng = Session(13), np.random.default_rng(3)
    done = replay(twap(4_000, 13), SyntheticMarket(session=session).books(13, 5, rng), side)
    assert done.completed
    whole = implementation_shortfall(
        done.fills, side=side, total_shares=4_000, decision_price=done.arrival_price,
        arrival_price=done.arrival_price, closing_price=done.mid[-1],
    )  # fmt: skip
    assert order_cost(done)["shortfall_bps"] == pytest.approx(whole.bps["total"], abs=1e-9)


def test_a_shortfall_is_a_table_of_its_parts() -> None:
    done = implementation_shortfall(
        _fills((500, 50.3), (300, 50.6)), side="buy", total_shares=1000, fees=4.0, **PRICES
    )
    table = done.to_frame()
    assert list(table.index) == ["delay", "trading", "opportunity", "fees", "total"]
    assert table["currency"].iloc[:4].sum() == pytest.approx(done.total)
    assert table.loc["total", "bps"] == done.bps["total"]


@pytest.mark.parametrize("columns", [[], ["shares", "price"]])
def test_an_empty_frame_of_fills_has_filled_nothing(columns: list[str]) -> None:
    none = pd.DataFrame(columns=columns, dtype=float)
    prices = {"decision_price": 50.0, "arrival_price": 50.2, "closing_price": 51.0}
    done = implementation_shortfall(none, side="buy", total_shares=1_000, **prices)
    assert (done.opportunity, done.total) == pytest.approx((1_000.0, 1_000.0))

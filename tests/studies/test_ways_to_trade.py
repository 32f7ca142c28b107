"""Ways to trade a portfolio: what they cost, and which stock pays and bears the risk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.execution import portfolio_schedule, price_portfolio
from research_lib.market import Session
from research_lib.studies.portfolio import (
    Assets,
    assumed_permanent,
    attribution_table,
    correlation_regret,
    cost_table,
    risk_aversion_table,
    single_table,
    ways_to_trade,
)

SESSION, RISK = Session(26), 1e-6
NAMES = ["A", "B", "C"]
TABLE = pd.DataFrame(
    {
        "price": [50.0, 20.0, 100.0],
        "volatility": [1.0, 0.5, 1.2],
        "temporary": [1e-7, 2e-8, 4e-8],
        "half_spread": [0.02, 0.01, 0.01],
        "daily_volume": [1e6, 5e6, 2e6],
    },
    NAMES,
)
CORRELATION = np.array([[1.0, 0.5, 0.6], [0.5, 1.0, 0.4], [0.6, 0.4, 1.0]])
ASSETS = Assets(TABLE, CORRELATION, "by hand", 60)
ORDERS = pd.Series([20_000.0, 50_000.0, -20_000.0], NAMES)
GROSS = float(np.abs(ORDERS) @ TABLE["price"])


def test_twap_costs_least_and_the_portfolio_schedule_costs_least_with_risk() -> None:
    costs = cost_table(ways_to_trade(ASSETS, ORDERS, SESSION, RISK), GROSS, RISK)
    assert costs["cost_bps"].idxmin() == "TWAP"
    assert costs["cost_plus_risk_bps"].idxmin() == "portfolio"
    parts = costs[["spread_bps", "impact_bps", "permanent_bps"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(costs["cost_bps"].to_numpy(), rel=1e-12)


def test_without_correlation_the_portfolio_schedule_is_that_of_each_asset_by_itself() -> None:
    ways = ways_to_trade(Assets(TABLE, np.eye(3), "", 60), ORDERS, SESSION, RISK)
    np.testing.assert_allclose(
        ways["portfolio"].shares, ways["asset by asset"].shares, atol=1e-9 * 5e4
    )


def test_orders_are_aligned_with_the_assets_by_label() -> None:
    turned, plain = (
        ways_to_trade(ASSETS, orders, SESSION, RISK) for orders in (ORDERS[::-1], ORDERS.to_numpy())
    )
    for way, schedule in turned.items():
        np.testing.assert_array_equal(schedule.shares, plain[way].shares)


def test_only_the_half_spreads_of_the_orders_are_beyond_any_schedule() -> None:
    """A schedule that buys back what it sold pays more spread, and that it could avoid."""
    there_and_back = price_portfolio(
        [[30.0], [-10.0]], covariance=[[0.0]], temporary=[1e-9], half_spread=[0.5]
    )
    row = cost_table({"x": there_and_back}, 1e4, 0.0).loc["x"]
    assert row["spread_bps"] == pytest.approx(20.0)
    assert row["beyond_spread_bps"] == pytest.approx(10.0, rel=1e-6)


def test_the_impact_of_the_mean_child_order_is_what_twap_pays() -> None:
    stocks = ASSETS.in_bps(ORDERS, SESSION)
    even = ways_to_trade(ASSETS, ORDERS, SESSION, RISK)["TWAP"]
    value = np.abs(ORDERS) * TABLE["price"]
    paid = 1e-4 * stocks["its_impact_bps"] * value
    assert paid.to_numpy() == pytest.approx(even.attribution["temporary"].to_numpy(), rel=1e-12)
    assert stocks["order_%_of_volume"].tolist() == pytest.approx([2.0, 1.0, 1.0])


def test_the_least_value_at_risk_of_one_asset_is_below_its_optimum_s_and_has_its_tangent() -> None:
    alone = single_table(ASSETS, ORDERS, SESSION, RISK, 0.95)
    assert (alone["L_VaR_bps"] <= alone["VaR_bps"]).all()
    assert alone["theta_%"].to_numpy() * np.log(2) == pytest.approx(
        alone["half_life_%"].to_numpy(), rel=1e-12
    )
    there = single_table(ASSETS, ORDERS, SESSION, alone["L_VaR_risk_aversion"]["A"], 0.95)
    assert there["VaR_bps"]["A"] == pytest.approx(alone["L_VaR_bps"]["A"], rel=1e-9)


def test_half_and_twice_the_risk_aversion_are_whole_answers_of_their_own() -> None:
    table = risk_aversion_table(ASSETS, ORDERS, SESSION, [RISK / 2, RISK, 2 * RISK])
    assert table["cost_bps"].is_monotonic_increasing
    assert table["deviation_bps"].is_monotonic_decreasing
    costs = cost_table(ways_to_trade(ASSETS, ORDERS, SESSION, RISK), GROSS, RISK)
    gap = costs["cost_plus_risk_bps"]["portfolio"] - costs["cost_plus_risk_bps"]["asset by asset"]
    found = table.loc[f"{RISK:g}", "cost_plus_risk_minus_asset by asset_bps"]
    assert found == pytest.approx(gap, rel=1e-9)


def test_shares_of_cost_and_variance_add_up_and_a_hedge_has_less_than_alone() -> None:
    best = ways_to_trade(ASSETS, ORDERS, SESSION, RISK)["portfolio"]
    shares = attribution_table(best, ASSETS, GROSS)
    assert shares[["cost_%", "variance_%"]].sum().tolist() == pytest.approx([100.0, 100.0])
    assert shares["variance_%"]["C"] < shares["variance_alone_%"]["C"]
    held = best.holdings[1:, 2]
    alone = np.mean(held**2) * TABLE["volatility"]["C"] ** 2
    assert shares["variance_alone_%"]["C"] == pytest.approx(100 * alone / best.variance)


def test_asymmetry_leaves_the_symmetric_part_of_assumed_impact_as_it_is() -> None:
    even, lean = (
        assumed_permanent(TABLE["temporary"], CORRELATION, 0.1, 0.5, a) for a in (0.0, 0.8)
    )
    np.testing.assert_array_equal(even, even.T)
    np.testing.assert_allclose((lean + lean.T) / 2, even, rtol=1e-12)
    assert lean[0, 1] > lean[1, 0]


def test_shrinkage_lowers_regret_where_all_correlations_are_alike_and_leaves_a_pair() -> None:
    market = {**ASSETS.market(SESSION), "half_spread": 0.0, "risk_aversion": RISK}
    alike = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    regret = correlation_regret(
        ORDERS, 26, alike, market, [10], np.random.default_rng(3), draws=60
    ).loc["10"]
    assert regret["shrunk_mean"] < 0.8 * regret["mean"]
    pair = {"covariance": CORRELATION[:2, :2], "temporary": [1e-7, 2e-8], "risk_aversion": RISK}
    one = correlation_regret(
        [2e4, -5e4], 26, CORRELATION[:2, :2], pair, [5], np.random.default_rng(3), draws=5
    ).loc["5"]
    assert one["shrunk_mean"] == pytest.approx(one["mean"], rel=1e-6)


def test_the_priced_schedule_of_a_plan_is_what_the_plan_expected() -> None:
    market = ASSETS.market(SESSION)
    plan = portfolio_schedule(ORDERS, 26, risk_aversion=RISK, **market)
    ours, again = (
        cost_table({"x": s}, GROSS, RISK).loc["x"]
        for s in (plan, price_portfolio(plan.shares, **market))
    )
    pd.testing.assert_series_equal(ours, again)

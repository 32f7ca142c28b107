"""Plans made with a wrong correlation: never better, and worse the less is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import almgren_chriss, portfolio_schedule, price_portfolio
from research_lib.studies import correlation_regret, realised_regret

MARKET = {
    "covariance": np.array([[1.0, 0.6], [0.6, 1.0]]),
    "temporary": np.array([1e-6, 2e-6]),
    "interval": 0.1,
    "risk_aversion": 1e-5,
}
ORDERS = [1e5, -1e5]


@pytest.mark.slow
def test_a_wrong_correlation_never_pays_and_costs_less_the_more_days_know_it() -> None:
    regret = correlation_regret(
        ORDERS,
        10,
        [[1.0, 0.6], [0.6, 1.0]],
        MARKET,
        [5, 50, 5000],
        np.random.default_rng(2),
        draws=60,
    )
    assert (regret > -1e-9).all(axis=None)
    assert regret["mean"].iloc[0] > 2 * regret["mean"].iloc[1] > 4 * regret["mean"].iloc[2]
    alone = [
        almgren_chriss(
            order, 10, volatility=1.0, temporary=eta, risk_aversion=1e-5, interval=0.1
        ).shares
        for order, eta in ((1e5, 1e-6), (-1e5, 2e-6))
    ]
    prices = {name: value for name, value in MARKET.items() if name != "risk_aversion"}
    best = portfolio_schedule(ORDERS, 10, **MARKET)
    values = [
        s.expected_cost + 1e-5 * s.variance
        for s in (price_portfolio(np.transpose(alone), **prices), best)
    ]
    assert regret["mean"]["none"] == pytest.approx(100 * (values[0] / values[1] - 1), rel=1e-6)
    with pytest.raises(ValidationError, match="days must be at least 2"):
        correlation_regret(ORDERS, 10, np.eye(2), MARKET, [1], np.random.default_rng(2))


def _returns(correlation: float, n: int, seed: int) -> pd.DataFrame:
    law = np.random.default_rng(seed).multivariate_normal(
        [0, 0], [[1, correlation], [correlation, 1]], n
    )
    return pd.DataFrame(law, columns=["A", "B"])


@pytest.mark.slow
def test_where_the_correlation_stays_more_days_know_it_better_and_beat_none() -> None:
    regret = realised_regret(ORDERS, 10, _returns(0.6, 3000, 1), MARKET, [5, 50, 500], ahead=100)
    assert regret["mean"]["5"] > regret["mean"]["50"] > regret["mean"]["500"]
    assert regret["mean"]["none"] > 3 * regret["mean"]["50"]
    assert (regret > -1e-9).all(axis=None)


def test_where_it_turns_round_the_past_misleads() -> None:
    turned = pd.concat([_returns(0.8, 100, 2), _returns(-0.8, 100, 3)])
    regret = realised_regret(ORDERS, 10, turned, MARKET, [100], ahead=100)
    assert regret["mean"]["100"] > regret["mean"]["none"] > 0


def test_only_the_past_plans_and_only_the_future_prices() -> None:
    returns = _returns(0.5, 60, 4)
    regret = realised_regret(ORDERS, 10, returns, MARKET, [20], ahead=30)
    past, future = returns.iloc[:20].corr().to_numpy(), returns.iloc[20:50].corr().to_numpy()
    settings = {
        name: value for name, value in MARKET.items() if name not in ("risk_aversion", "covariance")
    }
    values = []
    for believed in (past, future):
        plan = portfolio_schedule(ORDERS, 10, **settings, covariance=believed, risk_aversion=1e-5)
        priced = price_portfolio(plan.shares, **settings, covariance=future)
        values.append(priced.expected_cost + 1e-5 * priced.variance)
    assert regret["mean"]["20"] == pytest.approx(100 * (values[0] / values[1] - 1), rel=1e-9)
    with pytest.raises(ValidationError, match="hold no window of 50"):
        realised_regret(ORDERS, 10, returns, MARKET, [20], ahead=50)


def test_labelled_orders_returns_and_markets_are_aligned_by_label_or_refused() -> None:
    """The mirrored order of assets is the same problem; another label is no asset of it."""
    names, returns = ["A", "B"], _returns(0.5, 60, 4)
    truth = pd.DataFrame([[1.0, 0.6], [0.6, 1.0]], names, names)
    covariance = truth * np.array([[1.0, 2.0], [2.0, 4.0]])
    labelled = {**MARKET, "covariance": covariance, "temporary": pd.Series([1e-6, 2e-6], names)}
    plain = {**MARKET, "covariance": covariance.to_numpy()}
    turned = pd.Series([-2e5, 1e5], ["B", "A"])
    own, by_hand = (
        realised_regret(orders, 10, returns, market, [20], ahead=30)["mean"]["20"]
        for orders, market in ((turned, labelled), ([1e5, -2e5], plain))
    )
    assert own == pytest.approx(by_hand, rel=1e-9)
    own, by_hand = (
        correlation_regret(orders, 10, known, market, [9], np.random.default_rng(2), 1)["mean"]
        for orders, known, market in (
            (turned, truth, labelled), ([1e5, -2e5], truth.to_numpy(), plain),
        )
    )  # fmt: skip
    assert own["none"] == pytest.approx(by_hand["none"], rel=1e-9)
    with pytest.raises(ValidationError, match="orders is labelled"):
        realised_regret(pd.Series([1.0, 2.0], ["A", "C"]), 10, returns, MARKET, [20], ahead=30)

"""Plans made with a wrong correlation: never better, and worse the less is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import almgren_chriss, portfolio_schedule, price_portfolio
from research_lib.studies import correlation_regret

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


def test_labelled_orders_and_markets_are_aligned_by_label_or_refused() -> None:
    """The mirrored order of assets is the same problem; another label is no asset of it."""
    names = ["A", "B"]
    truth = pd.DataFrame([[1.0, 0.6], [0.6, 1.0]], names, names)
    covariance = truth * np.array([[1.0, 2.0], [2.0, 4.0]])
    labelled = {**MARKET, "covariance": covariance, "temporary": pd.Series([1e-6, 2e-6], names)}
    plain = {**MARKET, "covariance": covariance.to_numpy()}
    turned = pd.Series([-2e5, 1e5], ["B", "A"])
    own, by_hand = (
        correlation_regret(orders, 10, known, market, [9], np.random.default_rng(2), 1)["mean"]
        for orders, known, market in (
            (turned, truth, labelled), ([1e5, -2e5], truth.to_numpy(), plain),
        )
    )  # fmt: skip
    assert own["none"] == pytest.approx(by_hand["none"], rel=1e-9)
    other = pd.Series([1.0, 2.0], ["A", "C"])
    with pytest.raises(ValidationError, match="is labelled A, B; the orders A, C"):
        correlation_regret(other, 10, truth, labelled, [9], np.random.default_rng(2), 1)


def test_a_market_labelled_by_itself_goes_with_a_labelled_correlation() -> None:
    """Orders without labels stand in the order of the first thing that has them."""
    truth = pd.DataFrame([[1.0, 0.6], [0.6, 1.0]], ["A", "B"], ["A", "B"])
    turned = {
        **MARKET,
        "covariance": pd.DataFrame([[4.0, 1.2], [1.2, 1.0]], ["B", "A"], ["B", "A"]),
        "temporary": pd.Series([2e-6, 1e-6], ["B", "A"]),
    }
    plain = {**MARKET, "covariance": np.array([[1.0, 1.2], [1.2, 4.0]])}
    found, by_hand = (
        correlation_regret([1e5, -2e5], 10, known, market, [9], np.random.default_rng(2), 1)
        for known, market in ((truth, turned), (truth.to_numpy(), plain))
    )
    assert found["mean"]["none"] == pytest.approx(by_hand["mean"]["none"], rel=1e-9)

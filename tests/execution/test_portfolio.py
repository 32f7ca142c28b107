"""Schedules of several assets against Almgren and Chriss, a dense KKT system, CVXPY and each other.

Tolerances. 1e-9: rounding of the dense KKT system, of at most 180 trades in units of their own.
1e-6 against CVXPY: the residual at which the library accepts a backend's answer. 1e-10, 1e-12: sums
of the same numbers.
"""

from __future__ import annotations

import re
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.linalg import eigh, null_space

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import almgren_chriss, portfolio_schedule, price_portfolio, twap

Float = NDArray[np.float64]
PRICES = np.array([20.0, 100.0, 500.0])
ORDERS = np.array([1e5, -2e4, 3e3])


def _market(rng: np.random.Generator, m: int = 3, twist: float = 0.0) -> dict[str, Any]:
    """Correlated prices, temporary impact of its own each, permanent impact a tenth of it, twisted
    or not.
    """
    factor = rng.normal(size=(m, m + 2))
    correlation = np.corrcoef(factor)
    deviation = 0.02 * PRICES[:m] * rng.uniform(0.5, 2.0, m)
    temporary = 1e-3 * PRICES[:m] / np.abs(ORDERS[:m])
    cross = 0.1 * np.sqrt(np.outer(temporary, temporary))
    permanent = np.diag(temporary * 0.2) + 0.2 * cross * (1 - np.eye(m))
    permanent += twist * cross * (np.triu(np.ones((m, m)), 1) - np.tril(np.ones((m, m)), -1))
    return {
        "covariance": correlation * np.outer(deviation, deviation),
        "temporary": np.diag(temporary) + 0.3 * cross * (1 - np.eye(m)),
        "permanent": permanent,
        "interval": 0.1,
    }


def _by_definition(trades: Float, orders: Float, market: dict[str, Any], risk: float) -> float:
    """Each trade pays its own and the others' impact of the moment; what is held falls by what all
    sold.
    """
    held, tau, total = np.array(orders, float), market["interval"], 0.0
    for trade in trades:
        held = held - trade
        total += trade @ market["temporary"] @ trade / tau + held @ market["permanent"] @ trade
        total += risk * tau * held @ market["covariance"] @ held
    return float(total)


def _dense(orders: Float, n: int, market: dict[str, Any], risk: float) -> Float:
    """Trades from the dense KKT system of the trades themselves, its gradient by the definition."""
    m, tau = len(orders), market["interval"]
    size = n * m
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    gamma, c = market["permanent"], market["covariance"]
    h = (market["temporary"] + market["temporary"].T) / tau
    for k in range(n):
        held = np.zeros((m, size))  # held = orders + held @ trades
        for s in range(k + 1):
            held[:, s * m : (s + 1) * m] = -np.eye(m)
        own = np.zeros((m, size))
        own[:, k * m : (k + 1) * m] = np.eye(m)
        hessian += (
            own.T @ h @ own
            + held.T @ gamma @ own
            + own.T @ gamma.T @ held
            + 2 * risk * tau * held.T @ c @ held
        )
        gradient += own.T @ gamma.T @ orders + 2 * risk * tau * held.T @ c @ orders
    sums = np.tile(np.eye(m), n)
    unit = np.tile(1 / np.sqrt(np.diag(h)), n)
    row = 1 / np.linalg.norm(sums * unit, axis=1)
    constraint = row[:, None] * sums * unit
    kkt = np.block([[unit[:, None] * hessian * unit, constraint.T], [constraint, np.zeros((m, m))]])
    return (np.linalg.solve(kkt, np.append(-gradient * unit, row * orders))[:size] * unit).reshape(
        n, m
    )


@pytest.mark.parametrize(
    ("n", "risk"), [(1, 1e-6), (5, 0.0), (5, 1e-6), (60, 3e-6), (390, 1e-7), (5, -1e-9)]
)
def test_one_asset_is_almgren_chriss(n: int, risk: float) -> None:
    one = almgren_chriss(1e6, n, volatility=0.95, temporary=2.5e-6, permanent=2.5e-7, half_spread=0.0625,
                         risk_aversion=risk, interval=0.5)  # fmt: skip
    found = portfolio_schedule([1e6], n, covariance=[[0.95**2]], temporary=[2.5e-6], permanent=[2.5e-7],
                               half_spread=0.0625, risk_aversion=risk, interval=0.5)  # fmt: skip
    assert found.shares[:, 0] == pytest.approx(one.shares, rel=1e-9, abs=1e-9 * 1e6)
    assert found.holdings[:, 0] == pytest.approx(one.holdings, rel=1e-9, abs=1e-9 * 1e6)
    assert found.expected_cost == pytest.approx(one.expected_cost, rel=1e-9)
    assert found.variance == pytest.approx(one.variance, rel=1e-9)
    assert found.value_at_risk(0.99) == pytest.approx(one.value_at_risk(0.99), rel=1e-9)


def test_without_correlation_or_cross_impact_each_asset_goes_its_own_way(
    rng: np.random.Generator,
) -> None:
    market = _market(rng)
    alone = {
        name: np.diag(np.diag(market[name])) for name in ("covariance", "temporary", "permanent")
    }
    found = portfolio_schedule(ORDERS, 40, **{**market, **alone}, risk_aversion=1e-5)
    for i, order in enumerate(ORDERS):
        own = almgren_chriss(
            order, 40, volatility=float(np.sqrt(alone["covariance"][i, i])), temporary=alone["temporary"][i, i],
            permanent=alone["permanent"][i, i], interval=0.1, risk_aversion=1e-5,
        )  # fmt: skip
        assert found.shares[:, i] == pytest.approx(own.shares, rel=1e-9, abs=1e-9 * abs(order))
        assert found.attribution["cost"][i] == pytest.approx(own.expected_cost, rel=1e-9)
        assert found.attribution["variance"][i] == pytest.approx(own.variance, rel=1e-9)


def test_without_risk_aversion_and_twist_it_is_twap(rng: np.random.Generator) -> None:
    found = portfolio_schedule(ORDERS, 12, **_market(rng), risk_aversion=0.0)
    for i, order in enumerate(ORDERS):
        assert found.shares[:, i] == pytest.approx(
            np.sign(order) * twap(abs(order), 12).shares, rel=1e-9
        )


@pytest.mark.parametrize("twist", [0.0, 0.5, -2.0])
@pytest.mark.parametrize(("n", "risk"), [(2, 1e-5), (10, 0.0), (10, 1e-5), (60, 1e-5)])
def test_it_solves_the_dense_system(
    n: int, risk: float, twist: float, rng: np.random.Generator
) -> None:
    market = _market(rng, twist=twist)
    found = portfolio_schedule(ORDERS, n, **market, risk_aversion=risk, allow_arbitrage=True)
    assert found.solver == "block-tridiagonal"
    expected = _dense(ORDERS, n, market, risk)
    assert found.shares / np.abs(ORDERS) == pytest.approx(
        expected / np.abs(ORDERS), rel=1e-9, abs=1e-9
    )
    value = _by_definition(found.shares, ORDERS, market, risk)
    assert found.expected_cost + risk * found.variance == pytest.approx(value, rel=1e-10)


def test_a_vanishing_twist_joins_the_two_exact_methods(rng: np.random.Generator) -> None:
    plain, nearly = _market(rng), None
    nearly = {**plain, "permanent": plain["permanent"] * (1 + 1e-13 * np.triu(np.ones((3, 3)), 1))}
    one, other = (
        portfolio_schedule(ORDERS, 30, **market, risk_aversion=1e-5) for market in (plain, nearly)
    )
    assert one.solver == other.solver == "block-tridiagonal"
    assert other.shares / np.abs(ORDERS) == pytest.approx(
        one.shares / np.abs(ORDERS), rel=1e-9, abs=1e-9
    )


def test_the_antisymmetric_part_is_neither_dropped_nor_free(rng: np.random.Generator) -> None:
    """Selling i lowers j but not the reverse: j goes first. Symmetrised, neither would."""
    market = _market(rng, m=2)
    orders = np.array([1e5, 1e5])
    market |= {"covariance": np.diag([0.1, 0.1]), "temporary": np.diag([1e-6, 1e-6])}
    gamma = np.array([[0.0, 0.0], [3e-7, 0.0]])  # selling asset 0 lowers asset 1
    found, even = (
        portfolio_schedule(
            orders, 10, **{**market, "permanent": one}, risk_aversion=0.0, allow_arbitrage=True
        )
        for one in (gamma, 0.5 * (gamma + gamma.T))
    )
    assert np.all(found.holdings[1:-1, 1] < found.holdings[1:-1, 0])
    assert even.holdings[:, 0] == pytest.approx(even.holdings[:, 1])
    costs = [
        _by_definition(s.shares, orders, {**market, "permanent": gamma}, 0.0) for s in (found, even)
    ]
    assert costs[0] == pytest.approx(found.expected_cost, rel=1e-10)
    assert costs[0] < costs[1]


def test_where_a_round_trip_gains_within_the_order_no_schedule_is_best(
    rng: np.random.Generator,
) -> None:
    market = _market(rng, twist=200.0)
    with pytest.raises(OptimizationError, match="antisymmetric part of permanent"):
        portfolio_schedule(ORDERS, 10, **market, risk_aversion=0.0, allow_arbitrage=True)
    assert _least_round_trip(10, market)[0] < 0


def _refusal(n: int, market: dict[str, Any]) -> tuple[str, list[float]]:
    """What `portfolio_schedule` says of its permanent impact, and the numbers in it."""
    with pytest.raises(ValidationError, match="permanent") as caught:
        portfolio_schedule(ORDERS, n, **market, risk_aversion=1e-5)
    text = str(caught.value)
    return text, [float(one.replace(",", "")) for one in re.findall(r"(?<= )-?\d[\d,.e-]*", text)]


def test_asymmetric_permanent_impact_is_refused_by_what_its_round_trips_cost(
    rng: np.random.Generator,
) -> None:
    """By the definition, trade by trade: the eigenvalues named are the least costs of a round trip
    in parts of its temporary impact, and it gains over the horizon named and not over one less.
    """
    market = _market(rng, twist=10.0)
    text, (first, here, n, there, over, *_) = _refusal(7, market)
    assert "(G + G') / 2" in text
    assert "allow_arbitrage=True" in text
    assert (n, over) == (7, first)
    assert here == pytest.approx(_least_round_trip(7, market)[0], rel=5e-3)  # three digits
    assert there == pytest.approx(_least_round_trip(int(first), market)[0], rel=5e-3)
    assert there < 0 <= _least_round_trip(int(first) - 1, market)[0]
    _, (_, here, n, *_) = _refusal(int(first) + 5, market)
    assert here == pytest.approx(_least_round_trip(int(n), market)[0], rel=5e-3)
    # A short order is refused as well: the model is the same.
    assert "asymmetric" in _refusal(1, market)[0]


def test_no_spread_prevents_a_round_trip_that_gains(rng: np.random.Generator) -> None:
    market = _market(rng, twist=10.0)
    n = int(_refusal(7, market)[1][0]) + 5
    trip = _least_round_trip(n, market)[1]
    costs = [
        price_portfolio(size * trip, **market, half_spread=1e-4).expected_cost
        for size in (1.0, 1e12)
    ]
    assert costs[0] > 0 > costs[1]


def test_the_symmetric_part_is_taken_and_no_round_trip_gains(rng: np.random.Generator) -> None:
    market = _market(rng, twist=10.0)
    market["permanent"] = 0.5 * (market["permanent"] + market["permanent"].T)
    one, other = (
        portfolio_schedule(ORDERS, 30, **market, risk_aversion=1e-5, allow_arbitrage=allowed)
        for allowed in (False, True)
    )
    assert np.array_equal(one.shares, other.shares)
    assert _least_round_trip(12, market)[0] == pytest.approx(1.0)


def test_permanent_impact_that_pays_an_order_is_refused(rng: np.random.Generator) -> None:
    market = _market(rng)
    given = market["permanent"]
    given[0, 1] = given[1, 0] = -2.0 * np.sqrt(given[0, 0] * given[1, 1])
    text, _ = _refusal(10, market)
    assert "smallest eigenvalue of its symmetric part is -" in text
    assert "over any horizon" in text
    scale = np.sqrt(np.diag(given))  # the remedy, each asset in a unit of its own
    values, vectors = np.linalg.eigh(given / np.outer(scale, scale))
    paid = 1e3 * vectors[:, 0] / scale
    costs = price_portfolio(np.tile(paid / 5, (5, 1)), **market).attribution["permanent"]
    assert costs.sum() < 0
    mended = (vectors * np.maximum(values, 0.0)) @ vectors.T * np.outer(scale, scale)
    portfolio_schedule(ORDERS, 10, **{**market, "permanent": mended}, risk_aversion=1e-5)
    portfolio_schedule(ORDERS, 10, **market, risk_aversion=1e-5, allow_arbitrage=True)
    with pytest.raises(ValidationError, match="permanent pays some orders"):
        portfolio_schedule(
            [1e5], 5, covariance=[[1.0]], temporary=[1e-6], permanent=[-1e-7], risk_aversion=1e-6
        )


def test_no_asset_s_asymmetry_hides_behind_a_larger_price() -> None:
    """Impact of a coin priced 1e-7 is 1e-20 times that of a stock; its asymmetry is as bad."""
    price = np.array([1e-7, 1e-7, 1e5])
    temporary = 1e-6 * price**2
    permanent = 0.1 * np.diag(temporary)
    permanent[0, 1] = 0.05 * temporary[0]
    market = {"covariance": np.diag(price**2), "temporary": temporary, "permanent": permanent}
    with pytest.raises(ValidationError, match="asymmetric"):
        portfolio_schedule(1e6 / price, 5, **market, risk_aversion=1e-9)


def _least_round_trip(n: int, market: dict[str, Any]) -> tuple[float, Float]:
    """The least cost of a round trip in parts of its temporary impact, and its trades (n, 3): by
    the definition, as a quadratic form of the trades, after which minus the sum of n_s, s <= k, is held.
    """
    temporary, permanent = market["temporary"] / market["interval"], market["permanent"]
    cost = np.kron(np.eye(n), temporary) - np.kron(np.triu(np.ones((n, n))), permanent)
    paid = np.kron(np.eye(n), temporary - permanent / 2)
    closed = null_space(np.tile(np.eye(3), n)) / np.sqrt(np.diag(paid)).mean()
    cost, paid = (closed.T @ (one + one.T) @ closed for one in (cost, paid))
    values, vectors = eigh(cost, paid)
    trip = (closed @ vectors[:, 0]).reshape(n, 3)
    assert np.sign(_by_definition(trip, np.zeros(3), market, 0.0)) == np.sign(values[0])
    return float(values[0]), trip


def _by_cvxpy(
    n: int, market: dict[str, Any], risk: float, extra: Any, half_spread: float = 0.0
) -> float:
    """Least cost plus risk, stated in fractions of the orders from the definition, symmetric
    permanent impact.
    """
    part, tau = cp.Variable((n, 3)), market["interval"]
    unit = np.abs(ORDERS)
    held = np.tile(ORDERS / unit, (n, 1)) - cp.cumsum(part, axis=0)
    net = (market["temporary"] + market["temporary"].T) / (2 * tau) - market["permanent"] / 2
    root = np.linalg.cholesky(net * np.outer(unit, unit))
    risky = np.linalg.cholesky(market["covariance"] * np.outer(unit, unit) * risk * tau)
    scale = float(np.trace(root @ root.T)) / n
    cost = cp.sum_squares(part @ root) + cp.sum_squares(held @ risky)
    cost = cost + half_spread * cp.sum(cp.abs(part) @ unit)
    constraints = [cp.sum(part, axis=0) == ORDERS / unit, *extra(cp.multiply(part, np.tile(unit, (n, 1))),
                                                                 cp.multiply(held, np.tile(unit, (n, 1))))]  # fmt: skip
    problem = cp.Problem(cp.Minimize(cost / scale), constraints)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(problem.value) * scale + 0.5 * ORDERS @ market["permanent"] @ ORDERS


CONSTRAINED: dict[str, tuple[dict[str, Any], Any, float]] = {
    "cash neutral": (
        {"exposures": PRICES, "min_exposure": 0.0, "max_exposure": 0.0},
        lambda x, held: [held[:-1] @ (PRICES / 1e5) == 0],
        0.0,
    ),
    "sector within limits": (
        {"exposures": [[20.0, 0.0, 500.0]], "min_exposure": -2e6, "max_exposure": 2e6},
        lambda x, held: [cp.abs(held[:-1] @ np.array([2e-4, 0.0, 5e-3])) <= 20.0],
        0.0,
    ),
    "own caps, one way": (
        {"min_shares": [0.0, -3e3, 0.0], "max_shares": [12e3, 0.0, 4e2]},
        lambda x, held: [
            x[:, 0] <= 12e3,
            x[:, 0] >= 0,
            x[:, 1] >= -3e3,
            x[:, 1] <= 0,
            x[:, 2] >= 0,
            x[:, 2] <= 4e2,
        ],
        0.0,
    ),
    "spread on hedges": ({"half_spread": 0.02}, lambda x, held: [], 0.02),
}


@pytest.mark.parametrize("name", CONSTRAINED)
def test_bounds_agree_with_another_statement_of_the_problem(
    name: str, rng: np.random.Generator
) -> None:
    given, extra, half_spread = CONSTRAINED[name]
    market, n, risk = _market(rng), 15, 3e-5
    free = portfolio_schedule(ORDERS, n, **market, risk_aversion=risk)
    found = portfolio_schedule(ORDERS, n, **market, risk_aversion=risk, **given)
    least = _by_cvxpy(n, market, risk, extra, half_spread)
    assert found.solver == "CLARABEL", "the bound must bind, or the case says nothing"
    assert found.kkt_residual < 1e-6
    assert found.expected_cost + risk * found.variance == pytest.approx(least, rel=1e-6)
    assert free.expected_cost + risk * free.variance < least
    assert found.shares.sum(axis=0) == pytest.approx(ORDERS, rel=1e-12)


def test_bounds_are_kept(rng: np.random.Generator) -> None:
    market = _market(rng, twist=0.5)
    given = {
        name: value
        for case in CONSTRAINED.values()
        for name, value in case[0].items()
        if "exposure" not in name
    }
    given |= {"min_shares": -12e3, "max_shares": 12e3, "exposures": [[20.0, 100.0, 0.0]]}
    given |= {"min_exposure": 0.0, "max_exposure": 0.0}  # two assets of equal value, long and short
    given["allow_arbitrage"] = True
    found = portfolio_schedule(ORDERS, 15, **market, risk_aversion=3e-5, **given)
    assert np.abs(found.holdings[:, :2] @ PRICES[:2]).max() < 1e-6 * np.abs(ORDERS * PRICES).sum()
    assert np.abs(found.shares).max() < 12e3 * (1 + 1e-6)


def test_an_asset_without_an_order_hedges_until_its_spread_is_too_dear(
    rng: np.random.Generator,
) -> None:
    market = _market(rng, m=2)
    market |= {"covariance": np.array([[1.0, 0.9], [0.9, 1.0]]), "permanent": np.zeros((2, 2))}
    market["temporary"] = np.diag([1e-5, 1e-7])
    hedged, dear = (
        portfolio_schedule([1e5, 0.0], 20, **market, risk_aversion=1e-5, half_spread=[0.0, spread])
        for spread in (0.0, 10.0)
    )
    assert hedged.holdings[1:-1, 1].max() < -0.5 * hedged.holdings[1:-1, 0].min()
    assert np.abs(dear.holdings[:, 1]).max() < 1.0
    assert hedged.variance < dear.variance


def test_attribution_sums_to_the_portfolio(rng: np.random.Generator) -> None:
    market = _market(rng, twist=0.5)
    given = {"risk_aversion": 1e-5, "half_spread": [0.01, 0.02, 0.1], "allow_arbitrage": True}
    found = portfolio_schedule(ORDERS, 15, **market, **given)
    table = found.attribution
    assert table["cost"].sum() == pytest.approx(found.expected_cost, rel=1e-12)
    assert table["caused"].sum() == pytest.approx(found.expected_cost, rel=1e-12)
    assert table["variance"].sum() == pytest.approx(found.variance, rel=1e-12)
    parts = table[["temporary", "permanent", "spread"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(table["cost"].to_numpy())
    # What an asset pays is not what it causes where impact crosses.
    assert abs(table["cost"][0] - table["caused"][0]) > 1e-3 * abs(table["cost"][0])


def test_infeasible_bounds_say_which_and_by_how_much(rng: np.random.Generator) -> None:
    market = {**_market(rng), "risk_aversion": 1e-5}
    with pytest.raises(
        OptimizationError,
        match="caps admit -inf to 50,000 shares of asset 0, whose order is 100,000; widen",
    ):
        portfolio_schedule(ORDERS, 10, **market, max_shares=5e3)
    with pytest.raises(
        OptimizationError,
        match="caps admit -10,000 to inf shares of asset 1, whose order is -20,000",
    ):
        portfolio_schedule(ORDERS, 10, **market, min_shares=-1e3)
    with pytest.raises(OptimizationError, match="caps and exposures together"):
        # What must still be held before the last trade is more than the last trade may be.
        portfolio_schedule(
            ORDERS, 10, **market, max_shares=5e4, exposures=[1.0, 0.0, 0.0], min_exposure=9.9e4
        )
    with pytest.raises(OptimizationError, match="one interval trades everything"):
        portfolio_schedule(ORDERS, 1, **market, min_shares=-1e6, max_shares=[[99999.9, 1e6, 1e6]])
    with pytest.raises(OptimizationError, match="caps admit 10 to inf shares of asset 1"):
        portfolio_schedule(ORDERS, 10, **market, min_shares=[-1e6, 1.0, -1e6])
    with pytest.raises(OptimizationError, match="caps admit -inf to -10 shares of asset 0"):
        portfolio_schedule(ORDERS, 10, **market, max_shares=[-1.0, 1e6, 1e6])
    for crossed in (
        {"exposures": PRICES, "min_exposure": 2.0, "max_exposure": 1.0},
        {"min_shares": [[0.6, -9e9, -9e9]] + 9 * [[-9e9] * 3], "max_shares": 0.5},
    ):
        with pytest.raises(OptimizationError, match="caps"):
            portfolio_schedule(ORDERS, 10, **market, **crossed)


def test_wrong_shapes_and_matrices_are_named(rng: np.random.Generator) -> None:
    market = {**_market(rng), "risk_aversion": 1e-5}
    for change, message in (
        ({"covariance": np.eye(2)}, r"covariance must be \(3, 3\) and finite.* got shape \(2, 2\)"),
        ({"covariance": np.triu(np.ones((3, 3)))}, "covariance must be symmetric"),
        ({"covariance": np.ones((3, 3)) - np.eye(3) * 0.5}, "positive semi-definite"),
        ({"temporary": -np.ones(3)}, "must be positive definite"),
        ({"permanent": np.diag([1.0, 1.0, 1.0])}, "shorten the interval"),
        ({"half_spread": [0.1, 0.1]}, r"half_spread must be \(3,\) and finite, at least 0"),
        ({"half_spread": -0.1}, r"half_spread must be .* at least 0, got shape \(3,\): \[-0.1"),
        ({"max_shares": np.ones(4)}, r"max_shares must broadcast to \(10, 3\)"),
        ({"exposures": np.ones(3)}, "go together"),
        ({"max_exposure": 0.1}, "go together"),
        ({"min_exposure": [-np.inf, 0.0, 0.0, -np.inf, 0.0, 0.0, 0.0, 0.0, 0.0]}, "go together"),
        (
            {"exposures": np.ones(3), "max_exposure": np.nan},
            "max_exposure must be at least -inf, got nan",
        ),
        ({"min_exposure": np.inf}, "go together"),
        ({"max_shares": np.nan}, "max_shares must be at least -inf, got nan"),
    ):
        with pytest.raises(ValidationError, match=message):
            portfolio_schedule(ORDERS, 10, **{**market, **change})
    with pytest.raises(ValidationError, match=r"total_shares must be \(m,\)"):
        portfolio_schedule(1e5, 10, **market)


@pytest.mark.parametrize(
    ("twist", "solver"), [(0.0, "block-tridiagonal"), (0.5, "block-tridiagonal")]
)
def test_the_residual_of_an_exact_schedule_is_measured(
    twist: float, solver: str, rng: np.random.Generator
) -> None:
    market, n, risk = _market(rng, twist=twist), 15, 3e-5
    found = portfolio_schedule(ORDERS, n, **market, risk_aversion=risk, allow_arbitrage=True)
    assert found.solver == solver
    assert 0.0 < found.kkt_residual < 1e-12
    # Written out here: of the exact schedule it is rounding as well, and it sees what is held in
    # one asset 1 % off.
    off = found.holdings.copy()
    off[7, 1] *= 1.01
    assert _stationarity(found.holdings, market, risk) < 1e-12
    assert _stationarity(off, market, risk) > 1e-4


def _stationarity(holdings: Float, market: dict[str, Any], risk: float) -> float:
    """Largest slope of cost plus risk in what is held between trades, relative to the largest part
    it is made of.
    """
    tau, gamma = market["interval"], market["permanent"]
    net = (market["temporary"] + market["temporary"].T) / (2 * tau) - 0.25 * (gamma + gamma.T)
    twist = 0.5 * (gamma - gamma.T)
    unit = 1 / np.sqrt(np.diag(net))
    before, held, after = holdings[:-2], holdings[1:-1], holdings[2:]
    parts = [
        held @ (2 * net + risk * tau * market["covariance"]),
        -before @ (net + 0.5 * twist),
        -after @ (net - 0.5 * twist),
    ]
    return float(np.abs(sum(parts) * unit).max() / max(np.abs(part * unit).max() for part in parts))


def test_a_given_schedule_claims_no_residual(rng: np.random.Generator) -> None:
    assert np.isnan(price_portfolio(np.tile(ORDERS / 5, (5, 1)), **_market(rng)).kkt_residual)


def test_all_backends_together_keep_to_the_time(rng: np.random.Generator) -> None:
    with pytest.raises(OptimizationError, match="out of time after 1e-09 s, raise timeout_seconds"):
        portfolio_schedule(ORDERS, 15, **_market(rng), risk_aversion=3e-5, max_shares=12e3, min_shares=-12e3,
                           timeout_seconds=1e-9)  # fmt: skip


def test_limits_of_exposures_and_caps_by_interval_are_aligned_by_label() -> None:
    market = {"covariance": np.eye(2) * 1e-4, "temporary": [1e-5, 1e-5], "risk_aversion": 1e-4}
    weights = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], ["of A", "of B"], ["A", "B"])
    least = pd.Series({"of A": 600.0, "of B": 350.0})
    orders = pd.Series({"A": 1_000.0, "B": 500.0})
    how = {"exposures": weights, "max_exposure": least}
    found, turned = (
        portfolio_schedule(orders, 4, **market, **{**how, "max_exposure": one})
        for one in (least, least[::-1])
    )
    assert np.allclose(found.shares, turned.shares, rtol=1e-6)
    other = {**how, "max_exposure": pd.Series({"x": 600.0, "y": 350.0})}
    with pytest.raises(ValidationError, match="limits of exposures is labelled x, y"):
        portfolio_schedule(orders, 4, **market, **other)
    caps = pd.DataFrame({"A": [100.0, 400.0, 400.0, 400.0], "B": 500.0})
    found, turned = (
        portfolio_schedule(orders, 4, **market, min_shares=0.0, max_shares=one)
        for one in (caps, caps[::-1])
    )
    assert np.allclose(found.shares, turned.shares, rtol=1e-6)
    assert found.shares[0, 0] == pytest.approx(100.0)
    with pytest.raises(ValidationError, match="max_shares is labelled 10, 11, 12, 13"):
        portfolio_schedule(orders, 4, **market, max_shares=caps.set_axis(range(10, 14)))


def test_bounds_that_the_free_optimum_keeps_change_nothing() -> None:
    market = {"covariance": [[1e-3, 5e-4], [5e-4, 1e-3]], "temporary": [1e-6, 1e-6]}
    free = portfolio_schedule([1_000, -1_000], 5, **market, risk_aversion=0.0)
    capped = portfolio_schedule(
        [1_000, -1_000], 5, **market, risk_aversion=0.0, max_shares=300, min_shares=-300
    )
    assert capped.solver == free.solver == "block-tridiagonal"
    assert np.array_equal(capped.shares, free.shares)


def test_one_asset_of_two_intervals_keeps_its_exposure() -> None:
    market = {"covariance": [[1.0]], "temporary": [1.0], "risk_aversion": 1.0}
    limits = {"exposures": [[1.0]], "min_exposure": -0.5, "max_exposure": 0.5}
    assert portfolio_schedule([3.0], 2, **market, **limits).holdings[1, 0] == pytest.approx(0.5)

"""Labels, scales and rounding: what is labelled is aligned, what is tiny or huge is not absolute.

Tolerances. 1e-9 of an order: rounding of sums over a few hundred intervals. 1e-6: the gap at which
an answer of a numerical solver is certified.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import (
    Schedule,
    allocate,
    almgren_chriss,
    efficient_frontier,
    least_value_at_risk,
    portfolio_schedule,
    pov,
    price_portfolio,
    twap,
    vwap,
)
from research_lib.impact import LinearImpact, PowerImpact, QuadraticImpact

SHAPE = np.array([1.0, 2.0, 4.0, 3.0, 1.5])
MARKET: dict[str, Any] = {"covariance": [[1.0, 0.3], [0.3, 4.0]], "temporary": [1e-5, 4e-5]}
SWAPPED = {
    "covariance": pd.DataFrame([[4.0, 0.3], [0.3, 1.0]], ["B", "A"], ["B", "A"]),
    "temporary": pd.Series([4e-5, 1e-5], ["B", "A"]),
}
ORDERS = pd.Series([1e4, 3e3], ["A", "B"])


@pytest.mark.parametrize("lot", [1e-18, 1e-300])
@pytest.mark.parametrize("on_infeasible", ["raise", "relax"])
def test_a_lot_that_floats_do_not_count_is_refused(lot: float, on_infeasible: str) -> None:
    with pytest.raises(OptimizationError, match=r"lot_size 1e-\d+ is too small for an order of"):
        allocate(
            LinearImpact(SHAPE), 1e4, lot_size=lot, max_shares=9e3, on_infeasible=on_infeasible
        )


def test_a_refusal_shows_digits_that_differ() -> None:
    with pytest.raises(OptimizationError) as refused:
        allocate(LinearImpact(SHAPE), 12_345.7, max_shares=12_345.7 / 5 * (1 - 1e-8))
    first, second = str(refused.value).split(" shares")[0].removeprefix("cap admits ").split(" of ")
    assert first != second


@pytest.mark.parametrize(
    "given",
    [
        {"total_shares": ORDERS, **SWAPPED},
        {"total_shares": ORDERS.iloc[::-1], **SWAPPED},
        {"total_shares": ORDERS, **SWAPPED, "max_shares": pd.Series({"B": 1e9, "A": 1e8})},
    ],
)
def test_labelled_assets_are_aligned_by_label(given: dict[str, Any]) -> None:
    plain = portfolio_schedule([1e4, 3e3], 6, **MARKET, risk_aversion=1e-4)
    found = portfolio_schedule(n_intervals=6, risk_aversion=1e-4, **given)
    frame = found.to_frame()
    assert frame[["A", "B"]].to_numpy() == pytest.approx(plain.shares, rel=1e-12)
    assert found.attribution.loc["B", "cost"] == pytest.approx(plain.attribution["cost"][1])
    priced = price_portfolio(frame[["B", "A"]], **SWAPPED)
    assert priced.expected_cost == pytest.approx(plain.expected_cost, rel=1e-12)
    assert priced.variance == pytest.approx(plain.variance, rel=1e-12)


def test_labels_of_other_assets_are_refused() -> None:
    other = SWAPPED["covariance"].set_axis(["B", "C"]).set_axis(["B", "C"], axis=1)
    for change in (
        {"covariance": other},
        {"temporary": pd.Series([1.0, 2.0], ["A", "C"])},
        {"exposures": pd.Series([1.0, 1.0], ["A", "C"]), "max_exposure": 1.0},
        {"max_shares": pd.DataFrame(np.full((6, 2), 9e9), columns=["A", "C"])},
    ):
        with pytest.raises(ValidationError, match=r"is labelled .*C"):
            portfolio_schedule(ORDERS, n_intervals=6, risk_aversion=1e-4, **(SWAPPED | change))


def test_labelled_intervals_are_aligned_or_refused() -> None:
    caps = np.array([100.0, 400.0, 300.0, 200.0, 500.0])
    backwards = pd.Series(caps, range(5)).iloc[::-1]
    assert vwap(1500, backwards).shares.tolist() == vwap(1500, caps).shares.tolist()
    assert pov(300, backwards, 0.5).shares.tolist() == pov(300, caps, 0.5).shares.tolist()
    assert Schedule(backwards, "given").shares.tolist() == caps.tolist()
    curve = LinearImpact(SHAPE)
    plain, labelled = (
        allocate(curve, 1_000, max_shares=given, risk_aversion=1e-3, covariance=given)
        for given in (caps, backwards)
    )
    assert labelled.shares.tolist() == plain.shares.tolist()
    for call in (vwap, lambda order, volume: pov(order, volume, 0.5)):
        with pytest.raises(ValidationError, match="volume is labelled"):
            call(1_000, pd.Series(caps, list("abcde")))


@pytest.mark.parametrize("risk", [0.0, 1e-6])
def test_a_perfect_hedge_has_no_risk_and_costs_what_it_costs(risk: float) -> None:
    loading = np.array([1.1, 0.7, -0.3])
    market = {"covariance": np.outer(loading, loading), "temporary": [1e-5, 2e-5, 3e-5]}
    orders = np.array([700.0, -1_100.0, 0.0])
    held = np.outer(np.linspace(1, 0, 8), orders)
    found = price_portfolio(-np.diff(held, axis=0), **market)
    assert found.variance == 0.0
    assert found.value_at_risk() == found.expected_cost > 0
    best = portfolio_schedule(orders, 7, **market, risk_aversion=risk)
    assert best.variance == pytest.approx(0.0, abs=1e-12)
    frontier = efficient_frontier(orders, 7, [0.0, 1e-6, 1e-3], **market)
    assert np.isfinite(frontier.to_frame().to_numpy()).all()
    least, aversion = least_value_at_risk(orders, 7, **market)
    assert least.value_at_risk() == pytest.approx(least.expected_cost)
    assert np.isfinite(aversion)


def test_a_market_without_risk_has_a_frontier_of_one_point() -> None:
    frontier = efficient_frontier(1e4, 5, [0.0, 1.0], volatility=0.0, temporary=1e-5)
    assert frontier.deviation.tolist() == [0.0, 0.0]
    assert frontier.to_frame()["value_at_risk"].tolist() == frontier.expected_cost.tolist()


@pytest.mark.parametrize("shares", [1e-5, 1.0, 5e9])
@pytest.mark.parametrize("price", [1e-7, 1.0, 1e5])
@pytest.mark.parametrize("solver", ["auto", "cvxpy", "scipy"])
def test_the_split_is_the_same_in_every_unit(shares: float, price: float, solver: str) -> None:
    def split(curve: type[LinearImpact] | type[PowerImpact], *scales: float) -> None:
        units = [price / shares**k * 1e-3 for k in scales[:-1]]
        part = allocate(
            curve(*(unit * SHAPE for unit in units), *scales[-1:] * (curve is PowerImpact)),
            shares, max_shares=0.4 * shares, solver=solver,
        )  # fmt: skip
        assert part.shares / shares == pytest.approx(EXPECTED[curve], rel=1e-3)
        assert part.shares.sum() == pytest.approx(shares, rel=1e-12)
        assert part.shares.max() <= 0.4 * shares
        assert part.solver in ("analytical", solver)

    split(LinearImpact, 1.0, 0.0)
    split(PowerImpact, 0.5, 0.5)
    split(QuadraticImpact, 2.0, 1.0, 0.0)


EXPECTED = {
    kind: allocate(curve, 1.0, max_shares=0.4).shares
    for kind, curve in (
        (LinearImpact, LinearImpact(1e-3 * SHAPE)),
        (PowerImpact, PowerImpact(1e-3 * SHAPE, 0.5)),
        (QuadraticImpact, QuadraticImpact(1e-3 * SHAPE, 1e-3 * SHAPE)),
    )
}


@pytest.mark.parametrize("shares", [1e-5, 5e9])
def test_schedules_and_portfolios_of_every_size(shares: float) -> None:
    assert twap(shares, 390).shares.sum() == pytest.approx(shares, rel=1e-12)
    assert pov(shares, [shares, shares], 0.1).unfilled == pytest.approx(0.8 * shares)
    one = almgren_chriss(
        shares, 20, volatility=1e-7, temporary=1e-9 / shares, risk_aversion=1 / shares
    )
    small = almgren_chriss(1.0, 20, volatility=1e-7, temporary=1e-9, risk_aversion=1.0)
    assert one.shares / shares == pytest.approx(small.shares, rel=1e-9)
    caps = {"min_shares": 0.0, "max_shares": 0.07 * shares}
    capped = portfolio_schedule(
        [shares], 20, covariance=[[1e-14]], temporary=[1e-9 / shares],
        risk_aversion=1e6 / shares, **caps,
    )  # fmt: skip
    assert capped.shares.max() <= 0.07 * shares * (1 + 1e-6)
    assert capped.shares.sum() == pytest.approx(shares, rel=1e-9)
    with pytest.raises(OptimizationError, match="caps admit"):
        portfolio_schedule(
            [shares], 20, covariance=[[1e-14]], temporary=[1e-9 / shares], risk_aversion=0.0,
            max_shares=0.04 * shares,
        )  # fmt: skip


def test_child_orders_beyond_what_the_fit_saw_are_warned_of() -> None:
    curve = LinearImpact(SHAPE)
    assert allocate(curve, 100).warnings == ()
    object.__setattr__(curve, "largest_size", np.full(5, 25.0))
    found = allocate(curve, 100)
    beyond = int(np.sum(found.shares > 25))
    assert found.warnings[0].startswith(f"{beyond} child orders exceed the largest size")
    assert found.warnings[0] in found.summary()
    assert allocate(curve, 10).warnings == ()


def test_results_are_short_and_show_a_table() -> None:
    results = (
        allocate(LinearImpact(np.full(390, 1e-5)), 1e4),
        twap(1e4, 390),
        almgren_chriss(1e4, 390, volatility=0.1, temporary=1e-5, risk_aversion=1e-6),
        portfolio_schedule([1e4, 2e3], 390, **MARKET, risk_aversion=1e-6),
    )
    for result in results:
        assert len(repr(result)) <= 200
        assert len(result.to_frame()) == 390

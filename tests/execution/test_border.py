"""What is given wrongly is refused at the border, by name; what cannot act is not ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from research_lib import ImpactModel, OptimizerConfig, TradeAllocator
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import Schedule, allocate, allocate_many, almgren_chriss, vwap
from research_lib.impact import ExponentialKernel, LinearImpact, PiecewiseLinearImpact

CURVE = LinearImpact(np.array([1e-5, 2e-5, 3e-5]), 0.01)
BOOK = PiecewiseLinearImpact([[100.0], [100.0]], [[0.0], [0.01]])


def chriss(**changed: Any) -> object:
    return almgren_chriss(
        1e4,
        10,
        **({"volatility": 0.1, "temporary": 1e-5, "risk_aversion": 1e-6, "drift": 0.05} | changed),
    )


@pytest.fixture(scope="module")
def model() -> ImpactModel:
    model = ImpactModel("linear")
    model.fit_model(
        model.estimate_slippage(model.generate_synthetic_orderbook(26, 20)), test_fraction=0
    )
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: allocate(CURVE, np.array([100.0])),
            r"total_shares must be a number, got array\(\[100",
        ),
        (lambda: allocate(CURVE, 100, kernel="x"), "kernel must be a function"),  # type: ignore[arg-type]
        (
            lambda: allocate(CURVE, 100, kernel=ExponentialKernel(1.0, 1e-5), times="x"),
            "times must be numbers",
        ),
        (
            lambda: allocate(CURVE, 100, risk_aversion=np.ones(3), covariance=1),
            "risk_aversion must be a number",
        ),  # type: ignore[arg-type]
        (
            lambda: allocate(CURVE, 100, risk_aversion=1, covariance="x"),
            "covariance must be numbers, got 'x'",
        ),
        (
            lambda: allocate(CURVE, 100, risk_aversion=1, covariance=-1),
            "covariance must be .* at least 0, got -1$",
        ),
        (
            lambda: allocate(CURVE, 100, risk_aversion=1, covariance=[1, -2, 1]),
            "got -2 in interval 1",
        ),
        (lambda: allocate(CURVE, 100, objective=["cost"]), "objective .* is unknown"),  # type: ignore[arg-type]
        (lambda: allocate(CURVE, 100, max_iterations=[1]), "max_iterations must be an integer"),  # type: ignore[arg-type]
        (lambda: allocate_many(CURVE, "x"), "total_shares must be numbers"),
        (lambda: vwap(100, "x"), "volume must be numbers"),
        (lambda: vwap(100, 5), r"volume must be \(n,\), .*got shape \(\): 5"),
        (lambda: Schedule([1, "x"], "a"), "scheduled shares must be numbers"),  # type: ignore[arg-type]
        (lambda: chriss(min_shares="x"), "min_shares must be a number or"),
        (lambda: chriss(min_shares=[1, 2]), "min_shares must be a number or"),
        (lambda: chriss(min_shares=-100), "min_shares must be at least 0, got -100"),
        (lambda: chriss(min_shares=-100, drift=0.0), "min_shares must be at least 0, got -100"),
        (lambda: chriss(volatility=["x"] * 10), "volatility must be numbers"),
    ],
)
def test_wrong_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        call()


@pytest.mark.parametrize(
    "call", [lambda: chriss(min_shares=2e4), lambda: allocate(CURVE, 100, min_shares=[200, 0, 0])]
)
def test_floors_above_the_order_are_told_as_floors(call: Callable[[], object]) -> None:
    with pytest.raises(OptimizationError, match=r"floors need .* lower min_shares"):
        call()


def test_what_the_books_show_is_no_cap_to_raise() -> None:
    with pytest.raises(OptimizationError, match="the books show 200 of 300 shares"):
        allocate(BOOK, 300)
    with pytest.raises(OptimizationError, match="cap admits 100 of 150 shares; raise max_shares"):
        allocate(BOOK, 150, max_shares=50)


def test_the_facade_names_its_own_settings(model: ImpactModel) -> None:
    with pytest.raises(ValidationError, match="config must be an OptimizerConfig, got dict"):
        TradeAllocator(model, 5e4, config={})  # type: ignore[arg-type]
    with pytest.raises(OptimizationError, match="cap admits 45,000 of 50,000 shares"):
        TradeAllocator(model, 5e4, n_intervals=3).optimize("auto")
    raised = TradeAllocator(
        model, 5e4, n_intervals=3, config=OptimizerConfig(max_allocation_ratio=0.3334)
    )
    assert raised.optimize("auto").optimal_allocation.sum() == pytest.approx(5e4)
    with pytest.raises(ValidationError, match="solver '' is unknown"):
        raised.optimize("")
    with pytest.raises(ValidationError, match=r"no figure is written as \.foo"):
        raised.plot_allocation(save_path="order.foo")

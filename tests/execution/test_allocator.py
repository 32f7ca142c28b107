"""What the facade's allocator hands on, compares and draws."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from research_lib import ImpactModel, ModelConfig, OptimizerConfig, TradeAllocator
from research_lib.errors import OptimizationError, ValidationError
from research_lib.impact import ExponentialKernel, ImpactCurve, LinearImpact, square_root_impact
from research_lib.market import Session, SyntheticMarket
from research_lib.transient import price_path

matplotlib.use("Agg")
N, S = 26, 50_000.0


@pytest.fixture(scope="module")
def model() -> ImpactModel:
    """Fitted on ten days, whose shape it follows."""
    session = Session(N)
    model = ImpactModel("linear", session=session)
    books = SyntheticMarket(session=session).books(10 * N, 20, np.random.default_rng(0))
    model.fit_model(model.estimate_slippage(books, n_intervals=N), test_fraction=0)
    return model


def test_caps_and_lots_reach_the_solver(model: ImpactModel) -> None:
    volume, closed = np.linspace(2e4, 6e4, N), np.isin(np.arange(N), [3, 4])
    caps = 0.06 * volume
    result = TradeAllocator(model, S).optimize(
        "auto", participation_rate=0.06, volume=volume, blackout=closed, lot_size=100,
        cross_check=True,
    )  # fmt: skip
    shares = result["optimal_allocation"]
    assert shares[[3, 4]].tolist() == [0, 0]
    assert np.all(shares <= caps)
    assert np.all(shares % 100 == 0)
    assert result["allocation"].cross_check.solver == "cvxpy"


def test_terms_and_relaxation_reach_the_solver(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S, config=OptimizerConfig(max_allocation_ratio=0.03))
    with pytest.raises(OptimizationError, match="cap admits 39,000 of 50,000 shares"):
        allocator.optimize("auto")
    assert (
        "raised to 1.28" in allocator.optimize("auto", on_infeasible="relax")["allocation"].relaxed
    )
    calm = TradeAllocator(model, S).optimize("auto", risk_aversion=1e-5, covariance=1e-2)
    flat = TradeAllocator(model, S).optimize("auto")
    assert np.cumsum(calm["optimal_allocation"])[5] > np.cumsum(flat["optimal_allocation"])[5]


def test_compared_solvers_agree_and_each_speaks_for_itself(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S)
    allocator.optimize("auto")
    table = allocator.compare_solvers()
    assert table.index.tolist() == ["analytical", "cvxpy", "scipy"]
    assert table["certified"].all()
    assert np.ptp(table["cost"]) < 1e-6 * table["cost"].min()
    assert (table["gap"].abs() <= 1e-6).all()
    assert (table["seconds"] > 0).all()
    assert (table["iterations"] > 0).all()
    starved = TradeAllocator(model, S, config=OptimizerConfig(max_iterations=1)).compare_solvers()
    assert not starved.loc["scipy", "certified"]
    assert "duality gap" in starved.loc["scipy", "reason"]


def test_solvers_are_compared_on_the_last_problem(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S, config=OptimizerConfig(max_allocation_ratio=0.03))
    averse = allocator.optimize("auto", risk_aversion=1e-5, covariance=1e-2, on_infeasible="relax")[
        "allocation"
    ]
    table = allocator.compare_solvers()
    assert table["cost"].to_numpy() == pytest.approx(averse.cost + averse.penalty, rel=1e-6)
    assert averse.penalty > 0


def test_a_schedule_dearer_than_equal_shares_says_so(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S)
    result = allocator.optimize("auto", risk_aversion=1e-3, covariance=1e-2)
    assert result["improvement_pct"] < 0


def test_relaxed_caps_are_those_drawn(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S, config=OptimizerConfig(max_allocation_ratio=0.03))
    result = allocator.optimize("auto", on_infeasible="relax")
    assert np.all(result.optimal_allocation <= allocator.caps)
    axes = allocator.plot_allocation()
    assert axes[0].patches[-1].get_data().baseline.min() >= result.optimal_allocation.max() * (
        1 - 1e-12
    )
    assert "warning: bounds relaxed" in result["allocation"].summary()
    plt.close("all")


def test_where_terms_couple_intervals_no_one_level_is_drawn(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, S)
    allocator.optimize("auto", risk_aversion=1e-5, covariance=1e-2)
    water = allocator.plot_allocation()[1]
    labels = [text.get_text() for text in water.get_legend().get_texts()]
    texts = [text.get_text() for text in water.texts]
    assert "no one level: terms couple the intervals" in texts
    assert not any(label.startswith("multiplier") for label in labels)
    highest = max(
        patch.get_data().values.max()
        for patch in water.patches
        if patch.get_label().startswith("filled")
    )
    assert water.get_ylim()[1] > highest
    plt.close("all")


def test_the_one_picture_shows_schedule_water_level_and_execution(
    model: ImpactModel, tmp_path: Path
) -> None:
    allocator = TradeAllocator(model, S, config=OptimizerConfig(max_allocation_ratio=0.06))
    result = allocator.optimize("auto")
    axes = allocator.plot_allocation(tmp_path / "order.png")
    assert (tmp_path / "order.png").stat().st_size > 20_000
    assert {"optimal", "TWAP", "above the cap"} <= {
        t.get_text() for t in axes[0].get_legend().get_texts()
    }
    level = next(line for line in axes[1].lines if line.get_label().startswith("multiplier"))
    assert level.get_ydata()[0] == result["allocation"].marginal_cost
    done = {line.get_label(): line.get_ydata() for line in axes[2].lines}
    assert done["optimal"][-1] == pytest.approx(100)
    assert done["TWAP"][N // 2 - 1] == pytest.approx(100 * (N // 2 - 1) / N)
    plt.close("all")


def with_curve(curve: ImpactCurve) -> ImpactModel:
    """A fitted model, with another curve in place of its own."""
    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    fit = model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(13, 5)))
    model.fit = dataclasses.replace(fit, curve=curve)
    return model


@pytest.mark.parametrize("n", [12, 390])
def test_equal_curves_save_nothing_whatever_is_asked_beside(n: int) -> None:
    for curve in (LinearImpact(np.full(n, 1.7e-6), 0.013), square_root_impact(np.full(n, 1e-4))):
        model = with_curve(curve)
        assert TradeAllocator(model, 777.7).optimize("analytical").improvement_pct == 0.0


def test_a_saving_counts_the_kernel_on_both_sides() -> None:
    model = with_curve(LinearImpact(np.full(12, 1.7e-6), 0.013))
    kernel = ExponentialKernel(0.3, 1e-6)
    result = TradeAllocator(model, 777.7).optimize("analytical", kernel=kernel)
    equal = np.full(12, 777.7 / 12)
    naive = float(model.curve.cost(equal).sum()) + price_path(kernel, np.arange(12.0), equal).cost
    assert result.naive_impact == pytest.approx(naive, rel=1e-12)  # sums of twelve
    assert result.total_impact == pytest.approx(result.allocation.cost, rel=1e-12)
    assert result.improvement_pct > 0


def test_a_misspelt_option_is_refused_with_the_nearest(model: ImpactModel) -> None:
    allocator = TradeAllocator(model, 20_000, 13)
    with pytest.raises(ValidationError, match=r"'particpation_rate'.*'participation_rate'"):
        allocator.optimize(particpation_rate=0.1)


@pytest.mark.parametrize("option", ["objective", "min_shares", "tolerance"])
def test_an_option_that_would_be_ignored_or_beat_the_caps_is_refused(
    model: ImpactModel, option: str
) -> None:
    with pytest.raises(ValidationError, match=f"option '{option}' is unknown"):
        TradeAllocator(model, 20_000, 13).optimize(**{option: 1.0})

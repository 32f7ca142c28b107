"""One problem, one way in: `allocate` with a kernel, with risk aversion, and with several curves,
in its limits.

Tolerances. 1e-9: rounding between two exact methods. 1e-6, 1e-7 of a cost: the gap of 1e-8 or 1e-10
at which a numerical solver stops, and what it misses of the sum. 1e-5, 1e-6 in shares: the root of
that gap, or of the tolerance 1e-10 of the proximal steps. 2e-4 of a price: the slope of a curve
over a ten-thousandth of a child.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, minimize

from research_lib import ImpactModel, TradeAllocator
from research_lib.errors import ValidationError
from research_lib.execution import allocate, almgren_chriss, transient_schedule
from research_lib.impact import (
    ExponentialKernel,
    ExponentialSumKernel,
    GaussianKernel,
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
    PowerKernel,
    QuadraticImpact,
    kernel_matrix,
)

N, S = 26, 5_000.0
RNG = np.random.default_rng(7)
BETA, SPREAD = RNG.lognormal(-10, 0.4, N), RNG.uniform(0.005, 0.02, N)
STEPS = np.cumsum(RNG.uniform(0, 0.01, (N, 5)), axis=1)
CURVES: dict[str, ImpactCurve] = {
    "linear": LinearImpact(BETA, SPREAD),
    "nonlinear": QuadraticImpact(BETA / 300, BETA, SPREAD),
    "power": PowerImpact(20 * BETA, 0.5, SPREAD),
    "book": PiecewiseLinearImpact(RNG.uniform(50, 150, (N, 5)), STEPS, SPREAD),
}
KERNELS = {
    "exponential": ExponentialKernel(0.3, 1e-4),
    "sum": ExponentialSumKernel((0.05, 1.0), (4e-5, 1e-4)),
    "power": PowerKernel(0.5, 1e-4),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("family", CURVES)
def test_every_curve_under_every_kernel_is_optimal_by_its_prices(family: str, kernel: str) -> None:
    """Marginal prices, computed here: no share is dearer than any that could replace it."""
    curve, cap = CURVES[family], 400.0
    found = allocate(curve, S, max_shares=cap, kernel=KERNELS[kernel], tolerance=1e-10)
    x = found.shares
    assert x.sum() == pytest.approx(S, abs=1e-6)
    displaced = kernel_matrix(KERNELS[kernel], np.arange(float(N))) @ x
    assert found.cost == pytest.approx(curve.cost(x).sum() + 0.5 * x @ displaced, rel=1e-12)
    assert found.penalty == pytest.approx(0, abs=1e-9 * found.cost)
    total = curve.total("cost")
    dust = 1e-4 * S / N  # a kink is met to rounding: its prices are those on either side
    last = total.marginal_last(np.maximum(x - dust, 0.0)) + displaced
    following = total.marginal(np.minimum(x + dust, total.capacity)) + displaced
    dearest, cheapest = (
        last[x > dust].max(),
        following[x < np.minimum(cap, total.capacity) - dust].min(),
    )
    assert dearest <= cheapest + 2e-4 * abs(dearest)
    assert 0 <= found.duality_gap <= 1e-9


@pytest.mark.parametrize("kernel", ["exponential", "sum"])
@pytest.mark.parametrize("family", CURVES)
def test_the_state_form_in_cvxpy_agrees(family: str, kernel: str) -> None:
    settings: dict[str, Any] = {"max_shares": 400.0, "kernel": KERNELS[kernel]}
    own = allocate(CURVES[family], S, **settings)
    conic = allocate(CURVES[family], S, **settings, solver="cvxpy", tolerance=1e-10)
    assert conic.solver == "cvxpy"
    assert conic.cost == pytest.approx(own.cost, rel=1e-6)
    assert allocate(CURVES["linear"], S, **settings, cross_check=True).cross_check is not None


def test_scipy_and_cvxpy_agree_under_a_kernel_without_a_state_form() -> None:
    settings: dict[str, Any] = {"max_shares": 400.0, "kernel": KERNELS["power"]}
    own = allocate(CURVES["linear"], S, **settings)
    assert own.attempts[0].backend.startswith("Cholesky")
    smooth = allocate(CURVES["linear"], S, **settings, solver="scipy")
    assert smooth.solver == "scipy"
    assert smooth.cost == pytest.approx(own.cost, rel=1e-7)
    asked = allocate(CURVES["linear"], S, **settings, solver="cvxpy")
    assert asked.solver == "cvxpy"
    assert asked.cost == pytest.approx(own.cost, rel=1e-6)


def test_linear_curves_are_the_temporary_impact_of_the_transient_schedule() -> None:
    times = np.cumsum(np.random.default_rng(1).uniform(0.3, 2.0, N))
    both: dict[str, Any] = {"min_shares": 0.0, "max_shares": 300.0}
    for kernel in KERNELS.values():
        direct = transient_schedule(kernel, times, S, temporary=BETA, **both)
        through = allocate(LinearImpact(BETA), S, kernel=kernel, times=times, **both)
        assert through.shares == pytest.approx(direct.shares, rel=1e-9, abs=1e-9 * S)
        assert through.cost == pytest.approx(direct.cost, rel=1e-10)


@pytest.mark.parametrize("family", CURVES)
def test_a_kernel_without_memory_gives_the_separable_optimum(family: str) -> None:
    """All that is left of it is half of G(0) on each child: a little more linear impact."""
    curve = CURVES[family]
    alone = allocate(curve, S, max_shares=400)
    forgetful = allocate(curve, S, max_shares=400, kernel=ExponentialKernel(800.0, 1e-13))
    assert forgetful.cost == pytest.approx(alone.cost, rel=1e-8)
    if family == "linear":
        assert forgetful.shares == pytest.approx(alone.shares, rel=1e-6)
        halved = allocate(curve, S, max_shares=400, kernel=ExponentialKernel(800.0, 6e-5))
        assert halved.shares == pytest.approx(
            allocate(LinearImpact(BETA + 3e-5, SPREAD), S, max_shares=400).shares, rel=1e-9
        )


def test_no_risk_and_equal_curves_give_equal_shares() -> None:
    for curve in (LinearImpact(np.full(N, 1e-5), 0.01), PowerImpact(np.full(N, 1e-3), 0.5)):
        assert allocate(curve, S, risk_aversion=0.0, covariance=1.0).shares == pytest.approx(
            np.full(N, S / N)
        )
        tiny = allocate(curve, S, risk_aversion=1e-14, covariance=1.0)
        assert tiny.cost == pytest.approx(curve.cost(np.full(N, S / N)).sum(), rel=1e-6)
    lasting = ExponentialSumKernel((0.0,), (1e-4,))
    flat = allocate(LinearImpact(np.full(N, 1e-5)), S, kernel=lasting)
    assert flat.shares == pytest.approx(np.full(N, S / N), rel=1e-9)


def test_one_asset_under_risk_aversion_is_almgren_chriss() -> None:
    eta, sigma, risk, tau = 2.5e-6, 0.95, 1e-6, 0.2
    expected = almgren_chriss(
        1e6, 25, volatility=sigma, temporary=eta, risk_aversion=risk, interval=tau
    )
    curve = LinearImpact(np.full(25, eta / tau))
    found = allocate(curve, 1e6, risk_aversion=risk, covariance=sigma**2 * tau)
    assert found.solver == "analytical"
    assert found.shares == pytest.approx(expected.shares, rel=1e-9)
    assert found.cost == pytest.approx(expected.expected_cost, rel=1e-9)
    assert found.penalty == pytest.approx(risk * expected.variance, rel=1e-9)


@pytest.mark.slow
def test_varying_risk_and_curves_agree_with_scipys_minimum() -> None:
    variance = np.linspace(0.01, 0.05, N)
    found = allocate(
        CURVES["nonlinear"], S, risk_aversion=3e-5, covariance=variance, kernel=KERNELS["power"]
    )
    matrix = kernel_matrix(KERNELS["power"], np.arange(float(N)))

    def value(x: np.ndarray) -> float:
        held = 1 - np.cumsum(x)
        cost = CURVES["nonlinear"].cost(np.maximum(x, 0) * S).sum() + 0.5 * S**2 * x @ matrix @ x
        return float(cost + 3e-5 * S**2 * np.sum(variance * held**2))

    reference = minimize(
        value,
        np.full(N, 1 / N),
        method="SLSQP",
        bounds=Bounds(np.zeros(N), np.ones(N)),
        constraints=LinearConstraint(np.ones((1, N)), 1, 1),
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert found.cost + found.penalty <= reference.fun * (1 + 1e-9)
    assert found.cost + found.penalty == pytest.approx(reference.fun, rel=1e-6)


def test_lots_keep_the_sum_under_a_kernel() -> None:
    result = allocate(CURVES["linear"], S, kernel=KERNELS["power"], lot_size=100)
    assert np.all(result.shares % 100 == 0)
    assert result.shares.sum() == S
    assert "heuristic" in result.warnings[0]


def test_the_facade_passes_kernel_and_risk_on() -> None:
    model = ImpactModel("linear")
    model.fit_model(
        model.estimate_slippage(model.generate_synthetic_orderbook(n_snapshots=39, n_levels=10))
    )
    allocator = TradeAllocator(model, 20_000)
    calm = {"kernel": ExponentialKernel(0.5, 1e-4)}
    neutral = allocator.optimize("auto", **calm)["optimal_allocation"]
    result = allocator.optimize(
        "auto", kernel=ExponentialKernel(0.5, 1e-4), risk_aversion=1e-5, covariance=1e-3
    )
    direct = allocate(
        allocator.curve, 20_000, max_shares=allocator.caps, kernel=ExponentialKernel(0.5, 1e-4), risk_aversion=1e-5,
        covariance=1e-3,
    )  # fmt: skip
    assert result["optimal_allocation"] == pytest.approx(direct.shares, rel=1e-9, abs=1e-9)
    assert np.cumsum(result["optimal_allocation"])[5] > np.cumsum(neutral)[5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"risk_aversion": 1.0}, "risk_aversion needs covariance"),
        ({"risk_aversion": -1.0, "covariance": 1.0}, "risk_aversion must be at least 0"),
        (
            {"risk_aversion": 1.0, "covariance": np.ones(3)},
            rf"covariance must be a number or \({N},\)",
        ),
        ({"kernel": KERNELS["power"], "objective": "impact"}, "kernel needs objective='cost'"),
        ({"kernel": KERNELS["power"], "times": np.arange(3.0)}, rf"times must be \({N},\)"),
        ({"kernel": lambda lags: 1 - lags}, "not positive definite"),
        ({"times": np.arange(float(N))}, "times belong to a kernel"),
        ({"covariance": -3}, "covariance must be finite and at least 0, got -3"),
        (
            {"covariance": -3, "kernel": KERNELS["power"]},
            "covariance must be finite and at least 0, got -3",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        allocate(CURVES["linear"], S, **settings)


def test_a_gaussian_kernel_is_tamed_by_the_floors_of_allocate() -> None:
    found = allocate(LinearImpact(np.full(10, 1e-9)), S, kernel=GaussianKernel(2.0, 1e-4))
    assert found.shares.min() >= 0
    assert found.duality_gap <= 1e-6

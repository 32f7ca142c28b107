"""Schedules under decaying impact: structured solvers against dense ones, closed forms, limits,
refusals.

Tolerances. 1e-9 of the largest trade: rounding of dense systems of up to 1,001 equations, whose
matrices have condition numbers of up to 3e5. 1e-6 of the order against CVXPY: three times the root
of its gap, 1e-13. Gaps and residuals of exact solutions are rounding alone, at most 1e-12 and 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import limit_of_ever_more_trades
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import Allocation, obizhaeva_wang, transient_schedule
from research_lib.impact import (
    ExponentialKernel,
    ExponentialSumKernel,
    GaussianKernel,
    PowerKernel,
    kernel_matrix,
)
from research_lib.transient import price_path

S = 10_000.0
KERNELS = {
    "exponential": ExponentialKernel(0.3, 2e-4),
    "sum": ExponentialSumKernel((0.0, 0.05, 1.0), (1e-5, 1e-4, 2e-4)),
    "power": PowerKernel(0.5, 3e-4, 0.7),
    "tabulated": lambda lags: np.interp(
        lags, np.arange(0, 4000.0, 4.0), 2e-4 / (1 + np.arange(0, 4000.0, 4.0)) ** 0.3
    ),
    "function": lambda lags: 1e-4 * np.exp(-np.sqrt(lags)),
}
EXTRAS: dict[str, Callable[[int], dict[str, object]]] = {
    "alone": lambda n: {},
    "temporary": lambda n: {"temporary": 1e-5},
    "varying": lambda n: {"temporary": np.linspace(1e-5, 5e-5, n)},
}


def grid(n: int, even: bool) -> np.ndarray:
    return (
        np.arange(n, dtype=float)
        if even
        else np.cumsum(np.random.default_rng(n).uniform(0.2, 2.0, n))
    )


def hessian_of(kernel: object, times: np.ndarray, extra: dict[str, object]) -> np.ndarray:
    """Hessian of the whole cost, from its definition."""
    temporary = np.broadcast_to(extra.get("temporary", 0.0), len(times))  # type: ignore[call-overload]
    return kernel_matrix(kernel, times) + 2 * np.diag(temporary)  # type: ignore[arg-type]


def dense(hessian: np.ndarray) -> np.ndarray:
    """The least of x'Hx/2 with sum S: one dense system."""
    n = len(hessian)
    system = np.block([[hessian, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    return solve(system, np.append(np.zeros(n), S))[:n]


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3, 60, pytest.param(390, marks=pytest.mark.slow)])
def test_every_structure_agrees_with_a_dense_solution(
    name: str, n: int, even: bool, extra: str
) -> None:
    times, terms = grid(n, even), EXTRAS[extra](n)
    found = transient_schedule(KERNELS[name], times, S, **terms)  # type: ignore[arg-type]
    expected = dense(hessian_of(KERNELS[name], times, terms))
    assert found.shares == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())
    assert found.shares.sum() == pytest.approx(S, abs=1e-6)
    assert found.duality_gap <= 1e-12
    assert found.kkt_residual <= 1e-9


@pytest.mark.slow
def test_long_regular_grids_agree_with_a_dense_solution() -> None:
    times, kernel = np.arange(1001.0), PowerKernel(0.4, 1e-4)
    long = transient_schedule(kernel, times, S, temporary=1e-5)
    short = transient_schedule(kernel, times[:-1], S, temporary=1e-5)
    for found, at in ((long, times), (short, times[:-1])):
        expected = dense(hessian_of(kernel, at, {"temporary": 1e-5}))
        assert found.shares == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("kernel", "even", "terms", "method"),
    [
        ("exponential", False, "alone", "closed form"),
        ("exponential", True, "varying", "sparse system"),
        ("sum", False, "alone", "sparse system"),
        ("power", True, "varying", "Cholesky"),
        ("power", False, "alone", "Cholesky"),
    ],
)
def test_the_solver_names_its_method(kernel: str, even: bool, terms: str, method: str) -> None:
    found = transient_schedule(KERNELS[kernel], grid(30, even), S, **EXTRAS[terms](30))  # type: ignore[arg-type]
    assert found.solver == method
    assert found.attempts[0].backend == method
    assert found.attempts[0].accepted


@pytest.mark.parametrize("cap", [np.inf, 1.3, 1.01])
@pytest.mark.parametrize("extra", ["alone", "varying"])
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_bounded_schedules_agree_with_cvxpy(name: str, even: bool, extra: str, cap: float) -> None:
    import cvxpy as cp

    n = 40
    times, terms = grid(n, even), EXTRAS[extra](n)
    upper = cap * S / n
    found = transient_schedule(KERNELS[name], times, S, min_shares=0, max_shares=upper, **terms)  # type: ignore[arg-type]
    hessian = hessian_of(KERNELS[name], times, terms)
    unit = hessian.max()
    x = cp.Variable(n)
    objective = 0.5 * cp.quad_form(x, cp.psd_wrap(hessian / unit))
    bounds = [cp.sum(x) == 1, x >= 0] + ([x <= upper / S] if np.isfinite(upper) else [])
    cp.Problem(cp.Minimize(objective), bounds).solve(
        solver="CLARABEL", tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13
    )
    assert found.shares / S == pytest.approx(x.value, abs=1e-6)
    assert found.shares.min() >= 0
    assert found.shares.max() <= upper
    assert found.duality_gap <= 1e-10


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_exchange_between_two_trades_is_cheaper(data: st.DataObject) -> None:
    """Optimality from its definition, for bounds of any sign on uneven grids."""
    n = data.draw(st.integers(2, 12))
    times = np.cumsum(data.draw(st.lists(st.floats(0.05, 3.0), min_size=n, max_size=n)))
    kernel = data.draw(
        st.sampled_from(
            [ExponentialKernel(0.4), PowerKernel(0.6), ExponentialSumKernel((0.1, 2.0), (1.0, 0.5))]
        )
    )
    shares = data.draw(st.floats(-100, 100).filter(lambda value: abs(value) > 0.01))
    middle = np.array(data.draw(st.lists(st.floats(-20, 20), min_size=n, max_size=n)))
    width = np.array(data.draw(st.lists(st.floats(0, 60), min_size=n, max_size=n)))
    middle += (shares - middle.sum()) / n
    lower, upper = middle - width, middle + width
    found = transient_schedule(
        kernel, times, shares, min_shares=lower, max_shares=upper, temporary=0.01
    )
    x = found.shares
    assert x.sum() == pytest.approx(shares, abs=1e-6)
    assert np.all((x >= lower) & (x <= upper))
    price = kernel_matrix(kernel, times) @ x + 0.02 * x
    up, down = price[x < upper], price[x > lower]
    if up.size and down.size:
        assert down.max() <= up.min() + 1e-8 * np.abs(price).max()


@pytest.mark.parametrize("seed", [59, 267, 287, 311])
def test_where_sets_of_bounds_repeat_the_optimum_is_found_one_bound_at_a_time(seed: int) -> None:
    """A Gaussian kernel under bounds of any sign: exchanging whole sets goes round in circles on
    these four.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 9))
    times = np.cumsum(rng.uniform(0.02, 2.0, n))
    shares, middle, width = rng.uniform(-50, 50), rng.uniform(-20, 20, n), rng.uniform(0, 30, n)
    middle += (shares - middle.sum()) / n
    lower, upper, kernel = middle - width, middle + width, GaussianKernel(1.0)
    found = transient_schedule(
        kernel, times, shares, min_shares=lower, max_shares=upper, temporary=1e-4
    )
    x = found.shares
    assert found.solver == "Cholesky with an active set"
    assert found.duality_gap <= 1e-12
    assert x.sum() == pytest.approx(shares, abs=1e-6)
    assert np.all((x >= lower) & (x <= upper))
    price = kernel_matrix(kernel, times) @ x + 2e-4 * x
    # No exchange between two trades is cheaper; 1e-8 of a price bounds what the solves of 8
    # equations round.
    assert price[x > lower].max() <= price[x < upper].min() + 1e-8 * np.abs(price).max()


def test_cost_is_that_of_the_price_path() -> None:
    times, kernel = grid(25, False), KERNELS["power"]
    found = transient_schedule(kernel, times, S, temporary=1e-5)
    path = price_path(kernel, times, found.shares)
    assert found.cost == pytest.approx(path.cost + 1e-5 * found.shares @ found.shares, rel=1e-12)


def test_marginal_cost_is_what_one_more_share_costs() -> None:
    def whole(shares: float) -> Allocation:
        return transient_schedule(KERNELS["power"], np.arange(20.0), shares, temporary=1e-5)

    slope = (whole(S + 1).cost - whole(S - 1).cost) / 2
    assert whole(S).marginal_cost == pytest.approx(slope, rel=1e-9)


def test_without_decay_or_memory_the_schedule_is_that_of_temporary_impact() -> None:
    """A kernel without memory is temporary impact of half its size: the separable optimum, x ~ 1 /
    eta.
    """
    eta = np.linspace(1e-5, 4e-5, 30)
    forgetful = transient_schedule(ExponentialKernel(1e3, 2e-5), np.arange(30.0), S, temporary=eta)
    weights = 1 / (eta + 1e-5)
    assert forgetful.shares == pytest.approx(S * weights / weights.sum(), rel=1e-12)
    constant = ExponentialSumKernel(
        (0.0,), (1e-4,)
    )  # no decay: permanent impact, the same for every schedule
    lasting = transient_schedule(constant, np.arange(30.0), S, temporary=eta)
    assert lasting.shares == pytest.approx(S / eta / np.sum(1 / eta), rel=1e-9)


def test_equal_intervals_forget_everything_and_trade_equally() -> None:
    assert transient_schedule(ExponentialKernel(1e3), np.arange(12.0), S).shares == pytest.approx(
        np.full(12, S / 12)
    )


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1.0, 50.0, np.inf])
def test_obizhaeva_wang_has_its_limits(decay: float) -> None:
    x = obizhaeva_wang(S, np.linspace(0, 1, 11), decay)
    assert x.sum() == pytest.approx(S)
    if decay == 0:
        assert x == pytest.approx([S / 2, *np.zeros(9), S / 2])
    elif decay == np.inf:
        assert x == pytest.approx(np.full(11, S / 11))
    else:
        cheapest = transient_schedule(lambda lags: np.exp(-decay * lags), np.linspace(0, 1, 11), S)
        assert x == pytest.approx(cheapest.shares, rel=1e-8, abs=1e-8 * S)


def test_ever_more_trades_reach_the_continuous_split() -> None:
    block, rate, cost = limit_of_ever_more_trades(S, 2.0, 1.5)
    assert 2 * block + 2.0 * rate == pytest.approx(S)
    times = np.linspace(0, 2, 20_001)
    found = transient_schedule(ExponentialKernel(1.5), times, S)
    # The first trade holds half an interval's flow as well.
    assert found.shares[0] == pytest.approx(block, rel=1e-4)
    assert found.shares[10_000] / 1e-4 == pytest.approx(rate, rel=1e-4)
    assert found.cost == pytest.approx(cost, rel=1e-8)


def test_an_order_of_nothing_trades_nothing_and_a_buy_mirrors_a_sell() -> None:
    for kernel in KERNELS.values():
        times = np.arange(9.0)
        assert transient_schedule(kernel, times, 0.0, temporary=1e-6).shares == pytest.approx(
            np.zeros(9)
        )
        buy, sell = (
            transient_schedule(kernel, times, shares, temporary=1e-6) for shares in (S, -S)
        )
        assert sell.shares == pytest.approx(-buy.shares, rel=1e-12)
        assert sell.cost == pytest.approx(buy.cost, rel=1e-12)


def test_a_gaussian_kernel_alternates_unless_floors_forbid_it() -> None:
    wild = transient_schedule(GaussianKernel(1.0), np.arange(10.0) * 0.5, S)
    assert wild.shares.min() < 0
    assert "sells in" in wild.warnings[0]
    calm = transient_schedule(GaussianKernel(1.0), np.arange(10.0) * 0.5, S, min_shares=0)
    assert calm.shares.min() == 0
    assert calm.warnings == ()
    assert calm.cost > wild.cost


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"times": [0.0, 0.0]}, "times must rise strictly"),
        ({"temporary": -1.0}, "temporary must be"),
        ({"temporary": [1.0, 2.0]}, r"temporary must be a number or \(3,\)"),
        ({"min_shares": np.nan}, "min_shares must be"),
        ({"kernel": lambda lags: 1.0 - 2.0 * lags}, "not positive definite"),
        ({"kernel": lambda lags: lags**-0.5}, "not finite at lag 0"),
    ],
)
def test_what_cannot_be_used_is_refused(settings_: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "kernel": ExponentialKernel(1.0),
        "times": np.arange(3.0),
        "total_shares": 10.0,
    }
    with np.errstate(divide="ignore"), pytest.raises(ValidationError, match=message):
        transient_schedule(**(arguments | settings_))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_shares": 3.0}, "cap admits 9 of 10 shares"),
        ({"min_shares": 4.0}, "floors need 12 of 10 shares"),
        (
            {"min_shares": [1, 9, 0], "max_shares": 5.0},
            "min_shares 9 is above max_shares 5 in interval 1",
        ),
    ],
)
def test_bounds_that_admit_nothing_are_refused(bounds: dict[str, object], message: str) -> None:
    with pytest.raises(OptimizationError, match=message):
        transient_schedule(ExponentialKernel(1.0), np.arange(3.0), 10.0, **bounds)  # type: ignore[arg-type]


def test_a_matrix_singular_to_rounding_is_refused_with_the_remedy() -> None:
    with pytest.raises(OptimizationError, match="trade less often"):
        transient_schedule(GaussianKernel(1.0), np.arange(60.0) * 0.1, S)
    assert (
        transient_schedule(GaussianKernel(1.0), np.arange(60.0) * 0.1, S, temporary=0.1).duality_gap
        < 1e-12
    )


def test_times_without_trading_are_left_out_in_few_solves() -> None:
    """Blackouts pin trades at 0: what is left is the schedule on the other times."""
    times, closed = np.arange(60.0), np.zeros(60, bool)
    closed[[7, 8, 9, 30, 59]] = True
    found = transient_schedule(
        KERNELS["power"],
        times,
        S,
        min_shares=0,
        max_shares=np.where(closed, 0.0, np.inf),
        temporary=1e-6,
    )
    left = transient_schedule(KERNELS["power"], times[~closed], S, temporary=1e-6)
    assert found.shares[closed] == pytest.approx(np.zeros(5), abs=0)
    assert found.shares[~closed] == pytest.approx(left.shares, rel=1e-9)
    assert found.attempts[0].iterations <= 3


def test_out_of_time_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(OptimizationError, match="raise timeout_seconds"):
        transient_schedule(
            KERNELS["power"],
            grid(60, False),
            S,
            min_shares=0,
            max_shares=1.05 * S / 60,
            timeout_seconds=1e-9,
        )

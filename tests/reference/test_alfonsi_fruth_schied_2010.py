"""Alfonsi, Fruth and Schied (2010), and Alfonsi, Schied and Slynko (2012): discrete schedules under decay.

Sources: Optimal execution strategies in limit order books with general shape functions, Quantitative Finance 10,
143-157, whose block-shaped case is x0 = S / (2 + (N - 2)(1 - e)) at both ends and x0 (1 - e) in between, for N
trades tau apart and e = exp(-rho tau); Order book resilience, price manipulation, and the positive portfolio
problem, SIAM J. Financial Mathematics 3, 511-533: under G(t) = exp(-t^2) equidistant schedules alternate in sign as
trades come closer; a convex, nonincreasing, nonnegative G never does. Gatheral (2010), No-dynamic-arbitrage and
market impact, Quantitative Finance 10, 749-759: what is bought and sold again under a kernel that is not positive
definite can earn. The articles could not be opened where this was written: the formulae and signs are held by dense
solutions written here, no figure was read off.

Tolerances. 1e-12 and 1e-9: rounding of closed forms and of their differences; 1e-6: two solves with a Gaussian matrix,
whose condition number is up to 7e4, normed by sums of shares of either sign.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve

from research_lib.errors import ValidationError
from research_lib.execution import transient_schedule
from research_lib.impact import ExponentialKernel, GaussianKernel, PowerKernel

S = 100_000.0


@pytest.mark.parametrize("trades", [2, 3, 11, 101])
@pytest.mark.parametrize("decay", [0.1, 1.0, 20.0])
def test_the_block_solution(trades: int, decay: float) -> None:
    tau = 1.0 / (trades - 1)
    e = np.exp(-decay * tau)
    ends = S / (2 + (trades - 2) * (1 - e))
    found = transient_schedule(ExponentialKernel(decay), tau * np.arange(trades), S).shares
    assert found[[0, -1]] == pytest.approx([ends, ends], rel=1e-12)
    assert found[1:-1] == pytest.approx(np.full(trades - 2, ends * (1 - e)), rel=1e-9)


def test_the_block_solution_by_hand() -> None:
    """Numbers by hand: N = 11 trades, e = 1/2: ends S / 6.5, each of the nine others half of that."""
    found = transient_schedule(ExponentialKernel(np.log(2.0)), np.arange(11.0), 13_000.0).shares
    assert found == pytest.approx([2_000, *[1_000] * 9, 2_000], rel=1e-12)


def gaussian(step: float, trades: int = 11) -> np.ndarray:
    """x ~ G^-1 1 by a dense solve."""
    at = step * np.arange(trades)
    direction = solve(np.exp(-((at[:, None] - at) ** 2)), np.ones(trades))
    return S * direction / direction.sum()


@pytest.mark.parametrize("step", [0.4, 0.5])
def test_a_gaussian_kernels_schedule_alternates_in_sign(step: float) -> None:
    found = transient_schedule(GaussianKernel(1.0), step * np.arange(11), S)
    assert found.shares == pytest.approx(gaussian(step), rel=1e-6)
    signs = np.sign(found.shares)
    assert signs[:6].tolist() == [1, -1, 1, -1, 1, -1]
    assert found.shares == pytest.approx(found.shares[::-1], rel=1e-6)
    assert np.abs(found.shares).sum() > 3 * S
    assert "transaction-triggered price manipulation" in found.warnings[0]


def test_far_apart_a_gaussian_kernels_trades_are_all_buys() -> None:
    assert transient_schedule(GaussianKernel(1.0), 1.5 * np.arange(11), S).shares.min() > 0


@pytest.mark.parametrize(
    "kernel",
    [
        PowerKernel(0.5),
        lambda lags: 1 / (1 + lags) ** 2,
        lambda lags: np.interp(lags, [0, 1, 2, 4, 100], [1.0, 0.6, 0.4, 0.2, 0.0]),
        lambda lags: np.maximum(1 - lags / 6, 0),
    ],
)
def test_a_convex_kernels_schedule_never_changes_sign(kernel: object) -> None:
    for step in (0.05, 0.5, 1.0):
        found = transient_schedule(kernel, step * np.arange(11), S)  # type: ignore[arg-type]
        assert found.shares.min() > -1e-9 * S
        assert found.warnings == ()


def test_a_kernel_that_pays_for_round_trips_is_refused() -> None:
    """G(0) = 1, G(1) = 0, G(2) = -1.5: buy, wait, sell pays, for x'Gx / 2 of (1, 0, 1) is -0.5."""
    with pytest.raises(ValidationError, match="not positive definite"):
        transient_schedule(
            lambda lags: np.interp(lags, [0, 1, 2], [1.0, 0.0, -1.5]), np.arange(3.0), S
        )
    # Impact that first builds up: the round trip (1, -2, 1) gains as G(1) exceeds the mean of its neighbours.
    with pytest.raises(ValidationError, match="price manipulation"):
        transient_schedule(
            lambda lags: np.interp(lags, [0, 1, 2], [1.0, 1.6, 1.0]), np.arange(3.0), S
        )

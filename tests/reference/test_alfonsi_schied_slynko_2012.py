"""Alfonsi, Schied and Slynko (2012), SIAM Journal on Financial Mathematics 3: a Gaussian kernel's alternating signs.

Their figures show, under G(t) = exp(-t^2) and trading times ever closer together, optimal strategies that buy and sell
in turn with growing amplitude, although G is positive definite; convexity of G rules this out (their theorem 1).
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

from research_lib.impact import ExponentialKernel, GaussianKernel, check_kernel, kernel_matrix

GAUSSIAN = GaussianKernel(1.0)


def cheapest(kernel: GaussianKernel | ExponentialKernel, times: np.ndarray) -> np.ndarray:
    """G^-1 1 / (1' G^-1 1), dense."""
    direction = np.linalg.solve(kernel_matrix(kernel, times), np.ones(len(times)))
    return direction / direction.sum()


@pytest.mark.parametrize("n", [21, 26, 31])
def test_a_gaussian_kernel_buys_and_sells_in_turn(n: int, caplog: pytest.LogCaptureFixture) -> None:
    times = np.linspace(0.0, 10.0, n)
    shares = cheapest(GAUSSIAN, times)
    assert np.linalg.eigvalsh(kernel_matrix(GAUSSIAN, times))[0] > 0
    assert np.all(np.sign(shares[:4]) == [1, -1, 1, -1])
    with caplog.at_level(logging.WARNING):
        found = check_kernel(GAUSSIAN, times)
    assert not found.safe
    assert f"sells in {np.count_nonzero(shares < 0)} of {n} trades" in found.warnings[0]
    assert found.warnings[0] in caplog.text


def test_the_swings_grow_as_trading_times_get_closer() -> None:
    turnover = [
        np.abs(cheapest(GAUSSIAN, np.linspace(0.0, 10.0, n))).sum() for n in (11, 16, 21, 26)
    ]
    assert turnover == sorted(turnover)
    assert turnover[0] < 1.2
    assert turnover[-1] > 5.0


def test_an_exponential_kernel_does_not() -> None:
    for n in (11, 26, 101):
        assert cheapest(ExponentialKernel(1.0), np.linspace(0.0, 10.0, n)).min() > 0

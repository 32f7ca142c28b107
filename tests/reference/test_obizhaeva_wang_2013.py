"""Obizhaeva and Wang's schedule against a dynamic programme of the same model, and against its own limit.

No printed cell of the article (2013, J. Financial Markets 16, 1-32) is compared: it could not be opened where
this was written.

- `recursion` is the model's dynamic programme in the manner of its Proposition 1 (alpha, beta, gamma, delta), written
  down here apart from the library and run beside its closed form.
- `ROWS` are no published values: they are X / (rho T + 2) and rho X / (rho T + 2) to whole shares, and ln 2 / rho,
  worked out from the formula that Alfonsi, Kloeck and Schied (arXiv 1310.4471) quote as the article's main result.
  They hold the code to that formula, its units and its rounding, and no more.

Tolerances. Whole shares are rounded as printed; 1e-8: the recursion's rounding over 390 steps; 0.01 and 0.02 shares:
the closed form of 200,001 trades less its limit, O(1 / n) beyond the term that is compared.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import limit_of_ever_more_trades

from research_lib.execution import obizhaeva_wang, transient_schedule
from research_lib.impact import ExponentialKernel

X, DAY_MINUTES = 100_000.0, 390.0
# rho per day, half-life in minutes, shares of the first trade, in between, and of the last.
ROWS = [
    (0.001, 270_327.40, 49_975, 50, 49_975),
    (0.01, 27_032.74, 49_751, 498, 49_751),
    (0.5, 540.65, 40_000, 20_000, 40_000),
    (1.0, 270.33, 33_333, 33_333, 33_333),
    (2.0, 135.16, 25_000, 50_000, 25_000),
    (4.0, 67.58, 16_667, 66_667, 16_667),
    (5.0, 54.07, 14_286, 71_429, 14_286),
    (10.0, 27.03, 8_333, 83_333, 8_333),
    (20.0, 13.52, 4_545, 90_909, 4_545),
    (50.0, 5.41, 1_923, 96_154, 1_923),
    (300.0, 0.90, 331, 99_338, 331),
    (1_000.0, 0.27, 100, 99_800, 100),
    (10_000.0, 0.03, 10, 99_980, 10),
]


@pytest.mark.parametrize(("decay", "half_life", "first", "between", "last"), ROWS)
def test_the_limit_is_its_formula(
    decay: float, half_life: float, first: int, between: int, last: int
) -> None:
    block, rate, _ = limit_of_ever_more_trades(X, 1.0, decay)
    assert (round(block), round(rate), round(block)) == (first, between, last)
    assert ExponentialKernel(decay).half_life * DAY_MINUTES == pytest.approx(half_life, abs=0.0051)


@pytest.mark.parametrize("decay", [0.01, 1.0, 10.0, 50.0])
def test_many_discrete_trades_approach_the_limit(decay: float) -> None:
    """The first of n + 1 trades is the block and half of an interval's flow: short of it by O(1 / n)."""
    n = 200_000
    shares = transient_schedule(ExponentialKernel(decay), np.linspace(0, 1, n + 1), X).shares
    block, rate, _ = limit_of_ever_more_trades(X, 1.0, decay)
    assert shares[0] == pytest.approx(block + 0.5 * rate / n, abs=0.01)
    assert shares[1:-1].sum() == pytest.approx(rate * (1 - 1 / n), abs=0.02)


def recursion(
    shares: float, n: int, decay: float, depth: float, permanent: float, horizon: float
) -> np.ndarray:
    """Trades 0 to n of Proposition 1: block depth q, permanent impact lambda, kappa = 1 / q - lambda."""
    kept, kappa = math.exp(-decay * horizon / n), 1 / depth - permanent
    alpha, beta, gamma = 1 / (2 * depth) - permanent, 1.0, 0.0
    policy = []
    for _ in range(n):
        delta = 1 / (1 / (2 * depth) + alpha - beta * kappa * kept + gamma * kappa**2 * kept**2)
        slope = permanent + 2 * alpha - beta * kappa * kept
        pull = 1 - beta * kept + 2 * kappa * gamma * kept**2
        policy.append((delta, slope, pull))
        alpha -= 0.25 * delta * slope**2
        beta = beta * kept + 0.5 * delta * pull * slope
        gamma = gamma * kept**2 - 0.25 * delta * pull**2
    trades, displaced = [], 0.0
    for delta, slope, pull in reversed(policy):
        trades.append(-0.5 * delta * (displaced * pull - shares * slope))
        shares -= trades[-1]
        displaced = (displaced + kappa * trades[-1]) * kept
    return np.array([*trades, shares])


@pytest.mark.parametrize("permanent", [0.0, 5e-5])
@pytest.mark.parametrize(("n", "decay"), [(1, 2.2), (10, 2.2), (100, 2.2), (390, 20.0)])
def test_the_papers_recursion_is_the_closed_form(n: int, decay: float, permanent: float) -> None:
    expected = recursion(X, n, decay, 5_000.0, permanent, 1.0)
    times = np.linspace(0, 1, n + 1)
    assert obizhaeva_wang(X, times, decay) == pytest.approx(expected, rel=1e-8)
    found = transient_schedule(ExponentialKernel(decay, 1 / 5_000 - permanent), times, X)
    assert found.shares == pytest.approx(expected, rel=1e-8)


def test_without_decay_the_limit_costs_what_one_block_does() -> None:
    whole = transient_schedule(ExponentialKernel(1.0), [0.0], X)
    assert limit_of_ever_more_trades(X, 1.0, 0.0)[2] == pytest.approx(whole.cost, rel=1e-12)

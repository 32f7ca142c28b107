"""Gatheral (2010), No-dynamic-arbitrage and market impact, Quantitative Finance 10(7): a round trip that earns.

Section 4.1: shares are bought at rate v1 during theta T and sold at rate v2 until T, theta = v2 / (v1 + v2). Under
G(t) = exp(-rho t) and a price impact f(v) = sqrt(v) the expected cost is C11 + C22 + C21; with v1 = 0.2, v2 = 1 and
rho = T = 1 it is printed as -0.001705: price manipulation. The paper was not at hand: the figure is as remembered, and
the paper's closed form, written out below, gives every digit of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from research_lib.impact import ExponentialKernel, PowerKernel
from research_lib.transient import price_path

BUYING, SELLING, PRINTED = 0.2, 1.0, -0.001705


def closed_form(impact: Callable[[float], float]) -> float:
    """C11 + C22 + C21 at rho = T = 1."""
    theta = SELLING / (BUYING + SELLING)
    rest = 1.0 - theta
    buys = BUYING * impact(BUYING) * (math.exp(-theta) - 1.0 + theta)
    sells = SELLING * impact(SELLING) * (math.exp(-rest) - 1.0 + rest)
    across = -SELLING * impact(BUYING) * (1.0 + math.exp(-1.0) - math.exp(-theta) - math.exp(-rest))
    return buys + sells + across


def round_trip(kernel: Callable[[np.ndarray], np.ndarray], n: int, power: float) -> float:
    """The same trip in n trades; the impact of a rate is that of a trade over its time."""
    gap = 1.0 / n
    times = gap * (np.arange(n) + 0.5)
    shares = gap * np.where(times < SELLING / (BUYING + SELLING), BUYING, -SELLING)
    rate = shares / gap
    return price_path(
        kernel, times, shares, response=lambda _: gap * np.sign(rate) * np.abs(rate) ** power
    ).cost


def test_the_papers_round_trip_earns() -> None:
    assert closed_form(math.sqrt) == pytest.approx(PRINTED, abs=5e-7)
    # n = 6 k splits at theta = 5/6 exactly; the trapezium's error falls as n^-2.
    assert round_trip(ExponentialKernel(1.0), 12_000, 0.5) == pytest.approx(
        closed_form(math.sqrt), abs=1e-8
    )


def test_with_linear_impact_the_same_trip_costs() -> None:
    assert closed_form(lambda v: v) > 0
    assert round_trip(ExponentialKernel(1.0), 12_000, 1.0) == pytest.approx(
        closed_form(lambda v: v), abs=1e-8
    )


def test_a_power_law_within_the_papers_inequality_does_not_pay_this_trip() -> None:
    """Section 5: decay t^-gamma and impact v^delta need gamma + delta >= 1 and gamma >= 2 - log 3 / log 2 = 0.415."""
    assert round_trip(PowerKernel(0.6, shift=1e-3), 12_000, 0.5) > 0

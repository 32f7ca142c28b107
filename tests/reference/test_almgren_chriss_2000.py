"""Almgren and Chriss (2000), the example of section 3.4, as another implementation computed it.

Source: DROP (lakshmidrip.github.io/DROP, junit/classes/org.drip.coverage.execution.AlmgrenChriss), build
4.66.0: X = 1e6 shares, 5 days in 5 periods, sigma 0.95, epsilon 0.0625, gamma 2.5e-7, eta 2.5e-6. Its columns:
risk aversion in 1e-6 per dollar, mean in 1e6 dollars, variance in 1e12, mean plus risk aversion times variance,
and 1 / kappa in days.
"""

from __future__ import annotations

import pytest

from research_lib.execution import almgren_chriss

ROWS = [
    (0.001, 0.6625, 1.0812, 0.6636, 51.30),
    (0.002, 0.6625, 1.0794, 0.6647, 36.27),
    (0.003, 0.6625, 1.0776, 0.6657, 29.62),
    (0.005, 0.6625, 1.0740, 0.6679, 22.94),
    (0.007, 0.6625, 1.0704, 0.6700, 19.39),
    (0.009, 0.6626, 1.0669, 0.6722, 17.10),
]


@pytest.mark.parametrize(("risk", "mean", "variance", "penalised", "half_life"), ROWS)
def test_the_papers_example(risk: float, mean: float, variance: float, penalised: float, half_life: float) -> None:
    found = almgren_chriss(
        1e6, 5, volatility=0.95, temporary=2.5e-6, permanent=2.5e-7, half_spread=0.0625, risk_aversion=risk * 1e-6
    )
    # Half a unit of the last digit shown.
    assert found.expected_cost / 1e6 == pytest.approx(mean, abs=0.51e-4)
    assert found.variance / 1e12 == pytest.approx(variance, abs=0.51e-4)
    assert (found.expected_cost + risk * 1e-6 * found.variance) / 1e6 == pytest.approx(penalised, abs=0.51e-4)
    assert 1 / found.kappa == pytest.approx(half_life, abs=0.006)

"""Derivatives against finite differences; errors in coefficients cost in their square.

Tolerances. Central differences over 0.01 of a share: two costs of some 100, each right to 1e-13 of
it, over 0.02 shares are right to 1e-9 currency a share, a part in 1e-7 of the derivative. 0.2 and
0.05: third order in an error of 2 %.
"""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import allocate, sensitivity
from research_lib.impact import (
    AlmgrenImpact,
    CompositeImpact,
    ImpactCurve,
    LinearImpact,
    PowerImpact,
)

N, S, CAP = 12, 6_000.0, 560.0
RNG = np.random.default_rng(5)
CURVES = {
    "linear": LinearImpact(RNG.lognormal(-11, 0.5, N), RNG.uniform(0.01, 0.03, N)),
    "power": PowerImpact(RNG.lognormal(-7, 0.3, N), 0.6, RNG.uniform(0.01, 0.03, N)),
    "almgren": AlmgrenImpact(RNG.lognormal(-7, 0.3, N), RNG.lognormal(-11, 0.3, N), 0.01),
}


@pytest.mark.parametrize("family", CURVES)
def test_order_caps_and_floors_equal_finite_differences(family: str) -> None:
    curve = CURVES[family]
    cap, floor = np.full(N, CAP), np.full(N, 430.0)

    def cost(
        order: float = S, at: int = 0, cap_step: float = 0.0, floor_step: float = 0.0
    ) -> float:
        upper, lower = cap.copy(), floor.copy()
        upper[at] += cap_step
        lower[at] += floor_step
        return allocate(curve, order, min_shares=lower, max_shares=upper).cost

    found = sensitivity(curve, S, min_shares=floor, max_shares=cap)
    step = 1e-2
    assert found.order == pytest.approx((cost(S + step) - cost(S - step)) / (2 * step), rel=1e-6)
    assert (found.cap < 0).any()
    assert (found.floor > 0).any()
    for t in range(N):
        assert found.cap[t] == pytest.approx(
            (cost(at=t, cap_step=step) - cost(at=t, cap_step=-step)) / (2 * step), abs=1e-7
        )
        assert found.floor[t] == pytest.approx(
            (cost(at=t, floor_step=step) - cost(at=t, floor_step=-step)) / (2 * step), abs=1e-7
        )


@pytest.mark.parametrize("family", CURVES)
def test_wrong_coefficients_cost_in_the_square_of_the_error_true_ones_in_the_error(
    family: str,
) -> None:
    large, small = (
        sensitivity(CURVES[family], S, error=error).coefficients for error in (0.02, 0.01)
    )
    for name in large.index.drop("exponent", errors="ignore"):
        assert large.loc[name, "misjudged_%"] == pytest.approx(
            4 * small.loc[name, "misjudged_%"], rel=0.2, abs=1e-7
        )
        assert large.loc[name, "cost_%"] == pytest.approx(2 * small.loc[name, "cost_%"], rel=0.05)
    coefficients = large.drop(
        "exponent", errors="ignore"
    )  # 2 % of an exponent is 13 % of the impact
    assert (coefficients["misjudged_%"] < 0.1 * coefficients["cost_%"].abs()).all()


@pytest.mark.slow
def test_the_sum_over_intervals_is_what_independent_errors_cost() -> None:
    curve = LinearImpact(RNG.lognormal(-11, 0.3, N))
    expected = sensitivity(curve, S, error=0.05).coefficients.loc["beta", "misjudged_%"]
    best = allocate(curve, S).cost
    rng = np.random.default_rng(1)
    lost = [
        curve.cost(
            allocate(LinearImpact(curve.beta * (1 + 0.05 * rng.choice([-1, 1], N))), S).shares
        ).sum()
        / best
        - 1
        for _ in range(4_000)
    ]
    # The standard error of the mean is about 1 %.
    assert 100 * np.mean(lost) == pytest.approx(expected, rel=0.05)


def test_composite_curves_are_asked_part_by_part() -> None:
    curve: ImpactCurve = CompositeImpact([CURVES["linear"], CURVES["power"]])
    with pytest.raises(ValidationError, match="coefficients of its parts"):
        sensitivity(curve, S)


def test_an_error_never_saves_even_where_the_cost_is_a_gain() -> None:
    found = sensitivity(LinearImpact(np.linspace(1e-6, 3e-6, 5), -0.05), 1_000).coefficients
    assert found.loc["beta", "misjudged_%"] > 0

"""The saving that dispersion of liquidity allows.

Closed forms, and what the spread makes of them.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from research_lib.impact import CompositeImpact, LinearImpact, PowerImpact
from research_lib.studies import (
    QUOTED_SAVINGS,
    dispersion_needed,
    dispersion_table,
    lognormal_saving,
)


def _lognormal(deviation: float, n: int = 4_000) -> np.ndarray:
    return np.exp(deviation * stats.norm.ppf((np.arange(n) + 0.5) / n))


@pytest.mark.parametrize("deviation", [0.0, 0.1, 0.4, 0.8])
def test_the_exact_split_of_lognormal_slopes_saves_what_the_closed_form_says(
    deviation: float,
) -> None:
    table = dispersion_table({"known": LinearImpact(1e-4 * _lognormal(deviation))}, 1e6)
    assert table.loc["known", "impact_%"] == pytest.approx(
        100 * lognormal_saving(deviation), abs=0.1
    )
    assert table.loc["known", "sd_log_slope"] == pytest.approx(deviation, rel=2e-3, abs=1e-12)


def test_fifteen_to_seventeen_per_cent_need_a_dispersion_of_two_fifths() -> None:
    needed = [dispersion_needed(saving) for saving in QUOTED_SAVINGS]
    assert needed == pytest.approx(
        [0.403, 0.432], abs=5e-4
    )  # PITFALLS: sd(ln beta) of 0.40 to 0.43
    assert [lognormal_saving(one) for one in needed] == pytest.approx(QUOTED_SAVINGS, rel=1e-12)


def test_harmonic_over_arithmetic_mean_is_the_saving_by_hand() -> None:
    table = dispersion_table({"two": LinearImpact([1.0, 3.0])}, 100.0)
    assert table.loc["two", "impact_%"] == pytest.approx(100 * (1 - 1.5 / 2.0), rel=1e-12)


def test_an_equal_spread_takes_saving_away_and_an_unequal_one_adds_its_own() -> None:
    slope = 1e-4 * _lognormal(0.4, 390)
    curves = {
        "none": LinearImpact(slope),
        "equal": LinearImpact(slope, np.full(390, 0.01)),
        "spread alone": LinearImpact(np.full(390, 1e-4), 0.01 * _lognormal(0.4, 390)),
    }
    table = dispersion_table(curves, 20_000.0)
    assert table.loc["equal", "cost_%"] < table.loc["none", "cost_%"]
    assert table.loc["equal", "impact_%"] == pytest.approx(table.loc["none", "impact_%"], rel=1e-9)
    assert table.loc["spread alone", "impact_%"] == 0.0
    assert table.loc["spread alone", "cost_%"] > 1.0


def test_the_spread_of_composites_is_left_out_too_and_flat_curves_save_nothing() -> None:
    mixed = CompositeImpact([LinearImpact([1e-3], [0.1]), PowerImpact([1e-3], 0.5, [0.2])])
    bare = CompositeImpact([LinearImpact([1e-3]), PowerImpact([1e-3], 0.5)])
    table = dispersion_table({"mixed": mixed, "bare": bare}, 10.0)
    assert table.loc["mixed", "impact_%"] == table.loc["bare", "cost_%"]
    free = dispersion_table({"free": LinearImpact(np.zeros(3))}, 10.0).loc["free"]
    assert free.isna().all()

"""Labels of orders, limits and times: aligned, or refused where they name something else."""

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import allocate, allocate_many, portfolio_schedule, transient_schedule
from research_lib.impact import ExponentialKernel, LinearImpact

CURVE = LinearImpact([1e-5, 2e-5, 4e-5])
KERNEL = ExponentialKernel(0.5, 1e-5)
TIMES = pd.Series({2: 5.0, 0: 0.0, 1: 1.0})


def test_times_are_those_of_the_intervals_they_name() -> None:
    named = allocate(CURVE, 700, kernel=KERNEL, times=TIMES)
    np.testing.assert_array_equal(
        named.shares, allocate(CURVE, 700, kernel=KERNEL, times=[0.0, 1.0, 5.0]).shares
    )
    np.testing.assert_array_equal(
        transient_schedule(KERNEL, TIMES, 700).shares,
        transient_schedule(KERNEL, [0.0, 1.0, 5.0], 700).shares,
    )


def test_times_of_other_intervals_are_refused() -> None:
    with pytest.raises(ValidationError, match="times is labelled 1, 2, 3"):
        transient_schedule(KERNEL, pd.Series([0.0, 1.0, 5.0], [1, 2, 3]), 700)


def test_many_orders_are_aligned_by_their_numbers() -> None:
    curve = CURVE.take([0, 1, 2, 0, 1, 2])
    found = allocate_many(curve, pd.Series({1: 1400.0, 0: 700.0}))
    np.testing.assert_array_equal(found.shares, allocate_many(curve, [700, 1400]).shares)
    with pytest.raises(ValidationError, match="total_shares is labelled XYZ, ABC"):
        allocate_many(curve, pd.Series({"XYZ": 700.0, "ABC": 1400.0}))


@pytest.mark.parametrize(
    "caps",
    [
        pd.Series([500.0, 400.0, 900.0], [2, 1, 0]),
        pd.DataFrame([[500.0] * 3, [900.0] * 3], index=[1, 0]),
        pd.DataFrame([[500.0] * 3, [900.0] * 3], columns=[0, 2, 1]),
    ],
)
def test_limits_of_many_orders_that_are_labelled_are_refused(caps: object) -> None:
    with pytest.raises(ValidationError, match=r"bounds must be arrays \(2, 3\)"):
        allocate_many(CURVE.take([0, 1, 2, 0, 1, 2]), [700, 1400], max_shares=caps)


def test_limits_of_exposures_by_interval_are_arrays() -> None:
    weights = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], ["of A", "of B"], ["A", "B"])
    orders = pd.Series({"A": 1000.0, "B": 500.0})
    market = {"covariance": np.eye(2) * 1e-4, "temporary": [1e-5, 1e-5], "risk_aversion": 1e-4}
    limits = pd.DataFrame({"of A": [600.0, 590.0, 580.0], "of B": [350.0] * 3})
    with pytest.raises(ValidationError, match="limits of exposures is labelled"):
        portfolio_schedule(orders, 4, **market, exposures=weights, max_exposure=limits)
    by_name = pd.Series({"of B": 350.0, "of A": 600.0})
    with pytest.raises(ValidationError, match="limits of exposures is labelled of B, of A"):
        portfolio_schedule(orders, 4, **market, exposures=np.eye(2), max_exposure=by_name)
    with pytest.raises(ValidationError, match="max_exposure must be numbers, got 'a'"):
        portfolio_schedule(orders, 4, **market, exposures=weights, max_exposure="a")

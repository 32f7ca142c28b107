"""Kernels by their closed forms, which of them are refused, and the price path of a schedule."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.impact import (
    DecayKernel,
    ExponentialKernel,
    ExponentialSumKernel,
    GaussianKernel,
    PowerKernel,
    check_kernel,
    kernel_matrix,
)
from research_lib.transient import price_path

KERNELS = [
    ExponentialKernel(0.7, 3.0),
    ExponentialSumKernel((0.0, 0.2, 3.0), (0.1, 0.5, 1.0)),
    PowerKernel(0.4, 2.0, 1.5),
    GaussianKernel(2.0, 0.5),
]


def test_kernels_are_their_formulas() -> None:
    lags = np.array([[0.0, 0.5], [1.0, 3.0]])
    by_hand: list[Callable[[Any], Any]] = [
        lambda t: 3.0 * np.exp(-0.7 * t),
        lambda t: 0.1 + 0.5 * np.exp(-0.2 * t) + np.exp(-3.0 * t),
        lambda t: 2.0 * (1.0 + t / 1.5) ** -0.4,
        lambda t: 0.5 * np.exp(-((t / 2.0) ** 2)),
    ]
    for kernel, formula in zip(KERNELS, by_hand, strict=True):
        assert np.allclose(kernel(lags), formula(lags), rtol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_half_of_the_immediate_impact_is_left_at_the_half_life(kernel: DecayKernel) -> None:
    assert float(kernel(kernel.half_life)) == pytest.approx(0.5 * float(kernel(0.0)), rel=1e-10)


def test_a_kernel_that_keeps_half_has_no_half_life() -> None:
    assert math.isinf(ExponentialSumKernel((0.0, 1.0), (0.5, 0.5)).half_life)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialKernel(0.0), "decay must be above 0"),
        (lambda: PowerKernel(0.5, shift=0.0), "shift must be above 0"),
        (lambda: ExponentialSumKernel((1.0, 2.0), (1.0,)), "give one scale a decay"),
        (lambda: ExponentialSumKernel((1.0,), (0.0,)), "sum of the scales must be above 0"),
        (lambda: KERNELS[0](-1.0), "at least 0, got -1"),
        (lambda: kernel_matrix(lambda lags: lags**-0.5, [0.0, 1.0]), "not finite at lag 0"),
        (lambda: kernel_matrix(KERNELS[0], [0.0, 1.0, 1.0]), "rise strictly"),
        (
            lambda: kernel_matrix("exp", [0.0, 1.0]),
            "kernel must be a function of lags .*, got 'exp'",
        ),
        (lambda: kernel_matrix(None, [0.0, 1.0]), "kernel must be a function of lags .*, got None"),
        (lambda: kernel_matrix(ExponentialKernel, [0.0, 1.0]), "got <class .*ExponentialKernel"),
        (
            lambda: kernel_matrix(lambda lags: "much", [0.0, 1.0]),
            "what the kernel returns must be numbers",
        ),
        (lambda: kernel_matrix(KERNELS[0], [[0.0, 1.0], [2.0]]), "times must be numbers"),
        (lambda: kernel_matrix(KERNELS[0], ["soon", "later"]), "times must be numbers"),
        (
            lambda: price_path(KERNELS[0], np.arange(3.0), np.ones(3), response=lambda x: x[:2]),
            "response must be a number or",
        ),
    ],
)
def test_what_cannot_be_a_kernel_is_refused(make: Callable[[], Any], message: str) -> None:
    with np.errstate(divide="ignore"), pytest.raises(ValidationError, match=message):
        make()


@pytest.mark.parametrize(
    "dates",
    [
        pd.date_range("2024-01-02 10:00", periods=3, freq="min"),
        pd.date_range("2024-01-02 10:00", periods=3, freq="min", tz="UTC").to_series(),
        pd.timedelta_range("0s", periods=3, freq="min").to_numpy(),
        list(pd.date_range("2024-01-02 10:00", periods=3, freq="min")),
    ],
    ids=["index", "series", "durations", "list"],
)
def test_dates_have_no_unit_and_are_refused(dates: Any) -> None:
    with pytest.raises(
        ValidationError, match="times must be numbers in the kernel's unit of time, not dates"
    ):
        kernel_matrix(KERNELS[0], dates)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=11).map(
        lambda gaps: [0.0, *np.cumsum(gaps)]
    ),
    st.sampled_from([KERNELS[0], KERNELS[1], KERNELS[2]]),
)
def test_nonincreasing_convex_kernels_are_positive_definite_and_never_change_sign(
    times: list[float], kernel: DecayKernel
) -> None:
    """Alfonsi, Schied and Slynko (2012): what `check_kernel` takes on trust is so."""
    matrix = kernel_matrix(kernel, times)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    assert np.linalg.solve(matrix, np.ones(len(times))).min() > -1e-9
    # The same kernel without its class: its shape is looked at, and found safe.
    assert check_kernel(lambda lags: kernel(lags), times).safe


def test_safe_kernels_pass_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for kernel in KERNELS[:3]:
            found = check_kernel(kernel, np.arange(50_000.0))
            assert (found.safe, found.warnings) == (True, ())
    assert not caplog.records


def test_a_kernel_that_swings_below_zero_is_refused() -> None:
    times = np.arange(6.0)
    with pytest.raises(ValidationError, match=r"not positive definite.*price manipulation"):
        check_kernel(lambda lags: np.cos(lags) * (1 + lags), times)
    with pytest.raises(ValidationError, match=r"not positive definite.*have a negative cost"):
        check_kernel(lambda lags: np.exp(-lags) - 2.0, times)


def test_too_many_times_for_an_unsafe_kernel_are_refused() -> None:
    with pytest.raises(ValidationError, match="2,001 times are too many"):
        check_kernel(GaussianKernel(3.0), np.arange(2001.0))


def test_a_schedule_pays_half_of_its_own_displacement(rng: np.random.Generator) -> None:
    for times in (np.arange(30.0), np.cumsum(rng.uniform(0.1, 2.0, 30))):
        shares = rng.normal(size=30)
        path = price_path(KERNELS[2], times, shares)
        matrix = kernel_matrix(KERNELS[2], times)
        assert path.cost == pytest.approx(0.5 * shares @ matrix @ shares, rel=1e-12)
        assert path.cost == pytest.approx(shares @ path.paid, rel=1e-12)
        # Displacements one by one.
        for i in (0, 7, 29):
            before = sum(shares[j] * float(KERNELS[2](times[i] - times[j])) for j in range(i))
            assert path.before[i] == pytest.approx(before, abs=1e-12)
            assert path.after[i] == pytest.approx(before + shares[i] * 2.0, abs=1e-12)


def test_a_path_needs_one_trade_a_time() -> None:
    with pytest.raises(ValidationError, match=r"shares must be a number or \(3,\)"):
        price_path(KERNELS[0], np.arange(3.0), np.ones(2))

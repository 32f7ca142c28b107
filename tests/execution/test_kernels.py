"""The compiled core by what `allocate` shows of it, beside plain Python."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from research_lib.execution import allocate
from research_lib.impact import AlmgrenImpact, QuadraticImpact

DIGITS = st.floats(-12, 12)


def bisected(price: float, scale: float, beta: float) -> float:
    """The x at which 1.6 scale x^0.6 + 2 beta x reaches the price, by bisection of its logarithm."""
    low, high = -200.0, 200.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        x = 10.0**middle
        low, high = (middle, high) if 1.6 * scale * x**0.6 + 2 * beta * x < price else (low, middle)
    return 10.0 ** (0.5 * (low + high))


@settings(deadline=None)  # the first call compiles
@given(
    scales=st.tuples(DIGITS, DIGITS),
    betas=st.tuples(st.none() | DIGITS, st.none() | DIGITS),
    order=st.floats(-6, 9),
)
def test_children_of_mixed_powers_meet_one_price_over_all_magnitudes(
    scales: tuple[float, float], betas: tuple[float | None, float | None], order: float
) -> None:
    scale = 10.0 ** np.array(scales)
    beta = np.array([0.0 if digits is None else 10.0**digits for digits in betas])
    found = allocate(AlmgrenImpact(scale, 2 * beta), 10.0**order, solver="analytical")
    traded = found.shares > 0
    price = 1.6 * scale * found.shares**0.6 + 2 * beta * found.shares
    assert found.solver == "analytical"
    # Rounding of the root, of the power and of the closed sum: a few units in the last of sixteen
    # digits.
    assert price[traded] == pytest.approx(np.full(traded.sum(), found.marginal_cost), rel=1e-12)
    twin = np.array([bisected(found.marginal_cost, a, b) for a, b in zip(scale, beta, strict=True)])
    # A root's relative error is at most 1 / 0.6 of its price's; shares below rounding of the order
    # may be 0.
    assert found.shares == pytest.approx(twin, rel=1e-11, abs=1e-15 * 10.0**order)


def test_a_cubic_that_bends_down_has_its_rising_root_or_none() -> None:
    # 2e-5 x - 3e-9 x^2 peaks at 3,333 shares, at 1/30.
    curve = QuadraticImpact(np.array([-1e-9, -1e-9]), 1e-5)
    assert curve.shares_at_marginal(0.034).tolist() == [np.inf, np.inf]
    x = curve.shares_at_marginal(0.03)[0]
    assert 2e-5 * x - 3e-9 * x**2 == pytest.approx(0.03)
    assert x < 1e-5 / 3e-9
    split = allocate(curve, 2 * x, max_shares=3_300, solver="analytical")
    assert split.solver == "analytical"
    assert split.shares == pytest.approx([x, x])
    assert split.marginal_cost == pytest.approx(0.03)


def calls(function: Dispatcher) -> Iterator[Dispatcher]:
    """The compiled functions that one calls by name, and those that they call."""
    for name in function.py_func.__code__.co_names:
        called = function.py_func.__globals__.get(name)
        if isinstance(called, Dispatcher) and called is not function:
            yield called
            yield from calls(called)


def test_what_is_cached_on_disk_knows_every_file_that_it_was_compiled_from() -> None:
    """Numba itself looks at a function's own file only: an edit of another, which it calls, would
    go unseen.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith("research_lib.")]
    compiled = {f for module in modules for f in vars(module).values() if isinstance(f, Dispatcher)}
    assert len(compiled) > 10
    for function in compiled:
        own, files = (
            inspect.getfile(function.py_func),
            {inspect.getfile(called.py_func) for called in calls(function)},
        )
        if files - {own} and hasattr(function._cache, "_cache_file"):
            stamp = repr(function._cache._cache_file._source_stamp)
            assert all(repr(Path(file).name) in stamp for file in files), function

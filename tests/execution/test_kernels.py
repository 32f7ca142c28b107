"""The compiled core, apart from what `allocate` shows of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.execution.solvers import kernels
from research_lib.execution.solvers.kernels import compiling
from research_lib.execution.solvers.kernels.prices import root


def test_a_change_in_any_kernel_file_empties_the_caches_of_all() -> None:
    # Numba itself looks at a function's own file only.
    assert {name for name, _, _ in compiling.STAMP} >= {"prices.py", "sweeps.py", "search.py", "judging.py", "lots.py"}
    for kernel in (kernels.solve, kernels.judge, kernels.sweep, kernels.exact_many, kernels.round_to_lots, root):
        assert kernel._cache._cache_file._source_stamp == compiling.STAMP


DIGITS = st.floats(-12, 12)


@settings(deadline=None)  # the first call compiles
@given(
    excess=DIGITS, b=DIGITS, c=st.none() | DIGITS, s=DIGITS, p=st.sampled_from([1.5, 1.6, 1.3, 2.4]),
    guess=st.none() | DIGITS,
)  # fmt: skip
def test_roots_of_mixed_powers_meet_their_price_from_any_guess(
    excess: float, b: float, c: float | None, s: float, p: float, guess: float | None
) -> None:
    price, two, three, scale = 10**excess, 10**b, 0.0 if c is None else 10**c, 10**s
    x, response, _ = root(price, two, three, scale, p, 0.0 if guess is None else 10**guess)
    terms = np.array([2 * two * x, 3 * three * x**2, scale * p * x ** (p - 1)])
    assert terms.sum() == pytest.approx(price, rel=1e-12)
    assert response == pytest.approx(x / (terms @ [1, 2, p - 1]), rel=1e-6)


def test_a_cubic_that_bends_down_has_its_rising_root_or_none() -> None:
    # 2e-5 x - 3e-9 x^2 peaks at 3,333 shares, at 1/30.
    x = root(0.03, 1e-5, -1e-9, 0.0, 1.5, 0.0)[0]
    assert 2e-5 * x - 3e-9 * x**2 == pytest.approx(0.03)
    assert x < 1e-5 / 3e-9
    assert math.isinf(root(0.034, 1e-5, -1e-9, 0.0, 1.5, 0.0)[0])

"""The bound: equal to the linear programme, and beaten by nobody.

Tolerances. HiGHS is feasible to 1e-7 shares a row: 1e-7 of a cost on random books, 1e-9 where
20,000 shares are bought.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from research_lib.evaluation import Ladder, Prior, clairvoyant, run, standard_strategies
from research_lib.market import BookSnapshots, Session, SyntheticMarket


def _linear_programme(ladder: Ladder, total: float, caps: np.ndarray | None) -> float:
    """HiGHS: least cost of `total` shares from all levels of all books."""
    n, n_levels = ladder.size.shape
    by_book = sparse.kron(sparse.eye(n), np.ones((1, n_levels)))
    solved = optimize.linprog(
        ladder.premium.ravel(),
        A_ub=by_book if caps is not None else None,
        b_ub=caps,
        A_eq=np.ones((1, n * n_levels)),
        b_eq=[total],
        bounds=np.column_stack([np.zeros(n * n_levels), ladder.size.ravel()]),
        method="highs",
    )
    assert solved.status == 0
    return float(solved.fun)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("cap", [None, 150.0])
def test_the_bound_on_frog_is_the_linear_programmes(
    real_ladders: dict[tuple[str, str], Ladder], side: str, cap: float | None
) -> None:
    ladder = real_ladders["FROG", side]
    caps = None if cap is None else np.full(390, cap)
    best = clairvoyant(ladder, 20_000, side, cap)
    assert best.unfilled == 0.0
    assert best.cost == pytest.approx(_linear_programme(ladder, 20_000, caps), rel=1e-9)
    assert cap is None or best.filled.max() <= cap


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), total=st.floats(1, 6000), cap=st.floats(300, 2000))
def test_the_bound_is_the_linear_programmes(seed: int, total: float, cap: float) -> None:
    books = SyntheticMarket(session=Session(13)).books(13, 4, np.random.default_rng(seed))
    best = clairvoyant(books, total, "buy", cap)
    room = np.minimum(Ladder.of(books, "buy").depth, cap).sum()
    assert best.unfilled == pytest.approx(max(total - room, 0.0), abs=1e-6)
    if total < room:
        least = _linear_programme(Ladder.of(books, "buy"), total, np.full(13, cap))
        assert best.cost == pytest.approx(least, rel=1e-7, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("size", [500, 5_000, 20_000, 80_000])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_no_strategy_beats_the_bound_on_frog(
    real_books: dict[str, BookSnapshots],
    real_ladders: dict[tuple[str, str], Ladder],
    size: int,
    side: str,
) -> None:
    prior = Prior.from_books(real_books["GOOG"], side, Session(390), "GOOG")
    ladder = real_ladders["FROG", side]
    for strategy in standard_strategies(prior):
        done = run(strategy, ladder, size, side)
        assert done.filled.sum() + done.unfilled == pytest.approx(size, abs=1e-6)
        best = clairvoyant(ladder, done.filled.sum(), side)
        assert done.cost >= best.cost - 1e-9 * abs(best.cost), strategy.name


def test_a_bound_that_all_books_cannot_fill_says_what_is_left() -> None:
    books = SyntheticMarket(session=Session(13)).books(13, 2, np.random.default_rng(0))
    depth = books.ask_size.sum()
    assert clairvoyant(books, depth + 100, "buy").unfilled == pytest.approx(100, abs=1e-6)

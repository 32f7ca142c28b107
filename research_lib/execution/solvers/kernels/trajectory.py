"""Almgren and Chriss's holdings: a tridiagonal system with one number on its diagonal, -1 beside it."""

from __future__ import annotations

import numpy as np

from research_lib.execution.solvers.kernels.compiling import Float, compiled, vectorised

Moments = tuple[float, float, float, float]
LARGEST = 1e250  # a sum of trades whose inverse is still a normal number times any order


@compiled
def trajectory(shares: float, n: int, pull: float, push: float) -> Float:
    """Trades, (n,), whose holdings solve (2 + pull) x_k - x_(k-1) - x_(k+1) = push, x_0 = shares, x_n = 0."""
    if push == 0.0 and pull >= 0.0:
        trades, held = _growing(n, pull)
        if held < LARGEST:
            trades *= shares / held
            return trades
    return _eliminated(shares, n, pull, push)


@compiled
def with_moments(shares: float, n: int, pull: float, push: float) -> tuple[Float, Moments]:
    """`trajectory`, and the `moments` of it."""
    trades = trajectory(shares, n, pull, push)
    return trades, moments(trades)


@vectorised
def _growing(n: int, pull: float) -> tuple[Float, float]:
    """Trades in units of about the last one, from which they grow backwards, and their sum.

    Sums of what is not negative lose no digit, but no number holds them where the first is too many times the last.
    """
    trades, held, traded = np.empty(n), 0.0, 1.0
    for k in range(n - 1, -1, -1):
        traded += pull * held
        held += traded
        trades[k] = traded
    return trades, held


@compiled
def _eliminated(shares: float, n: int, pull: float, push: float) -> Float:
    """By elimination from the end: x_k = keep_k x_(k-1) + rest_k."""
    keep, rest = np.zeros(n), np.zeros(n)
    for k in range(n - 2, -1, -1):
        keep[k] = 1.0 / (2.0 + pull - keep[k + 1])
        rest[k] = (push + rest[k + 1]) * keep[k]
    trades, held = np.empty(n), shares
    for k in range(n):
        left = keep[k] * held + rest[k]
        trades[k] = held - left
        held = left
    return trades


@vectorised
def moments(trades: Float) -> Moments:
    """Sums of |trades|, of their squares, of what is held after each, of its squares."""
    sizes, squares, held, held_squares, left = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(trades) - 1, -1, -1):
        sizes += abs(trades[k])
        squares += trades[k] * trades[k]
        held += left
        held_squares += left * left
        left += trades[k]
    return sizes, squares, held, held_squares

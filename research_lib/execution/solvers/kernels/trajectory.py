"""Almgren and Chriss's holdings: a tridiagonal system with one number on its diagonal, -1 beside it."""

from __future__ import annotations

import numpy as np

from research_lib.execution.solvers.kernels.compiling import Float, compiled


@compiled
def trajectory(shares: float, n: int, pull: float, push: float) -> Float:
    """Trades, (n,), whose holdings solve (2 + pull) x_k - x_(k-1) - x_(k+1) = push, x_0 = shares, x_n = 0.

    By elimination from the end: x_k = keep_k x_(k-1) + rest_k.
    """
    keep, rest = np.zeros(n), np.zeros(n)
    for k in range(n - 2, -1, -1):
        pivot = 2.0 + pull - keep[k + 1]
        keep[k] = 1.0 / pivot
        rest[k] = (push + rest[k + 1]) / pivot
    trades, held = np.empty(n), shares
    for k in range(n):
        left = keep[k] * held + rest[k]
        trades[k] = held - left
        held = left
    return trades


@compiled
def moments(shares: float, trades: Float) -> tuple[Float, float, float, float, float]:
    """Holdings, (n + 1,), and the sums of |trades|, of their squares, of what is held after them, of its squares."""
    holdings = np.empty(len(trades) + 1)
    holdings[0] = shares
    sizes, squares, held, held_squares = 0.0, 0.0, 0.0, 0.0
    for k in range(len(trades)):
        holdings[k + 1] = holdings[k] - trades[k] if k < len(trades) - 1 else 0.0
        sizes += abs(trades[k])
        squares += trades[k] * trades[k]
        held += holdings[k + 1]
        held_squares += holdings[k + 1] * holdings[k + 1]
    return holdings, sizes, squares, held, held_squares

r"""Impact that decays exponentially, carried as states: O(n K) products, O(n K^2) optimal schedules.

Before trade i the price is displaced by sum_k d_k; the trade adds scales_k x_i to each part, and
until the next one part k falls to factors_ik of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels.compiling import Float, compiled


@compiled
def states_product(x: Float, factors: Float, scales: Float) -> Float:
    """sum_j G_ij x_j, (n,), for decay factors (n - 1, K) and scales (K,)."""
    n, parts = len(x), len(scales)
    product, state = np.empty(n), np.zeros(parts)
    for i in range(n):
        total = 0.0
        for k in range(parts):
            state[k] = scales[k] * x[i] + (factors[i - 1, k] * state[k] if i else 0.0)
            total += state[k]
        product[i] = total
    state[:] = 0.0
    for i in range(n - 2, -1, -1):
        for k in range(parts):
            state[k] = factors[i, k] * (state[k] + scales[k] * x[i + 1])
            product[i] += state[k]
    return product


@compiled
def states_schedule(
    shares: float, factors: Float, scales: Float, curvature: Float, linear: Float,
    holding: Float, fixed: NDArray[np.bool_], values: Float,
) -> tuple[Float, bool]:  # fmt: skip
    r"""Least sum_i b_i x_i^2 + c_i x_i + hold_i (S - sum_{j <= i} x_j)^2 + 1/2 x'Gx with sum S, some x_i given.

    By dynamic programming backwards over the states z = (shares left, d_1, ..., d_K, 1): the cost to
    go is z'Pz, and the best trade is linear in z. False where it is not convex.
    """
    n, parts = len(curvature), len(scales)
    m = parts + 2
    own = 0.5 * scales.sum()
    policy, value = np.zeros((n, m)), np.zeros((m, m))
    mixed, moved, push = np.empty(m), np.empty(m), np.zeros(m)
    keep = np.ones(m)
    last, after = _last_free(fixed, values)
    push[0] = -1.0
    for i in range(n - 1, -1, -1):
        for k in range(parts):
            keep[k + 1] = factors[i, k] if i < n - 1 else 0.0
            push[k + 1] = keep[k + 1] * scales[k]
        curve = own + curvature[i] + holding[i]
        for p in range(m):
            moved[p] = 0.0
            for q in range(m):
                moved[p] += value[p, q] * push[q]
            curve += push[p] * moved[p]
        for k in range(1, m - 1):
            mixed[k] = keep[k] * moved[k] + 0.5
        mixed[0], mixed[m - 1] = moved[0] - holding[i], moved[m - 1] + 0.5 * linear[i]
        trade = policy[i]
        if fixed[i]:
            trade[m - 1] = values[i]
        elif i == last:
            trade[0], trade[m - 1] = 1.0, -after
        elif not curve > 0.0:
            return np.empty(n), False
        else:
            trade[:] = -mixed / curve
        for p in range(m):
            for q in range(p + 1):
                bent = trade[p] * mixed[q] + mixed[p] * trade[q] + curve * trade[p] * trade[q]
                value[p, q] = keep[p] * keep[q] * value[p, q] + bent
                value[q, p] = value[p, q]
        value[0, 0] += holding[i]
    return _followed(shares, factors, scales, policy), True


@compiled
def _last_free(fixed: NDArray[np.bool_], values: Float) -> tuple[int, float]:
    """The last trade that is not given, and the sum of those after it."""
    last, after = len(fixed) - 1, 0.0
    while last >= 0 and fixed[last]:
        after += values[last]
        last -= 1
    return last, after


@compiled
def _followed(shares: float, factors: Float, scales: Float, policy: Float) -> Float:
    """Trades, (n,), of a policy linear in the states, (n, K + 2)."""
    n, m = policy.shape
    x, state = np.empty(n), np.zeros(m)
    state[0], state[m - 1] = shares, 1.0
    for i in range(n):
        trade = 0.0
        for p in range(m):
            trade += policy[i, p] * state[p]
        x[i] = trade
        state[0] -= trade
        for k in range(m - 2):
            state[k + 1] = factors[i, k] * (state[k + 1] + scales[k] * trade) if i < n - 1 else 0.0
    return x

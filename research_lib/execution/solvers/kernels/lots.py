r"""The cheapest schedule in whole lots.

Lots of one interval get dearer one by one (the total is convex), so the cheapest K of all lots
are taken in order within each interval: greedy is optimal. Whatever the multiplier nu, lots
dearer than nu are taken only after those that are cheaper: the greedy set is reached from
there by a few exchanges, at most about one an interval where nu is that of the continuous optimum.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels.compiling import Float, Pair, Smooth, compiled
from research_lib.execution.solvers.kernels.prices import smooth_price, walk_steps

Lots = NDArray[np.int64]


@compiled
def _cost(x: float, t: int, smooth: Smooth, steps: Pair) -> float:
    """C_t(x)."""
    a, b, c, s, p = smooth
    cost = smooth_price(x, a[t], b[t], c[t], s[t], p[t])[0]
    return cost + walk_steps(x, t, steps)[0] if steps[0].shape[1] else cost


@compiled
def _lot_cost(k: int, t: int, lot: float, smooth: Smooth, steps: Pair) -> float:
    """What lot k of interval t, counted from 0, adds to its cost."""
    return _cost((k + 1) * lot, t, smooth, steps) - _cost(k * lot, t, smooth, steps)


@compiled
def round_to_lots(
    x: Float, nu: float, lot: float, count: int, low: Lots, high: Lots, smooth: Smooth, steps: Pair
) -> Lots:
    """The cheapest `count` lots with low <= lots <= high, (n,): begun from the lots in x that nu pays for."""
    lots = np.empty(len(x), np.int64)
    for t in range(len(x)):
        k = min(max(int(x[t] / lot), low[t]), high[t])
        while k < high[t] and _lot_cost(k, t, lot, smooth, steps) < nu * lot:
            k += 1
        while k > low[t] and _lot_cost(k - 1, t, lot, smooth, steps) > nu * lot:
            k -= 1
        lots[t] = k
    missing = count - lots.sum()
    step = 1 if missing > 0 else -1
    heap = [(0.0, 0) for _ in range(0)]
    for t in range(len(x)):
        _offer(heap, t, step, lots, lot, low, high, smooth, steps)
    for _ in range(abs(missing)):
        t = heapq.heappop(heap)[1]
        lots[t] += step
        _offer(heap, t, step, lots, lot, low, high, smooth, steps)
    return lots


@compiled
def _offer(
    heap: list[tuple[float, int]], t: int, step: int, lots: Lots, lot: float, low: Lots, high: Lots,
    smooth: Smooth, steps: Pair,
) -> None:  # fmt: skip
    """Put interval t's next lot to take, or to give back, into the heap, the cheapest or the dearest first."""
    if step > 0 and lots[t] < high[t]:
        heapq.heappush(heap, (_lot_cost(lots[t], t, lot, smooth, steps), t))
    elif step < 0 and lots[t] > low[t]:
        heapq.heappush(heap, (-_lot_cost(lots[t] - 1, t, lot, smooth, steps), t))


@compiled
def place_odd_lot(
    lots: Lots, odd: float, lot: float, over: bool, high: Lots, smooth: Smooth, steps: Pair, bounds: Pair
) -> tuple[int, int, int]:
    """Where `odd` shares, less than a lot, are cheapest beside optimal `lots`.

    In that interval they stand beside its lots, or beside one lot less, and that lot goes to
    the cheapest other interval (nowhere, if the lots are one `over` their number): with the
    odd shares there, marginal costs of lots move by at most one lot. Returns the interval,
    -1 if none admits them, the one that gives a lot and the one that takes it, -1 if none.
    """
    n, tiny = len(lots), 1e-9 * lot
    first, second, least, less = -1, -1, np.inf, np.inf
    for t in range(n):
        price = _lot_cost(lots[t], t, lot, smooth, steps) if lots[t] < high[t] else np.inf
        if price < least:
            first, second, least, less = t, first, price, least
        elif price < less:
            second, less = t, price
    best, chosen, gives, takes = np.inf, -1, -1, -1
    for t in range(n):
        now = _cost(lots[t] * lot, t, smooth, steps)
        if not over and lots[t] * lot + odd <= bounds[1][t] + tiny:
            added = _cost(lots[t] * lot + odd, t, smooth, steps) - now
            if added < best:
                best, chosen, gives, takes = added, t, -1, -1
        if lots[t] >= 1 and (lots[t] - 1) * lot + odd >= bounds[0][t] - tiny:
            other, price = (second, less) if t == first else (first, least)
            added = _cost((lots[t] - 1) * lot + odd, t, smooth, steps) - now + (0.0 if over else price)
            if added < best:
                best, chosen, gives, takes = added, t, t, -1 if over else other
    return chosen, gives, takes

"""Compiled loops over the books of one order: filling, depletion, and what an adaptive order decides."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]
SAME_PRICE = 1e-9
# The table of what liquidity costs: premiums over a reference, one bin a half per cent.
STEP = 0.005
PER_STEP = 1.0 / STEP
CHEAPEST, DEAREST = 1e-3, 1e3
N_BINS = 1 + math.ceil(math.log(DEAREST / CHEAPEST) / STEP)
ROUNDING = 1e-9


@njit(cache=True, nogil=True)
def show(
    price_before: Float, size_before: Float, eaten: Float, price: Float, size: Float, rho: float, by_level: bool,
    shown: Float, hole: Float,
) -> None:  # fmt: skip
    """Fill `hole` and `shown` = (size - hole)^+, (L,), from what is missing of the book before; see `replay`."""
    n_levels = len(size)
    for level in range(n_levels):
        hole[level] = 0.0
        if rho < 1.0 and size[level] > 0.0:
            for before in range(n_levels):
                same = abs(price[level] - price_before[before]) <= SAME_PRICE
                if size_before[before] > 0.0 and (level == before if by_level else same):
                    hole[level] = (1.0 - rho) * eaten[before]
        shown[level] = max(size[level] - hole[level], 0.0)


@njit(cache=True, nogil=True)
def walk(premium: Float, shown: Float, want: float, eaten: Float) -> tuple[float, float]:
    """Shares filled and their cost over the mid; what is taken is added to `eaten`, (L,)."""
    left, cost = want, 0.0
    for level in range(len(shown)):
        taken = min(left, shown[level])
        if taken > 0.0:
            cost += taken * premium[level]
            eaten[level] += taken
            left -= taken
    return want - left, cost


@njit(cache=True, nogil=True)
def fill_schedule(
    orders: Float, caps: Float, price: Float, premium: Float, size: Float, rho: float, by_level: bool,
    filled: Float, cost: Float,
) -> float:  # fmt: skip
    """Fill `filled` and `cost`, (n,), of a fixed schedule; return the shares left."""
    n, n_levels = size.shape
    shown, hole, eaten = np.empty(n_levels), np.empty(n_levels), np.zeros(n_levels)
    carried = 0.0
    for t in range(n):
        before = max(t - 1, 0)
        show(price[before], size[before], eaten, price[t], size[t], rho, by_level, shown, hole)
        eaten[:] = hole
        order = orders[t] + carried
        filled[t], cost[t] = walk(premium[t], shown, min(order, caps[t]), eaten)
        carried = order - filled[t]
    return carried


@njit(cache=True, nogil=True)
def cheapest_first(premium: Float, size: Float, order: NDArray[np.int64], caps: Float, total: float, filled: Float,
                   cost: Float) -> float:  # fmt: skip
    """Take pooled levels in the given order, no more than `caps` from a book; return the shares left."""
    n_levels = size.shape[1]
    left = total
    for position in order:
        t, level = position // n_levels, position % n_levels
        taken = min(left, min(size[t, level], caps[t] - filled[t]))
        if taken > 0.0:
            filled[t] += taken
            cost[t] += taken * premium[t, level]
            left -= taken
        if left <= 0.0:
            break
    return left


@njit(cache=True, nogil=True)
def reference_premium(premium: Float, size: Float, last: int) -> float:
    """Lowest premium above 0 on display in the first book, up to book `last`, that has one; else 1."""
    for t in range(last + 1):
        for level in range(size.shape[1]):
            if size[t, level] > 0.0 and premium[t, level] > 0.0:
                return float(premium[t, level])
    return 1.0


@njit(cache=True, nogil=True)
def seen_supply(t: int, log_premium: Float, size: Float, quoted: Flags, log_spread: Float, depth: Float,
                weights: Float, log_lowest: float, supply: Float) -> None:  # fmt: skip
    """Fill `supply` (bins,): weighted mean over quoted books up to t of shares / depth_k within premium / spread_k."""
    supply[:] = 0.0
    total = 0.0
    for lag in range(min(t + 1, len(weights))):
        k = t - lag
        if quoted[k]:
            total += weights[lag]
            scale, origin = weights[lag] / depth[k], log_spread[k] + log_lowest
            for level in range(size.shape[1]):
                if size[k, level] > 0.0:
                    position = max((log_premium[k, level] - origin) * PER_STEP - ROUNDING, 0.0)
                    supply[min(math.ceil(position), N_BINS - 1)] += scale * size[k, level]
    running = 0.0
    for at in range(N_BINS):
        running += supply[at]
        supply[at] = running / total if total > 0.0 else 0.0


@njit(cache=True, nogil=True)
def supply_to_come(position: int, t: int, stop: int, supply: Float, log_spread: Float, depth: Float, risk: float,
                   log_lowest: float, caps: Float, enough: float) -> float:  # fmt: skip
    """Shares expected in books t + 1 .. stop - 1 at the premium of a bin, less the risk of waiting; up to `enough`.

    A share still held s - t intervals on, of a holding that falls in a line to 0, costs
    risk * ((s - t) - (s - t)^2 / (2 (stop - t))) more.
    """
    found = 0.0
    log_premium = log_lowest + position * STEP
    premium = math.exp(log_premium)
    for s in range(t + 1, stop):
        left = log_premium
        if risk > 0.0:
            waited = float(s - t)
            surplus = premium - risk * (waited - 0.5 * waited * waited / (stop - t))
            if surplus <= 0.0:
                break  # the cost of waiting rises with s
            left = math.log(surplus)
        at = math.floor((left - log_spread[s] - log_lowest) * PER_STEP + ROUNDING)
        if at >= 0:
            found += min(caps[s], depth[s] * supply[min(at, N_BINS - 1)])
            if found >= enough:
                break
    return found


@njit(cache=True, nogil=True)
def on_display(premium: Float, shown: Float, highest: float) -> float:
    """Shares of one book at a premium of at most `highest`."""
    found = 0.0
    for level in range(len(shown)):
        if premium[level] <= highest:
            found += shown[level]
    return found


@njit(cache=True, nogil=True)
def decide(t: int, stop: int, remaining: float, quoted: bool, premium: Float, shown: Float, supply: Float,
           log_spread: Float, depth: Float, risk: float, log_lowest: float, caps: Float,
           caution: float) -> float:  # fmt: skip
    """Shares to take from book t: what is cheaper than the multiplier of this book and the supply to come.

    The multiplier is the lowest premium at which both together hold `remaining` shares; what the
    reliable part of the supply to come could not hold is taken whatever it costs. Where the book
    is not quoted on both sides nothing is sent, except in the last interval.
    """
    most = min(remaining, caps[t])
    if t + 1 >= stop:
        return most
    if not quoted:
        return 0.0
    low, high = -1, 2 * N_BINS  # at `low` there is too little; at `high` all that there is counts
    while high - low > 1:
        middle = (low + high) // 2
        now = min(
            on_display(premium, shown, math.exp(log_lowest + (middle + ROUNDING) * STEP)), caps[t]
        )
        lacking = remaining - now
        if lacking <= supply_to_come(
            middle, t, stop, supply, log_spread, depth, risk * remaining, log_lowest, caps, lacking
        ):
            high = middle
        else:
            low = middle
    cheap = on_display(premium, shown, math.exp(log_lowest + (high + ROUNDING) * STEP))
    reliable, reliance = 0.0, max(1.0 - caution / math.sqrt(stop - t - 1), 0.0)
    for s in range(t + 1, stop):
        reliable += min(caps[s], reliance * depth[s] * supply[N_BINS - 1])
    return min(most, max(cheap, remaining - reliable))


@njit(cache=True, nogil=True)
def fill_adaptive(start: int, stop: int, total: float, caps: Float, premium: Float, size: Float, seen_premium: Float,
                  seen_size: Float, quoted: Flags, log_spread: Float, depth: Float, weights: Float, risk: float,
                  caution: float, filled: Float, cost: Float) -> float:  # fmt: skip
    """Fill `filled` and `cost`, (stop - start,), deciding on the seen books and trading on the others, all refilled.

    Of (m, n) forecasts, the one made at t stands in row min(t, m - 1).
    """
    eaten, log_premium = np.zeros(size.shape[1]), logarithms(seen_premium)
    supply, remaining = np.empty(N_BINS), total
    for t in range(start, stop):
        row = min(t, len(log_spread) - 1)
        log_lowest = math.log(CHEAPEST * reference_premium(seen_premium, seen_size, t))
        seen_supply(
            t,
            log_premium,
            seen_size,
            quoted,
            log_spread[row],
            depth[row],
            weights,
            log_lowest,
            supply,
        )
        want = decide(t, stop, remaining, quoted[t], seen_premium[t], seen_size[t], supply, log_spread[row], depth[row],
                      risk, log_lowest, caps, caution)  # fmt: skip
        filled[t - start], cost[t - start] = walk(premium[t], size[t], want, eaten)
        remaining -= filled[t - start]
    return remaining


@njit(cache=True, nogil=True)
def logarithms(premium: Float) -> Float:
    """Logarithm of each premium, -inf where it is not above 0, shape kept."""
    result = np.full(premium.shape, -np.inf)
    for t in range(premium.shape[0]):
        for level in range(premium.shape[1]):
            if premium[t, level] > 0.0:
                result[t, level] = math.log(premium[t, level])
    return result

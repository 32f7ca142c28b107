"""Optimal shares of all intervals at one multiplier, and how their sum answers to it."""

from __future__ import annotations

import numpy as np

from research_lib.execution.solvers.kernels.compiling import BLOCK, Float, Pair, Smooth, compiled, vectorised
from research_lib.execution.solvers.kernels.prices import root

Swept = tuple[float, float, float, float, float]

# Forms of a whole problem: any, all a x + b x^2 with b > 0, all a x + s x^1.5 with s > 0.
GENERAL, QUADRATIC, THREE_HALVES = 0, 1, 2


@compiled
def sweep(nu: float, most: bool, form: int, smooth: Smooth, steps: Pair, bounds: Pair, roots: Float, x: Float) -> Swept:
    """Optimal shares of all intervals at the multiplier nu, into `x`: the most or the least of them.

    Returns the sum of the least and of the most (they differ where a marginal cost is nu over
    a stretch of shares), d sum / d nu where shares move with it, and the prices next to nu,
    below and above, at which shares jump.
    """
    if form != GENERAL:
        return _sweep_blocks(nu, form, smooth, bounds, x)
    if steps[0].shape[1]:
        return _sweep_steps(nu, most, smooth, steps, bounds, x)
    return _sweep_smooth(nu, most, smooth, bounds, roots, x)


@compiled
def _sweep_blocks(nu: float, form: int, smooth: Smooth, bounds: Pair, x: Float) -> Swept:
    filled, slope = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        own = slice(start, min(start + BLOCK, len(x)))
        if form == QUADRATIC:
            part = _quadratic_block(nu, smooth[0][own], smooth[1][own], bounds[0][own], bounds[1][own], x[own])
        else:
            part = _three_halves_block(nu, smooth[0][own], smooth[3][own], bounds[0][own], bounds[1][own], x[own])
        filled += part[0]
        slope += part[1]
    return filled, filled, slope, -np.inf, np.inf


@vectorised
def _quadratic_block(nu: float, a: Float, b: Float, lower: Float, upper: Float, x: Float) -> tuple[float, float]:
    """Shares (nu - a) / 2 b inside the bounds, their sum and its slope."""
    filled, slope = 0.0, 0.0
    for t in range(len(lower)):
        response = 0.5 / b[t]
        free = (nu - a[t]) * response
        inside = free if free > lower[t] else lower[t]
        inside = inside if inside < upper[t] else upper[t]
        x[t] = inside
        filled += inside
        slope += response if inside == free else 0.0
    return filled, slope


@vectorised
def _three_halves_block(nu: float, a: Float, s: Float, lower: Float, upper: Float, x: Float) -> tuple[float, float]:
    """Shares ((nu - a) / 1.5 s)^2 inside the bounds, their sum and its slope."""
    filled, slope = 0.0, 0.0
    for t in range(len(lower)):
        unit = 1.0 / (1.5 * s[t])
        ratio = (nu - a[t]) * unit
        ratio = ratio if ratio > 0.0 else 0.0
        free = ratio * ratio
        inside = free if free > lower[t] else lower[t]
        inside = inside if inside < upper[t] else upper[t]
        x[t] = inside
        filled += inside
        slope += 2.0 * ratio * unit if inside == free else 0.0
    return filled, slope


@compiled
def _sweep_smooth(nu: float, most: bool, smooth: Smooth, bounds: Pair, roots: Float, x: Float) -> Swept:
    a, b, c, s, p = smooth
    lower, upper = bounds
    sums = np.zeros(3)
    below, above = -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        left_sum, right_sum, slope = 0.0, 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            left = right = response = 0.0
            if b[t] == 0.0 and c[t] == 0.0 and s[t] == 0.0:
                left, right = np.inf if a[t] < nu else 0.0, np.inf if a[t] <= nu else 0.0
                below, above = max(below, a[t]) if a[t] < nu else below, min(above, a[t]) if a[t] > nu else above
            elif nu > a[t]:
                guess = roots[t] if len(roots) else 0.0
                left, response, guess = root(nu - a[t], b[t], c[t], s[t], p[t], guess)
                right = left
                if len(roots):
                    roots[t] = guess
            slope += response if lower[t] < left < upper[t] else 0.0
            left, right = min(max(left, lower[t]), upper[t]), min(max(right, lower[t]), upper[t])
            x[t] = right if most else left
            left_sum += left
            right_sum += right
        sums += np.array((left_sum, right_sum, slope))
    return sums[0], sums[1], sums[2], below, above


@compiled
def _sweep_steps(nu: float, most: bool, smooth: Smooth, steps: Pair, bounds: Pair, x: Float) -> Swept:
    a, b, c, s, p = smooth
    depth, premium = steps
    lower, upper = bounds
    sums = np.zeros(3)
    below, above = -np.inf, np.inf
    for start in range(0, len(x), BLOCK):
        left_sum, right_sum, slope = 0.0, 0.0, 0.0
        for t in range(start, min(start + BLOCK, len(x))):
            flat = b[t] == 0.0 and c[t] == 0.0 and s[t] == 0.0
            left = right = response = 0.0
            for k in range(depth.shape[1]):
                price, size = a[t] + premium[t, k], depth[t, k]
                if size == 0.0:
                    continue
                if price > nu:
                    above = min(above, price) if flat else above
                    break
                if flat:
                    right += size
                    left += size if price < nu else 0.0
                    below = max(below, price) if price < nu else below
                    continue
                reach, grows = 0.0, 0.0
                if price < nu:
                    reach, grows, _ = root(nu - price, b[t], c[t], s[t], p[t], 0.0)
                if reach < left + size:
                    left, response = (reach, grows) if reach > left else (left, 0.0)
                    break
                left += size
            right = right if flat else left
            slope += response if lower[t] < left < upper[t] else 0.0
            left, right = min(max(left, lower[t]), upper[t]), min(max(right, lower[t]), upper[t])
            x[t] = right if most else left
            left_sum += left
            right_sum += right
        sums += np.array((left_sum, right_sum, slope))
    return sums[0], sums[1], sums[2], below, above


@compiled
def bound_sums(bounds: Pair) -> tuple[float, float, int]:
    """Sums of the floors and of the caps, and in how many intervals they are crossed."""
    lowest, most, crossed = 0.0, 0.0, 0
    for start in range(0, len(bounds[0]), BLOCK):
        part = _bounds_block(bounds[0][start : start + BLOCK], bounds[1][start : start + BLOCK])
        lowest += part[0]
        most += part[1]
        crossed += part[2]
    return lowest, most, crossed


@vectorised
def _bounds_block(lower: Float, upper: Float) -> tuple[float, float, int]:
    lowest, most, crossed = 0.0, 0.0, 0
    for t in range(len(lower)):
        lowest += lower[t]
        most += upper[t]
        crossed += 1 if lower[t] > upper[t] else 0
    return lowest, most, crossed

"""What a child order costs, and the child at which a marginal cost is reached."""

from __future__ import annotations

import math

import numpy as np

from research_lib.execution.solvers.kernels.compiling import EPSILON, Float, Pair, Smooth, compiled

LONGEST_ROOT = 60
CLOSE = 1e-9  # a Newton step this small is followed by one that is its square
FAR = 8.0


@compiled
def smooth_price(x: float, a: float, b: float, c: float, s: float, p: float) -> tuple[float, float]:
    """a x + b x^2 + c x^3 + s x^p and its derivative."""
    value = x * (a + x * (b + x * c))
    slope = a + x * (2.0 * b + 3.0 * c * x)
    if s != 0.0:
        if x > 0.0:
            rise = s * math.sqrt(x) if p == 1.5 else s * x ** (p - 1.0)
            value += rise * x
            slope += p * rise
        elif p < 1.0:
            slope = math.copysign(np.inf, s)
    return value, slope


@compiled
def price_all(x: Float, smooth: Smooth, steps: Pair) -> tuple[Float, Float, Float]:
    """C_t(x_t), its left and its right derivative, (n,) each; all inf beyond the last step."""
    a, b, c, s, p = smooth
    value, slope = np.empty(len(x)), np.empty(len(x))
    for t in range(len(x)):
        value[t], slope[t] = smooth_price(x[t], a[t], b[t], c[t], s[t], p[t])
    if steps[0].shape[1] == 0:
        return value, slope, slope
    last, following = slope.copy(), slope.copy()
    for t in range(len(x)):
        walked, step_last, step_next = walk_steps(x[t], t, steps)
        value[t], last[t], following[t] = value[t] + walked, slope[t] + step_last, slope[t] + step_next
    return value, last, following


@compiled
def walk_steps(x: float, t: int, steps: Pair) -> tuple[float, float, float]:
    """Cost of x shares of interval t's steps, the price of the last share and of the next one."""
    depth, premium = steps
    walked, before, step_last, step_next = 0.0, 0.0, premium[t, 0], np.inf
    for k in range(depth.shape[1]):
        if depth[t, k] == 0.0:
            continue
        if x > before or before == 0.0:  # nothing comes before the first share
            step_last = premium[t, k]
        if x < before + depth[t, k]:
            walked += premium[t, k] * (x - before)
            step_next = premium[t, k]
            break
        walked += premium[t, k] * depth[t, k]
        before += depth[t, k]
    if step_next == np.inf and x > before * (1.0 + 4.0 * EPSILON):
        walked = step_last = np.inf
    return walked, step_last, step_next


@compiled
def root(excess: float, b: float, c: float, s: float, p: float, guess: float) -> tuple[float, float, float]:
    """The x >= 0 with 2 b x + 3 c x^2 + s p x^(p - 1) = excess > 0, dx / d excess, and a guess for next time.

    Where c is below 0 the answer is on the rising side; inf where no x of it reaches `excess`.
    """
    if s == 0.0:
        if c == 0.0:
            return 0.5 * excess / b, 0.5 / b, 0.0
        under = b * b + 3.0 * c * excess
        if not under > 0.0:
            return np.inf, 0.0, 0.0
        bend = math.sqrt(under)
        return excess / (b + bend), 0.5 / bend, 0.0
    ratio = excess / (s * p)
    if b == 0.0 and c == 0.0:
        alone = ratio * ratio if p == 1.5 else ratio ** (1.0 / (p - 1.0))
        return alone, alone / (excess * (p - 1.0)), 0.0
    if c == 0.0 and p == 1.6:
        return _fifth_root(excess, ratio, b, s * p, guess)
    if not guess > 0.0:
        alone = ratio * ratio if p == 1.5 else ratio ** (1.0 / (p - 1.0))
        guess = min(alone, excess / (b + math.sqrt(b * b + 3.0 * c * excess)))
    return _mixed_root(excess, b, c, s, p, guess)


@compiled
def _fifth_root(excess: float, ratio: float, b: float, w: float, guess: float) -> tuple[float, float, float]:
    """Root of 2 b x + w x^0.6 by the fifth root y of x: 2 b y^5 + w y^3 is a convex polynomial. Guesses are of y."""
    y = guess
    square = y * y
    start = square * y * (w + 2.0 * b * square)
    if not (start > excess / FAR and start < excess * FAR):
        y = min(ratio ** (1.0 / 3.0), (0.5 * excess / b) ** 0.2)
    for _ in range(LONGEST_ROOT):
        square = y * y
        slope = square * (3.0 * w + 10.0 * b * square)
        step = (square * y * (w + 2.0 * b * square) - excess) / slope
        y -= step
        if not abs(step) > CLOSE * y:
            break
    square = y * y
    return square * square * y, 5.0 * square / (3.0 * w + 10.0 * b * square), y


@compiled
def _mixed_root(excess: float, b: float, c: float, s: float, p: float, x: float) -> tuple[float, float, float]:
    """Newton in logarithms, where the slope is convex.

    From any side the first step lands beyond the root, and from there it only falls.
    """
    response = 0.0
    for _ in range(LONGEST_ROOT):
        first, second = 2.0 * b * x, 3.0 * c * x * x
        third = s * p * (math.sqrt(x) if p == 1.5 else x ** (p - 1.0))
        slope, lift = first + second + third, first + 2.0 * second + (p - 1.0) * third
        response = x / lift
        ratio = slope / excess
        small = ratio - 1.0
        log_ratio = small * (1.0 - small * (0.5 - small / 3.0)) if abs(small) < 1e-6 else math.log(ratio)
        step = log_ratio * slope / lift
        x *= 1.0 - step * (1.0 - 0.5 * step) if abs(step) < 1e-6 else math.exp(-step)
        if abs(step) <= CLOSE or x == 0.0:
            break
    return x, response, x


@compiled
def first_guess(x: float, p: float) -> float:
    """The guess for `root` that says x."""
    return x**0.2 if p == 1.6 else x

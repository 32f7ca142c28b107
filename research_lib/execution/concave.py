r"""Concave totals: their optimum is at a vertex, which is found by looking at all that matter.

With equal floors l and caps u, a vertex of the feasible set has every child order at l or u but one, which takes
the remainder. For each choice of that one, the rest is best filled where C_t(u) - C_t(l) is least: sorted once,
all choices are compared in O(n log n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.exact import Certificate
from research_lib.execution.problem import Problem

Float = NDArray[np.float64]


def why_not_vertex(problem: Problem) -> str:
    """Why a total that is not convex cannot be solved to its global optimum here; empty if it can."""
    total = problem.total
    if problem.terms is not None:
        return "terms are added to it"
    bends_up = (total.quadratic > 0) | (total.cubic > 0)
    bends_up |= (total.scale != 0) & ((total.scale < 0) != (total.power > 1))
    if total.depth.shape[1]:
        first = np.argmax(total.depth > 0, axis=1)
        lowest = np.take_along_axis(total.premium, first[:, None], axis=1)
        bends_up |= np.any((total.premium > lowest) & (total.depth > 0), axis=1)
    if bends_up.any():
        return f"interval {int(np.argmax(bends_up))} is not concave"
    if total.depth.shape[1]:
        return "steps of a book stand beside it"
    if np.ptp(problem.lower) > 0 or np.ptp(problem.upper) > 0:
        return "bounds differ between the intervals"
    return ""


def solve_vertex(problem: Problem) -> tuple[Float, Certificate]:
    """The global optimum and its certificate: the gap is 0 by enumeration."""
    low, n = float(problem.lower[0]), len(problem.lower)
    left = problem.shares - n * low
    high = min(float(problem.upper[0]), low + left)
    room = high - low
    full = min(int(np.floor(left / room * (1 + 1e-12))), n) if room > 0 else 0
    rest = max(left - full * room, 0.0)
    value = problem.total.value
    rise, part = value(high) - value(low), value(low + rest) - value(low)
    order = np.argsort(rise, kind="stable")
    x = np.full(n, low)
    if rest <= 1e-12 * problem.shares or full == n:
        x[order[:full]] = high
    else:
        # Where the remainder's interval would itself be filled, the next cheapest is filled instead.
        swap = np.zeros(n)
        swap[order[:full]] = rise[order[full]] - rise[order[:full]]
        chosen = int(np.argmin(rise[order[:full]].sum() + swap + part))
        x[[t for t in order[: full + 1] if t != chosen][:full]] = high
        x[chosen] = low + rest
    return x, _certificate(x, problem)


def _certificate(x: Float, problem: Problem) -> Certificate:
    """First-order conditions at the vertex; the multiplier is the marginal cost of the remainder."""
    with np.errstate(divide="ignore"):
        slope = problem.total.marginal(x)
    down, up = x > problem.lower, x < problem.upper
    inside = down & up
    highest = float(slope[down].max()) if down.any() else -np.inf
    lowest = float(slope[up].min()) if up.any() else np.inf
    ends = lowest if np.isfinite(lowest) else highest
    nu = float(slope[inside][0]) if inside.any() else ends
    worst = max(highest - nu if down.any() else 0.0, nu - lowest if up.any() else 0.0, 0.0)
    cost = float(np.sum(problem.total.value(x)))
    return Certificate(cost, nu, worst / (abs(nu) or 1.0), 0.0, float(x.sum()), 0.0)

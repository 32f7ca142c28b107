r"""Concave totals: their optimum is at a vertex, which is found by looking at all that matter.

With equal floors l and caps u, a vertex of the feasible set has every child at l or u but
one, which takes the remainder. For each choice of that one, the rest is best filled where
C_t(u) - C_t(l) is least: sorted once, all choices are compared in O(n log n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.solvers.certificate import Certificate
from research_lib.execution.solvers.problem import Problem
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]


def concave(total: SeparableTotal) -> NDArray[np.bool_]:
    """Intervals, (n,), whose total is concave on x >= 0."""
    bends_up = (
        (total.quadratic > 0) | (total.cubic > 0) | ((total.scale != 0) & ((total.scale < 0) != (total.power > 1)))
    )
    return np.asarray(~bends_up & ~_stepped(total))


def _stepped(total: SeparableTotal) -> NDArray[np.bool_]:
    """Intervals whose premium rises within their depth."""
    if not total.depth.shape[1]:
        return np.zeros(len(total), bool)
    first = np.argmax(total.depth > 0, axis=1)
    lowest = np.take_along_axis(total.premium, first[:, None], axis=1)
    return np.asarray(np.any((total.premium > lowest) & (total.depth > 0), axis=1))


def why_not(problem: Problem) -> str:
    """Why a total that is not convex cannot be solved to its global optimum here; empty if it can."""
    total = problem.total
    if problem.terms is not None:
        return "terms are added to it"
    bends = concave(total)
    if not bends.all():
        return f"interval {int(np.argmin(bends))} is not concave"
    if total.depth.shape[1]:
        return "steps of a book stand beside it"
    if np.ptp(problem.lower) > 0 or np.ptp(problem.upper) > 0:
        return "bounds differ between the intervals"
    return ""


def refuse_non_convex(problem: Problem) -> None:
    """Raise OptimizationError, naming the interval and the reason.

    Raises
    ------
    OptimizationError
    """
    bad = problem.non_convex()
    t = int(np.argmax(bad))
    raise OptimizationError(
        f"the total is not convex in {int(bad.sum()):,} intervals, first in {t} ({_reason(problem.total, t)}): larger "
        f"orders get cheaper by the share, and a stationary point need not be a minimum; it is solved globally only if "
        f"all totals are concave under equal bounds, but {why_not(problem)}. Refit with coefficients held at 0 or "
        'above, or use objective "cost"'
    )


def _reason(total: SeparableTotal, t: int) -> str:
    for name in ("quadratic", "cubic"):
        if getattr(total, name)[t] < 0:
            return f"{name} coefficient {getattr(total, name)[t]:.3g} below 0"
    return f"{total.scale[t]:.3g} x^{total.power[t]:.3g}"


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
        cheapest = float(rise[order[:full]].sum())
        # Where the remainder's interval would itself be filled, the next cheapest is filled instead.
        swap = np.zeros(n)
        swap[order[:full]] = rise[order[full]] - rise[order[:full]] if full < n else 0.0
        chosen = int(np.argmin(cheapest + swap + part))
        x[[t for t in order[: full + 1] if t != chosen][:full]] = high
        x[chosen] = low + rest
    return x, _certificate(x, problem)


def _certificate(x: Float, problem: Problem) -> Certificate:
    """First-order conditions at the vertex; the multiplier is the marginal cost of the remainder."""
    with np.errstate(divide="ignore"):
        slope = problem.total.marginal(x)
    down, up = x > problem.lower, x < problem.upper
    inside = down & up
    dearest = float(slope[down].max()) if down.any() else -np.inf
    cheapest = float(slope[up].min()) if up.any() else np.inf
    nu = float(slope[inside][0]) if inside.any() else (cheapest if np.isfinite(cheapest) else dearest)
    worst = max(dearest - nu if down.any() else 0.0, nu - cheapest if up.any() else 0.0, 0.0)
    cost = float(np.sum(problem.total.value(x)))
    return Certificate(cost, nu, worst / (abs(nu) or 1.0), 0.0, float(x.sum()), 0.0)

"""Terms that couple the intervals: quadratic problems by their structure, other curves by proximal gradients."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.active_set import bounded
from research_lib.execution.solvers.certificate import certify
from research_lib.execution.solvers.decay import StateDecay
from research_lib.execution.solvers.multiplier import optimal_shares
from research_lib.execution.solvers.problem import Answer, Limits, Problem, close_sum
from research_lib.execution.solvers.quadratic import Quadratic, certified
from research_lib.execution.solvers.terms import Terms
from research_lib.impact.totals import SeparableTotal

Float = NDArray[np.float64]
POWER_STEPS = 60
MARGIN = 1.1  # power steps reach the largest eigenvalue from below
STEPS_PER_ITERATION = 20
LOOK_EVERY = 25
MOST_PASSES = 1000


def solve_coupled(problem: Problem, limits: Limits) -> Answer:
    """The optimum with its certificate; of curves that are not quadratic, to the tolerance."""
    quadratic = quadratic_of(problem)
    if quadratic is not None:
        x, solves = bounded(quadratic, problem.lower, problem.upper, limits)
        if x is None:
            return Answer(quadratic.method, None, "cost is not convex, or singular to rounding")
        found = certified(quadratic, x, problem.lower, problem.upper)
        cost = found.cost + problem.constant
        found = found._replace(cost=cost, duality_gap=found.duality_gap * abs(found.cost) / (abs(cost) or 1.0))
        method = quadratic.method + (" with an active set" if solves > 1 else "")
        return Answer(method, x, iterations=solves, certificate=found)
    if problem.terms is not None and problem.terms.quadratic:
        return _proximal(problem, limits)
    return Answer("structured", None, "robust costs and scenarios have no structured solver")


def quadratic_of(problem: Problem) -> Quadratic | None:
    """The problem's cost as a structured quadratic function, if it is one."""
    total, terms = problem.total, problem.terms
    if terms is None or not terms.quadratic or terms.smoothness or total.depth.shape[1]:
        return None
    if total.cubic.any() or total.scale.any() or np.any(total.quadratic < 0):
        return None
    n = len(total)
    decay = StateDecay(np.zeros((n - 1, 0)), np.zeros(0)) if terms.decay is None else terms.decay
    holding = np.zeros(n) if terms.holding is None else np.append(terms.holding[:-1], 0.0)
    return Quadratic(problem.shares, decay, total.quadratic, total.linear, holding)


def exactly_coupled(problem: Problem) -> bool:
    """Whether `solve_coupled` is the first choice: exact, or the only one without a dense matrix."""
    terms = problem.terms
    dense = (
        terms is not None and terms.quadratic and terms.decay is not None and not isinstance(terms.decay, StateDecay)
    )
    return quadratic_of(problem) is not None or dense


def _proximal(problem: Problem, limits: Limits) -> Answer:
    """Accelerated proximal gradients with restarts (O'Donoghue and Candes 2015).

    The coupling goes by its gradient; the curve, the bounds and the sum by one exact split a step.
    """
    begin, unit = time.monotonic(), problem.shares / len(problem.lower)
    scaled = problem.scaled(unit)
    assert scaled.terms is not None
    steep = _steepest(scaled.terms, len(problem.lower))
    x = optimal_shares(dataclasses.replace(scaled, terms=None), MOST_PASSES)[0]
    ahead, momentum, late, step = x, 1.0, False, 0
    for step in range(1, STEPS_PER_ITERATION * limits.max_iterations + 1):
        slope = scaled.terms.gradient(ahead) - steep * ahead
        moved = optimal_shares(_near(scaled, slope, steep), MOST_PASSES)[0]
        if float((ahead - moved) @ (moved - x)) > 0.0:
            momentum = 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        ahead = moved + ((momentum - 1.0) / following) * (moved - x)
        x, momentum = moved, following
        late = time.monotonic() - begin > limits.timeout_seconds
        if late or (step % LOOK_EVERY == 0 and certify(x, scaled).duality_gap <= 0.1 * limits.tolerance):
            break
    found = close_sum(np.clip(unit * x, problem.lower, problem.upper), problem)
    return Answer("proximal gradient", found, iterations=step, timed_out=late)


def _near(problem: Problem, slope: Float, steep: float) -> Problem:
    """The separable problem of one step: the total, the slope, and half of `steep` times the square."""
    total: SeparableTotal = dataclasses.replace(
        problem.total, linear=problem.total.linear + slope, quadratic=problem.total.quadratic + 0.5 * steep
    )
    return Problem(total, problem.shares, problem.lower, problem.upper)


def _steepest(terms: Terms, n: int) -> float:
    """A little more than the largest eigenvalue of the terms' Hessian."""
    at_zero, direction = terms.gradient(np.zeros(n)), 1.0 + np.cos(np.arange(n))
    size = 0.0
    for _ in range(POWER_STEPS):
        direction = direction / np.linalg.norm(direction)
        direction = terms.gradient(direction) - at_zero
        size = float(np.linalg.norm(direction))
        if size == 0.0:
            break
    return MARGIN * size

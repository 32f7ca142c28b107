"""The exact solver of separable convex problems, one at a time or in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels import solve
from research_lib.execution.solvers.problem import SUM_ROUNDING, Answer, Limits, Problem, close_sum

Float = NDArray[np.float64]
SAMPLE_FROM = 8192
SAMPLE_EVERY = 64


def solve_analytical(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """The exact optimum; nothing where terms couple the intervals."""
    if problem.terms is not None:
        yield Answer("multiplier", None, "terms couple the intervals: no single multiplier solves them")
        return
    x, passes = optimal_shares(problem, limits.max_iterations)
    yield Answer("multiplier", x, iterations=passes)


def optimal_shares(problem: Problem, max_passes: int) -> tuple[Float, int]:
    """Optimal shares, (n,), and the passes over the intervals that it took."""
    smooth, steps, bounds = problem.arrays
    x, start = np.empty(len(smooth[0])), math.nan
    if len(x) >= SAMPLE_FROM:
        start = _multiplier_of_sample(problem, max_passes)
    shape = problem.shape
    _, passes = solve(problem.shares, start, shape.plain, shape.mixed, smooth, steps, bounds, max_passes, x)
    if abs(x.sum() - problem.shares) > SUM_ROUNDING * problem.shares:  # out of passes
        x = close_sum(x, problem)
    return x, passes


def _multiplier_of_sample(problem: Problem, max_passes: int) -> float:
    """Multiplier of one interval in 64: within about a per cent, for a sixty-fourth of a pass."""
    total, every = problem.total, slice(None, None, SAMPLE_EVERY)
    lower, upper = problem.lower[every], problem.upper[every]
    part = problem.shares * len(lower) / len(problem.lower)
    part = float(np.clip(part, lower.sum(), upper.sum()))
    sample = Problem(type(total)(*(getattr(total, name)[every] for name in total.keys())), part, lower, upper)
    shape, x = problem.shape, np.empty(len(lower))
    nu, _ = solve(part, math.nan, shape.plain, shape.mixed, *sample.arrays, max_passes, x)
    return float(nu)

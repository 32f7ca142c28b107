"""The optimum of a separable convex problem by its multiplier, without a certificate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.kernels import SUM_ROUNDING, solve
from research_lib.execution.solvers.problem import Problem, close_sum

Float = NDArray[np.float64]
SAMPLE_FROM = 8192
RUN_LENGTH, RUN_EVERY = 16, 1024  # two cache lines: one number in 64 from afar would fetch a line for each


def optimal_shares(problem: Problem, max_passes: int) -> tuple[Float, int]:
    """Optimal shares, (n,), and the passes over the intervals that it took: `exact_split` without its certificate."""
    form, x = problem.form, np.empty(len(problem.lower))
    _, passes = solve(
        problem.shares, first_multiplier(problem, max_passes), form.kind, form.mixed,
        form.smooth, form.steps, problem.bounds, max_passes, x,
    )  # fmt: skip
    return x if abs(x.sum() - problem.shares) <= SUM_ROUNDING * problem.shares else close_sum(x, problem), passes


def first_multiplier(problem: Problem, max_passes: int) -> float:
    """Of many intervals, the multiplier of one in 64: within about a per cent, for a sixty-fourth of a pass.

    NaN below 8192 intervals: the compiled solver finds its own start.
    """
    if len(problem.lower) < SAMPLE_FROM:
        return math.nan
    total = problem.total
    lower, upper = _sampled(problem.lower), _sampled(problem.upper)
    part = problem.shares * len(lower) / len(problem.lower)
    part = float(np.clip(part, lower.sum(), upper.sum()))
    sample = Problem(type(total)(*(_sampled(getattr(total, name)) for name in total.keys())), part, lower, upper)
    form, x = problem.form, np.empty(len(lower))
    nu, _ = solve(
        part, math.nan, form.kind, form.mixed, sample.form.smooth, sample.form.steps, sample.bounds, max_passes, x
    )
    return float(nu)


def _sampled(array: Float) -> Float:
    """The first 16 of every 1,024, one run after another; rows of a matrix likewise."""
    runs = len(array) // RUN_EVERY
    whole = array[: runs * RUN_EVERY].reshape(runs, RUN_EVERY, *array.shape[1:])
    return whole[:, :RUN_LENGTH].reshape(runs * RUN_LENGTH, *array.shape[1:])

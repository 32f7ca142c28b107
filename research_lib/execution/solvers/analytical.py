"""The exact solver: separable convex problems by one multiplier, coupled quadratic ones by their structure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.certificate import Certificate, from_judged
from research_lib.execution.solvers.coupled import solve_coupled
from research_lib.execution.solvers.kernels import SUM_ROUNDING, exact
from research_lib.execution.solvers.multiplier import first_multiplier
from research_lib.execution.solvers.problem import Answer, Limits, Problem, close_sum

Float = NDArray[np.float64]


def solve_analytical(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """The exact optimum: by the multiplier, or by the structure of quadratic terms that couple the intervals."""
    if problem.terms is not None:
        yield solve_coupled(problem, limits)
        return
    x, passes, certificate = exact_split(problem, limits.max_iterations)
    yield Answer("multiplier", x, iterations=passes, certificate=certificate)


def exact_split(problem: Problem, max_passes: int) -> tuple[Float | None, int, Certificate | None]:
    """Optimal shares (n,), passes over the intervals, and the certificate, None where it needs a closer look.

    No shares where the bounds have faults.
    """
    form, x = problem.form, np.empty(len(problem.lower))
    faults, passes, judged = exact(
        problem.shares, first_multiplier(problem, max_passes), form.kind, form.mixed, form.bends,
        form.smooth, form.steps, problem.bounds, max_passes, x,
    )  # fmt: skip
    if faults:
        return None, 0, None
    if abs(judged[4] - problem.shares) > SUM_ROUNDING * problem.shares:  # out of passes
        return close_sum(x, problem), passes, None
    return x, passes, from_judged(judged, problem.shares, problem.constant)

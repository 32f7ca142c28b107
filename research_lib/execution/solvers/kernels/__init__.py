r"""The compiled core: prices of a separable total, its optimum by the multiplier, and the certificate.

Arrays of a problem come in three tuples: smooth (linear, quadratic, cubic, scale, power), (n,)
each; steps (depth, premium), (n, K) each; bounds (lower, upper), (n,) each. See
:class:`research_lib.impact.totals.SeparableTotal` for the equation. Inner functions take
numbers only, for a call counts references to each array it is given.
"""

from research_lib.execution.solvers.kernels.compiling import Pair, Smooth
from research_lib.execution.solvers.kernels.judging import (
    CAPS_LOW,
    CROSSED,
    FLOORS_HIGH,
    NOT_CONVEX,
    NOT_FINITE,
    SUM_ROUNDING,
    admits,
    exact,
    exact_many,
    form_of,
    judge,
)
from research_lib.execution.solvers.kernels.lots import place_odd_lot, round_to_lots
from research_lib.execution.solvers.kernels.prices import price_all
from research_lib.execution.solvers.kernels.search import solve
from research_lib.execution.solvers.kernels.states import states_product, states_schedule
from research_lib.execution.solvers.kernels.sweeps import GENERAL, sweep
from research_lib.execution.solvers.kernels.trajectory import moments, trajectory, with_moments

__all__ = [
    "CAPS_LOW",
    "CROSSED",
    "FLOORS_HIGH",
    "GENERAL",
    "NOT_CONVEX",
    "NOT_FINITE",
    "SUM_ROUNDING",
    "Pair",
    "Smooth",
    "admits",
    "exact",
    "exact_many",
    "form_of",
    "judge",
    "moments",
    "place_odd_lot",
    "price_all",
    "round_to_lots",
    "solve",
    "states_product",
    "states_schedule",
    "sweep",
    "trajectory",
    "with_moments",
]

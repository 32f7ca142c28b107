"""The allocation by SciPy: SLSQP, trust-constr, and HiGHS where every total is linear or stepped.

Shares are in average child orders: a trust region wants variables near 1. Steps of a book become
variables of their own, filled cheapest first.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.fallback import Answer, Limits
from research_lib.execution.problem import Problem

Float = NDArray[np.float64]
SLSQP_LARGEST = 78  # variables: its dense least squares take 30 s at 390
LARGEST_CURVATURE = 1e8  # powers below 2 have an infinite one at 0


def solve_scipy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """One answer: a linear programme by HiGHS, else SLSQP up to 78 variables and trust-constr
    above.
    """
    unit = problem.shares / len(problem.lower)
    if problem.terms is not None and problem.terms.scenarios:
        yield Answer("SLSQP", None, "CVaR over scenarios is not smooth")
        return
    split = _Split(problem.scaled(unit))
    answer = split.linear(limits) if split.is_linear else split.smooth(limits)
    shares = problem.repaired(answer.shares, unit)
    reason = answer.reason if shares is not None else f"no finite answer, {answer.reason}"
    yield dataclasses.replace(answer, shares=shares, reason=reason)


class _Split:
    """The scaled problem over z: one variable an interval, or one a step."""

    def __init__(self, problem: Problem) -> None:
        from scipy.sparse import eye_array, kron

        total = problem.total
        self.problem, self.n, k = problem, len(problem.lower), max(total.depth.shape[1], 1)
        none = np.empty((self.n, 0))
        self.total = dataclasses.replace(total, depth=none, premium=none)
        self.premium = total.premium.ravel() if total.depth.shape[1] else np.zeros(self.n)
        depth = total.depth if total.depth.shape[1] else np.full((self.n, 1), np.inf)
        self.upper = np.minimum(depth, problem.upper[:, None]).ravel()
        self.sum = kron(eye_array(self.n), np.ones((1, k)), format="csr")
        self.stepped = k > 1
        curved = total.quadratic.any() or total.cubic.any() or total.scale.any()
        self.is_linear = not curved and problem.terms is None

    def linear(self, limits: Limits) -> Answer:
        """Prices that do not rise within a level: a linear programme, by HiGHS."""
        from scipy.optimize import linprog
        from scipy.sparse import vstack

        found = linprog(
            self.premium + self.sum.T @ self.total.linear,
            A_ub=vstack([self.sum, -self.sum]),
            b_ub=np.concatenate([self.problem.upper, -self.problem.lower]),
            A_eq=np.ones((1, len(self.upper))),
            b_eq=[self.n],
            bounds=np.column_stack([np.zeros(len(self.upper)), self.upper]),
            method="highs",
            options={"time_limit": limits.timeout_seconds, "maxiter": 100 * limits.max_iterations},
        )
        x = None if found.x is None else self.sum @ found.x
        return Answer("HiGHS", x, str(found.message), int(found.nit or 0), found.status == 1)

    def smooth(self, limits: Limits) -> Answer:
        """Prices that rise: SLSQP, or trust-constr where there are many variables."""
        from scipy.optimize import minimize

        trust = len(self.upper) > SLSQP_LARGEST
        deadline = _Deadline(limits.timeout_seconds)
        terms = self.problem.terms
        exact = trust and not self.stepped and (terms is None or terms.quadratic)
        lower = np.zeros(len(self.upper)) if self.stepped else self.problem.lower
        if trust:
            options = dict.fromkeys(("gtol", "barrier_tol", "xtol"), limits.tolerance)
        else:
            options = {"ftol": 1e-3 * limits.tolerance}
        with warnings.catch_warnings():
            # scipy warns of a zero change of gradient, as flat stretches have it; the certificate
            # decides.
            warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
            found = minimize(
                self._value,
                self._start(),
                jac=self._gradient,
                hess=self._hessian if exact else None,
                method="trust-constr" if trust else "SLSQP",
                bounds=np.column_stack([lower, self.upper]),
                constraints=self._constraints(trust),
                callback=deadline,
                options={"maxiter": limits.max_iterations, **options},
            )
        name, x = ("trust-constr" if trust else "SLSQP"), self.sum @ found.x
        return Answer(name, x, str(found.message), int(found.nit), deadline.passed)

    def _value(self, z: Float) -> float:
        x = np.maximum(self.sum @ z, 0.0)
        terms = self.problem.terms
        return float(np.sum(self.total.value(x)) + self.premium @ z) + (
            terms.value(x) if terms else 0.0
        )

    def _gradient(self, z: Float) -> Float:
        x = np.maximum(self.sum @ z, 0.0)
        slope = self.total.marginal(x)
        if self.problem.terms:
            slope = slope + self.problem.terms.gradient(x)
        return np.asarray(self.sum.T @ slope + self.premium)

    def _hessian(self, z: Float) -> Any:
        """Diagonal; with quadratic terms as a product, for their own is dense."""
        from scipy.sparse.linalg import LinearOperator

        own = np.minimum(np.nan_to_num(self.total.curvature(z), posinf=np.inf), LARGEST_CURVATURE)
        terms, n = self.problem.terms, self.n
        at_zero = terms.gradient(np.zeros(n)) if terms else np.zeros(n)

        def product(d: Float) -> Float:
            d = np.ravel(d)
            return own * d + (terms.gradient(d) - at_zero if terms else 0.0)

        return LinearOperator((n, n), matvec=product, dtype=float)

    def _start(self) -> Float:
        """Equal shares inside the bounds, each walking its own steps."""
        x = self.problem.feasible(np.ones(self.n))
        depth = self.upper.reshape(self.n, -1)
        before = np.hstack([np.zeros((self.n, 1)), np.cumsum(depth[:, :-1], axis=1)])
        return np.asarray(np.clip(x[:, None] - before, 0.0, depth).ravel())

    def _constraints(self, sparse: bool) -> list[Any]:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        row = np.ones((1, len(self.upper)))
        constraints = [LinearConstraint(csr_array(row) if sparse else row, self.n, self.n)]
        if self.stepped:
            rows = self.sum if sparse else self.sum.toarray()
            constraints.append(LinearConstraint(rows, self.problem.lower, self.problem.upper))
        return constraints


class _Deadline:
    """Callback of `scipy.optimize.minimize` that stops it when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.passed = False

    def __call__(self, intermediate_result: Any) -> None:
        if time.monotonic() > self.end:
            self.passed = True
            raise StopIteration

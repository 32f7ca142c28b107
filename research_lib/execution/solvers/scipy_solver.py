"""The allocation by SciPy: SLSQP, trust-constr, and HiGHS where every total is linear or stepped.

Shares are in average child orders: a trust region wants variables near 1. Steps of a book
become variables of their own, filled cheapest first.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.problem import Answer, Limits, Problem, repaired

Float = NDArray[np.float64]
SLSQP_LARGEST = 78


def solve_scipy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """One answer: a linear programme by HiGHS, else SLSQP up to 78 variables and trust-constr above."""
    n = len(problem.lower)
    unit = problem.shares / n
    if problem.terms is not None and not problem.terms.smooth:
        yield Answer("SLSQP", None, "CVaR over scenarios is not smooth")
        return
    split = _Split(problem.scaled(unit))
    backend, x, reason, iterations, late = split.linear(limits) if split.is_linear else split.smooth(limits)
    fitted = repaired(x, unit, problem)
    yield Answer(backend, fitted, reason if fitted is not None else f"no finite answer, {reason}", iterations, late)


Found = tuple[str, Float | None, str, int, bool]


class _Split:
    """The scaled problem over z: one variable an interval, or one a step."""

    def __init__(self, problem: Problem) -> None:
        from scipy.sparse import csr_array, kron

        total = problem.total
        self.problem, self.n, k = problem, len(problem.lower), max(total.depth.shape[1], 1)
        none = np.empty((self.n, 0))
        self.total = dataclasses.replace(total, depth=none, premium=none)
        self.premium = total.premium.ravel() if total.depth.shape[1] else np.zeros(self.n)
        depth = total.depth if total.depth.shape[1] else np.full((self.n, 1), np.inf)
        self.most = np.minimum(depth, problem.upper[:, None]).ravel()
        self.sum = csr_array(kron(csr_array(np.eye(self.n)), np.ones((1, k)))) if k > 1 else None
        self.is_linear = not (total.quadratic.any() or total.cubic.any() or total.scale.any() or problem.terms)

    def shares(self, z: Float) -> Float:
        return z if self.sum is None else np.asarray(self.sum @ z)

    def linear(self, limits: Limits) -> Found:
        """Prices that do not rise within a level: a linear programme, by HiGHS."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, eye_array, vstack

        rows = csr_array(eye_array(self.n)) if self.sum is None else self.sum
        prices = self.premium + rows.T @ self.total.linear
        found = linprog(
            prices,
            A_ub=vstack([rows, -rows]),
            b_ub=np.concatenate([self.problem.upper, -self.problem.lower]),
            A_eq=np.ones((1, len(prices))),
            b_eq=[self.n],
            bounds=np.column_stack([np.zeros(len(prices)), self.most]),
            method="highs",
            options={"time_limit": limits.timeout_seconds, "maxiter": 100 * limits.max_iterations},
        )
        x = None if found.x is None else self.shares(found.x)
        return "HiGHS", x, str(found.message), int(found.nit), found.status == 1

    def smooth(self, limits: Limits) -> Found:
        """Prices that rise: SLSQP, or trust-constr where there are many variables."""
        from scipy.optimize import minimize

        method = "SLSQP" if len(self.most) <= SLSQP_LARGEST else "trust-constr"
        deadline = _Deadline(limits.timeout_seconds)
        exact = method == "trust-constr" and self.sum is None
        exact &= self.problem.terms is None or self.problem.terms.quadratic
        lower = self.problem.lower if self.sum is None else np.zeros(len(self.most))
        with warnings.catch_warnings():
            # scipy warns of a zero change of gradient, as flat stretches have it; the certificate decides.
            warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
            found = minimize(
                self._value,
                self._start(),
                jac=self._gradient,
                hess=self._hessian if exact else None,
                method=method,
                bounds=np.column_stack([lower, self.most]),
                constraints=self._constraints(method),
                callback=deadline,
                options=_options(method, limits),
            )
        return method, self.shares(found.x), str(found.message), int(found.nit), deadline.passed

    def _value(self, z: Float) -> float:
        x = np.maximum(self.shares(z), 0.0)
        terms = self.problem.terms
        return float(np.sum(self.total.value(x)) + self.premium @ z) + (terms.value(x) if terms else 0.0)

    def _gradient(self, z: Float) -> Float:
        x = np.maximum(self.shares(z), 0.0)
        slope = self.total.marginal(x)
        if self.problem.terms:
            slope = slope + self.problem.terms.gradient(x)
        return np.asarray((slope if self.sum is None else self.sum.T @ slope) + self.premium)

    def _hessian(self, z: Float) -> Any:
        """Diagonal; with quadratic terms as a product, for their own is dense."""
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import LinearOperator

        own, terms = _finite(self.total.curvature(z)), self.problem.terms
        if terms is None:
            return diags_array(own)
        at_zero = terms.gradient(np.zeros(self.n))
        return LinearOperator(
            (self.n, self.n), matvec=lambda d: own * np.ravel(d) + terms.gradient(np.ravel(d)) - at_zero, dtype=float
        )

    def _start(self) -> Float:
        """Equal shares inside the bounds, each walking its own steps."""
        x = self.problem.feasible(np.ones(self.n))
        if self.sum is None:
            return x
        depth = self.most.reshape(self.n, -1)
        before = np.hstack([np.zeros((self.n, 1)), np.cumsum(depth[:, :-1], axis=1)])
        return np.asarray(np.clip(x[:, None] - before, 0.0, depth).ravel())

    def _constraints(self, method: str) -> list[Any]:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        row = np.ones((1, len(self.most)))
        constraints = [LinearConstraint(csr_array(row) if method == "trust-constr" else row, self.n, self.n)]
        if self.sum is not None:
            rows = self.sum if method == "trust-constr" else self.sum.toarray()
            constraints.append(LinearConstraint(rows, self.problem.lower, self.problem.upper))
        return constraints


def _finite(curvature: Float) -> Float:
    """Curvature with powers below 2 held at what they have near 0, where it is infinite."""
    return np.minimum(np.nan_to_num(curvature, posinf=1e8), 1e8)


def _options(method: str, limits: Limits) -> dict[str, Any]:
    if method == "SLSQP":
        return {"maxiter": limits.max_iterations, "ftol": 1e-3 * limits.tolerance}
    return {
        "maxiter": limits.max_iterations,
        "gtol": limits.tolerance,
        "barrier_tol": limits.tolerance,
        "xtol": limits.tolerance,
    }


class _Deadline:
    """Callback of `scipy.optimize.minimize` that stops it when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.passed = False

    def __call__(self, intermediate_result: Any) -> None:
        if time.monotonic() > self.end:
            self.passed = True
            raise StopIteration

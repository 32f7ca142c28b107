"""The allocation by SciPy: SLSQP, trust-constr, and HiGHS where every total is linear or stepped.

Shares are in average child orders: a trust region wants variables near 1. Steps of a book become
variables of their own, filled cheapest first.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.problem import Answer, Limits, Problem

Float = NDArray[np.float64]
SLSQP_LARGEST = 78  # variables: its dense least squares take 30 s at 390
LARGEST_CURVATURE = 1e8  # powers below 2 have an infinite one at 0


def solve_scipy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """One answer: a linear programme by HiGHS, else SLSQP up to 78 variables and trust-constr
    above.
    """
    unit = problem.shares / len(problem.lower)
    split = _Split(problem.scaled(unit))
    backend, found = split.linear(limits) if split.is_linear else split.smooth(limits)
    shares = problem.repaired(None if found.x is None else split.sum @ found.x, unit)
    reason = str(found.message) if shares is not None else f"no finite answer, {found.message}"
    yield Answer(backend, shares, reason, int(found.nit or 0))


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
        self.is_linear = not curved and problem.coupling is None

    def linear(self, limits: Limits) -> tuple[str, Any]:
        """Prices that do not rise within a level: a linear programme, by HiGHS."""
        from scipy.optimize import linprog
        from scipy.sparse import vstack

        return "HiGHS", linprog(
            self.premium + self.sum.T @ self.total.linear,
            A_ub=vstack([self.sum, -self.sum]),
            b_ub=np.concatenate([self.problem.upper, -self.problem.lower]),
            A_eq=np.ones((1, len(self.upper))),
            b_eq=[self.n],
            bounds=np.column_stack([np.zeros(len(self.upper)), self.upper]),
            options={"time_limit": max(limits.left, 0.0), "maxiter": 100 * limits.max_iterations},
        )

    def smooth(self, limits: Limits) -> tuple[str, Any]:
        """Prices that rise: SLSQP, or trust-constr where there are many variables."""
        from scipy.optimize import LinearConstraint, minimize
        from scipy.sparse import csr_array

        trust = len(self.upper) > SLSQP_LARGEST
        options: dict[str, float] = {"ftol": 1e-3 * limits.tolerance}
        if trust:
            options = dict.fromkeys(("gtol", "barrier_tol", "xtol"), limits.tolerance)
        lower, form = self.problem.lower, csr_array if trust else np.asarray
        constraints = [LinearConstraint(form(np.ones((1, len(self.upper)))), self.n, self.n)]
        if self.stepped:
            rows = self.sum if trust else self.sum.toarray()
            constraints.append(LinearConstraint(rows, lower, self.problem.upper))
            lower = np.zeros(len(self.upper))

        def stop_in_time(intermediate_result: Any) -> None:
            if limits.left <= 0:
                raise StopIteration

        with warnings.catch_warnings():
            # scipy warns of a zero change of gradient, as flat stretches have it; the certificate
            # decides.
            warnings.filterwarnings("ignore", message="delta_grad == 0.0", category=UserWarning)
            found = minimize(
                self._value,
                self._start(),
                jac=self._gradient,
                hess=self._hessian if trust and not self.stepped else None,
                method="trust-constr" if trust else "SLSQP",
                bounds=np.column_stack([lower, self.upper]),
                constraints=constraints,
                callback=stop_in_time,
                options={"maxiter": limits.max_iterations, **options},
            )
        return "trust-constr" if trust else "SLSQP", found

    def _value(self, z: Float) -> float:
        x, joint = np.maximum(self.sum @ z, 0.0), self.problem.coupling
        value = float(np.sum(self.total.value(x)) + self.premium @ z)
        return value + (joint.value(x) if joint is not None else 0.0)

    def _gradient(self, z: Float) -> Float:
        x, joint = np.maximum(self.sum @ z, 0.0), self.problem.coupling
        slope = self.total.marginal(x)
        if joint is not None:
            slope = slope + joint.gradient(x)
        return np.asarray(self.sum.T @ slope + self.premium)

    def _hessian(self, z: Float) -> Any:
        """Diagonal, and the coupling's as a product, for its own is dense."""
        from scipy.sparse.linalg import LinearOperator

        own = np.minimum(np.nan_to_num(self.total.curvature(z), posinf=np.inf), LARGEST_CURVATURE)
        joint, n = self.problem.coupling, self.n
        at_zero = joint.gradient(np.zeros(n)) if joint is not None else np.zeros(n)

        def product(d: Float) -> Float:
            d = np.ravel(d)
            return own * d + (joint.gradient(d) - at_zero if joint is not None else 0.0)

        return LinearOperator((n, n), matvec=product, dtype=float)

    def _start(self) -> Float:
        """Equal shares inside the bounds, each walking its own steps."""
        x = self.problem.feasible(np.ones(self.n))
        depth = self.upper.reshape(self.n, -1)
        before = np.hstack([np.zeros((self.n, 1)), np.cumsum(depth[:, :-1], axis=1)])
        return np.asarray(np.clip(x[:, None] - before, 0.0, depth).ravel())

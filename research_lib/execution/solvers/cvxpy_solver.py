r"""The allocation as CVXPY states it: in fractions of the order, with a normalised objective.

In raw shares the backends report `optimal` with per cents of excess cost. Powers are power
cones, steps of a book split variables. The model is parametrised (DPP): problems of
the same structure share one compiled model and only exchange numbers.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from research_lib.execution.solvers.decay import StateDecay
from research_lib.execution.solvers.problem import Answer, Limits, Problem, repaired
from research_lib.execution.solvers.terms import Terms
from research_lib.impact.totals import SeparableTotal

if TYPE_CHECKING:
    import cvxpy as cp

Float = NDArray[np.float64]
BACKENDS = ("CLARABEL", "OSQP", "SCS", "ECOS")
CACHED_MODELS = 8
NEARLY = 0.9
_models: OrderedDict[Any, Model] = OrderedDict()
_lock = threading.Lock()


def solve_cvxpy(problem: Problem, limits: Limits) -> Iterator[Answer]:
    """Each installed backend's answer in turn; the caller stops at the first that is certified."""
    import cvxpy as cp

    decay = problem.terms.decay if problem.terms is not None else None
    if decay is not None and not isinstance(decay, StateDecay):
        yield Answer("none", None, "only sums of exponentials have a sparse state form")
        return
    scaled = problem.scaled(problem.shares)
    key = structure(scaled)
    with _lock:  # a model in use is nobody else's; one that hangs never comes back
        model = _models.pop(key, None)
    model = model or Model(scaled)
    model.set(scaled)
    try:
        for backend in BACKENDS:
            if backend in cp.installed_solvers() and not (backend == "OSQP" and model.conic):
                yield model.solve(backend, limits, problem)
    finally:  # also when the caller has what it wants and asks no further
        with _lock:
            _models[key] = model
            while len(_models) > CACHED_MODELS:
                _models.popitem(last=False)


def structure(problem: Problem) -> Any:
    """All that decides the shape of the model: problems with equal structure differ in numbers only."""
    terms = problem.terms
    coupled: tuple[Any, ...] = ()
    if terms is not None:
        powers = tuple(p.tobytes() for p in terms.powers)
        coupled = (
            terms.holding is not None, terms.smoothness > 0, powers, terms.level, _states(terms),
            *(_form(scenario) for scenario in terms.scenarios),
        )  # fmt: skip
    return len(problem.lower), _form(problem.total), coupled


def _states(terms: Terms) -> int:
    """Exponentials that the transient cost is made of."""
    return len(terms.decay.scales) if isinstance(terms.decay, StateDecay) else 0


def _form(total: SeparableTotal) -> Any:
    powered = total.scale > 0
    return (
        bool(total.quadratic.any()), bool(total.cubic.any()), total.depth.shape[1],
        powered.tobytes(), total.power[powered].tobytes(),
    )  # fmt: skip


class Model:
    """One compiled CVXPY problem and its parameters."""

    def __init__(self, problem: Problem) -> None:
        import cvxpy as cp

        n, terms = len(problem.lower), problem.terms
        self.conic = False
        self.shares = cp.Variable(n, nonneg=True)
        self.parameters: dict[str, cp.Parameter] = {}
        self.tails: list[cp.Constraint] = []
        self.constraints = [
            cp.sum(self.shares) == 1,
            self.shares >= self._parameter("lower", n),
            self.shares <= self._parameter("upper", n),
        ]
        objective = self._cost("total", problem.total)
        if terms is not None:
            objective = objective + self._coupled(terms, n)
        self.problem = cp.Problem(cp.Minimize(objective), self.constraints)

    def _parameter(self, name: str, *shape: int, nonneg: bool = True) -> cp.Parameter:
        import cvxpy as cp

        self.parameters[name] = cp.Parameter(shape, nonneg=nonneg)
        return self.parameters[name]

    def _cost(self, name: str, total: SeparableTotal) -> cp.Expression:
        """sum_t C_t(x_t): linear, square and cube, power cones, and steps."""
        import cvxpy as cp

        x, n = self.shares, len(total)
        cost = self._parameter(f"{name}.linear", n, nonneg=False) @ x
        if total.quadratic.any():
            cost = cost + self._parameter(f"{name}.quadratic", n) @ cp.square(x)
        if total.cubic.any():
            cost = cost + self._parameter(f"{name}.cubic", n) @ self._power(x, np.full(n, 3.0))
        powered = np.flatnonzero(total.scale > 0)
        if len(powered):
            risen = self._power(x[powered], total.power[powered])
            cost = cost + self._parameter(f"{name}.scale", len(powered)) @ risen
        k = total.depth.shape[1]
        if k:
            taken = cp.Variable((n, k), nonneg=True)
            self.constraints += [taken <= self._parameter(f"{name}.depth", n, k), cp.sum(taken, axis=1) == x]
            cost = cost + cp.sum(cp.multiply(self._parameter(f"{name}.premium", n, k, nonneg=False), taken))
        return cost

    def _power(self, x: cp.Expression, power: Float) -> cp.Expression:
        """Variables at or above (n x)^p, by power cones, squares as squares: in average children they are near 1."""
        import cvxpy as cp

        x = self.shares.size * x
        if np.all(power == 2):
            return cp.square(x)
        if np.all(power == 1):
            return x
        self.conic = True
        risen = cp.Variable(len(power), nonneg=True)
        self.constraints.append(cp.PowCone3D(risen, np.ones(len(power)), x, 1.0 / power))
        return risen

    def _coupled(self, terms: Terms, n: int) -> cp.Expression:
        import cvxpy as cp

        cost: cp.Expression = cp.Constant(0.0)
        if terms.holding is not None:
            held = cp.Variable(n)
            self.constraints += [held[0] == 1 - self.shares[0], held[1:] == held[:-1] - self.shares[1:]]
            cost = cost + self._parameter("holding", n) @ cp.square(held)
        if terms.smoothness:
            cost = cost + self._parameter("smoothness") * cp.sum_squares(cp.diff(self.shares))
        if terms.factor is not None:
            self.conic = True
            phi = [self._power(self.shares, p) for p in terms.powers]
            loadings = [
                sum(cp.multiply(self._parameter(f"factor{i}{j}", n), phi[i]) for i in range(j, len(phi)))
                for j in range(len(phi))
            ]
            cost = cost + cp.norm(cp.hstack(loadings), 2)
        for k in range(_states(terms)):
            cost = cost + self._transient(k, n)
        return cost + self._cvar(terms) if terms.scenarios else cost

    def _transient(self, k: int, n: int) -> cp.Expression:
        """1/2 x'Gx of one exponential: what its displacement loses in each gap, squared, and what is left of it."""
        import cvxpy as cp

        state = cp.Variable(n)  # just after each trade, over the scale
        self.constraints.append(state[0] == self.shares[0])
        if n > 1:
            kept = cp.multiply(self._parameter(f"kept{k}", n - 1), state[:-1])
            self.constraints.append(state[1:] == kept + self.shares[1:])
        return self._parameter(f"lost{k}", n) @ cp.square(state)

    def _cvar(self, terms: Terms) -> cp.Expression:
        """Rockafellar and Uryasev (2000): the least of tau + mean excess over tau / (1 - q)."""
        import cvxpy as cp

        threshold, excess = cp.Variable(), cp.Variable(len(terms.scenarios), nonneg=True)
        for j, scenario in enumerate(terms.scenarios):
            self.tails.append(self._cost(f"scenario{j}", scenario) - threshold <= excess[j])
        self.constraints += self.tails
        return threshold + cp.sum(excess) / ((1.0 - terms.level) * len(terms.scenarios))

    def set(self, problem: Problem) -> None:
        """Give the parameters the numbers of a scaled problem of this structure."""
        values: dict[str, Any] = {"lower": problem.lower, "upper": problem.upper}
        totals = {"total": problem.total}
        terms = problem.terms
        if terms is not None:
            values |= {"holding": terms.holding, "smoothness": terms.smoothness}
            if terms.factor is not None:
                p = terms.factor.shape[1]
                values |= {
                    f"factor{i}{j}": terms.factor[:, i, j] / len(problem.lower) ** terms.powers[i]
                    for i in range(p)
                    for j in range(i + 1)
                }
            if isinstance(terms.decay, StateDecay):
                values |= _decayed(terms.decay)
            totals |= {f"scenario{j}": scenario for j, scenario in enumerate(terms.scenarios)}
        n = len(problem.lower)
        for name, total in totals.items():
            values |= {f"{name}.{key}": getattr(total, key) for key in ("linear", "quadratic", "premium")}
            values[f"{name}.cubic"] = total.cubic / n**3
            values[f"{name}.scale"] = (total.scale / n**total.power)[total.scale > 0]
            values[f"{name}.depth"] = np.minimum(total.depth, 1.0)
        for name, parameter in self.parameters.items():
            parameter.value = values[name]

    def solve(self, backend: str, limits: Limits, problem: Problem) -> Answer:
        """One backend's answer, in shares."""
        import cvxpy as cp

        begin = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the certificate, not the backend's status, decides
            try:
                self.problem.solve(solver=backend, **backend_options(backend, limits))
            except (cp.SolverError, cp.DCPError, ValueError, ArithmeticError) as error:
                return Answer(backend, None, " ".join(str(error).split()))
        stats, late = self.problem.solver_stats, time.monotonic() - begin > NEARLY * limits.timeout_seconds
        x = repaired(self.shares.value, problem.shares, problem)
        status = f"status {self.problem.status}"
        weights = (
            np.array([np.ravel(tail.dual_value)[0] for tail in self.tails]) if self.tails and x is not None else None
        )
        return Answer(
            backend, x, status if x is not None else f"no finite answer, {status}",
            int(stats.num_iters or 0) if stats else 0, late, weights,
        )  # fmt: skip


def _decayed(decay: StateDecay) -> dict[str, Any]:
    """Values of the parameters of `Model._transient`."""
    lost = np.vstack([1.0 - decay.factors**2, np.ones((1, len(decay.scales)))]) * (0.5 * decay.scales)
    parts = range(len(decay.scales))
    return {f"kept{k}": decay.factors[:, k] for k in parts} | {f"lost{k}": lost[:, k] for k in parts}


def backend_options(backend: str, limits: Limits) -> dict[str, Any]:
    """Tolerance, iterations and time in each backend's own words."""
    tolerance, iterations, seconds = limits.tolerance, limits.max_iterations, limits.timeout_seconds
    return {
        "CLARABEL": {
            "tol_gap_rel": tolerance,
            "tol_gap_abs": tolerance,
            "tol_feas": tolerance,
            "max_iter": iterations,
            "time_limit": seconds,
        },
        "OSQP": {
            "eps_abs": tolerance,
            "eps_rel": tolerance,
            "max_iter": 100 * iterations,
            "time_limit": seconds,
            "polishing": True,
        },
        "SCS": {
            "eps_abs": tolerance,
            "eps_rel": tolerance,
            "max_iters": 100 * iterations,
            "time_limit_secs": seconds,
        },
        "ECOS": {"abstol": tolerance, "reltol": tolerance, "feastol": tolerance, "max_iters": iterations},
    }[backend]

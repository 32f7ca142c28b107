r"""Portfolio schedules under bounds, as CVXPY states them, and the certificate of its answer.

.. math:: \min_x \sum_k \epsilon' |n_k| + n_k' \tfrac1\tau \tilde H n_k + x_k' \Gamma^A x_{k-1} + \lambda \tau x_k' C x_k

over what is held, x_k, with the trades n_k = x_{k-1} - x_k; each asset in a unit of its own, cost in units of what
the free optimum costs.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from research_lib.errors import OptimizationError
from research_lib.execution.cvxpy_solver import BACKENDS, backend_options
from research_lib.execution.fallback import Limits
from research_lib.execution.portfolio_model import PortfolioModel

Float = NDArray[np.float64]
TOLERANCE = 1e-10  # asked of the backends
ACCEPTED = 1e-6


@dataclass(frozen=True, eq=False)
class PortfolioBounds:
    """What trades and holdings must keep, for n intervals and m assets; infinite where nothing is asked.

    Attributes
    ----------
    lower, upper : (n, m) shares
        Of each trade.
    exposures : (k, m)
        Weights of k linear functions of what is held after each trade but the last.
    least, most : (n - 1, k)
        Their limits.
    prices : (m,) currency per share
    value : (n,) currency
        Limit of all assets' traded value together.
    """

    lower: Float
    upper: Float
    exposures: Float
    least: Float
    most: Float
    prices: Float
    value: Float

    def misses(self, shares: Float, holdings: Float) -> float:
        """Largest violation, relative to the size of what is bounded."""
        held = holdings[1:-1] @ self.exposures.T
        sizes = np.abs(holdings).max(axis=0)
        unit = np.abs(self.exposures) @ sizes
        traded = np.abs(shares) @ self.prices
        parts = [
            np.maximum(self.lower - shares, shares - self.upper) / np.where(sizes > 0, sizes, 1.0),
            np.maximum(self.least - held, held - self.most) / np.where(unit > 0, unit, 1.0),
            (traded - self.value) / (traded.max() or 1.0),
        ]
        return max(float(part.max(initial=0.0)) for part in parts)


def solve(
    model: PortfolioModel, orders: Float, bounds: PortfolioBounds, scale: float, limits: Limits
) -> tuple[Float, str, float]:
    """Trades (n, m), the backend, and the largest KKT residual, relative; all backends together within the time.

    Raises
    ------
    OptimizationError
        Bounds that admit no schedule, or no certified answer.
    """
    import cvxpy as cp

    begin, tried = time.monotonic(), []
    size = float(np.sqrt(orders @ model.net_temporary @ orders / len(orders))) or 1.0
    unit = np.maximum(np.abs(orders), size / np.sqrt(np.diag(model.net_temporary)))
    held, cost, constraints = _stated(model, orders, bounds, unit, scale)
    program = cp.Problem(cp.Minimize(cost), constraints)
    for backend in (name for name in BACKENDS if name in cp.installed_solvers()):
        left = limits.timeout_seconds - (time.monotonic() - begin)
        if left <= 0:
            tried.append(f"out of time after {limits.timeout_seconds:g} s, raise timeout_seconds")
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the residual below decides, not the backend's status
            try:
                options = backend_options(backend, replace(limits, timeout_seconds=left))
                program.solve(solver=backend, **options)
            except (cp.SolverError, ValueError, ArithmeticError) as error:
                tried.append(f"{backend}: {' '.join(str(error).split())}")
                continue
        if program.status in ("infeasible", "infeasible_inaccurate"):
            raise OptimizationError(
                "the orders cannot be traded within the caps and exposures together; widen min_exposure and "
                "max_exposure, raise the caps, or lengthen the horizon"
            )
        if held.value is not None:
            residual = _kkt_residual(program)
            if residual <= ACCEPTED:
                holdings = held.value.reshape(-1, len(orders)) * unit
                end = np.zeros((1, len(orders)))
                return (
                    -np.diff(holdings, axis=0, prepend=orders[None], append=end),
                    backend,
                    residual,
                )
            tried.append(f"{backend}: KKT residual {residual:.1e}")
    raise OptimizationError(
        f"no backend's answer is certified to {ACCEPTED:g} ({'; '.join(tried)})"
    )


def _stated(
    model: PortfolioModel, orders: Float, bounds: PortfolioBounds, unit: Float, scale: float
) -> tuple[Any, Any, list[Any]]:
    """What is held, one row after another, the cost and the constraints, in units of `unit` shares and `scale`."""
    import cvxpy as cp

    n, m = bounds.lower.shape
    held = cp.Variable((n - 1) * m)
    before = cp.hstack([orders / unit, held])
    trades = before - cp.hstack([held, np.zeros(m)])
    inside, beside = (2.0 * block * np.outer(unit, unit) / scale for block in model.blocks())
    following = sparse.eye_array(n - 1, k=1)
    form = sparse.kron(sparse.eye_array(n - 1), inside)
    form = form + sparse.kron(following, beside) + sparse.kron(following.T, beside.T)
    # Convex as a whole, which the parts do not show where the permanent impact is not symmetric.
    cost = (
        0.5 * cp.quad_form(held, cp.psd_wrap(sparse.csc_array(form)))
        + (orders / unit @ beside) @ held[:m]
    )
    constraints = _between(trades, (bounds.lower / unit).ravel(), (bounds.upper / unit).ravel())
    if len(bounds.exposures):
        norm = np.linalg.norm(bounds.exposures * unit, axis=1)
        weights = sparse.kron(
            sparse.eye_array(n - 1), bounds.exposures * unit / norm[:, None], format="csr"
        )
        constraints += _between(
            weights @ held, (bounds.least / norm).ravel(), (bounds.most / norm).ravel()
        )
    if np.any(model.half_spread) or np.isfinite(bounds.value).any():
        sells, buys = cp.Variable(n * m, nonneg=True), cp.Variable(n * m, nonneg=True)
        constraints += [trades == sells - buys, sells >= 0, buys >= 0]
        cost = cost + np.tile(model.half_spread * unit / scale, n) @ (sells + buys)
        if np.isfinite(bounds.value).any():
            prices = bounds.prices * unit
            norm = float(np.linalg.norm(prices))
            gross = sparse.kron(sparse.eye_array(n), prices[None] / norm, format="csr")
            constraints += _between(
                gross @ (sells + buys), np.full(n, -np.inf), bounds.value / norm
            )
    return held, cost, constraints


def _between(expression: Any, low: Float, high: Float) -> list[Any]:
    """Constraints low <= expression <= high where they are finite; equal where low is high."""
    same = np.isfinite(low) & (low == high)
    below, above = np.isfinite(low) & ~same, np.isfinite(high) & ~same
    return [
        *([expression[same] == low[same]] if same.any() else []),
        *([expression[below] >= low[below]] if below.any() else []),
        *([expression[above] <= high[above]] if above.any() else []),
    ]


def _kkt_residual(program: Any) -> float:
    """Largest of stationarity, violation and complementarity gap at CVXPY's answer and multipliers, relative."""
    import cvxpy as cp

    cost = program.objective.args[0]
    prices = [np.ravel(constraint.dual_value) for constraint in program.constraints]
    missed = [
        np.ravel(constraint.args[0].value - constraint.args[1].value)
        for constraint in program.constraints
    ]
    paid = sum(
        cp.sum(cp.multiply(price, constraint.args[0] - constraint.args[1]))
        for price, constraint in zip(prices, program.constraints, strict=True)
    )
    slopes, rises = cost.grad, paid.grad
    stationarity = 0.0
    for variable in program.variables():
        slope, rise = (
            np.ravel((part[variable]).todense()) if variable in part else np.zeros(variable.size)
            for part in (slopes, rises)
        )
        size = max(np.abs(slope).max(initial=1e-9), np.abs(rise).max(initial=1e-9))
        stationarity = max(stationarity, float(np.abs(slope + rise).max()) / size)
    violation = max(
        float(
            np.abs(miss).max()
            if isinstance(constraint, cp.constraints.Equality)
            else miss.max(initial=0.0)
        )
        for miss, constraint in zip(missed, program.constraints, strict=True)
    )
    gap = sum(float(np.abs(price @ miss)) for price, miss in zip(prices, missed, strict=True))
    return max(stationarity, violation, gap / max(abs(float(cost.value)), 1e-3))

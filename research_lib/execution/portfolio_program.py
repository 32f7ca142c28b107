r"""Portfolio schedules under bounds, as a quadratic program that CVXPY solves and that is certified here.

.. math:: \min_z \tfrac12 z' P z + q' z \quad \mathrm{s.t.} \quad l \le A z \le u

z holds the holdings, each asset in a unit of its own, and, where spreads or a common cap need sizes, sells
and buys apart. Everything is of the order of 1 and sparse.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from research_lib.errors import OptimizationError
from research_lib.execution.portfolio_model import PortfolioModel
from research_lib.execution.solvers.cvxpy_solver import BACKENDS, backend_options
from research_lib.execution.solvers.problem import Limits

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


@dataclass(frozen=True, eq=False)
class Program:
    """The program in numbers, with each asset's unit, (m,) shares, and (n, m)."""

    quadratic: Any
    linear: Float
    rows: Any
    low: Float
    high: Float
    unit: Float
    shape: tuple[int, int]


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

    begin, program = time.monotonic(), stated(model, orders, bounds, scale)
    z = cp.Variable(len(program.linear))
    cost = 0.5 * cp.quad_form(z, cp.psd_wrap(program.quadratic)) + program.linear @ z
    low, high = np.isfinite(program.low), np.isfinite(program.high)
    same = low & high & (program.low == program.high)
    low, high = low & ~same, high & ~same
    equal = program.rows[same] @ z == program.low[same]
    above, below = program.rows[low] @ z >= program.low[low], program.rows[high] @ z <= program.high[high]
    problem, found = cp.Problem(cp.Minimize(cost), [equal, above, below]), []
    for backend in (name for name in BACKENDS if name in cp.installed_solvers()):
        left = limits.timeout_seconds - (time.monotonic() - begin)
        if left <= 0:
            found.append(f"out of time after {limits.timeout_seconds:g} s, raise timeout_seconds")
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the residual below decides, not the backend's status
            try:
                options = backend_options(backend, replace(limits, timeout_seconds=left))
                problem.solve(solver=backend, **options)
            except (cp.SolverError, ValueError, ArithmeticError) as error:
                found.append(f"{backend}: {' '.join(str(error).split())}")
                continue
        if problem.status in ("infeasible", "infeasible_inaccurate"):
            raise OptimizationError(
                "the orders cannot be traded within the caps and exposures together; widen min_exposure and "
                "max_exposure, raise the caps, or lengthen the horizon"
            )
        if z.value is not None:
            prices = np.zeros(len(program.low))
            for rows, constraint, sign in ((same, equal, 1.0), (low, above, -1.0), (high, below, 1.0)):
                given = np.ravel(constraint.dual_value)
                prices[rows] += given if constraint is equal else sign * np.maximum(given, 0.0)
            residual = kkt_residual(program, z.value, prices)
            if residual <= ACCEPTED:
                return _trades(program, orders, z.value), backend, residual
            found.append(f"{backend}: KKT residual {residual:.1e}")
    raise OptimizationError(f"no backend's answer is certified to {ACCEPTED:g} ({'; '.join(found)})")


def stated(model: PortfolioModel, orders: Float, bounds: PortfolioBounds, scale: float) -> Program:
    """The program with shares in units of like temporary cost and `scale` currency as 1."""
    n, m = bounds.lower.shape
    size = float(np.sqrt(orders @ model.net_temporary @ orders / m))
    unit = np.maximum(np.abs(orders), (size or 1.0) / np.sqrt(np.diag(model.net_temporary)))
    inside, beside = (2.0 * block * np.outer(unit, unit) / scale for block in model.blocks())
    following = sparse.eye_array(n - 1, k=1)
    quadratic = sparse.kron(sparse.eye_array(n - 1), inside)
    quadratic = quadratic + sparse.kron(following, beside) + sparse.kron(following.T, beside.T)
    linear = np.zeros((n - 1, m))
    linear[:1] = orders / unit @ beside
    steps = sparse.eye_array(n, n - 1, k=-1) - sparse.eye_array(n, n - 1)  # trades of holdings
    trades = sparse.kron(steps, sparse.eye_array(m))
    fixed = np.zeros((n, m))  # what the orders themselves add to the trades
    fixed[0] = orders / unit
    weights = bounds.exposures * unit
    norm = np.linalg.norm(weights, axis=1)
    held = sparse.kron(sparse.eye_array(n - 1), weights / norm[:, None])
    low = [(bounds.lower / unit - fixed).ravel(), (bounds.least / norm).ravel()]
    high = [(bounds.upper / unit - fixed).ravel(), (bounds.most / norm).ravel()]
    program = _Parts(quadratic, linear.ravel(), [[trades], [held]], low, high)
    if np.any(model.half_spread) or np.isfinite(bounds.value).any():
        program = _with_sizes(program, -fixed.ravel(), np.tile(model.half_spread * unit / scale, n), bounds, unit)
    return Program(
        sparse.csc_array(program.quadratic),
        program.linear,
        sparse.csr_array(sparse.block_array(program.rows)),
        np.concatenate(program.low),
        np.concatenate(program.high),
        unit,
        (n, m),
    )


class _Parts(NamedTuple):
    quadratic: Any
    linear: Float
    rows: list[list[Any]]
    low: list[Float]
    high: list[Float]


def _with_sizes(parts: _Parts, start: Float, spread: Float, bounds: PortfolioBounds, unit: Float) -> _Parts:
    """The program with sells and buys apart, both at least 0: trades are one less the other, sizes their sum."""
    (trades,), (held,) = parts.rows
    sizes, n = len(spread), len(bounds.value)
    one, empty = sparse.eye_array(sizes), sparse.csr_array((sizes, trades.shape[1]))
    rows = [[trades, None, None], [held, None, None], [trades, -one, one], [empty, one, None], [None, None, one]]
    low, high = [*parts.low, start, np.zeros(2 * sizes)], [*parts.high, start, np.full(2 * sizes, np.inf)]
    if np.isfinite(bounds.value).any():
        prices = bounds.prices * unit
        gross = sparse.kron(sparse.eye_array(n), prices[None] / np.linalg.norm(prices))
        rows.append([None, gross, gross])
        low.append(np.full(n, -np.inf))
        high.append(bounds.value / np.linalg.norm(prices))
    quadratic = sparse.block_diag([parts.quadratic, sparse.csr_array((2 * sizes, 2 * sizes))])
    return _Parts(quadratic, np.concatenate([parts.linear, spread, spread]), rows, low, high)


def kkt_residual(program: Program, z: Float, prices: Float) -> float:
    """Largest of stationarity, violation and relative gap at z for multipliers `prices`, above 0 at upper limits."""
    curved = program.quadratic @ z
    pushed = program.rows.T @ prices
    size = max(np.abs(part).max(initial=1e-9) for part in (curved, program.linear, pushed))
    stationarity = float(np.abs(curved + program.linear + pushed).max()) / size
    at = program.rows @ z
    violation = float(np.maximum(np.maximum(program.low - at, at - program.high), 0.0).max(initial=0.0))
    with np.errstate(invalid="ignore"):  # an infinite limit has no price
        paid = np.where(prices > 0, prices * program.high, np.where(prices < 0, prices * program.low, 0.0))
    cost = float(z @ curved / 2 + program.linear @ z)
    gap = float(z @ curved + program.linear @ z + paid.sum()) / max(abs(cost), 1e-3)
    return max(stationarity, violation, abs(gap))


def _trades(program: Program, orders: Float, z: Float) -> Float:
    n, m = program.shape
    held = z[: (n - 1) * m].reshape(n - 1, m) * program.unit
    return -np.diff(held, axis=0, prepend=orders[None], append=np.zeros((1, m)))

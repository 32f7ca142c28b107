r"""What a schedule of several assets costs and risks, and its optimum, free or under bounds.

In holdings x_k after the trades n_k = x_(k-1) - x_k, cost plus risk is a constant plus the
quadratic form

.. math:: \sum_k \epsilon' |n_k| + n_k' \tfrac1\tau \tilde H n_k + x_k' \Gamma^A x_{k-1}
          + \lambda \tau x_k' C x_k, \quad \tilde H = H^S - \tfrac\tau2 \Gamma^S,

of S symmetric and A antisymmetric parts: block-tridiagonal, and diagonal in the modes of C u = mu
H~ u where the permanent impact is symmetric. Bounds go to CVXPY as a quadratic programme in what is
held.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import eigh, solveh_banded

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.almgren_chriss import trajectory
from research_lib.execution.cvxpy_solver import BACKENDS, backend_options
from research_lib.execution.fallback import Limits

Float = NDArray[np.float64]
TOLERANCE = 1e-10  # asked of the backends
ACCEPTED = 1e-6


@dataclass(frozen=True, eq=False)
class PortfolioModel:
    """The market of m assets, checked.

    Attributes
    ----------
    covariance : (m, m) (currency per share)**2 per time
        Positive semi-definite.
    temporary : (m, m) currency per share per (share per time)
        [i, j]: fall of asset i's price while j is sold at rate 1.
    permanent : (m, m) currency per share**2
        [i, j]: lasting fall of asset i's price per share of j sold.
    half_spread : (m,) currency per share
    risk_aversion : per currency
    interval : time
    """

    covariance: Float
    temporary: Float
    permanent: Float
    half_spread: Float
    risk_aversion: float
    interval: float

    def __post_init__(self) -> None:
        lowest, highest = np.linalg.eigvalsh(self.covariance)[[0, -1]]
        if lowest < -1e-10 * highest:
            raise ValidationError(
                "covariance must be positive semi-definite, its lowest eigenvalue is "
                f"{lowest:.3g}; "
                "shrink the correlations, or estimate them on common days"
            )
        net = np.diag(self.net_temporary)
        scale = np.sqrt(np.abs(net))
        if (net <= 0).any() or np.linalg.eigvalsh(self._scaled(1.0 / scale))[0] <= 1e-12:
            raise ValidationError(
                "temporary less permanent * interval / 2 must be positive definite in its "
                "symmetric "
                "part, or trades would be paid for; shorten the interval, or lower the cross impact"
            )

    @property
    def net_temporary(self) -> Float:
        """H~, (m, m), symmetric."""
        return symmetric(self.temporary) - 0.5 * self.interval * symmetric(self.permanent)

    @property
    def twist(self) -> Float:
        """The antisymmetric part of permanent, (m, m): the cost depends on who goes first."""
        return 0.5 * (self.permanent - self.permanent.T)

    def _scaled(self, unit: Float) -> Float:
        return self.net_temporary * np.outer(unit, unit)

    def blocks(self) -> tuple[Float, Float]:
        """The form's blocks (m, m): of x_k with itself, and of x_(k-1), rows, with x_k, columns."""
        net = self.net_temporary / self.interval
        inside = 2.0 * net + self.risk_aversion * self.interval * self.covariance
        return inside, -net - 0.5 * self.twist

    def optimum(self, orders: Float, n: int) -> tuple[Float, str]:
        """Trades, (n, m), without bounds or spreads, and how they were found.

        Raises
        ------
        OptimizationError
            No least value: too risk-seeking, or permanent impact whose round trips gain.
        """
        unit = 1.0 / np.sqrt(np.diag(self.net_temporary))
        if np.any(self.twist):
            return self._banded(orders / unit, n, unit) * unit, "block-tridiagonal"
        return self._by_modes(orders / unit, n, unit) * unit, "modes"

    def _by_modes(self, orders: Float, n: int, unit: Float) -> Float:
        """One tridiagonal system a mode."""
        net = self._scaled(unit)
        ratios, modes = eigh(self.covariance * np.outer(unit, unit), net)
        pulls = self.risk_aversion * self.interval**2 * ratios
        least = -4.0 * math.sin(math.pi / (2 * n)) ** 2
        if n > 1 and self.risk_aversion < 0 and pulls.min() <= least:
            raise OptimizationError(
                f"risk_aversion {self.risk_aversion:.6g} must be above "
                f"{least * self.risk_aversion / pulls.min():.6g}: at or below it, cost plus risk "
                "falls without limit; raise it or shorten the horizon"
            )
        start = modes.T @ net @ orders
        paths = [trajectory(float(z), n, float(pull)) for z, pull in zip(start, pulls, strict=True)]
        return np.asarray(np.transpose(paths) @ modes.T)

    def _banded(self, orders: Float, n: int, unit: Float) -> Float:
        """All holdings at once, by the Cholesky factor of a band of 2 m - 1."""
        if n == 1:
            return orders[None]
        inside, beside = (block * np.outer(unit, unit) for block in self.blocks())
        right = np.zeros((n - 1, len(orders)))
        right[0] = -beside.T @ orders
        try:
            held = solveh_banded(_bands(inside, beside, n - 1), right.ravel()).reshape(right.shape)
        except np.linalg.LinAlgError as error:
            raise OptimizationError(
                "cost plus risk falls without limit: the antisymmetric part of permanent, "
                f"{np.abs(self.twist).max():.3g} at most, lets round trips across assets gain more "
                "than temporary impact takes; lower it, lengthen no horizon, or raise risk_aversion"
            ) from error
        return -np.diff(held, axis=0, prepend=orders[None], append=np.zeros((1, len(orders))))

    def stationarity(self, holdings: Float) -> float:
        """Largest slope of the form in what is held between the trades, relative to its parts.

        Each asset in the unit of `optimum`; 0 of an optimum without bounds, but for rounding.
        """
        unit = 1.0 / np.sqrt(np.diag(self.net_temporary))
        inside, beside = self.blocks()
        before, held, after = holdings[:-2], holdings[1:-1], holdings[2:]
        parts = [unit * part for part in (held @ inside, before @ beside, after @ beside.T)]
        size = max(float(np.abs(part).max(initial=0.0)) for part in parts)
        return float(np.abs(np.sum(parts, axis=0)).max(initial=0.0)) / (size or 1.0)

    def attribution(self, shares: Float, holdings: Float) -> pd.DataFrame:
        """Cost and variance by asset, each column summing to the portfolio's: see
        PortfolioSchedule.
        """
        after, tau = holdings[1:], self.interval
        spread = self.half_spread * np.abs(shares).sum(axis=0)
        paid = np.sum(shares * (shares @ self.temporary.T), axis=0) / tau
        lasting = np.sum(after * (shares @ self.permanent.T), axis=0)
        caused = np.sum(shares * (shares @ self.temporary), axis=0) / tau
        caused += np.sum(shares * (after @ self.permanent), axis=0)
        columns = {
            "temporary": paid,
            "permanent": lasting,
            "spread": spread,
            "cost": paid + lasting + spread,
            "caused": caused + spread,
            "variance": tau * np.sum(after * (after @ self.covariance), axis=0),
        }
        return pd.DataFrame(columns)

    def variance(self, holdings: Float) -> float:
        """Of the cost, currency**2: 0 where a hedge leaves nothing but rounding, of either sign."""
        after = holdings[1:]
        value = float(np.sum(after * (after @ self.covariance)))
        gross = float(np.sum(np.abs(after) * (np.abs(after) @ np.abs(self.covariance))))
        return self.interval * value if value > 1e-14 * gross else 0.0


def symmetric(matrix: Float) -> Float:
    """(M + M') / 2."""
    return 0.5 * (matrix + matrix.T)


def _bands(inside: Float, beside: Float, n: int) -> Float:
    """Upper bands, (2 m, n m), of the matrix of n blocks `inside`, `beside` above them."""
    m = len(inside)
    last = 2 * m - 1
    bands = np.zeros((2 * m, n * m))
    for row in range(m):
        for column in range(m):
            if row <= column:
                bands[last + row - column, column::m] = inside[row, column]
            bands[last + row - column - m, m + column :: m] = beside[row, column]
    return bands


@dataclass(frozen=True, eq=False)
class PortfolioBounds:
    """What trades and holdings must keep, for n intervals and m assets; infinite: no bound.

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
    """Trades (n, m), the backend, and the largest KKT residual, relative; within one time limit.

    Raises
    ------
    OptimizationError
        Bounds that admit no schedule, or no certified answer.
    """
    import cvxpy as cp

    begin, tried = time.monotonic(), []
    size = float(np.sqrt(orders @ model.net_temporary @ orders / len(orders))) or 1.0
    unit = np.maximum(np.abs(orders), size / np.sqrt(np.diag(model.net_temporary)))
    programme = _Programme(model, orders, bounds, unit, scale)
    for backend in (name for name in BACKENDS if name in cp.installed_solvers()):
        left = limits.timeout_seconds - (time.monotonic() - begin)
        if left <= 0:
            tried.append(f"out of time after {limits.timeout_seconds:g} s, raise timeout_seconds")
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the residual below decides, not the backend's status
            try:
                options = backend_options(backend, replace(limits, timeout_seconds=left))
                programme.problem.solve(solver=backend, **options)
            except (cp.SolverError, ValueError, ArithmeticError) as error:
                tried.append(f"{backend}: {' '.join(str(error).split())}")
                continue
        if programme.problem.status in ("infeasible", "infeasible_inaccurate"):
            raise OptimizationError(
                "the orders cannot be traded within the caps and exposures together; widen "
                "min_exposure and max_exposure, raise the caps, or lengthen the horizon"
            )
        if programme.z.value is not None:
            residual = programme.residual()
            if residual <= ACCEPTED:
                held = programme.z.value[: (len(bounds.lower) - 1) * len(orders)]
                path = held.reshape(-1, len(orders)) * unit
                end = np.zeros((1, len(orders)))
                return -np.diff(path, axis=0, prepend=orders[None], append=end), backend, residual
            tried.append(f"{backend}: KKT residual {residual:.1e}")
    reasons = "; ".join(tried)
    raise OptimizationError(f"no backend's answer is certified to {ACCEPTED:g} ({reasons})")


class _Programme:
    """min 1/2 z'Pz + q'z, low <= A z <= high; z is what is held, and sells and buys where priced.

    Each asset in a unit of its own, cost in units of what the free optimum costs.
    """

    def __init__(
        self,
        model: PortfolioModel,
        orders: Float,
        bounds: PortfolioBounds,
        unit: Float,
        cost: float,
    ) -> None:
        import cvxpy as cp

        (n, m), eye = bounds.lower.shape, sparse.eye_array
        inside, beside = (2.0 * block * np.outer(unit, unit) / cost for block in model.blocks())
        following = eye(n - 1, k=1)
        p = sparse.kron(eye(n - 1), inside) + sparse.kron(following, beside)
        p = p + sparse.kron(following.T, beside.T)
        q = np.zeros((n - 1) * m)
        q[:m] = orders / unit @ beside
        first = np.append(orders / unit, np.zeros((n - 1) * m))
        moves = sparse.kron(eye(n, n - 1, k=-1) - eye(n, n - 1), eye(m))  # trades: moves z + first
        norm = np.linalg.norm(bounds.exposures * unit, axis=1)
        weights = sparse.kron(eye(n - 1), bounds.exposures * unit / norm[:, None])
        rows = [
            (moves, (bounds.lower / unit).ravel() - first, (bounds.upper / unit).ravel() - first),
            (weights, (bounds.least / norm).ravel(), (bounds.most / norm).ravel()),
        ]
        if np.any(model.half_spread) or np.isfinite(bounds.value).any():
            size = n * m
            p = sparse.block_diag([p, sparse.csc_array((2 * size, 2 * size))])
            q = np.append(q, np.tile(model.half_spread * unit / cost, 2 * n))
            none, one = sparse.csc_array((size, (n - 1) * m)), eye(size)
            rows = [(sparse.hstack([a, sparse.csc_array((a.shape[0], 2 * size))]), low, high)
                    for a, low, high in rows]  # fmt: skip
            rows.append((sparse.hstack([moves, -one, one]), -first, -first))
            rows.append(
                (sparse.hstack([none, one, 0 * one]), np.zeros(size), np.full(size, np.inf))
            )
            rows.append(
                (sparse.hstack([none, 0 * one, one]), np.zeros(size), np.full(size, np.inf))
            )
            if np.isfinite(bounds.value).any():
                prices = bounds.prices * unit / np.linalg.norm(bounds.prices * unit)
                gross = sparse.kron(eye(n), prices[None])
                limit = bounds.value / np.linalg.norm(bounds.prices * unit)
                rows.append((sparse.hstack([none[:n], gross, gross]), np.full(n, -np.inf), limit))
        self.p, self.q = sparse.csc_array(p), q
        a = sparse.csr_array(sparse.vstack([row[0] for row in rows]))
        low, high = (np.concatenate([row[k] for row in rows]) for k in (1, 2))
        same = np.isfinite(low) & (low == high)
        self.z = cp.Variable(len(q))
        self.sides = [(a[chosen], sign, end[chosen]) for chosen, sign, end in (
            (same, 0, low), (np.isfinite(high) & ~same, 1, high),
            (np.isfinite(low) & ~same, -1, low),
        )]  # fmt: skip
        self.constraints = [
            part @ self.z == end if sign == 0 else sign * (part @ self.z) <= sign * end
            for part, sign, end in self.sides
        ]
        # Convex as a whole, which its parts do not show where permanent impact is not symmetric.
        objective = 0.5 * cp.quad_form(self.z, cp.psd_wrap(self.p)) + self.q @ self.z
        self.problem = cp.Problem(cp.Minimize(objective), self.constraints)

    def residual(self) -> float:
        """Largest of stationarity, violation and complementarity gap at the answer, relative."""
        z = np.asarray(self.z.value)
        slope = self.p @ z + self.q
        pulled, violation, gap = np.zeros(len(z)), 0.0, 0.0
        for (a, sign, end), constraint in zip(self.sides, self.constraints, strict=True):
            if not len(end):
                continue
            price, miss = np.ravel(constraint.dual_value), (a @ z - end) * (sign or 1)
            pulled += a.T @ price * (sign or 1)
            violation = max(violation, float(np.max(miss if sign else np.abs(miss))))
            gap += abs(float(price @ miss))
        cost = abs(0.5 * float(z @ (slope + self.q)))
        size = max(float(np.abs(slope).max()), float(np.abs(pulled).max()), 1e-9)
        return max(float(np.abs(slope + pulled).max()) / size, violation, gap / max(cost, 1e-3))

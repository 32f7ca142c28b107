r"""What a schedule of several assets costs and risks, and its exact optimum where nothing but the orders binds.

In holdings x_k after the trades n_k = x_(k-1) - x_k, cost plus risk is a constant plus the quadratic form

.. math:: \sum_k n_k' \tfrac1\tau \tilde H n_k + x_k' \Gamma^A x_{k-1} + \lambda \tau x_k' C x_k,
          \quad \tilde H = H^S - \tfrac\tau2 \Gamma^S,

of S symmetric and A antisymmetric parts: block-tridiagonal, and diagonal in the modes of C u = mu H~ u
where the permanent impact is symmetric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh, solveh_banded

from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution.almgren_chriss import trajectory

Float = NDArray[np.float64]


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
                f"covariance must be positive semi-definite, its lowest eigenvalue is {lowest:.3g}; "
                "shrink the correlations, or estimate them on common days"
            )
        net = self.net_temporary
        scale = np.sqrt(np.abs(np.diag(net)))
        if (
            np.any(np.diag(net) <= 0)
            or np.linalg.eigvalsh(net / np.outer(scale, scale))[0] <= 1e-12
        ):
            raise ValidationError(
                "temporary less permanent * interval / 2 must be positive definite in its symmetric part, or trades "
                "would be paid for; shorten the interval, or lower the cross impact"
            )

    @property
    def net_temporary(self) -> Float:
        """H~, (m, m), symmetric."""
        return symmetric(self.temporary) - 0.5 * self.interval * symmetric(self.permanent)

    @property
    def twist(self) -> Float:
        """The antisymmetric part of the permanent impact, (m, m): it makes the cost depend on who goes first."""
        return 0.5 * (self.permanent - self.permanent.T)

    def optimum(self, orders: Float, n: int) -> tuple[Float, str]:
        """Trades, (n, m), without bounds or spreads, and how they were found.

        Raises
        ------
        OptimizationError
            No least value: risk loved too much, or permanent impact whose round trips gain.
        """
        unit = 1.0 / np.sqrt(np.diag(self.net_temporary))
        if np.any(self.twist):
            return self._banded(orders / unit, n, unit) * unit, "block-tridiagonal"
        return self._by_modes(orders / unit, n, unit) * unit, "modes"

    def _by_modes(self, orders: Float, n: int, unit: Float) -> Float:
        """One tridiagonal system a mode."""
        net, risk = (
            matrix * np.outer(unit, unit) for matrix in (self.net_temporary, self.covariance)
        )
        ratios, modes = eigh(risk, net)
        pulls = self.risk_aversion * self.interval**2 * ratios
        least = -4.0 * math.sin(math.pi / (2 * n)) ** 2
        if n > 1 and self.risk_aversion < 0 and pulls.min() <= least:
            raise OptimizationError(
                f"risk_aversion {self.risk_aversion:.6g} must be above {least * self.risk_aversion / pulls.min():.6g}: "
                "at or below it, cost plus risk falls without limit; raise it or shorten the horizon"
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
                f"{np.abs(self.twist).max():.3g} at most, lets round trips across assets gain more than temporary "
                "impact takes; lower it, lengthen no horizon, or raise risk_aversion"
            ) from error
        return -np.diff(held, axis=0, prepend=orders[None], append=np.zeros((1, len(orders))))

    def blocks(self) -> tuple[Float, Float]:
        """The form's blocks (m, m): of x_k with itself, and of x_(k-1), rows, with x_k, columns."""
        net = self.net_temporary / self.interval
        inside = 2.0 * net + self.risk_aversion * self.interval * self.covariance
        return inside, -net - 0.5 * self.twist

    def stationarity(self, holdings: Float) -> float:
        """Largest slope of the form in what is held between the trades, relative to the largest part it is made of.

        Each asset in the unit of `optimum`; 0 of an optimum without bounds, but for rounding.
        """
        unit = 1.0 / np.sqrt(np.diag(self.net_temporary))
        inside, beside = self.blocks()
        before, held, after = holdings[:-2], holdings[1:-1], holdings[2:]
        parts = [unit * part for part in (held @ inside, before @ beside, after @ beside.T)]
        size = max(float(np.abs(part).max(initial=0.0)) for part in parts)
        return float(np.abs(np.sum(parts, axis=0)).max(initial=0.0)) / (size or 1.0)

    def attribution(self, shares: Float, holdings: Float) -> pd.DataFrame:
        """Cost and variance by asset, each column summing to the portfolio's.

        Returns
        -------
        DataFrame (m rows)
            temporary, permanent, spread and their sum cost: what the trades and holdings of an asset pay, whoever
            moved its price; caused: what its own trades cost all assets; all in currency. variance: its
            covariance with the whole, currency**2.
        """
        after, tau = holdings[1:], self.interval
        table = pd.DataFrame(
            {
                "temporary": np.sum(shares * (shares @ self.temporary.T), axis=0) / tau,
                "permanent": np.sum(after * (shares @ self.permanent.T), axis=0),
                "spread": self.half_spread * np.abs(shares).sum(axis=0),
            }
        )
        table["cost"] = table.sum(axis=1)
        caused = np.sum(shares * (shares @ self.temporary), axis=0) / tau + np.sum(
            shares * (after @ self.permanent), axis=0
        )
        table["caused"] = caused + table["spread"]
        table["variance"] = tau * np.sum(after * (after @ self.covariance), axis=0)
        return table


def symmetric(matrix: Float) -> Float:
    """(M + M') / 2."""
    return 0.5 * (matrix + matrix.T)


def _bands(inside: Float, beside: Float, n: int) -> Float:
    """Upper bands, (2 m, n m), of the block-tridiagonal matrix of n equal blocks `inside`, `beside` above them."""
    m = len(inside)
    last = 2 * m - 1
    bands = np.zeros((2 * m, n * m))
    for row in range(m):
        for column in range(m):
            if row <= column:
                bands[last + row - column, column::m] = inside[row, column]
            bands[last + row - column - m, m + column :: m] = beside[row, column]
    return bands

"""The expected cost of trading on a synthetic market, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from research_lib.config import Record
from research_lib.errors import ValidationError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class TrueCurve(Record):
    r"""Expected slippage of walking the synthetic book, one curve an interval.

    With X_k the size of the first k levels, G_k the price from level k to level k + 1,
    independent of X_k, and h_t the expected half-spread, an order of x shares costs,
    beyond the mid,

    .. math:: E[C_t(x)] = h_t x + \sum_{k \ge 1} E[G_k] \, E[(x - X_k)^+]

    because every share beyond X_k pays G_k more. Level sizes are one lot plus a
    negative binomial number of lots, independent across levels and of one common
    overdispersion, so X_k is k lots plus a negative binomial and each expectation is a
    closed form. It concerns one time at a time: autocorrelation does not enter.

    The sum ends at the last of the K levels kept, and an order that walks further would
    seem to get cheaper. So impact, slippage and cost are NaN, interval by interval, for x
    above `largest_order`, the shares that K levels hold all but surely; below it what the
    sum leaves out is negligible. The synthetic market keeps 200 levels.

    Attributes
    ----------
    half_spread : (n,) currency per share
    level_mean : (n, K) shares
        Expected size of level k beyond its first lot.
    dispersion : float
        Variance over mean of a level's size beyond its first lot, minus one lot, shares.
    gap : (K,) currency per share
        Expected price from level k to level k + 1.
    lot_size : float
        Shares.
    """

    half_spread: Float
    level_mean: Float
    dispersion: float
    gap: Float
    lot_size: float = 1.0

    @property
    def largest_order(self) -> Float:
        r"""Limit of the curve, (n,) shares: four standard deviations of X_K below its mean, at least K lots.

        With M the sum of `level_mean`, X_K has mean K lots + M and variance M (dispersion + lot).
        """
        certain, beyond = self.lot_size * self.level_mean.shape[1], self.level_mean.sum(axis=1)
        return certain + np.maximum(
            beyond - 4.0 * np.sqrt(beyond * (self.dispersion + self.lot_size)), 0.0
        )

    def impact(self, x: ArrayLike) -> Float:
        """Expected average premium over the touch of x shares, scalar or (n,) -> (n,) currency per share.

        NaN above `largest_order`. Raises ValidationError for negative shares and for any other shape.
        """
        shares = self._shares(x)
        beyond = shares[:, None] / self.lot_size - np.arange(1, self.level_mean.shape[1] + 1)
        premium = self.lot_size * self._expected_excess(beyond) @ self.gap
        average = np.divide(premium, shares, out=np.zeros_like(premium), where=shares > 0)
        return np.where(shares <= self.largest_order, average, np.nan)

    def slippage(self, x: ArrayLike) -> Float:
        """Expected average price beyond the mid, scalar or (n,) shares -> (n,) currency per share; NaN as `impact`."""
        return self.half_spread + self.impact(x)

    def cost(self, x: ArrayLike) -> Float:
        """Expected cost beyond the mid of x shares, scalar or (n,) -> (n,) currency; NaN as `impact`."""
        return np.asarray(x, float) * self.slippage(x)

    def _shares(self, x: ArrayLike) -> Float:
        """Unsigned shares of every interval, (n,)."""
        shares, n = np.asarray(x, float), len(self.half_spread)
        if shares.shape not in ((), (1,), (n,)):
            raise ValidationError(
                f"x has shape {shares.shape}, the curve {n} intervals; give one size or {n}"
            )
        shares = np.broadcast_to(shares, (n,))
        if (shares < 0).any():
            t = int(np.argmax(shares < 0))
            raise ValidationError(
                f"x must be at least 0 shares, interval {t} has {shares[t]:g}; a sell costs alike"
            )
        return shares

    def _expected_excess(self, y: Float) -> Float:
        """E[(y - N)^+] in lots, for N negative binomial with mean cumulative `level_mean`, (n, K)."""
        mean, dispersion = (
            np.cumsum(self.level_mean, axis=1) / self.lot_size,
            self.dispersion / self.lot_size,
        )
        size, p = mean / dispersion, 1.0 / (1.0 + dispersion)
        below = np.floor(y)
        excess = y * stats.nbinom.cdf(below, size, p) - mean * stats.nbinom.cdf(
            below - 1, size + 1, p
        )
        return np.where(y > 0, excess, 0.0)

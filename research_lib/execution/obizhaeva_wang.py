"""Obizhaeva and Wang's schedule: impact that decays at one exponential rate, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record, number
from research_lib.impact.transient import trade_times

Float = NDArray[np.float64]


def obizhaeva_wang(total_shares: float, times: ArrayLike, decay: float) -> Float:
    r"""The cheapest schedule under G(lag) = exp(-decay lag), on any grid.

    .. math:: x_1 = \frac{\nu}{2} (1 + d_1), \quad x_i = \frac{\nu}{2} (d_{i-1} + d_i), \quad
              x_n = \frac{\nu}{2} (1 + d_{n-1}), \qquad d_i = \tanh \frac{\rho (t_{i+1} - t_i)}{2},
              \quad \nu = \frac{2 S}{2 + 2 \sum_i d_i}

    which is G^-1 1 in proportion to the order: the inverse is tridiagonal. On a regular grid, with
    e = exp(-rho tau), the ends are x0 = S / (2 + (n - 2)(1 - e)) and all others x0 (1 - e). Without
    decay every split costs the same, and its limit trades half at each end; at infinite decay it is TWAP.

    Parameters
    ----------
    total_shares : float
        S, shares of any sign.
    times : (n,) strictly rising
    decay : float
        rho >= 0, per unit of time; inf is allowed.

    Returns
    -------
    (n,) shares, each of the order's sign.

    Raises
    ------
    ValidationError
        Times that do not rise, a negative decay.

    References
    ----------
    Obizhaeva and Wang (2013), Optimal trading strategy and supply/demand dynamics, Journal of
    Financial Markets 16, 1-32. Alfonsi, Fruth and Schied (2010), Optimal execution strategies in
    limit order books with general shape functions, Quantitative Finance 10, 143-157.
    """
    at, shares = trade_times(times), number("total_shares", total_shares)
    rate = decay if decay == np.inf else number("decay", decay, 0)
    lost = np.tanh(0.5 * rate * np.diff(at))
    if len(at) == 1:
        return np.array([shares])
    weights = np.append(1.0, lost) + np.append(lost, 1.0)
    return np.asarray(shares * (weights / weights.sum()))


@dataclass(frozen=True)
class ContinuousSplit(Record):
    """`obizhaeva_wang` in the limit of ever more trades.

    Attributes
    ----------
    block : shares
        Traded at once at the start, and again at the end.
    rate : shares per unit of time
        Traded in between, without pause.
    cost : currency per (currency per share**2)
        1/2 x'Gx for a kernel of scale 1.
    """

    block: float
    rate: float
    cost: float


def obizhaeva_wang_limit(total_shares: float, horizon: float, decay: float) -> ContinuousSplit:
    r"""The limit of continuous trading: blocks S / (2 + rho T) at both ends, rate rho block in between.

    The displacement of the price stays where the first block puts it, scale times block, and the cost
    is scale S^2 / (2 + rho T). Without decay that is scale S^2 / 2, what the whole order in one block costs,
    for each trade pays half of its own impact; it falls to none at infinite decay.

    Parameters
    ----------
    total_shares : float
        S, shares of any sign.
    horizon : float
        T > 0.
    decay : float
        rho >= 0, per unit of time.

    References
    ----------
    Obizhaeva and Wang (2013), section 6.
    """
    shares, end = number("total_shares", total_shares), number("horizon", horizon, above=0)
    rho = number("decay", decay, 0)
    block = shares / (2.0 + rho * end)
    return ContinuousSplit(block, rho * block, shares * block)

"""Prices under decaying impact: the path of a schedule, and a market whose kernel is known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, per_interval, same_labels
from research_lib.config import Limited, Record, limited
from research_lib.impact import ExponentialSumKernel, Kernel, at_lags, kernel_matrix, trade_times
from research_lib.impact.kernels import displaced, evenly_spaced
from research_lib.market import BookSnapshots, OrderFlow, Trades

OPENING = 1_704_205_800_000_000_000  # 2024-01-02 09:30 New York
BASE_PRICE, HALF_SPREAD, LEVEL_GAP = 100.0, 0.02, 0.02  # of the market below, currency
TRADE_DELAY = 1_000_000  # a trade, and the book after it, come 1 ms after the book that it met


@dataclass(frozen=True, eq=False)
class PricePath(Record):
    """What a schedule does to the price, all arrays (n,), prices relative to the untouched mid.

    Attributes
    ----------
    times : unit of time of the kernel
    shares : signed, a buy is positive
    before, after : currency per share
        Displacement of the mid just before and just after each trade.
    paid : currency per share
        Average price of each trade: half of its own displacement.
    cost : currency
        sum_i shares_i paid_i.

    Examples
    --------
    >>> path = price_path(ExponentialSumKernel(0.0, 1.0), [0, 1], [2, 1])
    >>> path.after.tolist(), path.cost
    ([2.0, 3.0], 4.5)
    """

    times: Float
    shares: Float
    before: Float
    after: Float
    paid: Float
    cost: float


def price_path(
    kernel: Kernel, times: ArrayLike, shares: ArrayLike, *,
    response: Callable[[Float], Any] | None = None,
) -> PricePath:  # fmt: skip
    r"""The mid under a schedule, and what the schedule pays.

    .. math::
        p_i^- = \sum_{j < i} f(x_j) G(t_i - t_j), \qquad
        \mathrm{paid}_i = p_i^- + \tfrac12 f(x_i) G(0)

    A trade pays half of its own displacement, so with f(x) = x the cost is 1/2 x'Gx. A permanent
    component is part of the kernel. O(n log n) on a regular grid, else O(n^2).

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags.
    times : (n,) strictly rising, unit of time of the kernel
    shares : (n,) signed, a buy is positive
        A Series is aligned with the labels of `times`, or with the numbers 0 to n - 1.
    response : callable, optional
        f of the (n,) shares, elementwise; f(x) = x by default. Other shapes admit price
        manipulation under an exponential kernel (Gatheral 2010).

    Raises
    ------
    ValidationError
        Shapes or labels that disagree, also the shape of what `response` returns; times that do
        not rise; a kernel that is no function or not finite.

    References
    ----------
    Gatheral (2010), No-dynamic-arbitrage and market impact, Quantitative Finance 10, 749-759.

    Examples
    --------
    Half of the displacement of the first trade is gone when the second comes:

    >>> from research_lib.impact import ExponentialKernel
    >>> path = price_path(ExponentialKernel(decay=np.log(2)), times=[0, 1], shares=[100, 100])
    >>> path.before.round(9).tolist(), path.paid.round(9).tolist(), round(path.cost, 6)
    ([0.0, 50.0], [50.0, 100.0], 15000.0)
    """
    at = trade_times(np.asarray(times))
    labels, n = times.index if isinstance(times, pd.Series) else range(len(at)), len(at)
    aligned = np.asarray(same_labels("shares", shares, labels))
    traded = per_interval("shares", aligned, n, -np.inf)
    moving = per_interval("response", response(traded), n, -np.inf) if response else traded
    own = moving * at_lags(kernel, np.zeros(1))[0]
    if evenly_spaced(at):
        before = displaced(at_lags(kernel, at - at[0]), moving)
    else:
        before = np.tril(kernel_matrix(kernel, at), -1) @ moving
    paid = before + 0.5 * own
    return PricePath(at, traded, before, before + own, paid, float(traded @ paid))


@dataclass(frozen=True)
class TransientMarket(Limited):
    r"""Trades of long memory in the block-shaped book of Obizhaeva and Wang: its kernel is known.

    With x_s the signed shares traded at s, G the kernel of the mid, q the block depth, rho the
    resilience and lambda the permanent impact,

    .. math::
        m_t = m_0 + \sum_{s<t} G(t - s) x_s + \sigma W_t, \qquad
        h_t = h + \sum_{s<t} (1/q - G(0)) |x_s| e^{-\rho (t - s)}, \qquad
        G(l) = \lambda + \tfrac12 (1/q - \lambda) e^{-\rho l},

    so that x shares move the touch that they take by x / q at once, and the other touch by
    lambda x alone. Books are shown each second; in a quarter of the seconds there is a trade.

    Attributes
    ----------
    block_depth : float
        q, shares per currency of price: each level holds q times the distance to the next.
    resilience : float
        rho of spread and mid, per second.
    permanent : float
        lambda, currency per share**2, at most 1/q.
    volatility : float
        sigma, currency per square root of a second.
    noise : float
        Standard deviation of the logarithm of spread and sizes on display.
    tick : float
        Prices on display are the nearest of its multiples, so that small trades leave the mid
        where it is; 0 for none.

    Raises
    ------
    ValidationError
        Settings out of range.

    Examples
    --------
    >>> market = TransientMarket(block_depth=5000.0, resilience=0.1, permanent=5e-5)
    >>> books = market.books(100, np.random.default_rng(3))
    >>> len(books) == 100 + len(books.trades), round(market.widening * 5000, 9)
    (True, 0.375)
    """

    block_depth: float = limited(5_000.0, above=0)
    resilience: float = limited(0.1, above=0)
    permanent: float = 5e-5
    volatility: float = limited(0.004, low=0)
    noise: float = limited(0.2, low=0)
    tick: float = limited(0.01, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        number("permanent", self.permanent, 0, 1.0 / self.block_depth)

    @property
    def kernel(self) -> ExponentialSumKernel:
        """G of seconds, currency per share**2, of the mid."""
        moving = 0.5 * (1.0 / self.block_depth - self.permanent)
        return ExponentialSumKernel((self.resilience, 0.0), (moving, self.permanent))

    @property
    def widening(self) -> float:
        """1/q - G(0): what a share adds to the half-spread at once."""
        return 1.0 / self.block_depth - float(self.kernel(0.0))

    def books(self, n_steps: int, rng: np.random.Generator, n_levels: int = 5) -> BookSnapshots:
        """The book at each of n seconds, and after each trade; with the trades.

        A trade prints at the average price of its shares, half way from the touch before to the
        touch after.
        """
        n, lags, shares = n_steps, np.arange(float(n_steps)), np.zeros(n_steps)
        traded, flow = rng.random(n) < 0.25, OrderFlow()
        count = int(traded.sum())
        shares[traded] = flow.signs(count, rng) * rng.geometric(1.0 / flow.mean_size, count)
        moved = displaced(self.kernel(lags), shares)
        excess = displaced(self.widening * np.exp(-self.resilience * lags), np.abs(shares))
        mid = BASE_PRICE + np.cumsum(self.volatility * rng.standard_normal(n)) + moved
        time, at = OPENING + 1_000_000_000 * np.arange(n), np.flatnonzero(shares)
        touch = mid[at] + np.sign(shares[at]) * (HALF_SPREAD + excess[at])
        price = touch + 0.5 * shares[at] / self.block_depth
        trades = Trades(time[at] + TRADE_DELAY, price, np.abs(shares[at]), np.sign(shares[at]))
        # After each trade the book is shown again: even rows before, odd rows after.
        rows = np.sort(np.concatenate([2 * np.arange(n), 2 * at + 1]))
        step, after = rows // 2, rows % 2 == 1
        mids = mid[step] + after * shares[step] * (1.0 / self.block_depth - self.widening)
        half = (HALF_SPREAD * self._scatter(rng, n) + excess)[step]
        half += after * np.abs(shares[step]) * self.widening
        bid, ask = mids - half, mids + half
        if self.tick:
            bid, ask = (np.round(price / self.tick) * self.tick for price in (bid, ask))
            ask = np.maximum(ask, bid + self.tick)
        gaps, depth = LEVEL_GAP * np.arange(n_levels), self.block_depth * LEVEL_GAP
        bid_size, ask_size = (depth * self._scatter(rng, len(step), n_levels) for _ in range(2))
        prices = bid[:, None] - gaps, bid_size, ask[:, None] + gaps, ask_size
        shown = time[step] + after * TRADE_DELAY
        return BookSnapshots(shown, *prices, symbol="SYNTHETIC", trades=trades)

    def _scatter(self, rng: np.random.Generator, *shape: int) -> Float:
        """Lognormal factors of mean 1."""
        return np.exp(self.noise * rng.standard_normal(shape) - 0.5 * self.noise**2)

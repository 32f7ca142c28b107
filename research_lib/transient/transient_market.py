"""A market whose decaying impact is known: books and trades to recover it from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import ExponentialSumKernel, Kernel, at_lags
from research_lib.impact.kernels import displaced
from research_lib.market import BookSnapshots, OrderFlow, Trades

Float = NDArray[np.float64]
OPENING = 1_704_205_800_000_000_000  # 2024-01-02 09:30 New York
TRADE_DELAY = 1_000_000  # a trade, and the book after it, come 1 ms after the book that it met


@dataclass(frozen=True)
class TransientMarket(Record):
    r"""Trades of long memory in a book that they push and that comes back.

    With x_s the signed shares traded at s and G the kernel of the mid,

    .. math::
        m_t = m_0 + \sum_{s<t} G(t - s) x_s + \sigma W_t, \qquad
        h_t = h + \sum_{s<t} (1/q - G(0)) |x_s| e^{-\rho (t - s)},

    so that x shares move the touch that they take by x / q at once, and the other touch by
    x (2 G(0) - 1/q). `block_book` gives the market of Obizhaeva and Wang, whose other touch stands still
    but for the permanent part.

    Attributes
    ----------
    kernel : callable
        G of seconds, currency per share**2, of the mid.
    block_depth : float
        q, shares per currency of price: each level holds q times the distance to the next.
    resilience : float
        rho of the spread, per second.
    half_spread : float
        h, currency per share.
    level_gap : float
        Currency from one level to the next.
    volatility : float
        sigma, currency per square root of a second.
    trade_rate : float
        Chance of a trade in each step.
    step_seconds : float
        From one possible trade to the next; books are shown at each.
    noise : float
        Standard deviation of the logarithm of spread and sizes on display.
    tick : float
        Prices on display are the nearest of its multiples, so that small trades leave the mid where it is; 0 for none.
    base_price : float
        m_0.
    flow : OrderFlow
        Of the signs and sizes.
    """

    kernel: Kernel
    block_depth: float = 5_000.0
    resilience: float = 0.1
    half_spread: float = 0.02
    level_gap: float = 0.02
    volatility: float = 0.004
    trade_rate: float = 0.25
    step_seconds: float = 1.0
    noise: float = 0.2
    tick: float = 0.01
    base_price: float = 100.0
    flow: OrderFlow = field(default_factory=OrderFlow)

    def __post_init__(self) -> None:
        for name in (
            "block_depth",
            "resilience",
            "half_spread",
            "level_gap",
            "step_seconds",
            "base_price",
        ):
            number(name, getattr(self, name), above=0)
        for name in ("volatility", "noise", "tick"):
            number(name, getattr(self, name), 0)
        number("trade_rate", self.trade_rate, 0, 1)
        if self.widening < 0:
            raise ValidationError(
                f"kernel at lag 0 is above 1 / block_depth = {1 / self.block_depth:g}: the mid would move further than "
                "the touch that is taken; lower the kernel or block_depth"
            )

    @classmethod
    def block_book(
        cls, block_depth: float, resilience: float, permanent: float, **settings: Any
    ) -> TransientMarket:
        """The market of Obizhaeva and Wang: the touch moves by lambda + (1/q - lambda) exp(-rho lag), the mid by half
        of the part that decays."""
        moving = 0.5 * (1.0 / block_depth - permanent)
        kernel = ExponentialSumKernel((resilience, 0.0), (moving, permanent))
        return cls(kernel, block_depth=block_depth, resilience=resilience, **settings)

    @property
    def widening(self) -> float:
        """1/q - G(0): what a share adds to the half-spread at once."""
        return 1.0 / self.block_depth - float(at_lags(self.kernel, np.zeros(1))[0])

    def books(self, n_steps: int, rng: np.random.Generator, n_levels: int = 5) -> BookSnapshots:
        """The book at each of n steps, and after each trade; with the trades.

        A trade prints at the average price of its shares, half way from the touch before to the touch after.
        """
        n = number("n_steps", n_steps, 2, integer=True)
        shares = self._shares(n, rng)
        lags = self.step_seconds * np.arange(n)
        pushed = displaced(at_lags(self.kernel, lags), shares)
        excess = displaced(self.widening * np.exp(-self.resilience * lags), np.abs(shares))
        walk = np.cumsum(self.volatility * np.sqrt(self.step_seconds) * rng.standard_normal(n))
        mid = self.base_price + walk + pushed
        traded = np.flatnonzero(shares)
        own = shares[traded]
        time = OPENING + np.round(lags * 1e9).astype(np.int64)
        rows = np.sort(
            np.concatenate([2 * np.arange(n), 2 * traded + 1])
        )  # after each trade the book is shown again
        step, after = rows // 2, rows % 2 == 1
        mids = mid[step] + after * shares[step] * (1.0 / self.block_depth - self.widening)
        half = (self.half_spread * self._scatter(rng, n) + excess)[step] + after * np.abs(
            shares[step]
        ) * self.widening
        touch = mid[traded] + np.sign(own) * (self.half_spread + excess[traded])
        trades = Trades(
            time[traded] + TRADE_DELAY,
            touch + 0.5 * own / self.block_depth,
            np.abs(own),
            np.sign(own),
        )
        return self._snapshots(time[step] + after * TRADE_DELAY, mids, half, rng, n_levels, trades)

    def _shares(self, n: int, rng: np.random.Generator) -> Float:
        """Signed shares at each step, 0 where nothing trades."""
        traded = rng.random(n) < self.trade_rate
        shares = np.zeros(n)
        count = int(traded.sum())
        shares[traded] = self.flow.signs(count, rng) * rng.geometric(
            1.0 / self.flow.mean_size, count
        )
        return shares

    def _snapshots(
        self,
        time: NDArray[np.int64],
        mid: Float,
        half: Float,
        rng: np.random.Generator,
        n_levels: int,
        trades: Trades,
    ) -> BookSnapshots:
        steps = self.level_gap * np.arange(number("n_levels", n_levels, 1, integer=True))
        size = self.block_depth * self.level_gap
        sizes = [size * self._scatter(rng, len(time), len(steps)) for _ in range(2)]
        bid, ask = self._on_ticks(mid - half), self._on_ticks(mid + half)
        ask = np.maximum(ask, bid + self.tick)
        prices = bid[:, None] - steps, ask[:, None] + steps
        return BookSnapshots(
            time, prices[0], sizes[0], prices[1], sizes[1], symbol="SYNTHETIC", trades=trades
        )

    def _on_ticks(self, price: Float) -> Float:
        """The nearest price on display."""
        return np.round(price / self.tick) * self.tick if self.tick else price

    def _scatter(self, rng: np.random.Generator, *shape: int) -> Float:
        """Lognormal factors of mean 1."""
        return np.exp(self.noise * rng.standard_normal(shape) - 0.5 * self.noise**2)

"""Prices under decaying impact: the path of a schedule, and a market whose kernel is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, numbers, same_labels
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import ExponentialSumKernel, Kernel, at_lags, kernel_matrix, trade_times
from research_lib.impact.kernels import displaced, evenly_spaced
from research_lib.market import BookSnapshots, OrderFlow, Trades

Float = NDArray[np.float64]
OPENING = 1_704_205_800_000_000_000  # 2024-01-02 09:30 New York
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
        Average price of each trade: half of its own displacement, and its temporary part.
    transient_cost, permanent_cost, temporary_cost : currency
        Parts of sum_i shares_i paid_i.

    Examples
    --------
    >>> path = price_path(ExponentialSumKernel(0.0, 1.0), [0, 1], [2, 1], temporary=0.5)
    >>> path.after.tolist(), path.transient_cost, path.cost
    ([2.0, 3.0], 4.5, 7.0)
    """

    times: Float
    shares: Float
    before: Float
    after: Float
    paid: Float
    transient_cost: float
    permanent_cost: float
    temporary_cost: float

    @property
    def cost(self) -> float:
        """sum_i shares_i paid_i, currency."""
        return self.transient_cost + self.permanent_cost + self.temporary_cost


def price_path(
    kernel: Kernel,
    times: ArrayLike,
    shares: ArrayLike,
    *,
    permanent: float = 0.0,
    temporary: float = 0.0,
    response: Callable[[Float], Any] | None = None,
) -> PricePath:
    r"""The mid under a schedule, and what the schedule pays.

    .. math::
        p_i^- = \sum_{j < i} \bigl[ f(x_j) G(t_i - t_j) + \gamma x_j \bigr], \qquad
        \mathrm{paid}_i = p_i^- + \tfrac12 \bigl[ f(x_i) G(0) + \gamma x_i \bigr] + \eta x_i

    A trade pays half of its own displacement, so with f(x) = x the cost is
    1/2 x'Gx + gamma (sum x)^2 / 2 + eta x'x. O(n log n) on a regular grid, else O(n^2).

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags.
    times : (n,) strictly rising, unit of time of the kernel
    shares : (n,) signed, a buy is positive
        A Series is aligned with the labels of `times`, or with the numbers 0 to n - 1.
    permanent : currency per share**2
        gamma, the permanent component.
    temporary : currency per share**2
        eta, the component that only the trade itself pays.
    response : callable, optional
        f of the (n,) shares, elementwise; f(x) = x by default. Other shapes admit price
        manipulation under an exponential kernel (Gatheral 2010).

    Raises
    ------
    ValidationError
        Shapes or labels that disagree, also the shape of what `response` returns; times that do
        not rise; a kernel that is no function or not finite; parameters that are no numbers.

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
    at = trade_times(times)
    labels = getattr(times, "index", None)
    known = range(len(at)) if labels is None or callable(labels) else labels
    traded = _one_each("shares must be", same_labels("shares", shares, known), at)
    permanent, temporary = number("permanent", permanent), number("temporary", temporary)
    moving = traded
    if response is not None:
        moving = _one_each("response must return", response(traded), at)
    own = moving * at_lags(kernel, np.zeros(1))[0]
    if evenly_spaced(at):
        transient = displaced(at_lags(kernel, at - at[0]), moving)
    else:
        transient = np.tril(kernel_matrix(kernel, at), -1) @ moving
    lasting = permanent * (np.cumsum(traded) - traded)
    before = transient + lasting
    return PricePath(
        at,
        traded,
        before,
        after=before + own + permanent * traded,
        paid=before + 0.5 * (own + permanent * traded) + temporary * traded,
        transient_cost=float(traded @ (transient + 0.5 * own)),
        permanent_cost=float(traded @ (lasting + 0.5 * permanent * traded)),
        temporary_cost=float(temporary * traded @ traded),
    )


def _one_each(claim: str, values: ArrayLike, times: Float) -> Float:
    """(n,) finite numbers, one a trade."""
    array = numbers(claim.split()[0], values)
    if array.shape != times.shape or not np.isfinite(array).all():
        raise ValidationError(
            f"{claim} {times.shape} finite numbers, one a trade, got shape {array.shape}"
        )
    return array


@dataclass(frozen=True)
class TransientMarket(Record):
    r"""Trades of long memory in a book that they move and that recovers: its kernel is known.

    With x_s the signed shares traded at s and G the kernel of the mid,

    .. math::
        m_t = m_0 + \sum_{s<t} G(t - s) x_s + \sigma W_t, \qquad
        h_t = h + \sum_{s<t} (1/q - G(0)) |x_s| e^{-\rho (t - s)},

    so that x shares move the touch that they take by x / q at once, and the other touch by
    x (2 G(0) - 1/q). `block_book` gives the market of Obizhaeva and Wang, whose other touch moves
    by the permanent component alone.

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
        Prices on display are the nearest of its multiples, so that small trades leave the mid
        where it is; 0 for none.
    base_price : float
        m_0.
    flow : OrderFlow
        Of the signs and sizes.

    Raises
    ------
    ValidationError
        Settings out of range; a kernel that moves the mid further than the touch that is taken.

    Examples
    --------
    >>> market = TransientMarket.block_book(block_depth=5000.0, resilience=0.1, permanent=5e-5)
    >>> books = market.books(100, np.random.default_rng(3))
    >>> len(books) == 100 + len(books.trades), round(market.widening * 5000, 9)
    (True, 0.375)
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
        positive = "block_depth resilience half_spread level_gap step_seconds base_price"
        for name in positive.split():
            number(name, getattr(self, name), above=0)
        for name in ("volatility", "noise", "tick"):
            number(name, getattr(self, name), 0)
        number("trade_rate", self.trade_rate, 0, 1)
        if self.widening < 0:
            raise ValidationError(
                f"kernel at lag 0 is above 1 / block_depth = {1 / self.block_depth:g}: the mid "
                "would move further than the touch that is taken; lower the kernel or block_depth"
            )

    @classmethod
    def block_book(
        cls, block_depth: float, resilience: float, permanent: float, **settings: Any
    ) -> TransientMarket:
        """The market of Obizhaeva and Wang.

        The touch moves by lambda + (1/q - lambda) exp(-rho lag), the mid by half of the part that
        decays.
        """
        moving = 0.5 * (1.0 / block_depth - permanent)
        kernel = ExponentialSumKernel((resilience, 0.0), (moving, permanent))
        return cls(kernel, block_depth=block_depth, resilience=resilience, **settings)

    @property
    def widening(self) -> float:
        """1/q - G(0): what a share adds to the half-spread at once."""
        return 1.0 / self.block_depth - float(at_lags(self.kernel, np.zeros(1))[0])

    def books(self, n_steps: int, rng: np.random.Generator, n_levels: int = 5) -> BookSnapshots:
        """The book at each of n steps, and after each trade; with the trades.

        A trade prints at the average price of its shares, half way from the touch before to the
        touch after.
        """
        n = number("n_steps", n_steps, 2, integer=True)
        shares = self._shares(n, rng)
        lags = self.step_seconds * np.arange(n)
        moved = displaced(at_lags(self.kernel, lags), shares)
        excess = displaced(self.widening * np.exp(-self.resilience * lags), np.abs(shares))
        walk = np.cumsum(self.volatility * np.sqrt(self.step_seconds) * rng.standard_normal(n))
        mid = self.base_price + walk + moved
        time = OPENING + np.round(lags * 1e9).astype(np.int64)
        at = np.flatnonzero(shares)
        touch = mid[at] + np.sign(shares[at]) * (self.half_spread + excess[at])
        price = touch + 0.5 * shares[at] / self.block_depth
        trades = Trades(time[at] + TRADE_DELAY, price, np.abs(shares[at]), np.sign(shares[at]))
        # After each trade the book is shown again: even rows before, odd rows after.
        rows = np.sort(np.concatenate([2 * np.arange(n), 2 * at + 1]))
        step, after = rows // 2, rows % 2 == 1
        mids = mid[step] + after * shares[step] * (1.0 / self.block_depth - self.widening)
        half = (self.half_spread * self._scatter(rng, n) + excess)[step]
        half += after * np.abs(shares[step]) * self.widening
        bid, ask = self._on_ticks(mids - half), self._on_ticks(mids + half)
        ask = np.maximum(ask, bid + self.tick)
        gaps = self.level_gap * np.arange(number("n_levels", n_levels, 1, integer=True))
        depth = self.block_depth * self.level_gap
        bid_size, ask_size = (depth * self._scatter(rng, len(step), len(gaps)) for _ in range(2))
        prices = bid[:, None] - gaps, bid_size, ask[:, None] + gaps, ask_size
        return BookSnapshots(
            time[step] + after * TRADE_DELAY, *prices, symbol="SYNTHETIC", trades=trades
        )

    def _shares(self, n: int, rng: np.random.Generator) -> Float:
        """Signed shares at each step, 0 where nothing trades."""
        traded = rng.random(n) < self.trade_rate
        shares, count = np.zeros(n), int(traded.sum())
        signs = self.flow.signs(count, rng)
        shares[traded] = signs * rng.geometric(1.0 / self.flow.mean_size, count)
        return shares

    def _on_ticks(self, price: Float) -> Float:
        """The nearest price on display."""
        return np.round(price / self.tick) * self.tick if self.tick else price

    def _scatter(self, rng: np.random.Generator, *shape: int) -> Float:
        """Lognormal factors of mean 1."""
        return np.exp(self.noise * rng.standard_normal(shape) - 0.5 * self.noise**2)

"""Trades whose signs remember: order splitting after Lillo, Mike and Farmer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from research_lib.checks import number
from research_lib.config import Record
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

Float = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class OrderFlow(Record):
    r"""Trades of long-memory signs.

    Parent orders follow one another. Each has a sign of its own and is split into L
    trades with P(L >= l) = l^-alpha, alpha = 1 + gamma; a trade is a child of the
    current parent with probability q, else its sign is a coin's. Then the signs'
    autocorrelation is a closed form with a power-law tail,

    .. math::
        C(k) = q^2 \, \frac{E[(L - k)^+]}{E[L]} = q^2 \, \frac{\zeta(\alpha, k + 1)}{\zeta(\alpha, 1)}
        \sim k^{-\gamma},

    with zeta(s, a) Hurwitz's zeta function; gamma = alpha - 1 is the relation of Lillo,
    Mike and Farmer (2005), here with one parent at a time instead of several.

    Attributes
    ----------
    trades_per_interval : float
        Expected number; the numbers are Poisson.
    mean_size : float
        Shares; sizes are geometric from 1 share.
    sign_exponent : float
        gamma, in (0, 1); 0.5 is typical of stocks.
    split_share : float
        q, the share of trades that are children of split orders, in [0, 1].

    References
    ----------
    Lillo, F., Mike, S., Farmer, J. D. (2005), "Theory for long memory in supply and
    demand", Physical Review E 71, 066122.
    """

    trades_per_interval: float = 20.0
    mean_size: float = 100.0
    sign_exponent: float = 0.5
    split_share: float = 0.8

    def __post_init__(self) -> None:
        number("trades_per_interval", self.trades_per_interval, above=0)
        number("mean_size", self.mean_size, low=1)
        number("sign_exponent", self.sign_exponent, above=0, high=np.nextafter(1, 0))
        number("split_share", self.split_share, 0, 1)

    def sign_autocorrelation(self, lags: ArrayLike) -> Float:
        """C(k) at lags k >= 1 counted in trades, shape kept."""
        alpha = 1.0 + self.sign_exponent
        return (
            self.split_share**2
            * special.zeta(alpha, np.asarray(lags, float) + 1.0)
            / special.zeta(alpha, 1.0)
        )

    def signs(self, n: int, rng: np.random.Generator) -> Int8:
        """n consecutive signs, +1 a buyer, -1 a seller, (n,); stationary from the first."""
        n = number("n", n, 0, integer=True)
        lengths = self._parent_lengths(n, rng)
        parents = np.repeat(rng.choice(np.array([-1, 1], np.int8), len(lengths)), lengths)[:n]
        coins = rng.choice(np.array([-1, 1], np.int8), n)
        return np.where(rng.random(n) < self.split_share, parents, coins)

    def attach(
        self, books: BookSnapshots, session: Session, rng: np.random.Generator
    ) -> BookSnapshots:
        """The books with trades in the interval that each of them opens.

        Trades fall evenly over the interval, as long as those of the book's own day, or
        until the next book where that comes first, and print at the touch shown at its
        start: buyers at the ask, sellers at the bid. They do not move the books. Books
        with an empty side get trades of the other side only.
        """
        row = np.repeat(np.arange(len(books)), rng.poisson(self.trades_per_interval, len(books)))
        after = rng.integers(0, _shown_for(books, session)[row])
        time = (
            books.time[row] + after[np.lexsort((after, row))]
        )  # in order within a book; books do not overlap
        aggressor = self.signs(len(row), rng)
        price = np.where(aggressor > 0, books.ask_price[row, 0], books.bid_price[row, 0])
        size = rng.geometric(1.0 / self.mean_size, len(row)).astype(float)
        shown = np.isfinite(price)
        trades = Trades(time[shown], price[shown], size[shown], aggressor[shown], books.symbol)
        return dataclasses.replace(books, trades=trades)

    def _parent_lengths(self, n: int, rng: np.random.Generator) -> Int64:
        """Lengths of parents that cover n trades, the first already under way; none counts beyond n."""
        alpha, lengths = 1.0 + self.sign_exponent, [self._remaining(n, rng)]
        while sum(int(part.sum()) for part in lengths) < n:
            uniform = 1.0 - rng.random(max(n // 2, 8))
            lengths.append(np.minimum(np.floor(uniform ** (-1.0 / alpha)), n).astype(np.int64))
        return np.concatenate(lengths)

    def _remaining(self, n: int, rng: np.random.Generator) -> Int64:
        """Trades left of the parent met at a random time: P(R > r) = zeta(alpha, r + 1) / zeta(alpha, 1), at most n."""
        beyond = special.zeta(1.0 + self.sign_exponent, np.arange(1, n) + 1.0) / special.zeta(
            1.0 + self.sign_exponent, 1.0
        )
        return np.array([1 + np.count_nonzero(beyond > rng.random())], np.int64)


def _shown_for(books: BookSnapshots, session: Session) -> Int64:
    """Time for which each book stands, an interval of its own day or until the next book, (n,) ns, at least 1."""
    interval = session.traded_ns(books.time)[1] // session.n_intervals
    interval[:-1] = np.minimum(interval[:-1], np.diff(books.time))
    return np.maximum(interval, 1)

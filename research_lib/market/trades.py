"""Trades: what was done while the books were shown; and trades whose signs remember."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.sessions import Session, nanoseconds

if TYPE_CHECKING:
    from research_lib.market.book import BookSnapshots

Float = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]
COLUMNS = ("time", "price", "size", "aggressor")
BUY, SELL, UNSIGNED = 1, -1, 0


@dataclass(frozen=True, eq=False)
class Trades(Record):
    """m trades in time order.

    Attributes
    ----------
    time : (m,) int64 ns UTC, or anything date-time with a time zone
        Trades with equal time keep their order.
    price : (m,) quote currency per share
    size : (m,) shares, above 0
    aggressor : (m,) int8
        1 where a buyer took, -1 where a seller took, 0 where the source does not say:
        hidden executions, crosses and auctions, kept apart from the signed ones.
    symbol : str

    Raises
    ------
    ValidationError
        Shapes that disagree, times out of order, prices or sizes at or below zero,
        an aggressor other than -1, 0, 1.

    Examples
    --------
    >>> time = pd.DatetimeIndex(["2025-04-03 13:30Z", "2025-04-03 13:31Z"])
    >>> Trades(time, [10.0, 9.99], [100, 200], [BUY, SELL]).signed_size.tolist()
    [100.0, -200.0]
    """

    time: Any
    price: Any
    size: Any
    aggressor: Any
    symbol: str = ""

    def __post_init__(self) -> None:
        for name, dtype in (("price", float), ("size", float), ("aggressor", np.int8)):
            object.__setattr__(self, name, np.asarray(self[name], dtype))
        object.__setattr__(self, "time", nanoseconds(self.time, "trade time"))
        shapes = {self[name].shape for name in COLUMNS}
        if len(shapes) > 1 or self.time.ndim != 1:
            raise ValidationError(f"trade columns must all be (m,), got {shapes}")
        rules = {
            "time must not run backwards": np.diff(self.time, prepend=self.time[:1]) < 0,
            "price must be finite and above 0": ~(np.isfinite(self.price) & (self.price > 0)),
            "size must be finite and above 0": ~(np.isfinite(self.size) & (self.size > 0)),
            "aggressor must be 1 (buyer), -1 (seller) or 0 (not said)": np.abs(self.aggressor) > 1,
        }
        for rule, bad in rules.items():
            if bad.any():
                raise ValidationError(
                    f"trade {rule}: {bad.sum():,} are not so, first in row {np.argmax(bad)}"
                )

    def __len__(self) -> int:
        return len(self.time)

    @property
    def signed_size(self) -> Float:
        """size * aggressor, (m,) shares; 0 where the aggressor is not known."""
        return self.size * self.aggressor

    def take(self, rows: ArrayLike) -> Trades:
        """The trades selected by a boolean mask or by positions in time order."""
        index = np.asarray(rows)
        arrays: dict[str, Any] = {name: self[name][index] for name in COLUMNS}
        return dataclasses.replace(self, **arrays)

    @classmethod
    def concat(cls, parts: Sequence[Trades]) -> Trades:
        """One after the other, in time order and of one symbol."""
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        return cls(**arrays, symbol=parts[0].symbol)


@dataclass(frozen=True)
class OrderFlow(Record):
    r"""Trades of long-memory signs.

    Parent orders follow one another. Each has a sign of its own and is split into L
    trades with P(L >= l) = l^-alpha, alpha = 1 + gamma; a trade is a child order of the
    current parent with probability q, else its sign is a coin's. Then the signs'
    autocorrelation is a closed form with a power-law tail,

    .. math::
        C(k) = q^2 \, \frac{E[(L - k)^+]}{E[L]}
            = q^2 \, \frac{\zeta(\alpha, k + 1)}{\zeta(\alpha, 1)} \sim k^{-\gamma},

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
        q, the share of trades that are child orders of split orders, in [0, 1].

    References
    ----------
    Lillo, F., Mike, S., Farmer, J. D. (2005), "Theory for long memory in supply and
    demand", Physical Review E 71, 066122.

    Examples
    --------
    >>> OrderFlow(sign_exponent=0.5, split_share=0.8).sign_autocorrelation([1, 100]).round(3)
    array([0.395, 0.049])
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
        return self.split_share**2 * self._longer(np.asarray(lags, float))

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
        time = books.time[row] + after[np.lexsort((after, row))]  # in order; books do not overlap
        aggressor = self.signs(len(row), rng)
        price = np.where(aggressor > 0, books.ask_price[row, 0], books.bid_price[row, 0])
        size = rng.geometric(1.0 / self.mean_size, len(row)).astype(float)
        shown = np.isfinite(price)
        trades = Trades(time[shown], price[shown], size[shown], aggressor[shown], books.symbol)
        return dataclasses.replace(books, trades=trades)

    def _parent_lengths(self, n: int, rng: np.random.Generator) -> Int64:
        """Lengths of parents that cover n trades, the first already under way; none beyond n."""
        alpha, lengths = 1.0 + self.sign_exponent, [self._remaining(n, rng)]
        while sum(int(part.sum()) for part in lengths) < n:
            uniform = 1.0 - rng.random(max(n // 2, 8))
            lengths.append(np.minimum(np.floor(uniform ** (-1.0 / alpha)), n).astype(np.int64))
        return np.concatenate(lengths)

    def _remaining(self, n: int, rng: np.random.Generator) -> Int64:
        """Trades left of the parent met at a random time, at most n."""
        return np.array([1 + np.count_nonzero(self._longer(np.arange(1, n)) > rng.random())])

    def _longer(self, r: ArrayLike) -> Float:
        """P(R > r), R the trades left of the parent met at a random time."""
        alpha = 1.0 + self.sign_exponent
        return special.zeta(alpha, np.asarray(r) + 1.0) / special.zeta(alpha, 1.0)


def _shown_for(books: BookSnapshots, session: Session) -> Int64:
    """How long each book stands, (n,) ns: an interval of its own day or until the next book."""
    interval = session.traded_ns(books.time)[1] // session.n_intervals
    interval[:-1] = np.minimum(interval[:-1], np.diff(books.time))
    return np.maximum(interval, 1)

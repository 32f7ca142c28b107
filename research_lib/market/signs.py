"""Who was the aggressor of trades that do not say it: named classifiers, and how often they err."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from research_lib.checks import Float, refuse_unknown
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.presets import price_grid
from research_lib.market.trades import UNSIGNED, Trades

ROUNDING = 1e-6  # of the price grid
TOLERANCE = 1e-6  # of the volume: below it, what is gone and what was printed are the same


def classify_trades(trades: Trades, books: BookSnapshots, method: str = "lee-ready") -> Trades:
    r"""The trades with an aggressor by a named rule; 0 where the rule decides nothing.

    With m the mid of the last two-sided book strictly before the trade, p its price:

    - "quote": the sign of p - m, undecided at the mid;
    - "tick": the sign of p less the last price that differs from it;
    - "lee-ready": the quote rule, and the tick rule where that is undecided (Lee and Ready, 1991,
      Journal of Finance 46(2), without their lag of five seconds, since both clocks are one here);
    - "rounded": for venues that show prices rounded down to a coarser grid than they trade on, as
      Lee and Ready with p rounded down to the grid of the prices shown;
    - "depletion": of all trades between two books, buys where the asks up to the highest print
      lost just what was printed, and sells where the bids down to the lowest did (rounded down to
      the grid of the prices shown); undecided where both or neither hold. It is seldom wrong, and
      labels a part of the trades only.

    Parameters
    ----------
    trades : Trades
        Their own aggressors are not used.
    books : BookSnapshots
        Every state, on the same clock.
    method : str

    Raises
    ------
    ValidationError
        An unknown method.

    References
    ----------
    Easley, Lopez de Prado and O'Hara (2016), "Discerning information from trade data", Journal of
    Financial Economics 120(2), on how the rules compare.

    Examples
    --------
    >>> size = [[5.0], [5.0]]
    >>> books = BookSnapshots([0, 10], [[9.0], [9.0]], size, [[11.0], [11.0]], size)
    >>> trades = Trades([5, 6], [11.0, 10.0], [1.0, 1.0], [0, 0])
    >>> classify_trades(trades, books, "quote").aggressor.tolist()
    [1, 0]
    >>> classify_trades(trades, books, "lee-ready").aggressor.tolist()
    [1, -1]
    """
    refuse_unknown([method], RULES, "method")
    return replace(trades, aggressor=RULES[method](trades, books).astype(int))


def sign_accuracy(
    trades: Trades, books: BookSnapshots, truth: Trades | None = None
) -> pd.DataFrame:
    """How many of the trades each rule labels, and how often it agrees.

    Books are as they are shown: widened ones have another grid.

    Parameters
    ----------
    trades, books
        As of `classify_trades`.
    truth : Trades, optional
        The same trades with aggressors to compare with; where there are none, the labels of
        "depletion", which are no truth: what the other rules are compared with then.

    Returns
    -------
    DataFrame
        Index method; labelled_% of the trades, agree_% of those that both label, compared (their
        number), agree_error_% (one standard error, of groups of 100 successive trades).

    Examples
    --------
    >>> size = [[5.0], [5.0]]
    >>> books = BookSnapshots([0, 10], [[9.0], [9.0]], size, [[11.0], [11.0]], size)
    >>> trades = Trades([5, 6], [11.0, 9.0], [1.0, 1.0], [1, -1])
    >>> sign_accuracy(trades, books, trades).loc["quote", ["labelled_%", "agree_%"]].tolist()
    [100.0, 100.0]
    """
    known = truth or classify_trades(trades, books, "depletion")
    if not known.aggressor.any():
        raise ValidationError("no trade has an aggressor to compare with; give truth")
    rows = {}
    for method in RULES:
        found = classify_trades(trades, books, method).aggressor
        both = (found != UNSIGNED) & (known.aggressor != UNSIGNED)
        right = pd.Series(100.0 * (found == known.aggressor)[both])
        groups = right.groupby(np.arange(len(right)) // 100).mean()
        known_share = 100.0 * float(np.mean(found != UNSIGNED))
        rows[method] = (known_share, right.mean(), len(right), groups.sem())
    names = ["labelled_%", "agree_%", "compared", "agree_error_%"]
    return pd.DataFrame(rows, names).T.rename_axis("method")


def _quote(trades: Trades, books: BookSnapshots) -> Float:
    quoted = np.isfinite(books.mid)
    if not quoted.any():
        return np.zeros(len(trades))
    time, mid = books.time[quoted], books.mid[quoted]
    at = np.searchsorted(time, trades.time, "left") - 1
    beyond = trades.price - mid[np.maximum(at, 0)]
    beyond[np.abs(beyond) < ROUNDING * np.abs(trades.price) * 1e-3] = 0.0  # of binary fractions
    return np.where(at >= 0, np.sign(beyond), UNSIGNED)


def _tick(trades: Trades, books: BookSnapshots) -> Float:
    moves = pd.Series(np.sign(np.diff(trades.price, prepend=trades.price[:1])))
    return moves.replace(0.0, np.nan).ffill().fillna(UNSIGNED).to_numpy(float)


def _lee_ready(trades: Trades, books: BookSnapshots) -> Float:
    quote = _quote(trades, books)
    return np.where(quote == UNSIGNED, _tick(trades, books), quote)


def _rounded(trades: Trades, books: BookSnapshots) -> Float:
    quote = _quote(replace(trades, price=_floor(trades.price, price_grid(books))), books)
    return np.where(quote == UNSIGNED, _tick(trades, books), quote)


def _floor(price: Float, grid: float) -> Float:
    """The price on the grid at or below."""
    return np.floor(price / grid + ROUNDING) * grid


def _depletion(trades: Trades, books: BookSnapshots) -> Float:
    step = np.searchsorted(books.time, trades.time, "left")  # trades of step k follow book k - 1
    table = pd.DataFrame({"size": trades.size, "low": trades.price, "high": trades.price})
    between = (step > 0) & (step < len(books))
    steps = table[between].groupby(step[between])
    printed = steps.agg({"size": "sum", "low": "min", "high": "max"})
    at, grid, lost = printed.index.to_numpy(int), price_grid(books), {}
    # Bids that are shown rounded down lie at or above the lowest print rounded down.
    limits = {"ask": printed["high"].to_numpy(), "bid": -_floor(printed["low"].to_numpy(), grid)}
    for name, limit in limits.items():
        prices = books[f"{name}_price"] * (1.0 if name == "ask" else -1.0)
        reach = limit[:, None] + ROUNDING * grid
        held = np.where(prices[[at - 1, at]] <= reach, books[f"{name}_size"][[at - 1, at]], 0.0)
        before, after = held.sum(axis=2)
        gap = np.abs(before - after - printed["size"])
        lost[name] = (gap <= TOLERANCE * printed["size"]).astype(int)
    return (lost["ask"] - lost["bid"]).reindex(step).fillna(UNSIGNED).to_numpy(float)


RULES: dict[str, Callable[[Trades, BookSnapshots], Float]] = {
    "quote": _quote, "tick": _tick, "lee-ready": _lee_ready, "rounded": _rounded,
    "depletion": _depletion,
}  # fmt: skip

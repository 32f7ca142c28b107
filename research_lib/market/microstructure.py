"""The book's state: where the price leans, how much is near, what flows; and averages that say their weight."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session

Float = NDArray[np.float64]


def microprice(books: BookSnapshots) -> Float:
    r"""Mid weighted by the size on the other side, (n,) currency per share; NaN where a side is empty.

    .. math:: \frac{P^a q^b + P^b q^a}{q^a + q^b}

    It leans towards the side that is thinner. Source: Gatheral and Oomen (2010), "Zero-intelligence
    realized variance estimation", section 2.
    """
    bid, ask = books.bid_size[:, 0], books.ask_size[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (books.ask_price[:, 0] * bid + books.bid_price[:, 0] * ask) / (bid + ask)


def imbalance(books: BookSnapshots, n_levels: int = 1) -> Float:
    """(bid - ask) / (bid + ask) of the sizes on the first `n_levels`, (n,) in [-1, 1]; NaN for an empty book."""
    levels = number("n_levels", n_levels, 1, books.n_levels, integer=True)
    bid, ask = books.bid_size[:, :levels].sum(axis=1), books.ask_size[:, :levels].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (bid - ask) / (bid + ask)


def depth_within(books: BookSnapshots, distance_bps: float, side: str) -> Float:
    """Shares that an order of `side` finds within `distance_bps` of the mid, (n,); NaN where a side is empty.

    What lies beyond the levels on display is not counted: where the last level is nearer
    than the distance this is a lower bound.
    """
    reach = number("distance_bps", distance_bps, 0) * 1e-4 * books.mid[:, None]
    prices, sizes = books.levels(side)
    with np.errstate(invalid="ignore"):
        near = np.abs(prices - books.mid[:, None]) <= reach * (
            1 + 1e-9
        )  # a level at the distance counts
    return np.where(np.isnan(books.mid), np.nan, np.sum(np.where(near, sizes, 0.0), axis=1))


def order_flow_imbalance(books: BookSnapshots) -> Float:
    r"""Net flow to the best quotes from each state to the next, (n - 1,) shares; NaN where a side is empty.

    .. math::
        e_k = 1_{P^b_k \ge P^b_{k-1}} q^b_k - 1_{P^b_k \le P^b_{k-1}} q^b_{k-1}
            - 1_{P^a_k \le P^a_{k-1}} q^a_k + 1_{P^a_k \ge P^a_{k-1}} q^a_{k-1}

    Sum it over any window; nothing is reset at the start of an interval.
    Source: Cont, Kukanov and Stoikov (2014), "The price impact of order book events",
    Journal of Financial Econometrics 12(1), equation (3).
    """
    bid_price, ask_price = books.bid_price[:, 0], books.ask_price[:, 0]
    bid_size, ask_size = books.bid_size[:, 0], books.ask_size[:, 0]
    bid = np.where(bid_price[1:] >= bid_price[:-1], bid_size[1:], 0.0)
    bid -= np.where(bid_price[1:] <= bid_price[:-1], bid_size[:-1], 0.0)
    ask = np.where(ask_price[1:] <= ask_price[:-1], ask_size[1:], 0.0)
    ask -= np.where(ask_price[1:] >= ask_price[:-1], ask_size[:-1], 0.0)
    quoted = np.isfinite(books.mid)
    return np.where(quoted[1:] & quoted[:-1], bid - ask, np.nan)


def summarise(books: BookSnapshots, session: Session, weight: str = "time") -> pd.Series:
    """Weighted means of spread and depth over the session's states.

    Event weights count every state alike and so over-weigh busy moments; time weights count
    a state by how long it stood, to the next complete one or the close. Incomplete states count
    for nothing; the time without both quotes counts for no state.

    Parameters
    ----------
    weight : "time" or "event"

    Returns
    -------
    Series
        spread_bps, spread (currency per share), bid_depth and ask_depth (shares, all levels), states.
    """
    refuse_unknown([weight], ("time", "event"), "weight")
    standing = books.take(books.complete & (session.interval_of(books.time) >= 0))
    weights = _standing_seconds(standing, session) if weight == "time" else np.ones(len(standing))
    quoted = np.isfinite(standing.mid)
    usable, weights = standing.take(quoted), weights[quoted]
    if not weights.sum() > 0:
        raise ValidationError(
            f"none of {len(books):,} states is complete, in the session and quoted on both sides"
        )
    columns = {
        "spread_bps": 2e4 * usable.half_spread / usable.mid,
        "spread": 2.0 * usable.half_spread,
        "bid_depth": usable.bid_size.sum(axis=1),
        "ask_depth": usable.ask_size.sum(axis=1),
    }
    means = {name: float(np.average(values, weights=weights)) for name, values in columns.items()}
    return pd.Series({**means, "states": len(usable)}, name=f"{weight}-weighted")


def _standing_seconds(books: BookSnapshots, session: Session) -> Float:
    """How long each state stood inside its session, (n,) seconds."""
    traded, length = session.traded_ns(books.time)
    days = session.days(books.time)
    next_of_day = np.append(days[1:] == days[:-1], False) if len(days) else np.zeros(0, bool)
    return (np.where(next_of_day, np.append(traded[1:], 0), length) - traded) / 1e9

"""What own orders were expected to cost, and what other schedules would have cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from research_lib.evaluation import strategies
from research_lib.evaluation.costs import blind_cost
from research_lib.evaluation.executions import Ladder
from research_lib.evaluation.own_orders import Desk, as_ns
from research_lib.evaluation.priors import Known, Prior
from research_lib.evaluation.tape import Int64, Tape
from research_lib.evaluation.tca import priced_fills
from research_lib.market import Session

LARGEST_PART = 0.2  # of the order, the most a replayed child order may be
COLUMNS = ("forecast_bps", "own_bps", "TWAP_bps", "best benchmark_bps", "static optimal_bps")


def pre_trade_costs(
    desk: Desk, tapes: Mapping[str, Tape], known: Mapping[str, Sequence[Known]], session: Session,
    *, replays: int = 0, rng: np.random.Generator | None = None,
) -> pd.DataFrame:  # fmt: skip
    """What each order was expected to cost, and what other schedules would have cost.

    The forecast is that of equal shares from the arrival to the due time, by curves and carried
    impact of earlier sessions. Without a due time it is what orders of the same strategy took on
    earlier days, in the median; what happened to the order itself is not known. Orders without
    either, of sessions before which nothing is known, or that leave their session have none.

    For some orders TWAP, the best benchmark (of TWAP, VWAP and Almgren-Chriss) and the static
    optimum, fixed before by what earlier sessions showed, work the shares that the desk filled, in
    the time that it took, on the books of the day; beside them what the desk's own fills cost. All
    four by spread, walk and carried impact of shares by interval (`CarriedImpact.cost`). Books are
    as recorded, moved by the desk's own fills.

    Parameters
    ----------
    desk : Desk
    tapes : mapping of symbol to Tape
    known : mapping of symbol to sequence of Known
        Sessions, each with what earlier ones showed.
    session : Session
        Whose intervals the books are sampled by.
    replays : int
        Number of orders that are replayed, drawn at random of those with something known before.
    rng : Generator
        Draws them.

    Returns
    -------
    DataFrame
        Index order_id: forecast_bps; own_bps, TWAP_bps, best benchmark_bps, static optimal_bps (NaN
        where not replayed).

    Raises
    ------
    KeyError
        A symbol of `known`, or of an order that is replayed, without a tape.

    Examples
    --------
    >>> from research_lib.evaluation import checked_desk, known_before
    >>> from research_lib.market import preset
    >>> session = Session(13)
    >>> books = preset("thin_stock", session).books(39, 5, np.random.default_rng(0))
    >>> tapes, known = {"A": Tape.of(books, session)}, {"A": known_before(books, session, first=2)}
    >>> when = pd.to_datetime(books.time[28:31], utc=True)
    >>> order = {"order_id": ["1"], "symbol": "A", "side": "buy", "shares": 200.0}
    >>> order = pd.DataFrame(order | {"arrival_time": when[0], "due_time": when[2]})
    >>> fill = {"order_id": "1", "time": when[1:2], "shares": 200.0}
    >>> fill = pd.DataFrame(fill).assign(price=books.ask_price[28, 0])
    >>> desk = checked_desk(order, fill, tapes)
    >>> costs = pre_trade_costs(desk, tapes, known, session, replays=1)
    >>> bool((costs.loc["1"] > 0).all())
    True
    """
    orders, rows, found = desk.orders.assign(due=_due(desk.orders, session)), {}, []
    draw = rng or np.random.default_rng(0)
    for symbol, sessions in known.items():
        own = orders[orders["symbol"] == symbol]
        own = own.assign(price=tapes[symbol].mid_at(as_ns(own["arrival_time"])))
        found += _known_orders(own, sessions, session)
    chosen = set(draw.permutation(len(found))[:replays].tolist())
    priced = priced_fills(desk, tapes) if chosen else None
    for k, (order, ladder, prior) in enumerate(found):
        rows[order.name] = {"forecast_bps": _forecast(order, ladder, prior)}
        if priced is not None and k in chosen and order["filled"] > 0:
            fills = priced[priced["order"] == orders.index.get_loc(order.name)]
            rows[order.name] |= _replayed(order, fills, ladder, prior, session)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return table.reindex(orders.index).astype(float)


def _due(orders: pd.DataFrame, session: Session) -> Int64:
    """By when each order is planned to be done, ns; the least integer where nothing says it."""
    arrived, day = as_ns(orders["arrival_time"]), session.days(as_ns(orders["arrival_time"]))
    took = pd.DataFrame({"day": day, "ns": as_ns(orders["until"]) - arrived})
    took["strategy"] = orders["strategy"].to_numpy() if "strategy" in orders else ""
    usual, done = np.full(len(orders), np.nan), took[orders["filled"].to_numpy() > 0]
    for (strategy, date), same in took.groupby(["strategy", "day"]):
        earlier = (done["strategy"] == strategy) & (done["day"] < date)
        usual[same.index] = done.loc[earlier, "ns"].median()
    due = np.where(np.isfinite(usual), arrived + np.nan_to_num(usual), np.iinfo(np.int64).min)
    return np.where(orders["due_time"].notna(), as_ns(orders["due_time"]), due.astype(np.int64))


def _known_orders(
    own: pd.DataFrame, known: Sequence[Known], session: Session
) -> list[tuple[pd.Series, Ladder, Prior]]:
    """Orders of one symbol on sessions with something known before, with the day's books."""
    day, found = session.days(as_ns(own["arrival_time"])), []
    for one in known:
        for side, prior in one.priors.items():
            for ladder in Ladder.of(one.books, side).by_day(session.n_intervals):
                mine = (day == session.days(ladder.time[:1])[0]) & (own["side"] == side)
                found += [(order, ladder, prior) for _, order in own[mine].iterrows()]
    return found


def _rows(ladder: Ladder, start: int, end: int) -> Int64:
    """Intervals that begin from the start to the end, one at least; none if it ends after them."""
    first, last = np.searchsorted(ladder.time, [start, end])
    length = ladder.time[-1] - ladder.time[-2] if len(ladder) > 1 else 0
    if end > ladder.time[-1] + length or end < start:
        return np.zeros(0, np.int64)
    first = min(first, len(ladder) - 1)
    return np.arange(first, max(last, first + 1))


def _forecast(order: pd.Series, ladder: Ladder, prior: Prior) -> float:
    at = _rows(ladder, order["arrival_time"].value, order["due"])
    if not len(at):
        return float("nan")
    curve, even = prior.curve.take(at), np.full(len(at), order["shares"] / len(at))
    paid = curve.cost(even)
    walk, price = paid - even * curve.half_spread, float(order["price"])
    carried = prior.carried.cost(even, walk, ladder.time[at], price)
    return 1e4 * (float(paid.sum()) + carried) / (float(order["shares"]) * price)


def _replayed(
    order: pd.Series, fills: pd.DataFrame, ladder: Ladder, prior: Prior, session: Session
) -> dict[str, float]:
    """Own fills and other schedules, bps of the whole order's value at its arrival."""
    at = _rows(ladder, order["arrival_time"].value, order["until"].value)
    books, filled, n = ladder.take(at), float(order["filled"]), len(at)
    if not np.isfinite(books.mid).any():
        return {}
    prior = prior.within(at)
    interval = np.clip(session.interval_of(fills["state"].to_numpy()) - at[0], 0, n - 1)
    shares, walk = (np.bincount(interval, fills[k], n).astype(float) for k in ("shares", "walk"))
    paper, part = float(order["shares"]) * float(order["price"]), filled / float(order["shares"])
    carried = prior.carried.cost(shares, walk, books.time, float(order["price"]))
    row = {"own_bps": 1e4 * (float(fills["spread"].sum() + walk.sum()) + carried) / paper}
    most = filled * max(LARGEST_PART, 2.0 / n)
    for one in _schedules(prior):
        done = strategies.run(one, books, filled, order["side"], max_shares=most)
        relative = done.arrival_price / float(order["price"])
        row[f"{one.name}_bps"] = blind_cost(done, prior.carried) * part * relative
    return row


def _schedules(prior: Prior) -> list[strategies.Scheduled]:
    """TWAP, the best of the benchmarks that do not ask how late to start, the static optimum."""
    known, sigma = prior.source, prior.volatility * prior.price
    risk: dict[str, Any] = {"risk_aversion": prior.risk_aversion(), "volatility": sigma}
    fixed: list[strategies.Scheduled] = [strategies.Twap()]
    if prior.volume.sum() > 0:
        fixed.append(strategies.Vwap(prior.volume, known))
    fixed.append(strategies.AlmgrenChriss(temporary=prior.temporary, fitted_on=known, **risk))
    best = strategies.BestBenchmark(fixed, prior.days, prior.carried, known)
    after: dict[str, Any] = {"carried": prior.carried, "seconds": prior.seconds, "line": prior.line}
    return [fixed[0], best, strategies.StaticOptimal(prior.curve, known, **after, **risk)]

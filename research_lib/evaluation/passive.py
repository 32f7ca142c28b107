"""Orders whose child orders rest before they cross: executions for the accounting, and markouts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import Int64, per_interval
from research_lib.errors import ValidationError
from research_lib.evaluation.costs import mids_after
from research_lib.evaluation.executions import Execution, Ladder, walk
from research_lib.evaluation.resting import Posting, Recording, rest_orders
from research_lib.market import BookSnapshots
from research_lib.market.book import side_sign
from research_lib.market.sessions import nanoseconds


def post_then_cross(
    shares: Any, recording: Recording, start: Int64, step: int, side: str, posting: Posting, *,
    posts: Any = True, name: str = "post, then cross",
) -> Execution:  # fmt: skip
    """An order whose child orders rest for their interval, and what is left crosses at its end.

    What a book cannot fill is added to the next child order.
    The order that rests is turned into one that crosses on arrival, so that nothing is filled
    twice. A child order that is not posted crosses at the start of its interval, as in `replay`.

    Parameters
    ----------
    shares : (n,)
        Child orders.
    recording : Recording
    start : (n,) int64 ns UTC
        Of the intervals.
    step : int
        Length of an interval, ns.
    side : "buy" or "sell"
    posting : Posting
    posts : bool or (n,) bool
        Which child orders are posted.

    Returns
    -------
    Execution
        A row a fill: the arrival of the first child order, with no shares; fills at rest
        (`posted`), whose half-spread is that from the mid just before the fill, below 0 where it is
        earned; and shares that crossed.

    Raises
    ------
    ValidationError
        A latency of an interval or more, intervals that overlap or lie outside the recording.

    Examples
    --------
    >>> from research_lib.market import QueueMarket, Session
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> start, step = market.session.starts(books.days(market.session))[0], 60 * 10**9
    >>> how = Posting("last"), Posting("first")
    >>> args = [500.0] * 5, Recording.of(books), start, step, "buy"
    >>> last, first = (post_then_cross(*args, one) for one in how)
    >>> bool(last.filled[last.posted].sum() <= first.filled[first.posted].sum())
    True
    """
    books, sign = recording.books, side_sign(side)
    start, lag = _intervals(start, step, posting, books)
    n, x, posted = len(start), per_interval("shares", shares, len(start)), np.asarray(posts)
    if posted.dtype != bool or posted.shape not in ((), (n,)):
        raise ValidationError(f"posts must be true, false or {n} of these, got {posts!r}")
    posted = np.broadcast_to(posted, n)
    end = start + step - 1
    decided = np.where(posted, end - lag, start)  # to cross
    arrival, opening = decided + lag, start[:1]
    rows, seen, first = (
        np.searchsorted(books.time, at, "right") - 1 for at in (arrival, decided, opening)
    )
    ladder = Ladder.of(books.take(np.maximum(rows, 0)), side)
    ladder = replace(ladder, size=np.where(rows[:, None] < 0, 0.0, ladder.size))
    at_rest, carried, crossed, costs = list[Any](), 0.0, np.zeros(n), np.zeros(n)
    for t in range(n):
        want, taken = x[t] + carried, 0.0
        if posted[t]:
            one = rest_orders(recording, side, [want], start[t : t + 1], end[t : t + 1], posting)
            at_rest += zip(one.time, one.shares, one.price, strict=True)
            want, taken = float(one.left[0]), one.taken[0]
        premium, size = ladder.premium[t], ladder.size[t]
        consumed = np.clip(taken - (np.cumsum(size) - size), 0.0, size)  # quotes already taken
        crossed[t], costs[t] = walk(premium, size, consumed, 1.0, want)
        carried = want - crossed[t]
    fills = np.array(at_rest, [("time", np.int64), ("shares", float), ("price", float)])
    time, filled = fills["time"], fills["shares"]
    quoted = np.flatnonzero(np.isfinite(books.mid))
    before = quoted[np.maximum(np.searchsorted(books.time[quoted], time, "left") - 1, 0)]
    mid, paid = books.mid[before], sign * (fills["price"] - books.mid[before])
    # Row -1: no book was shown yet.
    mids, spreads = np.append(books.mid, np.nan), np.append(np.nan_to_num(books.half_spread), 0.0)
    quote = mids[first], spreads[first]
    parts = [
        # time, filled, cost, mid, half-spread, age, mid and half-spread decided on, posted
        (opening + lag, [0.0], [0.0], *quote, [0], *quote, [False]),
        (time, filled, filled * paid, mid, paid, time - books.time[before], mid, paid, time > 0),
        (arrival, crossed, costs, mids[rows], spreads[rows],
         arrival - books.time[np.maximum(rows, 0)], mids[seen], spreads[seen], arrival < 0),
    ]  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    time, filled, cost, mid, spread, age, seen_mid, seen_spread, resting = (
        c[order] for c in columns
    )
    premium, slope = ladder.rest_price if carried else (0.0, 0.0)
    scheduled = np.append(filled[:-1], filled[-1] + carried)
    return Execution(
        name, scheduled, filled, carried, cost, side, time, mid, spread, posting.queue,
        books.symbol, age, seen_mid, seen_spread, carried * (premium + 0.5 * slope * carried),
        resting, n,
    )  # fmt: skip


def _intervals(
    start: Any, step: int, posting: Posting, books: BookSnapshots
) -> tuple[Int64, np.int64]:
    """Starts of intervals that are within a recording, and the latency, ns."""
    start, lag = nanoseconds(start, "start"), np.int64(round(1e9 * posting.latency_seconds))
    if not lag < step:
        late = f"latency_seconds must be below an interval, {step / 1e9:g} s (step is in ns)"
        raise ValidationError(f"{late}; got {posting.latency_seconds:g}")
    if (np.diff(start) < step).any():
        raise ValidationError("the intervals overlap: starts must be a step apart or more")
    if not books.time[0] < start[-1] + step or not start[0] <= books.time[-1]:
        seen = pd.to_datetime(books.time[[0, -1]], utc=True)
        raise ValidationError(f"the recording is of {seen[0]:%F %T} to {seen[1]:%F %T} UTC alone")
    return start, lag


def markouts(
    execution: Execution, states: BookSnapshots, seconds: Sequence[float] = (5.0, 60.0)
) -> pd.DataFrame:
    """What each fill at rest earned, and was worth some time later, bps of its price.

    Parameters
    ----------
    execution : Execution
        Of `post_then_cross`.
    states : BookSnapshots
        Every state of the recording.
    seconds : sequence of float
        After the fill.

    Returns
    -------
    DataFrame
        A row a fill: time (ns), shares, price, earned_bps (the mid just before it less the price,
        times the side), and for each horizon markout_<seconds>_bps, with the mid then; NaN where it
        is not known. Below 0 the price has moved through the fill.

    Examples
    --------
    >>> from research_lib.market import QueueMarket, Session
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> start = market.session.starts(books.days(market.session))[0]
    >>> args = [500.0] * 5, Recording.of(books), start, 60 * 10**9, "buy", Posting()
    >>> markouts(post_then_cross(*args), books)["earned_bps"].round(6).unique().tolist()
    [1.0]
    """
    rows, sign = np.asarray(execution.posted, bool), side_sign(execution.side)
    time, shares = execution.time[rows], execution.filled[rows]
    price = execution.mid[rows] + sign * execution.cost_by_interval[rows] / shares
    table = {"time": time, "shares": shares, "price": price}
    table["earned_bps"] = -1e4 * execution.half_spread[rows] / price
    for horizon in seconds:
        gain = sign * (mids_after(states, time, horizon) - price)
        table[f"markout_{horizon:g}_bps"] = 1e4 * gain / price
    return pd.DataFrame(table)

"""Are the models of the queue right, and how soon is an order at the best quote filled?"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import number
from research_lib.evaluation.priors import SIDES
from research_lib.evaluation.resting import (
    QUEUES,
    Posting,
    RecordedOrders,
    Recording,
    on_ticks,
    rest_orders,
)
from research_lib.market import EXECUTE, QueueMarket, limit_orders
from research_lib.studies.passive import NS, Period

# By the shares ahead of an order, in multiples of its own.
MULTIPLES = (-np.inf, 0.0, 1.0, 5.0, np.inf)
PLACES = ("new best price", "up to its own size", "up to five times", "more than five times")
MIN_ORDERS = 100  # of one queue, for a probability


def real_orders(recording: Recording) -> pd.DataFrame:
    """The real limit orders that were posted at the best quote, and what each model says of them.

    Each order is taken off the book, and an order of its side, size and price rests in its place
    until it was cancelled, or, where it was executed, until the recording ends. Orders entered at
    one time are left out: what was ahead of each on entry is shown by no state.

    Parameters
    ----------
    recording : Recording with messages

    Returns
    -------
    DataFrame, a row an order
        side (1 a bid), size, ahead (shares displayed at its price on entry), cancelled, filled (its
        true fills by its end) and done (when it was executed whole, ns, else -1); for each queue
        model filled_<model>, by the end of the real order, and done_<model>.

    Examples
    --------
    >>> from research_lib.market import Session
    >>> market = QueueMarket(session=Session(10, close="09:40"))
    >>> books, messages = market.days(1, np.random.default_rng(0))
    >>> orders = real_orders(Recording.of(books, messages=messages))
    >>> bool((orders["filled_last"] <= orders["filled"]).all())
    True
    """
    sent: Any = recording.messages
    orders = limit_orders(sent)
    seen = orders["ended"] <= recording.books.time[-1]
    orders = orders[seen & ~orders["entered"].duplicated(keep=False)]
    executed = np.flatnonzero((sent.kind == EXECUTE) & (sent.entered >= 0))
    executed = executed[np.argsort(sent.entered[executed], kind="stable")]
    first = np.searchsorted(sent.entered[executed], orders["row"].to_numpy())
    last = np.searchsorted(sent.entered[executed], orders["row"].to_numpy(), "right")
    books, parts, trades = recording.books, [], (sent.time[executed], sent.size[executed])
    at = np.searchsorted(books.time, orders["entered"].to_numpy())
    for side, sign in (("buy", 1), ("sell", -1)):
        market = recording.side(side)
        best = market.own_tick[at].max(axis=1)  # once it is entered
        tick = sign * on_ticks(orders["price"], recording.tick, np.round)
        mine = (orders["side"] == sign) & (at > 0) & (tick == best)
        found = orders[mine].reset_index(drop=True)
        real = RecordedOrders(found["price"].to_numpy(), first[mine], last[mine], *trades)
        end = np.where(found["done"] >= 0, books.time[-1], found["ended"])
        for queue in QUEUES:
            how = Posting(queue, follow=False, latency_seconds=0.0)
            start = found["entered"].to_numpy()
            done = rest_orders(recording, side, found["size"], start, end, how, real)
            if queue == "last":
                found["ahead"] = done.ahead
            by_end = done.time <= found["ended"].to_numpy()[done.order]
            filled = np.bincount(done.order[by_end], done.shares[by_end], len(found))
            found[f"filled_{queue}"], found[f"done_{queue}"] = filled, done.done
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def validation_table(orders: pd.DataFrame) -> pd.DataFrame:
    """How well each queue model predicts the fills of real orders, by their place in the queue.

    Parameters
    ----------
    orders : DataFrame
        Of `real_orders`.

    Returns
    -------
    DataFrame
        Index shares ahead on entry, relative to the order's own; orders; fate known_%: of orders
        that were cancelled or executed whole, the only ones compared; filled_%, in part or whole;
        bracketed_%: true fills between those of "last" and "first"; differ: orders for which these
        two differ, and exact of these_%: for which "exact" is right; for each model its fills equal
        to the true ones (%), and error_<model>_s, the 95 % quantile of the time by which a whole
        fill is predicted wrongly, where it is predicted.

    Examples
    --------
    >>> from research_lib.market import Session
    >>> market = QueueMarket(session=Session(10, close="09:40"))
    >>> books, messages = market.days(1, np.random.default_rng(0))
    >>> orders = real_orders(Recording.of(books, messages=messages))
    >>> validation_table(orders).loc["all", ["bracketed_%", "exact_%"]].tolist()
    [100.0, 100.0]
    """
    place = pd.cut(orders["ahead"] / orders["size"], MULTIPLES, labels=PLACES)
    groups = [*orders.groupby(place, observed=True), ("all", orders)]
    rows = {name: _predicted(one) for name, one in groups}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("ahead on entry")


def _predicted(orders: pd.DataFrame) -> dict[str, float]:
    known = orders[orders["cancelled"] | (orders["done"] > 0)]
    margin, true = 1e-9 * known["size"], known["filled"]
    inside = (known["filled_last"] <= true + margin) & (true <= known["filled_first"] + margin)
    open_ = known[known["filled_first"] - known["filled_last"] > margin]
    right = (open_["filled_exact"] - open_["filled"]).abs() <= 1e-9 * open_["size"]
    row = {
        "orders": len(orders), "fate known_%": 100.0 * len(known) / len(orders),
        "filled_%": 100.0 * (true > 0).mean(), "bracketed_%": 100.0 * inside.mean(),
        "differ": len(open_), "exact of these_%": 100.0 * right.mean(),
    }  # fmt: skip
    for queue in QUEUES:
        same = (known[f"filled_{queue}"] - true).abs() <= margin
        both = known[(known["done"] > 0) & (known[f"done_{queue}"] > 0)]
        error = (both[f"done_{queue}"] - both["done"]).abs() / NS
        row[f"{queue}_%"] = 100.0 * same.mean()
        row[f"error_{queue}_s"] = error.quantile(0.95) if len(error) else np.nan
    return row


def fill_times(
    periods: Iterable[Period], shares: float, queue: str, seconds: float
) -> pd.DataFrame:
    """How long an order at the best quote waits for its whole fill, without following the quote.

    One order rests from the start of every interval on each side, until it is filled, its time is
    over, or its period ends.

    Returns
    -------
    DataFrame, a row an order that had a book
        side; ahead (shares) and spread (ticks) on its arrival; seconds it rested; filled (bool).

    Examples
    --------
    >>> from research_lib.market import Session
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> periods = Period.of(books, market.session)
    >>> fill_times(periods, 100.0, "last", 60.0)["spread"].unique().tolist()
    [1.0]
    """
    number("seconds", seconds, above=0)
    parts, how = [], Posting(queue, follow=False, latency_seconds=0.0)
    for period in periods:
        end = np.minimum(period.start + round(seconds * NS), period.start[-1] + period.step)
        for side in SIDES:
            done = rest_orders(period.recording, side, shares, period.start, end, how)
            filled = done.left <= 0
            waited = (np.where(filled, done.done, end) - period.start) / NS
            parts.append(period.seen(side).assign(side=side, seconds=waited, filled=filled))
    return pd.concat(parts, ignore_index=True).dropna()


def fill_curve(orders: pd.DataFrame, seconds: Sequence[float]) -> pd.DataFrame:
    r"""Probability that an order is filled within some time, with censored orders.

    .. math:: P(T \le t) = 1 - \prod_{t_i \le t} (1 - d_i / n_i)

    with d_i fills at t_i and n_i orders that rest until then. Source: Kaplan and Meier (1958),
    "Nonparametric estimation from incomplete observations", Journal of the American Statistical
    Association 53.

    Parameters
    ----------
    orders : DataFrame
        seconds, filled: as of `fill_times`.
    seconds : sequence of float

    Returns
    -------
    DataFrame
        Index seconds; probability, se (Greenwood's), resting: orders that rest longer.

    Examples
    --------
    >>> orders = pd.DataFrame({"seconds": [1.0, 2.0, 3.0], "filled": [True, False, True]})
    >>> fill_curve(orders, [1.0, 3.0])["probability"].round(3).tolist()
    [0.333, 1.0]
    """
    from statsmodels.duration.survfunc import SurvfuncRight  # heavy to import

    found = SurvfuncRight(orders["seconds"], orders["filled"].astype(int))
    at = np.searchsorted(found.surv_times, seconds, "right")
    survivors, errors = np.append(1.0, found.surv_prob), np.append(0.0, found.surv_prob_se)
    resting = [int((orders["seconds"] > one).sum()) for one in seconds]
    columns = {"probability": 1.0 - survivors[at], "se": errors[at], "resting": resting}
    return pd.DataFrame(columns, pd.Index(seconds, name="seconds"))


def by_queue_and_spread(orders: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The orders of `fill_times`, split at the medians of the queue ahead and of the spread.

    Where the spread is nearly always the same, by the queue alone.

    Examples
    --------
    >>> orders = pd.DataFrame({"ahead": [1.0, 2.0, 3.0], "spread": [1.0, 1.0, 1.0]})
    >>> {name: len(one) for name, one in by_queue_and_spread(orders).items()}
    {'short queue': 2, 'long queue': 1}
    """
    long = orders["ahead"] > orders["ahead"].median()
    wide = orders["spread"] > orders["spread"].median()
    names = np.where(long, "long queue", "short queue").astype(object)
    if wide.any():
        names = names + np.where(wide, ", wide spread", ", tight spread")
    return {name: orders[names == name] for name in sorted(set(names), reverse=True)}


def recovered_fills(
    market: QueueMarket, periods: Sequence[Period], seconds: float, queue: str
) -> pd.DataFrame:
    """Fill probabilities of a market whose truth is known, beside that truth, by the lots ahead.

    An order of one lot joins the best bid at the start of every interval, and stops resting where
    the price moves away: the truth holds until then.

    Parameters
    ----------
    market : QueueMarket
    periods : sequence of Period
        Drawn from it.
    seconds : float
    queue : str

    Returns
    -------
    DataFrame
        Index lots ahead, of at least a hundred orders; truth, probability, se, z (their distance in
        standard errors), orders.

    Examples
    --------
    >>> from research_lib.market import Session
    >>> market = QueueMarket(session=Session(330, close="15:00"))
    >>> books, messages = market.days(1, np.random.default_rng(0))
    >>> periods = Period.of(books, market.session, messages=messages)
    >>> bool((recovered_fills(market, periods, 30.0, "exact")["z"].abs() < 4).all())
    True
    """
    parts = []
    for period in periods:
        orders = fill_times([period], market.lot_size, queue, seconds)
        orders = orders[orders["side"] == "buy"]
        time, bid = period.recording.books.time, period.recording.books.bid_price[:, 0]
        joined = np.searchsorted(time, period.start, "right") - 1  # every start has a book
        moves = np.flatnonzero(np.diff(bid) != 0) + 1
        move = moves[np.minimum(np.searchsorted(moves, joined, "right"), len(moves) - 1)]
        away = np.where(bid[move] > bid[joined], (time[move] - period.start) / NS, np.inf)
        lost = away < orders["seconds"].to_numpy()
        stays = np.minimum(orders["seconds"], away)
        parts.append(orders.assign(seconds=stays, filled=orders["filled"] & ~lost))
    orders, rows = pd.concat(parts), {}
    for ahead, own in orders.groupby((orders["ahead"] / market.lot_size).round().astype(int)):
        if len(own) >= MIN_ORDERS:
            found = fill_curve(own, [seconds]).iloc[0]
            truth = float(market.fill_probability(ahead, seconds)[0])
            off = (found["probability"] - truth) / found["se"]
            rows[ahead] = (truth, found["probability"], found["se"], off, len(own))
    columns = ["truth", "probability", "se", "z", "orders"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("lots ahead")

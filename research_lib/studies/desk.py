"""Desks to try the analysis of costs on: a synthetic one of known costs, and a fictitious one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from research_lib.checks import Float, Int64, number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation import CarriedImpact, replay
from research_lib.evaluation.costs import Z
from research_lib.evaluation.tca import PARTS
from research_lib.market import BookSnapshots, Session, SyntheticMarket, preset
from research_lib.market.book import side_sign
from research_lib.market.sessions import as_session

SYMBOLS = {"THIN": "thin_stock", "DEEP": "deep_stock", "WIDE": "wide_spread_stock"}
DAYS_BEFORE = 20  # without orders: what a forecast is first made from
# Minutes that an order takes, and the part of its child orders that rest at the own touch.
STRATEGIES = {"fast": (20, 0.0), "slow": (120, 0.0), "patient": (120, 0.5)}
TRADERS = ("Ada", "Ben")
PARTICIPATION = (0.01, 0.10)  # of the market's expected volume over that time
CANCELLED = 0.08  # of the orders, halfway
FEES = {"ALPHA": (0.003, -0.002), "BETA": (0.001, 0.0005)}  # currency a share: removed, added
N_LEVELS, PART = 10, 0.2  # of books; of the trades of a side, taken by a fictitious order
LAST_LAG = 1_200.0  # seconds: of the propagator behind a measured kernel
ARRIVES, FILLS = 1_000_000, 2_000_000  # ns after the book of an interval is shown
Markets = Mapping[str, SyntheticMarket]


@dataclass(frozen=True, eq=False)
class SyntheticDesk(Record):
    """Orders on synthetic markets whose kernels are known, so that every part of a cost is.

    Attributes
    ----------
    orders, fills : DataFrame
        As `read_orders` and `read_fills` give them.
    books : dict of symbol to BookSnapshots
        One an interval, with trades, displaced by the orders; the first twenty days have none.
    truth : DataFrame
        Index order_id; the parts in bps of the order's value at arrival.
    markets : dict of symbol to SyntheticMarket
    session : Session
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    books: dict[str, BookSnapshots]
    truth: pd.DataFrame
    markets: Markets
    session: Session


def synthetic_desk(n_orders: int, rng: Generator, n_days: int = 20) -> SyntheticDesk:
    """Orders of three strategies in three stocks over some days of minutes.

    An order arrives some minutes after its decision and sends equal child orders each minute, which
    walk the book of that minute or, of the patient strategy one in two, rest and are filled at the
    own touch. Own fills displace later books by the market's kernel. Some orders are cancelled
    halfway.

    Examples
    --------
    >>> desk = synthetic_desk(30, np.random.default_rng(0), n_days=3)
    >>> len(desk.orders), sorted(desk.books)
    (30, ['DEEP', 'THIN', 'WIDE'])
    """
    n_days, session = number("n_days", n_days, 1, integer=True), Session(390)
    markets = {name: preset(one, session) for name, one in SYMBOLS.items()}
    plans = _plans(number("n_orders", n_orders, 1, integer=True), n_days, markets, rng)
    books, fills, truth = {}, [], []
    for symbol, market in markets.items():
        days, mine = [], plans[plans["symbol"] == symbol]
        n = (DAYS_BEFORE + n_days) * session.n_intervals
        drawn = market.books(n, N_LEVELS, rng, flow=market.flow)
        for d, ends in enumerate(np.transpose(session.bounds(drawn.days(session)))):
            day = drawn.between(*pd.to_datetime(ends, utc=True))
            executed = [_executed(plan, day) for plan in mine[mine["day"] == d].itertuples()]
            for plan, shares, _ in executed:
                day = market.moved(day, shares, plan.side)
            for plan, shares, premium in executed:
                rows, parts = _booked(plan, shares, premium, day, market, rng)
                fills.append(rows)
                truth.append(parts)
            days.append(day)
        books[symbol] = BookSnapshots.concat(days)
    orders = _orders(plans, drawn.time.reshape(-1, session.n_intervals))
    known = pd.DataFrame(truth).set_index("order_id").loc[orders["order_id"]]
    made = pd.concat(fills, ignore_index=True)
    return SyntheticDesk(orders, made, books, known, markets, session)


def _plans(n_orders: int, n_days: int, markets: Markets, rng: Generator) -> pd.DataFrame:
    """What the desk decides: one row an order, with intervals of decision, arrival and end."""
    plans = pd.DataFrame({"order_id": [f"O{k:04d}" for k in range(n_orders)]})
    drawn = {"symbol": markets, "strategy": STRATEGIES, "side": ("buy", "sell"), "trader": TRADERS}
    for name, values in drawn.items():
        plans[name] = rng.choice(np.array([*values], object), n_orders)
    plans["day"] = DAYS_BEFORE + rng.integers(0, n_days, n_orders)
    plans["length"] = plans["strategy"].map(lambda one: STRATEGIES[one][0])
    plans["resting"] = plans["strategy"].map(lambda one: STRATEGIES[one][1])
    plans["decided"] = rng.integers(0, 240, n_orders)
    plans["arrival"] = plans["decided"] + rng.integers(0, 10, n_orders)
    plans["cancelled"] = rng.random(n_orders) < CANCELLED
    flows = {k: one.flow.trades_per_interval * one.flow.mean_size for k, one in markets.items()}
    traded = plans["symbol"].map(flows) * plans["length"]
    plans["shares"] = np.ceil(rng.uniform(*PARTICIPATION, n_orders) * traded)
    return plans


def _executed(plan: Any, day: BookSnapshots) -> tuple[Any, Float, Float]:
    """Shares of each interval's child order, and what each walks beyond the mid, currency."""
    sent = plan.length // 2 if plan.cancelled else plan.length
    child = np.zeros(len(day))
    child[plan.arrival : plan.arrival + sent] = plan.shares / plan.length
    done = replay(child, day, plan.side)
    return plan, done.filled, done.cost_by_interval


def _booked(
    plan: Any, shares: Float, premium: Float, day: BookSnapshots, market: SyntheticMarket,
    rng: Generator,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """The fills of an order on the displaced books, and its true cost by parts."""
    at, sign = np.flatnonzero(shares > 0), side_sign(plan.side)
    x, mid, half, time = shares[at], day.mid[at], day.half_spread[at], day.time[at]
    rests = rng.random(len(at)) < plan.resting
    beyond = np.where(rests, -half, premium[at] / x)
    venue = rng.choice(np.array([*FEES], object), len(at))
    fee = x * np.array([FEES[one][int(rest)] for one, rest in zip(venue, rests, strict=True)])
    rows = {"order_id": plan.order_id, "time": pd.to_datetime(time + FILLS, utc=True), "shares": x}
    rows |= {"price": mid + sign * beyond, "venue": venue, "fee": fee}
    rows["liquidity"] = np.where(rests, "added", "removed")
    seconds = (time - time[0]) / 1e9 if len(at) else np.zeros(0)
    assert market.kernel is not None
    kernel = market.kernel(np.abs(np.subtract.outer(seconds, seconds)))
    carried = float(x @ np.tril(kernel, -1) @ x)  # a child order meets one book
    last = plan.arrival + plan.length // 2 if plan.cancelled else -1
    arrival, decision, end = day.mid[[plan.arrival, plan.decided, last]]
    touch, filled = np.where(rests, -half, half), x.sum()
    parts = {
        "delay": sign * (arrival - decision) * filled,
        "spread": x @ touch,
        "walk": x @ (beyond - touch),
        "carried": carried,
        "timing": sign * x @ (mid - arrival) - carried,
        "opportunity": sign * (end - decision) * max(plan.shares - filled, 0.0),
        "fees": fee.sum(),
    }
    paper = plan.shares * arrival
    costs = {f"{name}_bps": 1e4 * float(part) / paper for name, part in parts.items()}
    return pd.DataFrame(rows), {"order_id": plan.order_id, **costs}


def _orders(plans: pd.DataFrame, time: Int64) -> pd.DataFrame:
    """The plans as a desk would file them, in order of arrival; books are shown at these times."""
    orders = plans[["order_id", "symbol", "side", "shares", "strategy", "trader"]].copy()
    due = plans["arrival"] + plans["length"]
    columns = {"decision_time": plans["decided"], "arrival_time": plans["arrival"]}
    columns |= {"due_time": due, "end_time": due - plans["length"] // 2}
    for name, at in columns.items():
        orders[name] = pd.to_datetime(time[plans["day"], at] + ARRIVES, utc=True)
    orders["end_time"] = orders["end_time"].where(plans["cancelled"])
    return orders.sort_values("arrival_time", kind="stable", ignore_index=True)


def recovered_parts(
    table: pd.DataFrame, truth: pd.DataFrame, carried: Mapping[str, CarriedImpact]
) -> pd.DataFrame:
    """What the analysis finds of a synthetic desk's costs beside the truth, means by value.

    Returns
    -------
    DataFrame
        Index the parts, and the carried impact by symbol: found_bps, true_bps, difference_bps; of
        the latter standard error_bps, that of the kernel's level.

    Examples
    --------
    >>> part = pd.DataFrame({f"{one}_bps": [1.0] for one in PARTS}).assign(symbol="A", value=1.0)
    >>> float(recovered_parts(part, part, {})["difference_bps"].abs().max())
    0.0
    """
    truth, errors = truth.loc[table.index], {}

    def means(part: str, orders: pd.DataFrame) -> tuple[float, float]:
        weights, name = orders["value"] / orders["value"].sum(), f"{part}_bps"
        return float(weights @ orders[name]), float(weights @ truth.loc[orders.index, name])

    rows = {part: means(part, table) for part in PARTS}
    for symbol, one in carried.items():
        name = f"carried, {symbol}"
        rows[name] = means("carried", table[table["symbol"] == symbol])
        if one.kernel is not None:  # the interval is that of the level, or of the last lag
            width = (one.interval[1] - one.interval[0]) / (2.0 * Z)
            errors[name] = rows[name][0] * width / float(one.kernel(LAST_LAG))
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["found_bps", "true_bps"])
    found["difference_bps"] = found["found_bps"] - found["true_bps"]
    return found.assign(**{"standard error_bps": pd.Series(errors, dtype=float)})


def fictitious_orders(
    books: BookSnapshots, n_orders: int, rng: Generator, *,
    session: Session | None = None, minutes: float = 30.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Recorded trades taken as the fills of parent orders that never were.

    An order arrives at a random time of a session on a random side. Its size is a fifth of what
    traded on that side in the minutes before, so that it is fixed before its fills. Each later
    trade of that side fills it with a chance of one in five until it is done or its time is over;
    no trade fills two orders. The decision was a minute before. Costs are those of these trades,
    what others paid: nobody decided them together, so that they show no desk's impact or delay.

    Parameters
    ----------
    books : BookSnapshots with signed trades
    n_orders : int
        At most; draws without a fill are left out.
    rng : Generator
    session : Session, optional
    minutes : float
        That an order may take.

    Returns
    -------
    orders, fills : DataFrame

    Raises
    ------
    ValidationError
        Books without signed trades in the session, or sessions that are too short.

    Examples
    --------
    >>> market = preset("thin_stock", Session(13))
    >>> drawn = market.books(13, 1, np.random.default_rng(0), flow=market.flow)
    >>> rng = np.random.default_rng(0)
    >>> orders, fills = fictitious_orders(drawn, 5, rng, session=market.session)
    >>> bool((fills.groupby("order_id")["shares"].sum() <= orders["shares"].max()).all())
    True
    """
    hours, trades = as_session(session), books.trades
    span = np.int64(60e9 * number("minutes", minutes, above=0))
    if trades is None or not trades.aggressor.any():
        raise ValidationError("these books have no signed trades; read such a format, or signs=")
    trades = trades.take((trades.aggressor != 0) & (hours.interval_of(trades.time) >= 0))
    opens, closes = hours.bounds(books.days(hours))
    opens, closes = np.maximum(opens, books.time[0]) + span, closes - span
    long_enough = np.flatnonzero(closes > opens)
    if not len(long_enough):
        raise ValidationError(f"no session holds two times {minutes:g} minutes; give fewer")
    free, orders, fills = np.ones(len(trades), bool), [], []
    for k in range(number("n_orders", n_orders, 1, integer=True)):
        day, sign = rng.choice(long_enough), int(rng.choice([-1, 1]))
        arrival = int(rng.integers(opens[day], closes[day]))
        start, now, stop = np.searchsorted(trades.time, arrival + span * np.arange(-1, 2))
        before, later = np.arange(start, now), np.arange(now, stop)
        shares = PART * trades.size[before][trades.aggressor[before] == sign].sum()
        later = later[free[later] & (trades.aggressor[later] == sign)]
        later = later[rng.random(len(later)) < PART]
        filled = np.diff(np.minimum(np.cumsum(trades.size[later]), shares), prepend=0.0)
        later, filled = later[filled > 0], filled[filled > 0]
        if not len(later):
            continue
        free[later] = False
        ends = arrival - 60_000_000_000, arrival, arrival + span
        decided, arrived, due = pd.to_datetime(ends, utc=True)
        order: dict[str, Any] = {"order_id": f"{books.symbol} {k:04d}", "symbol": books.symbol}
        order |= {"strategy": "recorded trades", "side": "buy" if sign > 0 else "sell"}
        order |= {"shares": shares, "decision_time": decided, "arrival_time": arrived}
        orders.append(order | {"due_time": due, "end_time": due})
        time = pd.to_datetime(trades.time[later], utc=True)
        fill = {"order_id": order["order_id"], "time": time, "shares": filled}
        fill["fill_id"] = later  # trades of one time, price and size are different ones
        fills.append(pd.DataFrame(fill | {"price": trades.price[later], "liquidity": "removed"}))
    if not orders:
        raise ValidationError("no order has a fill; give more minutes")
    return pd.DataFrame(orders), pd.concat(fills, ignore_index=True)

"""What own orders were expected to cost, and what other schedules would have cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import Float
from research_lib.evaluation.executions import Execution, Ladder
from research_lib.evaluation.own_orders import as_ns
from research_lib.evaluation.priors import Known, Prior
from research_lib.evaluation.protocol import standard_strategies
from research_lib.evaluation.strategies import BestBenchmark, Scheduled, TwapAfter, run
from research_lib.evaluation.tca import carried_cost
from research_lib.market import Session


def pre_trade_costs(
    orders: pd.DataFrame, known: Mapping[str, Sequence[Known]], session: Session, *,
    replays: int = 0, max_part: float = 0.2, rng: np.random.Generator | None = None,
) -> pd.DataFrame:  # fmt: skip
    """What each order was expected to cost, and what other schedules would have cost.

    The forecast is that of equal shares over the order's own intervals, by curves and carried
    impact of earlier sessions. For some orders the best benchmark and the static optimum, fixed
    before the order by what these sessions showed, work the shares that the desk filled on the
    books of the day: spread, walk and what these child orders carry on. Books are as recorded,
    moved by the desk's own fills.

    Parameters
    ----------
    orders : DataFrame
        Of `Desk`; `until` says how long an order may take, `filled` what is replayed.
    known : mapping of symbol to sequence of Known
        Sessions, each with what earlier ones showed; orders of other sessions get NaN.
    session : Session
        Whose intervals the books are sampled by.
    replays : int
        Number of orders that are replayed, drawn at random; 0 for none.
    max_part : float
        Of the order, the most a child order may be.
    rng : Generator
        Draws them.

    Returns
    -------
    DataFrame
        Index order_id: forecast_bps; TWAP_bps, best benchmark_bps, static optimal_bps (NaN where
        not replayed).
    """
    draw = rng or np.random.default_rng(0)
    priced = [name for name, one in known.items() if one]
    mine = orders.index[orders["symbol"].isin(priced)]
    drawn = set(draw.permutation(np.asarray(mine, object))[:replays])
    rows: dict[Any, dict[str, float]] = {}
    for symbol, sessions in known.items():
        own = orders[orders["symbol"] == symbol]
        arrived, end = as_ns(own["arrival_time"]), as_ns(own["until"])
        day = session.days(arrived)
        for one in sessions:
            ladders = {
                side: Ladder.of(one.books, side).by_day(session.n_intervals) for side in one.priors
            }
            dates = [session.days(books.time[:1])[0] for books in next(iter(ladders.values()))]
            for place, date in enumerate(dates):
                for at in np.flatnonzero(day == date):
                    order = own.iloc[at]
                    ladder, prior = ladders[order["side"]][place], one.priors[order["side"]]
                    first = min(np.searchsorted(ladder.time, arrived[at]), len(ladder) - 1)
                    last = max(np.searchsorted(ladder.time, end[at]), first + 1)
                    rows[own.index[at]] = _expected(
                        order, ladder.take(slice(first, last)), prior.within(slice(first, last)),
                        max_part if own.index[at] in drawn else 0.0,
                    )  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").reindex(orders.index)


def _expected(order: pd.Series, ladder: Ladder, prior: Prior, max_part: float) -> dict[str, float]:
    """Forecast of one order and, with a largest part, other schedules replayed."""
    n, total = len(ladder), float(order["shares"])
    even, kernel = np.full(n, total / n), prior.carried.kernel
    at, paper = np.zeros(n, np.int64), total * float(ladder.mid[np.isfinite(ladder.mid)][0])

    def carried(shares: Float) -> float:
        return 0.0 if kernel is None else float(carried_cost(at, ladder.time, shares, kernel, 1)[0])

    costs = float(np.sum(prior.curve.cost(even))) + carried(even)
    row = {"forecast_bps": 1e4 * costs / paper}
    if not max_part:
        return row
    caps = float(order["filled"]) * max(max_part, 2.0 / n)
    chosen: list[Scheduled] = []
    for one in standard_strategies(prior):
        if isinstance(one, BestBenchmark):
            fixed = [c for c in one.candidates if not isinstance(c, TwapAfter)]
            chosen.append(replace(one, candidates=fixed))
        elif isinstance(one, Scheduled) and one.name in ("TWAP", "static optimal"):
            chosen.append(one)
    filled = float(order["filled"])
    for one in chosen if filled > 0 else ():
        done: Execution = run(one, ladder, filled, order["side"], max_shares=caps)
        shares = np.append(done.filled[:-1], done.filled[-1] + done.unfilled)
        paid = done.cost + done.rest_cost + carried(shares)
        row[f"{one.name}_bps"] = 1e4 * paid / paper
    return row

"""Cost of strategies relative to a benchmark on the same orders: parts, differences, intervals."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from research_lib.errors import ValidationError
from research_lib.evaluation.costs import PARTS, Accounting, order_costs
from research_lib.evaluation.executions import Execution
from research_lib.evaluation.intervals import mean_interval
from research_lib.market import BookSnapshots

BENCHMARKS = ("best benchmark", "TWAP")
ORDER = ["symbol", "start", "intervals", "side", "size"]
MEASURES = (*PARTS, "total_bps", "shortfall_bps", "timing_risk_bps", "objective_bps")
DIFFERENCE = ["difference_bps", "lower_bps", "upper_bps"]
# Of tables/strategy_costs.csv.
COLUMNS = [
    "strategy", "side", "size", "scenario", *PARTS, "total_bps", *DIFFERENCE, *MEASURES[6:],
    "orders", "completed",
]  # fmt: skip


def paired_costs(
    executions: Iterable[Execution], accounting: Accounting | None = None, *,
    benchmark: str | None = None, states: BookSnapshots | None = None,
) -> pd.DataFrame:  # fmt: skip
    """`order_costs` with the difference of the total to that of the benchmark on the same order.

    Orders are the same if symbol, start, length, side and size are equal, sizes up to rounding.

    Parameters
    ----------
    executions : iterable of Execution
    accounting, states
        As in `order_costs`.
    benchmark : str, optional
        By default the best one known before the session if it is among them, else TWAP.

    Raises
    ------
    ValidationError
        No executions, an order without the benchmark, or the same order twice.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, clairvoyant, run
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> done = [run(Twap(), books, 500, "buy"), clairvoyant(books, 500, "buy")]
    >>> paired_costs(done)["difference_bps"].iloc[0].item()
    0.0
    """
    done = list(executions) if isinstance(executions, Iterable) else []
    rows = order_costs(done, accounting, states)
    rows["symbol"] = [one.symbol for one in done]
    rows["intervals"] = [one.n_intervals or len(one.time) for one in done]
    rows["session"] = _sessions(rows["start"], pd.Series([one.time[-1] for one in done]))
    # Sizes are sums: digits beyond the ninth are rounding.
    rows["size"] = [float(f"{size:.9g}") for size in rows["size"]]
    if (again := rows.duplicated(["strategy", *ORDER])).any():
        name = rows.loc[again, "strategy"].iloc[0]
        raise ValidationError(f"{name} has {_named(rows[again])} twice")
    best, equal = BENCHMARKS
    name = benchmark or (best if (rows["strategy"] == best).any() else equal)
    reference = rows.loc[rows["strategy"] == name, [*ORDER, "total_bps"]]
    beside = rows[ORDER].merge(reference, on=ORDER, how="left")["total_bps"].to_numpy()
    counts = rows["strategy"].value_counts()
    for few, count in counts[counts < len(reference)].items():
        raise ValidationError(f"{few} has {count} of {len(reference)} orders; run all on the same")
    if (lacking := np.isnan(beside)).any():
        raise ValidationError(f"{_named(rows[lacking])} has no {name} to be compared with; run it")
    # Equal schedules differ by rounding only, which is set to 0.
    difference = np.round(rows["total_bps"] - beside, 9)
    return rows.assign(benchmark=name, difference_bps=difference)


def _sessions(start: pd.Series, end: pd.Series) -> pd.Series:
    """The session of each order, numbered in time order; orders that overlap are of one session."""
    ordered = start.sort_values(kind="stable")
    over = end[ordered.index].cummax().shift(fill_value=np.iinfo(np.int64).max)
    return (ordered > over).cumsum()


def _named(rows: pd.DataFrame) -> str:
    """The first order of some rows, in words."""
    one = rows.iloc[0]
    day = f"{pd.Timestamp(one['start']):%Y-%m-%d}"
    return f"the {one['side']} of {one['size']:.9g} {one['symbol'] or 'shares'} on {day}"


def compare(
    executions: Iterable[Execution], accounting: Accounting | None = None, *,
    benchmark: str | None = None, states: BookSnapshots | None = None,
) -> pd.DataFrame:  # fmt: skip
    r"""Cost of each strategy by parts, and its paired difference to the benchmark.

    .. math:: d_i = \frac{1}{|O_i|} \sum_{o \in O_i} (C_o - C^{benchmark}_o)

    over the orders O_i of session i (all that overlap in time), the expected cost C in bps of the
    arrival mid; below 0 the strategy is cheaper. From 20 sessions on its mean has a 95 % interval,
    see `mean_interval`. No order is left out: what the books did not fill is completed and counted.

    Parameters
    ----------
    executions, accounting, benchmark, states
        As in `paired_costs`.

    Returns
    -------
    DataFrame
        Index strategy, the cheapest first: the parts, total_bps, difference_bps, lower_bps,
        upper_bps, p_value (NaN for fewer than 20 sessions and for the benchmark), shortfall_bps,
        timing_risk_bps, objective_bps: means over orders; orders, sessions, completed (share of the
        orders that the books filled alone).

    Raises
    ------
    ValidationError
        As `paired_costs`.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from research_lib.evaluation import replay
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> equal, early = (replay(shares, books, "buy") for shares in ([10, 10], [15, 5]))
    >>> table = compare([replace(equal, name="TWAP"), replace(early, name="early")])
    >>> table["difference_bps"].round(6).to_dict()
    {'early': -25.0, 'TWAP': 0.0}
    """
    rows = paired_costs(executions, accounting, benchmark=benchmark, states=states)
    return _means(rows).sort_values("total_bps")


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a strategy, of `paired_costs`."""
    means = rows.groupby("strategy", sort=False)[[*MEASURES, "completed"]].mean()
    limits, names = {}, [*DIFFERENCE, "p_value", "orders", "sessions"]
    for name, own in rows.groupby("strategy", sort=False):
        by_session = own.groupby("session")["difference_bps"].mean()
        found = mean_interval(by_session.to_numpy())
        ends = (found.mean, found.lower, found.upper, found.p_value)
        if name == own["benchmark"].iloc[0]:
            ends = (0.0, np.nan, np.nan, np.nan)
        limits[name] = (*ends, len(own), len(by_session))
    table = means.join(pd.DataFrame.from_dict(limits, orient="index", columns=names))
    columns = [*MEASURES[:6], *DIFFERENCE, "p_value", *MEASURES[6:], "orders", "sessions"]
    return table[[*columns, "completed"]].astype({"orders": int, "sessions": int})


def strategy_costs(
    executions: Iterable[Execution], accountings: Sequence[Accounting], *,
    benchmark: str | None = None, states: BookSnapshots | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The table of every strategy by side, size and scenario: tables/strategy_costs.csv.

    Parameters
    ----------
    executions, benchmark, states
        As in `paired_costs`.
    accountings : sequence of Accounting
        One for each scenario.

    Returns
    -------
    DataFrame
        `COLUMNS`; side is "buy", "sell", and "both" if there are both; limits are empty where there
        is no interval.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, run
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> table = strategy_costs([run(Twap(), books, 500, "buy")], [Accounting()])
    >>> table[["strategy", "side", "scenario"]].to_numpy().tolist(), len(table.columns)
    ([['TWAP', 'buy', 'none']], 18)
    """
    done, tables = list(executions), []
    for accounting in accountings:
        rows = paired_costs(done, accounting, benchmark=benchmark, states=states)
        sides = {side: [side] for side in rows["side"].unique()}
        if len(sides) > 1:
            sides["both"] = list(sides)
        for size, of_size in rows.groupby("size"):
            for side, chosen in sides.items():
                if (own := of_size["side"].isin(chosen)).any():
                    known = {"side": side, "size": size, "scenario": rows["scenario"].iloc[0]}
                    tables.append(_means(of_size[own]).reset_index().assign(**known))
    return pd.concat(tables, ignore_index=True)[COLUMNS]

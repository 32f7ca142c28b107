"""Transaction-cost analysis: what a desk's own orders cost, by parts, by groups and as forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from research_lib.checks import Float, refuse_unknown
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation.costs import CarriedImpact
from research_lib.evaluation.own_orders import Desk, as_ns
from research_lib.evaluation.tape import Int64, Tape, ratio
from research_lib.impact import Kernel

TRADING = ("spread", "walk", "carried", "timing")
PARTS = ("delay", "spread", "walk", "carried", "timing", "opportunity", "fees")
DESK_PARTS = tuple(f"{part}_bps" for part in PARTS)
HORIZONS = (5, 60, 300)  # seconds of the markouts
MIN_DAYS, MIN_GROUP = 20, 5  # days from which on intervals are given; of a group, its own
MIN_ORDERS = 20  # of a calibration
# A group's own limits, and their names where nothing else has limits.
OWN_LIMITS = {"total_lower_bps": "lower_bps", "total_upper_bps": "upper_bps"}
OUTLIER = 4.0  # robust standard deviations
BLOCK = 500  # fills of an order whose lags are held at once
Carried = CarriedImpact | Mapping[Any, CarriedImpact]  # of all sessions, or by session


def analyse_orders(
    desk: Desk, tapes: Mapping[str, Tape], carried: Mapping[str, Carried] | None = None
) -> pd.DataFrame:
    r"""What each order cost against its decision, in parts that add up; benchmarks and markouts.

    With epsilon 1 for a buy and -1 for a sell, S shares ordered, fills x_i at prices p_i, m_i and
    h_i mid and half-spread of the last book strictly before each, P_d, P_a and P_e the mids at the
    decision, the arrival and the end,

    .. math:: \underbrace{\epsilon (P_a - P_d) X}_{delay} + \underbrace{\sum_i \pm x_i h_i}_{spread}
        + \underbrace{\sum_i x_i (\epsilon (p_i - m_i) \mp h_i)}_{walk}
        + \underbrace{\sum_{j < i} x_i x_j G(t_i - t_j)}_{carried}
        + \underbrace{\epsilon \sum_i x_i (m_i - P_a) - carried}_{timing}
        + \underbrace{\epsilon (P_e - P_d)(S - X)}_{opportunity} + fees

    is the implementation shortfall (Perold, 1988). A fill that added liquidity earns the
    half-spread (the lower sign); without a flag, one that is better than the mid. A walk below 0 is
    a price inside the spread. Here the mids contain the own impact, so that what is carried is a
    part of their move, timing the rest; fills that met the same book carry nothing on each other.
    The end is the end_time, else the close of the session of the last fill.

    Parameters
    ----------
    desk : Desk
    tapes : mapping of symbol to Tape
    carried : mapping of symbol to CarriedImpact, or to one by session, optional
        Those with a kernel. Where none is known carried is 0, and its cost is in the timing.

    Returns
    -------
    DataFrame
        Index order_id: symbol, side, strategy, ... as given; day, hour (local), value (S times
        P_a), filled_%, earned_% (of it, fills that earned the spread), participation_% (of the
        market's volume from arrival to end), seconds, carried_known; the parts and total_bps, bps
        of value; trading_bps (spread to timing); whole_bps (trading, and what was not filled
        from arrival to end); arrival_bps, vwap_bps, twap_bps, close_bps (the mean price against
        each, bps of it; VWAP and TWAP are of the market's trades and mid over the order's own
        time).

    Raises
    ------
    ValidationError
        Impact of a symbol that has no tape, or of a scenario without a kernel.

    Examples
    --------
    >>> from research_lib.evaluation import checked_desk
    >>> from research_lib.studies import synthetic_desk
    >>> made = synthetic_desk(20, np.random.default_rng(0), n_days=2)
    >>> tapes = {name: Tape.of(books, made.session) for name, books in made.books.items()}
    >>> kernels = {name: one.kernel for name, one in made.markets.items()}
    >>> kernels = {name: CarriedImpact("measured", one) for name, one in kernels.items()}
    >>> table = analyse_orders(checked_desk(made.orders, made.fills, tapes), tapes, kernels)
    >>> bool(np.allclose(table[list(DESK_PARTS)], made.truth.loc[table.index], atol=1e-9))
    True
    """
    refuse_unknown(carried or {}, tapes, "symbol of carried")
    orders, priced, tables = desk.orders, priced_fills(desk, tapes), []
    for symbol, own in orders.groupby("symbol", sort=False):
        fills = priced[orders["symbol"].to_numpy()[priced["order"]] == symbol]
        at = own.index.get_indexer(orders.index[fills["order"]])
        impact = (carried or {}).get(str(symbol), {})
        tables.append(_summed(own, fills, at, tapes[str(symbol)], impact))
    return pd.concat(tables).loc[orders.index]


def priced_fills(desk: Desk, tapes: Mapping[str, Tape]) -> pd.DataFrame:
    """Each fill beside the last book before it.

    Returns
    -------
    DataFrame
        Index as `desk.fills`: order, sign, shares, day (of the fill), state (ns: when its book was
        shown), mid; gained (earned the spread); in currency paid (beyond nothing), spread, walk,
        fees, and selection_5s, _60s, _300s: minus the mid's move after the fill in the order's
        direction, NaN past the close or where books stand further apart.
    """
    own, tables = desk.orders.iloc[desk.fills["order"].to_numpy()], []
    for symbol in desk.orders["symbol"].unique():
        mine, tape = (own["symbol"] == symbol).to_numpy(), tapes[symbol]
        fills, sign = desk.fills[mine], np.where(own["side"][mine] == "buy", 1.0, -1.0)
        time, shares, price = as_ns(fills["time"]), fills["shares"], fills["price"]
        row = tape.row(time, before=True)
        mid, half = tape.mid[row], tape.half_spread[row]
        beyond = sign * (price - mid)
        gained = beyond < 0
        if "liquidity" in fills:
            gained = gained.where(fills["liquidity"].isna(), fills["liquidity"] == "added")
        touch = np.where(gained, -half, half)
        found = {"order": fills["order"], "sign": sign, "shares": shares, "mid": mid}
        found |= {"day": np.array(tape.days, object)[tape.day[row]], "state": tape.time[row]}
        found |= {"gained": gained, "spread": shares * touch, "walk": shares * (beyond - touch)}
        found |= {"paid": shares * price, "fees": fills.get("fee", 0.0 * price).fillna(0.0)}
        closing, apart = tape.closing(time), float(np.median(np.diff(tape.time))) / 1e9
        for seconds in HORIZONS:
            later = time + np.int64(1e9 * seconds)
            seen = (later <= closing) & (seconds >= apart)
            move = -sign * shares * (tape.mid_at(later) - mid)
            found[f"selection_{seconds}s"] = move.where(seen)
        tables.append(pd.DataFrame(found, fills.index))
    return pd.concat(tables).sort_index()


def _summed(
    orders: pd.DataFrame, fills: pd.DataFrame, at: Int64, tape: Tape, impact: Carried
) -> pd.DataFrame:
    """Orders of one symbol; `at` is the row of each fill's order."""
    n, sign = len(orders), np.where(orders["side"] == "buy", 1.0, -1.0)
    decided, arrived, until = (as_ns(orders[k]) for k in ("decision_time", "arrival_time", "until"))

    def summed(values: Any) -> Float:
        return np.bincount(at, values, n).astype(float)

    ordered, filled = orders["shares"].to_numpy(float), summed(fills["shares"])
    decision, arrival = tape.mid_at(decided), tape.mid_at(arrived)
    end = np.where(orders["end_time"].notna(), until, tape.closing(until))
    day = np.array(tape.days, object)[tape.day_of(arrived)]
    moved, known = np.zeros(n), np.zeros(n, bool)
    for date in set(day):
        one = impact if isinstance(impact, CarriedImpact) else impact.get(date, CarriedImpact())
        if one.scenario == "square-root":
            raise ValidationError('scenario "square-root" has no kernel; give "measured" impact')
        if one.kernel is not None:
            known |= day == date
            some = fills[mine := (day == date)[at]]
            moved += carried_cost(at[mine], some["state"], some["shares"], one.kernel, n)
    drift = sign * (summed(fills["shares"] * fills["mid"]) - filled * arrival)
    rest, last = np.maximum(ordered - filled, 0.0), tape.mid_at(end)
    sums = {name: summed(fills[name]) for name in ("spread", "walk", "fees")}
    sums |= {"delay": sign * (arrival - decision) * filled, "carried": moved}
    sums |= {"timing": drift - moved, "opportunity": sign * (last - decision) * rest}
    paper = ordered * arrival
    costs = {f"{name}_bps": 1e4 * sums[name] / paper for name in PARTS}
    costs["total_bps"] = sum(costs[part] for part in DESK_PARTS)
    costs["trading_bps"] = sum(costs[f"{part}_bps"] for part in TRADING)
    costs["whole_bps"] = costs["trading_bps"] + 1e4 * sign * (last - arrival) * rest / paper
    average, (volume, vwap) = ratio(summed(fills["paid"]), filled), tape.traded(arrived, until)
    beside = {"arrival": arrival, "vwap": vwap, "twap": tape.mean_mid(arrived, until)}
    for name, reference in (beside | {"close": tape.mid_at(tape.closing(until))}).items():
        costs[f"{name}_bps"] = 1e4 * sign * (average - reference) / reference
    local = pd.to_datetime(arrived, utc=True).tz_convert(tape.session.timezone)
    facts = {
        "day": day, "hour": local.hour,
        "value": paper, "filled_%": 100.0 * filled / ordered, "carried_known": known,
        "earned_%": 100.0 * ratio(summed(fills["shares"] * fills["gained"]), filled),
        "participation_%": 100.0 * ratio(filled, volume), "seconds": (until - arrived) / 1e9,
    }  # fmt: skip
    given = orders.drop(columns=["decision_time", "due_time", "end_time", "until", "filled"])
    return given.join(pd.DataFrame(facts | costs, orders.index))


def carried_cost(at: Int64, state: Int64, shares: Float, kernel: Kernel, n: int) -> Float:
    """What the earlier fills of each of n orders cost the later ones, (n,) currency.

    Parameters
    ----------
    at : (k,)
        Row of the order of each fill; in order, and within one by time.
    state : (k,) ns
        When the book that it met was shown; fills of one book are one child order.
    shares : (k,)
    kernel : Kernel
        Of seconds.

    Examples
    --------
    >>> from research_lib.impact import ExponentialSumKernel
    >>> level, when = ExponentialSumKernel(0.0, 0.02), np.array([0, 1, 0])
    >>> carried_cost(np.array([0, 0, 1]), when, np.array([10.0, 10.0, 5.0]), level, 2).tolist()
    [2.0, 0.0]
    """
    found, fills = np.zeros(n), pd.DataFrame({"at": at, "state": state, "x": shares})
    child = fills.groupby(["at", "state"], sort=False)["x"].sum().reset_index()
    row, x = child["at"].to_numpy(), child["x"].to_numpy(float)
    seconds = (child["state"].to_numpy() - child["state"].min()) / 1e9
    for first, end in pairwise(np.flatnonzero(np.diff(row, prepend=-1, append=n)).tolist()):
        for block in range(first, end, BLOCK):
            later = slice(block, min(block + BLOCK, end))
            lags = seconds[later, None] - seconds[first : later.stop]
            displaced = np.where(lags > 0, kernel(np.maximum(lags, 0.0)), 0.0)
            found[row[first]] += float(x[later] @ (displaced @ x[first : later.stop]))
    return found


def fill_costs(desk: Desk, tapes: Mapping[str, Tape]) -> pd.DataFrame:
    """Each fill by itself: what it paid and what the price did next, for groups such as venues.

    Returns
    -------
    DataFrame
        Index as `desk.fills`: its columns but the time; symbol, day, value (currency, at the mid);
        spread_bps, walk_bps, fees_bps and selection_5s_bps, _60s_, _300s_ of value; total_bps, the
        sum of the first three and the selection over 60 s, NaN where that is not known.

    Examples
    --------
    A fill at the touch of the book before it walks nothing:

    >>> from research_lib.evaluation import checked_desk
    >>> from research_lib.market import Session, preset
    >>> market = preset("thin_stock", Session(13))
    >>> books = market.books(13, 1, np.random.default_rng(0))
    >>> when, tapes = pd.to_datetime(books.time[3:4], utc=True), {"A": Tape.of(books)}
    >>> order = pd.DataFrame({"order_id": "1", "symbol": "A", "side": "buy", "arrival_time": when})
    >>> fill = pd.DataFrame({"order_id": "1", "time": when, "price": books.ask_price[2]})
    >>> desk = checked_desk(order.assign(shares=10.0), fill.assign(shares=10.0), tapes)
    >>> fill_costs(desk, tapes)["walk_bps"].abs().round(9).tolist()
    [0.0]
    """
    priced = priced_fills(desk, tapes)
    value, names = priced["shares"] * priced["mid"], [f"selection_{one}s" for one in HORIZONS]
    costs = (1e4 * priced[["spread", "walk", "fees", *names]].div(value, axis=0)).add_suffix("_bps")
    net = ["spread_bps", "walk_bps", "fees_bps", "selection_60s_bps"]
    facts = {"symbol": desk.orders["symbol"].to_numpy()[priced["order"]], "day": priced["day"]}
    costs = costs.assign(total_bps=costs[net].sum(axis=1, skipna=False), value=value, **facts)
    return desk.fills.drop(columns=["time", "order"]).join(costs)


def with_groups(table: pd.DataFrame) -> pd.DataFrame:
    """The orders with columns size and participation, into which they fall, for `group_costs`.

    Size is the quarter of the orders of its symbol by value, participation that of the market's
    volume while the order was worked.

    Examples
    --------
    >>> orders = pd.DataFrame({"symbol": "A", "value": [1.0, 2.0, 3.0, 4.0],
    ...                        "participation_%": [0.5, 3.0, 7.0, 30.0]})
    >>> with_groups(orders)[["size", "participation"]].to_numpy().tolist()[0]
    ['1 (smallest quarter)', 'below 1 %']
    """
    names = ["1 (smallest quarter)", "2", "3", "4 (largest quarter)"]
    rank = table.groupby("symbol")["value"].rank(method="first", pct=True)
    labels = ["below 1 %", "1 to 5 %", "5 to 10 %", "10 to 20 %", "above 20 %"]
    bins = [0, 1, 5, 10, 20, np.inf]
    share = pd.cut(table["participation_%"], bins, labels=labels, include_lowest=True)
    return table.assign(size=pd.cut(rank, [0, 0.25, 0.5, 0.75, 1], labels=names),
        participation=share)  # fmt: skip


def group_costs(table: pd.DataFrame, by: str, measures: Sequence[str] = ()) -> pd.DataFrame:
    r"""Costs of groups of orders or fills, by value, and how each differs from all others.

    With w_i the value of order i and c_i its cost, a group's mean is m = sum w_i c_i / sum w_i. Its
    variance is that of the sums by day of w_i (c_i - m) over the group's value (ratio estimator,
    clusters are days); that of a difference of two means, of the differences of these. Intervals
    are Student's t with one degree of freedom less than the group has days (of a difference the
    smaller side), by which that variance is corrected too; from 20 days on, and 5 of the group.
    Where a few orders hold most of the value they are too narrow.

    Parameters
    ----------
    table : DataFrame
        Of `analyse_orders` or `fill_costs`.
    by : str
        A column, whatever its kind: "strategy", "symbol", "hour", "venue".
    measures : sequence of str
        Columns whose means are shown; by default the parts that there are and the total.

    Returns
    -------
    DataFrame
        Index group: orders, value, filled_% where it is known, the measures; total_lower_bps,
        total_upper_bps (95 % of the mean of total_bps); difference_bps (of total_bps, to all
        others) with lower_bps, upper_bps (95 %). NaN where there is no interval.

    Examples
    --------
    >>> days = np.repeat(np.arange(20), 2)
    >>> table = pd.DataFrame({"day": days, "value": 1.0, "total_bps": 5.0 + np.tile([0, 2], 20),
    ...                       "strategy": ["a", "b"] * 20})
    >>> group_costs(table, "strategy").loc["b", ["total_bps", "difference_bps"]].round(9).tolist()
    [7.0, 2.0]
    """
    refuse_unknown([by, *measures, "total_bps"], table.columns, "column")
    usual = ("filled_%", *(measures or DESK_PARTS), "total_bps")
    shown = [name for name in dict.fromkeys(usual) if name in table]
    known = table[table[by].notna()]
    (day, days), cost = pd.factorize(known["day"]), known["total_bps"].to_numpy(float)
    value, rows = known["value"].to_numpy(float), {}

    def mean_of(some: NDArray[np.bool_]) -> tuple[float, Float, int]:
        """Mean, scores and number of days."""
        some = some & np.isfinite(cost)
        weight = np.where(some, value, 0.0) / value[some].sum() if some.any() else value * np.nan
        mean = float(np.sum(weight[some] * cost[some])) if some.any() else np.nan
        return mean, np.where(some, weight * (cost - mean), 0.0), len(set(day[some]))

    for group in pd.Categorical(known[by]).remove_unused_categories().categories:
        mine = (known[by] == group).to_numpy()
        row = {"orders": int(mine.sum()), "value": float(value[mine].sum())}
        weights = known.loc[mine, shown].notna().mul(value[mine], axis=0)
        row |= ((known.loc[mine, shown] * weights).sum() / weights.sum()).to_dict()
        mean, scores, n = mean_of(mine)
        rest, against, n_rest = mean_of(~mine)
        half = _half_width(scores, day, len(days), n)
        wider = _half_width(scores - against, day, len(days), min(n, n_rest))
        gap, limits = mean - rest, {"total_lower_bps": mean - half, "total_upper_bps": mean + half}
        ends = {"difference_bps": gap, "lower_bps": gap - wider, "upper_bps": gap + wider}
        rows[group] = row | limits | ends
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def _half_width(scores: Float, day: Int64, n_days: int, n: int) -> float:
    """Of a 95 % interval of the sum of scores, clustered by day, n of n_days with any.

    NaN below 20 days, or 5 of them with any.
    """
    if n_days < MIN_DAYS or n < MIN_GROUP:
        return float("nan")
    error = np.sqrt(n / (n - 1) * np.sum(np.bincount(day, scores, n_days) ** 2))
    return float(special.stdtrit(n - 1, 0.975) * error)


@dataclass(frozen=True, eq=False)
class Calibration(Record):
    """Whether the forecast made before the order was right: cost = intercept + slope forecast.

    Attributes
    ----------
    slope, intercept : (estimate, low, high)
        95 %, errors clustered by day; 1 and 0 if the forecast is right. Limits are NaN below 20
        days.
    orders, days : int
    deciles : DataFrame
        Index decile of the forecast: orders, forecast_bps, cost_bps, lower_bps, upper_bps.
    """

    slope: tuple[float, float, float]
    intercept: tuple[float, float, float]
    orders: int
    days: int
    deciles: pd.DataFrame


def calibration(table: pd.DataFrame) -> Calibration:
    """The forecast beside what the whole order cost from its arrival, whole_bps.

    What was not filled counts by the mid of the end: orders that were stopped when the price ran
    away are no selection. Timing is kept, for without it carried impact by the forecast's own
    kernel would agree with itself.

    Parameters
    ----------
    table : DataFrame
        Of `analyse_orders`, with forecast_bps.

    Raises
    ------
    InsufficientDataError
        Fewer than 20 orders with a forecast, or forecasts that are all alike.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame({"day": np.arange(200) // 10, "forecast_bps": rng.uniform(1, 9, 200)})
    >>> table["whole_bps"] = table["forecast_bps"] + rng.normal(0.0, 0.5, 200)
    >>> found = calibration(table)
    >>> found.slope[1] < 1.0 < found.slope[2], len(found.deciles)
    (True, 10)
    """
    import statsmodels.api as sm

    refuse_unknown(["forecast_bps", "whole_bps"], table.columns, "column")
    known = table[np.isfinite(table["forecast_bps"])]
    cost, forecast = (known[f"{name}_bps"].to_numpy(float) for name in ("whole", "forecast"))
    if len(known) < MIN_ORDERS or np.ptp(forecast) == 0:
        found = f"{len(known)} orders have a forecast"
        raise InsufficientDataError(f"{found}; {MIN_ORDERS} of unequal forecasts are due")
    day, days = pd.factorize(known["day"])
    how: dict[str, Any] = {"cov_type": "cluster", "cov_kwds": {"groups": day}, "use_t": True}
    fit = sm.OLS(cost, sm.add_constant(forecast)).fit(**(how if len(days) >= MIN_DAYS else {}))
    ends = fit.conf_int() if len(days) >= MIN_DAYS else np.full((2, 2), np.nan)
    intercept, slope = map(tuple, np.column_stack([fit.params, ends]).tolist())
    decile = pd.qcut(forecast, 10, labels=False, duplicates="drop") + 1
    even = known.assign(total_bps=cost, value=1.0, decile=decile)
    rows = group_costs(even, "decile", ["forecast_bps"])
    shown = {"orders": "orders", "forecast_bps": "forecast_bps", "total_bps": "cost_bps"}
    deciles = rows[[*shown, *OWN_LIMITS]].rename(columns=shown | OWN_LIMITS)
    return Calibration(slope, intercept, len(known), len(days), deciles)


def beside_own(costs: pd.DataFrame, own: str, others: list[str], n_days: int = 0) -> pd.DataFrame:
    """What else the same orders would have cost: means by value, and paired differences.

    Parameters
    ----------
    costs : DataFrame
        One row an order: day, value, and costs in bps by column.
    own : str
        Column of what the orders cost.
    others : list of str
        Columns of what they would have cost, named <schedule>_bps.
    n_days : int
        Of the analysis of which these orders are a part.

    Returns
    -------
    DataFrame
        Index own and schedules: orders, cost_bps, difference_bps (to own), lower_bps, upper_bps (as
        of `group_costs`).

    Examples
    --------
    >>> costs = pd.DataFrame({"day": range(20), "value": 1.0, "mine": 4.0, "TWAP_bps": 5.0})
    >>> beside_own(costs, "mine", ["TWAP_bps"])["difference_bps"].round(9).tolist()
    [nan, 1.0]
    """
    weight = costs["value"].to_numpy(float) / costs["value"].sum()
    day, days = pd.factorize(costs["day"])
    rows = {}
    for name in (own, *others):
        gap = (costs[name] - costs[own]).to_numpy(float)
        mean = float(weight @ gap)
        half = _half_width(weight * (gap - mean), day, max(n_days, len(days)), len(days))
        ends = (np.nan,) * 3 if name == own else (mean, mean - half, mean + half)
        rows[name.removesuffix("_bps")] = (len(costs), float(weight @ costs[name]), *ends)
    names = ["orders", "cost_bps", "difference_bps", "lower_bps", "upper_bps"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).astype({"orders": int})


def outliers(table: pd.DataFrame) -> pd.DataFrame:
    """Orders whose cost is far from the usual one of their symbol, and the part that did it.

    The distance from the median is divided by the root of the order's time, a minute at least, as
    the market's move grows with it. Far is more than four robust standard deviations of that
    (1.4826 median absolute ones; where that is 0, 1.2533 mean ones). The reason is the part whose
    own distance from its median explains most of it.

    Returns
    -------
    DataFrame
        Index order_id, the farthest first: symbol, total_bps, usual_bps, deviations, reason,
        reason_bps.

    Examples
    --------
    >>> table = pd.DataFrame(dict.fromkeys(DESK_PARTS, 0.0), index=range(9))
    >>> table = table.assign(symbol="A", seconds=600.0)
    >>> table["spread_bps"] = np.arange(9.0)
    >>> table.loc[8, "delay_bps"] = 90.0
    >>> table["total_bps"] = table[list(DESK_PARTS)].sum(axis=1)
    >>> outliers(table)["reason"].to_dict()
    {8: 'delay'}
    """
    names = [*DESK_PARTS, "total_bps"]
    usual = table.groupby("symbol")[names].transform("median")
    gap = table[names] - usual
    size = gap["total_bps"].abs() / np.sqrt(np.maximum(table["seconds"], 60.0))
    by_symbol = size.groupby(table["symbol"])
    median, mean = (by_symbol.transform(how) for how in ("median", "mean"))
    scale = (1.4826 * median).where(median > 0, 1.2533 * mean)
    far = size / scale.where(scale > 0)
    found = far[far > OUTLIER].sort_values(ascending=False).index
    toward = gap.loc[found, list(DESK_PARTS)].mul(np.sign(gap.loc[found, "total_bps"]), axis=0)
    reason = toward.idxmax(axis=1) if len(found) else pd.Series(dtype=object)
    return pd.DataFrame({
        "symbol": table.loc[found, "symbol"], "total_bps": table.loc[found, "total_bps"],
        "usual_bps": usual.loc[found, "total_bps"], "deviations": far[found],
        "reason": reason.str.removesuffix("_bps"),
        "reason_bps": [gap.loc[order, part] for order, part in reason.items()],
    })  # fmt: skip

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
from research_lib.errors import InsufficientDataError
from research_lib.evaluation.costs import CarriedImpact
from research_lib.evaluation.own_orders import Desk, Int64, Tape, as_ns
from research_lib.impact import Kernel
from research_lib.market.book import side_sign

PARTS = ("delay", "spread", "walk", "carried", "timing", "opportunity", "fees")
DESK_PARTS = tuple(f"{part}_bps" for part in PARTS)
HORIZONS = (5, 60, 300)  # seconds of the markouts
MIN_DAYS = 20  # from which on intervals are given
OUTLIER = 4.0  # robust standard deviations
BLOCK = 500  # fills of an order whose lags are held at once


def analyse_orders(
    desk: Desk, tapes: Mapping[str, Tape], carried: Mapping[str, CarriedImpact] | None = None
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
    part of their move, timing the rest.

    Parameters
    ----------
    desk : Desk
    tapes : mapping of symbol to Tape
    carried : mapping of symbol to CarriedImpact, optional
        Those with a kernel; without one carried is 0 and its cost is in the timing.

    Returns
    -------
    DataFrame
        Index order_id: symbol, side, strategy, ... as given; day, hour (local), value (S times
        P_a), filled_%, participation_% (of the market's volume from arrival to end), seconds,
        carried_known;
        the parts and total_bps, bps of value; trading_bps (spread to timing); arrival_bps,
        vwap_bps, twap_bps, close_bps (the mean price against each, bps of it; VWAP and TWAP are of
        the market's trades and mid over the order's own time); selection_5s_bps, _60s_, _300s_
        (markouts, with the sign of a cost: minus the mid's move after each fill in the order's
        direction; NaN where the books stand further apart).

    Examples
    --------
    >>> from research_lib.evaluation import checked_desk
    >>> from research_lib.studies import synthetic_desk
    >>> made = synthetic_desk(20, np.random.default_rng(0), n_days=2)
    >>> tapes = {name: Tape.of(books, made.session) for name, books in made.books.items()}
    >>> table = analyse_orders(checked_desk(made.orders, made.fills, tapes), tapes)
    >>> bool(np.allclose(table[list(DESK_PARTS)].sum(axis=1), table["total_bps"], atol=1e-9))
    True
    """
    tables = []
    for symbol, own in desk.orders.groupby("symbol", sort=False):
        which = desk.orders.index.get_indexer(own.index)
        fills = desk.fills[desk.fills["order"].isin(which)]
        at = pd.Series(np.arange(len(own)), which).loc[fills["order"]].to_numpy()
        impact = (carried or {}).get(str(symbol), CarriedImpact())
        tables.append(_analysed(own, fills, at, tapes[str(symbol)], impact.kernel))
    return pd.concat(tables).loc[desk.orders.index]


def _priced(fills: pd.DataFrame, sign: Float, tape: Tape) -> pd.DataFrame:
    """Each fill of one symbol beside the book before it: mid, and costs in currency."""
    time, shares = as_ns(fills["time"]), fills["shares"].to_numpy(float)
    row = tape.last(time, before=True)
    mid, half, beyond = tape.mid[row], tape.half_spread[row], sign * fills["price"].to_numpy(float)
    beyond -= sign * mid
    gained = beyond < 0
    if "liquidity" in fills:
        flag = fills["liquidity"].to_numpy()
        gained = np.where(pd.isna(flag), gained, flag == "added")
    touch = np.where(gained, -half, half)
    priced = {"mid": mid, "spread": shares * touch, "walk": shares * (beyond - touch)}
    priced["fees"] = fills["fee"].fillna(0.0).to_numpy() if "fee" in fills else 0.0
    closing, apart = tape.closing(time), float(np.median(np.diff(tape.time))) / 1e9
    for seconds in HORIZONS:
        if seconds < apart:  # the books show nothing in between
            priced[f"selection_{seconds}s"] = np.full(len(time), np.nan)
            continue
        later = tape.mid_at(np.minimum(time + np.int64(1e9 * seconds), closing))
        priced[f"selection_{seconds}s"] = -sign * shares * (later - mid)
    return pd.DataFrame(priced, fills.index)


def _analysed(
    orders: pd.DataFrame, fills: pd.DataFrame, at: Int64, tape: Tape, kernel: Kernel | None
) -> pd.DataFrame:
    """Orders of one symbol; `at` is the row of each fill's order."""
    n, sign = len(orders), np.array([side_sign(side) for side in orders["side"]])
    times = "decision_time", "arrival_time", "until"
    decided, arrived, until = (as_ns(orders[name]) for name in times)
    ordered, shares = (frame["shares"].to_numpy(float) for frame in (orders, fills))
    priced = _priced(fills, sign[at], tape)

    def summed(values: Any) -> Float:
        return np.bincount(at, values, n).astype(float)

    sums = {name: summed(priced[name]) for name in priced}
    filled, value = summed(shares), summed(shares * fills["price"])
    decision, arrival = tape.mid_at(decided), tape.mid_at(arrived)
    closing = tape.closing(arrived)
    end = np.where(orders["end_time"].notna(), until, closing)
    drift = sign * (summed(shares * priced["mid"]) - filled * arrival)
    moved = np.zeros(n)
    if kernel is not None:
        moved = carried_cost(at, as_ns(fills["time"]), shares, kernel, n)
    rest = np.maximum(ordered - filled, 0.0)
    sums |= {"delay": sign * (arrival - decision) * filled, "carried": moved}
    sums |= {"timing": drift - moved, "opportunity": sign * (tape.mid_at(end) - decision) * rest}
    paper = ordered * arrival
    selection = [f"selection_{seconds}s" for seconds in HORIZONS]
    costs = {f"{name}_bps": 1e4 * sums[name] / paper for name in (*PARTS, *selection)}
    costs["total_bps"] = sum(costs[part] for part in DESK_PARTS)
    costs["trading_bps"] = sum(costs[f"{part}_bps"] for part in PARTS[1:5])
    average, (volume, vwap) = _ratio(value, filled), tape.traded(arrived, until)
    beside = {"arrival": arrival, "vwap": vwap, "twap": tape.mean_mid(arrived, until)}
    for name, reference in (beside | {"close": tape.mid_at(closing)}).items():
        costs[f"{name}_bps"] = 1e4 * sign * (average - reference) / reference
    facts = {
        "day": np.array(tape.days, object)[tape.day[tape.last(arrived)]],
        "hour": pd.to_datetime(arrived, utc=True).tz_convert(tape.session.timezone).hour,
        "value": paper, "filled_%": 100.0 * filled / ordered,
        "participation_%": 100.0 * _ratio(filled, volume), "seconds": (until - arrived) / 1e9,
        "carried_known": kernel is not None,
    }  # fmt: skip
    given = orders.drop(columns=["decision_time", "end_time", "until", "filled"])
    return given.join(pd.DataFrame(facts | costs, orders.index))


def _ratio(above: Float, below: Float) -> Float:
    """NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def fill_costs(desk: Desk, tapes: Mapping[str, Tape]) -> pd.DataFrame:
    """Each fill by itself: what it paid and what the price did next, for groups such as venues.

    Returns
    -------
    DataFrame
        Index as `desk.fills`: its columns but the time; symbol, day, value (currency, at the mid);
        spread_bps, walk_bps, fees_bps and selection_5s_bps, _60s_, _300s_ of value; total_bps, the
        sum of the first three and the selection over 60 s.

    Examples
    --------
    >>> from research_lib.evaluation import checked_desk
    >>> from research_lib.studies import synthetic_desk
    >>> made = synthetic_desk(20, np.random.default_rng(0), n_days=2)
    >>> tapes = {name: Tape.of(books, made.session) for name, books in made.books.items()}
    >>> fills = fill_costs(checked_desk(made.orders, made.fills, tapes), tapes)
    >>> bool((fills.loc[fills["liquidity"] == "added", "spread_bps"] < 0).all())
    True
    """
    own, tables = desk.orders.iloc[desk.fills["order"].to_numpy()], []
    for symbol, tape in tapes.items():
        mine = (own["symbol"] == symbol).to_numpy()
        fills, sides = desk.fills[mine], own["side"].to_numpy()[mine]
        priced = _priced(fills, np.where(sides == "buy", 1.0, -1.0), tape)
        value = fills["shares"] * priced.pop("mid")
        costs = (1e4 * priced.div(value, axis=0)).add_suffix("_bps")
        costs["total_bps"] = costs[["spread_bps", "walk_bps", "fees_bps", "selection_60s_bps"]].sum(
            axis=1
        )
        day = np.array(tape.days, object)[tape.day[tape.last(as_ns(fills["time"]), before=True)]]
        facts = {"symbol": symbol, "day": day, "value": value}
        tables.append(fills.drop(columns=["time", "order"]).assign(**facts).join(costs))
    return pd.concat(tables).sort_index()


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
    share = pd.cut(table["participation_%"], [0, 1, 5, 10, 20, np.inf], labels=labels)
    return table.assign(size=pd.cut(rank, [0, 0.25, 0.5, 0.75, 1], labels=names),
        participation=share)  # fmt: skip


def carried_cost(at: Int64, time: Int64, shares: Float, kernel: Kernel, n: int) -> Float:
    """What the earlier fills of each of n orders cost the later ones, (n,) currency.

    Parameters
    ----------
    at : (k,)
        Row of the order of each fill; in order, and within one by time.
    time : (k,) ns
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
    found = np.zeros(n)
    edges = np.flatnonzero(np.diff(at, prepend=-1, append=n))
    for first, end in pairwise(edges.tolist()):
        seconds = (time[first:end] - time[first]) / 1e9
        for block in range(0, end - first, BLOCK):
            rows = slice(block, min(block + BLOCK, end - first))
            lags = seconds[rows, None] - seconds[: rows.stop]
            displaced = np.where(lags > 0, kernel(np.maximum(lags, 0.0)), 0.0)
            x = shares[first:end]
            found[at[first]] += float(x[rows] @ (displaced @ x[: rows.stop]))
    return found


def group_costs(table: pd.DataFrame, by: str, measures: Sequence[str] = ()) -> pd.DataFrame:
    r"""Costs of groups of orders or fills, by value, and how each differs from all others.

    With w_i the value of order i and c_i its cost, a group's mean is m = sum w_i c_i / sum w_i. Its
    variance is that of the sums by day of w_i (c_i - m) over the group's value (ratio estimator,
    clusters are days); that of a difference of two means, of the differences of these. Intervals
    are Student's t with D - 1 degrees of freedom, from 20 days on and for groups of 20 orders and
    10 days.

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
        Index group: orders, value, filled_% where it is known, the measures; low_bps, high_bps (95
        % of the mean of total_bps); difference_bps (of total_bps, to all others) with lower_bps,
        upper_bps (95 %). NaN where there is no interval.

    Examples
    --------
    >>> days = np.repeat(np.arange(20), 2)
    >>> table = pd.DataFrame({"day": days, "value": 1.0, "total_bps": 5.0 + np.tile([0, 2], 20),
    ...                       "strategy": ["a", "b"] * 20})
    >>> group_costs(table, "strategy").loc["b", ["total_bps", "difference_bps"]].tolist()
    [7.0, 2.0]
    """
    refuse_unknown([by, *measures, "total_bps"], table.columns, "column")
    usual = ("filled_%", *(measures or DESK_PARTS), "total_bps")
    shown = [name for name in dict.fromkeys(usual) if name in table]
    known = table[table[by].notna()]
    (day, days), cost = pd.factorize(known["day"]), known["total_bps"].to_numpy(float)
    value, rows = known["value"].to_numpy(float), {}

    def mean_of(some: NDArray[np.bool_]) -> tuple[float, Float]:
        mean = float(np.average(cost[some], weights=value[some]))
        return mean, np.where(some, value * (cost - mean), 0.0) / value[some].sum()

    for group in pd.Categorical(known[by]).remove_unused_categories().categories:
        mine = (known[by] == group).to_numpy()
        mean, scores = mean_of(mine)
        many = mine.sum() >= MIN_DAYS and len(set(day[mine])) >= MIN_DAYS // 2
        half = _half_width(scores, day, len(days)) if many else np.nan
        row = {"orders": int(mine.sum()), "value": float(value[mine].sum())}
        row |= dict(zip(shown, value[mine] @ known.loc[mine, shown] / row["value"], strict=True))
        row |= {"low_bps": mean - half, "high_bps": mean + half}
        row |= dict.fromkeys(("difference_bps", "lower_bps", "upper_bps"), np.nan)
        if not mine.all():
            rest, against = mean_of(~mine)
            half = _half_width(scores - against, day, len(days)) if many else np.nan
            gap = mean - rest
            row |= {"difference_bps": gap, "lower_bps": gap - half, "upper_bps": gap + half}
        rows[group] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def _half_width(scores: Float, day: Int64, n_days: int) -> float:
    """Of a 95 % interval of the sum of scores, clustered by day; NaN below 20 days."""
    if n_days < MIN_DAYS:
        return float("nan")
    sums = np.bincount(day, scores, n_days)
    error = np.sqrt(n_days / (n_days - 1) * np.sum(sums**2))
    return float(special.stdtrit(n_days - 1, 0.975) * error)


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


def calibration(table: pd.DataFrame, forecast: str = "forecast_bps") -> Calibration:
    """The forecast beside what trading cost, spread to timing, of orders filled to 99 %.

    Timing is kept: without it, carried impact by the forecast's own kernel would agree with itself.

    Parameters
    ----------
    table : DataFrame
        Of `analyse_orders`, with a column of forecasts.
    forecast : str

    Raises
    ------
    InsufficientDataError
        Fewer than 20 orders with a forecast, or forecasts that are all alike.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame({"day": np.arange(200) // 10, "filled_%": 100.0, "value": 1.0})
    >>> table["forecast_bps"] = rng.uniform(1.0, 9.0, 200)
    >>> table["trading_bps"] = table["forecast_bps"] + rng.normal(0.0, 0.5, 200)
    >>> found = calibration(table)
    >>> found.slope[1] < 1.0 < found.slope[2], len(found.deciles)
    (True, 10)
    """
    import statsmodels.api as sm

    refuse_unknown([forecast], table.columns, "column of forecasts")
    known = table[table[forecast].notna() & (table["filled_%"] >= 99.0)]
    days = known["day"].nunique()
    if len(known) < MIN_DAYS or known[forecast].nunique() < 2:
        found = f"{len(known)} orders with a forecast were filled to 99 %"
        raise InsufficientDataError(f"{found}; 20 with unequal forecasts are due")
    day = pd.factorize(known["day"])[0]
    model = sm.OLS(known["trading_bps"].to_numpy(), sm.add_constant(known[forecast].to_numpy()))
    many = days >= MIN_DAYS
    fit = (
        model.fit(cov_type="cluster", cov_kwds={"groups": day}, use_t=True) if many else model.fit()
    )
    ends = fit.conf_int() if many else np.full((2, 2), np.nan)
    intercept, slope = (
        (float(b), float(low), float(high)) for b, (low, high) in zip(fit.params, ends, strict=True)
    )
    rank = pd.qcut(known[forecast], 10, labels=False, duplicates="drop")
    rows = {}
    cost = known["trading_bps"].to_numpy(float)
    for decile in sorted(set(rank)):
        mine = (rank == decile).to_numpy()
        mean = float(cost[mine].mean())
        half = _half_width(np.where(mine, cost - mean, 0.0) / mine.sum(), day, days)
        row = {"orders": int(mine.sum()), "forecast_bps": float(known.loc[mine, forecast].mean())}
        ends = {"cost_bps": mean, "lower_bps": mean - half, "upper_bps": mean + half}
        rows[int(decile) + 1] = row | ends
    deciles = pd.DataFrame.from_dict(rows, orient="index").rename_axis("decile")
    return Calibration(slope, intercept, len(known), days, deciles)


def beside_own(costs: pd.DataFrame, own: str, others: Sequence[str]) -> pd.DataFrame:
    """What else the same orders would have cost: means by value, and paired differences.

    Parameters
    ----------
    costs : DataFrame
        One row an order: day, value, and costs in bps by column.
    own : str
        Column of what the orders cost.
    others : sequence of str
        Columns of what they would have cost, named <schedule>_bps.

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
        half = _half_width(weight * (gap - mean), day, len(days))
        ends = (np.nan,) * 3 if name == own else (mean, mean - half, mean + half)
        rows[name.removesuffix("_bps")] = (len(costs), float(weight @ costs[name]), *ends)
    names = ["orders", "cost_bps", "difference_bps", "lower_bps", "upper_bps"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).astype({"orders": int})


def outliers(table: pd.DataFrame, limit: float = OUTLIER) -> pd.DataFrame:
    """Orders whose cost is far from the usual one of their symbol, and the part that did it.

    Far is more than `limit` robust standard deviations (1.4826 median absolute deviations) from
    the median; the reason is the part whose own distance from its median explains most of it.

    Returns
    -------
    DataFrame
        Index order_id, the farthest first: symbol, total_bps, usual_bps, deviations, reason,
        reason_bps.

    Examples
    --------
    >>> table = pd.DataFrame(dict.fromkeys(DESK_PARTS, 0.0), index=range(9)).assign(symbol="A")
    >>> table["spread_bps"] = np.arange(9.0)
    >>> table.loc[8, "delay_bps"] = 90.0
    >>> table["total_bps"] = table[list(DESK_PARTS)].sum(axis=1)
    >>> outliers(table)["reason"].to_dict()
    {8: 'delay'}
    """
    names = [*DESK_PARTS, "total_bps"]
    usual = table.groupby("symbol")[names].transform("median")
    gap = table[names] - usual
    scale = 1.4826 * gap["total_bps"].abs().groupby(table["symbol"]).transform("median")
    far = gap["total_bps"].abs() / scale.where(scale > 0)
    found = far[far > limit].sort_values(ascending=False).index
    toward = gap.loc[found, list(DESK_PARTS)].mul(np.sign(gap.loc[found, "total_bps"]), axis=0)
    reason = toward.idxmax(axis=1) if len(found) else pd.Series(dtype=object)
    return pd.DataFrame({
        "symbol": table.loc[found, "symbol"], "total_bps": table.loc[found, "total_bps"],
        "usual_bps": usual.loc[found, "total_bps"], "deviations": far[found],
        "reason": reason.str.removesuffix("_bps"),
        "reason_bps": [gap.loc[order, part] for order, part in reason.items()],
    })  # fmt: skip

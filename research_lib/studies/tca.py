"""Tables and sentences of the notebook on own orders."""

import numpy as np
import pandas as pd

from research_lib.evaluation import beside_own, group_costs
from research_lib.evaluation.tca import OWN_LIMITS, Calibration
from research_lib.wording import interval, more_or_less, significant

SCHEDULES = ["TWAP_bps", "best benchmark_bps", "static optimal_bps"]
TAKEN, RESTED = "liquidity taken only", "some resting"
BIAS = {"total_bps": "bias_bps", **OWN_LIMITS}
SAME = 0.1  # bps: the replay meets the books of interval starts, own fills those in between


def forecast_bias(table: pd.DataFrame) -> pd.DataFrame:
    """What the whole orders cost from their arrival less the forecast, by stock and of all.

    Returns
    -------
    DataFrame
        Index stock and "all": orders, forecast_bps, whole_bps, bias_bps, lower_bps, upper_bps;
        by value, as `group_costs`.

    Examples
    --------
    >>> table = pd.DataFrame({"symbol": "A", "day": range(4), "value": 1.0, "filled_%": 100.0,
    ...                       "forecast_bps": 5.0, "whole_bps": [7.0, 8.0, 7.0, 8.0]})
    >>> forecast_bias(table)["bias_bps"].to_dict()
    {'A': 2.5, 'all': 2.5}
    """
    known = table.dropna(subset="forecast_bps")
    known = known.assign(total_bps=known["whole_bps"] - known["forecast_bps"], all="all")
    parts = [group_costs(known, by, ["forecast_bps", "whole_bps"]) for by in ("symbol", "all")]
    rows = pd.concat(parts).drop(columns=["lower_bps", "upper_bps"]).rename(columns=BIAS)
    return rows[["orders", "forecast_bps", "whole_bps", *BIAS.values()]].rename_axis("stock")


def other_schedules(table: pd.DataFrame) -> pd.DataFrame:
    """What other schedules would have cost beside the desk, of orders that only took liquidity.

    Orders of which some fills earned the spread are a group of their own: selection, by which they
    pay for it, is not compared.

    Returns
    -------
    DataFrame
        Index fills and schedule, columns of `beside_own`; empty where nothing was replayed.

    Raises
    ------
    KeyError
        A table without the columns of `pre_trade_costs`.

    Examples
    --------
    >>> costs = dict.fromkeys(SCHEDULES, [5.0, 7.0]) | {"own_bps": 4.0, "earned_%": 0.0}
    >>> table = pd.DataFrame({"day": [1, 2], "value": 1.0, **costs})
    >>> other_schedules(table).loc[TAKEN, "difference_bps"]["TWAP"]
    np.float64(2.0)
    """
    known = table.dropna(subset=["own_bps", *SCHEDULES])
    own = known[["day", "value", *SCHEDULES]].assign(**{"the desk": known["own_bps"]})
    took, n_days = known["earned_%"] == 0, len(set(table["day"]))
    if own.empty:
        return pd.DataFrame({"difference_bps": []})
    groups = {TAKEN: own[took], RESTED: own[~took]}
    rows = {k: beside_own(v, "the desk", SCHEDULES, n_days) for k, v in groups.items() if len(v)}
    return pd.concat(rows, names=["fills", "schedule"])


def cost_sentence(whose: str, whole: pd.Series, parts: list[str], levels: list[str]) -> str:
    """What the orders cost, and the largest parts.

    Parameters
    ----------
    whose : str
        Such as "The 400 orders".
    whole : Series
        The one row of `group_costs` of all orders.
    parts : list of str
        Those that are known.
    levels : list of str
        Symbols whose carried impact is a level.

    Examples
    --------
    >>> whole = pd.Series({"total_bps": 9.0, "total_lower_bps": 5.0, "total_upper_bps": 13.0})
    >>> whole["walk_bps"] = 9.0
    >>> cost_sentence("The 2 orders", whole, ["walk_bps"], [])[:73]
    'The 2 orders cost 9.00 bps (95 % interval 5.00 to 13.0) against the decis'
    """
    ends = interval(whole["total_lower_bps"], whole["total_upper_bps"])
    said = f"{whose} cost {significant(whole['total_bps'])} bps"
    said += f" (95 % interval {ends})" if ends else ""
    largest = whole[parts].abs().sort_values(ascending=False).index[:3]
    chief = ", ".join(f"{one.removesuffix('_bps')} {significant(whole[one])}" for one in largest)
    said += f" against the decision, by value; the largest parts are {chief}."
    if levels:
        said += f" Carried impact is an upper estimate for {', '.join(levels)}."
    if "carried_bps" not in parts:
        said += " No own impact is known: it is part of timing."
    return said + (" Fees were not given." if "fees_bps" not in parts else "")


def forecast_sentence(judged: Calibration | None, bias: pd.DataFrame) -> str:
    """Whether the forecast was right, by the slope and by the mean error.

    Examples
    --------
    >>> forecast_sentence(None, pd.DataFrame())
    'No forecast can be judged.'
    """
    if judged is None:
        return "No forecast can be judged."
    slope, low, high = judged.slope
    said = f"The slope of cost on forecast is {significant(slope)}"
    if np.isfinite(low):
        said += f" ({interval(low, high)}), which "
        agrees = "agrees with 1" if low <= 1 <= high else "differs from 1"
        open_ = "includes 0 and 1: the forecast cannot be judged yet"
        said += open_ if low <= 0 and high >= 1 else agrees
    row = bias.loc["all"]
    ends = interval(row["lower_bps"], row["upper_bps"])
    said += f"; cost less forecast is {significant(row['bias_bps'])} bps"
    return f"{said} ({ends})." if ends else f"{said}."


def schedules_sentence(others: pd.DataFrame) -> str:
    """What the best benchmark would have cost beside the desk.

    Examples
    --------
    >>> schedules_sentence(pd.DataFrame())
    'No other schedule could be replayed.'
    """
    if others.empty or (TAKEN, "best benchmark") not in others.index:
        return "No other schedule could be replayed."
    row = others.loc[(TAKEN, "best benchmark")]
    ends = np.sort(np.abs(row[["lower_bps", "upper_bps"]].to_numpy(float)))
    said = f"On {row['orders']:.0f} orders that only took liquidity, drawn at random, the best "
    said += "benchmark would have cost "
    if abs(row["difference_bps"]) < SAME:
        return f"{said}the same to {SAME:g} bps in spread, walk and own impact."
    said += f"{more_or_less(row['difference_bps'])} in spread, walk and own impact"
    if np.isnan(ends).any():
        return f"{said}."
    sure = row["lower_bps"] * row["upper_bps"] > 0
    return f"{said} ({interval(*ends)})." if sure else f"{said}, not distinguishable from 0."

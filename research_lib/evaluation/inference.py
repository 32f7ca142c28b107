"""How sure a saving is: the same orders paired, their differences, and intervals over days."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from research_lib.checks import Float, number
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation.replay import BOUND, ROUNDING, Execution
from research_lib.market.sessions import Session, as_session

BENCHMARK = "TWAP"
MIN_DAYS = 8  # fewer days are not drawn: their bootstrap covers far less than it says
MIN_ERROR = 1e-12


def pair(
    executions: Iterable[Execution], benchmark: str = BENCHMARK, session: Session | None = None
) -> pd.DataFrame:
    """The same orders side by side: one row a day and order, one column a strategy.

    Orders are the same where day, symbol, start, length, side and size are; sizes that differ by
    rounding alone are one.

    Returns
    -------
    DataFrame of Execution, index (day, order)
        NaN where a strategy did not work an order.

    Raises
    ------
    ValidationError
        No executions, none of the benchmark or the bound for an order, or the same order twice.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, clairvoyant, run
    >>> from research_lib.market import preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> done = [run(Twap(), books, 500, "buy"), clairvoyant(books, 500, "buy")]
    >>> pair(done).columns.tolist()
    ['TWAP', 'clairvoyant']
    """
    done = list(executions) if isinstance(executions, Iterable) else []
    if not done or not all(isinstance(one, Execution) for one in done):
        raise ValidationError("executions must be one Execution or more, as `evaluate` gives")
    days = as_session(session).days(np.array([one.time[0] for one in done])).astype(str)
    # Sizes are sums: what is beyond nine digits is rounding.
    orders = [
        f"{one.side} of {one.total_shares:.9g} {one.symbol or 'shares'} on {day}: "
        f"{len(one.time)} intervals from {one.time[0]}"
        for one, day in zip(done, days, strict=True)
    ]
    names = [one.name for one in done]
    rows = pd.DataFrame({"strategy": names, "day": days, "order": orders, "done": done})
    if (again := rows.duplicated(["strategy", "order"])).any():
        name, order = rows.loc[again, ["strategy", "order"]].iloc[0]
        raise ValidationError(f"{name} has the {order.split(':')[0]} twice")
    paired = rows.set_index(["day", "order", "strategy"])["done"].unstack()  # noqa: PD010
    lacking = paired.reindex(columns=[benchmark, BOUND]).isna().any(axis=1)
    if lacking.any():
        lacks = f"has no {benchmark} or no {BOUND} to be compared with; run them too"
        raise ValidationError(f"the {paired.index[lacking][0][1]} {lacks}")
    return paired


def compare(
    executions: Iterable[Execution], *, benchmark: str = BENCHMARK, n_draws: int = 999,
    seed: int = 0, session: Session | None = None,
) -> pd.DataFrame:  # fmt: skip
    r"""What each strategy saved against the benchmark, order by order, with an interval.

    .. math:: saving = 1 - \frac{\sum_i C_i / \sum_i x_i}{\sum_i C^{TWAP}_i / \sum_i x^{TWAP}_i},
        \qquad share = \frac{\sum C^{TWAP} - \sum C}{\sum C^{TWAP} - \sum C^{bound}},

    the second the share of the perfect-foresight saving, over orders i paired by day, symbol,
    start, length, side and size; costs over each interval's mid. With 8 days or more, whole days
    are drawn, so that orders of one day stay together, and the interval is studentised
    (bootstrap-t; Hall, 1988). Fewer days have no interval: they do not tell how days differ.

    Parameters
    ----------
    executions : iterable of Execution
        Of all strategies, the benchmark and the bound (`clairvoyant`), as `evaluate` gives.
    benchmark : str
    n_draws : int
    seed : int
    session : Session, optional
        Whose time zone says which day it is.

    Returns
    -------
    DataFrame
        Index strategy, cheapest first: orders, incomplete (left out), days, cost_bps (of the
        arrival price, mean over orders), saving_%, saving_lower_%, saving_upper_%,
        attainable_% with lower and upper, timing_risk_bps (mean over orders, from the mid's
        volatility), arrival_sd_bps (standard deviation over orders of the cost over arrival:
        that risk as it came). NaN where a strategy completed none, and limits of few days.

    Raises
    ------
    ValidationError
        No executions, or an order without the benchmark or the bound.
    InsufficientDataError
        No order that the benchmark and the bound completed.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from research_lib.evaluation import clairvoyant, replay
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> equal, early = (replay(shares, books, "buy") for shares in ([10, 10], [15, 5]))
    >>> done = [replace(equal, name="TWAP"), replace(early, name="early")]
    >>> table = compare([*done, clairvoyant(books, 20, "buy")], n_draws=99)
    >>> table["attainable_%"].round(6).to_dict()
    {'clairvoyant': 100.0, 'early': 50.0, 'TWAP': 0.0}
    """
    number("n_draws", n_draws, 99, integer=True)
    paired = pair(executions, benchmark, session)
    trios = {name: paired[[name, benchmark, BOUND]].dropna() for name in paired}
    rows = {name: _summary(trio, n_draws, seed) for name, trio in trios.items()}
    if not rows[benchmark]["orders"]:
        lacking = f"none of {len(paired)} orders was completed by {benchmark} and the bound"
        raise InsufficientDataError(f"{lacking}; lower their size")
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")
    return table.sort_values("cost_bps")


def _summary(trios: pd.DataFrame, n_draws: int, seed: int) -> dict[str, float]:
    """A row of `compare`, of (strategy, benchmark, bound) by day and order."""
    whole = trios[[all(one.completed for one in trio) for trio in trios.to_numpy()]]
    days, own = whole.index.get_level_values("day"), list(whole.to_numpy()[:, 0])
    counts = {"orders": len(whole), "incomplete": len(trios) - len(whole), "days": days.nunique()}
    if whole.empty:
        return counts
    values = [[(one.cost, one.filled.sum()) for one in trio] for trio in whole.to_numpy()]
    sums = pd.DataFrame(np.reshape(values, (-1, 6))).groupby(days).sum().to_numpy()
    limits = saving_interval(sums, n_draws=n_draws, seed=seed)
    names = [f"{of}{end}_%" for of in ("saving", "attainable") for end in ("", "_lower", "_upper")]
    over_arrival = [one.shortfall_bps for one in own]
    return {
        **counts,
        "cost_bps": float(np.mean([one.cost_bps for one in own])),
        **dict(zip(names, 100.0 * limits.ravel(), strict=True)),
        "timing_risk_bps": float(np.mean([one.timing_risk_bps for one in own])),
        "arrival_sd_bps": float(np.std(over_arrival, ddof=1)) if len(own) > 1 else np.nan,
    }


def saving_interval(sums: Float, *, n_draws: int = 999, seed: int = 0) -> Float:
    """Saving and share of the perfect-foresight saving, with 95 % limits, (2, 3), as fractions.

    Parameters
    ----------
    sums : (n_days, 6)
        Cost and shares of strategy, benchmark and bound; below 8 days the limits are NaN.
    n_draws, seed
        As in `compare`.

    Examples
    --------
    >>> costs = np.random.default_rng(0).normal(10, 1, 20)
    >>> sums = np.column_stack([0.8 * costs, costs**0, costs, costs**0, 0.5 * costs, costs**0])
    >>> saving_interval(sums, n_draws=99).round(6).tolist()
    [[0.2, 0.2, 0.2], [0.4, 0.4, 0.4]]
    """
    from arch.bootstrap import IIDBootstrap

    limits: Float = np.full((2, 2), np.nan)
    if len(sums) >= MIN_DAYS:
        drawn = IIDBootstrap(sums, seed=np.random.default_rng(seed))
        limits = drawn.conf_int(_estimates, n_draws, "studentized", std_err_func=_standard_errors)
    return np.column_stack([_estimates(sums), limits.T])


def _per_share(sums: Float) -> Float:
    """Cost per share of each of the three, (3,)."""
    total = sums.sum(axis=0)
    return total[0::2] / total[1::2]


def _estimates(sums: Float) -> Float:
    """Saving, and share of the perfect-foresight saving (NaN where there is none), (2,)."""
    own, reference, bound = _per_share(sums)
    return np.array([1.0 - own / reference, (reference - own) / _room(reference, bound)])


def _standard_errors(_: Float, sums: Float) -> Float:
    """Of the estimates over independent rows, by the delta method for ratios of sums, (2,)."""
    per_share = own, reference, bound = _per_share(sums)
    deviations = (sums[:, 0::2] - per_share * sums[:, 1::2]) / sums[:, 1::2].sum(axis=0)
    of_own, of_reference, of_bound = deviations.T
    room = _room(reference, bound)
    influences = (
        own * of_reference / reference**2 - of_own / reference,
        (of_reference - of_own) / room - (reference - own) * (of_reference - of_bound) / room**2,
    )
    n = len(sums)
    return np.maximum(np.sqrt([n / (n - 1) * (one @ one) for one in influences]), MIN_ERROR)


def _room(benchmark: float, bound: float) -> float:
    """What could be saved, benchmark - bound; NaN where that is nothing but rounding."""
    return benchmark - bound if benchmark - bound > ROUNDING * abs(benchmark) else np.nan

"""How sure a saving is: paired differences, bootstraps, many strategies at once, and power."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation.replay import BOUND, ROUNDING, Execution, foresight_saving
from research_lib.market import Session

Float = NDArray[np.float64]
BENCHMARK = "TWAP"
MIN_DAYS = 8  # fewer days are not drawn: their bootstrap covers far less than it says
MIN_INTERVALS = 30  # that the automatic block length needs
MIN_ERROR = 1e-12
BY_DAY = "bootstrap of whole days, studentised"
WITHIN = "stationary bootstrap of intervals: too few days to draw days"
LIMITS = ("", "_lower", "_upper")
Key = tuple[str, str, int, int, str, float]


@dataclass(frozen=True, eq=False)
class Pairs(Record):
    """The same orders by a strategy, the benchmark and the bound, all completed.

    Attributes
    ----------
    days : (m,) str
    executions : list of (strategy, benchmark, bound)
    incomplete : int
        Orders left out since one of the three did not fill them.
    """

    days: list[str]
    executions: list[tuple[Execution, Execution, Execution]]
    incomplete: int

    def by_day(self) -> Float:
        """Cost and shares of each of the three, summed over each day's orders, (n_days, 6)."""
        rows = [
            [value for one in trio for value in (one.cost, float(one.filled.sum()))]
            for trio in self.executions
        ]
        return pd.DataFrame(rows).groupby(self.days).sum().to_numpy()

    def by_interval(self) -> Float:
        """The same, summed over the orders alive at each time, (n_times, 6), in order of time."""
        parts = [
            pd.DataFrame({2 * k: one.cost_by_interval, 2 * k + 1: one.filled}, one.time)
            for trio in self.executions
            for k, one in enumerate(trio)
        ]
        return pd.concat(parts).groupby(level=0).sum()[list(range(6))].to_numpy()


def pair(
    executions: Iterable[Execution], benchmark: str = BENCHMARK, session: Session | None = None
) -> dict[str, Pairs]:
    """Each strategy's orders beside those of the benchmark and the bound.

    Orders are the same where day, symbol, start, length, side and size are; sizes that differ by
    rounding alone are one.

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
    >>> pair(done)["TWAP"].days
    ['2024-01-02']
    """
    done = _checked(executions)
    days = (session or Session()).days(np.array([one.time[0] for one in done]))
    sizes = distinct([one.total_shares for one in done])
    found: dict[str, dict[Key, Execution]] = {}
    for one, day, size in zip(done, days, sizes, strict=True):
        start = int(one.time[0])
        key = (str(day), one.symbol, start, len(one.time), one.side, float(size))
        if key in found.setdefault(one.name, {}):
            raise ValidationError(
                f"{one.name} has the {one.side} of {one.total_shares:,.6g} "
                f"{one.symbol or 'shares'} on {day} twice"
            )
        found[one.name][key] = one
    references, bounds = found.get(benchmark, {}), found.get(BOUND, {})
    paired = {}
    for name, orders in found.items():
        lacking = [key for key in orders if key not in references or key not in bounds]
        if lacking:
            raise ValidationError(
                f"the order {lacking[0]} of {name} has no {benchmark} or no {BOUND} to be compared "
                "with; run them too"
            )
        trios = [(key[0], (one, references[key], bounds[key])) for key, one in orders.items()]
        whole = [(day, trio) for day, trio in trios if all(one.completed for one in trio)]
        done_days, done_trios = [day for day, _ in whole], [trio for _, trio in whole]
        paired[name] = Pairs(done_days, done_trios, len(trios) - len(whole))
    return paired


def distinct(sizes: ArrayLike) -> Float:
    """Each size, (n,), or the least of those that it differs from by rounding alone."""
    values = np.asarray(sizes, float)
    order = np.argsort(values)
    ascending = values[order]
    first = np.diff(ascending, prepend=-np.inf) > ROUNDING * ascending
    same = np.empty(len(values))
    same[order] = ascending[np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))]
    return same


def compare(
    executions: Iterable[Execution],
    *,
    benchmark: str = BENCHMARK,
    level: float = 0.95,
    n_draws: int = 999,
    seed: int = 0,
    session: Session | None = None,
) -> pd.DataFrame:
    r"""What each strategy saved against the benchmark, order by order, with an interval.

    .. math:: saving = 1 - \frac{\sum_i C_i / \sum_i x_i}{\sum_i C^{TWAP}_i / \sum_i x^{TWAP}_i},
        \qquad share = \frac{\sum C^{TWAP} - \sum C}{\sum C^{TWAP} - \sum C^{bound}},

    the second the share of the perfect-foresight saving, over orders i paired by day, symbol,
    start, length, side and size; costs over each interval's mid. With 8 days or more, whole days
    are drawn, so that orders of one day stay together, and the interval is studentised
    (bootstrap-t; Hall, 1988). With fewer, intervals are drawn in blocks of random length (Politis
    and Romano, 1994), the mean length after Politis and White (2004): that interval knows the
    noise within these days, not that between days. Draws in which one of the three trades nothing
    are left out.

    Parameters
    ----------
    executions : iterable of Execution
        Of all strategies, the benchmark and the bound (`clairvoyant`), as `evaluate` gives.
    benchmark : str
    level : float
        Of the intervals.
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
        that risk as it came), intervals (the method). NaN where a strategy completed none.

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
    number("level", level, above=0, high=0.9999)
    number("n_draws", n_draws, 99, integer=True)
    paired = pair(executions, benchmark, session)
    if not (benchmark in paired and paired[benchmark].executions):
        lost = paired[benchmark].incomplete if benchmark in paired else 0
        raise InsufficientDataError(
            f"none of {lost} orders was completed by {benchmark} and the bound; lower their size"
        )
    rows = {name: _summary(pairs, level, n_draws, seed) for name, pairs in paired.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")
    return table.sort_values("cost_bps")


def saving_interval(
    sums: Float, *, by_day: bool, level: float = 0.95, n_draws: int = 999, seed: int = 0
) -> Float:
    """Saving and share of the perfect-foresight saving with their limits, (2, 3), as fractions.

    Parameters
    ----------
    sums : (n, 6)
        Cost and shares of strategy, benchmark and bound; a row a day, or an interval.
    by_day : bool
        Draw rows as they are, or in blocks.
    level, n_draws, seed
        As in `compare`.

    Examples
    --------
    >>> costs = np.random.default_rng(0).normal(10, 1, 20)
    >>> sums = np.column_stack([0.8 * costs, costs**0, costs, costs**0, 0.5 * costs, costs**0])
    >>> saving_interval(sums, by_day=True, n_draws=99).round(6).tolist()
    [[0.2, 0.2, 0.2], [0.4, 0.4, 0.4]]
    """
    from arch.bootstrap import IIDBootstrap, StationaryBootstrap

    rng = np.random.default_rng(seed)
    if by_day:
        limits = IIDBootstrap(sums, seed=rng).conf_int(
            _estimates, n_draws, method="studentized", size=level, std_err_func=_standard_errors
        )
    else:
        block = _block_length(sums[:, 2] - sums[:, 0])
        draws = StationaryBootstrap(block, sums, seed=rng).apply(_estimates, n_draws)
        tails = [(1 - level) / 2, (1 + level) / 2]
        limits = pd.DataFrame(draws).quantile(tails).to_numpy()  # NaN draws are left out
    return np.column_stack([_estimates(sums), limits.T])


def losses(
    executions: Iterable[Execution], benchmark: str = BENCHMARK, session: Session | None = None
) -> pd.DataFrame:
    """Cost per share of each day and strategy, bps of the mean arrival price.

    Days in order; the bound, which nobody can trade, is left out, and so are days on which some
    strategy did not complete an order. For `superior_ability` and `model_confidence_set`.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, clairvoyant, run
    >>> from research_lib.market import preset
    >>> books = preset("thin_stock", Session(13)).books(26, 5, np.random.default_rng(0))
    >>> days = books.take(np.arange(13)), books.take(np.arange(13, 26))
    >>> done = [run(Twap(), day, 500, "buy") for day in days]
    >>> losses(done + [clairvoyant(day, 500, "buy") for day in days]).shape
    (2, 1)
    """
    columns = {}
    for name, pairs in pair(executions, benchmark, session).items():
        if name != BOUND and not pairs.incomplete:
            sums = pairs.by_day()
            price = np.mean([trio[1].arrival_price for trio in pairs.executions])
            index = sorted(set(pairs.days))
            columns[name] = pd.Series(1e4 * sums[:, 0] / sums[:, 1] / price, index)
    return pd.DataFrame(columns).dropna().rename_axis("day")


def superior_ability(
    costs: pd.DataFrame, *, benchmark: str = BENCHMARK, n_draws: int = 1000, seed: int = 0
) -> float:
    """P-value of "no strategy is cheaper than the benchmark", of all that were tried.

    Hansen's test of superior predictive ability, consistent p-value, stationary bootstrap over
    days; NaN below 8 days.

    Parameters
    ----------
    costs : DataFrame (n_days, strategies)
        As `losses`; the benchmark among them.

    References
    ----------
    Hansen, P. R. (2005), "A test for superior predictive ability", Journal of Business and
    Economic Statistics 23(4), 365-380.

    Examples
    --------
    >>> twap = np.random.default_rng(0).normal(10, 1, 20)
    >>> superior_ability(pd.DataFrame({"TWAP": twap, "cheaper": twap - 0.5}))
    0.0
    """
    from arch.bootstrap import SPA

    others = costs.drop(columns=benchmark)
    if len(costs) < MIN_DAYS or others.empty:
        return float("nan")
    block, own = max(1, round(len(costs) ** (1 / 3))), costs[benchmark].to_numpy()
    test = SPA(own, others.to_numpy(), block_size=block, reps=n_draws, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def days_to_detect(
    costs: pd.DataFrame,
    *,
    saving: float = 0.02,
    power: float = 0.8,
    level: float = 0.05,
    benchmark: str = BENCHMARK,
) -> pd.Series:
    r"""Days after which a true saving would show, by strategy.

    .. math:: n = \Big(\frac{(z_{1 - level/2} + z_{power}) \, sd(C^{benchmark} - C)}
        {saving \; mean(C^{benchmark})}\Big)^2,

    rounded up, for a two-sided test of the mean paired difference over days.

    Parameters
    ----------
    costs : DataFrame (n_days, strategies)
        As `losses`. Two days or more; NaN with fewer.
    saving : float
        Of the benchmark's cost, a fraction above 0.
    power, level : float
        Probability to find it, and to find it where there is none.

    Examples
    --------
    >>> costs = pd.DataFrame({"TWAP": [10.0, 10.0, 10.0], "new": [9.0, 9.5, 10.0]})
    >>> days_to_detect(costs).to_dict()  # (2.80 * 0.5 / 0.2)^2
    {'new': 50.0}
    """
    tails = [1 - number("level", level, above=0, high=1) / 2, number("power", power, 0.5, 0.9999)]
    effect = number("saving", saving, above=0) * float(costs[benchmark].mean())
    deviation = costs.rsub(costs[benchmark], axis=0).drop(columns=benchmark).std()
    return np.ceil((ndtri(tails).sum() * deviation / effect) ** 2).rename("days")


def compare_groups(
    executions: Iterable[Execution], total_shares: float, session: Session, *, n_draws: int = 399
) -> dict[str, pd.DataFrame]:
    """`compare` of the orders of each kind.

    Parameters
    ----------
    executions : iterable of Execution
        As `walk_forward` gives: several sizes, sides and windows, the benchmark and the bound.
    total_shares : float
        The size whose sides and windows are shown apart.
    session : Session
        Says which part of the day an order fills.
    n_draws : int
        Of the bootstraps.

    Returns
    -------
    dict of label to DataFrame
        Whole-day orders by size (both sides, see `size_label`), orders of `total_shares` by side
        (all windows) and by window (both sides). A group in which the benchmark completes no
        order has a table without rows, of the saving and its limits only.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, clairvoyant, run
    >>> from research_lib.market import preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> done = [run(Twap(), books, 500, "buy"), clairvoyant(books, 500, "buy")]
    >>> list(compare_groups(done, 500, Session(13), n_draws=99))
    ['500 shares', 'buy, all windows']
    """
    every = _checked(executions)
    sizes = distinct([one.total_shares for one in every])
    done = [every[k] for k in np.argsort(sizes, kind="stable")]
    n, labelled = session.n_intervals, []
    headline = [one for one in done if np.isclose(one.total_shares, total_shares, ROUNDING, 0.0)]
    labelled += [(size_label(one.total_shares), one) for one in done if len(one.filled) == n]
    labelled += [(f"{one.side}, all windows", one) for one in headline]
    for one in headline:
        if len(one.filled) < n:
            first = int(session.interval_of(one.time[:1])[0])
            start, end = (100 * at / n for at in (first, first + len(one.filled)))
            labelled.append((f"{start:.0f} to {end:.0f} % of the day", one))
    groups: dict[str, list[Execution]] = {}
    for label, one in labelled:
        groups.setdefault(label, []).append(one)
    columns = [f"saving{limit}_%" for limit in LIMITS]
    nothing = pd.DataFrame(columns=columns, dtype=float).rename_axis("strategy")
    return {
        label: compare(group, n_draws=n_draws, session=session)
        if any(one.name == BENCHMARK and one.completed for one in group)
        else nothing
        for label, group in groups.items()
    }


def size_label(total_shares: float) -> str:
    """What `compare_groups` calls the whole-day orders of a size.

    Examples
    --------
    >>> size_label(20_000), size_label(0.1 + 0.2), size_label(5e9)
    ('20,000 shares', '0.3 shares', '5,000,000,000 shares')
    """
    return f"{total_shares:,.12g} shares"


def panel(compared: Mapping[str, pd.DataFrame], strategies: Sequence[str]) -> pd.DataFrame:
    """Savings of some strategies in each group, per cent, with limits.

    Returns
    -------
    DataFrame
        Index group; columns <strategy>, <strategy>_lower, <strategy>_upper. NaN where the
        strategy completed no order.

    Examples
    --------
    >>> table = pd.DataFrame({"saving_%": [5.0], "saving_lower_%": [1.0], "saving_upper_%": [9.0]})
    >>> panel({"all": table.set_index(pd.Index(["new"]))}, ["new"]).loc["all"].to_dict()
    {'new': 5.0, 'new_lower': 1.0, 'new_upper': 9.0}
    """
    rows = {
        label: {
            f"{name}{limit}": table[f"saving{limit}_%"].get(name, np.nan)
            for name in strategies
            for limit in LIMITS
        }
        for label, table in compared.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("orders")


def _checked(executions: Iterable[Execution]) -> list[Execution]:
    found = list(executions) if isinstance(executions, Iterable) else []
    if not found or not all(isinstance(one, Execution) for one in found):
        given = str(executions)[:60]
        raise ValidationError(
            f"executions must be one Execution or more, as `evaluate` gives, got {given}"
        )
    return found


def _summary(pairs: Pairs, level: float, n_draws: int, seed: int) -> dict[str, object]:
    if not pairs.executions:
        none = "none: no order completed"
        return {"orders": 0, "incomplete": pairs.incomplete, "days": 0, "intervals": none}
    days, own = len(set(pairs.days)), [trio[0] for trio in pairs.executions]
    by_day = days >= MIN_DAYS
    sums = pairs.by_day() if by_day else pairs.by_interval()
    limits = saving_interval(sums, by_day=by_day, level=level, n_draws=n_draws, seed=seed)
    names = [f"{of}{limit}_%" for of in ("saving", "attainable") for limit in LIMITS]
    paper = np.array([one.total_shares * one.arrival_price for one in own])
    over_arrival = 1e4 * np.array([one.arrival_cost for one in own]) / paper
    return {
        "orders": len(own),
        "incomplete": pairs.incomplete,
        "days": days,
        "cost_bps": float(np.mean([one.cost_bps for one in own])),
        **dict(zip(names, 100.0 * limits.ravel(), strict=True)),
        "timing_risk_bps": float(np.mean([1e4 * one.timing_risk() for one in own] / paper)),
        "arrival_sd_bps": float(np.std(over_arrival, ddof=1)) if len(own) > 1 else float("nan"),
        "intervals": BY_DAY if by_day else WITHIN,
    }


def _per_share(sums: Float) -> Float:
    """Cost per share of each of the three, (3,); NaN for one that trades nothing in these rows."""
    total = sums.sum(axis=0)
    return np.divide(total[0::2], total[1::2], out=np.full(3, np.nan), where=total[1::2] > 0)


def _estimates(sums: Float) -> Float:
    """Saving, and share of the perfect-foresight saving (NaN where there is none), (2,)."""
    own, reference, bound = _per_share(sums)
    return np.array([1.0 - own / reference, (reference - own) / foresight_saving(reference, bound)])


def _standard_errors(_: Float, sums: Float) -> Float:
    """Of the estimates over independent rows, by the delta method for ratios of sums, (2,)."""
    per_share = own, reference, bound = _per_share(sums)
    deviations = (sums[:, 0::2] - per_share * sums[:, 1::2]) / sums[:, 1::2].sum(axis=0)
    of_own, of_reference, of_bound = deviations.T
    room = foresight_saving(reference, bound)
    influences = (
        own * of_reference / reference**2 - of_own / reference,
        (of_reference - of_own) / room - (reference - own) * (of_reference - of_bound) / room**2,
    )
    n = len(sums)
    return np.maximum(np.sqrt([n / (n - 1) * (one @ one) for one in influences]), MIN_ERROR)


def _block_length(difference: Float) -> int:
    """Mean block length of the stationary bootstrap: Politis and White's, or the cube root."""
    from arch.bootstrap import optimal_block_length

    n = len(difference)
    best = np.nan
    if n >= MIN_INTERVALS and np.ptp(difference) > 0:
        best = float(optimal_block_length(difference)["stationary"].iloc[0])
    return max(1, round(min(best, n / 3) if np.isfinite(best) else n ** (1 / 3)))

"""How sure is a saving: paired differences, block bootstraps, many strategies at once, and power."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation.bound import BOUND, attainable
from research_lib.evaluation.replay import Execution
from research_lib.market import Session

Float = NDArray[np.float64]
MIN_DAYS = 8
RULER = "TWAP"
BY_DAY = "bootstrap of whole days, studentised"
WITHIN = "stationary bootstrap of intervals: too few days to draw days"
LEAST_ERROR = 1e-12
FEWEST_INTERVALS = 30
Key = tuple[str, str, int, int, str, float]
# Sums that a saving is made of: cost and shares of the strategy, the ruler and the bound.
COLUMNS = 6


@dataclass(frozen=True, eq=False)
class Pairs(Record):
    """The same orders by a strategy, the ruler and the bound, all completed.

    Attributes
    ----------
    days : (m,) str
    executions : list of (strategy, ruler, bound)
    incomplete : int
        Orders left out since one of the three did not fill them.
    """

    days: list[str]
    executions: list[tuple[Execution, Execution, Execution]]
    incomplete: int

    def by_day(self) -> Float:
        """Cost and shares of strategy, ruler and bound, summed over each day's orders, (n_days, 6)."""
        names = sorted(set(self.days))
        sums = np.zeros((len(names), COLUMNS))
        for day, trio in zip(self.days, self.executions, strict=True):
            sums[names.index(day)] += [
                value for one in trio for value in (one.cost, float(one.filled.sum()))
            ]
        return sums

    def by_interval(self) -> Float:
        """The same, summed over the orders alive at each time, (n_times, 6), in order of time."""
        times = np.unique(np.concatenate([one.time for trio in self.executions for one in trio]))
        sums = np.zeros((len(times), COLUMNS))
        for trio in self.executions:
            for k, one in enumerate(trio):
                at = np.searchsorted(times, one.time)
                np.add.at(sums[:, 2 * k], at, one.cost_by_interval)
                np.add.at(sums[:, 2 * k + 1], at, one.filled)
        return sums


def pair(
    executions: Iterable[Execution], ruler: str = RULER, session: Session | None = None
) -> dict[str, Pairs]:
    """Each strategy's orders beside those of the ruler and the bound, by day, symbol, start, length, side and size.

    Raises
    ------
    ValidationError
        No executions, none of the ruler or the bound for an order, or the same order twice.
    """
    found: dict[str, dict[Key, Execution]] = {}
    for one in _checked(executions):
        day = str((session or Session()).days(one.time[:1])[0])
        key = (
            day,
            one.symbol,
            int(one.time[0]),
            len(one.time),
            one.side,
            round(one.total_shares, 6),
        )
        if key in found.setdefault(one.name, {}):
            raise ValidationError(
                f"{one.name} has the {one.side} of {one.total_shares:,.6g} {one.symbol or 'shares'} on {day} twice"
            )
        found[one.name][key] = one
    rulers, bounds = found.get(ruler, {}), found.get(BOUND, {})
    for name, orders in found.items():
        lacking = [key for key in orders if key not in rulers or key not in bounds]
        if lacking:
            raise ValidationError(
                f"the order {lacking[0]} of {name} has no {ruler} or no {BOUND} to be compared with; run them too"
            )
    return {name: _pairs(orders, rulers, bounds) for name, orders in found.items()}


def compare(
    executions: Iterable[Execution],
    *,
    ruler: str = RULER,
    level: float = 0.95,
    n_draws: int = 999,
    seed: int = 0,
    session: Session | None = None,
) -> pd.DataFrame:
    r"""What each strategy saved against the ruler, order by order, with an interval.

    .. math:: saving = 1 - \frac{\sum_i C_i / \sum_i x_i}{\sum_i C^{ruler}_i / \sum_i x^{ruler}_i}, \qquad
        attainable = \frac{\sum C^{ruler} - \sum C}{\sum C^{ruler} - \sum C^{bound}}

    over orders i paired by day, symbol, start, length, side and size; costs over each interval's mid. With 8
    days or more, whole days are drawn, so that orders of one day stay together, and the
    interval is studentised (bootstrap-t; Hall, 1988). With fewer, intervals are drawn in
    blocks of random length (Politis and Romano, 1994), the mean length after Politis and
    White (2004): that interval knows the noise within these days, not that between days. Draws
    in which one of the three trades nothing are left out.

    Parameters
    ----------
    executions : iterable of Execution
        Of all strategies, the ruler and the bound (`clairvoyant`), as `evaluate` gives.
    ruler : str
    level : float
        Of the intervals.
    n_draws : int
    seed : int
    session : Session, optional
        Whose time zone tells the day.

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
        No executions, or an order without the ruler or the bound.
    InsufficientDataError
        No order that the ruler and the bound completed.
    """
    number("level", level, above=0, high=0.9999)
    paired, draws = pair(executions, ruler, session), number("n_draws", n_draws, 99, integer=True)
    if not (ruler in paired and paired[ruler].executions):
        lost = paired[ruler].incomplete if ruler in paired else 0
        raise InsufficientDataError(
            f"none of {lost} orders was completed by {ruler} and the bound; lower their size"
        )
    rows = {name: _summary(pairs, level, draws, seed) for name, pairs in paired.items()}
    return (
        pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy").sort_values("cost_bps")
    )


def saving_interval(
    sums: Float, *, by_day: bool, level: float = 0.95, n_draws: int = 999, seed: int = 0
) -> Float:
    """Saving and share of the attainable with lower and upper limits, (2, 3), as fractions.

    Parameters
    ----------
    sums : (n, 6)
        Cost and shares of strategy, ruler and bound; a row a day, or an interval.
    by_day : bool
        Draw rows as they are, or in blocks.
    level, n_draws, seed
        As in `compare`.
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
        known = [one[np.isfinite(one)] for one in draws.T]
        limits = np.column_stack(
            [np.quantile(one, tails) if one.size else [np.nan, np.nan] for one in known]
        )
    return np.column_stack([_estimates(sums), limits.T])


def losses(
    executions: Iterable[Execution], ruler: str = RULER, session: Session | None = None
) -> pd.DataFrame:
    """Cost per share, bps of the ruler's mean arrival price, of each day and strategy: for `model_confidence_set`.

    Days in order; the bound, which nobody can trade, is left out, and so are days on which some
    strategy did not complete an order.
    """
    paired = pair(executions, ruler, session)
    columns = {}
    for name, pairs in paired.items():
        if name != BOUND and not pairs.incomplete:
            sums = pairs.by_day()
            price = np.mean([trio[1].arrival_price for trio in pairs.executions])
            columns[name] = pd.Series(
                1e4 * sums[:, 0] / sums[:, 1] / price, index=sorted(set(pairs.days))
            )
    return pd.DataFrame(columns).dropna().rename_axis("day")


def superior_ability(
    costs: pd.DataFrame, *, ruler: str = RULER, n_draws: int = 1000, seed: int = 0
) -> float:
    """P-value of "no strategy is cheaper than the ruler", allowing for having tried them all; NaN below 8 days.

    Hansen's test of superior predictive ability, consistent p-value, stationary bootstrap over days.

    Parameters
    ----------
    costs : DataFrame (n_days, strategies)
        As `losses`; the ruler among them.

    References
    ----------
    Hansen, P. R. (2005), "A test for superior predictive ability", Journal of Business and
    Economic Statistics 23(4), 365-380.
    """
    from arch.bootstrap import SPA

    others = costs.drop(columns=ruler)
    if len(costs) < MIN_DAYS or others.empty:
        return float("nan")
    block = max(1, round(len(costs) ** (1 / 3)))
    test = SPA(
        costs[ruler].to_numpy(), others.to_numpy(), block_size=block, reps=n_draws, seed=seed
    )
    test.compute()
    return float(test.pvalues["consistent"])


def days_to_detect(
    costs: pd.DataFrame,
    *,
    saving: float = 0.02,
    power: float = 0.8,
    level: float = 0.05,
    ruler: str = RULER,
) -> pd.Series:
    r"""Days after which a true saving would show, by strategy.

    .. math:: n = \Big(\frac{(z_{1 - level/2} + z_{power}) \, sd(C^{ruler} - C)}{saving \; mean(C^{ruler})}\Big)^2,

    rounded up, for a two-sided test of the mean paired difference over days.

    Parameters
    ----------
    costs : DataFrame (n_days, strategies)
        As `losses`. Two days or more; NaN with fewer.
    saving : float
        Of the ruler's cost, a fraction above 0.
    power, level : float
        Probability to find it, and to find it where there is none.
    """
    quantiles = stats.norm.ppf(
        [1 - number("level", level, above=0, high=1) / 2, number("power", power, 0.5, 0.9999)]
    )
    effect = number("saving", saving, above=0) * float(costs[ruler].mean())
    deviation = costs.rsub(costs[ruler], axis=0).drop(columns=ruler).std()
    return np.ceil((quantiles.sum() * deviation / effect) ** 2).rename("days")


def _checked(executions: Iterable[Execution]) -> list[Execution]:
    found = list(executions) if isinstance(executions, Iterable) else []
    if not found or not all(isinstance(one, Execution) for one in found):
        raise ValidationError(
            f"executions must be one Execution or more, as `evaluate` gives, got {str(executions)[:60]}"
        )
    return found


def _pairs(
    orders: dict[Key, Execution], rulers: dict[Key, Execution], bounds: dict[Key, Execution]
) -> Pairs:
    trios = {key: (one, rulers[key], bounds[key]) for key, one in orders.items()}
    whole = {key: trio for key, trio in trios.items() if all(one.completed for one in trio)}
    return Pairs([key[0] for key in whole], list(whole.values()), len(trios) - len(whole))


def _summary(pairs: Pairs, level: float, n_draws: int, seed: int) -> dict[str, object]:
    if not pairs.executions:
        return {
            "orders": 0,
            "incomplete": pairs.incomplete,
            "days": 0,
            "intervals": "none: no order completed",
        }
    days, own = len(set(pairs.days)), [trio[0] for trio in pairs.executions]
    enough = days >= MIN_DAYS
    sums = pairs.by_day() if enough else pairs.by_interval()
    saving, attainable = 100.0 * saving_interval(
        sums, by_day=enough, level=level, n_draws=n_draws, seed=seed
    )
    risk = [1e4 * one.timing_risk() / (one.total_shares * one.arrival_price) for one in own]
    over_arrival = [1e4 * one.arrival_cost / (one.total_shares * one.arrival_price) for one in own]
    return {
        "orders": len(own),
        "incomplete": pairs.incomplete,
        "days": days,
        "cost_bps": float(np.mean([one.cost_bps for one in own])),
        **dict(zip(("saving_%", "saving_lower_%", "saving_upper_%"), saving, strict=True)),
        **dict(
            zip(
                ("attainable_%", "attainable_lower_%", "attainable_upper_%"),
                attainable,
                strict=True,
            )
        ),
        "timing_risk_bps": float(np.mean(risk)),
        "arrival_sd_bps": float(np.std(over_arrival, ddof=1)) if len(own) > 1 else float("nan"),
        "intervals": BY_DAY if enough else WITHIN,
    }


def _per_share(sums: Float) -> Float:
    """Cost per share of strategy, ruler and bound, (3,); NaN for one that trades nothing in these rows."""
    total = sums.sum(axis=0)
    return np.divide(total[0::2], total[1::2], out=np.full(3, np.nan), where=total[1::2] > 0)


def _estimates(sums: Float) -> Float:
    """Saving, and share of the attainable (NaN where there is none), (2,)."""
    own, ruler, bound = _per_share(sums)
    return np.array([1.0 - own / ruler, (ruler - own) / attainable(ruler, bound)])


def _standard_errors(_: Float, sums: Float) -> Float:
    """Of the estimates over independent rows, by the delta method for ratios of sums, (2,); above 0."""
    own, ruler, bound = _per_share(sums)
    of_own, of_ruler, of_bound = (
        (sums[:, 0::2] - _per_share(sums) * sums[:, 1::2]) / sums[:, 1::2].sum(axis=0)
    ).T
    room = attainable(ruler, bound)
    influences = (
        own * of_ruler / ruler**2 - of_own / ruler,
        (of_ruler - of_own) / room - (ruler - own) * (of_ruler - of_bound) / room**2,
    )
    n = len(sums)
    return np.maximum(np.sqrt([n / (n - 1) * (one @ one) for one in influences]), LEAST_ERROR)


def _block_length(difference: Float) -> int:
    """Mean length of the stationary bootstrap's blocks: Politis and White's, or the cube root where that has none."""
    from arch.bootstrap import optimal_block_length

    n = len(difference)
    best = np.nan
    if n >= FEWEST_INTERVALS and np.ptp(difference) > 0:
        best = float(optimal_block_length(difference)["stationary"].iloc[0])
    return max(1, round(min(best, n / 3) if np.isfinite(best) else n ** (1 / 3)))

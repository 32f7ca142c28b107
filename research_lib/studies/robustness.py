"""Does a difference between strategies hold: over seeds of a synthetic market, and by placebo."""

# ruff: noqa: I001  (several names a line)

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from research_lib.checks import number, per_interval
from research_lib.evaluation import Accounting, Adaptive, CarriedImpact, Ladder
from research_lib.evaluation import Prior, compare, known_before, order_cost, replay, run
from research_lib.evaluation import standard_strategies, walk_forward
from research_lib.evaluation.intervals import Placebo, block_bootstrap_interval, circular_shifts
from research_lib.evaluation.intervals import coverage_table, power, rank_placebo
from research_lib.market import SyntheticMarket
from research_lib.studies.experiment import Experiment
from research_lib.wording import interval, significant

DAYS = {"n_fitted": 20, "n_evaluated": 40}  # of the analysis plan
# What a report says of the draws.
DRAWN = {
    "benchmark_bps": "best benchmark", "adaptive_bps": "adaptive", "difference_bps": "difference",
    "true_difference_bps": "difference by the market's own kernel",
    "equal_bps": "difference to TWAP",
}  # fmt: skip
MAX_RANK = 0.05  # of a placebo: the lowest twentieth
MAX_NAMED = 3  # refutations in a sentence
STANDS = "Stands by the rules of the analysis plan"


def seed_study(
    market: SyntheticMarket, *, total_shares: float, max_shares: float, seeds: Sequence[int],
    n_levels: int, n_fitted: int = DAYS["n_fitted"], n_evaluated: int = DAYS["n_evaluated"],
) -> pd.DataFrame:  # fmt: skip
    """The adaptive strategy against the best benchmark on independent draws of a market.

    Each seed draws n_fitted sessions, which are only fitted on, and n_evaluated, on which a buy and
    a sell are worked. Costs are counted with the kernel measured on the fitted sessions and, since
    a synthetic market has one, with its own.

    Returns
    -------
    DataFrame
        Index seed: benchmark_bps, adaptive_bps, difference_bps, lower_bps, upper_bps and
        p_value under "measured"; true_difference_bps under the market's own kernel; equal_bps, the
        difference to TWAP under "measured"; completed (least share of both).

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> few = {"seeds": [0], "n_levels": 10, "n_fitted": 2, "n_evaluated": 2}
    >>> order = {"total_shares": 2_000, "max_shares": 400}
    >>> table = seed_study(preset("thin_stock", Session(26)), **order, **few)
    >>> bool(table.loc[0, "difference_bps"] < 0)
    True
    """
    session = market.session
    n = (n_fitted + n_evaluated) * session.n_intervals
    how: dict[str, Any] = {"n_fitted": n_fitted, "first": n_fitted, "refit_every": n_evaluated}

    def make(prior: Prior) -> list[Any]:
        made = standard_strategies(prior, tick=market.tick)
        return [one for one in made if one.name != "static optimal"]

    def of_seed(seed: int) -> dict[str, float]:
        books = market.books(n, n_levels, np.random.default_rng(seed), flow=market.flow)
        known = known_before(books, session, on_jump="carry", **how)
        asked: dict[str, Any] = {"sizes": [total_shares], "max_shares": max_shares, "make": make}
        done = walk_forward(known, session, **asked)
        table = compare(done, Accounting(known[0].priors["buy"].carried))
        own, best = table.loc["adaptive"], table.loc["best benchmark"]
        row = {"benchmark_bps": best["total_bps"], "adaptive_bps": own["total_bps"]}
        row |= own[["difference_bps", "lower_bps", "upper_bps", "p_value"]].to_dict()
        row["true_difference_bps"] = np.nan
        if market.kernel is not None:
            truth = Accounting(CarriedImpact("measured", market.kernel))
            row["true_difference_bps"] = compare(done, truth).loc["adaptive", "difference_bps"]
        row["equal_bps"] = own["total_bps"] - table.loc["TWAP", "total_bps"]
        return row | {"completed": min(own["completed"], best["completed"])}

    with ThreadPoolExecutor(2) as pool:  # what takes time is compiled code without the lock
        found = list(tqdm(pool.map(of_seed, seeds), "seeds", len(seeds), leave=False))
    return pd.DataFrame(found, pd.Index(seeds, name="seed"))


def draws_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """Means of a `seed_study` over its draws, with their Monte-Carlo errors: mean_bps, error_bps.

    Examples
    --------
    >>> drawn = pd.DataFrame({name: [1.0, 3.0] for name in DRAWN})
    >>> draws_table(drawn).loc["difference"].to_dict()
    {'mean_bps': 2.0, 'error_bps': 1.0}
    """
    means = {"mean_bps": seeds[list(DRAWN)].mean(), "error_bps": seeds[list(DRAWN)].sem()}
    return pd.DataFrame(means).rename(DRAWN).rename_axis(f"{len(seeds)} draws")


def interval_checks(
    differences: pd.Series, rng: np.random.Generator, n_draws: int = 100_000
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What stands beside an interval: a block bootstrap, its power, its simulated coverage.

    Parameters
    ----------
    differences : (n,) bps
        By session.
    rng : Generator
    n_draws : int
        Series of each kind.

    Returns
    -------
    checks : DataFrame
        Index bootstrap lower end, bootstrap upper end, true difference found in four of five
        repetitions; difference_bps.
    coverage : DataFrame
        Index kind of series and number of sessions; 4 groups (the interval in use), 8 groups and 6
        cosines, per cent.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> checks, coverage = interval_checks(pd.Series(rng.normal(-2.0, 1.0, 40)), rng, 200)
    >>> bool(checks["difference_bps"].iloc[0] < -2.0), coverage.index[0]
    (True, 'independent, 20 sessions')
    """
    effects = -np.linspace(0.25, 3.0, 12) * differences.std()
    found = {"true difference found in four of five": power(differences, effects, rng).detectable}
    second = block_bootstrap_interval(differences, rng)
    ends = {"bootstrap, lower end": second.lower, "bootstrap, upper end": second.upper}
    coverage = coverage_table(rng, n_draws)["coverage_%"][["4 groups", "8 groups", "6 cosines"]]
    named = [f"{kind}, {n} sessions" for kind, n in coverage.index]
    coverage.index = pd.Index(named, name="series")
    return pd.DataFrame({"difference_bps": ends | found}), coverage


def schedule_placebo(shares: ArrayLike, days: Sequence[Ladder], accounting: Accounting) -> Placebo:
    """Rank of a schedule's cost among its circular shifts on some days' books.

    The cost is spread, walk and carried impact, mean over days, bps; selection is noise for a
    schedule that does not look at the book.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(26, 5, np.random.default_rng(0))
    >>> days = Ladder.of(books, "buy").by_day(13)
    >>> found = schedule_placebo(np.linspace(0, 80, 13), days, Accounting())
    >>> found.n, found.p_value < 0.5  # it avoids the open
    (13, True)
    """
    rows, costs = circular_shifts(per_interval("shares", shares, np.size(shares))), []
    for row in rows:
        priced = [order_cost(replay(row, day, day.side), accounting) for day in days]
        costs.append(np.mean([one["total_bps"] - one["selection_bps"] for one in priced]))
    return rank_placebo(costs)


def clock_placebo(
    strategy: Adaptive, days: Sequence[Ladder], total_shares: float,
    accounting: Accounting | None = None, *, max_shares: float | None = None, step: int = 10,
) -> Placebo:  # fmt: skip
    """Rank of the adaptive strategy's cost among those with the clock of its prior shifted.

    The shapes are rolled by 0, step, 2 step, ... intervals: what they know of the time of day is
    gone, what the strategy sees is not.

    Examples
    --------
    >>> from research_lib.evaluation import LiquidityProfile, WeightedShapes
    >>> flat = LiquidityProfile(np.ones(13), np.ones(13), "no shape")
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(26, 5, np.random.default_rng(0))
    >>> strategy = Adaptive(WeightedShapes([flat]), "nothing")
    >>> days = Ladder.of(books, "buy").by_day(13)
    >>> clock_placebo(strategy, days, 500.0, step=4).p_value  # no shape: all shifts tie
    1.0
    """
    n, costs = len(days[0]), []
    for shift in range(0, n, number("step", step, 1, n, integer=True)):
        other = replace(strategy, shapes=strategy.shapes.shifted(shift))
        done = (run(other, day, total_shares, day.side, max_shares=max_shares) for day in days)
        costs.append(np.mean([order_cost(one, accounting)["total_bps"] for one in done]))
    return rank_placebo(costs)


def moved_out(changes: pd.DataFrame, headline: pd.Series) -> pd.Series:
    """Which changes move a difference out of the headline's interval; none where it has none.

    Another size of the order is another question, and moves nothing.

    Examples
    --------
    >>> changes = pd.DataFrame({"difference_bps": {("cap", "2 times"): -0.5, ("size", "2"): 1.0}})
    >>> headline = pd.Series({"difference_bps": -2.0, "lower_bps": -3.0, "upper_bps": -1.0})
    >>> moved_out(changes, headline).tolist()
    [True, False]
    """
    low, high = headline[["lower_bps", "upper_bps"]]
    same_size = changes.index.get_level_values(0) != "size"
    return ~changes["difference_bps"].between(low, high) & same_size & np.isfinite(low)


def refutations(changes: pd.DataFrame, headline: pd.Series, placebo: float) -> list[str]:
    """What refutes a headline by the rules of docs/analysis_plan.md, in words.

    An interval that holds 0; a change that moves the difference out of its interval (another order
    size is another question); a placebo rank of the clock that is not among the lowest twentieth;
    and, with or without an interval, a headline outside the range of its own priors.

    Parameters
    ----------
    changes : DataFrame
        Index (changed, to); difference_bps.
    headline : Series
        difference_bps, lower_bps and upper_bps; NaN limits: no interval.
    placebo : float
        p-value of the adaptive strategy's.

    Examples
    --------
    >>> changes = pd.DataFrame({"difference_bps": {("cap", "2 times"): -0.5, ("size", "2"): 1.0}})
    >>> headline = pd.Series({"difference_bps": -2.0, "lower_bps": -3.0, "upper_bps": -1.0})
    >>> refutations(changes, headline, 0.01)
    ['cap 2 times (-0.500 bps)']
    """
    found, (middle, low, high) = [], headline[["difference_bps", "lower_bps", "upper_bps"]]
    values = changes["difference_bps"]
    if np.isfinite(low):
        if low <= 0 <= high:
            found.append("its interval holds 0")
        moved = values[moved_out(changes, headline)].sort_values(ascending=False)  # losses first
        found += [f"{what} {to} ({significant(one)} bps)" for (what, to), one in moved.items()]
        if placebo > MAX_RANK:
            found.append(f"placebo of the prior's clock (p = {significant(placebo)})")
    priors = values[values.index.get_level_values(0) == "prior"]
    if len(priors) and not priors.min() - 1e-9 <= middle <= priors.max() + 1e-9:
        within = interval(priors.min(), priors.max())
        found.append(f"the difference lies outside the range of its own priors ({within} bps)")
    return found


def verdict(refuted: list[str], changes: pd.DataFrame, headline: pd.Series, n_sessions: int) -> str:
    """One sentence on whether a headline holds, with its range over the choices tried.

    Examples
    --------
    >>> changes = pd.DataFrame({"difference_bps": {("cap", "2 times"): -0.5}})
    >>> headline = pd.Series({"difference_bps": -2.0, "lower_bps": np.nan, "upper_bps": np.nan})
    >>> verdict([], changes, headline, 1)[:37]
    'Descriptive: 1 session, no interval; '
    """
    values = [*changes["difference_bps"], headline["difference_bps"]]
    span = f"{significant(min(values))} to {significant(max(values))} bps over the choices tried"
    span = f"the difference ranges from {span}."
    more = f", and {len(refuted) - MAX_NAMED} more" if len(refuted) > MAX_NAMED else ""
    why = f"{'; '.join(refuted[:MAX_NAMED])}{more}"
    if not np.isfinite(headline["lower_bps"]):
        kind = f"Withdrawn: {why};" if refuted else "Descriptive:"
        return f"{kind} {n_sessions} session{'s' * (n_sessions > 1)}, no interval; {span}"
    ruled = f"Refuted by the rules of the analysis plan: {why}" if refuted else STANDS
    return f"{ruled}; {span}"


def urgency_frontier(
    experiment: Experiment, urgencies: Iterable[float] = (1.0, 3.0, 10.0, 30.0)
) -> pd.DataFrame:
    """Expected cost and timing risk of the adaptive strategy by urgency.

    Returns
    -------
    DataFrame
        Index urgency; total_bps, timing_risk_bps, and dominated_by: the urgency, if any, that
        costs less at less risk.

    Examples
    --------
    >>> from research_lib.config import ModelConfig
    >>> from research_lib.market import Session, preset
    >>> from research_lib.studies import Sessions, accountings, curve_fit
    >>> market, rng = preset("thin_stock", Session(39)), np.random.default_rng(0)
    >>> sessions = Sessions.drawn(market, 21, 5, rng)
    >>> fit = curve_fit("linear", [200, 500, 1000], market.session, ModelConfig())
    >>> known = sessions.known(fit, fit_days=20)
    >>> costs = accountings(known[0], market.session, "buy")
    >>> one = Experiment(sessions, known, costs, 2_000.0, 0.2)
    >>> urgency_frontier(one, [1.0, 30.0])["timing_risk_bps"].is_monotonic_decreasing
    True
    """
    points = {}
    for value in tqdm(list(urgencies), "urgencies", leave=False):
        orders = replace(experiment, urgency=value).orders(names=("TWAP", "adaptive"))
        points[value] = experiment.compare(orders).loc["adaptive"]
    table = pd.DataFrame(points).T[["total_bps", "timing_risk_bps"]].astype(float)
    better = ((table < own).all(axis=1) for _, own in table.iterrows())
    table["dominated_by"] = [min(table.index[less], default=np.nan) for less in better]
    return table.rename_axis("urgency")


def saved_table(table: pd.DataFrame, reference: str = "TWAP") -> pd.DataFrame:
    """Saved against uniform splitting, per cent, of `evaluation.compare`.

    Returns
    -------
    DataFrame
        Index static optimal and adaptive; spread and walk, total.

    Examples
    --------
    >>> names = ["TWAP", "static optimal", "adaptive"]
    >>> costs = {"spread_bps": [4.0, 3.0, 2.0], "walk_bps": [1.0, 1.0, 1.0]}
    >>> saved_table(pd.DataFrame(costs | {"total_bps": [10.0, 9.0, 8.0]}, names)).loc["adaptive"]
    spread and walk    40.0
    total              20.0
    Name: adaptive, dtype: float64
    """
    small = table["spread_bps"] + table["walk_bps"]
    parts = pd.DataFrame({"spread and walk": small, "total": table["total_bps"]})
    return 100.0 * (1.0 - parts / parts.loc[reference]).loc[["static optimal", "adaptive"]]

"""Does a difference between strategies hold: over seeds of a synthetic market, and by placebo."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from research_lib.checks import number, per_interval
from research_lib.evaluation import (
    Accounting,
    Adaptive,
    CarriedImpact,
    Ladder,
    LiquidityProfile,
    Prior,
    compare,
    known_before,
    order_cost,
    replay,
    run,
    standard_strategies,
    walk_forward,
)  # fmt: skip
from research_lib.evaluation.intervals import Placebo, circular_shifts, rank_placebo
from research_lib.market import SyntheticMarket

DAYS = {"n_fitted": 20, "n_evaluated": 40}  # of the analysis plan
SEEDS = range(20)


def seed_study(
    market: SyntheticMarket, *, total_shares: float, max_shares: float | None = None,
    seeds: Iterable[int] = SEEDS, n_fitted: int = DAYS["n_fitted"],
    n_evaluated: int = DAYS["n_evaluated"], n_levels: int = 10,
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
    >>> few = {"seeds": [0], "n_fitted": 2, "n_evaluated": 2}
    >>> table = seed_study(preset("thin_stock", Session(26)), total_shares=2_000, **few)
    >>> bool(table.loc[0, "difference_bps"] < 0)
    True
    """
    how: dict[str, Any] = {"n_fitted": n_fitted, "n_evaluated": n_evaluated, "n_levels": n_levels}
    how |= {"total_shares": total_shares, "max_shares": max_shares}
    chosen = list(seeds)
    with ThreadPoolExecutor(2) as pool:  # what takes time is compiled code without the lock
        rows = pool.map(lambda seed: _of_seed(market, seed, **how), chosen)
        found = list(tqdm(rows, "seeds", len(chosen), leave=False))
    return pd.DataFrame(found, pd.Index(chosen, name="seed"))


def _of_seed(
    market: SyntheticMarket, seed: int, *, n_fitted: int, n_evaluated: int, n_levels: int,
    total_shares: float, max_shares: float | None,
) -> dict[str, float]:  # fmt: skip
    """One row of `seed_study`."""
    session, rng = market.session, np.random.default_rng(seed)
    n = (n_fitted + n_evaluated) * session.n_intervals
    books = market.books(n, n_levels, rng, flow=market.flow)
    how: dict[str, Any] = {"n_fitted": n_fitted, "first": n_fitted, "refit_every": n_evaluated}
    known = known_before(books, session, on_jump="carry", **how)

    def make(prior: Prior) -> list[Any]:
        made = standard_strategies(prior, tick=market.tick)
        return [one for one in made if one.name != "static optimal"]

    done = walk_forward(known, session, sizes=[total_shares], make=make, max_shares=max_shares)
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


def schedule_placebo(
    shares: ArrayLike, days: Sequence[Ladder], accounting: Accounting | None = None
) -> Placebo:
    """Rank of a schedule's cost among its circular shifts on some days' books.

    The cost is spread, walk and carried impact, mean over days, bps; selection is noise for a
    schedule that does not look at the book.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(26, 5, np.random.default_rng(0))
    >>> found = schedule_placebo(np.linspace(0, 80, 13), Ladder.of(books, "buy").by_day(13))
    >>> found.n, found.p_value < 0.5  # it avoids the open
    (13, True)
    """
    rows = circular_shifts(per_interval("shares", shares, np.size(shares)))
    costs = [[_blind_cost(row, day, accounting) for day in days] for row in rows]
    return rank_placebo(np.mean(costs, axis=1))


def _blind_cost(shares: ArrayLike, day: Ladder, accounting: Accounting | None) -> float:
    found = order_cost(replay(shares, day, day.side), accounting)
    return float(found["total_bps"] - found["selection_bps"])


def clock_placebo(
    strategy: Adaptive, days: Sequence[Ladder], total_shares: float,
    accounting: Accounting | None = None, *, max_shares: float | None = None, step: int = 10,
) -> Placebo:  # fmt: skip
    """Rank of the adaptive strategy's cost among those with the clock of its prior shifted.

    The shapes are rolled by 0, step, 2 step, ... intervals: what they know of the time of day is
    gone, what the strategy sees is not.

    Examples
    --------
    >>> from research_lib.evaluation import WeightedShapes
    >>> flat = LiquidityProfile(np.ones(13), np.ones(13), "no shape")
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(26, 5, np.random.default_rng(0))
    >>> strategy = Adaptive(WeightedShapes([flat]), "nothing")
    >>> days = Ladder.of(books, "buy").by_day(13)
    >>> clock_placebo(strategy, days, 500.0, step=4).p_value  # no shape: all shifts tie
    1.0
    """
    n = len(strategy.shapes.profiles[0])
    costs = []
    for shift in range(0, n, number("step", step, 1, n, integer=True)):
        rolled = [
            LiquidityProfile(np.roll(one.spread, -shift), np.roll(one.depth, -shift), one.source)
            for one in strategy.shapes.profiles
        ]
        other = replace(strategy, shapes=replace(strategy.shapes, profiles=rolled))
        done = (run(other, day, total_shares, day.side, max_shares=max_shares) for day in days)
        costs.append(np.mean([order_cost(one, accounting)["total_bps"] for one in done]))
    return rank_placebo(costs)

"""Savings that are not there: what is claimed in sample, and what chance alone would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.orders import one_an_interval
from research_lib.evaluation.protocol import Maker, Prior, standard_strategies
from research_lib.evaluation.replay import Execution, replay
from research_lib.evaluation.strategies import Twap, run
from research_lib.execution import Schedule, twap
from research_lib.impact import ImpactCurve
from research_lib.market import BookSnapshots


@dataclass(frozen=True, eq=False)
class NullSavings(Record):
    """What strategies would seem to save if the intervals' labels meant nothing.

    Attributes
    ----------
    savings : DataFrame (n_draws, strategies)
        Of TWAP's cost, per cent; one row a permutation. NaN where the strategy, or TWAP, left
        shares unfilled: it paid for another amount.
    observed : Series, index strategy
        With the labels as they are, per cent; NaN likewise.
    table : DataFrame, index strategy
        observed_%, null_mean_%, null_lower_%, null_upper_% (the middle 95 %), p_value: the
        share of permutations, the observed labels among them, that save as much; over those
        that completed, and NaN where the observed order did not.
    """

    savings: pd.DataFrame
    observed: pd.Series
    table: pd.DataFrame


def null_savings(
    books: BookSnapshots | Ladder,
    prior: Prior,
    total_shares: float,
    side: str,
    *,
    rng: np.random.Generator,
    n_draws: int = 200,
    make: Maker = standard_strategies,
    max_shares: ArrayLike | None = None,
) -> NullSavings:
    """Permute the labels of the intervals, decide again on what they then say, and trade on other books.

    All that a strategy goes by is permuted: its prior's intervals by one random order, the
    books that it sees by another; the books that it trades on by a third, or one that happens
    to trade late would gain from a day that grows cheaper. What it then saves is no skill, and
    since a child order's cost is convex in its size, it is a loss on average.

    Parameters
    ----------
    books : BookSnapshots or Ladder
        One an interval of one day.
    prior : Prior
        As for `evaluate`, of as many intervals.
    total_shares : float
    side : "buy" or "sell"
    rng : numpy.random.Generator
    n_draws : int
        Permutations.
    make : callable of a Prior
        Gives the strategies.
    max_shares : scalar or (n,) shares, optional

    Raises
    ------
    ValidationError
        An order that TWAP does not complete: costs of different amounts do not compare. Books of
        another length than the prior: several days, for instance.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValidationError(
            f"rng must be a numpy Generator, got {rng!r}; use np.random.default_rng(seed)"
        )
    ladder = Ladder.of(books, side)
    one_an_interval(len(prior.profile), len(ladder), "the prior")
    ruler = run(Twap(), ladder, total_shares, side, max_shares=max_shares)
    if not ruler.completed:
        raise ValidationError(
            f"TWAP leaves {ruler.unfilled:,.0f} of {total_shares:,.0f} shares unfilled; lower total_shares"
        )

    def savings(known: Prior, traded: Ladder, shown: Ladder) -> dict[str, float]:
        equal = run(Twap(), traded, total_shares, side, max_shares=max_shares)
        done = [
            run(one, traded, total_shares, side, max_shares=max_shares, shown=shown)
            for one in make(known)
        ]
        return {one.name: 100.0 * (1.0 - _paid(one) / _paid(equal)) for one in done}

    rows = [
        savings(prior.permuted(rng), *(ladder.take(rng.permutation(len(ladder))) for _ in range(2)))
        for _ in range(number("n_draws", n_draws, 19, integer=True))
    ]
    null, observed = pd.DataFrame(rows), pd.Series(savings(prior, ladder, ladder))
    return NullSavings(null, observed, _table(null, observed))


def decompose_saving(
    curves: Mapping[str, ImpactCurve],
    days: Sequence[Ladder],
    total_shares: float,
    *,
    max_shares: ArrayLike | None = None,
) -> pd.DataFrame:
    """What schedules save against TWAP by the curves they were optimised on, and on books not seen.

    Parameters
    ----------
    curves : mapping of label to ImpactCurve
        Of n intervals, fitted on other days than `days`: raw and shrunk ones, for instance.
    days : sequence of Ladder
        Of n books each, of the side traded; one at least.
    total_shares : float
    max_shares : scalar or (n,) shares, optional

    Returns
    -------
    DataFrame
        Index label: claimed_% (in sample), realised_% (mean cost over `days` against TWAP's),
        phantom_% (the difference). The last two are NaN where a day leaves shares of the schedule,
        or of TWAP, unfilled: costs of different amounts do not compare.

    Raises
    ------
    ValidationError
        No day, days that are no ladders, or of another number of intervals than a curve.
    """
    from research_lib.execution import allocate

    if not len(days) or not all(isinstance(day, Ladder) for day in days):
        raise ValidationError(
            "days must be one Ladder or more, one a day; make them by Ladder.of(books, side)"
        )
    rows = {}
    for label, curve in curves.items():
        schedule = Schedule(allocate(curve, total_shares, max_shares=max_shares).shares, label)
        equal = twap(total_shares, len(curve))
        claimed = 1.0 - float(curve.cost(schedule.shares).sum() / curve.cost(equal.shares).sum())
        cost, ruler = (
            np.mean([_paid(replay(one, day, day.side, max_shares=max_shares)) for day in days])
            for one in (schedule, equal)
        )
        realised = 1.0 - float(cost / ruler)
        rows[label] = {
            "claimed_%": 100 * claimed,
            "realised_%": 100 * realised,
            "phantom_%": 100 * (claimed - realised),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("curves")


def _paid(one: Execution) -> float:
    """Cost of a share over the mid; NaN for an order that is not completed."""
    return one.cost_per_share if one.completed else float("nan")


def _table(null: pd.DataFrame, observed: pd.Series) -> pd.DataFrame:
    known = null.notna().sum().where(observed.notna())
    return pd.DataFrame(
        {
            "observed_%": observed,
            "null_mean_%": null.mean(),
            "null_lower_%": null.quantile(0.025),
            "null_upper_%": null.quantile(0.975),
            "p_value": (1 + (null >= observed).sum()) / (1 + known),
        }
    ).rename_axis("strategy")

"""Savings that are not there: what is predicted in sample, and what a placebo would show."""

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
from research_lib.evaluation.protocol import Maker, Prior, standard_strategies
from research_lib.evaluation.replay import Execution, replay
from research_lib.evaluation.strategies import Twap, one_an_interval, run
from research_lib.execution import allocate, twap
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

    @property
    def table(self) -> pd.DataFrame:
        """See above."""
        null, observed = self.savings, self.observed
        known = null.notna().sum().where(observed.notna())
        columns = {
            "observed_%": observed,
            "null_mean_%": null.mean(),
            "null_lower_%": null.quantile(0.025),
            "null_upper_%": null.quantile(0.975),
            "p_value": (1 + (null >= observed).sum()) / (1 + known),
        }
        return pd.DataFrame(columns).rename_axis("strategy")

    def to_frame(self) -> pd.DataFrame:
        """The table."""
        return self.table


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
    """Permute the labels of the intervals, decide again, and trade on other books.

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

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> prior = Prior.from_market(market, "buy", rng, n_days=3)
    >>> null = null_savings(market.books(13, 5, rng), prior, 500, "buy", rng=rng, n_draws=19)
    >>> float(null.table.loc["TWAP", "observed_%"])
    0.0
    """
    if not isinstance(rng, np.random.Generator):
        raise ValidationError(
            f"rng must be a numpy Generator, got {rng!r}; use np.random.default_rng(seed)"
        )
    ladder = Ladder.of(books, side)
    one_an_interval(len(prior.profile), len(ladder), "the prior")
    benchmark = run(Twap(), ladder, total_shares, side, max_shares=max_shares)
    if not benchmark.completed:
        raise ValidationError(
            f"TWAP leaves {benchmark.unfilled:,.6g} of {total_shares:,.6g} shares unfilled; "
            "lower total_shares"
        )

    def savings(known: Prior, traded: Ladder, shown: Ladder) -> dict[str, float]:
        equal = _paid(run(Twap(), traded, total_shares, side, max_shares=max_shares))
        paid = {
            one.name: run(one, traded, total_shares, side, max_shares=max_shares, shown=shown)
            for one in make(known)
        }
        return {name: 100.0 * (1.0 - _paid(one) / equal) for name, one in paid.items()}

    rows = [
        savings(prior.permuted(rng), *(ladder.take(rng.permutation(len(ladder))) for _ in range(2)))
        for _ in range(number("n_draws", n_draws, 19, integer=True))
    ]
    return NullSavings(pd.DataFrame(rows), pd.Series(savings(prior, ladder, ladder)))


def decompose_saving(
    curves: Mapping[str, ImpactCurve],
    days: Sequence[Ladder],
    total_shares: float,
    *,
    max_shares: ArrayLike | None = None,
) -> pd.DataFrame:
    """What schedules save against TWAP in sample, by their own curves, and on books not seen.

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
        Index label: claimed_% (predicted in sample), realised_% (mean cost over `days` against
        TWAP's), phantom_% (the optimism: their difference). The last two are NaN where a day
        leaves shares of the schedule, or of TWAP, unfilled: costs of different amounts do not
        compare.

    Raises
    ------
    ValidationError
        No day, days that are no ladders, or of another number of intervals than a curve.

    Examples
    --------
    Of two books that are alike a curve says that the first is cheaper:

    >>> from research_lib.impact import LinearImpact
    >>> time, size = [10**18, 2 * 10**18], [[100.0], [100.0]]
    >>> books = BookSnapshots(time, [[99.0], [99.0]], size, [[101.0], [101.0]], size)
    >>> curves = {"noise": LinearImpact(np.array([1.0, 3.0]))}
    >>> decompose_saving(curves, [Ladder.of(books, "buy")], 40).round(1).loc["noise"].tolist()
    [25.0, 0.0, 25.0]
    """
    if not len(days) or not all(isinstance(day, Ladder) for day in days):
        raise ValidationError(
            "days must be one Ladder or more, one a day; make them by Ladder.of(books, side)"
        )
    rows = {}
    for label, curve in curves.items():
        plan = allocate(curve, total_shares, max_shares=max_shares)
        equal = twap(total_shares, len(curve))
        claimed = 1.0 - float(curve.cost(plan.shares).sum() / curve.cost(equal.shares).sum())
        cost, benchmark = (
            np.mean([_paid(replay(one, day, day.side, max_shares=max_shares)) for day in days])
            for one in (plan, equal)
        )
        realised = 1.0 - float(cost / benchmark)
        saved = {"claimed_%": claimed, "realised_%": realised, "phantom_%": claimed - realised}
        rows[label] = {name: 100 * value for name, value in saved.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("curves")


def _paid(one: Execution) -> float:
    """Cost of a share over the mid; NaN for an order that is not completed."""
    return one.cost_per_share if one.completed else float("nan")

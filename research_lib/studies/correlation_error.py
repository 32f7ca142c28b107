"""What an error of the correlation costs a portfolio schedule: in theory, and in a market whose correlation moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.execution import portfolio_schedule, price_portfolio

Float = NDArray[np.float64]
NONE = "none"


def correlation_regret(
    orders: ArrayLike,
    n_intervals: int,
    correlation: ArrayLike,
    market: Mapping[str, Any],
    days: Sequence[int],
    rng: np.random.Generator,
    draws: int = 100,
) -> pd.DataFrame:
    r"""What a correlation estimated over few days costs, against knowing it, where returns are normal and it stays.

    Volatilities are taken as known. The estimate over T days is drawn from the Wishart law about the
    truth; the schedule made with it is priced with the truth:

    .. math:: \mathrm{regret} = \frac{U(x(\hat C)) - U(x(C))}{U(x(C))}, \quad U = E + \lambda V

    Parameters
    ----------
    orders : (m,) shares
    correlation : (m, m)
        The truth.
    market : mapping
        Arguments of `portfolio_schedule`, risk_aversion among them; of its covariance the variances count.
    days : sequence of int
        T, at least m.
    draws : int
        Estimates drawn for each T.

    Returns
    -------
    DataFrame, index days as texts, with "none" last: correlation taken as 0
        mean, median, upper (95 % quantile) of the regret, per cent.
    """
    truth = np.asarray(correlation, float)
    if min(days) < len(truth):
        raise ValidationError(f"days must be at least {len(truth)}, one an asset, got {min(days)}")
    regret = _regret(orders, n_intervals, market, truth)
    samples = {
        str(span): [
            regret(_scaled(matrix))
            for matrix in stats.wishart(span, truth / span).rvs(draws, random_state=rng)
        ]
        for span in days
    }
    return _summary({**samples, NONE: [regret(np.eye(len(truth)))]})


def realised_regret(
    orders: ArrayLike,
    n_intervals: int,
    returns: pd.DataFrame,
    market: Mapping[str, Any],
    days: Sequence[int],
    ahead: int = 60,
) -> pd.DataFrame:
    """The same where the truth is the market's own: planned with the last T days, priced with the `ahead` next ones.

    Volatilities are those of `market` throughout, so that only the correlation is at stake. The windows of
    the future do not overlap. Their correlation is an estimate as well: even who knew the law that they are
    drawn from would have regret.

    Parameters
    ----------
    returns : DataFrame (d, m)
        In time order; d above the longest T.
    days, ahead : int
        T, above m; the length of the windows that price.

    Returns
    -------
    DataFrame, as `correlation_regret`
    """
    n, m = returns.shape
    ahead = number("ahead", ahead, m + 1, integer=True)
    starts = range(max(days), n - ahead + 1, ahead)
    if min(days) <= m or not len(starts):
        raise ValidationError(
            f"{n} days of {m} returns hold no window of {ahead} after {max(days)}, or days are below {m + 1}"
        )
    samples: dict[str, list[float]] = {**{str(span): [] for span in days}, NONE: []}
    for start in starts:
        regret = _regret(
            orders, n_intervals, market, returns.iloc[start : start + ahead].corr().to_numpy()
        )
        for span in days:
            samples[str(span)].append(regret(returns.iloc[start - span : start].corr().to_numpy()))
        samples[NONE].append(regret(np.eye(m)))
    return _summary(samples)


def _regret(
    orders: ArrayLike, n_intervals: int, market: Mapping[str, Any], truth: Float
) -> Callable[[Float], float]:
    """Cost plus risk of a plan made with a believed correlation above that of the best one, per cent."""
    deviation = np.sqrt(np.diag(np.asarray(market["covariance"], float)))
    scale = np.outer(deviation, deviation)
    prices = {name: value for name, value in market.items() if name != "risk_aversion"}

    def objective(believed: Float) -> float:
        plan = portfolio_schedule(orders, n_intervals, **{**market, "covariance": believed * scale})
        priced = price_portfolio(plan.shares, **{**prices, "covariance": truth * scale})
        return priced.expected_cost + market["risk_aversion"] * priced.variance

    best = objective(truth)
    return lambda believed: 100.0 * (objective(believed) / best - 1.0)


def _summary(samples: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    rows = {name: [np.mean(s), np.median(s), np.quantile(s, 0.95)] for name, s in samples.items()}
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["mean", "median", "upper"]
    ).rename_axis("days")


def _scaled(covariance: Float) -> Float:
    """The correlation of a covariance."""
    deviation = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(deviation, deviation))

"""What splitting by liquidity saves: by the curves' dispersion, and by form on unseen books."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import Ladder, replay
from research_lib.evaluation.inference import MIN_DAYS
from research_lib.execution import allocate
from research_lib.impact import CompositeImpact, ImpactCurve, ImpactMoments, fit_forms
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.validation import cut, half_width
from research_lib.market import BookSnapshots, Session

QUOTED_SAVINGS = (0.15, 0.17)
MIN_HELD_OUT = 2
UNFILLED = 1e-9  # of the order: what rounding alone leaves


def lognormal_saving(dispersion: float) -> float:
    r"""Saving against equal shares where slopes are lognormal and known exactly, a fraction.

    .. math:: 1 - \frac{n^2}{\sum_t \beta_t \sum_t 1 / \beta_t} \to 1 - e^{-s^2}, \qquad
              s = sd(\ln \beta_t)

    as n grows, for cost_t = beta_t x^2 without a spread, whose optimum is x_t ~ 1 / beta_t.

    Examples
    --------
    >>> round(lognormal_saving(0.4), 3)
    0.148
    """
    return -float(np.expm1(-(number("dispersion", dispersion, 0) ** 2)))


def dispersion_needed(saving: float) -> float:
    """The sd(ln beta_t) at which `lognormal_saving` is `saving`, a fraction in [0, 1).

    Examples
    --------
    >>> [round(dispersion_needed(saving), 2) for saving in QUOTED_SAVINGS]
    [0.4, 0.43]
    """
    return float(np.sqrt(-np.log1p(-number("saving", saving, 0, 1.0 - 1e-12))))


def dispersion_table(
    curves: Mapping[str, ImpactCurve], total_shares: float, max_shares: ArrayLike | None = None
) -> pd.DataFrame:
    """How much liquidity differs between intervals, and what the exact split of an order saves.

    Every saving here is by the curve itself, as if it were known before the open.

    Parameters
    ----------
    curves : mapping of label to ImpactCurve
        n intervals each.
    total_shares : float
        S, shares.
    max_shares : scalar or (n,) shares, optional
        Cap of each interval.

    Returns
    -------
    DataFrame
        Index label: sd_log_slope and sd_log_spread (standard deviations over intervals of the
        logarithms of impact_t(S / n) / (S / n) and of the half-spread; intervals at 0 are left
        out, NaN where most are), lognormal_% (`lognormal_saving` of sd_log_slope), impact_% (of
        the exact split if there were no spread), cost_% (with the spread).

    Examples
    --------
    >>> from research_lib.impact import LinearImpact
    >>> table = dispersion_table({"two slopes": LinearImpact([1.0, 3.0])}, 100.0)
    >>> table.loc["two slopes", ["sd_log_slope", "impact_%"]].round(3).tolist()
    [0.549, 25.0]
    """
    total = number("total_shares", total_shares, above=0)
    rows = {}
    for label, curve in curves.items():
        equal = total / len(curve)
        dispersion = _log_deviation(curve.impact(equal) / equal)
        rows[label] = {
            "sd_log_slope": dispersion,
            "sd_log_spread": _log_deviation(curve.half_spread),
            "lognormal_%": np.nan if np.isnan(dispersion) else 100.0 * lognormal_saving(dispersion),
            "impact_%": _saving(_without_spread(curve), total, max_shares),
            "cost_%": _saving(curve, total, max_shares),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("curves")


def _without_spread(curve: ImpactCurve) -> ImpactCurve:
    """The same impact from the touch on, with a half-spread of 0."""
    if isinstance(curve, CompositeImpact):
        return CompositeImpact([_without_spread(part) for part in curve.curves])
    return dataclasses.replace(curve, half_spread=np.zeros(len(curve)))  # type: ignore[type-var]


def _log_deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation of the logarithm of those above 0; NaN where they are fewer than half."""
    known = np.log(values[values > 0])
    return float(known.std()) if 2 * known.size >= len(values) else float("nan")


def _saving(curve: ImpactCurve, total_shares: float, max_shares: ArrayLike | None) -> float:
    """Of the exact split against equal shares, per cent; NaN where equal shares cost nothing."""
    equal = float(curve.cost(total_shares / len(curve)).sum())
    # Equal shares are one of the splits: an optimum above them is rounding of the two sums.
    least = min(allocate(curve, total_shares, max_shares=max_shares).cost, equal)
    return 100.0 * (1.0 - least / equal) if equal > 0 else float("nan")


def compare_forms(
    slippage: pd.DataFrame | ImpactMoments,
    books: BookSnapshots,
    *,
    side: str,
    total_shares: float,
    model_types: Sequence[str] = MODEL_TYPES,
    scheme: str = "walk_forward",
    session: Session | None = None,
    max_shares: ArrayLike | None = None,
) -> pd.DataFrame:
    """Fit each form on some days, allocate, and replay the schedule on a day held out.

    Parameters
    ----------
    slippage : DataFrame or ImpactMoments
        Of several days, in the intervals of `session`.
    books : BookSnapshots
        One an interval for every day of `slippage`, as `BookSnapshots.sample` gives.
    side : "buy" or "sell"
        Of the order; a frame is cut to that side.
    total_shares : float
        The order of each day, shares.
    model_types : sequence of str
        TWAP, which needs no fit, is always compared too.
    scheme : "walk_forward" or "leave_one_day_out"
        Fit on the earlier days only, as a desk could have, or on all other days.
    session : Session, optional
        Hours and intervals of the books; 390 minutes by default.
    max_shares : scalar or (n,) shares, optional
        Cap of each interval.

    Returns
    -------
    DataFrame, index day, columns TWAP and the forms
        Cost over each interval's mid, bps of the day's first mid, for `rank_forms`; NaN where the
        books do not fill the form's schedule as far as TWAP's.

    Raises
    ------
    InsufficientDataError
        Fewer than two days held out; no form whose schedule the books fill as far as TWAP's.
    ValidationError
        Days of `slippage` without books, an unknown scheme.

    Examples
    --------
    >>> from research_lib.impact import slippage_curves
    >>> from research_lib.market import thin_stock
    >>> session = Session(13)
    >>> books = thin_stock(session).books(52, 12, np.random.default_rng(5))
    >>> frame = slippage_curves(books, [50.0, 100.0, 200.0], "buy").to_frame(13, session)
    >>> order = {"side": "buy", "total_shares": 500.0, "session": session}
    >>> losses = compare_forms(frame, books, model_types=["linear"], **order)
    >>> losses.columns.tolist(), len(losses)
    (['TWAP', 'linear'], 3)
    """
    window = session or Session()
    n = window.n_intervals
    if isinstance(slippage, pd.DataFrame) and "side" in slippage:
        slippage = slippage[slippage["side"] == side]
    parts = cut(slippage, n_intervals=n, session=window)
    n_days = len(parts.labels) if parts.by_day else 1
    held_out = n_days - (scheme == "walk_forward" or n_days == 1)
    if held_out < MIN_HELD_OUT:
        leave = f"{n_days} days of slippage leave {held_out}"
        raise InsufficientDataError(
            f"{leave if n_days > 1 else '1 day of slippage leaves none'} to hold out, "
            f"{MIN_HELD_OUT} are needed for an error; add days"
        )
    days = [str(day) for day in books.days(window)]
    missing = [label for label in parts.labels if label not in days]
    if missing or len(books) != n * len(days):
        raise ValidationError(
            f"{len(books):,} books for {len(days)} days of {n} intervals, of slippage "
            f"{len(parts.labels)} days, {len(missing)} of them without books; sample the same days"
        )
    by_day = dict(zip(days, Ladder.of(books, side).by_day(n), strict=True))
    how: dict[str, Any] = {"session": window, "n_intervals": n, "test_fraction": 0.0}
    rows = {}
    for fold in parts.folds(scheme):
        day = parts.labels[int(fold.held_out[0])]
        plans = {"TWAP": np.full(n, total_shares / n)}
        for form, fit in fit_forms(parts.take(fold.fitted), model_types, **how).items():
            plans[form] = allocate(fit.curve, total_shares, max_shares=max_shares).shares
        done = {name: replay(shares, by_day[day], side) for name, shares in plans.items()}
        least = done["TWAP"].unfilled + UNFILLED * total_shares
        costs = {name: one.cost_bps for name, one in done.items() if one.unfilled <= least}
        rows[day] = {name: costs.get(name, np.nan) for name in done}
    losses = pd.DataFrame(rows).T.rename_axis("day")
    if losses.notna().all().sum() < 2:
        raise InsufficientDataError(
            "no form's schedule is filled as far as TWAP's on every day; lower total_shares"
        )
    return losses


def rank_forms(losses: pd.DataFrame, *, n_draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Which form's schedule is the cheapest, and which are not distinguishable from it.

    Parameters
    ----------
    losses : DataFrame (n_days, 1 + n_forms)
        As `compare_forms`; a form with a NaN is not compared, its row is NaN.
    n_draws, seed : int
        Of the stationary bootstrap, in blocks of n_days ** (1/3) days on average.

    Returns
    -------
    DataFrame, index TWAP and the forms, cheapest first
        cost_bps (mean over days), saving_bps (TWAP - form, paired by day) with its 95 % t interval
        lower, upper, saving_% (of TWAP's mean cost), days_won (against TWAP), and p_value: the
        smallest level at which the form is outside the model confidence set (Hansen, Lunde and
        Nason, Econometrica 79(2), 2011), NaN below 8 days.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(size=(40, 1))
    >>> costs = noise + [[0.0, 2.0]] + 0.1 * noise**2 * [[1, -1]]
    >>> rank_forms(pd.DataFrame(costs, columns=["sqrt", "TWAP"]), n_draws=200)["p_value"].tolist()
    [1.0, 0.0]
    """
    whole = losses.loc[:, losses.notna().all()]
    saved = whole.rsub(whole["TWAP"], axis=0)
    reach = half_width(saved.std(), saved.count())
    columns = {
        "cost_bps": whole.mean(),
        "saving_bps": saved.mean(),
        "lower": saved.mean() - reach,
        "upper": saved.mean() + reach,
        "saving_%": 100 * saved.mean() / whole["TWAP"].mean(),
        "days_won": (saved > 0).sum(),
        "p_value": _confidence(whole, n_draws, seed),
    }
    table = pd.DataFrame(columns).reindex(losses.columns)
    return table.rename_axis("form").sort_values("cost_bps")


def _confidence(losses: pd.DataFrame, n_draws: int, seed: int) -> pd.Series:
    """P-values of the confidence set; forms of the same losses stand or fall together."""
    from arch.bootstrap import MCS

    own = (losses / losses.abs().max(axis=None)).round(9).T.apply(tuple, axis=1)
    tested = own.drop_duplicates()
    if len(losses) < MIN_DAYS or len(tested) < 2:
        return pd.Series(1.0 if len(losses) >= MIN_DAYS else np.nan, own.index)
    block = max(1, round(len(losses) ** (1 / 3)))
    found = MCS(losses[tested.index], 0.1, reps=n_draws, block_size=block, seed=seed)
    found.compute()
    return own.map(dict(zip(tested, found.pvalues["Pvalue"][tested.index], strict=True)))

"""Which form leads to the cheapest schedule on books that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import replay
from research_lib.evaluation.inference import MIN_DAYS
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import ImpactMoments, fit_forms
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.validation import Parts, cut, half_width
from research_lib.market import BookSnapshots, Session

MIN_HELD_OUT = 2
SAME_LOSS = 1e-9
UNFILLED = 1e-9  # of the order: what rounding alone leaves


@dataclass(frozen=True, eq=False)
class ConfidenceSet(Record):
    """The models whose losses are not distinguishable from those of the best.

    Attributes
    ----------
    included, excluded : tuple of str
        The set, and who is out of it. All are in where the days are too few to test.
    p_values : Series, index model
        The smallest level at which each is out; NaN where nothing was tested.
    level : float
        Of the set: the best model is in it with probability of at least 1 - level.
    block_size : int
        Mean length of the bootstrap's blocks, days.
    reading : str
    """

    included: tuple[str, ...]
    excluded: tuple[str, ...]
    p_values: pd.Series
    level: float
    block_size: int
    reading: str


def model_confidence_set(
    losses: pd.DataFrame,
    *,
    level: float = 0.1,
    n_draws: int = 1000,
    block_size: int | None = None,
    seed: int = 0,
) -> ConfidenceSet:
    """Hansen, Lunde and Nason's model confidence set, by their range statistic.

    Models whose losses are the same on every day stand or fall together. With fewer than 8 days
    nothing is tested, and `reading` says so.

    Parameters
    ----------
    losses : DataFrame (n_days, n_models)
        Days in order; the smaller, the better. NaN is refused.
    level : float
    n_draws : int
        Of the stationary bootstrap.
    block_size : int, optional
        Mean length of its blocks, days: the cube root of the number of days by default,
        which lets neighbouring days be alike.
    seed : int

    Raises
    ------
    ValidationError
        NaN losses, or fewer than two models.

    References
    ----------
    Hansen, Lunde, Nason: The model confidence set, Econometrica 79(2), 2011.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(size=(40, 1))
    >>> losses = pd.DataFrame(noise + [[0.0, 2.0]] + 0.1 * noise**2 * [[1, -1]], columns=["a", "b"])
    >>> model_confidence_set(losses, n_draws=200).included
    ('a',)
    """
    number("level", level, above=0, high=0.99)
    n_days, models = len(losses), [str(name) for name in losses.columns]
    if len(models) < 2 or not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise ValidationError(
            f"losses must be finite and of 2 models or more, got {len(models)} with {n_days} days"
        )
    block = number("block_size", block_size or max(1, round(n_days ** (1 / 3))), 1, integer=True)
    if n_days < MIN_DAYS:
        untested = pd.Series(np.nan, index=models)
        why = f"{n_days} days cannot tell the {len(models)} apart: at least {MIN_DAYS} are needed."
        return ConfidenceSet(tuple(models), (), untested, level, block, why)
    p_values = _p_values(losses.set_axis(models, axis=1), n_draws, block, seed)
    included, excluded = (
        tuple(p_values.index[kept]) for kept in (p_values > level, p_values <= level)
    )
    how = f"({1 - level:.0%} model confidence set, {n_days} days in blocks of {block})"
    names, alone = ", ".join(included), len(included) == 1
    reading = f"None of {names} can be called worse than the best {how}."
    if excluded:
        standing = f"{names} is the best" if alone else f"{names} cannot be told apart"
        reading = f"{standing}; worse than the best: {', '.join(excluded)} {how}."
    return ConfidenceSet(included, excluded, p_values, level, block, reading)


def _p_values(losses: pd.DataFrame, n_draws: int, block: int, seed: int) -> pd.Series:
    """Of each model; one of several with the same losses is tested for all of them."""
    from arch.bootstrap import MCS

    near = SAME_LOSS * max(float(losses.abs().to_numpy().max()), np.finfo(float).tiny)
    twins: dict[str, str] = {}
    for name in losses:
        tested = dict.fromkeys(twins.values())
        same = (one for one in tested if (losses[name] - losses[one]).abs().max() <= near)
        twins[name] = next(same, name)
    distinct = losses[list(dict.fromkeys(twins.values()))]
    if distinct.shape[1] == 1:
        return pd.Series(1.0, index=losses.columns)
    draws = number("n_draws", n_draws, 100, integer=True)
    found = MCS(distinct, 0.1, reps=draws, block_size=block, seed=seed)
    found.compute()
    return pd.Series({name: float(found.pvalues["Pvalue"][one]) for name, one in twins.items()})


@dataclass(frozen=True, eq=False)
class FormComparison(Record):
    """What the schedule of each form costs on held-out books.

    Attributes
    ----------
    losses : DataFrame, index day, columns TWAP and the forms
        Cost over each interval's mid, bps of the day's first mid.
    table : DataFrame, index TWAP and the forms, cheapest first
        cost_bps (mean over days), saving_bps (TWAP - form, paired by day) with its 95 % t
        interval lower, upper, saving_% (of TWAP's mean cost), days_won (against TWAP), and
        p_value of the confidence set.
    confidence : ConfidenceSet
    incomplete : tuple of str
        Forms whose schedules some day's books could not fill as far as TWAP's: not compared.
    information : str
        What was fitted on what.
    reading : str
    """

    losses: pd.DataFrame
    table: pd.DataFrame
    confidence: ConfidenceSet
    incomplete: tuple[str, ...]
    information: str
    reading: str


def compare_forms(
    slippage: pd.DataFrame | ImpactMoments,
    books: BookSnapshots,
    *,
    side: str,
    total_shares: float,
    model_types: Sequence[str] = MODEL_TYPES,
    scheme: str = "walk_forward",
    session: Session | None = None,
    confidence: Mapping[str, Any] | None = None,
    **settings: Any,
) -> FormComparison:
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
    confidence : mapping, optional
        level, n_draws, block_size and seed of `model_confidence_set`.
    **settings
        max_shares and objective as for `allocate`, the others of `fit_impact`.

    Raises
    ------
    InsufficientDataError
        Fewer than two days held out; no form whose schedule the books fill as far as TWAP's.
    ValidationError
        Days of `slippage` without books, an unknown scheme.
    ModelFittingError, OptimizationError
        As `fit_impact` and `allocate`.

    Examples
    --------
    >>> from research_lib.impact import slippage_curves
    >>> from research_lib.market import thin_stock
    >>> session = Session(13)
    >>> books = thin_stock(session).books(52, 12, np.random.default_rng(5))
    >>> frame = slippage_curves(books, [50.0, 100.0, 200.0], "buy").to_frame(13, session)
    >>> order = {"side": "buy", "total_shares": 500.0, "session": session}
    >>> found = compare_forms(frame, books, model_types=["linear"], **order)
    >>> sorted(found.table.index), len(found.losses)
    (['TWAP', 'linear'], 3)
    """
    window = session or Session()
    if isinstance(slippage, pd.DataFrame) and "side" in slippage:
        slippage = slippage[slippage["side"] == side]
    parts = cut(slippage, n_intervals=window.n_intervals, session=window)
    _require_days(parts, scheme)
    by_day = _books_by_day(books, parts, window)
    limits = {name: settings.pop(name) for name in ("max_shares", "objective") if name in settings}
    settings |= {"session": window, "n_intervals": window.n_intervals, "test_fraction": 0.0}
    rows = {}
    for fold in parts.folds(scheme):
        day = parts.labels[int(fold.held_out[0])]
        schedules = [twap(total_shares, window.n_intervals)]
        for form, fit in fit_forms(parts.take(fold.fitted), model_types, **settings).items():
            shares = allocate(fit.curve, total_shares, **limits).shares
            schedules.append(Schedule(shares, form))
        rows[day] = _costs(schedules, by_day[day], side, UNFILLED * total_shares)
    losses = pd.DataFrame(rows).T.rename_axis("day")
    filled = losses.notna().all()
    if filled.sum() < 2:
        raise InsufficientDataError(
            "no form's schedule is filled as far as TWAP's on every day; "
            "lower total_shares or max_shares"
        )
    losses, incomplete = losses.loc[:, filled], tuple(losses.columns[~filled])
    found = model_confidence_set(losses, **(confidence or {}))
    table = _savings(losses).assign(p_value=found.p_values).sort_values("cost_bps")
    forward = scheme == "walk_forward"
    learned = "the earlier days only" if forward else "all other days, later ones too"
    information = f"each of {len(losses)} days replayed with curves fitted on {learned}"
    reading = f"{_reading(table)} {found.reading}"
    if incomplete:
        reading += (
            " Not compared, for on some day the books could not fill its schedule: "
            f"{', '.join(incomplete)}."
        )
    return FormComparison(losses, table, found, incomplete, information, reading)


def _require_days(parts: Parts, scheme: str) -> None:
    n_days = len(parts.labels) if parts.by_day else 1
    held_out = n_days - (scheme == "walk_forward" or n_days == 1)
    if held_out < MIN_HELD_OUT:
        raise InsufficientDataError(
            f"{n_days} day{'s' * (n_days > 1)} of slippage leave{'s' * (n_days == 1)} "
            f"{held_out or 'none'} to hold out, {MIN_HELD_OUT} are needed for an error; add days"
        )


def _books_by_day(books: BookSnapshots, parts: Parts, session: Session) -> dict[str, BookSnapshots]:
    n, days = session.n_intervals, [str(day) for day in books.days(session)]
    if len(books) != n * len(days):
        raise ValidationError(
            f"{len(books):,} books for {len(days)} days of {n} intervals; use books.sample(session)"
        )
    missing = [label for label in parts.labels if label not in days]
    if missing:
        raise ValidationError(
            f"{len(missing)} days of slippage have no books, first {missing[0]}; "
            "sample the same days"
        )
    return {day: books.take(np.arange(k * n, (k + 1) * n)) for k, day in enumerate(days)}


def _costs(
    schedules: list[Schedule], books: BookSnapshots, side: str, rounding: float
) -> dict[str, float]:
    """Cost of each schedule on one day's books, bps; NaN where it fills less than the first."""
    done = {schedule.name: replay(schedule, books, side) for schedule in schedules}
    least = next(iter(done.values())).unfilled + rounding
    return {name: run.cost_bps if run.unfilled <= least else np.nan for name, run in done.items()}


def _savings(losses: pd.DataFrame) -> pd.DataFrame:
    """Paired differences from TWAP over days."""
    saved = losses.rsub(losses["TWAP"], axis=0)
    reach = half_width(saved.std(), saved.count())
    columns = {
        "cost_bps": losses.mean(),
        "saving_bps": saved.mean(),
        "lower": saved.mean() - reach,
        "upper": saved.mean() + reach,
        "saving_%": 100 * saved.mean() / losses["TWAP"].mean(),
        "days_won": (saved > 0).sum(),
    }
    return pd.DataFrame(columns).rename_axis("form")


def _reading(table: pd.DataFrame) -> str:
    best, row = table.index[0], table.iloc[0]
    if best == "TWAP":
        return f"No form's schedule is cheaper than TWAP ({row['cost_bps']:.3g} bps)."
    sure = "" if row["lower"] > 0 else ", which may be chance"
    return (
        f"The schedule of {best} is the cheapest: {row['cost_bps']:.3g} bps, "
        f"{row['saving_bps']:.2g} bps or {row['saving_%']:.2g} % below TWAP (95 % interval "
        f"{row['lower']:.2g} to {row['upper']:.2g} bps{sure})."
    )

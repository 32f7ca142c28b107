r"""One question, every defensible way to answer it: the exponent of impact, and what it saves.

A finding that holds for some of these choices only is a finding about the choice.
Every row fits

.. math:: s = h_t + scale_t \, (x f)^{p}

with one exponent p for the session, a scale an interval, and f = 1 or reference depth
over depth; its schedule is then replayed on recorded books against TWAP.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation import replay
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import ImpactMoments, PowerImpact, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session
from research_lib.studies.model_choice import UNFILLED

Float = NDArray[np.float64]
Savings = Callable[[PowerImpact], dict[str, float]]

REFERENCES = ("touch", "mid")
NORMALISATIONS = ("shares", "visible depth", "mean depth")
WEIGHTS = {"equal": "least_squares", "1/size^2": "weighted"}
SIDES = ("buy", "sell")
CHOICES = ["reference", "normalisation", "sampling", "weight", "side"]
BLOCKS_A_DAY = 13


def multiverse(
    books: BookSnapshots,
    *,
    total_shares: float,
    trade_sizes: Sequence[float],
    test_days: int = 1,
    sides: Sequence[str] = SIDES,
    max_shares: ArrayLike | None = None,
    ticks_per_interval: int = 10,
    session: Session | None = None,
) -> pd.DataFrame:
    """Exponent and saving under every combination of five choices, one row each.

    - reference: impact beyond the "touch", the half-spread measured; or beyond the "mid",
      without a spread term, which fakes a low exponent.
    - normalisation: sizes in "shares"; of the "visible depth" of each book; of the "mean
      depth" of the interval over the fitted days, which is the book's own where one day shows
      one book an interval. The schedule takes the mean curve of the interval's fitted books.
    - sampling: the book at the "interval start"; all states alike ("events"); states by the
      "time" they stood, read off a clock of `ticks_per_interval` ticks.
    - weight of an observation: "equal", or "1/size^2", so that relative errors count alike
      (for the scales: relative to size^exponent).
    - side.

    Parameters
    ----------
    books : BookSnapshots
        All states, clean (see `assess`), of one day or more. With one state an interval the
        three samplings are the same.
    total_shares : float
        The order of each day, shares.
    trade_sizes : sequence of float
        Shares; under the other normalisations, shares in a book of the mean depth.
    test_days : int
        Last days, which are replayed but not fitted; 0, or one day in all, makes none.
    sides : sequence of "buy" and "sell"
    max_shares : scalar or (n,)
        As for `allocate`.
    ticks_per_interval : int
    session : Session, optional

    Returns
    -------
    DataFrame
        The five choices; exponent of the pooled fit, its error, lower and upper (95 %
        interval; clustered by day, with one fitted day by thirteenth parts of the session;
        NaN where no power law fits and the schedule is that of a linear one); saving_in_% and
        saving_out_% (of TWAP's cost, on the fitted and on the held-out days; NaN where there
        are none, or where the books fill the two schedules to different amounts); n_books.

    Raises
    ------
    ValidationError, ModelFittingError, OptimizationError
        As `slippage_curves`, `fit_impact` and `allocate`; no fitted day left.

    Examples
    --------
    >>> from research_lib.market import thin_stock
    >>> session = Session(13)
    >>> books = thin_stock(session).books(39, 12, np.random.default_rng(5))
    >>> order = {"total_shares": 500.0, "sides": ["buy"], "session": session}
    >>> table = multiverse(books, trade_sizes=[50.0, 100.0, 200.0], **order)
    >>> len(table), sorted(set(table["n_books"]))
    (36, [26, 260])
    """
    window = session or Session()
    days = [str(day) for day in books.days(window)]
    held_out = number("test_days", test_days, 0, integer=True) * (len(days) > 1)
    if held_out >= len(days):
        raise ValidationError(
            f"test_days {test_days} leaves none of {len(days)} days to fit; lower it"
        )
    fitted = days[: len(days) - held_out]
    ticks = number("ticks_per_interval", ticks_per_interval, 1, integer=True)
    fine = dataclasses.replace(window, n_intervals=window.n_intervals * ticks)
    bare = dataclasses.replace(books, trades=None)
    starts = bare.sample(window)
    sampled = {
        "interval start": starts,
        "events": bare.take(bare.complete & (window.interval_of(bare.time) >= 0)),
        "time": bare.sample(fine),
    }
    judges = {
        side: _judge(starts, side, total_shares, max_shares, len(fitted), window.n_intervals)
        for side in sides
    }
    rows = []
    for (sampling, seen), side in itertools.product(sampled.items(), sides):
        dates = [str(day) for day in window.days(seen.time)]
        seen = seen.take(np.isin(dates, fitted) & np.isfinite(seen.mid))
        for normalisation in NORMALISATIONS:
            factor = _factor(seen, side, normalisation, window)
            moments = _moments(seen, factor, trade_sizes, side, window)
            named = {"normalisation": normalisation, "sampling": sampling, "side": side}
            analyses = _analyses(moments, factor, window.interval_of(seen.time), judges[side])
            rows += [{**named, **row} for row in analyses]
    table = pd.DataFrame(rows)
    return table[[*CHOICES, *(name for name in table if name not in CHOICES)]]


def multiverse_reading(table: pd.DataFrame) -> str:
    """How far the answers of `multiverse` agree, and which choice moves them most.

    Examples
    --------
    >>> row = {"exponent": 0.5, "saving_in_%": 2.0, "saving_out_%": 1.0}
    >>> table = pd.DataFrame([{**dict.fromkeys(CHOICES, "one"), **row}])
    >>> multiverse_reading(table)[:58]
    '1 analyses: exponents from 0.50 to 0.50 (median 0.50), mov'
    """
    exponent, out = table["exponent"], table["saving_out_%"]
    saving, scope = (out, "out of") if out.notna().any() else (table["saving_in_%"], "in")
    savings = (
        f"savings {scope} sample from {saving.min():.3g} to {saving.max():.3g} % "
        f"(median {saving.median():.3g} %), above 0 in {int((saving > 0).sum())} of "
        f"{int(saving.notna().sum())}, moved most by the {_mover(table, saving)}."
    )
    if exponent.isna().all():
        found = savings if saving.notna().any() else "so that there is no schedule to replay."
        return (
            f"{len(table)} analyses, in none of which a power law fits: "
            f"these books show too little impact; {found}"
        )
    failed = int(exponent.isna().sum())
    lost = f" and {failed} without one, where no power law fits" if failed else ""
    return (
        f"{len(table)} analyses: exponents from {exponent.min():.2f} to {exponent.max():.2f} "
        f"(median {exponent.median():.2f}){lost}, moved most by the {_mover(table, exponent)}; "
        f"{savings}"
    )


def _mover(table: pd.DataFrame, values: pd.Series) -> str:
    """The choice whose options' medians lie furthest apart."""
    ranges = {choice: float(np.ptp(values.groupby(table[choice]).median())) for choice in CHOICES}
    return max(ranges, key=lambda choice: ranges[choice])


def _analyses(
    moments: ImpactMoments, factor: Float, interval: NDArray[np.int64], savings: Savings
) -> Iterator[dict[str, object]]:
    """The rows of one set of observations: both references, both weights."""
    from scipy import stats

    for reference, (weight, estimator) in itertools.product(REFERENCES, WEIGHTS.items()):
        referred = moments if reference == "touch" else _from_mid(moments)
        how: dict[str, Any] = {"estimator": estimator, "test_fraction": 0.0}
        fit = fit_impact(_pooled(referred), "power", by="pooled", shrinkage="none", **how)
        exponent, error = float(fit.params["exponent"].iloc[0]), float(fit.bse["exponent"].iloc[0])
        scales = fit_impact(_straightened(referred, exponent), "linear", **how).curve
        depth_effect = _means(factor**exponent, interval, moments.n_intervals)
        beta = scales.parameters()["beta"] * depth_effect
        reach = float(stats.t.ppf(0.975, fit.dof[0])) * error
        known = np.nan if fit.diagnostics["fell_back"] else exponent
        yield {
            "reference": reference,
            "weight": weight,
            "exponent": known,
            "error": error,
            "lower": known - reach,
            "upper": known + reach,
            **savings(PowerImpact(beta, exponent, scales.half_spread)),
            "n_books": len(interval),
        }


def _judge(
    starts: BookSnapshots,
    side: str,
    total_shares: float,
    max_shares: ArrayLike | None,
    n_fitted: int,
    n_intervals: int,
) -> Savings:
    """Replays a curve's schedule on the books at the intervals' starts, beside TWAP.

    What it returns is a function: the saving in per cent of TWAP's cost, on fitted and on
    held-out days, NaN where the books fill the two to different amounts. TWAP is the same for
    all analyses, so it is replayed once.
    """
    firsts = range(0, len(starts), n_intervals)
    days = [starts.take(np.arange(first, first + n_intervals)) for first in firsts]
    is_fitted = np.arange(len(days)) < n_fitted

    def replayed(schedule: Schedule) -> Float:
        """Cost, currency, and shares left unfilled on each day, (2, D)."""
        done = [replay(schedule, day, side) for day in days]
        return np.array([[run.cost for run in done], [run.unfilled for run in done]])

    benchmark, benchmark_unfilled = replayed(twap(total_shares, n_intervals))

    def savings(curve: PowerImpact) -> dict[str, float]:
        shares = allocate(curve, total_shares, max_shares=max_shares).shares
        cost, unfilled = replayed(Schedule(shares, "optimal"))
        alike = np.abs(unfilled - benchmark_unfilled) <= UNFILLED * total_shares
        found = {}
        for name, chosen in (("saving_in_%", is_fitted), ("saving_out_%", ~is_fitted)):
            ratio = cost[chosen].sum() / benchmark[chosen].sum() if chosen.any() else np.nan
            found[name] = 100 * (1 - ratio) if alike[chosen].all() else np.nan
        return found

    return savings


def _factor(books: BookSnapshots, side: str, normalisation: str, session: Session) -> Float:
    """What multiplies sizes, (n,): 1, or the mean depth over that of the book or its interval."""
    depth = books.levels(side)[1].sum(axis=1)
    if normalisation == "shares":
        return np.ones(len(depth))
    if normalisation == "mean depth":
        interval = session.interval_of(books.time)
        return np.asarray(depth.mean() / _means(depth, interval, session.n_intervals)[interval])
    return np.asarray(depth.mean() / depth)


def _means(values: Float, interval: NDArray[np.int64], n_intervals: int) -> Float:
    """Mean of (m,) values in each interval, (n,); the mean of all where there is none."""
    count = np.bincount(interval, minlength=n_intervals)
    total = np.bincount(interval, values, n_intervals)
    return np.divide(total, count, out=np.full(n_intervals, float(values.mean())), where=count > 0)


def _moments(
    books: BookSnapshots, factor: Float, trade_sizes: Sequence[float], side: str, session: Session
) -> ImpactMoments:
    """Impact of normalised sizes: all sizes of a book are multiplied, the trade sizes stay."""
    sizes = {name: books[name] * factor[:, None] for name in ("bid_size", "ask_size")}
    curves = slippage_curves(dataclasses.replace(books, **sizes), trade_sizes, side)
    return ImpactMoments.from_curves(curves, session.n_intervals, session)


def _from_mid(moments: ImpactMoments) -> ImpactMoments:
    """The same books with the half-spread left in the impact."""
    cells, none = moments.cells, dict.fromkeys(("half_spread", "half_spread_square"), 0.0)
    cells = cells.assign(
        total=cells["total"] + cells["half_spread"],
        square=cells["square"] + 2.0 * cells["cross"] + cells["half_spread_square"],
        cross=0.0,
        **none,
    )
    return dataclasses.replace(moments, cells=cells, books=moments.books.assign(**none))


def _pooled(moments: ImpactMoments) -> ImpactMoments:
    """All intervals as one; one day as `BLOCKS_A_DAY` days, whose errors count as independent."""
    one_day = len(moments.cells["date"].unique()) == 1

    def whole(table: pd.DataFrame) -> pd.DataFrame:
        block = table["interval"] * BLOCKS_A_DAY // moments.n_intervals
        dates = block.map("{:02d}".format) if one_day else table["date"]
        return table.assign(interval=0, date=dates)

    tables = whole(moments.cells), whole(moments.books)
    return ImpactMoments.merge([ImpactMoments(*tables, moments.sizes, 1)])


def _straightened(moments: ImpactMoments, exponent: float) -> ImpactMoments:
    """Sizes to the power of the exponent, in which the power law is a line."""
    cells = moments.cells.assign(size=moments.cells["size"] ** exponent)
    return dataclasses.replace(moments, cells=cells, sizes=moments.sizes**exponent)

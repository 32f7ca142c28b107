r"""One question, every defensible way to answer it: the exponent of impact, and what it saves.

A finding that holds for some of these choices only is a finding about the choice.
Every row fits

.. math:: s = h_t + scale_t \, (x f)^{p}

with one exponent p for the session, a scale an interval, and f = 1 or mean depth over depth; its
schedule is then replayed on recorded books against TWAP.
"""

# ruff: noqa: I001  (several names a line)

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation import Execution, Ladder, replay
from research_lib.execution import allocate
from research_lib.impact import ImpactFit, ImpactMoments, PowerImpact, fit_impact, slippage_curves
from research_lib.market.sessions import as_session
from research_lib.market import BookSnapshots, Session

REFERENCES, NORMALISATIONS = ("touch", "mid"), ("shares", "visible depth")
WEIGHTS = {"equal": "least_squares", "1/size^2": "weighted"}
CHOICES = ["reference", "normalisation", "sampling", "weight", "side"]
UNFILLED = 1e-9  # of the order: what rounding alone leaves
ALIKE = 9  # decimals in which two analyses must differ to be two
MAX_STATES = 20_000  # of one sampling: 150,000 of GOOG take ten times as long for the same figure


def multiverse(
    states: BookSnapshots, *, total_shares: float, trade_sizes: Sequence[float], test_days: int = 1,
    sides: Sequence[str] = ("buy", "sell"), max_shares: ArrayLike | None = None,
    session: Session | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Exponent and saving under every combination of five choices, one row a distinct analysis.

    - reference: impact beyond the "touch", the half-spread measured; or beyond the "mid",
      without a spread term, which fakes a low exponent.
    - normalisation: sizes in "shares", or of the "visible depth" of each book. The schedule takes
      the mean curve of the interval's fitted books.
    - sampling: the book at the "interval start"; or "every state" alike, so that busy times weigh
      more (of more than 20,000 every k-th one).
    - weight of an observation: "equal", or "1/size^2", so that relative errors count alike
      (for the scales: relative to size^exponent).
    - side.

    Combinations that give the same numbers are one analysis: where every state is that of an
    interval's start, or where all books are alike, a choice is none.

    Parameters
    ----------
    states : BookSnapshots
        All of them, not one an interval, clean (see `assess`), of one day or more.
    total_shares : float
        The order of each day, shares.
    trade_sizes : sequence of float
        Shares; of the visible depth, shares in a book of the mean depth.
    test_days : int
        Last days, which are replayed but not fitted; 0, or one day in all, makes none.
    sides : sequence of "buy" and "sell"
    max_shares : scalar or (n,)
        As for `allocate`.
    session : Session, optional

    Returns
    -------
    DataFrame
        The five choices, those of the first combination where several are one analysis; exponent
        of the pooled fit, its error, lower and upper (95 % interval; NaN where no power law fits
        and the schedule is that of a linear one); saving_in_% and saving_out_% (of TWAP's cost at
        the books of the intervals' starts, on the fitted and on the held-out days; NaN where there
        are none, or where the books fill the two schedules to different amounts); n_books (fitted);
        combinations (of choices that give this row's numbers).

    Raises
    ------
    ValidationError, ModelFittingError, OptimizationError
        As `slippage_curves`, `fit_impact` and `allocate`; no fitted day left.

    Examples
    --------
    >>> from research_lib.market import thin_stock
    >>> session = Session(13)
    >>> states = thin_stock(session).books(39, 12, np.random.default_rng(5))
    >>> order = {"total_shares": 500.0, "sides": ["buy"], "session": session}
    >>> table = multiverse(states, trade_sizes=[50.0, 100.0, 200.0], **order)
    >>> len(table), table["combinations"].tolist()  # every state is that of an interval's start
    (8, [2, 2, 2, 2, 2, 2, 2, 2])
    """
    window = as_session(session)
    n, dates = window.n_intervals, states.days(window)
    held_out = number("test_days", test_days, 0, integer=True) * (len(dates) > 1)
    if held_out >= len(dates):
        said = f"leaves none of {len(dates)} days to fit; lower it"
        raise ValidationError(f"test_days {test_days} {said}")
    fitted, starts = dates[: len(dates) - held_out], replace(states, trades=None).sample(window)
    samplings = _samplings(states, starts, fitted, window)
    days = {side: Ladder.of(starts, side).by_day(n) for side in sides}
    even, rows = np.full(n, total_shares / n), []
    twap = {side: [replay(even, day, side) for day in days[side]] for side in sides}
    tasks = list(itertools.product(sides, samplings.items(), NORMALISATIONS, REFERENCES))
    for side, (sampling, seen), relative, reference in tqdm(tasks, "multiverse", leave=False):
        named = dict(zip(CHOICES, (reference, relative, sampling, "", side), strict=True))
        for weight, fit, curve in _analyses(seen, side, relative, reference, trade_sizes, window):
            shares = allocate(curve, total_shares, max_shares=max_shares).shares
            done = [replay(shares, day, side) for day in days[side]]
            saved = _savings(list(zip(done, twap[side], strict=True)), len(fitted))
            found = _exponent(fit) | saved
            rows.append(named | {"weight": weight} | found | {"n_books": len(seen)})
    return _distinct(pd.DataFrame(rows), 2 // len(samplings))


def _samplings(
    states: BookSnapshots, starts: BookSnapshots, fitted: Sequence[Any], session: Session
) -> dict[str, BookSnapshots]:
    """The fitted days' usable books by both samplings; one where they are the same books."""
    inside, found = states.take(states.complete & (session.interval_of(states.time) >= 0)), {}
    for name, seen in (("interval start", starts), ("every state", inside)):
        rows = np.flatnonzero(np.isin(session.days(seen.time), fitted) & (seen.half_spread >= 0))
        found[name] = seen.take(rows[:: max(-(-len(rows) // MAX_STATES), 1)])
    if np.array_equal(*(seen.time for seen in found.values())):
        found.pop("every state")
    return found


def _distinct(table: pd.DataFrame, combinations: int) -> pd.DataFrame:
    """The first row of those with the same numbers, and how many combinations they stand for."""
    numbers = table.select_dtypes("float").round(ALIKE) + 0.0  # no negative zero
    same = numbers.groupby(list(numbers), dropna=False, sort=False).ngroup()
    stands_for = same.map(combinations * same.value_counts())
    return table.assign(combinations=stands_for)[~same.duplicated()].reset_index(drop=True)


def _analyses(
    seen: BookSnapshots, side: str, relative: str, reference: str,
    trade_sizes: Sequence[float], session: Session,
) -> Iterator[tuple[str, ImpactFit, PowerImpact]]:  # fmt: skip
    """By both weights the pooled power law, and the curve with its exponent in every interval."""
    factor, n = np.ones(len(seen)), session.n_intervals
    if relative == "visible depth":
        depth = seen.levels(side)[1].sum(axis=1)
        factor = depth.mean() / depth
    sizes = {name: seen[name] * factor[:, None] for name in ("bid_size", "ask_size")}
    curves = slippage_curves(replace(seen, **sizes), trade_sizes, side)
    if reference == "mid":
        curves = replace(curves, half_spread=0.0 * curves.mid, touch=curves.mid)
    data = ImpactMoments.from_curves(curves, n, session).observations().usable("complete")[0]
    data = replace(data, rows=data.rows.assign(censored=False))  # completed once, for all fits
    interval = session.interval_of(seen.time)
    for weight, estimator in WEIGHTS.items():
        how: dict[str, Any] = {"estimator": estimator, "test_fraction": 0.0}
        fit = fit_impact(data, "power", by="pooled", shrinkage="none", **how)
        power = float(fit.params["exponent"].iloc[0])
        # In sizes to the power of the exponent the power law is a line.
        straight = fit_impact(replace(data, sizes=data.sizes**power), "linear", **how).curve
        effect = pd.Series(factor**power).groupby(interval).mean()
        effect = effect.reindex(range(n), fill_value=float(np.mean(factor**power)))
        beta = straight.parameters()["beta"] * effect.to_numpy()
        yield weight, fit, PowerImpact(beta, power, straight.half_spread)


def _exponent(fit: ImpactFit) -> dict[str, float]:
    """The exponent with its error and interval; NaN where no power law fits."""
    known = np.nan if fit.diagnostics["fell_back"] else 1.0
    names, tables = ("exponent", "error", "lower", "upper"), (fit.params, fit.bse, *fit.conf_int())
    said = (known * float(table["exponent"].iloc[0]) for table in tables)
    return dict(zip(names, said, strict=True))


def _savings(pairs: list[tuple[Execution, Execution]], n_fitted: int) -> dict[str, float]:
    """Of TWAP's cost in and out of sample, per cent; NaN where the two fill different amounts."""
    found = {}
    for name, days in (("in", pairs[:n_fitted]), ("out", pairs[n_fitted:])):
        alike = [abs(a.unfilled - b.unfilled) <= UNFILLED * b.total_shares for a, b in days]
        own, equal = sum(a.cost for a, _ in days), sum(b.cost for _, b in days)
        found[f"saving_{name}_%"] = 100 * (1 - own / equal) if days and all(alike) else np.nan
    return found

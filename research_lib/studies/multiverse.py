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

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation import Execution, Ladder, replay
from research_lib.execution import allocate
from research_lib.impact import (
    ImpactFit, ImpactMoments, PowerImpact, SlippageCurves, fit_impact, slippage_curves,
)  # fmt: skip
from research_lib.market.sessions import as_session
from research_lib.market import BookSnapshots, Session

NORMALISATIONS = ("shares", "visible depth")
WEIGHTS = {"equal": "least_squares", "1/size^2": "weighted"}
CHOICES = ["reference", "normalisation", "sampling", "weight", "side"]
UNFILLED = 1e-9  # of the order: what rounding alone leaves


def multiverse(
    books: BookSnapshots, *, total_shares: float, trade_sizes: Sequence[float], test_days: int = 1,
    sides: Sequence[str] = ("buy", "sell"), max_shares: ArrayLike | None = None,
    session: Session | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Exponent and saving under every combination of five choices, one row each.

    - reference: impact beyond the "touch", the half-spread measured; or beyond the "mid",
      without a spread term, which fakes a low exponent.
    - normalisation: sizes in "shares", or of the "visible depth" of each book. The schedule takes
      the mean curve of the interval's fitted books.
    - sampling: the book at the "interval start", or all states alike ("events").
    - weight of an observation: "equal", or "1/size^2", so that relative errors count alike
      (for the scales: relative to size^exponent).
    - side.

    Parameters
    ----------
    books : BookSnapshots
        All states, clean (see `assess`), of one day or more. With one state an interval the
        two samplings are the same.
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
        The five choices; exponent of the pooled fit, its error, lower and upper (95 % interval;
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
    >>> len(table), set(table["n_books"])
    (16, {26})
    """
    window = as_session(session)
    n, dates = window.n_intervals, books.days(window)
    held_out = number("test_days", test_days, 0, integer=True) * (len(dates) > 1)
    if held_out >= len(dates):
        left = f"leaves none of {len(dates)} days to fit; lower it"
        raise ValidationError(f"test_days {test_days} {left}")
    fitted, rows = dates[: len(dates) - held_out], []
    starts = replace(books, trades=None).sample(window)
    inside = books.complete & (window.interval_of(books.time) >= 0)
    sampled = {"interval start": starts, "events": books.take(inside)}
    for side in sides:
        days = Ladder.of(starts, side).by_day(n)
        twap = [replay(np.full(n, total_shares / n), day, side) for day in days]
        for (sampling, seen), relative in itertools.product(sampled.items(), NORMALISATIONS):
            seen = seen.take(np.isin(window.days(seen.time), fitted) & np.isfinite(seen.mid))
            named = {"normalisation": relative, "sampling": sampling, "side": side}
            for choice, curve in _analyses(seen, side, relative, trade_sizes, window):
                shares = allocate(curve, total_shares, max_shares=max_shares).shares
                done = [replay(shares, day, side) for day in days]
                saved = _savings(list(zip(done, twap, strict=True)), len(fitted))
                rows.append({**named, **choice, **saved, "n_books": len(seen)})
    return pd.DataFrame(rows).set_index(CHOICES).reset_index()


def _analyses(
    seen: BookSnapshots, side: str, relative: str, trade_sizes: Sequence[float], window: Session
) -> Iterator[tuple[dict[str, Any], PowerImpact]]:
    """What one set of books says by both references and both weights, with the curve."""
    factor, n = np.ones(len(seen)), window.n_intervals
    if relative == "visible depth":
        depth = seen.levels(side)[1].sum(axis=1)
        factor = depth.mean() / depth
    sizes = {name: seen[name] * factor[:, None] for name in ("bid_size", "ask_size")}
    walked = slippage_curves(replace(seen, **sizes), trade_sizes, side)
    no_spread = replace(walked, half_spread=0.0 * walked.mid, touch=walked.mid)
    interval = window.interval_of(seen.time)
    for curves, (weight, estimator) in itertools.product((walked, no_spread), WEIGHTS.items()):
        how: dict[str, Any] = {"estimator": estimator, "test_fraction": 0.0}
        fit = fit_impact(_moments(curves, 1, window), "power", by="pooled", shrinkage="none", **how)
        power = float(fit.params["exponent"].iloc[0])
        straight = fit_impact(_moments(curves, power, window), "linear", **how).curve
        effect = pd.Series(factor**power).groupby(interval).mean()
        effect = effect.reindex(range(n), fill_value=float(np.mean(factor**power)))
        beta = straight.parameters()["beta"] * effect.to_numpy()
        choice = {"reference": "touch" if curves is walked else "mid", "weight": weight}
        yield choice | _exponent(fit), PowerImpact(beta, power, straight.half_spread)


def _moments(curves: SlippageCurves, power: float, session: Session) -> ImpactMoments:
    """Of sizes to a power: in those of the exponent the power law is a line."""
    bent = replace(curves, trade_sizes=curves.trade_sizes**power, depth=curves.depth**power)
    return ImpactMoments.from_curves(bent, session.n_intervals, session)


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

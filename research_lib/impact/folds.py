"""Which part of the observations is fitted and which is held out: days, or blocks of the session within one day."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown, require_columns
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.slippage import SlippageCurves
from research_lib.market import Session
from research_lib.market.sessions import nanoseconds

Index = NDArray[np.int64]
SCHEMES = ("leave_one_day_out", "walk_forward")


@dataclass(frozen=True, eq=False)
class Fold(Record):
    """Units fitted and units held out, by number, with no unit in both."""

    fitted: Index
    held_out: Index


@dataclass(frozen=True, eq=False)
class Parts(Record):
    """Observations cut into units in time order.

    Attributes
    ----------
    source : DataFrame or ImpactMoments
    unit : (m,)
        Unit of each row of the frame, or of each cell of the moments.
    book_unit : (b,)
        Of each row of the moments' `books`; empty for a frame.
    labels : list of str
        Days as "YYYY-MM-DD", or blocks of the one day as "intervals a to b".
    n_intervals : int
    by_day : bool
        False where the units are blocks of one day.
    session : Session or None
        That the days are of.
    """

    source: pd.DataFrame | ImpactMoments
    unit: Index
    book_unit: Index
    labels: list[str]
    n_intervals: int
    by_day: bool
    session: Session | None

    @property
    def kind(self) -> str:
        """What a unit is called."""
        return "day" if self.by_day else "block"

    def others(self, scheme: str) -> str:
        """What each fold of a scheme is fitted on, in words."""
        if scheme == "walk_forward":
            return f"the earlier {self.kind}s only"
        return "all other days, later ones too" if self.by_day else "all other blocks"

    def take(self, units: Iterable[int]) -> pd.DataFrame | ImpactMoments:
        """The observations of the chosen units, for `fit_impact`."""
        chosen = np.zeros(len(self.labels), bool)
        chosen[list(units)] = True
        if isinstance(self.source, pd.DataFrame):
            return self.source[chosen[self.unit]]
        cells, books = (
            self.source.cells[chosen[self.unit]],
            self.source.books[chosen[self.book_unit]],
        )
        return dataclasses.replace(self.source, cells=cells, books=books)

    def folds(self, scheme: str) -> Iterator[Fold]:
        """Every unit held out once; "walk_forward" fits on earlier units only and so leaves the first one in.

        Raises
        ------
        ValidationError
            An unknown scheme.
        InsufficientDataError
            One unit alone.
        """
        refuse_unknown([scheme], SCHEMES, "scheme")
        units = np.arange(len(self.labels))
        if len(units) < 2:
            raise InsufficientDataError(
                f"1 {self.kind} cannot be fitted and held out; give 2 days or raise n_blocks"
            )
        for u in units[scheme == "walk_forward" :]:
            yield Fold(
                units[:u] if scheme == "walk_forward" else np.delete(units, u), units[u : u + 1]
            )


def cut(
    slippage: pd.DataFrame | SlippageCurves | ImpactMoments,
    *,
    n_intervals: int | None = None,
    n_blocks: int = 5,
    session: Session | None = None,
) -> Parts:
    """Cut observations into days or, where there is one day only, into `n_blocks` equal blocks of the session.

    Raises
    ------
    ValidationError
        A frame without rows, time or interval; an interval at or beyond `n_intervals`.
    """
    window = session or Session()
    if isinstance(slippage, SlippageCurves):
        slippage = slippage.to_frame(n_intervals, session)
    if isinstance(slippage, ImpactMoments):
        dates, book_dates = (
            slippage.cells["date"].to_numpy(str),
            slippage.books["date"].to_numpy(str),
        )
        interval, book_interval = (
            slippage.cells["interval"].to_numpy(),
            slippage.books["interval"].to_numpy(),
        )
        n = slippage.n_intervals
    else:
        require_columns(slippage, ("time", "interval"), "slippage frame")
        dates = _dates(nanoseconds(slippage["time"], "column time"), window)
        interval, book_interval, book_dates = (
            slippage["interval"].to_numpy(),
            np.empty(0, int),
            np.empty(0, str),
        )
        n = n_intervals or int(interval.max()) + 1
    labels = np.unique(dates)
    if len(labels) > 1:
        unit, book_unit = np.searchsorted(labels, dates), np.searchsorted(labels, book_dates)
        return Parts(slippage, unit, book_unit, labels.tolist(), n, True, session)
    blocks = min(number("n_blocks", n_blocks, 2, integer=True), n)
    if interval.max() >= n:
        raise ValidationError(
            f"n_intervals is {n}, the frame has interval {int(interval.max())}; give a larger one"
        )
    edges = -(-np.arange(blocks + 1) * n // blocks)
    names = [f"intervals {first} to {end - 1}" for first, end in itertools.pairwise(edges)]
    return Parts(
        slippage, interval * blocks // n, book_interval * blocks // n, names, n, False, session
    )


def _dates(time: Index, session: Session) -> NDArray[np.str_]:
    """Day of each time, (m,) "YYYY-MM-DD"; each distinct time is looked up once."""
    distinct, of = np.unique(time, return_inverse=True)
    return np.array([str(day) for day in session.days(distinct)])[of]

"""Additive sufficient statistics of the fit, so that batches, days, files and workers merge exactly."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import NoBooksError, ValidationError
from research_lib.impact.censoring import GAMMAS, MOST_SIZES, Rows, continued, sums
from research_lib.impact.samples import Sample, Spreads
from research_lib.impact.slippage import SlippageCurves, session_intervals, slippage_curves
from research_lib.market import BookSnapshots, Session, sample_batches
from research_lib.market.book import side_sign
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]
Index = NDArray[np.int64]

CELL = ["date", "interval", "seen", "lacking", "size"]
BOOK = ["date", "interval"]
MOST_HELD, MOST_BOOKS = 32, 100_000
CONTINUED = [f"continued_{gamma:g}" for gamma in GAMMAS]


@dataclass(frozen=True, eq=False)
class ImpactMoments(Record):
    """What a fit needs of any number of books; `+` merges two sets.

    Books of one day and interval that lack the same sizes are summed. Everything that the
    fit derives is a function of these sums, so any split of the books over batches, files
    or workers gives the fit of one pass, to rounding. Days must not be split in two sets of
    which both hold the same book.

    Attributes
    ----------
    cells : DataFrame
        date, interval, seen and lacking (bits of the sizes filled and censored), size
        (shares), n (books), total and square (sums of impact, or of its lower bound where
        censored, and of its square), cross (impact times half-spread), half_spread and
        half_spread_square (sums), and the sums of `censoring.continued`.
    books : DataFrame
        date, interval, n (books), half_spread, half_spread_square and mid (sums).
    sizes : (K,) shares, ascending
    n_intervals : int
    """

    cells: pd.DataFrame
    books: pd.DataFrame
    sizes: Float
    n_intervals: int

    @classmethod
    def from_curves(
        cls, curves: SlippageCurves, n_intervals: int | None = None, session: Session | None = None
    ) -> ImpactMoments:
        """Of walked books, (n, K); a book without two sides is left out.

        Raises
        ------
        ValidationError
            Crossed books, times outside the session, more than 62 trade sizes or one given twice.
        """
        sizes, columns = np.unique(curves.trade_sizes, return_index=True)
        if len(sizes) > MOST_SIZES or len(sizes) < len(curves.trade_sizes):
            raise ValidationError(
                f"moments need different trade sizes, {MOST_SIZES} at most; got {len(curves.trade_sizes)}, "
                f"{len(sizes)} different"
            )
        quoted = np.isfinite(curves.mid) & np.isfinite(curves.lower_bound).all(axis=1)
        half_spread, mid, window = (
            curves.half_spread[quoted],
            curves.mid[quoted],
            session or Session(),
        )
        if np.any(half_spread < 0):
            raise ValidationError(
                f"{int(np.sum(half_spread < 0)):,} books are crossed (bid above ask); drop them"
            )
        interval = session_intervals(curves.time[quoted], n_intervals, window)
        impact = (
            side_sign(curves.side) * (curves.lower_bound[quoted][:, columns] - mid[:, None])
            - half_spread[:, None]
        )
        lacking = curves.censored[quoted][:, columns] @ (np.int64(1) << np.arange(len(sizes)))
        days, dates = pd.factorize(window.days(curves.time[quoted]), sort=True)
        count = int(n_intervals or (interval.max() + 1 if len(interval) else 1))
        of, keys = pd.factorize(days * count + interval, sort=True)
        place = {
            "date": np.array([str(day) for day in dates])[keys // count],
            "interval": keys % count,
        }
        cells = _cells(of, place, lacking, sizes, impact, half_spread, curves.depth[quoted])
        values = {
            "n": None,
            "half_spread": half_spread,
            "half_spread_square": half_spread**2,
            "mid": mid,
        }
        sums_of = {
            name: np.bincount(of, value, len(keys)).astype(float) for name, value in values.items()
        }
        return cls(cells, pd.DataFrame({**place, **sums_of}), sizes, count)

    def __add__(self, other: ImpactMoments) -> ImpactMoments:
        return ImpactMoments.merge([self, other])

    @classmethod
    def merge(cls, parts: Iterable[ImpactMoments]) -> ImpactMoments:
        """The sum of any number of parts.

        Raises
        ------
        ValidationError
            If there is none, or they differ in trade sizes or in the number of intervals.
        """
        held: list[ImpactMoments] = []
        for part in parts:
            held.append(part)
            held[0]._refuse_other(part)
            if len(held) == MOST_HELD:
                held = [cls._sum(held)]
        if not held:
            raise NoBooksError("no moments to merge; the batches held no book")
        return cls._sum(held)

    def _refuse_other(self, part: ImpactMoments) -> None:
        if part.n_intervals != self.n_intervals or not np.array_equal(part.sizes, self.sizes):
            raise ValidationError(
                f"moments of {self.n_intervals} intervals, sizes {self.sizes.tolist()} and of "
                f"{part.n_intervals}, {part.sizes.tolist()} do not add; give all the same n_intervals and sizes"
            )

    @classmethod
    def _sum(cls, parts: list[ImpactMoments]) -> ImpactMoments:
        cells = pd.concat([part.cells for part in parts], ignore_index=True)
        books = pd.concat([part.books for part in parts], ignore_index=True)
        return cls(_summed(cells, CELL), _summed(books, BOOK), parts[0].sizes, parts[0].n_intervals)

    def sample(self) -> Sample:
        """The cells as a fit sees them."""
        cells, books = self.cells, self.books
        dates, day = np.unique(pd.concat([cells["date"], books["date"]]), return_inverse=True)
        size = np.searchsorted(self.sizes, cells["size"])
        interval, n = cells["interval"].to_numpy(), cells["n"].to_numpy()
        rows = Rows(
            book=cells.groupby(CELL[:4], sort=False).ngroup().to_numpy(),
            size=size,
            sizes=self.sizes,
            n=n,
            total=cells["total"].to_numpy(),
            censored=(cells["lacking"].to_numpy() >> size) & 1 > 0,
            continued=cells[CONTINUED].to_numpy(),
        )
        spread = Spreads(
            day[len(cells) :],
            books["interval"].to_numpy(),
            *(books[name].to_numpy() for name in ("n", "half_spread", "half_spread_square")),
        )
        return Sample(
            rows,
            day[: len(cells)],
            interval,
            day[: len(cells)],
            spread,
            self.n_intervals,
            list(map(str, dates)),
        )


@timed("moments_of_books")
def moments_of_books(
    batches: Iterable[BookSnapshots],
    trade_sizes: ArrayLike,
    side: str,
    session: Session,
    n_intervals: int | None = None,
    *,
    sample: bool = True,
) -> ImpactMoments:
    """Moments of books that are too many to hold, one batch in memory at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        In time order, cut anywhere; from `iter_books`, for instance.
    trade_sizes : (K,) shares
    side : "buy" or "sell"
    session : Session
        Books outside it are left out.
    n_intervals : int, optional
        Intervals of a day, `session.n_intervals` by default.
    sample : bool
        One book an interval, the last complete one at or before its start, as
        `sample_batches` gives it; else every book of the session counts, so that busy times
        weigh more. Books without two sides or crossed are left out and counted in the log.

    Raises
    ------
    ValidationError
        No book inside the session; as `sample_batches` and `ImpactMoments.from_curves`.
    """
    window = (
        session if n_intervals is None else dataclasses.replace(session, n_intervals=n_intervals)
    )
    books = [sample_batches(batches, window)] if sample else batches
    parts = (_usable(piece, window) for batch in books for piece in _pieces(batch))
    curves = (slippage_curves(part, trade_sizes, side) for part in parts if len(part))
    return ImpactMoments.merge(
        ImpactMoments.from_curves(one, window.n_intervals, window) for one in curves
    )


def _pieces(books: BookSnapshots) -> Iterator[BookSnapshots]:
    """The books, few enough at a time that what is made of them is small beside a batch."""
    yield from (
        books.take(np.arange(s, min(s + MOST_BOOKS, len(books))))
        for s in range(0, len(books), MOST_BOOKS)
    )


def _usable(books: BookSnapshots, session: Session) -> BookSnapshots:
    """The books inside the session that have two sides and are not crossed."""
    inside = session.interval_of(books.time) >= 0
    kept = inside & (books.half_spread >= 0)
    if kept.sum() < inside.sum():
        logger.info(
            "%s of %s books lack a side or are crossed: left out",
            f"{(inside & ~kept).sum():,}",
            f"{len(books):,}",
        )
    return books if kept.all() else books.take(np.flatnonzero(kept))


def _cells(
    place_of: Index,
    place: dict[str, NDArray[Any]],
    lacking: Index,
    sizes: Float,
    impact: Float,
    half_spread: Float,
    depth: Float,
) -> pd.DataFrame:
    """Books of one date and interval that lack the same sizes, summed; one row a size."""
    k, which = len(sizes), pd.factorize(lacking, sort=True)
    of, keys = pd.factorize(place_of * len(which[1]) + which[0], sort=True)
    groups, lacks = len(keys), np.repeat(which[1][keys % len(which[1])], k)
    partly = np.flatnonzero(lacking)
    ahead = _continued(sizes, depth[partly], impact[partly], lacking[partly])
    return pd.DataFrame(
        {
            **{name: np.repeat(values[keys // len(which[1])], k) for name, values in place.items()},
            "seen": ((np.int64(1) << k) - 1) & ~lacks,
            "lacking": lacks,
            "size": np.tile(sizes, groups),
            "n": np.repeat(np.bincount(of, minlength=groups).astype(float), k),
            "total": _column_sums(of, impact, groups),
            "square": _column_sums(of, impact**2, groups),
            "cross": _column_sums(of, impact * half_spread[:, None], groups),
            "half_spread": np.repeat(sums(of, half_spread, groups), k),
            "half_spread_square": np.repeat(sums(of, half_spread**2, groups), k),
            **{
                name: _column_sums(of[partly], ahead[:, :, g], groups)
                for g, name in enumerate(CONTINUED)
            },
        }
    )


def _continued(sizes: Float, depth: Float, impact: Float, lacking: Index) -> Float:
    """`continued` of (n, K) impacts, (n, K, 4)."""
    n, k = impact.shape
    censored = (lacking[:, None] >> np.arange(k)) & 1 > 0
    of_rows = (
        np.repeat(np.arange(n), k),
        np.tile(sizes, n),
        np.repeat(depth, k),
        impact.ravel(),
        censored.ravel(),
    )
    return continued(*of_rows).reshape(n, k, len(GAMMAS))


def _column_sums(of: Index, values: Float, groups: int) -> Float:
    return np.column_stack([sums(of, column, groups) for column in values.T]).ravel()


def _summed(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return table.groupby(by, sort=True, as_index=False).sum()

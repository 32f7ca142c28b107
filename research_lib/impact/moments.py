"""Additive sufficient statistics of the fit: batches, days, files and workers merge exactly.

Over a store of partitioned Parquet, here or on a Dask cluster, one task walks the books of one
symbol and date, in batches, and keeps only their moments; a symbol's dates are merged in their
order, whichever worker was first. So the answer is the same bit by bit on any number of workers,
and a worker that is lost costs the time to do its dates again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import NoBooksError, ValidationError
from research_lib.impact.censoring import GAMMAS, MAX_SIZES, continued, sums
from research_lib.impact.observations import Observations, Spreads
from research_lib.impact.slippage import SlippageCurves, session_intervals, slippage_curves
from research_lib.impact.walk import checked_sizes
from research_lib.market import BookSnapshots, Session, iter_books, sample_batches
from research_lib.market.book import side_sign
from research_lib.market.readers import store
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]
Index = NDArray[np.int64]

CELL = ["date", "interval", "seen", "lacking", "size"]
BOOK = ["date", "interval"]
CONTINUED = [f"continued_{gamma:g}" for gamma in GAMMAS]
MAX_HELD = 32  # parts kept before they are summed: memory does not grow with their number
MAX_BOOKS = 100_000  # walked at a time, so that what is made of them is small beside a batch


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

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> books = thin_stock(Session(13)).books(26, 10, np.random.default_rng(0))
    >>> moments = ImpactMoments.from_curves(slippage_curves(books, [200, 500], "buy"), 13)
    >>> (moments + moments).books["n"].sum().item()
    52.0
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
        k, given, window = len(sizes), len(curves.trade_sizes), session or Session()
        if k > MAX_SIZES or k < given:
            raise ValidationError(
                f"moments need different trade sizes, {MAX_SIZES} at most; got {given}, "
                f"{k} different"
            )
        walked = curves.take(np.isfinite(curves.mid))
        half_spread, mid = walked.half_spread, walked.mid
        if np.any(half_spread < 0):
            crossed = int(np.sum(half_spread < 0))
            raise ValidationError(f"{crossed:,} books are crossed (bid above ask); drop them")
        interval = session_intervals(walked.time, n_intervals, window)
        beyond_mid = side_sign(curves.side) * (walked.lower_bound[:, columns] - mid[:, None])
        impact, lacking = beyond_mid - half_spread[:, None], walked.censored[:, columns]
        count = int(n_intervals or (interval.max() + 1 if len(interval) else 1))
        days, dates = pd.factorize(window.days(walked.time), sort=True)
        of, keys = pd.factorize(days * count + interval, sort=True)
        names = np.array([str(day) for day in dates])
        place = pd.DataFrame({"date": names[keys // count], "interval": keys % count})
        cells = _cells(of, place, lacking, sizes, impact, half_spread, walked.depth)
        books = place.assign(
            n=np.bincount(of, minlength=len(keys)).astype(float),
            half_spread=sums(of, half_spread, len(keys)),
            half_spread_square=sums(of, half_spread**2, len(keys)),
            mid=sums(of, mid, len(keys)),
        )
        return cls(cells, books, sizes, count)

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
            if len(held) == MAX_HELD:
                held = [cls._sum(held)]
        if not held:
            raise NoBooksError("no moments to merge; the batches held no book")
        return cls._sum(held)

    def _refuse_other(self, part: ImpactMoments) -> None:
        if part.n_intervals != self.n_intervals or not np.array_equal(part.sizes, self.sizes):
            raise ValidationError(
                f"moments of {self.n_intervals} intervals, sizes {self.sizes.tolist()} and of "
                f"{part.n_intervals}, {part.sizes.tolist()} do not add; give all the same "
                "n_intervals and sizes"
            )

    @classmethod
    def _sum(cls, parts: list[ImpactMoments]) -> ImpactMoments:
        cells, books = (
            pd.concat([part[name] for part in parts], ignore_index=True)
            .groupby(by, sort=True, as_index=False)
            .sum()
            for name, by in (("cells", CELL), ("books", BOOK))
        )
        return cls(cells, books, parts[0].sizes, parts[0].n_intervals)

    def observations(self) -> Observations:
        """The cells as a fit sees them."""
        cells, books, m = self.cells, self.books, len(self.cells)
        dates, day = np.unique(pd.concat([cells["date"], books["date"]]), return_inverse=True)
        size, n = np.searchsorted(self.sizes, cells["size"]), cells["n"].to_numpy()
        impact, square = cells["total"], cells["square"]
        slippage = impact + cells["half_spread"]
        slippage_square = square + 2.0 * cells["cross"] + cells["half_spread_square"]
        within, impact_within = (
            np.maximum(squares - totals**2 / n, 0.0).to_numpy()
            for squares, totals in ((slippage_square, slippage), (square, impact))
        )
        mids = books[BOOK].assign(mid=books["mid"] / books["n"])
        spreads = (books[name].to_numpy() for name in ("n", "half_spread", "half_spread_square"))
        return Observations(
            book=cells.groupby(CELL[:4], sort=False).ngroup().to_numpy(),
            size=size, sizes=self.sizes, n=n, total=impact.to_numpy(),
            censored=(cells["lacking"].to_numpy() >> size) & 1 > 0,
            continued=cells[CONTINUED].to_numpy(),
            day=day[:m], interval=cells["interval"].to_numpy(), cluster=day[:m],
            slippage=slippage.to_numpy() / n,
            mid=cells[BOOK].merge(mids, on=BOOK, how="left")["mid"].to_numpy(),
            within=within, impact_within=impact_within,
            spreads=Spreads(day[m:], books["interval"].to_numpy(), *spreads),
            n_intervals=self.n_intervals, dates=list(map(str, dates)),
        )  # fmt: skip


def _cells(
    place_of: Index, place: pd.DataFrame, lacking: NDArray[np.bool_], sizes: Float,
    impact: Float, half_spread: Float, depth: Float,
) -> pd.DataFrame:  # fmt: skip
    """Books of one date and interval that lack the same sizes, summed; one row a size."""
    k, places = len(sizes), place.to_dict("series")
    which, patterns = pd.factorize(lacking @ (np.int64(1) << np.arange(k)), sort=True)
    of, keys = pd.factorize(place_of * len(patterns) + which, sort=True)
    groups, lacks = len(keys), np.repeat(patterns[keys % len(patterns)], k)

    def summed(values: Float, rows: Any = slice(None)) -> Float:
        """Column sums of (n, K) values over the books of each cell."""
        return np.column_stack([sums(of[rows], column, groups) for column in values.T]).ravel()

    partly = np.flatnonzero(lacking.any(axis=1))
    flat = np.repeat(np.arange(len(partly)), k), np.tile(sizes, len(partly))
    ahead = continued(
        *flat, np.repeat(depth[partly], k), impact[partly].ravel(), lacking[partly].ravel()
    ).reshape(len(partly), k, len(GAMMAS))
    spread = half_spread[:, None]
    return pd.DataFrame({
        **{name: np.repeat(v.to_numpy()[keys // len(patterns)], k) for name, v in places.items()},
        "seen": ((np.int64(1) << k) - 1) & ~lacks,
        "lacking": lacks,
        "size": np.tile(sizes, groups),
        "n": np.repeat(np.bincount(of, minlength=groups).astype(float), k),
        "total": summed(impact),
        "square": summed(impact**2),
        "cross": summed(impact * spread),
        "half_spread": np.repeat(sums(of, half_spread, groups), k),
        "half_spread_square": np.repeat(sums(of, half_spread**2, groups), k),
        **{name: summed(ahead[:, :, g], partly) for g, name in enumerate(CONTINUED)},
    })  # fmt: skip


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

    Examples
    --------
    >>> from research_lib.market import Session, thin_stock
    >>> days = (thin_stock(Session(13)).books(13, 10, np.random.default_rng(k)) for k in (0, 0))
    >>> found = moments_of_books(days, [200, 500], "buy", Session(13), sample=False)
    >>> found.books["n"].sum().item()
    26.0
    """
    window = session
    if n_intervals is not None:
        window = dataclasses.replace(session, n_intervals=n_intervals)
    books = [sample_batches(batches, window)] if sample else batches
    parts = (_usable(piece, window) for batch in books for piece in _pieces(batch))
    curves = (slippage_curves(part, trade_sizes, side) for part in parts if len(part))
    return ImpactMoments.merge(
        ImpactMoments.from_curves(one, window.n_intervals, window) for one in curves
    )


def _pieces(books: BookSnapshots) -> Iterator[BookSnapshots]:
    for start in range(0, len(books), MAX_BOOKS):
        yield books.take(np.arange(start, min(start + MAX_BOOKS, len(books))))


def _usable(books: BookSnapshots, session: Session) -> BookSnapshots:
    """The books inside the session that have two sides and are not crossed."""
    inside = session.interval_of(books.time) >= 0
    kept = inside & (books.half_spread >= 0)
    if kept.sum() < inside.sum():
        left_out = f"{(inside & ~kept).sum():,}"
        logger.info(
            "%s of %s books lack a side or are crossed: left out", left_out, f"{len(books):,}"
        )
    return books if kept.all() else books.take(np.flatnonzero(kept))


def moments_of_store(
    folder: str | Path,
    trade_sizes: ArrayLike,
    side: str,
    session: Session,
    *,
    symbols: Iterable[str] | None = None,
    sample: bool = True,
    batch_rows: int = 100_000,
    then: Callable[[ImpactMoments], Any] | None = None,
    client: Client | None = None,
) -> Iterator[tuple[str, Any]]:
    """Moments of each symbol of a store made by `convert`, or what `then` makes of them.

    Parameters
    ----------
    folder : path
        A store, one symbol of it, or one date. All workers must see it under this path.
    trade_sizes, side, session, sample
        As in `moments_of_books`; the session's days must be those that the store was converted by.
    symbols : iterable of str, optional
        All by default.
    batch_rows : int
        Books in memory at a time, for each thread of each worker.
    then : callable, optional
        Worked out where a symbol's moments are, so that only its answer travels:
        ``partial(fit_impact, model_type="power")`` gives fits.
    client : distributed.Client, optional
        Where the dates are worked on; this process by default.

    Returns
    -------
    iterator of (symbol, ImpactMoments or what `then` returns)
        Sorted by symbol, each as soon as it is whole. A date without a book inside the session
        adds nothing, and is named in the log.

    Raises
    ------
    NoBooksError
        A symbol without any.
    ValidationError
        No store, unknown symbol, a damaged partition, one that holds several days of the session.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list(moments_of_store(folder, [100.0], "buy", Session(13)))
    Traceback (most recent call last):
    ...
    research_lib.errors.ValidationError: ...
    """
    side_sign(side)
    found = store.books_by_symbol(Path(folder))
    asked = sorted(found if symbols is None else set(symbols))
    refuse_unknown(asked, found, f"{folder}: symbol")
    walk = partial(
        _moments_of_date,
        trade_sizes=checked_sizes(trade_sizes),
        side=side,
        session=session,
        sample=sample,
        batch_rows=number("batch_rows", batch_rows, 1, integer=True),
    )
    return _in_turn({symbol: found[symbol] for symbol in asked}, walk, then, client)


def _in_turn(
    dates: dict[str, list[Path]],
    walk: Callable[[Path], Any],
    then: Callable[[ImpactMoments], Any] | None,
    client: Client | None,
) -> Iterator[tuple[str, Any]]:
    """Each symbol's answer in turn; a cluster works on as many more symbols as it has threads."""
    from dask import delayed

    ahead: deque[tuple[str, Any]] = deque()
    for symbol, folders in dates.items():
        parts = [delayed(walk, pure=False)(folder) for folder in folders]
        task = delayed(_merged, pure=False)(symbol, parts)
        task = task if then is None else delayed(then, pure=False)(task)
        if client is None:
            yield symbol, task.compute(scheduler="synchronous")
            continue
        ahead.append((symbol, client.compute(task)))
        if len(ahead) > max(sum(client.nthreads().values()), 1):
            first, future = ahead.popleft()
            yield first, future.result()
    for symbol, future in ahead:
        yield symbol, future.result()


def _moments_of_date(
    folder: Path, *, session: Session, batch_rows: int, **of_books: Any
) -> ImpactMoments | None:
    """Moments of one date folder, None if no book of it counts."""
    try:
        books = iter_books(folder, batch_rows, session=session)
        found = moments_of_books(books, session=session, **of_books)
    except NoBooksError as error:
        logger.warning("%s adds nothing: %s", folder, error)
        return None
    days = sorted(set(found.books["date"]))
    if days != [folder.name.removeprefix(store.DATE_PREFIX)]:
        raise ValidationError(
            f"{folder} holds books of {', '.join(days)} under session {session.hours}, and another "
            "folder may hold more of them; give the session that the store was converted by"
        )
    return found


def _merged(symbol: str, parts: list[ImpactMoments | None]) -> ImpactMoments:
    held = [part for part in parts if part is not None]
    if not held:
        raise NoBooksError(
            f"{symbol} has no usable book inside the session on any of its {len(parts)} dates"
        )
    return ImpactMoments.merge(held)

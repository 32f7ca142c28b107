"""Observations that a fit uses: rows of books, or their sums by day, which add up exactly.

Over a store of partitioned Parquet, here or on a Dask cluster, one task walks the books of one
symbol and date, in batches, and keeps only their moments. The dates of a symbol are merged in
order, whichever worker finished first, so the result is the same bit for bit on any number of
workers. If a worker is lost, its dates are done again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, refuse_rows, require_columns, require_numbers
from research_lib.config import Record
from research_lib.errors import NoBooksError, ValidationError
from research_lib.impact.censoring import CONTINUED, GAMMAS, MAX_SIZES, complete, continued
from research_lib.impact.slippage import SlippageCurves, checked_sizes, slippage_curves
from research_lib.market import BookSnapshots, Session, iter_books, sample_batches
from research_lib.market.book import side_sign
from research_lib.market.readers import store
from research_lib.market.sessions import as_session, nanoseconds
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)
CENSORING = ("complete", "drop", "face_value")
NUMBER_COLUMNS = ("interval", "trade_size", "mid_price", "half_spread", "avg_slippage")
CELL, BOOK = ["date", "interval", "lacking", "size"], ["date", "interval"]
MAX_HELD = 32  # parts kept before they are summed: memory does not grow with their number
MAX_BOOKS = 20_000  # walked at a time, so that intermediate results are small beside a batch


@dataclass(frozen=True, eq=False)
class Observations(Record):
    """Rows of impact, each of one book or summed over books of one day and interval.

    Attributes
    ----------
    rows : DataFrame
        day (numbered in time order), interval, cluster (snapshot, or day of summed books), book,
        size (position in `sizes`), n (books), total (sum over them of the impact, of its lower
        bound where censored; currency per share), censored, slippage and mid (means, currency
        per share), within and impact_within (sums of squares of slippage and impact about their
        means), and what `censoring.continued` says, NaN where no depth is known.
    spreads : DataFrame
        Sums over the same books: day, interval, n, half_spread, half_spread_square and mid.
    sizes : (K,) shares, ascending
    n_intervals : int
    dates : list of str
        The days that `day` numbers.
    """

    rows: pd.DataFrame
    spreads: pd.DataFrame
    sizes: Float
    n_intervals: int
    dates: list[str]

    def take(self, rows: Any, spreads: Any) -> Self:
        """The chosen rows and spreads; days keep their numbers."""
        chosen = self.rows[rows]
        book = np.unique(chosen["book"], return_inverse=True)[1]
        return replace(self, rows=chosen.assign(book=book), spreads=self.spreads[spreads])

    def usable(self, censoring: str) -> tuple[Self, str]:
        """The rows that enter a fit, censored ones completed, and how that was done.

        "complete": see `censoring`; sizes that no book filled are left out. "drop" leaves censored
        rows out and "face_value" takes the bound for the impact; both are biased and serve to show
        the bias.
        """
        rows, how = self.rows, "bounds taken as the impact"
        if censoring == "drop":
            rows, how = rows[~rows["censored"]], "censored rows left out"
        elif censoring == "complete":
            total, how = complete(rows, self.sizes)
            filled = rows.loc[~rows["censored"], "size"].unique()
            rows = rows.assign(total=total)[rows["size"].isin(filled)]
        return replace(self, rows=rows), how


def observations_of(given: Any, n_intervals: int | None, session: Session | None) -> Observations:
    """Observations from walked books, from their frame, or from moments."""
    if isinstance(given, Observations):
        return given
    if isinstance(given, ImpactMoments):
        return given.observations()
    if isinstance(given, SlippageCurves):
        given = given.to_frame(n_intervals, session)
    return _read(given, n_intervals, as_session(session))


def _read(frame: pd.DataFrame, n_intervals: int | None, session: Session) -> Observations:
    """Validate a frame as made by `SlippageCurves.to_frame`: rows of one book each."""
    require_columns(frame, ("time", *NUMBER_COLUMNS, "censored"), "slippage frame")
    require_numbers(frame, NUMBER_COLUMNS)
    require_numbers(frame, ("trade_size", "mid_price"), above=0)
    interval, shares, mid, spread, slippage = (frame[c].to_numpy(float) for c in NUMBER_COLUMNS)
    part = (interval < 0) | (interval % 1 != 0)
    refuse_rows(part, "interval", frame["interval"], "must be a whole number, 0 or more")
    refuse_rows(spread < 0, "half_spread", frame["half_spread"], "must be 0 or more")
    if np.median(slippage) < 0:  # single ones may be, by noise
        raise ValidationError("column avg_slippage is mostly below 0: a cost is positive")
    if (kind := str(frame["censored"].dtype)) != "bool":
        raise ValidationError(f"column censored must be true or false, not {kind}")
    least = int(interval.max()) + 1
    n = least if n_intervals is None else number("n_intervals", n_intervals, least, integer=True)
    time = nanoseconds(frame["time"], "column time")
    censored, impact = frame["censored"].to_numpy(dtype=bool), slippage - spread
    sizes, size = np.unique(shares, return_inverse=True)
    dates, day = np.unique(session.days(time), return_inverse=True)
    side = pd.factorize(frame["side"])[0] if "side" in frame else 0
    if np.any(side):
        logger.warning("buys and sells are fitted by one curve; fit each side apart")
    keys = pd.DataFrame({"time": time, "size": size, "side": side})
    # Counts several books of one side at the same time.
    keys["repeat"] = keys.groupby(["time", "side", "size"], sort=False).cumcount()
    book = keys.groupby(["time", "side", "repeat"], sort=False).ngroup().to_numpy()
    ahead = np.full((len(time), len(GAMMAS)), np.nan)
    depth = frame["filled"].to_numpy(dtype=float) if "filled" in frame else np.zeros(len(time))
    if np.all(((depth > 0) & (depth < shares))[censored]):
        ahead = continued(book, shares, depth, impact, censored)
    rows = pd.DataFrame({
        "day": day, "interval": interval.astype(np.int64), "cluster": keys.groupby("time").ngroup(),
        "book": book, "size": size, "n": 1.0, "total": impact, "censored": censored,
        "slippage": slippage, "mid": mid, "within": 0.0, "impact_within": 0.0,
        **dict(zip(CONTINUED, ahead.T, strict=True)),
    })  # fmt: skip
    one = rows[["day", "interval", "n", "mid"]].assign(half_spread=spread)
    seen = one.assign(half_spread_square=spread**2)[~keys.duplicated(["time", "repeat"])]
    return Observations(rows, seen, sizes, n, list(map(str, dates)))


@dataclass(frozen=True, eq=False)
class ImpactMoments(Record):
    """Sums over any number of books that determine a fit; `+` merges two sets.

    Books of one day and interval that lack the same sizes are summed. The fit depends on these sums
    only, so any split of the books over batches, files or workers gives the fit of one pass, up to
    rounding. No book may be in two of the merged sets.

    Attributes
    ----------
    cells : DataFrame
        date, interval, lacking (bits of the sizes censored), size (shares), n (books), total and
        square (sums of impact, or of its lower bound where censored, and of its square), cross
        (impact times half-spread), half_spread and half_spread_square (sums), and the sums of
        `censoring.continued`.
    books : DataFrame
        date, interval, n (books), half_spread, half_spread_square and mid (sums).
    sizes : (K,) shares, ascending
    n_intervals : int

    Examples
    --------
    >>> from research_lib.impact import slippage_curves
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
    ) -> Self:
        """From walked books, (n, K); books without two sides are left out.

        Raises
        ------
        ValidationError
            Crossed books, times outside the session, more than 62 trade sizes or one given twice.
        """
        sizes, given = np.unique(curves.trade_sizes), len(curves.trade_sizes)
        if len(sizes) > MAX_SIZES or len(sizes) < given:
            rule = f"moments need different trade sizes, {MAX_SIZES} at most"
            raise ValidationError(f"{rule}; got {given}, {len(sizes)} different")
        seen = observations_of(curves, n_intervals, session)
        rows, dates = seen.rows, np.array(seen.dates, object)
        spread = rows["slippage"] - rows["total"]
        bits = rows["censored"] * (np.int64(1) << rows["size"].to_numpy())
        cells = rows[["interval", "n", "total", *CONTINUED]].assign(
            date=dates[rows["day"]], lacking=bits.groupby(rows["book"]).transform("sum"),
            size=sizes[rows["size"]], square=rows["total"] ** 2, cross=rows["total"] * spread,
            half_spread=spread, half_spread_square=spread**2,
        )  # fmt: skip
        books = seen.spreads.assign(date=dates[seen.spreads["day"]]).drop(columns="day")
        return cls._sum([cls(cells, books, sizes, seen.n_intervals)])

    def __add__(self, other: Self) -> Self:
        return self.merge([self, other])

    @classmethod
    def merge(cls, parts: Iterable[Self]) -> Self:
        """The sum of any number of parts.

        Raises
        ------
        ValidationError
            If there is none, or they differ in trade sizes or in the number of intervals.
        """
        held: list[Self] = []
        for part in parts:
            held.append(part)
            a, b = (f"{x.n_intervals} intervals, sizes {x.sizes.tolist()}" for x in (held[0], part))
            if a != b:
                raise ValidationError(f"moments of {a} and of {b} differ; give all parts the same")
            if len(held) == MAX_HELD:
                held = [cls._sum(held)]
        if not held:
            raise NoBooksError("no moments to merge; the batches held no book")
        return cls._sum(held)

    @classmethod
    def _sum(cls, parts: list[Self]) -> Self:
        cells, books = (pd.concat([part[name] for part in parts]) for name in ("cells", "books"))
        sums = cells.groupby(CELL, as_index=False).sum(), books.groupby(BOOK, as_index=False).sum()
        return cls(*sums, parts[0].sizes, parts[0].n_intervals)

    def observations(self) -> Observations:
        """The sums as observations of a fit."""
        cells, books, m = self.cells, self.books, len(self.cells)
        dates, day = np.unique(pd.concat([cells["date"], books["date"]]), return_inverse=True)
        size, n, impact = np.searchsorted(self.sizes, cells["size"]), cells["n"], cells["total"]
        slippage = impact + cells["half_spread"]
        square = cells["square"] + 2.0 * cells["cross"] + cells["half_spread_square"]
        mids = books[BOOK].assign(mid=books["mid"] / books["n"])
        rows = cells[["interval", "n", "total", *CONTINUED]].assign(
            day=day[:m], cluster=day[:m], size=size, slippage=slippage / n,
            book=cells.groupby(CELL[:3], sort=False).ngroup(),
            censored=(cells["lacking"].to_numpy() >> size) & 1 > 0,
            mid=cells[BOOK].merge(mids, on=BOOK, how="left")["mid"],
            within=(square - slippage**2 / n).clip(lower=0.0),
            impact_within=(cells["square"] - impact**2 / n).clip(lower=0.0),
        )  # fmt: skip
        spreads = books.assign(day=day[m:])
        return Observations(rows, spreads, self.sizes, self.n_intervals, list(map(str, dates)))


@timed("moments_of_books")
def moments_of_books(
    batches: Iterable[BookSnapshots], trade_sizes: ArrayLike, side: str, session: Session,
    *, sample: bool = True,
) -> ImpactMoments:  # fmt: skip
    """Moments of books that do not fit into memory, one batch at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        In time order, cut anywhere; from `iter_books`, for instance.
    trade_sizes : (K,) shares
    side : "buy" or "sell"
    session : Session
        Books outside it are left out.
    sample : bool
        One book an interval, the last complete one at or before its start, as `sample_batches`
        gives it; else every book of the session, which gives busy times more weight. Books without
        two sides or crossed are left out and counted in the log.

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
    window = as_session(session)
    books = [sample_batches(batches, window)] if sample else batches
    usable = (part for batch in books for part in _usable(batch, window))
    curves = (slippage_curves(part, trade_sizes, side) for part in usable)
    counted = (ImpactMoments.from_curves(one, window.n_intervals, window) for one in curves)
    return ImpactMoments.merge(counted)


def _usable(books: BookSnapshots, session: Session) -> Iterator[BookSnapshots]:
    """The books inside the session that have two sides and are not crossed, in parts."""
    inside = session.interval_of(books.time) >= 0
    kept = inside & (books.half_spread >= 0)
    if n := int((inside & ~kept).sum()):
        logger.info("%d of %d books lack a side or are crossed: left out", n, len(books))
    rows = np.flatnonzero(kept)
    return (books.take(rows[k : k + MAX_BOOKS]) for k in range(0, len(rows), MAX_BOOKS))


def moments_of_store(
    folder: str | Path, trade_sizes: ArrayLike, side: str, session: Session, *,
    sample: bool = True, batch_rows: int = 100_000,
    then: Callable[[ImpactMoments], Any] | None = None, client: Any = None,
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    """Moments of each symbol of a store made by `convert`, or the result of `then` on them.

    Parameters
    ----------
    folder : path
        A store, one symbol of it, or one date. All workers must see it under this path.
    trade_sizes, side, session, sample
        As in `moments_of_books`; the session must have the days that the store was converted with.
    batch_rows : int
        Books in memory at a time, for each thread of each worker.
    then : callable, optional
        Applied where a symbol's moments are, so that only its result is sent:
        ``partial(fit_impact, model_type="power")`` gives fits.
    client : distributed.Client, optional
        Cluster that processes the dates; this process by default.

    Returns
    -------
    iterator of (symbol, ImpactMoments or what `then` returns)
        Sorted by symbol, each as soon as it is complete. A date without a book inside the session
        is skipped and named in the log.

    Raises
    ------
    NoBooksError
        A symbol without any.
    ValidationError
        No store, a damaged partition, one that holds several days of the session.

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
    rows, sizes = number("batch_rows", batch_rows, 1, integer=True), checked_sizes(trade_sizes)
    how: dict[str, Any] = {"trade_sizes": sizes, "side": side, "sample": sample}
    walk = partial(_of_date, session=session, batch_rows=rows, **how)
    return ((one, _of_symbol(one, found[one], walk, then, client)) for one in sorted(found))


def _of_symbol(symbol: str, folders: list[Path], walk: Any, then: Any, client: Any) -> Any:
    """One symbol's result: its dates in parallel, merged in order on the workers."""
    from dask import delayed

    store.refuse_mixed(folders)
    parts = [delayed(walk, pure=False)(folder) for folder in folders]
    task = delayed(_merged, pure=False)(symbol, parts, then)
    return client.compute(task).result() if client else task.compute(scheduler="synchronous")


def _of_date(folder: Path, session: Session, batch_rows: int, **how: Any) -> ImpactMoments | None:
    """Moments of one date folder, None if it has no usable book."""
    try:
        books = iter_books(folder, batch_rows, session=session)
        found = moments_of_books(books, session=session, **how)
    except NoBooksError as error:
        logger.warning("%s adds nothing: %s", folder, error)
        return None
    days = sorted(set(found.books["date"]))
    if days != [folder.name.removeprefix(store.DATE_PREFIX)]:
        held = f"{folder} holds books of {', '.join(days)} under session {session.hours}"
        raise ValidationError(f"{held}; give the session that the store was converted by")
    return found


def _merged(symbol: str, parts: list[ImpactMoments | None], then: Any) -> Any:
    held = [part for part in parts if part is not None]
    if not held:
        on = f"on any of its {len(parts)} dates"
        raise NoBooksError(f"{symbol} has no usable book inside the session {on}")
    moments = ImpactMoments.merge(held)
    return moments if then is None else then(moments)

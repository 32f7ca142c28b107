"""Slippage and fits over a store of partitioned Parquet, here or on a Dask cluster, by moments that add.

One task walks the books of one symbol and date, in batches, and keeps only their moments; a
symbol's dates are merged in their order, whichever worker was first. So the answer is the same
bit by bit on any number of workers, and a worker that is lost costs the time to do its dates again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from research_lib.checks import number, refuse_unknown
from research_lib.errors import NoBooksError, ValidationError
from research_lib.impact.moments import ImpactMoments, moments_of_books
from research_lib.impact.walk import checked_sizes
from research_lib.market import Session, iter_books
from research_lib.market.book import side_sign
from research_lib.market.readers import store

if TYPE_CHECKING:
    from dask.delayed import Delayed
    from distributed import Client

logger = logging.getLogger(__name__)

# Tasks waiting for each of the cluster's threads: enough to keep all busy, few enough that results do not pile up.
DATES_A_THREAD = 4


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
    """
    side_sign(side)
    walk = partial(
        _moments_of_date,
        trade_sizes=checked_sizes(trade_sizes),
        side=side,
        session=session,
        sample=sample,
        batch_rows=number("batch_rows", batch_rows, 1, integer=True),
    )
    return _in_turn(_merging(_chosen(Path(folder), symbols), walk, then), client)


def _chosen(folder: Path, symbols: Iterable[str] | None) -> dict[str, list[Path]]:
    """Date folders of each symbol asked for, sorted."""
    found = store.books_by_symbol(folder)
    if symbols is None:
        return found
    asked = sorted(set(symbols))
    refuse_unknown(asked, found, f"{folder}: symbol")
    return {symbol: found[symbol] for symbol in asked}


def _merging(
    dates: dict[str, list[Path]],
    walk: Callable[[Path], Any],
    then: Callable[[ImpactMoments], Any] | None,
) -> Iterator[tuple[str, int, Delayed]]:
    """Each symbol, how many tasks it takes, and the last of them; made when asked for, not all at once."""
    from dask import delayed

    for symbol, folders in dates.items():
        whole = delayed(_merged, pure=False)(
            symbol, [delayed(walk, pure=False)(folder) for folder in folders]
        )
        yield symbol, len(folders), whole if then is None else delayed(then, pure=False)(whole)


def _moments_of_date(
    folder: Path, *, session: Session, batch_rows: int, **of_books: Any
) -> ImpactMoments | None:
    """Moments of one date folder, None if no book of it counts."""
    try:
        found = moments_of_books(
            iter_books(folder, batch_rows, session=session), session=session, **of_books
        )
    except NoBooksError as error:
        logger.warning("%s adds nothing: %s", folder, error)
        return None
    days = sorted(set(found.books["date"]))
    if days != [folder.name.removeprefix(store.DATE_PREFIX)]:
        raise ValidationError(
            f"{folder} holds books of {', '.join(days)} under session {session.hours}, and another folder may hold "
            "more of them; give the session that the store was converted by"
        )
    return found


def _merged(symbol: str, parts: list[ImpactMoments | None]) -> ImpactMoments:
    held = [part for part in parts if part is not None]
    if not held:
        raise NoBooksError(
            f"{symbol} has no usable book inside the session on any of its {len(parts)} dates"
        )
    return ImpactMoments.merge(held)


def _in_turn(
    tasks: Iterator[tuple[str, int, Delayed]], client: Client | None
) -> Iterator[tuple[str, Any]]:
    """The answers in the order of the tasks; on a cluster a few symbols are worked on ahead of the one waited for."""
    if client is None:
        for symbol, _, task in tasks:
            yield symbol, task.compute(scheduler="synchronous")
        return
    ahead: deque[tuple[str, int, Any]] = deque()
    for symbol, count, task in tasks:
        ahead.append((symbol, count, client.compute(task)))
        threads = max(sum(client.nthreads().values()), 1)
        while sum(count for _, count, _ in ahead) > DATES_A_THREAD * threads:
            first, _, future = ahead.popleft()
            yield first, future.result()
    for symbol, _, future in ahead:
        yield symbol, future.result()

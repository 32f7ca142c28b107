"""Any format to partitioned Parquet, once: `convert`, and what it remembers of its sources."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.partitions import Partition, merge, origins
from research_lib.market.readers import format_of, named, store
from research_lib.market.sessions import Session
from research_lib.market.sources import SOURCES_FOLDER, UNFINISHED_PREFIX, Source, source_files
from research_lib.market.trades import Trades
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)

MERGED = "_merged"


@timed("convert")
def convert(
    source: str | Path,
    destination: str | Path,
    *,
    session: Session | None = None,
    batch_rows: int = 100_000,
    progress: bool = True,
    symbol: str = "",
) -> list[Path]:
    """Write books and trades of any format as ``destination/symbol=XXX/date=YYYY-MM-DD/``.

    A date appears when it is whole, so an interruption leaves no half of one, and the next
    call goes on from there. A source that was converted before, with the same size and
    modification time, is not read again; one that has changed is converted anew and
    replaces what came of it. Files that hold parts of one symbol and date, such as morning and
    afternoon, are put together in time order. Memory is bounded by the batch.

    Parameters
    ----------
    source : path
        A file that `read_books` knows, or a folder: every file in it and its subfolders
        that is of a known format; of a LOBSTER or Lean pair the file of books.
    destination : path
        Made if it does not exist; `read_books` reads it back.
    session : Session, optional
        Whose time zone the dates are of, and whose opening cross counts; 09:30-16:00
        America/New_York by default.
    batch_rows : int
        Snapshots read at a time.
    progress : bool
        Show a bar, counted in rows.
    symbol : str
        Of sources that name none, which cannot be stored without.

    Returns
    -------
    list of Path
        The date folders that hold the source's books, sorted, whether made now or before.

    Raises
    ------
    MissingDataError
        A source that does not exist.
    ValidationError
        A source of no known format, without a symbol or with damaged content; two sources of one symbol and
        date whose times overlap; a source that changed after its date was put together with
        another's; a source that was converted before with another session. Of a folder, the other
        files are converted first, and all failures named at the end.
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    root, chosen = Path(destination).resolve(), session or Session()
    if root.exists() and not root.is_dir():
        raise ValidationError(f"{root} is a file; give a folder to convert into")
    done: set[Path] = set()
    failed: dict[Path, ValidationError] = {}
    files = source_files(Path(source), root)
    (root / SOURCES_FOLDER).mkdir(parents=True, exist_ok=True)
    with tqdm(desc="convert", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for file in files:
            bar.set_description(file.name)
            one = Source.of(file, chosen)
            try:
                done |= set(
                    _finished(one, root, symbol) or _converted(one, root, chosen, rows, bar, symbol)
                )
            except ValidationError as error:
                if len(files) == 1:
                    raise
                logger.warning(
                    "not converted: %s, with %s; told at the end", file, type(error).__name__
                )
                failed[file] = error
    if failed:
        reasons = "; ".join(str(error) for error in failed.values())
        raise ValidationError(
            f"{len(failed)} of {len(files)} files could not be converted, the others are: {reasons}"
        ) from next(iter(failed.values()))
    return sorted(done)


def _finished(source: Source, root: Path, symbol: str) -> list[Path]:
    """The partitions of a source that was converted before, under the symbol that is asked for."""
    partitions = source.finished(root)
    under = {store.symbol_of(path.parent) for path in partitions}
    if symbol and under - {symbol}:
        raise ValidationError(
            f"{source.path} was converted into {root} as {', '.join(under)}, not {symbol}; use another destination"
        )
    return partitions


def _converted(
    source: Source, root: Path, session: Session, batch_rows: int, bar: Any, symbol: str
) -> list[Path]:
    """Convert one file; what an earlier call finished of it is passed over."""
    unfinished = root / f"{UNFINISHED_PREFIX}{source.key}"
    shutil.rmtree(unfinished, ignore_errors=True)
    writer = _Writer(source, root, unfinished)
    path = Path(source.path)
    try:
        for batch in format_of(path).batches(path, batch_rows, session):
            books = named(batch, symbol, path)
            if not books.symbol:
                raise ValidationError(
                    f"{path} names no symbol, by which books are stored; give symbol= (--symbol)"
                )
            for date, books_of_date, trades in _by_date(books, session):
                writer.add(date, books_of_date, trades)
            bar.update(len(books))
        partitions = writer.finish()
    finally:
        writer.abandon()
    source.write_record(root, partitions)
    logger.info("converted %s into %d dates", source.path, len(partitions))
    return partitions


def _by_date(
    books: BookSnapshots, session: Session
) -> Iterator[tuple[dt.date, BookSnapshots, Trades | None]]:
    """Books and trades of each date that has either, in order."""
    of_books = dict(_date_rows(books.time, session))
    of_trades = dict(_date_rows(books.trades.time, session)) if books.trades is not None else {}
    none = np.arange(0)
    for date in sorted(of_books | of_trades):
        trades = books.trades.take(of_trades.get(date, none)) if books.trades is not None else None
        if len(of_books) == 1 and date in of_books:
            yield date, books, trades
        else:
            yield date, books.take(of_books.get(date, none)), trades


def _date_rows(
    time: NDArray[np.int64], session: Session
) -> Iterator[tuple[dt.date, NDArray[np.intp]]]:
    """The dates of the session's time zone in sorted times, and the rows of each."""
    if not len(time):
        return
    first, last = session.days(time[[0, -1]])
    following = pd.date_range(first + dt.timedelta(days=1), last + dt.timedelta(days=1))
    edges = np.searchsorted(time, session.day_starts(following))
    for k, (start, stop) in enumerate(zip([0, *edges], edges, strict=False)):
        if start < stop:
            yield first + dt.timedelta(days=k), np.arange(start, stop)


class _Writer:
    """Partitions of one source: those being written are in `folder`, the whole ones under `root`."""

    def __init__(self, source: Source, root: Path, folder: Path) -> None:
        self.source, self.root, self.folder = source, root, folder
        self.open: dict[Path, Partition | None] = {}
        self.finished: list[Path] = []

    def add(self, date: dt.date, books: BookSnapshots, trades: Trades | None) -> None:
        """Rows of one date; those before it are finished once a second later one has begun."""
        name = store.partition(books.symbol, date)
        if name not in self.open:
            if self.root / name in self.finished:
                raise ValidationError(
                    f"{self.source.path} goes back to {date} after a later date; sort it, or give a larger batch_rows"
                )
            # One date more stays open: trades may lag behind the books by some rows, over midnight too.
            for old in list(self.open)[:-1]:
                self._close(old)
            done = self._is_done(name)
            self.open[name] = None if done else Partition(self.folder / name, [vars(self.source)])
        partition = self.open[name]
        if partition is not None:
            partition.add(books, trades)

    def finish(self) -> list[Path]:
        """Finish what is open, take away what an earlier version of the source held beyond it; all partitions."""
        for name in list(self.open):
            self._close(name)
        for name in map(Path, self.source.record(self.root).get("partitions", [])):
            if self.root / name not in self.finished and self._made_of_it(name):
                self._take_away(self.root / name)
        return sorted(self.finished)

    def abandon(self) -> None:
        """Leave nothing unfinished behind."""
        for partition in self.open.values():
            if partition is not None:
                partition.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_done(self, name: Path) -> bool:
        """Whether the source is in the partition already, as it is now."""
        before = origins(self.root / name)
        for one in before:
            self.source.refuse_other_session(one, self.root)
        return vars(self.source) in before

    def _made_of_it(self, name: Path) -> bool:
        """Whether the partition holds an earlier version of the source; ValidationError if another's rows as well."""
        paths = [one["path"] for one in origins(self.root / name)]
        if self.source.path in paths and len(paths) > 1:
            raise ValidationError(
                f"{self.source.path} has changed since {self.root / name} was put together from {' and '.join(paths)}; "
                "delete that folder and convert them again"
            )
        return self.source.path in paths

    def _close(self, name: Path) -> None:
        partition, target = self.open.pop(name), self.root / name
        self.finished.append(target)
        if partition is None:
            return
        partition.finish()
        target.parent.mkdir(exist_ok=True)
        whole = partition.folder
        if origins(target) and not self._made_of_it(name):
            whole = self.folder / MERGED / name
            merge(target, partition.folder, whole)
        if target.exists():
            self._take_away(target)
        whole.rename(target)

    def _take_away(self, partition: Path) -> None:
        self.folder.mkdir(exist_ok=True)
        partition.rename(Path(tempfile.mkdtemp(dir=self.folder), "replaced"))

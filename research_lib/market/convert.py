"""Any format to partitioned Parquet, once: `convert`, and what it remembers of its sources."""

from __future__ import annotations

import datetime as dt
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from research_lib.config import number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import format_of, store
from research_lib.market.readers.source import damage
from research_lib.market.sessions import Session
from research_lib.market.sources import SOURCES_FOLDER, UNFINISHED_PREFIX, Source, source_files
from research_lib.market.trades import Trades

logger = logging.getLogger(__name__)

SOURCE_KEY = b"research_lib.source"


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    session: Session | None = None,
    batch_rows: int = 100_000,
    progress: bool = True,
) -> list[Path]:
    """Write books and trades of any format as ``destination/symbol=XXX/date=YYYY-MM-DD/``.

    A date appears when it is whole, so an interruption leaves no half of one, and the next
    call goes on from there. A source that was converted before, with the same size and
    modification time, is not read again; one that has changed is converted anew and
    replaces what came of it. Memory is bounded by the batch.

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

    Returns
    -------
    list of Path
        The date folders that hold the source's books, sorted, whether made now or before.

    Raises
    ------
    MissingDataError
        A source that does not exist.
    ValidationError
        A source of no known format or with damaged content; two sources of one symbol and
        date; a source that was converted before with another session.
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    root, chosen = Path(destination).resolve(), session or Session()
    if root.exists() and not root.is_dir():
        raise ValidationError(f"{root} is a file; give a folder to convert into")
    done: set[Path] = set()
    files = source_files(Path(source), root)
    (root / SOURCES_FOLDER).mkdir(parents=True, exist_ok=True)
    with tqdm(desc="convert", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for file in files:
            bar.set_description(file.name)
            one = Source.of(file, chosen)
            done |= set(one.finished(root) or _converted(one, root, chosen, rows, bar))
    return sorted(done)


def _converted(source: Source, root: Path, session: Session, batch_rows: int, bar: Any) -> list[Path]:
    """Convert one file; what an earlier call finished of it is passed over."""
    unfinished = root / f"{UNFINISHED_PREFIX}{source.key}"
    shutil.rmtree(unfinished, ignore_errors=True)
    writer = _Writer(source, root, unfinished)
    path = Path(source.path)
    try:
        for books in format_of(path).batches(path, batch_rows, session):
            for date, books_of_date, trades in _by_date(books, session):
                writer.add(date, books_of_date, trades)
            bar.update(len(books))
        partitions = writer.finish()
    finally:
        writer.abandon()
    source.write_record(root, partitions)
    logger.info("converted %s into %d dates", source.path, len(partitions))
    return partitions


def _by_date(books: BookSnapshots, session: Session) -> Iterator[tuple[dt.date, BookSnapshots, Trades | None]]:
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


def _date_rows(time: NDArray[np.int64], session: Session) -> Iterator[tuple[dt.date, NDArray[np.intp]]]:
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
        self.open: dict[Path, _Partition | None] = {}
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
            self.open[name] = None if self._is_done(name) else _Partition(self.folder / name, self.source)
        partition = self.open[name]
        if partition is not None:
            partition.add(books, trades)

    def finish(self) -> list[Path]:
        """Finish what is open, take away what an earlier version of the source held beyond it; all partitions."""
        for name in list(self.open):
            self._close(name)
        for name in map(Path, self.source.record(self.root).get("partitions", [])):
            if self.root / name not in self.finished and _origin(self.root / name).get("path") == self.source.path:
                self._take_away(self.root / name)
        return sorted(self.finished)

    def abandon(self) -> None:
        """Leave nothing unfinished behind."""
        for partition in self.open.values():
            if partition is not None:
                partition.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_done(self, name: Path) -> bool:
        """Whether the partition is whole already; ValidationError if it is of another source."""
        before = _origin(self.root / name)
        if before and before["path"] != self.source.path:
            raise ValidationError(
                f"{self.source.path} and {before['path']} both hold {name.as_posix()}; "
                f"convert one of them, or each into its own folder ({self.root / name} is of the second)"
            )
        self.source.refuse_other_session(before, self.root)
        return before == vars(self.source)

    def _close(self, name: Path) -> None:
        partition, target = self.open.pop(name), self.root / name
        self.finished.append(target)
        if partition is None:
            return
        partition.finish()
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            self._take_away(target)
        partition.folder.rename(target)

    def _take_away(self, partition: Path) -> None:
        self.folder.mkdir(exist_ok=True)
        partition.rename(Path(tempfile.mkdtemp(dir=self.folder), "replaced"))


def _origin(partition: Path) -> dict[str, Any]:
    """The source that a partition was made of, {} if there is no partition."""
    for name in (store.BOOKS_FILE, store.TRADES_FILE):
        path = partition / name
        if path.is_file():
            with damage(path):
                said = (pq.read_metadata(path).metadata or {}).get(SOURCE_KEY)
            if said is None:
                raise ValidationError(f"{path} was not made by convert; move it away or choose another destination")
            return dict(json.loads(said))
    return {}


class _Partition:
    """One symbol and date being written in `folder`."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.metadata = {SOURCE_KEY: json.dumps(vars(source)).encode()}
        self.files: dict[str, TableFile] = {}
        folder.mkdir(parents=True)

    def add(self, books: BookSnapshots, trades: Trades | None) -> None:
        if len(books):
            self._file(store.BOOKS_FILE).add(store.book_table(books))
        if trades is not None:
            self._file(store.TRADES_FILE).add(store.trade_table(trades))

    def finish(self) -> None:
        for file in self.files.values():
            file.finish()

    def abandon(self) -> None:
        for file in self.files.values():
            file.close()

    def _file(self, name: str) -> TableFile:
        return self.files.setdefault(name, TableFile(self.folder / name, self.metadata))


class TableFile:
    """A file of the store being written, in row groups of about 100,000 rows; it holds no more than one in memory.

    Parameters
    ----------
    path : Path
    metadata : mapping of bytes to bytes
        Kept in the file's footer.
    """

    def __init__(self, path: Path, metadata: Mapping[bytes, bytes]) -> None:
        self.path, self.metadata = path, dict(metadata)
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Rows to follow those before; where levels are added, the earlier rows have them empty."""
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= store.ROW_GROUP_ROWS:
            self._write()

    def finish(self) -> None:
        """Write what is waiting and close: the file is whole."""
        if self._waiting:
            self._write()
        self.close()

    def close(self) -> None:
        """Close without writing what is waiting."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self) -> None:
        schemas = [part.schema for part in self._waiting] + ([self._schema] if self._schema is not None else [])
        widest = max(schemas, key=len)
        writer = self._writer
        if writer is None or self._schema is None or len(widest) > len(self._schema):
            writer = self._reopened(widest)
        parts, self._waiting = [_widened(part, widest) for part in self._waiting], []
        writer.write_table(pa.concat_tables(parts), row_group_size=store.ROW_GROUP_ROWS)

    def _reopened(self, schema: pa.Schema) -> pq.ParquetWriter:
        """The file with more columns: what is written already is copied, a row group at a time."""
        narrow = self.path.with_suffix(".narrow")
        copied = self._writer is not None
        self.close()
        if copied:
            self.path.rename(narrow)
        kept = schema.with_metadata(self.metadata)
        writer = pq.ParquetWriter(self.path, kept, compression="zstd", write_page_checksum=True)
        self._schema, self._writer = schema, writer
        if copied:
            with pq.ParquetFile(narrow) as file:
                for batch in file.iter_batches(batch_size=store.ROW_GROUP_ROWS):
                    writer.write_table(_widened(pa.Table.from_batches([batch]), schema))
            narrow.unlink()
        return writer


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with all columns of `schema`, which begins with its own; the added levels are empty."""
    for field in list(schema)[table.num_columns :]:
        empty = np.full(table.num_rows, np.nan if "_px_" in field.name else 0.0)
        table = table.append_column(field, pa.chunked_array([empty]))
    return table.replace_schema_metadata(None)

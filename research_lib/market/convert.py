"""Any format to Parquet, once: files of books and of trades for each source, symbol and date."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import (
    batches_of,
    format_of,
    is_read_along,
    known_format,
    leading,
    store,
)
from research_lib.market.readers.pairs import partner_of
from research_lib.market.readers.tabular import Options
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades
from research_lib.monitoring import timed

logger = logging.getLogger(__name__)

UNFINISHED_PREFIX = "_unfinished-"


@timed("convert")
def convert(
    source: str | Path,
    destination: str | Path,
    *,
    session: Session | None = None,
    batch_rows: int = 100_000,
    progress: bool = True,
    symbol: str = "",
    columns: Mapping[str, str] | None = None,
    timezone: str | None = None,
    time_unit: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write books and trades of any format as ``destination/symbol=XXX/date=YYYY-MM-DD/``.

    Each source has files of its own there. A date's appear when they are whole, so an
    interruption leaves no half of one, and the next call goes on from there. A source that was
    converted before, with the same size and modification time, is not read again; one that has
    changed is converted anew and replaces what came of it. Files that hold parts of one symbol
    and date, such as morning and afternoon, are read one after the other. Memory is bounded by
    the batch.

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
    columns, timezone, time_unit, where : optional
        As in `read_books`.

    Returns
    -------
    list of Path
        The date folders that hold the source's books, sorted, whether made now or before.

    Raises
    ------
    MissingDataError
        A source that does not exist.
    ValidationError
        A source of no known format, without a symbol or with damaged content; two sources of
        one symbol and date whose times overlap; a source that was converted before with another
        session. Of a folder, the other files are converted first, and all failures named at the
        end.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> header = "time,symbol,bid_price_1,bid_size_1,ask_price_1,ask_size_1"
    >>> row = "2025-04-03T14:00:00Z,XYZ,10.00,300,10.02,200"
    >>> _ = (folder / "own.csv").write_text(f"{header}\\n{row}\\n")
    >>> dates = convert(folder / "own.csv", folder / "store", progress=False)
    >>> [date.name for date in dates]
    ['date=2025-04-03']
    """
    rows = number("batch_rows", batch_rows, 1, integer=True)
    root = Path(destination).resolve()
    options = Options(
        session or Session(), False, columns or {}, timezone, time_unit, where or {}
    )  # fmt: skip
    if root.exists() and not root.is_dir():
        raise ValidationError(f"{root} is a file; give a folder to convert into")
    done: set[Path] = set()
    failed: dict[Path, ValidationError] = {}
    files = source_files(Path(source), root, any_format=bool(options.columns))
    root.mkdir(parents=True, exist_ok=True)
    with tqdm(desc="convert", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for file in files:
            bar.set_description(file.name)
            try:
                done |= set(_converted(file, root, options, rows, bar, symbol))
            except ValidationError as error:
                if len(files) == 1:
                    raise
                kind = type(error).__name__
                logger.warning("not converted: %s, with %s; named at the end", file, kind)
                failed[file] = error
    if failed:
        reasons = "; ".join(str(error) for error in failed.values())
        raise ValidationError(
            f"{len(failed)} of {len(files)} files could not be converted, the others are: {reasons}"
        ) from next(iter(failed.values()))
    return sorted(done)


def source_files(source: Path, root: Path | None = None, *, any_format: bool = False) -> list[Path]:
    """The files of books to convert or read, sorted; those below `root` are left out.

    With `any_format` files whose format is not recognised are among them: their columns are named.
    """
    if store.matches(source, b""):
        raise ValidationError(
            f"{source} is a folder made by convert already; read it by read_books"
        )
    if not source.is_dir():
        if not any_format:
            format_of(source)
        return [leading(source)]
    inside = [
        path for path in source.rglob("*") if path.is_file() and root not in path.resolve().parents
    ]
    found = sorted({leading(path) for path in inside if _has_books(path, any_format)})
    if not found:
        raise ValidationError(
            f"{source} holds no file of a known format; give one file, and the error says why"
        )
    return found


def _has_books(path: Path, any_format: bool) -> bool:
    """Whether a file of a folder is to be read; also a damaged one, since reading it says so."""
    try:
        known = path.stat().st_size > 0 and (any_format or known_format(path)[0] is not None)
    except ValidationError:
        known = True
    if not known:
        logger.warning("not converted, since of no known format: %s", path)
        return False
    if is_read_along(path) and partner_of(path) is None:
        logger.warning("not converted, since the books that belong to it are missing: %s", path)
        return False
    return True


@dataclass(frozen=True)
class Source:
    """A file, with the one read along with it, as it was when converted, and how it was read."""

    path: str
    size: int
    modified_ns: int
    session: str
    reading: str
    where: str

    @classmethod
    def of(cls, path: Path, options: Options) -> Source:
        """The record of a file, with its partner's size and time."""
        read = [file.stat() for file in (path, partner_of(path)) if file is not None]
        size = sum(status.st_size for status in read)
        modified = max(status.st_mtime_ns for status in read)
        reading = json.dumps([dict(options.columns), options.timezone, options.time_unit])
        where = json.dumps(dict(options.where), sort_keys=True, default=str)
        return cls(str(path.resolve()), size, modified, options.session.hours, reading, where)

    @property
    def key(self) -> str:
        """A name for the source's files, the same whatever its content."""
        # Names that the locale cannot decode are bytes behind a mask.
        named = f"{self.path}{self.where.strip('{}')}".encode(errors="surrogateescape")
        digest = hashlib.sha256(named).hexdigest()
        return f"{Path(self.path).name}-{digest[:12]}"


def _converted(
    file: Path, root: Path, options: Options, batch_rows: int, bar: Any, symbol: str
) -> list[Path]:
    """Convert one file; what an earlier call finished of it is passed over."""
    writer = _Writer(Source.of(file, options), root)
    finished = writer.finished_before()
    if finished:
        under = {store.symbol_of(path.parent) for path in finished}
        if symbol and under - {symbol}:
            raise ValidationError(
                f"{file} was converted into {root} as {', '.join(under)}, not {symbol}; "
                "use another destination"
            )
        return finished
    try:
        for books in batches_of(file, batch_rows, options, symbol):
            if not books.symbol:
                raise ValidationError(
                    f"{file} names no symbol, by which books are stored; give symbol= (--read)"
                )
            for date, of_date, trades in _by_date(books, options.session):
                writer.add(store.partition(books.symbol, date), of_date, trades)
            bar.update(len(books))
        dates = writer.finish()
    finally:
        writer.abandon()
    logger.info("converted %s into %d dates", file, len(dates))
    return dates


def _by_date(
    books: BookSnapshots, session: Session
) -> Iterator[tuple[dt.date, BookSnapshots | None, Trades | None]]:
    """Books and trades of each date that has either, in order."""
    of_books, of_trades = _dates_of(books, session), _dates_of(books.trades, session)
    none = None if books.trades is None else books.trades.take(np.arange(0))
    for date in sorted(of_books | of_trades):
        yield date, of_books.get(date), of_trades.get(date, none)


def _dates_of(rows: Any, session: Session) -> dict[dt.date, Any]:
    """Rows of each date of the session's time zone."""
    if rows is None or not len(rows):
        return {}
    first, last = session.days(rows.time[[0, -1]])
    days = pd.date_range(first, last + dt.timedelta(days=1))
    edges = np.searchsorted(rows.time, session.day_starts(days)[1:])
    return {
        day.date(): rows.take(index)
        for day, index in zip(days, np.split(np.arange(len(rows)), edges[:-1]), strict=False)
        if index.size
    }


class _Writer:
    """Dates of one source: those being written are in a folder beside the whole ones."""

    def __init__(self, source: Source, root: Path) -> None:
        self.source, self.root = source, root
        self.folder = root / f"{UNFINISHED_PREFIX}{source.key}"
        shutil.rmtree(self.folder, ignore_errors=True)
        pattern = f"{store.SYMBOL_PREFIX}*/{store.DATE_PREFIX}*/{escape(source.key)}.*.parquet"
        self.before = {path: store.footer_of(path) for path in root.glob(pattern)}
        self.open: dict[Path, dict[str, store.TableFile]] = {}
        self.finished: list[Path] = []
        for footer in self.before.values():
            session = footer["source"]["session"]
            if session != source.session:
                raise ValidationError(
                    f"{source.path} was converted into {root} with session {session}, not "
                    f"{source.session}; use that session or another destination"
                )

    def finished_before(self) -> list[Path]:
        """The dates of this source if all of it is converted and still there, else none."""
        names = [name for footer in self.before.values() for name in footer.get("dates", [])]
        dates = sorted({self.root / name for name in names})
        return dates if all(map(self._is_done, dates)) else []

    def _is_done(self, date: Path) -> bool:
        """Whether the source, as it is now, is in a date already."""
        footers = {path.name.rsplit(".", 2)[1]: self.before[path] for path in self._files(date)}
        return bool(footers) and all(
            footer["source"] == vars(self.source) and set(footer["files"]) == set(footers)
            for footer in footers.values()
        )

    def _files(self, date: Path) -> list[Path]:
        return [path for path in self.before if path.parent == date]

    def add(self, name: Path, books: BookSnapshots | None, trades: Trades | None) -> None:
        """Rows of one date; those before it are finished once a second later one has begun."""
        if name not in self.open:
            if self.root / name in self.finished:
                raise ValidationError(
                    f"{self.source.path} goes back to {name.name} after a later date; sort it, "
                    "or give a larger batch_rows"
                )
            # One date more stays open: trades may lag behind the books, over midnight too.
            for old in list(self.open)[:-1]:
                self._close(old)
            self.open[name] = {}
        if self._is_done(self.root / name):
            return
        for kind, rows in ((store.BOOKS, books), (store.TRADES, trades)):
            if rows is None:
                continue
            if kind not in self.open[name]:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
                path = self.folder / name / f"{self.source.key}.{kind}.parquet"
                self.open[name][kind] = store.TableFile(path)
            self.open[name][kind].add(rows)

    def finish(self) -> list[Path]:
        """Finish what is open; take away what an earlier version of the source held beyond it."""
        for name in list(self.open):
            self._close(name, last=len(self.open) == 1)
        for path in self.before:
            if path.parent not in self.finished:
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
        return sorted(self.finished)

    def abandon(self) -> None:
        """Leave nothing unfinished behind."""
        for files in self.open.values():
            for file in files.values():
                file.close(None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _close(self, name: Path, *, last: bool = False) -> None:
        """Put a date's files in place; the footer of the last one names all dates."""
        files, date = self.open.pop(name), self.root / name
        self.finished.append(date)
        footer: dict[str, Any] = {"source": vars(self.source), "files": list(files)}
        if last:
            footer["dates"] = [one.relative_to(self.root).as_posix() for one in self.finished]
        for file in files.values():
            file.close(footer)
        self._refuse_overlap(date, files)
        date.mkdir(parents=True, exist_ok=True)
        for kind in (store.TRADES, store.BOOKS):
            if kind in files:
                os.replace(files[kind].path, date / files[kind].path.name)

    def _refuse_overlap(self, date: Path, files: Mapping[str, store.TableFile]) -> None:
        """Two sources of one date: which of two rows came first could not be said."""
        ends = [end for file in files.values() for end in (file.first, file.last) if end]
        if not ends:
            return
        footer = {"source": vars(self.source), "first": min(ends), "last": max(ends)}
        new = store.Part({}, footer)
        for other in store.parts_of(date):
            theirs = other.footer
            if theirs["source"]["path"] == self.source.path and self._files(date):
                continue
            if theirs["last"] >= footer["first"] and footer["last"] >= theirs["first"]:
                pair = sorted([other, new], key=lambda part: part.footer["first"])
                paths = " and ".join(part.footer["source"]["path"] for part in pair)
                raise ValidationError(
                    f"{paths} both hold {date.parent.name}/{date.name}, and their times overlap: "
                    f"{pair[0]} and {pair[1]}; convert one of them, or each into its own folder"
                )

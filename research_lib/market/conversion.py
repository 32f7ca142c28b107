"""Any format to Parquet, once: a file of books and trades for each source, symbol and date."""

import hashlib
import json
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.market.readers import batches_of, source_files, store
from research_lib.market.readers.pairs import partner_of
from research_lib.market.readers.tabular import Options
from research_lib.market.sessions import Session, day_slices
from research_lib.monitoring import timed


@timed("convert")
def convert(
    source: str | Path, destination: str | Path, *, session: Session | None = None,
    batch_rows: int = 100_000, progress: bool = True, **reading: Any,
) -> list[Path]:  # fmt: skip
    """Write books and trades of any format as ``destination/symbol=XXX/date=YYYY-MM-DD/``.

    Each source has a file of its own there, which appears when it is whole: an interruption
    leaves no half of one, and the next call goes on from there. A source that was converted before,
    with the same size, modification time and arguments, is not read again; one that has changed is
    converted again and its old files are replaced. Files that hold parts of one symbol and date,
    such as morning and afternoon, are read back one after the other. Memory is bounded by the
    batch.

    Parameters
    ----------
    source : path
        A file that `read_books` knows, or a folder: every file in it and its subfolders
        that is of a known format; of a LOBSTER or Lean pair the file of books.
    destination : path
        Made if it does not exist; `read_books` reads it back.
    session : Session, optional
        Its time zone defines the dates, its open the opening cross; 09:30-16:00 America/New_York by
        default.
    batch_rows : int
        Snapshots read at a time.
    progress : bool
        Show a bar, counted in rows.
    symbol, columns, timezone, time_unit, where : optional
        As in `read_books`; a source that names no symbol cannot be stored without.

    Returns
    -------
    list of Path
        The date folders that hold the source's books, sorted, whether made now or before.

    Raises
    ------
    MissingDataError
        A source that does not exist.
    ValidationError
        A source of unknown format, without a symbol or with damaged content; of a folder, the files
        before it are already converted. Two sources of one symbol and date whose times overlap, or
        of two venues, are refused when the store is read.

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
    options = Options.of(session=session, **reading)
    root = Path(destination).resolve()
    if root.exists() and not root.is_dir():
        raise ValidationError(f"{root} is a file; give a folder to convert into")
    files = source_files(Path(source), options, root)
    root.mkdir(parents=True, exist_ok=True)
    done: set[Path] = set()
    with tqdm(desc="convert", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for file in files:
            bar.set_description(file.name)
            done |= set(_converted(file, root, options, rows, bar))
    return sorted(done)


def _converted(file: Path, root: Path, options: Options, batch_rows: int, bar: Any) -> list[Path]:
    """Convert one file; dates that an earlier call finished are skipped."""
    source, key = _source(file, options)
    place = f"{store.SYMBOL_PREFIX}*/{store.DATE_PREFIX}*/{escape(key)}.parquet"
    before = {path: store.footer_of(path) for path in root.glob(place)}
    kept = [path for path, footer in before.items() if footer["source"] == source]
    dates = [root / name for path in kept for name in before[path]["dates"]]
    if dates and set(dates) <= {path.parent for path in kept}:
        return sorted(dates)
    made: list[Path] = []
    unfinished = root / f"_unfinished-{key}.parquet"
    parts = _by_date(file, options, batch_rows, bar)
    part = next(parts, None)
    try:
        while part is not None:
            date, begins = part[0], part[1]["time"][0].value
            made.append(root / date / f"{key}.parquet")
            with unfinished.open("wb") as stream, store.writer(stream, part[1]) as writer:
                while part is not None and part[0] == date:
                    writer.write_table(part[1], row_group_size=store.ROW_GROUP_ROWS)
                    part = next(parts, None)
                # The last file's footer names all dates: an interruption leaves none that does.
                dates = [] if part else [path.parent.relative_to(root).as_posix() for path in made]
                footer = {"source": source, "dates": dates, "whose": options.seen, "first": begins}
                store.add_footer(writer, footer)
            if made[-1] not in kept:
                made[-1].parent.mkdir(parents=True, exist_ok=True)
                unfinished.replace(made[-1])
    finally:
        unfinished.unlink(missing_ok=True)
    for path in set(before) - set(made):  # of an earlier version of the source
        path.unlink()
    return [path.parent for path in made]


def _source(file: Path, options: Options) -> tuple[dict[str, Any], str]:
    """State of a file and of its partner, and the reading arguments; and its key."""
    states = [one.stat() for one in (file, partner_of(file)) if one is not None]
    where = json.dumps(dict(options.where), sort_keys=True, default=str)
    source = {
        "path": str(file.resolve()), "files": [[one.st_size, one.st_mtime_ns] for one in states],
        "session": options.session.hours, "columns": dict(options.columns),
        "reading": [options.timezone, options.time_unit, options.symbol, where],
    }  # fmt: skip
    # Names that the locale cannot decode hold escaped bytes.
    named = f"{source['path']}{where}".encode(errors="surrogateescape")
    return source, f"{file.name}-{hashlib.sha256(named).hexdigest()[:12]}"


def _by_date(file: Path, options: Options, rows: int, bar: Any) -> Iterator[tuple[Path, pa.Table]]:
    """The books of a file, cut where dates begin, and the folder of each date in the store."""
    options.seen.clear()  # files of other symbols may follow one another
    for books in batches_of(file, rows, options):
        if not books.symbol:
            raise ValidationError(f"{file} names no symbol to store it by; give symbol= (--read)")
        table = store.table_of(books)
        for day, first, end in day_slices(options.session, books.time):
            date = str(day)[:10]  # of blocks too
            yield store.partition(books.symbol, date), table.slice(first, end - first)
        bar.update(len(books))

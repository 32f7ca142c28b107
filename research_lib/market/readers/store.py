"""Books and trades kept as Parquet, a folder for each symbol and date: its layout and its reader.

``symbol=XXX/date=YYYY-MM-DD/`` holds, of every source, ``<source>.books.parquet`` with time (ns,
UTC), complete, and bid_px_NN, bid_sz_NN, ask_px_NN, ask_sz_NN of levels 00 to L-1 (an empty level
is NaN and 0), and ``<source>.trades.parquet`` with time, price, size, aggressor (1, -1, 0). The
footer of a file says what it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.readers.layouts import KINDS, MBP
from research_lib.market.readers.pairs import TradeFeed, parsed_date
from research_lib.market.readers.tabular import UTC_NS, Options, Rows, damage, read
from research_lib.market.trades import Trades

NAME = "folder made by convert"
TAKES = ()
SYMBOL_PREFIX, DATE_PREFIX = "symbol=", "date="
BOOKS, TRADES = "books", "trades"
FOOTER_KEY = b"research_lib.source"
ROW_GROUP_ROWS = 100_000


def matches(path: Path, head: bytes) -> bool:
    """Whether a folder is a store, one symbol of it, or one date of a symbol."""
    if not path.is_dir():
        return False
    folder = path.resolve()
    is_date = folder.name.startswith(DATE_PREFIX) and folder.parent.name.startswith(SYMBOL_PREFIX)
    return is_date or folder.name.startswith(SYMBOL_PREFIX) or bool(_folders(path, SYMBOL_PREFIX))


def batches(path: Path, batch_rows: int, options: Options) -> Iterator[BookSnapshots]:
    """Books and trades of one symbol, date after date, `batch_rows` snapshots at a time.

    What must not be sampled was decided when the folder was made: the session is not used. The
    last batch of a source of a date may be smaller.

    Yields
    ------
    BookSnapshots
        With the trades up to the batch's last time, the last batch with the rest; None where
        no date has trades.

    Raises
    ------
    ValidationError
        Several symbols, no date, a file that is damaged or lacks a column, a cell that cannot
        be, times that run backwards: names file and, for cells, row and column.
    """
    symbol, dates = _dates(path)
    parts = [part for date in dates for part in parts_of(date)]
    trade_files = [part.files[TRADES] for part in parts if TRADES in part.files]
    feed = TradeFeed(_trades(trade_files, symbol) if trade_files else None, symbol)
    ready: tuple[Rows, NDArray[np.int64]] | None = None
    for rows in _read([part.files[BOOKS] for part in parts if BOOKS in part.files], batch_rows):
        if ready is not None:
            yield _books(*ready, symbol, feed.until(int(ready[1][-1])))
        ready = rows
    if ready is None:
        raise ValidationError(
            f"{path} holds no books; convert its source again into an empty folder"
        )
    yield _books(*ready, symbol, feed.until(None))


def partition(symbol: str, date: Any) -> Path:
    """Where a symbol and date lie within a store; unusual letters of the symbol are %-escaped."""
    return Path(SYMBOL_PREFIX + quote(symbol, safe=" "), f"{DATE_PREFIX}{date}")


def schema_of(kind: str, n_levels: int = 1) -> pa.Schema:
    """Columns of a file of books or of trades. None has nulls: a fifth less time to read."""
    columns: dict[str, Any] = {"time": UTC_NS}
    if kind == TRADES:
        columns |= {"price": pa.float64(), "size": pa.float64(), "aggressor": pa.int8()}
    else:
        sides = [np.transpose(MBP.side(side, max(n_levels, 1))) for side in SIDES]
        columns |= {"complete": pa.bool_(), **dict.fromkeys(np.hstack(sides).ravel(), pa.float64())}
    return pa.schema([pa.field(str(name), of, nullable=False) for name, of in columns.items()])


def table_of(rows: BookSnapshots | Trades) -> pa.Table:
    """Books or trades as a table of `schema_of`."""
    if isinstance(rows, Trades):
        schema = schema_of(TRADES)
        arrays = [getattr(rows, name) for name in schema.names]
    else:
        schema = schema_of(BOOKS, rows.n_levels)
        levels = [rows.bid_price, rows.bid_size, rows.ask_price, rows.ask_size]
        by_level = [table[:, level] for level in range(rows.n_levels) for table in levels]
        arrays = [rows.time, rows.complete, *by_level]
    columns = [pa.array(array, of.type) for array, of in zip(arrays, schema, strict=True)]
    return pa.table(columns, schema=schema)


class TableFile:
    """A file being written, in row groups of about 100,000 rows: no more than one in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first, self.last = 0, 0
        self._stream = path.open("wb")
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def add(self, rows: BookSnapshots | Trades) -> None:
        """Rows to follow those before, of as many levels."""
        if not len(rows):
            return
        self.first, self.last = self.first or int(rows.time[0]), int(rows.time[-1])
        self._waiting.append(table_of(rows))
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP_ROWS:
            self._write()

    def close(self, footer: Mapping[str, Any] | None) -> None:
        """Write what is waiting and what the file was made of; None: close it as it is."""
        if footer is not None:
            self._write()
            text = json.dumps({**footer, "first": self.first, "last": self.last})
            self._writer.add_key_value_metadata({FOOTER_KEY: text.encode()})
        if self._writer is not None:
            self._writer.close()
        self._stream.close()

    def _write(self) -> None:
        import pyarrow.parquet as pq

        table = (
            pa.concat_tables(self._waiting) if self._waiting else schema_of(TRADES).empty_table()
        )
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._stream, table.schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._waiting = []


@dataclass(frozen=True)
class Part:
    """What one source gave to a date: its files by kind, and what their footers say."""

    files: dict[str, Path]
    footer: dict[str, Any]

    def __str__(self) -> str:
        first, last = (pd.Timestamp(self.footer[name]) for name in ("first", "last"))
        return f"{first}Z to {last}Z"


def footer_of(path: Path) -> dict[str, Any]:
    """What a file was made of; empty where it does not say."""
    import pyarrow.parquet as pq

    with damage(path), path.open("rb") as stream:
        said = (pq.read_metadata(stream).metadata or {}).get(FOOTER_KEY)
    return dict(json.loads(said)) if said else {}


def parts_of(date: Path) -> list[Part]:
    """What the sources of a date gave to it, in time order.

    A source's files are put in place one after the other; a part of which only some are there is
    no part.
    """
    parts = []
    for key in sorted({path.name.rsplit(".", 2)[0] for path in date.glob("*.*.parquet")}):
        files = {kind: date / f"{key}.{kind}.parquet" for kind in (BOOKS, TRADES)}
        files = {kind: path for kind, path in files.items() if path.is_file()}
        footers = [footer_of(path) for path in files.values()]
        whole = all(set(one.get("files", files)) == set(files) for one in footers)
        sources = [one["source"] for one in footers if one]
        if whole and all(one == sources[0] for one in sources):
            first = min(one.get("first", 0) for one in footers)
            last = max(one.get("last", 0) for one in footers)
            parts.append(Part(files, footers[0] | {"first": first, "last": last}))
    return sorted(parts, key=lambda part: part.footer["first"])


def _dates(path: Path) -> tuple[str, list[Path]]:
    """The symbol and its date folders, in order, that a folder of a store stands for."""
    folder = path.resolve()
    symbols = _folders(folder, SYMBOL_PREFIX)
    if len(symbols) > 1:
        names = ", ".join(symbol_of(one) for one in symbols[:10])
        raise ValidationError(
            f"{path} holds {len(symbols)} symbols ({names}); read one at a time, "
            f"e.g. {path / symbols[0].name}"
        )
    is_date = folder.name.startswith(DATE_PREFIX)
    of_symbol = folder.parent if is_date else next(iter(symbols), folder)
    dates = [folder] if is_date else _folders(of_symbol, DATE_PREFIX)
    if not dates:
        raise ValidationError(
            f"{of_symbol} holds no folder {DATE_PREFIX}YYYY-MM-DD; convert its source again"
        )
    for date in dates:
        if not any(date.glob("*.*.parquet")):
            raise MissingDataError(f"{date}/*.books.parquet does not exist; convert its source")
    key = {date: parsed_date(date, date.name.removeprefix(DATE_PREFIX)) for date in dates}
    return symbol_of(of_symbol), sorted(dates, key=lambda date: key[date])


def books_by_symbol(path: Path) -> dict[str, list[Path]]:
    """The date folders with books, in order, of each symbol of a store, of a symbol, or a date.

    Raises
    ------
    ValidationError
        A folder that no `convert` made, or without books.
    """
    if not matches(path, b""):
        raise ValidationError(f"{path} is no {NAME}; convert books into it first")
    folders = [path.resolve()]
    if not folders[0].name.startswith((SYMBOL_PREFIX, DATE_PREFIX)):
        folders = _folders(folders[0], SYMBOL_PREFIX)
    found: dict[str, list[Path]] = {}
    for symbol, dates in sorted(map(_dates, folders)):
        with_books = [date for date in dates if any(date.glob(f"*.{BOOKS}.parquet"))]
        found |= {symbol: with_books} if with_books else {}
    if not found:
        raise ValidationError(
            f"{path} holds no books; convert its source again into an empty folder"
        )
    return found


def symbol_of(folder: Path) -> str:
    """The symbol whose folder of a store it is."""
    return unquote(folder.name.removeprefix(SYMBOL_PREFIX))


def _folders(path: Path, prefix: str) -> list[Path]:
    return sorted(child for child in path.glob(f"{prefix}*") if child.is_dir())


def _read(paths: Sequence[Path], batch_rows: int) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """Rows of files whose columns are right, and their times, which must go on."""
    before = 0
    for path in paths:
        for rows in read(path, _names(path), batch_rows, may_be_empty=True):
            time = rows.times("time")
            before = rows.refuse_backwards("time", time, before)
            yield rows, time


def _names(path: Path) -> list[str]:
    """Columns of a file; refused, by name, where one is missing or of another type."""
    import pyarrow.parquet as pq

    with damage(path), path.open("rb") as stream:
        schema = pq.read_schema(stream)
    kind = path.name.rsplit(".", 2)[1]
    due = schema_of(kind, MBP.depth(schema.names))
    for field in due:
        found = schema.field(field.name).type if field.name in schema.names else "nothing"
        if found != field.type:
            raise ValidationError(
                f"{path}: column {field.name} must hold {field.type}, it holds {found}; "
                "convert its source again"
            )
    return list(due.names)


def _books(
    rows: Rows, time: NDArray[np.int64], symbol: str, trades: Trades | None
) -> BookSnapshots:
    """Levels are checked once, by BookSnapshots; what it refuses is named by row and column."""
    n_levels = MBP.depth(rows.batch.schema.names)
    names = {side: MBP.side(side, n_levels) for side in SIDES}
    levels: dict[str, Any] = {
        f"{side}_{kind}": rows.numbers(of_kind)
        for side in SIDES
        for kind, of_kind in zip(KINDS, names[side], strict=True)
    }
    complete = rows.given("complete").to_numpy(zero_copy_only=False)
    try:
        return BookSnapshots(time, symbol=symbol, complete=complete, trades=trades, **levels)
    except ValidationError as error:
        for side in SIDES:
            price, size = levels[f"{side}_price"], levels[f"{side}_size"]
            rows.levels(names[side], price, size, flag=False)
        raise ValidationError(f"{rows.path}: {error}") from error


def _trades(paths: Sequence[Path], symbol: str) -> Iterator[Trades]:
    """The checked trades of all files."""
    for rows, time in _read(paths, ROW_GROUP_ROWS):
        price, size, aggressor = rows.numbers(["price", "size", "aggressor"]).T
        for name, values in (("price", price), ("size", size)):
            bad = ~((values > 0) & (values < np.inf))
            rows.refuse(name, bad, values, "must be finite and above 0")
        bad = ~np.isin(aggressor, (-1, 0, 1))
        rows.refuse("aggressor", bad, aggressor, "must be 1, -1 or 0")
        yield Trades(time, price, size, aggressor, symbol)

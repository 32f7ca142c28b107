"""Books and trades kept as Parquet, a folder for each symbol and date: its layout and its reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.readers import cells
from research_lib.market.readers.rows import TradeFeed, parsed_date
from research_lib.market.readers.source import UTC_NS, damage
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

NAME = "folder made by convert"
BOOKS_FILE, TRADES_FILE = "books.parquet", "trades.parquet"
SYMBOL_PREFIX, DATE_PREFIX = "symbol=", "date="
KINDS = {"price": "px", "size": "sz"}
LAST_LEVEL = re.compile(r"ask_sz_(\d{2,})")
TRADE_COLUMNS = {
    "time": UTC_NS,
    "price": pa.float64(),
    "size": pa.float64(),
    "aggressor": pa.int8(),
}
ROW_GROUP_ROWS = 100_000
BLOCK_ROWS = 4_096


def matches(path: Path, head: bytes) -> bool:
    """Whether a folder is a store, one symbol of it, or one date of a symbol; `head` is not used."""
    if not path.is_dir():
        return False
    named = path.resolve().name
    inside = named.startswith(DATE_PREFIX) and path.resolve().parent.name.startswith(SYMBOL_PREFIX)
    return inside or named.startswith(SYMBOL_PREFIX) or bool(_folders(path, SYMBOL_PREFIX))


def batches(path: Path, batch_rows: int, session: Session | None = None) -> Iterator[BookSnapshots]:
    """Books and trades of one symbol, date after date, `batch_rows` snapshots at a time.

    Parameters
    ----------
    path : Path
        The store (of one symbol), a folder ``symbol=XXX``, or a folder ``date=YYYY-MM-DD``
        in one. ``books.parquet`` has time (ns, UTC), complete, and bid_px_NN, bid_sz_NN,
        ask_px_NN, ask_sz_NN of levels 00 to L-1; an empty level is NaN and 0.
        ``trades.parquet`` has time, price, size, aggressor (1, -1, 0).
    batch_rows : int
        The last batch of a date may be smaller.
    session : Session, optional
        Not used: what must not be sampled was decided when the folder was made.

    Yields
    ------
    BookSnapshots
        With the trades up to the batch's last time, the last batch with the rest; None
        where no date has a ``trades.parquet``.

    Raises
    ------
    ValidationError
        Several symbols, no date, a file that is damaged or lacks a column, a cell that
        cannot be, times that run backwards: names file and, for cells, row and column.
    """
    symbol, dates = _dates(path)
    found = [date / TRADES_FILE for date in dates if (date / TRADES_FILE).is_file()]
    trades = TradeFeed(_trades(found, symbol) if found else None, symbol)
    ready: _Rows | None = None
    for rows in _rows([date / BOOKS_FILE for date in dates], batch_rows):
        if ready is not None:
            yield ready.books(symbol, trades.until(int(ready.time[-1])))
        ready = rows
    if ready is None:
        raise ValidationError(
            f"{path} holds no books; convert its source again into an empty folder"
        )
    yield ready.books(symbol, trades.until(None))


def partition(symbol: str, date: Any) -> Path:
    """Where the books of a symbol and date lie within a store; unusual letters of the symbol are %-escaped."""
    return Path(SYMBOL_PREFIX + quote(symbol, safe=" "), f"{DATE_PREFIX}{date}")


def book_schema(n_levels: int) -> pa.Schema:
    """Columns of ``books.parquet`` with `n_levels` levels a side."""
    return _schema(
        {
            "time": UTC_NS,
            "complete": pa.bool_(),
            **dict.fromkeys(cells.level_columns(n_levels), pa.float64()),
        }
    )


def book_table(books: BookSnapshots) -> pa.Table:
    """Books as a table of `book_schema`."""
    schema = book_schema(books.n_levels)
    arrays: dict[str, Any] = {"time": books.time, "complete": books.complete}
    for name in cells.level_columns(books.n_levels):
        arrays[name] = books[_attribute(name)][:, int(name.rsplit("_", 1)[1])]
    return pa.table([pa.array(arrays[field.name], field.type) for field in schema], schema=schema)


def trade_table(trades: Trades) -> pa.Table:
    """Trades as a table with the columns of ``trades.parquet``."""
    schema = _schema(TRADE_COLUMNS)
    return pa.table(
        [pa.array(getattr(trades, field.name), field.type) for field in schema], schema=schema
    )


def _schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """No column has nulls, which saves a fifth of the time to read them: an empty price is NaN."""
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def _dates(path: Path) -> tuple[str, list[Path]]:
    """The symbol and its date folders, in order, that a folder of a store stands for."""
    folder = path.resolve()
    if folder.name.startswith(DATE_PREFIX):
        return symbol_of(folder.parent), [folder]
    if not folder.name.startswith(SYMBOL_PREFIX):
        symbols = _folders(folder, SYMBOL_PREFIX)
        if len(symbols) > 1:
            names = ", ".join(symbol_of(one) for one in symbols[:10])
            raise ValidationError(
                f"{path} holds {len(symbols)} symbols ({names}); read one at a time, e.g. {path / symbols[0].name}"
            )
        folder = symbols[0]
    dates = _folders(folder, DATE_PREFIX)
    if not dates:
        raise ValidationError(
            f"{folder} holds no folder {DATE_PREFIX}YYYY-MM-DD; convert its source again"
        )
    return symbol_of(folder), sorted(dates, key=_date)


def books_by_symbol(path: Path) -> dict[str, list[Path]]:
    """The date folders that hold books, in order, of each symbol of a store, of one symbol of it, or of one date.

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
    dates = dict(map(_dates, folders))
    found = {
        symbol: [date for date in dates[symbol] if (date / BOOKS_FILE).is_file()]
        for symbol in sorted(dates)
    }
    if not any(found.values()):
        raise ValidationError(
            f"{path} holds no books; convert its source again into an empty folder"
        )
    return {symbol: folders for symbol, folders in found.items() if folders}


def _date(folder: Path) -> Any:
    return parsed_date(folder, folder.name.removeprefix(DATE_PREFIX))


def symbol_of(folder: Path) -> str:
    """The symbol whose folder of a store it is."""
    return unquote(folder.name.removeprefix(SYMBOL_PREFIX))


def _folders(path: Path, prefix: str) -> list[Path]:
    return sorted(child for child in path.glob(f"{prefix}*") if child.is_dir())


def _attribute(column: str) -> str:
    """`bid_price` for bid_px_00, and so on."""
    side, code, _ = column.split("_")
    return f"{side}_{'price' if code == 'px' else 'size'}"


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a ``books.parquet``, from its row `first` on, with their checked times (n,)."""

    path: Path
    first: int
    batch: pa.RecordBatch
    time: Int64

    def books(self, symbol: str, trades: Trades | None) -> BookSnapshots:
        """Levels are checked once, by BookSnapshots; what it refuses is then named by file, row and column."""
        complete = self.batch.column("complete").to_numpy(zero_copy_only=False)
        levels = {
            f"{side}_{kind}": self._side_by_side(side, code)
            for side in SIDES
            for kind, code in KINDS.items()
        }
        try:
            return BookSnapshots(
                self.time, symbol=symbol, complete=complete, trades=trades, **levels
            )
        except ValidationError as error:
            self._refuse_cells()
            raise ValidationError(f"{self.path}: {error}") from error

    def _refuse_cells(self) -> None:
        for side in SIDES:
            prices, sizes = (self._names(side, code) for code in KINDS.values())
            price, size = (cells.numbers(self.batch, names) for names in (prices, sizes))
            cells.levels(self.path, self.first, prices, sizes, price, size)

    def _side_by_side(self, side: str, code: str) -> _SideBySide:
        return _SideBySide(
            [
                self.batch.column(name).to_numpy(zero_copy_only=False)
                for name in self._names(side, code)
            ]
        )

    def _names(self, side: str, code: str) -> list[str]:
        return [name for name in self.batch.schema.names if name.startswith(f"{side}_{code}_")]


@dataclass(frozen=True)
class _SideBySide:
    """L columns (n,) that NumPy makes (n, L) when BookSnapshots asks, so the levels are copied once and not twice."""

    columns: list[Float]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Float:
        table = np.empty((len(self.columns[0]), len(self.columns)), dtype)
        for start in range(
            0, len(table), BLOCK_ROWS
        ):  # blocks stay in the processor's cache: twice as fast
            rows = slice(start, start + BLOCK_ROWS)
            table[rows] = np.array([column[rows] for column in self.columns]).T
        return table


def _rows(paths: Iterable[Path], batch_rows: int) -> Iterator[_Rows]:
    """The rows of all files, whose times must go on from one to the next."""
    before = np.int64(0)
    for path in paths:
        if not path.is_file():
            if not path.with_name(TRADES_FILE).is_file():
                raise MissingDataError(f"{path} does not exist; convert its source again")
            continue
        for row, batch in _read(path, batch_rows):
            time = cells.times(path, row, "time", batch.column("time"))
            cells.refuse_backwards(path, row, "time", time, before)
            before = time[-1]
            complete = batch.column("complete")
            cells.refuse_cells(
                path,
                row,
                "complete",
                complete.is_null().to_numpy(False),
                complete,
                "must not be empty",
            )
            yield _Rows(path, row, batch, time)


def _read(path: Path, batch_rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """First row's number and batches of a file of the store, whose columns and page checksums must be right."""
    with damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        _require_schema(path, file.schema_arrow)
        done = 0
        for batch in file.iter_batches(batch_size=batch_rows):
            if batch.num_rows:
                yield done, batch
            done += batch.num_rows
        due = file.metadata.num_rows
        if done != due:
            raise ValidationError(
                f"{path} is damaged: {done:,} of its {due:,} rows are there; convert its source again"
            )


def _require_schema(path: Path, schema: pa.Schema) -> None:
    """Raise ValidationError naming the first column that is missing or of another type."""
    n_levels = max(
        (int(match[1]) + 1 for match in map(LAST_LEVEL.fullmatch, schema.names) if match), default=1
    )
    expected = _schema(TRADE_COLUMNS) if path.name == TRADES_FILE else book_schema(n_levels)
    for field in expected:
        found = schema.field(field.name).type if field.name in schema.names else "nothing"
        if found != field.type:
            raise ValidationError(
                f"{path}: column {field.name} must hold {field.type}, it holds {found}; convert its source again"
            )


def _trades(paths: Iterable[Path], symbol: str) -> Iterator[Trades]:
    """The checked trades of all files, whose times must go on from one to the next."""
    before = np.int64(0)
    for path in paths:
        for row, batch in _read(path, ROW_GROUP_ROWS):
            time = cells.times(path, row, "time", batch.column("time"))
            cells.refuse_backwards(path, row, "time", time, before)
            before = time[-1]
            price, size, aggressor = (
                batch.column(name).to_numpy() for name in list(TRADE_COLUMNS)[1:]
            )
            for name, values in (("price", price), ("size", size)):
                bad = ~((values > 0) & (values < np.inf))
                cells.refuse_cells(path, row, name, bad, values, "must be finite and above 0")
            cells.refuse_cells(
                path, row, "aggressor", np.abs(aggressor) > 1, aggressor, "must be 1, -1 or 0"
            )
            yield Trades(time, price, size, aggressor, symbol)

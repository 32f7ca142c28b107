"""Books and trades kept as Parquet, a folder for each symbol and date: its layout and its reader.

``symbol=XXX/date=YYYY-MM-DD/<source>.parquet``, one file for each source, has a row a snapshot:
time (ns, UTC), complete, and bid_px_NN, bid_sz_NN, ask_px_NN, ask_sz_NN of levels 00 to L-1 (an
empty level is NaN and 0); and, where the source has trades, a list of those since the one before:
time (ns), price, size, aggressor (1, -1, 0). The footer of a file says what it was made of.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa

from research_lib.errors import ValidationError
from research_lib.market.book import SIDES, BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.frames import MBP
from research_lib.market.trades import COLUMNS, Trades

SYMBOL_PREFIX, DATE_PREFIX = "symbol=", "date="
FOOTER_KEY, ROW_GROUP_ROWS = b"research_lib.source", 100_000


def matches(path: Path, head: bytes = b"") -> bool:
    """Whether a folder is a store, one symbol of it, or one date of a symbol."""
    return path.is_dir() and bool(_dates(path))


def books_by_symbol(path: Path) -> dict[str, list[Path]]:
    """The date folders with books, in order, of each symbol of a store, of a symbol, or a date.

    Raises
    ------
    ValidationError
        A folder that no `convert` made, or without books.
    """
    found: dict[str, list[Path]] = {}
    for date in _dates(path):
        found.setdefault(unquote(date.parent.name.removeprefix(SYMBOL_PREFIX)), []).append(date)
    if not found:
        raise ValidationError(f"{path} is no folder made by convert, or holds no books")
    return found


def _dates(path: Path) -> list[Path]:
    folder, pattern = path.absolute(), f"{DATE_PREFIX}*/*.parquet"
    patterns = [pattern, f"{SYMBOL_PREFIX}*/{pattern}"]
    if folder.name.startswith(DATE_PREFIX):
        patterns = ["*.parquet"]
    return sorted({file.parent for one in patterns for file in folder.glob(one)})


def batches(path: Path, batch_rows: int, options: tabular.Options) -> Iterator[BookSnapshots]:
    """Books and trades of one symbol, date after date, `batch_rows` snapshots at a time.

    Which states are complete was decided when the folder was made, so the session is not used. The
    last batch of each source and date may be smaller.
    """
    found = books_by_symbol(path)
    (symbol, dates), *others = found.items()
    if others:
        raise ValidationError(f"{path} holds {len(found)} symbols ({', '.join(found)}); read one")
    refuse_mixed(dates)
    before = 0
    for file in _in_order(dates):
        names = tabular.column_names(file)
        n_levels, trades = MBP.depth(names), [name for name in ("trades",) if name in names]
        wanted = ["time", "complete", *MBP.columns(max(n_levels, 1)), *trades]
        for rows in tabular.read(file, wanted, batch_rows):
            time = rows.times("time")
            before = rows.refuse_backwards("time", time, before)
            complete = rows.given("complete").to_numpy(False)
            of_batch = _trades(rows, symbol) if trades else None
            levels = MBP.levels(rows, n_levels)
            yield BookSnapshots(time, symbol=symbol, complete=complete, trades=of_batch, **levels)


def refuse_mixed(dates: Iterable[Path]) -> None:
    """Refuse date folders of one symbol whose sources are of two venues, publishers or products."""
    whose: dict[str, str] = {}
    for file in _in_order(dates):
        for name, value in footer_of(file).get("whose", {}).items():
            # Venues number their instruments anew each day.
            if whose.setdefault(name, value) != value and name != "instrument_id":
                held = f"{file} is of {name} {value!r}, those before it of {whose[name]!r}"
                raise ValidationError(f"{held}; convert each into a store of its own")


def _trades(rows: tabular.Rows, symbol: str) -> Trades:
    struct = rows.batch["trades"].flatten()
    time, price, size, aggressor = (struct.field(name).to_numpy(False) for name in COLUMNS)
    return Trades(time, price, size, aggressor, symbol)


def _in_order(dates: Iterable[Path]) -> Iterator[Path]:
    """The files of date folders, those of one date in the order in which their rows begin."""
    for date in dates:
        yield from sorted(date.glob("*.parquet"), key=lambda file: footer_of(file).get("first", 0))


def partition(symbol: str, date: Any) -> Path:
    """Where a symbol and date lie within a store; unusual letters of the symbol are %-escaped."""
    return Path(SYMBOL_PREFIX + quote(symbol, safe=" "), f"{DATE_PREFIX}{date}")


def table_of(books: BookSnapshots) -> pa.Table:
    """Books as a table, each with the trades since the book before it."""
    time = pa.array(books.time, tabular.UTC_NS)
    columns: dict[str, Any] = {"time": time, "complete": books.complete}
    for k in range(books.n_levels):
        for side in SIDES:
            for kind, name in (("price", "px"), ("size", "sz")):
                columns[f"{side}_{name}_{k:02d}"] = books[f"{side}_{kind}"][:, k]
    if (trades := books.trades) is not None:
        each = pa.StructArray.from_arrays([pa.array(trades[name]) for name in COLUMNS], COLUMNS)
        starts = [0, *np.searchsorted(trades.time, books.time[:-1], "right"), len(trades)]
        columns["trades"] = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), each)
    return pa.table(columns)


def writer(stream: Any, table: pa.Table) -> Any:
    """A writer of tables such as this one, of as many levels, to a stream."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(stream, table.schema, compression="zstd", write_page_checksum=True)


def add_footer(writer: Any, footer: Mapping[str, Any]) -> None:
    """Say in a file what it was made of, and when its rows begin (`first`, ns)."""
    writer.add_key_value_metadata({FOOTER_KEY: json.dumps(footer).encode()})


def footer_of(path: Path) -> dict[str, Any]:
    """The footer of a file; empty where it has none."""
    import pyarrow.parquet as pq

    with tabular.damage(path), path.open("rb") as stream:
        said = (pq.read_metadata(stream).metadata or {}).get(FOOTER_KEY)
    return dict(json.loads(said)) if said else {}


STORE = tabular.Format("folder made by convert", matches, batches)

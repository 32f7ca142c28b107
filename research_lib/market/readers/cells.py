"""Columns of a CSV or Parquet file, in batches; what is wrong in them is named by file, row and column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.readers.source import (
    HEAD_BYTES,
    UTC_NS,
    csv_batches,
    damage,
    first_lines,
    head,
    header,
    line_of,
    parquet_batches,
)

Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
PARQUET_MAGIC = b"PAR1"
EARLIEST_NS = (
    631_152_000_000_000_000  # 1990-01-01: an earlier "nanosecond" is a micro- or millisecond
)
LATEST_NS = 4_102_444_800_000_000_000  # 2100-01-01
DEAREST = 1e9  # currency per share; above it lie sentinels and fixed-point integers
NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")
ZONE_REMEDY = 'has no time zone; localise it first, e.g. .dt.tz_localize("America/New_York")'


def is_parquet(start: bytes) -> bool:
    """Whether a file that begins with `start` is Parquet."""
    return start.startswith(PARQUET_MAGIC)


def guessed_names(path: Path, start: bytes) -> set[str]:
    """Column names, whatever the delimiter: enough to tell formats apart, not to read them."""
    if is_parquet(start):
        return set(column_names(path))
    line = start.split(b"\n", 1)[0].decode("utf-8", errors="replace").strip("\r\ufeff")
    return {name.strip().strip('"') for name in re.split(r"[,;\t|]", line)}


def column_names(path: Path) -> list[str]:
    """Column names in the file's order; a repeated name of a CSV gets the suffix .1, .2, ...

    Raises
    ------
    ValidationError
        If the file is damaged, delimited by something other than a comma, or a Parquet file with a name twice.
    """
    start = head(path)
    if is_parquet(start):
        with damage(path):
            stored = list(pq.read_schema(path).names)
        if len(set(stored)) < len(stored):
            twice = next(name for name in stored if stored.count(name) > 1)
            raise ValidationError(
                f"{path} has column {twice} {stored.count(twice)} times; rename or remove one"
            )
        return stored
    names = header(path)
    for delimiter in (";", "\t", "|"):
        if len(names) == 1 and delimiter in names[0]:
            raise ValidationError(f"{path} is delimited by {delimiter!r}; write it with commas")
    return names


def column_type(path: Path, name: str) -> pa.DataType | None:
    """Arrow type of a Parquet column; None for a CSV, whose cells are text."""
    if not is_parquet(head(path)):
        return None
    with damage(path):
        return pq.read_schema(path).field(name).type


def level_columns(
    n_levels: int,
    sides: Sequence[str] = ("bid", "ask"),
    kinds: Sequence[str] = ("px", "sz"),
    *,
    numbered: str = "{:02d}",
    first: int = 0,
) -> list[str]:
    """Names side_kind_level, level by level: bid_px_00, bid_sz_00, ask_px_00, ask_sz_00, bid_px_01, ..."""
    levels = [numbered.format(level) for level in range(first, first + n_levels)]
    return [f"{side}_{kind}_{level}" for level in levels for side in sides for kind in kinds]


def first_cells(path: Path, wanted: Callable[[str], bool]) -> list[str]:
    """The cells of the wanted columns in the whole lines among a CSV's first 8 KiB, at least in its first row."""
    start = first_lines(path, 2)
    cut = len(start) >= HEAD_BYTES and not start.endswith(b"\n")
    lines = start.decode("utf-8", errors="replace").splitlines()[1:]
    rows = csv.reader(io.StringIO("\n".join(lines[:-1] if cut else lines)))
    columns = [position for position, name in enumerate(header(path)) if wanted(name)]
    return [row[position].strip() for row in rows for position in columns if position < len(row)]


def read_columns(
    path: Path, types: Mapping[str, pa.DataType], batch_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The first row's number and the typed columns of each batch, in file order.

    Raises
    ------
    ValidationError
        A missing column, a cell not of its type, a cut-off line, a damaged file, no rows.
    """
    parquet = is_parquet(head(path))
    if parquet:
        _require_castable(path, types)
    done = 0
    for batch in (parquet_batches if parquet else csv_batches)(path, types, batch_rows):
        yield done, batch
        done += batch.num_rows
    if not done:
        raise ValidationError(f"{path} is empty: it has a header and 0 rows; fetch it again")


def time_type(path: Path, name: str) -> pa.DataType:
    """How the times of a column are written: UTC_NS for text or timestamps, int64 for nanoseconds.

    Raises
    ------
    ValidationError
        If they have no time zone.
    """
    stored = column_type(path, name)
    if stored is None:
        cell = next(iter(first_cells(path, lambda other: other == name)), "")
        if NAIVE.fullmatch(cell):
            raise ValidationError(f"{path}: column {name} {ZONE_REMEDY}; row 0 holds {cell!r}")
        return pa.int64() if cell.isdigit() else UTC_NS
    if pa.types.is_date(stored) or (pa.types.is_timestamp(stored) and stored.tz is None):
        raise ValidationError(f"{path}: column {name} holds {stored}: it {ZONE_REMEDY}")
    return pa.int64() if pa.types.is_integer(stored) else UTC_NS


def times(path: Path, first_row: int, name: str, column: pa.Array) -> Int64:
    """Times as int64 ns UTC, (n,); none may be missing or outside 1990-2100.

    The bounds catch integers that count micro- or milliseconds.
    """
    refuse_cells(
        path, first_row, name, column.is_null().to_numpy(False), column, "must not be empty"
    )
    time = np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
    unlikely = (time < EARLIEST_NS) | (time > LATEST_NS)
    refuse_cells(
        path,
        first_row,
        name,
        unlikely,
        time,
        "must be nanoseconds since 1970, between 1990 and 2100",
    )
    return time


def refuse_backwards(path: Path, first_row: int, name: str, time: Int64, before: np.int64) -> None:
    """Raise ValidationError at the first row whose time is earlier than the row before it (`before` for row 0)."""
    back = np.diff(time, prepend=before) < 0
    if back.any():
        row = int(np.argmax(back))
        raise ValidationError(
            f"{path}: time runs backwards in column {name}, row {first_row + row} holds {pd.Timestamp(time[row])}Z "
            f"after {pd.Timestamp(time[row - 1] if row else before)}Z"
            f"{line_of(path, first_row + row)}; sort the file by time"
        )


def numbers(batch: pa.RecordBatch, names: Sequence[str]) -> Float:
    """Numeric columns side by side, (n, k) floats, NaN where empty."""
    return np.column_stack(
        [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
    ).astype(float)


def levels(
    path: Path,
    first_row: int,
    price_names: Sequence[str],
    size_names: Sequence[str],
    price: Float,
    size: Float,
    *,
    flag: bool = False,
) -> tuple[Float, Float]:
    """Prices and sizes of one side, each (n, L), checked; empty levels are NaN and 0.

    Empty is a level of size 0, or without price and size. A price without a size, a size
    without a price, a negative size, and a price at or below 0 or from 1e9 on (a sentinel
    or a fixed-point number) are refused. Under `flag` what is no number, and a negative
    size, is left as it is for `BookSnapshots.flagging`.
    """
    given, sized = ~np.isnan(price), ~np.isnan(size)
    size = np.where(given | sized, size, 0.0)
    if not flag:
        refuse_table(path, first_row, price_names, np.isinf(price), price, "must be finite")
        refuse_table(path, first_row, size_names, np.isinf(size), size, "must be finite")
        refuse_table(
            path,
            first_row,
            size_names,
            given & ~sized,
            size,
            "must not be empty where there is a price",
        )
        refuse_table(path, first_row, size_names, size < 0, size, "must be at least 0")
        refuse_table(
            path,
            first_row,
            price_names,
            (size > 0) & ~given,
            price,
            "must not be empty where there is size",
        )
    price = np.where(np.isinf(price), np.nan, price)
    refuse_table(path, first_row, price_names, (size > 0) & (price <= 0), price, "must be above 0")
    refuse_table(
        path,
        first_row,
        price_names,
        (size > 0) & (price >= DEAREST),
        price,
        f"must be below {DEAREST:g}",
    )
    return np.where(size > 0, price, np.nan), size


def one_text(path: Path, first_row: int, name: str, column: pa.Array, before: str | None) -> str:
    """The one text that a column holds (the symbol), which must be `before` unless that is None."""
    refuse_cells(
        path, first_row, name, column.is_null().to_numpy(False), column, "must not be empty"
    )
    known = before if before is not None else str(column[0].as_py())
    found = [str(text) for text in column.unique().to_pylist()]
    if found != [known]:
        row = next(
            position for position, text in enumerate(column.to_pylist()) if str(text) != known
        )
        raise ValidationError(
            f"{path}: column {name} must hold one symbol, row {first_row + row} holds {column[row].as_py()!r} "
            f"after {known!r}{line_of(path, first_row + row)}; split the file by symbol"
        )
    return known


def refuse_cells(
    path: Path, first_row: int, name: str, bad: NDArray[np.bool_], values: Any, rule: str
) -> None:
    """Raise ValidationError naming file, column, first bad row and its value, if any of (n,) `bad` is True."""
    if bad.any():
        row = int(np.argmax(bad))
        value = values[row].as_py() if isinstance(values, pa.Array) else values[row].item()
        raise ValidationError(
            f"{path}: column {name} {rule}, row {first_row + row} holds {value!r}"
            f"{line_of(path, first_row + row)}; correct or drop it"
        )


def refuse_table(
    path: Path,
    first_row: int,
    names: Sequence[str],
    bad: NDArray[np.bool_],
    values: NDArray[Any],
    rule: str,
) -> None:
    """As `refuse_cells`, for k columns side by side, (n, k)."""
    if bad.any():
        column = int(np.argwhere(bad)[0][1])
        refuse_cells(path, first_row, names[column], bad[:, column], values[:, column], rule)


def _require_castable(path: Path, types: Mapping[str, pa.DataType]) -> None:
    """Numbers must be stored as numbers: a text column of a Parquet file would fail without naming itself."""
    with damage(path):
        schema = pq.read_schema(path)
    for name, wanted in types.items():
        numeric = pa.types.is_floating(wanted) or pa.types.is_integer(wanted)
        if not numeric or name not in schema.names:
            continue
        stored = schema.field(name).type
        if not (
            pa.types.is_integer(stored)
            or pa.types.is_floating(stored)
            or pa.types.is_decimal(stored)
        ):
            raise ValidationError(
                f"{path}: column {name} must hold numbers, it holds {stored}; convert it to float"
            )

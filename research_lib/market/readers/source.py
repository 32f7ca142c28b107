"""Files as bytes and columns: compression by content, typed CSV and Parquet in batches of bounded size.

Every failure names the file and, where one cell or line is at fault, its row and column. Rows
are counted from 0 at the first row of data.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from research_lib.config import data_folder
from research_lib.errors import MissingDataError, ValidationError

HEAD_BYTES = 8192
LINES_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20  # pyarrow reads 32 blocks ahead of a slower consumer: 32 MB a file
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
NO_LINES = (b"PAR1", b"DBN")
NULLS = ["", "NaN", "nan", "null"]
UTC_NS = pa.timestamp("ns", tz="UTC")
DAMAGE = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    EOFError,
    UnicodeDecodeError,
    OSError,
)


def open_bytes(path: Path) -> Any:
    """Binary stream of a file, decompressed if its first bytes say gzip, zstd, or zip with one member.

    Raises
    ------
    MissingDataError
        If the file does not exist.
    ValidationError
        If it is empty, or a zip of more than one file.
    """
    if path.is_dir():
        raise MissingDataError(
            f"{path} is a folder, not a file; give one of its files, or read_books the folder"
        )
    if not path.is_file():
        raise missing(path)
    with path.open("rb") as raw:
        start = raw.read(4)
    if not start:
        raise ValidationError(f"{path} is empty: it has 0 bytes; fetch it again")
    if start.startswith(b"PK"):
        return pa.PythonFile(_zip_member(path), mode="r")
    for magic, codec in MAGIC.items():
        if start.startswith(magic):
            return pa.CompressedInputStream(pa.OSFile(str(path)), codec)
    return pa.OSFile(str(path))


def missing(path: Path) -> MissingDataError:
    """Says that there is nothing at the path, and where there is something."""
    if not path.is_absolute() and (data_folder() / path).exists():
        return MissingDataError(
            f'{path} does not exist here, but in RESEARCH_DATA; use data_file("{path.as_posix()}")'
        )
    return MissingDataError(f"{path} does not exist; check the path or set RESEARCH_DATA")


def head(path: Path) -> bytes:
    """The first 8 KiB of the decompressed content, from which formats are told apart."""
    with damage(path), open_bytes(path) as stream:
        return bytes(stream.read(HEAD_BYTES))


def first_lines(path: Path, n_lines: int) -> bytes:
    """As `head`, read on until it holds `n_lines` whole lines, the file ends, or 1 MiB is reached."""
    with damage(path), open_bytes(path) as stream:
        start = bytes(stream.read(HEAD_BYTES))
        while (
            start.count(b"\n") < n_lines
            and len(start) < LINES_BYTES
            and (more := stream.read(HEAD_BYTES))
        ):
            start += bytes(more)
    return start


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn a damaged file's failure to decompress or to parse into a ValidationError that names the file."""
    try:
        yield
    except ValidationError:  # of which MissingDataError is an OSError too
        raise
    except DAMAGE as error:
        raise ValidationError(
            f"{path} cannot be read: {' '.join(str(error).split())}; fetch it again"
        ) from error


def header(path: Path) -> list[str]:
    """Column names of a CSV's first line; a repeated name gets the suffix .1, .2, ...

    Raises
    ------
    ValidationError
        If the line is longer than 1 MiB.
    """
    names: list[str] = []
    for name in _header_cells(path):
        repeats = sum(other.split(".")[0] == name for other in names)
        names.append(f"{name}.{repeats}" if name in names else name)
    return names


def _header_cells(path: Path) -> list[str]:
    first, end, _ = first_lines(path, 1).partition(b"\n")
    if not end and len(first) >= LINES_BYTES:
        raise ValidationError(
            f"{path}: its first line is longer than {LINES_BYTES:,} bytes; is it a CSV?"
        )
    line = first.decode("utf-8", errors="replace").strip("\r\ufeff")
    return [cell.strip().strip('"') for cell in line.split(",")]


def csv_batches(
    path: Path,
    types: Mapping[str, pa.DataType],
    batch_rows: int,
    names: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Typed columns of a CSV, `batch_rows` rows at a time (the last batch may have fewer), in file order.

    Parameters
    ----------
    types : mapping of column to Arrow type
        The columns wanted. Empty text, NaN and null are nulls in any type.
    names : sequence of str, optional
        All column names in order, where the file has no header line.

    Raises
    ------
    ValidationError
        A column that is missing, or there twice with different content, a line with too few
        or too many cells (named by row), a cell that is not of its type (named by row and
        column), a damaged file.
    """
    if names is not None:
        yield from _csv_batches(path, types, batch_rows, names)
        return
    if sum(bool(line.strip()) for line in first_lines(path, 2).splitlines()) < 2:
        return  # a header only, which the parser cannot skip
    repeats = {
        new: old
        for new, old in zip(header(path), _header_cells(path), strict=True)
        if new != old in types
    }
    every = {**types, **{new: types[old] for new, old in repeats.items()}}
    done = 0
    for batch in _csv_batches(path, every, batch_rows, None):
        for new, old in repeats.items():
            _refuse_different(path, done, old, batch.column(old), batch.column(new))
        done += batch.num_rows
        yield batch.select(list(types))


def _refuse_different(
    path: Path, first_row: int, name: str, one: pa.Array, other: pa.Array
) -> None:
    """Raise ValidationError at the first row in which two columns of one name differ."""
    same = pc.fill_null(pc.equal(one, other), False)
    differ = pc.invert(pc.or_(same, pc.and_(pc.is_null(one), pc.is_null(other))))
    row = pc.index(differ, True).as_py()
    if row >= 0:
        raise ValidationError(
            f"{path} has column {name} twice and they differ: row {first_row + row} holds {one[row].as_py()!r} and "
            f"{other[row].as_py()!r}{line_of(path, first_row + row)}; rename or remove one"
        )


def line_of(path: Path, row: int) -> str:
    """Where a row of data, counted from 0, is in a text file: " (line 7)"; nothing where there are no lines."""
    if not path.is_file() or head(path).startswith(NO_LINES):
        return ""
    done = -int(not _header_cells(path)[0].replace(".", "", 1).isdigit())
    with damage(path), open_bytes(path) as stream:
        for number, line in enumerate(io.BufferedReader(stream), start=1):
            if line.strip() and (done := done + 1) > row:
                return f" (line {number:,})"
    return ""


def _csv_batches(
    path: Path, types: Mapping[str, pa.DataType], batch_rows: int, names: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """As `csv_batches`, for columns of different names."""
    columns = list(names) if names is not None else header(path)
    require_columns_of(path, columns, types)
    broken: list[Any] = []

    def keep(row: Any) -> str:
        broken.append(row)
        return "error"

    done = 0
    with damage(path):
        try:
            with open_bytes(path) as stream:
                tail = _Tail(stream)
                reader = _csv_reader(
                    pa.PythonFile(tail, mode="r"), columns, names is None, types, keep
                )
                for batch in rebatched(reader, batch_rows):
                    done += batch.num_rows
                    yield batch
        except pa.ArrowInvalid as error:
            if broken:
                raise _wrong_width(path, broken[0], names is None) from error
            if not all(pa.types.is_string(wanted) for wanted in types.values()):
                _name_bad_cell(path, types, names)
            raise
    if done and not tail.ends_line and not pa.types.is_string(types.get(columns[-1], pa.string())):
        raise ValidationError(
            f"{path}: column {columns[-1]}, row {done - 1} has no end of line, so its number may be cut off; "
            "fetch the file again, or end its last line if it is whole"
        )


def parquet_batches(
    path: Path, types: Mapping[str, pa.DataType], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Typed columns of a Parquet file, `batch_rows` rows at a time; columns are cast, losing nothing."""
    with damage(path):
        file = pq.ParquetFile(path)
        require_columns_of(path, file.schema_arrow.names, types)
        schema = pa.schema(dict(types))
        for batch in file.iter_batches(batch_size=batch_rows, columns=list(types)):
            yield batch.select(schema.names).cast(schema)


def rebatched(batches: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `batch_rows`, the last one excepted."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.num_rows
        while n_waiting >= batch_rows:
            table = pa.Table.from_batches(waiting).combine_chunks()
            yield table.slice(0, batch_rows).combine_chunks().to_batches()[0]
            waiting = table.slice(batch_rows).to_batches()
            n_waiting -= batch_rows
    if n_waiting:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def require_columns_of(path: Path, columns: Sequence[str], types: Mapping[str, Any]) -> None:
    """Raise ValidationError naming the file and the wanted columns that it lacks."""
    missing = [name for name in types if name not in columns]
    if missing:
        raise ValidationError(
            f"{path} lacks column {', '.join(missing[:5])} ({len(missing)} in all); "
            f"it has {', '.join(columns[:8])}, ..."
        )


def _csv_reader(
    stream: Any,
    columns: Sequence[str],
    has_header: bool,
    types: Mapping[str, pa.DataType],
    on_broken_row: Any,
) -> Any:
    return pcsv.open_csv(
        stream,
        read_options=pcsv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=columns,
            skip_rows=int(has_header),
        ),
        parse_options=pcsv.ParseOptions(invalid_row_handler=on_broken_row),
        convert_options=pcsv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=NULLS,
            strings_can_be_null=True,
        ),
    )


class _Tail:
    """A binary stream that remembers whether the last byte read ends a line."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.ends_line = True

    def read(self, n_bytes: int = -1) -> bytes:
        data = bytes(self._stream.read(n_bytes))
        if data:
            self.ends_line = data[-1:] in (b"\n", b"\r")
        return data

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def close(self) -> None:
        self._stream.close()


def _wrong_width(path: Path, row: Any, has_header: bool) -> ValidationError:
    """What is wrong with a line of too few or too many cells."""
    position = "unknown" if row.number is None else row.number - 1 - int(has_header)
    line = "" if row.number is None else f" (line {row.number:,})"
    return ValidationError(
        f"{path}: row {position} has {row.actual_columns} cells, {row.expected_columns} are due "
        f"({row.text[:60]!r}){line}; the file is cut off or has another delimiter"
    )


def _name_bad_cell(
    path: Path, types: Mapping[str, pa.DataType], names: Sequence[str] | None
) -> None:
    """Read again as text and raise ValidationError for the first cell that is not of its type."""
    done = 0
    for batch in _csv_batches(path, dict.fromkeys(types, pa.string()), 100_000, names):
        for name, wanted in types.items():
            row = _first_bad(batch.column(name), wanted)
            if row is not None:
                raise ValidationError(
                    f"{path}: column {name} must hold {_said(wanted)}, row {done + row} holds "
                    f"{batch.column(name)[row].as_py()!r}{line_of(path, done + row)}; correct or fetch it again"
                )
        done += batch.num_rows


def _first_bad(column: pa.Array, wanted: pa.DataType) -> int | None:
    try:
        pc.cast(column, wanted)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return 0
        half = len(column) // 2
        first = _first_bad(column.slice(0, half), wanted)
        if first is not None:
            return first
        second = _first_bad(column.slice(half), wanted)
        return None if second is None else half + second
    return None


def _said(wanted: pa.DataType) -> str:
    if pa.types.is_timestamp(wanted):
        return "ISO 8601 times with a time zone, such as 2025-04-03T09:30:00.125-04:00"
    return "text" if pa.types.is_string(wanted) else "numbers"


def _zip_member(path: Path) -> Any:
    archive = zipfile.ZipFile(path)
    members = archive.namelist()
    if len(members) != 1:
        raise ValidationError(
            f"{path} holds {len(members)} files ({', '.join(members[:3])}); one is wanted"
        )
    return archive.open(members[0])

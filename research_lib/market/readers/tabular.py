"""Tables from files: any compression, CSV or Parquet, in batches of bounded size.

Every failure names the file and, where one cell or line is at fault, row, column, value and
remedy. Rows are counted from 0 at the first row of data. The cells of a CSV are read as text and
parsed here, so that what cannot be parsed can be named.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from research_lib.config import data_folder
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.readers import dbn
from research_lib.market.sessions import Session

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

HEAD_BYTES = 8192
MAX_LINE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20  # pyarrow reads 32 blocks ahead of a slower consumer: 32 MB a file
CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
NULLS = ["", "NaN", "nan", "null"]
DAMAGE = (
    pa.ArrowInvalid, pa.ArrowTypeError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError,
    UnicodeDecodeError, OSError,
)  # fmt: skip
UTC_NS = pa.timestamp("ns", tz="UTC")
# Room for more decimals than nanoseconds have: some exporters write binary fractions in full.
DECIMALS = {10**9: 15, 10**6: 12, 10**3: 9, 1: 9}
NUMBER = re.compile(r"\d+(\.\d*)?")
THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")
EARLIEST_NS, LATEST_NS = 631_152_000 * 10**9, 4_102_444_800 * 10**9  # 1990 and 2100
TIME_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Vendors' marks of an empty level, in currency: LOBSTER's, and Databento's in two scales.
SENTINELS = (9_999_999_999.0, 2.0**63 / 1e9, 2.0**63)
HIGH_PRICE = 1e9  # beyond it a price must be like the others beside it
ALIKE = 1e3
# Columns that say whose book a row is: with two values in one, two books alternate.
IDENTITIES = (
    "symbol", "ticker", "product", "instrument", "instrument_id", "exchange", "venue", "market",
    "publisher_id",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How a source is to be read; the arguments of `read_books`, by the same names."""

    session: Session = field(default_factory=Session)
    flag: bool = False  # empty and flag levels that are no numbers, instead of refusing them
    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    time_unit: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    # What one file of a series leaves to the next: a recording that goes on over midnight.
    carried: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.time_unit not in (None, *TIME_UNITS):
            raise ValidationError(
                f"time_unit must be one of {', '.join(TIME_UNITS)}, got {self.time_unit!r}"
            )
        try:
            ZoneInfo(self.timezone or "UTC")
        except (KeyError, ValueError, OSError) as error:
            raise ValidationError(
                f'timezone {self.timezone!r} is unknown; give an IANA name, "America/New_York"'
            ) from error


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn a damaged file's failure to decompress or to parse into an error that names the file."""
    try:
        yield
    except ValidationError:  # of which MissingDataError is an OSError too
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ValidationError(f"{path} cannot be read: {reason}; fetch it again") from error


def open_bytes(path: Path) -> Any:
    """Binary stream, decompressed if its first bytes say gzip, zstd, or zip with one member.

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
    # Opened by Python: pyarrow takes every name for UTF-8, whatever the locale.
    raw = path.open("rb")
    start = raw.read(4)
    raw.seek(0)
    if not start:
        raw.close()
        raise ValidationError(f"{path} is empty: it has 0 bytes; fetch it again")
    if start.startswith(b"PK"):
        archive = zipfile.ZipFile(raw)
        members = archive.namelist()
        if len(members) != 1:
            raise ValidationError(
                f"{path} holds {len(members)} files ({', '.join(members[:3])}); one is wanted"
            )
        return pa.PythonFile(archive.open(members[0]), mode="r")
    stream = pa.PythonFile(raw, mode="r")
    codec = next((name for magic, name in CODECS.items() if start.startswith(magic)), None)
    return pa.CompressedInputStream(stream, codec) if codec else stream


def missing(path: Path) -> MissingDataError:
    """Says that there is nothing at the path, and where there is something."""
    if not path.is_absolute() and (data_folder() / path).exists():
        return MissingDataError(
            f'{path} does not exist here, but in RESEARCH_DATA; use data_file("{path.as_posix()}")'
        )
    return MissingDataError(f"{path} does not exist; check the path or set RESEARCH_DATA")


def head(path: Path, n_lines: int = 1) -> bytes:
    """The first 8 KiB of the decompressed content, and more until `n_lines` lines are whole."""
    with damage(path), open_bytes(path) as stream:
        start = bytes(stream.read(HEAD_BYTES))
        while start.count(b"\n") < n_lines and len(start) < MAX_LINE_BYTES:
            more = stream.read(HEAD_BYTES)
            if not more:
                break
            start += bytes(more)
    return start


def is_parquet(start: bytes) -> bool:
    """Whether a file that begins with `start` is Parquet."""
    return start.startswith(b"PAR1")


def guessed_names(path: Path, start: bytes) -> list[str]:
    """Column names, whatever the delimiter: to recognise formats by, not to read them."""
    if is_parquet(start):
        return column_names(path)
    line = start.split(b"\n", 1)[0].decode("utf-8", errors="replace").strip("\r\ufeff")
    return [name.strip().strip('"') for name in re.split(r"[,;\t|]", line)]


def column_names(path: Path) -> list[str]:
    """Column names in the file's order; a repeated name of a CSV gets the suffix .1, .2, ..."""
    start = head(path)
    if start.startswith(dbn.MAGIC):
        with damage(path), open_bytes(path) as stream:
            return dbn.column_names(stream, path)
    if is_parquet(start):
        import pyarrow.parquet as pq

        with damage(path), path.open("rb") as stream:
            names = list(pq.read_schema(stream).names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValidationError(
                f"{path} has column {twice} {names.count(twice)} times; rename or remove one"
            )
        return names
    cells = _header_cells(path, start)
    if len(cells) == 1:
        for delimiter in (";", "\t", "|"):
            if delimiter in cells[0]:
                raise ValidationError(f"{path} is delimited by {delimiter!r}; write it with commas")
    return [
        f"{cell}.{cells[:k].count(cell)}" if cell in cells[:k] else cell
        for k, cell in enumerate(cells)
    ]


def _header_cells(path: Path, start: bytes) -> list[str]:
    first, end, _ = start.partition(b"\n")
    if not end and len(first) >= MAX_LINE_BYTES:
        raise ValidationError(
            f"{path}: its first line is longer than {MAX_LINE_BYTES:,} bytes; is it a CSV?"
        )
    line = first.decode("utf-8", errors="replace").strip("\r\ufeff")
    return [cell.strip().strip('"') for cell in line.split(",")]


def read(
    path: Path,
    wanted: Sequence[str],
    batch_rows: int,
    *,
    names: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    may_end_open: bool = False,
    may_be_empty: bool = False,
) -> Iterator[Rows]:
    """Columns of a CSV or Parquet file, `batch_rows` rows at a time, in file order.

    Parameters
    ----------
    wanted : sequence of str
        The columns to read.
    names : sequence of str, optional
        All column names in order, where a CSV has no header line.
    where : mapping of column to value or values, optional
        Only rows that hold these are kept.
    may_end_open : bool
        Whether the last line may lack its end; else a number in its last cell may be cut off.
    may_be_empty : bool
        Whether there may be no rows.

    Raises
    ------
    ValidationError
        A column that is missing, or there twice with different content, a line with too few or
        too many cells, a damaged file, no rows, no row that `where` keeps.
    """
    where = where or {}
    columns = column_names(path) if names is None else list(names)
    every = list(dict.fromkeys([*wanted, *where]))
    absent = [name for name in every if name not in columns]
    if absent:
        raise ValidationError(
            f"{path} lacks column {', '.join(absent[:5])} ({len(absent)} in all); "
            f"it has {', '.join(columns[:8])}, ..."
        )
    start = b"" if names else head(path)
    if start.startswith(dbn.MAGIC):
        batches = _dbn(path, every, batch_rows)
    elif is_parquet(start):
        batches = _parquet(path, every, batch_rows)
    else:
        batches = _csv(path, every, batch_rows, columns, names is None, may_end_open)
    done, kept, others = 0, 0, dict.fromkeys(where, "")
    for batch in batches:
        rows = Rows(path, np.arange(done, done + batch.num_rows), batch)
        done += len(rows)
        if where:
            others = {name: rows.some_values(name) for name in where}
            rows = rows.matching(where)
        kept += len(rows)
        if len(rows):
            yield rows
    if not done and not may_be_empty:
        raise ValidationError(f"{path} is empty: it has a header and 0 rows; fetch it again")
    if done and not kept:
        held = "; ".join(f"{name} holds {values}" for name, values in others.items())
        raise ValidationError(f"{path} has no row where {dict(where)}: {held}")


def _parquet(path: Path, wanted: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    done = 0
    with damage(path), path.open("rb") as stream:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        for batch in file.iter_batches(batch_size=batch_rows, columns=wanted):
            done += batch.num_rows
            plain = [_plain(batch.column(name)) for name in wanted]
            yield pa.RecordBatch.from_arrays(plain, names=wanted)
        if done != file.metadata.num_rows:
            raise ValidationError(
                f"{path} is damaged: {done:,} of its {file.metadata.num_rows:,} rows are there"
            )


def _dbn(path: Path, wanted: list[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    with damage(path), open_bytes(path) as stream:
        yield from dbn.batches(stream, path, wanted, batch_rows)


def _plain(column: pa.Array) -> pa.Array:
    """Categories and long texts as texts."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if is_text else column


def _csv(
    path: Path, wanted: list[str], batch_rows: int, columns: list[str], header: bool, open_end: bool
) -> Iterator[pa.RecordBatch]:
    """Columns of a CSV as text; a column that is there twice must say the same twice."""
    import pyarrow.csv as pcsv

    if header and sum(bool(line.strip()) for line in head(path, 2).splitlines()) < 2:
        return  # a header only, which the parser cannot skip
    cells = _header_cells(path, head(path)) if header else columns
    twins = {new: old for new, old in zip(columns, cells, strict=True) if new != old in wanted}
    broken: list[Any] = []

    def keep(row: Any) -> str:
        broken.append(row)
        return "error"

    every = [*wanted, *twins]
    done, last = 0, None
    with damage(path), open_bytes(path) as stream:
        try:
            reader = pcsv.open_csv(
                stream,
                read_options=pcsv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=columns,
                    skip_rows=int(header),
                ),
                parse_options=pcsv.ParseOptions(invalid_row_handler=keep),
                convert_options=pcsv.ConvertOptions(
                    column_types=dict.fromkeys(every, pa.string()), include_columns=every,
                    null_values=NULLS, strings_can_be_null=True,
                ),
            )  # fmt: skip
            for batch in _rebatched(reader, batch_rows):
                rows = Rows(path, np.arange(done, done + batch.num_rows), batch)
                done += len(rows)
                for new, old in twins.items():
                    rows.refuse_different(old, new)
                last = batch.column(columns[-1])[-1].as_py() if columns[-1] in wanted else None
                yield batch.select(wanted)
        except pa.ArrowInvalid as error:
            raise _wrong_width(path, broken[0], header) if broken else error from error
    number = done and last is not None and re.fullmatch(r"[-+.\deE]+", last)
    if number and not open_end and _ends_open(path):
        raise ValidationError(
            f"{path}: column {columns[-1]}, row {done - 1} has no end of line, so its number may "
            "be cut off; fetch the file again, or end its last line if it is whole"
        )


def _ends_open(path: Path) -> bool:
    """Whether a plain file's last line lacks its end; a compressed one cut off is damaged."""
    with path.open("rb") as raw:
        if raw.read(4).startswith((b"PK", *CODECS)):
            return False
        raw.seek(-1, io.SEEK_END)
        return raw.read(1) not in (b"\n", b"\r")


def _rebatched(reader: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `batch_rows`, the last one excepted."""
    waiting: list[pa.RecordBatch] = []
    for batch in reader:
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) < batch_rows:
            continue
        table = pa.Table.from_batches(waiting).combine_chunks()
        whole = table.num_rows // batch_rows * batch_rows
        for start in range(0, whole, batch_rows):
            yield table.slice(start, batch_rows).to_batches()[0]
        waiting = table.slice(whole).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def _wrong_width(path: Path, row: Any, header: bool) -> ValidationError:
    """What is wrong with a line of too few or too many cells."""
    position, line = "unknown", ""
    if row.number is not None:
        position, line = row.number - 1 - int(header), f" (line {row.number:,})"
    return ValidationError(
        f"{path}: row {position} has {row.actual_columns} cells, {row.expected_columns} are due "
        f"({row.text[:60]!r}){line}; the file is cut off or has another delimiter"
    )


def line_of(path: Path, row: int) -> str:
    """Where a row of data is in a text file, " (line 7)"; nothing where there are no lines."""
    start = head(path) if path.is_file() else dbn.MAGIC
    if is_parquet(start) or start.startswith(dbn.MAGIC):
        return ""
    done = -int(NUMBER.fullmatch(_header_cells(path, start)[0]) is None)
    with damage(path), open_bytes(path) as stream:
        for number, line in enumerate(io.BufferedReader(stream), start=1):
            if line.strip() and (done := done + 1) > row:
                return f" (line {number:,})"
    return ""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a file: their numbers in it, (n,), and their columns; `batch` None where no table."""

    path: Path
    number: Int64
    batch: Any = None

    def __len__(self) -> int:
        return len(self.number)

    def error(self, name: str, k: int, value: Any, rule: str, remedy: str) -> ValidationError:
        """Says that the `k`-th of these rows breaks the rule of a column."""
        row = int(self.number[k])
        return ValidationError(
            f"{self.path}: column {name} {rule}, row {row} holds {value!r}"
            f"{line_of(self.path, row)}; {remedy}"
        )

    def refuse(
        self, name: str, bad: Bool, values: Any, rule: str, remedy: str = "correct or drop it"
    ) -> None:
        """Raise for the first row in which `bad`, (n,), is True."""
        if bad.any():
            k = int(np.argmax(bad))
            value = values[k].as_py() if isinstance(values, pa.Array) else values[k].item()
            raise self.error(name, k, value, rule, remedy)

    def refuse_table(
        self, names: Sequence[str], bad: Bool, values: NDArray[Any], rule: str
    ) -> None:
        """As `refuse`, for k columns side by side, (n, k)."""
        if bad.any():
            column = int(np.argwhere(bad)[0][1])
            self.refuse(names[column], bad[:, column], values[:, column], rule)

    def refuse_different(self, name: str, again: str) -> None:
        """Raise at the first row in which two columns of one name do not say the same."""
        one, other = (self.batch.column(column).fill_null("") for column in (name, again))
        row = pc.index(pc.equal(one, other), False).as_py()
        if row >= 0:
            number = int(self.number[row])
            raise ValidationError(
                f"{self.path} has column {name} twice and they differ: row {number} holds "
                f"{one[row]} and {other[row]}{line_of(self.path, number)}; rename or remove one"
            )

    def given(self, name: str) -> pa.Array:
        """A column without empty cells."""
        column = self.batch.column(name)
        self.refuse(name, column.is_null().to_numpy(False), column, "must not be empty")
        return column

    def cast(self, name: str, kind: pa.DataType, said: str = "numbers") -> pa.Array:
        """A column as another type; the first cell that is not of it is named."""
        column = self.batch.column(name)
        if not pa.types.is_string(column.type):
            try:
                return pc.cast(column, kind, safe=not pa.types.is_floating(kind))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ValidationError(
                    f"{self.path}: column {name} must hold {said}, it holds {column.type}"
                ) from error
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid:
            column = pc.utf8_trim_whitespace(column)
        k = _first_bad(column, kind)
        if k == len(column):
            return pc.cast(column, kind)
        remedy = "correct or fetch it again"
        if THOUSANDS.fullmatch(column[k].as_py()):
            remedy = 'write it without thousands separators: pandas.read_csv(path, thousands=",")'
        raise self.error(name, k, column[k].as_py(), f"must hold {said}", remedy)

    def numbers(self, names: Sequence[str]) -> Float:
        """Numeric columns side by side, (n, k) floats, NaN where empty."""
        columns = [self.cast(name, pa.float64()).to_numpy(zero_copy_only=False) for name in names]
        return np.column_stack(columns)

    def integers(self, names: Sequence[str]) -> Int64:
        """Columns of whole numbers side by side, (n, k), none of them empty."""
        for name in names:
            self.given(name)
        return np.column_stack([self.cast(name, pa.int64()).to_numpy() for name in names])

    def text(self, name: str) -> pa.Array:
        """A column as text."""
        return pc.cast(self.batch.column(name), pa.string())

    def codes(self, name: str, known: Sequence[str]) -> Int64:
        """Position of each cell in `known`, (n,); others are refused."""
        column = self.batch.column(name)
        if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
            # Bytes need not be text.
            values = pa.array([code.encode() for code in known], pa.binary())
            column = column.cast(pa.binary())
        else:
            values, column = pa.array(known), self.text(name)
        found = pc.index_in(column, value_set=values)
        rule = f"must be one of {', '.join(known)}"
        self.refuse(name, found.is_null().to_numpy(False), column, rule)
        return np.asarray(found.to_numpy(), np.int64)

    def exact_ns(self, name: str, unit_ns: int) -> Int64:
        """Decimal times as whole nanoseconds, rounded: no digit passes through a float."""
        exact = self.cast(name, pa.decimal128(27, DECIMALS[unit_ns]))
        rounded = pc.round(pc.multiply(exact, pa.scalar(Decimal(unit_ns))), 0)
        return np.asarray(rounded.cast(pa.int64()).to_numpy(), np.int64)

    def times(self, name: str, unit: str | None = None, timezone: str | None = None) -> Int64:
        """Times as int64 ns UTC, (n,); none may be missing or outside 1990-2100.

        Parameters
        ----------
        unit : "s", "ms", "us" or "ns", optional
            Of numbers; nanoseconds by default.
        timezone : str, optional
            Of times that name none.
        """
        column = self.given(name)
        first = column[0].as_py().strip() if pa.types.is_string(column.type) else None
        numeric = NUMBER.fullmatch(first) if first is not None else _is_number(column.type)
        if numeric:
            return self._counted(name, unit or "ns")
        zoned = getattr(column.type, "tz", None) if first is None else not NAIVE.fullmatch(first)
        if zoned or (first is None and not pa.types.is_temporal(column.type)):
            said = "ISO 8601 times with a time zone, such as 2025-04-03T09:30:00.125-04:00"
            stamps = self.cast(name, UTC_NS, said)
        elif timezone is None:
            shown = f"row {self.number[0]} holds {column[0].as_py()!r}" if first else column.type
            raise ValidationError(
                f"{self.path}: column {name} has no time zone; localise it first, e.g. "
                f'.dt.tz_localize("America/New_York"), or give timezone="America/New_York"; {shown}'
            )
        else:
            stamps = self._localised(name, timezone)
        time = np.asarray(stamps.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
        unlikely = (time < EARLIEST_NS) | (time > LATEST_NS)
        self.refuse(name, unlikely, column, "must lie between 1990 and 2100")
        return time

    def _counted(self, name: str, unit: str) -> Int64:
        """Times that count from 1970."""
        column, factor = self.batch.column(name), TIME_UNITS[unit]
        whole = pa.types.is_integer(column.type) or (
            pa.types.is_string(column.type) and not pc.any(pc.match_substring(column, ".")).as_py()
        )
        count = self.cast(name, pa.int64() if whole else pa.float64()).to_numpy()
        unlikely = ~((count >= EARLIEST_NS / factor) & (count <= LATEST_NS / factor))
        if unlikely.any():
            k = int(np.argmax(unlikely))
            remedy = _likely_unit(float(count[k]))
            rule = f"must be {UNIT_NAMES[unit]} since 1970, between 1990 and 2100"
            raise self.error(name, k, count[k].item(), rule, remedy)
        return np.asarray(count * factor, np.int64) if whole else self.exact_ns(name, factor)

    def _localised(self, name: str, timezone: str) -> pa.Array:
        """Times of a zone's own clock, which must not be those that a change of clocks repeats."""
        local = self.cast(name, pa.timestamp("ns"), "times, all without or all with a zone")
        earliest, latest = (
            pc.assume_timezone(local, timezone, ambiguous=choice, nonexistent=choice)
            for choice in ("earliest", "latest")
        )
        unclear = pc.not_equal(earliest, latest).to_numpy(False)
        rule = f"is not one time where clocks change in {timezone}"
        remedy = "write times in UTC, or with their offset (-04:00)"
        self.refuse(name, unclear, self.batch.column(name), rule, remedy)
        return earliest

    def refuse_backwards(self, name: str, time: Int64, before: int) -> int:
        """Raise at the first row that is earlier than the one before it; return the last time."""
        back = np.diff(time, prepend=np.int64(before)) < 0
        if back.any():
            k = int(np.argmax(back))
            row, earlier = int(self.number[k]), time[k - 1] if k else before
            raise ValidationError(
                f"{self.path}: time runs backwards in column {name}, row {row} holds "
                f"{pd.Timestamp(time[k])}Z after {pd.Timestamp(earlier)}Z"
                f"{line_of(self.path, row)}; sort the file by time"
            )
        return int(time[-1])

    def levels(
        self, names: tuple[Sequence[str], Sequence[str]], price: Float, size: Float, flag: bool
    ) -> tuple[Float, Float]:
        """Prices and sizes of one side, each (n, L), checked; empty levels are NaN and 0.

        Empty is a level of size 0, or without price and size. A price without a size, a size
        without a price, a negative size, a price at or below 0, and one that is a vendor's mark
        of an empty level are refused. Under `flag` what is no number, and a negative size, is
        left as it is for `BookSnapshots.flagging`.
        """
        (prices, sizes), priced, sized = names, ~np.isnan(price), ~np.isnan(size)
        size = np.where(priced | sized, size, 0.0)
        shown = size > 0
        if not flag:
            for name, bad, values, rule in (
                (prices, np.isinf(price), price, "must be finite"),
                (sizes, np.isinf(size), size, "must be finite"),
                (sizes, priced & ~sized, size, "must not be empty where there is a price"),
                (sizes, size < 0, size, "must be at least 0"),
                (prices, shown & ~priced, price, "must not be empty where there is size"),
            ):
                self.refuse_table(name, bad, values, rule)
        price = np.where(np.isinf(price), np.nan, price)
        self.refuse_table(prices, shown & (price <= 0), price, "must be above 0")
        limit = price_limit(price[shown])
        high = shown & ((price >= limit) | np.isin(price, SENTINELS))
        self.refuse_table(prices, high, price, f"must be below {limit:g}")
        return np.where(shown, price, np.nan), size

    def one_value(self, names: Iterable[str], before: dict[str, str]) -> str:
        """The symbol, "" without one; every column of `IDENTITIES` must hold one value throughout.

        `before` has the values of the rows before, and is brought up to date.
        """
        for name in names:
            column = self.given(name).cast(pa.string())
            known = before.setdefault(name, column[0].as_py())
            found = column.unique().to_pylist()
            if found != [known]:
                values = column.to_pylist()
                k = next(k for k, value in enumerate(values) if value != known)
                value = self.batch.column(name)[k].as_py()
                raise ValidationError(
                    f"{self.path}: column {name} must hold one symbol, row {self.number[k]} holds "
                    f"{values[k]!r} after {known!r}{line_of(self.path, int(self.number[k]))}; "
                    f"split the file, or read one of them: where={{{name!r}: {value!r}}}"
                )
        return next((before[name] for name in names if name.lower() in IDENTITIES[:2]), "")

    def matching(self, where: Mapping[str, Any]) -> Rows:
        """The rows that hold the wanted values."""
        kept = np.ones(len(self), bool)
        for name, value in where.items():
            values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
            wanted = pa.array([str(one) for one in values])
            kept &= pc.is_in(self.text(name), value_set=wanted).to_numpy(False)
        return Rows(self.path, self.number[kept], self.batch.filter(pa.array(kept)))

    def some_values(self, name: str) -> str:
        """The first few values of a column, to be named in an error."""
        return ", ".join(map(str, self.batch.column(name).unique().to_pylist()[:5]))


def price_limit(prices: Float) -> float:
    """What prices must lie below: a billion, or a thousand times the lowest of them.

    A mark of an empty level or a fixed-point integer lies far above the prices beside it; a
    currency of small units does not.
    """
    positive = prices[prices > 0]
    return float(max(HIGH_PRICE, ALIKE * positive.min())) if positive.size else HIGH_PRICE


def identities(names: Iterable[str]) -> list[str]:
    """The columns, however capitalised, that say whose book a row is; the symbol's first."""
    found = [name for name in names if name.lower() in IDENTITIES]
    return sorted(found, key=lambda name: IDENTITIES.index(name.lower()))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _likely_unit(count: float) -> str:
    for unit, factor in TIME_UNITS.items():
        if EARLIEST_NS <= count * factor <= LATEST_NS:
            return f'it looks like {UNIT_NAMES[unit]}: give time_unit="{unit}"'
    return "correct or drop it"


def _first_bad(column: pa.Array, kind: pa.DataType) -> int:
    """Position of the first cell that is not of a type; the length where all are."""

    def fails(n: int) -> bool:
        try:
            pc.cast(column.slice(0, n), kind)
        except pa.ArrowInvalid:
            return True
        return False

    return bisect_left(range(len(column) + 1), True, key=fails) - 1

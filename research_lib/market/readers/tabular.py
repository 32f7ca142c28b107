"""Tables from files and frames: any compression, CSV, Parquet or DBN, in batches of bounded size.

Every failure has one form: the source, the column, what is expected of it, and the first row that
does not comply, with its cell. Rows are counted from 0 at the first row of data. The cells of a CSV
are read as text and parsed here, so that what cannot be parsed can be named.
"""

# ruff: noqa: I001  (several names a line)

from __future__ import annotations

import io
import re
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from research_lib.checks import Float, refuse_unknown
from research_lib.config import Record
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.sessions import EARLIEST, LATEST, Int64, Session
from research_lib.market.sessions import as_session, refuse_unknown_zone

Bool = NDArray[np.bool_]
Source: TypeAlias = Path | pd.DataFrame

HEAD_BYTES = 1 << 18  # holds the header of a thousand levels
ALL_ROWS = 500_000  # at once, where a source is read whole
BLOCK_BYTES = 1 << 20  # pyarrow reads 32 blocks ahead of a slower consumer: 32 MB a file
CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
ZIP, PARQUET, DBN = b"PK", b"PAR1", b"DBN"
NULLS = ["", "NaN", "nan", "null"]
DAMAGE = (pa.ArrowException, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError)
UTC_NS = pa.timestamp("ns", tz="UTC")
TIME_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
NUMBER = re.compile(r"\d+(\.\d*)?")
NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?")
ISO = "must hold ISO 8601 times with a time zone, such as 2025-04-03T09:30:00.125-04:00"
# Vendors' marks of an empty level, in currency: LOBSTER's, and Databento's in two scales.
SENTINELS = (9_999_999_999.0, 2.0**63 / 1e9, 2.0**63)
HIGH_PRICE, ALIKE = 1e9, 1e3  # beyond the one a price must be like the others beside it
# Columns that say whose book a row is: with two values in one, two books alternate.
SYMBOLS = "symbol", "ticker", "sym", "instr", "ric"
WHOSE = """
    instrument security contract isin product exchange exch venue mic market mkt publisher dataset
    mpid symsuffix tradingsymbol rootsymbol root underlying asset pair coin stock series cusip figi
    sedol permno expiry expiration maturity contractmonth strike strikeprice putcall currency
"""


@dataclass(frozen=True)
class Options(Record):
    """How a source is to be read; the arguments of `read_books`, by the same names."""

    session: Session = field(default_factory=Session)
    symbol: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    time_unit: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    signs: str = ""
    # What one file of a series leaves to the next: what each column that says whose book a row is
    # has held.
    seen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """From the arguments of a reader; None means the default."""
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbol", str(self.symbol))
        as_session(self.session)
        for name in ("columns", "where"):
            if not isinstance(self[name], Mapping):
                raise ValidationError(f"{name} must map names, {{'a': 'b'}}, got {self[name]!r}")
        refuse_unknown([self.time_unit or "ns"], TIME_UNITS, "time_unit")
        refuse_unknown_zone(self.timezone or "UTC")


class Format(NamedTuple):
    """A file format: how it is recognised by path and first bytes, and how its books are read.

    `takes` names which of `columns`, `timezone`, `time_unit` and `where` apply.
    """

    name: str
    matches: Callable[[Path, bytes], bool]
    batches: Callable[[Any, int, Options], Iterator[Any]]
    takes: tuple[str, ...] = ()


@contextmanager
def damage(path: Source) -> Iterator[None]:
    """Turn a damaged file's failure to decompress or to parse into an error that names the file."""
    try:
        yield
    except ValidationError:  # of which MissingDataError is an OSError too
        raise
    except (*DAMAGE, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValidationError(f"{path} cannot be read: {reason}; fetch it again") from error


def open_bytes(path: Path, member: str = "") -> io.BufferedReader:
    """Content decompressed, if its first bytes say gzip, zstd, or zip.

    Of a zip with several files the one whose name contains `member`. Databento's binary records
    (DBN) come as the text of its CSV files.
    """
    if not path.is_file():
        raise MissingDataError(f"{path} does not exist; check the path or set RESEARCH_DATA")
    # Opened by Python: pyarrow takes every name for UTF-8, whatever the locale.
    stream: Any = path.open("rb")
    start = stream.peek(4)[:4]
    if not start:
        raise ValidationError(f"{path} is empty: it has 0 bytes; fetch it again")
    if start.startswith(ZIP):
        archive = zipfile.ZipFile(stream)
        inside = [name for name in archive.namelist() if member in name]
        if len(inside) != 1:
            raise ValidationError(f"{path} holds {archive.namelist()[:8]}; one file is wanted")
        stream = io.BufferedReader(archive.open(inside[0]))
    for magic, codec in CODECS.items():
        if start.startswith(magic):
            packed = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)
            stream = io.BufferedReader(packed)
    is_dbn = stream.peek(3).startswith(DBN)
    return io.BufferedReader(_Pieces(_dbn_as_csv(stream))) if is_dbn else stream


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.waiting = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.waiting = self.waiting or next(filter(None, self.pieces), b"")
        n = min(len(buffer), len(self.waiting))
        buffer[:n], self.waiting = self.waiting[:n], self.waiting[n:]
        return n


def _dbn_as_csv(stream: io.BufferedReader) -> Iterator[bytes]:
    """Databento's binary records as CSV, by its own transcoder."""
    import databento_dbn as dbn

    text, begin, n_bytes, n_lines = io.BytesIO(), b"", 0, -1
    as_csv: Any = {"encoding": dbn.Encoding.CSV, "compression": dbn.Compression.NONE}
    transcoder = dbn.Transcoder(text, **as_csv, pretty_ts=False, map_symbols=True)
    while data := stream.read(BLOCK_BYTES):
        try:
            transcoder.write(data)
            transcoder.flush()
        except BaseException as error:  # it panics at a record that is too short
            if isinstance(error, KeyboardInterrupt):
                raise
            raise OSError(str(error)) from error
        yield text.getvalue()
        n_bytes, n_lines = n_bytes + len(data), n_lines + text.getvalue().count(b"\n")
        begin = begin if len(begin) > BLOCK_BYTES else begin + data
        text.seek(0)
        text.truncate()
    # It leaves out records of another kind, and half a record at the end. A record begins with its
    # length in units of four bytes.
    first = 8 + int.from_bytes(begin[4:8], "little")
    due = first + n_lines * 4 * begin[first] if n_bytes > first else first
    if n_bytes != due:
        raise OSError(f"its {n_bytes:,} bytes are not {n_lines:,} whole records")


def head(path: Path) -> bytes:
    """How the decompressed content begins, of a zip that of its first file."""
    with damage(path), open_bytes(path, next(iter(members(path)), "")) as stream:
        return stream.read(HEAD_BYTES)


def members(path: Path) -> list[str]:
    """Names of the files in a zip; none of any other file."""
    with damage(path):
        return zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []


def column_names(path: Path) -> list[str]:
    """Column names in the file's order; a repeated name of a CSV gets the suffix .1, .2, ..."""
    start = head(path)
    if start.startswith(PARQUET):
        import pyarrow.parquet as pq

        with damage(path), path.open("rb") as stream:
            schema = pq.read_schema(stream)
        if not any(map(pa.types.is_nested, schema.types)):
            return list(schema.names)
        return list(dict.fromkeys([*schema.names, *_nested_names(path, path.stat().st_mtime_ns)]))
    line = start.partition(b"\n")[0].decode("utf-8", errors="replace").strip("\r\ufeff")
    cells = [cell.strip().strip('"') for cell in line.split(",")]
    before = [cells[:k].count(cell) for k, cell in enumerate(cells)]
    return [f"{cell}.{n}" if n else cell for cell, n in zip(cells, before, strict=True)]


@lru_cache(maxsize=256)  # asked for several times a file, and all of its rows decide
def _nested_names(path: Path, changed_ns: int) -> tuple[str, ...]:
    """Names of the columns of a Parquet file with lists, as `_flat` makes them."""
    import pyarrow.parquet as pq

    with damage(path), path.open("rb") as stream:
        parts = (_flat(one).schema.names for one in pq.ParquetFile(stream).iter_batches())
        return tuple(dict.fromkeys(name for names in parts for name in names))


def label(source: Source) -> str:
    """What errors call a source."""
    return str(source) if isinstance(source, Path) else "book frame"


def renamed(source: Source, options: Options) -> dict[str, str]:
    """The source's own name of every column by the name that the user gives it."""
    names = column_names(source) if isinstance(source, Path) else list(source.columns)
    if absent := [name for name in options.columns if name not in names]:
        raise ValidationError(f"{label(source)} has no column {absent[0]!r} to rename: {names[:8]}")
    given = [str(options.columns.get(name, name)) for name in names]
    if twice := [f"columns would be {name}" for name in given if given.count(name) > 1]:
        raise ValidationError(f"{label(source)}: {len(twice)} {twice[0]}; rename or remove one")
    return dict(zip(given, names, strict=True))


def read(
    source: Source, wanted: Iterable[str], batch_rows: int, options: Options | None = None,
    names: Sequence[str] = (), member: str = "",
) -> Iterator[Rows]:  # fmt: skip
    """Columns of a file, `batch_rows` rows at a time, or all of a frame, in the source's order.

    Parameters
    ----------
    wanted : iterable of str
        The columns to read, by the names that `options.columns` gives them.
    options : Options, optional
        Only `columns` and `where` (which rows are kept) are used here.
    names : sequence of str, optional
        All column names in order, where a CSV has no header line.
    member : str
        As of `open_bytes`.

    Raises
    ------
    ValidationError
        A column that is missing, a line with too few or too many cells, a damaged file, no rows,
        no row that `where` keeps.
    """
    options = options or Options()
    own = {name: name for name in names} or renamed(source, options)
    every = list(dict.fromkeys([*wanted, *options.where]))
    if absent := [name for name in every if name not in own]:
        lacks = f"{label(source)} lacks column {', '.join(absent[:5])} ({len(absent)} in all)"
        raise ValidationError(f"{lacks}; it has {', '.join(list(own)[:8])}")
    done, kept, held = 0, 0, ""
    for batch in _batches(source, [own[name] for name in every], batch_rows, names, member):
        batch = pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], every)
        rows = Rows(source, np.arange(done, done + len(batch)), batch)
        done += len(rows)
        for name in options.where:
            held = f": {name} holds {', '.join(map(str, batch[name].unique().to_pylist()[:5]))}"
        rows = rows.matching(options.where) if options.where else rows
        kept += len(rows)
        if len(rows):
            yield rows
    if not done:
        raise ValidationError(f"{label(source)} is empty: it has 0 rows; fetch it again")
    if not kept:
        raise ValidationError(f"{label(source)} has no row where {dict(options.where)}{held}")


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Lists and structs as columns of their own: bids[0].price, bids[0].amount, bids[1].price."""
    leaves = [leaf for name in batch.schema.names for leaf in _leaves(name, batch[name])]
    return pa.RecordBatch.from_arrays([one for _, one in leaves], [name for name, _ in leaves])


def _leaves(name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """A list's k-th elements as name[k], empty where it is shorter; a struct's fields as name.f."""
    if pa.types.is_struct(column.type):
        for k, one in enumerate(column.type):
            yield from _leaves(f"{name}.{one.name}", column.flatten()[k])
    elif pa.types.is_nested(column.type):
        length = pc.fill_null(pc.list_value_length(column), 0).to_numpy(False)
        first, values = np.cumsum(length) - length, column.flatten()
        for k in range(length.max(initial=0)):
            yield from _leaves(f"{name}[{k}]", values.take(pa.array(first + k, mask=length <= k)))
    else:
        yield name, column


def flat_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose cells of lists are columns of their own, as those of a Parquet file are."""
    objects, kinds = frame.columns[frame.dtypes == np.dtype("O")], (list, tuple, np.ndarray)
    nested = [n for n in objects if isinstance(next(iter(frame[n].dropna()), None), kinds)]
    if not nested:
        return frame
    lists = frame[nested].map(lambda cell: list(cell) if isinstance(cell, kinds) else None)
    flat = _flat(pa.RecordBatch.from_pandas(lists, preserve_index=False)).to_pandas()
    return pd.concat([frame.drop(columns=nested).reset_index(drop=True), flat], axis=1)


def _plain(column: pa.Array) -> pa.Array:
    """Categories and large strings as plain strings."""
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    long_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if long_text else column


def _batches(
    source: Source, wanted: list[str], batch_rows: int, names: Sequence[str], member: str
) -> Iterator[pa.RecordBatch]:
    """Columns of any encoding, by their own names."""
    if isinstance(source, pd.DataFrame):
        frame = source[wanted]
        # What pandas keeps as objects is taken as text.
        objects = frame[frame.columns[frame.dtypes == np.dtype("O")]]
        frame = frame.assign(**objects.map(str, na_action="ignore"))
        yield from pa.Table.from_pandas(frame, preserve_index=False, nthreads=1).to_batches()
        return
    with damage(source), open_bytes(source, member) as stream:
        if stream.peek(4).startswith(PARQUET):
            import pyarrow.parquet as pq

            file = pq.ParquetFile(stream, page_checksum_verification=True)
            has = file.schema_arrow.names
            own = dict.fromkeys(n if n in has else re.split(r"[\[.]", n)[0] for n in wanted)
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(own)):
                yield batch.select(wanted) if set(wanted) <= set(has) else _chosen(batch, wanted)
        else:
            yield from _csv(source, stream, wanted, batch_rows, names)


def _chosen(batch: pa.RecordBatch, wanted: list[str]) -> pa.RecordBatch:
    """The columns wanted of lists too; one that only longer lists than these have is empty."""
    empty, flat = pa.nulls(len(batch), pa.float64()), _flat(batch)
    has = flat.schema.names
    return pa.RecordBatch.from_arrays([flat[n] if n in has else empty for n in wanted], wanted)


def _csv(
    path: Path, stream: Any, wanted: list[str], batch_rows: int, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Columns of a CSV as text; a column that occurs twice must hold the same values."""
    import pyarrow.csv as pcsv

    columns = list(names or column_names(path))
    if not names and not head(path).partition(b"\n")[2].strip():
        return  # a header only, which the parser cannot skip
    twins = {f"{name}.1": name for name in wanted if f"{name}.1" in columns}
    texts = [*wanted, *twins]
    # Without threads the parser names the row in its errors.
    reading: Any = {"use_threads": False, "block_size": BLOCK_BYTES, "skip_rows": not names}
    reading["column_names"] = columns
    converting: Any = {"null_values": NULLS, "strings_can_be_null": True, "include_columns": texts}
    converting["column_types"] = dict.fromkeys(texts, pa.string())
    how, cells = pcsv.ReadOptions(**reading), pcsv.ConvertOptions(**converting)
    for batch in _rebatched(pcsv.open_csv(stream, how, convert_options=cells), batch_rows):
        for twin, name in twins.items():
            if not batch[twin].equals(batch[name]):
                raise ValidationError(f"{path}: column {name} is there twice and differs; drop one")
        yield batch.select(wanted)
    with path.open("rb") as raw:
        packed = raw.read(4).startswith((ZIP, DBN, *CODECS))  # these report a cut themselves
        raw.seek(-1, io.SEEK_END)
        if not packed and raw.read(1) in b"0123456789.":
            raise ValidationError(f"{path}: the last row has no end of line; fetch or end it")


def _rebatched(reader: pa.RecordBatchReader, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `batch_rows`, the last one excepted."""
    waiting = reader.schema.empty_table()
    for batch in reader:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while len(waiting) >= batch_rows:
            yield pa.concat_batches(waiting.slice(0, batch_rows).to_batches())
            waiting = waiting.slice(batch_rows)
    if len(waiting):
        yield pa.concat_batches(waiting.to_batches())


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a source: their numbers in it, (n,), and their columns."""

    source: Source
    number: Int64
    batch: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.number)

    def error(self, name: str, k: int, rule: str, remedy: str, n: int = 1) -> ValidationError:
        """Says that the `k`-th of these rows, and `n` in all, break the rule of a column."""
        held = f"{self.batch[name][k].as_py()!r} ({n:,} of {self.number[-1] + 1:,} rows read)"
        where = f"{label(self.source)}: column {name} {rule}, row {self.number[k]}"
        return ValidationError(f"{where} holds {held}; {remedy}")

    def require(self, name: str, good: Bool, rule: str, remedy: str = "correct or drop it") -> None:
        """Raise for the first row in which `good`, (n,), is False."""
        if not good.all():
            raise self.error(name, int(np.argmin(good)), rule, remedy, int(np.sum(~good)))

    def require_all(self, names: Sequence[str], good: Bool, rule: str) -> None:
        """As `require`, for k columns side by side, (n, k)."""
        if not good.all():
            column = int(np.argwhere(~good)[0][1])
            self.require(names[column], good[:, column], rule)

    def given(self, name: str) -> pa.Array:
        """A column without empty cells."""
        self.require(name, self.batch[name].is_valid().to_numpy(False), "must not be empty")
        return self.batch[name]

    def is_text(self, name: str) -> bool:
        """Whether a column holds text."""
        return bool(pa.types.is_string(self.batch[name].type))

    def cast(self, name: str, kind: pa.DataType, rule: str = "must hold numbers") -> pa.Array:
        """A column as another type; the first cell that is not of it is named."""
        column, is_text = self.batch[name], self.is_text(name)
        column = pc.utf8_trim_whitespace(column) if is_text else column
        safe = is_text or not pa.types.is_floating(kind)

        def first(n: int) -> pa.Array | None:
            """The first n cells as the other type; None where one of them is not of it."""
            with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
                return pc.cast(column.slice(0, n), kind, safe=safe)
            return None

        if (whole := first(len(column))) is not None:
            return whole
        k = bisect_left(range(len(column)), True, key=lambda row: first(row + 1) is None)
        raise self.error(name, k, rule, "correct it (no thousands separators) or fetch it again")

    def numbers(self, names: Sequence[str]) -> Float:
        """Numeric columns side by side, (n, k) floats, NaN where empty."""
        return np.column_stack([self.cast(name, pa.float64()).to_numpy(False) for name in names])

    def integers(self, names: Sequence[str]) -> Int64:
        """Columns of whole numbers side by side, (n, k), none of them empty."""
        for name in names:
            self.given(name)
        return np.column_stack([self.cast(name, pa.int64()).to_numpy() for name in names])

    def codes(self, name: str, known: Sequence[str]) -> Int64:
        """Position of each cell in `known`, (n,); others are refused."""
        found = pc.index_in(self.batch[name].cast(pa.string()), value_set=pa.array(known))
        self.require(name, found.is_valid().to_numpy(False), f"must be one of {', '.join(known)}")
        return np.asarray(found.to_numpy(), np.int64)

    def exact_ns(self, name: str, unit_ns: int) -> Int64:
        """Decimal times as whole nanoseconds, rounded: no digit passes through a float."""
        # Six decimals more than nanoseconds have: some exporters write binary fractions in full.
        exact = self.cast(name, pa.decimal128(27, len(str(unit_ns)) + 5))
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
        column, is_text = self.given(name), self.is_text(name)
        first = str(column[0]).strip()
        numeric = NUMBER.fullmatch(first) if is_text else not pa.types.is_temporal(column.type)
        if numeric:
            return self._counted(name, unit or "ns")
        naive = NAIVE.fullmatch(first) if is_text else getattr(column.type, "tz", None) is None
        if naive and timezone is None:
            remedy = 'give timezone or localise it: "America/New_York", "UTC"'
            raise self.error(name, 0, "has no time zone", remedy, len(self))
        stamps = self._localised(name, str(timezone)) if naive else self.cast(name, UTC_NS, ISO)
        time = np.asarray(stamps.cast(pa.int64()).to_numpy(False), np.int64)
        self.require(name, (time >= EARLIEST) & (time <= LATEST), "must lie between 1990 and 2100")
        return time

    def _counted(self, name: str, unit: str) -> Int64:
        """Times that count from 1970."""
        column, factor, is_text = self.batch[name], TIME_UNITS[unit], self.is_text(name)
        dotted = is_text and pc.any(pc.match_substring(column, ".")).as_py()
        whole = pa.types.is_integer(column.type) or (is_text and not dotted)
        count = self.cast(name, pa.int64() if whole else pa.float64()).to_numpy()
        likely = (count >= EARLIEST / factor) & (count <= LATEST / factor)
        first = float(count[np.argmin(likely)])
        units = (u for u, ns in TIME_UNITS.items() if EARLIEST <= first * ns <= LATEST)
        remedy = next((f'perhaps give time_unit="{u}"' for u in units), "correct or drop it")
        self.require(name, likely, f"must be {unit} since 1970, between 1990 and 2100", remedy)
        return np.asarray(count * factor, np.int64) if whole else self.exact_ns(name, factor)

    def _localised(self, name: str, timezone: str) -> pa.Array:
        """Local times of a zone; those that a clock change repeats or skips are refused."""
        local = self.cast(name, pa.timestamp("ns"), "must hold times all without or all with zone")
        earliest = pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="earliest")
        latest = pc.assume_timezone(local, timezone, ambiguous="latest", nonexistent="latest")
        rule = f"is not one time where clocks change in {timezone}"
        remedy = "write times in UTC, or with their offset (-04:00)"
        self.require(name, pc.equal(earliest, latest).to_numpy(False), rule, remedy)
        return earliest

    def refuse_backwards(self, name: str, time: Int64, before: int) -> int:
        """Raise at the first row that is earlier than the one before it; return the last time."""
        ahead = np.diff(time, prepend=np.int64(before)) >= 0
        self.require(name, ahead, "runs backwards in time", "sort by time")
        return int(time[-1])

    def sizes(self, names: tuple[list[str], list[str]], price: Float, size: Float) -> Float:
        """Sizes of one side, (n, L), checked with their prices; 0 where the level is empty.

        Empty is a level of size 0, or without price and size. A price that is a vendor's mark of
        an empty level is refused where there is size.
        """
        size = np.where(np.isnan(price) & np.isnan(size), 0.0, size)
        counted = (size >= 0) & (size < np.inf)
        self.require_all(names[1], counted, "must be a finite number of at least 0")
        shown = size > 0
        limit = price_limit(price[shown])
        usable = (price > 0) & (price < limit) & ~np.isin(price, SENTINELS)
        rule = f"must be above 0 and below {limit:g} where there is size"
        self.require_all(names[0], usable | ~shown, rule)
        return size

    def one_value(self, names: Iterable[str], seen: dict[str, str]) -> str:
        """The symbol, "" without one; every column that says whose book it is has one value.

        `seen` has the values of the rows before, and is brought up to date.
        """
        for name in names:
            if self.batch[name].null_count == len(self) and not is_symbol(name):
                continue
            column = self.given(name).cast(pa.string())
            known = seen.setdefault(name, column[0].as_py())
            remedy = f"split the source, or read one: where={{{name!r}: {known!r}}}"
            same = pc.equal(column, known).to_numpy(False)
            self.require(name, same, f"must hold one value, {known!r}", remedy)
        return next((seen[name] for name in names if _stem(name) in SYMBOLS), "")

    def matching(self, where: Mapping[str, Any]) -> Rows:
        """The rows that hold the wanted values."""
        kept = np.ones(len(self), bool)
        for name, value in where.items():
            values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
            texts = self.batch[name].cast(pa.string())
            kept &= pc.is_in(texts, value_set=pa.array(map(str, values))).to_numpy(False)
        return Rows(self.source, self.number[kept], self.batch.filter(pa.array(kept)))


def price_limit(prices: Float) -> float:
    """What prices must lie below: a billion, or a thousand times the lowest of them.

    A vendor's mark of an empty level and a fixed-point integer are far above the prices beside
    them; prices in a currency of small units are alike.
    """
    positive = prices[prices > 0]
    return float(max(HIGH_PRICE, ALIKE * positive.min())) if positive.size else HIGH_PRICE


def identities(names: Iterable[str]) -> list[str]:
    """The columns that say whose book a row is, as InstrumentID or #RIC; the symbol's first."""
    found = [name for name in names if _stem(name) in (*SYMBOLS, *WHOSE.split())]
    return sorted(found, key=lambda name: (_stem(name) not in SYMBOLS, not is_symbol(name)))


def is_symbol(name: str) -> bool:
    """Whether a column is the symbol's by its plain name."""
    return name.lower().strip("#_ ") in SYMBOLS


def _stem(name: str) -> str:
    """A column's name without separators and without a suffix such as id, code or name."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return plain if plain in WHOSE.split() else re.sub("(id|code|name|root)$", "", plain)

"""Dates of the store being written, and put together from files that hold parts of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import store
from research_lib.market.readers.source import damage
from research_lib.market.trades import Trades

SOURCES_KEY, SPANS_KEY = b"research_lib.sources", b"research_lib.spans"
FILES = (store.BOOKS_FILE, store.TRADES_FILE)


def origins(partition: Path) -> list[dict[str, Any]]:
    """The sources that a partition was made of, in time order; none if there is no partition."""
    for path in (partition / name for name in FILES):
        if path.is_file():
            said = _metadata(path).get(SOURCES_KEY)
            if said is None:
                raise ValidationError(
                    f"{path} was not made by convert; move it away or choose another destination"
                )
            return list(json.loads(said))
    return []


def merge(whole: Path, part: Path, folder: Path) -> None:
    """Write into `folder` what the partition `whole` holds and, in its place in time, what `part` of one source holds.

    Raises
    ------
    ValidationError
        If the times of two sources overlap: which of two rows came first could not be told.
    """
    (new,) = _spans(part)
    spans = sorted([*_spans(whole), new], key=lambda span: span.first)
    for earlier, later in pairwise(spans):
        if earlier.last >= later.first:
            raise ValidationError(
                f"{earlier.source['path']} and {later.source['path']} both hold {folder.parent.name}/{folder.name}, "
                f"and their times overlap: {earlier} and {later}; convert one of them, or each into its own folder"
            )
    merged = Partition(
        folder, [span.source for span in spans], [(span.first, span.last) for span in spans]
    )
    for name in FILES:
        for table in _tables(whole / name):
            merged.append(name, table.filter(pc.less(table["time"].cast(pa.int64()), new.first)))
        for table in _tables(part / name):
            merged.append(name, table)
        for table in _tables(whole / name):
            merged.append(name, table.filter(pc.greater(table["time"].cast(pa.int64()), new.last)))
    merged.finish()


@dataclass(frozen=True)
class _Span:
    """First and last time, ns UTC, of what a source gave to a partition, over books and trades."""

    source: dict[str, Any]
    first: int
    last: int

    def __str__(self) -> str:
        return f"{pd.Timestamp(self.first)}Z to {pd.Timestamp(self.last)}Z"


def _spans(partition: Path) -> list[_Span]:
    """What each source gave to a partition, in time order."""
    paths = [partition / name for name in FILES if (partition / name).is_file()]
    sources = origins(partition)
    if len(sources) == 1:
        ends = [end for path in paths for end in _ends(path)]
        return [_Span(sources[0], min(ends), max(ends))]
    said = json.loads(_metadata(paths[0])[SPANS_KEY])
    return [_Span(source, first, last) for source, (first, last) in zip(sources, said, strict=True)]


def _tables(path: Path) -> Iterator[pa.Table]:
    """A file of the store, if it is there, a row group at a time."""
    if path.is_file():
        with damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=store.ROW_GROUP_ROWS):
                yield pa.Table.from_batches([batch])


def _metadata(path: Path) -> dict[bytes, bytes]:
    with damage(path):
        return dict(pq.read_metadata(path).metadata or {})


def _ends(path: Path) -> list[int]:
    """First and last time of a file of the store, ns UTC; none where it has no rows."""
    with damage(path), pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            return []
        ends = ((0, 0), (file.num_row_groups - 1, -1))
        return [
            file.read_row_group(group, ["time"])["time"].cast(pa.int64())[row].as_py()
            for group, row in ends
        ]


class Partition:
    """One symbol and date being written in `folder`.

    Parameters
    ----------
    folder : Path
        Must not exist.
    sources : sequence of mappings
        What it is made of, in time order: the fields of `Source`.
    spans : sequence of (first, last), optional
        Times of each, ns UTC; due where there are several.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Mapping[str, Any]],
        spans: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.folder = folder
        said = {SOURCES_KEY: list(sources), SPANS_KEY: list(spans)}
        self.metadata = {key: json.dumps(value).encode() for key, value in said.items()}
        self.files: dict[str, TableFile] = {}
        folder.mkdir(parents=True)

    def add(self, books: BookSnapshots, trades: Trades | None) -> None:
        """Rows that follow those before."""
        if len(books):
            self.append(store.BOOKS_FILE, store.book_table(books))
        if trades is not None:
            self.append(store.TRADES_FILE, store.trade_table(trades))

    def append(self, name: str, table: pa.Table) -> None:
        """Rows of one of the files."""
        self.files.setdefault(name, TableFile(self.folder / name, self.metadata)).add(table)

    def finish(self) -> None:
        """Write what is waiting: the partition is whole."""
        for file in self.files.values():
            file.finish()

    def abandon(self) -> None:
        """Close what is open, whole or not."""
        for file in self.files.values():
            file.close()


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
        schemas = [part.schema for part in self._waiting] + (
            [self._schema] if self._schema is not None else []
        )
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

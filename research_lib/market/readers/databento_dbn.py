"""Databento's binary records (DBN), mbp-10 and mbp-1, to books and trades."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers import cells
from research_lib.market.readers.mbp import (
    F_BAD_TS_RECV,
    F_SNAPSHOT,
    Records,
    books_of,
    fixed_prices,
)
from research_lib.market.readers.source import damage, open_bytes
from research_lib.market.sessions import Session

NAME = "Databento MBP-10 and MBP-1 (DBN)"
MAGIC = b"DBN"
PREFIX_BYTES = 8
LENGTH_UNIT_BYTES = 4
SCHEMAS: dict[str, tuple[Any, int, int]] = {  # record, its rtype, levels
    "mbp-10": (databento_dbn.MBP10Msg, 10, 10),
    "mbp-1": (databento_dbn.MBP1Msg, 1, 1),
}
ACTIONS = (b"A", b"C", b"M", b"R", b"T", b"F", b"N")
SIDES = (b"A", b"B", b"N")
LATE_NS = 60 * 10**9


def matches(path: Path, head: bytes) -> bool:
    """Whether the decompressed content begins as DBN does."""
    return head.startswith(MAGIC)


def batches(
    path: Path, batch_rows: int, session: Session, *, flag_non_finite: bool = False
) -> Iterator[BookSnapshots]:
    """Books and trades of a DBN or DBN.zst file, `batch_rows` records at a time.

    Prices are fixed-point of 1e-9; UNDEF_PRICE is an empty level. A record may carry a
    `ts_event` older than the record before (a snapshot repeats an old event; the feed's
    lines are merged by receive time). Its book is the newer state all the same, so it takes
    the greatest time so far and time never runs backwards. A record that is no snapshot
    and more than a minute older is refused: the file is damaged or out of order.

    Parameters
    ----------
    path : Path
    batch_rows : int
    session : Session
        Whose opening cross counts.
    flag_non_finite : bool
        Empty and flag a level with size and UNDEF_PRICE, instead of refusing the file.

    Yields
    ------
    BookSnapshots
        Every record a state, `complete` as in `mbp.books_of` (snapshot records are not),
        with `trades`. The symbol is the one that the metadata maps to the instrument id.

    Raises
    ------
    ValidationError
        A damaged or cut-off file, another schema than mbp-10 or mbp-1, several instrument
        ids (named), a record that cannot be: names file, row and column.

    References
    ----------
    Databento, "Databento Binary Encoding": metadata, MBP-10 and MBP-1 records, flags.
    """
    return books_of(records(path, batch_rows, flag_non_finite), session)


def records(path: Path, batch_rows: int, flag_non_finite: bool = False) -> Iterator[Records]:
    """Checked records of one file, `batch_rows` at a time; raises as `batches`."""
    row, newest, instrument = 0, np.int64(cells.EARLIEST_NS), None
    with _decoding(path), open_bytes(path) as stream:
        metadata = _metadata(stream)
        layout = _layout(path, metadata)
        while data := stream.read(batch_rows * layout.itemsize):
            raw = _raw(path, row, data, layout, SCHEMAS[str(metadata.schema)][1])
            instrument = _instrument(path, row, raw["instrument_id"], instrument, metadata)
            time = _times(path, row, raw, newest)
            yield _records(path, row, raw, time, _symbol_of(instrument, metadata), flag_non_finite)
            row, newest = row + len(raw), time[-1]
    if not row:
        raise ValidationError(f"{path} is empty: it has metadata and 0 records; fetch it again")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """As `source.damage`, for what the decoder of metadata raises too."""
    with damage(path):
        try:
            yield
        except databento_dbn.DBNError as error:
            reason = " ".join(str(error).split())
            raise ValidationError(f"{path} cannot be read: {reason}; fetch it again") from error


def _metadata(stream: Any) -> Any:
    """Metadata at the start of a file: 8 bytes that give its length, then itself."""
    prefix = stream.read(PREFIX_BYTES)
    rest = stream.read(int.from_bytes(prefix[4:PREFIX_BYTES], "little"))
    return databento_dbn.Metadata.decode(prefix + rest)


def _layout(path: Path, metadata: Any) -> np.dtype[Any]:
    """NumPy type of the file's records."""
    schema = "mixed" if metadata.schema is None else str(metadata.schema)
    if schema not in SCHEMAS:
        raise ValidationError(
            f"{path} holds schema {schema}, not mbp-10 or mbp-1; fetch one of these"
        )
    fields = list(SCHEMAS[schema][0]._dtypes)
    return np.dtype([*fields, ("ts_out", "u8")] if metadata.ts_out else fields)


def _raw(path: Path, row: int, data: bytes, layout: np.dtype[Any], rtype: int) -> NDArray[Any]:
    """Whole records of the expected kind, (n,)."""
    whole, rest = divmod(len(data), layout.itemsize)
    if rest:
        raise ValidationError(
            f"{path}: row {row + whole} has {rest} bytes, {layout.itemsize} are due; it is cut off, fetch it again"
        )
    raw = np.frombuffer(data, layout)
    length = layout.itemsize // LENGTH_UNIT_BYTES
    cells.refuse_cells(
        path, row, "length", raw["length"] != length, raw["length"], f"must be {length}"
    )
    cells.refuse_cells(path, row, "rtype", raw["rtype"] != rtype, raw["rtype"], f"must be {rtype}")
    return raw


def _instrument(
    path: Path, row: int, ids: NDArray[np.uint32], before: int | None, metadata: Any
) -> int:
    """The one instrument of the file."""
    found = list(dict.fromkeys([*([] if before is None else [before]), *np.unique(ids).tolist()]))
    if len(found) > 1:
        named = ", ".join(f"{number} ({_symbol_of(number, metadata)})" for number in found[:5])
        first = int(np.argmax(ids != (ids[0] if before is None else before)))
        raise ValidationError(
            f"{path}: column instrument_id holds {len(found)} instruments, {named}, the second from row "
            f"{row + first} on; split the file by instrument"
        )
    return int(found[0])


def _symbol_of(instrument: int, metadata: Any) -> str:
    """Symbol that the metadata maps to an instrument id; the id itself where it maps none."""
    for symbol, intervals in metadata.mappings.items():
        if any(interval["symbol"] == str(instrument) for interval in intervals):
            return str(symbol)
    return str(instrument)


def _times(path: Path, row: int, raw: NDArray[Any], newest: np.int64) -> NDArray[np.int64]:
    """The greatest `ts_event` so far, (n,) ns UTC."""
    event = raw["ts_event"]
    unlikely = (event < cells.EARLIEST_NS) | (event > cells.LATEST_NS)
    cells.refuse_cells(
        path, row, "ts_event", unlikely, event, "must be nanoseconds between 1990 and 2100"
    )
    time = np.maximum.accumulate(np.concatenate([[newest], event.astype(np.int64)]))[1:]
    snapshot = (raw["flags"] & (F_SNAPSHOT | F_BAD_TS_RECV)) != 0
    late = ~snapshot & (time - event.astype(np.int64) > LATE_NS)
    if late.any():
        first = int(np.argmax(late))
        raise ValidationError(
            f"{path}: time runs backwards in column ts_event, row {row + first} holds "
            f"{pd.Timestamp(int(event[first]))}Z after {pd.Timestamp(int(time[first]))}Z; fetch it again"
        )
    return time


def _records(
    path: Path, row: int, raw: NDArray[Any], time: NDArray[np.int64], symbol: str, flag: bool
) -> Records:
    for name, known in (("action", ACTIONS), ("side", SIDES)):
        rule = f"must be one of {', '.join(code.decode() for code in known)}"
        cells.refuse_cells(path, row, name, ~np.isin(raw[name], known), raw[name], rule)
    traded = raw["action"] == b"T"
    price, size = fixed_prices(raw["price"]), raw["size"].astype(float)
    for name, values in (("price", price), ("size", size)):
        cells.refuse_cells(
            path, row, name, traded & ~(values > 0), values, "of a trade must be above 0"
        )
    aggressor = (raw["side"] == b"B").astype(np.int8) - (raw["side"] == b"A").astype(np.int8)
    sides = {
        f"{side}_{kind}": table
        for side in ("bid", "ask")
        for kind, table in _side(path, row, raw, side, flag)
    }
    flags = raw["flags"].astype(np.int64)
    return Records(time, flags, traded, aggressor, price, size, symbol=symbol, **sides)


def _side(
    path: Path, row: int, raw: NDArray[Any], side: str, flag: bool
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    n_levels = sum(name.startswith("bid_px_") for name in raw.dtype.names or ())
    prices, sizes = (cells.level_columns(n_levels, [side], [code]) for code in ("px", "sz"))
    price = fixed_prices(np.column_stack([raw[name] for name in prices]))
    size = np.column_stack([raw[name] for name in sizes]).astype(float)
    yield from zip(
        ("price", "size"),
        cells.levels(path, row, prices, sizes, price, size, flag=flag),
        strict=True,
    )

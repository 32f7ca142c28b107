"""Databento's binary records (DBN) as the columns of its CSV files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import ValidationError

MAGIC = b"DBN"
PREFIX_BYTES = 8
LENGTH_UNIT_BYTES = 4


def column_names(stream: Any, path: Path) -> list[str]:
    """Fields of the records, and the symbol that the metadata maps their instrument to."""
    with _decoding(path):
        return [*(_layout(path, _metadata(stream))[0].names or ()), "symbol"]


def batches(
    stream: Any, path: Path, wanted: Sequence[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Records of a decompressed file, `batch_rows` at a time.

    Raises
    ------
    ValidationError
        A damaged or cut-off file, another schema than mbp-10 or mbp-1, a record of another kind.

    References
    ----------
    Databento, "Databento Binary Encoding": metadata, MBP-10 and MBP-1 records.
    """
    row = 0
    with _decoding(path):
        metadata = _metadata(stream)
        layout, n_levels = _layout(path, metadata)
        while data := stream.read(batch_rows * layout.itemsize):
            whole, rest = divmod(len(data), layout.itemsize)
            if rest:
                raise ValidationError(
                    f"{path}: row {row + whole} has {rest} bytes, {layout.itemsize} are due; "
                    "it is cut off, fetch it again"
                )
            raw = np.frombuffer(data, layout)
            # A record's type is its number of levels.
            for name, due in (
                ("length", layout.itemsize // LENGTH_UNIT_BYTES),
                ("rtype", n_levels),
            ):
                if (bad := np.flatnonzero(raw[name] != due)).size:
                    raise ValidationError(
                        f"{path}: column {name} must be {due}, row {row + bad[0]} holds "
                        f"{raw[name][bad[0]]}; fetch it again"
                    )
            row += whole
            columns = [_column(raw, name, metadata) for name in wanted]
            yield pa.RecordBatch.from_arrays(columns, names=list(wanted))
    if not row:
        raise ValidationError(f"{path} is empty: it has metadata and 0 records; fetch it again")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Name the file in what the decoder of metadata raises."""
    import databento_dbn

    try:
        yield
    except databento_dbn.DBNError as error:
        reason = " ".join(str(error).split())
        raise ValidationError(f"{path} cannot be read: {reason}; fetch it again") from error


def _metadata(stream: Any) -> Any:
    """Metadata at the start of a file: 8 bytes that give its length, then itself."""
    import databento_dbn

    prefix = stream.read(PREFIX_BYTES)
    rest = stream.read(int.from_bytes(prefix[4:PREFIX_BYTES], "little"))
    return databento_dbn.Metadata.decode(prefix + rest)


def _layout(path: Path, metadata: Any) -> tuple[np.dtype[Any], int]:
    """NumPy type of the file's records, and their levels."""
    import databento_dbn

    schemas: dict[str, tuple[Any, int]] = {
        "mbp-10": (databento_dbn.MBP10Msg, 10),
        "mbp-1": (databento_dbn.MBP1Msg, 1),
    }
    schema = "mixed" if metadata.schema is None else str(metadata.schema)
    if schema not in schemas:
        raise ValidationError(
            f"{path} holds schema {schema}, not mbp-10 or mbp-1; fetch one of these"
        )
    message, n_levels = schemas[schema]
    fields = [*message._dtypes, *([("ts_out", "u8")] if metadata.ts_out else [])]
    return np.dtype(fields), n_levels


def _column(raw: NDArray[Any], name: str, metadata: Any) -> pa.Array:
    if name == "symbol":
        ids, position = np.unique(raw["instrument_id"], return_inverse=True)
        return pa.array(np.array([_symbol_of(int(one), metadata) for one in ids], object)[position])
    values = np.ascontiguousarray(raw[name])
    # No time or price of the encoding needs the last bit of 64.
    return pa.array(values.view(np.int64) if values.dtype == np.uint64 else values)


def _symbol_of(instrument: int, metadata: Any) -> str:
    """Symbol that the metadata maps to an instrument id; the id itself where it maps none."""
    for symbol, intervals in metadata.mappings.items():
        if any(interval["symbol"] == str(instrument) for interval in intervals):
            return str(symbol)
    return str(instrument)

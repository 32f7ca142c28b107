"""What headerless files of New York need: whole numbers, values carried on from row to row, the day's midnight."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.readers.cells import refuse_cells

Int64 = NDArray[np.int64]
NEW_YORK = "America/New_York"


def integers(path: Path, batch: pa.RecordBatch, columns: Sequence[str], first: int) -> Int64:
    """The named integer columns of a batch, (n, k); `first` is the file's row number of the batch's first row.

    Raises
    ------
    ValidationError
        An empty cell, named by file, row and column.
    """
    for name in columns:
        cells = batch.column(name)
        refuse_cells(path, first, name, cells.is_null().to_numpy(False), cells, "must not be empty")
    return np.column_stack([batch.column(name).to_numpy() for name in columns])


def carried(values: NDArray[Any], given: NDArray[np.bool_], before: Any) -> NDArray[Any]:
    """The last given value at or before each row, (n,); `before` where none was given yet."""
    last = np.maximum.accumulate(np.where(given, np.arange(len(given)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before)


def midnight_ns(date: dt.date) -> int:
    """Midnight in New York of a date, ns UTC."""
    return int(pd.Timestamp(date).tz_localize(NEW_YORK).as_unit("ns").value)


def parsed_date(path: Path, text: str) -> dt.date:
    """A date written YYYY-MM-DD or YYYYMMDD; ValidationError naming the file if there is no such day."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ValidationError(f"{path}: {text!r} is not a date; write it YYYY-MM-DD") from error

"""Rows of a headerless file, a batch at a time: whole numbers, refusals that name the cell, values carried on."""

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
        if cells.null_count:
            refuse_cells(
                cells.is_null().to_numpy(zero_copy_only=False), path, [name], first, None, "must hold a number"
            )
    return np.column_stack([batch.column(name).to_numpy() for name in columns])


def refuse_cells(
    bad: NDArray[np.bool_], path: Path, columns: Sequence[str], first: int, values: NDArray[Any] | None, rule: str
) -> None:
    """Raise ValidationError naming file, row, column, value and rule if any of `bad`, (n,) or (n, k), is True.

    Parameters
    ----------
    columns : k names
    first : int
        Row number in the file, from 0, of the batch's first row.
    values : array of the shape of `bad`, optional
        What the cells hold; None where they are empty.
    rule : str
        What the cell must be, "must be ...".
    """
    if not bad.any():
        return
    row, column = np.argwhere(bad.reshape(len(bad), -1))[0]
    held = "nothing" if values is None else values.reshape(len(bad), -1)[row, column]
    raise ValidationError(
        f"{path}: column {columns[column]} {rule}, row {first + row} holds {held}; correct or fetch it again"
    )


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

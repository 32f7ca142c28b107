"""What several readers need: whole numbers, values carried on from row to row, the day's midnight, trades by time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.readers.cells import refuse_cells
from research_lib.market.trades import Trades

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


class TradeFeed:
    """Trades of a source, read on as far as they are asked for; `batches` is None where there is no source."""

    def __init__(self, batches: Iterator[Trades] | None, symbol: str) -> None:
        self.none_due = (
            None if batches is None else Trades(np.empty(0, np.int64), [], [], [], symbol)
        )
        self.batches = iter(()) if batches is None else batches
        self.waiting: Trades | None = None

    def until(self, time: int | None) -> Trades | None:
        """The trades not yet handed out, up to and including `time` (ns UTC), all for None; None without a file."""
        due = [] if self.none_due is None else [self.none_due]
        while (batch := self._next()) is not None:
            n_due = (
                len(batch) if time is None else int(np.searchsorted(batch.time, time, side="right"))
            )
            due.append(batch.take(np.arange(n_due)))
            if n_due < len(batch):
                self.waiting = batch.take(np.arange(n_due, len(batch)))
                break
        return Trades.concat(due) if due else None

    def _next(self) -> Trades | None:
        batch, self.waiting = self.waiting, None
        return next(self.batches, None) if batch is None else batch

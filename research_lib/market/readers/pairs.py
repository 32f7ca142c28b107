"""Files that belong together, and values that go on from row to row or come with the books."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import ValidationError
from research_lib.market.trades import Trades

KIND = re.compile(r"orderbook|message|quote|trade", re.IGNORECASE)
PARTNER = {"orderbook": "message", "message": "orderbook", "quote": "trade", "trade": "quote"}
READ_ALONG = ("message", "trade")  # without books of their own


def kind_of(path: Path) -> str | None:
    """The last of "orderbook", "message", "quote", "trade" in a file's name; None without one."""
    found = KIND.findall(path.name)
    return str(found[-1]).lower() if found else None


def partner_name(path: Path) -> str | None:
    """Name of the other file of the pair, LOBSTER's or Lean's; None where the name says no kind."""
    found = list(KIND.finditer(path.name))
    if not found:
        return None
    last = found[-1]
    return path.name[: last.start()] + PARTNER[last[0].lower()] + path.name[last.end() :]


def partner_of(path: Path) -> Path | None:
    """The file that belongs to `path` by its name, under any compression; None without one."""
    name = partner_name(path)
    if name is None:
        return None
    stem = re.sub(r"\.(gz|zst)$", "", name)
    candidates = [path.with_name(one) for one in (name, stem, stem + ".gz", stem + ".zst")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def carried(values: NDArray[Any], given: NDArray[np.bool_], before: Any) -> NDArray[Any]:
    """The last given value at or before each row, (n,); `before` where none was given yet."""
    last = np.maximum.accumulate(np.where(given, np.arange(len(given)), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before)


def parsed_date(path: Path, text: str) -> dt.date:
    """A date written YYYY-MM-DD or YYYYMMDD; ValidationError naming the file if there is none."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ValidationError(f"{path}: {text!r} is not a date; write it YYYY-MM-DD") from error


def midnight_ns(date: dt.date) -> int:
    """Midnight in New York of a date, ns UTC."""
    return int(pd.Timestamp(date).normalize().tz_localize("America/New_York").as_unit("ns").value)


class TradeFeed:
    """Trades of a source, read on as far as they are asked for; None where it has none."""

    def __init__(self, batches: Iterator[Trades] | None, symbol: str) -> None:
        self._batches = batches
        self._waiting = Trades(np.empty(0, np.int64), [], [], [], symbol)

    def until(self, time: int | None) -> Trades | None:
        """The trades not yet handed out, up to and including `time` (ns UTC), all for None."""
        if self._batches is None:
            return None
        parts = [self._waiting]
        while time is None or not len(parts[-1]) or parts[-1].time[-1] <= time:
            batch = next(self._batches, None)
            if batch is None:
                break
            parts.append(batch)
        found = Trades.concat(parts)
        n_due = len(found) if time is None else np.searchsorted(found.time, time, side="right")
        self._waiting = found.take(np.arange(n_due, len(found)))
        return found.take(np.arange(n_due))

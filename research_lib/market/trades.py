"""Trades: what was done while the books were shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.sessions import nanoseconds

Float = NDArray[np.float64]
BUY, SELL, UNSIGNED = 1, -1, 0


@dataclass(frozen=True, eq=False)
class Trades(Record):
    """m trades in time order.

    Attributes
    ----------
    time : (m,) int64 ns UTC, or anything date-time with a time zone
        Trades with equal time keep their order.
    price : (m,) quote currency per share
    size : (m,) shares, above 0
    aggressor : (m,) int8
        1 where a buyer took, -1 where a seller took, 0 where the source does not say:
        hidden executions, crosses and auctions, kept apart from the signed ones.
    symbol : str

    Raises
    ------
    ValidationError
        Shapes that disagree, times out of order, prices or sizes at or below zero,
        an aggressor other than -1, 0, 1.
    """

    time: Any
    price: Any
    size: Any
    aggressor: Any
    symbol: str = ""

    def __post_init__(self) -> None:
        arrays = {
            "time": nanoseconds(self.time, "trade time"),
            "price": np.asarray(self.price, float),
            "size": np.asarray(self.size, float),
            "aggressor": np.asarray(self.aggressor, np.int8),
        }
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) > 1 or arrays["time"].ndim != 1:
            raise ValidationError(f"trade columns must all be (m,), got {shapes}")
        _refuse(
            np.diff(arrays["time"], prepend=arrays["time"][:1]) < 0, "time must not run backwards"
        )
        _refuse(
            ~(np.isfinite(arrays["price"]) & (arrays["price"] > 0)),
            "price must be finite and above 0",
        )
        _refuse(
            ~(np.isfinite(arrays["size"]) & (arrays["size"] > 0)), "size must be finite and above 0"
        )
        _refuse(
            np.abs(arrays["aggressor"]) > 1,
            "aggressor must be 1 (buyer), -1 (seller) or 0 (not said)",
        )
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def signed_size(self) -> Float:
        """size * aggressor, (m,) shares; 0 where the aggressor is not known."""
        return self.size * self.aggressor

    def take(self, rows: ArrayLike) -> Trades:
        """The trades selected by a boolean mask or by positions in time order."""
        index = np.asarray(rows)
        return Trades(
            self.time[index],
            self.price[index],
            self.size[index],
            self.aggressor[index],
            self.symbol,
        )

    @classmethod
    def concat(cls, parts: Sequence[Trades]) -> Trades:
        """One after the other, in time order and of one symbol."""
        time, price, size, aggressor = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("time", "price", "size", "aggressor")
        )
        return cls(time, price, size, aggressor, parts[0].symbol)

    def to_frame(self) -> pd.DataFrame:
        """Columns time (UTC), price, size, aggressor."""
        time = pd.DatetimeIndex(self.time.astype("datetime64[ns]"), tz="UTC")
        return pd.DataFrame(
            {"time": time, "price": self.price, "size": self.size, "aggressor": self.aggressor}
        )


def _refuse(bad: NDArray[np.bool_], rule: str) -> None:
    if bad.any():
        raise ValidationError(
            f"trade {rule}: {int(bad.sum()):,} trades are not so, first in row {int(np.argmax(bad))}"
        )

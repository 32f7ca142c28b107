"""Trades: what was done while the books were shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.sessions import nanoseconds

COLUMNS = ("time", "price", "size", "aggressor")
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

    Examples
    --------
    >>> time = np.array([1_743_687_000, 1_743_687_060]) * 10**9
    >>> Trades(time, [10.0, 9.99], [100, 200], [BUY, SELL]).signed_size.tolist()
    [100.0, -200.0]
    """

    time: Any
    price: Any
    size: Any
    aggressor: Any
    symbol: str = ""

    def __post_init__(self) -> None:
        for name, dtype in (("price", float), ("size", float), ("aggressor", np.int8)):
            object.__setattr__(self, name, np.asarray(self[name], dtype))
        object.__setattr__(self, "time", nanoseconds(self.time, "trade time"))
        shapes = {self[name].shape for name in COLUMNS}
        if len(shapes) > 1 or self.time.ndim != 1:
            raise ValidationError(f"trade columns must all be (m,), got {shapes}")
        sound = np.isfinite(self.price) & (self.price > 0) & np.isfinite(self.size)
        sound &= (self.size > 0) & (np.abs(self.aggressor) <= 1)
        sound &= np.diff(self.time, prepend=self.time[:1]) >= 0
        if not sound.all():
            raise ValidationError(
                "trades must be in time order, their price and size finite and above 0, their "
                f"aggressor 1, -1 or 0; {np.sum(~sound):,} are not, first in row {np.argmin(sound)}"
            )

    def __len__(self) -> int:
        return len(self.time)

    @property
    def signed_size(self) -> Float:
        """size * aggressor, (m,) shares; 0 where the aggressor is not known."""
        return self.size * self.aggressor

    def take(self, rows: ArrayLike) -> Trades:
        """The trades selected by a boolean mask or by positions in time order."""
        index = np.asarray(rows)
        arrays: dict[str, Any] = {name: self[name][index] for name in COLUMNS}
        return dataclasses.replace(self, **arrays)

    @classmethod
    def concat(cls, parts: Sequence[Trades]) -> Trades:
        """One after the other, in time order and of one symbol."""
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        return cls(**arrays, symbol=parts[0].symbol)

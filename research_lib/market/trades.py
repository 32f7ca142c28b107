"""Trades of a recording, and daily bars."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, numbers, positions, refuse_rows, same_rows
from research_lib.config import Record
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.sessions import in_order, nanoseconds

COLUMNS = ("time", "price", "size", "aggressor")
BUY, SELL, UNSIGNED = 1, -1, 0
PRICE_SCALE = 10_000  # of Lean's and LOBSTER's whole numbers
BAR_PRICES = ["open", "high", "low", "close"]


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
        1 for a buyer, -1 for a seller, 0 where the source does not say (hidden executions, crosses,
        auctions).
    symbol : str

    Labelled columns (Series) are aligned to the row order of the first of them.

    Raises
    ------
    ValidationError
        Shapes or labels that disagree, times out of order, prices or sizes at or below zero,
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
        given = same_rows(**{name: self[name] for name in COLUMNS})
        if pd.api.types.infer_dtype(given["aggressor"]) == "boolean":
            raise ValidationError("aggressor must be 1, -1 or 0, got booleans; use np.where")
        for name in COLUMNS[1:]:
            object.__setattr__(self, name, numbers(f"trade {name}", given[name]))
        object.__setattr__(self, "time", nanoseconds(given["time"], "trade time"))
        shapes = {self[name].shape for name in COLUMNS}
        if len(shapes) > 1 or self.time.ndim != 1:
            raise ValidationError(f"trade columns must all be (m,), got {shapes}")
        in_order(self.time, "trade time")
        for name in ("price", "size"):
            bad = ~((self[name] > 0) & (self[name] < np.inf))
            refuse_rows(bad, f"trade {name}", self[name], "must be finite and above 0")
        unknown = ~np.isin(self.aggressor, (BUY, SELL, UNSIGNED))
        refuse_rows(unknown, "trade aggressor", self.aggressor, "must be 1, -1 or 0")
        object.__setattr__(self, "aggressor", self.aggressor.astype(np.int8))

    def __len__(self) -> int:
        return len(self.time)

    @property
    def signed_size(self) -> Float:
        """size * aggressor, (m,) shares; 0 where the aggressor is unknown."""
        return self.size * self.aggressor

    def take(self, rows: ArrayLike) -> Self:
        """The trades selected by a boolean mask or by positions in time order."""
        index = positions(rows)
        return replace(self, **{name: self[name][index] for name in COLUMNS})

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """One after the other, in time order and of one symbol."""
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        return cls(**arrays, symbol=parts[0].symbol)


def read_daily_bars(path: str | Path) -> pd.DataFrame:
    """Daily bars of one stock.

    Prices and volumes are unadjusted. Splits and dividends are in the factor file beside the bars.
    It must be there: without it, returns would count a split of 4 to 1 as a loss of 75 %.

    Parameters
    ----------
    path : path
        <symbol>.zip of Lean; <symbol>_factor_file.csv lies beside it: date, price factor
        (dividends), split factor; a row holds for all days after the date of the row before up to
        its own date.

    Returns
    -------
    DataFrame, index day (datetime64, one a session)
        open, high, low, close (currency per share, unadjusted), volume (shares), factor: price
        times factor is adjusted to the file's last day; return: relative to the close of the day
        before, dividends included.

    Raises
    ------
    MissingDataError
        Bars without their factor file.
    ValidationError
        Columns that are not these, days out of order, prices at or below 0.

    Examples
    --------
    >>> import tempfile, zipfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(folder / "xyz.zip", "w") as archive:  # a split of 2 to 1 in between
    ...     bars = "20250401 00:00,4e5,4e5,4e5,4e5,9\\n20250402 00:00,2e5,2e5,2e5,2e5,9"
    ...     archive.writestr("xyz.csv", bars)
    >>> _ = (folder / "xyz_factor_file.csv").write_text("20250401,1,0.5,0\\n20501231,1,1,0\\n")
    >>> read_daily_bars(folder / "xyz.zip")["return"].tolist()
    [nan, 0.0]
    """
    file = Path(path)
    factors = file.with_name(f"{file.stem}_factor_file.csv")
    for wanted in (file, factors):
        if not wanted.is_file():
            raise MissingDataError(f"{wanted} is not there; daily bars need their factor file")
    bars = pd.read_csv(file, header=None, names=["day", *BAR_PRICES, "volume"], index_col="day")
    bars.index = pd.to_datetime(bars.index, format="%Y%m%d %H:%M")
    bars[BAR_PRICES] /= PRICE_SCALE
    day = bars.index.strftime("%Y%m%d").astype(int).to_numpy()
    bad = ~(bars[BAR_PRICES] > 0).all(axis=1) | (np.diff(day, prepend=0) <= 0)
    if bad.any():
        raise ValidationError(f"{file}: {bad.idxmax():%F} lacks a price, is out of order or twice")
    table = pd.read_csv(factors, header=None, usecols=[0, 1, 2]).to_numpy()
    at = np.searchsorted(table[:, 0], day)
    if np.any(np.diff(table[:, 0]) <= 0) or at.max() >= len(table):
        raise ValidationError(f"{factors} must ascend up to the last bar, {bars.index[-1]:%F}")
    bars["factor"] = table[at, 1:].prod(axis=1)
    bars["return"] = (bars["close"] * bars["factor"]).pct_change()
    return bars


def returns_before(bars: Mapping[str, pd.DataFrame], day: dt.date, n_days: int) -> pd.DataFrame:
    """The last returns of several stocks before `day`, on days on which all of them traded.

    Returns
    -------
    DataFrame (n_days, m)

    Raises
    ------
    ValidationError
        Fewer common days than that, or days out of order.

    Examples
    --------
    >>> bars = pd.DataFrame({"return": [0.01, 0.02, 0.03]}, pd.date_range("2025-04-01", periods=3))
    >>> returns_before({"XYZ": bars}, dt.date(2025, 4, 3), 2)["XYZ"].tolist()
    [0.01, 0.02]
    """
    n = number("n_days", n_days, 2, integer=True)
    for name, table in bars.items():
        if not (table.index.is_unique and table.index.is_monotonic_increasing):
            raise ValidationError(f"bars of {name} must hold each day once, the oldest first")
    returns = {name: table["return"] for name, table in bars.items()}
    common = pd.concat(returns, axis=1, join="inner").dropna()
    known = common[common.index < pd.Timestamp(day)]
    if len(known) < n:
        raise ValidationError(f"{len(known)} common days before {day}, {n} are asked for")
    return known.iloc[-n:]

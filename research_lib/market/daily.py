"""Daily bars as Lean stores them, unadjusted, with the factors that make closes comparable."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from research_lib.checks import number
from research_lib.errors import MissingDataError, ValidationError

PRICE_SCALE = 10_000
PRICES = ["open", "high", "low", "close"]


def read_daily_bars(path: str | Path) -> pd.DataFrame:
    """Daily bars of one stock.

    Prices and volumes are as they were traded on the day: neither is adjusted. What splits and
    dividends did between two days stands in the factor file beside the bars, without which returns
    would count a split of 4 to 1 as a loss of 75 %; so it must be there.

    Parameters
    ----------
    path : path
        <symbol>.zip of Lean; <symbol>_factor_file.csv lies beside it: date, price factor
        (dividends), split factor, of all days up to that date and after the one before.

    Returns
    -------
    DataFrame, index day (datetime64, one a session)
        open, high, low, close (currency per share, unadjusted), volume (shares), factor: price
        times it is in shares and dividends of the file's last day; return: of the day before's
        close, dividends in.

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
    bars = pd.read_csv(file, header=None, names=["day", *PRICES, "volume"], index_col="day")
    bars.index = pd.to_datetime(bars.index, format="%Y%m%d %H:%M")
    bars[PRICES] /= PRICE_SCALE
    day = bars.index.strftime("%Y%m%d").astype(int).to_numpy()
    bad = ~(bars[PRICES] > 0).all(axis=1) | (np.diff(day, prepend=0) <= 0)
    if bad.any():
        raise ValidationError(
            f"{file}: {bad.idxmax():%Y-%m-%d} has a price not above 0, or is out of order or twice"
        )
    table = pd.read_csv(factors, header=None, usecols=[0, 1, 2]).to_numpy()
    at = np.searchsorted(table[:, 0], day)
    if np.any(np.diff(table[:, 0]) <= 0) or at.max() >= len(table):
        raise ValidationError(
            f"{factors} must hold ascending dates up to the last bar, {bars.index[-1]:%Y-%m-%d}"
        )
    bars["factor"] = table[at, 1:].prod(axis=1)
    bars["return"] = (bars["close"] * bars["factor"]).pct_change()
    return bars


def returns_before(bars: Mapping[str, pd.DataFrame], day: dt.date, n_days: int) -> pd.DataFrame:
    """The last returns of several stocks known before `day`, of days on which all of them traded.

    Returns
    -------
    DataFrame (n_days, m)

    Raises
    ------
    ValidationError
        Fewer common days than that.

    Examples
    --------
    >>> bars = pd.DataFrame({"return": [0.01, 0.02, 0.03]}, pd.date_range("2025-04-01", periods=3))
    >>> returns_before({"XYZ": bars}, dt.date(2025, 4, 3), 2)["XYZ"].tolist()
    [0.01, 0.02]
    """
    n = number("n_days", n_days, 2, integer=True)
    returns = {name: table["return"] for name, table in bars.items()}
    common = pd.concat(returns, axis=1, join="inner").dropna()
    known = common[common.index < pd.Timestamp(day)]
    if len(known) < n:
        raise ValidationError(f"{len(known)} common days before {day}, {n} are asked for")
    return known.iloc[-n:]

"""Daily bars: unadjusted prices, returns that splits and dividends do not break."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import read_daily_bars, returns_before


def _written(folder: Path, name: str, bars: str, factors: str | None) -> Path:
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.csv", bars)
    if factors is not None:
        (folder / f"{name}_factor_file.csv").write_text(factors)
    return path


BARS = (
    "20200827 00:00,4000000,4010000,3990000,4000000,100\n"
    "20200828 00:00,4000000,4010000,3990000,4000000,100\n"
    "20200831 00:00,1000000,1010000,990000,1100000,400\n"
)


def test_a_split_is_no_loss(tmp_path: Path) -> None:
    bars = read_daily_bars(_written(tmp_path, "x", BARS, "20200828,1,0.25,400\n20501231,1,1,0\n"))
    assert bars["close"].tolist() == [400.0, 400.0, 110.0]
    assert bars["return"].to_numpy()[1:] == pytest.approx([0.0, 0.1])


def test_bars_without_factors_out_of_order_or_without_price_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="need their factor file"):
        read_daily_bars(_written(tmp_path, "a", BARS, None))
    with pytest.raises(ValidationError, match="2020-08-31"):
        read_daily_bars(_written(tmp_path, "b", BARS.replace("1100000", "0"), "20501231,1,1,0\n"))
    twice = BARS.replace("20200831", "20200827")
    with pytest.raises(ValidationError, match="out of order or twice"):
        read_daily_bars(_written(tmp_path, "c", twice, "20501231,1,1,0\n"))
    with pytest.raises(ValidationError, match="up to the last bar, 2020-08-31"):
        read_daily_bars(_written(tmp_path, "d", BARS, "20200828,1,0.25,400\n"))


def test_returns_are_those_known_before_the_day_on_common_days(tmp_path: Path) -> None:
    days = pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-06"])
    one = pd.DataFrame({"return": [np.nan, 0.1, 0.2, 0.3]}, index=days)
    other = pd.DataFrame({"return": [0.0, 0.1, 0.4]}, index=days[[0, 1, 3]])
    both = returns_before({"one": one, "other": other}, dt.date(2020, 1, 7), 2)
    assert both.to_numpy().tolist() == [[0.1, 0.1], [0.3, 0.4]]
    with pytest.raises(ValidationError, match="1 common days before 2020-01-06, 2 are asked for"):
        returns_before({"one": one, "other": other}, dt.date(2020, 1, 6), 2)


def test_apples_split_of_2020_and_no_jump_beyond_the_known_crashes() -> None:
    path = real_data("lean_us_equity/daily/aapl.zip")
    bars = read_daily_bars(path)
    day = pd.Timestamp("2020-08-31")
    assert bars["close"].pct_change()[day] == pytest.approx(-0.74, abs=0.01)
    assert bars["return"][day] == pytest.approx(0.034, abs=0.001)
    assert bars["return"].abs().nlargest(1).index[0] == pd.Timestamp(
        "2000-09-29"
    )  # the profit warning, -52 %


def test_bars_that_are_not_oldest_first_are_refused() -> None:
    days = pd.date_range("2024-01-01", periods=9)
    bars = pd.DataFrame({"return": np.arange(9.0) / 100}, days)
    for wrong in (bars.iloc[::-1], pd.concat([bars, bars.iloc[[-1]]])):
        with pytest.raises(ValidationError, match="bars of B must hold each day once, the oldest"):
            returns_before({"A": bars, "B": wrong}, dt.date(2024, 1, 8), 3)

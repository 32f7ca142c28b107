"""Lean's bars of a minute: labels that begin a bar, expiries in one zip, and real days."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session, read_books

BARS = [
    "34200000,100000,100100,99900,100000,500,100200,100300,100100,100200,700",
    "34260000,,,,,,100200,100300,100100,100300,800",  # no bid was quoted in this minute
]
TRADED = ["34200000,100100,100300,100000,100200,900"]
ES_DAYS = ["07", "08", "09", "10", "11", "14", "29", "30"]


def zipped(path: Path, members: dict[str, list[str]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in members.items():
            archive.writestr(name, "".join(f"{line}\n" for line in lines))
    return path


def local(books: BookSnapshots) -> list[str]:
    times = pd.DatetimeIndex(books.time.astype("datetime64[ns]"), tz="UTC")
    return times.tz_convert("America/New_York").strftime("%H:%M:%S").tolist()


def test_a_bar_is_known_at_its_end_and_what_was_not_quoted_stands(tmp_path: Path) -> None:
    zipped(tmp_path / "xy_20131007_trade.zip", {"20131007_xy_minute_trade.csv": TRADED})
    path = zipped(tmp_path / "xy_20131007_quote.zip", {"20131007_xy_minute_quote.csv": BARS})
    books = read_books(path)
    # Of its own minute to the end: the next one's books and volumes begin with the next bar.
    assert local(books) == ["09:30:59", "09:31:59"]
    assert books.sample(Session()).complete[:3].tolist() == [False, True, True]
    assert books.bid_price.ravel().tolist() == [10.0, 10.0]
    assert books.ask_price.ravel().tolist() == [10.02, 10.03]
    assert books.bid_size.ravel().tolist() == [500, 500]
    assert books.trades is not None
    assert (books.trades.price[0], books.trades.size[0]) == (10.02, 900)
    assert local(books)[0] == local(books.trades)[0]  # type: ignore[arg-type]


def test_an_expiry_is_chosen_by_name_and_its_prices_are_plain(tmp_path: Path) -> None:
    bar = "0,1676.5,1676.5,1676.5,1676.5,86,1676.75,1676.75,1676.75,1676.75,97"
    names = [f"20131007_es_minute_quote_{expiry}.csv" for expiry in (201403, 201312)]
    path = zipped(tmp_path / "es_20131007_quote.zip", {name: [bar] for name in names})
    with pytest.raises(ValidationError, match=r"expiries 201312, 201403; choose one, .*201312"):
        read_books(path)
    with pytest.raises(ValidationError, match=r"where takes expiry alone"):
        read_books(path, where={"member": "201312"})
    books = read_books(path, where={"expiry": "201312"})
    assert books.mid.tolist() == [1676.625]
    assert local(books) == ["20:00:59"]  # of the evening before: the vendor's futures are in UTC


def test_bars_of_another_length_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "xy_20131007_quote.zip", {"20131007_xy_hour_quote.csv": BARS})
    with pytest.raises(ValidationError, match=r"bars of .* must be of a minute"):
        read_books(path)


@pytest.mark.parametrize("day", [*(f"201310{one}" for one in ES_DAYS), "20131118"])
def test_the_front_month_of_each_day(day: str) -> None:
    """Counted with unzip, wc and awk: minutes of the December contract in New York's trading day."""
    path = real_data(f"lean_us_equity/minute_es/es_{day}_quote.zip")
    books = read_books(path, where={"expiry": "201312"})
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if one.endswith("_201312.csv"))
        rows = pd.read_csv(archive.open(name), header=None)
    assert len(books) == len(rows)
    assert books.ask_price[-1, 0] == rows.iloc[-1, 9]
    assert books.bid_size[-1, 0] == rows[5][rows[5] > 0].iloc[-1]  # 0 in the minute of the close
    inside = books.take(Session().interval_of(books.time) >= 0)
    assert len(inside) >= 380
    assert float(pd.Series(inside.half_spread * 2).median()) == 0.25  # one tick


@pytest.mark.parametrize("day", ["20131007", "20131008", "20131009", "20131010"])
def test_the_future_moves_with_the_stocks_minute_by_minute(day: str) -> None:
    """Which a clock that is an hour off does not show: the correlation is then near 0."""
    path = real_data(f"lean_us_equity/minute_es/es_{day}_quote.zip")
    future = read_books(path, where={"expiry": "201312"}).sample(Session())
    stocks = read_books(real_data(f"lean_us_equity/minute/spy_{day}_quote.zip")).sample(Session())
    moves = [np.diff(np.log(one.mid[1:])) for one in (future, stocks)]
    assert np.corrcoef(*moves)[0, 1] > 0.9


def test_volumes_of_bars_are_those_of_their_own_interval() -> None:
    """Against the file: the closing minute is the largest, and nothing before the open counts."""
    path = real_data("lean_us_equity/minute/spy_20131007_trade.zip")
    with zipfile.ZipFile(path) as archive:
        rows = pd.read_csv(archive.open(archive.namelist()[0]), header=None)
    trades = read_books(path.with_name("spy_20131007_quote.zip")).trades
    assert trades is not None
    interval = Session().interval_of(trades.time)
    found = np.bincount(interval[interval >= 0], trades.size[interval >= 0], 390)
    minutes = rows[(rows[0] >= 34_200_000) & (rows[0] < 57_600_000)]
    expected = np.zeros(390)
    expected[(minutes[0] - 34_200_000) // 60_000] = minutes[5]
    assert np.array_equal(found, expected)
    assert found[-1] == found.max() == 2_918_992


def test_plain_prices_without_an_expiry_are_refused(tmp_path: Path) -> None:
    bar = "0,6800.1,6800.2,6800.0,6800.5,3,6800.6,6800.9,6800.5,6800.6,4"
    members = {"20180405_btcusd_minute_quote.csv": [bar]}
    with pytest.raises(ValidationError, match=r"must be whole, in units of 1e-4"):
        read_books(zipped(tmp_path / "btcusd_20180405_quote.zip", members))


def test_trades_of_a_future_are_those_of_its_expiry(tmp_path: Path) -> None:
    quote = "0,1676.5,1676.5,1676.5,1676.5,86,1676.75,1676.75,1676.75,1676.75,97"
    expiries = {201312: "0,1676,1677,1676,1676.75,9", 201403: "0,1666,1667,1666,1666.5,7"}
    quotes = {f"20131007_es_minute_quote_{one}.csv": [quote] for one in expiries}
    trades = {f"20131007_es_minute_trade_{one}.csv": [bar] for one, bar in expiries.items()}
    path = zipped(tmp_path / "es_20131007_quote.zip", quotes)
    zipped(tmp_path / "es_20131007_trade.zip", trades)
    books = read_books(path, where={"expiry": "201403"})
    assert books.trades is not None
    assert books.trades.price.tolist() == [1666.5]


def test_a_minute_s_last_quote_is_that_of_the_ticks() -> None:
    """Of the same vendor: at the end of a minute the tick book and the bar show one quote."""
    day = Session(390)
    ticks = read_books(real_data("lean_us_equity/tick/ibm_20131007_quote.zip")).sample(day)
    bars = read_books(real_data("lean_us_equity/minute/ibm_20131007_quote.zip")).sample(day)
    both = ticks.complete & bars.complete
    assert both.sum() > 380
    assert ((ticks.mid == bars.mid) | ~both).sum() > 330  # the vendor made them on other filters

"""Counts of the data folder's README, and whether the books predict what takers paid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.impact import walk_book
from research_lib.market import (
    BookQuality,
    BookSnapshots,
    QualityPolicy,
    Session,
    assess,
    assess_parts,
    iter_books,
    read_books,
    sign_accuracy,
)

pytestmark = pytest.mark.slow
HOUR = Session(60, block="1h")
BTC = "standx_btc_l20/orderbook_BTC-USD_2026-01-06_00.parquet"
POLICY = QualityPolicy(repeated="drop", locked="widen", locked_spread=0.1)


@pytest.fixture(scope="module")
def btc() -> tuple[BookSnapshots, BookQuality]:
    """48 hours of 20 levels, read hour by hour."""
    pattern = str(real_data(BTC)).replace("2026-01-06_00", "*")
    return assess_parts(iter_books(pattern, session=HOUR, signs="rounded"), HOUR, POLICY)


def test_the_counts_of_the_bitcoin_recording(btc: tuple[BookSnapshots, BookQuality]) -> None:
    books, quality = btc
    assert quality.rows == 1_033_642
    assert quality["repeated"] == 516_821 == len(books)
    assert quality["locked"] / quality.rows == pytest.approx(0.465, abs=5e-4)
    assert quality["crossed"] == 0
    assert quality.longest_gap_seconds == pytest.approx(108, abs=0.5)
    assert books.trades is not None
    assert len(books.trades) == 303_855
    assert books.trades.size.sum() == pytest.approx(2_774, abs=0.5)
    assert len(books.days(HOUR)) == 48
    assert float(books.half_spread.min()) == pytest.approx(0.05)  # widened, nothing is free


def test_the_sign_rules_on_the_first_hour() -> None:
    books, _ = assess(read_books(real_data(BTC)), HOUR, QualityPolicy(repeated="drop"))
    assert books.trades is not None
    assert not books.trades.aggressor.any(), "its side is SELL in all rows"
    table = sign_accuracy(books.trades, books)
    assert table.loc["depletion", "labelled_%"] > 20
    best = table.drop(index="depletion")["agree_%"]
    assert best.idxmax() == "rounded"
    assert best.max() > 92


@pytest.mark.parametrize(("stock", "least"), [("aig", 90.0), ("bac", 90.0), ("ibm", 98.0)])
def test_lee_and_ready_agree_with_depletion_on_consolidated_ticks(stock: str, least: float) -> None:
    """Over four days 90 to 94 % on AIG, 91 to 93 % on BAC, 98.5 to 99.2 % on IBM."""
    day = read_books(real_data(f"lean_us_equity/tick/{stock}_20131007_quote.zip"))
    assert day.trades is not None
    table = sign_accuracy(day.trades, day)
    assert table.loc["lee-ready", "compared"] > 500
    assert table.loc["lee-ready", "agree_%"] > least
    assert table["agree_%"].drop("depletion").idxmin() == "tick"


@pytest.mark.parametrize(
    "file",
    ["databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz",
     "lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz"],
)  # fmt: skip
def test_lee_and_ready_find_the_aggressors_that_a_recording_states(file: str) -> None:
    books = read_books(real_data(file))
    assert books.trades is not None
    table = sign_accuracy(books.trades, books, books.trades)
    assert table.loc["lee-ready", "compared"] > 2_000
    assert table.loc["lee-ready", "agree_%"] > 99.5
    assert 85.0 < table.loc["tick", "agree_%"] < 95.0


def test_the_walk_of_widened_books_predicts_what_takers_paid(
    btc: tuple[BookSnapshots, BookQuality],
) -> None:
    """Within 10 %, as the data README found: orders are prints of one time and sign, and both sides weigh alike."""
    books, _ = btc
    trades = books.trades
    assert trades is not None
    frame = pd.DataFrame({"time": trades.time, "sign": trades.aggressor, "size": trades.size})
    frame["value"] = trades.size * trades.price
    orders = frame[frame["sign"] != 0].groupby(["time", "sign"]).sum().reset_index()
    row = np.searchsorted(books.time, orders["time"], "left") - 1
    fresh = (row >= 0) & (orders["time"] - books.time[np.maximum(row, 0)] < 10**9)
    orders, row = orders[fresh], row[fresh]
    mid = books.mid[row]
    orders["paid"] = orders["sign"] * (orders["value"] / orders["size"] - mid) / mid * 1e4
    size = orders["size"].to_numpy()
    for low, high in ((0.01, 0.05), (0.05, 0.2)):
        chosen = np.flatnonzero((size >= low) & (size < high))
        walked = []
        for k in chosen:
            prices, sizes = books.levels("buy" if orders["sign"].iloc[k] > 0 else "sell")
            paid = walk_book(prices[row[k]], sizes[row[k]], size[k : k + 1])[0]
            walked.append(abs(paid - mid[k]) / mid[k] * 1e4)
        table = orders.iloc[chosen].assign(walked=walked).dropna()
        by_side = table.groupby("sign")[["paid", "walked"]].mean().mean()
        assert by_side["walked"] == pytest.approx(by_side["paid"], rel=0.1), (low, len(table))


@pytest.mark.parametrize(
    ("stock", "rows"), [("ibm", [109_067, 125_750, 135_492, 105_428]), ("aig", None)]
)
def test_four_days_of_consolidated_ticks(stock: str, rows: list[int] | None) -> None:
    """IBM's rows were counted with unzip and wc (and one for a last line without an end); of AIG, the largest, the four days are there."""
    days = ("07", "08", "09", "10")
    paths = [real_data(f"lean_us_equity/tick/{stock}_201310{day}_quote.zip") for day in days]
    seen = [day for path in paths for day in read_books(path).days(Session())]
    assert [str(day) for day in seen] == [f"2013-10-{day}" for day in days]
    if rows:
        assert [len(read_books(path)) for path in paths] == rows

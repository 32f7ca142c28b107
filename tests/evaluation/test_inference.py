"""Costs that are paired, means over sessions, and tables in which every order stays.

Tolerances. 1e-9 bps: rounding of sums over orders. Shares of repetitions are held between their
binomial limits, stated where they are used.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Accounting,
    CarriedImpact,
    Execution,
    Ladder,
    Twap,
    clairvoyant,
    compare,
    paired_costs,
    replay,
    run,
    strategy_costs,
)
from research_lib.impact import ExponentialKernel
from research_lib.market import BookSnapshots, Session, preset

HALF_HOURS = Session(13)
DAY_NS = 86_400 * 10**9
COLUMNS = [  # as issue 18 names them
    "strategy", "side", "size", "scenario", "spread_bps", "walk_bps", "selection_bps",
    "carried_bps", "fees_bps", "total_bps", "difference_bps", "lower_bps", "upper_bps",
    "shortfall_bps", "timing_risk_bps", "objective_bps", "orders", "completed",
]  # fmt: skip
LIMITS = ["difference_bps", "lower_bps", "upper_bps"]


def _execution(name: str, day: int, cost: float, side: str = "buy") -> Execution:
    """50 shares at 10:00 and at 11:00 New York, that cost the same together over a mid of 50."""
    time = 1_704_207_600_000_000_000 + day * DAY_NS + np.array([0, 3600 * 10**9])
    filled, half = np.full(2, 50.0), np.full(2, cost / 2)
    return Execution(name, filled, filled, 0.0, half, side, time, np.full(2, 50.0), np.zeros(2))


def _pair(day: int, own: float, benchmark: float = 10.0, side: str = "buy") -> list[Execution]:
    """A cost of 5 is 10 bps."""
    costs = {"new": own, "TWAP": benchmark}
    return [_execution(name, day, cost, side) for name, cost in costs.items()]


def test_means_and_differences_by_hand() -> None:
    done = [one for day, own in enumerate([8.0, 6.0, 7.0]) for one in _pair(day, own)]
    table = compare(done)
    assert list(table.index) == ["new", "TWAP"]
    assert table["total_bps"].tolist() == pytest.approx([14.0, 20.0])
    assert table["difference_bps"].tolist() == pytest.approx([-6.0, 0.0])
    assert table["orders"].tolist() == table["sessions"].tolist() == [3, 3]
    assert table.loc["new", ["lower_bps", "upper_bps", "p_value"]].isna().all()  # three days


def test_pairing_takes_out_what_expensive_days_have_in_common() -> None:
    """Costs vary tenfold over 20 days, the difference does not: its interval is narrow."""
    levels = np.geomspace(1, 10, 20)
    table = compare([one for day, c in enumerate(levels) for one in _pair(day, 10 * c - 1, 10 * c)])
    assert table.loc["new", LIMITS].tolist() == pytest.approx([-2.0] * 3, abs=1e-9)
    assert table.loc["TWAP", LIMITS].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("n_days", [19, 20])
def test_an_interval_needs_twenty_sessions_however_many_orders_there_are(n_days: int) -> None:
    rng = np.random.default_rng(0)
    done = [
        one
        for day in range(n_days)
        for side in ("buy", "sell")
        for one in _pair(day, 8 + rng.normal(), 10.0, side)
    ]
    row = compare(done).loc["new"]
    assert (row["orders"], row["sessions"]) == (2 * n_days, n_days)
    assert np.isfinite(row[["lower_bps", "upper_bps", "p_value"]].astype(float)).all() == (
        n_days == 20
    )
    if n_days == 20:
        assert row["lower_bps"] < row["difference_bps"] < row["upper_bps"]


def test_sides_and_sizes_of_a_session_are_averaged_before_anything_else() -> None:
    """Copies of every order under another size tell no more than one."""
    rng = np.random.default_rng(0)
    once = [one for day in range(24) for one in _pair(day, 8 + rng.normal())]
    copies = [
        dataclasses.replace(
            one, filled=2 * one.filled, shares=2 * one.shares,
            cost_by_interval=2 * one.cost_by_interval,
        )
        for one in once
    ]  # fmt: skip
    a, b = compare(once).loc["new"], compare([*once, *copies]).loc["new"]
    assert b["orders"] == 2 * a["orders"]
    for name in [*LIMITS, "p_value"]:
        assert b[name] == pytest.approx(a[name], rel=1e-9)


@pytest.mark.slow
def test_intervals_hold_the_true_difference_in_91_to_98_per_cent_of_repetitions() -> None:
    """200 repetitions of 20 days of two replayed strategies: 0.95 has a standard error of 0.015.

    Days are drawn anew, each from the same price: in bps a tick follows the price, which walks.
    The truth is the mean over all 4,000 days, which is 14 times as sure as one repetition.
    """
    market, rng = preset("thin_stock", HALF_HOURS), np.random.default_rng(0)
    early, done = np.where(np.arange(13) < 6, 2.0, 1.0), []
    for day in range(4_000):
        drawn = market.books(13, 4, rng)
        one = dataclasses.replace(drawn, time=drawn.time + day * DAY_NS)
        books = Ladder.of(one, "buy")
        done += [run(Twap(), books, 900.0, "buy"), _weighed(early, books)]
    rows = paired_costs(done)
    means = rows.loc[rows["strategy"] == "early", "difference_bps"].to_numpy()
    held = []
    for k in range(200):
        row = compare(done[40 * k : 40 * (k + 1)]).loc["early"]
        held.append(row["lower_bps"] <= means.mean() <= row["upper_bps"])
    assert 0.91 <= np.mean(held) <= 0.98, np.mean(held)


def _weighed(weight: np.ndarray, books: BookSnapshots | Ladder) -> Execution:
    return dataclasses.replace(replay(900.0 * weight / weight.sum(), books, "buy"), name="early")


def test_the_benchmark_is_the_best_one_where_it_is_there() -> None:
    done = [*_pair(0, 8.0), _execution("best benchmark", 0, 9.0)]
    assert compare(done)["difference_bps"].to_dict() == pytest.approx(
        {"new": -2.0, "best benchmark": 0.0, "TWAP": 2.0}
    )
    named = compare(done, benchmark="TWAP")["difference_bps"]
    assert named.to_dict() == pytest.approx({"new": -4.0, "best benchmark": -2.0, "TWAP": 0.0})
    assert paired_costs(done)["benchmark"].unique().tolist() == ["best benchmark"]


def test_what_has_no_pair_is_refused() -> None:
    lonely = [*_pair(0, 8.0), _execution("new", 1, 8.0)]
    with pytest.raises(
        ValidationError,
        match="the buy of 100 shares on 2024-01-03 has no TWAP to be compared with; run it",
    ):
        compare(lonely)
    with pytest.raises(ValidationError, match="new has the buy of 100 shares on 2024-01-02 twice"):
        paired_costs([*_pair(0, 8.0), _pair(0, 7.0)[0]])
    for nothing in (None, [], [None], 5):
        with pytest.raises(ValidationError, match="executions must be one Execution or more"):
            compare(nothing)  # type: ignore[arg-type]


def test_orders_that_no_strategy_completes_are_compared_all_the_same() -> None:
    """60,000 shares of a thin stock, of which the books hold a part."""
    books = preset("thin_stock", HALF_HOURS).books(13, 3, np.random.default_rng(1))
    table = compare([run(Twap(), books, 60_000.0, "buy"), clairvoyant(books, 60_000.0, "buy")])
    assert table["orders"].tolist() == [1, 1]
    assert table["completed"].tolist() == [0.0, 0.0]
    assert np.isfinite(table[["total_bps", "difference_bps", "objective_bps"]]).all(axis=None)


def test_two_stocks_of_one_day_are_two_orders() -> None:
    done = [
        dataclasses.replace(one, symbol=symbol)
        for symbol, own in (("GOOG", 8.0), ("FROG", 6.0))
        for one in _pair(0, own)
    ]
    assert compare(done).loc["new", "orders"] == 2
    assert compare(done).loc["new", "difference_bps"] == pytest.approx(-6.0)
    with pytest.raises(ValidationError, match="has the buy of 100 FROG on 2024-01-02 twice"):
        paired_costs([*done, done[-1]])


def test_the_symbol_of_the_books_goes_with_the_order() -> None:
    books = dataclasses.replace(
        preset("thin_stock", HALF_HOURS).books(13, 4, np.random.default_rng(0)), symbol="FROG"
    )
    done = [run(Twap(), books, 100, "buy"), clairvoyant(books, 100, "buy")]
    assert [one.symbol for one in done] == ["FROG", "FROG"]


def test_the_table_of_a_run_has_its_columns_a_row_a_side_size_and_scenario() -> None:
    done = [
        one
        for day in range(20)
        for side, own in (("buy", 8.0), ("sell", 6.0))
        for one in _pair(day, own + 0.1 * day, 10.0, side)
    ]
    carried = CarriedImpact("measured", ExponentialKernel(1e-9, 1e-4))
    table = strategy_costs(done, [Accounting(), Accounting(carried, fee_per_share=0.003)])
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * 3 * 2  # scenarios x (buy, sell, both) x strategies
    rows = table.set_index(["strategy", "scenario", "side"])
    assert rows.loc[("new", "none", "both"), "orders"] == 40
    means = [rows.loc[("new", "none", side), "total_bps"] for side in ("buy", "sell", "both")]
    assert means[2] == pytest.approx(np.mean(means[:2]))
    parts = rows[["spread_bps", "walk_bps", "selection_bps", "carried_bps", "fees_bps"]]
    assert parts.sum(axis=1).tolist() == pytest.approx(rows["total_bps"].tolist(), abs=1e-9)
    # 50 shares meet what 50 left, 0.25 currency of 5,000; the walk of 4 is above half of G x^2.
    assert rows.loc[("new", "measured", "buy"), "carried_bps"] == pytest.approx(0.5, rel=1e-4)
    assert rows.loc[("new", "none", "buy"), LIMITS].notna().all()
    assert rows.loc[("TWAP", "none", "buy"), ["lower_bps", "upper_bps"]].isna().all()


def test_a_size_of_one_side_alone_has_no_rows_of_the_other() -> None:
    books = preset("thin_stock", HALF_HOURS).books(13, 4, np.random.default_rng(0))
    done = [run(Twap(), books, 100, "buy"), run(Twap(), books, 200, "sell")]
    table = strategy_costs(done, [Accounting()])
    assert table[["side", "size"]].to_numpy().tolist() == [
        ["buy", 100.0], ["both", 100.0], ["sell", 200.0], ["both", 200.0],
    ]  # fmt: skip

"""Intervals that cover, differences that are paired, and tests that know how many were tried.

Tolerances. 1e-6 %, 1e-9: rounding. Shares of repetitions are held between their binomial limits:
0.92 to 0.98 is 2.4 standard errors of 300 at 95 %; 10 of 60 at 5 % has a chance of 0.001; 0.1 is
2.5 standard errors of 100 at 80 %.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evaluation.profiles import of_market

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    Execution,
    Ladder,
    TiltedShape,
    Twap,
    clairvoyant,
    compare,
    pair,
    run,
    saving_interval,
)
from research_lib.market import Session, preset

HALF_HOURS = Session(13)
DAY_NS = 86_400 * 10**9


def _execution(
    name: str, day: int, cost: float, shares: float = 100.0, unfilled: float = 0.0
) -> Execution:
    """Two children at 10:00 and 11:00 New York that cost the same."""
    time = 1_704_207_600_000_000_000 + day * DAY_NS + np.array([0, 3600 * 10**9])
    filled = np.full(2, (shares - unfilled) / 2)
    half = np.full(2, cost / 2)
    return Execution(
        name, filled, filled, unfilled, half, "buy", time, np.full(2, 50.0), np.zeros(2)
    )


def _trio(day: int, own: float, ruler: float = 10.0, bound: float = 4.0) -> list[Execution]:
    costs = {"new": own, "TWAP": ruler, "clairvoyant": bound}
    return [_execution(name, day, cost) for name, cost in costs.items()]


def test_point_estimates_by_hand() -> None:
    done = [one for day, own in enumerate([8.0, 6.0, 7.0]) for one in _trio(day, own)]
    table = compare(done)
    assert table.loc["new", "saving_%"] == pytest.approx(30.0)
    assert table.loc["new", "attainable_%"] == pytest.approx(50.0)
    assert table.loc["new", "cost_bps"] == pytest.approx(1e4 * 7 / 100 / 50)
    assert table.loc["clairvoyant", "attainable_%"] == 100.0
    assert table.loc["TWAP", "saving_%"] == 0.0
    assert list(table.index) == ["clairvoyant", "new", "TWAP"]
    assert table.filter(like="lower").isna().all(axis=None)  # three days have no interval


def test_pairing_takes_out_what_dear_days_have_in_common() -> None:
    """Costs vary tenfold over days, the saving does not: its interval is narrow."""
    levels = np.geomspace(1, 10, 20)
    done = [
        one
        for day, level in enumerate(levels)
        for one in _trio(day, 8 * level, 10 * level, 4 * level)
    ]
    row = compare(done).loc["new"]
    assert row["saving_lower_%"] == pytest.approx(20.0, abs=1e-6)
    assert row["saving_upper_%"] == pytest.approx(20.0, abs=1e-6)


def test_orders_of_a_day_are_drawn_together() -> None:
    """Ten copies of every order tell no more than one."""
    rng = np.random.default_rng(0)
    costs = 8 + rng.normal(0, 1, 12)
    once = [one for day, cost in enumerate(costs) for one in _trio(day, cost)]
    copies = [dataclasses.replace(one, time=one.time + k) for one in once for k in range(10)]
    a, b = compare(once).loc["new"], compare(copies).loc["new"]
    assert b["orders"] == 10 * a["orders"]
    for end in ("saving_lower_%", "saving_upper_%"):
        assert b[end] == pytest.approx(a[end], rel=1e-9)


@pytest.mark.slow
def test_the_intervals_cover_the_true_saving_in_92_to_98_per_cent_of_repetitions() -> None:
    """300 repetitions of 20 days, each replayed in full; the truth is the saving over all 6,000
    days.
    """
    market = preset("thin_stock", HALF_HOURS)
    days = Ladder.of(market.books(13 * 6_050, 6, np.random.default_rng(0)), "buy").by_day(13)
    adaptive = Adaptive(TiltedShape(of_market(market, "itself")), "itself")
    done = [
        [*(run(one, day, 1500, "buy") for one in (adaptive, Twap())), clairvoyant(day, 1500, "buy")]
        for day in days
    ]
    sums = np.array([_sums(trio) for trio in done if max(one.unfilled for one in trio) < 1e-6])[
        :6_000
    ]
    truth = saving_interval(sums, n_draws=99)[:, 0]
    repeated = np.array(
        [saving_interval(part, n_draws=399, seed=k) for k, part in enumerate(np.split(sums, 300))]
    )
    share = np.mean((repeated[:, :, 1] <= truth) & (truth <= repeated[:, :, 2]), axis=0)
    assert np.all((share >= 0.92) & (share <= 0.98)), share


def _sums(trio: list[Execution]) -> list[float]:
    return [value for one in trio for value in (one.cost, one.filled.sum())]


def test_incomplete_orders_are_left_out_and_counted() -> None:
    done = [one for day in range(3) for one in _trio(day, 8.0)]
    done[0] = _execution("new", 0, 1.0, unfilled=60.0)
    row = compare(done).loc["new"]
    assert (row["orders"], row["incomplete"]) == (2, 1)
    assert row["saving_%"] == pytest.approx(20.0)


def test_what_has_no_pair_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no TWAP or no clairvoyant to be compared with"):
        compare(_trio(0, 8.0)[:2])
    with pytest.raises(ValidationError, match="new has the buy of 100 shares on 2024-01-02 twice"):
        pair([*_trio(0, 8.0), _trio(0, 7.0)[0]])
    with pytest.raises(ValidationError, match="none of 1 orders was completed by TWAP"):
        compare([_execution(name, 0, 1.0, unfilled=5.0) for name in ("TWAP", "clairvoyant")])


def test_a_strategy_that_completes_no_order_has_no_saving() -> None:
    row = compare([*_trio(0, 8.0)[1:], _execution("new", 0, 8.0, unfilled=5.0)]).loc["new"]
    assert (row["orders"], row["incomplete"]) == (0, 1)
    assert np.isnan(row["saving_%"])


def test_two_stocks_of_one_day_are_two_orders() -> None:
    done = [
        dataclasses.replace(one, symbol=symbol)
        for symbol, own in (("GOOG", 8.0), ("FROG", 6.0))
        for one in _trio(0, own)
    ]
    assert compare(done).loc["new", "orders"] == 2
    assert compare(done).loc["new", "saving_%"] == pytest.approx(30.0)
    with pytest.raises(ValidationError, match="has the buy of 100 FROG on 2024-01-02 twice"):
        pair([*done, done[-1]])


def test_the_symbol_of_the_books_goes_with_the_order() -> None:
    books = dataclasses.replace(
        preset("thin_stock", HALF_HOURS).books(13, 4, np.random.default_rng(0)), symbol="FROG"
    )
    done = [run(Twap(), books, 100, "buy"), clairvoyant(books, 100, "buy")]
    assert [one.symbol for one in done] == ["FROG", "FROG"]


def test_what_is_no_execution_is_refused() -> None:
    for nothing in (None, [], [None], 5):
        with pytest.raises(ValidationError, match="executions must be one Execution or more"):
            compare(nothing)  # type: ignore[arg-type]
    with pytest.raises(
        ValidationError, match="has no TWAP or no clairvoyant to be compared with; run them too"
    ):
        compare(_trio(0, 8.0)[:2])

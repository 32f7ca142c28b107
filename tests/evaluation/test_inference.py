"""Intervals that cover, differences that are paired, and tests that know how many were tried.

Tolerances. 1e-6 %, 1e-9: rounding. Shares of repetitions are held between their binomial limits:
0.92 to 0.98 is 2.4 standard errors of 300 at 95 %; 10 of 60 at 5 % has a chance of 0.001; 0.1 is
2.5 standard errors of 100 at 80 %.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    Execution,
    Ladder,
    LiquidityProfile,
    TiltedShape,
    Twap,
    clairvoyant,
    compare,
    days_to_detect,
    losses,
    pair,
    run,
    saving_interval,
    superior_ability,
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
    assert table.loc["clairvoyant", ["attainable_%", "attainable_lower_%"]].tolist() == [
        100.0,
        100.0,
    ]
    assert table.loc["TWAP", ["saving_%", "saving_lower_%", "saving_upper_%"]].tolist() == [
        0.0,
        0.0,
        0.0,
    ]
    assert list(table.index) == ["clairvoyant", "new", "TWAP"]
    assert set(table["intervals"]) == {
        "stationary bootstrap of intervals: too few days to draw days"
    }


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
    assert row["intervals"] == "bootstrap of whole days, studentised"


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
    adaptive = Adaptive(TiltedShape(LiquidityProfile.from_market(market, "itself")), "itself")
    done = [
        [*(run(one, day, 1500, "buy") for one in (adaptive, Twap())), clairvoyant(day, 1500, "buy")]
        for day in days
    ]
    sums = np.array([_sums(trio) for trio in done if max(one.unfilled for one in trio) < 1e-6])[
        :6_000
    ]
    truth = saving_interval(sums, by_day=True, n_draws=99)[:, 0]
    repeated = np.array(
        [
            saving_interval(part, by_day=True, n_draws=399, seed=k)
            for k, part in enumerate(np.split(sums, 300))
        ]
    )
    share = np.mean((repeated[:, :, 1] <= truth) & (truth <= repeated[:, :, 2]), axis=0)
    assert np.all((share >= 0.92) & (share <= 0.98)), share


def _sums(trio: list[Execution]) -> list[float]:
    return [value for one in trio for value in (one.cost, one.filled.sum())]


def test_an_interval_within_one_day_knows_that_neighbours_are_alike() -> None:
    """The same values in blocks of 30 alike intervals leave the saving less certain."""
    rng = np.random.default_rng(1)
    ruler = 10 + rng.normal(0, 1, 390)
    ones = np.ones(390)
    sums = np.column_stack(
        [ruler * rng.uniform(0.5, 0.9, 390), ones, ruler, ones, 0.3 * ruler, ones]
    )
    ordered = sums[np.argsort(sums[:, 2] - sums[:, 0])]
    blocks = np.concatenate([part for part in rng.permutation(np.split(ordered, 13))])
    independent, alike = (
        np.ptp(saving_interval(one, by_day=False)[0, 1:]) for one in (rng.permutation(sums), blocks)
    )
    assert alike > 1.5 * independent


def test_an_order_done_in_one_interval_still_has_limits() -> None:
    """Two fifths of the draws miss that interval: the others tell."""
    rng = np.random.default_rng(5)
    once = np.where(np.arange(50) == 7, 50.0, 0.0)
    ruler = 1 + 0.1 * rng.standard_normal(50)
    sums = np.column_stack([0.5 * once, once, ruler, np.ones(50), 0.4 * once, once])
    (saving, lower, upper), _ = saving_interval(sums, by_day=False)
    assert lower < saving < upper


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


def test_superior_ability_finds_the_one_that_is_and_not_the_luckiest_of_many() -> None:
    rng = np.random.default_rng(2)
    ruler = rng.normal(10, 1, 60)
    noise = pd.DataFrame({f"s{k}": ruler + rng.normal(0, 0.5, 60) for k in range(20)}).assign(
        TWAP=ruler
    )
    assert superior_ability(noise) > 0.05
    assert superior_ability(noise.assign(good=ruler - 0.3 + rng.normal(0, 0.5, 60))) < 0.01
    assert np.isnan(superior_ability(noise.head(7)))


@pytest.mark.slow
def test_luck_alone_is_called_superior_in_about_5_per_cent() -> None:
    rng = np.random.default_rng(3)
    found = []
    for k in range(60):
        ruler = rng.normal(10, 1, 40)
        tried = pd.DataFrame({f"s{j}": ruler + rng.normal(0, 0.5, 40) for j in range(5)}).assign(
            TWAP=ruler
        )
        found.append(superior_ability(tried, n_draws=199, seed=k) < 0.05)
    assert np.mean(found) <= 0.15  # 3 of 60 expected, 10 or more with probability 0.001


def test_days_to_detect_is_the_closed_form_and_has_its_power() -> None:
    rng = np.random.default_rng(4)
    ruler = rng.normal(10, 1, 5_000)
    costs = pd.DataFrame({"TWAP": ruler, "new": ruler - 0.2 + rng.normal(0, 0.5, 5_000)})
    n = int(days_to_detect(costs)["new"])
    assert n == pytest.approx(((1.959964 + 0.841621) * 0.5 / (0.02 * 10)) ** 2, abs=3)
    saved = (costs["TWAP"] - costs["new"]).to_numpy()[: 5_000 // n * n].reshape(-1, n)
    shown = saved.mean(axis=1) / (saved.std(axis=1, ddof=1) / np.sqrt(n)) > 1.96
    assert shown.mean() == pytest.approx(0.8, abs=0.1)


def test_losses_are_by_day_and_without_the_bound() -> None:
    done = [one for day, own in enumerate([8.0, 6.0]) for one in _trio(day, own)]
    table = losses(done)
    assert list(table.columns) == ["new", "TWAP"]
    assert table["new"].tolist() == pytest.approx([16.0, 12.0])


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

"""Posting against taking: the queue models on real orders, the known market, the rule, the verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    QUEUES,
    Accounting,
    CarriedImpact,
    Posting,
    Recording,
    compare,
    order_cost,
    order_costs,
    post_then_cross,
)
from research_lib.impact import ExponentialSumKernel
from research_lib.market import QueueMarket, Session, read_books, read_messages
from research_lib.studies import (
    BOUNDS,
    TAKE,
    Period,
    PostingRule,
    borrowed_impact,
    child_costs,
    earlier_and_later,
    fill_curve,
    posting_orders,
    posting_table,
    posting_verdict,
    real_orders,
    recovered_fills,
    shifted_differences,
    validation_table,
    when_posting_pays,
)

GOOG = "lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz"
ARL = "databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbo.csv.gz"
ES = "databento_glbx_dbn/orderbooks_mbo_2024-05-08.dbn.zst"
Drawn = tuple[QueueMarket, list[Period]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    market = QueueMarket(session=Session(78))
    books, messages = market.days(6, np.random.default_rng(11))
    return market, Period.of(books, market.session, messages=messages)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [(GOOG, 23_000), (ARL, 300), (ES, 30)])
def test_the_bounds_bracket_real_orders_and_the_exact_queue_predicts_them(
    name: str, least: int
) -> None:
    path = real_data(name)
    orders = real_orders(Recording.of(read_books(path), messages=read_messages(path)))
    found = validation_table(orders).loc["all"]
    assert len(orders) > least
    assert found["fate known_%"] > 60.0
    assert found["bracketed_%"] >= 99.9
    assert found["exact_%"] >= 99.9


def test_the_fates_of_simulated_orders_are_predicted_to_the_share(drawn: Drawn) -> None:
    orders = real_orders(drawn[1][0].recording)
    assert (orders["filled"] > 0).sum() > 500
    assert orders["filled_exact"].to_numpy() == pytest.approx(orders["filled"].to_numpy())
    assert (orders["filled_last"] <= orders["filled"]).all()
    assert (orders["filled"] <= orders["filled_first"]).all()
    middle = orders["filled_proportional"].sum()
    assert orders["filled_last"].sum() < middle < orders["filled_first"].sum()


def test_true_fill_probabilities_are_recovered(drawn: Drawn) -> None:
    market, periods = drawn
    fine = [replace(one, start=one.start[0] + 10**9 * np.arange(0, 23_000, 45)) for one in periods]
    exact = recovered_fills(market, fine, 30.0, "exact")
    assert len(exact) >= 6
    assert exact["se"].max() < 0.04
    assert (exact["z"].abs() < 4).all()
    last, first = (recovered_fills(market, fine, 30.0, one)["probability"] for one in BOUNDS)
    assert (last <= exact["truth"]).all()
    assert (exact["truth"] <= first).all()


def test_an_estimate_without_censoring_is_the_share_filled() -> None:
    orders = pd.DataFrame({"seconds": [1.0, 2.0, 4.0, 9.0], "filled": [True, True, True, False]})
    found = fill_curve(orders, [0.5, 2.0, 8.0])
    assert found["probability"].tolist() == pytest.approx([0.0, 0.5, 0.75])
    assert found["se"].iloc[1] == pytest.approx(np.sqrt(0.5 * 0.5 / 4))  # Greenwood's is binomial
    assert found["resting"].tolist() == [4, 2, 1]


def test_costs_of_child_orders_add_up_to_those_of_the_order(drawn: Drawn) -> None:
    _, periods = drawn
    one = periods[1]
    children = child_costs([one], 200.0, Posting())
    orders = posting_orders([one], 200.0 * 78, Posting(), ["last"])
    priced = order_costs(orders, Accounting(), one.recording.books)
    for side in ("buy", "sell"):
        own = children[children["side"] == side]
        for name, column in ((TAKE, "taken_bps"), ("post, then cross (last)", "posted_bps")):
            row = priced[(priced["strategy"] == name) & (priced["side"] == side)].iloc[0]
            # Of the mid at each start instead of at the first: prices move by less than 1 %.
            assert own[column].mean() == pytest.approx(row["total_bps"], abs=0.01)


def test_a_rule_posts_where_a_gain_is_expected_and_needs_observations() -> None:
    rng = np.random.default_rng(1)
    z = pd.DataFrame({"spread": rng.integers(1, 6, 800), "ahead": rng.integers(1, 2000, 800)})
    z["imbalance"] = rng.uniform(-1, 1, 800)
    z["filled"] = 0.5
    z["taken_bps"], z["cross_bps"] = 1.0, 1.5 + 0.0 * z["ahead"]
    z["rest_bps"] = 0.6 + 2.0 * z["imbalance"] + 0.1 * rng.standard_normal(800)
    rule = PostingRule.fit(z)
    edge = (z["imbalance"] + 0.05).abs() > 0.1  # 1 = 0.3 + 0.75 + imbalance at -0.05
    assert (rule.posts(z) == (z["imbalance"] < -0.05))[edge].all()
    assert not rule.posts(z.assign(spread=np.nan)).any()
    with pytest.raises(ValidationError, match="too few to fit a rule"):
        PostingRule.fit(z.head(9))


def test_posting_what_nobody_trades_with_is_crossing_at_the_end(drawn: Drawn) -> None:
    _, periods = drawn
    far = Posting("first", offset_ticks=500, latency_seconds=0.0)
    done = posting_orders([periods[0]], 7_800.0, far, ["first"])
    posted = done[1]
    assert not posted.posted.any()
    assert posted.filled[1:] == pytest.approx(np.full(78, 100.0))
    books = periods[0].recording.books
    end = np.searchsorted(books.time, periods[0].start + periods[0].step - 1, "right") - 1
    assert posted.mid[1:] == pytest.approx(books.mid[end])


def test_the_rebate_that_makes_both_ways_even_does(drawn: Drawn) -> None:
    _, periods = drawn
    one = posting_orders(periods[:1], 15_600.0, Posting(), ["last"])
    states = periods[0].recording.books
    table = posting_table(compare(one, benchmark=TAKE, states=states), one)
    rebate = table.loc["post, then cross (last)", "break-even rebate"]
    even = compare(one, Accounting(rebate_per_share=rebate), benchmark=TAKE, states=states)
    assert even.loc["post, then cross (last)", "difference_bps"] == pytest.approx(0.0, abs=1e-6)


def test_fills_at_one_time_are_one_for_what_they_carry_on(drawn: Drawn) -> None:
    _, periods = drawn
    (_, one) = posting_orders([periods[0]], 15_600.0, Posting(), ["last"])[:2]
    kernel = CarriedImpact("measured", ExponentialSumKernel(0.0, 1e-6))
    lasting = order_cost(one, Accounting(carried=kernel))["carried_bps"]
    time, x = np.unique(one.time), np.zeros(len(np.unique(one.time)))
    np.add.at(x, np.searchsorted(time, one.time), one.filled)
    pairs = 1e-6 * (np.sum(x) ** 2 - np.sum(x**2)) / 2
    paid = np.zeros(len(x))
    np.add.at(
        paid, np.searchsorted(time, one.time), one.cost_by_interval - one.filled * one.half_spread
    )
    own = np.maximum(0.5e-6 * x**2 - paid, 0.0).sum()
    notional = one.total_shares * one.mid[0]
    assert lasting == pytest.approx(1e4 * (pairs + own) / notional)


def test_one_session_is_shown_by_clock_and_side(drawn: Drawn) -> None:
    _, periods = drawn
    books = periods[0].recording.books
    found = shifted_differences(periods[:1], 7_800.0, Posting(), Accounting(), books)
    assert list(found.index.get_level_values("begun").unique()) == [0.0, 0.25, 0.5, 0.75]
    alone = posting_orders([periods[0].shifted(0.25)], 7_800.0, Posting(), BOUNDS)
    costs = order_costs(alone, Accounting(), books).set_index(["strategy", "side"])["total_bps"]
    for queue in BOUNDS:
        gap = costs[f"post, then cross ({queue})", "sell"] - costs[TAKE, "sell"]
        assert found.loc[(0.25, "sell"), (queue, 1.0)] == pytest.approx(gap)


def test_halves_and_sessions_are_split_in_time(drawn: Drawn) -> None:
    _, periods = drawn
    fitted, evaluated = earlier_and_later(periods, 2)
    assert (len(fitted), len(evaluated)) == (2, 4)
    (morning,), (rest,) = earlier_and_later(periods[:1], 0)
    assert len(morning.start) == len(rest.start) == 39
    assert morning.start[-1] < rest.start[0]
    with pytest.raises(ValidationError, match="the data have 6 sessions; give fewer, or 0"):
        earlier_and_later(periods, 6)


def test_what_was_seen_does_not_depend_on_what_came_later(drawn: Drawn) -> None:
    """Changing every state and trade after a start leaves what was decided there as it was."""
    _, periods = drawn
    one = periods[2]
    at = one.start[40]
    books = one.recording.books
    known = books.time <= at
    cut = replace(one, recording=replace(one.recording, books=replace(
        books.take(known), trades=books.trades.take(books.trades.time <= at))))  # fmt: skip
    for side in ("buy", "sell"):
        whole, before = one.seen(side), cut.seen(side)
        pd.testing.assert_frame_equal(whole.iloc[:41], before.iloc[:41])
        for queue in QUEUES:
            args = np.full(41, 200.0), one.start[:41], one.step, side, Posting(queue)
            full, known_then = (
                post_then_cross(args[0], part.recording, *args[1:]) for part in (one, cut)
            )
            done = full.time <= at
            assert full.filled[done].tolist() == known_then.filled[known_then.time <= at].tolist()


def test_gains_by_group_average_to_the_gain_of_all(drawn: Drawn) -> None:
    _, periods = drawn
    both = {one: child_costs(periods[:2], 200.0, Posting(one)) for one in BOUNDS}
    table = when_posting_pays(both).loc["imbalance"]
    for queue, own in both.items():
        mean = np.average(table[f"gain_{queue}_bps"], weights=table["orders"])
        assert mean == pytest.approx((own["taken_bps"] - own["posted_bps"]).mean())


def test_a_borrowed_level_is_scaled_by_the_whole_session(drawn: Drawn) -> None:
    _, periods = drawn
    whole = borrowed_impact(periods[:1], "GOOG 2012-06-21", 78)
    half = borrowed_impact([periods[0].part(0, 39)], "GOOG 2012-06-21", 78)
    ratio = half.kernel(0.0) / whole.kernel(0.0)
    assert 0.7 < ratio < 1.4  # half a session has half its volume, and is scaled to a whole one


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([(-2, -1), (-3, -2)], "posting beats taking for both bounds of the queue"),
        ([(1, 2), (0.5, 2)], "posting costs more than taking for both bounds of the queue"),
        ([(1, 2), (-3, -2)], "whether posting beats taking cannot be decided"),
        ([(-1, 2), (-3, -2)], "whether posting beats taking cannot be decided"),
    ],
)
def test_the_verdict_needs_both_bounds(ends: list[tuple[float, float]], verdict: str) -> None:
    table = pd.DataFrame(ends, [*BOUNDS], ["lower_bps", "upper_bps"])
    assert posting_verdict(table) == verdict


def test_a_first_book_of_one_side_and_a_session_without_trades_stop_nothing(drawn: Drawn) -> None:
    _, periods = drawn
    one = periods[3]
    books = one.recording.books
    first = np.searchsorted(books.time, one.start[0], "right") - 1
    ask = books.ask_size.copy()
    ask[: first + 1] = 0.0
    quiet = replace(
        books, ask_size=ask, trades=books.trades.take(np.zeros(len(books.trades), bool))
    )
    recording = Recording.of(quiet, 0.01)
    done = post_then_cross([100.0] * 78, recording, one.start, one.step, "buy", Posting("first"))
    assert np.isnan(done.mid[0])
    assert done.filled[done.posted].sum() <= quiet.ask_size[:, 0].sum()  # by quotes alone
    assert done.filled.sum() == pytest.approx(7_800.0)

"""A restart changes nothing: guards, times and fills go on as if there had been none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from live.cases import HALF_HOUR, OPEN, SECOND, Desk, advised, at, book, hear, stops, synthetic

from research_lib.live import Clock, FillReport, Gap, Plan

LIMITS = {"clock_step_seconds": 1e6, "stale_seconds": 60.0}


def plan_of_twap(latency: float = 0.0, fills: str = "simulated", **limits: float) -> Plan:
    return synthetic(strategy="TWAP", latency=latency, fills=fills, limits=LIMITS | limits)


HELD_BACK = [book(0), book(1), book(at(12, -1), bid=50.02), book(at(12, 1), bid=50.02)]
SENT = [book(at(12, 600)), book(at(12, 601))]
LATER = [
    book(at(12, 619), bid=59.99, ask=60.01),
    book(at(12, 621), bid=59.99, ask=60.01),
    Clock(OPEN + 13 * HALF_HOUR),
]


@pytest.mark.parametrize(
    "heard", [[*HELD_BACK, *SENT], [book(at(12, 603)), book(at(12, 604))]], ids=["again", "on"]
)
def test_a_child_order_sent_late_arrives_a_latency_after_it_was_sent(
    heard: list[object], tmp_path: Path
) -> None:
    desk = Desk(plan_of_twap(latency=20.0), tmp_path)
    hear(desk, *HELD_BACK, *SENT)
    desk.journal.close()
    (sent,) = [one for one in desk.of("child") if one["t"] == 12]
    assert sent["time"] == OPEN + round(at(12, 600) * SECOND)
    again = Desk(desk.plan, tmp_path)
    hear(again, *heard, *LATER)
    again.journal.close()
    (fill,) = [one for one in again.of("fill") if one["t"] == 12]
    assert fill["price"] == pytest.approx(60.01)
    assert fill["shares"] == sent["shares"]


def test_a_guard_that_stopped_before_a_kill_is_resumed_after_it(tmp_path: Path) -> None:
    desk = Desk(plan_of_twap(), tmp_path)
    hear(desk, book(0), book(1), Gap(OPEN + 2 * SECOND, "lost"))
    desk.journal.close()
    assert stops(desk) == [("stop", "gap")]
    again = Desk(desk.plan, tmp_path)
    hear(again, book(5), book(6), book(at(1, -1)), book(at(1, 1)))
    again.journal.close()
    assert stops(again) == [("resume", "gap")]
    assert advised(again) == [1]


def test_a_report_before_the_second_event_has_the_time_and_the_mid_of_the_child(
    tmp_path: Path,
) -> None:
    """The recording is heard again from the morning on, when the price was another one."""
    desk = Desk(plan_of_twap(fills="stdin"), tmp_path)
    hear(desk, book(0), book(1), book(at(6, -1), 54.99, 55.01), book(at(6, 1), 54.99, 55.01))
    desk.journal.close()
    again = Desk(desk.plan, tmp_path)
    assert again.engine.progress()["time"] >= OPEN + 6 * HALF_HOUR
    hear(again, book(0), book(1))
    hear(again, FillReport(desk.of("child")[-1]["id"], 10.0, 55.01, done=True))
    again.journal.close()
    (fill,) = again.of("fill")
    assert (fill["mid"], fill["cost"]) == pytest.approx((55.0, 0.1))
    assert fill["time"] >= OPEN + 6 * HALF_HOUR


@pytest.mark.parametrize("kills", [0, 1])
@pytest.mark.parametrize("at_seconds", [10, 25])
def test_a_report_costs_the_same_before_and_after_the_latency(
    at_seconds: int, kills: int, tmp_path: Path
) -> None:
    """Decided at a mid of 50, met at 50.1 and filled at 50.11; both over the mid that it met."""
    plan = plan_of_twap(latency=20.0, fills="stdin")
    desk = Desk(plan, tmp_path)
    heard = [book(0), book(1), book(15, 50.09, 50.11), book(25, 50.09, 50.11), book(26, 50.3, 50.4)]
    for one in heard:
        if one.time > OPEN + at_seconds * SECOND and not desk.of("fill"):
            child = desk.of("child")[0]
            hear(desk, FillReport(child["id"], child["shares"], 50.11, done=True))
            for _ in range(kills):
                desk.journal.close()
                told, desk = desk.told, Desk(plan, tmp_path)
                desk.told[:0] = told
                hear(desk, book(0), book(1))
        hear(desk, one)
    desk.journal.close()
    assert desk.engine.own.cost[0] == pytest.approx(0.01 * child["shares"])
    again = Desk(plan, tmp_path)
    again.journal.close()
    assert again.engine.own.cost[0] == desk.engine.own.cost[0]


@pytest.mark.parametrize("known", [True, False])
def test_a_child_order_held_back_costs_over_the_mid_of_when_it_was_sent(
    known: bool, tmp_path: Path
) -> None:
    """The last start is crossed or in a gap; half a per cent higher it is sent."""
    at_start = [*HELD_BACK[2:]] if known else [Gap(OPEN + round(at(12, -1) * SECOND), "lost")]
    desk = Desk(plan_of_twap(fills="stdin"), tmp_path)
    hear(
        desk,
        *HELD_BACK[:2],
        *at_start,
        book(at(12, 600), 50.24, 50.26),
        book(at(12, 601), 50.24, 50.26),
    )
    child = desk.of("child")[-1]
    assert child["t"] == 12
    hear(desk, FillReport(child["id"], 10.0, 99.0, done=False))
    assert desk.of("refused")[0]["why"].startswith("the price must be within 20.0% of 50.2")
    hear(desk, FillReport(child["id"], 10.0, 50.26, done=True))
    desk.journal.close()
    assert desk.engine.own.cost[12] == pytest.approx(0.1)


def test_what_was_held_back_is_sent_after_two_kills(tmp_path: Path) -> None:
    """The first restart repeats an earlier child order, which is not the last one."""
    plan = plan_of_twap(fills="stdin")
    desk = Desk(plan, tmp_path)
    hear(desk, *HELD_BACK)
    for _ in range(2):
        desk.journal.close()
        desk = Desk(plan, tmp_path)
    hear(desk, *SENT)
    desk.journal.close()
    assert advised(desk) == [0, 12]


def test_a_kill_between_a_late_report_and_the_end_that_has_it(tmp_path: Path) -> None:
    plan = plan_of_twap(fills="stdin")
    desk = Desk(plan, tmp_path)
    hear(desk, book(0), book(1), Clock(OPEN + 13 * HALF_HOUR))
    child = desk.of("child")[0]
    hear(desk, FillReport(child["id"], 100.0, 50.0, done=True))
    desk.journal.close()
    log = tmp_path / f"{plan.id}.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    again = Desk(plan, tmp_path)
    again.journal.close()
    assert again.of("end")[-1]["left"] == pytest.approx(3_900.0)
    assert log.read_bytes() == whole


def test_a_child_order_that_a_limit_forbids_is_told_once(tmp_path: Path) -> None:
    desk = Desk(plan_of_twap(max_participation=0.1), tmp_path)
    hear(desk, book(0), book(1), book(at(12, -1)), book(at(12, 1)), book(at(12, 2)))
    desk.journal.close()
    assert [one["t"] for one in desk.of("limit")] == [0, 12]
    assert not advised(desk)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_limit_beyond_every_price_is_none(side: str, tmp_path: Path) -> None:
    """A large adaptive order takes all that is expected, so that its multiplier has no bound."""
    plan = synthetic(side)
    order = replace_order(plan, 400_000.0)
    desk = Desk(order, tmp_path).replayed()
    prices = [one["limit_price"] for one in desk.of("child")]
    assert None in prices
    mid = desk.engine.arrival
    assert all(0.5 * mid < one < 2.0 * mid for one in prices if one is not None)


def replace_order(plan: Plan, shares: float) -> Plan:
    caps = plan.order.caps * shares / plan.order.total_shares
    return replace(plan, order=plan.order._replace(total_shares=shares, caps=caps))

"""The engine: the study's decisions whatever the pace, one order through any number of deaths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pytest
from live.cases import Desk, replayed_by_study, synthetic

from research_lib.errors import ValidationError
from research_lib.live import (
    Book,
    Clock,
    Engine,
    Event,
    FillReport,
    Journal,
    Plan,
    Trade,
    events_of,
    sources,
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return synthetic()


@pytest.fixture(scope="module")
def events(plan: Plan) -> list[Event]:
    begin, end = plan.bounds
    return [*events_of(plan.parts(), begin, end), Clock(end)]


def fed(plan: Plan, folder: Path, events: Sequence[Event | FillReport]) -> Desk:
    """A desk that goes on with the journal of a folder; after the events its process ends."""
    folder.mkdir(exist_ok=True)
    desk = Desk(plan, folder)
    for event in events:
        desk.engine.handle(event)
    desk.journal.close()
    return desk


# The same decisions


@pytest.mark.parametrize("strategy", ["adaptive", "static optimal", "VWAP"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_decisions_and_fills_are_the_studys(strategy: str, side: str, tmp_path: Path) -> None:
    plan = synthetic(side, strategy=strategy)
    desk = Desk(plan, tmp_path).replayed()
    for name, worked in (("own", desk.engine.own), ("benchmark", desk.engine.benchmark)):
        done = replayed_by_study(plan, name)
        assert np.array_equal(worked.filled, done.filled)
        assert np.array_equal(worked.cost, done.cost_by_interval)
    assert desk.engine.own.filled.sum() == pytest.approx(4_000.0, rel=1e-12)  # sums of 13


@pytest.mark.parametrize("speed", [1.0, 1e4])
def test_the_pace_changes_no_decision(
    plan: Plan, events: list[Event], speed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a pace the feed sleeps up to the time of an event; here a clock that jumps there."""
    now, slept = [0.0], []

    async def pause(seconds: float) -> None:
        now[0] += seconds
        slept.append(seconds)

    monkeypatch.setattr(sources, "sleep", pause)
    monkeypatch.setattr(sources, "monotonic", lambda: now[0])
    paced = Desk(plan, tmp_path).replayed(speed)
    done = replayed_by_study(plan)
    assert np.array_equal(paced.engine.own.filled, done.filled)
    # From the first event to the close; nobody sleeps for less than a millisecond.
    span = 1e-9 * (events[-1].time - events[0].time)
    assert sum(slept) == pytest.approx(span / speed, abs=2e-3)


@pytest.mark.parametrize("t", [1, 6, 12])
def test_no_child_order_knows_its_future(
    plan: Plan, events: list[Event], t: int, tmp_path: Path
) -> None:
    start = plan.session.starts([plan.day])[0, t]

    def changed(event: Event) -> Event:
        if event.time <= start or isinstance(event, Clock):
            return event
        if isinstance(event, Trade):
            return event._replace(size=7 * event.size, aggressor=-event.aggressor)
        assert isinstance(event, Book)
        return event._replace(ask_size=event.ask_size[::-1] * 3, bid_size=event.bid_size * 2)

    desks = [
        fed(plan, tmp_path / "one", events),
        fed(plan, tmp_path / "other", [changed(event) for event in events]),
    ]
    told = [[(c["id"], c["shares"], c["limit_price"]) for c in one.of("child")] for one in desks]
    early = sum(one["t"] <= t for one in desks[0].of("child"))
    assert early
    assert told[0][:early] == told[1][:early]
    assert told[0] != told[1] or t == 12


# One order through any number of deaths


@pytest.mark.parametrize("deaths", [1, 5, 20])
def test_killed_after_any_event_it_goes_on_with_the_same_order(
    plan: Plan, events: list[Event], deaths: int, tmp_path: Path
) -> None:
    """A process that is started again hears the recording from its start."""
    moments = np.sort(np.random.default_rng(deaths).integers(0, len(events), deaths))
    desks = [fed(plan, tmp_path, events[:moment]) for moment in [*moments, len(events)]]
    done = replayed_by_study(plan)
    assert np.array_equal(desks[-1].engine.own.filled, done.filled)
    assert np.array_equal(
        desks[-1].engine.benchmark.cost, replayed_by_study(plan, "benchmark").cost_by_interval
    )
    told = [one for desk in desks for one in desk.of("child")]
    shares = {one["id"]: one["shares"] for one in told}
    assert [one["shares"] for one in told] == [shares[one["id"]] for one in told]
    assert sum(shares.values()) == pytest.approx(4_000.0, rel=1e-12)


def test_a_child_order_not_known_to_be_filled_is_repeated_under_its_id(
    events: list[Event], tmp_path: Path
) -> None:
    slow = synthetic(latency=1_000.0)
    first = Desk(slow, tmp_path)
    heard_until(first, events, 1)
    first.journal.close()
    (sent,) = first.of("child")
    (repeated,) = fed(slow, tmp_path, []).of("child")
    assert repeated.pop("repeated")
    assert sent == repeated
    assert fed(slow, tmp_path, events).of("end")
    assert not fed(slow, tmp_path, []).of("child")


def test_a_line_that_a_dying_process_did_not_finish_is_cut_off(
    plan: Plan, events: list[Event], tmp_path: Path
) -> None:
    """Wherever it was cut: the same order, no child order under two ids or of two sizes."""
    whole = fed(plan, tmp_path / "whole", events)
    path = tmp_path / "whole" / f"{plan.id}.jsonl"
    content = path.read_bytes()
    for number, cut in enumerate(np.random.default_rng(1).integers(300, len(content), 12)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:cut])
        again = fed(plan, folder, events)
        assert np.array_equal(again.engine.own.filled, whole.engine.own.filled)
        told = [json.loads(one) for one in (folder / path.name).read_text().splitlines()]
        children = {(one["id"], one["shares"]) for one in told if one["kind"] == "child"}
        assert len({name for name, _ in children}) == len(children)


def test_the_log_of_another_order_is_refused(plan: Plan, tmp_path: Path) -> None:
    fed(plan, tmp_path, [])
    path = tmp_path / f"{plan.id}.jsonl"
    other = replace(plan, order=plan.order._replace(total_shares=5.0))
    with Journal(path) as journal, pytest.raises(ValidationError, match="another order"):
        Engine(other, journal)


def test_two_processes_do_not_share_a_log(plan: Plan, tmp_path: Path) -> None:
    with Journal(tmp_path / "a"), pytest.raises(ValidationError, match="in use"):
        Journal(tmp_path / "a")
    Journal(tmp_path / "a").close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"kind": "order"}\nno JSON\n{}\nunfinished', "damaged"),
        ('{"an": "object without a newline"}', "no journal"),
        ("time,price\n1,2.0\n2,3.0", "no journal"),
        ("[1]\n", "no journal"),
    ],
)
def test_a_damaged_log_or_another_file_is_refused_and_left_as_it_is(
    content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text(content)
    for _ in range(2):
        with pytest.raises(ValidationError, match=said):
            Journal(tmp_path / "a")
    assert (tmp_path / "a").read_text() == content
    assert said == "damaged" or not (tmp_path / "a.lock").exists()


@pytest.mark.parametrize("wrong", ["hole", "kind", "field", "list", "interval"])
def test_a_log_with_a_hole_is_refused(
    plan: Plan, events: list[Event], wrong: str, tmp_path: Path
) -> None:
    fed(plan, tmp_path, events)
    path = tmp_path / f"{plan.id}.jsonl"
    told = [json.loads(one) for one in path.read_text().splitlines()]
    books = [k for k, one in enumerate(told) if one["kind"] == "book"]
    fills = [k for k, one in enumerate(told) if one["kind"] == "fill"]
    if wrong == "hole":
        del told[books[3]]
    elif wrong == "list":
        told[books[3]] = []
    else:
        at, name = {"kind": (books[3], "kind"), "field": (books[3], "signals")}.get(
            wrong, (fills[3], "t")
        )
        del told[at][name]
    path.write_text("".join(json.dumps(one) + "\n" for one in told))
    with pytest.raises(ValidationError, match="damaged in line"):
        fed(plan, tmp_path, [])


def test_the_name_of_a_new_log_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[bool]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(S_ISDIR(os.fstat(file).st_mode)))
    with Journal(tmp_path / "a") as journal:
        journal.write({"kind": "order"})
    Journal(tmp_path / "a").close()
    assert synced == [True, False]


def test_a_latency_as_long_as_an_interval_is_refused(plan: Plan, tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "a") as journal,
        pytest.raises(ValidationError, match="latency_seconds"),
    ):
        Engine(replace(plan, latency_seconds=1800.0), journal)


# What the desk reports


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(synthetic(fills="stdin", strategy="TWAP"), tmp_path)
    yield one
    one.journal.close()


def shares_of(desk: Desk) -> list[float]:
    return [round(one["shares"], 6) for one in desk.of("child")]


def heard_until(desk: Desk, events: list[Event], n_children: int) -> None:
    """The next events, until so many child orders were told."""
    for event in events:
        if event.time > desk.engine.now or not desk.engine.now:
            desk.engine.handle(event)
        if len(desk.of("child")) == n_children:
            return


def test_reported_fills_are_what_is_done(desk: Desk, events: list[Event]) -> None:
    """Of 13 even child orders of 307.69 the first fills a hundred in two parts, the rest is carried."""
    heard_until(desk, events, 1)
    (child,) = desk.of("child")
    for shares, done in ((40.0, False), (100.0, True)):
        desk.engine.handle(FillReport(child["id"], shares, 29.6, done))
    heard_until(desk, events, 2)
    assert shares_of(desk) == [round(4000 / 13, 6), round(2 * 4000 / 13 - 100, 6)]
    assert desk.engine.progress()["left"] == 3_900.0


def test_a_child_order_without_an_answer_counts_as_filled(desk: Desk, events: list[Event]) -> None:
    for event in events:
        desk.engine.handle(event)
    assert sum(shares_of(desk)) == pytest.approx(4_000.0, rel=1e-6)
    (end,) = desk.of("end")
    assert end["left"] == 4_000.0
    assert len(end["open"]) == 13


@pytest.mark.parametrize(
    ("shares", "price", "own"),
    [
        (np.inf, 29.6, True),
        (-1.0, 29.6, True),
        (np.nan, 29.6, True),
        (5.0, np.nan, True),
        (5.0, np.inf, True),
        (5.0, 3e6, True),
        (5.0, 29.6, False),
    ],
)
def test_a_report_that_cannot_be_true_is_refused_and_said(
    desk: Desk, events: list[Event], shares: float, price: float, own: bool
) -> None:
    heard_until(desk, events, 1)
    name = desk.of("child")[0]["id"] if own else "another-0000"
    desk.engine.handle(FillReport(name, shares, price, done=True))
    assert len(desk.of("refused")) == desk.engine.counts["refused"] == 1
    assert not desk.of("fill")


def test_a_child_order_that_was_answered_is_not_filled_again(
    desk: Desk, events: list[Event]
) -> None:
    heard_until(desk, events, 1)
    report = FillReport(desk.of("child")[0]["id"], 10.0, 29.6, done=True)
    for _ in range(2):
        desk.engine.handle(report)
    assert desk.engine.own.filled.sum() == 10.0
    assert len(desk.of("refused")) == 1


def test_what_is_filled_beyond_a_child_order_is_booked_and_ends_the_advice(
    desk: Desk, events: list[Event], tmp_path: Path
) -> None:
    """A gateway that rounds up to thousands; a desk that is started again knows of it."""
    for n_children in (1, 2):
        heard_until(desk, events, n_children)
        shares = 300.0 if n_children == 1 else 4_600.0
        desk.engine.handle(FillReport(desk.of("child")[-1]["id"], shares, 29.6, n_children == 1))
    desk.journal.close()
    again = fed(desk.plan, tmp_path, events)
    for one in (desk, again):
        assert one.engine.own.filled.sum() == 4_900.0
        assert one.engine.own.committed(2).tolist() == [300.0, 4_600.0]
        assert one.engine.progress()["left"] == 0.0
        assert not one.of("refused")
    assert "overfilled" in {one["guard"] for one in again.of("stop")}
    assert all(one.get("repeated") for one in again.of("child"))
    assert again.of("end")[0]["filled_pct"] == pytest.approx(122.5)


def test_a_reported_fill_costs_the_same_whenever_it_is_reported(
    desk: Desk, events: list[Event]
) -> None:
    """Over the mid that its child order met, as the benchmark's; nothing new changes nothing."""
    heard_until(desk, events, 1)
    name, first = desk.of("child")[0]["id"], desk.engine.book
    assert first
    risen = first._replace(bid_price=first.bid_price + 0.1, ask_price=first.ask_price + 0.1)
    desk.engine.handle(risen)
    desk.engine.handle(FillReport(name, 40.0, 30.0, done=False))
    assert desk.engine.own.cost[0] == pytest.approx(40.0 * (30.0 - desk.engine.seen.mid[0]))
    heard_until(desk, events, 2)
    mid = desk.of("benchmark")[0]["mid"]
    for shares in (100.0, 100.0):
        desk.engine.handle(FillReport(name, shares, 30.0, done=False))
        assert desk.engine.own.cost[0] == pytest.approx(100.0 * (30.0 - mid))
    assert desk.engine.own.cost_bps(1.0) == pytest.approx(1e4 * (30.0 - mid))


def test_a_fill_where_no_book_is_known_leaves_a_cost_that_is_one(
    desk: Desk, events: list[Event]
) -> None:
    begin = desk.engine.starts[0]
    for _ in range(2):
        desk.engine.handle(Clock(int(begin) + 1))
    (child,) = desk.of("child")
    assert child["limit_price"] is None
    desk.engine.handle(FillReport(child["id"], 50.0, 29.6, done=True))
    heard_until(desk, events, 2)
    assert desk.engine.own.cost_bps(desk.engine.arrival) == 0.0

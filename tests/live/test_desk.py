"""The desk around the engine: its command, reports on a pipe, status, sources."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import LONGEST, real_data
from live.cases import (
    HALF_HOUR,
    OPEN,
    Desk,
    at,
    book,
    no_pause,
    of_plan,
    paced,
    parameters,
    plan_of,
    study,
    synthetic,
)
from live.venue import Venue, recorded

from research_lib.__main__ import main
from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.live import BinanceFeed, Clock, Event, Plan, Settings, events_of, run_live, work
from research_lib.live import desk as desk_module
from research_lib.reporting import Project

SPOT_ETH = "binance_raw_stream/spot_ethusdt_20240808.jsonl.gz"
TINY = {
    "title": "tiny", "sections": ["strategy"],
    "strategy": {"n_intervals": 13, "n_days": 4, "fit_days": 2, "total_shares": 2_000.0,
                 "optimizer_settings": {"max_allocation_ratio": 0.3}},
}  # fmt: skip
FAULTS = ["drop", "skip", "garbage", "twice", "drop", "skip"]


def project(folder: Path, **live: object) -> Project:
    """With one configuration, tiny."""
    content = yaml.safe_dump({**TINY, "live": live})
    (folder / "tiny.yml").write_text(content)
    return Project(configurations=folder)


def lines(text: str) -> list[Json]:
    return [json.loads(one) for one in text.splitlines()]


def test_the_command_works_an_order_and_goes_on_with_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "order.jsonl"
    asked = ["live", "tiny", "--speed", "inf", "--output", str(log)]
    assert main(asked, project(tmp_path)) == 0
    told = lines(capsys.readouterr().out)
    assert {one["kind"] for one in told} >= {"order", "child", "fill", "end"}
    assert told[-1]["left"] == pytest.approx(0.0, abs=1e-8)
    written = lines(log.read_text())
    assert [one for one in written if one["kind"] not in ("book", "benchmark")] == told
    assert main(asked, project(tmp_path)) == 0
    assert lines(capsys.readouterr().out) == told[-1:]
    assert lines(log.read_text()) == written


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("tape", "must be replay"),
        ("ws:https://127.0.0.1", "ws:// or wss://"),
        ("ws:ws://127.0.0.1:1", "snapshot_url"),
        ("replay:none.csv", "none.csv"),
    ],
)
def test_a_source_that_cannot_be_is_one_line(
    source: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["live", "tiny", "--source", source, "--output", str(tmp_path / "log")]
    assert main(asked, project(tmp_path)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_address_of_the_book_is_one(tmp_path: Path) -> None:
    plan = synthetic(snapshot_url="api/depth")
    with pytest.raises(ValidationError, match="got 'api/depth'"):
        run_live(plan, "ws:ws://127.0.0.1:1", output=str(tmp_path / "log"))


def test_a_stream_has_its_own_pace(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="leave out the speed 2"):
        run_live(synthetic(), "ws:ws://127.0.0.1:1", speed=2.0, output=str(tmp_path / "log"))


def test_a_speed_that_cannot_be_begins_no_log(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="speed must be above 0"):
        run_live(synthetic(), speed=0.0, output=str(tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_an_interrupted_order_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*given: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk_module, "work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_live(synthetic(), output=str(tmp_path / "log"))
    assert "the same command goes on with the order" in capsys.readouterr().err


def test_a_recording_must_be_of_the_symbol() -> None:
    with pytest.raises(ValidationError, match="the order of GOOG"):
        next(replace(synthetic(), symbol="GOOG").parts())


@pytest.mark.parametrize("days", [-1, 1])
def test_a_recording_must_have_a_book_in_the_session(days: int) -> None:
    plan = synthetic()
    books = plan.recording.take(np.arange(390))  # of the first of three days
    away = replace(plan, recording=books, day=plan.day + timedelta(days=days))
    with pytest.raises(ValidationError, match="has no book in the session"):
        list(away.parts())


@pytest.mark.parametrize("hours", [None, "1h"])
@pytest.mark.parametrize("given", ["now", "NaT", "2024-01-05T15:00 o'clock", "9999-12-31T23:00"])
def test_a_session_that_is_none_is_refused(given: str, hours: str | None) -> None:
    how = {
        "session_settings": {"block": hours} if hours else {},
        "n_intervals": 13,
        "n_days": 4,
        "fit_days": 2,
    }
    with pytest.raises(ValidationError, match="is no date, as 20"):
        Plan.of("own", Project().parameters("strategy", how), Settings(session=given))


def test_a_session_of_days_has_no_hour_and_an_exchange_that_opens() -> None:
    given = Project().parameters("strategy", {"n_intervals": 13, "n_days": 4, "fit_days": 2})
    for session, said in (("2024-01-05T15:00", "no date"), ("2024-01-06", "XNYS does not open")):
        with pytest.raises(ValidationError, match=said):
            Plan.of("own", given, Settings(session=session))


def test_a_block_within_an_hour_knows_what_ended_before_it() -> None:
    how = {"session_settings": {"block": "1h"}, "n_intervals": 4, "n_days": 6, "fit_days": 2}
    given = Project().parameters("strategy", how)
    whole, within = (
        Plan.of("own", given, Settings(session=f"2024-01-02T03:{minutes}"))
        for minutes in ("00", "20")
    )
    assert within.day == whole.day
    assert within.source == whole.source


def test_settings_are_replaced_and_their_limits_are_a_mapping() -> None:
    one = Settings(limits={"stale_seconds": 5})
    assert replace(one, strategy="TWAP").limits == one.limits
    with pytest.raises(ValidationError, match="Limits needs a mapping"):
        Settings(limits=[])


def test_a_second_order_of_a_session_has_ids_of_its_own() -> None:
    plan = synthetic()
    second = replace(plan, settings=replace(plan.settings, order="2"))
    assert second.id == f"{plan.id}-2"


def test_a_session_is_a_date() -> None:
    with pytest.raises(ValidationError, match="session must be a date"):
        Settings(session=5)  # type: ignore[arg-type]


def test_a_feed_that_ends_before_the_close_does_not_end_the_order(tmp_path: Path) -> None:
    plan = synthetic()
    desk = Desk(plan, tmp_path)

    async def events() -> AsyncGenerator[Event, None]:
        for event in islice(events_of(plan.parts(), *plan.bounds), 2):
            yield event

    with pytest.raises(ValidationError, match="the feed ended at 20"):
        asyncio.run(work(desk.engine, events()))
    desk.journal.close()
    assert not desk.of("end")
    assert not Desk(plan, tmp_path).replayed().engine.own.open


def test_a_misspelt_setting_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "tiny"], project(tmp_path, strateggy="adaptive")) == 2
    assert "did you mean 'strategy'" in capsys.readouterr().err


def test_a_plan_names_the_sessions_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="2 are fitted to"):
        Plan.load("tiny", project(tmp_path, session="2000-01-03"))


def test_a_session_to_come_is_known_by_the_latest_ones(tmp_path: Path) -> None:
    """Of the four recorded days the last two, whatever the schedule of refits."""
    recorded_one, at = Plan.load("tiny", project(tmp_path)), 1_704_823_200 * 10**9  # 2024-01-09
    plan = Plan.load("tiny", project(tmp_path), at)
    assert str(plan.day) == "2024-01-09"
    assert plan.source.startswith("2024-01-04 to 2024-01-05")
    assert recorded_one.source.startswith("2024-01-02 to 2024-01-03")


def test_reports_on_a_pipe_are_the_fills(tmp_path: Path) -> None:
    """The feed waits for each answer: the first child order is filled in half, the next as a whole."""
    plan = synthetic(fills="stdin", strategy="TWAP")
    desk, (read, write) = Desk(plan, tmp_path), os.pipe()
    no_report = b"no report" * 10_000  # above what a pipe holds

    async def events() -> AsyncGenerator[Event, None]:
        for event in events_of(plan.parts(), *plan.bounds):
            yield event
            if len(children := desk.of("child")) > len(desk.of("fill")):
                share = 0.5 if len(children) == 1 else 1.0
                filled = {"shares": share * children[-1]["shares"], "price": 29.6, "done": True}
                text = json.dumps({"id": children[-1]["id"], **filled})
                await asyncio.to_thread(answer, no_report + f"\n{text}\n".encode())
                while len(desk.of("fill")) < len(children):
                    await asyncio.sleep(0)
        for _ in range(2):  # a first time is confirmed by the next event
            yield Clock(plan.bounds[1])

    def answer(content: bytes) -> None:
        with open(write, "wb", closefd=False) as file:
            file.write(content)

    with os.fdopen(read) as reports:
        asyncio.run(work(desk.engine, events(), reports=reports))
    os.close(write)
    desk.journal.close()
    filled = desk.engine.own.filled
    assert filled[:2] == pytest.approx([2_000 / 13, 6_000 / 13])
    assert filled.sum() == pytest.approx(4_000.0)
    assert desk.engine.counts["refused"] == 13


@pytest.mark.parametrize("content", [b"", b"no report\n"])
def test_reports_may_be_a_file(content: bytes, tmp_path: Path) -> None:
    """As /dev/null is, which systemd gives; what is read before the first child order is refused."""
    plan, path = synthetic(fills="stdin"), tmp_path / "reports.jsonl"
    path.write_bytes(content)
    desk = Desk(plan, tmp_path)

    async def events() -> AsyncGenerator[Event, None]:
        while desk.engine.counts["refused"] < len(content.splitlines()):
            await asyncio.sleep(0)
        for _ in range(2):  # a first time is confirmed by the next event
            yield Clock(plan.bounds[1])

    with path.open() as reports:
        asyncio.run(work(desk.engine, events(), reports=reports))
    desk.journal.close()
    assert desk.engine.finished


def test_a_feed_that_never_waits_leaves_time_for_reports(tmp_path: Path) -> None:
    plan = synthetic(fills="stdin")
    desk, path = Desk(plan, tmp_path), tmp_path / "reports.jsonl"
    path.write_bytes(b"no report\n")

    async def events() -> AsyncGenerator[Event, None]:
        while not desk.engine.counts["refused"]:
            yield Clock(plan.bounds[0])
        for _ in range(2):  # a step of the clock is confirmed by the next event
            yield Clock(plan.bounds[1])

    with path.open() as reports:
        asyncio.run(asyncio.wait_for(work(desk.engine, events(), reports=reports), LONGEST))
    desk.journal.close()


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_reported_after_the_close_is_in_the_end(ends: bool, tmp_path: Path) -> None:
    """It is written before the close and read after it; the desk hears on until stdin or its orders have ended."""
    plan = synthetic(strategy="TWAP", fills="stdin", limits={"clock_step_seconds": 1e6})
    desk, (read, write) = Desk(plan, tmp_path), os.pipe()

    async def events() -> AsyncGenerator[Event, None]:
        for one in (book(0), book(1), book(at(12, -1)), book(at(12, 1))):
            yield one
        for one in desk.of("child")[ends:]:  # all, or all but the first
            report = {"id": one["id"], "shares": one["shares"], "price": 50.0, "done": True}
            os.write(write, json.dumps(report).encode() + b"\n")
        if ends:
            os.close(write)
        yield Clock(OPEN + 13 * HALF_HOUR)

    with os.fdopen(read) as reports, pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk_module, "REPORT_SECONDS", LONGEST)
        asyncio.run(work(desk.engine, events(), reports=reports))
    desk.journal.close()
    if not ends:
        os.close(write)
    told = desk.of("end")
    filled = sum(one["shares"] for one in desk.of("fill"))
    assert len(told) == (2 if ends else 3)
    assert (told[0]["left"], len(told[0]["open"])) == (4_000.0, 2)
    assert told[-1]["left"] == pytest.approx(4_000.0 - filled)
    assert len(told[-1]["open"]) == ends
    assert [one["time"] > 0 for one in desk.of("warning")] == [True] * ends
    again = Desk(plan, tmp_path)
    again.journal.close()
    assert again.told == told[-1:]


def test_reports_that_cannot_be_read_end_the_work(tmp_path: Path) -> None:
    desk = Desk(synthetic(fills="stdin"), tmp_path)

    async def events() -> AsyncGenerator[Event, None]:
        while True:
            yield book(0)

    with pytest.raises(OSError, match="fileno"):
        asyncio.run(work(desk.engine, events(), reports=io.StringIO()))
    desk.journal.close()


GOOD: Json = {"id": "own-0001", "shares": 50, "price": 30.0, "done": True}
LOOSE: list[Json] = [
    {"shares": True},
    {"shares": "50"},
    {"price": "130.0"},
    {"price": True},
    {"done": 1},
]
LOOSE += [{"shares": 10**400}, {"price": 10**400}]


@pytest.mark.parametrize("text", [*(json.dumps({**GOOD, **one}) for one in LOOSE), "[" * 10**5])
def test_a_loose_report_is_none(text: str) -> None:
    assert desk_module.report_of(json.dumps(GOOD)) == ("own-0001", 50.0, 30.0, True)
    assert desk_module.report_of(text).id == ""


def test_the_status_is_told_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, told, now = synthetic(), list[Json](), [0.0]
    desk = Desk(plan, tmp_path)

    def clock() -> float:
        now[0] += 1.0  # each event a second
        return now[0]

    async def events() -> AsyncGenerator[Event, None]:
        for event in list(events_of(plan.parts(), *plan.bounds))[:300]:
            yield event

    monkeypatch.setattr(desk_module, "monotonic", clock)
    with pytest.raises(ValidationError, match="the feed ended"):
        asyncio.run(work(desk.engine, events()))
    told = desk.of("status")
    desk.journal.close()
    assert [one["kind"] for one in told] == ["status"] * 5
    assert sum(told[-1]["events"].values()) == 300
    assert {"memory_mb", "feed", "seconds", "left", "stopped"} <= told[-1].keys()


def test_an_order_waits_for_a_book_that_is_not_too_old(tmp_path: Path) -> None:
    """A book a minute: 20 s after the start it is too old, and the order meets that of the minute after."""
    plan = synthetic(max_age_seconds=5.0, strategy="TWAP")
    desk = Desk(plan, tmp_path).replayed()
    later = Desk(
        replace(synthetic(strategy="TWAP"), latency_seconds=60.0), tmp_path / ".."
    ).replayed()
    assert np.array_equal(desk.engine.own.cost, later.engine.own.cost)


@pytest.mark.slow
@pytest.mark.parametrize("faults", [[], FAULTS])
def test_over_the_wire_it_is_the_same_order(faults: list[str], tmp_path: Path) -> None:
    """A minute of ETH in twelve intervals: without faults bit for bit the study's."""
    given = parameters(
        "btc", data_file_name=SPOT_ETH, n_intervals=12, session_settings={"block": "1min"},
        fit_days=2, read_settings={}, quality_settings={}, trade_sizes=[0.1, 0.5, 1.0, 5.0],
        total_shares=5.0, latency_seconds=0.5,
        optimizer_settings={"default_solver": "auto", "max_allocation_ratio": 0.3},
    )  # fmt: skip
    snapshot, messages = recorded(real_data(SPOT_ETH))
    plan = plan_of("eth", given)
    begin, end = (one // 10**6 for one in plan.bounds)
    depth = [
        k for k, one in enumerate(messages) if one["e"] == "depthUpdate" and begin < one["E"] < end
    ]
    moments = dict(zip(depth[40 :: len(depth) // 6], faults, strict=False))
    desk = Desk(plan, tmp_path)

    async def listen() -> None:
        venue = Venue(snapshot, messages, moments)
        async with venue.open() as (url, book_url):
            feed = BinanceFeed(url, book_url, 1e4, 60.0)
            await work(desk.engine, feed.events())

    with paced(no_pause):
        asyncio.run(listen())
    desk.journal.close()
    assert desk.engine.own.filled.sum() == pytest.approx(5.0, rel=1e-12)
    children = desk.of("child")
    assert len({one["id"] for one in children}) == len(children)
    if faults:
        assert {one["guard"] for one in desk.of("stop")} == {"gap"}
    else:
        done = of_plan(study(given), plan, "adaptive")
        assert np.array_equal(desk.engine.own.filled, done.filled)
        assert np.array_equal(desk.engine.own.cost, done.cost_by_interval)

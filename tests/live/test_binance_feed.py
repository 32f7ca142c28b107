"""The feed mends itself: after every fault its books are the venue's, and the desk hears of the gap."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from http.client import IncompleteRead
from itertools import pairwise

import numpy as np
import pytest
from helpers import real_data
from live.cases import no_pause, paced
from live.venue import Message, Venue, recorded

from research_lib.errors import ValidationError
from research_lib.live import BinanceFeed, Book, Clock, Event, Gap, Trade, binance_feed
from research_lib.market import BookSnapshots, read_books

SPOT_ETH = "binance_raw_stream/spot_ethusdt_20240808.jsonl.gz"
FUTURES = "binance_raw_stream/usdm_btcusdt_20240808.jsonl.gz"
START_MS = 1_723_161_255_000
SNAPSHOT = {
    "lastUpdateId": 100,
    "bids": [["10.0", "1"], ["9.9", "2"]],
    "asks": [["10.1", "3"], ["10.2", "4"]],
}


def updates(n: int) -> list[Message]:
    """The best bid's size counts them: update k says k; the first is in the snapshot already."""
    return [
        {
            "e": "depthUpdate", "E": START_MS + 100 * k, "s": "XY", "U": 100 + k, "u": 100 + k,
            "b": [["10.0", str(k)]], "a": [],
        }
        for k in range(n + 1)
    ]  # fmt: skip


def heard(
    venue: Venue, last_ms: int, tick_seconds: float = 3600.0, silence_seconds: float = 10.0
) -> tuple[list[object], BinanceFeed]:
    """Events up to the book of a time; waits between attempts take no time."""

    async def listen() -> tuple[list[object], BinanceFeed]:
        async with venue.open() as (url, book_url):
            feed, found = BinanceFeed(url, book_url, silence_seconds, 60.0), []
            events = feed.events()
            async for event in events:
                found.append(event)
                if isinstance(event, Book) and event.time >= last_ms * 10**6:
                    break
            await events.aclose()
            return found, feed

    with paced(no_pause, tick_seconds):
        return asyncio.run(listen())


def sizes(found: list[object]) -> list[int]:
    return [int(one.bid_size[0]) for one in found if isinstance(one, Book)]


def test_updates_become_books() -> None:
    found, feed = heard(Venue(SNAPSHOT, updates(5)), START_MS + 500)
    assert sizes(found) == [1, 2, 3, 4, 5]
    assert not [one for one in found if isinstance(one, Gap)]
    assert feed.counts["snapshots"] == feed.counts["connections"] == 1


def test_what_the_snapshot_has_already_is_left_out() -> None:
    """Updates that the venue sent before the book it gives."""
    early = dict(SNAPSHOT, lastUpdateId=103, bids=[["10.0", "3"]])
    found, feed = heard(Venue(early, updates(5)), START_MS + 500)
    assert sizes(found) == [4, 5]
    assert feed.counts["duplicates"] == 4


@pytest.mark.parametrize(
    ("fault", "lost", "gaps"),
    [("twice", [], 0), ("skip", [6, 7, 8], 1), ("garbage", [6, 7], 1), ("drop", [6, 7], 1)],
)
def test_after_a_fault_the_books_go_on_from_a_snapshot(
    fault: str, lost: list[int], gaps: int
) -> None:
    """Of a gap the next update tells, and the one after it asks for the book, which holds it."""
    found, feed = heard(Venue(SNAPSHOT, updates(12), {6: fault}), START_MS + 1200)
    assert sizes(found) == [k for k in range(1, 13) if k not in lost]
    assert len([one for one in found if isinstance(one, Gap)]) == gaps
    assert feed.counts["snapshots"] == 1 + gaps
    assert feed.counts["connections"] == 1 + (fault == "drop")


def test_a_book_older_than_the_stream_is_asked_for_again() -> None:
    venue = Venue(SNAPSHOT, updates(5))
    venue.answers = [json.dumps({"lastUpdateId": 50, "bids": [], "asks": []})] * 2
    found, feed = heard(venue, START_MS + 500)
    assert sizes(found) == [1, 2, 3, 4, 5]
    assert feed.counts["snapshots"] == 3


def test_a_damaged_book_makes_the_connection_anew() -> None:
    venue = Venue(SNAPSHOT, updates(5))
    venue.answers = ['{"lastUpdateId": ']
    found, feed = heard(venue, START_MS + 500)
    assert "snapshot is damaged" in next(one.reason for one in found if isinstance(one, Gap))
    assert feed.counts["connections"] == 2
    assert sizes(found)[-1] == 5


TIMES: dict[str, Message] = {
    "infinite": {"E": float("inf")},
    "none": {"E": None},
    "text": {"E": "now"},
}
WRONG = {"symbol": {"s": "gap"}, "levels": {"b": 100_000 * "["}, **TIMES}


def heard_from(feed: BinanceFeed, messages: list[Message]) -> list[Event]:
    """An event of each message."""
    said = iter(messages)

    class Socket:
        async def recv(self) -> str:
            return json.dumps(next(said))

    async def listen() -> list[Event]:
        events = feed._heard(Socket())
        return [await anext(events) for _ in messages]

    return asyncio.run(listen())


@pytest.mark.parametrize("wrong", WRONG)
def test_a_damaged_message_is_no_gap_whatever_it_says(wrong: str) -> None:
    feed = BinanceFeed("", "", 10.0, 60.0)
    feed.book = binance_feed.DepthReplay(SNAPSHOT)
    found = heard_from(feed, [updates(2)[1], updates(2)[2] | WRONG[wrong]])
    assert [type(one) for one in found] == [Book, Gap]
    assert (feed.counts["damaged"], feed.counts["gaps"]) == (1, 0)


@pytest.mark.parametrize("wrong", TIMES)
def test_a_damaged_time_of_the_first_update_asks_for_no_book(wrong: str) -> None:
    feed = BinanceFeed("", "", 10.0, 60.0)
    found = heard_from(feed, [updates(2)[1] | TIMES[wrong]])
    assert [type(one) for one in found] == [Gap]
    assert (feed.counts["damaged"], feed.counts["snapshots"]) == (1, 0)


async def unheard(n: int, max_wait_seconds: float = 60.0) -> list[Event]:
    """The first events of a venue where nobody listens."""
    async with Venue(SNAPSHOT, []).open() as (url, book_url):
        pass  # closed again
    events = BinanceFeed(url, book_url, 10.0, max_wait_seconds).events()
    found = [await anext(events) for _ in range(n)]
    await events.aclose()
    return found


def test_waits_between_attempts_double_up_to_the_longest() -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    with paced(pause):
        found = asyncio.run(unheard(5, 3.0))
    assert {type(one) for one in found} == {Gap}
    assert waits == [0.5, 1.0, 2.0, 3.0]


def test_a_snapshot_that_is_cut_off_makes_the_connection_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, fetched = [IncompleteRead(b'{"lastUp')], binance_feed._fetched

    def cut_off(url: str) -> bytes:
        if answers:
            raise answers.pop()
        return fetched(url)

    monkeypatch.setattr(binance_feed, "_fetched", cut_off)
    found, feed = heard(Venue(SNAPSHOT, updates(5)), START_MS + 500)
    assert feed.counts["connections"] == 2
    assert sizes(found)[-1] == 5


def test_one_wrong_time_moves_no_clock() -> None:
    messages, day = updates(12), 86_400_000
    wrong = {"e": "trade", "E": START_MS + day, "T": START_MS + day, "s": "XY"}
    messages.insert(6, wrong | {"p": "10.0", "q": "1", "m": False})
    venue = Venue(SNAPSHOT, messages, {7: "silence"})
    found, _ = heard(venue, START_MS + 1200, tick_seconds=0.01, silence_seconds=0.05)
    clocks = [one.time for one in found if isinstance(one, Clock)]
    assert sum(isinstance(one, Trade) for one in found) == 1
    assert len(clocks) > 2
    assert max(clocks) < (START_MS + day) * 10**6


def test_a_wrong_time_of_the_first_update_moves_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_feed, "_fetched", lambda url: json.dumps(SNAPSHOT))
    feed, day = BinanceFeed("", "", 10.0, 60.0), 86_400_000
    (wrong,) = heard_from(feed, [updates(1)[1] | {"E": START_MS + 10_000 * day}])
    assert isinstance(wrong, Book)
    assert wrong.time == (START_MS + 10_000 * day) * 10**6
    assert feed._now() < wrong.time - day * 10**6


def test_damaged_trades_leave_the_book_as_it_is() -> None:
    trade = {"e": "trade", "E": START_MS, "s": "XY", "price": "10.0"}
    messages = [*updates(2), *50 * [trade], *updates(5)[3:]]
    found, feed = heard(Venue(SNAPSHOT, messages), START_MS + 500)
    assert sizes(found) == [1, 2, 3, 4, 5]
    assert (feed.counts["damaged"], feed.counts["snapshots"]) == (50, 1)


def test_a_stream_of_another_symbol_is_refused() -> None:
    async def first(symbol: str) -> Event:
        async with Venue(SNAPSHOT, updates(5)).open() as (url, book_url):
            events = BinanceFeed(url, book_url, 10.0, 60.0, symbol).events()
            try:
                return await anext(events)
            finally:
                await events.aclose()

    assert isinstance(asyncio.run(first("XY")), Book)
    feed = BinanceFeed("", "", 10.0, 60.0, "XY")
    feed.counts["snapshots"] = 1  # later it is a damaged message
    with pytest.raises(ValueError, match="the stream is of ZZ") as raised:
        asyncio.run(feed._event(updates(1)[1] | {"s": "ZZ"}))
    assert not isinstance(raised.value, ValidationError)
    with pytest.raises(
        ValidationError, match=r"the stream is of XY, not of BTCUSDT; .*stream_symbol"
    ):
        asyncio.run(first("BTCUSDT"))


def test_a_venue_that_never_answers_is_a_gap_at_this_machines_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binance_feed.time, "time_ns", lambda: 10**18)
    (gap,) = asyncio.run(unheard(1))
    assert isinstance(gap, Gap)
    assert gap.time >= 10**18


def test_the_clock_goes_on_between_two_attempts() -> None:
    async def pause(seconds: float) -> None:
        await asyncio.Event().wait()

    with paced(pause, 0.001):
        found = asyncio.run(unheard(4))
    assert [type(one) for one in found] == [Gap, Clock, Clock, Clock]


def test_the_clock_goes_on_while_the_book_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> list[Event]:
        async with Venue(SNAPSHOT, updates(5)).open() as (url, book_url):
            events = BinanceFeed(url, book_url, 10.0, 60.0).events()
            found = [await anext(events) for _ in range(3)]
            given.set()
            await events.aclose()
            return found

    given, fetched = threading.Event(), binance_feed._fetched

    def late(url: str) -> bytes:
        given.wait()
        return fetched(url)

    monkeypatch.setattr(binance_feed, "_fetched", late)
    with paced(asyncio.sleep, 0.01):
        found = asyncio.run(listen())
    assert {type(one) for one in found} == {Clock}


def test_a_silent_connection_is_made_anew() -> None:
    venue = Venue(SNAPSHOT, updates(12), {6: "silence"})
    found, feed = heard(venue, START_MS + 1200, tick_seconds=0.01, silence_seconds=0.02)
    assert sizes(found)[-1] == 12
    assert feed.counts["connections"] >= 2
    assert "silent" in next(one.reason for one in found if isinstance(one, Gap))


def test_the_clock_goes_on_where_the_feed_is_silent() -> None:
    venue = Venue(SNAPSHOT, updates(12), {6: "silence"})
    found, _ = heard(venue, START_MS + 1200, tick_seconds=0.01, silence_seconds=0.05)
    times = [one.time for one in found]  # type: ignore[attr-defined]
    before_the_gap = times[: [isinstance(one, Gap) for one in found].index(True)]
    # By up to the time between two messages too early, so that one wrong time moves no clock.
    assert min(np.diff(before_the_gap)) >= -(10**8)
    assert len(before_the_gap) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", [SPOT_ETH, FUTURES])
@pytest.mark.parametrize("faults", [{}, {400: "drop", 900: "skip", 1500: "garbage", 2200: "twice"}])
def test_a_recorded_stream_gives_the_readers_books(name: str, faults: Mapping[int, str]) -> None:
    path = real_data(name)
    snapshot, messages = recorded(path)
    depth = [k for k, one in enumerate(messages) if one["e"] == "depthUpdate"][:3_000]
    messages = messages[: depth[-1] + 1]
    venue = Venue(snapshot, messages, {depth[k]: fault for k, fault in faults.items()})
    found, feed = heard(venue, messages[depth[-1]]["E"])
    books = read_books(path)
    rows = {int(time): k for k, time in enumerate(books.time)}
    seen = [one for one in found if isinstance(one, Book)]
    for one in seen:
        assert _same(one, books, rows[one.time])
    lost = rows[seen[-1].time] + 1 - len(seen)
    assert lost == 0 if not faults else 0 < lost < 0.2 * len(seen)
    assert len([one for one in found if isinstance(one, Gap)]) == 3 * bool(faults)
    if not faults:
        known = books.trades
        trades = [one for one in found if isinstance(one, Trade)]
        until = int(np.searchsorted(known.time, trades[-1].time, "right"))
        assert [one.price for one in trades] == known.price[until - len(trades) : until].tolist()
    for before, now in pairwise(seen):
        assert before.time <= now.time
    assert feed.counts["damaged"] == (1 if faults else 0)


def _same(one: Book, books: BookSnapshots, row: int) -> bool:
    held = books.bid_size[row] > 0
    pairs = [(one.bid_size, books.bid_size[row]), (one.ask_size, books.ask_size[row])]
    pairs += [(one.bid_price[held], books.bid_price[row][held])]
    return all(np.array_equal(a, b) for a, b in pairs)

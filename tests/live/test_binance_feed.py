"""The feed mends itself: after every fault its books are the venue's, and the desk hears of the gap."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from live.venue import Message, Venue, recorded

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


def heard(venue: Venue, last_ms: int, **how: float) -> tuple[list[object], BinanceFeed]:
    """Events up to the book of a time; waits between attempts take no time."""

    async def listen() -> tuple[list[object], BinanceFeed]:
        waits: list[float] = []

        async def pause(seconds: float) -> None:
            waits.append(seconds)

        async with venue.open() as (url, book_url):
            settings = {"tick_seconds": 3600.0, **how}
            feed, found = BinanceFeed(url, book_url, pause=pause, **settings), []
            events = feed.events()
            async for event in events:
                found.append(event)
                if isinstance(event, Book) and event.time >= last_ms * 10**6:
                    break
            await events.aclose()
            feed.waits = waits  # type: ignore[attr-defined]
            return found, feed

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


def test_a_damaged_message_is_no_gap_whatever_it_says() -> None:
    class Socket:
        said = iter([updates(2)[1], updates(2)[2] | {"s": "gap"}])

        async def recv(self) -> str:
            return json.dumps(next(self.said))

    async def listen() -> list[Event]:
        events = feed._heard(Socket())
        return [await anext(events), await anext(events)]

    feed = BinanceFeed("", "")
    feed.book = binance_feed.DepthReplay(SNAPSHOT)
    assert [type(one) for one in asyncio.run(listen())] == [Book, Gap]
    assert (feed.counts["damaged"], feed.counts["gaps"]) == (1, 0)


async def unheard(n: int, **how: Any) -> list[Event]:
    """The first events of a venue where nobody listens."""
    async with Venue(SNAPSHOT, []).open() as (url, book_url):
        pass  # closed again
    events = BinanceFeed(url, book_url, **how).events()
    found = [await anext(events) for _ in range(n)]
    await events.aclose()
    return found


def test_waits_between_attempts_double_up_to_the_longest() -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    found = asyncio.run(unheard(5, pause=pause, max_wait_seconds=3.0))
    assert {type(one) for one in found} == {Gap}
    assert waits == [0.5, 1.0, 2.0, 3.0]


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

    found = asyncio.run(unheard(4, pause=pause, tick_seconds=0.001))
    assert [type(one) for one in found] == [Gap, Clock, Clock, Clock]


def test_the_clock_goes_on_while_the_book_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> list[Event]:
        async with Venue(SNAPSHOT, updates(5)).open() as (url, book_url):
            events = BinanceFeed(url, book_url, tick_seconds=0.01).events()
            found = [await anext(events) for _ in range(3)]
            given.set()
            await events.aclose()
            return found

    given, fetched = threading.Event(), binance_feed._fetched

    def late(url: str) -> bytes:
        given.wait()
        return fetched(url)

    monkeypatch.setattr(binance_feed, "_fetched", late)
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
    assert before_the_gap == sorted(before_the_gap)
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

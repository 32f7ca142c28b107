"""A recording as a feed: at its own pace, faster, or as fast as it can be worked."""

import asyncio
import math
from asyncio import sleep
from collections.abc import AsyncGenerator, Iterable, Iterator
from itertools import chain, islice
from time import monotonic

from research_lib.live.events import Clock, Event, events_of
from research_lib.market import BookSnapshots
from research_lib.monitoring import MONITOR

AHEAD = 5_000  # events read ahead, in a thread: a file takes a second to open
TICK_NS = 10**9
NEAR = 1e-3  # s: what is due sooner is not slept for


def ticking(events: Iterable[Event]) -> Iterator[Event]:
    """The events, and the clock every second between two of them.

    Examples
    --------
    >>> [one.time for one in ticking([Clock(10**9), Clock(3 * 10**9)])]
    [1000000000, 2000000000, 3000000000]
    """
    last = 0
    for event in events:
        yield from map(Clock, range((last or event.time) + TICK_NS, event.time, TICK_NS))
        yield event
        last = event.time


async def replay_events(
    parts: Iterable[BookSnapshots], begin: int, end: int, speed: float = math.inf
) -> AsyncGenerator[Event, None]:
    """The events of a recording from `begin` to `end` (ns UTC), and the clock of every second.

    Nothing is dropped: what is late comes late, and "live: lag" of the monitor says by how much.

    Parameters
    ----------
    parts : iterable of BookSnapshots
        As of `iter_books`.
    begin, end : int
    speed : float
        Above 0, times real time; infinite for as fast as possible.

    Examples
    --------
    >>> size = [[5.0], [5.0]]
    >>> books = BookSnapshots([10**18, 10**18 + 9], [[99.0]] * 2, size, [[101.0]] * 2, size)
    >>> async def times(begin, end):
    ...     return [one.time - begin async for one in replay_events([books], begin, end)]
    >>> asyncio.run(times(10**18, 10**18 + 10**9))
    [0, 9, 1000000000]
    """
    first, began = 0, monotonic()
    events = ticking(chain(events_of(parts, begin, end), [Clock(end)]))

    def taken() -> list[Event]:
        return list(islice(events, AHEAD))

    upcoming = asyncio.create_task(asyncio.to_thread(taken))
    try:
        while batch := await upcoming:
            upcoming = asyncio.create_task(asyncio.to_thread(taken))
            for event in batch:
                if speed < math.inf:
                    first = first or event.time
                    due = began + 1e-9 * (event.time - first) / speed
                    if due > monotonic() + NEAR:
                        await sleep(due - monotonic())
                    MONITOR.record_timing("live: lag", max(monotonic() - due, 0.0))
                yield event
    finally:
        upcoming.cancel()

"""A desk that works one order: feed, engine, reports on stdin, status, progress on a terminal."""

import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Any, TextIO

from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.live.binance_feed import BinanceFeed
from research_lib.live.engine import Engine
from research_lib.live.events import Event, Report
from research_lib.live.journal import Journal, line
from research_lib.live.plan import Plan
from research_lib.live.sources import replay_events
from research_lib.monitoring import MONITOR, peak_memory_mb

STATUS_SECONDS, PROGRESS_SECONDS = 60.0, 0.5
OF_THE_STATE = ("book", "benchmark")  # records that only the journal needs


def run_live(
    plan: Plan, source: str = "replay", *, speed: float = 1.0, output: str = "",
    out: TextIO | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Work the plan's order to the close of its session; child orders go to `out` as JSON lines.

    Parameters
    ----------
    plan : Plan
    source : str
        "replay" for the configuration's recording, "replay:FILE" for another one, "ws:URL" for
        Binance's streams.
    speed : float
        Of a replay, times real time; infinite for as fast as possible.
    output : str
        The journal: an order that it holds is gone on with. By default <order>.jsonl.
    out : text file, optional
        stdout by default.

    Returns
    -------
    dict
        `Engine.progress` at the end.
    """
    kind, _, where = source.partition(":")
    counts = Counter[str]()
    if kind == "ws" and where:
        settings = plan.settings
        if not settings.snapshot_url:
            raise ValidationError("live: snapshot_url must name where Binance gives the whole book")
        waits: Any = {"silence_seconds": settings.silence_seconds}
        waits["max_wait_seconds"] = settings.max_wait_seconds
        feed = BinanceFeed(where, settings.snapshot_url, **waits)
        events, counts = feed.events(), feed.counts
    elif kind == "replay":
        events = replay_events(plan.parts(where), *plan.bounds, speed)
    else:
        raise ValidationError(f"source {source!r} must be replay, replay:FILE or ws:URL")
    stream = out or sys.stdout

    def tell(record: Json) -> None:
        if record["kind"] not in OF_THE_STATE:
            stream.write("\r" * stream.isatty() + line(record) + "\n")
            stream.flush()

    with Journal(output or f"{plan.id}.jsonl") as journal:
        engine = Engine(plan, journal, tell)
        reports = sys.stdin if plan.settings.fills == "stdin" else None
        asyncio.run(work(engine, events, reports=reports, feed=counts, tell=tell))
    return engine.progress()


async def work(
    engine: Engine, events: AsyncGenerator[Event, None], *, reports: TextIO | None = None,
    feed: Counter[str] | None = None, tell: Callable[[Json], None] = lambda record: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Give an engine the events of a feed, until its session closes or the feed ends.

    Parameters
    ----------
    engine : Engine
    events : asynchronous generator of events
    reports : text file, optional
        Fills as JSON lines: id, shares (in all so far), price (their mean), done.
    feed : Counter, optional
        Of the feed, for the status.
    tell : callable of a record
        Hears the status once a minute.
    clock : callable
        Seconds.
    """
    listening = asyncio.create_task(_listen(engine, reports)) if reports else None
    told = shown = clock()
    try:
        while not engine.finished:
            event = await anext(events, None)
            if event is None:
                engine.finish()
                break
            engine.handle(event)
            if listening and listening.done():
                listening.result()  # raises what it met
            if (now := clock()) - told >= STATUS_SECONDS:
                told = now
                tell(_status(engine, feed or Counter()))
            if now - shown >= PROGRESS_SECONDS and sys.stderr.isatty():
                shown = now
                sys.stderr.write("\r" + progress_line(engine.progress()))
    finally:
        if listening:
            listening.cancel()
        await events.aclose()


def _status(engine: Engine, feed: Counter[str]) -> Json:
    """Counters and latencies, s, for whoever watches."""
    timings = {name: one for name, one in MONITOR.summary().items() if name.startswith("live: ")}
    known = {"events": dict(engine.counts), "feed": dict(feed), "memory_mb": peak_memory_mb()}
    return {"kind": "status", **engine.progress(), **known, "seconds": timings}


def progress_line(done: Json) -> str:
    """Progress in a line.

    Examples
    --------
    >>> done = {"filled_pct": 50.0, "left": 10.0, "benchmark_pct": 48.0, "even_pct": 50.0}
    >>> progress_line(done | {"cost_bps": 1.25, "benchmark_bps": 1.5, "stopped": []}).strip()
    '50.0 % filled, 10 left (benchmark 48.0 %, equal shares 50.0 %); cost 1.25 bps, benchmark 1.50'
    """
    beside = f"benchmark {done['benchmark_pct']:.1f} %, equal shares {done['even_pct']:.1f} %"
    filled = f"{done['filled_pct']:.1f} % filled, {done['left']:,.6g} left ({beside})"
    cost = f"cost {done['cost_bps']:.2f} bps, benchmark {done['benchmark_bps']:.2f}"
    stopped = f"; stopped: {', '.join(done['stopped'])}" if done["stopped"] else ""
    return f"{filled}; {cost}{stopped}".ljust(120)


async def _listen(engine: Engine, reports: TextIO) -> None:
    """Reports of fills, line by line; what is none is counted as refused."""
    reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), reports)
    while text := await reader.readline():
        engine.handle(report_of(text))


def report_of(text: str | bytes) -> Report:
    """The report of a JSON line; of no child order where the line is none.

    Examples
    --------
    >>> report_of('{"id": "goog-0001", "shares": 50, "price": 571.2, "done": true}').shares
    50.0
    """
    try:
        given = json.loads(text)
        price = math.nan if given["price"] is None else float(given["price"])
        return Report(str(given["id"]), float(given["shares"]), price, given["done"] is True)
    except (ValueError, KeyError, TypeError):
        return Report("", 0.0, 0.0, done=False)

"""A desk that works one order: feed, engine, reports on stdin, status, progress on a terminal."""

import asyncio
import json
import math
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any, TextIO

import numpy as np

from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.live.binance_feed import BinanceFeed
from research_lib.live.engine import Engine
from research_lib.live.events import Event, FillReport
from research_lib.live.journal import Journal, line
from research_lib.live.plan import Plan
from research_lib.live.sources import replay_events
from research_lib.monitoring import MONITOR, peak_memory_mb

STATUS_SECONDS, PROGRESS_SECONDS = 60.0, 0.5
REPORT_SECONDS = 60.0  # after the close, while child orders are open
OF_THE_STATE = ("book", "benchmark", "met")  # records that only the journal needs


def run_live(
    plan: Plan, source: str = "replay", *, speed: float = 1.0, output: str = ""
) -> dict[str, Any]:
    """Work the plan's order to the close of its session; child orders go to stdout as JSON lines.

    Parameters
    ----------
    plan : Plan
    source : str
        "replay" for the configuration's recording, "replay:FILE" for another one, "ws:URL" for
        Binance's streams.
    speed : float
        Of a replay, above 0, times real time; infinite for as fast as possible.
    output : str
        The journal: an order that it holds is gone on with. By default <order>.jsonl.

    Returns
    -------
    dict
        `Engine.progress` at the end.

    Raises
    ------
    ValidationError
        Another source or speed, a log of another order, or a feed that ends before the close.
    """
    events, counts = _feed(plan, source, speed)
    with Journal(output or f"{plan.id}.jsonl") as journal:
        engine = Engine(plan, journal, _tell)
        reports = sys.stdin if plan.settings.fills == "stdin" else None
        try:
            asyncio.run(work(engine, events, reports=reports, feed=counts))
        except KeyboardInterrupt:
            sys.stderr.write("\nthe same command goes on with the order\n")
            raise
    return engine.progress()


def _tell(record: Json) -> None:
    if record["kind"] not in OF_THE_STATE:
        sys.stdout.write("\r" * sys.stdout.isatty() + line(record) + "\n")
        sys.stdout.flush()


def _feed(
    plan: Plan, source: str, speed: float
) -> tuple[AsyncGenerator[Event, None], Counter[str]]:
    """The events of a source, and what it counts."""
    kind, _, where = source.partition(":")
    if not speed > 0:
        raise ValidationError(f"speed must be above 0, got {speed:g}")
    if kind == "replay":
        return replay_events(plan.parts(where), *plan.bounds, speed), Counter()
    if kind != "ws" or not where.startswith(("ws://", "wss://")):
        known = "replay, replay:FILE or ws:URL with a URL that begins with ws:// or wss://"
        raise ValidationError(f"source {source!r} must be {known}")
    if speed != 1.0:
        raise ValidationError(f"a stream has its own pace; leave out the speed {speed:g}")
    settings = plan.settings
    if not settings.snapshot_url.startswith(("http://", "https://")):
        what = "the address, http:// or https://, where Binance gives the whole book"
        raise ValidationError(f"live: snapshot_url must be {what}, got {settings.snapshot_url!r}")
    waits = settings.silence_seconds, settings.max_wait_seconds
    symbol = settings.stream_symbol or plan.symbol
    feed = BinanceFeed(where, settings.snapshot_url, *waits, symbol)
    return feed.events(), feed.counts


async def work(
    engine: Engine, events: AsyncGenerator[Event, None], *, reports: TextIO | None = None,
    feed: Counter[str] | None = None,
) -> None:  # fmt: skip
    """Give an engine the events of a feed, until its session closes.

    Parameters
    ----------
    engine : Engine
    events : asynchronous generator of events
    reports : text file, optional
        Fills as JSON lines: id, shares (in all so far), price (their mean), done.
    feed : Counter, optional
        Of the feed, for the status, which the engine's `tell` hears once a minute.

    Raises
    ------
    ValidationError
        The feed ends before the close; the order can be gone on with.
    """
    listening = asyncio.create_task(_listen(engine, reports)) if reports else None
    status_at = shown_at = monotonic()
    try:
        while not engine.finished:
            event = await anext(events, None)
            if event is None:
                at = np.datetime64(engine.now // 10**9, "s")
                remedy = "the same command on one that does not goes on with the order"
                raise ValidationError(f"the feed ended at {at} UTC, before the close; {remedy}")
            engine.handle(event)
            if listening:
                await asyncio.sleep(0)  # a feed that never waits would leave no time for reports
                if listening.done():
                    listening.result()  # raises what it met
            if (now := monotonic()) - status_at >= STATUS_SECONDS:
                status_at = now
                engine.tell(_status(engine, feed or Counter()))
            if now - shown_at >= PROGRESS_SECONDS and sys.stderr.isatty():
                shown_at = now
                sys.stderr.write("\r" + progress_line(engine.progress()))
        closed = monotonic()  # what is filled by then may be reported a little later
        while listening and engine.own.open and monotonic() - closed < REPORT_SECONDS:
            await asyncio.sleep(0.1)
            if listening.done():
                listening.result()
                break
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
    if math.isnan(done["cost_bps"]):
        cost = "no cost yet"
    stopped = f"; stopped: {', '.join(done['stopped'])}" if done["stopped"] else ""
    return f"{filled}; {cost}{stopped}".ljust(120)


async def _listen(engine: Engine, reports: TextIO) -> None:
    """Reports of fills, line by line; what is none is counted as refused."""
    lines, loop = asyncio.Queue[bytes](), asyncio.get_running_loop()
    descriptor = reports.fileno()  # here, where an error ends `work`

    def read() -> None:
        """In a thread, since a file cannot be waited for; of its own buffer, which exit ignores."""
        with open(descriptor, "rb", closefd=False) as file, suppress(RuntimeError, OSError):
            for text in chain(file, [b""]):
                loop.call_soon_threadsafe(lines.put_nowait, text)  # these: it is closed

    threading.Thread(target=read, daemon=True).start()
    while text := await lines.get():
        engine.handle(report_of(text))
    engine.warn("the reports have ended; open child orders count as filled")


def report_of(text: str | bytes) -> FillReport:
    """The report of a JSON line; of no child order where the line is none.

    Examples
    --------
    >>> report_of('{"id": "goog-0001", "shares": 50, "price": 571.2, "done": true}').shares
    50.0
    """
    try:
        given = json.loads(text)
        shares, done = given["shares"], given["done"]
        price = math.nan if given["price"] is None else given["price"]
        if {type(shares), type(price)} <= {int, float} and type(done) is bool:
            return FillReport(str(given["id"]), float(shares), float(price), done)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return FillReport("", 0.0, 0.0, done=False)

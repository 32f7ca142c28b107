"""A live desk killed at random, on a network that fails: one order, each child order under one id.

And a desk that works for ten minutes at a hundred times real speed: its memory stays, nothing is dropped.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from helpers import LONGEST, Family, real_data, wait_until
from live.cases import CALM, Desk, parameters, plan_of
from live.venue import Message, Venue, recorded

from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.live import Plan, events_of, replay_events, work
from research_lib.monitoring import MONITOR, release_memory

pytestmark = pytest.mark.soak
Figures = Callable[[str, float], None]
SPOT_ETH = "binance_raw_stream/spot_ethusdt_20240808.jsonl.gz"
KILLS, NETWORK_FAULTS, ORDER = 30, 20, 5.0
STRATEGY = {
    "data_file_name": SPOT_ETH, "n_intervals": 24, "session_settings": {"block": "2min"},
    "fit_days": 1, "trade_sizes": [0.1, 0.5, 1.0, 5.0], "total_shares": ORDER,
    "latency_seconds": 0.5, "optimizer_settings": {"max_allocation_ratio": 0.3},
    "model_settings": {"min_trade_size": 0.001},
}  # fmt: skip
RUN = """import sys
from pathlib import Path
from research_lib.__main__ import main
from research_lib.reporting import Project
sys.exit(main(sys.argv[2:], Project(configurations=Path(sys.argv[1]))))
"""


@contextmanager
def served(venue: Venue) -> Iterator[tuple[str, str]]:
    """The venue's addresses; it is served by a thread of its own."""
    loop, ready, where = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def serve() -> None:
        async with venue.open() as addresses:
            where.extend(addresses)
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert ready.wait(LONGEST)
    yield where[0], where[1]
    loop.call_soon_threadsafe(stop.set)
    thread.join(LONGEST)


def unreliable(snapshot: Message, messages: list[Message], plan: Plan, seed: int) -> Venue:
    """Silent where the desk is to be killed, and in between with faults of the network."""
    begin, end = (one // 10**6 for one in plan.bounds)
    depth = [
        k for k, one in enumerate(messages) if one["e"] == "depthUpdate" and begin < one["E"] < end
    ]
    draw = random.Random(seed)
    moments = draw.sample(depth, KILLS + NETWORK_FAULTS)
    network = [draw.choice(["drop", "skip", "garbage", "twice"]) for _ in range(NETWORK_FAULTS)]
    return Venue(snapshot, messages, dict(zip(moments, ["silence"] * KILLS + network, strict=True)))


class Gateway(threading.Thread):
    """Reads child orders of one process; fills some as a whole, some in half, and forgets some."""

    def __init__(self, process: subprocess.Popen[str], told: list[Json], seed: int | None) -> None:
        super().__init__()
        self.process, self.told, self.draw = process, told, seed is not None and random.Random(seed)

    def run(self) -> None:
        assert self.process.stdout
        for text in self.process.stdout:
            if not text.endswith("\n"):
                return  # killed within a line
            record = json.loads(text)
            self.told.append(record)
            if record["kind"] == "child" and self.draw and self.draw.random() < 0.8:
                self._fill(record)

    def _fill(self, child: Json) -> None:
        shares = child["shares"] * self.draw.choice([1.0, 0.5, 0.0])
        report = {"id": child["id"], "shares": shares, "price": 2_680.0, "done": True}
        try:
            self.process.stdin.write(json.dumps(report) + "\n")
            self.process.stdin.flush()
        except OSError:  # it was killed: the report is lost
            return


@pytest.mark.parametrize("fills", ["simulated", "stdin"])
def test_killed_and_cut_off_a_live_desk_works_one_order(
    fills: str, tmp_path: Path, family: Family, soak_figures: Figures
) -> None:
    snapshot, messages = recorded(real_data(SPOT_ETH))
    plan = plan_of("eth", parameters("btc", read_settings={}, quality_settings={}, **STRATEGY))
    venue, log, begin = unreliable(snapshot, messages, plan, 5), tmp_path / "log", time.monotonic()
    told, draw, kills = list[Json](), random.Random(6), 0
    with served(venue) as (url, book_url):
        live = {
            "session": f"{plan.day:%Y-%m-%dT%H:%M}",
            "snapshot_url": book_url,
            "fills": fills,
            "limits": CALM,
            "silence_seconds": 1e4,
        }
        content = {"title": "soak", "sections": ["strategy"], "strategy": STRATEGY, "live": live}
        (tmp_path / "eth.yml").write_text(yaml.safe_dump(content))
        command = [sys.executable, "-c", RUN, str(tmp_path), "live", "eth"]
        command += ["--source", f"ws:{url}", "--output", str(log)]
        while True:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = family.start(command, **pipes)
            gateway = Gateway(process, told, kills if fills == "stdin" else None)
            gateway.start()
            wait_until(lambda p=process: venue.silent or p.poll() is not None, "a moment to kill")
            if process.poll() is not None:
                gateway.join(LONGEST)
                break
            time.sleep(draw.uniform(0.0, 0.3))
            process.kill()
            process.wait(LONGEST)
            gateway.join(LONGEST)
            venue.silent, kills = False, kills + 1
    assert process.returncode == 0
    assert not venue.faults, "a fault did not come"
    repeated = checked(log, told)
    soak_figures(f"{fills}: kills of a live desk", kills)
    soak_figures(f"{fills}: faults of the network", NETWORK_FAULTS)
    soak_figures(
        f"{fills}: child orders, each under one id", len({c["id"] for c in children(told)})
    )
    soak_figures(f"{fills}: of these repeated after a kill", repeated)
    soak_figures(f"{fills}: seconds", time.monotonic() - begin)


def children(told: list[Json]) -> list[Json]:
    return [one for one in told if one["kind"] == "child"]


def checked(log: Path, told: list[Json]) -> int:
    """How many child orders were repeated; none under another id, none of another size, none too many."""
    written = [json.loads(one) for one in log.read_text().splitlines()]
    assert written[-1]["kind"] == "end"
    shares = {one["id"]: one["shares"] for one in children(written)}
    for one in [*children(written), *children(told)]:
        assert shares[one["id"]] == one["shares"]
    assert len({one["t"] for one in children(written)}) == len(shares)
    out: dict[str, float] = {}
    for one in written:  # what could be filled, of those that are not answered all
        if one["kind"] == "child" or one["kind"] == "fill":
            out[one["id"]] = one["shares"]
        assert sum(out.values()) <= ORDER * (1 + 1e-12)
    assert written[-1]["left"] == pytest.approx(
        ORDER - sum(one["shares"] for one in written if one["kind"] == "fill")
    )
    return sum(one.get("repeated", False) for one in children(written))


def test_ten_minutes_at_a_hundred_times_real_speed(tmp_path: Path, soak_figures: Figures) -> None:
    """A day of BTC in minutes, of which a thousand are worked; the first minutes fill the caches."""
    given = parameters("btc", session_settings={"block": "1D"}, n_intervals=1440, fit_days=1)
    real_data("standx_btc_l20/orderbook_BTC-USD_2026-01-07_23.parquet")
    plan = plan_of("btc_day", given | {"total_shares": 60.0})
    release_memory()
    begin, end = plan.bounds[0], plan.bounds[0] + 60_000 * 10**9
    due = sum(1 for _ in events_of(plan.parts(), begin, end))
    desk, me, memory, lag = Desk(plan, tmp_path), psutil.Process(), list[float](), list[float]()

    async def watched() -> None:
        feed = asyncio.create_task(
            work(desk.engine, replay_events(plan.parts(), begin, end, 100.0))
        )
        while not feed.done():
            await asyncio.wait([feed], timeout=5.0)
            memory.append(me.memory_info().rss / 1e6)
            lag.append(MONITOR.get_stats("live: lag").get("max", 0.0))
        with pytest.raises(ValidationError, match="the feed ended"):  # long before the day's close
            await feed

    started = time.monotonic()
    asyncio.run(watched())
    seconds = time.monotonic() - started
    desk.journal.close()
    counts = desk.engine.counts
    assert counts["book"] + counts["trade"] == due, "events were dropped"
    third = len(memory) // 3
    early, late = np.median(memory[third : 2 * third]), np.median(memory[2 * third :])
    assert late < 1.05 * early + 5.0, "memory grows"
    soak_figures("seconds", seconds)
    soak_figures("events, none dropped", due)
    soak_figures("child orders", len(children(desk.told)))
    soak_figures("MB after a third", float(early))
    soak_figures("MB at the end", float(late))
    soak_figures("longest lag, s", max(lag))

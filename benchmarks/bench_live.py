"""How long a live decision takes, and how many events a second a desk keeps up with.

Run as ``python benchmarks/bench_live.py``; writes a section of Markdown. The order is that of the
configuration goog, or of the embedded default where its data are absent: 390 intervals of the adaptive strategy,
with the benchmark worked beside it. A decision is timed from the event that follows the interval's start to the
child order, with the log brought to the disk and without.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_allocate import fresh
from timing import interleaved

from research_lib.config import data_files
from research_lib.impact import LinearImpact
from research_lib.live import (
    Book,
    Clock,
    Engine,
    Event,
    Journal,
    Plan,
    events_of,
    replay_events,
    work,
)
from research_lib.live.sources import ticking
from research_lib.reporting import RunConfig

ROUNDS = 3
MIN_OF_CVXPY, MIN_OF_RECORDED = 2.0, 100.0


class Unwritten(Journal):
    """A log that is not kept."""

    def __init__(self) -> None:
        self.records = []

    def write(self, *records: object, sync: bool = True) -> None:
        """Nothing."""


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    there = data_files(RunConfig.load("goog").section_data("strategy")[0])
    plan = Plan.load("goog" if there else "default")
    events = list(ticking(events_of(plan.parts(), *plan.bounds)))
    worked(Engine(plan, Unwritten()), events)  # compiles
    alone = np.concatenate([worked(Engine(plan, Unwritten()), events) for _ in range(ROUNDS)])
    with tempfile.TemporaryDirectory() as folder:
        logged = []
        for number in range(ROUNDS):
            with Journal(Path(folder, str(number))) as journal:
                logged.append(worked(Engine(plan, journal), events))
        rates = [rate(plan, Path(folder, f"rate {number}")) for number in range(ROUNDS)]
    gaps = np.diff([one.time for one in events if isinstance(one, Book)]) / 1e9
    begin, end = plan.bounds
    n_heard = sum(not isinstance(one, Clock) for one in events)
    found = {
        "cvxpy": cvxpy_seconds(plan), "gap": float(np.median(gaps)), "mean gap": float(gaps.mean()),
        "rate": float(np.median(rates)), "recorded": n_heard / ((end - begin) / 1e9),
    }  # fmt: skip
    decisions = {"without the log": alone, "with the log on the disk": np.concatenate(logged)}
    met = np.median(alone) * MIN_OF_CVXPY <= found["cvxpy"]
    met &= found["rate"] >= MIN_OF_RECORDED * found["recorded"]
    sys.stdout.write(section(plan, decisions, found, met))
    return int(not met)


def worked(engine: Engine, events: list[Event]) -> np.ndarray:
    """Seconds of the events with which a decision was made."""
    taken = []
    for event in events:
        before, began = engine.t, time.perf_counter()
        engine.handle(event)
        if engine.t > before:
            taken.append(time.perf_counter() - began)
    return np.array(taken)


def rate(plan: Plan, path: Path) -> float:
    """Events a second of a replay as fast as possible, reading and the log included."""
    with Journal(path) as journal:
        engine, began = Engine(plan, journal), time.perf_counter()
        asyncio.run(work(engine, replay_events(plan.parts(), *plan.bounds)))
    return (engine.counts["book"] + engine.counts["trade"]) / (time.perf_counter() - began)


def cvxpy_seconds(plan: Plan) -> float:
    """Of the whole order allocated anew over its intervals, by a linear curve."""
    slopes = np.random.default_rng(0).lognormal(0.0, 0.3, len(plan.order.caps))
    curve, total = LinearImpact(1e-5 * slopes, half_spread=0.01), plan.order.total_shares
    return interleaved({"": lambda: fresh(curve, total, plan.order.caps)}, 9)[""]


def section(
    plan: Plan, decisions: dict[str, np.ndarray], found: dict[str, float], met: bool
) -> str:
    """The figures as Markdown."""
    rows = []
    for name, taken in decisions.items():
        for what, seconds in (
            ("median", np.median(taken)),
            ("99th percentile", np.quantile(taken, 0.99)),
        ):
            ratios = (seconds / found["gap"], seconds / found["mean gap"], found["cvxpy"] / seconds)
            cells = " | ".join(f"{one:,.3g}" for one in (1e3 * seconds, *ratios))
            rows.append(f"| {name} | {what} | {cells} |")
    table = "\n".join(rows)
    times = found["rate"] / found["recorded"]
    return f"""## Live decisions

The order of `{plan.name}`, {len(plan.order.caps)} intervals, adaptive strategy and benchmark on every event; {ROUNDS} days. The feed's books follow one another
after {1e3 * found["gap"]:,.3g} ms in the median and {1e3 * found["mean gap"]:,.3g} ms in the mean; a plain re-solve with CVXPY takes {1e3 * found["cvxpy"]:,.3g} ms. Without its log the
median decision must be at least {MIN_OF_CVXPY:g} times as fast as that, and the desk keep up with {MIN_OF_RECORDED:g} times the recorded rate: {"both hold" if met else "**missed**"}.

| decision | | ms | of the median time between books | of the mean time | CVXPY takes times as long |
|:--|:--|--:|--:|--:|--:|
{table}

As fast as possible it works {found["rate"]:,.0f} events a second, reading and log included: {times:,.0f} times the recorded {found["recorded"]:,.2f}.
"""


if __name__ == "__main__":
    sys.exit(main())

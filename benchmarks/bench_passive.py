"""How long it takes to follow resting orders through a day, and how far that is from plain Python.

Run as ``python benchmarks/bench_passive.py``; writes a section of Markdown. A child order rests in each of 390
minutes, by each of the four models of the queue: on the day of GOOG where RESEARCH_DATA has it, and on a busy
day of the synthetic market of queues. The plain twin, that of the tests, follows every tenth of them, each within
the states of its own minute. Times are medians of interleaved rounds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timing import interleaved

from research_lib.config import data_folder
from research_lib.evaluation import QUEUES, Posting, rest_orders
from research_lib.evaluation.resting import Side
from research_lib.market import QueueMarket, Session, read_books, read_messages
from research_lib.studies import Period

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from queue_twin import rest

GOOG = "lobster/GOOG_2012-06-21_34200000_57600000_orderbook_10.csv.gz"
SHARES, EVERY, ROUNDS = 200.0, 10, 5
MAX_SECONDS, MIN_OF_PLAIN = 5.0, 50.0


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    rows, worst, slowest = [], np.inf, 0.0
    for name, period in days().items():
        seconds = measured(period)
        ratio = seconds["plain"] / seconds["compiled"]
        worst, slowest = min(worst, ratio), max(slowest, seconds["compiled"])
        states = len(period.recording.books)
        rows.append(f"| {name} | {states:,} | {seconds['compiled']:.3g} | {ratio:,.0f} |")
    met = worst >= MIN_OF_PLAIN and slowest <= MAX_SECONDS
    sys.stdout.write(section(rows, met))
    return int(not met)


def days() -> dict[str, Period]:
    """A day of each market, by name."""
    session = Session(390)
    busy = QueueMarket(market_rate=0.3, limit_rate=1.0, cancel_rate=0.15, session=session)
    books, messages = busy.days(1, np.random.default_rng(0))
    found = {"synthetic": Period.of(books, session, messages=messages)[0]}
    path = data_folder() / GOOG
    if path.is_file():
        books = read_books(path)
        found["GOOG"] = Period.of(books, session, messages=read_messages(path))[0]
    return found


def measured(period: Period) -> dict[str, float]:
    """Seconds for all orders and models; those of plain Python are scaled from a tenth of the orders."""
    start, end = period.start, period.start + period.step - 1
    models = [Posting(queue) for queue in QUEUES]
    own = [(k, part(period, k)) for k in range(5, len(start), EVERY)]

    def compiled() -> None:
        for how in models:
            rest_orders(period.recording, "buy", SHARES, start, end, how)

    def plain() -> None:
        for how in models:
            for k, recording in own:
                rest(recording, "buy", SHARES, int(start[k]), int(end[k]), how)

    for how in models:  # refuse to time what disagrees
        done = rest_orders(period.recording, "buy", SHARES, start, end, how)
        for k, recording in own:
            slow = rest(recording, "buy", SHARES, int(start[k]), int(end[k]), how)
            assert [shares for _, shares, _ in slow] == done.shares[done.order == k].tolist()
    seconds = interleaved({"compiled": compiled, "plain": plain}, ROUNDS)
    return seconds | {"plain": seconds["plain"] * len(start) / len(own)}


@dataclass
class Part:
    """What `rest` needs of a recording."""

    market: Side

    def side(self, _: str) -> Side:
        return self.market


def part(period: Period, k: int) -> Part:
    """The recording of one interval, from the last state before it on, as a bid meets it."""
    whole, start = period.recording.side("buy"), period.start[k]
    first = whole.time[max(int(np.searchsorted(whole.time, start, "right")) - 1, 0)]
    times = {"trade": whole.trade_time, "hits": whole.trade_time, "cancel": whole.cancel_time}
    cut = {}
    for name in whole._fields[:-3]:  # arrays
        time = times.get(name.split("_")[0], whole.time)
        inside = (time >= first) & (time <= start + period.step)
        cut[name] = getattr(whole, name)[inside]
    return Part(whole._replace(**cut))


def section(rows: list[str], met: bool) -> str:
    """The figures as Markdown."""
    table = "\n".join(
        ["| day | states | s, 390 orders x 4 models | times faster |", "|:--|--:|--:|--:|", *rows]
    )
    return f"""## Following resting orders

A child order of {SHARES:g} shares in each minute of a day by each model of the queue, medians of {ROUNDS} interleaved
rounds, beside plain Python: at most {MAX_SECONDS:g} s and at least {MIN_OF_PLAIN:g} times faster
are asked: {"both hold" if met else "**missed**"}.

{table}
"""


if __name__ == "__main__":
    sys.exit(main())

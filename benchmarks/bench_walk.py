"""How close the walk comes to the machine's limit, and how far it is from what a user would write.

Run as ``python benchmarks/bench_walk.py``; writes a section of Markdown. All calls walk both sides of every
snapshot for every trade size; times are medians of interleaved rounds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from bench_readers import one_day
from numpy.typing import NDArray
from timing import interleaved

from research_lib.impact import slippage_curves
from research_lib.market import BookSnapshots

Float = NDArray[np.float64]
SNAPSHOTS = (100_000, 1_000_000)
SIDES = ("buy", "sell")
TRADE_SIZES = np.geomspace(100, 10_000, 50)
ROUNDS = 9
PLAIN_SNAPSHOTS, BROADCAST_SNAPSHOTS, BROADCAST_ROWS = 200, 20_000, 1_000
MAX_OF_ROOF, MIN_OF_PLAIN = 4.0, 1_000.0
ROOF, TWO_FILLS = "sum the inputs, fill one output", "sum the inputs, fill two outputs"
WALK, THREADS = (
    "`slippage_curves`, 1 thread",
    f"`slippage_curves`, `parallel`, {os.cpu_count()} threads",
)
FILLED, SLIPPAGE = "`slippage_curves`, then `.filled`", "`slippage_curves`, then `.slippage`"
BROADCAST, PLAIN = "NumPy broadcasting", "plain Python over frame rows"
ROOF_OF = {FILLED: TWO_FILLS, SLIPPAGE: TWO_FILLS}


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    books = one_day(max(SNAPSHOTS), np.random.default_rng(7))
    check(books.take(np.arange(PLAIN_SNAPSHOTS)))
    per_snapshot = slow_ways(books)
    parts, met = [], True
    for n in SNAPSHOTS:
        seconds = fast_ways(books.take(np.arange(n))) | {
            name: n * each for name, each in per_snapshot.items()
        }
        parts.append(table(n, seconds))
        met &= seconds[PLAIN] >= MIN_OF_PLAIN * seconds[WALK]
        met &= all(
            seconds[way] <= MAX_OF_ROOF * seconds[ROOF_OF.get(way, ROOF)] for way in (WALK, FILLED)
        )
    sys.stdout.write(section(parts, met))
    return int(not met)


def fast_ways(books: BookSnapshots) -> dict[str, float]:
    """Median seconds for both sides of all snapshots, measured."""

    def both(walk: Callable[[str], object]) -> Callable[[], object]:
        def call() -> None:
            for side in SIDES:
                walk(side)  # dropped before the next side is walked: one output in memory at a time

        return call

    one_output = {
        ROOF: both(lambda side: roof(books, side, 1)),
        WALK: both(lambda side: slippage_curves(books, TRADE_SIZES, side)),
        THREADS: both(lambda side: slippage_curves(books, TRADE_SIZES, side, parallel=True)),
    }
    two_outputs = {
        TWO_FILLS: both(lambda side: roof(books, side, 2)),
        FILLED: both(lambda side: with_array(books, side, "filled")),
        SLIPPAGE: both(lambda side: with_array(books, side, "slippage")),
    }
    # Apart: a virtual machine takes idle memory back, and whoever then needs more than the call before pays for it.
    return interleaved(one_output, ROUNDS) | interleaved(two_outputs, ROUNDS)


def slow_ways(books: BookSnapshots) -> dict[str, float]:
    """Seconds a snapshot, both sides."""
    some, few = (
        books.take(np.arange(BROADCAST_SNAPSHOTS)),
        books.take(np.arange(PLAIN_SNAPSHOTS)).to_frame(),
    )
    calls = {
        BROADCAST: lambda: [broadcast(some, side) for side in SIDES],
        PLAIN: lambda: [plain(few, side) for side in SIDES],
    }
    taken = interleaved(calls, ROUNDS)
    return {BROADCAST: taken[BROADCAST] / len(some), PLAIN: taken[PLAIN] / PLAIN_SNAPSHOTS}


def roof(books: BookSnapshots, side: str, outputs: int) -> list[Float]:
    """What no walk can avoid: read every level, write every average."""
    prices, sizes = books.levels(side)
    total = prices.sum() + sizes.sum()
    return [np.full((len(books), len(TRADE_SIZES)), total) for _ in range(outputs)]


def with_array(books: BookSnapshots, side: str, name: str) -> tuple[Float, Float]:
    """The lower bound that the walk stores, and an array that is computed from it when asked for."""
    curves = slippage_curves(books, TRADE_SIZES, side)
    return curves.lower_bound, curves[name]


def broadcast(books: BookSnapshots, side: str) -> Float:
    """Average price (n, K) through (rows, K, L) arrays, a thousand rows at a time to stay in the cache's reach."""
    average = np.empty((len(books), len(TRADE_SIZES)))
    prices, sizes = books.levels(side)
    for start in range(0, len(books), BROADCAST_ROWS):
        rows = slice(start, start + BROADCAST_ROWS)
        before = np.cumsum(sizes[rows], axis=1) - sizes[rows]
        taken = np.clip(TRADE_SIZES[:, None] - before[:, None, :], 0.0, sizes[rows][:, None, :])
        paid, filled = (taken * prices[rows][:, None, :]).sum(axis=2), taken.sum(axis=2)
        average[rows] = np.where(filled < TRADE_SIZES, np.nan, paid / TRADE_SIZES)
    return average


def plain(frame: pd.DataFrame, side: str) -> Float:
    """Average price (n, K) from the long frame, each book's rows listed once."""
    averages = []
    shown = frame[frame["side"] == ("ask" if side == "buy" else "bid")]
    for _, book in shown.groupby("time", sort=False):
        levels = list(book[["price", "size"]].itertuples(index=False))
        averages.append([plain_average(levels, shares) for shares in TRADE_SIZES.tolist()])
    return np.array(averages)


def plain_average(levels: list[tuple[float, float]], shares: float) -> float:
    """Average price of one order, level by level."""
    left, paid = shares, 0.0
    for level in levels:
        taken = min(left, level[1])
        paid += taken * level[0]
        left -= taken
        if left <= 0:
            return paid / shares
    return float("nan")


def check(books: BookSnapshots) -> None:
    """Refuse to time walks that disagree."""
    frame = books.to_frame()
    for side in SIDES:
        average = slippage_curves(books, TRADE_SIZES, side).average_price
        for other in (broadcast(books, side), plain(frame, side)):
            np.testing.assert_allclose(other, average, rtol=1e-12)


def table(n: int, seconds: dict[str, float]) -> str:
    """One row a way, with what it takes of the roof and of plain Python."""
    measured = {BROADCAST: BROADCAST_SNAPSHOTS, PLAIN: PLAIN_SNAPSHOTS}
    rows = [
        f"| {name}{f', scaled from {measured[name]:,}' if name in measured else ''} | {1e3 * taken:,.0f} "
        f"| {taken / seconds[ROOF_OF.get(name, ROOF)]:,.2f} | {seconds[PLAIN] / taken:,.0f} |"
        for name, taken in seconds.items()
    ]
    return "\n".join(
        [
            f"{n:,} snapshots:",
            "",
            "| way | ms | times the roof | times faster than plain Python |",
            "|:--|--:|--:|--:|",
            *rows,
            "",
        ]
    )


def section(parts: list[str], met: bool) -> str:
    """The figures as Markdown."""
    levels = one_day(1, np.random.default_rng(7)).n_levels
    tables = "\n".join(parts)
    return f"""## Walking books

Every snapshot x {len(TRADE_SIZES)} trade sizes x both sides, {levels} levels, float64, medians of {ROUNDS} interleaved
rounds. The roof sums the inputs and fills the output: one array of snapshots x sizes a side, two where a second one is
asked for. On one thread `slippage_curves`, with and without `.filled`, must stay within {MAX_OF_ROOF:g} times its
roof and be {MIN_OF_PLAIN:,.0f} times faster than plain Python: {"both hold" if met else "**missed**"}.

{tables}"""


if __name__ == "__main__":
    sys.exit(main())

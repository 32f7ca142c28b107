"""How long it takes to work orders by all strategies, and how far that is from plain Python.

Run as ``python benchmarks/bench_replay.py``; writes a section of Markdown. An order of each size is worked
on each day by every strategy, with the prior of other days; a schedule is fixed once for each size, as
`walk_forward` does. Times are medians of interleaved rounds.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from timing import interleaved

from research_lib.evaluation import (
    Ladder,
    Order,
    Prior,
    Scheduled,
    Strategy,
    clairvoyant,
    replay,
    run,
    standard_strategies,
)
from research_lib.execution import twap
from research_lib.market import Session, thin_stock

SIZES, DAYS, INTERVALS, LEVELS = 50, 20, 390, 10
ORDERS, ROUNDS = SIZES * DAYS, 3
MAX_SECONDS, MIN_OF_PLAIN = 20.0, 5.0
PLAIN = f"TWAP in plain Python, scaled from {DAYS} of the middle size"
REPLAY, BOUND = "`replay`, TWAP", "`clairvoyant`"


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    rng, session = np.random.default_rng(7), Session(INTERVALS)
    market = thin_stock(session)
    prior = Prior.from_market(market, "buy", rng)
    books = market.books(DAYS * INTERVALS, LEVELS, rng, flow=market.flow)
    days = Ladder.of(books, "buy").by_day(INTERVALS)
    sizes = np.geomspace(500, 50_000, SIZES)
    strategies = standard_strategies(prior)
    check(days[0], sizes[::10])
    calls = {one.name: partial(work, one, days, sizes) for one in strategies}
    calls[BOUND] = lambda: [clairvoyant(day, size, "buy") for size in sizes for day in days]
    calls[REPLAY] = lambda: [
        replay(twap(size, INTERVALS), day, "buy") for size in sizes for day in days
    ]
    calls[PLAIN] = lambda: [plain(day, sizes[SIZES // 2]) for day in days]
    seconds = interleaved(calls, ROUNDS)
    seconds[PLAIN] *= SIZES
    total = sum(seconds[one.name] for one in strategies)
    met = total <= MAX_SECONDS and seconds[PLAIN] >= MIN_OF_PLAIN * seconds[REPLAY]
    sys.stdout.write(section(seconds, total, len(strategies), met))
    return int(not met)


def work(strategy: Strategy, days: list[Ladder], sizes: np.ndarray) -> None:
    """An order of each size on each day."""
    for size in sizes:
        fixed = None
        if isinstance(strategy, Scheduled):
            fixed = strategy.schedule(Order(size, np.full(INTERVALS, np.inf)))
        for day in days:
            if fixed is None:
                run(strategy, day, size, "buy")
            else:
                replay(fixed, day, "buy")


def plain(day: Ladder, size: float) -> float:
    """Cost of TWAP, level by level, shortfalls carried on."""
    carried = cost = 0.0
    for premium, shares in zip(day.premium.tolist(), day.size.tolist(), strict=True):
        left = size / INTERVALS + carried
        for price, shown in zip(premium, shares, strict=True):
            taken = min(left, shown)
            cost += taken * price
            left -= taken
            if left <= 0:
                break
        carried = left
    return cost


def check(day: Ladder, sizes: np.ndarray) -> None:
    """Refuse to time what disagrees."""
    for size in sizes:
        replayed = replay(twap(size, INTERVALS), day, "buy")
        np.testing.assert_allclose(plain(day, size), replayed.cost, rtol=1e-9)


def section(seconds: dict[str, float], total: float, n_strategies: int, met: bool) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {name} | {1e3 * taken / ORDERS:,.3g} | {taken:,.3g} |"
        for name, taken in seconds.items()
    ]
    table = "\n".join(["| way | ms an order | s for all |", "|:--|--:|--:|", *rows])
    replayed = seconds[PLAIN] / seconds[REPLAY]
    return f"""## Replaying strategies

{ORDERS:,} orders, {SIZES} of 500 to 50,000 shares on each of {DAYS} days x {INTERVALS} intervals x {LEVELS} levels,
medians of {ROUNDS} interleaved rounds. All {n_strategies} strategies together
take {total:,.1f} s, at most {MAX_SECONDS:g} s are allowed. `replay` is {replayed:,.0f} times
faster than plain Python over lists (at least {MIN_OF_PLAIN:g}): {"both hold" if met else "**missed**"}.

{table}
"""


if __name__ == "__main__":
    sys.exit(main())

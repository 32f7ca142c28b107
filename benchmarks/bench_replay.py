"""How long it takes to work orders by all strategies, and how far that is from plain Python.

Run as ``python benchmarks/bench_replay.py``; writes a section of Markdown. Every order is worked on its own
by every strategy, day and side, with the prior of other days; times are medians of interleaved rounds.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from timing import interleaved

from research_lib.evaluation import (
    Adaptive,
    Ladder,
    LiquidityProfile,
    Prior,
    Strategy,
    TiltedShape,
    clairvoyant,
    decaying,
    replay,
    run,
    standard_strategies,
)
from research_lib.execution import twap
from research_lib.market import Session, thin_stock

ORDERS, DAYS, INTERVALS, LEVELS = 1_000, 10, 390, 10
PLAIN_ORDERS, SORTED_ORDERS, ROUNDS = 20, 1, 3
MOST_SECONDS, LEAST_OF_PLAIN, LEAST_OF_SORTED = 20.0, 5.0, 50.0
PLAIN, SORTED = "TWAP in plain Python", "adaptive, all steps sorted by NumPy"
REPLAY, BOUND = "`replay`, TWAP", "`clairvoyant`"
MEASURED = {PLAIN: PLAIN_ORDERS, SORTED: SORTED_ORDERS}


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    rng, session = np.random.default_rng(7), Session(INTERVALS)
    market = thin_stock(session)
    prior = Prior.from_market(market, "buy", rng)
    days = Ladder.of(market.books(DAYS * INTERVALS, LEVELS, rng), "buy").by_day(INTERVALS)
    sizes = np.geomspace(500, 50_000, ORDERS)
    strategies = standard_strategies(prior)
    check(days[0], prior.profile, sizes[::250])
    calls = {run_of(one): partial(work, one, days, sizes) for one in strategies}
    calls[BOUND] = lambda: [
        clairvoyant(days[k % DAYS], size, "buy") for k, size in enumerate(sizes)
    ]
    calls[REPLAY] = lambda: [
        replay(twap(size, INTERVALS), days[k % DAYS], "buy") for k, size in enumerate(sizes)
    ]
    calls[PLAIN] = lambda: [
        plain(days[k % DAYS], size) for k, size in enumerate(sizes[:PLAIN_ORDERS])
    ]
    calls[SORTED] = lambda: [
        sorting(days[k % DAYS], prior.profile, size)
        for k, size in enumerate(sizes[-SORTED_ORDERS:])
    ]
    taken = interleaved(calls, ROUNDS)
    seconds = {name: took * ORDERS / MEASURED.get(name, ORDERS) for name, took in taken.items()}
    total = sum(seconds[run_of(one)] for one in strategies)
    met = total <= MOST_SECONDS and seconds[PLAIN] >= LEAST_OF_PLAIN * seconds[REPLAY]
    met &= seconds[SORTED] >= LEAST_OF_SORTED * seconds[run_of(strategies[-1])]
    sys.stdout.write(section(seconds, total, len(strategies), met))
    return int(not met)


def run_of(strategy: Strategy) -> str:
    """Its row of the table."""
    return f"`run`, {strategy.name}"


def work(strategy: Strategy, days: list[Ladder], sizes: np.ndarray) -> None:
    """One order of each size, the days in turn."""
    for k, size in enumerate(sizes):
        run(strategy, days[k % DAYS], size, "buy")


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


def sorting(day: Ladder, profile: LiquidityProfile, size: float) -> float:
    """Cost of the adaptive strategy that sorts every step of every book to come."""
    remaining, cost, weights = size, 0.0, decaying(60.0)
    for t in range(INTERVALS):
        seen = weights[t::-1] if t else weights[:1]
        steps = (day.premium[: t + 1] / profile.spread[: t + 1, None]).ravel()
        supply = (day.size[: t + 1] * (seen / seen.sum() / profile.depth[: t + 1])[:, None]).ravel()
        prices = np.concatenate([np.outer(profile.spread[t + 1 :], steps).ravel(), day.premium[t]])
        shares = np.concatenate([np.outer(profile.depth[t + 1 :], supply).ravel(), day.size[t]])
        order = np.argsort(prices)
        at = min(int(np.searchsorted(np.cumsum(shares[order]), remaining)), len(order) - 1)
        want = (
            remaining
            if t == INTERVALS - 1
            else day.size[t][day.premium[t] <= prices[order[at]]].sum()
        )
        taken = np.clip(
            min(want, remaining) - (np.cumsum(day.size[t]) - day.size[t]), 0.0, day.size[t]
        )
        cost += float(taken @ day.premium[t])
        remaining -= float(taken.sum())
    return cost


def check(day: Ladder, profile: LiquidityProfile, sizes: np.ndarray) -> None:
    """Refuse to time what disagrees."""
    for size in sizes:
        np.testing.assert_allclose(
            plain(day, size), replay(twap(size, INTERVALS), day, "buy").cost, rtol=1e-9
        )
    binned = run(
        Adaptive(TiltedShape(profile, 0), "prior", caution=0.0), day, sizes[-1], "buy"
    ).cost
    np.testing.assert_allclose(sorting(day, profile, sizes[-1]), binned, rtol=0.02)


def section(seconds: dict[str, float], total: float, n_strategies: int, met: bool) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {name}{f', scaled from {MEASURED[name]}' if name in MEASURED else ''} "
        f"| {1e3 * taken / ORDERS:,.3g} | {taken:,.3g} |"
        for name, taken in seconds.items()
    ]
    table = "\n".join(["| way | ms an order | s for all |", "|:--|--:|--:|", *rows])
    replayed = seconds[PLAIN] / seconds[REPLAY]
    adapted = seconds[SORTED] / next(
        taken for name, taken in seconds.items() if name.endswith("adaptive")
    )
    return f"""## Replaying strategies

{ORDERS:,} orders of 500 to 50,000 shares x {INTERVALS} intervals x {LEVELS} levels,
{DAYS} days in turn, medians of {ROUNDS} interleaved rounds. All {n_strategies} strategies together
take {total:,.1f} s, at most {MOST_SECONDS:g} s are allowed. `replay` is {replayed:,.0f} times
faster than plain Python over lists (at least {LEAST_OF_PLAIN:g}), the adaptive strategy
{adapted:,.0f} times faster than sorting all steps by NumPy (at least {LEAST_OF_SORTED:g}):
{"all hold" if met else "**missed**"}.

{table}
"""


if __name__ == "__main__":
    sys.exit(main())

"""A resting order followed event by event in plain Python: the twin of the compiled loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from research_lib.evaluation import QUEUES, Posting


def displayed(ticks: Any, sizes: Any, at: int) -> float:
    """Shares at a price; infinite where every shown level holds shares and it is deeper."""
    held = {int(t): 0.0 for t, size in zip(ticks, sizes, strict=True) if size > 0}
    for tick, size in zip(ticks, sizes, strict=True):
        if size > 0:
            held[int(tick)] += float(size)
    if len(held) and (np.asarray(sizes) > 0).all() and at < min(held):
        return math.inf
    return held.get(at, 0.0)


class Resting:
    """One order: its events in time order, each a method."""

    def __init__(self, recording: Any, side: str, shares: float, posting: Posting) -> None:
        self.market, self.left, self.how = recording.side(side), shares, posting
        self.fills: list[tuple[int, float, int]] = []
        self.tick: int | None = None
        self.taken = 0.0  # of opposite quotes that stand
        self.moves: tuple[int, int] | None = None  # when, and for which price

    def best(self, j: int, own: bool) -> int | None:
        name = ("own_tick", "own_size") if own else ("other_tick", "other_size")
        ticks, sizes = (getattr(self.market, one)[j] for one in name)
        held = [int(t) for t, size in zip(ticks, sizes, strict=True) if size > 0]
        return (max(held) if own else min(held)) if held else None

    def join(self, j: int, tick: int, time: int) -> None:
        other = self.best(j, own=False)
        if other is not None:
            tick = min(tick, other - (0 if self.market.strict else 1))
        self.tick, self.arrival, self.traded = tick, time, 0.0
        self.shown = displayed(self.market.own_tick[j], self.market.own_size[j], tick)
        self.ahead = 0.0 if self.how.queue == "first" else self.shown

    def trade(self, row: int) -> None:
        at, size = int(self.market.trade_tick[row]), float(self.market.trade_size[row])
        hits, time = int(self.market.hits[row]), int(self.market.trade_time[row])
        through = at < self.tick and hits >= 0
        level = at == self.tick and (hits == 1 or (hits == 0 and self.how.queue == "first"))
        if not (through or level):
            return
        if through:
            self.ahead = 0.0
        else:
            self.traded += size
        ours = max(size - self.ahead, 0.0)
        self.ahead = max(self.ahead - size, 0.0)
        if time > self.arrival:
            self.fill(time, ours)

    def fill(self, time: int, ours: float) -> None:
        if (got := min(ours, self.left)) > 0:
            self.fills.append((time, got, int(self.tick or 0)))
            self.left -= got

    def state(self, j: int, before: int) -> None:
        market, time = self.market, int(self.market.time[j])
        now = displayed(market.own_tick[j], market.own_size[j], self.tick or 0)
        if self.how.queue == "exact":
            for c in np.flatnonzero((market.cancel_time > before) & (market.cancel_time <= time)):
                if market.cancel_tick[c] == self.tick and market.cancel_entered[c] <= self.arrival:
                    self.ahead -= float(market.cancel_size[c])
        rest = self.shown - self.traded
        if self.how.queue == "proportional" and now < rest < math.inf:
            self.ahead *= now / rest
        self.ahead = max(min(self.ahead, now), 0.0)
        self.shown, self.traded = now, 0.0
        limit = (self.tick or 0) - (1 if market.strict else 0)
        offered = sum(
            float(size)
            for tick, size in zip(market.other_tick[j], market.other_size[j], strict=True)
            if size > 0 and tick <= limit
        )
        self.taken = min(self.taken, offered)
        ours = max(min(self.left, offered - self.taken), 0.0)
        self.fill(time, ours)
        self.taken += ours


def rest(
    recording: Any, side: str, shares: float, decided: int, end: int, posting: Posting
) -> list[tuple[int, float, int]]:
    """(time, shares, tick) of each fill."""
    assert posting.queue in QUEUES
    one = Resting(recording, side, shares, posting)
    market, lag = one.market, round(1e9 * posting.latency_seconds)
    known = [j for j, time in enumerate(market.time) if time <= decided]
    best = one.best(known[-1], own=True) if known else None
    if best is None:
        return []
    j = max(j for j, time in enumerate(market.time) if time <= decided + lag)
    one.join(j, best - posting.offset_ticks, decided + lag)
    events = [(int(t), 0, row) for row, t in enumerate(market.trade_time) if t > market.time[j]]
    events += [(int(t), 2, k) for k, t in enumerate(market.time) if k > j]
    last, seen = int(market.time[j]), j
    for time, kind, row in sorted(events):
        while one.moves and one.moves[0] <= time and (kind == 2 or one.moves[0] < time):
            if one.moves[0] >= end:
                break
            at, wanted = one.moves
            one.moves = None
            one.join(seen, wanted, at)
        if time > end or (kind == 2 and time >= end) or one.left <= 0:
            break
        if kind == 0:
            one.trade(row)
            continue
        one.state(row, last)
        last, seen, quote = time, row, one.best(row, own=True)
        behind = quote is not None and quote - max(posting.offset_ticks, 0) > (one.tick or 0)
        if posting.follow and behind and one.moves is None:
            one.moves = time + lag, int(quote or 0) - posting.offset_ticks
    return one.fills

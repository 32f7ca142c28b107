"""How the benchmarks take time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns after one warm-up each; results are dropped outside the clock."""
    taken = [{name: _seconds(call) for name, call in calls.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(times[name] for times in taken) for name in calls}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = call()
    taken = time.perf_counter() - start
    del result
    return taken

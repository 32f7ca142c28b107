"""What schedules under decaying impact cost in time, against a dense solution, with the gaps beside.

Run as ``python benchmarks/bench_transient.py``; writes a section of Markdown. Times are medians of
interleaved rounds; gaps are the excess over the optimum that each schedule's certificate proves,
differences the largest distance from the dense schedule, relative to its largest trade.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from timing import interleaved

from research_lib.execution import allocate, transient_schedule
from research_lib.impact import (
    ExponentialKernel,
    ExponentialSumKernel,
    Kernel,
    LinearImpact,
    PowerImpact,
    PowerKernel,
    kernel_matrix,
)

Float = NDArray[np.float64]
LARGE, DAY, SHARES = 10_000, 390, 1e6
ROUNDS = {LARGE: 2, DAY: 11}
MIN_EXPONENTIAL = 1_000.0
MANY = 20  # calls a round of what is over in a millisecond
EXPONENTIAL = ExponentialKernel(0.01, 1e-6)
SUM = ExponentialSumKernel((0.0005, 0.01, 0.2), (2e-7, 4e-7, 8e-7))
POWER = PowerKernel(0.5, 1e-6)
TEMPORARY = {"temporary": 1e-7}


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    rows, ratios = [], {}
    for n, kernels in ((DAY, {"power law": POWER}), (LARGE, {})):
        for name, kernel in ({"exponential": EXPONENTIAL} | kernels).items():
            seconds, found = against_dense(kernel, n)
            ratios[name, n] = seconds["dense"] / seconds["own"]
            rows.append(
                row(
                    name,
                    n,
                    found.solver,
                    seconds,
                    found.duality_gap,
                    distance(kernel, n, found.shares),
                )
            )
    beside = [*others(), *bounded()]
    sys.stdout.write(section(rows, ratios, beside))
    return int(ratios["exponential", LARGE] < MIN_EXPONENTIAL)


def against_dense(kernel: Kernel, n: int):  # type: ignore[no-untyped-def]
    """Median seconds of the public call and of a dense Cholesky, and the allocation."""
    times = np.arange(float(n))
    seconds = interleaved(
        {
            "own": repeated(lambda: transient_schedule(kernel, times, SHARES), MANY),
            "dense": lambda: dense(kernel, times),
        },
        ROUNDS[n],
    )
    return {**seconds, "own": seconds["own"] / MANY}, transient_schedule(kernel, times, SHARES)


def dense(kernel: Kernel, times: Float) -> Float:
    """What a user writes: the matrix, its Cholesky factor, one solve."""
    factor = linalg.cho_factor(kernel_matrix(kernel, times), overwrite_a=True, check_finite=False)
    direction = linalg.cho_solve(factor, np.ones(len(times)), check_finite=False)
    return np.asarray(SHARES * direction / direction.sum())


def distance(kernel: Kernel, n: int, shares: Float) -> float:
    """Largest difference from the dense schedule, relative to its largest trade."""
    expected = dense(kernel, np.arange(float(n)))
    return float(np.max(np.abs(shares - expected)) / np.max(np.abs(expected)))


def repeated(call: Callable[[], object], count: int) -> Callable[[], object]:
    """The call, `count` times."""

    def many() -> None:
        for _ in range(count):
            call()

    return many


def others() -> list[str]:
    """Rows of what has no closed form: risk, sums of exponentials, coefficients that vary."""
    rng, times = np.random.default_rng(2), np.arange(float(LARGE))
    varying = {"temporary": rng.lognormal(-16, 0.5, LARGE)}
    calls = {
        "exponential with temporary impact": lambda: transient_schedule(
            EXPONENTIAL, times, SHARES, **TEMPORARY
        ),
        "three exponentials": lambda: transient_schedule(SUM, times, SHARES),
        "three exponentials, temporary impact that varies": lambda: transient_schedule(
            SUM, times, SHARES, **varying
        ),
    }
    return timed(calls, LARGE)


def bounded() -> list[str]:
    """Rows of schedules with bounds, by the active set, and by CVXPY's state form."""
    rng, times = np.random.default_rng(3), np.arange(float(DAY))
    beta, cap = rng.lognormal(-14, 0.5, DAY), 3 * SHARES / DAY
    linear, concave = LinearImpact(beta, 0.01), PowerImpact(30 * beta, 0.5, 0.01)
    limits = {"min_shares": 0.0, "max_shares": cap}
    calls = {
        "exponential, no sales, capped": lambda: transient_schedule(
            EXPONENTIAL, times, SHARES, **limits
        ),
        "power law, no sales, capped": lambda: transient_schedule(POWER, times, SHARES, **limits),
        "linear curve and power law, by `allocate`": lambda: allocate(
            linear, SHARES, max_shares=cap, kernel=POWER
        ),
        "square-root curve and power law, by `allocate`": lambda: allocate(
            concave, SHARES, max_shares=cap, kernel=POWER
        ),
        "linear curve and exponential, by `allocate`": lambda: allocate(
            linear, SHARES, max_shares=cap, kernel=EXPONENTIAL
        ),
        "the same by CVXPY, sparse state form": lambda: allocate(
            linear, SHARES, max_shares=cap, kernel=EXPONENTIAL, solver="cvxpy"
        ),
    }
    return timed(calls, DAY)


def timed(calls: dict[str, Callable[[], object]], n: int) -> list[str]:
    """One row a call: its method, milliseconds and proven gap."""
    seconds = interleaved(calls, 5)
    found = {name: call() for name, call in calls.items()}
    return [
        f"| {name} | {n:,} | {found[name].attempts[-1].backend} | {1e3 * taken:.3g} "  # type: ignore[attr-defined]
        f"| {found[name].duality_gap:.0e} |"  # type: ignore[attr-defined]
        for name, taken in seconds.items()
    ]


def row(name: str, n: int, method: str, seconds: dict[str, float], gap: float, apart: float) -> str:
    """One line of the first table."""
    ratio = seconds["dense"] / seconds["own"]
    own, whole = 1e3 * seconds["own"], 1e3 * seconds["dense"]
    return f"| {name} | {n:,} | {method} | {own:.3g} | {whole:.3g} | {ratio:,.3g} | {gap:.0e} | {apart:.0e} |"


def section(rows: list[str], ratios: dict[tuple[str, int], float], beside: list[str]) -> str:
    """The figures as Markdown."""
    table, more = "\n".join(rows), "\n".join(beside)
    return f"""## Decaying impact

The public call on a regular grid, checks and certificate included, against building the kernel's matrix and
its Cholesky factor; one thread. The gap is the proven excess over the optimum, the difference that from the
dense schedule.

- At {LARGE:,} trades `transient_schedule` is {ratios["exponential", LARGE]:,.0f} times as fast for an exponential
  kernel (limit {MIN_EXPONENTIAL:,.0f}).

| kernel | trades | method | ms | dense, ms | times | gap | difference |
|---|---:|---|---:|---:|---:|---:|---:|
{table}

| problem | trades | method | ms | gap |
|---|---:|---|---:|---:|
{more}
"""


if __name__ == "__main__":
    sys.exit(main())

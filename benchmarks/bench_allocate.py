"""What the exact split costs in time, against what a user would call instead, with the gaps beside.

Run as ``python benchmarks/bench_allocate.py``; writes a section of Markdown. Times are medians of
interleaved rounds of calls; gaps are the excess over the exact cost.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray
from timing import interleaved

from research_lib.execution import allocate, allocate_many, almgren_chriss
from research_lib.execution.exact import exact_split
from research_lib.execution.problem import Problem
from research_lib.impact import (
    AlmgrenImpact,
    ImpactCurve,
    LinearImpact,
    PiecewiseLinearImpact,
    PowerImpact,
)

Float = NDArray[np.float64]
CHILD, CAP = 250.0, 4.0
ROUNDS = {13: 21, 78: 11, 390: 7, 10_000: 7, 1_000_000: 11}
SLSQP_LARGEST, CONIC_LARGEST = 78, 390
PROBLEMS, PROBLEM_INTERVALS = 1_000, 390
MIN_PUBLIC, MIN_KERNEL, MAX_OF_ROOF, MIN_RISK_AVERSE = 100.0, 300.0, 8.0, 200.0
CONIC_RISK, BANDED = "Almgren-Chriss by CVXPY, 390 intervals", "`almgren_chriss`, 390 intervals"
PUBLIC, KERNEL, ROOF = "`allocate`", "compiled solver alone", "read and write its arrays"
FRESH, CONIC, SCIPY = "CVXPY, fresh", "CVXPY (`solver='cvxpy'`)", "SciPy (`solver='scipy'`)"


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    rng = np.random.default_rng(11)
    rows, met = [], {}
    for family in ("linear", "square root", "Almgren", "book"):
        for n in ROUNDS:
            seconds, gaps = measured(curve_of(family, n, rng), n)
            rows += [
                row(family, n, name, taken, seconds[PUBLIC], gaps.get(name))
                for name, taken in seconds.items()
            ]
            if family == "linear" and n == 390:
                met["public"] = seconds[FRESH] / seconds[PUBLIC]
                met["kernel"] = seconds[FRESH] / seconds[KERNEL]
            if family == "linear" and n == 1_000_000:
                met["roof"] = seconds[PUBLIC] / seconds[ROOF]
    averse = risk_averse()
    met["averse"] = averse[CONIC_RISK] / averse[BANDED]
    sys.stdout.write(section(rows, met, {**batch(rng), **discrete(rng), **averse}))
    missed = met["public"] < MIN_PUBLIC or met["kernel"] < MIN_KERNEL or met["roof"] > MAX_OF_ROOF
    return int(missed or met["averse"] < MIN_RISK_AVERSE)


def curve_of(family: str, n: int, rng: np.random.Generator) -> ImpactCurve:
    """Curves of the size that FROG's minutes have."""
    beta, half_spread = rng.lognormal(-11, 0.5, n), rng.uniform(0.01, 0.03, n)
    if family == "linear":
        return LinearImpact(beta, half_spread)
    if family == "square root":
        return PowerImpact(30 * beta, 0.5, half_spread)
    if family == "Almgren":
        return AlmgrenImpact(30 * beta, beta, half_spread)
    depth, steps = 100.0 * rng.integers(1, 5, (n, 5)), 0.01 * rng.integers(0, 3, (n, 5))
    return PiecewiseLinearImpact(depth, steps.cumsum(axis=1), half_spread)


def measured(curve: ImpactCurve, n: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each way that can be waited for, and its relative excess cost."""
    shares, cap = n * CHILD, CAP * CHILD
    total = curve.total("cost")
    upper = np.minimum(np.full(n, cap), total.capacity)
    problem = Problem(total, shares, np.zeros(n), upper)
    arrays = *total.arrays, problem.bounds
    calls: dict[str, Callable[[], object]] = {
        PUBLIC: lambda: allocate(curve, shares, max_shares=cap),
        KERNEL: lambda: exact_split(total, shares, problem.bounds, 1_000),
        ROOF: lambda: roof(*arrays),
    }
    if n <= CONIC_LARGEST:
        calls[FRESH] = lambda: fresh(curve, shares, upper)
        calls[CONIC] = lambda: allocate(curve, shares, max_shares=cap, solver="cvxpy")
    if n <= SLSQP_LARGEST and not total.depth.shape[1]:  # steps of a book are not smooth
        calls[SCIPY] = lambda: allocate(curve, shares, max_shares=cap, solver="scipy")
    exact = float(np.sum(total.value(exact_split(total, shares, problem.bounds, 1_000)[0])))
    gaps = {PUBLIC: allocate(curve, shares, max_shares=cap).duality_gap}
    for name, solver in ((CONIC, "cvxpy"), (SCIPY, "scipy")):
        if name in calls:
            gaps[name] = allocate(curve, shares, max_shares=cap, solver=solver).cost / exact - 1
    if FRESH in calls:
        x = np.clip(fresh(curve, shares, upper), 0, upper)
        gaps[FRESH] = float(np.sum(total.value(x))) / exact - 1
    seconds = interleaved(
        {name: repeated(call, times(name, n)) for name, call in calls.items()}, ROUNDS[n]
    )
    return {name: taken / times(name, n) for name, taken in seconds.items()}, gaps


def times(name: str, n: int) -> int:
    """Calls a round: many where one is over before the caches know it, as a study makes them."""
    return max(20_000 // n, 1) if name in (PUBLIC, KERNEL, ROOF) else 1


def repeated(call: Callable[[], object], count: int) -> Callable[[], object]:
    """The call, `count` times."""

    def many() -> None:
        for _ in range(count):
            call()

    return many


def fresh(curve: ImpactCurve, shares: float, upper: Float) -> Float:
    """What a user writes who knows to scale: fractions of the order, the objective near 1."""
    import cvxpy as cp

    total = curve.total("cost").scaled(
        shares, float(np.sum(curve.cost(np.minimum(CHILD, 0.999 * upper))))
    )
    x = cp.Variable(len(upper), nonneg=True)
    cost, limits = total.linear @ x, [cp.sum(x) == 1, x <= upper / shares]
    if total.quadratic.any():
        cost = cost + total.quadratic @ cp.square(x)
    if total.scale.any():
        cost = cost + total.scale @ cp.power(x, float(total.power[0]))
    if total.depth.shape[1]:
        taken = cp.Variable(total.depth.shape, nonneg=True)
        cost, limits = (
            cost + cp.sum(cp.multiply(total.premium, taken)),
            [*limits, taken <= total.depth],
        )
        limits.append(cp.sum(taken, axis=1) == x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its gap is shown
        cp.Problem(cp.Minimize(cost), limits).solve(solver="CLARABEL")
    return np.asarray(x.value) * shares


@njit(cache=True, error_model="numpy", fastmath={"reassoc"})
def roof(smooth, steps, bounds):  # type: ignore[no-untyped-def]
    """What no solver can avoid: read every number of the problem once, write every child."""
    x = np.empty(len(bounds[0]))
    a, b, c, s, p = smooth
    for t in range(len(x)):
        x[t] = a[t] + b[t] + c[t] + s[t] + p[t] + bounds[0][t] + bounds[1][t]
    depth, premium = steps
    for t in range(len(x)):
        for k in range(depth.shape[1]):
            x[t] += depth[t, k] + premium[t, k]
    return x


def batch(rng: np.random.Generator) -> dict[str, float]:
    """Seconds for a thousand problems, together and one by one."""
    curve = curve_of("linear", PROBLEMS * PROBLEM_INTERVALS, rng)
    shares = rng.uniform(0.5, 1.5, PROBLEMS) * CHILD * PROBLEM_INTERVALS
    own = [
        curve.take(np.arange(i * PROBLEM_INTERVALS, (i + 1) * PROBLEM_INTERVALS))
        for i in range(PROBLEMS)
    ]
    return interleaved(
        {
            "`allocate_many`": lambda: allocate_many(curve, shares, max_shares=CAP * CHILD),
            "`allocate` in a loop": lambda: [
                allocate(one, order, max_shares=CAP * CHILD)
                for one, order in zip(own, shares.tolist(), strict=True)
            ],
        },
        3,
    )


def discrete(rng: np.random.Generator) -> dict[str, float]:
    """Seconds for whole lots at 390 intervals."""
    curve = curve_of("linear", PROBLEM_INTERVALS, rng)
    shares = CHILD * PROBLEM_INTERVALS
    calls = {
        "`allocate(lot_size=100)`, 390 intervals": lambda: allocate(curve, shares, lot_size=100)
    }
    seconds = interleaved({name: repeated(call, 50) for name, call in calls.items()}, 5)
    return {name: taken / 50 for name, taken in seconds.items()}


def risk_averse() -> dict[str, float]:
    """Seconds for Almgren and Chriss's problem at 390 intervals, by its structure and by CVXPY."""
    shares, tau, sigma, eta, risk = 1e6, 1 / 390, 0.95, 2.5e-6, 1e-6

    def conic() -> Float:
        import cvxpy as cp

        held = cp.Variable(PROBLEM_INTERVALS)  # after each trade, in parts of the order
        traded = cp.hstack([1 - held[0], held[:-1] - held[1:]])
        cost = eta / tau * shares**2 * cp.sum_squares(traded)
        cost = cost + risk * sigma**2 * tau * shares**2 * cp.sum_squares(held)
        cp.Problem(cp.Minimize(cost / (eta * shares**2)), [held[-1] == 0]).solve(solver="CLARABEL")
        return np.asarray(shares * traded.value)

    def banded() -> Float:
        return almgren_chriss(
            shares,
            PROBLEM_INTERVALS,
            volatility=sigma,
            temporary=eta,
            risk_aversion=risk,
            interval=tau,
        ).shares

    assert np.allclose(conic(), banded(), rtol=1e-3)
    seconds = interleaved({CONIC_RISK: conic, BANDED: repeated(banded, 50)}, 7)
    return {CONIC_RISK: seconds[CONIC_RISK], BANDED: seconds[BANDED] / 50}


def row(family: str, n: int, name: str, seconds: float, own: float, gap: float | None) -> str:
    """One line of the table."""
    shown = "" if gap is None else f"{gap:.0e}"
    return f"| {family} | {n:,} | {name} | {1e3 * seconds:.3g} | {seconds / own:.3g} | {shown} |"


def section(rows: list[str], met: dict[str, float], together: dict[str, float]) -> str:
    """The figures as Markdown."""
    table = "\n".join(rows)
    many = "\n".join(f"| {name} | {1e3 * taken:.3g} |" for name, taken in together.items())
    return f"""## Allocating

One order, {CHILD:.0f} shares an interval on average, children capped at {CAP:.0f} times that; floats, one thread.
CVXPY is in fractions of the order with a normalised objective, by CLARABEL. The gap is the excess over the
exact cost, of `allocate` its proven duality gap. `read and write its arrays` is the machine's limit.

- `allocate` is {met["public"]:.0f} times a fresh CVXPY solve at 390 linear intervals (limit {MIN_PUBLIC:.0f}).
- The compiled solver alone is {met["kernel"]:,.0f} times (limit {MIN_KERNEL:,.0f}).
- At a million linear intervals `allocate` takes {met["roof"]:.1f} times reading and writing its arrays
  (limit {MAX_OF_ROOF:.0f}).
- `almgren_chriss` is {met["averse"]:.0f} times CVXPY at 390 intervals (limit {MIN_RISK_AVERSE:.0f}).

| curve | intervals | | ms | times `allocate` | gap |
|---|---:|---|---:|---:|---:|
{table}

A batch of {PROBLEMS:,} problems of {PROBLEM_INTERVALS} intervals, and other schedules:

| | ms |
|---|---:|
{many}
"""


if __name__ == "__main__":
    sys.exit(main())

"""Schedules that can be sent: whole lots, and children of a least size or none.

Both begin from the continuous optimum, whose dual value bounds their cost from below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.solvers import (
    Certificate,
    Problem,
    certify,
    optimal_shares,
    place_odd_lot,
    read_only,
    round_to_lots,
)

Float = NDArray[np.float64]
ROUNDING = 1e-9
HALVINGS = 100
SETS_TRIED = 9
MOST_PASSES = 1000


@dataclass(frozen=True, eq=False)
class Discrete:
    """A schedule, its certificate against the continuous optimum, what was done, and where odd shares are."""

    shares: Float
    certificate: Certificate
    note: str = ""
    odd_lot: int | None = None


def discretised(problem: Problem, x: Float, certificate: Certificate, lot_size: float | None, least: float) -> Discrete:
    """The continuous optimum x made of whole lots, and of children of at least `least` shares or none.

    Raises
    ------
    OptimizationError
        No such schedule meets the bounds, or none was found.
    """
    bound = certificate.cost * (1.0 - np.sign(certificate.cost) * certificate.duality_gap)
    notes, odd = [], None
    if np.any((x > 0) & (x < least * (1 - ROUNDING))):
        problem, x, at_least = _with_least_children(problem, x, least)
        bound = max(bound, at_least)
        notes.append(f"no child below {least:,.6g} shares (heuristic: which intervals trade)")
    if lot_size is not None:
        x, odd, note = in_lots(problem, x, certify(x, problem).multiplier, lot_size)
        notes.append(note)
    if not notes:
        return Discrete(x, certificate)
    found = certify(x, problem)
    gap = (found.cost - bound) / (abs(found.cost) or 1.0)
    notes.append(f"at most {max(gap, 0.0):.1e} of the cost above what is proven to be the least")
    return Discrete(x, found._replace(duality_gap=gap), "; ".join(notes), odd)


def in_lots(problem: Problem, x: Float, nu: float, lot: float) -> tuple[Float, int | None, str]:
    """The cheapest whole lots, the rest below one lot in one child: shares, that child, and what was done.

    Optimal for a separable total, by greedy on the marginal cost of a lot. Where terms couple
    the intervals, greedy on their tangents at x: a heuristic.
    """
    total = problem.total if problem.terms is None else problem.terms.minorant(problem.total, x, None)[0]
    form = Problem(total, problem.shares, problem.lower, problem.upper).form
    count = int(problem.shares / lot + ROUNDING)
    odd = problem.shares - count * lot
    odd = odd if odd > ROUNDING * lot else 0.0
    low = np.ceil(problem.lower / lot - ROUNDING).astype(np.int64)
    high = np.floor(problem.upper / lot + ROUNDING).astype(np.int64)
    child = _only_odd(low, high, odd)
    over = bool(odd and child is None and low.sum() == count + 1)  # the odd shares may be a floor's last
    _check_lots(lot, count + over, low, high)
    lots = round_to_lots(read_only(x), nu, lot, count + over, low, high, form.smooth, form.steps)
    if odd and child is None:
        child, gives, takes = place_odd_lot(lots, odd, lot, over, high, form.smooth, form.steps, problem.bounds)
        lots[gives] -= gives >= 0
        lots[takes] += takes >= 0
    shares = lots * lot
    how = f"in lots of {lot:g} shares" + ("" if problem.terms is None else " (heuristic: terms by their tangents)")
    if child is not None:
        shares[child] += odd
        how += f", the odd {odd:g} in interval {child}"
        inside = problem.lower[child] - ROUNDING * lot <= shares[child] <= problem.upper[child] + ROUNDING * lot
        if child < 0 or not inside:
            raise OptimizationError(
                f"no bounds admit the odd {odd:g} shares beside lots of {lot:g}; widen them or trade a multiple of it"
            )
    return np.clip(shares, problem.lower, problem.upper), child, how


def _only_odd(low: NDArray[np.int64], high: NDArray[np.int64], odd: float) -> int | None:
    """The one interval, if any, whose bounds admit no whole lots but odd shares beside them: fewer lots are fixed."""
    tight = np.flatnonzero(low > high)
    if not odd or len(tight) != 1 or low[tight[0]] != high[tight[0]] + 1:
        return None
    low[tight] = high[tight]
    return int(tight[0])


def _check_lots(lot: float, count: int, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
    """Refuse bounds that admit no such number of lots."""
    if high.sum() < count or np.any(low > high):
        raise OptimizationError(
            f"caps in lots of {lot:g} admit {np.maximum(high, 0).sum() * lot:,.6g} of {count * lot:,.6g} shares, or "
            f"lie below floors in {int(np.sum(low > high))} intervals; raise max_shares or trade smaller lots"
        )
    if low.sum() > count:
        raise OptimizationError(
            f"floors in lots of {lot:g} need {low.sum() * lot:,.6g} of {count * lot:,.6g} shares; "
            "lower min_shares or trade smaller lots"
        )


def _with_least_children(problem: Problem, x: Float, least: float) -> tuple[Problem, Float, float]:
    r"""Children of at least `least` shares m or none: the problem with the traded intervals fixed, shares, a bound.

    Whatever nu, no such schedule costs less than
    nu S + sum_t min(0, min_{m <= x <= u_t} C_t(x) - nu x). At the best nu an interval trades
    if its average price at m is below nu; sets of about that number are tried, the cheapest at m, those
    cheapest at an equal part of the order, or those with most shares in the continuous optimum x,
    each solved exactly.
    """
    if problem.terms is not None:
        raise OptimizationError("min_trade_size needs a separable total; drop the terms or min_trade_size")
    floor = np.maximum(problem.lower, least)
    usable, forced = problem.upper >= floor * (1 - ROUNDING), problem.lower > 0
    floor = np.minimum(floor, problem.upper)
    if np.any(forced & ~usable) or problem.shares < least * (1 - ROUNDING):
        raise OptimizationError(
            f"min_trade_size {least:g} is above the order or above the cap of an interval with a floor; lower it"
        )
    value = problem.total.value(floor)
    price = np.divide(value, floor, out=np.full(len(floor), np.inf), where=usable)
    price[forced] = -np.inf
    around, bound = _dual(problem, floor, price)
    best = None
    for chosen in _sets(problem, x, floor, price, around):
        part = dataclasses.replace(
            problem, lower=np.where(chosen, floor, 0.0), upper=np.where(chosen, problem.upper, 0.0)
        )
        shares = optimal_shares(part, MOST_PASSES)[0]
        if best is None or part.cost(shares) < best[0].cost(best[1]):
            best = part, shares
    if best is None:
        raise OptimizationError(
            f"no number of the cheapest intervals trades {problem.shares:,.6g} shares in children of at least "
            f"{least:g} inside the caps; lower min_trade_size or raise max_shares"
        )
    return *best, bound + problem.constant


def _sets(problem: Problem, x: Float, floor: Float, price: Float, around: int) -> Iterator[NDArray[np.bool_]]:
    """Sets of intervals, (n,), that admit the order: of about so many, the first by one of three ranks."""
    usable, forced = np.isfinite(price) | (price == -np.inf), price == -np.inf
    tried: set[int] = set()
    for rank in (price, np.where(forced, -np.inf, np.where(usable, -x, np.inf))):
        order = np.argsort(rank, kind="stable")[: int(usable.sum())]
        sizes = _feasible_sizes(problem, floor[order], problem.upper[order], int(forced.sum()))
        for size in sizes[np.argsort(np.abs(sizes - around), kind="stable")[:SETS_TRIED]].tolist():
            tried.add(size)
            yield _among(len(floor), order[:size])
    for size in tried:
        part = np.clip(problem.shares / size, floor, problem.upper)
        equal = np.divide(problem.total.value(part), part, out=np.full(len(part), np.inf), where=usable)
        order = np.argsort(np.where(forced, -np.inf, equal), kind="stable")[:size]
        if size in _feasible_sizes(problem, floor[order], problem.upper[order], int(forced.sum())):
            yield _among(len(floor), order)


def _among(n: int, intervals: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The intervals as a mask of n."""
    chosen = np.zeros(n, bool)
    chosen[intervals] = True
    return chosen


def _feasible_sizes(problem: Problem, floor: Float, upper: Float, forced: int) -> NDArray[np.int64]:
    """Numbers of the cheapest intervals whose floors and caps admit the order."""
    slack = ROUNDING * problem.shares
    admits = (np.cumsum(floor) <= problem.shares + slack) & (np.cumsum(upper) >= problem.shares - slack)
    sizes = 1 + np.flatnonzero(admits)
    return np.asarray(sizes[sizes >= max(forced, 1)])


def _dual(problem: Problem, floor: Float, price: Float) -> tuple[int, float]:
    """Intervals that trade at the best multiplier, by bisection, and the bound there."""
    total, upper = problem.total, problem.upper

    def at(nu: float) -> tuple[Float, float]:
        trades = price <= nu
        x = np.where(trades, np.clip(total.shares_at_marginal(nu), floor, upper), 0.0)
        return x, nu * problem.shares + float(np.sum(total.value(x) - nu * x))

    known = price[np.isfinite(price)]
    ends = np.append(known, total.marginal_last(upper)[np.isfinite(price) | (price == -np.inf)])
    low, high = float(ends.min()), float(ends.max())
    pad = ROUNDING * (abs(low) + abs(high))
    low, high = low - pad, high + pad
    for _ in range(HALVINGS):
        nu = 0.5 * (low + high)
        low, high = (nu, high) if at(nu)[0].sum() < problem.shares else (low, nu)
    (below, first), (_, second) = at(low), at(high)
    return int(np.sum(below > 0)), max(first, second)

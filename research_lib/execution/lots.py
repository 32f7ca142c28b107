"""Schedules that can be sent: whole lots, and children of a least size or none.

Both begin from the continuous optimum, whose dual value bounds their cost from below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research_lib.errors import OptimizationError
from research_lib.execution.bounds import ROUNDING, admits_lots, in_whole_lots, lot_bounds
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
Mask = NDArray[np.bool_]
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
        No such schedule meets the bounds.
    """
    bound = certificate.cost * (1.0 - np.sign(certificate.cost) * certificate.duality_gap)
    placed, notes = _placed(problem, x, lot_size), []
    if np.any((placed.shares > 0) & (placed.shares < least * (1 - ROUNDING))):
        problem, placed, at_least = _with_least_children(problem, x, least, lot_size)
        bound = max(bound, at_least)
        notes.append(f"no child below {least:,.6g} shares (heuristic: which intervals trade)")
    if placed.how:
        notes.append(placed.how)
    if not notes:
        return Discrete(x, certificate)
    found = certify(placed.shares, problem)
    gap = (found.cost - bound) / (abs(found.cost) or 1.0)
    return Discrete(placed.shares, found._replace(duality_gap=gap), "; ".join(notes), placed.odd)


class Placed(NamedTuple):
    """Shares, (n,), the child with odd shares, and how they were made whole lots."""

    shares: Float
    odd: int | None = None
    how: str = ""


def _placed(problem: Problem, x: Float, lot: float | None) -> Placed:
    """The continuous optimum x in whole lots, if that is asked for."""
    return Placed(x) if lot is None else in_lots(problem, x, certify(x, problem).multiplier, lot)


def in_lots(problem: Problem, x: Float, nu: float, lot: float) -> Placed:
    """The cheapest whole lots, the rest below one lot in one child.

    Optimal for a separable total, by greedy on the marginal cost of a lot. Where terms couple
    the intervals, greedy on their tangents at x: a heuristic.
    """
    total = problem.total if problem.terms is None else problem.terms.minorant(problem.total, x, None)[0]
    form = Problem(total, problem.shares, problem.lower, problem.upper).form
    count, odd = in_whole_lots(problem.shares, lot)
    low, high = lot_bounds(problem.lower, problem.upper, lot)
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
    return Placed(np.clip(shares, problem.lower, problem.upper), child, how)


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


def _with_least_children(problem: Problem, x: Float, least: float, lot: float | None) -> tuple[Problem, Placed, float]:
    r"""Children of at least `least` shares m or none: the problem with the traded intervals fixed, shares, a bound.

    Whatever nu, no such schedule costs less than
    nu S + sum_t min(0, min_{m <= x <= u_t} C_t(x) - nu x). At the best nu an interval trades
    if its average price at m is below nu; sets of about that number are tried, the cheapest at m, those
    cheapest at an equal part of the order, or those with most shares in the continuous optimum x,
    each solved exactly and placed in lots.
    """
    if problem.terms is not None:
        raise OptimizationError("min_trade_size needs a separable total; drop the terms or min_trade_size")
    if lot is not None and not in_whole_lots(problem.shares, lot)[1]:
        least = lot * float(np.ceil(least / lot - ROUNDING))
    floor = np.maximum(problem.lower, least)
    usable, forced = problem.upper >= floor * (1 - ROUNDING), problem.lower > 0
    floor = np.minimum(floor, problem.upper)
    _check_least(problem, least, usable, forced)
    value = problem.total.value(floor)
    price = np.divide(value, floor, out=np.full(len(floor), np.inf), where=usable)
    price[forced] = -np.inf
    around, bound = _dual(problem, floor, price)
    best: tuple[float, Problem, Placed] | None = None
    for chosen in _sets(problem, x, floor, price, around, lot):
        part = dataclasses.replace(
            problem, lower=np.where(chosen, floor, 0.0), upper=np.where(chosen, problem.upper, 0.0)
        )
        placed = _placed(part, optimal_shares(part, MOST_PASSES)[0], lot)
        cost = part.cost(placed.shares)
        if best is None or cost < best[0]:
            best = cost, part, placed
    if best is None:
        raise OptimizationError(
            f"no set of intervals trades {problem.shares:,.6g} shares in children of at least {least:g} inside the "
            "caps" + (f" in lots of {lot:g}" if lot else "") + "; lower min_trade_size or raise max_shares"
        )
    return *best[1:], bound + problem.constant


def _check_least(problem: Problem, least: float, usable: Mask, forced: Mask) -> None:
    """Refuse a least child that no interval can trade, or that an interval with a floor cannot."""
    if problem.shares < least * (1 - ROUNDING):
        raise OptimizationError(f"min_trade_size {least:g} is above the order of {problem.shares:,.6g}; lower it")
    if not usable.any():
        raise OptimizationError(
            f"min_trade_size {least:g} is above every cap, at most {problem.upper.max():,.6g}; lower it"
        )
    if np.any(forced & ~usable):
        t = int(np.argmax(forced & ~usable))
        raise OptimizationError(
            f"min_trade_size {least:g} is above the cap {problem.upper[t]:,.6g} of interval {t}, which has a floor; "
            "lower it"
        )


def _sets(problem: Problem, x: Float, floor: Float, price: Float, around: int, lot: float | None) -> Iterator[Mask]:
    """Sets of intervals, (n,), that admit the order: of about so many, the first by one of three ranks.

    Where the first do not, the last of them make room for intervals of the largest caps: as intervals
    without a floor of their own have the same least child, none is missed of which a set exists.
    """
    usable, forced = np.isfinite(price) | (price == -np.inf), price == -np.inf
    fullest = _ranked(-problem.upper, usable, forced)
    orders = [_ranked(price, usable, forced), _ranked(-x, usable, forced)]
    prefixes = [_sizes(problem, floor, order, int(forced.sum()), lot, around) for order in (*orders, fullest)]
    tried: set[bytes] = set()
    for size in dict.fromkeys(size for sizes in prefixes for size in sizes):
        part = np.clip(problem.shares / size, floor, problem.upper)
        equal = np.divide(problem.total.value(part), part, out=np.full(len(part), np.inf), where=usable)
        for order in (*orders, _ranked(equal, usable, forced)):
            chosen = _completed(problem, floor, order[:size], fullest, lot)
            if chosen is not None and chosen.tobytes() not in tried:
                tried.add(chosen.tobytes())
                yield chosen


def _ranked(rank: Float, usable: Mask, forced: Mask) -> NDArray[np.int64]:
    """The usable intervals by rank, those that must trade first."""
    order = np.argsort(np.where(forced, -np.inf, np.where(usable, rank, np.inf)), kind="stable")
    return order[: int(usable.sum())]


def _completed(
    problem: Problem, floor: Float, first: NDArray[np.int64], fullest: NDArray[np.int64], lot: float | None
) -> Mask | None:
    """The first intervals as a mask, as few of the last as need be exchanged for the fullest; None if none admits."""
    size, exchanged = len(first), 0
    while True:
        chosen = np.zeros(len(floor), bool)
        chosen[first[: size - exchanged]] = True
        chosen[fullest[~chosen[fullest]][:exchanged]] = True
        if _admits(problem, floor, chosen, lot):
            return chosen
        if exchanged == size:
            return None
        exchanged = min(2 * exchanged or 1, size)


def _admits(problem: Problem, floor: Float, chosen: Mask, lot: float | None) -> bool:
    """Whether the chosen intervals, trading at least their floors, take the order inside their caps."""
    lower, upper = np.where(chosen, floor, 0.0), np.where(chosen, problem.upper, 0.0)
    if lot is not None:
        return admits_lots(lower, upper, problem.shares, lot)
    return bool(lower.sum() <= problem.shares * (1 + ROUNDING) and upper.sum() >= problem.shares * (1 - ROUNDING))


def _sizes(
    problem: Problem, floor: Float, order: NDArray[np.int64], forced: int, lot: float | None, around: int
) -> list[int]:
    """Numbers of the first intervals, some nearest to `around`, whose floors and caps may admit the order."""
    lower, upper, least, whole = floor[order], problem.upper[order], problem.shares, problem.shares
    if lot is not None:
        count, odd = in_whole_lots(problem.shares, lot)
        lower, upper = (lot * part.astype(float) for part in lot_bounds(lower, upper, lot))
        least, whole = count * lot, (count + (odd > 0)) * lot
    admits = (np.cumsum(lower) <= whole * (1 + ROUNDING)) & (np.cumsum(upper) >= least * (1 - ROUNDING))
    sizes = 1 + np.flatnonzero(admits)
    sizes = sizes[sizes >= max(forced, 1)]
    return list(sizes[np.argsort(np.abs(sizes - around), kind="stable")[:SETS_TRIED]].tolist())


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

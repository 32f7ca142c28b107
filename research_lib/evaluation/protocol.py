"""Every order by every strategy, each with the information known before it."""

# ruff: noqa: I001  (several names a line)

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.evaluation.adaptive import Adaptive
from research_lib.evaluation.executions import Execution, as_caps, clairvoyant, report_ages
from research_lib.evaluation.shapes import WeightedShapes
from research_lib.evaluation.priors import Known, Prior
from research_lib.evaluation.strategies import Order, Scheduled, Strategy, run
from research_lib.evaluation.strategies import AlmgrenChriss, BestBenchmark, StaticOptimal
from research_lib.evaluation.strategies import Twap, TwapAfter, Vwap
from research_lib.execution import Schedule
from research_lib.market.sessions import Session, as_session

OPENING_MINUTES = (0.0, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0)  # left out at the open, at most one hour


def standard_strategies(
    prior: Prior, *, objective: str = "cost", urgency: float = 1.0, tick: float = 0.0
) -> list[Strategy]:
    """The benchmarks that a desk could fix before the session, the static optimum, the adaptive.

    TWAP; TWAP after the open; VWAP by traded volume, or depth-weighted where the prior has no
    trades; Almgren and Chriss; and, as one more, the best of these on the prior's days. Of a prior
    of another market (`known_elsewhere`) only the day shapes are used: the benchmarks are TWAP and
    TWAP from minute 30, risk aversion is 0 because its slope is in other units, and no move of the
    mid is forecast.

    Parameters
    ----------
    prior : Prior
    objective : "cost" or "impact"
        Of the static optimum.
    urgency : float
        kappa T, from which the risk aversion follows (`Prior.risk_aversion`).
    tick : float
        Currency per share; no spread below it is forecast. 0 where it is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from research_lib.evaluation import Prior
    >>> from research_lib.market import SyntheticMarket
    >>> market = SyntheticMarket(session=Session(13))
    >>> prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=3)
    >>> [one.name for one in standard_strategies(prior)][:4]
    ['TWAP', 'TWAP after the open', 'VWAP', 'Almgren-Chriss']
    """
    known, sigma, minutes = prior.source, prior.volatility * prior.price, prior.minutes
    risk: dict[str, Any] = {"risk_aversion": prior.risk_aversion(urgency), "volatility": sigma}
    shapes = WeightedShapes([prior.profile, *prior.shapes])

    if not prior.earlier:
        late = TwapAfter([round(30 / minutes)], name="TWAP from minute 30")
        static = StaticOptimal(prior.curve, known, objective=objective)
        return [Twap(), late, static, Adaptive(shapes, known, tick=tick)]
    starts = list(dict.fromkeys(round(late / minutes) for late in OPENING_MINUTES))
    past: dict[str, Any] = {"days": prior.days, "carried": prior.carried, "fitted_on": known}
    by_volume = Vwap(prior.volume, known, "VWAP" if prior.traded else "depth-weighted")
    front = AlmgrenChriss(temporary=prior.temporary, fitted_on=known, **risk)
    benchmarks: list[Scheduled] = [Twap(), TwapAfter(starts, **past), by_volume, front]
    after: dict[str, Any] = {"carried": prior.carried, "seconds": prior.seconds, "line": prior.line}
    seen: dict[str, Any] = {"mid_forecast": prior.forecast, "lump": prior.lump, "tick": tick}
    static = StaticOptimal(prior.curve, known, objective=objective, **after, **risk)
    adaptive = Adaptive(shapes, known, **seen, **risk)
    return [*benchmarks, BestBenchmark(benchmarks, **past), static, adaptive]


def walk_forward(
    known: Iterable[Known], session: Session, *, sizes: Iterable[float],
    make: Callable[[Prior], Sequence[Strategy]] = standard_strategies,
    max_shares: float | None = None, refill: float = 1.0,
) -> list[Execution]:  # fmt: skip
    """Every order on every day by every strategy, each with the priors of that day, and the bound.

    Schedules are solved once for all days with the same priors.

    Parameters
    ----------
    known : iterable of Known
        Books of whole days, one an interval, with priors measured on other days or another stock,
        never on these books; the keys of the priors are the sides to trade.
    session : Session
    sizes : iterable of float
        Orders, shares.
    make : callable of a Prior
        Gives the strategies: ``lambda prior: [Twap(), Mine()]`` for one's own beside TWAP.
    max_shares : float, optional
        Cap of each interval, shares.
    refill : float
        As in `replay`.

    Returns
    -------
    list of Execution
        In order of priors, side, day, size, strategy; the perfect-foresight bound last, without the
        cap and, where there is one, with it.

    Raises
    ------
    ValidationError
        No sizes, or a size not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from research_lib.evaluation import known_before
    >>> from research_lib.market import SyntheticMarket
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> known = known_before(market.books(3 * 13, 5, rng), market.session, sides=["sell"])
    >>> done = walk_forward(known, market.session, sizes=[500.0, 1_000.0])
    >>> len(done)  # two days, two sizes, seven strategies and the bound
    32
    """
    session, done = as_session(session), list[Execution]()
    given = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else []
    if not given:
        raise ValidationError(f"sizes must be a sequence of shares, [5000] for one; got {sizes!r}")
    orders = [number("each of sizes", size, above=0) for size in given]
    how: dict[str, Any] = {"max_shares": max_shares, "refill": refill}
    caps = as_caps(max_shares, session.n_intervals)
    for same in (list(group) for _, group in groupby(known, key=lambda one: id(one.priors))):
        for side, prior in same[0].priors.items():
            made = make(prior) if callable(make) else []
            strategies = [] if isinstance(made, Strategy) else list(made)
            if not strategies:
                due = "make must be a function as lambda prior: [Twap()]"
                raise ValidationError(f"{due}, got {make!r}")
            plans_of = {size: planned(strategies, Order(size, caps)) for size in orders}
            for day, seen in (pair for one in same for pair in one.ladders(side, session)):
                for size, plans in plans_of.items():
                    done += [run(one, day, size, side, shown=seen, **how) for one in plans]
                    done.append(clairvoyant(day, size, side))
                    if max_shares is not None:
                        done.append(clairvoyant(day, size, side, max_shares))
    report_ages(done)
    return done


@dataclass(frozen=True, eq=False)
class _Planned(Scheduled):
    """The schedule of a strategy for one order, solved once for all days."""

    name: str
    fitted_on: str
    plan: Schedule

    def schedule(self, order: Order) -> Schedule:
        return self.plan


def planned(strategies: Sequence[Strategy], order: Order) -> list[Strategy]:
    """The strategies for one order, schedules solved once."""
    done: list[Strategy] = []
    solved: dict[int, Scheduled] = {}
    for one in strategies:
        given = id(one)
        if isinstance(one, BestBenchmark):  # of candidates that stand before it: not twice
            one = replace(one, candidates=[solved.get(id(each), each) for each in one.candidates])
        if isinstance(one, Scheduled):
            one = solved[given] = _Planned(one.name, one.fitted_on, one.schedule(order))
        done.append(one)
    return done

"""Who may know what: priors from other days or elsewhere, and orders worked on days they were not fitted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.bound import clairvoyant
from research_lib.evaluation.forecast import LiquidityProfile, TiltedShape, mid_volatility
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.replay import Execution
from research_lib.evaluation.strategies import (
    Adaptive,
    Pov,
    StaticOptimal,
    Strategy,
    Twap,
    Vwap,
    run,
)
from research_lib.impact import ImpactCurve, PiecewiseLinearImpact
from research_lib.impact.walk import walk_levels
from research_lib.market import BookSnapshots, Session, SyntheticMarket

Float = NDArray[np.float64]
CURVE_STEPS = 25
SIDES = ("buy", "sell")
Fit = Callable[[BookSnapshots, str], ImpactCurve]
BY_TRADES, BY_DEPTH = "volumes of trades", "no trades: depth for volume"


@dataclass(frozen=True, eq=False)
class Prior(Record):
    """What is known before the day, for one side.

    Attributes
    ----------
    profile : LiquidityProfile
        Of spread and depth.
    volume : (n,) shares
        Expected in each interval.
    curve : ImpactCurve
        Expected cost, n intervals.
    volatility : float
        Of the mid over one interval, relative to the price.
    source : str
        The days, the stock or the preset, and what stands for volume.
    """

    profile: LiquidityProfile
    volume: Float
    curve: ImpactCurve
    volatility: float
    source: str

    @classmethod
    def from_books(
        cls, books: BookSnapshots, side: str, session: Session, source: str, fit: Fit | None = None
    ) -> Prior:
        """What some days tell.

        Parameters
        ----------
        books : BookSnapshots
            One an interval of whole days, as `BookSnapshots.sample` gives. Volume is that of
            their `trades`, auctions and hidden ones apart where the others are signed; without
            trades visible depth stands for it, and `source` says so.
        side : "buy" or "sell"
        session : Session
        source : str
        fit : callable of books and side, optional
            Gives the curve; `expected_curve` where there is none.
        """
        days = Ladder.of(books, side).by_day(session.n_intervals)
        profile = LiquidityProfile.from_ladders(days, source)
        volume, kind = _volume(books, days, profile, session)
        level = float(np.nanmean(books.mid))
        curve = expected_curve(days, profile) if fit is None else fit(books, side)
        return cls(profile, volume, curve, mid_volatility(days) / level, f"{source} ({kind})")

    @classmethod
    def from_market(
        cls,
        market: SyntheticMarket,
        side: str,
        rng: np.random.Generator,
        n_days: int = 10,
        n_levels: int = 10,
    ) -> Prior:
        """What days drawn from a synthetic market tell."""
        books = market.books(n_days * market.session.n_intervals, n_levels, rng)
        return cls.from_books(books, side, market.session, f"{n_days} synthetic days")

    def permuted(self, rng: np.random.Generator) -> Prior:
        """The same intervals in random order, one order for all that is known."""
        order = rng.permutation(len(self.profile))
        shuffled = LiquidityProfile(
            self.profile.spread[order], self.profile.depth[order], self.profile.source
        )
        return dataclasses.replace(
            self,
            profile=shuffled,
            volume=self.volume[order],
            curve=self.curve.take(order),
            source=f"{self.source}, intervals permuted",
        )


def expected_curve(days: Sequence[Ladder], profile: LiquidityProfile) -> PiecewiseLinearImpact:
    """The mean cost of walking the books of some days, made comparable by the profile and given its shape again.

    Prices are stretched by the profile's spread and sizes by its depth. At the end of each step
    the cost is the mean over all books; beyond its depth a book counts with its last level, a
    lower bound. The last step ends at the depth of the deepest book.
    """
    quoted = [np.isfinite(day.mid) for day in days]
    size = np.concatenate(
        [day.size[q] / profile.depth[q, None] for day, q in zip(days, quoted, strict=True)]
    )
    premium = np.concatenate(
        [day.premium[q] / profile.spread[q, None] for day, q in zip(days, quoted, strict=True)]
    )
    ends = size.sum(axis=1).max() * np.linspace(0.0, 1.0, CURVE_STEPS + 1)[1:] ** 2
    cost = walk_levels(premium, size, ends)[0].mean(axis=0) * ends
    depth = np.diff(ends, prepend=0.0)
    marginal = np.maximum.accumulate(
        np.diff(cost, prepend=0.0) / depth
    )  # a mean of rising ones, but for rounding
    half_spread = max(float(marginal[0]), 0.0)
    return PiecewiseLinearImpact(
        profile.depth[:, None] * depth,
        profile.spread[:, None] * (marginal - marginal[0]),
        profile.spread * half_spread,
    )


def standard_strategies(
    prior: Prior,
    *,
    rate: float = 0.1,
    objective: str = "cost",
    risk_aversion: float = 0.0,
    price: float = 0.0,
) -> list[Strategy]:
    """TWAP, VWAP, POV, static optimal and adaptive, and with a `risk_aversion` the adaptive one that has it.

    Parameters
    ----------
    prior : Prior
    rate : float
        Of POV.
    objective : "cost" or "impact"
        Of the static optimum.
    risk_aversion : float
        lambda, 1 / currency.
    price : float
        Turns the prior's relative volatility into currency per share; needed with a risk aversion.
    """
    forecast, source = TiltedShape(prior.profile), prior.source
    strategies: list[Strategy] = [
        Twap(),
        Vwap(prior.volume, source),
        Pov(prior.volume, source, rate),
        StaticOptimal(prior.curve, source, objective=objective),
        Adaptive(forecast, source),
    ]
    if number("risk_aversion", risk_aversion, 0) > 0:
        volatility = prior.volatility * number("price", price, above=0)
        name = "risk-averse adaptive"
        strategies.append(
            Adaptive(forecast, source, name, risk_aversion=risk_aversion, volatility=volatility)
        )
    return strategies


Maker = Callable[[Prior], Sequence[Strategy]]


def evaluate(
    books: BookSnapshots,
    session: Session,
    priors: Mapping[str, Prior],
    *,
    sizes: Iterable[float],
    windows: Iterable[tuple[int, int]] | None = None,
    make: Maker = standard_strategies,
    refill: float = 1.0,
    anchor: str = "price",
    max_shares: float | None = None,
) -> list[Execution]:
    """Every order on every day by every strategy, and by perfect foresight, with priors from elsewhere.

    Parameters
    ----------
    books : BookSnapshots
        One an interval of whole days.
    session : Session
    priors : mapping of side to Prior
        Measured on other days or another stock, never on `books`; its keys are the sides traded.
    sizes : iterable of float
        Orders, shares.
    windows : iterable of (start, stop), optional
        First interval of an order and the one after its last; the whole day by default.
    make : callable of a Prior
        Gives the strategies.
    refill, anchor
        As in `replay`.
    max_shares : float, optional
        Cap of each interval, shares.

    Returns
    -------
    list of Execution
        In order of side, day, size, window, strategy; the bound last.

    Raises
    ------
    ValidationError
        No sizes or windows, a size not above 0, a window that is empty or beyond the day.
    """
    spans, orders = _spans(windows, session.n_intervals), _sizes(sizes)
    done = []
    for side, prior in priors.items():
        strategies = make(prior)
        for day in Ladder.of(books, side).by_day(session.n_intervals):
            for size in orders:
                for start, stop in spans:
                    span = {
                        "start": start,
                        "stop": stop,
                        "max_shares": max_shares,
                        "refill": refill,
                        "anchor": anchor,
                    }
                    done += [run(strategy, day, size, side, **span) for strategy in strategies]  # type: ignore[arg-type]
                    done.append(clairvoyant(day.take(slice(start, stop)), size, side, max_shares))
    return done


@dataclass(frozen=True, eq=False)
class Known(Record):
    """Books to trade on, and what is known before them.

    Attributes
    ----------
    books : BookSnapshots
        One an interval of whole days.
    priors : mapping of side to Prior
        Measured on other books than these.
    """

    books: BookSnapshots
    priors: Mapping[str, Prior]


def known_before(
    books: BookSnapshots,
    session: Session,
    *,
    sides: Sequence[str] = SIDES,
    n_fitted: int = 20,
    first: int = 1,
    refit_every: int = 1,
    fit: Fit | None = None,
) -> list[Known]:
    """Each day after the first ones, with priors from the days before it.

    Parameters
    ----------
    books : BookSnapshots
        One an interval of whole days, in order.
    session : Session
    sides : sequence of "buy", "sell"
    n_fitted : int
        Days that a prior is measured on, at most: the last ones before the day.
    first : int
        Days that are only fitted on.
    refit_every : int
        Days that a prior serves.
    fit : callable of books and side, optional
        As for `Prior.from_books`.

    Raises
    ------
    ValidationError
        Fewer than first + 1 days; no sides, or others than buy and sell.
    """
    if isinstance(sides, str) or not sides:
        raise ValidationError(f"sides must be a sequence of {' and '.join(SIDES)}, got {sides!r}")
    refuse_unknown(sides, SIDES, "side")
    fitted = number("n_fitted", n_fitted, 1, integer=True)
    n, days = session.n_intervals, books.days(session)
    if len(books) != n * len(days) or len(days) <= number("first", first, 1, integer=True):
        raise ValidationError(
            f"{len(books):,} books of {len(days)} days of {n} leave no day after the first {first}; sample more days, "
            "or evaluate one day with a prior from elsewhere"
        )
    known, step = [], number("refit_every", refit_every, 1, integer=True)
    for d in range(first, len(days), step):
        rows = np.arange(max(0, d - fitted) * n, d * n)
        source, before = (
            " to ".join(dict.fromkeys(str(days[at]) for at in (rows[0] // n, d - 1))),
            books.take(rows),
        )
        priors = {side: Prior.from_books(before, side, session, source, fit) for side in sides}
        served = range(d, min(d + step, len(days)))
        known += [Known(books.take(np.arange(day * n, (day + 1) * n)), priors) for day in served]
    return known


def walk_forward(known: Iterable[Known], session: Session, **orders: Any) -> list[Execution]:
    """`evaluate` of each day with what was known before it; sizes, windows, make and so on are its own."""
    return [one for day in known for one in evaluate(day.books, session, day.priors, **orders)]


def _sizes(sizes: Iterable[float]) -> list[float]:
    found = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else []
    if not found:
        raise ValidationError(
            f"sizes must be a sequence of shares, got {sizes!r}; one size is sizes=[5000]"
        )
    return [number("each of sizes", size, above=0) for size in found]


def _spans(windows: Iterable[tuple[int, int]] | None, n: int) -> list[tuple[int, int]]:
    try:
        spans = [(0, n)] if windows is None else [(start, stop) for start, stop in windows]
        fit = len(spans) > 0 and all(0 <= start < stop <= n for start, stop in spans)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"windows must be pairs (start, stop), got {windows!r}") from error
    if not fit:
        raise ValidationError(
            f"windows must be (start, stop) with 0 <= start < stop <= {n}, got {spans}"
        )
    return spans


def _volume(
    books: BookSnapshots, days: Sequence[Ladder], profile: LiquidityProfile, session: Session
) -> tuple[Float, str]:
    """Expected volume of each interval, (n,) shares, and what it was measured by."""
    n = session.n_intervals
    if books.trades is None or not len(books.trades):
        shown = np.concatenate([day.depth[np.isfinite(day.mid)] for day in days]).mean()
        return float(shown) * profile.depth, BY_DEPTH
    trades = books.trades
    if trades.aggressor.any():
        trades = trades.take(trades.aggressor != 0)
    first, last = (session.days(books.time[[k]])[0] for k in (0, -1))
    day, interval = session.days(trades.time), session.interval_of(trades.time)
    inside = (interval >= 0) & (day >= first) & (day <= last)
    mean = np.bincount(interval[inside], trades.size[inside], n) / len(days)
    width = max(1, n // 13)
    known = np.convolve(np.ones(n), np.ones(width), "same")
    return np.convolve(mean, np.ones(width), "same") / known, BY_TRADES

"""Who may know what: priors from elsewhere, and orders worked on days that were not fitted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.adaptive import Adaptive
from research_lib.evaluation.forecast import LiquidityProfile, TiltedShape, mid_volatility
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.replay import Execution, clairvoyant, report_ages
from research_lib.evaluation.strategies import Pov, StaticOptimal, Strategy, Twap, Vwap, run
from research_lib.impact import ImpactCurve, PiecewiseLinearImpact
from research_lib.impact.slippage import walk_levels
from research_lib.market import BookSnapshots, Session, SyntheticMarket

Float = NDArray[np.float64]
CURVE_STEPS = 25
SIDES = ("buy", "sell")
MAX_OVERNIGHT = 1.2  # below the smallest usual split, 5 for 4; few stocks move as much on news
Fit = Callable[[BookSnapshots, str], ImpactCurve]


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

    Examples
    --------
    >>> market = SyntheticMarket(session=Session(13))
    >>> prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=3)
    >>> prior.source, len(prior.curve)
    ('3 synthetic days (no trades: depth for volume)', 13)
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
        """What is known from some days.

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
        curve = expected_curve(days, profile) if fit is None else fit(books, side)
        volatility = mid_volatility(days) / float(np.nanmean(books.mid))
        return cls(profile, volume, curve, volatility, f"{source} ({kind})")

    @classmethod
    def from_market(
        cls, market: SyntheticMarket, side: str, rng: np.random.Generator, n_days: int = 10
    ) -> Prior:
        """What is known from days of ten levels drawn from a synthetic market."""
        books = market.books(n_days * market.session.n_intervals, 10, rng)
        return cls.from_books(books, side, market.session, f"{n_days} synthetic days")

    def permuted(self, rng: np.random.Generator) -> Prior:
        """The same intervals in random order, one order for all that is known."""
        order, known = rng.permutation(len(self.profile)), self.profile
        profile = LiquidityProfile(known.spread[order], known.depth[order], known.source)
        volume, curve = self.volume[order], self.curve.take(order)
        return Prior(profile, volume, curve, self.volatility, f"{self.source}, intervals permuted")


def expected_curve(days: Sequence[Ladder], profile: LiquidityProfile) -> PiecewiseLinearImpact:
    """The mean cost of walking the books of some days, in the profile's shape.

    Books are made comparable by the profile: prices are divided by its spread and sizes by its
    depth, averaged, and stretched again. At the end of each step the cost is the mean over all
    books; beyond its depth a book counts with its last level, a lower bound. The last step ends
    at the depth of the deepest book.

    Examples
    --------
    >>> size, time = np.full((3, 1), 100.0), 10**18 + np.arange(3) * 60 * 10**9
    >>> books = BookSnapshots(time, np.full((3, 1), 99.0), size, np.full((3, 1), 101.0), size)
    >>> curve = expected_curve([Ladder.of(books, "buy")], LiquidityProfile.flat(3))
    >>> curve.cost(50.0).round(9).tolist()  # the half-spread of 1, 50 times
    [50.0, 50.0, 50.0]
    """
    quoted = [np.isfinite(day.mid) for day in days]
    pairs = list(zip(days, quoted, strict=True))
    size = np.concatenate([day.size[q] / profile.depth[q, None] for day, q in pairs])
    premium = np.concatenate([day.premium[q] / profile.spread[q, None] for day, q in pairs])
    ends = size.sum(axis=1).max() * np.linspace(0.0, 1.0, CURVE_STEPS + 1)[1:] ** 2
    cost = walk_levels(premium, size, ends)[0].mean(axis=0) * ends
    depth = np.diff(ends, prepend=0.0)
    # A mean of rising premiums rises, but for rounding.
    marginal = np.maximum.accumulate(np.diff(cost, prepend=0.0) / depth)
    return PiecewiseLinearImpact(
        profile.depth[:, None] * depth,
        profile.spread[:, None] * (marginal - marginal[0]),
        profile.spread * max(float(marginal[0]), 0.0),
    )


def standard_strategies(
    prior: Prior,
    *,
    rate: float = 0.1,
    objective: str = "cost",
    risk_aversion: float = 0.0,
    price: float = 0.0,
) -> list[Strategy]:
    """TWAP, VWAP, POV, static optimal and adaptive; with a `risk_aversion` a second adaptive one.

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

    Examples
    --------
    >>> market = SyntheticMarket(session=Session(13))
    >>> prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=3)
    >>> [one.name for one in standard_strategies(prior)]
    ['TWAP', 'VWAP', 'POV', 'static optimal', 'adaptive']
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
        sigma = prior.volatility * number("price", price, above=0)
        averse = Adaptive(forecast, source, risk_aversion=risk_aversion, volatility=sigma)
        strategies.append(dataclasses.replace(averse, name="risk-averse adaptive"))
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
    max_shares: float | None = None,
    **refilling: Any,
) -> list[Execution]:
    """Every order on every day by every strategy, and by perfect foresight.

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
    max_shares : float, optional
        Cap of each interval, shares.
    **refilling
        `refill` and `anchor`, as in `replay`.

    Returns
    -------
    list of Execution
        In order of side, day, size, window, strategy; the bound last.

    Raises
    ------
    ValidationError
        No sizes or windows, a size not above 0, a window that is empty or beyond the day.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> priors = {"buy": Prior.from_market(market, "buy", rng, n_days=3)}
    >>> done = evaluate(market.books(13, 5, rng), market.session, priors, sizes=[500.0])
    >>> len(done), done[-1].name  # five strategies and the bound
    (6, 'clairvoyant')
    """
    spans, orders = _spans(windows, session.n_intervals), _sizes(sizes)
    done = []
    for side, prior in priors.items():
        strategies = make(prior)
        for day in Ladder.of(books, side).by_day(session.n_intervals):
            for size, (start, stop) in ((size, span) for size in orders for span in spans):
                how = {"start": start, "stop": stop, "max_shares": max_shares, **refilling}
                done += [run(one, day, size, side, **how) for one in strategies]
                done.append(clairvoyant(day.take(slice(start, stop)), size, side, max_shares))
    report_ages(done)
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

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> known = known_before(market.books(3 * 13, 5, rng), market.session, sides=["buy"])
    >>> len(known), isinstance(known[0], Known)
    (2, True)
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
    on_jump: str = "raise",
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
    on_jump : "raise" or "carry"
        What to do where the mid jumps by a fifth or more between two days that a prior is
        measured on or serves: shares and prices before a split are in other units.

    Raises
    ------
    ValidationError
        Fewer than first + 1 days; no sides, or others than buy and sell; an overnight jump.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> books = market.books(4 * 13, 5, rng)
    >>> known = known_before(books, market.session, first=2)
    >>> [len(one.books) for one in known], list(known[0].priors)
    ([13, 13], ['buy', 'sell'])
    """
    if isinstance(sides, str) or not sides:
        raise ValidationError(f"sides must be a sequence of {' and '.join(SIDES)}, got {sides!r}")
    refuse_unknown(sides, SIDES, "side")
    refuse_unknown([on_jump], ("raise", "carry"), "on_jump")
    fitted = number("n_fitted", n_fitted, 1, integer=True)
    n, days = session.n_intervals, books.days(session)
    if len(books) != n * len(days) or len(days) <= number("first", first, 1, integer=True):
        raise ValidationError(
            f"{len(books):,} books of {len(days)} days of {n} leave no day after the first "
            f"{first}; sample more days, or evaluate one day with a prior from elsewhere"
        )
    known, step = [], number("refit_every", refit_every, 1, integer=True)
    by_day = [books.take(np.arange(d * n, (d + 1) * n)) for d in range(len(days))]
    for d in range(first, len(days), step):
        earliest, served = max(0, d - fitted), by_day[d : d + step]
        if on_jump == "raise":
            _refuse_jump(by_day[earliest : d + step], days[earliest:])
        source = " to ".join(dict.fromkeys(str(days[at]) for at in (earliest, d - 1)))
        before = books.take(np.arange(earliest * n, d * n))
        priors = {side: Prior.from_books(before, side, session, source, fit) for side in sides}
        known += [Known(day, priors) for day in served]
    return known


def walk_forward(known: Iterable[Known], session: Session, **orders: Any) -> list[Execution]:
    """`evaluate` of each day with what was known before it; sizes, windows, make are its own.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> known = known_before(market.books(3 * 13, 5, rng), market.session, sides=["sell"])
    >>> done = walk_forward(known, market.session, sizes=[500.0, 1_000.0])
    >>> len(done)  # two days, two sizes, five strategies and the bound
    24
    """
    return [one for day in known for one in evaluate(day.books, session, day.priors, **orders)]


def _refuse_jump(by_day: Sequence[BookSnapshots], dates: Sequence[Any]) -> None:
    """Refuse days between which the mid jumps as by a split."""
    mids = [day.mid[np.isfinite(day.mid)] for day in by_day]
    for k in range(1, len(mids)):
        if not (len(mids[k - 1]) and len(mids[k])):
            continue
        last, opening = mids[k - 1][-1], mids[k][0]
        if max(last / opening, opening / last) >= MAX_OVERNIGHT:
            ratio = Fraction(last / opening if last > opening else opening / last)
            likely = ratio.limit_denominator(10 if ratio < 10 else 1)
            pair = (likely.numerator, likely.denominator)
            old, new = pair[::-1] if last > opening else pair
            raise ValidationError(
                f"the mid jumps from {last:,.6g} ({dates[k - 1]}) to {opening:,.6g} ({dates[k]}), "
                f"as if {old} old were {new} new shares; rescale what is earlier by that ratio, "
                'start after it, or carry the prior with on_jump="carry"'
            )


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
        good = len(spans) > 0 and all(0 <= start < stop <= n for start, stop in spans)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValidationError(
            f"windows must be pairs (start, stop) with 0 <= start < stop <= {n}, got {windows!r}"
        )
    return spans


def _volume(
    books: BookSnapshots, days: Sequence[Ladder], profile: LiquidityProfile, session: Session
) -> tuple[Float, str]:
    """Expected volume of each interval, (n,) shares, and what it was measured by."""
    n, trades = session.n_intervals, books.trades
    if trades is None or not len(trades):
        shown = np.concatenate([day.depth[np.isfinite(day.mid)] for day in days]).mean()
        return float(shown) * profile.depth, "no trades: depth for volume"
    if trades.aggressor.any():
        trades = trades.take(trades.aggressor != 0)
    first, last = session.days(books.time[[0, -1]])
    day, interval = session.days(trades.time), session.interval_of(trades.time)
    inside = (interval >= 0) & (day >= first) & (day <= last)
    mean = np.bincount(interval[inside], trades.size[inside], n) / len(days)
    # A half-hour's mean: single minutes of few days are mostly noise.
    window = np.ones(max(1, n // 13))
    known = np.convolve(np.ones(n), window, "same")
    return np.convolve(mean, window, "same") / known, "volumes of trades"

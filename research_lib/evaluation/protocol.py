"""Who may know what: priors from elsewhere, days not fitted on, and a placebo."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import Float, number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.adaptive import Adaptive, LiquidityProfile, TiltedShape, mid_volatility
from research_lib.evaluation.replay import Execution, Ladder, clairvoyant, report_ages
from research_lib.evaluation.strategies import Pov, StaticOptimal, Strategy, Twap, Vwap, run
from research_lib.impact import ImpactCurve, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, SyntheticMarket
from research_lib.market.quality import overnight_jump
from research_lib.market.sessions import as_session

DEFAULT_SIZES = np.array([0.05, 0.1, 0.2, 0.3, 0.5])  # parts of the mean depth that are walked
SIDES = ("buy", "sell")
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
    ) -> Self:
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
            Gives the curve; by default a linear fit to walks of up to half of the mean depth.
        """
        session = as_session(session)
        days = Ladder.of(books, side).by_day(session.n_intervals)
        profile = LiquidityProfile.from_ladders(days, source)
        volume, kind = _volume(books, days, profile, session)
        if fit is None:
            sizes = DEFAULT_SIZES * float(np.mean(np.concatenate([day.depth for day in days])))
            walked, n = slippage_curves(books, sizes, side), session.n_intervals
            how: dict[str, Any] = {"n_intervals": n, "session": session, "test_fraction": 0.0}
            curve: ImpactCurve = fit_impact(walked, "linear", **how).curve
        else:
            curve = fit(books, side)
        # Apart from the sizes that it saw: `allocate` would warn of each order of each day.
        curve = curve.take(np.arange(len(curve))).fitted_up_to(np.inf)
        volatility = mid_volatility(days) / float(np.nanmean(books.mid))
        return cls(profile, volume, curve, volatility, f"{source} ({kind})")

    @classmethod
    def from_market(
        cls, market: SyntheticMarket, side: str, rng: np.random.Generator, n_days: int = 10
    ) -> Self:
        """What is known from days of ten levels drawn from a synthetic market."""
        books = market.books(n_days * market.session.n_intervals, 10, rng)
        return cls.from_books(books, side, market.session, f"{n_days} synthetic days")


def standard_strategies(
    prior: Prior, *, rate: float = 0.1, objective: str = "cost",
    risk_aversion: float = 0.0, price: float = 0.0,
) -> list[Strategy]:  # fmt: skip
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
        averse = {"risk_aversion": risk_aversion, "volatility": sigma}
        strategies.append(Adaptive(forecast, source, "risk-averse adaptive", **averse))
    return strategies


def evaluate(
    books: BookSnapshots, session: Session, priors: Mapping[str, Prior], *,
    sizes: Iterable[float], make: Callable[[Prior], Sequence[Strategy]] = standard_strategies,
    max_shares: float | None = None, refill: float = 1.0,
) -> list[Execution]:  # fmt: skip
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
    make : callable of a Prior
        Gives the strategies: ``lambda prior: [Twap(), Mine()]`` for one's own beside TWAP.
    max_shares : float, optional
        Cap of each interval, shares.
    refill : float
        As in `replay`.

    Returns
    -------
    list of Execution
        In order of side, day, size, strategy; the bound last.

    Raises
    ------
    ValidationError
        No sizes, or a size not above 0.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> priors = {"buy": Prior.from_market(market, "buy", rng, n_days=3)}
    >>> done = evaluate(market.books(13, 5, rng), market.session, priors, sizes=[500.0])
    >>> len(done), done[-1].name  # five strategies and the bound
    (6, 'clairvoyant')
    """
    given = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else []
    if not given:
        raise ValidationError(f"sizes must be a sequence of shares, [5000] for one; got {sizes!r}")
    orders = [number("each of sizes", size, above=0) for size in given]
    session = as_session(session)
    n = session.n_intervals
    how: dict[str, Any] = {"max_shares": max_shares, "refill": refill}
    done: list[Execution] = []
    for side, prior in priors.items():
        strategies = make(prior) if callable(make) else []
        if isinstance(strategies, Strategy) or not strategies:
            due = "make must be a function as lambda prior: [Twap()]"
            raise ValidationError(f"{due}, got {make!r}")
        ladder = Ladder.of(books, side)
        for day in ladder.by_day(n):
            _refuse_other_intervals(day.time, session)
            for size in orders:
                done += [run(one, day, size, side, **how) for one in strategies]
                done.append(clairvoyant(day, size, side, max_shares))
    report_ages(done)
    return done


class Known(NamedTuple):
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
    books: BookSnapshots, session: Session, *, sides: Sequence[str] = SIDES, n_fitted: int = 20,
    first: int = 1, refit_every: int = 1, fit: Fit | None = None, on_jump: str = "raise",
) -> list[Known]:  # fmt: skip
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
    session = as_session(session)
    n, days = session.n_intervals, books.days(session)
    if len(books) != n * len(days) or len(days) <= number("first", first, 1, integer=True):
        found = f"{len(books):,} books of {len(days)} days of {n} leave no day after the first"
        remedy = "sample more days, or evaluate one day with a prior from elsewhere"
        raise ValidationError(f"{found} {first}; {remedy}")
    known, step = [], number("refit_every", refit_every, 1, integer=True)
    by_day = [books.take(np.arange(d * n, (d + 1) * n)) for d in range(len(days))]
    for d in range(first, len(days), step):
        earliest = max(0, d - fitted)
        if on_jump == "raise":
            _refuse_jump(by_day[earliest : d + step], days[earliest:])
        source = " to ".join(dict.fromkeys(str(days[at]) for at in (earliest, d - 1)))
        before = books.take(np.arange(earliest * n, d * n))
        priors = {side: Prior.from_books(before, side, session, source, fit) for side in sides}
        known += [Known(day, priors) for day in by_day[d : d + step]]
    return known


def walk_forward(known: Iterable[Known], session: Session, **orders: Any) -> list[Execution]:
    """`evaluate` of each day with what was known before it; `orders` are its sizes, make,
    max_shares and refill.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> known = known_before(market.books(3 * 13, 5, rng), market.session, sides=["sell"])
    >>> done = walk_forward(known, market.session, sizes=[500.0, 1_000.0])
    >>> len(done)  # two days, two sizes, five strategies and the bound
    24
    """
    return [one for day in known for one in evaluate(day.books, session, day.priors, **orders)]


def _refuse_other_intervals(time: NDArray[np.int64], session: Session) -> None:
    """Refuse times (n,) of books that are not one an interval of a day, or all as late."""
    late = time - session.starts(session.days(time[:1]))[0]
    alike = late[0] >= 0 and np.ptp(late) == 0
    if not alike and np.any(session.interval_of(time) != np.arange(len(time))):
        due = f"one an interval of a day of {len(time)}: sample them by this session"
        raise ValidationError(f"the books are not {due}")


def _refuse_jump(by_day: Sequence[BookSnapshots], dates: Sequence[Any]) -> None:
    """Refuse days between which the mid jumps as by a split."""
    mids = [day.mid[np.isfinite(day.mid)] for day in by_day]
    ends = np.array([mid[[0, -1]] if len(mid) else [np.nan, np.nan] for mid in mids])
    if jump := overnight_jump(dates, *ends.T):
        remedy = 'start after it, or carry the prior with on_jump="carry"'
        raise ValidationError(f"{jump}; rescale what is earlier by that ratio, {remedy}")


def _volume(
    books: BookSnapshots, days: Sequence[Ladder], profile: LiquidityProfile, session: Session
) -> tuple[Float, str]:
    """Expected volume of each interval, (n,) shares, and what it was measured by."""
    n, trades = session.n_intervals, books.trades
    first, last = session.days(books.time[[0, -1]])
    if trades is not None:  # none of a later day counts, nor says that trades are signed
        day = session.days(trades.time)
        trades = trades.take((day >= first) & (day <= last))
    if trades is None or not len(trades):
        shown = np.concatenate([day.depth[np.isfinite(day.mid)] for day in days]).mean()
        return float(shown) * profile.depth, "no trades: depth for volume"
    if trades.aggressor.any():
        trades = trades.take(trades.aggressor != 0)
    interval = session.interval_of(trades.time)
    mean = np.bincount(interval[interval >= 0], trades.size[interval >= 0], n) / len(days)
    # A half-hour's mean: single minutes of few days are mostly noise.
    window = np.ones(max(1, n // 13))
    known = np.convolve(np.ones(n), window, "same")
    return np.convolve(mean, window, "same") / known, "volumes of trades"

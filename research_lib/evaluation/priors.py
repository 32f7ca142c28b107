"""Priors: what earlier sessions or other markets show before a session; impact scenarios."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import Float, number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.evaluation.costs import CarriedImpact
from research_lib.evaluation.executions import Ladder, sample_states
from research_lib.evaluation.mid_forecast import MidForecast
from research_lib.evaluation.shapes import LiquidityProfile, mid_volatility
from research_lib.impact import ImpactCurve, LinearImpact, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, SyntheticMarket
from research_lib.market.quality import overnight_jump
from research_lib.market.sessions import as_session

DEFAULT_SIZES = np.array([0.05, 0.1, 0.2, 0.3, 0.5])  # parts of the mean depth that are walked
SIDES = ("buy", "sell")
TRADED = "volumes of trades"
Fit = Callable[[BookSnapshots, str], ImpactCurve]
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Prior(Record):
    """Information before the day, for one side.

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
        The days, the stock or the preset, and what is used as volume.
    traded : bool
        Whether volume is that of trades; else it is displayed depth.
    price : float
        Mean mid, currency per share.
    line : LinearImpact, optional
        Linear fit, n intervals; equal to `curve` unless another form is fitted.
    days : tuple of Ladder
        The books that the prior was measured on, one ladder a day.
    seconds : (n,)
        Starts of the intervals from the first one.
    carried : CarriedImpact
        "measured" where these days have trades that move the mid, else "none".
    forecast : MidForecast
    shapes : tuple of LiquidityProfile
        Further shapes, of other markets; each is weighted by its own errors.
    earlier : bool
        Whether the prior is from the market's own earlier sessions, and not from another market.

    Examples
    --------
    >>> market = SyntheticMarket(session=Session(13))
    >>> prior = Prior.from_market(market, "buy", np.random.default_rng(0), n_days=3)
    >>> prior.source, len(prior.curve)
    ('3 synthetic days (volumes of trades)', 13)
    """

    profile: LiquidityProfile
    volume: Float
    curve: ImpactCurve
    volatility: float
    source: str
    traded: bool = False
    price: float = 1.0
    line: LinearImpact | None = None
    days: tuple[Ladder, ...] = ()
    seconds: Float = field(default_factory=lambda: np.zeros(1))
    carried: CarriedImpact = field(default_factory=CarriedImpact)
    forecast: MidForecast = field(default_factory=lambda: MidForecast.none("nothing earlier"))
    shapes: tuple[LiquidityProfile, ...] = ()
    earlier: bool = True

    @property
    def temporary(self) -> float:
        """Mean slope of the linear fit, currency per share**2: x shares cost temporary x^2."""
        return 0.0 if self.line is None else float(self.line.parameters()["beta"].mean())

    def risk_aversion(self, urgency: float = 1.0) -> float:
        r"""lambda, 1 / currency, by one rule: kappa T = urgency, kappa^2 = lambda sigma^2 / eta.

        With T the n intervals, lambda = eta (urgency / n)^2 / sigma^2 (Almgren and Chriss, 2000,
        equation 20); half of the order is held after about T ln 2 / urgency where that is high.
        """
        kappa = number("urgency", urgency, 0) / len(self.profile)
        sigma = self.volatility * self.price
        return self.temporary * kappa**2 / sigma**2 if sigma > 0 else 0.0

    @property
    def minutes(self) -> float:
        """Length of an interval, one where it is not known."""
        return float(np.diff(self.seconds).min()) / 60.0 if len(self.seconds) > 1 else 1.0

    @property
    def lump(self) -> float:
        """G(0) less its mean over the order, currency per share**2: see `Adaptive`."""
        if self.carried.kernel is None or len(self.seconds) < 2:
            return 0.0
        now = float(self.carried.kernel(0.0))
        excess = now - float(self.carried.kernel(self.seconds[1:] - self.seconds[0]).mean())
        return excess if excess > 1e-12 * now else 0.0

    def within(self, at: NDArray[np.int64]) -> Self:
        """The same of a part of the session, for an order that has only these intervals."""

        def part(one: LiquidityProfile) -> LiquidityProfile:
            return LiquidityProfile(one.spread[at], one.depth[at], one.source)

        days = [day.take(at) for day in self.days]
        return replace(
            self, profile=part(self.profile), shapes=tuple(map(part, self.shapes)),
            volume=self.volume[at], curve=self.curve.take(at),
            line=None if self.line is None else self.line.take(at), seconds=self.seconds[at],
            days=tuple(day for day in days if np.isfinite(day.mid).any()),
        )  # fmt: skip

    @classmethod
    def from_books(
        cls, books: BookSnapshots, side: str, session: Session, source: str,
        fit: Fit | None = None, carried: CarriedImpact | None = None,
    ) -> Self:  # fmt: skip
        """What is known from some days.

        Parameters
        ----------
        books : BookSnapshots
            One an interval of whole days, as `BookSnapshots.sample` gives. Volume is that of
            their `trades`, auctions and hidden ones apart where the others are signed; without
            trades visible depth is used instead, and `source` says so.
        side : "buy" or "sell"
        session : Session
        source : str
        fit : callable of books and side, optional
            Gives the curve; by default a linear fit to walks of up to half of the mean depth.
        carried : CarriedImpact, optional
            If it is known; measured by default.
        """
        session = as_session(session)
        days = Ladder.of(books, side).by_day(session.n_intervals)
        days = [day for day in days if np.isfinite(day.mid).any()]  # one of a halt shows nothing
        profile = LiquidityProfile.from_ladders(days, source)
        volume, kind = _volume(books, days, profile, session)
        sizes = DEFAULT_SIZES * float(np.mean(np.concatenate([day.depth for day in days])))
        how: dict[str, Any] = {"n_intervals": session.n_intervals, "session": session}
        walked = slippage_curves(books, sizes, side)
        line: Any = fit_impact(walked, "linear", test_fraction=0.0, **how).curve
        curve: ImpactCurve = line if fit is None else fit(books, side)
        # Without the sizes of its fit: `allocate` would warn at each order of each day.
        curve = curve.take(np.arange(len(curve))).fitted_up_to(np.inf)
        price, seconds = float(np.nanmean(books.mid)), (days[0].time - days[0].time[0]) / 1e9
        return cls(
            profile, volume, curve, mid_volatility(days) / price, f"{source} ({kind})",
            kind == TRADED, price, line,
            days=tuple(days), seconds=seconds, forecast=MidForecast.fit(days, source),
            carried=carried or _carried(books, session),
        )  # fmt: skip

    @classmethod
    def from_market(cls, market: SyntheticMarket, side: str, rng: Rng, n_days: int = 10) -> Self:
        """What is known from days of ten levels drawn from a synthetic market."""
        books = market.books(n_days * market.session.n_intervals, 10, rng, flow=market.flow)
        return cls.from_books(books, side, market.session, f"{n_days} synthetic days")


class Known(NamedTuple):
    """Books to trade on, with the priors known before them.

    Attributes
    ----------
    books : BookSnapshots
        One an interval of whole days.
    priors : mapping of side to Prior
        Measured on other books than these.
    shown : BookSnapshots, optional
        Books of the decisions, if orders arrive later than these books.

    Examples
    --------
    >>> market, rng = SyntheticMarket(session=Session(13)), np.random.default_rng(0)
    >>> known = known_before(market.books(3 * 13, 5, rng), market.session, sides=["buy"])
    >>> len(known), isinstance(known[0], Known)
    (2, True)
    """

    books: BookSnapshots
    priors: Mapping[str, Prior]
    shown: BookSnapshots | None = None

    def ladders(self, side: str, session: Session) -> list[tuple[Ladder, Ladder]]:
        """Traded and shown ladder, a pair for each day."""
        n, shown = session.n_intervals, self.shown
        days = Ladder.of(self.books, side).by_day(n)
        for day in days:
            _refuse_other_intervals(day.time, session)
        seen = days if shown is None else Ladder.of(shown, side).by_day(n)
        return list(zip(days, seen, strict=True))


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
        Largest number of days that a prior is measured on: the last ones before the day.
    first : int
        Days that are only fitted on.
    refit_every : int
        Days for which one prior is used.
    fit : callable of books and side, optional
        As for `Prior.from_books`.
    on_jump : "raise" or "carry"
        What to do where the mid jumps by a fifth or more between two days that a prior is measured
        on or used for: shares and prices before a split are in other units.

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
    fitted, session = number("n_fitted", n_fitted, 1, integer=True), as_session(session)
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
        known_then = session, source, fit, _carried(before, session)
        priors = {side: Prior.from_books(before, side, *known_then) for side in sides}
        known += [Known(day, priors) for day in by_day[d : d + step]]
    return known


def known_elsewhere(
    books: BookSnapshots, others: Mapping[str, BookSnapshots], session: Session, *,
    sides: Sequence[str] = SIDES, fit: Fit | None = None,
) -> list[Known]:  # fmt: skip
    """All days, with priors of other markets: curve and slope of the first, day shapes of each.

    Parameters
    ----------
    books : BookSnapshots
        One an interval of whole days.
    others : mapping of name to BookSnapshots
        Whole days of markets, none of them calibrated on `books`.
    session : Session
    sides, fit
        Traded; as for `Prior.from_books`.

    Examples
    --------
    >>> from research_lib.market import preset
    >>> session, rng = Session(13), np.random.default_rng(0)
    >>> names = ("thin_stock", "deep_stock", "wide_spread_stock")
    >>> thin, deep, wide = (preset(name, session).books(26, 5, rng) for name in names)
    >>> (known,) = known_elsewhere(wide, {"thin": thin, "deep": deep}, session, sides=["buy"])
    >>> len(known.priors["buy"].shapes), known.priors["buy"].source[:13]
    (1, 'thin and deep')
    """
    if not others:
        raise ValidationError("others must be the books of one market or more by name, got none")
    priors = {}
    for side in sides:
        found = [Prior.from_books(one, side, session, name, fit) for name, one in others.items()]
        shapes = tuple(one.profile for one in found[1:])
        kind = found[0].source.removeprefix(next(iter(others))).strip()
        # Impact and forecast of another market do not apply to this one.
        unknown = MidForecast.none("nothing: no earlier session of this market")
        own: Any = {"source": f"{' and '.join(others)} {kind}", "shapes": shapes}
        own |= {"carried": CarriedImpact(), "forecast": unknown, "earlier": False}
        priors[side] = replace(found[0], **own)
    return [Known(books, priors)]


def scenarios(
    known: Known, session: Session, *, borrowed_from: str = "", daily_volume: float = 0.0
) -> list[CarriedImpact]:
    """The scenarios of carried impact that a market allows.

    "none"; "measured" on the prior's days, if trades move the mid there, or "borrowed" if
    `borrowed_from` names a market; "square-root" if a volume is known. Volatility and volume of a
    session are the prior's if nothing is borrowed. Otherwise they are those of the traded days,
    known only afterwards: they set one level for all strategies, and no decision uses them.

    Parameters
    ----------
    known : Known
        The first evaluated days.
    session : Session
    borrowed_from : str
        One of `costs.LEVELS`; empty for the prior's own kernel.
    daily_volume : float
        Shares a session if the books have no trades; 0 for the volume of the trades.

    Raises
    ------
    ValidationError
        Something borrowed with neither trades nor `daily_volume`.

    Examples
    --------
    >>> from research_lib.market import preset
    >>> market, rng = preset("thin_stock", Session(39)), np.random.default_rng(0)
    >>> books = market.books(21 * 39, 5, rng, flow=market.flow)
    >>> known = known_before(books, market.session, first=20)
    >>> [one.scenario for one in scenarios(known[0], market.session)]
    ['none', 'measured', 'square-root']
    """
    session, prior = as_session(session), next(iter(known.priors.values()))
    if not borrowed_from:
        found = [CarriedImpact(), *([prior.carried] if prior.carried.kernel is not None else [])]
        volume = daily_volume or (float(prior.volume.sum()) if prior.traded else 0.0)
        sigma = prior.volatility * np.sqrt(session.n_intervals)
        if volume > 0 and sigma > 0:
            found.append(CarriedImpact("square-root", None, sigma, volume, prior.source))
        return found
    price = float(np.nanmean(known.books.mid))
    days = [seen for _, seen in known.ladders("buy", session)]
    sigma = mid_volatility(days) / price * np.sqrt(session.n_intervals)
    trades = known.books.trades
    if not daily_volume and trades is not None:
        inside = np.isin(session.days(trades.time), known.books.days(session))
        inside &= (session.interval_of(trades.time) >= 0) & (trades.aggressor != 0)
        daily_volume = float(trades.size[inside].sum()) / len(days)
    if not daily_volume > 0:
        raise ValidationError("daily_volume must be above 0: these books have no signed trades")
    level = {"price": price, "volatility": sigma, "volume": daily_volume}
    law = CarriedImpact("square-root", None, sigma, daily_volume, "the traded days")
    return [CarriedImpact(), CarriedImpact.borrowed(borrowed_from, **level), law]


def with_latency(
    known: Iterable[Known], states: BookSnapshots, session: Session, seconds: float,
    max_age: float | None = None,
) -> list[Known]:  # fmt: skip
    """The same days, traded on the books shown `seconds` after those of the decisions.

    Parameters
    ----------
    known : iterable of Known
    states : BookSnapshots
        Every state of the recording.
    session : Session
    seconds : float
        From the decision to the arrival of its order, see `sample_states`.
    max_age : float, optional
        As of `sample_states`.

    Examples
    --------
    >>> states = SyntheticMarket(session=Session(78)).books(156, 5, np.random.default_rng(0))
    >>> known = known_before(states.sample(Session(13)), Session(13), sides=["buy"])
    >>> late = with_latency(known, states, Session(13), 400.0)
    >>> int(late[0].books.time[0] - late[0].shown.time[0]) // 10**9
    400
    """
    late = sample_states(states, session, seconds, max_age)
    day = session.days(late.time - np.int64(round(1e9 * seconds)))  # of the decision
    found = []
    for one in known:
        decided = one.books if one.shown is None else one.shown
        own = np.flatnonzero(np.isin(day, decided.days(session)))
        if len(own) != len(decided):
            lacks = f"the states give {len(own)} books of the {len(decided)} decided on"
            raise ValidationError(f"{lacks}, from {decided.days(session)[0]} on; give every day")
        found.append(Known(late.take(own), one.priors, decided))
    return found


def _refuse_other_intervals(time: NDArray[np.int64], session: Session) -> None:
    """Refuse times (n,) of books that are not one an interval of a day, up to one delay."""
    late = time - session.starts(session.days(time[:1]))[0]
    alike = late[0] >= 0 and np.ptp(late) == 0
    if not alike and np.any(session.interval_of(time) != np.arange(len(time))):
        due = f"one an interval of a day of {len(time)}: sample them by this session"
        raise ValidationError(f"the books are not {due}")


def _refuse_jump(by_day: Sequence[BookSnapshots], dates: Sequence[Any]) -> None:
    """Refuse days between which the mid jumps like at a split."""
    mids = [day.mid[np.isfinite(day.mid)] for day in by_day]
    ends = np.array([mid[[0, -1]] if len(mid) else [np.nan, np.nan] for mid in mids])
    if jump := overnight_jump(dates, *ends.T):
        remedy = 'start after it, or carry the prior with on_jump="carry"'
        raise ValidationError(f"{jump}; rescale what is earlier by that ratio, {remedy}")


def traded_volume(books: BookSnapshots, session: Session) -> Float:
    """Shares traded in each interval of the sessions of some books, (D, n); 0 without trades.

    Auctions and hidden trades are left out where the other trades of these sessions are signed.

    Examples
    --------
    >>> market = SyntheticMarket(session=Session(13))
    >>> books = market.books(26, 5, np.random.default_rng(0), flow=market.flow)
    >>> volume = traded_volume(books, market.session)
    >>> volume.shape, bool(volume.sum() == books.trades.size.sum())
    ((2, 13), True)
    """
    days, n, trades = list(books.days(session)), session.n_intervals, books.trades
    if trades is None:
        return np.zeros((len(days), n))
    interval = session.interval_of(trades.time)
    day = pd.Index(days).get_indexer(session.days(trades.time))
    used = (interval >= 0) & (day >= 0)
    if (signed := trades.aggressor != 0)[used].any():
        used &= signed
    at = day[used] * n + interval[used]
    return np.bincount(at, trades.size[used], len(days) * n).reshape(-1, n).astype(float)


def _volume(
    books: BookSnapshots, days: Sequence[Ladder], profile: LiquidityProfile, session: Session
) -> tuple[Float, str]:
    """Expected volume of each interval, (n,) shares, and what it was measured by."""
    n, traded = session.n_intervals, traded_volume(books, session)
    if not traded.any():
        shown = np.concatenate([day.depth[np.isfinite(day.mid)] for day in days]).mean()
        return float(shown) * profile.depth, "no trades: depth for volume"
    mean = traded.sum(axis=0) / len(days)
    # A half-hour's mean: single minutes of few days are mostly noise.
    window = np.ones(max(1, n // 13))
    return np.convolve(mean, window, "same") / np.convolve(np.ones(n), window, "same"), TRADED


def _carried(books: BookSnapshots, session: Session) -> CarriedImpact:
    """Carried impact measured on these books; "none", with the reason, where it is unknown."""
    try:
        return CarriedImpact.measured(books, session)
    except (ModelFittingError, InsufficientDataError, ValidationError) as error:
        return CarriedImpact(source=str(error))

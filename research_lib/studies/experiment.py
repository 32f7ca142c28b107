"""What the strategy and the robustness notebook share: sessions, what is known before, orders."""

# ruff: noqa: I001  (several names a line)

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from research_lib.config import ModelConfig, Record
from research_lib.errors import ValidationError
from research_lib.evaluation import PARTS, Accounting, Adaptive, Execution, Forecast, Known
from research_lib.evaluation import Liquidity, Prior, compare
from research_lib.evaluation import known_before, known_elsewhere, scenarios
from research_lib.evaluation import standard_strategies, walk_forward, with_latency
from research_lib.evaluation.inference import DIFFERENCE
from research_lib.evaluation.priors import SIDES, Fit
from research_lib.evaluation.strategies import Strategy
from research_lib.impact import ImpactFit, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, QualityPolicy, Session, SyntheticMarket
from research_lib.market import assess, assess_parts, iter_books, preset
from research_lib.market.presets import price_grid
from research_lib.wording import interval, p_value

PART_ROWS = 1_000_000  # states at once: a day of one stock
DAYS_ELSEWHERE = 20  # sessions drawn of each other market
SIMPLE = ("TWAP", "TWAP from minute 30")  # benchmarks where no earlier session is known
Elsewhere = Mapping[str, BookSnapshots] | None  # books of other markets, by name


@dataclass(frozen=True, eq=False)
class Sessions(Record):
    """Whole sessions of one market.

    Attributes
    ----------
    books : BookSnapshots
        One an interval.
    states : BookSnapshots or None
        Every state of a recording; None of a synthetic market, whose books are all that there is.
    session : Session
    tick : float
        Currency per share.

    Examples
    --------
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> len(Sessions.drawn(market, 3, 5, rng).books)
    39
    """

    books: BookSnapshots
    states: BookSnapshots | None
    session: Session
    tick: float

    @classmethod
    def drawn(
        cls, market: SyntheticMarket, n_days: int, n_levels: int, rng: np.random.Generator,
        quality: QualityPolicy | None = None,
    ) -> Self:  # fmt: skip
        """Sessions of a synthetic market, with its trades."""
        books = market.books(n_days * market.session.n_intervals, n_levels, rng, flow=market.flow)
        books, _ = assess(books, market.session, quality or QualityPolicy())
        return cls(books.sample(market.session), None, market.session, market.tick)

    @classmethod
    def recorded(
        cls, path: str | Path, session: Session, quality: QualityPolicy | None = None,
        **options: Any,
    ) -> Self:  # fmt: skip
        """Sessions of a file or a pattern, read part by part; `options` are as of `read_books`."""
        parts = iter_books(path, PART_ROWS, session=session, **options)
        states, _ = assess_parts(parts, session, quality)
        # A widened book stands half a tick off the grid.
        widened = quality and quality.locked == "widen"
        tick = quality.locked_spread if quality and widened else price_grid(states)
        return cls(states.sample(session), states, session, tick)

    def known(
        self, fit: Fit, *, fit_days: int, refit_days: int = 1, elsewhere: Elsewhere = None
    ) -> list[Known]:  # fmt: skip
        """What is known before each session that is evaluated.

        Parameters
        ----------
        fit : callable of books and side
            Gives the curve, see `curve_fit`.
        fit_days : int
            Sessions that a prior is measured on, the last before each evaluated one; the first
            ones are not evaluated. 0: the priors are those of other markets.
        refit_days : int
            Evaluated sessions that a prior serves.
        elsewhere : mapping of name to BookSnapshots
            Of other markets, where fit_days is 0.
        """
        if not fit_days:
            return known_elsewhere(self.books, elsewhere or {}, self.session, fit=fit)
        how: dict[str, Any] = {"n_fitted": fit_days, "first": fit_days, "refit_every": refit_days}
        return known_before(self.books, self.session, fit=fit, **how)

    def before(self, fit_days: int, elsewhere: Elsewhere = None) -> BookSnapshots:
        """The books that the first prior's curve is fitted on."""
        n = fit_days * self.session.n_intervals
        return self.books.take(np.arange(n)) if n else next(iter((elsewhere or {}).values()))

    def late(
        self, decided: Iterable[Known], seconds: float, max_age: float | None = None
    ) -> list[Known]:
        """The same, traded `seconds` after the decision where every state is known."""
        if self.states is None:
            return list(decided)
        return with_latency(decided, self.states, self.session, seconds, max_age)

    def shuffled(self, fit: Fit, n_fitted: int, rng: np.random.Generator) -> list[Known]:
        """All sessions, each with a prior of `n_fitted` other ones, drawn from before and after it.

        Nobody could have traded with it: it says whether the order of sessions matters.
        """
        n, days = self.session.n_intervals, self.books.days(self.session)
        found = []
        for d in range(len(days)):
            others = np.delete(np.arange(len(days)), d)
            drawn = np.sort(rng.choice(others, min(n_fitted, len(others)), replace=False))
            books = self.books.take((drawn[:, None] * n + np.arange(n)).ravel())
            how = self.session, "others", fit
            prior = {side: Prior.from_books(books, side, *how) for side in SIDES}
            found.append(Known(self.books.take(np.arange(d * n, (d + 1) * n)), prior))
        return found

    def resampled(self, n_intervals: int) -> Self:
        """The same recording in sessions of another number of intervals."""
        if self.states is None:
            raise ValidationError("a synthetic market has no states between its intervals")
        session = replace(self.session, n_intervals=n_intervals)
        return replace(self, books=self.states.sample(session), session=session)


def fit_books(
    books: BookSnapshots, side: str, model_type: str, trade_sizes: Sequence[float],
    session: Session, config: ModelConfig,
) -> ImpactFit:  # fmt: skip
    """Earlier books of one side walked and fitted whole, without a test sample.

    Examples
    --------
    >>> books = preset("thin_stock", Session(13)).books(65, 5, np.random.default_rng(0))
    >>> how = ("linear", [200, 500, 1000], Session(13), ModelConfig())
    >>> len(fit_books(books, "buy", *how).raw_curve)
    13
    """
    how: dict[str, Any] = {"min_observations": config.min_observations, "test_fraction": 0.0}
    how |= {"tolerance": config.numerical_tolerance, "n_intervals": session.n_intervals}
    walked = slippage_curves(books, np.sort(trade_sizes), side, batch_size=config.batch_size)
    return fit_impact(walked, model_type, session=session, **how)


def curve_fit(*how: Any) -> Fit:
    """What turns earlier books of one side into g_t(x): `fit_books`, of which the curve.

    Its arguments are those of `fit_books` from model_type on.

    Examples
    --------
    >>> session, config = Session(13), ModelConfig()
    >>> books = preset("thin_stock", session).books(65, 5, np.random.default_rng(0))
    >>> len(curve_fit("linear", [200, 500, 1000], session, config)(books, "buy"))
    13
    """
    return lambda books, side: fit_books(books, side, *how).curve


def draw_elsewhere(
    names: Iterable[str], session: Session, n_levels: int, rng: np.random.Generator
) -> dict[str, BookSnapshots]:
    """Twenty sessions of each of the presets named, by their names.

    Examples
    --------
    >>> found = draw_elsewhere(["deep_stock"], Session(13), 5, np.random.default_rng(0))
    >>> {name: len(books) for name, books in found.items()}
    {'deep_stock': 260}
    """
    found, n = {}, DAYS_ELSEWHERE * session.n_intervals
    for name in names:
        market = preset(name, session)
        found[name] = market.books(n, n_levels, rng, flow=market.flow)
    return found


def accountings(
    decided: Known, session: Session, side: str, *, urgency: float = 1.0,
    fee_per_share: float = 0.0, **own: Any,
) -> list[Accounting]:  # fmt: skip
    """One a scenario of the carried impact; the headline is the first that has a kernel.

    Parameters
    ----------
    decided : Known
        The first evaluated sessions, without latency.
    side : str
        Whose prior gives the risk aversion; 0 where it is another market's, in whose units it
        would be.
    own
        borrowed_from and daily_volume, of `evaluation.scenarios`.

    Examples
    --------
    >>> market, rng = preset("thin_stock", Session(39)), np.random.default_rng(0)
    >>> sessions = Sessions.drawn(market, 21, 5, rng)
    >>> fit = curve_fit("linear", [200, 500, 1000], market.session, ModelConfig())
    >>> (known,) = sessions.known(fit, fit_days=20)
    >>> [one.carried.scenario for one in accountings(known, market.session, "buy")]
    ['none', 'measured', 'square-root']
    """
    prior = decided.priors[side]
    aversion = prior.risk_aversion(urgency) if prior.earlier else 0.0
    terms = {"fee_per_share": fee_per_share, "risk_aversion": aversion}
    return [Accounting(carried=case, **terms) for case in scenarios(decided, session, **own)]


@dataclass(frozen=True, eq=False)
class Experiment(Record):
    """An order on sessions that nothing was fitted on, by every strategy, and what it costs.

    Attributes
    ----------
    sessions : Sessions
    known : list of Known
        What is known before each evaluated session, with the latency.
    accountings : sequence of Accounting
        One a scenario.
    total_shares : float
    cap : float
        Of a child order, as a part of the order.
    objective, urgency
        Of `standard_strategies`.
    forecast : Forecast, optional
        Of spread and depth, for the adaptive strategy; by default its day shapes.

    Examples
    --------
    >>> market, rng = preset("thin_stock", Session(39)), np.random.default_rng(0)
    >>> sessions = Sessions.drawn(market, 23, 5, rng)
    >>> fit = curve_fit("linear", [200, 500, 1000], market.session, ModelConfig())
    >>> known = sessions.known(fit, fit_days=20)
    >>> costs = accountings(known[0], market.session, "buy")
    >>> one = Experiment(sessions, known, costs, 2_000.0, 0.2)
    >>> orders = one.orders()
    >>> one.benchmark(orders), bool(one.compare(orders).loc["adaptive", "difference_bps"] < 0)
    ('best benchmark', True)
    >>> one.difference("best benchmark", refill=0.5).index.to_list()
    ['difference_bps', 'lower_bps', 'upper_bps']
    """

    sessions: Sessions
    known: list[Known]
    accountings: Sequence[Accounting]
    total_shares: float
    cap: float
    objective: str = "cost"
    urgency: float = 1.0
    forecast: Forecast | None = None

    @property
    def headline(self) -> Accounting:
        """The first accounting with a kernel, else the lower bound."""
        kernels = (one for one in self.accountings if one.carried.kernel is not None)
        return next(kernels, self.accountings[0])

    def strategies(self, prior: Prior) -> list[Strategy]:
        """`standard_strategies` of a prior."""
        how: dict[str, Any] = {"objective": self.objective, "urgency": self.urgency}
        made = standard_strategies(prior, tick=self.sessions.tick, **how)
        if self.forecast is None:
            return made
        shapes = Liquidity.fit(prior.days, self.forecast, self.sessions.tick)
        return [replace(one, shapes=shapes) if isinstance(one, Adaptive) else one for one in made]

    def orders(
        self, size: float | None = None, *, names: Sequence[str] = (), cap: float | None = None,
        known: Iterable[Known] | None = None, refill: float = 1.0,
    ) -> list[Execution]:  # fmt: skip
        """Buy and sell orders of every session by the strategies named, by default by all.

        Parameters
        ----------
        size, cap, known : optional
            In place of total_shares, cap and known.
        refill : float
            As in `replay`.
        """
        shares = self.total_shares if size is None else size

        def chosen(found: list[Any]) -> list[Any]:
            return [one for one in found if one.name in names] if names else found

        how: dict[str, Any] = {"refill": refill, "sizes": [shares]}
        how["max_shares"] = (self.cap if cap is None else cap) * shares
        how["make"] = lambda prior: chosen(self.strategies(prior))
        given = self.known if known is None else known
        return chosen(walk_forward(given, self.sessions.session, **how))

    def compare(
        self, orders: Iterable[Execution], how: Accounting | None = None,
        benchmark: str | None = None, states: BookSnapshots | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """`evaluation.compare`, by default by the headline and the sessions' own states."""
        seen = self.sessions.states if states is None else states
        return compare(orders, how or self.headline, benchmark=benchmark, states=seen)

    def benchmark(self, orders: Sequence[Execution]) -> str:
        """The best benchmark known before.

        Without earlier sessions the cheaper of two simple ones as it turned out.
        """
        if next(iter(self.known[0].priors.values())).earlier:
            return "best benchmark"
        simple = [one for one in orders if one.name in SIMPLE]
        return str(self.compare(simple, benchmark=SIMPLE[0])["total_bps"].idxmin())

    def difference(
        self, benchmark: str, *, orders: Iterable[Execution] | None = None,
        how: Accounting | None = None, states: BookSnapshots | None = None, **changed: Any,
    ) -> pd.Series:  # fmt: skip
        """Cost of the adaptive strategy less the benchmark's, with its interval, bps.

        Of `orders` given, or of those that are worked anew with something `changed`.
        """
        names = (benchmark, "adaptive")
        done = self.orders(names=names, **changed) if orders is None else orders
        chosen = [one for one in done if one.name in names]
        return self.compare(chosen, how, benchmark, states).loc["adaptive", DIFFERENCE]


def kernel_table(accountings: Iterable[Accounting]) -> pd.DataFrame:
    """Where each scenario's carried impact comes from.

    Returns
    -------
    DataFrame
        Index scenario; source; lower and upper (95 % interval of the kernel) and after 1 h (what a
        share displaces then), currency per share; NaN where there is no kernel.

    Examples
    --------
    >>> kernel_table([Accounting()])["after 1 h"].to_dict()
    {'none': nan}
    """
    rows, columns = {}, ["source", "lower", "upper", "after 1 h"]
    for case in (one.carried for one in accountings):
        later = float(case.kernel(3600.0)) if case.kernel is not None else np.nan
        rows[case.scenario] = (case.source, *case.interval, later)
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("scenario")


def cost_table(table: pd.DataFrame) -> pd.DataFrame:
    """The main table of a report, of `evaluation.compare` and an optional column p_holm.

    Returns
    -------
    DataFrame
        Index strategy; the parts, the total and the difference to the benchmark (bps), where there
        are intervals that of the difference and its p-value (of the adaptive strategy unadjusted,
        as the one primary comparison; of others by Holm's method; none where a strategy is the
        benchmark in every session), the timing risk, and the share of orders that the books filled
        alone.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, run
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> cost_table(compare([run(Twap(), books, 500, "buy")])).columns[-2:].to_list()
    ['timing risk_bps', 'completed_%']
    """
    differs = table["lower_bps"] < table["upper_bps"]
    tested = [name for name in ("lower_bps", "upper_bps", "p_value", "p_holm") if name in table]
    known = table.assign(**{name: table[name].where(differs) for name in tested})
    shown = with_intervals(known, [*PARTS, "total_bps", "difference_bps"])
    if differs.any():
        adjusted = known.get("p_holm", known["p_value"]).fillna(known["p_value"])
        shown["p"] = ["" if np.isnan(one) else p_value(one) for one in adjusted]
    shown["timing risk_bps"] = table["timing_risk_bps"]
    shown["completed_%"] = 100.0 * table["completed"]
    return shown


def with_intervals(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """These columns and, where there are lower_bps and upper_bps, a column of 95 % intervals.

    Examples
    --------
    >>> ends = {"difference_bps": [-2.0], "lower_bps": [-3.0], "upper_bps": [-1.0]}
    >>> with_intervals(pd.DataFrame(ends), ["difference_bps"])
       difference_bps   95 % interval
    0            -2.0  -3.00 to -1.00
    """
    shown, ends = table[list(columns)].copy(), table[["lower_bps", "upper_bps"]]
    if ends.notna().any(axis=None):
        shown["95 % interval"] = [interval(*limits) for limits in ends.to_numpy()]
    return shown

"""Forecasts judged: errors on sessions not fitted on, controls, and what they take off the cost."""

# ruff: noqa: I001  (several names a line)

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.evaluation import FORECASTS, Adaptive, Boosting, Execution, Forecast, Ladder
from research_lib.evaluation import Liquidity, MeanInterval, Prior, Regression, SessionProfile
from research_lib.evaluation import holm, mean_interval, order_costs, walk_forward
from research_lib.evaluation.executions import Filled, fill_schedule
from research_lib.evaluation.forecast import book_features, one_earlier
from research_lib.evaluation.priors import SIDES, Fit, traded_volume
from research_lib.evaluation.strategies import Order, Strategy
from research_lib.market.sessions import Int64
from research_lib.studies.experiment import Experiment, Sessions
from research_lib.wording import significant

QUANTILES = (0.1, 0.9)  # that are scored
BOOK_QUANTITIES = ("spread", "depth")  # seen at the start of an interval; others at its end
STEPS = 12  # of an interval, for its volatility
IN_USE = "weighted shapes"  # forecast of liquidity of the adaptive strategy
MID_IN_USE = "two signals (in use)"  # its forecast of the mid
MIN_RMSE = 0.01  # root mean squared error of log y below which nothing is compared
MIN_CHOICE = 5  # sessions that forecasts are fitted on, and priced on, before one is chosen


class Yesterday(SessionProfile):
    """Control: the last session again; its unknown intervals are those of the mean session."""

    name = "yesterday"

    def updated(self, history: Float, features: Float | None = None) -> Self:
        """Of the last session of the history."""
        known = None if features is None else features[-1]
        missed = np.nan_to_num(self.errors_of(history[-1], known))
        return replace(self, profile=self.profile + missed)

    def fit(self, history: Float, features: Float | None = None) -> Self:
        """Of the last session of the history."""
        return super().fit(history, features).updated(history, features)


@dataclass(frozen=True, eq=False)
class Stale(Regression):
    """Control: the regression, knowing nothing of the last `lag` intervals."""

    lag: int = 60
    name = "one hour stale"

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        known = np.vstack([np.zeros((1, features.shape[1])), features[1:]])  # the opening neither
        return super()._later(residual, known, np.maximum(t - self.lag, 0), s)


@dataclass(frozen=True, eq=False)
class Shuffled(Regression):
    """Control: the regression, shown another session, the middle one of those fitted on."""

    other: Any = None
    name = "shuffled sessions"

    def fit(self, history: Float, features: Float | None = None) -> Self:
        """With the other session kept."""
        at = len(history) // 2
        other = history[at], None if features is None else features[at]
        return replace(super().fit(history, features), other=other)

    def ahead(self, today: Float, features: Float | None = None) -> Float:
        """As if the other session were today."""
        return super().ahead(*self.other)

    def paths(self, today: Float, features: Float | None = None) -> Float:
        """As if the other session were today."""
        return super().paths(*self.other)


class Constant(SessionProfile):
    """Control: the mean of all earlier intervals, whatever the time of day."""

    name = "constant"

    def fit(self, history: Float, features: Float | None = None) -> Self:
        """Of all intervals."""
        fitted = super().fit(history, features)
        return replace(fitted, profile=np.full_like(fitted.profile, fitted.profile.mean()))


class Oracle(SessionProfile):
    """Control: what comes, known beforehand."""

    name = "oracle"

    def _later(self, residual: Float, features: Float, t: Int64, s: Int64) -> Float:
        return np.nan_to_num(residual)[s]


def controls(minutes: float) -> list[Forecast]:
    """No time of day, yesterday, another session, nothing of the last hour, and everything.

    Examples
    --------
    >>> [one.name for one in controls(1.0)]
    ['constant', 'yesterday', 'shuffled sessions', 'one hour stale', 'oracle']
    """
    return [Constant(), Yesterday(), Shuffled(), Stale(lag=round(60.0 / minutes)), Oracle()]


def rolling(n: int, first: int, refit: int, window: int) -> Iterator[tuple[slice, list[int]]]:
    """The last `window` sessions before each refit, and those forecast until the next one.

    Examples
    --------
    >>> list(rolling(5, 2, 2, 10))
    [(slice(0, 2, None), [2, 3]), (slice(0, 4, None), [4])]
    """
    for at in range(first, n, refit):
        yield slice(max(at - window, 0), at), list(range(at, min(at + refit, n)))


@dataclass(frozen=True, eq=False)
class Panel(Record):
    """What is forecast, by session.

    Attributes
    ----------
    start : (D,) int64 ns UTC
        Of the sessions.
    quantities : mapping of name to (D, n)
        "spread" (half, currency a share) and "depth" (shares on both sides) of the books; "volume"
        (shares; where there are trades) and "volatility" (of the relative moves of the mid) of the
        intervals. NaN is unknown.
    features : (D, n, k)
        Of the book at the start of each interval, see `book_features`.
    tick, price : float
        Currency a share; the price is the first mid.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> panel = Panel.of(Sessions.drawn(market, 3, 5, rng))
    >>> {name: one.shape for name, one in panel.quantities.items()}["volume"], panel.features.shape
    ((3, 13), (3, 13, 10))
    """

    start: Any
    quantities: Mapping[str, Float]
    features: Float
    tick: float
    price: float

    @classmethod
    def of(cls, sessions: Sessions) -> Self:
        """Measured on whole sessions."""
        books, session = sessions.books, sessions.session
        days = Ladder.of(books, "buy").by_day(n := session.n_intervals)
        spread = np.where(np.isfinite(books.mid), books.half_spread, np.nan).reshape(-1, n)
        depth = (books.bid_size + books.ask_size).sum(axis=1).reshape(-1, n)
        values = {"spread": spread, "depth": np.where(depth > 0, depth, np.nan)}
        if books.trades is not None and len(books.trades):
            values["volume"] = traded_volume(books, session)
        values["volatility"] = _volatility(sessions)
        features = np.array([book_features(day) for day in days])
        price = float(books.mid[np.isfinite(books.mid)][0])
        return cls(books.time[::n], values, features, sessions.tick, price)

    def inputs(self, name: str) -> tuple[Float, Float, float]:
        """Values (D, n), the features known before each, and the floor, of one quantity.

        No half-spread is below half a tick, nor a volatility below half a tick's move.
        """
        floor = {"spread": 0.5 * self.tick, "volatility": 0.5 * self.tick / self.price}.get(name, 0)
        if name not in BOOK_QUANTITIES:
            return self.quantities[name], self.features, floor
        earlier = np.array([one_earlier(day) for day in self.features])
        return self.quantities[name], earlier, floor


def _volatility(sessions: Sessions) -> Float:
    """Root of the sum of squared relative moves of the mid in each interval, (D, n).

    Over twelve parts where every state is known, else over the whole interval.
    """
    n, books = sessions.session.n_intervals, sessions.books
    step = int(np.diff(books.time[:n]).min())
    states, parts = sessions.states or books, STEPS
    if np.median(np.diff(states.time)) > step / STEPS:
        states, parts = books, 1
    known = np.isfinite(states.mid)
    time, mid = states.time[known], states.mid[known]
    grid = books.time[:, None] + np.arange(parts + 1) * (step // parts)
    at = np.searchsorted(time, grid, "right") - 1
    moves = np.diff(np.log(np.where(at >= 0, mid[at], np.nan)), axis=1)
    found = np.sqrt((moves**2).sum(axis=1)).reshape(-1, n)
    if parts == 1:  # no book shows the end of the last interval
        found[:, -1] = np.nan
    return found


def forecast_errors(
    panel: Panel, first: int, kinds: Sequence[Forecast], refit: int = 1, window: int = 60
) -> pd.DataFrame:
    """Errors one interval ahead of each forecast in each session from `first` on.

    Parameters
    ----------
    panel : Panel
    first : int
        Sessions that are only fitted on.
    kinds : sequence of Forecast
    refit : int
        Sessions after which it is fitted anew.
    window : int
        Largest number of sessions fitted on, the last ones before.

    Returns
    -------
    DataFrame
        One row a quantity, forecast and session: mape (of y), square (mean squared error of log y),
        pinball (mean over the two quantiles, of log y), inside (share of intervals between them).

    Examples
    --------
    >>> from research_lib.evaluation import FORECASTS
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> panel = Panel.of(Sessions.drawn(market, 8, 5, rng))
    >>> forecast_errors(panel, 6, FORECASTS[:2]).groupby("forecast")["inside"].count().to_dict()
    {'profile': 8, 'scaled profile': 8}
    """
    rows, blocks = [], [*rolling(len(panel.start), first, refit, window)]
    due = [(name, *block) for name in panel.quantities for block in blocks]
    for name, past, days in tqdm(due, "fits of forecasts", leave=False):
        values, features, floor = panel.inputs(name)
        for kind in (replace(one, floor=floor) for one in kinds):
            fitted, bounds = _bounded(kind, values[past], features[past])
            for d in (d for d in days if np.isfinite(values[d]).any()):  # not one of a halt
                seen = slice(max(d - window, 0), d)
                given, known = values[d], (values[seen], features[seen])
                error = fitted.updated(*known).errors_of(given, features[d])
                ends = [
                    one.updated(*known).quantiles(given, [level], features[d])[0]
                    for level, one in bounds
                ]
                miss = np.log(np.maximum(given, fitted.floor) / ends) if ends else None
                row = {"quantity": name, "forecast": kind.name, "session": d}
                rows.append(row | _scores(error, miss))
    return pd.DataFrame(rows)


def _bounded(
    kind: Forecast, values: Float, features: Float
) -> tuple[Forecast, list[tuple[float, Forecast]]]:
    """A fitted forecast, and what gives the two quantiles: itself, trees of each level, nothing."""
    if type(kind) not in map(type, FORECASTS):  # a control
        return kind.fit(values, features), []
    if isinstance(kind, Boosting):
        of = [replace(kind, level=level).calibrated(values, features) for level in QUANTILES]
        return kind.fit(values, features), list(zip(QUANTILES, of, strict=True))
    fitted = kind.calibrated(values, features)
    return fitted, [(level, fitted) for level in QUANTILES]


def _scores(error: Float, miss: Float | None) -> dict[str, Any]:
    """Means over the known intervals of errors (n,) and of log values less quantiles (2, n)."""
    known = np.isfinite(error)
    row: dict[str, Any] = {
        "mape": np.mean(np.abs(np.expm1(-error[known]))),
        "square": np.mean(error[known] ** 2),
    }
    row["pinball"] = row["inside"] = np.nan
    if miss is not None and np.isfinite(miss[:, known]).all():  # else no errors are known
        miss, level = miss[:, known], np.array(QUANTILES)[:, None]
        row["pinball"] = np.mean(np.maximum(level * miss, (level - 1.0) * miss))
        row["inside"] = np.mean((miss[0] >= 0) & (miss[1] <= 0))
    return row


def error_table(errors: pd.DataFrame, benchmark: str = "profile") -> pd.DataFrame:
    """Means over sessions, and the paired difference of the squared log error to the benchmark.

    Returns
    -------
    DataFrame
        Index (quantity, forecast): mape_%, log_rmse, difference_%, lower_%, upper_% (of the mean
        squared log error, relative to the benchmark's; limits from 20 sessions on; NaN where the
        benchmark errs by less than 1 %), p_holm within the quantity, kept (whether it is in the
        90 % model confidence set of the models; NaN below 20 sessions and for controls),
        pinball, inside_%.

    Examples
    --------
    >>> rows = [("volume", name, d, 0.3, e, 0.1, 0.8) for d in range(2)
    ...         for name, e in (("profile", 0.2), ("regression", 0.1))]
    >>> names = ["quantity", "forecast", "session", "mape", "square", "pinball", "inside"]
    >>> error_table(pd.DataFrame(rows, columns=names))["difference_%"].round(9).tolist()
    [0.0, -50.0]
    """
    tables, models = [], [one.name for one in FORECASTS]
    for name, own in errors.groupby("quantity", sort=False):
        names = own["forecast"].unique()
        losses = own.pivot_table("square", "session", "forecast", sort=False)[names]
        means = own.groupby("forecast", sort=False)[["mape", "square", "pinball", "inside"]].mean()
        base = losses[benchmark]
        # A quantity that hardly moves, as a spread of one tick, has no errors to compare.
        varies = base.mean() > MIN_RMSE**2
        gaps = {one: (losses[one] - base) if varies else np.nan * base for one in names}
        found = {one: ratio_interval(gap, base) for one, gap in gaps.items()}
        apart = [one for one in names if one not in models]
        table = _with_tests(found, "%", benchmark, losses if varies else losses[:0], apart)
        table.insert(0, "mape_%", 100.0 * means["mape"])
        table.insert(1, "log_rmse", np.sqrt(means["square"]))
        table[["pinball", "inside_%"]] = means[["pinball", "inside"]] * [1.0, 100.0]
        tables.append(pd.concat({name: table}, names=["quantity"]))
    return pd.concat(tables)


def _with_tests(
    found: Mapping[str, MeanInterval], unit: str, benchmark: str, losses: pd.DataFrame,
    apart: Sequence[str],
) -> pd.DataFrame:  # fmt: skip
    """Differences to a benchmark with limits, Holm's p-values and the model confidence set.

    Of the last two the controls `apart` are no part.
    """
    columns = [f"difference_{unit}", f"lower_{unit}", f"upper_{unit}", "p_holm"]
    ends = [(one.mean, one.lower, one.upper, one.p_value) for one in found.values()]
    table = pd.DataFrame(ends, pd.Index(found, name="forecast"), columns)
    table.loc[benchmark, columns[1:]] = np.nan
    tested = table["p_holm"].drop([benchmark, *apart])
    table["p_holm"] = holm(tested).reindex(table.index)
    table["kept"] = confidence_set(losses.drop(columns=list(apart)))
    return table


def ratio_interval(top: ArrayLike, bottom: ArrayLike) -> MeanInterval:
    r"""The ratio of two means over sessions, per cent, with the interval of `mean_interval`.

    .. math:: r = \bar a / \bar b, \qquad r_d = r + (a_d - r b_d) / \bar b

    whose mean is r and whose variation is that of the ratio to first order.

    Examples
    --------
    >>> found = ratio_interval(2.0 * np.arange(1.0, 25.0), np.arange(1.0, 25.0))
    >>> found.mean, found.lower, found.upper
    (200.0, 200.0, 200.0)
    """
    above, below = np.asarray(top, float), np.asarray(bottom, float)
    if np.isnan(above).any() or not below.any():
        return MeanInterval(np.nan, np.nan, np.nan, np.nan, len(above))
    ratio = above.mean() / below.mean()
    return mean_interval(100.0 * (ratio + (above - ratio * below) / below.mean()))


def confidence_set(losses: pd.DataFrame, size: float = 0.1) -> pd.Series:
    """Which columns of losses (sessions, models) are in the model confidence set; 1, 0 or NaN.

    Hansen, Lunde and Nason (2011), Econometrica 79(2), with blocks of the cube root of the number
    of sessions; NaN below 20 sessions.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> losses = pd.DataFrame(rng.normal(size=(60, 2)) + [0.0, 3.0], columns=["good", "bad"])
    >>> confidence_set(losses).to_dict()
    {'good': 1.0, 'bad': 0.0}
    """
    if len(losses) < 20:
        return pd.Series(np.nan, losses.columns)
    from arch.bootstrap import MCS

    distinct = losses.round(9).T.drop_duplicates().T  # equals cannot be told from each other
    kept = set(distinct.columns)
    if len(kept) > 1:
        length = max(round(len(losses) ** (1.0 / 3.0)), 1)
        found = MCS(distinct, size, reps=999, block_size=length, method="R", seed=0)
        found.compute()
        kept = set(found.included)
    same = {one: any(np.allclose(losses[one], losses[good]) for good in kept) for one in losses}
    return pd.Series(same).astype(float)


@dataclass(frozen=True, eq=False)
class GivenFractions(Strategy):
    """Fractions of the order fixed for each interval of each session, as by forecasts of volume.

    Attributes
    ----------
    by_start : mapping of a session's first time (int64 ns) to (n,)
        Fractions that sum to 1.

    Examples
    --------
    >>> from research_lib.evaluation import run
    >>> from research_lib.market import Session, preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> early = GivenFractions("early", {int(books.time[0]): np.eye(13)[0]})
    >>> run(early, books, 10.0, "buy").shares[:2].tolist()
    [10.0, 0.0]
    """

    name: str
    by_start: Mapping[int, Float]
    fitted_on: str = "earlier sessions and today's volume so far"

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        """What is due by now."""
        due = self.by_start[int(seen.time[0])][: t + 1].sum()
        return float(order.total_shares * due) - (order.total_shares - remaining)

    def fill(self, order: Order, books: Ladder, seen: Ladder, refill: float) -> Filled:
        """The steps of `Strategy.fill`, compiled."""
        shares = order.total_shares * self.by_start[int(seen.time[0])]
        return fill_schedule(shares, order.caps, books, refill)


def vwap_fractions(paths: Float) -> Float:
    r"""Fractions of the order by forecasts of log volume that are renewed in each interval, (n,).

    .. math:: x_t = X_t \frac{e^{F_{tt}}}{\sum_{s \ge t} e^{F_{ts}}}

    with X_t the fraction left (Bialkowski, Darolles and Le Fol, 2008, Journal of Banking and
    Finance 32(9)).

    Examples
    --------
    >>> paths = np.log([[1.0, 1.0, 2.0], [np.nan, 1.0, 1.0], [np.nan, np.nan, 9.0]])
    >>> vwap_fractions(paths).tolist()
    [0.25, 0.375, 0.375]
    """
    left, found = 1.0, np.zeros(len(paths))
    for t, row in enumerate(paths):
        ahead = np.exp(row[t:] - row[t:].max())
        found[t] = left * ahead[0] / ahead.sum()
        left -= found[t]
    return found


def vwap_strategies(
    panel: Panel, first: int, kinds: Sequence[Forecast], refit: int = 1, window: int = 60
) -> list[GivenFractions]:
    """VWAP by each forecast of volume, of which that by the profile is fixed before the session.

    Arguments are as of `forecast_errors`.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> panel = Panel.of(Sessions.drawn(market, 4, 5, rng))
    >>> (vwap,) = vwap_strategies(panel, 2, [SessionProfile()])
    >>> vwap.name, len(vwap.by_start)
    ('VWAP, profile', 2)
    """
    values, features, _ = panel.inputs("volume")
    found = []
    for kind in tqdm(kinds, "forecasts of volume", leave=False):
        given = {}
        for past, days in rolling(len(values), first, refit, window):
            fitted = kind.fit(values[past], features[past])
            for d in days:
                seen = slice(max(d - window, 0), d)
                today = fitted.updated(values[seen], features[seen])
                given[int(panel.start[d])] = vwap_fractions(today.paths(values[d], features[d]))
        found.append(GivenFractions(f"VWAP, {kind.name}", given))
    return found


@dataclass(frozen=True, eq=False)
class GivenLiquidity(Record):
    """Forecasts of spread and depth by side and session, in the place of one for all.

    Attributes
    ----------
    models : mapping of (side, a session's first time in int64 ns) to Liquidity
    """

    models: Mapping[tuple[str, int], Liquidity]

    def paths(self, seen: Ladder, n_intervals: int) -> tuple[Float, Float]:
        """As of the session's own `Liquidity`."""
        return self.models[seen.side, int(seen.time[0])].paths(seen, n_intervals)


def given_liquidity(
    sessions: Sessions, kind: Forecast, first: int, refit: int, window: int
) -> GivenLiquidity:
    """Fitted on at most `window` earlier sessions every `refit` sessions, and updated in between.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> sessions = Sessions.drawn(market, 4, 5, rng)
    >>> len(given_liquidity(sessions, SessionProfile(), 2, 1, 10).models)  # two of either side
    4
    """
    models, n = {}, sessions.session.n_intervals
    for side in SIDES:
        days = Ladder.of(sessions.books, side).by_day(n)
        for past, block in rolling(len(days), first, refit, window):
            fitted = Liquidity.fit(days[past], kind, sessions.tick)
            for d in block:
                today = fitted.updated(days[max(d - window, 0) : d])
                models[side, int(days[d].time[0])] = today
    return GivenLiquidity(models)


def adaptive_orders(
    experiment: Experiment, shapes: Mapping[str, Any], mids: Mapping[str, Any] | None = None,
    others: Sequence[Strategy] = (),
) -> list[Execution]:  # fmt: skip
    """Every order by the adaptive strategy under each forecast of liquidity, and of the mid.

    Parameters
    ----------
    experiment : Experiment
    shapes : mapping of name to what `Adaptive.shapes` may be
        Beside "weighted shapes", the ones in use; without a forecast of the mid, which would hide
        what they do.
    mids : mapping of name to what `Adaptive.mid_forecast` may be, optional
        With weighted shapes; called "mid: name". That in use is among them.
    others : sequence of Strategy
        On the same orders.
    """

    def make(prior: Prior) -> list[Strategy]:
        (base,) = (one for one in experiment.strategies(prior) if isinstance(one, Adaptive))
        bare = replace(base, name=IN_USE, mid_forecast=None)
        by_shape = [replace(bare, name=name, shapes=one) for name, one in shapes.items()]
        by_mid = [
            replace(bare, name=f"mid: {name}", mid_forecast=one)
            for name, one in {MID_IN_USE: base.mid_forecast, **(mids or {})}.items()
        ]
        return [bare, *by_shape, *by_mid, *others]

    size = experiment.total_shares
    how: dict[str, Any] = {"sizes": [size], "max_shares": experiment.cap * size, "make": make}
    done = walk_forward(experiment.known, experiment.sessions.session, **how)
    return [one for one in done if not one.name.startswith("perfect foresight")]


def session_costs(
    experiment: Experiment, orders: Sequence[Execution]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Expected cost of each strategy in each session, both sides averaged, bps, (D, strategies).

    In all, and without selection: what is paid for liquidity, and what the order itself moves.
    """
    rows = order_costs(orders, experiment.headline, experiment.sessions.states)
    names = list(dict.fromkeys(rows["strategy"]))
    rows["paid_bps"] = rows["total_bps"] - rows["selection_bps"]
    total, paid = (
        rows.pivot_table(one, "start", "strategy")[names] for one in ("total_bps", "paid_bps")
    )
    return total, paid


def forecast_costs(costs: pd.DataFrame, benchmark: str, apart: Sequence[str] = ()) -> pd.DataFrame:
    """What forecasts cost beside a benchmark: one row a column of `session_costs`.

    Returns
    -------
    DataFrame
        total_bps, difference_bps, lower_bps, upper_bps (95 %, from 20 sessions on), p_holm over the
        rows, kept (whether it is in the 90 % model confidence set, of which `apart` are no part).

    Examples
    --------
    >>> costs = pd.DataFrame({"profile": [1.0, 2.0], "oracle": [0.5, 1.5]})
    >>> forecast_costs(costs, "profile")["difference_bps"].to_dict()
    {'profile': 0.0, 'oracle': -0.5}
    """
    found = {one: mean_interval(costs[one] - costs[benchmark]) for one in costs}
    table = _with_tests(found, "bps", benchmark, costs, apart)
    table.insert(0, "total_bps", costs.mean())
    return table


def nested_choice(costs: pd.DataFrame, default: str) -> pd.Series:
    """What earlier sessions would have chosen before each session: a column of (D, k) costs.

    The cheapest of those whose 95 % interval of the difference to the default lies below 0, else
    the default. So nothing is chosen before 20 sessions are known.

    Examples
    --------
    >>> costs = pd.DataFrame({"profile": np.ones(30), "better": 0.5 + 0.01 * np.arange(30) % 0.02})
    >>> nested_choice(costs, "profile").value_counts().to_dict()
    {'profile': 20, 'better': 10}
    """
    chosen = []
    for d in range(len(costs)):
        past = costs.iloc[:d]
        below = [one for one in costs if d and mean_interval(past[one] - past[default]).upper < 0.0]
        chosen.append(past[below].mean().idxmin() if below else default)
    return pd.Series(chosen, costs.index)


def choose_forecast(
    experiment: Experiment, curve: Fit, fit_days: int, latency: float = 0.0
) -> tuple[Experiment, str]:
    """The experiment with the forecast of liquidity that earlier sessions choose, and why.

    Of the sessions before the first evaluated one the first half is fitted on, and the adaptive
    strategy priced on the second. The cheapest forecast is chosen of those whose cost is lower than
    that of the one in use beyond its 95 % interval by Student's t; the one in use if there is none.

    Parameters
    ----------
    experiment : Experiment
        Whose order, cap and accounting are used; its sessions begin with the `fit_days`.
    curve : callable of books and side
        As of `Sessions.known`.
    fit_days : int
    latency : float
        Seconds.

    Examples
    --------
    >>> from research_lib.config import ModelConfig
    >>> from research_lib.market import Session, preset
    >>> from research_lib.studies import accountings, curve_fit
    >>> market, rng = preset("thin_stock", Session(13)), np.random.default_rng(0)
    >>> sessions = Sessions.drawn(market, 9, 5, rng)
    >>> curve = curve_fit("linear", [200, 500], market.session, ModelConfig())
    >>> known = sessions.known(curve, fit_days=8)
    >>> costs = accountings(known[0], market.session, "buy")
    >>> choose_forecast(Experiment(sessions, known, costs, 2_000.0, 0.2), curve, 8)[1]
    'weighted shapes, as 8 earlier sessions are too few to choose by'
    """
    from scipy.stats import ttest_1samp

    half = fit_days // 2
    if half < MIN_CHOICE:
        return experiment, f"{IN_USE}, as {fit_days} earlier sessions are too few to choose by"
    early = replace(experiment.sessions, books=experiment.sessions.before(fit_days))
    known = early.late(early.known(curve, fit_days=half, refit_days=fit_days), latency)
    tried = replace(experiment, sessions=early, known=known)
    shapes = {one.name: given_liquidity(early, one, half, fit_days, half) for one in FORECASTS}
    costs, _ = session_costs(tried, adaptive_orders(tried, shapes))
    gains = costs[list(shapes)].rsub(costs[IN_USE], axis=0)
    # A forecast that decides as the one in use has gains of 0 and no interval.
    below = np.nan_to_num(ttest_1samp(gains, 0.0).confidence_interval().low) > 0.0
    what = f"of {len(gains)} earlier sessions, after a fit to {half}"
    if not below.any():
        none = "as no other one is cheaper beyond its interval on the last"
        return experiment, f"{IN_USE}, {none} {what}"
    name = gains.mean()[below].idxmax()
    (chosen,) = (one for one in FORECASTS if one.name == name)
    said = f"{name}, {significant(gains[name].mean())} bps cheaper on the last {what}"
    return replace(experiment, forecast=chosen), said

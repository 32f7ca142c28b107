"""Does posting child orders before they cross cost less than crossing at once?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

import numpy as np
import pandas as pd

from research_lib.checks import Float, Int64, Mask
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation import (
    PARTS,
    Accounting,
    CarriedImpact,
    Execution,
    compare,
    mids_after,
    paired_costs,
)
from research_lib.evaluation.costs import HORIZON_SECONDS
from research_lib.evaluation.inference import DIFFERENCE
from research_lib.evaluation.passive import post_then_cross
from research_lib.evaluation.priors import SIDES
from research_lib.evaluation.resting import (
    KINDS,
    MAX_APART_SECONDS,
    Posting,
    Recording,
    rest_orders,
)
from research_lib.market import BookSnapshots, Messages, Session
from research_lib.market.book import side_sign
from research_lib.market.presets import price_grid
from research_lib.studies.experiment import Sessions

NS = 10**9
AROUND = 300 * NS  # states kept before a session, for its first decision, and after it, for mids
FEATURES = ["spread", "ahead", "imbalance"]
BOUNDS = ("last", "first")  # of the queue: the fewest and the most fills
TAKE, POST, RULE = "taking", "post, then cross", "passive, then cross"
SHIFTS = (0.0, 0.25, 0.5, 0.75)  # of an interval
IMPACTS = (0.0, 1.0)  # of resting shares, relative to taken ones
PENALTIES = tuple(10.0 ** np.arange(-1, 5))  # one is chosen by leaving each order out
MIN_FITTED = 20  # child orders for a regression of their costs; of fewer the mean is used


@dataclass(frozen=True, eq=False)
class Period(Record):
    """Intervals of one session, or of a part of it, with what was recorded around them.

    Attributes
    ----------
    recording : Recording
    start : (n,) int64 ns UTC
        Of the intervals.
    step : int
        Length of an interval, ns.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(2, np.random.default_rng(0))
    >>> [len(one.start) for one in Period.of(books, market.session)]
    [5, 5]
    """

    recording: Recording
    start: Int64
    step: int

    @classmethod
    def of(
        cls, states: BookSnapshots, session: Session, tick: float = 0.0,
        messages: Messages | None = None, **how: Any,
    ) -> list[Self]:  # fmt: skip
        """Every session of a recording; without a tick that of the grid of its prices.

        `how` are inferred and gap_seconds of `Recording`.
        """
        found, grid = [], tick or price_grid(states)
        for day in states.days(session):
            start = session.starts([day])[0]
            step = int(session.traded_ns(start[:1])[1][0]) // session.n_intervals
            near = (
                pd.Timestamp(at, tz="UTC") for at in (start[0] - AROUND, start[-1] + step + AROUND)
            )
            near_by = Recording.of(states.between(*near), grid, messages, **how)
            found.append(cls(near_by, start, step))
        return found

    def part(self, first: int, end: int) -> Self:
        """Its intervals from `first` up to, without, `end`."""
        return replace(self, start=self.start[first:end])

    def shifted(self, fraction: float) -> Self:
        """Its intervals begun later, by a fraction of their length, without the last one."""
        return replace(self, start=self.start[:-1] + round(fraction * self.step))

    @property
    def mid(self) -> Float:
        """Of the book shown at each start, (n,) currency per share; NaN where there is none."""
        books = self.recording.books
        return np.append(books.mid, np.nan)[np.searchsorted(books.time, self.start, "right") - 1]

    def seen(self, side: str) -> pd.DataFrame:
        """What an order of a side sees at each start, NaN where no two-sided book is shown.

        Returns
        -------
        DataFrame
            spread (ticks), ahead (shares at the best quote of the own side), imbalance, (own -
            other) / (own + other) of the shares at the best quotes.
        """
        market = self.recording.side(side)
        at = np.searchsorted(market.time, self.start, "right") - 1
        own, other = market.own_tick[at].max(axis=1), market.other_tick[at].min(axis=1)
        ahead = np.sum(market.own_size[at] * (market.own_tick[at] == own[:, None]), axis=1)
        across = np.sum(market.other_size[at] * (market.other_tick[at] == other[:, None]), axis=1)
        known = (at >= 0) & (ahead > 0) & (across > 0)
        imbalance = (ahead - across) / np.where(known, ahead + across, 1.0)
        columns = dict(zip(FEATURES, (other - own, ahead, imbalance), strict=True))
        seen = pd.DataFrame(columns, dtype=float)
        seen.loc[~known] = np.nan
        return seen


def child_costs(periods: Iterable[Period], shares: float, posting: Posting) -> pd.DataFrame:
    """What a child order of each interval costs posted and taken, each counted to the mid 60 s on.

    Parameters
    ----------
    periods : iterable of Period
    shares : float
        Of a child order.
    posting : Posting

    Returns
    -------
    DataFrame, a row an interval and side
        side; spread, ahead, imbalance (`Period.seen`); filled, the share filled at rest; rest_bps
        of these shares and cross_bps of the others (NaN without any), posted_bps of all, and
        taken_bps, bps of the mid at the start.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(30, close="10:00"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> table = child_costs(Period.of(books, market.session), 100.0, Posting())
    >>> len(table), bool(table["filled"].between(0, 1).all())
    (60, True)
    """
    parts = []
    for period in periods:
        for side in SIDES:
            x = np.full(len(period.start), shares)
            args = x, period.recording, period.start, period.step, side, posting
            posted, taken = (post_then_cross(*args, posts=posts) for posts in (True, False))
            rest, cross = (_by_interval(posted, period, at_rest) for at_rest in (True, False))
            one = _by_interval(taken, period, False)
            seen = period.seen(side).assign(side=side)
            seen["filled"] = rest["shares"] / (rest["shares"] + cross["shares"])
            tables = {"rest": rest, "cross": cross, "posted": rest + cross, "taken": one}
            for name, table in tables.items():
                seen[f"{name}_bps"] = table["cost"] / table["shares"] / one["mid"] * 1e4
            parts.append(seen)
    return pd.concat(parts, ignore_index=True).dropna(subset=[*FEATURES, "posted_bps", "taken_bps"])


def _by_interval(done: Execution, period: Period, at_rest: bool) -> pd.DataFrame:
    """Shares, cost to the mid a minute on (currency), and mid, of the fills of each interval."""
    rows = np.asarray(done.posted, bool) == at_rest
    rows &= done.filled > 0
    later = mids_after(period.recording.books, done.time[rows], HORIZON_SECONDS)
    filled, gain = done.filled[rows], side_sign(done.side) * (later - done.mid[rows])
    cost = done.cost_by_interval[rows] - filled * gain
    interval = np.searchsorted(period.start, done.time[rows], "right") - 1
    n = len(period.start)
    shares, paid = (np.bincount(interval, one, n) for one in (filled, cost))
    return pd.DataFrame({"shares": shares, "cost": paid, "mid": period.mid})


@dataclass(frozen=True, eq=False)
class PostingRule(Record):
    r"""Post where it is expected to gain, after selection, on what taking would cost.

    .. math:: \mathrm{gain} = c_{take}(z) - p(z) \, c_{rest}(z) - (1 - p(z)) \, c_{cross}(z) > 0

    with z the spread, the queue ahead (both in logarithms) and the imbalance, p a logistic model of
    the share that is filled within the interval, and c ridge regressions of the costs, each to the
    mid a minute after the fill, of shares that are taken, filled at rest, or left to cross.

    Attributes
    ----------
    fill, costs : fitted models
        Of scikit-learn; costs by name.

    Examples
    --------
    >>> rng, n = np.random.default_rng(0), 400
    >>> z = {"spread": rng.integers(1, 5, n), "ahead": rng.integers(1, 9, n), "imbalance": 0.0}
    >>> children = pd.DataFrame(z).assign(filled=0.5, taken_bps=1.0, cross_bps=1.5)
    >>> rule = PostingRule.fit(children.assign(rest_bps=2.0 - children["spread"]))
    >>> rule.posts(children).tolist() == (children["spread"] > 1.5).tolist()
    True
    """

    fill: Any
    costs: Mapping[str, Any]

    @classmethod
    def fit(cls, children: pd.DataFrame) -> Self:
        """Fitted on `child_costs` of earlier intervals.

        Raises
        ------
        ValidationError
            Fewer than ten child orders.
        """
        from sklearn.dummy import DummyRegressor  # heavy to import
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if len(children) < 10:
            few = f"{len(children)} child orders are too few to fit a rule on, at least 10"
            raise ValidationError(f"{few}; give more earlier sessions or shorter intervals")
        filled = children["filled"].to_numpy()
        # A child order counts as filled for the share that was, and as not filled for the rest.
        twice, weights = _signals(children), np.append(filled, 1.0 - filled)
        fill = make_pipeline(StandardScaler(), LogisticRegression())
        outcome = np.repeat([1, 0], len(filled))
        fill.fit(np.vstack([twice, twice]), outcome, logisticregression__sample_weight=weights)
        costs = {}
        for name in ("taken", "rest", "cross"):
            known = children[f"{name}_bps"].notna()
            if known.any():
                enough = known.sum() >= MIN_FITTED
                line = RidgeCV(PENALTIES) if enough else DummyRegressor()
                model = make_pipeline(StandardScaler(), line)
                costs[name] = model.fit(
                    _signals(children[known]), children.loc[known, f"{name}_bps"]
                )
        return cls(fill, costs)

    def posts(self, seen: pd.DataFrame) -> Mask:
        """Whether to post, (k,); not where nothing is seen."""
        known = seen[FEATURES].notna().all(axis=1).to_numpy()
        posts = np.zeros(len(seen), bool)
        if known.any():
            z = _signals(seen[known])
            p = self.fill.predict_proba(z)[:, 1]
            cost = {name: model.predict(z) for name, model in self.costs.items()}
            posted = p * cost.get("rest", 0.0) + (1.0 - p) * cost.get("cross", 0.0)
            posts[known] = cost["taken"] > posted
        return posts


def _signals(seen: pd.DataFrame) -> Float:
    logs = np.log1p(seen[FEATURES[:2]].to_numpy(float))
    return np.column_stack([logs, seen["imbalance"].to_numpy(float)])


def posting_orders(
    periods: Iterable[Period], total_shares: float, posting: Posting, queues: Sequence[str],
    rules: Mapping[str, PostingRule] | None = None,
) -> list[Execution]:  # fmt: skip
    """An order of equal child orders in every period and side, taken, and posted by queue model.

    Parameters
    ----------
    periods : iterable of Period
    total_shares : float
    posting : Posting
        Its queue is replaced by each of `queues`.
    queues : sequence of str
    rules : mapping of side to PostingRule, optional
        Of the strategy that posts only where it is expected to gain.

    Returns
    -------
    list of Execution
        Named "taking", "post, then cross (<queue>)" and "passive, then cross (<queue>)".

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> done = posting_orders(Period.of(books, market.session), 500.0, Posting(), ["last"])
    >>> [one.name for one in done]
    ['taking', 'post, then cross (last)', 'taking', 'post, then cross (last)']
    """
    done = []
    for period in periods:
        n = len(period.start)
        args = np.full(n, total_shares / n), period.recording, period.start, period.step
        for side in SIDES:
            done.append(post_then_cross(*args, side, posting, posts=False, name=TAKE))
            for queue in queues:
                how = replace(posting, queue=queue)
                done.append(post_then_cross(*args, side, how, name=f"{POST} ({queue})"))
                if rules:
                    posts = rules[side].posts(period.seen(side))
                    name = f"{RULE} ({queue})"
                    done.append(post_then_cross(*args, side, how, posts=posts, name=name))
    return done


def earlier_and_later(
    periods: Sequence[Period], fit_days: int
) -> tuple[list[Period], list[Period]]:
    """Periods to fit on and later ones to evaluate: the first sessions, or the first half of one.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> parts = earlier_and_later(Period.of(books, market.session), 0)
    >>> [len(one.start) for part in parts for one in part]
    [2, 3]
    """
    if fit_days >= len(periods):
        held = f"fit_days is {fit_days}, the data have {len(periods)} sessions"
        raise ValidationError(f"{held}; give fewer, or 0 to fit on the first half of each")
    if fit_days:
        return list(periods[:fit_days]), list(periods[fit_days:])
    halves = [(one, len(one.start) // 2, len(one.start)) for one in periods]
    return [one.part(0, n) for one, n, _ in halves], [one.part(n, end) for one, n, end in halves]


def borrowed_impact(periods: Sequence[Period], market: str, n_intervals: int) -> CarriedImpact:
    """Another market's level of carried impact, by what traded and moved in these periods.

    Hidden executions count as volume: of some stocks they are most of it.

    Parameters
    ----------
    periods : sequence of Period
        Before those that are priced.
    market : str
        One of `evaluation.costs.LEVELS`.
    n_intervals : int
        Of a whole session, to which volatility and volume are scaled.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(60, close="10:30"))
    >>> periods = Period.of(market.days(1, np.random.default_rng(0))[0], market.session)
    >>> borrowed_impact(periods, "GOOG 2012-06-21", 60).scenario
    'borrowed'
    """
    traded, steps = 0.0, np.concatenate([np.diff(one.mid) for one in periods])
    for one in periods:
        trades: Any = one.recording.books.trades
        inside = (trades.time >= one.start[0]) & (trades.time < one.start[-1] + one.step)
        traded += float(trades.size[inside].sum())
    mids = np.concatenate([one.mid for one in periods])
    price, sessions = float(np.nanmean(mids)), len(mids) / n_intervals
    sigma = float(np.sqrt(np.nanmean(steps**2) * n_intervals)) / price
    return CarriedImpact.borrowed(market, price=price, volatility=sigma, volume=traded / sessions)


def posted_twap(
    sessions: Sessions, first: int, total_shares: float, latency_seconds: float, **how: Any
) -> list[Execution]:
    """TWAP of each session from `first` on and side, posted, by both bounds of the queue.

    Empty where resting orders cannot be followed: without signed trades, or with states that stand
    more than ten seconds apart. `how` are inferred and gap_seconds of `Recording`.

    Examples
    --------
    >>> from research_lib.market import preset
    >>> drawn = Sessions.drawn(preset("thin_stock", Session(13)), 2, 5, np.random.default_rng(0))
    >>> posted_twap(drawn, 1, 500.0, 1.0)  # it has no states between its books
    []
    """
    states, done = sessions.states, list[Execution]()
    if states is None or states.trades is None or not states.trades.aggressor.any():
        return done
    if np.median(np.diff(states.time)) > NS * MAX_APART_SECONDS:
        return done
    for one in Period.of(states, sessions.session, sessions.tick, **how)[first:]:
        args = total_shares / len(one.start), one.recording, one.start, one.step
        for side, queue in product(SIDES, BOUNDS):
            posting = Posting(queue, latency_seconds=latency_seconds)
            done.append(post_then_cross(*args, side, posting, name=f"TWAP posted ({queue})"))
    return done


def shifted_differences(
    periods: Sequence[Period], total_shares: float, posting: Posting, accounting: Accounting,
    states: BookSnapshots,
) -> pd.DataFrame:  # fmt: skip
    """Posting less taking, by side and bound, with the clock begun at four times of an interval.

    What one session can say in place of a confidence interval.

    Returns
    -------
    DataFrame
        Index begun (part of an interval), side; columns (bound, impact of resting shares): bps.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(6, close="09:36"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> args = Period.of(books, market.session), 500.0, Posting(), Accounting(), books
    >>> shifted_differences(*args).shape
    (8, 4)
    """
    rows = []
    for fraction in SHIFTS:
        moved = [one.shifted(fraction) for one in periods]
        done = posting_orders(moved, total_shares, posting, BOUNDS)
        for impact in IMPACTS:
            how = replace(accounting, resting_impact=impact)
            priced = paired_costs(done, how, benchmark=TAKE, states=states)
            rows.append(priced.assign(begun=fraction, impact=impact))
    table = pd.concat(rows).pivot_table(
        "difference_bps", ["begun", "side"], ["strategy", "impact"], sort=False
    )
    names = {f"{POST} ({queue})": queue for queue in BOUNDS}
    return table[[*names]].rename(columns=names)


def posting_ends(
    orders: Sequence[Execution], accounting: Accounting, states: BookSnapshots
) -> pd.DataFrame:
    """Posting less taking by both bounds, with resting shares that move the price, and without.

    Parameters
    ----------
    orders : sequence of Execution
        Of `posting_orders`.
    accounting : Accounting
        Its resting_impact is replaced by each of `IMPACTS`.
    states : BookSnapshots

    Returns
    -------
    DataFrame
        Index bound, impact at rest (of a taken share); difference_bps, lower_bps, upper_bps.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(6, close="09:36"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> done = posting_orders(Period.of(books, market.session), 500.0, Posting(), BOUNDS)
    >>> posting_ends(done, Accounting(), books)["difference_bps"].nunique()  # nothing is carried
    2
    """
    rows = dict[Any, Any]()
    names = [TAKE, *(f"{POST} ({queue})" for queue in BOUNDS)]
    two = [one for one in orders if one.name in names]
    for impact in IMPACTS:
        how = replace(accounting, resting_impact=impact)
        table = compare(two, how, benchmark=TAKE, states=states)
        rows |= {(queue, impact): table.loc[f"{POST} ({queue})", DIFFERENCE] for queue in BOUNDS}
    index = ["bound", "impact at rest"]
    return pd.DataFrame(rows).T.rename_axis(index).sort_index(ascending=False)


def fill_kinds(periods: Iterable[Period], shares: float, posting: Posting) -> pd.DataFrame:
    """By what child orders at rest are filled, and what such fills are worth a minute later.

    Returns
    -------
    DataFrame
        Index kind (`evaluation.resting.KINDS`); filled_%, of the shares filled at rest;
        markout_60_bps, mean of a share.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(30, close="10:00"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> table = fill_kinds(Period.of(books, market.session), 100.0, Posting())
    >>> round(float(table["filled_%"].sum()))
    100
    """
    parts = []
    for period, side in product(periods, SIDES):
        end = period.start + period.step - 1
        done = rest_orders(period.recording, side, shares, period.start, end, posting)
        later = mids_after(period.recording.books, done.time, HORIZON_SECONDS)
        gain = 1e4 * side_sign(side) * (later / done.price - 1.0) * done.shares
        parts.append(pd.DataFrame({"kind": done.kind, "shares": done.shares, "gain": gain}))
    total = pd.concat(parts).groupby("kind")[["shares", "gain"]].sum()
    share = 100.0 * total["shares"] / total["shares"].sum()
    table = pd.DataFrame({"filled_%": share, "markout_60_bps": total["gain"] / total["shares"]})
    return table.rename(index=dict(enumerate(KINDS))).rename_axis("filled by")


def variance_ratio(periods: Iterable[Period], seconds: int = 60) -> float:
    r"""Whether the displayed mid goes on in its direction (above 1) or back (below 1).

    .. math:: \mathrm{Var}(m_{t+n} - m_t) / (n \, \mathrm{Var}(m_{t+1} - m_t))

    with t in seconds: 1 for a random walk.

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(60, close="10:30"))
    >>> periods = Period.of(market.days(4, np.random.default_rng(0))[0], market.session)
    >>> 0.5 < variance_ratio(periods) < 1.5
    True
    """
    short, long = list[Float](), list[Float]()
    for one in periods:
        at = np.arange(one.start[0], one.start[-1] + one.step, NS)
        mid = mids_after(one.recording.books, at, HORIZON_SECONDS)
        short.append(np.diff(mid))
        long.append(mid[seconds:] - mid[:-seconds])
    slow, fast = (np.nanmean(np.concatenate(moves) ** 2) for moves in (long, short))
    return float(slow / (seconds * fast))


def posting_table(table: pd.DataFrame, orders: Sequence[Execution]) -> pd.DataFrame:
    r"""The cost of posting by queue model, beside taking, and the rebate that makes them even.

    .. math:: r = \frac{(C - C_{take}) \, P \, S}{\mathrm{shares\ at\ rest}}

    above what the accounting already pays, with P the arrival price; below 0 it is the fee that
    posting could bear.

    Parameters
    ----------
    table : DataFrame
        Of `compare` with the benchmark "taking".
    orders : sequence of Execution

    Returns
    -------
    DataFrame
        Index strategy and queue; the parts, total_bps, difference_bps, lower_bps, upper_bps,
        p_value, timing_risk_bps, at rest_% of the shares, break-even rebate (currency a share, NaN
        where nothing is filled at rest).

    Examples
    --------
    >>> from research_lib.market import QueueMarket
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, _ = market.days(1, np.random.default_rng(0))
    >>> done = posting_orders(Period.of(books, market.session), 500.0, Posting(), BOUNDS)
    >>> found = posting_table(compare(done, benchmark=TAKE, states=books), done)
    >>> found.index[0], float(found.loc[TAKE, "at rest_%"])
    ('taking', 0.0)
    """
    rows = {}
    for name in dict.fromkeys(one.name for one in orders):
        own = [one for one in orders if one.name == name]
        notional = sum(one.total_shares * one.arrival_price for one in own)
        at_rest = sum(float(one.filled[one.posted].sum()) for one in own)
        even = 1e-4 * table.loc[name, "difference_bps"] * notional / (at_rest or np.nan)
        share = 100.0 * at_rest / sum(one.total_shares for one in own)
        rows[name] = {"at rest_%": share, "break-even rebate": even}
    columns = [*PARTS, "total_bps", *DIFFERENCE, "p_value", "timing_risk_bps"]
    extra = pd.DataFrame.from_dict(rows, orient="index")
    return table.loc[extra.index, columns].join(extra).rename_axis("strategy")


def when_posting_pays(children: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean gain of posting on taking, by what was seen when the child order was decided.

    Parameters
    ----------
    children : mapping of queue model to `child_costs`
        Of the same child orders.

    Returns
    -------
    DataFrame
        Index quantity and its range, in up to three groups of about equal size; orders, and for
        each model gain_<model>_bps and filled_<model>_%.

    Examples
    --------
    >>> seen = {"spread": [1.0, 2.0], "ahead": 1.0, "imbalance": 0.0, "filled": 1.0}
    >>> table = pd.DataFrame(seen).assign(taken_bps=1.0, posted_bps=[2.0, -1.0])
    >>> when_posting_pays({"last": table})["gain_last_bps"].tolist()
    [-1.0, 2.0]
    """
    rows, first = {}, next(iter(children.values()))
    for name in FEATURES:
        groups = pd.qcut(first[name], 3, duplicates="drop")
        for _, mine in first[name].groupby(groups, observed=True):
            row: dict[str, float] = {"orders": len(mine)}
            for queue, table in children.items():
                own = table.loc[table.index.intersection(mine.index)]
                row[f"gain_{queue}_bps"] = (own["taken_bps"] - own["posted_bps"]).mean()
                row[f"filled_{queue}_%"] = 100.0 * own["filled"].mean()
            rows[name, f"{mine.min():.3g} to {mine.max():.3g}"] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["quantity", "range"])


def posting_verdict(ends: pd.DataFrame) -> str:
    """Whether posting beats taking for both bounds of the queue, costs more, or neither is shown.

    Parameters
    ----------
    ends : DataFrame
        Index the bound, and the impact of resting shares (0 and 1); lower_bps, upper_bps of the
        difference of cost, posting less taking: its 95 % interval, or, where there are too few
        sessions for one, the least and the greatest over clocks and sides.

    Examples
    --------
    >>> ends = pd.DataFrame({"lower_bps": [-2.0, -3.0], "upper_bps": [-0.5, -1.0]}, [*BOUNDS])
    >>> posting_verdict(ends)
    'posting beats taking for both bounds of the queue'
    >>> posting_verdict(ends.assign(upper_bps=[0.5, -1.0]))
    'whether posting beats taking cannot be decided'
    """
    if (ends["upper_bps"] < 0).all():
        return "posting beats taking for both bounds of the queue"
    if (ends["lower_bps"] > 0).all():
        return "posting costs more than taking for both bounds of the queue"
    return "whether posting beats taking cannot be decided"

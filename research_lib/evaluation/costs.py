"""The accounting: what an order costs, as parts that add up, for every schedule or execution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import Float, number, numbers, refuse_unknown, same_labels
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError
from research_lib.evaluation.executions import Execution
from research_lib.impact import ExponentialSumKernel, Kernel, kernel_matrix
from research_lib.market.book import BookSnapshots, side_sign
from research_lib.market.sessions import Session, as_session
from research_lib.transient import SignedFlow, fit_kernel, propagator
from research_lib.wording import significant

SCENARIOS = ("none", "measured", "borrowed", "square-root")
HORIZON_SECONDS = 60.0
STALE_SECONDS = 3600.0  # an older mid is no estimate of the price
MAX_LAGS = 20  # intervals of a propagator
Z = 1.96  # of 95 %
PARTS = ("spread_bps", "walk_bps", "selection_bps", "carried_bps", "fees_bps")
# Permanent impact of a share over sigma P / V of the day: the propagator of signed shares by the
# minute over 20 minutes with its 95 % interval; in these markets no decay is identified.
LEVELS = {"GOOG 2012-06-21": (13.0, 9.11, 16.8), "FROG 2025-04-03": (3.56, 1.33, 5.78)}
# Of square-root impact: an order pays two thirds of its peak on average (Bouchaud et al. 2018).
PEAK_SHARE, PREFACTOR = 2.0 / 3.0, 1.0


@dataclass(frozen=True)
class CarriedImpact(Record):
    r"""One scenario of carried impact: what own trades cost the rest of the order.

    With a kernel G of seconds, x_t shares at times t and W_t the walk paid for them,

    .. math:: \sum_{s < t} x_s x_t G(t - s)
              + \sum_t \max\bigl(\tfrac12 G(0) x_t^2 - W_t, 0\bigr),

    where the second sum keeps large single trades from looking cheap. By the square-root law, on
    average over the order,

    .. math:: \max\Bigl(\tfrac23 \sigma P \sqrt{S / V} \, S - \sum_t W_t, 0\Bigr):

    a check of the level, which does not rank schedules (Bouchaud, Bonart, Donier and Gould, 2018,
    Trades, Quotes and Prices, chapter 12).

    Attributes
    ----------
    scenario : str
        "none" (a lower bound), "measured", "borrowed" or "square-root".
    kernel : callable, optional
        Of "measured" and "borrowed": currency per share**2 of an array of seconds; hashable.
    volatility, volume : float
        Of "square-root": sigma of a session relative to the price, and V, shares a session.
    source : str
        Where it was measured.
    interval : (low, high)
        95 % interval, currency per share**2: of a level, or of a decaying kernel at the last lag.

    Raises
    ------
    ValidationError
        A scenario without what it needs.

    Examples
    --------
    Two child orders of 10 shares, of which the second meets all that the first left:

    >>> lasting = CarriedImpact("measured", ExponentialSumKernel(0.0, 0.02))
    >>> lasting.cost(np.array([10.0, 10.0]), np.zeros(2), np.array([0, 60 * 10**9]), 100.0)
    4.0
    """

    scenario: str = "none"
    kernel: Kernel | None = None
    volatility: float = 0.0
    volume: float = 0.0
    source: str = ""
    interval: tuple[float, float] = (np.nan, np.nan)

    def __post_init__(self) -> None:
        refuse_unknown([self.scenario], SCENARIOS, "scenario")
        if (self.kernel is None) == (self.scenario in SCENARIOS[1:3]):
            lacks, extra = "needs a kernel, of seconds", 'has no kernel; name it "measured"'
            what = lacks if self.kernel is None else extra
            raise ValidationError(f"scenario {self.scenario!r} {what}")
        if self.scenario == "square-root":
            number("volatility", self.volatility, above=0)
            number("volume", self.volume, above=0)

    def cost(
        self, shares: Float, walk: Float, time: NDArray[np.int64], price: float, moved: Any = 1.0
    ) -> float:
        """Cost in currency of (n,) shares whose walk cost (n,) currency, at price `price`.

        `moved` (n,) is the impact of each share relative to one that was taken.
        """
        if self.scenario == "square-root":
            total = float(shares.sum())
            law = PEAK_SHARE * PREFACTOR * self.volatility * np.sqrt(total / self.volume)
            return max(float(law) * price * total - float(walk.sum()), 0.0)
        if self.kernel is None:
            return 0.0
        moving = moved * shares
        if np.any(np.diff(time) == 0):  # fills at one time are one, for the matrix
            time, first = np.unique(time, return_index=True)
            moving = np.add.reduceat(moving, first)
            shares, walk = np.add.reduceat(shares, first), np.add.reduceat(walk, first)
        matrix = _displacement(self.kernel, (time - time[0]).tobytes())
        own = 0.5 * float(self.kernel(0.0)) * shares * moving
        return float(shares @ (matrix @ moving)) + float(np.maximum(own - walk, 0.0).sum())

    @classmethod
    def measured(cls, books: BookSnapshots, session: Session, n_lags: int | None = None) -> Self:
        """The kernel of some sessions of books with trades, from the propagator of signed shares.

        The flow of an interval is that of the trades from its book to the next. A kernel that
        decays to a permanent level is fitted. Where no decay is identified, the kernel is
        permanent: the propagator's mean over its lags, weighted by inverse variance. For an order
        of hours this is an upper end, because later decay is ignored.

        Parameters
        ----------
        books : BookSnapshots with trades
            Of sessions before those that are priced; sampled to one an interval.
        session : Session
        n_lags : int, optional
            Lags of the propagator in intervals; by default 20, at most a quarter of a session.

        Raises
        ------
        ValidationError, ModelFittingError
            Too few books or trades, or prices that do not follow them.

        Examples
        --------
        >>> from research_lib.market import preset
        >>> market = preset("deep_stock", Session(390))
        >>> books = market.books(20 * 390, 1, np.random.default_rng(1), flow=market.flow)
        >>> found = CarriedImpact.measured(books, market.session)
        >>> found.scenario, round(float(found.kernel(60.0) / market.kernel(60.0)), 1)
        ('measured', 1.0)
        """
        session = as_session(session)
        lags = n_lags or max(min(MAX_LAGS, session.n_intervals // 4), 1)
        found = propagator(_interval_flow(books.sample(session), session), lags, "shares")
        if not (found.se > 0).all():
            raise ModelFittingError("the mid of these books does not move: no impact is identified")
        weights = 1.0 / found.se**2 / np.sum(1.0 / found.se**2)
        level, half = float(weights @ found["values"]), Z * np.sqrt(weights @ found.cov @ weights)
        low, high = level - float(half), level + float(half)
        if level <= 0.0:
            limits = f"95 % interval {low:.3g} to {high:.3g} currency per share**2"
            raise ModelFittingError(f"trades do not move the mid in their direction: {limits}")
        fit = fit_kernel(found, "exponential_permanent")
        days = np.unique(session.days(books.time)).astype(str)
        span = " to ".join(dict.fromkeys([days[0], days[-1]]))
        if fit.identified:
            known = f"{span}, half-life {significant(fit.half_life)} s of what decays"
            low, high = (float(end[-1]) for end in found.conf_int())
            return cls("measured", fit.kernel, source=known, interval=(low, high))
        known = f"{span}, a level: no decay identified over {significant(found.lags[-1])} s"
        if low <= 0.0:
            known += ", nor distinguishable from 0"
        return cls("measured", _level(level), source=known, interval=(low, high))

    @classmethod
    def borrowed(cls, market: str, *, price: float, volatility: float, volume: float) -> Self:
        r"""Another market's level, scaled: G = c sigma P / V, c as measured there (`LEVELS`).

        Parameters
        ----------
        market : str
            One of `LEVELS`.
        price, volatility, volume : float
            Of this market: P in currency, sigma of a session relative to it, shares a session.

        Examples
        --------
        >>> one = {"price": 100.0, "volatility": 0.01, "volume": 1e6}
        >>> round(float(CarriedImpact.borrowed("GOOG 2012-06-21", **one).kernel(0.0)), 9)
        1.3e-05
        """
        refuse_unknown([market], LEVELS, "market")
        scale = number("price", price, above=0) * number("volatility", volatility, above=0)
        scale /= number("volume", volume, above=0)
        value, low, high = (scale * end for end in LEVELS[market])
        return cls("borrowed", _level(value), source=market, interval=(low, high))


def _interval_flow(books: BookSnapshots, session: Session) -> SignedFlow:
    """Net signed trades from each of n books to the next, and the mid before them."""
    if (trades := books.trades) is None or not trades.aggressor.any():
        raise ValidationError("these books have no signed trades, so no kernel can be measured")
    at = np.searchsorted(books.time, trades.time, "right") - 1
    # Trades after the last book move no mid of these books.
    inside = (at >= 0) & (at < len(books) - 1) & (session.interval_of(trades.time) >= 0)
    shares = np.bincount(at[inside], trades.signed_size[inside], len(books)).astype(float)
    day = np.unique(session.days(books.time), return_inverse=True)[1]
    step = float(np.diff(books.time).min()) / 1e9
    mid = pd.Series(books.mid).groupby(day).ffill().groupby(day).bfill().ffill().to_numpy()
    return SignedFlow(books.time, mid, np.sign(shares), shares, None, day, step, "seconds")


def _level(value: float) -> ExponentialSumKernel:
    """Permanent impact of one level."""
    return ExponentialSumKernel((0.0,), (value,))


@lru_cache(maxsize=8)  # (n, n) each
def _displacement(kernel: Kernel, times: bytes) -> Float:
    """Lower triangle of G without its diagonal, (n, n): what earlier child orders left.

    `times` are int64 nanoseconds from the first one.
    """
    return np.tril(kernel_matrix(kernel, np.frombuffer(times, np.int64) / 1e9), -1)


@dataclass(frozen=True)
class Accounting(Record):
    """How orders are priced.

    Attributes
    ----------
    carried : CarriedImpact
    horizon_seconds : float
        Of the selection.
    fee_per_share : float
        Currency, of a share that crosses; below 0 for a rebate.
    rebate_per_share : float
        Currency, paid for a share that is filled at rest; below 0 for a fee.
    resting_impact : float
        Impact carried on of a share that is filled at rest, relative to one that is taken, in [0,
        1]. The kernel is of shares that were taken: 1 is an upper end, 0 a lower one.
    risk_aversion : float
        lambda of the objective, 1 / currency.

    Examples
    --------
    >>> Accounting(fee_per_share=0.003).carried.scenario
    'none'
    """

    carried: CarriedImpact = field(default_factory=CarriedImpact)
    horizon_seconds: float = HORIZON_SECONDS
    fee_per_share: float = 0.0
    risk_aversion: float = 0.0
    rebate_per_share: float = 0.0
    resting_impact: float = 1.0

    def __post_init__(self) -> None:
        number("horizon_seconds", self.horizon_seconds, above=0)
        number("fee_per_share", self.fee_per_share)
        number("rebate_per_share", self.rebate_per_share)
        number("resting_impact", self.resting_impact, 0, 1)
        number("risk_aversion", self.risk_aversion, 0)


def mids_after(states: BookSnapshots, time: NDArray[np.int64], seconds: float) -> Float:
    """The mid `seconds` after each time, (n,): of the last two-sided state shown by then.

    NaN where that state is more than an hour old, as after the end of a recording.

    Examples
    --------
    >>> size = np.ones((3, 1))
    >>> bid = np.array([[1.0], [2.0], [3.0]])
    >>> states = BookSnapshots([0, 10**9, 2 * 10**9], bid, size, bid + 2, size)
    >>> mids_after(states, np.array([0]), 1.5).tolist()
    [3.0]
    """
    known = np.isfinite(mid := states.mid)
    if not known.any():
        raise ValidationError("none of the states has two sides: there is no mid after a fill")
    at, due = states.time[known], np.asarray(time) + np.int64(round(1e9 * seconds))
    gap = float(np.median(np.diff(at))) / 1e9 if len(at) > 1 else 0.0
    if gap > seconds * (1.0 + 1e-9):
        sparse = f"the states stand {gap:g} s apart, the horizon is {seconds:g} s"
        raise ValidationError(f"{sparse}; give every state, or none for the next interval's mid")
    last = np.searchsorted(at, due, "right") - 1
    fresh = (last >= 0) & (due - at[last] <= 1e9 * max(STALE_SECONDS, 2.0 * seconds))
    return np.where(fresh, mid[known][last], np.nan)


def order_cost(
    execution: Execution, accounting: Accounting | None = None, after: Float | None = None
) -> dict[str, Any]:
    r"""What one order costs, in bps of the arrival mid, as parts that add up.

    .. math:: \mathrm{total} = \underbrace{\sum_t x_t h_t}_{spread}
        + \underbrace{\sum_t x_t \bigl(\epsilon (p_t - m_t) - h_t\bigr)}_{walk}
        - \underbrace{\epsilon \sum_t x_t (m^+_t - m_t)}_{selection}
        + \mathrm{carried} + \mathrm{fees}

    with m and h mid and half-spread of the book decided on, p the price paid, m+ the mid
    `horizon_seconds` after the fill, and epsilon 1 for a buy, -1 for a sell. Shares that the books
    did not fill are completed in the last interval along the slope of its last level and counted in
    the walk, so every order is complete. If the mid is a martingale from the horizon on, the
    expected total without fees is the expected implementation shortfall, whatever information the
    strategy used: with X_t the shares left, sum_t x_t m+_t = S m_0 plus the sum of X_t times
    unpredictable moves. Moves that continue or revert beyond the horizon are not counted. The mids
    must not contain the own impact, which is carried separately.

    Parameters
    ----------
    execution : Execution
    accounting : Accounting, optional
        By default selection over 60 s, nothing carried, no fees.
    after : (n,), optional
        m+, as from `mids_after`; by default the mid of the next interval, for the last one its own.

    Returns
    -------
    dict
        strategy, side, size (shares), scenario, the five parts, total_bps, shortfall_bps (realised,
        with the rest completed in the last interval), timing_risk_bps, objective_bps (total plus
        risk_aversion times variance), completed (whether the books filled the order).

    Raises
    ------
    ValidationError
        An order of no shares; `after` of another shape, or unknown where something is filled.

    Examples
    --------
    >>> from research_lib.evaluation import replay
    >>> time, size = [10**18, 10**18 + 60 * 10**9], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [99.0]], size, [[101.0], [102.0]], size)
    >>> found = order_cost(replay([10, 10], books, "buy"))
    >>> [round(found[part], 1) for part in ("spread_bps", "walk_bps", "selection_bps")]
    [125.0, 0.0, -25.0]
    """
    how, one = accounting or Accounting(), execution
    sign, total, mid = side_sign(one.side), one.total_shares, _known(one.mid)
    if not total > 0:
        raise ValidationError(f"an order of {total:g} shares has no cost a share; give one above 0")
    decided, touch = mid, one.half_spread
    if one.decision_mid is not None and one.decision_half_spread is not None:
        # Where no book was shown for the decision, the book of the fill is used.
        shown = np.isfinite(one.decision_mid)
        decided = np.where(shown, one.decision_mid, mid)
        touch = np.where(shown, one.decision_half_spread, one.half_spread)
    later = np.append(mid[1:], mid[-1])
    if after is not None:
        later = numbers("after", same_labels("after", after, range(len(mid))))
    if later.shape != mid.shape:
        raise ValidationError(f"after must be {mid.shape}, a mid a child order; got {later.shape}")
    shares, walked = _walked(one)
    if (unknown := ~np.isfinite(later) & (shares > 0)).any():
        t = int(np.argmax(unknown))
        raise ValidationError(f"no mid is known after the fill of interval {t}; give later states")
    later, spread = np.where(np.isfinite(later), later, decided), shares * touch
    walk = one.cost_by_interval + sign * one.filled * (mid - decided) - spread
    walk[-1] += one.rest_cost + sign * one.unfilled * (mid[-1] - decided[-1])
    arrival = float(decided[0])
    paper = total * arrival
    # Own impact is compared with the walk of the filling book, without the mid's move until then.
    moved = 1.0 if one.posted is None else np.where(one.posted, how.resting_impact, 1.0)
    carried = how.carried.cost(shares, walked, one.time, arrival, moved)
    currency = (spread.sum(), walk.sum(), -sign * shares @ (later - decided), carried)
    parts = [1e4 * float(part) / paper for part in currency]
    at_rest = 0.0 if one.posted is None else float(one.filled[one.posted].sum()) / total
    fees = how.fee_per_share * (1.0 - at_rest) - how.rebate_per_share * at_rest
    parts.append(1e4 * fees / arrival)
    drift = sign * float(shares @ (mid - arrival))
    risk = replace(one, filled=shares, unfilled=0.0).timing_risk_bps
    return {
        "strategy": one.name, "side": one.side, "size": total, "scenario": how.carried.scenario,
        **dict(zip(PARTS, parts, strict=True)), "total_bps": sum(parts),
        "shortfall_bps": 1e4 * (one.cost + one.rest_cost + drift) / paper, "timing_risk_bps": risk,
        "objective_bps": sum(parts) + 1e-4 * how.risk_aversion * paper * risk**2,
        "completed": one.completed,
    }  # fmt: skip


def blind_cost(execution: Execution, carried: CarriedImpact) -> float:
    """`order_cost` less selection and fees, bps: of an order that did not look at the book.

    Its selection is noise about 0. Decided on the books that filled it.

    Examples
    --------
    >>> from research_lib.evaluation import replay
    >>> time, size = [10**18, 10**18 + 60 * 10**9], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [99.0]], size, [[101.0], [102.0]], size)
    >>> round(blind_cost(replay([10, 10], books, "buy"), CarriedImpact()), 9)
    125.0
    """
    one, arrival = execution, float(_known(execution.mid)[0])
    paid = one.cost + one.rest_cost + carried.cost(*_walked(one), one.time, arrival)
    return 1e4 * paid / (one.total_shares * arrival)


def _walked(one: Execution) -> tuple[Float, Float]:
    """Shares with the rest in the last interval, and their walk beyond the filling books' touch."""
    shares = np.append(one.filled[:-1], one.filled[-1] + one.unfilled)
    walked = one.cost_by_interval - shares * one.half_spread
    walked[-1] += one.rest_cost
    return shares, walked


def order_costs(
    executions: Iterable[Execution], accounting: Accounting | None = None,
    states: BookSnapshots | None = None,
) -> pd.DataFrame:  # fmt: skip
    """`order_cost` of each order: one row an execution, with its start.

    Parameters
    ----------
    executions : iterable of Execution
    accounting : Accounting, optional
    states : BookSnapshots, optional
        Every state of the recording, for the mid after each fill; without it the next interval's
        mid is used, whatever the horizon.

    Examples
    --------
    >>> from research_lib.evaluation import Twap, run
    >>> from research_lib.market import preset
    >>> books = preset("thin_stock", Session(13)).books(13, 5, np.random.default_rng(0))
    >>> table = order_costs([run(Twap(), books, 500, side) for side in ("buy", "sell")])
    >>> bool(np.allclose(table[list(PARTS)].sum(axis=1), table["total_bps"], atol=1e-9))
    True
    """
    how, done = accounting or Accounting(), list(executions)
    if not done or not all(isinstance(one, Execution) for one in done):
        raise ValidationError("executions must be one Execution or more, as `walk_forward` gives")
    later: Sequence[Float | None] = [None] * len(done)
    if states is not None:
        time, ends = [one.time for one in done], np.cumsum([len(one.time) for one in done])
        later = np.split(mids_after(states, np.concatenate(time), how.horizon_seconds), ends[:-1])
    priced = (order_cost(one, how, after) for one, after in zip(done, later, strict=True))
    starts = [int(one.time[0]) for one in done]
    return pd.DataFrame(priced).assign(start=starts)


def _known(mid: Float) -> Float:
    """Mids (n,), NaN filled with the one before, or the first known."""
    # Known is the usual case, early: thousands of orders are priced.
    return mid if np.isfinite(mid).all() else pd.Series(mid).ffill().bfill().to_numpy()

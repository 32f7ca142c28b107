"""How fast impact decays and what a schedule saves by it: tables and sentences of one notebook."""

# ruff: noqa: I001  (several names a line)

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import Float
from research_lib.config import Record
from research_lib.execution import transient_schedule, twap
from research_lib.impact import DecayKernel, ExponentialKernel, ExponentialSumKernel, Kernel
from research_lib.market import BookSnapshots, Session
from research_lib.transient import FAMILIES, BlockBook, KernelFit, LagEstimate, SignedFlow
from research_lib.transient import fit_kernel, price_path, recovery_after_trades
from research_lib.wording import p_value, significant

SPREAD = "exponential_permanent"  # the shape of the spread's return, as in `fit_block_book`
WINDOWS = (1 / 3, 1 / 2, 1, 2)  # of the one used: slower returns show in longer ones
UPPER_BOUND = "The costs below let all of 1/q decay, an upper bound."
STATES = {
    "rejected": "**Whether the block-shaped book describes this market is not identified**: the "
    "data reject the shape of a fit behind it.",
    "described": "The block-shaped book can describe this market: the permanent impact is below "
    "the immediate impact 1/q that the displayed depth implies, which is necessary but no proof.",
    "contradicted": "**The block-shaped book does not describe this market**: the permanent impact "
    "is above the immediate impact 1/q that the displayed depth implies.",
    "open": "Whether the block-shaped book describes this market is not identified: the intervals "
    "admit a permanent impact above and below the immediate impact 1/q.",
}


def flow_facts(books: BookSnapshots, orders: SignedFlow, timezone: str = "") -> pd.Series:
    """How many market orders there are, how large and how often, and the half-spread.

    With a time zone, also the times of the first and the last one in it.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, trade_flow
    >>> books = TransientMarket().books(1000, np.random.default_rng(3))
    >>> flow_facts(books, trade_flow(books))["market orders"]
    253
    """
    half_spread = float(np.nanmean(books.half_spread[books.complete]))
    facts: dict[str, Any] = {
        "market orders": len(orders), "seconds between them": orders.step_seconds,
        "shares of one": float(np.mean(np.abs(orders.shares))),
        "share that moves the mid at once (%)": 100.0 * float(np.mean(orders["changing"])),
        "half-spread (bps)": 1e4 * half_spread / float(np.mean(orders.mid)),
    }  # fmt: skip
    if timezone:
        ends = pd.to_datetime(orders.time[[0, -1]], utc=True).tz_convert(timezone)
        for which, end in zip(("first", "last"), ends, strict=True):
            facts[f"{which} order ({timezone})"] = f"{end:%Y-%m-%d %H:%M:%S}"
    return pd.Series(facts, dtype=object)  # the count stays a whole number


def first_lags(
    by_trade: LagEstimate, by_clock: LagEstimate, orders: SignedFlow, clock: SignedFlow
) -> pd.Series:
    """The first lag of both propagators, and what their difference rests on.

    Returns
    -------
    Series
        trades, clock: the estimates. soon_%: orders that come within a step of the one before.
        weight_%: of steps with several net orders in the regression by the clock.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, clock_flow, propagator, trade_flow
    >>> books = TransientMarket().books(1000, np.random.default_rng(3))
    >>> flows = trade_flow(books), clock_flow(books, 10.0)
    >>> first_lags(*(propagator(flow, 3) for flow in flows), *flows).round(3).tolist()
    [0.007, 0.008, 94.048, 93.333]
    """
    several = np.abs(clock.sign) > 1
    return pd.Series({
        "trades": by_trade["values"][0], "clock": by_clock["values"][0],
        "soon_%": 100.0 * np.mean(np.diff(orders.time) < 1e9 * clock.step_seconds),
        "weight_%": 100.0 * np.sum(clock.sign[several] ** 2) / np.sum(clock.sign**2),
    })  # fmt: skip


def late_over_early(estimate: LagEstimate) -> pd.Series:
    """Impact at the last lag over that at a tenth of the lags, with its error (delta method).

    Returns
    -------
    Series
        late, early: the two lags. ratio, se.

    Examples
    --------
    >>> lags = np.arange(1.0, 21.0)
    >>> estimate = LagEstimate(lags, 2.0 ** (1.0 - lags / 20), 0.01 * np.eye(20), 100, "seconds")
    >>> late_over_early(estimate).round(3).tolist()
    [20.0, 2.0, 0.536, 0.061]
    """
    ends = [-1, max(len(estimate.lags) // 10, 1) - 1]
    last, first = estimate["values"][ends]
    slope = np.array([1.0 / first, -last / first**2])
    error = float(np.sqrt(slope @ estimate.cov[np.ix_(ends, ends)] @ slope))
    late, early = estimate.lags[ends]
    return pd.Series({"late": late, "early": early, "ratio": last / first, "se": error})


def half_lives(estimate: LagEstimate, unit: str, seconds: float = 1.0) -> pd.DataFrame:
    """The half-life of every family of kernels fitted to one propagator, in seconds.

    Parameters
    ----------
    estimate : LagEstimate
    unit : str
        "clock" or "trades": names the rows.
    seconds : float
        Of one unit of the lags.

    Returns
    -------
    DataFrame
        Index family and unit; columns half_life, low, high (95 % set; 0 and inf where it is open,
        NaN where the shape is rejected), p_value of the shape, decays, identified.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> estimate = LagEstimate(lags, ExponentialKernel(0.2, 0.01)(lags), cov, 5000, "trades")
    >>> half_lives(estimate, "trades", 2.0)["half_life"].round(2).tolist()[0]
    6.93
    """
    fits = [fit_kernel(estimate, family) for family in FAMILIES]
    rows = {f"{fit.label}, by {unit}": _row(fit, seconds) for fit in fits}
    return pd.DataFrame.from_dict(rows, orient="index")


def spread_windows(
    books: BookSnapshots, *, n_lags: int, step_seconds: float, session: Session
) -> pd.DataFrame:
    """The half-life of the spread by the window over which it is followed after a trade.

    Returns
    -------
    DataFrame
        Index the window in seconds, as text; columns as `half_lives`.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket
    >>> books = TransientMarket(5000.0, 0.1, 5e-5).books(4000, np.random.default_rng(3))
    >>> table = spread_windows(books, n_lags=20, step_seconds=1.0, session=Session(1))
    >>> table.index.tolist()
    ['7', '10', '20', '40']
    """
    clock: dict[str, Any] = {"step_seconds": step_seconds, "session": session}
    rows = {}
    for count in sorted({max(4, round(part * n_lags)) for part in WINDOWS}):
        widening = recovery_after_trades(books, n_lags=count, **clock)
        rows[f"{count * step_seconds:g}"] = _row(fit_kernel(widening, SPREAD), 1.0)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("window_s")


def contradicting_windows(windows: pd.DataFrame, used: str) -> pd.DataFrame:
    """The other windows that contradict the one used.

    Those whose identified half-life lies outside its interval, and longer ones that identify none;
    where the one used identifies none, all that do.

    Examples
    --------
    >>> spans = {"half_life": [7.0, 30.0], "low": [4.0, 9.0], "high": [17.0, 66.0]}
    >>> table = pd.DataFrame(spans | {"identified": True}, index=["60", "120"])
    >>> contradicting_windows(table, "60").index.tolist()
    ['120']
    """
    own, others = windows.loc[used], windows.drop(used)
    if not own["identified"]:
        return others[others["identified"]]
    longer = others.index.astype(float) > float(used)
    outside = ~others["half_life"].between(own["low"], own["high"])
    return others[np.where(others["identified"], outside, longer)]


def interval_text(low: float, high: float) -> str:
    """An interval of a half-life as people read it; 0 and infinity are open ends.

    Examples
    --------
    >>> interval_text(9.88, 17.0), interval_text(0.0, 2.5), interval_text(155.0, math.inf)
    ('9.88 to 17.0', 'below 2.50', 'above 155')
    """
    if math.isnan(low):
        return "shape rejected"
    if math.isinf(high):
        return f"above {significant(low)}" if low > 0 else "unbounded"
    return f"{significant(low)} to {significant(high)}" if low > 0 else f"below {significant(high)}"


def readable(spans: pd.DataFrame) -> pd.DataFrame:
    """A table of `half_lives` or `spread_windows` as people read it.

    A half-life stands only where it is identified; its interval and whether the impact decays,
    where the shape is not rejected.

    Examples
    --------
    >>> row = {"half_life": 9.0, "low": 4.0, "high": np.inf, "p_value": 0.5, "decays": True}
    >>> readable(pd.DataFrame([row | {"identified": False}])).astype(object).loc[0].tolist()
    [nan, 'above 4.00', '0.500', 'yes', 'no']
    """
    seen, words = spans["low"].notna(), {True: "yes", False: "not significant"}
    intervals = [interval_text(*ends) for ends in spans[["low", "high"]].to_numpy(float)]
    columns = {
        "half-life (s)": spans["half_life"].where(spans["identified"]),
        "95 % interval (s)": intervals, "p-value of the shape": spans["p_value"].map(p_value),
        "decays": spans["decays"].map(words).where(seen, ""),
        "identified": spans["identified"].map({True: "yes", False: "no"}),
    }  # fmt: skip
    return pd.DataFrame(columns, spans.index)


def by_lag(estimates: Mapping[str, LagEstimate], n_rows: int = 7) -> pd.DataFrame:
    """Estimates with their 95 % intervals as text, at lags that grow geometrically.

    Examples
    --------
    >>> lags = np.arange(1.0, 4.0)
    >>> estimate = LagEstimate(lags, 1 / lags, 0.01 * np.eye(3), 100, "trades")
    >>> by_lag({"G": estimate}, 2)["G"].tolist()
    ['1.00 [0.804, 1.20]', '0.333 [0.137, 0.529]']
    """
    texts = {}
    for name, estimate in estimates.items():
        shown = estimate.to_frame().map(significant)
        texts[name] = shown["estimate"] + " [" + shown["low"] + ", " + shown["high"] + "]"
    table = pd.DataFrame(texts)
    return table.iloc[np.unique(np.geomspace(1, len(table), n_rows).round().astype(int)) - 1]


@dataclass(frozen=True, eq=False)
class SplitOrder(Record):
    r"""An order in child orders, each paying half of its own impact and what is left of earlier.

    .. math:: \mathrm{cost}(x) = \tfrac12 x^\top G x, \qquad G_{ij} = G(|t_i - t_j|)

    Attributes
    ----------
    times : (n,) strictly rising, unit of time of the kernels
    total_shares : float
    bps : float
        Bps of the arrival mid in one currency per share, 1e4 / mid; 1 for a kernel in bps.

    Examples
    --------
    >>> order = SplitOrder(np.arange(3.0), 1_000.0, 100.0)
    >>> row = order.compared(ExponentialKernel(0.5, 1e-5))
    >>> row["optimal_bps"] < row["twap_bps"], round(row["first_%"], 2)
    (True, 41.78)
    """

    times: Float
    total_shares: float
    bps: float

    @property
    def twap(self) -> Float:
        """Equal child orders, (n,)."""
        return twap(self.total_shares, len(self.times)).shares

    def plan(self, kernel: Kernel) -> Float:
        """The cheapest child orders under this kernel, none of them of the other side, (n,)."""
        return transient_schedule(kernel, self.times, self.total_shares, min_shares=0.0).shares

    def cost(self, kernel: Kernel, shares: Float) -> float:
        """Cost of these child orders under this kernel, bps of the order's value at arrival."""
        return self.bps * price_path(kernel, self.times, shares).cost / self.total_shares

    def compared(self, kernel: Kernel) -> dict[str, float]:
        """TWAP and the cheapest schedule under this kernel: costs, saving, first and middle one."""
        plan, even = self.plan(kernel), self.cost(kernel, self.twap)
        least, percent = self.cost(kernel, plan), 100.0 * plan / self.total_shares
        costs = {"twap_bps": even, "optimal_bps": least, "saving_%": 100.0 * (1.0 - least / even)}
        return costs | {"first_%": float(percent[0]), "middle_%": float(percent[len(percent) // 2])}

    @property
    def half_lives(self) -> Float:
        """From a fifth of the time between child orders to that of the whole order, (13,)."""
        return np.geomspace(0.2 * self.times[1], self.times[-1], 13)

    def by_half_life(self, scale: float) -> pd.DataFrame:
        """`compared` under exponential kernels of this scale and these `half_lives`, as text."""
        lives = self.half_lives
        rows = {significant(life): self.compared(exponential(life, scale)) for life in lives}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("half_life_s")

    def what_if(self, scale: float) -> dict[str, Float]:
        """Plans for a short, a middle and a long one of the `half_lives`."""
        lives = self.half_lives[[5, 8, 11]]
        return {f"half-life of {significant(x)} s": self.plan(exponential(x, scale)) for x in lives}

    def ahead(self, shares: Float) -> Float:
        """How far these child orders are ahead of TWAP after each, % of the order, (n,)."""
        return np.asarray(100.0 * np.cumsum(shares - self.twap) / self.total_shares)

    def regret(self, kernels: Mapping[str, Kernel]) -> pd.DataFrame:
        """Saving against TWAP, per cent, of the plan for each kernel where each other is true."""
        plans = {f"plan: {name}": self.plan(kernel) for name, kernel in kernels.items()}
        table = pd.DataFrame(index=list(plans))
        for true, kernel in kernels.items():
            costs = np.array([self.cost(kernel, plan) for plan in plans.values()])
            table[f"truth: {true}"] = 100.0 * (1.0 - costs / self.cost(kernel, self.twap))
        return table


def exponential(half_life: float, scale: float) -> ExponentialKernel:
    """The exponential kernel of this half-life.

    Examples
    --------
    >>> exponential(10.0, 2.0)(10.0).item()
    1.0
    """
    return ExponentialKernel(math.log(2.0) / half_life, scale)


def decaying_component(kernel: DecayKernel) -> DecayKernel:
    """A kernel without its permanent component, which costs every schedule the same.

    Examples
    --------
    >>> decaying_component(ExponentialSumKernel((0.5, 0.0), (2.0, 1.0)))([0.0, 1e9]).tolist()
    [2.0, 0.0]
    """
    if not isinstance(kernel, ExponentialSumKernel):
        return kernel
    moving = [part for part in zip(kernel.decays, kernel.scales, strict=True) if part[0] > 0]
    decays, scales = zip(*moving, strict=True)
    return ExponentialKernel(*moving[0]) if len(moving) == 1 else type(kernel)(decays, scales)


def mid_schedule(
    order: SplitOrder, fit: KernelFit, *, seconds: float, mean_shares: float
) -> tuple[dict[str, float], Float]:
    """The schedule that follows from the decay of the mid.

    Parameters
    ----------
    order : SplitOrder
    fit : KernelFit
        Of the propagator in bps, by market orders of mean size.
    seconds : float
        Of one unit of its lags.
    mean_shares : float
        Of one market order.

    Returns
    -------
    row, plan
        half_life_s and `SplitOrder.compared`; (n,) shares.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> fit = fit_kernel(LagEstimate(lags, ExponentialKernel(0.2)(lags), cov, 5000, "seconds"))
    >>> order = SplitOrder(np.arange(3.0), 1_000.0, 100.0)
    >>> row, plan = mid_schedule(order, fit, seconds=1.0, mean_shares=100.0)
    >>> round(row["half_life_s"], 2), plan.round().tolist()
    (3.47, [458.0, 83.0, 458.0])
    """
    # In mean market orders, and in the unit of the lags, the kernel is in bps.
    own = SplitOrder(order.times / seconds, order.total_shares / mean_shares, 1.0)
    kernel = decaying_component(fit.kernel)
    row = {"half_life_s": seconds * fit.half_life} | own.compared(kernel)
    return row, mean_shares * own.plan(kernel)


def spread_kernels(block: BlockBook) -> dict[str, ExponentialKernel]:
    """Kernels of the touch at the half-life of the spread and at the ends of its interval.

    Empty where the half-life is not identified.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, fit_block_book
    >>> block = fit_block_book(TransientMarket().books(8000, np.random.default_rng(3)))
    >>> [round(kernel.half_life, 1) for kernel in spread_kernels(block).values()]
    [4.1, 5.4, 7.4]
    """
    if not block.spread.identified:
        return {}
    value, low, high = block.half_life
    lives = {"low end": low, "estimate": value, "high end": high}
    return {name: exponential(life, block.scale[0]) for name, life in lives.items()}


def cost_ranges(order: SplitOrder, block: BlockBook) -> pd.DataFrame:
    """What TWAP pays and what the plan saves, bps, by the block-shaped book.

    Returns
    -------
    DataFrame
        Index "TWAP pays" and "the plan saves"; columns estimate, low, high. The range is over the
        ends of both intervals, of the half-life and of the scale; where no half-life is identified
        the estimate is the largest over all of `SplitOrder.by_half_life`, the range of the scale.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, fit_block_book
    >>> block = fit_block_book(TransientMarket().books(8000, np.random.default_rng(3)))
    >>> table = cost_ranges(SplitOrder(10.0 * np.arange(60), 5_000.0, 100.0), block)
    >>> bool((table["low"] < table["estimate"]).all())
    True
    """
    if kernels := spread_kernels(block):
        plan = order.plan(kernels["estimate"])
        pays = {name: order.cost(kernel, order.twap) for name, kernel in kernels.items()}
        saves = {name: pays[name] - order.cost(kernel, plan) for name, kernel in kernels.items()}
    else:
        table = order.by_half_life(block.scale[0])
        pays = {"estimate": table["twap_bps"].max()}
        saves = {"estimate": (table["twap_bps"] - table["optimal_bps"]).max()}
    ends, rows = np.array(block.scale[1:]) / block.scale[0], {}
    for name, values in (("TWAP pays", pays), ("the plan saves", saves)):
        corners = np.outer(ends, [*values.values()])
        rows[name] = [values["estimate"], corners.min(), corners.max()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "low", "high"])


def best_known(fits: Mapping[str, KernelFit]) -> str:
    """The name of the fit that says most: identified, then decaying, then not rejected.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> fast, slow = (
    ...     fit_kernel(LagEstimate(lags, ExponentialKernel(rate)(lags), cov, 5000, "trades"))
    ...     for rate in (0.2, 1e-6)
    ... )
    >>> best_known({"slow": slow, "fast": fast})
    'fast'
    """
    known = {name: (one.identified, _shows_decay(one), one.describes) for name, one in fits.items()}
    return max(known, key=lambda name: known[name])


def main_table(
    fits: Mapping[str, tuple[KernelFit, float]], ranges: pd.DataFrame, truth: Sequence[float] = ()
) -> pd.DataFrame:
    """The findings in one table: half-lives, what TWAP costs, and what the schedule saves.

    Parameters
    ----------
    fits : mapping of what decays to its KernelFit and the seconds of one unit of its lags
        The spread last: the costs are identified where its half-life is.
    ranges : DataFrame
        Of `cost_ranges`.
    truth : sequence of float
        Of each row, on a market where it is known.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> fit = fit_kernel(LagEstimate(lags, ExponentialKernel(0.2)(lags), cov, 5000, "seconds"))
    >>> ranges = pd.DataFrame({"estimate": [3.0, 0.1], "low": [2.0, 0.0], "high": [4.0, 0.2]})
    >>> table = main_table({"spread": (fit, 1.0)}, ranges)
    >>> table.iloc[:2, 1].tolist()
    ['3.46 to 3.47', '2.00 to 4.00']
    """
    spans = {f"half-life of the {name} (s)": _row(*fit) for name, fit in fits.items()}
    lives = readable(pd.DataFrame.from_dict(spans, orient="index"))
    columns = {"half-life (s)": "estimate", "95 % interval (s)": "95 % interval or range"}
    table = lives[[*columns, "identified"]].rename(columns=columns)
    known = table["identified"].iloc[-1]
    most = "" if known == "yes" else ", at most"
    ends = ranges[["low", "high"]].map(significant).agg(" to ".join, axis=1)
    costs = {"estimate": ranges["estimate"], columns["95 % interval (s)"]: ends}
    what = ("transient cost of TWAP", "saving of the optimal schedule")
    names = [f"{one}{most} (bps)" for one in what]
    whole = pd.concat([table, pd.DataFrame(costs | {"identified": known}).set_axis(names)])
    return whole.assign(truth=truth) if len(truth) else whole


def state_sentence(block: BlockBook) -> str:
    """Whether the block-shaped book can describe the market, and what that means for the costs.

    Examples
    --------
    >>> from research_lib.transient import TransientMarket, fit_block_book
    >>> block = fit_block_book(TransientMarket().books(8000, np.random.default_rng(3)))
    >>> state_sentence(block)[:49]
    'The block-shaped book can describe this market: t'
    """
    return f"{STATES[block.state]} {UPPER_BOUND if block.bounded else ''}".strip()


def decay_sentence(market: str, fits: Mapping[str, KernelFit], truth: str = "") -> str:
    """One sentence on the half-life of a market order's impact.

    Parameters
    ----------
    market : str
    fits : mapping of how lags are counted, such as "by the clock", to the best KernelFit
    truth : str
        What is known of the true half-life, to stand beside the interval.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> fit = fit_kernel(LagEstimate(lags, ExponentialKernel(0.2)(lags), cov, 5000, "seconds"))
    >>> decay_sentence("GOOG", {"by the clock": fit})[-55:]
    'half-life of 3.47 seconds (95 % interval 3.46 to 3.47).'
    """
    fit = fits[best_known(fits)]
    if fit.identified:
        part = "the decaying part of " if fit.family == SPREAD else ""
        reading = fit.reading.replace(")", f"{truth})")
        return f"On {market}, {part}a market order's impact has a {reading}."
    flat = [other for other in fits if _shows_decay(fit) and not _shows_decay(fits[other])]
    weaker = "".join(f"; {other}, a constant impact agrees with the data too" for other in flat)
    return f"On {market}, the half-life of a market order's impact is {fit.reading}{weaker}."


def spread_sentence(spread: KernelFit, windows: pd.DataFrame, used: str, truth: str = "") -> str:
    """One sentence on the half-life of the spread, and on windows that contradict it.

    Parameters
    ----------
    spread : KernelFit
        Over the window used.
    windows : DataFrame
        Of `spread_windows`.
    used : str
        The window used, seconds.
    truth : str
        As in `decay_sentence`.

    Examples
    --------
    >>> lags = np.arange(1.0, 31.0)
    >>> cov = 1e-8 * (np.minimum.outer(lags, lags) + np.eye(30))
    >>> fit = fit_kernel(LagEstimate(lags, ExponentialKernel(0.2)(lags), cov, 5000, "seconds"))
    >>> rows = [{"half_life": 3.5, "low": 3.0, "high": 4.0, "identified": True}] * 2
    >>> spread_sentence(fit, pd.DataFrame(rows, index=["20", "60"]), "60")[-30:]
    '; windows of 20 to 60 s agree.'
    """
    against = contradicting_windows(windows, used)
    lives = against["half_life"].where(against["identified"])
    readings = [f"{significant(life)} seconds over {at} s" for at, life in lives.items()]
    others = " and ".join(readings).replace("n/a seconds", "not identified")
    if not spread.identified:
        ending = f", although it is {others}" if others else ""
        return f"The half-life of the spread after a trade is {spread.reading}{ending}."
    if others:
        claim = "How fast the spread returns depends on the window over which it is followed"
        return f"{claim}: a {spread.reading} over {used} s, but {others}."
    ends = f"windows of {windows.index[0]} to {windows.index[-1]} s agree"
    return f"The spread returns with a {spread.reading.replace(')', f'{truth})')}; {ends}."


def schedule_sentence(order: str, ranges: pd.DataFrame, identified: bool) -> str:
    """One sentence on what the schedule saves against TWAP, or that none is warranted.

    Parameters
    ----------
    order : str
        Such as "20,000 shares in 30 minutes".
    ranges : DataFrame
        Of `cost_ranges`.
    identified : bool
        Whether the half-life of the spread is.

    Examples
    --------
    >>> rows = {"TWAP pays": [3.0, 2.0, 4.0], "the plan saves": [1.0, 0.5, 2.0]}
    >>> ranges = pd.DataFrame.from_dict(rows, "index", columns=["estimate", "low", "high"])
    >>> schedule_sentence("100 shares", ranges, identified=False)[-68:]
    '1.00 bps of the arrival mid (0.500 to 2.00), whatever the half-life.'
    """
    shown = ranges.map(significant)
    pays = "{estimate} bps ({low} to {high})".format(**shown.loc["TWAP pays"])
    saving = "{estimate} bps of the arrival mid ({low} to {high})"
    saves = saving.format(**shown.loc["the plan saves"])
    none = f"No schedule other than TWAP is warranted: for {order} the optimal one saves"
    if not identified:
        return f"{none} at most {saves}, whatever the half-life."
    if ranges.loc["the plan saves", "low"] <= 0:
        return f"{none} {saves}, where TWAP has a transient cost of {pays}."
    model = "the optimal schedule under the block-shaped order book"
    twap_pays = f"against TWAP, whose transient cost is {pays}"
    return f"For {order}, {model} saves {saves} {twap_pays}."


def _shows_decay(fit: KernelFit) -> bool:
    return fit.describes and fit.decays


def _row(fit: KernelFit, seconds: float) -> dict[str, Any]:
    known = (fit.half_life, *fit.interval) if fit.describes else (math.nan,) * 3
    span = {f: seconds * v for f, v in zip(("half_life", "low", "high"), known, strict=True)}
    return span | {"p_value": fit.p_value, "decays": fit.decays, "identified": fit.identified}

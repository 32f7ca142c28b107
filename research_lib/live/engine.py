"""One order on a feed: keeps the book, samples it, decides, and books what is filled."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from research_lib.checks import Float
from research_lib.config import Json
from research_lib.errors import ValidationError
from research_lib.evaluation import Child, Ladder, Strategy
from research_lib.live.events import Book, Event, FillReport, Gap, Trade
from research_lib.live.journal import Journal
from research_lib.live.plan import Plan
from research_lib.market import BookSnapshots, Trades
from research_lib.market.book import LEVELS, side_sign, unchecked
from research_lib.monitoring import MONITOR

NOTHING = Child(0.0)
_NO_BOOK: Any = {name: np.zeros((1, 1)) for name in LEVELS}
_WIDE = ("premium", "size")  # of a ladder: by level
TRADE = [("time", "i8"), ("price", "f8"), ("size", "f8"), ("aggressor", "i8")]
ROUNDING = 1e-9  # of a child order: of the shares in its reports


class Worked:
    """How far a strategy is.

    Attributes
    ----------
    strategy : Strategy
    filled, cost : (n,)
        By interval: shares filled, and their cost over the mid, currency.
    open : dict of interval to Child
        Child orders that are not yet known to be filled.
    overfilled : str
        The last child order that has filled more than its shares; "" if none has.

    Examples
    --------
    >>> from research_lib.evaluation import Twap
    >>> worked = Worked(Twap(), 3)
    >>> worked.open[0] = Child(10.0)
    >>> worked.committed(2).tolist()
    [10.0, 0.0]
    """

    def __init__(self, strategy: Strategy, n: int) -> None:
        self.strategy = strategy
        self.filled, self.cost = np.zeros(n), np.zeros(n)
        self.open: dict[int, Child] = {}
        self.overfilled = ""

    def committed(self, t: int) -> Float:
        """Shares filled before t, with all that an open child order could still fill, (t,)."""
        taken = self.filled[:t].copy()
        for k, child in self.open.items():
            taken[k] = max(child.shares, taken[k])
        return taken

    def book(self, t: int, shares: float, cost: float, done: bool = True) -> None:
        """What the child order of interval t has filled in all."""
        child = self.open.get(t)
        if child and shares > child.shares * (1 + ROUNDING):
            self.overfilled = f"{shares:g} shares are filled of interval {t}'s {child.shares:g}"
        self.filled[t], self.cost[t] = shares, cost
        if done:
            self.open.pop(t, None)

    def cost_bps(self, arrival: float) -> float:
        """Cost of a filled share over the mid of its fill, bps of the first mid; NaN: none yet."""
        filled = float(self.filled.sum())
        return float(1e4 * self.cost.sum() / filled / arrival) if filled else math.nan


class _Due(NamedTuple):
    """The child order of interval t on its way to the book, with its arrival, ns."""

    t: int
    arrival: int
    one: Worked


def _row(book: Book | None) -> Any:
    """Levels of a book, (1, L), which are empty where there is none."""
    return _NO_BOOK if book is None else {name: getattr(book, name)[None] for name in LEVELS}


class Engine:
    """A state machine: events in; child orders, fills, stops and the end out.

    What it says is written to the journal first. An engine that is started again on the same
    journal goes on with the same order, and tells a child order that is not known to be filled once
    more under its id. Child orders and simulated fills are those of `evaluation.run` on the same
    states, while no guard stops it. A report of more shares than a child order has is booked and
    ends the advice ("overfilled"): a new order, after the gateway is corrected, works what is left.
    Reports that come after the close are booked, and the end is written again.

    Parameters
    ----------
    plan : Plan
    journal : Journal
    tell : callable of a record
        Hears what is written.

    Attributes
    ----------
    finished : bool
        Whether the session has closed.
    counts : Counter
        Events by kind; reports refused.

    Raises
    ------
    ValidationError
        The journal of another order or a damaged one; a latency as long as an interval.
    """

    def __init__(
        self, plan: Plan, journal: Journal, tell: Callable[[Json], None] = lambda record: None
    ) -> None:
        n, days = plan.session.n_intervals, [plan.day]
        self.plan, self.journal, self.tell = plan, journal, tell
        self.starts, self.opened = plan.session.starts(days)[0], plan.session.opened(days)[0]
        self.close, self.lag = plan.bounds[1], round(1e9 * plan.latency_seconds)
        length = int(np.diff(self.starts, append=self.close).min())
        if self.lag >= length:
            late = f"latency_seconds {plan.latency_seconds:g} must be below an interval's"
            raise ValidationError(f"{late} {length / 1e9:g} s; take fewer intervals")
        self.own, self.benchmark = Worked(plan.strategy, n), Worked(plan.benchmark, n)
        self.counts: Counter[str] = Counter()
        self.t, self.now, self.finished, self.unsent = 0, 0, False, False
        self.before = 0  # time of the last record of an earlier process, ns UTC
        self.arrival, self.traded = math.nan, 0.0
        self.book: Book | None = None
        self.doubted: Event | None = None  # a step forward that no second event has confirmed
        self.sent = dict[int, int]()  # when child orders were told first
        # Of reported fills: the mid that the child order met, and their mean price.
        self.met_mid, self.price = np.full(n, math.nan), np.full(n, math.nan)
        self.gap_reason, self.clock_fault, self.faults = "", "", dict[str, str]()
        self.trades, self.due = list[Trade](), deque[_Due]()
        self.sampled: BookSnapshots | None = None  # of the last start
        blank, none = np.zeros(n), np.zeros((n, 1))
        shown = (blank.astype(np.int64), np.full(n, np.nan), blank, none, none.copy())
        self.seen = Ladder(plan.side, self.starts, *shown, np.zeros((n, 4)), plan.symbol)
        self._restore()

    def handle(self, event: Event | FillReport) -> None:
        """Take in one event; what is due before its time is done first, by what was known then.

        Raises
        ------
        OSError
            The log or what hears the records cannot be written to.
        """
        if isinstance(event, FillReport):
            return self._report(event)
        self.counts[type(event).__name__.lower()] += 1
        limits, doubted = self.plan.settings.limits, self.doubted
        step, self.doubted = limits.step(self.now, event.time), None
        if step and event.time > self.now:
            if doubted and not limits.step(doubted.time, event.time):
                self._apply(doubted)
                step = ""
            else:  # one wrong time does not end the order; the first of all stops nothing either
                self.doubted, self.clock_fault = event, step if self.now else ""
                return self._react()
        self.clock_fault = step
        return self._apply(event)

    def _apply(self, event: Event) -> None:
        """Take in an event whose time is not in doubt."""
        began, before = time.perf_counter(), self.t
        self.now = max(self.now, event.time)
        self._advance(self.now)
        if isinstance(event, Trade):
            self._trade(event)
        elif isinstance(event, Gap):
            self.book, self.gap_reason = None, event.reason
        elif isinstance(event, Book):
            self.book, self.gap_reason = event, ""
            while self.due and self.due[0].arrival < event.time < self.close:
                self._fill()  # it waited for a book that is not too old
        if not isinstance(event, Trade):
            self._react()
        if self.now >= self.close and not self.finished:
            self.finish()
        if self.t > before:
            MONITOR.record_timing("live: decision", time.perf_counter() - began)

    def _react(self) -> None:
        """Look at the guards within the session, and send what they held back of its end."""
        # A recording that is heard again after a restart is behind the last start for a while.
        if self.t and self.starts[self.t - 1] <= self.now < self.close:
            self._check_guards(self.now)
            if self.unsent and not self.faults:
                self._write(self._child(self.t - 1, self.now))

    def finish(self) -> None:
        """Fill what is still on its way in the last book, and say how the order ended."""
        while self.due:
            self._fill()
        self.finished = True
        self._write(self._end())

    def _end(self) -> Json:
        waiting = [self._id(t) for t in self.own.open]
        return {"kind": "end", **self.progress(), "open": waiting}

    def warn(self, why: str) -> None:
        """Say and keep what whoever watches should know."""
        self._write({"kind": "warning", "why": why, "time": self._time}, sync=False)

    def progress(self) -> dict[str, Any]:
        """What is left, and the cost so far beside the benchmark's, bps of the first mid."""
        total = self.plan.order.total_shares
        done, beside = (float(one.filled.sum()) / total for one in (self.own, self.benchmark))
        return {
            "order": self.plan.id, "time": self._time, "interval": self.t,
            "left": max(1.0 - done, 0.0) * total, "filled_pct": 100 * done,
            "benchmark_pct": 100 * beside, "even_pct": 100 * self.t / len(self.starts),
            "stopped": list(self.faults),
            "cost_bps": self.own.cost_bps(self.arrival),
            "benchmark_bps": self.benchmark.cost_bps(self.arrival),
        }  # fmt: skip

    @property
    def _time(self) -> int:
        """The latest time that is known, ns UTC."""
        return max(self.now, self.before)

    def _advance(self, now: int) -> None:
        """Fills on arrival and decisions at starts before `now`, in their order."""
        max_age = self.plan.settings.max_age_seconds
        while True:
            start = int(self.starts[self.t]) if self.t < len(self.starts) else self.close
            arrival = self.due[0].arrival if self.due else self.close
            # Where the book is too old the order waits for the next one, which `handle` sees.
            book = self._shown(self.due[0].t) if max_age and self.due else None
            if book is not None and arrival - book.time > 1e9 * max_age:
                arrival = self.close
            if min(start, arrival) >= min(now, self.close):
                return
            if arrival <= start:
                self._fill()
            else:
                self._decide(start, now)

    def _shown(self, t: int) -> Book | None:
        """The book, unless it is from before the session or its last break."""
        around = self.plan.session.block is not None
        return self.book if self.book and (around or self.book.time >= self.opened[t]) else None

    def _trade(self, trade: Trade) -> None:
        """Keep a trade since the last book that was sampled."""
        if trade.time >= self.starts[max(self.t - 1, 0)]:
            last = self.trades[-1].time if self.trades else 0
            self.trades.append(trade._replace(time=max(trade.time, last)))

    def _decide(self, start: int, now: int) -> None:
        """Sample the book at the start of interval t and advise its child order."""
        t, self.t, row = self.t, self.t + 1, _row(self._shown(self.t))
        rows = np.array(self.trades, TRADE)
        self._sample(t, row, Trades(rows["time"], rows["price"], rows["size"], rows["aggressor"]))
        gone = [one.size for one in self.trades if one.time < start]
        self.traded, self.trades = self.traded + sum(gone), self.trades[len(gone) :]
        self._check_guards(start, (now - start) / 1e9)
        committed, of = self.benchmark.committed(t), self.plan.order
        benchmark = self.benchmark.strategy.child(t, committed, self.seen, of)
        self.benchmark.open[t] = benchmark
        self.due.append(_Due(t, start + self.lag, self.benchmark))
        child = {} if self.faults else self._child(t, start)
        self.unsent = bool(self.faults) and t + 1 == len(self.starts)
        levels = {name: one[0] for name, one in row.items()}
        known = {"signals": self.seen.signals[t], "traded": self.traded, "stopped": self.faults}
        # A write that is cut off never leaves the child order without the book that it came from.
        orders = {"benchmark": benchmark, "child": self.own.open.get(t, NOTHING)}
        self._write({"kind": "book", "t": t, "time": start, **levels, **known, **orders}, child)

    def _sample(self, t: int, row: Any, trades: Trades | None = None) -> None:
        """Show the strategies the book of interval t, and what was traded since the one before."""
        now = BookSnapshots(self.starts[t : t + 1], **row)
        pair = [now] if self.sampled is None else [self.sampled, now]
        two = unchecked(BookSnapshots.concat(pair), trades=trades)
        shown, self.sampled = Ladder.shown(two, self.plan.side).take([-1]), now
        if (more := now.n_levels - self.seen.size.shape[1]) > 0:
            wide: Any = {name: np.pad(self.seen[name], ((0, 0), (0, more))) for name in _WIDE}
            self.seen = replace(self.seen, **wide)
        for name in ("mid", "half_spread", "signals"):
            self.seen[name][t] = shown[name][0]
        for name in _WIDE:
            self.seen[name][t, : now.n_levels] = shown[name][0, : now.n_levels]
        if not math.isfinite(self.arrival):
            self.arrival = float(shown.mid[0])

    def _check_guards(self, now: int, late: float = 0.0) -> None:
        """Say which guards stop advice from now on, and which no longer do."""
        at, found = max(self.t - 1, 0), {"gap": self.gap_reason}
        if not self.gap_reason:
            known = self._shown(at), now, int(self.opened[at]), late, self.arrival
            found = self.plan.settings.limits.faults(*known)
        found |= {"clock": self.clock_fault, "overfilled": self.own.overfilled}
        before, self.faults = self.faults, {name: why for name, why in found.items() if why}
        for name in [one for one in self.faults if one not in before]:
            stop = {"kind": "stop", "guard": name, "why": self.faults[name], "time": now}
            self._write(stop, sync=False)
        for name in [one for one in before if one not in self.faults]:
            self._write({"kind": "resume", "guard": name, "time": now}, sync=False)

    def _child(self, t: int, sent: int) -> Json:
        """The child order of interval t within the limits, on its way; empty if there is none."""
        order, n, settings = self.plan.order, len(self.starts), self.plan.settings
        committed = self.own.committed(t)
        child = self.own.strategy.child(t, committed, self.seen, order)
        most = settings.limits.max_shares(float(committed.sum()), self.traded)
        if t + 1 == n and settings.completion == "leave":
            most = min(most, order.total_shares / n)
        if child.shares > most:
            cut = {"kind": "limit", "t": t, "time": sent, "requested": child.shares}
            self._write(cut | {"max_shares": most}, sync=False)
            child = child._replace(shares=most, forced=min(child.forced, most))
        self.unsent = False
        if not child.shares > 0:
            return {}
        self.own.open[t], self.sent[t] = child, sent
        self.due.append(_Due(t, sent + self.lag, self.own))
        return self._record(t)

    def _record(self, t: int) -> dict[str, Any]:
        """The open child order of interval t as it is told."""
        child, mid = self.own.open[t], float(self.seen.mid[t])
        price = mid + side_sign(self.plan.side) * child.limit
        return {
            "kind": "child", "id": self._id(t), "t": t, "time": self.sent[t],
            "side": self.plan.side, "symbol": self.plan.symbol, "shares": child.shares,
            "limit_price": price if child.limit < mid else None,
            "limit": child.limit, "forced": child.forced,
        }  # fmt: skip

    def _id(self, t: int) -> str:
        return f"{self.plan.id}-{t:04d}"

    def _fill(self) -> None:
        """Fill the first child order that is on its way in the book that it meets."""
        t, arrival, one = self.due.popleft()
        met = Ladder.shown(BookSnapshots([arrival], **_row(self._shown(t))), self.plan.side)
        mid, known = float(met.mid[0]), {"t": t, "time": self.now}
        if one is self.own and self.plan.settings.fills == "stdin":
            self._meet(t, mid)
            return self._write({"kind": "met", **known, "mid": mid}, sync=False)
        shares, cost = one.strategy.meet(one.open[t], self.seen.take([t]), met)
        one.book(t, shares, cost)
        kind = "benchmark" if one is self.benchmark else "fill"
        price = mid + side_sign(self.plan.side) * cost / shares if shares else math.nan
        fill = {"id": self._id(t), **known, "shares": shares, "price": price}
        return self._write(
            {"kind": kind, **fill, "done": True, "cost": cost, "mid": mid}, sync=one is self.own
        )

    def _meet(self, t: int, mid: float) -> None:
        """Keep the mid of the book that a child order met: reports before it cost over it, too."""
        self.met_mid[t] = mid
        if self.own.filled[t]:
            self.own.cost[t] = self._cost(t, self.own.filled[t], self.price[t])

    def _cost(self, t: int, shares: float, price: float) -> float:
        """Of reported fills, currency over the mid that the child order met."""
        return side_sign(self.plan.side) * shares * (price - self._mid(t, price)) if shares else 0.0

    def _mid(self, t: int, price: float) -> float:
        """That the child order met, else was decided at, else of the present book, else `price`."""
        book = self._shown(t)
        shown = 0.5 * sum(book.touch) if book else math.nan
        mids = self.met_mid[t], self.seen.mid[t], shown
        return next((float(one) for one in mids if math.isfinite(one)), price)

    def _report(self, report: FillReport) -> None:
        """Book what the gateway says is filled of a child order; what cannot be true is refused."""
        ids = {self._id(t): t for t in self.own.open}
        t, shares, price = ids.get(report.id, -1), report.shares, report.price
        mid, band, why = self._mid(t, price), self.plan.settings.limits.price_band, ""
        if t < 0:
            why = "no child order with this id is open"
        elif not self.own.filled[t] <= shares < math.inf:
            why = f"shares are all so far, {self.own.filled[t]:g} were reported"
        elif shares and not (price > 0 and abs(price / mid - 1.0) <= band):
            why = f"the price must be within {band:.1%} of {mid:g}"
        if why:
            self.counts["refused"] += 1
            refused = {"kind": "refused", "why": why, **report._asdict(), "time": self._time}
            return self._write(refused, sync=False)
        self.price[t], cost = price, self._cost(t, shares, price)
        self.own.book(t, shares, cost, report.done)
        fill = {"kind": "fill", **report._asdict(), "t": t, "time": self._time}
        # After the close the end is written once more.
        end = self._end() if self.finished else {}
        return self._write(fill | {"cost": cost, "mid": mid}, end)

    def _write(self, *records: Json, sync: bool = True) -> None:
        said = [one for one in records if one]
        self.journal.write(*said, sync=sync)
        for one in said:
            self.tell(one)

    def _restore(self) -> None:
        """Go on from the journal, or begin it."""
        plan = self.plan
        own: Json = {
            "kind": "order", "id": plan.id, "symbol": plan.symbol, "side": plan.side,
            "shares": plan.order.total_shares, "intervals": len(self.starts), "close": self.close,
            "strategy": plan.strategy.name, "benchmark": plan.benchmark.name,
            "fitted_on": plan.source, "latency_seconds": plan.latency_seconds,
        }  # fmt: skip
        records = self.journal.records
        if records and records[0] != own:
            whose = f"{self.journal.path} is the log of another order, {records[0]}"
            raise ValidationError(f"{whose}; name a new one")
        for number, record in enumerate(records[1:], 2):
            try:
                self._restore_record(record)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                damaged = f"{self.journal.path} is damaged in line {number}: {error!r}"
                raise ValidationError(f"{damaged}; move it away") from error
        if not records:
            return self._write(own)
        if self.finished:
            last = next(one for one in reversed(records) if one["kind"] in ("fill", "end"))
            return self.tell(last) if last["kind"] == "end" else self._write(self._end())
        for t in self.own.open:
            self._write({**self._record(t), "repeated": True})
        due = [_Due(t, int(self.starts[t]) + self.lag, self.benchmark) for t in self.benchmark.open]
        reported = np.flatnonzero(self.own.filled) if plan.settings.fills == "stdin" else ()
        for t in {*self.own.open, *map(int, reported)}:
            if math.isnan(self.met_mid[t]):
                due.append(_Due(t, self.sent[t] + self.lag, self.own))
        self.due.extend(sorted(due, key=lambda one: one.arrival))
        return None

    def _restore_record(self, record: Json) -> None:
        """Take in a record of an earlier process."""
        kind = record["kind"]
        self.before = max(self.before, record["time"])
        self.finished |= kind == "end"
        if kind == "stop":
            self.faults[record["guard"]] = record["why"]
        elif kind == "resume":
            self.faults.pop(record["guard"], None)
        if kind not in ("child", "book", "fill", "benchmark", "met"):
            return
        t = record["t"]
        if t != self.t and kind == "book":
            raise ValueError(f"interval {self.t} is missing before {t}")
        if kind in ("child", "book"):
            self.sent[t] = record["time"]
        if kind == "child":
            self.own.open[t] = _child_of(record["shares"], record["limit"], record["forced"])
            self.unsent &= t + 1 != self.t
        elif kind == "met":
            self._meet(t, math.nan if record["mid"] is None else record["mid"])
        elif kind == "book":
            self.t, self.unsent = t + 1, t + 1 == len(self.starts) and bool(record["stopped"])
            if record["child"][0]:
                self.own.open[t] = _child_of(*record["child"])
            self._sample(t, {name: np.array(record[name], float)[None] for name in LEVELS})
            self.seen.signals[t], self.traded = record["signals"], record["traded"]
            self.benchmark.open[t] = _child_of(*record["benchmark"])
        else:
            of = self.own if kind == "fill" else self.benchmark
            of.book(t, record["shares"], record["cost"], record.get("done", True))
            if kind == "fill":
                self.price[t] = math.nan if record["price"] is None else record["price"]


def _child_of(shares: float, limit: float | None, forced: float) -> Child:
    return Child(shares, math.inf if limit is None else limit, forced)

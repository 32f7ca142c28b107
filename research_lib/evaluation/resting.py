"""Orders that rest at a quote, and what fills them, by a model of the queue."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from research_lib.checks import Array, Float, Int64, number, per_interval, refuse_unknown
from research_lib.compiling import compiled
from research_lib.config import Limited, Record, limited
from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots
from research_lib.market.book import side_sign
from research_lib.market.messages import CANCEL, Messages
from research_lib.market.presets import price_grid

QUEUES = ("last", "proportional", "exact", "first")  # from the pessimistic to the optimistic
LAST, PROPORTIONAL, EXACT, FIRST = range(4)
KINDS = ("a trade at its price", "a trade beyond it", "an opposite quote", "a gap")
AT_PRICE, BEYOND, QUOTE, GAP = range(4)
Columns = tuple[Int64, Float, Int64, Int64]  # of fills: time, shares, tick, kind
MAX_LEVELS = 10  # looked at for the displayed shares at a price
NOWHERE = np.iinfo(np.int64).min // 4  # ticks of an empty level, worse than every price
NEVER = np.iinfo(np.int64).max
# Locked states from which on quotes are rounded prices: an equal opposite one fills nothing.
LOCKED_SHARE = 0.01
MAX_APART_SECONDS = 10.0  # between usual states: of samples nothing can be followed


@dataclass(frozen=True)
class Posting(Limited):
    """How a child order rests.

    Attributes
    ----------
    queue : str
        What is assumed of the orders ahead. "last": the whole displayed queue, cancellations come
        from behind (the fewest fills); "first": none (the most fills); "proportional":
        cancellations spread evenly over the queue; "exact": each order's own fate, from messages.
    offset_ticks : int
        0 at the best quote of the own side, above 0 behind it, below 0 inside the spread, never
        nearer than a tick to the other side.
    follow : bool
        Whether the order is entered anew, last in the queue, when the quote has moved away.
    latency_seconds : float
        From each decision to its arrival.

    Examples
    --------
    >>> Posting("first", latency_seconds=0.0).queue
    'first'
    """

    queue: str = "last"
    offset_ticks: int = 0
    follow: bool = True
    latency_seconds: float = limited(1.0, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unknown([self.queue], QUEUES, "queue")


class RecordedOrders(NamedTuple):
    """Recorded orders of one side, to see what a model says of them.

    They are taken off the displayed queue while they stand. price (n,) currency per share; those
    of order k were executed at time[first[k]:last[k]], ns UTC, by size shares.
    """

    price: Float
    first: Int64
    last: Int64
    time: Int64
    size: Float


class Side(NamedTuple):
    """A recording as an order of one side meets it; ticks rise towards a better price to post."""

    time: Int64
    own_tick: Array
    own_size: Float
    other_tick: Array
    other_size: Float
    trade_time: Int64
    trade_tick: Int64
    trade_size: Float
    hits: Array  # 1 trades with the own side, 0 unsigned, -1 with the other
    cancel_time: Int64
    cancel_tick: Int64
    cancel_size: Float
    cancel_entered: Int64
    strict: bool  # whether an opposite quote at a price leaves orders at it alone
    inferred: bool
    gap: int  # ns


@dataclass(frozen=True, eq=False)
class Recording(Record):
    """What happened to a book between samples: its states, its trades, and its order messages.

    Of states with the same time the last counts. Trades belong to the first state at or after them.

    Attributes
    ----------
    books : BookSnapshots
        Complete states at distinct times, with trades.
    tick : float
        Currency per share. Bids are rounded up to it, asks and trades down: a book that was widened
        about a rounded price is as displayed again.
    messages : Messages, optional
        Of the queue model "exact".
    inferred : bool
        Whether the aggressors of trades are inferred: "first" then takes any trade at its price.
    gap_seconds : float
        Longer without a state the recording stood still: "first" then fills what rests. Infinite
        where every event is recorded.

    Raises
    ------
    ValidationError
        No trades at all, no complete state, states more than ten seconds apart (samples), messages
        of another time, a tick below 0 or a gap not above 0.

    Examples
    --------
    >>> from research_lib.market import QueueMarket, Session
    >>> market = QueueMarket(session=Session(5, close="09:35"))
    >>> books, messages = market.days(1, np.random.default_rng(0))
    >>> Recording.of(books, messages=messages).tick
    0.01
    """

    books: BookSnapshots
    tick: float
    messages: Messages | None = None
    inferred: bool = False
    gap_seconds: float = np.inf

    def __post_init__(self) -> None:
        if not self.gap_seconds > 0:
            raise ValidationError(f"gap_seconds must be above 0, got {self.gap_seconds!r}")

    @classmethod
    def of(
        cls, states: BookSnapshots, tick: float = 0.0, messages: Messages | None = None, **how: Any
    ) -> Self:
        """Of every state of a recording; the tick is by default the grid of the best quotes.

        `how` are inferred and gap_seconds.
        """
        if states.trades is None:
            raise ValidationError("the recording has no trades: nothing can fill a resting order")
        whole = np.flatnonzero(states.complete)
        if not len(whole):
            raise ValidationError("none of the states is complete; give states as read")
        settled = whole[np.diff(states.time[whole], append=np.iinfo(np.int64).max) > 0]
        number("tick", tick, 0)
        apart = float(np.median(np.diff(states.time[settled]))) / 1e9 if len(settled) > 1 else 0.0
        if apart > MAX_APART_SECONDS:
            raise ValidationError(f"the states stand {apart:g} s apart; give every state as read")
        if messages is not None and not _overlap(messages.time, states.time):
            raise ValidationError("the messages are of another time than the books; read both anew")
        return cls(states.take(settled), tick or price_grid(states), messages, **how)

    @cached_property
    def _sides(self) -> dict[str, Side]:
        return {side: self._side(side) for side in ("buy", "sell")}

    def side(self, side: str) -> Side:
        """The arrays that orders of a side meet."""
        side_sign(side)
        return self._sides[side]

    def _side(self, side: str) -> Side:
        sign, names = (1, ("bid", "ask")) if side == "buy" else (-1, ("ask", "bid"))
        levels = list[Any]()
        for name in names:
            size = self.books[f"{name}_size"][:, :MAX_LEVELS]
            price = np.where(size > 0, self.books[f"{name}_price"][:, :MAX_LEVELS], 0.0)
            rounded = np.floor if name == "ask" else np.ceil
            ticks = sign * on_ticks(price, self.tick, rounded)
            empty = NOWHERE if name == names[0] else -NOWHERE
            levels += [np.where(size > 0, ticks, empty), np.ascontiguousarray(size)]
        trades: Any = self.books.trades
        ticks = sign * on_ticks(trades.price, self.tick, np.floor)
        # Such venues show prices rounded down (see `classify_trades`, "rounded").
        locked = float(np.mean(levels[0].max(axis=1) == levels[2].min(axis=1)))
        levels += [trades.time, ticks, trades.size, -sign * trades.aggressor, *self._cancels(sign)]
        gap = NEVER if np.isinf(self.gap_seconds) else np.int64(round(1e9 * self.gap_seconds))
        return Side(*[self.books.time, *levels, locked > LOCKED_SHARE, self.inferred, gap])

    def _cancels(self, sign: int) -> tuple[Int64, Int64, Float, Int64]:
        """Time, tick, shares and time of entry of the cancelled orders of one side, (c,) each."""
        sent = self.messages or Messages(np.zeros(0, np.int64), [], [], [], [], [])
        rows = np.flatnonzero((sent.kind == CANCEL) & (sent.side == sign))
        entered = np.append(sent.time, -1)[sent.entered[rows]]  # -1: before the recording
        ticks = sign * on_ticks(sent.price[rows], self.tick, np.round)
        return sent.time[rows], ticks, sent.size[rows], entered


def _overlap(one: Int64, other: Int64) -> bool:
    return bool(len(one) and one[0] <= other[-1] and other[0] <= one[-1])


def on_ticks(price: Any, tick: float, rounded: Any) -> Int64:
    """Prices in whole ticks, by `rounded` beyond the rounding of their last digits."""
    ticks = np.asarray(price, float) / tick
    return rounded(np.round(ticks, 6)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Fills(Record):
    """What traded against resting orders.

    Attributes
    ----------
    order : (k,) int
        Row of the order.
    time : (k,) int64 ns UTC
    shares : (k,)
    price : (k,) currency per share
    kind : (k,) int
        Of `KINDS`: by a trade at its price or beyond it, by a quote of the other side, or within a
        gap of the recording.
    left : (n,) shares
        Not filled, by order.
    ahead : (n,) shares
        Queue ahead of each order on its arrival; NaN where no quote was shown, infinite
        where its price was deeper than what is shown.
    taken : (n,) shares
        Of the quotes of the other side that were shown last.
    """

    order: Int64
    time: Int64
    shares: Float
    price: Float
    kind: Int64
    left: Float
    ahead: Float
    taken: Float

    @property
    def filled(self) -> Float:
        """Shares filled of each order, (n,)."""
        return np.bincount(self.order, self.shares, len(self.left)).astype(float)

    @property
    def done(self) -> Int64:
        """When each order was filled whole, (n,) ns UTC; -1 where it was not."""
        last = np.full(len(self.left), -1)
        last[self.order] = self.time  # in time order
        return np.where(self.left > 0, -1, last)


def rest_orders(
    recording: Recording, side: str, shares: Any, decided: Int64, end: Int64, posting: Posting,
    real: RecordedOrders | None = None,
) -> Fills:  # fmt: skip
    r"""Rest orders from each decision, plus the latency, to each end, and see what fills them.

    The order joins the queue at the best quote of the book that it was decided on, moved by the
    offset; where the other side stands there when it arrives, it rests a tick short of it. With a
    the shares ahead, at first those displayed, and q those displayed now, a trade of v shares at
    its price fills

    .. math:: \min(x, (v - a)^+), \qquad a \leftarrow (a - v)^+

    of the x that are left. A trade beyond the price, or an opposite quote at it, fills all that it
    holds, whatever was ahead. Of c shares cancelled at the price, "last" takes none off a,
    "proportional" a c / q, "exact" those of orders that were entered before, and a is never above
    q. "first" has a = 0, and is also filled by trades at its price whose aggressor is unknown or
    inferred, and where the recording stood still: it errs towards fills wherever one errs. Each
    order is alone, also where several overlap in time.

    Parameters
    ----------
    recording : Recording
    side : "buy" or "sell"
    shares, decided, end : (n,)
        Shares; ns UTC: the book last shown at `decided` is known, the order rests until `end`.
    posting : Posting
    real : RecordedOrders, optional
        Recorded orders, one for each of `shares`, in whose place these stand.

    Returns
    -------
    Fills

    Raises
    ------
    ValidationError
        "exact" without messages; shares that are negative or not (n,); an end before its decision.

    Examples
    --------
    >>> time, size = 10**18 + np.arange(3) * 10**9, np.full((3, 1), 100.0)
    >>> from research_lib.market import Trades
    >>> trades = Trades(time[1:], [9.9, 9.9], [80.0, 50.0], [-1, -1])
    >>> bid, ask = np.full((3, 1), 9.9), np.full((3, 1), 10.1)
    >>> books = BookSnapshots(time, bid, size, ask, size, trades=trades)
    >>> how = Posting("last", latency_seconds=0.0)
    >>> one = Recording.of(books, 0.1)
    >>> rest_orders(one, "buy", [40.0], time[:1], time[-1:], how).shares.tolist()  # 80 + 50 - 100
    [30.0]
    """
    if posting.queue == "exact" and recording.messages is None:
        raise ValidationError('queue "exact" needs order messages; give Recording messages=')
    market, n, sign = recording.side(side), len(decided), int(side_sign(side))
    x = per_interval("shares", shares, n)
    if (np.asarray(end) < decided).any():
        raise ValidationError("an end is before its decision; both are ns UTC")
    lag = round(1e9 * posting.latency_seconds) if real is None else 0
    how = QUEUES.index(posting.queue), posting.offset_ticks, posting.follow, np.int64(lag)
    room = len(market.trade_time) + len(market.time)
    whole = np.zeros(room, np.int64)
    out = whole.copy(), np.zeros(room), whole.copy(), whole
    left, ahead, taken, found = np.zeros(n), np.zeros(n), np.zeros(n), []
    tick, executed, size = NOWHERE, np.zeros(0, np.int64), np.zeros(0)
    for k in range(n):
        if real is not None:
            rows = slice(real.first[k], real.last[k])
            executed, size = real.time[rows], real.size[rows]
            tick = sign * int(on_ticks(real.price[k], recording.tick, np.round))
        order = x[k], np.int64(decided[k]), np.int64(end[k]), tick, executed, size
        count, left[k], ahead[k], taken[k] = _rest(market, *order, *how, out)
        time, filled, ticks, kind = (column[:count].copy() for column in out)
        found.append((np.full(count, k), time, filled, sign * recording.tick * ticks, kind))
    columns: Any = [np.concatenate(column) for column in zip(*found, strict=True)]
    return Fills(*[*columns, left, ahead, taken])


@compiled
def _displayed(side: Side, j: int, tick: int) -> float:
    """Shares that state j shows at a price; infinite where it is deeper than what is shown."""
    # An empty level is NOWHERE, below every price: a book that is not full shows all there is.
    worst, total = NEVER, 0.0
    for level in range(side.own_tick.shape[1]):
        worst = min(worst, side.own_tick[j, level])
        total += side.own_size[j, level] * (side.own_tick[j, level] == tick)
    return np.inf if tick < worst else total


@compiled
def _below(side: Side, j: int, tick: int) -> int:
    """A price, at most the best one at which an order does not cross the other side of state j."""
    return min(tick, side.other_tick[j].min() - (not side.strict))


@compiled
def _through(side: Side, j: int, tick: int) -> float:
    """Shares of the other side that state j shows at or beyond a price."""
    total = 0.0
    for level in range(side.other_tick.shape[1]):
        if side.other_tick[j, level] < tick + (not side.strict):
            total += side.other_size[j, level]
    return total


@compiled
def _meets(side: Side, row: int, tick: int, queue: int) -> bool:
    """Whether a trade is one with orders at a price of the own side, or beyond it."""
    at, hits, unsure = side.trade_tick[row], side.hits[row], queue == FIRST
    if hits < 0 and not (unsure and side.inferred):
        return False
    return bool(at < tick or (at == tick and (hits == 1 or unsure)))


@compiled
def _filled(
    out: Columns, n: int, left: float, time: int, offered: float, tick: int, kind: int
) -> tuple[int, float]:
    """Write one fill; the number of fills, and the shares left."""
    out[0][n], out[1][n], out[2][n], out[3][n] = time, min(left, offered), tick, kind
    return n + 1, left - min(left, offered)


@compiled
def _rest(
    side: Side, shares: float, decided: int, end: int, price: int, real_time: Int64,
    real_size: Float, queue: int, offset: int, follow: bool, lag: int, out: Columns,
) -> tuple[int, float, float, float]:  # fmt: skip
    """One order: number of fills, which are written to `out`; shares left; shares ahead at first;
    shares taken of the quotes shown last.

    `price` is the tick of the real order whose place it takes, of which `real_*` are executed, and
    NOWHERE without one.
    """
    known = int(np.searchsorted(side.time, decided, "right")) - 1
    best = side.own_tick[max(known, 0)].max()
    if known < 0 or (price == NOWHERE and best == NOWHERE):
        return 0, shares, np.nan, 0.0
    arrival, left, n = decided + lag, shares, 0
    # The next state; of a real order the one that shows it, and what it took on arrival is no fill.
    k = np.searchsorted(side.time, arrival - (price != NOWHERE), "right")
    tick = price if price != NOWHERE else _below(side, k - 1, best - offset)
    shown = _displayed(side, k - 1, tick)
    ahead = at_first = 0.0 if queue == FIRST else shown
    standing = shares if price != NOWHERE else 0.0  # of the real order, which is displayed
    taken, traded, wanted, moves, executed = 0.0, 0.0, tick, NEVER, 0
    # Trades between the last state and the arrival shorten the queue ahead; they fill nothing.
    row = np.searchsorted(side.trade_time, side.time[k - 1], "right")
    gone = np.searchsorted(side.cancel_time, side.time[k - 1], "right")
    while left > 0:
        until = min(end, moves, side.time[k] if k < len(side.time) else end)
        since = max(side.time[k - 1], arrival)
        if queue == FIRST and until - since > side.gap:
            n, left = _filled(out, n, left, since + 1, left, tick, GAP)
        while row < len(side.trade_time) and side.trade_time[row] <= until and left > 0:
            at, size, time = side.trade_tick[row], side.trade_size[row], side.trade_time[row]
            if _meets(side, row, tick, queue):
                ahead = ahead if at == tick else 0.0  # none is left of a level that is passed
                traded += size if at == tick else 0.0
                if time > arrival and size > ahead:
                    kind = AT_PRICE if at == tick else BEYOND
                    n, left = _filled(out, n, left, time, size - ahead, tick, kind)
                ahead = max(ahead - size, 0.0)
            row += 1
        if until == end or left <= 0:
            break
        if moves <= until:  # entered anew, last in the queue
            tick = _below(side, k - 1, wanted)
            shown = _displayed(side, k - 1, tick)
            ahead = 0.0 if queue == FIRST else shown
            arrival, moves, traded = moves, NEVER, 0.0
            continue
        while executed < len(real_time) and real_time[executed] <= until:
            standing, executed = standing - real_size[executed], executed + 1
        now = max(_displayed(side, k, tick) - standing, 0.0)
        while queue == EXACT and gone < len(side.cancel_time) and side.cancel_time[gone] <= until:
            if side.cancel_tick[gone] == tick and side.cancel_entered[gone] <= arrival:
                ahead -= side.cancel_size[gone]
            gone += 1
        if queue == PROPORTIONAL and now < shown - traded < np.inf:
            ahead *= now / (shown - traded)
        # Never more ahead than displayed: that alone makes "last" a bound, whatever was cancelled.
        ahead, shown, traded = max(min(ahead, now), 0.0), now, 0.0
        through = _through(side, k, tick)
        taken = min(taken, through)  # of quotes that stand; others have been withdrawn
        if through > taken:
            offered, taken = through - taken, min(through, taken + left)
            n, left = _filled(out, n, left, until, offered, tick, QUOTE)
        best = side.own_tick[k].max()
        if follow and price == NOWHERE and moves == NEVER and best - max(offset, 0) > tick:
            wanted, moves = best - offset, until + lag
        k += 1
    return n, left, at_first, taken

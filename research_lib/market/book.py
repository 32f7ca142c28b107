"""Order-book snapshots: quotes and sizes by level and time, sampled by interval; order flow."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, Mask, number, numbers, positions, refuse_unknown, same_rows
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import NoBooksError, ValidationError
from research_lib.market.sessions import Session, as_session, day_slices, in_order, nanoseconds
from research_lib.market.trades import Trades

logger = logging.getLogger(__name__)
FRAME_COLUMNS = ("time", "side", "price", "size", "level")
SIDES = ("bid", "ask")
LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")
ARRAYS = ("time", *LEVELS, "complete", "age")
ENDED_SECONDS = 300.0
SYNTHETIC = "SYNTHETIC"  # symbol of synthetic books, which trade on every weekday
MISFIT = 0.1  # share of states outside, and of intervals without a book, that draws a warning


@dataclass(frozen=True, eq=False)
class BookSnapshots(Record):
    """n snapshots of an order book, L levels a side, in time order.

    Attributes
    ----------
    time : (n,) int64 ns UTC, or anything date-time with a time zone
        When the state was shown; rows with equal time keep their order.
    bid_price, ask_price : (n, L) quote currency per share
        Best level first; NaN where the level is empty.
    bid_size, ask_size : (n, L) shares
        0 where the level is empty.
    symbol : str
    complete : (n,) bool, optional
        False where the state must not be sampled: in the middle of an exchange
        event, or before the opening cross. All True by default.
    age : (n,) int64 ns, optional
        How long ago each state was shown; 0 as read, set by `sample`.
    trades : Trades, optional
        What was traded while these books were shown, where the source has it.

    Labelled arrays (Series, frames) are put in the row order of the first of them, and columns
    in the order of the numbers in their names.

    Raises
    ------
    ValidationError
        Shapes or labels that disagree, times out of order, negative or infinite sizes,
        prices at or below zero, a size without a price.

    Examples
    --------
    >>> time = pd.DatetimeIndex(["2025-04-03 13:30Z"])
    >>> ask = [[10.01, np.nan]], [[100, 0]]
    >>> books = BookSnapshots(time, [[9.99, 9.98]], [[300, 500]], *ask, "XYZ")
    >>> books
    BookSnapshots('XYZ', 1 snapshots x 2 levels)
    >>> books.mid.round(2).tolist()
    [10.0]
    """

    time: Any
    bid_price: Any
    bid_size: Any
    ask_price: Any
    ask_size: Any
    symbol: str = ""
    complete: Any = None
    age: Any = None
    trades: Trades | None = None

    def __post_init__(self) -> None:
        given = same_rows(**{name: self[name] for name in ARRAYS})
        time = in_order(nanoseconds(given["time"]))
        n = len(time)
        age = numbers("age", np.zeros(n) if self.age is None else given["age"], "nanoseconds")
        flags = np.asarray(np.ones(n, bool) if self.complete is None else given["complete"])
        if flags.shape != (n,) or flags.dtype != bool:
            raise ValidationError(f"complete must be {n} booleans, got {flags.dtype} {flags.shape}")
        if age.shape != (n,) or not (np.isfinite(age) & (age >= 0)).all():
            raise ValidationError(f"age must be one number of at least 0 a row, {n:,}")
        checked: dict[str, Any] = {"time": time, "age": age.astype(np.int64), "complete": flags}
        for side in SIDES:
            checked |= _checked_side(side, given[f"{side}_price"], given[f"{side}_size"], n)
        shapes = checked["bid_price"].shape, checked["ask_price"].shape
        if shapes[0] != shapes[1]:
            raise ValidationError(f"bid has shape {shapes[0]}, ask {shapes[1]}; pad with NaN")
        for name, array in checked.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.time)

    def __repr__(self) -> str:
        return f"BookSnapshots({self.symbol!r}, {len(self):,} snapshots x {self.n_levels} levels)"

    @property
    def n_levels(self) -> int:
        """Levels kept for each side."""
        return int(self.bid_price.shape[1])

    @property
    def mid(self) -> Float:
        """(best bid + best ask) / 2, (n,) currency per share; NaN where a side is empty.

        The best is the highest bid and the lowest ask that hold shares, wherever in the row.
        """
        return 0.5 * (best_of(self.ask_price, -1.0) + best_of(self.bid_price, 1.0))

    @property
    def half_spread(self) -> Float:
        """(best ask - best bid) / 2, (n,) currency per share; below 0 if crossed; NaN as `mid`."""
        return 0.5 * (best_of(self.ask_price, -1.0) - best_of(self.bid_price, 1.0))

    @property
    def unordered(self) -> Mask:
        """Snapshots whose levels do not move away from the mid, (n,)."""
        sides = np.stack([self.bid_price, -self.ask_price])  # both fall from level to level
        rising = sides[..., 1:] >= np.fmin.accumulate(sides, axis=-1)[..., :-1]
        return np.asarray(rising.any(axis=(0, 2)))

    @property
    def quality(self) -> Record:
        """A `BookQuality`: counts of what is doubtful, nothing dropped; see `assess`."""
        from research_lib.market.quality import KEEP_ALL, assess

        return assess(self, policy=KEEP_ALL)[1]

    def levels(self, side: str) -> tuple[Float, Float]:
        """Prices and sizes, each (n, L), that an order of `side` ("buy" or "sell") walks."""
        name = "ask" if side_sign(side) > 0 else "bid"
        return self[f"{name}_price"], self[f"{name}_size"]

    def take(self, rows: ArrayLike) -> Self:
        """Snapshots selected by a mask or by positions in time order; all trades are kept."""
        index = positions(rows)
        if index.dtype != bool and np.any(np.diff(index % max(len(self), 1)) < 0):
            raise ValidationError("rows to be taken must be in time order; sort them")
        return unchecked(self, **{name: self[name][index] for name in ARRAYS})

    def between(self, start: Any, end: Any) -> Self:
        """Snapshots and trades with start <= time < end; both need a time zone."""
        ends = {"start": start, "end": end}
        low, high = (nanoseconds([pd.Timestamp(at)], name)[0] for name, at in ends.items())
        books, trades = self.take((self.time >= low) & (self.time < high)), self.trades
        if trades is not None:
            trades = trades.take((trades.time >= low) & (trades.time < high))
        return replace(books, trades=trades)

    def days(self, session: Session) -> list[Any]:
        """Dates with at least one snapshot inside the session, in order."""
        session = as_session(session)
        return list(np.unique(session.days(self.time)[session.interval_of(self.time) >= 0]))

    def sample(self, session: Session, max_age: float | None = None) -> "BookSnapshots":
        """The book that a trader saw at the start of each interval of each day.

        A warning is logged where the clock does not seem to fit: many states outside the
        session, and many intervals without a book.

        For interval t this is the last complete state at or before the START of t. States from
        before that day's opening, or from before the end of its last break, are not used: a state
        of the night before is no quote. (In blocks around the clock the last state of the block
        before is used.) A state is used however long ago it was shown, unless `max_age` is given.
        After a day's last state the recording may have ended, so a sample more than `ENDED_SECONDS`
        after it (300 s, or the mean time between the day's states if that is longer) is empty.
        Where there is no state the snapshot is empty: NaN prices, zero sizes.

        Parameters
        ----------
        session : Session
        max_age : float, optional
            Seconds; an older state is not used. No limit by default; `age` has the ages.

        Returns
        -------
        BookSnapshots
            n_days * n_intervals snapshots; `time` is the interval's start, `age` how long
            before it the last complete row of the source was shown, and `complete`
            is False where the interval has no usable state.

        Raises
        ------
        ValidationError
            No state inside the session: says when the states are, and which session holds them.
            No `Session`.

        Examples
        --------
        >>> books = BookSnapshots(
        ...     pd.DatetimeIndex(["2025-04-03 13:30Z", "2025-04-03 16:44:40Z"]),
        ...     [[9.99], [9.98]], [[300], [200]], [[10.01], [10.0]], [[100], [400]],
        ... )
        >>> (books.sample(Session(2)).age / 1e9).tolist()
        [0.0, 20.0]
        """
        return replace(sample_batches([self], session, max_age), trades=self.trades)

    def stale(self, limit_seconds: float) -> Mask:
        """Snapshots whose state was older than the limit, (n,); empty ones are not stale."""
        return self.complete & (self.age > number("limit_seconds", limit_seconds, 0) * 1e9)

    def to_frame(self) -> pd.DataFrame:
        """Long frame: time (UTC), side, price, size, level (1 = best); empty levels left out."""
        price, size = (np.stack([self[f"{s}_{k}"] for s in SIDES], 1) for k in ("price", "size"))
        shown = size > 0
        codes = np.broadcast_to(np.array([[0], [1]], np.int8), shown.shape)[shown]
        level = np.broadcast_to(np.arange(1, self.n_levels + 1), shown.shape)[shown]
        stamps = np.repeat(self.time, shown.sum(axis=(1, 2))).astype("datetime64[ns]")
        time, side = pd.DatetimeIndex(stamps, tz="UTC"), pd.Categorical.from_codes(codes, [*SIDES])
        columns = time, side, price[shown], size[shown], level
        return pd.DataFrame(dict(zip(FRAME_COLUMNS, columns, strict=True)))

    @classmethod
    def concat(cls, parts: Sequence["BookSnapshots"]) -> "BookSnapshots":
        """One after the other, in time order, of one symbol; fewer levels are padded by empty ones.

        Raises
        ------
        ValidationError
            No part, two symbols, or a part that starts before the one before it ends.
        """
        shown = [part for part in parts if len(part)] or list(parts[:1])
        if not shown:
            raise ValidationError("no books to put together; give at least one part")
        if len(shown) == 1:
            return shown[0]
        for before, part in pairwise(shown):
            refuse_disorder(before, part)
        width = max(part.n_levels for part in shown)
        arrays = {k: np.concatenate([_padded(part, k, width) for part in shown]) for k in ARRAYS}
        trades = [part.trades for part in shown if part.trades is not None]
        return unchecked(shown[0], trades=Trades.concat(trades) if trades else None, **arrays)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, symbol: str = "", **reading: Any) -> "BookSnapshots":
        """Books from a long frame (columns as `to_frame`), its rows in any order, or a wide one.

        A wide frame has a column time or timestamp, and bid_price_k, bid_size_k, ask_price_k,
        ask_size_k of levels 1 to L (or 0 to L - 1), one snapshot a row in time order; a level of
        size 0, or without price and size, is empty. `reading` are `columns`, `timezone`,
        `time_unit` and `where`, those of `read_books`.

        Raises
        ------
        ValidationError
            Naming the column, the number of bad rows and the first of them: empty frame,
            missing column, text or NaN in a number, price or size at or below zero,
            unknown side, level below 1, a (time, side, level) given twice, or a column that
            names two symbols, venues, products or publishers.

        Examples
        --------
        >>> frame = pd.DataFrame({"time": [1743688800], "bid_price_0": 10.0, "bid_size_0": 300,
        ...                       "ask_price_0": 10.02, "ask_size_0": 200})
        >>> BookSnapshots.from_frame(frame, "XYZ", time_unit="s")
        BookSnapshots('XYZ', 1 snapshots x 1 levels)
        """
        from research_lib.market.readers import books_of_frame

        return books_of_frame(frame, symbol, **reading)


def unchecked(books: Any, **changes: Any) -> Any:
    """As `replace`, of what is right already: a check would hold two days of deep books twice."""
    other = copy(books)
    for name, value in changes.items():
        object.__setattr__(other, name, value)
    return other


def _checked_side(side: str, price: ArrayLike, size: ArrayLike, n: int) -> dict[str, Float]:
    """Prices and sizes of one side as (n, L) floats; an empty level is NaN and 0."""
    price, size = _by_level(price, size)
    given = {f"{side} price": price, f"{side} size": size}
    price, size = (np.array(numbers(name, given[name]), ndmin=2) for name in given)
    if price.shape != size.shape or price.ndim != 2 or len(price) != n:
        raise ValidationError(f"{side} price {price.shape}, size {size.shape}: due ({n}, levels)")
    shown = size > 0
    for rule, bad in {
        "size must be finite and at least 0": ~(size >= 0) | np.isinf(size),
        "price must be finite where there is size": shown & ~np.isfinite(price),
        "price must be above 0": shown & (price <= 0),
    }.items():
        if bad.any():
            row, level = np.argwhere(bad)[0]
            where = f"{int(bad.sum()):,} entries are not, first in row {row}, level {level + 1}"
            held = f"(price {price[row, level]:g}, size {size[row, level]:g})"
            raise ValidationError(f"{side} {rule}: {where} {held}")
    price[~shown] = np.nan
    return {f"{side}_price": price, f"{side}_size": size}


def _by_level(price: Any, size: Any) -> tuple[Any, Any]:
    """Two frames with columns in the order of the numbers in their names; others as they are."""
    frames = [one for one in (price, size) if hasattr(one, "columns")]
    numbers = [[re.sub(r"\D", "", str(name)) for name in one.columns] for one in frames]
    if len(frames) < 2 or not all(map(all, numbers)):
        return price, size
    orders = [np.argsort([*map(int, names)]) for names in numbers]
    return price.iloc[:, orders[0]], size.iloc[:, orders[1]]


def side_sign(side: str) -> float:
    """1 for "buy", -1 for "sell"; ValidationError for any other."""
    if side not in ("buy", "sell"):
        raise ValidationError(f'side must be "buy" or "sell", got {side!r}')
    return 1.0 if side == "buy" else -1.0


@compiled  # NumPy's fmin takes five times as long, which a walk of all books feels
def best_of(prices: Float, sign: float) -> Float:
    """The highest price of each row (n, L) for sign 1, the lowest for -1; NaN levels are empty."""
    best = np.full(len(prices), np.nan)
    for row in range(len(prices)):
        for level in range(prices.shape[1]):
            price = prices[row, level]
            if price == price and not sign * price <= sign * best[row]:
                best[row] = price
    return best


def _padded(books: BookSnapshots, name: str, width: int) -> Any:
    """Levels up to `width`, the added ones empty; arrays without levels as they are."""
    array, empty = books[name], np.nan if name.endswith("price") else 0.0
    if array.ndim == 1 or array.shape[1] == width:
        return array
    return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=empty)


def refuse_disorder(
    before: BookSnapshots, batch: BookSnapshots, where: str = " from one batch to the next"
) -> None:
    """Refuse a batch of another symbol than the one before it, or that starts before that ends.

    Both must hold at least one book.
    """
    if batch.symbol != before.symbol:
        raise ValidationError(f"batches of 2 symbols ({before.symbol}, {batch.symbol}){where}")
    if batch.time[0] < before.time[-1]:
        times = f"{pd.Timestamp(batch.time[0])}Z after {pd.Timestamp(before.time[-1])}Z"
        raise ValidationError(f"time runs backwards{where} ({times}); give them in time order")


def by_day(batches: Iterable[BookSnapshots], session: Session) -> Iterator[BookSnapshots]:
    """The books of one trading day after the other, without trades; one day in memory at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere, also between rows of equal time; from
        `iter_books`, for instance.

    Raises
    ------
    ValidationError
        Two symbols, or a batch that starts before the one before it ends.

    Examples
    --------
    >>> books = BookSnapshots(
    ...     pd.DatetimeIndex(["2025-04-03 14:00Z", "2025-04-03 15:00Z", "2025-04-04 14:00Z"]),
    ...     *([[10.0]] * 3 for _ in range(4)),
    ... )
    >>> [len(day) for day in by_day([books.take([0]), books.take([1, 2])], Session())]
    [2, 1]
    """
    held: list[BookSnapshots] = []
    session = as_session(session)
    for batch in batches:
        if held and len(batch):
            refuse_disorder(held[-1], batch)
        if batch.trades is not None:  # else they would be put together once a day and once a batch
            batch = replace(batch, trades=None)
        for day, first, end in day_slices(session, batch.time):
            if held and day != session.days(held[-1].time[-1:])[0]:
                yield BookSnapshots.concat(held)
                held = []
            held.append(batch.take(np.arange(first, end)) if end - first < len(batch) else batch)
    if held:
        yield BookSnapshots.concat(held)


def sample_batches(
    batches: Iterable[BookSnapshots], session: Session, max_age: float | None = None
) -> BookSnapshots:
    """The books of ``BookSnapshots.concat(batches).sample(session, max_age)``, a day at a time.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        As of `by_day`. Batches with fewer levels are padded with empty ones.
    session : Session
    max_age : float, optional
        Seconds; as in `BookSnapshots.sample`.

    Returns
    -------
    BookSnapshots
        n_days * n_intervals snapshots as `BookSnapshots.sample` gives them, without trades.

    Raises
    ------
    ValidationError
        No `Session`, no batch, two symbols, a batch that starts before the one before it ends, or
        no snapshot inside the session.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket().books(780, 5, np.random.default_rng(1))
    >>> parts = [books.take(np.arange(500)), books.take(np.arange(500, 780))]
    >>> len(sample_batches(parts, Session(13)))
    26
    """
    if session is None:
        raise ValidationError("session must be a Session, got 'None'; give Session(390)")
    session = as_session(session)
    limit = np.inf if max_age is None else number("max_age", max_age, 0)
    sampled, spans, n_outside, n_rows, usable = [], [], 0, 0, False
    last: BookSnapshots | None = None  # complete state of the block before: it stands on
    for day in by_day(batches, session):
        outside = session.interval_of(day.time) < 0
        n_rows, n_outside = n_rows + len(day), n_outside + int(outside.sum())
        usable |= bool((day.complete & ~outside).any())
        spans.append(day.time[[0, -1]])
        date = session.days(day.time[:1])[0]
        if session.mic and day.symbol != SYNTHETIC and not session.trading_days(date, date):
            logger.warning(f"{date} is no trading day of {session.mic}; its states are sampled too")
        if not outside.all():
            recent = last is not None and day.time[0] - last.time[0] <= ENDED_SECONDS * 1e9
            known = BookSnapshots.concat([last, day]) if last is not None and recent else day
            sampled.append(_sampled_day(known, session, limit, date))
        if session.block is not None and day.complete.any():
            last = day.take(np.flatnonzero(day.complete)[-1:])
    if not sampled:
        where = f": {_when(np.array(spans), session)}" if spans else ""
        raise NoBooksError(f"none of {n_rows:,} snapshots falls inside {session.hours}{where}")
    books = BookSnapshots.concat(sampled)
    n_empty = int((~books.complete).sum())
    if not usable:
        logger.warning(f"none of {n_empty:,} intervals has a book that is complete: see its flags")
    elif n_outside > MISFIT * n_rows and n_empty > MISFIT * len(books):
        found = f"{n_outside:,} of {n_rows:,} states lie outside, {n_empty:,} intervals are empty"
        logger.warning(f"{session.hours} may not fit: {found}; {_when(np.array(spans), session)}")
    return books


def _sampled_day(day: BookSnapshots, session: Session, limit: float, date: Any) -> BookSnapshots:
    """The last complete state at or before the start of each interval of one day.

    The first one may be of the block before, where trading goes on from block to block.
    """
    starts, opened = session.starts([date])[0], session.opened([date])[0]
    opened = opened if session.block is None else day.time[0]
    usable = np.append(np.flatnonzero(day.complete), 0)  # so that there is one
    rows = usable[np.searchsorted(day.time[usable[:-1]], starts, side="right") - 1]
    age = starts - day.time[rows]
    # After the last state the recording may have ended, so nothing is known once one is overdue.
    usual = (day.time[-1] - day.time[0]) / max(len(day) - 1, 1)
    seen = day.complete[rows] & (age >= 0) & (day.time[rows] >= opened) & (age <= limit * 1e9)
    seen &= starts <= day.time[-1] + max(usual, ENDED_SECONDS * 1e9)
    levels: Any = {name: np.where(seen[:, None], day[name][rows], 0.0) for name in LEVELS}
    age = np.where(seen, age, 0)
    return BookSnapshots(starts, symbol=day.symbol, complete=seen, age=age, **levels)


def _when(spans: Any, session: Session) -> str:
    """When the states are, by first and last of each day (n_days, 2); which session holds them."""
    utc = pd.DatetimeIndex(spans.ravel().astype("datetime64[ns]"), tz="UTC").floor("s")
    local = utc.tz_convert(session.timezone)
    found = f"they are from {local[0]} to {local[-1]} (UTC {utc[0]:%F %T} to {utc[-1]:%F %T})"
    return f"{found}; give the exchange's own hours and time zone by Session(open=..., close=...)"


def order_flow_imbalance(books: BookSnapshots) -> Float:
    r"""Net flow to the best quotes from each state to the next, (n - 1,) shares.

    .. math::
        e_k = 1_{P^b_k \ge P^b_{k-1}} q^b_k - 1_{P^b_k \le P^b_{k-1}} q^b_{k-1}
            - 1_{P^a_k \le P^a_{k-1}} q^a_k + 1_{P^a_k \ge P^a_{k-1}} q^a_{k-1}

    NaN where a side is empty. Sum it over any window; nothing is reset at the start of an interval.
    Source: Cont, Kukanov and Stoikov (2014), "The price impact of order book events",
    Journal of Financial Econometrics 12(1), equation (3).

    Examples
    --------
    >>> bid, ask, size = [[9.0], [9.0]], [[11.0], [11.0]], [[100], [100]]
    >>> order_flow_imbalance(BookSnapshots([0, 1], bid, [[100], [130]], ask, size)).tolist()
    [30.0]
    """
    flow, quoted = np.zeros(max(len(books) - 1, 0)), np.isfinite(books.mid)
    for side, sign in (("bid", 1), ("ask", -1)):  # what lies nearer to the mid is greater
        levels = np.where(books[f"{side}_size"] > 0, sign * books[f"{side}_price"], -np.inf)
        price, best = levels.max(axis=1), levels.argmax(axis=1)[:, None]
        size = np.take_along_axis(books[f"{side}_size"], best, axis=1)[:, 0]
        flow += sign * np.where(price[1:] >= price[:-1], size[1:], 0.0)
        flow -= sign * np.where(price[1:] <= price[:-1], size[:-1], 0.0)
    return np.where(quoted[1:] & quoted[:-1], flow, np.nan)


def summarise(books: BookSnapshots, session: Session, weight: str = "time") -> pd.Series:
    """Weighted means of spread and depth over the session's states.

    Event weights count every state alike and so over-weigh busy moments; time weights count
    a state by how long it stood, to the next complete one or the close. Incomplete states count
    for nothing; the time without both quotes counts for no state.

    Parameters
    ----------
    weight : "time" or "event"

    Returns
    -------
    Series
        spread_bps, spread (currency per share), bid_depth, ask_depth (shares, all levels), states.

    Examples
    --------
    >>> time = pd.DatetimeIndex(["2025-04-03 13:30Z", "2025-04-03 19:30Z"])  # for 6 and 0.5 hours
    >>> books = BookSnapshots(time, [[9.0], [9.0]], [[100], [230]], [[11.0], [11.0]], [[1], [1]])
    >>> float(summarise(books, Session())["bid_depth"].round(6))
    110.0
    """
    refuse_unknown([weight], ("time", "event"), "weight")
    session = as_session(session)
    rows = np.flatnonzero(books.complete & (session.interval_of(books.time) >= 0))
    time, weights = books.time[rows], np.ones(len(rows))
    if weight == "time":  # how long each state stood inside its session
        traded, length = session.traded_ns(time)
        is_last = np.diff(pd.factorize(session.days(time))[0], append=-1) != 0
        weights = (np.where(is_last, length, np.append(traded[1:], 0)) - traded) / 1e9
    quoted = np.isfinite(books.mid[rows])
    rows, weights = rows[quoted], weights[quoted]
    mid, spread = books.mid[rows], 2.0 * books.half_spread[rows]
    if not weights.sum() > 0:
        raise ValidationError(f"no state of {len(books):,} is complete, in the session and quoted")
    columns = {"spread_bps": 1e4 * spread / mid, "spread": spread}
    columns |= {f"{side}_depth": books[f"{side}_size"].sum(axis=1)[rows] for side in SIDES}
    means = {name: float(np.average(values, weights=weights)) for name, values in columns.items()}
    return pd.Series({**means, "states": len(rows)}, name=f"{weight}-weighted")

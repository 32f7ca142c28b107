"""Market-by-price records to books and trades: what every Databento encoding has in common."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session
from research_lib.market.trades import Trades

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]
Int64 = NDArray[np.int64]

F_LAST = 128
F_SNAPSHOT = 32
F_BAD_TS_RECV = 8
FIXED_PRICE_SCALE = 1e9
UNDEF_PRICE = 9_223_372_036_854_775_807
OPENING_CROSS_WITHIN_NS = 60 * 10**9


@dataclass(frozen=True, eq=False)
class Records:
    """n records of one symbol in time order, already checked.

    Attributes
    ----------
    time : (n,) int64 ns UTC
    flags : (n,) int64
        Databento's bit field.
    traded : (n,) bool
        True where the record is a trade (action T).
    aggressor : (n,) int8
        1 where side is B, -1 where it is A, 0 where it is N.
    price, size : (n,), optional
        Of the order or trade that made the record; only those of trades are used. Without
        them the books come without trades.
    bid_price, bid_size, ask_price, ask_size : (n, L)
        Empty level: NaN price, size 0. An unusable one is flagged by `BookSnapshots.flagging`.
    symbol : str
    """

    time: Int64
    flags: Int64
    traded: Bool
    aggressor: NDArray[np.int8]
    price: Float | None
    size: Float | None
    bid_price: Float
    bid_size: Float
    ask_price: Float
    ask_size: Float
    symbol: str


def books_of(parts: Iterable[Records], session: Session) -> Iterator[BookSnapshots]:
    """Books and trades of each part; parts wait for each other while an opening cross may still come.

    Not complete, hence never sampled, are

    - records without F_LAST (128): the middle of an exchange event;
    - trades with an aggressor: they show the book before the trade, the removal follows;
    - records of a snapshot (32) or with a bad time (8): not an event of that moment;
    - records of a session up to its opening cross, taken to be the first trade of the
      session if it has no aggressor and prints within the session's first minute.

    The flags do not depend on how the records are cut into parts: what arrives in a
    session's first minute is held back until its first trade, or the minute's end.

    Yields
    ------
    BookSnapshots
        With `trades`: every record of action T, where the records have price and size.
    """
    waiting: list[Records] = []
    opened: dt.date | None = None
    for part in parts:
        waiting.append(part)
        day, opening, _ = _day(part.time[-1], session)
        seen = day == opened or any(np.any(p.traded & (p.time >= opening)) for p in waiting)
        if opening <= part.time[-1] < opening + OPENING_CROSS_WITHIN_NS and not seen:
            continue
        yield _books(waiting, session, opened)
        waiting, opened = [], day if seen else opened
    if waiting:
        yield _books(waiting, session, opened)


def fixed_prices(prices: Int64) -> Float:
    """Fixed-point prices, 1e-9 currency each, as floats; UNDEF_PRICE is NaN."""
    return np.where(prices == UNDEF_PRICE, np.nan, prices / FIXED_PRICE_SCALE)


def _books(parts: list[Records], session: Session, opened: dt.date | None) -> BookSnapshots:
    books = BookSnapshots.concat([_book(part) for part in parts])
    hidden = np.concatenate([part.aggressor == 0 for part in parts])
    before = _before_opening_cross(
        books.time, np.concatenate([p.traded for p in parts]), hidden, session, opened
    )
    return dataclasses.replace(books, complete=books.complete & ~before) if before.any() else books


def _book(part: Records) -> BookSnapshots:
    ends_event = (part.flags & F_LAST) != 0
    of_now = (part.flags & (F_SNAPSHOT | F_BAD_TS_RECV)) == 0
    before_trade = part.traded & (part.aggressor != 0)
    levels: dict[str, Any] = {
        f"{side}_{kind}": getattr(part, f"{side}_{kind}")
        for side in ("bid", "ask")
        for kind in ("price", "size")
    }
    complete = ends_event & of_now & ~before_trade
    return BookSnapshots.flagging(
        time=part.time, symbol=part.symbol, complete=complete, trades=_trades(part), **levels
    )


def _trades(part: Records) -> Trades | None:
    if part.price is None or part.size is None:
        return None
    kept = part.traded
    return Trades(
        part.time[kept], part.price[kept], part.size[kept], part.aggressor[kept], part.symbol
    )


def _before_opening_cross(
    time: Int64, traded: Bool, hidden: Bool, session: Session, opened: dt.date | None
) -> Bool:
    """Records of each session up to and including its opening cross, where it has one, (n,).

    `opened` is the day whose first trade came in an earlier part.
    """
    before = np.zeros(len(time), bool)
    day, _, _ = _day(time[0], session)
    last, _, _ = _day(time[-1], session)
    while day <= last:
        opening, closing = (int(bound[0]) for bound in session.bounds([day]))
        low, high = np.searchsorted(time, [opening, closing])
        first = low + np.flatnonzero(traded[low:high])[:1]
        if (
            day != opened
            and first.size
            and hidden[first[0]]
            and time[first[0]] < opening + OPENING_CROSS_WITHIN_NS
        ):
            before[low : first[0] + 1] = True
        day += dt.timedelta(days=1)
    return before


def _day(time: np.int64, session: Session) -> tuple[dt.date, int, int]:
    """Local date of a time and that day's opening and closing, ns UTC."""
    day = session.days(np.array([time]))[0]
    opening, closing = (int(bound[0]) for bound in session.bounds([day]))
    return day, opening, closing

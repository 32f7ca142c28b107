"""Binance depth recordings: one REST snapshot and the differences streamed after it."""

from __future__ import annotations

import io
import json
import logging
import math
import re
from bisect import bisect_left, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.readers.cells import EARLIEST_NS, LATEST_NS
from research_lib.market.readers.source import damage, open_bytes
from research_lib.market.sessions import Session
from research_lib.market.trades import BUY, SELL, UNSIGNED, Trades

logger = logging.getLogger(__name__)

NAME = "Binance depth recording"
FIRST_LINE = re.compile(rb'\d{16,19} \{"(stream|lastUpdateId|e)"')
N_LEVELS = 20
ALL_ROWS = 500_000
NS_A_MS = 10**6
CLOCK_STEP_BACK_MS = 1_000
Float = NDArray[np.float64]


def read_binance(path: str | Path, *, n_levels: int = N_LEVELS) -> BookSnapshots:
    """Replay one recording: a book after every depth update that continues the snapshot.

    A line is ``<local receive time, ns> <raw JSON>``: a stream message (`depthUpdate`, `trade`;
    others are passed over) or the REST snapshot, whose place in the file does not matter.
    Updates that end at or before the snapshot's `lastUpdateId` L are in it already. Of the
    others, with first and last update ids U and u, each must continue the one before:

    - spot: first U <= L + 1 <= u, then U = previous u + 1;
    - futures (updates with `pu`): first pu <= L < u, then pu = previous u.

    Quantities are absolute and 0 deletes. Prices beyond the snapshot's depth are unknown until
    an update names them, so levels far from the touch may be missing.

    Parameters
    ----------
    path : path
        Recording of one symbol, plain or compressed (gzip, zstd).
    n_levels : int
        Best levels kept a side.

    Returns
    -------
    BookSnapshots
        (n, n_levels); prices in quote currency, sizes in base currency; empty levels are NaN, 0.
        `time` is the exchange's event time E (ms): books and trades then share one clock, free
        of the network's delay and of the recorder's own clock (1.27 s behind in the samples).
        A clock that steps back by up to a second is held at its last value.
        `trades`: aggressor -1 (a seller) where the buyer was the maker, else 1; 0 where
        a futures trade is not an order meeting the book (X other than MARKET: insurance fund,
        auto-deleveraging). Those of X other than MARKET without a size are dropped, and counted.

    Raises
    ------
    MissingDataError
        A file that does not exist.
    ValidationError
        No snapshot, no update that continues it, a gap in the update ids, a damaged line, text
        in a number, two symbols, a clock more than a second back; names file and line.

    References
    ----------
    Binance API documentation, "How to manage a local order book correctly", spot and USD-M futures.
    """
    return BookSnapshots.concat(list(batches(Path(path), ALL_ROWS, n_levels=n_levels)))


def matches(path: Path, head: bytes) -> bool:
    """Whether the first line is a receive time and a stream message or snapshot."""
    return FIRST_LINE.match(head) is not None


def batches(
    path: Path, batch_rows: int, session: Session | None = None, *, n_levels: int = N_LEVELS
) -> Iterator[BookSnapshots]:
    """Books and trades of a recording, `batch_rows` books at a time; rules and errors as `read_binance`.

    The file is read twice, up to the snapshot and then whole, so that nothing is buffered.
    `session` does not apply: the venue never closes.
    """
    replay = _Replay(path, _snapshot(path), number("n_levels", n_levels, 1, integer=True))
    n_books = 0
    for line, message in _messages(path):
        event = message.get("e")
        if event == "depthUpdate" and replay.continues(line, message):
            if len(replay.time) == batch_rows:
                n_books += batch_rows
                yield replay.taken()
            replay.apply(line, message)
        elif event == "trade":
            replay.trade(line, message)
    if not replay.time:
        raise ValidationError(
            f"{path} holds no depth update after its snapshot (lastUpdateId {replay.last_id}); record for longer"
        )
    n_books += len(replay.time)
    logger.info("replayed %s depth updates of %s from %s", f"{n_books:,}", replay.symbol, path.name)
    if replay.n_dropped:
        logger.info(
            "dropped %s trades without a size (X other than MARKET)", f"{replay.n_dropped:,}"
        )
    yield replay.taken()


class _Side:
    """Price levels of one side: sizes by price, and the prices in rising order."""

    def __init__(self) -> None:
        self.size: dict[float, float] = {}
        self.prices: list[float] = []

    def set(self, price: float, size: float) -> None:
        """Replace the size at a price; 0 deletes, also where there is nothing to delete."""
        if size > 0:
            if price not in self.size:
                insort(self.prices, price)
            self.size[price] = size
        elif self.size.pop(price, None) is not None:
            del self.prices[bisect_left(self.prices, price)]

    def best(self, n_levels: int, highest: bool) -> Float:
        """(2, n_levels) prices and sizes, best first; empty levels are NaN and 0."""
        prices = self.prices[: -n_levels - 1 : -1] if highest else self.prices[:n_levels]
        levels = np.vstack([np.full(n_levels, np.nan), np.zeros(n_levels)])
        levels[:, : len(prices)] = prices, [self.size[price] for price in prices]
        return levels


class _Replay:
    """The book between two messages, and the states and trades not yet handed out."""

    def __init__(self, path: Path, snapshot: tuple[int, dict[str, Any]], n_levels: int) -> None:
        line, message = snapshot
        self.path, self.n_levels = path, n_levels
        self.last_id = _integer(message, "lastUpdateId", path, line)
        self.started = False
        self.symbol = ""
        self.bid, self.ask = _Side(), _Side()
        self._set_levels(line, message, "bids", "asks")
        self.clock = {"book": 0, "trade": 0}
        self.n_dropped = 0
        self._empty()

    def _empty(self) -> None:
        self.time: list[int] = []
        self.states: list[Float] = []
        self.trades: list[tuple[int, float, float, int]] = []

    def continues(self, line: int, update: dict[str, Any]) -> bool:
        """Whether the update is news; ValidationError if what came between the last one and it is missing."""
        first, last = (_integer(update, key, self.path, line) for key in ("U", "u"))
        if not self.started and last <= self.last_id:
            return False
        if "pu" in update:
            previous = _integer(update, "pu", self.path, line)
            joined = previous == self.last_id if self.started else previous <= self.last_id
        else:
            joined = first == self.last_id + 1 if self.started else first <= self.last_id + 1
        if not joined or last < first:
            what = "the update before it" if self.started else "the snapshot"
            raise ValidationError(
                f"{self.path}: line {line}: a gap in the update ids: {what} ends at {self.last_id}, this one covers "
                f"{first} to {last}{f' after {previous}' if 'pu' in update else ''}; cut the recording there"
            )
        self.started, self.last_id = True, last
        return True

    def apply(self, line: int, update: dict[str, Any]) -> None:
        """Set the update's levels and keep the state after it."""
        self._set_levels(line, update, "b", "a")
        self.time.append(self._event_time(line, update, "book"))
        self.states.append(
            np.stack([self.bid.best(self.n_levels, True), self.ask.best(self.n_levels, False)])
        )

    def trade(self, line: int, trade: dict[str, Any]) -> None:
        """Keep a trade; one that met no order in the book has no aggressor."""
        market = trade.get("X", "MARKET") == "MARKET"
        price, size = (_number(trade.get(key), key, self.path, line) for key in ("p", "q"))
        maker = trade.get("m")
        if not isinstance(maker, bool):
            raise _damaged(self.path, line, f"m must be true or false, it is {maker!r}")
        time = self._event_time(line, trade, "trade")
        if price > 0 and size > 0:
            aggressor = (SELL if maker else BUY) if market else UNSIGNED
            self.trades.append((time, price, size, aggressor))
        elif market:
            raise _damaged(
                self.path,
                line,
                f"a trade's price and size must be above 0, they are {price:g}, {size:g}",
            )
        else:
            self.n_dropped += 1

    def taken(self) -> BookSnapshots:
        """The states and trades since the last call."""
        states = np.stack(self.states)
        time, price, size, aggressor = (
            zip(*self.trades, strict=True) if self.trades else ((), (), (), ())
        )
        books = BookSnapshots(
            np.array(self.time, np.int64),
            bid_price=states[:, 0, 0],
            bid_size=states[:, 0, 1],
            ask_price=states[:, 1, 0],
            ask_size=states[:, 1, 1],
            symbol=self.symbol,
            trades=Trades(
                np.array(time, np.int64), price, size, np.array(aggressor, np.int8), self.symbol
            ),
        )
        self._empty()
        return books

    def _set_levels(self, line: int, message: dict[str, Any], bids: str, asks: str) -> None:
        for side, key in ((self.bid, bids), (self.ask, asks)):
            levels = message.get(key)
            if not isinstance(levels, list):
                raise _damaged(
                    self.path, line, f"{key} must be a list of levels, it is {levels!r:.40}"
                )
            for level in levels:
                if not isinstance(level, list) or len(level) < 2:
                    raise _damaged(
                        self.path, line, f"{key} holds {level!r:.40} where [price, quantity] is due"
                    )
                price, size = (_number(text, key, self.path, line) for text in level[:2])
                if price <= 0:
                    raise _damaged(
                        self.path, line, f"{key} holds the price {price:g}; prices are above 0"
                    )
                side.set(price, size)

    def _event_time(self, line: int, message: dict[str, Any], stream: str) -> int:
        """E in ns, held where the clock steps back a little; also checks that the symbol stays."""
        symbol = str(message.get("s", self.symbol))
        if self.symbol not in ("", symbol):
            raise ValidationError(
                f"{self.path}: line {line}: symbol {symbol} after {self.symbol}; record one a file"
            )
        self.symbol = symbol
        time, before = _integer(message, "E", self.path, line), self.clock[stream]
        if not EARLIEST_NS <= time * NS_A_MS <= LATEST_NS:
            raise _damaged(
                self.path,
                line,
                f"event time E must be milliseconds, between 1990 and 2100, it is {time}",
            )
        if time < before - CLOCK_STEP_BACK_MS:
            raise _damaged(
                self.path,
                line,
                f"event time E {time} runs back {before - time:,} ms, from {before}",
            )
        self.clock[stream] = max(time, before)
        return self.clock[stream] * NS_A_MS


def _snapshot(path: Path) -> tuple[int, dict[str, Any]]:
    """Line number and content of the first REST snapshot, wherever it stands."""
    for line, text in _lines(path):
        if b'"lastUpdateId"' in text:
            return line, _parsed(path, line, text)
    raise ValidationError(
        f"{path} holds no REST snapshot (lastUpdateId, bids, asks); record one with the stream"
    )


def _messages(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and message of every line, taken out of its combined-stream envelope."""
    for line, text in _lines(path):
        message = _parsed(path, line, text)
        content = message.get("data", message)
        if not isinstance(content, dict):
            raise _damaged(path, line, f"data must be an object, it is {content!r:.40}")
        yield line, content


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with damage(path), open_bytes(path) as stream:
        yield from enumerate(io.BufferedReader(stream), start=1)


def _parsed(path: Path, line: int, text: bytes) -> dict[str, Any]:
    received, _, content = text.partition(b" ")
    try:
        message = json.loads(content) if received.isdigit() else None
    except ValueError as error:
        raise _damaged(path, line, f"it is no JSON ({error})") from error
    if not isinstance(message, dict):
        raise _damaged(
            path, line, f"it begins {text[:40]!r} where a receive time and a JSON object are due"
        )
    return message


def _integer(message: dict[str, Any], key: str, path: Path, line: int) -> int:
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _damaged(path, line, f"{key} must be a whole number, it is {value!r:.40}")
    return value


def _number(value: Any, key: str, path: Path, line: int) -> float:
    """A number that the venue sends as text, finite and at least 0."""
    try:
        parsed = float(value) if isinstance(value, str) and "_" not in value else None
    except ValueError:
        parsed = None
    if parsed is None:
        raise _damaged(path, line, f"{key} must hold numbers as text, it holds {value!r:.40}")
    if not (math.isfinite(parsed) and parsed >= 0):
        raise _damaged(
            path, line, f"{key} must hold finite numbers of at least 0, it holds {value!r:.40}"
        )
    return parsed


def _damaged(path: Path, line: int, what: str) -> ValidationError:
    return ValidationError(f"{path}: line {line}: {what}; correct the line or fetch the file again")

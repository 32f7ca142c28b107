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
from research_lib.market.readers.tabular import EARLIEST_NS, LATEST_NS, Options, damage, open_bytes
from research_lib.market.trades import BUY, SELL, UNSIGNED, Trades

logger = logging.getLogger(__name__)

NAME = "Binance depth recording"
TAKES = ()
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
    Binance API documentation, "How to manage a local order book correctly", spot and futures.

    Examples
    --------
    >>> import tempfile
    >>> book = {"lastUpdateId": 7, "bids": [["10.0", "1"]], "asks": [["10.1", "3"]]}
    >>> update = {"e": "depthUpdate", "E": 1723161255000, "s": "XYZ", "U": 8, "u": 8,
    ...           "b": [["10.0", "5"]], "a": []}
    >>> path = Path(tempfile.mkdtemp(), "recording.jsonl")
    >>> lines = [f"1723161253937085768 {json.dumps(one)}" for one in (book, update)]
    >>> _ = path.write_text("\\n".join(lines) + "\\n")
    >>> read_binance(path, n_levels=1).bid_size.tolist()
    [[5.0]]
    """
    return BookSnapshots.concat(list(batches(Path(path), ALL_ROWS, Options(), n_levels=n_levels)))


def matches(path: Path, head: bytes) -> bool:
    """Whether the first line is a receive time and a stream message or snapshot."""
    return FIRST_LINE.match(head) is not None


def batches(
    path: Path, batch_rows: int, options: Options, *, n_levels: int = N_LEVELS
) -> Iterator[BookSnapshots]:
    """Books and trades of a recording, `batch_rows` books at a time; rules as `read_binance`.

    The file is read twice, up to the snapshot and then whole, so that nothing is buffered. A
    file without a snapshot goes on from the one read before it, if that is the day before.
    """
    replay = _replay(path, options, number("n_levels", n_levels, 1, integer=True))
    n_books = 0
    for line, message in _messages(path):
        replay.line = line
        event = message.get("e")
        if event == "depthUpdate" and replay.continues(message):
            if len(replay.time) == batch_rows:
                n_books += batch_rows
                yield replay.taken()
            replay.apply(message)
        elif event == "trade":
            replay.trade(message)
    if not replay.time:
        raise ValidationError(
            f"{path} holds no depth update after its snapshot (lastUpdateId {replay.last_id}); "
            "record for longer"
        )
    n_books += len(replay.time)
    logger.info("replayed %s depth updates of %s from %s", f"{n_books:,}", replay.symbol, path.name)
    if replay.n_dropped:
        n_dropped = f"{replay.n_dropped:,}"
        logger.info("dropped %s trades without a size (X other than MARKET)", n_dropped)
    yield replay.taken()
    options.carried[NAME] = replay


def _replay(path: Path, options: Options, n_levels: int) -> _Replay:
    """The book of the file's snapshot, wherever it stands, or where the file before ended."""
    for line, text in _lines(path):
        if b'"lastUpdateId"' in text:
            return _Replay(path, line, _parsed(path, line, text), n_levels)
    before: _Replay | None = options.carried.get(NAME)
    if before is None:
        raise ValidationError(
            f"{path} holds no REST snapshot (lastUpdateId, bids, asks); record one with the "
            "stream, or read it after the recording that it continues: read_books([before, this])"
        )
    before.path = path
    return before


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

    def __init__(self, path: Path, line: int, snapshot: dict[str, Any], n_levels: int) -> None:
        self.path, self.line, self.n_levels = path, line, n_levels
        self.last_id = self._integer(snapshot, "lastUpdateId")
        self.started = False
        self.symbol = ""
        self.sides = {"bid": _Side(), "ask": _Side()}
        self._set_levels(snapshot, "bids", "asks")
        self.clock = {"book": 0, "trade": 0}
        self.n_dropped = 0
        self._empty()

    def _empty(self) -> None:
        self.time: list[int] = []
        self.states: list[Float] = []
        self.trades: list[tuple[int, float, float, int]] = []

    def continues(self, update: dict[str, Any]) -> bool:
        """Whether the update is news; refused if what came between the last one and it is lost."""
        first, last = (self._integer(update, key) for key in ("U", "u"))
        if not self.started and last <= self.last_id:
            return False
        # Futures name the id before; a first update may begin within the snapshot.
        before = self._integer(update, "pu") if "pu" in update else first - 1
        joined = before == self.last_id if self.started else before <= self.last_id
        if not joined or last < first:
            what = "the update before it" if self.started else "the snapshot"
            after = f" after {before}" if "pu" in update else ""
            raise ValidationError(
                f"{self.path}: line {self.line}: a gap in the update ids: {what} ends at "
                f"{self.last_id}, this one covers {first} to {last}{after}; cut the recording there"
            )
        self.started, self.last_id = True, last
        return True

    def apply(self, update: dict[str, Any]) -> None:
        """Set the update's levels and keep the state after it."""
        self._set_levels(update, "b", "a")
        self.time.append(self._event_time(update, "book"))
        best = [side.best(self.n_levels, name == "bid") for name, side in self.sides.items()]
        self.states.append(np.stack(best))

    def trade(self, trade: dict[str, Any]) -> None:
        """Keep a trade; one that met no order in the book has no aggressor."""
        market = trade.get("X", "MARKET") == "MARKET"
        price, size = (self._number(trade.get(key), key) for key in ("p", "q"))
        maker = trade.get("m")
        if not isinstance(maker, bool):
            raise self._damaged(f"m must be true or false, it is {maker!r}")
        time = self._event_time(trade, "trade")
        if price > 0 and size > 0:
            aggressor = (SELL if maker else BUY) if market else UNSIGNED
            self.trades.append((time, price, size, aggressor))
        elif market:
            raise self._damaged(
                f"a trade's price and size must be above 0, they are {price:g}, {size:g}"
            )
        else:
            self.n_dropped += 1

    def taken(self) -> BookSnapshots:
        """The states and trades since the last call."""
        states, time = np.stack(self.states), np.array(self.time, np.int64)
        rows = np.array(self.trades, [("t", "i8"), ("p", "f8"), ("q", "f8"), ("a", "i1")])
        trades = Trades(rows["t"], rows["p"], rows["q"], rows["a"], self.symbol)
        bid_price, bid_size, ask_price, ask_size = states.reshape(len(time), 4, -1).swapaxes(0, 1)
        books = BookSnapshots(
            time, bid_price, bid_size, ask_price, ask_size, self.symbol, trades=trades
        )
        self._empty()
        return books

    def _set_levels(self, message: dict[str, Any], bids: str, asks: str) -> None:
        for side, key in (("bid", bids), ("ask", asks)):
            levels = message.get(key)
            if not isinstance(levels, list):
                raise self._damaged(f"{key} must be a list of levels, it is {levels!r:.40}")
            for level in levels:
                if not isinstance(level, list) or len(level) < 2:
                    raise self._damaged(f"{key} holds {level!r:.40} where [price, quantity] is due")
                price, size = (self._number(text, key) for text in level[:2])
                if price <= 0:
                    raise self._damaged(f"{key} holds the price {price:g}; prices are above 0")
                self.sides[side].set(price, size)

    def _event_time(self, message: dict[str, Any], stream: str) -> int:
        """E in ns, held where the clock steps back a little; also checks that the symbol stays."""
        symbol = str(message.get("s", self.symbol))
        if self.symbol not in ("", symbol):
            raise ValidationError(
                f"{self.path}: line {self.line}: symbol {symbol} after {self.symbol}; "
                "record one a file"
            )
        self.symbol = symbol
        time, before = self._integer(message, "E"), self.clock[stream]
        if not EARLIEST_NS <= time * NS_A_MS <= LATEST_NS:
            raise self._damaged(
                f"event time E must be milliseconds, between 1990 and 2100, it is {time}"
            )
        if time < before - CLOCK_STEP_BACK_MS:
            raise self._damaged(
                f"event time E {time} runs back {before - time:,} ms, from {before}"
            )
        self.clock[stream] = max(time, before)
        return self.clock[stream] * NS_A_MS

    def _integer(self, message: dict[str, Any], key: str) -> int:
        value = message.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._damaged(f"{key} must be a whole number, it is {value!r:.40}")
        return value

    def _number(self, value: Any, key: str) -> float:
        """A number that the venue sends as text, finite and at least 0."""
        try:
            parsed = float(value) if isinstance(value, str) and "_" not in value else None
        except ValueError:
            parsed = None
        if parsed is None:
            raise self._damaged(f"{key} must hold numbers as text, it holds {value!r:.40}")
        if not 0 <= parsed < math.inf:
            raise self._damaged(
                f"{key} must hold finite numbers of at least 0, it holds {value!r:.40}"
            )
        return parsed

    def _damaged(self, what: str) -> ValidationError:
        return _damaged(self.path, self.line, what)


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


def _damaged(path: Path, line: int, what: str) -> ValidationError:
    return ValidationError(f"{path}: line {line}: {what}; correct the line or fetch the file again")

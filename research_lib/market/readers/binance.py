"""Binance depth recordings: one REST snapshot and the differences streamed after it."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from research_lib.checks import Float
from research_lib.errors import ValidationError
from research_lib.market.book import LEVELS, BookSnapshots
from research_lib.market.readers import tabular
from research_lib.market.readers.levels import PriceLevels
from research_lib.market.sessions import EARLIEST, LATEST
from research_lib.market.trades import BUY, SELL, UNSIGNED, Trades

HEAD = re.compile(rb'\d{16,19} \{"(stream|lastUpdateId|e)"')
PARTIAL = re.compile(rb'@depth(5|10|20)(@\d+ms)?"')
WHOLE = {"bids": "b", "asks": "a"}  # words of the spot and of the futures market
EMPTY = {"lastUpdateId": 0, "bids": (), "asks": ()}
N_LEVELS, CLOCK_STEP_BACK_MS, NS_A_MS = 20, 1_000, 10**6
Line = tuple[int, int, str, dict[str, Any]]  # as `_lines` says


def batches(path: Path, batch_rows: int, options: tabular.Options) -> Iterator[BookSnapshots]:
    """Replay one recording: a book after every depth update that continues the snapshot.

    The file is read twice, up to the snapshot and then whole, so that nothing is buffered.

    A line is ``<local receive time, ns> <raw JSON>``: a stream message (`depthUpdate`, `trade`;
    others are skipped) or the REST snapshot, which may stand anywhere in the file.
    Updates that end at or before the snapshot's `lastUpdateId` L are contained in it. Each later
    one, with first and last update ids U and u, must continue the one before:

    - spot: first U <= L + 1 <= u, then U = previous u + 1;
    - futures (updates with `pu`): first pu <= L < u, then pu = previous u.

    A recording of partial depth (streams such as btcusdt@depth20@100ms) has whole books instead:
    each is a state by itself, at the time of its receipt, as are the trades beside it.

    Quantities are absolute and 0 deletes. Levels beyond the snapshot's depth are unknown until an
    update names them, so levels far from the touch may be missing.

    Parameters
    ----------
    path : path
        Recording of one symbol, plain or compressed (gzip, zstd).

    Yields
    ------
    BookSnapshots
        The best 20 levels; prices in quote currency, sizes in base; empty levels are NaN, 0.
        `time` is the exchange's event time E (ms), so books and trades share one clock, without
        network delay and without the recorder's clock error (1.27 s in the samples). Where the time
        steps back by up to a second, the last value is repeated. `trades`: aggressor -1 (a seller)
        where the buyer was the maker, else 1; 0 where a futures trade did not execute against the
        book (X other than MARKET: insurance fund, auto-deleveraging). Such trades without a size
        are dropped.

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
    """
    is_partial = PARTIAL.search(tabular.head(path)) is not None
    replay = DepthReplay(EMPTY) if is_partial else _begun(path)
    for line, _, _, message in _whole_books(path) if is_partial else _lines(path):
        with _naming(path, line):
            if message.get("e") == "depthUpdate" and (is_partial or replay.continues(message)):
                if len(replay.time) == batch_rows:
                    yield replay.taken()
                if is_partial:
                    replay.bid, replay.ask = PriceLevels(), PriceLevels()
                replay.apply(message)
            elif message.get("e") == "trade":
                replay.trade(message)
    if not replay.time:
        raise ValidationError(f"{path} holds no depth update after its snapshot, {replay.last_id}")
    yield replay.taken()


def _whole_books(path: Path) -> Iterator[Line]:
    """Trades and books of a recording of partial depth at their receipt: spot has no event time."""
    for line, received, name, message in _lines(path):
        told = {"s": name.split("@")[0].upper(), "E": received // NS_A_MS}
        if message.get("e") == "trade":
            yield line, received, name, message | told
        elif PARTIAL.search(name.encode() + b'"'):
            sides = {to: message.get(of, message.get(to)) for of, to in WHOLE.items()}
            yield line, received, name, {"e": "depthUpdate", **told, **sides}


def _begun(path: Path) -> "DepthReplay":
    """The book at the file's snapshot."""
    for line, _, _, message in _lines(path):
        if "lastUpdateId" in message:
            with _naming(path, line):
                return DepthReplay(message)
    raise ValidationError(f"{path} holds no REST snapshot; record one at the start of each file")


@contextmanager
def _naming(path: Path, line: int) -> Iterator[None]:
    """Name file and line where a message is not as documented."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValidationError(f"{path}: line {line} is not as documented: {error!r}") from error


def _set(side: PriceLevels, levels: Any) -> None:
    """Replace the sizes at prices that a message names."""
    for level in levels:
        price, size = map(_number, level[:2])
        if price == 0:
            raise ValueError("a price must be above 0, it is 0")
        side.set(price, size)


class GapError(ValueError):
    """An update that does not continue the one before."""


class DepthReplay:
    """The book between two messages, and the states and trades not yet handed out."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last_id, self.started = snapshot["lastUpdateId"], False
        self.symbol, self.clock = "", {"depthUpdate": 0, "trade": 0}
        self.bid, self.ask = PriceLevels(), PriceLevels()
        _set(self.bid, snapshot["bids"])
        _set(self.ask, snapshot["asks"])
        self.time: list[int] = []
        self.states: list[Float] = []
        self.trades: list[tuple[int, float, float, int]] = []

    def continues(self, update: dict[str, Any]) -> bool:
        """Whether the update is newer than the book; a gap before it is refused."""
        first, last = update["U"], update["u"]
        if not self.started and last <= self.last_id:
            return False
        # Futures name the id before; a first update may begin within the snapshot.
        before = update["pu"] if "pu" in update else first - 1
        joined = before == self.last_id if self.started else before <= self.last_id
        if not joined or last < first:
            ids = f"{self.last_id} was the last, {before} is continued by {first} to {last}"
            raise GapError(f"a gap in the update ids: {ids}")
        self.started, self.last_id = True, last
        return True

    def apply(self, update: dict[str, Any]) -> None:
        """Set the update's levels and keep the state after it."""
        _set(self.bid, update["b"])
        _set(self.ask, update["a"])
        self.time.append(self._event_time(update))
        best = self.bid.best(N_LEVELS, highest=True), self.ask.best(N_LEVELS, highest=False)
        self.states.append(np.concatenate(best))

    def trade(self, trade: dict[str, Any]) -> None:
        """Keep a trade; one that did not execute against the book has no aggressor."""
        market = trade.get("X", "MARKET") == "MARKET"
        price, size = _number(trade["p"]), _number(trade["q"])
        time, aggressor = self._event_time(trade), {True: SELL, False: BUY}[trade["m"]]
        if price > 0 and size > 0:
            self.trades.append((time, price, size, aggressor if market else UNSIGNED))
        elif market:
            raise ValueError(f"a trade's price and size must be above 0: {price:g}, {size:g}")

    def taken(self) -> BookSnapshots:
        """The states and trades since the last call."""
        rows = np.array(self.trades, [("t", "i8"), ("p", "f8"), ("q", "f8"), ("a", "i1")])
        trades = Trades(rows["t"], rows["p"], rows["q"], rows["a"], self.symbol)
        levels: Any = dict(zip(LEVELS, np.stack(self.states, axis=1), strict=True))
        books = BookSnapshots(self.time, symbol=self.symbol, trades=trades, **levels)
        self.time, self.states, self.trades = [], [], []
        return books

    def _event_time(self, message: dict[str, Any]) -> int:
        """E in ns, not below the one before; also checks that the symbol is the same."""
        symbol, time, before = message["s"], message["E"], self.clock[message["e"]]
        if self.symbol not in ("", symbol):
            raise ValueError(f"symbol {symbol} after {self.symbol}; record one a file")
        if not EARLIEST <= time * NS_A_MS <= LATEST:
            raise ValueError(f"event time E must be ms, between 1990 and 2100, not {time}")
        if time < before - CLOCK_STEP_BACK_MS:
            raise ValueError(f"event time E {time} runs back {before - time:,} ms, from {before}")
        self.symbol, self.clock[message["e"]] = symbol, max(time, before)
        return self.clock[message["e"]] * NS_A_MS


def _number(text: str) -> float:
    """A number that the venue sends as text, finite and at least 0."""
    value = float(text.replace("_", "?"))  # which Python takes for a separator
    if not 0 <= value < math.inf:
        raise ValueError(f"{text} must be finite and at least 0")
    return value


def _lines(path: Path) -> Iterator[Line]:
    """Number, time of receipt (ns), stream and message of every line, out of its envelope."""
    with tabular.damage(path), tabular.open_bytes(path) as stream:
        for line, text in enumerate(stream, start=1):
            received, _, content = text.partition(b" ")
            with _naming(path, line):
                envelope = json.loads(content if received.isdigit() else b"")
                name, message = str(envelope.get("stream", "")), envelope.get("data", envelope)
                message.get("e")
            yield line, int(received), name, message


BINANCE = tabular.Format("Binance depth recording", lambda _, head: bool(HEAD.match(head)), batches)

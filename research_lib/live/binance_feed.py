"""Binance's depth and trade streams as a feed, which mends itself after every fault."""

import asyncio
import json
import math
import time
from asyncio import sleep
from collections import Counter, deque
from collections.abc import AsyncGenerator
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

from research_lib.errors import ValidationError
from research_lib.live.events import Book, Clock, Event, Gap, Trade
from research_lib.market.readers.binance import DepthReplay, GapError

TICK_SECONDS = 0.25  # of the clock where the feed is silent
FIRST_WAIT, MAX_FETCHES = 0.5, 5  # s before the second attempt to connect; of one snapshot
# Of a message that is not as documented; the last two of 1e999 and of 10,000 brackets.
FAULTS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class WrongSymbolError(ValidationError):
    """The stream is of another symbol than the order."""


class BinanceFeed:
    """Books and trades of one symbol by websocket, with the update-id rule of the recordings.

    After connecting, the first update asks for the whole book (the snapshot), which the updates
    continue. A missing or damaged update asks for another one; a lost or silent connection is made
    anew, after waits that double. Until the book is whole again the desk hears a `Gap`. Updates
    that are there already are left out.

    Parameters
    ----------
    url : str
        Of the combined streams, as ".../stream?streams=btcusdt@depth@100ms/btcusdt@trade".
    snapshot_url : str
        Of the whole book of that symbol.
    silence_seconds, max_wait_seconds : float
        Without a message, until the connection counts as lost; longest wait before an attempt.
    symbol : str
        That the messages name; "" for any.

    Attributes
    ----------
    counts : Counter
        connections, snapshots, gaps, duplicates, damaged messages, others (of another kind, and
        trades while the book is unknown).

    Raises
    ------
    ValidationError
        By `events`: the first message is of another symbol; a later one is damaged.

    Examples
    --------
    >>> BinanceFeed("ws://127.0.0.1:1/stream", "", 10.0, 60.0, "BTCUSDT").counts
    Counter()
    """

    def __init__(
        self, url: str, snapshot_url: str, silence_seconds: float, max_wait_seconds: float,
        symbol: str = "",
    ) -> None:  # fmt: skip
        self.url, self.snapshot_url, self.symbol = url, snapshot_url, symbol
        self.silence, self.max_wait, self.counts = silence_seconds, max_wait_seconds, Counter[str]()
        self.book: DepthReplay | None = None
        # Venue's less this machine's time, ns, of two events: one wrong time moves no clock.
        self.offsets = deque([time.time_ns() - time.monotonic_ns()], maxlen=2)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events without end; a `Gap` comes first where nothing answers."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        wait = 0.0
        while True:
            try:
                async with connect(self.url, max_queue=None) as socket:
                    self.counts["connections"] += 1
                    async for event in self._heard(socket):
                        wait = 0.0 if isinstance(event, Book) else wait
                        yield event
            except (WebSocketException, HTTPException, OSError) as error:
                self.book = None
                yield Gap(self._now(), f"the connection is lost: {error or type(error).__name__}")
            wait = min(max(2.0 * wait, FIRST_WAIT), self.max_wait)
            async for clock in self._ticks_until(asyncio.ensure_future(sleep(wait))):
                yield clock

    async def _ticks_until(
        self, done: asyncio.Future[Any], longest: float = math.inf
    ) -> AsyncGenerator[Clock, None]:
        """The clock until something is done; a TimeoutError where that takes too long, s."""
        silent = 0.0
        try:
            while not (await asyncio.wait([done], timeout=TICK_SECONDS))[0]:
                silent += TICK_SECONDS
                if silent >= longest:
                    raise TimeoutError(f"silent for {silent:g} s")
                yield Clock(self._now())
        finally:
            done.cancel()

    async def _heard(self, socket: Any) -> AsyncGenerator[Event, None]:
        """Events of one connection, and the clock while it or a snapshot is waited for."""
        while True:
            text = asyncio.ensure_future(socket.recv())
            async for clock in self._ticks_until(text, self.silence):
                yield clock
            try:
                said = asyncio.ensure_future(self._event(json.loads(text.result())))
                async for clock in self._ticks_until(said):
                    yield clock
                event = said.result()
            except WrongSymbolError:
                raise
            except FAULTS as error:
                kind = "gaps" if isinstance(error, GapError) else "damaged"
                self.counts[kind] += 1
                self.book, event = None, Gap(self._now(), f"{kind}: {error}")
            if event is not None:
                yield event

    async def _event(self, envelope: Any) -> Event | None:
        """What a message says; None of one that says nothing new."""
        message = envelope.get("data", envelope)
        kind, whose = message.get("e"), message.get("s", self.symbol)
        if self.symbol and whose != self.symbol:
            remedy = "correct the address, or stream_symbol in the section live"
            fault = ValueError if self.counts["snapshots"] else WrongSymbolError
            raise fault(f"the stream is of {whose}, not of {self.symbol}; {remedy}")
        if kind == "trade" and self.book is not None:
            try:
                self.book.trade(message)
            except FAULTS:  # the book does not need it
                self.counts["damaged"] += 1
            if not self.book.trades:
                return None
            trade = Trade(*self.book.trades.pop())
            self.offsets.append(trade.time - time.monotonic_ns())
            return trade
        if kind != "depthUpdate":
            self.counts["others"] += 1
            return None
        self.offsets.append(round(1e6 * message["E"]) - time.monotonic_ns())
        if self.book is None:
            self.book = await self._snapshot(message.get("pu", message["U"] - 1))
        if message["u"] <= self.book.last_id or not self.book.continues(message):
            self.counts["duplicates"] += 1
            return None
        self.book.apply(message)
        (levels,), (at,) = self.book.states, self.book.time
        self.book.states, self.book.time = [], []
        return Book(at, *levels)

    async def _snapshot(self, before: int) -> DepthReplay:
        """The whole book, of the update before the one that is at hand or a later one."""
        for _ in range(MAX_FETCHES):
            self.counts["snapshots"] += 1
            text = await asyncio.to_thread(_fetched, self.snapshot_url)
            try:
                book = DepthReplay(json.loads(text))
            except FAULTS as error:  # the venue is not well: connect anew, after a wait
                raise OSError(f"the snapshot is damaged: {error!r}") from error
            if book.last_id >= before:
                return book
            await sleep(FIRST_WAIT)
        raise OSError(f"{MAX_FETCHES} snapshots are older than update {before}")

    def _now(self) -> int:
        """The venue's time now; by up to the time between two messages too early."""
        return time.monotonic_ns() + min(self.offsets)


def _fetched(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        return bytes(answer.read())

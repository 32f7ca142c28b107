"""A venue on the loopback: streams recorded messages, gives its book, and misbehaves as told."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Message = dict[str, Any]


def recorded(path: Path) -> tuple[Message, list[Message]]:
    """The snapshot of a recording, and its depth and trade messages after it."""
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line.split(" ", 1)[1]) for line in file]
    every = [one.get("data", one) for one in lines]
    (snapshot,) = (one for one in every if "lastUpdateId" in one)
    kinds = ("depthUpdate", "trade")
    return snapshot, [one for one in every if one.get("e") in kinds]


class Venue:
    """Streams go on where the last connection left them, as a market does.

    It waits where a client must ask for the book, as a market would wait for no one: the book that
    is given is then that of the last message sent, whatever the speed of the machine.

    Parameters
    ----------
    snapshot, messages
        As of `recorded`.
    faults : mapping of a message's number to "drop", "skip", "garbage", "twice" or "silence"
        What happens in its place; each fault happens once.

    Attributes
    ----------
    answers : list of str
        Given in turn instead of the book.
    """

    def __init__(
        self,
        snapshot: Message,
        messages: Iterable[Message],
        faults: Mapping[int, str] | None = None,
    ) -> None:
        self.messages, self.at = list(messages), 0
        self.faults, self.asked, self.owed = dict(faults or {}), asyncio.Event(), 0
        self.silent, self.answers = False, list[str]()
        self.last = snapshot["lastUpdateId"]
        self.sides = {s: {p: q for p, q in snapshot[n]} for s, n in (("b", "bids"), ("a", "asks"))}

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[tuple[str, str]]:
        """Its addresses: of the streams, and of the book."""
        how = {"process_request": self._asked, "ping_interval": None, "compression": None}
        async with serve(self._stream, "127.0.0.1", port, **how) as server:
            where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield f"ws://{where}/stream", f"http://{where}/depth"

    def _asked(self, connection: ServerConnection, request: Any) -> Any:
        """The book now, where it is asked for."""
        if request.path != "/depth":
            return None
        if self.answers:
            return connection.respond(HTTPStatus.OK, self.answers.pop(0))
        self.asked.set()
        book = {name: [*self.sides[side].items()] for side, name in (("b", "bids"), ("a", "asks"))}
        text = json.dumps({"lastUpdateId": self.last, **book})
        return connection.respond(HTTPStatus.OK, text)

    async def _stream(self, connection: ServerConnection) -> None:
        self.owed = 1  # depth messages until the client asks for the book
        self.silent = False
        try:
            while self.at < len(self.messages):
                fault = self.faults.pop(self.at, "")
                message, self.at = self.messages[self.at], self.at + 1
                self._apply(message)
                if fault == "drop":
                    return
                if fault == "garbage":
                    self.owed = 1
                    await connection.send('{"e": "depthUpdate", "U": ')
                elif fault == "skip":
                    self.owed = self.owed or 2  # the first of these shows the gap
                elif fault == "silence":
                    self.silent = True
                    await connection.wait_closed()
                    return
                else:
                    await self._send(connection, message, times=2 if fault == "twice" else 1)
        except ConnectionClosed:
            return

    async def _send(self, connection: ServerConnection, message: Message, times: int) -> None:
        if owed := self.owed == 1 and message["e"] == "depthUpdate":
            self.asked.clear()
        for _ in range(times):
            await connection.send(json.dumps({"stream": "x@depth", "data": message}))
        if owed:
            closed = asyncio.ensure_future(connection.wait_closed())
            asked = asyncio.ensure_future(self.asked.wait())
            await asyncio.wait([closed, asked], return_when=asyncio.FIRST_COMPLETED)
            closed.cancel(), asked.cancel()
        self.owed = max(self.owed - (message["e"] == "depthUpdate"), 0)

    def _apply(self, message: Message) -> None:
        if message["e"] != "depthUpdate" or message["u"] <= self.last:
            return
        self.last = message["u"]
        for side in ("b", "a"):
            for price, quantity in message[side]:
                self.sides[side].pop(price, None)
                if float(quantity) > 0:
                    self.sides[side][price] = quantity

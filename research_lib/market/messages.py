"""Messages of a book, order by order (LOBSTER, Databento MBO), and the lives of limit orders."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import Float, Int64, numbers, refuse_rows, same_rows
from research_lib.compiling import compiled
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.readers import format_of, tabular
from research_lib.market.readers.databento import ACTIONS, DATABENTO, SIGNS, order_records
from research_lib.market.readers.pairs import (
    LOBSTER,
    MESSAGE,
    checked_events,
    kind_of,
    partner_due,
    symbol_and_midnight,
)
from research_lib.market.sessions import in_order, nanoseconds
from research_lib.market.trades import PRICE_SCALE

ADD, CANCEL, EXECUTE = 1, 2, 3
COLUMNS = ("time", "order_id", "kind", "side", "price", "size")
# Of LOBSTER's types 0 to 7: entered, cancelled in part, deleted, visible execution; 0 is left out.
LOBSTER_KIND = np.array([0, ADD, CANCEL, CANCEL, EXECUTE, 0, 0, 0])
ADDED, REMOVED, MODIFIED, CLEARED, FILLED = map(ACTIONS.index, "ACMRF")


@dataclass(frozen=True, eq=False)
class Messages(Record):
    """What happened to each order of one book: m messages in the recording's order.

    Attributes
    ----------
    time : (m,) int64 ns UTC, or anything date-time with a time zone
        Messages with equal time keep their order.
    order_id : (m,) int64
    kind : (m,) int8
        ADD (1): shares enter the queue at their price, behind all that stands there; CANCEL (2), in
        part or whole; EXECUTE (3): the visible order traded. An order that moves, or grows, is
        cancelled and added again under its id.
    side : (m,) int8
        Of the resting order: 1 for a bid, -1 for an ask.
    price : (m,) quote currency per share, of the resting order
    size : (m,) shares added, cancelled or executed, above 0
    symbol : str

    Labelled columns (Series) are aligned to the row order of the first of them.

    Raises
    ------
    ValidationError
        Shapes or labels that disagree, times out of order, prices or sizes at or below zero, an
        unknown kind or side, an id that is no whole number.

    Examples
    --------
    >>> time = np.array([1_743_687_000, 1_743_687_060, 1_743_687_061]) * 10**9
    >>> kind, price, size = [ADD, EXECUTE, CANCEL], [10.0] * 3, [100, 40, 60]
    >>> Messages(time, [7, 7, 8], kind, [1] * 3, price, size).entered.tolist()
    [0, 0, -1]
    """

    time: Any
    order_id: Any
    kind: Any
    side: Any
    price: Any
    size: Any
    symbol: str = ""

    def __post_init__(self) -> None:
        given = same_rows(**{name: self[name] for name in COLUMNS})
        held: dict[str, Any] = {n: numbers(f"message {n}", given[n]) for n in COLUMNS[2:]}
        held["time"] = in_order(nanoseconds(given["time"], "message time"), "message time")
        held["order_id"] = np.asarray(given["order_id"])
        shapes = {column.shape for column in held.values()}
        if len(shapes) > 1 or held["time"].ndim != 1:
            raise ValidationError(f"message columns must all be (m,), got {shapes}")
        if held["time"].size and held["order_id"].dtype.kind not in "iu":
            dtype = held["order_id"].dtype
            raise ValidationError(f"message order_id must be whole numbers, got {dtype}; cast it")
        for name, known in (("kind", (ADD, CANCEL, EXECUTE)), ("side", (1, -1))):
            rule = f"must be one of {', '.join(map(str, known))}"
            refuse_rows(~np.isin(held[name], known), f"message {name}", held[name], rule)
        for name in ("price", "size"):
            bad = ~((held[name] > 0) & (held[name] < np.inf))
            refuse_rows(bad, f"message {name}", held[name], "must be finite and above 0")
        for name, dtype in {"order_id": np.int64, "kind": np.int8, "side": np.int8}.items():
            held[name] = held[name].astype(dtype)
        for name, column in held.items():
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.time)

    @cached_property
    def entered(self) -> Int64:
        """Row at which each message's order got its place in the queue, its last ADD so far, (m,).

        -1 for an order that was entered before the recording.
        """
        rows = np.argsort(self.order_id, kind="stable")  # order after order, each in time
        begins = np.diff(self.order_id[rows], prepend=self.order_id[rows[:1]] - 1) != 0
        place = np.arange(len(rows))
        first = np.maximum.accumulate(np.where(begins, place, 0))
        added = np.maximum.accumulate(np.where(self.kind[rows] == ADD, place, -1))
        entered = np.empty(len(rows), np.int64)
        entered[rows] = np.where(added >= first, rows[added], -1)
        return entered


def read_messages(path: str | Path, *, date: dt.date | str | None = None) -> Messages:
    """Read the messages of one book from a LOBSTER pair or a Databento MBO file.

    Of LOBSTER type 1 is an ADD, 2 and 3 are CANCELs, 4 is an EXECUTE; hidden executions, crosses
    and halts (5, 6, 7) are left out. The files have what happens within their levels alone: an
    order that leaves these may be cancelled unseen, and then seems to stand for good.

    Of MBO

    - A is an ADD, and so are a snapshot's orders, in the order of their queue;
    - C is a CANCEL of at most what is left, but not the removal of shares filled at its `ts_event`;
    - M cancels what is left and adds the new order, unless only the size decreases, which cancels
      the difference and keeps the place; after a partial fill, as of CME's, it changes nothing;
    - F is an EXECUTE, of at most what is left: an iceberg's hidden shares are not counted;
    - R cancels every order that stands; T and N change nothing.

    Of orders entered before the recording, C and F are kept as they are, and an M is an ADD.

    Parameters
    ----------
    path : path
        MBO of any encoding; of LOBSTER either file of the pair, of which the messages are enough.
    date : datetime.date or "YYYY-MM-DD", optional
        Of LOBSTER alone: as of `read_lobster`.

    Returns
    -------
    Messages
        Of MBO, `time` is the exchange's `ts_event`, of a snapshot's records the latest time so far.

    Raises
    ------
    MissingDataError
        A file that does not exist.
    ValidationError
        A format without orders, damaged content, a date that is missing or does not apply.

    References
    ----------
    LOBSTER, sample files readme, 2013. Databento, "Market by order (MBO)" schema, and "Limit order
    book construction" for which modifications lose their place.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "message.csv")
    >>> lines = "34200.5,1,11,20,1000000,1", "34201.5,4,11,5,1000000,1", "34202,5,0,9,1000050,1"
    >>> _ = path.write_text("\\n".join(lines) + "\\n")
    >>> read_messages(path, date="2012-06-21").size.tolist()
    [20.0, 5.0]
    """
    file = Path(path)
    kind = format_of(file)
    if kind is LOBSTER:
        return _of_lobster(file, date)
    if kind is not DATABENTO or "order_id" not in tabular.column_names(file):
        raise ValidationError(f"{path} has no orders; give a LOBSTER pair or Databento MBO")
    if date is not None:
        raise ValidationError(f"date does not apply to {path}, whose times have one; leave it out")
    return _of_databento(file)


def _of_lobster(path: Path, date: dt.date | str | None) -> Messages:
    path = partner_due(path) if kind_of(path) == "orderbook" else path
    symbol, midnight = symbol_and_midnight(path, date)
    before, parts = midnight, []
    for rows in tabular.read(path, MESSAGE, tabular.ALL_ROWS, names=MESSAGE):
        event = checked_events(rows, midnight)
        before = rows.refuse_backwards("time", event["time"], before)
        event["type"] = LOBSTER_KIND[event["type"]]
        parts.append([column[event["type"] > 0] for column in event.values()])
    time, kind, order, size, price, side = map(np.concatenate, zip(*parts, strict=True))
    return Messages(time, order, kind, side, price / PRICE_SCALE, size, symbol)


def _of_databento(path: Path) -> Messages:
    symbols, *parts = zip(*order_records(path, tabular.ALL_ROWS, tabular.Options()), strict=True)
    time, _, _, action, side, price, size, order = map(np.concatenate, parts)
    number, ids = pd.factorize(order)
    at, of, kind, shares = _fates(action, number, time, price, size, len(ids))
    return Messages(time[at], order[of], kind, SIGNS[side[of]], price[of], shares, symbols[0])


@compiled
def _fates(
    action: Int64, order: Int64, time: Int64, price: Float, size: Float, n_orders: int
) -> tuple[Int64, Int64, Int64, Float]:
    """Of each message: the record at which it happened, the one that entered its order (itself, of
    an order entered before the recording), kind and shares; `order` counts from 0.
    """
    # An order ends once for each time that it is added: never more than two messages a record.
    n, m = len(action), 0
    at, of, kind = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
    shares = np.empty(2 * n)
    entry, left = np.full(n_orders, -1), np.zeros(n_orders)
    filled, filled_at = np.zeros(n_orders), np.zeros(n_orders, np.int64)  # and not yet removed
    for k in range(n):
        what, o = action[k], order[k]
        if what == CLEARED:
            for o in np.flatnonzero(left):
                at[m], of[m], kind[m], shares[m] = k, entry[o], CANCEL, left[o]
                m += 1
            left[:] = 0.0
        if what not in (ADDED, REMOVED, MODIFIED, FILLED):
            continue
        is_known, due = entry[o] >= 0, filled[o] if filled_at[o] == time[k] else 0.0
        # Of an unknown order price[-1] is compared, but left is 0, so that it never keeps.
        keeps = what == MODIFIED and price[k] == price[entry[o]] and size[k] <= left[o]
        gone, filled[o], filled_at[o] = left[o], 0.0, time[k]
        if what == FILLED:
            gone, filled[o] = size[k], due + size[k]
        elif what == REMOVED:
            gone, filled[o] = max(size[k] - due, 0.0), max(due - size[k], 0.0)
        elif keeps:
            gone = left[o] - size[k]
        if is_known:
            gone = min(gone, left[o])
            left[o] -= gone
        if gone > 0:
            kind[m], shares[m] = EXECUTE if what == FILLED else CANCEL, gone
            at[m], of[m] = k, entry[o] if is_known else k
            m += 1
        if what in (ADDED, MODIFIED) and not keeps:
            entry[o], left[o] = k, size[k]
            at[m], of[m], kind[m], shares[m] = k, k, ADD, size[k]
            m += 1
    return at[:m], of[:m], kind[:m], shares[:m]


def limit_orders(messages: Messages) -> pd.DataFrame:
    """The lives of the orders that were entered in a recording, up to their first cancel.

    Even a partial cancel ends a life: until then the shares stood as they were entered, and what
    they filled is what a model of their place in the queue has to predict.

    Orders that are neither cancelled nor filled stood to the end; of LOBSTER, which does not see
    what happens beyond its levels, most of them were cancelled there (GOOG: 3,942 of 71,258 orders)
    and are no evidence.

    Parameters
    ----------
    messages : Messages

    Returns
    -------
    DataFrame, one row an ADD, in their order
        order_id; row (of its ADD in `messages`); side (1 a bid, -1 an ask); price, currency per
        share; size, shares; entered, ns UTC; ended, ns UTC: of the first cancel of any size, or
        when executed whole, else of the last message; cancelled (bool): ended by a cancel; filled,
        shares executed until then; done, ns UTC: when it was executed whole, else -1. An order that
        is entered again under its id is a row of its own: its place is new.

    Examples
    --------
    >>> time = np.array([1_743_687_000, 1_743_687_060, 1_743_687_061]) * 10**9
    >>> kind, price, size = [ADD, EXECUTE, CANCEL], [10.0] * 3, [100, 40, 60]
    >>> messages = Messages(time, [7] * 3, kind, [1] * 3, price, size)
    >>> limit_orders(messages)[["size", "filled", "cancelled"]].values.tolist()
    [[100.0, 40.0, True]]
    """
    m, entered = len(messages), messages.entered
    added = np.flatnonzero(messages.kind == ADD)
    order, time = np.searchsorted(added, entered), np.append(messages.time, -1)
    cancel, last = np.full(len(added), m), np.full(len(added), -1)
    cancels = np.flatnonzero((messages.kind == CANCEL) & (entered >= 0))
    np.minimum.at(cancel, order[cancels], cancels)
    fills = np.flatnonzero((messages.kind == EXECUTE) & (entered >= 0))
    fills = fills[fills < cancel[order[fills]]]
    last[order[fills]] = fills  # in time order: the last one stays
    filled = np.bincount(order[fills], messages.size[fills], len(added))
    table = {name: messages[name][added] for name in ("order_id", "side", "price", "size")}
    table |= {"row": added, "entered": messages.time[added], "filled": filled}
    # Fractional sizes add up to within rounding.
    done = np.where(filled >= table["size"] * (1 - 1e-9), time[last], -1)
    ended = np.select([cancel < m, done >= 0], [time[cancel], done], time[m - 1])
    return pd.DataFrame(table | {"ended": ended, "cancelled": cancel < m, "done": done})

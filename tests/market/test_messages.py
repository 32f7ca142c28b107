"""Messages of orders: each rule by hand, a plain twin of the compiled loop, and real recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market import (
    ADD,
    CANCEL,
    EXECUTE,
    Messages,
    limit_orders,
    read_books,
    read_messages,
)

GOOG = "lobster/GOOG_2012-06-21_34200000_57600000_{}_10.csv.gz"
ARL = "databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbo.csv.gz"
ESM4 = "databento_glbx_dbn/orderbooks_mbo_2024-05-08.dbn.zst"
NAME = "TEST_2012-06-21_34200000_57600000_{}_1.csv"
LINES = [
    "34200.000000001,1,11,20,1000000,1",
    "34200.5,2,11,5,1000000,1",
    "34200.5,4,12,7,1000100,-1",
    "34201,5,0,9,1000050,-1",
    "34202,6,-1,900,1000050,-1",
    "34203,7,0,0,-1,-1",
    "34204,4,11,6,1000000,1",
    "34205,3,11,9,1000000,1",
    "34206,1,13,8,1000100,-1",
]
Event = tuple[Any, ...]


def lobster(folder: Path, name: str = NAME) -> Path:
    """The message file of a pair."""
    (folder / name.format("orderbook")).write_text("1000100,10,1000000,20\n" * len(LINES))
    (folder / name.format("message")).write_text("\n".join(LINES) + "\n")
    return folder / name.format("message")


def mbo(folder: Path, events: Sequence[Event]) -> Path:
    """Events are second, action, side, price, size, order, and flags where they are not 128."""
    columns = ["second", "action", "side", "price", "size", "order_id", "flags"]
    frame = pd.DataFrame([(*event, 128)[:7] for event in events], columns=columns)
    time = pd.Timestamp("2025-07-17 14:00", tz="UTC") + pd.to_timedelta(frame["second"], "s")
    frame["ts_event"] = time.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    frame.assign(symbol="XYZ").drop(columns="second").to_csv(folder / "mbo.csv", index=False)
    return folder / "mbo.csv"


def rows_of(messages: Messages) -> list[Event]:
    """Second, order, kind, side, price, size of each message."""
    start = pd.Timestamp("2025-07-17 14:00", tz="UTC").as_unit("ns").value
    second = (messages.time - start) // 10**9
    columns = (messages[name] for name in ("order_id", "kind", "side", "price", "size"))
    return list(zip(second.tolist(), *(one.tolist() for one in columns), strict=True))


def made(rows: Sequence[tuple[int, int, float]]) -> Messages:
    """Bids at 10.0, one a second: order, kind, size."""
    order, kind, size = zip(*rows, strict=True)
    time = (1_750_000_000 + np.arange(len(rows))) * 10**9
    return Messages(time, order, kind, np.ones(len(rows)), np.full(len(rows), 10.0), size)


def test_lobster_types_are_adds_cancels_and_executions(tmp_path: Path) -> None:
    found = read_messages(lobster(tmp_path))
    midnight = pd.Timestamp("2012-06-21", tz="America/New_York").as_unit("ns").value
    assert found.symbol == "TEST"
    assert (found.time - midnight)[[0, 1, 5]].tolist() == [
        34_200_000_000_001,
        34_200_500_000_000,
        34_206_000_000_000,
    ]
    assert found.kind.tolist() == [ADD, CANCEL, EXECUTE, EXECUTE, CANCEL, ADD]
    assert found.order_id.tolist() == [11, 11, 12, 11, 11, 13]
    assert found.side.tolist() == [1, 1, -1, 1, 1, -1]
    assert found.price.tolist() == [100.0, 100.0, 100.01, 100.0, 100.0, 100.01]
    assert found.size.tolist() == [20, 5, 7, 6, 9, 8]
    assert found.entered.tolist() == [0, 0, -1, 0, 0, 5]
    assert [found[name].dtype for name in ("time", "order_id", "kind", "side", "size")] == [
        *("int64", "int64", "int8", "int8", "float64")
    ]


def test_either_file_of_a_pair_will_do_and_the_messages_alone(tmp_path: Path) -> None:
    message = lobster(tmp_path)
    orderbook = tmp_path / NAME.format("orderbook")
    assert rows_of(read_messages(orderbook)) == rows_of(read_messages(message))
    orderbook.unlink()
    assert len(read_messages(message)) == 6
    orderbook.write_text("1000100,10,1000000,20\n")
    message.unlink()
    with pytest.raises(MissingDataError, match="its message file does not exist"):
        read_messages(orderbook)


def test_a_pair_without_a_date_in_its_name_needs_one(tmp_path: Path) -> None:
    path = lobster(tmp_path, "own_{}.csv")
    with pytest.raises(
        ValidationError, match=r"own_message\.csv has no date in its name.*give date"
    ):
        read_messages(path)
    assert rows_of(read_messages(path, date="2012-06-21")) == rows_of(
        read_messages(lobster(tmp_path))
    )


BID = (0, "A", "B", 10.0, 100, 1)
ADDED = (0, 1, ADD, 1, 10.0, 100.0)
FILL = [(1, "T", "A", 10.0, 30, 0, 0), (1, "F", "B", 10.0, 30, 1, 0)]
FILLED = (1, 1, EXECUTE, 1, 10.0, 30.0)
RULES: dict[str, tuple[list[Event], list[Event]]] = {
    "a cancel takes off a part": ([(1, "C", "B", 10.0, 40, 1)], [(1, 1, CANCEL, 1, 10.0, 40.0)]),
    "a cancel takes off no more than is left": (
        [(1, "C", "B", 10.0, 90, 1), (2, "C", "B", 10.0, 90, 1), (3, "C", "B", 10.0, 90, 1)],
        [(1, 1, CANCEL, 1, 10.0, 90.0), (2, 1, CANCEL, 1, 10.0, 10.0)],
    ),
    "the removal of an execution is no cancel": ([*FILL, (1, "C", "B", 10.0, 30, 1)], [FILLED]),
    "a later cancel of the same size is one": (
        [*FILL, (1, "C", "B", 10.0, 30, 1), (2, "C", "B", 10.0, 30, 1)],
        [FILLED, (2, 1, CANCEL, 1, 10.0, 30.0)],
    ),
    "the rest may be cancelled at the time of the execution": (
        [*FILL, (1, "C", "B", 10.0, 30, 1), (1, "C", "B", 10.0, 70, 1)],
        [FILLED, (1, 1, CANCEL, 1, 10.0, 70.0)],
    ),
    "two executions may be removed as one": (
        [*FILL, *FILL, (1, "C", "B", 10.0, 60, 1)],
        [FILLED, FILLED],
    ),
    "the modification that removes an execution changes nothing": (
        [*FILL, (1, "M", "B", 10.0, 70, 1), (1, "C", "B", 10.0, 70, 1)],
        [FILLED, (1, 1, CANCEL, 1, 10.0, 70.0)],
    ),
    "an iceberg's hidden shares do not execute": (
        [(1, "F", "B", 10.0, 130, 1, 0), (1, "M", "B", 10.0, 100, 1)],
        [(1, 1, EXECUTE, 1, 10.0, 100.0), (1, 1, ADD, 1, 10.0, 100.0)],
    ),
    "a decrease cancels the difference": (
        [(1, "M", "B", 10.0, 60, 1)],
        [(1, 1, CANCEL, 1, 10.0, 40.0)],
    ),
    "an increase enters the order anew": (
        [(1, "M", "B", 10.0, 120, 1)],
        [(1, 1, CANCEL, 1, 10.0, 100.0), (1, 1, ADD, 1, 10.0, 120.0)],
    ),
    "another price enters the order anew": (
        [(1, "M", "B", 10.1, 60, 1)],
        [(1, 1, CANCEL, 1, 10.0, 100.0), (1, 1, ADD, 1, 10.1, 60.0)],
    ),
    "an id that is added twice stands once": (
        [(1, "A", "A", 10.2, 60, 1)],
        [(1, 1, CANCEL, 1, 10.0, 100.0), (1, 1, ADD, -1, 10.2, 60.0)],
    ),
    "a clear cancels all that stands": (
        [(1, "A", "A", 10.2, 5, 2), *FILL, (2, "R", "N", "", 0, 0, 8), (3, "C", "A", 10.2, 5, 2)],
        [(1, 2, ADD, -1, 10.2, 5.0), FILLED, (2, 1, CANCEL, 1, 10.0, 70.0),
         (2, 2, CANCEL, -1, 10.2, 5.0)],
    ),
    "cancels and executions of unknown orders are kept": (
        [(1, "C", "A", 10.3, 8, 9), (2, "F", "A", 10.3, 4, 8, 0), (2, "C", "A", 10.3, 4, 8)],
        [(1, 9, CANCEL, -1, 10.3, 8.0), (2, 8, EXECUTE, -1, 10.3, 4.0)],
    ),
    "an unknown order that is modified is added": (
        [(1, "M", "A", 10.3, 8, 9), (2, "C", "A", 10.3, 9, 9)],
        [(1, 9, ADD, -1, 10.3, 8.0), (2, 9, CANCEL, -1, 10.3, 8.0)],
    ),
    "a snapshot's orders are added at the latest time so far": (
        [(-9, "A", "A", 10.2, 5, 2, 40), (-99, "A", "A", 10.2, 6, 3, 168)],
        [(0, 2, ADD, -1, 10.2, 5.0), (0, 3, ADD, -1, 10.2, 6.0)],
    ),
    "trades and nothing change nothing": (
        [(1, "T", "N", 10.05, 5, 0), (2, "N", "N", "", 0, 0)], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_market_by_order(rule: str, tmp_path: Path) -> None:
    events, expected = RULES[rule]
    assert rows_of(read_messages(mbo(tmp_path, [BID, *events]))) == [ADDED, *expected]


def test_the_place_is_kept_by_a_decrease_and_lost_otherwise(tmp_path: Path) -> None:
    changes = [(k, "M", "B", price, size, 1) for k, price, size in
               [(1, 10.0, 60), (2, 10.0, 80), (3, 9.9, 80)]]  # fmt: skip
    events = [BID, *changes, (4, "C", "B", 9.9, 80, 1), (5, "C", "B", 9.9, 1, 7)]
    found = read_messages(mbo(tmp_path, events))
    assert found.symbol == "XYZ"
    assert found.kind.tolist() == [ADD, CANCEL, CANCEL, ADD, CANCEL, ADD, CANCEL, CANCEL]
    assert found.entered.tolist() == [0, 0, 0, 3, 3, 5, 5, -1]


def plain(events: Sequence[Event]) -> list[Event]:
    """The rules once more, in plain Python, as `rows_of`."""
    standing: dict[int, list[Any]] = {}  # of each order: side, price, left
    due: dict[tuple[int, int], float] = {}  # executed at a time, yet to be removed
    found: list[Event] = []
    for second, action, side, price, size, order in events:
        key, new = (second, order), [{"B": 1, "A": -1}[side], price, size]
        happened: list[Event] = []  # kind, order, side, price, size
        if action == "R":
            happened = [(CANCEL, one, *known) for one, known in standing.items()]
            standing = {one: [*known[:2], 0] for one, known in standing.items()}
        elif action in "AM":
            *at, left = standing.get(order, [*new[:2], 0])
            keeps = action == "M" and at[1] == price and size <= left
            happened = [(CANCEL, order, *at, left - size * keeps)]
            happened += [] if keeps else [(ADD, order, *new)]
            standing[order], due[key] = new, 0
        elif action in "CF":
            known = standing.get(order, [*new[:2], np.inf])
            removed = min(due.get(key, 0), size) if action == "C" else -size
            due[key] = due.get(key, 0) - removed
            gone = min(known[2], size - removed if action == "C" else size)
            happened = [(CANCEL if action == "C" else EXECUTE, order, *known[:2], gone)]
            known[2] -= gone
        found += [(second, one, kind, *at, float(n)) for kind, one, *at, n in happened if n > 0]
    return found


def test_the_compiled_loop_agrees_with_a_plain_one(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(7), 4_000
    action = rng.choice([*"ACMFRTN"], n, p=[0.35, 0.2, 0.15, 0.25, 0.01, 0.02, 0.02])
    second, order = np.cumsum(rng.random(n) < 0.3), rng.integers(1, 60, n)
    side, price = np.where(order % 2, "B", "A"), 10 + rng.integers(0, 3, n) / 4
    columns = (second, action, side, price, rng.integers(1, 9, n), order)
    events = list(zip(*(one.tolist() for one in columns), strict=True))
    expected = plain(events)
    found = read_messages(mbo(tmp_path, events))
    # Those that a clear cancels have one time and no order.
    assert sorted(rows_of(found)) == sorted(expected)
    assert {kind for _, _, kind, *_ in expected} == {ADD, CANCEL, EXECUTE}
    last: dict[int, int] = {}
    for row, (one, kind) in enumerate(zip(found.order_id, found.kind, strict=True)):
        last |= {one: row} if kind == ADD else {}
        assert found.entered[row] == last.get(one, -1)


def test_a_life_ends_at_its_first_cancel_or_its_last_share() -> None:
    messages = made(
        [(1, ADD, 100), (2, ADD, 50), (9, EXECUTE, 5), (1, EXECUTE, 30), (1, EXECUTE, 10),
         (1, CANCEL, 1), (1, EXECUTE, 59), (3, ADD, 0.3), (3, EXECUTE, 0.1), (3, EXECUTE, 0.2),
         (2, CANCEL, 50), (2, ADD, 20), (9, CANCEL, 5)]
    )  # fmt: skip
    lives = limit_orders(messages)
    assert lives["row"].tolist() == [0, 1, 7, 11]
    assert lives["order_id"].tolist() == [1, 2, 3, 2]
    assert lives["size"].tolist() == [100, 50, 0.3, 20]
    assert lives["filled"].tolist() == pytest.approx([40, 0, 0.3, 0])
    assert lives["cancelled"].tolist() == [True, True, False, False]
    time = np.append(messages.time, -1)
    for name, rows in {"entered": [0, 1, 7, 11], "ended": [5, 10, 9, 12],
                       "done": [-1, -1, 9, -1]}.items():  # fmt: skip
        assert lives[name].tolist() == time[rows].tolist()
    assert not lives.isna().any(axis=None)


def test_nothing_entered_is_no_life() -> None:
    assert limit_orders(made([(9, EXECUTE, 5)])).empty
    none = Messages(np.zeros(0, np.int64), [], [], [], [], [])
    assert none.entered.size == len(limit_orders(none)) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"kind": [1, 4]}, "message kind must be one of 1, 2, 3.*row 1"),
     ({"side": [0, 1]}, "message side must be one of 1, -1.*row 0"),
     ({"size": [1, 0]}, "message size must be finite and above 0"),
     ({"price": [np.nan, 1]}, "message price must be finite and above 0"),
     ({"order_id": [1.0, 2.0]}, "order_id must be whole numbers, got float64"),
     ({"order_id": [1]}, r"message columns must all be \(m,\)"),
     ({"time": np.array([2, 1]) * 10**18}, "message time must be in time order")],
)  # fmt: skip
def test_what_is_no_message_is_named(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"time": np.array([1, 1]) * 10**18, "order_id": [1, 1], "kind": [1, 2]}
    good |= {"side": [1, 1], "price": [10.0, 10.0], "size": [2, 1]}
    with pytest.raises(ValidationError, match=message):
        Messages(**good | changed)


def test_files_without_orders_and_dates_without_use_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("time,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n1,2,3,4,5\n")
    with pytest.raises(ValidationError, match=r"own\.csv has no orders; give a LOBSTER pair or"):
        read_messages(own)
    with pytest.raises(ValidationError, match=r"date does not apply to .*mbo\.csv"):
        read_messages(mbo(tmp_path, [BID]), date="2025-07-17")


@pytest.mark.parametrize("file", [GOOG.format("message"), ARL, ESM4])
def test_no_order_loses_more_than_was_added(file: str) -> None:
    """And each message has side and price of the order that its id entered."""
    found = read_messages(real_data(file))
    entered, known = found.entered, found.entered >= 0
    gone = known & (found.kind != ADD)
    lost = np.bincount(entered[gone], found.size[gone], len(found))
    assert np.all(lost <= np.where(found.kind == ADD, found.size, 0))
    for name in ("order_id", "side", "price"):
        assert np.array_equal(found[name][known], found[name][entered[known]])


@pytest.mark.slow
def test_executions_of_goog_are_its_visible_trades() -> None:
    found = read_messages(real_data(GOOG.format("message")))
    trades = read_books(real_data(GOOG.format("orderbook"))).trades
    assert trades is not None
    visible, executed = trades.take(trades.aggressor != 0), found.kind == EXECUTE
    assert np.array_equal(found.side[executed], -visible.aggressor)
    for name in ("time", "price", "size"):
        assert np.array_equal(found[name][executed], visible[name])
    assert np.abs(trades.signed_size).sum() == found.size[executed].sum() == 492_509


@pytest.mark.parametrize(("file", "n_standing"), [(ARL, 6), (ESM4, 13_598)])
def test_the_orders_that_stand_at_the_end_are_the_last_book(file: str, n_standing: int) -> None:
    found = read_messages(real_data(file))
    left = np.where(found.kind == ADD, found.size, 0.0)
    gone = found.kind != ADD
    np.subtract.at(left, found.entered[gone], found.size[gone])
    assert np.sum(left > 0) == n_standing
    frame = pd.DataFrame({"price": found.price, "left": left})[left > 0]
    last = read_books(real_data(file)).take([-1])
    for sign, side in ((1, "bid"), (-1, "ask")):
        levels = frame[found.side[left > 0] == sign].groupby("price")["left"].sum()
        shown = last[f"{side}_size"][0] > 0
        expected = levels.sort_index(ascending=sign < 0).head(shown.sum())
        assert expected.index.tolist() == last[f"{side}_price"][0][shown].tolist()
        assert expected.tolist() == last[f"{side}_size"][0][shown].tolist()


def test_the_shares_of_arl_by_kind() -> None:
    """Counted from the file: 2,915 A, 2,913 C of which 11 follow an F, 11 F of 231 shares."""
    found = read_messages(real_data(ARL))
    assert np.bincount(found.kind).tolist() == [0, 2_915, 2_902, 11]
    assert found.size[found.kind == EXECUTE].sum() == 231


def test_executions_meet_the_first_order_of_their_queue() -> None:
    """Of 7,227 on GOOG all but 5 do, once orders that end unseen are left out of the queues."""
    found = read_messages(real_data(GOOG.format("message")))
    entered, queues = found.entered, dict[tuple[int, float], dict[int, float]]()
    gone = (entered >= 0) & (found.kind != ADD)
    ends = np.bincount(entered[gone], found.size[gone], len(found)) == found.size
    columns = (found.kind, entered, found.side, found.price, found.size)
    first = []
    for row, (kind, place, *level, size) in enumerate(
        zip(*map(np.ndarray.tolist, columns), strict=True)
    ):
        queue = queues.setdefault(tuple(level), {})
        if place < 0 or not ends[place]:
            continue
        if kind == EXECUTE:
            first.append(place == next(iter(queue)))
        queue[place] = size if row == place else queue[place] - size
        if queue[place] == 0:
            del queue[place]
    assert len(first) == 7_227
    assert len(first) - sum(first) == 5

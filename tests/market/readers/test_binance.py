"""Binance recordings: three real replays held to another stream of the venue, and every kind of damage."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books, read_books

SPOT_BTC = "binance_raw_stream/spot_btcusdt_20240808.jsonl.gz"
SPOT_ETH = "binance_raw_stream/spot_ethusdt_20240808.jsonl.gz"
FUTURES = "binance_raw_stream/usdm_btcusdt_20240808.jsonl.gz"
# states are the depth lines of the file (grep -c) less those that end at or before lastUpdateId
STATES = {SPOT_BTC: 3_451 - 2, SPOT_ETH: 3_434 - 2, FUTURES: 6_551 - 4}
TRADES = {SPOT_BTC: 9_757, SPOT_ETH: 6_106, FUTURES: 21_313}
SLOW = pytest.mark.slow
SPOT = [pytest.param(SPOT_BTC, marks=SLOW), SPOT_ETH]
RECORDINGS = [*SPOT, pytest.param(FUTURES, marks=SLOW)]

START_MS = 1_723_161_255_000
SNAPSHOT = {
    "lastUpdateId": 100,
    "bids": [["10.0", "1"], ["9.9", "2"]],
    "asks": [["10.1", "3"], ["10.2", "4"]],
}


@pytest.fixture(scope="module")
def replays() -> Iterator[dict[str, BookSnapshots]]:
    yield {}
    messages.cache_clear()


def replay(replays: dict[str, BookSnapshots], name: str) -> BookSnapshots:
    if name not in replays:
        replays[name] = read_books(real_data(name))
    return replays[name]


@cache
def messages(name: str) -> list[dict[str, Any]]:
    with gzip.open(real_data(name), "rt") as file:
        lines = [json.loads(line.split(" ", 1)[1]) for line in file]
    return [message.get("data", message) for message in lines]


def update_ids(name: str) -> list[int]:
    last = next(message["lastUpdateId"] for message in messages(name) if "lastUpdateId" in message)
    return [m["u"] for m in messages(name) if m.get("e") == "depthUpdate" and m["u"] > last]


def depth(
    first: int, last: int, bids: Any = (), asks: Any = (), time: int = START_MS, **more: Any
) -> dict[str, Any]:
    return {
        "e": "depthUpdate",
        "E": time,
        "s": "XY",
        "U": first,
        "u": last,
        "b": bids,
        "a": asks,
        **more,
    }


def trade(
    price: str = "10.1", size: str = "2", maker: Any = False, time: int = START_MS, **more: Any
) -> dict[str, Any]:
    return {"e": "trade", "E": time, "s": "XY", "t": 1, "p": price, "q": size, "m": maker, **more}


def write(folder: Path, *content: dict[str, Any] | str) -> Path:
    """A recording; messages are put into the stream's envelope, text is a line as it is."""
    path = folder / "recording.jsonl"
    lines = []
    for item in content:
        if isinstance(item, dict):
            item = json.dumps(
                item if "lastUpdateId" in item else {"stream": "xy@depth", "data": item}
            )
            item = f"1723161253937085768 {item}"
        lines.append(item + "\n")
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_replay_without_a_crossed_state(
    replays: dict[str, BookSnapshots], name: str
) -> None:
    books = replay(replays, name)
    assert books.bid_price.shape == (STATES[name], 20)
    quality = books.quality
    assert [quality[key] for key in ("crossed", "locked", "empty_levels", "unordered_levels")] == [
        0
    ] * 4


@pytest.mark.parametrize("name", RECORDINGS)
def test_touch_equals_the_book_ticker_of_the_same_update_id(
    replays: dict[str, BookSnapshots], name: str
) -> None:
    """bookTicker u is the id of the update that made its best prices and sizes: where a depth
    update ends at the same id both streams describe the book after the same event."""
    books = replay(replays, name)
    ticker = {m["u"]: [float(m[k]) for k in "bBaA"] for m in messages(name) if "B" in m}
    rows = [(row, ticker[u]) for row, u in enumerate(update_ids(name)) if u in ticker]
    assert len(rows) > 100
    at = [row for row, _ in rows]
    touch = np.column_stack(
        [
            books.bid_price[at, 0],
            books.bid_size[at, 0],
            books.ask_price[at, 0],
            books.ask_size[at, 0],
        ]
    )
    np.testing.assert_array_equal(touch, [values for _, values in rows])


@pytest.mark.parametrize("name", SPOT)
def test_spot_touch_equals_the_last_book_ticker_at_every_update(
    replays: dict[str, BookSnapshots], name: str
) -> None:
    """The spot ticker tells every change of the touch, so the last one up to an id holds there."""
    books = replay(replays, name)
    ticker = [[m["u"], *(float(m[k]) for k in "bBaA")] for m in messages(name) if "B" in m]
    ids = np.array([row[0] for row in ticker])
    last = np.searchsorted(ids, update_ids(name), side="right") - 1
    touch = np.column_stack(
        [books.bid_price[:, 0], books.bid_size[:, 0], books.ask_price[:, 0], books.ask_size[:, 0]]
    )
    np.testing.assert_array_equal(touch, np.array([row[1:] for row in ticker])[last])


@pytest.mark.parametrize("name", RECORDINGS)
def test_last_state_equals_a_plain_dictionary_replay(
    replays: dict[str, BookSnapshots], name: str
) -> None:
    snapshot = next(m for m in messages(name) if "lastUpdateId" in m)
    bids, asks = dict(snapshot["bids"]), dict(snapshot["asks"])
    for m in messages(name):
        if m.get("e") == "depthUpdate" and m["u"] > snapshot["lastUpdateId"]:
            bids.update(m["b"])
            asks.update(m["a"])
    best = sorted((-float(p), float(q)) for p, q in bids.items() if float(q) > 0)[:20]
    books = replay(replays, name)
    np.testing.assert_array_equal(books.bid_price[-1], [-p for p, _ in best])
    np.testing.assert_array_equal(books.bid_size[-1], [q for _, q in best])
    best = sorted((float(p), float(q)) for p, q in asks.items() if float(q) > 0)[:20]
    np.testing.assert_array_equal(books.ask_price[-1], [p for p, _ in best])
    np.testing.assert_array_equal(books.ask_size[-1], [q for _, q in best])


@pytest.mark.parametrize("name", RECORDINGS)
def test_trades_are_all_there_and_a_selling_aggressor_met_a_buying_maker(
    replays: dict[str, BookSnapshots], name: str
) -> None:
    trades = replay(replays, name).trades
    assert trades is not None
    told = [m for m in messages(name) if m.get("e") == "trade"]
    assert len(trades) == len(told) == TRADES[name]
    np.testing.assert_array_equal(trades.aggressor, [-1 if m["m"] else 1 for m in told])
    np.testing.assert_array_equal(trades.time, [m["E"] * 10**6 for m in told])
    np.testing.assert_array_equal(trades.price, [float(m["p"]) for m in told])


@pytest.mark.parametrize("batch_rows", [1_000, 3_449])
@pytest.mark.slow
def test_batches_equal_the_whole(replays: dict[str, BookSnapshots], batch_rows: int) -> None:
    books = replay(replays, SPOT_BTC)
    parts = list(iter_books(real_data(SPOT_BTC), batch_rows))
    assert [len(part) for part in parts] == [batch_rows] * (3_449 // batch_rows) + [
        3_449 % 1_000
    ] * (batch_rows == 1_000)
    joined = BookSnapshots.concat(parts)
    for key in ("time", "bid_price", "bid_size", "ask_price", "ask_size"):
        np.testing.assert_array_equal(getattr(joined, key), getattr(books, key))
    assert joined.trades is not None
    assert books.trades is not None
    np.testing.assert_array_equal(joined.trades.signed_size, books.trades.signed_size)


def test_quantities_are_absolute_and_zero_deletes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SNAPSHOT,
        depth(99, 101, [["10.0", "5"]], [["10.1", "0"]], time=START_MS + 1_000),
        depth(102, 102, [["10.05", "7"], ["8", "0"]], [], time=START_MS + 1_100),
    )
    books = read_books(path)
    np.testing.assert_array_equal(books.bid_price[:, :3], [[10.0, 9.9, np.nan], [10.05, 10.0, 9.9]])
    np.testing.assert_array_equal(books.bid_size[:, :3], [[5, 2, 0], [7, 5, 2]])
    np.testing.assert_array_equal(books.ask_price[:, :3], [[10.2, np.nan, np.nan]] * 2)
    np.testing.assert_array_equal(
        books.time, [(START_MS + 1_000) * 10**6, (START_MS + 1_100) * 10**6]
    )
    assert books.symbol == "XY"


def test_updates_recorded_before_the_snapshot_are_applied_by_id_not_by_place(
    tmp_path: Path,
) -> None:
    updates = [
        depth(97, 100, [["10.0", "9"]]),
        depth(101, 103, [["10.0", "6"]]),
        depth(104, 104, [["9.9", "0"]]),
    ]
    books = [
        read_books(write(tmp_path, *updates[:place], SNAPSHOT, *updates[place:]))
        for place in range(4)
    ]
    for other in books:
        np.testing.assert_array_equal(other.bid_size[:, :2], [[6, 2], [6, 0]])


def test_futures_join_by_the_previous_id(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SNAPSHOT,
        depth(90, 98, pu=80),
        depth(99, 120, [["10.0", "6"]], pu=98),
        depth(150, 160, pu=120),
    )
    np.testing.assert_array_equal(read_books(path).bid_size[:, :1], [[6], [6]])


@pytest.mark.parametrize(
    ("updates", "said"),
    [
        ([depth(102, 105)], "line 2 .*a gap .*: 100 was the last, 101 is continued by 102 to 105"),
        (
            [depth(99, 105), depth(107, 108)],
            "line 3 .*a gap .*: 105 was the last, 106 is continued by 107 to 108",
        ),
        (
            [depth(99, 105), depth(99, 105)],
            "line 3 .*a gap .*: 105 was the last, 98 is continued by 99 to 105",
        ),
        (
            [depth(103, 105, pu=101)],
            "line 2 .*a gap .*: 100 was the last, 101 is continued by 103 to 105",
        ),
        (
            [depth(99, 105, pu=90), depth(106, 107, pu=104)],
            "line 3 .*a gap .*: 105 was the last, 104 is continued by 106 to 107",
        ),
    ],
)
def test_gap_in_the_update_ids_names_file_line_and_ids(
    tmp_path: Path, updates: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(ValidationError, match=rf"recording\.jsonl: {said}"):
        read_books(write(tmp_path, SNAPSHOT, *updates))


def test_missing_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"recording\.jsonl holds no REST snapshot"):
        read_books(write(tmp_path, depth(99, 101)))


def test_recording_that_ends_with_its_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no depth update after its snapshot, 100"):
        read_books(write(tmp_path, depth(90, 99), SNAPSHOT, trade()))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('1723161253937085768 {"stream":"xy@depth","da', "JSONDecodeError"),
        ('{"stream":"xy@depth","data":{}}', "JSONDecodeError"),
        ("1723161253937085768 [1, 2]", "AttributeError"),
        ("1723161253937085768 \xff\xfe", "JSONDecodeError"),
        ('1723161253937085768 {"stream":"x","data":3}', "AttributeError"),
        (depth(102, 103, [["ten", "1"]]), "could not convert string to float: .*ten"),
        (depth(102, 103, [], [["10.1", "NaN"]]), "NaN must be finite"),
        (depth(102, 103, [["10.0", "-1"]]), "-1 must be finite and at least 0"),
        (depth(102, 103, [["0", "1"]]), "a price must be above 0, it is 0"),
        (depth(102, 103, [["10.0"]]), "not enough values"),
        (depth(102, 103, None), "not iterable"),
        (depth("102", 103), "TypeError"),  # type: ignore[arg-type]
        (depth(102, 103, time=None), "TypeError"),  # type: ignore[arg-type]
        (depth(102, 103, time=START_MS), "event time E 1723161255000 runs back 2,000 ms"),
        (
            depth(102, 103, time=START_MS * 1_000),
            "event time E must be ms, .*, not 1723161255000000",
        ),
        (depth(102, 103, [["1_0", "1"]]), "could not convert string to float"),
        (depth(102, 103, [[10, "1"]]), "AttributeError"),
        (trade(size="much"), "could not convert string to float: .*much"),
        (trade(price="0"), "a trade.s price and size must be above 0: 0, 2"),
        (trade(maker=None), "KeyError"),
        (trade() | {"s": "OTHER"}, "symbol OTHER after XY; record one a file"),
    ],
)
def test_damaged_line_is_refused_with_file_and_line(
    tmp_path: Path, bad: dict[str, Any] | str, said: str
) -> None:
    path = write(tmp_path, SNAPSHOT, depth(99, 101, time=START_MS + 2_000), bad, depth(102, 103))
    with pytest.raises(
        ValidationError, match=rf"recording\.jsonl: line 3 is not as documented: .*{said}"
    ):
        read_books(path)


def test_clock_that_steps_back_a_little_is_held(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        SNAPSHOT,
        depth(99, 101, time=START_MS + 2_000),
        depth(102, 103, time=START_MS + 1_500),
        depth(104, 104, time=START_MS + 2_100),
    )
    np.testing.assert_array_equal(
        read_books(path).time, [(START_MS + ms) * 10**6 for ms in (2_000, 2_000, 2_100)]
    )


def test_futures_trades_outside_the_book_have_no_aggressor_and_empty_ones_are_dropped(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        SNAPSHOT,
        depth(99, 101),
        trade(X="MARKET", maker=True),
        trade(X="INSURANCE_FUND", maker=True),
        trade(X="NA", price="0", size="0"),
        trade(maker=False),
    )
    trades = read_books(path).trades
    assert trades is not None
    np.testing.assert_array_equal(trades.aggressor, [-1, 0, 1])


def test_cut_gzip_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "recording.jsonl.gz"
    packed.write_bytes(gzip.compress(write(tmp_path, SNAPSHOT, depth(99, 101)).read_bytes())[:-12])
    with pytest.raises(ValidationError, match=r"recording\.jsonl\.gz cannot be read"):
        read_books(packed)


@given(data=st.data())
def test_a_recording_cut_anywhere_gives_the_first_states_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write(
        folder,
        SNAPSHOT,
        *(depth(k, k, [["10.0", str(k)]], time=START_MS + k) for k in range(101, 106)),
    )
    true, content = read_books(path), path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        books = read_books(path)
    except ValidationError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is allowed, not due
        return
    np.testing.assert_array_equal(books.bid_size, true.bid_size[: len(books)])
    np.testing.assert_array_equal(books.time, true.time[: len(books)])


UPDATES = [
    depth(k, k, [["10.0", str(k)]], [["10.1", str(k % 3)]], time=START_MS + 5_000 * k)
    for k in range(101, 107)
]


@given(futures=st.booleans(), data=st.data())
def test_a_lost_repeated_or_exchanged_update_names_its_line(
    tmp_path_factory: pytest.TempPathFactory, futures: bool, data: st.DataObject
) -> None:
    updates = [{**update, "pu": update["u"] - 1} if futures else update for update in UPDATES]
    position = data.draw(st.integers(1, len(updates) - 2))
    damage = data.draw(st.sampled_from(["lost", "repeated", "exchanged"]))
    before, one, after = updates[:position], updates[position], updates[position + 1 :]
    order = {
        "lost": [*before, *after],
        "repeated": [*before, one, one, *after],
        "exchanged": [*before, after[0], one, *after[1:]],
    }[damage]
    line = 2 + position + (damage == "repeated")
    with pytest.raises(
        ValidationError, match=rf"recording\.jsonl: line {line} .*a gap in the update ids"
    ):
        read_books(write(tmp_path_factory.mktemp("gap"), SNAPSHOT, *order))


@given(position=st.integers(1, len(UPDATES) - 1), back_ms=st.integers(1, 20_000))
def test_a_clock_that_steps_back_is_held_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, back_ms: int
) -> None:
    before = UPDATES[position - 1]["E"]
    updates = [
        *UPDATES[:position],
        {**UPDATES[position], "E": before - back_ms},
        *UPDATES[position + 1 :],
    ]
    path = write(tmp_path_factory.mktemp("back"), SNAPSHOT, *updates)
    if back_ms > 1_000:
        with pytest.raises(
            ValidationError,
            match=rf"line {position + 2} .*event time E .* runs back {back_ms:,} ms",
        ):
            read_books(path)
        return
    assert read_books(path).time[position] == before * 10**6


@given(position=st.integers(0, len(UPDATES) - 1), data=st.data())
def test_half_a_message_names_its_line(
    tmp_path_factory: pytest.TempPathFactory, position: int, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("half"), SNAPSHOT, *UPDATES)
    lines = path.read_bytes().splitlines()
    lines[position + 1] = lines[position + 1][
        : data.draw(st.integers(1, len(lines[position + 1]) - 1))
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(
        ValidationError, match=rf"recording\.jsonl: line {position + 2} is not as documented"
    ):
        read_books(path)


def test_recordings_are_known_by_their_first_line_whatever_their_name(tmp_path: Path) -> None:
    update = depth(99, 101)
    for first, second in ((SNAPSHOT, update), (update, SNAPSHOT)):
        recording = write(tmp_path, first, second).rename(tmp_path / "of_today.txt")
        np.testing.assert_array_equal(read_books(recording).bid_price[0, :2], [10.0, 9.9])
    for line in ('{"stream":"btcusdt@depth"', "1723161253937085768,1,2"):
        with pytest.raises(ValidationError, match=r"recording\.jsonl is of no known format"):
            read_books(write(tmp_path, line))


@pytest.mark.parametrize("futures", [False, True])
def test_partial_depth_is_a_whole_book_a_message(tmp_path: Path, futures: bool) -> None:
    """As documented: spot has lastUpdateId, bids, asks; futures are depthUpdate with b and a."""
    base = 1_723_110_000_000_000_000

    def line(ms: int, stream: str, data: dict[str, object]) -> str:
        return f"{base + ms * 10**6} {json.dumps({'stream': stream, 'data': data})}"

    def book(bids: list[list[str]], asks: list[list[str]]) -> dict[str, object]:
        if futures:
            return {"e": "depthUpdate", "E": 1, "s": "XYUSDT", "b": bids, "a": asks}
        return {"lastUpdateId": 7, "bids": bids, "asks": asks}

    trade = {"e": "trade", "E": 1, "s": "XYUSDT", "p": "10.2", "q": "3", "m": False}
    path = tmp_path / "partial.jsonl"
    lines = [
        line(0, "xyusdt@depth5@100ms", book([["10.0", "1"], ["9.9", "2"]], [["10.2", "4"]])),
        line(40, "xyusdt@trade", trade),
        line(100, "xyusdt@depth5@100ms", book([["10.1", "5"]], [["10.2", "1"], ["10.3", "6"]])),
    ]
    path.write_text("\n".join(lines) + "\n")
    books = read_books(path)
    assert books.symbol == "XYUSDT"
    assert books.mid.tolist() == pytest.approx([10.1, 10.15])
    assert books.bid_size[1, :2].tolist() == [5.0, 0.0]  # nothing is left of the book before
    assert np.diff(books.time).tolist() == [100 * 10**6]
    assert books.trades is not None
    assert books.trades.signed_size.tolist() == [3.0]

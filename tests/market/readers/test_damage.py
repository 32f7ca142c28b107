"""Damaged files end in the right books or in an error that names file, row and column: never in wrong books."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, iter_books

START_NS = 1_743_690_600_000_000_000  # 2025-04-03 10:30 New York
LAYOUTS = ("mbp", "long", "wide")
ENCODINGS = (".csv", ".csv.gz", ".csv.zst", ".parquet")
TIME = {"mbp": "ts_event", "long": "time", "wide": "timestamp"}
ARRAYS = ("time", "bid_price", "bid_size", "ask_price", "ask_size")
layouts, encodings = st.sampled_from(LAYOUTS), st.sampled_from(ENCODINGS)
damaged = settings(max_examples=60, deadline=None)


@st.composite
def books(draw: st.DrawFn) -> BookSnapshots:
    """2 to 6 snapshots of 1 to 3 levels, prices in cents, the deepest level sometimes empty."""
    n, n_levels = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    best = rng.integers(1_000, 2_000, n)
    ticks = np.cumsum(rng.integers(1, 4, (2, n, n_levels)), axis=2)
    size = rng.integers(10, 10_000, (2, n, n_levels)).astype(float)
    if n_levels > 1:
        size[:, 1:, -1] *= rng.integers(0, 2, (2, n - 1))
    bid, ask = (best[:, None] - ticks[0]) / 100, (best[:, None] + ticks[1]) / 100
    return BookSnapshots(
        START_NS + np.cumsum(rng.integers(1, 10**9, n)), bid, size[0], ask, size[1], "XYZ"
    )


def _frame(known: BookSnapshots, layout: str) -> pd.DataFrame:
    """The books as the layout's table."""
    if layout == "long":
        return known.to_frame().assign(
            side=lambda long: long["side"].astype(str), symbol=known.symbol
        )
    frame = pd.DataFrame(
        {TIME[layout]: pd.DatetimeIndex(known.time.astype("datetime64[ns]"), tz="UTC")}
    )
    for side in ("bid", "ask"):
        for level in range(known.n_levels):
            price, size = (f"{side}_{kind}_{level + 1}" for kind in ("price", "size"))
            if layout == "mbp":
                price, size = f"{side}_px_{level:02d}", f"{side}_sz_{level:02d}"
            frame[price] = known[f"{side}_price"][:, level]
            frame[size] = known[f"{side}_size"][:, level]
    made = (
        {"action": "A", "side": "B", "price": 10.0, "size": 1.0, "flags": 128}
        if layout == "mbp"
        else {}
    )
    return frame.assign(symbol=known.symbol, **made)


@contextmanager
def _file(frame: pd.DataFrame, encoding: str, **options: Any) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"book{encoding}"
        if encoding == ".parquet":
            frame.to_parquet(path, index=False)
        else:
            _write(path, frame.to_csv(index=False, **options).encode())
        yield path


def _write(path: Path, content: bytes) -> None:
    codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.CompressedOutputStream(str(path), codec) if codec else path.open("wb") as stream:
        stream.write(content)


def _read(path: Path, batch_rows: int = 1_000) -> BookSnapshots:
    return BookSnapshots.concat(list(iter_books(path, batch_rows)))


def _read_or_refused(path: Path) -> BookSnapshots | None:
    """The books, or None after a refusal that names the file."""
    try:
        return _read(path)
    except ValidationError as error:
        if str(path) not in str(error):
            raise
        return None


def _same(read: BookSnapshots, known: BookSnapshots) -> bool:
    """Equal to the first snapshots of `known`, up to levels that are empty in all of them."""
    width, n = read.n_levels, len(read)
    return all(
        np.array_equal(
            read[name],
            known[name][:n, :width] if known[name].ndim > 1 else known[name][:n],
            equal_nan=True,
        )
        and (known[name].ndim == 1 or name.endswith("price") or not known[name][:n, width:].any())
        for name in ARRAYS
    )


def _numeric(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype.kind in "if"]


@damaged
@given(books(), layouts, encodings, st.integers(1, 7), st.randoms(use_true_random=False))
@pytest.mark.slow
def test_shuffled_and_further_columns_give_the_same_books(
    known: BookSnapshots, layout: str, encoding: str, batch_rows: int, random: Any
) -> None:
    frame = _frame(known, layout).assign(note="x")
    names = random.sample(list(frame.columns), len(frame.columns))
    with _file(frame[names], encoding) as path:
        read = _read(path, batch_rows)
    assert len(read) == len(known)
    assert _same(read, known)
    assert read.symbol == "XYZ"


@pytest.mark.slow
@damaged
@given(books(), layouts, st.data())
def test_half_a_file_gives_whole_lines_or_an_error(
    known: BookSnapshots, layout: str, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    frame = frame[
        ["symbol", *(name for name in frame.columns if name != "symbol")]
    ]  # a number is last
    with _file(frame, ".csv") as path:
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:cut])
        read = _read_or_refused(path)
    if read is None:
        return
    assert content[cut - 1 : cut] == b"\n", "half a line was read as if whole"
    if layout == "long":  # whole lines of half a snapshot cannot be told from an illiquid book
        read = read.take(np.arange(len(read) - 1))
    assert len(read) == 0 or _same(read, known)


@damaged
@given(books(), layouts, st.sampled_from([".csv.gz", ".csv.zst", ".parquet"]), st.data())
def test_a_truncated_container_is_refused(
    known: BookSnapshots, layout: str, encoding: str, data: st.DataObject
) -> None:
    with _file(_frame(known, layout), encoding) as path:
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(ValidationError, match=path.name):
            _read(path)


@damaged
@given(books(), layouts, st.sampled_from(["x", "1,5", "12abc", "--", "1 000"]), st.data())
def test_text_in_a_number_names_row_and_column(
    known: BookSnapshots, layout: str, text: str, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    name = data.draw(st.sampled_from([*_numeric(frame), TIME[layout]]))
    row = data.draw(st.integers(0, len(frame) - 1))
    frame[name] = frame[name].astype(object)
    frame.loc[row, name] = text
    with _file(frame, ".csv") as path, pytest.raises(ValidationError) as refused:
        _read(path)
    assert all(
        part in str(refused.value) for part in (str(path), f"column {name}", f"row {row}", text)
    )


@damaged
@given(books(), layouts, encodings, st.data())
def test_a_missing_column_is_named(
    known: BookSnapshots, layout: str, encoding: str, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    optional = {"symbol"} if layout != "mbp" else set()
    name = data.draw(
        st.sampled_from([column for column in frame.columns if column not in optional])
    )
    wanted = "time or timestamp" if name == "timestamp" else name
    with (
        _file(frame.drop(columns=name), encoding) as path,
        pytest.raises(ValidationError) as refused,
    ):
        _read(path)
    assert str(path) in str(refused.value)
    said = ("no known format", "other columns than wanted", f"lacks column {wanted}")
    assert any(text in str(refused.value) for text in said)


@damaged
@given(books(), layouts, st.sampled_from([";", "\t", "|"]))
def test_another_delimiter_is_refused(known: BookSnapshots, layout: str, delimiter: str) -> None:
    with (
        _file(_frame(known, layout), ".csv", sep=delimiter) as path,
        pytest.raises(ValidationError) as refused,
    ):
        _read(path)
    assert f"{path} is of no known format" in str(refused.value)


@damaged
@given(
    books(),
    layouts,
    encodings,
    st.sampled_from(
        [9_999_999_999.0, -9_999_999_999.0, 9_223_372_036.854775807, 2.0**63, np.inf, np.nan, 0.0]
    ),
    st.data(),
)
@pytest.mark.slow
def test_a_sentinel_is_an_empty_level_or_refused(
    known: BookSnapshots, layout: str, encoding: str, sentinel: float, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    prices = {"mbp": "_px_00", "wide": "_price_1", "long": "price"}[layout]
    name = data.draw(
        st.sampled_from([column for column in frame.columns if column.endswith(prices)])
    )
    row = data.draw(st.integers(0, len(frame) - 1))
    frame.loc[row, name] = sentinel
    with _file(frame, encoding) as path, pytest.raises(ValidationError) as refused:
        _read(path)
    assert all(part in str(refused.value) for part in (str(path), f"column {name}", f"row {row}"))
    if layout == "long" or np.isinf(sentinel):
        return
    side = name[:3]
    frame.loc[row, name.replace("px", "sz").replace("price", "size")] = 0.0
    with _file(frame, encoding) as path:
        read = _read(path)
    assert np.isnan(read[f"{side}_price"][row, 0])
    assert read[f"{side}_size"][row, 0] == 0


@damaged
@given(
    books(),
    layouts,
    encodings,
    st.integers(1, 7),
    st.sampled_from(["price", "size"]),
    st.sampled_from([np.nan, np.inf, -np.inf, -5.0]),
    st.data(),
)
@pytest.mark.slow
def test_what_is_no_number_is_refused_by_name(
    known: BookSnapshots,
    layout: str,
    encoding: str,
    batch_rows: int,
    kind: str,
    value: float,
    data: st.DataObject,
) -> None:
    frame = _frame(known, layout)
    column = {
        "mbp": f"ask_{kind[0]}{'x' if kind == 'price' else 'z'}_00",
        "wide": f"ask_{kind}_1",
        "long": kind,
    }[layout]
    row = data.draw(st.integers(0, len(frame) - 1))
    frame.loc[row, column] = value
    with _file(frame, encoding) as path:
        with pytest.raises(ValidationError) as refused:
            _read(path, batch_rows)
        assert all(
            part in str(refused.value) for part in (str(path), f"column {column}", f"row {row}")
        )


@damaged
@given(books(), layouts, encodings, st.integers(1, 7), st.data())
def test_times_that_run_backwards_name_the_row(
    known: BookSnapshots, layout: str, encoding: str, batch_rows: int, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    times = frame[TIME[layout]].unique()
    later = data.draw(st.integers(1, len(times) - 1))
    row = int((frame[TIME[layout]] == times[later]).to_numpy().argmax())
    swapped = frame[TIME[layout]].replace({times[later]: times[0] - pd.Timedelta(seconds=1)})
    with (
        _file(frame.assign(**{TIME[layout]: swapped}), encoding) as path,
        pytest.raises(ValidationError) as refused,
    ):
        _read(path, batch_rows)
    assert f"{path}: column {TIME[layout]} runs backwards in time, row {row} " in str(refused.value)


@damaged
@given(books(), layouts, encodings, st.integers(1, 7), st.data())
def test_two_symbols_name_the_row(
    known: BookSnapshots, layout: str, encoding: str, batch_rows: int, data: st.DataObject
) -> None:
    frame = _frame(known, layout)
    row = data.draw(st.integers(1, len(frame) - 1))
    frame.loc[row:, "symbol"] = "ABC"
    with _file(frame, encoding) as path, pytest.raises(ValidationError) as refused:
        _read(path, batch_rows)
    assert f"{path}: column symbol must hold one value, 'XYZ', row {row} holds 'ABC'" in str(
        refused.value
    )


@damaged
@given(books(), layouts, encodings)
@pytest.mark.slow
def test_microsecond_times_are_never_taken_for_nanoseconds(
    known: BookSnapshots, layout: str, encoding: str
) -> None:
    coarse = BookSnapshots(
        START_NS + np.arange(len(known)) * 1_000,
        *(known[name] for name in ARRAYS[1:]),
        symbol=known.symbol,
    )
    frame = _frame(coarse, layout)
    micro = frame[TIME[layout]].dt.as_unit("us")
    with _file(frame.assign(**{TIME[layout]: micro}), encoding) as path:
        assert _same(_read(path), coarse)
    message = rf"column {TIME[layout]} must be ns since 1970.*row 0 holds"
    integers = frame.assign(**{TIME[layout]: micro.astype("int64")})
    with _file(integers, encoding) as path, pytest.raises(ValidationError, match=message):
        _read(path)
    with _file(
        frame.assign(**{TIME[layout]: micro.dt.as_unit("ns").astype("int64")}), encoding
    ) as path:
        assert _same(_read(path), coarse)


@damaged
@given(books(), layouts, encodings)
def test_times_without_a_zone_are_refused(known: BookSnapshots, layout: str, encoding: str) -> None:
    frame = _frame(known, layout)
    naive = frame.assign(**{TIME[layout]: frame[TIME[layout]].dt.tz_localize(None)})
    with (
        _file(naive, encoding) as path,
        pytest.raises(
            ValidationError, match=rf"column {TIME[layout]} has no time zone, row 0 .*localise"
        ),
    ):
        _read(path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=1, deadline=None)
@given(known=books())
def test_files_without_rows_are_refused(layout: str, encoding: str, known: BookSnapshots) -> None:
    with _file(_frame(known, layout).iloc[:0], encoding) as path:
        with pytest.raises(ValidationError, match=rf"book{encoding} is empty: it has 0 rows"):
            _read(path)
        path.write_bytes(b"")
        with pytest.raises(ValidationError, match=rf"book{encoding} is empty: it has 0 bytes"):
            _read(path)


@damaged
@given(books(), encodings, st.integers(1, 7))
def test_the_long_frame_comes_back(known: BookSnapshots, encoding: str, batch_rows: int) -> None:
    with _file(known.to_frame(), encoding) as path:
        read = _read(path, batch_rows)
    assert len(read) == len(known)
    assert _same(read, known)


# pyarrow cannot hand a broken line that is not UTF-8 to its own callback; the file is refused all the same.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@damaged
@given(st.binary(min_size=1, max_size=300), layouts)
def test_any_bytes_after_the_header_end_in_an_error(content: bytes, layout: str) -> None:
    known = BookSnapshots([START_NS], [[10.0]], [[1.0]], [[10.01]], [[2.0]], "XYZ")
    with _file(_frame(known, layout), ".csv") as path:
        path.write_bytes(path.read_bytes() + content)
        read = _read_or_refused(path)
    if read is None:
        return
    assert not content.strip(b"\r\n"), "noise was read as books"
    assert _same(read, known)

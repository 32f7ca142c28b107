"""How much faster a converted store is read than its CSV, and how much memory streaming takes.

Run as ``python benchmarks/bench_readers.py``; writes a section of Markdown. Times are medians of
interleaved rounds; peak memory is that of a fresh process each.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from timing import afresh, interleaved

from research_lib.config import data_folder
from research_lib.impact.slippage import slippage_curves
from research_lib.market import (
    BookSnapshots,
    Session,
    convert,
    iter_books,
    read_books,
    sample_batches,
)  # fmt: skip
from research_lib.market.readers import store

BOOKS_FILE = "generated.parquet"
FROG = "databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz"
FIRST_DAY = dt.date(2025, 1, 6)
DAY_ROWS = 500_000
FEW_DAYS, MANY_DAYS = 2, 20
FEW_PAIRS, MANY_PAIRS, DAY_EVENTS = 2, 8, 1_000_000
LOBSTER_NAME = "SYN_{}_34200000_57600000_{}_1.csv"
N_LEVELS = 10
CSV_ROWS = 50_000
TRADE_SIZES = np.geomspace(100, 10_000, 20)
MAX_MEMORY = 1.20


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    options = _options()
    if options.generate:
        generate(options.generate, MANY_DAYS)
        return 0
    if options.generate_lobster:
        generate_lobster(options.generate_lobster)
        return 0
    if options.stream:
        sys.stdout.write(f"{peak_of_streaming(options.stream)}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench_readers-") as folder:
        memory = memory_figures(Path(folder, "store"))
        csv_memory = csv_memory_figures(Path(folder))
        speed = speed_figures(Path(folder), options.rounds)
    sys.stdout.write(section(speed, memory, csv_memory))
    return int(max(memory[2], csv_memory[2]) > MAX_MEMORY)


def generate(folder: Path, n_days: int) -> None:
    """A store of one generated day of 500,000 rows, repeated under the dates of `n_days` weekdays."""
    books = one_day(DAY_ROWS, np.random.default_rng(7))
    for date in pd.bdate_range(FIRST_DAY, periods=n_days).date:
        partition = folder / store.partition("SYN", date)
        partition.mkdir(parents=True)
        shift = (date - FIRST_DAY).days * 86_400 * 10**9
        table = store.table_of(dataclasses.replace(books, time=books.time + shift))
        with (partition / BOOKS_FILE).open("wb") as stream, store.writer(stream, table) as file:
            file.write_table(table, row_group_size=store.ROW_GROUP_ROWS)


def one_day(n_rows: int, rng: np.random.Generator) -> BookSnapshots:
    """Books of one session: a mid that walks on a tick of a cent, one to three ticks of half-spread, round lots."""
    opening, closing = (int(bound[0]) for bound in Session().bounds([FIRST_DAY]))
    moments = np.sort(rng.integers(opening, closing, n_rows))
    mid = 10_000 + np.cumsum(rng.choice([-1, 0, 1], n_rows, p=[0.01, 0.98, 0.01]))
    half_spread = rng.integers(1, 4, n_rows)
    steps = np.arange(N_LEVELS)
    bid = 0.01 * ((mid - half_spread)[:, None] - steps)
    ask = 0.01 * ((mid + half_spread)[:, None] + steps)
    bid_size, ask_size = (100.0 * rng.integers(1, 30, bid.shape) for _ in range(2))
    return BookSnapshots(moments, bid, bid_size, ask, ask_size, "SYN")


def peak_of_streaming(dates: list[Path]) -> float:
    """Peak memory of this process, MB, after books have been streamed, sampled and walked."""
    sampled = sample_batches(iter_books(dates), Session())
    curves = slippage_curves(sampled.take(sampled.complete), TRADE_SIZES, "buy")
    if not np.isfinite(curves.slippage[:, 0]).all():
        raise RuntimeError("the smallest order must be filled in every sampled book")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_figures(folder: Path) -> tuple[float, float, float]:
    """MB for 1 and for 10 million rows, and their ratio."""
    afresh(__file__, "--generate", str(folder))  # a child's peak begins at its parent's
    dates = sorted(str(path) for path in folder.glob("*/*"))
    few, many = (float(afresh(__file__, "--stream", *dates[:n])) for n in (FEW_DAYS, MANY_DAYS))
    return few, many, many / few


def csv_memory_figures(folder: Path) -> tuple[float, float, float]:
    """MB for 2 and for 8 days of a million rows as LOBSTER pairs of CSV, and their ratio."""
    afresh(__file__, "--generate-lobster", str(folder / "lobster"))
    books = sorted(str(path) for path in (folder / "lobster").glob("*orderbook*"))
    few, many = (float(afresh(__file__, "--stream", *books[:n])) for n in (FEW_PAIRS, MANY_PAIRS))
    return few, many, many / few


def generate_lobster(folder: Path) -> None:
    """One-level LOBSTER pairs of weekdays."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    seconds = 34_200 + 23_400 * np.arange(DAY_EVENTS) / DAY_EVENTS
    for date in pd.bdate_range(FIRST_DAY, periods=MANY_PAIRS).date:
        messages = (f"{time:.9f},1,{k},100,1000000,1\n" for k, time in enumerate(seconds))
        sizes = rng.integers(100, 500, (DAY_EVENTS, 2)).tolist()
        books = (f"1000100,{ask},1000000,{bid}\n" for ask, bid in sizes)
        for kind, lines in (("message", messages), ("orderbook", books)):
            with (folder / LOBSTER_NAME.format(date, kind)).open("w") as file:
                file.writelines(lines)


def speed_figures(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds for CSV.gz, seconds for Parquet, and their ratio: to books, and to a bare table."""
    source = data_folder() / FROG
    if not source.is_file():
        source = generated_csv(folder / "generated.csv.gz")
    (partition,) = convert(source, folder / "converted", progress=False)
    (parquet,) = partition.glob("*.parquet")
    csv = folder / "same_columns.csv.gz"
    with pa.CompressedOutputStream(str(csv), "gzip") as stream:
        pcsv.write_csv(pq.read_table(parquet).drop_columns(["trades"]), stream)
    return {
        "name": source.name,
        "books": compared(lambda: read_books(source), lambda: read_books(partition), rounds),
        "table": compared(lambda: pcsv.read_csv(csv), lambda: pq.read_table(parquet), rounds),
    }


def generated_csv(path: Path) -> Path:
    """A generated day as Databento MBP-10 CSV.gz."""
    books = one_day(CSV_ROWS, np.random.default_rng(7))
    table = (
        store.table_of(books)
        .to_pandas()
        .rename(columns={"time": "ts_event"})
        .drop(columns="complete")
    )
    levels = [name for name in table.columns if name != "ts_event"]
    table[levels] = table[levels].round(2)
    sizes = {name: "int64" for name in levels if "_sz_" in name}
    known = {"action": "A", "side": "B", "flags": 128, "symbol": "SYN", "price": 100.0, "size": 1}
    table.astype(sizes).assign(**known).to_csv(path, index=False)
    return path


def compared(
    slow: Callable[[], object], fast: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both, taken in turns, and slow / fast."""
    seconds = interleaved({"slow": slow, "fast": fast}, rounds)
    return seconds["slow"], seconds["fast"], seconds["slow"] / seconds["fast"]


def section(
    speed: dict[str, Any],
    memory: tuple[float, float, float],
    csv_memory: tuple[float, float, float],
) -> str:
    """The figures as Markdown."""
    csv, parquet, ratio = speed["books"]
    bare_csv, bare_parquet, bare_ratio = speed["table"]
    few, many, growth = memory
    few_csv, many_csv, csv_growth = csv_memory
    return f"""## Reading books

Converted Parquet against CSV.gz with the same columns, {speed["name"]}, interleaved medians:

| to | CSV.gz, ms | Parquet, ms | ratio |
|:--|--:|--:|--:|
| checked books, `read_books` | {1e3 * csv:.0f} | {1e3 * parquet:.0f} | {ratio:.1f} |
| a bare Arrow table | {1e3 * bare_csv:.0f} | {1e3 * bare_parquet:.0f} | {bare_ratio:.1f} |

Peak memory of `iter_books` -> `sample_batches` -> `slippage_curves`, a fresh process each. A day is held at
a time, so days must not add up:

| from | rows | peak, MB | ratio | limit |
|:--|--:|--:|--:|--:|
| Parquet, {N_LEVELS} levels a side | {FEW_DAYS * DAY_ROWS:,} | {few:.0f} | 1.00 | |
| | {MANY_DAYS * DAY_ROWS:,} | {many:.0f} | {growth:.2f} | at most {MAX_MEMORY:.2f} |
| LOBSTER pairs as CSV, 1 level | {FEW_PAIRS * DAY_EVENTS:,} | {few_csv:.0f} | 1.00 | |
| | {MANY_PAIRS * DAY_EVENTS:,} | {many_csv:.0f} | {csv_growth:.2f} | at most {MAX_MEMORY:.2f} |
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds, at least 5")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--generate-lobster", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=Path, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error(f"--rounds {options.rounds} is too few for a median; give at least 5")
    return options


if __name__ == "__main__":
    sys.exit(main())

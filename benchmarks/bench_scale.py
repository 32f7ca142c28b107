"""What a store of a year of books takes to be fitted: rows a core-second, memory a worker, and hours from these.

Run as ``python benchmarks/bench_scale.py``; writes a section of Markdown. Work is counted in
processor time, so that what else the machine does hardly matters; peak memory is that of the workers.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from bench_readers import DAY_ROWS, FEW_DAYS, FIRST_DAY, N_LEVELS, one_day
from distributed import Client, LocalCluster

from research_lib.config import PROJECT_ROOT, data_folder
from research_lib.impact import ImpactMoments, fit_impact
from research_lib.impact.moments import moments_of_store
from research_lib.market import BookSnapshots, Session, read_books
from research_lib.market.readers import store
from research_lib.monitoring import peak_memory_mb

MANY_DAYS, WORKERS = 10, 2
SYMBOLS, YEAR = 500, 252
SIZES = np.geomspace(100, 10_000, 10)
SESSION = Session(390)
FROG = "databento_xnas_mbp10/FROG_2025-04-03.mbp10.csv.gz"
MAX_GROWTH = 1.25
FIT = partial(fit_impact, model_type="power", by="pooled")


@dataclasses.dataclass(frozen=True)
class Work:
    """What one pass over a store took: rows, core-seconds, wall seconds, and the largest peak of a worker, MB."""

    rows: int
    core_seconds: float
    seconds: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Rows a core-second."""
        return self.rows / self.core_seconds


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    with tempfile.TemporaryDirectory(prefix="bench_scale-") as folder:
        path = Path(folder)
        few, many = path / "few" / "symbol=SYN", path / "many"
        bytes_a_row = generate(many, MANY_DAYS)
        few.mkdir(parents=True)
        for date in store.books_by_symbol(many)["SYN"][:FEW_DAYS]:
            (few / date.name).symlink_to(date)
        runs = {
            f"1 worker, {FEW_DAYS} dates": on_workers(few, 1),
            f"1 worker, {MANY_DAYS} dates": on_workers(many, 1),
            f"{WORKERS} workers, {MANY_DAYS} dates": on_workers(many, WORKERS),
        }
        same, year = agree(many), year_on_a_worker(many)
    first, second, _ = runs.values()
    growth = second.peak_mb / first.peak_mb
    sys.stdout.write(section(runs, growth, bytes_a_row, year, same))
    return int(growth > MAX_GROWTH or not same)


def generate(folder: Path, n_days: int) -> float:
    """One generated day of 500,000 rows under the dates of `n_days` weekdays; bytes a row on disk."""
    books = one_day(DAY_ROWS, np.random.default_rng(7))
    for date in pd.bdate_range(FIRST_DAY, periods=n_days).date:
        shift = (date - FIRST_DAY).days * 86_400 * 10**9
        write(folder, dataclasses.replace(books, time=books.time + shift), date)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return size / (n_days * DAY_ROWS)


def write(folder: Path, books: BookSnapshots, date: dt.date) -> None:
    """One date of the store."""
    partition = folder / store.partition(books.symbol, date)
    partition.mkdir(parents=True)
    table = store.table_of(books)
    with (
        (partition / "generated.parquet").open("wb") as stream,
        store.writer(stream, table) as file,
    ):
        file.write_table(table, row_group_size=store.ROW_GROUP_ROWS)


@contextmanager
def workers(n: int) -> Iterator[Client]:
    """Worker processes of one thread on this machine."""
    with (
        LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def on_workers(folder: Path, n: int) -> Work:
    """A pass on `n` worker processes of one thread; a first date, not counted, loads and compiles what they need."""
    dates = store.books_by_symbol(folder)["SYN"]
    with workers(n) as client:
        client.run(_walk, dates[0])
        before, here, begin = (
            sum(client.run(time.process_time).values()),
            time.process_time(),
            time.perf_counter(),
        )
        list(moments_of_store(folder, SIZES, "buy", SESSION, client=client))
        seconds = time.perf_counter() - begin
        # The scheduler runs in this process: its share is part of the work.
        spent = sum(client.run(time.process_time).values()) - before + time.process_time() - here
        peak = max(client.run(peak_memory_mb).values())
    return Work(len(dates) * DAY_ROWS, spent, seconds, peak)


def _walk(date: Path) -> int:
    return sum(1 for _ in moments_of_store(date, SIZES, "buy", SESSION))


def agree(folder: Path) -> bool:
    """Whether two workers give what this process gives, bit by bit."""
    ((_, here),) = moments_of_store(folder, SIZES, "buy", SESSION)
    with workers(WORKERS) as client:
        ((_, there),) = moments_of_store(folder, SIZES, "buy", SESSION, client=client)
    return bool(here.cells.equals(there.cells) and here.books.equals(there.books))


@dataclasses.dataclass(frozen=True)
class Year:
    """A symbol's year of moments: MB held, core-seconds to merge its dates and to fit them, peak of the worker, MB."""

    megabytes: float
    merge_seconds: float
    fit_seconds: float
    peak_mb: float


def year_on_a_worker(folder: Path) -> Year:
    """`a_year` in a worker of its own."""
    with workers(1) as client:
        return client.submit(a_year, store.books_by_symbol(folder)["SYN"][0]).result()


def a_year(date: Path) -> Year:
    """One date's moments under the dates of a year, merged and fitted."""
    ((_, day),) = moments_of_store(date, SIZES, "buy", SESSION)
    parts = []
    for other in pd.bdate_range(FIRST_DAY, periods=YEAR).date:
        renamed = {name: day[name].assign(date=str(other)) for name in ("cells", "books")}
        parts.append(dataclasses.replace(day, **renamed))
    begin = time.process_time()
    year = ImpactMoments.merge(parts)
    merged = time.process_time()
    FIT(year)
    fitted = time.process_time()
    held = sum(int(year[name].memory_usage(deep=True).sum()) for name in ("cells", "books"))
    return Year(held / 1e6, merged - begin, fitted - merged, peak_memory_mb())


def section(
    runs: dict[str, Work], growth: float, bytes_a_row: float, year: Year, same: bool
) -> str:
    """The figures as Markdown; what a year takes is computed from them."""
    passes = "\n".join(
        f"| {name} | {work.rows:,} | {work.core_seconds:.1f} | {work.rate / 1e3:,.0f} | {work.seconds:.1f} | "
        f"{work.peak_mb:,.0f} |"
        for name, work in runs.items()
    )
    rate, (pods, cores) = min(work.rate for work in runs.values()), cluster()
    sizing = "\n".join(
        _year_row(what, rows, rate, bytes_a_row, year, pods * cores)
        for what, rows in _days().items()
    )
    return f"""## Scale

`moments_of_store` over a Parquet store of one symbol, {DAY_ROWS:,} rows a date, {N_LEVELS} levels a side,
{len(SIZES)} trade sizes, {SESSION.n_intervals} intervals, on Dask workers of one thread; core-seconds are those of all
workers and of the scheduler. Two workers give what one process gives, bit by bit: {"yes" if same else "NO"}. Between
{FEW_DAYS} and {MANY_DAYS} dates the peak memory of a worker grows {growth:.2f} times (at most {MAX_GROWTH}).

| on | rows | core-seconds | 1,000 rows a core-second | seconds | peak of a worker, MB |
|:--|--:|--:|--:|--:|--:|
{passes}

A symbol's year of {YEAR} dates is {year.megabytes:,.0f} MB of moments, merged in {year.merge_seconds:.1f} core-seconds
and fitted (power, 13 parts of the day) in {year.fit_seconds:.1f}, on one worker whose peak is {year.peak_mb:,.0f} MB.

What a year of {SYMBOLS} symbols takes, one side and one form, computed from the least rate above; the cluster of
`deploy/kubernetes` has {pods} workers of {cores} cores.

| a symbol and date has | rows a year | Parquet, GB | core-hours | hours on {pods * cores} cores |
|:--|--:|--:|--:|--:|
{sizing}
"""


def cluster() -> tuple[int, int]:
    """Workers of the cluster's manifest, and processes of each."""
    manifest = yaml.safe_load((PROJECT_ROOT / "deploy/kubernetes/base/worker.yaml").read_text())[
        "spec"
    ]
    (container,) = manifest["template"]["spec"]["containers"]
    (processes,) = (
        part.split("=")[1] for part in container["command"] if part.startswith("--nworkers=")
    )
    return int(manifest["replicas"]), int(processes)


def _days() -> dict[str, int]:
    """Rows of a symbol and date: of the real sample, where it is there, and of the generated busy stock."""
    frog = data_folder() / FROG
    real = {"FROG's book events of 2025-04-03": len(read_books(frog))} if frog.is_file() else {}
    return real | {"a busy stock's": DAY_ROWS}


def _year_row(what: str, rows: int, rate: float, bytes_a_row: float, year: Year, cores: int) -> str:
    total = rows * SYMBOLS * YEAR
    hours = (total / rate + SYMBOLS * (year.merge_seconds + year.fit_seconds)) / 3_600
    stored = total * bytes_a_row / 1e9
    return f"| {what}, {rows:,} rows | {total:,} | {stored:,.0f} | {hours:,.1f} | {hours / cores:,.1f} |"


if __name__ == "__main__":
    sys.exit(main())

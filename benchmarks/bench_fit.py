"""How long it takes to fit years of books, streamed into moments, and to fit again while iterating.

Run as ``python benchmarks/bench_fit.py``; writes a section of Markdown. Every figure is of a fresh process
on one thread; books are arrays in memory, a million rows a batch and day, so reading files is not in it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from bench_readers import FIRST_DAY, N_LEVELS, one_day
from timing import afresh, interleaved

from research_lib.impact import LinearImpact, fit_impact, moments_of_books
from research_lib.market import BookSnapshots, Session

BATCH_ROWS = 1_000_000
MEASURED, SCALED = (1, 10), 100
TRADE_SIZES = np.geomspace(200, 10_000, 10)
FAMILIES = ("linear", "nonlinear", "power", "sqrt", "piecewise")
ROUNDS, FRAME_DAYS, FRAME_INTERVALS = 5, 20, 390


def main() -> int:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        sys.stdout.write(json.dumps(streamed(options.stream)))
        return 0
    sys.stdout.write(section())
    return 0


def streamed(n_batches: int) -> dict[str, float]:
    """Seconds of streaming and of fitting, and the process's peak of memory in MB before and after."""
    books = one_day(BATCH_ROWS, np.random.default_rng(7))
    few = books.take(np.arange(0, BATCH_ROWS, 1000))
    fit_impact(moments_of_books([few], TRADE_SIZES, "buy", Session(), sample=False))  # compiles
    before, start = _peak(), time.perf_counter()
    moments = moments_of_books(days(books, n_batches), TRADE_SIZES, "buy", Session(), sample=False)
    walked = time.perf_counter()
    fit = fit_impact(moments)
    if (
        not isinstance(fit.curve, LinearImpact)
        or moments.books["n"].sum() != n_batches * BATCH_ROWS
    ):
        raise RuntimeError("not all books were fitted")
    return {
        "stream": walked - start,
        "fit": time.perf_counter() - walked,
        "before": before,
        "after": _peak(),
    }


def days(books: BookSnapshots, n_days: int) -> Iterator[BookSnapshots]:
    """The same books on `n_days` weekdays, their sizes redrawn by a level for each day."""
    rng = np.random.default_rng(8)
    for date in pd.bdate_range(FIRST_DAY, periods=n_days).date:
        level = rng.lognormal(0, 0.2)
        later = books.time + _opening(date) - _opening(FIRST_DAY)
        yield dataclasses.replace(
            books, time=later, bid_size=level * books.bid_size, ask_size=level * books.ask_size
        )


def _opening(date: dt.date) -> int:
    return int(Session().bounds([date])[0][0])


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refits() -> dict[str, float]:
    """Median seconds of fitting a frame of 20 days x 390 intervals x 10 sizes in every family."""
    rng = np.random.default_rng(9)
    beta = rng.lognormal(-11, 0.3, FRAME_INTERVALS)
    days = pd.bdate_range("2024-01-02", periods=FRAME_DAYS).date
    noise = 1 + 0.3 * rng.standard_normal((FRAME_DAYS, FRAME_INTERVALS, 1))
    slippage = 0.01 + beta[:, None] * TRADE_SIZES * noise
    at = np.repeat(Session(FRAME_INTERVALS).starts(days).ravel(), len(TRADE_SIZES))
    frame = pd.DataFrame({
        "time": pd.DatetimeIndex(at.astype("datetime64[ns]"), tz="UTC"),
        "interval": np.tile(np.repeat(np.arange(FRAME_INTERVALS), len(TRADE_SIZES)), FRAME_DAYS),
        "trade_size": np.tile(TRADE_SIZES, FRAME_DAYS * FRAME_INTERVALS), "mid_price": 50.0,
        "half_spread": 0.01, "avg_slippage": slippage.ravel(), "censored": False,
    })  # fmt: skip
    return interleaved(
        {family: lambda family=family: fit_impact(frame, family) for family in FAMILIES}, ROUNDS
    )


def section() -> str:
    """The figures as Markdown."""
    measured = {n: json.loads(afresh(__file__, "--stream", str(n))) for n in MEASURED}
    last, most = measured[MEASURED[-1]], MEASURED[-1]
    rows = [
        f"| {n * BATCH_ROWS:,} | {one['stream']:.1f} | {one['fit']:.2f} | {one['before']:.0f} | {one['after']:.0f} |"
        for n, one in measured.items()
    ]
    scaled = last["stream"] * SCALED / most
    per_row = 1e6 * last["stream"] / (most * BATCH_ROWS)
    families = "\n".join(
        f"| {family} | {1e3 * seconds:.0f} |" for family, seconds in refits().items()
    )
    table = "\n".join(rows)
    return f"""## Fitting impact

Books of {N_LEVELS} levels a side, streamed through `moments_of_books` ({len(TRADE_SIZES)} trade sizes, all books count,
batches of {BATCH_ROWS:,} rows in memory), then `fit_impact` of 390 intervals; {per_row:.2f} microseconds a book:

| book rows | stream, s | fit, s | peak before, MB | peak after, MB |
|--:|--:|--:|--:|--:|
{table}
| {SCALED * BATCH_ROWS:,}, scaled from {most * BATCH_ROWS:,} | {scaled:.0f} | | | |

`fit_impact` of a frame in memory, {FRAME_DAYS} days x {FRAME_INTERVALS} intervals x {len(TRADE_SIZES)} sizes, with its
out-of-sample metrics, medians of {ROUNDS} interleaved rounds:

| family | ms |
|:--|--:|
{families}
"""


if __name__ == "__main__":
    sys.exit(main())

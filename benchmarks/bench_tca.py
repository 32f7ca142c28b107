"""How long a desk's own orders take: read, checked, analysed, grouped; a hundred thousand of them.

Run as ``python benchmarks/bench_tca.py``; writes a section of Markdown. The analysis is a fresh process on
files that another one wrote, so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from timing import afresh

from research_lib.evaluation import (
    CarriedImpact,
    Tape,
    analyse_orders,
    calibration,
    checked_desk,
    fill_costs,
    group_costs,
    outliers,
    read_fills,
    read_orders,
)  # fmt: skip
from research_lib.impact import ExponentialSumKernel
from research_lib.market import Session, preset

N_ORDERS, FILLS_EACH, N_DAYS = 100_000, 20, 40
SYMBOLS = [f"S{k}" for k in range(10)]
SESSION = Session(390)
MAX_SECONDS, MAX_MB = 120.0, 2000.0


def main() -> int:
    """Measure and write the section; 1 if a limit is missed."""
    if sys.argv[1:]:  # the folder of the files, in the process that is measured
        sys.stdout.write(json.dumps(analysed(Path(sys.argv[1]))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        found = json.loads(afresh(__file__, folder))
    sys.stdout.write(section(found))
    return int(found["all"] > MAX_SECONDS or found["peak"] > MAX_MB)


def tapes() -> dict[str, Tape]:
    """Forty days of minutes of ten stocks."""
    rng, found = np.random.default_rng(0), {}
    market = preset("thin_stock", SESSION)
    for name in SYMBOLS:
        books = market.books(N_DAYS * SESSION.n_intervals, 1, rng, flow=market.flow)
        found[name] = Tape.of(books, SESSION)
    return found


def write(folder: Path) -> None:
    """Orders of a fill a minute at the touch, as Parquet."""
    rng, market = np.random.default_rng(1), tapes()
    time_of = market[SYMBOLS[0]].time.reshape(-1, SESSION.n_intervals)
    day, first = rng.integers(0, N_DAYS, N_ORDERS), rng.integers(5, 300, N_ORDERS)
    arrival, symbol = time_of[day, first] + 10**6, rng.choice(np.array(SYMBOLS, object), N_ORDERS)
    side = rng.choice(np.array(["buy", "sell"], object), N_ORDERS)
    orders = pd.DataFrame({
        "order_id": np.arange(N_ORDERS), "symbol": symbol, "side": side, "shares": 100.0 * FILLS_EACH,
        "arrival_time": pd.to_datetime(arrival, utc=True),
        "decision_time": pd.to_datetime(time_of[day, first - 3], utc=True),
        "strategy": rng.choice(np.array(["slow", "fast"], object), N_ORDERS),
    })  # fmt: skip
    step = np.tile(60 * 10**9 * np.arange(FILLS_EACH) + 10**6, N_ORDERS)
    at, price = np.repeat(arrival, FILLS_EACH) + step, np.zeros(N_ORDERS * FILLS_EACH)
    for name, tape in market.items():
        mine = np.repeat(symbol == name, FILLS_EACH)
        row = tape.row(at[mine], before=True)
        sign = np.where(np.repeat(side, FILLS_EACH)[mine] == "buy", 1.0, -1.0)
        price[mine] = tape.mid[row] + sign * tape.half_spread[row]
    fills = pd.DataFrame({
        "order_id": np.repeat(np.arange(N_ORDERS), FILLS_EACH), "time": pd.to_datetime(at, utc=True),
        "shares": 100.0, "price": price, "fee": 0.1,
        "venue": rng.choice(np.array(["A", "B"], object), len(at)),
    })  # fmt: skip
    orders.to_parquet(folder / "orders.parquet")
    fills.to_parquet(folder / "fills.parquet")


def analysed(folder: Path) -> dict[str, float]:
    """Seconds of each step and the process's peak, MB; the market's tapes are made before."""
    market = tapes()
    kernel = ExponentialSumKernel((0.01, 0.0), (1e-5, 1e-5))
    carried = {name: CarriedImpact("measured", kernel) for name in market}
    clock = [time.perf_counter()]
    orders, fills = read_orders(folder / "orders.parquet"), read_fills(folder / "fills.parquet")
    clock.append(time.perf_counter())
    desk = checked_desk(orders, fills, market, ["all"])
    del orders, fills
    clock.append(time.perf_counter())
    table = analyse_orders(desk, market, carried)
    clock.append(time.perf_counter())
    for by in ("symbol", "strategy", "hour"):
        group_costs(table, by)
    group_costs(fill_costs(desk, market), "venue", ["spread_bps", "total_bps"])
    outliers(table)
    calibration(table.assign(forecast_bps=table["spread_bps"] + table["carried_bps"]))
    clock.append(time.perf_counter())
    if len(table) != N_ORDERS or len(desk.fills) != N_ORDERS * FILLS_EACH:
        raise RuntimeError("not all orders were analysed")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    steps = dict(zip(("read", "check", "analyse", "group"), np.diff(clock), strict=True))
    return steps | {"all": clock[-1] - clock[0], "peak": peak}


def section(found: dict[str, float]) -> str:
    """The figures as Markdown."""
    met = found["all"] <= MAX_SECONDS and found["peak"] <= MAX_MB
    return f"""## Own orders

{N_ORDERS:,} parent orders with {N_ORDERS * FILLS_EACH:,} fills in {len(SYMBOLS)} stocks and {N_DAYS} days, from Parquet files to
costs by part, groups and calibration; both limits are {"met" if met else "**missed**"}:

| step | s |
|:--|--:|
| read | {found["read"]:.1f} |
| check | {found["check"]:.1f} |
| parts, benchmarks, markouts | {found["analyse"]:.1f} |
| groups, venues, outliers, calibration | {found["group"]:.1f} |
| all, at most {MAX_SECONDS:.0f} | {found["all"]:.1f} |

The peak of memory is {found["peak"]:,.0f} MB, at most {MAX_MB:,.0f}.
"""


if __name__ == "__main__":
    sys.exit(main())

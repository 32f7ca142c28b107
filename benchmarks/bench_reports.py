"""Two notebooks at a time against one by one, on the committed grid of 24 runs; prints Markdown."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from research_lib.config import PROJECT_ROOT
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.grids import load_grid
from research_lib.reporting.parameters import Project
from research_lib.reporting.runner import Options, run_reports

GRID = PROJECT_ROOT / "notebooks" / "grids" / "small.yml"
LEAST_RATIO = 1.3  # two workers on two cores; a notebook's start shares the disk and the memory


def main() -> int:
    """Print the section; 1 if the ratio is missed or a result differs."""
    runs = load_grid(GRID)
    with tempfile.TemporaryDirectory() as folder:
        serial, serial_results = measured(runs, Path(folder) / "serial", 1)
        pair, pair_results = measured(runs, Path(folder) / "pair", 2)
        begin = time.perf_counter()
        again = run_reports(runs, replace(Project(), reports=Path(folder) / "pair"))
        resumed = time.perf_counter() - begin
    same = serial_results == pair_results and len(pair_results) == len(runs)
    unchanged = sum(what == "unchanged" for what in again.values())
    verdict = "met" if serial / pair >= LEAST_RATIO and same else "**missed**"
    sys.stdout.write(f"""
## Reports

{len(runs)} runs of `{GRID.relative_to(PROJECT_ROOT)}`, each in a kernel of its own, on {os.cpu_count()} cores:

| how | seconds | one by one = 1 |
|---|---:|---:|
| one by one | {serial:.0f} | 1 |
| two at a time | {pair:.0f} | {serial / pair:.2f} times as fast |
| a second call, {unchanged} of {len(runs)} unchanged | {resumed:.1f} | {serial / resumed:.0f} times as fast |

Limit: two at a time at least {LEAST_RATIO} times as fast, `results.json` the same bit for bit
({"it is" if same else "it is **not**"}): {verdict}.
""")
    return int(verdict != "met")


def measured(runs: list[RunConfig], reports: Path, jobs: int) -> tuple[float, dict[str, bytes]]:
    """Seconds of all runs, and the bytes of each one's results."""
    begin = time.perf_counter()
    run_reports(runs, replace(Project(), reports=reports), Options(jobs=jobs))
    seconds = time.perf_counter() - begin
    return seconds, {path.parent.name: path.read_bytes() for path in reports.glob("*/results.json")}


if __name__ == "__main__":
    sys.exit(main())

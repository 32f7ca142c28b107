"""Two notebooks at a time against one by one, on a grid of 24 short runs; prints Markdown."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import yaml

from research_lib.reporting import Options, Project, RunConfig, load_grid, run_reports

MIN_RATIO = 1.3  # two workers on two cores; kernels also wait for the disk and for each other
PARAMETERS = """side: str = "buy"  # or "sell"
model_type: str = "linear"  # form
preset_name: str = "thin_stock"  # market
seed: int = 7  # of the draws"""
STORY = """import numpy as np
import pandas as pd
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import Session, preset
from research_lib.reporting import Report
from research_lib.reporting.results import Results
books = preset(preset_name, Session(390)).books(10 * 390, 10, np.random.default_rng(seed))
fit = fit_impact(slippage_curves(books, [100, 200, 500], side).to_frame(390), model_type)
report = Report("modeling")
display(pd.Series(fit.metrics))
report.results(Results(f"R2 {fit.metrics['test_r2']!r}", preset_name, True))"""
AXES = {
    "preset_name": ["thin_stock", "wide_spread_stock"],
    "side": ["buy", "sell"],
    "model_type": ["linear", "nonlinear", "power"],
    "seed": [1, 2],
}


def main() -> int:
    """Print the section; 1 if the ratio is missed or a result differs."""
    with tempfile.TemporaryDirectory() as folder:
        project = short_project(Path(folder))
        runs = load_grid(Path(folder) / "grid.yml", project)
        serial, serial_results = measured(
            runs, replace(project, reports=Path(folder) / "serial"), 1
        )
        pair, pair_results = measured(runs, replace(project, reports=Path(folder) / "pair"), 2)
        begin = time.perf_counter()
        again = run_reports(runs, replace(project, reports=Path(folder) / "pair"))
        resumed = time.perf_counter() - begin
    same = serial_results == pair_results and len(pair_results) == len(runs)
    unchanged = sum(what == "unchanged" for what in again.values())
    verdict = "met" if serial / pair >= MIN_RATIO and same else "**missed**"
    sys.stdout.write(f"""
## Reports

{len(runs)} runs of a notebook that draws ten days of books and fits them, each in a kernel of its own,
on {os.cpu_count()} cores:

| how | seconds | one by one = 1 |
|---|---:|---:|
| one by one | {serial:.0f} | 1 |
| two at a time | {pair:.0f} | {serial / pair:.2f} times as fast |
| a second call, {unchanged} of {len(runs)} unchanged | {resumed:.1f} | {serial / resumed:.0f} times as fast |

Limit: two at a time at least {MIN_RATIO} times as fast, `results.json` the same bit for bit
({"it is" if same else "it is **not**"}): {verdict}.
""")
    return int(verdict != "met")


def short_project(folder: Path) -> Project:
    """One notebook and a grid of 24."""
    project = Project(folder, folder, folder / "reports", {"modeling": "short.ipynb"})
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# Fit"),
        cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        cell(STORY, metadata={"tags": ["answer"]}),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=kernel), project.notebook("modeling")
    )
    content = {"title": "short runs", "sections": ["modeling"], "axes": AXES}
    (folder / "grid.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return project


def measured(runs: list[RunConfig], project: Project, jobs: int) -> tuple[float, dict[str, bytes]]:
    """Seconds of all runs, and the bytes of each one's results."""
    begin = time.perf_counter()
    run_reports(runs, project, Options(jobs=jobs))
    seconds = time.perf_counter() - begin
    return seconds, {
        path.parent.name: path.read_bytes() for path in project.reports.glob("*/results.json")
    }


if __name__ == "__main__":
    sys.exit(main())

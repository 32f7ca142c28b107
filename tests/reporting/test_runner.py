"""One real run of the three usual notebooks, small: what its report holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from research_lib.reporting import Project, RunConfig, run_reports, verify_files
from research_lib.wording import significant

SMALL = {
    "title": "small case",
    "shared": {"n_days": 7, "n_intervals": 13, "trade_sizes": [50, 100, 200, 400], "total_shares": 1000, "seed": 3,
               "fit_days": 3, "optimizer_settings": {"max_allocation_ratio": 0.2}},
    "modeling": {"test_fraction": 0.25},
    "robustness": {"n_seeds": 2},
}  # fmt: skip
SECTIONS = ("modeling", "strategy", "robustness")


@pytest.mark.slow
def test_a_run_leaves_pages_figures_tables_results_and_manifest(tmp_path: Path) -> None:
    project = Project(configurations=tmp_path, reports=tmp_path / "reports")
    (tmp_path / "small.yml").write_text(yaml.safe_dump(SMALL))
    assert run_reports([RunConfig.load("small", project)], project) == {"small": "made"}
    folder = project.reports / "small"
    assert verify_files(folder) == []
    for section in SECTIONS:
        text = (folder / f"{section}_summary.md").read_text()
        figures = re.findall(r"\]\((figures/[^)]+)\)", text)
        assert len(figures) >= 2
        assert all((folder / figure).stat().st_size > 5_000 for figure in figures)
        assert not re.search(
            r"\bnan\b|\bNone\b(?! of)|Traceback|^import |<table|\[0m", text, re.M
        ), section
        assert "python -m research_lib report" in text
        assert "Synthetic market" in text
        page = (folder / f"{section}_summary.html").read_text()
        assert page.count("<img") == len(figures)
    results = json.loads((folder / "results.json").read_text())
    assert list(results) == list(SECTIONS)
    assert all(len(own) <= 30 for own in results.values()), "tables go to tables/"
    own, robust = results["strategy"], results["robustness"]
    costs = pd.read_csv(folder / "tables" / "strategy_costs.csv")
    headline = costs.query("size == 1000 and side == 'both' and scenario == @own['scenario']")
    stated = headline.set_index("strategy").loc["adaptive", "difference_bps"]
    assert stated == pytest.approx(own["difference_bps"], abs=6e-7), "the table keeps six decimals"
    assert robust["verdict"] in (folder / "strategy_summary.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    known = manifest["configuration"]["parameters"]["strategy"]
    assert known["total_shares"] == 1000.0
    assert known["objective"] == "cost", "defaults are kept too"
    for record in manifest["sections"].values():
        assert record["seed"] == 3
        assert len(record["inputs"]["code"]) == len(record["inputs"]["environment"]) == 64
    for record in json.loads((folder / "run.json").read_text())["sections"].values():
        assert record["peak_memory_mb"] > 100
        assert record["operations"], "the library's own timings are handed on by the notebook"
    index = (project.reports / "README.md").read_text()
    rows = [line for line in index.splitlines() if line.startswith("| small: ")]
    assert len(rows) == 1
    assert "[strategy](small/strategy_summary.md), [robustness]" in rows[0]
    told = (own["difference_bps"], robust["draws_mean_bps"], robust["draws_error_bps"])
    assert all(significant(one) in rows[0] for one in told)

"""One real run of both notebooks, small: what its report holds."""

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
    "shared": {"n_days": 7, "n_intervals": 13, "trade_sizes": [50, 100, 200, 400], "total_shares": 1000.0, "seed": 3},
    "modeling": {"test_fraction": 0.25},
    "strategy": {"fit_days": 3, "n_seeds": 2, "optimizer_settings": {"max_allocation_ratio": 0.2}},
}  # fmt: skip


@pytest.mark.slow
def test_a_run_leaves_summaries_figures_results_and_manifest(tmp_path: Path) -> None:
    project = Project(configurations=tmp_path, reports=tmp_path / "reports")
    (tmp_path / "small.yml").write_text(yaml.safe_dump(SMALL))
    assert run_reports([RunConfig.load("small", project)], project) == {"small": "made"}
    folder = project.reports / "small"
    assert verify_files(folder) == []
    for section in ("modeling", "strategy"):
        text = (folder / f"{section}_summary.md").read_text()
        figures = re.findall(r"\]\((figures/[^)]+)\)", text)
        assert len(figures) >= 2
        assert all((folder / figure).stat().st_size > 5_000 for figure in figures)
        assert not re.search(r"\bnan\b|\bNone\b|Traceback|\bimport |\{\{", text), section
        assert "**Answer.**" in text
        assert "python -m research_lib report" in text
    results = json.loads((folder / "results.json").read_text())
    assert list(results) == ["modeling", "strategy"]
    own = results["strategy"]
    costs = pd.read_csv(folder / "tables" / "strategy_costs.csv")
    headline = costs.query("size == 1000 and side == 'both' and scenario == @own['scenario']")
    quoted = own["strategies"]["adaptive"]["difference_bps"]
    stated = headline.set_index("strategy").loc["adaptive", "difference_bps"]
    assert stated == pytest.approx(quoted, abs=1e-6)  # tables carry six decimals
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["configuration"]["parameters"]["strategy"]["total_shares"] == 1000.0
    assert manifest["configuration"]["parameters"]["strategy"]["objective"] == "cost", (
        "defaults are told too"
    )
    for record in manifest["sections"].values():
        assert record["seed"] == 3
        assert len(record["inputs"]["code"]) == len(record["inputs"]["environment"]) == 64
        assert record["run"]["peak_memory_mb"] > 100
        assert record["run"]["operations"], (
            "the library's own timings are handed over by the kernel"
        )
    index = (project.reports / "README.md").read_text()
    (row,) = [line for line in index.splitlines() if line.startswith("| small: ")]
    assert "[modeling](small/modeling_summary.md), [strategy](small/strategy_summary.md) |" in row
    draws = own["seeds"]["difference_bps"]
    told = (significant(one) for one in (quoted, draws["mean"], draws["error"]))
    assert "| {} | none | 4 |  | {} ({}) |".format(*told) in row

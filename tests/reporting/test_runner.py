"""Configurations, strict parameters, atomic reports: with real papermill runs of small cases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from research_lib.__main__ import main
from research_lib.config import PROJECT_ROOT
from research_lib.errors import ValidationError
from research_lib.reporting import runner
from research_lib.reporting.configurations import RunConfig, configuration_names
from research_lib.reporting.parameters import Project, check_parameters
from research_lib.reporting.runner import run_reports

SMALL = {
    "title": "small case",
    "shared": {"n_days": 10, "n_levels": 10, "n_intervals": 26, "trade_sizes": [50, 100, 200, 400, 800], "seed": 3},
    "modeling": {"test_fraction": 0.25},
    "strategy": {"test_days": 2, "total_shares": 2000.0, "optimizer_settings": {"max_allocation_ratio": 0.1}},
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs").mkdir()
    return Project(configurations=tmp_path / "configs", reports=tmp_path / "reports")


def _write(project: Project, name: str, **changes: Any) -> None:
    (project.configurations / f"{name}.yml").write_text(yaml.safe_dump({**SMALL, **changes}))


def test_a_run_leaves_two_summaries_figures_results_and_manifest(project: Project) -> None:
    _write(project, "small")
    _write(project, "absent", shared={"data_file_name": "vendor/not_here.csv.gz"})
    reports = project.reports
    outcome = run_reports(["small", "absent"], project)
    assert outcome["small"] == "made"
    assert outcome["absent"].startswith("skipped: data file vendor/not_here.csv.gz is not in")
    folder = reports / "small"
    assert sorted(p.name for p in folder.iterdir()) == [
        "figures", "manifest.json", "modeling_summary.md", "results.json", "strategy_schedule.csv",
        "strategy_summary.md",
    ]  # fmt: skip
    assert not (reports / "absent").exists()
    assert list((reports / ".work").iterdir()) == []
    for section in ("modeling", "strategy"):
        text = (folder / f"{section}_summary.md").read_text()
        figures = re.findall(r"\]\((figures/[^)]+)\)", text)
        assert len(figures) >= 2
        assert all((folder / figure).stat().st_size > 5_000 for figure in figures)
        assert not re.search(r"\bnan\b|\bNone\b|Traceback|\bimport |\{\{", text), section
        assert "**Answer.**" in text
    results = json.loads((folder / "results.json").read_text())
    strategy = results["strategy"]
    assert strategy["scope"] == "out of sample"
    assert len(strategy["replayed_days"]) == 2
    assert not set(strategy["fitted_days"]) & set(strategy["replayed_days"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["configuration"]["parameters"]["strategy"]["total_shares"] == 2000.0
    assert manifest["configuration"]["parameters"]["strategy"]["objective"] == "cost"
    index = (reports / "README.md").read_text()
    assert "[strategy](small/strategy_summary.md)" in index


def test_the_in_sample_run_says_so(project: Project) -> None:
    _write(
        project,
        "one_day",
        shared={**SMALL["shared"], "n_days": 1, "n_intervals": 130},
        strategy={**SMALL["strategy"], "test_days": 0},
    )  # type: ignore[dict-item]
    assert run_reports(["one_day"], project) == {"one_day": "made"}
    text = (project.reports / "one_day" / "strategy_summary.md").read_text()
    assert "> **In sample.**" in text
    assert "one day: none" in text
    assert "Nothing is claimed for another day" in text


def test_a_failing_run_is_reported_leaves_the_old_report_and_lets_the_others_go_on(project: Project) -> None:
    reports = project.reports
    (reports / "small").mkdir(parents=True)
    (reports / "small" / "old.txt").write_text("whole")
    capped = {"test_days": 2, "total_shares": 10000.0, "optimizer_settings": {"max_allocation_ratio": 0.01}}
    _write(project, "small", strategy=capped)
    _write(project, "absent", shared={"data_file_name": "not_here.csv"})
    outcome = run_reports(["small", "absent"], project)
    assert outcome["small"].startswith("failed: trade_allocation_strategy.ipynb stopped at `")
    assert "OptimizationError: cap admits 2,600 of 10,000 shares" in outcome["small"]
    assert outcome["absent"].startswith("skipped")
    assert [p.name for p in (reports / "small").iterdir()] == ["old.txt"]
    assert list((reports / ".work").iterdir()) == []
    assert (reports / "README.md").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shared": {"n_interval": 10}},
            r"bad.yml: shared: parameter 'n_interval' is unknown; did you mean 'n_intervals'",
        ),
        ({"shared": {"n_intervals": "many"}}, r"parameter n_intervals must be a whole number, got 'many'"),
        ({"shared": {"n_intervals": True}}, r"parameter n_intervals must be a whole number, got True"),
        ({"shared": {"n_intervals": -3}}, r"modeling: n_intervals must be at least 1, got -3"),
        ({"strategy": {"test_days": -1}}, r"bad.yml: strategy: test_days must be at least 0, got -1"),
        ({"strategy": {"total_shares": -4}}, r"strategy: total_shares must be above 0, got -4"),
        ({"shared": {"side": "seel"}}, r"side 'seel' is unknown; did you mean 'sell'"),
        ({"shared": {"model_type": "nonlinaer"}}, r"model_type 'nonlinaer' is unknown; did you mean 'nonlinear'"),
        ({"shared": {"trade_sizes": ["ten", 100]}}, r"trade_sizes must be numbers of shares, got \['ten', 100\]"),
        ({"shared": {"trade_sizes": [-10, 100]}}, r"trade_sizes must be finite and above 0"),
        (
            {"shared": {"data_file_name": "a.csv", "n_levels": 3}},
            r"n_levels change nothing where data_file_name is given",
        ),
        ({"shared": [1]}, r"bad.yml: shared must map parameters to values, got \[1\]"),
        ({"title": None}, r"bad.yml: title must be a text, got None"),
        ({"shared": {"output_dir": "/tmp/x"}}, r"shared: parameter 'output_dir' is unknown"),
        ({"strategy": {"total_shares": "1; import os"}}, r"parameter total_shares must be a number"),
        (
            {"shared": {"model_settings": {"base_price": 5.0}}},
            r"model_settings has base_price, which comes from the preset",
        ),
        (
            {"shared": {"session_settings": {"closes": "17:00"}}},
            r"Session setting 'closes' is unknown; did you mean 'close'",
        ),
        ({"shared": {"session_settings": {"close": "25:00"}}}, r"close"),
        ({"shared": {"session_settings": {"n_intervals": 3}}}, r"n_intervals, which is a parameter of its own"),
        ({"shared": {"quality_settings": {"crossed": "ignore"}}}, r"policy for crossed: 'ignore' is unknown"),
        (
            {"shared": {"preset_name": "thin"}},
            r"preset_name 'thin' is unknown; choose from thin_stock, wide_spread_stock",
        ),
        ({"stratgy": {}}, r"bad.yml: key 'stratgy' is unknown; did you mean 'strategy'"),
        ({"shared": {"model_settings": {"volatilty": 1}}}, r"ModelConfig setting 'volatilty' is unknown"),
        ({"strategy": {"optimizer_settings": {"tolerence": 1}}}, r"did you mean 'tolerance'"),
    ],
)
def test_misspelt_and_mistyped_parameters_are_refused_before_a_kernel_starts(
    project: Project, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "execute", lambda *_: pytest.fail("a kernel was started"))
    _write(project, "bad", **changes)
    with pytest.raises(ValidationError, match=message):
        run_reports(["bad"], project)
    assert not (project.reports / "bad").exists()


def test_an_integer_is_good_where_a_float_is_declared() -> None:
    check_parameters("strategy", {"total_shares": 5000}, Project().declared("strategy"))


def test_unknown_configurations_are_refused_and_cannot_leave_the_folder() -> None:
    with pytest.raises(ValidationError, match="configuration 'defualt' is unknown; did you mean 'default'"):
        RunConfig.load("defualt")
    with pytest.raises(ValidationError, match="is unknown"):
        RunConfig.load("../../etc/passwd")


def test_every_committed_configuration_is_sound() -> None:
    names = configuration_names()
    assert names[0] == "default"
    assert all(RunConfig.load(name).parameters for name in names)


def test_the_command_line_says_one_line_and_its_status(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "run_reports", lambda names: {name: "skipped: no data" for name in names})
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    _write(project, "frog")
    assert main(["report", "frog"]) == 0
    assert main(["report", "frog", "--strict"]) == 1
    assert capsys.readouterr().out == "frog: skipped: no data\n" * 2
    monkeypatch.undo()
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    assert main(["report", "frgo"]) == 2
    assert capsys.readouterr().err == "error: configuration 'frgo' is unknown; did you mean 'frog'?\n"


def test_committed_reports_belong_to_committed_configurations() -> None:
    folders = {path.parent.name for path in (PROJECT_ROOT / "reports").glob("*/results.json")}
    assert folders == set(configuration_names())

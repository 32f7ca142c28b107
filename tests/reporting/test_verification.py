"""verify passes on what was made, and names the culprit after one digit was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_project import tiny_project, write_configuration

from research_lib.errors import ValidationError
from research_lib.reporting import (
    Project,
    chosen_runs,
    differing,
    git_commit,
    render_index,
    run_reports,
    verify_files,
    verify_reports,
)

ABSENT = "absent"  # begins the one line that is no fault of the report


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("original")
    project = tiny_project(folder)
    (folder / "data").mkdir()
    (folder / "data" / "prices.csv").write_text("100,101\n")
    write_configuration(project, "one", data_file_name="prices.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESEARCH_DATA", str(folder / "data"))
        assert run_reports(chosen_runs([], None, project), project) == {"one": "made"}
    return project


@pytest.fixture
def report(original: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the report and of its data, to be spoilt."""
    for part in ("reports", "data"):
        shutil.copytree(original.reports.parent / part, tmp_path / part)
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    return replace(original, reports=tmp_path / "reports")


def _change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def _mend_hashes(
    folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None
) -> None:
    """What a forger does: the manifest has the hashes of the files as they are now, and its own."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    unlisted = (path, folder / "run.json")
    files = sorted(one for one in folder.rglob("*") if one.is_file() and one not in unlisted)
    manifest["outputs"] = {
        one.relative_to(folder).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in files
    }
    path.write_text(json.dumps(manifest))


@pytest.mark.slow
def test_what_was_made_verifies_and_is_run_again(report: Project) -> None:
    assert verify_reports((), report) == {"one": []}


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in Project().reports.glob("*/manifest.json"))
)
def test_a_committed_report_is_as_it_was_made(folder: Path) -> None:
    assert [line for line in verify_files(folder) if not line.startswith(ABSENT)] == []
    sections = json.loads((folder / "manifest.json").read_text())["sections"]
    assert all(len(record["inputs"]["notebook"]) == 64 for record in sections.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("strategy_summary.md", b"order has 1", b"order has 2"),
        ("results.json", b'"total_shares": 10', b'"total_shares": 11'),
        ("figures/strategy_dot.png", b"IHDR\x00\x00\x00\x01", b"IHDR\x00\x00\x00\x02"),
    ],
)
def test_one_changed_digit_is_named_with_its_file(
    report: Project, file: str, old: bytes, new: bytes
) -> None:
    _change(report.reports / "one" / file, old, new)
    (culprit,) = verify_reports(["one"], report)["one"]
    assert culprit.startswith(f"{file} was edited")


@pytest.mark.slow
def test_a_lost_and_an_added_file_are_named(report: Project) -> None:
    folder = report.reports / "one"
    (folder / "figures" / "strategy_dot.png").unlink()
    (folder / "figures" / "better.png").write_bytes(b"")
    assert verify_files(folder) == [
        "figures/strategy_dot.png is missing",
        "figures/better.png is not in the manifest",
    ]


@pytest.mark.slow
def test_a_changed_data_file_is_named(report: Project) -> None:
    _change(report.reports.parent / "data" / "prices.csv", b"101", b"102")
    (culprit,) = verify_reports(["one"], report)["one"]
    assert culprit.startswith("data file prices.csv was changed: its SHA-256 is ")


@pytest.mark.slow
def test_data_that_are_not_here_are_no_fault_of_the_report(
    report: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(report.reports))
    (line,) = verify_reports(["one"], report)["one"]
    assert line.startswith(f"{ABSENT}: data file prices.csv")


@pytest.mark.slow
def test_a_forger_who_mends_every_hash_is_caught_by_the_second_run(report: Project) -> None:
    folder = report.reports / "one"
    results = json.loads((folder / "results.json").read_text())
    results["strategy"]["upper_bps"] += 0.01
    (folder / "results.json").write_text(json.dumps(results))
    _mend_hashes(folder)
    assert verify_files(folder) == []
    (culprit,) = verify_reports(["one"], report)["one"]
    assert culprit.startswith("results.json: strategy.upper_bps is ")


def test_tolerances_are_those_stated_and_prose_is_not_compared() -> None:
    said = {
        "a": 1.0,
        "b": {"x": 1e-17, "y": None},
        "answer": "saves 30.7 %",
        "c": "linear",
        "d": True,
    }
    near = {**said, "a": 1 + 5e-7, "b": {"x": -2e-16, "y": None}, "answer": "saves 30.5 %"}
    assert not list(differing(said, near))
    due = said | {"a": 1 + 2e-6, "b": {"x": 1e-17, "y": 0.0}, "c": "power", "d": False}
    assert [line.split(" is ")[0] for line in differing(said, due)] == ["a", "b.y", "c", "d"]
    assert list(differing({"a": 1}, {"b": 1})) == [
        '{"a": 1}'.join([" is ", ', run again {"b": 1}'])
    ]


@pytest.mark.slow
def test_a_table_that_a_second_run_does_not_give_is_named_with_its_column(report: Project) -> None:
    """Its numbers are compared within the tolerance of tables; a profile is no result."""
    folder = report.reports / "one"
    table = folder / "tables" / "strategy_schedule.csv"
    shutil.copytree(folder, report.reports / "two")
    _change(table, b"0.012345", b"0.012349")
    (folder / "tables" / "strategy_orders.csv").write_text("")
    (folder / "strategy.prof").write_bytes(b"")
    _mend_hashes(folder)
    two = report.reports / "two"
    _change(two / "tables" / "strategy_schedule.csv", b"51.5", b"51.50004")
    _change(two / "tables" / "strategy_schedule.csv", b"0.012345", b"0.01234500001")
    _mend_hashes(two, lambda manifest: manifest["configuration"].update(name="two"))
    found = verify_reports((), report)
    orders, schedule = found["one"]
    assert orders == "tables/strategy_orders.csv is made by one run only"
    assert schedule.startswith(
        'tables/strategy_schedule.csv: DataFrame.iloc[:, 1] (column name="shares")'
    )
    assert found["two"] == [], "as good as the same"


@pytest.mark.slow
def test_an_unknown_report_is_an_error(report: Project) -> None:
    with pytest.raises(ValidationError, match="report 'oen' is unknown; did you mean 'one'"):
        verify_reports(["oen"], report)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe"])
@pytest.mark.parametrize("file", ["manifest.json", "results.json", "failure.json"])
def test_a_damaged_file_is_named_in_the_index_and_stops_nothing(
    report: Project, file: str, content: bytes
) -> None:
    shutil.copytree(report.reports / "one", report.reports / "other")
    (report.reports / "one" / file).write_bytes(content)
    told = render_index(report).read_text()
    if content != b"{}":
        assert f"| one | {file} is damaged or of an older version; make the report again |" in told
    assert "| other: " in told, "the sound one keeps its row"


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_manifest_is_not_verified_and_the_report_is_made_again(
    report: Project, content: bytes
) -> None:
    (report.reports / "one" / "manifest.json").write_bytes(content)
    assert verify_reports((), report) == {
        "one": ["manifest.json is damaged or of an older version; make the report again"]
    }
    became = run_reports(chosen_runs([], None, report), report)
    assert became == {
        "one": "made: manifest.json is damaged or of an older version; make the report again"
    }
    assert verify_files(report.reports / "one") == []


@pytest.mark.slow
@pytest.mark.parametrize("kept", [("configuration", "sections"), ("configuration",)])
def test_a_manifest_of_an_older_version_is_named(report: Project, kept: tuple[str, ...]) -> None:
    path = report.reports / "one" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({key: manifest[key] for key in kept}))
    why = "manifest.json is damaged or of an older version; make the report again"
    assert verify_files(path.parent) == [why]
    assert f"| one | {why} |" in render_index(report).read_text()


def test_without_git_the_commit_is_the_one_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git
    monkeypatch.setenv("RESEARCH_GIT_COMMIT", "abc123")
    assert git_commit() == "abc123"

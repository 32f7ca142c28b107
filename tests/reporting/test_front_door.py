"""`make report`: the embedded run from scratch, its answer, and whether its numbers came again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_project import write_configuration

from research_lib.__main__ import main
from research_lib.reporting import Project, file_hash

pytestmark = pytest.mark.slow


def test_it_is_made_from_scratch_each_time_and_ends_with_answer_verdict_and_paths(
    tiny: Project, capsys: pytest.CaptureFixture[Any]
) -> None:
    write_configuration(tiny, "default")
    write_configuration(tiny, "real", data_file_name="nowhere/prices.csv")
    folder = tiny.reports / "default"
    assert main(["report"], tiny) == 0
    first = capsys.readouterr().out
    answer = json.loads((folder / "results.json").read_text())["strategy"]["answer"]
    assert answer in first
    assert "There was no report to compare" in first
    assert str(folder / "strategy_summary.html") in first
    assert first.splitlines()[-1].startswith("`make reports` makes 1 more")
    assert "real: skipped" not in first, "one line says what else there is"

    before = (folder / "results.json").stat().st_mtime_ns
    assert main(["report"], tiny) == 0
    assert (
        "of the report that was there were reproduced, of what was run." in capsys.readouterr().out
    )
    assert (folder / "results.json").stat().st_mtime_ns > before


def test_numbers_that_do_not_come_again_are_named(
    tiny: Project, capsys: pytest.CaptureFixture[Any]
) -> None:
    write_configuration(tiny, "default")
    main(["report"], tiny)
    path = tiny.reports / "default" / "results.json"
    results = json.loads(path.read_text())
    results["strategy"]["difference_bps"] *= 1.01
    path.write_text(json.dumps(results))
    listing = path.with_name("manifest.json")
    manifest = json.loads(listing.read_text())
    manifest["outputs"]["results.json"] = file_hash(path)
    listing.write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["report"], tiny) == 0
    said = capsys.readouterr().out
    assert "NOT the numbers of the report that was there (1 differ)" in said
    assert "results.json: strategy.difference_bps is " in said


def test_a_default_that_fails_says_where_to_look(
    tiny: Project, capsys: pytest.CaptureFixture[Any]
) -> None:
    write_configuration(tiny, "default", mode="fail")
    assert main(["report"], tiny) == 2
    assert capsys.readouterr().out == "default: failed, see reports/default/failure.md\n"

"""What the portfolio's report says of its certificate."""

from __future__ import annotations

import json
import math
import re

import pytest

from research_lib.reporting import Project, summary


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (3e-16, "with a KKT residual of below 1e-12."),
        (5e-11, "with a KKT residual of 5e-11."),
        (math.nan, "with no optimum claimed."),
        (None, "with no optimum claimed."),
    ],
)
def test_a_residual_is_told_as_measured(measured: float | None, said: str) -> None:
    """In the committed report, its residual replaced."""
    project = Project()
    results, manifest = (
        json.loads((project.reports / "portfolio" / f"{name}.json").read_text())
        for name in ("results", "manifest")
    )
    changed = {**results["portfolio"], "solver": "modes", "kkt_residual": measured}
    text = summary("portfolio", {"portfolio": changed}, manifest, project.templates)
    assert re.findall(r"^The portfolio's schedule was found by .*$", text, re.MULTILINE) == [
        f"The portfolio's schedule was found by modes, {said}"
    ]

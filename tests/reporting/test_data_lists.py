"""Configurations that name several files of data."""

from __future__ import annotations

from typing import Any

import pytest

from research_lib.errors import ValidationError
from research_lib.reporting import Project, RunConfig


def test_all_lists_of_files_are_data_of_the_run() -> None:
    run = RunConfig.load("portfolio_us")
    assert len(run.section_data("portfolio")) == 6
    assert sum(name.startswith("lean_us_equity/") for name in run.section_data("portfolio")) == 6
    assert RunConfig.load("portfolio").section_data("portfolio") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"daily_file_names": ["/etc/passwd"]},
            "daily_file_names.0: '/etc/passwd' must be a path below RESEARCH_DATA",
        ),
        ({"daily_file_names": ["a/../../b.zip"]}, "must be a path below RESEARCH_DATA"),
        ({"quote_file_names": [7]}, "quote_file_names.0: Input should be a valid string, got 7"),
    ],
)
def test_files_that_are_no_files_below_the_data_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Project().parameters("portfolio", given)

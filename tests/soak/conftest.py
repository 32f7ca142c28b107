"""What soak tests counted, written to reports/soak.md at the end of the session."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

import pytest

from research_lib.config import PROJECT_ROOT

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()
HEAD = """# Soak

What `make soak` counted: a grid of runs and a live desk killed at random moments, and a live desk at work for ten minutes. The
tests fail where anything is lost; these figures say how hard they tried. {cores} cores, Python {python}.

| test | what | figure |
|---|---|---:|
"""


@pytest.fixture
def soak_figures(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Keep a figure, such as the number of kills, under the name of the test."""
    rows = request.config.stash.setdefault(ROWS, [])
    name = request.node.originalname.removeprefix("test_").replace("_", " ")
    return lambda what, figure: rows.append((name, what, f"{figure:,.4g}"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    rows = session.config.stash.get(ROWS, [])
    if rows:
        head = HEAD.format(cores=os.cpu_count(), python=platform.python_version())
        lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        (PROJECT_ROOT / "reports" / "soak.md").write_text(head + lines, encoding="utf-8")

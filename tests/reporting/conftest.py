"""A grid of 8 tiny runs, made once by two workers; figures are drawn unseen and closed after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from tiny_project import tiny_project, write_grid

from research_lib.reporting import Options, Project, load_grid, run_reports

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def made_grid(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its reports folder is read, never written, by the tests that share it."""
    project = tiny_project(tmp_path_factory.mktemp("grid"))
    runs = load_grid(write_grid(project, "grid"), project)
    assert len(runs) == 8
    assert set(run_reports(runs, project, Options(jobs=2)).values()) == {"made"}
    return project


@pytest.fixture
def tiny(tmp_path: Path) -> Project:
    return tiny_project(tmp_path)

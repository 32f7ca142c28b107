"""The notebooks' form; that they run and give the stored tables is nbval's part of `make test`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from research_lib.config import PROJECT_ROOT
from research_lib.reporting.parameters import NOTEBOOKS
from research_lib.reporting.refresh import CHECKED_OUTPUT

PATHS = [PROJECT_ROOT / "notebooks" / name for name in NOTEBOOKS.values()]


@pytest.fixture(params=PATHS, ids=lambda p: p.name)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_listed() -> None:
    assert sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb")) == sorted(PATHS)


def test_it_is_a_story_of_25_to_45_cells_with_as_many_words_as_code(notebook: Any) -> None:
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    code = sum(len(cell.source.split()) for cell in _code(notebook))
    assert 25 <= len(notebook.cells) <= 45
    assert words >= code
    # The parameters cell is a list, as long as there are parameters.
    steps = [cell for cell in _code(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    assert max(len(cell.source.splitlines()) for cell in steps) <= 15


def test_parameters_are_one_cell_of_commented_literals(notebook: Any) -> None:
    tagged = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)
        assert "  # " in line, f"no unit or meaning: {line}"
        assert line.count("=") == 1, f"papermill cannot parse a comment with an equals sign: {line}"


def test_no_classes_no_long_functions_and_an_assert_for_the_results(notebook: Any) -> None:
    tree = ast.parse("\n".join(cell.source for cell in _code(notebook)))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 5
    assert len([node for node in ast.walk(tree) if isinstance(node, ast.Assert)]) >= 4


def test_outputs_are_stored_only_where_they_are_compared(notebook: Any) -> None:
    checked = [cell for cell in _code(notebook) if CHECKED_OUTPUT in cell.source]
    assert len(checked) >= 4
    for cell in _code(notebook):
        assert bool(cell.outputs) == (cell in checked), cell.id
        assert (cell.execution_count is not None) == (cell in checked), "nbval takes a cell without a count as not run"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_no_machine_paths(notebook: Any) -> None:
    text = nbformat.writes(notebook)
    assert str(Path.home()) not in text
    assert str(PROJECT_ROOT) not in text


def test_nbval_notices_one_changed_digit(tmp_path: Path) -> None:
    """The stored tables are really compared: a copy with one digit changed must fail."""
    notebook = nbformat.read(PATHS[0], as_version=4)
    keep = next(i for i, cell in enumerate(notebook.cells) if CHECKED_OUTPUT in cell.source)
    notebook.cells = notebook.cells[: keep + 1]
    statuses = []
    for spoil in (False, True):
        if spoil:
            data = notebook.cells[keep].outputs[0].data
            notebook.cells[keep].outputs[0].data = {k: v.replace("0.0", "0.1", 1) for k, v in data.items()}
        path = tmp_path / f"spoilt_{spoil}.ipynb"
        nbformat.write(notebook, path)
        command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", str(path)]
        statuses.append(subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode)
    assert statuses == [0, 1]

"""The notebooks' form; that they run and give the stored tables is nbval's part of `make test`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from research_lib.config import PROJECT_ROOT
from research_lib.reporting import TYPES, Project

PATHS = sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb"))
CHECKED_OUTPUT = (
    "# NBVAL_CHECK_OUTPUT"  # nbval's own word for a cell whose stored output it compares
)
REMEDY = "`make refresh` runs the notebooks and stores the outputs that are compared, no others"
MAX_CELLS = 34
REFERENCE = "methodology.ipynb"  # as long as its equations: each has a cell of its own
OUTER_LIMIT = 300  # seconds; the two tiny notebooks take a few, this only keeps a hang from lasting


@pytest.fixture(params=PATHS, ids=lambda p: p.name)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_a_section_that_can_be_run() -> None:
    project = Project()
    assert sorted(project.notebook(section) for section in project.sections) == PATHS


def test_it_is_short_cells_with_as_many_words_as_code(
    notebook: Any, request: pytest.FixtureRequest
) -> None:
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    code = sum(len(cell.source.split()) for cell in _code(notebook))
    assert len(notebook.cells) <= MAX_CELLS or request.node.callspec.id == REFERENCE
    assert words >= code
    # The parameters cell is a list, as long as there are parameters.
    steps = [cell for cell in _code(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    assert max(len(cell.source.splitlines()) for cell in steps) <= 12
    lines = [line for cell in _code(notebook) for line in cell.source.splitlines()]
    assert max(map(len, lines)) <= 100


def test_it_begins_with_a_question_and_tags_its_answer(notebook: Any) -> None:
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "**Question.**" in first.source
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    assert sum("answer" in own for own in tags) in (1, 2, 3, 4)
    assert set().union(*tags) <= {"parameters", "answer", "remove-cell"}


def test_parameters_are_one_cell_of_typed_and_commented_literals(notebook: Any) -> None:
    tagged = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        (node,) = ast.parse(line).body
        assert isinstance(node, ast.AnnAssign), f"no type: {line}"
        assert ast.unparse(node.annotation) in TYPES
        assert node.value is not None
        ast.literal_eval(node.value)
        assert "  # " in line, f"no unit or meaning: {line}"
        assert line.count("=") == 1, f"papermill cannot parse a comment with an equals sign: {line}"


def test_no_classes_no_long_functions_and_an_assert_for_the_results(notebook: Any) -> None:
    tree = ast.parse("\n".join(cell.source for cell in _code(notebook)))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 5
    assert len([node for node in ast.walk(tree) if isinstance(node, ast.Assert)])


def test_outputs_are_stored_only_where_they_are_compared(notebook: Any) -> None:
    checked = [cell for cell in _code(notebook) if CHECKED_OUTPUT in cell.source]
    assert len(checked) >= 4
    for cell in _code(notebook):
        assert bool(cell.outputs) == (cell in checked), f"{cell.id}: {REMEDY}"
        # nbval takes a cell without a count as not run
        assert (cell.execution_count is not None) == (cell in checked), f"{cell.id}: {REMEDY}"
    for cell in checked:
        stored = "".join(part for output in cell.outputs for part in _texts(output))
        assert any(letter.isdigit() for letter in stored), (
            f"{cell.id} stores no number that could differ"
        )
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_the_methodology_lists_what_all_notebooks_cite() -> None:
    """By first author and year, as in "Cont, Kukanov and Stoikov (2014)"; months are no authors."""
    texts = [
        cell.source
        for path in PATHS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    (references,) = (text for text in texts if text.startswith("## References"))
    listed = re.findall(r"^- (\w+), .*?\((\d{4})\)\.", references, re.MULTILINE)
    body = "\n".join(text for text in texts if text != references)
    names = r"[A-Z][\w-]+(?:(?:, and |, | and )(?:de )?[A-Z][\w-]+)*(?: et al\.)?"
    found = re.findall(rf"({names}),? \(?(\d{{4}})\b(?!-)", body)
    cited = {(re.split(r"[-, ]", one)[0], year) for one, year in found}
    assert cited - {("April", "2010")} == set(listed)


def test_no_machine_paths(notebook: Any) -> None:
    text = nbformat.writes(notebook)
    assert str(PROJECT_ROOT) not in text


def _texts(output: Any) -> list[str]:
    return (
        [output.text]
        if output.output_type == "stream"
        else [str(part) for part in output.data.values()]
    )


@pytest.mark.slow
def test_nbval_notices_one_changed_digit_of_a_stored_table(tmp_path: Path) -> None:
    """As `make test` calls it; that the project's own cells are marked and store what they show
    is tested above.
    """
    assert re.search(r"-m .*--nbval-lax .*\bnotebooks\b", (PROJECT_ROOT / "Makefile").read_text())
    table = pd.DataFrame({"saving_%": [12.25, 3.5]})
    shown = {"text/plain": repr(table), "text/html": table._repr_html_()}
    changed = {kind: text.replace("12.25", "12.26", 1) for kind, text in shown.items()}
    source = f"import pandas as pd\n\npd.DataFrame({table.to_dict(orient='list')})"
    marked = f"{CHECKED_OUTPUT}\n{source}"
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                cell,
                execution_count=1,
                outputs=[nbformat.v4.new_output("execute_result", data, execution_count=1)],
            )
            for cell, data in ((marked, shown), (source, changed), (marked, changed))
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    path = tmp_path / "tiny.ipynb"
    nbformat.write(notebook, path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        str(path),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=OUTER_LIMIT
    )
    outcome = r"^(PASSED|FAILED) tiny.ipynb::Cell (\d)"
    assert re.findall(outcome, _plain(done.stdout), re.MULTILINE) == [
        ("PASSED", "0"), ("PASSED", "1"), ("FAILED", "2"),
    ], done.stdout  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)

"""An executed notebook becomes its report: what is moved, kept, left out and refused."""

from __future__ import annotations

import io
import re
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from research_lib.reporting import PageError, handed_on, report_files, to_markdown

V4 = nbformat.v4
IMPORTS = """import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from research_lib.reporting import Report, plot_lines
from research_lib.reporting.results import Results"""
TABLE = """report = Report("strategy")
table = pd.DataFrame({"cost_bps": [1.23456789012, np.nan]}, index=["TWAP", "a|b"])
table"""
ANSWER = """ax = plot_lines({"TWAP": ([1, 2], [1, 2])}, "x", "y")
report.figure(ax, "costs", "Cost (bps) by x.")
display(Markdown("**The answer.**"))"""
HANDED = """report.table(table, "costs")
report.results(Results("The answer.", "XYZ", False))"""


def _tagged(source: str, *tags: str) -> Any:
    return V4.new_code_cell(source, metadata={"tags": list(tags)})


@pytest.fixture(scope="module")
def executed() -> Any:
    """A notebook of the kind that the project has, run by a real kernel."""
    cells = [
        V4.new_markdown_cell("# What does it cost?\n\n**Question.** $g_t(x)$."),
        V4.new_markdown_cell("How it is run.", metadata={"tags": ["remove-cell"]}),
        V4.new_code_cell(IMPORTS),
        V4.new_code_cell(TABLE),
        V4.new_markdown_cell(r"$$\sum_t x_t \, g_t(x_t) < S$$ and `a $ in code $`"),
        _tagged(ANSWER, "answer"),
        _tagged(HANDED, "remove-cell"),
        V4.new_code_cell("import sys\nprint('noise')\nprint('a warning', file=sys.stderr)"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = V4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return NotebookClient(notebook, timeout=300).execute()


@pytest.fixture(scope="module")
def files(executed: Any) -> dict[str, bytes]:
    return report_files(executed, "strategy", "*above*", "## Below")


@pytest.mark.slow
def test_the_page_has_the_answer_below_the_title_and_no_code(files: dict[str, bytes]) -> None:
    text = files["strategy_summary.md"].decode()
    due = ["# What", "*above*", "**The answer.**", "| TWAP | 1.23 |", "$$\\sum_t", "## Below"]
    places = [text.index(part) for part in due]
    assert places == sorted(places)
    assert not re.search(r"import|How it is run|noise|a warning|Report\(", text)
    assert "![Cost (bps) by x.](figures/strategy_costs.png)" in text
    assert "| a\\|b |  |" in text, "a bar is no border, and what is not known is empty"


@pytest.mark.slow
def test_figures_and_tables_keep_their_names_and_all_digits(files: dict[str, bytes]) -> None:
    assert files["figures/strategy_costs.png"].startswith(b"\x89PNG")
    table = pd.read_csv(io.BytesIO(files["tables/strategy_costs.csv"]), index_col=0)
    np.testing.assert_allclose(table["cost_bps"], [1.23456789012, np.nan], rtol=1e-11)


@pytest.mark.slow
def test_the_html_page_is_one_file_with_formulas_that_needs_no_network(
    files: dict[str, bytes],
) -> None:
    page = files["strategy_summary.html"].decode()
    assert page.count("<math") == 2
    assert "$$" not in page
    assert "a $ in code $" in page
    assert 'src="data:image/png;base64,' in page
    assert not re.search(r"(src|href)=[\"']https?:|<script", page)
    assert "<title>What does it cost?</title>" in page


@pytest.mark.slow
def test_results_and_warnings_are_handed_on_and_the_same_run_gives_the_same_bytes(
    executed: Any, files: dict[str, bytes]
) -> None:
    given = handed_on(executed)
    assert given.results == {"answer": "The answer.", "symbol": "XYZ", "synthetic": False}
    assert given.warnings == "a warning\n"
    later = nbformat.from_dict(executed)
    for cell in later.cells:
        cell.metadata["papermill"] = {"duration": 1.0}
        cell.id = f"other-{cell.id}"
    assert report_files(later, "strategy", "*above*", "## Below") == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda cells: cells.pop(5), "no cell is tagged answer"),
        (lambda cells: cells.pop(6), "handed on 0 results"),
        (lambda cells: cells.append(cells[6]), "two tables are called strategy_costs.csv"),
        (lambda cells: cells.append(cells[5]), "two figures are called strategy_costs.png"),
        (lambda cells: cells.pop(0), "the first cell must be text that begins with a title"),
    ],
)
def test_a_notebook_that_is_no_report_is_refused_with_what_is_missing(
    executed: Any, change: Any, why: str
) -> None:
    copy = nbformat.from_dict(executed)
    change(copy.cells)
    with pytest.raises(PageError, match=why):
        report_files(copy, "strategy", "", "")


def test_a_table_shows_units_labels_and_what_is_true() -> None:
    index = pd.MultiIndex.from_tuples([("size", 2.0)], names=["changed", "to"])
    table = pd.DataFrame({"difference_bps": [-0.31234], "holds": [True]}, index=index)
    assert to_markdown(table).splitlines() == [
        "| changed | to | difference (bps) | holds |",
        "|:--|:--|--:|--:|",
        "| size | 2 | -0.312 | yes |",
    ]

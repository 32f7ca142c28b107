"""From an executed notebook to its report: Markdown, HTML page, figures, tables, and results."""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from traitlets.config import Config

from research_lib.errors import ResearchError
from research_lib.reporting.notebook import RESULTS_TYPE, TABLE_TYPE

HIDDEN = ("input", "input_prompt", "output_prompt")
# Of nbconvert: of a display's forms the first that is there, no code, and nothing from outside.
SETTINGS = Config({
    "NbConvertBase": {"display_data_priority": ["text/markdown", "image/png", "text/plain"]},
    "TagRemovePreprocessor": {"remove_cell_tags": ["remove-cell"], "enabled": True},
    "TemplateExporter": {f"exclude_{what}": True for what in HIDDEN},
    "HTMLExporter": {"embed_images": True},
})  # fmt: skip
STYLE = Path(__file__).with_name("templates") / "page.css"
# A formula in the HTML that mistune leaves: its text, escaped, between dollars.
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
CODE = re.compile(r"(<pre\b.*?</pre>|<code\b.*?</code>)", re.DOTALL)


class PageError(ResearchError):
    """An executed notebook that is no report: names what is missing."""


@dataclass(frozen=True)
class HandedOn:
    """What a notebook handed on beside what it shows.

    Attributes
    ----------
    results : dict
        Its scalars.
    tables : mapping of file name to CSV
    timings : dict
        Of the library's operations.
    warnings : str
        What went to stderr.
    """

    results: dict[str, Any]
    tables: Mapping[str, str]
    timings: dict[str, Any]
    warnings: str


def handed_on(notebook: NotebookNode) -> HandedOn:
    """Collect from an executed notebook's displays.

    Raises
    ------
    PageError
        None or several results; two tables or two figures of one name.
    """
    outputs = list(_outputs(notebook))
    data = [one.get("data", {}) for one in outputs]
    found = [one[RESULTS_TYPE] for one in data if RESULTS_TYPE in one]
    tables = [one[TABLE_TYPE] for one in data if TABLE_TYPE in one]
    figures = [name for one in outputs if (name := one.get("metadata", {}).get("filename"))]
    for kind, names in (("tables", [one["name"] for one in tables]), ("figures", figures)):
        if twice := [name for name in names if names.count(name) > 1]:
            raise PageError(f"two {kind} are called {twice[0]}; rename one")
    warnings = "".join(one["text"] for one in outputs if one.get("name") == "stderr")
    if len(found) != 1:
        raise PageError(f"the notebook handed on {len(found)} results; one is due")
    # The executed notebook of a report has no timings any more.
    kept = {one["name"]: one["csv"] for one in tables}
    return HandedOn(dict(found[0]["results"]), kept, found[0].get("timings", {}), warnings)


def without_traces(notebook: NotebookNode) -> NotebookNode:
    """The executed notebook without times and timings: the same run gives the same bytes."""
    clean = nbformat.from_dict(notebook)
    kept = {"kernelspec": clean.metadata["kernelspec"]} if "kernelspec" in clean.metadata else {}
    clean.metadata = {**kept, "language_info": {"name": "python"}}
    for place, cell in enumerate(clean.cells):
        cell.id = f"cell-{place}"  # papermill's own cells have a new one each time
        tags = list(cell.metadata.get("tags", []))
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    for output in _outputs(clean):
        output.get("data", {}).get(RESULTS_TYPE, {}).pop("timings", None)
    return clean


def report_files(notebook: NotebookNode, section: str, above: str, below: str) -> dict[str, bytes]:
    """The files of one section of a report.

    Parameters
    ----------
    notebook : NotebookNode
        Executed; its first cell has the title and the question, and its cells tagged `answer`,
        moved below them here, the answer, the main figure and the main table.
    section : str
        Names the files.
    above, below : str
        Markdown that the run adds below the title and at the end.

    Returns
    -------
    dict of path to bytes
        <section>_summary.md, <section>_summary.html (one file, figures and formulas inside),
        <section>.ipynb, figures/ and tables/.

    Raises
    ------
    PageError
        No first text cell, no cell tagged `answer`, or as `handed_on`.
    """
    tables, arranged = handed_on(notebook).tables, _arranged(notebook, above, below)
    text, figures = _markdown(arranged)
    named = {f"{section}_summary.md": text, f"{section}_summary.html": _page(arranged)}
    named |= {f"{section}.ipynb": nbformat.writes(without_traces(notebook)) + "\n"}
    named |= {f"tables/{name}": content for name, content in tables.items()}
    return {name: content.encode() for name, content in named.items()} | figures


def _outputs(notebook: NotebookNode) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def _arranged(notebook: NotebookNode, above: str, below: str) -> NotebookNode:
    """A copy with the answer below the title, what the run adds, and no streams or results."""
    copy, shown = without_traces(notebook), ("display_data", "execute_result")
    for cell in (one for one in copy.cells if one.cell_type == "code"):
        displays = (one for one in cell.outputs if one.output_type in shown)
        cell.outputs = [one for one in displays if RESULTS_TYPE not in one.data]
    title, *rest = copy.cells
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        raise PageError("the first cell must be text that begins with a title")
    answer = [cell for cell in rest if "answer" in cell.metadata.get("tags", [])]
    if not answer:
        raise PageError("no cell is tagged answer; tag the one that computes it")
    first = nbformat.v4.new_markdown_cell(above, id="above")
    last = nbformat.v4.new_markdown_cell(below, id="below")
    copy.cells = [title, first, *answer, *(cell for cell in rest if cell not in answer), last]
    return copy


def _markdown(notebook: NotebookNode) -> tuple[str, dict[str, bytes]]:
    """The report's text, and its figures by path."""
    from nbconvert import MarkdownExporter

    where = {"output_files_dir": "figures"}
    text, resources = MarkdownExporter(config=SETTINGS).from_notebook_node(notebook, where)
    # The stock template calls every picture "png"; its text is the caption.
    for output in _outputs(notebook):
        if name := output.get("metadata", {}).get("filename"):
            alt = output.metadata["image/png"]["alt"]
            text = text.replace(f"![png](figures/{name})", f"![{alt}](figures/{name})")
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text))
    return text.strip() + "\n", dict(resources["outputs"])


def _page(notebook: NotebookNode) -> str:
    """One file that needs no other and no network: the same cells by nbconvert's HTML exporter."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(config=SETTINGS, template_name="basic").from_notebook_node(notebook)
    parts = CODE.split(body)  # text and code in turn; code stays as it is
    parts[::2] = [FORMULA.sub(_mathml, text) for text in parts[::2]]
    body = re.sub(r'(href="\w+_summary)\.md"', r'\1.html"', "".join(parts))
    title = html.escape(notebook.cells[0].source.split("\n")[0].removeprefix("# "))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, '
    head += f'initial-scale=1"><title>{title}</title><style>{STYLE.read_text("utf-8")}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _mathml(formula: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    block, inline = formula.groups()
    text = html.unescape(block or inline)
    try:
        return convert(text, display="block" if block else "inline")
    except Exception as error:  # of its many own kinds, none of which share a base
        raise PageError(f"formula {text!r:.80} cannot be shown: {error}") from error

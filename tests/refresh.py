"""`make refresh`: stores in the notebooks the outputs that nbval compares."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from research_lib.reporting import Project

CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"
QUIET = "--log-level=CRITICAL"  # a kernel's warnings about local TCP are no news


def refresh(path: Path) -> None:
    """Run a notebook with its defaults and store the outputs that nbval compares, no others.

    Needed after a change that moves a checked table on purpose; the difference is then
    reviewed like code.
    """
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, extra_arguments=[QUIET], resources=where).execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code" and CHECKED_OUTPUT not in cell.source:
            cell.execution_count, cell.outputs = None, []
    kernel = notebook.metadata["kernelspec"]
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(path)


if __name__ == "__main__":
    project = Project()
    for section in project.sections:
        refresh(project.notebook(section))
        sys.stdout.write(f"refreshed {project.notebook(section).name}\n")

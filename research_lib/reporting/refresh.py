"""Stores in the notebooks the outputs that nbval compares."""

from __future__ import annotations

from pathlib import Path

from research_lib.reporting.kernels import KERNEL_ARGUMENTS
from research_lib.reporting.parameters import Project

CHECKED_OUTPUT = "# NBVAL_CHECK_OUTPUT"
CELL_TIMEOUT_SECONDS = 600


def refresh_notebooks() -> list[Path]:
    """Run the notebooks with their defaults and store the outputs that nbval compares, no others.

    Needed after a change that moves a checked table on purpose; the difference is then
    reviewed like code.
    """
    import nbformat
    from nbclient import NotebookClient

    project = Project()
    paths = [project.notebook(section) for section in project.sections]
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_SECONDS,
            kernel_name="python3",
            extra_arguments=KERNEL_ARGUMENTS,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute()
        for cell in notebook.cells:
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
            if cell.cell_type == "code" and CHECKED_OUTPUT not in cell.source:
                cell.execution_count, cell.outputs = None, []
        notebook.metadata = {
            "kernelspec": notebook.metadata["kernelspec"],
            "language_info": {"name": "python"},
        }
        part = path.with_suffix(".part")
        nbformat.write(notebook, part)
        part.replace(path)
    return paths

"""A report's files and manifest, from what its notebooks left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research_lib.reporting.manifest import json_bytes, origin, read_json
from research_lib.reporting.parameters import RunConfig
from research_lib.reporting.render import summary

Records = Mapping[str, dict[str, Any]]  # by section


class Report(NamedTuple):
    """All files of a report but its manifest, and the manifest."""

    files: dict[str, bytes]
    manifest: dict[str, Any]


def assemble(
    run: RunConfig, kept: Records, answers: Records, folder: Path, templates: Path
) -> Report:
    """Join new sections with those that stay; the summaries are written from the joined results.

    Parameters
    ----------
    run : RunConfig
    kept : mapping of section to record
        Sections whose files stay, as the manifest in `folder` has them.
    answers : mapping of section to answer
        Of `run_notebook`, all done.
    folder : Path
        The report that is there.
    templates : Path
        Folder of the project's templates.

    Raises
    ------
    RenderError
        A template does not fit its results.
    """
    known = {**kept, **{section: _record(run, section, one) for section, one in answers.items()}}
    sections = {section: known[section] for section in run.parameters if section in known}
    manifest = {"configuration": run.identity(), "sections": sections}
    before, results = read_json(folder / "results.json") if kept else {}, dict[str, Any]()
    files: dict[str, bytes] = {}
    for section, record in sections.items():
        brought = answers[section]["files"] if section in answers else {}
        results[section] = json.loads(brought[f"{section}.json"]) if brought else before[section]
        for path in record["files"]:
            files[path] = brought[path] if brought else (folder / path).read_bytes()
    files["results.json"] = json_bytes(results)
    for section in sections:
        files[f"{section}_summary.md"] = summary(section, results, manifest, templates).encode()
    return Report(files, manifest)


def _record(run: RunConfig, section: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of a section: what it was made from and, apart, how that went."""
    handed = (f"{section}.json", f"{section}.timings.json")
    went = {
        "seconds": round(answer["seconds"], 2),
        "peak_memory_mb": round(answer["peak_memory_mb"], 1),
        "operations": json.loads(answer["files"].get(handed[1], b"{}")),
    }
    made = {"inputs": answer["inputs"], "seed": run.effective[section].get("seed")}
    files = sorted(path for path in answer["files"] if path not in handed)
    return made | origin() | {"files": files, "run": went}

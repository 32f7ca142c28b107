"""A report's files and manifest, from what its notebooks left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.manifest import json_bytes, origin, read_json
from research_lib.reporting.render import summary

Record = dict[str, Any]


class Report(NamedTuple):
    """All files of a report but its manifest, and the manifest."""

    files: dict[str, bytes]
    manifest: dict[str, Any]


def assemble(
    run: RunConfig,
    kept: Mapping[str, Record],
    answers: Mapping[str, Record],
    folder: Path,
    templates: Path,
) -> Report:
    """Join new sections with those that stay; the summaries are written from the joined results.

    Parameters
    ----------
    run : RunConfig
    kept : mapping of section to record
        Sections whose files stay, as the manifest in `folder` has them.
    answers : mapping of section to answer
        Of `supervise`, all done.
    folder : Path
        The report that is there.
    templates : Path
        Folder of the project's templates.

    Raises
    ------
    RenderError
        A template does not fit its results.
    """
    made = {section: _record(run, section, answer) for section, answer in answers.items()}
    known = {**kept, **made}
    records = {section: known[section] for section in run.parameters if section in known}
    before = read_json(folder / "results.json") if kept else {}
    files: dict[str, bytes] = {}
    results = {section: before[section] for section in kept}
    for section, record in records.items():
        if section in made:
            brought = answers[section]["files"]
            results[section] = json.loads(brought[f"{section}.json"])
            files |= {path: brought[path] for path in record["files"]}
        else:
            files |= {path: (folder / path).read_bytes() for path in record["files"]}
    results = {section: results[section] for section in records}
    manifest = {"configuration": run.identity(), "sections": records}
    files["results.json"] = json_bytes(results)
    for section in records:
        files[f"{section}_summary.md"] = summary(section, results, manifest, templates).encode()
    return Report(files, manifest)


def _record(run: RunConfig, section: str, answer: Record) -> Record:
    """What a manifest says of a section: what it was made from and, apart, how that went."""
    handed = (f"{section}.json", f"{section}.timings.json")
    return {
        "inputs": answer["inputs"],
        "seed": run.effective[section].get("seed"),
        **origin(),
        "files": sorted(path for path in answer["files"] if path not in handed),
        "run": {
            "seconds": round(answer["seconds"], 2),
            "peak_memory_mb": round(answer["peak_memory_mb"], 1),
            "attempts": answer["attempts"],
            "operations": json.loads(answer["files"].get(handed[1], b"{}")),
        },
    }

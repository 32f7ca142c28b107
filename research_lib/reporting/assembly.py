"""A report's files and manifest, from what its notebooks left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research_lib.monitoring import PerformanceMonitor
from research_lib.reporting.manifest import json_bytes, origin, read_json
from research_lib.reporting.parameters import RunConfig
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
    made = {section: _record(run, section, answer) for section, answer in answers.items()}
    records = {
        section: {**kept, **made}[section]
        for section in run.parameters
        if section in {**kept, **made}
    }
    manifest = {"configuration": run.identity(), "sections": records}
    before = read_json(folder / "results.json") if kept else {}
    results, files = {}, {}
    for section, record in records.items():
        brought = answers[section]["files"] if section in made else {}
        results[section] = json.loads(brought[f"{section}.json"]) if brought else before[section]
        files.update(
            {
                path: brought[path] if brought else (folder / path).read_bytes()
                for path in record["files"]
            }
        )
    files["results.json"] = json_bytes(results)
    for section in records:
        files[f"{section}_summary.md"] = summary(section, results, manifest, templates).encode()
    return Report(files, manifest)


def _record(run: RunConfig, section: str, answer: Record) -> Record:
    """What a manifest says of a section: what it was made from and, apart, how that went."""
    handed = (f"{section}.json", f"{section}.timings.json")
    timings = json.loads(answer["files"].get(handed[1], b"{}"))
    monitor = PerformanceMonitor().merge(timings) if timings else PerformanceMonitor()
    return {
        "inputs": answer["inputs"],
        "seed": run.effective[section].get("seed"),
        **origin(),
        "files": sorted(path for path in answer["files"] if path not in handed),
        "run": {
            "seconds": round(answer["seconds"], 2),
            "peak_memory_mb": round(
                max(answer["peak_memory_mb"], timings.get("peak_memory_mb", 0.0)), 1
            ),
            "operations": monitor.summary(),
        },
    }

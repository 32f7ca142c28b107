"""reports/README.md: every run beside the others, what failed, and how often schedules saved anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from research_lib.errors import ValidationError
from research_lib.reporting.markdown import render
from research_lib.reporting.parameters import Project
from research_lib.reporting.placement import read_manifest
from research_lib.reporting.provenance import read_json

HEADLINE = "static optimal"
TABLED = (
    "modeling",
    "strategy",
)  # sections whose numbers stand in the table; of others the answer is quoted
OVERVIEW = "overview.png"


class Saving(NamedTuple):
    """What a run's schedule saved against TWAP, per cent, and its 95 % interval (None where there is none)."""

    percent: float
    low: float | None
    high: float | None


def headline(results: Mapping[str, Any]) -> Saving | None:
    """The saving that a strategy section's results claim; None where there is no such section or no claim."""
    row = results.get("strategy", {}).get("strategies", {}).get(HEADLINE, {})
    if row.get("saving_%") is None:
        return None
    return Saving(row["saving_%"], row.get("saving_lower_%"), row.get("saving_upper_%"))


def render_index(project: Project) -> Path:
    """Write the index over all reports and failures in the project's folder, and its figure."""
    rows = [_row(folder) for folder in sorted(project.reports.iterdir()) if _is_run(folder)]
    drawn = _overview([row for row in rows if row["saving"]], project.reports / OVERVIEW)
    target = project.reports / "README.md"
    part = target.with_name(".README.md.part")
    part.write_text(
        render("index.md.j2", project.templates, rows=rows, rates=rates(rows), figure=drawn),
        "utf-8",
    )
    part.replace(target)
    return target


def rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Counts over runs: all, failed, with a saving, saving above 0, its whole interval above 0."""
    savings = [row["saving"] for row in rows if row["saving"]]
    return {
        "runs": len(rows),
        "failed": sum(bool(row["failure"]) for row in rows),
        "compared": len(savings),
        "saved": sum(saving.percent > 0 for saving in savings),
        "surely": sum(saving.low is not None and saving.low > 0 for saving in savings),
    }


def _is_run(folder: Path) -> bool:
    return any((folder / file).is_file() for file in ("results.json", "failure.json"))


def _row(folder: Path) -> dict[str, Any]:
    flaws: list[str] = []
    results = _read(folder / "results.json", flaws)
    if not all(isinstance(part, dict) for part in results.values()):
        flaws.append("results.json is damaged; make the report again")
        results = {}
    failure = _read(folder / "failure.json", flaws)
    manifest = _manifest(folder, flaws)
    known = [part for part in results.values() if "symbol" in part]
    return {
        "name": folder.name,
        "results": results,
        "first": known[0] if known else {},
        "told": {
            section: part.get("answer", "")
            for section, part in results.items()
            if section not in TABLED
        },
        "title": (manifest.get("configuration") or failure).get("title", ""),
        "saving": headline(results),
        "failure": failure,
        "flaws": flaws,
        "seconds": sum(one["run"]["seconds"] for one in manifest.get("sections", {}).values()),
    }


def _read(path: Path, flaws: list[str]) -> dict[str, Any]:
    """What a file says; nothing where there is none or, which is added to the flaws, where it is damaged."""
    try:
        return read_json(path) if path.is_file() else {}
    except ValidationError as error:
        flaws.append(str(error))
        return {}


def _manifest(folder: Path, flaws: list[str]) -> dict[str, Any]:
    try:
        return read_manifest(folder) if (folder / "manifest.json").is_file() else {}
    except ValidationError as error:
        flaws.append(str(error))
        return {}


def _overview(rows: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the savings of all runs with their intervals, largest first; False where there is none to draw."""
    if not rows:
        path.unlink(missing_ok=True)
        return False
    from research_lib.reporting.figures.base import new_figure, plt, save_figure
    from research_lib.reporting.figures.strategy import MAX_NAMED, plot_runs

    figure, (ax,) = new_figure(1, height=1.2 + 0.28 * min(len(rows), MAX_NAMED))
    plot_runs({row["name"]: row["saving"] for row in rows}, ax)
    save_figure(figure, path)
    plt.close(figure)
    return True

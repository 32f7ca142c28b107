"""Verifies reports: as their manifests say, as their results say, and as a second run says."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from research_lib.checks import refuse_unknown
from research_lib.config import data_files
from research_lib.errors import ValidationError
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.manifest import (
    changed_files,
    code_hash,
    environment_hash,
    file_hash,
    file_hashes,
    origin,
    read_json,
)
from research_lib.reporting.parameters import Project
from research_lib.reporting.render import RenderError, summary

# Of the same inputs on another machine: solvers stop elsewhere, sums round otherwise.
RELATIVE = 1e-6
ABSOLUTE = 1e-9  # below it a number is rounding noise, such as a residual
QUOTED = 2e-2  # numbers quoted in sentences carry two or three digits
ROUNDED = 2e-6  # tables carry six decimals, and the last may round the other way
ABSENT = "absent"  # begins the one line that is no fault of the report
MAX_LINES = 10  # differences named of each file
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def verify_reports(
    names: Sequence[str] = (),
    project: Project | None = None,
    *,
    rerun: bool = True,
    jobs: int | None = None,
) -> dict[str, list[str]]:
    """Check reports against their manifests, results, data, and a second run of their parameters.

    Each file must have the SHA-256 that the manifest has of it, and each summary be, to the
    letter, what its template makes of results.json. Of the second run, numbers of results.json
    must agree within 1e-6 relative or 1e-9 absolute, those quoted in its texts within 2 %, numbers
    of tables (.csv, six decimals) within 1e-6 relative or 2e-6 absolute, all else exactly; the
    same figures must be made, whose pixels are not compared, nor are durations and memory.

    Returns
    -------
    dict of name to differences
        One line each, naming the file or the result; none where a report is verified. A line
        that begins with "absent" says that its data are not here, which is no fault of it.

    Raises
    ------
    ValidationError
        A name without a report.
    """
    project = project or Project()
    known = sorted(path.parent.name for path in project.reports.glob("*/manifest.json"))
    refuse_unknown(names, known, "report")
    found = {name: verify_files(project.reports / name, project) for name in names or known}
    sound = [name for name, differences in found.items() if not differences]
    return {**found, **(_verify_results(sound, project, jobs) if rerun else {})}


def verify_files(folder: Path, project: Project) -> list[str]:
    """What is wrong with a report as it lies there, found without running anything."""
    if found := changed_files(folder):
        return found
    manifest, results = read_json(folder / "manifest.json"), read_json(folder / "results.json")
    for section, record in manifest["sections"].items():
        found += _changed_data(record["inputs"]["data"])
        try:
            due = summary(section, results, manifest, project.templates).splitlines()
        except RenderError as error:
            found.append(str(error))
            continue
        path = folder / f"{section}_summary.md"
        pairs = itertools.zip_longest(path.read_text(encoding="utf-8").splitlines(), due)
        lines = [line for line, (one, other) in enumerate(pairs, start=1) if one != other]
        if lines:
            found.append(
                f"{path.name} is not what results.json gives, first in line {lines[0]}; "
                "template or text was changed"
            )
    return list(dict.fromkeys(found))


def made_elsewhere(name: str, project: Project | None = None) -> str:
    """In what a report's code, packages or commit are not those here; an empty text if in none."""
    here = {"code": code_hash(), "packages": environment_hash(), "commit": origin()["git_commit"]}
    sections = read_json((project or Project()).reports / name / "manifest.json")["sections"]
    for record in sections.values():
        code, packages = record["inputs"]["code"], record["inputs"]["environment"]
        made = {"code": code, "packages": packages, "commit": record["git_commit"]}
        if made != here:
            return f"made by {_identity(made)}; here {_identity(here)}"
    return ""


def _identity(hashes: Mapping[str, str]) -> str:
    return ", ".join(f"{what} {known[:12] or 'unknown'}" for what, known in hashes.items())


def _changed_data(data: Mapping[str, str]) -> Iterator[str]:
    for name, known in data.items():
        path = data_files(name).get(name)
        if path is None:
            yield f"{ABSENT}: data file {name} is not in RESEARCH_DATA, so nothing can be run again"
        elif (found := file_hash(path)) != known:
            yield (
                f"data file {name} was changed: its SHA-256 is {found[:12]}, "
                f"the manifest's {known[:12]}"
            )


def _verify_results(
    names: Sequence[str], project: Project, jobs: int | None
) -> dict[str, list[str]]:
    """Run again, elsewhere, what each manifest describes, and compare the results."""
    from research_lib.reporting.run import Options, run_reports

    found: dict[str, list[str]] = {name: [] for name in names}
    runs = []
    for name in names:
        try:
            runs.append(_described(project.reports / name, project))
        except ValidationError as error:
            found[name] = [f"its configuration no longer holds: {error}"]
    with tempfile.TemporaryDirectory(prefix="verify-") as elsewhere:
        again = replace(project, reports=Path(elsewhere))
        for name, what in run_reports(runs, again, Options(jobs=jobs)).items():
            made = what == "made"
            folders = project.reports / name, again.reports / name
            found[name] = _compared(*folders) if made else [what]
    return found


def _described(folder: Path, project: Project) -> RunConfig:
    """The configuration that a manifest describes, checked like any other."""
    manifest = read_json(folder / "manifest.json")
    own, sections = manifest["configuration"], manifest["sections"]
    parameters = {section: record["inputs"]["parameters"] for section, record in sections.items()}
    content = {"title": own["title"], "sections": list(sections), **parameters}
    return RunConfig.from_content(folder.name, content, project, Path(own["source"]))


def _compared(folder: Path, again: Path) -> list[str]:
    # A profile is no result: only --profile leaves it.
    mine, other = (
        {name for name in file_hashes(one) if not name.endswith(".prof")} for one in (folder, again)
    )
    lines = [f"{name} is made by one run only" for name in sorted(mine ^ other)]
    results = differing(read_json(folder / "results.json"), read_json(again / "results.json"))
    lines += _first_lines("results.json", list(results))
    for name in sorted(name for name in mine & other if name.endswith(".csv")):
        cells = differing(_table(folder / name), _table(again / name), ROUNDED, quoted=0.0)
        lines += _first_lines(name, list(cells))
    return lines


def _first_lines(name: str, differences: Sequence[str]) -> list[str]:
    lines = [f"{name}: {line}" for line in differences[:MAX_LINES]]
    more = len(differences) - MAX_LINES
    return [*lines, f"{name}: {more} more differences"] if more > 0 else lines


def _table(path: Path) -> list[list[float | str]]:
    def cell(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    with path.open(encoding="utf-8", newline="") as lines:
        return [[cell(text) for text in row] for row in csv.reader(lines)]


def differing(
    stated: Any, due: Any, absolute: float = ABSOLUTE, quoted: float = QUOTED, where: str = ""
) -> Iterator[str]:
    """Where two results differ beyond the tolerances of numbers and of numbers in sentences.

    Examples
    --------
    >>> list(differing({"cost": 1.0, "n": 3}, {"cost": 1.0 + 1e-9, "n": 4}))
    ['n is 3, run again 4']
    """
    if isinstance(stated, dict) and isinstance(due, dict) and stated.keys() == due.keys():
        for key in stated:
            inner = f"{where}.{key}" if where else key
            yield from differing(stated[key], due[key], absolute, quoted, inner)
    elif isinstance(stated, list) and isinstance(due, list) and len(stated) == len(due):
        for i, pair in enumerate(zip(stated, due, strict=True)):
            yield from differing(*pair, absolute, quoted, f"{where}[{i}]")
    elif not _alike(stated, due, absolute, quoted):
        yield f"{where} is {_short(stated)}, run again {_short(due)}"


def _alike(stated: Any, due: Any, absolute: float, quoted: float) -> bool:
    if isinstance(stated, str) and isinstance(due, str):
        if NUMBER.sub("#", stated) != NUMBER.sub("#", due):
            return False
        pairs = zip(NUMBER.findall(stated), NUMBER.findall(due), strict=True)
        values = (
            (float(one.replace(",", "")), float(other.replace(",", ""))) for one, other in pairs
        )
        return all(math.isclose(*pair, rel_tol=quoted) for pair in values)
    if {type(stated), type(due)} <= {int, float}:
        return math.isclose(stated, due, rel_tol=RELATIVE, abs_tol=absolute)
    return bool(stated == due)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

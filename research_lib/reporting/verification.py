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

from research_lib.checks import nearest
from research_lib.config import data_files
from research_lib.errors import ValidationError
from research_lib.reporting.assembly import summary
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.markdown import RenderError
from research_lib.reporting.parameters import Project
from research_lib.reporting.placement import spoilt
from research_lib.reporting.provenance import (
    code_hash,
    environment_hash,
    file_hash,
    listed_files,
    origin,
    read_json,
)

RELATIVE = 1e-6  # results of the same inputs on another machine: solvers stop elsewhere, sums round otherwise
ABSOLUTE = 1e-9  # below it a number is rounding noise, such as a residual
QUOTED = 2e-2  # numbers quoted in sentences carry two or three digits
ROUNDED = 2e-6  # tables carry six decimals, and the last may round the other way
TABLE, PROFILE = ".csv", ".prof"  # what is compared by its cells, and what only --profile leaves
ABSENT = "absent"  # begins the one line that is no fault of the report
MOST_LINES = 10  # differences named of each report
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def verify_reports(
    names: Sequence[str] = (),
    project: Project | None = None,
    *,
    rerun: bool = True,
    jobs: int | None = None,
) -> dict[str, list[str]]:
    """Check reports against their manifests, results, data, and a second run from the same parameters.

    Each file must have the SHA-256 that the manifest has of it, and each summary be, to the
    letter, what its template makes of results.json. Of the second run, numbers of results.json
    must agree within 1e-6 relative or 1e-9 absolute, those quoted in its texts within 2 %, numbers of
    tables (.csv, six decimals) within 1e-6 relative or 2e-6 absolute, all else exactly; the same
    figures must be made, whose pixels are not compared. Durations and memory are not compared.

    Returns
    -------
    dict of name to culprits
        One line each, naming the file or the result; none where a report is verified. A line
        that begins with "absent" says that its data are not here, which is no fault of it.

    Raises
    ------
    ValidationError
        A name without a report.
    """
    project = project or Project()
    known = sorted(path.parent.name for path in project.reports.glob("*/manifest.json"))
    for name in names:
        if name not in known:
            raise ValidationError(f"report {name!r} is unknown{nearest(name, known)}")
    culprits = {name: verify_files(project.reports / name, project) for name in names or known}
    sound = [name for name, found in culprits.items() if not found]
    return {**culprits, **(_verify_results(sound, project, jobs) if rerun else {})}


def verify_files(folder: Path, project: Project) -> list[str]:
    """What is wrong with a report as it lies there, found without running anything."""
    culprits = spoilt(folder)
    if culprits:
        return culprits
    manifest, results = read_json(folder / "manifest.json"), read_json(folder / "results.json")
    for section, record in manifest["sections"].items():
        culprits += _data_culprits(record["inputs"]["data"])
        try:
            wanted = summary(section, results, manifest, project.templates)
        except RenderError as error:
            culprits.append(str(error))
        else:
            culprits += _line_culprit(folder / f"{section}_summary.md", wanted)
    return list(dict.fromkeys(culprits))


def made_elsewhere(name: str, project: Project | None = None) -> str:
    """In what a report's code, packages or commit are not those here; an empty text where all are the same."""
    here = {"code": code_hash(), "packages": environment_hash(), "commit": origin()["git_commit"]}
    sections = read_json((project or Project()).reports / name / "manifest.json")["sections"]
    for record in sections.values():
        inputs = record["inputs"]
        made = {
            "code": inputs["code"],
            "packages": inputs["environment"],
            "commit": record["git_commit"],
        }
        if made != here:
            return f"made by {_identity(made)}; here {_identity(here)}"
    return ""


def _identity(hashes: Mapping[str, str]) -> str:
    return ", ".join(f"{what} {known[:12] or 'unknown'}" for what, known in hashes.items())


def _data_culprits(data: Mapping[str, str]) -> Iterator[str]:
    for name, known in data.items():
        path = data_files(name).get(name)
        if path is None:
            yield f"{ABSENT}: data file {name} is not in RESEARCH_DATA, so nothing can be run again"
        elif file_hash(path) != known:
            yield f"data file {name} was changed: its SHA-256 is {file_hash(path)[:12]}, the manifest's {known[:12]}"


def _line_culprit(path: Path, wanted: str) -> list[str]:
    """The first line in which a summary is not what its results say."""
    said, due = path.read_text(encoding="utf-8").splitlines(), wanted.splitlines()
    if said == due:
        return []
    pairs = enumerate(itertools.zip_longest(said, due), start=1)
    line = next(number for number, (one, other) in pairs if one != other)
    return [
        f"{path.name} is not what results.json gives, first in line {line}; template or text was changed"
    ]


def _verify_results(
    names: Sequence[str], project: Project, jobs: int | None
) -> dict[str, list[str]]:
    """Run again, elsewhere, what each manifest describes, and compare the results."""
    from research_lib.reporting.runner import Options, run_reports

    culprits: dict[str, list[str]] = {name: [] for name in names}
    runs = []
    for name in names:
        try:
            runs.append(_described(project.reports / name, project))
        except ValidationError as error:
            culprits[name] = [f"its configuration no longer holds: {error}"]
    with tempfile.TemporaryDirectory(prefix="verify-") as elsewhere:
        again = replace(project, reports=Path(elsewhere))
        for name, what in run_reports(runs, again, Options(jobs=jobs)).items():
            culprits[name] = (
                _compared(project.reports / name, again.reports / name)
                if what == "made"
                else [what]
            )
    return culprits


def _described(folder: Path, project: Project) -> RunConfig:
    """The configuration that a manifest describes, checked like any other."""
    manifest = read_json(folder / "manifest.json")
    own, sections = manifest["configuration"], manifest["sections"]
    parameters = {section: record["inputs"]["parameters"] for section, record in sections.items()}
    content = {"title": own["title"], "sections": list(sections), **parameters}
    return RunConfig.from_content(folder.name, content, project, Path(own["source"]))


def _compared(folder: Path, again: Path) -> list[str]:
    mine, other = (
        {name for name in listed_files(one) if not name.endswith(PROFILE)}
        for one in (folder, again)
    )
    lines = [f"{name} is made by one run only" for name in sorted(mine ^ other)]
    results = differing(read_json(folder / "results.json"), read_json(again / "results.json"))
    lines += _most("results.json", list(results))
    for name in sorted(name for name in mine & other if name.endswith(TABLE)):
        lines += _most(
            name, list(differing(_table(folder / name), _table(again / name), ROUNDED, quoted=0.0))
        )
    return lines


def _most(name: str, differences: Sequence[str]) -> list[str]:
    lines = [f"{name}: {line}" for line in differences[:MOST_LINES]]
    more = len(differences) - MOST_LINES
    return [*lines, f"{name}: {more} more differences"] if more > 0 else lines


def _table(path: Path) -> list[list[float | str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return [[_cell(text) for text in row] for row in csv.reader(lines)]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def differing(
    said: Any, due: Any, absolute: float = ABSOLUTE, quoted: float = QUOTED, where: str = ""
) -> Iterator[str]:
    """Where two results differ beyond the tolerances of numbers and of numbers in sentences, one line each."""
    if isinstance(said, dict) and isinstance(due, dict) and said.keys() == due.keys():
        for key in said:
            yield from differing(
                said[key], due[key], absolute, quoted, f"{where}.{key}" if where else key
            )
    elif isinstance(said, list) and isinstance(due, list) and len(said) == len(due):
        for i, pair in enumerate(zip(said, due, strict=True)):
            yield from differing(*pair, absolute, quoted, f"{where}[{i}]")
    elif not _alike(said, due, absolute, quoted):
        yield f"{where} is {_short(said)}, run again {_short(due)}"


def _alike(said: Any, due: Any, absolute: float, quoted: float) -> bool:
    if isinstance(said, str) and isinstance(due, str):
        pairs = [
            [float(number.replace(",", "")) for number in NUMBER.findall(text)]
            for text in (said, due)
        ]
        same_words = NUMBER.sub("#", said) == NUMBER.sub("#", due)
        return same_words and all(
            math.isclose(*pair, rel_tol=quoted) for pair in zip(*pairs, strict=True)
        )
    numbers = all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in (said, due)
    )
    return math.isclose(said, due, rel_tol=RELATIVE, abs_tol=absolute) if numbers else said == due


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
